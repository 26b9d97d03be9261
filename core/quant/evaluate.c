/* evaluate: the parts in their order, and what can be left out. */
#include "core/quant/evaluate_private.h"

#include <string.h>

struct evaluate_options evaluate_defaults(void)
{
    return (struct evaluate_options){.layer_frames = EVALUATE_LAYER_FRAMES,
                                     .suggest = EVALUATE_SUGGEST,
                                     .seconds = EVALUATE_SECONDS,
                                     .engine = RUN_FAST};
}

static bool same_inputs(const struct graph *x, const struct graph *y, struct bpu_error *err)
{
    char one[SHAPE_TEXT_MAX], other[SHAPE_TEXT_MAX];
    static const char hint[] = "Is the second one made from the first one?";
    if (x->input_count != y->input_count || x->output_count != y->output_count) {
        error_set(err, BPU_BAD_SHAPE, NULL,
                  "the float network has %d inputs and %d outputs, the fixed-point network %d and %d",
                  x->input_count, x->output_count, y->input_count, y->output_count);
        return error_hint(err, hint);
    }
    for (int i = 0; i < x->input_count; i++) {
        const struct value *a = x->inputs[i], *b = y->inputs[i];
        if (shape_equal(&a->shape, &b->shape))
            continue;
        error_set(err, BPU_BAD_SHAPE, b->name,
                  "the float network takes %s, the fixed-point network %s",
                  shape_text(&a->shape, one), shape_text(&b->shape, other));
        return error_hint(err, hint);
    }
    return true;
}

/* Without labels a network need not be a classifier: its layers can be compared all the same. */
static bool measure_accuracy(struct evaluate_result *e, const struct graph *floats,
                             quant_progress_fn *progress, void *ctx, struct bpu_error *err)
{
    const struct evaluate_request *r = &e->request;
    const struct graph *g = floats ? floats : e->fixed;
    struct answer_layout layout;
    struct bpu_error no = {0};
    bool optional = !r->labels.items && !r->options.output && e->fused && e->fixed;
    if (optional && !answer_layout_find(g, NULL, &layout, &no)) {
        e->accuracy.frames = r->data.frames;
        e->why_no_accuracy = arena_strdup(e->arena, no.message, err);
        return e->why_no_accuracy != NULL;
    }
    return accuracy_measure(e->arena, floats, e->fixed, r, progress, ctx, &e->accuracy, err);
}

static bool measure_pair(struct evaluate_result *e, quant_progress_fn *progress, void *ctx,
                         struct bpu_error *err)
{
    const struct evaluate_request *r = &e->request;
    struct fuse_report ignored = {0};
    struct float_graph f;
    e->fused = r->fused ? r->fused : quant_fuse(e->arena, r->graph, &ignored, err);
    if (!e->fused || !float_graph_new(e->arena, e->fused, &f, err) ||
        !same_inputs(f.graph, e->fixed, err) ||
        !measure_accuracy(e, f.graph, progress, ctx, err))
        return false;
    double until = evaluate_clock() + r->options.seconds;
    if (r->options.layer_frames < 1) {
        e->why_no_layers = "a comparison of the layers was not asked for";
        e->suggestions.why = e->why_no_layers;
        return true;
    }
    const struct answer_layout *answers = e->why_no_accuracy ? NULL : &e->accuracy.layout;
    return layers_compare(e->arena, e->fused, e->fixed, &f, r, until, progress, ctx, &e->layers,
                          err) &&
           suggestions_find(e->arena, e->fused, e->fixed, f.graph, r, &e->layers, answers, until,
                            progress, ctx, &e->suggestions, err);
}

struct evaluate_result *evaluate_run(struct arena *a, const struct evaluate_request *r,
                                     quant_progress_fn *progress, void *ctx, struct bpu_error *err)
{
    struct evaluate_result *e = ARENA_NEW(a, struct evaluate_result, err);
    if (!e)
        return NULL;
    *e = (struct evaluate_result){.arena = a, .request = *r, .fixed = r->fixed};
    if (!r->data.frame || r->data.frames < 1) {
        error_set(err, BPU_BAD_OPTION, "data", "the data set holds no frame");
        return NULL;
    }
    if (!r->graph && !r->fixed) {
        error_set(err, BPU_USAGE, NULL, "there is no network to evaluate");
        return NULL;
    }
    if (r->graph && r->fixed)
        return measure_pair(e, progress, ctx, err) ? e : NULL;
    e->why_no_layers = r->graph ? "there is no fixed-point network to compare with"
                                : "there is no float network to compare with";
    e->suggestions.why = e->why_no_layers;
    return measure_accuracy(e, r->graph, progress, ctx, err) ? e : NULL;
}

static double share(const struct evaluate_result *e, const struct accuracy *a)
{
    if (!a->there || !e->accuracy.labelled || e->accuracy.samples < 1)
        return -1;
    return (double)a->correct / (double)e->accuracy.samples;
}

double evaluate_top1_float(const struct evaluate_result *e)
{
    return share(e, &e->accuracy.floats);
}

double evaluate_top1_fixed(const struct evaluate_result *e)
{
    return share(e, &e->accuracy.fixed);
}
