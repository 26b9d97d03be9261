/* convert: what the files of the converter share. */
#ifndef BPU_QUANT_CONVERT_H
#define BPU_QUANT_CONVERT_H

#include "core/quant/qconfig.h"
#include "core/quant/rewrite.h"
#include "core/quant/scheme.h"

/* A weight as it was quantized: the same constant may serve several nodes. */
struct converted_weight {
    struct value *value;
    int axis;
};

struct convert {
    const struct graph *from;
    struct graph *to;
    struct arena *arena;
    const struct qconfig *config;
    const struct scheme *scheme;
    struct value **fixed, **real; /* by value index of `from`: its forms in the new graph */
    struct converted_weight *weights;
    struct bpu_error *err;
};

/* ── convert_const.c ── */

/* The weight of a convolution or linear layer as qint8 with scales along its output channels, which
 * are `axis` of the new constant.  bias may be NULL; s_x: scale of the input. */
struct value *convert_weight(struct convert *c, const struct node *n, const struct value *w,
                             const struct value *bias, double s_x, int axis) BPU_CHECKED;
/* qint32 of scale s_x * s_w per channel; NULL bias gives zeros. */
struct value *convert_bias(struct convert *c, const struct node *n, const struct value *bias,
                           const struct value *weight, double s_x, int64_t channels) BPU_CHECKED;
/* A constant operand as symmetric integers whose largest value is stored exactly; as it is if it is
 * quantized already. */
struct value *convert_operand(struct convert *c, const struct value *v, enum dtype t) BPU_CHECKED;
/* A constant as float32 or as it is. */
struct value *convert_plain(struct convert *c, const struct value *v) BPU_CHECKED;
/* Params multiplier and shift of node `n`, whose other params and result are complete. */
bool convert_multipliers(struct convert *c, struct node *n, int64_t channels) BPU_CHECKED;
/* Param table of a function of one value; none where the result is a truth value or has 32 bits. */
bool convert_table(struct convert *c, struct node *n) BPU_CHECKED;

#endif
