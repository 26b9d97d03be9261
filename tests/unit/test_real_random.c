/* Any kernel with any operands, attributes and content that inference accepts ends in a result or
 * in an error that names the node: no access beside a tensor, no endless work.  Meant for the
 * sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/run/real.h"
#include "tests/unit/kernel_case.h"

#define ROUNDS 250 /* nodes per row */
#define MOST_ELEMENTS 4096

static uint64_t seed = 20260704;

static int64_t below(int64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(seed >> 33) % n;
}

static int64_t number(void)
{
    static const int64_t hostile[] = {INT64_MIN, INT64_MAX,    1LL << 40,
                                      1LL << 32, -(1LL << 40), 1000};
    return below(30) ? below(6) - (below(3) == 0) : hostile[below(6)];
}

static void random_attr(struct kernel_case *k, const struct op_attr *a)
{
    static const char *const words[] = {
        "same",    "reflect", "circular", "nearest",   "bilinear", "bicubic",    "area",
        "i,j->ij", "ij->ji",  "...i->",   "float32",   "int32",    "bool",       "trunc",
        "ij",      "ii->i",   "DCR",      "add",       "relu",     "half_pixel", "zeros",
        "io",      "max",     "constant", "replicate", "border",   "reflection", "linear"};
    struct graph *g = k->graph;
    struct node *n = k->node;
    int64_t ints[6];
    double reals[6];
    for (int i = 0; i < 6; i++) {
        ints[i] = number();
        reals[i] = below(3) ? (double)number() : (double)below(100) / 16;
    }
    enum attr_kind kind = a->kind == ATTR_NONE ? (enum attr_kind)below(7) : a->kind;
    int count = (int)below(5);
    bool ok = true;
    switch (kind) {
    case ATTR_BOOL: ok = node_set_bool(g, n, a->name, below(2), &k->err); break;
    case ATTR_INT: ok = node_set_int(g, n, a->name, ints[0], &k->err); break;
    case ATTR_FLOAT: ok = node_set_float(g, n, a->name, reals[0], &k->err); break;
    case ATTR_STRING:
        ok = node_set_string(g, n, a->name, words[below(sizeof words / sizeof *words)], &k->err);
        break;
    case ATTR_INTS:
        ok = below(2) ? node_set_ints(g, n, a->name, ints, count, &k->err)
                      : node_set_int(g, n, a->name, ints[0], &k->err);
        break;
    case ATTR_FLOATS: ok = node_set_floats(g, n, a->name, reals, count, &k->err); break;
    default: ok = node_set_none(g, n, a->name, &k->err);
    }
    assert_true(ok);
}

static struct shape random_shape(const struct shape *like)
{
    struct shape s = {.rank = (int)below(6)};
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = below(25) ? 1 + below(5) : 0;
    if (like && below(3))
        s = *like;
    if (like && s.rank > 0 && below(4) == 0)
        s.dim[below(s.rank)] = 1 + below(4);
    return s;
}

static struct value *random_value(struct kernel_case *k, const struct shape *like, bool quantized)
{
    static const enum dtype types[] = {DT_FLOAT32, DT_FLOAT32, DT_FLOAT32, DT_INT64, DT_INT32,
                                       DT_BOOL,    DT_UINT8,   DT_FLOAT16, DT_UINT64},
                            quants[] = {DT_QINT8, DT_QINT8, DT_QUINT8, DT_QINT16};
    static const double scales[] = {.1, .03125, 7};
    static const int64_t zeros[] = {0, 3, -2};
    struct value *v = graph_add_value(k->graph, NULL, &k->err);
    assert_non_null(v);
    v->shape = random_shape(like);
    v->dtype = quantized && below(8) ? quants[below(4)] : types[below(9)];
    if (dtype_is_quantized(v->dtype))
        v->quant = (struct quant){.scale = &scales[below(3)],
                                  .zero_point = v->dtype == DT_QUINT8 ? &zeros[below(3)] : NULL,
                                  .count = 1};
    return v;
}

/* Small numbers that may be indices, and among the real ones what is none. */
static void random_content(struct tensor *t)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1e30, -1e30, -0., 1e-40};
    int64_t count = real_count(t);
    for (int64_t i = 0; i < count; i++)
        if (dtype_is_float(t->dtype) && below(12) == 0)
            tensor_store_real(t, i, odd[below(7)]);
        else if (dtype_is_float(t->dtype))
            tensor_store_real(t, i, (double)below(2000) / 300 - 3);
        else
            tensor_store_int(t, i, below(20) ? below(5) - 1 : number());
}

