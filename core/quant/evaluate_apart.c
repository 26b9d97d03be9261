/* Layers apart, and the sums over their errors.
 *
 * One graph with all layers side by side costs one plan and one pass per frame, where a graph per
 * layer would plan and pack hundreds of times. */
#include "core/quant/evaluate_apart.h"

#include <math.h>
#include <string.h>

#include "core/quant/rewrite.h"

/* ── the graph ── */

struct cutter {
    const struct graph *from;
    struct apart *out;
    struct value **inputs, **constants; /* by value index of `from` */
    size_t capacity;
    struct arena *arena;
    struct bpu_error *err;
};

static struct value *cut_constant(struct cutter *c, const struct value *v)
{
    struct value *x = c->constants[v->index];
    if (x)
        return x;
    x = graph_add_constant(c->out->graph, v->name, &v->shape, v->dtype, v->constant->data,
                           v->constant->bytes, c->err);
    if (x)
        x->quant = v->quant;
    return c->constants[v->index] = x;
}

static struct value *cut_input(struct cutter *c, struct value *old)
{
    const struct value *v = value_source(old);
    struct graph *g = c->out->graph;
    if (v->constant)
        return cut_constant(c, v);
    if (c->inputs[v->index])
        return c->inputs[v->index];
    struct value *x = graph_add_value(g, v->name, c->err);
    if (!x || !graph_add_input(g, x, c->err))
        return NULL;
    x->shape = v->shape;
    x->dtype = v->dtype;
    x->quant = v->quant;
    int *grown = arena_grow(c->arena, c->out->input_of, (size_t)g->input_count - 1,
                            (size_t)g->input_count, sizeof *grown, &c->capacity, c->err);
    if (!grown)
        return NULL;
    c->out->input_of = grown;
    grown[g->input_count - 1] = v->index;
    return c->inputs[v->index] = x;
}

/* New value index → old one, filled when the graph is complete. */
struct pairs {
    const struct value **now, **old;
    size_t count;
};

static bool cut_node(struct cutter *c, const struct node *n, struct pairs *results)
{
    struct rewrite r = {.from = c->from, .to = c->out->graph, .arena = c->arena, .err = c->err};
    struct node *copy = rewrite_begin_node(&r, n);
    for (int i = 0; copy && i < n->input_count; i++) {
        struct value *x = NULL;
        if ((n->inputs[i] && !(x = cut_input(c, n->inputs[i]))) ||
            !node_add_input(c->out->graph, copy, x, c->err))
            return false;
    }
    for (int i = 0; copy && i < n->param_count; i++) {
        struct value *x = NULL;
        if ((n->params[i].value && !(x = cut_input(c, n->params[i].value))) ||
            !node_add_param(c->out->graph, copy, n->params[i].name, x, c->err))
            return false;
    }
    for (int i = 0; copy && i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        struct value *y = node_add_output(c->out->graph, copy, v->name, c->err);
        if (!y || !graph_add_output(c->out->graph, y, c->err))
            return false;
        y->shape = v->shape;
        y->dtype = v->dtype;
        y->quant = v->quant;
        results->now[results->count] = y;
        results->old[results->count++] = v;
    }
    return copy != NULL;
}

bool apart_new(struct arena *a, const struct graph *fixed, struct apart *out,
               struct bpu_error *err)
{
    struct cutter c = {.from = fixed, .out = out, .arena = a, .err = err};
    struct pairs results = {ARENA_ARRAY(a, const struct value *, fixed->value_count, err),
                            ARENA_ARRAY(a, const struct value *, fixed->value_count, err), 0};
    *out = (struct apart){.graph = graph_new(a, fixed->name, fixed->format, err)};
    c.inputs = ARENA_ARRAY(a, struct value *, fixed->value_count, err);
    c.constants = ARENA_ARRAY(a, struct value *, fixed->value_count, err);
    if (!results.now || !results.old || !out->graph || !c.inputs || !c.constants)
        return false;
    for (int i = 0; i < fixed->node_count; i++)
        if (fixed->nodes[i]->fold == FOLD_NONE && !cut_node(&c, fixed->nodes[i], &results))
            return false;
    if (!(out->fixed_of = ARENA_ARRAY(a, int, out->graph->value_count, err)))
        return false;
    for (int i = 0; i < out->graph->value_count; i++)
        out->fixed_of[i] = -1;
    for (size_t i = 0; i < results.count; i++)
        out->fixed_of[results.now[i]->index] = results.old[i]->index;
    return true;
}

/* ── numbers ── */

/* A QuantStub's rule in the form of a loop that vectorizes: no calls, and what is rounded was clamped to
 * 16 bits before. */
struct grid {
    float reciprocal, lo, hi; /* ends without the zero point */
    int64_t zero;
};

static bool grid_fits(const struct value *v)
{
    return v->quant.count == 1 &&
           (v->dtype == DT_QINT8 || v->dtype == DT_QUINT8 || v->dtype == DT_QINT16);
}

static struct grid grid_of(const struct value *v)
{
    int64_t lo, hi, zero = v->quant.zero_point ? v->quant.zero_point[0] : 0;
    dtype_range(v->dtype, &lo, &hi);
    return (struct grid){1.0f / (float)v->quant.scale[0], (float)(lo - zero), (float)(hi - zero),
                         zero};
}

