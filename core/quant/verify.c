/* verify: the rules of the fixed-point form, each with the node that breaks it.
 *
 * The converter keeps them; a graph that was read from a file may not, and every engine and the
 * compiler rely on them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/op.h"
#include "core/quant/quant.h"
#include "core/run/kernel.h"
#include "core/run/requant.h"

static bool breaks(const struct node *n, struct bpu_error *err, const char *fmt, ...)
    BPU_PRINTF(3, 4);
static bool breaks(const struct node *n, struct bpu_error *err, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(err, BPU_BAD_MODEL, n->name, "no fixed-point graph: %s (%s): %s", n->name, n->op_name,
              text);
    return error_hint(err, "`bpuhub quantize` makes fixed-point graphs.");
}

static bool is_kernel(const struct node *n, const char *name)
{
    return strcmp(kernel_of(n)->name, name) == 0;
}

static bool has_weight(const struct node *n)
{
    return is_kernel(n, "conv") || is_kernel(n, "conv_transpose") || is_kernel(n, "linear");
}

static bool is_scaled(const struct value *v)
{
    return dtype_is_quantized(v->dtype) && v->dtype != DT_QBOOL;
}

/* A feature map has one scale.  One per channel has only what leaves without requantization, and what
 * stubs alone touch. */
static bool verify_scale(const struct node *n, const struct value *v, bool result,
                         struct bpu_error *err)
{
    if (!is_scaled(v))
        return true;
    if (v->quant.count < 1)
        return breaks(n, err, "\"%s\" is %s and has no scale", v->name, dtype_name(v->dtype));
    bool stub = is_kernel(n, result ? "quantize" : "dequantize");
    if (v->quant.count > 1 && v->dtype != DT_QINT32 && !stub)
        return breaks(n, err, "\"%s\" has a scale per channel", v->name);
    if (v->dtype == DT_QINT32 && !result && !is_kernel(n, "dequantize"))
        return breaks(n, err, "\"%s\" is qint32 and has to leave through a DeQuantStub", v->name);
    int64_t lo, hi;
    dtype_range(v->dtype, &lo, &hi);
    for (int i = 0; i < v->quant.count; i++) {
        int64_t z = v->quant.zero_point ? v->quant.zero_point[i] : 0;
        if (!isfinite(v->quant.scale[i]) || v->quant.scale[i] <= 0 || z < lo || z > hi)
            return breaks(n, err, "\"%s\" has scale %g and zero point %lld", v->name,
                          v->quant.scale[i], (long long)z);
    }
    return true;
}

/* ── weights ── */

static bool verify_weight(const struct node *n, int64_t *channels, struct bpu_error *err)
{
    const struct value *w = node_param(n, "weight");
    bool linear = is_kernel(n, "linear");
    int axis = is_kernel(n, "conv_transpose") ? 1 : 0;
    int64_t groups = linear ? 1 : node_int(n, "groups", 1);
    if (!w || !value_is_known(w) || w->dtype != DT_QINT8)
        return breaks(n, err, "the weight is not a qint8 constant");
    if (linear && strcmp(node_string(n, "weight_layout", "oi"), "oi") != 0)
        return breaks(n, err, "the weight is not (out, in)");
    if (w->shape.rank != (linear ? 2 : n->op->spatial + 2))
        return breaks(n, err, "the weight has rank %d", w->shape.rank);
    if (w->quant.count != w->shape.dim[axis] || (w->quant.count > 1 && w->quant.axis != axis))
        return breaks(n, err, "the weight needs one scale per output channel, along axis %d", axis);
    *channels = w->shape.dim[axis] * (axis == 1 ? groups : 1);
    return true;
}

static bool verify_bias(const struct node *n, int64_t channels, struct bpu_error *err)
{
    const struct value *b = node_param(n, "bias"), *w = node_param(n, "weight");
    double s_x = n->inputs[0]->quant.scale[0];
    if (!b || !value_is_known(b) || b->dtype != DT_QINT32 || shape_elements(&b->shape) != channels)
        return breaks(n, err, "the bias is no qint32 constant of %lld elements",
                      (long long)channels);
    if (b->quant.count != channels && b->quant.count != 1)
        return breaks(n, err, "the bias needs one scale per channel");
    for (int64_t k = 0; k < channels; k++) {
        double want = s_x * requant_weight_scale(&w->quant, k);
        double have = b->quant.scale[b->quant.count == 1 ? 0 : k];
        if (!(fabs(have - want) <= 1e-6 * want))
            return breaks(n, err, "the bias of channel %lld has scale %g, not s_x * s_w = %g",
                          (long long)k, have, want);
    }
    return true;
}

static bool same_integers(const struct node *n, const char *name, const int32_t *want,
                          int64_t channels, struct bpu_error *err)
{
    const struct value *v = node_param(n, name);
    if (!v || !value_is_known(v) || v->dtype != DT_INT32 || shape_elements(&v->shape) != channels)
        return breaks(n, err, "the parameter %s is no int32 constant of %lld elements", name,
                      (long long)channels);
    for (int64_t k = 0; k < channels; k++) {
        int64_t have;
        if (!constant_int(v, k, &have) || have != want[k])
            return breaks(n, err,
                          "%s %lld of channel %lld does not follow from the scales: %d does", name,
                          (long long)have, (long long)k, (int)want[k]);
    }
    return true;
}

