/* Operators that take quantized operands: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger,
 * and those of com.microsoft that ONNX Runtime's quantizer writes (QLinearAdd, QGemm …).
 *
 * Each computes what a float operator computes over its dequantized operands.  So each is
 * translated as that operator: the operands get scale and zero point (onnx_qparam.c), the float
 * operator's adapter runs on a stand-in node, and its result gets the scale that the file gives.
 * The graph is then the one that Q/DQ pairs around the float operator give.
 *
 * A row describes the operands by letters, in the file's order:
 *   t  a tensor, its scale and its zero point
 *   s  the scale of the result, z its zero point
 *   b  a bias of int32 at the scale of both tensors multiplied
 *   f  a tensor that is not quantized: a condition
 *   T  a tensor without a scale, whose zero point is the next Z: the Integer operators
 *   *  as many t as there are */
#include <stdlib.h>
#include <string.h>

#include "core/import/onnx_qparam.h"
#include "core/ops/op.h"

enum { MAX_TENSORS = 3 };

/* How the axis of scales per channel follows from the operand's place. */
enum axes { AXES_TENSOR, AXES_CONV, AXES_MATMUL, AXES_GEMM };

struct qrow {
    const char *name, *becomes, *operands;
    enum axes axes;
};

static const struct qrow rows[] = {
    {"ConvInteger", "Conv", "TTZZ", AXES_CONV},
    {"MatMulInteger", "MatMul", "TTZZ", AXES_MATMUL},
    {"QGemm", "Gemm", "ttbsz", AXES_GEMM},
    {"QLinearAdd", "Add", "ttsz", AXES_TENSOR},
    {"QLinearAveragePool", "AveragePool", "tsz", AXES_TENSOR},
    {"QLinearConcat", "Concat", "sz*", AXES_TENSOR},
    {"QLinearConv", "Conv", "ttszb", AXES_CONV},
    {"QLinearGlobalAveragePool", "GlobalAveragePool", "tsz", AXES_TENSOR},
    {"QLinearLeakyRelu", "LeakyRelu", "tsz", AXES_TENSOR},
    {"QLinearMatMul", "MatMul", "ttsz", AXES_MATMUL},
    {"QLinearMul", "Mul", "ttsz", AXES_TENSOR},
    {"QLinearReduceMean", "ReduceMean", "tsz", AXES_TENSOR},
    {"QLinearSigmoid", "Sigmoid", "tsz", AXES_TENSOR},
    {"QLinearSoftmax", "Softmax", "tsz", AXES_TENSOR},
    {"QLinearWhere", "Where", "fttsz", AXES_TENSOR},
};

#define ROW(name)                                                                                  \
    {                                                                                              \
        name, NULL, onnx_qlinear,                                                                  \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

/* The operators of com.microsoft, in alphabetical order. */
static const struct onnx_row microsoft[] = {
    {"DequantizeLinear", NULL, onnx_dequantize, {{0}}},
    ROW("QGemm"),
    ROW("QLinearAdd"),
    ROW("QLinearAveragePool"),
    ROW("QLinearConcat"),
    ROW("QLinearConv"),
    ROW("QLinearGlobalAveragePool"),
    ROW("QLinearLeakyRelu"),
    ROW("QLinearMatMul"),
    ROW("QLinearMul"),
    ROW("QLinearReduceMean"),
    ROW("QLinearSigmoid"),
    ROW("QLinearSoftmax"),
    ROW("QLinearWhere"),
    {"QuantizeLinear", NULL, onnx_quantize, {{0}}},
};

static int by_name(const void *key, const void *row)
{
    return strcmp(key, ((const struct onnx_row *)row)->onnx);
}

const struct onnx_row *onnx_microsoft_row_find(const char *op_type)
{
    return bsearch(op_type, microsoft, sizeof microsoft / sizeof microsoft[0], sizeof microsoft[0],
                   by_name);
}

static const struct qrow *row_of(const struct onnx_node *o)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, o->proto->op_type) == 0)
            return &rows[i];
    return NULL;
}

/* ── reading ── */

/* One such node while its operands are read. */
struct qnode {
    struct onnx_node *o;
    const struct qrow *row;
    struct value **operands; /* of the float operator */
    int count, tensors;
    struct onnx_qparam param[MAX_TENSORS]; /* of its quantized tensors, in order */
    struct onnx_qparam result;
    struct value *bias;
    struct value *unscaled[MAX_TENSORS]; /* of the Integer operators */
};

