/* How an operator of the code is called.
 *
 * Arithmetic on numbers and questions about tensors are answered at once; the rest goes to its row,
 * arguments in the order of the schema.  An operator in place makes its result what the operand's
 * name stands for from then on. */
#include <string.h>

#include "core/import/torchscript.h"
#include "core/ops/op.h"

/* What a tensor is: scripts ask before they choose. NULL: no such question. */
static struct py_value *question(struct ts_import *ts, const char *name, struct py_value *v)
{
    struct value *x = ts_is_tensor(v) ? ts_value(ts, v, NULL) : NULL;
    if (!x)
        return NULL;
    if (strcmp(name, "is_quantized") == 0)
        return ts_bool(ts, dtype_is_quantized(x->dtype));
    if (strcmp(name, "requires_grad") == 0 || strcmp(name, "is_cuda") == 0 ||
        strcmp(name, "is_complex") == 0 || strcmp(name, "is_nested") == 0)
        return ts_bool(ts, false);
    if (strcmp(name, "is_floating_point") == 0)
        return ts_bool(ts, dtype_is_float(x->dtype));
    if (strcmp(name, "dim") == 0 || strcmp(name, "ndim") == 0)
        return x->shape.rank < 0 ? ts_new(ts, PY_UNKNOWN) : ts_int(ts, x->shape.rank);
    if (strcmp(name, "dtype") == 0)
        for (int code = 0; code < 16; code++)
            if (ts_dtype(code) == x->dtype && x->dtype != DT_UNKNOWN)
                return ts_int(ts, code);
    return NULL;
}

static bool is_one_of(const char *name, const char *const *list)
{
    while (*list && strcmp(name, *list) != 0)
        list++;
    return *list != NULL;
}

/* Operators that are no part of the network: they pass a value, or make one of Python's. */
static struct py_value *primitive(struct ts_import *ts, const char *space, const char *name,
                                  struct py_value **args, size_t count, bool *done)
{
    static const char *const passing[] = {
        "NumToTensor",    "data", "Int",           "Float",     "IntImplicit", "FloatImplicit",
        "ScalarImplicit", "item", "scalar_tensor", "as_tensor", NULL};
    static const char *const opaque[] = {"device", "layout", "dtype", "warn", "format", NULL};
    bool prim = strcmp(space, "prim") == 0;
    *done = true;
    if (prim && strcmp(name, "RaiseException") == 0) {
        ts_bad(ts, BPU_UNSUPPORTED, "the code refuses these inputs: %.200s",
               count && args[0]->kind == PY_STRING ? args[0]->text : "it raises an exception");
        error_hint(ts->err, "Give the input shapes that the network is made for (--option "
                            "input.NAME=…).");
        return NULL;
    }
    if ((!prim && strcmp(space, "aten") != 0) || count == 0)
        return *done = prim, prim ? ts_new(ts, PY_UNKNOWN) : NULL;
    struct py_value *v = count == 1 ? question(ts, name, args[0]) : NULL;
    if (v || ts->err->code != BPU_NONE)
        return v;
    if (is_one_of(name, passing)) {
        bool scalar;
        int64_t i;
        double r;
        v = ts_scalar_op(ts, name, args, 1, &scalar);
        if (scalar || !ts_is_tensor(args[0]) || strcmp(name, "data") == 0)
            return scalar ? v : args[0];
        return ts_integer(args[0], &i)  ? ts_int(ts, i)
               : ts_number(args[0], &r) ? ts_float(ts, r)
                                        : ts_new(ts, PY_UNKNOWN);
    }
    if (is_one_of(name, opaque))
        return ts_new(ts, PY_UNKNOWN);
    if (prim && (strcmp(name, "min") == 0 || strcmp(name, "max") == 0))
        return ts_scalar_op(ts, name, args, count, done);
    if (strcmp(name, "append") == 0 && count == 2 && args[0]->kind == PY_LIST)
        return ts_append(ts, args[0], args[1]) ? args[0] : NULL;
    if (strcmp(name, "__getitem__") == 0 && count == 2 && args[1]->kind == PY_INT &&
        (args[0]->kind == PY_LIST || args[0]->kind == PY_TUPLE)) {
        int64_t i = args[1]->i < 0 ? args[1]->i + (int64_t)args[0]->count : args[1]->i;
        if (i >= 0 && i < (int64_t)args[0]->count)
            return args[0]->items[i];
    }
    *done = false;
    return NULL;
}

static int schema_position(const char *schema, const char *name)
{
    struct ts_row row = {.schema = schema};
    struct py_value mark = {.kind = PY_BOOL}, *slots[64];
    struct ts_op o = {.row = &row, .args = slots, .count = 0};
    for (int i = 0; i < 64; i++) {
        slots[i] = &mark;
        o.count = (size_t)i + 1;
        if (ts_arg(&o, name))
            return i;
    }
    return -1;
}

