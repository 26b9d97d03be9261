/* Graph JSON: reading, refusing, writing.
 *
 * tests/cases/json/NAME.json is read; the sibling says what must come of it, one "key: text" per
 * line: NAME.err   code, where: equal; message, hint: contained; option: given to the importer
 *   NAME.ok    value: NAME SHAPE DTYPE | op: NODE OP | source: NODE OP | unbound: NODE | order:
 * NODE … int: VALUE FIRST SECOND | zero_point: VALUE Z | note: TEXT | line: NODE N
 *              folded: NODE WHY | option: K=V Every case that
 * is read is written, read and written again: the same bytes must come out. */
#include <glob.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/export/export.h"
#include "core/import/import.h"
#include "core/import/json_read.h"
#include "core/ops/op.h"

#define FOLDER "tests/cases/json"
#define QUOTA ((size_t)64 << 20)

/* Cases report all that is wrong with them; the test fails at its end. */
static int complaints;

#define complain(...) (complaints++, print_error(__VA_ARGS__), print_error("\n"))

static char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *text = calloc(1, (size_t)1 << 20);
    assert_non_null(text);
    *size = fread(text, 1, ((size_t)1 << 20) - 1, f);
    fclose(f);
    return text;
}

/* The case's options, from its "option: K=V" lines; `text` is cut up. */
struct expectation {
    char *lines[64];
    size_t count;
    char option_text[8][200];
    struct import_option options[8];
    size_t option_count;
};

static void split(char *text, struct expectation *e)
{
    memset(e, 0, sizeof *e);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "option: ", 8) != 0) {
            assert_true(e->count < 64);
            e->lines[e->count++] = line;
            continue;
        }
        assert_true(e->option_count < 8);
        char *copy = e->option_text[e->option_count];
        snprintf(copy, sizeof e->option_text[0], "%s", line + 8);
        char *equals = strchr(copy, '=');
        assert_non_null(equals);
        *equals = '\0';
        e->options[e->option_count++] = (struct import_option){copy, equals + 1};
    }
}

static struct graph *read_graph(struct arena *a, const char *text, size_t size,
                                const struct expectation *e, struct bpu_error *err)
{
    struct import_request req = {.data = (const unsigned char *)text,
                                 .size = size,
                                 .name = "case.json",
                                 .options = e ? e->options : NULL,
                                 .option_count = e ? e->option_count : 0};
    return import_model(a, &req, err);
}

static const char *after(const char *line, const char *key)
{
    size_t n = strlen(key);
    return strncmp(line, key, n) == 0 && strncmp(line + n, ": ", 2) == 0 ? line + n + 2 : NULL;
}

static void expect_error(const char *name, const struct expectation *e, const struct graph *g,
                         const struct bpu_error *err)
{
    if (g) {
        complain("%s: was read, but must be refused", name);
        return;
    }
    for (size_t i = 0; i < e->count; i++) {
        const char *code = after(e->lines[i], "code"), *where = after(e->lines[i], "where");
        const char *message = after(e->lines[i], "message"), *hint = after(e->lines[i], "hint");
        bool ok = code      ? strcmp(code, error_code_name(err->code)) == 0
                  : where   ? strcmp(where, err->where) == 0
                  : message ? strstr(err->message, message) != NULL
                  : hint    ? strstr(err->hint, hint) != NULL
                            : false;
        if (!ok)
            complain("%s: expected \"%s\"; got %s at \"%s\": %s [%s]", name, e->lines[i],
                     error_code_name(err->code), err->where, err->message, err->hint);
    }
}

