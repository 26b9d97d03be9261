/* The fast engine against the reference kernels: random nodes, random chains, every variant. */
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
#include "core/run/fast_kernels.h"
#include "core/run/run.h"

enum { MOST_INPUTS = 4 };

static uint64_t seed = 7;
static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct net {
    struct arena arena;
    struct graph *g;
    struct bpu_error err;
};

#define OK(x)                                                                                      \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fail_msg("%s: %s: %s", #x, n->err.where, n->err.message);                              \
        }                                                                                          \
    } while (0)

static void net_init(struct net *n)
{
    memset(&n->err, 0, sizeof n->err);
    arena_init(&n->arena, (size_t)1 << 30);
    n->g = graph_new(&n->arena, "net", "test", &n->err);
    assert_non_null(n->g);
}

static struct quant some_quant(struct net *n, enum dtype t, int count)
{
    double *s = ARENA_ARRAY(&n->arena, double, count, &n->err);
    int64_t *z = ARENA_ARRAY(&n->arena, int64_t, count, &n->err);
    OK(s && z);
    for (int i = 0; i < count; i++) {
        s[i] = (double)(float)((1 + below(1000)) / 20000.);
        z[i] = count > 1 ? 0 : t == DT_QUINT8 ? below(256) : below(3) ? 0 : (int64_t)below(255) - 127;
    }
    return (struct quant){s, z, count, 0};
}

static struct value *some_input(struct net *n, const struct shape *shape, enum dtype t)
{
    struct value *v = graph_add_value(n->g, NULL, &n->err);
    OK(v && graph_add_input(n->g, v, &n->err));
    v->shape = *shape;
    v->dtype = t;
    if (dtype_is_quantized(t))
        v->quant = some_quant(n, t, 1);
    return v;
}

static struct value *some_constant(struct net *n, const struct shape *shape, enum dtype t, int scales)
{
    size_t bytes = (size_t)shape_elements(shape) * dtype_size(t);
    unsigned char *data = arena_alloc(&n->arena, bytes, &n->err);
    OK(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)below(256);
    if (t == DT_QINT32)
        for (size_t i = 0; i < bytes; i += 4)
            memcpy(data + i, &(int32_t){(int32_t)below(4000) - 2000}, 4);
    struct value *v = graph_add_constant(n->g, NULL, shape, t, data, bytes, &n->err);
    OK(v);
    if (scales)
        v->quant = some_quant(n, t, scales);
    return v;
}

static struct node *some_node(struct net *n, const char *op, struct value *x)
{
    struct node *node = graph_add_node(n->g, NULL, op, &n->err);
    OK(node && op_bind(node) && (!x || node_add_input(n->g, node, x, &n->err)));
    return node;
}

static struct value *finish(struct net *n, struct node *node, enum dtype t)
{
    struct value *y = node_add_output(n->g, node, NULL, &n->err);
    OK(y);
    y->dtype = t;
    if (dtype_is_quantized(t) && t != DT_QINT32)
        y->quant = some_quant(n, t, 1);
    OK(op_apply(n->g, node, &n->err));
    return y;
}

static struct shape of4(int64_t c, int64_t h, int64_t w)
{
    return shape_of(4, (const int64_t[]){1 + (below(4) == 0), c, h, w});
}

static enum dtype small(void)
{
    return below(2) ? DT_QINT8 : DT_QUINT8;
}

/* ── nodes ── */

