/* Constant folding against what PyTorch computes (fold_cases.txt), and what stays unfolded:
 * division by zero, large results, unknown content. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/ops/op.h"
#include "tests/unit/op_case.h"

static struct node *build(struct fixture *f, const char *op, const char *attrs, const char *inputs)
{
    const char *from[4] = {op, attrs, inputs, ""};
    struct op_case c = {.want_count = 1};
    fixture_init(f, (size_t)512 << 20);
    for (int i = 0; i < 4; i++) {
        c.field[i] = arena_strdup(&f->arena, from[i], &f->err);
        assert_non_null(c.field[i]);
    }
    struct node *n = case_build(f->graph, &c, &f->err);
    assert_non_null(n);
    return n;
}

static bool same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b));
}

static bool same_content(const struct value *v, const struct case_tensor *want)
{
    const char *q = want->values;
    if (!shape_equal(&v->shape, &want->shape) || v->dtype != want->dtype || !value_is_known(v))
        return false;
    for (int64_t i = 0, count = shape_elements(&v->shape); i < count; i++) {
        char *end;
        double r = strtod(q, &end), got;
        int64_t w = strtoll(q, NULL, 10), whole;
        bool real = dtype_is_float(v->dtype);
        if (real ? !constant_real(v, i, &got) || !same_number(got, r)
                 : !constant_int(v, i, &whole) || whole != w)
            return false;
        q = end + (*end == ',');
    }
    return true;
}

static void test_cases_from_pytorch(void **state)
{
    (void)state;
    static char line[1 << 16], copy[1 << 16];
    int cases = 0, wrong = 0;
    FILE *file = case_open(__FILE__, "fold_cases.txt");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        struct op_case c;
        struct fixture f;
        memcpy(copy, line, sizeof copy);
        if (!case_cut(line, &c))
            continue;
        cases++;
        fixture_init(&f, (size_t)64 << 20);
        struct node *n = case_build(f.graph, &c, &f.err);
        bool ok = n && op_apply(f.graph, n, &f.err), good = n && ok != c.want_error;
        for (int i = 0; i < c.want_count && good && ok; i++)
            good = same_content(n->outputs[i], &c.want[i]);
        good &= !ok || n->fold == FOLD_CONSTANT;
        if (!good && wrong++ < 40) {
            print_error("%.300s\n   %s", copy, f.err.message);
            for (int64_t i = 0; ok && i < 24; i++) {
                double r;
                if (constant_real(n->outputs[0], i, &r))
                    print_error(" %g", r);
            }
            print_error(" (%s, %s)\n", n ? dtype_name(n->outputs[0]->dtype) : "not built",
                        n && n->outputs[0]->constant ? "constant" : "not constant");
        }
        arena_fini(&f.arena);
    }
    fclose(file);
    assert_int_equal(wrong, 0);
    assert_true(cases > 1000);
}

/* Applies and says whether the content of output 0 is known; *constant: at least that it is
 * constant. */
static bool known(struct fixture *f, struct node *n, bool *constant)
{
    if (!op_apply(f->graph, n, &f->err))
        fail_msg("%s refused: %s", n->op->name, f->err.message);
    *constant = n->outputs[0]->constant != NULL;
    return value_is_known(n->outputs[0]);
}

