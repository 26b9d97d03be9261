/* Runs the code of a module over values that are partly known.
 *
 * Straight-line code only.  A branch is taken when its condition is known (a flag of the module, a
 * shape); what depends on the data, and every loop, is refused by line.  Steps and depth are
 * bounded, so that code which calls itself over and over ends. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/import/torchscript.h"

enum { MAX_DEPTH = 1000, MAX_STEPS = 500000 };

/* ── values ── */

struct py_value *ts_new(struct ts_import *ts, enum py_kind kind)
{
    struct py_value *v = ARENA_NEW(ts->arena, struct py_value, ts->err);
    if (v)
        v->kind = kind;
    return v;
}

struct py_value *ts_int(struct ts_import *ts, int64_t i)
{
    struct py_value *v = ts_new(ts, PY_INT);
    if (v)
        v->i = i;
    return v;
}

struct py_value *ts_float(struct ts_import *ts, double f)
{
    struct py_value *v = ts_new(ts, PY_FLOAT);
    if (v)
        v->f = f;
    return v;
}

struct py_value *ts_bool(struct ts_import *ts, bool b)
{
    struct py_value *v = ts_new(ts, PY_BOOL);
    if (v)
        v->i = b;
    return v;
}

struct py_value *ts_tensor(struct ts_import *ts, struct value *value)
{
    struct py_value *v = value ? ts_new(ts, PY_VALUE) : NULL;
    if (v)
        v->value = value;
    return v;
}

bool ts_append(struct ts_import *ts, struct py_value *list, struct py_value *item)
{
    if (!item)
        return false;
    struct py_value **items = arena_grow(ts->arena, list->items, list->count, list->count + 1,
                                         sizeof *items, &list->capacity, ts->err);
    if (!items)
        return false;
    list->items = items;
    items[list->count++] = item;
    return true;
}

const char *ts_where(struct ts_import *ts, char out[256])
{
    const struct ts_frame *f = ts->frame;
    const char *file;
    int line;
    if (!f->node && ts_user_line(ts, &file, &line) && file)
        snprintf(out, 256, "%.120s, line %d (%.100s, line %d)", file, line, f->function->file,
                 f->line);
    else if (!f->node)
        snprintf(out, 256, "%.200s, line %d", f->function->file, f->line);
    else if (f->function->file)
        snprintf(out, 256, "node \"%.100s\", %.100s:%d", f->node, f->function->file, f->line);
    else
        snprintf(out, 256, "node \"%.200s\"", f->node);
    return out;
}

bool ts_bad(struct ts_import *ts, enum bpu_code code, const char *fmt, ...)
{
    char where[256];
    va_list ap;
    va_start(ap, fmt);
    error_vset(ts->err, code, ts->frame ? ts_where(ts, where) : NULL, fmt, ap);
    va_end(ap);
    return false;
}

bool ts_truth(const struct py_value *v, bool *known)
{
    int64_t i;
    double r;
    *known = true;
    switch (v->kind) {
    case PY_NONE: return false;
    case PY_BOOL:
    case PY_INT: return v->i != 0;
    case PY_FLOAT: return v->f != 0;
    case PY_STRING: return v->text[0] != '\0';
    case PY_LIST:
    case PY_TUPLE:
    case PY_DICT: return v->count != 0;
    default: break;
    }
    if (ts_integer(v, &i))
        return i != 0;
    if (ts_number(v, &r))
        return r != 0;
    *known = v->kind == PY_OBJECT;
    return true;
}

/* ── expressions ── */

/* CONSTANTS.c12 */
static struct py_value *constant(struct ts_import *ts, const char *name)
{
    char *end = NULL;
    unsigned long i = name[0] == 'c' ? strtoul(name + 1, &end, 10) : 0;
    if (!end || end == name + 1 || *end || !ts->constants || i >= ts->constants->count) {
        ts_bad(ts, BPU_BAD_MODEL, "the constant \"%.60s\" is not in constants.pkl", name);
        return NULL;
    }
    struct py_value *v = ts->constants->items[i];
    if (v->kind == PY_TENSOR && !v->path &&
        !(v->path = arena_printf(ts->arena, ts->err, "constant.%lu", i)))
        return NULL;
    return v;
}

static bool is_variable(struct ts_import *ts, const char *name)
{
    return ts->frame && name_table_find(ts->frame->variables, name);
}

