/* The arithmetic of core/run/arith.h and the multipliers of core/run/requant.h, against 128-bit
 * integers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/run/requant.h"

__extension__ typedef __int128 wide;

static uint64_t seed = 88172645463325252u;
static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* Random integers of all sizes. */
static int64_t any(int bits)
{
    int n = (int)(next() % (uint64_t)bits) + 1;
    int64_t v = (int64_t)(next() >> (64 - n));
    return next() & 1 ? -v : v;
}

/* v / 2^shift to nearest, ties to even, another way: by the remainder of a division. */
static int64_t shifted(wide v, int shift)
{
    wide one = (wide)1 << shift, q = v / one, r = v % one;
    if (r < 0) {
        r += one;
        q--;
    }
    return (int64_t)(2 * r > one || (2 * r == one && q % 2 != 0) ? q + 1 : q);
}

static void test_shift(void **state)
{
    (void)state;
    for (int i = 0; i < 200000; i++) {
        int shift = (int)(next() % 63);
        int64_t v = any(62);
        if (i % 4 == 0 && shift > 0 && shift < 61) /* exactly between two integers */
            v = (int64_t)((uint64_t)(any(62 - shift) * 2 + 1) << (shift - 1));
        assert_int_equal(arith_shift(v, shift), shifted(v, shift));
    }
    assert_int_equal(arith_shift(5, 1), 2);
    assert_int_equal(arith_shift(7, 1), 4);
    assert_int_equal(arith_shift(-5, 1), -2);
    assert_int_equal(arith_shift(-7, 1), -4);
    assert_int_equal(arith_shift(INT64_MIN, 62), -2);
}

static void test_multiplier(void **state)
{
    struct multiplier m = {0, 0};
    (void)state;
    for (int i = 0; i < 100000; i++) {
        double real = ldexp(1 + (double)(next() >> 12) * 0x1p-52, (int)(next() % 62) - 32);
        if (real >= 0x1p30) {
            assert_false(arith_multiplier(real, &m));
            continue;
        }
        assert_true(arith_multiplier(real, &m));
        assert_in_range(m.shift, 1, 62);
        assert_true(m.mantissa >= 1 << 30);
        double error = fabs(ldexp(m.mantissa, -m.shift) - real);
        assert_true(error <= real * 0x1p-31);
        /* A number of binary32 is kept exactly. */
        float single = (float)real;
        assert_true(single >= 0x1p30f ||
                    (arith_multiplier(single, &m) && arith_multiplier_real(m) == single));
    }
    assert_false(arith_multiplier(0, &m));
    assert_false(arith_multiplier(-1, &m));
    assert_false(arith_multiplier(NAN, &m));
    assert_false(arith_multiplier(INFINITY, &m));
    assert_true(arith_multiplier(0x1p-70, &m)); /* too small to matter */
    assert_int_equal(m.mantissa, 0);
    assert_true(arith_multiplier(1, &m)); /* one stays one */
    assert_int_equal(arith_requantize(INT32_MIN, m), INT32_MIN);
    assert_int_equal(arith_requantize(INT32_MAX, m), INT32_MAX);
}

static void test_requantize(void **state)
{
    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct multiplier m = {(int32_t)(1 << 30 | (next() & 0x3fffffff)), (int32_t)(next() % 63)};
        int32_t a = (int32_t)any(31), r = (int32_t)any(17), k = (int32_t)(next() >> 33);
        assert_int_equal(arith_requantize(a, m), shifted((wide)a * m.mantissa, m.shift));
        assert_int_equal(arith_requantize_sum(a, m, r, k),
                         shifted((wide)a * m.mantissa + (wide)r * k, m.shift));
    }
    struct multiplier most = {INT32_MAX, 62};
    assert_int_equal(arith_requantize_sum(INT32_MIN, most, -131072, INT32_MAX), -1);
    /* binary32: two roundings, of which the first may make a tie. 2^24 + 1 is no binary32. */
    assert_int_equal(arith_requantize_binary32((1 << 24) + 1, 1), 1 << 24);
    assert_int_equal(arith_requantize_binary32(5, .5f), 2);
    assert_int_equal(arith_requantize_binary32(-7, .5f), -4);
    assert_int_equal(arith_requantize_binary32(INT32_MIN, 0x1p20f), -((int64_t)1 << 51));
}

static void test_add(void **state)
{
    struct add_multipliers m = {0, 0, 1};
    (void)state;
    for (int i = 0; i < 200000; i++) {
        float a = ldexpf(1 + (float)(next() >> 41) * 0x1p-23f, (int)(next() % 20) - 12);
        float b = ldexpf(1 + (float)(next() >> 41) * 0x1p-23f, (int)(next() % 20) - 12);
        if (next() & 1)
            b = -b;
        assert_true(arith_add_multipliers(a, b, &m));
        int32_t larger = abs(m.a) > abs(m.b) ? abs(m.a) : abs(m.b);
        assert_in_range(larger, 1 << 21, 1 << 22);
        int32_t p = (int32_t)any(16), q = (int32_t)any(16);
        wide sum = (wide)p * m.a + (wide)q * m.b, half = (wide)1 << (m.shift - 1);
        wide magnitude = ((sum < 0 ? -sum : sum) + half) / (2 * half);
        int64_t want = (int64_t)(sum < 0 ? -magnitude : magnitude);
        assert_int_equal(arith_add(p, q, m), want);
        /* Ties away from zero: the rule has no preferred sign. */
        assert_int_equal(arith_add(-p, -q, m), -want);
    }
    assert_true(arith_add_multipliers(.5f, .5f, &m));
    assert_int_equal(arith_add(1, 0, m), 1);
    assert_int_equal(arith_add(-1, 0, m), -1);
    assert_int_equal(arith_add(1, 2, m), 2);
    assert_false(arith_add_multipliers(0, 0, &m));
    assert_false(arith_add_multipliers(NAN, 1, &m));
    assert_false(arith_add_multipliers(0x1p21f, 1, &m));
}

