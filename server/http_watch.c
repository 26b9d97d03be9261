/* Design: one mutex guards a hash table of watched jobs.  A change of a job (told by a worker
 * through the wake socket, or by the daemon's own writes) posts at most one read of it; the
 * snapshot it yields ends the waits, and marks the streams, whose suspended connections resume.  A
 * stream that has nothing to say suspends itself inside its content callback, under the same mutex,
 * so that no change falls between.  One timer thread ends waits whose time is up, looks at all
 * watched jobs every two seconds in case a wake-up was lost, and lets silent streams send a
 * comment, which is also how a vanished client is noticed. */
#define _GNU_SOURCE
#include "server/http_watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/api.h"

#define BUCKETS 4096u
#define TICK_MS 100
#define REFRESH_US 2000000u
#define PING_US 15000000u
#define ACCESS_US 1000000u
#define STREAM_BLOCK 512 /* for clients of HTTP/1.0; others get an event in one piece */
#define STREAMS_MAX 8192u

struct stream {
    struct stream *next, **link;
    struct watch_job *job;
    struct watch *watch;
    struct MHD_Connection *connection;
    bool suspended;
    unsigned version_sent;
    int state_sent; /* -1: nothing yet */
    char stage_sent[24];
    uint64_t written_us;
    struct access access; /* of who listens, and the job's project: a token may be revoked meanwhile */
    char project[128];
    bool over;
    const void *memory; /* http_request's */
    char *out; /* bytes on their way to the client */
    size_t out_size, out_at;
};

struct watch_job {
    struct watch_job *next, **link;
    char id[WAKE_ID_SIZE];
    struct watch *watch;
    struct waiter *waiters;
    struct stream *streams;
    struct snapshot *latest; /* NULL until first read */
    struct snapshot *fresh;  /* from run to after of the task */
    unsigned version;
    bool gone;             /* the job does not exist any more */
    bool reading, changed; /* a read is on its way; a change came after it began */
    uint64_t read_us;
    struct task task;
};

struct watch {
    struct http_server *server;
    pthread_mutex_t lock;
    struct watch_job *buckets[BUCKETS];
    size_t job_count, stream_count;
    uint64_t asked_us; /* when streams were last asked whether they may go on */
    bool draining, closing;
    int kick; /* eventfd: the first job came, or the end */
    pthread_t thread;
    bool started;
};

static struct snapshot *snapshot_ref(struct snapshot *s)
{
    if (s)
        s->references++;
    return s;
}

static void snapshot_unref(struct snapshot *s)
{
    if (s && --s->references == 0) {
        free(s->json);
        free(s);
    }
}

bool snapshot_ended(const struct snapshot *s)
{
    return job_state_ended((enum job_state)s->state);
}

static unsigned id_hash(const char *id)
{
    unsigned h = 2166136261u;
    for (; *id; id++)
        h = (h ^ (unsigned char)*id) * 16777619u;
    return h % BUCKETS;
}

/* All functions named locked_ are called with the mutex held. */

static struct watch_job *locked_find(struct watch *w, const char *id)
{
    struct watch_job *j = w->buckets[id_hash(id)];
    while (j && strcmp(j->id, id) != 0)
        j = j->next;
    return j;
}

static struct watch_job *locked_find_or_add(struct watch *w, const char *id)
{
    struct watch_job *j = locked_find(w, id);
    if (j || strlen(id) >= WAKE_ID_SIZE)
        return j;
    j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    strcpy(j->id, id);
    j->watch = w;
    struct watch_job **bucket = &w->buckets[id_hash(id)];
    j->next = *bucket;
    j->link = bucket;
    if (*bucket)
        (*bucket)->link = &j->next;
    *bucket = j;
    if (w->job_count++ == 0)
        (void)eventfd_write(w->kick, 1);
    return j;
}

static void locked_release(struct watch_job *j)
{
    if (j->waiters || j->streams || j->reading)
        return;
    *j->link = j->next;
    if (j->next)
        j->next->link = j->link;
    j->watch->job_count--;
    snapshot_unref(j->latest);
    free(j);
}

static void locked_stream_wake(struct stream *st)
{
    if (!st->suspended)
        return;
    st->suspended = false;
    MHD_resume_connection(st->connection);
    atomic_fetch_sub(&st->watch->server->suspended, 1);
    http_kick(st->watch->server);
}

static void waiter_unlink(struct waiter *x)
{
    *x->link = x->next;
    if (x->next)
        x->next->link = x->link;
}

