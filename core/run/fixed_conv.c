/* fixed_conv: convolution and transposed convolution of 1, 2 and 3 axes.
 *
 *   acc(n, m, o) = bias(m) + sum over channels c of m's group and taps t of
 *                  (x(n, c, source(o, t)) - z_x) * (w(m, c, t) - z_w)
 *
 * Both are this sum; they differ in source(o, t) and in the order of the weight's axes.  Taps in
 * the padding add nothing, which is padding with the zero point.  The sum is exact in 64 bits and
 * saturates to int32 once, with the bias in it. */
#include "core/run/fixed_tail.h"

struct conv {
    struct fixed_map x, y;
    struct fixed_axis axis[FIXED_SPATIAL];
    int64_t taps, in_group, out_group; /* channels of one group */
    bool transposed;
    fixed_dot_fn *dot; /* of the input */
    int64_t zero;
};

/* The filter of result channel m: taps x in_group, without its zero point. */
static void take_filter(const struct conv *v, const struct tensor *w, int64_t m, int32_t *filter)
{
    int64_t group = m / v->out_group, zero = requant_weight_zero(&w->quant, m);
    for (int64_t c = 0; c < v->in_group; c++) {
        int64_t from = v->transposed ? ((group * v->in_group + c) * v->out_group + m % v->out_group)
                                     : m * v->in_group + c;
        for (int64_t t = 0; t < v->taps; t++)
            filter[t * v->in_group + c] = (int32_t)(tensor_int(w, from * v->taps + t) - zero);
    }
}

/* The products at one result. first: where the planes of the group begin in x. */
static int64_t window_sum(const struct conv *v, const struct tensor *x, int64_t first,
                          const int32_t *filter, int64_t z, int64_t y, int64_t w)
{
    const struct fixed_axis *a = v->axis;
    const int32_t *f = filter;
    int64_t sum = 0;
    for (int64_t i = 0; i < a[0].kernel; i++)
        for (int64_t j = 0; j < a[1].kernel; j++)
            for (int64_t k = 0; k < a[2].kernel; k++, f += v->in_group) {
                int64_t d = a[0].at[z * a[0].kernel + i];
                int64_t h = a[1].at[y * a[1].kernel + j];
                int64_t q = a[2].at[w * a[2].kernel + k];
                if (d < 0 || h < 0 || q < 0)
                    continue;
                sum += v->dot(x, first + (d * v->x.size[1] + h) * v->x.size[2] + q, v->x.plane,
                              v->zero, f, v->in_group);
            }
    return sum;
}

static bool conv_run(const struct kernel_call *c, bool transposed, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *w = kernel_param(c, "weight");
    struct tensor *y = fixed_out(c, 0);
    struct conv v = {.transposed = transposed};
    struct fixed_tail tail;
    if (!y)
        return true;
    if (!w)
        return kernel_unsupported(c, err, "there is no weight");
    if (!fixed_weight(c, w, transposed, err))
        return false;
    if (!fixed_axes(c, transposed ? FIXED_TRANSPOSED : FIXED_CONV, &v.x, &v.y, v.axis, err))
        return false;
    int64_t groups = node_int(c->node, "groups", 1);
    v.taps = v.axis[0].kernel * v.axis[1].kernel * v.axis[2].kernel;
    if (groups < 1 || v.x.channels % groups || v.y.channels % groups)
        return kernel_unsupported(c, err, "%lld groups", (long long)groups);
    v.in_group = v.x.channels / groups;
    v.out_group = v.y.channels / groups;
    if (shape_elements(&w->shape) != v.x.channels * v.out_group * v.taps)
        return kernel_unsupported(c, err, "a weight that does not fit");
    int32_t *filter = ARENA_ARRAY(c->scratch, int32_t, v.in_group * v.taps, err);
    if (!filter || !fixed_tail_init(c, &w->quant, v.y.channels, kernel_in(c, 1), &tail, err))
        return false;
    v.dot = fixed_dot(x->dtype);
    v.zero = tensor_zero_point(x, 0);
    for (int64_t m = 0; m < v.y.channels; m++) {
        take_filter(&v, w, m, filter);
        for (int64_t n = 0; n < v.x.batch; n++) {
            int64_t first = (n * v.x.channels + m / v.out_group * v.in_group) * v.x.plane;
            int64_t i = (n * v.y.channels + m) * v.y.plane;
            for (int64_t d = 0; d < v.y.size[0]; d++)
                for (int64_t h = 0; h < v.y.size[1]; h++)
                    for (int64_t k = 0; k < v.y.size[2]; k++, i++)
                        fixed_tail_store(&tail, m, i,
                                         window_sum(&v, x, first, filter, d, h, k));
        }
    }
    return true;
}

bool fixed_conv(const struct kernel_call *c, struct bpu_error *err)
{
    return conv_run(c, false, err);
}

bool fixed_conv_transpose(const struct kernel_call *c, struct bpu_error *err)
{
    return conv_run(c, true, err);
}
