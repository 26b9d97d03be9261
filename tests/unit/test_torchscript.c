/* The TorchScript reader: networks read exactly, archives that are something else refused by name,
 * hand-made pickles and code at their bounds, damage at every place, allocation failures. */
#include "core/import/import.h"
#include "core/import/torchscript.h"
#include "core/ops/op.h"
#include "tests/unit/fixture.h"

#define FIXTURES "tests/fixtures/torchscript/"

/* The options of a fixture: lines of key=value, cut in place. */
struct options {
    struct import_option list[4];
    size_t count;
    char *text;
};

static struct options read_options(const char *name)
{
    struct options o = {0};
    char path[300];
    snprintf(path, sizeof path, FIXTURES "%s.options", name);
    o.text = (char *)slurp(path).data;
    for (char *line = strtok(o.text, "\n"); line; line = strtok(NULL, "\n")) {
        char *equals = strchr(line, '=');
        assert_true(equals && o.count < 4);
        *equals = '\0';
        o.list[o.count++] = (struct import_option){line, equals + 1};
    }
    return o;
}

static struct graph *read_with(struct arena *a, const struct bytes *b, const struct options *o,
                               struct bpu_error *err)
{
    struct import_request req = {.data = b->data, .size = b->size, .name = "test"};
    if (o) {
        req.options = o->list;
        req.option_count = o->count;
    }
    memset(err, 0, sizeof *err);
    return import_model(a, &req, err);
}

/* A fixture as a graph; fails the test if it cannot be read. */
struct fixture {
    struct bytes bytes;
    struct options options;
    struct arena arena;
    struct graph *graph;
};

static void open_fixture(struct fixture *f, const char *name)
{
    char path[300];
    struct bpu_error err;
    snprintf(path, sizeof path, FIXTURES "%s.pt", name);
    f->bytes = slurp(path);
    f->options = read_options(name);
    arena_init(&f->arena, 256 << 20);
    f->graph = read_with(&f->arena, &f->bytes, &f->options, &err);
    if (!f->graph)
        fail_msg("%s: %s: %s (%s)", name, err.where, err.message, err.hint);
}

static void close_fixture(struct fixture *f)
{
    arena_fini(&f->arena);
    free(f->bytes.data);
    free(f->options.text);
}

/* ── networks ── */

static const char *const networks[] = {"conv",
                                       "conv_script",
                                       "frozen",
                                       "layers",
                                       "moves",
                                       "arithmetic",
                                       "mask",
                                       "tied",
                                       "quantized",
                                       "quantized_script",
                                       "quantized_per_channel",
                                       "packed",
                                       "branches",
                                       "recurrent",
                                       "attention",
                                       "attention_parts",
                                       "outputs",
                                       "training"};
enum { NETWORKS = sizeof networks / sizeof networks[0] };

static void output_shapes_are_those_of_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < NETWORKS; i++) {
        struct fixture f;
        char path[300], text[SHAPE_TEXT_MAX];
        open_fixture(&f, networks[i]);
        snprintf(path, sizeof path, FIXTURES "%s.outputs", networks[i]);
        struct bytes want = slurp(path);
        int n = 0;
        for (char *line = strtok((char *)want.data, "\n"); line; line = strtok(NULL, "\n"), n++) {
            if (n >= f.graph->output_count)
                fail_msg("%s has only %d outputs", networks[i], f.graph->output_count);
            shape_text(&f.graph->outputs[n]->shape, text);
            if (strcmp(text, line) != 0 && strcmp(networks[i], "training") != 0)
                fail_msg("%s: output %d is %s, not %s", networks[i], n, text, line);
        }
        assert_int_equal(n, f.graph->output_count);
        free(want.data);
        close_fixture(&f);
    }
}

/* The live nodes of a fixture, in order. */
static void expect_ops(const char *name, const char *const *ops)
{
    struct fixture f;
    open_fixture(&f, name);
    for (int i = 0; i < f.graph->node_count; i++) {
        const struct node *n = f.graph->nodes[i];
        if (n->fold != FOLD_NONE)
            continue;
        if (!*ops || strcmp(n->op_name, *ops) != 0)
            fail_msg("%s: node %s is %s, not %s", name, n->name, n->op_name, *ops ? *ops : "there");
        ops++;
    }
    if (*ops)
        fail_msg("%s lacks %s", name, *ops);
    close_fixture(&f);
}

static void live_nodes_are_the_networks_operators(void **state)
{
    (void)state;
    static const char *const conv[] = {
        "torch.nn.Conv2d", "torch.nn.BatchNorm2d", "torch.nn.ReLU6",
        "torch.nn.Conv2d", "torch.nn.BatchNorm2d", "torch.add",
        "torch.nn.ReLU",   "torch.nn.MaxPool2d",   "torch.nn.AdaptiveAvgPool2d",
        "torch.flatten",   "torch.nn.Linear",      NULL};
    static const char *const frozen[] = {"torch.nn.Conv2d",
                                         "torch.nn.ReLU6",
                                         "torch.nn.Conv2d",
                                         "torch.add",
                                         "torch.nn.ReLU",
                                         "torch.nn.MaxPool2d",
                                         "torch.nn.AdaptiveAvgPool2d",
                                         "torch.flatten",
                                         "torch.nn.Linear",
                                         NULL};
    static const char *const mask[] = {"torch.add", NULL};
    static const char *const packed[] = {"torch.quantization.QuantStub",
                                         "torch.nn.Conv2d",
                                         "torch.nn.ReLU",
                                         "torch.mean",
                                         "torch.nn.Linear",
                                         "torch.quantization.DeQuantStub",
                                         NULL};
    static const char *const branches[] = {"torch.nn.Conv2d", "torch.mul", "torch.nn.ReLU",
                                           "torch.mul", NULL};
    expect_ops("conv", conv);
    expect_ops("conv_script", conv);
    expect_ops("frozen", frozen);
    expect_ops("mask", mask);
    expect_ops("packed", packed);
    expect_ops("branches", branches);
}

