/* QuantizeLinear and DequantizeLinear: pairs of them say what scale a value has.
 *
 * Seen from the BPU, a value between Q and DQ is a quantized feature map, and the operator behind DQ works on it:
 *     conv ─ Q ─ DQ ─ conv        →  conv ══ qint8, scale ══ conv
 * Q behind an operator gives the operator's own result dtype and scale, and is folded; DQ behind Q or behind an
 * int8 constant is folded.  Q on a float input of the graph stays as QuantStub, DQ towards an
 * output of the graph stays as DeQuantStub. */
#include <math.h>
#include <string.h>

#include "core/import/onnx.h"
#include "core/ops/op.h"

static enum dtype quantized(enum dtype storage)
{
    switch (storage) {
    case DT_UINT8: return DT_QUINT8;
    case DT_INT16: return DT_QINT16;
    case DT_INT32: return DT_QINT32;
    default: return DT_QINT8;
    }
}

/* Scale and zero point from inputs 1 and 2. *known false if they are computed from the data. */
static bool read_quant(struct onnx_node *o, const struct value *x, struct quant *q,
                       enum dtype *storage, bool *known)
{
    struct onnx_import *im = o->im;
    const struct value *scale = onnx_in(o, 1), *zero = onnx_in(o, 2);
    *storage = zero ? zero->dtype : DT_UINT8;
    int64_t count = scale ? shape_elements(&scale->shape) : -1;
    *known = value_is_known(scale) && (!zero || value_is_known(zero)) && count >= 1;
    if (!*known)
        return true;
    double *s = ARENA_ARRAY(im->arena, double, count, im->err);
    int64_t *z = s ? ARENA_ARRAY(im->arena, int64_t, count, im->err) : NULL;
    if (!z)
        return false;
    bool any = false;
    for (int64_t i = 0; i < count; i++) {
        if (!constant_real(scale, i, &s[i]) || !isfinite(s[i]) || s[i] <= 0)
            return onnx_bad(o, "scale %lld is not a positive number", (long long)i);
        if (zero && !constant_int(zero, shape_elements(&zero->shape) == count ? i : 0, &z[i]))
            return onnx_bad(o, "zero point %lld cannot be read", (long long)i);
        any = any || z[i] != 0;
    }
    int64_t axis = onnx_int(o, "axis", 1);
    if (axis < 0 && x && x->shape.rank >= 0)
        axis += x->shape.rank;
    bool ranked = x && x->shape.rank >= 0;
    if (count > 1 && (axis < 0 || axis >= (ranked ? x->shape.rank : SHAPE_MAX_RANK) ||
                      (ranked && x->shape.dim[axis] != count)))
        return onnx_bad(o, "%lld scales do not fit axis %lld of the operand", (long long)count,
                        (long long)axis);
    *q = (struct quant){.scale = s, .zero_point = any ? z : NULL, .count = (int)count,
                        .axis = count > 1 ? (int)axis : 0};
    return true;
}

/* Integers of a float constant, as QuantizeLinear computes them: round to nearest even, saturate. */
static const void *quantize_constant(struct onnx_node *o, const struct value *x,
                                     const struct quant *q, enum dtype storage)
{
    int64_t n = shape_elements(&x->shape), inner = 1;
    if (!value_is_known(x) || n < 0 || dtype_size(storage) != 1 ||
        !op_fold_affordable(o->im->graph, n))
        return NULL;
    unsigned char *out = arena_alloc(o->im->arena, (size_t)n, o->im->err);
    for (int i = q->axis + 1; q->count > 1 && i < x->shape.rank; i++)
        inner *= x->shape.dim[i];
    double lo = storage == DT_UINT8 ? 0 : -128, hi = storage == DT_UINT8 ? 255 : 127;
    for (int64_t i = 0; out && i < n; i++) {
        int64_t c = q->count > 1 && inner > 0 ? i / inner % q->count : 0;
        double r = 0;
        if (!constant_real(x, i, &r))
            return NULL;
        /* The standard divides in float. */
        r = (double)rintf((float)r / (float)q->scale[c]) +
            (q->zero_point ? (double)q->zero_point[c] : 0);
        r = r < lo ? lo : r > hi ? hi : r;
        out[i] = (unsigned char)(int)(isnan(r) ? 0 : r);
    }
    return out;
}

