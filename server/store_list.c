/* Pages of jobs, newest first, with a keyset cursor.
 *
 * Each combination of filters is its own statement with the index named in it: SQLite, which knows
 * nothing of how the values are spread, would otherwise guess.  What decides the walk is the filter
 * that leaves the fewest jobs (text, label, model, project, a state other than succeeded, kind,
 * verdict); the others are checked on the
 * way, from columns of the same index where possible, so that a page that matches little costs one
 * pass over a narrow index and not over the table.
 *
 * q: three characters or more go through the trigram index, which yields row numbers newest first;
 * one or two characters are looked for in job_text row by row; and if q can be the beginning of an
 * id, the jobs in that range of numbers are merged in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/json.h"
#include "server/store_sqlite.h"

#define ID_PREFIX_MIN 4
#define LIMIT_MAX 200

/* Parameters, fixed in number so that any statement can be bound the same way. */
enum {
    P_BEFORE = 1,
    P_LIMIT,
    P_STATE,
    P_KIND,
    P_MARCH,
    P_VERDICT,
    P_MODEL,
    P_PROJECT,
    P_LABEL_KEY,
    P_LABEL_VALUE,
    P_Q,
    P_LOW,
    P_HIGH,
    P_SCOPE,
};

static void sql_write(struct buf *b, unsigned mask)
{
    const char *n = "j.n"; /* the column that the walk is ordered by */
    buf_puts(b, "SELECT " STORE_JOB_COLUMNS " FROM ");
    if (mask & LIST_TEXT) {
        n = "w.rowid";
        buf_puts(b, "job_search w CROSS JOIN jobs j ON j.n = w.rowid");
    } else if (mask & LIST_SCAN) {
        n = "w.n";
        buf_puts(b, "job_text w CROSS JOIN jobs j ON j.n = w.n");
    } else if (mask & LIST_LABEL) {
        n = "w.job_n";
        buf_puts(b, "job_labels w CROSS JOIN jobs j ON j.n = w.job_n");
    } else if (mask & LIST_MODEL) {
        buf_puts(b, "jobs j INDEXED BY jobs_by_model");
    } else if (mask & LIST_PROJECT) {
        buf_puts(b, "jobs j INDEXED BY jobs_by_project");
    } else if (mask & LIST_STATE && !(mask & LIST_MOST)) {
        buf_puts(b, "jobs j INDEXED BY jobs_by_state");
    } else if (mask & LIST_KIND) {
        buf_puts(b, "jobs j INDEXED BY jobs_by_kind");
    } else if (mask & LIST_VERDICT) {
        buf_puts(b, "jobs j INDEXED BY jobs_by_verdict");
    } else if (mask & LIST_MARCH) {
        buf_puts(b, "jobs j INDEXED BY jobs_by_facet");
    } else if (mask & LIST_STATE) {
        buf_puts(b, "jobs j INDEXED BY jobs_by_state");
    } else {
        buf_puts(b, "jobs j");
    }
    buf_printf(b, " CROSS JOIN models m ON m.n = j.model_n WHERE %s < ?1", n);
    if (mask & LIST_STATE)
        buf_puts(b, " AND j.state = ?3");
    if (mask & LIST_KIND)
        buf_puts(b, " AND j.kind = ?4");
    if (mask & LIST_MARCH)
        buf_puts(b, " AND j.march = ?5");
    if (mask & LIST_VERDICT)
        buf_puts(b, " AND j.verdict = ?6");
    if (mask & LIST_MODEL)
        buf_puts(b, " AND j.model_n = (SELECT n FROM models WHERE id = ?7)");
    if (mask & LIST_PROJECT)
        buf_puts(b, " AND j.project = ?8");
    if (mask & LIST_LABEL && mask & (LIST_TEXT | LIST_SCAN))
        buf_puts(b, " AND EXISTS (SELECT 1 FROM job_labels WHERE key = ?9 AND value = ?10"
                    " AND job_n = j.n)");
    else if (mask & LIST_LABEL)
        buf_puts(b, " AND w.key = ?9 AND w.value = ?10");
    if (mask & LIST_TEXT)
        buf_puts(b, " AND w.text MATCH ?11");
    if (mask & LIST_SCAN)
        buf_puts(b, " AND instr(lower(w.text), ?11) > 0");
    if (mask & LIST_PREFIX)
        buf_puts(b, " AND j.n BETWEEN ?12 AND ?13");
    if (mask & LIST_VISIBLE)
        buf_puts(b, " AND j.project NOT IN (SELECT name FROM projects WHERE private AND"
                    " name <> ?14)");
    buf_printf(b, " ORDER BY %s DESC LIMIT ?2", n);
}

