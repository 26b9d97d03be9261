/* Accuracy: every frame through the float network and through the fixed one, answers against labels.
 *
 * Both run over a frame before the next one is read, so that nothing is kept but counts. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/quant/evaluate_private.h"

enum { MAX_CELLS = 1 << 22 }; /* of a confusion matrix */

/* One network that runs. */
struct runner {
    const struct graph *graph;
    struct run *run;
    struct frame frame;
    struct tensor output;
    struct answer_layout layout;
};

static bool runner_new(struct arena *a, struct runner *n, const struct graph *g, const char *output,
                       const struct evaluate_request *r, struct bpu_error *err)
{
    const struct run_options options = {.engine = r->options.engine};
    *n = (struct runner){.graph = g};
    if (!answer_layout_find(g, output, &n->layout, err) ||
        !(n->run = run_new(a, g, &options, err)) || !frame_new(a, g, &n->frame, err))
        return false;
    const struct value *v = g->outputs[n->layout.output];
    n->output = (struct tensor){.shape = v->shape,
                                .dtype = v->dtype,
                                .quant = v->quant,
                                .data = n->frame.outputs[n->layout.output]};
    return true;
}

static bool runner_frame(struct runner *n, const struct quant_data *data, int64_t i,
                         struct bpu_error *err)
{
    return frame_fill(&n->frame, data, i, err) &&
           run_frame(n->run, (const void *const *)n->frame.inputs, n->frame.outputs, NULL, NULL,
                     err);
}

static bool same_layout(const struct answer_layout *a, const struct answer_layout *b)
{
    return a->samples == b->samples && a->classes == b->classes && a->positions == b->positions;
}

/* ── labels against the network ── */

static bool labels_check(const struct evaluate_request *r, const struct answer_layout *l,
                         struct accuracy_pair *out, struct bpu_error *err)
{
    const struct evaluate_labels *labels = &r->labels;
    int64_t most = -1, each = l->samples * l->positions;
    if (!checked_mul(r->data.frames, each, &out->samples))
        return error_set(err, BPU_LIMIT, NULL, "too many answers to count");
    out->class_count = l->classes;
    out->labelled = labels->items != NULL;
    if (!out->labelled)
        return true;
    if (labels->more ? labels->count < out->samples : labels->count != out->samples) {
        error_set(err, BPU_BAD_SHAPE, labels->what,
                  "there are %" PRId64 " labels for %" PRId64 " answers", labels->count,
                  out->samples);
        return error_hint(err,
                          "%" PRId64 " frames with %" PRId64
                          " answers each are evaluated, and each answer needs a label.",
                          r->data.frames, each);
    }
    for (int64_t i = 0; i < out->samples; i++) {
        most = labels->items[i] > most ? labels->items[i] : most;
        if (labels->items[i] < 0 || (l->classes && labels->items[i] >= l->classes)) {
            error_set(err, BPU_BAD_SHAPE, labels->what,
                      "label %" PRId64 " is %" PRId64 "; the network knows the classes 0 to %" PRId64,
                      i, labels->items[i], l->classes - 1);
            return error_hint(err, "Labels are the positions of the classes in the output, from 0.");
        }
    }
    if (!l->classes)
        out->class_count = most + 1;
    return true;
}

/* ── counting ── */

static bool accuracy_new(struct arena *a, struct accuracy *out, int64_t classes,
                         struct bpu_error *err)
{
    int64_t cells;
    *out = (struct accuracy){.there = true};
    if (!(out->classes = ARENA_ARRAY(a, struct class_figures, classes, err)))
        return false;
    if (!checked_mul(classes, classes, &cells) || cells > MAX_CELLS)
        return true;
    return (out->matrix = ARENA_ARRAY(a, int64_t, cells, err)) != NULL;
}

static void accuracy_add(struct accuracy *out, const struct accuracy_pair *p,
                         const struct answer *answer, int64_t label)
{
    bool known = answer->predicted >= 0 && answer->predicted < p->class_count;
    out->ties += answer->tie;
    out->not_finite += answer->not_finite;
    if (known)
        out->classes[answer->predicted].predicted++;
    if (label < 0)
        return;
    bool right = answer->predicted == label;
    out->correct += right;
    out->correct5 += answer->rank >= 0 && answer->rank < 5;
    out->classes[label].count++;
    out->classes[label].correct += right;
    if (known && out->matrix)
        out->matrix[label * p->class_count + answer->predicted]++;
}

static int more_frequent(const void *a, const void *b)
{
    const struct confusion *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    return (x->predicted > y->predicted) - (x->predicted < y->predicted);
}

