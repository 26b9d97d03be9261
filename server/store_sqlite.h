/* What the files of the SQLite backend share; nobody else includes this.
 *
 * Every public call is one operation: a transaction of its own, or a savepoint when the caller has
 * opened a transaction with store_begin().  So an operation that fails leaves nothing behind even
 * in the middle of a batch. */
#ifndef BPU_SERVER_STORE_SQLITE_H
#define BPU_SERVER_STORE_SQLITE_H

#include <sqlite3.h>

#include "server/store.h"

/* Filters that a list query may have; each combination is one prepared statement. */
enum store_list_bit {
    LIST_STATE = 1,
    LIST_KIND = 2,
    LIST_MARCH = 4,
    LIST_VERDICT = 8,
    LIST_MODEL = 16,
    LIST_PROJECT = 32,
    LIST_LABEL = 64,
    LIST_TEXT = 128,   /* q of three characters or more: trigram index */
    LIST_SCAN = 256,   /* shorter q: scan of job_text */
    LIST_PREFIX = 512, /* q is the beginning of a job id */
    LIST_MOST = 1024,  /* the state is succeeded, which most jobs are */
    LIST_VISIBLE = 2048, /* without the private projects of others */
    LIST_MASKS = 4096,
};

#define STORE_STATEMENTS 128

struct store {
    sqlite3 *db;
    char *dir;
    char *tool;                        /* store_set_tool_version(), or NULL */
    bool in_tx;                        /* store_begin() is open */
    bool lazy;                         /* synchronous=NORMAL is set */
    int others;                        /* store_others() */
    int64_t busy_since;                /* when it began to wait for the write lock */
    const char *sql[STORE_STATEMENTS]; /* keyed by the address of the literal */
    sqlite3_stmt *stmt[STORE_STATEMENTS];
    sqlite3_stmt *list[LIST_MASKS];
};

/* Applies the migrations that the database does not have yet (store_migrate.c). */
bool store_migrate(struct store *s, struct bpu_error *err) BPU_CHECKED;

/* Sets *err from the last SQLite error; returns false. */
bool store_fail(struct store *s, const char *doing, struct bpu_error *err);

/* An operation that writes.  store_op_end() commits it if ok, else undoes it; returns ok and
 * committed.  Lazily: durable no later than the next durable operation, enough for what a crash may
 * forget (claims and heartbeats). */
bool store_op_begin(struct store *s, struct bpu_error *err) BPU_CHECKED;
bool store_op_begin_lazily(struct store *s, struct bpu_error *err) BPU_CHECKED;
bool store_op_end(struct store *s, bool ok, struct bpu_error *err) BPU_CHECKED;

/* The cached statement of a literal with its parameters bound, in order: i int64_t, d double,
 * t const char * (NULL allowed; must stay valid until store_done).  NULL with *err set. */
sqlite3_stmt *store_query(struct store *s, struct bpu_error *err, const char *sql,
                          const char *types, ...) BPU_CHECKED;
/* 1 a row, 0 no more rows, -1 failed with *err set. */
int store_step(struct store *s, sqlite3_stmt *q, struct bpu_error *err);
/* Gives the statement back; NULL is fine. */
void store_done(sqlite3_stmt *q);
/* Runs a statement that returns no rows. */
bool store_run(struct store *s, struct bpu_error *err, const char *sql, const char *types,
               ...) BPU_CHECKED;

/* Columns into fixed fields and into the arena. */
void store_column(sqlite3_stmt *q, int column, char *out, size_t n);
bool store_column_dup(sqlite3_stmt *q, int column, struct arena *a, const char **out,
                      struct bpu_error *err) BPU_CHECKED;

/* Job ids: n in base 32 (store_job.c).  False for anything that is not an id. */
void store_id_write(int64_t n, char out[40]);
bool store_id_read(const char *id, int64_t *n);
/* The ids that begin with a prefix; false if no id can. */
bool store_id_range(const char *prefix, int64_t *low, int64_t *high);

/* Columns of a job, in the order that store_job_read() expects; j and m are the tables. */
#define STORE_JOB_COLUMNS                                                                          \
    "j.n, j.state, j.kind, j.march, j.verdict, j.project, j.stage, j.progress, j.attempts, "       \
    "j.created, j.started, j.finished, j.lease_until, j.cancel, j.options, j.labels, j.error, "    \
    "m.id, m.name, j.priority"
bool store_job_read(sqlite3_stmt *q, struct arena *a, struct store_job *out,
                    struct bpu_error *err) BPU_CHECKED;
/* The job by number. */
bool store_job_load(struct store *s, int64_t n, struct arena *a, struct store_job *out,
                    struct bpu_error *err) BPU_CHECKED;
/* Parses id, or BPU_NOT_FOUND. */
bool store_job_number(const char *id, int64_t *n, struct bpu_error *err) BPU_CHECKED;
bool store_job_missing(const char *id, struct bpu_error *err);

/* Identical work (store_follow.c).  The job in flight that a new one would repeat, 0 if none. */
bool store_follow_find(struct store *s, const char *hash, const char *tool, int64_t *leader,
                       struct bpu_error *err) BPU_CHECKED;
/* Lets job n, just inserted as queued, wait for it. */
bool store_follow(struct store *s, int64_t n, int64_t leader, int64_t priority,
                  struct bpu_error *err) BPU_CHECKED;
/* What the end of a job means for those that wait for it; JOB_CANCELLED also when it is deleted. */
bool store_follow_end(struct store *s, int64_t leader, enum job_state state,
                      struct bpu_error *err) BPU_CHECKED;

#endif
