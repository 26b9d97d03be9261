/* The "nodes" of a graph JSON: identity, operands, and what the file says about their outputs.
 *
 * Declared output shapes, dtypes and scales are put on the values before inference, which completes
 * what it cannot know from them (an operator without a row), and are compared with its result
 * after. */
#include <string.h>

#include "core/import/graph_json.h"
#include "core/ops/op.h"

static const char *const node_keys[] = {"name",          "op",
                                        "inputs",        "outputs",
                                        "attrs",         "params",
                                        "output_shapes", "output_dtypes",
                                        "output_scales", "output_zero_points",
                                        "output_axes",   "folded",
                                        "origin",        NULL};
static const char *const origin_keys[] = {"source_op", "scope", "file", "line", "byte", NULL};

/* Nodes with more are not networks; both are searched linearly. */
#define MAX_PARAMS 256

bool json_name_free(const struct json_reader *r, const char *name, const struct json_at *at,
                    struct bpu_error *err)
{
    const struct value *v = graph_find_value(r->g, name);
    if (!v)
        return true;
    if (v->producer)
        json_fail(err, BPU_BAD_MODEL, at,
                  "the value \"%s\" is produced twice; node \"%s\" produces "
                  "it already",
                  name, v->producer->name);
    else
        json_fail(err, BPU_BAD_MODEL, at, "the name \"%s\" is taken: it is %s already", name,
                  v->is_input ? "an input of the graph" : "a tensor");
    return error_hint(err, "Every value needs a name of its own.");
}

struct value *json_find_value(struct json_reader *r, const json_t *name, const struct json_at *at,
                              struct bpu_error *err)
{
    if (!json_is_string(name)) {
        json_fail(err, BPU_BAD_MODEL, at, "here stands %s; the name of a value is expected",
                  json_kind(name));
        if (json_is_number(name) || json_is_array(name))
            error_hint(err, "A constant operand is a name in \"tensors\".");
        return NULL;
    }
    const char *text = json_string_value(name);
    struct value *v = graph_find_value(r->g, text);
    if (v)
        return v;
    json_fail(err, BPU_BAD_MODEL, at,
              "nothing produces \"%s\": it is no input, no tensor and no node's output", text);
    const char *names[2] = {NULL, NULL}, *near = NULL;
    size_t least = SIZE_MAX;
    /* The nearest by length of common prefix is enough to find a typing error among thousands. */
    for (int i = 0; i < r->g->value_count && i < 20000; i++) {
        names[0] = r->g->values[i]->name;
        size_t a = strlen(names[0]), b = strlen(text), gap = a > b ? a - b : b - a;
        if (gap < least && gap <= 2 && json_near(text, names)) {
            near = names[0];
            least = gap;
        }
    }
    if (near)
        error_hint(err, "Did you mean \"%s\"?", near);
    return NULL;
}

static bool read_origin(struct json_reader *r, struct node *n, const char *op, json_t *j,
                        const struct json_at *at, struct bpu_error *err)
{
    struct arena *a = r->g->arena;
    json_t *o, *line, *byte;
    const char *source = NULL, *scope, *file;
    if (!json_member(j, at, "origin", JSON_OBJECT, false, &o, err))
        return false;
    if (o) {
        const struct json_at *here = AT_KEY(at, "origin");
        if (!json_keys(o, here, origin_keys, err) ||
            !json_text(o, here, "source_op", false, &source, err) ||
            !json_text(o, here, "scope", false, &scope, err) ||
            !json_text(o, here, "file", false, &file, err) ||
            !json_member(o, here, "line", JSON_INTEGER, false, &line, err) ||
            !json_member(o, here, "byte", JSON_INTEGER, false, &byte, err) ||
            (scope && !(n->origin.scope = arena_strdup(a, scope, err))) ||
            (file && !(n->origin.file = arena_strdup(a, file, err))))
            return false;
        n->origin.line = line ? json_integer_value(line) : -1;
        n->origin.byte = byte ? json_integer_value(byte) : -1;
    }
    n->origin.source_op = arena_strdup(a, source ? source : op, err);
    return n->origin.source_op != NULL;
}

