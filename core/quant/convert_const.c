/* convert_const: numbers that are known before inference, as integers. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/quant/convert.h"
#include "core/run/arith.h"
#include "core/run/fixed_unary.h"
#include "core/run/requant.h"

/* Scales below this are those of dead channels; their products would leave the range of binary32. */
#define LEAST_SCALE 0x1p-40

static bool need_content(const struct node *n, const struct value *v, struct bpu_error *err)
{
    if (value_is_known(v) || shape_elements(&v->shape) == 0)
        return true;
    error_set(err, BPU_BAD_MODEL, n->name, "the content of \"%s\" is not known", v->name);
    return error_hint(err, "Give a model file with weights.");
}

/* (outer, channels, inner) around an axis. */
struct lanes {
    int64_t outer, channels, inner;
};

static struct lanes lanes_of(const struct shape *s, int axis)
{
    struct lanes l = {1, s->dim[axis], 1};
    for (int d = 0; d < s->rank; d++)
        if (d != axis)
            *(d < axis ? &l.outer : &l.inner) *= s->dim[d];
    return l;
}

/* ── weights ── */

/* quint8 as qint8: both the integer and its zero point lose 128. */
static bool as_signed(struct convert *c, struct value *v)
{
    size_t bytes = v->constant->bytes;
    signed char *data = arena_alloc(c->arena, bytes, c->err);
    int64_t *zero = data ? ARENA_ARRAY(c->arena, int64_t, v->quant.count, c->err) : NULL;
    struct constant *k = zero ? ARENA_NEW(c->arena, struct constant, c->err) : NULL;
    if (!k)
        return false;
    bool any = false;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (signed char)((int)v->constant->data[i] - 128);
    for (int i = 0; i < v->quant.count; i++) {
        zero[i] = (v->quant.zero_point ? v->quant.zero_point[i] : 0) - 128;
        any = any || zero[i];
    }
    *k = (struct constant){(unsigned char *)data, bytes};
    v->constant = k;
    v->dtype = DT_QINT8;
    v->quant.zero_point = any ? zero : NULL;
    return true;
}

/* One scale for all becomes one per channel, so that every weight has the same form. */
static bool spread(struct convert *c, struct value *v, int axis)
{
    int64_t n = v->shape.dim[axis];
    if (v->quant.count == n || v->quant.count != 1) {
        if (n == 1)
            v->quant.axis = axis;
        return true;
    }
    double *scale = ARENA_ARRAY(c->arena, double, n, c->err);
    int64_t *zero = scale && v->quant.zero_point ? ARENA_ARRAY(c->arena, int64_t, n, c->err) : NULL;
    if (!scale || (v->quant.zero_point && !zero))
        return false;
    for (int64_t i = 0; i < n; i++) {
        scale[i] = v->quant.scale[0];
        if (zero)
            zero[i] = v->quant.zero_point[0];
    }
    v->quant = (struct quant){scale, zero, (int)n, axis};
    return true;
}

/* The integers of the file, with its scales. NULL without an error: they do not fit the form. */
static struct value *keep_weight(struct convert *c, const struct value *w, int axis)
{
    bool fits =
        (w->dtype == DT_QINT8 || w->dtype == DT_QUINT8) && w->quant.count > 0 &&
        (w->quant.count == 1 || (w->quant.axis == axis && w->quant.count == w->shape.dim[axis]));
    if (!fits)
        return NULL;
    struct value *v = graph_add_constant(c->to, w->name, &w->shape, w->dtype, w->constant->data,
                                         w->constant->bytes, c->err);
    if (!v)
        return NULL;
    v->quant = w->quant;
    if (w->dtype == DT_QUINT8 && !as_signed(c, v))
        return NULL;
    return spread(c, v, axis) ? v : NULL;
}

/* The scale of one channel: absmax / 127.5; a single number is stored exactly, and the bias has to
 * fit into 31 bits of scale s_x * s_w. */
