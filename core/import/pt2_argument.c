/* Arguments: a union per argument, with one field that says its type. */
#include <inttypes.h>
#include <string.h>

#include "core/import/pt2.h"

struct py_value *pt2_read(struct pt2_import *im, json_t *j, const struct json_at *at,
                          const char *key)
{
    const char *name = pt2_text(j, at, key, im->ts.err);
    struct py_value *v = name ? name_table_find(im->scope->names, name) : NULL;
    if (!v && name) {
        json_fail(im->ts.err, BPU_BAD_MODEL, AT_KEY(at, key),
                  "\"%.150s\" is read, but nothing before makes it", name);
        error_hint(im->ts.err, "Nodes must stand in the order in which they run.");
    }
    return v;
}

static struct py_value *wrong(struct pt2_import *im, const struct json_at *at, const json_t *j,
                              const char *want)
{
    json_fail(im->ts.err, BPU_BAD_MODEL, at, "here stands %s; %s is expected", json_kind(j), want);
    return NULL;
}

static struct py_value *text(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    struct py_value *v = json_is_string(j) ? ts_new(&im->ts, PY_STRING) : NULL;
    if (!json_is_string(j))
        return wrong(im, at, j, "a string");
    if (v)
        v->text = arena_strdup(im->ts.arena, json_string_value(j), im->ts.err);
    return v && v->text ? v : NULL;
}

static struct py_value *integer(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    return json_is_integer(j) ? ts_int(&im->ts, json_integer_value(j))
                              : wrong(im, at, j, "an integer");
}

static struct py_value *real(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    double r;
    return pt2_real(j, &r) ? ts_float(&im->ts, r) : wrong(im, at, j, "a number");
}

static struct py_value *boolean(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    return json_is_boolean(j) ? ts_bool(&im->ts, json_is_true(j)) : wrong(im, at, j, "a boolean");
}

static struct py_value *tensor(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    return pt2_read(im, (json_t *)j, at, "name");
}

/* {"as_name": "sym_size"}, {"as_int": 3}, {"as_tensor": …}, {"as_none": true} … */
static struct py_value *named(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    const char *tag;
    json_t *value;
    if (!pt2_union(j, at, &tag, &value, im->ts.err))
        return NULL;
    const struct json_at *in = AT_KEY(at, tag);
    if (strcmp(tag, "as_name") == 0)
        return pt2_read(im, (json_t *)j, at, tag);
    if (strcmp(tag, "as_tensor") == 0)
        return tensor(im, value, in);
    if (strcmp(tag, "as_none") == 0)
        return &im->ts.none;
    if (strcmp(tag, "as_int") == 0)
        return integer(im, value, in);
    if (strcmp(tag, "as_float") == 0)
        return real(im, value, in);
    if (strcmp(tag, "as_bool") == 0)
        return boolean(im, value, in);
    json_fail(im->ts.err, BPU_BAD_MODEL, at, "\"%.60s\" is no type of value that is known", tag);
    return NULL;
}

/* PyTorch's number of an element type. */
static struct py_value *scalar_type(struct pt2_import *im, const json_t *j,
                                    const struct json_at *at)
{
    if (!json_is_integer(j))
        return wrong(im, at, j, "the number of an element type");
    int64_t code = pt2_scalar_type(json_integer_value(j));
    return code >= 0 ? ts_int(&im->ts, code) : ts_new(&im->ts, PY_UNKNOWN);
}

typedef struct py_value *item_fn(struct pt2_import *im, const json_t *j, const struct json_at *at);

static struct py_value *list(struct pt2_import *im, const json_t *j, const struct json_at *at,
                             item_fn *item)
{
    size_t i;
    json_t *element;
    struct py_value *v = json_is_array(j) ? ts_new(&im->ts, PY_LIST) : wrong(im, at, j, "a list");
    json_array_foreach(j, i, element)
    {
        if (!v || !ts_append(&im->ts, v, item(im, element, AT_INDEX(at, i))))
            return NULL;
    }
    return v;
}

static struct py_value *integers(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    return list(im, j, at, integer);
}

static struct py_value *tensors(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    return list(im, j, at, tensor);
}

static struct py_value *nothing(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    (void)j;
    (void)at;
    return &im->ts.none; /* layout, device, memory format: of no consequence here */
}

static struct py_value *opaque(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    (void)j;
    (void)at;
    return ts_new(&im->ts, PY_UNKNOWN);
}

static struct py_value *subgraph(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    const json_t *name = json_object_get(j, "name");
    json_fail(im->ts.err, BPU_UNSUPPORTED, at, "an operator takes the graph \"%.100s\" as argument",
              json_is_string(name) ? json_string_value(name) : "?");
    error_hint(im->ts.err, "Only straight-line programs are read: export without torch.cond, "
                           "while_loop, map and scan.");
    return NULL;
}

struct py_value *pt2_argument(struct pt2_import *im, const json_t *j, const struct json_at *at)
{
    static const struct {
        const char *tag;
        item_fn *read, *each; /* each: of a list */
    } rows[] = {
        {"as_none", nothing, NULL},
        {"as_tensor", tensor, NULL},
        {"as_tensors", NULL, tensor},
        {"as_int", integer, NULL},
        {"as_ints", NULL, integer},
        {"as_float", real, NULL},
        {"as_floats", NULL, real},
        {"as_string", text, NULL},
        {"as_strings", NULL, text},
        {"as_sym_int", named, NULL},
        {"as_sym_ints", NULL, named},
        {"as_sym_bool", named, NULL},
        {"as_sym_bools", NULL, named},
        {"as_sym_float", named, NULL},
        {"as_sym_floats", NULL, named},
        {"as_scalar_type", scalar_type, NULL},
        {"as_memory_format", nothing, NULL},
        {"as_layout", nothing, NULL},
        {"as_device", nothing, NULL},
        {"as_bool", boolean, NULL},
        {"as_bools", NULL, boolean},
        {"as_optional_tensor", named, NULL},
        {"as_optional_tensors", NULL, named},
        {"as_nested_tensors", NULL, tensors},
        {"as_int_lists", NULL, integers},
        {"as_graph", subgraph, NULL},
        {"as_custom_obj", opaque, NULL},
        {"as_operator", text, NULL},
        {"as_complex", opaque, NULL},
        {"as_string_to_argument", opaque, NULL},
    };
    const char *tag;
    json_t *value;
    if (!pt2_union(j, at, &tag, &value, im->ts.err))
        return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].tag, tag) == 0)
            return rows[i].read ? rows[i].read(im, value, AT_KEY(at, tag))
                                : list(im, value, AT_KEY(at, tag), rows[i].each);
    json_fail(im->ts.err, BPU_BAD_MODEL, AT_KEY(at, tag),
              "\"%.60s\" is no type of argument that is known", tag);
    return NULL;
}
