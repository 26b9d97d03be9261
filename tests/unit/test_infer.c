/* Shape and type inference against what PyTorch does (infer_cases.txt), and what PyTorch does not
 * show: the table itself, unknown extents, hostile numbers, messages, suggestions, MACs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/ops/op.h"
#include "tests/unit/op_case.h"

#define CASE_QUOTA ((size_t)64 << 20)

/* op with attributes "k=v k=[1,2]", inputs "1x3x8x8:float32 …", params "weight=…"; one output */
static struct node *build(struct fixture *f, const char *op, const char *attrs, const char *inputs,
                          const char *params)
{
    char *copy[4];
    const char *from[4] = {op, attrs, inputs, params};
    struct op_case c = {.want_count = 1};
    fixture_init(f, CASE_QUOTA);
    for (int i = 0; i < 4; i++) {
        copy[i] = arena_strdup(&f->arena, from[i], &f->err);
        assert_non_null(copy[i]);
        c.field[i] = copy[i];
    }
    struct node *n = case_build(f->graph, &c, &f->err);
    assert_non_null(n);
    return n;
}

static void refused(const char *op, const char *attrs, const char *inputs, const char *params,
                    const char *words)
{
    struct fixture f;
    struct node *n = build(&f, op, attrs, inputs, params);
    bool ok = op_apply(f.graph, n, &f.err);
    if (ok || !strstr(f.err.message, words) || strcmp(f.err.where, "node") != 0)
        fail_msg("%s %s %s: wanted \"%s\", got %s \"%s\" at \"%s\"", op, attrs, inputs, words,
                 ok ? "success" : "refusal", f.err.message, f.err.where);
    arena_fini(&f.arena);
}

static void gives(const char *op, const char *attrs, const char *inputs, const char *params,
                  const char *shape)
{
    struct fixture f;
    char text[SHAPE_TEXT_MAX];
    struct node *n = build(&f, op, attrs, inputs, params);
    if (!op_apply(f.graph, n, &f.err))
        fail_msg("%s %s %s: refused: %s", op, attrs, inputs, f.err.message);
    if (strcmp(shape_text(&n->outputs[0]->shape, text), shape) != 0)
        fail_msg("%s %s %s: wanted %s, got %s", op, attrs, inputs, shape, text);
    arena_fini(&f.arena);
}

static void test_cases_from_pytorch(void **state)
{
    (void)state;
    static char line[1 << 16], copy[1 << 16];
    int cases = 0, wrong = 0;
    FILE *file = case_open(__FILE__, "infer_cases.txt");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        struct op_case c;
        struct fixture f;
        char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
        memcpy(copy, line, sizeof copy);
        if (!case_cut(line, &c))
            continue;
        cases++;
        fixture_init(&f, CASE_QUOTA);
        struct node *n = case_build(f.graph, &c, &f.err);
        if (!n) {
            print_error("cannot build: %s", copy);
            wrong++;
            arena_fini(&f.arena);
            continue;
        }
        bool ok = op_apply(f.graph, n, &f.err), good = ok != c.want_error;
        if (!ok && good) /* a refusal names the node, the operator and the trouble */
            good = (f.err.code == BPU_BAD_SHAPE || f.err.code == BPU_BAD_MODEL) &&
                   strcmp(f.err.where, "node") == 0 && strstr(f.err.message, n->op->name);
        for (int i = 0; i < c.want_count && good && ok; i++)
            good = shape_equal(&n->outputs[i]->shape, &c.want[i].shape) &&
                   n->outputs[i]->dtype == c.want[i].dtype;
        if (!good) {
            if (wrong++ < 40)
                print_error("%s   got %s %s %s\n", copy, ok ? "" : f.err.message,
                            ok ? shape_text(&n->outputs[0]->shape, ta) : "",
                            ok && n->output_count > 1 ? shape_text(&n->outputs[1]->shape, tb)
                                                      : dtype_name(n->outputs[0]->dtype));
        }
        arena_fini(&f.arena);
    }
    fclose(file);
    assert_int_equal(wrong, 0);
    assert_true(cases > 1000);
}

