/* The page of a measurement as bytes: what it may hold, whatever the names are, however long the program is.
 * tests/browser/perf.test.js opens it. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <math.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/job/report_perf_html.h"

#define LENET "tests/fixtures/lenet_float.onnx"
#define HOSTILE "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'\\\n\x01\xff\xf0\x9f"

struct page {
    struct arena arena;
    struct perf_model m;
    unsigned char *file;
    struct buf out;
    struct bpu_error err;
};

static void page_new(struct page *p, const char *name)
{
    FILE *f = fopen(LENET, "rb");
    memset(p, 0, sizeof *p);
    assert_non_null(f);
    p->file = malloc(1 << 20);
    assert_non_null(p->file);
    size_t size = fread(p->file, 1, 1 << 20, f);
    fclose(f);
    arena_init(&p->arena, (size_t)1 << 30);
    buf_init(&p->out, BUF_DEFAULT_CAP);
    p->m.c = (struct compilation){.arena = &p->arena,
                                  .model = p->file,
                                  .model_size = size,
                                  .model_name = name,
                                  .model_id = "0123",
                                  .march = "bayes"};
    if (!perf_model_run(&p->m, &p->err))
        fail_msg("%s: %s", p->err.where, p->err.message);
    assert_true(p->m.legal);
}

static void page_write(struct page *p)
{
    buf_clear(&p->out);
    if (!report_perf_html(&p->m, &p->out, &p->err))
        fail_msg("%s: %s", p->err.where, p->err.message);
}

static void page_free(struct page *p)
{
    buf_fini(&p->out);
    arena_fini(&p->arena);
    free(p->file);
}

static int count(const struct page *p, const char *what)
{
    int n = 0;
    for (const char *s = buf_str(&p->out); (s = strstr(s, what)) != NULL; s++)
        n++;
    return n;
}

static bool holds(const struct page *p, const char *what)
{
    return count(p, what) > 0;
}

/* No name of HTML's, CSS's or SVG's that loads something. */
static void loads_nothing(const struct page *p)
{
    static const char *const words[] = {"src=",   "<link",  "@import", "url(",    "<iframe", "<object",
                                        "<embed", "<image", "xlink:",  "<base",   "fetch(",  "import(",
                                        "XMLHttp", "http-equiv=\"refresh"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (holds(p, words[i]))
            fail_msg("the page holds %s", words[i]);
    /* Addresses are names of namespaces, and of links inside the page. */
    for (const char *s = buf_str(&p->out); (s = strstr(s, "http://")) != NULL; s++)
        assert_true(strncmp(s, "http://www.w3.org/2000/svg", 26) == 0);
    assert_false(holds(p, "https://"));
    for (const char *s = buf_str(&p->out); (s = strstr(s, "href=\"")) != NULL; s++)
        assert_int_equal(s[6], '#');
}

static void no_figure_is_missing(const struct page *p)
{
    assert_false(holds(p, ">nan") || holds(p, ">-nan") || holds(p, ">inf") || holds(p, "nan us") ||
                 holds(p, ":nan") || holds(p, "\"nan") || holds(p, " inf "));
}

static void the_page_is_whole(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "id=\"fps\"",      "id=\"latency\"",  "id=\"ddr\"",       "id=\"utilization\"",
        "id=\"costliest\"", "id=\"advice\"",   "id=\"timeline\"",  "id=\"roofline\"",
        "id=\"over-time\"", "id=\"memory\"",   "id=\"traffic\"",   "id=\"graph\"",
        "id=\"layers\"",    "class=\"bpu-plan\"", "class=\"bpu-schedule\"", "expected error: "};
    struct page p;
    page_new(&p, "lenet.onnx");
    page_write(&p);
    assert_memory_equal(p.out.data, "<!DOCTYPE html>", 15);
    assert_memory_equal(p.out.data + p.out.size - 8, "</html>\n", 8);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (count(&p, parts[i]) != 1)
            fail_msg("%s stands there %d times", parts[i], count(&p, parts[i]));
    char latency[64];
    snprintf(latency, sizeof latency, "<b>%.2f us</b>", p.m.perf.latency_us);
    assert_true(holds(&p, latency));
    loads_nothing(&p);
    no_figure_is_missing(&p);
    page_free(&p);
}

static void the_same_model_gives_the_same_bytes(void **state)
{
    (void)state;
    struct page a, b;
    page_new(&a, "net");
    page_new(&b, "net");
    page_write(&a);
    page_write(&b);
    assert_int_equal(a.out.size, b.out.size);
    assert_memory_equal(a.out.data, b.out.data, a.out.size);
    page_free(&a);
    page_free(&b);
}

