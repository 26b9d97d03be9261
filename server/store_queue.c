/* The queue: claiming with a lease, heartbeat, ending, giving back.
 *
 *   queued ──claim──▶ running ──finish──▶ succeeded, failed, cancelled
 *      ▲                 │
 *      └──── requeue, or a lease that ran out: claimed again, up to max_attempts
 *
 * The order: leases that ran out, retries whose time has come, then by priority and, among equals, by turn
 * (store_job.c): each step is the first row of a partial index that holds nothing else, so claiming costs
 * the same whatever lies in the past.
 *
 * A worker may only change a job that is running under its own name; anything else means that the
 * lease ran out and somebody else has it.  Doing a job twice is harmless: its result is decided by
 * its input and stored by content.  Claims and heartbeats are committed lazily, ends durably. */
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "server/problem.h"
#include "server/store_sqlite.h"

/* True if there is anything to claim: keeps an idle worker's look from taking the write lock. */
static int claim_possible(struct store *s, int64_t now, struct bpu_error *err)
{
    sqlite3_stmt *q =
        store_query(s, err,
                    "SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE state = 0"
                    " AND waits_for = 0 AND not_before = 0)"
                    " OR EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_leased WHERE state = 1"
                    " AND lease_until < ?1)"
                    " OR EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_delayed WHERE state = 0"
                    " AND not_before > 0 AND not_before <= ?1)",
                    "i", now);
    int row = q ? store_step(s, q, err) : -1;
    int possible = row == 1 ? sqlite3_column_int(q, 0) : -1;
    store_done(q);
    return possible;
}

/* The problem document of a job whose attempts are used up. What the last attempt died of is kept
 * where a worker lived to tell. */
static bool give_up(struct store *s, int64_t n, int attempts, struct bpu_error *err)
{
    sqlite3_stmt *q =
        store_query(s, err, "SELECT worker, stage, error FROM jobs WHERE n = ?", "i", n);
    int row = q ? store_step(s, q, err) : -1;
    char worker[128] = "", stage[24] = "";
    bool told = false;
    if (row == 1) {
        store_column(q, 0, worker, sizeof worker);
        store_column(q, 1, stage, sizeof stage);
        told = sqlite3_column_type(q, 2) != SQLITE_NULL;
    }
    store_done(q);
    if (row != 1)
        return false;
    if (told)
        return true;
    struct bpu_error why = {0};
    struct buf doc;
    error_set(&why, BPU_CRASH, NULL,
              "worker %s stopped without a word while it had this job, at stage %s of attempt %d of"
              " %d",
              *worker ? worker : "(unknown)", *stage ? stage : "start", attempts, attempts);
    error_hint(&why, "Look into the worker's log and the kernel's (out of memory?), then retry.");
    buf_init(&doc, 8192);
    problem_write_error(&doc, &why);
    bool ok = buf_ok(&doc, err) &&
              store_run(s, err, "UPDATE jobs SET error = ? WHERE n = ?", "ti", buf_str(&doc), n);
    buf_fini(&doc);
    return ok;
}

/* Whoever comes new to the queue begins at the turn that is being served. */
static bool turn_reach(struct store *s, int64_t priority, int64_t turn, struct bpu_error *err)
{
    return store_run(s, err,
                     "INSERT INTO turns (priority, now) VALUES (?, ?) ON CONFLICT (priority)"
                     " DO UPDATE SET now = excluded.now WHERE excluded.now > now",
                     "ii", priority, turn);
}

