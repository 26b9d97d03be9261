/* What the store keeps about access: tokens, sessions, projects and files, the audit log. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/access.h"
#include "server/store_access.h"
#include "tests/server/hub_fixture.h"

static struct store_token token_add(struct hub *h, const char *name, enum store_role role)
{
    struct store_token t = {.role = role};
    snprintf(t.name, sizeof t.name, "%s", name);
    assert_true(access_hash(name, t.hash));
    hub_ok(h, store_token_add(h->store, &t, &h->err));
    return t;
}

static void test_tokens(void **state)
{
    struct hub *h = *state;
    struct store_token *items, a = token_add(h, "a", ROLE_VIEWER), b = token_add(h, "b", ROLE_ADMIN);
    struct store_token same = {.role = ROLE_VIEWER};
    size_t count;
    int64_t bytes;
    assert_true(a.n > 0 && b.n > a.n);
    strcpy(same.hash, a.hash);
    assert_false(store_token_add(h->store, &same, &h->err)); /* two of one hash are none */
    h->err = (struct bpu_error){0};
    hub_ok(h, store_token_used(h->store, a.n, 1000, 7, 500, &h->err));
    hub_ok(h, store_token_used(h->store, a.n, 900, 7, 30, &h->err));
    hub_ok(h, store_token_usage(h->store, a.n, 7, &bytes, &h->err));
    assert_int_equal(bytes, 530);
    hub_ok(h, store_token_usage(h->store, a.n, 8, &bytes, &h->err));
    assert_int_equal(bytes, 0);
    hub_ok(h, store_token_revoke(h->store, b.n, &h->err));
    hub_refused(h, store_token_revoke(h->store, b.n, &h->err), BPU_CONFLICT);
    hub_refused(h, store_token_revoke(h->store, 99, &h->err), BPU_NOT_FOUND);
    hub_ok(h, store_token_list(h->store, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 2);
    assert_int_equal(items[0].last_used, 1000);
    assert_int_equal(items[0].revoked, 0);
    assert_true(items[1].revoked > 0);
    assert_int_equal(items[1].role, ROLE_ADMIN);
}

