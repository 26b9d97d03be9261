/* Design: GET /v1/compare reads the reports of two jobs, which are files addressed by content, and compares them
 * in a read lane.  The answer follows from the two files, the gates and this program, so its ETag is known before
 * anything is read.  Reports come from sandboxed children: they are parsed as what a stranger wrote. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/job/compare.h"
#include "server/access.h"
#include "server/api.h"
#include "server/files.h"
#include "server/json.h"

#define COMPARE_QUOTA ((size_t)512 << 20)
#define MOST_REPORTS 4 /* of one job */

/* Of a job: the report itself, and those of a pipeline's steps where they are files of their own. */
static const char *const report_names[] = {"report.json", "perf.json", "compile.json", "check.json"};

struct compare_call {
    const char *ids[2];
    struct job_option gates[GATE_MOST];
    size_t gate_count;
    struct gates limits;
    bool html;
    struct arena *arena;
    struct bpu_error err;
};

static const char *const labels[] = {"base", "head"};

/* ── what is asked for ── */

static bool parameter(struct compare_call *c, const char *key, const char *value)
{
    for (int i = 0; i < 2; i++)
        if (strcmp(key, labels[i]) == 0) {
            if (c->ids[i])
                return error_set(&c->err, BPU_BAD_OPTION, key, "%s is given twice", key);
            c->ids[i] = arena_strdup(c->arena, value, &c->err);
            return c->ids[i] != NULL;
        }
    if (!gate_option(key)) {
        error_set(&c->err, BPU_BAD_OPTION, key, "there is no parameter \"%.60s\"", key);
        return error_hint(&c->err, "Give base and head, and gates: max_latency_us, min_fps, max_ddr_mb, "
                                   "max_regression and fail_on.");
    }
    if (c->gate_count == GATE_MOST)
        return error_set(&c->err, BPU_BAD_OPTION, key, "there are more than %d gates", GATE_MOST);
    struct job_option *o = &c->gates[c->gate_count++];
    o->key = gate_option_of_flag(key);
    o->value = arena_strdup(c->arena, value, &c->err);
    return o->value != NULL;
}

static enum MHD_Result on_parameter(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind;
    return parameter(cls, key, value ? value : "") ? MHD_YES : MHD_NO;
}

static bool read_query(struct http_request *r, struct compare_call *c, struct bpu_error *err)
{
    c->arena = &r->arena;
    (void)MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, on_parameter, c);
    *err = c->err;
    for (int i = 0; i < 2 && err->code == BPU_NONE; i++)
        if (!c->ids[i] || !*c->ids[i]) {
            error_set(err, BPU_USAGE, labels[i], "no job is given as %s", labels[i]);
            error_hint(err, "GET /v1/compare?base=JOB&head=JOB");
        }
    return err->code == BPU_NONE && gates_read(c->gates, c->gate_count, GATES_OF_COMPARISON, &c->limits, err);
}

/* True if a page is wanted rather than JSON, which is what a client gets that does not say. */
static bool wants_page(struct http_request *r)
{
    const char *accept = http_header(r, "Accept");
    const char *html = accept ? strstr(accept, "text/html") : NULL;
    const char *json = accept ? strstr(accept, "application/json") : NULL;
    return html && (!json || html < json);
}

/* ── the jobs ── */

struct found {
    struct store_job job;
    struct store_artifact reports[MOST_REPORTS];
    int count;
};

static bool unfinished(struct http_request *r, const struct found *f, const char *label)
{
    char detail[128];
    bool ended = job_state_ended(f->job.state);
    if (f->job.state == JOB_SUCCEEDED)
        return false;
    snprintf(detail, sizeof detail, "the job %.40s is %s", f->job.id, job_state_name(f->job.state));
    if (!ended)
        r->retry_after = 1;
    http_reply_problem(r, &(struct problem){.status = 409,
                                            .code = ended ? "job_has_no_report" : "job_not_finished",
                                            .title = ended ? "The job left nothing to compare"
                                                           : "The job has not ended yet",
                                            .detail = detail,
                                            .where = label,
                                            .hint = ended ? "GET /v1/jobs/{id} says why"
                                                          : "wait for the end: GET the job with Prefer: wait=60"});
    return true;
}

/* *answered: a problem went out, or the job has nothing to compare. */
static bool find_one(struct http_request *r, struct store *s, const char *id, const char *label,
                     struct found *f, bool *answered, struct bpu_error *err)
{
    struct store_artifact *items;
    size_t count;
    if (!store_job_get(s, id, &r->arena, &f->job, err) || !access_job_seen(r, &f->job, err)) {
        if (err->code == BPU_NOT_FOUND)
            snprintf(err->where, sizeof err->where, "%s", label);
        return false;
    }
    *answered = unfinished(r, f, label);
    if (*answered)
        return true;
    if (!store_artifact_list(s, f->job.id, &r->arena, &items, &count, err))
        return false;
    for (int k = 0; k < MOST_REPORTS; k++)
        for (size_t i = 0; i < count; i++)
            if (strcmp(items[i].name, report_names[k]) == 0)
                f->reports[f->count++] = items[i];
    if (f->count)
        return true;
    error_set(err, BPU_NOT_COMPARABLE, label, "a job of kind %s has no report", f->job.kind);
    return error_hint(err, "Compare jobs of kind check, compile, perf, pipeline, quantize or evaluate.");
}

