/* One job, from fork to result.
 *
 * Between the two the worker polls three descriptors: the child's pipe, its signals, and the
 * wake-ups.  End of file on the pipe is the child's end, since nobody else holds it.  A job's first
 * stage is published after a moment only, so that a small job costs one durable commit and one
 * wake-up of the daemon.  The child is killed once its result is complete, and collected when it is
 * dead, at the latest when DYING_MAX are on their way: taking down its memory overlaps with the
 * disk work and with the next job. */
#define _GNU_SOURCE
#include "server/worker_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/files.h"
#include "server/json.h"
#include "server/log.h"
#include "server/problem.h"
#include "server/worker_child.h"
#include "server/worker_wire.h"

#define FIRST_PUBLISH_MS 25 /* a job that is done by then never shows as running */
#define PUBLISH_MS 100      /* stage and progress, if they changed */
#define BEAT_MS 500         /* renews the lease, and hears of a cancel without a wake-up */
#define PIPE_SIZE (1 << 20)
#define MAX_OPTIONS 256
#define DYING_MAX 4
#define RETRY_MAX_MS 300000
#define STORE_AGAIN_MS 500 /* while the disk takes no result */

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
    struct bpu_error death; /* why the child died, once that is known */
    bool counted;           /* in /metrics */
    bool again;             /* and whether another attempt may do better */
    enum {
        RUN_ENDED,
        RUN_DIED,
        RUN_TIME_UP,
        RUN_CANCELLED,
        RUN_LOST,
        RUN_BROKEN,
        RUN_GIVEN_BACK
    } end;
};

/* ---- one job --------------------------------------------------------------------------------- */

/* Renews the lease and publishes, if it is time; false if the job is to be stopped. */
static bool beat(struct run *r)
{
    struct bpu_error err = {0};
    int64_t now = worker_now();
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
        worker_complain(r->w, "heartbeat", &err); /* the lease still has most of its time */
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
        int64_t now = worker_now(), until;
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
        if (worker_wait(r->w, r->pipe_fd, r->job->id, until))
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
            char *other =
                json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
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

/* A file of the store, open for reading. */
static bool file_open(const char *path, const char *what, const char *name, int *fd, size_t *size,
                      struct bpu_error *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd >= 0 && fstat(*fd, &st) == 0) {
        *size = (size_t)st.st_size;
        return true;
    }
    char doing[64];
    snprintf(doing, sizeof doing, "the stored %s cannot be opened", what);
    files_fail(name, doing, err);
    return error_hint(err, "Upload the %s again.", what);
}

/* The model, and the files that options name. */
static bool files_open(const struct run *r, struct worker_child *c, struct bpu_error *err)
{
    char path[4352], id[65];
    const char *array;
    struct job_request *q = &c->request;
    store_model_path(r->w->store, r->job->model, path, sizeof path);
    if (!file_open(path, "model", r->job->model_name, &c->model_fd, &c->model_size, err))
        return false;
    for (size_t i = 0; i < q->option_count; i++) {
        const struct job_option *o = &q->options[i];
        if (!job_option_file(q->kind, o->key))
            continue;
        if (q->file_count == JOB_MAX_FILES || !job_file_value(o->value, id, &array))
            return error_set(err, BPU_BAD_OPTION, o->key, "the option %s names no file", o->key);
        struct job_file *f = &q->files[q->file_count];
        f->option = o->key;
        store_data_path(r->w->store, id, path, sizeof path);
        if (!file_open(path, "data file", o->key, &c->file_fds[q->file_count++], &f->size, err))
            return false;
    }
    return true;
}

static bool start(struct run *r, struct arena *a, struct bpu_error *err)
{
    struct worker *w = r->w;
    const struct store_job *j = r->job;
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
        .model_fd = -1,
        .file_fds = {-1, -1, -1, -1},
        .null_fd = w->null_fd,
    };
    if (!options_read(j->options, a, &c.request, err) || !files_open(r, &c, err))
        goto out;
    c.limits.generated_code = job_floats(&c.request);
    if (c.limits.generated_code)
        w->o.warm_up_floats();
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        error_set(err, BPU_SERVER, NULL, "no pipe for the job: %s", strerror(errno));
        goto out;
    }
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    fcntl(pipes[0], F_SETPIPE_SZ, PIPE_SIZE); /* fewer switches; the default will do */
    memset(w->note, 0, sizeof *w->note);
    w->note->syscall = -1;
    c.pipe_fd = pipes[1];
    r->started = worker_now();
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
    for (size_t i = 0; i < JOB_MAX_FILES; i++)
        if (c.file_fds[i] >= 0)
            close(c.file_fds[i]);
    return ok;
}

/* ---- ending a job ---------------------------------------------------------------------------- */

