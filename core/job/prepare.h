/* prepare: from a graph as it was read to one that core/run executes. */
#ifndef BPU_JOB_PREPARE_H
#define BPU_JOB_PREPARE_H

#include "core/ir/graph.h"

/* A float graph, and one that is in fixed point already, are returned as they are.  A graph with
 * quantized values as importers leave it (Q/DQ pairs, QOperator, torch.quantization) is fused and
 * converted with the scales of its file: a new graph in the arena, with inputs and outputs of the
 * same names. */
struct graph *job_executable(struct arena *a, struct graph *g, struct bpu_error *err) BPU_CHECKED;
/* True if g is such a fixed-point graph already: its integers are taken as they are. */
bool job_is_fixed(const struct graph *g);

#endif
