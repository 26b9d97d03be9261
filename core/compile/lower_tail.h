/* lower_tail: windows of convolutions and pools, and what stands behind a sum of products. */
#ifndef BPU_COMPILE_LOWER_TAIL_H
#define BPU_COMPILE_LOWER_TAIL_H

#include "core/compile/lower_view.h"
#include "core/compile/pack.h"
#include "core/ops/infer.h"

#define LOWER_SPATIAL 3

/* The windows along depth, height and width; axes that the operator lacks have a window of 1. */
struct windows {
    struct infer_window d, h, w;
};
/* From attributes; kernel: extents of the weight, or NULL to read kernel_size. */
bool lower_windows(const struct node *n, const int64_t *kernel, struct windows *out,
                   struct bpu_error *err) BPU_CHECKED;
/* The shape of an operand of an operator with `spatial` windowed axes, with a first axis for batches:
 * (C, H, W) as (1, C, H, W). */
bool lower_batched(const struct node *n, const struct value *v, struct shape *out,
                   struct bpu_error *err) BPU_CHECKED;

/* The end of a node's sums: bias, multipliers, activation. */
struct tail {
    struct filter_ends ends;
    int rule;
    int32_t low, high;
};
/* residual may be NULL; w: quant of the weight, or of the second feature map. */
bool lower_tail(struct lowering *l, const struct node *n, const struct quant *w, int64_t channels,
                const struct value *residual, struct tail *out, struct bpu_error *err) BPU_CHECKED;

/* A CONV, DWCONV or DECONV of these packed weights; pad_top follows from the layer's window. */
struct layer *lower_sums(struct lowering *l, enum opcode op, const struct node *n, struct map *x,
                         struct map *y, const struct windows *v, const struct packed *p,
                         const struct tail *t, struct map *residual,
                         struct bpu_error *err) BPU_CHECKED;

/* x with rows and columns added around it, that mirror it or repeat it (modes of padding_mode). */
struct map *lower_padded(struct lowering *l, struct map *x, const char *mode, int top, int bottom,
                         int left, int right, struct bpu_error *err) BPU_CHECKED;

#endif
