/* QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, of the standard's domain and of
 * com.microsoft: pairs of the first two say what scale a value has (quant_pair.h). */
#include <stdio.h>
#include <string.h>

#include "core/import/onnx_qparam.h"
#include "core/import/quant_pair.h"
#include "core/ops/op.h"

static const char *type_name(int64_t data_type)
{
    static const char *const small[] = {"float8e4m3fn",   "float8e4m3fnuz", "float8e5m2",
                                        "float8e5m2fnuz", "uint4",          "int4",
                                        "float4e2m1"};
    enum { FIRST = 17, COUNT = sizeof small / sizeof small[0] };
    enum dtype t = data_type > 0 && data_type < FIRST ? onnx_dtype((int32_t)data_type) : DT_UNKNOWN;
    if (data_type >= FIRST && data_type < FIRST + COUNT)
        return small[data_type - FIRST];
    return t == DT_UNKNOWN ? "another type" : dtype_name(t);
}

/* What newer opsets can ask for and no BPU does. */
static bool refuse_newer(struct onnx_node *o)
{
    int64_t block = onnx_int(o, "block_size", 0), to = onnx_int(o, "output_dtype", 0);
    bool quantize = strcmp(o->proto->op_type, "QuantizeLinear") == 0;
    if (block != 0) {
        onnx_bad(o, "block_size is %lld; one scale, or one per channel, is read", (long long)block);
        o->im->err->code = BPU_UNSUPPORTED;
        return error_hint(o->im->err,
                          "Quantize without block_size: per tensor, or weights per channel.");
    }
    enum dtype t = to >= INT32_MIN && to <= INT32_MAX ? onnx_dtype((int32_t)to) : DT_UNKNOWN;
    if (to == 0 || (quantize ? onnx_qparam_dtype(t) != DT_UNKNOWN : dtype_is_float(t)))
        return true;
    onnx_bad(o, "output_dtype is %s; %s", type_name(to),
             quantize ? "int8, uint8, int16, uint16 and int32 are read" : "a float type is needed");
    o->im->err->code = BPU_UNSUPPORTED;
    return error_hint(o->im->err, "Quantize with 8-bit integers: the BPU computes with int8.");
}

/* Scale and zero point from inputs 1 and 2. */
static bool read_params(struct onnx_node *o, const struct value *x, bool quantize,
                        struct onnx_qparam *p)
{
    const struct value *zero = onnx_in(o, 2);
    int64_t to = onnx_int(o, "output_dtype", 0);
    if (!x || !onnx_in(o, 1))
        return onnx_bad(o, "%s needs an operand and a scale", o->proto->op_type);
    if (!refuse_newer(o))
        return false;
    struct onnx_qsource from = {"", x, onnx_in(o, 1), zero, DT_UNKNOWN, onnx_int(o, "axis", 1)};
    if (quantize)
        from.otherwise = to ? onnx_dtype((int32_t)to) : DT_UINT8;
    if (quantize && to && zero && zero->dtype != onnx_dtype((int32_t)to))
        return onnx_bad(o, "output_dtype is %s, but the zero point is of type %s", type_name(to),
                        dtype_name(zero->dtype));
    return onnx_qparam_read(o, &from, p);
}

/* Not constant: the stub stays, with its shape and without a scale. */
static bool at_run_time(struct onnx_node *o, const char *op_name, enum dtype t)
{
    const struct value *x = onnx_in(o, 0);
    const char *name = o->proto->n_output ? o->proto->output[0] : "";
    if (!onnx_opaque(o, op_name))
        return false;
    struct value *y = name[0] ? name_table_find(o->im->values, name) : NULL;
    if (y) {
        y->shape = x->shape;
        y->dtype = t;
    }
    return graph_add_note(o->im->graph, o->im->err,
                          "The scale of \"%.200s\" is computed while the network runs (node "
                          "\"%.200s\"); the BPU needs one that is fixed.",
                          name, o->name);
}

/* Inference handed the scale of the first operand on (infer_carry_quant): the result has none of
 * its own. */
static bool is_carried(const struct value *v)
{
    const struct value *x = v->producer ? node_input(v->producer, 0) : NULL;
    return v->quant.count > 0 && x && x->quant.scale == v->quant.scale;
}