static void random_params(struct kernel_case *k, const struct shape *x, bool quantized)
{
    static const char *const recurrent[] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0",
                                            "bias_hh_l0",   "weight_ih",    "weight_hh",
                                            "bias",         "peephole"};
    const char *names = k->node->op->params;
    struct shape s = {.rank = 1, .dim = {x->rank > 1 ? x->dim[1] : 1}}, w = *x;
    for (int i = 0; *names == '*' && i < 8; i++)
        if (below(3)) {
            w = (struct shape){.rank = 2, .dim = {4 * below(4), 1 + below(4)}};
            assert_true(node_add_param(k->graph, k->node, recurrent[i],
                                       random_value(k, &w, quantized && below(2)), &k->err));
        }
    while (*names && *names != '*') {
        char name[64];
        size_t length = strcspn(names, " ");
        snprintf(name, sizeof name, "%.*s", (int)length, names);
        names += length + (names[length] == ' ');
        bool matrix = strcmp(name, "weight") == 0 && below(2);
        if (matrix && w.rank > 1 && below(3)) /* often the right number of input channels */
            w.dim[0] = 1 + below(4);
        if (below(4))
            assert_true(node_add_param(k->graph, k->node, name,
                                       random_value(k, matrix ? &w : &s, quantized && below(2)),
                                       &k->err));
    }
}

static bool affordable(const struct kernel_case *k)
{
    const struct node *n = k->node;
    for (int i = 0; i < n->input_count + n->output_count + n->param_count; i++) {
        const struct value *v = i < n->input_count ? n->inputs[i]
                                : i < n->input_count + n->output_count
                                    ? n->outputs[i - n->input_count]
                                    : n->params[i - n->input_count - n->output_count].value;
        int64_t count = v ? shape_elements(&v->shape) : 0;
        if (count < 0 || count > MOST_ELEMENTS || (v && v->dtype == DT_UNKNOWN))
            return false;
    }
    return true;
}

/* True if a kernel ran to its end. */
static bool round_of(const struct op *op, bool quantized)
{
    struct kernel_case k;
    bool ran = false;
    kernel_case_init(&k, op->name);
    struct node *n = k.node;
    int inputs = op->min_inputs + (int)below(3);
    if (op->max_inputs >= 0 && inputs > op->max_inputs)
        inputs = op->max_inputs;
    struct shape first = {.rank = 0};
    for (int i = 0; i < inputs; i++) {
        struct value *v =
            i < op->min_inputs || below(8) ? random_value(&k, i ? &first : NULL, quantized) : NULL;
        first = i == 0 && v ? v->shape : first;
        assert_true(node_add_input(k.graph, n, v, &k.err));
    }
    random_params(&k, &first, quantized);
    for (const struct op_attr *a = op->attrs; a->name; a++)
        if (a->required ? below(30) : below(2))
            random_attr(&k, a);
    for (int64_t i = op->outputs > 0 ? op->outputs : 1 + below(3); i > 0; i--)
        assert_non_null(node_add_output(k.graph, n, NULL, &k.err));
    if (below(6) == 0)
        n->origin.source_op = "onnx:X";
    if (op_apply(k.graph, n, &k.err) && affordable(&k)) {
        kernel_case_tensors(&k);
        for (int i = 0; i < n->input_count; i++)
            if (n->inputs[i])
                random_content(&k.in_tensors[i]);
        for (int i = 0; i < n->param_count; i++)
            random_content(&k.param_tensors[i]);
        static const double scale = .5;
        for (int i = 0; i < n->output_count; i++) {
            if (dtype_is_quantized(k.out_tensors[i].dtype) && k.out_tensors[i].quant.count == 0)
                k.out_tensors[i].quant = (struct quant){.scale = &scale, .count = 1};
            if (i > 0 && below(4) == 0)
                k.out[i] = NULL; /* nobody reads it */
        }
        kernel_fn *fn = kernel_is_fixed(n) ? kernel_of(n)->fixed : kernel_of(n)->real;
        ran = fn && fn(&k.call, &k.err);
        if (fn && !ran && k.err.code == BPU_NONE)
            fail_msg("%s fails without saying why", op->name);
    }
    kernel_case_fini(&k);
    return ran;
}

static void all_rows(bool quantized, size_t least)
{
    size_t count, rows_run = 0, ran = 0;
    const struct op *rows = op_table(&count);
    for (size_t i = 0; i < count; i++) {
        size_t before = ran;
        for (int r = 0; r < ROUNDS; r++)
            ran += round_of(&rows[i], quantized);
        rows_run += ran > before;
    }
    print_message("           %zu nodes of %zu rows ran\n", ran, rows_run);
    assert_true(rows_run >= least);
}

static void test_real(void **state)
{
    (void)state;
    all_rows(false, 190);
}

static void test_fixed(void **state)
{
    (void)state;
    all_rows(true, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_real), cmocka_unit_test(test_fixed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
