/* From a graph to a list of calls on tensors that have their places.
 *
 *   demand (backwards: which values an output needs) ─ actions ─ live ranges ─ in-place ─
 * plan_place ─ calls
 *
 * Values never change once they are computed, so a view may always share the memory of its operand,
 * and what an operator computes in place may take over that of an operand which nobody reads
 * afterwards.  A piece of memory is named by the value that it was made for: its root. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/ops/op.h"
#include "core/run/fast_kernels.h"
#include "core/run/fast_layout.h"
#include "core/run/plan.h"
#include "core/run/run_private.h"

/* What becomes of a node. */
enum action {
    ACT_NONE, /* no output of the graph needs it */
    ACT_VIEW, /* result 0 is operand 0, read with another shape */
    ACT_ONCE, /* a constant that the importer left to be computed */
    ACT_CALL, /* a kernel per frame */
};

struct build {
    struct run *r;
    const struct graph *g;
    struct arena *a;
    bool *needed;          /* by value index */
    unsigned char *action; /* by node index */
    int *op_of;            /* by node index; -1: none */
    const struct tensor **in, **params; /* of the call that was made last */
    int *root;             /* by value index: the value whose memory it is; -1: has none here */
    int *last; /* by root: last op that reads or writes it; ops count from 1, inputs are 0 */
    struct plan_item *items;
    int *item_of; /* by root */
    size_t item_count;
    struct arena *temporary; /* of all this */
    struct tensor *constants; /* tensors of constants until a kernel takes them; above everything else there */
    int constant_count;
    struct arena_mark before_constants;
    bool *taken;   /* by value index: a constant that some kernel reads in its tensor */
    bool *counted; /* by value index: a constant that is in memory.weights */
};

/* ── what is needed ── */

static bool known(const struct value *v)
{
    return v->constant && (v->constant->data || shape_elements(&v->shape) == 0);
}

static bool same_quant(const struct value *x, const struct value *y)
{
    if (x->quant.count != y->quant.count || (x->quant.count > 1 && x->quant.axis != y->quant.axis))
        return false;
    for (int i = 0; i < x->quant.count; i++) {
        int64_t p = x->quant.zero_point ? x->quant.zero_point[i] : 0;
        int64_t q = y->quant.zero_point ? y->quant.zero_point[i] : 0;
        if (x->quant.scale[i] < y->quant.scale[i] || x->quant.scale[i] > y->quant.scale[i] ||
            p != q)
            return false;
    }
    return true;
}

/* True if the bytes of x are those of y. */
static bool same_bytes(const struct value *x, const struct value *y)
{
    int64_t n = shape_elements(&x->shape);
    return n >= 0 && n == shape_elements(&y->shape) && x->dtype == y->dtype &&
           (!dtype_is_quantized(x->dtype) || same_quant(x, y));
}

/* Nodes that give their operand's bytes: folded ones that pass it through, reshapes, identities.  A
 * batch norm that the checker counts as folded is none: the weights before it are still without it.
 */
static bool is_view(const struct build *b, const struct node *n)
{
    const struct value *x = node_input(n, 0);
    if (!x || n->output_count < 1 || !n->outputs[0] || !same_bytes(x, n->outputs[0]))
        return false;
    bool inside = b->r->options.engine == RUN_FAST && fast_is_inside(n->outputs[0]);
    if (inside && (!fast_is_inside(x) || !fast_same_order(&x->shape, &n->outputs[0]->shape)))
        return false;
    for (int i = 1; i < n->output_count; i++)
        if (b->needed[n->outputs[i]->index])
            return false;
    if (n->fold == FOLD_IDENTITY || n->fold == FOLD_BIAS || n->fold == FOLD_QUANT)
        return true;
    const char *kernel = kernel_of(n)->name;
    return strcmp(kernel, "view") == 0 || strcmp(kernel, "identity") == 0;
}

static void need(struct build *b, const struct value *v)
{
    if (v)
        b->needed[v->index] = true;
}

