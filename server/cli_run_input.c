/* Which array of which file feeds which input of the graph, as how many frames, in which type.
 *
 *   --input x=images.npy      by name
 *   --input images.npz:test   the array "test" of the file
 *   --input images.npy        the first input that no name claims
 *   --input all.npz           several arrays: each feeds the input of its name
 *
 * The leading axis of an array may hold many frames; extents of 1 at the front of the graph's own
 * shape (the batch, the channel of grey images) may be missing in the file. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/run/kernel.h"
#include "server/cli_run.h"

/* ── the command line ── */

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* NAME= in front and :KEY behind, unless a file is really called so. */
static bool split(struct run_source *s, const char *text, struct bpu_error *err)
{
    const char *path = text, *eq = strchr(text, '=');
    char *colon;
    if (eq && eq != text && !exists(text)) {
        s->name = strndup(text, (size_t)(eq - text));
        path = eq + 1;
        if (!s->name)
            return error_set(err, BPU_NO_MEMORY, NULL, "no memory");
    }
    s->path = strdup(path);
    if (!s->path)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory");
    if (!exists(s->path) && (colon = strrchr(s->path, ':')) && colon[1]) {
        *colon = '\0';
        s->key = strdup(colon + 1);
        if (!s->key)
            return error_set(err, BPU_NO_MEMORY, NULL, "no memory");
    }
    if (s->path[0] == '\0') {
        error_set(err, BPU_USAGE, "--input", "\"%s\" names no file", text);
        return error_hint(err, "Write --input FILE.npy, NAME=FILE.npy or FILE.npz:KEY.");
    }
    return true;
}

/* The place of an error in a file: the file, then the place that the reader gave. */
static bool in_file(const char *path, struct bpu_error *err)
{
    char place[sizeof err->where];
    snprintf(place, sizeof place, "%s%s%.100s", path, err->where[0] ? ", " : "", err->where);
    if (strcmp(err->where, path) != 0)
        memcpy(err->where, place, sizeof place);
    return false;
}

bool run_source_open(struct arena *a, const char *text, struct run_source *s, struct bpu_error *err)
{
    memset(s, 0, sizeof *s);
    if (!split(s, text, err))
        return false;
    if (!cli_open(s->path, &s->file, err))
        return false;
    return array_file_read(a, s->file.data, s->file.size, &s->arrays, err) || in_file(s->path, err);
}

void run_source_close(struct run_source *s)
{
    cli_close(&s->file);
    free(s->name);
    free(s->path);
    free(s->key);
    memset(s, 0, sizeof *s);
}

/* ── shapes that the model leaves open ── */

static bool given(const struct cli *c, const char *key)
{
    for (size_t i = 0; i < c->option_count; i++)
        if (strcmp(c->options[i].key, key) == 0)
            return true;
    return false;
}

/* One frame of the array: its shape with 1 in front. Integers wider than pixels are indices and
 * keep their type. */
static bool shape_option(struct arena *a, struct cli *c, const char *which, const struct array *x,
                         struct bpu_error *err)
{
    char key[300], text[SHAPE_TEXT_MAX];
    snprintf(key, sizeof key, "input.%s", which);
    if (given(c, key))
        return true;
    struct shape frame = x->shape;
    if (frame.rank > 0)
        frame.dim[0] = 1;
    bool index = x->dtype == DT_INT64 || x->dtype == DT_INT32 || x->dtype == DT_BOOL;
    const char *value = arena_printf(a, err, "%s%s%s", shape_text(&frame, text), index ? ":" : "",
                                     index ? dtype_name(x->dtype) : "");
    char *option = value ? arena_printf(a, err, "%s=%s", key, value) : NULL;
    return option && cli_add_option(c, option, err);
}

