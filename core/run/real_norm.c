/* real_norm: normalization.
 *
 * Where statistics are taken from the data, they are taken in two passes in double precision, in
 * row-major order:  mean = sum x / n,  var = sum (x - mean)^2 / n,  and
 *
 *   y = (x - mean) / sqrt(var + eps) * weight + bias
 *
 * evaluated from left to right as (x - mean) * (1 / sqrt(var + eps)) * weight + bias. */
#include "core/run/real.h"

/* Of each parameter there is one element, or at least as many as are read. */
static bool parameters_fit(const struct kernel_call *c, int64_t want, struct bpu_error *err)
{
    for (int i = 0; i < c->node->param_count; i++) {
        int64_t count = c->params[i] ? real_count(c->params[i]) : want;
        if (count < want && (count != 1 || strncmp(c->node->params[i].name, "running", 7) == 0) &&
            strcmp(c->node->params[i].name, "num_batches_tracked") != 0)
            return kernel_unsupported(c, err, "the parameter %s has %lld elements, %lld are needed",
                                      c->node->params[i].name, (long long)count, (long long)want);
    }
    return true;
}

static double parameter(const struct tensor *t, int64_t i, double otherwise)
{
    return !t ? otherwise : tensor_real(t, real_count(t) == 1 ? 0 : i);
}

/* Normalizes count values in place; weight and bias of value i are those of w0 + i / per. */
static void normalize(double *v, int64_t count, double eps, const struct tensor *weight,
                      const struct tensor *bias, int64_t w0, int64_t per)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < count; i++)
        sum += v[i];
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        square += (v[i] - mean) * (v[i] - mean);
    double scale = 1 / sqrt(square / (double)count + eps);
    for (int64_t i = 0; i < count; i++)
        v[i] = (v[i] - mean) * scale * parameter(weight, w0 + i / per, 1) +
               parameter(bias, w0 + i / per, 0);
}

/* With the statistics of training: y = (x - running_mean) * (1 / sqrt(running_var + eps)) * weight
 * + bias, per channel (axis 1). A layer that never saw statistics uses those of the data. */
static bool batch_norm_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0), *weight = kernel_param(c, "weight");
    const struct tensor *bias = kernel_param(c, "bias"), *mean = kernel_param(c, "running_mean");
    const struct tensor *var = kernel_param(c, "running_var");
    double eps = node_float(c->node, "eps", 1e-5);
    struct real_lanes l = real_lanes(&x->shape, x->shape.rank > 1 ? 1 : 0);
    if (!parameters_fit(c, l.extent, err))
        return false;
    if (!mean || !var) {
        double *all = real_scratch(c, l.outer * l.inner, err);
        if (!all)
            return false;
        int64_t dim[2] = {l.outer, l.inner}, stride[2] = {l.extent * l.inner, 1};
        for (int64_t ch = 0; ch < l.extent; ch++) {
            real_load_block(x, ch * l.inner, 2, dim, stride, all);
            normalize(all, l.outer * l.inner, eps, weight, bias, ch, INT64_MAX);
            for (int64_t o = 0; o < l.outer; o++)
                real_store(c->out[0], (o * l.extent + ch) * l.inner, 1, l.inner, all + o * l.inner);
        }
        return true;
    }
    double *v = real_scratch(c, l.inner, err);
    if (!v)
        return false;
    for (int64_t row = 0; row < l.outer * l.extent; row++) {
        int64_t ch = row % l.extent;
        double m = tensor_real(mean, ch), scale = 1 / sqrt(tensor_real(var, ch) + eps);
        double w = parameter(weight, ch, 1), b = parameter(bias, ch, 0);
        real_load(x, row * l.inner, 1, l.inner, v);
        for (int64_t i = 0; i < l.inner; i++)
            v[i] = (v[i] - m) * scale * w + b;
        real_store(c->out[0], row * l.inner, 1, l.inner, v);
    }
    return true;
}

bool real_batch_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return batch_norm_run(c, err);
}

bool fixed_batch_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return batch_norm_run(c, err);
}

/* Rows of `count` values, normalized each by itself. Row r has the parameters from r % groups *
 * step on, one for `per` values. */
