/* Warnings about scales: legal, but they cost accuracy or time.
 *
 *   cat      inputs of other scales are requantized
 *   clamp    a bound that the scale cannot reach; ReLU6 on a scale that ends far below 6
 *   bias     a bias that overflows the 32-bit accumulator at s_x * s_w
 *
 * Only scales that the file fixes are judged; a float model has none yet. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

const struct quant *quant_of(struct value *v)
{
    if (v && v->quant.count < 1)
        v = value_source(v);
    return v && v->quant.count >= 1 && v->quant.scale ? &v->quant : NULL;
}

/* The scale that a tensor carries as a whole; 0 if it has none. */
static double scale_of(struct value *v)
{
    const struct quant *q = quant_of(v);
    return q && q->count == 1 ? q->scale[0] : 0;
}

bool graph_is_quantized(const struct graph *g)
{
    for (int i = 0; i < g->value_count; i++) {
        const struct value *v = g->values[i];
        if (!v->constant && v->producer && v->quant.count > 0)
            return true;
    }
    return false;
}

/* The hardware joins tensors of one scale: the others are requantized first. */
static bool judge_cat(const struct subject *s)
{
    struct checker *c = s->c;
    char text[200];
    size_t used = 0;
    double first = 0;
    bool differ = false;
    for (int i = 0; i < s->n->input_count; i++) {
        double scale = scale_of(s->n->inputs[i]);
        if (scale == 0)
            return true;
        first = i == 0 ? scale : first;
        differ |= fabs(scale - first) > 1e-6 * first;
        if (used < sizeof(text) - 40)
            used +=
                (size_t)snprintf(text + used, sizeof(text) - used, "%s%.9g", i ? "," : "[", scale);
    }
    if (!differ)
        return true;
    snprintf(text + used, sizeof(text) - used, "]");
    struct finding *f = finding_add(c, s->n, SEVERITY_WARNING, "scales");
    if (!f)
        return false;
    f->message = arena_printf(c->a, c->err,
                              "the inputs of %s have different scales; those that differ from the "
                              "output's are requantized, which costs accuracy",
                              s->n->op->name);
    f->actual = arena_strdup(c->a, text, c->err);
    f->limit = "equal scales";
    f->hint = "Share one observer or FloatFunctional among the layers that feed it.";
    return f->message && f->actual;
}

bool judge_scales(const struct subject *s)
{
    return !node_is(s->n, "torch.cat") || judge_cat(s);
}

/* ── ranges ────────────────────────────────────────────────────────────────────────────────── */

/* The real numbers that a tensor of the file can hold, from its scale, zero point and dtype; *step
 * is the scale. */
static bool range_of(const struct subject *s, struct value *v, double *low, double *high,
                     double *step)
{
    const struct quant *q = quant_of(v);
    double least, most;
    if (!q || q->count != 1)
        return false;
    switch (judged_dtype(s, v)) {
    case DT_QINT8: least = -128, most = 127; break;
    case DT_QINT16: least = -32768, most = 32767; break;
    default: return false;
    }
    if (v->dtype == DT_QUINT8 || v->dtype == DT_UINT8)
        least = 0, most = 255;
    double zero = q->zero_point ? (double)q->zero_point[0] : 0;
    *step = q->scale[0];
    *low = (least - zero) * *step;
    *high = (most - zero) * *step;
    return true;
}

/* A bound of a clamp, from its attribute or a constant operand. */
static bool bound_of(const struct node *n, const char *attr, const char *other, int input,
                     double *out)
{
    const struct value *v = node_input(n, input);
    const struct attr *a = node_attr(n, attr);
    if (!a || a->kind == ATTR_NONE)
        a = node_attr(n, other);
    if (a && (a->kind == ATTR_INT || a->kind == ATTR_FLOAT))
        *out = a->kind == ATTR_INT ? (double)a->i : a->f;
    else if (!v || shape_elements(&v->shape) != 1 || !constant_real(v, 0, out))
        return false;
    return fabs(*out) < 1e30; /* larger ones are ways to write "no bound" */
}

