/* The worker and its sandbox: jobs that misbehave in every way that we know, each of which must end
 * as the right failure while the worker goes on; and workers that are killed.
 *
 * The job function is a fake that does what the model's text says. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/files.h"
#include "server/wake.h"
#include "server/sandbox.h"
#include "server/worker.h"
#include "tests/server/hub_fixture.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the fake job ---------------------------------------------------------------------------- */

static bool file_add(struct job_result *out, const char *name, const char *text,
                     struct bpu_error *err)
{
    struct job_artifact *f = &out->artifacts[out->artifact_count++];
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->type, sizeof f->type, "application/json");
    buf_init(&f->bytes, BUF_DEFAULT_CAP);
    buf_puts(&f->bytes, text);
    return buf_ok(&f->bytes, err);
}

static void spin(int64_t ms)
{
    for (int64_t end = now_ms() + ms; now_ms() < end;)
        ;
}

static int __attribute__((noinline)) recurse(int depth)
{
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth == INT_MAX ? 0 : recurse(depth + 1) + frame[0];
}

static void __attribute__((noinline, no_sanitize("undefined", "address"))) fault(void)
{
    volatile int *volatile null = NULL;
    *null = 1;
}

static void bomb(void)
{
    for (;;) {
        size_t n = (size_t)8 << 20;
        char *p = malloc(n);
        memset(p, 1, n); /* what a library that does not check does */
        __asm__ volatile("" ::"r"(p) : "memory");
    }
}

static bool fake_job(const struct job_request *q, const void *data, size_t size,
                     job_progress_fn *progress, void *ctx, struct job_result *out,
                     struct bpu_error *err)
{
    char what[64], text[256];
    snprintf(what, sizeof what, "%.*s", (int)size, (const char *)data);
    progress(ctx, "import", 0.5);
    if (strcmp(what, "loop") == 0)
        for (;;)
            spin(1000);
    if (strcmp(what, "sleep") == 0)
        for (;;)
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    if (strcmp(what, "bomb") == 0)
        bomb();
    if (strcmp(what, "segv") == 0)
        fault();
    if (strcmp(what, "abort") == 0)
        abort();
    if (strcmp(what, "exit") == 0)
        _exit(7);
    if (strcmp(what, "recurse") == 0)
        return recurse(0) == 1;
    if (strcmp(what, "open") == 0)
        text[0] = (char)open("/etc/passwd", O_RDONLY);
    if (strcmp(what, "create") == 0)
        text[0] = (char)open("/tmp/hub-escaped", O_WRONLY | O_CREAT, 0600);
    if (strcmp(what, "socket") == 0)
        text[0] = (char)socket(AF_INET, SOCK_STREAM, 0);
    if (strcmp(what, "fork") == 0)
        text[0] = (char)fork();
    if (strcmp(what, "exec") == 0)
        execl("/bin/true", "true", (char *)NULL);
    if (strcmp(what, "kill") == 0)
        kill(1, 0); /* harmless even if it were let through */
    if (strcmp(what, "code") == 0)
        text[0] = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0) == MAP_FAILED;
    if (strcmp(what, "garbage") == 0)
        for (int i = 0; i < 1000; i++)
            if (write(3, "no message of ours at all, thank you", 36) != 36)
                _exit(3);
    if (strcmp(what, "huge") == 0) {
        struct job_artifact *f = &out->artifacts[out->artifact_count++];
        snprintf(f->name, sizeof f->name, "huge.bin");
        snprintf(f->type, sizeof f->type, "application/octet-stream");
        buf_init(&f->bytes, BUF_DEFAULT_CAP);
        memset(text, 'x', sizeof text);
        for (size_t i = 0; i < ((size_t)5 << 20) / sizeof text; i++)
            buf_add(&f->bytes, text, sizeof text);
        return buf_ok(&f->bytes, err);
    }
    if (strcmp(what, "climb") == 0)
        return file_add(out, "../../escaped", "x", err);
    if (strcmp(what, "bad") == 0) {
        error_set(err, BPU_BAD_MODEL, "node 7", "the model is \xff bad");
        return error_hint(err, "export it again");
    }
    if (strncmp(what, "slow", 4) == 0) {
        for (int i = 0; i < 4; i++) {
            progress(ctx, "draw", i / 4.0);
            spin(atoi(what + 4) / 4);
        }
    }
    if (strcmp(what, "fds") == 0) /* nothing but 0..3 may be open */
        for (int i = 4; i < 4096; i++)
            if (lseek(i, 0, SEEK_CUR) >= 0 || errno != EBADF)
                return error_set(err, BPU_SERVER, NULL, "descriptor %d is open", i);
    if (strcmp(what, "env") == 0 && environ &&
        !(*environ && strcmp(*environ, "TZ=" SANDBOX_TZ) == 0 && !environ[1]))
        return error_set(err, BPU_SERVER, NULL, "the environment is %s", *environ ? *environ : "");
    if (strcmp(what, "dates") == 0) { /* as libzip does for each member of an archive */
        struct tm tm = {.tm_year = 100, .tm_mday = 1, .tm_isdst = -1};
        if (mktime(&tm) != 946684800)
            return error_set(err, BPU_SERVER, NULL, "2000-01-01 is %lld", (long long)mktime(&tm));
    }
    snprintf(text, sizeof text, "{\"model\": \"%s\", \"kind\": \"%s\", \"options\": %zu}", what,
             q->kind, q->option_count);
    snprintf(out->verdict, sizeof out->verdict, "legal");
    return file_add(out, "report.json", text, err) &&
           file_add(out, "same.txt", "whatever the options are", err) &&
           file_add(out, "model.json", "{\"nodes\": 1}", err);
}