static inline float grid_step(const struct grid *g, float x)
{
    const float even = 0x1.8p23f; /* has no bits left for a fraction */
    float q = x * g->reciprocal;
    q = q < g->lo ? g->lo : q;
    q = q > g->hi ? g->hi : q;
    q = (q + even) - even;
    return isnan(q) ? -(float)g->zero : q; /* NaN is the stored integer 0 */
}

void apart_quantize(const struct value *v, const float *x, void *out)
{
    int64_t n = shape_elements(&v->shape);
    struct tensor t = {.shape = v->shape, .dtype = v->dtype, .quant = v->quant, .data = out};
    if (v->dtype == DT_FLOAT32 && n > 0)
        memcpy(out, x, (size_t)n * sizeof *x);
    if (v->dtype == DT_FLOAT32)
        return;
    if (!grid_fits(v)) {
        for (int64_t i = 0; i < n; i++)
            tensor_store_real(&t, i, (double)x[i]);
        return;
    }
    struct grid g = grid_of(v);
    for (int64_t i = 0; i < n; i++) {
        int16_t q = (int16_t)((int)grid_step(&g, x[i]) + (int)g.zero);
        if (v->dtype == DT_QINT16)
            memcpy((char *)out + 2 * i, &q, 2);
        else
            ((unsigned char *)out)[i] = (unsigned char)q;
    }
}

enum { CHUNK = 512 };

static void add_chunk(struct value_error *e, const float *x, const double *y, int n)
{
    for (int i = 0; i < n; i++) {
        double a = (double)x[i], b = y[i], d = b - a;
        if (!isfinite(d))
            continue;
        e->xx += a * a;
        e->yy += b * b;
        e->xy += a * b;
        e->ee += d * d;
        e->most = fabs(d) > e->most ? fabs(d) : e->most;
        e->count++;
    }
}

void value_error_round(struct value_error *e, const float *x, const struct value *v)
{
    double y[CHUNK];
    int64_t n = shape_elements(&v->shape);
    if (!grid_fits(v))
        return;
    struct grid g = grid_of(v);
    double scale = v->quant.scale[0];
    for (int64_t at = 0; at < n; at += CHUNK) {
        int k = n - at < CHUNK ? (int)(n - at) : CHUNK;
        for (int i = 0; i < k; i++) {
            float q = grid_step(&g, x[at + i]);
            e->at_end += q >= g.hi || (q <= g.lo && x[at + i] < 0);
            y[i] = (double)q * scale;
        }
        add_chunk(e, x + at, y, k);
    }
}

/* y[i] of elements at .. at+n-1, and how many lie at an end; a ReLU's zeros of quint8 are no loss. */
static int64_t real_chunk(const struct tensor *t, const float *x, int64_t at, int n, double *y)
{
    int64_t ends = 0, lo, hi;
    bool one = t->quant.count == 1;
    double scale = one ? t->quant.scale[0] : 1;
    int64_t zero = one && t->quant.zero_point ? t->quant.zero_point[0] : 0;
    if (t->dtype == DT_FLOAT32) {
        const float *p = (const float *)t->data + at;
        for (int i = 0; i < n; i++)
            y[i] = (double)p[i];
        return 0;
    }
    if (one && t->dtype == DT_QINT8) {
        const int8_t *p = (const int8_t *)t->data + at;
        for (int i = 0; i < n; i++) {
            y[i] = (double)(p[i] - zero) * scale;
            ends += p[i] == INT8_MAX || (p[i] == INT8_MIN && x[at + i] < 0);
        }
        return ends;
    }
    dtype_range(t->dtype, &lo, &hi);
    for (int i = 0; i < n; i++) {
        y[i] = tensor_real(t, at + i);
        int64_t q = dtype_is_quantized(t->dtype) ? tensor_int(t, at + i) : 0;
        ends += dtype_is_quantized(t->dtype) && (q == hi || (q == lo && x[at + i] < 0));
    }
    return ends;
}

void value_error_add(struct value_error *e, const float *x, const struct tensor *t)
{
    double y[CHUNK];
    int64_t n = shape_elements(&t->shape);
    for (int64_t at = 0; at < n; at += CHUNK) {
        int k = n - at < CHUNK ? (int)(n - at) : CHUNK;
        e->at_end += real_chunk(t, x, at, k, y);
        add_chunk(e, x + at, y, k);
    }
}

double value_error_cosine(const struct value_error *e)
{
    if (e->xx <= 0 || e->yy <= 0)
        return e->xx <= 0 && e->yy <= 0 ? 1 : 0;
    double cosine = e->xy / sqrt(e->xx) / sqrt(e->yy);
    return cosine > 1 ? 1 : cosine;
}

double value_error_sqnr(const struct value_error *e)
{
    return e->ee <= 0 ? INFINITY : e->xx <= 0 ? -INFINITY : 10 * log10(e->xx / e->ee);
}

double value_error_saturated(const struct value_error *e)
{
    return e->count ? (double)e->at_end / (double)e->count : 0;
}
