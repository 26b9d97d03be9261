/* The torch.export reader: networks read exactly and alike in both layouts, the same findings as
 * the trace of the same network, what nodes and values carry, open extents, programs made by hand.
 * Damage is in test_pt2_damage.c. */
#include <math.h>

#include "core/check/check.h"
#include "tests/unit/pt2_fixture.h"

struct fixture {
    struct bytes bytes;
    struct arena arena;
    struct graph *graph;
};

static void open_with(struct fixture *f, const char *file, const struct import_option *options,
                      size_t count)
{
    char path[300];
    struct bpu_error err;
    snprintf(path, sizeof path, FIXTURES "%s", file);
    f->bytes = slurp(path);
    arena_init(&f->arena, 256 << 20);
    f->graph = read_with(&f->arena, &f->bytes, options, count, &err);
    if (!f->graph)
        fail_msg("%s: %s: %s (%s)", file, err.where, err.message, err.hint);
}

static void open_fixture(struct fixture *f, const char *file)
{
    open_with(f, file, NULL, 0);
}

static void close_fixture(struct fixture *f)
{
    arena_fini(&f->arena);
    free(f->bytes.data);
}

static bool has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* ── networks ── */

/* Every fixture that is not to be refused, in both layouts. */
static void output_shapes_are_those_of_pytorch(void **state)
{
    (void)state;
    glob_t files;
    size_t seen = 0;
    assert_int_equal(glob(FIXTURES "*.pt2", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        const char *file = strrchr(files.gl_pathv[i], '/') + 1;
        char path[300], text[SHAPE_TEXT_MAX];
        struct fixture f;
        if (has_prefix(file, "bad_"))
            continue;
        snprintf(path, sizeof path, FIXTURES "%.*s.outputs", (int)strcspn(file, "."), file);
        open_fixture(&f, file);
        assert_string_equal(f.graph->format, "pt2");
        struct bytes want = slurp(path);
        int n = 0;
        for (char *line = strtok((char *)want.data, "\n"); line; line = strtok(NULL, "\n"), n++) {
            if (n >= f.graph->output_count)
                fail_msg("%s has only %d outputs", file, f.graph->output_count);
            shape_text(&f.graph->outputs[n]->shape, text);
            if (strcmp(text, line) != 0)
                fail_msg("%s: output %d is %s, not %s", file, n, text, line);
        }
        assert_int_equal(n, f.graph->output_count);
        free(want.data);
        close_fixture(&f);
        seen++;
    }
    globfree(&files);
    assert_true(seen >= 50);
}

static void both_layouts_give_the_same_graph(void **state)
{
    (void)state;
    glob_t files;
    assert_int_equal(glob(FIXTURES "*.old.pt2", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 25);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        char name[100];
        const char *file = strrchr(files.gl_pathv[i], '/') + 1;
        struct fixture a, b;
        struct buf x, y;
        snprintf(name, sizeof name, "%.*s.pt2", (int)strcspn(file, "."), file);
        open_fixture(&a, file);
        open_fixture(&b, name);
        buf_init(&x, 64 << 20);
        buf_init(&y, 64 << 20);
        graph_dump(a.graph, &x);
        graph_dump(b.graph, &y);
        if (x.size != y.size || memcmp(x.data, y.data, x.size) != 0)
            fail_msg("%s and %s differ", file, name);
        /* The dump leaves out what is large: the bytes of every constant are the same too. */
        for (int k = 0; k < a.graph->value_count; k++) {
            const struct constant *c = a.graph->values[k]->constant,
                                  *d = b.graph->values[k]->constant;
            if (c && c->data && memcmp(c->data, d->data, c->bytes) != 0)
                fail_msg("%s: the constants \"%s\" differ", file, a.graph->values[k]->name);
        }
        buf_fini(&x);
        buf_fini(&y);
        close_fixture(&a);
        close_fixture(&b);
    }
    globfree(&files);
}

/* An older version of the schema: no kinds of arguments, no names of nodes. */
static void older_schemas_are_read(void **state)
{
    (void)state;
    struct fixture a, b;
    open_fixture(&a, "conv.pt2");
    open_fixture(&b, "conv_schema5.pt2");
    assert_int_equal(a.graph->node_count, b.graph->node_count);
    for (int i = 0; i < a.graph->node_count; i++) {
        assert_string_equal(a.graph->nodes[i]->op_name, b.graph->nodes[i]->op_name);
        assert_string_equal(a.graph->nodes[i]->name, b.graph->nodes[i]->name);
        assert_int_equal(a.graph->nodes[i]->attr_count, b.graph->nodes[i]->attr_count);
    }
    close_fixture(&a);
    close_fixture(&b);
}

/* ── the same findings as from the trace ── */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Nodes and tensors have other names in a trace (fc/matmul, matmul_1): each becomes "~". */
static void without_names(const struct graph *g, const char *message, char *out, size_t size)
{
    static const char of_names[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./";
    size_t used = 0;
    while (*message && used + 1 < size) {
        char word[200];
        size_t n = strspn(message, of_names);
        snprintf(word, sizeof word, "%.*s", (int)n, message);
        if (n && (graph_find_node(g, word) || graph_find_value(g, word)))
            out[used++] = '~';
        else
            for (size_t i = 0; i < (n ? n : 1) && used + 1 < size; i++)
                out[used++] = message[i];
        message += n ? n : 1;
    }
    out[used] = '\0';
}

/* Rule, operator and message of each finding, sorted. */
static char **findings_of(struct graph *g, const char *march, struct arena *a, int *count,
                          bool *legal)
{
    struct bpu_error err = {0};
    struct check_options options = {.advice_us = -1};
    struct check_result *r = check_graph(g, march_find(march), &options, &err);
    if (!r)
        fail_msg("%s", err.message);
    char **list = ARENA_ARRAY(a, char *, r->finding_count + 1, &err);
    assert_non_null(list);
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        char says[1000];
        without_names(g, f->message, says, sizeof says);
        list[i] =
            arena_printf(a, &err, "%s | %s | %s", f->rule, f->node ? f->node->op_name : "-", says);
        assert_non_null(list[i]);
    }
    qsort(list, (size_t)r->finding_count, sizeof *list, by_text);
    *count = r->finding_count;
    *legal = r->legal;
    return list;
}

static void findings_are_those_of_the_trace(void **state)
{
    (void)state;
    static const char *const marches[] = {"bernoulli2", "bayes"};
    glob_t files;
    assert_int_equal(glob(FIXTURES "*.pt", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 8);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        const char *file = strrchr(files.gl_pathv[i], '/') + 1;
        char name[100], path[300];
        struct import_option options[4];
        size_t count = 0;
        int length = (int)strcspn(file, ".");
        struct fixture a, b;
        snprintf(path, sizeof path, FIXTURES "%.*s.options", length, file);
        struct bytes text = slurp(path);
        for (char *line = strtok((char *)text.data, "\n"); line; line = strtok(NULL, "\n")) {
            char *equals = strchr(line, '=');
            assert_true(equals && count < 4);
            *equals = '\0';
            options[count++] = (struct import_option){line, equals + 1};
        }
        snprintf(name, sizeof name, "%.*s.pt2", length, file);
        open_with(&a, file, options, count);
        open_with(&b, name, options, count);
        for (size_t m = 0; m < 2; m++) {
            int n, k;
            bool x, y;
            char **p = findings_of(a.graph, marches[m], &a.arena, &n, &x);
            char **q = findings_of(b.graph, marches[m], &b.arena, &k, &y);
            for (int j = 0; j < n && j < k; j++)
                if (strcmp(p[j], q[j]) != 0)
                    fail_msg("%s on %s:\n  trace  %s\n  export %s", name, marches[m], p[j], q[j]);
            if (n != k)
                fail_msg(
                    "%s on %s: %d findings from the trace, %d from the program; the first more "
                    "is %s",
                    name, marches[m], n, k, n > k ? p[k] : q[n]);
            assert_int_equal(x, y);
        }
        close_fixture(&a);
        close_fixture(&b);
        free(text.data);
    }
    globfree(&files);
}

/* ── what nodes and values carry ── */

static void nodes_carry_module_path_and_source_line(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "conv.pt2");
    const struct node *n = graph_find_node(f.graph, "conv2d");
    assert_non_null(n);
    assert_string_equal(n->origin.scope, "stem.0");
    assert_string_equal(n->origin.source_op, "aten.conv2d.default");
    assert_string_equal(n->origin.file, "make_pt2.py"); /* not PyTorch's conv.py, and no folder */
    assert_true(n->origin.line > 0);
    assert_string_equal(n->inputs[0]->name, "x");
    assert_string_equal(node_param(n, "weight")->name, "stem.0.weight");
    const struct node *add = graph_find_node(f.graph, "add_");
    assert_string_equal(add->op_name, "torch.add");
    assert_string_equal(add->origin.source_op, "aten.add_.Tensor");
    assert_null(add->origin.scope); /* the user's own module does it */
    assert_true(add->origin.line > n->origin.line);
    assert_string_equal(f.graph->producer, "pytorch 2.9.0");
    /* Weights are referenced in the file, not copied. */
    const unsigned char *w = node_param(n, "weight")->constant->data;
    assert_true(w > f.bytes.data && w < f.bytes.data + f.bytes.size);
    close_fixture(&f);
}

