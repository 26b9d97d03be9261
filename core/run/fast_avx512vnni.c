/* fast_avx512vnni: four products per lane and step (vpdpbusd), 16 channels per register.
 *
 * A tile of the product is up to ROWS rows x 4 registers of channels in 24 accumulators; each step
 * broadcasts four bytes of every row and loads four registers of weights.  Weights are packed as
 * [block of 64 channels][depth / 4][channel][4].  vpdpbusd does not saturate, so sums are those of int32. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>


#define ISA __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define FAST_ISA ISA
#include "core/run/fast_loops.h"
#define INLINE static inline __attribute__((always_inline)) ISA

enum { LANES = 16 };

static bool supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

/* Channels as packed: whole registers. */
static size_t padded(int channels)
{
    return (size_t)(channels + LANES - 1) / LANES * LANES;
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
    for (int block = 0; block < channels; block += FAST_BLOCK) {
        size_t width = padded(channels - block < FAST_BLOCK ? channels - block : FAST_BLOCK);
        for (int k = 0; k < depth; k += 4)
            for (size_t c = 0; c < width; c++)
                for (int j = 0; j < 4; j++)
                    *p++ = block + (int)c < channels
                               ? w[(size_t)(block + (int)c) * (size_t)depth + (size_t)(k + j)]
                               : 0;
    }
}

/* 16 accumulators to 16 integers, not clamped yet and without the zero point. */
INLINE __m512i requantize_binary32(__m512i sum, const float *real)
{
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(real)));
}

/* floor((v + half - 1 + odd) / 2^shift) is v / 2^shift to nearest, ties to even, for shift >= 1. */
INLINE __m512i shift_even(__m512i v, __m512i shift)
{
    __m512i one = _mm512_set1_epi64(1), odd = _mm512_and_si512(_mm512_srav_epi64(v, shift), one);
    __m512i half = _mm512_sllv_epi64(one, _mm512_sub_epi64(shift, one));
    return _mm512_srav_epi64(_mm512_add_epi64(_mm512_add_epi64(v, odd), _mm512_sub_epi64(half, one)),
                             shift);
}

/* Exact, with a second operand: 8 of them. */
INLINE __m256i requantize_wide(__m256i sum, __m256i second, const struct fast_requant *q,
                               int channel)
{
    __m512i m = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const void *)(q->mantissa + channel)));
    __m512i s = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const void *)(q->shift + channel)));
    __m512i rm = _mm512_cvtepi32_epi64(
        _mm256_loadu_si256((const void *)(q->residual_mantissa + channel)));
    __m512i v = _mm512_add_epi64(_mm512_mul_epi32(_mm512_cvtepi32_epi64(sum), m),
                                 _mm512_mul_epi32(_mm512_cvtepi32_epi64(second), rm));
    return _mm512_cvtsepi64_epi32(shift_even(v, s));
}

INLINE __m512i requantize(__m512i sum, const struct fast_requant *q, int channel, __mmask16 mask,
                          const uint8_t *residual)
{
    if (!q->residual_mantissa)
        return requantize_binary32(sum, q->real + channel);
    __m512i second = _mm512_sub_epi32(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, residual)),
                                      _mm512_set1_epi32(q->residual_zero_point));
    __m256i low = requantize_wide(_mm512_castsi512_si256(sum), _mm512_castsi512_si256(second), q,
                                  channel);
    __m256i high = requantize_wide(_mm512_extracti64x4_epi64(sum, 1),
                                   _mm512_extracti64x4_epi64(second, 1), q, channel + 8);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* `channels` results from up to 4 registers of accumulators.  The saturations of the packs to int16 and of the
 * addition between them change nothing that the last one to uint8 would not. */
