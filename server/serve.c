/* Design: the main thread opens the listening socket and the data directory, starts the lanes and
 * the HTTP thread, says where it listens, and then only looks after signals and worker processes.
 * A worker that dies is started again, after a pause that doubles while it dies young.  SIGTERM and
 * SIGINT drain: no new connections, requests end, workers are told to stop, and the exit code is 0.
 */
#define _GNU_SOURCE
#include "server/serve.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/api.h"
#include "server/check_config.h"
#include "server/files.h"
#include "server/http_replay.h"
#include "server/http_upload.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/store_care.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 30000
#define YOUNG_MS 10000
#define WORKER_GRACE_MS 15000
#define RETENTION_FIRST_MS 5000
#define RETENTION_MS 600000
#define WORKER_PREFIX "serve-" /* of the names of workers that a daemon started */
#define ORPHAN_GRACE_MS 2500   /* for workers of a killed daemon, which end by themselves */

struct worker_process {
    pid_t pid; /* 0: not running */
    uint64_t started_us, start_at_us;
    int backoff_ms;
    char name[64]; /* its leases are released when it dies */
};

/* A line of the log; pid 0: about nobody. */
static void say(const char *level, const char *event, pid_t pid, const char *fmt, ...)
    BPU_PRINTF(4, 5);
static void say(const char *level, const char *event, pid_t pid, const char *fmt, ...)
{
    char message[512];
    struct log_line l;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    log_begin(&l, level, event, "%s", message);
    if (pid)
        log_int(&l, "pid", pid);
    log_end(&l);
}

/* ---- worker processes --------------------------------------------------------------------------
 */

static void worker_start(struct http_server *h, struct worker_process *w)
{
    const struct config *c = &h->config;
    char memory[32], seconds[32], program[] = "bpuhub", sub[] = "worker", data_flag[] = "--data",
                                  memory_flag[] = "--job-memory", seconds_flag[] = "--job-seconds",
                                  attempts_flag[] = "--job-attempts", name_flag[] = "--name",
                                  attempts[32];
    unsigned tag = 0;
    if (getrandom(&tag, sizeof tag, 0) != (ssize_t)sizeof tag)
        tag = (unsigned)clock_us();
    snprintf(w->name, sizeof w->name, WORKER_PREFIX "%ld-%08x", (long)getpid(), tag);
    snprintf(attempts, sizeof attempts, "%lld", (long long)c->job_attempts);
    char data[sizeof c->data];
    strcpy(data, c->data);
    snprintf(memory, sizeof memory, "%lld", (long long)(c->job_memory >> 20));
    snprintf(seconds, sizeof seconds, "%lld", (long long)c->job_seconds);
    char *argv[] = {program, sub,     data_flag,     data,     memory_flag, memory, seconds_flag,
                    seconds, attempts_flag, attempts, name_flag,   w->name, NULL};
    pid_t parent = getpid();
    w->started_us = clock_us();
    pid_t pid = fork();
    if (pid == 0) {
        /* Other threads hold locks in this copy: only system calls until exec. */
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(5);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execv("/proc/self/exe", argv);
        _exit(5);
    }
    w->pid = pid > 0 ? pid : 0;
    atomic_fetch_add(&h->workers_alive, pid > 0);
    if (pid < 0) {
        say("error", "worker_not_started", 0, "a worker cannot be started: %s", strerror(errno));
        w->start_at_us = clock_us() + BACKOFF_MAX_MS * 1000u;
    }
}

/* ---- leases of the dead ------------------------------------------------------------------------ */

struct release {
    struct task task;
    struct http_server *server;
    int64_t delay_ms;
    int count;
    char prefix[64];
};

static bool release_run(struct task *t, struct store *s)
{
    struct release *r = (struct release *)((char *)t - offsetof(struct release, task));
    return store_leases_release(s, r->prefix, r->delay_ms, &r->count, &t->err);
}

static void release_after(struct task *t)
{
    struct release *r = (struct release *)((char *)t - offsetof(struct release, task));
    if (t->err.code == BPU_NONE && r->count > 0)
        wake_workers(r->server->wake, "");
    free(r);
}

/* Lets others have the jobs of workers that cannot go on; else the leases run out by themselves. */
static void leases_release(struct http_server *h, const char *prefix, int64_t delay_ms)
{
    struct release *r = calloc(1, sizeof *r);
    if (!r)
        return;
    *r = (struct release){
        .task = {.run = release_run, .after = release_after}, .server = h, .delay_ms = delay_ms};
    snprintf(r->prefix, sizeof r->prefix, "%s", prefix);
    tasks_post(h->tasks, LANE_WRITE, &r->task);
}

