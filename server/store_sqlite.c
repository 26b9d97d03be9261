/* The SQLite backend: opening, transactions, statements.
 *
 * WAL lets readers go on while one connection writes; synchronous=FULL makes a commit durable
 * before it is acknowledged.  Claims and heartbeats need not survive a power loss (the job is
 * simply claimed again), so they commit with synchronous=NORMAL and save a disk flush each: one
 * flush per finished job instead of three.  Statements are prepared once per handle and found by
 * the address of their text. */
#define _GNU_SOURCE
#include "server/store_sqlite.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "server/files.h"

#define BUSY_TIMEOUT_MS 10000

int64_t store_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool store_fail(struct store *s, const char *doing, struct bpu_error *err)
{
    /* SQLite reports a read that fails with EIO like this as well. */
    static const char damaged_hint[] =
        "See the kernel's log for errors of the disk. If there are none, stop the service, look with "
        "`bpuhub fsck`, and restore the last backup with `bpuhub restore`.";
    static const struct {
        int rc;
        enum bpu_code code;
        const char *hint;
    } rows[] = {
        {SQLITE_FULL, BPU_DISK_FULL,
         "Make room on the disk of the data directory (`bpuhub prune`), then send the request again."},
        {SQLITE_READONLY, BPU_DISK, "Make the disk of the data directory writable again."},
        {SQLITE_CANTOPEN, BPU_DISK, "See whether the data directory is there and may be written."},
        {SQLITE_IOERR, BPU_DISK,
         "See the kernel's log for what is wrong with the disk of the data directory."},
        {SQLITE_BUSY, BPU_STORE_BUSY,
         "Another process keeps the database locked; send the request again in a moment."},
        {SQLITE_LOCKED, BPU_STORE_BUSY,
         "Another process keeps the database locked; send the request again in a moment."},
        {SQLITE_CORRUPT, BPU_STORE_DAMAGED,
         damaged_hint},
        {SQLITE_NOTADB, BPU_STORE_DAMAGED,
         damaged_hint},
        {SQLITE_NOMEM, BPU_NO_MEMORY, NULL},
    };
    int rc = sqlite3_errcode(s->db) & 0xFF, why = sqlite3_system_errno(s->db);
    enum bpu_code code = BPU_SERVER;
    const char *hint = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].rc == rc) {
            code = rows[i].code;
            hint = rows[i].hint;
        }
    if (rc == SQLITE_IOERR && (why == ENOSPC || why == EDQUOT)) {
        code = BPU_DISK_FULL; /* of a file that SQLite does not expect to grow */
        hint = rows[0].hint;
    }
    error_set(err, code, s->dir, "the database cannot %s: %s", doing, sqlite3_errmsg(s->db));
    if (hint)
        error_hint(err, "%s", hint);
    return false;
}

/* SQLite's own busy timeout sleeps for milliseconds; a commit holds the lock for a fraction of one.
 */
static int on_busy(void *ctx, int tries)
{
    struct store *s = ctx;
    int64_t now = store_now();
    if (tries == 0)
        s->busy_since = now;
    if (now - s->busy_since > BUSY_TIMEOUT_MS)
        return 0;
    long us = tries < 20 ? 100 : tries < 60 ? 500 : 5000;
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
    return 1;
}

static bool exec(struct store *s, const char *sql, const char *doing, struct bpu_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK || store_fail(s, doing, err);
}

/* Several processes may open a new database at once.  SQLite does not ask the busy handler where waiting could
 * deadlock, and the change to WAL is such a place: tried again here, for ten seconds. */