static void test_quantize(void **state)
{
    (void)state;
    assert_int_equal(arith_quantize(2.5, 1, 0, -128, 127), 2);
    assert_int_equal(arith_quantize(3.5, 1, 0, -128, 127), 4);
    assert_int_equal(arith_quantize(2.5, 1, 1, -128, 127), 3); /* the zero point comes after */
    assert_int_equal(arith_quantize(-INFINITY, 1, 0, -128, 127), -128);
    assert_int_equal(arith_quantize(1e300, 1e-300, 5, 0, 255), 255);
    assert_int_equal(arith_quantize(NAN, 1, 5, 0, 255), 0);
    assert_int_equal(arith_quantize_binary32(2.5f, 1, 1, 0, 255), 3);
    assert_int_equal(arith_quantize_binary32(INFINITY, 1, 1, 0, 255), 255);
    assert_int_equal(arith_quantize_binary32(1e30f, 1, 0, INT32_MIN, INT32_MAX), INT32_MAX);
    assert_int_equal(arith_quantize_binary32(-1e30f, 1, 0, INT32_MIN, INT32_MAX), INT32_MIN);
    assert_int_equal(arith_quantize_binary32(NAN, 1, 5, 0, 255), 0);
    assert_int_equal(requant_bias(1e30, 1e-3, 1e-3), INT32_MAX);
    assert_int_equal(requant_bias(-1e30, 1e-3, 1e-3), INT32_MIN);
    assert_int_equal(requant_bias(-2.5, 1, 1), -2);
}

#define CHANNELS 4

static void test_requant(void **state)
{
    double s_x = .02, s_y = .05, s_r = 3.1, s_w[CHANNELS] = {.001, .01, .5, 1e-9};
    int64_t z_y = 3, z_r = -2;
    struct quant x = {&s_x, NULL, 1, 0}, w = {s_w, NULL, CHANNELS, 0}, y = {&s_y, &z_y, 1, 0};
    struct quant r = {&s_r, &z_r, 1, 0};
    struct requant_scales s = {&x, &w, &y, NULL, DT_QINT8, CHANNELS};
    int32_t m[CHANNELS], shift[CHANNELS], residual[CHANNELS];
    struct bpu_error err = {0};
    struct requant q;
    struct arena a;
    (void)state;
    arena_init(&a, 1 << 20);
    assert_true(requant_new(&a, &s, "relu", "conv", NULL, NULL, &q, &err));
    assert_non_null(q.real);
    assert_int_equal(q.lo, 3);
    assert_int_equal(q.hi, 127);
    assert_int_equal(requant_apply(&q, 0, -100000, 0), 3);
    assert_int_equal(requant_apply(&q, 0, 100000, 0), 43);
    assert_int_equal(requant_apply(&q, 2, INT64_MAX, 0), 127);
    /* With a second operand both share a shift; what leaves little of the first is still in range.
     */
    s.r = &r;
    assert_true(requant_multipliers(&s, "conv", m, shift, residual, &err));
    for (int c = 0; c < CHANNELS; c++) {
        assert_in_range(shift[c], 0, 62);
        double real = s_x * s_w[c] / s_y, ratio = s_r / s_y;
        assert_true(fabs(ldexp(m[c], -shift[c]) - real) <= ldexp(.5, -shift[c]));
        assert_true(fabs(ldexp(residual[c], -shift[c]) - ratio) <= ldexp(.5, -shift[c]));
        assert_int_equal(residual[c], requant_residual(s_r, s_y, shift[c]));
    }
    assert_true(requant_new(&a, &s, NULL, "conv", m, shift, &q, &err));
    assert_null(q.real);
    assert_int_equal(requant_apply(&q, 1, 1000, -1), 69); /* 1000 * .004 + 1 * 62 + 3 */
    /* What leaves unquantized is the sum itself. */
    s = (struct requant_scales){&x, &w, NULL, NULL, DT_QINT32, CHANNELS};
    assert_true(requant_new(&a, &s, NULL, "conv", NULL, NULL, &q, &err));
    assert_int_equal(requant_apply(&q, 3, -123456789, 0), -123456789);
    assert_int_equal(requant_apply(&q, 3, (int64_t)1 << 40, 0), INT32_MAX);
    /* Refused: no scale, a ratio out of range, parameters out of range, an unknown activation. */
    s = (struct requant_scales){&x, &w, NULL, NULL, DT_QINT8, CHANNELS};
    assert_false(requant_new(&a, &s, NULL, "conv", NULL, NULL, &q, &err));
    assert_int_equal(err.code, BPU_BAD_MODEL);
    assert_string_equal(err.where, "conv");
    err = (struct bpu_error){0};
    s_y = 1e-30;
    s.y = &y;
    assert_false(requant_new(&a, &s, NULL, "conv", NULL, NULL, &q, &err));
    assert_int_equal(err.code, BPU_BAD_MODEL);
    err = (struct bpu_error){0};
    s_y = .05;
    shift[2] = 63;
    assert_false(requant_new(&a, &s, NULL, "conv", m, shift, &q, &err));
    assert_int_equal(err.code, BPU_BAD_MODEL);
    err = (struct bpu_error){0};
    assert_false(requant_new(&a, &s, "gelu", "conv", NULL, NULL, &q, &err));
    assert_int_equal(err.code, BPU_BAD_MODEL);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shift),      cmocka_unit_test(test_multiplier),
        cmocka_unit_test(test_requantize), cmocka_unit_test(test_add),
        cmocka_unit_test(test_quantize),   cmocka_unit_test(test_requant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
