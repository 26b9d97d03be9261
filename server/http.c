/* Design: libmicrohttpd with epoll on one thread.  Its access handler is called for the
 * head, for each piece of the body, at the body's end, and again after each resumption; this file
 * turns that into: route and guard at the head, feed the body, call the handler once, send what it
 * (or a task on another thread) prepared.
 *
 * A request refused at its head is answered at once only if the client waits for `100 Continue` or
 * the body is large: an early answer closes the connection, and clients that are still sending may
 * lose it.  Smaller bodies are read and dropped first. */
#include "server/http.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/http_upload.h"
#include "server/json.h"
#include "server/log.h"

#define CONNECTION_INCREMENT ((size_t)16 << 10)
#define CONNECTIONS_MAX 16384u
#define DESCRIPTORS_KEPT 128u /* for the store, uploads and artifacts */
#define CONNECTIONS_PER_ADDRESS 256u /* beyond loopback, unless configured */
#define ARENA_QUOTA ((size_t)64 << 20)
#define DROP_BEFORE_ANSWER ((int64_t)4 << 20)
#define DRAIN_SECONDS 10
#define WAIT_MS 1000

/* Writable, because libmicrohttpd's options are. */
static char tls_priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

struct http_request *http_request_of(struct task *t)
{
    return (struct http_request *)((char *)t - offsetof(struct http_request, task));
}

void http_suspend(struct http_request *r)
{
    r->suspended = true;
    atomic_fetch_add(&r->server->suspended, 1);
    MHD_suspend_connection(r->connection);
}

void http_resume(struct http_request *r)
{
    /* The request may be freed as soon as the connection runs again. */
    struct http_server *h = r->server;
    MHD_resume_connection(r->connection);
    atomic_fetch_sub(&h->suspended, 1);
    http_kick(h);
}

void http_post(struct http_request *r, enum task_lane lane,
               bool (*run)(struct task *t, struct store *s), void (*after)(struct task *t))
{
    http_suspend(r);
    http_post_next(r, lane, run, after);
}

void http_post_next(struct http_request *r, enum task_lane lane,
                    bool (*run)(struct task *t, struct store *s), void (*after)(struct task *t))
{
    r->task = (struct task){.run = run, .after = after};
    tasks_post(r->server->tasks, lane, &r->task);
}

void http_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    if (t->err.code != BPU_NONE)
        http_reply_error(r, &t->err);
    http_resume(r);
}

