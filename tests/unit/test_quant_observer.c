/* Observers on distributions whose answer is known. */
#include <math.h>

#include "quant_net.h"

#include "core/quant/observer.h"

enum { N = 200000 };

static struct net net;
static struct statistics statistics;
static struct qconfig_activation config;
static float data[N];

static int setup(void **state)
{
    (void)state;
    net_begin(&net, 1);
    net_ok(&net, statistics_init(&net.arena, &statistics, &net.err));
    config = (struct qconfig_activation){.dtype = DT_QINT8,
                                         .percentile = 99,
                                         .std = 2,
                                         .averaging_constant = .1,
                                         .min = -3,
                                         .max = 2};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_end(&net);
    return 0;
}

static void uniform(double lo, double hi)
{
    for (int i = 0; i < N; i++)
        data[i] = (float)(lo + (hi - lo) * (net_random(&net) + 1) / 2);
}

static void gaussian(double std)
{
    for (int i = 0; i < N; i += 2) {
        double u = (net_random(&net) + 1) / 2 + 1e-12, v = M_PI * net_random(&net);
        data[i] = (float)(std * sqrt(-2 * log(u)) * cos(v));
        data[i + 1] = (float)(std * sqrt(-2 * log(u)) * sin(v));
    }
}

static double range(enum observer o)
{
    return observer_range(&statistics, o, &config);
}

static void near(double have, double want, double tolerance)
{
    if (!(fabs(have - want) <= tolerance))
        fail_msg("%g, not %g", have, want);
}

static void uniform_numbers(void **state)
{
    (void)state;
    uniform(-1, 1);
    statistics_add(&statistics, data, N, .01);
    near(statistics_mean(&statistics), 0, .01);
    near(statistics_std(&statistics), 1 / sqrt(3), .01);
    near(range(OBSERVER_MIN_MAX), 1, .001);
    near(range(OBSERVER_PERCENTILE), .99, .002);
    near(range(OBSERVER_MSE), 1, .05);
    near(range(OBSERVER_KL), 1, .12);
    near(range(OBSERVER_CLIP_STD), 1, .001); /* 2 deviations are beyond the largest value */
    near(range(OBSERVER_CLIP), 3, 0);
    near(statistics_beyond(&statistics, .75), .25, .005);
    near(statistics_beyond(&statistics, 1), 0, .001);
    /* inside, the error is that of rounding: step^2 / 12 */
    near(observer_error(&statistics, 1, DT_QINT8) / (1 / 127.5 / 127.5 / 12), 1, .02);
    near(observer_error(&statistics, 1, DT_QINT16) / (1 / 32767.5 / 32767.5 / 12), 1, .02);
    /* beyond, the distance counts: integral of (x - .5)^2 over .5 .. 1 */
    near(observer_error(&statistics, .5, DT_QINT16), .125 / 3, .001);
}

static void a_shifted_uniform_is_not_symmetric(void **state)
{
    (void)state;
    uniform(-1, 3);
    statistics_add(&statistics, data, N, .01);
    near(statistics_mean(&statistics), 1, .02);
    near(range(OBSERVER_MIN_MAX), 3, .001);
    near(range(OBSERVER_CLIP_STD), 3, .001);
    config.std = 1;
    near(range(OBSERVER_CLIP_STD), 1 + 4 / sqrt(12), .01);
}

static void gaussian_numbers(void **state)
{
    (void)state;
    gaussian(2);
    statistics_add(&statistics, data, N, .01);
    config.percentile = 95;
    near(range(OBSERVER_PERCENTILE), 2 * 1.95996, .02);
    config.percentile = 99.9;
    near(range(OBSERVER_PERCENTILE), 2 * 3.29053, .08);
    near(range(OBSERVER_CLIP_STD), 4, .02);
    /* the best 8-bit clipping of a normal distribution is near 3.9 deviations */
    near(range(OBSERVER_MSE), 2 * 3.9, .6);
    assert_true(range(OBSERVER_KL) > 2 * 2 && range(OBSERVER_KL) <= statistics_absmax(&statistics));
    assert_true(range(OBSERVER_MSE) < statistics_absmax(&statistics));
}

