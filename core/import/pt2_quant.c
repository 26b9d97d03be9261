/* quantized_decomposed operators, with which PT2E quantization writes pairs of quantize and
 * dequantize around every value: scales of values, as in ONNX (quant_pair.h). */
#include <math.h>
#include <string.h>

#include "core/import/pt2.h"
#include "core/import/quant_pair.h"
#include "core/ops/op.h"

/* Scale and zero point, numbers or tensors. *known false if they are computed from the data. */
static bool read_scales(struct ts_op *o, const struct value *x, struct quant *q, bool *known)
{
    struct ts_import *ts = o->ts;
    bool channel = strstr(o->row->name, "channel") != NULL;
    struct py_value *scale = ts_arg(o, channel ? "scales" : "scale");
    struct py_value *zero = ts_arg(o, channel ? "zero_points" : "zero_point");
    bool ok = true;
    char why[160];
    *known = false;
    if (!scale)
        return ts_op_bad(o, "the scale is missing") != NULL;
    if (!ts_is_tensor(scale)) {
        double *s = ARENA_NEW(ts->arena, double, ts->err);
        int64_t *z = s ? ARENA_NEW(ts->arena, int64_t, ts->err) : NULL;
        if (!z)
            return false;
        *s = ts_arg_float(o, "scale", 0, &ok);
        *z = ts_arg_int(o, "zero_point", 0, &ok);
        if (!ok)
            return true;
        if (!isfinite(*s) || *s <= 0)
            return ts_op_bad(o, "the scale is %g, not a positive number", *s) != NULL;
        *known = true;
        *q = (struct quant){.scale = s, .zero_point = *z ? z : NULL, .count = 1};
        return true;
    }
    int64_t axis = channel ? ts_arg_int(o, "axis", 0, &ok) : 0;
    struct value *s = ts_value(ts, scale, NULL);
    struct value *z = s && zero && ts_is_tensor(zero) ? ts_value(ts, zero, NULL) : NULL;
    if (!s || ts->err->code != BPU_NONE)
        return false;
    if (!ok)
        return true;
    if (quant_pair_scales(ts->arena, s, z, axis, x, q, known, why, ts->err))
        return true;
    return why[0] ? ts_op_bad(o, "%s", why) != NULL : false;
}

/* A stub whose scale or type is not known: it still has the shape of its operand. */
static struct py_value *undetermined(struct ts_op *o, const char *op_name, const struct value *x)
{
    struct py_value *v = ts_opaque(o, op_name);
    if (v)
        v->value->shape = x->shape;
    return v;
}

struct py_value *ts_pair_quantize(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    struct quant q = {0};
    bool known, ok = true;
    struct value *x = ts_operand_of(o, "input");
    if (!x || !read_scales(o, x, &q, &known))
        return NULL;
    enum dtype storage = ts_dtype(ts_arg_int(o, "dtype", 1, &ok));
    struct quant_range range = quant_pair_range(storage);
    range.lo = fmax(range.lo, ts_arg_float(o, "quant_min", range.lo, &ok));
    range.hi = fmin(range.hi, ts_arg_float(o, "quant_max", range.hi, &ok));
    range.inverse = true;
    if (!known || !ok || storage == DT_UNKNOWN)
        return undetermined(o, "torch.quantization.QuantStub", x);
    struct node *n = ts_begin_on(o, "torch.quantization.QuantStub", NULL, x);
    struct value *y = n ? node_add_output(ts->graph, n, n->name, ts->err) : NULL;
    return y && quant_pair_quantize(ts->graph, n, x, y, &q, storage, range, ts->err)
               ? ts_tensor(ts, y)
               : NULL;
}

struct py_value *ts_pair_dequantize(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    struct quant q = {0};
    bool known;
    struct value *x = ts_operand_of(o, "input");
    if (!x || !read_scales(o, x, &q, &known))
        return NULL;
    if (!quant_pair_readable(x))
        return ts_op_bad(o, "dequantize of %s; int8, uint8, int16 or int32 is expected",
                         dtype_name(x->dtype));
    if (!known)
        return undetermined(o, "torch.quantization.DeQuantStub", x);
    struct node *n = ts_begin_on(o, "torch.quantization.DeQuantStub", NULL, x);
    struct value *y = n ? node_add_output(ts->graph, n, n->name, ts->err) : NULL;
    return y && quant_pair_dequantize(ts->graph, n, x, y, &q, false, ts->err) ? ts_tensor(ts, y)
                                                                              : NULL;
}
