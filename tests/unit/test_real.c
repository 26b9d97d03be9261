/* The float kernels against what PyTorch computed (tests/fixtures/kernels), in both engines; and
 * what they do with operands that PyTorch refuses or that no file should hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/import/import.h"
#include "core/run/real.h"
#include "core/run/run.h"
#include "tests/unit/kernel_case.h"

#define FOLDER "tests/fixtures/kernels/"

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, f), *size);
    fclose(f);
    return data;
}

static struct value *beside(const struct graph *g, const char *name, const char *suffix)
{
    char text[256];
    snprintf(text, sizeof text, "%s.%s", name, suffix);
    struct value *v = graph_find_value(g, text);
    if (!v || !value_is_known(v))
        fail_msg("%s is missing", text);
    return v;
}

/* Integers exactly, real numbers to 1e-5 of the largest. */
static bool same(const struct value *want, const void *data)
{
    struct constant c = {data, want->constant->bytes};
    struct value got = *want;
    got.constant = &c;
    int64_t count = shape_elements(&want->shape), a, b;
    double most = 0, x, y;
    if (!dtype_is_float(want->dtype)) {
        for (int64_t i = 0; i < count; i++)
            if (!constant_int(want, i, &a) || !constant_int(&got, i, &b) || a != b)
                return false;
        return true;
    }
    for (int64_t i = 0; i < count; i++)
        if (constant_real(want, i, &x) && isfinite(x) && fabs(x) > most)
            most = fabs(x);
    for (int64_t i = 0; i < count; i++)
        if (!constant_real(want, i, &x) || !constant_real(&got, i, &y) ||
            !(fabs(x - y) <= 1e-5 * most || (isnan(x) && isnan(y)) || x == y))
            return false;
    return true;
}

static void print(const struct value *want, const void *data)
{
    struct constant c = {data, want->constant->bytes};
    struct value got = *want;
    got.constant = &c;
    for (int64_t i = 0; i < shape_elements(&want->shape) && i < 12; i++) {
        double x = 0, y = 0;
        (void)!constant_real(want, i, &x);
        (void)!constant_real(&got, i, &y);
        print_error("  %g / %g", x, y);
    }
    print_error("\n");
}

static void family(const char *file, enum run_engine engine)
{
    char path[256];
    size_t size;
    struct arena a;
    struct bpu_error err = {.code = BPU_NONE};
    snprintf(path, sizeof path, FOLDER "%s.json", file);
    unsigned char *bytes = read_file(path, &size);
    arena_init(&a, (size_t)256 << 20);
    struct import_request req = {.data = bytes, .size = size, .name = path};
    struct graph *g = import_model(&a, &req, &err);
    if (!g)
        fail_msg("%s: %s (%s)", path, err.message, err.where);
    struct run_options options = {.engine = engine};
    struct run *r = run_new(&a, g, &options, &err);
    if (!r)
        fail_msg("%s: %s (%s)", path, err.message, err.where);
    const void **in = ARENA_ARRAY(&a, const void *, g->input_count, &err);
    void **out = ARENA_ARRAY(&a, void *, g->output_count, &err);
    assert_true(in && out);
    for (int i = 0; i < g->input_count; i++)
        in[i] = beside(g, g->inputs[i]->name, "data")->constant->data;
    for (int i = 0; i < g->output_count; i++) {
        out[i] = arena_alloc(&a, beside(g, g->outputs[i]->name, "want")->constant->bytes, &err);
        assert_non_null(out[i]);
    }
    if (!run_frame(r, in, out, NULL, NULL, &err))
        fail_msg("%s: %s (%s)", path, err.message, err.where);
    int wrong = 0;
    for (int i = 0; i < g->output_count; i++) {
        const struct value *y = g->outputs[i], *want = beside(g, y->name, "want");
        if (shape_equal(&y->shape, &want->shape) && y->dtype == want->dtype && same(want, out[i]))
            continue;
        char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
        print_error("%s: %s: PyTorch has %s %s, here %s %s\n", file, y->name,
                    dtype_name(want->dtype), shape_text(&want->shape, ta), dtype_name(y->dtype),
                    shape_text(&y->shape, tb));
        print(want, out[i]);
        wrong++;
    }
    assert_true(g->output_count > 0);
    assert_int_equal(wrong, 0);
    arena_fini(&a);
    free(bytes);
}

#define FAMILY(name)                                                                               \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        family(#name, RUN_REFERENCE);                                                              \
        family(#name, RUN_FAST);                                                                   \
    }
