/* Databases of every released version open with this one, with all that was in them (tests/fixtures/store). */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/files.h"
#include "server/store_care.h"
#include "tests/server/hub_fixture.h"
#include "tests/server/http_client.h"

#define JOBS 20
#define TIME INT64_C(1700000000000)

/* Puts the old database where the fixture has made a new one. */
static void take(struct hub *h, int version)
{
    char path[128], tmp[128];
    size_t size;
    snprintf(path, sizeof path, "tests/fixtures/store/v%d.db", version);
    char *bytes = file_read(path, &size);
    assert_non_null(bytes);
    store_close(h->store);
    static const char *const old[] = {"hub.db", "hub.db-wal", "hub.db-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", h->dir, old[i]);
        unlink(path);
    }
    snprintf(tmp, sizeof tmp, "%s/tmp", h->dir);
    snprintf(path, sizeof path, "%s/hub.db", h->dir);
    hub_ok(h, files_write(tmp, path, bytes, size, &h->err));
    free(bytes);
    h->store = store_open(h->dir, &h->err);
    hub_ok(h, h->store != NULL);
}

static size_t count(struct hub *h, struct store_job_filter f, struct store_job **items)
{
    char next[64];
    size_t n;
    f.limit = 100;
    hub_ok(h, store_job_list(h->store, &f, &h->arena, items, &n, next, &h->err));
    return n;
}

static void upgrade(struct hub *h, int version)
{
    struct store_job *items, j;
    struct store_counts counts;
    take(h, version);
    assert_int_equal(count(h, (struct store_job_filter){0}, &items), JOBS);
    assert_int_equal(items[JOBS - 1].created, TIME);
    assert_string_equal(items[JOBS - 1].options, "{\"advice\":\"0\"}");
    assert_int_equal(count(h, (struct store_job_filter){.state = "succeeded"}, &items), 10);
    assert_int_equal(count(h, (struct store_job_filter){.state = "failed"}, &items), 2);
    assert_string_equal(items[0].error, "{\"code\":\"bad_model\"}");
    assert_int_equal(count(h, (struct store_job_filter){.verdict = "legal"}, &items), 10);
    assert_int_equal(count(h, (struct store_job_filter){.project = "gripper"}, &items), 10);
    assert_int_equal(count(h, (struct store_job_filter){.label_key = "sha", .label_value = "c1"}, &items), 5);
    assert_int_equal(count(h, (struct store_job_filter){.q = "network_2"}, &items), 6);
    hub_ok(h, store_counts(h->store, &counts, &h->err));
    assert_int_equal(counts.jobs, JOBS);
    assert_int_equal(counts.models, 3);
    assert_int_equal(counts.queued, 4);
    assert_int_equal(counts.running, 2);
    /* What was running is taken up first, then what was queued, oldest first. */
    int64_t last = 0;
    for (int i = 0; i < 6; i++) {
        assert_true(store_job_claim(h->store, "w", 60000, 3, &h->arena, &j, &h->err));
        assert_int_equal(j.state, JOB_RUNNING);
        assert_int_equal(j.attempts, i < 2 ? 2 : 1);
        if (i >= 2) {
            assert_true(j.created > last);
            last = j.created;
        }
        hub_ok(h, store_job_finish(h->store, j.id, "w", JOB_SUCCEEDED, "legal", NULL, NULL, 0, &h->err));
    }
    assert_false(store_job_claim(h->store, "w", 60000, 3, &h->arena, &j, &h->err));
    assert_int_equal(h->err.code, BPU_NONE);
    /* And new work goes its way. */
    struct store_job added = hub_job(h, hub_model(h, "new.onnx", "new"), NULL);
    assert_true(store_job_claim(h->store, "w", 60000, 3, &h->arena, &j, &h->err));
    assert_string_equal(j.id, added.id);
}

/* The database itself is sound afterwards; that the fixture has no files is all that fsck may find. */
static void only_files_missing(void *ctx, const char *text, bool repaired)
{
    (void)ctx, (void)repaired;
    if (!strstr(text, "is not there"))
        fail_msg("%s", text);
}

static void test_upgrades(void **state)
{
    struct hub *h = *state;
    for (int version = 1; version <= 3; version++) {
        struct fsck_result r;
        upgrade(h, version);
        struct fsck_options o = {.found = only_files_missing};
        hub_ok(h, store_fsck(h->store, &o, &r, &h->err));
        assert_int_equal(r.problems, 3 + 10 + (version >= 3));
    }
}

static void test_data_of_version_3(void **state)
{
    struct hub *h = *state;
    struct store_model *items;
    size_t n;
    char next[64];
    take(h, 3);
    hub_ok(h, store_data_list(h->store, NULL, 10, &h->arena, &items, &n, next, &h->err));
    assert_int_equal(n, 1);
    assert_string_equal(items[0].name, "frames.npz");
}

/* Before there were any. */
static void test_data_after_version_2(void **state)
{
    struct hub *h = *state;
    struct store_model *items, m = {.format = "npz", .bytes = 1, .name = "a.npz"};
    size_t n;
    char next[64], path[512], tmp[128];
    bool existed;
    take(h, 2);
    snprintf(tmp, sizeof tmp, "%s/tmp", h->dir);
    hub_ok(h, files_sha256("a", 1, m.id, &h->err));
    store_data_path(h->store, m.id, path, sizeof path);
    hub_ok(h, files_write(tmp, path, "a", 1, &h->err));
    hub_ok(h, store_data_add(h->store, &m, &existed, &h->err));
    hub_ok(h, store_data_list(h->store, NULL, 10, &h->arena, &items, &n, next, &h->err));
    assert_int_equal(n, 1);
    hub_ok(h, store_model_list(h->store, NULL, 10, &h->arena, &items, &n, next, &h->err));
    assert_int_equal(n, 3);
}

static void test_newer_is_refused(void **state)
{
    struct hub *h = *state;
    char command[256];
    store_close(h->store);
    snprintf(command, sizeof command,
             "python3 -c \"import sqlite3; d = sqlite3.connect('%s/hub.db');"
             " d.execute('INSERT INTO migrations VALUES (9999, \\'later\\', 0)'); d.commit()\"",
             h->dir);
    assert_int_equal(system(command), 0);
    h->store = store_open(h->dir, &h->err);
    hub_refused(h, h->store != NULL, BPU_SERVER);
}

#define T(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_upgrades), T(test_data_of_version_3),
                                       T(test_data_after_version_2), T(test_newer_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
