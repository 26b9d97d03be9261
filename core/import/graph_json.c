/* Graph JSON ("bpuhub.graph/1"): from text to a sorted graph with every shape inferred.
 *
 *   text ─ bounds, jansson ─ tensors ─ inputs (with options) ─ nodes ─ outputs ─ sort ─ infer each
 * node
 *
 * Tensors come first and node outputs before operands, so that nodes may stand in any order.
 * Unknown keys are errors: a misspelt "atrs" would otherwise give a verdict about another network.
 * An operator that is in no row is not an error here; the checker reports it. */
#include "core/import/graph_json.h"

#include <stdio.h>
#include <string.h>

#include "core/ops/op.h"

static const char *const root_keys[] = {"format", "name",    "producer", "opset", "inputs",
                                        "nodes",  "outputs", "tensors",  "notes", NULL};
static const char *const input_keys[] = {"name",       "shape", "dtype", "scale",
                                         "zero_point", "axis",  NULL};

#define FORMAT "bpuhub.graph/1"

static bool read_head(struct json_reader *r, struct arena *a, struct bpu_error *err)
{
    const char *format;
    json_t *name, *producer, *opset, *notes;
    if (!json_is_object(r->root))
        return json_fail(err, BPU_BAD_MODEL, NULL, "the text is %s; a graph JSON is an object",
                         json_kind(r->root));
    if (!json_text(r->root, NULL, "format", true, &format, err))
        return error_hint(err, "A graph JSON begins with {\"format\": \"" FORMAT "\", …}.");
    if (strcmp(format, FORMAT) != 0) {
        json_fail(err, BPU_UNSUPPORTED, AT_KEY(NULL, "format"), "the format is \"%.80s\"", format);
        return error_hint(err, "This version reads \"" FORMAT "\".");
    }
    if (!json_keys(r->root, NULL, root_keys, err) ||
        !json_member(r->root, NULL, "name", JSON_STRING, false, &name, err) ||
        !json_member(r->root, NULL, "producer", JSON_STRING, false, &producer, err) ||
        !json_member(r->root, NULL, "opset", JSON_INTEGER, false, &opset, err) ||
        !json_member(r->root, NULL, "notes", JSON_ARRAY, false, &notes, err))
        return false;
    r->g = graph_new(a, json_string_value(name), r->format, err);
    if (!r->g)
        return false;
    if (producer && !(r->g->producer = arena_strdup(a, json_string_value(producer), err)))
        return false;
    r->g->opset = opset ? json_integer_value(opset) : 0;
    for (size_t i = 0; i < json_array_size(notes); i++) {
        const json_t *note = json_array_get(notes, i);
        if (!json_is_string(note))
            return json_fail(err, BPU_BAD_MODEL, AT_INDEX(AT_KEY(NULL, "notes"), i),
                             "the note is %s; a string is expected", json_kind(note));
        if (!graph_add_note(r->g, err, "%s", json_string_value(note)))
            return false;
    }
    return true;
}

/* "1x3x?x?" with 1 for what is not known: an example that can be typed. */
static const char *example(const struct shape *s, char out[SHAPE_TEXT_MAX])
{
    if (s->rank < 0) {
        snprintf(out, SHAPE_TEXT_MAX, "1x3x224x224");
        return out;
    }
    struct shape filled = *s;
    for (int i = 0; i < s->rank; i++)
        if (filled.dim[i] < 0)
            filled.dim[i] = i == 0 ? 1 : 224;
    return shape_text(&filled, out);
}

static bool read_input(struct json_reader *r, json_t *j, int index, const struct json_at *at,
                       struct bpu_error *err)
{
    const char *name;
    struct shape shape = shape_unknown(), given;
    enum dtype dtype = DT_FLOAT32, given_dtype = DT_UNKNOWN;
    bool found;
    if (!json_keys(j, at, input_keys, err) || !json_text(j, at, "name", true, &name, err) ||
        !json_name_free(r, name, AT_KEY(at, "name"), err))
        return false;
    const json_t *shape_json = json_object_get(j, "shape"), *d = json_object_get(j, "dtype");
    if (shape_json && !json_shape(shape_json, AT_KEY(at, "shape"), true, &shape, err))
        return false;
    /* Other formats have inputs of strings and the like; the operators that read them are judged. */
    if (json_is_string(d) && strcmp(json_string_value(d), "unknown") == 0)
        dtype = DT_UNKNOWN;
    else if (d && !json_is_null(d) && !json_dtype(d, AT_KEY(at, "dtype"), &dtype, err))
        return false;
    if (!import_input_shape(r->req, name, index, &given, &given_dtype, &found, err))
        return false;
    if (found) {
        shape = given;
        dtype = given_dtype != DT_UNKNOWN ? given_dtype : dtype;
    }
    if (!shape_is_static(&shape)) {
        char text[SHAPE_TEXT_MAX], sample[SHAPE_TEXT_MAX];
        json_fail(err, BPU_SHAPE_NEEDED, AT_KEY(at, "shape"),
                  "the shape of the input \"%s\" is open: %s", name, shape_text(&shape, text));
        return error_hint(err, "Give it: --option input.%s=%s", name, example(&shape, sample));
    }
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] == 0)
            return json_fail(err, BPU_BAD_MODEL, AT_INDEX(AT_KEY(at, "shape"), (size_t)i),
                             "an extent of the input \"%s\" is 0", name);
    struct value *v = graph_add_value(r->g, name, err);
    if (!v)
        return false;
    v->shape = shape;
    v->dtype = dtype;
    return json_quant(r->g->arena, json_object_get(j, "scale"), AT_KEY(at, "scale"),
                      json_object_get(j, "zero_point"), AT_KEY(at, "zero_point"),
                      json_object_get(j, "axis"), AT_KEY(at, "axis"), 1, &v->shape, &v->quant,
                      err) &&
           graph_add_input(r->g, v, err);
}

