/* real_lanes: functions of one axis: softmax, hardmax, cumulated sums, gated linear units.
 *
 * Each lane along the axis is read as doubles, computed in ascending order and stored once. */
#include "core/run/real.h"

/* exp(x - m) / sum exp(x - m) with m the maximum; the logarithm of it for log_softmax. */
bool real_softmax(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0];
    const struct attr *dim = node_attr(c->node, "dim");
    int rank = x->shape.rank;
    /* PyTorch's rule where dim is left out. */
    bool open = !dim || dim->kind == ATTR_NONE;
    int axis =
        open ? (rank == 0 || rank == 1 || rank == 3 ? 0 : 1) : real_axis(c->node, "dim", -1, rank);
    bool logarithm = strcmp(c->node->op->key, "log_softmax") == 0;
    struct real_lanes l = real_lanes(&x->shape, axis);
    double *v = real_scratch(c, l.extent, err);
    if (!v)
        return false;
    for (int64_t lane = 0; lane < l.outer * l.inner; lane++) {
        int64_t first = lane / l.inner * l.extent * l.inner + lane % l.inner;
        double most = -INFINITY, sum = 0;
        real_load(x, first, l.inner, l.extent, v);
        for (int64_t i = 0; i < l.extent; i++)
            most = v[i] > most || isnan(v[i]) ? v[i] : most;
        for (int64_t i = 0; i < l.extent; i++) {
            v[i] -= most;
            sum += exp(v[i]);
        }
        for (int64_t i = 0; i < l.extent; i++)
            v[i] = logarithm ? v[i] - log(sum) : exp(v[i]) / sum;
        real_store(y, first, l.inner, l.extent, v);
    }
    return true;
}

/* 1 at the first largest element of each lane, 0 elsewhere. */
static bool hardmax_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct real_lanes l = real_lanes(&x->shape, real_axis(c->node, "dim", -1, x->shape.rank));
    double *v = real_scratch(c, l.extent, err);
    if (!v)
        return false;
    for (int64_t lane = 0; lane < l.outer * l.inner; lane++) {
        int64_t first = lane / l.inner * l.extent * l.inner + lane % l.inner, best = 0;
        real_load(x, first, l.inner, l.extent, v);
        for (int64_t i = 1; i < l.extent; i++)
            if (v[i] > v[best])
                best = i;
        for (int64_t i = 0; i < l.extent; i++)
            v[i] = i == best;
        real_store(c->out[0], first, l.inner, l.extent, v);
    }
    return true;
}

bool real_hardmax(const struct kernel_call *c, struct bpu_error *err)
{
    return hardmax_run(c, err);
}

bool fixed_hardmax(const struct kernel_call *c, struct bpu_error *err)
{
    return hardmax_run(c, err);
}

/* y[i] = x[0] + … + x[i]; exclusive leaves out x[i], reverse starts at the end. Integers wrap. */
static bool cumsum_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0];
    bool exclusive = node_bool(c->node, "exclusive", false),
         reverse = node_bool(c->node, "reverse", false);
    bool whole = fold_is_int(x->dtype) && fold_is_int(y->dtype);
    struct real_lanes l = real_lanes(&x->shape, real_axis(c->node, "dim", 0, x->shape.rank));
    (void)err;
    for (int64_t lane = 0; lane < l.outer * l.inner; lane++) {
        int64_t first = lane / l.inner * l.extent * l.inner + lane % l.inner;
        uint64_t ints = 0;
        double sum = 0;
        for (int64_t k = 0; k < l.extent; k++) {
            int64_t at = first + (reverse ? l.extent - 1 - k : k) * l.inner;
            uint64_t ints_before = ints;
            double before = sum;
            if (whole) {
                ints += (uint64_t)tensor_int(x, at);
                fold_store_int(real_at(y, at), y->dtype, (int64_t)(exclusive ? ints_before : ints));
            } else {
                sum += tensor_real(x, at);
                tensor_store_real(y, at, exclusive ? before : sum);
            }
        }
    }
    return true;
}

bool real_cumsum(const struct kernel_call *c, struct bpu_error *err)
{
    return cumsum_run(c, err);
}

bool fixed_cumsum(const struct kernel_call *c, struct bpu_error *err)
{
    return cumsum_run(c, err);
}

/* The first half of the axis times the sigmoid of the second. */
bool real_glu(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct real_lanes l = real_lanes(&x->shape, real_axis(c->node, "dim", -1, x->shape.rank));
    int64_t half = l.extent / 2;
    double *v = real_scratch(c, l.extent, err);
    if (!v)
        return false;
    for (int64_t lane = 0; lane < l.outer * l.inner; lane++) {
        int64_t block = lane / l.inner, column = lane % l.inner;
        real_load(x, block * l.extent * l.inner + column, l.inner, l.extent, v);
        for (int64_t i = 0; i < half; i++)
            v[i] *= 1 / (1 + exp(-v[half + i]));
        real_store(c->out[0], block * half * l.inner + column, l.inner, half, v);
    }
    return true;
}