/* Notes which workers ended; each gets its time to start again. */
static void workers_reap(struct http_server *h, struct worker_process *list, int64_t count,
                         bool stopping)
{
    int status;
    for (int64_t i = 0; i < count; i++) {
        struct worker_process *w = &list[i];
        if (!w->pid || waitpid(w->pid, &status, WNOHANG) != w->pid)
            continue;
        bool young = clock_us() - w->started_us < YOUNG_MS * 1000u;
        w->backoff_ms = !young          ? BACKOFF_MIN_MS
                        : w->backoff_ms ? w->backoff_ms * 2
                                        : BACKOFF_MIN_MS;
        if (w->backoff_ms > BACKOFF_MAX_MS)
            w->backoff_ms = BACKOFF_MAX_MS;
        w->start_at_us = clock_us() + (uint64_t)w->backoff_ms * 1000u;
        if (!stopping) {
            if (WIFSIGNALED(status))
                say("warning", "worker_died", w->pid,
                    "worker %d was killed by signal %d, starting another in %d ms", (int)w->pid,
                    WTERMSIG(status), w->backoff_ms);
            else
                say("warning", "worker_died", w->pid,
                    "worker %d exited with %d, starting another in %d ms", (int)w->pid,
                    WEXITSTATUS(status), w->backoff_ms);
        }
        w->pid = 0;
        atomic_fetch_sub(&h->workers_alive, 1);
        leases_release(h, w->name, 0);
    }
}

/* Starts those that are due; milliseconds until the next one is, -1 for never. */
static int workers_start(struct http_server *h, struct worker_process *list)
{
    int64_t count = h->config.workers;
    int next = -1;
    for (int64_t i = 0; i < count; i++) {
        struct worker_process *w = &list[i];
        if (w->pid)
            continue;
        uint64_t now = clock_us();
        if (w->start_at_us <= now) {
            worker_start(h, w);
            continue;
        }
        int ms = (int)((w->start_at_us - now) / 1000u) + 1;
        next = next < 0 || ms < next ? ms : next;
    }
    return next;
}

static void workers_stop(struct http_server *h, struct worker_process *list, int64_t count)
{
    bool left = false;
    for (int64_t i = 0; i < count; i++)
        if (list[i].pid)
            kill(list[i].pid, SIGTERM);
    for (int ms = 0; ms < WORKER_GRACE_MS; ms += 10) {
        workers_reap(h, list, count, true);
        left = false;
        for (int64_t i = 0; i < count; i++)
            left = left || list[i].pid;
        if (!left)
            return;
        usleep(10000);
    }
    for (int64_t i = 0; i < count; i++) {
        if (!list[i].pid)
            continue;
        say("warning", "worker_killed", list[i].pid, "worker %d does not stop, killing it",
            (int)list[i].pid);
        kill(list[i].pid, SIGKILL);
        waitpid(list[i].pid, NULL, 0);
    }
}

/* ---- the daemon --------------------------------------------------------------------------------
 */

/* ---- retention --------------------------------------------------------------------------------- */

struct retention {
    struct task task;
    struct http_server *server;
    struct prune_policy policy;
    struct prune_result result;
    char names[sizeof((struct config *)0)->pinned_projects];
    const char *pinned[CONFIG_PINNED_MAX + 1];
    atomic_bool busy;
};

static bool retention_run(struct task *t, struct store *s)
{
    struct retention *r = (struct retention *)((char *)t - offsetof(struct retention, task));
    return store_prune(s, &r->policy, &r->result, &t->err);
}

static void retention_after(struct task *t)
{
    struct retention *r = (struct retention *)((char *)t - offsetof(struct retention, task));
    if (t->err.code != BPU_NONE)
        say("warning", "retention_failed", 0, "old jobs cannot be forgotten: %s", t->err.message);
    else if (r->result.jobs || r->result.models)
        say("info", "retention", 0, "forgot %lld jobs and %lld models, %.1f MB",
            (long long)r->result.jobs, (long long)r->result.models, (double)r->result.bytes / 1e6);
    if (t->err.code == BPU_NONE && r->result.more)
        tasks_post(r->server->tasks, LANE_WRITE, t); /* others come between */
    else
        atomic_store(&r->busy, false);
}

static struct retention *retention_new(struct http_server *h)
{
    const struct config *c = &h->config;
    struct retention *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->server = h;
    r->task = (struct task){.run = retention_run, .after = retention_after};
    memcpy(r->names, c->pinned_projects, sizeof r->names);
    config_pinned(r->names, r->pinned);
    r->policy = (struct prune_policy){.max_age_ms = c->retention_days * 86400000,
                                      .max_bytes = c->retention_bytes,
                                      .pinned = r->pinned};
    return r;
}

/* Milliseconds until the next time, -1 for never. */
static int retention_look(struct retention *r, uint64_t *next_us)
{
    if (!r->policy.max_age_ms && !r->policy.max_bytes)
        return -1;
    uint64_t now = clock_us();
    if (now >= *next_us) {
        *next_us = now + RETENTION_MS * UINT64_C(1000);
        if (!atomic_exchange(&r->busy, true))
            tasks_post(r->server->tasks, LANE_WRITE, &r->task);
    }
    return (int)((*next_us - now) / 1000u) + 1;
}