/* Moves a waiter to the list that is called when the mutex is free again. */
static void locked_waiter_take(struct waiter *x, struct waiter **out)
{
    waiter_unlink(x);
    x->next = *out;
    *out = x;
}

static void waiters_call(struct waiter *list, struct snapshot *s, bool ended)
{
    while (list) {
        struct waiter *x = list;
        list = x->next; /* the request may be gone after the call */
        x->done(x->request, s, ended);
    }
}

static bool job_read(struct task *t, struct store *s)
{
    struct watch_job *j = (struct watch_job *)((char *)t - offsetof(struct watch_job, task));
    j->fresh = view_snapshot(s, j->id, &t->err);
    return j->fresh != NULL;
}

static void job_read_after(struct task *t);

static void locked_read(struct watch_job *j)
{
    if (j->reading) {
        j->changed = true;
        return;
    }
    j->reading = true;
    j->changed = false;
    j->read_us = clock_us();
    j->task = (struct task){.run = job_read, .after = job_read_after};
    tasks_post(j->watch->server->tasks, LANE_READ, &j->task);
}

/* For a newcomer: the state now, and not an end that was read before a retry. */
static void locked_read_anew(struct watch_job *j)
{
    if (j->latest && snapshot_ended(j->latest)) {
        snapshot_unref(j->latest);
        j->latest = NULL;
    }
    j->gone = false;
    locked_read(j);
}

static bool snapshot_same(const struct snapshot *a, const struct snapshot *b)
{
    return a && a->json_size == b->json_size && memcmp(a->json, b->json, a->json_size) == 0;
}

static void job_read_after(struct task *t)
{
    struct watch_job *j = (struct watch_job *)((char *)t - offsetof(struct watch_job, task));
    struct watch *w = j->watch;
    struct waiter *ended = NULL;
    pthread_mutex_lock(&w->lock);
    j->reading = false;
    /* An end that was read before a later change may be over again (retry): read once more. */
    bool over = !j->fresh || snapshot_ended(j->fresh);
    bool stale = j->changed && over;
    if (j->fresh && !stale && !snapshot_same(j->latest, j->fresh)) {
        snapshot_unref(j->latest);
        j->latest = j->fresh;
        j->version++;
        for (struct stream *st = j->streams; st; st = st->next)
            locked_stream_wake(st);
    } else {
        snapshot_unref(j->fresh);
    }
    bool failed = !j->fresh && !stale && t->err.code == BPU_NOT_FOUND;
    j->fresh = NULL;
    if (failed) {
        j->gone = true;
        for (struct stream *st = j->streams; st; st = st->next)
            locked_stream_wake(st);
    }
    struct snapshot *s = failed ? NULL : snapshot_ref(j->latest);
    if (failed || (!stale && s && snapshot_ended(s)))
        while (j->waiters)
            locked_waiter_take(j->waiters, &ended);
    if (j->changed && (j->waiters || j->streams))
        locked_read(j);
    locked_release(j);
    pthread_mutex_unlock(&w->lock);
    /* s has a reference of its own, which the analyzer does not count. */
    waiters_call(ended, s, true); /* NOLINT(clang-analyzer-unix.Malloc) */
    pthread_mutex_lock(&w->lock);
    snapshot_unref(s);
    pthread_mutex_unlock(&w->lock);
}

void watch_changed(struct watch *w, const char *job)
{
    pthread_mutex_lock(&w->lock);
    if (*job) {
        struct watch_job *j = locked_find(w, job);
        if (j)
            locked_read(j);
    } else {
        for (unsigned b = 0; w->job_count && b < BUCKETS; b++)
            for (struct watch_job *j = w->buckets[b]; j; j = j->next)
                locked_read(j);
    }
    pthread_mutex_unlock(&w->lock);
}

void watch_wait(struct watch *w, struct http_request *r, const char *job, int64_t wait_ms,
                void (*done)(struct http_request *r, struct snapshot *s, bool ended))
{
    struct waiter *x = &r->waiter;
    *x = (struct waiter){.request = r, .done = done};
    x->deadline_us = clock_us() + (uint64_t)wait_ms * 1000u;
    pthread_mutex_lock(&w->lock);
    struct watch_job *j = w->draining ? NULL : locked_find_or_add(w, job);
    if (j) {
        x->next = j->waiters;
        x->link = &j->waiters;
        if (j->waiters)
            j->waiters->link = &x->next;
        j->waiters = x;
        /* The job may have changed since the caller read it. */
        locked_read_anew(j);
    }
    pthread_mutex_unlock(&w->lock);
    if (!j)
        done(r, NULL, false);
}

