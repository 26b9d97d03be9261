/* infer: reading operands and attributes, writing outputs, broadcasting, and type promotion.
 *
 * Everything that makes a message uniform is here: where (the node), what (operator, operand,
 * shape) and what to do. */
#include "core/ops/infer.h"

#include <stdio.h>
#include <string.h>

static const struct shape unknown_shape = {.rank = -1};

bool infer_bad(const struct node *n, struct bpu_error *err, const char *hint, const char *fmt, ...)
{
    char text[sizeof(err->message)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    error_set(err, BPU_BAD_SHAPE, n->name, "%s: %s", n->op ? n->op->name : n->op_name, text);
    if (hint)
        error_hint(err, "%s", hint);
    return false;
}

const struct shape *infer_shape(const struct node *n, int i)
{
    const struct value *v = node_input(n, i);
    return v ? &v->shape : &unknown_shape;
}

enum dtype infer_dtype(const struct node *n, int i)
{
    const struct value *v = node_input(n, i);
    return v ? v->dtype : DT_UNKNOWN;
}

bool infer_from_onnx(const struct node *n)
{
    return n->origin.source_op && strncmp(n->origin.source_op, "onnx:", 5) == 0;
}

bool infer_check_size(const struct node *n, const char *what, const struct shape *s,
                      struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    if (s->rank < 0)
        return true;
    if (s->rank > SHAPE_MAX_RANK)
        return infer_bad(n, err, NULL, "%s has rank %d; more than %d cannot be held", what, s->rank,
                         SHAPE_MAX_RANK);
    int64_t count = 1;
    bool big = false, empty = false;
    for (int i = 0; i < s->rank; i++) {
        int64_t d = s->dim[i];
        if (d < -1)
            return infer_bad(n, err, NULL, "%s has the negative extent %lld on axis %d", what,
                             (long long)d, i);
        big |= d > INFER_MAX_ELEMENTS;
        empty |= d == 0;
        if (d > 0 && !big)
            big |= !checked_mul(count, d, &count) || count > INFER_MAX_ELEMENTS;
    }
    /* An empty tensor has no elements however large its other extents are, but an extent alone must
     * stay in range. */
    if (big && empty) {
        big = false;
        for (int i = 0; i < s->rank; i++)
            big |= s->dim[i] > INFER_MAX_ELEMENTS;
    }
    if (!big)
        return true;
    return infer_bad(n, err, "Check the shape that was given for the input, and the attributes.",
                     "%s of shape %s would have more than 2^40 elements", what,
                     shape_text(s, text));
}

bool infer_out(struct node *n, int i, const struct shape *s, enum dtype t, struct bpu_error *err)
{
    if (i >= n->output_count || !n->outputs[i])
        return true;
    if (!infer_check_size(n, "the result", s, err))
        return false;
    struct value *v = n->outputs[i];
    struct shape merged = *s;
    if (merged.rank < 0) {
        merged = v->shape;
    } else if (v->shape.rank == merged.rank) {
        for (int k = 0; k < merged.rank; k++)
            if (merged.dim[k] < 0)
                merged.dim[k] = v->shape.dim[k];
    }
    v->shape = merged;
    if (v->dtype == DT_UNKNOWN)
        v->dtype = t;
    return true;
}

bool infer_out_unknown(struct node *n, int first, enum dtype t, struct bpu_error *err)
{
    for (int i = first; i < n->output_count; i++)
        if (!infer_out(n, i, &unknown_shape, t, err))
            return false;
    return true;
}

void infer_carry_quant(struct node *n, int i, int j, const int *axis_map)
{
    const struct value *in = node_input(n, j);
    if (!in || in->quant.count == 0 || i >= n->output_count || !n->outputs[i])
        return;
    struct value *out = n->outputs[i];
    if (out->quant.count != 0 || out->dtype != in->dtype)
        return;
    if (in->quant.count == 1) {
        out->quant = in->quant;
    } else if (axis_map && in->quant.axis >= 0 && in->quant.axis < in->shape.rank &&
               axis_map[in->quant.axis] >= 0) {
        out->quant = in->quant;
        out->quant.axis = axis_map[in->quant.axis];
    }
}

bool infer_axis(const struct node *n, const char *what, int64_t axis, int rank, int *out,
                struct bpu_error *err)
{
    int span = rank > 0 ? rank : 1;
    if (axis < -span || axis >= span)
        return infer_bad(n, err, "Axes count from 0, or from -1 backwards.",
                         "%s %lld is out of range; a tensor of rank %d allows %d..%d", what,
                         (long long)axis, rank, -span, span - 1);
    *out = (int)(axis < 0 ? axis + span : axis);
    return true;
}

bool infer_ints(const struct node *n, const char *name, int64_t *out, int max, int *count,
                struct bpu_error *err)
{
    const struct attr *a = node_attr(n, name);
    *count = -1;
    if (!a || a->kind == ATTR_NONE)
        return true;
    if (a->kind == ATTR_INT || a->kind == ATTR_BOOL) {
        out[0] = a->i;
        *count = 1;
        return true;
    }
    /* An empty list has no element type: readers of JSON may call it either. */
    if (a->count == 0 && (a->kind == ATTR_INTS || a->kind == ATTR_FLOATS)) {
        *count = 0;
        return true;
    }
    if (a->kind != ATTR_INTS)
        return infer_bad(n, err, NULL, "attribute %s must be an integer or a list of integers",
                         name);
    if (a->count > max)
        return infer_bad(n, err, NULL, "attribute %s has %d entries; at most %d make sense here",
                         name, a->count, max);
    for (int i = 0; i < a->count; i++)
        out[i] = a->ints[i];
    *count = a->count;
    return true;
}

bool infer_tuple(const struct node *n, const char *name, int k, int64_t fallback, int64_t *out,
                 struct bpu_error *err)
{
    int64_t list[SHAPE_MAX_RANK];
    int count;
    if (!infer_ints(n, name, list, SHAPE_MAX_RANK, &count, err))
        return false;
    if (count > 1 && count != k)
        return infer_bad(n, err, NULL, "attribute %s has %d entries; one or %d are needed", name,
                         count, k);
    for (int i = 0; i < k; i++)
        out[i] = count <= 0 ? fallback : list[count == 1 ? 0 : i];
    return true;
}

bool infer_axes(const struct node *n, const char *name, int rank, unsigned *set, bool *all,
                struct bpu_error *err)
{
    int64_t list[SHAPE_MAX_RANK];
    int count, axis = 0;
    *set = 0;
    if (!infer_ints(n, name, list, SHAPE_MAX_RANK, &count, err))
        return false;
    *all = count <= 0;
    for (int i = 0; i < count; i++) {
        if (!infer_axis(n, name, list[i], rank, &axis, err))
            return false;
        if (*set & 1u << axis)
            return infer_bad(n, err, NULL, "%s names axis %d twice", name, axis);
        *set |= 1u << axis;
    }
    return true;
}

void infer_const_ints(const struct node *n, int i, int64_t *out, int max, int *count)
{
    const struct value *v = node_input(n, i);
    *count = -1;
    if (!v || !value_is_known(v))
        return;
    int64_t elements = shape_elements(&v->shape);
    if (elements < 0 || elements > max)
        return;
    for (int64_t k = 0; k < elements; k++)
        if (!constant_int(v, k, &out[k]))
            return;
    *count = (int)elements;
}

bool infer_dtype_attr(const struct node *n, const char *name, enum dtype otherwise, enum dtype *out,
                      struct bpu_error *err)
{
    const char *text = node_string(n, name, NULL);
    *out = otherwise;
    if (!text)
        return true;
    if (strncmp(text, "torch.", 6) == 0)
        text += 6;
    if (strcmp(text, "float") == 0)
        *out = DT_FLOAT32;
    else if (strcmp(text, "double") == 0)
        *out = DT_FLOAT64;
    else if (strcmp(text, "half") == 0)
        *out = DT_FLOAT16;
    else if (strcmp(text, "long") == 0)
        *out = DT_INT64;
    else if (strcmp(text, "int") == 0)
        *out = DT_INT32;
    else if (!dtype_find(text, out) || *out == DT_UNKNOWN)
        return infer_bad(n, err, "Data types are qint8, qint16, float32, int64, bool …",
                         "attribute %s names the unknown data type \"%.40s\"", name, text);
    return true;
}

bool infer_broadcast(const struct shape *a, const struct shape *b, struct shape *out)
{
    if (a->rank < 0 || b->rank < 0) {
        *out = shape_unknown();
        return true;
    }
    struct shape r = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 0; i < r.rank; i++) {
        int ia = a->rank - r.rank + i, ib = b->rank - r.rank + i;
        int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
        if (da == db || db == 1)
            r.dim[i] = da;
        else if (da == 1)
            r.dim[i] = db;
        else if (da < 0 || db < 0)
            r.dim[i] = da < 0 ? db : da; /* the unknown one can only be 1 or the same */
        else
            return false;
    }
    *out = r;
    return true;
}

