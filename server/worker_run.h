/* What the worker's loop (worker.c) and the run of one job (worker_run.c) share. */
#ifndef BPU_SERVER_WORKER_RUN_H
#define BPU_SERVER_WORKER_RUN_H

#include "server/sandbox.h"
#include "server/store.h"
#include "server/wake.h"
#include "server/worker.h"

#define WORKER_LOOK_MS 1000 /* how often an idle worker looks without a wake-up */

struct worker {
    struct worker_options o; /* with the defaults filled in */
    char name[128];
    struct store *store;
    struct wake *wake;
    struct sandbox *sandbox;
    struct sandbox_note *note;
    int signal_fd, null_fd;
    int dying; /* children killed and not yet collected */
    bool stopping;
    int64_t stop_at, next_sweep;
};

/* Milliseconds on a clock that only goes forward. */
int64_t worker_now(void);
/* One line on standard error. */
void worker_complain(const struct worker *w, const char *about, const struct bpu_error *err);
/* Sleeps until something happens or until a time; true if a wake-up named this job or everything.
 */
bool worker_wait(struct worker *w, int pipe_fd, const char *job_id, int64_t until);
/* Collects dead children, and waits for some if more than `most` are dying. */
void worker_collect(struct worker *w, int most);
/* Runs a job that this worker has claimed, to its end. */
void worker_run(struct worker *w, const struct store_job *job, struct arena *a);

#endif