static bool read_inputs(struct json_reader *r, struct bpu_error *err)
{
    const struct json_at *at = AT_KEY(NULL, "inputs");
    json_t *inputs;
    if (!json_member(r->root, NULL, "inputs", JSON_ARRAY, true, &inputs, err))
        return false;
    for (size_t i = 0; i < json_array_size(inputs); i++)
        if (!read_input(r, json_array_get(inputs, i), (int)i, AT_INDEX(at, i), err))
            return false;
    return import_options_used(r->req, r->g, err);
}

static bool read_outputs(struct json_reader *r, struct bpu_error *err)
{
    const struct json_at *at = AT_KEY(NULL, "outputs");
    json_t *outputs;
    if (!json_member(r->root, NULL, "outputs", JSON_ARRAY, true, &outputs, err))
        return false;
    if (json_array_size(outputs) == 0) {
        json_fail(err, BPU_BAD_MODEL, at, "the graph has no outputs");
        return error_hint(err, "Name the values that the network gives.");
    }
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        struct value *v = json_find_value(r, json_array_get(outputs, i), AT_INDEX(at, i), err);
        if (!v)
            return false;
        if (v->is_output)
            return json_fail(err, BPU_BAD_MODEL, AT_INDEX(at, i),
                             "the output \"%s\" is listed twice", v->name);
        if (!graph_add_output(r->g, v, err))
            return false;
    }
    return true;
}

/* jansson keeps no positions, so the lines of the nodes come from a walk over the text, which is
 * known to be good JSON by now.  A node that names a file of its own keeps what it says. */
static void node_lines(struct json_reader *r)
{
    const char *text = (const char *)r->req->data, *word = text;
    size_t size = r->req->size, word_length = 0, next = 0;
    int depth = 0;
    int64_t line = 1;
    bool in_nodes = false;
    for (size_t i = 0; i < size && next < (size_t)r->g->node_count; i++) {
        char c = text[i];
        if (c == '"') {
            word = text + i + 1;
            for (i++; i < size && text[i] != '"'; i++)
                i += text[i] == '\\';
            word_length = (size_t)(text + i - word);
        } else if (c == ':' && depth == 1) {
            in_nodes = word_length == 5 && memcmp(word, "nodes", 5) == 0;
        } else if (c == '{' || c == '[') {
            if (c == '{' && depth == 2 && in_nodes) {
                struct origin *o = &r->file_nodes[next++]->origin;
                o->line = o->file ? o->line : line;
            }
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == '\n') {
            line++;
        }
    }
}

/* Sorts, then infers node by node; errors name the node's place in the file. */
static bool infer_nodes(struct json_reader *r, struct bpu_error *err)
{
    int count = r->g->node_count;
    size_t *file_index = ARENA_ARRAY(r->g->arena, size_t, count, err);
    if (!file_index)
        return false;
    struct bpu_error inner = {0};
    if (!graph_sort(r->g, &inner)) {
        const struct node *n = inner.where[0] ? graph_find_node(r->g, inner.where) : NULL;
        size_t i = 0;
        while (n && i < (size_t)count && r->file_nodes[i] != n)
            i++;
        json_fail(err, inner.code, n ? AT_INDEX(AT_KEY(NULL, "nodes"), i) : AT_KEY(NULL, "nodes"),
                  "%s", inner.message);
        return error_hint(err, "%s", inner.hint);
    }
    for (size_t i = 0; i < (size_t)count; i++)
        file_index[r->file_nodes[i]->index] = i;
    for (int i = 0; i < count; i++)
        if (!json_node_apply(r, file_index[i], err))
            return false;
    return true;
}

struct graph *json_graph(struct json_reader *r, struct arena *a, struct bpu_error *err)
{
    struct graph *g = NULL;
    size_t left = a->quota > a->used ? a->quota - a->used : 0;
    r->root = json_read_text(r->req->data, r->req->size, left, err);
    if (!r->root)
        return NULL;
    if (!read_head(r, a, err) || !json_tensors(r, err) || !read_inputs(r, err) ||
        !json_nodes(r, err) || !read_outputs(r, err))
        goto out;
    node_lines(r);
    if (!infer_nodes(r, err) || !json_folds(r, err))
        goto out;
    g = r->g;
out:
    json_decref(r->root);
    return g;
}

struct graph *import_graph_json(struct arena *a, const struct import_request *req,
                                struct bpu_error *err)
{
    struct json_reader r = {.req = req, .format = "graph-json"};
    return json_graph(&r, a, err);
}
