/* Estimation and the pipeline as clients of the daemon see them: a real `bpuhub serve` with a real worker and its
 * sandbox.  environment: BPUHUB_BIN, HTTP_TEST_VERBOSE */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/server/http_client.h"

#define LENET "tests/fixtures/lenet_float.onnx"
#define ILLEGAL "tests/fixtures/illegal.json"

static const char *const with[] = {"--workers", "1", "--max-upload", "64M", NULL};
static struct service hub;

static int start(void **state)
{
    (void)state;
    curl_global_init(CURL_GLOBAL_ALL);
    return service_start(&hub, with) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    int code = service_stop(&hub, SIGTERM);
    service_remove(&hub);
    return code;
}

/* ---- parts ------------------------------------------------------------------------------------- */

static struct reply send_body(const char *body, size_t size, const char *kind, const char *query)
{
    char path[1024];
    snprintf(path, sizeof path, "/v1/%s?%s", kind, query);
    return http_do(&hub, path, (struct query){.body = body, .body_size = size});
}

static struct reply onecall(const char *file, const char *kind, const char *query)
{
    size_t size;
    char *body = file_read(file, &size);
    assert_non_null(body);
    struct reply r = send_body(body, size, kind, query);
    free(body);
    return r;
}

static void succeeded(struct reply *r, const char *verdict)
{
    if (r->status != 200 || strcmp(reply_text(r, "state"), "succeeded") != 0)
        print_message("# got %ld %s\n", r->status, r->body);
    assert_int_equal(r->status, 200);
    assert_string_equal(reply_text(r, "state"), "succeeded");
    assert_string_equal(reply_text(r, "verdict"), verdict);
}

static void failed(struct reply *r, const char *code, const char *text)
{
    json_t *error = json_object_get(r->json, "error");
    if (strcmp(reply_text(r, "state"), "failed") != 0 || !strstr(r->body, text))
        print_message("# %s\n", r->body);
    assert_string_equal(reply_text(r, "state"), "failed");
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    assert_non_null(strstr(r->body, text));
    reply_free(r);
}

static struct reply artifact(const struct reply *job, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/jobs/%s/artifacts/%s", reply_text((struct reply *)job, "id"), name);
    return http_get(&hub, path);
}

static void expect_schema(const struct reply *job, const char *name, const char *schema)
{
    struct reply r = artifact(job, name);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "schema"), schema);
    reply_free(&r);
}

/* Exactly these, in any order. */
static void expect_artifacts(const struct reply *job, const char *const *names, size_t count)
{
    size_t i;
    json_t *x, *list = json_object_get(job->json, "artifacts");
    assert_int_equal(json_array_size(list), count);
    json_array_foreach(list, i, x)
    {
        bool found = false;
        for (size_t k = 0; k < count && !found; k++)
            found = strcmp(json_string_value(json_object_get(x, "name")), names[k]) == 0;
        if (!found)
            fail_msg("there is a file %s", json_string_value(json_object_get(x, "name")));
    }
}

static double latency(const struct reply *job)
{
    struct reply r = artifact(job, "report.json");
    double us = json_number_value(json_object_get(json_object_get(r.json, "summary"), "latency_us"));
    reply_free(&r);
    return us;
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_perf(void **state)
{
    (void)state;
    static const char *const names[] = {"report.json", "report.html", "schedule.svg",
                                        "memory.svg",  "graph.svg",   "model.bpu"};
    struct reply job = onecall(LENET, "perf", "march=bayes&opt=3&layer_details=true&filename=lenet.onnx"), r;
    succeeded(&job, "legal");
    expect_artifacts(&job, names, 6);
    r = artifact(&job, "report.json");
    assert_string_equal(reply_text(&r, "schema"), "bpuhub.perf/1");
    json_t *summary = json_object_get(r.json, "summary");
    assert_true(json_number_value(json_object_get(summary, "FPS")) > 0);
    assert_true(json_array_size(json_object_get(summary, "layer details")) > 3);
    assert_string_equal(json_string_value(json_object_get(summary, "BPU march")), "BAYES");
    reply_free(&r);
    r = artifact(&job, "graph.svg");
    assert_non_null(strstr(r.body, "data-share="));
    reply_free(&r);
    r = artifact(&job, "report.html");
    assert_string_equal(reply_header(&r, "Content-Type"), "text/html");
    assert_true(r.size > 1000);
    reply_free(&r);
    struct reply again = onecall(LENET, "perf", "march=bayes&opt=3&layer_details=true&filename=lenet.onnx");
    succeeded(&again, "legal"); /* from the cache */
    assert_int_equal(json_integer_value(json_object_get(again.json, "attempts")), 0);
    reply_free(&again);
    reply_free(&job);
}

/* A compiled program is a model for perf, and for nothing else. */
static void test_program(void **state)
{
    (void)state;
    static const char *const names[] = {"report.json", "report.html", "schedule.svg", "memory.svg"};
    struct reply of_model = onecall(LENET, "perf", "march=bayes&cores=2&filename=lenet.onnx");
    succeeded(&of_model, "legal");
    struct reply file = artifact(&of_model, "model.bpu");
    assert_int_equal(file.status, 200);
    struct reply job = send_body(file.body, file.size, "perf", "march=bayes&filename=lenet.bpu"), r;
    succeeded(&job, "legal");
    expect_artifacts(&job, names, 4);
    double a = latency(&of_model), b = latency(&job);
    assert_true(a > 0 && fabs(a - b) < 1e-9 * a);
    char path[128];
    snprintf(path, sizeof path, "/v1/models/%s", reply_text(&job, "model"));
    r = http_get(&hub, path);
    assert_string_equal(reply_text(&r, "format"), "program");
    assert_int_equal(json_array_size(json_object_get(r.json, "inputs")), 1);
    reply_free(&r);
    reply_free(&job);

    r = send_body(file.body, file.size, "perf", "march=bernoulli2");
    failed(&r, "bad_option", "compiled for bayes");
    r = send_body(file.body, file.size, "perf", "march=bayes&cores=1");
    failed(&r, "bad_option", "would change nothing");
    static const char *const others[] = {"check", "visualize", "compile", "quantize", "pipeline"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        r = send_body(file.body, file.size, others[i], "march=bayes");
        failed(&r, "unrecognised_format", "compiled program");
    }
    for (size_t i = 600; i < file.size; i += file.size / 7) { /* not the file that it was */
        file.body[i] = (char)(file.body[i] ^ 0x40);
        r = send_body(file.body, file.size, "perf", "march=bayes");
        failed(&r, "bad_model", "");
        file.body[i] = (char)(file.body[i] ^ 0x40);
    }
    r = send_body(file.body, 4, "perf", "march=bayes");
    failed(&r, "bad_model", "");
    reply_free(&file);
    reply_free(&of_model);
}

static void test_pipeline(void **state)
{
    (void)state;
    static const char *const names[] = {"check.json",   "compile.json", "report.json", "report.html",
                                        "schedule.svg", "memory.svg",   "graph.svg",   "model.bpu"};
    struct reply job = onecall(LENET, "pipeline", "march=bayes&filename=lenet.onnx"), r;
    succeeded(&job, "legal");
    expect_artifacts(&job, names, 8);
    expect_schema(&job, "check.json", "bpuhub.check/1");
    expect_schema(&job, "compile.json", "bpuhub.compile/1");
    expect_schema(&job, "report.json", "bpuhub.perf/1");
    struct reply alone = onecall(LENET, "perf", "march=bayes&filename=lenet.onnx");
    succeeded(&alone, "legal");
    assert_true(fabs(latency(&alone) - latency(&job)) < 1e-9);
    reply_free(&alone);
    char path[128]; /* other forms of the check are made when asked for */
    snprintf(path, sizeof path, "/v1/jobs/%s/report.sarif", reply_text(&job, "id"));
    r = http_get(&hub, path);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\"2.1.0\""));
    reply_free(&r);
    reply_free(&job);
}

