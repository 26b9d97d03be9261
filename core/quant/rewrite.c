/* rewrite: passes make new graphs, so that the old one can still be shown, compared and run. */
#include "core/quant/rewrite.h"

#include <string.h>

#include "core/base/checked.h"
#include "core/ops/infer.h"
#include "core/ops/op.h"

struct value *rewrite_source(const struct rewrite *r, const struct value *v)
{
    return v ? r->source[v->index] : NULL;
}

/* What the operand of n is, if its result is nothing but that; else NULL. */
static struct value *passed_through(const struct rewrite *r, const struct node *n)
{
    if (n->fold != FOLD_IDENTITY && n->fold != FOLD_BIAS && n->fold != FOLD_QUANT)
        return NULL;
    struct value *x = rewrite_source(r, node_input(n, 0));
    if (!x || n->output_count < 1 || n->outputs[0]->constant)
        return NULL;
    /* Another scale than that of the operand means that the integers change. */
    const struct value *v = n->outputs[0];
    bool quantizes = n->op && strcmp(n->op->name, "torch.quantization.QuantStub") == 0;
    if (n->fold == FOLD_QUANT && quantizes && v->quant.count && x->quant.count &&
        !infer_quant_equal(&v->quant, &x->quant))
        return NULL;
    return x;
}

/* In topological order each node hands on what it found, so that long chains cost nothing. */
static bool find_sources(struct rewrite *r)
{
    const struct graph *g = r->from;
    r->source = ARENA_ARRAY(r->arena, struct value *, g->value_count, r->err);
    for (int i = 0; r->source && i < g->value_count; i++)
        r->source[i] = g->values[i];
    for (int i = 0; r->source && i < g->node_count; i++) {
        struct value *x = passed_through(r, g->nodes[i]);
        if (x)
            r->source[g->nodes[i]->outputs[0]->index] = x;
    }
    return r->source != NULL;
}

static void mark(struct rewrite *r, struct value *v, struct node *user)
{
    struct value *s = rewrite_source(r, v);
    if (!s)
        return;
    r->uses[s->index]++;
    r->user[s->index] = user;
    if (!s->constant && s->producer)
        r->live[s->producer->index] = true;
}

/* Outputs that are another value behind folded nodes lend it their name; the first one wins, and not
 * where the value leaves under a name of its own. */
static void name_outputs(struct rewrite *r)
{
    const struct graph *g = r->from;
    for (int i = 0; i < g->output_count; i++) {
        struct value *v = g->outputs[i], *s = rewrite_source(r, v);
        r->leaves[s->index] = true;
        if (s != v && !s->is_output && !s->constant && s->producer && !r->name_of[s->index])
            r->name_of[s->index] = v->name;
    }
}

bool rewrite_begin(struct rewrite *r, struct arena *a, const struct graph *from,
                   struct bpu_error *err)
{
    *r = (struct rewrite){.from = from, .arena = a, .err = err};
    r->to = graph_new(a, from->name, from->format, err);
    r->map = ARENA_ARRAY(a, struct value *, from->value_count, err);
    r->live = r->map ? ARENA_ARRAY(a, bool, from->node_count, err) : NULL;
    r->uses = r->live ? ARENA_ARRAY(a, int, from->value_count, err) : NULL;
    r->user = r->uses ? ARENA_ARRAY(a, struct node *, from->value_count, err) : NULL;
    r->leaves = r->user ? ARENA_ARRAY(a, bool, from->value_count, err) : NULL;
    r->name_of = r->leaves ? ARENA_ARRAY(a, const char *, from->value_count, err) : NULL;
    if (!r->to || !r->name_of || !find_sources(r))
        return false;
    r->to->producer = from->producer;
    r->to->opset = from->opset;
    for (int i = 0; i < from->note_count; i++)
        if (!graph_add_note(r->to, err, "%s", from->notes[i]))
            return false;
    name_outputs(r);
    for (int i = 0; i < from->output_count; i++) {
        const struct value *s = rewrite_source(r, from->outputs[i]);
        if (!s->constant && s->producer)
            r->live[s->producer->index] = true;
    }
    for (int i = from->node_count - 1; i >= 0; i--) {
        struct node *n = from->nodes[i];
        for (int k = 0; r->live[i] && k < n->input_count; k++)
            mark(r, n->inputs[k], n);
        for (int k = 0; r->live[i] && k < n->param_count; k++)
            mark(r, n->params[k].value, n);
    }
    for (int i = 0; i < from->input_count; i++) {
        struct value *v = rewrite_value(r, from->inputs[i]);
        if (!v || !graph_add_input(r->to, v, err))
            return false;
    }
    return true;
}

float *rewrite_floats(struct arena *a, const struct value *v, struct bpu_error *err)
{
    int64_t n = shape_elements(&v->shape), inner = 1;
    float *out = n >= 0 ? ARENA_ARRAY(a, float, n, err) : NULL;
    const struct quant *q = &v->quant;
    bool quantized = dtype_is_quantized(v->dtype) && q->count > 0;
    if (!out) {
        error_set(err, BPU_BAD_MODEL, v->name, "the constant has no fixed shape");
        return NULL;
    }
    if (v->dtype == DT_FLOAT32 && value_is_known(v) &&
        v->constant->bytes / sizeof *out >= (size_t)n) { /* most are, and networks are large */
        if (n > 0)
            memcpy(out, v->constant->data, (size_t)n * sizeof *out);
        return out;
    }
    for (int d = q->axis + 1; quantized && q->count > 1 && d < v->shape.rank; d++)
        inner *= v->shape.dim[d];
    for (int64_t i = 0; i < n; i++) {
        double x;
        if (!constant_real(v, i, &x)) {
            error_set(err, BPU_BAD_MODEL, v->name, "the content of this constant is not known");
            error_hint(err, "Give a model file with weights.");
            return NULL;
        }
        int64_t c = quantized && q->count > 1 && inner > 0 ? i / inner % q->count : 0;
        if (quantized)
            x = (x - (q->zero_point ? (double)q->zero_point[c] : 0)) * q->scale[c];
        out[i] = (float)x;
    }
    return out;
}

