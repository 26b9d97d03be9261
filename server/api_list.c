/* Design: lists are pages, newest first, with an opaque cursor of the store's making.  A filter
 * that is misspelt is refused: a list that silently ignores it would be a wrong answer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/api.h"
#include "server/json.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX 200

struct list_call {
    struct store_job_filter filter;
    enum list_of { LIST_JOBS, LIST_MODELS, LIST_DATA } of;
    char march[24];
    struct bpu_error err;
};

static bool limit_parse(const char *text, int *limit, struct bpu_error *err)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < 1 || v > LIMIT_MAX)
        return error_set(err, BPU_USAGE, "limit",
                         "limit is \"%.40s\", a number from 1 to %d is needed", text, LIMIT_MAX);
    *limit = (int)v;
    return true;
}

static bool state_check(const char *text, struct bpu_error *err)
{
    enum job_state st;
    if (job_state_find(text, &st))
        return true;
    error_set(err, BPU_USAGE, "state", "there is no state \"%.40s\"", text);
    return error_hint(err, "the states are queued, running, succeeded, failed and cancelled");
}

/* The place of an error in a URL is the parameter, not the member of a JSON body. */
static bool at_parameter(struct bpu_error *err, const char *name)
{
    snprintf(err->where, sizeof err->where, "%s", name);
    return false;
}

static bool kind_check(const char *text, struct bpu_error *err)
{
    /* A kind of the contract that this version cannot do is a fine filter: the list is empty. */
    struct job_draft d = {0};
    return draft_set_kind(&d, text, err) || at_parameter(err, "kind");
}

static bool parameter(struct list_call *c, const char *key, const char *value,
                      struct bpu_error *err)
{
    struct store_job_filter *f = &c->filter;
    if (!strcmp(key, "limit"))
        return limit_parse(value, &f->limit, err);
    if (!strcmp(key, "cursor")) {
        f->cursor = value;
        return true;
    }
    bool jobs = c->of == LIST_JOBS;
    if (jobs && !strncmp(key, "label.", 6)) {
        if (f->label_key)
            return error_set(err, BPU_USAGE, key, "one label can be asked for at a time");
        f->label_key = key + 6;
        f->label_value = value;
        return *f->label_key ? true : error_set(err, BPU_USAGE, key, "the label has no name");
    }
    if (jobs && !strcmp(key, "march")) {
        f->march = c->march;
        return api_march_check(value, c->march, sizeof c->march, err) || at_parameter(err, "march");
    }
    struct {
        const char *name, **field;
    } texts[] = {{"state", &f->state},     {"kind", &f->kind},       {"model", &f->model},
                 {"project", &f->project}, {"verdict", &f->verdict}, {"q", &f->q}};
    for (size_t i = 0; jobs && i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(key, texts[i].name) != 0)
            continue;
        *texts[i].field = value;
        return i == 0 ? state_check(value, err) : i == 1 ? kind_check(value, err) : true;
    }
    error_set(err, BPU_USAGE, NULL, "the list has no parameter \"%.60s\"", key);
    error_where(err, "%.100s", key);
    return error_hint(err, jobs ? "the parameters are state, kind, march, model, project, "
                                  "label.NAME, verdict, q, limit and cursor"
                                : "the parameters are limit and cursor");
}

static enum MHD_Result on_parameter(void *cls, enum MHD_ValueKind kind, const char *key,
                                    const char *value)
{
    (void)kind;
    struct list_call *c = cls;
    /* An empty value is a filter that is not set, as forms send it. */
    if (!value || !*value)
        return MHD_YES;
    return parameter(c, key, value, &c->err) ? MHD_YES : MHD_NO;
}

/* Reads the query; NULL after answering. */
static struct list_call *call_new(struct http_request *r, enum list_of of)
{
    struct bpu_error err = {0};
    struct list_call *c = ARENA_NEW(&r->arena, struct list_call, &err);
    if (c) {
        c->of = of;
        c->filter.limit = LIMIT_DEFAULT;
        (void)MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, on_parameter, c);
        err = c->err;
    }
    if (err.code != BPU_NONE) {
        http_reply_error(r, &err);
        return NULL;
    }
    c->filter.visible_to = access_scope(r->server->access, &r->access);
    r->call = c;
    return c;
}

static void page_end(struct http_request *r, struct buf *text, const char *next)
{
    buf_puts(text, "],\"next\":");
    json_write_string_or_null(text, next);
    buf_putc(text, '}');
    http_reply_json(r, 200, text);
}

static bool jobs_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct list_call *c = r->call;
    struct store_job *items;
    size_t count;
    char next[64] = "";
    if (!store_job_list(s, &c->filter, &r->arena, &items, &count, next, &t->err))
        return false;
    struct buf text;
    buf_init(&text, (size_t)64 << 20);
    buf_puts(&text, "{\"items\":[");
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        struct store_artifact *artifacts;
        size_t artifact_count;
        ok = store_artifact_list(s, items[i].id, &r->arena, &artifacts, &artifact_count, &t->err);
        if (i)
            buf_putc(&text, ',');
        if (ok)
            view_job(&text, &items[i], artifacts, artifact_count);
    }
    if (ok)
        page_end(r, &text, next);
    buf_fini(&text);
    return ok;
}

static bool uploads_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct list_call *c = r->call;
    bool data = c->of == LIST_DATA;
    struct store_model *items;
    size_t count;
    char next[64] = "";
    const struct store_job_filter *f = &c->filter;
    if (!store_file_list(s, data, f->visible_to, f->cursor, f->limit, &r->arena, &items, &count,
                         next, &t->err))
        return false;
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    buf_puts(&text, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(&text, ',');
        (data ? view_data : view_model)(&text, &items[i], false);
    }
    page_end(r, &text, next);
    buf_fini(&text);
    return true;
}

void api_jobs_list(struct http_request *r)
{
    if (call_new(r, LIST_JOBS))
        http_post(r, LANE_READ, jobs_run, http_after);
}

void api_models_list(struct http_request *r)
{
    if (call_new(r, LIST_MODELS))
        http_post(r, LANE_READ, uploads_run, http_after);
}

void api_data_list(struct http_request *r)
{
    if (call_new(r, LIST_DATA))
        http_post(r, LANE_READ, uploads_run, http_after);
}
