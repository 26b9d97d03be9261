/* job: import → check → reports, for one model. */
#include "core/job/job.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check/check.h"
#include "core/draw/draw.h"
#include "core/job/kind.h"
#include "core/job/load.h"
#include "core/job/report_html.h"

void job_stage(const struct job_work *w, const char *name, double done)
{
    if (w->progress)
        w->progress(w->progress_ctx, name, done);
}

struct buf *job_artifact_new(const struct job_work *w, const char *name, const char *type)
{
    if (w->out->artifact_count == JOB_MAX_ARTIFACTS) {
        error_set(w->err, BPU_LIMIT, NULL, "the job makes more than %d files", JOB_MAX_ARTIFACTS);
        return NULL;
    }
    struct job_artifact *a = &w->out->artifacts[w->out->artifact_count++];
    snprintf(a->name, sizeof a->name, "%s", name);
    snprintf(a->type, sizeof a->type, "%s", type);
    buf_init(&a->bytes, BUF_DEFAULT_CAP);
    return &a->bytes;
}

static struct check_result *judge(const struct job_work *r)
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
static const char *option(const struct job_work *r, const char *key)
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

static bool run_check(struct job_work *r)
{
    struct gates gates;
    if (!gates_read(r->req->options, r->req->option_count, GATES_OF_CHECK, &gates, r->err))
        return false;
    job_stage(r, "check", .5);
    struct check_result *result = judge(r);
    if (!result)
        return false;
    gates_judge_check(&gates, result);
    job_stage(r, "report", .8);
    snprintf(r->out->verdict, sizeof r->out->verdict, "%s", result->legal ? "legal" : "illegal");
    struct report_head head = {r->req->model_id, r->req->model_name, r->graph->format};
    const char *wanted = option(r, "report");
    bool known = !wanted;
    for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        bool this = wanted && strcmp(reports[i].option, wanted) == 0;
        known = known || this;
        if (!this && i > 0)
            continue;
        struct buf *out = job_artifact_new(r, reports[i].name, reports[i].type);
        if (!out || !reports[i].write(result, &head, out, r->err))
            return false;
    }
    if (!known) {
        error_set(r->err, BPU_BAD_OPTION, "report", "there is no report \"%s\"", wanted);
        return error_hint(r->err, "Reports are json, sarif, junit and html.");
    }
    return kind_gates(r, &gates);
}

static bool run_visualize(struct job_work *r)
{
    struct check_result *result = NULL;
    if (r->req->march && r->req->march[0]) {
        job_stage(r, "check", .3);
        if (!(result = judge(r)))
            return false;
    }
    job_stage(r, "draw", .5);
    struct buf *out = job_artifact_new(r, "graph.svg", "image/svg+xml");
    return out && draw_svg(r->graph, result, out, r->err);
}

enum floats { FLOATS_NEVER, FLOATS_ALWAYS, FLOATS_OVER_FILES /* if an option names a file */ };

/* One row per kind. */
static const struct kind {
    const char *name;
    job_kind_fn *run;
    bool reads; /* it reads the model itself */
    enum floats floats;
    const char *files[JOB_MAX_FILES]; /* options that name files */
} kinds[] = {
    {"check", run_check, false, FLOATS_NEVER, {NULL}},
    {"visualize", run_visualize, false, FLOATS_NEVER, {NULL}},
    {"quantize", kind_quantize, true, FLOATS_ALWAYS, {"calibration"}},
    {"evaluate", kind_evaluate, true, FLOATS_ALWAYS, {"calibration", "data", "labels"}},
    {"compile", kind_compile, true, FLOATS_OVER_FILES, {"calibration"}},
    {"perf", kind_perf, true, FLOATS_OVER_FILES, {"calibration"}},
    {"pipeline", kind_pipeline, true, FLOATS_OVER_FILES, {"calibration"}},
};

static const struct kind *kind_find(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

bool job_kind_known(const char *kind)
{
    return kind_find(kind) != NULL;
}

bool job_floats(const struct job_request *q)
{
    const struct kind *k = kind_find(q->kind);
    if (!k || k->floats != FLOATS_OVER_FILES)
        return k && k->floats == FLOATS_ALWAYS;
    for (size_t i = 0; i < q->option_count; i++)
        if (job_option_file(q->kind, q->options[i].key))
            return true;
    return false;
}

bool job_option_file(const char *kind, const char *key)
{
    const struct kind *k = kind_find(kind);
    for (size_t i = 0; k && i < JOB_MAX_FILES && k->files[i]; i++)
        if (strcmp(k->files[i], key) == 0)
            return true;
    return false;
}

bool job_file_value(const char *value, char sha256[65], const char **array)
{
    size_t n = strspn(value, "0123456789abcdefABCDEF");
    *array = value[n] == ':' && value[n + 1] ? value + n + 1 : NULL;
    if (n != 64 || (value[n] && !*array))
        return false;
    for (size_t i = 0; i < 64; i++)
        sha256[i] = (char)(value[i] >= 'A' && value[i] <= 'F' ? value[i] + 32 : value[i]);
    sha256[64] = '\0';
    return true;
}

static bool model_describe(const struct job_work *w)
{
    if (!w->graph)
        return true; /* a compiled program: its kind has described it */
    struct buf *out = job_artifact_new(w, "model.json", "application/json");
    return out && job_model_json(w->graph, out, w->err);
}

bool job_run(const struct job_request *req, const void *data, size_t size,
             job_progress_fn *progress, void *progress_ctx, struct job_result *out,
             struct bpu_error *err)
{
    struct arena arena;
    struct job_work w = {.req = req, .model = data, .model_size = size, .arena = &arena,
                         .progress = progress, .progress_ctx = progress_ctx, .out = out,
                         .err = err};
    const struct kind *kind = kind_find(req->kind);
    memset(out, 0, sizeof *out);
    if (!kind)
        return error_set(err, BPU_USAGE, NULL, "this version runs no jobs of kind \"%s\"",
                         req->kind);
    arena_init(&arena, req->memory_quota);
    job_stage(&w, "import", 0);
    if (!kind->reads)
        w.graph = job_load(&arena, data, size, req->model_name, req->options, req->option_count,
                           err);
    bool ok = (kind->reads || w.graph) && kind->run(&w) && model_describe(&w);
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