static void test_table_is_sound(void **state)
{
    (void)state;
    size_t count;
    const struct op *rows = op_table(&count);
    assert_true(count > 118);
    for (size_t i = 0; i < count; i++) {
        const struct op *op = &rows[i];
        assert_non_null(op->attrs);
        assert_non_null(op->infer);
        assert_non_null(op->params);
        assert_true(op->max_inputs < 0 || op->min_inputs <= op->max_inputs);
        assert_ptr_equal(op_find(op->name), op);
        /* A spelling leads to one row only. */
        char *list = strdup(op->aliases), *save = NULL;
        for (char *w = strtok_r(list, " ", &save); w; w = strtok_r(NULL, " ", &save))
            if (op_find(w) != op)
                fail_msg("%s is a spelling of %s and of %s", w, op->name,
                         op_find(w) ? op_find(w)->name : "nothing");
        free(list);
        for (const char *k = op->key; *k; k++)
            assert_true((*k >= 'a' && *k <= 'z') || (*k >= '0' && *k <= '9') || *k == '_');
    }
    assert_string_equal(op_find("aten::_convolution")->name, "torch.nn.Conv2d");
    assert_string_equal(op_find("torch.nn.LayerNorm")->name, "torch.nn.Layernorm");
    assert_string_equal(op_find("torch.Tensor.abs")->key, "abs");
    assert_null(op_find("torch.nn.Conv4d"));
    assert_null(op_find(""));
}

static void test_suggestions(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"torch.nn.Conv2D", "torch.nn.Conv2d"},
        {"torch.nn.RELU", "torch.nn.ReLU"},
        {"nn.MaxPool", "torch.nn.MaxPool2d"},
        {"torch.nn.Convd2", "torch.nn.Conv2d"},
        {"torch.matmull", "torch.matmul"},
        {"torch.nn.functional.interpolat", "torch.nn.functional.interpolate"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *out[5];
        size_t n = op_suggest(pairs[i][0], out, 5);
        bool found = false;
        for (size_t k = 0; k < n; k++)
            found |= strcmp(out[k], pairs[i][1]) == 0;
        if (!found)
            fail_msg("%s does not suggest %s (first of %zu: %s)", pairs[i][0], pairs[i][1], n,
                     n ? out[0] : "-");
    }
    const char *none[3];
    assert_int_equal(op_suggest("my_company::voxel_shuffle_9000", none, 3), 0);
    assert_int_equal(op_suggest("", none, 3), 0);
}

static void test_messages(void **state)
{
    (void)state;
    refused("torch.nn.Conv2d", "kernel_size=33 in_channels=3 out_channels=8", "1x3x5x5:float32", "",
            "input 5 + padding 0 + 0 = 5 < 33");
    refused("torch.nn.Conv2d", "", "1x4x5x5:float32", "weight=8x3x3x3:float32", "4 channels");
    refused("torch.nn.Conv2d", "in_channels=4", "1x3x5x5:float32", "weight=8x3x3x3:float32",
            "in_channels is 4, but the weight of shape 8x3x3x3 says 3");
    refused("torch.nn.Conv2d", "", "1x3x5x5:float32", "", "neither a weight");
    refused("torch.nn.Conv2d", "stride=0", "1x3x5x5:float32", "weight=8x3x3x3:float32",
            "stride is 0");
    refused("torch.nn.MaxPool2d", "kernel_size=-2", "1x3x5x5:float32", "", "kernel_size -2");
    refused("torch.nn.MaxPool2d", "", "1x3x5x5:float32", "", "kernel_size is missing");
    refused("torch.nn.MaxPool2d", "kernel_size=\"big\"", "1x3x5x5:float32", "", "is a string");
    refused("torch.add", "", "2x3:float32 4x3:float32", "", "2x3 and 4x3");
    refused("torch.add", "", "2x3:float32", "", "1 inputs; 2 are needed");
    refused("torch.matmul", "", "2x3:float32 4x3:float32", "", "3 against 4");
    refused("torch.Tensor.reshape", "shape=[5,-1]", "2x3:float32", "", "6 elements");
    refused("torch.Tensor.to", "dtype=\"float99\"", "2x3:float32", "", "float99");
    refused("torch.cat", "dim=1", "2x3:float32 3x3:float32", "", "operand 1 of shape 3x3");
}

