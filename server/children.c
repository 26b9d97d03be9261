/* Each child is asked to end when the daemon dies (PR_SET_PDEATHSIG), so that none outlives it for long. */
#define _GNU_SOURCE
#include "server/children.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/log.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 30000
#define YOUNG_MS 10000
#define GRACE_MS 15000
#define WORKER_PREFIX "serve-" /* of the names of workers that a daemon started */
#define ORPHAN_GRACE_MS 2500   /* for workers of a killed daemon, which end by themselves */
#define DELIVERER "bpuhub-deliver"

/* Starts path, or this program if it is NULL, with these arguments; 0 if it cannot. */
static pid_t spawn(const char *path, char *const argv[])
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        /* Other threads hold locks in this copy: only system calls until exec. */
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(5);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execv(path ? path : "/proc/self/exe", argv);
        _exit(5);
    }
    return pid > 0 ? pid : 0;
}

static pid_t worker_start(const struct config *c, struct child *w)
{
    char memory[32], seconds[32], attempts[32], data[sizeof c->data];
    char program[] = "bpuhub", sub[] = "worker", data_flag[] = "--data", memory_flag[] = "--job-memory";
    char seconds_flag[] = "--job-seconds", attempts_flag[] = "--job-attempts", name_flag[] = "--name";
    unsigned tag = 0;
    if (getrandom(&tag, sizeof tag, 0) != (ssize_t)sizeof tag)
        tag = (unsigned)clock_us();
    snprintf(w->name, sizeof w->name, WORKER_PREFIX "%ld-%08x", (long)getpid(), tag);
    snprintf(attempts, sizeof attempts, "%lld", (long long)c->job_attempts);
    strcpy(data, c->data);
    snprintf(memory, sizeof memory, "%lld", (long long)(c->job_memory >> 20));
    snprintf(seconds, sizeof seconds, "%lld", (long long)c->job_seconds);
    char *argv[] = {program, sub,           data_flag, data,      memory_flag, memory, seconds_flag,
                    seconds, attempts_flag, attempts,  name_flag, w->name,     NULL};
    return spawn(NULL, argv);
}

/* The program lies beside this one. */
static bool deliverer_find(char path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof DELIVERER - 1);
    char *slash = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;
    if (slash)
        strcpy(slash + 1, DELIVERER);
    return slash && access(path, X_OK) == 0;
}

static pid_t deliverer_start(const struct config *c)
{
    char path[PATH_MAX], data[sizeof c->data], retry[32], program[] = DELIVERER;
    char data_flag[] = "--data", retry_flag[] = "--retry-ms", private_flag[] = "--private-addresses";
    if (!deliverer_find(path)) {
        log_say("error", "deliverer_missing", 0, "the program " DELIVERER " is not beside bpuhub: webhooks wait");
        return 0;
    }
    strcpy(data, c->data);
    snprintf(retry, sizeof retry, "%lld", (long long)c->webhook_retry_ms);
    char *argv[] = {program, data_flag, data, retry_flag, retry, c->webhook_private ? private_flag : NULL, NULL};
    return spawn(path, argv);
}

static void child_start(struct children *c, int i)
{
    struct child *x = &c->list[i];
    bool worker = i < c->workers;
    x->started_us = clock_us();
    x->pid = worker ? worker_start(&c->server->config, x) : deliverer_start(&c->server->config);
    if (!x->pid) {
        if (worker)
            log_say("error", "worker_not_started", 0, "a worker cannot be started: %s", strerror(errno));
        x->start_at_us = clock_us() + BACKOFF_MAX_MS * 1000u;
    } else if (worker) {
        atomic_fetch_add(&c->server->workers_alive, 1);
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

/* ---- all of them ------------------------------------------------------------------------------- */

bool children_init(struct children *c, struct http_server *h)
{
    c->server = h;
    c->workers = (int)h->config.workers;
    c->list = calloc((size_t)c->workers + 1, sizeof *c->list);
    return c->list != NULL;
}

int children_start(struct children *c)
{
    int next = -1, count = c->workers + atomic_load(&c->server->hooks_wanted);
    for (int i = 0; i < count; i++) {
        struct child *x = &c->list[i];
        if (!x->pid && x->start_at_us <= clock_us())
            child_start(c, i);
        if (x->pid)
            continue;
        uint64_t now = clock_us();
        int ms = x->start_at_us > now ? (int)((x->start_at_us - now) / 1000u) + 1 : 0;
        next = next < 0 || ms < next ? ms : next;
    }
    return next;
}

static void child_ended(struct children *c, int i, int status, bool stopping)
{
    struct child *x = &c->list[i];
    const char *what = i < c->workers ? "worker" : "deliverer";
    bool young = clock_us() - x->started_us < YOUNG_MS * 1000u;
    x->backoff_ms = young && x->backoff_ms ? x->backoff_ms * 2 : BACKOFF_MIN_MS;
    if (x->backoff_ms > BACKOFF_MAX_MS)
        x->backoff_ms = BACKOFF_MAX_MS;
    x->start_at_us = clock_us() + (uint64_t)x->backoff_ms * 1000u;
    if (!stopping && WIFSIGNALED(status))
        log_say("warning", i < c->workers ? "worker_died" : "deliverer_died", x->pid,
                "%s %d was killed by signal %d, starting another in %d ms", what, (int)x->pid, WTERMSIG(status),
                x->backoff_ms);
    else if (!stopping)
        log_say("warning", i < c->workers ? "worker_died" : "deliverer_died", x->pid,
                "%s %d exited with %d, starting another in %d ms", what, (int)x->pid, WEXITSTATUS(status),
                x->backoff_ms);
    x->pid = 0;
    if (i < c->workers) {
        atomic_fetch_sub(&c->server->workers_alive, 1);
        leases_release(c->server, x->name, 0);
    }
}

/* How many are left. */
static int reap(struct children *c, bool stopping)
{
    int status, left = 0;
    for (int i = 0; i <= c->workers; i++) {
        struct child *x = &c->list[i];
        if (x->pid && waitpid(x->pid, &status, WNOHANG) == x->pid)
            child_ended(c, i, status, stopping);
        left += x->pid != 0;
    }
    return left;
}

void children_reap(struct children *c)
{
    reap(c, false);
}

void children_stop(struct children *c)
{
    int left = c->list ? reap(c, true) : 0;
    for (int i = 0; left && i <= c->workers; i++)
        if (c->list[i].pid)
            kill(c->list[i].pid, SIGTERM);
    for (int ms = 0; left && ms < GRACE_MS; ms += 10) {
        usleep(10000);
        left = reap(c, true);
    }
    for (int i = 0; left && i <= c->workers; i++) {
        struct child *x = &c->list[i];
        if (!x->pid)
            continue;
        log_say("warning", "worker_killed", x->pid, "process %d does not stop, killing it", (int)x->pid);
        kill(x->pid, SIGKILL);
        waitpid(x->pid, NULL, 0);
    }
    free(c->list);
    c->list = NULL;
}

void children_orphans(struct http_server *h)
{
    leases_release(h, WORKER_PREFIX, ORPHAN_GRACE_MS);
}
