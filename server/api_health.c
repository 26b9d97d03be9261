/* Design: /healthz says that the process answers; /readyz that a job sent now would be done
 * (ready.c); /metrics what an operator watches. */
#include <time.h>

#include "server/api.h"
#include "server/json.h"
#include "server/ready.h"

void api_healthz(struct http_request *r)
{
    static const char text[] = "{\"status\":\"ok\",\"version\":\"" BPU_VERSION "\"}";
    http_reply_bytes(r, 200, "application/json", text, sizeof text - 1);
}

static bool ready_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct store_counts c;
    if (atomic_load(&r->server->draining)) {
        http_reply_problem(r, &(struct problem){.status = 503,
                                                .code = "draining",
                                                .title = "The server is going down",
                                                .detail = "the server ends what it has begun",
                                                .hint = "send the request to the next one"});
        return true;
    }
    if (!store_counts(s, &c, &t->err))
        return false;
    int wanted = (int)r->server->config.workers, alive = atomic_load(&r->server->workers_alive);
    if (!ready_workers(wanted, alive, &t->err))
        return false;
    struct buf text;
    buf_init(&text, 4096);
    buf_printf(&text, "{\"status\":\"ready\",\"queued\":%lld,\"running\":%lld,\"workers\":%d}",
               (long long)c.queued, (long long)c.running, alive);
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

/* Whatever the reason, not being ready is a 503 of its own code: balancers look at nothing else. */
static void ready_after(struct task *t)
{
    struct http_request *r = http_request_of(t);
    if (t->err.code != BPU_NONE) {
        r->retry_after = 2;
        http_reply_problem(r, &(struct problem){.status = 503,
                                                .code = "not_ready",
                                                .title = "The server cannot do work now",
                                                .detail = t->err.message,
                                                .hint = t->err.hint});
    }
    http_resume(r);
}

static void ready_disk_after(struct task *t)
{
    if (t->err.code != BPU_NONE)
        ready_after(t);
    else
        http_post_next(http_request_of(t), LANE_WRITE, ready_run, ready_after);
}

static bool ready_disk_run(struct task *t, struct store *s)
{
    (void)s;
    return ready_disk(http_request_of(t)->server->config.data, &t->err);
}

void api_readyz(struct http_request *r)
{
    http_post(r, LANE_DISK, ready_disk_run, ready_disk_after);
}

static void gauge(struct buf *out, const char *name, const char *help, double value)
{
    buf_printf(out, "# HELP bpuhub_%s %s\n# TYPE bpuhub_%s gauge\nbpuhub_%s %.15g\n", name, help,
               name, name, value);
}

static bool metrics_run(struct task *t, struct store *s)
{
    struct http_request *r = http_request_of(t);
    struct http_server *h = r->server;
    struct store_counts c;
    if (!store_counts(s, &c, &t->err))
        return false;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double age = 0;
    if (c.oldest_queued)
        age = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)c.oldest_queued / 1e3;
    struct buf text;
    buf_init(&text, (size_t)4 << 20);
    gauge(&text, "jobs_queued", "Jobs that wait for a worker.", (double)c.queued);
    gauge(&text, "jobs_running", "Jobs that a worker has.", (double)c.running);
    gauge(&text, "jobs", "Jobs in the store.", (double)c.jobs);
    gauge(&text, "models", "Models in the store.", (double)c.models);
    gauge(&text, "oldest_queued_seconds", "Age of the oldest job that waits.", age > 0 ? age : 0);
    gauge(&text, "event_streams", "Open event streams.", (double)watch_stream_count(h->watch));
    gauge(&text, "http_requests_open", "Requests that are being answered.",
          (double)atomic_load(&h->open_requests));
    http_metrics_write(h->metrics, &text);
    struct bpu_error err = {0};
    if (buf_ok(&text, &err))
        http_reply_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&text),
                         text.size);
    else
        http_reply_error(r, &err);
    buf_fini(&text);
    return true;
}

void api_metrics(struct http_request *r)
{
    http_post(r, LANE_READ, metrics_run, http_after);
}
