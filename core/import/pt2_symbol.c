/* Symbolic extents: what torch.export leaves open.
 *
 * An expression is written as sympy prints it for Python, Mul(Integer(2), Symbol('s0', …)), and in
 * early versions as "s0".  The extents of the inputs give the symbols their values, and these are
 * held against the ranges for which the program was exported. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/pt2.h"

enum { MAX_DEPTH = 24, MAX_NAME = 64, MAX_TERMS = 64 };

struct reader {
    const struct pt2_import *im;
    const char *at;
    int depth;
};

static void skip(struct reader *r)
{
    while (*r->at == ' ')
        r->at++;
}

static bool accept(struct reader *r, char c)
{
    skip(r);
    if (*r->at != c)
        return false;
    r->at++;
    return true;
}

static bool read_name(struct reader *r, char out[MAX_NAME])
{
    size_t n = 0;
    skip(r);
    while (isalnum((unsigned char)r->at[n]) || r->at[n] == '_' || r->at[n] == '.')
        if (++n >= MAX_NAME)
            return false;
    memcpy(out, r->at, n);
    out[n] = '\0';
    r->at += n;
    return n > 0;
}

static bool find(const struct pt2_import *im, const char *name, int64_t *out)
{
    const int64_t *v = name_table_find(im->symbols, name);
    if (v)
        *out = *v;
    return v != NULL;
}

/* 'name', keyword arguments) of a symbol. */
static bool symbol(struct reader *r, char name[MAX_NAME])
{
    if (!accept(r, '\'') || !read_name(r, name) || !accept(r, '\''))
        return false;
    while (*r->at && *r->at != ')')
        r->at++;
    return accept(r, ')');
}

static bool combine(const char *op, int64_t a, int64_t b, int64_t *out)
{
    if (strcmp(op, "Add") == 0)
        return checked_add(a, b, out);
    if (strcmp(op, "Mul") == 0)
        return checked_mul(a, b, out);
    if (strcmp(op, "Max") == 0)
        *out = a > b ? a : b;
    else if (strcmp(op, "Min") == 0)
        *out = a < b ? a : b;
    else if (strstr(op, "Div") && b > 0) /* FloorDiv, CleanDiv, CeilDiv */
        *out = a / b - (a % b < 0) + (op[0] == 'C' && op[1] == 'e' && a % b != 0);
    else if (strstr(op, "Mod") && b > 0) /* Mod, PythonMod */
        *out = (a % b + b) % b;
    else
        return false;
    return true;
}

static bool expression(struct reader *r, int64_t *out)
{
    char name[MAX_NAME], *end;
    int64_t term;
    if (r->depth >= MAX_DEPTH)
        return false;
    skip(r);
    if (*r->at == '-' || isdigit((unsigned char)*r->at)) {
        *out = strtoll(r->at, &end, 10);
        bool any = end != r->at;
        r->at = end;
        return any;
    }
    if (!read_name(r, name))
        return false;
    if (!accept(r, '('))
        return find(r->im, name, out);
    const char *op = strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
    if (strcmp(op, "Symbol") == 0)
        return symbol(r, name) && find(r->im, name, out);
    r->depth++;
    bool ok = expression(r, out);
    for (int n = 0; ok && accept(r, ','); n++)
        ok = n < MAX_TERMS && expression(r, &term) && combine(op, *out, term, out);
    r->depth--;
    return ok && accept(r, ')');
}

bool pt2_symbol_eval(const struct pt2_import *im, const char *expr, int64_t *out)
{
    struct reader r = {.im = im, .at = expr};
    if (!expression(&r, out))
        return false;
    skip(&r);
    return *r.at == '\0';
}

/* The symbol that expr consists of; false if it is more than one. */
static bool only_symbol(const char *expr, char name[MAX_NAME])
{
    struct reader r = {.at = expr};
    char head[MAX_NAME];
    if (!read_name(&r, head) || isdigit((unsigned char)head[0]))
        return false;
    snprintf(name, MAX_NAME, "%s", head);
    bool ok = strcmp(head, "Symbol") != 0 || (accept(&r, '(') && symbol(&r, name));
    skip(&r);
    return ok && *r.at == '\0';
}

static const char *expr_of(const json_t *j)
{
    const json_t *expr = json_object_get(j, "as_expr");
    return json_string_value(json_object_get(expr, "expr_str"));
}

bool pt2_sym_int(const struct pt2_import *im, const json_t *j, int64_t *out, bool *at_export)
{
    const json_t *i = json_object_get(j, "as_int");
    const char *expr = expr_of(j);
    *at_export = false;
    if (json_is_integer(i)) {
        *out = json_integer_value(i);
        return true;
    }
    if (expr && pt2_symbol_eval(im, expr, out))
        return true;
    const json_t *hint = json_object_get(json_object_get(j, "as_expr"), "hint");
    if (json_is_object(hint))
        hint = json_object_get(hint, "as_int");
    *at_export = json_is_integer(hint);
    if (*at_export)
        *out = json_integer_value(hint);
    return *at_export;
}

struct shape pt2_shape(const struct pt2_import *im, const struct pt2_meta *meta)
{
    struct shape s = meta->shape;
    for (int i = 0; i < s.rank; i++) {
        const char *expr = expr_of(json_array_get(meta->sizes, (size_t)i));
        int64_t n;
        if (s.dim[i] < 0 && expr && pt2_symbol_eval(im, expr, &n) && n >= 0)
            s.dim[i] = n;
    }
    return s;
}

