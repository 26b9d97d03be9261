/* worker: claims jobs, runs each in a sandboxed child, and stores what comes back.
 *
 * The worker is single-threaded and trusted: it has the store.  The child has one model and one
 * pipe.  A worker may be killed at any moment: its lease runs out and another one runs the job. */
#ifndef BPU_SERVER_WORKER_H
#define BPU_SERVER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/job/job.h"

/* Has the signature of job_run(). */
typedef bool worker_job_fn(const struct job_request *request, const void *data, size_t size,
                           job_progress_fn *progress, void *progress_ctx, struct job_result *out,
                           struct bpu_error *err);

/* 0 or NULL means the default in brackets. */
struct worker_options {
    const char *data_dir;     /* of the store; must be given */
    const char *name;         /* unique among living workers [host-pid-random] */
    const char *tool_version; /* recorded with results, decides the cache; must be given */
    int64_t job_memory;       /* bytes a job may add to the template and the model [2 GiB] */
    int64_t job_output;       /* bytes of all artifacts together [256 MiB] */
    int job_seconds;          /* on the wall [600] */
    int job_cpu_seconds;      /* of the processor [job_seconds] */
    int lease_seconds;        /* a silent worker loses its job after this [30] */
    int max_attempts;         /* a job that workers die of is given up after this [3] */
    int retry_ms;             /* before the second attempt; doubles with each [1000] */
    int64_t stop_after;       /* exit after so many jobs [0 = never] */
    bool stop_when_idle;      /* exit when the queue is empty */
    bool namespaces;          /* children leave the user, network, IPC and mount namespaces too;
                               * costs milliseconds a job and the filter forbids it all anyway */
    worker_job_fn *job;       /* [job_run] */
    void (*warm_up)(void);    /* [job_warm_up] */
    void (*warm_up_floats)(void); /* before the first job that computes in float [job_warm_up_floats] */
};

/* Runs until SIGTERM or SIGINT (then the job at hand gets two seconds to finish, or is given back).
 * Returns the exit code of the process: 0, or another after a message on standard error.  Must be
 * called in a process
 * of its own with one thread: it blocks signals and forks. */
int worker_main(const struct worker_options *options);

#endif
