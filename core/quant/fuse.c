/* fuse: what a convolution or linear layer takes with it, so that there is one requantization.
 *
 *   head ─▶ (÷ constant) ─▶ batch norm ─▶ add ◀─ residual ─▶ relu | relu6      each part may be missing
 *           └ only before a batch norm
 * A head is a convolution, a transposed one, a linear layer, or a batch norm that stands alone.  The
 * fused node keeps the head's name and origin, takes the last part's place in the order (so that the
 * residual is known before it) and makes the last part's value. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/op.h"
#include "core/quant/batch_norm.h"
#include "core/quant/constants.h"
#include "core/quant/quant.h"
#include "core/quant/rewrite.h"
#include "core/quant/scheme.h"

enum { CHAIN_MAX = 5 };

struct chain {
    struct node *head, *scale, *bn, *add, *relu;
    struct node *last;
    struct value *residual;
    const char *activation;
    const char *why_not;  /* NULL: nothing more to take */
    const char *stopped;  /* the node that was not taken */
    struct affine affine; /* of bn */
};

struct fuser {
    struct rewrite r;
    struct chain *chains; /* by index of the head; head NULL: no chain */
    int *member;          /* by node index: index of the head whose chain it is in, or -1 */
    int *claim;           /* by index of an add: the head that takes it, or -1 */
    struct fuse_report *report;
};

/* ── roles ── */

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool is_matrix(const struct node *n) /* has weights that a batch norm folds into */
{
    return n->op && n->output_count == 1 && node_param(n, "weight") &&
           (starts_with(n->op->name, "torch.nn.Conv") ||
            strcmp(n->op->name, "torch.nn.Linear") == 0);
}

static bool is_batch_norm(const struct node *n)
{
    return n->op && n->output_count == 1 &&
           (starts_with(n->op->name, "torch.nn.BatchNorm") ||
            strcmp(n->op->name, "torch.nn.SyncBatchNorm") == 0);
}

static bool is_matrix_or_bn(const struct node *n)
{
    return is_matrix(n) || is_batch_norm(n);
}

static bool is_op(const struct node *n, const char *name)
{
    return n->op && strcmp(n->op->name, name) == 0;
}

/* A bound of clamp: attribute or constant operand; false: computed from the data. */
static bool clamp_bound(const struct node *n, const char *name, int operand, double otherwise,
                        double *out)
{
    const struct attr *a = node_attr(n, name);
    const struct value *v = node_input(n, operand);
    *out = otherwise;
    if (a && a->kind != ATTR_NONE)
        *out = node_float(n, name, otherwise);
    else if (v)
        return shape_elements(&v->shape) == 1 && constant_real(v, 0, out);
    return true;
}

/* "relu" or "relu6" if n is one of them, however it is written. */
static const char *activation_of(const struct node *n)
{
    double lo = 0, hi = INFINITY;
    if (!n->op || n->output_count != 1)
        return NULL;
    if (is_op(n, "torch.nn.ReLU") || is_op(n, "torch.nn.functional.relu"))
        return "relu";
    if (is_op(n, "torch.nn.ReLU6") || is_op(n, "torch.nn.functional.relu6(fused)"))
        return "relu6";
    if (is_op(n, "torch.nn.Hardtanh")) {
        lo = node_float(n, "min_val", -1);
        hi = node_float(n, "max_val", 1);
    } else if (strcmp(n->op->key, "clamp") != 0 && strcmp(n->op->key, "clip") != 0)
        return NULL;
    else if (!clamp_bound(n, "min", 1, -INFINITY, &lo) || !clamp_bound(n, "max", 2, INFINITY, &hi))
        return NULL;
    if (lo != 0)
        return NULL;
    return hi == 6 ? "relu6" : hi >= 3.4028234e38 ? "relu" : NULL;
}

/* quantized::add_relu and the like: the file gives the sum no scale, only what the ReLU makes of it. */
static bool is_open_sum(const struct node *n)
{
    return (is_op(n, "torch.add") || is_op(n, "torch.mul")) && n->output_count == 1 &&
           dtype_is_quantized(n->outputs[0]->dtype) && n->outputs[0]->quant.count == 0;
}