static void warm_up(void) {}

/* ---- running workers ------------------------------------------------------------------------- */

static struct worker_options options_for(const struct hub *h)
{
    return (struct worker_options){.data_dir = h->dir,
                                   .tool_version = "1.0",
                                   .job_memory = (int64_t)256 << 20,
                                   .job_output = (int64_t)4 << 20,
                                   .job_seconds = 20,
                                   .lease_seconds = 1,
                                   .job = fake_job,
                                   .warm_up = warm_up};
}

/* The store may not be used across fork: the fixture's handle is closed meanwhile. */
static pid_t worker_start(struct hub *h, const struct worker_options *o)
{
    store_close(h->store);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no worker behind */
        _exit(worker_main(o));
    }
    h->store = store_open(h->dir, &h->err);
    hub_ok(h, h->store != NULL);
    return pid;
}

static int worker_wait(pid_t pid)
{
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static struct store_job wait_for_state(struct hub *h, const char *id, enum job_state state)
{
    struct store_job j;
    for (int64_t end = now_ms() + 15000; now_ms() < end;) {
        j = hub_get(h, id);
        if (j.state == state)
            return j;
        poll(NULL, 0, 5);
    }
    fail_msg("the job is %s and not %s: %s", job_state_name(j.state), job_state_name(state),
             j.error ? j.error : "");
    return j;
}

/* Runs one misbehaving job and a good one behind it. */
static struct store_job run_one(struct hub *h, const char *what, struct worker_options o)
{
    struct store_job bad = hub_job(h, hub_model(h, what, what), NULL);
    struct store_job good = hub_job(h, hub_model(h, "good", "good"), "{\"a\": \"1\"}");
    o.stop_when_idle = true;
    assert_int_equal(worker_wait(worker_start(h, &o)), 0);
    good = hub_get(h, good.id);
    assert_int_equal(good.state, JOB_SUCCEEDED);
    assert_string_equal(good.verdict, "legal");
    return hub_get(h, bad.id);
}

static void fails_with(void **state, const char *what, const char *code, const char *text)
{
    struct hub *h = *state;
    char member[64];
    struct store_job j = run_one(h, what, options_for(h));
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(j.error);
    snprintf(member, sizeof member, "\"code\":\"%s\"", code);
    if (!strstr(j.error, member) || !strstr(j.error, text))
        fail_msg("expected %s and \"%s\", got %s", code, text, j.error);
    assert_true(j.finished >= j.started && j.started > 0);
    struct store_artifact *files;
    size_t count;
    hub_ok(h, store_artifact_list(h->store, j.id, &h->arena, &files, &count, &h->err));
    assert_int_equal(count, 0);
}

/* ---- misbehaviour ---------------------------------------------------------------------------- */

static void test_good(void **state)
{
    struct hub *h = *state;
    struct store_job j = run_one(h, "fine", options_for(h));
    struct store_artifact *files;
    struct store_model m;
    size_t count;
    char path[512], text[256] = "";
    assert_int_equal(j.state, JOB_SUCCEEDED);
    assert_int_equal(j.attempts, 1);
    hub_ok(h, store_artifact_list(h->store, j.id, &h->arena, &files, &count, &h->err));
    assert_int_equal(count, 2);
    assert_string_equal(files[0].name, "report.json");
    store_artifact_path(h->store, files[0].sha256, path, sizeof path);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "{\"model\": \"fine\", \"kind\": \"check\", \"options\": 0}");
    hub_ok(h, store_model_get(h->store, j.model, &h->arena, &m, &h->err));
    assert_string_equal(m.info, "{\"nodes\": 1}");
}