/* Whole layers of attention as the parts that a trace with gradients shows, operator by operator;
 * weights of attention that nobody uses are no part of the network. */
static void attention_is_taken_apart(void **state)
{
    (void)state;
    struct fixture whole, parts;
    open_fixture(&whole, "attention");
    open_fixture(&parts, "attention_parts");
    static const char *const ops[] = {"torch.nn.Linear", "torch.matmul", "torch.nn.Softmax",
                                      "torch.sum"};
    static const int want[] = {4 + 4 + 4, 8, 4, 1};
    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
        int count[2] = {0, 0};
        for (int f = 0; f < 2; f++) {
            const struct graph *g = (f ? parts : whole).graph;
            for (int i = 0; i < g->node_count; i++)
                count[f] += g->nodes[i]->fold == FOLD_NONE &&
                            strcmp(g->nodes[i]->op_name, ops[k]) == 0;
        }
        assert_int_equal(count[0], want[k]);
        assert_int_equal(count[1], want[k]);
    }
    const struct node *n = graph_find_node(whole.graph, "post/self_attn");
    assert_non_null(n);
    assert_string_equal(n->origin.source_op, "aten::_transformer_encoder_layer_fwd");
    assert_string_equal(n->origin.scope, "post");
    assert_string_equal(n->origin.file, "make_torchscript.py");
    n = graph_find_node(whole.graph, "mha/softmax");
    assert_non_null(n);
    assert_string_equal(n->origin.source_op, "aten::_native_multi_head_attention");
    n = graph_find_node(whole.graph, "mha/weights");
    assert_non_null(n);
    assert_int_equal(n->fold, FOLD_PART);
    assert_string_equal(n->folded_into->name, "mha");
    n = graph_find_node(whole.graph, "last/weights");
    assert_non_null(n);
    assert_int_equal(n->fold, FOLD_NONE);
    close_fixture(&whole);
    close_fixture(&parts);
}

static void nodes_carry_module_path_and_line(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "conv");
    const struct node *n = graph_find_node(f.graph, "stem.0");
    assert_non_null(n);
    assert_string_equal(n->origin.scope, "stem.0");
    assert_string_equal(n->origin.source_op, "aten::_convolution");
    assert_string_equal(n->origin.file, "make_torchscript.py");
    assert_true(n->origin.line > 0);
    assert_string_equal(n->inputs[0]->name, "x");
    assert_string_equal(node_param(n, "weight")->name, "stem.0.weight");
    n = graph_find_node(f.graph, "add_"); /* the user's own module does it */
    assert_non_null(n);
    assert_string_equal(n->op_name, "torch.add");
    /* Weights are referenced in the file, not copied. */
    n = graph_find_node(f.graph, "fc");
    const unsigned char *w = node_param(n, "weight")->constant->data;
    assert_true(w > f.bytes.data && w < f.bytes.data + f.bytes.size);
    close_fixture(&f);
}

/* w[i][j] = 4 + 4 j + i, transposed; c channels last; b one number four times. */
static void strided_tensors_are_put_in_order(void **state)
{
    (void)state;
    struct fixture f;
    double w[12], c[24], b[4] = {5, 5, 5, 5};
    open_fixture(&f, "tied");
    for (int i = 0; i < 12; i++)
        w[i] = 4 + 4 * (i % 3) + i / 3;
    for (int i = 0; i < 24; i++)
        c[i] = i;
    const struct node *linear = NULL, *conv = NULL;
    for (int i = 0; i < f.graph->node_count; i++) {
        const struct node *n = f.graph->nodes[i];
        if (strcmp(n->op_name, "torch.nn.Linear") == 0 && node_param(n, "bias"))
            linear = n;
        if (strcmp(n->op_name, "torch.nn.Conv2d") == 0)
            conv = n;
    }
    assert_true(linear && conv);
    expect_reals(node_param(linear, "weight"), w, 12);
    expect_reals(node_param(linear, "bias"), b, 4);
    expect_reals(node_param(conv, "weight"), c, 24);
    close_fixture(&f);
}

/* m[0:2, 0:3] = 1; m[2:4, 1:4] = 2; m[0] = 7 */
static void writes_into_constants_are_done(void **state)
{
    (void)state;
    static const double want[24] = {7, 7, 7, 7, 7, 7, 1, 1, 1, 0, 0, 0,
                                    0, 2, 2, 2, 0, 0, 0, 2, 2, 2, 0, 0};
    struct fixture f;
    open_fixture(&f, "mask");
    const struct node *n = f.graph->outputs[0]->producer;
    assert_string_equal(n->op_name, "torch.add");
    expect_reals(n->inputs[1], want, 24);
    close_fixture(&f);
}

