/* Scales and zero points: what the standard allows is read, what the graph cannot say is refused by
 * name.
 *
 * The graph has no unsigned 16-bit type. q of uint16 with zero point z means the same as q - 32768
 * of int16 with zero point z - 32768, so that is what the graph gets. */
#include "core/import/onnx_qparam.h"

#include <math.h>
#include <string.h>

#include "core/ops/op.h"

enum { UINT16_SHIFT = 32768 };

enum dtype onnx_qparam_dtype(enum dtype t)
{
    switch (t) {
    case DT_UINT8:
    case DT_QUINT8: return DT_QUINT8;
    case DT_INT8:
    case DT_QINT8: return DT_QINT8;
    case DT_INT16:
    case DT_UINT16:
    case DT_QINT16: return DT_QINT16;
    case DT_INT32:
    case DT_QINT32: return DT_QINT32;
    default: return DT_UNKNOWN;
    }
}

static bool unsupported(const struct onnx_node *o, const struct onnx_qsource *from,
                        const char *part, const struct value *v)
{
    onnx_bad(o, "%s%s is of type %s; int8, uint8, int16, uint16 and int32 are read", from->what,
             part,
             v->dtype == DT_UNKNOWN ? "int4, uint4, float8 or another that has no form here"
                                    : dtype_name(v->dtype));
    o->im->err->code = BPU_UNSUPPORTED;
    return error_hint(o->im->err, "Quantize with 8-bit integers: the BPU computes with int8.");
}

/* The type of the integers: the zero point names it, else the tensor does. */
static bool read_storage(struct onnx_node *o, const struct onnx_qsource *from,
                         struct onnx_qparam *p)
{
    const struct value *x = from->x;
    bool has_type = x && x->dtype != DT_UNKNOWN && !dtype_is_float(x->dtype);
    p->storage = from->zero ? from->zero->dtype : from->otherwise;
    if (from->zero && onnx_qparam_dtype(p->storage) == DT_UNKNOWN)
        return unsupported(o, from, "zero_point", from->zero);
    if (!from->zero && has_type && from->otherwise == DT_UNKNOWN)
        p->storage = x->dtype;
    p->dtype = onnx_qparam_dtype(p->storage);
    bool open =
        !x || (x->dtype == DT_UNKNOWN && !x->constant); /* of an operator that is not known */
    return p->dtype != DT_UNKNOWN || open || unsupported(o, from, "tensor", x);
}

static bool read_one(struct onnx_node *o, const struct onnx_qsource *from, int64_t count, int64_t i,
                     struct onnx_qparam *p, double *scale, int64_t *zero)
{
    *scale = 1;
    if (from->scale &&
        (!constant_real(from->scale, i, scale) || !isfinite(*scale) || *scale <= 0)) {
        onnx_bad(o, "%sscale %lld is %g; a scale is a positive, finite number", from->what,
                 (long long)i, *scale);
        return error_hint(o->im->err,
                          "Calibrate this tensor again; one that is always 0 gets a scale "
                          "from a lower bound.");
    }
    const struct value *x = from->x;
    *zero = 0;
    if (!from->zero && x && x->dtype == DT_QINT16 && x->quant.zero_point) /* it was uint16 */
        *zero = x->quant.zero_point[0] == -UINT16_SHIFT ? -UINT16_SHIFT : 0;
    int64_t zeros = from->zero ? shape_elements(&from->zero->shape) : 0;
    if (from->zero && !constant_int(from->zero, zeros == count ? i : 0, zero))
        return onnx_bad(o, "%szero_point %lld cannot be read", from->what, (long long)i);
    if (p->storage == DT_UINT16)
        *zero -= UINT16_SHIFT;
    return true;
}

static bool refuse_blocks(struct onnx_node *o, const struct onnx_qsource *from)
{
    char text[SHAPE_TEXT_MAX];
    onnx_bad(o, "%sscale has the shape %s; one scale, or one per channel, is read", from->what,
             shape_text(&from->scale->shape, text));
    o->im->err->code = BPU_UNSUPPORTED;
    return error_hint(o->im->err,
                      "Quantize without block_size: per tensor, or weights per channel.");
}