static bool rows_run(const struct kernel_call *c, int64_t count, int64_t groups, int64_t step,
                     int64_t per, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    const struct tensor *weight = kernel_param(c, "weight"), *bias = kernel_param(c, "bias");
    double eps = node_float(c->node, "eps", 1e-5);
    int64_t elements = real_count(x);
    if (elements > 0 && !parameters_fit(c, (groups - 1) * step + (count - 1) / per + 1, err))
        return false;
    double *v = real_scratch(c, count, err);
    if (!v)
        return false;
    for (int64_t row = 0; count > 0 && row * count < elements; row++) {
        real_load(x, row * count, 1, count, v);
        normalize(v, count, eps, weight, bias, row % groups * step, per);
        real_store(c->out[0], row * count, 1, count, v);
    }
    return true;
}

/* Over the last axes, as many as normalized_shape (or the weight) has. */
static bool layer_norm_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0), *weight = kernel_param(c, "weight");
    int64_t list[SHAPE_MAX_RANK], count = 1;
    int axes;
    if (!infer_ints(c->node, "normalized_shape", list, SHAPE_MAX_RANK, &axes, err))
        return false;
    if (axes < 0)
        axes = weight ? weight->shape.rank : 1;
    if (axes > x->shape.rank)
        return kernel_unsupported(c, err, "normalized_shape has more axes than the input");
    for (int i = x->shape.rank - axes; i < x->shape.rank; i++)
        count *= x->shape.dim[i];
    return rows_run(c, count, 1, 0, 1, err);
}

bool real_layer_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return layer_norm_run(c, err);
}

bool fixed_layer_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return layer_norm_run(c, err);
}

/* Over the channels of a group together with all positions. */
static bool group_norm_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct shape *x = &kernel_in(c, 0)->shape;
    struct real_lanes l = real_lanes(x, 1);
    int64_t groups = node_int(c->node, "num_groups", 1), channels = l.extent / groups;
    return rows_run(c, channels * l.inner, groups, channels, l.inner > 0 ? l.inner : 1, err);
}

bool real_group_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return group_norm_run(c, err);
}

bool fixed_group_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return group_norm_run(c, err);
}

/* Over the positions of one channel of one image. Recorded statistics come before those of the
 * data, as in PyTorch's inference. */
static bool instance_norm_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct shape *x = &kernel_in(c, 0)->shape;
    if (kernel_param(c, "running_mean") && kernel_param(c, "running_var") &&
        node_bool(c->node, "track_running_stats", true) && x->rank == c->node->op->spatial + 2)
        return batch_norm_run(c, err);
    bool batched = infer_from_onnx(c->node) || x->rank == c->node->op->spatial + 2;
    struct real_lanes l = real_lanes(x, batched ? 1 : 0);
    return rows_run(c, l.inner, l.extent > 0 ? l.extent : 1, 1, INT64_MAX, err);
}

bool real_instance_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return instance_norm_run(c, err);
}

bool fixed_instance_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return instance_norm_run(c, err);
}

/* y = x / (k + alpha / size * sum of x^2 over `size` channels around)^beta. The window of channel c
 * is c - size/2 .. c + (size - 1)/2 in PyTorch, c - (size - 1)/2 .. c + size/2 in ONNX; they differ
 * for even sizes. Ascending channels. */
static bool lrn_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct real_lanes l = real_lanes(&x->shape, 1);
    int64_t size = node_int(c->node, "size", 1);
    double alpha = node_float(c->node, "alpha", 1e-4), beta = node_float(c->node, "beta", .75),
           k = node_float(c->node, "k", 1), *v = real_scratch(c, 2 * l.extent, err);
    if (!v)
        return false;
    int64_t before = infer_from_onnx(c->node) ? (size - 1) / 2 : size / 2;
    for (int64_t lane = 0; lane < l.outer * l.inner; lane++) {
        int64_t first = lane / l.inner * l.extent * l.inner + lane % l.inner;
        real_load(x, first, l.inner, l.extent, v);
        for (int64_t i = 0; i < l.extent; i++) {
            int64_t lo = i > before ? i - before : 0, hi = i - before + size;
            double sum = 0;
            for (int64_t j = lo; j < hi && j < l.extent; j++)
                sum += v[j] * v[j];
            v[l.extent + i] = v[i] / pow(k + alpha / (double)size * sum, beta);
        }
        real_store(c->out[0], first, l.inner, l.extent, v + l.extent);
    }
    return true;
}

bool real_local_response_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return lrn_run(c, err);
}

bool fixed_local_response_norm(const struct kernel_call *c, struct bpu_error *err)
{
    return lrn_run(c, err);
}
