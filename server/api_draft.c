/* Design: a job asked for in JSON and one asked for in a URL go through the same checks, and
 * options end up in one canonical text (sorted, compact), because the cache compares them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/job/job.h"
#include "server/api.h"
#include "server/json.h"

#define PRIORITY_MOST 10
#define OPTIONS_MAX 256
#define OPTION_TEXT_MAX 4096
#define QCONFIG_MAX 32768 /* a document, not a word; all options together have 64 KiB (store_job.c) */
#define LABELS_MAX 64
#define LABEL_TEXT_MAX 512

static const char *const contract_kinds[] = {"check",    "compile",  "perf",    "visualize",
                                             "quantize", "evaluate", "pipeline"};

bool draft_set_kind(struct job_draft *d, const char *kind, struct bpu_error *err)
{
    for (size_t i = 0; i < sizeof contract_kinds / sizeof contract_kinds[0]; i++) {
        if (strcmp(kind, contract_kinds[i]) == 0) {
            strcpy(d->job.kind, kind);
            return true;
        }
    }
    error_set(err, BPU_BAD_OPTION, "/kind", "there is no kind of job \"%.40s\"", kind);
    return error_hint(
        err, "the kinds are check, compile, perf, visualize, quantize, evaluate and pipeline");
}

bool draft_kind_refused(const struct job_draft *d, struct http_request *r, const char *where)
{
    if (job_kind_known(d->job.kind))
        return false;
    char detail[96];
    snprintf(detail, sizeof detail, "this version has no jobs of kind \"%s\"", d->job.kind);
    http_reply_problem(r, &(struct problem){.status = 501,
                                            .code = "not_implemented",
                                            .title = "This version cannot do that",
                                            .detail = detail,
                                            .where = where,
                                            .hint = "GET /openapi.json lists what it can do"});
    return true;
}

bool draft_set_march(struct job_draft *d, const char *march, struct bpu_error *err)
{
    return api_march_check(march, d->job.march, sizeof d->job.march, err);
}

static bool text_fits(const char *text, size_t max)
{
    size_t n = strlen(text);
    if (n > max)
        return false;
    for (const char *p = text; *p;) {
        size_t step = json_utf8_length(p);
        if (!step)
            return false;
        p += step;
    }
    return true;
}

bool draft_set_project(struct job_draft *d, const char *project, struct bpu_error *err)
{
    if (!text_fits(project, sizeof d->job.project - 1))
        return error_set(err, BPU_USAGE, "/project",
                         "the project is not a text of at most %zu bytes",
                         sizeof d->job.project - 1);
    strcpy(d->job.project, project);
    return true;
}

bool draft_set_priority(struct job_draft *d, const char *text, struct bpu_error *err)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (!*text || *end || v < -PRIORITY_MOST || v > PRIORITY_MOST)
        return error_set(err, BPU_USAGE, "/priority", "the priority is not a whole number from -%d to %d",
                         PRIORITY_MOST, PRIORITY_MOST);
    d->job.priority = (int)v;
    return true;
}

static bool pair_add(struct job_text_pair **list, size_t *count, size_t *capacity, size_t count_max,
                     size_t text_max, const char *what, struct arena *a, const char *key,
                     const char *value, struct bpu_error *err)
{
    if (!*key || !text_fits(key, 256) || !text_fits(value, text_max))
        return error_set(err, BPU_BAD_OPTION, NULL,
                         "%s \"%.60s\" is not a name of 1 to 256 bytes with a value of at most %zu "
                         "bytes of UTF-8",
                         what, key, text_max);
    for (size_t i = 0; i < *count; i++)
        if (strcmp((*list)[i].key, key) == 0)
            return error_set(err, BPU_BAD_OPTION, NULL, "%s \"%.60s\" is given twice", what, key);
    if (*count >= count_max)
        return error_set(err, BPU_LIMIT, NULL, "there are more than %zu %ss", count_max, what);
    struct job_text_pair *grown =
        arena_grow(a, *list, *count, *count + 1, sizeof **list, capacity, err);
    if (!grown)
        return false;
    *list = grown;
    struct job_text_pair *p = &grown[*count];
    p->key = arena_strdup(a, key, err);
    p->value = arena_strdup(a, value, err);
    *count += 1;
    return p->key && p->value;
}

bool draft_add_option(struct job_draft *d, struct arena *a, const char *key, const char *value,
                      struct bpu_error *err)
{
    return pair_add(&d->options, &d->option_count, &d->option_capacity, OPTIONS_MAX,
                    strcmp(key, "qconfig") == 0 ? QCONFIG_MAX : OPTION_TEXT_MAX, "option", a, key,
                    value, err);
}

