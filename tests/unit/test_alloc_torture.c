/* Every importer under failing allocations: the 1st, 2nd, … Nth one fails, and the result is an
 * error that says so, or what it would have been anyway; nothing leaks.
 *
 * Three ways to fail: the job's arena (which protobuf-c allocates from, too), jansson's allocator,
 * and malloc itself, which libzip, zlib and all others end in.  The last one needs a malloc of our
 * own and so is left to builds without sanitizers; those look for leaks in the other two. */
#define _GNU_SOURCE
#include <glob.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/import/import.h"
#include "tests/unit/failing_malloc.h"

enum {
    ALL = SANITIZED ? 60 : 250, /* up to so many allocations each one fails, beyond that a sample */
    QUOTA = 64 << 20,
    /* zip_fopen_index() loses a layer of a source if there is no memory for the next one.  What is
     * ours to lose is a block of an arena or a buffer, which are larger. */
    LIBZIP_LOSES = 1024,
};

static long jansson_left = LONG_MAX;

/* jansson's reader of strings goes on when the buffer of a token cannot grow, to 32, 64, 128 …
 * bytes, and then reads beyond it.  The importer sees to it that this memory is there
 * (json_read.c), so that these sizes are left out here. */
static void *jansson_malloc(size_t n)
{
    bool token = n >= 32 && (n & (n - 1)) == 0;
    return !token && fails(&jansson_left) ? NULL : real_malloc(n);
}

/* ── one file ── */

struct file {
    const char *path;
    char *data, *option_text;
    size_t size;
    struct import_option options[8];
    size_t option_count;
};

static char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
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