/* One line of a .ok file. */
static bool holds(const struct graph *g, const char *line)
{
    char text[1024], shape[SHAPE_TEXT_MAX], rest[512] = "";
    const char *arg;
    if ((arg = after(line, "value"))) {
        for (int i = 0; i < g->value_count; i++) {
            const struct value *v = g->values[i];
            snprintf(text, sizeof text, "%s %s %s", v->name, shape_text(&v->shape, shape),
                     dtype_name(v->dtype));
            if (strcmp(text, arg) == 0)
                return true;
        }
        return false;
    }
    if ((arg = after(line, "order"))) {
        for (int i = 0; i < g->node_count; i++) {
            size_t n = strlen(rest);
            snprintf(rest + n, sizeof rest - n, "%s%s", i ? " " : "", g->nodes[i]->name);
        }
        return strcmp(rest, arg) == 0;
    }
    if ((arg = after(line, "note"))) {
        for (int i = 0; i < g->note_count; i++)
            if (strstr(g->notes[i], arg))
                return true;
        return false;
    }
    if ((arg = after(line, "unbound"))) {
        const struct node *n = graph_find_node(g, arg);
        return n && !n->op;
    }
    if ((arg = after(line, "op")) && sscanf(arg, "%1000s %500s", text, rest) == 2) {
        const struct node *n = graph_find_node(g, text);
        return n && n->op && strcmp(n->op->name, rest) == 0;
    }
    if ((arg = after(line, "source")) && sscanf(arg, "%1000s %500s", text, rest) == 2) {
        const struct node *n = graph_find_node(g, text);
        return n && strcmp(n->origin.source_op, rest) == 0;
    }
    if ((arg = after(line, "folded")) && sscanf(arg, "%1000s %500s", text, rest) == 2) {
        const struct node *n = graph_find_node(g, text);
        return n && strcmp(fold_name(n->fold), rest) == 0;
    }
    int64_t a, b;
    if ((arg = after(line, "line")) && sscanf(arg, "%1000s %" SCNd64, text, &a) == 2) {
        const struct node *n = graph_find_node(g, text);
        return n && n->origin.line == a;
    }
    if ((arg = after(line, "int")) &&
        sscanf(arg, "%1000s %" SCNd64 " %" SCNd64, text, &a, &b) == 3) {
        const struct value *v = graph_find_value(g, text);
        int64_t x;
        for (int64_t i = 0; v && constant_int(v, i, &x); i++)
            if (x == a && constant_int(v, i + 1, &x) && x == b)
                return true;
        return false;
    }
    if ((arg = after(line, "zero_point")) && sscanf(arg, "%1000s %" SCNd64, text, &a) == 2) {
        const struct value *v = graph_find_value(g, text);
        return v && v->quant.zero_point && v->quant.zero_point[0] == a;
    }
    return false;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts the lines of the text: the order of values means nothing. */
static void sort_lines(struct buf *text, struct buf *out)
{
    char *lines[4096];
    size_t count = 0;
    for (char *line = strtok(text->data, "\n"); line; line = strtok(NULL, "\n")) {
        assert_true(count < 4096);
        lines[count++] = line;
    }
    qsort(lines, count, sizeof *lines, by_text);
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s\n", lines[i]);
}

/* Lines of the JSON text itself differ from one text to the next. */
static void forget_lines(const struct graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (!g->nodes[i]->origin.file)
            g->nodes[i]->origin.line = -1;
}

/* Two graphs are the same in their text dump, which names everything but constants' bytes. */
static void same_dump(const char *name, const struct graph *a, const struct graph *b)
{
    struct buf text, sorted[2];
    for (int i = 0; i < 2; i++) {
        buf_init(&text, BUF_DEFAULT_CAP);
        buf_init(&sorted[i], BUF_DEFAULT_CAP);
        forget_lines(i ? b : a);
        graph_dump(i ? b : a, &text);
        sort_lines(&text, &sorted[i]);
        buf_fini(&text);
    }
    if (strcmp(buf_str(&sorted[0]), buf_str(&sorted[1])) != 0)
        complain("%s: differs after writing and reading:\n%s\n%s", name, buf_str(&sorted[0]),
                 buf_str(&sorted[1]));
    buf_fini(&sorted[0]);
    buf_fini(&sorted[1]);
}

static void round_trip(const char *name, const struct graph *g, bool with_data)
{
    struct bpu_error err = {0};
    struct buf first, second;
    struct arena a;
    buf_init(&first, BUF_DEFAULT_CAP);
    buf_init(&second, BUF_DEFAULT_CAP);
    arena_init(&a, QUOTA);
    assert_true(export_graph_json(g, &first, with_data, &err));
    struct graph *again = read_graph(&a, buf_str(&first), first.size, NULL, &err);
    if (!again)
        complain("%s: what was written cannot be read: %s: %s\n%s", name, err.where, err.message,
                 buf_str(&first));
    else if (!export_graph_json(again, &second, with_data, &err) ||
             strcmp(buf_str(&first), buf_str(&second)) != 0)
        complain("%s: written twice, it differs:\n%s\n%s", name, buf_str(&first), buf_str(&second));
    if (again && with_data)
        same_dump(name, g, again);
    arena_fini(&a);
    buf_fini(&first);
    buf_fini(&second);
}

static void run_case(const char *name, const char *json, size_t size, char *ok, char *expected)
{
    struct expectation e;
    struct bpu_error err = {0};
    struct arena a;
    split(ok ? ok : expected, &e);
    arena_init(&a, QUOTA);
    struct graph *g = read_graph(&a, json, size, &e, &err);
    if (!ok) {
        expect_error(name, &e, g, &err);
    } else if (!g) {
        complain("%s: refused: %s: %s [%s]", name, err.where, err.message, err.hint);
    } else {
        for (size_t i = 0; i < e.count; i++)
            if (!holds(g, e.lines[i]))
                complain("%s: does not hold: %s", name, e.lines[i]);
        round_trip(name, g, true);
        round_trip(name, g, false);
    }
    arena_fini(&a);
}

typedef void each_fn(const char *name, const char *json, size_t size, char *ok, char *expected);

static size_t each_case(each_fn *fn)
{
    glob_t found; /* dirent.h has a DT_UNKNOWN of its own */
    if (glob(FOLDER "/*.json", 0, NULL, &found) != 0)
        fail_msg(FOLDER " is missing; run the tests from the root of the tree");
    size_t count = found.gl_pathc;
    for (size_t i = 0; i < count; i++) {
        const char *json_path = found.gl_pathv[i];
        char path[512];
        size_t size, ignored;
        int stem = (int)strlen(json_path) - 5;
        char *json = slurp(json_path, &size);
        assert_non_null(json);
        snprintf(path, sizeof path, "%.*s.ok", stem, json_path);
        char *ok = slurp(path, &ignored);
        snprintf(path, sizeof path, "%.*s.err", stem, json_path);
        char *expected = slurp(path, &ignored);
        if (!ok == !expected)
            fail_msg("%s needs one of .ok and .err", json_path);
        fn(json_path, json, size, ok, expected);
        free(json);
        free(ok);
        free(expected);
    }
    globfree(&found);
    return count;
}

static void test_cases(void **state)
{
    (void)state;
    complaints = 0;
    assert_true(each_case(run_case) > 80);
    assert_int_equal(complaints, 0);
}

/* The Nth allocation fails, for every N until one run goes through: an error each time, and no leak
 * (the sanitizer build looks). */
static void starve(const char *name, const char *json, size_t size, char *ok, char *expected)
{
    (void)expected;
    struct expectation e;
    if (!ok)
        return;
    split(ok, &e);
    for (long n = 0; n < 20000; n++) {
        struct bpu_error err = {0};
        struct arena a;
        arena_init(&a, QUOTA);
        a.fail_after = n;
        struct graph *g = read_graph(&a, json, size, &e, &err);
        if (!g && err.code != BPU_NO_MEMORY)
            complain("%s: allocation %ld fails, and the error is %s: %s", name, n,
                     error_code_name(err.code), err.message);
        arena_fini(&a);
        if (g || err.code != BPU_NO_MEMORY)
            return;
    }
    complain("%s: never went through", name);
}

static void test_allocations_fail(void **state)
{
    (void)state;
    complaints = 0;
    each_case(starve);
    assert_int_equal(complaints, 0);
}

/* Every prefix of a good file is refused, and every damaged byte ends in a graph or an error. */
static void damage(const char *name, const char *json, size_t size, char *ok, char *expected)
{
    (void)expected;
    if (!ok)
        return;
    char *copy = malloc(size);
    assert_non_null(copy);
    for (size_t n = 0; n < size; n += 1 + size / 200) {
        struct bpu_error err = {0};
        struct arena a;
        arena_init(&a, QUOTA);
        memcpy(copy, json, n);
        if (n + 2 < size && read_graph(&a, copy, n, NULL, &err))
            complain("%s: %zu of %zu bytes were read as a graph", name, n, size);
        arena_fini(&a);
        static const char bytes[] = "\"{}[],:-9e\\\0\xff";
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            memset(&err, 0, sizeof err);
            arena_init(&a, QUOTA);
            memcpy(copy, json, size);
            copy[n] = bytes[k];
            struct graph *g = read_graph(&a, copy, size, NULL, &err);
            if (!g && (err.code == BPU_NONE || err.code == BPU_SERVER || !err.message[0]))
                complain("%s: byte %zu as %02x: %s %s", name, n, (unsigned char)bytes[k],
                         error_code_name(err.code), err.message);
            arena_fini(&a);
        }
    }
    free(copy);
}

