/* Design: POST /v1/jobs parses in the HTTP thread (bounded text), writes in the write lane, and
 * with Prefer: wait goes on to wait for the end.  The answer is always the view of the job as it is
 * read when the answer is due. */
#include <stdio.h>
#include <string.h>

#include "server/api.h"
#include "server/http_replay.h"
#include "server/json.h"

/* What a request about one job keeps. */
struct job_call {
    struct job_draft draft;
    const char *id;
    struct store_job job;
    int wait;        /* seconds */
    bool created;    /* answer 202 with Location */
    const char *key; /* Idempotency-Key of cancel and retry, or NULL */
    bool (*change)(struct store *s, const char *id, struct bpu_error *err);
};

static struct job_call *call_new(struct http_request *r)
{
    struct bpu_error err = {0};
    struct job_call *c = ARENA_NEW(&r->arena, struct job_call, &err);
    if (!c)
        http_reply_error(r, &err);
    r->call = c;
    return c;
}

/* ---- answering with a job ----------------------------------------------------------------------
 */

static bool answer_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct job_call *c = r->call;
    struct buf text;
    buf_init(&text, (size_t)8 << 20);
    bool ok = view_job_read(s, c->id, &r->arena, &c->job, &text, &t->err) &&
              access_job_seen(r, &c->job, &t->err);
    bool ended = ok && job_state_ended(c->job.state);
    if (ok && (c->wait == 0 || ended)) {
        unsigned status = c->created ? 202 : 200;
        http_reply_json(r, status, &text);
        if (c->key)
            replay_put(r->server->replay, r->path, c->key, status, buf_str(&text), text.size);
    }
    buf_fini(&text);
    return ok;
}

static void answer_waited(struct http_request *r, struct snapshot *s, bool ended);

static void answer_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct job_call *c = r->call;
    if (t->err.code == BPU_NONE && !r->response) {
        int64_t ms = (int64_t)c->wait * 1000;
        c->wait = 0;
        c->id = c->job.id; /* as the store writes it, not as the client did */
        watch_wait(r->server->watch, r, c->id, ms, answer_waited);
        return;
    }
    http_after(t);
}

static void answer_waited(struct http_request *r, struct snapshot *s, bool ended)
{
    struct job_call *c = r->call;
    if (ended && s) {
        http_reply_bytes(r, c->created ? 202 : 200, "application/json", s->json, s->json_size);
        http_resume(r);
        return;
    }
    http_post_next(r, LANE_READ, answer_run, answer_after);
}

void api_job_get(struct http_request *r)
{
    struct job_call *c = call_new(r);
    if (!c)
        return;
    c->id = r->captures[0];
    c->wait = http_prefer_wait(r, 0);
    http_post(r, LANE_READ, answer_run, answer_after);
}

/* ---- POST /v1/jobs -----------------------------------------------------------------------------
 */

/* A string, number or boolean as the text that options are made of. */
static bool option_text(const json_t *value, char *small, size_t size, const char **text)
{
    *text = small;
    if (json_is_string(value))
        *text = json_string_value(value);
    else if (json_is_integer(value))
        snprintf(small, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(small, size, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        *text = json_is_true(value) ? "true" : "false";
    else
        return false;
    return true;
}

static bool pairs_read(struct job_draft *d, struct arena *a, const char *name, json_t *object,
                       bool labels, struct bpu_error *err)
{
    if (!json_is_object(object)) {
        error_set(err, BPU_USAGE, NULL, "%s is not an object of names and texts", name);
        return error_where(err, "/%s", name);
    }
    const char *key, *text;
    json_t *value;
    char small[48];
    json_object_foreach(object, key, value)
    {
        bool ok = option_text(value, small, sizeof small, &text);
        if (!ok)
            error_set(err, BPU_USAGE, NULL, "the value is not a text, number or boolean");
        else
            ok = labels ? draft_add_label(d, a, key, text, err)
                        : draft_add_option(d, a, key, text, err);
        if (!ok)
            return error_where(err, "/%s/%.100s", name, key);
    }
    return true;
}

static bool is_sha256(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdefABCDEF") == 64;
}

static bool member_read(struct job_draft *d, struct arena *a, const char *key, json_t *value,
                        struct bpu_error *err)
{
    if (strcmp(key, "options") == 0)
        return pairs_read(d, a, key, value, false, err);
    if (strcmp(key, "labels") == 0)
        return pairs_read(d, a, key, value, true, err);
    if (strcmp(key, "priority") == 0) {
        char small[48];
        const char *number;
        return draft_set_priority(d, option_text(value, small, sizeof small, &number) ? number : "", err);
    }
    bool known = !strcmp(key, "model") || !strcmp(key, "kind") || !strcmp(key, "march") ||
                 !strcmp(key, "project");
    if (!known) {
        error_set(err, BPU_USAGE, NULL, "a job has no member \"%.60s\"", key);
        return error_hint(err, "the members are model, kind, march, options, project, labels and "
                               "priority");
    }
    if (json_is_null(value) && (!strcmp(key, "march") || !strcmp(key, "project")))
        return true;
    const char *text = json_string_value(value);
    if (!text)
        return error_set(err, BPU_USAGE, NULL, "the value is not a text");
    if (!strcmp(key, "kind"))
        return draft_set_kind(d, text, err);
    if (!strcmp(key, "march"))
        return draft_set_march(d, text, err);
    if (!strcmp(key, "project"))
        return draft_set_project(d, text, err);
    if (!is_sha256(text)) {
        error_set(err, BPU_USAGE, NULL, "the model is not a SHA-256 of 64 hexadecimal digits");
        return error_hint(err, "POST /v1/models answers with the id of the model");
    }
    for (int i = 0; i <= 64; i++)
        d->job.model[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] + 32) : text[i];
    return true;
}

static bool draft_read(struct http_request *r, struct job_draft *d, struct bpu_error *err)
{
    json_t *root = json_parse(buf_str(&r->body), r->body.size, JSON_MAX_BODY, err);
    bool ok = root != NULL;
    if (ok && !json_is_object(root))
        ok = error_set(err, BPU_USAGE, "/", "the body is not a JSON object");
    const char *key;
    json_t *value;
    json_object_foreach(ok ? root : NULL, key, value)
    {
        ok = member_read(d, &r->arena, key, value, err);
        if (!ok) {
            error_where(err, "/%.100s", key);
            break;
        }
    }
    json_decref(root);
    if (ok && !d->job.model[0])
        ok = error_set(err, BPU_USAGE, "/model", "the job names no model");
    if (ok && !d->job.kind[0])
        ok = error_set(err, BPU_USAGE, "/kind", "the job names no kind");
    return ok && draft_finish(d, r, err);
}

static bool create_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct job_call *c = r->call;
    return draft_add(&c->draft, s, &r->arena, &t->err);
}

