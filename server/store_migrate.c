/* Migrations: migrations/NNNN_name.sql, embedded in the binary, applied in order, once each.
 *
 * The build turns the files into $(BUILD)/gen/migrations.inc, a row per file.  Each one runs in its
 * own transaction together with the row that records it, under the write lock, so that the daemon
 * and the workers may all start at once on an empty directory. */
#include <stdio.h>
#include <string.h>

#include "server/store_sqlite.h"

struct migration {
    int version;
    const char *name;
    const char *sql;
};

#include "migrations.inc" /* static const struct migration migrations[] = {…, {0}}; */

static bool applied_version(struct store *s, int *version, struct bpu_error *err)
{
    /* Not cached: migrations change the schema below it. */
    sqlite3_stmt *q = NULL;
    *version = 0;
    if (sqlite3_prepare_v2(s->db, "SELECT coalesce(max(version), 0) FROM migrations", -1, &q,
                           NULL) != SQLITE_OK)
        return store_fail(s, "read its version", err);
    bool ok = sqlite3_step(q) == SQLITE_ROW;
    if (ok)
        *version = sqlite3_column_int(q, 0);
    else
        store_fail(s, "read its version", err);
    sqlite3_finalize(q);
    return ok;
}

static bool apply(struct store *s, const struct migration *m, struct bpu_error *err)
{
    int have;
    if (sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return store_fail(s, "be locked for a migration", err);
    bool ok = applied_version(s, &have, err);
    if (ok && have < m->version) { /* else another process was quicker */
        char record[256];
        snprintf(record, sizeof record, "INSERT INTO migrations VALUES (%d, '%s', %lld)",
                 m->version, m->name, (long long)store_now());
        ok = sqlite3_exec(s->db, m->sql, NULL, NULL, NULL) == SQLITE_OK &&
             sqlite3_exec(s->db, record, NULL, NULL, NULL) == SQLITE_OK;
        if (!ok) {
            store_fail(s, "be migrated", err);
            error_where(err, "migrations/%s.sql", m->name);
        }
    }
    if (ok && sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        ok = store_fail(s, "be migrated", err);
    if (!ok)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return ok;
}

bool store_migrate(struct store *s, struct bpu_error *err)
{
    int have, newest = 0;
    if (sqlite3_exec(s->db,
                     "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY,"
                     " name TEXT NOT NULL, applied INTEGER NOT NULL) STRICT",
                     NULL, NULL, NULL) != SQLITE_OK)
        return store_fail(s, "be set up", err);
    if (!applied_version(s, &have, err))
        return false;
    for (const struct migration *m = migrations; m->sql; m++) {
        newest = m->version;
        if (m->version > have && !apply(s, m, err))
            return false;
    }
    if (have > newest) {
        error_set(err, BPU_SERVER, s->dir,
                  "the database has version %d, this program knows versions up to %d", have,
                  newest);
        return error_hint(err, "A newer BPU Hub has used this data directory: run that one.");
    }
    return true;
}
