/* op_case: reads the case files that make_infer_cases.py writes, and builds the node of a case.
 * Include it after cmocka.h.
 *
 *   op | attributes | inputs | params | outputs, or "error" */
#ifndef BPU_UNIT_OP_CASE_H
#define BPU_UNIT_OP_CASE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/op.h"

/* A graph of its own for every case. */
struct fixture {
    struct arena arena;
    struct graph *graph;
    struct bpu_error err;
};

static inline void fixture_init(struct fixture *f, size_t quota)
{
    f->err = (struct bpu_error){.code = BPU_NONE};
    arena_init(&f->arena, quota);
    f->graph = graph_new(&f->arena, "test", "graph-json", &f->err);
    assert_non_null(f->graph);
}

#define CASE_FIELDS 5
#define CASE_TENSORS 16

struct case_tensor {
    struct shape shape;
    enum dtype dtype;
    const char *values; /* after "={", or NULL */
};

struct op_case {
    char *field[CASE_FIELDS]; /* op, attrs, inputs, params, outputs; all in the line's memory */
    struct case_tensor want[CASE_TENSORS];
    int want_count;
    bool want_error;
};

static inline FILE *case_open(const char *this_file, const char *name)
{
    char path[512];
    const char *slash = strrchr(this_file, '/');
    snprintf(path, sizeof path, "%.*s/%s", slash ? (int)(slash - this_file) : 1,
             slash ? this_file : ".", name);
    return fopen(path, "r");
}

/* "2x3:float32={1,2}" at *p, which moves behind it. False at the end of the list. */
static inline bool case_read_tensor(char **p, struct case_tensor *t)
{
    while (**p == ' ')
        ++*p;
    if (!**p)
        return false;
    char *word = *p, *end = word + strcspn(word, " "), *colon = strchr(word, ':');
    *p = *end ? end + 1 : end;
    *end = '\0';
    *t = (struct case_tensor){.shape = {.rank = 0}};
    char *values = strstr(word, "={");
    if (values) {
        *values = '\0';
        t->values = values + 2;
    }
    if (!colon)
        return false;
    *colon = '\0';
    if (!dtype_find(colon + 1, &t->dtype))
        return false;
    if (*word == 's')
        return true;
    for (char *q = word; *q;) {
        t->shape.dim[t->shape.rank++] = strtoll(q, &q, 10);
        if (*q == 'x')
            q++;
    }
    return true;
}

/* The content of a constant, at an odd address, as in a mapped file. */
static inline struct value *case_constant(struct graph *g, const struct case_tensor *t,
                                          struct bpu_error *err)
{
    size_t size = dtype_size(t->dtype);
    int64_t count = shape_elements(&t->shape);
    unsigned char *data = arena_alloc(g->arena, (size_t)count * size + 1, err);
    if (!data)
        return NULL;
    data++;
    const char *q = t->values;
    for (int64_t i = 0; i < count; i++) {
        char *end;
        double r = strtod(q, &end);
        int64_t w = strtoll(q, NULL, 10);
        float f = (float)r;
        unsigned char *p = data + (size_t)i * size;
        if (t->dtype == DT_FLOAT32)
            memcpy(p, &f, size);
        else if (t->dtype == DT_FLOAT64)
            memcpy(p, &r, size);
        else
            memcpy(p, &w, size); /* little endian */
        q = end + (*end == ',');
    }
    return graph_add_constant(g, NULL, &t->shape, t->dtype, data, (size_t)count * size, err);
}

static inline bool case_set_attr(struct graph *g, struct node *n, char *word, struct bpu_error *err)
{
    char *eq = strchr(word, '='), *v = eq + 1;
    *eq = '\0';
    if (strcmp(v, "True") == 0 || strcmp(v, "False") == 0)
        return node_set_bool(g, n, word, *v == 'T', err);
    if (strcmp(v, "None") == 0)
        return node_set_none(g, n, word, err);
    if (*v == '"') {
        v[strlen(v) - 1] = '\0';
        return node_set_string(g, n, word, v + 1, err);
    }
    if (*v != '[')
        return strpbrk(v, ".e") ? node_set_float(g, n, word, strtod(v, NULL), err)
                                : node_set_int(g, n, word, strtoll(v, NULL, 10), err);
    bool real = strpbrk(v, ".e") != NULL;
    int64_t ints[32];
    double reals[32];
    int count = 0;
    for (v++; *v && *v != ']' && count < 32; count++) {
        char *end;
        reals[count] = strtod(v, &end);
        ints[count] = strtoll(v, NULL, 10);
        v = end + (*end == ',');
    }
    return real ? node_set_floats(g, n, word, reals, count, err)
                : node_set_ints(g, n, word, ints, count, err);
}

/* Cuts a line; false for comments and empty lines. */
static inline bool case_cut(char *line, struct op_case *c)
{
    *c = (struct op_case){.want_error = false};
    line[strcspn(line, "\n")] = '\0';
    if (!*line || *line == '#')
        return false;
    for (int i = 0; i < CASE_FIELDS; i++) {
        c->field[i] = line;
        char *bar = i + 1 < CASE_FIELDS ? strstr(line, " | ") : NULL;
        if (bar) {
            *bar = '\0';
            line = bar + 3;
        }
    }
    c->want_error = strcmp(c->field[4], "error") == 0;
    char *p = c->field[4];
    while (!c->want_error && c->want_count < CASE_TENSORS &&
           case_read_tensor(&p, &c->want[c->want_count]))
        c->want_count++;
    return true;
}

/* The node of a case in graph g, not applied yet. NULL if the case cannot be built. */
static inline struct node *case_build(struct graph *g, const struct op_case *c,
                                      struct bpu_error *err)
{
    struct node *n = graph_add_node(g, "node", c->field[0], err);
    struct case_tensor t;
    if (!n || !op_bind(n))
        return NULL;
    for (char *p = c->field[1]; *p;) {
        char *end = p + strcspn(p, " "), *next = *end ? end + 1 : end;
        *end = '\0';
        if (!case_set_attr(g, n, p, err))
            return NULL;
        p = next;
    }
    for (char *p = c->field[2]; case_read_tensor(&p, &t);) {
        struct value *v = t.values ? case_constant(g, &t, err) : graph_add_value(g, NULL, err);
        if (!v)
            return NULL;
        v->shape = t.shape;
        v->dtype = t.dtype;
        if (!t.values && !graph_add_input(g, v, err))
            return NULL;
        if (!node_add_input(g, n, v, err))
            return NULL;
    }
    for (char *p = c->field[3]; *p;) {
        char *eq = strchr(p, '=');
        *eq = '\0';
        const char *name = p;
        p = eq + 1;
        if (!case_read_tensor(&p, &t))
            return NULL;
        struct value *v = graph_add_constant(g, name, &t.shape, t.dtype, NULL, 0, err);
        if (!v || !node_add_param(g, n, name, v, err))
            return NULL;
    }
    for (int i = 0; i < (c->want_count ? c->want_count : 1); i++)
        if (!node_add_output(g, n, "out", err))
            return NULL;
    return n;
}

#endif
