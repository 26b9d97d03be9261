/* sim_pool: largest element and mean of windows. */
#include "core/program/args.h"
#include "core/sim/sim_private.h"

/* A window in the box of x: rows and columns from … to - 1 in steps. */
struct window {
    int64_t from_h, to_h, step_h, from_w, to_w, step_w;
};

/* Cut off at the box: taps in the padding do not count. */
static void inside(int64_t *from, int64_t *to, int64_t step, int64_t extent)
{
    if (*from < 0)
        *from += (-*from + step - 1) / step * step;
    *to = *to > extent ? extent : *to;
}

static struct window window_of(const struct tile *x, const int32_t *kernel, const int32_t *stride,
                               int32_t dilation_h, int32_t dilation_w, int32_t pad_top,
                               int32_t pad_left, int64_t j, int64_t k)
{
    struct window w = {.step_h = dilation_h, .step_w = dilation_w};
    w.from_h = j * stride[0] - pad_top;
    w.from_w = k * stride[1] - pad_left;
    w.to_h = w.from_h + (int64_t)(kernel[0] - 1) * dilation_h + 1;
    w.to_w = w.from_w + (int64_t)(kernel[1] - 1) * dilation_w + 1;
    inside(&w.from_h, &w.to_h, dilation_h, x->h);
    inside(&w.from_w, &w.to_w, dilation_w, x->w);
    return w;
}

/* All channels: the largest stored integer; the lowest of the type where the window is empty. */
static void largest(const struct sim_call *c, int64_t i, const struct window *w, int64_t *out)
{
    const struct tile *x = &c->tiles[1];
    int64_t lo, hi;
    sim_range((enum dtype)x->dtype, &lo, &hi);
    for (int64_t l = 0; l < x->c; l++)
        out[l] = lo;
    for (int64_t r = w->from_h; r < w->to_h; r += w->step_h)
        for (int64_t q = w->from_w; q < w->to_w; q += w->step_w)
            for (int64_t l = 0; l < x->c; l++) {
                int64_t v = sim_get(c, 1, i, r, q, l);
                out[l] = v > out[l] ? v : out[l];
            }
}

/* All channels: the sum without zero points; returns how many elements there are. */
static int64_t sum(const struct sim_call *c, int64_t i, const struct window *w, int64_t *out)
{
    const struct tile *x = &c->tiles[1];
    int64_t count = 0;
    memset(out, 0, (size_t)x->c * sizeof *out);
    for (int64_t r = w->from_h; r < w->to_h; r += w->step_h)
        for (int64_t q = w->from_w; q < w->to_w; q += w->step_w, count++)
            for (int64_t l = 0; l < x->c; l++)
                out[l] += sim_get(c, 1, i, r, q, l) - x->zero;
    return count;
}

/* ── results ── */

static void put_largest(struct sim_call *c, int64_t i, int64_t j, int64_t k,
                        const struct sim_rescale *r, const int64_t *v)
{
    for (int64_t l = 0; l < c->tiles[0].c; l++)
        sim_put(c, 0, i, j, k, l, sim_rescale(r, v[l]));
}

struct mean {
    int64_t count; /* that scale is for; 0: none yet */
    bool binary32;
    float real;
    struct multiplier exact;
};

static bool mean_of(const struct sim_call *c, struct mean *m, int64_t count, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    if (m->count == count)
        return true;
    m->count = count;
    m->binary32 = dtype_size((enum dtype)y->dtype) == 1;
    m->real = (float)x->scale / ((float)y->scale * (float)count);
    if (m->binary32 && isfinite(m->real) && m->real > 0)
        return true;
    if (m->binary32 || !arith_multiplier(x->scale / y->scale / (double)count, &m->exact))
        return sim_bad(c, err, "scales %g and %g of %lld elements", x->scale, y->scale,
                       (long long)count);
    return true;
}

static bool put_mean(struct sim_call *c, int64_t i, int64_t j, int64_t k, struct mean *m,
                     int64_t count, const int64_t *sums, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    int64_t lo, hi, sign = count < 0 ? -1 : 1;
    sim_range((enum dtype)y->dtype, &lo, &hi);
    if (count && !mean_of(c, m, count * sign, err))
        return false;
    for (int64_t l = 0; l < y->c; l++) {
        int32_t acc = arith_clamp(sums[l] * sign, INT32_MIN, INT32_MAX);
        int64_t v = count == 0    ? 0
                    : m->binary32 ? arith_requantize_binary32(acc, m->real)
                                  : arith_requantize(acc, m->exact);
        sim_put(c, 0, i, j, k, l, arith_clamp(v + y->zero, (int32_t)lo, (int32_t)hi));
    }
    return true;
}

