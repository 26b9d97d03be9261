/* The user's source lines of TorchScript networks: of what PyTorch saved, and of tables made here
 * in both of its forms, with paths of all kinds and with every damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/import/import.h"
#include "tests/fuzz/zip.c"

#define FIXTURES "tests/fixtures/"

static char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*size + 1);
    assert_non_null(p);
    assert_int_equal(fread(p, 1, *size, f), *size);
    p[*size] = '\0';
    fclose(f);
    return p;
}

/* ── networks that PyTorch saved ── */

/* The line of the script that made the fixtures on which `text` stands, below the line `class`. */
static int script_line(const char *class, const char *text)
{
    size_t size;
    char *script = slurp(FIXTURES "make_torchscript.py", &size);
    const char *from = strstr(script, class), *at = from ? strstr(from, text) : NULL;
    if (!at)
        fail_msg("the script has no \"%s\" below \"%s\"", text, class);
    int line = 1;
    for (const char *c = script; c < at; c++)
        line += *c == '\n';
    free(script);
    return line;
}

struct expectation {
    const char *fixture, *shape, *class, *node, *text;
};

static void expect_line(const struct expectation *e)
{
    struct arena a;
    struct bpu_error err = {0};
    char path[200];
    size_t size;
    snprintf(path, sizeof path, FIXTURES "torchscript/%s.pt", e->fixture);
    char *data = slurp(path, &size);
    struct import_option option = {"input.0", e->shape};
    struct import_request req = {(unsigned char *)data, size, "test", &option, 1};
    arena_init(&a, 256 << 20);
    struct graph *g = import_model(&a, &req, &err);
    if (!g)
        fail_msg("%s: %s (%s)", e->fixture, err.message, err.where);
    const struct node *n = graph_find_node(g, e->node);
    if (!n)
        fail_msg("%s has no node %s", e->fixture, e->node);
    if (!n->origin.file || strcmp(n->origin.file, "make_torchscript.py") != 0 ||
        n->origin.line != script_line(e->class, e->text))
        fail_msg("%s: %s stands on %s:%d", e->fixture, e->node, n->origin.file,
                 (int)n->origin.line);
    arena_fini(&a);
    free(data);
}