static void test_damage(void **state)
{
    (void)state;
    complaints = 0;
    each_case(damage);
    assert_int_equal(complaints, 0);
}

static void test_memory_is_estimated(void **state)
{
    (void)state;
    size_t n = (size_t)1 << 20;
    char *text = malloc(n);
    struct bpu_error err = {0};
    struct arena a;
    assert_non_null(text);
    memset(text, '[', 1);
    for (size_t i = 1; i < n; i++)
        text[i] = i % 2 ? '0' : ',';
    memcpy(text, "{\"a\": [0", 8);
    arena_init(&a, (size_t)8 << 20);
    assert_null(read_graph(&a, text, n, NULL, &err));
    assert_int_equal(err.code, BPU_NO_MEMORY);
    assert_non_null(strstr(err.hint, "data"));
    arena_fini(&a);
    free(text);
}

static void test_pointer(void **state)
{
    (void)state;
    char out[64];
    json_pointer(NULL, out, sizeof out);
    assert_string_equal(out, "/");
    json_pointer(AT_KEY(AT_INDEX(AT_KEY(NULL, "nodes"), 3), "a/b~c"), out, sizeof out);
    assert_string_equal(out, "/nodes/3/a~1b~0c");
    json_pointer(AT_KEY(AT_KEY(NULL, "a long key that does not fit the place for it"), "x"), out,
                 16);
    assert_int_equal(strlen(out), 15);
    json_pointer(AT_KEY(NULL, "x"), out, 1);
    assert_string_equal(out, "");
}

