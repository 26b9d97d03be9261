/* Design: a browser gives its token once and gets a cookie in exchange that scripts cannot read and
 * that other sites cannot make it send.  What the cookie says is another secret, stored hashed like
 * the token, ending with it or after SESSION_SECONDS.  The answer carries the text that pages must
 * send with whatever changes something (X-CSRF-Token). */
#include <stdio.h>
#include <string.h>

#include "server/api.h"
#include "server/json.h"

#define SESSION_SECONDS 43200 /* a working day */

struct session_call {
    char token[ACCESS_SECRET_SIZE], cookie[ACCESS_SECRET_SIZE];
};

static void view(struct http_request *r)
{
    const struct access *a = &r->access;
    struct buf text;
    buf_init(&text, 8192);
    buf_printf(&text, "{\"access\":\"%s\",\"signed_in\":%s,\"anonymous_read\":%s,\"role\":",
               a->open ? "open" : "tokens", a->token ? "true" : "false",
               r->server->config.anonymous_read ? "true" : "false");
    json_write_string_or_null(&text, a->role == ROLE_NONE ? NULL : store_role_name(a->role));
    buf_puts(&text, ",\"name\":");
    json_write_string_or_null(&text, a->name);
    buf_puts(&text, ",\"project\":");
    json_write_string_or_null(&text, a->project);
    buf_puts(&text, ",\"csrf\":");
    json_write_string_or_null(&text, a->csrf);
    buf_putc(&text, '}');
    http_reply_json(r, 200, &text);
    buf_fini(&text);
}

void api_session_get(struct http_request *r)
{
    view(r);
}

static bool cookie_set(struct http_request *r, const char *value, int seconds, struct bpu_error *err)
{
    r->set_cookie =
        arena_printf(&r->arena, err, "%s=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s",
                     http_cookie_name(r->server), value, seconds,
                     http_is_secure(r->server) ? "; Secure" : "");
    return r->set_cookie != NULL;
}

/* ---- signing in --------------------------------------------------------------------------------
 */

static bool create_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct session_call *c = r->call;
    struct store_session e = {.token = r->access.token,
                              .expires = access_now() + INT64_C(1000) * SESSION_SECONDS};
    if (!access_secret("", c->cookie, sizeof c->cookie, &t->err))
        return false;
    if (!access_hash(c->cookie, e.hash))
        return error_set(&t->err, BPU_SERVER, NULL, "the session cannot be made");
    return store_session_add(s, &e, &t->err) && audit_write(r, s, "session.create", "", "ok", &t->err);
}

static bool known_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    return access_reload(r->server->access, s, &t->err);
}

static void known_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct session_call *c = r->call;
    if (t->err.code == BPU_NONE && cookie_set(r, c->cookie, SESSION_SECONDS, &t->err) &&
        access_find(r->server->access, c->cookie, true, &r->access)) {
        access_csrf(c->cookie, r->access.csrf);
        view(r);
    }
    explicit_bzero(c, sizeof *c);
    http_after(t);
}

static void create_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    if (t->err.code != BPU_NONE)
        http_after(t);
    else
        http_post_next(r, LANE_READ, known_run, known_after);
}

/* The token is good: makes its session; or it is not known here yet: asks the store first. */
static void ask_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct session_call *c = r->call;
    if (t->err.code != BPU_NONE) {
        http_after(t);
        return;
    }
    if (access_is_open(r->server->access)) {
        view(r);
        http_resume(r);
        return;
    }
    if (access_find(r->server->access, c->token, false, &r->access)) {
        http_post_next(r, LANE_WRITE, create_run, create_after);
        return;
    }
    audit_post(r, "session.create", "", "unauthorized");
    http_reply_problem(r, &(struct problem){.status = 401,
                                            .code = "unauthorized",
                                            .title = "Who asks is not known",
                                            .detail = "the token is not known, has expired or was "
                                                      "revoked",
                                            .where = "/token"});
    http_resume(r);
}

static bool body_read(struct http_request *r, struct session_call *c, struct bpu_error *err)
{
    json_t *root = json_parse(buf_str(&r->body), r->body.size, JSON_MAX_BODY, err);
    const char *token = json_string_value(json_object_get(root, "token"));
    bool ok = root != NULL;
    if (ok && (!token || !*token || strlen(token) >= sizeof c->token)) {
        ok = error_set(err, BPU_USAGE, "/token", "the body has no token");
        error_hint(err, "send {\"token\": \"…\"}");
    }
    if (ok)
        strcpy(c->token, token);
    json_decref(root);
    return ok;
}

void api_session_create(struct http_request *r)
{
    struct bpu_error err = {0};
    struct session_call *c = ARENA_NEW(&r->arena, struct session_call, &err);
    if (!c || !body_read(r, c, &err)) {
        http_reply_error(r, &err);
        return;
    }
    r->call = c;
    int seconds = 0;
    bool found = access_find(r->server->access, c->token, false, &r->access);
    /* Where all is open the store is asked too: the first token may have been made just now. */
    if (!found && !r->access.open && (seconds = access_failure(r)) > 0) {
        r->retry_after = seconds;
        http_reply_problem(r, &(struct problem){.status = 429,
                                                .code = "too_many_requests",
                                                .title = "There are too many requests",
                                                .detail = "too many wrong tokens came from this "
                                                          "address"});
        return;
    }
    if (found)
        http_post(r, LANE_WRITE, create_run, create_after);
    else
        http_post(r, LANE_READ, known_run, ask_after);
}

/* ---- signing out -------------------------------------------------------------------------------
 */

static bool delete_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    return store_session_remove(s, r->access.session_hash, &t->err) &&
           audit_write(r, s, "session.delete", "", "ok", &t->err);
}

static void gone_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    if (t->err.code == BPU_NONE && cookie_set(r, "", 0, &t->err))
        http_reply_empty(r, 204);
    http_after(t);
}

static void delete_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    if (t->err.code != BPU_NONE)
        http_after(t);
    else
        http_post_next(r, LANE_READ, known_run, gone_after);
}

void api_session_delete(struct http_request *r)
{
    struct bpu_error err = {0};
    if (r->access.session)
        http_post(r, LANE_WRITE, delete_run, delete_after);
    else if (cookie_set(r, "", 0, &err))
        http_reply_empty(r, 204); /* signed out already, or the session is over */
    else
        http_reply_error(r, &err);
}
