/* lower_real_norm: normalization.  Weights and biases become pairs of numbers in one blob. */
#include <math.h>
#include <string.h>

#include "core/compile/lower_real.h"

/* Weight and bias, `count` pairs; *out NULL: the node has neither. */
static bool pairs(struct lowering *l, const struct node *n, int64_t count, struct blob **out,
                  int *kind, struct bpu_error *err)
{
    const struct value *w = node_param(n, "weight"), *b = node_param(n, "bias");
    *out = NULL;
    *kind = 0;
    if (!w && !b)
        return true;
    double *weight = w ? lower_numbers(l, n, w, "the weight", 0, count, true, err) : NULL;
    if (w && !weight)
        return false;
    double *bias = b ? lower_numbers(l, n, b, "the bias", 0, count, true, err) : NULL;
    if (b && !bias)
        return false;
    double *both = ARENA_ARRAY(l->arena, double, 2 * count + 1, err);
    if (!both)
        return false;
    for (int64_t i = 0; i < count; i++) {
        both[2 * i] = weight ? weight[i] : 1;
        both[2 * i + 1] = bias ? bias[i] : 0;
    }
    *out = lower_number_blob(l, both, 2 * count, kind, err);
    return *out != NULL;
}

/* By the statistics of the data over `axes`; groups 0: channels are no groups. */
static bool normalize(struct lowering *l, const struct node *n, const struct shape *as,
                      enum form form, unsigned axes, int64_t groups, bool per_channel,
                      int64_t parameters, struct bpu_error *err)
{
    struct blob *blob;
    int kind;
    double scale;
    if (!lower_scaled(n, n->inputs[0], &scale, err) ||
        !lower_scaled(n, n->outputs[0], &scale, err) || !pairs(l, n, parameters, &blob, &kind, err))
        return false;
    struct map *x = lower_map_as(l, n->inputs[0], as, form, err);
    struct map *y = x ? lower_result_as(l, n->outputs[0], as, form, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_NORMALIZE, n, y, err) : NULL;
    if (!layer)
        return false;
    along_reads(layer, x, axes);
    if (blob)
        layer_reads_blob(layer, blob);
    else
        layer_reads(layer, NULL, NEED_SAME);
    layer_set(layer, "axes", (int32_t)axes);
    layer_set(layer, "groups", (int32_t)groups);
    layer_set(layer, "per_channel", per_channel);
    layer_set(layer, "order", form == FORM_IMAGE ? NEST_NCHW : NEST_NHWC);
    layer_set(layer, "kind", kind);
    layer_set_real(layer, "eps", node_float(n, "eps", 1e-5));
    return true;
}

/* s as (first, second, rest), the axes that it lacks being 1. */
static struct shape in_three(const struct shape *s, int axis)
{
    struct shape t = {.rank = 3, .dim = {1, 1, 1}};
    for (int d = 0; d < s->rank; d++)
        t.dim[d < axis ? 0 : d == axis ? 1 : 2] *= s->dim[d];
    return t;
}

/* A value whose channels are axis `axis` as an IMAGE, in its own shape where that fits. */
static struct shape as_image(const struct shape *s, int axis)
{
    return axis == 1 && s->rank >= 2 ? *s : in_three(s, axis);
}

/* ── batch norm ── */

static bool recorded(struct lowering *l, const struct node *n, const struct shape *as,
                     int64_t channels, struct bpu_error *err)
{
    const struct value *w = node_param(n, "weight"), *b = node_param(n, "bias");
    double eps = node_float(n, "eps", 1e-5), scale;
    double *mean =
        lower_numbers(l, n, node_param(n, "running_mean"), "running_mean", 0, channels, false, err);
    double *var = mean ? lower_numbers(l, n, node_param(n, "running_var"), "running_var", 0,
                                       channels, false, err)
                       : NULL;
    double *weight = NULL, *bias = NULL;
    if (!var || !lower_scaled(n, n->inputs[0], &scale, err) ||
        !lower_scaled(n, n->outputs[0], &scale, err) ||
        (w && !(weight = lower_numbers(l, n, w, "the weight", 0, channels, true, err))) ||
        (b && !(bias = lower_numbers(l, n, b, "the bias", 0, channels, true, err))))
        return false;
    double *four = ARENA_ARRAY(l->arena, double, 4 * channels + 1, err);
    if (!four)
        return false;
    for (int64_t i = 0; i < channels; i++) {
        four[4 * i] = mean[i];
        four[4 * i + 1] = 1 / sqrt(var[i] + eps);
        four[4 * i + 2] = weight ? weight[i] : 1;
        four[4 * i + 3] = bias ? bias[i] : 0;
    }
    int kind;
    struct blob *blob = lower_number_blob(l, four, 4 * channels, &kind, err);
    struct map *x = blob ? lower_map_as(l, n->inputs[0], as, FORM_IMAGE, err) : NULL;
    struct map *y = x ? lower_result_as(l, n->outputs[0], as, FORM_IMAGE, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_AFFINE, n, y, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, x, NEED_SAME);
    layer_reads_blob(layer, blob);
    layer_set(layer, "kind", kind);
    return true;
}

