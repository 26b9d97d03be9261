/* The queue beyond first come, first served: identical work, priorities, turns, back-off, leases of the dead. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "tests/server/hub_fixture.h"

#define LEASE 60000

static bool claim(struct hub *h, struct store_job *j)
{
    bool found = store_job_claim(h->store, "w", LEASE, 3, &h->arena, j, &h->err);
    assert_int_equal(h->err.code, BPU_NONE);
    return found;
}

static void finish(struct hub *h, const struct store_job *j, enum job_state state)
{
    struct store_artifact a = {.name = "report.json", .type = "application/json"};
    hub_ok(h, store_artifact_write(h->store, "{}", 2, &a, &h->err));
    bool good = state == JOB_SUCCEEDED;
    hub_ok(h, store_job_finish(h->store, j->id, "w", state, good ? "legal" : "",
                               good ? NULL : "{\"code\":\"bad_model\"}", &a, good, &h->err));
}

static struct store_job add(struct hub *h, const char *project, int priority, int variant)
{
    char options[40];
    struct store_job j = {.kind = "check", .march = "bayes", .options = options, .priority = priority};
    snprintf(options, sizeof options, "{\"v\":\"%d\"}", variant);
    snprintf(j.project, sizeof j.project, "%s", project);
    snprintf(j.model, sizeof j.model, "%s", hub_model(h, "m", "m"));
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    return j;
}

/* ---- identical work -------------------------------------------------------------------------- */

static void test_same_work_runs_once(void **state)
{
    struct hub *h = *state;
    struct store_job j, none, first = add(h, "a", 0, 1);
    struct store_job second = add(h, "b", 0, 1);
    assert_true(claim(h, &j));
    assert_string_equal(j.id, first.id);
    struct store_job third = add(h, "c", 0, 1); /* while it runs */
    assert_int_equal(third.state, JOB_QUEUED);
    assert_false(claim(h, &none));
    (void)store_others(h->store);
    finish(h, &j, JOB_SUCCEEDED);
    assert_int_equal(store_others(h->store), 2);
    assert_int_equal(store_others(h->store), 0);
    const char *ids[] = {second.id, third.id};
    for (size_t i = 0; i < 2; i++) {
        struct store_artifact *files;
        size_t count;
        struct store_job got = hub_get(h, ids[i]);
        assert_int_equal(got.state, JOB_SUCCEEDED);
        assert_string_equal(got.verdict, "legal");
        assert_true(got.finished >= got.created && got.progress == 1);
        hub_ok(h, store_artifact_list(h->store, ids[i], &h->arena, &files, &count, &h->err));
        assert_int_equal(count, 1);
    }
    assert_false(claim(h, &none));
}

static void test_same_failure_is_shared(void **state)
{
    struct hub *h = *state;
    struct store_job j;
    add(h, "", 0, 1);
    struct store_job second = add(h, "", 0, 1);
    assert_true(claim(h, &j));
    finish(h, &j, JOB_FAILED);
    second = hub_get(h, second.id);
    assert_int_equal(second.state, JOB_FAILED);
    assert_string_equal(second.error, "{\"code\":\"bad_model\"}");
    /* A failure is no cache: the next request is tried. */
    assert_int_equal(add(h, "", 0, 1).state, JOB_QUEUED);
    assert_true(claim(h, &j));
}

/* Whoever waits takes the place of one that is cancelled or deleted. */
static void test_heir(void **state)
{
    struct hub *h = *state;
    struct store_job j, first = add(h, "", 0, 1), second = add(h, "", 0, 1), third = add(h, "", 0, 1);
    hub_ok(h, store_job_cancel(h->store, first.id, &h->err));
    assert_true(claim(h, &j));
    assert_string_equal(j.id, second.id);
    assert_false(claim(h, &first));
    /* A running one that is cancelled. */
    hub_ok(h, store_job_cancel(h->store, second.id, &h->err));
    struct store_job fourth = add(h, "", 0, 1); /* does not wait for what is to be cancelled */
    finish(h, &j, JOB_CANCELLED);
    assert_int_equal(hub_get(h, second.id).state, JOB_CANCELLED);
    assert_true(claim(h, &j));
    assert_true(strcmp(j.id, third.id) == 0 || strcmp(j.id, fourth.id) == 0);
    finish(h, &j, JOB_SUCCEEDED);
    if (claim(h, &j))
        finish(h, &j, JOB_SUCCEEDED);
    assert_int_equal(hub_get(h, third.id).state, JOB_SUCCEEDED);
    assert_int_equal(hub_get(h, fourth.id).state, JOB_SUCCEEDED);
}

static void test_waiting_one_can_go(void **state)
{
    struct hub *h = *state;
    struct store_job j, first = add(h, "", 0, 1), second = add(h, "", 0, 1), third = add(h, "", 0, 1);
    hub_ok(h, store_job_cancel(h->store, second.id, &h->err));
    hub_ok(h, store_job_delete(h->store, third.id, &h->err));
    assert_true(claim(h, &j));
    assert_string_equal(j.id, first.id);
    finish(h, &j, JOB_SUCCEEDED);
    assert_int_equal(hub_get(h, second.id).state, JOB_CANCELLED);
    hub_ok(h, store_job_retry(h->store, second.id, &h->err));
    assert_true(claim(h, &j));
    assert_string_equal(j.id, second.id);
    /* Deleting what others wait for. */
    struct store_job fourth = add(h, "", 0, 2), fifth = add(h, "", 0, 2);
    hub_ok(h, store_job_delete(h->store, fourth.id, &h->err));
    assert_true(claim(h, &j));
    assert_string_equal(j.id, fifth.id);
}

/* ---- order ----------------------------------------------------------------------------------- */