/* Arguments into the order of the schema. */
static bool place(struct ts_op *o, struct py_value **args, const char **names, size_t count)
{
    size_t slots = 1;
    for (const char *s = o->row->schema; *s; s++)
        slots += *s == ' ';
    o->args = ARENA_ARRAY(o->ts->arena, struct py_value *, slots + count, o->ts->err);
    if (!o->args)
        return false;
    for (size_t i = 0; i < count; i++) {
        int at = names && names[i] ? schema_position(o->row->schema, names[i]) : (int)i;
        if (at < 0) /* an argument of no consequence (device, generator), or a new one */
            continue;
        o->args[at] = args[i];
        if ((size_t)at + 1 > o->count)
            o->count = (size_t)at + 1;
    }
    return true;
}

/* True if every marked attribute is known. */
static bool marks_known(const struct ts_op *o)
{
    size_t i = 0;
    for (const char *s = o->row->schema; s && i < o->count; i++) {
        const struct py_value *v = o->args[i];
        if (*s == '=' && v && v->kind == PY_UNKNOWN)
            return false;
        s = strchr(s, ' ');
        if (s)
            s++;
    }
    return true;
}

static struct py_value *plain(struct ts_op *o)
{
    char name[48];
    if (!marks_known(o))
        return ts_opaque(o, o->row->torch);
    struct node *n = ts_begin(o, o->row->torch, NULL);
    size_t i = 0;
    for (const char *s = o->row->schema; n && s && *s; i++) {
        const char *end = strchr(s, ' ');
        size_t length = end ? (size_t)(end - s) : strlen(s);
        struct py_value *v = i < o->count ? o->args[i] : NULL;
        memcpy(name, s + 1, length - 1);
        name[length - 1] = '\0';
        if (*s == '@' && !v)
            return ts_op_bad(o, "the operand \"%s\" is missing", name);
        if ((*s == '@' && !ts_operand(o, n, v)) || (*s == '#' && !ts_param(o, n, name, v)) ||
            (*s == '=' && !ts_attr(o, n, name, v)))
            return NULL;
        s = end ? end + 1 : NULL;
    }
    return n ? ts_finish(o, n) : NULL;
}

static bool is_view(const char *name)
{
    static const char *const views[] = {
        "select",   "slice",     "narrow", "view",      "reshape", "permute", "transpose",
        "swapaxes", "swapdims",  "t",      "unsqueeze", "squeeze", "expand",  "expand_as",
        "flatten",  "unflatten", "detach", "chunk",     "split",   "unbind",  "contiguous"};
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
        if (strcmp(name, views[i]) == 0)
            return true;
    return false;
}

/* An operator in place: its operand is the result from now on, and what it is a view of has changed
 * too. */
static struct py_value *in_place(struct py_value *self, struct py_value *result)
{
    if (self->kind != PY_VALUE || result->kind != PY_VALUE || self == result)
        return result;
    struct node *n = result->value->producer;
    bool changes = n && n->fold != FOLD_IDENTITY;
    self->value = result->value;
    for (struct py_value *b = self->base; b && changes; b = b->base)
        b->stale = true;
    return self;
}

struct py_value *ts_call_operator(struct ts_import *ts, const char *space, const char *name,
                                  struct py_value **args, const char **names, size_t count)
{
    bool done;
    struct py_value *v = NULL;
    if (!ts->frame)
        return NULL;
    if (strcmp(space, "aten") == 0) {
        v = ts_scalar_op(ts, name, args, count, &done);
        if (done)
            return v;
    }
    v = primitive(ts, space, name, args, count, &done);
    if (done)
        return v;
    struct ts_op o = {.ts = ts};
    size_t length = strlen(name);
    bool writes = length > 1 && name[length - 1] == '_' && name[0] != '_';
    o.name = arena_printf(ts->arena, ts->err, "%s::%s", space, name);
    char *bare = o.name ? arena_strndup(ts->arena, name, length - writes, ts->err) : NULL;
    if (!bare)
        return NULL;
    static const struct ts_row outside = {"", NULL, "", NULL};
    o.row = ts_row_find(space, bare);
    if (!o.row) {
        o.row = &outside;
        o.args = args;
        o.count = count;
        v = ts_opaque(&o, o.name);
    } else if (!place(&o, args, names, count))
        return NULL;
    else
        v = o.row->adapt ? o.row->adapt(&o) : plain(&o);
    if (v && v->kind == PY_VALUE && count && args[0]->kind == PY_VALUE && v != args[0] &&
        !v->base && is_view(bare))
        v->base = args[0];
    bool own = o.row->adapt == ts_fill || o.row->adapt == ts_copy;
    return v && writes && count && !own ? in_place(args[0], v) : v;
}
