/* Design: reports and drawings are artifacts, files addressed by their content, so that their ETag
 * is known without reading them.  A check makes its JSON report and nothing else; asked for the
 * drawing or for another form of the report, the daemon queues a derived job for the same model,
 * march and options (under a key of its own, so that repeated questions find the same job) and
 * answers with what that one makes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/job/job.h"
#include "core/job/report_perf_html.h"
#include "server/api.h"
#include "server/json.h"

#define DERIVE_WAIT_MS 60000

/* What can be made later from a job: by which kind of job, from jobs of which kind (NULL: any), and with which value
 * of the option `report`. */
struct derivation {
    const char *name, *kind, *from, *report;
};
static const struct derivation derivations[] = {
    {"graph.svg", "visualize", NULL, NULL},
    {"report.sarif", "check", "check", "sarif"},
    {"report.junit.xml", "check", "check", "junit"},
    {"report.html", "check", "check", "html"},
    {"report.sarif", "check", "pipeline", "sarif"},
    {"report.junit.xml", "check", "pipeline", "junit"},
    {"report.html", "check", "pipeline", "html"}, /* of an illegal model */
};

struct artifact_call {
    const char *job, *name;
    bool derived; /* job is the derived job already */
    bool derive;  /* found out: it has to be made */
    struct job_draft draft;
};

static void not_ready(struct http_request *r, const struct store_job *job)
{
    char detail[128];
    snprintf(detail, sizeof detail, "the job is %s", job_state_name(job->state));
    r->retry_after = 1;
    http_reply_problem(
        r, &(struct problem){.status = 409,
                             .code = "job_not_finished",
                             .title = "The job has not ended yet",
                             .detail = detail,
                             .where = r->path,
                             .hint = "wait for the end: GET the job with Prefer: wait=60"});
}

/* A failed job's own problem document, with its own status. */
static void failed(struct http_request *r, const struct store_job *job)
{
    json_t *doc = job->error ? json_loads(job->error, 0, NULL) : NULL;
    int status = (int)json_integer_value(json_object_get(doc, "status"));
    json_decref(doc);
    if (status >= 400 && status <= 599) {
        http_reply_bytes(r, (unsigned)status, "application/problem+json", job->error,
                         strlen(job->error));
        return;
    }
    struct bpu_error err = {0};
    error_set(&err, BPU_SERVER, r->path, "the job failed and left no reason");
    http_reply_error(r, &err);
}

