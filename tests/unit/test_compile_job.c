/* The kind compile without a server: what it makes, what it needs of the sandbox, placeholders, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/job/job.h"
#include "core/job/load.h"
#include "core/march/march.h"
#include "core/program/program.h"
#include "core/quant/qconfig.h"
#include "core/quant/quant.h"

#define LENET "tests/fixtures/lenet_float.onnx"

static unsigned char *file_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, f), *size);
    fclose(f);
    return data;
}

static bool compile(const char *path, const struct job_option *options, size_t count, size_t quota,
                    struct job_result *out, struct bpu_error *err)
{
    size_t size;
    unsigned char *data = file_read(path, &size);
    const struct job_request q = {.kind = "compile",
                                  .march = "bayes",
                                  .model_id = "id",
                                  .model_name = "net",
                                  .options = options,
                                  .option_count = count,
                                  .memory_quota = quota};
    bool ok = job_run(&q, data, size, NULL, NULL, out, err);
    free(data);
    return ok;
}

static const struct job_artifact *find(const struct job_result *r, const char *name)
{
    for (size_t i = 0; i < r->artifact_count; i++)
        if (strcmp(r->artifacts[i].name, name) == 0)
            return &r->artifacts[i];
    return NULL;
}

static void artifacts_and_their_bytes(void **state)
{
    (void)state;
    struct job_result a, b;
    struct bpu_error err = {0};
    static const char *const names[] = {"model.bpu",  "report.json",  "report.html", "memory.svg",
                                        "schedule.svg", "graph.svg", "model.json"};
    const struct job_option options[] = {{"opt", "3"}, {"jobs", "8"}};
    assert_true(compile(LENET, options, 2, (size_t)256 << 20, &a, &err));
    assert_true(compile(LENET, options, 1, (size_t)256 << 20, &b, &err));
    assert_string_equal(a.verdict, "legal");
    assert_int_equal(a.artifact_count, sizeof names / sizeof names[0]);
    for (size_t i = 0; i < a.artifact_count; i++) {
        const struct job_artifact *x = find(&a, names[i]), *y = find(&b, names[i]);
        assert_true(x && y && x->bytes.size > 0);
        assert_int_equal(x->bytes.size, y->bytes.size);
        assert_memory_equal(x->bytes.data, y->bytes.data, x->bytes.size);
    }
    const struct buf *file = &find(&a, "model.bpu")->bytes;
    assert_true(program_is(file->data, file->size));
    struct arena arena;
    arena_init(&arena, (size_t)64 << 20);
    struct program *p = program_read(&arena, file->data, file->size, &err);
    assert_non_null(p);
    assert_true(p->uncalibrated);
    assert_string_equal(p->march, "bayes");
    arena_fini(&arena);
    job_result_fini(&a);
    job_result_fini(&b);
}

/* Whatever the quota, the answer is a program or an error that says memory; nothing leaks. */
static void every_quota_ends_well(void **state)
{
    (void)state;
    int failed = 0, made = 0;
    for (size_t quota = 16 << 10; quota <= (size_t)64 << 20; quota += quota / 3) {
        struct job_result r;
        struct bpu_error err = {0};
        if (compile(LENET, NULL, 0, quota, &r, &err)) {
            made++;
            assert_non_null(find(&r, "model.bpu"));
            job_result_fini(&r);
            continue;
        }
        failed++;
        assert_int_equal(err.code, BPU_NO_MEMORY);
        assert_int_equal(r.artifact_count, 0);
    }
    assert_true(made > 0 && failed > 0);
}

static void only_calibration_computes_in_float(void **state)
{
    (void)state;
    const struct job_option plain[] = {{"opt", "3"}}, data[] = {{"opt", "3"}, {"calibration", "x"}};
    assert_true(job_kind_known("compile"));
    assert_false(job_floats(&(struct job_request){.kind = "compile"}));
    assert_false(job_floats(&(struct job_request){.kind = "compile", .options = plain, .option_count = 1}));
    assert_true(job_floats(&(struct job_request){.kind = "compile", .options = data, .option_count = 2}));
    assert_true(job_floats(&(struct job_request){.kind = "quantize"}));
    assert_true(job_floats(&(struct job_request){.kind = "evaluate"}));
    assert_false(job_floats(&(struct job_request){.kind = "check", .options = data, .option_count = 2}));
    assert_false(job_floats(&(struct job_request){.kind = "none"}));
}