static struct value *conv(struct net *n, struct value *x, enum dtype t)
{
    int64_t c = x->shape.dim[1], groups = 1, kernel[2], stride[2], padding[2], dilation[2];
    uint32_t kind = below(4);
    int64_t m = 1 + below(90);
    if (kind == 0) {
        groups = m = c; /* depthwise */
    } else if (kind == 1 && c % 2 == 0) {
        groups = 2;
        m += m % 2;
    }
    for (int i = 0; i < 2; i++) {
        kernel[i] = below(2) ? 1 : 1 + below(4);
        stride[i] = 1 + below(2);
        dilation[i] = 1 + (below(3) == 0);
        padding[i] = below((uint32_t)kernel[i]);
        if ((kernel[i] - 1) * dilation[i] + 1 > x->shape.dim[2 + i] + 2 * padding[i])
            kernel[i] = 1;
    }
    struct node *node = some_node(n, "torch.nn.Conv2d", x);
    struct shape w = shape_of(4, (const int64_t[]){m, c / groups, kernel[0], kernel[1]}),
                 b = shape_of(1, &m);
    OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
       node_set_ints(n->g, node, "stride", stride, 2, &n->err) &&
       node_set_ints(n->g, node, "padding", padding, 2, &n->err) &&
       node_set_ints(n->g, node, "dilation", dilation, 2, &n->err) &&
       node_set_int(n->g, node, "groups", groups, &n->err) &&
       node_add_param(n->g, node, "weight",
                      some_constant(n, &w, DT_QINT8, below(2) ? (int)m : 1), &n->err));
    if (below(4))
        OK(node_add_param(n->g, node, "bias", some_constant(n, &b, DT_QINT32, 0), &n->err));
    if (below(2))
        OK(node_set_string(n->g, node, "activation", below(2) ? "relu" : "relu6", &n->err));
    return finish(n, node, t);
}

/* Adds a second operand to the last node, a convolution, of the shape of its result. */
static void add_residual(struct net *n, struct value *y)
{
    struct value *r = some_input(n, &y->shape, small());
    OK(node_add_input(n->g, y->producer, r, &n->err));
}

static struct value *linear(struct net *n, struct value *x, enum dtype t)
{
    int64_t k = x->shape.dim[x->shape.rank - 1], m = 1 + below(150);
    struct node *node = some_node(n, "torch.nn.Linear", x);
    bool io = below(2);
    struct shape w = shape_of(2, io ? (const int64_t[]){k, m} : (const int64_t[]){m, k}),
                 b = shape_of(1, &m);
    struct value *weight = some_constant(n, &w, DT_QINT8, below(2) ? (int)m : 1);
    weight->quant.axis = io;
    OK(node_set_string(n->g, node, "weight_layout", io ? "io" : "oi", &n->err) &&
       node_add_param(n->g, node, "weight", weight, &n->err) &&
       node_add_param(n->g, node, "bias", some_constant(n, &b, DT_QINT32, 0), &n->err));
    return finish(n, node, t);
}

static struct value *pool(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.nn.MaxPool2d", "torch.nn.AvgPool2d",
                                      "torch.nn.AdaptiveAvgPool2d"};
    uint32_t which = below(3);
    struct node *node = some_node(n, ops[which], x);
    int64_t kernel[2], stride[2], padding[2], size[2];
    for (int i = 0; i < 2; i++) {
        kernel[i] = 1 + below(3);
        stride[i] = 1 + below(2);
        padding[i] = below((uint32_t)kernel[i] / 2 + 1);
        if (kernel[i] > x->shape.dim[2 + i])
            kernel[i] = 1, padding[i] = 0;
        size[i] = 1 + below(4);
    }
    if (which == 2) {
        OK(node_set_ints(n->g, node, "output_size", size, 2, &n->err));
    } else {
        OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
           node_set_ints(n->g, node, "stride", stride, 2, &n->err) &&
           node_set_ints(n->g, node, "padding", padding, 2, &n->err) &&
           node_set_bool(n->g, node, "ceil_mode", below(2), &n->err));
        if (which == 1)
            OK(node_set_bool(n->g, node, "count_include_pad", below(2), &n->err));
    }
    return finish(n, node, t);
}

static struct value *unary(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.nn.Sigmoid", "torch.nn.Hardswish", "torch.nn.ReLU",
                                      "torch.exp", "torch.nn.ReLU6", "torch.abs"};
    return finish(n, some_node(n, ops[below(6)], x), t);
}