static void quantized_values_have_their_scales(void **state)
{
    (void)state;
    struct fixture f;
    static const double channel_scales[2] = {.5, .25};
    open_fixture(&f, "packed");
    const struct node *conv = graph_find_node(f.graph, "quantize_per_tensor")->outputs[0]->producer;
    assert_int_equal(conv->outputs[0]->dtype, DT_QUINT8);
    assert_float_equal(conv->outputs[0]->quant.scale[0], .125, 0);
    assert_int_equal(conv->outputs[0]->quant.zero_point[0], 3);
    conv = graph_find_node(f.graph, "conv2d_relu");
    const struct value *w = node_param(conv, "weight");
    assert_int_equal(w->dtype, DT_QINT8);
    assert_int_equal(w->quant.count, 2);
    assert_int_equal(w->quant.axis, 0);
    for (int i = 0; i < 2; i++)
        assert_float_equal(w->quant.scale[i], channel_scales[i], 0);
    int64_t list[2], q;
    assert_true(node_ints(conv, "stride", list, 2) && list[0] == 2 && list[1] == 2);
    assert_true(node_ints(conv, "padding", list, 2) && list[0] == 1);
    /* The largest weight of the second channel: 53 / 27 / .25, rounded. */
    assert_true(constant_int(w, 53, &q));
    assert_int_equal(q, 8);
    assert_int_equal(conv->outputs[0]->quant.count, 0); /* fused: the scale is that of the ReLU */
    const struct value *relu = graph_find_node(f.graph, "conv2d_relu/relu")->outputs[0];
    assert_float_equal(relu->quant.scale[0], .5, 0);
    assert_int_equal(relu->quant.zero_point[0], 3);
    const struct value *mean = graph_find_node(f.graph, "mean")->outputs[0];
    assert_float_equal(mean->quant.scale[0], .5, 0); /* PyTorch keeps it */
    assert_int_equal(f.graph->outputs[0]->dtype, DT_FLOAT32);
    close_fixture(&f);

    /* A traced and a scripted module of the same kind: weights restored by __setstate__. */
    open_fixture(&f, "quantized_per_channel");
    conv = graph_find_node(f.graph, "conv0");
    assert_int_equal(node_param(conv, "weight")->quant.count, 4);
    close_fixture(&f);
    open_fixture(&f, "quantized_script");
    conv = graph_find_node(f.graph, "conv1");
    assert_int_equal(node_int(conv, "groups", 0), 2);
    assert_int_equal(node_param(conv, "weight")->dtype, DT_QINT8);
    assert_non_null(node_param(conv, "bias"));
    close_fixture(&f);
}

static void unknown_operators_stay_in_the_graph(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "unknown");
    const struct node *n = graph_find_node(f.graph, "erfinv");
    assert_non_null(n);
    assert_null(n->op);
    assert_string_equal(n->op_name, "aten::erfinv");
    assert_string_equal(n->inputs[0]->producer->op_name, "torch.nn.ReLU");
    n = graph_find_node(f.graph, "frexp"); /* taken apart into two */
    assert_int_equal(n->output_count, 2);
    close_fixture(&f);
}

static void a_missing_shape_names_the_input(void **state)
{
    (void)state;
    struct bytes b = slurp(FIXTURES "arithmetic.pt");
    struct options o = {.list = {{"input.x", "2x4"}}, .count = 1};
    struct arena a;
    struct bpu_error err;
    arena_init(&a, 64 << 20);
    assert_null(read_with(&a, &b, &o, &err));
    assert_int_equal(err.code, BPU_SHAPE_NEEDED);
    assert_string_equal(err.where, "input \"y\"");
    assert_non_null(strstr(err.hint, "--option input.y="));
    arena_fini(&a);
    free(b.data);
}

/* ── hand-made archives ── */

/* A zip archive of stored members. */
struct zip_maker {
    unsigned char data[1 << 16];
    size_t size, directory_size, count;
    unsigned char directory[1 << 14];
};

