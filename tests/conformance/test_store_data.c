/* Data files in the store: a table of their own, jobs that refer to them, and what is kept of them. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/files.h"
#include "tests/server/hub_fixture.h"

/* Stores the text as a data file; its id. */
static const char *data_add(struct hub *h, const char *name, const char *content, bool *existed)
{
    struct store_model m = {.bytes = (int64_t)strlen(content), .format = "npy"};
    char path[512], tmp[512];
    bool ignored;
    hub_ok(h, files_sha256(content, strlen(content), m.id, &h->err));
    snprintf(m.name, sizeof m.name, "%s", name);
    store_data_path(h->store, m.id, path, sizeof path);
    snprintf(tmp, sizeof tmp, "%s/tmp", h->dir);
    hub_ok(h, files_write(tmp, path, content, strlen(content), &h->err));
    hub_ok(h, store_data_add(h->store, &m, existed ? existed : &ignored, &h->err));
    const char *id = arena_strdup(&h->arena, m.id, &h->err);
    assert_non_null(id);
    return id;
}

static bool job_add(struct hub *h, const char *kind, const char *options, struct store_job *j)
{
    *j = (struct store_job){.march = "bayes", .options = options};
    snprintf(j->kind, sizeof j->kind, "%s", kind);
    snprintf(j->model, sizeof j->model, "%s", hub_model(h, "net.onnx", "net"));
    return store_job_add(h->store, j, "1.0", NULL, &h->arena, &h->err);
}

static char *option(const char *key, const char *id, const char *rest)
{
    static char text[256];
    snprintf(text, sizeof text, "{\"%s\":\"%s%s\"}", key, id, rest);
    return text;
}

static void finish(struct hub *h)
{
    struct store_job j;
    assert_true(store_job_claim(h->store, "w", 60000, 3, &h->arena, &j, &h->err));
    struct store_artifact a = {.name = "report.json", .type = "application/json"};
    hub_ok(h, store_artifact_write(h->store, "{}", 2, &a, &h->err));
    hub_ok(h, store_job_finish(h->store, j.id, "w", JOB_SUCCEEDED, "", NULL, &a, 1, &h->err));
}

static void test_rows(void **state)
{
    struct hub *h = *state;
    struct store_model m, *items;
    size_t count;
    char next[64] = "";
    bool existed = true;
    const char *id = data_add(h, "first.npy", "one", &existed);
    assert_false(existed);
    assert_string_equal(data_add(h, "second.npy", "one", &existed), id);
    assert_true(existed);
    hub_ok(h, store_data_get(h->store, id, &h->arena, &m, &h->err));
    assert_string_equal(m.name, "first.npy"); /* the first name stays */
    assert_string_equal(m.format, "npy");
    assert_int_equal(m.bytes, 3);
    assert_null(m.info);
    hub_ok(h, store_data_set_info(h->store, id, "{\"arrays\":[]}", &h->err));
    hub_refused(h, store_data_set_info(h->store, id, "no JSON", &h->err), BPU_BAD_MODEL);
    hub_ok(h, store_data_get(h->store, id, &h->arena, &m, &h->err));
    assert_string_equal(m.info, "{\"arrays\":[]}");
    /* Neither side is in the other's list or can be got from it. */
    hub_model(h, "net.onnx", "net");
    hub_ok(h, store_data_list(h->store, NULL, 50, &h->arena, &items, &count, next, &h->err));
    assert_int_equal(count, 1);
    assert_string_equal(items[0].id, id);
    hub_ok(h, store_model_list(h->store, NULL, 50, &h->arena, &items, &count, next, &h->err));
    assert_int_equal(count, 1);
    assert_string_equal(items[0].name, "net.onnx");
    hub_refused(h, store_model_get(h->store, id, &h->arena, &m, &h->err), BPU_NOT_FOUND);
    hub_refused(h, store_data_get(h->store, items[0].id, &h->arena, &m, &h->err), BPU_NOT_FOUND);
    snprintf(m.id, sizeof m.id, "../../etc/passwd");
    hub_refused(h, store_data_add(h->store, &m, &existed, &h->err), BPU_USAGE);
}