static bool use_wal(struct store *s, struct bpu_error *err)
{
    static const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    for (int i = 0; i < 500; i++) {
        int rc = sqlite3_exec(s->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            return true;
        if ((rc & 0xFF) != SQLITE_BUSY)
            break;
        nanosleep(&pause, NULL);
    }
    return store_fail(s, "be set up", err);
}

/* The 256 folders that content is spread over, made once, so that storing a file syncs one folder and not three. */
static bool make_fan(const char *dir, const char *name, struct bpu_error *err)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s/ff", dir, name);
    if (stat(path, &st) == 0)
        return true;
    for (int i = 0; i < 256; i++) {
        snprintf(path, sizeof path, "%s/%s/%02x", dir, name, (unsigned)i);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return files_fail(path, "cannot create the folder", err);
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return files_sync_dir(path, err);
}

struct store *store_open(const char *dir, struct bpu_error *err)
{
    static const char *const folders[] = {"models", "data", "artifacts", "tmp"};
    char path[PATH_MAX];
    struct store *s = calloc(1, sizeof *s);
    if (!s || !(s->dir = strdup(dir))) {
        free(s);
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for the store");
        return NULL;
    }
    if (strlen(dir) > PATH_MAX - 128) {
        error_set(err, BPU_IO, NULL, "the path of the data directory is too long");
        goto fail;
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        if (!files_mkdirs(path, err))
            goto fail;
    }
    if (!make_fan(dir, "models", err) || !make_fan(dir, "data", err) ||
        !make_fan(dir, "artifacts", err))
        goto fail;
    snprintf(path, sizeof path, "%s/hub.db", dir);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK) {
        if (s->db)
            store_fail(s, "be opened", err);
        else
            error_set(err, BPU_NO_MEMORY, NULL, "no memory for the database");
        goto fail;
    }
    if (sqlite3_db_readonly(s->db, "main") != 0) {
        /* SQLite falls back to it by itself, and would stay so when the disk is well again. */
        error_set(err, BPU_DISK, dir, "the database can only be read");
        error_hint(err, "Make the disk of the data directory writable again.");
        goto fail;
    }
    sqlite3_busy_handler(s->db, on_busy, s);
    sqlite3_extended_result_codes(s->db, 0);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* The last one to close would copy the WAL into the database and remove it. Where the disk refused to let the
     * shared memory be written (seen with EROFS at random), SQLite 3.40 copies nothing and removes it all the same. */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (!use_wal(s, err) ||
        !exec(s,
              "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
              "PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY;"
              "PRAGMA journal_size_limit = 67108864; PRAGMA secure_delete = OFF",
              "be set up", err) ||
        !store_migrate(s, err))
        goto fail;
    return s;
fail:
    store_close(s);
    return NULL;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < STORE_STATEMENTS; i++)
        sqlite3_finalize(s->stmt[i]);
    for (size_t i = 0; i < LIST_MASKS; i++)
        sqlite3_finalize(s->list[i]);
    sqlite3_close(s->db);
    free(s->tool);
    free(s->dir);
    free(s);
}

void store_set_tool_version(struct store *s, const char *tool_version)
{
    char *copy = strdup(tool_version);
    if (!copy)
        return; /* the version that queued the job is recorded, as before */
    free(s->tool);
    s->tool = copy;
}

/* ---- transactions ---------------------------------------------------------------------------- */

/* synchronous is a setting of the connection and may change only between transactions. */
static bool set_lazy(struct store *s, bool lazy, struct bpu_error *err)
{
    if (s->lazy == lazy)
        return true;
    if (!exec(s, lazy ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL", "be set up",
              err))
        return false;
    s->lazy = lazy;
    return true;
}

static bool op_begin(struct store *s, bool lazy, struct bpu_error *err)
{
    if (s->in_tx)
        return store_run(s, err, "SAVEPOINT op", "");
    return set_lazy(s, lazy, err) && store_run(s, err, "BEGIN IMMEDIATE", "");
}

bool store_op_begin(struct store *s, struct bpu_error *err)
{
    return op_begin(s, false, err);
}

bool store_op_begin_lazily(struct store *s, struct bpu_error *err)
{
    return op_begin(s, true, err);
}

static void undo(struct store *s)
{
    struct bpu_error ignored = {0}; /* the error that led here is the one to report */
    if (s->in_tx) {
        if (!store_run(s, &ignored, "ROLLBACK TO op", "") ||
            !store_run(s, &ignored, "RELEASE op", ""))
            return;
    } else if (!sqlite3_get_autocommit(s->db) && !store_run(s, &ignored, "ROLLBACK", "")) {
        return;
    }
}

bool store_op_end(struct store *s, bool ok, struct bpu_error *err)
{
    if (ok && store_run(s, err, s->in_tx ? "RELEASE op" : "COMMIT", ""))
        return true;
    undo(s);
    return false;
}

bool store_begin(struct store *s, struct bpu_error *err)
{
    if (s->in_tx)
        return error_set(err, BPU_SERVER, NULL, "a transaction is open already");
    if (!set_lazy(s, false, err) || !store_run(s, err, "BEGIN IMMEDIATE", ""))
        return false;
    s->in_tx = true;
    return true;
}

bool store_commit(struct store *s, struct bpu_error *err)
{
    if (!s->in_tx)
        return error_set(err, BPU_SERVER, NULL, "no transaction is open");
    if (!store_run(s, err, "COMMIT", "")) {
        store_rollback(s);
        return false;
    }
    s->in_tx = false;
    return true;
}