static bool claim(struct store *s, const char *worker, int64_t lease_ms, int max_attempts,
                  struct arena *a, struct store_job *out, bool *found, struct bpu_error *err)
{
    int64_t now = store_now();
    /* In SET, every column still has its old value. */
    sqlite3_stmt *q = store_query(
        s, err,
        "UPDATE jobs SET"
        " state = iif(cancel, 4, iif(attempts >= ?4, 3, 1)),"
        " attempts = attempts + (NOT cancel AND attempts < ?4),"
        " finished = iif(cancel OR attempts >= ?4, ?1, 0),"
        " worker = iif(attempts >= ?4, worker, ?2),"
        " lease_until = ?1 + ?3,"
        " started = iif(started = 0, ?1, started),"
        " stage = iif(attempts >= ?4, stage, ''),"
        " error = iif(cancel OR attempts < ?4, NULL, error),"
        " tool = coalesce(?5, tool),"
        " not_before = 0,"
        " progress = 0"
        " WHERE n = coalesce("
        "  (SELECT n FROM jobs INDEXED BY jobs_leased WHERE state = 1 AND lease_until < ?1"
        "   ORDER BY lease_until LIMIT 1),"
        "  (SELECT n FROM jobs INDEXED BY jobs_delayed WHERE state = 0 AND not_before > 0"
        "   AND not_before <= ?1 ORDER BY not_before LIMIT 1),"
        "  (SELECT n FROM jobs INDEXED BY jobs_ready WHERE state = 0 AND waits_for = 0"
        "   AND not_before = 0 ORDER BY priority DESC, turn, n LIMIT 1))"
        " RETURNING n, state, attempts, priority, turn",
        "itiit", now, worker, lease_ms, (int64_t)max_attempts, s->tool);
    int row = q ? store_step(s, q, err) : -1;
    int64_t n = 0, priority = 0, turn = 0;
    int state = 0, attempts = 0;
    if (row == 1) {
        n = sqlite3_column_int64(q, 0);
        state = sqlite3_column_int(q, 1);
        attempts = sqlite3_column_int(q, 2);
        priority = sqlite3_column_int64(q, 3);
        turn = sqlite3_column_int64(q, 4);
    }
    store_done(q);
    *found = row == 1;
    if (row != 1)
        return row == 0;
    return (state != JOB_FAILED || give_up(s, n, attempts, err)) &&
           (state == JOB_RUNNING ? turn_reach(s, priority, turn, err)
                                 : store_follow_end(s, n, (enum job_state)state, err)) &&
           store_job_load(s, n, a, out, err);
}

bool store_job_claim(struct store *s, const char *worker, int64_t lease_ms, int max_attempts,
                     struct arena *a, struct store_job *out, struct bpu_error *err)
{
    bool found = false;
    int possible = claim_possible(s, store_now(), err);
    if (possible <= 0 || !store_op_begin_lazily(s, err))
        return false;
    return store_op_end(s, claim(s, worker, lease_ms, max_attempts, a, out, &found, err), err) &&
           found;
}

bool store_job_heartbeat(struct store *s, const char *id, const char *worker, int64_t lease_ms,
                         const char *stage, double progress, bool *lost, bool *cancel,
                         struct bpu_error *err)
{
    int64_t n;
    *lost = *cancel = false;
    if (!store_job_number(id, &n, err) || !store_op_begin_lazily(s, err))
        return false;
    sqlite3_stmt *q = store_query(s, err,
                                  "UPDATE jobs SET lease_until = ?, stage = ?, progress = ?"
                                  " WHERE n = ? AND state = 1 AND worker = ? RETURNING cancel",
                                  "itdit", store_now() + lease_ms, stage, progress, n, worker);
    int row = q ? store_step(s, q, err) : -1;
    *lost = row == 0;
    *cancel = row == 1 && sqlite3_column_int(q, 0);
    store_done(q);
    return store_op_end(s, row >= 0, err);
}

static bool not_mine(const char *id, const char *worker, struct bpu_error *err)
{
    return error_set(err, BPU_CONFLICT, NULL, "worker %s does not hold job %.39s any more", worker,
                     id);
}