static void *event_text(struct stream *st, const struct snapshot *s, size_t *size)
{
    const char *what = st->state_sent != s->state              ? "state"
                       : strcmp(st->stage_sent, s->stage) != 0 ? "stage"
                                                               : "progress";
    char *text = malloc(s->json_size + 96);
    if (!text)
        return NULL;
    int n =
        snprintf(text, 96, "%sevent: %s\nid: %u\ndata: ", st->state_sent < 0 ? "retry: 2000\n" : "",
                 what, st->version_sent);
    for (size_t i = 0; i < s->json_size; i++) /* a line break would end the data */
        text[(size_t)n + i] = s->json[i] == '\n' || s->json[i] == '\r' ? ' ' : s->json[i];
    text[(size_t)n + s->json_size] = '\n';
    text[(size_t)n + s->json_size + 1] = '\n';
    *size = (size_t)n + s->json_size + 2;
    st->state_sent = s->state;
    memcpy(st->stage_sent, s->stage, sizeof st->stage_sent);
    return text;
}

/* libmicrohttpd zeroes the connection's memory and keeps it while the stream is open: pages of nothing but zeros go back to
 * the system, which yields zeros again if they are ever needed. */
static void pages_give_back(const void *memory)
{
    static const char zeros[4096];
    long page = sysconf(_SC_PAGESIZE);
    unsigned char *start = (unsigned char *)((uintptr_t)memory & ~((uintptr_t)page - 1)), resident[CONNECTION_MEMORY >> 12];
    if (page != sizeof zeros || mincore(start, CONNECTION_MEMORY, resident) != 0)
        return; /* not memory of its own */
    for (size_t i = 0; i < sizeof resident; i++)
        if (resident[i] & 1 && memcmp(start + i * sizeof zeros, zeros, sizeof zeros) == 0)
            (void)madvise(start + i * sizeof zeros, sizeof zeros, MADV_DONTNEED);
}

/* The content callback of a stream: HTTP thread. */
static ssize_t stream_read(void *cls, uint64_t position, char *out, size_t max)
{
    (void)position;
    struct stream *st = cls;
    struct watch *w = st->watch;
    ssize_t result = 0;
    pthread_mutex_lock(&w->lock);
    struct watch_job *j = st->job;
    if (!st->out) {
        if (st->over) {
            result = MHD_CONTENT_READER_END_OF_STREAM;
        } else if (j->latest && st->version_sent != j->version) {
            st->version_sent = j->version;
            st->out = event_text(st, j->latest, &st->out_size);
        } else if (w->draining || j->gone || (j->latest && snapshot_ended(j->latest))) {
            result = MHD_CONTENT_READER_END_OF_STREAM;
        } else if (clock_us() - st->written_us >= PING_US) {
            st->out = strdup(": still here\n\n");
            st->out_size = st->out ? strlen(st->out) : 0;
        }
    }
    size_t n = st->out ? st->out_size - st->out_at : 0;
    if (n) {
        n = n < max ? n : max;
        memcpy(out, st->out + st->out_at, n);
        st->out_at += n;
        if (st->out_at == st->out_size) {
            free(st->out);
            st->out = NULL;
            st->out_at = st->out_size = 0;
        }
        st->written_us = clock_us();
        result = (ssize_t)n;
    } else if (result == 0) {
        pages_give_back(st->memory);
        st->suspended = true;
        atomic_fetch_add(&w->server->suspended, 1);
        MHD_suspend_connection(st->connection);
    }
    pthread_mutex_unlock(&w->lock);
    return result;
}

static void stream_free(void *cls)
{
    struct stream *st = cls;
    struct watch *w = st->watch;
    pthread_mutex_lock(&w->lock);
    *st->link = st->next;
    if (st->next)
        st->next->link = st->link;
    w->stream_count--;
    locked_release(st->job);
    pthread_mutex_unlock(&w->lock);
    free(st->out);
    free(st);
}

