/* What the adapters read with and build with. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/import/torchscript.h"
#include "core/ops/op.h"

/* ── reading ── */

/* Position of `name` in the schema; -1 if it has none. */
static int position(const char *schema, const char *name)
{
    size_t n = strlen(name);
    int i = 0;
    for (const char *s = schema; *s; i++) {
        const char *end = strchr(s, ' ');
        size_t length = end ? (size_t)(end - s) : strlen(s);
        size_t mark = strchr("@#=", *s) != NULL;
        if (length - mark == n && memcmp(s + mark, name, n) == 0)
            return i;
        s += length + (end != NULL);
    }
    return -1;
}

struct py_value *ts_arg(const struct ts_op *o, const char *name)
{
    int i = position(o->row->schema, name);
    struct py_value *v = i >= 0 && (size_t)i < o->count ? o->args[i] : NULL;
    return v && v->kind != PY_NONE ? v : NULL;
}

bool ts_is_tensor(const struct py_value *v)
{
    return v && (v->kind == PY_VALUE || v->kind == PY_TENSOR);
}

bool ts_number(const struct py_value *v, double *out)
{
    if (v->kind == PY_INT || v->kind == PY_BOOL)
        *out = (double)v->i;
    else if (v->kind == PY_FLOAT)
        *out = v->f;
    else if (v->kind == PY_TENSOR && !dtype_is_quantized(v->tensor->dtype))
        return shape_elements(&v->tensor->shape) == 1 && pickle_tensor_real(v->tensor, 0, out);
    else if (v->kind == PY_VALUE && !dtype_is_quantized(v->value->dtype))
        return shape_elements(&v->value->shape) == 1 && constant_real(v->value, 0, out);
    else
        return false;
    return true;
}

bool ts_integer(const struct py_value *v, int64_t *out)
{
    double r;
    if (v->kind == PY_INT || v->kind == PY_BOOL) {
        *out = v->i;
        return true;
    }
    if (v->kind == PY_VALUE && shape_elements(&v->value->shape) == 1 &&
        !dtype_is_float(v->value->dtype))
        return constant_int(v->value, 0, out);
    if (v->kind == PY_FLOAT || !ts_number(v, &r) || r != floor(r) || fabs(r) > 9e15)
        return false;
    *out = (int64_t)r;
    return true;
}

int64_t ts_arg_int(const struct ts_op *o, const char *name, int64_t otherwise, bool *ok)
{
    int64_t i = otherwise;
    const struct py_value *v = ts_arg(o, name);
    if (v && !ts_integer(v, &i))
        *ok = false;
    return i;
}

double ts_arg_float(const struct ts_op *o, const char *name, double otherwise, bool *ok)
{
    double r = otherwise;
    const struct py_value *v = ts_arg(o, name);
    if (v && !ts_number(v, &r))
        *ok = false;
    return r;
}

bool ts_arg_bool(const struct ts_op *o, const char *name, bool otherwise, bool *ok)
{
    return ts_arg_int(o, name, otherwise, ok) != 0;
}

bool ts_arg_ints(const struct ts_op *o, const char *name, int64_t *out, int max, int *count)
{
    const struct py_value *v = ts_arg(o, name);
    *count = -1;
    if (!v)
        return true;
    if (v->kind != PY_LIST && v->kind != PY_TUPLE) {
        *count = 1;
        return ts_integer(v, out);
    }
    if (v->count > (size_t)max)
        return false;
    *count = (int)v->count;
    for (int i = 0; i < *count; i++)
        if (!ts_integer(v->items[i], &out[i]))
            return false;
    return true;
}

enum dtype ts_dtype(int64_t code)
{
    static const enum dtype map[] = {DT_UINT8,   DT_INT8,    DT_INT16,   DT_INT32,
                                     DT_INT64,   DT_FLOAT16, DT_FLOAT32, DT_FLOAT64,
                                     DT_UNKNOWN, DT_UNKNOWN, DT_UNKNOWN, DT_BOOL,
                                     DT_QINT8,   DT_QUINT8,  DT_QINT32,  DT_BFLOAT16};
    return code >= 0 && (size_t)code < sizeof map / sizeof map[0] ? map[code] : DT_UNKNOWN;
}