static sqlite3_stmt *list_statement(struct store *s, unsigned mask, struct bpu_error *err)
{
    struct buf b;
    if (s->list[mask])
        return s->list[mask];
    buf_init(&b, 8192);
    sql_write(&b, mask);
    if (buf_ok(&b, err) && sqlite3_prepare_v3(s->db, b.data, -1, SQLITE_PREPARE_PERSISTENT,
                                              &s->list[mask], NULL) != SQLITE_OK)
        store_fail(s, "prepare a list", err);
    buf_fini(&b);
    return s->list[mask];
}

/* SQLITE_RANGE is what a parameter that this statement lacks gives, and is fine. */
static bool bind_text(sqlite3_stmt *q, int at, const char *text)
{
    int rc = text ? sqlite3_bind_text(q, at, text, -1, SQLITE_STATIC) : SQLITE_OK;
    return rc == SQLITE_OK || rc == SQLITE_RANGE;
}

static bool bind_int(sqlite3_stmt *q, int at, int64_t value)
{
    int rc = sqlite3_bind_int64(q, at, value);
    return rc == SQLITE_OK || rc == SQLITE_RANGE;
}

struct walk {
    int64_t before, low, high;
    int limit; /* one more than the page, to know whether there is a next one */
    enum job_state state;
    const char *text; /* what ?11 is */
};

static bool list_run(struct store *s, unsigned mask, const struct store_job_filter *f,
                     const struct walk *w, struct arena *a, struct store_job *items, size_t *count,
                     struct bpu_error *err)
{
    int row = -1;
    *count = 0;
    sqlite3_stmt *q = list_statement(s, mask, err);
    if (!q)
        return false;
    bool ok = bind_int(q, P_BEFORE, w->before) && bind_int(q, P_LIMIT, w->limit) &&
              bind_int(q, P_STATE, w->state) && bind_text(q, P_KIND, f->kind) &&
              bind_text(q, P_MARCH, f->march) && bind_text(q, P_VERDICT, f->verdict) &&
              bind_text(q, P_MODEL, f->model) && bind_text(q, P_PROJECT, f->project) &&
              bind_text(q, P_LABEL_KEY, f->label_key) &&
              bind_text(q, P_LABEL_VALUE, f->label_value ? f->label_value : "") &&
              bind_text(q, P_Q, w->text) && bind_int(q, P_LOW, w->low) &&
              bind_int(q, P_HIGH, w->high) && bind_text(q, P_SCOPE, f->visible_to);
    if (!ok)
        store_fail(s, "bind a value", err);
    while (ok && *count < (size_t)w->limit && (row = store_step(s, q, err)) == 1) {
        ok = store_job_read(q, a, &items[*count], err);
        *count += ok;
    }
    store_done(q);
    return ok && (row >= 0 || *count == (size_t)w->limit);
}

/* Two pages, both newest first, into one without repeats. Ids sort as their jobs do. */
static size_t merge(struct store_job *out, int limit, const struct store_job *x, size_t nx,
                    const struct store_job *y, size_t ny)
{
    size_t count = 0;
    for (size_t i = 0, k = 0; count < (size_t)limit && (i < nx || k < ny);) {
        int order = i == nx ? -1 : k == ny ? 1 : strcmp(x[i].id, y[k].id);
        out[count++] = order >= 0 ? x[i] : y[k];
        i += order >= 0;
        k += order <= 0;
    }
    return count;
}