static double channel_scale(double absmax, int64_t elements, double bias, double s_x)
{
    double scale = elements == 1 ? absmax / 127 : scheme_scale(absmax, DT_QINT8);
    double least = fabs(bias) / (s_x * 0x1p30);
    if (least > scale)
        scale = least;
    return scale > LEAST_SCALE ? scale : LEAST_SCALE;
}

/* arith_quantize() of a finite number to 8 bits, for millions of them: what lies outside is cut off
 * first, and adding and taking away 1.5 * 2^52 rounds to nearest, ties to even. */
static signed char quantize_finite(double real, double scale)
{
    double q = real / scale;
    q = q > 127 ? 127 : q < -128 ? -128 : q;
    return (signed char)(int)((q + 0x1.8p52) - 0x1.8p52);
}

static bool quantize_weight(struct convert *c, const struct node *n, const struct value *w,
                            const struct value *bias, double s_x, struct lanes l, const float *x,
                            signed char *out, double *scale)
{
    struct qconfig_weight q;
    double all = 0, largest_bias = 0;
    qconfig_weight(c->config, n, &q);
    int64_t biases = bias ? shape_elements(&bias->shape) : 0;
    for (int64_t k = 0; k < l.channels; k++) {
        double absmax = 0, b = 0;
        for (int64_t o = 0; o < l.outer; o++)
            for (int64_t i = 0; i < l.inner; i++) {
                double v = fabs((double)x[(o * l.channels + k) * l.inner + i]);
                if (!isfinite(v))
                    return error_set(c->err, BPU_BAD_MODEL, n->name,
                                     "the weight \"%s\" holds a number that is not finite",
                                     w->name);
                absmax = v > absmax ? v : absmax;
            }
        /* groups of a transposed convolution share the channels of the weight */
        for (int64_t j = k; j < biases; j += l.channels) {
            double v;
            if (dtype_is_float(bias->dtype) && constant_real(bias, biases == 1 ? 0 : j, &v))
                b = fabs(v) > b ? fabs(v) : b;
        }
        scale[k] = channel_scale(absmax, l.outer * l.inner, b, s_x);
        all = absmax > all ? absmax : all;
        largest_bias = b > largest_bias ? b : largest_bias;
    }
    for (int64_t k = 0; k < l.channels; k++) {
        if (!q.per_channel)
            scale[k] = channel_scale(all, 2, largest_bias, s_x);
        for (int64_t o = 0; o < l.outer; o++)
            for (int64_t i = 0; i < l.inner; i++) {
                int64_t at = (o * l.channels + k) * l.inner + i;
                out[at] = quantize_finite((double)x[at], scale[k]);
            }
    }
    return true;
}

struct value *convert_weight(struct convert *c, const struct node *n, const struct value *w,
                             const struct value *bias, double s_x, int axis)
{
    struct converted_weight *known = &c->weights[w->index];
    if (!need_content(n, w, c->err) || (bias && !need_content(n, bias, c->err)))
        return NULL;
    bool own = c->from->values[w->index] != w; /* turned around for this node */
    struct value *v =
        known->value && known->axis == axis && !own ? known->value : keep_weight(c, w, axis);
    if (v || c->err->code != BPU_NONE) {
        if (!own)
            *known = (struct converted_weight){v, axis};
        return v;
    }
    int64_t elements = shape_elements(&w->shape);
    struct lanes l = lanes_of(&w->shape, axis);
    float *x = rewrite_floats(c->arena, w, c->err);
    signed char *data = x ? arena_alloc(c->arena, (size_t)elements, c->err) : NULL;
    double *scale = data ? ARENA_ARRAY(c->arena, double, l.channels, c->err) : NULL;
    if (!scale || !quantize_weight(c, n, w, bias, s_x, l, x, data, scale))
        return NULL;
    v = graph_add_constant(c->to, w->name, &w->shape, DT_QINT8, data, (size_t)elements, c->err);
    if (v) /* not shared: the scales may depend on the bias */
        v->quant = (struct quant){scale, NULL, (int)l.channels, axis};
    return v;
}

/* ── biases ── */

