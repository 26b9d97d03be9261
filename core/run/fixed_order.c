/* fixed_order: what compares stored integers along an axis: max and min with their positions,
 * argmax and argmin, topk, sort.
 *
 * One scale for all elements: order of stored integers is order of values.  Of equal values the one
 * with the lowest index comes first; results of another scale than the input's are rescaled. */
#include <stdlib.h>

#include "core/run/fixed.h"

struct element {
    int64_t q, at;
};

static int ascending(const void *a, const void *b)
{
    const struct element *x = a, *y = b;
    if (x->q != y->q)
        return x->q < y->q ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int descending(const void *a, const void *b)
{
    const struct element *x = a, *y = b;
    if (x->q != y->q)
        return x->q > y->q ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* What stands where: values of y, if it is wanted, and indices. */
struct order_out {
    struct tensor *values, *indices;
    struct fixed_scale from, to;
};

static bool order_begin(const struct kernel_call *c, struct order_out *o, struct bpu_error *err)
{
    *o = (struct order_out){.values = fixed_out(c, 0), .indices = fixed_out(c, 1)};
    return fixed_scale(c, c->in[0], "the input", &o->from, err) &&
           fixed_scale(c, o->values ? o->values : c->in[0], "the result", &o->to, err);
}

static void order_store(const struct order_out *o, int64_t i, struct element e)
{
    if (o->values)
        tensor_store_int(o->values, i, fixed_rescale(e.q, &o->from, &o->to));
    if (o->indices)
        tensor_store_int(o->indices, i, e.at);
}

/* The extremum of a lane: the first one, or the last one. */
static struct element lane_extremum(const struct tensor *x, int64_t first, int64_t count,
                                    int64_t step, bool largest, bool last)
{
    struct element best = {0, -1};
    for (int64_t k = 0; k < count; k++) {
        int64_t q = tensor_int(x, first + k * step);
        bool better = largest ? q > best.q : q < best.q;
        if (best.at < 0 || better || (last && q == best.q))
            best = (struct element){q, k};
    }
    return best;
}

bool fixed_max_min(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    const struct attr *dim = node_attr(c->node, "dim");
    bool largest = strcmp(c->node->op->key, "max") == 0;
    struct order_out out;
    struct fixed_lanes l = {1, shape_elements(&x->shape), 1};
    int axis;
    if (kernel_in(c, 1))
        return fixed_binary(c, err);
    if (!fixed_out(c, 0) && !fixed_out(c, 1))
        return true;
    if (!order_begin(c, &out, err))
        return false;
    bool all = !dim || dim->kind == ATTR_NONE || /* an empty list means all axes, as none does */
               ((dim->kind == ATTR_INTS || dim->kind == ATTR_FLOATS) && dim->count == 0);
    if (!all) {
        int64_t d = dim->kind == ATTR_INTS ? dim->ints[0] : node_int(c->node, "dim", 0);
        if (!infer_axis(c->node, "dim", d, x->shape.rank, &axis, err))
            return false;
        l = fixed_lanes(&x->shape, axis);
    }
    if (l.extent == 0)
        return kernel_unsupported(c, err, "an empty axis");
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < l.inner; i++)
            order_store(
                &out, o * l.inner + i,
                lane_extremum(x, o * l.extent * l.inner + i, l.extent, l.inner, largest, false));
    return true;
}

bool fixed_arg(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = fixed_out(c, 0);
    const struct attr *dim = node_attr(c->node, "dim");
    bool largest = strcmp(c->node->op->key, "argmax") == 0;
    bool last = node_bool(c->node, "select_last_index", false);
    struct fixed_lanes l = {1, shape_elements(&x->shape), 1};
    int axis;
    if (!y)
        return true;
    if (dim && dim->kind != ATTR_NONE) {
        if (!fixed_axis_attr(c, "dim", 0, x->shape.rank, &axis, err))
            return false;
        l = fixed_lanes(&x->shape, axis);
    }
    if (x->quant.count > 1)
        return kernel_unsupported(c, err, "a scale per channel");
    if (l.extent == 0)
        return kernel_unsupported(c, err, "an empty axis");
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < l.inner; i++)
            tensor_store_int(
                y, o * l.inner + i,
                lane_extremum(x, o * l.extent * l.inner + i, l.extent, l.inner, largest, last).at);
    return true;
}

/* The first `keep` of each sorted lane. */
static bool sort_lanes(const struct kernel_call *c, int64_t keep, bool largest,
                       struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct order_out out;
    int axis;
    if (!fixed_out(c, 0) && !fixed_out(c, 1))
        return true;
    if (!order_begin(c, &out, err) || !fixed_axis_attr(c, "dim", -1, x->shape.rank, &axis, err))
        return false;
    struct fixed_lanes l = fixed_lanes(&x->shape, axis);
    if (keep < 0)
        keep = l.extent;
    if (keep > l.extent)
        return kernel_unsupported(c, err, "k %lld of %lld elements", (long long)keep,
                                  (long long)l.extent);
    struct element *lane = ARENA_ARRAY(c->scratch, struct element, l.extent, err);
    if (!lane)
        return false;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < l.inner; i++) {
            for (int64_t k = 0; k < l.extent; k++)
                lane[k] = (struct element){tensor_int(x, (o * l.extent + k) * l.inner + i), k};
            qsort(lane, (size_t)l.extent, sizeof *lane, largest ? descending : ascending);
            for (int64_t k = 0; k < keep; k++)
                order_store(&out, (o * keep + k) * l.inner + i, lane[k]);
        }
    return true;
}

bool fixed_topk(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *k = kernel_in(c, 1), *y = fixed_out(c, 0) ? c->out[0] : fixed_out(c, 1);
    int64_t keep = node_int(c->node, "k", -1);
    int axis;
    if (k && shape_elements(&k->shape) == 1)
        keep = tensor_int(k, 0);
    if (!y)
        return true;
    if (!fixed_axis_attr(c, "dim", -1, y->shape.rank, &axis, err))
        return false;
    if (y->shape.rank > 0 && keep != y->shape.dim[axis])
        return kernel_unsupported(c, err, "k %lld with a result of %lld", (long long)keep,
                                  (long long)y->shape.dim[axis]);
    return sort_lanes(c, keep, node_bool(c->node, "largest", true), err);
}

bool fixed_sort(const struct kernel_call *c, struct bpu_error *err)
{
    return sort_lanes(c, -1, node_bool(c->node, "descending", false), err);
}
