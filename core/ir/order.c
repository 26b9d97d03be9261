/* Users of values, and the stable topological order. */
#include <string.h>

#include "core/ir/graph.h"

typedef void operand_fn(struct node *n, struct value *v, void *ctx);

static void each_operand(struct node *n, operand_fn *fn, void *ctx)
{
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i])
            fn(n, n->inputs[i], ctx);
    for (int i = 0; i < n->param_count; i++)
        if (n->params[i].value)
            fn(n, n->params[i].value, ctx);
}

static void count_user(struct node *n, struct value *v, void *ctx)
{
    (void)n;
    ((struct graph_users *)ctx)->count[v->index]++;
}

static void put_user(struct node *n, struct value *v, void *ctx)
{
    struct graph_users *u = ctx;
    u->users[v->index][u->count[v->index]++] = n;
}

struct graph_users *graph_users_new(const struct graph *g, struct arena *a, struct bpu_error *err)
{
    struct graph_users *u = ARENA_NEW(a, struct graph_users, err);
    if (!u)
        return NULL;
    u->users = ARENA_ARRAY(a, struct node **, g->value_count, err);
    u->count = u->users ? ARENA_ARRAY(a, int, g->value_count, err) : NULL;
    if (!u->count)
        return NULL;
    for (int i = 0; i < g->node_count; i++)
        each_operand(g->nodes[i], count_user, u);
    for (int i = 0; i < g->value_count; i++) {
        u->users[i] = ARENA_ARRAY(a, struct node *, u->count[i], err);
        if (!u->users[i])
            return NULL;
        u->count[i] = 0;
    }
    for (int i = 0; i < g->node_count; i++)
        each_operand(g->nodes[i], put_user, u);
    return u;
}

/* Kahn's algorithm with a heap on file position, so that the order of the file stays where it is free. */
struct ready {
    int *heap;
    int count;
};

static void ready_push(struct ready *r, int x)
{
    int i = r->count++;
    while (i > 0 && r->heap[(i - 1) / 2] > x) {
        r->heap[i] = r->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    r->heap[i] = x;
}

static int ready_pop(struct ready *r)
{
    int top = r->heap[0], x = r->heap[--r->count], i = 0;
    for (;;) {
        int child = 2 * i + 1;
        if (child >= r->count)
            break;
        if (child + 1 < r->count && r->heap[child + 1] < r->heap[child])
            child++;
        if (r->heap[child] >= x)
            break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = x;
    return top;
}

static void count_wait(struct node *n, struct value *v, void *ctx)
{
    if (v->producer)
        ((int *)ctx)[n->index]++;
}

bool graph_sort(struct graph *g, struct bpu_error *err)
{
    bool sorted = true;
    for (int i = 0; i < g->node_count; i++)
        g->nodes[i]->index = i;
    int *waits = ARENA_ARRAY(g->arena, int, g->node_count, err);
    struct ready ready = {ARENA_ARRAY(g->arena, int, g->node_count, err), 0};
    struct node **order = ARENA_ARRAY(g->arena, struct node *, g->node_count, err);
    if (!waits || !ready.heap || !order)
        return false;
    struct graph_users *users = graph_users_new(g, g->arena, err);
    if (!users)
        return false;
    for (int i = 0; i < g->node_count; i++)
        each_operand(g->nodes[i], count_wait, waits);
    for (int i = 0; i < g->node_count; i++)
        if (waits[i] == 0)
            ready_push(&ready, i);
    int done = 0;
    while (ready.count) {
        struct node *n = g->nodes[ready_pop(&ready)];
        sorted = sorted && n->index == done;
        order[done++] = n;
        for (int o = 0; o < n->output_count; o++) {
            int v = n->outputs[o]->index;
            for (int u = 0; u < users->count[v]; u++)
                if (--waits[users->users[v][u]->index] == 0)
                    ready_push(&ready, users->users[v][u]->index);
        }
    }
    if (done < g->node_count) {
        for (int i = 0; i < g->node_count; i++)
            if (waits[i] > 0) {
                error_set(err, BPU_BAD_MODEL, g->nodes[i]->name,
                          "the graph has a cycle: node \"%s\" waits for its own result",
                          g->nodes[i]->name);
                return error_hint(err, "A network must be free of cycles; unroll loops over time "
                                       "before the export.");
            }
    }
    if (!sorted) {
        memcpy(g->nodes, order, (size_t)done * sizeof *order);
        for (int i = 0; i < done; i++)
            g->nodes[i]->index = i;
    }
    return true;
}