static void test_left_unfolded(void **state)
{
    (void)state;
    struct fixture f;
    bool constant;
    struct node *n = build(&f, "torch.floor_divide", "", "2:int64={1,2} 2:int64={1,0}");
    assert_false(known(&f, n, &constant));
    arena_fini(&f.arena);
    n = build(&f, "torch.div", "", "2:float32={1,2} 2:float32={1,0}");
    assert_false(known(&f, n, &constant));
    arena_fini(&f.arena);
    n = build(&f, "torch.remainder", "", "1:int64={-9223372036854775808} 1:int64={-1}");
    assert_true(known(&f, n, &constant));
    arena_fini(&f.arena);

    /* 256 MiB of zeros is a shape without content. */
    n = build(&f, "torch.full", "dtype=\"int64\"", "2:int64={8192,4096}");
    assert_false(known(&f, n, &constant));
    assert_true(constant);
    assert_int_equal(n->outputs[0]->constant->bytes, (size_t)8 * 8192 * 4096);
    assert_int_equal(n->fold, FOLD_CONSTANT);
    assert_true(f.arena.used < (size_t)1 << 20);
    arena_fini(&f.arena);

    n = build(&f, "torch.rand_like", "", "2:float32={1,2}");
    assert_false(known(&f, n, &constant));
    assert_false(constant);
    assert_int_equal(n->fold, FOLD_NONE);
    arena_fini(&f.arena);

    n = build(&f, "torch.index_select", "", "2:int64={1,2} 1:int64={5}");
    assert_false(op_apply(f.graph, n, &f.err));
    assert_int_equal(f.err.code, BPU_BAD_SHAPE);
    arena_fini(&f.arena);
}