bool run_shape_options(struct arena *a, const struct run_source *sources, size_t count,
                       struct cli *c, struct bpu_error *err)
{
    int position = 0;
    for (size_t i = 0; i < count; i++) {
        const struct run_source *s = &sources[i];
        char number[20];
        if (!s->name && !s->key && s->arrays.count > 1) {
            for (size_t k = 0; k < s->arrays.count; k++)
                if (!shape_option(a, c, s->arrays.items[k].name, &s->arrays.items[k], err))
                    return false;
            continue;
        }
        const struct array *x = array_find(&s->arrays, s->key, err);
        if (!x)
            return in_file(s->path, err);
        snprintf(number, sizeof number, "%d", position++);
        if (!shape_option(a, c, s->name ? s->name : number, x, err))
            return false;
    }
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

static bool bind(struct arena *a, const struct value *v, const struct run_source *s,
                 const struct array *x, struct run_feed *f, struct bpu_error *err)
{
    char have[SHAPE_TEXT_MAX], want[SHAPE_TEXT_MAX];
    const char *name = x->name ? x->name : "";
    if (f->array)
        return error_set(err, BPU_USAGE, s->path, "the input \"%s\" is given twice: also by %s",
                         v->name, f->path);
    *f = (struct run_feed){.array = x, .path = s->path};
    f->frames = frames_in(&x->shape, &v->shape);
    if (f->frames < 1) {
        error_set(err, BPU_BAD_SHAPE, s->path,
                  "the array%s%s has the shape %s; the input \"%s\" of the model takes %s",
                  *name ? " " : "", name, shape_text(&x->shape, have), v->name,
                  shape_text(&v->shape, want));
        return error_hint(err,
                          "Give one frame of that shape, or many along one more leading axis or "
                          "in place of the batch.");
    }
    /* Cannot overflow: the array's bytes are all there. */
    f->frame_bytes = x->bytes / (size_t)f->frames;
    bool integers = !dtype_is_float(x->dtype);
    if (!dtype_is_float(v->dtype) && !integers) {
        error_set(err, BPU_BAD_SHAPE, s->path, "the array%s%s holds %s; the input \"%s\" takes %s",
                  *name ? " " : "", name, dtype_name(x->dtype), v->name, dtype_name(v->dtype));
        if (dtype_is_quantized(v->dtype) && v->quant.count == 1)
            return error_hint(err, "Give the integers: rint(x / %.9g) + %" PRId64 ", saturated.",
                              v->quant.scale[0], v->quant.zero_point ? v->quant.zero_point[0] : 0);
        return error_hint(err, "Give integers.");
    }
    if (dtype_is_float(v->dtype) ? x->dtype == v->dtype
                                 : x->dtype != DT_BOOL && x->dtype == v->dtype)
        return true;
    int64_t n = shape_elements(&v->shape);
    f->converted = arena_alloc_array(a, (size_t)n, dtype_size(v->dtype), err);
    return f->converted != NULL;
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

/* An .npz of several arrays: by their names. */
static bool bind_all(struct arena *a, const struct graph *g, const struct run_source *s,
                     struct run_feed *feeds, struct bpu_error *err)
{
    bool any = false;
    for (size_t k = 0; k < s->arrays.count; k++) {
        int i = input_named(g, s->arrays.items[k].name);
        if (i >= 0 && !bind(a, g->inputs[i], s, &s->arrays.items[k], &feeds[i], err))
            return false;
        any = any || i >= 0;
    }
    if (any)
        return true;
    error_set(err, BPU_USAGE, s->path, "none of its %zu arrays has the name of an input",
              s->arrays.count);
    return list_inputs(g, err);
}

static bool bind_one(struct arena *a, const struct graph *g, const struct run_source *s, int i,
                     struct run_feed *feeds, struct bpu_error *err)
{
    const struct array *x = array_find(&s->arrays, s->key, err);
    if (!x)
        return in_file(s->path, err);
    return bind(a, g->inputs[i], s, x, &feeds[i], err);
}

static bool bind_named(struct arena *a, const struct graph *g, struct run_source *sources,
                       size_t count, struct run_feed *feeds, struct bpu_error *err)
{
    for (size_t k = 0; k < count; k++) {
        struct run_source *s = &sources[k];
        s->used = true;
        if (s->name) {
            int i = input_named(g, s->name);
            if (i < 0) {
                error_set(err, BPU_USAGE, "--input", "the model has no input \"%s\"", s->name);
                return list_inputs(g, err);
            }
            if (!bind_one(a, g, s, i, feeds, err))
                return false;
        } else if (!s->key && s->arrays.count > 1) {
            if (!bind_all(a, g, s, feeds, err))
                return false;
        } else
            s->used = false; /* by position */
    }
    return true;
}

bool run_bind(struct arena *a, const struct graph *g, struct run_source *sources, size_t count,
              struct run_feed *feeds, int64_t *frames, struct bpu_error *err)
{
    int next = 0;
    if (!bind_named(a, g, sources, count, feeds, err))
        return false;
    for (size_t k = 0; k < count; k++) {
        if (sources[k].used)
            continue;
        while (next < g->input_count && feeds[next].array)
            next++;
        if (next == g->input_count) {
            error_set(err, BPU_USAGE, sources[k].path,
                      "the model has no further input for this file");
            return list_inputs(g, err);
        }
        if (!bind_one(a, g, &sources[k], next, feeds, err))
            return false;
    }
    *frames = 1;
    for (int i = 0; i < g->input_count; i++) {
        if (!feeds[i].array) {
            error_set(err, BPU_USAGE, "--input", "nothing is given for the input \"%s\"",
                      g->inputs[i]->name);
            return list_inputs(g, err);
        }
        if (i > 0 && feeds[i].frames != *frames)
            return error_set(err, BPU_BAD_SHAPE, feeds[i].path,
                             "it holds %" PRId64
                             " frames for the input \"%s\", but %s holds %" PRId64,
                             feeds[i].frames, g->inputs[i]->name, feeds[0].path, *frames);
        *frames = feeds[i].frames;
    }
    return true;
}

/* ── frames ── */

/* Integers must arrive as they are. */
static bool convert_integers(const struct run_feed *f, const struct tensor *from, struct tensor *to,
                             const struct value *v, int64_t n, int64_t frame, struct bpu_error *err)
{
    int64_t lo, hi;
    dtype_range(to->dtype, &lo, &hi);
    for (int64_t i = 0; i < n; i++) {
        int64_t x = tensor_int(from, i);
        if (x < lo || x > hi || (from->dtype == DT_UINT64 && x < 0))
            return error_set(err, BPU_BAD_SHAPE, f->path,
                             "element %" PRId64 " of frame %" PRId64 " is %" PRId64
                             "; the input \"%s\" is %s and takes %" PRId64 " to %" PRId64,
                             i, frame, x, v->name, dtype_name(v->dtype), lo, hi);
        tensor_store_int(to, i, x);
    }
    return true;
}

const void *run_feed_frame(const struct run_feed *f, const struct value *v, int64_t i,
                           struct bpu_error *err)
{
    const char *bytes = (const char *)f->array->data + (size_t)i * f->frame_bytes;
    if (!f->converted)
        return bytes;
    int64_t n = shape_elements(&v->shape);
    if (v->dtype == DT_FLOAT32)
        return array_floats(f->array, i * n, n, f->converted, err) ? f->converted : NULL;
    struct tensor from = {.shape = v->shape, .dtype = f->array->dtype, .bytes = f->frame_bytes};
    struct tensor to = {.shape = v->shape, .dtype = v->dtype, .data = f->converted};
    memcpy(&from.data, &bytes, sizeof bytes); /* only read */
    if (!dtype_is_float(v->dtype))
        return convert_integers(f, &from, &to, v, n, i, err) ? f->converted : NULL;
    for (int64_t k = 0; k < n; k++)
        tensor_store_real(&to, k, tensor_real(&from, k));
    return f->converted;
}
