/* Counters for /metrics that outlive processes: workers add to them in the transaction that they commit anyway, a trigger
 * counts the ends of jobs (migrations/0006_counters.sql). */
#include "server/store_sqlite.h"

bool store_count(struct store *s, const char *name, const char *labels, double add,
                 struct bpu_error *err)
{
    if (!store_op_begin_lazily(s, err))
        return false;
    return store_op_end(s,
                        store_run(s, err,
                                  "INSERT INTO counters VALUES (?, ?, ?)"
                                  " ON CONFLICT DO UPDATE SET value = value + excluded.value",
                                  "ttd", name, labels, add),
                        err);
}

bool store_counters(struct store *s, struct arena *a, struct store_counter **items, size_t *count,
                    struct bpu_error *err)
{
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    sqlite3_stmt *q =
        store_query(s, err, "SELECT name, labels, value FROM counters ORDER BY name, labels", "");
    while (q && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        struct store_counter *c = &(*items)[(*count)++];
        c->value = sqlite3_column_double(q, 2);
        if (!store_column_dup(q, 0, a, &c->name, err) || !store_column_dup(q, 1, a, &c->labels, err)) {
            row = -1;
            break;
        }
    }
    store_done(q);
    return row == 0;
}