/* Floats of other widths become float32, which is what kernels compute in. */
static struct value *copy_constant(struct rewrite *r, const struct value *v, const char *name)
{
    const void *data = v->constant->data;
    size_t bytes = v->constant->bytes;
    enum dtype t = v->dtype;
    if (dtype_is_float(t) && t != DT_FLOAT32) {
        int64_t n = shape_elements(&v->shape);
        t = DT_FLOAT32;
        if (data && !(data = rewrite_floats(r->arena, v, r->err)))
            return NULL;
        bytes = n > 0 ? (size_t)n * sizeof(float) : 0;
    }
    struct value *c = graph_add_constant(r->to, name, &v->shape, t, data, bytes, r->err);
    if (c)
        c->quant = v->quant;
    return c;
}

static struct value *copy_value(struct rewrite *r, struct value *c, const struct value *old)
{
    if (!c)
        return NULL;
    c->shape = old->shape;
    c->dtype = dtype_is_float(old->dtype) ? DT_FLOAT32 : old->dtype;
    c->quant = old->quant;
    return r->map[old->index] = c;
}

struct value *rewrite_value(struct rewrite *r, struct value *v)
{
    struct value *s = rewrite_source(r, v);
    if (!s || r->map[s->index])
        return s ? r->map[s->index] : NULL;
    if (s->constant)
        return r->map[s->index] = copy_constant(r, s, s->name);
    if (!s->producer)
        return copy_value(r, graph_add_value(r->to, s->name, r->err), s);
    error_set(r->err, BPU_SERVER, s->name, "internal: a value is used before it is made");
    return NULL;
}

struct node *rewrite_begin_node(struct rewrite *r, const struct node *n)
{
    struct node *c = graph_add_node(r->to, n->name, n->op_name, r->err);
    /* Room as node_set_*() keeps it: for the next multiple of 8. */
    int room = n->attr_count / 8 * 8 + 8;
    struct attr *attrs = c ? ARENA_ARRAY(r->arena, struct attr, room, r->err) : NULL;
    if (!attrs)
        return NULL;
    if (n->attr_count)
        memcpy(attrs, n->attrs, (size_t)n->attr_count * sizeof *attrs);
    c->attrs = n->attr_count ? attrs : NULL;
    c->attr_count = n->attr_count;
    c->origin = n->origin;
    c->op = n->op;
    return c;
}

struct node *rewrite_node(struct rewrite *r, const struct node *n)
{
    struct node *c = rewrite_begin_node(r, n);
    for (int i = 0; c && i < n->input_count; i++) {
        struct value *v = n->inputs[i] ? rewrite_value(r, n->inputs[i]) : NULL;
        if ((n->inputs[i] && !v) || !node_add_input(r->to, c, v, r->err))
            return NULL;
    }
    for (int i = 0; c && i < n->param_count; i++) {
        struct value *v = n->params[i].value ? rewrite_value(r, n->params[i].value) : NULL;
        if ((n->params[i].value && !v) || !node_add_param(r->to, c, n->params[i].name, v, r->err))
            return NULL;
    }
    return c;
}

struct value *rewrite_output(struct rewrite *r, struct node *n, const struct value *old)
{
    const char *name = r->name_of[old->index] ? r->name_of[old->index] : old->name;
    return copy_value(r, node_add_output(r->to, n, name, r->err), old);
}

bool rewrite_outputs(struct rewrite *r, struct node *copy, const struct node *n)
{
    for (int i = 0; i < n->output_count; i++) {
        if (n->outputs[i]->constant) { /* known, but its place among the results stays */
            struct value *v = node_add_output(r->to, copy, n->outputs[i]->name, r->err);
            if (!v)
                return false;
            v->shape = n->outputs[i]->shape;
            v->dtype = n->outputs[i]->dtype;
        } else if (!rewrite_output(r, copy, n->outputs[i]))
            return false;
    }
    return true;
}

/* An output that is an input, a constant or an output already passes through a node of its own. */
static struct value *pass_through(struct rewrite *r, struct value *from, const struct value *old)
{
    struct node *n = graph_add_node(r->to, old->name, "torch.nn.Identity", r->err);
    if (!n || !op_bind(n) || !node_add_input(r->to, n, from, r->err))
        return NULL;
    struct value *v = node_add_output(r->to, n, old->name, r->err);
    if (!v)
        return NULL;
    v->shape = from->shape;
    v->dtype = from->dtype;
    v->quant = from->quant;
    return v;
}

bool rewrite_end(struct rewrite *r)
{
    for (int i = 0; i < r->from->output_count; i++) {
        struct value *old = r->from->outputs[i], *v = rewrite_value(r, old);
        if (v && (v->is_output || v->is_input || v->constant || !v->producer) &&
            !(v->is_input && old->is_input))
            v = pass_through(r, v, old);
        if (!v || !graph_add_output(r->to, v, r->err))
            return false;
    }
    return graph_verify(r->to, r->err);
}
