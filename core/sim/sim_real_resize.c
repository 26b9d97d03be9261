/* sim_real_resize: p-norms of windows, and interpolation by tables of taps. */
#include <math.h>

#include "core/sim/sim_real.h"

/* ── p-norms ── */

/* Positions first … end-1 of a window that are inside of `extent`. */
static void window(int64_t at, int64_t stride, int64_t pad, int64_t kernel, int64_t extent,
                   int64_t *first, int64_t *end)
{
    *first = at * stride - pad;
    *end = *first + kernel;
    *first = *first < 0 ? 0 : *first;
    *end = *end > extent ? extent : *end;
}

bool sim_POOL_POWER(struct sim_call *c, struct bpu_error *err)
{
    const int32_t *a = c->args;
    const struct tile *x = &c->tiles[1];
    double p = sim_double(c, POOL_POWER_P_LO);
    double full = (double)a[POOL_POWER_KERNEL_H] * (double)a[POOL_POWER_KERNEL_W];
    for (int i = POOL_POWER_KERNEL_H; i <= POOL_POWER_STRIDE_W; i++)
        if (!sim_in_range(c, i, 1, INT32_MAX, err))
            return false;
    if (x->n != c->tiles[0].n || x->c != c->tiles[0].c)
        return sim_bad(c, err, "frames or channels of the operand differ from the result's");
    struct sim_box b = sim_box_of(&c->tiles[0], NEST_NHWC);
    do {
        int64_t h0, h1, w0, w1, at[AXIS_COUNT] = {b.at[0], b.at[1], b.at[2], b.at[3]};
        double sum = 0, inside = 0;
        window(b.at[AXIS_H], a[POOL_POWER_STRIDE_H], a[POOL_POWER_PAD_TOP], a[POOL_POWER_KERNEL_H],
               x->h, &h0, &h1);
        window(b.at[AXIS_W], a[POOL_POWER_STRIDE_W], a[POOL_POWER_PAD_LEFT], a[POOL_POWER_KERNEL_W],
               x->w, &w0, &w1);
        for (at[AXIS_H] = h0; at[AXIS_H] < h1; at[AXIS_H]++)
            for (at[AXIS_W] = w0; at[AXIS_W] < w1; at[AXIS_W]++) {
                double v = sim_real_at(c, 1, at);
                sum += pow(a[POOL_POWER_MAGNITUDE] ? fabs(v) : v, p);
                inside++;
            }
        if (!a[POOL_POWER_MAGNITUDE])
            sum = sum / inside * full;
        sim_put_real_at(c, 0, b.at, pow(sum, 1 / p));
    } while (sim_box_next(&b));
    return true;
}

/* ── interpolation ── */

/* The taps of one result; false if they are not all in 0 … extent-1 after `first` is taken off. */
struct taps {
    int64_t count;
    const unsigned char *pairs;
};

static struct taps taps_of(const unsigned char *table, int64_t most, int64_t i)
{
    struct taps t = {0, table + i * (8 + 16 * most) + 8};
    memcpy(&t.count, t.pairs - 8, sizeof t.count);
    return t;
}

static double tap_weight(const struct taps *t, int64_t k)
{
    double v;
    memcpy(&v, t->pairs + 16 * k, sizeof v);
    return v;
}

static int64_t tap_position(const struct taps *t, int64_t k)
{
    int64_t v;
    memcpy(&v, t->pairs + 16 * k + 8, sizeof v);
    return v;
}

static bool taps_fit(const struct sim_call *c, const unsigned char *table, int64_t most,
                     int64_t from, int64_t to, int64_t first, int64_t extent, struct bpu_error *err)
{
    for (int64_t i = from; i < to; i++) {
        struct taps t = taps_of(table, most, i);
        if (t.count < 0 || t.count > most)
            return sim_bad(c, err, "%lld taps of at most %lld", (long long)t.count,
                           (long long)most);
        for (int64_t k = 0; k < t.count; k++)
            if (tap_position(&t, k) < first || tap_position(&t, k) >= first + extent)
                return sim_bad(c, err, "result %lld reads position %lld, which the operand has not",
                               (long long)i, (long long)tap_position(&t, k));
    }
    return true;
}

/* Result columns of one row of x in one channel. */
static void resize_row(const struct sim_call *c, const unsigned char *table, int64_t most,
                       int64_t frame, int64_t row, int64_t channel, double *out)
{
    for (int64_t w = 0; w < c->tiles[0].w; w++) {
        struct taps t = taps_of(table, most, w);
        double sum = 0;
        for (int64_t k = 0; k < t.count; k++)
            sum += tap_weight(&t, k) * sim_real(c, 1, frame, row, tap_position(&t, k), channel);
        out[w] = sum;
    }
}

static void resize_plane(struct sim_call *c, const unsigned char *taps_h,
                         const unsigned char *taps_w, int64_t frame, int64_t channel, double *rows)
{
    const struct tile *y = &c->tiles[0];
    const int32_t *a = c->args;
    for (int64_t h = 0; h < c->tiles[1].h; h++)
        resize_row(c, taps_w, a[RESIZE_MOST_W], frame, h, channel, rows + h * y->w);
    for (int64_t h = 0; h < y->h; h++) {
        struct taps t = taps_of(taps_h, a[RESIZE_MOST_H], a[RESIZE_FIRST_OUT_H] + h);
        for (int64_t w = 0; w < y->w; w++) {
            double sum = 0;
            for (int64_t k = 0; k < t.count; k++)
                sum += tap_weight(&t, k) *
                       rows[(tap_position(&t, k) - a[RESIZE_FIRST_IN_H]) * y->w + w];
            sim_put_real(c, 0, frame, h, w, channel, sum);
        }
    }
}

bool sim_RESIZE(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    const int32_t *a = c->args;
    int64_t size, most_h = a[RESIZE_MOST_H], most_w = a[RESIZE_MOST_W], out_h = a[RESIZE_OUT_H];
    const unsigned char *table = sim_bytes(c, 2, &size, err);
    if (!table || !sim_in_range(c, RESIZE_MOST_H, 0, 1 << 24, err) ||
        !sim_in_range(c, RESIZE_MOST_W, 0, 1 << 24, err) ||
        !sim_in_range(c, RESIZE_FIRST_OUT_H, 0, INT32_MAX - y->h, err) ||
        !sim_in_range(c, RESIZE_FIRST_IN_H, 0, INT32_MAX - x->h, err))
        return false;
    if (x->n != y->n || x->c != y->c)
        return sim_bad(c, err, "frames or channels of the operand differ from the result's");
    if (a[RESIZE_FIRST_OUT_H] + (int64_t)y->h > out_h ||
        size < out_h * (8 + 16 * most_h) + y->w * (8 + 16 * most_w))
        return sim_bad(c, err, "the table of taps is too short");
    const unsigned char *taps_w = table + out_h * (8 + 16 * most_h);
    int64_t from = a[RESIZE_FIRST_OUT_H];
    if (!taps_fit(c, table, most_h, from, from + y->h, a[RESIZE_FIRST_IN_H], x->h, err) ||
        !taps_fit(c, taps_w, most_w, 0, y->w, 0, x->w, err))
        return false;
    double *rows = sim_doubles(c, (int64_t)x->h * y->w, err);
    if (!rows)
        return false;
    for (int64_t n = 0; n < y->n; n++)
        for (int64_t l = 0; l < y->c; l++)
            resize_plane(c, table, taps_w, n, l, rows);
    return true;
}