static void put(unsigned char *p, uint32_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static uint32_t crc_of(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    return ~crc;
}

static void zip_put(struct zip_maker *z, const char *name, const void *data, size_t size)
{
    size_t length = strlen(name);
    unsigned char local[30] = "PK\x03\x04\x14", entry[46] = "PK\x01\x02\x14\0\x14";
    put(local + 14, crc_of(data, size), 4);
    put(local + 26, (uint32_t)length, 2); /* sizes stay 0, as PyTorch leaves them */
    put(entry + 16, crc_of(data, size), 4);
    put(entry + 20, (uint32_t)size, 4);
    put(entry + 24, (uint32_t)size, 4);
    put(entry + 28, (uint32_t)length, 2);
    put(entry + 42, (uint32_t)z->size, 4);
    assert_true(z->size + 30 + length + size < sizeof z->data - (1 << 14));
    memcpy(z->data + z->size, local, 30);
    memcpy(z->data + z->size + 30, name, length);
    memcpy(z->data + z->size + 30 + length, data, size);
    z->size += 30 + length + size;
    memcpy(z->directory + z->directory_size, entry, 46);
    memcpy(z->directory + z->directory_size + 46, name, length);
    z->directory_size += 46 + length;
    z->count++;
}

static struct bytes zip_end(struct zip_maker *z)
{
    unsigned char end[22] = "PK\x05\x06";
    put(end + 8, (uint32_t)z->count, 2);
    put(end + 10, (uint32_t)z->count, 2);
    put(end + 12, (uint32_t)z->directory_size, 4);
    put(end + 16, (uint32_t)z->size, 4);
    memcpy(z->data + z->size, z->directory, z->directory_size);
    memcpy(z->data + z->size + z->directory_size, end, 22);
    struct bytes b = {malloc(z->size + z->directory_size + 22), z->size + z->directory_size + 22};
    memcpy(b.data, z->data, b.size);
    return b;
}

static const struct options one_input = {.list = {{"input.x", "1x2x4x4"}}, .count = 1};

/* Expects the archive to be refused with these words. */
static void expect_refusal(struct zip_maker *z, const char *what, enum bpu_code code,
                           const char *says, const char *where)
{
    struct bytes b = zip_end(z);
    struct arena a;
    struct bpu_error err;
    arena_init(&a, 256 << 20);
    if (read_with(&a, &b, &one_input, &err))
        fail_msg("%s is accepted", what);
    if (err.code != code || !strstr(err.message, says) || !strstr(err.where, where))
        fail_msg("%s: [%s] %s: %s", what, error_code_name(err.code), err.where, err.message);
    arena_fini(&a);
    free(b.data);
}

/* __torch__.M() with the attributes that `items` puts into its dictionary. */
#define MODULE(items)                                                                              \
    "\x80\x02"                                                                                     \
    "c__torch__\nM\n)\x81}(" items "ub."
#define STRING(length, s) "X" length "\0\0\0" s
#define TENSOR(storage, offset, shape, stride)                                                     \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage offset shape stride "\x89"                      \
    "ccollections\nOrderedDict\n)RtR"
#define STORAGE(key, count)                                                                        \
    "(" STRING("\x07", "storage") "ctorch\nFloatStorage\n" STRING("\x01", key)                     \
        STRING("\x03", "cpu") count "tQ"

static const char plain_code[] = "class M(Module):\n"
                                 "  w : Tensor\n"
                                 "  def forward(self: __torch__.M,\n"
                                 "    x: Tensor) -> Tensor:\n"
                                 "    return torch.add(x, self.w)\n";

/* An archive of one class with this pickle and this code. */
static struct zip_maker *archive_of(const char *pickle, size_t pickle_size, const char *code)
{
    static struct zip_maker z;
    static const float weights[16];
    memset(&z, 0, sizeof z);
    zip_put(&z, "m/data.pkl", pickle, pickle_size);
    zip_put(&z, "m/code/__torch__.py", code, strlen(code));
    zip_put(&z, "m/constants.pkl", "\x80\x02).", 4);
    zip_put(&z, "m/data/0", weights, sizeof weights);
    return &z;
}

static void pickles_are_data_only(void **state)
{
    (void)state;
    static const struct {
        const char *what, *pickle;
        size_t size;
        enum bpu_code code;
        const char *says;
    } cases[] = {
#define CASE(what, pickle, code, says) {what, pickle, sizeof(pickle) - 1, code, says}
        CASE("a call of the system",
             "\x80\x02"
             "cos\nsystem\n" STRING("\x02", "ls") "\x85R.",
             BPU_UNSUPPORTED, "\"os.system\""),
        CASE("eval",
             "\x80\x02"
             "c__builtin__\neval\n" STRING("\x01", "1") "\x85R.",
             BPU_UNSUPPORTED, "__builtin__.eval"),
        CASE("a global of protocol 4",
             "\x80\x04"
             "\x8c\x05posix\x8c\x06system\x93.",
             BPU_UNSUPPORTED, "posix.system"),
        CASE("getattr",
             "\x80\x02"
             "cbuiltins\ngetattr\n.",
             BPU_UNSUPPORTED, "builtins.getattr"),
        CASE("INST", "\x80\x02(ios\nsystem\n.", BPU_UNSUPPORTED, "opcode 0x69"),
        CASE("an extension", "\x80\x02\x82\x01.", BPU_UNSUPPORTED, "opcode 0x82"),
        CASE("no end", "\x80\x02}", BPU_BAD_MODEL, "no end"),
        CASE("an empty stack", "\x80\x02.", BPU_BAD_MODEL, "finds nothing"),
        CASE("no mark", "\x80\x02}u.", BPU_BAD_MODEL, "finds no mark"),
        CASE("a long string",
             "\x80\x02X\xff\xff\xff\x7f"
             "a.",
             BPU_BAD_MODEL, "bytes are needed"),
        CASE("a longer string",
             "\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
             "a.",
             BPU_BAD_MODEL, "bytes are needed"),
        CASE("a far memo", "\x80\x02Nr\xff\xff\xff\x7f.", BPU_BAD_MODEL, "memo entry"),
        CASE("an empty memo", "\x80\x02h\x05.", BPU_BAD_MODEL, "never stored"),
        CASE("a wide integer", "\x80\x02\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09.",
             BPU_UNSUPPORTED, "does not fit 64"),
        CASE("a future protocol", "\x80\x09N.", BPU_UNSUPPORTED, "protocol 9"),
        CASE("odd items", "\x80\x02}(NNNu.", BPU_BAD_MODEL, "finds nothing"),
        CASE("items of a number", "\x80\x02K\x01(NNu.", BPU_BAD_MODEL, "items are put into an int"),
        CASE("a called number", "\x80\x02K\x01)R.", BPU_BAD_MODEL, "is called"),
        CASE("a called class",
             "\x80\x02"
             "c__torch__\nM\n)R.",
             BPU_UNSUPPORTED, "not read as data"),
        CASE("a tuple over a mark", "\x80\x02(N\x87.", BPU_BAD_MODEL, "tuple"),
        CASE("a state of a number", "\x80\x02K\x01}b.", BPU_BAD_MODEL, "given a state"),
        CASE("no module", "\x80\x02}.", BPU_BAD_MODEL, "not a TorchScript module"),
        CASE("no storage",
             MODULE(STRING("\x01", "w")
                        TENSOR(STORAGE("7", "K\x10"), "K\x00", "(K\x10t", "(K\x01t")),
             BPU_BAD_MODEL, "\"data/7\" is not in the archive"),
        CASE("a storage too short",
             MODULE(STRING("\x01", "w")
                        TENSOR(STORAGE("0", "K\x11"), "K\x00", "(K\x10t", "(K\x01t")),
             BPU_BAD_MODEL, "holds 64 bytes"),
        CASE("a tensor too long",
             MODULE(STRING("\x01", "w")
                        TENSOR(STORAGE("0", "K\x10"), "K\x01", "(K\x10t", "(K\x01t")),
             BPU_BAD_MODEL, "reaches beyond its storage"),
        CASE("a huge stride",
             MODULE(STRING("\x01", "w") TENSOR(STORAGE("0", "K\x10"), "K\x00", "(K\x02K\x02t",
                                               "(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x01t")),
             BPU_BAD_MODEL, "reaches beyond"),
        CASE("a negative stride",
             MODULE(STRING("\x01", "w")
                        TENSOR(STORAGE("0", "K\x10"), "K\x0f", "(K\x02t", "(J\xff\xff\xff\xfft")),
             BPU_BAD_MODEL, "stride is not"),
        CASE("a huge shape",
             MODULE(STRING("\x01", "w") TENSOR(
                 STORAGE("0", "K\x10"), "K\x00",
                 "(J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", "(K\x00K\x00K\x00t")),
             BPU_BAD_MODEL, "more elements than can be counted"),
        CASE("a huge expansion",
             MODULE(STRING("\x01", "w")
                        TENSOR(STORAGE("0", "K\x10"), "K\x00", "(J\xff\xff\xff\x7ft", "(K\x00t")),
             BPU_NO_MEMORY, "memory"),
        CASE("thirteen axes",
             MODULE(STRING("\x01", "w") TENSOR(STORAGE("0", "K\x10"), "K\x00",
                                               "(K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(t")),
             BPU_BAD_MODEL, "at most 12"),
        CASE("strides of another rank",
             MODULE(STRING("\x01", "w") TENSOR(STORAGE("0", "K\x10"), "K\x00", "(K\x10t", "(t")),
             BPU_BAD_MODEL, "but 0 strides"),
        CASE("an unknown storage",
             "\x80\x02(" STRING("\x07", "storage") "ctorch\nComplexFloatStorage\n.",
             BPU_UNSUPPORTED, "torch.ComplexFloatStorage"),
        CASE("a missing attribute", MODULE(STRING("\x01", "v") "N"), BPU_BAD_MODEL,
             "no attribute \"w\""),
        CASE("an attribute of no tensor", MODULE(STRING("\x01", "w") "N"), BPU_UNSUPPORTED,
             "an operand is None"),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool in_code = strstr(cases[i].says, "attribute") || strstr(cases[i].says, "operand") ||
                       cases[i].code == BPU_NO_MEMORY;
        bool no_module = strstr(cases[i].says, "TorchScript module") != NULL;
        expect_refusal(archive_of(cases[i].pickle, cases[i].size, plain_code), cases[i].what,
                       cases[i].code, cases[i].says,
                       in_code     ? ""
                       : no_module ? "m/data.pkl"
                                   : "m/data.pkl, byte ");
    }
}

/* Values that contain themselves, and a nesting as deep as the bytes allow. */
static void pickle_structures_are_bounded(void **state)
{
    (void)state;
    static const char self[] = MODULE(STRING("\x01", "w") "]q\x01h\x01"
                                                          "a");
    expect_refusal(archive_of(self, sizeof self - 1, plain_code), "a list in itself",
                   BPU_UNSUPPORTED, "an operand is a list", "line 5");
    static char deep[20000];
    memset(deep, '(', sizeof deep);
    memcpy(deep, "\x80\x02", 2);
    expect_refusal(archive_of(deep, sizeof deep, plain_code), "marks", BPU_LIMIT,
                   "nested more than", "byte ");
    memset(deep + 2, ']', sizeof deep - 2); /* lists in lists: each swallows the one before */
    for (size_t i = 2; i + 2 < sizeof deep; i += 2)
        deep[i + 1] = i > 2 ? 'a' : ']';
    struct zip_maker *z = archive_of(deep, sizeof deep, plain_code);
    expect_refusal(z, "lists", BPU_BAD_MODEL, "", "data.pkl");
}

#define FORWARD(body)                                                                              \
    "class M(Module):\n  w : Tensor\n  def forward(self: __torch__.M,\n    x: Tensor) -> "         \
    "Tensor:\n" body
static const char with_weight[] = MODULE(
    STRING("\x01", "w") TENSOR(STORAGE("0", "K\x10"), "K\x00", "(K\x04K\x04t", "(K\x04K\x01t"));

static void code_is_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *what, *code;
        enum bpu_code error;
        const char *says, *where;
    } cases[] = {
        {"for", FORWARD("    for i in range(3):\n      x = torch.add(x, i)\n    return x\n"),
         BPU_UNSUPPORTED, "a \"for\" statement", "code/__torch__.py, line 5"},
        {"while", FORWARD("    y = x\n    while True:\n      y = x\n    return x\n"),
         BPU_UNSUPPORTED, "a \"while\" statement", "line 6"},
        {"try", FORWARD("    try:\n      y = x\n    except:\n      y = x\n    return x\n"),
         BPU_UNSUPPORTED, "a \"try\" statement", "line 5"},
        {"with", FORWARD("    with torch.no_grad():\n      y = x\n    return x\n"), BPU_UNSUPPORTED,
         "a \"with\" statement", "line 5"},
        {"raise", FORWARD("    raise x\n"), BPU_UNSUPPORTED, "a \"raise\" statement", "line 5"},
        {"if",
         FORWARD("    if bool(torch.gt(torch.sum(x), 0)):\n      y = x\n    else:\n      y = x\n   "
                 " return y\n"),
         BPU_UNSUPPORTED, "an \"if\" whose condition", "line 5"},
        {"choice", FORWARD("    return x if bool(torch.sum(x)) else x\n"), BPU_UNSUPPORTED,
         "a choice depends on", "line 5"},
        {"unknown name", FORWARD("    return y\n"), BPU_BAD_MODEL, "\"y\" is used", "line 5"},
        {"unknown function", FORWARD("    return open(\"f\")\n"), BPU_UNSUPPORTED,
         "\"open\" is not read", "line 5"},
        {"unknown module function", FORWARD("    return os.system(\"f\")\n"), BPU_UNSUPPORTED,
         "os.system", "line 5"},
        {"unknown constant", FORWARD("    return torch.add(x, CONSTANTS.c4)\n"), BPU_BAD_MODEL,
         "\"c4\"", "line 5"},
        {"unknown method", FORWARD("    return (self).run(x, )\n"), BPU_BAD_MODEL, "method \"run\"",
         "line 5"},
        {"itself", FORWARD("    return (self).forward(x, )\n"), BPU_LIMIT, "nested more than",
         "line"},
        {"no result", FORWARD("    y = x\n"), BPU_BAD_MODEL, "returns None", "line 3"},
        {"numbers", FORWARD("    return 3\n"), BPU_BAD_MODEL, "returns an int", "line 3"},
        {"open bracket", FORWARD("    return torch.add(x, 1\n"), BPU_BAD_MODEL, "not closed",
         "line 6"},
        {"closed bracket", FORWARD("    return x)\n"), BPU_BAD_MODEL, "was not opened", "line 5"},
        {"open string", FORWARD("    y = \"abc\n    return x\n"), BPU_BAD_MODEL,
         "string has no end", "line 5"},
        {"strange character", FORWARD("    return x ? x\n"), BPU_BAD_MODEL, "0x3f", "line 5"},
        {"missing operand", FORWARD("    return torch.relu()\n"), BPU_BAD_MODEL,
         "operand \"self\" is missing", "line 5"},
        {"wrong shapes", FORWARD("    return torch.add(x, torch.zeros([3, 3]))\n"), BPU_BAD_SHAPE,
         "broadcast", ""},
        {"too many arguments", FORWARD("    return (self).forward(x, x, x, )\n"), BPU_BAD_MODEL,
         "takes 2 arguments", "line 5"},
        {"item out of range", FORWARD("    a = [x]\n    return a[3]\n"), BPU_BAD_MODEL,
         "item 3 of a list of 1", "line 6"},
        {"wrong count", FORWARD("    a, b, = [x]\n    return a\n"), BPU_BAD_MODEL,
         "1 values are taken apart into 2", "line 5"},
        {"assignment to a call", FORWARD("    f(x) = x\n    return x\n"), BPU_BAD_MODEL,
         "cannot be assigned", "line 5"},
        {"exception", FORWARD("    ops.prim.RaiseException(\"wrong size\")\n    return x\n"),
         BPU_UNSUPPORTED, "wrong size", "line 5"},
        {"conv of no weight", FORWARD("    return torch.conv2d(x, 3)\n"), BPU_BAD_MODEL,
         "weight of 3 to 5", "line 5"},
        {"absurd shape", FORWARD("    return torch.view(x, [99999999999, 99999999999, 4])\n"),
         BPU_BAD_SHAPE, "", ""},
        {"absurd zeros", FORWARD("    return torch.add(x, torch.zeros([9999999999999, 4]))\n"),
         BPU_BAD_SHAPE, "", ""},
        {"axis out of range", FORWARD("    return torch.transpose(x, 1, 7)\n"), BPU_BAD_MODEL,
         "axis 7", "line 5"},
        {"empty block", "class M(Module):\n  def forward(self, x):\n", BPU_BAD_MODEL, "empty",
         "line 3"},
        {"no forward", "class M(Module):\n  def backward(self, x):\n    return x\n", BPU_BAD_MODEL,
         "no code for the forward", "code/"},
        {"no class", "def f(x):\n  return x\n", BPU_BAD_MODEL, "no code for the forward", "code/"},
        {"stale tensor",
         FORWARD("    y = torch.relu(x)\n    z = torch.view(y, [-1])\n    z1 = torch.add_(z, 1)\n  "
                 "  return torch.add(y, 1)\n"),
         BPU_UNSUPPORTED, "through a view", "line 8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refusal(archive_of(with_weight, sizeof with_weight - 1, cases[i].code),
                       cases[i].what, cases[i].error, cases[i].says, cases[i].where);
}

