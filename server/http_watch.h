/* http_watch: requests that wait for jobs, and event streams.
 *
 * A waiter stands in a table by job.  When a worker (or the daemon itself) says that a job changed,
 * the job is read once, and the snapshot is given to all who wait for it. */
#ifndef BPU_SERVER_HTTP_WATCH_H
#define BPU_SERVER_HTTP_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

struct watch;
struct http_server;
struct http_request;
struct MHD_Response;

/* A job as it was read; shared. What it says is immutable, the count belongs to the watch's lock. */
struct snapshot {
    int references;
    int state; /* enum job_state */
    char stage[24];
    double progress;
    char *json; /* the answer of GET /v1/jobs/{id} */
    size_t json_size;
};

bool snapshot_ended(const struct snapshot *s);

/* Part of a request; all fields belong to the watch while it waits. */
struct waiter {
    struct waiter *next, **link;
    struct http_request *request;
    uint64_t deadline_us;
    /* Called once, from any thread: the job has ended, or the time is up (ended false; snapshot the
     * latest or NULL; NULL and ended: the job is gone).  Must lead to http_resume(). */
    void (*done)(struct http_request *r, struct snapshot *s, bool ended);
};

struct watch *watch_new(struct http_server *h, struct bpu_error *err) BPU_CHECKED;
void watch_free(struct watch *w);
/* Waits for the end of a job, at most wait_ms. The request is suspended already. */
void watch_wait(struct watch *w, struct http_request *r, const char *job, int64_t wait_ms,
                void (*done)(struct http_request *r, struct snapshot *s, bool ended));
/* The job may have changed. Any thread. */
void watch_changed(struct watch *w, const char *job);
/* A response that streams the changes of the job, starting with its state now. Sets
 * *err if the table is full. */
struct MHD_Response *watch_stream(struct watch *w, struct http_request *r, const char *job,
                                  const char *project, struct bpu_error *err) BPU_CHECKED;
/* Ends all waits and streams, and those that come after. */
void watch_drain(struct watch *w);
size_t watch_stream_count(struct watch *w);

#endif