/* A sweep may have removed the file since it was written; inside this transaction it cannot. */
static bool artifacts_insert(struct store *s, int64_t n, const struct store_artifact *artifacts,
                             size_t count, struct bpu_error *err)
{
    char path[4352];
    for (size_t i = 0; i < count; i++) {
        const struct store_artifact *f = &artifacts[i];
        store_artifact_path(s, f->sha256, path, sizeof path);
        if (access(path, R_OK) != 0)
            return error_set(err, BPU_IO, f->name, "the content of an artifact is not stored");
        if (!store_run(s, err,
                       "INSERT INTO job_artifacts (job_n, ordinal, name, type, sha256, bytes)"
                       " VALUES (?, ?, ?, ?, ?, ?)",
                       "iittti", n, (int64_t)i, f->name, f->type, f->sha256, f->bytes))
            return false;
    }
    return true;
}

bool store_job_finish(struct store *s, const char *id, const char *worker, enum job_state state,
                      const char *verdict, const char *problem,
                      const struct store_artifact *artifacts, size_t count, struct bpu_error *err)
{
    int64_t n;
    if (state != JOB_SUCCEEDED && state != JOB_FAILED && state != JOB_CANCELLED)
        return error_set(err, BPU_SERVER, NULL, "a job cannot end as %s", job_state_name(state));
    if (!store_job_number(id, &n, err) || !store_op_begin(s, err))
        return false;
    bool ok = store_run(s, err,
                        "UPDATE jobs SET state = ?1, verdict = ?2, error = ?3, finished = ?4,"
                        " progress = iif(?1 = 2, 1, progress), lease_until = 0"
                        " WHERE n = ?5 AND state = 1 AND worker = ?6",
                        "ittiit", (int64_t)state, verdict ? verdict : "", problem, store_now(), n,
                        worker);
    if (ok && sqlite3_changes(s->db) == 0)
        ok = not_mine(id, worker, err);
    ok = ok && artifacts_insert(s, n, artifacts, count, err) && store_follow_end(s, n, state, err);
    return store_op_end(s, ok, err);
}

bool store_job_requeue(struct store *s, const char *id, const char *worker, bool counts,
                       int64_t delay_ms, const char *problem, struct bpu_error *err)
{
    int64_t n, now = store_now();
    bool cancelled = false;
    if (!store_job_number(id, &n, err) || !store_op_begin(s, err))
        return false;
    sqlite3_stmt *q = store_query(s, err,
                                  "UPDATE jobs SET state = iif(cancel, 4, 0),"
                                  " finished = iif(cancel, ?1, 0), attempts = attempts - ?2,"
                                  " error = iif(cancel, NULL, ?3), lease_until = 0, stage = '',"
                                  " not_before = iif(cancel, 0, ?6),"
                                  " progress = 0 WHERE n = ?4 AND state = 1 AND worker = ?5"
                                  " RETURNING state",
                                  "iititi", now, (int64_t)!counts, problem, n, worker,
                                  delay_ms > 0 ? now + delay_ms : INT64_C(0));
    int row = q ? store_step(s, q, err) : -1;
    if (row == 1)
        cancelled = sqlite3_column_int(q, 0) == JOB_CANCELLED;
    store_done(q);
    bool ok = row == 1 || (row == 0 && not_mine(id, worker, err));
    if (ok && cancelled)
        ok = store_follow_end(s, n, JOB_CANCELLED, err);
    return store_op_end(s, ok, err);
}

bool store_leases_release(struct store *s, const char *worker_prefix, int64_t delay_ms, int *count,
                          struct bpu_error *err)
{
    *count = 0;
    if (!store_op_begin_lazily(s, err))
        return false;
    bool ok = store_run(s, err,
                        "UPDATE jobs SET lease_until = ?1 WHERE n IN"
                        " (SELECT n FROM jobs INDEXED BY jobs_leased WHERE state = 1"
                        " AND lease_until > ?1 AND substr(worker, 1, length(?2)) = ?2)",
                        "it", store_now() + delay_ms, worker_prefix);
    if (ok)
        *count = sqlite3_changes(s->db);
    return store_op_end(s, ok, err);
}