static void test_priorities(void **state)
{
    struct hub *h = *state;
    struct store_job j, low = add(h, "", -1, 1), plain = add(h, "", 0, 2), high = add(h, "", 5, 3);
    struct store_job lifted = add(h, "", 0, 4);
    add(h, "", 9, 4); /* waits for it, and hurries it */
    const char *const want[] = {lifted.id, high.id, plain.id, low.id};
    for (size_t i = 0; i < 4; i++) {
        assert_true(claim(h, &j));
        assert_string_equal(j.id, want[i]);
    }
}

/* A project with few jobs does not wait for all of one with many, in either order of coming. */
static void test_turns(void **state)
{
    struct hub *h = *state;
    struct store_job j;
    int served[3] = {0}, variant = 0;
    for (int i = 0; i < 50; i++)
        add(h, "many", 0, variant++);
    for (int i = 0; i < 5; i++)
        add(h, "few", 0, variant++);
    for (int i = 0; i < 10; i++) {
        assert_true(claim(h, &j));
        served[strcmp(j.project, "few") == 0]++;
    }
    assert_int_equal(served[0], 5);
    assert_int_equal(served[1], 5);
    for (int i = 0; i < 20; i++)
        assert_true(claim(h, &j));
    /* One that comes late starts at the present turn: neither behind all nor ahead of all. */
    for (int i = 0; i < 5; i++)
        add(h, "late", 0, variant++);
    memset(served, 0, sizeof served);
    for (int i = 0; i < 10; i++) {
        assert_true(claim(h, &j));
        served[strcmp(j.project, "late") == 0]++;
    }
    assert_int_equal(served[1], 5);
    /* And one that was idle has not saved up turns. */
    for (int i = 0; i < 20; i++)
        add(h, "few", 0, variant++);
    memset(served, 0, sizeof served);
    for (int i = 0; i < 12; i++) {
        assert_true(claim(h, &j));
        served[strcmp(j.project, "few") == 0]++;
    }
    assert_in_range(served[1], 5, 7);
}

/* ---- retries --------------------------------------------------------------------------------- */

static void test_back_off(void **state)
{
    struct hub *h = *state;
    struct store_job j, none, first = add(h, "", 0, 1);
    assert_true(claim(h, &j));
    hub_ok(h, store_job_requeue(h->store, j.id, "w", true, 300, "{\"code\":\"x\"}", &h->err));
    assert_false(claim(h, &none));
    struct store_job other = add(h, "", 0, 2); /* others do not wait for it */
    assert_true(claim(h, &j));
    assert_string_equal(j.id, other.id);
    poll(NULL, 0, 350);
    assert_true(claim(h, &j));
    assert_string_equal(j.id, first.id);
    assert_int_equal(j.attempts, 2);
    /* Cancelling one that waits. */
    hub_ok(h, store_job_requeue(h->store, j.id, "w", true, 100000, NULL, &h->err));
    hub_ok(h, store_job_cancel(h->store, j.id, &h->err));
    assert_int_equal(hub_get(h, first.id).state, JOB_CANCELLED);
    hub_ok(h, store_job_retry(h->store, j.id, &h->err)); /* at once */
    assert_true(claim(h, &j));
}

static void test_leases_of_the_dead(void **state)
{
    struct hub *h = *state;
    struct store_job j, got;
    int count;
    bool lost, cancel;
    for (int i = 0; i < 3; i++)
        add(h, "", 0, i);
    static const char *const workers[] = {"serve-1-a", "serve-1-b", "other"};
    for (int i = 0; i < 3; i++)
        assert_true(store_job_claim(h->store, workers[i], LEASE, 3, &h->arena, &j, &h->err));
    hub_ok(h, store_leases_release(h->store, "serve-1-a", -1, &count, &h->err));
    assert_int_equal(count, 1);
    assert_true(claim(h, &got));
    assert_int_equal(got.attempts, 2);
    assert_false(claim(h, &got));
    /* With a delay, one that lives keeps its job. */
    hub_ok(h, store_leases_release(h->store, "serve-", 50, &count, &h->err));
    assert_int_equal(count, 1);
    struct store_job *items;
    size_t n;
    char next[64];
    struct store_job_filter f = {.state = "running", .limit = 10};
    hub_ok(h, store_job_list(h->store, &f, &h->arena, &items, &n, next, &h->err));
    assert_int_equal(n, 3);
    hub_ok(h, store_job_heartbeat(h->store, items[1].id, "serve-1-b", LEASE, "x", 0, &lost, &cancel, &h->err));
    assert_false(lost);
    poll(NULL, 0, 60);
    assert_false(claim(h, &got));
}

/* A job that kills its worker each time ends as failed, with a reason, and so do those that wait for it. */
static void test_poison(void **state)
{
    struct hub *h = *state;
    struct store_job j, first = add(h, "", 0, 1), second = add(h, "", 0, 1);
    int count;
    for (int i = 0; i < 3; i++) {
        assert_true(claim(h, &j));
        assert_string_equal(j.id, first.id);
        assert_int_equal(j.state, JOB_RUNNING);
        hub_ok(h, store_leases_release(h->store, "w", -1, &count, &h->err));
    }
    assert_true(claim(h, &j));
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(strstr(j.error, "worker_crashed"));
    assert_non_null(strstr(j.error, "attempt 3 of 3"));
    assert_int_equal(hub_get(h, second.id).state, JOB_FAILED);
    assert_string_equal(hub_get(h, second.id).error, j.error);
    assert_false(claim(h, &j));
}

#define T(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_same_work_runs_once), T(test_same_failure_is_shared), T(test_heir),
        T(test_waiting_one_can_go),  T(test_priorities),             T(test_turns),
        T(test_back_off),            T(test_leases_of_the_dead),     T(test_poison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
