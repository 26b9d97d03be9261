/* oneDNN against the reference kernels on random shapes: convolutions, transposed ones, linear
 * layers, matrix products, pools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/run/dnnl.h"
#include "core/run/real.h"
#include "tests/unit/kernel_case.h"

#define ROUNDS 60

static uint64_t seed = 1;

static int64_t pick(int64_t lo, int64_t hi)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return lo + (int64_t)((seed >> 33) % (uint64_t)(hi - lo + 1));
}

static float pick_real(void)
{
    return (float)pick(-1000000, 1000000) / 500000;
}

static float *floats(struct kernel_case *k, int64_t count)
{
    float *f = ARENA_ARRAY(&k->arena, float, count, &k->err);
    assert_non_null(f);
    for (int64_t i = 0; i < count; i++)
        f[i] = pick_real();
    return f;
}

static struct value *input(struct kernel_case *k, struct shape s)
{
    struct value *v = graph_add_value(k->graph, NULL, &k->err);
    assert_non_null(v);
    v->shape = s;
    v->dtype = DT_FLOAT32;
    assert_true(graph_add_input(k->graph, v, &k->err));
    assert_true(node_add_input(k->graph, k->node, v, &k->err));
    return v;
}

static void param(struct kernel_case *k, const char *name, struct shape s)
{
    int64_t count = shape_elements(&s);
    struct value *v = graph_add_constant(k->graph, name, &s, DT_FLOAT32, floats(k, count),
                                         (size_t)count * sizeof(float), &k->err);
    assert_non_null(v);
    assert_true(node_add_param(k->graph, k->node, name, v, &k->err));
}

static void ints(struct kernel_case *k, const char *name, const int64_t *v, int count)
{
    assert_true(node_set_ints(k->graph, k->node, name, v, count, &k->err));
}

/* Infers, fills the operands, computes both ways and compares. True if oneDNN took it. A shape that
 * inference refuses counts as taken. */
static bool agrees(struct kernel_case *k)
{
    struct fast_kernel fast = {0};
    assert_non_null(node_add_output(k->graph, k->node, "y", &k->err));
    if (!op_apply(k->graph, k->node, &k->err))
        return k->err.code == BPU_BAD_SHAPE;
    kernel_case_tensors(k);
    for (int i = 0; i < k->node->input_count; i++) {
        float *x = k->in_tensors[i].data;
        for (int64_t e = 0; e < real_count(k->in[i]); e++)
            x[e] = pick_real();
    }
    assert_true(kernel_of(k->node)->real(&k->call, &k->err));
    int64_t count = real_count(k->out[0]);
    float *y = k->out_tensors[0].data, *want = floats(k, count), most = 0;
    memcpy(want, y, (size_t)count * sizeof *y);
    memset(y, 0xee, (size_t)count * sizeof *y);
    if (!dnnl_prepare(&k->arena, &k->call, NULL, &fast, &k->err))
        fail_msg("%s", k->err.message);
    if (!fast.run)
        return false;
    for (int frame = 0; frame < 2; frame++) { /* prepared once, run again */
        struct arena_mark mark = arena_mark(&k->scratch);
        assert_true(fast.run(fast.state, &k->call, &k->err));
        arena_rewind(&k->scratch, mark);
        for (int64_t i = 0; i < count; i++)
            most = fabsf(want[i]) > most ? fabsf(want[i]) : most;
        for (int64_t i = 0; i < count; i++)
            if (!(fabsf(y[i] - want[i]) <= 1e-5f * most + 1e-6f))
                fail_msg("%s: element %lld is %g, the reference has %g (largest %g)",
                         k->node->op_name, (long long)i, (double)y[i], (double)want[i],
                         (double)most);
    }
    return true;
}

static struct shape image(int k, int64_t n, int64_t c, int64_t lo, int64_t hi, bool batched)
{
    struct shape s = {.rank = 0};
    if (batched)
        s.dim[s.rank++] = n;
    s.dim[s.rank++] = c;
    for (int i = 0; i < k; i++)
        s.dim[s.rank++] = pick(lo, hi);
    return s;
}

static void tail(struct kernel_case *k, bool residual)
{
    static const char *const activations[] = {NULL, "relu", "relu6"};
    const char *a = activations[pick(0, 2)];
    if (a)
        assert_true(node_set_string(k->graph, k->node, "activation", a, &k->err));
    if (!residual)
        return;
    /* The operand has the shape of the result, which a first inference tells. */
    struct value *y = node_add_output(k->graph, k->node, "first", &k->err);
    assert_non_null(y);
    if (op_apply(k->graph, k->node, &k->err))
        input(k, y->shape);
    k->node->output_count = 0;
    k->err = (struct bpu_error){.code = BPU_NONE};
}

