/* Inputs and outputs: the signature says which names of the program are weights, which the user's
 * tensors, and what becomes of the results.  Containers are flat already. */
#include <stdio.h>
#include <string.h>

#include "core/import/pt2.h"

bool pt2_bind(struct pt2_import *im, const char *name, const struct json_at *at, struct py_value *v)
{
    if (!name[0])
        return json_fail(im->ts.err, BPU_BAD_MODEL, at, "a value has no name");
    if (name_table_find(im->scope->names, name))
        return json_fail(im->ts.err, BPU_BAD_MODEL, at, "two values are named \"%.150s\"", name);
    return name_table_put(im->scope->names, name, v, im->ts.err);
}

bool pt2_describe(struct pt2_import *im, const char *name, const struct json_at *at,
                  struct pt2_meta *out)
{
    struct pt2_scope *s = im->scope;
    json_t *values = pt2_member(s->graph, s->at, "tensor_values", JSON_OBJECT, im->ts.err);
    json_t *j = json_object_get(values, name);
    if (!values)
        return false;
    if (!j)
        return json_fail(im->ts.err, BPU_BAD_MODEL, at,
                         "the tensor \"%.150s\" is not described in tensor_values", name);
    return pt2_meta(j, AT_KEY(AT_KEY(s->at, "tensor_values"), name), out, im->ts.err);
}

/* ── inputs ── */

static bool weight_input(struct pt2_import *im, json_t *spec, const struct json_at *at,
                         const char *key, bool constant)
{
    struct pt2_meta meta = {0};
    json_t *arg = pt2_member(spec, at, "arg", JSON_OBJECT, im->ts.err);
    const char *name = arg ? pt2_text(arg, AT_KEY(at, "arg"), "name", im->ts.err) : NULL;
    const char *of = name ? pt2_text(spec, at, key, im->ts.err) : NULL;
    if (!of || !pt2_describe(im, name, AT_KEY(at, "arg"), &meta))
        return false;
    /* What is not saved with the state is among the constants; of old, it was the other way round.
     */
    const struct pt2_store *first = constant ? &im->constants : &im->weights;
    const struct pt2_store *second = constant ? &im->weights : &im->constants;
    bool elsewhere = !pt2_has(first, of) && pt2_has(second, of);
    struct py_value *v = pt2_weight(im, elsewhere ? second : first, of, &meta);
    return v && pt2_bind(im, name, at, v);
}

static bool tensor_input(struct pt2_import *im, json_t *arg, const struct json_at *at, int *index)
{
    struct ts_import *ts = &im->ts;
    struct pt2_meta meta = {0};
    struct shape shape;
    enum dtype dtype = DT_UNKNOWN;
    const char *name = pt2_text(arg, at, "name", ts->err);
    if (!name || !pt2_describe(im, name, at, &meta) ||
        !pt2_input_shape(im, name, *index, &meta, &shape, &dtype))
        return false;
    if (dtype == DT_UNKNOWN) {
        error_set(ts->err, BPU_UNSUPPORTED, NULL,
                  "input \"%.100s\" has the element type number %lld, which is not read", name,
                  (long long)meta.code);
        return error_where(ts->err, "input \"%.100s\"", name);
    }
    struct value *v = graph_add_value(ts->graph, name, ts->err);
    if (!v || !graph_add_input(ts->graph, v, ts->err))
        return false;
    v->shape = shape;
    v->dtype = dtype;
    ++*index;
    return pt2_bind(im, name, at, ts_tensor(ts, v));
}

