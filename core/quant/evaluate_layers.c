/* Layers: where the error of fixed point comes from.
 *
 *   float network   every result of a frame is kept
 *   fixed network   each result against float: the error as it has accumulated on the way there
 *   apart           the same layers, cut from each other: each gets what the float network has at
 *                   its inputs, quantized; what is wrong in its result is its own contribution
 * Values meet by their names, which fusing and converting keep. */
#include "core/quant/evaluate_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/quant/evaluate_apart.h"
#include "core/quant/scheme.h"

struct layers {
    struct arena *arena;
    const struct graph *fused, *fixed;
    const struct float_graph *floats;
    int *float_of;       /* by value index of fixed: index in the float graph; -1: none */
    float **kept;        /* by value index of the float graph; NULL: not needed */
    void **raw;          /* by value index of fixed: what the fixed run had, for inputs of layers
                            apart that have no counterpart; NULL: not needed */
    int *layer_of;       /* by value index of fixed: position among the layers; -1: none */
    int *output_of;      /* the same among the outputs */
    struct apart apart;
    void **apart_inputs, **apart_outputs;
    struct layer_comparison *out;
    struct bpu_error *err;
};

/* ── pairs ── */

static void pair(struct layers *l, const struct value *v, const char *suffix)
{
    char name[600];
    const struct value *x = l->floats->value_of[v->index];
    snprintf(name, sizeof name, "%.590s%s", v->name, suffix);
    const struct value *f = graph_find_value(l->fixed, name);
    if (x && f && !f->constant && scheme_is_real(f->dtype) && shape_equal(&f->shape, &v->shape) &&
        l->float_of[f->index] < 0)
        l->float_of[f->index] = x->index;
}

static bool pair_all(struct layers *l)
{
    static const char *const suffixes[] = {".fixed", "", ".float"};
    if (!(l->float_of = ARENA_ARRAY(l->arena, int, l->fixed->value_count, l->err)))
        return false;
    for (int i = 0; i < l->fixed->value_count; i++)
        l->float_of[i] = -1;
    for (int i = 0; i < l->fused->input_count && i < l->fixed->input_count; i++) {
        const struct value *x = l->floats->value_of[l->fused->inputs[i]->index];
        if (x && scheme_is_real(l->fixed->inputs[i]->dtype))
            l->float_of[l->fixed->inputs[i]->index] = x->index;
    }
    for (int i = 0; i < l->fused->output_count && i < l->fixed->output_count; i++) {
        const struct value *v = l->fused->outputs[i], *y = l->fixed->outputs[i];
        const struct value *x = l->floats->value_of[v->index];
        if (x && scheme_is_real(v->dtype) && scheme_is_real(y->dtype) &&
            shape_equal(&v->shape, &y->shape))
            l->float_of[y->index] = x->index;
    }
    for (int i = 0; i < l->fused->value_count; i++)
        for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++)
            if (!l->fused->values[i]->constant && scheme_is_real(l->fused->values[i]->dtype))
                pair(l, l->fused->values[i], suffixes[k]);
    return true;
}

static bool keep_floats(struct layers *l, int fixed)
{
    int x = l->float_of[fixed];
    int64_t n = x < 0 ? 0 : shape_elements(&l->floats->graph->values[x]->shape);
    return x < 0 || l->kept[x] || (l->kept[x] = ARENA_ARRAY(l->arena, float, n, l->err)) != NULL;
}

/* The fused value that stands behind each value of the float graph, for its name: the first one, as a
 * stub's result has the values of its operand. */
static const struct value **fused_values(struct layers *l)
{
    const struct value **out =
        ARENA_ARRAY(l->arena, const struct value *, l->floats->graph->value_count, l->err);
    for (int i = 0; out && i < l->fused->value_count; i++) {
        const struct value *x = l->floats->value_of[i];
        if (x && !out[x->index])
            out[x->index] = l->fused->values[i];
    }
    return out;
}

