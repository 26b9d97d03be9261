/* store_hook: webhooks and the log of their deliveries.  The end of a job writes the deliveries (migrations/0009_webhooks.sql);
 * server/deliver sends them. */
#ifndef BPU_SERVER_STORE_HOOK_H
#define BPU_SERVER_STORE_HOOK_H

#include "server/store.h"

#define HOOKS_MAX 100
#define HOOK_URL_MAX 1024

struct store_hook {
    char id[33];
    char url[HOOK_URL_MAX];
    char project[128];
    bool all_projects;
    char secret[65]; /* hexadecimal; only out of store_hook_add() */
    int64_t created;
};

enum delivery_state { DELIVERY_PENDING, DELIVERY_DONE, DELIVERY_GIVEN_UP };

struct store_delivery {
    int64_t n;
    char job[40], event[24];
    enum delivery_state state;
    int attempts, status; /* status of the last answer, 0 for none */
    int64_t not_before, created, finished;
    char error[200];
    /* Only out of store_delivery_due(): */
    int64_t hook; /* which webhook */
    char url[HOOK_URL_MAX], secret[65];
};

/* Fills id, secret and created. BPU_LIMIT: there are HOOKS_MAX. */
bool store_hook_add(struct store *s, struct store_hook *h, struct bpu_error *err) BPU_CHECKED;
bool store_hook_list(struct store *s, struct arena *a, struct store_hook **items, size_t *count,
                     struct bpu_error *err) BPU_CHECKED;
bool store_hooks_exist(struct store *s, bool *exist, struct bpu_error *err) BPU_CHECKED;
/* BPU_NOT_FOUND. */
bool store_hook_get(struct store *s, const char *id, struct store_hook *out, struct bpu_error *err) BPU_CHECKED;
/* With what was still to be delivered to it; BPU_NOT_FOUND. */
bool store_hook_delete(struct store *s, const char *id, struct bpu_error *err) BPU_CHECKED;

/* The newest deliveries of a webhook. */
bool store_delivery_list(struct store *s, const char *hook, int limit, struct arena *a,
                         struct store_delivery **items, size_t *count, struct bpu_error *err) BPU_CHECKED;
/* Those whose time has come, at most `limit` of each webhook. Only one process may deliver. */
bool store_delivery_due(struct store *s, int limit, struct arena *a, struct store_delivery **items,
                        size_t *count, struct bpu_error *err) BPU_CHECKED;
/* Records an attempt: state, status, error and not_before of d; attempts is one more. */
bool store_delivery_record(struct store *s, const struct store_delivery *d,
                           struct bpu_error *err) BPU_CHECKED;
/* Forgets deliveries that ended before `before`, a few hundred a call. */
bool store_delivery_forget(struct store *s, int64_t before, struct bpu_error *err) BPU_CHECKED;

#endif
