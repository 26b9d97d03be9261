/* Models: one row per content. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "server/files.h"
#include "server/store_sqlite.h"

#define MODEL_COLUMNS "n, id, name, format, bytes, created, info"

void store_model_path(const struct store *s, const char *id, char *out, size_t n)
{
    snprintf(out, n, "%s/models/%.2s/%.64s", s->dir, id, id);
}

static bool model_read(sqlite3_stmt *q, struct arena *a, struct store_model *m,
                       struct bpu_error *err)
{
    memset(m, 0, sizeof *m);
    store_column(q, 1, m->id, sizeof m->id);
    store_column(q, 2, m->name, sizeof m->name);
    store_column(q, 3, m->format, sizeof m->format);
    m->bytes = sqlite3_column_int64(q, 4);
    m->created = sqlite3_column_int64(q, 5);
    return store_column_dup(q, 6, a, &m->info, err);
}

static bool model_insert(struct store *s, const struct store_model *m, bool *existed,
                         struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, "SELECT 1 FROM models WHERE id = ?", "t", m->id);
    int row = q ? store_step(s, q, err) : -1;
    store_done(q);
    if (row < 0)
        return false;
    *existed = row == 1;
    return *existed || store_run(s, err,
                                 "INSERT INTO models (id, name, format, bytes, created, info)"
                                 " VALUES (?, ?, ?, ?, ?, ?)",
                                 "tttiit", m->id, m->name, m->format, m->bytes,
                                 m->created ? m->created : store_now(), m->info);
}

bool store_model_add(struct store *s, const struct store_model *m, bool *existed,
                     struct bpu_error *err)
{
    *existed = false;
    if (!files_sha256_valid(m->id))
        return error_set(err, BPU_USAGE, NULL, "a model id is the SHA-256 of the file in hex");
    if (!store_op_begin(s, err))
        return false;
    return store_op_end(s, model_insert(s, m, existed, err), err);
}

bool store_model_set_info(struct store *s, const char *id, const char *info, struct bpu_error *err)
{
    sqlite3_stmt *q = NULL;
    if (!store_op_begin(s, err))
        return false;
    /* The text came out of a sandbox: what is not JSON is not kept. */
    bool ok = store_run(s, err,
                        "UPDATE models SET info = ?2 WHERE id = ?1 AND info IS NOT ?2"
                        " AND json_valid(?2)",
                        "tt", id, info);
    if (ok && sqlite3_changes(s->db) == 0) {
        q = store_query(s, err, "SELECT json_valid(?2) FROM models WHERE id = ?1", "tt", id, info);
        int row = q ? store_step(s, q, err) : -1;
        ok = row == 1;
        if (row == 0)
            error_set(err, BPU_NOT_FOUND, NULL, "there is no model %.64s", id);
        else if (ok && !sqlite3_column_int(q, 0))
            ok = error_set(err, BPU_BAD_MODEL, NULL, "the description of the model is not JSON");
    }
    store_done(q);
    return store_op_end(s, ok, err);
}

bool store_model_get(struct store *s, const char *id, struct arena *a, struct store_model *out,
                     struct bpu_error *err)
{
    sqlite3_stmt *q =
        store_query(s, err, "SELECT " MODEL_COLUMNS " FROM models WHERE id = ?", "t", id);
    int row = q ? store_step(s, q, err) : -1;
    bool ok = row == 1 && model_read(q, a, out, err);
    store_done(q);
    if (row == 0) {
        error_set(err, BPU_NOT_FOUND, NULL, "there is no model %.64s", id);
        error_hint(err, "Upload it with POST /v1/models first.");
    }
    return ok;
}

bool store_model_list(struct store *s, const char *cursor, int limit, struct arena *a,
                      struct store_model **items, size_t *count, char next[64],
                      struct bpu_error *err)
{
    int64_t before = INT64_MAX, last = 0;
    *count = 0;
    if (cursor && *cursor && !store_id_read(cursor, &before))
        return error_set(err, BPU_USAGE, "cursor", "the cursor is not one that a list has given");
    next[0] = '\0'; /* only now: it may be the same memory as the cursor */
    if (limit < 1 || limit > 200)
        return error_set(err, BPU_USAGE, "limit", "limit is %d, allowed is 1..200", limit);
    *items = ARENA_ARRAY(a, struct store_model, limit, err);
    if (!*items)
        return false;
    sqlite3_stmt *q = store_query(
        s, err, "SELECT " MODEL_COLUMNS " FROM models WHERE n < ? ORDER BY n DESC LIMIT ?", "ii",
        before, (int64_t)limit + 1);
    int row = -1;
    bool ok = q != NULL;
    while (ok && (row = store_step(s, q, err)) == 1) {
        if (*count == (size_t)limit) {
            store_id_write(last, next);
            break;
        }
        ok = model_read(q, a, &(*items)[*count], err);
        last = sqlite3_column_int64(q, 0);
        *count += ok;
    }
    store_done(q);
    return ok && row >= 0;
}