/* "text" as an FTS5 phrase, or in lower case for the scan. */
static char *search_text(const char *q, bool phrase, struct arena *a, struct bpu_error *err)
{
    char *out = arena_alloc(a, 2 * strlen(q) + 3, err);
    if (!out)
        return NULL;
    char *at = out;
    if (phrase)
        *at++ = '"';
    for (; *q; q++) {
        if (phrase && *q == '"')
            *at++ = '"';
        *at++ = !phrase && *q >= 'A' && *q <= 'Z' ? (char)(*q + 'a' - 'A') : *q;
    }
    if (phrase)
        *at++ = '"';
    *at = '\0';
    return out;
}

static size_t characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

static bool given(const char *s)
{
    return s && *s;
}

bool store_job_list(struct store *s, const struct store_job_filter *f, struct arena *a,
                    struct store_job **items, size_t *count, char next[64], struct bpu_error *err)
{
    struct walk w = {.before = INT64_MAX, .limit = f->limit + 1};
    unsigned mask = (given(f->state) ? LIST_STATE : 0u) | (given(f->kind) ? LIST_KIND : 0u) |
                    (given(f->march) ? LIST_MARCH : 0u) | (given(f->verdict) ? LIST_VERDICT : 0u) |
                    (given(f->model) ? LIST_MODEL : 0u) | (given(f->project) ? LIST_PROJECT : 0u) |
                    (given(f->label_key) ? LIST_LABEL : 0u) |
                    (f->visible_to ? LIST_VISIBLE : 0u);
    *items = NULL;
    *count = 0;
    if (f->limit < 1 || f->limit > LIMIT_MAX)
        return error_set(err, BPU_USAGE, "limit", "limit is %d, allowed is 1..%d", f->limit,
                         LIMIT_MAX);
    if (given(f->cursor) && !store_id_read(f->cursor, &w.before))
        return error_set(err, BPU_USAGE, "cursor", "the cursor is not one that a list has given");
    next[0] = '\0'; /* only now: it may be the same memory as the cursor */
    if (given(f->state) && !job_state_find(f->state, &w.state)) {
        error_set(err, BPU_USAGE, "state", "there is no state \"%.32s\"", f->state);
        return error_hint(err, "States are queued, running, succeeded, failed, cancelled.");
    }
    if (mask & LIST_STATE && w.state == JOB_SUCCEEDED)
        mask |= LIST_MOST;
    *items = ARENA_ARRAY(a, struct store_job, w.limit, err);
    if (!*items)
        return false;
    if (!given(f->q)) {
        if (!list_run(s, mask, f, &w, a, *items, count, err))
            return false;
    } else {
        size_t length = characters(f->q);
        w.text = search_text(f->q, length >= 3, a, err);
        if (!w.text || !list_run(s, mask | (length >= 3 ? LIST_TEXT : LIST_SCAN), f, &w, a, *items,
                                 count, err))
            return false;
        if (strlen(f->q) >= ID_PREFIX_MIN && store_id_range(f->q, &w.low, &w.high)) {
            struct store_job *named = ARENA_ARRAY(a, struct store_job, w.limit, err);
            struct store_job *both = ARENA_ARRAY(a, struct store_job, w.limit, err);
            size_t named_count;
            if (!named || !both ||
                !list_run(s, mask | LIST_PREFIX, f, &w, a, named, &named_count, err))
                return false;
            *count = merge(both, w.limit, *items, *count, named, named_count);
            *items = both;
        }
    }
    if (*count > (size_t)f->limit) {
        *count = (size_t)f->limit;
        snprintf(next, 64, "%s", (*items)[*count - 1].id);
    }
    return true;
}
