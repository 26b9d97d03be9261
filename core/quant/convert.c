/* convert: every value in one or two forms, fixed and real, made when somebody asks for it.
 *
 *   a node whose operands and results have scales, and which has an integer kernel, becomes fixed;
 *   any other stays real, between a DeQuantStub and a QuantStub that the asking inserts
 * Types and scales come from the scheme (of the file, or calibrated); this pass only carries out. */
#include "core/quant/convert.h"

#include <stdio.h>
#include <string.h>

#include "core/ops/op.h"
#include "core/run/kernel.h"

#define QUANT_STUB "torch.quantization.QuantStub"
#define DEQUANT_STUB "torch.quantization.DeQuantStub"

static bool is_op(const struct node *n, const char *name)
{
    return n->op && strcmp(n->op->name, name) == 0;
}

static bool is_kernel(const struct node *n, const char *name)
{
    return strcmp(kernel_of(n)->name, name) == 0;
}

/* Convolutions and linear layers. */
static bool has_weight(const struct node *n)
{
    return is_kernel(n, "conv") || is_kernel(n, "conv_transpose") || is_kernel(n, "linear");
}

/* ── forms of a value ── */

static struct node *add_stub(struct convert *c, const struct value *v, const char *suffix,
                             const char *op, struct value *x)
{
    char name[512];
    snprintf(name, sizeof name, "%s.%s", v->name, suffix);
    struct node *n = graph_add_node(c->to, name, op, c->err);
    if (!n || !op_bind(n) || !node_add_input(c->to, n, x, c->err))
        return NULL;
    return n;
}

static bool set_stub_attrs(struct convert *c, struct node *n, const struct scheme_value *s)
{
    if (s->quant.count > 1) /* attributes hold one scale; the value has them all */
        return true;
    return node_set_float(c->to, n, "scale", s->quant.scale[0], c->err) &&
           node_set_int(c->to, n, "zero_point", s->quant.zero_point ? s->quant.zero_point[0] : 0,
                        c->err) &&
           node_set_string(c->to, n, "dtype", dtype_name(s->dtype), c->err);
}

static struct value *as_real(struct convert *c, const struct value *v)
{
    char name[512];
    struct value *x = c->fixed[v->index];
    if (c->real[v->index])
        return c->real[v->index];
    if (v->constant)
        return c->real[v->index] = convert_plain(c, v);
    snprintf(name, sizeof name, "%s.float", v->name);
    struct node *n = x ? add_stub(c, v, "dequant", DEQUANT_STUB, x) : NULL;
    struct value *y = n ? node_add_output(c->to, n, name, c->err) : NULL;
    if (!x)
        error_set(c->err, BPU_SERVER, v->name, "internal: a value is used before it is made");
    if (!y)
        return NULL;
    y->shape = v->shape;
    y->dtype = DT_FLOAT32;
    return c->real[v->index] = y;
}

static struct value *as_fixed(struct convert *c, const struct value *v)
{
    const struct scheme_value *s = &c->scheme->values[v->index];
    char name[512];
    if (c->fixed[v->index])
        return c->fixed[v->index];
    snprintf(name, sizeof name, "%s.fixed", v->name);
    struct value *x = as_real(c, v);
    struct node *n = x ? add_stub(c, v, "quant", QUANT_STUB, x) : NULL;
    struct value *y = n && set_stub_attrs(c, n, s) ? node_add_output(c->to, n, name, c->err) : NULL;
    if (!y)
        return NULL;
    y->shape = v->shape;
    y->dtype = s->dtype;
    y->quant = s->quant;
    return c->fixed[v->index] = y;
}

/* Integers, truth values: one form only. */
static struct value *as_is(struct convert *c, const struct value *v)
{
    return c->fixed[v->index] ? c->fixed[v->index] : as_real(c, v);
}

/* ── what becomes of a node ── */

static bool has_scale(const struct convert *c, const struct value *v)
{
    const struct scheme_value *s = &c->scheme->values[v->index];
    return s->dtype != DT_UNKNOWN && (s->quant.count > 0 || s->dtype == DT_QINT32);
}