static void nodes_name_the_line_of_the_user(void **state)
{
    static const char conv[] = "class Conv(", quant[] = "class Quantized(";
    static const struct expectation cases[] = {
        {"conv", "1x3x8x8", conv, "stem.0", "self.stem(x)"},
        {"conv", "1x3x8x8", conv, "stem.2", "self.stem(x)"},
        {"conv", "1x3x8x8", conv, "block.1", "self.block(x)"},
        {"conv", "1x3x8x8", conv, "add_", "y += x"},
        {"conv", "1x3x8x8", conv, "relu_", "F.relu_(y)"},
        {"conv", "1x3x8x8", conv, "fc", "self.fc(self.drop"},
        {"conv_script", "1x3x8x8", conv, "stem.0", "self.stem(x)"},
        {"conv_script", "1x3x8x8", conv, "stem.2", "self.stem(x)"},
        {"conv_script", "1x3x8x8", conv, "add_", "y += x"},
        {"conv_script", "1x3x8x8", conv, "gap", "self.gap(self.pool"},
        {"conv_script", "1x3x8x8", conv, "flatten", "torch.flatten(y, 1)"},
        {"frozen", "1x3x8x8", conv, "add_", "y += x"},
        {"branches", "1x2x4x4", "class Branches(", "relu", "F.dropout(F.relu"},
        {"branches", "1x2x4x4", "class Branches(", "mul.1", "return x * 0.5"},
        {"quantized", "1x3x6x6", quant, "conv0", "self.conv0(self.quant(x))"},
        {"quantized", "1x3x6x6", quant, "add", "self.plus.add"},
        {"quantized_script", "1x3x6x6", quant, "plus.1", "self.plus.cat"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_line(&cases[i]);
}

/* ── tables made here ── */

struct table {
    unsigned char data[1 << 16];
    size_t size;
};

static void put(struct table *t, const void *p, size_t n)
{
    assert_true(n <= sizeof t->data - t->size);
    memcpy(t->data + t->size, p, n);
    t->size += n;
}
#define PUT(t, literal) put((t), literal, sizeof(literal) - 1)

static void put_int(struct table *t, int64_t v)
{
    unsigned char op[10] = {0x8a, 8};
    for (int i = 0; i < 8; i++)
        op[2 + i] = (unsigned char)((uint64_t)v >> 8 * i);
    put(t, op, sizeof op);
}

static void put_text(struct table *t, const char *s)
{
    uint32_t n = (uint32_t)strlen(s);
    unsigned char op[5] = {'X', (unsigned char)n, (unsigned char)(n >> 8)};
    put(t, op, sizeof op);
    put(t, s, n);
}

static const char code[] = "class M(Module):\n"
                           "  def forward(self: __torch__.M,\n"
                           "    x: Tensor) -> Tensor:\n"
                           "    y = torch.relu(x)\n"
                           "    return torch.abs(torch.neg(y))\n";

static int64_t code_offset(const char *text)
{
    return strstr(code, text) - code;
}

/* (offset, (source, begin, end)[, tag]) of the older form. */
static void put_row(struct table *t, int64_t offset, const char *text, const char *file,
                    int64_t line, int64_t begin)
{
    PUT(t, "(");
    put_int(t, offset);
    PUT(t, "((");
    put_text(t, text);
    if (file)
        put_text(t, file);
    else
        PUT(t, "N");
    put_int(t, line);
    PUT(t, "t");
    put_int(t, begin);
    put_int(t, begin + 1);
    PUT(t, "tt");
}

struct module {
    struct arena arena;
    struct graph *graph;
    unsigned char *zip;
    struct bpu_error err;
};

/* The module whose code has this table; NULL: none. */
static void module_open(struct module *m, const struct table *t)
{
    static const char pickle[] = "\x80\x02"
                                 "c__torch__\nM\n)\x81}b.";
    const struct zip_part parts[] = {
        {"m/data.pkl", pickle, sizeof pickle - 1},
        {"m/code/__torch__.py", code, sizeof code - 1},
        {"m/constants.pkl", "\x80\x02).", 4},
        {"m/code/__torch__.py.debug_pkl", t ? t->data : NULL, t ? t->size : 0},
    };
    const struct import_option option = {"input.0", "1x2x4x4"};
    size_t size;
    *m = (struct module){.zip = zip_store(parts, t ? 4 : 3, &size)};
    assert_non_null(m->zip);
    struct import_request req = {m->zip, size, "test", &option, 1};
    arena_init(&m->arena, 64 << 20);
    m->graph = import_model(&m->arena, &req, &m->err);
    if (!m->graph)
        fail_msg("%s (%s)", m->err.message, m->err.where);
}

static void module_close(struct module *m)
{
    arena_fini(&m->arena);
    free(m->zip);
}

static void expect_origin(const struct module *m, const char *node, const char *file, int line)
{
    const struct node *n = graph_find_node(m->graph, node);
    assert_non_null(n);
    if (!n->origin.file || strcmp(n->origin.file, file) != 0 || n->origin.line != line)
        fail_msg("%s stands on %s:%d, not on %s:%d", node, n->origin.file, (int)n->origin.line,
                 file, line);
}

/* Lines of the code member, and a note that says why or none. */
static void expect_fallback(const struct module *m, const char *what, const char *says)
{
    const char *note = NULL;
    int notes = 0;
    expect_origin(m, "relu", "code/__torch__.py", 4);
    expect_origin(m, "abs", "code/__torch__.py", 5);
    for (int i = 0; i < m->graph->note_count; i++)
        if (strstr(m->graph->notes[i], "source lines")) {
            note = m->graph->notes[i];
            notes++;
        }
    if (notes != (says != NULL) || (says && !strstr(note, says)))
        fail_msg("%s: %d notes: %s", what, notes, note);
}

static void without_a_table_the_code_is_named(void **state)
{
    struct module m;
    (void)state;
    module_open(&m, NULL);
    expect_fallback(&m, "no table", NULL);
    module_close(&m);
}

/* Scripted code: the line is counted from that of the function. */
static void lines_of_a_function_are_counted(void **state)
{
    static const char text[] = "def forward(self, x):\n    y = relu(x)\n\n    return abs(-y)\n";
    struct table t = {.size = 0};
    struct module m;
    (void)state;
    PUT(&t, "\x80\x02(");
    put_row(&t, 0, "", NULL, 0, 0);
    put_row(&t, code_offset("    y ="), text, "net/model.py", 40, strstr(text, "relu") - text);
    put_row(&t, code_offset("    return"), text, "net/model.py", 40, strstr(text, "abs") - text);
    put_row(&t, code_offset("torch.neg"), text, "net/model.py", 40, strstr(text, "def") - text);
    PUT(&t, "t.");
    module_open(&m, &t);
    expect_origin(&m, "relu", "net/model.py", 41);
    expect_origin(&m, "abs", "net/model.py", 43);
    expect_origin(&m, "neg", "net/model.py", 40);
    module_close(&m);
}

static void paths_are_shortened(void **state)
{
    static const struct {
        const char *path, *shown; /* NULL: not the user's */
    } cases[] = {
        {"model.py", "model.py"},
        {"./net/model.py", "net/model.py"},
        {"net/model.py", "net/model.py"},
        {"../secret/model.py", "model.py"},
        {"a/../../secret/model.py", "model.py"},
        {"/home/somebody/net/model.py", "model.py"},
        {"~/net/model.py", "model.py"},
        {"C:\\Users\\somebody\\model.py", "model.py"},
        {"net\\model.py", "net/model.py"},
        {"/opt/venv/lib/python3.10/site-packages/torchvision/models/resnet.py",
         "torchvision/models/resnet.py"},
        {"/usr/lib/python3/dist-packages/timm/layers/x.py", "timm/layers/x.py"},
        {"C:\\py\\Lib\\site-packages\\timm\\x.py", "timm/x.py"},
        {"<ipython-input-3-0123456789ab>", "<ipython-input-3-0123456789ab>"},
        {"/tmp/ipykernel_7/123.py", "123.py"},
        {"/home/somebody/mytorch/nn/model.py", "model.py"},
        {"/home/some (copy)/model (2).py", "model (2).py"},
        {"/home/\xC3\xBC/\xC3\xA4.py", "\xC3\xA4.py"},
        {"/usr/lib/python3/dist-packages/torch/nn/modules/conv.py", NULL},
        {"/opt/venv/lib/site-packages/torch/functional.py", NULL},
        {"/home/somebody/pytorch/torch/nn/functional.py", NULL},
        {"C:\\py\\Lib\\site-packages\\torch\\nn\\modules\\conv.py", NULL},
        {"/usr/lib/python3.11/contextlib.py", NULL},
        {"<eval_with_key>.7", NULL},
        {"<string>", NULL},
        {"/", NULL},
        {"net/", NULL},
        {"a\tb.py", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int traced = 0; traced < 2; traced++) {
            struct table t = {.size = 0};
            struct module m;
            char stack[400] = "def forward(self, x):\n";
            if (traced)
                snprintf(stack, sizeof stack, "%s(7): forward\nother.py(3): f\n", cases[i].path);
            PUT(&t, "\x80\x02(");
            put_row(&t, 0, stack, cases[i].path, 7, 0);
            PUT(&t, "t.");
            module_open(&m, &t);
            if (cases[i].shown && (traced || cases[i].path[0]))
                expect_origin(&m, "relu", cases[i].shown, 7);
            else if (traced) /* the frame further out */
                expect_origin(&m, "relu", "other.py", 3);
            else
                expect_fallback(&m, cases[i].path, NULL);
            module_close(&m);
        }
}

/* Whoever calls torch.jit.trace is not the author of the operator. */
static void frames_outside_of_the_tracer_do_not_count(void **state)
{
    static const char conv[] = "/x/site-packages/torch/nn/modules/conv.py";
    struct table t = {.size = 0};
    struct module m;
    char stack[400];
    (void)state;
    snprintf(stack, sizeof stack,
             "%s(459): forward\n/x/site-packages/torch/jit/_trace.py(976): trace_module\n"
             "export.py(12): <module>\n",
             conv);
    PUT(&t, "\x80\x02(");
    put_row(&t, 0, stack, conv, 459, 0);
    PUT(&t, "t.");
    module_open(&m, &t);
    expect_fallback(&m, "the tracer", NULL);
    module_close(&m);
}

/* ("FORMAT_WITH_STRING_TABLE", (text, …), ((offset, ([i, …], file, line), begin, end), tag), …)) */
static void new_table(struct table *t, const char *const *texts, size_t count, int64_t text,
                      int64_t file, int64_t line, int64_t begin)
{
    PUT(t, "\x80\x02(");
    put_text(t, "FORMAT_WITH_STRING_TABLE");
    PUT(t, "(");
    for (size_t i = 0; i < count; i++)
        put_text(t, texts[i]);
    PUT(t, "t((");
    put_int(t, code_offset("    y ="));
    PUT(t, "((ctorch.jit._pickle\nbuild_intlist\n(](");
    put_int(t, text);
    put_int(t, text + 1);
    PUT(t, "etR");
    put_int(t, file);
    put_int(t, line);
    PUT(t, "t");
    put_int(t, begin);
    put_int(t, begin + 1);
    PUT(t, "tK\1ttt.");
}

static void strings_of_a_table_are_joined(void **state)
{
    static const char *const texts[] = {"", "def f(x):\n", "    return relu(x)\n", "net.py"};
    static const char *const stack[] = {"/x/site-packages/torch/nn/f.py(5): f\n",
                                        "/y/net.py(9): forward\n",
                                        "/x/site-packages/torch/nn/f.py"};
    struct table t = {.size = 0}, traced = {.size = 0};
    struct module m;
    (void)state;
    new_table(&t, texts, 4, 1, 3, 10, 15);
    module_open(&m, &t);
    expect_origin(&m, "relu", "net.py", 11);
    expect_origin(&m, "abs", "net.py", 11); /* what follows belongs to the last range */
    module_close(&m);
    new_table(&traced, stack, 3, 0, 2, 5, 0);
    module_open(&m, &traced);
    expect_origin(&m, "relu", "net.py", 9);
    module_close(&m);
}

static void a_damaged_table_is_a_note(void **state)
{
    static const char *const texts[] = {"def f(x):\n", "    return relu(x)\n", "net.py"};
    static const struct {
        const char *what, *says;
        int64_t text, file, line, begin;
    } cases[] = {
        {"a string beyond the table", "not in the table", 2, 2, 1, 0},
        {"a string before the table", "not in the table", -1, 2, 1, 0},
        {"a file beyond the table", "no string", 0, 3, 1, 0},
        {"an absurd line", "absurd", 0, 2, INT64_MAX, 100},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct table t = {.size = 0};
        struct module m;
        new_table(&t, texts, 3, cases[i].text, cases[i].file, cases[i].line, cases[i].begin);
        module_open(&m, &t);
        expect_fallback(&m, cases[i].what, cases[i].says);
        module_close(&m);
    }
    static const struct {
        const char *bytes, *says;
        size_t size;
    } raw[] = {
#define RAW(bytes, says) {bytes, says, sizeof(bytes) - 1}
        RAW("", "no end"),
        RAW("junk", "opcode"),
        RAW("\x80\x02N.", "no rows"),
        RAW("\x80\x02(K\1t.", "a row is malformed"),
        RAW("\x80\x02(K\1K\2tK\3K\4t.", "finds no mark"),
        RAW("\x80\x02(K\0(K\1K\2K\3ttt.", "finds no mark"),
        RAW("\x80\x02((K\0(K\1K\2K\3ttt.", "a source is malformed"),
        RAW("\x80\x02((K\0(]K\2K\3ttt.", "a source is malformed"),
        RAW("\x80\x02((K\0((NNK\1tK\2K\3ttt.", "is no string"),
        RAW("\x80\x02"
            "cos\nsystem\n.",
            "os.system"),
        RAW("\x80\x02]q\0h\0a.", "a row is malformed"),
#undef RAW
    };
    for (size_t i = 0; i < sizeof raw / sizeof raw[0]; i++) {
        struct table t = {.size = 0};
        struct module m;
        put(&t, raw[i].bytes, raw[i].size);
        module_open(&m, &t);
        expect_fallback(&m, raw[i].bytes, raw[i].says);
        module_close(&m);
    }
    struct table t = {.size = 0};
    struct module m;
    PUT(&t, "\x80\x02(");
    put_row(&t, 9, "def f():\n", "net.py", 1, 0);
    put_row(&t, 8, "def f():\n", "net.py", 2, 0);
    PUT(&t, "t.");
    module_open(&m, &t);
    expect_fallback(&m, "rows out of order", "not in order");
    module_close(&m);
}

/* Cut short at every byte, and with every byte changed, a table never makes the network unreadable.
 */
static void damage_at_every_byte_is_survived(void **state)
{
    static const char *const texts[] = {"def f(x):\n", "    return relu(x)\n", "net.py"};
    struct table whole = {.size = 0};
    struct module m;
    (void)state;
    new_table(&whole, texts, 3, 0, 2, 10, 15);
    for (size_t i = 0; i < whole.size; i++) {
        struct table t = whole;
        t.size = i;
        module_open(&m, &t);
        expect_fallback(&m, "cut short", "is not read");
        module_close(&m);
        for (int bit = 0; bit < 8; bit += 3) {
            t = whole;
            t.data[i] ^= (unsigned char)(1 << bit);
            module_open(&m, &t);
            assert_non_null(graph_find_node(m.graph, "relu")->origin.file);
            module_close(&m);
        }
    }
}

/* A small table that asks for much: lists that share one long string a million-fold. */
static void a_table_that_asks_for_much_is_left(void **state)
{
    struct table t = {.size = 0};
    struct module m;
    static char text[20000];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    PUT(&t, "\x80\x02(");
    put_text(&t, "FORMAT_WITH_STRING_TABLE");
    PUT(&t, "(");
    put_text(&t, text);
    PUT(&t, "t((K\0((](");
    for (int i = 0; i < 10000; i++)
        PUT(&t, "K\0");
    PUT(&t, "eK\0K\1tK\0K\1tttt.");
    module_open(&m, &t);
    expect_fallback(&m, "much", "too large");
    module_close(&m);
}

/* Errors name the user's line, and that of the code. */
static void errors_name_the_line_of_the_user(void **state)
{
    struct arena a;
    struct bpu_error err = {0};
    char want[100];
    size_t size;
    (void)state;
    char *data = slurp(FIXTURES "torchscript/bad_for.pt", &size);
    const struct import_option option = {"input.0", "1x2x3x3"};
    struct import_request req = {(unsigned char *)data, size, "test", &option, 1};
    arena_init(&a, 64 << 20);
    assert_null(import_model(&a, &req, &err));
    snprintf(want, sizeof want, "make_torchscript.py, line %d (code/__torch__.py, line ",
             script_line("class Loop(", "for i in range"));
    if (strncmp(err.where, want, strlen(want)) != 0)
        fail_msg("%s is not %s", err.where, want);
    arena_fini(&a);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_name_the_line_of_the_user),
        cmocka_unit_test(without_a_table_the_code_is_named),
        cmocka_unit_test(lines_of_a_function_are_counted),
        cmocka_unit_test(paths_are_shortened),
        cmocka_unit_test(frames_outside_of_the_tracer_do_not_count),
        cmocka_unit_test(strings_of_a_table_are_joined),
        cmocka_unit_test(a_damaged_table_is_a_note),
        cmocka_unit_test(damage_at_every_byte_is_survived),
        cmocka_unit_test(a_table_that_asks_for_much_is_left),
        cmocka_unit_test(errors_name_the_line_of_the_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
