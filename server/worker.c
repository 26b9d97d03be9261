/* The worker: set-up, and the loop that claims jobs; worker_run.c does one.
 *
 * The store is opened after the template is warm and the sandbox has been tried, so that a machine
 * where jobs cannot run claims none. */
#define _GNU_SOURCE
#include "server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/log.h"
#include "server/worker_child.h"
#include "server/worker_run.h"
#include "server/worker_wire.h"

#define STOP_GRACE_MS 2000 /* for the job at hand after SIGTERM */
#define SWEEP_MS 600000
#define SWEEP_AGE_MS 3600000
#define ARENA_QUOTA ((size_t)16 << 20)

int64_t worker_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void worker_complain(const struct worker *w, const char *about, const struct bpu_error *err)
{
    struct log_line l;
    log_begin(&l, "warning", "worker", "worker %s: %s: %s%s%s", w->name, about, err->message,
              *err->where ? " at " : "", err->where);
    log_text(&l, "worker", w->name);
    log_text(&l, "about", about); /* a job's id, mostly */
    log_text(&l, "code", error_code_name(err->code));
    log_end(&l);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void signals_read(struct worker *w)
{
    struct signalfd_siginfo info;
    while (read(w->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (!w->stopping) {
            w->stopping = true;
            w->stop_at = worker_now() + STOP_GRACE_MS;
        }
}

/* Sleeps until something happens; true if a wake-up named this job or everything. */
bool worker_wait(struct worker *w, int pipe_fd, const char *job_id, int64_t until)
{
    char id[WAKE_ID_SIZE];
    bool named = false;
    struct pollfd fds[] = {{.fd = w->signal_fd, .events = POLLIN},
                           {.fd = wake_fd(w->wake), .events = POLLIN},
                           {.fd = pipe_fd, .events = POLLIN}};
    int64_t left = until - worker_now();
    if (poll(fds, 3, left < 0 ? 0 : left > 60000 ? 60000 : (int)left) <= 0)
        return false;
    if (fds[0].revents)
        signals_read(w);
    if (fds[1].revents)
        while (wake_read(w->wake, id))
            named |= !*id || strcmp(id, job_id) == 0;
    return named;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* True if there was something to do. */
static bool claim_and_do(struct worker *w, bool *was_job)
{
    struct bpu_error err = {0};
    struct store_job job;
    struct arena a;
    arena_init(&a, ARENA_QUOTA);
    bool found = store_job_claim(w->store, w->name, (int64_t)w->o.lease_seconds * 1000,
                                 w->o.max_attempts, &a, &job, &err);
    *was_job = found && job.state == JOB_RUNNING;
    if (*was_job)
        worker_run(w, &job, &a);
    else if (found)
        wake_server(w->wake, job.id); /* given up or cancelled by the claim */
    else if (err.code != BPU_NONE)
        worker_complain(w, "claiming", &err);
    if (store_others(w->store) > 0) { /* which waited for the same work */
        wake_server(w->wake, "");
        wake_workers(w->wake, "");
    }
    arena_fini(&a);
    return found;
}

static void loop(struct worker *w)
{
    bool was_job;
    for (int64_t done = 0; !w->stopping && (w->o.stop_after == 0 || done < w->o.stop_after);) {
        signals_read(w);
        if (w->stopping)
            break;
        if (claim_and_do(w, &was_job)) {
            done += was_job;
            continue;
        }
        if (w->o.stop_when_idle)
            break;
        if (worker_now() >= w->next_sweep) {
            struct bpu_error err = {0};
            w->next_sweep = worker_now() + SWEEP_MS;
            if (!store_sweep(w->store, SWEEP_AGE_MS, &err))
                worker_complain(w, "sweeping", &err);
        }
        worker_collect(w, 0);
        worker_wait(w, -1, "", worker_now() + WORKER_LOOK_MS);
    }
    worker_collect(w, 0);
}

static bool probe_job(const struct job_request *request, const void *data, size_t size,
                      job_progress_fn *progress, void *progress_ctx, struct job_result *out,
                      struct bpu_error *err)
{
    (void)request, (void)data, (void)size, (void)err;
    progress(progress_ctx, "probe", 0);
    out->artifact_count = 0;
    return true;
}

/* Enters the sandbox once, so that a machine where that fails is named at the start and not by
 * every job. */
static bool sandbox_probe(struct worker *w, struct bpu_error *err)
{
    int pipes[2];
    struct wire wire;
    struct worker_child c = {.sandbox = w->sandbox,
                             .limits = {.memory = w->o.job_memory, .cpu_seconds = 10},
                             .note = w->note,
                             .job = probe_job,
                             .worker = getpid(),
                             .model_fd = -1,
                             .null_fd = w->null_fd};
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return error_set(err, BPU_SERVER, NULL, "no pipe: %s", strerror(errno));
    c.pipe_fd = pipes[1];
    pid_t pid = fork();
    if (pid == 0)
        worker_child_run(&c);
    close(pipes[1]);
    wire_init(&wire, 1);
    if (pid < 0 || wire_receive(&wire, pipes[0], err) == WIRE_BROKEN || !wire.ended)
        error_set(err, BPU_SERVER, NULL, "a process in the sandbox does not work on this machine");
    else if (wire.error.code != BPU_NONE)
        *err = wire.error;
    if (err->code != BPU_NONE)
        error_hint(err, "The kernel needs seccomp filters (CONFIG_SECCOMP_FILTER).");
    wire_fini(&wire);
    close(pipes[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return err->code == BPU_NONE;
}

static void defaults_fill(struct worker *w, const struct worker_options *o)
{
    char host[64] = "";
    unsigned tag = 0;
    w->o = *o;
    if (w->o.job_memory <= 0)
        w->o.job_memory = INT64_C(2) << 30;
    if (w->o.job_output <= 0)
        w->o.job_output = INT64_C(256) << 20;
    if (w->o.job_seconds <= 0)
        w->o.job_seconds = 600;
    if (w->o.job_cpu_seconds <= 0)
        w->o.job_cpu_seconds = w->o.job_seconds;
    if (w->o.lease_seconds <= 0)
        w->o.lease_seconds = 30;
    if (w->o.max_attempts <= 0)
        w->o.max_attempts = 3;
    if (w->o.retry_ms <= 0)
        w->o.retry_ms = 1000;
    if (!w->o.job)
        w->o.job = job_run;
    if (!w->o.warm_up)
        w->o.warm_up = job_warm_up;
    if (!w->o.warm_up_floats)
        w->o.warm_up_floats = job_warm_up_floats;
    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        snprintf(host, sizeof host, "worker");
    if (getrandom(&tag, sizeof tag, 0) != (ssize_t)sizeof tag)
        tag = (unsigned)worker_now();
    if (o->name)
        snprintf(w->name, sizeof w->name, "%s", o->name);
    else
        snprintf(w->name, sizeof w->name, "%s-%ld-%08x", host, (long)getpid(), tag);
}

static bool set_up(struct worker *w, struct bpu_error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    signal(SIGCHLD, SIG_DFL); /* ignored, it would keep us from learning how a child ended */
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0 ||
        (w->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)) < 0 ||
        (w->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
        return error_set(err, BPU_SERVER, NULL, "the worker cannot start: %s", strerror(errno));
    w->note =
        mmap(NULL, sizeof *w->note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w->note == MAP_FAILED) {
        w->note = NULL;
        return error_set(err, BPU_NO_MEMORY, NULL, "the worker cannot start: %s", strerror(errno));
    }
    if (setenv("TZ", SANDBOX_TZ, 1) != 0)
        return error_set(err, BPU_NO_MEMORY, NULL, "the worker cannot start: %s", strerror(errno));
    tzset();
    w->o.warm_up();
    if (!(w->sandbox = sandbox_new(err)) || !sandbox_probe(w, err))
        return false;
    w->store = store_open(w->o.data_dir, err);
    if (!w->store)
        return false;
    store_set_tool_version(w->store, w->o.tool_version);
    w->wake = wake_open(w->o.data_dir, WAKE_WORKER, err);
    return w->wake != NULL;
}

int worker_main(const struct worker_options *options)
{
    prctl(PR_SET_NAME, "bpuhub-worker"); /* started as /proc/self/exe, it would be called "exe" */
    struct bpu_error err = {0};
    struct worker w = {.signal_fd = -1, .null_fd = -1};
    defaults_fill(&w, options);
    bool ok = set_up(&w, &err);
    if (ok)
        loop(&w);
    else
        worker_complain(&w, "start", &err);
    wake_close(w.wake);
    store_close(w.store);
    sandbox_free(w.sandbox);
    if (w.note)
        munmap(w.note, sizeof *w.note);
    if (w.signal_fd >= 0)
        close(w.signal_fd);
    if (w.null_fd >= 0)
        close(w.null_fd);
    return ok ? 0 : error_exit_code(err.code);
}