/* The policy allows the script that is there, and no other. */
static void the_policy_has_the_hash_of_the_script(void **state)
{
    (void)state;
    struct page p;
    unsigned char hash[SHA256_DIGEST_LENGTH], text[64];
    char want[128];
    page_new(&p, "net");
    page_write(&p);
    const char *first = strstr(buf_str(&p.out), "<script>");
    assert_non_null(first);
    first += strlen("<script>");
    const char *end = strstr(first, "</script>");
    assert_non_null(end);
    SHA256((const unsigned char *)first, (size_t)(end - first), hash);
    EVP_EncodeBlock(text, hash, sizeof hash);
    snprintf(want, sizeof want, "script-src 'sha256-%s'", (const char *)text);
    assert_true(holds(&p, want));
    assert_true(holds(&p, "default-src 'none'"));
    assert_false(holds(&p, "script-src 'unsafe"));
    page_free(&p);
}

static void hostile_names_stay_text(void **state)
{
    (void)state;
    struct page p;
    page_new(&p, "net");
    p.m.c.model_name = HOSTILE;
    struct program *program = p.m.c.program;
    struct perf *perf = &p.m.perf;
    for (int i = 0; i < program->source_count; i++)
        program->sources[i].name = program->sources[i].op = HOSTILE;
    for (int i = 0; i < program->buffer_count; i++)
        program->buffers[i].name = HOSTILE;
    for (int i = 0; i < perf->tensor_count; i++)
        perf->tensors[i].name = HOSTILE;
    for (int i = 0; i < perf->advice_count; i++)
        perf->advice[i].text = perf->advice[i].action = HOSTILE;
    program->name = program->options = HOSTILE;
    p.m.expected.text = p.m.c.model_id = HOSTILE;
    assert_true(perf_advise(perf, 8, &p.err)); /* with these names */
    page_write(&p);
    assert_int_equal(count(&p, "<script"), 2);
    assert_int_equal(count(&p, "</script"), 2);
    assert_int_equal(count(&p, "<img"), 0);
    assert_false(holds(&p, "\x01"));
    page_free(&p);
}

static void long_names_are_cut(void **state)
{
    (void)state;
    struct page p;
    page_new(&p, "net");
    size_t n = 1 << 20;
    char *name = malloc(n);
    assert_non_null(name);
    for (size_t i = 0; i + 2 < n; i += 2)
        memcpy(name + i, "\xc3\xa4", 2);
    name[n - 2] = name[n - 1] = 0;
    for (int i = 0; i < p.m.c.program->source_count; i++)
        p.m.c.program->sources[i].name = name;
    assert_true(perf_advise(&p.m.perf, 8, &p.err));
    for (int i = 0; i < p.m.perf.advice_count; i++)
        assert_true(strlen(p.m.perf.advice[i].text) < 600);
    page_write(&p);
    assert_true(p.out.size < (size_t)4 << 20);
    page_free(&p);
    free(name);
}

/* `times` as many instructions, without waits. */
static void repeat(struct page *p, int times)
{
    struct program *program = p->m.c.program;
    int n = program->code_count;
    struct instruction *code = ARENA_ARRAY(&p->arena, struct instruction, n * times, &p->err);
    assert_non_null(code);
    for (int i = 0; i < n * times; i++) {
        code[i] = program->code[i % n];
        code[i].wait_count = 0;
    }
    program->code = code;
    program->code_count = n * times;
    if (!program_time(&p->arena, program, p->m.c.machine, &p->m.c.timing, &p->err) ||
        !perf_measure(&p->arena, program, p->m.c.machine, &p->m.c.timing, 0, &p->m.perf, &p->err) ||
        !perf_advise(&p->m.perf, 12, &p->err))
        fail_msg("%s: %s", p->err.where, p->err.message);
}

static void long_programs_fit(void **state)
{
    (void)state;
    struct page p;
    page_new(&p, "net");
    int n = p.m.c.program->code_count;
    repeat(&p, 20000 / n);
    page_write(&p);
    assert_true(p.out.size < (size_t)4 << 20);
    assert_true(holds(&p, "\"merged\":false"));
    loads_nothing(&p);
    no_figure_is_missing(&p);
    page_free(&p);
    page_new(&p, "net");
    repeat(&p, 300000 / n);
    page_write(&p);
    assert_true(p.out.size < (size_t)12 << 20);
    assert_true(holds(&p, "\"merged\":true"));
    page_free(&p);
}

/* Processor time: other work on the machine does not count. */
static void advice_takes_bounded_time(void **state)
{
    (void)state;
    struct page p;
    struct timespec from, to;
    page_new(&p, "net");
    repeat(&p, 5000 / p.m.c.program->code_count);
    double best = INFINITY;
    for (int turn = 0; turn < 5; turn++) {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        assert_true(perf_advise(&p.m.perf, 12, &p.err));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        best = fmin(best, (double)(to.tv_sec - from.tv_sec) * 1e3 +
                              (double)(to.tv_nsec - from.tv_nsec) * 1e-6);
    }
    if (getenv("BPUHUB_SHOW"))
        fprintf(stderr, "%.2f ms\n", best);
#ifdef __SANITIZE_ADDRESS__
    best /= 10;
#endif
    assert_true(best < 15);
    page_free(&p);
}