static void test_wall(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    o.job_seconds = 1;
    struct store_job j = run_one(h, "sleep", o);
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(strstr(j.error, "\"code\":\"time_limit\""));
    assert_non_null(strstr(j.error, "more than 1 s; it was at stage import"));
}

static void test_cpu(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    o.job_cpu_seconds = 1;
    struct store_job j = run_one(h, "loop", o);
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(strstr(j.error, "\"code\":\"time_limit\""));
    assert_non_null(strstr(j.error, "1 s of processor time"));
}

static void test_memory(void **state)
{
    if (SANITIZED)
        skip(); /* no limit on address space there: the shadow alone is terabytes */
    fails_with(state, "bomb", "out_of_memory", "256 MiB of memory at stage import");
}

static void test_segv(void **state)
{
    fails_with(state, "segv", "worker_crashed", "signal 11");
}

static void test_abort(void **state)
{
    fails_with(state, "abort", "worker_crashed", "abort");
}

static void test_exit(void **state)
{
    fails_with(state, "exit", "worker_crashed", "status 7");
}

static void test_stack(void **state)
{
    if (SANITIZED)
        skip(); /* frames are of another size and the report comes from the sanitizer */
    fails_with(state, "recurse", "worker_crashed", "ran out of stack");
}

static void test_open(void **state)
{
    fails_with(state, "open", "sandbox_violation", "called open");
}

static void test_create(void **state)
{
    fails_with(state, "create", "sandbox_violation", "called open");
    assert_int_equal(access("/tmp/hub-escaped", F_OK), -1);
}

static void test_socket(void **state)
{
    fails_with(state, "socket", "sandbox_violation", "called socket");
}

static void test_fork(void **state)
{
    fails_with(state, "fork", "sandbox_violation", "called clone");
}

static void test_exec(void **state)
{
    fails_with(state, "exec", "sandbox_violation", "called execve");
}

static void test_kill(void **state)
{
    fails_with(state, "kill", "sandbox_violation", "called kill");
}

static void test_code(void **state)
{
    fails_with(state, "code", "sandbox_violation", "called mmap");
}

/* Kinds that compute in float may make memory executable, for oneDNN's kernels, and nothing else. */
static struct store_job run_float(struct hub *h, const char *what)
{
    struct worker_options o = options_for(h);
    struct store_job j = {.kind = "quantize", .march = "bayes"};
    snprintf(j.model, sizeof j.model, "%s", hub_model(h, what, what));
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    o.stop_when_idle = true;
    o.warm_up_floats = warm_up;
    assert_int_equal(worker_wait(worker_start(h, &o)), 0);
    return hub_get(h, j.id);
}