/* 0 unknown, 1 bool, 2 integer, 3 float, 4 quantized: the kind decides before the width does. */
static int dtype_kind(enum dtype t)
{
    if (t == DT_UNKNOWN)
        return 0;
    if (dtype_is_quantized(t))
        return 4;
    if (dtype_is_float(t))
        return 3;
    return t == DT_BOOL ? 1 : 2;
}

enum dtype infer_promote(enum dtype a, bool a_scalar, enum dtype b, bool b_scalar)
{
    int ka = dtype_kind(a), kb = dtype_kind(b);
    if (a == b)
        return a;
    if (ka == 0 || kb == 0)
        return ka == 4 ? a : kb == 4 ? b : DT_UNKNOWN;
    if (ka != kb)
        return ka > kb ? (ka == 3 && a_scalar && !b_scalar ? DT_FLOAT32 : a)
                       : (kb == 3 && b_scalar && !a_scalar ? DT_FLOAT32 : b);
    if (a_scalar != b_scalar)
        return a_scalar ? b : a;
    if (ka == 4) /* qbool gives way to numbers, then the wider one wins */
        return a == DT_QBOOL ? b : b == DT_QBOOL ? a : dtype_size(a) >= dtype_size(b) ? a : b;
    if (dtype_size(a) != dtype_size(b)) {
        enum dtype wide = dtype_size(a) > dtype_size(b) ? a : b;
        return wide;
    }
    if (ka == 3) /* float16 with bfloat16 */
        return DT_FLOAT32;
    switch (dtype_size(a)) { /* signed with unsigned of one width: the next wider signed type */
    case 1: return DT_INT16;
    case 2: return DT_INT32;
    default: return DT_INT64;
    }
}