/* What clipping finds best is best when it is measured. */
static void mse_is_least_on_the_data(void **state)
{
    (void)state;
    gaussian(1);
    statistics_add(&statistics, data, N, .01);
    double best = range(OBSERVER_MSE), errors[3];
    for (int k = 0; k < 3; k++) {
        double scale = best * (k == 0 ? 1 : k == 1 ? .8 : 1.3) / 127.5, sum = 0;
        for (int i = 0; i < N; i++) {
            double q = fmin(127, fmax(-128, nearbyint((double)data[i] / scale)));
            sum += (q * scale - (double)data[i]) * (q * scale - (double)data[i]);
        }
        errors[k] = sum / N;
    }
    assert_true(errors[0] < errors[1] && errors[0] < errors[2]);
    near(observer_error(&statistics, best, DT_QINT8) / errors[0], 1, .1);
}

static void an_outlier_is_cut_off(void **state)
{
    (void)state;
    gaussian(1);
    data[100] = 1000;
    statistics_add(&statistics, data, N, .01);
    config.percentile = 99.99;
    near(range(OBSERVER_MIN_MAX), 1000, 0);
    assert_true(range(OBSERVER_PERCENTILE) < 6);
    assert_true(range(OBSERVER_MSE) > 100); /* one value of 1000 is worth more than all rounding */
}

/* The histogram grows with the data and forgets nothing. */
static void ranges_double(void **state)
{
    (void)state;
    struct statistics at_once;
    net_ok(&net, statistics_init(&net.arena, &at_once, &net.err));
    gaussian(1);
    for (int i = 0; i < N; i++)
        data[i] *= 1 + (float)(i / 1000);
    for (int i = 0; i < N; i += 1000)
        statistics_add(&statistics, data + i, 1000, .01);
    statistics_add(&at_once, data, N, .01);
    int64_t total = 0;
    for (int i = 0; i < OBSERVER_BINS; i++)
        total += statistics.histogram[i];
    assert_int_equal(total, N);
    assert_true(statistics.range >= statistics_absmax(&statistics));
    assert_true(statistics.range <= 2 * statistics_absmax(&statistics));
    for (double p = 60; p < 100; p += 5) {
        config.percentile = p;
        near(observer_range(&statistics, OBSERVER_PERCENTILE, &config) /
                 observer_range(&at_once, OBSERVER_PERCENTILE, &config),
             1, .01);
    }
}

static void averages_follow_the_frames(void **state)
{
    (void)state;
    float frame[] = {-1, 3};
    double lo = -1, hi = 3;
    statistics_add(&statistics, frame, 2, .1);
    for (int i = 0; i < 20; i++) {
        frame[0] = -2 - (float)i;
        frame[1] = 1;
        statistics_add(&statistics, frame, 2, .1);
        lo += .1 * ((double)frame[0] - lo);
        hi += .1 * (1 - hi);
    }
    near(range(OBSERVER_AVERAGING), fmax(fabs(lo), fabs(hi)), 1e-12);
    near(range(OBSERVER_MIN_MAX), 21, 0);
}

static void zeros_and_not_numbers(void **state)
{
    (void)state;
    float zeros[100] = {0}, odd[] = {NAN, INFINITY, -INFINITY, 2};
    statistics_add(&statistics, zeros, 100, .01);
    for (int o = 0; o < OBSERVER_COUNT; o++)
        if (o != OBSERVER_CLIP)
            near(range((enum observer)o), 0, 0);
    statistics_add(&statistics, odd, 4, .01);
    assert_int_equal(statistics.not_finite, 3);
    assert_int_equal(statistics.count, 101);
    near(range(OBSERVER_MIN_MAX), 2, 0);
    near(observer_error(&statistics, 2, DT_QINT8), 4. / 127.5 / 127.5 / 12 / 101, 1e-9);
}

int main(void)
{
#define OBSERVE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        OBSERVE(uniform_numbers),
        OBSERVE(a_shifted_uniform_is_not_symmetric),
        OBSERVE(gaussian_numbers),
        OBSERVE(mse_is_least_on_the_data),
        OBSERVE(an_outlier_is_cut_off),
        OBSERVE(ranges_double),
        OBSERVE(averages_follow_the_frames),
        OBSERVE(zeros_and_not_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
