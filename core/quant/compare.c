/* compare: float and fixed-point graph side by side, value by value.
 *
 * The float graph runs first and its feature maps are kept; then the fixed-point graph runs, and each
 * result is compared as soon as it is there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/quant/float_graph.h"
#include "core/quant/report.h"
#include "core/quant/scheme.h"

struct sums {
    double xx, yy, xy, ee, most;
    int64_t count, at_end;
};

struct compare {
    struct arena *arena;
    float **kept;      /* by value index of the float graph; NULL: not compared */
    struct sums *sums; /* the same */
    int *float_of;     /* by value index of the fixed graph: index in the float graph; -1: none */
    struct bpu_error *err;
};

const struct value *quant_counterpart(const struct graph *fixed, const struct value *v)
{
    char name[600];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%.590s%s", v->name, i == 0 ? ".fixed" : "");
        const struct value *f = graph_find_value(fixed, name);
        if (f && !f->constant && dtype_is_quantized(f->dtype) && shape_equal(&f->shape, &v->shape))
            return f;
    }
    return NULL;
}

static bool keep(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct compare *c = ctx;
    (void)err;
    if (c->kept[v->index] && t->dtype == DT_FLOAT32)
        memcpy(c->kept[v->index], t->data, (size_t)shape_elements(&t->shape) * sizeof(float));
    return true;
}

static bool meet(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct compare *c = ctx;
    int f = c->float_of[v->index];
    (void)err;
    if (f < 0 || !c->kept[f])
        return true;
    struct sums *s = &c->sums[v->index];
    int64_t n = shape_elements(&t->shape), lo, hi;
    dtype_range(t->dtype, &lo, &hi);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)c->kept[f][i], y = tensor_real(t, i), e = y - x;
        if (!isfinite(x))
            continue;
        s->xx += x * x;
        s->yy += y * y;
        s->xy += x * y;
        s->ee += e * e;
        s->most = fabs(e) > s->most ? fabs(e) : s->most;
        if (dtype_is_quantized(t->dtype)) {
            int64_t q = tensor_int(t, i);
            s->at_end += q == hi || (q == lo && x < 0); /* a ReLU's zeros of quint8 are no loss */
        }
        s->count++;
    }
    return true;
}

static void finish(const struct sums *s, struct layer_error *l)
{
    l->cosine = s->xx > 0 && s->yy > 0 ? s->xy / sqrt(s->xx * s->yy) : s->xx <= 0 && s->yy <= 0;
    if (l->cosine > 1)
        l->cosine = 1;
    l->sqnr_db = s->ee <= 0 ? INFINITY : s->xx <= 0 ? -INFINITY : 10 * log10(s->xx / s->ee);
    l->max_error = s->most;
    l->saturated = s->count ? (double)s->at_end / (double)s->count : 0;
}

static int worse(const void *a, const void *b)
{
    const struct layer_error *x = a, *y = b;
    if (x->sqnr_db < y->sqnr_db || x->sqnr_db > y->sqnr_db)
        return x->sqnr_db < y->sqnr_db ? -1 : 1;
    return (x->value->index > y->value->index) - (x->value->index < y->value->index);
}

/* Pairs a value with its counterpart and makes room for its floats. */
static bool pair(struct compare *c, const struct float_graph *f, const struct value *v,
                 const struct value *fixed, struct layer_error *l)
{
    const struct value *x = f->value_of[v->index];
    int64_t n = shape_elements(&v->shape);
    if (!c->kept[x->index] && !(c->kept[x->index] = ARENA_ARRAY(c->arena, float, n, c->err)))
        return false;
    c->float_of[fixed->index] = x->index;
    *l = (struct layer_error){.value = v, .fixed = fixed, .elements = n};
    return true;
}

static bool run_all(struct compare *c, const struct graph *floats, const struct graph *fixed,
                    const struct quant_data *data, int64_t frames, quant_progress_fn *progress,
                    void *ctx)
{
    const struct run_options fast = {.engine = RUN_FAST};
    struct run *a = run_new(c->arena, floats, &fast, c->err);
    struct run *b = a ? run_new(c->arena, fixed, &fast, c->err) : NULL;
    struct frame fa, fb;
    if (!b || !frame_new(c->arena, floats, &fa, c->err) || !frame_new(c->arena, fixed, &fb, c->err))
        return false;
    for (int64_t i = 0; i < frames; i++) {
        if (progress)
            progress(ctx, "compare", (double)i / (double)frames);
        if (!frame_fill(&fa, data, i, c->err) || !frame_fill(&fb, data, i, c->err))
            return false;
        for (int k = 0; k < floats->input_count; k++) {
            const struct value *v = floats->inputs[k];
            struct tensor t = {.shape = v->shape, .dtype = v->dtype, .data = fa.inputs[k]};
            if (!keep(c, v, &t, c->err))
                return false;
        }
        if (!run_frame(a, (const void *const *)fa.inputs, fa.outputs, keep, c, c->err) ||
            !run_frame(b, (const void *const *)fb.inputs, fb.outputs, meet, c, c->err))
            return false;
    }
    return true;
}

bool quant_compare(struct arena *a, const struct graph *fused, const struct graph *fixed,
                   const struct quant_data *data, int64_t frames, quant_progress_fn *progress,
                   void *ctx, struct comparison *out, struct bpu_error *err)
{
    struct float_graph f;
    if (!float_graph_new(a, fused, &f, err))
        return false;
    struct compare c = {.arena = a, .err = err};
    c.kept = ARENA_ARRAY(a, float *, f.graph->value_count, err);
    c.sums = c.kept ? ARENA_ARRAY(a, struct sums, fixed->value_count, err) : NULL;
    c.float_of = c.sums ? ARENA_ARRAY(a, int, fixed->value_count, err) : NULL;
    *out =
        (struct comparison){.layers = ARENA_ARRAY(a, struct layer_error, fused->value_count, err),
                            .outputs = ARENA_ARRAY(a, struct layer_error, fused->output_count, err),
                            .output_count = fused->output_count,
                            .frames = frames < data->frames ? frames : data->frames};
    if (!c.float_of || !out->layers || !out->outputs)
        return false;
    for (int i = 0; i < fixed->value_count; i++)
        c.float_of[i] = -1;
    for (int i = 0; i < fused->value_count; i++) {
        const struct value *v = fused->values[i];
        const struct value *q = v->constant ? NULL : quant_counterpart(fixed, v);
        if (q && !q->is_input && f.value_of[i] && scheme_is_real(v->dtype) &&
            c.float_of[q->index] < 0 && !pair(&c, &f, v, q, &out->layers[out->count++]))
            return false;
    }
    for (int i = 0; i < fused->output_count && i < fixed->output_count; i++) {
        const struct value *v = fused->outputs[i], *y = fixed->outputs[i];
        out->outputs[i] = (struct layer_error){.value = v, .fixed = y};
        if (c.float_of[y->index] < 0 && f.value_of[v->index] && scheme_is_real(v->dtype) &&
            y->producer && !pair(&c, &f, v, y, &out->outputs[i]))
            return false;
    }
    if (!run_all(&c, f.graph, fixed, data, out->frames, progress, ctx))
        return false;
    for (size_t i = 0; i < out->count; i++)
        finish(&c.sums[out->layers[i].fixed->index], &out->layers[i]);
    for (int i = 0; i < out->output_count; i++)
        if (out->outputs[i].fixed)
            finish(&c.sums[out->outputs[i].fixed->index], &out->outputs[i]);
    if (out->count)
        qsort(out->layers, out->count, sizeof *out->layers, worse);
    return true;
}