static void nothing_to_do_has_a_page(void **state)
{
    (void)state;
    struct page p;
    page_new(&p, "net");
    p.m.c.program->code_count = 0;
    p.m.c.program->buffer_count = 0;
    repeat(&p, 1);
    page_write(&p);
    no_figure_is_missing(&p);
    assert_true(holds(&p, "Nothing that was tried"));
    page_free(&p);
}

static uint32_t random_of(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

/* A number of an instruction, a source or a buffer becomes another one. */
static void damage(struct program *p, uint64_t *state)
{
    static const int32_t values[] = {0, 1, -1, 2, 7, 16, 255, 4096, 1 << 20, INT32_MAX, INT32_MIN};
    int32_t v = values[random_of(state, 11)];
    struct instruction *i = &p->code[random_of(state, (uint32_t)p->code_count)];
    struct tile *t = i->tile_count ? &i->tiles[random_of(state, (uint32_t)i->tile_count)] : NULL;
    switch (random_of(state, 10)) {
    case 0: i->args[random_of(state, (uint32_t)(i->arg_count ? i->arg_count : 1))] = v; break;
    case 1: i->source = random_of(state, (uint32_t)p->source_count + 2); break;
    case 2: p->sources[random_of(state, (uint32_t)p->source_count)].c = v; break;
    case 3: p->sources[random_of(state, (uint32_t)p->source_count)].w = v; break;
    case 4: p->sources[random_of(state, (uint32_t)p->source_count)].macs = v * (int64_t)INT32_MAX; break;
    case 5: p->buffers[random_of(state, (uint32_t)p->buffer_count)].last = (uint32_t)v; break;
    case 6: i->op = (uint16_t)random_of(state, OP_COUNT); break;
    case 7: i->engine = (uint8_t)random_of(state, ENGINE_COUNT); break;
    default:
        if (t)
            *(int32_t *[]){&t->c, &t->w, &t->h, &t->n, &t->c0, &t->h0}[random_of(state, 6)] = v;
    }
}

/* What the verifier lets through gets its page. */
static void damaged_programs_end_well(void **state)
{
    (void)state;
    uint64_t seed = 11;
    int read = 0, refused = 0;
    for (int turn = 0; turn < 400; turn++) {
        struct page p;
        struct program_timing timing;
        size_t size = 0;
        if (turn % 20 == 0 && turn)
            assert_true(read > 0);
        page_new(&p, "net");
        struct program *program = program_read(&p.arena, p.m.c.file.data, p.m.c.file.size, &p.err);
        assert_non_null(program);
        for (int k = 0; k < 1 + turn % 4; k++)
            damage(program, &seed);
        struct bpu_error err = {0};
        if (program_verify(program, &err) &&
            program_time(&p.arena, program, p.m.c.machine, &timing, &err)) {
            p.m.c.program = program;
            p.m.c.timing = timing;
            if (perf_measure(&p.arena, program, p.m.c.machine, &p.m.c.timing, 0, &p.m.perf, &err) &&
                perf_advise(&p.m.perf, 12, &err)) {
                page_write(&p);
                size = p.out.size;
            } else
                assert_true(err.code != BPU_NONE);
        }
        read += size > 0;
        refused += size == 0;
        page_free(&p);
    }
    assert_true(read > 50 && refused > 50);
}

static void every_quota_ends_well(void **state)
{
    (void)state;
    struct page p;
    int failed = 0, made = 0;
    page_new(&p, "net");
    for (long n = 0; n < 1000 && made < 2; n++) {
        struct bpu_error err = {0};
        buf_clear(&p.out);
        p.arena.fail_after = n;
        bool ok = report_perf_html(&p.m, &p.out, &err);
        p.arena.fail_after = -1;
        assert_true(ok || err.code == BPU_NO_MEMORY);
        made += ok;
        failed += !ok;
    }
    assert_true(made > 0 && failed > 0);
    struct buf small;
    for (size_t cap = 1; cap < 40000; cap = cap * 3 + 1) {
        struct bpu_error err = {0};
        buf_init(&small, cap);
        assert_false(report_perf_html(&p.m, &small, &err));
        assert_int_equal(err.code, BPU_NO_MEMORY);
        buf_fini(&small);
    }
    page_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_whole),
        cmocka_unit_test(the_same_model_gives_the_same_bytes),
        cmocka_unit_test(the_policy_has_the_hash_of_the_script),
        cmocka_unit_test(hostile_names_stay_text),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(long_programs_fit),
        cmocka_unit_test(advice_takes_bounded_time),
        cmocka_unit_test(nothing_to_do_has_a_page),
        cmocka_unit_test(damaged_programs_end_well),
        cmocka_unit_test(every_quota_ends_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
