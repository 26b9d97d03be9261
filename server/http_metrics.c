/* Design: counters by route and status, and a latency histogram by route, in plain atomics: written by
 * the HTTP thread, read by whoever writes /metrics. Waiting requests count with their waiting time.
 */
#include <stdlib.h>

#include "server/http.h"

#define ROUTES_MAX 64
#define STATUS_MAX 600

/* Upper bounds in microseconds; the last bucket has none. */
static const uint64_t bounds_us[] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                     100000, 250000, 500000, 1000000, 2500000, 10000000};
#define BOUNDS (sizeof bounds_us / sizeof *bounds_us)

struct route_counters {
    _Atomic uint64_t by_status[STATUS_MAX];
    _Atomic uint64_t count, sum_us, buckets[BOUNDS];
};

struct http_metrics {
    struct route_counters routes[ROUTES_MAX + 1]; /* the last: requests without a route */
};

struct http_metrics *http_metrics_new(void)
{
    return calloc(1, sizeof(struct http_metrics));
}

void http_metrics_free(struct http_metrics *m)
{
    free(m);
}

void http_metrics_count(struct http_metrics *m, const struct route *route, unsigned status,
                        uint64_t us)
{
    size_t count;
    const struct route *table = route_table(&count);
    size_t i = route && (size_t)(route - table) < ROUTES_MAX ? (size_t)(route - table) : ROUTES_MAX;
    struct route_counters *c = &m->routes[i];
    /* Status 0: the client went away before there was an answer (499, as others write it). */
    unsigned s = status == 0 || status >= STATUS_MAX ? 499 : status;
    atomic_fetch_add_explicit(&c->by_status[s], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->sum_us, us, memory_order_relaxed);
    for (size_t b = 0; b < BOUNDS; b++)
        if (us <= bounds_us[b]) {
            atomic_fetch_add_explicit(&c->buckets[b], 1, memory_order_relaxed);
            break;
        }
}

static const char *method_name(enum http_method m)
{
    return m == METHOD_GET ? "GET" : m == METHOD_POST ? "POST" : "DELETE";
}

void http_metrics_write(struct http_metrics *m, struct buf *out)
{
    size_t count;
    const struct route *table = route_table(&count);
    buf_puts(out, "# HELP bpuhub_http_requests_total Requests answered, by route and status.\n"
                  "# TYPE bpuhub_http_requests_total counter\n");
    for (size_t i = 0; i <= ROUTES_MAX; i++) {
        if (i >= count && i < ROUTES_MAX)
            continue;
        const char *route = i < ROUTES_MAX ? table[i].pattern : "none";
        const char *method = i < ROUTES_MAX ? method_name(table[i].method) : "any";
        for (int s = 0; s < STATUS_MAX; s++) {
            uint64_t n = atomic_load_explicit(&m->routes[i].by_status[s], memory_order_relaxed);
            if (n)
                buf_printf(
                    out,
                    "bpuhub_http_requests_total{method=\"%s\",route=\"%s\",status=\"%d\"} %llu\n",
                    method, route, s, (unsigned long long)n);
        }
    }
    buf_puts(out,
             "# HELP bpuhub_http_request_seconds Time from the head to the end of the answer.\n"
             "# TYPE bpuhub_http_request_seconds histogram\n");
    for (size_t i = 0; i <= ROUTES_MAX; i++) {
        if (i >= count && i < ROUTES_MAX)
            continue;
        uint64_t n = atomic_load_explicit(&m->routes[i].count, memory_order_relaxed);
        if (!n)
            continue;
        const char *route = i < ROUTES_MAX ? table[i].pattern : "none";
        const char *method = i < ROUTES_MAX ? method_name(table[i].method) : "any";
        uint64_t us = atomic_load_explicit(&m->routes[i].sum_us, memory_order_relaxed), below = 0;
        for (size_t b = 0; b < BOUNDS; b++) {
            below += atomic_load_explicit(&m->routes[i].buckets[b], memory_order_relaxed);
            buf_printf(out,
                       "bpuhub_http_request_seconds_bucket{method=\"%s\",route=\"%s\",le=\"%g\"} %llu\n",
                       method, route, (double)bounds_us[b] / 1e6, (unsigned long long)below);
        }
        buf_printf(out,
                   "bpuhub_http_request_seconds_bucket{method=\"%s\",route=\"%s\",le=\"+Inf\"} %llu\n",
                   method, route, (unsigned long long)n);
        buf_printf(out, "bpuhub_http_request_seconds_sum{method=\"%s\",route=\"%s\"} %.6f\n",
                   method, route, (double)us / 1e6);
        buf_printf(out, "bpuhub_http_request_seconds_count{method=\"%s\",route=\"%s\"} %llu\n",
                   method, route, (unsigned long long)n);
    }
}