static void find_needed(struct build *b)
{
    for (int i = 0; i < b->g->output_count; i++)
        need(b, b->g->outputs[i]);
    for (int i = b->g->node_count - 1; i >= 0; i--) {
        const struct node *n = b->g->nodes[i];
        bool any = false, constant = true;
        for (int k = 0; k < n->output_count; k++)
            if (b->needed[n->outputs[k]->index] && !known(n->outputs[k])) {
                any = true;
                constant = constant && n->outputs[k]->constant;
            }
        if (!any)
            continue;
        b->action[i] = is_view(b, n) ? ACT_VIEW : constant ? ACT_ONCE : ACT_CALL;
        if (b->action[i] == ACT_VIEW) {
            need(b, n->inputs[0]);
            continue;
        }
        for (int k = 0; k < n->input_count; k++)
            need(b, n->inputs[k]);
        for (int k = 0; k < n->param_count; k++)
            need(b, n->params[k].value);
    }
}

/* ── tensors ── */

static void *aligned_alloc_in(struct arena *a, size_t n, struct bpu_error *err)
{
    if (n > SIZE_MAX / 2) {
        error_set(err, BPU_NO_MEMORY, NULL, "a tensor of %zu bytes is beyond all limits", n);
        return NULL;
    }
    char *p = arena_alloc(a, n + PLAN_ALIGN, err);
    return p ? p + (PLAN_ALIGN - (uintptr_t)p % PLAN_ALIGN) % PLAN_ALIGN : NULL;
}

static bool describe(const struct value *v, struct tensor *t, struct bpu_error *err)
{
    int64_t n = shape_elements(&v->shape);
    size_t size = dtype_size(v->dtype);
    char text[SHAPE_TEXT_MAX];
    const char *where = v->producer ? v->producer->name : v->name;
    if (n < 0) {
        error_set(err, BPU_UNSUPPORTED, where,
                  "the shape of \"%s\" is not known before the network runs: %s", v->name,
                  shape_text(&v->shape, text));
        return error_hint(err, "Networks whose shapes depend on the data cannot be executed.");
    }
    if (size == 0)
        return error_set(err, BPU_UNSUPPORTED, where, "the element type of \"%s\" is not known",
                         v->name);
    *t = (struct tensor){.shape = v->shape, .dtype = v->dtype, .quant = v->quant};
    if (!checked_size_mul((size_t)n, size, &t->bytes))
        return error_set(err, BPU_NO_MEMORY, where, "\"%s\" is too large", v->name);
    return true;
}

static bool keep_tensor(struct build *b, const struct value *v, struct bpu_error *err)
{
    struct tensor *t = ARENA_NEW(b->a, struct tensor, err);
    if (!t)
        return false;
    *t = *b->r->tensors[v->index];
    b->r->tensors[v->index] = t;
    return true;
}

/* Kernels read aligned constants.  They are used where they lie if they are aligned, as those of a .bpug
 * are; others are copied when the first kernel asks, so that weights of which a fast kernel has a packed
 * form need no copy. */
static bool take_constant(struct build *b, const struct value *v, struct bpu_error *err)
{
    if (!v || b->root[v->index] >= 0 || b->taken[v->index])
        return true;
    b->taken[v->index] = true;
    if (known(v) && !keep_tensor(b, v, err))
        return false;
    struct tensor *t = b->r->tensors[v->index];
    if (!t->data)
        return true;
    if ((uintptr_t)t->data % PLAN_ALIGN == 0) {
        b->r->elsewhere += t->bytes;
        return true;
    }
    void *copy = aligned_alloc_in(b->a, t->bytes, err);
    if (copy && t->bytes)
        memcpy(copy, t->data, t->bytes);
    if (copy)
        t->data = copy;
    return copy != NULL;
}

static bool left_out(const struct build *b, const struct value *v, struct bpu_error *err)
{
    const char *where = v->name;
    for (int i = 0; i < b->g->node_count; i++) {
        const struct node *n = b->g->nodes[i];
        for (int k = 0; b->action[i] != ACT_NONE && k < n->input_count + n->param_count; k++)
            if (v == (k < n->input_count ? n->inputs[k] : n->params[k - n->input_count].value))
                where = n->name;
    }
    error_set(err, BPU_BAD_MODEL, where, "the content of \"%s\" is not in the file", v->name);
    return error_hint(err, "The network can be checked without its weights, but not run; write the "
                           "file with all of them.");
}