bool lower_batch_norm(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *s = &n->inputs[0]->shape;
    struct shape as = as_image(s, s->rank > 1 ? 1 : 0);
    int64_t channels = as.dim[1];
    if (node_param(n, "running_mean") && node_param(n, "running_var"))
        return recorded(l, n, &as, channels, err);
    return normalize(l, n, &as, FORM_IMAGE, 1u << AXIS_N | 1u << AXIS_H | 1u << AXIS_W, channels,
                     true, channels, err);
}

/* ── others ── */

bool lower_layer_norm(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *w = node_param(n, "weight");
    int64_t list[SHAPE_MAX_RANK], count = 1;
    int axes, rank = x->shape.rank;
    struct along a;
    if (!infer_ints(n, "normalized_shape", list, SHAPE_MAX_RANK, &axes, err))
        return false;
    if (axes < 0)
        axes = w ? w->shape.rank : 1;
    if (axes > rank || axes < 1)
        return lower_refuse(n, err, "normalized_shape has %d axes, the operand %d", axes, rank);
    unsigned dims = ((1u << axes) - 1) << (rank - axes);
    for (int d = rank - axes; d < rank; d++)
        count *= x->shape.dim[d];
    return along_of(l, n, x, dims, &a, err) &&
           normalize(l, n, &a.as, a.form, a.axes, 0, false, count, err);
}

bool lower_group_norm(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *s = &n->inputs[0]->shape;
    int64_t groups = node_int(n, "num_groups", 1);
    if (s->rank < 2 || groups < 1 || groups > INT32_MAX || s->dim[1] % groups)
        return lower_refuse(n, err, "%lld groups do not divide the channels", (long long)groups);
    return normalize(l, n, s, FORM_IMAGE, 1u << AXIS_H | 1u << AXIS_W, groups, true, s->dim[1],
                     err);
}

bool lower_instance_norm(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *s = &n->inputs[0]->shape;
    bool batched = s->rank == n->op->spatial + 2;
    if (batched && node_param(n, "running_mean") && node_param(n, "running_var") &&
        node_bool(n, "track_running_stats", true))
        return lower_batch_norm(l, n, err);
    struct shape as = as_image(s, batched || infer_from_onnx(n) ? 1 : 0);
    return normalize(l, n, &as, FORM_IMAGE, 1u << AXIS_H | 1u << AXIS_W, as.dim[1], true, as.dim[1],
                     err);
}

bool lower_local_response_norm(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    int64_t size = node_int(n, "size", 1);
    if (x->shape.rank < 2 || size < 1 || size > INT32_MAX)
        return lower_refuse(n, err, "windows of %lld channels of %d axes", (long long)size,
                            x->shape.rank);
    struct map *from = lower_map(l, x, FORM_IMAGE, err);
    struct map *y = from ? lower_result(l, n->outputs[0], FORM_IMAGE, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_RESPONSE_NORM, n, y, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, from, NEED_SAME);
    layer_set(layer, "size", (int32_t)size);
    layer_set(layer, "before", (int32_t)(infer_from_onnx(n) ? (size - 1) / 2 : size / 2));
    layer_set_real(layer, "alpha", node_float(n, "alpha", 1e-4));
    layer_set_real(layer, "beta", node_float(n, "beta", .75));
    layer_set_real(layer, "k", node_float(n, "k", 1));
    return true;
}