static void test_code_of_floats(void **state)
{
    struct hub *h = *state;
    struct store_job j = run_float(h, "code");
    if (j.state != JOB_SUCCEEDED)
        fail_msg("%s", j.error);
    static const char *const forbidden[] = {"open", "create", "socket", "fork", "exec", "kill"};
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        j = run_float(h, forbidden[i]);
        assert_int_equal(j.state, JOB_FAILED);
        assert_non_null(strstr(j.error, "\"code\":\"sandbox_violation\""));
    }
}

/* The job sees the bytes of the file that its option names, and no descriptor of it. */
static bool file_job(const struct job_request *q, const void *data, size_t size,
                     job_progress_fn *progress, void *ctx, struct job_result *out,
                     struct bpu_error *err)
{
    (void)data, (void)size;
    progress(ctx, "import", 0.5);
    if (q->file_count != 1 || strcmp(q->files[0].option, "calibration") != 0)
        return error_set(err, BPU_SERVER, NULL, "%zu files", q->file_count);
    if (q->files[0].size != 5 || memcmp(q->files[0].data, "12345", 5) != 0)
        return error_set(err, BPU_SERVER, NULL, "%zu bytes", q->files[0].size);
    if (lseek(4, 0, SEEK_CUR) >= 0 || errno != EBADF)
        return error_set(err, BPU_SERVER, NULL, "descriptor 4 is open");
    return file_add(out, "report.json", "{}", err) &&
           file_add(out, "calibration.data.json", "{\"arrays\":[1]}", err) &&
           file_add(out, "nothing.data.json", "{\"arrays\":[2]}", err);
}

