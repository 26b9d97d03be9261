/* Retention: old jobs go, by age and by the room that files take; jobs of pinned projects stay.
 *
 * A job goes as if it had been deleted by hand: its artifacts become candidates of the sweep (store_artifact.c), which
 * removes what nobody else refers to.  A model goes when no job names it any more.  Its row and its file go under the write
 * lock, the file only if it was not touched lately: an upload touches what it finds and looks once more when it adds its
 * row.  Data files stay (docs/architecture.md). */
#define _GNU_SOURCE
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/store_care.h"
#include "server/store_sqlite.h"

#define BATCH 500
#define FILE_AGE_MS 3600000

static bool one_number(struct store *s, const char *sql, int64_t *out, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, sql, "");
    int row = q ? store_step(s, q, err) : -1;
    *out = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    return row == 1;
}

/* Bytes of all contents, each counted once. */
static bool bytes_used(struct store *s, int64_t *out, struct bpu_error *err)
{
    int64_t artifacts, uploads;
    if (!one_number(s,
                    "SELECT coalesce(sum(bytes), 0) FROM"
                    " (SELECT max(bytes) AS bytes FROM job_artifacts GROUP BY sha256)",
                    &artifacts, err) ||
        !one_number(s,
                    "SELECT (SELECT coalesce(sum(bytes), 0) FROM models)"
                    " + (SELECT coalesce(sum(bytes), 0) FROM data)",
                    &uploads, err))
        return false;
    *out = artifacts + uploads;
    return true;
}

static bool is_pinned(const struct prune_policy *p, const char *project)
{
    for (size_t i = 0; p->pinned && p->pinned[i]; i++)
        if (strcmp(p->pinned[i], project) == 0)
            return true;
    return false;
}

/* Bytes that only this job holds. */
static bool bytes_of(struct store *s, int64_t n, int64_t *out, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(
        s, err,
        "SELECT coalesce(sum(bytes), 0) FROM (SELECT DISTINCT a.sha256, a.bytes FROM job_artifacts a"
        " WHERE a.job_n = ?1 AND NOT EXISTS (SELECT 1 FROM job_artifacts o"
        "  WHERE o.sha256 = a.sha256 AND o.job_n != ?1))",
        "i", n);
    int row = q ? store_step(s, q, err) : -1;
    *out = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    return row == 1;
}

struct candidate {
    int64_t n, ended;
    char project[128];
};

/* Ended jobs behind `after`, oldest first. */
static bool candidates(struct store *s, int64_t after, struct candidate *list, int *count,
                       struct bpu_error *err)
{
    int row = -1;
    *count = 0;
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT n, finished, project FROM jobs WHERE n > ? AND state >= 2"
                                  " ORDER BY n LIMIT ?",
                                  "ii", after, (int64_t)BATCH);
    while (q && (row = store_step(s, q, err)) == 1) {
        struct candidate *c = &list[(*count)++];
        c->n = sqlite3_column_int64(q, 0);
        c->ended = sqlite3_column_int64(q, 1);
        store_column(q, 2, c->project, sizeof c->project);
    }
    store_done(q);
    return row == 0;
}

static bool job_remove(struct store *s, int64_t n, struct bpu_error *err)
{
    char id[40];
    store_id_write(n, id);
    return store_job_delete(s, id, err);
}

/* A whole pass over ended jobs, until nothing has to go or BATCH have gone. */
static bool prune_jobs(struct store *s, const struct prune_policy *p, struct prune_result *out,
                       struct bpu_error *err)
{
    struct candidate list[BATCH];
    int64_t after = 0, limit = p->max_age_ms > 0 ? store_now() - p->max_age_ms : 0, freed;
    int count = BATCH;
    while (count == BATCH && !out->more) {
        if (!candidates(s, after, list, &count, err))
            return false;
        for (int i = 0; i < count && !out->more; i++) {
            const struct candidate *c = &list[i];
            after = c->n;
            bool old = c->ended < limit;
            bool large = p->max_bytes > 0 && out->bytes_left > p->max_bytes;
            if (!old && !large && c->n >> 21 >= limit)
                return true; /* numbers are times: whatever follows is younger */
            if ((!old && !large) || is_pinned(p, c->project))
                continue; /* a job may have waited long: it ended later than its number says */
            if (!bytes_of(s, c->n, &freed, err) || (!p->dry_run && !job_remove(s, c->n, err)))
                return false;
            out->jobs++;
            out->bytes += freed;
            out->bytes_left -= freed;
            out->more = !p->dry_run && out->jobs >= BATCH;
        }
    }
    return true;
}

static bool file_is_older(const char *path, int64_t age_ms)
{
    struct stat st;
    return stat(path, &st) != 0 || store_now() - (int64_t)st.st_mtime * 1000 >= age_ms;
}

/* Models that no job names, as old as jobs may be. */
static bool prune_models(struct store *s, const struct prune_policy *p, struct prune_result *out,
                         struct bpu_error *err)
{
    char ids[BATCH][65], path[PATH_MAX];
    int64_t bytes[BATCH], file_age = p->file_age_ms > 0 ? p->file_age_ms : FILE_AGE_MS;
    int count = 0, row = -1;
    if (p->max_age_ms <= 0)
        return true;
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT id, bytes FROM models m WHERE created < ? AND NOT EXISTS"
                                  " (SELECT 1 FROM jobs j WHERE j.model_n = m.n) LIMIT ?",
                                  "ii", store_now() - p->max_age_ms, (int64_t)BATCH);
    while (q && (row = store_step(s, q, err)) == 1) {
        store_column(q, 0, ids[count], sizeof ids[count]);
        bytes[count++] = sqlite3_column_int64(q, 1);
    }
    store_done(q);
    if (row != 0)
        return false;
    for (int i = 0; i < count; i++) {
        store_model_path(s, ids[i], path, sizeof path);
        if (!file_is_older(path, file_age))
            continue;
        if (!p->dry_run) {
            if (!store_run(s, err, "DELETE FROM models WHERE id = ?", "t", ids[i]))
                return false;
            /* Should the commit fail, the row is back without a file: a job says so, an upload mends it. */
            (void)unlink(path);
        }
        out->models++;
        out->bytes += bytes[i];
        out->bytes_left -= bytes[i];
    }
    out->more |= !p->dry_run && count == BATCH;
    return true;
}

bool store_prune(struct store *s, const struct prune_policy *p, struct prune_result *out,
                 struct bpu_error *err)
{
    *out = (struct prune_result){0};
    bool own = !s->in_tx; /* else the caller's, with others */
    /* A walk over all artifacts: only where the answer counts, and before the write lock. */
    if ((p->max_bytes > 0 || p->dry_run) && !bytes_used(s, &out->bytes_left, err))
        return false;
    if (own && !store_begin(s, err))
        return false;
    bool ok = prune_jobs(s, p, out, err) &&
              prune_models(s, p, out, err) &&
              store_run(s, err,
                        "DELETE FROM project_turns WHERE last <"
                        " coalesce((SELECT now FROM turns t WHERE t.priority ="
                        " project_turns.priority), 0)",
                        "");
    if (own && !ok)
        store_rollback(s);
    return ok && (!own || store_commit(s, err));
}
