/* fixed_binary: operators with two operands, broadcast.
 *
 *   add, sub    two feature maps: multipliers of 22 bits on one shift, ties away from zero
 * (qnnpack) mul         two feature maps: exact integer product, one requantization maximum,
 * minimum   both operands rescaled to the result, then compared comparisons        of the
 * dequantized values in binary32; the result is 0 or 1 the rest, and whatever has a float operand:
 * in double precision, one rounding at the end */
#include "core/run/fixed.h"

enum operation {
    ADD,
    SUB,
    MUL,
    DIV,
    POW,
    MAXIMUM,
    MINIMUM,
    FMOD,
    REMAINDER,
    FLOOR_DIVIDE,
    ATAN2,
    EQ, /* from here on: truth values */
    NE,
    LT,
    LE,
    GT,
    GE,
    AND,
    OR,
    XOR,
    NO_OPERATION
};

static enum operation operation_of(const struct node *n)
{
    static const struct {
        const char *key;
        enum operation operation;
    } rows[] = {
        {"add", ADD},
        {"sub", SUB},
        {"mul", MUL},
        {"div", DIV},
        {"pow", POW},
        {"maximum", MAXIMUM},
        {"minimum", MINIMUM},
        {"max", MAXIMUM},
        {"min", MINIMUM},
        {"fmod", FMOD},
        {"remainder", REMAINDER},
        {"floor_divide", FLOOR_DIVIDE},
        {"atan2", ATAN2},
        {"eq", EQ},
        {"ne", NE},
        {"lt", LT},
        {"less", LT},
        {"le", LE},
        {"less_equal", LE},
        {"gt", GT},
        {"greater", GT},
        {"ge", GE},
        {"greater_equal", GE},
        {"logical_and", AND},
        {"logical_or", OR},
        {"logical_xor", XOR},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].key, n->op->key) == 0)
            return rows[i].operation;
    return NO_OPERATION;
}

/* The remainder with the sign of b, and the quotient that goes with it: from the exact remainder, so
 * that 1 / 0.1 rounds down to what PyTorch has. */
static double modulo(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static double floor_quotient(double a, double b)
{
    return b == 0 ? a / b : nearbyint((a - modulo(a, b)) / b);
}

static double quotient(double a, double b, const char *mode)
{
    if (strcmp(mode, "floor") == 0)
        return floor_quotient(a, b);
    return strcmp(mode, "trunc") == 0 ? trunc(a / b) : a / b;
}

static double real_result(enum operation op, double a, double b, double alpha, const char *mode)
{
    switch (op) {
    case ADD: return a + alpha * b;
    case SUB: return a - alpha * b;
    case MUL: return a * b;
    case DIV: return quotient(a, b, mode);
    case POW: return pow(a, b);
    case FMOD: return fmod(a, b);
    case REMAINDER: return modulo(a, b);
    case FLOOR_DIVIDE: return floor_quotient(a, b);
    case ATAN2: return atan2(a, b);
    default: return 0;
    }
}

static bool truth(enum operation op, float a, float b)
{
    switch (op) {
    case EQ: return a == b;
    case NE: return a != b;
    case LT: return a < b;
    case LE: return a <= b;
    case GT: return a > b;
    case GE: return a >= b;
    case AND: return a != 0 && b != 0;
    case OR: return a != 0 || b != 0;
    default: return (a != 0) != (b != 0);
    }
}

struct binary {
    enum operation op;
    const struct tensor *a, *b;
    struct tensor *y;
    struct fixed_scale sa, sb, to; /* sa, sb: of scaled operands */
    struct fold_walk walk;
    int64_t count;
};

/* The value of an operand in binary32, as dequantize gives it. */
static float single(const struct tensor *t, const struct fixed_scale *s, int64_t i)
{
    if (!fixed_is_scaled(t))
        return (float)tensor_real(t, i);
    return (float)s->scale * (float)(tensor_int(t, i) - s->zero);
}

static bool run_truth(struct binary *v)
{
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk))
        tensor_store_int(
            v->y, i,
            truth(v->op, single(v->a, &v->sa, v->walk.at[0]), single(v->b, &v->sb, v->walk.at[1])));
    return true;
}