static const char *word_of(const struct node *head)
{
    if (is_op(head, "torch.add") || is_op(head, "torch.mul"))
        return is_op(head, "torch.add") ? "add" : "mul";
    if (is_batch_norm(head))
        return "bn";
    if (is_op(head, "torch.nn.Linear"))
        return "linear";
    return starts_with(head->op->name, "torch.nn.ConvTranspose") ? "deconv" : "conv";
}

/* ── building chains ── */

static bool is_part(const struct node *n)
{
    return is_batch_norm(n) || is_op(n, "torch.add") || activation_of(n) != NULL;
}

static struct node *stop(struct chain *c, const struct node *at, const char *why)
{
    c->why_not = why;
    c->stopped = at->name;
    return NULL;
}

/* The node that may join the chain: the only reader of v, which has no scale of its own. */
static struct node *next_part(struct fuser *f, struct chain *c, const struct value *v)
{
    const struct rewrite *r = &f->r;
    struct node *n = r->user[v->index];
    if (!n || f->member[n->index] >= 0)
        return NULL;
    bool wanted = is_part(n) || is_op(n, "torch.div") || is_op(n, "torch.mul");
    if (!wanted)
        return NULL;
    if (r->uses[v->index] > 1)
        return is_part(n) ? stop(c, n, "the value between them has other readers") : NULL;
    if (r->leaves[v->index])
        return is_part(n) ? stop(c, n, "the value between them is an output of the network") : NULL;
    if (v->quant.count > 0 && dtype_is_quantized(v->dtype))
        return is_part(n) ? stop(c, n, "the value between them has a scale of its own in the file")
                          : NULL;
    return n;
}

/* The channels that a batch norm over v works on are those that the head makes. */
static const char *channels_why_not(const struct node *head, const struct node *bn)
{
    const struct value *v = head->outputs[0], *mean = node_param(bn, "running_mean");
    int64_t channels = mean ? shape_elements(&mean->shape) : -1;
    bool linear = is_op(head, "torch.nn.Linear");
    int rank = linear ? 2 : head->op->spatial + 2;
    if (v->shape.rank != rank)
        return linear ? "the batch norm is over another axis than the features"
                      : "the input has no batch axis, so the batch norm is over another axis";
    return channels == v->shape.dim[1] ? NULL : "the batch norm has another number of channels";
}

static struct value *constant_operand(const struct fuser *f, const struct node *n,
                                      const struct value *x)
{
    for (int i = 0; i < 2 && n->input_count == 2; i++) {
        struct value *v = rewrite_source(&f->r, n->inputs[i]);
        if (v && value_is_known(v) && rewrite_source(&f->r, n->inputs[1 - i]) == x &&
            (i == 1 || !is_op(n, "torch.div")))
            return v;
    }
    return NULL;
}

/* A division or multiplication by constants per channel counts only with a batch norm behind it. */
static struct node *take_scale(struct fuser *f, struct chain *c, struct node *n,
                               const struct value *v, struct value **factor)
{
    *factor = constant_operand(f, n, v);
    struct value *out = n->outputs[0];
    if (!*factor || n->output_count != 1 || node_string(n, "rounding_mode", NULL))
        return NULL;
    for (int d = 0; d < (*factor)->shape.rank; d++) { /* (C, 1, 1): only the channels differ */
        bool channel = d == (*factor)->shape.rank - v->shape.rank + 1;
        if ((*factor)->shape.dim[d] != 1 && !channel)
            return NULL;
    }
    if (shape_elements(&(*factor)->shape) != 1 && v->shape.rank < 2)
        return NULL;
    struct node *bn = shape_equal(&out->shape, &v->shape) ? next_part(f, c, out) : NULL;
    if (!bn || !is_batch_norm(bn))
        return NULL;
    c->scale = n;
    return bn;
}