static int conv_round(bool transposed)
{
    static const char *const ops[2][3] = {
        {"torch.nn.Conv1d", "torch.nn.Conv2d", "torch.nn.Conv3d"},
        {"torch.nn.ConvTranspose1d", "torch.nn.ConvTranspose2d", "torch.nn.ConvTranspose3d"}};
    struct kernel_case k;
    int spatial = (int)pick(1, 3);
    kernel_case_init(&k, ops[transposed][spatial - 1]);
    int64_t groups = pick(0, 2) ? 1 : pick(1, 4), in = groups * pick(1, 20), each = pick(1, 20);
    if (pick(0, 4) == 0) { /* depthwise */
        groups = in;
        each = pick(1, 2);
    }
    int64_t kernel[3], stride[3], dilation[3], pad[6], extra[3];
    struct shape w = {.rank = spatial + 2};
    for (int i = 0; i < spatial; i++) {
        w.dim[2 + i] = kernel[i] = pick(1, 4);
        stride[i] = pick(1, 3);
        dilation[i] = pick(1, 2);
        pad[i] = pick(0, 2);
        pad[spatial + i] = pick(0, 1) ? pad[i] : pick(0, 2);
        extra[i] = pick(0, stride[i] - 1);
    }
    w.dim[0] = transposed ? in : groups * each;
    w.dim[1] = transposed ? each : in / groups;
    input(&k, image(spatial, pick(1, 2), in, 4, spatial == 3 ? 7 : 14, pick(0, 3) != 0));
    param(&k, "weight", w);
    if (pick(0, 3))
        param(&k, "bias", (struct shape){.rank = 1, .dim = {groups * each}});
    ints(&k, "stride", stride, spatial);
    ints(&k, "dilation", dilation, spatial);
    ints(&k, "padding", pad, 2 * spatial);
    assert_true(node_set_int(k.graph, k.node, "groups", groups, &k.err));
    if (transposed)
        ints(&k, "output_padding", extra, spatial);
    tail(&k, pick(0, 3) == 0);
    bool taken = agrees(&k);
    kernel_case_fini(&k);
    return taken;
}

static void test_conv(void **state)
{
    (void)state;
    int taken = 0;
    for (int i = 0; i < ROUNDS; i++)
        taken += conv_round(false);
    assert_true(taken >= ROUNDS * 9 / 10);
}

static void test_conv_transpose(void **state)
{
    (void)state;
    int taken = 0;
    for (int i = 0; i < ROUNDS; i++)
        taken += conv_round(true);
    assert_true(taken >= ROUNDS * 9 / 10);
}

static void test_linear(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct kernel_case k;
        kernel_case_init(&k, "torch.nn.Linear");
        int64_t in = pick(1, 70), out = pick(1, 70);
        bool io = pick(0, 1);
        struct shape x = {.rank = (int)pick(1, 4)};
        for (int d = 0; d < x.rank; d++)
            x.dim[d] = pick(1, 5);
        x.dim[x.rank - 1] = in;
        input(&k, x);
        param(&k, "weight", (struct shape){.rank = 2, .dim = {io ? in : out, io ? out : in}});
        if (pick(0, 1))
            param(&k, "bias", (struct shape){.rank = 1, .dim = {out}});
        assert_true(node_set_string(k.graph, k.node, "weight_layout", io ? "io" : "oi", &k.err));
        tail(&k, pick(0, 3) == 0);
        assert_true(agrees(&k));
        kernel_case_fini(&k);
    }
}

static void test_matmul(void **state)
{
    (void)state;
    int taken = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct kernel_case k;
        kernel_case_init(&k, "torch.matmul");
        int64_t m = pick(1, 20), n = pick(1, 20), depth = pick(1, 40);
        struct shape a = {.rank = (int)pick(1, 4)}, b = {.rank = (int)pick(1, 4)};
        int64_t lead[2] = {pick(1, 3), pick(1, 3)};
        for (int d = 0; d < 2; d++) { /* leading axes from the last; some are broadcast */
            if (a.rank - 3 - d >= 0)
                a.dim[a.rank - 3 - d] = pick(0, 2) ? lead[d] : 1;
            if (b.rank - 3 - d >= 0)
                b.dim[b.rank - 3 - d] = pick(0, 2) ? lead[d] : 1;
        }
        a.dim[a.rank - 1] = depth;
        b.dim[b.rank > 1 ? b.rank - 2 : 0] = depth;
        if (a.rank > 1)
            a.dim[a.rank - 2] = m;
        if (b.rank > 1)
            b.dim[b.rank - 1] = n;
        input(&k, a);
        input(&k, b);
        taken += agrees(&k);
        kernel_case_fini(&k);
    }
    assert_true(taken >= ROUNDS * 9 / 10);
}

