/* fixed_pool: maximum and average over windows.
 *
 * Maximum: the largest stored integer of the window; the padding is never it.  Average: the exact
 * sum of (x - z_x) over the window, times s_x / (s_y * n), rounded once; n counts the padding or
 * not, as count_include_pad says, or is divisor_override. */
#include "core/run/fixed_pool.h"

struct pool {
    struct fixed_map x, y;
    struct fixed_axis axis[FIXED_SPATIAL];
    struct fixed_scale from, to;
};

/* Calls f for every element of the window; returns how many there are. */
#define POOL_WINDOW(p, d, h, w, at)                                                                \
    for (int64_t i_ = 0; i_ < (p)->axis[0].kernel; i_++)                                           \
        for (int64_t j_ = 0; j_ < (p)->axis[1].kernel; j_++)                                       \
            for (int64_t k_ = 0; k_ < (p)->axis[2].kernel; k_++)                                   \
                if (((at) = pool_at(p, d, h, w, i_, j_, k_)) >= 0)

/* Index in the plane of one element of a window, -1 in the padding. */
static int64_t pool_at(const struct pool *p, int64_t d, int64_t h, int64_t w, int64_t i, int64_t j,
                       int64_t k)
{
    int64_t z = p->axis[0].at[d * p->axis[0].kernel + i];
    int64_t y = p->axis[1].at[h * p->axis[1].kernel + j];
    int64_t x = p->axis[2].at[w * p->axis[2].kernel + k];
    return z < 0 || y < 0 || x < 0 ? -1 : (z * p->x.size[1] + y) * p->x.size[2] + x;
}

static bool pool_begin(const struct kernel_call *c, enum fixed_window kind, struct pool *p,
                       struct bpu_error *err)
{
    const struct tensor *y = fixed_out(c, 0);
    return fixed_axes(c, kind, &p->x, &p->y, p->axis, err) &&
           fixed_scale(c, c->in[0], "the input", &p->from, err) &&
           fixed_scale(c, y ? y : c->in[0], "the result", &p->to, err);
}

static void max_of_plane(const struct pool *p, const struct kernel_call *c, int64_t plane)
{
    const struct tensor *x = c->in[0];
    int64_t at, to = plane * p->y.plane;
    for (int64_t d = 0; d < p->y.size[0]; d++)
        for (int64_t h = 0; h < p->y.size[1]; h++)
            for (int64_t w = 0; w < p->y.size[2]; w++, to++) {
                int64_t best = p->from.lo, best_at = -1;
                POOL_WINDOW(p, d, h, w, at)
                {
                    int64_t v = tensor_int(x, plane * p->x.plane + at);
                    if (best_at < 0 || v > best) { /* the first of equals */
                        best = v;
                        best_at = at;
                    }
                }
                if (fixed_out(c, 0))
                    tensor_store_int(c->out[0], to, fixed_rescale(best, &p->from, &p->to));
                if (fixed_out(c, 1))
                    tensor_store_int(c->out[1], to, best_at < 0 ? 0 : best_at);
            }
}

static bool max_run(const struct kernel_call *c, enum fixed_window kind, struct bpu_error *err)
{
    struct pool p;
    if (!fixed_out(c, 0) && !fixed_out(c, 1))
        return true;
    if (!pool_begin(c, kind, &p, err))
        return false;
    for (int64_t plane = 0; plane < p.x.batch * p.x.channels; plane++)
        max_of_plane(&p, c, plane);
    return true;
}

/* How many elements a window has by PyTorch's count: with the padding, but not beyond it. */
static int64_t padded_count(const struct infer_window *w, int64_t in, int64_t o)
{
    int64_t from = o * w->stride - w->begin, to = from + w->kernel;
    return (to < in + w->end ? to : in + w->end) - from;
}

bool fixed_divisors(const struct kernel_call *c, struct fixed_divisors *out, struct bpu_error *err)
{
    int k = c->node->op->spatial;
    int64_t kernel[FIXED_SPATIAL], stride[FIXED_SPATIAL], list[2 * FIXED_SPATIAL];
    int strides;
    struct infer_window *w = out->w + FIXED_SPATIAL - k;
    *out = (struct fixed_divisors){.override = node_int(c->node, "divisor_override", 0),
                                   .with_padding = node_bool(c->node, "count_include_pad", true)};
    for (int d = 0; d < FIXED_SPATIAL; d++)
        out->w[d] = (struct infer_window){.kernel = 1, .stride = 1, .dilation = 1};
    if (!infer_tuple(c->node, "kernel_size", k, 1, kernel, err) ||
        !infer_ints(c->node, "stride", list, 2 * FIXED_SPATIAL, &strides, err) ||
        !infer_tuple(c->node, "stride", k, 1, stride, err))
        return false;
    for (int i = 0; i < k; i++) {
        w[i].kernel = kernel[i];
        w[i].stride = strides > 0 ? stride[i] : kernel[i];
    }
    return infer_padding(c->node, k, w, err);
}

int64_t fixed_divisor(const struct fixed_divisors *v, const struct fixed_map *x, int64_t d,
                      int64_t h, int64_t w, int64_t inside)
{
    if (v->override)
        return v->override;
    if (!v->with_padding)
        return inside;
    int64_t n = padded_count(&v->w[0], x->size[0], d);
    bool fits = checked_mul(n, padded_count(&v->w[1], x->size[1], h), &n) &&
                checked_mul(n, padded_count(&v->w[2], x->size[2], w), &n);
    return fits ? n : INT64_MAX;
}

static bool average_run(const struct kernel_call *c, enum fixed_window kind, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = fixed_out(c, 0);
    struct pool p;
    struct fixed_divisors div = {0};
    if (!y)
        return true;
    if (!pool_begin(c, kind, &p, err) || (kind == FIXED_POOL && !fixed_divisors(c, &div, err)))
        return false;
    int64_t at, to = 0, last = 0;
    struct fixed_multiplier m = {0};
    for (int64_t plane = 0; plane < p.x.batch * p.x.channels; plane++)
        for (int64_t d = 0; d < p.y.size[0]; d++)
            for (int64_t h = 0; h < p.y.size[1]; h++)
                for (int64_t w = 0; w < p.y.size[2]; w++, to++) {
                    int64_t sum = 0, n = 0;
                    POOL_WINDOW(&p, d, h, w, at)
                    {
                        sum += tensor_int(x, plane * p.x.plane + at) - p.from.zero;
                        n++;
                    }
                    if (kind == FIXED_POOL)
                        n = fixed_divisor(&div, &p.x, d, h, w, n);
                    if (n < 0) { /* a negative divisor */
                        n = n == INT64_MIN ? INT64_MAX : -n;
                        sum = -sum;
                    }
                    if (n > 0 && n != last && !fixed_mean(c, &p.from, y, &p.to, n, &m, err))
                        return false;
                    last = n > 0 ? n : last;
                    tensor_store_int(y, to, n > 0 ? fixed_requantize(sum, &m, &p.to) : p.to.zero);
                }
    return true;
}

bool fixed_max_pool(const struct kernel_call *c, struct bpu_error *err)
{
    return max_run(c, FIXED_POOL, err);
}

bool fixed_avg_pool(const struct kernel_call *c, struct bpu_error *err)
{
    return average_run(c, FIXED_POOL, err);
}

bool fixed_adaptive_pool(const struct kernel_call *c, struct bpu_error *err)
{
    return strstr(c->node->op->key, "max") ? max_run(c, FIXED_ADAPTIVE, err)
                                           : average_run(c, FIXED_ADAPTIVE, err);
}