/* Operands that are numbers of the operator rather than feature maps: bounds, scale factors, boxes. */
static bool is_plain_operand(const struct node *n, int i)
{
    const struct value *v = n->inputs[i];
    if (!scheme_is_real(v->dtype))
        return true;
    if (i == 0)
        return false;
    if (is_kernel(n, "clamp") || is_kernel(n, "resize") || is_kernel(n, "pad") ||
        is_kernel(n, "roi_align") || is_kernel(n, "multi_roi_align"))
        return is_kernel(n, "multi_roi_align") ? i == n->input_count - 1 : true;
    if (v->constant &&
        is_kernel(n, "binary")) /* others than sums and products compute in real numbers */
        return strcmp(n->op->key, "add") != 0 && strcmp(n->op->key, "sub") != 0 &&
               strcmp(n->op->key, "mul") != 0;
    return is_kernel(n, "masked_fill") && i == 2;
}

/* NULL if n can run on integers; else why not. */
static const char *why_real(const struct convert *c, const struct node *n)
{
    bool any = false;
    struct qconfig_activation asked;
    if (!n->op)
        return "the operator is not known";
    qconfig_activation(c->config, n, &asked);
    if (asked.dtype == DT_FLOAT32)
        return "the qconfig asks for it";
    if (!kernel_of(n)->fixed)
        return "the operator has no integer form";
    for (int i = 0; i < n->input_count; i++) {
        const struct value *v = n->inputs[i];
        if (!v || is_plain_operand(n, i))
            continue;
        if (!v->constant && !has_scale(c, v))
            return "an operand has no scale";
        if (!v->constant && c->scheme->values[v->index].dtype == DT_QINT32)
            return "an operand is not requantized";
        any = any || !v->constant;
    }
    for (int i = 0; i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        bool used = i == 0 || v->is_output;
        if (scheme_is_real(v->dtype) && used && !has_scale(c, v))
            return "the result has no scale";
    }
    if (!any)
        return "there is no feature map among the operands";
    const struct value *w = has_weight(n) ? node_param(n, "weight") : NULL;
    const struct value *b = has_weight(n) ? node_param(n, "bias") : NULL;
    if (has_weight(n) && (!w || !w->constant || (b && !b->constant)))
        return "the weights are computed from the data";
    return NULL;
}

/* ── real nodes ── */

static struct node *begin(struct convert *c, const struct node *n)
{
    struct rewrite r = {.from = c->from, .to = c->to, .arena = c->arena, .err = c->err};
    return rewrite_begin_node(&r, n);
}

/* Stubs in front of n come before it in the order, so they are made before it. */
static bool ready_operands(struct convert *c, const struct node *n, bool fixed)
{
    for (int i = 0; i < n->input_count; i++) {
        const struct value *v = n->inputs[i];
        if (!v || v->constant || !scheme_is_real(v->dtype))
            continue;
        if (!(fixed && !is_plain_operand(n, i) ? as_fixed(c, v)
              : fixed                          ? as_is(c, v)
                                               : as_real(c, v)))
            return false;
    }
    for (int i = 0; i < n->param_count; i++)
        if (n->params[i].value && !n->params[i].value->constant && !as_real(c, n->params[i].value))
            return false;
    return true;
}

static bool convert_real(struct convert *c, const struct node *n)
{
    struct node *copy = ready_operands(c, n, false) ? begin(c, n) : NULL;
    for (int i = 0; copy && i < n->input_count; i++) {
        struct value *x = NULL;
        if (n->inputs[i] && !(x = scheme_is_real(n->inputs[i]->dtype) ? as_real(c, n->inputs[i])
                                                                      : as_is(c, n->inputs[i])))
            return false;
        if (!node_add_input(c->to, copy, x, c->err))
            return false;
    }
    for (int i = 0; copy && i < n->param_count; i++) {
        struct value *x = NULL;
        if (n->params[i].value && !(x = as_real(c, n->params[i].value)))
            return false;
        if (!node_add_param(c->to, copy, n->params[i].name, x, c->err))
            return false;
    }
    for (int i = 0; copy && i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        struct value *y = node_add_output(c->to, copy, v->name, c->err);
        if (!y)
            return false;
        y->shape = v->shape;
        y->dtype = scheme_is_real(v->dtype) ? DT_FLOAT32
                   : v->dtype == DT_QBOOL   ? DT_BOOL
                                            : v->dtype;
        c->real[v->index] = y;
    }
    return copy != NULL;
}