static struct value *binary(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.add", "torch.mul", "torch.sub", "torch.maximum"};
    struct node *node = some_node(n, ops[below(4)], x);
    struct shape s = x->shape;
    if (below(3) == 0 && s.rank == 4 && s.dim[0] == 1)
        s.dim[2] = s.dim[3] = 1;
    else if (below(6) == 0)
        s.dim[s.rank - 1] = 1;
    struct shape one = shape_of(0, NULL);
    uint32_t second = below(6);
    OK(node_add_input(n->g, node,
                      second == 0 ? some_constant(n, &one, small(), 1) : some_input(n, &s, small()),
                      &n->err));
    if (second < 3) { /* the other way round */
        struct value *first = node->inputs[0];
        node->inputs[0] = node->inputs[1];
        node->inputs[1] = first;
    }
    if (below(3) == 0)
        OK(node_set_string(n->g, node, "activation", below(2) ? "relu" : "relu6", &n->err));
    return finish(n, node, t);
}

static struct value *cat(struct net *n, struct value *x, enum dtype t)
{
    struct node *node = some_node(n, "torch.cat", x);
    struct shape s = x->shape;
    s.dim[1] = 1 + below(9);
    struct value *second = some_input(n, &s, small());
    OK(node_add_input(n->g, node, second, &n->err) &&
       node_add_input(n->g, node, x, &n->err) &&
       node_set_int(n->g, node, "dim", 1, &n->err));
    struct value *y = finish(n, node, t);
    if (below(2) && t == x->dtype)
        y->quant = x->quant;
    return y;
}

static struct value *flatten(struct net *n, struct value *x, enum dtype t)
{
    (void)t;
    struct node *node = some_node(n, "torch.flatten", x);
    OK(node_set_int(n->g, node, "start_dim", 1, &n->err));
    struct value *y = finish(n, node, x->dtype);
    y->quant = x->quant;
    return y;
}

static struct value *dequantize(struct net *n, struct value *x, enum dtype t)
{
    (void)t;
    return finish(n, some_node(n, "torch.quantization.DeQuantStub", x), DT_FLOAT32);
}

static struct value *quantize(struct net *n, struct value *x, enum dtype t)
{
    struct node *node = some_node(n, "torch.quantization.QuantStub", x);
    OK(node_set_string(n->g, node, "dtype", dtype_name(t), &n->err));
    struct value *y = finish(n, node, t);
    OK(node_set_float(n->g, node, "scale", y->quant.scale[0], &n->err) &&
       node_set_int(n->g, node, "zero_point", y->quant.zero_point[0], &n->err));
    return y;
}

/* ── comparing ── */

struct seen {
    const struct value *v[64];
    unsigned char *data[64];
    int count, compared;
    const char *variant;
};

static bool keep(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct seen *s = ctx;
    (void)err;
    assert_true(s->count < 64);
    s->v[s->count] = v;
    s->data[s->count] = malloc(t->bytes + 1);
    assert_non_null(s->data[s->count]);
    memcpy(s->data[s->count++], t->data, t->bytes);
    return true;
}

static bool compare(void *ctx, const struct value *v, const struct tensor *t, struct bpu_error *err)
{
    struct seen *s = ctx;
    (void)err;
    for (int i = 0; i < s->count; i++)
        if (s->v[i] == v) {
            s->compared++;
            for (size_t k = 0; k < t->bytes; k++)
                if (s->data[i][k] != ((unsigned char *)t->data)[k])
                    fail_msg("%s, %s: byte %zu of %zu is %u, not %u", s->variant,
                             v->producer->op_name, k, t->bytes, ((unsigned char *)t->data)[k],
                             s->data[i][k]);
        }
    return true;
}

