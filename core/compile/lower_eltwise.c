/* lower_eltwise: functions of two values, broadcast, and those that cut values off. */
#include <math.h>
#include <string.h>

#include "core/compile/lower_view.h"
#include "core/ops/binary.h"
#include "core/ops/infer.h"
#include "core/run/fixed.h"

static bool is_scaled(const struct value *v)
{
    return dtype_is_quantized(v->dtype) && v->dtype != DT_QBOOL;
}

/* The form in which an operand lies that is as large as the result. */
static enum form form_of(const struct lowering *l, const struct node *n)
{
    const struct shape *y = &n->outputs[0]->shape;
    for (int i = 0; i < n->input_count; i++) {
        const struct value *v = n->inputs[i];
        if (v && !v->constant && shape_equal(&v->shape, y))
            return lower_form(l, v);
    }
    return y->rank == 4 || y->rank == 5 ? FORM_IMAGE : FORM_FEATURES;
}

/* A constant of one element that is no stored integer: an argument of the instruction. */
static bool is_scalar(const struct value *v, double *out)
{
    return v->constant && !is_scaled(v) && shape_elements(&v->shape) == 1 &&
           constant_real(v, 0, out);
}

/* ── two operands ── */

struct pair {
    enum binary op;
    const struct value *a, *b, *y;
    struct fixed_scale sa, sb, to;
    double alpha;
};

static bool scale_of(const struct node *n, const struct value *v, struct fixed_scale *out,
                     struct bpu_error *err)
{
    int64_t lo, hi;
    if (v->quant.count != 1)
        return lower_refuse(n, err, "\"%s\" does not have one scale", v->name);
    dtype_range(v->dtype, &lo, &hi);
    *out = (struct fixed_scale){.scale = v->quant.scale[0],
                                .zero = v->quant.zero_point ? (int32_t)v->quant.zero_point[0] : 0,
                                .lo = (int32_t)lo,
                                .hi = (int32_t)hi,
                                .reciprocal = 1.0f / (float)v->quant.scale[0]};
    return true;
}

/* Both operands as maps that repeat where they are 1, and the layer that reads them. */
static struct layer *pair_layer(struct lowering *l, const struct node *n, enum opcode op,
                                const struct pair *p, bool a, bool b, struct bpu_error *err)
{
    enum form f = form_of(l, n);
    const struct shape *s = &p->y->shape;
    struct map *ma = a ? lower_broadcast(l, p->a, s, f, err) : NULL;
    struct map *mb = (!a || ma) && b ? lower_broadcast(l, p->b, s, f, err) : NULL;
    if ((a && !ma) || (b && !mb))
        return NULL;
    struct map *y = lower_result(l, p->y, f, err);
    struct layer *layer = y ? lower_layer(l, op, n, y, err) : NULL;
    if (!layer)
        return NULL;
    layer_reads(layer, ma, NEED_SAME);
    layer_reads(layer, mb, NEED_SAME);
    if (a)
        layer_in_place(layer, 0);
    if (b && !layer->in[0].in_place)
        layer_in_place(layer, 1);
    return layer;
}

static bool add_maps(struct lowering *l, const struct node *n, const struct pair *p,
                     struct bpu_error *err)
{
    struct add_multipliers m;
    float b = (float)((float)(p->sb.scale * fabs(p->alpha)) / (float)p->to.scale);
    if ((p->op == B_SUB) != (p->alpha < 0))
        b = -b;
    if (!arith_add_multipliers((float)p->sa.scale / (float)p->to.scale, b, &m)) {
        error_set(err, BPU_BAD_MODEL, n->name,
                  "%s: the scales %g and %g are too far from the result's %g", n->op_name,
                  p->sa.scale, p->sb.scale, p->to.scale);
        return error_hint(err, "The ratios must be between 2^-40 and 2^20.");
    }
    struct layer *layer = pair_layer(l, n, OP_ADD, p, true, true, err);
    if (!layer)
        return false;
    layer->args[ADD_MANTISSA_A] = m.a;
    layer->args[ADD_MANTISSA_B] = m.b;
    layer->args[ADD_SHIFT] = m.shift;
    layer->args[ADD_LOW] = p->to.lo;
    layer->args[ADD_HIGH] = p->to.hi;
    return true;
}

