/* Old jobs are forgotten in the write lane, a few at a time, so that requests come between. */
#include "server/retention.h"

#include <stdlib.h>
#include <string.h>

#include "server/log.h"
#include "server/store_care.h"

#define RETENTION_FIRST_MS 5000
#define RETENTION_MS 600000

struct retention {
    struct task task;
    struct http_server *server;
    struct prune_policy policy;
    struct prune_result result;
    char names[sizeof((struct config *)0)->pinned_projects];
    const char *pinned[CONFIG_PINNED_MAX + 1];
    uint64_t next_us;
    atomic_bool busy;
};

static bool retention_run(struct task *t, struct store *s)
{
    struct retention *r = (struct retention *)((char *)t - offsetof(struct retention, task));
    return store_prune(s, &r->policy, &r->result, &t->err);
}

static void retention_after(struct task *t)
{
    struct retention *r = (struct retention *)((char *)t - offsetof(struct retention, task));
    if (t->err.code != BPU_NONE)
        log_say("warning", "retention_failed", 0, "old jobs cannot be forgotten: %s", t->err.message);
    else if (r->result.jobs || r->result.models)
        log_say("info", "retention", 0, "forgot %lld jobs and %lld models, %.1f MB",
            (long long)r->result.jobs, (long long)r->result.models, (double)r->result.bytes / 1e6);
    if (t->err.code == BPU_NONE && r->result.more)
        tasks_post(r->server->tasks, LANE_WRITE, t); /* others come between */
    else
        atomic_store(&r->busy, false);
}

struct retention *retention_new(struct http_server *h)
{
    const struct config *c = &h->config;
    struct retention *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->server = h;
    r->next_us = clock_us() + RETENTION_FIRST_MS * UINT64_C(1000);
    r->task = (struct task){.run = retention_run, .after = retention_after};
    memcpy(r->names, c->pinned_projects, sizeof r->names);
    config_pinned(r->names, r->pinned);
    r->policy = (struct prune_policy){.max_age_ms = c->retention_days * 86400000,
                                      .max_bytes = c->retention_bytes,
                                      .pinned = r->pinned};
    return r;
}

int retention_look(struct retention *r)
{
    if (!r->policy.max_age_ms && !r->policy.max_bytes)
        return -1;
    uint64_t now = clock_us();
    if (now >= r->next_us) {
        r->next_us = now + RETENTION_MS * UINT64_C(1000);
        if (!atomic_exchange(&r->busy, true))
            tasks_post(r->server->tasks, LANE_WRITE, &r->task);
    }
    return (int)((r->next_us - now) / 1000u) + 1;
}
