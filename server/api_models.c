/* Design: an upload ends in the disk lane with the file in its place; the write lane then commits
 * the row, and only then is it acknowledged.  Models and data files differ in where they go. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/api.h"
#include "server/http_replay.h"
#include "server/http_upload.h"
#include "server/json.h"

/* The calls of one table. */
struct uploads {
    enum upload_kind kind;
    const char *path, *noun;
    bool (*add)(struct store *s, const struct store_model *m, bool *existed, struct bpu_error *err);
    bool (*get)(struct store *s, const char *id, struct arena *a, struct store_model *out,
                struct bpu_error *err);
    void (*view)(struct buf *out, const struct store_model *m, bool with_info);
};

static const struct uploads models = {UPLOAD_MODEL,    "/v1/models",    "model",
                                      store_model_add, store_model_get, view_model};
static const struct uploads data = {UPLOAD_DATA,    "/v1/data",     "data file",
                                    store_data_add, store_data_get, view_data};

struct model_call {
    const struct uploads *to;
    struct store_model model;
    bool existed;
    char project[128];
    const char *key; /* Idempotency-Key, or NULL */
};

/* The project that the upload is for: ?project= or the token's. */
static bool project_read(struct http_request *r, char project[128], struct bpu_error *err)
{
    const char *text = http_query(r, "project");
    struct job_draft d = {0};
    if (text && !draft_set_project(&d, text, err)) {
        snprintf(err->where, sizeof err->where, "project");
        return false;
    }
    memcpy(project, d.job.project, sizeof d.job.project);
    return access_project(r, project, err);
}

static void upload_head(struct http_request *r, const struct uploads *to)
{
    struct bpu_error err = {0};
    const char *key;
    char project[128];
    if (!http_idempotency_key(r, &key, &err) || !project_read(r, project, &err)) {
        http_reply_error(r, &err);
        return;
    }
    if (!upload_begin(r, to->kind))
        return; /* answered */
}

void api_models_upload_head(struct http_request *r)
{
    upload_head(r, &models);
}

void api_data_upload_head(struct http_request *r)
{
    upload_head(r, &data);
}

static bool add_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct model_call *c = r->call;
    const char *id = upload_model(r)->id;
    char action[24];
    snprintf(action, sizeof action, "%s.upload", c->to->kind == UPLOAD_DATA ? "data" : "model");
    bool existed;
    /* Content that only others could see is new to who uploads it. */
    return upload_is_stored(r, s, &t->err) && c->to->add(s, upload_model(r), &existed, &t->err) &&
           store_file_give(s, id, c->project, existed,
                           access_scope(r->server->access, &r->access), &c->existed, &t->err) &&
           audit_write(r, s, action, id, "ok", &t->err) &&
           c->to->get(s, upload_model(r)->id, &r->arena, &c->model, &t->err);
}

/* A repeat with a known key: answers with the first status, and is refused for another content. */
static unsigned key_settle(struct http_request *r, struct model_call *c, struct bpu_error *err)
{
    unsigned status = c->existed ? 200 : 201;
    if (!c->key)
        return status;
    const char *id;
    size_t size;
    unsigned first = replay_find(r->server->replay, r->path, c->key, &r->arena, &id, &size);
    if (!first) {
        replay_put(r->server->replay, r->path, c->key, status, c->model.id, strlen(c->model.id));
        return status;
    }
    if (strcmp(id, c->model.id) != 0) {
        error_set(err, BPU_CONFLICT, "Idempotency-Key",
                  "this key was used for the upload of %s %s", c->to->noun, id);
        error_hint(err, "use a new key for each new request");
    }
    return first;
}

static void add_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct model_call *c = r->call;
    unsigned status = t->err.code == BPU_NONE ? key_settle(r, c, &t->err) : 0;
    if (t->err.code == BPU_NONE) {
        struct buf text;
        buf_init(&text, (size_t)1 << 20);
        c->to->view(&text, &c->model, false);
        r->location = arena_printf(&r->arena, &t->err, "%s/%s", c->to->path, c->model.id);
        http_reply_json(r, status, &text);
        buf_fini(&text);
    }
    http_after(t);
}

static void uploaded(struct http_request *r)
{
    http_post_next(r, LANE_WRITE, add_run, add_after);
}

static struct model_call *call_new(struct http_request *r, const struct uploads *to)
{
    struct bpu_error err = {0};
    struct model_call *c = ARENA_NEW(&r->arena, struct model_call, &err);
    r->call = c;
    if (c)
        c->to = to;
    else
        http_reply_error(r, &err);
    return c;
}

static void upload(struct http_request *r, const struct uploads *to)
{
    struct bpu_error err = {0};
    struct model_call *c = call_new(r, to);
    if (!c)
        return;
    if (!http_idempotency_key(r, &c->key, &err) || !project_read(r, c->project, &err))
        http_reply_error(r, &err);
    else
        upload_end(r, uploaded);
}

void api_models_upload(struct http_request *r)
{
    upload(r, &models);
}

void api_data_upload(struct http_request *r)
{
    upload(r, &data);
}

static bool get_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct model_call *c = r->call;
    if (!access_file_check(r, s, r->captures[0], c->to->noun, &t->err) ||
        !c->to->get(s, r->captures[0], &r->arena, &c->model, &t->err))
        return false;
    struct buf text;
    buf_init(&text, (size_t)8 << 20);
    c->to->view(&text, &c->model, true);
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

void api_model_get(struct http_request *r)
{
    if (call_new(r, &models))
        http_post(r, LANE_READ, get_run, http_after);
}

void api_data_get(struct http_request *r)
{
    if (call_new(r, &data))
        http_post(r, LANE_READ, get_run, http_after);
}