/* Back-off: doubles with each attempt. */
static int64_t retry_delay(const struct run *r)
{
    int64_t ms = r->w->o.retry_ms;
    for (int i = 1; i < r->job->attempts && ms < RETRY_MAX_MS; i++)
        ms *= 2;
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

static bool store_failure(struct run *r, const struct problem *p, bool again, struct bpu_error *err)
{
    struct buf doc;
    buf_init(&doc, 16384);
    problem_write(&doc, p);
    bool ok = buf_ok(&doc, err);
    if (ok && again && r->job->attempts < r->w->o.max_attempts)
        ok = store_job_requeue(r->w->store, r->job->id, r->w->name, true, retry_delay(r),
                               buf_str(&doc), err);
    else if (ok)
        ok = store_job_finish(r->w->store, r->job->id, r->w->name, JOB_FAILED, NULL, buf_str(&doc),
                              NULL, 0, err);
    buf_fini(&doc);
    return ok;
}

/* model.json and OPTION.data.json are what lists say of the model and of the data files: they go into
 * their rows and are no files of the job. */
static bool is_info(const struct job_artifact *f)
{
    size_t n = strlen(f->name), suffix = strlen(".data.json");
    return strcmp(f->name, "model.json") == 0 ||
           (n > suffix && strcmp(f->name + n - suffix, ".data.json") == 0);
}

/* The content of the option whose name the description's begins with. */
static bool info_data_id(const struct store_job *j, const struct job_artifact *f, char id[65])
{
    const char *array;
    char option[sizeof f->name];
    json_t *options = json_loads(j->options, 0, NULL);
    snprintf(option, sizeof option, "%.*s", (int)(strlen(f->name) - strlen(".data.json")), f->name);
    const char *value = json_string_value(json_object_get(options, option));
    bool ok = value && job_option_file(j->kind, option) && job_file_value(value, id, &array);
    json_decref(options);
    return ok;
}

/* What this run adds to /metrics; in the caller's transaction if there is one, and no reason to lose a result. */
static void count_run(struct run *r, const char *killed)
{
    struct bpu_error lost = {0};
    char labels[96];
    bool ok = true;
    if (r->counted)
        return;
    r->counted = true;
    wire_stage_end(&r->wire);
    for (size_t i = 0; ok && i < r->wire.stage_count; i++) {
        const struct wire_stage *stage = &r->wire.stages[i];
        if (strspn(stage->name, "abcdefghijklmnopqrstuvwxyz_-") != strlen(stage->name))
            continue; /* the child is not trusted with our labels */
        snprintf(labels, sizeof labels, "kind=\"%s\",stage=\"%s\"", r->job->kind, stage->name);
        ok = store_count(r->w->store, "job_stage_seconds_total", labels, (double)stage->us / 1e6, &lost);
    }
    if (ok && killed) {
        snprintf(labels, sizeof labels, "code=\"%s\"", killed);
        ok = store_count(r->w->store, "sandbox_kills_total", labels, 1, &lost);
    }
    if (!ok)
        worker_complain(r->w, "counting", &lost);
}

/* Good to have, and no reason to lose a result. */
static void store_info(struct run *r, const struct job_artifact *f)
{
    struct bpu_error lost = {0};
    char id[65];
    if (f->bytes.size >= JSON_MAX_BODY)
        return;
    bool ok = true;
    if (strcmp(f->name, "model.json") == 0)
        ok = store_model_set_info(r->w->store, r->job->model, buf_str(&f->bytes), &lost);
    else if (info_data_id(r->job, f, id))
        ok = store_data_set_info(r->w->store, id, buf_str(&f->bytes), &lost);
    if (!ok)
        worker_complain(r->w, f->name, &lost);
}

static bool store_success(struct run *r, struct bpu_error *err)
{
    struct worker *w = r->w;
    struct store_artifact files[JOB_MAX_ARTIFACTS] = {0};
    const struct job_result *result = &r->wire.result;
    size_t count = 0;
    for (size_t i = 0; i < result->artifact_count; i++) {
        const struct job_artifact *f = &result->artifacts[i];
        if (is_info(f))
            continue;
        struct store_artifact *file = &files[count++];
        snprintf(file->name, sizeof file->name, "%s", f->name);
        snprintf(file->type, sizeof file->type, "%s", f->type);
        if (!store_artifact_write(w->store, f->bytes.data, f->bytes.size, file, err))
            return false;
    }
    /* All in one commit. */
    if (!store_begin(w->store, err))
        return false;
    count_run(r, NULL);
    for (size_t i = 0; i < result->artifact_count; i++)
        if (is_info(&result->artifacts[i]))
            store_info(r, &result->artifacts[i]);
    if (!store_job_finish(w->store, r->job->id, w->name, JOB_SUCCEEDED, result->verdict, NULL,
                          files, count, err)) {
        store_rollback(w->store);
        r->counted = false;
        return false;
    }
    r->counted = store_commit(w->store, err);
    return r->counted;
}

/* What the end of the run means for the job.  watched: the error of RUN_BROKEN. */
static bool conclude(struct run *r, const struct bpu_error *watched, struct bpu_error *err)
{
    struct worker *w = r->w;
    struct problem p;
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
    case RUN_BROKEN: p = problem_of_error(watched); return store_failure(r, &p, false, err);
    case RUN_DIED:
    case RUN_TIME_UP: {
        if (r->death.code == BPU_NONE) {
            if (wait4(r->pid, &d.status, 0, &d.usage) == r->pid)
                r->pid = 0;
            r->again = worker_death_explain(&d, &r->death);
            worker_complain(w, r->job->id, &r->death);
        }
        count_run(r, error_code_name(r->death.code));
        p = problem_of_error(&r->death);
        return store_failure(r, &p, r->again, err);
    }
    case RUN_CANCELLED:
        return store_job_finish(w->store, r->job->id, w->name, JOB_CANCELLED, NULL, NULL, NULL, 0,
                                err);
    case RUN_GIVEN_BACK: return store_job_requeue(w->store, r->job->id, w->name, false, 0, NULL, err);
    case RUN_LOST: break;
    }
    return true;
}