static bool report_range(const struct subject *s, const char *what, double bound, double low,
                         double high)
{
    struct checker *c = s->c;
    struct finding *f = finding_add(c, s->n, SEVERITY_WARNING, "range");
    if (!f)
        return false;
    f->message = arena_printf(c->a, c->err,
                              "the scale of the result holds %.6g..%.6g, so that values saturate "
                              "before they reach %s %.6g",
                              low, high, what, bound);
    f->actual = arena_printf(c->a, c->err, "%.9g", bound);
    f->limit = arena_printf(c->a, c->err, "%.6g..%.6g", low, high);
    f->hint = "Calibrate this output again with data that reaches the bound, or set the bound to "
              "what the data needs.";
    return f->message && f->actual && f->limit;
}

/* One step beyond the range is rounding, not saturation. */
static bool judge_clamp(const struct subject *s, struct value *y)
{
    double low, high, step, bound;
    if (!range_of(s, y, &low, &high, &step))
        return true;
    if (bound_of(s->n, "max", "max_val", 2, &bound) && bound > high + step)
        return report_range(s, "the upper bound", bound, low, high);
    if (bound_of(s->n, "min", "min_val", 1, &bound) && bound < low - step)
        return report_range(s, "the lower bound", bound, low, high);
    return true;
}

/* Data that stays small gives a small scale, and that is right; half of 6 is no longer rounding or
 * luck. */
static bool judge_relu6(const struct subject *s, struct value *y)
{
    double low, high, step;
    if (!range_of(s, y, &low, &high, &step) || high >= 3)
        return true;
    return report_range(s, "the bound of ReLU6,", 6, low, high);
}

/* The bias is added to the 32-bit accumulator as rint(b / (s_x * s_w)). */
static bool judge_bias(const struct subject *s)
{
    const struct value *bias = node_param(s->n, "bias");
    const struct quant *w = quant_of(node_param(s->n, "weight"));
    double scale = scale_of(node_input(s->n, 0)), worst = 0, real = 0, v;
    struct checker *c = s->c;
    if (!bias || !value_is_known(bias) || !dtype_is_float(bias->dtype) || !w || scale == 0)
        return true;
    int64_t count = shape_elements(&bias->shape), channel = -1, over = 0;
    for (int64_t i = 0; i < count && (w->count == 1 || i < w->count); i++) {
        if (!constant_real(bias, i, &v) || !isfinite(v))
            return true;
        double q = v / (scale * w->scale[w->count == 1 ? 0 : i]);
        over += fabs(q) > 2147483647.0;
        if (fabs(q) > fabs(worst)) {
            worst = q;
            real = v;
            channel = i;
        }
    }
    if (over == 0)
        return true;
    struct finding *f = finding_add(c, s->n, SEVERITY_WARNING, "bias_overflow");
    if (!f)
        return false;
    f->message = arena_printf(
        c->a, c->err,
        "the bias of output channel %lld is %.6g; at the scale of its accumulator (input times "
        "weight, %.3g) "
        "that is %.4g, more than 32 bits hold, and saturates (%lld of %lld channels)",
        (long long)channel, real, real / worst, worst, (long long)over, (long long)count);
    f->actual = arena_printf(c->a, c->err, "%.9g", worst);
    f->limit = "-2147483648..2147483647";
    f->hint =
        "A channel whose weights are all close to 0 has too small a weight scale: give weight "
        "scales a lower bound, or remove the channel.";
    return f->message && f->actual;
}

bool judge_ranges(const struct subject *s)
{
    const struct node *n = s->n;
    if (!s->c->quantized || !n->op || n->output_count < 1)
        return true;
    if (s->ctx->role == ROLE_CONV || s->ctx->role == ROLE_LINEAR)
        return judge_bias(s);
    if (strcmp(n->op->key, "relu6") == 0)
        return judge_relu6(s, n->outputs[0]);
    bool clamp = strcmp(n->op->key, "clamp") == 0 || strcmp(n->op->key, "clip") == 0 ||
                 strcmp(n->op->key, "hardtanh") == 0;
    return !clamp || judge_clamp(s, n->outputs[0]);
}
