/* real_clamp: cutting off at bounds, and slopes below zero. */
#include "core/ops/op.h"
#include "core/run/real.h"

/* Bounds of relu, relu6, hardtanh by name; of clamp from attributes or, broadcast, from operands.
 * NaN stays, and a maximum below the minimum wins, as in PyTorch. What lies between stays as it
 * is. */
bool real_clamp(const struct kernel_call *c, struct bpu_error *err)
{
    const struct node *n = c->node;
    const struct tensor *x = kernel_in(c, 0), *min = kernel_in(c, 1), *max = kernel_in(c, 2);
    struct tensor *y = c->out[0];
    const char *key = n->op->key;
    bool relu = strcmp(key, "relu") == 0, relu6 = strcmp(key, "relu6") == 0;
    bool hard = strcmp(key, "hardtanh") == 0;
    double low = relu || relu6 ? 0 : node_float(n, hard ? "min_val" : "min", hard ? -1 : -INFINITY);
    double high = relu6  ? 6
                  : relu ? INFINITY
                         : node_float(n, hard ? "max_val" : "max", hard ? 1 : INFINITY);
    int64_t count = real_count(y);
    if (!min && !max && x->dtype == DT_FLOAT32 && y->dtype == DT_FLOAT32) {
        const float *from = x->data;
        float *to = y->data, lo = (float)low, hi = (float)high;
        for (int64_t i = 0; i < count; i++) {
            float v = from[i] < lo ? lo : from[i];
            to[i] = v > hi ? hi : v;
        }
        return true;
    }
    if (!real_broadcasts(c, x, &y->shape, err) ||
        (min && !real_broadcasts(c, min, &y->shape, err)) ||
        (max && !real_broadcasts(c, max, &y->shape, err)))
        return false;
    struct fold_walk w;
    fold_walk_init(&w, &y->shape);
    fold_walk_add(&w, &x->shape);
    fold_walk_add(&w, min ? &min->shape : &x->shape);
    fold_walk_add(&w, max ? &max->shape : &x->shape);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        double v = tensor_real(x, w.at[0]), lo = min ? tensor_real(min, w.at[1]) : low,
               hi = max ? tensor_real(max, w.at[2]) : high;
        if (v > hi || (v < lo && lo > hi))
            tensor_store_real(y, i, hi);
        else if (v < lo)
            tensor_store_real(y, i, lo);
        else /* no way through a double, which has fewer digits than an int64 */
            real_move(x, w.at[0], y, i);
    }
    return true;
}

/* x below 0 is multiplied by the slope: one number, one per channel, or in ONNX any broadcast
 * operand. */
bool real_prelu(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0), *weight = kernel_param(c, "weight");
    struct tensor *y = c->out[0];
    if (!weight)
        weight = kernel_in(c, 1);
    if (!weight)
        return kernel_unsupported(c, err, "the slope is missing");
    struct shape w = weight->shape;
    int64_t slopes = shape_elements(&w), count = real_count(y);
    if (slopes == 1)
        w.rank = 0;
    else if (w.rank == 1 && !infer_from_onnx(c->node)) { /* one per channel: axis 1 */
        w.rank = x->shape.rank - 1;
        for (int i = 1; i < w.rank; i++)
            w.dim[i] = 1;
    }
    struct fold_walk walk;
    fold_walk_init(&walk, &y->shape);
    fold_walk_add(&walk, &w);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&walk)) {
        double v = tensor_real(x, i);
        tensor_store_real(y, i, v < 0 ? v * tensor_real(weight, walk.at[0]) : v);
    }
    return true;
}
