/* fold_unary: element by element functions of one constant, casts and clamps. */
#include <math.h>

#include "core/ops/fold.h"
#include "core/ops/unary.h"

bool fold_unary(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    const char *key = n->op->key;
    struct fold_result f;
    bool skip;
    int64_t whole;
    struct unary real;
    if (dtype_is_quantized(x->dtype))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    bool ints = fold_is_int(x->dtype) && fold_is_int(f.out->dtype) &&
                unary_apply_int(key, 0, x->dtype, &whole);
    if (!unary_find(n, &real) && !ints)
        return true;
    for (int64_t i = 0; i < f.count; i++) {
        unsigned char *p = f.data + (size_t)i * f.size;
        if (ints && unary_apply_int(key, fold_load_int(fold_at(x, i), x->dtype), x->dtype, &whole))
            fold_store_int(p, f.out->dtype, whole);
        else
            fold_store_real(p, f.out->dtype,
                            unary_apply(&real, fold_load_real(fold_at(x, i), x->dtype)));
    }
    return fold_end(g, &f, err);
}

bool fold_cast(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    struct fold_result f;
    bool skip;
    if (n->output_count > 0 && n->outputs[0]->dtype == x->dtype)
        return fold_share(g, n, 0, x, err);
    if (dtype_is_quantized(x->dtype))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    for (int64_t i = 0; i < f.count; i++) {
        unsigned char *p = f.data + (size_t)i * f.size;
        if (fold_is_int(x->dtype))
            fold_store_int(p, f.out->dtype, fold_load_int(fold_at(x, i), x->dtype));
        else
            fold_store_real(p, f.out->dtype, fold_load_real(fold_at(x, i), x->dtype));
    }
    return fold_end(g, &f, err);
}

/* clamp, relu, relu6, hardtanh: bounds from operands (scalars), attributes or the name. */
bool fold_clamp(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    const char *key = n->op->key;
    bool relu = strcmp(key, "relu") == 0, relu6 = strcmp(key, "relu6") == 0;
    bool tanh_ = strcmp(key, "hardtanh") == 0;
    double low =
        relu || relu6 ? 0 : node_float(n, tanh_ ? "min_val" : "min", tanh_ ? -1 : -INFINITY);
    double high = relu6  ? 6
                  : relu ? INFINITY
                         : node_float(n, tanh_ ? "max_val" : "max", tanh_ ? 1 : INFINITY);
    struct fold_result f;
    bool skip;
    for (int i = 1; i < n->input_count; i++) {
        if (!n->inputs[i])
            continue;
        if (shape_elements(&n->inputs[i]->shape) != 1 ||
            !constant_real(n->inputs[i], 0, i == 1 ? &low : &high))
            return true;
    }
    if (dtype_is_quantized(x->dtype))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    for (int64_t i = 0; i < f.count; i++) {
        unsigned char *p = f.data + (size_t)i * f.size;
        double v = fold_load_real(fold_at(x, i), x->dtype);
        if (v < low)
            fold_store_real(p, f.out->dtype, low);
        else if (v > high)
            fold_store_real(p, f.out->dtype, high);
        else /* unchanged: no way through a double, which has fewer digits than an int64 */
            memcpy(p, fold_at(x, i), f.size);
    }
    return fold_end(g, &f, err);
}