/* w[i][j] = 4 + 4 j + i, transposed; c channels last; b one number four times; part at an offset.
 */
static void strided_tensors_are_put_in_order(void **state)
{
    (void)state;
    static const char *const files[] = {"tied.pt2", "tied.old.pt2"};
    static const double part[] = {8, 9, 10, 11};
    double w[12], c[24], b[4] = {5, 5, 5, 5};
    for (int i = 0; i < 12; i++)
        w[i] = 4 + 4 * (i % 3) + i / 3;
    for (int i = 0; i < 24; i++)
        c[i] = i;
    for (int k = 0; k < 2; k++) {
        struct fixture f;
        open_fixture(&f, files[k]);
        expect_reals(graph_find_value(f.graph, "w"), w, 12);
        expect_reals(graph_find_value(f.graph, "b"), b, 4);
        expect_reals(graph_find_value(f.graph, "c"), c, 24);
        expect_reals(graph_find_value(f.graph, "part"), part, 4);
        close_fixture(&f);
    }
}

static void element_types_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dtype dtype;
        double last;
    } rows[] = {
        {"w", DT_FLOAT16, 11}, {"v", DT_BFLOAT16, 8}, {"d", DT_FLOAT64, 2}, {"i", DT_INT32, 0}};
    struct fixture f;
    open_fixture(&f, "half.pt2");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct value *v = graph_find_value(f.graph, rows[i].name);
        double r;
        assert_non_null(v);
        assert_int_equal(v->dtype, rows[i].dtype);
        assert_true(constant_real(v, shape_elements(&v->shape) - 1, &r));
        assert_float_equal(r, rows[i].last, 0);
    }
    close_fixture(&f);
}