/* ── fixed nodes ── */

/* The type of the first scaled feature map of n: constants beside it get it as well. */
static enum dtype feature_dtype(const struct convert *c, const struct node *n)
{
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i] && !n->inputs[i]->constant && has_scale(c, n->inputs[i]))
            return c->scheme->values[n->inputs[i]->index].dtype == DT_QINT16 ? DT_QINT16 : DT_QINT8;
    return DT_QINT8;
}

static bool fixed_operands(struct convert *c, struct node *copy, const struct node *n)
{
    for (int i = 0; i < n->input_count; i++) {
        const struct value *v = n->inputs[i];
        struct value *x = NULL;
        if (v && is_plain_operand(n, i))
            x = as_is(c, v);
        else if (v && v->constant)
            x = convert_operand(c, v, feature_dtype(c, n));
        else if (v)
            x = as_fixed(c, v);
        if ((v && !x) || !node_add_input(c->to, copy, x, c->err))
            return false;
    }
    return true;
}

static bool fixed_outputs(struct convert *c, struct node *copy, const struct node *n)
{
    for (int i = 0; i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        const struct scheme_value *s = &c->scheme->values[v->index];
        char name[512];
        bool leaves_real =
            v->is_output && scheme_is_real(v->dtype) && !dtype_is_quantized(v->dtype);
        snprintf(name, sizeof name, "%s%s", v->name, leaves_real ? ".fixed" : "");
        struct value *y = node_add_output(c->to, copy, name, c->err);
        if (!y)
            return false;
        y->shape = v->shape;
        y->dtype = v->dtype == DT_QBOOL ? DT_BOOL : v->dtype;
        if (scheme_is_real(v->dtype)) {
            bool known = has_scale(c, v); /* a second result that nobody reads may have none */
            y->dtype = known ? s->dtype : c->scheme->values[n->outputs[0]->index].dtype;
            y->quant = known ? s->quant : c->scheme->values[n->outputs[0]->index].quant;
            c->fixed[v->index] = y;
        } else
            c->real[v->index] = y;
    }
    return true;
}

/* A linear layer whose weight is (in, out) in the file gets it as (out, in). */
static const struct value *oriented_weight(struct convert *c, struct node *copy,
                                           const struct node *n)
{
    const struct value *w = node_param(n, "weight");
    if (strcmp(node_string(n, "weight_layout", "oi"), "io") != 0)
        return w;
    int64_t in = w->shape.dim[0], out = w->shape.dim[1], at = 0;
    size_t size = dtype_size(w->dtype);
    struct value *t = ARENA_NEW(c->arena, struct value, c->err);
    struct constant *k = t ? ARENA_NEW(c->arena, struct constant, c->err) : NULL;
    unsigned char *data = k ? arena_alloc(c->arena, w->constant->bytes, c->err) : NULL;
    if (!data || !node_set_string(c->to, copy, "weight_layout", "oi", c->err))
        return NULL;
    for (int64_t o = 0; o < out && value_is_known(w); o++)
        for (int64_t i = 0; i < in; i++, at++)
            memcpy(data + (size_t)at * size, w->constant->data + (size_t)(i * out + o) * size,
                   size);
    *t = *w;
    *k = (struct constant){value_is_known(w) ? data : NULL, w->constant->bytes};
    t->constant = k;
    t->shape.dim[0] = out;
    t->shape.dim[1] = in;
    if (t->quant.count > 1)
        t->quant.axis = 1 - t->quant.axis;
    return t;
}

