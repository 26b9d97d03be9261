/* Design: webhooks are made, listed and deleted like anything else; the secret is shown once, when it is made.  Whether an
 * address may be called is decided when it is called (server/deliver), because names can change what they stand for.
 *
 * Who is told of a project's jobs learns of them, so a webhook belongs to whom its project does: one for all projects is
 * an admin's, others are of those who may add to the project. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/access.h"
#include "server/api.h"
#include "server/json.h"
#include "server/store_hook.h"

struct hook_call {
    struct store_hook hook;
};

static bool mine(struct http_request *r, const struct store_hook *h)
{
    const struct access *a = &r->access;
    if (a->role == ROLE_ADMIN && !a->project[0])
        return true;
    return !h->all_projects && !access_hides(r->server->access, a, h->project) &&
           (!a->project[0] || strcmp(a->project, h->project) == 0);
}

/* The webhook of the path, or the words for one that does not exist. */
static bool find(struct http_request *r, struct store *s, struct store_hook *h, struct bpu_error *err)
{
    if (!store_hook_get(s, r->captures[0], h, err))
        return false;
    return mine(r, h) || error_set(err, BPU_NOT_FOUND, NULL, "there is no webhook %.40s", r->captures[0]);
}

static struct hook_call *call_new(struct http_request *r)
{
    struct bpu_error err = {0};
    struct hook_call *c = ARENA_NEW(&r->arena, struct hook_call, &err);
    if (!c)
        http_reply_error(r, &err);
    r->call = c;
    return c;
}

static void view_hook(struct buf *out, const struct store_hook *h)
{
    buf_puts(out, "{\"id\":");
    json_write_string(out, h->id);
    buf_puts(out, ",\"url\":");
    json_write_string(out, h->url);
    buf_puts(out, ",\"project\":");
    if (h->all_projects)
        buf_puts(out, "null");
    else
        json_write_string(out, h->project);
    buf_puts(out, ",\"created\":");
    json_write_time(out, h->created);
    if (*h->secret) {
        buf_puts(out, ",\"secret\":");
        json_write_string(out, h->secret);
    }
    buf_putc(out, '}');
}

/* ---- the process that delivers ------------------------------------------------------------------ */

static void deliverer_want(struct http_server *h)
{
    if (!atomic_exchange(&h->hooks_wanted, true))
        kill(getpid(), SIGCHLD); /* the main thread looks after its processes */
}

struct hooks_look {
    struct task task;
    struct http_server *server;
    bool any;
};

static bool look_run(struct task *t, struct store *s)
{
    struct hooks_look *l = (struct hooks_look *)((char *)t - offsetof(struct hooks_look, task));
    return store_hooks_exist(s, &l->any, &t->err);
}

static void look_after(struct task *t)
{
    struct hooks_look *l = (struct hooks_look *)((char *)t - offsetof(struct hooks_look, task));
    if (l->any || t->err.code != BPU_NONE) /* a deliverer with nothing to do harms nobody */
        deliverer_want(l->server);
    free(l);
}

void hooks_look(struct http_server *h)
{
    struct hooks_look *l = calloc(1, sizeof *l);
    if (!l) {
        deliverer_want(h);
        return;
    }
    *l = (struct hooks_look){.task = {.run = look_run, .after = look_after}, .server = h};
    tasks_post(h->tasks, LANE_READ, &l->task);
}

/* ---- POST /v1/webhooks ----------------------------------------------------------------------- */

static bool url_check(const char *url, struct bpu_error *err)
{
    bool scheme = strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0;
    bool plain = strlen(url) < HOOK_URL_MAX;
    for (const char *p = url; plain && *p; p++)
        plain = *p > 0x20 && *p < 0x7f;
    if (scheme && plain)
        return true;
    error_set(err, BPU_USAGE, "/url", "this is not an http or https address of fewer than %d characters",
              HOOK_URL_MAX);
    return error_hint(err, "for example https://ci.example.org/hooks/bpuhub");
}