static bool describe_all(struct build *b, struct bpu_error *err)
{
    for (int i = 0; i < b->g->value_count; i++) {
        const struct value *v = b->g->values[i];
        if (!b->needed[i])
            continue;
        struct tensor *t = known(v) ? &b->constants[b->constant_count++]
                                    : ARENA_NEW(b->a, struct tensor, err);
        b->r->tensors[i] = t;
        if (!t || !describe(v, t, err))
            return false;
        if (known(v))
            t->data = (void *)(uintptr_t)v->constant->data; /* never written */
        else if (!v->producer && !v->is_input)
            return left_out(b, v, err);
    }
    return true;
}

/* Results that nobody needs of a node that runs anyway: computed for traces only. */
static bool describe_unread(struct build *b, struct bpu_error *err)
{
    for (int i = 0; b->r->options.keep_all && i < b->g->node_count; i++) {
        const struct node *n = b->g->nodes[i];
        for (int k = 0; b->action[i] == ACT_CALL && k < n->output_count; k++) {
            const struct value *v = n->outputs[k];
            if (b->needed[v->index] || known(v) || !shape_is_static(&v->shape) ||
                v->dtype == DT_UNKNOWN)
                continue;
            b->needed[v->index] = true;
            struct tensor *t = ARENA_NEW(b->a, struct tensor, err);
            b->r->tensors[v->index] = t;
            if (!t || !describe(v, t, err))
                return false;
        }
    }
    return true;
}

/* ── live ranges ── */

static void touch(struct build *b, const struct value *v, int op)
{
    int root = v ? b->root[v->index] : -1;
    if (root >= 0 && b->last[root] < op)
        b->last[root] = op;
}

/* Kernels that read no element of an operand after that of the same index in the result is written.
 * tests/unit/test_run.c tries each. */
static bool works_in_place(const struct node *n)
{
    static const char *const names[] = {"unary", "clamp", "binary", "batch_norm"};
    const char *kernel = kernel_of(n)->name;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(kernel, names[i]) == 0)
            return true;
    return false;
}

/* An operand whose memory the result of n (op number `op`) may take over, or NULL. */
static const struct value *operand_to_take(const struct build *b, const struct node *n, int op)
{
    if (b->r->options.keep_all || !works_in_place(n) || n->output_count != 1)
        return NULL;
    const struct value *y = n->outputs[0];
    for (int i = 0; i < n->input_count; i++) {
        const struct value *x = n->inputs[i];
        if (x && b->root[x->index] >= 0 && b->last[b->root[x->index]] == op &&
            x->dtype == y->dtype && shape_equal(&x->shape, &y->shape))
            return x;
    }
    return NULL;
}

/* Gives every value its root. take: operands may be taken over; last is of the pass before. */
static void assign_roots(struct build *b, bool take)
{
    const struct graph *g = b->g;
    for (int i = 0; i < g->value_count; i++)
        b->root[i] = -1;
    for (int i = 0; i < g->input_count; i++)
        if (b->needed[g->inputs[i]->index])
            b->root[g->inputs[i]->index] = g->inputs[i]->index;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        int op = b->op_of[i] + 1;
        if (b->action[i] == ACT_VIEW) {
            b->root[n->outputs[0]->index] = b->root[n->inputs[0]->index];
            continue;
        }
        for (int k = 0; b->action[i] == ACT_CALL && k < n->output_count; k++) {
            int v = n->outputs[k]->index;
            if (!b->needed[v] || known(n->outputs[k]))
                continue;
            const struct value *x = take ? operand_to_take(b, n, op) : NULL;
            b->root[v] = v;
            if (!x)
                continue;
            b->root[v] = b->root[x->index];
            b->last[b->root[v]] = b->last[v];
            b->r->counts.in_place++;
        }
    }
}