struct scales {
    struct arena arena;
    struct graph *fused;
    unsigned char *data;
};

static void scales_open(struct scales *s)
{
    struct bpu_error err = {0};
    struct fuse_report report = {0};
    size_t size;
    arena_init(&s->arena, (size_t)64 << 20);
    s->data = file_read(LENET, &size);
    struct graph *g = job_load(&s->arena, s->data, size, "net", NULL, 0, &err);
    assert_non_null(g);
    assert_non_null(s->fused = quant_fuse(&s->arena, g, &report, &err));
}

/* Placeholders wherever nobody gives a scale; what the user gives is kept; the last layer leaves as sums. */
static void placeholders_fill_the_gaps(void **state)
{
    (void)state;
    struct scales s;
    struct bpu_error err = {0};
    struct calibration c;
    scales_open(&s);
    static const char text[] =
        "{\"inputs\": {\"x\": {\"scale\": 0.25}},"
        " \"operators\": {\"torch.nn.Conv2d\": {\"activation\": {\"dtype\": \"qint16\"}}}}";
    struct qconfig *q = qconfig_read(&s.arena, text, sizeof text - 1, &err);
    assert_non_null(q);
    assert_true(qconfig_fix_input(q, "x", 1.0 / 128, &err)); /* the user has said something else */
    assert_true(qconfig_input_scale(q, "x") == 0.25);
    assert_true(quant_placeholder(&s.arena, s.fused, march_find("bayes"), q, &c, &err));
    struct graph *fixed = quant_convert(&s.arena, s.fused, march_find("bayes"), q, &c, &err);
    assert_non_null(fixed);
    assert_true(quant_verify(fixed, &err));
    int wide = 0, sums = 0;
    for (int i = 0; i < fixed->value_count; i++) {
        const struct value *v = fixed->values[i];
        if (v->constant || v->dtype == DT_FLOAT32)
            continue;
        sums += v->dtype == DT_QINT32;
        wide += v->dtype == DT_QINT16;
        if (v->dtype == DT_QINT16)
            assert_true(v->quant.scale[0] == QUANT_PLACEHOLDER / 256);
        else if (v->dtype == DT_QINT8) /* x as the user has it, or a function between */
            assert_true(v->quant.scale[0] == 0.25 || v->quant.scale[0] == QUANT_PLACEHOLDER);
    }
    assert_true(wide >= 2);
    assert_int_equal(sums, 1);
    /* An input that nobody has fixed takes what the compiler knows of the camera. */
    assert_non_null(q = qconfig_default(&s.arena, &err));
    assert_true(qconfig_fix_input(q, "x", 1.0 / 128, &err));
    assert_true(quant_placeholder(&s.arena, s.fused, march_find("bayes"), q, &c, &err));
    assert_true(c.items[s.fused->inputs[0]->index].scale == 1.0 / 128);
    assert_string_equal(c.items[s.fused->inputs[0]->index].observer, "given");
    int plain = 0;
    for (size_t i = 0; i < c.count; i++)
        if (c.items[i].observer && strcmp(c.items[i].observer, "placeholder") == 0) {
            assert_int_equal(c.items[i].dtype, DT_QINT8);
            assert_true(c.items[i].scale == QUANT_PLACEHOLDER);
            plain++;
        }
    assert_true(plain >= 3);
    arena_fini(&s.arena);
    free(s.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(artifacts_and_their_bytes),
                                       cmocka_unit_test(every_quota_ends_well),
                                       cmocka_unit_test(only_calibration_computes_in_float),
                                       cmocka_unit_test(placeholders_fill_the_gaps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
