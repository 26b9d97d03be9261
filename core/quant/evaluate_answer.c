/* What a network answers, and which answers would have been right.
 *
 * An output of shape N x C x … holds C scores for every sample and position; integers are the answers
 * themselves.  Of equal scores the class with the lower number wins, as argmax of NumPy and PyTorch
 * decide it; a score that is NaN loses against every other. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/ops/fold.h"
#include "core/quant/evaluate_private.h"

double evaluate_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ── labels ── */

static bool label_at(const struct array *from, int64_t i, int64_t *out)
{
    const unsigned char *p = (const unsigned char *)from->data + (size_t)i * dtype_size(from->dtype);
    if (!dtype_is_float(from->dtype)) {
        *out = fold_load_int(p, from->dtype);
        return *out >= 0;
    }
    double x = fold_load_real(p, from->dtype);
    if (!(x >= 0 && x < 0x1p53) || x > floor(x))
        return false;
    *out = (int64_t)x;
    return true;
}

bool evaluate_labels_read(struct arena *a, const struct array *from, const char *what,
                          struct evaluate_labels *out, struct bpu_error *err)
{
    int64_t n = shape_elements(&from->shape);
    *out = (struct evaluate_labels){.what = what};
    if (n < 0 || dtype_is_quantized(from->dtype) || dtype_size(from->dtype) == 0)
        return error_set(err, BPU_BAD_SHAPE, what, "these are no labels");
    int64_t *items = ARENA_ARRAY(a, int64_t, n, err);
    if (!items)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (!label_at(from, i, &items[i])) {
            error_set(err, BPU_BAD_SHAPE, what, "label %" PRId64 " is %.9g, which is no class", i,
                      fold_load_real((const unsigned char *)from->data +
                                         (size_t)i * dtype_size(from->dtype),
                                     from->dtype));
            return error_hint(err, "Labels are the numbers of the classes, from 0.");
        }
    out->items = items;
    out->count = n;
    return true;
}

/* ── outputs ── */

static bool list_outputs(const struct graph *g, struct bpu_error *err)
{
    char list[300] = "", text[SHAPE_TEXT_MAX];
    for (int i = 0; i < g->output_count; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%.60s (%s)", i ? ", " : "", g->outputs[i]->name,
                 shape_text(&g->outputs[i]->shape, text));
    }
    return error_hint(err, "The outputs are: %s.", list[0] ? list : "none");
}

bool answer_layout_find(const struct graph *g, const char *name, struct answer_layout *out,
                        struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    *out = (struct answer_layout){.samples = 1, .positions = 1};
    while (name && out->output < g->output_count &&
           strcmp(g->outputs[out->output]->name, name) != 0)
        out->output++;
    if (out->output >= g->output_count) {
        error_set(err, BPU_BAD_OPTION, "output", "the network has no output \"%.150s\"",
                  name ? name : "");
        return list_outputs(g, err);
    }
    const struct value *v = g->outputs[out->output];
    const struct shape *s = &v->shape;
    int at = 0;
    if (shape_elements(s) < 1)
        return error_set(err, BPU_UNSUPPORTED, v->name, "the output \"%.150s\" has no fixed shape",
                         v->name);
    if (!dtype_is_float(v->dtype) && !dtype_is_quantized(v->dtype)) {
        out->samples = shape_elements(s); /* one answer per element */
        return true;
    }
    if (s->rank > 1)
        out->samples = s->dim[at++];
    while (at < s->rank - 1 && s->dim[at] == 1)
        at++;
    out->classes = at < s->rank ? s->dim[at++] : 1;
    for (; at < s->rank; at++)
        out->positions *= s->dim[at];
    if (out->classes >= 2)
        return true;
    error_set(err, BPU_UNSUPPORTED, v->name,
              "the output \"%.150s\" of shape %s has no scores of two or more classes", v->name,
              shape_text(s, text));
    return g->output_count > 1 ? list_outputs(g, err) : false;
}

static double score_at(const struct tensor *t, int64_t i)
{
    float x;
    if (t->dtype != DT_FLOAT32)
        return tensor_real(t, i);
    memcpy(&x, (const char *)t->data + (size_t)i * sizeof x, sizeof x);
    return (double)x;
}

struct answer answer_read(const struct answer_layout *l, const struct tensor *output, int64_t sample,
                          int64_t position, int64_t label)
{
    struct answer out = {.rank = -1};
    if (l->classes == 0) {
        out.predicted = tensor_int(output, sample * l->positions + position);
        return out;
    }
    int64_t first = sample * l->classes * l->positions + position;
    double best = -INFINITY, own = 0;
    bool any = false;
    if (label >= 0 && label < l->classes) {
        own = score_at(output, first + label * l->positions);
        own = isnan(own) ? -INFINITY : own;
        out.rank = 0;
    }
    for (int64_t c = 0; c < l->classes; c++) {
        double x = score_at(output, first + c * l->positions);
        out.not_finite += !isfinite(x);
        x = isnan(x) ? -INFINITY : x;
        out.rank += out.rank >= 0 && (x > own || (c < label && x >= own));
        if (!any || x > best) {
            best = x;
            out.predicted = c;
            out.tie = false;
            any = true;
        } else
            out.tie = out.tie || x >= best;
    }
    return out;
}
