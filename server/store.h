/* store: models, data files, jobs and artifacts, behind one interface.
 *
 * All SQL of BPU Hub lives behind this header and its siblings (store_access.h, store_care.h, store_hook.h).
 * SQLite (store_*.c) is the first backend; tests/conformance knows nothing of it and is what every backend must pass.
 *
 * Data directory:  hub.db (WAL)   models/ab/abcdef…   data/…   artifacts/…   tmp/
 * Models, data files and artifacts are named by the SHA-256 of their content.
 * A file is written under tmp/, fsynced, renamed into place, its folder fsynced, and only then the
 * row that names it is committed (synchronous=FULL): acknowledged means durable.
 *
 * A handle belongs to one thread.  Texts handed out live in the caller's struct (fixed fields) or
 * in the arena that the caller passes.  Times are milliseconds since 1970 (UTC). */
#ifndef BPU_SERVER_STORE_H
#define BPU_SERVER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/base/error.h"

struct store;

/* A model, or a data file: "npz", "npy", "idx", with {"arrays"} as info. */
struct store_model {
    char id[65]; /* SHA-256 in hex */
    char name[256];
    char format[24]; /* "onnx", "torchscript", "pt2", "graph-json", "bpug" */
    int64_t bytes;
    int64_t created;
    const char
        *info; /* JSON {"inputs","outputs","nodes","parameters"} or NULL before a first job */
};

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED };

struct store_job {
    char id[40]; /* sortable by time: 13 characters of lower-case base 32 */
    char model[65], kind[16], march[24];
    enum job_state state;
    char stage[24];
    double progress;  /* 0..1 */
    char verdict[16]; /* "" = none */
    char project[128];
    int attempts;
    int priority; /* -10..10, the higher the earlier */
    int64_t created, started, finished; /* 0 = not yet */
    int64_t lease_until;
    bool cancel_requested;
    const char *options;  /* canonical JSON object (sorted keys), never NULL */
    const char *labels;   /* JSON object, never NULL */
    const char *error;    /* problem document as JSON, or NULL */
    char model_name[256]; /* joined from the model, for lists */
};

struct store_artifact {
    char name[64], type[64], sha256[65];
    int64_t bytes;
};

struct store_job_filter {
    /* NULL = any */
    const char *state, *kind, *march, *model, *project, *verdict;
    /* Any part of the model's file name or of the project, in any case, or the first four or more
     * characters of a job id. */
    const char *q;
    const char *label_key, *label_value;
    const char *cursor; /* of the page before, or NULL */
    int limit;          /* 1..200 */
    /* Leaves out jobs of private projects other than this one ("" = of all); NULL: shows all. */
    const char *visible_to;
};

/* Opens (creates, migrates) the store under dir. */
struct store *store_open(const char *dir, struct bpu_error *err) BPU_CHECKED;
void store_close(struct store *s);
/* Several writes in one durable transaction. */
bool store_begin(struct store *s, struct bpu_error *err) BPU_CHECKED;
bool store_commit(struct store *s, struct bpu_error *err) BPU_CHECKED;
void store_rollback(struct store *s);

/* The model's row; *existed tells whether the content was there already (then its first name
 * stays). */
bool store_model_add(struct store *s, const struct store_model *m, bool *existed,
                     struct bpu_error *err) BPU_CHECKED;
bool store_model_set_info(struct store *s, const char *id, const char *info,
                          struct bpu_error *err) BPU_CHECKED;
/* BPU_NOT_FOUND if there is none. */
bool store_model_get(struct store *s, const char *id, struct arena *a, struct store_model *out,
                     struct bpu_error *err) BPU_CHECKED;
bool store_model_list(struct store *s, const char *cursor, int limit, struct arena *a,
                      struct store_model **items, size_t *count, char next[64],
                      struct bpu_error *err) BPU_CHECKED;

/* The same for data files, which are no models and in no list of them.  Nothing removes one: any job
 * may refer to it by an option. */
bool store_data_add(struct store *s, const struct store_model *m, bool *existed,
                    struct bpu_error *err) BPU_CHECKED;
bool store_data_set_info(struct store *s, const char *id, const char *info,
                         struct bpu_error *err) BPU_CHECKED;
bool store_data_get(struct store *s, const char *id, struct arena *a, struct store_model *out,
                    struct bpu_error *err) BPU_CHECKED;
bool store_data_list(struct store *s, const char *cursor, int limit, struct arena *a,
                     struct store_model **items, size_t *count, char next[64],
                     struct bpu_error *err) BPU_CHECKED;

/* Queues a job: j->model, kind, march, options, labels, project are read; the rest is filled in.
 * options and labels are JSON objects or NULL; options are stored with sorted keys, label values
 * must be strings. BPU_NOT_FOUND: no such model; BPU_NO_DATA: an option names a data file that is not
 * there (job_option_file()). An identical (model, kind, march, options, tool
 * version) that has succeeded is answered from the cache: the new job is born succeeded and shares
 * the artifacts; one that is queued or running is waited for, and its end is the new job's.  Projects of one
 * priority are served in turns.  idempotency_key may be NULL; with one that is known, *j becomes the earlier job,
 * or BPU_CONFLICT if that one asked for other work. */
bool store_job_add(struct store *s, struct store_job *j, const char *tool_version,
                   const char *idempotency_key, struct arena *a, struct bpu_error *err) BPU_CHECKED;
