/* Comparisons and gates as clients of the daemon see them.
 * environment: BPUHUB_BIN, HTTP_TEST_VERBOSE */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/server/http_client.h"

#define LENET "tests/fixtures/lenet_float.onnx"
#define ILLEGAL "tests/fixtures/opset13.onnx"

static const char *const with[] = {"--workers", "1", "--max-upload", "64M", NULL};
static struct service hub;
static char plain[40], slow[40], checked[40], broken[40], drawn[40];

/* ---- parts ------------------------------------------------------------------------------------- */

static struct reply onecall(const char *file, const char *call)
{
    size_t size;
    char *body = file_read(file, &size), path[1024];
    assert_non_null(body);
    snprintf(path, sizeof path, "/v1/%s&filename=%s", call, strrchr(file, '/') + 1);
    struct reply r = http_do(&hub, path, (struct query){.body = body, .body_size = size});
    free(body);
    if (r.status != 200 || strcmp(reply_text(&r, "state"), "succeeded") != 0)
        print_message("# %s: %ld %s\n", path, r.status, r.body);
    return r;
}

static void made(const char *file, const char *call, char id[40])
{
    struct reply r = onecall(file, call);
    assert_string_equal(reply_text(&r, "state"), "succeeded");
    snprintf(id, 40, "%s", reply_text(&r, "id"));
    reply_free(&r);
}

static struct reply compare(const char *base, const char *head, const char *more, const char *header)
{
    char path[512];
    snprintf(path, sizeof path, "/v1/compare?base=%s&head=%s%s", base, head, more);
    return http_do(&hub, path, (struct query){.headers = {header}});
}

static void problem(struct reply *r, long status, const char *code, const char *where)
{
    if (r->status != status || strcmp(reply_text(r, "code"), code) != 0 || strcmp(reply_text(r, "where"), where) != 0)
        print_message("# %ld %s\n", r->status, r->body);
    assert_int_equal(r->status, status);
    assert_string_equal(reply_header(r, "Content-Type"), "application/problem+json");
    assert_string_equal(reply_text(r, "code"), code);
    assert_string_equal(reply_text(r, "where"), where);
    reply_free(r);
}

static json_t *at(const struct reply *r, const char *a, const char *b)
{
    json_t *x = json_object_get(r->json, a);
    return b ? json_object_get(x, b) : x;
}

static int start(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_ALL);
    if (!service_start(&hub, with))
        return -1;
    made(LENET, "compile?march=bayes", plain);
    made(LENET, "compile?march=bayes&opt=0", slow);
    made(LENET, "check?march=bayes", checked);
    made(ILLEGAL, "check?march=bayes", broken);
    made(LENET, "visualize?march=bayes", drawn);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    int code = service_stop(&hub, SIGTERM);
    service_remove(&hub);
    return code;
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_programs(void **state)
{
    (void)state;
    struct reply r = compare(plain, slow, "", NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "schema"), "bpuhub.compare/1");
    assert_true(json_is_true(at(&r, "passed", NULL)));
    assert_true(json_is_null(at(&r, "gates", NULL)));
    assert_true(json_is_true(at(&r, "same", "model")) && json_is_false(at(&r, "same", "options")));
    assert_string_equal(json_string_value(at(&r, "base", "job")), plain);
    assert_string_equal(json_string_value(at(&r, "head", "options")), "O0 cores=1");
    json_t *latency = at(&r, "figures", "latency_us");
    double base = json_number_value(json_object_get(latency, "base")), head = json_number_value(json_object_get(latency, "head"));
    assert_true(base > 0 && head > base); /* O0 is slower */
    assert_true(json_number_value(json_object_get(latency, "delta")) == head - base);
    assert_string_equal(json_string_value(json_object_get(latency, "outcome")), "worse");
    assert_int_equal(json_integer_value(at(&r, "layers", "matched")), 5);
    json_t *items = at(&r, "layers", "items");
    double last = 1e9;
    for (size_t i = 0; i < json_array_size(items); i++) { /* the greatest change first */
        double d = json_number_value(json_object_get(json_object_get(json_array_get(items, i), "time_us"), "delta"));
        assert_true((d < 0 ? -d : d) <= last);
        last = d < 0 ? -d : d;
    }
    assert_int_equal(json_integer_value(at(&r, "findings", "base")), json_integer_value(at(&r, "findings", "kept")));
    reply_free(&r);
    r = compare(plain, plain, "", NULL);
    assert_int_equal(json_array_size(at(&r, "layers", "items")), 0);
    assert_int_equal(json_integer_value(at(&r, "layers", "unchanged")), 5);
    reply_free(&r);
}

