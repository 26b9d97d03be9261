/* What every backend of the store must do; written against store.h only. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/files.h"
#include "tests/server/hub_fixture.h"

#define LEASE 60000

static bool claim(struct hub *h, const char *worker, int64_t lease, struct store_job *j)
{
    bool found = store_job_claim(h->store, worker, lease, 3, &h->arena, j, &h->err);
    assert_int_equal(h->err.code, BPU_NONE);
    return found;
}

static struct store_artifact artifact(struct hub *h, const char *name, const char *text)
{
    struct store_artifact a = {.type = "text/plain"};
    snprintf(a.name, sizeof a.name, "%s", name);
    hub_ok(h, store_artifact_write(h->store, text, strlen(text), &a, &h->err));
    return a;
}

static void finish(struct hub *h, const struct store_job *j, const char *worker,
                   const char *verdict, const char *text)
{
    struct store_artifact a = artifact(h, "report.json", text);
    hub_ok(h,
           store_job_finish(h->store, j->id, worker, JOB_SUCCEEDED, verdict, NULL, &a, 1, &h->err));
}

static size_t list(struct hub *h, struct store_job_filter f, struct store_job **items, char *next)
{
    char ignored[64];
    size_t count;
    if (!f.limit)
        f.limit = 50;
    hub_ok(h,
           store_job_list(h->store, &f, &h->arena, items, &count, next ? next : ignored, &h->err));
    return count;
}

#define COUNT(h, ...)                                                                              \
    list(h, (struct store_job_filter){__VA_ARGS__}, &(struct store_job *){0}, NULL)

/* ---- models ---------------------------------------------------------------------------------- */

static void test_models(void **state)
{
    struct hub *h = *state;
    struct store_model m = {.name = "a.onnx", .format = "onnx", .bytes = 5}, got;
    bool existed;
    memset(m.id, 'a', 64);
    hub_ok(h, store_model_add(h->store, &m, &existed, &h->err));
    assert_false(existed);
    snprintf(m.name, sizeof m.name, "b.onnx");
    hub_ok(h, store_model_add(h->store, &m, &existed, &h->err));
    assert_true(existed);
    hub_ok(h, store_model_get(h->store, m.id, &h->arena, &got, &h->err));
    assert_string_equal(got.name, "a.onnx"); /* the first name stays */
    assert_string_equal(got.format, "onnx");
    assert_int_equal(got.bytes, 5);
    assert_true(got.created > INT64_C(1700000000000));
    assert_null(got.info);
    hub_ok(h, store_model_set_info(h->store, m.id, "{\"nodes\":3}", &h->err));
    hub_ok(h, store_model_set_info(h->store, m.id, "{\"nodes\":3}", &h->err));
    hub_refused(h, store_model_set_info(h->store, m.id, "{\"nodes\":", &h->err), BPU_BAD_MODEL);
    hub_ok(h, store_model_get(h->store, m.id, &h->arena, &got, &h->err));
    assert_string_equal(got.info, "{\"nodes\":3}");
    m.id[0] = 'b';
    hub_refused(h, store_model_get(h->store, m.id, &h->arena, &got, &h->err), BPU_NOT_FOUND);
    hub_refused(h, store_model_set_info(h->store, m.id, "{}", &h->err), BPU_NOT_FOUND);
    snprintf(m.id, sizeof m.id, "../../etc/passwd");
    hub_refused(h, store_model_add(h->store, &m, &existed, &h->err), BPU_USAGE);
}

static void test_model_pages(void **state)
{
    struct hub *h = *state;
    struct store_model *items;
    char name[32], next[64] = "";
    size_t count, seen = 0;
    for (int i = 0; i < 25; i++) {
        snprintf(name, sizeof name, "model%d", i);
        hub_model(h, name, name);
    }
    do {
        hub_ok(h, store_model_list(h->store, next, 10, &h->arena, &items, &count, next, &h->err));
        for (size_t i = 0; i < count; i++, seen++) {
            snprintf(name, sizeof name, "model%zu", 24 - seen);
            assert_string_equal(items[i].name, name);
        }
    } while (*next);
    assert_int_equal(seen, 25);
    hub_refused(
        h, store_model_list(h->store, "nonsense", 10, &h->arena, &items, &count, next, &h->err),
        BPU_USAGE);
    hub_refused(h, store_model_list(h->store, NULL, 0, &h->arena, &items, &count, next, &h->err),
                BPU_USAGE);
}

/* ---- adding jobs ----------------------------------------------------------------------------- */

