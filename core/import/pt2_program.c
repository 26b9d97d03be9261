/* Nodes in order: each is a call of an operator, with named arguments and named results.
 *
 * "torch.ops.aten.conv2d.default" is aten's conv2d; which overload it is shows in the arguments.
 * Arithmetic on sizes (_operator.mul) is done at once; assertions have no effect; control flow is
 * refused; an operator that nobody knows stays in the graph, with the shapes that the file gives
 * for its results. */
#include <stdio.h>
#include <string.h>

#include "core/import/pt2.h"
#include "core/ops/op.h"

enum { MAX_ARGS = 64, MAX_OUTPUTS = 1024, MAX_NAME = 100, MAX_GRAPHS = 8 };

struct call {
    struct pt2_import *im;
    json_t *node;
    const struct json_at *at;
    const char *target;
    char space[MAX_NAME], name[MAX_NAME]; /* "aten", "conv2d" */
    struct py_value *args[MAX_ARGS];
    const char *names[MAX_ARGS];
    size_t count;
};

static bool refuse(struct call *c, const char *what, const char *hint)
{
    ts_bad(&c->im->ts, BPU_UNSUPPORTED, "the operator %.150s %s", c->target, what);
    return error_hint(c->im->ts.err, "%s", hint);
}

/* ── targets ── */

/* Functions of Python on sizes, and what they are called among the operators. */
static const char *python_function(const char *target)
{
    static const char *const rows[][2] = {
        {"_operator.add", "add"},
        {"_operator.sub", "sub"},
        {"_operator.mul", "mul"},
        {"_operator.floordiv", "floordiv"},
        {"_operator.truediv", "div"},
        {"_operator.mod", "remainder"},
        {"_operator.pow", "pow"},
        {"_operator.neg", "neg"},
        {"_operator.eq", "eq"},
        {"_operator.ne", "ne"},
        {"_operator.lt", "lt"},
        {"_operator.le", "le"},
        {"_operator.gt", "gt"},
        {"_operator.ge", "ge"},
        {"_operator.and_", "__and__"},
        {"_operator.or_", "__or__"},
        {"_operator.getitem", "__getitem__"},
        {"math.trunc", "Int"},
        {"math.floor", "floor"},
        {"math.ceil", "ceil"},
        {"torch.sym_int", "Int"},
        {"torch.sym_float", "Float"},
        {"torch.sym_max", "max"},
        {"torch.sym_min", "min"},
        {"torch.sym_not", "__not__"},
        {"torch.sym_sqrt", "sqrt"},
        {"torch._sym_sqrt", "sqrt"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i][0], target) == 0)
            return rows[i][1];
    return NULL;
}