struct py_value *ts_op_bad(const struct ts_op *o, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ts_bad(o->ts, BPU_BAD_MODEL, "%s: %s", o->name, text);
    return NULL;
}

/* ── building ── */

/* A tensor of the file becomes a constant once, however often it is used. */
static struct value *constant_of(struct ts_import *ts, struct py_value *v)
{
    const struct pickle_tensor *t = v->tensor;
    if (v->value)
        return v->value;
    const unsigned char *data = pickle_tensor_bytes(ts->arena, t, ts->err);
    int64_t bytes = shape_elements(&t->shape) * (int64_t)dtype_size(t->dtype);
    if (!data)
        return NULL;
    struct value *c = graph_add_constant(ts->graph, v->path ? v->path : "constant", &t->shape,
                                         t->dtype, data, (size_t)bytes, ts->err);
    if (c)
        c->quant = t->quant;
    return v->value = c;
}

struct value *ts_value(struct ts_import *ts, struct py_value *v, const struct value *like)
{
    double r;
    if (v->kind == PY_VALUE && v->stale) {
        ts_bad(ts, BPU_UNSUPPORTED,
               "the tensor \"%.100s\" was changed in part, through a view of it", v->value->name);
        error_hint(ts->err,
                   "Write the operation so that it makes a new tensor, without an operator "
                   "in place (x = x + y instead of x += y).");
        return NULL;
    }
    if (v->kind == PY_VALUE)
        return v->value;
    if (v->kind == PY_TENSOR)
        return constant_of(ts, v);
    if (!ts_number(v, &r)) {
        ts_bad(ts, BPU_UNSUPPORTED, "an operand is %s; a tensor is needed", py_kind_name(v->kind));
        return NULL;
    }
    bool real = v->kind == PY_FLOAT || !like || dtype_is_float(like->dtype) ||
                dtype_is_quantized(like->dtype) || like->dtype == DT_UNKNOWN;
    unsigned char *data = arena_alloc(ts->arena, 8, ts->err);
    if (!data)
        return NULL;
    float f = (float)r;
    if (real)
        memcpy(data, &f, sizeof f);
    else
        memcpy(data, &v->i, sizeof v->i);
    struct shape scalar = {.rank = 0};
    return graph_add_constant(ts->graph, "scalar", &scalar, real ? DT_FLOAT32 : DT_INT64, data,
                              real ? 4 : 8, ts->err);
}

/* "features.0.0" for a module of torch.nn, which is one operator; "layer1.0.add_" for what a module
 * of the user does itself. */
static const char *node_name(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    const struct py_value *self = ts->frame->self;
    const char *path = self && self->path ? self->path : "";
    const char *whole = ts->whole ? ts->whole : o->name, *op = strstr(whole, "::");
    if (ts->frame->node)
        return ts->frame->node;
    op = op ? op + 2 : whole;
    bool leaf = self && self->text && strncmp(self->text, "__torch__.torch.", 16) == 0;
    if (!path[0])
        return op;
    return leaf ? path : arena_printf(ts->arena, ts->err, "%s.%s", path, op);
}

struct node *ts_begin(struct ts_op *o, const char *op_name, const char *suffix)
{
    struct ts_import *ts = o->ts;
    const char *name = node_name(o);
    if (!suffix)
        suffix = ts->part;
    if (name && suffix)
        name = arena_printf(ts->arena, ts->err, "%s/%s", name, suffix);
    struct node *n = name ? graph_add_node(ts->graph, name, op_name, ts->err) : NULL;
    if (!n)
        return NULL;
    n->origin.source_op = ts->frame->source_op ? ts->frame->source_op
                          : ts->whole          ? ts->whole
                                               : o->name;
    n->origin.scope = ts->frame->self && ts->frame->self->path ? ts->frame->self->path : NULL;
    if (!ts_origin(ts, &n->origin))
        return NULL;
    op_bind(n);
    return n;
}

