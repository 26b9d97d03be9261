/* The ONNX fixtures: what must be read has the shapes that another program infers, and survives the
 * way through graph JSON; what must be refused is.
 *
 * tests/fixtures/NAME.shapes holds "value shape" as onnx.shape_inference gives them; bad_NAME.onnx
 * must be refused with a message, a place and no internal error. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/check/check.h"
#include "core/export/export.h"
#include "core/import/import.h"

#define FOLDER "tests/fixtures"
#define QUOTA ((size_t)256 << 20)

static int complaints;

#define complain(...) (complaints++, print_error(__VA_ARGS__), print_error("\n"))

/* The sibling of path with another suffix; NULL if it does not exist. */
static char *sibling(const char *path, const char *suffix, size_t *size)
{
    char name[512];
    size_t ignored;
    int stem = (int)(strrchr(path, '.') - path);
    snprintf(name, sizeof name, "%.*s%s", stem, path, suffix);
    FILE *f = fopen(name, "rb");
    if (!f)
        return NULL;
    char *text = calloc(1, (size_t)1 << 20);
    assert_non_null(text);
    *(size ? size : &ignored) = fread(text, 1, ((size_t)1 << 20) - 1, f);
    fclose(f);
    return text;
}

struct loaded {
    struct arena arena;
    char *bytes, *options;
    struct graph *graph;
    struct bpu_error err;
};

static void load(const char *path, struct loaded *l)
{
    struct import_option options[8];
    struct import_request req = {.name = path, .options = options};
    memset(l, 0, sizeof *l);
    l->bytes = sibling(path, ".onnx", &req.size);
    assert_non_null(l->bytes);
    req.data = (const unsigned char *)l->bytes;
    l->options = sibling(path, ".options", NULL);
    for (char *line = l->options ? strtok(l->options, "\n") : NULL; line;
         line = strtok(NULL, "\n")) {
        char *equals = strchr(line, '=');
        assert_non_null(equals);
        *equals = '\0';
        options[req.option_count++] = (struct import_option){line, equals + 1};
    }
    arena_init(&l->arena, QUOTA);
    l->graph = import_model(&l->arena, &req, &l->err);
}

static void unload(struct loaded *l)
{
    arena_fini(&l->arena);
    free(l->bytes);
    free(l->options);
}

/* Every line of NAME.shapes that names a value which we also have; at least the outputs must be
 * among them. */
static void compare_shapes(const char *path, const struct graph *g)
{
    char *text = sibling(path, ".shapes", NULL), name[256], expected[SHAPE_TEXT_MAX];
    char actual[SHAPE_TEXT_MAX];
    int outputs = 0;
    if (!text)
        return;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        assert_int_equal(sscanf(line, "%255s %255s", name, expected), 2);
        const struct value *v = graph_find_value(g, name);
        if (!v)
            continue;
        outputs += v->is_output;
        if (strcmp(shape_text(&v->shape, actual), expected) != 0)
            complain("%s: \"%s\" is %s, onnx says %s", path, name, actual, expected);
    }
    if (outputs < g->output_count)
        complain("%s: only %d of %d outputs were compared", path, outputs, g->output_count);
    free(text);
}

/* A graph keeps the verdict of every node. (Findings may differ: some limits hold for the ONNX form
 * of an operator only.) */
static void compare_verdicts(const char *path, struct graph *a, struct graph *b)
{
    size_t count;
    const struct march *const *marches = march_list(&count);
    assert_true(count >= 2);
    for (size_t i = 0; i < count; i++) {
        struct bpu_error err = {0};
        struct check_options options = {.advice_us = -1};
        struct check_result *x = check_graph(a, marches[i], &options, &err);
        struct check_result *y = check_graph(b, marches[i], &options, &err);
        if (!x || !y) {
            complain("%s: cannot be checked: %s", path, err.message);
            continue;
        }
        for (int k = 0; k < b->node_count; k++) {
            const struct node *n = graph_find_node(a, b->nodes[k]->name);
            if (!n || x->verdicts[n->index] != y->verdicts[k])
                complain("%s on %s: node \"%s\" changes its verdict from %d to %d", path,
                         march_name(marches[i]), b->nodes[k]->name,
                         n ? (int)x->verdicts[n->index] : -1, (int)y->verdicts[k]);
        }
    }
}