static void create_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct job_call *c = r->call;
    if (t->err.code != BPU_NONE) {
        http_after(t);
        return;
    }
    struct store_job *job = &c->draft.job;
    draft_announce(r->server, &c->draft);
    c->id = job->id;
    c->created = true;
    r->location = arena_printf(&r->arena, &t->err, "/v1/jobs/%s", job->id);
    if (job_state_ended(job->state)) {
        /* From the cache (or an earlier job with this key): it has artifacts to show. */
        c->wait = 0;
        http_post_next(r, LANE_READ, answer_run, answer_after);
        return;
    }
    if (c->wait) {
        int64_t ms = (int64_t)c->wait * 1000;
        c->wait = 0;
        watch_wait(r->server->watch, r, c->id, ms, answer_waited);
        return;
    }
    struct buf text;
    buf_init(&text, (size_t)8 << 20);
    view_job(&text, job, NULL, 0);
    http_reply_json(r, 202, &text);
    buf_fini(&text);
    http_resume(r);
}

void api_jobs_create(struct http_request *r)
{
    struct job_call *c = call_new(r);
    if (!c)
        return;
    struct bpu_error err = {0};
    c->wait = http_prefer_wait(r, 0);
    if (!draft_read(r, &c->draft, &err)) {
        http_reply_error(r, &err);
        return;
    }
    if (!draft_kind_refused(&c->draft, r, "/kind"))
        http_post(r, LANE_WRITE, create_run, create_after);
}

/* ---- cancel, retry, delete ---------------------------------------------------------------------
 */

static bool change_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct job_call *c = r->call;
    const char *action = c->change == store_job_delete   ? "job.delete"
                         : c->change == store_job_cancel ? "job.cancel"
                                                         : "job.retry";
    if (!store_all_begin(s, &t->err))
        return false;
    bool ok = access_job_check(r, s, c->id, true, &t->err) && c->change(s, c->id, &t->err) &&
              audit_write(r, s, action, c->id, "ok", &t->err);
    /* What is queued again counts again. */
    if (ok && c->change == store_job_retry && r->access.token)
        ok = store_job_set_token(s, c->id, r->access.token, r->access.quota_queued, &t->err);
    return store_all_end(s, ok, &t->err);
}

static void change_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct job_call *c = r->call;
    if (t->err.code != BPU_NONE) {
        http_after(t);
        return;
    }
    watch_changed(r->server->watch, c->id);
    if (c->change == store_job_delete) {
        http_reply_empty(r, 204);
        http_resume(r);
        return;
    }
    wake_workers(r->server->wake, c->id);
    http_post_next(r, LANE_READ, answer_run, answer_after);
}

static void change(struct http_request *r,
                   bool (*fn)(struct store *s, const char *id, struct bpu_error *err))
{
    struct job_call *c = call_new(r);
    if (!c)
        return;
    c->id = r->captures[0];
    c->change = fn;
    c->created = fn == store_job_retry;
    struct bpu_error err = {0};
    if (fn != store_job_delete && !http_idempotency_key(r, &c->key, &err)) {
        http_reply_error(r, &err);
        return;
    }
    const char *text;
    size_t size;
    unsigned first =
        c->key ? replay_find(r->server->replay, r->path, c->key, &r->arena, &text, &size) : 0;
    if (first)
        http_reply_bytes(r, first, "application/json", text, size);
    else
        http_post(r, LANE_WRITE, change_run, change_after);
}

void api_job_cancel(struct http_request *r)
{
    change(r, store_job_cancel);
}

void api_job_retry(struct http_request *r)
{
    change(r, store_job_retry);
}

void api_job_delete(struct http_request *r)
{
    change(r, store_job_delete);
}
