/* Frames.
 *
 * Every tensor has its place since run_new(), so a frame copies its inputs in, calls one kernel
 * after the other, and copies each output away as soon as it is there.  Scratch memory is a block
 * of its own that grows to what the hungriest kernel takes, and stays. */
#include "core/run/run.h"

#include <stdint.h>
#include <string.h>

#include "core/run/fast_layout.h"
#include "core/run/run_private.h"

/* ── scratch ── */

static void close_scratch(void *run)
{
    arena_fini(&((struct run *)run)->scratch);
}

void run_note_held(struct run *r)
{
    size_t own = r->own ? r->own : arena_taken(r->arena) - r->before;
    size_t held = own + r->elsewhere + arena_taken(&r->scratch);
    if (held > r->memory.held)
        r->memory.held = held;
}

static void scratch_drop(struct run *r)
{
    arena_rewind(&r->scratch, (struct arena_mark){NULL, 0});
    r->block = 0;
}

/* Empties the scratch arena; keeps its memory if it is one block, else replaces it by one that is
 * large enough next time.  That this fails is no error: the next kernel asks again. */
static void scratch_reset(struct run *r)
{
    struct arena *s = &r->scratch;
    size_t taken = arena_taken(s);
    if (taken > r->memory.scratch) {
        r->memory.scratch = taken;
        run_note_held(r);
    }
    if (s->used > r->block) {
        struct bpu_error ignored = {0};
        scratch_drop(r);
        if (arena_reserve(s, taken, &ignored))
            r->block = s->used;
    }
    if (s->head)
        arena_rewind(s, (struct arena_mark){s->head, 0});
}

/* What the job may still take is what kernels may take; an allocation that a test makes fail may be
 * one of theirs. */
static void scratch_begin(struct run *r)
{
    const struct arena *a = r->arena;
    r->scratch.quota = a->quota > a->used ? a->quota - a->used : 0;
    r->scratch.fail_after = a->fail_after;
}

static void scratch_end(struct run *r)
{
    r->arena->fail_after = r->scratch.fail_after;
    r->scratch.fail_after = -1;
    scratch_reset(r);
}

bool run_call(struct run *r, struct run_op *op, struct bpu_error *err)
{
    scratch_begin(r);
    bool ok =
        op->fast.run ? op->fast.run(op->fast.state, &op->call, err) : op->kernel(&op->call, err);
    scratch_end(r);
    if (!ok)
        error_where(err, "%s", op->call.node->name);
    return ok;
}

bool run_prepare(struct run *r, struct run_op *op, run_prepare_fn *prepare, struct bpu_error *err)
{
    struct arena *a = r->arena, *s = &r->scratch;
    scratch_begin(r);
    s->quota /= 2; /* both arenas grow; together they stay below the quota of the job */
    a->quota -= s->quota;
    bool ok = prepare(a, &op->call, r->options.variant, &op->fast, err);
    a->quota += s->quota;
    if (s->fail_after < a->fail_after)
        a->fail_after = s->fail_after;
    s->fail_after = -1;
    run_note_held(r);
    scratch_drop(r);
    if (!ok)
        error_where(err, "%s", op->call.node->name);
    return ok;
}

/* ── making ── */

struct run *run_new(struct arena *a, const struct graph *g, const struct run_options *options,
                    struct bpu_error *err)
{
    size_t before = arena_taken(a);
    struct run *r = ARENA_NEW(a, struct run, err);
    if (!r)
        return NULL;
    r->arena = a;
    r->before = before;
    r->graph = g;
    r->options = options ? *options : (struct run_options){.engine = RUN_REFERENCE};
    arena_init(&r->scratch, 0);
    if (!arena_on_fini(a, close_scratch, r, err) || !run_build(r, err))
        return NULL;
    r->own = arena_taken(a) - before;
    scratch_drop(r);
    r->memory.scratch = 0; /* what was computed once is none of a frame */
    return r;
}

struct run_memory run_memory(const struct run *r)
{
    return r->memory;
}

struct run_counts run_counts(const struct run *r)
{
    return r->counts;
}

/* ── running ── */

/* True if the tensor of v lies in the layout of the fast engine. */
static bool is_inside(const struct run *r, const struct value *v)
{
    return r->options.engine == RUN_FAST && fast_is_inside(v);
}

static void copy_outputs(const struct run *r, int op, int *next, void *const *outputs)
{
    for (; *next < r->copy_count && r->copies[*next].op == op; (*next)++) {
        const struct run_copy *c = &r->copies[*next];
        if (!outputs[c->output] || !c->from->bytes)
            continue;
        if (is_inside(r, r->graph->outputs[c->output]))
            fast_leave(c->from, c->from->data, outputs[c->output]);
        else
            memcpy(outputs[c->output], c->from->data, c->from->bytes);
    }
}

static bool trace_result(struct run *r, const struct value *v, run_trace_fn *trace, void *ctx,
                         struct bpu_error *err)
{
    const struct tensor *of = r->tensors[v->index];
    if (!of || !of->data)
        return true;
    struct tensor t = *of;
    if (!is_inside(r, v))
        return trace(ctx, v, &t, err);
    scratch_begin(r);
    t.data = arena_reserve(&r->scratch, t.bytes, err);
    if (t.data)
        fast_leave(&t, of->data, t.data);
    bool ok = t.data && trace(ctx, v, &t, err);
    scratch_end(r);
    return ok;
}

static bool trace_results(struct run *r, const struct run_op *op, run_trace_fn *trace, void *ctx,
                          struct bpu_error *err)
{
    const struct node *n = op->call.node;
    for (int i = 0; i < n->output_count; i++)
        if (!trace_result(r, n->outputs[i], trace, ctx, err))
            return false;
    return true;
}

bool run_frame(struct run *r, const void *const *inputs, void *const *outputs, run_trace_fn *trace,
               void *ctx, struct bpu_error *err)
{
    int copied = 0;
    for (int i = 0; i < r->graph->input_count; i++) {
        const struct tensor *t = r->tensors[r->graph->inputs[i]->index];
        if (!t || !t->data || !t->bytes)
            continue;
        if (is_inside(r, r->graph->inputs[i]))
            fast_enter(t, inputs[i], t->data);
        else
            memcpy(t->data, inputs[i], t->bytes);
    }
    copy_outputs(r, -1, &copied, outputs);
    for (int i = 0; i < r->op_count; i++) {
        struct run_op *op = &r->ops[i];
        if (op->kernel && !run_call(r, op, err))
            return false;
        copy_outputs(r, i, &copied, outputs);
        if (trace && op->call.node->fold == FOLD_NONE && !trace_results(r, op, trace, ctx, err))
            return false;
    }
    return true;
}