static bool list_layers(struct layers *l)
{
    struct layer_comparison *out = l->out;
    const struct value **fused = fused_values(l);
    if (!fused)
        return false;
    for (int i = 0; i < l->fixed->value_count; i++) {
        const struct value *f = l->fixed->values[i];
        int operand;
        l->layer_of[i] = l->output_of[i] = -1;
        if (l->float_of[i] < 0 || !f->producer || f->constant || f->producer->fold != FOLD_NONE ||
            !dtype_is_quantized(f->dtype) || f->dtype == DT_QBOOL)
            continue;
        const char *kernel = kernel_of(f->producer)->name;
        l->layer_of[i] = (int)out->count;
        out->layers[out->count++] = (struct layer_figures){
            .value = fused[l->float_of[i]],
            .fixed = f,
            .node = f->producer,
            .moves = strcmp(kernel, "quantize") == 0 || unify_keeps_scale(f->producer, &operand),
        };
        if (!keep_floats(l, i))
            return false;
    }
    for (int i = 0; i < out->output_count; i++) {
        const struct value *y = value_source(l->fixed->outputs[i]);
        out->outputs[i] = (struct layer_figures){
            .value = l->fused->outputs[i], .fixed = l->fixed->outputs[i], .node = y->producer};
        if (l->float_of[y->index] < 0)
            l->float_of[y->index] = l->float_of[l->fixed->outputs[i]->index];
        if (l->float_of[y->index] < 0)
            continue;
        l->output_of[y->index] = i;
        if (!keep_floats(l, y->index))
            return false;
    }
    return true;
}

/* What the layers apart read: floats to be quantized, or what the fixed run had. */
static bool ready_inputs(struct layers *l)
{
    const struct graph *g = l->apart.graph;
    l->apart_inputs = ARENA_ARRAY(l->arena, void *, g->input_count, l->err);
    l->apart_outputs = ARENA_ARRAY(l->arena, void *, g->output_count, l->err); /* all NULL */
    if (!l->apart_inputs || !l->apart_outputs)
        return false;
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = g->inputs[i];
        int from = l->apart.input_of[i];
        int64_t n = shape_elements(&v->shape);
        size_t size = dtype_size(v->dtype);
        if (n < 0 || size == 0)
            return error_set(l->err, BPU_BAD_MODEL, v->name, "the shape is not known");
        if (!(l->apart_inputs[i] = arena_alloc_array(l->arena, (size_t)n, size, l->err)))
            return false;
        if (l->float_of[from] < 0)
            l->raw[from] = l->apart_inputs[i];
        else if (!keep_floats(l, from))
            return false;
    }
    return true;
}

/* ── one frame ── */

static bool keep(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct layers *l = ctx;
    (void)err;
    if (l->kept[v->index] && t->dtype == DT_FLOAT32)
        memcpy(l->kept[v->index], t->data, (size_t)shape_elements(&t->shape) * sizeof(float));
    return true;
}

static bool meet(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct layers *l = ctx;
    (void)err;
    if (l->raw[v->index])
        memcpy(l->raw[v->index], t->data,
               (size_t)shape_elements(&t->shape) * dtype_size(t->dtype));
    const float *x = l->float_of[v->index] < 0 ? NULL : l->kept[l->float_of[v->index]];
    if (x && l->layer_of[v->index] >= 0)
        value_error_add(&l->out->layers[l->layer_of[v->index]].accumulated, x, t);
    if (x && l->output_of[v->index] >= 0)
        value_error_add(&l->out->outputs[l->output_of[v->index]].accumulated, x, t);
    return true;
}

static bool meet_apart(void *ctx, const struct value *v, const struct tensor *t,
                       struct bpu_error *err)
{
    struct layers *l = ctx;
    int f = l->apart.fixed_of[v->index], at = f < 0 ? -1 : l->layer_of[f];
    (void)err;
    if (at >= 0)
        value_error_add(&l->out->layers[at].own, l->kept[l->float_of[f]], t);
    return true;
}

static bool graph_inputs(struct layers *l, const struct graph *g, void *const *inputs,
                         run_trace_fn *fn)
{
    for (int k = 0; k < g->input_count; k++) {
        const struct value *v = g->inputs[k];
        struct tensor t = {.shape = v->shape, .dtype = v->dtype, .quant = v->quant,
                           .data = inputs[k]};
        if (!fn(l, v, &t, l->err))
            return false;
    }
    return true;
}

static void measure_rounding(struct layers *l)
{
    for (size_t i = 0; i < l->out->count; i++) {
        struct layer_figures *f = &l->out->layers[i];
        value_error_round(&f->rounding, l->kept[l->float_of[f->fixed->index]], f->fixed);
    }
}

