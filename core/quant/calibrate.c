/* calibrate: the float network runs over the data, an observer watches every feature map.
 *
 *   pass 1   statistics of every feature map (observer.c), then a range by its qconfig
 *   pass 2   only for mix: the candidates' scales on the data itself; the least squared error of the
 *            map that is made, against float, wins
 *   then     unify.c: scales that have to be, or are better, shared
 * What already has a scale in the file (QuantStub, quantized input) or in the qconfig keeps it. */
#include <math.h>
#include <string.h>

#include "core/march/march.h"
#include "core/ops/op.h"
#include "core/quant/float_graph.h"
#include "core/quant/observer.h"
#include "core/quant/scheme.h"

/* One feature map that is watched. */
struct watch {
    const struct value *value; /* of the fused graph */
    struct qconfig_activation config;
    struct statistics statistics;
    double given; /* a scale that is fixed beforehand; 0: to be found */
    bool stands_in; /* … by nobody: a placeholder */
    int same;     /* index of the value that is watched for it (a stub's operand), or its own */
    int next;     /* the next one with the same operand; 0: none */
    double range[OBSERVER_COUNT], error[OBSERVER_COUNT]; /* of mix */
};

struct calibrator {
    struct arena *arena;
    const struct graph *fused;
    const struct qconfig *config;
    struct float_graph floats;
    struct watch *watches; /* by value index of the fused graph; value NULL: not watched */
    int *watch_of;         /* by value index of the float graph; -1: none */
    bool second;           /* which pass */
    struct bpu_error *err;
};

/* ── what is watched ── */

/* A scale of the file that fits the symmetric form. */
static double scale_of_file(const struct value *v)
{
    bool fits = (v->dtype == DT_QINT8 || v->dtype == DT_QINT16) && v->quant.count == 1 &&
                (!v->quant.zero_point || v->quant.zero_point[0] == 0);
    return fits ? v->quant.scale[0] : 0;
}

/* What is asked for v; false: it is no feature map that gets a scale. */
static bool wanted(const struct calibrator *c, const struct value *v, struct watch *w)
{
    const struct node *n = v->producer;
    const char *kernel = n ? kernel_of(n)->name : "";
    if (v->constant || !scheme_is_real(v->dtype) || strcmp(kernel, "dequantize") == 0)
        return false; /* what is dequantized leaves as float */
    qconfig_activation(c->config, n, &w->config);
    if (v->is_input)
        w->given = qconfig_input_scale(c->config, v->name);
    else if (strcmp(kernel, "quantize") == 0 && n->inputs[0]->is_input)
        w->given = qconfig_input_scale(c->config, n->inputs[0]->name);
    if (w->given <= 0) {
        w->given = scale_of_file(v);
        if (w->given > 0)
            w->config.dtype = v->dtype;
    }
    if (w->config.dtype == DT_FLOAT32) /* its node computes in float; what reads it may not */
        w->config.dtype = DT_QINT8;
    if (w->given <= 0 && w->config.observer == OBSERVER_FIXED_SCALE)
        w->given = w->config.scale;
    return true;
}

static bool watch_value(struct calibrator *c, const struct value *v)
{
    struct watch *w = &c->watches[v->index];
    if (!c->floats.value_of[v->index] || !wanted(c, v, w))
        return true;
    int *watcher = &c->watch_of[c->floats.value_of[v->index]->index];
    w->value = v;
    w->same = *watcher < 0 ? v->index : *watcher;
    if (w->same != v->index) {
        w->next = c->watches[w->same].next;
        c->watches[w->same].next = v->index;
    }
    *watcher = w->same;
    return w->same != v->index || statistics_init(c->arena, &w->statistics, c->err);
}

/* ── passes ── */

static void measure_candidates(struct watch *w, const float *x, int64_t n)
{
    for (int o = 0; o < OBSERVER_COUNT; o++) {
        if (!(w->config.candidates & 1u << o) || w->range[o] <= 0)
            continue;
        double scale = scheme_scale(w->range[o], w->config.dtype), sum = 0;
        double top = w->config.dtype == DT_QINT16 ? 32767 : 127;
        for (int64_t i = 0; i < n; i++) {
            double q = nearbyint((double)x[i] / scale);
            q = q > top ? top : q < -top - 1 ? -top - 1 : q;
            double e = q * scale - (double)x[i];
            sum += isfinite(e) ? e * e : 0;
        }
        w->error[o] += sum;
    }
}