bool draft_add_label(struct job_draft *d, struct arena *a, const char *key, const char *value,
                     struct bpu_error *err)
{
    return pair_add(&d->labels, &d->label_count, &d->label_capacity, LABELS_MAX, LABEL_TEXT_MAX,
                    "label", a, key, value, err);
}

static int pair_compare(const void *a, const void *b)
{
    return strcmp(((const struct job_text_pair *)a)->key, ((const struct job_text_pair *)b)->key);
}

static const char *pairs_text(struct arena *a, struct job_text_pair *list, size_t count,
                              struct bpu_error *err)
{
    struct buf b;
    buf_init(&b, (size_t)4 << 20);
    if (count)
        qsort(list, count, sizeof *list, pair_compare);
    buf_putc(&b, '{');
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(&b, ',');
        json_write_string(&b, list[i].key);
        buf_putc(&b, ':');
        json_write_string(&b, list[i].value);
    }
    buf_putc(&b, '}');
    const char *text = buf_ok(&b, err) ? arena_strdup(a, buf_str(&b), err) : NULL;
    buf_fini(&b);
    return text;
}

bool draft_finish(struct job_draft *d, struct http_request *r, struct bpu_error *err)
{
    if (!d->job.march[0] && strcmp(d->job.kind, "visualize") != 0) {
        char ignored[24];
        if (api_march_check("", ignored, sizeof ignored, err))
            return error_set(err, BPU_BAD_MARCH, "/march", "no march is given");
        return false;
    }
    if (d->job.priority > 0 && r->access.role != ROLE_ADMIN) {
        error_set(err, BPU_FORBIDDEN, "/priority", "a priority above 0 needs an admin");
        return error_hint(err, "projects take turns; give background work a priority below 0");
    }
    const char *key;
    if (!access_project(r, d->job.project, err) || !http_idempotency_key(r, &key, err))
        return false;
    d->asked_by = r;
    /* Clients' keys and the daemon's own (api_artifacts.c) live in one space: keep them apart. */
    if (key && !(d->idempotency_key = arena_printf(&r->arena, err, "client:%s", key)))
        return false;
    d->job.options = pairs_text(&r->arena, d->options, d->option_count, err);
    d->job.labels = pairs_text(&r->arena, d->labels, d->label_count, err);
    return d->job.options && d->job.labels;
}

/* Data files that the asker may not see are refused in the words of the store for those that are
 * not there. */
static bool files_seen(const struct job_draft *d, struct store *s, struct bpu_error *err)
{
    for (size_t i = 0; i < d->option_count; i++) {
        char id[65];
        const char *array, *key = d->options[i].key;
        struct bpu_error hidden = {0};
        if (!job_option_file(d->job.kind, key) || !job_file_value(d->options[i].value, id, &array) ||
            access_file_check(d->asked_by, s, id, "data file", &hidden))
            continue;
        if (hidden.code != BPU_NOT_FOUND) {
            *err = hidden;
            return false;
        }
        error_set(err, BPU_NO_DATA, NULL, "the option %s names the data file %s, which is not here",
                  key, id);
        error_where(err, "/options/%.100s", key);
        return error_hint(err, "Upload it with POST /v1/data first.");
    }
    return true;
}

/* Who asked for the job, and to which project its model belongs from now on too. */
static bool asker_note(const struct job_draft *d, struct store *s, const struct store_job *job,
                       struct bpu_error *err)
{
    const struct access *a = &d->asked_by->access;
    bool seen;
    return (!a->token || store_job_set_token(s, job->id, a->token, a->quota_queued, err)) &&
           (!job->project[0] || store_file_give(s, job->model, job->project, true, NULL, &seen, err));
}

bool draft_add(struct job_draft *d, struct store *s, struct arena *a, struct bpu_error *err)
{
    if (d->asked_by &&
        (!access_file_check(d->asked_by, s, d->job.model, "model", err) || !files_seen(d, s, err)))
        return false;
    /* The lane may run this twice: the draft itself stays as it is until the job is there. */
    struct store_job job = d->job;
    bool noted = d->asked_by && (d->asked_by->access.token || job.project[0]);
    if (noted && !store_all_begin(s, err))
        return false;
    bool ok = store_job_add(s, &job, BPU_VERSION, d->idempotency_key, a, err) &&
              (!noted || asker_note(d, s, &job, err));
    if (noted ? !store_all_end(s, ok, err) : !ok)
        return false;
    d->job = job;
    return true;
}

void draft_announce(struct http_server *h, const struct job_draft *d)
{
    if (d->job.state == JOB_QUEUED)
        wake_workers(h->wake, d->job.id);
}