static void test_add(void **state)
{
    struct hub *h = *state;
    struct store_job j = {.kind = "check",
                          .march = "bayes",
                          .project = "arm",
                          .options = "{\"b\": \"2\", \"a\": \"1\"}",
                          .labels = "{\"sha\": \"c0ffee\"}"};
    snprintf(j.model, sizeof j.model, "%s", hub_model(h, "net.onnx", "net"));
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    struct store_job got = hub_get(h, j.id);
    assert_int_equal(got.state, JOB_QUEUED);
    assert_string_equal(got.kind, "check");
    assert_string_equal(got.march, "bayes");
    assert_string_equal(got.project, "arm");
    assert_string_equal(got.model, j.model);
    assert_string_equal(got.model_name, "net.onnx");
    assert_string_equal(got.options, "{\"a\":\"1\",\"b\":\"2\"}");
    assert_string_equal(got.labels, "{\"sha\":\"c0ffee\"}");
    assert_int_equal(got.attempts, 0);
    assert_int_equal(got.started, 0);
    assert_int_equal(got.finished, 0);
    assert_null(got.error);
    hub_refused(h, store_job_get(h->store, "0000000000000", &h->arena, &got, &h->err),
                BPU_NOT_FOUND);
    hub_refused(h, store_job_get(h->store, "' OR 1=1 --", &h->arena, &got, &h->err), BPU_NOT_FOUND);
    struct store_job bad = j;
    memset(bad.model, 'f', 64);
    hub_refused(h, store_job_add(h->store, &bad, "1.0", NULL, &h->arena, &h->err), BPU_NOT_FOUND);
    bad = j;
    bad.options = "[1]";
    hub_refused(h, store_job_add(h->store, &bad, "1.0", NULL, &h->arena, &h->err), BPU_USAGE);
    bad = j;
    bad.labels = "{\"sha\": 3}";
    hub_refused(h, store_job_add(h->store, &bad, "1.0", NULL, &h->arena, &h->err), BPU_USAGE);
    assert_int_equal(COUNT(h, .limit = 10), 1);
}

static void test_ids_grow(void **state)
{
    struct hub *h = *state;
    const char *model = hub_model(h, "m", "m");
    char last[40] = "", options[32];
    for (int i = 0; i < 300; i++) {
        snprintf(options, sizeof options, "{\"i\": \"%d\"}", i);
        struct store_job j = hub_job(h, model, options);
        assert_true(strcmp(j.id, last) > 0);
        snprintf(last, sizeof last, "%s", j.id);
    }
}

static void test_cache(void **state)
{
    struct hub *h = *state;
    const char *model = hub_model(h, "m", "m");
    struct store_job first = hub_job(h, model, "{\"a\":\"1\", \"b\":\"2\"}"), j;
    assert_int_equal(hub_job(h, model, "{\"a\":\"1\", \"b\":\"2\"}").state, JOB_QUEUED);
    assert_true(claim(h, "w", LEASE, &j));
    assert_string_equal(j.id, first.id);
    finish(h, &j, "w", "illegal", "report");
    struct store_job again = hub_job(h, model, "{\"b\": \"2\", \"a\": \"1\"}");
    assert_int_equal(again.state, JOB_SUCCEEDED);
    assert_string_equal(again.verdict, "illegal");
    assert_string_not_equal(again.id, first.id);
    assert_true(again.finished >= again.created && again.finished > 0);
    struct store_artifact *files;
    size_t count;
    hub_ok(h, store_artifact_list(h->store, again.id, &h->arena, &files, &count, &h->err));
    assert_int_equal(count, 1);
    assert_string_equal(files[0].name, "report.json");
    /* Anything else that decides the result, decides it. */
    struct store_job other = {.kind = "check", .march = "bernoulli2", .options = again.options};
    snprintf(other.model, sizeof other.model, "%s", model);
    hub_ok(h, store_job_add(h->store, &other, "1.0", NULL, &h->arena, &h->err));
    assert_int_equal(other.state, JOB_QUEUED);
    snprintf(other.march, sizeof other.march, "bayes");
    hub_ok(h, store_job_add(h->store, &other, "1.1", NULL, &h->arena, &h->err));
    assert_int_equal(other.state, JOB_QUEUED);
    assert_int_equal(hub_job(h, model, "{\"a\":\"1\"}").state, JOB_QUEUED);
    /* A cached answer outlives the job that it came from. */
    hub_ok(h, store_job_delete(h->store, first.id, &h->err));
    hub_ok(h, store_sweep(h->store, 0, &h->err));
    assert_int_equal(hub_job(h, model, "{\"a\":\"1\", \"b\":\"2\"}").state, JOB_SUCCEEDED);
}

/* A job queued by one version and run by another is cached under the one that ran it. */
static void test_cache_version(void **state)
{
    struct hub *h = *state;
    const char *model = hub_model(h, "m", "m");
    struct store_job j = hub_job(h, model, NULL); /* 1.0 */
    store_set_tool_version(h->store, "2.0");
    assert_true(claim(h, "w", LEASE, &j));
    finish(h, &j, "w", "legal", "report");
    assert_int_equal(hub_job(h, model, NULL).state, JOB_QUEUED);
    hub_ok(h, store_job_add(h->store, &j, "2.0", NULL, &h->arena, &h->err));
    assert_int_equal(j.state, JOB_SUCCEEDED);
}

