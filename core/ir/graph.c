/* Building a graph: values, nodes, names. Everything lives in the graph's arena. */
#include "core/ir/graph.h"

#include <stdio.h>
#include <string.h>

#include "core/base/table.h"

static const struct {
    const char *name, *text;
} folds[FOLD_COUNT] = {
#define X(id, name, text) [FOLD_##id] = {name, text},
    FOLD_MAP(X)
#undef X
};

const char *fold_text(enum fold f) { return folds[f < FOLD_COUNT ? f : FOLD_NONE].text; }
const char *fold_name(enum fold f) { return folds[f < FOLD_COUNT ? f : FOLD_NONE].name; }

bool fold_find(const char *name, enum fold *out)
{
    for (int i = 0; i < FOLD_COUNT; i++)
        if (strcmp(folds[i].name, name) == 0) {
            *out = (enum fold)i;
            return true;
        }
    return false;
}

struct graph *graph_new(struct arena *a, const char *name, const char *format, struct bpu_error *err)
{
    struct graph *g = ARENA_NEW(a, struct graph, err);
    if (!g)
        return NULL;
    g->arena = a;
    g->format = format;
    g->name = arena_strdup(a, name ? name : "", err);
    g->value_names = name_table_new(a, err);
    g->node_names = g->value_names ? name_table_new(a, err) : NULL;
    return g->name && g->node_names ? g : NULL;
}

/* `name`, or `name.1`, `name.2` …, whichever is free; "prefix.index" when it is empty. */
static const char *free_name(struct graph *g, const struct name_table *t, const char *name,
                             const char *prefix, int index, struct bpu_error *err)
{
    if (!name || !name[0])
        name = arena_printf(g->arena, err, "%s.%d", prefix, index);
    if (!name)
        return NULL;
    if (!name_table_find(t, name))
        return arena_strdup(g->arena, name, err);
    /* Doubling first, so that ten thousand equal names stay cheap. */
    int64_t lo = 0, hi = 1;
    char *candidate = NULL;
    for (;;) {
        candidate = arena_printf(g->arena, err, "%s.%lld", name, (long long)hi);
        if (!candidate)
            return NULL;
        if (!name_table_find(t, candidate))
            break;
        lo = hi;
        hi = hi < (int64_t)1 << 40 ? hi * 2 : hi + 1; /* names may take every power of two */
    }
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        char *c = arena_printf(g->arena, err, "%s.%lld", name, (long long)mid);
        if (!c)
            return NULL;
        if (name_table_find(t, c))
            lo = mid;
        else {
            hi = mid;
            candidate = c;
        }
    }
    return candidate;
}

struct value *graph_add_value(struct graph *g, const char *name, struct bpu_error *err)
{
    struct value *v = ARENA_NEW(g->arena, struct value, err);
    if (!v)
        return NULL;
    v->name = free_name(g, g->value_names, name, "value", g->value_count, err);
    if (!v->name || !name_table_put(g->value_names, v->name, v, err))
        return NULL;
    g->values = arena_grow(g->arena, g->values, (size_t)g->value_count, (size_t)g->value_count + 1,
                           sizeof *g->values, &g->value_capacity, err);
    if (!g->values)
        return NULL;
    v->shape = shape_unknown();
    v->index = g->value_count;
    g->values[g->value_count++] = v;
    return v;
}

struct value *graph_add_constant(struct graph *g, const char *name, const struct shape *shape,
                                 enum dtype dtype, const void *data, size_t bytes,
                                 struct bpu_error *err)
{
    struct value *v = graph_add_value(g, name, err);
    struct constant *c = v ? ARENA_NEW(g->arena, struct constant, err) : NULL;
    if (!c)
        return NULL;
    c->data = data;
    c->bytes = bytes;
    v->shape = *shape;
    v->dtype = dtype;
    v->constant = c;
    return v;
}

struct node *graph_add_node(struct graph *g, const char *name, const char *op_name,
                            struct bpu_error *err)
{
    struct node *n = ARENA_NEW(g->arena, struct node, err);
    if (!n)
        return NULL;
    n->name = free_name(g, g->node_names, name, "node", g->node_count, err);
    if (!n->name || !name_table_put(g->node_names, n->name, n, err))
        return NULL;
    n->op_name = arena_strdup(g->arena, op_name, err);
    if (!n->op_name)
        return NULL;
    g->nodes = arena_grow(g->arena, g->nodes, (size_t)g->node_count, (size_t)g->node_count + 1,
                          sizeof *g->nodes, &g->node_capacity, err);
    if (!g->nodes)
        return NULL;
    n->origin.line = n->origin.byte = -1;
    n->index = g->node_count;
    g->nodes[g->node_count++] = n;
    return n;
}

