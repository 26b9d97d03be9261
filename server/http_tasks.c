/* Design: three first-in-first-out lanes.  The write lane takes everything that waits (up to a
 * bound), runs it in one transaction and pays one fsync for all: while that fsync runs, the next
 * batch gathers, so that the batch grows with the load by itself.  A failure of one task that is
 * the client's fault leaves the others alone; a failure of the database gives up the batch and runs
 * each task alone, so that one poisoned request cannot fail its neighbours. */
#include "server/http_tasks.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_MAX 1024
#define DISK_THREADS 2
#define READ_THREADS 2
#define THREADS (DISK_THREADS + 1 + READ_THREADS)

struct lane {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct task *head, **tail;
    bool closing;
};

struct lane_thread {
    struct tasks *tasks;
    struct lane *lane;
    struct store *store;
    pthread_t thread;
    bool started;
};

struct tasks {
    struct lane lanes[LANE_COUNT];
    struct lane_thread threads[THREADS];
    struct store *write_store;
    _Atomic uint64_t commits, failures, requests, commit_us;
};

/* Up to max tasks, as a list; NULL when the lane is closed and empty. */
static struct task *lane_take(struct lane *l, size_t max)
{
    pthread_mutex_lock(&l->lock);
    while (!l->head && !l->closing)
        pthread_cond_wait(&l->wake, &l->lock);
    struct task *first = l->head, **end = &l->head;
    for (size_t n = 0; *end && n < max; n++)
        end = &(*end)->next;
    l->head = *end;
    if (!l->head)
        l->tail = &l->head;
    if (first)
        *end = NULL;
    pthread_mutex_unlock(&l->lock);
    return first;
}

static void *lane_loop(void *arg)
{
    struct lane_thread *self = arg;
    struct task *t;
    while ((t = lane_take(self->lane, 1))) {
        t->err.code = BPU_NONE;
        if (!t->run(t, self->store) && t->err.code == BPU_NONE)
            error_set(&t->err, BPU_SERVER, NULL, "the work failed without a reason");
        t->after(t);
    }
    return NULL;
}

static bool is_store_failure(const struct bpu_error *err)
{
    switch (err->code) {
    case BPU_SERVER:
    case BPU_IO:
    case BPU_NO_MEMORY:
    case BPU_DISK_FULL:
    case BPU_DISK:
    case BPU_STORE_BUSY:
    case BPU_STORE_DAMAGED: return true;
    default: return false;
    }
}

/* True if no task met a failure of the database. */
static bool batch_run(struct task *first, struct store *s)
{
    for (struct task *t = first; t; t = t->next) {
        t->err = (struct bpu_error){0};
        if (!t->run(t, s) && t->err.code == BPU_NONE)
            error_set(&t->err, BPU_SERVER, NULL, "the work failed without a reason");
        if (is_store_failure(&t->err))
            return false;
    }
    return true;
}

static void batch_alone(struct task *t, struct store *s)
{
    t->err = (struct bpu_error){0};
    if (!store_begin(s, &t->err))
        return;
    if (!t->run(t, s)) {
        store_rollback(s);
        return;
    }
    if (!store_commit(s, &t->err))
        store_rollback(s);
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void *write_loop(void *arg)
{
    struct lane_thread *self = arg;
    struct store *s = self->store;
    struct task *first;
    while ((first = lane_take(self->lane, BATCH_MAX))) {
        struct bpu_error err = {0};
        uint64_t started = now_us();
        bool begun = store_begin(s, &err), done = begun;
        if (begun) {
            done = batch_run(first, s) && store_commit(s, &err);
            if (!done)
                store_rollback(s);
        }
        *(done ? &self->tasks->commits : &self->tasks->failures) += 1;
        self->tasks->commit_us += now_us() - started;
        for (struct task *t = first, *next; t; t = next) {
            next = t->next;
            self->tasks->requests += 1;
            if (!begun)
                t->err = err; /* locked for seconds already: not the same wait again for each */
            else if (!done)
                batch_alone(t, s);
            t->after(t);
        }
    }
    return NULL;
}

static bool thread_start(struct tasks *q, int i, enum task_lane lane, struct store *s,
                         void *(*loop)(void *), struct bpu_error *err)
{
    struct lane_thread *t = &q->threads[i];
    t->tasks = q;
    t->lane = &q->lanes[lane];
    t->store = s;
    if (pthread_create(&t->thread, NULL, loop, t) != 0)
        return error_set(err, BPU_SERVER, NULL, "a thread cannot be started");
    t->started = true;
    return true;
}

struct tasks *tasks_new(const char *data_dir, struct bpu_error *err)
{
    struct tasks *q = calloc(1, sizeof *q);
    if (!q) {
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for the task lanes");
        return NULL;
    }
    for (int i = 0; i < LANE_COUNT; i++) {
        pthread_mutex_init(&q->lanes[i].lock, NULL);
        pthread_cond_init(&q->lanes[i].wake, NULL);
        q->lanes[i].tail = &q->lanes[i].head;
    }
    /* Signals belong to the main thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int n = 0;
    bool ok = (q->write_store = store_open(data_dir, err)) != NULL &&
              thread_start(q, n++, LANE_WRITE, q->write_store, write_loop, err);
    for (int i = 0; ok && i < READ_THREADS; i++) {
        struct store *s = store_open(data_dir, err);
        ok = s && thread_start(q, n++, LANE_READ, s, lane_loop, err);
        if (!ok && s)
            store_close(s);
    }
    for (int i = 0; ok && i < DISK_THREADS; i++)
        ok = thread_start(q, n++, LANE_DISK, NULL, lane_loop, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!ok) {
        tasks_free(q);
        return NULL;
    }
    return q;
}

void tasks_post(struct tasks *q, enum task_lane lane, struct task *t)
{
    struct lane *l = &q->lanes[lane];
    t->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->tail = t;
    l->tail = &t->next;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

/* Ends the threads of one lane after they have worked off what is queued. */
static void lane_close(struct tasks *q, enum task_lane lane)
{
    struct lane *l = &q->lanes[lane];
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < THREADS; i++) {
        struct lane_thread *t = &q->threads[i];
        if (!t->started || t->lane != l)
            continue;
        pthread_join(t->thread, NULL);
        t->started = false;
        if (t->store && t->store != q->write_store)
            store_close(t->store);
    }
}

void tasks_free(struct tasks *q)
{
    if (!q)
        return;
    /* In the order in which work flows: a disk task may post to the others. */
    lane_close(q, LANE_DISK);
    lane_close(q, LANE_WRITE);
    lane_close(q, LANE_READ);
    if (q->write_store)
        store_close(q->write_store);
    for (int i = 0; i < LANE_COUNT; i++) {
        pthread_mutex_destroy(&q->lanes[i].lock);
        pthread_cond_destroy(&q->lanes[i].wake);
    }
    free(q);
}

struct tasks_commits tasks_commits(struct tasks *q)
{
    return (struct tasks_commits){
        .commits = q->commits, .failures = q->failures, .requests = q->requests, .us = q->commit_us};
}

const struct store *tasks_store(const struct tasks *q)
{
    return q->write_store;
}
