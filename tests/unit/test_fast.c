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

#include "core/run/fast_kernels.h"
#include "core/run/run.h"
#include "tests/unit/random_net.h"

enum { MOST_INPUTS = 4 };

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

/* A result that only holds what x holds. */
static struct value *kept(struct net *n, struct node *node, struct value *x)
{
    struct value *y = finish(n, node, x->dtype);
    y->quant = x->quant;
    return y;
}

static struct value *reshape(struct net *n, struct value *x, int rank, const int64_t *dim)
{
    struct node *node = some_node(n, "torch.Tensor.reshape", x);
    OK(node_set_ints(n->g, node, "shape", dim, rank, &n->err));
    return kept(n, node, x);
}

/* Channels change places as ShuffleNet writes it: two reshapes around a transposition. */
static struct value *shuffle(struct net *n, struct value *x)
{
    const int64_t *d = x->shape.dim;
    int64_t apart[] = {d[0], 2, d[1] / 2, d[2], d[3]}, together[] = {d[0], d[1], d[2], d[3]};
    if (d[1] % 2)
        return x;
    x = reshape(n, x, 5, apart);
    struct node *node = some_node(n, "torch.transpose", x);
    OK(node_set_int(n->g, node, "dim0", 1, &n->err) && node_set_int(n->g, node, "dim1", 2, &n->err));
    return reshape(n, kept(n, node, x), 4, together);
}

/* A slice of the channels, at times of the rows, with a step, or of another scale. */
static struct value *slice(struct net *n, struct value *x, enum dtype t)
{
    struct node *node = some_node(n, "torch.Tensor.__getitem__", x);
    int64_t axis = below(4) ? 1 : 2, extent = x->shape.dim[axis], start = below((uint32_t)extent),
            end = start + 1 + below((uint32_t)(extent - start)), step = 1 + !below(6);
    if (below(2))
        axis -= 4;
    if (below(3) == 0)
        start -= extent;
    OK(node_set_ints(n->g, node, "starts", &start, 1, &n->err) &&
       node_set_ints(n->g, node, "ends", &end, 1, &n->err) &&
       node_set_ints(n->g, node, "axes", &axis, 1, &n->err) &&
       node_set_ints(n->g, node, "steps", &step, 1, &n->err));
    return below(8) ? kept(n, node, x) : finish(n, node, t);
}

/* Some part of x cut into two along the channels, or both of them, the other way round. */
static struct value *split(struct net *n, struct value *x)
{
    int64_t c = x->shape.dim[1], sizes[2] = {1 + below((uint32_t)c - 1), 0};
    struct node *node = some_node(n, "torch.split", x);
    sizes[1] = c - sizes[0];
    OK(node_set_ints(n->g, node, "split_size_or_sections", sizes, 2, &n->err) &&
       node_set_int(n->g, node, "dim", below(2) ? 1 : -3, &n->err));
    struct value *part[2];
    for (int i = 0; i < 2; i++) {
        OK(part[i] = node_add_output(n->g, node, NULL, &n->err));
        part[i]->dtype = x->dtype;
        part[i]->quant = x->quant;
    }
    OK(op_apply(n->g, node, &n->err));
    if (below(2))
        return part[below(2)];
    node = some_node(n, "torch.cat", part[1]);
    OK(node_add_input(n->g, node, part[0], &n->err) && node_set_int(n->g, node, "dim", 1, &n->err));
    return kept(n, node, x);
}

/* What gives bytes other places, in any order of layouts; means of the whole plane. */
static void test_moves(void **state)
{
    (void)state;
    int fast = 0, steps = 0;
    for (int i = 0; i < 150; i++) {
        struct net nn, *n = &nn;
        net_init(n);
        struct shape s = of4(2 + below(below(2) ? 8 : 140), 1 + below(9), 1 + below(9));
        struct value *y = some_input(n, &s, small());
        for (uint32_t k = 1 + below(4); k && y->shape.rank == 4 && y->shape.dim[1] > 1; k--) {
            struct value *next = NULL;
            switch (below(5)) {
            case 0: next = shuffle(n, y); break;
            case 1: next = split(n, y); break;
            case 2: next = slice(n, y, small()); break;
            case 3: next = move(n, y, small()); break;
            default: next = conv(n, y, small());
            }
            y = next ? next : y;
        }
        if (below(3) == 0 && y->shape.rank == 4) {
            int64_t dims[] = {below(2) ? 2 : -2, 3};
            struct node *node = some_node(n, below(3) ? "torch.mean" : "torch.sum", y);
            OK(node_set_ints(n->g, node, "dim", dims, 2, &n->err) &&
               node_set_bool(n->g, node, "keepdim", below(2), &n->err));
            y = finish(n, node, small());
        }
        if (y->producer) {
            struct run_counts c = compare_engines(n, y);
            fast += c.fast;
            steps += c.fast + c.fixed;
        }
        arena_fini(&n->arena);
    }
    assert_true(fast > 150 && fast == steps);
}

static void test_reductions(void **state)
{
    (void)state;
    try_single(reduce, 80, false);
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

/* ── memory ── */

static struct value *add_conv(struct net *n, struct value *x, int64_t m, int64_t side, int64_t groups,
                              enum dtype weights, enum dtype t)
{
    int64_t c = x->shape.dim[1] / groups, kernel[] = {side, side}, padding[] = {side / 2, side / 2};
    struct node *node = some_node(n, "torch.nn.Conv2d", x);
    struct shape w = shape_of(4, (const int64_t[]){m, c, side, side}), b = shape_of(1, &m);
    bool real = weights == DT_FLOAT32;
    OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
       node_set_ints(n->g, node, "padding", padding, 2, &n->err) &&
       node_set_int(n->g, node, "groups", groups, &n->err) &&
       node_add_param(n->g, node, "weight", some_constant(n, &w, weights, real ? 0 : (int)m), &n->err) &&
       node_add_param(n->g, node, "bias", some_constant(n, &b, real ? DT_FLOAT32 : DT_QINT32, 0),
                      &n->err));
    return finish(n, node, t);
}

