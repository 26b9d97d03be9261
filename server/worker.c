/* The worker: claim, fork, watch, store, again.
 *
 * Between fork and result the worker polls three descriptors: the child's pipe, its signals, and
 * the wake-ups.  End of file on the pipe is the child's end, since nobody else holds it.  A job's
 * first stage is published after a moment only, so that a small job costs one durable commit and
 * one wake-up of the daemon.  The child is killed once its result is complete, and collected when
 * it is dead, at the latest when DYING_MAX are on their way: taking down its memory overlaps with
 * the disk work and with the next job. */
#define _GNU_SOURCE
#include "server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/json.h"
#include "server/store.h"
#include "server/wake.h"
#include "server/worker_child.h"
#include "server/worker_wire.h"

#define IDLE_LOOK_MS 1000      /* without a wake-up */
#define FIRST_PUBLISH_MS 25    /* a job that is done by then never shows as running */
#define PUBLISH_MS 100         /* stage and progress, if they changed */
#define BEAT_MS 500            /* renews the lease, and hears of a cancel without a wake-up */
#define STOP_GRACE_MS 2000     /* for the job at hand after SIGTERM */
#define SWEEP_MS 600000
#define SWEEP_AGE_MS 3600000
#define ARENA_QUOTA ((size_t)16 << 20)
#define PIPE_SIZE (1 << 20)
#define MAX_OPTIONS 256
#define DYING_MAX 4

struct worker {
    struct worker_options o; /* with the defaults filled in */
    char name[128];
    struct store *store;
    struct wake *wake;
    struct sandbox *sandbox;
    struct sandbox_note *note;
    int signal_fd, null_fd;
    int dying; /* children killed and not yet collected */
    bool stopping;
    int64_t stop_at, next_sweep;
};

