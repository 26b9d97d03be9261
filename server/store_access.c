/* Tokens, sessions and projects in SQLite.
 *
 * The daemon keeps all of them in memory (access.c) and reads them anew when access_version has
 * grown, which triggers of the database see to; so nothing here is on the way of a request. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/store_access.h"
#include "server/store_sqlite.h"

#define SESSIONS_MAX 50 /* of one token; the oldest give way */

static const char *const role_names[] = {"none", "viewer", "submitter", "admin"};

const char *store_role_name(enum store_role role)
{
    return role_names[role];
}

bool store_role_find(const char *name, enum store_role *out)
{
    for (int i = ROLE_VIEWER; i <= ROLE_ADMIN; i++)
        if (strcmp(name, role_names[i]) == 0) {
            *out = (enum store_role)i;
            return true;
        }
    return false;
}

bool store_all_begin(struct store *s, struct bpu_error *err)
{
    if (!s->in_tx)
        return error_set(err, BPU_SERVER, NULL, "no transaction is open");
    return store_op_begin(s, err);
}

bool store_all_end(struct store *s, bool ok, struct bpu_error *err)
{
    return store_op_end(s, ok, err);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

bool store_token_add(struct store *s, struct store_token *t, struct bpu_error *err)
{
    t->created = store_now();
    if (!store_op_begin(s, err))
        return false;
    sqlite3_stmt *q = store_query(
        s, err,
        "INSERT INTO tokens (hash, name, role, project, created, expires, rate, quota_upload,"
        " quota_queued) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING n",
        "ttitiiiii", t->hash, t->name, (int64_t)t->role, t->project, t->created, t->expires,
        t->rate, t->quota_upload, t->quota_queued);
    int row = q ? store_step(s, q, err) : -1;
    if (row == 1) {
        t->n = sqlite3_column_int64(q, 0);
        row = store_step(s, q, err) == 0 ? 1 : -1;
    }
    store_done(q);
    return store_op_end(s, row == 1, err);
}

bool store_tokens_exist(const char *data_dir, bool *exist, struct bpu_error *err)
{
    char path[4200];
    struct stat st;
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    *exist = false;
    snprintf(path, sizeof path, "%s/hub.db", data_dir);
    if (stat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return true;
    bool ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
              sqlite3_busy_timeout(db, 5000) == SQLITE_OK &&
              sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_master WHERE name = 'tokens'", -1, &q, NULL) == SQLITE_OK;
    int row = ok ? sqlite3_step(q) : SQLITE_ERROR;
    sqlite3_finalize(q);
    if (row == SQLITE_ROW) {
        row = SQLITE_ERROR;
        if (sqlite3_prepare_v2(db, "SELECT 1 FROM tokens LIMIT 1", -1, &q, NULL) == SQLITE_OK)
            row = sqlite3_step(q);
        sqlite3_finalize(q);
        *exist = row == SQLITE_ROW;
    }
    if (row != SQLITE_ROW && row != SQLITE_DONE)
        error_set(err, BPU_SERVER, path, "the database cannot be read: %s",
                  db ? sqlite3_errmsg(db) : "no memory");
    sqlite3_close(db);
    return row == SQLITE_ROW || row == SQLITE_DONE;
}

bool store_token_list(struct store *s, struct arena *a, struct store_token **items, size_t *count,
                      struct bpu_error *err)
{
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    sqlite3_stmt *q =
        store_query(s, err,
                    "SELECT n, hash, name, role, project, created, expires, revoked, last_used,"
                    " rate, quota_upload, quota_queued FROM tokens ORDER BY n",
                    "");
    while (q && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        struct store_token *t = &(*items)[(*count)++];
        *t = (struct store_token){.n = sqlite3_column_int64(q, 0)};
        store_column(q, 1, t->hash, sizeof t->hash);
        store_column(q, 2, t->name, sizeof t->name);
        t->role = (enum store_role)sqlite3_column_int(q, 3);
        store_column(q, 4, t->project, sizeof t->project);
        t->created = sqlite3_column_int64(q, 5);
        t->expires = sqlite3_column_int64(q, 6);
        t->revoked = sqlite3_column_int64(q, 7);
        t->last_used = sqlite3_column_int64(q, 8);
        t->rate = sqlite3_column_int64(q, 9);
        t->quota_upload = sqlite3_column_int64(q, 10);
        t->quota_queued = sqlite3_column_int64(q, 11);
    }
    store_done(q);
    return row == 0;
}

static bool token_revoke(struct store *s, int64_t n, struct bpu_error *err)
{
    if (!store_run(s, err, "UPDATE tokens SET revoked = ? WHERE n = ? AND revoked = 0", "ii",
                   store_now(), n))
        return false;
    if (sqlite3_changes(s->db) == 1)
        return store_run(s, err, "DELETE FROM sessions WHERE token_n = ?", "i", n);
    sqlite3_stmt *q = store_query(s, err, "SELECT 1 FROM tokens WHERE n = ?", "i", n);
    int row = q ? store_step(s, q, err) : -1;
    store_done(q);
    if (row == 1)
        error_set(err, BPU_CONFLICT, NULL, "token %lld is revoked already", (long long)n);
    else if (row == 0)
        error_set(err, BPU_NOT_FOUND, NULL, "there is no token %lld", (long long)n);
    return false;
}

bool store_token_revoke(struct store *s, int64_t n, struct bpu_error *err)
{
    return store_op_begin(s, err) && store_op_end(s, token_revoke(s, n, err), err);
}

bool store_token_used(struct store *s, int64_t n, int64_t last_used, int64_t day, int64_t bytes,
                      struct bpu_error *err)
{
    if (!store_op_begin_lazily(s, err))
        return false;
    bool ok = store_run(s, err, "UPDATE tokens SET last_used = max(last_used, ?) WHERE n = ?", "ii",
                        last_used, n);
    if (ok && bytes > 0)
        ok = store_run(s, err,
                       "INSERT INTO token_usage (token_n, day, bytes) VALUES (?, ?, ?)"
                       " ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes",
                       "iii", n, day, bytes);
    return store_op_end(s, ok, err);
}

bool store_token_usage(struct store *s, int64_t n, int64_t day, int64_t *bytes,
                       struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(
        s, err, "SELECT bytes FROM token_usage WHERE token_n = ? AND day = ?", "ii", n, day);
    int row = q ? store_step(s, q, err) : -1;
    *bytes = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    return row >= 0;
}

static bool queue_full(struct store *s, int64_t token, int64_t most, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT count(*) FROM jobs INDEXED BY jobs_queued_by_token"
                                  " WHERE state = 0 AND token_n IS NOT NULL AND token_n = ?",
                                  "i", token);
    int row = q ? store_step(s, q, err) : -1;
    int64_t queued = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    if (row == 1 && queued > most) {
        error_set(err, BPU_QUOTA, NULL, "this token has %lld jobs queued already, its most",
                  (long long)most);
        error_hint(err, "wait until some of them have run, or cancel some");
        return false;
    }
    return row == 1;
}

bool store_job_set_token(struct store *s, const char *job, int64_t token, int64_t most,
                         struct bpu_error *err)
{
    int64_t n;
    if (!store_job_number(job, &n, err) || !store_op_begin(s, err))
        return false;
    bool ok = store_run(s, err, "UPDATE jobs SET token_n = ? WHERE n = ? AND token_n IS NULL", "ii",
                        token, n) &&
              (most == 0 || queue_full(s, token, most, err));
    return store_op_end(s, ok, err);
}

/* ---- sessions -------------------------------------------------------------------------------- */

bool store_session_add(struct store *s, const struct store_session *e, struct bpu_error *err)
{
    if (!store_op_begin(s, err))
        return false;
    bool ok = store_run(s, err,
                        "INSERT INTO sessions (hash, token_n, created, expires)"
                        " VALUES (?, ?, ?, ?)",
                        "tiii", e->hash, e->token, store_now(), e->expires) &&
              store_run(s, err,
                        "DELETE FROM sessions WHERE token_n = ?1 AND hash IN (SELECT hash FROM"
                        " sessions WHERE token_n = ?1 ORDER BY created DESC, hash = ?2 DESC"
                        " LIMIT -1 OFFSET ?3)",
                        "iti", e->token, e->hash, (int64_t)SESSIONS_MAX);
    return store_op_end(s, ok, err);
}

bool store_session_remove(struct store *s, const char *hash, struct bpu_error *err)
{
    return store_op_begin(s, err) &&
           store_op_end(s, store_run(s, err, "DELETE FROM sessions WHERE hash = ?", "t", hash),
                        err);
}

bool store_session_list(struct store *s, struct arena *a, struct store_session **items,
                        size_t *count, struct bpu_error *err)
{
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    sqlite3_stmt *q = store_query(
        s, err, "SELECT hash, token_n, expires FROM sessions WHERE expires > ?", "i", store_now());
    while (q && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        struct store_session *e = &(*items)[(*count)++];
        store_column(q, 0, e->hash, sizeof e->hash);
        e->token = sqlite3_column_int64(q, 1);
        e->expires = sqlite3_column_int64(q, 2);
    }
    store_done(q);
    return row == 0;
}

/* ---- projects -------------------------------------------------------------------------------- */

bool store_project_set(struct store *s, const struct store_project *p, struct bpu_error *err)
{
    if (!store_op_begin(s, err))
        return false;
    bool ok = store_run(s, err,
                        "INSERT INTO projects (name, private) VALUES (?, ?)"
                        " ON CONFLICT DO UPDATE SET private = excluded.private",
                        "ti", p->name, (int64_t)p->private_);
    return store_op_end(s, ok, err);
}

bool store_project_list(struct store *s, struct arena *a, struct store_project **items,
                        size_t *count, struct bpu_error *err)
{
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    sqlite3_stmt *q = store_query(s, err, "SELECT name, private FROM projects ORDER BY name", "");
    while (q && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        struct store_project *p = &(*items)[(*count)++];
        store_column(q, 0, p->name, sizeof p->name);
        p->private_ = sqlite3_column_int(q, 1) != 0;
    }
    store_done(q);
    return row == 0;
}

bool store_access_version(struct store *s, int64_t *version, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, "SELECT version FROM access_version", "");
    int row = q ? store_step(s, q, err) : -1;
    if (row == 1)
        *version = sqlite3_column_int64(q, 0);
    store_done(q);
    return row == 1;
}

bool store_access_prune(struct store *s, int64_t audit_before, struct bpu_error *err)
{
    if (!store_op_begin_lazily(s, err))
        return false;
    bool ok = store_run(s, err, "DELETE FROM sessions WHERE expires <= ?", "i", store_now()) &&
              store_run(s, err, "DELETE FROM audit WHERE at < ?", "i", audit_before);
    return store_op_end(s, ok, err);
}