static void test_sessions(void **state)
{
    struct hub *h = *state;
    struct store_token t = token_add(h, "a", ROLE_VIEWER), u = token_add(h, "b", ROLE_VIEWER);
    struct store_session *items, e = {.token = t.n, .expires = access_now() + 60000};
    struct store_session over = {.token = t.n, .expires = access_now() - 1};
    struct store_session other = {.token = u.n, .expires = access_now() + 60000};
    size_t count;
    assert_true(access_hash("1", e.hash) && access_hash("2", over.hash) && access_hash("3", other.hash));
    hub_ok(h, store_session_add(h->store, &e, &h->err));
    hub_ok(h, store_session_add(h->store, &over, &h->err));
    hub_ok(h, store_session_add(h->store, &other, &h->err));
    hub_ok(h, store_session_list(h->store, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 2);
    hub_ok(h, store_token_revoke(h->store, u.n, &h->err));
    hub_ok(h, store_session_list(h->store, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 1);
    assert_string_equal(items[0].hash, e.hash);
    hub_ok(h, store_session_remove(h->store, e.hash, &h->err));
    hub_ok(h, store_session_list(h->store, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 0);
}

static void test_many_sessions(void **state)
{
    struct hub *h = *state;
    struct store_token t = token_add(h, "a", ROLE_VIEWER), u = token_add(h, "b", ROLE_VIEWER);
    struct store_session *items, e = {.token = u.n, .expires = access_now() + 60000};
    size_t count;
    bool newest = false, others = false;
    assert_true(access_hash("other", e.hash));
    hub_ok(h, store_session_add(h->store, &e, &h->err));
    e.token = t.n;
    for (int i = 0; i < 80; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_true(access_hash(text, e.hash));
        hub_ok(h, store_session_add(h->store, &e, &h->err));
    }
    hub_ok(h, store_session_list(h->store, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 51);
    for (size_t i = 0; i < count; i++) {
        newest = newest || strcmp(items[i].hash, e.hash) == 0;
        others = others || items[i].token == u.n;
    }
    assert_true(newest && others);
}

/* Each change that the daemon must know of is seen in the version, and use is not. */
static void test_version(void **state)
{
    struct hub *h = *state;
    int64_t before, after;
    struct store_token t = token_add(h, "a", ROLE_VIEWER);
    struct store_project p = {.name = "p", .private_ = true};
    struct store_session e = {.token = t.n, .expires = access_now() + 60000};
    assert_true(access_hash("1", e.hash));
#define GROWS(call)                                                                                \
    hub_ok(h, store_access_version(h->store, &before, &h->err));                                   \
    hub_ok(h, call);                                                                               \
    hub_ok(h, store_access_version(h->store, &after, &h->err));                                    \
    assert_true(after > before)
    GROWS(store_session_add(h->store, &e, &h->err));
    GROWS(store_session_remove(h->store, e.hash, &h->err));
    GROWS(store_project_set(h->store, &p, &h->err));
    p.private_ = false;
    GROWS(store_project_set(h->store, &p, &h->err));
    GROWS(store_token_revoke(h->store, t.n, &h->err));
    hub_ok(h, store_token_used(h->store, t.n, 1, 1, 1, &h->err));
    hub_ok(h, store_access_version(h->store, &before, &h->err));
    assert_int_equal(before, after);
}

static struct store_job job_in(struct hub *h, const char *project, const char *options)
{
    struct store_job j = {.kind = "check", .march = "bayes", .options = options};
    snprintf(j.model, sizeof j.model, "%s", hub_model(h, "shared_net.onnx", "net"));
    snprintf(j.project, sizeof j.project, "%s", project);
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    return j;
}

static size_t listed(struct hub *h, struct store_job_filter f)
{
    struct store_job *items;
    size_t count;
    char next[64] = "";
    f.limit = 50;
    hub_ok(h, store_job_list(h->store, &f, &h->arena, &items, &count, next, &h->err));
    return count;
}

static void test_lists(void **state)
{
    struct hub *h = *state;
    struct store_project p = {.name = "mine", .private_ = true}, q = {.name = "theirs", .private_ = true};
    hub_ok(h, store_project_set(h->store, &p, &h->err));
    hub_ok(h, store_project_set(h->store, &q, &h->err));
    struct store_job pub = job_in(h, "", "{\"n\":\"1\"}");
    job_in(h, "open", "{\"n\":\"2\"}");
    job_in(h, "mine", "{\"n\":\"3\"}");
    struct store_job hidden = job_in(h, "theirs", "{\"n\":\"4\"}");
    static const char *const scopes[] = {NULL, "", "mine", "theirs", "open"};
    static const size_t seen[] = {4, 2, 3, 3, 2};
    for (size_t i = 0; i < 5; i++) {
        const char *to = scopes[i];
        struct store_job_filter filters[] = {
            {.visible_to = to},
            {.visible_to = to, .state = "queued"},
            {.visible_to = to, .kind = "check"},
            {.visible_to = to, .march = "bayes"},
            {.visible_to = to, .model = pub.model},
            {.visible_to = to, .q = "shared_net"},
            {.visible_to = to, .q = "sh"},
            {.visible_to = to, .state = "queued", .kind = "check", .march = "bayes", .q = "net"},
        };
        for (size_t k = 0; k < sizeof filters / sizeof filters[0]; k++)
            assert_int_equal(listed(h, filters[k]), seen[i]);
        bool theirs = !to || strcmp(to, "theirs") == 0;
        assert_int_equal(listed(h, (struct store_job_filter){.visible_to = to, .project = "theirs"}), theirs);
        assert_int_equal(listed(h, (struct store_job_filter){.visible_to = to, .q = hidden.id}), theirs);
    }
}

static size_t files_listed(struct hub *h, const char *scope)
{
    struct store_model *items;
    size_t count;
    char next[64] = "";
    hub_ok(h, store_file_list(h->store, false, scope, NULL, 50, &h->arena, &items, &count, next, &h->err));
    return count;
}

static bool visible(struct hub *h, const char *id, const char *scope)
{
    bool yes;
    hub_ok(h, store_file_visible(h->store, id, scope, &yes, &h->err));
    return yes;
}

static void test_files(void **state)
{
    struct hub *h = *state;
    struct store_project p = {.name = "mine", .private_ = true};
    bool seen = true;
    hub_ok(h, store_project_set(h->store, &p, &h->err));
    const char *open = hub_model(h, "a.onnx", "a"), *own = hub_model(h, "b.onnx", "b");
    hub_ok(h, store_file_give(h->store, open, "", false, "", &seen, &h->err));
    assert_false(seen);
    hub_ok(h, store_file_give(h->store, own, "mine", false, "mine", &seen, &h->err));
    assert_true(visible(h, open, "") && visible(h, open, "mine") && visible(h, own, "mine"));
    assert_true(visible(h, own, NULL) && !visible(h, own, "") && !visible(h, own, "other"));
    assert_int_equal(files_listed(h, NULL), 2);
    assert_int_equal(files_listed(h, "mine"), 2);
    assert_int_equal(files_listed(h, ""), 1);
    /* What has been public cannot be hidden by uploading it again … */
    hub_ok(h, store_file_give(h->store, open, "mine", true, "mine", &seen, &h->err));
    assert_true(seen);
    assert_true(visible(h, open, ""));
    /* … and what was hidden is there for all once somebody gave it to all. */
    hub_ok(h, store_file_give(h->store, own, "", true, "", &seen, &h->err));
    assert_false(seen);
    assert_true(visible(h, own, ""));
    hub_ok(h, store_file_give(h->store, own, "", true, "", &seen, &h->err));
    assert_true(seen);
}

static void test_queue_quota(void **state)
{
    struct hub *h = *state;
    struct store_token t = token_add(h, "a", ROLE_SUBMITTER), u = token_add(h, "b", ROLE_SUBMITTER);
    struct store_job a = job_in(h, "", "{\"n\":\"1\"}"), b = job_in(h, "", "{\"n\":\"2\"}"),
                     c = job_in(h, "", "{\"n\":\"3\"}");
    hub_ok(h, store_job_set_token(h->store, a.id, t.n, 2, &h->err));
    hub_ok(h, store_job_set_token(h->store, b.id, t.n, 2, &h->err));
    hub_refused(h, store_job_set_token(h->store, c.id, t.n, 2, &h->err), BPU_QUOTA);
    hub_ok(h, store_job_set_token(h->store, c.id, u.n, 2, &h->err));
    /* Whose a job is, is settled by the first. */
    hub_ok(h, store_job_set_token(h->store, c.id, t.n, 2, &h->err));
    hub_ok(h, store_job_cancel(h->store, a.id, &h->err));
    struct store_job d = job_in(h, "", "{\"n\":\"4\"}");
    hub_ok(h, store_job_set_token(h->store, d.id, t.n, 2, &h->err));
}

/* Of several operations that belong together all are undone, and what came before stays. */
static void test_all_or_none(void **state)
{
    struct hub *h = *state;
    struct store_token t = token_add(h, "a", ROLE_SUBMITTER);
    hub_refused(h, store_all_begin(h->store, &h->err), BPU_SERVER);
    hub_ok(h, store_begin(h->store, &h->err));
    struct store_job kept = job_in(h, "", "{\"n\":\"1\"}");
    hub_ok(h, store_job_set_token(h->store, kept.id, t.n, 1, &h->err));
    hub_ok(h, store_all_begin(h->store, &h->err));
    struct store_job lost = job_in(h, "", "{\"n\":\"2\"}");
    bool ok = store_job_set_token(h->store, lost.id, t.n, 1, &h->err);
    assert_false(store_all_end(h->store, ok, &h->err));
    h->err = (struct bpu_error){0};
    hub_ok(h, store_commit(h->store, &h->err));
    struct store_job found;
    hub_ok(h, store_job_get(h->store, kept.id, &h->arena, &found, &h->err));
    hub_refused(h, store_job_get(h->store, lost.id, &h->arena, &found, &h->err), BPU_NOT_FOUND);
}

static void test_audit(void **state)
{
    struct hub *h = *state;
    struct store_audit *items, e = {.actor = "a", .address = "::1", .action = "x", .object = "o", .result = "ok"};
    size_t count;
    for (int i = 0; i < 5; i++) {
        e.token = i;
        hub_ok(h, store_audit_add(h->store, &e, &h->err));
    }
    hub_ok(h, store_audit_list(h->store, 0, 3, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 3);
    assert_int_equal(items[0].token, 4);
    assert_string_equal(items[0].address, "::1");
    hub_ok(h, store_audit_list(h->store, items[2].n, 3, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 2);
    assert_int_equal(items[1].token, 0);
    hub_ok(h, store_access_prune(h->store, access_now() - 60000, &h->err));
    hub_ok(h, store_audit_list(h->store, 0, 9, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 5);
    hub_ok(h, store_access_prune(h->store, access_now() + 1, &h->err));
    hub_ok(h, store_audit_list(h->store, 0, 9, &h->arena, &items, &count, &h->err));
    assert_int_equal(count, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_tokens), T(test_sessions), T(test_many_sessions), T(test_version),    T(test_lists),
        T(test_files),  T(test_audit),    T(test_queue_quota), T(test_all_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