const char *ts_dotted(struct ts_import *ts, const struct ts_expr *e)
{
    if (e->kind == EXPR_NAME)
        return is_variable(ts, e->text) ? NULL : e->text;
    if (e->kind != EXPR_ATTR)
        return NULL;
    const char *base = ts_dotted(ts, e->items[0]); /* as deep as the parser let it be */
    return base ? arena_printf(ts->arena, ts->err, "%s.%s", base, e->text) : NULL;
}

static struct py_value *attribute(struct ts_import *ts, const struct ts_expr *e)
{
    const struct ts_expr *base = e->items[0];
    if (base->kind == EXPR_NAME && !is_variable(ts, base->text)) {
        if (strcmp(base->text, "CONSTANTS") == 0)
            return constant(ts, e->text);
        if (strcmp(base->text, "math") == 0 && strcmp(e->text, "inf") == 0)
            return ts_float(ts, INFINITY);
        if (strcmp(base->text, "math") == 0 && strcmp(e->text, "pi") == 0)
            return ts_float(ts, 3.14159265358979323846);
    }
    const char *dotted = ts_dotted(ts, e);
    if (dotted && strncmp(dotted, "__torch__.", 10) == 0) { /* a function as a value */
        struct py_value *f = ts_new(ts, PY_GLOBAL);
        if (f)
            f->text = dotted;
        return f;
    }
    struct py_value *object = ts->err->code == BPU_NONE ? ts_eval(ts, base) : NULL;
    return object ? ts_get_attr(ts, object, e->text) : NULL;
}

static struct py_value *name(struct ts_import *ts, const struct ts_expr *e)
{
    struct py_value *v = ts->frame ? name_table_find(ts->frame->variables, e->text) : NULL;
    if (v)
        return v;
    if (strcmp(e->text, "inf") == 0)
        return ts_float(ts, INFINITY);
    if (strcmp(e->text, "nan") == 0)
        return ts_float(ts, NAN);
    ts_bad(ts, BPU_BAD_MODEL, "the name \"%.100s\" is used, but it has no value", e->text);
    return NULL;
}

static struct py_value *sequence(struct ts_import *ts, const struct ts_expr *e, enum py_kind kind)
{
    struct py_value *v = ts_new(ts, kind);
    for (size_t i = 0; v && i < e->count; i++)
        if (!ts_append(ts, v, ts_eval(ts, e->items[i])))
            return NULL;
    return v;
}

static struct py_value *index_of(struct ts_import *ts, const struct ts_expr *e)
{
    struct py_value *v = ts_eval(ts, e->items[0]);
    struct py_value *key = v && e->count == 2 ? ts_eval(ts, e->items[1]) : NULL;
    if (!key) {
        if (v)
            ts_bad(ts, BPU_UNSUPPORTED, "an index of several parts is not read");
        return NULL;
    }
    if (v->kind == PY_DICT && key->kind == PY_STRING) {
        struct py_value *item = py_dict_get(v, key->text);
        if (!item)
            ts_bad(ts, BPU_BAD_MODEL, "the key \"%.100s\" is not there", key->text);
        return item;
    }
    if ((v->kind != PY_LIST && v->kind != PY_TUPLE) || key->kind != PY_INT) {
        ts_bad(ts, BPU_UNSUPPORTED, "%s is indexed by %s, which is not read", py_kind_name(v->kind),
               py_kind_name(key->kind));
        return NULL;
    }
    int64_t i = key->i < 0 ? key->i + (int64_t)v->count : key->i;
    if (i < 0 || i >= (int64_t)v->count) {
        ts_bad(ts, BPU_BAD_MODEL, "item %lld of a list of %zu is asked for", (long long)key->i,
               v->count);
        return NULL;
    }
    return v->items[i];
}

static struct py_value *logic(struct ts_import *ts, const struct ts_expr *e)
{
    bool known, and_ = strcmp(e->text, "and") == 0;
    struct py_value *v = ts_eval(ts, e->items[0]);
    if (!v)
        return NULL;
    bool left = ts_truth(v, &known);
    if (!known)
        return ts_new(ts, PY_UNKNOWN);
    return left == and_ ? ts_eval(ts, e->items[1]) : v;
}