static bool confusions_sort(struct arena *a, struct accuracy *out, int64_t classes,
                            struct bpu_error *err)
{
    size_t capacity = 0;
    for (int64_t i = 0; out->matrix && i < classes * classes; i++) {
        if (!out->matrix[i] || i / classes == i % classes)
            continue;
        struct confusion *grown =
            arena_grow(a, out->confusions, out->confusion_count, out->confusion_count + 1,
                       sizeof *grown, &capacity, err);
        if (!grown)
            return false;
        out->confusions = grown;
        grown[out->confusion_count++] = (struct confusion){i / classes, i % classes, out->matrix[i]};
    }
    if (out->confusion_count)
        qsort(out->confusions, out->confusion_count, sizeof *out->confusions, more_frequent);
    return true;
}

static void count_frame(struct accuracy_pair *p, const struct runner *floats,
                        const struct runner *fixed, const struct evaluate_request *r, int64_t frame)
{
    const struct answer_layout *l = &p->layout;
    int64_t i = frame * l->samples * l->positions;
    for (int64_t n = 0; n < l->samples; n++)
        for (int64_t k = 0; k < l->positions; k++, i++) {
            int64_t label = p->labelled ? r->labels.items[i] : -1;
            struct answer a = {0}, b = {0};
            if (floats) {
                a = answer_read(l, &floats->output, n, k, label);
                accuracy_add(&p->floats, p, &a, label);
            }
            if (fixed) {
                b = answer_read(l, &fixed->output, n, k, label);
                accuracy_add(&p->fixed, p, &b, label);
            }
            p->same += floats && fixed && a.predicted == b.predicted;
        }
}

/* ── the whole ── */

static bool runners_open(struct arena *a, const struct graph *floats, const struct graph *fixed,
                         const struct evaluate_request *r, struct runner *x, struct runner *y,
                         struct accuracy_pair *out, struct bpu_error *err)
{
    char one[SHAPE_TEXT_MAX], other[SHAPE_TEXT_MAX];
    const struct runner *main = floats ? x : y;
    const char *name = r->options.output;
    if (floats) {
        if (!runner_new(a, x, floats, name, r, err))
            return false;
        name = fixed && x->layout.output < fixed->output_count
                   ? fixed->outputs[x->layout.output]->name
                   : name;
    }
    if (fixed && !runner_new(a, y, fixed, name, r, err))
        return false;
    if (!main->graph)
        return error_set(err, BPU_USAGE, NULL, "there is no network to evaluate");
    out->layout = main->layout;
    out->output = main->graph->outputs[main->layout.output]->name;
    if (floats && fixed && !same_layout(&x->layout, &y->layout)) {
        error_set(err, BPU_BAD_SHAPE, out->output,
                  "the float network answers with %s, the fixed-point network with %s",
                  shape_text(&x->output.shape, one), shape_text(&y->output.shape, other));
        return error_hint(err, "Is the second one made from the first one?");
    }
    return true;
}

bool accuracy_measure(struct arena *a, const struct graph *floats, const struct graph *fixed,
                      const struct evaluate_request *r, quant_progress_fn *progress, void *ctx,
                      struct accuracy_pair *out, struct bpu_error *err)
{
    struct runner x = {0}, y = {0};
    *out = (struct accuracy_pair){.frames = r->data.frames};
    if (!runners_open(a, floats, fixed, r, &x, &y, out, err) ||
        !labels_check(r, &out->layout, out, err) ||
        (floats && !accuracy_new(a, &out->floats, out->class_count, err)) ||
        (fixed && !accuracy_new(a, &out->fixed, out->class_count, err)))
        return false;
    out->top5 = out->layout.classes > 5;
    for (int64_t i = 0; i < r->data.frames; i++) {
        if (progress && i % 16 == 0)
            progress(ctx, "evaluate", (double)i / (double)r->data.frames);
        if ((floats && !runner_frame(&x, &r->data, i, err)) ||
            (fixed && !runner_frame(&y, &r->data, i, err)))
            return false;
        count_frame(out, floats ? &x : NULL, fixed ? &y : NULL, r, i);
    }
    if (progress)
        progress(ctx, "evaluate", 1);
    return (!floats || confusions_sort(a, &out->floats, out->class_count, err)) &&
           (!fixed || confusions_sort(a, &out->fixed, out->class_count, err));
}

bool accuracy_count(struct arena *a, const struct graph *g, const struct evaluate_request *r,
                    const struct answer_layout *l, double until, int64_t *correct,
                    struct bpu_error *err)
{
    struct runner n;
    int64_t right = 0, k = 0;
    *correct = -1;
    if (l->output >= g->output_count ||
        !runner_new(a, &n, g, g->outputs[l->output]->name, r, err))
        return false;
    for (int64_t i = 0; i < r->data.frames; i++) {
        if (i % 16 == 15 && evaluate_clock() >= until)
            return true;
        if (!runner_frame(&n, &r->data, i, err))
            return false;
        for (int64_t s = 0; s < l->samples; s++)
            for (int64_t p = 0; p < l->positions; p++)
                right += answer_read(&n.layout, &n.output, s, p, -1).predicted ==
                         r->labels.items[k++];
    }
    *correct = right;
    return true;
}
