/* real_case: random operands and parameters for operators of real arithmetic, and the loop over
 * their cases.  Include it after cmocka.h.
 *
 * A failure names its operator and case; BPUHUB_CASE=n runs that case of all operators, and prints
 * the networks. */
#ifndef BPU_UNIT_REAL_CASE_H
#define BPU_UNIT_REAL_CASE_H

#include "tests/unit/compile_case.h"

enum { CASES = 60, MOST_INPUTS = 16 };

/* ── parts of a network ── */

static inline enum dtype any(void)
{
    return below(4) == 0 ? DT_QINT16 : small();
}

static inline struct shape random_shape(int rank, int64_t most)
{
    struct shape s = {.rank = rank};
    for (int d = 0; d < rank; d++)
        s.dim[d] = below(5) == 0 ? 1 : 1 + below((uint32_t)most);
    if (rank > 3)
        s.dim[0] = 1 + below(3) / 2;
    return s;
}

/* An input, sometimes in an order that its form does not have. */
static inline struct value *operand(struct net *n, const struct shape *want, enum dtype t)
{
    struct shape s = *want;
    int a = 0, b = 0;
    if (s.rank > 1 && below(3) == 0) {
        a = (int)below((uint32_t)s.rank);
        b = (int)below((uint32_t)s.rank);
        s.dim[a] = want->dim[b];
        s.dim[b] = want->dim[a];
    }
    struct value *x = some_input(n, &s, t);
    if (a == b)
        return x;
    struct node *node = some_node(n, "torch.transpose", x);
    OK(node_set_int(n->g, node, "dim0", a, &n->err) &&
       node_set_int(n->g, node, "dim1", b, &n->err));
    struct value *y = finish(n, node, t);
    y->quant = x->quant;
    return y;
}

static inline struct value *floats(struct net *n, const struct shape *s, double least, double most)
{
    int64_t count = shape_elements(s);
    float *data = ARENA_ARRAY(&n->arena, float, count + 1, &n->err);
    OK(data);
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)(least + (most - least) * (double)below(100000) / 100000);
    struct value *v =
        graph_add_constant(n->g, NULL, s, DT_FLOAT32, data, (size_t)count * sizeof *data, &n->err);
    OK(v);
    return v;
}

static inline struct value *vector(struct net *n, int64_t count, double least, double most)
{
    return floats(n, &(struct shape){1, {count}}, least, most);
}

static inline struct value *matrix(struct net *n, int64_t rows, int64_t columns)
{
    return floats(n, &(struct shape){2, {rows, columns}}, -.6, .6);
}

static inline struct value *indices(struct net *n, const struct shape *s, int64_t extent,
                                    bool distinct)
{
    int64_t count = shape_elements(s), *data = ARENA_ARRAY(&n->arena, int64_t, count + 1, &n->err);
    OK(data);
    for (int64_t i = 0; i < count; i++)
        data[i] =
            (distinct ? i % extent : (int64_t)below((uint32_t)extent)) - (below(3) ? 0 : extent);
    struct value *v =
        graph_add_constant(n->g, NULL, s, DT_INT64, data, (size_t)count * sizeof *data, &n->err);
    OK(v);
    return v;
}

static inline void integer(struct net *n, struct node *node, const char *name, int64_t v)
{
    OK(node_set_int(n->g, node, name, v, &n->err));
}
static inline void flag(struct net *n, struct node *node, const char *name, bool v)
{
    OK(node_set_bool(n->g, node, name, v, &n->err));
}
static inline void real(struct net *n, struct node *node, const char *name, double v)
{
    OK(node_set_float(n->g, node, name, v, &n->err));
}
static inline void word(struct net *n, struct node *node, const char *name, const char *v)
{
    OK(node_set_string(n->g, node, name, v, &n->err));
}
static inline void param(struct net *n, struct node *node, const char *name, struct value *v)
{
    OK(node_add_param(n->g, node, name, v, &n->err));
}
static inline void input(struct net *n, struct node *node, struct value *v)
{
    OK(node_add_input(n->g, node, v, &n->err));
}
static inline void out(struct net *n, struct value *v)
{
    OK(graph_add_output(n->g, v, &n->err));
}

/* Results of these types; small scales, so that probabilities are more than zeros and ones. */
static inline void results(struct net *n, struct node *node, int count, const enum dtype *t,
                           double scale)
{
    struct value *v[4];
    for (int i = 0; i < count; i++) {
        OK(v[i] = node_add_output(n->g, node, NULL, &n->err));
        v[i]->dtype = t[i];
        if (!dtype_is_quantized(t[i]) || t[i] == DT_QBOOL)
            continue;
        v[i]->quant = some_quant(n, t[i], 1);
        double *s = ARENA_ARRAY(&n->arena, double, 1, &n->err);
        OK(s);
        *s = scale > 0 ? scale : v[i]->quant.scale[0];
        v[i]->quant.scale = s;
        if (below(4) == 0 && dtype_is_quantized(node->inputs[0]->dtype) &&
            node->inputs[0]->dtype == t[i] && node->inputs[0]->quant.count == 1)
            v[i]->quant = node->inputs[0]->quant;
    }
    OK(op_apply(n->g, node, &n->err));
    for (int i = 0; i < count; i++)
        out(n, v[i]);
}
static inline void result(struct net *n, struct node *node, enum dtype t, double scale)
{
    results(n, node, 1, &t, scale);
}

static inline int64_t some_axis(int rank)
{
    int64_t axis = (int64_t)below((uint32_t)rank);
    return below(3) ? axis : axis - rank;
}

static inline void affine_params(struct net *n, struct node *node, int64_t count)
{
    if (below(4) == 0)
        return;
    param(n, node, "weight", vector(n, count, .2, 2));
    param(n, node, "bias", vector(n, count, -1, 1));
}

/* ── cases ── */

typedef void make_fn(struct net *n);

static inline void *content(struct net *n, const struct value *v)
{
    size_t bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
    unsigned char *p = arena_alloc(&n->arena, bytes, &n->err);
    uint32_t range = below(3) ? 256 : 5; /* few different ones: ties */
    OK(p);
    for (size_t k = 0; k < bytes; k++)
        p[k] = (unsigned char)below(v->dtype == DT_QBOOL ? 2 : range);
    return p;
}

static inline void try_operator(const char *what, make_fn *make)
{
    const char *one = getenv("BPUHUB_CASE");
    struct compile_case c = {.what = what};
    for (int i = 0; i < CASES; i++) {
        struct net nn, *n = &nn;
        const void *in[MOST_INPUTS];
        if (one && atoi(one) != i)
            continue;
        seed = (uint64_t)i * 0x9E3779B97F4A7C15u + 5;
        c.number = i;
        c.verbose = one != NULL;
        always_fixed = true;
        net_init(n);
        make(n);
        net_fix(n);
        OK(graph_sort(n->g, &n->err) && graph_verify(n->g, &n->err));
        assert_true(n->g->input_count <= MOST_INPUTS);
        for (int k = 0; k < n->g->input_count; k++)
            in[k] = content(n, n->g->inputs[k]);
        compile_case_run(&c, n, in, 2);
        arena_fini(&n->arena);
    }
    print_message("%s: %d programs, %d cut, %d distinct bytes; %d refused, %d do not fit\n", what,
                  c.compiled, c.cut, c.distinct, c.unsupported, c.too_small);
    print_message("    damaged: %d refused, %d of them while running, %d ran\n", c.refused,
                  c.stopped, c.damaged);
    if (!one)
        assert_true(c.compiled >= CASES);
}

#endif
