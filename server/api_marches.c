/* Design: what the marches are is data of core/march; this file only puts it on the wire. */
#include <string.h>

#include "core/march/march.h"
#include "server/api.h"

bool api_march_check(const char *name, char *out, size_t size, struct bpu_error *err)
{
    const struct march *m = march_find(name);
    if (m && strlen(march_name(m)) < size) {
        strcpy(out, march_name(m));
        return true;
    }
    if (*name)
        error_set(err, BPU_BAD_MARCH, "/march", "there is no march \"%.40s\"", name);
    else
        error_set(err, BPU_BAD_MARCH, "/march", "no march is given");
    size_t count;
    const struct march *const *list = march_list(&count);
    struct buf known;
    buf_init(&known, 300);
    for (size_t i = 0; i < count; i++)
        buf_printf(&known, "%s%s",
                   i == 0          ? ""
                   : i + 1 < count ? ", "
                                   : " and ",
                   march_name(list[i]));
    error_hint(err, "the marches are %s", buf_str(&known));
    buf_fini(&known);
    return false;
}

static void reply(struct http_request *r, bool ok, struct buf *text, const struct bpu_error *err)
{
    if (ok)
        http_reply_json(r, 200, text);
    else
        http_reply_error(r, err);
    buf_fini(text);
}

/* The march of the path, or NULL after answering 404. */
static const struct march *path_march(struct http_request *r)
{
    const struct march *m = march_find(r->captures[0]);
    char name[24];
    struct bpu_error err = {0};
    if (!m && !api_march_check(r->captures[0], name, sizeof name, &err)) {
        struct problem p = problem_of_error(&err);
        p.status = 404;
        p.where = r->path;
        http_reply_problem(r, &p);
    }
    return m;
}

void api_marches(struct http_request *r)
{
    struct bpu_error err = {0};
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    bool ok = march_list_json(&text, &err);
    reply(r, ok, &text, &err);
}

void api_march(struct http_request *r)
{
    const struct march *m = path_march(r);
    if (!m)
        return;
    struct bpu_error err = {0};
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    bool ok = march_json(m, &text, &err);
    reply(r, ok, &text, &err);
}

void api_march_ops(struct http_request *r)
{
    const struct march *m = path_march(r);
    if (!m)
        return;
    struct bpu_error err = {0};
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    bool ok = march_ops_json(m, &text, &err);
    reply(r, ok, &text, &err);
}
