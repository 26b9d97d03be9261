/* Design: the main thread opens the listening socket and the data directory, starts the lanes and
 * the HTTP thread, says where it listens, and then only looks after signals and worker processes.
 * A worker that dies is started again, after a pause that doubles while it dies young.  SIGTERM and
 * SIGINT drain: no new connections, requests end, workers are told to stop, and the exit code is 0.
 */
#define _GNU_SOURCE
#include "server/serve.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/api.h"
#include "server/files.h"
#include "server/http_replay.h"
#include "server/http_upload.h"

#define BACKLOG 4096
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 30000
#define YOUNG_MS 10000
#define WORKER_GRACE_MS 15000

struct worker_process {
    pid_t pid; /* 0: not running */
    uint64_t started_us, start_at_us;
    int backoff_ms;
};

/* ---- listening ---------------------------------------------------------------------------------
 */

static bool listen_split(const char *text, char *host, size_t size, const char **port,
                         struct bpu_error *err)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    bool v6 = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    if (!colon || !colon[1] || n >= size || (!v6 && memchr(text, ':', n))) {
        error_set(err, BPU_USAGE, "--listen", "\"%.100s\" is not HOST:PORT", text);
        return error_hint(err, "for example 127.0.0.1:8080, or [::1]:8080");
    }
    memcpy(host, text + v6, n - (v6 ? 2 : 0));
    host[n - (v6 ? 2 : 0)] = 0;
    *port = colon + 1;
    return true;
}

static bool address_is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        return ntohl(in.sin_addr.s_addr) >> 24 == 127;
    }
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, a, sizeof in);
        return IN6_IS_ADDR_LOOPBACK(&in.sin6_addr);
    }
    return false;
}

/* The port that the system chose. */
static int socket_port(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    memcpy(&in, &a, sizeof in);
    memcpy(&in6, &a, sizeof in6);
    return ntohs(a.ss_family == AF_INET6 ? in6.sin6_port : in.sin_port);
}

/* The listening socket, or -1. */
static int listen_open(const struct config *c, bool has_tokens, bool *loopback,
                       struct bpu_error *err)
{
    char host[256] = "";
    const char *port = "";
    if (!listen_split(c->listen, host, sizeof host, &port, err))
        return -1;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (failed) {
        error_set(err, BPU_USAGE, "--listen", "\"%.100s\" is no address: %s", c->listen,
                  gai_strerror(failed));
        return -1;
    }
    int fd = -1;
    *loopback = address_is_loopback(list->ai_addr);
    if (!*loopback && !has_tokens && !c->insecure) {
        error_set(err, BPU_USAGE, "--listen",
                  "%.100s can be reached from other machines, and there are no tokens", c->listen);
        error_hint(err, "make one with `bpuhub token create`, listen on 127.0.0.1, or add "
                        "--insecure if everybody who can reach this machine may use the service");
        goto out;
    }
    if (!*loopback && has_tokens && !c->tls_cert[0] && !c->proxy_tls && !c->insecure)
        fprintf(stderr, "bpuhub: warning: tokens travel in clear text: give tls-cert and tls-key, "
                        "or let a proxy speak TLS and say proxy-tls\n");
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        error_set(err, BPU_SERVER, "--listen", "cannot listen on %.100s: %s", c->listen,
                  strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
out:
    freeaddrinfo(list);
    return fd;
}

/* ---- worker processes --------------------------------------------------------------------------
 */

static void worker_start(struct worker_process *w, const struct config *c)
{
    char memory[32], seconds[32], program[] = "bpuhub", sub[] = "worker", data_flag[] = "--data",
                                  memory_flag[] = "--job-memory", seconds_flag[] = "--job-seconds";
    char data[sizeof c->data];
    strcpy(data, c->data);
    snprintf(memory, sizeof memory, "%lld", (long long)(c->job_memory >> 20));
    snprintf(seconds, sizeof seconds, "%lld", (long long)c->job_seconds);
    char *argv[] = {program, sub,          data_flag, data, memory_flag,
                    memory,  seconds_flag, seconds,   NULL};
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
    if (pid < 0) {
        fprintf(stderr, "bpuhub: a worker cannot be started: %s\n", strerror(errno));
        w->start_at_us = clock_us() + BACKOFF_MAX_MS * 1000u;
    }
}

/* Notes which workers ended; each gets its time to start again. */
static void workers_reap(struct worker_process *list, int64_t count, bool stopping)
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
                fprintf(stderr,
                        "bpuhub: worker %d was killed by signal %d, starting another in %d ms\n",
                        (int)w->pid, WTERMSIG(status), w->backoff_ms);
            else
                fprintf(stderr, "bpuhub: worker %d exited with %d, starting another in %d ms\n",
                        (int)w->pid, WEXITSTATUS(status), w->backoff_ms);
        }
        w->pid = 0;
    }
}

