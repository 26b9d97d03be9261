/* The "attrs" of a node, by the attribute list of the operator's row.
 *
 * The row decides the kind: an integer becomes a float where a float is wanted, one integer stands
 * for a list, and anything else that does not fit is an error.  A node without a row keeps what the
 * JSON kind says. Numbers that JSON cannot write are the strings "inf", "-inf" and "nan". */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/import/graph_json.h"
#include "core/ops/op.h"

#define MAX_ATTRS 256

/* Constructor arguments of PyTorch's modules without effect at inference. */
static const char *const ignored[] = {
    "inplace",  "device",        "affine", "track_running_stats", "elementwise_affine",
    "training", "memory_format", NULL};

static const char *kind_text(enum attr_kind kind)
{
    switch (kind) {
    case ATTR_BOOL: return "true or false";
    case ATTR_INT: return "an integer";
    case ATTR_FLOAT: return "a number";
    case ATTR_STRING: return "a string";
    case ATTR_INTS: return "an integer or a list of integers";
    case ATTR_FLOATS: return "a number or a list of numbers";
    case ATTR_NONE: break;
    }
    return "null";
}

/* A number, or one of the strings for what JSON cannot write. */
static bool real_value(const json_t *j, double *out)
{
    const char *s = json_string_value(j);
    if (json_is_number(j))
        *out = json_number_value(j);
    else if (s && strcmp(s, "inf") == 0)
        *out = INFINITY;
    else if (s && strcmp(s, "-inf") == 0)
        *out = -INFINITY;
    else if (s && strcmp(s, "nan") == 0)
        *out = NAN;
    else
        return false;
    return true;
}

static bool all_integers(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_integer(json_array_get(list, i)))
            return false;
    return true;
}

static bool all_reals(const json_t *list)
{
    double x;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!real_value(json_array_get(list, i), &x))
            return false;
    return true;
}

/* What a value looks like when no row says it. */
static enum attr_kind natural_kind(const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_TRUE:
    case JSON_FALSE: return ATTR_BOOL;
    case JSON_INTEGER: return ATTR_INT;
    case JSON_REAL: return ATTR_FLOAT;
    case JSON_STRING: return ATTR_STRING;
    case JSON_ARRAY: return all_integers(j) ? ATTR_INTS : ATTR_FLOATS;
    default: return ATTR_NONE;
    }
}

static bool set_list(struct json_reader *r, struct node *n, const char *name, const json_t *j,
                     enum attr_kind kind, struct bpu_error *err)
{
    size_t count = json_array_size(j);
    struct arena *a = r->g->arena;
    if (kind == ATTR_INTS) {
        int64_t *ints = ARENA_ARRAY(a, int64_t, count, err);
        for (size_t i = 0; ints && i < count; i++)
            ints[i] = json_integer_value(json_array_get(j, i));
        return ints && node_set_ints(r->g, n, name, ints, (int)count, err);
    }
    double *floats = ARENA_ARRAY(a, double, count, err);
    for (size_t i = 0; floats && i < count; i++)
        (void)real_value(json_array_get(j, i), &floats[i]);
    return floats && node_set_floats(r->g, n, name, floats, (int)count, err);
}

/* Sets the attribute as `kind`; *fits false when the JSON value cannot be that. */
static bool set_as(struct json_reader *r, struct node *n, const char *name, const json_t *j,
                   enum attr_kind kind, bool *fits, struct bpu_error *err)
{
    struct graph *g = r->g;
    double x;
    *fits = true;
    if (json_is_null(j))
        return node_set_none(g, n, name, err);
    switch (kind) {
    case ATTR_BOOL:
        if (json_is_boolean(j))
            return node_set_bool(g, n, name, json_is_true(j), err);
        if (json_is_integer(j) && (json_integer_value(j) == 0 || json_integer_value(j) == 1))
            return node_set_bool(g, n, name, json_integer_value(j) == 1, err);
        break;
    case ATTR_INT:
        if (json_is_integer(j))
            return node_set_int(g, n, name, json_integer_value(j), err);
        break;
    case ATTR_FLOAT:
        if (real_value(j, &x))
            return node_set_float(g, n, name, x, err);
        break;
    case ATTR_STRING:
        if (json_is_string(j))
            return node_set_string(g, n, name, json_string_value(j), err);
        break;
    case ATTR_INTS:
        if (json_is_integer(j))
            return node_set_int(g, n, name, json_integer_value(j), err);
        if (json_is_array(j) && all_integers(j))
            return set_list(r, n, name, j, ATTR_INTS, err);
        break;
    case ATTR_FLOATS:
        if (real_value(j, &x))
            return node_set_float(g, n, name, x, err);
        if (json_is_array(j) && all_reals(j))
            return set_list(r, n, name, j, ATTR_FLOATS, err);
        break;
    case ATTR_NONE: break;
    }
    *fits = false;
    return true;
}