/* Until a signal asks to stop. */
static void look_after(struct http_server *h, int signals, struct worker_process *workers,
                       struct retention *retention)
{
    const struct config *c = &h->config;
    uint64_t prune_at = clock_us() + RETENTION_FIRST_MS * UINT64_C(1000);
    for (;;) {
        int timeout = workers_start(h, workers), prune = retention_look(retention, &prune_at);
        if (prune >= 0 && (timeout < 0 || prune < timeout))
            timeout = prune;
        struct pollfd fd = {.fd = signals, .events = POLLIN};
        if (poll(&fd, 1, timeout) < 0 && errno != EINTR)
            return;
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            if (info.ssi_signo != SIGCHLD)
                return;
        workers_reap(h, workers, c->workers, false);
    }
}

/* Removes what a killed daemon left of uploads; nobody else has this directory now. */
static void uploads_clean(const char *data_dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tmp", data_dir);
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, UPLOAD_TMP_PREFIX, strlen(UPLOAD_TMP_PREFIX)) == 0)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

static void files_raise(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
}

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool serve_run(struct http_server *h, struct worker_process *workers, struct bpu_error *err)
{
    const struct config *c = &h->config;
    int socket = -1, signals = -1;
    bool ok = false;
    struct retention *retention = retention_new(h);
    if (!files_mkdirs(c->data, err) || !static_init(err) || !tls_load(c, &h->tls, err))
        goto out;
    h->access = access_new(c->data, c, err);
    if (!h->access)
        goto out;
    socket = listen_open(c, !access_is_open(h->access), &h->loopback, err);
    if (socket < 0)
        goto out;
    h->port = listen_port(socket);
    if (!h->loopback && !access_is_open(h->access) && !c->tls_cert[0] && !c->proxy_tls && !c->insecure)
        say("warning", "clear_text", 0,
            "tokens travel in clear text: give tls-cert and tls-key, or let a proxy speak TLS and say proxy-tls");
    signals = signals_open();
    h->metrics = http_metrics_new();
    h->replay = replay_new();
    h->rates = rates_new();
    if (signals < 0 || !h->metrics || !h->replay || !h->rates || !retention) {
        error_set(err, BPU_NO_MEMORY, NULL, "no memory or descriptors to start with");
        goto out;
    }
    h->wake = wake_open(c->data, WAKE_SERVER, err);
    if (!h->wake || !(h->tasks = tasks_new(c->data, err)))
        goto out;
    uploads_clean(c->data);
    if (!(h->watch = watch_new(h, err)) || !http_start(h, socket, err))
        goto out;
    socket = -1; /* libmicrohttpd's now */
    leases_release(h, WORKER_PREFIX, ORPHAN_GRACE_MS);
    (void)workers_start(h, workers);
    if (log_is_json())
        say("info", "listening", 0, "listening on port %d", h->port);
    listen_print(c, h->port);
    look_after(h, signals, workers, retention);
    say("info", "stopping", 0, "stopping");
    http_stop(h);
    workers_stop(h, workers, c->workers);
    ok = true;
out:
    tasks_free(h->tasks);
    free(retention);
    watch_free(h->watch);
    if (h->wake)
        wake_close(h->wake);
    http_metrics_free(h->metrics);
    replay_free(h->replay);
    access_free(h->access);
    rates_free(h->rates);
    tls_free(&h->tls);
    if (socket >= 0)
        close(socket);
    if (signals >= 0)
        close(signals);
    return ok;
}

int serve_main(int argc, char **argv)
{
    struct bpu_error err = {0};
    struct http_server *h = calloc(1, sizeof *h);
    struct worker_process *workers = NULL;
    bool ok = h && config_load(&h->config, argc, argv, &err);
    if (ok && h->config.help) {
        fputs(config_usage(), stdout);
    } else if (ok && h->config.check_config) {
        ok = check_config(&h->config, &err);
        if (ok)
            printf("the settings can be served with\n");
    } else if (ok) {
        files_raise();
        ok = setenv("BPUHUB_LOG", h->config.log, 1) == 0; /* the workers' as well */
        workers = calloc((size_t)h->config.workers + 1, sizeof *workers);
        ok = ok && workers && serve_run(h, workers, &err);
    }
    if (!ok) {
        fprintf(stderr, "bpuhub serve: %s%s%s\n", err.where, err.where[0] ? ": " : "", err.message);
        if (err.hint[0])
            fprintf(stderr, "bpuhub serve: %s\n", err.hint);
    }
    free(workers);
    free(h);
    return ok ? 0 : error_exit_code(err.code == BPU_NONE ? BPU_SERVER : err.code);
}