static bool etag_make(const struct compare_call *c, const struct found f[2], char out[80], struct bpu_error *err)
{
    struct buf all;
    char hex[FILES_SHA256_HEX];
    buf_init(&all, 1 << 20);
    buf_printf(&all, "%s %d", BPU_VERSION, c->html);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < f[i].count; k++)
            buf_printf(&all, "\n%d %s %s", i, f[i].job.id, f[i].reports[k].sha256);
    for (size_t i = 0; i < c->gate_count; i++)
        buf_printf(&all, "\n%s=%s", c->gates[i].key, c->gates[i].value);
    bool ok = buf_ok(&all, err) && files_sha256(all.data, all.size, hex, err);
    buf_fini(&all);
    if (ok)
        snprintf(out, 80, "\"%.32s\"", hex);
    return ok;
}

/* ── reading and answering ── */

static bool read_report(struct store *s, const struct store_artifact *a, struct compare_side *side,
                        struct bpu_error *err)
{
    char path[4096];
    struct stat st;
    store_artifact_path(s, a->sha256, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *data = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        close(fd);
    if (data == MAP_FAILED)
        return error_set(err, BPU_IO, a->name, "the report's file cannot be read: %s", strerror(errno));
    bool ok = compare_side_read(side, data, (size_t)st.st_size, err);
    munmap(data, (size_t)st.st_size);
    return ok;
}

static void reply(struct http_request *r, unsigned status, const char *type, const struct buf *body,
                  const char *etag)
{
    http_reply_bytes(r, status, type, body ? buf_str(body) : "", body ? body->size : 0);
    if (!r->response || r->status != status)
        return;
    (void)MHD_add_response_header(r->response, "ETag", etag);
    (void)MHD_add_response_header(r->response, "Cache-Control", "private, no-cache");
    (void)MHD_add_response_header(r->response, "Vary", "Accept");
}

static bool answer(struct http_request *r, struct store *s, const struct found f[2], const char *etag,
                   struct arena *a, struct bpu_error *err)
{
    const struct compare_call *c = r->call;
    struct compare_side sides[2];
    struct compare_result *result = ARENA_NEW(a, struct compare_result, err);
    if (!result)
        return false;
    for (int i = 0; i < 2; i++) {
        compare_side_init(&sides[i], a, labels[i]);
        sides[i].job = f[i].job.id;
        for (int k = 0; k < f[i].count; k++)
            if (!read_report(s, &f[i].reports[k], &sides[i], err))
                return false;
        if (!*sides[i].model_name) /* a report from before names were kept */
            sides[i].model_name = f[i].job.model_name;
    }
    if (!compare_sides(a, &sides[0], &sides[1], &c->limits, result, err))
        return false;
    struct buf out;
    buf_init(&out, BUF_DEFAULT_CAP);
    bool ok = c->html ? report_compare_html(result, &out, err) : report_compare_json(result, &out, err);
    if (ok)
        reply(r, 200, c->html ? "text/html; charset=utf-8" : "application/json", &out, etag);
    buf_fini(&out);
    return ok;
}

static bool compare_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    const struct compare_call *c = r->call;
    struct found *f = ARENA_ARRAY(&r->arena, struct found, 2, &t->err);
    char etag[80];
    if (!f)
        return false;
    for (int i = 0; i < 2; i++) {
        bool answered = false;
        if (!find_one(r, s, c->ids[i], labels[i], &f[i], &answered, &t->err))
            return false;
        if (answered)
            return true;
    }
    if (!etag_make(c, f, etag, &t->err))
        return false;
    if (http_etag_matches(r, etag)) {
        reply(r, 304, NULL, NULL, etag);
        return true;
    }
    struct arena a;
    arena_init(&a, COMPARE_QUOTA);
    bool ok = answer(r, s, f, etag, &a, &t->err);
    arena_fini(&a);
    return ok;
}

static void start(struct http_request *r, bool html)
{
    struct bpu_error err = {0};
    struct compare_call *c = ARENA_NEW(&r->arena, struct compare_call, &err);
    if (c)
        r->call = c;
    if (!c || !read_query(r, c, &err)) {
        http_reply_error(r, &err);
        return;
    }
    c->html = html;
    http_post(r, LANE_READ, compare_run, http_after);
}

void api_compare(struct http_request *r)
{
    start(r, wants_page(r));
}

void api_compare_html(struct http_request *r)
{
    start(r, true);
}