static bool mul_maps(struct lowering *l, const struct node *n, const struct pair *p,
                     struct bpu_error *err)
{
    bool binary32 = requant_is_binary32(p->y->dtype);
    float product = (float)p->sa.scale * (float)p->sb.scale;
    float single = p->y->dtype == DT_QUINT8 ? product * p->to.reciprocal
                                            : product / (float)p->to.scale;
    double real = binary32 ? (double)single : p->sa.scale * p->sb.scale / p->to.scale;
    struct multiplier m;
    if (!requant_multiplier(real, p->y->dtype, n->name, &m, err))
        return false;
    struct layer *layer = pair_layer(l, n, OP_MUL, p, true, true, err);
    if (!layer)
        return false;
    layer->args[MUL_MANTISSA] = m.mantissa;
    layer->args[MUL_SHIFT] = m.shift;
    layer->args[MUL_RULE] = !binary32;
    layer->args[MUL_LOW] = p->to.lo;
    layer->args[MUL_HIGH] = p->to.hi;
    return true;
}

/* A real constant as integers of the result's scale: what a maximum compares with. */
static struct map *as_result(struct lowering *l, const struct value *v, const struct pair *p,
                             struct bpu_error *err)
{
    double real;
    size_t size = dtype_size(p->y->dtype);
    unsigned char *data = arena_alloc(l->arena, size, err);
    struct map *m = data ? network_map(l->net, v->name, 1, 1, 1, 1, p->y->dtype, p->to.scale,
                                       p->to.zero, err)
                         : NULL;
    if (!m || !constant_real(v, 0, &real))
        return NULL; /* is_scalar() has read it */
    int32_t q = arith_quantize_binary32((float)real, p->to.reciprocal, p->to.zero, p->to.lo,
                                        p->to.hi);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)((uint32_t)q >> (8 * i));
    m->constant = data;
    return m;
}

/* Any function: two maps, or one and a number. */
static bool any_pair(struct lowering *l, const struct node *n, const struct pair *p,
                     struct bpu_error *err)
{
    double scalar = 0, number;
    bool a = !is_scalar(p->a, &number), b = true;
    bool extremum = p->op == B_MAX || p->op == B_MIN;
    struct map *made = NULL;
    if (!a)
        scalar = number;
    else if (is_scalar(p->b, &number)) {
        b = false;
        scalar = (p->op <= B_SUB ? p->alpha : 1) * number;
    }
    if (a && b && p->op <= B_SUB && p->alpha != 1)
        return lower_refuse(n, err, "alpha %g with an operand of real numbers", p->alpha);
    if (!a && p->op <= B_SUB && p->alpha != 1)
        return lower_refuse(n, err, "alpha %g behind a number", p->alpha);
    if (extremum && (!a || !b) && !(made = as_result(l, a ? p->b : p->a, p, err)))
        return false;
    struct layer *layer = pair_layer(l, n, OP_BINARY, p, a, b, err);
    if (!layer)
        return false;
    if (made)
        layer->in[a ? 1 : 0] = (struct operand){.map = made, .need = NEED_SAME};
    layer->args[BINARY_CODE] = (int32_t)p->op;
    if (!made)
        args_set_real(&layer->args[BINARY_SCALAR_LO], scalar);
    layer->args[BINARY_LOW] = p->to.lo;
    layer->args[BINARY_HIGH] = p->to.hi;
    return true;
}