static bool fits(const struct sim_call *c, const int32_t *positive, int count,
                 struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    for (int i = 0; i < count; i++)
        if (positive[i] < 1)
            return sim_bad(c, err, "a kernel, stride or extent of %d", positive[i]);
    return (x->n == y->n && x->c == y->c) ||
           sim_bad(c, err, "%d frames of %d channels from %d of %d", y->n, y->c, x->n, x->c);
}

static int64_t *channels(const struct sim_call *c, struct bpu_error *err)
{
    return arena_reserve(c->scratch, (size_t)c->tiles[1].c * sizeof(int64_t), err);
}

/* ── the instructions ── */

bool sim_POOL_MAX(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    const int32_t *a = c->args;
    struct sim_rescale r = sim_rescale_of(x, y);
    int64_t *v = channels(c, err);
    if (!v || !fits(c, a + POOL_MAX_KERNEL_H, 6, err))
        return false;
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++) {
                struct window w = window_of(x, a + POOL_MAX_KERNEL_H, a + POOL_MAX_STRIDE_H,
                                            a[POOL_MAX_DILATION_H], a[POOL_MAX_DILATION_W],
                                            a[POOL_MAX_PAD_TOP], a[POOL_MAX_PAD_LEFT], j, k);
                largest(c, i, &w, v);
                put_largest(c, i, j, k, &r, v);
            }
    return true;
}

/* Elements of the window from o * stride - begin on that are in x or in the padding around it. */
static int64_t padded(int64_t o, int64_t kernel, int64_t stride, int64_t begin, int64_t extent,
                      int64_t end)
{
    int64_t from = o * stride - begin, to = from + kernel;
    return (to < extent + end ? to : extent + end) - from;
}

bool sim_POOL_AVG(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    const int32_t *a = c->args;
    struct mean m = {0};
    int64_t *v = channels(c, err);
    if (!v || !fits(c, a + POOL_AVG_KERNEL_H, 4, err))
        return false;
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++) {
                struct window w = window_of(x, a + POOL_AVG_KERNEL_H, a + POOL_AVG_STRIDE_H, 1, 1,
                                            a[POOL_AVG_PAD_TOP], a[POOL_AVG_PAD_LEFT], j, k);
                int64_t count = sum(c, i, &w, v);
                if (a[POOL_AVG_DIVISOR])
                    count = a[POOL_AVG_DIVISOR];
                else if (a[POOL_AVG_INCLUDE_PAD])
                    count = padded(j, a[POOL_AVG_KERNEL_H], a[POOL_AVG_STRIDE_H],
                                   a[POOL_AVG_PAD_TOP], x->h, a[POOL_AVG_PAD_BOTTOM]) *
                            padded(k, a[POOL_AVG_KERNEL_W], a[POOL_AVG_STRIDE_W],
                                   a[POOL_AVG_PAD_LEFT], x->w, a[POOL_AVG_PAD_RIGHT]);
                if (!put_mean(c, i, j, k, &m, count, v, err))
                    return false;
            }
    return true;
}

/* Rows (columns) of the box that result o of the map gets; false: some lie outside of the box. */
static bool adaptive(int64_t o, int64_t in, int64_t out, int64_t first, int64_t extent,
                     int64_t *from, int64_t *to)
{
    *from = o * in / out - first;
    *to = ((o + 1) * in + out - 1) / out - first;
    return *from >= 0 && *to <= extent && *from < *to;
}

bool sim_POOL_ADAPTIVE(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1];
    const int32_t *a = c->args;
    struct sim_rescale r = sim_rescale_of(x, y);
    struct mean m = {0};
    int64_t *v = channels(c, err);
    if (!v || !fits(c, a + POOL_ADAPTIVE_IN_H, 4, err))
        return false;
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++) {
                struct window w = {.step_h = 1, .step_w = 1};
                if (!adaptive(j + a[POOL_ADAPTIVE_FIRST_OUT_H], a[POOL_ADAPTIVE_IN_H],
                              a[POOL_ADAPTIVE_OUT_H], a[POOL_ADAPTIVE_FIRST_IN_H], x->h, &w.from_h,
                              &w.to_h) ||
                    !adaptive(k + a[POOL_ADAPTIVE_FIRST_OUT_W], a[POOL_ADAPTIVE_IN_W],
                              a[POOL_ADAPTIVE_OUT_W], a[POOL_ADAPTIVE_FIRST_IN_W], x->w, &w.from_w,
                              &w.to_w))
                    return sim_bad(c, err, "the window of result (%lld, %lld) leaves the box of x",
                                   (long long)j, (long long)k);
                if (a[POOL_ADAPTIVE_LARGEST]) {
                    largest(c, i, &w, v);
                    put_largest(c, i, j, k, &r, v);
                } else {
                    int64_t count = sum(c, i, &w, v);
                    if (!put_mean(c, i, j, k, &m, count, v, err))
                        return false;
                }
            }
    return true;
}
