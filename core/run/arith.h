/* arith: the fixed-point arithmetic, defined once.  docs/arithmetic.md states it in words.
 *
 * The reference kernels, the fast kernels, the compiler's constants and the machine simulator all
 * take it from here, so that "the same bits" has one meaning.  Ties go to the even integer
 * everywhere but in arith_add(), whose rule is that of the library it has to agree with.  No
 * expression here may be contracted to a fused multiply-add. */
#ifndef BPU_RUN_ARITH_H
#define BPU_RUN_ARITH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* A positive real number as mantissa * 2^-shift.  mantissa: 2^30 .. 2^31-1 (31 bits), or fewer bits
 * where two terms share a shift, or 0 for a multiplier below 2^-32, whose products with any int32
 * round to 0. shift: 0 .. 62. */
struct multiplier {
    int32_t mantissa;
    int32_t shift;
};

/* The nearest multiplier to `real`.  False if it is not positive and finite, or not below 2^30. */
static inline bool arith_multiplier(double real, struct multiplier *out)
{
    int exponent;
    if (!isfinite(real) || real <= 0)
        return false;
    double fraction = frexp(real, &exponent); /* 0.5 <= fraction < 1 */
    int64_t m = (int64_t)nearbyint(ldexp(fraction, 31));
    if (m == (int64_t)1 << 31) {
        m >>= 1;
        exponent++;
    }
    int shift = 31 - exponent;
    if (shift < 1)
        return false;
    *out = shift > 62 ? (struct multiplier){0, 62} : (struct multiplier){(int32_t)m, shift};
    return true;
}

/* The multiplier as binary32.  Exact for those that requant_multipliers() makes for 8-bit results.
 */
static inline float arith_multiplier_real(struct multiplier m)
{
    return (float)ldexp(m.mantissa, -m.shift);
}

/* v * 2^-shift, to nearest, ties to even. shift: 0 .. 62. */
static inline int64_t arith_shift(int64_t v, int shift)
{
    if (shift == 0)
        return v;
    int64_t floor = v >> shift, rest = v & (((int64_t)1 << shift) - 1);
    int64_t half = (int64_t)1 << (shift - 1);
    return floor + (rest > half || (rest == half && (floor & 1)));
}

/* ── one requantization at the end of a sum ──
 *
 * 8-bit results without a residual: the rule of qnnpack on x86, in binary32: the accumulator is
 * rounded to binary32, multiplied (one rounding), and rounded to an integer.
 * All others (a residual, qint16, qint32): exact 64-bit products, one rounding. */
static inline int64_t arith_requantize_binary32(int32_t accumulator, float multiplier)
{
    return (int64_t)nearbyintf((float)accumulator * multiplier);
}
static inline int64_t arith_requantize(int32_t accumulator, struct multiplier m)
{
    return arith_shift((int64_t)accumulator * m.mantissa, m.shift);
}
/* A second term, of at most 17 bits, on the same shift: the sum of the products is exact. */
static inline int64_t arith_requantize_sum(int32_t accumulator, struct multiplier m,
                                           int32_t residual, int32_t residual_mantissa)
{
    int64_t sum = (int64_t)accumulator * m.mantissa + (int64_t)residual * residual_mantissa;
    return arith_shift(sum, m.shift);
}

/* ── two feature maps with scales of their own ── */

/* Multipliers of 22 bits on one shift: the larger is 2^21 .. 2^22-1. */
struct add_multipliers {
    int32_t a, b, shift; /* shift: 1 .. 62 */
};

/* a, b: s_a / s_y and s_b / s_y, whose signs may differ, not both 0.  False if out of range. */
static inline bool arith_add_multipliers(float a, float b, struct add_multipliers *out)
{
    float larger = fabsf(a) > fabsf(b) ? fabsf(a) : fabsf(b);
    if (!isfinite(a) || !isfinite(b) || larger < 0x1p-40f || larger >= 0x1p20f)
        return false;
    out->shift = 21 - ilogbf(larger);
    out->a = (int32_t)nearbyintf(ldexpf(a, out->shift));
    out->b = (int32_t)nearbyintf(ldexpf(b, out->shift));
    return true;
}

/* (a * m.a + b * m.b) * 2^-shift with ties away from zero, as qnnpack adds. a, b: without zero
 * points. */
static inline int64_t arith_add(int32_t a, int32_t b, struct add_multipliers m)
{
    int64_t sum = (int64_t)a * m.a + (int64_t)b * m.b;
    int64_t half = (int64_t)1 << (m.shift - 1);
    return sum < 0 ? -((-sum + half) >> m.shift) : (sum + half) >> m.shift;
}

/* ── real numbers ── */

static inline int32_t arith_clamp(int64_t v, int32_t lo, int32_t hi)
{
    return v < lo ? lo : v > hi ? hi : (int32_t)v;
}

/* A real number as an integer: to nearest, ties to even; what lies outside saturates, NaN is 0.
 * Tables and results that are computed in double precision. */
static inline int32_t arith_quantize(double real, double scale, int32_t zero_point, int32_t lo,
                                     int32_t hi)
{
    double q = nearbyint(real / scale) + zero_point;
    return isnan(q) ? 0 : q < lo ? lo : q > hi ? hi : (int32_t)q;
}

/* The same for inputs of a network (QuantStub) and for a value that gets another scale, where
 * PyTorch multiplies by the reciprocal of the scale in binary32. */
static inline int32_t arith_quantize_binary32(float real, float reciprocal, int32_t zero_point,
                                              int32_t lo, int32_t hi)
{
    float q = nearbyintf(real * reciprocal) + (float)zero_point;
    return isnan(q) ? 0 : q < (float)lo ? lo : q >= (float)hi ? hi : (int32_t)q;
}

#endif