static bool create_node(struct json_reader *r, size_t i, json_t *j, const struct json_at *at,
                        struct bpu_error *err)
{
    const char *name, *op;
    json_t *outputs;
    if (!json_keys(j, at, node_keys, err) || !json_text(j, at, "op", true, &op, err) ||
        !json_text(j, at, "name", false, &name, err) ||
        !json_member(j, at, "outputs", JSON_ARRAY, true, &outputs, err))
        return false;
    if (name && graph_find_node(r->g, name)) {
        json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "name"), "two nodes have the name \"%s\"", name);
        return error_hint(err, "Findings name nodes, so every node needs a name of its own.");
    }
    if (json_array_size(outputs) == 0)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "outputs"), "the node has no outputs");
    struct node *n = graph_add_node(r->g, name, op, err);
    if (!n || !read_origin(r, n, op, j, at, err))
        return false;
    r->file_nodes[i] = n;
    (void)op_bind(n); /* an operator without a row is the checker's business */
    for (size_t k = 0; k < json_array_size(outputs); k++) {
        const struct json_at *here = AT_INDEX(AT_KEY(at, "outputs"), k);
        const json_t *o = json_array_get(outputs, k);
        if (!json_is_string(o) || json_string_length(o) == 0)
            return json_fail(err, BPU_BAD_MODEL, here,
                             "here stands %s; the name of a value is "
                             "expected",
                             json_is_string(o) ? "an empty string" : json_kind(o));
        if (!json_name_free(r, json_string_value(o), here, err) ||
            !node_add_output(r->g, n, json_string_value(o), err))
            return false;
    }
    return true;
}

/* True if the row of n knows a param of that name, or any ("*": recurrent layers, whose weights carry
 * a layer and a direction, "weight_ih_l0_reverse"). */
static bool param_known(const struct node *n, const char *name)
{
    const char *list = n->op ? n->op->params : NULL;
    if (!list)
        return true;
    /* Of fixed-point graphs: what the converter computes for sums of products and for functions. */
    if (strcmp(name, "multiplier") == 0 || strcmp(name, "shift") == 0 || strcmp(name, "table") == 0)
        return true;
    for (const char *word = list; *word;) {
        size_t length = strcspn(word, " ");
        if ((length == 1 && *word == '*') ||
            (strncmp(name, word, length) == 0 && name[length] == '\0'))
            return true;
        word += length + strspn(word + length, " ");
    }
    return false;
}

static bool link_params(struct json_reader *r, struct node *n, json_t *params,
                        const struct json_at *at, struct bpu_error *err)
{
    const char *name;
    json_t *j;
    if (json_object_size(params) > MAX_PARAMS)
        return json_fail(err, BPU_LIMIT, at, "the node has %zu params; at most %d can be held",
                         json_object_size(params), MAX_PARAMS);
    json_object_foreach(params, name, j)
    {
        if (!param_known(n, name)) {
            json_fail(err, BPU_BAD_MODEL, AT_KEY(at, name), "%s has no param \"%s\"", n->op->name,
                      name);
            return n->op->params[0] ? error_hint(err, "Its params: %s.", n->op->params)
                                    : error_hint(err, "It has none.");
        }
        if (json_is_null(j) || (r->tensors_left_out && json_is_string(j) &&
                                !graph_find_value(r->g, json_string_value(j))))
            continue;
        struct value *v = json_find_value(r, j, AT_KEY(at, name), err);
        if (!v || !node_add_param(r->g, n, name, v, err))
            return false;
    }
    return true;
}