const char *http_query(struct http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_header(struct http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

int http_prefer_wait(struct http_request *r, int fallback)
{
    const char *p = http_header(r, "Prefer");
    while (p && *p) {
        p += strspn(p, " \t,;");
        size_t n = strcspn(p, ",;");
        const char *eq = memchr(p, '=', n);
        if (eq && strncasecmp(p, "wait", 4) == 0 && strspn(p + 4, " \t") == (size_t)(eq - p - 4)) {
            char *end;
            errno = 0;
            long v = strtol(eq + 1 + strspn(eq + 1, " \t\""), &end, 10);
            if (!errno && end > eq + 1 && v >= 0) {
                r->preference_applied = "wait";
                return v > 60 ? 60 : (int)v;
            }
        }
        p += n;
    }
    return fallback;
}

bool http_idempotency_key(struct http_request *r, const char **key, struct bpu_error *err)
{
    *key = http_header(r, "Idempotency-Key");
    if (!*key)
        return true;
    size_t n = strlen(*key);
    bool plain = n >= 1 && n <= 128;
    for (size_t i = 0; plain && i < n; i++)
        plain = (*key)[i] > 0x20 && (*key)[i] < 0x7f;
    if (plain && r->access.token)
        return (*key = arena_printf(&r->arena, err, "t%lld:%s", (long long)r->access.token, *key));
    if (plain)
        return true;
    error_set(err, BPU_USAGE, "Idempotency-Key", "the key is not 1 to 128 printable characters");
    return error_hint(err, "send a random UUID, and the same one when you repeat the request");
}

static enum MHD_Result answer(struct http_request *r)
{
    http_reply_headers(r);
    enum MHD_Result ok = MHD_queue_response(r->connection, r->status, r->response);
    MHD_destroy_response(r->response);
    r->response = NULL;
    return ok;
}

static bool method_parse(const char *text, enum http_method *method)
{
    if (strcmp(text, "GET") == 0 || strcmp(text, "HEAD") == 0)
        *method = METHOD_GET;
    else if (strcmp(text, "POST") == 0)
        *method = METHOD_POST;
    else if (strcmp(text, "DELETE") == 0)
        *method = METHOD_DELETE;
    else
        return false;
    return true;
}

/* Lets the route look at the head, if who asks may do that. */
static void request_enter(struct http_request *r)
{
    enum access_answer may = access_enter(r);
    r->asking = may == ACCESS_LATER;
    if (may == ACCESS_OK && r->route->head)
        r->route->head(r);
}

/* Finds the route and enters; leaves a response if the request is refused. */
static void request_head(struct http_request *r, const char *method, const char *version)
{
    struct bpu_error err = {0};
    r->path = arena_strdup(&r->arena, r->path, &err);
    if (!r->path) {
        http_reply_error(r, &err);
        return;
    }
    if (!http_limits(r, version) || !http_guard(r, method))
        return;
    bool known = method_parse(method, &r->method);
    const char *allow = NULL;
    r->route = route_find(known ? r->method : METHOD_COUNT, r->path, r, &allow);
    if (!r->route && allow) {
        http_reply_method(r, allow);
    } else if (!r->route) {
        error_set(&err, BPU_NOT_FOUND, r->path, "there is nothing at this path");
        error_hint(&err, "GET /openapi.json lists what there is");
        http_reply_error(r, &err);
    } else {
        request_enter(r);
    }
}

static bool body_comes(struct http_request *r, int64_t *length)
{
    const char *text = http_header(r, "Content-Length");
    *length = text ? strtoll(text, NULL, 10) : -1;
    return text ? *length > 0 : http_header(r, "Transfer-Encoding") != NULL;
}

/* The client's X-Request-Id, if it is a plain word of at most 32 characters, else 64 random bits. */
static void request_identify(struct http_request *r)
{
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_.";
    const char *given = http_header(r, "X-Request-Id");
    size_t n = given ? strlen(given) : 0;
    if (n >= 1 && n < sizeof r->id && strspn(given, plain) == n) {
        memcpy(r->id, given, n + 1);
        return;
    }
    uint64_t id = 0;
    if (getrandom(&id, sizeof id, GRND_NONBLOCK) != (ssize_t)sizeof id)
        id = clock_us();
    snprintf(r->id, sizeof r->id, "%016llx", (unsigned long long)id);
}

/* One line per answered request; the job's id ties it to the worker's line. */
static void request_log(const struct http_request *r, uint64_t us)
{
    static const char jobs[] = "/v1/jobs/";
    struct log_line l;
    log_begin(&l, r->status >= 500 ? "error" : "info", "request", NULL);
    log_text(&l, "request", r->id);
    log_text(&l, "method", r->method == METHOD_GET ? "GET" : r->method == METHOD_POST ? "POST" : "DELETE");
    log_text(&l, "route", r->route ? r->route->pattern : "none");
    log_text(&l, "path", r->path);
    log_int(&l, "status", r->status ? (int64_t)r->status : 499);
    log_number(&l, "ms", (double)us / 1e3);
    log_int(&l, "bytes_in", r->body_bytes);
    if (r->location && strncmp(r->location, jobs, sizeof jobs - 1) == 0)
        log_text(&l, "job", r->location + sizeof jobs - 1);
    else if (r->route && strncmp(r->route->pattern, jobs, sizeof jobs - 1) == 0)
        log_text(&l, "job", r->captures[0]);
    log_end(&l);
}

/* The head is done with: answers at once, or lets the body come. */
static enum MHD_Result request_begun(struct http_request *r)
{
    if (!r->response)
        return MHD_YES;
    if (r->close)
        return answer(r);
    int64_t length;
    if (body_comes(r, &length)) {
        const char *expect = http_header(r, "Expect");
        if ((expect && strcasecmp(expect, "100-continue") == 0) || length > DROP_BEFORE_ANSWER)
            return answer(r);
    }
    return MHD_YES;
}

static enum MHD_Result request_first(struct http_server *h, struct MHD_Connection *connection,
                                     const char *url, const char *method, const char *version,
                                     void **context)
{
    struct http_request *r = calloc(1, sizeof *r);
    if (!r)
        return MHD_NO;
    atomic_fetch_add(&h->open_requests, 1);
    *context = r;
    r->server = h;
    r->connection = connection;
    r->started_us = clock_us();
    r->path = url;
    r->memory = method; /* the first word of the head, which is read to the beginning */
    request_identify(r);
    struct http_peer *peer = http_peer_of(connection);
    if (peer)
        peer->request = r;
    arena_init_small(&r->arena, ARENA_QUOTA);
    buf_init(&r->body, JSON_MAX_BODY);
    request_head(r, method, version);
    return r->asking ? MHD_YES : request_begun(r);
}

/* Takes part or all of a piece of the body; *size becomes what is left of it. */
static enum MHD_Result request_body(struct http_request *r, const char *data, size_t *size)
{
    size_t taken = *size;
    if (!r->response && r->route->body == BODY_UPLOAD) {
        taken = upload_feed(r, data, *size);
        if (!access_upload(r->server->access, &r->access, (int64_t)taken))
            http_reply_quota(r);
    } else if (!r->response && r->route->body == BODY_JSON) {
        buf_add(&r->body, data, *size);
        struct bpu_error err = {0};
        if (!buf_ok(&r->body, &err)) {
            err = (struct bpu_error){0};
            error_set(&err, BPU_LIMIT, NULL, "the body has more than %zu bytes", JSON_MAX_BODY);
            http_reply_error(r, &err);
        }
    } else {
        int64_t most = r->access.role == ROLE_NONE ? 0 : r->server->config.max_upload;
        r->body_dropped += (int64_t)*size;
        if (r->body_dropped > most + DROP_BEFORE_ANSWER)
            return MHD_NO;
    }
    r->body_bytes += (int64_t)taken;
    *size -= taken;
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **context)
{
    struct http_server *h = cls;
    if (atomic_load(&h->closing))
        return MHD_NO;
    struct http_request *r = *context;
    if (!r)
        return request_first(h, connection, url, method, version, context);
    r->suspended = false;
    if (r->asking) {
        r->asking = false;
        if (!r->response)
            request_enter(r);
        return r->asking ? MHD_YES : request_begun(r);
    }
    if (*size)
        return request_body(r, data, size);
    if (!r->response && !r->handled) {
        r->handled = true;
        r->route->handle(r);
        if (r->suspended)
            return MHD_YES;
    }
    if (!r->response) {
        struct bpu_error err = {0};
        error_set(&err, BPU_SERVER, r->path, "the request was left without an answer");
        http_reply_error(r, &err);
    }
    return answer(r);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)code;
    struct http_server *h = cls;
    struct http_request *r = *context;
    if (!r)
        return;
    *context = NULL;
    struct http_peer *peer = http_peer_of(connection);
    if (peer) {
        peer->request = NULL;
        peer->since_us = clock_us();
    }
    uint64_t us = clock_us() - r->started_us;
    http_metrics_count(h->metrics, r->route, r->status, us);
    if (log_is_json())
        request_log(r, us);
    if (r->upload)
        upload_abandon(r);
    if (r->response)
        MHD_destroy_response(r->response);
    buf_fini(&r->body);
    arena_fini(&r->arena);
    free(r);
    atomic_fetch_sub(&h->open_requests, 1);
}

/* As many connections as descriptors allow, so that accepting never fails for want of one. */
static unsigned connections_max(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= CONNECTIONS_MAX + DESCRIPTORS_KEPT)
        return CONNECTIONS_MAX;
    return l.rlim_cur > 2 * DESCRIPTORS_KEPT ? (unsigned)l.rlim_cur - DESCRIPTORS_KEPT
                                             : DESCRIPTORS_KEPT;
}