bool ts_operand(struct ts_op *o, struct node *n, struct py_value *v)
{
    const struct value *like = n->input_count ? n->inputs[0] : NULL;
    if (!v)
        return node_add_input(o->ts->graph, n, NULL, o->ts->err);
    struct value *value = ts_value(o->ts, v, like);
    return value && node_add_input(o->ts->graph, n, value, o->ts->err);
}

struct node *ts_begin_unary(struct ts_op *o, const char *op_name, const char *name)
{
    struct py_value *v = ts_arg(o, name);
    if (!v) {
        ts_op_bad(o, "the operand \"%s\" is missing", name);
        return NULL;
    }
    struct node *n = ts_begin(o, op_name, NULL);
    return n && ts_operand(o, n, v) ? n : NULL;
}

bool ts_param(struct ts_op *o, struct node *n, const char *param, struct py_value *v)
{
    if (!v || v->kind == PY_NONE)
        return true;
    struct value *value = ts_value(o->ts, v, NULL);
    return value && node_add_param(o->ts->graph, n, param, value, o->ts->err);
}

static bool attr_list(struct ts_op *o, struct node *n, const char *attr, const struct py_value *v)
{
    struct arena *a = o->ts->arena;
    struct bpu_error *err = o->ts->err;
    int64_t *ints = ARENA_ARRAY(a, int64_t, v->count + 1, err);
    double *reals = ints ? ARENA_ARRAY(a, double, v->count + 1, err) : NULL;
    bool whole = true;
    if (!reals)
        return false;
    for (size_t i = 0; i < v->count; i++) {
        whole = ts_integer(v->items[i], &ints[i]) && whole;
        if (!ts_number(v->items[i], &reals[i]))
            return ts_op_bad(o, "%s holds %s", attr, py_kind_name(v->items[i]->kind)) != NULL;
    }
    return whole ? node_set_ints(o->ts->graph, n, attr, ints, (int)v->count, err)
                 : node_set_floats(o->ts->graph, n, attr, reals, (int)v->count, err);
}

bool ts_attr(struct ts_op *o, struct node *n, const char *attr, const struct py_value *v)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    int64_t i;
    double r;
    if (!v || v->kind == PY_NONE)
        return true;
    switch (v->kind) {
    case PY_BOOL: return node_set_bool(g, n, attr, v->i, err);
    case PY_STRING: return node_set_string(g, n, attr, v->text, err);
    case PY_LIST:
    case PY_TUPLE: return attr_list(o, n, attr, v);
    default: break;
    }
    if (ts_integer(v, &i))
        return node_set_int(g, n, attr, i, err);
    if (ts_number(v, &r))
        return node_set_float(g, n, attr, r, err);
    return ts_op_bad(o, "%s is %s", attr, py_kind_name(v->kind)) != NULL;
}

/* Operators of aten on a quantized tensor keep its scale; some have a fixed one. */
static void carry_quant(struct ts_op *o, struct node *n, struct value *v)
{
    const struct value *x = node_input(n, 0);
    if (o->ts->paired || !x || x->quant.count != 1 || v->quant.count != 0 || v->dtype != x->dtype ||
        strncmp(o->name, "aten::", 6) != 0 || n->input_count != 1 || n->param_count)
        return;
    v->quant = x->quant;
    /* The range of the function decides: 0 … 1 and -1 … 1. */
    static const double unit[] = {1 / 256.}, both[] = {1 / 128.};
    static const int64_t lowest[] = {-128}, middle[] = {128};
    bool is_unsigned = x->dtype == DT_QUINT8, is_signed = x->dtype == DT_QINT8;
    const char *key = n->op ? n->op->key : "";
    if (!is_unsigned && !is_signed)
        return;
    if (strcmp(key, "sigmoid") == 0 || strcmp(key, "hard_sigmoid") == 0)
        v->quant = (struct quant){unit, is_signed ? lowest : NULL, 1, 0};
    else if (strcmp(key, "tanh") == 0)
        v->quant = (struct quant){both, is_unsigned ? middle : NULL, 1, 0};
}

