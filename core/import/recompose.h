/* recompose: puts together again what exporters take apart.
 *
 * ONNX before opset 17 has no LayerNorm, before 20 no GELU, and never a SiLU or a Linear with bias for inputs of more
 * than two dimensions; PyTorch writes them as chains of arithmetic; an average pool that counts its padding becomes a Pad and a pool.  The operator tables speak of the
 * whole operators, and so do the users.  The parts stay in the graph, folded, and name their whole. */
#ifndef BPU_IMPORT_RECOMPOSE_H
#define BPU_IMPORT_RECOMPOSE_H

#include "core/ir/graph.h"

bool graph_recompose(struct graph *g, struct bpu_error *err) BPU_CHECKED;

/* The part of it that takes arithmetic between a convolution and its batch norm into the batch norm. */
bool graph_recompose_affine(struct graph *g, struct bpu_error *err) BPU_CHECKED;

/* The part of it that makes one permutation of two in a row. */
bool graph_recompose_transpose(struct graph *g, struct bpu_error *err) BPU_CHECKED;

#endif
