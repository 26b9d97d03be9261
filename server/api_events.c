/* Design: an event stream begins with the job as it is now, so that a client needs no first GET,
 * and ends after the event that tells the end.  A browser that reconnects to an ended job is told
 * to stop by 204, as the standard of EventSource has it. */
#include "server/api.h"

struct events_call {
    struct arena_mark before;
    struct store_job job;
};

static bool open_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct events_call *c = r->call;
    return store_job_get(s, r->captures[0], &r->arena, &c->job, &t->err) &&
           access_job_seen(r, &c->job, &t->err);
}

static void open_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    struct events_call *c = r->call;
    if (t->err.code == BPU_NONE) {
        if (job_state_ended(c->job.state) && http_header(r, "Last-Event-ID")) {
            http_reply_empty(r, 204);
        } else {
            struct MHD_Response *response = watch_stream(r->server->watch, r, c->job.id, c->job.project, &t->err);
            if (response) {
                http_reply_response(r, 200, response);
                (void)MHD_add_response_header(response, "Content-Type", "text/event-stream");
                (void)MHD_add_response_header(response, "X-Accel-Buffering", "no");
                r->call = NULL; /* a stream may be open for long: it keeps only what it needs */
                arena_rewind(&r->arena, c->before);
            }
        }
    }
    http_after(t);
}

void api_events(struct http_request *r)
{
    struct bpu_error err = {0};
    struct arena_mark before = arena_mark(&r->arena);
    struct events_call *c = ARENA_NEW(&r->arena, struct events_call, &err);
    r->call = c;
    if (!c) {
        http_reply_error(r, &err);
        return;
    }
    c->before = before;
    http_post(r, LANE_READ, open_run, open_after);
}