static bool append_value(struct graph *g, struct value ***list, int *count, size_t *capacity,
                         struct value *v, struct bpu_error *err)
{
    *list = arena_grow(g->arena, *list, (size_t)*count, (size_t)*count + 1, sizeof **list, capacity,
                       err);
    if (!*list)
        return false;
    (*list)[(*count)++] = v;
    return true;
}

bool graph_add_input(struct graph *g, struct value *v, struct bpu_error *err)
{
    v->is_input = true;
    return append_value(g, &g->inputs, &g->input_count, &g->input_capacity, v, err);
}

bool graph_add_output(struct graph *g, struct value *v, struct bpu_error *err)
{
    v->is_output = true;
    return append_value(g, &g->outputs, &g->output_count, &g->output_capacity, v, err);
}

bool graph_add_note(struct graph *g, struct bpu_error *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    g->notes = arena_grow(g->arena, g->notes, (size_t)g->note_count, (size_t)g->note_count + 1,
                          sizeof *g->notes, &g->note_capacity, err);
    const char *note = g->notes ? arena_strdup(g->arena, text, err) : NULL;
    if (!note)
        return false;
    g->notes[g->note_count++] = note;
    return true;
}

struct value *graph_find_value(const struct graph *g, const char *name)
{
    return name_table_find(g->value_names, name);
}

struct node *graph_find_node(const struct graph *g, const char *name)
{
    return name_table_find(g->node_names, name);
}

/* Operand lists grow by doubling from 4; their length tells their capacity. */
static size_t list_capacity(int count)
{
    size_t c = 4;
    while (c < (size_t)count)
        c *= 2;
    return count ? c : 0;
}

bool node_add_input(struct graph *g, struct node *n, struct value *v, struct bpu_error *err)
{
    size_t capacity = list_capacity(n->input_count);
    if ((size_t)n->input_count == capacity) {
        size_t grown = capacity ? capacity * 2 : 4;
        struct value **list = ARENA_ARRAY(g->arena, struct value *, grown, err);
        if (!list)
            return false;
        if (n->input_count)
            memcpy(list, n->inputs, (size_t)n->input_count * sizeof *list);
        n->inputs = list;
    }
    n->inputs[n->input_count++] = v;
    return true;
}

struct value *node_add_output(struct graph *g, struct node *n, const char *name,
                              struct bpu_error *err)
{
    struct value *v = graph_add_value(g, name, err);
    if (!v)
        return NULL;
    size_t capacity = list_capacity(n->output_count);
    if ((size_t)n->output_count == capacity) {
        size_t grown = capacity ? capacity * 2 : 4;
        struct value **list = ARENA_ARRAY(g->arena, struct value *, grown, err);
        if (!list)
            return NULL;
        if (n->output_count)
            memcpy(list, n->outputs, (size_t)n->output_count * sizeof *list);
        n->outputs = list;
    }
    v->producer = n;
    v->producer_output = n->output_count;
    n->outputs[n->output_count++] = v;
    return v;
}

bool node_add_param(struct graph *g, struct node *n, const char *name, struct value *v,
                    struct bpu_error *err)
{
    struct param *list = ARENA_ARRAY(g->arena, struct param, n->param_count + 1, err);
    const char *copy = list ? arena_strdup(g->arena, name, err) : NULL;
    if (!copy)
        return false;
    if (n->param_count)
        memcpy(list, n->params, (size_t)n->param_count * sizeof *list);
    list[n->param_count] = (struct param){copy, v};
    n->params = list;
    n->param_count++;
    return true;
}

struct value *node_param(const struct node *n, const char *name)
{
    for (int i = 0; i < n->param_count; i++)
        if (strcmp(n->params[i].name, name) == 0)
            return n->params[i].value;
    return NULL;
}

struct value *value_source(struct value *v)
{
    for (int i = 0; i < VALUE_SOURCE_STEPS && v && v->producer; i++) {
        const struct node *n = v->producer;
        bool passes = n->fold == FOLD_IDENTITY || n->fold == FOLD_BATCH_NORM ||
                      n->fold == FOLD_BIAS || n->fold == FOLD_QUANT;
        if (!passes || v->producer_output != 0 || !node_input(n, 0))
            break;
        v = n->inputs[0];
    }
    return v;
}