static void test_hostile_numbers(void **state)
{
    (void)state;
    refused("torch.nn.ReLU", "", "1x4611686018427387904:float32", "", "2^40");
    refused("torch.nn.ReLU", "", "1048576x1048577:float32", "", "2^40");
    refused("torch.nn.Conv2d", "padding=4611686018427387904", "1x3x5x5:float32",
            "weight=8x3x3x3:float32", "");
    refused("torch.nn.Conv2d", "dilation=9223372036854775807", "1x3x5x5:float32",
            "weight=8x3x3x3:float32", "");
    refused("torch.nn.Conv2d", "groups=9223372036854775807", "1x3x5x5:float32",
            "weight=8x3x3x3:float32", "");
    refused("torch.nn.ConvTranspose2d", "stride=9223372036854775807", "1x3x5x5:float32",
            "weight=3x8x3x3:float32", "");
    refused("torch.nn.MaxPool2d",
            "kernel_size=[3,3] padding=[9223372036854775807,0,9223372036854775807,0]",
            "1x3x5x5:float32", "", "");
    refused("torch.nn.functional.pad", "pad=[9223372036854775807,1]", "3:float32", "", "");
    refused("torch.Tensor.repeat", "repeats=[9223372036854775807]", "3:float32", "", "");
    refused("torch.Tensor.repeat", "repeats=[549755813888]", "3:float32", "", "2^40");
    refused("torch.Tensor.reshape", "shape=[4611686018427387904,4,-1]", "3:float32", "", "");
    refused("torch.nn.functional.interpolate", "scale_factor=1e300", "1x1x3x3:float32", "", "");
    refused("torch.nn.functional.interpolate", "scale_factor=[-2.0,1.0]", "1x1x3x3:float32", "",
            "");
    refused("torch.arange", "", "s:int64={0} s:int64={9223372036854775807} s:int64={1}", "",
            "2^40");
    refused("torch.full", "", "1:int64={-3}", "", "-3");
    refused("torch.nn.PixelShuffle", "upscale_factor=4611686018427387904", "1x4x2x2:float32", "",
            "");
    refused("torch.nn.AvgPool2d", "kernel_size=2 divisor_override=0", "1x3x5x5:float32", "", "");
    gives("torch.Tensor.__getitem__", "starts=[-9223372036854775807] ends=[9223372036854775807]",
          "5:float32", "", "5");
    gives("torch.Tensor.__getitem__",
          "starts=[9223372036854775807] ends=[-9223372036854775807] steps=[-9223372036854775807]",
          "5:float32", "", "1");
    gives("torch.Tensor.__getitem__",
          "starts=[0] ends=[9223372036854775807] steps=[9223372036854775807]", "5:float32", "",
          "1");
}

static void test_beyond_pytorch(void **state)
{
    (void)state;
    gives("torch.nn.Conv2d", "in_channels=3 out_channels=8 kernel_size=3 padding=[1,0,2,0]",
          "1x3x6x6:float32", "", "1x8x7x4");
    gives("torch.nn.Linear", "weight_layout=\"io\"", "2x5:float32", "weight=5x7:float32", "2x7");
    gives("torch.Tensor.size", "start=1 end=-1", "1x2x3x4:float32", "", "2");
    gives("torch.gather_nd", "", "4x5x6:float32 7x2:int64", "", "7x6");
    gives("torch.gather_nd", "batch_dims=1", "4x5x6:float32 4x1:int64", "", "4x6");
    gives("torch.scatter_nd", "", "4x5:float32 3x1:int64 3x5:float32", "", "4x5");
    refused("torch.scatter_nd", "", "4x5:float32 3x1:int64 3x4:float32", "", "3x4");
    gives("torch.index_select", "dim=1", "4x5x6:float32 2x3:int64", "", "4x2x3x6");
    gives("torchvision.ops.RoIAlign", "output_size=[7,7]", "1x16x20x20:float32 50x5:float32", "",
          "50x16x7x7");
    gives("torchvision.ops.nms", "", "50x4:float32 50:float32", "", "?");
    gives("torch.nonzero", "", "4x5:float32", "", "?x2");
    gives("torch.nn.LSTM", "hidden_size=6 separate_directions=True bidirectional=True",
          "9x2x4:float32", "", "9x2x2x6");
    refused("torch.index_select", "dim=0", "4x5:float32 2:int64={0,4}", "", "index 4");
}