FAMILY(conv)
FAMILY(matrix)
FAMILY(pool)
FAMILY(unary)
FAMILY(binary)
FAMILY(norm)
FAMILY(reduce)
FAMILY(move)
FAMILY(resize)
FAMILY(recurrent)

/* ── operands that come with the data ── */

static struct value *operand(struct kernel_case *k, enum dtype t, struct shape s)
{
    struct value *v = graph_add_value(k->graph, NULL, &k->err);
    assert_non_null(v);
    v->shape = s;
    v->dtype = t;
    assert_true(graph_add_input(k->graph, v, &k->err));
    assert_true(node_add_input(k->graph, k->node, v, &k->err));
    return v;
}

static void ready(struct kernel_case *k)
{
    assert_non_null(node_add_output(k->graph, k->node, "y", &k->err));
    if (!op_apply(k->graph, k->node, &k->err))
        fail_msg("%s", k->err.message);
    kernel_case_tensors(k);
}

static void test_index_out_of_range(void **state)
{
    static const char *const ops[] = {"torch.gather", "torch.index_select", "torch.gather_nd",
                                      "torch.scatter"};
    (void)state;
    for (int op = 0; op < 4; op++)
        for (int64_t index = -4; index <= 4; index++) {
            struct kernel_case k;
            kernel_case_init(&k, ops[op]);
            operand(&k, DT_FLOAT32, (struct shape){.rank = 1, .dim = {3}});
            operand(&k, DT_INT64,
                    op == 2 ? (struct shape){.rank = 2, .dim = {1, 1}}
                            : (struct shape){.rank = 1, .dim = {1}});
            if (op == 3)
                operand(&k, DT_FLOAT32, (struct shape){.rank = 1, .dim = {1}});
            ready(&k);
            tensor_store_int(&k.in_tensors[1], 0, index);
            bool ok = kernel_of(k.node)->real(&k.call, &k.err);
            assert_int_equal(ok, index >= -3 && index < 3);
            assert_int_equal(k.err.code, ok ? BPU_NONE : BPU_UNSUPPORTED);
            kernel_case_fini(&k);
        }
}

static void test_integer_division_by_zero(void **state)
{
    static const char *const ops[] = {"torch.floor_divide", "torch.fmod", "torch.remainder"};
    (void)state;
    for (int op = 0; op < 3; op++) {
        struct kernel_case k;
        kernel_case_init(&k, ops[op]);
        operand(&k, DT_INT32, (struct shape){.rank = 1, .dim = {2}});
        operand(&k, DT_INT32, (struct shape){.rank = 1, .dim = {2}});
        ready(&k);
        tensor_store_int(&k.in_tensors[0], 0, INT32_MIN);
        tensor_store_int(&k.in_tensors[1], 0, -1);
        assert_false(kernel_of(k.node)->real(&k.call, &k.err));
        assert_non_null(strstr(k.err.message, "division by zero at element 1"));
        kernel_case_fini(&k);
    }
}

static void test_absurd_regions(void **state)
{
    (void)state;
    const double rois[][4] = {{NAN, 0, 1, 1}, {0, 0, INFINITY, 1}, {-1e30, 0, 1e30, 1}};
    for (int r = 0; r < 3; r++) {
        struct kernel_case k;
        kernel_case_init(&k, "torchvision.ops.RoIAlign");
        operand(&k, DT_FLOAT32, (struct shape){.rank = 4, .dim = {1, 1, 4, 4}});
        operand(&k, DT_FLOAT32, (struct shape){.rank = 2, .dim = {1, 4}});
        ready(&k);
        for (int i = 0; i < 4; i++)
            tensor_store_real(&k.in_tensors[1], i, rois[r][i]);
        assert_false(kernel_of(k.node)->real(&k.call, &k.err));
        assert_non_null(strstr(k.err.message, "absurdly large"));
        kernel_case_fini(&k);
    }
}

