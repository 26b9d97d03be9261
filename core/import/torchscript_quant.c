/* quantized:: operators, and the weights that they keep packed.
 *
 * A value has its dtype, scale and zero point in value.quant, as the file says.  conv_relu becomes
 * a convolution and a ReLU, as the same network is in ONNX; the scale is that of the ReLU's result.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/import/torchscript.h"
#include "core/ops/op.h"

static bool set_quant(struct ts_op *o, struct value *v, enum dtype dtype, double scale,
                      int64_t zero)
{
    struct ts_import *ts = o->ts;
    if (!isfinite(scale) || scale <= 0 || zero < INT32_MIN || zero > INT32_MAX)
        return ts_op_bad(o, "the scale of the result is %g, its zero point %lld", scale,
                         (long long)zero) != NULL;
    double *s = ARENA_NEW(ts->arena, double, ts->err);
    int64_t *z = s ? ARENA_NEW(ts->arena, int64_t, ts->err) : NULL;
    if (!z)
        return false;
    *s = scale;
    *z = zero;
    v->dtype = dtype;
    v->quant = (struct quant){s, zero ? z : NULL, 1, 0};
    return true;
}

/* Finishes n, with a ReLU behind it if the operator has one in it, and gives the result its scale.
 */
static struct py_value *finish(struct ts_op *o, struct node *n, enum dtype dtype)
{
    struct ts_import *ts = o->ts;
    bool ok = true, relu = strstr(o->row->name, "_relu") && strcmp(o->row->name, "leaky_relu") != 0;
    double scale = ts_arg_float(o, "scale", 0, &ok);
    int64_t zero = ts_arg_int(o, "zero_point", 0, &ok);
    struct value *v = n ? ts_finish_value(o, n) : NULL;
    if (!v)
        return NULL;
    if (relu) {
        n = ts_begin(o, "torch.nn.ReLU", "relu");
        if (!n || !node_add_input(ts->graph, n, v, ts->err) || !(v = ts_finish_value(o, n)))
            return NULL;
    }
    if (!ok)
        return ts_op_bad(o, "the scale of the result is computed from the data");
    return !ts_arg(o, "scale") || set_quant(o, v, dtype, scale, zero) ? ts_tensor(ts, v) : NULL;
}

static enum dtype quantized_dtype(const struct value *x)
{
    return dtype_is_quantized(x->dtype) ? x->dtype : DT_QUINT8;
}

/* ── packed weights ── */

static struct py_value *pack(struct ts_import *ts, struct py_value **items, size_t count)
{
    struct py_value *v = ts_new(ts, PY_PACKED);
    for (size_t i = 0; v && i < count; i++)
        if (!ts_append(ts, v, items[i] ? items[i] : &ts->none))
            return NULL;
    return v;
}

/* (weight, bias, stride, padding, dilation, groups, output_padding, transposed) */
enum {
    PACK_WEIGHT,
    PACK_BIAS,
    PACK_STRIDE,
    PACK_PADDING,
    PACK_DILATION,
    PACK_GROUPS,
    PACK_OUTPUT_PADDING,
    PACK_TRANSPOSED,
    PACK_COUNT
};

struct py_value *ts_prepack(struct ts_op *o)
{
    struct py_value *weight = ts_arg(o, "weight");
    if (!weight || !ts_is_tensor(weight))
        return ts_op_bad(o, "a weight is needed");
    struct py_value *transposed = ts_bool(o->ts, strncmp(o->row->name, "conv_t", 6) == 0);
    struct py_value *items[PACK_COUNT] = {weight,
                                          ts_arg(o, "bias"),
                                          ts_arg(o, "stride"),
                                          ts_arg(o, "padding"),
                                          ts_arg(o, "dilation"),
                                          ts_arg(o, "groups"),
                                          ts_arg(o, "output_padding"),
                                          transposed};
    return transposed ? pack(o->ts, items, PACK_COUNT) : NULL;
}

struct py_value *ts_unpack(struct ts_op *o)
{
    struct py_value *p = ts_arg(o, "packed"), *pair = ts_new(o->ts, PY_TUPLE);
    if (!p || p->kind != PY_PACKED)
        return ts_op_bad(o, "packed weights are needed");
    return pair && ts_append(o->ts, pair, p->items[PACK_WEIGHT]) &&
                   ts_append(o->ts, pair, p->items[PACK_BIAS])
               ? pair
               : NULL;
}

static struct py_value *unknown_packing(struct ts_import *ts, const struct py_value *object)
{
    ts_bad(ts, BPU_UNSUPPORTED, "the packed weights of %.150s are of a kind that is not read",
           object->text);
    error_hint(ts->err, "Save the converted model with PyTorch 1.7 or later.");
    return NULL;
}

