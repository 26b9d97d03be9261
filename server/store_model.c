/* Models and data files: one row per content, in a table each.  The two tables have the same columns
 * and the same statements, so that what is true of one is true of the other. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "server/files.h"
#include "server/store_access.h"
#include "server/store_sqlite.h"

#define COLUMNS "n, id, name, format, bytes, created, info"

/* The statements of a table; literals, because prepared statements are found by their address. */
struct shelf {
    const char *noun, *upload, *folder;
    const char *exists, *insert, *describe, *is_json, *get, *list, *list_visible;
};

#define SHELF(table, a_noun, a_upload)                                                             \
    {                                                                                              \
        .noun = a_noun, .upload = a_upload, .folder = table,                                       \
        .exists = "SELECT 1 FROM " table " WHERE id = ?",                                          \
        .insert = "INSERT INTO " table " (id, name, format, bytes, created, info)"                 \
                  " VALUES (?, ?, ?, ?, ?, ?)",                                                    \
        .describe = "UPDATE " table " SET info = ?2 WHERE id = ?1 AND info IS NOT ?2"              \
                    " AND json_valid(?2)",                                                         \
        .is_json = "SELECT json_valid(?2) FROM " table " WHERE id = ?1",                           \
        .get = "SELECT " COLUMNS " FROM " table " WHERE id = ?",                                   \
        .list = "SELECT " COLUMNS " FROM " table " WHERE n < ? ORDER BY n DESC LIMIT ?",           \
        .list_visible =                                                                            \
            "SELECT " COLUMNS " FROM " table " f WHERE n < ? AND (NOT EXISTS"                      \
            " (SELECT 1 FROM file_projects p WHERE p.id = f.id) OR EXISTS"                         \
            " (SELECT 1 FROM file_projects p WHERE p.id = f.id AND p.project NOT IN"               \
            " (SELECT name FROM projects WHERE private AND name <> ?3)))"                          \
            " ORDER BY n DESC LIMIT ?2",                                                           \
    }

static const struct shelf models = SHELF("models", "model", "/v1/models");
static const struct shelf data = SHELF("data", "data file", "/v1/data");

static void shelf_path(const struct store *s, const struct shelf *f, const char *id, char *out,
                       size_t n)
{
    snprintf(out, n, "%s/%s/%.2s/%.64s", s->dir, f->folder, id, id);
}

static bool row_read(sqlite3_stmt *q, struct arena *a, struct store_model *m, struct bpu_error *err)
{
    memset(m, 0, sizeof *m);
    store_column(q, 1, m->id, sizeof m->id);
    store_column(q, 2, m->name, sizeof m->name);
    store_column(q, 3, m->format, sizeof m->format);
    m->bytes = sqlite3_column_int64(q, 4);
    m->created = sqlite3_column_int64(q, 5);
    return store_column_dup(q, 6, a, &m->info, err);
}

static bool row_insert(struct store *s, const struct shelf *f, const struct store_model *m,
                       bool *existed, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, f->exists, "t", m->id);
    int row = q ? store_step(s, q, err) : -1;
    store_done(q);
    if (row < 0)
        return false;
    *existed = row == 1;
    return *existed || store_run(s, err, f->insert, "tttiit", m->id, m->name, m->format, m->bytes,
                                 m->created ? m->created : store_now(), m->info);
}

static bool shelf_add(struct store *s, const struct shelf *f, const struct store_model *m,
                      bool *existed, struct bpu_error *err)
{
    *existed = false;
    if (!files_sha256_valid(m->id))
        return error_set(err, BPU_USAGE, NULL, "a %s id is the SHA-256 of the file in hex", f->noun);
    if (!store_op_begin(s, err))
        return false;
    return store_op_end(s, row_insert(s, f, m, existed, err), err);
}