/* A size as an input: the value that it had at export, or one of an input's extents. */
static bool number_input(struct pt2_import *im, json_t *arg, const struct json_at *at,
                         const char *kind)
{
    struct ts_import *ts = &im->ts;
    const char *tag;
    json_t *value;
    int64_t n;
    bool at_export;
    if (!pt2_union(arg, at, &tag, &value, ts->err))
        return false;
    if (strcmp(tag, "as_name") != 0)
        return true;
    const char *name = pt2_text(arg, at, tag, ts->err);
    if (!name)
        return false;
    const json_t *described =
        json_object_get(json_object_get(im->scope->graph, "sym_int_values"), name);
    bool known = strcmp(kind, "as_sym_int") == 0 && pt2_sym_int(im, described, &n, &at_export);
    if (known && at_export &&
        !graph_add_note(ts->graph, ts->err, "input \"%s\" is a number: %lld is taken, as at export",
                        name, (long long)n))
        return false;
    return pt2_bind(im, name, at, known ? ts_int(ts, n) : ts_new(ts, PY_UNKNOWN));
}

static bool user_input(struct pt2_import *im, json_t *spec, const struct json_at *at, int *index)
{
    struct ts_import *ts = &im->ts;
    const char *tag;
    json_t *value, *arg = pt2_member(spec, at, "arg", JSON_OBJECT, ts->err);
    const struct json_at *in = AT_KEY(at, "arg");
    if (!arg || !pt2_union(arg, in, &tag, &value, ts->err))
        return false;
    const struct json_at *inner = AT_KEY(in, tag);
    if (strcmp(tag, "as_tensor") == 0)
        return tensor_input(im, value, inner, index);
    if (strncmp(tag, "as_sym_", 7) == 0)
        return number_input(im, value, inner, tag);
    static const char *const constant[] = {"as_none", "as_int", "as_float", "as_string", "as_bool"};
    for (size_t i = 0; i < sizeof constant / sizeof constant[0]; i++)
        if (strcmp(tag, constant[i]) == 0)
            return true; /* part of the program by now */
    return json_fail(ts->err, BPU_UNSUPPORTED, in, "an input is \"%.60s\", not a tensor", tag);
}

/* A name that stands for nothing that is read here. */
static bool opaque_input(struct pt2_import *im, json_t *spec, const struct json_at *at)
{
    json_t *arg = pt2_member(spec, at, "arg", JSON_OBJECT, im->ts.err);
    const char *name = arg ? pt2_text(arg, AT_KEY(at, "arg"), "name", im->ts.err) : NULL;
    struct py_value *v = name ? ts_new(&im->ts, PY_UNKNOWN) : NULL;
    return v && pt2_bind(im, name, at, v);
}

static bool read_input(struct pt2_import *im, json_t *j, const struct json_at *at, int *index)
{
    const char *kind;
    json_t *spec;
    if (!pt2_union(j, at, &kind, &spec, im->ts.err))
        return false;
    const struct json_at *in = AT_KEY(at, kind);
    if (strcmp(kind, "user_input") == 0)
        return user_input(im, spec, in, index);
    if (strcmp(kind, "parameter") == 0)
        return weight_input(im, spec, in, "parameter_name", false);
    if (strcmp(kind, "buffer") == 0)
        return weight_input(im, spec, in, "buffer_name",
                            json_is_false(json_object_get(spec, "persistent")));
    if (strcmp(kind, "tensor_constant") == 0)
        return weight_input(im, spec, in, "tensor_constant_name", true);
    if (strcmp(kind, "constant_input") == 0)
        return true; /* a number, a text or None, part of the program by now */
    if (strcmp(kind, "custom_obj") == 0 || strcmp(kind, "token") == 0)
        return opaque_input(im, spec, in);
    return json_fail(im->ts.err, BPU_BAD_MODEL, in, "\"%.60s\" is no kind of input that is known",
                     kind);
}

bool pt2_inputs(struct pt2_import *im)
{
    const struct json_at *module = AT_KEY(NULL, "graph_module");
    const struct json_at *at = AT_KEY(AT_KEY(module, "signature"), "input_specs");
    json_t *specs = pt2_member(im->signature, at->up, "input_specs", JSON_ARRAY, im->ts.err);
    json_t *inputs =
        specs ? pt2_member(im->scope->graph, im->scope->at, "inputs", JSON_ARRAY, im->ts.err)
              : NULL;
    int index = 0;
    if (!inputs)
        return false;
    size_t count = json_array_size(specs);
    if (count != json_array_size(inputs))
        return json_fail(im->ts.err, BPU_BAD_MODEL, at,
                         "the signature has %zu inputs, the graph %zu", count,
                         json_array_size(inputs));
    for (size_t i = 0; i < count; i++)
        if (!read_input(im, json_array_get(specs, i), AT_INDEX(at, i), &index))
            return false;
    /* What the graph reads must be what the signature names. */
    for (size_t i = 0; i < count; i++) {
        const struct json_at *here = AT_INDEX(AT_KEY(im->scope->at, "inputs"), i);
        if (!pt2_argument(im, json_array_get(inputs, i), here))
            return false;
    }
    return true;
}