static bool is_passing(enum bpu_code code)
{
    return code == BPU_DISK_FULL || code == BPU_DISK || code == BPU_STORE_BUSY;
}

/* As conclude(); while the disk or the database takes nothing, the result is kept and the lease renewed, so that a
 * full disk costs waiting and no work.  Gives up when somebody else has the job, or when the worker is to stop. */
static bool conclude_at_last(struct run *r, const struct bpu_error *watched, struct bpu_error *err)
{
    for (int64_t told = 0;;) {
        struct bpu_error ignored = {0};
        bool lost = false, cancel;
        if (conclude(r, watched, err))
            return true;
        if (!is_passing(err->code) || r->w->stopping)
            return false;
        if (worker_now() - told > 60000) {
            worker_complain(r->w, r->job->id, err);
            told = worker_now();
        }
        int64_t until = worker_now() + STORE_AGAIN_MS;
        while (!r->w->stopping && worker_now() < until)
            worker_wait(r->w, -1, "", until);
        *err = (struct bpu_error){0};
        if (store_job_heartbeat(r->w->store, r->job->id, r->w->name, r->w->o.lease_seconds * 1000,
                                r->wire.stage, r->wire.progress, &lost, &cancel, &ignored) &&
            lost)
            return true; /* nothing to be told about: its new holder stores the same result */
    }
}

/* Collects the dead, and waits for some if more than `most` are dying. */
void worker_collect(struct worker *w, int most)
{
    while (w->dying > 0 && waitpid(-1, NULL, w->dying > most ? 0 : WNOHANG) > 0)
        w->dying--;
}

/* One line per attempt, for those who follow a job from the request's line to its end. */
static void log_run(const struct run *r, bool stored)
{
    static const char *const ends[] = {"ended", "died", "time_up", "cancelled", "lost", "broken", "given_back"};
    struct log_line l;
    log_begin(&l, "info", "job", NULL);
    log_text(&l, "job", r->job->id);
    log_text(&l, "kind", r->job->kind);
    log_text(&l, "worker", r->w->name);
    log_int(&l, "attempt", r->job->attempts);
    log_text(&l, "end", ends[r->end]);
    log_text(&l, "stage", r->wire.stage);
    log_text(&l, "verdict", r->wire.result.verdict);
    if (r->wire.error.code != BPU_NONE || r->death.code != BPU_NONE)
        log_text(&l, "code", error_code_name(r->wire.error.code != BPU_NONE ? r->wire.error.code : r->death.code));
    log_int(&l, "ms", worker_now() - r->started);
    log_text(&l, "stored", stored ? "yes" : "no");
    log_end(&l);
}

void worker_run(struct worker *w, const struct store_job *job, struct arena *a)
{
    struct run r = {.w = w, .job = job, .pipe_fd = -1};
    struct bpu_error err = {0}, watched = {0};
    bool ok;
    wire_init(&r.wire, w->o.job_output);
    if (start(&r, a, &err)) {
        watch(&r, &watched);
        kill(r.pid, SIGKILL); /* dead already, or done, or not to go on */
        ok = conclude_at_last(&r, &watched, &err);
    } else {
        struct problem p = problem_of_error(&err);
        struct bpu_error second = {0};
        worker_complain(w, job->id, &err);
        ok = store_failure(&r, &p, err.code == BPU_SERVER || is_passing(err.code), &second);
        err = second;
    }
    if (log_is_json())
        log_run(&r, ok);
    w->dying += r.pid > 0;
    worker_collect(w, DYING_MAX);
    if (r.pipe_fd >= 0)
        close(r.pipe_fd);
    wire_fini(&r.wire);
    if (!ok && err.code != BPU_CONFLICT) {
        /* The store does not take the result; somebody may later, after the lease. */
        worker_complain(w, job->id, &err);
        worker_wait(w, -1, "", worker_now() + WORKER_LOOK_MS);
    }
    wake_server(w->wake, job->id);
    if (r.end == RUN_GIVEN_BACK)
        wake_workers(w->wake, job->id);
}
