/* Quantize and dequantize as pairs.
 *
 * Seen from the BPU, a value between Q and DQ is a quantized feature map, and the operator behind
 * DQ works on it.  Q behind an operator gives the operator's own result dtype and scale, and is
 * folded; DQ behind Q or behind an int8 constant is folded.  Q on a float input of the graph stays
 * as QuantStub, DQ towards an output of the graph stays as DeQuantStub. */
#include "core/import/quant_pair.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/op.h"

enum dtype quant_pair_dtype(enum dtype storage)
{
    switch (storage) {
    case DT_UINT8: return DT_QUINT8;
    case DT_INT16: return DT_QINT16;
    case DT_INT32: return DT_QINT32;
    default: return DT_QINT8;
    }
}

struct quant_range quant_pair_range(enum dtype storage)
{
    if (storage == DT_INT16)
        return (struct quant_range){.lo = -32768, .hi = 32767};
    return (struct quant_range){.lo = storage == DT_UINT8 ? 0 : -128,
                                .hi = storage == DT_UINT8 ? 255 : 127};
}

bool quant_pair_scales(struct arena *a, const struct value *scale, const struct value *zero,
                       int64_t axis, const struct value *x, struct quant *out, bool *known,
                       char why[160], struct bpu_error *err)
{
    why[0] = '\0';
    int64_t count = scale ? shape_elements(&scale->shape) : -1;
    *known = value_is_known(scale) && (!zero || value_is_known(zero)) && count >= 1;
    if (!*known)
        return true;
    double *s = ARENA_ARRAY(a, double, count, err);
    int64_t *z = s ? ARENA_ARRAY(a, int64_t, count, err) : NULL;
    if (!z)
        return false;
    bool any = false;
    for (int64_t i = 0; i < count; i++) {
        if (!constant_real(scale, i, &s[i]) || !isfinite(s[i]) || s[i] <= 0) {
            snprintf(why, 160, "scale %lld is not a positive number", (long long)i);
            return false;
        }
        if (zero && !constant_int(zero, shape_elements(&zero->shape) == count ? i : 0, &z[i])) {
            snprintf(why, 160, "zero point %lld cannot be read", (long long)i);
            return false;
        }
        any = any || z[i] != 0;
    }
    if (axis < 0 && x && x->shape.rank >= 0)
        axis += x->shape.rank;
    bool ranked = x && x->shape.rank >= 0;
    if (count > 1 && (axis < 0 || axis >= (ranked ? x->shape.rank : SHAPE_MAX_RANK) ||
                      (ranked && x->shape.dim[axis] != count))) {
        snprintf(why, 160, "%lld scales do not fit axis %lld of the operand", (long long)count,
                 (long long)axis);
        return false;
    }
    *out = (struct quant){.scale = s,
                          .zero_point = any ? z : NULL,
                          .count = (int)count,
                          .axis = count > 1 ? (int)axis : 0};
    return true;
}

/* Integers of a float constant: round to nearest even, saturate. */
static const void *quantize_constant(struct graph *g, const struct value *x, const struct quant *q,
                                     enum dtype storage, struct quant_range range,
                                     struct bpu_error *err)
{
    int64_t n = shape_elements(&x->shape), inner = 1;
    size_t size = dtype_size(storage);
    if (!value_is_known(x) || n < 0 || size > 2 || !op_fold_affordable(g, n))
        return NULL;
    unsigned char *out = arena_alloc_array(g->arena, (size_t)n, size, err);
    for (int i = q->axis + 1; q->count > 1 && i < x->shape.rank; i++)
        inner *= x->shape.dim[i];
    for (int64_t i = 0; out && i < n; i++) {
        int64_t c = q->count > 1 && inner > 0 ? i / inner % q->count : 0;
        double r = 0;
        if (!constant_real(x, i, &r))
            return NULL;
        /* The standards compute in float. */
        float scale = (float)q->scale[c];
        r = (double)rintf(range.inverse ? (float)r * (1 / scale) : (float)r / scale) +
            (q->zero_point ? (double)q->zero_point[c] : 0);
        r = r < range.lo ? range.lo : r > range.hi ? range.hi : r;
        int whole = (int)(isnan(r) ? 0 : r);
        memcpy(out + (size_t)i * size, &whole, size); /* little endian: the low bytes */
    }
    return out;
}

