/* Identical work in flight is done once.
 *
 * A new job whose cache_key and tool version are those of a queued or running one does not enter the queue: it waits for
 * that one (jobs.waits_for) and shares its end.
 *
 *   the first one succeeded    the others succeed with its verdict and artifacts
 *   it failed                  the others fail with its problem: the same input would only fail again
 *   it was cancelled, deleted  the oldest of the others takes its place in the queue
 *
 * All of it happens in the transaction that ends the first one, so that there is no moment in which a job waits for
 * one that has ended. */
#include "server/store_sqlite.h"

bool store_follow_find(struct store *s, const char *hash, const char *tool, int64_t *leader,
                       struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT n FROM jobs INDEXED BY jobs_open WHERE cache_key = ?"
                                  " AND state < 2 AND waits_for = 0 AND cancel = 0 AND tool = ?"
                                  " ORDER BY n LIMIT 1",
                                  "tt", hash, tool);
    int row = q ? store_step(s, q, err) : -1;
    *leader = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    return row >= 0;
}

bool store_follow(struct store *s, int64_t n, int64_t leader, int64_t priority,
                  struct bpu_error *err)
{
    /* Whoever is waited for is as urgent as the most urgent that waits. */
    return store_run(s, err, "UPDATE jobs SET waits_for = ?2 WHERE n = ?1", "ii", n, leader) &&
           store_run(s, err, "UPDATE jobs SET priority = max(priority, ?2) WHERE n = ?1 AND state = 0",
                     "ii", leader, priority);
}

static bool share_success(struct store *s, int64_t leader, struct bpu_error *err)
{
    return store_run(s, err,
                     "INSERT INTO job_artifacts (job_n, ordinal, name, type, sha256, bytes)"
                     " SELECT f.n, a.ordinal, a.name, a.type, a.sha256, a.bytes"
                     " FROM jobs f INDEXED BY jobs_waiting JOIN job_artifacts a ON a.job_n = ?1"
                     " WHERE f.waits_for = ?1 AND f.waits_for > 0",
                     "i", leader) &&
           store_run(s, err,
                     "UPDATE jobs SET state = 2, progress = 1, stage = 'shared', waits_for = 0,"
                     " started = ?2, finished = ?2,"
                     " verdict = (SELECT verdict FROM jobs WHERE n = ?1),"
                     " tool = (SELECT tool FROM jobs WHERE n = ?1)"
                     " WHERE waits_for = ?1 AND waits_for > 0",
                     "ii", leader, store_now());
}

static bool share_failure(struct store *s, int64_t leader, struct bpu_error *err)
{
    return store_run(s, err,
                     "UPDATE jobs SET state = 3, stage = 'shared', waits_for = 0, started = ?2,"
                     " finished = ?2, error = (SELECT error FROM jobs WHERE n = ?1)"
                     " WHERE waits_for = ?1 AND waits_for > 0",
                     "ii", leader, store_now());
}

static bool replace_leader(struct store *s, int64_t leader, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err,
                                  "UPDATE jobs SET waits_for = 0 WHERE n ="
                                  " (SELECT min(n) FROM jobs WHERE waits_for = ?1 AND waits_for > 0)"
                                  " RETURNING n",
                                  "i", leader);
    int row = q ? store_step(s, q, err) : -1;
    int64_t heir = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    s->others += heir != 0;
    return row == 0 ||
           (row == 1 &&
            store_run(s, err,
                      "UPDATE jobs SET waits_for = ?2 WHERE waits_for = ?1 AND waits_for > 0", "ii",
                      leader, heir));
}

bool store_follow_end(struct store *s, int64_t leader, enum job_state state, struct bpu_error *err)
{
    bool ok = state == JOB_SUCCEEDED ? share_success(s, leader, err)
              : state == JOB_FAILED  ? share_failure(s, leader, err)
                                     : replace_leader(s, leader, err);
    if (ok && state != JOB_CANCELLED)
        s->others += sqlite3_changes(s->db);
    return ok;
}

int store_others(struct store *s)
{
    int n = s->others;
    s->others = 0;
    return n;
}