static bool fixed_weights(struct convert *c, struct node *copy, const struct node *n)
{
    bool transposed = is_kernel(n, "conv_transpose");
    const struct value *w = oriented_weight(c, copy, n), *b = node_param(n, "bias");
    if (!w)
        return false;
    int axis = transposed ? 1 : 0;
    int64_t channels = w->shape.dim[axis] * (transposed ? node_int(n, "groups", 1) : 1);
    double s_x = copy->inputs[0]->quant.scale[0];
    struct value *weight = convert_weight(c, n, w, b, s_x, axis);
    struct value *bias = weight ? convert_bias(c, n, b, weight, s_x, channels) : NULL;
    if (!bias || !node_add_param(c->to, copy, "weight", weight, c->err) ||
        !node_add_param(c->to, copy, "bias", bias, c->err) ||
        (node_attr(copy, "bias") && !node_set_bool(c->to, copy, "bias", true, c->err)))
        return false;
    struct value *y = copy->outputs[0];
    if (y->dtype == DT_QINT32 && y->quant.count == 0) { /* leaves as the sum: scale s_x * s_w */
        int spatial = is_kernel(n, "linear") ? 0 : n->op->spatial;
        y->quant =
            (struct quant){bias->quant.scale, NULL, (int)channels, y->shape.rank - 1 - spatial};
    }
    return convert_multipliers(c, copy, channels);
}

static bool convert_fixed(struct convert *c, const struct node *n)
{
    struct node *copy = ready_operands(c, n, true) ? begin(c, n) : NULL;
    if (!copy || !fixed_operands(c, copy, n) || !fixed_outputs(c, copy, n))
        return false;
    if (has_weight(n))
        return fixed_weights(c, copy, n);
    if (is_kernel(n, "unary") && !convert_table(c, copy))
        return false;
    for (int i = 0; i < n->param_count; i++) {
        struct value *v = n->params[i].value, *x;
        if (is_kernel(n, "unary") && strcmp(n->params[i].name, "table") == 0)
            continue; /* of a graph that is fixed already: made anew */
        x = v ? as_real(c, v) : NULL;
        if ((v && !x) || !node_add_param(c->to, copy, n->params[i].name, x, c->err))
            return false;
    }
    return true;
}

/* ── stubs ── */

static bool convert_quant_stub(struct convert *c, const struct node *n)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    struct value *in = as_real(c, x);
    if (!in)
        return false;
    if (!has_scale(c, y)) { /* nobody needs it quantized */
        c->real[y->index] = in;
        return true;
    }
    struct node *copy = begin(c, n);
    return copy && node_add_input(c->to, copy, in, c->err) && fixed_outputs(c, copy, n) &&
           set_stub_attrs(c, copy, &c->scheme->values[y->index]);
}

static bool convert_dequant_stub(struct convert *c, const struct node *n)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    if (!c->fixed[x->index]) {
        c->real[y->index] = as_real(c, x);
        return c->real[y->index] != NULL;
    }
    struct node *copy = begin(c, n);
    struct value *out = copy && node_add_input(c->to, copy, c->fixed[x->index], c->err)
                            ? node_add_output(c->to, copy, y->name, c->err)
                            : NULL;
    if (!out)
        return false;
    out->shape = y->shape;
    out->dtype = DT_FLOAT32;
    c->real[y->index] = out;
    return true;
}

/* ── the whole graph ── */

static bool convert_node(struct convert *c, const struct node *n)
{
    if (is_op(n, QUANT_STUB) && n->output_count == 1)
        return convert_quant_stub(c, n);
    if (is_op(n, DEQUANT_STUB) && n->output_count == 1)
        return convert_dequant_stub(c, n);
    const char *why = why_real(c, n);
    if (!why)
        return convert_fixed(c, n);
    bool touches = false;
    for (int i = 0; i < n->input_count; i++)
        touches = touches || (n->inputs[i] && c->fixed[n->inputs[i]->index]);
    if (touches &&
        !graph_add_note(c->to, c->err, "%s (%s) stays float: %s", n->name, n->op_name, why))
        return false;
    return convert_real(c, n);
}

