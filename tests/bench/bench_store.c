/* How quick the store and the worker are: pages over 100,000 jobs, and small jobs end to end.
 *
 *   bench_store [JOBS]     one line per figure: name, value, unit */
#define _GNU_SOURCE
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/files.h"
#include "server/store.h"
#include "server/wake.h"
#include "server/worker.h"

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s: %s\n", #x, err.message);                                          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static char dir[64];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void model_add(struct store *s, int i, char id[65])
{
    struct bpu_error err = {0};
    struct store_model m = {.format = "onnx", .bytes = 8};
    static const char *const names[] = {"mobilenet_v2", "resnet50", "densenet121", "swin_t"};
    char content[32], path[512], tmp[512];
    bool existed;
    snprintf(content, sizeof content, "model%d", i);
    CHECK(files_sha256(content, strlen(content), m.id, &err));
    snprintf(m.name, sizeof m.name, "%s-%d.onnx", names[i % 4], i);
    store_model_path(s, m.id, path, sizeof path);
    snprintf(tmp, sizeof tmp, "%s/tmp", dir);
    if (i < 8)
        CHECK(files_write(tmp, path, content, strlen(content), &err));
    CHECK(store_model_add(s, &m, &existed, &err));
    memcpy(id, m.id, 65);
}

/* Jobs as a team makes them: many models, few projects, most of them done. */
static void fill(struct store *s, int jobs)
{
    struct bpu_error err = {0};
    struct store_artifact report = {.name = "report.json", .type = "application/json"};
    char id[65] = "", text[64];
    CHECK(store_artifact_write(s, "{}", 2, &report, &err));
    double start = now();
    for (int i = 0; i < jobs;) {
        CHECK(store_begin(s, &err));
        for (int end = i + 1000; i < end && i < jobs; i++) {
            struct arena a;
            arena_init(&a, (size_t)1 << 20);
            struct store_job j = {.kind = "check", .options = "{}", .labels = text};
            if (i % 5 == 0)
                model_add(s, i / 5, id);
            memcpy(j.model, id, sizeof id);
            snprintf(j.kind, sizeof j.kind, "%s", i % 5 == 4 ? "visualize" : "check");
            snprintf(j.march, sizeof j.march, "%s", i % 2 ? "bayes" : "bernoulli2");
            snprintf(j.project, sizeof j.project, "project-%d", i % 40);
            snprintf(text, sizeof text, "{\"sha\": \"%06x\"}", i / 10);
            char options[32];
            snprintf(options, sizeof options, "{\"i\":\"%d\"}", i);
            j.options = options;
            CHECK(store_job_add(s, &j, "1", NULL, &a, &err));
            CHECK(store_job_claim(s, "w", 60000, 3, &a, &j, &err));
            CHECK(store_job_finish(s, j.id, "w", i % 50 ? JOB_SUCCEEDED : JOB_FAILED,
                                   i % 3 ? "legal" : "illegal", NULL, &report, 1, &err));
            arena_fini(&a);
        }
        CHECK(store_commit(s, &err));
    }
    printf("add+claim+finish in batches   %8.1f us/job\n", (now() - start) * 1e3 / jobs);
}

static void page(struct store *s, const char *what, struct store_job_filter f)
{
    struct bpu_error err = {0};
    double best = 1e9, first = 0;
    size_t count = 0;
    for (int i = 0; i < 5; i++) {
        struct arena a;
        struct store_job *items;
        char next[64];
        arena_init(&a, (size_t)16 << 20);
        f.limit = 50;
        double start = now();
        CHECK(store_job_list(s, &f, &a, &items, &count, next, &err));
        double took = now() - start;
        if (i == 0)
            first = took;
        best = took < best ? took : best;
        arena_fini(&a);
    }
    printf("page %-30s %8.3f ms, first time %.3f ms (%zu jobs)\n", what, best, first, count);
}

