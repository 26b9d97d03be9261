/* Design: the main thread opens the listening socket and the data directory, starts the lanes and
 * the HTTP thread, says where it listens, and then only looks after signals and its processes
 * (children.c).  SIGTERM and SIGINT drain: no new connections, requests end, workers are told to stop, and
 * the exit code is 0.
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
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/api.h"
#include "server/check_config.h"
#include "server/children.h"
#include "server/files.h"
#include "server/http_replay.h"
#include "server/http_upload.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/retention.h"

/* Until a signal asks to stop. */
static void look_after(struct children *children, struct retention *retention, int signals)
{
    for (;;) {
        int timeout = children_start(children), prune = retention_look(retention);
        if (prune >= 0 && (timeout < 0 || prune < timeout))
            timeout = prune;
        struct pollfd fd = {.fd = signals, .events = POLLIN};
        if (poll(&fd, 1, timeout) < 0 && errno != EINTR)
            return;
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            if (info.ssi_signo != SIGCHLD)
                return;
        children_reap(children);
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

static bool serve_run(struct http_server *h, struct bpu_error *err)
{
    const struct config *c = &h->config;
    int socket = -1, signals = -1;
    bool ok = false;
    struct children children = {0};
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
        log_say("warning", "clear_text", 0,
            "tokens travel in clear text: give tls-cert and tls-key, or let a proxy speak TLS and say proxy-tls");
    signals = signals_open();
    h->metrics = http_metrics_new();
    h->replay = replay_new();
    h->rates = rates_new();
    if (signals < 0 || !h->metrics || !h->replay || !h->rates || !retention || !children_init(&children, h)) {
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
    children_orphans(h);
    (void)children_start(&children);
    hooks_look(h);
    if (log_is_json())
        log_say("info", "listening", 0, "listening on port %d", h->port);
    listen_print(c, h->port);
    look_after(&children, retention, signals);
    log_say("info", "stopping", 0, "stopping");
    http_stop(h);
    ok = true;
out:
    children_stop(&children);
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
        ok = ok && serve_run(h, &err);
    }
    if (!ok) {
        fprintf(stderr, "bpuhub serve: %s%s%s\n", err.where, err.where[0] ? ": " : "", err.message);
        if (err.hint[0])
            fprintf(stderr, "bpuhub serve: %s\n", err.hint);
    }
    free(h);
    return ok ? 0 : error_exit_code(err.code == BPU_NONE ? BPU_SERVER : err.code);
}