/* The axis along which operand `tensor` may have several scales; it counts from the end. */
static int64_t channel_axis(const struct qnode *q, int tensor)
{
    switch (q->row->axes) {
    case AXES_CONV: return tensor == 1 ? 0 : 1;
    case AXES_MATMUL: return tensor == 1 ? -1 : -2;
    case AXES_GEMM: return tensor == 1 && onnx_int(q->o, "transB", 0) ? 0 : 1;
    case AXES_TENSOR: break;
    }
    return 1;
}

static const char *letter(int tensor)
{
    static const char *const names[] = {"first operand's ", "second operand's ", "operand's "};
    return names[tensor < 2 ? tensor : 2];
}

/* Tensor, scale and zero point from input `at` on. */
static bool add_tensor(struct qnode *q, int at)
{
    static const char *const suffixes[] = {"dequantize_0", "dequantize_1"};
    struct onnx_node *o = q->o;
    struct value *x = onnx_in(o, at), *v;
    struct onnx_qparam p;
    int i = q->tensors++;
    if (!x || !onnx_in(o, at + 1))
        return onnx_bad(o, "input %d or its scale is missing", at);
    struct onnx_qsource from = {letter(i),          x,          onnx_in(o, at + 1),
                                onnx_in(o, at + 2), DT_UNKNOWN, channel_axis(q, i)};
    const char *suffix =
        i < 2 ? suffixes[i] : arena_printf(o->im->arena, o->im->err, "dequantize_%d", i);
    if (!suffix || !onnx_qparam_read(o, &from, &p) || !(v = onnx_qparam_operand(o, x, &p, suffix)))
        return false;
    if (i < MAX_TENSORS)
        q->param[i] = p;
    q->operands[q->count++] = v;
    return true;
}

static bool read_result(struct qnode *q, int scale)
{
    struct onnx_node *o = q->o;
    const struct value *zero = onnx_in(o, scale + 1);
    struct onnx_qsource from = {"result's ", NULL, onnx_in(o, scale), zero, DT_UINT8, 1};
    if (!from.scale) /* QGemm without one gives real numbers */
        return q->row->axes == AXES_GEMM ? true : onnx_bad(o, "the scale of the result is missing");
    if (!zero && q->tensors > 0) /* of the operand's type */
        from.otherwise = q->param[0].storage;
    if (!onnx_qparam_read(o, &from, &q->result))
        return false;
    if (q->result.known && q->result.q.count != 1)
        return onnx_bad(o, "the result has %d scales; one is expected", q->result.q.count);
    return true;
}

/* The accumulator's scale: the product of both operands', in float as every runtime has it. */
static bool read_bias(struct qnode *q, int at)
{
    struct onnx_node *o = q->o;
    struct value *b = onnx_in(o, at);
    const struct onnx_qparam *x = &q->param[0], *w = &q->param[1];
    if (!b)
        return true;
    if (b->dtype != DT_INT32)
        return onnx_bad(o, "the bias is of type %s; int32 is expected", dtype_name(b->dtype));
    q->bias = b;
    if (!x->known || !w->known || x->q.count != 1)
        return true;
    int count = w->q.count;
    int64_t elements = shape_elements(&b->shape);
    if (count > 1 && elements != count)
        return onnx_bad(o, "the bias has %lld elements, the weight %d scales", (long long)elements,
                        count);
    double *s = ARENA_ARRAY(o->im->arena, double, count, o->im->err);
    if (!s)
        return false;
    float alpha = q->row->axes == AXES_GEMM ? (float)onnx_float(o, "alpha", 1) : 1;
    for (int i = 0; i < count; i++) {
        s[i] = (double)(alpha * ((float)x->q.scale[0] * (float)w->q.scale[i]));
        if (!(s[i] > 0))
            return onnx_bad(o, "the scale of the bias, input times weight, is %g", s[i]);
    }
    int axis = count > 1 ? b->shape.rank - 1 : 0;
    struct onnx_qparam p = {.known = true, .storage = DT_INT32, .dtype = DT_QINT32};
    p.q = (struct quant){.scale = s, .count = count, .axis = axis};
    q->bias = onnx_qparam_operand(o, b, &p, "dequantize_bias");
    return q->bias != NULL;
}