/* Many narrow groups: blocks of channels that begin anywhere. */
static void test_groups(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{64, 2, 1}, {16, 3, 4}, {5, 2, 13}, {3, 1, 64}, {2, 7, 65}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct net nn, *n = &nn;
        net_init(n);
        int64_t groups = shapes[i][0];
        struct shape s = shape_of(4, (const int64_t[]){1, groups * shapes[i][1], 5, 6});
        struct value *x = some_input(n, &s, DT_QUINT8);
        struct value *y = add_conv(n, x, groups * shapes[i][2], 3, groups, DT_QINT8, DT_QINT8);
        assert_int_equal(compare_engines(n, y).fast, 1);
        arena_fini(&n->arena);
    }
}

/* Makes a run, and a frame of it; tells what it took by its own count, and checks that it does not count
 * less than the arena gave. */
static struct run_memory memory_of(struct net *n, enum run_engine engine, const char *variant)
{
    const struct value *x = n->g->inputs[0], *y = n->g->outputs[0];
    void *in = arena_alloc(&n->arena, (size_t)shape_elements(&x->shape) * dtype_size(x->dtype), &n->err);
    void *out = arena_alloc(&n->arena, (size_t)shape_elements(&y->shape) * dtype_size(y->dtype), &n->err);
    OK(in && out);
    size_t before = arena_taken(&n->arena);
    struct run *r = run_new(&n->arena, n->g, &(struct run_options){engine, variant, false}, &n->err);
    OK(r);
    size_t grown = arena_taken(&n->arena) - before;
    struct run_memory made = run_memory(r);
    assert_true(made.held >= grown && made.scratch == 0);
    OK(run_frame(r, (const void *[]){in}, (void *[]){out}, NULL, NULL, &n->err));
    struct run_memory m = run_memory(r);
    assert_true(m.held >= grown + m.scratch && m.held >= made.held);
    assert_true(m.held >= m.weights + m.planned);
    OK(run_frame(r, (const void *[]){in}, (void *[]){out}, NULL, NULL, &n->err));
    assert_int_equal(run_memory(r).held, m.held);
    return m;
}

/* The aim: weights and 1.2 times the largest live set. */
static void test_memory(void **state)
{
    (void)state;
    struct net nn, *n = &nn;
    net_init(n);
    struct shape s = shape_of(4, (const int64_t[]){1, 3, 112, 112});
    struct value *y = quantize(n, some_input(n, &s, DT_FLOAT32), DT_QUINT8);
    y = add_conv(n, y, 24, 3, 1, DT_QINT8, DT_QUINT8);
    y = add_conv(n, y, 24, 3, 24, DT_QINT8, DT_QUINT8);
    y = add_conv(n, y, 40, 1, 1, DT_QINT8, DT_QUINT8);
    y = add_conv(n, y, 40, 5, 40, DT_QINT8, DT_QUINT8);
    OK(graph_add_output(n->g, y, &n->err) && graph_sort(n->g, &n->err));
    size_t count, weights = 24 * 27 + 24 * 9 + 40 * 24 + 40 * 25 + (24 + 24 + 40 + 40) * 4;
    const struct fast_kernels *const *list = fast_kernels_list(&count);
    for (size_t i = 0; i <= count; i++) {
        if (i < count && !list[i]->supported())
            continue;
        struct run_memory m =
            memory_of(n, i < count ? RUN_FAST : RUN_REFERENCE, i < count ? list[i]->name : NULL);
        assert_int_equal(m.weights, weights);
        assert_int_equal(m.live, (40 + 40) * 112 * 112);
        if ((double)m.held > (double)m.weights + 1.2 * (double)m.live)
            fail_msg("%s holds %zu bytes: %zu of weights, %zu live, %zu planned, %zu of scratch",
                     i < count ? list[i]->name : "reference", m.held, m.weights, m.live, m.planned,
                     m.scratch);
    }
    arena_fini(&n->arena);
}

/* Weights of float32 that a fast kernel has packed are not kept as they were beside it. */
static void test_memory_of_floats(void **state)
{
    (void)state;
    struct net nn, *n = &nn;
    net_init(n);
    struct shape s = shape_of(4, (const int64_t[]){1, 256, 4, 4});
    struct value *y = add_conv(n, some_input(n, &s, DT_FLOAT32), 256, 3, 1, DT_FLOAT32, DT_FLOAT32);
    OK(graph_add_output(n->g, y, &n->err) && graph_sort(n->g, &n->err));
    struct run_memory m = memory_of(n, RUN_FAST, NULL);
    assert_int_equal(m.weights, (256 * 9 + 1) * 256 * 4);
    assert_true(m.held < m.weights + m.weights / 2);
    arena_fini(&n->arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),    cmocka_unit_test(test_conv_residual),
        cmocka_unit_test(test_linear),  cmocka_unit_test(test_pool),
        cmocka_unit_test(test_eltwise), cmocka_unit_test(test_wide),
        cmocka_unit_test(test_moves),   cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_chains),  cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_of_floats), cmocka_unit_test(test_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
