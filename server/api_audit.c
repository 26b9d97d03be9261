/* Design: the audit log, newest first, in pages of which each names where the next begins. */
#include <errno.h>
#include <stdlib.h>

#include "server/api.h"
#include "server/json.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000

struct audit_call {
    int64_t limit, before;
};

static bool number(struct http_request *r, const char *name, int64_t max, int64_t *out,
                   struct bpu_error *err)
{
    const char *text = http_query(r, name);
    if (!text || !*text)
        return true;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || *end || v < 1 || v > max)
        return error_set(err, BPU_USAGE, name, "%s is \"%.40s\", a number from 1 is needed", name,
                         text);
    *out = v;
    return true;
}

static void view(struct buf *out, const struct store_audit *e)
{
    buf_puts(out, "{\"at\":");
    json_write_time(out, e->at);
    buf_puts(out, ",\"token\":");
    if (e->token)
        buf_printf(out, "%lld", (long long)e->token);
    else
        buf_puts(out, "null");
    const struct {
        const char *name, *value;
    } texts[] = {{"actor", e->actor},
                 {"address", e->address},
                 {"action", e->action},
                 {"object", e->object},
                 {"result", e->result}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        buf_printf(out, ",\"%s\":", texts[i].name);
        json_write_string_or_null(out, texts[i].value);
    }
    buf_putc(out, '}');
}

static bool list_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct audit_call *c = r->call;
    struct store_audit *items;
    size_t count;
    if (!store_audit_list(s, c->before, (int)c->limit + 1, &r->arena, &items, &count, &t->err))
        return false;
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    buf_puts(&text, "{\"items\":[");
    size_t shown = count > (size_t)c->limit ? (size_t)c->limit : count;
    for (size_t i = 0; i < shown; i++) {
        if (i)
            buf_putc(&text, ',');
        view(&text, &items[i]);
    }
    buf_puts(&text, "],\"next\":");
    if (count > shown)
        buf_printf(&text, "\"%lld\"}", (long long)items[shown - 1].n);
    else
        buf_puts(&text, "null}");
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

void api_audit(struct http_request *r)
{
    struct bpu_error err = {0};
    struct audit_call *c = ARENA_NEW(&r->arena, struct audit_call, &err);
    if (c)
        c->limit = LIMIT_DEFAULT;
    r->call = c;
    if (!c || !number(r, "limit", LIMIT_MAX, &c->limit, &err) ||
        !number(r, "cursor", INT64_MAX, &c->before, &err))
        http_reply_error(r, &err);
    else
        http_post(r, LANE_READ, list_run, http_after);
}