static void find_last_uses(struct build *b)
{
    for (int i = 0; i < b->g->node_count; i++) {
        const struct node *n = b->g->nodes[i];
        int op = b->op_of[i] + 1;
        if (b->action[i] == ACT_NONE || b->action[i] == ACT_ONCE)
            continue;
        for (int k = 0; k < n->input_count; k++)
            touch(b, n->inputs[k], op);
        for (int k = 0; k < n->param_count; k++)
            touch(b, n->params[k].value, op);
        for (int k = 0; k < n->output_count; k++)
            touch(b, n->outputs[k], op);
    }
}

/* Plans the block, which is allocated last: what kernels take while they are prepared is then never
 * beside it. */
static bool plan_values(struct build *b, struct bpu_error *err)
{
    int steps = b->r->op_count + 1;
    assign_roots(b, false);
    find_last_uses(b);
    assign_roots(b, true);
    for (int i = 0; i < b->g->value_count; i++) {
        const struct value *v = b->g->values[i];
        if (b->root[i] != i)
            continue;
        b->item_of[i] = (int)b->item_count;
        b->items[b->item_count++] =
            (struct plan_item){.bytes = b->r->tensors[i]->bytes,
                               .first = v->producer ? b->op_of[v->producer->index] + 1 : 0,
                               .last = b->r->options.keep_all ? steps - 1 : b->last[i]};
    }
    struct plan_size size = {0};
    if (!plan_place(b->a, b->items, b->item_count, steps, &size, err))
        return false;
    b->r->memory.planned = size.total;
    b->r->memory.live = size.live;
    return true;
}

static bool place_values(struct build *b, struct bpu_error *err)
{
    char *block = aligned_alloc_in(b->a, b->r->memory.planned + FAST_SLACK, err);
    for (int i = 0; block && i < b->g->value_count; i++)
        if (b->root[i] >= 0)
            b->r->tensors[i]->data = block + b->items[b->item_of[b->root[i]]].offset;
    return block != NULL;
}

/* ── calls ── */

static bool pick_kernel(const struct node *n, kernel_fn **out, struct bpu_error *err)
{
    const struct kernel *k = kernel_of(n);
    bool fixed = kernel_is_fixed(n);
    *out = fixed ? k->fixed : k->real;
    if (*out)
        return true;
    if (!k->fixed && !k->real)
        error_set(err, BPU_UNSUPPORTED, n->name, "the operator %s cannot be executed", n->op_name);
    else
        error_set(err, BPU_UNSUPPORTED, n->name, "the operator %s cannot be executed %s",
                  n->op_name, fixed ? "on quantized values" : "in floating point");
    return error_hint(err, "Leave the operator out of the network, or replace it by others that do "
                           "the same.");
}

/* The operands as they are described now: constants that a kernel takes move. */
static void fill_operands(struct build *b, const struct run_op *op)
{
    const struct node *n = op->call.node;
    for (int i = 0; i < n->input_count; i++)
        b->in[i] = n->inputs[i] ? b->r->tensors[n->inputs[i]->index] : NULL;
    for (int i = 0; i < n->param_count; i++)
        b->params[i] = n->params[i].value ? b->r->tensors[n->params[i].value->index] : NULL;
}

static bool make_call(struct build *b, const struct node *n, struct run_op *op,
                      struct bpu_error *err)
{
    struct tensor **out = ARENA_ARRAY(b->a, struct tensor *, n->output_count, err);
    b->in = ARENA_ARRAY(b->a, const struct tensor *, n->input_count, err);
    b->params = ARENA_ARRAY(b->a, const struct tensor *, n->param_count, err);
    if (!b->in || !b->params || !out)
        return false;
    for (int i = 0; i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        out[i] = b->needed[v->index] && !known(v) ? b->r->tensors[v->index] : NULL;
    }
    op->call = (struct kernel_call){.node = n,
                                    .in = b->in,
                                    .in_count = n->input_count,
                                    .params = b->params,
                                    .out = out,
                                    .out_count = n->output_count,
                                    .scratch = &b->r->scratch};
    fill_operands(b, op);
    return pick_kernel(n, &op->kernel, err);
}