static bool serve(struct http_request *r, struct store *s, const struct store_artifact *a,
                  struct bpu_error *err)
{
    char path[4096], etag[80];
    store_artifact_path(s, a->sha256, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_set(err, BPU_IO, a->name, "the artifact's file cannot be read: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    snprintf(etag, sizeof etag, "\"%s\"", a->sha256);
    http_reply_file(r, fd, st.st_size, a->type, etag);
    if (strncmp(a->type, "text/html", 9) == 0 && r->response) {
        /* The one script that pages of ours have; it has no origin and no network. */
        char hash[PERF_PAGE_HASH], policy[256];
        perf_page_hash(hash);
        snprintf(policy, sizeof policy,
                 "default-src 'none'; style-src 'unsafe-inline'; script-src '%s'; "
                 "sandbox allow-scripts; frame-ancestors 'self'",
                 hash);
        (void)MHD_add_response_header(r->response, "Content-Security-Policy", policy);
    }
    return true;
}

/* The way to make what is missing, or NULL. */
static const struct derivation *derivation_find(const struct artifact_call *c,
                                                const struct store_job *job)
{
    for (size_t i = 0; i < sizeof derivations / sizeof derivations[0] && !c->derived; i++) {
        const struct derivation *d = &derivations[i];
        if (strcmp(d->name, c->name) == 0 && (d->report || strcmp(d->kind, job->kind) != 0) &&
            (!d->from || strcmp(d->from, job->kind) == 0) && job_kind_known(d->kind))
            return d;
    }
    return NULL;
}

/* The job's options with report=NAME among them, in the store's canonical form. */
static const char *options_with(struct http_request *r, const char *options, const char *report,
                                struct bpu_error *err)
{
    if (!report)
        return options;
    json_t *all = json_loads(options, 0, NULL);
    json_object_set_new(all, "report", json_string(report));
    char *text = all ? json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    const char *copy = text ? arena_strdup(&r->arena, text, err) : NULL;
    if (!text)
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for the options of a job");
    free(text);
    json_decref(all);
    return copy;
}

/* Makes the job that derives it from `job`. */
static bool draft_derived(struct artifact_call *c, struct http_request *r,
                          const struct derivation *how, const struct store_job *job,
                          struct bpu_error *err)
{
    struct job_draft *d = &c->draft;
    snprintf(d->job.kind, sizeof d->job.kind, "%s", how->kind);
    snprintf(d->job.model, sizeof d->job.model, "%s", job->model);
    snprintf(d->job.march, sizeof d->job.march, "%s", job->march);
    snprintf(d->job.project, sizeof d->job.project, "%s", job->project);
    d->job.options = options_with(r, job->options, how->report, err);
    d->job.labels = arena_printf(&r->arena, err, "{\"derived_from\":\"%s\"}", job->id);
    d->idempotency_key = arena_printf(&r->arena, err, "%s:%s", how->name, job->id);
    c->derive = true;
    return d->job.options && d->job.labels && d->idempotency_key;
}

static bool find_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    struct store_job job;
    struct store_artifact *items;
    size_t count;
    if (!store_job_get(s, c->job, &r->arena, &job, &t->err) ||
        !access_job_seen(r, &job, &t->err) ||
        !store_artifact_list(s, job.id, &r->arena, &items, &count, &t->err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(items[i].name, c->name) == 0)
            return serve(r, s, &items[i], &t->err);
    if (job.state == JOB_FAILED) {
        failed(r, &job);
        return true;
    }
    if (job.state == JOB_CANCELLED)
        return error_set(&t->err, BPU_CONFLICT, r->path, "the job was cancelled");
    const struct derivation *how = derivation_find(c, &job);
    if (how)
        return draft_derived(c, r, how, &job, &t->err);
    if (!job_state_ended(job.state)) {
        not_ready(r, &job);
        return true;
    }
    error_set(&t->err, BPU_NOT_FOUND, r->path, "the job has no \"%.60s\"", c->name);
    return error_hint(&t->err, "GET /v1/jobs/%s lists its artifacts", job.id);
}

static void find_after(struct task *t);

static void made(struct http_request *r, struct snapshot *s, bool ended)
{
    (void)s;
    (void)ended;
    struct artifact_call *c = r->call;
    c->derived = true;
    c->derive = false;
    c->job = c->draft.job.id;
    struct bpu_error err = {0};
    r->content_location =
        arena_printf(&r->arena, &err, "/v1/jobs/%s/artifacts/%s", c->job, c->name);
    http_post_next(r, LANE_READ, find_run, find_after);
}

static bool derive_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    return draft_add(&c->draft, s, &r->arena, &t->err);
}

static void derive_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    if (t->err.code != BPU_NONE) {
        http_after(t);
        return;
    }
    draft_announce(r->server, &c->draft);
    if (job_state_ended(c->draft.job.state))
        made(r, NULL, true);
    else
        watch_wait(r->server->watch, r, c->draft.job.id, DERIVE_WAIT_MS, made);
}

static void find_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    if (t->err.code == BPU_NONE && c->derive)
        http_post_next(r, LANE_WRITE, derive_run, derive_after);
    else
        http_after(t);
}

static void find(struct http_request *r, const char *name)
{
    struct bpu_error err = {0};
    struct artifact_call *c = ARENA_NEW(&r->arena, struct artifact_call, &err);
    if (!c) {
        http_reply_error(r, &err);
        return;
    }
    c->job = r->captures[0];
    c->name = name;
    r->call = c;
    http_post(r, LANE_READ, find_run, find_after);
}

void api_report(struct http_request *r)
{
    find(r, "report.json");
}

void api_report_sarif(struct http_request *r)
{
    find(r, "report.sarif");
}

void api_report_junit(struct http_request *r)
{
    find(r, "report.junit.xml");
}

void api_report_html(struct http_request *r)
{
    find(r, "report.html");
}

void api_graph_svg(struct http_request *r)
{
    find(r, "graph.svg");
}

void api_artifact(struct http_request *r)
{
    find(r, r->captures[1]);
}
