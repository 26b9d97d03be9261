/* fast_loops: the loops that a compiler turns into vector code by itself, written once and compiled for
 * every instruction set.  A variant's file defines FAST_ISA and includes this. */
#include <math.h>
#include <string.h>

#include "core/run/fast_kernels.h"

#ifdef __clang__ /* checks for overlap at run time */
#define LOOP_INDEPENDENT
#else
#define LOOP_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* The rule of arith_add() in 32 bits: both mantissas are below 2^22 and the operands below 2^8, so that
 * the sum fits int32 and its magnitude plus one half fits uint32 (shift <= 31). */
FAST_ISA static void loop_add(const struct fast_add *p, const uint8_t *a,
                              const uint8_t *b, uint8_t *y, size_t n)
{
    int32_t ma = p->a, mb = p->b, offset = p->offset, zero = p->zero_point, lo = p->lo, hi = p->hi;
    uint32_t half = (uint32_t)1 << (p->shift - 1), shift = (uint32_t)p->shift;
    LOOP_INDEPENDENT
    for (size_t i = 0; i < n; i++) { /* y may be a or b */
        int32_t sum = a[i] * ma + b[i] * mb + offset;
        uint32_t magnitude = sum < 0 ? (uint32_t)-sum : (uint32_t)sum;
        int32_t r = (int32_t)((magnitude + half) >> shift);
        r = (sum < 0 ? -r : r) + zero;
        r = r < lo ? lo : r;
        y[i] = (uint8_t)(r > hi ? hi : r);
    }
}

/* To nearest, ties to even, by the addition itself: magnitudes below 2^22 are exact; what is larger would
 * be clamped anyway. */
FAST_ISA static void loop_multiply(const struct fast_multiply *p, const uint8_t *a,
                                   const uint8_t *b, uint8_t *y, size_t n)
{
    int32_t za = p->a, zb = p->b, zero = p->zero_point, lo = p->lo, hi = p->hi;
    float real = p->real;
    LOOP_INDEPENDENT
    for (size_t i = 0; i < n; i++) { /* y may be a or b */
        float v = (float)((a[i] - za) * (b[i] - zb)) * real;
        v = v < -1024.f ? -1024.f : v;
        v = v > 1024.f ? 1024.f : v;
        int32_t r = (int32_t)((v + 0x1.8p23f) - 0x1.8p23f) + zero;
        r = r < lo ? lo : r;
        y[i] = (uint8_t)(r > hi ? hi : r);
    }
}

FAST_ISA static void loop_maximum(uint8_t *restrict y, const uint8_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] > y[i] ? x[i] : y[i];
}

FAST_ISA static void loop_accumulate(int32_t *restrict sum, const uint8_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += x[i];
}

FAST_ISA static void loop_table(const uint8_t *table, const uint8_t *x, uint8_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = table[x[i]];
}

/* arith_quantize_binary32() of x * factor or x / scale, plus offset. */
FAST_ISA static void loop_quantize(const struct fast_quantize *p, const float *restrict x,
                                   uint8_t *restrict y, size_t n)
{
    float factor = p->factor, zero = p->zero_point, lo = p->lo, hi = p->hi;
    bool divide = p->divide;
    int32_t offset = p->offset;
    for (size_t i = 0; i < n; i++) {
        float q = __builtin_nearbyintf(divide ? x[i] / factor : x[i] * factor) + zero;
        q = q != q ? 0 : q;
        q = q < lo ? lo : q;
        q = q > hi ? hi : q;
        y[i] = (uint8_t)((int32_t)q + offset);
    }
}

FAST_ISA static void loop_dequantize(const struct fast_quantize *p, const uint8_t *restrict x,
                                     float *restrict y, size_t n)
{
    float scale = p->factor;
    int32_t zero = (int32_t)p->zero_point + p->offset;
    for (size_t i = 0; i < n; i++)
        y[i] = scale * (float)(x[i] - zero);
}