static void count_weight(struct build *b, const struct value *v)
{
    if (!v || b->root[v->index] >= 0 || b->counted[v->index])
        return;
    b->counted[v->index] = true;
    b->r->memory.weights += b->r->tensors[v->index]->bytes;
}

/* The constants that n reads in a frame, whatever form they are kept in. */
static void count_weights(struct build *b, const struct node *n)
{
    for (int i = 0; i < n->input_count; i++)
        count_weight(b, n->inputs[i]);
    for (int i = 0; i < n->param_count; i++)
        count_weight(b, n->params[i].value);
}

/* The constants among the operands of op, which was made last, and with `all` its parameters. */
static bool take_constants(struct build *b, const struct run_op *op, bool all, struct bpu_error *err)
{
    const struct node *n = op->call.node;
    for (int i = 0; i < n->input_count; i++)
        if (!take_constant(b, n->inputs[i], err))
            return false;
    for (int i = 0; all && i < n->param_count; i++)
        if (!take_constant(b, n->params[i].value, err))
            return false;
    fill_operands(b, op);
    return true;
}

/* A fast kernel that has packed its parameters, or one of the others, which read all constants in
 * place. */
static bool pick_fast(struct build *b, struct run_op *op, struct bpu_error *err)
{
    if (!take_constants(b, op, false, err) || !run_prepare(b->r, op, fast_prepare_packed, err))
        return false;
    if (!op->fast.run)
        return take_constants(b, op, true, err) && run_prepare(b->r, op, fast_prepare, err);
    memset(b->params, 0, (size_t)op->call.node->param_count * sizeof *b->params);
    return true;
}

/* Results of a node that depends on constants only: computed now, kept like weights. */
static bool compute_once(struct build *b, const struct node *n, struct bpu_error *err)
{
    struct run_op op = {0};
    if (!make_call(b, n, &op, err))
        return false;
    for (int i = 0; i < n->output_count; i++) {
        struct tensor *t = op.call.out[i];
        if (!t)
            continue;
        t->data = aligned_alloc_in(b->a, t->bytes, err);
        if (!t->data)
            return false;
        b->taken[n->outputs[i]->index] = true;
    }
    b->r->counts.once++;
    return take_constants(b, &op, true, err) && run_call(b->r, &op, err);
}

static bool make_ops(struct build *b, struct bpu_error *err)
{
    struct run_counts *counts = &b->r->counts;
    for (int i = 0; i < b->g->node_count; i++) {
        const struct node *n = b->g->nodes[i];
        if (b->action[i] == ACT_ONCE && !compute_once(b, n, err))
            return false;
        if (b->action[i] == ACT_VIEW) {
            b->r->tensors[n->outputs[0]->index]->data = b->r->tensors[n->inputs[0]->index]->data;
            counts->views++;
        }
        if (b->op_of[i] < 0)
            continue;
        struct run_op *op = &b->r->ops[b->op_of[i]];
        if (b->action[i] == ACT_VIEW) {
            op->call.node = n;
            continue;
        }
        if (!make_call(b, n, op, err))
            return false;
        count_weights(b, n);
        if (b->r->options.engine == RUN_FAST ? !pick_fast(b, op, err)
                                             : !take_constants(b, op, true, err))
            return false;
        if (op->fast.run)
            counts->fast++;
        else if (kernel_is_fixed(n))
            counts->fixed++;
        else
            counts->real++;
    }
    return true;
}

static int by_op(const void *a, const void *b)
{
    const struct run_copy *x = a, *y = b;
    if (x->op != y->op)
        return x->op < y->op ? -1 : 1;
    return x->output < y->output ? -1 : x->output > y->output;
}