static bool shelf_set_info(struct store *s, const struct shelf *f, const char *id, const char *info,
                           struct bpu_error *err)
{
    sqlite3_stmt *q = NULL;
    if (!store_op_begin(s, err))
        return false;
    /* The text came out of a sandbox: what is not JSON is not kept. */
    bool ok = store_run(s, err, f->describe, "tt", id, info);
    if (ok && sqlite3_changes(s->db) == 0) {
        q = store_query(s, err, f->is_json, "tt", id, info);
        int row = q ? store_step(s, q, err) : -1;
        ok = row == 1;
        if (row == 0)
            error_set(err, BPU_NOT_FOUND, NULL, "there is no %s %.64s", f->noun, id);
        else if (ok && !sqlite3_column_int(q, 0))
            ok = error_set(err, BPU_BAD_MODEL, NULL, "the description of the %s is not JSON",
                           f->noun);
    }
    store_done(q);
    return store_op_end(s, ok, err);
}

static bool shelf_get(struct store *s, const struct shelf *f, const char *id, struct arena *a,
                      struct store_model *out, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, f->get, "t", id);
    int row = q ? store_step(s, q, err) : -1;
    bool ok = row == 1 && row_read(q, a, out, err);
    store_done(q);
    if (row == 0) {
        error_set(err, BPU_NOT_FOUND, NULL, "there is no %s %.64s", f->noun, id);
        error_hint(err, "Upload it with POST %s first.", f->upload);
    }
    return ok;
}

static bool shelf_list(struct store *s, const struct shelf *f, const char *scope,
                       const char *cursor, int limit, struct arena *a, struct store_model **items, size_t *count, char next[64],
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
    sqlite3_stmt *q =
        scope ? store_query(s, err, f->list_visible, "iit", before, (int64_t)limit + 1, scope)
              : store_query(s, err, f->list, "ii", before, (int64_t)limit + 1);
    int row = -1;
    bool ok = q != NULL;
    while (ok && (row = store_step(s, q, err)) == 1) {
        if (*count == (size_t)limit) {
            store_id_write(last, next);
            break;
        }
        ok = row_read(q, a, &(*items)[*count], err);
        last = sqlite3_column_int64(q, 0);
        *count += ok;
    }
    store_done(q);
    return ok && row >= 0;
}

/* ---- the two tables -------------------------------------------------------------------------- */

void store_model_path(const struct store *s, const char *id, char *out, size_t n)
{
    shelf_path(s, &models, id, out, n);
}

bool store_model_add(struct store *s, const struct store_model *m, bool *existed,
                     struct bpu_error *err)
{
    return shelf_add(s, &models, m, existed, err);
}

bool store_model_set_info(struct store *s, const char *id, const char *info, struct bpu_error *err)
{
    return shelf_set_info(s, &models, id, info, err);
}

bool store_model_get(struct store *s, const char *id, struct arena *a, struct store_model *out,
                     struct bpu_error *err)
{
    return shelf_get(s, &models, id, a, out, err);
}

bool store_model_list(struct store *s, const char *cursor, int limit, struct arena *a,
                      struct store_model **items, size_t *count, char next[64],
                      struct bpu_error *err)
{
    return shelf_list(s, &models, NULL, cursor, limit, a, items, count, next, err);
}

void store_data_path(const struct store *s, const char *id, char *out, size_t n)
{
    shelf_path(s, &data, id, out, n);
}

bool store_data_add(struct store *s, const struct store_model *m, bool *existed,
                    struct bpu_error *err)
{
    return shelf_add(s, &data, m, existed, err);
}

bool store_data_set_info(struct store *s, const char *id, const char *info, struct bpu_error *err)
{
    return shelf_set_info(s, &data, id, info, err);
}

bool store_data_get(struct store *s, const char *id, struct arena *a, struct store_model *out,
                    struct bpu_error *err)
{
    return shelf_get(s, &data, id, a, out, err);
}

bool store_data_list(struct store *s, const char *cursor, int limit, struct arena *a,
                     struct store_model **items, size_t *count, char next[64],
                     struct bpu_error *err)
{
    return shelf_list(s, &data, NULL, cursor, limit, a, items, count, next, err);
}

bool store_file_list(struct store *s, bool of_data, const char *scope, const char *cursor, int limit,
                     struct arena *a, struct store_model **items, size_t *count, char next[64],
                     struct bpu_error *err)
{
    return shelf_list(s, of_data ? &data : &models, scope, cursor, limit, a, items, count, next, err);
}
