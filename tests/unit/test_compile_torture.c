/* The compiler, the container and the simulator under failing allocations: the 1st, 2nd, … Nth one fails,
 * and the result is an error that says so or what it would have been anyway; nothing leaks.
 *
 * Three ways to fail: the arena that is given; malloc, in which all arenas and texts end (not in builds with
 * sanitizers, which look for leaks in the other two); and an arena that may take so much and no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/compile/compile.h"
#include "core/job/job.h"
#include "core/run/run.h"
#include "core/sim/sim.h"
#include "tests/unit/failing_malloc.h"
#include "tests/unit/random_net.h"

enum {
    ALL = SANITIZED ? 60 : 300, /* up to so many allocations each one fails, beyond that a sample */
    MOST_VALUES = 16,
    QUOTA = 256 << 20,
};

/* ── what is compiled ── */

struct subject {
    const char *name, *kind; /* kind: of the job, "compile" */
    struct net net;
    struct compile_options o;
    const void *in[MOST_VALUES];
    void *want[MOST_VALUES], *got[MOST_VALUES];
    struct program *program;
    struct buf file; /* the program's bytes */
    size_t dumped;   /* bytes of its dumps */
    bool optionless;         /* the job on `file` takes no level: it is a program, or not compiled */
    const char *frames_option; /* of the job, NULL: takes no data */
    struct buf frames;       /* an .npz */
    struct job_result plain; /* of a job on `file` */
};

/* Convolutions in bands with a residual, a pool and a head. */
static void make_chain(struct net *n)
{
    struct shape s = shape_of(4, (const int64_t[]){1, 8, 16, 16});
    struct value *x = some_input(n, &s, DT_QINT8);
    x = conv(n, x, DT_QINT8);
    x = pool(n, conv(n, x, DT_QUINT8), DT_QINT8);
    struct value *y = conv(n, x, DT_QINT8);
    add_residual(n, y);
    y = cat(n, binary(n, y, DT_QINT8), DT_QINT8);
    y = linear(n, flatten(n, y, y->dtype), DT_QINT8);
    OK(graph_add_output(n->g, dequantize(n, y, y->dtype), &n->err));
}

/* What goes through tables, views and real numbers. */
static void make_mixed(struct net *n)
{
    struct shape s = shape_of(4, (const int64_t[]){1, 6, 10, 12});
    struct value *x = quantize(n, some_input(n, &s, DT_FLOAT32), DT_QINT8);
    x = deconv(n, unary(n, x, DT_QINT8), DT_QINT8);
    struct value *y = resize(n, axis_op(n, x, DT_QINT8), DT_QINT8);
    OK(graph_add_output(n->g, y, &n->err));
    y = product(n, activation(n, x, DT_QINT8), DT_QINT8);
    OK(graph_add_output(n->g, reduce(n, y, DT_QINT8), &n->err));
    y = finish(n, some_node(n, "torch.nn.Sigmoid", x), DT_QINT8);
    OK(graph_add_output(n->g, y, &n->err));
}

static int64_t value_bytes(const struct value *v)
{
    return shape_elements(&v->shape) * (int64_t)dtype_size(v->dtype);
}

static void dump(void *ctx, const char *pass, const char *text)
{
    (void)pass;
    *(size_t *)ctx += strlen(text);
}

static struct program *compile(struct subject *s, struct arena *a, size_t *dumped, struct bpu_error *err)
{
    struct compile_options o = s->o;
    *dumped = 0;
    o.dump = dump;
    o.dump_ctx = dumped;
    return compile_graph(a, s->net.g, march_find("bayes"), &o, NULL, err);
}