/* Calls that double at every level end by the count of steps; deep expressions and blocks by their
 * depth. */
static void code_is_bounded(void **state)
{
    (void)state;
    static char code[40000];
    size_t n = 0;
    n += (size_t)snprintf(code + n, sizeof code - n,
                          "class M(Module):\n  w : Tensor\n  def forward(self, x: Tensor):\n    "
                          "return (self).f0(x, )\n");
    for (int i = 0; i < 60; i++)
        n += (size_t)snprintf(
            code + n, sizeof code - n,
            "  def f%d(self, x):\n    y = (self).f%d(x, )\n    return (self).f%d(y, )\n", i, i + 1,
            i + 1);
    snprintf(code + n, sizeof code - n, "  def f60(self, x):\n    return x\n");
    expect_refusal(archive_of(with_weight, sizeof with_weight - 1, code), "doubling calls",
                   BPU_LIMIT, "steps", "line");
    static const struct {
        const char *what, *head, *piece, *tail;
        int times;
    } shapes[] = {
        {"brackets", FORWARD("    return "), "(", "", 5000},
        {"calls", FORWARD("    return "), "torch.relu(", "x", 2000},
        {"lists", FORWARD("    return "), "[", "", 5000},
        {"signs", FORWARD("    return "), "-", "x\n", 5000},
        {"nots", FORWARD("    return "), "not ", "x\n", 5000},
        {"attributes", FORWARD("    return x"), ".a", "\n", 5000},
        {"sums", FORWARD("    return x"), "+x", "\n", 5000},
        {"choices", FORWARD("    return x"), " if 1 else x", "\n", 2000},
        {"indices", FORWARD("    return x"), "[0]", "\n", 5000},
    };
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        n = (size_t)snprintf(code, sizeof code, "%s", shapes[k].head);
        for (int i = 0; i < shapes[k].times; i++)
            n += (size_t)snprintf(code + n, sizeof code - n, "%s", shapes[k].piece);
        snprintf(code + n, sizeof code - n, "%s", shapes[k].tail);
        expect_refusal(archive_of(with_weight, sizeof with_weight - 1, code), shapes[k].what,
                       BPU_BAD_MODEL, "more than 200", "line 5");
    }
    n = (size_t)snprintf(code, sizeof code, FORWARD(""));
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(code + n, sizeof code - n, "%*sif True:\n", 4 + 2 * i, "");
    snprintf(code + n, sizeof code - n, "%*sreturn x\n", 204, "");
    expect_refusal(archive_of(with_weight, sizeof with_weight - 1, code), "blocks", BPU_BAD_MODEL,
                   "nested more than", "line");
    n = (size_t)snprintf(code, sizeof code,
                         FORWARD("    a = torch.tensor(1)\n    if a is None:\n      y = x\n"));
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(code + n, sizeof code - n, "    elif False:\n      y = x\n");
    expect_refusal(archive_of(with_weight, sizeof with_weight - 1, code), "elifs", BPU_BAD_MODEL,
                   "nested more than", "line");
}