/* One job in a child. */
struct run {
    struct worker *w;
    const struct store_job *job;
    pid_t pid;
    int pipe_fd;
    struct wire wire;
    int64_t started, deadline, next_beat, published;
    char stage[24]; /* as published */
    double progress;
    enum { RUN_ENDED, RUN_DIED, RUN_TIME_UP, RUN_CANCELLED, RUN_LOST, RUN_BROKEN, RUN_GIVEN_BACK } end;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void complain(const struct worker *w, const char *about, const struct bpu_error *err)
{
    fprintf(stderr, "bpuhub worker %s: %s: %s%s%s\n", w->name, about, err->message,
            *err->where ? " at " : "", err->where);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void signals_read(struct worker *w)
{
    struct signalfd_siginfo info;
    while (read(w->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (!w->stopping) {
            w->stopping = true;
            w->stop_at = now_ms() + STOP_GRACE_MS;
        }
}

/* Sleeps until something happens; true if a wake-up named this job or everything. */
static bool wait_for(struct worker *w, int pipe_fd, const char *job_id, int64_t until)
{
    char id[WAKE_ID_SIZE];
    bool named = false;
    struct pollfd fds[] = {{.fd = w->signal_fd, .events = POLLIN},
                           {.fd = wake_fd(w->wake), .events = POLLIN},
                           {.fd = pipe_fd, .events = POLLIN}};
    int64_t left = until - now_ms();
    if (poll(fds, 3, left < 0 ? 0 : left > 60000 ? 60000 : (int)left) <= 0)
        return false;
    if (fds[0].revents)
        signals_read(w);
    if (fds[1].revents)
        while (wake_read(w->wake, id))
            named |= !*id || strcmp(id, job_id) == 0;
    return named;
}

/* ---- one job --------------------------------------------------------------------------------- */

/* Renews the lease and publishes, if it is time; false if the job is to be stopped. */
static bool beat(struct run *r)
{
    struct bpu_error err = {0};
    int64_t now = now_ms();
    bool lost, cancel;
    bool changed = strcmp(r->stage, r->wire.stage) != 0 || r->progress != r->wire.progress ||
                   r->published == 0;
    int64_t due = r->published == 0 ? r->started + FIRST_PUBLISH_MS : r->published + PUBLISH_MS;
    if (now < r->next_beat && !(changed && now >= due)) {
        if (changed && due < r->next_beat)
            r->next_beat = due;
        return true;
    }
    r->next_beat = now + BEAT_MS;
    if (!store_job_heartbeat(r->w->store, r->job->id, r->w->name, r->w->o.lease_seconds * 1000,
                             r->wire.stage, r->wire.progress, &lost, &cancel, &err)) {
        complain(r->w, "heartbeat", &err); /* the lease still has most of its time */
        return true;
    }
    if (lost || cancel) {
        r->end = lost ? RUN_LOST : RUN_CANCELLED;
        return false;
    }
    if (changed) {
        snprintf(r->stage, sizeof r->stage, "%s", r->wire.stage);
        r->progress = r->wire.progress;
        r->published = now;
        wake_server(r->w->wake, r->job->id);
    }
    return true;
}

static void watch(struct run *r, struct bpu_error *err)
{
    for (;;) {
        enum wire_read got = wire_receive(&r->wire, r->pipe_fd, err);
        int64_t now = now_ms(), until;
        if (r->wire.ended || got != WIRE_AGAIN) {
            r->end = got == WIRE_BROKEN ? RUN_BROKEN : r->wire.ended ? RUN_ENDED : RUN_DIED;
            return;
        }
        if (now >= r->deadline) {
            r->end = RUN_TIME_UP;
            return;
        }
        if (r->w->stopping && now >= r->w->stop_at) {
            r->end = RUN_GIVEN_BACK;
            return;
        }
        if (!beat(r))
            return;
        until = r->next_beat < r->deadline ? r->next_beat : r->deadline;
        if (r->w->stopping && r->w->stop_at < until)
            until = r->w->stop_at;
        if (wait_for(r->w, r->pipe_fd, r->job->id, until))
            r->next_beat = 0;
    }
}

/* Options of the job as the job wants them, in the arena. */
static bool options_read(const char *text, struct arena *a, struct job_request *q,
                         struct bpu_error *err)
{
    const char *key;
    json_t *value, *object = json_parse(text, strlen(text), JSON_MAX_BODY, err);
    bool ok = object != NULL;
    struct job_option *options = ok ? ARENA_ARRAY(a, struct job_option, MAX_OPTIONS, err) : NULL;
    ok = options != NULL;
    if (ok && json_object_size(object) > MAX_OPTIONS)
        ok = error_set(err, BPU_BAD_OPTION, "options", "more than %d options", MAX_OPTIONS);
    if (ok)
        json_object_foreach(object, key, value)
        {
            char *other = json_is_string(value)
                              ? NULL
                              : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            struct job_option *o = &options[q->option_count];
            o->key = ok ? arena_strdup(a, key, err) : NULL;
            const char *word = json_is_string(value) ? json_string_value(value) : other;
            o->value = o->key && word ? arena_strdup(a, word, err) : NULL;
            free(other);
            ok = o->value != NULL;
            q->option_count += ok;
        }
    q->options = options;
    json_decref(object);
    return ok;
}

static bool start(struct run *r, struct arena *a, struct bpu_error *err)
{
    struct worker *w = r->w;
    const struct store_job *j = r->job;
    char path[4352];
    struct stat st;
    int pipes[2] = {-1, -1};
    bool ok = false;
    struct worker_child c = {
        .sandbox = w->sandbox,
        .limits = {.memory = w->o.job_memory,
                   .cpu_seconds = w->o.job_cpu_seconds,
                   .namespaces = w->o.namespaces},
        .note = w->note,
        .job = w->o.job,
        .request = {.kind = j->kind,
                    .march = *j->march ? j->march : NULL,
                    .model_id = j->model,
                    .model_name = j->model_name,
                    .memory_quota = (size_t)w->o.job_memory},
        .worker = getpid(),
        .null_fd = w->null_fd,
    };
    store_model_path(w->store, j->model, path, sizeof path);
    c.model_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (c.model_fd < 0 || fstat(c.model_fd, &st) != 0) {
        error_set(err, BPU_IO, j->model_name, "the stored model cannot be opened: %s",
                  strerror(errno));
        error_hint(err, "Upload the model again.");
        goto out;
    }
    c.model_size = (size_t)st.st_size;
    if (!options_read(j->options, a, &c.request, err))
        goto out;
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        error_set(err, BPU_SERVER, NULL, "no pipe for the job: %s", strerror(errno));
        goto out;
    }
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    fcntl(pipes[0], F_SETPIPE_SZ, PIPE_SIZE); /* fewer switches; the default will do */
    memset(w->note, 0, sizeof *w->note);
    w->note->syscall = -1;
    c.pipe_fd = pipes[1];
    r->started = now_ms();
    r->deadline = r->started + (int64_t)w->o.job_seconds * 1000;
    r->next_beat = r->started + BEAT_MS;
    if (r->next_beat > r->started + FIRST_PUBLISH_MS)
        r->next_beat = r->started + FIRST_PUBLISH_MS;
    r->pid = fork();
    if (r->pid == 0)
        worker_child_run(&c);
    if (r->pid < 0) {
        error_set(err, BPU_SERVER, NULL, "no process for the job: %s", strerror(errno));
        goto out;
    }
    r->pipe_fd = pipes[0];
    pipes[0] = -1;
    ok = true;
out:
    for (int i = 0; i < 2; i++)
        if (pipes[i] >= 0)
            close(pipes[i]);
    if (c.model_fd >= 0)
        close(c.model_fd);
    return ok;
}

/* ---- ending a job ---------------------------------------------------------------------------- */

static bool store_failure(struct run *r, const struct problem *p, bool again, struct bpu_error *err)
{
    struct buf doc;
    buf_init(&doc, 16384);
    problem_write(&doc, p);
    bool ok = buf_ok(&doc, err);
    if (ok && again && r->job->attempts < r->w->o.max_attempts)
        ok = store_job_requeue(r->w->store, r->job->id, r->w->name, true, buf_str(&doc), err);
    else if (ok)
        ok = store_job_finish(r->w->store, r->job->id, r->w->name, JOB_FAILED, NULL, buf_str(&doc),
                              NULL, 0, err);
    buf_fini(&doc);
    return ok;
}

static bool store_success(struct run *r, struct bpu_error *err)
{
    struct worker *w = r->w;
    struct store_artifact files[JOB_MAX_ARTIFACTS];
    const struct job_result *result = &r->wire.result;
    for (size_t i = 0; i < result->artifact_count; i++) {
        const struct job_artifact *f = &result->artifacts[i];
        struct bpu_error info = {0};
        snprintf(files[i].name, sizeof files[i].name, "%s", f->name);
        snprintf(files[i].type, sizeof files[i].type, "%s", f->type);
        if (!store_artifact_write(w->store, f->bytes.data, f->bytes.size, &files[i], err))
            return false;
        /* What the model is made of: good to have in lists, and no reason to lose a verdict. */
        if (strcmp(f->name, "model.json") == 0 && f->bytes.size < JSON_MAX_BODY &&
            !store_model_set_info(w->store, r->job->model, buf_str(&f->bytes), &info))
            complain(w, "model.json", &info);
    }
    return store_job_finish(w->store, r->job->id, w->name, JOB_SUCCEEDED, result->verdict, NULL,
                            files, result->artifact_count, err);
}

/* What the end of the run means for the job.  watched: the error of RUN_BROKEN. */
static bool conclude(struct run *r, const struct bpu_error *watched, struct bpu_error *err)
{
    struct worker *w = r->w;
    struct problem p;
    struct bpu_error why = {0};
    struct worker_death d = {.note = w->note,
                             .options = &w->o,
                             .stage = r->wire.stage,
                             .time_up = r->end == RUN_TIME_UP};
    switch (r->end) {
    case RUN_ENDED:
        if (r->wire.error.code == BPU_NONE)
            return store_success(r, err);
        p = problem_of_error(&r->wire.error);
        return store_failure(r, &p, false, err);
    case RUN_BROKEN:
        p = problem_of_error(watched);
        return store_failure(r, &p, false, err);
    case RUN_DIED:
    case RUN_TIME_UP: {
        if (wait4(r->pid, &d.status, 0, &d.usage) == r->pid)
            r->pid = 0;
        bool again = worker_death_explain(&d, &why, &p);
        complain(w, r->job->id, &why);
        return store_failure(r, &p, again, err);
    }
    case RUN_CANCELLED:
        return store_job_finish(w->store, r->job->id, w->name, JOB_CANCELLED, NULL, NULL, NULL, 0,
                                err);
    case RUN_GIVEN_BACK:
        return store_job_requeue(w->store, r->job->id, w->name, false, NULL, err);
    case RUN_LOST:
        break;
    }
    return true;
}

/* Collects the dead, and waits for some if more than `most` are dying. */
static void collect(struct worker *w, int most)
{
    while (w->dying > 0 && waitpid(-1, NULL, w->dying > most ? 0 : WNOHANG) > 0)
        w->dying--;
}

static void job_do(struct worker *w, const struct store_job *job, struct arena *a)
{
    struct run r = {.w = w, .job = job, .pipe_fd = -1};
    struct bpu_error err = {0}, watched = {0};
    bool ok;
    wire_init(&r.wire, w->o.job_output);
    if (start(&r, a, &err)) {
        watch(&r, &watched);
        kill(r.pid, SIGKILL); /* dead already, or done, or not to go on */
        ok = conclude(&r, &watched, &err);
    } else {
        struct problem p = problem_of_error(&err);
        struct bpu_error second = {0};
        complain(w, job->id, &err);
        ok = store_failure(&r, &p, err.code == BPU_SERVER, &second);
        err = second;
    }
    w->dying += r.pid > 0;
    collect(w, DYING_MAX);
    if (r.pipe_fd >= 0)
        close(r.pipe_fd);
    wire_fini(&r.wire);
    if (!ok && err.code != BPU_CONFLICT) {
        /* The store does not take the result; somebody may later, after the lease. */
        complain(w, job->id, &err);
        wait_for(w, -1, "", now_ms() + IDLE_LOOK_MS);
    }
    wake_server(w->wake, job->id);
    if (r.end == RUN_GIVEN_BACK)
        wake_workers(w->wake, job->id);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* True if there was something to do. */
static bool claim_and_do(struct worker *w, bool *was_job)
{
    struct bpu_error err = {0};
    struct store_job job;
    struct arena a;
    arena_init(&a, ARENA_QUOTA);
    bool found = store_job_claim(w->store, w->name, (int64_t)w->o.lease_seconds * 1000,
                                 w->o.max_attempts, &a, &job, &err);
    *was_job = found && job.state == JOB_RUNNING;
    if (*was_job)
        job_do(w, &job, &a);
    else if (found)
        wake_server(w->wake, job.id); /* given up or cancelled by the claim */
    else if (err.code != BPU_NONE)
        complain(w, "claiming", &err);
    arena_fini(&a);
    return found;
}

static void loop(struct worker *w)
{
    bool was_job;
    for (int64_t done = 0; !w->stopping && (w->o.stop_after == 0 || done < w->o.stop_after);) {
        signals_read(w);
        if (w->stopping)
            break;
        if (claim_and_do(w, &was_job)) {
            done += was_job;
            continue;
        }
        if (w->o.stop_when_idle)
            break;
        if (now_ms() >= w->next_sweep) {
            struct bpu_error err = {0};
            w->next_sweep = now_ms() + SWEEP_MS;
            if (!store_sweep(w->store, SWEEP_AGE_MS, &err))
                complain(w, "sweeping", &err);
        }
        collect(w, 0);
        wait_for(w, -1, "", now_ms() + IDLE_LOOK_MS);
    }
    collect(w, 0);
}

static bool probe_job(const struct job_request *request, const void *data, size_t size,
                      job_progress_fn *progress, void *progress_ctx, struct job_result *out,
                      struct bpu_error *err)
{
    (void)request, (void)data, (void)size, (void)err;
    progress(progress_ctx, "probe", 0);
    out->artifact_count = 0;
    return true;
}

/* Enters the sandbox once, so that a machine where that fails is named at the start and not by
 * every job. */
static bool sandbox_probe(struct worker *w, struct bpu_error *err)
{
    int pipes[2];
    struct wire wire;
    struct worker_child c = {.sandbox = w->sandbox,
                             .limits = {.memory = w->o.job_memory, .cpu_seconds = 10},
                             .note = w->note,
                             .job = probe_job,
                             .worker = getpid(),
                             .model_fd = -1,
                             .null_fd = w->null_fd};
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return error_set(err, BPU_SERVER, NULL, "no pipe: %s", strerror(errno));
    c.pipe_fd = pipes[1];
    pid_t pid = fork();
    if (pid == 0)
        worker_child_run(&c);
    close(pipes[1]);
    wire_init(&wire, 1);
    if (pid < 0 || wire_receive(&wire, pipes[0], err) == WIRE_BROKEN || !wire.ended)
        error_set(err, BPU_SERVER, NULL, "a process in the sandbox does not work on this machine");
    else if (wire.error.code != BPU_NONE)
        *err = wire.error;
    if (err->code != BPU_NONE)
        error_hint(err, "The kernel needs seccomp filters (CONFIG_SECCOMP_FILTER).");
    wire_fini(&wire);
    close(pipes[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return err->code == BPU_NONE;
}

static void defaults_fill(struct worker *w, const struct worker_options *o)
{
    char host[64] = "";
    unsigned tag = 0;
    w->o = *o;
    if (w->o.job_memory <= 0)
        w->o.job_memory = INT64_C(2) << 30;
    if (w->o.job_output <= 0)
        w->o.job_output = INT64_C(256) << 20;
    if (w->o.job_seconds <= 0)
        w->o.job_seconds = 600;
    if (w->o.job_cpu_seconds <= 0)
        w->o.job_cpu_seconds = w->o.job_seconds;
    if (w->o.lease_seconds <= 0)
        w->o.lease_seconds = 30;
    if (w->o.max_attempts <= 0)
        w->o.max_attempts = 3;
    if (!w->o.job)
        w->o.job = job_run;
    if (!w->o.warm_up)
        w->o.warm_up = job_warm_up;
    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        snprintf(host, sizeof host, "worker");
    if (getrandom(&tag, sizeof tag, 0) != (ssize_t)sizeof tag)
        tag = (unsigned)now_ms();
    if (o->name)
        snprintf(w->name, sizeof w->name, "%s", o->name);
    else
        snprintf(w->name, sizeof w->name, "%s-%ld-%08x", host, (long)getpid(), tag);
}

static bool set_up(struct worker *w, struct bpu_error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    signal(SIGCHLD, SIG_DFL); /* ignored, it would keep us from learning how a child ended */
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0 ||
        (w->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)) < 0 ||
        (w->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
        return error_set(err, BPU_SERVER, NULL, "the worker cannot start: %s", strerror(errno));
    w->note = mmap(NULL, sizeof *w->note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                   0);
    if (w->note == MAP_FAILED) {
        w->note = NULL;
        return error_set(err, BPU_NO_MEMORY, NULL, "the worker cannot start: %s", strerror(errno));
    }
    w->o.warm_up();
    if (!(w->sandbox = sandbox_new(err)) || !sandbox_probe(w, err))
        return false;
    w->store = store_open(w->o.data_dir, err);
    if (!w->store)
        return false;
    store_set_tool_version(w->store, w->o.tool_version);
    w->wake = wake_open(w->o.data_dir, WAKE_WORKER, err);
    return w->wake != NULL;
}

int worker_main(const struct worker_options *options)
{
    struct bpu_error err = {0};
    struct worker w = {.signal_fd = -1, .null_fd = -1};
    defaults_fill(&w, options);
    bool ok = set_up(&w, &err);
    if (ok)
        loop(&w);
    else
        complain(&w, "start", &err);
    wake_close(w.wake);
    store_close(w.store);
    sandbox_free(w.sandbox);
    if (w.note)
        munmap(w.note, sizeof *w.note);
    if (w.signal_fd >= 0)
        close(w.signal_fd);
    if (w.null_fd >= 0)
        close(w.null_fd);
    return ok ? 0 : error_exit_code(err.code);
}