static const char *param_name(struct convert *c, const struct node *n, const char *what)
{
    return arena_printf(c->arena, c->err, "%s.%s", n->name, what);
}

struct value *convert_bias(struct convert *c, const struct node *n, const struct value *bias,
                           const struct value *weight, double s_x, int64_t channels)
{
    struct shape shape = {.rank = 1, .dim = {channels}};
    int32_t *data = ARENA_ARRAY(c->arena, int32_t, channels, c->err);
    double *scale = data ? ARENA_ARRAY(c->arena, double, channels, c->err) : NULL;
    const char *name = bias ? bias->name : param_name(c, n, "bias");
    if (!scale || !name || (bias && !need_content(n, bias, c->err)))
        return NULL;
    int64_t count = bias ? shape_elements(&bias->shape) : 0, saturated = 0;
    if (bias && count != 1 && count != channels) {
        error_set(c->err, BPU_BAD_SHAPE, n->name, "the bias has %lld elements for %lld channels",
                  (long long)count, (long long)channels);
        return NULL;
    }
    for (int64_t k = 0; k < channels; k++) {
        double s_w = requant_weight_scale(&weight->quant, k), b = 0;
        scale[k] = s_x * s_w;
        if (!bias)
            continue;
        int64_t at = count == 1 ? 0 : k;
        if (!constant_real(bias, at, &b)) {
            error_set(c->err, BPU_BAD_MODEL, n->name, "the bias cannot be read");
            return NULL;
        }
        const struct quant *q = &bias->quant;
        bool quantized = dtype_is_quantized(bias->dtype) && q->count > 0;
        double s_b = quantized ? q->scale[q->count == 1 ? 0 : at] : 0;
        if (quantized && q->zero_point)
            b -= (double)q->zero_point[q->count == 1 ? 0 : at];
        if (quantized && fabs(s_b - scale[k]) <= 1e-6 * scale[k])
            data[k] = (int32_t)b; /* the file's integers are of this scale */
        else if (quantized)
            data[k] = arith_quantize(b * s_b, scale[k], 0, INT32_MIN, INT32_MAX);
        else
            data[k] = requant_bias(b, s_x, s_w);
        saturated += data[k] == INT32_MAX || data[k] == INT32_MIN;
    }
    if (saturated &&
        !graph_add_note(c->to, c->err,
                        "%s: %lld biases are beyond 32 bits at the scales of input and weight, and "
                        "saturate",
                        n->name, (long long)saturated))
        return NULL;
    struct value *v = graph_add_constant(c->to, name, &shape, DT_QINT32, data,
                                         (size_t)channels * sizeof *data, c->err);
    if (v)
        v->quant = (struct quant){scale, NULL, (int)channels, 0};
    return v;
}

/* ── operands ── */

struct value *convert_plain(struct convert *c, const struct value *v)
{
    const void *data = v->constant->data;
    size_t bytes = v->constant->bytes;
    enum dtype t = v->dtype;
    if (t != DT_FLOAT32 && scheme_is_real(t)) {
        int64_t n = shape_elements(&v->shape);
        t = DT_FLOAT32;
        if (data && !(data = rewrite_floats(c->arena, v, c->err)))
            return NULL;
        bytes = n > 0 ? (size_t)n * sizeof(float) : 0;
    }
    return graph_add_constant(c->to, v->name, &v->shape, t, data, bytes, c->err);
}