static bool run_add(struct binary *v, const struct kernel_call *c, double alpha,
                    struct bpu_error *err)
{
    struct add_multipliers m;
    float b = (float)((float)(v->sb.scale * fabs(alpha)) / (float)v->to.scale);
    if ((v->op == SUB) != (alpha < 0))
        b = -b;
    if (!arith_add_multipliers((float)v->sa.scale / (float)v->to.scale, b, &m)) {
        error_set(err, BPU_BAD_MODEL, c->node->name,
                  "%s: the scales %g and %g are too far from the result's %g", c->node->op_name,
                  v->sa.scale, v->sb.scale, v->to.scale);
        return error_hint(err, "The ratios must be between 2^-40 and 2^20.");
    }
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk)) {
        int64_t a = tensor_int(v->a, v->walk.at[0]) - v->sa.zero;
        int64_t b_ = tensor_int(v->b, v->walk.at[1]) - v->sb.zero;
        int64_t sum = arith_add(arith_clamp(a, INT32_MIN, INT32_MAX),
                                arith_clamp(b_, INT32_MIN, INT32_MAX), m);
        tensor_store_int(v->y, i, arith_clamp(sum + v->to.zero, v->to.lo, v->to.hi));
    }
    return true;
}

static bool run_mul(struct binary *v, const struct kernel_call *c, struct bpu_error *err)
{
    struct fixed_multiplier m;
    if (!fixed_product(c, &v->sa, &v->sb, v->y, &v->to, &m, err))
        return false;
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk)) {
        int32_t a = arith_clamp(tensor_int(v->a, v->walk.at[0]) - v->sa.zero, INT32_MIN, INT32_MAX);
        int32_t b = arith_clamp(tensor_int(v->b, v->walk.at[1]) - v->sb.zero, INT32_MIN, INT32_MAX);
        tensor_store_int(v->y, i, fixed_requantize((int64_t)a * b, &m, &v->to));
    }
    return true;
}

static bool run_extremum(struct binary *v)
{
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk)) {
        int32_t a = fixed_take(v->a, v->walk.at[0], &v->sa, &v->to);
        int32_t b = fixed_take(v->b, v->walk.at[1], &v->sb, &v->to);
        tensor_store_int(v->y, i, (v->op == MAXIMUM) == (a > b) ? a : b);
    }
    return true;
}

static bool run_real(struct binary *v, const struct kernel_call *c, double alpha)
{
    const char *mode = node_string(c->node, "rounding_mode", "");
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk))
        tensor_store_real(v->y, i,
                          real_result(v->op, tensor_real(v->a, v->walk.at[0]),
                                      tensor_real(v->b, v->walk.at[1]), alpha, mode));
    return true;
}

/* relu and relu6 of an addition or product: cut off at the end. */
static bool activate(struct binary *v, const struct kernel_call *c, struct bpu_error *err)
{
    return requant_range(v->y->dtype, v->to.scale, v->to.zero,
                         node_string(c->node, "activation", NULL), c->node->name, &v->to.lo,
                         &v->to.hi, err);
}

bool fixed_binary(const struct kernel_call *c, struct bpu_error *err)
{
    struct binary v = {.op = operation_of(c->node),
                       .a = kernel_in(c, 0),
                       .b = kernel_in(c, 1),
                       .y = fixed_out(c, 0)};
    double alpha = node_float(c->node, "alpha", 1);
    if (!v.y)
        return true;
    if (v.op == NO_OPERATION || !v.a || !v.b)
        return kernel_unsupported(c, err, "quantized operands");
    bool a = fixed_is_scaled(v.a), b = fixed_is_scaled(v.b);
    v.count = shape_elements(&v.y->shape);
    fold_walk_init(&v.walk, &v.y->shape);
    fold_walk_add(&v.walk, &v.a->shape);
    fold_walk_add(&v.walk, &v.b->shape);
    if ((a && !fixed_scale(c, v.a, "the first operand", &v.sa, err)) ||
        (b && !fixed_scale(c, v.b, "the second operand", &v.sb, err)))
        return false;
    if (v.op >= EQ)
        return run_truth(&v);
    if (!fixed_scale(c, v.y, "the result", &v.to, err) || !activate(&v, c, err))
        return false;
    if (v.op == MAXIMUM || v.op == MINIMUM)
        return run_extremum(&v);
    if (a && b && (v.op == ADD || v.op == SUB))
        return run_add(&v, c, alpha, err);
    if (a && b && v.op == MUL)
        return run_mul(&v, c, err);
    return run_real(&v, c, alpha);
}
