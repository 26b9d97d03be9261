/* fast_portable: the kernels in plain C, for processors without the instruction sets of the others.
 *
 * Weights are packed as [block of 64 channels][depth][channel], the last block as wide as it needs to be
 * in steps of LANES, so that the innermost loops run over neighbouring channels and a compiler can
 * vectorize them: there is no branch and no call within. */
#include <string.h>

#include "core/run/arith.h"
#define FAST_ISA
#include "core/run/fast_loops.h"

enum { LANES = 16 };

/* Channels as packed. */
static size_t padded(int channels)
{
    return (size_t)(channels + LANES - 1) / LANES * LANES;
}

static bool supported(void)
{
    return true;
}

static size_t gemm_bytes(int depth, int channels)
{
    return padded(channels) * (size_t)depth;
}

static size_t gemm_offset(int depth, int channel)
{
    return (size_t)channel * (size_t)depth;
}

static void gemm_pack(const int8_t *w, int depth, int channels, void *out)
{
    memset(out, 0, gemm_bytes(depth, channels));
    for (int from = 0; from < channels; from += FAST_BLOCK) {
        int count = channels - from < FAST_BLOCK ? channels - from : FAST_BLOCK;
        int8_t *p = (int8_t *)out + gemm_offset(depth, from);
        for (int c = 0; c < count; c++)
            for (int k = 0; k < depth; k++)
                p[(size_t)k * padded(count) + (size_t)c] =
                    w[(size_t)(from + c) * (size_t)depth + (size_t)k];
    }
}

/* channels results of one pixel. */
static void store(const struct fast_requant *q, int channel, int channels, const int32_t *sum,
                  const uint8_t *residual, uint8_t *out)
{
    if (residual) {
        for (int c = 0; c < channels; c++) {
            int i = channel + c;
            int64_t v =
                arith_requantize_sum(sum[c], (struct multiplier){q->mantissa[i], q->shift[i]},
                                     residual[c] - q->residual_zero_point, q->residual_mantissa[i]);
            out[c] = (uint8_t)arith_clamp(v + q->zero_point, q->lo, q->hi);
        }
        return;
    }
    const float *real = q->real + channel;
    int32_t zero = q->zero_point, lo = q->lo, hi = q->hi;
    for (int c = 0; c < channels; c++) {
        /* To nearest, ties to even, by the addition itself: magnitudes below 2^22 are exact; what is
         * larger would be clamped anyway. */
        float v = (float)sum[c] * real[c];
        v = v < -1024.f ? -1024.f : v;
        v = v > 1024.f ? 1024.f : v;
        int32_t r = (int32_t)((v + 0x1.8p23f) - 0x1.8p23f) + zero;
        r = r < lo ? lo : r;
        out[c] = (uint8_t)(r > hi ? hi : r);
    }
}

/* width: known when this is compiled. */
static inline __attribute__((always_inline)) void gemm_wide(const struct fast_gemm *g, const int width)
{
    const int8_t *b = g->b;
    for (int r = 0; r < g->rows; r++) {
        int32_t sum[FAST_BLOCK];
        const uint8_t *a = g->a + (size_t)r * g->lda;
        memcpy(sum, g->q->bias + g->channel, (size_t)width * sizeof *sum); /* it is padded */
        for (int k = 0; k < g->depth; k++)
            for (int c = 0; c < width; c++)
                sum[c] += a[k] * b[k * width + c];
        if (g->out)
            store(g->q, g->channel, g->channels, sum,
                  g->residual ? g->residual + (size_t)r * g->ldr : NULL,
                  g->out + (size_t)r * g->ldo);
        else
            memcpy(g->sums + (size_t)r * g->lds, sum, (size_t)g->channels * sizeof *sum);
    }
}

static void gemm(const struct fast_gemm *g)
{
    switch (padded(g->channels) / LANES) {
    case 1: gemm_wide(g, LANES); break;
    case 2: gemm_wide(g, 2 * LANES); break;
    case 3: gemm_wide(g, 3 * LANES); break;
    default: gemm_wide(g, FAST_BLOCK); break;
    }
}

static size_t depthwise_bytes(int taps, int channels)
{
    return (size_t)taps * (size_t)channels;
}

static void depthwise_pack(const int8_t *w, int taps, int channels, void *out)
{
    int8_t *p = out;
    for (int t = 0; t < taps; t++)
        for (int c = 0; c < channels; c++)
            p[t * channels + c] = w[c * taps + t];
}

static inline void one_tap(int32_t *restrict sum, const uint8_t *restrict x,
                           const int8_t *restrict w, int n)
{
    for (int c = 0; c < n; c++) {
        int16_t a = x[c], b = (int16_t)w[c];
        sum[c] += a * b;
    }
}

static void depthwise(const struct fast_depthwise *d)
{
    const int8_t *w = d->weights;
    for (int i = 0; i < d->pixels; i++)
        for (int from = 0; from < d->channels; from += FAST_BLOCK) {
            int32_t sum[FAST_BLOCK];
            int n = d->channels - from < FAST_BLOCK ? d->channels - from : FAST_BLOCK;
            memcpy(sum, d->q->bias + from, (size_t)n * sizeof *sum);
            for (int t = 0; t < d->taps; t++)
                one_tap(sum, d->in[i * d->taps + t] + from, w + t * d->channels + from, n);
            store(d->q, from, n, sum, NULL, d->out + (size_t)i * d->ldo + from);
        }
}

const struct fast_kernels fast_portable = {
    .name = "portable",
    .supported = supported,
    .gemm_bytes = gemm_bytes,
    .gemm_pack = gemm_pack,
    .gemm_offset = gemm_offset,
    .gemm = gemm,
    .depthwise_bytes = depthwise_bytes,
    .depthwise_pack = depthwise_pack,
    .depthwise = depthwise,
    .add = loop_add,
    .multiply = loop_multiply,
    .table = loop_table,
    .maximum = loop_maximum,
    .accumulate = loop_accumulate,
    .quantize = loop_quantize,
    .dequantize = loop_dequantize,
};
