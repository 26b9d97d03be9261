/* The files of --input, and their frames in the type of the graph's input.
 *
 *   --input x=images.npy      by name
 *   --input images.npz:test   the array "test" of the file
 *   --input images.npy        the first input that no name claims
 *   --input all.npz           several arrays: each feeds the input of its name
 *
 * Which array feeds which input, as how many frames, is decided by core/job/feed.c. */
#include <inttypes.h>
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

bool run_source_open(struct arena *a, const char *text, struct run_source *s, struct bpu_error *err)
{
    memset(s, 0, sizeof *s);
    if (!split(s, text, err) || !cli_open(s->path, &s->file, err))
        return false;
    if (array_file_read(a, s->file.data, s->file.size, &s->arrays, err))
        return true;
    /* The place that the reader gave is one in this file. */
    char place[sizeof err->where];
    snprintf(place, sizeof place, "%.140s%s%.100s", s->path, err->where[0] ? ", " : "", err->where);
    memcpy(err->where, place, sizeof place);
    return false;
}

void run_source_close(struct run_source *s)
{
    cli_close(&s->file);
    free(s->name);
    free(s->path);
    free(s->key);
    memset(s, 0, sizeof *s);
}

bool run_inputs_add(struct run_inputs *in, const char *option, const char *text, size_t most,
                    struct bpu_error *err)
{
    if (in->count == most)
        return error_set(err, BPU_USAGE, option, "more than %zu file%s", most, most == 1 ? "" : "s");
    in->texts[in->count++] = text;
    return true;
}

bool run_inputs_open(struct arena *a, struct run_inputs *in, struct bpu_error *err)
{
    while (in->opened < in->count) {
        struct run_source *f = &in->files[in->opened];
        if (!run_source_open(a, in->texts[in->opened++], f, err))
            return false;
        in->sources[in->opened - 1] = (struct feed_source){
            .name = f->name, .key = f->key, .what = f->path, .arrays = f->arrays};
    }
    return true;
}

void run_inputs_close(struct run_inputs *in)
{
    for (size_t i = 0; i < in->opened; i++)
        run_source_close(&in->files[i]);
    in->opened = 0;
}

bool run_engine_read(const char *text, enum run_engine *out, struct bpu_error *err)
{
    bool fast = strcmp(text, "fast") == 0;
    if (!fast && strcmp(text, "reference") != 0) {
        error_set(err, BPU_USAGE, "--engine", "\"%.80s\" is neither fast nor reference", text);
        return error_hint(err, "Write --engine reference or fast.");
    }
    *out = fast ? RUN_FAST : RUN_REFERENCE;
    return true;
}

/* ── types ── */

bool run_feed_init(struct arena *a, const struct value *v, const struct feed *feed,
                   struct run_feed *f, struct bpu_error *err)
{
    const struct array *x = feed->array;
    /* Cannot overflow: the array's bytes are all there. */
    *f = (struct run_feed){.feed = feed, .frame_bytes = x->bytes / (size_t)feed->frames};
    if (!dtype_is_float(v->dtype) && dtype_is_float(x->dtype)) {
        error_set(err, BPU_BAD_SHAPE, feed->what,
                  "the array%s%s holds %s; the input \"%s\" takes %s", x->name ? " " : "",
                  x->name ? x->name : "", dtype_name(x->dtype), v->name, dtype_name(v->dtype));
        if (dtype_is_quantized(v->dtype) && v->quant.count == 1)
            return error_hint(err, "Give the integers: rint(x / %.9g) + %" PRId64 ", saturated.",
                              v->quant.scale[0], v->quant.zero_point ? v->quant.zero_point[0] : 0);
        return error_hint(err, "Give integers.");
    }
    /* A byte of a boolean may be more than 1, and has to be looked at. */
    if (x->dtype == v->dtype && x->dtype != DT_BOOL)
        return true;
    f->converted =
        arena_alloc_array(a, (size_t)shape_elements(&v->shape), dtype_size(v->dtype), err);
    return f->converted != NULL;
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
            return error_set(err, BPU_BAD_SHAPE, f->feed->what,
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
    const struct array *x = f->feed->array;
    if (f->feed->frames == 1)
        i = 0; /* the same one for all */
    const char *bytes = (const char *)x->data + (size_t)i * f->frame_bytes;
    if (!f->converted)
        return bytes;
    int64_t n = shape_elements(&v->shape);
    if (v->dtype == DT_FLOAT32)
        return array_floats(x, i * n, n, f->converted, err) ? f->converted : NULL;
    struct tensor from = {.shape = v->shape, .dtype = x->dtype, .bytes = f->frame_bytes};
    struct tensor to = {.shape = v->shape, .dtype = v->dtype, .data = f->converted};
    memcpy(&from.data, &bytes, sizeof bytes); /* only read */
    if (!dtype_is_float(v->dtype))
        return convert_integers(f, &from, &to, v, n, i, err) ? f->converted : NULL;
    for (int64_t k = 0; k < n; k++)
        tensor_store_real(&to, k, tensor_real(&from, k));
    return f->converted;
}
