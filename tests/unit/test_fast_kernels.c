/* Every variant of the fast kernels against a direct computation, on random shapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/run/arith.h"
#include "core/run/fast_kernels.h"

static uint64_t seed = 1;
static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

enum { MOST_CHANNELS = 256 };

struct setup {
    int32_t bias[MOST_CHANNELS], mantissa[MOST_CHANNELS], shift[MOST_CHANNELS],
        residual_mantissa[MOST_CHANNELS];
    float real[MOST_CHANNELS];
    struct fast_requant q;
};

/* Multipliers that bring sums of `depth` products into the range, some of them far out of it. */
static void make_setup(struct setup *s, int channels, int depth, bool wild)
{
    memset(s, 0, sizeof *s);
    s->q = (struct fast_requant){s->bias, s->real, s->mantissa, s->shift, NULL, 0, 0, 0, 0};
    for (int c = 0; c < channels; c++) {
        double real = (1 + below(1000)) / 1000. / (20. + 30 * depth);
        if (wild && below(4) == 0)
            real = (double[]){1e-12, 3.5, 1e-5, 0.5}[below(4)];
        struct multiplier m = {0};
        assert_true(arith_multiplier(real, &m));
        s->bias[c] = (int32_t)below(20000) - 10000;
        s->mantissa[c] = m.mantissa;
        s->shift[c] = m.shift;
        s->real[c] = arith_multiplier_real(m);
        s->residual_mantissa[c] = (int32_t)below(1u << 30) - (1 << 29);
    }
    if (wild && below(2)) {
        s->q.residual_mantissa = s->residual_mantissa;
        s->q.residual_zero_point = (int32_t)below(256);
    }
    s->q.zero_point = (int32_t)below(256);
    s->q.lo = below(2) ? s->q.zero_point : 0;
    s->q.hi = s->q.lo + (int32_t)below((uint32_t)(256 - s->q.lo));
}

static uint8_t expected(const struct setup *s, int c, int32_t sum, uint8_t residual)
{
    struct multiplier m = {s->mantissa[c], s->shift[c]};
    int64_t v = s->q.residual_mantissa
                    ? arith_requantize_sum(sum, m, residual - s->q.residual_zero_point,
                                           s->residual_mantissa[c])
                    : arith_requantize_binary32(sum, s->real[c]);
    return (uint8_t)arith_clamp(v + s->q.zero_point, s->q.lo, s->q.hi);
}

static void fill(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = below(8) ? (uint8_t)below(256) : (uint8_t)(below(2) * 255);
}

static void try_gemm(const struct fast_kernels *k, bool wild)
{
    int channels = 1 + (int)below(200), rows = 1 + (int)below(30);
    int depth = 4 * (1 + (int)below(below(5) ? 20 : 300));
    size_t lda = (size_t)depth + below(9), ldo = (size_t)channels + below(70);
    struct setup s;
    make_setup(&s, channels, depth, wild);
    uint8_t *a = malloc((size_t)rows * lda + FAST_SLACK);
    int8_t *w = malloc((size_t)channels * (size_t)depth);
    uint8_t *out = malloc((size_t)rows * ldo), *residual = malloc((size_t)rows * ldo);
    int32_t *sums = malloc((size_t)rows * ldo * sizeof *sums);
    char *b = malloc(k->gemm_bytes(depth, channels));
    assert_true(a && w && out && residual && sums && b);
    fill(a, (size_t)rows * lda);
    fill(w, (size_t)channels * (size_t)depth);
    fill(residual, (size_t)rows * ldo);
    memset(out, 0xa5, (size_t)rows * ldo);
    k->gemm_pack(w, depth, channels, b);
    for (int c = 0; c < channels; c += FAST_BLOCK) {
        struct fast_gemm g = {.a = a,
                              .lda = lda,
                              .rows = rows,
                              .depth = depth,
                              .b = b + k->gemm_offset(depth, c),
                              .channel = c,
                              .channels = channels - c < FAST_BLOCK ? channels - c : FAST_BLOCK,
                              .q = &s.q,
                              .out = out + c,
                              .ldo = ldo,
                              .residual = s.q.residual_mantissa ? residual + c : NULL,
                              .ldr = ldo};
        k->gemm(&g);
        g.out = NULL;
        g.sums = sums + c;
        g.lds = ldo;
        k->gemm(&g);
    }
    for (int r = 0; r < rows; r++)
        for (size_t c = 0; c < ldo; c++) {
            size_t at = (size_t)r * ldo + c;
            if (c >= (size_t)channels) { /* nothing is written beyond the channels */
                assert_int_equal(out[at], 0xa5);
                continue;
            }
            int32_t sum = s.bias[c];
            for (int d = 0; d < depth; d++)
                sum += a[(size_t)r * lda + (size_t)d] * w[c * (size_t)depth + (size_t)d];
            assert_int_equal(sums[at], sum);
            assert_int_equal(out[at], expected(&s, (int)c, sum, residual[at]));
        }
    free(a);
    free(w);
    free(out);
    free(residual);
    free(sums);
    free(b);
}

static void try_depthwise(const struct fast_kernels *k, bool wild)
{
    int channels = 1 + (int)below(200), taps = 1 + (int)below(30), pixels = 1 + (int)below(9);
    size_t ldo = (size_t)channels + below(70), size = (size_t)channels * 40;
    struct setup s;
    make_setup(&s, channels, taps, wild);
    s.q.residual_mantissa = NULL;
    uint8_t *x = malloc(size + FAST_SLACK), *out = malloc((size_t)pixels * ldo);
    int8_t *w = malloc((size_t)channels * (size_t)taps);
    char *b = malloc(k->depthwise_bytes(taps, channels));
    const uint8_t **in = malloc((size_t)pixels * (size_t)taps * sizeof *in);
    assert_true(x && out && w && b && in);
    fill(x, size);
    fill(w, (size_t)channels * (size_t)taps);
    memset(out, 0xa5, (size_t)pixels * ldo);
    for (int i = 0; i < pixels * taps; i++)
        in[i] = x + (size_t)channels * below(40);
    k->depthwise_pack(w, taps, channels, b);
    k->depthwise(&(struct fast_depthwise){in, taps, pixels, channels, b, &s.q, out, ldo});
    for (int i = 0; i < pixels; i++)
        for (size_t c = 0; c < ldo; c++) {
            if (c >= (size_t)channels) {
                assert_int_equal(out[(size_t)i * ldo + c], 0xa5);
                continue;
            }
            int32_t sum = s.bias[c];
            for (int t = 0; t < taps; t++)
                sum += in[i * taps + t][c] * w[c * (size_t)taps + (size_t)t];
            assert_int_equal(out[(size_t)i * ldo + c], expected(&s, (int)c, sum, 0));
        }
    free(x);
    free(out);
    free(w);
    free(b);
    free(in);
}

static void test_variants(void **state)
{
    (void)state;
    size_t count, ran = 0;
    const struct fast_kernels *const *list = fast_kernels_list(&count);
    for (size_t v = 0; v < count; v++) {
        if (!list[v]->supported())
            continue;
        ran++;
        for (int i = 0; i < 300; i++) {
            try_gemm(list[v], i % 2);
            try_depthwise(list[v], i % 2);
        }
    }
    assert_true(ran >= 1);
}

static void test_names(void **state)
{
    (void)state;
    assert_ptr_equal(fast_kernels_find("portable"), &fast_portable);
    assert_null(fast_kernels_find("avx1024"));
    assert_true(fast_kernels_find(NULL)->supported());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