/* Outputs in the order in which they appear: first what is there before the first op. */
static bool make_copies(struct build *b, struct bpu_error *err)
{
    const struct graph *g = b->g;
    struct run *r = b->r;
    for (int i = 0; i < g->output_count; i++) {
        const struct value *v = g->outputs[i];
        int op = v->producer && !known(v) ? b->op_of[v->producer->index] : -1;
        if (known(v) && !b->taken[v->index] && !keep_tensor(b, v, err))
            return false;
        b->taken[v->index] = true;
        r->copies[r->copy_count++] =
            (struct run_copy){.op = op, .output = i, .from = r->tensors[v->index]};
    }
    if (r->copy_count)
        qsort(r->copies, (size_t)r->copy_count, sizeof *r->copies, by_op);
    return true;
}

/* Views of constants are no step: they are there from the start. */
static bool is_step(const struct build *b, int node)
{
    return b->action[node] == ACT_CALL ||
           (b->action[node] == ACT_VIEW && !b->g->nodes[node]->outputs[0]->constant);
}

/* What only building needs. */
static bool make_arrays(struct build *b, struct bpu_error *err)
{
    struct arena *a = b->temporary;
    int values = b->g->value_count, nodes = b->g->node_count, constants = 0;
    for (int i = 0; i < values; i++)
        constants += known(b->g->values[i]);
    b->needed = ARENA_ARRAY(a, bool, values, err);
    b->action = ARENA_ARRAY(a, unsigned char, nodes, err);
    b->op_of = ARENA_ARRAY(a, int, nodes, err);
    b->root = ARENA_ARRAY(a, int, values, err);
    b->last = ARENA_ARRAY(a, int, values, err);
    b->items = ARENA_ARRAY(a, struct plan_item, values, err);
    b->item_of = ARENA_ARRAY(a, int, values, err);
    b->taken = ARENA_ARRAY(a, bool, values, err);
    b->counted = ARENA_ARRAY(a, bool, values, err);
    b->before_constants = arena_mark(a);
    b->constants = ARENA_ARRAY(a, struct tensor, constants, err);
    return b->needed && b->action && b->op_of && b->root && b->last && b->items && b->item_of &&
           b->taken && b->counted && b->constants;
}

/* What no kernel took is not read in a frame. */
static void drop_constants(struct build *b)
{
    for (int i = 0; i < b->g->value_count; i++)
        if (b->r->tensors[i] && known(b->g->values[i]) && !b->taken[i])
            b->r->tensors[i] = NULL;
    run_note_held(b->r);
    b->r->elsewhere -= arena_taken(b->temporary);
    arena_rewind(b->temporary, b->before_constants);
    b->r->elsewhere += arena_taken(b->temporary);
}

static bool build_all(struct build *b, struct bpu_error *err)
{
    const struct graph *g = b->g;
    struct run *r = b->r;
    find_needed(b);
    for (int i = 0; i < g->node_count; i++)
        b->op_of[i] = is_step(b, i) ? r->op_count++ : -1;
    r->tensors = ARENA_ARRAY(b->a, struct tensor *, g->value_count, err);
    r->ops = ARENA_ARRAY(b->a, struct run_op, r->op_count, err);
    r->copies = ARENA_ARRAY(b->a, struct run_copy, g->output_count, err);
    if (!r->tensors || !r->ops || !r->copies || !describe_all(b, err) || !describe_unread(b, err) ||
        !plan_values(b, err) || !make_ops(b, err) || !make_copies(b, err))
        return false;
    drop_constants(b);
    return place_values(b, err);
}

bool run_build(struct run *r, struct bpu_error *err)
{
    struct arena *a = r->arena, temporary;
    struct build b = {.r = r, .g = r->graph, .a = a, .temporary = &temporary};
    arena_init(&temporary, a->quota > a->used ? a->quota - a->used : 0);
    temporary.fail_after = a->fail_after;
    bool ok = make_arrays(&b, err);
    a->fail_after = temporary.fail_after;
    r->elsewhere += arena_taken(&temporary);
    ok = ok && build_all(&b, err);
    run_note_held(r);
    r->elsewhere -= arena_taken(&temporary);
    arena_fini(&temporary);
    return ok;
}