static bool option_shape(const char *key, const char *value, const char *name, int index,
                         struct shape *s, enum dtype *t, struct bpu_error *err)
{
    struct import_option o = {key, value};
    struct import_request req = {.options = &o, .option_count = 1};
    bool found = false;
    memset(err, 0, sizeof *err);
    bool ok = import_input_shape(&req, name, index, s, t, &found, err);
    return ok && found;
}

static void test_input_option(void **state)
{
    (void)state;
    struct bpu_error err;
    struct shape s;
    enum dtype t;
    assert_true(option_shape("input.x", "1x3x224x224:qint16", "x", 0, &s, &t, &err));
    assert_int_equal(s.rank, 4);
    assert_int_equal(s.dim[3], 224);
    assert_int_equal(t, DT_QINT16);
    assert_true(option_shape("input.1", "5", "y", 1, &s, &t, &err));
    assert_int_equal(s.rank, 1);
    assert_int_equal(t, DT_UNKNOWN);
    assert_true(option_shape("input.y", "scalar", "y", 1, &s, &t, &err));
    assert_int_equal(s.rank, 0);
    assert_true(option_shape("input.a=b.c", "1,2,3", "a=b.c", 0, &s, &t, &err));
    assert_int_equal(s.rank, 3);
    assert_false(option_shape("input.1", "5", "x", 0, &s, &t, &err));
    assert_int_equal(err.code, BPU_NONE);
    static const char *const wrong[] = {"",
                                        "x",
                                        "1x",
                                        "1xx2",
                                        "0",
                                        "-1",
                                        "1x2:",
                                        "1x2:q",
                                        "1x2 ",
                                        "1x2y",
                                        "1.5",
                                        "ax2",
                                        "scala",
                                        "+1",
                                        ":qint8",
                                        "1x?",
                                        "scalarx1",
                                        "99999999999999999999",
                                        "4294967296x4294967296",
                                        "1x1x1x1x1x1x1x1x1x1x1x1x1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(option_shape("input.x", wrong[i], "x", 0, &s, &t, &err));
        if (err.code != BPU_BAD_OPTION || !strstr(err.hint, "input.x=1x3x224x224"))
            fail_msg("\"%s\": %s %s", wrong[i], error_code_name(err.code), err.hint);
    }
}

