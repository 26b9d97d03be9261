/* lower_real_lanes: operators along one axis: softmax, hardmax, gated units, running sums, sorting.
 */
#include <string.h>

#include "core/compile/lower_real.h"

/* The operand along axis `dim`, and the layer that makes v, whose extent there may be another one.
 */
static struct layer *lane_layer(struct lowering *l, const struct node *n, enum opcode op,
                                const struct value *v, int dim, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    struct along a;
    if (!along_of(l, n, x, x->shape.rank > 0 ? 1u << dim : 0, &a, err))
        return NULL;
    if (a.axis < 0) /* a scalar */
        a.axis = AXIS_C;
    struct shape to = along_with(&a, x->shape.rank > 0 ? v->shape.dim[dim] : 1);
    struct map *from = lower_map_as(l, x, &a.as, a.form, err);
    struct map *y = from ? lower_result_as(l, v, &to, a.form, err) : NULL;
    struct layer *layer = y ? lower_layer(l, op, n, y, err) : NULL;
    if (!layer)
        return NULL;
    along_reads(layer, from, 1u << a.axis);
    layer_set(layer, "axis", a.axis);
    return layer;
}

static bool node_axis(const struct node *n, int64_t otherwise, int *dim, struct bpu_error *err)
{
    return infer_axis(n, "dim", node_int(n, "dim", otherwise), n->inputs[0]->shape.rank, dim, err);
}

bool lower_softmax(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    int rank = n->inputs[0]->shape.rank, dim;
    double scale;
    int64_t otherwise =
        rank == 0 || rank == 1 || rank == 3 ? 0 : 1; /* PyTorch's rule without dim */
    if (!node_axis(n, otherwise, &dim, err) || !lower_scaled(n, n->inputs[0], &scale, err) ||
        !lower_scaled(n, n->outputs[0], &scale, err))
        return false;
    struct layer *layer = lane_layer(l, n, OP_SOFTMAX, n->outputs[0], dim, err);
    if (layer)
        layer_set(layer, "logarithm", strcmp(n->op->key, "log_softmax") == 0);
    return layer != NULL;
}

bool lower_hardmax(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    int dim;
    return node_axis(n, -1, &dim, err) &&
           lane_layer(l, n, OP_HARDMAX, n->outputs[0], dim, err) != NULL;
}

bool lower_glu(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    int dim;
    double scale;
    return node_axis(n, -1, &dim, err) && lower_scaled(n, n->inputs[0], &scale, err) &&
           lower_scaled(n, n->outputs[0], &scale, err) &&
           lane_layer(l, n, OP_GLU, n->outputs[0], dim, err) != NULL;
}

bool lower_cumsum(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    int dim;
    if (!node_axis(n, 0, &dim, err))
        return false;
    struct layer *layer = lane_layer(l, n, OP_CUMSUM, n->outputs[0], dim, err);
    if (!layer)
        return false;
    layer_set(layer, "exclusive", node_bool(n, "exclusive", false));
    layer_set(layer, "reverse", node_bool(n, "reverse", false));
    return true;
}

/* Values and positions are results of two layers. */
static bool lower_sorted(struct lowering *l, const struct node *n, bool descending,
                         struct bpu_error *err)
{
    int dim;
    double scale;
    if (!lower_scaled(n, n->inputs[0], &scale, err) || !node_axis(n, -1, &dim, err))
        return false;
    for (int i = 0; i < 2; i++) {
        const struct value *v = lower_output(n, i);
        if (!v)
            continue;
        if (i == 0 && !lower_scaled(n, v, &scale, err))
            return false;
        struct layer *layer = lane_layer(l, n, OP_SORT, v, dim, err);
        if (!layer)
            return false;
        layer_set(layer, "descending", descending);
        layer_set(layer, "positions", i);
    }
    return true;
}

bool lower_sort(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return lower_sorted(l, n, node_bool(n, "descending", false), err);
}

bool lower_topk(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return lower_sorted(l, n, node_bool(n, "largest", true), err);
}