enum dtype infer_truth(enum dtype t)
{
    return dtype_is_quantized(t) ? DT_QBOOL : DT_BOOL;
}

int64_t infer_slice(int64_t extent, int64_t *start, int64_t end, int64_t step)
{
    int64_t s = *start < 0 ? (*start < -extent ? -1 - extent : *start) + extent : *start;
    int64_t e = end < 0 ? (end < -extent ? -1 - extent : end) + extent : end;
    /* s and e are now -1 when they lie before the first element */
    if (step > 0) {
        s = s < 0 ? 0 : s > extent ? extent : s;
        e = e < 0 ? 0 : e > extent ? extent : e;
        *start = s;
        return e <= s ? 0 : (e - s - 1) / step + 1;
    }
    s = s > extent - 1 ? extent - 1 : s;
    e = e > extent - 1 ? extent - 1 : e;
    *start = s < 0 ? 0 : s;
    if (s <= e || step == INT64_MIN)
        return s > e ? 1 : 0;
    return (s - e - 1) / -step + 1;
}

bool infer_quant_equal(const struct quant *a, const struct quant *b)
{
    if (a->count != b->count || (a->count > 1 && a->axis != b->axis))
        return false;
    for (int i = 0; i < a->count; i++) {
        int64_t za = a->zero_point ? a->zero_point[i] : 0,
                zb = b->zero_point ? b->zero_point[i] : 0;
        if (a->scale[i] != b->scale[i] || za != zb)
            return false;
    }
    return true;
}

bool infer_fused(const struct node *n, const struct shape *out, struct bpu_error *err)
{
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const char *activation = node_string(n, "activation", NULL);
    if (activation && strcmp(activation, "relu") != 0 && strcmp(activation, "relu6") != 0)
        return infer_bad(n, err, "Activations are relu and relu6; leave it out for none.",
                         "activation is \"%.40s\"", activation);
    const struct shape *residual = infer_shape(n, 1);
    bool fits = residual->rank < 0 || out->rank < 0 || residual->rank == out->rank;
    for (int i = 0; fits && i < residual->rank && i < out->rank; i++)
        fits = residual->dim[i] < 0 || out->dim[i] < 0 || residual->dim[i] == out->dim[i];
    if (fits)
        return true;
    return infer_bad(n, err, "The operand that is added needs the shape of the result.",
                     "input 1, the residual, has shape %s, the result %s",
                     shape_text(residual, ta), shape_text(out, tb));
}