static void subject_open(struct subject *s, const char *name, void (*make)(struct net *),
                         enum compile_level level, int64_t sram_bytes)
{
    struct net *n = &s->net;
    memset(s, 0, sizeof *s);
    s->name = name;
    always_fixed = true;
    seed = 5;
    net_init(n);
    make(n);
    net_fix(n);
    OK(graph_sort(n->g, &n->err) && graph_verify(n->g, &n->err));
    assert_true(n->g->input_count <= MOST_VALUES && n->g->output_count <= MOST_VALUES);
    for (int i = 0; i < n->g->input_count; i++) {
        const struct value *v = n->g->inputs[i];
        unsigned char *p = arena_alloc(&n->arena, (size_t)value_bytes(v), &n->err);
        OK(p);
        for (int64_t k = 0; v->dtype != DT_FLOAT32 && k < value_bytes(v); k++)
            p[k] = (unsigned char)below(256);
        for (int64_t k = 0; v->dtype == DT_FLOAT32 && k < value_bytes(v); k += 4)
            memcpy(p + k, &(float){((float)below(2000) - 1000) / 150}, 4);
        s->in[i] = p;
    }
    for (int i = 0; i < n->g->output_count; i++) {
        size_t bytes = (size_t)value_bytes(n->g->outputs[i]);
        OK(s->want[i] = arena_alloc(&n->arena, bytes, &n->err));
        OK(s->got[i] = arena_alloc(&n->arena, bytes, &n->err));
    }
    struct run *r = run_new(&n->arena, n->g, &(struct run_options){.engine = RUN_REFERENCE}, &n->err);
    OK(r);
    OK(run_frame(r, s->in, s->want, NULL, NULL, &n->err));
    s->o = compile_default();
    s->o.level = level;
    s->o.sram_bytes = sram_bytes;
    OK(s->program = compile(s, &n->arena, &s->dumped, &n->err));
    buf_init(&s->file, BUF_DEFAULT_CAP);
    OK(program_write(s->program, &s->file, &n->err));
}

static void subject_close(struct subject *s)
{
    buf_fini(&s->file);
    arena_fini(&s->net.arena);
}

/* ── what is done to it; each tells whether it went well, and then whether the result is right ── */

struct result {
    struct program *program;
    struct buf file;
    struct job_result job;
    size_t dumped;
};

static bool do_compile(struct subject *s, struct arena *a, struct result *r, struct bpu_error *err)
{
    return (r->program = compile(s, a, &r->dumped, err)) != NULL;
}

static bool compiled_right(const struct subject *s, struct result *r, struct bpu_error *err)
{
    return program_write(r->program, &r->file, err) && r->dumped == s->dumped &&
           r->file.size == s->file.size && memcmp(r->file.data, s->file.data, s->file.size) == 0;
}

static bool do_write(struct subject *s, struct arena *a, struct result *r, struct bpu_error *err)
{
    (void)a;
    return program_write(s->program, &r->file, err);
}

static bool written_right(const struct subject *s, struct result *r, struct bpu_error *err)
{
    (void)err;
    return r->file.size == s->file.size && memcmp(r->file.data, s->file.data, s->file.size) == 0;
}

static bool do_read(struct subject *s, struct arena *a, struct result *r, struct bpu_error *err)
{
    return (r->program = program_read(a, s->file.data, s->file.size, err)) != NULL;
}

static bool read_right(const struct subject *s, struct result *r, struct bpu_error *err)
{
    return program_write(r->program, &r->file, err) && written_right(s, r, err);
}

static bool do_simulate(struct subject *s, struct arena *a, struct result *r, struct bpu_error *err)
{
    (void)r;
    for (int i = 0; i < s->program->output_count; i++)
        memset(s->got[i], 0x5a, (size_t)value_bytes(s->net.g->outputs[i]));
    struct sim *sim = sim_new(a, s->program, &(struct sim_options){.order = SIM_RANDOM, .seed = 3}, err);
    return sim && sim_frame(sim, s->in, s->got, err);
}

static bool simulated_right(const struct subject *s, struct result *r, struct bpu_error *err)
{
    (void)r, (void)err;
    bool same = true;
    for (int i = 0; i < s->program->output_count; i++)
        same &= memcmp(s->got[i], s->want[i], (size_t)value_bytes(s->net.g->outputs[i])) == 0;
    return same;
}

static bool do_job(struct subject *s, struct arena *a, struct result *r, struct bpu_error *err)
{
    const struct job_option level = {"opt", compile_level_name(s->o.level)};
    const struct job_option frames = {s->frames_option, "0000000000000000000000000000000000000000000000000000000000000000:x"};
    struct job_request q = {.kind = s->kind, .march = "bayes", .model_id = "id", .model_name = "net",
                            .options = s->frames_option ? &frames : &level, .option_count = !s->optionless, .memory_quota = a->quota};
    if (s->frames_option) {
        q.files[0] = (struct job_file){.option = s->frames_option, .data = s->frames.data, .size = s->frames.size};
        q.file_count = 1;
    }
    return job_run(&q, s->file.data, s->file.size, NULL, NULL, &r->job, err);
}