void store_rollback(struct store *s)
{
    s->in_tx = false;
    undo(s);
}

/* ---- statements ------------------------------------------------------------------------------ */

static sqlite3_stmt *statement(struct store *s, const char *sql, struct bpu_error *err)
{
    size_t at = ((uintptr_t)sql >> 4) % STORE_STATEMENTS;
    for (size_t probed = 0; probed < STORE_STATEMENTS; probed++) {
        if (s->sql[at] == sql)
            return s->stmt[at];
        if (!s->sql[at]) {
            if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[at], NULL) !=
                SQLITE_OK) {
                store_fail(s, "prepare a statement", err);
                return NULL;
            }
            s->sql[at] = sql;
            return s->stmt[at];
        }
        at = (at + 1) % STORE_STATEMENTS;
    }
    error_set(err, BPU_SERVER, NULL, "too many statements");
    return NULL;
}

static bool bind_all(sqlite3_stmt *q, const char *types, va_list ap)
{
    for (int i = 1; *types; types++, i++) {
        const char *text;
        int rc = SQLITE_MISUSE;
        switch (*types) {
        case 'i': rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t)); break;
        case 'd': rc = sqlite3_bind_double(q, i, va_arg(ap, double)); break;
        case 't':
            text = va_arg(ap, const char *);
            rc = text ? sqlite3_bind_text(q, i, text, -1, SQLITE_STATIC) : sqlite3_bind_null(q, i);
            break;
        }
        if (rc != SQLITE_OK)
            return false;
    }
    return true;
}

static sqlite3_stmt *query(struct store *s, struct bpu_error *err, const char *sql,
                           const char *types, va_list ap)
{
    sqlite3_stmt *q = statement(s, sql, err);
    if (q && !bind_all(q, types, ap)) {
        store_fail(s, "bind a value", err);
        store_done(q);
        return NULL;
    }
    return q;
}

sqlite3_stmt *store_query(struct store *s, struct bpu_error *err, const char *sql,
                          const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(s, err, sql, types, ap);
    va_end(ap);
    return q;
}

int store_step(struct store *s, sqlite3_stmt *q, struct bpu_error *err)
{
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    /* COMMIT counts as read-only for SQLite. */
    bool reads = sqlite3_stmt_readonly(q) && sqlite3_column_count(q) > 0;
    store_fail(s, reads ? "be read" : "be written", err);
    return -1;
}

void store_done(sqlite3_stmt *q)
{
    if (q) {
        sqlite3_reset(q);
        sqlite3_clear_bindings(q);
    }
}

bool store_run(struct store *s, struct bpu_error *err, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(s, err, sql, types, ap);
    va_end(ap);
    bool ok = q && store_step(s, q, err) == 0;
    store_done(q);
    return ok;
}

void store_column(sqlite3_stmt *q, int column, char *out, size_t n)
{
    const unsigned char *text = sqlite3_column_text(q, column);
    snprintf(out, n, "%s", text ? (const char *)text : "");
}

bool store_column_dup(sqlite3_stmt *q, int column, struct arena *a, const char **out,
                      struct bpu_error *err)
{
    *out = NULL;
    if (sqlite3_column_type(q, column) == SQLITE_NULL)
        return true;
    const char *text = (const char *)sqlite3_column_text(q, column);
    if (!text)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory for a row of the database");
    *out = arena_strdup(a, text, err);
    return *out != NULL;
}

bool store_counts(struct store *s, struct store_counts *out, struct bpu_error *err)
{
    sqlite3_stmt *q = store_query(
        s, err,
        "SELECT (SELECT count(*) FROM jobs WHERE state = 0), (SELECT count(*) FROM jobs WHERE state"
        " = 1), (SELECT count FROM totals WHERE name = 'models'),"
        " (SELECT count FROM totals WHERE name = 'jobs'),"
        " (SELECT created FROM jobs WHERE state = 0 ORDER BY n LIMIT 1)",
        "");
    bool ok = q && store_step(s, q, err) == 1;
    if (ok)
        *out = (struct store_counts){
            .queued = sqlite3_column_int64(q, 0),
            .running = sqlite3_column_int64(q, 1),
            .models = sqlite3_column_int64(q, 2),
            .jobs = sqlite3_column_int64(q, 3),
            .oldest_queued = sqlite3_column_int64(q, 4),
        };
    store_done(q);
    return ok;
}