struct MHD_Response *watch_stream(struct watch *w, struct http_request *r, const char *job,
                                  const char *project, struct bpu_error *err)
{
    struct stream *st = calloc(1, sizeof *st);
    if (!st) {
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for one more event stream");
        return NULL;
    }
    st->watch = w;
    st->connection = r->connection;
    st->state_sent = -1;
    st->written_us = clock_us();
    st->access = r->access;
    st->memory = r->memory;
    snprintf(st->project, sizeof st->project, "%s", project);
    pthread_mutex_lock(&w->lock);
    struct watch_job *j = w->stream_count < STREAMS_MAX ? locked_find_or_add(w, job) : NULL;
    if (j) {
        st->job = j;
        st->next = j->streams;
        st->link = &j->streams;
        if (j->streams)
            j->streams->link = &st->next;
        j->streams = st;
        w->stream_count++;
        locked_read_anew(j);
    }
    pthread_mutex_unlock(&w->lock);
    if (!j) {
        free(st);
        error_set(err, BPU_LIMIT, NULL, "there are %u event streams already", STREAMS_MAX);
        error_hint(err, "ask GET /v1/jobs/{id} with Prefer: wait=60 instead");
        return NULL;
    }
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, stream_read, st, stream_free);
    if (!response) {
        stream_free(st);
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for one more event stream");
    }
    return response;
}

/* Ends the streams of those who may not listen any more. */
static void locked_streams_ask(struct watch *w)
{
    for (unsigned b = 0; w->stream_count && b < BUCKETS; b++)
        for (struct watch_job *j = w->buckets[b]; j; j = j->next)
            for (struct stream *st = j->streams; st; st = st->next)
                if (!st->over && !access_holds(w->server->access, &st->access, st->project)) {
                    st->over = true;
                    locked_stream_wake(st);
                }
}

/* Ends overdue waits (all with `everything`), pings streams, looks at silent jobs. */
static void tick(struct watch *w, bool everything)
{
    struct overdue {
        struct waiter *list;
    } overdue = {NULL};
    uint64_t now = clock_us();
    pthread_mutex_lock(&w->lock);
    if (now - w->asked_us >= ACCESS_US) {
        w->asked_us = now;
        locked_streams_ask(w);
    }
    for (unsigned b = 0; w->job_count && b < BUCKETS; b++) {
        for (struct watch_job *j = w->buckets[b], *next_job; j; j = next_job) {
            next_job = j->next;
            for (struct waiter *x = j->waiters, *next; x; x = next) {
                next = x->next;
                if (everything || x->deadline_us <= now)
                    locked_waiter_take(x, &overdue.list);
            }
            for (struct stream *st = j->streams; st; st = st->next)
                if (everything || now - st->written_us >= PING_US)
                    locked_stream_wake(st);
            if (!j->reading && now - j->read_us >= REFRESH_US && (j->waiters || j->streams))
                locked_read(j);
            locked_release(j);
        }
    }
    pthread_mutex_unlock(&w->lock);
    /* The latest state is read again by those who answer: a wait is no reason for a stale one. */
    waiters_call(overdue.list, NULL, false);
}

static void *watch_loop(void *arg)
{
    struct watch *w = arg;
    uint64_t last_tick = 0;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        bool closing = w->closing;
        int timeout = w->job_count ? TICK_MS : -1;
        pthread_mutex_unlock(&w->lock);
        if (closing)
            return NULL;
        struct pollfd fds[2] = {{.fd = w->kick, .events = POLLIN},
                                {.fd = wake_fd(w->server->wake), .events = POLLIN}};
        if (poll(fds, 2, timeout) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents) {
            eventfd_t ignored;
            (void)eventfd_read(w->kick, &ignored);
        }
        char id[WAKE_ID_SIZE];
        while (fds[1].revents && wake_read(w->server->wake, id)) {
            if (!*id || strcmp(id, WAKE_ACCESS) == 0)
                access_wake(w->server->access);
            if (strcmp(id, WAKE_ACCESS) != 0)
                watch_changed(w, id);
        }
        if (clock_us() - last_tick >= TICK_MS * 1000u) {
            last_tick = clock_us();
            tick(w, false);
        }
    }
}

struct watch *watch_new(struct http_server *h, struct bpu_error *err)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w) {
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for the table of waiting requests");
        return NULL;
    }
    w->server = h;
    pthread_mutex_init(&w->lock, NULL);
    w->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->started = w->kick >= 0 && pthread_create(&w->thread, NULL, watch_loop, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!w->started) {
        error_set(err, BPU_SERVER, NULL, "the thread of waiting requests cannot be started");
        watch_free(w);
        return NULL;
    }
    return w;
}

void watch_drain(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->draining = true;
    pthread_mutex_unlock(&w->lock);
    tick(w, true);
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    if (w->started) {
        pthread_mutex_lock(&w->lock);
        w->closing = true;
        pthread_mutex_unlock(&w->lock);
        (void)eventfd_write(w->kick, 1);
        pthread_join(w->thread, NULL);
    }
    if (w->kick >= 0)
        close(w->kick);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

size_t watch_stream_count(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    size_t n = w->stream_count;
    pthread_mutex_unlock(&w->lock);
    return n;
}