/* The first element that does not belong into a list of `kind`, for the pointer. */
static size_t odd_element(const json_t *list, enum attr_kind kind)
{
    size_t i = 0;
    double x;
    while (i < json_array_size(list) &&
           (kind == ATTR_INTS ? json_is_integer(json_array_get(list, i))
                              : real_value(json_array_get(list, i), &x)))
        i++;
    return i;
}

static bool mismatch(const struct node *n, const char *name, const json_t *j, enum attr_kind kind,
                     const struct json_at *at, struct bpu_error *err)
{
    if (json_is_array(j) && (kind == ATTR_INTS || kind == ATTR_FLOATS)) {
        size_t i = odd_element(j, kind);
        return json_fail(err, BPU_BAD_MODEL, AT_INDEX(at, i),
                         "the attribute \"%s\" of %s holds %s in its list; %s is expected", name,
                         n->op_name, json_kind(json_array_get(j, i)), kind_text(kind));
    }
    return json_fail(err, BPU_BAD_MODEL, at, "the attribute \"%s\" of %s is %s; %s is expected",
                     name, n->op_name, json_kind(j), kind_text(kind));
}

static bool unknown(const struct node *n, const char *name, const struct json_at *at,
                    struct bpu_error *err)
{
    const char *names[MAX_ATTRS + 1];
    size_t count = 0;
    for (const struct op_attr *a = n->op->attrs; a && a->name && count < MAX_ATTRS; a++)
        names[count++] = a->name;
    names[count] = NULL;
    json_fail(err, BPU_BAD_MODEL, at, "%s has no attribute \"%s\"", n->op->name, name);
    const char *near = json_near(name, names);
    if (near)
        return error_hint(err, "Did you mean \"%s\"?", near);
    char list[300] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    return count ? error_hint(err, "Its attributes: %s.", list) : error_hint(err, "It has none.");
}

static bool is_ignored(const char *name)
{
    for (const char *const *i = ignored; *i; i++)
        if (strcmp(*i, name) == 0)
            return true;
    return false;
}

static bool read_attr(struct json_reader *r, struct node *n, const char *name, const json_t *j,
                      const struct json_at *at, struct bpu_error *err)
{
    const struct op_attr *spec = n->op ? op_attr_find(n->op, name) : NULL;
    bool fits;
    if (json_is_false(j) && strcmp(name, "bias") == 0 && node_param(n, "bias")) {
        json_fail(err, BPU_BAD_MODEL, at, "the attribute \"bias\" is false, but there is a bias");
        return error_hint(err, "Remove the param \"bias\" or the attribute.");
    }
    if (n->op && !spec)
        return is_ignored(name) || unknown(n, name, at, err);
    enum attr_kind kind = spec && spec->kind != ATTR_NONE ? spec->kind : natural_kind(j);
    if (!set_as(r, n, name, j, kind, &fits, err))
        return false;
    return fits || mismatch(n, name, j, kind, at, err);
}

bool json_attrs(struct json_reader *r, struct node *n, json_t *attrs, const struct json_at *at,
                struct bpu_error *err)
{
    const char *name;
    json_t *j;
    if (json_object_size(attrs) > MAX_ATTRS)
        return json_fail(err, BPU_LIMIT, at, "the node has %zu attributes; at most %d can be held",
                         json_object_size(attrs), MAX_ATTRS);
    json_object_foreach(attrs, name,
                        j) if (!read_attr(r, n, name, j, AT_KEY(at, name), err)) return false;
    return true;
}
