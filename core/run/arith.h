/* arith: the fixed-point arithmetic, defined once.  docs/arithmetic.md states it in words.
 *
 * The reference kernels, the fast kernels, the compiler's constants and the machine simulator all
 * take it from here, so that "the same bits" has one meaning.  Ties go to the even integer
 * everywhere but in arith_add(), whose rule is that of the library it has to agree with. */
#ifndef BPU_RUN_ARITH_H
#define BPU_RUN_ARITH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* A positive real number as mantissa * 2^-shift.  mantissa: 2^30 .. 2^31-1 (31 bits), or 0 for a
 * multiplier below 2^-62, whose products with any int32 round to 0. shift: 0 .. 62. */
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

/* v * 2^-shift, to nearest, ties to even. shift: 0 .. 62. */
static inline int64_t arith_shift(int64_t v, int shift)
{
    if (shift == 0)
        return v;
    int64_t floor = v >> shift, rest = v & (((int64_t)1 << shift) - 1);
    int64_t half = (int64_t)1 << (shift - 1);
    return floor + (rest > half || (rest == half && (floor & 1)));
}

/* accumulator * multiplier, to nearest, ties to even; exact 64-bit product. */
static inline int64_t arith_requantize(int32_t accumulator, struct multiplier m)
{
    return arith_shift((int64_t)accumulator * m.mantissa, m.shift);
}

static inline int32_t arith_clamp(int64_t v, int32_t lo, int32_t hi)
{
    return v < lo ? lo : v > hi ? hi : (int32_t)v;
}

/* A real number as an integer: to nearest, ties to even; what lies outside saturates, NaN is 0. */
static inline int32_t arith_quantize(double real, double scale, int32_t zero_point, int32_t lo,
                                     int32_t hi)
{
    double q = nearbyint(real / scale) + zero_point;
    return isnan(q) ? 0 : q < lo ? lo : q > hi ? hi : (int32_t)q;
}

#endif