/* One, or as many as the axis has. */
static bool read_count(struct onnx_node *o, const struct onnx_qsource *from, int64_t *count,
                       int *axis)
{
    const struct shape *x = from->x ? &from->x->shape : NULL;
    int64_t scales = from->scale ? shape_elements(&from->scale->shape) : 1;
    int64_t zeros = from->zero ? shape_elements(&from->zero->shape) : 1, at = from->axis;
    bool ranked = x && x->rank >= 0;
    *count = from->scale ? scales : zeros;
    *axis = 0;
    if (*count < 1 || *count > INT32_MAX)
        return onnx_bad(o, "%sscale is empty", from->what);
    if (zeros != 1 && zeros != *count) {
        onnx_bad(o, "%szero_point has %lld elements, %sscale %lld", from->what, (long long)zeros,
                 from->what, (long long)scales);
        return error_hint(o->im->err, "Give each scale its zero point, or one to all.");
    }
    if (*count == 1)
        return true;
    if (from->scale && from->scale->shape.rank != 1)
        return refuse_blocks(o, from);
    if (at < 0 && ranked)
        at += x->rank;
    if (at < 0 || at >= (ranked ? x->rank : SHAPE_MAX_RANK) || (ranked && x->dim[at] != *count)) {
        onnx_bad(o, "%lld scales do not fit axis %lld of the operand", (long long)*count,
                 (long long)at);
        return error_hint(o->im->err, "Give one scale, or one for each place of that axis.");
    }
    *axis = (int)at;
    return true;
}

bool onnx_qparam_read(struct onnx_node *o, const struct onnx_qsource *from, struct onnx_qparam *p)
{
    struct onnx_import *im = o->im;
    const struct value *scale = from->scale, *zero = from->zero;
    memset(p, 0, sizeof *p);
    if (!read_storage(o, from, p))
        return false;
    if (scale && !dtype_is_float(scale->dtype) && scale->dtype != DT_UNKNOWN)
        return onnx_bad(o, "%sscale is of type %s; a real number is needed", from->what,
                        dtype_name(scale->dtype));
    p->known = p->dtype != DT_UNKNOWN && (!scale || value_is_known(scale)) &&
               (!zero || value_is_known(zero));
    if (!p->known)
        return true;
    int64_t count;
    int axis;
    if (!read_count(o, from, &count, &axis))
        return false;
    double *s = ARENA_ARRAY(im->arena, double, count, im->err);
    int64_t *z = s ? ARENA_ARRAY(im->arena, int64_t, count, im->err) : NULL;
    if (!z)
        return false;
    bool any = false;
    for (int64_t i = 0; i < count; i++) {
        if (!read_one(o, from, count, i, p, &s[i], &z[i]))
            return false;
        any = any || z[i] != 0;
    }
    p->q =
        (struct quant){.scale = s, .zero_point = any ? z : NULL, .count = (int)count, .axis = axis};
    return true;
}

bool onnx_qparam_equal(const struct quant *a, const struct quant *b)
{
    if (a->count != b->count || (a->count > 1 && a->axis != b->axis))
        return false;
    for (int i = 0; i < a->count; i++)
        if (a->scale[i] != b->scale[i] ||
            (a->zero_point ? a->zero_point[i] : 0) != (b->zero_point ? b->zero_point[i] : 0))
            return false;
    return true;
}

const void *onnx_qparam_integers(struct onnx_node *o, const struct value *x,
                                 const struct onnx_qparam *p)
{
    const struct constant *c = x->constant;
    if (p->storage != DT_UINT16 || x->dtype != DT_UINT16 || !c->data)
        return c->data;
    size_t n = c->bytes / 2;
    if (!op_fold_affordable(o->im->graph, (int64_t)n))
        return NULL;
    unsigned char *out = arena_alloc(o->im->arena, c->bytes, o->im->err);
    for (size_t i = 0; out && i < n; i++) {
        out[2 * i] = c->data[2 * i];
        out[2 * i + 1] = c->data[2 * i + 1] ^ 0x80; /* q - 32768 */
    }
    return out;
}

