/* Small networks with random weights, built node by node, and running them. */
#ifndef BPU_TEST_QUANT_NET_H
#define BPU_TEST_QUANT_NET_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ops/op.h"
#include "core/quant/quant.h"
#include "core/run/run.h"

struct net {
    struct arena arena;
    struct graph *g;
    struct bpu_error err;
    uint64_t seed;
};

static inline double net_random(struct net *t) /* -1 .. 1 */
{
    t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(int32_t)(t->seed >> 32) / 2147483648.0;
}

#define net_ok(t, condition)                                                                       \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("%s: %s (%s)", #condition, (t)->err.message, (t)->err.where);                 \
    } while (0)

static inline void net_begin(struct net *t, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    arena_init(&t->arena, (size_t)256 << 20);
    t->seed = seed * 7919 + 17;
    t->g = graph_new(&t->arena, "net", "test", &t->err);
    net_ok(t, t->g);
}

static inline void net_end(struct net *t)
{
    arena_fini(&t->arena);
}

static inline struct value *net_input(struct net *t, const char *name, int rank,
                                      const int64_t *dims)
{
    struct value *v = graph_add_value(t->g, name, &t->err);
    net_ok(t, v && graph_add_input(t->g, v, &t->err));
    v->shape = shape_of(rank, dims);
    v->dtype = DT_FLOAT32;
    return v;
}

/* Random numbers of lo .. hi. */
static inline struct value *net_constant(struct net *t, const char *name, int rank,
                                         const int64_t *dims, double lo, double hi)
{
    struct shape s = shape_of(rank, dims);
    int64_t n = shape_elements(&s);
    float *x = ARENA_ARRAY(&t->arena, float, n, &t->err);
    net_ok(t, x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(lo + (hi - lo) * (net_random(t) + 1) / 2);
    struct value *v =
        graph_add_constant(t->g, name, &s, DT_FLOAT32, x, (size_t)n * sizeof *x, &t->err);
    net_ok(t, v);
    return v;
}

static inline struct node *net_node(struct net *t, const char *op, const char *name,
                                    struct value *a, struct value *b)
{
    struct node *n = graph_add_node(t->g, name, op, &t->err);
    net_ok(t, n && op_bind(n));
    net_ok(t, !a || node_add_input(t->g, n, a, &t->err));
    net_ok(t, !b || node_add_input(t->g, n, b, &t->err));
    return n;
}

static inline struct value *net_apply(struct net *t, struct node *n)
{
    struct value *v = node_add_output(t->g, n, n->name, &t->err);
    net_ok(t, v && op_apply(t->g, n, &t->err));
    return v;
}

static inline void net_param(struct net *t, struct node *n, const char *name, struct value *v)
{
    net_ok(t, node_add_param(t->g, n, name, v, &t->err));
}

/* "torch.nn.Conv2d", "torch.nn.ConvTranspose1d" … of kernel 3 with padding 1: extents stay. */
static inline struct value *net_conv(struct net *t, const char *op, const char *name,
                                     struct value *x, int64_t out, int64_t groups)
{
    struct node *n = net_node(t, op, name, x, NULL);
    bool transposed = strstr(op, "Transpose") != NULL;
    int k = n->op->spatial;
    int64_t in = x->shape.dim[x->shape.rank - k - 1],
            dims[5] = {transposed ? in : out, transposed ? out / groups : in / groups, 3, 3, 3};
    double r = 1.5 / sqrt((double)(in / groups) * (k == 1 ? 3 : k == 2 ? 9 : 27));
    char text[64];
    snprintf(text, sizeof text, "%s.w", name);
    net_param(t, n, "weight", net_constant(t, text, k + 2, dims, -r, r));
    snprintf(text, sizeof text, "%s.b", name);
    net_param(t, n, "bias", net_constant(t, text, 1, &out, -.3, .3));
    net_ok(t, node_set_int(t->g, n, "padding", 1, &t->err) &&
                  node_set_int(t->g, n, "groups", groups, &t->err));
    return net_apply(t, n);
}

static inline struct value *net_linear(struct net *t, const char *name, struct value *x,
                                       int64_t out)
{
    struct node *n = net_node(t, "torch.nn.Linear", name, x, NULL);
    int64_t in = x->shape.dim[x->shape.rank - 1], dims[2] = {out, in};
    char text[64];
    snprintf(text, sizeof text, "%s.w", name);
    net_param(t, n, "weight", net_constant(t, text, 2, dims, -.5, .5));
    snprintf(text, sizeof text, "%s.b", name);
    net_param(t, n, "bias", net_constant(t, text, 1, &out, -.3, .3));
    return net_apply(t, n);
}

static inline struct value *net_bn(struct net *t, const char *op, const char *name, struct value *x)
{
    struct node *n = net_node(t, op, name, x, NULL);
    int64_t c = x->shape.dim[1];
    char text[64];
    static const struct {
        const char *name;
        double lo, hi;
    } params[] = {{"weight", .5, 1.5},
                  {"bias", -.4, .4},
                  {"running_mean", -.3, .3},
                  {"running_var", .3, 1.2}};
    for (size_t i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "%s.%s", name, params[i].name);
        net_param(t, n, params[i].name, net_constant(t, text, 1, &c, params[i].lo, params[i].hi));
    }
    return net_apply(t, n);
}

static inline struct value *net_op(struct net *t, const char *op, const char *name, struct value *a,
                                   struct value *b)
{
    return net_apply(t, net_node(t, op, name, a, b));
}

static inline void net_output(struct net *t, struct value *v)
{
    net_ok(t, graph_add_output(t->g, v, &t->err));
}

/* Runs g on one frame of the given inputs (float32 at the border); results in the arena. */
static inline float **net_run(struct net *t, const struct graph *g, float **inputs)
{
    struct run *r = run_new(&t->arena, g, NULL, &t->err);
    net_ok(t, r);
    float **out = ARENA_ARRAY(&t->arena, float *, g->output_count + 1, &t->err);
    for (int i = 0; i < g->output_count; i++) {
        assert_int_equal(g->outputs[i]->dtype, DT_FLOAT32);
        out[i] = ARENA_ARRAY(&t->arena, float, shape_elements(&g->outputs[i]->shape), &t->err);
        net_ok(t, out[i]);
    }
    net_ok(t, run_frame(r, (const void *const *)inputs, (void *const *)out, NULL, NULL, &t->err));
    return out;
}

static inline float **net_frame(struct net *t, const struct graph *g)
{
    float **in = ARENA_ARRAY(&t->arena, float *, g->input_count + 1, &t->err);
    for (int i = 0; i < g->input_count; i++) {
        int64_t n = shape_elements(&g->inputs[i]->shape);
        in[i] = ARENA_ARRAY(&t->arena, float, n, &t->err);
        net_ok(t, in[i]);
        for (int64_t k = 0; k < n; k++)
            in[i][k] = (float)net_random(t);
    }
    return in;
}

/* 10 log10(sum x^2 / sum (x - y)^2), at most 200. */
static inline double net_sqnr(const float *x, const float *y, int64_t n)
{
    double xx = 0, ee = 0;
    for (int64_t i = 0; i < n; i++) {
        xx += (double)x[i] * (double)x[i];
        ee += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    }
    return ee <= xx * 1e-20 ? 200 : xx <= 0 ? -200 : 10 * log10(xx / ee);
}

#endif
