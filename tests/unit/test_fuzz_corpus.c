/* The committed corpora of the fuzz targets, run by the normal build: what a target states must
 * hold for every seed and for every input that once broke something.
 *
 * All targets are part of this program.  Each input runs in a process of its own, so that a crash
 * names its file and does not hide the others, and twice: a run must give back what it takes.
 * None may take longer than two seconds. */
#define _GNU_SOURCE
#include <glob.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/ops/op.h"
#include "tests/fuzz/fuzz.c"
#include "tests/fuzz/xml.c"
#include "tests/fuzz/zip.c"

#include "tests/fuzz/target_bpu.c"
#include "tests/fuzz/target_bpug.c"
#include "tests/fuzz/target_check.c"
#include "tests/fuzz/target_compare.c"
#include "tests/fuzz/target_data.c"
#include "tests/fuzz/target_graph_json.c"
#include "tests/fuzz/target_graph_text.c"
#include "tests/fuzz/target_http.c"
#include "tests/fuzz/target_onnx.c"
#include "tests/fuzz/target_pickle.c"
#include "tests/fuzz/target_pt2.c"
#include "tests/fuzz/target_torchscript.c"
#include "tests/fuzz/target_torchscript_code.c"
#include "tests/fuzz/target_wire.c"
#include "tests/fuzz/target_zip.c"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define CPU_SECONDS (SANITIZED ? 20 : 2)

typedef int target_fn(const uint8_t *data, size_t size);

struct corpus {
    const char *name;
    target_fn *run;
    int files, broken;
};

static uint8_t *corpus_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = malloc(*size + 1);
    assert_non_null(p);
    assert_int_equal(fread(p, 1, *size, f), *size);
    fclose(f);
    return p;
}

/* In the child: the exit status says what went wrong. */
enum { CHILD_LEAK = 3, CHILD_SLOW };

static void child_run(const struct corpus *c, const uint8_t *data, size_t size)
{
    struct rusage use;
    alarm(60);
    c->run(data, size);
    getrusage(RUSAGE_SELF, &use);
    size_t before = mallinfo2().uordblks;
    c->run(data, size);
    if (!SANITIZED && mallinfo2().uordblks > before) /* sanitizers count leaks themselves */
        _exit(CHILD_LEAK);
    _exit(use.ru_utime.tv_sec + use.ru_stime.tv_sec >= CPU_SECONDS ? CHILD_SLOW : 0);
}

static void corpus_file(struct corpus *c, const char *path)
{
    size_t size;
    int status = 0;
    uint8_t *data = corpus_read(path, &size);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        child_run(c, data, size);
    assert_int_equal(waitpid(child, &status, 0), child);
    free(data);
    c->files++;
    if (status == 0)
        return;
    c->broken++;
    if (WIFSIGNALED(status))
        print_message("%s: signal %d\n", path, WTERMSIG(status));
    else
        print_message("%s: %s\n", path,
                      WEXITSTATUS(status) == CHILD_LEAK   ? "memory leaks"
                      : WEXITSTATUS(status) == CHILD_SLOW ? "it takes too long"
                                                          : "a sanitizer complains");
}

static void corpus_folder(struct corpus *c, const char *folder)
{
    char pattern[1024];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        corpus_file(c, found.gl_pathv[i]);
    globfree(&found);
}

/* This file's own folder leads to the corpora, wherever the program runs. */
static const char *tests_folder(char out[512])
{
    static const char here[] = __FILE__, tail[] = "unit/test_fuzz_corpus.c";
    snprintf(out, 512, "%.*s", (int)(sizeof here - sizeof tail), here);
    return out;
}

static void test_corpus(void **state)
{
    struct corpus *c = *state;
    char tests[512], folder[768];
    snprintf(folder, sizeof folder, "%sfuzz/corpus/%s", tests_folder(tests), c->name);
    corpus_folder(c, folder);
    print_message("           %d inputs of %s\n", c->files, c->name);
    assert_true(c->files > 0);
    assert_int_equal(c->broken, 0);
}