struct value *ts_finish_value(struct ts_op *o, struct node *n)
{
    struct ts_import *ts = o->ts;
    struct value *v = n ? node_add_output(ts->graph, n, n->name, ts->err) : NULL;
    if (!v)
        return NULL;
    if (!op_apply(ts->graph, n, ts->err)) {
        char where[256];
        error_where(ts->err, "%s", ts_where(ts, where));
        return NULL;
    }
    carry_quant(o, n, v);
    return v;
}

struct py_value *ts_finish(struct ts_op *o, struct node *n)
{
    return ts_tensor(o->ts, ts_finish_value(o, n));
}

struct py_value *ts_finish_many(struct ts_op *o, struct node *n, int outputs, enum py_kind kind)
{
    struct ts_import *ts = o->ts;
    struct py_value *list = n ? ts_new(ts, kind) : NULL;
    for (int i = 0; list && i < outputs; i++)
        if (!ts_append(ts, list, ts_tensor(ts, node_add_output(ts->graph, n, n->name, ts->err))))
            return NULL;
    if (!list || !op_apply(ts->graph, n, ts->err))
        return NULL;
    for (int i = 0; i < outputs; i++)
        carry_quant(o, n, n->outputs[i]);
    return list;
}

static bool add_tensors(struct ts_op *o, struct node *n, struct py_value *v)
{
    if (ts_is_tensor(v))
        return ts_operand(o, n, v);
    for (size_t i = 0; (v->kind == PY_LIST || v->kind == PY_TUPLE) && i < v->count; i++)
        if (ts_is_tensor(v->items[i]) && !ts_operand(o, n, v->items[i]))
            return false;
    return true;
}

struct py_value *ts_opaque(struct ts_op *o, const char *op_name)
{
    struct ts_import *ts = o->ts;
    struct node *n = ts_begin(o, op_name, NULL);
    if (n && !o->row->torch && !o->row->adapt) { /* in no row here: nobody knows its attributes */
        n->op = NULL;
        n->op_name = op_name;
    }
    for (size_t i = 0; n && i < o->count; i++)
        if (o->args[i] && !add_tensors(o, n, o->args[i]))
            return NULL;
    /* Without its attributes the row would mean something else: nothing executes it. */
    if (n && n->op && !node_set_bool(ts->graph, n, "undetermined", true, ts->err))
        return NULL;
    return n ? ts_tensor(ts, node_add_output(ts->graph, n, n->name, ts->err)) : NULL;
}

struct value *ts_operand_of(struct ts_op *o, const char *name)
{
    struct py_value *v = ts_arg(o, name);
    if (!v)
        ts_op_bad(o, "the operand \"%s\" is missing", name);
    return v ? ts_value(o->ts, v, NULL) : NULL;
}

struct node *ts_begin_on(struct ts_op *o, const char *op_name, const char *suffix, struct value *x)
{
    struct node *n = ts_begin(o, op_name, suffix);
    return n && node_add_input(o->ts->graph, n, x, o->ts->err) ? n : NULL;
}

/* *axis within the rank of x; false with an error. */
bool ts_axis(struct ts_op *o, const struct value *x, int64_t *axis)
{
    int rank = x->shape.rank > 0 ? x->shape.rank : 1;
    if (*axis < -rank || *axis >= rank)
        return ts_op_bad(o, "axis %lld is outside the input's %d dimensions", (long long)*axis,
                         x->shape.rank) != NULL;
    if (*axis < 0)
        *axis += rank;
    return true;
}