static bool take_batch_norm(struct fuser *f, struct chain *c, const struct value **tail)
{
    struct value *factor = NULL;
    struct node *n = next_part(f, c, *tail), *bn = n;
    if (!n || node_input(c->head, 1))
        return true;
    if (is_op(n, "torch.div") || is_op(n, "torch.mul"))
        bn = take_scale(f, c, n, *tail, &factor);
    if (!bn || !is_batch_norm(bn))
        return true;
    const char *why = batch_norm_why_not(bn);
    if (!why)
        why = channels_why_not(c->head, bn);
    const struct value *w = rewrite_source(&f->r, node_param(c->head, "weight"));
    struct value *b = rewrite_source(&f->r, node_param(c->head, "bias"));
    if (!why && (!w->constant || (b && !b->constant)))
        why = "the weights are computed from the data";
    if (why) {
        c->scale = NULL;
        stop(c, bn, why);
        return true;
    }
    if (!batch_norm_affine(f->r.arena, bn, &c->affine, f->r.err))
        return false;
    if (factor && !affine_scale(&c->affine, factor, is_op(c->scale, "torch.div"))) {
        c->scale = NULL;
        stop(c, bn, "the constant between them is not one number per channel");
        return true;
    }
    c->bn = bn;
    *tail = bn->outputs[0];
    return true;
}

/* The operand that is added to v, or NULL with the reason in c. */
static struct value *residual_of(const struct fuser *f, struct chain *c, const struct node *add,
                                 const struct value *v)
{
    if (add->input_count != 2 || add->output_count != 1)
        return NULL;
    struct value *a = rewrite_source(&f->r, add->inputs[0]),
                 *b = rewrite_source(&f->r, add->inputs[1]);
    struct value *other = a == v ? b : a;
    bool scaled = node_float(add, "alpha", 1) != 1;
    if (!other || node_bool(add, "scalar_operand", false) || other->constant)
        stop(c, add, "what is added is a constant");
    else if (scaled)
        stop(c, add, "the sum has alpha other than 1");
    else if (!shape_is_static(&v->shape) || !shape_equal(&a->shape, &b->shape))
        stop(c, add, "the operands of the sum have different shapes");
    else if (dtype_is_quantized(other->dtype) != dtype_is_quantized(v->dtype))
        stop(c, add, "only one operand of the sum is quantized");
    else
        return other;
    return NULL;
}

/* First pass: batch norms are taken, adds are claimed. Of two heads the later one takes the add. */
static bool claim(struct fuser *f, struct node *n)
{
    struct chain *c = &f->chains[n->index];
    const struct value *tail = n->outputs[0];
    *c = (struct chain){.head = n};
    f->member[n->index] = n->index;
    if (node_string(n, "activation", NULL))
        return true;
    if (is_matrix(n) && !take_batch_norm(f, c, &tail))
        return false;
    if (c->bn)
        f->member[c->bn->index] = n->index;
    if (c->scale)
        f->member[c->scale->index] = n->index;
    struct node *add = c->why_not || node_input(n, 1) ? NULL : next_part(f, c, tail);
    if (add && is_op(add, "torch.add") && residual_of(f, c, add, tail))
        f->claim[add->index] = n->index;
    return true;
}

/* Second pass: adds are given, ReLUs taken. */
static void finish(struct fuser *f, struct chain *c)
{
    const struct value *tail = c->bn ? c->bn->outputs[0] : c->head->outputs[0];
    c->last = c->bn ? c->bn : c->head;
    if (c->why_not || node_string(c->head, "activation", NULL))
        return;
    struct node *n = next_part(f, c, tail);
    if (n && is_op(n, "torch.add") && is_matrix_or_bn(c->head) && !node_input(c->head, 1)) {
        if (f->claim[n->index] == c->head->index) {
            c->add = c->last = n;
            c->residual = residual_of(f, c, n, tail);
            f->member[n->index] = c->head->index;
            tail = n->outputs[0];
            n = next_part(f, c, tail);
        } else if (f->claim[n->index] >= 0)
            stop(c, n, "the other operand's layer takes the sum");
    }
    if (n && activation_of(n) && rewrite_source(&f->r, node_input(n, 0)) == tail) {
        c->activation = activation_of(n);
        c->relu = c->last = n;
        f->member[n->index] = c->head->index;
    }
}