static void test_idempotency(void **state)
{
    struct hub *h = *state;
    struct store_job a = {.kind = "check", .march = "bayes"}, b = a, c = a;
    snprintf(a.model, sizeof a.model, "%s", hub_model(h, "m", "m"));
    b = c = a;
    hub_ok(h, store_job_add(h->store, &a, "1.0", "key-1", &h->arena, &h->err));
    hub_ok(h, store_job_add(h->store, &b, "1.0", "key-1", &h->arena, &h->err));
    assert_string_equal(a.id, b.id);
    hub_ok(h, store_job_add(h->store, &c, "1.0", "key-2", &h->arena, &h->err));
    assert_string_not_equal(a.id, c.id);
    snprintf(c.kind, sizeof c.kind, "visualize");
    hub_refused(h, store_job_add(h->store, &c, "1.0", "key-1", &h->arena, &h->err), BPU_CONFLICT);
    hub_ok(h, store_job_delete(h->store, a.id, &h->err));
    b = a;
    hub_ok(h, store_job_add(h->store, &b, "1.0", "key-1", &h->arena, &h->err));
    assert_string_not_equal(a.id, b.id);
}

/* ---- the queue ------------------------------------------------------------------------------- */

static void test_life(void **state)
{
    struct hub *h = *state;
    struct store_job j, none;
    bool lost, cancel;
    assert_false(claim(h, "w", LEASE, &none));
    struct store_job first = hub_job(h, hub_model(h, "a", "a"), NULL);
    struct store_job second = hub_job(h, hub_model(h, "b", "b"), NULL);
    assert_true(claim(h, "w1", LEASE, &j));
    assert_string_equal(j.id, first.id); /* the oldest */
    assert_int_equal(j.state, JOB_RUNNING);
    assert_int_equal(j.attempts, 1);
    assert_true(j.started > 0 && j.lease_until > j.started);
    hub_ok(h, store_job_heartbeat(h->store, j.id, "w1", LEASE, "import", 0.25, &lost, &cancel,
                                  &h->err));
    assert_false(lost || cancel);
    struct store_job got = hub_get(h, j.id);
    assert_string_equal(got.stage, "import");
    assert_true(got.progress == 0.25);
    hub_ok(h, store_job_heartbeat(h->store, j.id, "w2", LEASE, "x", 0.5, &lost, &cancel, &h->err));
    assert_true(lost);
    struct store_artifact files[] = {artifact(h, "report.json", "one"),
                                     artifact(h, "g.svg", "two")};
    hub_refused(
        h, store_job_finish(h->store, j.id, "w2", JOB_SUCCEEDED, "legal", NULL, files, 2, &h->err),
        BPU_CONFLICT);
    hub_ok(h,
           store_job_finish(h->store, j.id, "w1", JOB_SUCCEEDED, "legal", NULL, files, 2, &h->err));
    hub_refused(h, store_job_finish(h->store, j.id, "w1", JOB_FAILED, "", "{}", NULL, 0, &h->err),
                BPU_CONFLICT);
    got = hub_get(h, j.id);
    assert_int_equal(got.state, JOB_SUCCEEDED);
    assert_string_equal(got.verdict, "legal");
    assert_true(got.progress == 1 && got.finished >= got.started);
    struct store_artifact *list_of;
    size_t count;
    hub_ok(h, store_artifact_list(h->store, j.id, &h->arena, &list_of, &count, &h->err));
    assert_int_equal(count, 2);
    assert_string_equal(list_of[0].name, "report.json");
    assert_string_equal(list_of[1].name, "g.svg");
    assert_int_equal(list_of[1].bytes, 3);
    assert_string_equal(list_of[1].type, "text/plain");
    assert_true(claim(h, "w1", LEASE, &j));
    assert_string_equal(j.id, second.id);
    hub_ok(h, store_job_finish(h->store, j.id, "w1", JOB_FAILED, NULL, "{\"code\":\"x\"}", NULL, 0,
                               &h->err));
    assert_string_equal(hub_get(h, j.id).error, "{\"code\":\"x\"}");
    assert_false(claim(h, "w1", LEASE, &none));
}

