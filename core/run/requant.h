/* requant: from the scales of a convolution's operands to the integers that its end multiplies by.
 *
 *   acc = sum (x - z_x) (w - z_w) + bias                     exact; saturates to int32
 *   y   = z_y + round(acc * s_x s_w / s_y  [+ (r - z_r) * s_r / s_y])     clamped by the activation
 *
 * Convolutions, transposed convolutions, linear layers and matmul end like this.  The converter
 * stores what requant_multipliers() gives as parameters `multiplier` and `shift`; engines take them
 * from there, or from here where a graph has none, and get the same bits. */
#ifndef BPU_RUN_REQUANT_H
#define BPU_RUN_REQUANT_H

#include "core/ir/graph.h"
#include "core/run/arith.h"

/* The scales around a node. w, r NULL: no weight (its scale counts as 1), no residual. */
struct requant_scales {
    const struct quant *x, *w, *y, *r;
    enum dtype y_dtype;
    int64_t channels; /* of the result, counted with groups */
};

/* The scale of output channel c in a weight's quant: one for all, one per channel, or one per
 * channel of a group (transposed convolution). */
double requant_weight_scale(const struct quant *w, int64_t c);
int64_t requant_weight_zero(const struct quant *w, int64_t c);

/* multiplier[channels], shift[channels], and residual[channels] if s->r.  Results of 8 bits without
 * a residual get numbers of binary32, the product of the scales rounded as PyTorch rounds it.
 * y->count 0 of a qint32 result: its scale is s_x * s_w.  BPU_BAD_MODEL at `where` if a scale is
 * missing, or a ratio of scales is out of range. */
bool requant_multipliers(const struct requant_scales *s, const char *where, int32_t *multiplier,
                         int32_t *shift, int32_t *residual, struct bpu_error *err) BPU_CHECKED;
/* The residual's mantissa on a given shift: of graphs that hold multiplier and shift as parameters.
 */
int32_t requant_residual(double s_r, double s_y, int shift);
/* One multiplier for a result of y_dtype from the real number that it stands for: pools, means. */
bool requant_multiplier(double real, enum dtype y_dtype, const char *where, struct multiplier *out,
                        struct bpu_error *err) BPU_CHECKED;
/* True if results of this type, without a residual, are requantized in binary32. */
static inline bool requant_is_binary32(enum dtype y)
{
    return y == DT_QINT8 || y == DT_QUINT8;
}

/* A float bias as qint32 of scale s_x * s_w, rounded as PyTorch rounds it. */
int32_t requant_bias(double bias, double s_x, double s_w);

/* The range of stored integers that an activation leaves: "relu", "relu6" or NULL. */
bool requant_range(enum dtype y, double scale, int64_t zero, const char *activation,
                   const char *where, int32_t *lo, int32_t *hi, struct bpu_error *err) BPU_CHECKED;

/* ── what an engine uses ── */

struct requant {
    int64_t channels;
    const int32_t *multiplier, *shift; /* [channels] */
    const float *real;                 /* [channels]: binary32 rule; NULL: exact products */
    const int32_t *residual;           /* [channels]: on the same shift; NULL: there is none */
    int32_t residual_zero, zero, lo, hi;
};

/* Multipliers from params `multiplier` and `shift` (both int32[channels]) or from the scales. */
bool requant_new(struct arena *a, const struct requant_scales *s, const char *activation,
                 const char *where, const void *multiplier, const void *shift, struct requant *out,
                 struct bpu_error *err) BPU_CHECKED;

static inline int32_t requant_saturate(int64_t v)
{
    return arith_clamp(v, INT32_MIN, INT32_MAX);
}

/* The stored integer of a result. residual: its stored integer, ignored if there is none. */
static inline int32_t requant_apply(const struct requant *q, int64_t channel, int64_t accumulator,
                                    int32_t residual)
{
    int32_t acc = requant_saturate(accumulator);
    struct multiplier m = {q->multiplier[channel], q->shift[channel]};
    int64_t v;
    if (q->residual)
        v = arith_requantize_sum(acc, m, residual - q->residual_zero, q->residual[channel]);
    else if (q->real)
        v = arith_requantize_binary32(acc, q->real[channel]);
    else
        v = arith_requantize(acc, m);
    return arith_clamp(v + q->zero, q->lo, q->hi);
}

#endif
