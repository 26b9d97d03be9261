/* Attributes of nodes: setting replaces, reading converts between bool, int and float. */
#include <stdio.h>
#include <string.h>

#include "core/ir/graph.h"

static struct attr *slot(struct graph *g, struct node *n, const char *name, struct bpu_error *err)
{
    for (int i = 0; i < n->attr_count; i++)
        if (strcmp(n->attrs[i].name, name) == 0) {
            const char *keep = n->attrs[i].name;
            n->attrs[i] = (struct attr){.name = keep};
            return &n->attrs[i];
        }
    if (n->attr_count % 8 == 0) {
        struct attr *list = ARENA_ARRAY(g->arena, struct attr, n->attr_count + 8, err);
        if (!list)
            return NULL;
        if (n->attr_count)
            memcpy(list, n->attrs, (size_t)n->attr_count * sizeof *list);
        n->attrs = list;
    }
    const char *copy = arena_strdup(g->arena, name, err);
    if (!copy)
        return NULL;
    struct attr *a = &n->attrs[n->attr_count++];
    *a = (struct attr){.name = copy};
    return a;
}

bool node_set_bool(struct graph *g, struct node *n, const char *name, bool v, struct bpu_error *e)
{
    struct attr *a = slot(g, n, name, e);
    if (!a)
        return false;
    a->kind = ATTR_BOOL;
    a->i = v;
    return true;
}

bool node_set_int(struct graph *g, struct node *n, const char *name, int64_t v, struct bpu_error *e)
{
    struct attr *a = slot(g, n, name, e);
    if (!a)
        return false;
    a->kind = ATTR_INT;
    a->i = v;
    return true;
}

bool node_set_float(struct graph *g, struct node *n, const char *name, double v, struct bpu_error *e)
{
    struct attr *a = slot(g, n, name, e);
    if (!a)
        return false;
    a->kind = ATTR_FLOAT;
    a->f = v;
    return true;
}

bool node_set_string(struct graph *g, struct node *n, const char *name, const char *v,
                     struct bpu_error *e)
{
    const char *copy = arena_strdup(g->arena, v, e);
    struct attr *a = copy ? slot(g, n, name, e) : NULL;
    if (!a)
        return false;
    a->kind = ATTR_STRING;
    a->s = copy;
    return true;
}

bool node_set_none(struct graph *g, struct node *n, const char *name, struct bpu_error *e)
{
    return slot(g, n, name, e) != NULL;
}

bool node_set_ints(struct graph *g, struct node *n, const char *name, const int64_t *v, int count,
                   struct bpu_error *e)
{
    int64_t *copy = ARENA_ARRAY(g->arena, int64_t, count, e);
    struct attr *a = copy ? slot(g, n, name, e) : NULL;
    if (!a)
        return false;
    if (count)
        memcpy(copy, v, (size_t)count * sizeof *copy);
    a->kind = ATTR_INTS;
    a->ints = copy;
    a->count = count;
    return true;
}

bool node_set_floats(struct graph *g, struct node *n, const char *name, const double *v, int count,
                     struct bpu_error *e)
{
    double *copy = ARENA_ARRAY(g->arena, double, count, e);
    struct attr *a = copy ? slot(g, n, name, e) : NULL;
    if (!a)
        return false;
    if (count)
        memcpy(copy, v, (size_t)count * sizeof *copy);
    a->kind = ATTR_FLOATS;
    a->floats = copy;
    a->count = count;
    return true;
}

const struct attr *node_attr(const struct node *n, const char *name)
{
    for (int i = 0; i < n->attr_count; i++)
        if (strcmp(n->attrs[i].name, name) == 0)
            return &n->attrs[i];
    return NULL;
}

/* A double beyond int64 would be undefined to convert. */
static int64_t to_int(double f, int64_t otherwise)
{
    return f >= -9.2e18 && f <= 9.2e18 ? (int64_t)f : otherwise;
}

int64_t node_int(const struct node *n, const char *name, int64_t otherwise)
{
    const struct attr *a = node_attr(n, name);
    if (!a)
        return otherwise;
    switch (a->kind) {
    case ATTR_BOOL:
    case ATTR_INT: return a->i;
    case ATTR_FLOAT: return to_int(a->f, otherwise);
    case ATTR_INTS: return a->count == 1 ? a->ints[0] : otherwise;
    default: return otherwise;
    }
}

double node_float(const struct node *n, const char *name, double otherwise)
{
    const struct attr *a = node_attr(n, name);
    if (!a)
        return otherwise;
    switch (a->kind) {
    case ATTR_BOOL:
    case ATTR_INT: return (double)a->i;
    case ATTR_FLOAT: return a->f;
    default: return otherwise;
    }
}

bool node_bool(const struct node *n, const char *name, bool otherwise)
{
    return node_int(n, name, otherwise) != 0;
}

const char *node_string(const struct node *n, const char *name, const char *otherwise)
{
    const struct attr *a = node_attr(n, name);
    return a && a->kind == ATTR_STRING ? a->s : otherwise;
}

bool node_ints(const struct node *n, const char *name, int64_t *out, int count)
{
    const struct attr *a = node_attr(n, name);
    if (!a)
        return false;
    if (a->kind == ATTR_INT || (a->kind == ATTR_INTS && a->count == 1)) {
        for (int i = 0; i < count; i++)
            out[i] = a->kind == ATTR_INT ? a->i : a->ints[0];
        return true;
    }
    if (a->kind != ATTR_INTS || a->count != count)
        return false;
    for (int i = 0; i < count; i++)
        out[i] = a->ints[i];
    return true;
}
