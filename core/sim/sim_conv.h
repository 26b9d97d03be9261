/* sim_conv: what convolutions, transposed convolutions and depthwise ones share.
 *
 *   y(o, m) = end(bias(m) + sums(o, m) + Σ x(source(o, tap), c) * w(m, tap, c))
 *
 * The operands are spread out once per instruction: x without zero point as int16, channels last;
 * weights without zero point as int16.  What does not fit int16 goes element by element. */
#ifndef BPU_SIM_SIM_CONV_H
#define BPU_SIM_SIM_CONV_H

#include "core/program/args.h"
#include "core/sim/sim_private.h"

enum { CONV_Y, CONV_X, CONV_WEIGHTS, CONV_RESIDUAL, CONV_SUMS };
enum { RECORD_BIAS, RECORD_MANTISSA, RECORD_SHIFT, RECORD_RESIDUAL, RECORD_ZERO, RECORD_COUNT };
#define RECORD_BYTES (RECORD_COUNT * 4)

struct sim_conv {
    struct sim_call *c;
    const struct tile *y, *x;
    const int32_t *a; /* arguments */
    bool depthwise, transposed;
    int64_t kernel_h, kernel_w, taps;
    int64_t unit_channels, unit_bytes, unit_inputs;
    int64_t out_block, in_block, in_blocks;
    const unsigned char *weights;
    bool residual, sums, unfinished;
    /* by result channel */
    const int32_t (*records)[RECORD_COUNT];
    const float *real;
};

/* Reads arguments and records; refuses what does not fit together. */
bool sim_conv_init(struct sim_call *c, bool depthwise, bool transposed, struct sim_conv *v,
                   struct bpu_error *err) BPU_CHECKED;

/* Weight of result channel m, its zero point taken off; input counted in the unit. */
static inline int64_t sim_conv_weight(const struct sim_conv *v, int64_t m, int64_t i, int64_t j,
                                      int64_t input)
{
    int64_t in_unit = m % v->unit_channels, b = in_unit / v->out_block, o = in_unit % v->out_block;
    const unsigned char *p =
        v->weights + m / v->unit_channels * v->unit_bytes + RECORD_BYTES * v->unit_channels;
    int64_t tap = (b * v->kernel_h + i) * v->kernel_w + j, at;
    if (v->depthwise)
        at = tap * v->out_block + o;
    else
        at = ((tap * v->in_blocks + input / v->in_block) * v->out_block + o) * v->in_block +
             input % v->in_block;
    return (int64_t)(signed char)p[at] - v->records[m][RECORD_ZERO];
}

/* Row or column of x that result o meets with a tap; -1: the padding, or none. */
static inline int64_t sim_conv_source(const struct sim_conv *v, int64_t o, int64_t tap, bool w)
{
    int64_t stride = v->a[w ? CONV_STRIDE_W : CONV_STRIDE_H];
    int64_t dilation = v->a[w ? CONV_DILATION_W : CONV_DILATION_H];
    int64_t pad = v->a[w ? CONV_PAD_LEFT : CONV_PAD_TOP], extent = w ? v->x->w : v->x->h, at;
    if (v->transposed) {
        at = o + pad - tap * dilation;
        if (at < 0 || at % stride)
            return -1;
        at /= stride;
    } else {
        at = o * stride + tap * dilation - pad;
    }
    return at < 0 || at >= extent ? -1 : at;
}

/* First input channel that result channel m reads. */
static inline int64_t sim_conv_first(const struct sim_conv *v, int64_t m)
{
    return v->depthwise ? m
           : v->a[CONV_SPLIT_INPUTS] ? m / v->unit_channels * v->unit_inputs
                                     : 0;
}

/* Ends the sums of one position, channels first … first + count - 1, and stores them.  sum: without bias
 * and without the sums that went before. */
bool sim_conv_finish(const struct sim_conv *v, int64_t i, int64_t j, int64_t k, int64_t first,
                     int64_t count, const int64_t *sum, struct bpu_error *err) BPU_CHECKED;

#endif
