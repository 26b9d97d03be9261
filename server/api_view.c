/* Design: what leaves the daemon about jobs and models is written here and nowhere else, straight
 * into a buf.  Texts that are JSON already (options, labels, error, model info) are passed through.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/api.h"
#include "server/json.h"

bool job_state_ended(enum job_state st)
{
    return st == JOB_SUCCEEDED || st == JOB_FAILED || st == JOB_CANCELLED;
}

static void text_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_string(out, value);
}

static void text_member_or_null(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_string_or_null(out, value);
}

static void time_member(struct buf *out, const char *name, int64_t ms)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_time(out, ms);
}

void view_job(struct buf *out, const struct store_job *j, const struct store_artifact *artifacts,
              size_t count)
{
    view_job_gated(out, j, artifacts, count, NULL);
}

void view_job_gated(struct buf *out, const struct store_job *j, const struct store_artifact *artifacts,
                    size_t count, const char *gates)
{
    buf_puts(out, "{\"id\":");
    json_write_string(out, j->id);
    text_member(out, "model", j->model);
    text_member(out, "model_name", j->model_name);
    text_member(out, "kind", j->kind);
    text_member_or_null(out, "march", j->march);
    text_member(out, "state", job_state_name(j->state));
    text_member_or_null(out, "stage", j->stage);
    buf_printf(out, ",\"progress\":%.4g", j->progress >= 0 && j->progress <= 1 ? j->progress : 0.0);
    text_member_or_null(out, "verdict", j->verdict);
    if (gates)
        buf_printf(out, ",\"gates\":%s", gates);
    buf_printf(out, ",\"error\":%s", j->error && *j->error ? j->error : "null");
    text_member(out, "project", j->project);
    buf_printf(out, ",\"labels\":%s,\"options\":%s", j->labels ? j->labels : "{}",
               j->options ? j->options : "{}");
    buf_printf(out, ",\"priority\":%d,\"attempts\":%d,\"cancel_requested\":%s", j->priority, j->attempts,
               j->cancel_requested ? "true" : "false");
    time_member(out, "created", j->created);
    time_member(out, "started", j->started);
    time_member(out, "finished", j->finished);
    buf_puts(out, ",\"artifacts\":[");
    for (size_t i = 0; i < count; i++) {
        const struct store_artifact *a = &artifacts[i];
        buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        json_write_string(out, a->name);
        text_member(out, "type", a->type);
        buf_printf(out, ",\"bytes\":%lld,\"sha256\":\"%s\",\"href\":\"/v1/jobs/%s/artifacts/%s\"}",
                   (long long)a->bytes, a->sha256, j->id, a->name);
    }
    buf_puts(out, "]}");
}

/* One member of the file's info, or why it is not there. */
static void info_member(struct buf *out, const json_t *info, const char *name, const char *noun)
{
    buf_printf(out, ",\"%s\":", name);
    json_t *value = json_object_get(info, name);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text)
        buf_puts(out, text);
    else
        buf_printf(out,
                   "{\"availability\":\"unavailable\",\"reason\":\"no job has read this %s to its "
                   "end yet\"}",
                   noun);
    free(text);
}

/* What models and data files have in common, and the members of their info. */
static void view_upload(struct buf *out, const struct store_model *m, const char *noun,
                        const char *const *members)
{
    buf_puts(out, "{\"id\":");
    json_write_string(out, m->id);
    text_member(out, "name", m->name);
    text_member(out, "format", m->format);
    buf_printf(out, ",\"bytes\":%lld", (long long)m->bytes);
    time_member(out, "created", m->created);
    if (members) {
        json_t *info = m->info ? json_loads(m->info, 0, NULL) : NULL;
        for (; *members; members++)
            info_member(out, info, *members, noun);
        json_decref(info);
    }
    buf_putc(out, '}');
}

void view_model(struct buf *out, const struct store_model *m, bool with_info)
{
    static const char *const members[] = {"inputs", "outputs", "nodes", "parameters", NULL};
    view_upload(out, m, "model", with_info ? members : NULL);
}

void view_data(struct buf *out, const struct store_model *m, bool with_info)
{
    static const char *const members[] = {"arrays", NULL};
    view_upload(out, m, "file", with_info ? members : NULL);
}

/* What gates.json says, as text in the arena; NULL: the job has none, or the file is none. It came from a job's
 * child, so it is parsed before it becomes part of an answer. */
static const char *gates_read_file(struct store *s, const struct store_artifact *items, size_t count,
                                   struct arena *a)
{
    enum { MOST = 64 << 10 };
    char path[4096];
    struct bpu_error err = {0};
    const char *text = NULL;
    size_t i = 0;
    while (i < count && strcmp(items[i].name, "gates.json") != 0)
        i++;
    if (i == count || items[i].bytes > MOST)
        return NULL;
    store_artifact_path(s, items[i].sha256, path, sizeof path);
    char *raw = arena_alloc(a, (size_t)items[i].bytes + 1, &err);
    FILE *f = raw ? fopen(path, "rbe") : NULL;
    size_t n = f ? fread(raw, 1, (size_t)items[i].bytes, f) : 0;
    if (f)
        fclose(f);
    json_t *doc = n ? json_parse(raw, n, MOST, &err) : NULL;
    char *compact = json_is_object(doc) ? json_dumps(doc, JSON_COMPACT) : NULL;
    if (compact)
        text = arena_strdup(a, compact, &err);
    free(compact);
    json_decref(doc);
    return text;
}

bool view_job_read(struct store *s, const char *id, struct arena *a, struct store_job *job,
                   struct buf *out, struct bpu_error *err)
{
    struct store_artifact *artifacts;
    size_t count;
    if (!store_job_get(s, id, a, job, err) ||
        !store_artifact_list(s, job->id, a, &artifacts, &count, err))
        return false;
    view_job_gated(out, job, artifacts, count, gates_read_file(s, artifacts, count, a));
    return buf_ok(out, err);
}

struct snapshot *view_snapshot(struct store *s, const char *id, struct bpu_error *err)
{
    struct arena a;
    arena_init(&a, (size_t)16 << 20);
    struct buf text;
    buf_init(&text, (size_t)8 << 20);
    struct store_job job;
    struct snapshot *snap = NULL;
    if (!view_job_read(s, id, &a, &job, &text, err))
        goto out;
    snap = calloc(1, sizeof *snap);
    if (snap)
        snap->json = malloc(text.size + 1);
    if (!snap || !snap->json) {
        free(snap);
        snap = NULL;
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for a job's snapshot");
        goto out;
    }
    memcpy(snap->json, buf_str(&text), text.size + 1);
    snap->json_size = text.size;
    snap->references = 1;
    snap->state = (int)job.state;
    snap->progress = job.progress;
    memcpy(snap->stage, job.stage, sizeof snap->stage);
out:
    buf_fini(&text);
    arena_fini(&a);
    return snap;
}
