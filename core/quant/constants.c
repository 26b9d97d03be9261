/* constants: what an importer leaves uncomputed because a check does not need it.
 *
 * A transposed weight of some MiB is a constant without content after the import.  Folding and
 * quantizing weights need the numbers, so they are computed here, once, by the kernels. */
#include "core/quant/constants.h"

#include <string.h>

#include "core/run/kernel.h"

/* Operand of a computation: its bytes, aligned. */
static bool operand(struct rewrite *r, struct value *v, struct tensor *t)
{
    const struct value *known = r->map[v->index] ? r->map[v->index] : v;
    if (!value_is_known(known))
        return false;
    *t = (struct tensor){known->shape, known->dtype, known->quant, NULL, known->constant->bytes};
    t->data = arena_alloc(r->arena, t->bytes + 1, r->err);
    if (t->data)
        memcpy(t->data, known->constant->data, t->bytes);
    return t->data != NULL;
}

struct call {
    struct tensor *tensors;
    const struct tensor **in, **params;
    struct tensor **out;
};

static bool room(struct rewrite *r, const struct node *n, struct call *c)
{
    int count = n->input_count + n->param_count + n->output_count;
    c->tensors = ARENA_ARRAY(r->arena, struct tensor, count + 1, r->err);
    c->in = c->tensors ? ARENA_ARRAY(r->arena, const struct tensor *, n->input_count + 1, r->err)
                       : NULL;
    c->params =
        c->in ? ARENA_ARRAY(r->arena, const struct tensor *, n->param_count + 1, r->err) : NULL;
    c->out = c->params ? ARENA_ARRAY(r->arena, struct tensor *, n->output_count + 1, r->err) : NULL;
    return c->out != NULL;
}

/* The results of n in the map.  False only with r->err set; what cannot be computed stays unknown. */
static bool compute(struct rewrite *r, struct node *n)
{
    const struct kernel *k = kernel_of(n);
    kernel_fn *fn = kernel_is_fixed(n) ? k->fixed : k->real;
    struct bpu_error why = {0};
    struct call c;
    if (!fn || !room(r, n, &c))
        return r->err->code == BPU_NONE;
    struct tensor *t = c.tensors;
    for (int i = 0; i < n->output_count; i++) { /* before the mark: they stay */
        const struct value *v = n->outputs[i];
        int64_t count = shape_elements(&v->shape);
        if (count < 0 || dtype_size(v->dtype) == 0)
            return true;
        *t = (struct tensor){v->shape, v->dtype, v->quant, NULL,
                             (size_t)count * dtype_size(v->dtype)};
        if (!(t->data = arena_alloc(r->arena, t->bytes + 1, r->err)))
            return false;
        c.out[i] = t++;
    }
    struct arena_mark mark = arena_mark(r->arena);
    bool ok = true;
    for (int i = 0; ok && i < n->input_count; i++)
        if (n->inputs[i] && (ok = operand(r, n->inputs[i], t)))
            c.in[i] = t++;
    for (int i = 0; ok && i < n->param_count; i++)
        if (n->params[i].value && (ok = operand(r, n->params[i].value, t)))
            c.params[i] = t++;
    const struct kernel_call call = {
        n, c.in, n->input_count, c.params, c.out, n->output_count, r->arena};
    ok = ok && fn(&call, &why);
    arena_rewind(r->arena, mark);
    if (why.code == BPU_NO_MEMORY && r->err->code == BPU_NONE)
        *r->err = why;
    for (int i = 0; ok && i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        struct value *made = graph_add_constant(r->to, v->name, &v->shape, v->dtype, c.out[i]->data,
                                                c.out[i]->bytes, r->err);
        if (!made)
            return false;
        made->quant = v->quant;
        r->map[v->index] = made;
    }
    return r->err->code == BPU_NONE;
}

static bool is_open(const struct node *n)
{
    if (n->fold != FOLD_CONSTANT)
        return false;
    for (int i = 0; i < n->output_count; i++)
        if (n->outputs[i]->constant && !n->outputs[i]->constant->data &&
            shape_elements(&n->outputs[i]->shape) > 0)
            return true;
    return false;
}

const struct graph *constants_computed(struct arena *a, const struct graph *g,
                                       struct bpu_error *err)
{
    struct rewrite r;
    bool any = false;
    for (int i = 0; i < g->node_count; i++)
        any = any || is_open(g->nodes[i]);
    if (!any)
        return g;
    if (!rewrite_begin(&r, a, g, err))
        return NULL;
    for (int i = 0; i < g->node_count; i++)
        if (is_open(g->nodes[i]) && !compute(&r, g->nodes[i]))
            return NULL;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        struct node *copy = r.live[i] ? rewrite_node(&r, n) : NULL;
        if (r.live[i] && (!copy || !rewrite_outputs(&r, copy, n)))
            return NULL;
    }
    return rewrite_end(&r) ? r.to : NULL;
}