static struct py_value *operation(struct ts_import *ts, const struct ts_expr *e)
{
    static const struct {
        const char *sign, *op;
    } names[] = {{"+", "add"},
                 {"-", "sub"},
                 {"*", "mul"},
                 {"/", "div"},
                 {"//", "floordiv"},
                 {"%", "remainder"},
                 {"==", "eq"},
                 {"!=", "ne"},
                 {"<", "lt"},
                 {">", "gt"},
                 {"<=", "le"},
                 {">=", "ge"},
                 {"is", "__is__"},
                 {"is not", "__isnot__"},
                 {"in", "__contains__"},
                 {"not", "__not__"}};
    if (strcmp(e->text, "and") == 0 || strcmp(e->text, "or") == 0)
        return logic(ts, e);
    struct py_value *args[2] = {NULL, NULL};
    for (size_t i = 0; i < e->count; i++)
        if (!(args[i] = ts_eval(ts, e->items[i])))
            return NULL;
    const char *op = e->kind == EXPR_UNARY && e->text[0] == '-' ? "neg" : NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !op; i++)
        if (strcmp(names[i].sign, e->text) == 0)
            op = names[i].op;
    if (!op || e->text[0] == '~')
        return args[0];
    if (ts->frame)
        ts->frame->at = e->at;
    return ts_call_operator(ts, "aten", op, args, NULL, e->count);
}

static struct py_value *choice(struct ts_import *ts, const struct ts_expr *e)
{
    bool known;
    struct py_value *v = ts_eval(ts, e->items[1]);
    bool yes = v && ts_truth(v, &known);
    if (v && !known) {
        ts_bad(ts, BPU_UNSUPPORTED, "a choice depends on %s", py_kind_name(v->kind));
        error_hint(ts->err, "Trace the network: torch.jit.trace(model, example_input).");
        return NULL;
    }
    return v ? ts_eval(ts, e->items[yes ? 0 : 2]) : NULL;
}

static struct py_value *evaluate(struct ts_import *ts, const struct ts_expr *e)
{
    switch (e->kind) {
    case EXPR_NAME: return name(ts, e);
    case EXPR_CONSTANT: return e->value;
    case EXPR_ATTR: return attribute(ts, e);
    case EXPR_CALL: return ts_eval_call(ts, e);
    case EXPR_INDEX: return index_of(ts, e);
    case EXPR_LIST: return sequence(ts, e, PY_LIST);
    case EXPR_TUPLE: return sequence(ts, e, PY_TUPLE);
    case EXPR_DICT: return sequence(ts, e, PY_DICT);
    case EXPR_UNARY:
    case EXPR_BINARY: return operation(ts, e);
    case EXPR_IF: return choice(ts, e);
    }
    return NULL;
}

static bool within_bounds(struct ts_import *ts)
{
    if (ts->depth >= MAX_DEPTH)
        return ts_bad(ts, BPU_LIMIT, "calls and expressions are nested more than %d deep",
                      MAX_DEPTH);
    if (++ts->steps > MAX_STEPS)
        return ts_bad(ts, BPU_LIMIT, "the code runs for more than %d steps", MAX_STEPS);
    return true;
}

struct py_value *ts_eval(struct ts_import *ts, const struct ts_expr *e)
{
    if (!within_bounds(ts))
        return NULL;
    ts->depth++;
    struct py_value *v = evaluate(ts, e);
    ts->depth--;
    return v;
}

/* ── statements ── */

static bool assign(struct ts_import *ts, const struct ts_expr *target, struct py_value *v)
{
    if (target->kind == EXPR_NAME)
        return name_table_put(ts->frame->variables, target->text, v, ts->err);
    struct py_value *object = ts_eval(ts, target->items[0]);
    if (!object)
        return false;
    if (target->kind == EXPR_ATTR)
        return ts_set_attr(ts, object, target->text, v);
    ts_bad(ts, BPU_UNSUPPORTED, "an item of %s is assigned to", py_kind_name(object->kind));
    return error_hint(ts->err, "Trace the network: torch.jit.trace(model, example_input).");
}

/* What an operator returns of which nothing is known shows when it is taken apart. */
static struct py_value *several(struct ts_import *ts, struct py_value *v, size_t count)
{
    struct node *n = v->value->producer;
    if (!n || n->output_count != 1)
        return v;
    struct py_value *list = ts_new(ts, PY_LIST);
    if (!list || !ts_append(ts, list, v))
        return NULL;
    while (list->count < count)
        if (!ts_append(ts, list, ts_tensor(ts, node_add_output(ts->graph, n, n->name, ts->err))))
            return NULL;
    return list;
}