static bool observe(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct calibrator *c = ctx;
    (void)err;
    int i = c->watch_of[v->index];
    if (i < 0 || t->dtype != DT_FLOAT32)
        return true;
    struct watch *w = &c->watches[i];
    int64_t n = shape_elements(&t->shape);
    if (!c->second)
        statistics_add(&w->statistics, t->data, n, w->config.averaging_constant);
    for (int k = i; c->second; k = c->watches[k].next) {
        struct watch *m = &c->watches[k];
        if (m->config.observer == OBSERVER_MIX && m->given <= 0)
            measure_candidates(m, t->data, n);
        if (m->next == 0)
            break;
    }
    return true;
}

static bool run_pass(struct calibrator *c, struct run *run, struct frame *frame,
                     const struct quant_data *data, const char *stage, quant_progress_fn *progress,
                     void *ctx)
{
    const struct graph *g = c->floats.graph;
    for (int64_t i = 0; i < data->frames; i++) {
        if (progress)
            progress(ctx, stage, (double)i / (double)data->frames);
        if (!frame_fill(frame, data, i, c->err))
            return false;
        for (int k = 0; k < g->input_count; k++) {
            struct tensor t = {.shape = g->inputs[k]->shape,
                               .dtype = g->inputs[k]->dtype,
                               .data = frame->inputs[k]};
            if (!observe(c, g->inputs[k], &t, c->err))
                return false;
        }
        if (!run_frame(run, (const void *const *)frame->inputs, frame->outputs, observe, c, c->err))
            return false;
    }
    if (progress)
        progress(ctx, stage, 1);
    return true;
}

/* A stub's result has the values of its operand. */
static void share_statistics(struct calibrator *c)
{
    for (int i = 0; i < c->fused->value_count; i++)
        if (c->watches[i].value)
            c->watches[i].statistics = c->watches[c->watches[i].same].statistics;
}

/* The ranges of all candidates of mix; true if the second pass is needed. */
static bool prepare_mix(struct calibrator *c)
{
    bool any = false;
    for (int i = 0; i < c->fused->value_count; i++) {
        struct watch *w = &c->watches[i];
        if (!w->value || w->config.observer != OBSERVER_MIX || w->given > 0)
            continue;
        any = true;
        for (int o = 0; o < OBSERVER_COUNT; o++)
            if (w->config.candidates & 1u << o)
                w->range[o] =
                    o == OBSERVER_FIXED_SCALE
                        ? w->config.scale * (w->config.dtype == DT_QINT16 ? 32767.5 : 127.5)
                        : observer_range(&w->statistics, (enum observer)o, &w->config);
    }
    return any;
}

/* ── choosing ── */

/* Never zero: a map of zeros gets the scale of a range of 1. */
static double choose(const struct watch *w, const char **observer)
{
    enum observer o = w->config.observer;
    double t;
    if (w->given > 0) {
        *observer = w->stands_in                ? "placeholder"
                    : o == OBSERVER_FIXED_SCALE ? observer_name(o)
                                                : "given";
        return w->given;
    }
    if (o == OBSERVER_MIX) {
        double least = INFINITY;
        o = OBSERVER_MIN_MAX;
        t = statistics_absmax(&w->statistics);
        for (int k = 0; k < OBSERVER_COUNT; k++)
            if ((w->config.candidates & 1u << k) && w->range[k] > 0 && w->error[k] < least) {
                least = w->error[k];
                o = (enum observer)k;
                t = w->range[k];
            }
    } else
        t = observer_range(&w->statistics, o, &w->config);
    *observer = observer_name(o);
    return scheme_scale(t > 0 ? t : 1, w->config.dtype);
}

/* The network's last sum leaves as it is: only DeQuantStubs and the outside read it. */
static bool leaves(const struct graph_users *users, const struct value *v)
{
    const struct node *n = v->producer;
    if (!n || n->input_count != 1 || node_string(n, "activation", NULL))
        return false;
    const char *kernel = kernel_of(n)->name;
    if (strcmp(kernel, "conv") != 0 && strcmp(kernel, "linear") != 0 &&
        strcmp(kernel, "conv_transpose") != 0)
        return false;
    for (int i = 0; i < users->count[v->index]; i++)
        if (strcmp(kernel_of(users->users[v->index][i])->name, "dequantize") != 0)
            return false;
    return (v->is_output && !dtype_is_quantized(v->dtype)) ||
           (!v->is_output && users->count[v->index] > 0);
}

static void describe(struct observation *o, const struct watch *w)
{
    const struct statistics *s = &w->statistics;
    o->min = s->count ? s->min : 0;
    o->max = s->count ? s->max : 0;
    o->mean = statistics_mean(s);
    o->std = statistics_std(s);
    o->histogram = s->histogram;
    o->bins = OBSERVER_BINS;
    o->range = s->range;
    o->not_finite = s->not_finite;
}

