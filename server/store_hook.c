/* Webhooks: a row each, and a row per notice. */
#include "server/store_hook.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "server/store_sqlite.h"

static bool random_hex(char *out, size_t bytes, struct bpu_error *err)
{
    unsigned char raw[32];
    if (getrandom(raw, bytes, 0) != (ssize_t)bytes)
        return error_set(err, BPU_SERVER, NULL, "no random numbers");
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    return true;
}

static bool hook_add(struct store *s, struct store_hook *h, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, "SELECT count(*) FROM webhooks", "");
    int row = q ? store_step(s, q, err) : -1;
    int64_t count = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    if (row != 1)
        return false;
    if (count >= HOOKS_MAX) {
        error_set(err, BPU_LIMIT, NULL, "there are %d webhooks already", HOOKS_MAX);
        return error_hint(err, "Delete those that nobody listens to.");
    }
    h->created = store_now();
    return random_hex(h->id, 8, err) && random_hex(h->secret, 32, err) &&
           store_run(s, err,
                     "INSERT INTO webhooks (id, project, url, secret, created) VALUES (?, ?, ?, ?, ?)",
                     "tttti", h->id, h->all_projects ? NULL : h->project, h->url, h->secret,
                     h->created);
}

bool store_hook_add(struct store *s, struct store_hook *h, struct bpu_error *err)
{
    if (!store_op_begin(s, err))
        return false;
    return store_op_end(s, hook_add(s, h, err), err);
}

#define HOOK_COLUMNS "id, project, url, created"

static void hook_read(sqlite3_stmt *q, struct store_hook *h)
{
    *h = (struct store_hook){.all_projects = sqlite3_column_type(q, 1) == SQLITE_NULL,
                             .created = sqlite3_column_int64(q, 3)};
    store_column(q, 0, h->id, sizeof h->id);
    store_column(q, 1, h->project, sizeof h->project);
    store_column(q, 2, h->url, sizeof h->url);
}

static bool hook_missing(const char *id, struct bpu_error *err)
{
    return error_set(err, BPU_NOT_FOUND, NULL, "there is no webhook %.40s", id);
}

bool store_hook_get(struct store *s, const char *id, struct store_hook *out, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, "SELECT " HOOK_COLUMNS " FROM webhooks WHERE id = ?", "t", id);
    int row = q ? store_step(s, q, err) : -1;
    if (row == 1)
        hook_read(q, out);
    store_done(q);
    return row == 1 || (row == 0 && hook_missing(id, err));
}

bool store_hooks_exist(struct store *s, bool *exist, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, "SELECT 1 FROM webhooks LIMIT 1", "");
    int row = q ? store_step(s, q, err) : -1;
    *exist = row == 1;
    store_done(q);
    return row >= 0;
}

bool store_hook_list(struct store *s, struct arena *a, struct store_hook **items, size_t *count,
                     struct bpu_error *err)
{
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    sqlite3_stmt *q =
        store_query(s, err, "SELECT " HOOK_COLUMNS " FROM webhooks ORDER BY n DESC", "");
    while (q && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        hook_read(q, &(*items)[(*count)++]);
    }
    store_done(q);
    return row == 0;
}

bool store_hook_delete(struct store *s, const char *id, struct bpu_error *err)
{
    if (!store_op_begin(s, err))
        return false;
    bool ok = store_run(s, err, "DELETE FROM webhooks WHERE id = ?", "t", id);
    if (ok && sqlite3_changes(s->db) == 0)
        ok = hook_missing(id, err);
    return store_op_end(s, ok, err);
}

/* ---- deliveries ------------------------------------------------------------------------------ */

#define DELIVERY_COLUMNS                                                                           \
    "d.n, d.job_n, d.event, d.state, d.attempts, d.status, d.not_before, d.created, d.finished,"   \
    " d.error"

