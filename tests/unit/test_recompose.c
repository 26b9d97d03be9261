/* Two permutations of axes in a row: joined, cancelled, or left as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/import/recompose.h"
#include "core/ops/op.h"

static struct arena arena;
static struct bpu_error err;
static struct graph *g;
static struct value *x; /* 2x3x4x5 */

static int setup(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    arena_init(&arena, 64 << 20);
    g = graph_new(&arena, "g", "torchscript", &err);
    x = g ? graph_add_value(g, "x", &err) : NULL;
    if (!x || !graph_add_input(g, x, &err))
        return -1;
    x->dtype = DT_FLOAT32;
    x->shape = shape_of(4, (const int64_t[]){2, 3, 4, 5});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static struct value *finished(struct node *n, struct value *in)
{
    assert_non_null(n);
    assert_true(op_bind(n) && node_add_input(g, n, in, &err));
    struct value *out = node_add_output(g, n, n->name, &err);
    assert_non_null(out);
    if (!op_apply(g, n, &err))
        fail_msg("%s", err.message);
    return out;
}

static struct value *unary(const char *name, const char *op, struct value *in)
{
    return finished(graph_add_node(g, name, op, &err), in);
}

static struct value *swapped(const char *name, struct value *in, int64_t a, int64_t b)
{
    struct node *n = graph_add_node(g, name, "torch.Tensor.transpose", &err);
    assert_true(n && node_set_int(g, n, "dim0", a, &err) && node_set_int(g, n, "dim1", b, &err));
    return finished(n, in);
}

static struct value *permuted(const char *name, struct value *in, int64_t a, int64_t b, int64_t c,
                              int64_t d)
{
    const int64_t dims[] = {a, b, c, d};
    struct node *n = graph_add_node(g, name, "torch.permute", &err);
    assert_true(n && node_set_ints(g, n, "dims", dims, 4, &err));
    return finished(n, in);
}

/* The pass; every result must keep the shape that inference gave it before. */
static void join(struct value *output)
{
    assert_true(graph_add_output(g, output, &err));
    struct shape before[8];
    assert_true(g->node_count <= 8);
    for (int i = 0; i < g->node_count; i++)
        before[i] = g->nodes[i]->outputs[0]->shape;
    if (!graph_recompose_transpose(g, &err) || !graph_sort(g, &err) || !graph_verify(g, &err))
        fail_msg("%s", err.message);
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = g->nodes[i];
        if (n->fold == FOLD_NONE && !op_apply(g, n, &err))
            fail_msg("%s", err.message);
        assert_true(shape_equal(&n->outputs[0]->shape, &before[i]));
    }
}

static void expect_permute(const char *name, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const int64_t want[] = {a, b, c, d};
    int64_t dims[4] = {-1, -1, -1, -1};
    const struct node *n = graph_find_node(g, name);
    assert_string_equal(n->op->name, "torch.permute");
    assert_true(node_ints(n, "dims", dims, 4));
    assert_memory_equal(dims, want, sizeof dims);
    assert_ptr_equal(n->inputs[0], x);
    assert_int_equal(n->fold, FOLD_NONE);
}

static void expect_fold(const char *name, enum fold fold, const char *into)
{
    const struct node *n = graph_find_node(g, name);
    assert_string_equal(fold_name(n->fold), fold_name(fold));
    if (into)
        assert_string_equal(n->folded_into->name, into);
    else
        assert_null(n->folded_into);
}

/* Axes 0 1 2 3 become 1 0 2 3, then 1 2 0 3, then, behind a copy, 1 2 3 0. */
static void several_in_a_row_are_one(void **state)
{
    (void)state;
    struct value *v = swapped("two", swapped("one", x, 0, 1), -3, -2);
    join(swapped("three", unary("copy", "torch.Tensor.contiguous", v), 2, 3));
    expect_permute("three", 1, 2, 3, 0);
    expect_fold("one", FOLD_PART, "two");
    expect_fold("two", FOLD_PART, "three");
    expect_fold("copy", FOLD_IDENTITY, NULL);
}