static void file_open(struct file *f, const char *path)
{
    char beside[512];
    size_t ignored;
    const char *dot = strrchr(path, '.');
    *f = (struct file){.path = path};
    f->data = slurp(path, &f->size);
    if (!f->data)
        fail_msg("%s is missing", path);
    snprintf(beside, sizeof beside, "%.*s.options", (int)(dot - path), path);
    f->option_text = slurp(beside, &ignored);
    char *rest = NULL;
    for (char *line = f->option_text ? strtok_r(f->option_text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        char *equals = strchr(line, '=');
        assert_true(equals && f->option_count < 8);
        *equals = '\0';
        f->options[f->option_count++] = (struct import_option){line, equals + 1};
    }
}

static void file_close(struct file *f)
{
    free(f->data);
    free(f->option_text);
}

enum way { WAY_ARENA, WAY_JANSSON, WAY_MALLOC, WAYS };
static const char *const way_names[] = {"the arena's", "jansson's", "malloc's"};

struct outcome {
    struct bpu_error err;
    int nodes, outputs; /* -1: there is no graph */
    long used;          /* allocations of the way that was counted */
    long leak;          /* bytes */
};

static bool is_text(const struct file *f)
{
    const char *dot = strrchr(f->path, '.');
    return strcmp(dot, ".graph") == 0;
}

/* Imports while allocation n of one way fails. */
static struct outcome run(const struct file *f, enum way way, long n)
{
    struct outcome o = {.nodes = -1, .outputs = -1};
    struct bpu_error broken = {0};
    struct arena a;
    struct import_request req = {.data = (unsigned char *)f->data,
                                 .size = f->size,
                                 .name = "torture",
                                 .options = f->options,
                                 .option_count = f->option_count};
    tzset(); /* dates of archives need it, and it keeps what it allocates */
    size_t before = malloc_used();
    arena_init(&a, QUOTA);
    long *left = way == WAY_JANSSON ? &jansson_left : way == WAY_MALLOC ? &malloc_left : NULL;
    if (left)
        *left = n;
    else
        a.fail_after = n;
    struct graph *g =
        is_text(f) ? graph_parse(&a, f->data, &o.err) : import_model(&a, &req, &o.err);
    o.used = n - (left ? *left : a.fail_after);
    if (left)
        *left = LONG_MAX;
    a.fail_after = -1;
    if (g) {
        o.nodes = g->node_count;
        o.outputs = g->output_count;
        if (!graph_verify(g, &broken))
            fail_msg("%s, allocation %ld of %s: %s", f->path, n, way_names[way], broken.message);
    }
    arena_fini(&a);
    o.leak = (long)(malloc_used() - before);
    return o;
}

static void judge(const struct file *f, enum way way, long n, const struct outcome *plain,
                  const struct outcome *o)
{
    if ((o->nodes < 0) != (o->err.code != BPU_NONE))
        fail_msg("%s, allocation %ld of %s: %s", f->path, n, way_names[way],
                 o->nodes < 0 ? "no graph and no error" : o->err.message);
    if (o->leak > (way == WAY_MALLOC ? LIBZIP_LOSES : 0))
        fail_msg("%s, allocation %ld of %s: %ld bytes leak", f->path, n, way_names[way], o->leak);
    if (o->err.code == BPU_NO_MEMORY && o->err.message[0])
        return;
    /* jansson and libzip tell some failures as damage: "string expected", "not a zip archive". */
    if (way != WAY_ARENA && o->err.code == BPU_BAD_MODEL && o->err.message[0])
        return;
    if (o->err.code != plain->err.code || o->nodes != plain->nodes || o->outputs != plain->outputs)
        fail_msg("%s, allocation %ld of %s: [%s] %s (%s), %d nodes", f->path, n, way_names[way],
                 error_code_name(o->err.code), o->err.message, o->err.where, o->nodes);
    if (way == WAY_ARENA && plain->err.code == BPU_NONE)
        fail_msg("%s: that allocation %ld of the arena failed is kept silent", f->path, n);
}

/* How many runs failed as they should. */
static int torture(const char *path)
{
    struct file f;
    int runs = 0;
    file_open(&f, path);
    for (enum way way = 0; way < WAYS; way++) {
        if (SANITIZED && way == WAY_MALLOC)
            continue;
        run(&f, way, LONG_MAX - 1); /* the first time, libraries set things up for good */
        struct outcome plain = run(&f, way, LONG_MAX - 1);
        long step = plain.used > ALL ? plain.used / ALL + 1 : 1;
        assert_true(plain.leak <= 0);
        for (long n = 0; n < plain.used; n += n < ALL / 4 ? 1 : step, runs++) {
            struct outcome o = run(&f, way, n);
            judge(&f, way, n, &plain, &o);
        }
    }
    file_close(&f);
    return runs;
}

static void torture_all(const char *pattern, int at_least)
{
    glob_t found;
    int runs = 0;
    if (glob(pattern, 0, NULL, &found) != 0)
        fail_msg("%s: there are none", pattern);
    for (size_t i = 0; i < found.gl_pathc; i++)
        runs += torture(found.gl_pathv[i]);
    print_message("           %s: %zu files, %d failures\n", pattern, found.gl_pathc, runs);
    assert_true((int)found.gl_pathc >= at_least && runs > 10 * at_least);
    globfree(&found);
}

static void onnx_float_and_quantized(void **state)
{
    (void)state;
    torture_all("tests/fixtures/*.onnx", 30);
}

static void graph_json(void **state)
{
    (void)state;
    torture_all("tests/fixtures/*.json", 3);
}

static void torchscript_traced_scripted_frozen_quantized(void **state)
{
    (void)state;
    torture_all("tests/fixtures/torchscript/*.pt", 15);
}

static void torch_export_in_both_layouts(void **state)
{
    (void)state;
    torture_all("tests/fixtures/pt2/[cq]*.pt2", 10);
}

static void what_is_refused(void **state)
{
    (void)state;
    torture_all("tests/fixtures/bad/*.*", 5);
}

/* The two own formats of a network, written first: as text and as JSON. */
static void graph_text(void **state)
{
    char path[] = "/tmp/bpuhub-torture-XXXXXX.graph";
    struct file f;
    struct arena a;
    struct buf text;
    struct bpu_error err = {0};
    (void)state;
    file_open(&f, "tests/fixtures/lenet_qat_s8.onnx");
    struct import_request req = {.data = (unsigned char *)f.data, .size = f.size, .name = "lenet"};
    arena_init(&a, QUOTA);
    buf_init(&text, QUOTA);
    struct graph *g = import_model(&a, &req, &err);
    assert_non_null(g);
    graph_dump(g, &text);
    int fd = mkstemps(path, 6);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text.data, text.size), text.size);
    close(fd);
    buf_fini(&text);
    arena_fini(&a);
    file_close(&f);
    int runs = torture(path);
    unlink(path);
    assert_true(runs > 50);
}

int main(int argc, char **argv)
{
    malloc_exactly(argv);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    json_set_alloc_funcs(jansson_malloc, free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onnx_float_and_quantized),
        cmocka_unit_test(graph_json),
        cmocka_unit_test(graph_text),
        cmocka_unit_test(torchscript_traced_scripted_frozen_quantized),
        cmocka_unit_test(torch_export_in_both_layouts),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
