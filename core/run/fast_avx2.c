/* fast_avx2: two products per lane and step (vpmaddwd) over widened bytes, 8 channels per register.
 *
 * vpmaddubsw would take bytes, but saturates its sums to int16; so both operands are widened: the rows of a
 * tile once for all channels of a block, the weights, packed as pairs of bytes
 * [16 channels][depth / 2][channel][2], where they are loaded. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "core/run/arith.h"

#define ISA __attribute__((target("avx2")))
#define FAST_ISA ISA
#include "core/run/fast_loops.h"
#define INLINE static inline __attribute__((always_inline)) ISA

enum { LANES = 8, PANEL = 16, ROWS = 6, CHUNK = 256 /* depth that is widened at a time */ };

static bool supported(void)
{
    return __builtin_cpu_supports("avx2");
}

static size_t padded(int channels)
{
    return (size_t)(channels + PANEL - 1) / PANEL * PANEL;
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
    int8_t *p = out;
    for (int panel = 0; panel < channels; panel += PANEL)
        for (int k = 0; k < depth; k += 2)
            for (int c = panel; c < panel + PANEL; c++)
                for (int j = 0; j < 2; j++)
                    *p++ = c < channels ? w[(size_t)c * (size_t)depth + (size_t)(k + j)] : 0;
}

/* Results of `count` (up to 8) channels. */
INLINE void store(__m256i sum, const struct fast_requant *q, int channel, int count,
                  const uint8_t *residual, uint8_t *out)
{
    int32_t r[LANES];
    if (!residual || !q->residual_mantissa) {
        __m256i v = _mm256_cvtps_epi32(
            _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(q->real + channel)));
        v = _mm256_add_epi32(v, _mm256_set1_epi32(q->zero_point));
        v = _mm256_min_epi32(_mm256_max_epi32(v, _mm256_set1_epi32(q->lo)),
                             _mm256_set1_epi32(q->hi));
        if (count == LANES) {
            __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
            _mm_storel_epi64((void *)out, _mm_packus_epi16(w, w));
            return;
        }
        _mm256_storeu_si256((void *)r, v);
    } else {
        _mm256_storeu_si256((void *)r, sum);
        for (int c = 0; c < count; c++) {
            struct multiplier m = {q->mantissa[channel + c], q->shift[channel + c]};
            int64_t v = arith_requantize_sum(r[c], m, residual[c] - q->residual_zero_point,
                                             q->residual_mantissa[channel + c]);
            r[c] = arith_clamp(v + q->zero_point, q->lo, q->hi);
        }
    }
    for (int c = 0; c < count; c++)
        out[c] = (uint8_t)r[c];
}

INLINE void tile(const int16_t *a, const int8_t *b, int pairs, int32_t (*sums)[FAST_BLOCK],
                 const int rows)
{
    __m256i s[2 * ROWS];
#pragma GCC unroll 12
    for (int i = 0; i < 2 * rows; i++)
        s[i] = _mm256_loadu_si256((const void *)(sums[i / 2] + i % 2 * LANES));
    for (int k = 0; k < pairs; k++, b += 2 * PANEL) {
        __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)b));
        __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(b + PANEL)));
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, a + i * CHUNK + 2 * k, sizeof pair);
            __m256i x = _mm256_set1_epi32(pair);
            s[2 * i] = _mm256_add_epi32(s[2 * i], _mm256_madd_epi16(x, w0));
            s[2 * i + 1] = _mm256_add_epi32(s[2 * i + 1], _mm256_madd_epi16(x, w1));
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < 2 * rows; i++)
        _mm256_storeu_si256((void *)(sums[i / 2] + i % 2 * LANES), s[i]);
}