/* ── inputs ── */

static bool bad_extent(struct pt2_import *im, const char *name, int axis, const char *fmt, ...)
    BPU_PRINTF(4, 5);
static bool bad_extent(struct pt2_import *im, const char *name, int axis, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(im->ts.err, BPU_BAD_OPTION, NULL, "extent %d of input \"%.100s\" %s", axis, name,
              text);
    error_where(im->ts.err, "input \"%.100s\"", name);
    return false;
}

static bool check_range(struct pt2_import *im, const char *name, int axis, const char *s, int64_t n)
{
    const json_t *range = json_object_get(json_object_get(im->root, "range_constraints"), s);
    const json_t *lo = json_object_get(range, "min_val"), *hi = json_object_get(range, "max_val");
    bool low = json_is_integer(lo) && n < json_integer_value(lo);
    bool high = json_is_integer(hi) && n > json_integer_value(hi);
    if (!low && !high)
        return true;
    char to[32] = "any number";
    if (json_is_integer(hi))
        snprintf(to, sizeof to, "%" JSON_INTEGER_FORMAT, json_integer_value(hi));
    bad_extent(im, name, axis,
               "is to be %" PRId64 ", but the program was exported for %" JSON_INTEGER_FORMAT
               " to %s (%.40s)",
               n, json_is_integer(lo) ? json_integer_value(lo) : 0, to, s);
    return error_hint(im->ts.err, "Choose an extent of that range, or export with "
                                  "dynamic_shapes that allow this one.");
}

/* The extent n of an input gives the symbol of its expression its value. */
static bool bind_extent(struct pt2_import *im, const char *name, int axis, const char *expr,
                        int64_t n)
{
    char s[MAX_NAME];
    int64_t known;
    if (!only_symbol(expr, s)) {
        if (!pt2_symbol_eval(im, expr, &known) || known == n)
            return true;
        return bad_extent(im, name, axis, "is to be %" PRId64 ", but other inputs make it %" PRId64,
                          n, known);
    }
    if (find(im, s, &known) && known != n) {
        bad_extent(im, name, axis,
                   "is to be %" PRId64 ", but it is the same as another extent (%.40s), which "
                   "is %" PRId64,
                   n, s, known);
        return error_hint(im->ts.err, "Give the inputs shapes that belong together.");
    }
    int64_t *place = ARENA_NEW(im->ts.arena, int64_t, im->ts.err);
    char *key = place ? arena_strdup(im->ts.arena, s, im->ts.err) : NULL;
    if (!key)
        return false;
    *place = n;
    return name_table_put(im->symbols, key, place, im->ts.err) && check_range(im, name, axis, s, n);
}

static bool needed(struct pt2_import *im, const char *name, const struct shape *shape)
{
    char text[SHAPE_TEXT_MAX];
    error_set(im->ts.err, BPU_SHAPE_NEEDED, NULL,
              "the file leaves the shape of input \"%.100s\" open (%.150s)", name,
              shape_text(shape, text));
    error_where(im->ts.err, "input \"%.100s\"", name);
    return error_hint(im->ts.err, "Give it: --option input.%.100s=%s", name,
                      shape->rank == 4 ? "1x3x224x224" : "1x…");
}

bool pt2_input_shape(struct pt2_import *im, const char *name, int index,
                     const struct pt2_meta *meta, struct shape *shape, enum dtype *dtype)
{
    struct ts_import *ts = &im->ts;
    struct shape given;
    enum dtype as = DT_UNKNOWN;
    bool found, guessed = false;
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    *shape = meta->shape;
    *dtype = meta->dtype;
    if (!import_input_shape(ts->req, name, index, &given, &as, &found, ts->err))
        return false;
    if (found && as != DT_UNKNOWN)
        *dtype = as;
    if (found && given.rank != shape->rank) {
        error_set(ts->err, BPU_BAD_OPTION, NULL,
                  "option input.%.100s gives the shape %.120s, but the file says %.120s", name,
                  shape_text(&given, a), shape_text(shape, b));
        error_where(ts->err, "input \"%.100s\"", name);
        return error_hint(ts->err, "An option may only fill in what the file leaves open (?).");
    }
    for (int i = 0; i < shape->rank; i++) {
        const json_t *j = json_array_get(meta->sizes, (size_t)i);
        const char *expr = expr_of(j);
        bool at_export = false;
        if (meta->shape.dim[i] >= 0) {
            if (!found || given.dim[i] == meta->shape.dim[i])
                continue;
            bad_extent(im, name, i, "is to be %" PRId64 ", but the file says %" PRId64,
                       given.dim[i], meta->shape.dim[i]);
            return error_hint(ts->err, "An option may only fill in what the file leaves open (?).");
        }
        if (found)
            shape->dim[i] = given.dim[i];
        else if (!pt2_sym_int(im, j, &shape->dim[i], &at_export) || shape->dim[i] < 0) {
            shape->dim[i] = -1;
            return needed(im, name, &meta->shape);
        }
        guessed = guessed || at_export;
        if (expr && !bind_extent(im, name, i, expr, shape->dim[i]))
            return false;
    }
    return !guessed ||
           graph_add_note(ts->graph, ts->err,
                          "input \"%s\" has open extents (%s): %s is taken, as at export; the "
                          "option input.%s gives others",
                          name, shape_text(&meta->shape, a), shape_text(shape, b), name);
}
