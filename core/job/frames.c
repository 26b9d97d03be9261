/* Pictures in a data set are bytes or fractions; networks were trained on normalized values.  The
 * usual formula is applied on the way in, so that the file can stay as it is. */
#include "core/job/frames.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHANNELS = 64 };

struct preparation {
    double scale, mean[MAX_CHANNELS], std[MAX_CHANNELS];
    int mean_count, std_count;
};

struct frames {
    const struct graph *graph;
    struct feed *feeds;
    struct preparation preparation;
    const char *prefix; /* for messages */
};

struct options {
    const struct job_option *items;
    size_t count;
    const char *prefix, *fallback;
};

static const char *const words[] = {"scale", "mean", "std", "frames"};

bool frames_option(const char *prefix, const char *key)
{
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0 || key[n] != '.')
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(key + n + 1, words[i]) == 0)
            return true;
    return false;
}

const char *job_option_find(const struct job_option *options, size_t count, const char *key)
{
    const char *value = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(options[i].key, key) == 0)
            value = options[i].value;
    return value;
}

/* ── options ── */

static const char *option_value(const struct options *o, const char *word, char key[64])
{
    snprintf(key, 64, "%.40s.%s", o->prefix, word);
    const char *value = job_option_find(o->items, o->count, key);
    if (value || !o->fallback || strcmp(word, "frames") == 0) /* how many is said of one data set */
        return value;
    snprintf(key, 64, "%.40s.%s", o->fallback, word);
    return job_option_find(o->items, o->count, key);
}

static bool numbers(const struct options *o, const char *word, double *out, int most, int *count,
                    struct bpu_error *err)
{
    char key[64];
    const char *text = option_value(o, word, key);
    if (!text)
        return true;
    *count = 0;
    for (const char *s = text;; s++) {
        char *end;
        double v = strtod(s, &end);
        if (end == s || !isfinite(v) || (*end && *end != ',') || *count == most) {
            error_set(err, BPU_BAD_OPTION, key, "\"%.80s\" is not %s", text,
                      most == 1 ? "a number" : "a number or a list of at most 64 numbers");
            return error_hint(err, "For example %s=%s", key,
                              most == 1 ? "0.00392156862745098" : "0.485,0.456,0.406");
        }
        out[(*count)++] = v;
        if (!*end)
            return true;
        s = end;
    }
}

bool frames_count(const char *key, const char *text, int64_t *out, struct bpu_error *err)
{
    char *end;
    long long n = strtoll(text, &end, 10);
    if (!*text || *end || n < 0 || n > 1000000000)
        return error_set(err, BPU_BAD_OPTION, key, "\"%.80s\" is not a number of frames", text);
    *out = n;
    return true;
}

static bool preparation_read(const struct options *o, struct preparation *p, int64_t *most,
                             struct bpu_error *err)
{
    char key[64];
    int one = 0;
    *p = (struct preparation){.scale = 1};
    *most = INT64_MAX;
    if (!numbers(o, "scale", &p->scale, 1, &one, err) ||
        !numbers(o, "mean", p->mean, MAX_CHANNELS, &p->mean_count, err) ||
        !numbers(o, "std", p->std, MAX_CHANNELS, &p->std_count, err))
        return false;
    if (p->scale == 0) {
        (void)option_value(o, "scale", key);
        return error_set(err, BPU_BAD_OPTION, key, "0 would make every value the same");
    }
    for (int i = 0; i < p->std_count; i++)
        if (!(p->std[i] > 0)) {
            (void)option_value(o, "std", key);
            return error_set(err, BPU_BAD_OPTION, key, "%g is not positive", p->std[i]);
        }
    const char *text = option_value(o, "frames", key);
    return !text || frames_count(key, text, most, err);
}

/* ── reading ── */

static bool prepare(const struct frames *f, const struct value *v, float *x, int64_t n,
                    struct bpu_error *err)
{
    const struct preparation *p = &f->preparation;
    const struct shape *s = &v->shape;
    int64_t channels = s->rank >= 3 ? s->dim[s->rank - 3] : 1;
    int64_t inner = s->rank >= 3 ? s->dim[s->rank - 2] * s->dim[s->rank - 1] : n;
    if ((p->mean_count > 1 && p->mean_count != channels) ||
        (p->std_count > 1 && p->std_count != channels)) {
        error_set(err, BPU_BAD_OPTION, NULL,
                  "the input \"%s\" has %lld channels; mean and std take one number or one per channel",
                  v->name, (long long)channels);
        return error_where(err, "%.40s.%s", f->prefix,
                           p->mean_count > 1 && p->mean_count != channels ? "mean" : "std");
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t k = inner > 0 && channels > 0 ? i / inner % channels : 0;
        double mean = p->mean_count ? p->mean[p->mean_count > 1 ? k : 0] : 0;
        double std = p->std_count ? p->std[p->std_count > 1 ? k : 0] : 1;
        x[i] = (float)(((double)x[i] * p->scale - mean) / std);
    }
    return true;
}

static bool read_frame(void *ctx, int64_t i, int input, float *out, struct bpu_error *err)
{
    struct frames *f = ctx;
    const struct value *v = f->graph->inputs[input];
    const struct feed *from = &f->feeds[input];
    const struct preparation *p = &f->preparation;
    int64_t n = shape_elements(&v->shape);
    if (!array_floats(from->array, (from->frames == 1 ? 0 : i) * n, n, out, err))
        return false;
    bool as_it_is = !p->mean_count && !p->std_count && p->scale >= 1 && p->scale <= 1;
    return as_it_is || !dtype_is_float(v->dtype) || prepare(f, v, out, n, err);
}

bool frames_open(struct arena *a, const struct graph *g, struct feed_source *sources, size_t count,
                 const struct job_option *options, size_t option_count, const char *prefix,
                 const char *fallback, struct quant_data *out, struct bpu_error *err)
{
    const struct options o = {options, option_count, prefix, fallback};
    int64_t frames, most;
    struct frames *f = ARENA_NEW(a, struct frames, err);
    *out = (struct quant_data){0};
    if (!f || !preparation_read(&o, &f->preparation, &most, err))
        return false;
    if (!count)
        return true;
    f->graph = g;
    f->prefix = prefix;
    if (!feed_bind(a, g, sources, count, &f->feeds, &frames, err))
        return false;
    *out = (struct quant_data){read_frame, f, frames < most ? frames : most};
    return true;
}