/* Unknown shapes are never an error and stay unknown; unknown extents stay where they are. */
static void test_unknown(void **state)
{
    (void)state;
    size_t count;
    const struct op *rows = op_table(&count);
    for (size_t i = 0; i < count; i++) {
        struct fixture f;
        const struct op *op = &rows[i];
        fixture_init(&f, CASE_QUOTA);
        struct node *n = graph_add_node(f.graph, "node", op->name, &f.err);
        assert_non_null(n);
        assert_true(op_bind(n));
        for (const struct op_attr *a = op->attrs; a->name; a++) {
            if (!a->required)
                continue;
            if (a->kind == ATTR_STRING)
                assert_true(node_set_string(f.graph, n, a->name,
                                            strcmp(a->name, "dtype") == 0 ? "float32" : "i->i",
                                            &f.err));
            else
                assert_true(node_set_int(f.graph, n, a->name, 1, &f.err));
        }
        static const char *const sizes[] = {"in_channels",
                                            "out_channels",
                                            "kernel_size",
                                            "in_features",
                                            "out_features",
                                            "hidden_size",
                                            "scale_factor",
                                            "shape",
                                            "size",
                                            "dims",
                                            "repeats",
                                            "pad",
                                            "k"};
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            if (op_attr_find(op, sizes[k]) && !node_attr(n, sizes[k]) &&
                !(strcmp(sizes[k], "size") == 0 && node_attr(n, "scale_factor")) &&
                op->infer != op_find("torch.full")->infer)
                assert_true(strcmp(sizes[k], "pad") == 0
                                ? node_set_ints(f.graph, n, "pad", (int64_t[]){1, 1}, 2, &f.err)
                                : node_set_int(f.graph, n, sizes[k], 1, &f.err));
        for (int k = 0; k < op->min_inputs; k++) {
            struct value *v = graph_add_value(f.graph, NULL, &f.err);
            assert_non_null(v);
            assert_true(graph_add_input(f.graph, v, &f.err));
            v->shape = shape_unknown();
            assert_true(node_add_input(f.graph, n, v, &f.err));
        }
        assert_non_null(node_add_output(f.graph, n, "out", &f.err));
        if (!op_apply(f.graph, n, &f.err))
            fail_msg("%s refuses unknown shapes: %s", op->name, f.err.message);
        if (op->min_inputs > 0)
            assert_false(shape_is_static(&n->outputs[0]->shape) && n->outputs[0]->shape.rank > 0);
        assert_true(op_macs(n) <= 0);
        arena_fini(&f.arena);
    }
    gives("torch.nn.Conv2d", "padding=1", "-1x3x-1x8:float32", "weight=4x3x3x3:float32", "?x4x?x8");
    gives("torch.Tensor.reshape", "shape=[-1,4]", "-1x4:float32", "", "?x4");
    gives("torch.add", "", "-1x3:float32 1x3:float32", "", "?x3");
    gives("torch.cat", "dim=1", "2x-1:float32 2x3:float32", "", "2x?");
    gives("torch.matmul", "", "-1x2x3:float32 3x-1:float32", "", "?x2x?");
    gives("torch.flatten", "start_dim=1", "-1x2x3:float32", "", "?x6");
}

