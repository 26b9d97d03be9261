/* unary: the functions, one row each: key of the operator, function, and where its parameters come
 * from.  Formulas are those of PyTorch's documentation. */
#include "core/ops/unary.h"

#include <math.h>
#include <string.h>

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
static double f_silu(double x)
{
    return x == -INFINITY ? 0 : x / (1 + exp(-x));
}
static double f_hardswish(double x)
{
    double gate = x + 3;
    gate = gate < 0 ? 0 : gate > 6 ? 6 : gate;
    return x == -INFINITY ? 0 : x * gate / 6;
}
/* log(1 + exp(x)) without overflow. */
static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double f_mish(double x)
{
    return x == -INFINITY ? 0 : x * tanh(softplus(x));
}
static double f_softsign(double x)
{
    return isinf(x) ? (x > 0 ? 1 : -1) : x / (1 + fabs(x));
}
static double f_log_sigmoid(double x)
{
    return -softplus(-x);
}
static double f_gelu_erf(double x)
{
    return x == -INFINITY ? 0 : x * 0.5 * (1 + erf(x * 0.70710678118654752440));
}
static double f_gelu_tanh(double x)
{
    const double k = 0.79788456080286535588; /* sqrt(2 / pi) */
    return isinf(x) ? (x > 0 ? x : 0) : 0.5 * x * (1 + tanh(k * (x + 0.044715 * x * x * x)));
}

static double f_plain(const struct unary *u, double x)
{
    return u->plain(x);
}
/* a: detect_negative, b: detect_positive, which ONNX has */
static double f_isinf(const struct unary *u, double x)
{
    return isinf(x) && (x < 0 ? u->a : u->b) != 0;
}
/* a: alpha, b: the scale, which ONNX calls gamma */
static double f_selu(const struct unary *u, double x)
{
    return u->b * (x > 0 ? x : u->a * expm1(x));
}
/* a: alpha */
static double f_elu(const struct unary *u, double x)
{
    return x > 0 ? x : u->a * expm1(x);
}
static double f_celu(const struct unary *u, double x)
{
    return x > 0 ? x : u->a * expm1(x / u->a);
}
/* a: negative_slope */
static double f_leaky_relu(const struct unary *u, double x)
{
    return x < 0 ? x * u->a : x;
}
/* a: alpha, b: beta */
static double f_hard_sigmoid(const struct unary *u, double x)
{
    double y = u->a * x + u->b;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}
/* a: beta, b: threshold */
static double f_softplus(const struct unary *u, double x)
{
    return x * u->a > u->b ? x : softplus(x * u->a) / u->a;
}
/* a: threshold, b: value */
static double f_threshold(const struct unary *u, double x)
{
    return x <= u->a ? u->b : x;
}
/* a: lambd, b: bias, which is not 0 in ONNX's Shrink alone */
static double f_hardshrink(const struct unary *u, double x)
{
    return x > u->a ? x - u->b : x < -u->a ? x + u->b : isnan(x) ? x : 0;
}
static double f_softshrink(const struct unary *u, double x)
{
    return x > u->a ? x - u->b : x < -u->a ? x + u->b : isnan(x) ? x : 0;
}

/* nearbyint rounds ties to even, as PyTorch and ONNX do. */
static const struct {
    const char *key;
    double (*plain)(double);
} plains[] = {
    {"abs", fabs},
    {"acos", acos},
    {"acosh", acosh},
    {"asin", asin},
    {"asinh", asinh},
    {"atan", atan},
    {"atanh", atanh},
    {"ceil", ceil},
    {"cos", cos},
    {"cosh", cosh},
    {"erf", erf},
    {"exp", exp},
    {"expm1", expm1},
    {"floor", floor},
    {"hardswish", f_hardswish},
    {"isnan", f_isnan},
    {"log", log},
    {"log10", log10},
    {"log1p", log1p},
    {"log2", log2},
    {"log_sigmoid", f_log_sigmoid},
    {"logical_not", f_not},
    {"mish", f_mish},
    {"neg", f_neg},
    {"reciprocal", f_reciprocal},
    {"round", nearbyint},
    {"rsqrt", f_rsqrt},
    {"sigmoid", f_sigmoid},
    {"sign", f_sign},
    {"silu", f_silu},
    {"sin", sin},
    {"sinh", sinh},
    {"softsign", f_softsign},
    {"sqrt", sqrt},
    {"square", f_square},
    {"tan", tan},
    {"tanh", tanh},
    {"trunc", trunc},
};

/* Functions with parameters: attribute and default of a and of b (b NULL: there is none). */
static const struct {
    const char *key;
    double (*of)(const struct unary *, double);
    const char *a_name;
    double a;
    const char *b_name;
    double b;
} parametric[] = {
    {"celu", f_celu, "alpha", 1, NULL, 0},
    {"elu", f_elu, "alpha", 1, NULL, 0},
    {"hard_sigmoid", f_hard_sigmoid, "alpha", 1 / 6., "beta", .5},
    {"hardshrink", f_hardshrink, "lambd", .5, "bias", 0},
    {"isinf", f_isinf, "detect_negative", 1, "detect_positive", 1},
    {"leaky_relu", f_leaky_relu, "negative_slope", .01, NULL, 0},
    {"selu", f_selu, "alpha", 1.6732632423543772848170429916717, "gamma",
     1.0507009873554804934193349852946},
    {"softplus", f_softplus, "beta", 1, "threshold", 20},
    {"softshrink", f_softshrink, "lambd", .5, "bias", NAN},
    {"threshold", f_threshold, "threshold", 0, "value", 0},
};

bool unary_find(const struct node *n, struct unary *out)
{
    const char *key = n->op ? n->op->key : "";
    *out = (struct unary){0};
    if (strcmp(key, "gelu") == 0) {
        const char *how = node_string(n, "approximate", "none");
        *out = (struct unary){f_plain, strcmp(how, "tanh") == 0 ? f_gelu_tanh : f_gelu_erf, 0, 0};
        return true;
    }
    for (size_t i = 0; i < sizeof plains / sizeof *plains; i++)
        if (strcmp(plains[i].key, key) == 0) {
            *out = (struct unary){f_plain, plains[i].plain, 0, 0};
            return true;
        }
    for (size_t i = 0; i < sizeof parametric / sizeof *parametric; i++) {
        if (strcmp(parametric[i].key, key) != 0)
            continue;
        out->of = parametric[i].of;
        out->a = node_float(n, parametric[i].a_name, parametric[i].a);
        out->b = parametric[i].b_name ? node_float(n, parametric[i].b_name, parametric[i].b) : 0;
        if (isnan(out->b)) /* softshrink moves by lambd unless the file says otherwise */
            out->b = out->a;
        return true;
    }
    return false;
}

bool unary_apply_int(const char *key, int64_t x, enum dtype t, int64_t *out)
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
        *out = t == DT_BOOL || t == DT_QBOOL ? !x : ~x;
    else if (strcmp(key, "logical_not") == 0)
        *out = x == 0;
    else if (strcmp(key, "ceil") == 0 || strcmp(key, "floor") == 0 || strcmp(key, "round") == 0 ||
             strcmp(key, "trunc") == 0)
        *out = x;
    else
        return false;
    return true;
}