static void test_finish_is_atomic(void **state)
{
    struct hub *h = *state;
    struct store_job j = hub_job(h, hub_model(h, "a", "a"), NULL);
    assert_true(claim(h, "w", LEASE, &j));
    struct store_artifact twice[] = {artifact(h, "same", "one"), artifact(h, "same", "two")};
    assert_false(store_job_finish(h->store, j.id, "w", JOB_SUCCEEDED, "", NULL, twice, 2, &h->err));
    h->err = (struct bpu_error){0};
    struct store_artifact gone = artifact(h, "gone", "gone");
    char path[512];
    store_artifact_path(h->store, gone.sha256, path, sizeof path);
    assert_int_equal(unlink(path), 0);
    hub_refused(h,
                store_job_finish(h->store, j.id, "w", JOB_SUCCEEDED, "", NULL, &gone, 1, &h->err),
                BPU_IO);
    assert_int_equal(hub_get(h, j.id).state, JOB_RUNNING);
    finish(h, &j, "w", "legal", "fine");
}

static void test_lease_expiry(void **state)
{
    struct hub *h = *state;
    struct store_job j, again, none;
    struct store_job added = hub_job(h, hub_model(h, "a", "a"), NULL);
    bool lost, cancel;
    for (int attempt = 1; attempt <= 3; attempt++) {
        char worker[8];
        snprintf(worker, sizeof worker, "w%d", attempt);
        assert_true(claim(h, worker, 20, &j));
        assert_string_equal(j.id, added.id);
        assert_int_equal(j.attempts, attempt);
        assert_false(claim(h, "early", 20, &none));
        poll(NULL, 0, 30);
    }
    hub_ok(h, store_job_heartbeat(h->store, j.id, "w2", 20, "s", 0, &lost, &cancel, &h->err));
    assert_true(lost);
    /* The fourth claim gives it up and says so. */
    assert_true(claim(h, "w4", LEASE, &again));
    assert_int_equal(again.state, JOB_FAILED);
    assert_non_null(strstr(again.error, "worker w3 stopped"));
    assert_non_null(strstr(again.error, "attempt 3 of 3"));
    assert_false(claim(h, "w4", LEASE, &none));
    /* Asked again, it begins afresh. */
    hub_ok(h, store_job_retry(h->store, again.id, &h->err));
    assert_true(claim(h, "w5", LEASE, &j));
    assert_int_equal(j.attempts, 1);
    assert_null(j.error);
}

static void test_requeue(void **state)
{
    struct hub *h = *state;
    struct store_job j, added = hub_job(h, hub_model(h, "a", "a"), NULL);
    assert_true(claim(h, "w", LEASE, &j));
    hub_refused(h, store_job_requeue(h->store, j.id, "other", true, 0, NULL, &h->err), BPU_CONFLICT);
    hub_ok(h, store_job_requeue(h->store, j.id, "w", false, 0, NULL, &h->err));
    j = hub_get(h, added.id);
    assert_int_equal(j.state, JOB_QUEUED);
    assert_int_equal(j.attempts, 0);
    for (int i = 1; i <= 3; i++) {
        assert_true(claim(h, "w", LEASE, &j));
        assert_int_equal(j.attempts, i);
        hub_ok(h, store_job_requeue(h->store, j.id, "w", true, 0, "{\"code\":\"oom\"}", &h->err));
    }
    assert_true(claim(h, "w", LEASE, &j));
    assert_int_equal(j.state, JOB_FAILED);
    assert_string_equal(j.error, "{\"code\":\"oom\"}"); /* what it died of, as it was told */
}

