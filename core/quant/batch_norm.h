/* batch_norm: y = x * factor + offset per channel, and its place in the weights before it. */
#ifndef BPU_QUANT_BATCH_NORM_H
#define BPU_QUANT_BATCH_NORM_H

#include "core/quant/rewrite.h"

/* Doubles, one per channel. known false: the file left the numbers out; factor and offset are NULL. */
struct affine {
    double *factor, *offset;
    int64_t channels;
    bool known;
};

/* Why n is no function of one channel's value (batch statistics …); NULL if it is one. */
const char *batch_norm_why_not(const struct node *n);
/* weight / sqrt(running_var + eps) and bias - running_mean * factor. */
bool batch_norm_affine(struct arena *a, const struct node *n, struct affine *out,
                       struct bpu_error *err) BPU_CHECKED;
/* Multiplies x by 1 / v or v before the affine map: v has one element or one per channel. */
bool affine_scale(struct affine *f, const struct value *v, bool divide);
/* weight and bias of `copy` (made from the convolution or linear layer `conv`) with f behind them. */
bool batch_norm_fold(struct rewrite *r, struct node *copy, const struct node *conv,
                     const struct affine *f) BPU_CHECKED;
/* True if a batch norm over x can stand alone as a depthwise convolution: rank 3 to 5. */
bool batch_norm_can_stand(const struct node *n);
/* A depthwise 1x1 convolution in the place of n, without outputs. */
struct node *batch_norm_conv(struct rewrite *r, const struct node *n,
                             const struct affine *f) BPU_CHECKED;

#endif