/* PT2E: pairs become dtype and scale of the values between them. */
static void quantized_pairs_become_scales(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum dtype dtype;
        double scale;
        int64_t zero;
    } rows[] = {
        {"quantize_per_tensor", DT_QINT8, .0078125, 0}, /* a stub on the input */
        {"relu", DT_QINT8, .05, -3},
        {"max_pool2d", DT_QINT8, .05, -3},
        {"adaptive_avg_pool2d", DT_QINT8, .025, -3}, /* not that of its operand */
        {"linear", DT_QINT8, .1, 7},                 /* scale and zero point as tensors */
    };
    static const double weight_scales[] = {.01, .02, .005, .03, .1};
    struct fixture f;
    open_fixture(&f, "quantized.pt2");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct value *v = graph_find_value(f.graph, rows[i].value);
        if (!v || v->dtype != rows[i].dtype || v->quant.count != 1 ||
            fabs(v->quant.scale[0] - rows[i].scale) > 1e-8 ||
            (v->quant.zero_point ? v->quant.zero_point[0] : 0) != rows[i].zero)
            fail_msg("%s is not %s of scale %g and zero point %d", rows[i].value,
                     dtype_name(rows[i].dtype), rows[i].scale, (int)rows[i].zero);
    }
    const struct node *conv = graph_find_node(f.graph, "conv2d");
    const struct value *w = node_param(conv, "weight");
    assert_int_equal(conv->outputs[0]->quant.count, 0); /* the scale is that of the ReLU */
    assert_int_equal(w->dtype, DT_QINT8);
    assert_int_equal(w->quant.count, 4);
    assert_int_equal(w->quant.axis, 0);
    /* A float weight behind quantize_per_channel: round(x / scale), cut to -127..127. */
    w = node_param(graph_find_node(f.graph, "linear"), "weight");
    assert_int_equal(w->quant.count, 5);
    for (int i = 0; i < 20; i++) {
        int64_t q;
        double want = nearbyint((float)((i - 10) * .1) / weight_scales[i / 4]);
        assert_true(constant_int(w, i, &q));
        assert_float_equal((double)q, want < -127 ? -127 : want, 0);
        assert_float_equal(w->quant.scale[i / 4], weight_scales[i / 4], 1e-8);
    }
    int stubs = 0;
    for (int i = 0; i < f.graph->node_count; i++)
        stubs += f.graph->nodes[i]->fold == FOLD_NONE &&
                 strstr(f.graph->nodes[i]->op_name, "quantization.") != NULL;
    assert_int_equal(stubs, 2); /* one at the input, one at the output */
    assert_int_equal(f.graph->outputs[0]->dtype, DT_FLOAT32);
    close_fixture(&f);
}