ISA static void gemm(const struct fast_gemm *g)
{
    int16_t wide[ROWS * CHUNK];
    int32_t sums[ROWS][FAST_BLOCK];
    for (int row = 0; row < g->rows; row += ROWS) {
        int rows = g->rows - row < ROWS ? g->rows - row : ROWS;
        for (int i = 0; i < rows; i++)
            memcpy(sums[i], g->q->bias + g->channel, sizeof sums[i]); /* it is padded */
        for (int k = 0; k < g->depth; k += CHUNK) {
            int depth = g->depth - k < CHUNK ? g->depth - k : CHUNK;
            for (int i = 0; i < rows; i++) {
                const uint8_t *from = g->a + (size_t)(row + i) * g->lda + k;
                for (int j = 0; j < depth; j++)
                    wide[i * CHUNK + j] = from[j];
            }
            for (int c = 0; c < g->channels; c += PANEL) {
                const int16_t *a = wide;
                const int8_t *b =
                    (const int8_t *)g->b + (size_t)c * (size_t)g->depth + (size_t)k * PANEL;
                int pairs = depth / 2;
                int32_t(*at)[FAST_BLOCK] = (int32_t(*)[FAST_BLOCK])(&sums[0][c]);
                switch (rows) {
                case 1: tile(a, b, pairs, at, 1); break;
                case 2: tile(a, b, pairs, at, 2); break;
                case 3: tile(a, b, pairs, at, 3); break;
                case 4: tile(a, b, pairs, at, 4); break;
                case 5: tile(a, b, pairs, at, 5); break;
                default: tile(a, b, pairs, at, 6); break;
                }
            }
        }
        for (int i = 0; i < rows; i++) {
            size_t r = (size_t)row + (size_t)i;
            if (!g->out) {
                memcpy(g->sums + r * g->lds, sums[i], (size_t)g->channels * sizeof **sums);
                continue;
            }
            for (int c = 0; c < g->channels; c += LANES)
                store(_mm256_loadu_si256((const void *)(sums[i] + c)), g->q, g->channel + c,
                      g->channels - c < LANES ? g->channels - c : LANES,
                      g->residual ? g->residual + r * g->ldr + c : NULL, g->out + r * g->ldo + c);
        }
    }
}

/* Depthwise: the bytes of two taps are interleaved and widened, 8 channels at a time.  Weights:
 * [tap / 2][channel][2]; an odd last tap is paired with itself and weight 0. */
static int pairs_of(int taps)
{
    return (taps + 1) / 2;
}

static size_t depthwise_bytes(int taps, int channels)
{
    return (size_t)pairs_of(taps) * 2 * padded(channels);
}

static void depthwise_pack(const int8_t *w, int taps, int channels, void *out)
{
    int8_t *p = out;
    memset(p, 0, depthwise_bytes(taps, channels));
    for (int t = 0; t < taps; t++)
        for (int c = 0; c < channels; c++)
            p[((size_t)(t / 2) * padded(channels) + (size_t)c) * 2 + (size_t)(t % 2)] =
                w[c * taps + t];
}

/* taps: known when this is compiled, or not. */
INLINE void depthwise_pixel(const struct fast_depthwise *d, const uint8_t *const *in, const int taps,
                            uint8_t *out)
{
    size_t width = padded(d->channels);
    for (int c = 0; c < d->channels; c += LANES) {
        const int8_t *w = (const int8_t *)d->weights + 2 * c;
        __m256i sum = _mm256_loadu_si256((const void *)(d->q->bias + c));
#pragma GCC unroll 5
        for (int t = 0; t < taps; t += 2, w += 2 * width) {
            __m128i x = _mm_loadl_epi64((const void *)(in[t] + c));
            __m128i y = _mm_loadl_epi64((const void *)(in[t + 1 < taps ? t + 1 : t] + c));
            __m256i pairs = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(x, y));
            __m256i weights = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)w));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, weights));
        }
        store(sum, d->q, c, d->channels - c < LANES ? d->channels - c : LANES, NULL, out + c);
    }
}

ISA static void depthwise(const struct fast_depthwise *d)
{
    const uint8_t *const *in = d->in;
    for (int i = 0; i < d->pixels; i++, in += d->taps)
        if (d->taps == 9)
            depthwise_pixel(d, in, 9, d->out + (size_t)i * d->ldo);
        else
            depthwise_pixel(d, in, d->taps, d->out + (size_t)i * d->ldo);
}

const struct fast_kernels fast_avx2 = {
    .name = "avx2",
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
#endif