void http_kick(struct http_server *h)
{
    if (!atomic_exchange(&h->kicked, true))
        (void)eventfd_write(h->kick, 1);
}

/* The HTTP thread. It waits itself and lets libmicrohttpd only work, because the library's own wait
 * can sleep on work (0.9.75): after a full batch of 128 events it waits for more, without a limit,
 * before it looks at what it has. Seen as a stall of all connections under load. */
static void *http_loop(void *arg)
{
    struct http_server *h = arg;
    bool quiesced = false;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    while (!atomic_load(&h->stopping)) {
        if (!quiesced && atomic_load(&h->draining)) {
            MHD_socket listening = MHD_quiesce_daemon(h->daemon);
            if (listening != MHD_INVALID_SOCKET)
                close(listening);
            quiesced = true;
        }
        MHD_UNSIGNED_LONG_LONG due;
        int timeout =
            MHD_get_timeout(h->daemon, &due) == MHD_YES && due < WAIT_MS ? (int)due : WAIT_MS;
        struct pollfd fds[2] = {{.fd = h->kick, .events = POLLIN},
                                {.fd = info->epoll_fd, .events = POLLIN}};
        (void)poll(fds, 2, timeout);
        if (fds[0].revents) {
            eventfd_t ignored;
            (void)eventfd_read(h->kick, &ignored);
            atomic_store(&h->kicked, false);
        }
        (void)MHD_run(h->daemon);
        http_peers_look(h);
    }
    return NULL;
}