static void unknown_operators_keep_the_shapes_of_the_file(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "unknown.pt2");
    const struct node *n = graph_find_node(f.graph, "erfinv");
    assert_non_null(n);
    assert_null(n->op);
    assert_string_equal(n->op_name, "aten::erfinv");
    assert_string_equal(n->inputs[0]->producer->op_name, "torch.nn.ReLU");
    assert_int_equal(n->outputs[0]->shape.rank, 2);
    n = graph_find_node(f.graph, "frexp");
    assert_int_equal(n->output_count, 2);
    assert_int_equal(n->outputs[0]->shape.dim[1], 2);
    assert_int_equal(n->outputs[0]->dtype, DT_FLOAT32);
    close_fixture(&f);
}

static void changes_of_buffers_are_noted(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "counter.pt2");
    assert_int_equal(f.graph->output_count, 1);
    assert_int_equal(f.graph->note_count, 1);
    assert_non_null(strstr(f.graph->notes[0], "changes \"n\""));
    close_fixture(&f);
}

/* ── open extents ── */

static void open_extents_come_from_options(void **state)
{
    (void)state;
    static const struct {
        const char *option, *shapes[2]; /* of the outputs; NULL: */
        enum bpu_code code;             /* refused */
        const char *says;
    } rows[] = {
        {"5x3x7x7", {"5x196", "10x4"}, BPU_NONE, NULL},
        {"2x3x7x7", {"2x196", "4x4"}, BPU_NONE, NULL},
        {"64x3x7x7", {"64x196", "128x4"}, BPU_NONE, NULL},
        {"65x3x7x7", {NULL, NULL}, BPU_BAD_OPTION, "extent 0 of input \"x\" is to be 65"},
        {"1x3x7x7", {NULL, NULL}, BPU_BAD_OPTION, "exported for 2 to 64 (s77)"},
        {"2x4x7x7", {NULL, NULL}, BPU_BAD_OPTION, "extent 1 of input \"x\" is to be 4"},
        {"2x3x7", {NULL, NULL}, BPU_BAD_OPTION, "but the file says ?x3x7x7"},
    };
    struct fixture f;
    open_fixture(&f, "dynamic.pt2"); /* as at export, and says so */
    assert_int_equal(f.graph->inputs[0]->shape.dim[0], 5);
    assert_int_equal(f.graph->note_count, 1);
    assert_non_null(strstr(f.graph->notes[0], "5x3x7x7 is taken"));
    close_fixture(&f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct import_option option = {"input.x", rows[i].option};
        struct bytes b = slurp(FIXTURES "dynamic.pt2");
        struct arena a;
        struct bpu_error err;
        arena_init(&a, 64 << 20);
        struct graph *g = read_with(&a, &b, &option, 1, &err);
        if (!rows[i].shapes[0]) {
            if (g || err.code != rows[i].code || !strstr(err.message, rows[i].says))
                fail_msg("%s: %s", rows[i].option, err.message);
            assert_string_equal(err.where, "input \"x\"");
        } else {
            char text[SHAPE_TEXT_MAX];
            if (!g)
                fail_msg("%s: %s: %s", rows[i].option, err.where, err.message);
            assert_int_equal(g->note_count, 0);
            for (int k = 0; k < 2; k++)
                assert_string_equal(shape_text(&g->outputs[k]->shape, text), rows[i].shapes[k]);
        }
        arena_fini(&a);
        free(b.data);
    }
}