static struct run_counts compare_engines(struct net *n, struct value *y)
{
    const void *in[MOST_INPUTS * 8];
    void *out[1], *again[1];
    struct seen seen = {.count = 0};
    struct run_counts counts = {0};
    OK(graph_add_output(n->g, y, &n->err) && graph_sort(n->g, &n->err) &&
       graph_verify(n->g, &n->err));
    assert_true(n->g->input_count <= MOST_INPUTS * 8);
    for (int i = 0; i < n->g->input_count; i++) {
        const struct value *v = n->g->inputs[i];
        size_t bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
        unsigned char *p = arena_alloc(&n->arena, bytes, &n->err);
        OK(p);
        if (v->dtype == DT_FLOAT32) {
            for (size_t k = 0; k < bytes; k += 4)
                memcpy(p + k, &(float){((float)below(2000) - 1000) / 150}, 4);
        } else
            for (size_t k = 0; k < bytes; k++)
                p[k] = (unsigned char)below(256);
        in[i] = p;
    }
    size_t bytes = (size_t)shape_elements(&y->shape) * dtype_size(y->dtype);
    OK(out[0] = arena_alloc(&n->arena, bytes, &n->err));
    OK(again[0] = arena_alloc(&n->arena, bytes, &n->err));
    struct run *r = run_new(&n->arena, n->g, &(struct run_options){.engine = RUN_REFERENCE}, &n->err);
    OK(r);
    OK(run_frame(r, in, out, keep, &seen, &n->err));
    size_t count;
    const struct fast_kernels *const *list = fast_kernels_list(&count);
    for (size_t i = 0; i < count; i++) {
        if (!list[i]->supported())
            continue;
        seen.variant = list[i]->name;
        r = run_new(&n->arena, n->g,
                    &(struct run_options){.engine = RUN_FAST, .variant = list[i]->name}, &n->err);
        OK(r);
        for (int twice = 0; twice < 2; twice++) {
            memset(again[0], 0x5a, bytes);
            OK(run_frame(r, in, again, compare, &seen, &n->err));
            if (memcmp(out[0], again[0], bytes))
                fail_msg("%s: the outputs differ", seen.variant);
        }
        counts = run_counts(r);
    }
    assert_true(seen.compared >= seen.count);
    for (int i = 0; i < seen.count; i++)
        free(seen.data[i]);
    return counts;
}

typedef struct value *make_fn(struct net *n, struct value *x, enum dtype t);

static void try_single(make_fn *make, int times, bool residual)
{
    int fast = 0;
    for (int i = 0; i < times; i++) {
        struct net n;
        net_init(&n);
        struct shape s = of4(1 + below(below(2) ? 8 : 70), 1 + below(9), 1 + below(9));
        struct value *y = make(&n, some_input(&n, &s, small()), small());
        if (residual)
            add_residual(&n, y);
        fast += compare_engines(&n, y).fast;
        arena_fini(&n.arena);
    }
    assert_true(fast >= times / 2);
}

static void test_conv(void **state)
{
    (void)state;
    try_single(conv, 150, false);
}
static void test_conv_residual(void **state)
{
    (void)state;
    try_single(conv, 80, true);
}
static void test_linear(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        struct net nn, *n = &nn;
        net_init(n);
        struct shape s = shape_of(2, (const int64_t[]){1 + below(5), 1 + below(300)});
        compare_engines(n, linear(n, some_input(n, &s, small()), small()));
        arena_fini(&n->arena);
    }
}
static void test_pool(void **state)
{
    (void)state;
    try_single(pool, 100, false);
}
static void test_eltwise(void **state)
{
    (void)state;
    try_single(unary, 40, false);
    try_single(binary, 200, false);
    try_single(cat, 40, false);
}

/* Results that stay wide: the sums of the last convolution. */
static void test_wide(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        struct net nn, *n = &nn;
        net_init(n);
        struct shape s = of4(1 + below(40), 1 + below(6), 1 + below(6));
        struct value *x = some_input(n, &s, small());
        compare_engines(n, conv(n, x, below(2) ? DT_QINT32 : DT_QINT16));
        arena_fini(&n->arena);
    }
}

static void test_chains(void **state)
{
    (void)state;
    static make_fn *const makers[] = {conv, conv, conv, pool, unary, binary, cat};
    for (int i = 0; i < 60; i++) {
        struct net nn, *n = &nn;
        net_init(n);
        struct shape s = of4(1 + below(20), 4 + below(20), 4 + below(20));
        struct value *y = quantize(n, some_input(n, &s, DT_FLOAT32), small());
        for (uint32_t k = 2 + below(6); k; k--)
            y = makers[below(sizeof makers / sizeof *makers)](n, y, small());
        if (below(2))
            y = linear(n, flatten(n, y, small()), small());
        compare_engines(n, dequantize(n, y, DT_FLOAT32));
        arena_fini(&n->arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),    cmocka_unit_test(test_conv_residual),
        cmocka_unit_test(test_linear),  cmocka_unit_test(test_pool),
        cmocka_unit_test(test_eltwise), cmocka_unit_test(test_wide),
        cmocka_unit_test(test_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
