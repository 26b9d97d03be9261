/* evaluate_apart: the layers of a fixed-point graph, cut from each other. */
#ifndef BPU_QUANT_EVALUATE_APART_H
#define BPU_QUANT_EVALUATE_APART_H

#include "core/quant/evaluate_private.h"

/* A graph with the nodes of `fixed` in which every feature map that a node reads is an input, and
 * every result is an output. */
struct apart {
    struct graph *graph;
    int *input_of; /* by position among its inputs: value index of `fixed` */
    int *fixed_of; /* by value index: the value of `fixed` that it is as a result; -1: none */
};
bool apart_new(struct arena *a, const struct graph *fixed, struct apart *out,
               struct bpu_error *err) BPU_CHECKED;
/* The real numbers x in the type and scale of v, as a QuantStub does it. */
void apart_quantize(const struct value *v, const float *x, void *out);
/* The error of x if it were only rounded to the type and scale of v; nothing is added where that is
 * not 8 or 16 bits with one scale. */
void value_error_round(struct value_error *e, const float *x, const struct value *v);

#endif
