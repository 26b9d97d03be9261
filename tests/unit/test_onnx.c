/* The ONNX reader: what must be refused and how, damage at every byte, allocation failures, and small networks read
 * exactly. */
#include "core/import/import.h"
#include "core/import/onnx.h"
#include "core/ops/op.h"
#include "tests/unit/fixture.h"

#define FIXTURES "tests/fixtures/"

/* option: value of input.x, or NULL. */
static struct graph *read_with(struct arena *a, const unsigned char *data, size_t size,
                               const char *option, struct bpu_error *err)
{
    struct import_option o = {"input.x", option};
    struct import_request req = {
        .data = data, .size = size, .name = "test", .options = &o, .option_count = option != NULL};
    memset(err, 0, sizeof *err);
    return import_model(a, &req, err);
}

static struct graph *read_bytes(struct arena *a, const unsigned char *data, size_t size,
                                struct bpu_error *err)
{
    return read_with(a, data, size, NULL, err);
}

static void bad_files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum bpu_code code;
        const char *says, *where;
    } cases[] = {
        {"trunc.onnx", BPU_BAD_MODEL, "bytes long, but only", "byte "},
        {"nest3000.onnx", BPU_BAD_MODEL, "nested more than 64 levels", "byte "},
        {"lenet_ext.onnx", BPU_UNSUPPORTED, "not part of the upload", "tensor"},
        {"legacy_sd.pth", BPU_NOT_A_MODEL, "legacy", "byte 0"},
        {"sd_only.pt", BPU_UNSUPPORTED, "weights only", "member"},
        {"pickled_module.pt", BPU_UNSUPPORTED, "pickled Python object", "member"},
        {"lenet_lite.ptl", BPU_UNSUPPORTED, "mobile (lite)", "member"},
        {"script_ctrlflow.pt", BPU_UNSUPPORTED, "\"if\"", "line 11"},
        {"unknown_op.onnx", BPU_SHAPE_NEEDED, "input \"x\" open (?x1x28x28)", "input \"x\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURES "bad/%s", cases[i].file);
        struct bytes b = slurp(path);
        struct arena a;
        struct bpu_error err;
        arena_init(&a, 256 << 20);
        assert_null(read_bytes(&a, b.data, b.size, &err));
        if (err.code != cases[i].code || !strstr(err.message, cases[i].says) ||
            !strstr(err.where, cases[i].where) || !err.hint[0])
            fail_msg("%s: [%s] %s: %s (hint: %s)", cases[i].file, error_code_name(err.code),
                     err.where, err.message, err.hint);
        arena_fini(&a);
        free(b.data);
    }
}

static void an_unknown_operator_stays_in_the_graph(void **state)
{
    (void)state;
    struct bytes b = slurp(FIXTURES "bad/unknown_op.onnx");
    struct arena a;
    struct bpu_error err;
    arena_init(&a, 256 << 20);
    struct graph *g = read_with(&a, b.data, b.size, "1x1x28x28", &err);
    if (!g)
        fail_msg("%s", err.message);
    struct node *n = graph_find_node(g, "/conv0/conv0.0/Conv");
    assert_non_null(n);
    assert_null(n->op);
    assert_string_equal(n->op_name, "onnx:NoSuchOp");
    arena_fini(&a);
    free(b.data);
}

static void lenet_is_read_exactly(void **state)
{
    (void)state;
    struct bytes b = slurp(FIXTURES "lenet_float.onnx");
    struct arena a;
    struct bpu_error err;
    arena_init(&a, 256 << 20);
    struct graph *g = read_bytes(&a, b.data, b.size, &err);
    if (!g)
        fail_msg("%s", err.message);
    static const struct {
        const char *op;
        int64_t out[4];
    } live[] = {
        {"torch.nn.Conv2d", {1, 10, 24, 24}},    {"torch.nn.ReLU", {1, 10, 24, 24}},
        {"torch.nn.MaxPool2d", {1, 10, 12, 12}}, {"torch.nn.Conv2d", {1, 20, 8, 8}},
        {"torch.nn.ReLU", {1, 20, 8, 8}},        {"torch.nn.AvgPool2d", {1, 20, 1, 1}},
        {"torch.nn.Conv2d", {1, 10, 1, 1}},
    };
    size_t k = 0;
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = g->nodes[i];
        if (n->fold != FOLD_NONE)
            continue;
        assert_true(k < sizeof live / sizeof live[0]);
        assert_string_equal(n->op_name, live[k].op);
        struct shape want = shape_of(4, live[k].out);
        assert_true(shape_equal(&n->outputs[0]->shape, &want));
        k++;
    }
    assert_int_equal(k, sizeof live / sizeof live[0]);
    /* Weights are referenced in the file, not copied. */
    struct value *w = node_param(g->nodes[0], "weight");
    assert_true(w->constant->data > b.data && w->constant->data < b.data + b.size);
    arena_fini(&a);
    free(b.data);
}