/* A node that only carries p over v. */
static struct node *carrier(struct onnx_node *o, struct value *v, const struct onnx_qparam *p,
                            const char *suffix)
{
    struct node *n = onnx_begin(o, "torch.quantization.DeQuantStub", suffix);
    struct value *y = n && onnx_operand(o, n, v) ? onnx_inner(o, n) : NULL;
    if (!y)
        return NULL;
    y->shape = v->shape;
    y->dtype = p->dtype;
    y->quant = p->q;
    n->fold = FOLD_QUANT;
    return n;
}

static bool make_constant(struct onnx_node *o, struct node *n, const struct value *v,
                          const struct onnx_qparam *p)
{
    struct constant *c = ARENA_NEW(o->im->arena, struct constant, o->im->err);
    const void *data = c ? onnx_qparam_integers(o, v, p) : NULL;
    if (o->im->err->code != BPU_NONE)
        return false;
    *c = (struct constant){data, v->constant->bytes};
    n->outputs[0]->constant = c;
    n->fold = FOLD_CONSTANT;
    return true;
}

struct value *onnx_qparam_operand(struct onnx_node *o, struct value *v, const struct onnx_qparam *p,
                                  const char *suffix)
{
    enum dtype have = onnx_qparam_dtype(v->dtype);
    bool plain = v->dtype != DT_UNKNOWN && !dtype_is_quantized(v->dtype);
    if (v->dtype != DT_UNKNOWN && p->dtype != DT_UNKNOWN &&
        (have != p->dtype || (plain && v->dtype != p->storage))) {
        onnx_bad(o, "operand \"%.200s\" is of type %s, its zero point of type %s", v->name,
                 dtype_name(v->dtype), dtype_name(p->storage));
        error_hint(o->im->err, "A tensor and its zero point have the same type.");
        return NULL;
    }
    if (!p->known)
        return v;
    if (v->constant) {
        if (!plain && onnx_qparam_equal(&v->quant, &p->q))
            return v;
        struct node *n = carrier(o, v, p, suffix);
        return n && make_constant(o, n, v, p) ? n->outputs[0] : NULL;
    }
    if (v->quant.count == 0) {
        v->dtype = p->dtype;
        v->quant = p->q;
        return name_table_put(o->im->integers, v->name, v, o->im->err) ? v : NULL;
    }
    if (onnx_qparam_equal(&v->quant, &p->q))
        return v;
    struct node *n = carrier(o, v, p, suffix);
    return n ? n->outputs[0] : NULL;
}

bool onnx_qparam_result(struct onnx_node *o, struct value *v, const struct onnx_qparam *p)
{
    v->dtype = p->known ? p->dtype : p->storage;
    v->quant = p->q;
    return name_table_put(o->im->integers, v->name, v, o->im->err);
}

/* Operators that move, pick or pool integers hand on what they are. */
bool onnx_is_integer(struct onnx_import *im, struct value *v)
{
    enum { FAR = 64 };
    for (int hops = 0; v && hops < FAR; hops++) {
        const struct node *n = v->producer;
        if (name_table_find(im->integers, v->name) == v)
            return true;
        if (!n || !n->op || n->op->class == OPC_QUANT || !node_input(n, 0))
            return false;
        v = n->inputs[0];
    }
    return false;
}

double onnx_real_of_integer(const struct value *x, int64_t q, double otherwise)
{
    if (x->quant.count != 1)
        return otherwise;
    return x->quant.scale[0] *
           ((double)q - (x->quant.zero_point ? (double)x->quant.zero_point[0] : 0));
}

double onnx_real_of(const struct onnx_node *o, const struct value *v, double real)
{
    const struct value *x = onnx_in(o, 0);
    int64_t q;
    if (!v || !x || onnx_qparam_dtype(v->dtype) == DT_UNKNOWN || dtype_is_quantized(v->dtype) ||
        !dtype_is_quantized(x->dtype) || !constant_int(v, 0, &q))
        return real;
    return onnx_real_of_integer(x, v->dtype == DT_UINT16 ? q - UINT16_SHIFT : q, real);
}
