/* http: the daemon's HTTP side.
 *
 *   connection ─ http.c (body, suspension, completion) ─ route.c (method, path) ─ api_*.c (the
 * calls) │                                                            │ ├ http_guard.c   Host,
 * Origin                                ├ http_tasks.c  disk, write, read lanes ├ http_upload.c
 * streamed bodies                             ├ http_watch.c  waiting for jobs ├ http_replay.c
 * repeated calls └ http_metrics.c counters                                    └ http_reply.c
 * responses
 *
 * One thread speaks HTTP and never blocks. A handler either answers at once or posts a task, which
 * suspends the connection; the task's end prepares the answer and http_resume() wakes it up.  A
 * request is touched by one thread at a time: the HTTP thread, or, while suspended, whoever has its
 * task. */
#ifndef BPU_SERVER_HTTP_H
#define BPU_SERVER_HTTP_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "server/access.h"
#include "server/config.h"
#include "server/http_limits.h"
#include "server/http_tasks.h"
#include "server/http_watch.h"
#include "server/problem.h"
#include "server/tls.h"
#include "server/wake.h"

struct http_request;
struct http_metrics;
struct replay;
struct upload;

enum http_method { METHOD_GET, METHOD_POST, METHOD_DELETE, METHOD_COUNT };
enum http_body {
    BODY_NONE,  /* read and dropped */
    BODY_JSON,  /* gathered, up to JSON_MAX_BODY */
    BODY_UPLOAD /* streamed to disk */
};

/* Of libmicrohttpd for each connection: heads of 32 KiB (http_limits.c) and what it makes of them. It is zeroed for
 * each request, so more costs time. */
#define CONNECTION_MEMORY ((size_t)64 << 10)
#define ROUTE_MAX_CAPTURES 2

struct route {
    enum http_method method;
    const char *pattern; /* "/v1/jobs/{id}": a segment in braces captures */
    enum http_body body;
    /* Called when the head has been read; may refuse. May be NULL. */
    void (*head)(struct http_request *r);
    /* Called when the whole body is there. */
    void (*handle)(struct http_request *r);
};

struct http_request {
    struct http_server *server;
    struct MHD_Connection *connection;
    const struct route *route; /* NULL if none fits */
    enum http_method method;
    const char *path; /* unescaped, in the arena */
    const void *memory; /* where libmicrohttpd's memory of the connection begins */
    char *captures[ROUTE_MAX_CAPTURES];
    struct arena arena;
    struct buf body;
    struct upload *upload;
    int64_t body_bytes, body_dropped;
    bool handled, suspended;
    struct access access; /* who asks */
    bool asked, asking;   /* the store was, or is being, asked for a secret */
    bool close;           /* the connection ends with the answer */

    struct MHD_Response *response; /* the answer, once there is one */
    unsigned status;
    char *location; /* sent with the answer when set; arena */
    char *content_location;
    const char *preference_applied;
    const char *authenticate; /* WWW-Authenticate */
    char *set_cookie;
    int retry_after;

    struct task task;
    struct waiter waiter;
    void *call; /* what the handler keeps; arena */
    uint64_t started_us;
    char id[33]; /* X-Request-Id: the client's, or a new one */
};

struct http_server {
    struct config config;
    struct MHD_Daemon *daemon;
    struct tasks *tasks;
    struct watch *watch;
    struct http_metrics *metrics;
    struct replay *replay;
    struct access_table *access;
    struct rates *rates;
    struct tls_files tls;
    struct http_peer *peers; /* the HTTP thread's */
    uint64_t peers_looked_us;
    atomic_int slow_closed;
    bool loopback; /* Host headers are checked */
    int port;
    pthread_t thread; /* the HTTP thread */
    int kick;         /* eventfd that wakes it */
    atomic_bool draining, stopping, kicked;
    atomic_bool closing; /* the grace of the draining is over */
    atomic_int open_requests, suspended;
    atomic_int workers_alive; /* processes that this daemon started */
    atomic_bool hooks_wanted; /* there is, or was, a webhook */
    struct wake *wake;
};

/* Starts to serve on the listening socket. */
bool http_start(struct http_server *h, int socket, struct bpu_error *err) BPU_CHECKED;
/* Takes no more connections, lets requests end (waiting ones at once), stops. */
void http_stop(struct http_server *h);

/* Suspends the connection; http_resume() makes its answer go out.  Call before anything that may
 * resume it. */
void http_suspend(struct http_request *r);
void http_resume(struct http_request *r);
/* Makes the HTTP thread look for resumed connections. */
void http_kick(struct http_server *h);
/* Suspends and posts: run works in the lane, after must end in http_resume() or another post. */
void http_post(struct http_request *r, enum task_lane lane,
               bool (*run)(struct task *t, struct store *s), void (*after)(struct task *t));
/* The next step of a suspended request. */
void http_post_next(struct http_request *r, enum task_lane lane,
                    bool (*run)(struct task *t, struct store *s), void (*after)(struct task *t));
/* An `after` that answers with the task's error, if there is one, and resumes. */
void http_after(struct task *t);
struct http_request *http_request_of(struct task *t);

/* Query argument, or NULL. */
const char *http_query(struct http_request *r, const char *name);
const char *http_header(struct http_request *r, const char *name);
/* `Prefer: wait=N` in seconds (0..60); fallback if there is none. */
int http_prefer_wait(struct http_request *r, int fallback);
/* Checks Idempotency-Key; *key NULL if there is none.  Keys of different tokens never meet. */
bool http_idempotency_key(struct http_request *r, const char **key,
                          struct bpu_error *err) BPU_CHECKED;

/* Answers (http_reply.c). The first answer counts. */
void http_reply_bytes(struct http_request *r, unsigned status, const char *type, const void *data,
                      size_t size);
/* Takes the buffer's content; a buffer that failed becomes a 500. */
void http_reply_json(struct http_request *r, unsigned status, struct buf *json);
void http_reply_problem(struct http_request *r, const struct problem *p);
void http_reply_error(struct http_request *r, const struct bpu_error *err);
/* Takes the response. */
void http_reply_response(struct http_request *r, unsigned status, struct MHD_Response *response);
void http_reply_empty(struct http_request *r, unsigned status);
/* A file by its content hash, with ETag, If-None-Match, If-Range and Range; takes fd. */
void http_reply_file(struct http_request *r, int fd, int64_t size, const char *type,
                     const char *etag);
/* The upload quota of the day is used up. */
void http_reply_quota(struct http_request *r);
void http_reply_method(struct http_request *r, const char *allow);
void http_reply_headers(struct http_request *r);
/* True if the ETag is among those of If-None-Match. */
bool http_etag_matches(struct http_request *r, const char *etag);

/* Refuses foreign hosts and cross-site writes (http_guard.c). */
bool http_guard(struct http_request *r, const char *method);
/* The name of the cookie of sessions. */
const char *http_cookie_name(const struct http_server *h);
/* Whether clients reach this server by https. */
bool http_is_secure(const struct http_server *h);
/* True if text is an address of this machine alone: "127.0.0.1", "localhost", "::1". */
bool http_host_is_loopback(const char *host);

/* route.c */
const struct route *route_find(enum http_method method, const char *path, struct http_request *r,
                               const char **allow);
const struct route *route_table(size_t *count);

/* http_metrics.c */
struct http_metrics *http_metrics_new(void);
void http_metrics_free(struct http_metrics *m);
void http_metrics_count(struct http_metrics *m, const struct route *route, unsigned status,
                        uint64_t us);
void http_metrics_write(struct http_metrics *m, struct buf *out);

uint64_t clock_us(void); /* monotonic */

#endif
