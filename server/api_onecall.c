/* Design: POST /v1/check and its like are an upload, a job and a wait in one request.  All that the
 * query says is checked before the body is read; model and job are committed in one transaction;
 * the answer is that of GET /v1/jobs/{id}: 200 once the job has ended, 202 if the time was up
 * first. */
#include <stdio.h>
#include <string.h>

#include "server/api.h"
#include "server/http_upload.h"

#define WAIT_DEFAULT 60

struct onecall {
    struct job_draft draft;
    int wait;
    struct arena *arena;
    struct bpu_error err;
};

static bool parameter(struct onecall *c, const char *key, const char *value)
{
    if (!strcmp(key, "march"))
        return draft_set_march(&c->draft, value, &c->err);
    if (!strcmp(key, "project"))
        return draft_set_project(&c->draft, value, &c->err);
    if (!strcmp(key, "priority"))
        return draft_set_priority(&c->draft, value, &c->err);
    if (!strncmp(key, "label.", 6))
        return draft_add_label(&c->draft, c->arena, key + 6, value, &c->err);
    if (!strcmp(key, "filename"))
        return true; /* the upload's */
    return draft_add_option(&c->draft, c->arena, key, value, &c->err);
}

static enum MHD_Result on_parameter(void *cls, enum MHD_ValueKind kind, const char *key,
                                    const char *value)
{
    (void)kind;
    struct onecall *c = cls;
    if (parameter(c, key, value ? value : ""))
        return MHD_YES;
    /* The place of an error in a URL is the parameter, not the member of a JSON body. */
    snprintf(c->err.where, sizeof c->err.where, "%.200s", key);
    return MHD_NO;
}

void api_onecall_head(struct http_request *r)
{
    struct bpu_error err = {0};
    const char *kind = strrchr(r->path, '/') + 1;
    struct onecall *c = ARENA_NEW(&r->arena, struct onecall, &err);
    if (!c) {
        http_reply_error(r, &err);
        return;
    }
    r->call = c;
    c->arena = &r->arena;
    c->wait = http_prefer_wait(r, WAIT_DEFAULT);
    bool ok = draft_set_kind(&c->draft, kind, &err);
    if (ok && draft_kind_refused(&c->draft, r, r->path))
        return;
    if (ok)
        (void)MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, on_parameter, c);
    if (ok && c->err.code != BPU_NONE) {
        err = c->err;
        ok = false;
    }
    if (!ok || !draft_finish(&c->draft, r, &err)) {
        http_reply_error(r, &err);
        return;
    }
    if (!upload_begin(r, UPLOAD_MODEL))
        return; /* answered */
}

static bool answer_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct onecall *c = r->call;
    struct store_job job;
    struct buf text;
    buf_init(&text, (size_t)8 << 20);
    bool ok = view_job_read(s, c->draft.job.id, &r->arena, &job, &text, &t->err);
    if (ok)
        http_reply_json(r, job_state_ended(job.state) ? 200 : 202, &text);
    buf_fini(&text);
    return ok;
}

static void waited(struct http_request *r, struct snapshot *s, bool ended)
{
    if (ended && s) {
        http_reply_bytes(r, 200, "application/json", s->json, s->json_size);
        http_resume(r);
        return;
    }
    http_post_next(r, LANE_READ, answer_run, http_after);
}

/* The place of an error in a URL is the parameter, not the member of a JSON body. */
static bool in_url(struct bpu_error *err)
{
    static const char member[] = "/options/";
    if (strncmp(err->where, member, sizeof member - 1) == 0)
        memmove(err->where, err->where + sizeof member - 1,
                strlen(err->where + sizeof member - 1) + 1);
    return false;
}

static bool add_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct onecall *c = r->call;
    const char *id = upload_model(r)->id;
    bool existed, seen;
    return upload_is_stored(r, s, &t->err) && store_model_add(s, upload_model(r), &existed, &t->err) &&
           store_file_give(s, id, c->draft.job.project, existed,
                           access_scope(r->server->access, &r->access), &seen, &t->err) &&
           audit_write(r, s, "model.upload", id, "ok", &t->err) &&
           (draft_add(&c->draft, s, &r->arena, &t->err) || in_url(&t->err));
}

static void add_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct onecall *c = r->call;
    if (t->err.code != BPU_NONE) {
        http_after(t);
        return;
    }
    draft_announce(r->server, &c->draft);
    r->location = arena_printf(&r->arena, &t->err, "/v1/jobs/%s", c->draft.job.id);
    if (job_state_ended(c->draft.job.state) || c->wait == 0)
        http_post_next(r, LANE_READ, answer_run, http_after);
    else
        watch_wait(r->server->watch, r, c->draft.job.id, (int64_t)c->wait * 1000, waited);
}

static void uploaded(struct http_request *r)
{
    struct onecall *c = r->call;
    strcpy(c->draft.job.model, upload_model(r)->id);
    http_post_next(r, LANE_WRITE, add_run, add_after);
}

void api_onecall(struct http_request *r)
{
    upload_end(r, uploaded);
}
