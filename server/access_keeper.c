/* Design: the thread that keeps the table of access and the store together.  It looks at the store's
 * access_version every two seconds, or when it is woken; and it writes back, rarely and without
 * making anybody wait, when tokens were used and what they have uploaded.  What a crash loses of
 * that is a few seconds of a counter. */
#include "server/access_keeper.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_SECONDS 2
#define SAVE_USED_MS INT64_C(60000)
#define SAVE_UPLOADED ((int64_t)64 << 20)
#define PRUNE_MS INT64_C(3600000)

int64_t access_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One entry with something to save, copied out; false if there is none. */
static bool next_unsaved(struct access_table *t, bool all, struct entry *out)
{
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (struct entry *e = t->entries; e && !found; e = e->next) {
        bool due = all ? e->used > e->used_saved || e->unsaved > 0
                       : e->used - e->used_saved >= SAVE_USED_MS || e->unsaved >= SAVE_UPLOADED;
        if (!due)
            continue;
        *out = *e;
        e->used_saved = e->used;
        e->unsaved = 0;
        found = true;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static void save(struct access_table *t, bool all)
{
    struct entry e;
    while (next_unsaved(t, all, &e)) {
        struct bpu_error err = {0};
        if (!store_token_used(t->store, e.token.n, e.used, e.day, e.unsaved, &err)) {
            fprintf(stderr, "bpuhub: the use of token %lld cannot be noted: %s\n",
                    (long long)e.token.n, err.message);
            return;
        }
    }
}

static void look(struct access_table *t)
{
    struct bpu_error err = {0};
    int64_t version;
    bool ok = store_access_version(t->store, &version, &err);
    pthread_mutex_lock(&t->lock);
    bool same = ok && version == t->version;
    pthread_mutex_unlock(&t->lock);
    if (same || (ok && access_reload(t, t->store, &err)))
        return;
    /* The table stays as it was, which lets nobody in who was not. */
    fprintf(stderr, "bpuhub: tokens cannot be read: %s\n", err.message);
}

static void *keeper_loop(void *arg)
{
    struct access_table *t = arg;
    int64_t pruned = 0;
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += LOOK_SECONDS;
        pthread_mutex_lock(&t->lock);
        while (!t->woken && !t->closing && pthread_cond_timedwait(&t->wake, &t->lock, &until) == 0)
            continue;
        t->woken = false;
        bool closing = t->closing;
        pthread_mutex_unlock(&t->lock);
        if (closing)
            return NULL;
        look(t);
        save(t, false);
        if (access_now() - pruned >= PRUNE_MS) {
            struct bpu_error err = {0};
            pruned = access_now();
            if (!store_access_prune(t->store, pruned - t->audit_days * ACCESS_DAY_MS, &err))
                fprintf(stderr, "bpuhub: the audit log cannot be pruned: %s\n", err.message);
        }
    }
}

/* What the tokens have uploaded today before this daemon was started. */
static bool usage_read(struct access_table *t, struct bpu_error *err)
{
    int64_t today = access_now() / ACCESS_DAY_MS;
    for (struct entry *e = t->entries; e; e = e->next) {
        e->day = today;
        if (!store_token_usage(t->store, e->token.n, today, &e->uploaded, err))
            return false;
    }
    return true;
}

struct access_table *access_new(const char *data_dir, const struct config *c, struct bpu_error *err)
{
    struct access_table *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for the table of tokens");
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    t->rate = c->rate < 0 ? RATE_DEFAULT : c->rate;
    t->quota_upload = c->quota_upload;
    t->quota_queued = c->quota_queued;
    t->audit_days = c->audit_days;
    t->store = store_open(data_dir, err);
    if (!t->store || !access_reload(t, t->store, err) || !usage_read(t, err)) {
        access_free(t);
        return NULL;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    t->started = pthread_create(&t->thread, NULL, keeper_loop, t) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!t->started) {
        error_set(err, BPU_SERVER, NULL, "the thread that keeps the tokens cannot be started");
        access_free(t);
        return NULL;
    }
    return t;
}

void access_wake(struct access_table *t)
{
    pthread_mutex_lock(&t->lock);
    t->woken = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

void access_free(struct access_table *t)
{
    if (!t)
        return;
    if (t->started) {
        pthread_mutex_lock(&t->lock);
        t->closing = true;
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
        save(t, true);
    }
    if (t->store)
        store_close(t->store);
    for (struct entry *e = t->entries, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    free(t->secrets);
    free(t->hidden);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