static void test_input_option_twice(void **state)
{
    (void)state;
    struct import_option o[2] = {{"input.0", "1x2"}, {"input.x", "1x3"}};
    struct import_request req = {.options = o, .option_count = 2};
    struct bpu_error err = {0};
    struct shape s;
    enum dtype t;
    bool found;
    assert_false(import_input_shape(&req, "x", 0, &s, &t, &found, &err));
    assert_int_equal(err.code, BPU_BAD_OPTION);
    o[0].value = "1x3";
    memset(&err, 0, sizeof err);
    assert_true(import_input_shape(&req, "x", 0, &s, &t, &found, &err));
    assert_true(found);
}

/* Names that JSON cannot hold as they are. */
static void test_write_awkward_names(void **state)
{
    (void)state;
    struct bpu_error err = {0};
    struct arena a;
    struct buf out;
    arena_init(&a, QUOTA);
    buf_init(&out, BUF_DEFAULT_CAP);
    struct graph *g = graph_new(&a, "bad\xc3(utf\xed\xa0\x80", "onnx", &err);
    struct value *x = graph_add_value(g, "x\x01\n\"", &err);
    int64_t dims[] = {1, 2};
    x->shape = shape_of(2, dims);
    x->dtype = DT_FLOAT32;
    assert_true(graph_add_input(g, x, &err));
    struct node *n = graph_add_node(g, "n", "torch.nn.ReLU", &err);
    struct value *y = node_add_output(g, n, "y", &err);
    assert_true(node_add_input(g, n, x, &err) && graph_add_output(g, y, &err));
    assert_true(op_bind(n) && op_apply_all(g, &err));
    assert_true(export_graph_json(g, &out, true, &err));
    assert_non_null(strstr(buf_str(&out), "\"x\\u0001\\u000a\\\"\""));
    assert_non_null(strstr(buf_str(&out), "bad\xEF\xBF\xBD(utf"));
    struct graph *again = read_graph(&a, buf_str(&out), out.size, NULL, &err);
    assert_non_null(again);
    assert_string_equal(again->inputs[0]->name, x->name);
    buf_fini(&out);
    arena_fini(&a);
}

/* A writer that runs out of room says so and does not hand out half a file as whole. */
static void test_write_full(void **state)
{
    (void)state;
    static const char text[] = "{\"format\": \"bpuhub.graph/1\", \"inputs\": [{\"name\": \"x\", "
                               "\"shape\": [1]}], \"nodes\": "
                               "[{\"op\": \"torch.nn.ReLU\", \"inputs\": [\"x\"], \"outputs\": "
                               "[\"y\"]}], \"outputs\": [\"y\"]}";
    struct bpu_error err = {0};
    struct arena a;
    struct buf out;
    arena_init(&a, QUOTA);
    struct graph *g = read_graph(&a, text, sizeof text - 1, NULL, &err);
    assert_non_null(g);
    buf_init(&out, 100);
    assert_false(export_graph_json(g, &out, true, &err));
    assert_int_equal(err.code, BPU_NO_MEMORY);
    buf_fini(&out);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_allocations_fail),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_memory_is_estimated),
        cmocka_unit_test(test_pointer),
        cmocka_unit_test(test_input_option),
        cmocka_unit_test(test_input_option_twice),
        cmocka_unit_test(test_write_awkward_names),
        cmocka_unit_test(test_write_full),
    };
    return cmocka_run_group_tests_name("graph_json", tests, NULL, NULL);
}