bool store_job_get(struct store *s, const char *id, struct arena *a, struct store_job *out,
                   struct bpu_error *err) BPU_CHECKED;
bool store_job_list(struct store *s, const struct store_job_filter *f, struct arena *a,
                    struct store_job **items, size_t *count, char next[64],
                    struct bpu_error *err) BPU_CHECKED;
/* Queued: cancelled at once.  Running: its worker is asked to stop (wake_workers() hurries it).
 * Ended: BPU_CONFLICT. */
bool store_job_cancel(struct store *s, const char *id, struct bpu_error *err) BPU_CHECKED;
/* Queues a failed or cancelled job again, as if new; BPU_CONFLICT in any other state. */
bool store_job_retry(struct store *s, const char *id, struct bpu_error *err) BPU_CHECKED;
/* Forgets a job; BPU_CONFLICT while it runs.  Its files go with a later store_sweep(). */
bool store_job_delete(struct store *s, const char *id, struct bpu_error *err) BPU_CHECKED;

/* Other jobs that this handle's calls have ended or made ready since the last question, because they wait for the
 * same work: if there are any, somebody has to be told. */
int store_others(struct store *s);

/* Claims the next queued job (by priority, then by turn), or a running one whose lease has run out, for `worker` until
 * now + lease_ms. Returns false with err->code BPU_NONE when there is nothing to do.  A job that
 * has used up `max_attempts` becomes failed instead, and one that was to be cancelled becomes
 * cancelled: it is returned with that state, so that the caller can tell who waits for it, and
 * claim again. Only *out with state JOB_RUNNING is work. */
bool store_job_claim(struct store *s, const char *worker, int64_t lease_ms, int max_attempts,
                     struct arena *a, struct store_job *out, struct bpu_error *err) BPU_CHECKED;
/* Renews the lease and publishes stage and progress.  *lost: somebody else has the job now;
 * *cancel: the user wants it stopped. */
bool store_job_heartbeat(struct store *s, const char *id, const char *worker, int64_t lease_ms,
                         const char *stage, double progress, bool *lost, bool *cancel,
                         struct bpu_error *err) BPU_CHECKED;
/* Gives back a job that `worker` holds, to be claimed again in delay_ms.  counts: whether this attempt
 * counts against the bound; problem: what went wrong, or NULL.  A job that was to be cancelled
 * becomes cancelled. BPU_CONFLICT if the job is not the worker's any more. */
bool store_job_requeue(struct store *s, const char *id, const char *worker, bool counts,
                       int64_t delay_ms, const char *problem, struct bpu_error *err) BPU_CHECKED;
/* The workers whose names begin so are dead: what they had can be claimed in delay_ms, or when its lease runs out
 * if that is earlier.  One that lives renews its lease.  *count: how many jobs. */
bool store_leases_release(struct store *s, const char *worker_prefix, int64_t delay_ms, int *count,
                          struct bpu_error *err) BPU_CHECKED;
/* Jobs that this handle claims from now on are recorded as made by this version of the program,
 * whatever version queued them, so that the cache answers with results of the right version. */
void store_set_tool_version(struct store *s, const char *tool_version);
/* Ends a job that `worker` holds; the artifacts must have been written with store_artifact_write().
 * BPU_CONFLICT if the job is not the worker's any more: somebody else has it, drop the result.
 * problem is the JSON of the problem document when state is JOB_FAILED. */
bool store_job_finish(struct store *s, const char *id, const char *worker, enum job_state state,
                      const char *verdict, const char *problem,
                      const struct store_artifact *artifacts, size_t count,
                      struct bpu_error *err) BPU_CHECKED;

bool store_artifact_list(struct store *s, const char *job, struct arena *a,
                         struct store_artifact **items, size_t *count,
                         struct bpu_error *err) BPU_CHECKED;
/* Path of a model's, a data file's or an artifact's file; artifacts are stored by content. */
void store_model_path(const struct store *s, const char *id, char *out, size_t n);
void store_data_path(const struct store *s, const char *id, char *out, size_t n);
void store_artifact_path(const struct store *s, const char *sha256, char *out, size_t n);
/* Writes a file durably into the content store; fills a->sha256 and a->bytes. */
bool store_artifact_write(struct store *s, const void *data, size_t size, struct store_artifact *a,
                          struct bpu_error *err) BPU_CHECKED;

/* Removes files that only deleted jobs used, and temporary files left by killed processes, once
 * they are older than min_age_ms (give an hour: somebody may be about to use the same content). */
bool store_sweep(struct store *s, int64_t min_age_ms, struct bpu_error *err) BPU_CHECKED;

struct store_counts {
    int64_t queued, running, models, jobs;
    int64_t oldest_queued; /* its creation time, 0 if none */
};
bool store_counts(struct store *s, struct store_counts *out, struct bpu_error *err) BPU_CHECKED;

/* Counters of /metrics that all processes share; labels as Prometheus writes them, without braces. */
struct store_counter {
    const char *name, *labels;
    double value;
};
bool store_count(struct store *s, const char *name, const char *labels, double add,
                 struct bpu_error *err) BPU_CHECKED;
/* Sorted by name. */
bool store_counters(struct store *s, struct arena *a, struct store_counter **items, size_t *count,
                    struct bpu_error *err) BPU_CHECKED;

/* The time of this machine, as all times here. */
int64_t store_now(void);
const char *job_state_name(enum job_state st);
bool job_state_find(const char *name, enum job_state *out);

#endif
