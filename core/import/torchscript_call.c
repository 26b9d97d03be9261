/* What a call means: a submodule, a function of the archive, a builtin, or an operator. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/import/torchscript.h"

enum { MAX_ARGS = 64 };

struct call {
    struct py_value *args[MAX_ARGS];
    const char *names[MAX_ARGS];
    size_t count;
};

static bool evaluate_args(struct ts_import *ts, const struct ts_expr *e, size_t from,
                          struct call *c)
{
    c->count = 0;
    for (size_t i = from; i < e->count; i++) {
        if (c->count == MAX_ARGS)
            return ts_bad(ts, BPU_LIMIT, "a call has more than %d arguments", MAX_ARGS);
        struct py_value *v = ts_eval(ts, e->items[i]);
        if (!v)
            return false;
        c->names[c->count] = e->names[i];
        c->args[c->count++] = v;
    }
    if (ts->frame) /* the arguments had calls of their own */
        ts->frame->at = e->at;
    return true;
}

/* ── builtins ── */

static struct py_value *convert(struct ts_import *ts, const char *to, struct py_value *v)
{
    double r;
    int64_t i;
    bool known;
    if (strcmp(to, "bool") == 0) {
        bool yes = ts_truth(v, &known);
        return known ? ts_bool(ts, yes) : v; /* v tells whether data or a shape decides */
    }
    if (strcmp(to, "int") == 0) {
        if (ts_integer(v, &i))
            return ts_int(ts, i);
        if (ts_number(v, &r) && fabs(r) < 9e18)
            return ts_int(ts, (int64_t)r);
    } else if (v->kind == PY_STRING) { /* float("inf") */
        char *end;
        r = strtod(v->text, &end);
        if (end != v->text && !*end)
            return ts_float(ts, r);
    } else if (ts_number(v, &r))
        return ts_float(ts, r);
    return ts_new(ts, PY_UNKNOWN);
}

static struct py_value *builtin(struct ts_import *ts, const char *name, const struct ts_expr *e,
                                bool *known)
{
    *known = true;
    if ((strcmp(name, "annotate") == 0 || strcmp(name, "unchecked_cast") == 0) && e->count == 3)
        return ts_eval(ts, e->items[2]); /* items[1] is a type */
    if (strcmp(name, "uninitialized") == 0)
        return ts_new(ts, PY_UNKNOWN);
    if (strcmp(name, "isinstance") == 0)
        return ts_new(ts, PY_UNKNOWN);
    struct call c;
    if (!evaluate_args(ts, e, 1, &c))
        return NULL;
    if (strcmp(name, "getattr") == 0 && c.count == 2 && c.args[1]->kind == PY_STRING)
        return ts_get_attr(ts, c.args[0], c.args[1]->text);
    if (c.count == 1 &&
        (strcmp(name, "int") == 0 || strcmp(name, "float") == 0 || strcmp(name, "bool") == 0))
        return convert(ts, name, c.args[0]);
    if (c.count == 1 && strcmp(name, "str") == 0)
        return c.args[0]->kind == PY_STRING ? c.args[0] : ts_new(ts, PY_UNKNOWN);
    if (strcmp(name, "len") == 0 && c.count == 1)
        return ts_call_operator(ts, "aten", "len", c.args, NULL, 1);
    *known = false;
    return NULL;
}

/* ── methods and functions ── */

static struct py_value *method(struct ts_import *ts, const struct ts_expr *e)
{
    const struct ts_expr *callee = e->items[0];
    struct py_value *object = ts_eval(ts, callee->items[0]);
    struct call c;
    if (!object || !evaluate_args(ts, e, 1, &c))
        return NULL;
    if (object->kind == PY_PACKED && strcmp(callee->text, "unpack") == 0) {
        struct py_value *pair = ts_new(ts, PY_TUPLE);
        return pair && ts_append(ts, pair, object->items[0]) &&
                       ts_append(ts, pair, object->items[1])
                   ? pair
                   : NULL;
    }
    if (object->kind != PY_OBJECT) {
        ts_bad(ts, BPU_UNSUPPORTED, "the method \"%.100s\" of %s is not read", callee->text,
               py_kind_name(object->kind));
        return NULL;
    }
    struct ts_class *class = ts_class_find(ts, object->text);
    struct ts_function *f = class ? name_table_find(class->methods, callee->text) : NULL;
    if (!f) {
        ts_bad(ts, BPU_BAD_MODEL,
               "the method \"%.100s\" of %.200s is called, but the archive has no "
               "code for it",
               callee->text, object->text);
        return NULL;
    }
    return ts_call_function(ts, f, object, c.args, c.count);
}

/* A function of the archive, or a named tuple made of its items. */
static struct py_value *function(struct ts_import *ts, const char *name, struct call *c)
{
    struct ts_function *f = ts_function_find(ts, name);
    if (f)
        return ts_call_function(ts, f, NULL, c->args, c->count);
    if (ts->err->code != BPU_NONE)
        return NULL;
    struct ts_class *class = ts_class_find(ts, name);
    if (class && !name_table_find(class->methods, "__init__")) {
        struct py_value *v = ts_new(ts, PY_TUPLE);
        for (size_t i = 0; v && i < c->count; i++)
            if (!ts_append(ts, v, c->args[i]))
                return NULL;
        return v;
    }
    if (class)
        ts_bad(ts, BPU_UNSUPPORTED, "an object of %.200s is made while running", name);
    else
        ts_bad(ts, BPU_BAD_MODEL, "%.200s is called, but the archive has no code for it", name);
    return NULL;
}

struct py_value *ts_eval_call(struct ts_import *ts, const struct ts_expr *e)
{
    const struct ts_expr *callee = e->items[0];
    const char *name = ts_dotted(ts, callee);
    if (ts->err->code != BPU_NONE)
        return NULL;
    if (name && !strchr(name, '.')) {
        bool known;
        struct py_value *v = builtin(ts, name, e, &known);
        if (!known)
            ts_bad(ts, BPU_UNSUPPORTED, "the function \"%.100s\" is not read", name);
        return v;
    }
    if (name) {
        struct call c;
        if (!evaluate_args(ts, e, 1, &c))
            return NULL;
        if (strncmp(name, "__torch__.", 10) == 0)
            return function(ts, name, &c);
        if (strncmp(name, "torch.", 6) == 0 && !strchr(name + 6, '.'))
            return ts_call_operator(ts, "aten", name + 6, c.args, c.names, c.count);
        const char *dot = strncmp(name, "ops.", 4) == 0 ? strchr(name + 4, '.') : NULL;
        if (dot) {
            char *space = arena_strndup(ts->arena, name + 4, (size_t)(dot - name - 4), ts->err);
            return space ? ts_call_operator(ts, space, dot + 1, c.args, c.names, c.count) : NULL;
        }
        ts_bad(ts, BPU_UNSUPPORTED, "the function \"%.200s\" is not read", name);
        return NULL;
    }
    if (callee->kind == EXPR_ATTR)
        return method(ts, e);
    struct py_value *f = callee->kind == EXPR_NAME ? ts_eval(ts, callee) : NULL;
    if (f && f->kind == PY_GLOBAL) { /* _0 = __torch__.f, then _0(x) */
        struct call c;
        return evaluate_args(ts, e, 1, &c) ? function(ts, f->text, &c) : NULL;
    }
    ts_bad(ts, BPU_UNSUPPORTED, "something that is no function is called");
    return NULL;
}