/* Starts those that are due; milliseconds until the next one is, -1 for never. */
static int workers_start(struct worker_process *list, int64_t count, const struct config *c)
{
    int next = -1;
    for (int64_t i = 0; i < count; i++) {
        struct worker_process *w = &list[i];
        if (w->pid)
            continue;
        uint64_t now = clock_us();
        if (w->start_at_us <= now) {
            worker_start(w, c);
            continue;
        }
        int ms = (int)((w->start_at_us - now) / 1000u) + 1;
        next = next < 0 || ms < next ? ms : next;
    }
    return next;
}

static void workers_stop(struct worker_process *list, int64_t count)
{
    bool left = false;
    for (int64_t i = 0; i < count; i++)
        if (list[i].pid)
            kill(list[i].pid, SIGTERM);
    for (int ms = 0; ms < WORKER_GRACE_MS; ms += 10) {
        workers_reap(list, count, true);
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
        fprintf(stderr, "bpuhub: worker %d does not stop, killing it\n", (int)list[i].pid);
        kill(list[i].pid, SIGKILL);
        waitpid(list[i].pid, NULL, 0);
    }
}

/* ---- the daemon --------------------------------------------------------------------------------
 */

/* Until a signal asks to stop. */
static void look_after(int signals, struct worker_process *workers, const struct config *c)
{
    for (;;) {
        int timeout = workers_start(workers, c->workers, c);
        struct pollfd fd = {.fd = signals, .events = POLLIN};
        if (poll(&fd, 1, timeout) < 0 && errno != EINTR)
            return;
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            if (info.ssi_signo != SIGCHLD)
                return;
        workers_reap(workers, c->workers, false);
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

static void listening_print(const struct config *c, int port)
{
    char host[256] = "";
    const char *ignored;
    struct bpu_error err = {0};
    if (!listen_split(c->listen, host, sizeof host, &ignored, &err))
        return;
    bool v6 = strchr(host, ':') != NULL;
    printf("listening on http%s://%s%s%s:%d\n", c->tls_cert[0] ? "s" : "", v6 ? "[" : "", *host ? host : "0.0.0.0",
           v6 ? "]" : "", port);
    fflush(stdout);
}

static bool serve_run(struct http_server *h, struct worker_process *workers, struct bpu_error *err)
{
    const struct config *c = &h->config;
    int socket = -1, signals = -1;
    bool ok = false;
    if (!files_mkdirs(c->data, err) || !static_init(err) || !tls_load(c, &h->tls, err))
        goto out;
    h->access = access_new(c->data, c, err);
    if (!h->access)
        goto out;
    socket = listen_open(c, !access_is_open(h->access), &h->loopback, err);
    if (socket < 0)
        goto out;
    h->port = socket_port(socket);
    signals = signals_open();
    h->metrics = http_metrics_new();
    h->replay = replay_new();
    h->rates = rates_new();
    if (signals < 0 || !h->metrics || !h->replay || !h->rates) {
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
    (void)workers_start(workers, c->workers, c);
    listening_print(c, h->port);
    look_after(signals, workers, c);
    fprintf(stderr, "bpuhub: stopping\n");
    http_stop(h);
    workers_stop(workers, c->workers);
    ok = true;
out:
    tasks_free(h->tasks);
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
    } else if (ok) {
        files_raise();
        workers = calloc((size_t)h->config.workers + 1, sizeof *workers);
        ok = workers && serve_run(h, workers, &err);
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