static struct py_value *item(const struct py_value *list, size_t i)
{
    bool sequence = list && (list->kind == PY_LIST || list->kind == PY_TUPLE);
    return sequence && i < list->count ? list->items[i] : NULL;
}

/* A run of the numbers of a convolution: [axes, strides, paddings, dilations, output paddings,
 * groups, transposed]. */
static struct py_value *numbers(struct ts_import *ts, const struct py_value *all, size_t from,
                                size_t count)
{
    struct py_value *list = ts_new(ts, PY_LIST);
    for (size_t i = from; list && i < from + count; i++) {
        double r = 0;
        if (all->kind == PY_TENSOR ? !pickle_tensor_real(all->tensor, (int64_t)i, &r)
                                   : !item(all, i) || !ts_number(item(all, i), &r)) {
            ts_bad(ts, BPU_BAD_MODEL, "the packed parameters of a convolution are cut short");
            return NULL;
        }
        if (!ts_append(ts, list, ts_int(ts, (int64_t)r)))
            return NULL;
    }
    return list;
}

/* Version "2": ("2", [numbers, weight], [bias]); version 3: (3, numbers, [none, weight, bias]).
 * Linear: (weight, bias). */
struct py_value *ts_unpack_object(struct ts_import *ts, struct py_value *object)
{
    struct py_value *state = object->state, *p[PACK_COUNT] = {0};
    const char *kind = strrchr(object->text, '.') + 1;
    if (strncmp(kind, "Linear", 6) == 0) {
        p[PACK_WEIGHT] = item(state, 0);
        p[PACK_BIAS] = item(state, 1);
        return p[PACK_WEIGHT] && ts_is_tensor(p[PACK_WEIGHT]) ? pack(ts, p, PACK_COUNT)
                                                              : unknown_packing(ts, object);
    }
    bool newer = item(state, 0) && item(state, 0)->kind == PY_INT;
    struct py_value *first = item(state, 1), *second = item(state, 2);
    struct py_value *all = newer ? first : item(first, 0);
    p[PACK_WEIGHT] = newer ? item(second, 1) : item(first, 1);
    p[PACK_BIAS] = newer ? item(second, 2) : item(second, 0);
    if (strncmp(kind, "Conv", 4) != 0 || !all || !p[PACK_WEIGHT] || !ts_is_tensor(p[PACK_WEIGHT]) ||
        p[PACK_WEIGHT]->kind != PY_TENSOR)
        return unknown_packing(ts, object);
    int axes = p[PACK_WEIGHT]->tensor->shape.rank - 2;
    if (axes < 1 || axes > 3)
        return unknown_packing(ts, object);
    size_t n = (size_t)axes;
    p[PACK_STRIDE] = numbers(ts, all, 1, n);
    p[PACK_PADDING] = p[PACK_STRIDE] ? numbers(ts, all, 1 + n, n) : NULL;
    p[PACK_DILATION] = p[PACK_PADDING] ? numbers(ts, all, 1 + 2 * n, n) : NULL;
    p[PACK_OUTPUT_PADDING] = p[PACK_DILATION] ? numbers(ts, all, 1 + 3 * n, n) : NULL;
    struct py_value *rest = p[PACK_OUTPUT_PADDING] ? numbers(ts, all, 1 + 4 * n, 2) : NULL;
    if (!rest)
        return NULL;
    p[PACK_GROUPS] = rest->items[0];
    p[PACK_TRANSPOSED] = rest->items[1];
    if (object->path && p[PACK_WEIGHT]->kind == PY_TENSOR && !p[PACK_WEIGHT]->path)
        p[PACK_WEIGHT]->path = arena_printf(ts->arena, ts->err, "%s.weight", object->path);
    return pack(ts, p, PACK_COUNT);
}

/* ── operators ── */

struct py_value *ts_qconv(struct ts_op *o)
{
    static const struct ts_row as_conv = {
        "conv", NULL, "input weight bias stride padding dilation groups output_padding", NULL};
    struct py_value *x = ts_arg(o, "x"), *p = ts_arg(o, "packed");
    if (!x || !p || p->kind != PY_PACKED || p->count != PACK_COUNT)
        return ts_op_bad(o, "an input and packed weights are needed");
    struct value *v = ts_value(o->ts, x, NULL);
    struct py_value *args[] = {x,
                               p->items[PACK_WEIGHT],
                               p->items[PACK_BIAS],
                               p->items[PACK_STRIDE],
                               p->items[PACK_PADDING],
                               p->items[PACK_DILATION],
                               p->items[PACK_GROUPS],
                               p->items[PACK_OUTPUT_PADDING]};
    struct ts_op conv = {.ts = o->ts, .row = &as_conv, .name = o->name, .args = args, .count = 8};
    bool transposed = p->items[PACK_TRANSPOSED]->kind != PY_NONE && p->items[PACK_TRANSPOSED]->i;
    struct node *n = v ? ts_conv_node(&conv, x, args[1], args[2], transposed) : NULL;
    return n ? finish(o, n, quantized_dtype(v)) : NULL;
}

