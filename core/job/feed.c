/* Arrays with the name of an input feed that input; one that is given by name in the request feeds the
 * input of that name; what is left feeds the inputs that are left, in order.  The files are uploads:
 * all that is said of them names the file. */
#include "core/job/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The place of an error in a file: the file, then the place that the reader gave. */
static bool in_file(const char *what, struct bpu_error *err)
{
    char place[sizeof err->where];
    snprintf(place, sizeof place, "%.120s%s%.100s", what, err->where[0] ? ", " : "", err->where);
    memcpy(err->where, place, sizeof place);
    return false;
}

/* ── shapes that the model leaves open ── */

struct option_list {
    struct job_option *items;
    size_t count, capacity;
};

static bool option_add(struct arena *a, struct option_list *l, const char *key, const char *value,
                       struct bpu_error *err)
{
    struct job_option *grown =
        arena_grow(a, l->items, l->count, l->count + 1, sizeof *grown, &l->capacity, err);
    if (!grown)
        return false;
    l->items = grown;
    grown[l->count++] = (struct job_option){key, value};
    return true;
}

/* One frame of the array: its shape with 1 in front. Integers wider than pixels are indices and keep their type. */
static bool shape_option(struct arena *a, struct option_list *l, const char *which,
                         const struct array *x, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const char *key = arena_printf(a, err, "input.%s", which);
    if (!key)
        return false;
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i].key, key) == 0)
            return true;
    struct shape frame = x->shape;
    if (frame.rank > 0)
        frame.dim[0] = 1;
    bool index = x->dtype == DT_INT64 || x->dtype == DT_INT32 || x->dtype == DT_BOOL;
    const char *value = arena_printf(a, err, "%s%s%s", shape_text(&frame, text), index ? ":" : "",
                                     index ? dtype_name(x->dtype) : "");
    return value && option_add(a, l, key, value, err);
}

bool feed_shape_options(struct arena *a, const struct feed_source *sources, size_t count,
                        const struct job_option *options, size_t option_count,
                        struct job_option **out, size_t *out_count, struct bpu_error *err)
{
    struct option_list l = {0};
    int position = 0;
    for (size_t i = 0; i < option_count; i++)
        if (!option_add(a, &l, options[i].key, options[i].value, err))
            return false;
    for (size_t i = 0; i < count; i++) {
        const struct feed_source *s = &sources[i];
        char number[20];
        if (!s->name && !s->key && s->arrays.count > 1) {
            for (size_t k = 0; k < s->arrays.count; k++)
                if (!shape_option(a, &l, s->arrays.items[k].name, &s->arrays.items[k], err))
                    return false;
            continue;
        }
        const struct array *x = array_find(&s->arrays, s->key, err);
        if (!x)
            return in_file(s->what, err);
        snprintf(number, sizeof number, "%d", position++);
        if (!shape_option(a, &l, s->name ? s->name : number, x, err))
            return false;
    }
    *out = l.items;
    *out_count = l.count;
    return true;
}

/* ── arrays and inputs ── */

/* Extents behind `skip` leading ones and behind leading extents of 1. */
static struct shape core_of(const struct shape *s, int skip)
{
    while (skip < s->rank && s->dim[skip] == 1)
        skip++;
    return shape_of(s->rank - skip, s->dim + skip);
}

/* How many frames of shape `own` an array of shape `s` holds; 0 if it does not fit. */
static int64_t frames_in(const struct shape *s, const struct shape *own)
{
    struct shape frame = core_of(own, 0), whole = core_of(s, 0);
    if (shape_equal(&frame, &whole))
        return 1;
    if (s->rank == 0)
        return 0;
    struct shape rest = core_of(s, 1);
    if (shape_equal(&frame, &rest))
        return s->dim[0];
    if (s->rank != own->rank || own->dim[0] < 1 || s->dim[0] % own->dim[0] != 0)
        return 0;
    for (int i = 1; i < own->rank; i++)
        if (s->dim[i] != own->dim[i])
            return 0;
    return s->dim[0] / own->dim[0];
}

static bool bind(const struct value *v, const struct feed_source *s, const struct array *x,
                 struct feed *f, struct bpu_error *err)
{
    char have[SHAPE_TEXT_MAX], want[SHAPE_TEXT_MAX];
    const char *name = x->name ? x->name : "";
    if (f->array)
        return error_set(err, BPU_USAGE, s->what, "the input \"%s\" is given twice: also by %s",
                         v->name, f->what);
    *f = (struct feed){.array = x, .what = s->what, .frames = frames_in(&x->shape, &v->shape)};
    if (f->frames < 1) {
        error_set(err, BPU_BAD_SHAPE, s->what,
                  "the array%s%s has the shape %s; the input \"%s\" of the model takes %s",
                  *name ? " " : "", name, shape_text(&x->shape, have), v->name,
                  shape_text(&v->shape, want));
        return error_hint(err, "Give one frame of that shape, or many along one more leading axis or "
                               "in place of the batch.");
    }
    return true;
}

