/* fixed_tail: what stands behind a sum of products: bias, second operand, activation,
 * requantization. Convolutions, linear layers and matmul end alike. */
#ifndef BPU_RUN_FIXED_TAIL_H
#define BPU_RUN_FIXED_TAIL_H

#include "core/run/fixed.h"
#include "core/run/requant.h"

struct fixed_tail {
    struct requant requant;
    const int32_t *bias;           /* [channels], or NULL */
    const struct tensor *residual; /* same shape as y, or NULL */
    struct tensor *y;
};

/* BPU_BAD_MODEL or BPU_UNSUPPORTED unless w is quantized, with one scale or one per channel along
 * `axis`. */
bool fixed_weight(const struct kernel_call *c, const struct tensor *w, int axis,
                  struct bpu_error *err) BPU_CHECKED;
/* Of operand 0 times a weight (or a second feature map) of quant w. residual may be NULL. */
bool fixed_tail_init(const struct kernel_call *c, const struct quant *w, int64_t channels,
                     const struct tensor *residual, struct fixed_tail *out,
                     struct bpu_error *err) BPU_CHECKED;

/* Element i of the result, which belongs to `channel`, from its sum without bias. */
static inline void fixed_tail_store(const struct fixed_tail *t, int64_t channel, int64_t i,
                                    int64_t sum)
{
    int32_t r = t->residual ? (int32_t)tensor_int(t->residual, i) : 0;
    int64_t acc = sum + (t->bias ? t->bias[channel] : 0);
    tensor_store_int(t->y, i, requant_apply(&t->requant, channel, acc, r));
}

#endif