static void test_cancel(void **state)
{
    struct hub *h = *state;
    bool lost, cancel;
    struct store_job j, queued = hub_job(h, hub_model(h, "a", "a"), NULL);
    hub_ok(h, store_job_cancel(h->store, queued.id, &h->err));
    assert_int_equal(hub_get(h, queued.id).state, JOB_CANCELLED);
    assert_false(claim(h, "w", LEASE, &j));
    hub_refused(h, store_job_cancel(h->store, queued.id, &h->err), BPU_CONFLICT);
    hub_ok(h, store_job_retry(h->store, queued.id, &h->err));
    assert_true(claim(h, "w", 30, &j));
    hub_refused(h, store_job_retry(h->store, j.id, &h->err), BPU_CONFLICT);
    hub_refused(h, store_job_delete(h->store, j.id, &h->err), BPU_CONFLICT);
    hub_ok(h, store_job_cancel(h->store, j.id, &h->err));
    assert_int_equal(hub_get(h, j.id).state, JOB_RUNNING);
    assert_true(hub_get(h, j.id).cancel_requested);
    hub_ok(h, store_job_heartbeat(h->store, j.id, "w", 30, "s", 0, &lost, &cancel, &h->err));
    assert_true(cancel && !lost);
    /* Its worker dies: nobody runs a cancelled job again. */
    poll(NULL, 0, 40);
    assert_true(claim(h, "w2", LEASE, &j));
    assert_int_equal(j.state, JOB_CANCELLED);
    assert_false(claim(h, "w2", LEASE, &j));
    hub_ok(h, store_job_delete(h->store, queued.id, &h->err));
    hub_refused(h, store_job_get(h->store, queued.id, &h->arena, &j, &h->err), BPU_NOT_FOUND);
    hub_refused(h, store_job_cancel(h->store, queued.id, &h->err), BPU_NOT_FOUND);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static struct store_job add_full(struct hub *h, const char *model, const char *kind,
                                 const char *march, const char *project, const char *labels,
                                 int serial)
{
    char options[32];
    struct store_job j = {.options = options, .labels = labels};
    snprintf(options, sizeof options, "{\"n\":\"%d\"}", serial);
    snprintf(j.model, sizeof j.model, "%s", model);
    snprintf(j.kind, sizeof j.kind, "%s", kind);
    snprintf(j.march, sizeof j.march, "%s", march);
    snprintf(j.project, sizeof j.project, "%s", project);
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    return j;
}

static void test_filters(void **state)
{
    struct hub *h = *state;
    const char *m1 = hub_model(h, "MobileNet_v2.onnx", "1"), *m2 = hub_model(h, "res50%.onnx", "2");
    struct store_job a = add_full(h, m1, "check", "bayes", "Gripper", "{\"sha\":\"1\"}", 1);
    struct store_job b = add_full(h, m2, "check", "bernoulli2", "arm", "{\"sha\":\"2\"}", 2);
    struct store_job c = add_full(h, m2, "perf", "bayes", "arm", "{\"sha\":\"1\",\"pr\":\"7\"}", 3);
    struct store_job *items, j;
    assert_true(claim(h, "w", LEASE, &j));
    finish(h, &j, "w", "legal", "r"); /* a */
    assert_int_equal(list(h, (struct store_job_filter){0}, &items, NULL), 3);
    assert_string_equal(items[0].id, c.id); /* newest first */
    assert_string_equal(items[2].id, a.id);
    assert_string_equal(items[2].model_name, "MobileNet_v2.onnx");
    assert_int_equal(COUNT(h, .state = "queued"), 2);
    assert_int_equal(COUNT(h, .state = "succeeded"), 1);
    assert_int_equal(COUNT(h, .kind = "check"), 2);
    assert_int_equal(COUNT(h, .march = "bayes"), 2);
    assert_int_equal(COUNT(h, .verdict = "legal"), 1);
    assert_int_equal(COUNT(h, .model = m2), 2);
    assert_int_equal(COUNT(h, .project = "arm"), 2);
    assert_int_equal(COUNT(h, .label_key = "sha", .label_value = "1"), 2);
    assert_int_equal(COUNT(h, .label_key = "pr", .label_value = "8"), 0);
    assert_int_equal(COUNT(h, .state = "queued", .kind = "perf", .march = "bayes", .model = m2,
                           .project = "arm", .label_key = "pr", .label_value = "7", .q = "res50"),
                     1);
    assert_int_equal(COUNT(h, .model = m1, .project = "arm"), 0);
    assert_int_equal(COUNT(h, .q = "mobilenet"), 1); /* any case */
    assert_int_equal(COUNT(h, .q = "GRIP"), 1);
    assert_int_equal(COUNT(h, .q = ".onnx"), 3);
    assert_int_equal(COUNT(h, .q = "50%"), 2); /* no wildcards */
    assert_int_equal(COUNT(h, .q = "o%t"), 0);
    assert_int_equal(COUNT(h, .q = "AR"), 2); /* two characters */
    assert_int_equal(COUNT(h, .q = "z"), 0);
    assert_int_equal(COUNT(h, .q = "ar", .kind = "perf"), 1);
    assert_int_equal(COUNT(h, .q = "\"; DROP"), 0);
    assert_int_equal(COUNT(h, .q = "onnx\" OR \"x"), 0);
    assert_int_equal(COUNT(h, .q = b.id), 1);
    char prefix[8];
    snprintf(prefix, sizeof prefix, "%.4s", b.id);
    assert_int_equal(COUNT(h, .q = prefix), 3);
    assert_int_equal(COUNT(h, .q = prefix, .kind = "perf"), 1);
    struct store_job_filter bad = {.state = "done", .limit = 10};
    size_t count;
    char next[64];
    hub_refused(h, store_job_list(h->store, &bad, &h->arena, &items, &count, next, &h->err),
                BPU_USAGE);
    bad = (struct store_job_filter){.limit = 201};
    hub_refused(h, store_job_list(h->store, &bad, &h->arena, &items, &count, next, &h->err),
                BPU_USAGE);
    hub_ok(h, store_job_delete(h->store, b.id, &h->err));
    assert_int_equal(COUNT(h, .q = "res50"), 1);
    assert_int_equal(COUNT(h, .label_key = "sha", .label_value = "2"), 0);
    struct store_counts counts;
    hub_ok(h, store_counts(h->store, &counts, &h->err));
    assert_int_equal(counts.queued, 1);
    assert_int_equal(counts.jobs, 2);
    assert_int_equal(counts.models, 2);
    assert_int_equal(counts.oldest_queued, c.created);
}

/* What the filters of `mask` keep out of the jobs that test_pages() makes. */
static bool hidden(unsigned mask, int at)
{
    return (mask & 1 && at % 7) || (mask & 2 && at / 2 % 2) || (mask & 4 && at / 4 % 2) ||
           (mask & 8 && at % 2 == 0) || (mask & 16 && at / 3 % 2 == 0) ||
           (mask & 32 && at / 5 % 2) || (mask & 64 && at % 2) ||
           (mask & (128 | 256) && at % 7 == 0);
}

/* Every combination of filters, page by page, against a plain walk over all jobs. */
static void test_pages(void **state)
{
    struct hub *h = *state;
    static const char *const kinds[] = {"check", "perf"},
                             *const marches[] = {"bayes", "bernoulli2"},
                             *const projects[] = {"arm", "leg"},
                             *const labels[] = {"{\"l\":\"1\"}", "{}"};
    const char *models[] = {hub_model(h, "alpha.onnx", "a"), hub_model(h, "beta.onnx", "b")};
    enum { N = 96 };
    struct store_job all[N];
    hub_ok(h, store_begin(h->store, &h->err));
    for (int i = 0; i < N; i++)
        all[i] = add_full(h, models[i % 2], kinds[i / 2 % 2], marches[i / 4 % 2],
                          projects[i / 3 % 2], labels[i / 5 % 2], i);
    hub_ok(h, store_commit(h->store, &h->err));
    struct store_job j;
    hub_ok(h, store_begin(h->store, &h->err));
    for (int i = 0; i < N; i += 7)
        hub_ok(h, store_job_cancel(h->store, all[i].id, &h->err));
    while (claim(h, "w", LEASE, &j))
        hub_ok(h, store_job_finish(h->store, j.id, "w", JOB_SUCCEEDED, "legal", NULL, NULL, 0,
                                   &h->err));
    hub_ok(h, store_commit(h->store, &h->err));
    for (unsigned mask = 0; mask < 512; mask++) {
        struct store_job_filter f = {
            .state = mask & 256 ? "succeeded"
                     : mask & 1 ? "cancelled"
                                : NULL,
            .verdict = mask & 128 ? "legal" : NULL,
            .kind = mask & 2 ? "check" : NULL,
            .march = mask & 4 ? "bayes" : NULL,
            .model = mask & 8 ? models[1] : NULL,
            .project = mask & 16 ? "leg" : NULL,
            .label_key = mask & 32 ? "l" : NULL,
            .label_value = "1",
            .q = mask & 64 ? "LPH" : NULL,
            .limit = 5,
        };
        char next[64] = "";
        int at = N;
        if (mask & 1 && mask & 256)
            continue; /* there is one state */
        do {
            struct store_job *items;
            f.cursor = *next ? next : NULL;
            size_t count = list(h, f, &items, next);
            assert_true(count <= 5 && (count == 5 || !*next));
            for (size_t i = 0; i < count; i++) {
                do { /* the next one that matches */
                    assert_true(--at >= 0);
                } while (hidden(mask, at));
                assert_string_equal(items[i].id, all[at].id);
            }
        } while (*next);
        while (--at >= 0) /* none is left that matches */
            assert_true(hidden(mask, at));
    }
}

/* ---- transactions, files --------------------------------------------------------------------- */

static void test_batches(void **state)
{
    struct hub *h = *state;
    const char *model = hub_model(h, "m", "m");
    hub_ok(h, store_begin(h->store, &h->err));
    hub_refused(h, store_begin(h->store, &h->err), BPU_SERVER);
    struct store_job kept = hub_job(h, model, "{\"a\":\"1\"}");
    struct store_job bad = {.kind = "check", .march = "bayes"};
    memset(bad.model, 'f', 64);
    hub_refused(h, store_job_add(h->store, &bad, "1.0", "k", &h->arena, &h->err), BPU_NOT_FOUND);
    struct store_job second = hub_job(h, model, "{\"a\":\"2\"}");
    hub_ok(h, store_commit(h->store, &h->err));
    assert_int_equal(hub_get(h, kept.id).state, JOB_QUEUED);
    assert_int_equal(hub_get(h, second.id).state, JOB_QUEUED);
    hub_ok(h, store_begin(h->store, &h->err));
    struct store_job dropped = hub_job(h, model, "{\"a\":\"3\"}");
    store_rollback(h->store);
    hub_refused(h, store_job_get(h->store, dropped.id, &h->arena, &bad, &h->err), BPU_NOT_FOUND);
    assert_int_equal(COUNT(h, .limit = 10), 2);
    hub_refused(h, store_commit(h->store, &h->err), BPU_SERVER);
}

static void test_artifact_files(void **state)
{
    struct hub *h = *state;
    struct stat st;
    char path[512];
    struct store_artifact a = artifact(h, "a", "same"), b = artifact(h, "b", "same"), empty;
    assert_string_equal(a.sha256, b.sha256);
    empty = artifact(h, "empty", "");
    assert_string_equal(empty.sha256,
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    store_artifact_path(h->store, a.sha256, path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    /* A damaged file (wrong size) is replaced. */
    assert_int_equal(truncate(path, 2), 0);
    artifact(h, "a", "same");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
}

static void test_sweep(void **state)
{
    struct hub *h = *state;
    char path[512], shared[512];
    const char *model = hub_model(h, "m", "m");
    struct store_job a = hub_job(h, model, "{\"a\":\"1\"}"), b = hub_job(h, model, "{\"a\":\"2\"}"),
                     j;
    struct store_artifact files[] = {artifact(h, "one", "only in a"),
                                     artifact(h, "two", "in both")};
    assert_true(claim(h, "w", LEASE, &j));
    hub_ok(h, store_job_finish(h->store, a.id, "w", JOB_SUCCEEDED, "", NULL, files, 2, &h->err));
    assert_true(claim(h, "w", LEASE, &j));
    hub_ok(h,
           store_job_finish(h->store, b.id, "w", JOB_SUCCEEDED, "", NULL, &files[1], 1, &h->err));
    store_artifact_path(h->store, files[0].sha256, path, sizeof path);
    store_artifact_path(h->store, files[1].sha256, shared, sizeof shared);
    hub_ok(h, store_job_delete(h->store, a.id, &h->err));
    hub_ok(h, store_sweep(h->store, 3600000, &h->err));
    assert_int_equal(access(path, F_OK), 0); /* too young */
    hub_ok(h, store_sweep(h->store, 0, &h->err));
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(shared, F_OK), 0);
}

static void test_reopen(void **state)
{
    struct hub *h = *state;
    struct store_job j = hub_job(h, hub_model(h, "m", "m"), NULL);
    store_close(h->store);
    h->store = store_open(h->dir, &h->err);
    hub_ok(h, h->store != NULL);
    assert_int_equal(hub_get(h, j.id).state, JOB_QUEUED);
}

static void test_open_errors(void **state)
{
    struct hub *h = *state;
    char path[512];
    hub_refused(h, store_open("/proc/nowhere", &h->err) != NULL, BPU_IO);
    snprintf(path, sizeof path, "%s/junk", h->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/junk/hub.db", h->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 4096; i++)
        fputc('x', f);
    fclose(f);
    snprintf(path, sizeof path, "%s/junk", h->dir);
    hub_refused(h, store_open(path, &h->err) != NULL, BPU_STORE_DAMAGED);
}

/* ---- several processes ----------------------------------------------------------------------- */

/* Runs fn in `n` processes with a store of their own; each must exit with 0. */
static void in_processes(struct hub *h, int n, int (*fn)(struct hub *h, int index))
{
    pid_t pids[8];
    store_close(h->store);
    h->store = NULL;
    for (int i = 0; i < n; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            h->store = store_open(h->dir, &h->err);
            int rc = h->store ? fn(h, i) : 99;
            if (h->err.code != BPU_NONE)
                fprintf(stderr, "process %d: %s\n", i, h->err.message);
            store_close(h->store);
            _exit(rc);
        }
    }
    for (int i = 0; i < n; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        assert_int_equal(status, 0);
    }
    h->store = store_open(h->dir, &h->err);
    hub_ok(h, h->store != NULL);
}

#define RACE_JOBS 200

/* Claims what it can; each job gets a file that names its winner. */
static int race(struct hub *h, int index)
{
    char worker[16], text[64];
    snprintf(worker, sizeof worker, "w%d", index);
    for (;;) {
        struct store_job j;
        if (!store_job_claim(h->store, worker, LEASE, 3, &h->arena, &j, &h->err))
            return h->err.code == BPU_NONE ? 0 : 1;
        if (j.attempts != 1)
            return 2; /* somebody had it before */
        struct store_artifact a = {.name = "winner", .type = "text/plain"};
        snprintf(text, sizeof text, "%s %s", worker, j.id);
        if (!store_artifact_write(h->store, text, strlen(text), &a, &h->err) ||
            !store_job_finish(h->store, j.id, worker, JOB_SUCCEEDED, worker, NULL, &a, 1, &h->err))
            return 3;
    }
}

static void test_claim_race(void **state)
{
    struct hub *h = *state;
    const char *model = hub_model(h, "m", "m");
    hub_ok(h, store_begin(h->store, &h->err));
    for (int i = 0; i < RACE_JOBS; i++)
        add_full(h, model, "check", "bayes", "", NULL, i);
    hub_ok(h, store_commit(h->store, &h->err));
    in_processes(h, 3, race);
    struct store_counts counts;
    hub_ok(h, store_counts(h->store, &counts, &h->err));
    assert_int_equal(counts.queued + counts.running, 0);
    struct store_job *items;
    assert_int_equal(
        list(h, (struct store_job_filter){.state = "succeeded", .limit = 200}, &items, NULL),
        RACE_JOBS);
}

static int add_many(struct hub *h, int index)
{
    for (int i = 0; i < 50; i++) {
        struct store_job j = {.kind = "check", .march = "bayes"};
        char options[64], key[64];
        snprintf(options, sizeof options, "{\"i\":\"%d\"}", i);
        snprintf(key, sizeof key, "key-%d", i); /* the same in every process */
        j.options = options;
        memset(j.model, 0, sizeof j.model);
        if (!files_sha256("m", 1, j.model, &h->err) ||
            !store_job_add(h->store, &j, "1.0", key, &h->arena, &h->err))
            return 1 + index;
    }
    return 0;
}

static void test_idempotency_race(void **state)
{
    struct hub *h = *state;
    hub_model(h, "m", "m");
    in_processes(h, 3, add_many);
    struct store_counts counts;
    hub_ok(h, store_counts(h->store, &counts, &h->err));
    assert_int_equal(counts.jobs, 50);
}

static int open_only(struct hub *h, int index)
{
    (void)index;
    struct store_counts counts;
    return store_counts(h->store, &counts, &h->err) ? 0 : 1;
}

/* Many processes start on an empty directory at once: each finds the tables. */
static void test_migration_race(void **state)
{
    struct hub *h = *state;
    char path[512];
    store_close(h->store);
    snprintf(path, sizeof path, "%s/fresh", h->dir);
    char keep[sizeof h->dir];
    memcpy(keep, h->dir, sizeof keep);
    snprintf(h->dir, sizeof h->dir, "%.40s/fresh", keep);
    h->store = NULL;
    in_processes(h, 6, open_only);
    memcpy(h->dir, keep, sizeof keep);
}

/* A process that is killed in the middle of adding leaves whole jobs behind, and every job that it
 * had been told was added. */
static void test_killed_adding(void **state)
{
    struct hub *h = *state;
    char id[40], last[40] = "";
    hub_model(h, "m", "m");
    for (int round = 0; round < 5; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        store_close(h->store);
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            h->store = store_open(h->dir, &h->err);
            for (int i = 0; h->store; i++) {
                struct store_job j = {.kind = "check", .march = "bayes", .labels = "{\"k\":\"v\"}"};
                if (!files_sha256("m", 1, j.model, &h->err) ||
                    !store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err) ||
                    write(pipes[1], j.id, sizeof j.id) != (ssize_t)sizeof j.id)
                    _exit(1);
            }
            _exit(1);
        }
        close(pipes[1]);
        if (round > 0) /* the first one may die before it has added anything */
            poll(&(struct pollfd){pipes[0], POLLIN, 0}, 1, 20000);
        poll(NULL, 0, 30 + 7 * round);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        h->store = store_open(h->dir, &h->err);
        hub_ok(h, h->store != NULL);
        while (read(pipes[0], id, sizeof id) == (ssize_t)sizeof id) {
            memcpy(last, id, sizeof last);
            assert_string_equal(hub_get(h, last).labels, "{\"k\":\"v\"}");
        }
        close(pipes[0]);
    }
    assert_true(*last);
    struct store_counts counts;
    struct store_job_filter f = {.label_key = "k", .label_value = "v", .q = "m\n", .limit = 200};
    hub_ok(h, store_counts(h->store, &counts, &h->err));
    int64_t seen = 0;
    char next[64] = "";
    do { /* labels and search text came with every job */
        struct store_job *items;
        f.cursor = *next ? next : NULL;
        seen += (int64_t)list(h, f, &items, next);
    } while (*next);
    assert_int_equal(seen, counts.jobs);
}

#define T(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_models),         T(test_model_pages),   T(test_add),
        T(test_ids_grow),       T(test_cache),         T(test_cache_version),
        T(test_idempotency),    T(test_life),          T(test_finish_is_atomic),
        T(test_lease_expiry),   T(test_requeue),       T(test_cancel),
        T(test_filters),        T(test_pages),         T(test_batches),
        T(test_artifact_files), T(test_sweep),         T(test_reopen),
        T(test_open_errors),    T(test_claim_race),    T(test_idempotency_race),
        T(test_migration_race), T(test_killed_adding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