bool http_start(struct http_server *h, int socket, struct bpu_error *err)
{
    h->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, h->tls.cert},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, h->tls.key},
                                   {MHD_OPTION_HTTPS_PRIORITIES, 0, tls_priorities},
                                   {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    int64_t per_address = h->config.connections >= 0 ? h->config.connections
                          : h->loopback              ? 0
                                                     : CONNECTIONS_PER_ADDRESS;
    h->daemon = MHD_start_daemon(
        h->tls.cert ? flags | MHD_USE_TLS : flags, 0, NULL, NULL, on_request, h,
        MHD_OPTION_LISTEN_SOCKET, socket, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, http_peer_notify, h, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_MEMORY, MHD_OPTION_CONNECTION_MEMORY_INCREMENT, CONNECTION_INCREMENT,
        MHD_OPTION_CONNECTION_LIMIT, connections_max(), MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)per_address, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)h->config.idle_seconds,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, http_unescape, NULL, MHD_OPTION_ARRAY, h->tls.cert ? tls : none,
        MHD_OPTION_END);
    if (!h->daemon || h->kick < 0)
        return error_set(err, BPU_SERVER, NULL, "the HTTP daemon cannot be started");
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&h->thread, NULL, http_loop, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        /* The socket stays the caller's. */
        (void)MHD_quiesce_daemon(h->daemon);
        MHD_stop_daemon(h->daemon);
        h->daemon = NULL;
        return error_set(err, BPU_SERVER, NULL, "the HTTP thread cannot be started");
    }
    return true;
}

/* Waits until the counter has been zero for a moment (a handler that was already running may still
 * raise it), at most so many milliseconds. */
static void counter_drain(atomic_int *counter, int ms)
{
    struct timespec pause = {.tv_nsec = 5000000};
    for (int i = 0, quiet = 0; quiet < 4 && i < ms / 5; i++) {
        quiet = atomic_load(counter) > 0 ? 0 : quiet + 1;
        nanosleep(&pause, NULL);
    }
}

void http_stop(struct http_server *h)
{
    if (!h->daemon)
        return;
    atomic_store(&h->draining, true);
    http_kick(h);
    watch_drain(h->watch);
    counter_drain(&h->open_requests, DRAIN_SECONDS * 1000);
    /* From here on nothing new is suspended, and the lanes resume what is: libmicrohttpd must not
     * be stopped with suspended connections. */
    atomic_store(&h->closing, true);
    counter_drain(&h->suspended, 3600 * 1000);
    atomic_store(&h->stopping, true);
    http_kick(h);
    pthread_join(h->thread, NULL);
    close(h->kick);
    MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
}