static void pages(struct store *s, const char *middle)
{
#define PAGE(what, ...) page(s, what, (struct store_job_filter){__VA_ARGS__})
    PAGE("default", .limit = 50);
    PAGE("second half", .cursor = middle);
    PAGE("state=succeeded", .state = "succeeded");
    PAGE("state=failed", .state = "failed");
    PAGE("state=cancelled (none)", .state = "cancelled");
    PAGE("kind=visualize", .kind = "visualize");
    PAGE("kind=perf (none)", .kind = "perf");
    PAGE("march=bayes", .march = "bayes");
    PAGE("verdict=illegal", .verdict = "illegal");
    PAGE("failed+perf (none)", .state = "failed", .kind = "perf");
    PAGE("project", .project = "project-7");
    PAGE("project+failed", .project = "project-10", .state = "failed");
    PAGE("project+perf (none)", .project = "project-7", .kind = "perf");
    PAGE("label", .label_key = "sha", .label_value = "000100");
    PAGE("q=mobilenet", .q = "mobilenet");
    PAGE("q=onnx (all)", .q = "onnx");
    PAGE("q=densenet121-77", .q = "densenet121-77");
    PAGE("q=nothing", .q = "nothing-like-this");
    PAGE("q=onnx kind=perf (none)", .q = "onnx", .kind = "perf");
    PAGE("q=zz (two letters, none)", .q = "zz");
    PAGE("q=id prefix", .q = middle);
    struct bpu_error err = {0};
    struct store_counts c;
    double start = now();
    CHECK(store_counts(s, &c, &err));
    printf("counts                        %8.3f ms (%lld jobs)\n", now() - start,
           (long long)c.jobs);
}

static bool small_job(const struct job_request *q, const void *data, size_t size,
                      job_progress_fn *progress, void *ctx, struct job_result *out,
                      struct bpu_error *err)
{
    (void)data, (void)size;
    progress(ctx, "import", 0);
    for (int i = 0; i < 2; i++) {
        struct job_artifact *f = &out->artifacts[out->artifact_count++];
        snprintf(f->name, sizeof f->name, i ? "model.json" : "report.json");
        snprintf(f->type, sizeof f->type, "application/json");
        buf_init(&f->bytes, 1 << 20);
        buf_printf(&f->bytes, "{\"i\": \"%s %s\"}", q->option_count ? q->options[0].value : "",
                   i ? "" : q->march);
    }
    snprintf(out->verdict, sizeof out->verdict, "legal");
    return buf_ok(&out->artifacts[0].bytes, err);
}

static void warm_up(void) {}

static void workers_run(int workers, int jobs)
{
    struct bpu_error err = {0};
    struct worker_options o = {.data_dir = dir,
                               .tool_version = "1",
                               .job = small_job,
                               .warm_up = warm_up,
                               .stop_when_idle = true};
    struct store *s = store_open(dir, &err);
    char id[65];
    CHECK(s);
    model_add(s, 0, id);
    CHECK(store_begin(s, &err));
    for (int i = 0; i < jobs; i++) {
        struct arena a;
        arena_init(&a, (size_t)1 << 20);
        char options[64];
        struct store_job j = {.kind = "check", .march = "bayes", .options = options};
        memcpy(j.model, id, sizeof id);
        snprintf(options, sizeof options, "{\"i\":\"w%d-%d\"}", workers, i);
        CHECK(store_job_add(s, &j, "1", NULL, &a, &err));
        arena_fini(&a);
    }
    CHECK(store_commit(s, &err));
    store_close(s);
    double start = now();
    for (int i = 0; i < workers; i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(worker_main(&o));
        }
    for (int i = 0; i < workers; i++)
        wait(NULL);
    double took = now() - start;
    struct rusage u; /* also on a busy machine, what a job costs */
    getrusage(RUSAGE_CHILDREN, &u);
    double cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
                 (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
    static double before;
    printf("%d worker(s), small jobs       %8.0f jobs/s, %.3f ms/job, %.3f ms of processor\n",
           workers, jobs * 1e3 / took, took / jobs, (cpu - before) / jobs);
    before = cpu;
}

int main(int argc, char **argv)
{
    struct bpu_error err = {0};
    int jobs = argc > 1 ? atoi(argv[1]) : 100000;
    const char *base = getenv("TMPDIR");
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(dir, sizeof dir, "%.32s/bench-XXXXXX", base ? base : "/tmp");
    CHECK(mkdtemp(dir));
    struct store *s = store_open(dir, &err);
    CHECK(s);
    fill(s, jobs);
    struct store_job_filter f = {.project = "project-20", .limit = 100};
    struct arena a;
    struct store_job *items;
    size_t count;
    char next[64];
    arena_init(&a, (size_t)16 << 20);
    CHECK(store_job_list(s, &f, &a, &items, &count, next, &err) && count > 0);
    pages(s, items[count - 1].id);
    arena_fini(&a);
    store_close(s);
    workers_run(1, 500);
    workers_run(2, 1000);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