static bool copy_part(char out[MAX_NAME], const char *from, size_t n)
{
    if (n == 0 || n >= MAX_NAME)
        return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

/* "torch.ops.aten.add.Tensor" is add of aten. */
static bool read_target(struct call *c)
{
    static const char prefix[] = "torch.ops.";
    const char *python = python_function(c->target);
    if (python)
        return copy_part(c->space, "aten", 4) && copy_part(c->name, python, strlen(python));
    const char *at = c->target + sizeof prefix - 1, *dot;
    if (strncmp(c->target, prefix, sizeof prefix - 1) != 0 || !(dot = strchr(at, '.')))
        return refuse(c, "is none that can be called by name",
                      "Only operators of torch.ops can be read; export without custom classes.");
    const char *name = dot + 1, *end;
    if (strncmp(name, "sym_size.", 9) == 0 || strncmp(name, "sym_numel.", 10) == 0)
        name += 4; /* sizes are numbers here */
    end = strchr(name, '.');
    if (end && strcmp(name, "_native_batch_norm_legit.no_stats") == 0)
        end = NULL; /* has a row of its own: its arguments are others */
    if (!copy_part(c->space, at, (size_t)(dot - at)) ||
        !copy_part(c->name, name, end ? (size_t)(end - name) : strlen(name)))
        return json_fail(c->im->ts.err, BPU_BAD_MODEL, AT_KEY(c->at, "target"),
                         "\"%.150s\" is no name of an operator", c->target);
    return true;
}

/* What is checked or promised about sizes is not part of the network. */
static bool has_no_effect(const struct call *c)
{
    return strcmp(c->space, "aten") == 0 && (strncmp(c->name, "_assert_", 8) == 0 ||
                                             strncmp(c->name, "sym_constrain_range", 19) == 0);
}

/* ── arguments ── */

/* Arguments that only ever come by name; files without kinds (before PyTorch 2.6) do not say. */
static bool by_name_only(const char *name)
{
    static const char *const names[] = {
        "dtype",     "layout", "device",        "pin_memory", "memory_format",
        "alpha",     "beta",   "rounding_mode", "correction", "approximate",
        "generator", "scale",  "out_dtype",     "attn_mask",  "path",
        "enable_gqa"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool read_args(struct call *c)
{
    struct pt2_import *im = c->im;
    json_t *inputs = pt2_member(c->node, c->at, "inputs", JSON_ARRAY, im->ts.err);
    bool scalars = python_function(c->target) != NULL;
    if (!inputs)
        return false;
    if (json_array_size(inputs) > MAX_ARGS)
        return json_fail(im->ts.err, BPU_LIMIT, AT_KEY(c->at, "inputs"),
                         "an operator has %zu arguments; at most %d are read",
                         json_array_size(inputs), MAX_ARGS);
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        json_t *j = json_array_get(inputs, i), *arg;
        const struct json_at *at = AT_INDEX(AT_KEY(c->at, "inputs"), i);
        const char *name = pt2_text(j, at, "name", im->ts.err);
        const json_t *kind = json_object_get(j, "kind");
        if (!name || !(arg = pt2_member(j, at, "arg", JSON_OBJECT, im->ts.err)))
            return false;
        bool keyword = json_is_integer(kind) && json_integer_value(kind) != 0
                           ? json_integer_value(kind) == 2
                           : by_name_only(name);
        c->names[i] = keyword && !scalars ? name : NULL;
        if (!(c->args[i] = pt2_argument(im, arg, AT_KEY(at, "arg"))))
            return false;
        c->count++;
    }
    return true;
}

/* ── results ── */

/* Names of the results in order; NULL where there is none. */
struct results {
    const char *names[MAX_OUTPUTS];
    size_t count;
    bool list; /* one list of tensors */
};

static bool add_result(struct call *c, struct results *r, const char *name)
{
    if (r->count == MAX_OUTPUTS)
        return json_fail(c->im->ts.err, BPU_LIMIT, AT_KEY(c->at, "outputs"),
                         "an operator has more than %d results", MAX_OUTPUTS);
    r->names[r->count++] = name;
    return true;
}

static bool read_results(struct call *c, struct results *r)
{
    struct bpu_error *err = c->im->ts.err;
    json_t *outputs = pt2_member(c->node, c->at, "outputs", JSON_ARRAY, err), *value, *item;
    size_t k;
    if (!outputs)
        return false;
    r->count = 0;
    r->list = json_array_size(outputs) == 1;
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const char *tag, *name;
        const struct json_at *at = AT_INDEX(AT_KEY(c->at, "outputs"), i);
        if (!pt2_union(json_array_get(outputs, i), at, &tag, &value, err))
            return false;
        const struct json_at *in = AT_KEY(at, tag);
        bool many = strcmp(tag, "as_tensors") == 0;
        r->list = r->list && many;
        if (many) {
            if (!json_is_array(value))
                return json_fail(err, BPU_BAD_MODEL, in, "here stands %s; a list is expected",
                                 json_kind(value));
            json_array_foreach(value, k, item)
            {
                if (!(name = pt2_text(item, AT_INDEX(in, k), "name", err)) ||
                    !add_result(c, r, name))
                    return false;
            }
            continue;
        }
        if (strcmp(tag, "as_none") == 0)
            name = NULL;
        else if (strcmp(tag, "as_tensor") == 0)
            name = pt2_text(value, in, "name", err);
        else if (strncmp(tag, "as_sym_", 7) == 0)
            name = pt2_text(value, in, "as_name", err);
        else
            return json_fail(err, BPU_BAD_MODEL, in, "\"%.60s\" is no type of result that is known",
                             tag);
        if (err->code != BPU_NONE || !add_result(c, r, name))
            return false;
    }
    return true;
}

/* The file says what shape each result has: that is what an unknown operator's has, and what a
 * known one's must have. */
static bool check_result(struct call *c, const char *name, struct py_value *v)
{
    struct pt2_import *im = c->im;
    struct pt2_meta meta;
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    if (v->kind != PY_VALUE)
        return true;
    if (!pt2_describe(im, name, AT_KEY(c->at, "outputs"), &meta))
        return false;
    struct shape want = pt2_shape(im, &meta), *have = &v->value->shape;
    const struct node *n = v->value->producer;
    if (have->rank < 0 && n) {
        *have = want;
        if (v->value->dtype == DT_UNKNOWN)
            v->value->dtype = meta.dtype;
        return true;
    }
    bool same = have->rank == want.rank;
    for (int i = 0; same && i < want.rank; i++)
        same = have->dim[i] < 0 || want.dim[i] < 0 || have->dim[i] == want.dim[i];
    if (same || have->rank < 0)
        return true;
    ts_bad(&im->ts, BPU_BAD_MODEL,
           "the file says that \"%.80s\" is %.100s, but %.100s makes it %.100s", name,
           shape_text(&want, a), c->target, shape_text(have, b));
    return error_hint(im->ts.err, "The file is damaged or was changed by hand; export it again.");
}

/* Result i of what the operator returned; NULL with an error. */
static struct py_value *result_at(struct call *c, struct py_value *v, size_t i, bool single)
{
    struct ts_import *ts = &c->im->ts;
    if (v->kind == PY_LIST || v->kind == PY_TUPLE)
        return i < v->count ? v->items[i] : ts_new(ts, PY_UNKNOWN);
    if (single || i == 0)
        return v;
    struct node *n = v->kind == PY_VALUE ? v->value->producer : NULL;
    if (!n || v->value->shape.rank >= 0 || n->outputs[0] != v->value)
        return ts_new(ts, PY_UNKNOWN); /* a second result that nobody needs */
    return ts_tensor(ts, node_add_output(ts->graph, n, n->name, ts->err));
}

static bool bind_results(struct call *c, const struct results *r, struct py_value *v)
{
    struct py_value *items[MAX_OUTPUTS];
    bool many = v->kind == PY_LIST || v->kind == PY_TUPLE;
    if (r->list && many && v->count != r->count)
        return ts_bad(&c->im->ts, BPU_BAD_MODEL, "%.150s gives %zu tensors, but the file names %zu",
                      c->target, v->count, r->count);
    for (size_t i = r->count; i-- > 0;) /* the first one's shape shows that nothing is known */
        if (!(items[i] = result_at(c, v, i, r->count == 1)))
            return false;
    for (size_t i = 0; i < r->count; i++)
        if (r->names[i] && (!pt2_bind(c->im, r->names[i], AT_KEY(c->at, "outputs"), items[i]) ||
                            !check_result(c, r->names[i], items[i])))
            return false;
    return true;
}

/* ── graphs within nodes ── */

static bool run_graph(struct pt2_import *im);

/* wrap_with_set_grad_enabled and its like run their graph once, whatever they set. */
static struct py_value *run_wrapped(struct call *c, size_t first)
{
    struct pt2_import *im = c->im;
    struct ts_import *ts = &im->ts;
    json_t *inputs = json_object_get(c->node, "inputs"), *arg = NULL;
    size_t i = first, count = json_array_size(inputs);
    const struct json_at *at = NULL;
    for (; i < count && !arg; i++)
        arg = json_object_get(json_object_get(json_array_get(inputs, i), "arg"), "as_graph");
    at = AT_KEY(AT_INDEX(AT_KEY(c->at, "inputs"), i ? i - 1 : 0), "as_graph");
    json_t *graph = arg ? pt2_member(arg, at, "graph", JSON_OBJECT, ts->err) : NULL;
    if (!graph) {
        json_fail(ts->err, BPU_BAD_MODEL, at, "%.100s has no graph", c->target);
        return NULL;
    }
    struct pt2_scope scope = {im->scope, graph, AT_KEY(at, "graph"),
                              name_table_new(ts->arena, ts->err), im->scope->depth + 1};
    json_t *params =
        scope.names ? pt2_member(graph, scope.at, "inputs", JSON_ARRAY, ts->err) : NULL;
    json_t *outputs = params ? pt2_member(graph, scope.at, "outputs", JSON_ARRAY, ts->err) : NULL;
    if (!outputs)
        return NULL;
    if (scope.depth > MAX_GRAPHS || json_array_size(params) != count - i) {
        json_fail(ts->err, scope.depth > MAX_GRAPHS ? BPU_LIMIT : BPU_BAD_MODEL, scope.at,
                  scope.depth > MAX_GRAPHS ? "graphs are nested too deep"
                                           : "the graph has other inputs than it is given");
        return NULL;
    }
    for (size_t k = 0; k < count - i; k++) {
        json_t *given = json_object_get(json_array_get(inputs, i + k), "arg"), *value;
        const char *tag, *name;
        const struct json_at *here = AT_INDEX(AT_KEY(scope.at, "inputs"), k);
        struct py_value *v = pt2_argument(im, given, AT_INDEX(AT_KEY(c->at, "inputs"), i + k));
        if (!v || !pt2_union(json_array_get(params, k), here, &tag, &value, ts->err))
            return NULL;
        name = strcmp(tag, "as_tensor") == 0     ? pt2_text(value, here, "name", ts->err)
               : strncmp(tag, "as_sym_", 7) == 0 ? pt2_text(value, here, "as_name", ts->err)
                                                 : NULL;
        if (ts->err->code != BPU_NONE)
            return NULL;
        im->scope = &scope;
        bool ok = !name || pt2_bind(im, name, here, v);
        im->scope = scope.up;
        if (!ok)
            return NULL;
    }
    struct ts_frame *frame = ts->frame;
    struct py_value *tuple = ts_new(ts, PY_TUPLE);
    im->scope = &scope;
    bool ok = tuple && run_graph(im);
    for (size_t k = 0; ok && k < json_array_size(outputs); k++)
        ok = ts_append(
            ts, tuple,
            pt2_argument(im, json_array_get(outputs, k), AT_INDEX(AT_KEY(scope.at, "outputs"), k)));
    im->scope = scope.up;
    ts->frame = frame;
    return ok ? tuple : NULL;
}

static struct py_value *higher_order(struct call *c)
{
    static const char *const wraps[] = {"wrap_with_set_grad_enabled", "wrap_with_autocast"};
    for (size_t i = 0; i < sizeof wraps / sizeof wraps[0]; i++)
        if (strcmp(c->name, wraps[i]) == 0)
            return run_wrapped(c, 0);
    refuse(c, "is control flow, which is not read",
           "Only straight-line programs are read: export without torch.cond, while_loop, map "
           "and scan, or move this part to the host.");
    return NULL;
}

/* ── nodes ── */

static struct py_value *call(struct call *c)
{
    struct pt2_import *im = c->im;
    if (strcmp(c->space, "higher_order") == 0)
        return higher_order(c);
    if (!read_args(c))
        return NULL;
    if (has_no_effect(c))
        return &im->ts.none;
    struct py_value *v = ts_call_operator(&im->ts, c->space, c->name, c->args, c->names, c->count);
    if (!v && im->ts.err->code == BPU_NONE) /* no adapter may end so; if one does, say so */
        refuse(c, "has arguments that are not read", "Export the network as ONNX.");
    return v;
}

/* The name that the node had in PyTorch: that of its result. */
static const char *node_name(const struct call *c, const struct results *r)
{
    const char *name = json_string_value(json_object_get(c->node, "name"));
    if (name && name[0])
        return name;
    return r->count == 1 && !r->list && r->names[0] ? r->names[0] : c->name;
}

static bool run_node(struct pt2_import *im, json_t *node, const struct json_at *at)
{
    struct ts_import *ts = &im->ts;
    struct call c = {.im = im, .node = node, .at = at};
    struct results r;
    struct ts_function function = {0};
    struct py_value self = {.kind = PY_NONE};
    const char *file, *path;
    int line;
    if (!(c.target = pt2_text(node, at, "target", ts->err)) || !read_results(&c, &r))
        return false;
    const json_t *metadata = json_object_get(node, "metadata");
    if (!pt2_source_line(ts->arena, metadata, &file, &line, ts->err) ||
        !pt2_module_path(ts->arena, metadata, &path, ts->err))
        return false;
    const char *source = strncmp(c.target, "torch.ops.", 10) == 0 ? c.target + 10 : c.target;
    struct ts_frame frame = {.function = &function, .self = &self, .line = line};
    function.file = file;
    self.path = path;
    frame.source_op = arena_strdup(ts->arena, source, ts->err);
    frame.node = c.target;
    ts->frame = &frame;
    bool ok = frame.source_op && read_target(&c);
    if (ok) {
        frame.node = node_name(&c, &r);
        struct py_value *v = call(&c);
        ok = v && bind_results(&c, &r, v);
    }
    ts->frame = NULL;
    return ok;
}

static bool run_graph(struct pt2_import *im)
{
    struct pt2_scope *s = im->scope;
    json_t *nodes = pt2_member(s->graph, s->at, "nodes", JSON_ARRAY, im->ts.err), *node;
    size_t i;
    if (!nodes)
        return false;
    json_array_foreach(nodes, i, node)
    {
        if (!run_node(im, node, AT_INDEX(AT_KEY(s->at, "nodes"), i)))
            return false;
    }
    return true;
}

bool pt2_nodes(struct pt2_import *im)
{
    return run_graph(im);
}