bool onnx_quantize(struct onnx_node *o)
{
    struct value *x = onnx_in(o, 0);
    struct onnx_qparam p = {0};
    if (!read_params(o, x, true, &p))
        return false;
    if (!p.known)
        return at_run_time(o, "torch.quantization.QuantStub", p.storage);
    struct node *n = onnx_begin(o, "torch.quantization.QuantStub", NULL);
    struct value *y = n && onnx_operand(o, n, x) ? onnx_output(o, n, 0) : NULL;
    if (!y)
        return false;
    bool stated = x->producer && x->producer->fold == FOLD_QUANT; /* by the pair before */
    struct value *source = stated || x->constant ? NULL : value_source(x);
    if (source && is_carried(source))
        source->quant = (struct quant){0};
    enum dtype storage = p.storage == DT_UINT16 ? DT_INT16 : p.storage;
    return quant_pair_quantize(o->im->graph, n, x, y, &p.q, storage, quant_pair_range(storage),
                               o->im->err) &&
           name_table_put(o->im->integers, y->name, y, o->im->err);
}

/* A quantized weight: the same integers, now with their scale. */
static bool dequantize_constant(struct onnx_node *o, struct node *n, struct value *y,
                                const struct onnx_qparam *p)
{
    const struct value *x = onnx_in(o, 0);
    struct constant *c = ARENA_NEW(o->im->arena, struct constant, o->im->err);
    const void *data = c ? onnx_qparam_integers(o, x, p) : NULL;
    if (o->im->err->code != BPU_NONE)
        return false;
    *c = (struct constant){data, x->constant->bytes};
    y->shape = x->shape;
    y->dtype = p->dtype;
    y->quant = p->q;
    y->constant = c;
    n->fold = FOLD_CONSTANT;
    return true;
}

bool onnx_dequantize(struct onnx_node *o)
{
    struct value *x = onnx_in(o, 0);
    struct onnx_qparam p = {0};
    if (!read_params(o, x, false, &p))
        return false;
    if (x->dtype != DT_UNKNOWN && p.dtype != DT_UNKNOWN &&
        (onnx_qparam_dtype(x->dtype) != p.dtype ||
         (!dtype_is_quantized(x->dtype) && x->dtype != p.storage)))
        return onnx_bad(o, "the operand is of type %s, its zero point of type %s",
                        dtype_name(x->dtype), dtype_name(p.storage));
    if (!p.known)
        return at_run_time(o, "torch.quantization.DeQuantStub", DT_FLOAT32);
    struct node *n = onnx_begin(o, "torch.quantization.DeQuantStub", NULL);
    struct value *y = n && onnx_operand(o, n, x) ? onnx_output(o, n, 0) : NULL;
    if (!y)
        return false;
    if (x->constant)
        return dequantize_constant(o, n, y, &p);
    if (x->quant.count == 0) { /* integers from outside, or of an operator: now they have a scale */
        x->dtype = p.dtype;
        x->quant = p.q;
    }
    const char *name = o->proto->n_output ? o->proto->output[0] : "";
    return quant_pair_dequantize(o->im->graph, n, x, y, &p.q,
                                 name_table_find(o->im->outputs, name) != NULL, o->im->err);
}

/* y, scale and zero point, all from the data. */
bool onnx_dynamic_quantize(struct onnx_node *o)
{
    static const struct shape scalar = {.rank = 0};
    struct onnx_import *im = o->im;
    struct value *x = onnx_in(o, 0);
    if (!x)
        return onnx_bad(o, "DynamicQuantizeLinear needs an operand");
    struct node *n = onnx_begin(o, "onnx:DynamicQuantizeLinear", NULL);
    if (!n || !onnx_operand(o, n, x))
        return false;
    for (int i = 0; i < 3 && i < (int)o->proto->n_output; i++) {
        struct value *v = onnx_output(o, n, i);
        if (!v)
            return false;
        v->shape = i == 0 ? x->shape : scalar;
        v->dtype = i == 1 ? DT_FLOAT32 : DT_UINT8;
    }
    return graph_add_note(
        im->graph, im->err,
        "Node \"%.200s\" (DynamicQuantizeLinear) computes a scale while the "
        "network runs; the BPU needs one that is fixed: quantize statically, with "
        "calibration data.",
        o->name);
}
