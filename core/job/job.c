/* job: import → check → reports, for one model. */
#include "core/job/job.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check/check.h"
#include "core/draw/draw.h"
#include "core/import/import.h"
#include "core/job/load.h"
#include "core/job/report_html.h"

struct run {
    const struct job_request *req;
    struct arena *arena;
    struct graph *graph;
    job_progress_fn *progress;
    void *progress_ctx;
    struct job_result *out;
    struct bpu_error *err;
};

static void stage(const struct run *r, const char *name, double done)
{
    if (r->progress)
        r->progress(r->progress_ctx, name, done);
}

/* A new artifact, empty; the caller writes its bytes. */
static struct buf *artifact(const struct run *r, const char *name, const char *type)
{
    struct job_artifact *a = &r->out->artifacts[r->out->artifact_count++];
    snprintf(a->name, sizeof a->name, "%s", name);
    snprintf(a->type, sizeof a->type, "%s", type);
    buf_init(&a->bytes, BUF_DEFAULT_CAP);
    return &a->bytes;
}

static struct check_result *judge(const struct run *r)
{
    const struct march *m = r->req->march ? march_find(r->req->march) : NULL;
    if (!m) {
        job_unknown_march(r->req->march, r->err);
        return NULL;
    }
    struct check_options options;
    if (!job_check_options(r->req->options, r->req->option_count, r->arena, &options, r->err))
        return NULL;
    return check_graph(r->graph, m, &options, r->err);
}

/* The last value that was given, or NULL. */
static const char *option(const struct run *r, const char *key)
{
    const char *value = NULL;
    for (size_t i = 0; i < r->req->option_count; i++)
        if (strcmp(r->req->options[i].key, key) == 0)
            value = r->req->options[i].value;
    return value;
}

/* The first one is always made, another one by the option report=NAME. */
static const struct {
    const char *option, *name, *type;
    bool (*write)(const struct check_result *, const struct report_head *, struct buf *,
                  struct bpu_error *);
} reports[] = {
    {"json", "report.json", "application/json", report_check_json},
    {"sarif", "report.sarif", "application/sarif+json", report_check_sarif},
    {"junit", "report.junit.xml", "application/xml", report_check_junit},
    {"html", "report.html", "text/html", report_check_html},
};

static bool run_check(const struct run *r)
{
    stage(r, "check", .5);
    struct check_result *result = judge(r);
    if (!result)
        return false;
    stage(r, "report", .8);
    snprintf(r->out->verdict, sizeof r->out->verdict, "%s", result->legal ? "legal" : "illegal");
    struct report_head head = {r->req->model_id, r->req->model_name, r->graph->format};
    const char *wanted = option(r, "report");
    bool known = !wanted;
    for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        bool this = wanted && strcmp(reports[i].option, wanted) == 0;
        known = known || this;
        if ((this || i == 0) &&
            !reports[i].write(result, &head, artifact(r, reports[i].name, reports[i].type), r->err))
            return false;
    }
    if (!known) {
        error_set(r->err, BPU_BAD_OPTION, "report", "there is no report \"%s\"", wanted);
        return error_hint(r->err, "Reports are json, sarif, junit and html.");
    }
    return true;
}

static bool run_visualize(const struct run *r)
{
    struct check_result *result = NULL;
    if (r->req->march && r->req->march[0]) {
        stage(r, "check", .3);
        if (!(result = judge(r)))
            return false;
    }
    stage(r, "draw", .5);
    return draw_svg(r->graph, result, artifact(r, "graph.svg", "image/svg+xml"), r->err);
}

static const struct {
    const char *kind;
    bool (*run)(const struct run *);
} kinds[] = {
    {"check", run_check},
    {"visualize", run_visualize},
};

bool job_kind_known(const char *kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].kind, kind) == 0)
            return true;
    return false;
}

bool job_run(const struct job_request *req, const void *data, size_t size,
             job_progress_fn *progress, void *progress_ctx, struct job_result *out,
             struct bpu_error *err)
{
    struct arena arena;
    struct run r = {.req = req, .arena = &arena, .progress = progress,
                    .progress_ctx = progress_ctx, .out = out, .err = err};
    bool ok = false;
    memset(out, 0, sizeof *out);
    arena_init(&arena, req->memory_quota);
    stage(&r, "import", 0);
    r.graph = job_load(&arena, data, size, req->model_name, req->options, req->option_count, err);
    if (!r.graph)
        goto out;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].kind, req->kind) == 0) {
            ok = kinds[i].run(&r) &&
                 job_model_json(r.graph, artifact(&r, "model.json", "application/json"), err);
            goto out;
        }
    error_set(err, BPU_USAGE, NULL, "this version runs no jobs of kind \"%s\"", req->kind);
out:
    arena_fini(&arena);
    if (!ok)
        job_result_fini(out);
    return ok;
}

void job_result_fini(struct job_result *r)
{
    for (size_t i = 0; i < r->artifact_count; i++)
        buf_fini(&r->artifacts[i].bytes);
    memset(r, 0, sizeof *r);
}