struct py_value *ts_qlinear(struct ts_op *o)
{
    struct py_value *x = ts_arg(o, "x"), *p = ts_arg(o, "packed");
    if (!x || !p || p->kind != PY_PACKED || p->count != PACK_COUNT)
        return ts_op_bad(o, "an input and packed weights are needed");
    struct value *v = ts_value(o->ts, x, NULL);
    struct value *w = v ? ts_value(o->ts, p->items[PACK_WEIGHT], NULL) : NULL;
    if (!w || w->shape.rank != 2)
        return w ? ts_op_bad(o, "the weight is not a matrix") : NULL;
    struct node *n = ts_linear_node(o, v, w, false, p->items[PACK_BIAS]);
    return n ? finish(o, n, quantized_dtype(v)) : NULL;
}

/* With a number, PyTorch chooses the scale of the result so that the stored integers need not change,
 * or, where a sum leaves their range, fit again. *b becomes the number that is really added: it is
 * rounded to the scale of x. */
static bool scalar_quant(struct ts_op *o, const struct value *x, struct py_value **b, double *scale,
                         int64_t *zero)
{
    int64_t lo = x->dtype == DT_QUINT8 ? 0 : x->dtype == DT_QINT8 ? -128 : INT32_MIN;
    int64_t hi = x->dtype == DT_QUINT8 ? 255 : x->dtype == DT_QINT8 ? 127 : INT32_MAX;
    double c, s, steps;
    if (x->quant.count != 1 || !ts_number(*b, &c) || !isfinite(c))
        return ts_op_bad(o, "an operand with one scale and a number are needed") != NULL;
    s = x->quant.scale[0];
    *zero = x->quant.zero_point ? x->quant.zero_point[0] : 0;
    *scale = s;
    if (strcmp(o->row->torch, "torch.mul") == 0) {
        *scale = c == 0 ? 1 : s * fabs(c);
        *zero = c == 0 ? 0 : c < 0 ? lo + hi - *zero : *zero;
        return true;
    }
    steps = nearbyint(c / s);
    if (!(fabs(steps) < INT32_MAX))
        return ts_op_bad(o, "%g is too large for the scale %g", c, s) != NULL;
    *b = ts_float(o->ts, steps * s);
    int64_t z = *zero - (int64_t)steps;
    if (z < lo)
        *scale = (double)(hi - z) / (double)(hi - lo) * s;
    else if (z > hi)
        *scale = (double)(z - lo) / (double)(hi - lo) * s;
    *zero = z < lo ? lo : z > hi ? hi : z;
    return *b != NULL;
}

struct py_value *ts_qbinary(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    struct py_value *a = ts_arg(o, "a"), *b = ts_arg(o, "b");
    double scale = 0;
    int64_t zero = 0;
    if (!a || !b)
        return ts_op_bad(o, "two operands are needed");
    struct value *x = ts_value(ts, a, NULL);
    bool scalar = x && strstr(o->row->name, "_scalar") && !ts_is_tensor(b);
    if (!x || (scalar && !scalar_quant(o, x, &b, &scale, &zero)))
        return NULL;
    struct value *y = ts_value(ts, b, x);
    struct node *n = y ? ts_begin(o, o->row->torch, NULL) : NULL;
    if (!n || !node_add_input(ts->graph, n, x, ts->err) ||
        !node_add_input(ts->graph, n, y, ts->err) ||
        (!ts_is_tensor(b) && !node_set_bool(ts->graph, n, "scalar_operand", true, ts->err)))
        return NULL;
    struct py_value *result = finish(o, n, quantized_dtype(x));
    if (scalar && result && !set_quant(o, ts_value(ts, result, NULL), x->dtype, scale, zero))
        return NULL;
    return result;
}

struct py_value *ts_qcat(struct ts_op *o)
{
    bool ok = true;
    const struct py_value *list = ts_arg(o, "tensors");
    int64_t dim = ts_arg_int(o, "dim", 0, &ok);
    if (!list || list->kind != PY_LIST || list->count == 0 || !ok)
        return ts_op_bad(o, "a list of tensors is needed");
    struct node *n = ts_begin(o, "torch.cat", NULL);
    for (size_t i = 0; n && i < list->count; i++)
        if (!ts_operand(o, n, list->items[i]))
            return NULL;
    if (!n || !node_set_int(o->ts->graph, n, "dim", dim, o->ts->err))
        return NULL;
    return finish(o, n, quantized_dtype(n->inputs[0]));
}