/* ── report ── */

static bool report_add(struct fuser *f, const struct fuse_item *item)
{
    struct fuse_report *p = f->report;
    if (!p)
        return true;
    p->items = arena_grow(f->r.arena, p->items, p->count, p->count + 1, sizeof *p->items,
                          &p->capacity, f->r.err);
    if (!p->items)
        return false;
    p->items[p->count++] = *item;
    return true;
}

static bool report_chain(struct fuser *f, const struct chain *c)
{
    const struct node *nodes[CHAIN_MAX] = {c->head, c->scale, c->bn, c->add, c->relu};
    const char *words[CHAIN_MAX] = {word_of(c->head), c->scale ? "div" : NULL, c->bn ? "bn" : NULL,
                                    c->add ? "add" : NULL, c->activation};
    char what[64] = "";
    const char *names = "";
    int count = 0;
    for (int i = 0; i < CHAIN_MAX; i++) {
        if (!nodes[i])
            continue;
        size_t used = strlen(what);
        snprintf(what + used, sizeof what - used, "%s%s", count ? "," : "", words[i]);
        names =
            arena_printf(f->r.arena, f->r.err, "%s%s%s", names, count ? " " : "", nodes[i]->name);
        if (!names)
            return false;
        count++;
    }
    const char *copy = arena_strdup(f->r.arena, what, f->r.err);
    if (!copy)
        return false;
    if ((count > 1 || is_batch_norm(c->head)) &&
        !report_add(f, &(struct fuse_item){c->head->name, names, copy, NULL}))
        return false;
    if (!c->why_not)
        return true;
    const char *why = arena_printf(f->r.arena, f->r.err, "%s (at %s)", c->why_not, c->stopped);
    return why && report_add(f, &(struct fuse_item){c->head->name, names, copy, why});
}

/* ── emitting ── */

static bool emit_chain(struct fuser *f, const struct chain *c)
{
    struct rewrite *r = &f->r;
    struct node *n;
    if (is_batch_norm(c->head)) {
        struct affine affine;
        if (!batch_norm_affine(r->arena, c->head, &affine, r->err))
            return false;
        n = batch_norm_conv(r, c->head, &affine);
    } else if (c->bn) {
        n = rewrite_begin_node(r, c->head);
        for (int i = 0; n && i < c->head->input_count; i++) {
            struct value *x = c->head->inputs[i] ? rewrite_value(r, c->head->inputs[i]) : NULL;
            if ((c->head->inputs[i] && !x) || !node_add_input(r->to, n, x, r->err))
                return false;
        }
        if (!n || !batch_norm_fold(r, n, c->head, &c->affine) ||
            (node_attr(n, "bias") && !node_set_bool(r->to, n, "bias", true, r->err)))
            return false;
    } else
        n = rewrite_node(r, c->head);
    if (!n)
        return false;
    if (c->add) {
        struct value *residual = rewrite_value(r, c->residual);
        if (!residual || !node_add_input(r->to, n, residual, r->err))
            return false;
    }
    if (c->activation && !node_set_string(r->to, n, "activation", c->activation, r->err))
        return false;
    struct value *v = rewrite_output(r, n, c->last->outputs[0]);
    return v && report_chain(f, c);
}

/* hardsigmoid(x) * x without a scale between them: quantized::hardswish, one function of x. */
static bool is_hardswish(const struct fuser *f, const struct node *mul, struct value **x)
{
    if (!is_op(mul, "torch.mul") || mul->input_count != 2 || mul->output_count != 1 ||
        !dtype_is_quantized(mul->outputs[0]->dtype))
        return false;
    for (int i = 0; i < 2; i++) {
        struct value *h = rewrite_source(&f->r, mul->inputs[i]);
        *x = rewrite_source(&f->r, mul->inputs[1 - i]);
        const struct node *n = h ? h->producer : NULL;
        if (*x && n && is_op(n, "torch.nn.HardSigmoid") &&
            rewrite_source(&f->r, n->inputs[0]) == *x && h->quant.count == 0 &&
            f->r.uses[h->index] == 1 && !f->r.leaves[h->index] &&
            fabs(node_float(n, "alpha", 1 / 6.) - 1 / 6.) < 1e-6 && node_float(n, "beta", .5) == .5)
            return true;
    }
    return false;
}