static bool run_assign(struct ts_import *ts, const struct ts_stmt *s)
{
    struct py_value *v = ts_eval(ts, s->value);
    if (!v)
        return false;
    if (!s->unpack)
        return assign(ts, s->targets[0], v);
    if (v->kind == PY_VALUE && v->value->shape.rank < 0 && !(v = several(ts, v, s->target_count)))
        return false;
    if ((v->kind != PY_LIST && v->kind != PY_TUPLE) || v->count != s->target_count) {
        if (v->kind != PY_LIST && v->kind != PY_TUPLE)
            return ts_bad(ts, BPU_UNSUPPORTED, "%s is taken apart into %zu values",
                          py_kind_name(v->kind), s->target_count);
        return ts_bad(ts, BPU_BAD_MODEL, "%zu values are taken apart into %zu", v->count,
                      s->target_count);
    }
    for (size_t i = 0; i < v->count; i++)
        if (!assign(ts, s->targets[i], v->items[i]))
            return false;
    return true;
}

static bool refuse(struct ts_import *ts, const char *what)
{
    ts_bad(ts, BPU_UNSUPPORTED, "the code of %.150s has %s; only straight-line code is read",
           ts->frame->function->name, what);
    return error_hint(ts->err, "Save a trace instead, torch.jit.save(torch.jit.trace(model, "
                               "example_input), \"model.pt\"), or move this part to the host.");
}

static bool run_block(struct ts_import *ts, const struct ts_stmt *s);

static bool run_if(struct ts_import *ts, const struct ts_stmt *s)
{
    bool known;
    struct py_value *v = ts_eval(ts, s->value);
    if (!v)
        return false;
    bool yes = ts_truth(v, &known);
    ts->frame->line = s->line;
    ts->frame->at = s->at;
    if (!known && v->kind == PY_UNKNOWN && ts->probing)
        return ts_bad(ts, BPU_SHAPE_NEEDED, "a branch depends on a shape");
    if (!known)
        return refuse(ts, v->kind == PY_UNKNOWN
                              ? "an \"if\" whose condition is not known before inference"
                              : "an \"if\" whose condition is computed from the data");
    return run_block(ts, yes ? s->body : s->otherwise);
}

static bool run_statement(struct ts_import *ts, const struct ts_stmt *s)
{
    char what[64];
    ts->frame->line = s->line;
    ts->frame->at = s->at;
    switch (s->kind) {
    case STMT_PASS: return true;
    case STMT_ASSIGN: return run_assign(ts, s);
    case STMT_EXPR: return ts_eval(ts, s->value) != NULL;
    case STMT_RETURN:
        ts->frame->result = s->value ? ts_eval(ts, s->value) : &ts->none;
        ts->frame->returned = true;
        return ts->frame->result != NULL;
    case STMT_IF: return run_if(ts, s);
    case STMT_REFUSED:
        snprintf(what, sizeof what, "a \"%.20s\" statement", s->text);
        return refuse(ts, what);
    }
    return false;
}

static bool run_block(struct ts_import *ts, const struct ts_stmt *s)
{
    if (!within_bounds(ts))
        return false;
    ts->depth++;
    for (; s && !ts->frame->returned; s = s->next)
        if (!run_statement(ts, s))
            return false;
    ts->depth--;
    return true;
}

struct py_value *ts_call_function(struct ts_import *ts, struct ts_function *f,
                                  struct py_value *self, struct py_value **args, size_t count)
{
    struct ts_frame *caller = ts->frame;
    struct ts_frame frame = {.function = f, .line = f->line, .caller = caller};
    frame.self = self ? self : caller ? caller->self : NULL;
    size_t first = self != NULL;
    if (!within_bounds(ts) || !ts_parse_function(ts, f))
        return NULL;
    if (count + first > f->param_count) {
        ts_bad(ts, BPU_BAD_MODEL, "%.100s takes %zu arguments, but is given %zu", f->name,
               f->param_count, count + first);
        return NULL;
    }
    if (!(frame.variables = name_table_new(ts->arena, ts->err)))
        return NULL;
    for (size_t i = 0; i < f->param_count; i++) {
        struct py_value *v = i < first ? self : i - first < count ? args[i - first] : NULL;
        if (!v && f->params[i].otherwise)
            v = ts_eval(ts, f->params[i].otherwise);
        if (!v) {
            ts_bad(ts, BPU_BAD_MODEL, "%.100s is called without its argument \"%.60s\"", f->name,
                   f->params[i].name);
            return NULL;
        }
        if (!name_table_put(frame.variables, f->params[i].name, v, ts->err))
            return NULL;
    }
    ts->frame = &frame;
    ts->depth++;
    bool ok = run_block(ts, f->body);
    ts->depth--;
    ts->frame = caller;
    return ok ? (frame.result ? frame.result : &ts->none) : NULL;
}