struct py_value *ts_qunary(struct ts_op *o)
{
    static const char *const attrs[] = {"alpha", "negative_slope", "dim", "normalized_shape",
                                        "eps"};
    struct node *n = ts_begin_unary(o, o->row->torch, "x");
    for (size_t i = 0; n && i < sizeof attrs / sizeof attrs[0]; i++)
        if (!ts_attr(o, n, attrs[i], ts_arg(o, attrs[i])))
            return NULL;
    return n && ts_param(o, n, "weight", ts_arg(o, "weight")) &&
                   ts_param(o, n, "bias", ts_arg(o, "bias"))
               ? finish(o, n, quantized_dtype(n->inputs[0]))
               : NULL;
}

/* As in float: a hard sigmoid times x, of which only the product has a scale. */
struct py_value *ts_qhardswish(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    struct py_value *x = ts_arg(o, "x");
    struct value *v = x ? ts_value(ts, x, NULL) : NULL;
    struct node *n = v ? ts_begin(o, o->row->torch, "hardsigmoid") : NULL;
    if (!n || !node_add_input(ts->graph, n, v, ts->err) ||
        !node_set_float(ts->graph, n, "alpha", (double)(1 / 6.f), ts->err) ||
        !node_set_float(ts->graph, n, "beta", .5, ts->err))
        return NULL;
    struct value *y = ts_finish_value(o, n);
    n = y ? ts_begin(o, "torch.mul", NULL) : NULL;
    return n && node_add_input(ts->graph, n, v, ts->err) && node_add_input(ts->graph, n, y, ts->err)
               ? finish(o, n, quantized_dtype(v))
               : NULL;
}

struct py_value *ts_qbatch_norm(struct ts_op *o)
{
    bool ok = true;
    double eps = ts_arg_float(o, "eps", 1e-5, &ok);
    struct node *n = ts_begin_unary(o, o->row->torch, "x");
    return n && node_set_float(o->ts->graph, n, "eps", eps, o->ts->err) &&
                   ts_param(o, n, "weight", ts_arg(o, "weight")) &&
                   ts_param(o, n, "bias", ts_arg(o, "bias")) &&
                   ts_param(o, n, "running_mean", ts_arg(o, "mean")) &&
                   ts_param(o, n, "running_var", ts_arg(o, "var"))
               ? finish(o, n, quantized_dtype(n->inputs[0]))
               : NULL;
}

/* ── stubs ── */

/* Behind an operator the scale belongs to that operator's result; an input of the graph keeps its
 * stub. */
struct py_value *ts_quantize(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    bool ok = true;
    double scale = ts_arg_float(o, "scale", 1, &ok);
    int64_t zero = ts_arg_int(o, "zero_point", 0, &ok);
    enum dtype dtype = ts_dtype(ts_arg_int(o, "dtype", 13, &ok));
    if (!ok)
        return ts_opaque(o, "torch.quantization.QuantStub");
    if (!dtype_is_quantized(dtype))
        return ts_op_bad(o, "the dtype is no quantized one");
    struct node *n = ts_begin_unary(o, "torch.quantization.QuantStub", "self");
    if (!n)
        return NULL;
    struct value *source = value_source(n->inputs[0]);
    if (!node_set_float(ts->graph, n, "scale", scale, ts->err) ||
        !node_set_int(ts->graph, n, "zero_point", zero, ts->err) ||
        !node_set_string(ts->graph, n, "dtype", dtype_name(dtype), ts->err))
        return NULL;
    struct value *v = node_add_output(ts->graph, n, n->name, ts->err);
    if (!v || !set_quant(o, v, dtype, scale, zero))
        return NULL;
    v->shape = n->inputs[0]->shape;
    if (source->producer && !source->is_input && !source->constant) {
        if (source->quant.count == 0 && !dtype_is_quantized(source->dtype)) {
            source->dtype = v->dtype;
            source->quant = v->quant;
        }
        n->fold = FOLD_QUANT;
    }
    return ts_tensor(ts, v);
}

/* Inside the graph a dequantized value is the quantized one with its scale; ts_finish_outputs()
 * brings the stub back where it leaves the graph. */
struct py_value *ts_dequantize(struct ts_op *o)
{
    struct node *n = ts_begin_unary(o, "torch.quantization.DeQuantStub", "self");
    struct value *v = n ? node_add_output(o->ts->graph, n, n->name, o->ts->err) : NULL;
    if (!v)
        return NULL;
    const struct value *x = n->inputs[0];
    v->shape = x->shape;
    v->dtype = x->dtype;
    v->quant = x->quant;
    n->fold = FOLD_QUANT;
    return ts_tensor(o->ts, v);
}