static int input_named(const struct graph *g, const char *name)
{
    for (int i = 0; i < g->input_count; i++)
        if (strcmp(g->inputs[i]->name, name) == 0)
            return i;
    return -1;
}

static bool list_inputs(const struct graph *g, struct bpu_error *err)
{
    char list[300] = "", text[SHAPE_TEXT_MAX];
    for (int i = 0; i < g->input_count; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%.60s (%s %s)", i ? ", " : "", g->inputs[i]->name,
                 shape_text(&g->inputs[i]->shape, text), dtype_name(g->inputs[i]->dtype));
    }
    return error_hint(err, "The model's inputs are: %s.", list[0] ? list : "none");
}

/* A file of several arrays: by their names. */
static bool bind_all(const struct graph *g, const struct feed_source *s, struct feed *feeds,
                     struct bpu_error *err)
{
    bool any = false;
    for (size_t k = 0; k < s->arrays.count; k++) {
        int i = input_named(g, s->arrays.items[k].name);
        if (i >= 0 && !bind(g->inputs[i], s, &s->arrays.items[k], &feeds[i], err))
            return false;
        any = any || i >= 0;
    }
    if (any)
        return true;
    error_set(err, BPU_USAGE, s->what, "none of its %zu arrays has the name of an input",
              s->arrays.count);
    return list_inputs(g, err);
}

static bool bind_one(const struct graph *g, const struct feed_source *s, int i, struct feed *feeds,
                     struct bpu_error *err)
{
    const struct array *x = array_find(&s->arrays, s->key, err);
    return x ? bind(g->inputs[i], s, x, &feeds[i], err) : in_file(s->what, err);
}

static bool bind_named(const struct graph *g, struct feed_source *sources, size_t count,
                       struct feed *feeds, struct bpu_error *err)
{
    for (size_t k = 0; k < count; k++) {
        struct feed_source *s = &sources[k];
        s->used = true;
        if (s->name) {
            int i = input_named(g, s->name);
            if (i < 0) {
                error_set(err, BPU_USAGE, s->what, "the model has no input \"%s\"", s->name);
                return list_inputs(g, err);
            }
            if (!bind_one(g, s, i, feeds, err))
                return false;
        } else if (!s->key && s->arrays.count > 1) {
            if (!bind_all(g, s, feeds, err))
                return false;
        } else
            s->used = false; /* by position */
    }
    return true;
}

/* The number of frames; a file of one frame goes with any number of others. */
static bool agree(const struct graph *g, const struct feed *feeds, int64_t *frames,
                  struct bpu_error *err)
{
    const struct feed *most = NULL;
    *frames = 1;
    for (int i = 0; i < g->input_count; i++) {
        if (!feeds[i].array) {
            error_set(err, BPU_USAGE, g->inputs[i]->name, "nothing is given for the input \"%s\"",
                      g->inputs[i]->name);
            return list_inputs(g, err);
        }
        if (feeds[i].frames == 1)
            continue;
        if (most && feeds[i].frames != most->frames)
            return error_set(err, BPU_BAD_SHAPE, feeds[i].what,
                             "it holds %" PRId64 " frames for the input \"%s\", but %s holds %" PRId64,
                             feeds[i].frames, g->inputs[i]->name, most->what, most->frames);
        most = &feeds[i];
        *frames = most->frames;
    }
    return true;
}

bool feed_bind(struct arena *a, const struct graph *g, struct feed_source *sources, size_t count,
               struct feed **out, int64_t *frames, struct bpu_error *err)
{
    int next = 0;
    struct feed *feeds = ARENA_ARRAY(a, struct feed, g->input_count, err);
    *out = feeds;
    if (!feeds || !bind_named(g, sources, count, feeds, err))
        return false;
    for (size_t k = 0; k < count; k++) {
        if (sources[k].used)
            continue;
        while (next < g->input_count && feeds[next].array)
            next++;
        if (next == g->input_count) {
            error_set(err, BPU_USAGE, sources[k].what, "the model has no further input for this file");
            return list_inputs(g, err);
        }
        if (!bind_one(g, &sources[k], next, feeds, err))
            return false;
    }
    return agree(g, feeds, frames, err);
}