/* ── programs made by hand ── */

static struct bytes archive_of(const char *program)
{
    struct zip_part parts[] = {{"m/models/model.json", program, strlen(program)},
                               {"m/archive_format", "pt2", 3},
                               {"m/archive_version", "0", 1}};
    struct bytes b;
    b.data = zip_store(parts, sizeof parts / sizeof parts[0], &b.size);
    assert_non_null(b.data);
    return b;
}

/* "y=2x3 k=6", or a size as JSON in brackets, into descriptions of tensors. */
static void describe(struct buf *out, const char *values)
{
    char text[1000];
    snprintf(text, sizeof text, "%s", values);
    bool first = true;
    for (char *t = strtok(text, "|"); t; t = strtok(NULL, "|"), first = false) {
        char *sizes = strchr(t, '=');
        assert_non_null(sizes);
        *sizes++ = '\0';
        buf_printf(out, "%s'%s': {'dtype': 7, 'sizes': [", first ? "" : ", ", t);
        for (char *n = sizes; *n; n += strcspn(n, "x") + (n[strcspn(n, "x")] == 'x')) {
            buf_puts(out, n == sizes ? "" : ", ");
            if (*n == '{') {
                buf_puts(out, n);
                break;
            }
            buf_printf(out, "{'as_int': %d}", atoi(n));
        }
        buf_puts(out, "]}");
    }
}

/* A program in which x goes in and y comes out; JSON with ' for ". */
static char *program_of(const char *nodes, const char *values, const char *ranges)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_printf(&b,
               "{'graph_module': {'graph': {'inputs': [{'as_tensor': {'name': 'x'}}],"
               " 'outputs': [{'as_tensor': {'name': 'y'}}], 'nodes': [%s], 'tensor_values': {",
               nodes);
    describe(&b, values);
    buf_printf(&b,
               "}}, 'signature': {"
               "'input_specs': [{'user_input': {'arg': {'as_tensor': {'name': 'x'}}}}],"
               "'output_specs': [{'user_output': {'arg': {'as_tensor': {'name': 'y'}}}}]}},"
               " 'range_constraints': {%s}, 'schema_version': {'major': 8, 'minor': 5}}",
               ranges);
    char *text = malloc(b.size + 1);
    for (size_t i = 0; i < b.size; i++) /* ` stands for ' itself */
        text[i] = b.data[i] == '\'' ? '"' : b.data[i] == '`' ? '\'' : b.data[i];
    text[b.size] = '\0';
    buf_fini(&b);
    return text;
}

static struct graph *read_program(struct arena *a, const char *program, struct bytes *b,
                                  const char *option, struct bpu_error *err)
{
    struct import_option o = {"input.x", option};
    *b = archive_of(program);
    arena_init(a, 64 << 20);
    return read_with(a, b, &o, option != NULL, err);
}