static void other_archives_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *members[3];
        const char *says;
        enum bpu_code code;
    } cases[] = {
        {{"a.npy", "b.npy", NULL}, "NumPy", BPU_UNSUPPORTED},
        {{"m/bytecode.pkl", "m/data.pkl", NULL}, "mobile (lite)", BPU_UNSUPPORTED},
        {{"m/model.json", "m/attributes.pkl", NULL}, "before 1.4", BPU_UNSUPPORTED},
        {{"[Content_Types].xml", "word/document.xml", NULL}, "Office", BPU_UNSUPPORTED},
        {{"META-INF/MANIFEST.MF", "A.class", NULL}, "Java", BPU_UNSUPPORTED},
        {{"holiday/1.jpg", "holiday/2.jpg", NULL}, "is no model", BPU_NOT_A_MODEL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct zip_maker z;
        memset(&z, 0, sizeof z);
        for (size_t k = 0; cases[i].members[k]; k++)
            zip_put(&z, cases[i].members[k], "{}", 2);
        expect_refusal(&z, cases[i].says, cases[i].code, cases[i].says, "member \"");
    }
}

static void archives_are_validated(void **state)
{
    (void)state;
    static struct zip_maker z;
    static const struct {
        const char *name, *says;
    } names[] = {{"../data.pkl", "leads out"},
                 {"/data.pkl", "absolute"},
                 {"m/../../x", "leads out"},
                 {"", "empty"},
                 {"m\\x", "leads out"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        memset(&z, 0, sizeof z);
        zip_put(&z, names[i].name, "x", 1);
        expect_refusal(&z, names[i].says, BPU_BAD_MODEL, names[i].says, "byte ");
    }
    archive_of(with_weight, sizeof with_weight - 1, plain_code);
    struct zip_maker *good = archive_of(with_weight, sizeof with_weight - 1, plain_code);
    zip_put(good, "m/data/0", "twice", 5);
    expect_refusal(good, "twice", BPU_BAD_MODEL, "two members", "m/data/0");

    /* The same bytes under two names. */
    good = archive_of(with_weight, sizeof with_weight - 1, plain_code);
    zip_put(good, "m/data/1", "0123456789", 10);
    put(good->directory + good->directory_size - 8 - 46 + 42,
        (uint32_t)(good->size - 10 - 8 - 30 - 64), 4);
    expect_refusal(good, "overlap", BPU_BAD_MODEL, "overlap", "m/data/");

    /* A byte of the pickle changes: its checksum tells. */
    good = archive_of(with_weight, sizeof with_weight - 1, plain_code);
    good->data[30 + 10 + 8] ^= 1;
    expect_refusal(good, "checksum", BPU_BAD_MODEL, "checksum", "m/data.pkl");

    struct bytes b = slurp(FIXTURES "bad_bomb.pt");
    struct arena a;
    struct bpu_error err;
    arena_init(&a, 64 << 20);
    assert_null(read_with(&a, &b, NULL, &err));
    assert_int_equal(err.code, BPU_LIMIT);
    assert_non_null(strstr(err.message, "\"bomb/data.pkl\" would unpack"));
    arena_fini(&a);
    free(b.data);
}

static void bad_fixtures_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *says, *where;
    } cases[] = {
        {"bad_for", "\"for\"", "code/__torch__.py, line"},
        {"bad_while", "\"while\"", "code/__torch__.py, line"},
        {"bad_if", "an \"if\" whose condition", "code/__torch__.py, line"},
        {"bad_list_input", "List[Tensor]", "input \"x\""},
        {"bad_write_into", "writes into a part", "code/__torch__.py, line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[300];
        snprintf(path, sizeof path, FIXTURES "%s.pt", cases[i].name);
        struct bytes b = slurp(path);
        struct arena a;
        struct bpu_error err;
        /* Without a shape too: no shape would help. */
        arena_init(&a, 64 << 20);
        assert_null(read_with(&a, &b, NULL, &err));
        bool lacks_shape = strcmp(cases[i].name, "bad_write_into") == 0;
        if (!lacks_shape && (err.code != BPU_UNSUPPORTED || !strstr(err.message, cases[i].says)))
            fail_msg("%s without a shape: %s", cases[i].name, err.message);
        arena_fini(&a);
        struct options o = read_options(cases[i].name);
        arena_init(&a, 64 << 20);
        assert_null(read_with(&a, &b, &o, &err));
        if (err.code != BPU_UNSUPPORTED || !strstr(err.message, cases[i].says) ||
            !strstr(err.where, cases[i].where) || !err.hint[0])
            fail_msg("%s: [%s] %s: %s (hint: %s)", cases[i].name, error_code_name(err.code),
                     err.where, err.message, err.hint);
        arena_fini(&a);
        free(o.text);
        free(b.data);
    }
}