static void test_checks(void **state)
{
    (void)state;
    struct reply r = compare(checked, broken, "", NULL);
    assert_true(json_is_false(at(&r, "passed", NULL))); /* the head is illegal */
    assert_true(json_is_false(at(&r, "same", "verdict")));
    json_t *gained = at(&r, "findings", "gained");
    assert_true(json_array_size(gained) > 0);
    assert_string_equal(json_string_value(json_object_get(json_array_get(gained, 0), "severity")), "error");
    reply_free(&r);
    r = compare(broken, checked, "&fail_on=new-findings", NULL);
    assert_true(json_is_true(at(&r, "passed", NULL)));
    assert_true(json_array_size(at(&r, "findings", "lost")) > 0);
    reply_free(&r);
}

static void test_gates(void **state)
{
    (void)state;
    struct reply r = compare(plain, slow, "&max_regression=3%25&min_fps=1&max_ddr_mb=0.001&fail_on=new-findings", NULL);
    assert_int_equal(r.status, 200); /* the answer is there; what it says is another thing */
    assert_true(json_is_false(at(&r, "passed", NULL)));
    assert_true(json_is_false(at(&r, "gates", "passed")));
    json_t *results = at(&r, "gates", "results");
    static const bool passes[] = {false, false, true, false, true};
    assert_int_equal(json_array_size(results), 5);
    for (size_t i = 0; i < 5; i++) {
        json_t *g = json_array_get(results, i);
        assert_int_equal(json_is_true(json_object_get(g, "passed")), passes[i]);
        assert_true(strlen(json_string_value(json_object_get(g, "text"))) > 10);
    }
    reply_free(&r);
    r = compare(plain, slow, "&max_regression=10000%25", NULL);
    assert_true(json_is_true(at(&r, "gates", "passed")));
    reply_free(&r);
}

/* Gates of a job stand in its view, in one call and later. */
static void test_gates_of_jobs(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        bool passes;
    } calls[] = {{"compile?march=bayes&max_latency_us=0.5", false},
                 {"compile?march=bayes&max_latency_us=1e6&min_fps=1", true},
                 {"perf?march=bayes&max_ddr_mb=0.0001", false},
                 {"perf?march=bayes&min_fps=1", true},
                 {"check?march=bayes&fail_on=warning", true},
                 {"check?march=bernoulli2&fail_on=warning", false}};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct reply r = onecall(LENET, calls[i].call), again;
        char path[128];
        assert_string_equal(reply_text(&r, "state"), "succeeded");
        assert_int_equal(json_is_true(at(&r, "gates", "passed")), calls[i].passes);
        assert_true(json_array_size(at(&r, "gates", "results")) > 0);
        snprintf(path, sizeof path, "/v1/jobs/%s", reply_text(&r, "id"));
        again = http_get(&hub, path);
        assert_true(json_equal(json_object_get(r.json, "gates"), json_object_get(again.json, "gates")));
        reply_free(&again);
        reply_free(&r);
    }
    struct reply r = onecall(LENET, "compile?march=bayes");
    assert_null(json_object_get(r.json, "gates"));
    reply_free(&r);
}