bool lower_binary(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    struct pair p = {.op = binary_find(n),
                     .a = node_input(n, 0),
                     .b = node_input(n, 1),
                     .y = n->outputs[0],
                     .to = {.lo = 0, .hi = 1}};
    p.alpha = p.op <= B_SUB ? node_float(n, "alpha", 1) : 1;
    if (p.op == B_NONE || binary_is_bitwise(p.op) || !p.a || !p.b)
        return lower_refuse(n, err, "not defined for quantized operands");
    bool a = is_scaled(p.a), b = is_scaled(p.b);
    if ((a && !scale_of(n, p.a, &p.sa, err)) || (b && !scale_of(n, p.b, &p.sb, err)))
        return false;
    if (binary_is_truth(p.op))
        return any_pair(l, n, &p, err);
    if (!scale_of(n, p.y, &p.to, err) ||
        !requant_range(p.y->dtype, p.to.scale, p.to.zero, node_string(n, "activation", NULL),
                       n->name, &p.to.lo, &p.to.hi, err))
        return false;
    if (a && b && (p.op == B_ADD || p.op == B_SUB))
        return add_maps(l, n, &p, err);
    if (a && b && p.op == B_MUL)
        return mul_maps(l, n, &p, err);
    return any_pair(l, n, &p, err);
}

/* ── one operand ── */

/* A bound that is an operand: one number for all. */
static bool bound_of(const struct node *n, int i, double *out, struct bpu_error *err)
{
    const struct value *v = node_input(n, i);
    double zero;
    if (!v)
        return true;
    if (!v->constant || shape_elements(&v->shape) != 1 || !constant_real(v, 0, out))
        return lower_refuse(n, err, "bounds that are feature maps");
    if (is_scaled(v) && v->quant.count == 1) {
        zero = v->quant.zero_point ? (double)v->quant.zero_point[0] : 0;
        *out = (*out - zero) * v->quant.scale[0];
    }
    return true;
}

bool lower_clamp(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    struct fixed_scale from = {0}, to = {0};
    double low, high;
    fixed_clamp_bounds(n, &low, &high);
    if (!scale_of(n, x, &from, err) || !scale_of(n, y, &to, err) || !bound_of(n, 1, &low, err) ||
        !bound_of(n, 2, &high, err))
        return false;
    enum form f = lower_form(l, x);
    struct map *in = lower_map(l, x, f, err);
    struct map *out = in ? lower_result(l, y, f, err) : NULL;
    struct layer *layer = out ? lower_layer(l, OP_CLAMP, n, out, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, in, NEED_SAME);
    layer_in_place(layer, 0);
    layer->args[CLAMP_LOW] = arith_quantize_binary32((float)low, from.reciprocal, from.zero,
                                                     from.lo, from.hi);
    layer->args[CLAMP_HIGH] = arith_quantize_binary32((float)high, from.reciprocal, from.zero,
                                                      from.lo, from.hi);
    return true;
}

bool lower_prelu(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *slope = node_param(n, "weight");
    if (!slope)
        slope = node_input(n, 1);
    if (!slope)
        return lower_refuse(n, err, "the slope is missing");
    struct value as = *slope; /* the same numbers in a shape that is repeated */
    int64_t slopes = shape_elements(&slope->shape);
    if (slopes == 1) {
        as.shape.rank = 0;
    } else if (slope->shape.rank == 1 && !infer_from_onnx(n)) { /* one per channel: axis 1 */
        as.shape.rank = x->shape.rank - 1;
        for (int i = 1; i < as.shape.rank; i++)
            as.shape.dim[i] = 1;
    }
    if (!shape_equal(&as.shape, &slope->shape) && !slope->constant)
        return lower_refuse(n, err, "slopes that are computed");
    /* A shape of its own has to have maps of its own. */
    struct lowering alone = *l;
    struct map **none[FORM_COUNT];
    for (int k = 0; k < FORM_COUNT; k++)
        if (!(none[k] = ARENA_ARRAY(l->arena, struct map *, l->graph->value_count + 1, err)))
            return false;
    if (slope->constant)
        memcpy(alone.maps, none, sizeof none);
    enum form f = lower_form(l, x);
    struct map *in = lower_map(l, x, f, err);
    struct map *ms = in ? lower_broadcast(&alone, &as, &x->shape, f, err) : NULL;
    struct map *out = ms ? lower_result(l, n->outputs[0], f, err) : NULL;
    struct layer *layer = out ? lower_layer(l, OP_PRELU, n, out, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, in, NEED_SAME);
    layer_in_place(layer, 0);
    layer_reads(layer, ms, NEED_SAME);
    return true;
}