static bool link_node(struct json_reader *r, struct node *n, json_t *j, const struct json_at *at,
                      struct bpu_error *err)
{
    json_t *inputs, *params, *attrs;
    if (!json_member(j, at, "inputs", JSON_ARRAY, true, &inputs, err) ||
        !json_member(j, at, "params", JSON_OBJECT, false, &params, err) ||
        !json_member(j, at, "attrs", JSON_OBJECT, false, &attrs, err))
        return false;
    for (size_t k = 0; k < json_array_size(inputs); k++) {
        const json_t *name = json_array_get(inputs, k);
        struct value *v = NULL;
        if (!json_is_null(name)) {
            v = json_find_value(r, name, AT_INDEX(AT_KEY(at, "inputs"), k), err);
            if (!v)
                return false;
        }
        if (!node_add_input(r->g, n, v, err))
            return false;
    }
    return link_params(r, n, params, AT_KEY(at, "params"), err) &&
           json_attrs(r, n, attrs, AT_KEY(at, "attrs"), err);
}

bool json_nodes(struct json_reader *r, struct bpu_error *err)
{
    const struct json_at *at = AT_KEY(NULL, "nodes");
    json_t *nodes;
    if (!json_member(r->root, NULL, "nodes", JSON_ARRAY, true, &nodes, err))
        return false;
    size_t count = json_array_size(nodes);
    r->file_nodes = ARENA_ARRAY(r->g->arena, struct node *, count, err);
    if (!r->file_nodes)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!create_node(r, i, json_array_get(nodes, i), AT_INDEX(at, i), err))
            return false;
    for (size_t i = 0; i < count; i++)
        if (!link_node(r, r->file_nodes[i], json_array_get(nodes, i), AT_INDEX(at, i), err))
            return false;
    return true;
}

/* One list with an entry per output; *out NULL when absent. */
static bool per_output(const struct node *n, json_t *j, const struct json_at *at, const char *key,
                       json_t **out, struct bpu_error *err)
{
    if (!json_member(j, at, key, JSON_ARRAY, false, out, err))
        return false;
    if (*out && json_array_size(*out) != (size_t)n->output_count)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, key),
                         "\"%s\" has %zu entries for %d outputs", key, json_array_size(*out),
                         n->output_count);
    return true;
}

static bool shape_fits(const struct shape *a, const struct shape *b)
{
    if (a->rank < 0 || b->rank < 0)
        return true;
    bool fits = a->rank == b->rank;
    for (int i = 0; fits && i < a->rank; i++)
        fits = a->dim[i] < 0 || b->dim[i] < 0 || a->dim[i] == b->dim[i];
    return fits;
}

/* What the file says about output k, put on the value. */
static bool declare(struct json_reader *r, struct value *v, size_t k, json_t *shapes,
                    json_t *dtypes, json_t *scales, json_t *zeros, json_t *axes,
                    const struct json_at *at, struct bpu_error *err)
{
    const json_t *d = json_array_get(dtypes, k);
    if (shapes && !json_shape(json_array_get(shapes, k), AT_INDEX(AT_KEY(at, "output_shapes"), k),
                              true, &v->shape, err))
        return false;
    if (d && !json_is_null(d) &&
        !json_dtype(d, AT_INDEX(AT_KEY(at, "output_dtypes"), k), &v->dtype, err))
        return false;
    return json_quant(r->g->arena, json_array_get(scales, k),
                      AT_INDEX(AT_KEY(at, "output_scales"), k), json_array_get(zeros, k),
                      AT_INDEX(AT_KEY(at, "output_zero_points"), k), json_array_get(axes, k),
                      AT_INDEX(AT_KEY(at, "output_axes"), k), 1, &v->shape, &v->quant, err);
}

