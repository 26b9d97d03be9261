/* The child's side of a worker, and what its end means to the worker. */
#ifndef BPU_SERVER_WORKER_CHILD_H
#define BPU_SERVER_WORKER_CHILD_H

#include <sys/resource.h>
#include <sys/types.h>

#include "server/sandbox.h"
#include "server/worker.h"

struct worker_child {
    const struct sandbox *sandbox;
    struct sandbox_limits limits;
    struct sandbox_note *note; /* shared with the worker */
    worker_job_fn *job;
    struct job_request request;
    pid_t worker;
    int model_fd; /* open for reading */
    size_t model_size;
    int file_fds[JOB_MAX_FILES]; /* of request.files, whose sizes are set */
    int pipe_fd; /* to write to */
    int null_fd;
};

/* In the child, right after fork: enters the sandbox, runs the job, sends the result, exits. */
void worker_child_run(const struct worker_child *c) __attribute__((noreturn));

/* How a child that sent no complete result came to its end. */
struct worker_death {
    int status; /* of wait4() */
    struct rusage usage;
    const struct sandbox_note *note;
    const struct worker_options *options;
    const char *stage; /* last one heard of, may be "" */
    bool time_up;      /* the worker killed it for its time */
};

/* Fills *err.  True if the fault may lie outside the job, so that another attempt makes sense. */
bool worker_death_explain(const struct worker_death *d, struct bpu_error *err);

#endif
