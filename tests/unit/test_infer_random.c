/* Any row of the operator table with any operands, attributes and numbers ends in success within
 * the limits or in an error that names the node.  Meant for the sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/ops/op.h"
#include "tests/unit/op_case.h"

#define ROUNDS 300 /* nodes per row */

static uint64_t random_state = 20240601;

static int64_t random_below(int64_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(random_state >> 33) % n;
}

static bool random_tame; /* small numbers only, so that deep paths are reached as well */

static int64_t random_number(void)
{
    static const int64_t hostile[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1,
                                      1LL << 62, -(1LL << 62),  1LL << 40, (1LL << 40) + 1,
                                      1LL << 32, INT32_MAX};
    if (random_tame)
        return random_below(5) - (random_below(4) == 0);
    return random_below(4) ? random_below(9) - 2
                           : hostile[random_below(sizeof hostile / sizeof *hostile)];
}

static bool random_attr(struct graph *g, struct node *n, const struct op_attr *a,
                        struct bpu_error *err)
{
    static const char *const words[] = {"",         "same",    "reflect", "nearest",
                                        "bilinear", "i,j->ij", "...i->",  "float32",
                                        "qint8",    "trunc",   "ij"};
    int64_t ints[6];
    double reals[6];
    int count = (int)random_below(6);
    for (int i = 0; i < 6; i++) {
        ints[i] = random_number();
        reals[i] = random_below(3) ? (double)random_number() : (double)random_below(100) / 16;
    }
    enum attr_kind kind =
        random_tame || random_below(10) ? a->kind : (enum attr_kind)random_below(7);
    switch (kind == ATTR_NONE ? (enum attr_kind)random_below(7) : kind) {
    case ATTR_BOOL: return node_set_bool(g, n, a->name, random_below(2), err);
    case ATTR_INT: return node_set_int(g, n, a->name, ints[0], err);
    case ATTR_FLOAT: return node_set_float(g, n, a->name, reals[0], err);
    case ATTR_STRING:
        return node_set_string(g, n, a->name, words[random_below(sizeof words / sizeof *words)],
                               err);
    case ATTR_INTS:
        return random_below(2) ? node_set_ints(g, n, a->name, ints, count, err)
                               : node_set_int(g, n, a->name, ints[0], err);
    case ATTR_FLOATS: return node_set_floats(g, n, a->name, reals, count, err);
    default: return node_set_none(g, n, a->name, err);
    }
}

static struct value *random_value(struct graph *g, struct bpu_error *err)
{
    static const enum dtype types[] = {DT_FLOAT32, DT_INT64,   DT_INT32,   DT_BOOL,
                                       DT_QINT8,   DT_UNKNOWN, DT_FLOAT16, DT_UINT64};
    struct shape s = {.rank = (int)random_below(6) - (random_below(8) == 0)};
    enum dtype t = types[random_below(8)];
    bool small = random_below(3) == 0;
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = small || random_below(8) ? random_below(5)
                   : random_below(2)        ? -1
                                            : random_number();
    int64_t count = 1;
    for (int i = 0; i < s.rank; i++)
        if (__builtin_mul_overflow(count, s.dim[i], &count))
            count = -1;
    if (s.rank < 0 || !shape_is_static(&s) || count < 0 || count > 4096 || random_below(2) ||
        t == DT_UNKNOWN) {
        struct value *v = graph_add_value(g, NULL, err);
        if (!v || !graph_add_input(g, v, err))
            return NULL;
        v->shape = s;
        v->dtype = t;
        return v;
    }
    size_t bytes = (size_t)count * dtype_size(t);
    unsigned char *data = arena_alloc(g->arena, bytes + 1, err);
    for (size_t i = 1; data && i <= bytes; i++)
        data[i] = random_below(6) ? 0 : (unsigned char)random_below(small ? 4 : 256);
    return data ? graph_add_constant(g, NULL, &s, t, data + 1, bytes, err) : NULL;
}

static void test_any_numbers(void **state)
{
    (void)state;
    size_t count, accepted = 0;
    const struct op *rows = op_table(&count);
    for (size_t i = 0; i < count * ROUNDS; i++) {
        struct fixture f;
        fixture_init(&f, (size_t)256 << 20);
        random_tame = random_below(2);
        const struct op *op = &rows[i % count];
        struct node *n = graph_add_node(f.graph, "node", op->name, &f.err);
        assert_true(n && op_bind(n));
        int inputs = op->min_inputs + (int)random_below(3);
        if (op->max_inputs >= 0 && inputs > op->max_inputs && random_below(10))
            inputs = op->max_inputs;
        for (int k = 0; k < inputs; k++) {
            struct value *v = random_below(20) ? random_value(f.graph, &f.err) : NULL;
            assert_true(node_add_input(f.graph, n, v, &f.err));
        }
        static const char *const names[] = {"weight", "bias", "running_mean", "weight_hh"};
        for (int k = 0; k < 4 && *op->params && random_below(2); k++) {
            struct value *v = random_value(f.graph, &f.err);
            assert_true(v && node_add_param(f.graph, n, names[k], v, &f.err));
        }
        for (const struct op_attr *a = op->attrs; a->name; a++)
            if (a->required ? random_below(20) : random_below(2))
                assert_true(random_attr(f.graph, n, a, &f.err));
        for (int64_t k = random_below(3); k >= 0; k--)
            assert_non_null(node_add_output(f.graph, n, NULL, &f.err));
        if (random_below(8) == 0)
            n->origin.source_op = "onnx:X";
        bool ok = op_apply(f.graph, n, &f.err);
        if (ok) {
            accepted++;
            for (int k = 0; k < n->output_count; k++) {
                const struct value *v = n->outputs[k];
                int64_t elements = shape_elements(&v->shape);
                assert_true(!shape_is_static(&v->shape) ||
                            (elements >= 0 && elements <= 1LL << 40));
                if (v->constant)
                    assert_int_equal(v->constant->bytes, (size_t)elements * dtype_size(v->dtype));
            }
            (void)op_macs(n);
        } else if (f.err.code == BPU_NONE || strcmp(f.err.where, "node") != 0) {
            fail_msg("%s fails without saying where: %s", op->name, f.err.message);
        }
        arena_fini(&f.arena);
    }
    assert_true(accepted > count * 20);
    print_message("           %zu of %zu random nodes were accepted\n", accepted, count * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