static void test_files(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    struct store_model m = {.bytes = 5, .format = "npy", .name = "five"};
    char path[512], tmp[512], options[128];
    bool existed;
    hub_ok(h, files_sha256("12345", 5, m.id, &h->err));
    store_data_path(h->store, m.id, path, sizeof path);
    snprintf(tmp, sizeof tmp, "%s/tmp", h->dir);
    hub_ok(h, files_write(tmp, path, "12345", 5, &h->err));
    hub_ok(h, store_data_add(h->store, &m, &existed, &h->err));
    struct store_job jobs[2];
    for (int i = 0; i < 2; i++) {
        jobs[i] = (struct store_job){.kind = "quantize", .march = "bayes", .options = options};
        snprintf(options, sizeof options, "{\"calibration\":\"%s%s\"}", m.id, i ? ":x" : "");
        snprintf(jobs[i].model, sizeof jobs[i].model, "%s", hub_model(h, "m", "m"));
        hub_ok(h, store_job_add(h->store, &jobs[i], "1.0", NULL, &h->arena, &h->err));
    }
    o.stop_after = 1;
    o.job = file_job;
    o.warm_up_floats = warm_up;
    assert_int_equal(worker_wait(worker_start(h, &o)), 0);
    struct store_job j = hub_get(h, jobs[0].id);
    if (j.state != JOB_SUCCEEDED)
        fail_msg("%s", j.error);
    /* What was said of the file is in its row and is no artifact. */
    struct store_artifact *items;
    size_t count;
    hub_ok(h, store_artifact_list(h->store, j.id, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 1);
    hub_ok(h, store_data_get(h->store, m.id, &h->arena, &m, &h->err));
    assert_string_equal(m.info, "{\"arrays\":[1]}");
    /* A file that is gone fails the job in words. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(worker_wait(worker_start(h, &o)), 0);
    j = hub_get(h, jobs[1].id);
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(strstr(j.error, "data file"));
}

static void test_garbage(void **state)
{
    fails_with(state, "garbage", "worker_crashed", "something else than a result");
}

static void test_huge(void **state)
{
    fails_with(state, "huge", "limit_exceeded", "larger than allowed");
}

static void test_climb(void **state)
{
    fails_with(state, "climb", "worker_crashed", "proper name");
}

static void test_error(void **state)
{
    fails_with(state, "bad", "bad_model", "the model is ? bad");
}

static void test_nothing_open(void **state)
{
    struct hub *h = *state;
    struct store_job j = run_one(h, "fds", options_for(h));
    assert_int_equal(j.state, JOB_SUCCEEDED);
    j = run_one(h, "env", options_for(h));
    assert_int_equal(j.state, JOB_SUCCEEDED);
}

static void test_dates(void **state)
{
    struct hub *h = *state;
    assert_int_equal(run_one(h, "dates", options_for(h)).state, JOB_SUCCEEDED);
}

static void test_namespaces(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    o.namespaces = true;
    assert_int_equal(run_one(h, "fine", o).state, JOB_SUCCEEDED);
}

static void test_empty_model(void **state)
{
    struct hub *h = *state;
    assert_int_equal(run_one(h, "", options_for(h)).state, JOB_SUCCEEDED);
}

static void test_model_file_missing(void **state)
{
    struct hub *h = *state;
    char path[512];
    store_model_path(h->store, hub_model(h, "gone", "gone"), path, sizeof path);
    assert_int_equal(unlink(path), 0);
    struct store_job j = {.kind = "check", .march = "bayes"};
    snprintf(j.model, sizeof j.model, "%s", strrchr(path, '/') + 1);
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    struct worker_options o = options_for(h);
    o.stop_when_idle = true;
    assert_int_equal(worker_wait(worker_start(h, &o)), 0);
    j = hub_get(h, j.id);
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(strstr(j.error, "io_error"));
}

/* ---- cancelling, stopping, killing ----------------------------------------------------------- */

static void test_cancel(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    pid_t pid = worker_start(h, &o);
    struct store_job j = hub_job(h, hub_model(h, "sleep", "sleep"), NULL);
    j = wait_for_state(h, j.id, JOB_RUNNING);
    hub_ok(h, store_job_cancel(h->store, j.id, &h->err));
    int64_t start = now_ms();
    wait_for_state(h, j.id, JOB_CANCELLED);
    assert_true(now_ms() - start < 1000);
    /* and with a wake-up, sooner */
    struct wake *wake = wake_open(h->dir, WAKE_SENDER, &h->err);
    assert_non_null(wake);
    j = hub_job(h, hub_model(h, "sleep", "sleep"), "{\"again\": \"1\"}");
    wake_workers(wake, j.id);
    j = wait_for_state(h, j.id, JOB_RUNNING);
    hub_ok(h, store_job_cancel(h->store, j.id, &h->err));
    start = now_ms();
    wake_workers(wake, j.id);
    wait_for_state(h, j.id, JOB_CANCELLED);
    assert_true(now_ms() - start < 300);
    wake_close(wake);
    kill(pid, SIGTERM);
    assert_int_equal(worker_wait(pid), 0);
}

static void test_sigterm_idle(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    pid_t pid = worker_start(h, &o);
    poll(NULL, 0, 100);
    int64_t start = now_ms();
    kill(pid, SIGTERM);
    assert_int_equal(worker_wait(pid), 0);
    assert_true(now_ms() - start < 1000);
}

static void test_sigterm_gives_back(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    struct store_job slow = hub_job(h, hub_model(h, "sleep", "sleep"), NULL);
    pid_t pid = worker_start(h, &o);
    wait_for_state(h, slow.id, JOB_RUNNING);
    kill(pid, SIGTERM);
    assert_int_equal(worker_wait(pid), 0);
    slow = hub_get(h, slow.id);
    assert_int_equal(slow.state, JOB_QUEUED);
    assert_int_equal(slow.attempts, 0); /* it was not the job's fault */
}

static void test_sigterm_finishes(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    struct store_job slow = hub_job(h, hub_model(h, "slow", "slow600"), NULL);
    pid_t pid = worker_start(h, &o);
    wait_for_state(h, slow.id, JOB_RUNNING);
    kill(pid, SIGTERM);
    assert_int_equal(worker_wait(pid), 0);
    assert_int_equal(hub_get(h, slow.id).state, JOB_SUCCEEDED);
}

/* Kills the worker at growing delays into the same job; in the end the job is done, its files are
 * those of an undisturbed run, and no child is left behind. */
static void test_worker_killed(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    o.max_attempts = 1000;
    struct store_job j = hub_job(h, hub_model(h, "slow", "slow80"), NULL);
    int kills = 0;
    for (int delay = 0; hub_get(h, j.id).state != JOB_SUCCEEDED; delay += 8) {
        pid_t pid = worker_start(h, &o);
        poll(NULL, 0, delay);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        if (hub_get(h, j.id).state == JOB_RUNNING) { /* no need to wait for the lease */
            kills++;
            poll(NULL, 0, delay < 100 ? 1050 : 0);
        }
        if (delay > 400)
            delay = 0;
    }
    print_message("killed %d times while running\n", kills);
    struct store_artifact *a, *b;
    size_t na, nb;
    hub_ok(h, store_artifact_list(h->store, j.id, &h->arena, &a, &na, &h->err));
    struct store_job again = hub_job(h, j.model, "{}");
    assert_int_equal(again.state, JOB_SUCCEEDED); /* from the cache */
    struct store_job other = hub_job(h, j.model, "{\"fresh\": 1}");
    assert_int_equal(other.state, JOB_QUEUED);
    o.stop_when_idle = true;
    assert_int_equal(worker_wait(worker_start(h, &o)), 0);
    hub_ok(h, store_artifact_list(h->store, other.id, &h->arena, &b, &nb, &h->err));
    assert_int_equal(na, 2);
    assert_int_equal(nb, 2);
    assert_string_equal(a[1].sha256, b[1].sha256); /* report.json names the options */
}

/* A job that always takes its worker with it is given up after three attempts, with the reason. */
static void test_attempts_used_up(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    struct store_job j = hub_job(h, hub_model(h, "sleep", "sleep"), NULL);
    for (int i = 1; i <= 3; i++) {
        pid_t pid = worker_start(h, &o);
        for (int64_t end = now_ms() + 10000; now_ms() < end; poll(NULL, 0, 10)) {
            struct store_job now = hub_get(h, j.id);
            if (now.attempts == i && strcmp(now.stage, "import") == 0)
                break;
        }
        assert_int_equal(hub_get(h, j.id).attempts, i);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    poll(NULL, 0, 1100);
    o.stop_when_idle = true;
    assert_int_equal(worker_wait(worker_start(h, &o)), 0);
    j = hub_get(h, j.id);
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(strstr(j.error, "at stage import of attempt 3 of 3"));
}

/* The child of a worker, 0 if there is none. */
static pid_t child_of(pid_t worker)
{
    char path[64], text[32] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)worker, (int)worker);
    FILE *f = fopen(path, "r");
    if (!f)
        skip(); /* a kernel without this file */
    char *line = fgets(text, sizeof text, f);
    fclose(f);
    return line ? (pid_t)atoi(line) : 0;
}

/* The job's process is killed from outside, as the kernel does when memory is short: the job is
 * tried again, then given up, and the worker goes on. */
static void test_child_killed(void **state)
{
    struct hub *h = *state;
    struct worker_options o = options_for(h);
    struct store_job j = hub_job(h, hub_model(h, "sleep", "sleep"), NULL);
    pid_t pid = worker_start(h, &o);
    for (int64_t end = now_ms() + 15000; now_ms() < end; poll(NULL, 0, 10)) {
        struct store_job now = hub_get(h, j.id);
        pid_t child = child_of(pid);
        if (now.state == JOB_FAILED)
            break;
        if (now.state == JOB_RUNNING && child > 0 && strcmp(now.stage, "import") == 0)
            kill(child, SIGKILL);
    }
    j = wait_for_state(h, j.id, JOB_FAILED);
    assert_int_equal(j.attempts, 3);
    assert_non_null(strstr(j.error, "killed from outside at stage import"));
    struct store_job good = hub_job(h, hub_model(h, "good", "good"), NULL);
    wait_for_state(h, good.id, JOB_SUCCEEDED);
    kill(pid, SIGTERM);
    assert_int_equal(worker_wait(pid), 0);
}

/* ---- latency --------------------------------------------------------------------------------- */

/* With wake-ups a job is taken up and answered at once, in both directions. */
static void test_wake_ups(void **state)
{
    struct hub *h = *state;
    char id[WAKE_ID_SIZE];
    struct worker_options o = options_for(h);
    struct wake *wake = wake_open(h->dir, WAKE_SERVER, &h->err);
    assert_non_null(wake);
    pid_t pid = worker_start(h, &o);
    const char *model = hub_model(h, "quick", "quick");
    hub_job(h, model, "{\"first\": \"1\"}");
    poll(NULL, 0, 1200); /* the worker is up and idle */
    int64_t worst = 0;
    for (int i = 0; i < 10; i++) {
        char options[32];
        while (wake_read(wake, id))
            ;
        snprintf(options, sizeof options, "{\"i\": \"%d\"}", i);
        int64_t start = now_ms();
        struct store_job j = hub_job(h, model, options);
        wake_workers(wake, j.id);
        struct pollfd p = {.fd = wake_fd(wake), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_true(wake_read(wake, id));
        assert_string_equal(id, j.id);
        j = wait_for_state(h, j.id, JOB_SUCCEEDED);
        if (now_ms() - start > worst)
            worst = now_ms() - start;
    }
    print_message("queued to done: at most %d ms\n", (int)worst);
    assert_true(worst < 500);
    kill(pid, SIGTERM);
    assert_int_equal(worker_wait(pid), 0);
    wake_close(wake);
}

static void test_wake_overflow(void **state)
{
    struct hub *h = *state;
    char id[WAKE_ID_SIZE];
    struct wake *server = wake_open(h->dir, WAKE_SERVER, &h->err);
    struct wake *sender = wake_open(h->dir, WAKE_SENDER, &h->err);
    assert_non_null(server);
    assert_non_null(sender);
    struct wake *second = wake_open(h->dir, WAKE_WORKER, &h->err);
    assert_non_null(second); /* any number of workers */
    bool everything = false;
    for (int i = 0; i < 2000; i++)
        wake_server(sender, "0000000000001");
    while (wake_read(server, id))
        ;
    wake_server(sender, "0000000000002");
    while (wake_read(server, id))
        everything |= !*id;
    assert_true(everything);
    assert_string_equal(id, "0000000000002");
    wake_close(second);
    wake_close(sender);
    wake_close(server);
}

#define T(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_good),
        T(test_error),
        T(test_wall),
        T(test_cpu),
        T(test_memory),
        T(test_segv),
        T(test_abort),
        T(test_exit),
        T(test_stack),
        T(test_open),
        T(test_create),
        T(test_socket),
        T(test_fork),
        T(test_exec),
        T(test_kill),
        T(test_code),
        T(test_code_of_floats),
        T(test_files),
        T(test_garbage),
        T(test_huge),
        T(test_climb),
        T(test_nothing_open),
        T(test_dates),
        T(test_namespaces),
        T(test_empty_model),
        T(test_model_file_missing),
        T(test_cancel),
        T(test_sigterm_idle),
        T(test_sigterm_gives_back),
        T(test_sigterm_finishes),
        T(test_worker_killed),
        T(test_attempts_used_up),
        T(test_child_killed),
        T(test_wake_ups),
        T(test_wake_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
