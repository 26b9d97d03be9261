/* base and ir: arena, buf, names, shapes, order, verifier, text form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/table.h"
#include "core/ir/graph.h"

static struct arena arena;
static struct bpu_error err;

static int setup(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    arena_init(&arena, 64 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static void arena_keeps_its_quota(void **state)
{
    (void)state;
    struct arena small;
    arena_init(&small, 1 << 20);
    size_t taken = 0;
    while (arena_alloc(&small, 1000, &err))
        taken += 1000;
    assert_int_equal(err.code, BPU_NO_MEMORY);
    assert_true(taken > 500000 && taken < 1 << 20);
    arena_fini(&small);
}

static void arena_refuses_overflow(void **state)
{
    (void)state;
    assert_null(arena_alloc_array(&arena, SIZE_MAX / 2, 16, &err));
    assert_int_equal(err.code, BPU_NO_MEMORY);
}

static void arena_memory_is_zero_after_rewind(void **state)
{
    (void)state;
    struct arena_mark mark = arena_mark(&arena);
    unsigned char *p = arena_alloc(&arena, 4096, &err);
    memset(p, 0xAA, 4096);
    arena_rewind(&arena, mark);
    p = arena_alloc(&arena, 4096, &err);
    for (int i = 0; i < 4096; i++)
        assert_int_equal(p[i], 0);
}

static void buf_stops_at_its_cap(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_puts(&b, "12345");
    assert_true(buf_ok(&b, &err));
    buf_puts(&b, "678901");
    assert_false(buf_ok(&b, &err));
    assert_string_equal(buf_str(&b), "12345");
    buf_fini(&b);
}

static void error_text_stays_utf8_when_cut(void **state)
{
    (void)state;
    char text[600];
    memset(text, 'x', sizeof text);
    text[sizeof(err.message) - 2] = '\xC3'; /* its second byte would be cut off */
    text[sizeof(err.message) - 1] = '\xA4';
    text[599] = '\0';
    error_set(&err, BPU_USAGE, NULL, "%s", text);
    size_t n = strlen(err.message);
    assert_int_equal(err.message[n - 1], 'x');
}

static void names_are_made_unique(void **state)
{
    (void)state;
    struct graph *g = graph_new(&arena, "g", "test", &err);
    assert_string_equal(graph_add_value(g, "x", &err)->name, "x");
    assert_string_equal(graph_add_value(g, "x", &err)->name, "x.1");
    assert_string_equal(graph_add_value(g, "x", &err)->name, "x.2");
    assert_string_equal(graph_add_value(g, NULL, &err)->name, "value.3");
    for (int i = 0; i < 5000; i++)
        assert_non_null(graph_add_value(g, "x", &err));
    assert_int_equal(g->value_count, 5004);
}

static void shapes_as_text(void **state)
{
    (void)state;
    char t[SHAPE_TEXT_MAX];
    struct shape s = shape_of(3, (int64_t[]){1, -1, 7});
    assert_string_equal(shape_text(&s, t), "1x?x7");
    assert_int_equal(shape_elements(&s), -1);
    s = shape_of(2, (int64_t[]){INT64_MAX, 3});
    assert_int_equal(shape_elements(&s), -1);
    s = shape_of(3, (int64_t[]){INT64_MAX, 3, 0});
    assert_int_equal(shape_elements(&s), 0);
}

/* x → a → b → y, added in the wrong order. */
static struct graph *backwards(struct node **first)
{
    struct graph *g = graph_new(&arena, "g", "test", &err);
    struct value *x = graph_add_value(g, "x", &err);
    assert_true(graph_add_input(g, x, &err));
    struct node *b = graph_add_node(g, "b", "torch.exp", &err);
    struct node *a = graph_add_node(g, "a", "torch.abs", &err);
    struct value *m = node_add_output(g, a, "m", &err);
    assert_true(node_add_input(g, a, x, &err));
    assert_true(node_add_input(g, b, m, &err));
    struct value *y = node_add_output(g, b, "y", &err);
    assert_true(graph_add_output(g, y, &err));
    *first = a;
    return g;
}

static void sort_orders_nodes(void **state)
{
    (void)state;
    struct node *a;
    struct graph *g = backwards(&a);
    assert_false(graph_verify(g, &err));
    memset(&err, 0, sizeof err);
    assert_true(graph_sort(g, &err));
    assert_ptr_equal(g->nodes[0], a);
    assert_true(graph_verify(g, &err));
}

static void sort_names_a_cycle(void **state)
{
    (void)state;
    struct node *a;
    struct graph *g = backwards(&a);
    assert_true(node_add_input(g, a, graph_find_value(g, "y"), &err));
    assert_false(graph_sort(g, &err));
    assert_int_equal(err.code, BPU_BAD_MODEL);
    assert_non_null(strstr(err.message, "cycle"));
}

static void verify_finds_damage(void **state)
{
    (void)state;
    struct node *a;
    struct graph *g = backwards(&a);
    assert_true(graph_sort(g, &err));
    struct value *m = graph_find_value(g, "m");
    double scale = -1;
    m->quant = (struct quant){.scale = &scale, .count = 1};
    assert_false(graph_verify(g, &err));
    memset(&err, 0, sizeof err);
    m->quant.count = 0;
    m->shape.rank = SHAPE_MAX_RANK + 1;
    assert_false(graph_verify(g, &err));
    memset(&err, 0, sizeof err);
    m->shape.rank = -1;
    m->producer = NULL;
    assert_false(graph_verify(g, &err));
}

