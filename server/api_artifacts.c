/* Design: reports and drawings are artifacts, files addressed by their content, so that their ETag
 * is known without reading them.  A check makes no drawing; asked for one, the daemon queues a
 * visualize job for the same model, march and options (under a key of its own, so that repeated
 * questions find the same job) and answers with its drawing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/job/job.h"
#include "server/api.h"
#include "server/json.h"

#define DRAW_WAIT_MS 60000

struct artifact_call {
    const char *job, *name;
    bool may_draw;   /* missing: make it by a visualize job */
    bool of_drawing; /* job is that visualize job */
    bool draw;       /* found out: it has to be made */
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
    return true;
}

/* Makes the job that draws what `job` was about. */
static bool draft_drawing(struct artifact_call *c, struct http_request *r,
                          const struct store_job *job, struct bpu_error *err)
{
    struct job_draft *d = &c->draft;
    strcpy(d->job.kind, "visualize");
    strcpy(d->job.model, job->model);
    strcpy(d->job.march, job->march);
    strcpy(d->job.project, job->project);
    d->job.options = job->options;
    d->job.labels = arena_printf(&r->arena, err, "{\"drawing_of\":\"%s\"}", job->id);
    d->idempotency_key = arena_printf(&r->arena, err, "drawing:%s", job->id);
    c->draw = true;
    return d->job.labels && d->idempotency_key;
}

static bool find_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    struct store_job job;
    struct store_artifact *items;
    size_t count;
    if (!store_job_get(s, c->job, &r->arena, &job, &t->err) ||
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
    if (c->may_draw && !c->of_drawing && strcmp(job.kind, "visualize") != 0 &&
        job_kind_known("visualize"))
        return draft_drawing(c, r, &job, &t->err);
    if (!job_state_ended(job.state)) {
        not_ready(r, &job);
        return true;
    }
    error_set(&t->err, BPU_NOT_FOUND, r->path, "the job has no \"%.60s\"", c->name);
    return error_hint(&t->err, "GET /v1/jobs/%s lists its artifacts", job.id);
}

static void find_after(struct task *t);

static void drawn(struct http_request *r, struct snapshot *s, bool ended)
{
    (void)s;
    (void)ended;
    struct artifact_call *c = r->call;
    c->of_drawing = true;
    c->draw = false;
    c->job = c->draft.job.id;
    c->name = "graph.svg";
    struct bpu_error err = {0};
    r->content_location = arena_printf(&r->arena, &err, "/v1/jobs/%s/graph.svg", c->job);
    http_post_next(r, LANE_READ, find_run, find_after);
}

static bool draw_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    return draft_add(&c->draft, s, &r->arena, &t->err);
}

static void draw_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    if (t->err.code != BPU_NONE) {
        http_after(t);
        return;
    }
    draft_announce(r->server, &c->draft);
    if (job_state_ended(c->draft.job.state))
        drawn(r, NULL, true);
    else
        watch_wait(r->server->watch, r, c->draft.job.id, DRAW_WAIT_MS, drawn);
}

static void find_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct artifact_call *c = r->call;
    if (t->err.code == BPU_NONE && c->draw)
        http_post_next(r, LANE_WRITE, draw_run, draw_after);
    else
        http_after(t);
}

static void find(struct http_request *r, const char *name, bool may_draw)
{
    struct bpu_error err = {0};
    struct artifact_call *c = ARENA_NEW(&r->arena, struct artifact_call, &err);
    if (!c) {
        http_reply_error(r, &err);
        return;
    }
    c->job = r->captures[0];
    c->name = name;
    c->may_draw = may_draw;
    r->call = c;
    http_post(r, LANE_READ, find_run, find_after);
}

void api_report(struct http_request *r)
{
    find(r, "report.json", false);
}

void api_report_sarif(struct http_request *r)
{
    find(r, "report.sarif", false);
}

void api_report_junit(struct http_request *r)
{
    find(r, "report.junit.xml", false);
}

void api_report_html(struct http_request *r)
{
    find(r, "report.html", false);
}

void api_graph_svg(struct http_request *r)
{
    find(r, "graph.svg", true);
}

void api_artifact(struct http_request *r)
{
    find(r, r->captures[1], false);
}
