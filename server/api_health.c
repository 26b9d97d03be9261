/* Design: /healthz says that the process answers; /readyz that the store answers and that work is
 * taken; /metrics what an operator watches. */
#include <time.h>

#include "server/api.h"
#include "server/json.h"

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
                                                .title = "The server is going down"});
        return true;
    }
    if (!store_counts(s, &c, &t->err))
        return false;
    struct buf text;
    buf_init(&text, 4096);
    buf_printf(&text, "{\"status\":\"ready\",\"queued\":%lld,\"running\":%lld}",
               (long long)c.queued, (long long)c.running);
    http_reply_json(r, 200, &text);
    buf_fini(&text);
    return true;
}

void api_readyz(struct http_request *r)
{
    http_post(r, LANE_READ, ready_run, http_after);
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
    gauge(&text, "http_slow_closed", "Connections that were closed because they took too long.",
          (double)atomic_load(&h->slow_closed));
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