static bool choose_all(struct calibrator *c, struct calibration *out)
{
    const struct graph *g = c->fused;
    struct graph_users *users = graph_users_new(g, c->arena, c->err);
    struct scheme scheme = {ARENA_ARRAY(c->arena, struct scheme_value, g->value_count, c->err),
                            g->value_count};
    if (!users || !scheme.values)
        return false;
    for (int i = 0; i < g->value_count; i++) {
        struct observation *o = &out->items[i];
        const struct watch *w = &c->watches[i];
        o->value = g->values[i];
        if (!w->value)
            continue;
        describe(o, w);
        o->scale = choose(w, &o->observer);
        o->dtype = w->config.dtype;
        if (leaves(users, w->value) && !qconfig_output_quantized(c->config) &&
            (w->given <= 0 || w->stands_in)) {
            o->dtype = DT_QINT32;
            o->scale = 0;
            o->observer = "none";
        } else if (!scheme_set(c->arena, &scheme.values[i], o->dtype, o->scale, c->err))
            return false;
    }
    unify_calibrated(g, users, &scheme);
    for (int i = 0; i < g->value_count; i++) {
        struct observation *o = &out->items[i];
        const struct scheme_value *s = &scheme.values[i];
        if (s->quant.count == 0)
            continue;
        if (s->quant.scale[0] < o->scale || s->quant.scale[0] > o->scale || s->dtype != o->dtype) {
            o->scale = s->quant.scale[0];
            o->dtype = s->dtype;
            o->observer = "shared";
        }
        double levels = o->dtype == DT_QINT16 ? 32767.5 : 127.5;
        o->saturated = statistics_beyond(&c->watches[i].statistics, levels * o->scale);
    }
    return true;
}

bool quant_calibrate(struct arena *a, const struct graph *fused, const struct march *march,
                     const struct qconfig *config, const struct quant_data *data,
                     quant_progress_fn *progress, void *ctx, struct calibration *out,
                     struct bpu_error *err)
{
    struct calibrator c = {.arena = a, .fused = fused, .config = config, .err = err};
    struct frame frame;
    if (!c.config && !(c.config = qconfig_default(a, err)))
        return false;
    if (data->frames < 1) {
        error_set(err, BPU_BAD_OPTION, NULL, "the calibration data holds no frame");
        return error_hint(err, "A few dozen to a few hundred typical frames are enough.");
    }
    if (!qconfig_check(c.config, fused, march, err) || !float_graph_new(a, fused, &c.floats, err))
        return false;
    *out = (struct calibration){ARENA_ARRAY(a, struct observation, fused->value_count, err),
                                (size_t)fused->value_count, data->frames};
    c.watches = ARENA_ARRAY(a, struct watch, fused->value_count, err);
    c.watch_of = ARENA_ARRAY(a, int, c.floats.graph->value_count, err);
    if (!out->items || !c.watches || !c.watch_of)
        return false;
    for (int i = 0; i < c.floats.graph->value_count; i++)
        c.watch_of[i] = -1;
    for (int i = 0; i < fused->value_count; i++)
        if (!watch_value(&c, fused->values[i]))
            return false;
    const struct run_options fast = {.engine = RUN_FAST};
    struct run *run = run_new(a, c.floats.graph, &fast, err);
    if (!run || !frame_new(a, c.floats.graph, &frame, err) ||
        !run_pass(&c, run, &frame, data, "calibrate", progress, ctx))
        return false;
    share_statistics(&c);
    c.second = prepare_mix(&c);
    if (c.second && !run_pass(&c, run, &frame, data, "compare observers", progress, ctx))
        return false;
    return choose_all(&c, out);
}

bool quant_placeholder(struct arena *a, const struct graph *fused, const struct march *march,
                       const struct qconfig *config, struct calibration *out,
                       struct bpu_error *err)
{
    struct calibrator c = {.arena = a, .fused = fused, .config = config, .err = err};
    if (!c.config && !(c.config = qconfig_default(a, err)))
        return false;
    *out = (struct calibration){ARENA_ARRAY(a, struct observation, fused->value_count, err),
                                (size_t)fused->value_count, 0};
    c.watches = ARENA_ARRAY(a, struct watch, fused->value_count, err);
    if (!out->items || !c.watches || !qconfig_check(c.config, fused, march, err))
        return false;
    for (int i = 0; i < fused->value_count; i++) {
        struct watch *w = &c.watches[i];
        const struct value *v = fused->values[i];
        if (!wanted(&c, v, w))
            continue;
        w->value = v;
        w->stands_in = w->given <= 0;
        if (w->stands_in)
            w->given = QUANT_PLACEHOLDER / (w->config.dtype == DT_QINT16 ? 256 : 1);
    }
    return choose_all(&c, out);
}