static bool convert_input(struct convert *c, const struct value *v)
{
    struct value *x = graph_add_value(c->to, v->name, c->err);
    if (!x || !graph_add_input(c->to, x, c->err))
        return false;
    const struct scheme_value *s = &c->scheme->values[v->index];
    bool quantized = dtype_is_quantized(v->dtype) && v->dtype != DT_QBOOL;
    x->shape = v->shape;
    if (quantized && has_scale(c, v)) {
        x->dtype = s->dtype;
        x->quant = s->quant;
        c->fixed[v->index] = x;
    } else {
        x->dtype = scheme_is_real(v->dtype) ? DT_FLOAT32 : v->dtype;
        c->real[v->index] = x;
    }
    return true;
}

static bool convert_output(struct convert *c, const struct value *v)
{
    bool keep = dtype_is_quantized(v->dtype) && c->fixed[v->index];
    struct value *y = keep ? c->fixed[v->index] : NULL;
    if (!y && c->fixed[v->index] && !c->real[v->index]) { /* its own stub, under its own name */
        struct node *n = add_stub(c, v, "dequant", DEQUANT_STUB, c->fixed[v->index]);
        if (!n || !(y = node_add_output(c->to, n, v->name, c->err)))
            return false;
        y->dtype = DT_FLOAT32;
        y->shape = v->shape;
        c->real[v->index] = y;
    }
    if (!y && !(y = as_is(c, v)))
        return false;
    if (y->is_output || y->is_input || y->constant || strcmp(y->name, v->name) != 0) {
        struct node *n = add_stub(c, v, "output", "torch.nn.Identity", y);
        struct value *z = n ? node_add_output(c->to, n, v->name, c->err) : NULL;
        if (!z)
            return false;
        z->shape = y->shape;
        z->dtype = y->dtype;
        z->quant = y->quant;
        y = z;
    }
    return graph_add_output(c->to, y, c->err);
}

/* On a march, whose means have the type of their operand, what the file left in real numbers is
 * rounded. */
static bool note_means(struct convert *c)
{
    for (int i = 0; i < c->from->node_count; i++) {
        const struct node *n = c->from->nodes[i];
        const struct value *y = n->output_count ? n->outputs[0] : NULL;
        if (!y || !carried_is_mean(n) || !dtype_is_quantized(y->dtype) || y->quant.count ||
            c->scheme->values[y->index].quant.count != 1)
            continue;
        if (!graph_add_note(c->to, c->err,
                            "%.200s (%s) has no scale of its own in the file: its result is "
                            "rounded to that of its operand, %.9g. Quantize it in the file to "
                            "lose less.",
                            n->name, n->op_name, c->scheme->values[y->index].quant.scale[0]))
            return false;
    }
    return true;
}

struct graph *quant_convert(struct arena *a, const struct graph *fused, const struct march *march,
                            const struct qconfig *config, const struct calibration *calibration,
                            struct bpu_error *err)
{
    struct scheme scheme;
    struct convert c = {.from = fused, .arena = a, .scheme = &scheme, .err = err};
    c.config = config ? config : qconfig_default(a, err);
    c.to = graph_new(a, fused->name, fused->format, err);
    c.fixed = ARENA_ARRAY(a, struct value *, fused->value_count, err);
    c.real = c.fixed ? ARENA_ARRAY(a, struct value *, fused->value_count, err) : NULL;
    c.weights = c.real ? ARENA_ARRAY(a, struct converted_weight, fused->value_count, err) : NULL;
    if (!c.config || !c.to || !c.weights ||
        !(calibration ? scheme_of_calibration(a, fused, calibration, &scheme, err)
                      : scheme_of_file(a, fused, !march, &scheme, err)))
        return NULL;
    c.to->producer = fused->producer;
    c.to->opset = fused->opset;
    for (int i = 0; i < fused->note_count; i++)
        if (!graph_add_note(c.to, err, "%s", fused->notes[i]))
            return NULL;
    if (march && !calibration && !note_means(&c))
        return NULL;
    for (int i = 0; i < fused->input_count; i++)
        if (!convert_input(&c, fused->inputs[i]))
            return NULL;
    for (int i = 0; i < fused->node_count; i++)
        if (!convert_node(&c, fused->nodes[i]))
            return NULL;
    for (int i = 0; i < fused->output_count; i++)
        if (!convert_output(&c, fused->outputs[i]))
            return NULL;
    return graph_verify(c.to, err) ? c.to : NULL;
}