/* A small file that asks for the same large constant again and again (found by reading, not by
 * fuzzing: 64 KB took minutes): large results stop being computed, shape arithmetic does not. */
static void test_fold_budget(void **state)
{
    enum { ELEMENTS = 1 << 22, NODES = 64 };
    struct arena a;
    struct bpu_error err = {0};
    struct shape large = shape_of(1, &(int64_t){ELEMENTS}), small = shape_of(1, &(int64_t){2});
    static const int64_t two[] = {3, 4};
    int64_t sum;
    (void)state;
    arena_init(&a, (size_t)128 << 20);
    struct graph *g = graph_new(&a, "budget", "graph-json", &err);
    void *zeros = arena_alloc(&a, (size_t)ELEMENTS * 8, &err);
    assert_true(g && zeros);
    struct value *v =
        graph_add_constant(g, "v", &large, DT_INT64, zeros, (size_t)ELEMENTS * 8, &err);
    struct value *w = graph_add_constant(g, "w", &small, DT_INT64, two, sizeof two, &err);
    assert_true(v && w);
    for (int i = 0; i <= NODES; i++) {
        struct node *n = graph_add_node(g, NULL, "torch.sum", &err);
        assert_true(n && op_bind(n) && node_add_input(g, n, i < NODES ? v : w, &err));
        assert_non_null(node_add_output(g, n, NULL, &err));
        assert_true(op_apply(g, n, &err));
        assert_int_equal(n->fold, FOLD_CONSTANT);
    }
    assert_true(g->folded_elements <= OP_FOLD_BUDGET);
    assert_true(value_is_known(g->nodes[0]->outputs[0]));
    assert_false(value_is_known(g->nodes[NODES - 1]->outputs[0]));
    assert_true(constant_int(g->nodes[NODES]->outputs[0], 0, &sum));
    assert_int_equal(sum, 7);
    arena_fini(&a);
}

/* The checker of XML that the targets trust. */
static void test_xml(void **state)
{
    static const char *const good[] = {
        "<a/>", "<?xml version=\"1.0\"?>\n<a b=\"1\" c='2'>x &lt; <b/></a>\n", "<a><!-- x --></a>",
        "<a>&#39;&#xFFFD;</a>"};
    static const char *const bad[] = {"",
                                      "x",
                                      "<a>",
                                      "</a>",
                                      "<a></b>",
                                      "<a/><a/>",
                                      "<a b=1/>",
                                      "<a b=\"1\" b=\"2\"/>",
                                      "<a>&x;</a>",
                                      "<a>\x01</a>",
                                      "<a>&#1;</a>",
                                      "<a b=\"<\"/>",
                                      "<a>\xEF\xBF\xBE</a>",
                                      "<a b=\"1\"c=\"2\"/>",
                                      "<a>]]></a>"};
    char why[128];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!xml_well_formed(good[i], strlen(good[i]), why))
            fail_msg("%s: %s", good[i], why);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (xml_well_formed(bad[i], strlen(bad[i]), why))
            fail_msg("%s is taken for XML", bad[i]);
}

#define TARGETS(X)                                                                                 \
    X(bpu) X(bpug)                                                                                 \
    X(check) X(compare) X(data) X(graph_json) X(graph_text) X(http) X(onnx) X(pickle) X(pt2) X(torchscript)   \
        X(torchscript_code) X(wire) X(zip)

int main(int argc, char **argv)
{
    /* The caches of malloc would count as used. */
    if (argc > 0 && !SANITIZED && !getenv("GLIBC_TUNABLES")) {
        setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
        execv("/proc/self/exe", argv);
    }
    static struct corpus corpora[] = {
#define X(name) {#name, fuzz_##name, 0, 0},
        TARGETS(X)
#undef X
    };
    struct CMUnitTest tests[sizeof corpora / sizeof *corpora + 2] = {
        cmocka_unit_test(test_xml), cmocka_unit_test(test_fold_budget)};
    for (size_t i = 0; i < sizeof corpora / sizeof *corpora; i++)
        tests[i + 2] = (struct CMUnitTest){corpora[i].name, test_corpus, NULL, NULL, &corpora[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