static void test_pool(void **state)
{
    static const char *const ops[2][3] = {
        {"torch.nn.MaxPool1d", "torch.nn.MaxPool2d", "torch.nn.MaxPool3d"},
        {"torch.nn.AvgPool1d", "torch.nn.AvgPool2d", "torch.nn.AvgPool3d"}};
    (void)state;
    int taken = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct kernel_case k;
        int spatial = (int)pick(1, 3), mean = (int)pick(0, 1);
        int64_t kernel[3], stride[3], pad[3], dilation[3];
        kernel_case_init(&k, ops[mean][spatial - 1]);
        for (int d = 0; d < spatial; d++) {
            kernel[d] = pick(1, 4);
            stride[d] = pick(1, 3);
            pad[d] = pick(0, kernel[d] / 2);
            dilation[d] = pick(1, 2);
        }
        input(&k, image(spatial, 2, pick(1, 20), 5, 9, pick(0, 2) != 0));
        ints(&k, "kernel_size", kernel, spatial);
        ints(&k, "stride", stride, spatial);
        ints(&k, "padding", pad, spatial);
        if (!mean)
            ints(&k, "dilation", dilation, spatial);
        assert_true(node_set_bool(k.graph, k.node, "ceil_mode", pick(0, 1), &k.err));
        if (mean)
            assert_true(node_set_bool(k.graph, k.node, "count_include_pad", pick(0, 1), &k.err));
        taken += agrees(&k);
        kernel_case_fini(&k);
    }
    assert_true(taken >= ROUNDS / 2);
}

static void test_adaptive(void **state)
{
    static const char *const ops[] = {"torch.nn.AdaptiveAvgPool2d", "torch.nn.AdaptiveMaxPool2d"};
    (void)state;
    int taken = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct kernel_case k;
        int64_t size[2] = {pick(1, 4), pick(1, 4)};
        kernel_case_init(&k, ops[pick(0, 1)]);
        input(&k, image(2, pick(1, 2), pick(1, 9), 1, 12, true));
        ints(&k, "output_size", size, 2);
        taken += agrees(&k);
        kernel_case_fini(&k);
    }
    assert_true(taken >= ROUNDS / 6);
}

/* What it is not made for stays with the reference kernels. */
static void test_declines(void **state)
{
    (void)state;
    struct kernel_case k;
    struct fast_kernel fast = {0};
    kernel_case_init(&k, "torch.nn.Conv2d");
    input(&k, (struct shape){.rank = 4, .dim = {1, 2, 5, 5}});
    param(&k, "weight", (struct shape){.rank = 4, .dim = {3, 2, 3, 3}});
    assert_true(node_set_int(k.graph, k.node, "padding", 1, &k.err));
    assert_true(node_set_string(k.graph, k.node, "padding_mode", "reflect", &k.err));
    assert_non_null(node_add_output(k.graph, k.node, "y", &k.err));
    assert_true(op_apply(k.graph, k.node, &k.err));
    kernel_case_tensors(&k);
    assert_true(dnnl_prepare(&k.arena, &k.call, NULL, &fast, &k.err));
    assert_null(fast.run);
    kernel_case_fini(&k);
    kernel_case_init(&k, "torch.matmul");
    input(&k, (struct shape){.rank = 2, .dim = {2, 3}})->dtype = DT_INT32;
    input(&k, (struct shape){.rank = 2, .dim = {3, 2}})->dtype = DT_INT32;
    assert_non_null(node_add_output(k.graph, k.node, "y", &k.err));
    assert_true(op_apply(k.graph, k.node, &k.err));
    kernel_case_tensors(&k);
    assert_true(dnnl_prepare(&k.arena, &k.call, NULL, &fast, &k.err));
    assert_null(fast.run);
    kernel_case_fini(&k);
}

/* Every allocation fails once: an error or no fast kernel, and no leak. */
static void test_out_of_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 6; n++) {
        struct kernel_case k;
        struct fast_kernel fast = {0};
        kernel_case_init(&k, "torch.nn.Conv2d");
        input(&k, (struct shape){.rank = 4, .dim = {1, 16, 8, 8}});
        param(&k, "weight", (struct shape){.rank = 4, .dim = {16, 16, 3, 3}});
        param(&k, "bias", (struct shape){.rank = 1, .dim = {16}});
        assert_non_null(node_add_output(k.graph, k.node, "y", &k.err));
        assert_true(op_apply(k.graph, k.node, &k.err));
        kernel_case_tensors(&k);
        k.arena.fail_after = n;
        bool ok = dnnl_prepare(&k.arena, &k.call, NULL, &fast, &k.err);
        k.arena.fail_after = -1;
        assert_true(ok ? fast.run != NULL : k.err.code == BPU_NO_MEMORY);
        kernel_case_fini(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),     cmocka_unit_test(test_conv_transpose),
        cmocka_unit_test(test_linear),   cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_pool),     cmocka_unit_test(test_adaptive),
        cmocka_unit_test(test_declines), cmocka_unit_test(test_out_of_memory),
    };
    if (!dnnl_warm_up()) {
        print_error("oneDNN is not installed\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