static void test_gates_refused(void **state)
{
    (void)state;
    static const char *const calls[] = {"compile?march=bayes&max_latency_us=fast", "compile?march=bayes&max_regression=3%25",
                                        "check?march=bayes&min_fps=3", "check?march=bayes&fail_on=new-errors"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        size_t size;
        char *body = file_read(LENET, &size), path[256];
        snprintf(path, sizeof path, "/v1/%s", calls[i]);
        struct reply r = http_do(&hub, path, (struct query){.body = body, .body_size = size});
        assert_string_equal(json_string_value(json_object_get(json_object_get(r.json, "error"), "code")), "bad_option");
        reply_free(&r);
        free(body);
    }
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *accept, *type;
    } forms[] = {{NULL, "application/json"},
                 {"Accept: */*", "application/json"},
                 {"Accept: application/json, text/html", "application/json"},
                 {"Accept: text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct reply r = compare(plain, slow, "", forms[i].accept);
        assert_int_equal(r.status, 200);
        assert_string_equal(reply_header(&r, "Content-Type"), forms[i].type);
        assert_string_equal(reply_header(&r, "Vary"), "Accept");
        reply_free(&r);
    }
    char path[256];
    snprintf(path, sizeof path, "/v1/compare.html?base=%s&head=%s&max_regression=3", plain, slow);
    struct reply r = http_get(&hub, path);
    assert_string_equal(reply_header(&r, "Content-Type"), "text/html; charset=utf-8");
    assert_non_null(strstr(r.body, "max_regression"));
    assert_null(strstr(r.body, "<script"));
    reply_free(&r);
}

static void test_etag(void **state)
{
    (void)state;
    char etag[128], header[160];
    struct reply r = compare(plain, slow, "", NULL);
    snprintf(etag, sizeof etag, "%s", reply_header(&r, "ETag"));
    snprintf(header, sizeof header, "If-None-Match: %s", etag);
    reply_free(&r);
    r = compare(plain, slow, "", header);
    assert_int_equal(r.status, 304);
    assert_int_equal(r.size, 0);
    assert_string_equal(reply_header(&r, "ETag"), etag);
    reply_free(&r);
    r = compare(plain, slow, "&max_regression=3", header); /* other gates, another answer */
    assert_int_equal(r.status, 200);
    reply_free(&r);
    r = compare(slow, plain, "", header);
    assert_int_equal(r.status, 200);
    reply_free(&r);
}

static void test_problems(void **state)
{
    (void)state;
    char lost[40], path[256];
    struct reply r = http_get(&hub, "/v1/compare");
    problem(&r, 400, "bad_request", "base");
    snprintf(path, sizeof path, "/v1/compare?base=%s", plain);
    r = http_get(&hub, path);
    problem(&r, 400, "bad_request", "head");
    r = compare(plain, "0000000000000", "", NULL);
    problem(&r, 404, "not_found", "head");
    r = compare("..%2f..%2fx", plain, "", NULL);
    problem(&r, 404, "not_found", "base");
    r = compare(plain, drawn, "", NULL);
    problem(&r, 422, "not_comparable", "head");
    r = compare(plain, slow, "&max_regresion=3", NULL);
    problem(&r, 400, "bad_option", "max_regresion");
    r = compare(plain, slow, "&max_regression=3%25,warp=1", NULL);
    problem(&r, 400, "bad_option", "max_regression");
    r = compare(plain, slow, "&base=x", NULL);
    problem(&r, 400, "bad_option", "base");
    /* A job that failed. */
    size_t size;
    char *body = file_read(LENET, &size);
    r = http_do(&hub, "/v1/check?march=bayes", (struct query){.body = body, .body_size = size / 2});
    free(body);
    snprintf(lost, sizeof lost, "%s", reply_text(&r, "id"));
    assert_string_equal(reply_text(&r, "state"), "failed");
    reply_free(&r);
    r = compare(lost, plain, "", NULL);
    problem(&r, 409, "job_has_no_report", "base");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_programs), cmocka_unit_test(test_checks),       cmocka_unit_test(test_gates),
        cmocka_unit_test(test_gates_of_jobs), cmocka_unit_test(test_gates_refused), cmocka_unit_test(test_forms),
        cmocka_unit_test(test_etag),     cmocka_unit_test(test_problems),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