/* Axis i of the second is axis dims[i] of the first. */
static void permutations_are_composed(void **state)
{
    (void)state;
    join(permuted("two", permuted("one", x, 2, 0, -1, 1), 3, 2, 1, 0));
    expect_permute("two", 1, 3, 0, 2);
}

static void a_swap_that_remains_is_a_transpose(void **state)
{
    (void)state;
    join(swapped("two", permuted("one", x, 1, 2, 0, 3), 0, 2));
    const struct node *n = graph_find_node(g, "two");
    assert_string_equal(n->op->name, "torch.Tensor.transpose");
    assert_int_equal(n->attr_count, 2);
    assert_int_equal(node_int(n, "dim0", -1), 1);
    assert_int_equal(node_int(n, "dim1", -1), 2);
    assert_ptr_equal(n->inputs[0], x);
}

static void what_takes_itself_back_has_no_effect(void **state)
{
    (void)state;
    join(unary("relu", "torch.nn.ReLU", swapped("two", swapped("one", x, 1, 3), 3, 1)));
    expect_fold("one", FOLD_PART, "two");
    expect_fold("two", FOLD_IDENTITY, NULL);
    assert_ptr_equal(value_source(graph_find_node(g, "relu")->inputs[0]), x);
}

static void an_output_stays(void **state)
{
    (void)state;
    struct value *v = swapped("one", x, 0, 1);
    assert_true(graph_add_output(g, v, &err));
    join(swapped("two", v, 1, 2));
    expect_permute("two", 1, 2, 0, 3);
    expect_fold("one", FOLD_NONE, NULL);
}

/* Directly, and behind a copy. */
static void what_others_read_stays(void **state)
{
    (void)state;
    struct value *v = swapped("one", x, 0, 1), *w = swapped("first", x, 0, 1);
    assert_true(graph_add_output(g, unary("relu", "torch.nn.ReLU", v), &err));
    struct value *copy = unary("copy", "torch.Tensor.contiguous", w);
    assert_true(graph_add_output(g, unary("relu2", "torch.nn.ReLU", copy), &err));
    assert_true(graph_add_output(g, swapped("second", w, 1, 2), &err));
    join(swapped("two", v, 1, 2));
    expect_permute("two", 1, 2, 0, 3);
    expect_permute("second", 1, 2, 0, 3);
    expect_fold("one", FOLD_NONE, NULL);
    expect_fold("first", FOLD_NONE, NULL);
}

/* The first to be joined does not take the earlier one away from the second. */
static void two_readers_take_the_same_one(void **state)
{
    (void)state;
    struct value *v = swapped("one", x, 0, 1);
    assert_true(graph_add_output(g, swapped("two", v, 1, 2), &err));
    join(permuted("three", v, 0, 2, 3, 1));
    expect_permute("two", 1, 2, 0, 3);
    expect_permute("three", 1, 2, 3, 0);
    expect_fold("one", FOLD_PART, "three");
}

/* A value with a scale of its own exists: what makes it is no part of another operator. */
static void a_scale_between_keeps_both(void **state)
{
    (void)state;
    static const double scale[] = {0.5};
    struct value *v = swapped("one", x, 0, 1);
    v->quant = (struct quant){scale, NULL, 1, 0};
    v->dtype = DT_QINT8;
    struct value *y = swapped("two", v, 1, 2);
    assert_true(graph_add_output(g, y, &err));
    assert_true(graph_recompose_transpose(g, &err));
    expect_fold("one", FOLD_NONE, NULL);
    assert_ptr_equal(graph_find_node(g, "two")->inputs[0], v);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(several_in_a_row_are_one),
        TEST(permutations_are_composed),
        TEST(a_swap_that_remains_is_a_transpose),
        TEST(what_takes_itself_back_has_no_effect),
        TEST(an_output_stays),
        TEST(what_others_read_stays),
        TEST(two_readers_take_the_same_one),
        TEST(a_scale_between_keeps_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