/* ── damage ── */

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    static const char *const names[] = {"conv", "packed"};
    for (size_t k = 0; k < 2; k++) {
        char path[300];
        snprintf(path, sizeof path, FIXTURES "%s.pt", names[k]);
        struct bytes b = slurp(path);
        struct options o = read_options(names[k]);
        for (size_t n = 0; n < b.size; n += n < 300 || b.size - n < 3000 ? 1 : 53) {
            struct bytes cut = {malloc(n ? n : 1), n}; /* so that reading past the end is seen */
            memcpy(cut.data, b.data, n);
            struct arena a;
            struct bpu_error err;
            arena_init(&a, 64 << 20);
            assert_null(read_with(&a, &cut, &o, &err));
            assert_true(err.code != BPU_NONE && err.code != BPU_SERVER && err.message[0]);
            arena_fini(&a);
            free(cut.data);
        }
        free(o.text);
        free(b.data);
    }
}

/* Random damage, checksums mended or not: any answer but a crash, a broken graph or a fault called
 * ours. */
static void damage_never_breaks_the_reader(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (size_t k = 0; k < NETWORKS; k++) {
        char path[300];
        snprintf(path, sizeof path, FIXTURES "%s.pt", networks[k]);
        struct bytes b = slurp(path);
        struct options o = read_options(networks[k]);
        struct bytes copy = {malloc(b.size), b.size};
        for (int round = 0; round < 150; round++) {
            memcpy(copy.data, b.data, b.size);
            for (int hits = 0; hits < 1 + round % 4; hits++) {
                seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
                size_t at = round % 2 ? seed % b.size : b.size - 1 - seed % (b.size / 4);
                copy.data[at] = (unsigned char)(seed >> 40);
            }
            struct arena a;
            struct bpu_error err;
            arena_init(&a, 64 << 20);
            if (!read_with(&a, &copy, &o, &err))
                assert_true(err.code != BPU_NONE && err.code != BPU_SERVER && err.message[0]);
            arena_fini(&a);
        }
        free(copy.data);
        free(o.text);
        free(b.data);
    }
}

