/* Design: an upload ends in the disk lane with the file in its place; the write lane then commits
 * the row, and only then is it acknowledged. */
#include <stdlib.h>
#include <string.h>

#include "server/api.h"
#include "server/http_replay.h"
#include "server/http_upload.h"
#include "server/json.h"

struct model_call {
    struct store_model model;
    bool existed;
    const char *key; /* Idempotency-Key, or NULL */
};

void api_models_upload_head(struct http_request *r)
{
    struct bpu_error err = {0};
    const char *key;
    if (!http_idempotency_key(r, &key, &err)) {
        http_reply_error(r, &err);
        return;
    }
    if (!upload_begin(r))
        return; /* answered */
}

static bool add_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct model_call *c = r->call;
    return store_model_add(s, upload_model(r), &c->existed, &t->err) &&
           store_model_get(s, upload_model(r)->id, &r->arena, &c->model, &t->err);
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
                  "this key was used for the upload of model %s", id);
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
        view_model(&text, &c->model, false);
        r->location = arena_printf(&r->arena, &t->err, "/v1/models/%s", c->model.id);
        http_reply_json(r, status, &text);
        buf_fini(&text);
    }
    http_after(t);
}

static void uploaded(struct http_request *r)
{
    http_post_next(r, LANE_WRITE, add_run, add_after);
}

void api_models_upload(struct http_request *r)
{
    struct bpu_error err = {0};
    struct model_call *c = ARENA_NEW(&r->arena, struct model_call, &err);
    r->call = c;
    if (!c || !http_idempotency_key(r, &c->key, &err))
        http_reply_error(r, &err);
    else
        upload_end(r, uploaded);
}

static bool get_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct store_model m;
    if (!store_model_get(s, r->captures[0], &r->arena, &m, &t->err))
        return false;
    struct buf text;
    buf_init(&text, (size_t)8 << 20);
    view_model(&text, &m, true);
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

void api_model_get(struct http_request *r)
{
    http_post(r, LANE_READ, get_run, http_after);
}