static void test_wraps(void **state)
{
    (void)state;
    static const struct {
        const char *op, *inputs;
        int64_t want;
    } cases[] = {
        {"torch.add", "s:int64={9223372036854775807} s:int64={1}", INT64_MIN},
        {"torch.sub", "s:int64={-9223372036854775808} s:int64={1}", INT64_MAX},
        {"torch.mul", "s:int64={4611686018427387904} s:int64={4}", 0},
        {"torch.neg", "s:int64={-9223372036854775808}", INT64_MIN},
        {"torch.abs", "s:int64={-9223372036854775808}", INT64_MIN},
        {"torch.floor_divide", "s:int64={-9223372036854775808} s:int64={-1}", INT64_MIN},
        {"torch.add", "s:int32={2147483647} s:int32={1}", INT32_MIN},
        {"torch.bitwise_left_shift", "s:int64={1} s:int64={64}", 0},
        {"torch.pow", "s:int64={3} s:int64={41}", -420491770248316829LL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        bool constant;
        int64_t got;
        struct node *n = build(&f, cases[i].op, "", cases[i].inputs);
        assert_true(known(&f, n, &constant));
        assert_true(constant_int(n->outputs[0], 0, &got));
        if (got != cases[i].want)
            fail_msg("%s %s: %lld", cases[i].op, cases[i].inputs, (long long)got);
        arena_fini(&f.arena);
    }
}

/* The size of a feature map is known though its content is not. */
static void test_size_of_feature_map(void **state)
{
    (void)state;
    struct fixture f;
    bool constant;
    int64_t v;
    struct node *n = build(&f, "torch.Tensor.size", "", "1x3x-1x8:float32");
    assert_false(known(&f, n, &constant)); /* one extent is open */
    arena_fini(&f.arena);
    n = build(&f, "torch.Tensor.size", "start=1 end=2", "1x3x-1x8:float32");
    assert_true(known(&f, n, &constant)); /* but not this one */
    assert_true(constant_int(n->outputs[0], 0, &v) && v == 3);
    arena_fini(&f.arena);
    n = build(&f, "torch.Tensor.size", "dim=-1", "1x3x4x8:float32");
    assert_true(known(&f, n, &constant));
    assert_true(constant_int(n->outputs[0], 0, &v) && v == 8);
    assert_int_equal(n->outputs[0]->shape.rank, 0);
    arena_fini(&f.arena);
}

/* A view of a large weight shares its bytes; a transposition of it is constant without content. */
static void test_large_weights(void **state)
{
    (void)state;
    struct fixture f;
    bool constant;
    static float weight[1024 * 1024];
    fixture_init(&f, (size_t)8 << 20);
    struct shape s = shape_of(2, (int64_t[]){1024, 1024});
    struct value *w =
        graph_add_constant(f.graph, "w", &s, DT_FLOAT32, weight, sizeof weight, &f.err);
    assert_non_null(w);
    struct node *view = graph_add_node(f.graph, "view", "torch.Tensor.reshape", &f.err);
    assert_true(view && op_bind(view) && node_add_input(f.graph, view, w, &f.err));
    assert_true(node_set_ints(f.graph, view, "shape", (int64_t[]){-1, 4}, 2, &f.err));
    assert_non_null(node_add_output(f.graph, view, "view", &f.err));
    assert_true(known(&f, view, &constant));
    assert_ptr_equal(view->outputs[0]->constant->data, weight);

    struct node *turn = graph_add_node(f.graph, "turn", "torch.Tensor.transpose", &f.err);
    assert_true(turn && op_bind(turn) && node_add_input(f.graph, turn, w, &f.err));
    assert_true(node_set_int(f.graph, turn, "dim0", 0, &f.err));
    assert_true(node_set_int(f.graph, turn, "dim1", 1, &f.err));
    assert_non_null(node_add_output(f.graph, turn, "turned", &f.err));
    assert_false(known(&f, turn, &constant));
    assert_true(constant);

    /* What follows from a constant without content is one as well. */
    struct node *next = graph_add_node(f.graph, "next", "torch.nn.ReLU", &f.err);
    assert_true(next && op_bind(next) && node_add_input(f.graph, next, turn->outputs[0], &f.err));
    assert_non_null(node_add_output(f.graph, next, "next", &f.err));
    assert_false(known(&f, next, &constant));
    assert_true(constant);
    assert_int_equal(next->fold, FOLD_CONSTANT);
    assert_true(graph_verify(f.graph, &f.err));
    arena_fini(&f.arena);
}

/* ONNX' own meanings: transposed nonzero, whole division, sums in their own type. */
static void test_onnx_meanings(void **state)
{
    (void)state;
    struct fixture f;
    bool constant;
    int64_t v;
    struct node *n = build(&f, "torch.nonzero", "", "2x2:int64={0,7,7,0}");
    n->origin.source_op = "onnx:NonZero";
    assert_true(known(&f, n, &constant));
    assert_int_equal(n->outputs[0]->shape.dim[0], 2);
    for (int i = 0; i < 4; i++) /* rows (0, 1) and (1, 0) as columns: 0 1 / 1 0 */
        assert_true(constant_int(n->outputs[0], i, &v) && v == (i == 1 || i == 2));
    arena_fini(&f.arena);
    n = build(&f, "torch.div", "", "s:int64={-7} s:int64={2}");
    n->origin.source_op = "onnx:Div";
    assert_true(known(&f, n, &constant));
    assert_int_equal(n->outputs[0]->dtype, DT_INT64);
    assert_true(constant_int(n->outputs[0], 0, &v) && v == -3);
    arena_fini(&f.arena);
    n = build(&f, "torch.sum", "", "2:int32={3,4}");
    n->origin.source_op = "onnx:ReduceSum";
    assert_true(known(&f, n, &constant));
    assert_int_equal(n->outputs[0]->dtype, DT_INT32);
    arena_fini(&f.arena);
}

/* Every allocation in turn fails: a clean error, no crash. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const char *const ops[][3] = {
        {"torch.add", "", "2x3:int64={1,2,3,4,5,6} 3:int64={1,2,3}"},
        {"torch.max", "dim=1", "2x3:int64={1,2,3,4,5,6}"},
        {"torch.Tensor.reshape", "shape=[3,2]", "2x3:int64={1,2,3,4,5,6}"},
        {"torch.nonzero", "", "2x3:int64={1,2,3,4,5,6}"},
        {"torch.chunk", "chunks=1", "2x3:int64={1,2,3,4,5,6}"},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (long k = 0;; k++) {
            struct fixture f;
            struct node *n = build(&f, ops[i][0], ops[i][1], ops[i][2]);
            f.arena.fail_after = k;
            bool ok = op_apply(f.graph, n, &f.err);
            f.arena.fail_after = -1;
            if (!ok)
                assert_int_equal(f.err.code, BPU_NO_MEMORY);
            arena_fini(&f.arena);
            if (ok && k > 0)
                break;
            assert_true(k < 50);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases_from_pytorch),
        cmocka_unit_test(test_left_unfolded),
        cmocka_unit_test(test_wraps),
        cmocka_unit_test(test_size_of_feature_map),
        cmocka_unit_test(test_large_weights),
        cmocka_unit_test(test_onnx_meanings),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