static bool make_constant(struct onnx_node *o, struct node *n, struct value *v, const void *data,
                          size_t bytes)
{
    struct constant *c = ARENA_NEW(o->im->arena, struct constant, o->im->err);
    if (!c)
        return false;
    *c = (struct constant){data, data ? bytes : 0};
    v->constant = c;
    n->fold = FOLD_CONSTANT;
    return true;
}

/* One consumer more or less does not matter: all of them see the quantized value. */
static void adopt(struct value *x, enum dtype dtype, const struct quant *q)
{
    x->dtype = dtype;
    x->quant = *q;
}

bool onnx_quantize(struct onnx_node *o)
{
    struct value *x = onnx_in(o, 0);
    struct quant q = {0};
    enum dtype storage;
    bool known;
    if (!x)
        return onnx_bad(o, "QuantizeLinear needs an operand");
    if (!read_quant(o, x, &q, &storage, &known))
        return false;
    if (!known)
        return onnx_opaque(o, "torch.quantization.QuantStub");
    struct node *n = onnx_begin(o, "torch.quantization.QuantStub", NULL);
    if (!n || !onnx_operand(o, n, x))
        return false;
    struct value *y = onnx_output(o, n, 0);
    if (!y)
        return false;
    y->shape = x->shape;
    y->dtype = quantized(storage);
    y->quant = q;
    if (x->constant) {
        const void *data = quantize_constant(o, x, &q, storage);
        if (o->im->err->code != BPU_NONE)
            return false;
        int64_t elements = shape_elements(&x->shape);
        return make_constant(o, n, y, data, elements > 0 ? (size_t)elements : 0);
    }
    struct value *source = value_source(x);
    if (source->producer && !source->is_input) {
        if (source->quant.count == 0)
            adopt(source, y->dtype, &q);
        n->fold = FOLD_QUANT;
        return true;
    }
    return node_set_float(o->im->graph, n, "scale", q.scale[0], o->im->err) &&
           node_set_int(o->im->graph, n, "zero_point", q.zero_point ? q.zero_point[0] : 0,
                        o->im->err) &&
           node_set_string(o->im->graph, n, "dtype", dtype_name(y->dtype), o->im->err);
}

bool onnx_dequantize(struct onnx_node *o)
{
    struct value *x = onnx_in(o, 0);
    struct quant q = {0};
    enum dtype storage;
    bool known;
    if (!x)
        return onnx_bad(o, "DequantizeLinear needs an operand");
    if (!read_quant(o, x, &q, &storage, &known))
        return false;
    if (x->constant && x->dtype != DT_UNKNOWN && !dtype_is_quantized(x->dtype) &&
        dtype_size(quantized(x->dtype)) != dtype_size(x->dtype))
        return onnx_bad(o, "DequantizeLinear of %s; int8, uint8, int16 or int32 is expected",
                        dtype_name(x->dtype));
    if (!known)
        return onnx_opaque(o, "torch.quantization.DeQuantStub");
    struct node *n = onnx_begin(o, "torch.quantization.DeQuantStub", NULL);
    if (!n || !onnx_operand(o, n, x))
        return false;
    struct value *y = onnx_output(o, n, 0);
    if (!y)
        return false;
    y->shape = x->shape;
    if (x->constant) { /* a quantized weight: same integers, now with their scale */
        y->dtype = quantized(dtype_is_quantized(x->dtype) ? DT_INT8 : x->dtype);
        if (dtype_is_quantized(x->dtype))
            y->dtype = x->dtype;
        y->quant = q;
        return make_constant(o, n, y, x->constant->data, x->constant->bytes);
    }
    y->dtype = x->dtype;
    y->quant = q;
    const char *name = o->proto->n_output ? o->proto->output[0] : "";
    if (dtype_is_quantized(x->dtype) && !name_table_find(o->im->outputs, name)) {
        n->fold = FOLD_QUANT;
        return true;
    }
    y->dtype = DT_FLOAT32;
    y->quant = (struct quant){0};
    return true;
}