/* The same artifacts to the byte as without a failure. */
static bool job_right(const struct subject *s, struct result *r, struct bpu_error *err)
{
    (void)err;
    bool same = r->job.artifact_count == s->plain.artifact_count;
    for (size_t i = 0; same && i < r->job.artifact_count; i++) {
        const struct job_artifact *x = &r->job.artifacts[i], *y = &s->plain.artifacts[i];
        same = strcmp(x->name, y->name) == 0 && x->bytes.size == y->bytes.size &&
               memcmp(x->bytes.data, y->bytes.data, x->bytes.size) == 0;
        if (!same)
            print_message("%s: %zu bytes, not %zu\n%.300s\n%.300s\n", x->name, x->bytes.size,
                          y->bytes.size, buf_str(&x->bytes), buf_str(&y->bytes));
    }
    return same;
}

struct stage {
    const char *name;
    bool (*run)(struct subject *, struct arena *, struct result *, struct bpu_error *);
    bool (*right)(const struct subject *, struct result *, struct bpu_error *);
};
static const struct stage stages[] = {{"compile_graph", do_compile, compiled_right},
                                      {"program_write", do_write, written_right},
                                      {"program_read", do_read, read_right},
                                      {"sim", do_simulate, simulated_right}};
static const struct stage job_stage = {"job_run", do_job, job_right};

/* ── failures ── */

enum way { WAY_ARENA, WAY_MALLOC, WAY_QUOTA, WAYS };
static const char *const way_names[] = {"allocation of the arena", "allocation", "KiB at most, number"};

struct outcome {
    bool ok, right;
    struct bpu_error err;
    long used; /* allocations of the way that was counted */
};

/* Once, while allocation n of one way fails, or with a quota of n KiB. */
static struct outcome attempt(struct subject *s, const struct stage *stage, enum way way, long n)
{
    struct outcome o = {0};
    struct arena a;
    struct result r = {0};
    struct bpu_error ignored = {0};
    size_t before = malloc_used();
    arena_init(&a, way == WAY_QUOTA ? (size_t)n << 10 : QUOTA);
    buf_init(&r.file, BUF_DEFAULT_CAP);
    if (way == WAY_ARENA)
        a.fail_after = n;
    else if (way == WAY_MALLOC)
        malloc_left = n;
    o.ok = stage->run(s, &a, &r, &o.err);
    o.used = n - (way == WAY_ARENA ? a.fail_after : malloc_left);
    malloc_left = LONG_MAX;
    a.fail_after = -1;
    o.right = o.ok && stage->right(s, &r, &ignored);
    if (!o.ok && r.job.artifact_count)
        fail_msg("%s: %zu artifacts of what failed", stage->name, r.job.artifact_count);
    job_result_fini(&r.job);
    buf_fini(&r.file);
    arena_fini(&a);
    if (malloc_used() > before)
        fail_msg("%s, %s, %s %ld: %zu bytes leak", s->name, stage->name, way_names[way], n,
                 malloc_used() - before);
    return o;
}

/* True if it failed. */
static bool judge(const struct subject *s, const struct stage *stage, enum way way, long n,
                  const struct outcome *o)
{
    if (o->ok && o->err.code != BPU_NONE)
        fail_msg("%s, %s, %s %ld: done, with an error: %s", s->name, stage->name, way_names[way], n,
                 o->err.message);
    if (o->ok && !o->right)
        fail_msg("%s, %s, %s %ld: done, with another result", s->name, stage->name, way_names[way], n);
    if (!o->ok && (o->err.code != BPU_NO_MEMORY || !o->err.message[0]))
        fail_msg("%s, %s, %s %ld: [%s] %s", s->name, stage->name, way_names[way], n,
                 error_code_name(o->err.code), o->err.message);
    return !o->ok;
}

static void torture(struct subject *s, const struct stage *stage, enum way way, bool every)
{
    int failed = 0, runs = 0;
    attempt(s, stage, way, LONG_MAX >> 12); /* the first time, libraries set things up for good */
    struct outcome plain = attempt(s, stage, way, LONG_MAX >> 12);
    if (!plain.ok || !plain.right)
        fail_msg("%s, %s: %s", s->name, stage->name, plain.err.message);
    if (way == WAY_QUOTA) {
        for (long kib = 16; kib < QUOTA >> 10; kib += kib / (every ? 6 : 2), runs++) {
            struct outcome o = attempt(s, stage, way, kib);
            failed += judge(s, stage, way, kib, &o);
        }
        assert_true(failed < runs);
    } else {
        long step = plain.used > ALL ? plain.used / ALL + 1 : 1;
        for (long n = 0; n < plain.used; n += n < ALL / 4 ? 1 : step, runs++) {
            struct outcome o = attempt(s, stage, way, n);
            failed += judge(s, stage, way, n, &o);
        }
        /* malloc: that of a text which could have been longer */
        assert_true(way == WAY_ARENA ? failed == runs : failed > 0);
    }
    print_message("           %s, %s, %s: %ld, %d of %d failed\n", s->name, stage->name, way_names[way],
                  way == WAY_QUOTA ? 0 : plain.used, failed, runs);
}