#define READS_X "{'name': 'self', 'arg': {'as_tensor': {'name': 'x'}}, 'kind': 1}"
#define MAKES_Y "'outputs': [{'as_tensor': {'name': 'y'}}]"

static void programs_made_by_hand_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *what, *ops; /* op names of the live nodes, one space between */
        const char *values, *nodes;
    } rows[] = {
        {"an operator", "torch.nn.ReLU", "x=2x3|y=2x3",
         "{'target': 'torch.ops.aten.relu.default', 'inputs': [" READS_X "], " MAKES_Y "}"},
        {"an infinity as PyTorch 2.6 wrote it", "torch.clamp", "x=2x3|y=2x3",
         "{'target': 'torch.ops.aten.clamp.default', 'inputs': [" READS_X ","
         " {'name': 'min', 'arg': {'as_float': 1.0}}, {'name': 'max', 'arg': {'as_float': "
         "Infinity}}"
         "], " MAKES_Y "}"},
        {"an infinity as a string", "torch.clamp", "x=2x3|y=2x3",
         "{'target': 'torch.ops.aten.clamp.default', 'inputs': [" READS_X ","
         " {'name': 'min', 'arg': {'as_float': '-Infinity'}}, {'name': 'max', 'arg': {'as_float': "
         "2}}"
         "], " MAKES_Y "}"},
        {"a graph that sets a flag", "torch.nn.Tanh", "x=2x3|y=2x3",
         "{'target': 'torch.ops.higher_order.wrap_with_set_grad_enabled', 'inputs': ["
         " {'name': '', 'arg': {'as_bool': false}},"
         " {'name': '', 'arg': {'as_graph': {'name': 'g', 'graph': {"
         "   'inputs': [{'as_tensor': {'name': 'a'}}], 'outputs': [{'as_tensor': {'name': 'y'}}],"
         "   'nodes': [{'target': 'torch.ops.aten.tanh.default', 'inputs': [{'name': 'self', 'arg':"
         "     {'as_tensor': {'name': 'a'}}}], " MAKES_Y "}],"
         "   'tensor_values': {'y': {'dtype': 7, 'sizes': [{'as_int': 2}, {'as_int': 3}]}}}}}},"
         " {'name': '', 'arg': {'as_tensor': {'name': 'x'}}}],"
         " 'outputs': [{'as_tensors': [{'name': 'y'}]}]}"},
        {"a custom operator", "mylib::fancy", "x=2x3|y=5",
         "{'target': 'torch.ops.mylib.fancy.default', 'inputs': [" READS_X "], " MAKES_Y "}"},
        {"sizes computed from sizes", "torch.Tensor.reshape", "x=2x3|y=3x2",
         "{'target': 'torch.ops.aten.sym_numel.default', 'inputs': [" READS_X "],"
         " 'outputs': [{'as_sym_int': {'as_name': 'n'}}]},"
         "{'target': '_operator.floordiv', 'inputs': ["
         " {'name': 'a', 'arg': {'as_sym_int': {'as_name': 'n'}}, 'kind': 1},"
         " {'name': 'b', 'arg': {'as_int': 3}, 'kind': 1}],"
         " 'outputs': [{'as_sym_int': {'as_name': 'k'}}]},"
         "{'target': 'torch.ops.aten.view.default', 'inputs': [" READS_X ", {'name': 'size',"
         " 'arg': {'as_sym_ints': [{'as_int': 3}, {'as_name': 'k'}]}, 'kind': 1}], " MAKES_Y "}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena a;
        struct bytes b;
        struct bpu_error err;
        char ops[300] = "", *program = program_of(rows[i].nodes, rows[i].values, "");
        struct graph *g = read_program(&a, program, &b, NULL, &err);
        if (!g)
            fail_msg("%s: %s: %s", rows[i].what, err.where, err.message);
        for (int k = 0; k < g->node_count; k++)
            if (g->nodes[k]->fold == FOLD_NONE) {
                size_t n = strlen(ops);
                snprintf(ops + n, sizeof ops - n, "%s%s", n ? " " : "", g->nodes[k]->op_name);
            }
        if (strcmp(ops, rows[i].ops) != 0)
            fail_msg("%s: %s, not %s", rows[i].what, ops, rows[i].ops);
        arena_fini(&a);
        free(b.data);
        free(program);
    }
}