/* ── outputs ── */

static bool user_output(struct pt2_import *im, json_t *spec, const struct json_at *at)
{
    struct graph *g = im->ts.graph;
    json_t *arg = pt2_member(spec, at, "arg", JSON_OBJECT, im->ts.err);
    struct py_value *v = arg ? pt2_argument(im, arg, AT_KEY(at, "arg")) : NULL;
    if (!v || !ts_is_tensor(v))
        return v != NULL; /* numbers and None are no outputs of a network */
    struct value *value = ts_value(&im->ts, v, NULL);
    for (int i = 0; value && i < g->output_count; i++)
        if (g->outputs[i] == value)
            return true;
    return value && graph_add_output(g, value, im->ts.err);
}

static bool read_output(struct pt2_import *im, json_t *j, const struct json_at *at)
{
    static const char *const changes[][2] = {{"buffer_mutation", "buffer_name"},
                                             {"parameter_mutation", "parameter_name"},
                                             {"user_input_mutation", "user_input_name"}};
    struct ts_import *ts = &im->ts;
    const char *kind, *name;
    json_t *spec;
    if (!pt2_union(j, at, &kind, &spec, ts->err))
        return false;
    const struct json_at *in = AT_KEY(at, kind);
    if (strcmp(kind, "user_output") == 0)
        return user_output(im, spec, in);
    if (strcmp(kind, "token") == 0)
        return true;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        if (strcmp(kind, changes[i][0]) == 0)
            return (name = pt2_text(spec, in, changes[i][1], ts->err)) &&
                   graph_add_note(ts->graph, ts->err,
                                  "the program changes \"%s\" on every run; inference here leaves "
                                  "it as it is in the file",
                                  name);
    if (strcmp(kind, "loss_output") == 0 || strncmp(kind, "gradient_", 9) == 0) {
        json_fail(ts->err, BPU_UNSUPPORTED, in, "the program has a \"%.60s\": it is for training",
                  kind);
        return error_hint(ts->err, "Export the module itself, in eval mode: "
                                   "torch.export.export(model.eval(), (example,)).");
    }
    return json_fail(ts->err, BPU_BAD_MODEL, in, "\"%.60s\" is no kind of output that is known",
                     kind);
}

bool pt2_outputs(struct pt2_import *im)
{
    const struct json_at *module = AT_KEY(NULL, "graph_module");
    const struct json_at *at = AT_KEY(AT_KEY(module, "signature"), "output_specs");
    json_t *specs = pt2_member(im->signature, at->up, "output_specs", JSON_ARRAY, im->ts.err);
    json_t *outputs =
        specs ? pt2_member(im->scope->graph, im->scope->at, "outputs", JSON_ARRAY, im->ts.err)
              : NULL;
    if (!outputs)
        return false;
    size_t count = json_array_size(specs);
    if (count != json_array_size(outputs))
        return json_fail(im->ts.err, BPU_BAD_MODEL, at,
                         "the signature has %zu outputs, the graph %zu", count,
                         json_array_size(outputs));
    for (size_t i = 0; i < count; i++)
        if (!read_output(im, json_array_get(specs, i), AT_INDEX(at, i)))
            return false;
    if (im->ts.graph->output_count > 0)
        return true;
    json_fail(im->ts.err, BPU_BAD_MODEL, at, "the program returns no tensor");
    return error_hint(im->ts.err, "A network must return a tensor, or several.");
}
