/* One job in its sandbox, and the post-mortem when it did not come back.
 *
 * The model and the job's other files are mapped before the descriptors are closed; from then on the child has its memory and
 * the pipe.  It leaves through _exit(): nothing of the worker's (exit handlers, stdio buffers, the
 * database) may run in it. */
#define _GNU_SOURCE
#include "server/worker_child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/worker_wire.h"

#define PROGRESS_INTERVAL_MS 20

struct progress {
    int fd;
    char stage[24];
    int64_t sent; /* when, in ms */
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A new stage is always sent, progress within one at most fifty times a second. */
static void on_progress(void *ctx, const char *stage, double done)
{
    struct progress *p = ctx;
    int64_t now = now_ms();
    if (strncmp(stage, p->stage, sizeof p->stage - 1) == 0 && now - p->sent < PROGRESS_INTERVAL_MS)
        return;
    snprintf(p->stage, sizeof p->stage, "%s", stage);
    p->sent = now;
    if (!wire_send_progress(p->fd, stage, done))
        _exit(2); /* the worker is gone, nobody wants the result */
}

static bool map(int fd, size_t size, const char *what, const void **data, struct bpu_error *err)
{
    *data = "";
    if (size == 0)
        return true;
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return error_set(err, BPU_IO, NULL, "the %s cannot be mapped: %s", what, strerror(errno));
    *data = p;
    return true;
}

static bool map_all(const struct worker_child *c, struct job_request *q, const void **data,
                    struct bpu_error *err)
{
    bool ok = map(c->model_fd, c->model_size, "model", data, err);
    for (size_t i = 0; ok && i < q->file_count; i++)
        ok = map(c->file_fds[i], q->files[i].size, q->files[i].option, &q->files[i].data, err);
    return ok;
}

void worker_child_run(const struct worker_child *c)
{
    struct bpu_error err = {0};
    struct job_result result = {0};
    struct progress progress = {.fd = c->pipe_fd};
    struct job_request request = c->request;
    const void *data;
    bool ok = map_all(c, &request, &data, &err) &&
              sandbox_detach(c->worker, c->null_fd, &progress.fd, &err) &&
              sandbox_enter(c->sandbox, &c->limits, c->note, &err) &&
              c->job(&request, data, c->model_size, on_progress, &progress, &result, &err);
    if (!ok && err.code == BPU_NONE)
        error_set(&err, BPU_SERVER, NULL, "the job failed without saying why");
    bool sent = ok ? wire_send_result(progress.fd, &result) : wire_send_error(progress.fd, &err);
    _exit(sent ? 0 : 2);
}

/* ---- post-mortem ----------------------------------------------------------------------------- */

static bool explain_violation(const struct worker_death *d, const char *stage,
                              struct bpu_error *err)
{
    char call[64] = "a system call";
    if (d->note->syscall >= 0)
        sandbox_syscall_name(d->note->syscall, call, sizeof call);
    error_set(err, BPU_SANDBOX, NULL,
              "the job was stopped at stage %s because it called %s, "
              "which its sandbox forbids",
              stage, call);
    error_hint(err, "A model that makes the importer do this is suspect: do not trust its source. "
                    "If you do, please report it as a defect.");
    return false;
}

static bool explain_memory(const struct worker_death *d, const char *stage, struct bpu_error *err)
{
    error_set(err, BPU_NO_MEMORY, NULL, "the job ran out of its %lld MiB of memory at stage %s",
              (long long)(d->options->job_memory >> 20), stage);
    error_hint(err, "Check a smaller model, or raise the memory limit of jobs.");
    return false;
}

static bool explain_time(const struct worker_death *d, const char *stage, bool processor,
                         struct bpu_error *err)
{
    error_set(err, BPU_TIMEOUT, NULL, "the job took more than %d s%s; it was at stage %s",
              processor ? d->options->job_cpu_seconds : d->options->job_seconds,
              processor ? " of processor time" : "", stage);
    error_hint(err, "Check a smaller model, or raise the time limit of jobs.");
    return false;
}

bool worker_death_explain(const struct worker_death *d, struct bpu_error *err)
{
    const char *stage = *d->stage ? d->stage : "start";
    int sig = WIFSIGNALED(d->status) ? WTERMSIG(d->status) : 0;
    bool memory = d->note->memory_short || (sig != SIGKILL && d->usage.ru_maxrss * INT64_C(1024) >
                                                                  d->options->job_memory / 5 * 4);
    if (d->time_up)
        return explain_time(d, stage, false, err);
    if (sig == SIGXCPU)
        return explain_time(d, stage, true, err);
    if (sig == SIGSYS && !d->note->aborted && d->note->syscall >= 0)
        return explain_violation(d, stage, err);
    if (sig == SIGKILL) {
        error_set(err, BPU_CRASH, NULL, "the job's process was killed from outside at stage %s",
                  stage);
        error_hint(err, "The system may have run out of memory: see the kernel's log, run fewer "
                        "workers, or lower the memory limit of jobs.");
        return true;
    }
    if (memory)
        return explain_memory(d, stage, err);
    if (d->note->stack_overflow)
        error_set(err, BPU_CRASH, NULL,
                  "the job's process ran out of stack at stage %s; the "
                  "model is nested too deeply",
                  stage);
    else if (sig == SIGSYS)
        error_set(err, BPU_CRASH, NULL, "the job's process gave up (abort) at stage %s", stage);
    else if (sig)
        error_set(err, BPU_CRASH, NULL, "the job's process died of signal %d (%s) at stage %s", sig,
                  strsignal(sig), stage);
    else
        error_set(err, BPU_CRASH, NULL,
                  "the job's process ended at stage %s with status %d and without a result", stage,
                  WEXITSTATUS(d->status));
    error_hint(err, "This is a defect of BPU Hub; please report it together with the model.");
    return false;
}
