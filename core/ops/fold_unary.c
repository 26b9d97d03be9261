/* fold_unary: element by element functions of one constant, casts and clamps. */
#include <math.h>

#include "core/ops/fold.h"

static double f_neg(double x)
{
    return -x;
}
static double f_sign(double x)
{
    return isnan(x) ? x : (x > 0) - (x < 0);
}
static double f_reciprocal(double x)
{
    return 1 / x;
}
static double f_rsqrt(double x)
{
    return 1 / sqrt(x);
}
static double f_square(double x)
{
    return x * x;
}
static double f_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double f_not(double x)
{
    return x == 0;
}
static double f_isnan(double x)
{
    return isnan(x) != 0;
}
static double f_isinf(double x)
{
    return isinf(x) != 0;
}

/* nearbyint rounds ties to even, as PyTorch and ONNX do. */
static const struct {
    const char *key;
    double (*real)(double);
} functions[] = {
    {"abs", fabs},      {"acos", acos},       {"acosh", acosh},       {"asin", asin},
    {"asinh", asinh},   {"atan", atan},       {"atanh", atanh},       {"ceil", ceil},
    {"cos", cos},       {"cosh", cosh},       {"erf", erf},           {"exp", exp},
    {"floor", floor},   {"log", log},         {"sin", sin},           {"sinh", sinh},
    {"sqrt", sqrt},     {"tan", tan},         {"tanh", tanh},         {"log2", log2},
    {"log10", log10},   {"log1p", log1p},     {"expm1", expm1},       {"round", nearbyint},
    {"trunc", trunc},   {"neg", f_neg},       {"sign", f_sign},       {"reciprocal", f_reciprocal},
    {"rsqrt", f_rsqrt}, {"square", f_square}, {"sigmoid", f_sigmoid}, {"logical_not", f_not},
    {"isnan", f_isnan}, {"isinf", f_isinf},
};

/* Integer operands with an integer result: exact, wrapping.  False: the key has no integer form. */
static bool unary_int(const char *key, int64_t x, enum dtype t, int64_t *out)
{
    if (strcmp(key, "neg") == 0)
        *out = (int64_t)(0 - (uint64_t)x);
    else if (strcmp(key, "abs") == 0)
        *out = x < 0 && t != DT_UINT64 ? (int64_t)(0 - (uint64_t)x) : x;
    else if (strcmp(key, "sign") == 0)
        *out = t == DT_UINT64 ? x != 0 : (x > 0) - (x < 0);
    else if (strcmp(key, "square") == 0)
        *out = (int64_t)((uint64_t)x * (uint64_t)x);
    else if (strcmp(key, "bitwise_not") == 0)
        *out = t == DT_BOOL ? !x : ~x;
    else if (strcmp(key, "logical_not") == 0)
        *out = x == 0;
    else if (strcmp(key, "ceil") == 0 || strcmp(key, "floor") == 0 || strcmp(key, "round") == 0 ||
             strcmp(key, "trunc") == 0)
        *out = x;
    else
        return false;
    return true;
}

bool fold_unary(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    const char *key = n->op->key;
    struct fold_result f;
    bool skip;
    int64_t whole;
    double (*real)(double) = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].key, key) == 0)
            real = functions[i].real;
    if (dtype_is_quantized(x->dtype))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    bool ints =
        fold_is_int(x->dtype) && fold_is_int(f.out->dtype) && unary_int(key, 0, x->dtype, &whole);
    if (!ints && !real)
        return true;
    for (int64_t i = 0; i < f.count; i++) {
        unsigned char *p = f.data + (size_t)i * f.size;
        if (ints && unary_int(key, fold_load_int(fold_at(x, i), x->dtype), x->dtype, &whole))
            fold_store_int(p, f.out->dtype, whole);
        else if (real)
            fold_store_real(p, f.out->dtype, real(fold_load_real(fold_at(x, i), x->dtype)));
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