/* Inference has spoken: does it agree with the file? */
static bool agrees(const struct value *v, const struct value *said, size_t k,
                   const struct json_at *at, struct bpu_error *err)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    if (!shape_fits(&said->shape, &v->shape)) {
        json_fail(err, BPU_BAD_SHAPE, AT_INDEX(AT_KEY(at, "output_shapes"), k),
                  "the file gives \"%s\" the shape %s, but it follows from the operands as %s",
                  v->name, shape_text(&said->shape, a), shape_text(&v->shape, b));
        return error_hint(err, "Correct the attributes, or leave \"output_shapes\" out.");
    }
    if (said->dtype != DT_UNKNOWN && v->constant && said->dtype != v->dtype)
        return json_fail(err, BPU_BAD_MODEL, AT_INDEX(AT_KEY(at, "output_dtypes"), k),
                         "the file gives \"%s\" the dtype %s, but it is computed as %s", v->name,
                         dtype_name(said->dtype), dtype_name(v->dtype));
    int64_t elements = shape_elements(&v->shape);
    if (v->constant && v->constant->data &&
        (elements < 0 || v->constant->bytes != (size_t)elements * dtype_size(v->dtype)))
        return json_fail(err, BPU_BAD_MODEL, AT_INDEX(AT_KEY(at, "output_dtypes"), k),
                         "the dtype %s does not fit the computed content of \"%s\"",
                         dtype_name(v->dtype), v->name);
    const struct quant *q = &v->quant;
    if (q->count > 1 && v->shape.rank >= 0 &&
        (q->axis >= v->shape.rank ||
         (v->shape.dim[q->axis] >= 0 && v->shape.dim[q->axis] != q->count)))
        return json_fail(err, BPU_BAD_MODEL, AT_INDEX(AT_KEY(at, "output_scales"), k),
                         "there are %d scales, which do not fit axis %d of the shape %s", q->count,
                         q->axis, shape_text(&v->shape, a));
    return true;
}

bool json_node_apply(struct json_reader *r, size_t i, struct bpu_error *err)
{
    struct node *n = r->file_nodes[i];
    json_t *j = json_array_get(json_object_get(r->root, "nodes"), i);
    const struct json_at *at = AT_INDEX(AT_KEY(NULL, "nodes"), i);
    json_t *shapes, *dtypes, *scales, *zeros, *axes;
    size_t count = (size_t)n->output_count;
    if (!per_output(n, j, at, "output_shapes", &shapes, err) ||
        !per_output(n, j, at, "output_dtypes", &dtypes, err) ||
        !per_output(n, j, at, "output_scales", &scales, err) ||
        !per_output(n, j, at, "output_zero_points", &zeros, err) ||
        !per_output(n, j, at, "output_axes", &axes, err))
        return false;
    struct value *said = ARENA_ARRAY(r->g->arena, struct value, count, err);
    if (!said)
        return false;
    for (size_t k = 0; k < count; k++) {
        struct value *v = n->outputs[k];
        if (!declare(r, v, k, shapes, dtypes, scales, zeros, axes, at, err))
            return false;
        said[k] = *v;
    }
    struct bpu_error inner = {0};
    enum fold before = n->fold;
    bool applied = op_apply(r->g, n, &inner), fits = applied;
    for (size_t k = 0; fits && k < count; k++)
        fits = shape_fits(&said[k].shape, &n->outputs[k]->shape);
    /* An importer could not tell what the node does: it may lack attributes and take operands in
     * their place, and its results are what the file says. */
    if (!fits && node_bool(n, "undetermined", false) &&
        (applied || inner.code == BPU_BAD_SHAPE || inner.code == BPU_BAD_MODEL)) {
        for (size_t k = 0; k < count; k++)
            *n->outputs[k] = said[k];
        n->fold = before;
        return true;
    }
    if (!applied) {
        json_fail(err, inner.code, at, "node \"%s\": %s", n->name, inner.message);
        return inner.hint[0] ? error_hint(err, "%s", inner.hint) : false;
    }
    for (size_t k = 0; k < count; k++)
        if (!agrees(n->outputs[k], &said[k], k, at, err))
            return false;
    return true;
}
