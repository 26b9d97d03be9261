/* The audit log, and which project an uploaded file belongs to. */
#include <stdio.h>
#include <string.h>

#include "server/store_access.h"
#include "server/store_sqlite.h"

bool store_audit_add(struct store *s, const struct store_audit *e, struct bpu_error *err)
{
    if (!store_op_begin(s, err))
        return false;
    bool ok = store_run(s, err,
                        "INSERT INTO audit (at, token_n, actor, address, action, object, result)"
                        " VALUES (?, nullif(?, 0), ?, ?, ?, ?, ?)",
                        "iittttt", store_now(), e->token, e->actor, e->address, e->action,
                        e->object, e->result);
    return store_op_end(s, ok, err);
}

bool store_audit_list(struct store *s, int64_t before, int limit, struct arena *a,
                      struct store_audit **items, size_t *count, struct bpu_error *err)
{
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    sqlite3_stmt *q = store_query(
        s, err,
        "SELECT n, at, token_n, actor, address, action, object, result FROM audit"
        " WHERE n < ? ORDER BY n DESC LIMIT ?",
        "ii", before > 0 ? before : INT64_MAX, (int64_t)limit);
    bool ok = q != NULL;
    while (ok && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        struct store_audit *e = &(*items)[(*count)++];
        e->n = sqlite3_column_int64(q, 0);
        e->at = sqlite3_column_int64(q, 1);
        e->token = sqlite3_column_int64(q, 2);
        ok = store_column_dup(q, 3, a, &e->actor, err) &&
             store_column_dup(q, 4, a, &e->address, err) &&
             store_column_dup(q, 5, a, &e->action, err) &&
             store_column_dup(q, 6, a, &e->object, err) &&
             store_column_dup(q, 7, a, &e->result, err);
    }
    store_done(q);
    return ok && row == 0;
}

/* ---- files and projects ---------------------------------------------------------------------- */

/* A file without rows is public; else it is visible through any of its projects that is. */
bool store_file_visible(struct store *s, const char *id, const char *scope, bool *visible,
                        struct bpu_error *err)
{
    *visible = true;
    if (!scope)
        return true;
    sqlite3_stmt *q = store_query(
        s, err,
        "SELECT NOT EXISTS (SELECT 1 FROM file_projects WHERE id = ?1) OR EXISTS"
        " (SELECT 1 FROM file_projects WHERE id = ?1 AND project NOT IN"
        " (SELECT name FROM projects WHERE private AND name <> ?2))",
        "tt", id, scope);
    int row = q ? store_step(s, q, err) : -1;
    *visible = row == 1 && sqlite3_column_int(q, 0);
    store_done(q);
    return row == 1;
}

bool store_file_give(struct store *s, const char *id, const char *project, bool existed,
                     const char *scope, bool *seen, struct bpu_error *err)
{
    *seen = false;
    if (existed && !store_file_visible(s, id, scope, seen, err))
        return false;
    if (!existed && !*project)
        return true; /* public, and without rows */
    if (!store_op_begin(s, err))
        return false;
    /* What has been public stays so: a row is added to rows, or to a new file. */
    bool ok = store_run(s, err,
                        "INSERT OR IGNORE INTO file_projects (id, project) SELECT ?1, ?2"
                        " WHERE NOT ?3 OR EXISTS (SELECT 1 FROM file_projects WHERE id = ?1)",
                        "tti", id, project, (int64_t)existed);
    return store_op_end(s, ok, err);
}