static void test_pages(void **state)
{
    struct hub *h = *state;
    char text[16], cursor[64] = "";
    size_t seen = 0, count;
    for (int i = 0; i < 7; i++) {
        snprintf(text, sizeof text, "file %d", i);
        data_add(h, text, text, NULL);
    }
    for (int page = 0; page < 4; page++) {
        struct store_model *items;
        hub_ok(h, store_data_list(h->store, cursor, 3, &h->arena, &items, &count, cursor, &h->err));
        for (size_t i = 0; i < count; i++) {
            snprintf(text, sizeof text, "file %zu", 6 - seen++);
            assert_string_equal(items[i].name, text); /* newest first */
        }
        if (!*cursor)
            break;
    }
    assert_int_equal(seen, 7);
}

/* A job's options name files that are there, by whole ids. */
static void test_references(void **state)
{
    struct hub *h = *state;
    struct store_job j;
    const char *id = data_add(h, "a.npz", "a", NULL);
    const char *model = hub_model(h, "net.onnx", "net");
    char other[65];
    memset(other, '7', 64);
    other[64] = '\0';
    assert_false(job_add(h, "quantize", option("calibration", other, ""), &j));
    assert_string_equal(h->err.where, "/options/calibration");
    assert_non_null(strstr(h->err.message, other));
    hub_refused(h, false, BPU_NO_DATA);
    /* A model is no data file. */
    hub_refused(h, job_add(h, "quantize", option("calibration", model, ""), &j), BPU_NO_DATA);
    hub_refused(h, job_add(h, "evaluate", option("labels", other, ":y"), &j), BPU_NO_DATA);
    static const char *const bad[] = {"x", ":", " ", "0", "/", "\\u00e9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(job_add(h, "quantize", option("calibration", id, bad[i]), &j));
        assert_string_equal(h->err.where, "/options/calibration");
        hub_refused(h, false, BPU_BAD_OPTION);
    }
    hub_refused(h, job_add(h, "quantize", "{\"calibration\":7}", &j), BPU_BAD_OPTION);
    hub_ok(h, job_add(h, "quantize", option("calibration", id, ""), &j));
    hub_ok(h, job_add(h, "quantize", option("calibration", id, ":x"), &j));
    hub_ok(h, job_add(h, "evaluate", option("data", id, ":x"), &j));
    /* Kinds that read no files do not look for any. */
    hub_ok(h, job_add(h, "check", option("calibration", other, ""), &j));
    hub_ok(h, job_add(h, "quantize", option("data", other, ""), &j));
}

static void test_cache(void **state)
{
    struct hub *h = *state;
    struct store_job j;
    const char *a = data_add(h, "a.npz", "a", NULL), *b = data_add(h, "b.npz", "b", NULL);
    hub_ok(h, job_add(h, "quantize", option("calibration", a, ""), &j));
    finish(h);
    hub_ok(h, job_add(h, "quantize", option("calibration", a, ""), &j));
    assert_int_equal(j.state, JOB_SUCCEEDED);
    hub_ok(h, job_add(h, "quantize", option("calibration", b, ""), &j));
    assert_int_equal(j.state, JOB_QUEUED);
    hub_ok(h, job_add(h, "quantize", option("calibration", a, ":x"), &j));
    assert_int_equal(j.state, JOB_QUEUED);
}

/* Neither deleting jobs nor sweeping takes a data file away, not even one with the content of an
 * artifact. */
static void test_kept(void **state)
{
    struct hub *h = *state;
    struct store_job j;
    struct store_model m;
    char path[512];
    const char *id = data_add(h, "a.npz", "{}", NULL);
    hub_ok(h, job_add(h, "quantize", option("calibration", id, ""), &j));
    finish(h); /* its report is "{}" as well */
    hub_ok(h, store_job_delete(h->store, j.id, &h->err));
    usleep(2000);
    hub_ok(h, store_sweep(h->store, 0, &h->err));
    store_artifact_path(h->store, id, path, sizeof path);
    assert_int_not_equal(access(path, F_OK), 0);
    store_data_path(h->store, id, path, sizeof path);
    assert_int_equal(access(path, R_OK), 0);
    hub_ok(h, store_data_get(h->store, id, &h->arena, &m, &h->err));
    hub_ok(h, job_add(h, "quantize", option("calibration", id, ""), &j));
    assert_int_equal(j.state, JOB_QUEUED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_rows), T(test_pages), T(test_references), T(test_cache), T(test_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