struct value *convert_operand(struct convert *c, const struct value *v, enum dtype t)
{
    int64_t n = shape_elements(&v->shape);
    if (dtype_is_quantized(v->dtype) && v->quant.count > 0) {
        struct value *same = graph_add_constant(c->to, v->name, &v->shape, v->dtype,
                                                v->constant->data, v->constant->bytes, c->err);
        if (same)
            same->quant = v->quant;
        return same;
    }
    int top = t == DT_QINT16 ? 32767 : 127;
    size_t size = dtype_size(t), bytes = 0;
    float *x = rewrite_floats(c->arena, v, c->err);
    if (!x || !checked_size_mul((size_t)n, size, &bytes))
        return NULL;
    unsigned char *data = arena_alloc(c->arena, bytes, c->err);
    double *scale = data ? ARENA_NEW(c->arena, double, c->err) : NULL, absmax = 0;
    if (!scale)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i]) && fabs((double)x[i]) > absmax)
            absmax = fabs((double)x[i]);
    *scale = absmax / top > LEAST_SCALE ? absmax / top : LEAST_SCALE;
    for (int64_t i = 0; i < n; i++) {
        int32_t q = arith_quantize((double)x[i], *scale, 0, -top - 1, top);
        int16_t wide = (int16_t)q;
        signed char narrow = (signed char)q;
        memcpy(data + (size_t)i * size, size == 2 ? (void *)&wide : (void *)&narrow, size);
    }
    struct value *out = graph_add_constant(c->to, v->name, &v->shape, t, data, bytes, c->err);
    if (out)
        out->quant = (struct quant){scale, NULL, 1, 0};
    return out;
}

/* ── multipliers ── */

bool convert_multipliers(struct convert *c, struct node *n, int64_t channels)
{
    struct value *y = n->outputs[0], *r = node_input(n, 1);
    struct requant_scales s = {.x = &n->inputs[0]->quant,
                               .w = &node_param(n, "weight")->quant,
                               .y = &y->quant,
                               .r = r ? &r->quant : NULL,
                               .y_dtype = y->dtype,
                               .channels = channels};
    struct shape shape = {.rank = 1, .dim = {channels}};
    size_t bytes = (size_t)channels * sizeof(int32_t);
    int32_t *multiplier = ARENA_ARRAY(c->arena, int32_t, channels, c->err);
    int32_t *shift = multiplier ? ARENA_ARRAY(c->arena, int32_t, channels, c->err) : NULL;
    int32_t *residual = shift ? ARENA_ARRAY(c->arena, int32_t, channels, c->err) : NULL;
    if (!residual || !requant_multipliers(&s, n->name, multiplier, shift, residual, c->err))
        return false;
    const char *m_name = param_name(c, n, "multiplier"), *s_name = param_name(c, n, "shift");
    if (!m_name || !s_name)
        return false;
    struct value *m =
        graph_add_constant(c->to, m_name, &shape, DT_INT32, multiplier, bytes, c->err);
    struct value *t =
        m ? graph_add_constant(c->to, s_name, &shape, DT_INT32, shift, bytes, c->err) : NULL;
    return t && node_add_param(c->to, n, "multiplier", m, c->err) &&
           node_add_param(c->to, n, "shift", t, c->err);
}

/* ── tables ── */

bool convert_table(struct convert *c, struct node *n)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    bool wide = y->dtype == DT_QINT16;
    if (dtype_size(x->dtype) > 2 || (!wide && y->dtype != DT_QINT8 && y->dtype != DT_QUINT8))
        return true;
    int64_t entries = dtype_size(x->dtype) == 2 ? 65536 : 256;
    struct shape shape = {.rank = 1, .dim = {entries}};
    size_t size = wide ? 2 : 1, bytes = (size_t)entries * size;
    int32_t *table = ARENA_ARRAY(c->arena, int32_t, entries, c->err);
    unsigned char *data = table ? arena_alloc(c->arena, bytes, c->err) : NULL;
    if (!data || !fixed_unary_table(n, &x->quant, x->dtype, &y->quant, y->dtype, table, c->err))
        return false;
    for (int64_t i = 0; i < entries; i++) /* little endian, unsigned results as their low 8 bits */
        for (size_t b = 0; b < size; b++)
            data[(size_t)i * size + b] = (unsigned char)((uint32_t)table[i] >> (8 * b));
    const char *name = param_name(c, n, "table");
    struct value *v = name ? graph_add_constant(c->to, name, &shape, wide ? DT_INT16 : DT_INT8,
                                                data, bytes, c->err)
                           : NULL;
    return v && node_add_param(c->to, n, "table", v, c->err);
}