static bool deliveries_read(struct store *s, sqlite3_stmt *q, bool secret, struct arena *a,
                            struct store_delivery **items, size_t *count, struct bpu_error *err)
{
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    while (q && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        struct store_delivery *d = &(*items)[(*count)++];
        *d = (struct store_delivery){.n = sqlite3_column_int64(q, 0),
                                     .state = (enum delivery_state)sqlite3_column_int(q, 3),
                                     .attempts = sqlite3_column_int(q, 4),
                                     .status = sqlite3_column_int(q, 5),
                                     .not_before = sqlite3_column_int64(q, 6),
                                     .created = sqlite3_column_int64(q, 7),
                                     .finished = sqlite3_column_int64(q, 8)};
        store_id_write(sqlite3_column_int64(q, 1), d->job);
        store_column(q, 2, d->event, sizeof d->event);
        store_column(q, 9, d->error, sizeof d->error);
        if (secret) {
            store_column(q, 10, d->url, sizeof d->url);
            store_column(q, 11, d->secret, sizeof d->secret);
            d->hook = sqlite3_column_int64(q, 12);
        }
    }
    store_done(q);
    return row == 0;
}

bool store_delivery_list(struct store *s, const char *hook, int limit, struct arena *a,
                         struct store_delivery **items, size_t *count, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err, "SELECT n FROM webhooks WHERE id = ?", "t", hook);
    int row = q ? store_step(s, q, err) : -1;
    int64_t n = row == 1 ? sqlite3_column_int64(q, 0) : 0;
    store_done(q);
    if (row == 0)
        return hook_missing(hook, err);
    if (row < 0)
        return false;
    q = store_query(s, err,
                    "SELECT " DELIVERY_COLUMNS " FROM deliveries d WHERE d.webhook_n = ?"
                    " ORDER BY d.n DESC LIMIT ?",
                    "ii", n, (int64_t)limit);
    return deliveries_read(s, q, false, a, items, count, err);
}

bool store_delivery_due(struct store *s, int limit, struct arena *a, struct store_delivery **items,
                        size_t *count, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT " DELIVERY_COLUMNS ", w.url, w.secret, w.n FROM webhooks w"
                                  " JOIN deliveries d ON d.n IN (SELECT n FROM deliveries INDEXED BY"
                                  " deliveries_due WHERE webhook_n = w.n AND state = 0 AND not_before <= ?1"
                                  " ORDER BY not_before, n LIMIT ?2) ORDER BY d.not_before, d.n",
                                  "ii", store_now(), (int64_t)limit);
    return deliveries_read(s, q, true, a, items, count, err);
}

bool store_delivery_record(struct store *s, const struct store_delivery *d, struct bpu_error *err)
{
    static const char *const outcomes[] = {"outcome=\"failed\"", "outcome=\"delivered\"",
                                           "outcome=\"given_up\""};
    if (!store_op_begin(s, err))
        return false;
    bool ok = store_run(s, err,
                        "UPDATE deliveries SET state = ?2, attempts = attempts + 1, status = ?3,"
                        " error = ?4, not_before = ?5, finished = iif(?2 = 0, 0, ?6) WHERE n = ?1",
                        "iiitii", d->n, (int64_t)d->state, (int64_t)d->status, d->error,
                        d->not_before, store_now()) &&
              store_run(s, err,
                        "INSERT INTO counters VALUES ('webhook_deliveries_total', ?, 1)"
                        " ON CONFLICT DO UPDATE SET value = value + 1",
                        "t", outcomes[d->state]);
    return store_op_end(s, ok, err);
}

bool store_delivery_forget(struct store *s, int64_t before, struct bpu_error *err)
{
    if (!store_op_begin(s, err))
        return false;
    return store_op_end(s,
                        store_run(s, err,
                                  "DELETE FROM deliveries WHERE n IN (SELECT n FROM deliveries"
                                  " WHERE state != 0 AND finished < ? LIMIT 500)",
                                  "i", before),
                        err);
}
