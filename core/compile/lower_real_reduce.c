/* lower_real_reduce: axes that go away: sums, means, extrema, their positions, norms, variances. */
#include <string.h>

#include "core/compile/lower_real.h"
#include "core/run/requant.h"

/* The layer that makes v of the operand without the axes of the set. */
static struct layer *reduce_layer(struct lowering *l, const struct node *n, enum opcode op,
                                  const struct value *v, unsigned dims, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    struct along a;
    if (!along_of(l, n, x, dims, &a, err))
        return NULL;
    struct shape to = along_with(&a, 1);
    struct map *from = lower_map_as(l, x, &a.as, a.form, err);
    struct map *y = from ? lower_result_as(l, v, &to, a.form, err) : NULL;
    struct layer *layer = y ? lower_layer(l, op, n, y, err) : NULL;
    if (!layer)
        return NULL;
    along_reads(layer, from, a.axes);
    layer_set(layer, "axes", (int32_t)a.axes);
    layer_set(layer, "order", a.nesting);
    return layer;
}

/* ── reduce ── */

static bool lower_sum(struct lowering *l, const struct node *n, unsigned dims, bool mean,
                      struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    double s_x, s_y;
    int64_t count = 1;
    struct multiplier m;
    if (!lower_scaled(n, x, &s_x, err) || !lower_scaled(n, y, &s_y, err))
        return false;
    for (int d = 0; d < x->shape.rank && mean; d++)
        count *= dims & 1u << d ? x->shape.dim[d] : 1;
    float single = (float)s_x / ((float)s_y * (float)count);
    bool narrow = requant_is_binary32(y->dtype);
    if (!requant_multiplier(narrow ? (double)single : s_x / s_y / (double)count, y->dtype, n->name,
                            &m, err))
        return false;
    struct layer *layer = reduce_layer(l, n, OP_REDUCE_SUM, y, dims, err);
    if (!layer)
        return false;
    layer->args[REDUCE_SUM_MANTISSA] = m.mantissa;
    layer->args[REDUCE_SUM_SHIFT] = m.shift;
    layer->args[REDUCE_SUM_RULE] = !narrow;
    return true;
}

static bool lower_extreme(struct lowering *l, const struct node *n, unsigned dims, bool largest,
                          struct bpu_error *err)
{
    double scale;
    if (!lower_scaled(n, n->inputs[0], &scale, err) || !lower_scaled(n, n->outputs[0], &scale, err))
        return false;
    struct layer *layer = reduce_layer(l, n, OP_REDUCE_EXTREME, n->outputs[0], dims, err);
    if (layer)
        layer->args[REDUCE_EXTREME_LARGEST] = largest;
    return layer != NULL;
}

bool lower_reduce(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    static const char *const functions[REDUCE_COUNT] = {[REDUCE_PROD] = "prod",
                                                        [REDUCE_NORM] = "norm",
                                                        [REDUCE_LOGSUMEXP] = "logsumexp",
                                                        [REDUCE_VAR] = "var",
                                                        [REDUCE_STD] = "std"};
    const char *key = n->op->key;
    const struct value *x = n->inputs[0];
    unsigned dims;
    bool all, done = false;
    double scale;
    if (!lower_mean(l, n, &done, err))
        return false;
    if (done)
        return true;
    if (!infer_axes(n, "dim", x->shape.rank, &dims, &all, err))
        return false;
    if (all)
        dims = (1u << x->shape.rank) - 1;
    if (strcmp(key, "sum") == 0 || strcmp(key, "mean") == 0)
        return lower_sum(l, n, dims, key[0] == 'm', err);
    if (strcmp(key, "amax") == 0 || strcmp(key, "amin") == 0)
        return lower_extreme(l, n, dims, key[2] == 'a', err);
    int f = 0;
    while (f < REDUCE_COUNT && strcmp(key, functions[f]) != 0)
        f++;
    if (f == REDUCE_COUNT)
        return lower_refuse(n, err, "this reduction is not defined for quantized operands");
    if (!lower_scaled(n, x, &scale, err) || !lower_scaled(n, n->outputs[0], &scale, err))
        return false;
    struct layer *layer = reduce_layer(l, n, OP_REDUCE_REAL, n->outputs[0], dims, err);
    if (!layer)
        return false;
    layer_set(layer, "function", f);
    layer_set_real(layer, "p", node_float(n, "p", 2));
    layer_set_real(layer, "correction",
                   node_attr(n, "correction") ? (double)node_int(n, "correction", 1)
                                              : node_bool(n, "unbiased", true));
    return true;
}

/* ── extrema and positions ── */

/* The axes of max, min, argmax, argmin: one, or all of them without `dim`. */
static bool order_axes(const struct node *n, bool empty_is_all, unsigned *dims,
                       struct bpu_error *err)
{
    const struct attr *a = node_attr(n, "dim");
    int rank = n->inputs[0]->shape.rank, axis;
    *dims = (1u << rank) - 1;
    if (!a || a->kind == ATTR_NONE ||
        (empty_is_all && (a->kind == ATTR_INTS || a->kind == ATTR_FLOATS) && a->count == 0))
        return true;
    int64_t d = a->kind == ATTR_INTS && empty_is_all ? a->ints[0] : node_int(n, "dim", 0);
    if (!infer_axis(n, "dim", d, rank, &axis, err))
        return false;
    if (rank > 0)
        *dims = 1u << axis;
    return true;
}

static bool lower_position(struct lowering *l, const struct node *n, const struct value *v,
                           unsigned dims, bool largest, bool last, struct bpu_error *err)
{
    struct layer *layer = reduce_layer(l, n, OP_POSITION, v, dims, err);
    if (!layer)
        return false;
    layer_set(layer, "largest", largest);
    layer_set(layer, "last", last);
    return true;
}

bool lower_max_min(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    bool largest = strcmp(n->op->key, "max") == 0;
    unsigned dims;
    double scale;
    if (node_input(n, 1)) /* of two maps */
        return lower_binary(l, n, err);
    if (!order_axes(n, true, &dims, err) || !lower_scaled(n, n->inputs[0], &scale, err))
        return false;
    if (lower_output(n, 0) && !lower_extreme(l, n, dims, largest, err))
        return false;
    return !lower_output(n, 1) || lower_position(l, n, n->outputs[1], dims, largest, false, err);
}

bool lower_arg(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    unsigned dims;
    double scale;
    return order_axes(n, false, &dims, err) && lower_scaled(n, n->inputs[0], &scale, err) &&
           lower_position(l, n, n->outputs[0], dims, strcmp(n->op->key, "argmax") == 0,
                          node_bool(n, "select_last_index", false), err);
}
