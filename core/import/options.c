/* Options of the form input.NAME=1x3x224x224[:qint8]: what the file leaves open about its inputs.
 *
 * NAME is the name of an input, or its position counted from 0; a name wins over a position. */
#include <stdio.h>
#include <string.h>

#include "core/import/import.h"

#define PREFIX "input."
#define PREFIX_LENGTH (sizeof PREFIX - 1)

static bool malformed(const struct import_option *o, const char *what, struct bpu_error *err)
{
    error_set(err, BPU_BAD_OPTION, o->key, "the option %s=%s is wrong: %s", o->key, o->value, what);
    return error_hint(err,
                      "Write extents of 1 or more with x between them, and a dtype after a "
                      "colon if it is not float32: %s=1x3x224x224 or %s=1x3x224x224:qint8",
                      o->key, o->key);
}

static bool parse_extent(const char **at, int64_t *out)
{
    const char *c = *at;
    int64_t n = 0;
    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *c - '0', &n))
            return false;
    bool digits = c > *at;
    *at = c;
    *out = n;
    return digits && n >= 1;
}

static bool parse_value(const struct import_option *o, struct shape *shape, enum dtype *dtype,
                        struct bpu_error *err)
{
    const char *c = o->value;
    *shape = (struct shape){0};
    *dtype = DT_UNKNOWN;
    if (strncmp(c, "scalar", 6) == 0)
        c += 6;
    else
        for (;;) {
            if (shape->rank == SHAPE_MAX_RANK)
                return malformed(o, "it has more than 12 extents", err);
            if (!parse_extent(&c, &shape->dim[shape->rank++]))
                return malformed(o, "an extent is not an integer of 1 or more", err);
            if (*c != 'x' && *c != 'X' && *c != ',')
                break;
            c++;
        }
    if (shape_elements(shape) < 0 || shape_elements(shape) > INT64_MAX / 8)
        return malformed(o, "the shape has too many elements to count", err);
    if (*c == ':') {
        if (!dtype_find(c + 1, dtype))
            return malformed(o, "there is no such dtype", err);
    } else if (*c)
        return malformed(o, "something follows the shape", err);
    return true;
}

/* The position that `text` writes, or -1 if it is not a number. */
static int parse_position(const char *text)
{
    int n = 0;
    if (!*text)
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || n > 100000)
            return -1;
        n = n * 10 + (*text - '0');
    }
    return n;
}

static bool is_input_option(const struct import_option *o)
{
    return strncmp(o->key, PREFIX, PREFIX_LENGTH) == 0;
}

bool import_input_shape(const struct import_request *req, const char *name, int index,
                        struct shape *shape, enum dtype *dtype, bool *found, struct bpu_error *err)
{
    const struct import_option *by_name = NULL, *by_position = NULL;
    *found = false;
    for (size_t i = 0; i < req->option_count; i++) {
        const struct import_option *o = &req->options[i];
        if (!is_input_option(o))
            continue;
        const char *which = o->key + PREFIX_LENGTH;
        if (strcmp(which, name) == 0)
            by_name = o;
        else if (parse_position(which) == index)
            by_position = o;
    }
    const struct import_option *o = by_name ? by_name : by_position;
    if (!o)
        return true;
    if (!parse_value(o, shape, dtype, err))
        return false;
    if (by_name && by_position) {
        struct shape other;
        enum dtype other_dtype;
        if (!parse_value(by_position, &other, &other_dtype, err))
            return false;
        if (!shape_equal(shape, &other) || *dtype != other_dtype)
            return error_set(err, BPU_BAD_OPTION, by_name->key,
                             "%s=%s and %s=%s name the same input and differ", by_name->key,
                             by_name->value, by_position->key, by_position->value);
    }
    *found = true;
    return true;
}

bool import_options_used(const struct import_request *req, const struct graph *g,
                         struct bpu_error *err)
{
    for (size_t i = 0; i < req->option_count; i++) {
        const struct import_option *o = &req->options[i];
        if (!is_input_option(o))
            continue;
        const char *which = o->key + PREFIX_LENGTH;
        int position = parse_position(which);
        bool used = position >= 0 && position < g->input_count;
        for (int k = 0; k < g->input_count && !used; k++)
            used = strcmp(which, g->inputs[k]->name) == 0;
        if (used)
            continue;
        error_set(err, BPU_BAD_OPTION, o->key, "the model has no input \"%s\"", which);
        char list[300] = "";
        for (int k = 0; k < g->input_count; k++) {
            char text[SHAPE_TEXT_MAX];
            size_t n = strlen(list);
            snprintf(list + n, sizeof list - n, "%s%s (%s)", k ? ", " : "", g->inputs[k]->name,
                     shape_text(&g->inputs[k]->shape, text));
        }
        return error_hint(err, "Its %s: %s.", g->input_count == 1 ? "only input" : "inputs",
                          g->input_count ? list : "none");
    }
    return true;
}
