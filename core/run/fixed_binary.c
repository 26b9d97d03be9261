/* fixed_binary: operators with two operands, broadcast.
 *
 *   add, sub           two feature maps: multipliers of 22 bits on one shift, ties away from zero (qnnpack)
 *   mul                two feature maps: exact integer product, one requantization
 *   maximum, minimum   both operands as integers of the result's scale, then compared
 *   comparisons        of the dequantized values in binary32; the result is 0 or 1
 *   the rest, and add, sub, mul with a float operand: in double precision, one rounding at the end */
#include "core/ops/binary.h"
#include "core/run/fixed.h"

struct operands {
    enum binary op;
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

static bool run_truth(struct operands *v)
{
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk))
        tensor_store_int(
            v->y, i,
            binary_apply(v->op, single(v->a, &v->sa, v->walk.at[0]),
                         single(v->b, &v->sb, v->walk.at[1])) != 0);
    return true;
}

static bool run_add(struct operands *v, const struct kernel_call *c, double alpha,
                    struct bpu_error *err)
{
    struct add_multipliers m;
    float b = (float)((float)(v->sb.scale * fabs(alpha)) / (float)v->to.scale);
    if ((v->op == B_SUB) != (alpha < 0))
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

static bool run_mul(struct operands *v, const struct kernel_call *c, struct bpu_error *err)
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

static bool run_extremum(struct operands *v)
{
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk)) {
        int32_t a = fixed_take(v->a, v->walk.at[0], &v->sa, &v->to);
        int32_t b = fixed_take(v->b, v->walk.at[1], &v->sb, &v->to);
        tensor_store_int(v->y, i, (v->op == B_MAX) == (a > b) ? a : b);
    }
    return true;
}

static bool run_real(struct operands *v, double alpha)
{
    for (int64_t i = 0; i < v->count; i++, fold_walk_next(&v->walk))
        tensor_store_int(v->y, i,
                         arith_quantize(binary_apply(v->op, tensor_real(v->a, v->walk.at[0]),
                                                     alpha * tensor_real(v->b, v->walk.at[1])),
                                        v->to.scale, v->to.zero, v->to.lo, v->to.hi));
    return true;
}

/* relu and relu6 of an addition or product: cut off at the end. */
static bool activate(struct operands *v, const struct kernel_call *c, struct bpu_error *err)
{
    return requant_range(v->y->dtype, v->to.scale, v->to.zero,
                         node_string(c->node, "activation", NULL), c->node->name, &v->to.lo,
                         &v->to.hi, err);
}

bool fixed_binary(const struct kernel_call *c, struct bpu_error *err)
{
    struct operands v = {.op = binary_find(c->node),
                       .a = kernel_in(c, 0),
                       .b = kernel_in(c, 1),
                       .y = fixed_out(c, 0)};
    double alpha = v.op <= B_SUB ? node_float(c->node, "alpha", 1) : 1;
    if (!v.y)
        return true;
    if (v.op == B_NONE || binary_is_bitwise(v.op) || !v.a || !v.b)
        return kernel_unsupported(c, err, "quantized operands");
    bool a = fixed_is_scaled(v.a), b = fixed_is_scaled(v.b);
    v.count = shape_elements(&v.y->shape);
    fold_walk_init(&v.walk, &v.y->shape);
    fold_walk_add(&v.walk, &v.a->shape);
    fold_walk_add(&v.walk, &v.b->shape);
    if ((a && !fixed_scale(c, v.a, "the first operand", &v.sa, err)) ||
        (b && !fixed_scale(c, v.b, "the second operand", &v.sb, err)))
        return false;
    if (binary_is_truth(v.op))
        return run_truth(&v);
    if (!fixed_scale(c, v.y, "the result", &v.to, err) || !activate(&v, c, err))
        return false;
    if (v.op == B_MAX || v.op == B_MIN)
        return run_extremum(&v);
    if (a && b && (v.op == B_ADD || v.op == B_SUB))
        return run_add(&v, c, alpha, err);
    if (a && b && v.op == B_MUL)
        return run_mul(&v, c, err);
    return run_real(&v, alpha);
}