INLINE void store(const __m512i *sum, const int regs, const struct fast_requant *q, int channel,
                  int channels, const uint8_t *residual, uint8_t *out)
{
    __m512i r[4], zero_point = _mm512_set1_epi16((int16_t)q->zero_point);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        int left = channels - j * LANES;
        __mmask16 mask = left >= LANES ? 0xffff : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
        r[j] = j < regs ? requantize(sum[j], q, channel + j * LANES, mask,
                                     residual ? residual + j * LANES : NULL)
                        : _mm512_setzero_si512();
    }
    __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(r[0], r[1]), zero_point);
    __m512i high = regs > 2 ? _mm512_adds_epi16(_mm512_packs_epi32(r[2], r[3]), zero_point) : low;
    __m512i bytes = _mm512_packus_epi16(low, high);
    /* The packs work within 128-bit lanes: lane i holds the i-th four of each register. */
    bytes = _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
    bytes = _mm512_max_epu8(bytes, _mm512_set1_epi8((char)q->lo));
    bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8((char)q->hi));
    _mm512_mask_storeu_epi8(out, channels >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << channels) - 1,
                            bytes);
}

INLINE __m512i four_bytes(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

/* One tile: ROWS rows, REGS registers of channels. */
INLINE void tile(const struct fast_gemm *g, int row, const int rows, const int regs)
{
    __m512i sum[24];
    const uint8_t *a = g->a + (size_t)row * g->lda;
    const int8_t *b = g->b;
#pragma GCC unroll 24
    for (int i = 0; i < rows * regs; i++)
        sum[i] = _mm512_loadu_si512(g->q->bias + g->channel + i % regs * LANES);
    for (int k = 0; k < g->depth; k += 4, a += 4, b += 64 * regs) {
        __m512i w[4];
#pragma GCC unroll 4
        for (int j = 0; j < regs; j++)
            w[j] = _mm512_loadu_si512(b + 64 * j);
#pragma GCC unroll 24
        for (int i = 0; i < rows; i++) {
            __m512i x = four_bytes(a + (size_t)i * g->lda);
#pragma GCC unroll 4
            for (int j = 0; j < regs; j++)
                sum[i * regs + j] = _mm512_dpbusd_epi32(sum[i * regs + j], x, w[j]);
        }
    }
    if (g->out) {
#pragma GCC unroll 24
        for (int i = 0; i < rows; i++)
            store(sum + i * regs, regs, g->q, g->channel, g->channels,
                  g->residual ? g->residual + (size_t)(row + i) * g->ldr : NULL,
                  g->out + (size_t)(row + i) * g->ldo);
        return;
    }
#pragma GCC unroll 24
    for (int i = 0; i < rows * regs; i++) {
        int left = g->channels - i % regs * LANES;
        __mmask16 mask = left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
        _mm512_mask_storeu_epi32(g->sums + (size_t)(row + i / regs) * g->lds + i % regs * LANES,
                                 mask, sum[i]);
    }
}

/* Rows are divided evenly: 49 rows as 6,6,6,6,5,5,5,5,5 and not as 8 x 6 and one. */
#define ROWS_CASE(n, regs)                                                                         \
    case n: tile(g, row, n, regs); break;
#define GEMM(regs, most, ...)                                                                      \
    ISA static void gemm_##regs(const struct fast_gemm *g)                                         \
    {                                                                                              \
        int tiles = (g->rows + (most) - 1) / (most);                                               \
        for (int t = 0, row = 0; t < tiles; t++) {                                                 \
            int rows = (g->rows - row + tiles - t - 1) / (tiles - t);                              \
            switch (rows) {                                                                        \
                __VA_ARGS__                                                                        \
            }                                                                                      \
            row += rows;                                                                           \
        }                                                                                          \
    }
GEMM(1, 12, ROWS_CASE(1, 1) ROWS_CASE(2, 1) ROWS_CASE(3, 1) ROWS_CASE(4, 1) ROWS_CASE(5, 1)
     ROWS_CASE(6, 1) ROWS_CASE(7, 1) ROWS_CASE(8, 1) ROWS_CASE(9, 1) ROWS_CASE(10, 1)
     ROWS_CASE(11, 1) ROWS_CASE(12, 1))
GEMM(2, 12, ROWS_CASE(1, 2) ROWS_CASE(2, 2) ROWS_CASE(3, 2) ROWS_CASE(4, 2) ROWS_CASE(5, 2)
     ROWS_CASE(6, 2) ROWS_CASE(7, 2) ROWS_CASE(8, 2) ROWS_CASE(9, 2) ROWS_CASE(10, 2)
     ROWS_CASE(11, 2) ROWS_CASE(12, 2))
GEMM(3, 8, ROWS_CASE(1, 3) ROWS_CASE(2, 3) ROWS_CASE(3, 3) ROWS_CASE(4, 3) ROWS_CASE(5, 3)
     ROWS_CASE(6, 3) ROWS_CASE(7, 3) ROWS_CASE(8, 3))
GEMM(4, 6, ROWS_CASE(1, 4) ROWS_CASE(2, 4) ROWS_CASE(3, 4) ROWS_CASE(4, 4) ROWS_CASE(5, 4)
     ROWS_CASE(6, 4))

static void gemm(const struct fast_gemm *g)
{
    switch (padded(g->channels) / LANES) {
    case 1: gemm_1(g); break;
    case 2: gemm_2(g); break;
    case 3: gemm_3(g); break;
    default: gemm_4(g); break;
    }
}

/* ── depthwise: the same instruction over four taps ──
 *
 * Four rows of 64 channels are interleaved so that each int32 lane holds one channel's bytes of four taps.
 * Interleaving within 128-bit lanes puts the channels of a quarter at 0-3, 16-19, 32-35 and 48-51 (+4,
 * +8, +12); weights, bias and multipliers are in that order, and the packs that narrow undo it. */

/* The channel of lane `lane` of quarter `quarter` of 64. */
static int quarter_channel(int quarter, int lane)
{
    return lane / 4 * 16 + quarter * 4 + lane % 4;
}

static int groups(int taps)
{
    return (taps + 3) / 4;
}

static size_t blocks(int channels)
{
    return (size_t)(channels + FAST_BLOCK - 1) / FAST_BLOCK;
}

static size_t depthwise_bytes(int taps, int channels)
{
    return blocks(channels) * (size_t)groups(taps) * 256;
}

static void depthwise_pack(const int8_t *w, int taps, int channels, void *out)
{
    int8_t *p = out;
    for (size_t block = 0; block < blocks(channels); block++)
        for (int group = 0; group < groups(taps); group++)
            for (int quarter = 0; quarter < 4; quarter++)
                for (int lane = 0; lane < 16; lane++)
                    for (int j = 0; j < 4; j++) {
                        int c = (int)block * FAST_BLOCK + quarter_channel(quarter, lane);
                        int t = group * 4 + j;
                        *p++ = c < channels && t < taps ? w[c * taps + t] : 0;
                    }
}

/* Four registers of 16 neighbouring channels each to quarters, or back: lane i of quarter k and lane k of
 * register i change places. */
INLINE void to_quarters(__m512i r[4])
{
    __m512i a = _mm512_shuffle_i32x4(r[0], r[1], 0x44), b = _mm512_shuffle_i32x4(r[2], r[3], 0x44);
    __m512i c = _mm512_shuffle_i32x4(r[0], r[1], 0xee), d = _mm512_shuffle_i32x4(r[2], r[3], 0xee);
    r[0] = _mm512_shuffle_i32x4(a, b, 0x88);
    r[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
    r[2] = _mm512_shuffle_i32x4(c, d, 0x88);
    r[3] = _mm512_shuffle_i32x4(c, d, 0xdd);
}

/* 64 channels of every pixel. bias, real: in quarters. taps: known when this is compiled, or 0. */
INLINE void depthwise_block(const struct fast_depthwise *d, int from, const int known_taps,
                            const __m512i bias[4], const __m512i real[4])
{
    const int taps = known_taps ? known_taps : d->taps, steps = (taps + 3) / 4;
    const int8_t *weights = (const int8_t *)d->weights + (size_t)(from / FAST_BLOCK) * (size_t)steps * 256;
    int left = d->channels - from;
    __mmask64 mask = left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
    __m512i zero_point = _mm512_set1_epi16((int16_t)d->q->zero_point);
    __m512i lo = _mm512_set1_epi8((char)d->q->lo), hi = _mm512_set1_epi8((char)d->q->hi);
    uint8_t *out = d->out + from;
    for (int i = 0; i < d->pixels; i++, out += d->ldo) {
        const uint8_t *const *in = d->in + (size_t)i * (size_t)taps;
        __m512i sum[4] = {bias[0], bias[1], bias[2], bias[3]};
#pragma GCC unroll 3
        for (int s = 0; s < steps; s++) {
            __m512i x[4];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                x[j] = 4 * s + j < taps ? _mm512_maskz_loadu_epi8(mask, in[4 * s + j] + from)
                                        : _mm512_setzero_si512();
            __m512i ab0 = _mm512_unpacklo_epi8(x[0], x[1]), ab1 = _mm512_unpackhi_epi8(x[0], x[1]);
            __m512i cd0 = _mm512_unpacklo_epi8(x[2], x[3]), cd1 = _mm512_unpackhi_epi8(x[2], x[3]);
            const int8_t *w = weights + s * 256;
            sum[0] = _mm512_dpbusd_epi32(sum[0], _mm512_unpacklo_epi16(ab0, cd0),
                                         _mm512_loadu_si512(w));
            sum[1] = _mm512_dpbusd_epi32(sum[1], _mm512_unpackhi_epi16(ab0, cd0),
                                         _mm512_loadu_si512(w + 64));
            sum[2] = _mm512_dpbusd_epi32(sum[2], _mm512_unpacklo_epi16(ab1, cd1),
                                         _mm512_loadu_si512(w + 128));
            sum[3] = _mm512_dpbusd_epi32(sum[3], _mm512_unpackhi_epi16(ab1, cd1),
                                         _mm512_loadu_si512(w + 192));
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            sum[k] = _mm512_cvtps_epi32(
                _mm512_mul_ps(_mm512_cvtepi32_ps(sum[k]), _mm512_castsi512_ps(real[k])));
        __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(sum[0], sum[1]), zero_point);
        __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(sum[2], sum[3]), zero_point);
        __m512i bytes = _mm512_packus_epi16(low, high);
        bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, lo), hi);
        _mm512_mask_storeu_epi8(out, mask, bytes);
    }
}

