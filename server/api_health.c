/* Design: /healthz says that the process answers; /readyz that a job sent now would be done
 * (ready.c); /metrics what an operator watches. */
#include <string.h>
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

static void counter(struct buf *out, const char *name, const char *help, double value)
{
    buf_printf(out, "# HELP bpuhub_%s %s\n# TYPE bpuhub_%s counter\nbpuhub_%s %.15g\n", name, help,
               name, name, value);
}

/* What the store counts for all processes. */
static const struct {
    const char *name, *help;
} shared[] = {
    {"job_run_seconds_total", "Time from claim to end of jobs that were computed, by kind."},
    {"job_stage_seconds_total", "Time that jobs spent in a stage, by kind."},
    {"job_wait_seconds_total", "Time from request to claim of jobs that were computed, by kind."},
    {"jobs_ended_total", "Jobs that ended, by kind, state, and whether they were computed, answered from the cache"
                         " or shared with an identical one in flight."},
    {"sandbox_kills_total", "Jobs whose process was killed, by the reason's code."},
    {"webhook_deliveries_total", "Attempts to deliver a notice, by their outcome."},
};

static bool counters_write(struct http_request *r, struct store *s, struct buf *out, struct bpu_error *err)
{
    struct store_counter *list;
    size_t count;
    const char *last = "";
    if (!store_counters(s, &r->arena, &list, &count, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *help = "Counted by the store.";
        for (size_t k = 0; k < sizeof shared / sizeof *shared; k++)
            if (strcmp(shared[k].name, list[i].name) == 0)
                help = shared[k].help;
        if (strcmp(last, list[i].name) != 0)
            buf_printf(out, "# HELP bpuhub_%s %s\n# TYPE bpuhub_%s counter\n", list[i].name, help,
                       list[i].name);
        last = list[i].name;
        buf_printf(out, "bpuhub_%s%s%s%s %.15g\n", list[i].name, *list[i].labels ? "{" : "",
                   list[i].labels, *list[i].labels ? "}" : "", list[i].value);
    }
    return true;
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
    gauge(&text, "workers_alive", "Worker processes of this daemon.", (double)atomic_load(&h->workers_alive));
    struct tasks_commits commits = tasks_commits(h->tasks);
    counter(&text, "store_commits_total", "Transactions of the daemon that became durable.", (double)commits.commits);
    counter(&text, "store_commit_failures_total", "Transactions of the daemon that did not.",
            (double)commits.failures);
    counter(&text, "store_commit_requests_total", "Requests in them.", (double)commits.requests);
    counter(&text, "store_commit_seconds_total", "Time from their begin to their end.", (double)commits.us / 1e6);
    if (!counters_write(r, s, &text, &t->err)) {
        buf_fini(&text);
        return false;
    }
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
