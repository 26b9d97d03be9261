/* Webhooks in the store: what the end of a job writes, when it is due, what becomes of it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/store_hook.h"
#include "tests/server/hub_fixture.h"

static struct store_hook add(struct hub *h, const char *project)
{
    struct store_hook k = {.url = "https://example.org/", .all_projects = !project};
    if (project)
        snprintf(k.project, sizeof k.project, "%s", project);
    hub_ok(h, store_hook_add(h->store, &k, &h->err));
    return k;
}

static struct store_job job_of(struct hub *h, const char *project, int variant)
{
    char options[48];
    snprintf(options, sizeof options, "{\"advice\":\"%d\"}", variant);
    struct store_job j = {.kind = "check", .march = "bayes", .options = options};
    snprintf(j.project, sizeof j.project, "%s", project);
    snprintf(j.model, sizeof j.model, "%s", hub_model(h, "net.onnx", "net"));
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    return j;
}

static void end_one(struct hub *h, enum job_state state)
{
    struct store_job j;
    assert_true(store_job_claim(h->store, "w", 60000, 3, &h->arena, &j, &h->err));
    const char *error = state == JOB_FAILED ? "{\"code\":\"bad_model\"}" : NULL;
    hub_ok(h, store_job_finish(h->store, j.id, "w", state, "", error, NULL, 0, &h->err));
}

static size_t due(struct hub *h, struct store_delivery **items)
{
    size_t n;
    hub_ok(h, store_delivery_due(h->store, 8, &h->arena, items, &n, &h->err));
    return n;
}

static size_t logged(struct hub *h, const char *hook, struct store_delivery **items)
{
    size_t n;
    hub_ok(h, store_delivery_list(h->store, hook, 200, &h->arena, items, &n, &h->err));
    return n;
}

static void test_rows(void **state)
{
    struct hub *h = *state;
    struct store_hook *items, k;
    size_t n;
    bool exist = true;
    hub_ok(h, store_hooks_exist(h->store, &exist, &h->err));
    assert_false(exist);
    struct store_hook a = add(h, NULL), b = add(h, "arm");
    assert_int_equal(strlen(a.secret), 64);
    assert_string_not_equal(a.secret, b.secret);
    hub_ok(h, store_hooks_exist(h->store, &exist, &h->err));
    assert_true(exist);
    hub_ok(h, store_hook_list(h->store, &h->arena, &items, &n, &h->err));
    assert_int_equal(n, 2);
    assert_string_equal(items[0].id, b.id); /* the newest first */
    assert_string_equal(items[0].project, "arm");
    assert_true(items[1].all_projects);
    assert_string_equal(items[1].secret, ""); /* shown once */
    hub_ok(h, store_hook_get(h->store, a.id, &k, &h->err));
    assert_string_equal(k.url, "https://example.org/");
    hub_ok(h, store_hook_delete(h->store, a.id, &h->err));
    hub_refused(h, store_hook_get(h->store, a.id, &k, &h->err), BPU_NOT_FOUND);
    hub_refused(h, store_hook_delete(h->store, a.id, &h->err), BPU_NOT_FOUND);
    for (int i = 1; i < HOOKS_MAX; i++)
        add(h, "arm");
    k = (struct store_hook){.url = "https://example.org/"};
    hub_refused(h, store_hook_add(h->store, &k, &h->err), BPU_LIMIT);
}

static void test_ends_are_told(void **state)
{
    struct hub *h = *state;
    struct store_delivery *items;
    job_of(h, "arm", 0); /* before there is a webhook */
    end_one(h, JOB_SUCCEEDED);
    struct store_hook all = add(h, NULL), arm = add(h, "arm");
    job_of(h, "arm", 1);
    end_one(h, JOB_SUCCEEDED);
    job_of(h, "", 2);
    end_one(h, JOB_FAILED);
    struct store_job c = job_of(h, "arm", 3), follower = job_of(h, "arm", 3); /* waits for c, and takes its place */
    hub_ok(h, store_job_cancel(h->store, c.id, &h->err));
    end_one(h, JOB_SUCCEEDED);
    job_of(h, "arm", 1); /* from the cache */
    assert_int_equal(logged(h, all.id, &items), 5);
    assert_string_equal(items[4].event, "job.succeeded");
    assert_string_equal(items[3].event, "job.failed");
    assert_string_equal(items[2].event, "job.cancelled");
    assert_string_equal(items[2].job, c.id);
    assert_string_equal(items[1].event, "job.succeeded");
    assert_string_equal(items[1].job, follower.id);
    assert_string_equal(items[0].event, "job.succeeded");
    assert_int_equal(logged(h, arm.id, &items), 4);
    /* A job that is deleted stays in the log. */
    hub_ok(h, store_job_delete(h->store, c.id, &h->err));
    assert_int_equal(logged(h, all.id, &items), 5);
    assert_string_equal(items[2].job, c.id);
}

static void test_due(void **state)
{
    struct hub *h = *state;
    struct store_delivery *items, d;
    struct store_hook first = add(h, "a"), second = add(h, "b");
    for (int i = 0; i < 20; i++) {
        job_of(h, i < 19 ? "a" : "b", i);
        end_one(h, JOB_SUCCEEDED);
    }
    assert_int_equal(due(h, &items), 8 + 1); /* so many of one */
    assert_string_equal(items[0].secret, first.secret);
    assert_string_equal(items[8].secret, second.secret);
    assert_int_not_equal(items[0].hook, items[8].hook);
    d = items[8];
    d.not_before = store_now() + 60000;
    d.status = 503;
    snprintf(d.error, sizeof d.error, "the receiver answered 503");
    hub_ok(h, store_delivery_record(h->store, &d, &h->err)); /* still pending, but later */
    assert_int_equal(due(h, &items), 8);
    assert_int_equal(logged(h, second.id, &items), 1);
    assert_int_equal(items[0].attempts, 1);
    assert_int_equal(items[0].status, 503);
    assert_int_equal(items[0].state, DELIVERY_PENDING);
    assert_int_equal(items[0].finished, 0);
    assert_string_equal(items[0].error, "the receiver answered 503");
    d.state = DELIVERY_DONE;
    d.status = 204;
    d.error[0] = '\0';
    hub_ok(h, store_delivery_record(h->store, &d, &h->err));
    assert_int_equal(logged(h, second.id, &items), 1);
    assert_int_equal(items[0].attempts, 2);
    assert_true(items[0].finished > 0);
    hub_ok(h, store_delivery_forget(h->store, items[0].finished + 1, &h->err));
    assert_int_equal(logged(h, second.id, &items), 0);
    assert_int_equal(logged(h, first.id, &items), 19); /* what is pending is never forgotten */
    hub_ok(h, store_hook_delete(h->store, first.id, &h->err));
    assert_int_equal(due(h, &items), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_rows), T(test_ends_are_told), T(test_due)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