/* Positions that are no numbers read the edge or nothing, never memory beside the image. */
static void test_grid_of_nonsense(void **state)
{
    static const char *const modes[] = {"bilinear", "nearest", "bicubic"}, *const borders[] = {
                                                                               "zeros", "border",
                                                                               "reflection"};
    const double points[] = {NAN, INFINITY, -INFINITY, 1e30, -1e30, 3e9};
    (void)state;
    for (int m = 0; m < 9; m++) {
        struct kernel_case k;
        kernel_case_init(&k, "torch.nn.functional.grid_sample");
        operand(&k, DT_FLOAT32, (struct shape){.rank = 4, .dim = {1, 1, 3, 3}});
        operand(&k, DT_FLOAT32, (struct shape){.rank = 4, .dim = {1, 6, 6, 2}});
        assert_true(node_set_string(k.graph, k.node, "mode", modes[m / 3], &k.err));
        assert_true(node_set_string(k.graph, k.node, "padding_mode", borders[m % 3], &k.err));
        ready(&k);
        for (int i = 0; i < 9; i++)
            tensor_store_real(&k.in_tensors[0], i, i + 1);
        for (int i = 0; i < 36; i++) {
            tensor_store_real(&k.in_tensors[1], 2 * i, points[i / 6]);
            tensor_store_real(&k.in_tensors[1], 2 * i + 1, points[i % 6]);
        }
        assert_true(kernel_of(k.node)->real(&k.call, &k.err));
        kernel_case_fini(&k);
    }
}

/* ── the fixed form of kernels that are one function in both forms ── */

static const double tenth = .1, quarter = .25;
static const int64_t five = 5;

static struct value *quantized(struct kernel_case *k, enum dtype t, struct shape s,
                               const double *scale, const int64_t *zero)
{
    struct value *v = operand(k, t, s);
    v->quant = (struct quant){.scale = scale, .zero_point = zero, .count = 1};
    return v;
}

/* Moved values: the same integers at the same scale, requantized at another one. */
static void test_move_quantized(void **state)
{
    (void)state;
    for (int other = 0; other < 2; other++) {
        struct kernel_case k;
        kernel_case_init(&k, "torch.flip");
        quantized(&k, DT_QINT8, (struct shape){.rank = 1, .dim = {4}}, &tenth, NULL);
        const int64_t dims[1] = {0};
        assert_true(node_set_ints(k.graph, k.node, "dims", dims, 1, &k.err));
        ready(&k);
        struct tensor *y = k.out[0];
        y->quant = (struct quant){
            .scale = other ? &quarter : &tenth, .zero_point = other ? &five : NULL, .count = 1};
        for (int i = 0; i < 4; i++)
            tensor_store_int(&k.in_tensors[0], i, i == 3 ? 127 : -40 * i);
        assert_true(kernel_of(k.node)->fixed(&k.call, &k.err));
        const int64_t same_scale[] = {127, -80, -40, 0}, requantized[] = {56, -27, -11, 5};
        for (int i = 0; i < 4; i++) /* 12.7 / .25 = 50.8; -8 / .25 = -32; -4 / .25 = -16 */
            assert_int_equal(tensor_int(y, i), (other ? requantized : same_scale)[i]);
        kernel_case_fini(&k);
    }
}

/* A layer norm of integers: the real values in double precision, rounded once to the result's
 * scale. */
static void test_norm_quantized(void **state)
{
    (void)state;
    struct kernel_case k;
    const int64_t q[4] = {-100, 0, 50, 127}, shape[1] = {4};
    kernel_case_init(&k, "torch.nn.LayerNorm");
    quantized(&k, DT_QINT8, (struct shape){.rank = 1, .dim = {4}}, &tenth, NULL);
    assert_true(node_set_ints(k.graph, k.node, "normalized_shape", shape, 1, &k.err));
    ready(&k);
    k.out[0]->quant = (struct quant){.scale = &quarter, .count = 1};
    double sum = 0, square = 0;
    for (int i = 0; i < 4; i++) {
        tensor_store_int(&k.in_tensors[0], i, q[i]);
        sum += (double)q[i] * tenth;
    }
    for (int i = 0; i < 4; i++)
        square += ((double)q[i] * tenth - sum / 4) * ((double)q[i] * tenth - sum / 4);
    assert_true(kernel_of(k.node)->fixed(&k.call, &k.err));
    for (int i = 0; i < 4; i++)
        assert_int_equal(tensor_int(k.out[0], i),
                         (int64_t)nearbyint(((double)q[i] * tenth - sum / 4) /
                                            sqrt(square / 4 + 1e-5) / quarter));
    kernel_case_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_reduce),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_recurrent),
        cmocka_unit_test(test_index_out_of_range),
        cmocka_unit_test(test_integer_division_by_zero),
        cmocka_unit_test(test_absurd_regions),
        cmocka_unit_test(test_grid_of_nonsense),
        cmocka_unit_test(test_move_quantized),
        cmocka_unit_test(test_norm_quantized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