static bool make_constant(struct graph *g, struct node *n, struct value *v, const void *data,
                          size_t bytes, struct bpu_error *err)
{
    struct constant *c = ARENA_NEW(g->arena, struct constant, err);
    if (!c)
        return false;
    *c = (struct constant){data, data ? bytes : 0};
    v->constant = c;
    n->fold = FOLD_CONSTANT;
    return true;
}

/* Inference handed the scale of the operand on: the value has none of its own. */
static bool is_carried(const struct value *v)
{
    const struct value *x = v->producer ? node_input(v->producer, 0) : NULL;
    return v->quant.count > 0 && x && x->quant.scale == v->quant.scale;
}

bool quant_pair_quantize(struct graph *g, struct node *n, struct value *x, struct value *y,
                         const struct quant *q, enum dtype storage, struct quant_range range,
                         struct bpu_error *err)
{
    y->shape = x->shape;
    y->dtype = quant_pair_dtype(storage);
    y->quant = *q;
    if (x->constant) {
        const void *data = quantize_constant(g, x, q, storage, range, err);
        if (err->code != BPU_NONE)
            return false;
        int64_t elements = shape_elements(&x->shape);
        return make_constant(g, n, y, data,
                             (size_t)(elements > 0 ? elements : 0) * dtype_size(storage), err);
    }
    struct value *source = value_source(x);
    if (source->producer && !source->is_input) {
        /* One consumer more or less does not matter: all of them see the quantized value. */
        if (source->quant.count == 0 || is_carried(source)) {
            source->dtype = y->dtype;
            source->quant = *q;
        }
        n->fold = FOLD_QUANT;
        return true;
    }
    return node_set_float(g, n, "scale", q->scale[0], err) &&
           node_set_int(g, n, "zero_point", q->zero_point ? q->zero_point[0] : 0, err) &&
           node_set_string(g, n, "dtype", dtype_name(y->dtype), err);
}

bool quant_pair_readable(const struct value *x)
{
    return !x->constant || x->dtype == DT_UNKNOWN || dtype_is_quantized(x->dtype) ||
           dtype_size(quant_pair_dtype(x->dtype)) == dtype_size(x->dtype);
}

bool quant_pair_dequantize(struct graph *g, struct node *n, struct value *x, struct value *y,
                           const struct quant *q, bool leaves, struct bpu_error *err)
{
    y->shape = x->shape;
    if (x->constant) { /* a quantized weight: same integers, now with their scale */
        y->dtype = dtype_is_quantized(x->dtype) ? x->dtype : quant_pair_dtype(x->dtype);
        y->quant = *q;
        return make_constant(g, n, y, x->constant->data, x->constant->bytes, err);
    }
    if (dtype_is_quantized(x->dtype) && !leaves) {
        y->dtype = x->dtype;
        y->quant = *q;
        n->fold = FOLD_QUANT;
        return true;
    }
    y->dtype = DT_FLOAT32;
    y->quant = (struct quant){0};
    return true;
}

void quant_pair_restore_stubs(struct graph *g)
{
    for (int i = 0; i < g->output_count; i++) {
        struct value *v = g->outputs[i];
        if (!v->producer || v->producer->fold != FOLD_QUANT || !v->producer->op ||
            strcmp(v->producer->op->name, "torch.quantization.DeQuantStub") != 0)
            continue;
        v->producer->fold = FOLD_NONE;
        v->dtype = DT_FLOAT32;
        v->quant = (struct quant){0};
    }
}