/* An extent that is an expression of others. */
static void expressions_of_extents_are_computed(void **state)
{
    (void)state;
    static const struct {
        const char *expr;
        int64_t of_six;
    } rows[] = {
        {"s0", 6},
        {"Symbol(`s0`, positive=True, integer=True)", 6},
        {"Mul(Integer(2), Symbol(`s0`, integer=True))", 12},
        {"Add(Integer(-1), Mul(Integer(2), Symbol(`s0`)))", 11},
        {"FloorDiv(Symbol(`s0`), Integer(4))", 1},
        {"Max(Integer(1), Mod(Symbol(`s0`), Integer(4)))", 2},
        {"torch.utils._sympy.functions.FloorDiv(Add(Symbol(`s0`), Integer(3)), Integer(2))", 4},
    };
    /* An operator that nobody knows: its shape is the one in the file. */
    static const char node[] =
        "{'target': 'torch.ops.mylib.grow.default', 'inputs': [" READS_X "], " MAKES_Y "}";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char values[300];
        snprintf(values, sizeof values,
                 "x={'as_expr': {'expr_str': 'Symbol(`s0`)'}}|y={'as_expr': {'expr_str': '%s'}}",
                 rows[i].expr);
        char *program = program_of(node, values, "'s0': {'min_val': 0, 'max_val': null}");
        struct arena a;
        struct bytes b;
        struct bpu_error err;
        struct graph *g = read_program(&a, program, &b, "6", &err);
        if (!g)
            fail_msg("%s: %s: %s", rows[i].expr, err.where, err.message);
        if (g->outputs[0]->shape.dim[0] != rows[i].of_six)
            fail_msg("%s is %d", rows[i].expr, (int)g->outputs[0]->shape.dim[0]);
        arena_fini(&a);
        free(b.data);
        /* Without an option and without a hint there is nothing to go by. */
        assert_null(read_program(&a, program, &b, NULL, &err));
        assert_int_equal(err.code, BPU_SHAPE_NEEDED);
        assert_non_null(strstr(err.hint, "--option input.x="));
        arena_fini(&a);
        free(b.data);
        free(program);
    }
}

static void archives_are_recognised_by_their_head(void **state)
{
    (void)state;
    static const struct {
        const char *file, *format;
    } rows[] = {{FIXTURES "conv.pt2", "pt2"},
                {FIXTURES "conv.old.pt2", "pt2"},
                {FIXTURES "conv.pt", "torchscript"},
                {"tests/fixtures/torchscript/conv.pt", "torchscript"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes b = slurp(rows[i].file);
        assert_string_equal(import_detect(b.data, 256), rows[i].format);
        for (size_t n = 4; n < 80; n++) /* cut anywhere */
            assert_non_null(import_detect(b.data, n));
        free(b.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_shapes_are_those_of_pytorch),
        cmocka_unit_test(both_layouts_give_the_same_graph),
        cmocka_unit_test(older_schemas_are_read),
        cmocka_unit_test(findings_are_those_of_the_trace),
        cmocka_unit_test(nodes_carry_module_path_and_source_line),
        cmocka_unit_test(strided_tensors_are_put_in_order),
        cmocka_unit_test(element_types_are_read),
        cmocka_unit_test(quantized_pairs_become_scales),
        cmocka_unit_test(unknown_operators_keep_the_shapes_of_the_file),
        cmocka_unit_test(changes_of_buffers_are_noted),
        cmocka_unit_test(open_extents_come_from_options),
        cmocka_unit_test(programs_made_by_hand_are_read),
        cmocka_unit_test(expressions_of_extents_are_computed),
        cmocka_unit_test(archives_are_recognised_by_their_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