/* In memory that does not hold all of it at once. */
static void torture_graph(const char *name, void (*make)(struct net *), enum compile_level level,
                          int64_t sram_bytes)
{
    struct subject s;
    subject_open(&s, name, make, level, sram_bytes);
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
        for (enum way way = 0; way < WAYS; way++) {
            bool own = stages[i].run == do_write; /* has an arena of its own */
            if (!(SANITIZED && way == WAY_MALLOC) && !(own && way != WAY_MALLOC))
                torture(&s, &stages[i], way, true);
        }
    subject_close(&s);
}

static void chain_at_O0(void **state)
{
    (void)state;
    torture_graph("chain O0", make_chain, LEVEL_O0, 128 << 10);
}

static void chain_at_O3(void **state)
{
    (void)state;
    torture_graph("chain O3", make_chain, LEVEL_O3, 128 << 10);
}

static void mixed_at_O0(void **state)
{
    (void)state;
    torture_graph("mixed O0", make_mixed, LEVEL_O0, 24 << 10);
}

static void mixed_at_O3(void **state)
{
    (void)state;
    torture_graph("mixed O3", make_mixed, LEVEL_O3, 24 << 10);
}

/* All of it, from a file's bytes to reports and pictures. */
static void torture_job(const char *kind, const struct buf *model, const char *frames_option,
                        const struct buf *frames, size_t artifacts)
{
    const void *data = model->data;
    size_t size = model->size;
    struct subject s = {.name = kind, .kind = kind, .o = {.level = LEVEL_O2}, .frames_option = frames_option};
    struct arena a;
    struct result r = {0};
    struct bpu_error err = {0};
    buf_init(&s.file, BUF_DEFAULT_CAP);
    buf_add(&s.file, data, size);
    assert_true(s.file.size > 0 && !s.file.failed);
    s.optionless = program_is(data, size) || strcmp(kind, "check") == 0 || strcmp(kind, "visualize") == 0;
    if (frames)
        s.frames = *frames;
    arena_init(&a, QUOTA);
    if (!do_job(&s, &a, &r, &err))
        fail_msg("%s: %s", kind, err.message);
    s.plain = r.job;
    assert_int_equal(s.plain.artifact_count, artifacts);
    arena_fini(&a);
    if (!SANITIZED && !frames) /* oneDNN, which computes in float, ends a process that has no memory */
        torture(&s, &job_stage, WAY_MALLOC, false);
    torture(&s, &job_stage, WAY_QUOTA, false);
    job_result_fini(&s.plain);
    buf_fini(&s.file);
}

static struct buf file_of(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct buf all;
    char part[4096];
    assert_non_null(f);
    buf_init(&all, BUF_DEFAULT_CAP);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(&all, part, n);
    fclose(f);
    assert_false(all.failed);
    return all;
}

static void whole_jobs(void **state)
{
    (void)state;
    struct buf model = file_of("tests/fixtures/lenet_float.onnx");
    torture_job("check", &model, NULL, NULL, 2);
    torture_job("visualize", &model, NULL, NULL, 2);
    torture_job("compile", &model, NULL, NULL, 7);
    torture_job("perf", &model, NULL, NULL, 7);
    torture_job("pipeline", &model, NULL, NULL, 9);
    buf_fini(&model);
}

static void jobs_with_data(void **state)
{
    (void)state;
    struct buf model = file_of("tests/fixtures/lenet_float.onnx");
    struct buf frames = file_of("tests/fixtures/data/lenet_frames.npz");
    torture_job("quantize", &model, "calibration", &frames, 6);
    torture_job("evaluate", &model, "data", &frames, 4);
    buf_fini(&frames);
    buf_fini(&model);
}

/* A compiled program is measured. */
static void a_program_is_measured(void **state)
{
    (void)state;
    struct subject s;
    subject_open(&s, "chain O2", make_chain, LEVEL_O2, 128 << 10);
    torture_job("perf", &s.file, NULL, NULL, 5);
    subject_close(&s);
}

int main(int argc, char **argv)
{
    malloc_exactly(argv);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_at_O0), cmocka_unit_test(chain_at_O3), cmocka_unit_test(mixed_at_O0),
        cmocka_unit_test(mixed_at_O3), cmocka_unit_test(whole_jobs), cmocka_unit_test(jobs_with_data),
        cmocka_unit_test(a_program_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
