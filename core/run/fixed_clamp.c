/* fixed_clamp: relu, relu6, hardtanh, clamp.
 *
 * The bounds become integers of the input's scale, and stored integers are cut off there.  A result
 * of another scale is rescaled after. */
#include "core/run/fixed.h"

void fixed_clamp_bounds(const struct node *n, double *low, double *high)
{
    const char *key = n->op->key;
    *low = -INFINITY;
    *high = INFINITY;
    if (strcmp(key, "relu") == 0) {
        *low = 0;
    } else if (strcmp(key, "relu6") == 0) {
        *low = 0;
        *high = 6;
    } else if (strcmp(key, "hardtanh") == 0) {
        *low = node_float(n, "min_val", -1);
        *high = node_float(n, "max_val", 1);
    } else {
        *low = node_float(n, "min", -INFINITY);
        *high = node_float(n, "max", INFINITY);
    }
}

/* A real bound among the integers of scale s. */
static int32_t bound(double real, const struct fixed_scale *s)
{
    return arith_quantize_binary32((float)real, s->reciprocal, s->zero, s->lo, s->hi);
}

bool fixed_clamp(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *low = kernel_in(c, 1), *high = kernel_in(c, 2);
    struct tensor *y = fixed_out(c, 0);
    struct fixed_scale from, to;
    struct fold_walk w;
    double least, most;
    if (!y)
        return true;
    if (!fixed_scale(c, x, "the input", &from, err) || !fixed_scale(c, y, "the result", &to, err))
        return false;
    fixed_clamp_bounds(c->node, &least, &most);
    int64_t count = shape_elements(&y->shape);
    fold_walk_init(&w, &y->shape);
    fold_walk_add(&w, &x->shape);
    fold_walk_add(&w, low ? &low->shape : &x->shape);
    fold_walk_add(&w, high ? &high->shape : &x->shape);
    int32_t lo = bound(least, &from), hi = bound(most, &from);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        if (low)
            lo = bound(tensor_real(low, w.at[1]), &from);
        if (high)
            hi = bound(tensor_real(high, w.at[2]), &from);
        int64_t v = tensor_int(x, w.at[0]);
        v = v < lo ? lo : v;
        v = v > hi ? hi : v; /* where the bounds cross, the upper one holds, as in PyTorch */
        tensor_store_int(y, i, fixed_rescale(v, &from, &to));
    }
    return true;
}