static bool run_apart(struct layers *l, struct run *run)
{
    const struct graph *g = l->apart.graph;
    for (int i = 0; i < g->input_count; i++) {
        int x = l->float_of[l->apart.input_of[i]];
        if (x >= 0)
            apart_quantize(g->inputs[i], l->kept[x], l->apart_inputs[i]);
    }
    return run_frame(run, (const void *const *)l->apart_inputs, l->apart_outputs, meet_apart, l,
                     l->err);
}

static bool run_all(struct layers *l, const struct evaluate_request *r, int64_t frames,
                    double until, quant_progress_fn *progress, void *ctx)
{
    const struct run_options options = {.engine = r->options.engine};
    const struct graph *floats = l->floats->graph;
    struct frame fa, fb;
    struct run *a = run_new(l->arena, floats, &options, l->err);
    struct run *b = a ? run_new(l->arena, l->fixed, &options, l->err) : NULL;
    struct run *c = b ? run_new(l->arena, l->apart.graph, &options, l->err) : NULL;
    if (!c || !frame_new(l->arena, floats, &fa, l->err) ||
        !frame_new(l->arena, l->fixed, &fb, l->err))
        return false;
    for (int64_t i = 0; i < frames; i++) {
        if (i > 0 && evaluate_clock() >= until) {
            l->out->cut_off = true;
            break;
        }
        if (progress)
            progress(ctx, "layers", (double)i / (double)frames);
        if (!frame_fill(&fa, &r->data, i, l->err) || !frame_fill(&fb, &r->data, i, l->err) ||
            !graph_inputs(l, floats, fa.inputs, keep) ||
            !run_frame(a, (const void *const *)fa.inputs, fa.outputs, keep, l, l->err) ||
            !graph_inputs(l, l->fixed, fb.inputs, meet) ||
            !run_frame(b, (const void *const *)fb.inputs, fb.outputs, meet, l, l->err) ||
            !run_apart(l, c))
            return false;
        measure_rounding(l);
        l->out->frames++;
    }
    if (progress)
        progress(ctx, "layers", 1);
    return true;
}

/* ── the whole ── */

static int worse(const void *a, const void *b)
{
    const struct layer_figures *x = a, *y = b;
    double p = value_error_sqnr(&x->own), q = value_error_sqnr(&y->own);
    if (p < q || p > q)
        return p < q ? -1 : 1;
    return (x->fixed->index > y->fixed->index) - (x->fixed->index < y->fixed->index);
}

bool layers_compare(struct arena *a, const struct graph *fused, const struct graph *fixed,
                    const struct float_graph *floats, const struct evaluate_request *r,
                    double until, quant_progress_fn *progress, void *ctx,
                    struct layer_comparison *out, struct bpu_error *err)
{
    struct layers l = {.arena = a, .fused = fused, .fixed = fixed, .floats = floats, .out = out,
                       .err = err};
    int64_t frames = r->options.layer_frames < r->data.frames ? r->options.layer_frames
                                                              : r->data.frames;
    *out = (struct layer_comparison){
        .layers = ARENA_ARRAY(a, struct layer_figures, fixed->value_count, err),
        .outputs = ARENA_ARRAY(a, struct layer_figures, fused->output_count, err),
        .output_count = fused->output_count < fixed->output_count ? fused->output_count
                                                                  : fixed->output_count};
    l.kept = ARENA_ARRAY(a, float *, floats->graph->value_count, err);
    l.raw = ARENA_ARRAY(a, void *, fixed->value_count, err);
    l.layer_of = ARENA_ARRAY(a, int, fixed->value_count, err);
    l.output_of = ARENA_ARRAY(a, int, fixed->value_count, err);
    if (!out->layers || !out->outputs || !l.kept || !l.raw || !l.layer_of || !l.output_of ||
        !pair_all(&l) || !list_layers(&l) || !apart_new(a, fixed, &l.apart, err) ||
        !ready_inputs(&l) || !run_all(&l, r, frames, until, progress, ctx))
        return false;
    if (out->count)
        qsort(out->layers, out->count, sizeof *out->layers, worse);
    return true;
}