static void text_form_reads_back(void **state)
{
    (void)state;
    struct node *a;
    struct graph *g = backwards(&a);
    assert_true(graph_sort(g, &err));
    static const float weight[2] = {.1f, -3e-7f};
    static const int64_t list[3] = {-1, 2, INT64_MAX};
    static const double scale[2] = {.1, 1. / 3};
    static const int64_t zero[2] = {0, 12};
    struct shape two = shape_of(1, (int64_t[]){2}), three = shape_of(1, (int64_t[]){3});
    struct value *w = graph_add_constant(g, "w \"quoted\"", &two, DT_FLOAT32, weight, 8, &err);
    w->quant = (struct quant){.scale = scale, .zero_point = zero, .count = 2, .axis = 0};
    struct value *i = graph_add_constant(g, "i", &three, DT_INT64, list, 24, &err);
    static const uint64_t large[2] = {UINT64_MAX, (uint64_t)1 << 63};
    assert_non_null(graph_add_constant(g, "u", &two, DT_UINT64, large, 16, &err));
    assert_true(node_add_param(g, a, "weight", w, &err) && node_add_input(g, a, i, &err) &&
                node_add_input(g, a, NULL, &err));
    assert_true(node_set_ints(g, a, "stride", list, 2, &err) &&
                node_set_float(g, a, "eps", 1, &err) && node_set_string(g, a, "s", "a,b}", &err) &&
                node_set_none(g, a, "n", &err) && node_set_bool(g, a, "b", true, &err) &&
                node_set_floats(g, a, "f", scale, 2, &err) &&
                node_set_floats(g, a, "inf", (double[]){-1. / 0.}, 1, &err));
    a->origin = (struct origin){.source_op = "onnx:Abs", .scope = "m.0", .line = 3, .byte = 77};
    a->fold = FOLD_BATCH_NORM;
    a->folded_into = g->nodes[1];
    assert_true(graph_add_note(g, &err, "a %s", "note"));
    struct buf first, second;
    buf_init(&first, BUF_DEFAULT_CAP);
    buf_init(&second, BUF_DEFAULT_CAP);
    graph_dump(g, &first);
    struct graph *back = graph_parse(&arena, buf_str(&first), &err);
    if (!back)
        fail_msg("%s: %s in\n%s", err.where, err.message, buf_str(&first));
    graph_dump(back, &second);
    assert_string_equal(buf_str(&first), buf_str(&second));
    int64_t k;
    assert_true(constant_int(graph_find_value(back, "i"), 2, &k));
    assert_int_equal(k, INT64_MAX);
    assert_non_null(strstr(buf_str(&first), "[18446744073709551615,9223372036854775808]"));
    assert_memory_equal(graph_find_value(back, "u")->constant->data, large, sizeof large);
    buf_fini(&first);
    buf_fini(&second);
}

static void text_form_names_the_line(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "",
        "graph",
        "graph \"g\" test opset=0\nvalue \"x\" qint9 1\n",
        "graph \"g\" test opset=0\nvalue \"x\" qint8 1x\n",
        "graph \"g\" test opset=0\nvalue \"x\" int64 2 const=[1]\n",
        "graph \"g\" test opset=0\nnode \"n\" \"torch.abs\" in=[\"x\"] out=[]\n",
        "graph \"g\" test opset=0\nvalue \"x\" qint8 1 input\nvalue \"x\" qint8 1\n",
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        memset(&err, 0, sizeof err);
        assert_null(graph_parse(&arena, broken[i], &err));
        assert_int_equal(err.code, BPU_BAD_MODEL);
        assert_non_null(strstr(err.where, "line"));
    }
}

static void table_holds_many(void **state)
{
    (void)state;
    struct name_table *t = name_table_new(&arena, &err);
    for (int i = 0; i < 20000; i++) {
        char *name = arena_printf(&arena, &err, "n%d", i);
        assert_true(name_table_put(t, name, name, &err));
    }
    assert_string_equal((char *)name_table_find(t, "n19999"), "n19999");
    assert_null(name_table_find(t, "n20000"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arena_keeps_its_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(arena_refuses_overflow, setup, teardown),
        cmocka_unit_test_setup_teardown(arena_memory_is_zero_after_rewind, setup, teardown),
        cmocka_unit_test_setup_teardown(buf_stops_at_its_cap, setup, teardown),
        cmocka_unit_test_setup_teardown(error_text_stays_utf8_when_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_made_unique, setup, teardown),
        cmocka_unit_test_setup_teardown(shapes_as_text, setup, teardown),
        cmocka_unit_test_setup_teardown(sort_orders_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(sort_names_a_cycle, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_finds_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(text_form_reads_back, setup, teardown),
        cmocka_unit_test_setup_teardown(text_form_names_the_line, setup, teardown),
        cmocka_unit_test_setup_teardown(table_holds_many, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