/* The pickle and the code of a network, damaged inside an archive whose checksums are right. */
static void damaged_members_never_break_the_reader(void **state)
{
    (void)state;
    static const char code[] =
        FORWARD("    _0 = [1, 2]\n    y = torch.relu_(torch.add(x, self.w, alpha=2))\n"
                "    a, b, = torch.chunk(y, 2, 1)\n    z = torch.cat([a, b], 1)\n"
                "    if torch.eq(torch.size(z, 1), 2):\n      z0 = torch.view(z, [1, -1])\n"
                "    else:\n      z0 = z\n    return (z0, {\"k\": -1.5e-3})[0]\n");
    uint64_t seed = 362436069362436069u;
    int read = 0;
    for (int round = 0; round < 6000; round++) {
        char text[sizeof code], pickle[sizeof with_weight];
        memcpy(text, code, sizeof code);
        memcpy(pickle, with_weight, sizeof with_weight);
        for (int hits = 0; hits < round % 4; hits++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            if (round % 2)
                text[seed % (sizeof code - 1)] = (char)(seed >> 40 & 127);
            else
                pickle[seed % (sizeof with_weight - 1)] = (char)(seed >> 40);
        }
        struct bytes b = zip_end(archive_of(pickle, sizeof with_weight - 1, text));
        struct arena a;
        struct bpu_error err;
        arena_init(&a, 16 << 20);
        if (read_with(&a, &b, &one_input, &err))
            read++;
        else
            assert_true(err.code != BPU_NONE && err.code != BPU_SERVER && err.message[0]);
        arena_fini(&a);
        free(b.data);
    }
    assert_true(read > 1000); /* every fourth is whole */
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    static const char *const names[] = {"conv", "packed", "moves", "mask"};
    for (size_t k = 0; k < 4; k++) {
        char path[300];
        snprintf(path, sizeof path, FIXTURES "%s.pt", names[k]);
        struct bytes b = slurp(path);
        struct options o = read_options(names[k]);
        long n = 0;
        for (bool done = false; !done; n += n < 300 ? 1 : 11) {
            struct arena a;
            struct bpu_error err;
            arena_init(&a, 64 << 20);
            a.fail_after = n;
            done = read_with(&a, &b, &o, &err) != NULL;
            if (!done && err.code != BPU_NO_MEMORY)
                fail_msg("%s, allocation %ld: [%s] %s: %s", names[k], n, error_code_name(err.code),
                         err.where, err.message);
            arena_fini(&a);
            assert_true(n < 200000);
        }
        assert_true(n > 300);
        free(o.text);
        free(b.data);
    }
}

/* ── tables ── */

static void every_row_is_found(void **state)
{
    (void)state;
    size_t counts[3];
    static const char *const spaces[] = {"aten", "quantized", "torchvision"};
    for (size_t k = 0; k < 3; k++) {
        const struct ts_row *rows = ts_rows(spaces[k], &counts[k]);
        for (size_t i = 0; i < counts[k]; i++) {
            if (ts_row_find(spaces[k], rows[i].name) != &rows[i])
                fail_msg("%s::%s is out of order", spaces[k], rows[i].name);
            bool mode = strncmp(rows[i].name, "upsample", 8) == 0;
            if (rows[i].torch && !mode && !op_find(rows[i].torch))
                fail_msg("%s::%s maps to %s, which is no operator", spaces[k], rows[i].name,
                         rows[i].torch);
        }
    }
    assert_true(counts[0] > 150 && counts[1] > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_shapes_are_those_of_pytorch),
        cmocka_unit_test(live_nodes_are_the_networks_operators),
        cmocka_unit_test(attention_is_taken_apart),
        cmocka_unit_test(nodes_carry_module_path_and_line),
        cmocka_unit_test(strided_tensors_are_put_in_order),
        cmocka_unit_test(writes_into_constants_are_done),
        cmocka_unit_test(quantized_values_have_their_scales),
        cmocka_unit_test(unknown_operators_stay_in_the_graph),
        cmocka_unit_test(a_missing_shape_names_the_input),
        cmocka_unit_test(pickles_are_data_only),
        cmocka_unit_test(pickle_structures_are_bounded),
        cmocka_unit_test(code_is_refused_by_line),
        cmocka_unit_test(code_is_bounded),
        cmocka_unit_test(other_archives_are_named),
        cmocka_unit_test(archives_are_validated),
        cmocka_unit_test(bad_fixtures_are_refused),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(damage_never_breaks_the_reader),
        cmocka_unit_test(damaged_members_never_break_the_reader),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(every_row_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