static bool emit_hardswish(struct fuser *f, const struct node *mul, struct value *x)
{
    struct rewrite *r = &f->r;
    struct node *n = graph_add_node(r->to, mul->name, "torch.nn.Hardswish", r->err);
    struct value *in = n && op_bind(n) ? rewrite_value(r, x) : NULL;
    if (!in || !node_add_input(r->to, n, in, r->err))
        return false;
    n->origin = mul->origin;
    return rewrite_output(r, n, mul->outputs[0]) != NULL;
}

static bool emit(struct fuser *f)
{
    struct rewrite *r = &f->r;
    struct value *x;
    const struct graph *g = r->from;
    bool *skip = ARENA_ARRAY(r->arena, bool, g->node_count, r->err);
    if (!skip)
        return false;
    for (int i = 0; i < g->node_count; i++)
        if (r->live[i] && is_hardswish(f, g->nodes[i], &x))
            for (int k = 0; k < 2; k++) {
                struct node *p = rewrite_source(&f->r, g->nodes[i]->inputs[k])->producer;
                if (p && is_op(p, "torch.nn.HardSigmoid"))
                    skip[p->index] = true;
            }
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        const struct chain *c = f->member[i] >= 0 ? &f->chains[f->member[i]] : NULL;
        if (!r->live[i] || skip[i] || (c && c->last != n))
            continue;
        if (c) {
            if (!emit_chain(f, c))
                return false;
            continue;
        }
        if (is_hardswish(f, n, &x)) {
            if (!emit_hardswish(f, n, x))
                return false;
            continue;
        }
        struct node *copy = rewrite_node(r, n);
        if (!copy || !rewrite_outputs(r, copy, n))
            return false;
    }
    return rewrite_end(r);
}

struct graph *quant_fuse(struct arena *a, const struct graph *g, struct fuse_report *report,
                         struct bpu_error *err)
{
    struct fuser f = {.report = report};
    if (!(g = constants_computed(a, g, err)))
        return NULL;
    if (!rewrite_begin(&f.r, a, g, err))
        return NULL;
    f.chains = ARENA_ARRAY(a, struct chain, g->node_count, err);
    f.member = f.chains ? ARENA_ARRAY(a, int, g->node_count, err) : NULL;
    f.claim = f.member ? ARENA_ARRAY(a, int, g->node_count, err) : NULL;
    if (!f.claim)
        return NULL;
    for (int i = 0; i < g->node_count; i++)
        f.member[i] = f.claim[i] = -1;
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = g->nodes[i];
        bool alone = is_batch_norm(n) && f.member[i] < 0 && !batch_norm_why_not(n) &&
                     batch_norm_can_stand(n);
        if (f.r.live[i] && (is_matrix(n) || alone) && !claim(&f, n))
            return NULL;
    }
    for (int i = 0; i < g->node_count; i++)
        if (f.chains[i].head)
            finish(&f, &f.chains[i]);
    for (int i = 0; i < g->node_count; i++)
        if (f.r.live[i] && f.member[i] < 0 && is_open_sum(g->nodes[i])) {
            f.chains[i].head = g->nodes[i];
            f.member[i] = i;
            finish(&f, &f.chains[i]);
        }
    bool *carried = emit(&f) ? carried_scales(a, g, err) : NULL;
    for (int i = 0; carried && i < g->value_count; i++)
        if (carried[i] && f.r.map[i] && !f.r.map[i]->constant)
            f.r.map[i]->quant = (struct quant){0};
    return carried ? f.r.to : NULL;
}