/* Every prefix is refused; no prefix crashes (sanitizers watch). */
static void every_truncation_is_an_error(void **state)
{
    (void)state;
    struct bytes b = slurp(FIXTURES "lenet_float.onnx");
    for (size_t n = 0; n < b.size; n += n < 600 ? 1 : 97) {
        unsigned char *cut = malloc(n ? n : 1); /* so that reading past the end is seen */
        memcpy(cut, b.data, n);
        struct arena a;
        struct bpu_error err;
        arena_init(&a, 64 << 20);
        assert_null(read_bytes(&a, cut, n, &err));
        assert_int_not_equal(err.code, BPU_NONE);
        assert_int_not_equal(err.code, BPU_SERVER);
        assert_true(err.message[0]);
        arena_fini(&a);
        free(cut);
    }
    free(b.data);
}

/* Damage at random: any answer but a crash, a broken graph or a fault that is called ours. */
static void damaged_bytes_never_break_the_reader(void **state)
{
    (void)state;
    static const char *const files[] = {FIXTURES "lenet_float.onnx", FIXTURES "lenet_qat_s8.onnx"};
    uint64_t seed = 88172645463325252u;
    for (size_t f = 0; f < 2; f++) {
        struct bytes b = slurp(files[f]);
        unsigned char *copy = malloc(b.size);
        for (int round = 0; round < 1500; round++) {
            memcpy(copy, b.data, b.size);
            for (int hits = 0; hits < 1 + round % 4; hits++) {
                seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
                /* Structure stands at the beginning, end, and between the weights. */
                size_t at = round % 2 ? seed % b.size : seed % 1500;
                copy[at % b.size] = (unsigned char)(seed >> 40);
            }
            struct arena a;
            struct bpu_error err;
            arena_init(&a, 64 << 20);
            struct graph *g = read_bytes(&a, copy, b.size, &err);
            if (!g) {
                assert_int_not_equal(err.code, BPU_NONE);
                if (err.code == BPU_SERVER)
                    fail_msg("%s: %s", err.where, err.message);
            }
            arena_fini(&a);
        }
        free(copy);
        free(b.data);
    }
}

/* The Nth allocation fails, for every N: a clean error each time. */
static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    static const char *const files[] = {FIXTURES "lenet_float.onnx", FIXTURES "lenet_qat_s8.onnx"};
    for (size_t f = 0; f < 2; f++) {
        struct bytes b = slurp(files[f]);
        long n = 0;
        for (bool done = false; !done; n += n < 200 ? 1 : 7) {
            struct arena a;
            struct bpu_error err;
            arena_init(&a, 64 << 20);
            a.fail_after = n;
            struct graph *g = read_bytes(&a, b.data, b.size, &err);
            done = g != NULL;
            if (!g)
                assert_int_equal(err.code, BPU_NO_MEMORY);
            arena_fini(&a);
            assert_true(n < 100000);
        }
        assert_true(n > 100);
        free(b.data);
    }
}

static void formats_are_told_by_content(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        size_t size;
        const char *format; /* NULL: none */
    } cases[] = {
        {"Buy milk.\n", 10, NULL},
        {"", 0, NULL},
        {"\x08\x07\x12\x07pytorch\x1a\x06" "1.13.0:", 19, "onnx"},
        {" \n{\"format\"", 11, "graph-json"},
        {"\xEF\xBB\xBF{}", 5, "graph-json"},
        {"PK\x03\x04", 4, "torchscript"},
        {"\x89PNG\r\n\x1a\n", 8, NULL},
        {"\x80\x02}q\x00.", 6, NULL},
        {"\0\0\0\0\0\0\0\0", 8, NULL},
        {"\x7f" "ELF\x02\x01\x01", 7, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *format = import_detect(cases[i].head, cases[i].size);
        if (format != cases[i].format && (!format || !cases[i].format ||
                                          strcmp(format, cases[i].format) != 0))
            fail_msg("case %zu is taken for %s", i, format ? format : "nothing");
    }
}

static void rows_are_in_order(void **state)
{
    (void)state;
    /* bsearch finds a row only if its neighbours are in order; ask for all that exporters write. */
    static const char *const names[] = {
        "Abs", "Add", "And", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Celu",
        "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvInteger", "ConvTranspose",
        "CumSum", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
        "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Einsum", "Elu", "Equal", "Erf",
        "Exp", "Expand", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gelu",
        "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GridSample",
        "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN", "LSTM",
        "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul",
        "Max", "MaxPool", "Min", "Mish", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or",
        "PRelu", "Pad", "Pow", "QuantizeLinear", "RNN", "Range", "Reciprocal", "ReduceL1",
        "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
        "ReduceSum", "Relu", "Reshape", "Resize", "RoiAlign", "Round", "ScatterElements",
        "ScatterND", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax",
        "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tan",
        "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample",
        "Where", "Xor",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct onnx_row *row = onnx_row_find(names[i]);
        if (!row)
            fail_msg("%s is not found", names[i]);
        size_t dims = row->torch ? strlen(row->torch) : 0;
        bool family = row->adapt && dims && (strstr(row->torch, "Pool") != NULL);
        if (row->torch && !family && !op_find(row->torch))
            fail_msg("%s maps to %s, which is no operator", names[i], row->torch);
    }
    assert_null(onnx_row_find("NoSuchOp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused_by_name),
        cmocka_unit_test(an_unknown_operator_stays_in_the_graph),
        cmocka_unit_test(lenet_is_read_exactly),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(damaged_bytes_never_break_the_reader),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(formats_are_told_by_content),
        cmocka_unit_test(rows_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
