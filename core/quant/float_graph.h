/* float_graph: what a fused graph computes before anything is rounded. */
#ifndef BPU_QUANT_FLOAT_GRAPH_H
#define BPU_QUANT_FLOAT_GRAPH_H

#include "core/quant/quant.h"
#include "core/run/run.h"

/* `fused` in float32: stubs pass through, quantized constants are dequantized. value_of[i] of the
 * result: the value that stands for value i of `fused`, or NULL. */
struct float_graph {
    struct graph *graph;
    struct value **value_of;
};
bool float_graph_new(struct arena *a, const struct graph *fused, struct float_graph *out,
                     struct bpu_error *err) BPU_CHECKED;

/* Buffers for the inputs and outputs of a graph, and what fills them. */
struct frame {
    const struct graph *graph;
    void **inputs, **outputs;
    float *floats; /* of the largest input */
};
bool frame_new(struct arena *a, const struct graph *g, struct frame *out,
               struct bpu_error *err) BPU_CHECKED;
/* Inputs of frame i: as float32, or rounded (and quantized, by its scale) to the input's type. */
bool frame_fill(struct frame *f, const struct quant_data *data, int64_t i,
                struct bpu_error *err) BPU_CHECKED;

#endif