static bool verify_multipliers(const struct node *n, int64_t channels, struct arena *scratch,
                               struct bpu_error *err)
{
    const struct value *y = n->outputs[0], *r = node_input(n, 1);
    struct requant_scales s = {.x = &n->inputs[0]->quant,
                               .w = &node_param(n, "weight")->quant,
                               .y = &y->quant,
                               .r = r ? &r->quant : NULL,
                               .y_dtype = y->dtype,
                               .channels = channels};
    int32_t *m = ARENA_ARRAY(scratch, int32_t, channels, err);
    int32_t *shift = m ? ARENA_ARRAY(scratch, int32_t, channels, err) : NULL;
    int32_t *residual = shift ? ARENA_ARRAY(scratch, int32_t, channels, err) : NULL;
    return residual && requant_multipliers(&s, n->name, m, shift, residual, err) &&
           same_integers(n, "multiplier", m, channels, err) &&
           same_integers(n, "shift", shift, channels, err);
}

static bool verify_weights(const struct node *n, struct bpu_error *err)
{
    int64_t channels = 0;
    const struct value *y = n->outputs[0];
    const char *activation = node_string(n, "activation", NULL);
    if (activation && strcmp(activation, "relu") != 0 && strcmp(activation, "relu6") != 0)
        return breaks(n, err, "activation \"%.40s\"", activation);
    if (!verify_weight(n, &channels, err) || !verify_bias(n, channels, err))
        return false;
    if (y->dtype == DT_QINT32 && y->quant.count > 1 && y->quant.count != channels)
        return breaks(n, err, "the result has %d scales for %lld channels", y->quant.count,
                      (long long)channels);
    struct arena scratch;
    arena_init(&scratch, (size_t)64 << 20);
    bool ok = verify_multipliers(n, channels, &scratch, err);
    arena_fini(&scratch);
    return ok;
}

/* ── nodes ── */

static bool verify_table(const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0], *t = node_param(n, "table");
    size_t in = dtype_size(x->dtype), out = dtype_size(y->dtype);
    if (!is_scaled(y) || in > 2 || out > 2)
        return true;
    if (!t || !value_is_known(t) || t->dtype != (out == 2 ? DT_INT16 : DT_INT8) ||
        shape_elements(&t->shape) != (in == 2 ? 65536 : 256))
        return breaks(n, err, "the parameter table is no %s constant of %d elements",
                      out == 2 ? "int16" : "int8", in == 2 ? 65536 : 256);
    return true;
}

static bool verify_stub(const struct node *n, bool quantizes, struct bpu_error *err)
{
    const struct value *x = node_input(n, 0), *y = n->output_count == 1 ? n->outputs[0] : NULL;
    if (!x || !y)
        return breaks(n, err, "it needs one operand and one result");
    if (quantizes ? !dtype_is_float(x->dtype) || !is_scaled(y)
                  : !is_scaled(x) || !dtype_is_float(y->dtype))
        return breaks(n, err, "it makes %s of %s", dtype_name(y->dtype), dtype_name(x->dtype));
    const struct attr *a = node_attr(n, "scale");
    if (quantizes && a && a->kind != ATTR_NONE &&
        (float)node_float(n, "scale", 0) != (float)y->quant.scale[0])
        return breaks(n, err, "the attribute scale is %g, that of the result %g",
                      node_float(n, "scale", 0), y->quant.scale[0]);
    return true;
}

static bool verify_fixed(const struct node *n, struct bpu_error *err)
{
    if (!kernel_of(n)->fixed)
        return breaks(n, err, "the operator has no integer form, and works on quantized values");
    if (!node_input(n, 0) || n->output_count < 1)
        return breaks(n, err, "an operand or the result is missing");
    for (int i = 0; i < n->input_count; i++) {
        const struct value *v = n->inputs[i];
        bool first = i == 0 || (has_weight(n) && i == 1);
        if (v && first && !v->constant && dtype_is_float(v->dtype))
            return breaks(n, err, "operand %d is float, others are quantized", i);
    }
    for (int i = 0; i < n->output_count; i++)
        if (dtype_is_float(n->outputs[i]->dtype))
            return breaks(n, err, "a result is float, operands are quantized");
    if (has_weight(n)) {
        if (!is_scaled(n->inputs[0]) || n->inputs[0]->dtype == DT_QINT32)
            return breaks(n, err, "the input is %s", dtype_name(n->inputs[0]->dtype));
        return verify_weights(n, err);
    }
    return is_kernel(n, "unary") ? verify_table(n, err) : true;
}

static bool verify_node(const struct node *n, struct bpu_error *err)
{
    if (n->fold != FOLD_NONE)
        return breaks(n, err, "the node is folded (%s)", fold_name(n->fold));
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i] && !verify_scale(n, n->inputs[i], false, err))
            return false;
    for (int i = 0; i < n->output_count; i++)
        if (!verify_scale(n, n->outputs[i], true, err))
            return false;
    if (is_kernel(n, "quantize") || is_kernel(n, "dequantize"))
        return verify_stub(n, is_kernel(n, "quantize"), err);
    if (is_kernel(n, "identity"))
        return true;
    return !kernel_is_fixed(n) || verify_fixed(n, err);
}

bool quant_verify(const struct graph *fixed, struct bpu_error *err)
{
    if (!graph_verify(fixed, err))
        return false;
    for (int i = 0; i < fixed->node_count; i++)
        if (!verify_node(fixed->nodes[i], err))
            return false;
    return true;
}