static void test_illegal(void **state)
{
    (void)state;
    static const char *const names[] = {"report.json", "graph.svg"};
    struct reply job = onecall(ILLEGAL, "pipeline", "march=bernoulli2"), r;
    succeeded(&job, "illegal");
    expect_artifacts(&job, names, 2);
    expect_schema(&job, "report.json", "bpuhub.check/1");
    r = artifact(&job, "graph.svg");
    assert_non_null(strstr(r.body, "data-verdict=\"illegal\""));
    reply_free(&r);
    char path[128];
    snprintf(path, sizeof path, "/v1/jobs/%s/report.html", reply_text(&job, "id"));
    r = http_get(&hub, path);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    reply_free(&job);
    job = onecall(ILLEGAL, "perf", "march=bernoulli2");
    succeeded(&job, "illegal");
    expect_artifacts(&job, names, 1);
    reply_free(&job);
}

/* A pipeline has the gates of its check and of its program; an illegal network keeps none. */
static void test_gates(void **state)
{
    (void)state;
    static const struct {
        const char *model, *query, *verdict, *passed, *text;
    } rows[] = {
        {LENET, "march=bayes&fail_on=error&min_fps=1", "legal", "\"passed\":true", "0 errors; none"},
        {LENET, "march=bayes&fail_on=error&max_latency_us=0.5", "legal", "\"passed\":false", "above the limit of 0.5"},
        {ILLEGAL, "march=bernoulli2&fail_on=error&min_fps=1", "illegal", "\"passed\":false", "the model is illegal"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply job = onecall(rows[i].model, "pipeline", rows[i].query), r;
        succeeded(&job, rows[i].verdict);
        r = artifact(&job, "gates.json");
        assert_non_null(strstr(r.body, rows[i].passed));
        assert_non_null(strstr(r.body, "\"fail_on\""));
        assert_non_null(strstr(r.body, rows[i].text));
        reply_free(&r);
        reply_free(&job);
    }
    struct reply r = onecall(ILLEGAL, "perf", "march=bernoulli2&min_fps=1"), gates;
    succeeded(&r, "illegal");
    gates = artifact(&r, "gates.json");
    assert_non_null(strstr(gates.body, "the model is illegal"));
    reply_free(&gates);
    reply_free(&r);
    r = onecall(LENET, "pipeline", "march=bayes&max_regression=3%25");
    failed(&r, "bad_option", "Pipelines have");
    r = onecall(LENET, "perf", "march=bayes&fail_on=error");
    failed(&r, "bad_option", "Programs have");
}

static void test_bad_options(void **state)
{
    (void)state;
    static const struct {
        const char *query, *code, *text;
    } bad[] = {
        {"march=bayes&layer_details=perhaps", "bad_option", "true or false"},
        {"march=bayes&intervals=0", "bad_option", "1 to 4096"},
        {"march=bayes&intervals=4097", "bad_option", "1 to 4096"},
        {"march=bayes&opt=4", "bad_option", "\"where\":\"opt\""},
        {"march=bayes&layerdetails=1", "bad_option", "there is no option"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = onecall(LENET, i % 2 ? "perf" : "pipeline", bad[i].query);
        failed(&r, bad[i].code, bad[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_perf),    cmocka_unit_test(test_program),     cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_illegal), cmocka_unit_test(test_gates), cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