static bool body_read(struct http_request *r, struct store_hook *h, struct bpu_error *err)
{
    const char *key;
    json_t *value, *root = json_parse(buf_str(&r->body), r->body.size, JSON_MAX_BODY, err);
    bool ok = root != NULL;
    if (ok && !json_is_object(root))
        ok = error_set(err, BPU_USAGE, "/", "the body is not a JSON object");
    h->all_projects = true;
    json_object_foreach(ok ? root : NULL, key, value)
    {
        const char *text = json_string_value(value);
        if (!ok)
            break;
        if (strcmp(key, "project") == 0 && json_is_null(value))
            continue;
        if ((strcmp(key, "project") != 0 && strcmp(key, "url") != 0) || !text) {
            error_set(err, BPU_USAGE, NULL, "a webhook has no such member, or it is not a text");
            ok = error_where(err, "/%.100s", key);
            error_hint(err, "the members are url and project");
        } else if (strcmp(key, "url") == 0) {
            ok = url_check(text, err);
            if (ok)
                strcpy(h->url, text);
        } else {
            struct job_draft d = {0};
            ok = draft_set_project(&d, text, err);
            strcpy(h->project, d.job.project);
            h->all_projects = false;
        }
    }
    json_decref(root);
    if (ok && !*h->url)
        ok = error_set(err, BPU_USAGE, "/url", "the webhook has no url");
    const struct access *a = &r->access;
    if (ok && h->all_projects && a->project[0]) { /* the token's, without being asked */
        memcpy(h->project, a->project, sizeof h->project);
        h->all_projects = false;
    }
    if (ok && h->all_projects && a->role != ROLE_ADMIN) {
        error_set(err, BPU_FORBIDDEN, "/project", "only an admin is told of the jobs of all projects");
        return error_hint(err, "name a project");
    }
    return ok && (h->all_projects || access_project(r, h->project, err));
}

static bool create_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct hook_call *c = r->call;
    return store_hook_add(s, &c->hook, &t->err) && audit_write(r, s, "webhook.create", c->hook.id, "ok", &t->err);
}

static void create_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct hook_call *c = r->call;
    if (t->err.code == BPU_NONE) {
        struct buf text;
        buf_init(&text, 16 << 10);
        view_hook(&text, &c->hook);
        r->location = arena_printf(&r->arena, &t->err, "/v1/webhooks/%s", c->hook.id);
        http_reply_json(r, 201, &text);
        buf_fini(&text);
        deliverer_want(r->server);
    }
    http_after(t);
}

void api_hooks_create(struct http_request *r)
{
    struct bpu_error err = {0};
    struct hook_call *c = call_new(r);
    if (!c)
        return;
    if (!body_read(r, &c->hook, &err))
        http_reply_error(r, &err);
    else
        http_post(r, LANE_WRITE, create_run, create_after);
}

/* ---- the others ------------------------------------------------------------------------------ */

static bool list_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct store_hook *items;
    size_t count;
    if (!store_hook_list(s, &r->arena, &items, &count, &t->err))
        return false;
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    buf_puts(&text, "{\"items\":[");
    for (size_t i = 0, shown = 0; i < count; i++) {
        if (!mine(r, &items[i]))
            continue;
        if (shown++)
            buf_putc(&text, ',');
        view_hook(&text, &items[i]);
    }
    buf_puts(&text, "]}");
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

void api_hooks_list(struct http_request *r)
{
    http_post(r, LANE_READ, list_run, http_after);
}

static bool get_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct store_hook h;
    if (!find(r, s, &h, &t->err))
        return false;
    struct buf text;
    buf_init(&text, 16 << 10);
    view_hook(&text, &h);
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

void api_hook_get(struct http_request *r)
{
    http_post(r, LANE_READ, get_run, http_after);
}

static bool delete_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct store_hook h;
    return find(r, s, &h, &t->err) && store_hook_delete(s, h.id, &t->err) &&
           audit_write(r, s, "webhook.delete", h.id, "ok", &t->err);
}

static void delete_after(struct task *t)
{
    if (t->err.code == BPU_NONE)
        http_reply_empty(http_request_of(t), 204);
    http_after(t);
}

void api_hook_delete(struct http_request *r)
{
    http_post(r, LANE_WRITE, delete_run, delete_after);
}

static void view_delivery(struct buf *out, const struct store_delivery *d)
{
    static const char *const states[] = {"pending", "delivered", "given_up"};
    buf_printf(out, "{\"id\":\"%lld\",\"job\":\"%s\",\"event\":\"%s\",\"state\":\"%s\",\"attempts\":%d,\"status\":",
               (long long)d->n, d->job, d->event, states[d->state], d->attempts);
    if (d->status)
        buf_printf(out, "%d", d->status);
    else
        buf_puts(out, "null");
    buf_puts(out, ",\"error\":");
    json_write_string_or_null(out, d->error);
    buf_puts(out, ",\"created\":");
    json_write_time(out, d->created);
    buf_puts(out, ",\"finished\":");
    json_write_time(out, d->finished);
    buf_puts(out, ",\"next\":");
    json_write_time(out, d->state == DELIVERY_PENDING ? d->not_before : 0);
    buf_putc(out, '}');
}

static bool deliveries_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct store_delivery *items;
    struct store_hook h;
    size_t count;
    if (!find(r, s, &h, &t->err) || !store_delivery_list(s, h.id, 200, &r->arena, &items, &count, &t->err))
        return false;
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    buf_puts(&text, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(&text, ',');
        view_delivery(&text, &items[i]);
    }
    buf_puts(&text, "]}");
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

void api_hook_deliveries(struct http_request *r)
{
    http_post(r, LANE_READ, deliveries_run, http_after);
}