ISA static void depthwise(const struct fast_depthwise *d)
{
    for (int from = 0; from < d->channels; from += FAST_BLOCK) {
        __m512i bias[4], real[4];
        for (int k = 0; k < 4; k++) {
            bias[k] = _mm512_loadu_si512(d->q->bias + from + k * LANES);
            real[k] = _mm512_loadu_si512(d->q->real + from + k * LANES);
        }
        to_quarters(bias);
        to_quarters(real);
        if (d->taps == 9)
            depthwise_block(d, from, 9, bias, real);
        else
            depthwise_block(d, from, 0, bias, real);
    }
}

/* A table of 256 bytes is four registers: two lookups of 128 entries each, and the top bit chooses. */
#define VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
VBMI static void table_vbmi(const uint8_t *table, const uint8_t *x, uint8_t *y, size_t n)
{
    __m512i t[4];
    for (int i = 0; i < 4; i++)
        t[i] = _mm512_loadu_si512(table + 64 * i);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = n - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - i)) - 1;
        __m512i v = _mm512_maskz_loadu_epi8(mask, x + i);
        __m512i low = _mm512_permutex2var_epi8(t[0], v, t[1]);
        __m512i high = _mm512_permutex2var_epi8(t[2], v, t[3]);
        _mm512_mask_storeu_epi8(y + i, mask,
                                _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high));
    }
}

static void table(const uint8_t *t, const uint8_t *x, uint8_t *y, size_t n)
{
    if (__builtin_cpu_supports("avx512vbmi"))
        table_vbmi(t, x, y, n);
    else
        loop_table(t, x, y, n);
}

const struct fast_kernels fast_avx512vnni = {
    .name = "avx512vnni",
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
    .table = table,
    .maximum = loop_maximum,
    .accumulate = loop_accumulate,
    .quantize = loop_quantize,
    .dequantize = loop_dequantize,
};
#endif