/* The Integer operators: (q - zero point) at scale 1. */
static bool add_unscaled(struct qnode *q, int zero)
{
    static const char *const suffixes[] = {"dequantize_0", "dequantize_1"};
    for (int i = 0; i < 2; i++) {
        struct onnx_node *o = q->o;
        struct value *x = q->unscaled[i], *v;
        struct onnx_qsource from = {letter(i),         x, NULL, onnx_in(o, zero + i), DT_UNKNOWN,
                                    channel_axis(q, i)};
        if (!onnx_qparam_read(o, &from, &q->param[i]) ||
            !(v = onnx_qparam_operand(o, x, &q->param[i], suffixes[i])))
            return false;
        q->operands[q->count++] = v;
    }
    static const double one = 1;
    bool known = q->param[0].known && q->param[1].known;
    q->result = (struct onnx_qparam){.known = known, .storage = DT_INT32, .dtype = DT_QINT32};
    if (known)
        q->result.q = (struct quant){.scale = &one, .count = 1};
    return true;
}

static bool read_operands(struct qnode *q)
{
    struct onnx_node *o = q->o;
    int at = 0, result = -1, bias = -1, zero = -1, plain = 0;
    for (const char *p = q->row->operands; *p; p++) {
        switch (*p) {
        case 't':
            if (!add_tensor(q, at))
                return false;
            at += 3;
            break;
        case '*':
            for (; at + 1 < o->in_count; at += 3)
                if (!add_tensor(q, at))
                    return false;
            break;
        case 'f':
            if (!onnx_in(o, at))
                return onnx_bad(o, "input %d is missing", at);
            q->operands[q->count++] = o->in[at++];
            break;
        case 'T':
            if (!onnx_in(o, at))
                return onnx_bad(o, "input %d is missing", at);
            q->unscaled[plain++] = o->in[at++];
            break;
        case 's': result = at++; break;
        case 'b': bias = at++; break;
        case 'Z':
            zero = zero < 0 ? at : zero;
            at++;
            break;
        default: at++; break; /* z, behind s */
        }
    }
    if (q->count == 0 && plain == 0)
        return onnx_bad(o, "an operand is missing");
    return (result < 0 || read_result(q, result)) && (bias < 0 || read_bias(q, bias)) &&
           (zero < 0 || add_unscaled(q, zero));
}

/* ── translating ── */

static bool refuse_layout(struct onnx_node *o)
{
    if (!onnx_int(o, "channels_last", 0))
        return true;
    onnx_bad(o, "channels_last is set; this version reads [N, C, H, W]");
    o->im->err->code = BPU_UNSUPPORTED;
    return error_hint(o->im->err, "Save the model before the runtime optimizes its layout "
                                  "(graph optimization level basic).");
}

/* The float operator's adapter over the operands that were read. */
static bool stand_in(struct qnode *q)
{
    struct onnx_node *o = q->o;
    struct onnx_import *im = o->im;
    Onnx__NodeProto proto = *o->proto;
    char none[] = "";
    if (q->bias)
        q->operands[q->count++] = q->bias;
    char *op_type = arena_strdup(im->arena, q->row->becomes, im->err);
    if (!op_type)
        return false;
    proto.op_type = op_type;
    proto.domain = none;
    struct onnx_node f = *o;
    f.proto = &proto;
    f.in = q->operands;
    f.in_count = q->count;
    f.file_op = o->proto->op_type;
    int64_t opset = im->opset;
    if (strcmp(q->row->becomes, "Softmax") == 0) /* the node says whose meaning it has */
        im->opset = onnx_int(o, "opset", opset);
    bool ok = onnx_by_row(&f, onnx_row_find(q->row->becomes));
    im->opset = opset;
    return ok;
}

bool onnx_qlinear(struct onnx_node *o)
{
    struct qnode q = {.o = o, .row = row_of(o)};
    struct onnx_import *im = o->im;
    if (!q.row || o->proto->n_output < 1 || !o->proto->output[0][0])
        return onnx_bad(o, "%s has no result", o->proto->op_type);
    q.operands = ARENA_ARRAY(im->arena, struct value *, o->in_count + 1, im->err);
    if (!q.operands || !refuse_layout(o) || !read_operands(&q) || !stand_in(&q))
        return false;
    im->quantized_operators++;
    struct value *y = name_table_find(im->values, o->proto->output[0]);
    bool known = q.result.known || q.result.storage == DT_UNKNOWN;
    for (int i = 0; i < q.tensors && i < MAX_TENSORS; i++)
        known &= q.param[i].known;
    /* Scales that are data: the graph cannot hold them, so nothing executes the node. */
    if (y && y->producer && !known &&
        !node_set_bool(im->graph, y->producer, "undetermined", true, im->err))
        return false;
    if (!y || q.result.storage == DT_UNKNOWN)
        return true;
    return onnx_qparam_result(o, y, &q.result);
}