static void through_json(const char *path, struct graph *g)
{
    struct bpu_error err = {0};
    struct buf first, second;
    struct arena a;
    buf_init(&first, BUF_DEFAULT_CAP);
    buf_init(&second, BUF_DEFAULT_CAP);
    arena_init(&a, QUOTA);
    assert_true(export_graph_json(g, &first, true, &err));
    struct import_request req = {
        .data = (const unsigned char *)buf_str(&first), .size = first.size, .name = "graph.json"};
    struct graph *again = import_model(&a, &req, &err);
    if (!again) {
        complain("%s: as graph JSON it is refused: %s: %s", path, err.where, err.message);
    } else {
        assert_true(export_graph_json(again, &second, true, &err));
        if (strcmp(buf_str(&first), buf_str(&second)) != 0)
            complain("%s: as graph JSON it differs:\n%.3000s\n%.3000s", path, buf_str(&first),
                     buf_str(&second));
        compare_shapes(path, again);
        compare_verdicts(path, g, again);
    }
    arena_fini(&a);
    buf_fini(&first);
    buf_fini(&second);
}

static size_t each(const char *pattern, void (*fn)(const char *path))
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        fail_msg("%s is missing; run the tests from the root of the tree", pattern);
    size_t count = found.gl_pathc;
    for (size_t i = 0; i < count; i++)
        fn(found.gl_pathv[i]);
    globfree(&found);
    return count;
}

static void check_good(const char *path)
{
    struct loaded l;
    if (strstr(path, "/bad_"))
        return;
    load(path, &l);
    if (!l.graph)
        complain("%s: refused: %s: %s [%s]", path, l.err.where, l.err.message, l.err.hint);
    else {
        compare_shapes(path, l.graph);
        through_json(path, l.graph);
    }
    unload(&l);
}

static void check_bad(const char *path)
{
    struct loaded l;
    load(path, &l);
    if (l.graph)
        complain("%s: was read, but must be refused", path);
    else if (l.err.code == BPU_NONE || l.err.code == BPU_SERVER || !l.err.message[0] ||
             !l.err.where[0])
        complain("%s: %s at \"%s\": %s", path, error_code_name(l.err.code), l.err.where,
                 l.err.message);
    unload(&l);
}

/* Without the option, the error names the input and shows the option to give. */
static void check_open(const char *path)
{
    struct import_request req = {.name = path};
    struct bpu_error err = {0};
    struct arena a;
    char *bytes = sibling(path, ".onnx", &req.size);
    assert_non_null(bytes);
    req.data = (const unsigned char *)bytes;
    arena_init(&a, QUOTA);
    if (import_model(&a, &req, &err) || err.code != BPU_SHAPE_NEEDED ||
        !strstr(err.message, "\"x\"") || !strstr(err.hint, "input.x="))
        complain("%s: without the option: %s: %s [%s]", path, error_code_name(err.code),
                 err.message, err.hint);
    arena_fini(&a);
    free(bytes);
}

static void test_good(void **state)
{
    (void)state;
    complaints = 0;
    assert_true(each(FOLDER "/*.onnx", check_good) > 30);
    assert_int_equal(complaints, 0);
}

static void test_bad(void **state)
{
    (void)state;
    complaints = 0;
    assert_true(each(FOLDER "/bad_*.onnx", check_bad) > 10);
    assert_int_equal(complaints, 0);
}

static void test_open_shapes(void **state)
{
    (void)state;
    complaints = 0;
    assert_true(each(FOLDER "/*.options", check_open) >= 3);
    assert_int_equal(complaints, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_open_shapes),
    };
    return cmocka_run_group_tests_name("fixtures", tests, NULL, NULL);
}