static void test_dtypes_and_scales(void **state)
{
    (void)state;
    static const double scale[] = {0.5}, scales[] = {0.5, 0.25, 2};
    struct fixture f;
    struct node *n = build(&f, "torch.gt", "", "2x3:qint8 2x3:qint8", "");
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(n->outputs[0]->dtype, DT_QBOOL);
    arena_fini(&f.arena);

    n = build(&f, "torch.nn.MaxPool2d", "kernel_size=2", "1x3x4x4:qint8", "");
    n->inputs[0]->quant = (struct quant){.scale = scale, .count = 1};
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(n->outputs[0]->dtype, DT_QINT8);
    assert_int_equal(n->outputs[0]->quant.count, 1);
    assert_ptr_equal(n->outputs[0]->quant.scale, scale);
    arena_fini(&f.arena);

    /* A scale per channel follows its axis. */
    n = build(&f, "torch.permute", "dims=[1,2,0]", "3x4x5:qint8", "");
    n->inputs[0]->quant = (struct quant){.scale = scales, .count = 3, .axis = 0};
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(n->outputs[0]->quant.axis, 2);
    arena_fini(&f.arena);

    /* Different scales do not survive a concatenation; a scale of the output's own is kept. */
    n = build(&f, "torch.cat", "", "3:qint8 4:qint8", "");
    n->inputs[0]->quant = (struct quant){.scale = scale, .count = 1};
    n->inputs[1]->quant = (struct quant){.scale = scales + 1, .count = 1};
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(n->outputs[0]->quant.count, 0);
    n->inputs[1]->quant.scale = scale;
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(n->outputs[0]->quant.count, 1);
    arena_fini(&f.arena);

    /* What the file says of an output's dtype stands. */
    n = build(&f, "torch.nn.Conv2d", "", "1x3x5x5:qint8", "weight=4x3x3x3:qint8");
    n->outputs[0]->dtype = DT_QINT32;
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(n->outputs[0]->dtype, DT_QINT32);
    assert_int_equal(node_int(n, "in_channels", 0), 3);
    assert_int_equal(node_int(n, "out_channels", 0), 4);
    arena_fini(&f.arena);

    n = build(&f, "torch.quantization.QuantStub", "scale=0.125 dtype=\"qint16\"", "1x3:float32",
              "");
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(n->outputs[0]->dtype, DT_QINT16);
    assert_true(n->outputs[0]->quant.scale[0] == 0.125);
    arena_fini(&f.arena);
    refused("torch.quantization.QuantStub", "scale=-1.0", "1x3:float32", "", "scale is -1");
}

static void macs(const char *op, const char *attrs, const char *inputs, const char *params,
                 int64_t want)
{
    struct fixture f;
    struct node *n = build(&f, op, attrs, inputs, params);
    assert_true(op_apply(f.graph, n, &f.err));
    assert_int_equal(op_macs(n), want);
    arena_fini(&f.arena);
}

static void test_macs(void **state)
{
    (void)state;
    macs("torch.nn.Conv2d", "padding=1", "1x3x8x8:float32", "weight=16x3x3x3:float32",
         16 * 64 * 27);
    macs("torch.nn.Conv2d", "groups=4 in_channels=4 out_channels=4 kernel_size=3 padding=1",
         "1x4x8x8:float32", "", 4 * 64 * 9);
    macs("torch.nn.ConvTranspose2d", "stride=2", "1x3x4x4:float32", "weight=3x5x2x2:float32",
         3 * 16 * 5 * 4);
    macs("torch.nn.Linear", "", "2x7x10:float32", "weight=20x10:float32", 2 * 7 * 20 * 10);
    macs("torch.matmul", "", "2x3x4:float32 4x5:float32", "", 2 * 3 * 5 * 4);
    macs("torch.nn.ReLU", "", "2x3:float32", "", 0);
    macs("torch.matmul", "", "2x-1x4:float32 4x5:float32", "", -1);
}

static void test_identity_marks(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const rows[][3] = {
        {"torch.nn.Dropout", "", "i"},
        {"torch.nn.Identity", "", "i"},
        {"torch.Tensor.to", "dtype=\"float64\"", "i"},
        {"torch.Tensor.to", "dtype=\"int32\"", ""},
        {"torch.nn.ReLU", "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct node *n = build(&f, rows[i][0], rows[i][1], "2x3:float32", "");
        assert_true(op_apply(f.graph, n, &f.err));
        assert_int_equal(n->fold, rows[i][2][0] ? FOLD_IDENTITY : FOLD_NONE);
        arena_fini(&f.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_sound),
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_cases_from_pytorch),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_hostile_numbers),
        cmocka_unit_test(test_beyond_pytorch),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_dtypes_and_scales),
        cmocka_unit_test(test_macs),
        cmocka_unit_test(test_identity_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
