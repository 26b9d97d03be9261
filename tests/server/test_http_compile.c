/* Compilation as clients of the daemon see it: a real `bpuhub serve` with a real worker and its sandbox.
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
#include <unistd.h>

#include "tests/server/http_client.h"

#define LENET "tests/fixtures/lenet_float.onnx"
#define QAT "tests/fixtures/lenet_qat_s8.onnx"
#define SIDE 28
#define IDX_HEAD 16

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

static struct reply onecall(const char *file, const char *query, const char *prefer)
{
    size_t size;
    char *body = file_read(file, &size), path[1024];
    assert_non_null(body);
    snprintf(path, sizeof path, "/v1/compile?%s&filename=%s", query, strrchr(file, '/') + 1);
    struct reply r =
        http_do(&hub, path, (struct query){.body = body, .body_size = size, .headers = {prefer}});
    free(body);
    return r;
}

static struct reply compiled(const char *file, const char *query)
{
    struct reply r = onecall(file, query, NULL);
    if (r.status != 200 || strcmp(reply_text(&r, "state"), "succeeded") != 0)
        print_message("# got %ld %s\n", r.status, r.body);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "state"), "succeeded");
    return r;
}

static struct reply artifact(struct reply *job, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/jobs/%s/artifacts/%s", reply_text(job, "id"), name);
    return http_get(&hub, path);
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

static bool has_artifact(const struct reply *job, const char *name, const char *type)
{
    size_t i;
    json_t *x;
    json_array_foreach(json_object_get(job->json, "artifacts"), i, x)
    {
        if (strcmp(json_string_value(json_object_get(x, "name")), name) == 0)
            return strcmp(json_string_value(json_object_get(x, "type")), type) == 0;
    }
    return false;
}

/* Digits of our own in MNIST's format. */
static void pictures_upload(unsigned frames, char id[65])
{
    size_t size = IDX_HEAD + (size_t)frames * SIDE * SIDE;
    unsigned char *p = calloc(1, size);
    assert_non_null(p);
    const unsigned char head[IDX_HEAD] = {0, 0, 8, 3, 0, 0, 0, (unsigned char)frames,
                                          0, 0, 0, SIDE, 0, 0, 0, SIDE};
    memcpy(p, head, sizeof head);
    for (size_t i = IDX_HEAD; i < size; i++)
        p[i] = (unsigned char)(i * 2654435761u >> 24);
    struct reply r = http_do(&hub, "/v1/data?filename=digits.idx",
                             (struct query){.body = (const char *)p, .body_size = size});
    assert_true(r.status == 200 || r.status == 201);
    snprintf(id, 65, "%s", reply_text(&r, "id"));
    reply_free(&r);
    free(p);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_artifacts(void **state)
{
    (void)state;
    struct reply job = compiled(LENET, "march=bayes&opt=3"), r;
    assert_string_equal(reply_text(&job, "verdict"), "legal");
    assert_true(has_artifact(&job, "model.bpu", "application/octet-stream"));
    assert_true(has_artifact(&job, "report.json", "application/json"));
    assert_true(has_artifact(&job, "report.html", "text/html"));
    assert_true(has_artifact(&job, "memory.svg", "image/svg+xml"));
    assert_true(has_artifact(&job, "schedule.svg", "image/svg+xml"));
    assert_true(has_artifact(&job, "graph.svg", "image/svg+xml"));
    r = artifact(&job, "report.json");
    assert_string_equal(reply_text(&r, "schema"), "bpuhub.compile/1");
    assert_string_equal(reply_text(&r, "scales"), "placeholder");
    assert_true(json_is_true(json_object_get(r.json, "uncalibrated")));
    json_t *summary = json_object_get(r.json, "summary");
    assert_true(json_integer_value(json_object_get(summary, "instructions")) > 0);
    assert_true(json_real_value(json_object_get(summary, "predicted_us")) > 0);
    int64_t bytes = json_integer_value(json_object_get(summary, "program_bytes"));
    reply_free(&r);
    r = artifact(&job, "model.bpu");
    assert_int_equal(r.size, bytes);
    reply_free(&r);
    static const char *const pictures[] = {"memory.svg", "schedule.svg", "graph.svg"};
    for (size_t i = 0; i < 3; i++) {
        r = artifact(&job, pictures[i]);
        assert_string_equal(reply_header(&r, "Content-Type"), "image/svg+xml");
        assert_non_null(strstr(r.body, "</svg>"));
        assert_null(strstr(r.body, "<script"));
        reply_free(&r);
    }
    r = artifact(&job, "report.html");
    assert_non_null(strstr(r.body, "class=\"bpu-plan\""));
    assert_non_null(strstr(r.body, "class=\"bpu-schedule\""));
    assert_null(strstr(r.body, "<script"));
    assert_null(strstr(r.body, " style="));
    reply_free(&r);
    reply_free(&job);
    job = compiled(LENET, "march=bayes&opt=3"); /* from the cache */
    assert_int_equal(json_integer_value(json_object_get(job.json, "attempts")), 0);
    reply_free(&job);
}

static void test_same_as_command_line(void **state)
{
    (void)state;
    char out[128], command[512];
    size_t size;
    snprintf(out, sizeof out, "%s/local.bpu", hub.dir);
    snprintf(command, sizeof command,
             "%s compile " QAT " --march bayes --cores 2 -O ddr -o %s >%s.log 2>&1",
             getenv("BPUHUB_BIN") ? getenv("BPUHUB_BIN") : "build/bpuhub", out, out);
    assert_int_equal(system(command), 0);
    char *local = file_read(out, &size);
    struct reply job = compiled(QAT, "march=bayes&cores=2&opt=ddr"), r = artifact(&job, "model.bpu");
    assert_int_equal(r.size, size);
    assert_memory_equal(r.body, local, size);
    reply_free(&r);
    r = artifact(&job, "report.json");
    assert_string_equal(reply_text(&r, "scales"), "file");
    reply_free(&r);
    reply_free(&job);
    free(local);
    unlink(out);
}

/* Calibration computes in float, in the other sandbox. */
static void test_calibrated(void **state)
{
    (void)state;
    char id[65], query[256];
    pictures_upload(8, id);
    snprintf(query, sizeof query, "march=bayes&calibration=%s&calibration.scale=0.0039", id);
    struct reply job = compiled(LENET, query), r = artifact(&job, "report.json");
    assert_string_equal(reply_text(&r, "scales"), "calibration");
    assert_true(json_is_false(json_object_get(r.json, "uncalibrated")));
    reply_free(&r);
    reply_free(&job);
}

static void test_illegal(void **state)
{
    (void)state;
    struct reply job = compiled(LENET, "march=bernoulli2"), r;
    assert_string_equal(reply_text(&job, "verdict"), "illegal");
    assert_false(has_artifact(&job, "model.bpu", "application/octet-stream"));
    r = artifact(&job, "report.json");
    assert_string_equal(reply_text(&r, "schema"), "bpuhub.check/1");
    assert_string_equal(reply_text(&r, "verdict"), "illegal");
    assert_true(json_array_size(json_object_get(r.json, "findings")) > 0);
    reply_free(&r);
    char path[128]; /* drawn when somebody asks for it, as for a check */
    snprintf(path, sizeof path, "/v1/jobs/%s/graph.svg", reply_text(&job, "id"));
    r = http_get(&hub, path);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "data-verdict=\"illegal\""));
    reply_free(&r);
    reply_free(&job);
}

static void test_bad_options(void **state)
{
    (void)state;
    static const struct {
        const char *query, *code, *text;
    } bad[] = {
        {"march=bayes&opt=4", "bad_option", "\"where\":\"opt\""},
        {"march=bayes&cores=9", "bad_option", "\"where\":\"cores\""},
        {"march=bayes&balance_factor=3", "bad_option", "opt=balance"},
        {"march=bayes&input_layout.nobody=nchw", "bad_option", "no input"},
        {"march=bayes&output_layout=chwn", "bad_option", "nhwc, nchw or bpu_raw"},
        {"march=bayes&optt=2", "bad_option", "there is no option"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = onecall(LENET, bad[i].query, NULL);
        failed(&r, bad[i].code, bad[i].text);
    }
    char query[160];
    snprintf(query, sizeof query, "march=bayes&calibration=%064d", 0);
    struct reply r = onecall(LENET, query, NULL);
    assert_int_equal(r.status, 422);
    assert_string_equal(reply_text(&r, "code"), "unknown_data");
    reply_free(&r);
}

/* What was acknowledged survives kill -9: a result with its bytes, and a job that had not ended. */
static void test_kill(void **state)
{
    (void)state;
    struct reply job = compiled(QAT, "march=bayes&opt=1"), before = artifact(&job, "model.bpu"), r;
    struct reply pending = onecall(QAT, "march=bayes&opt=fast", "Prefer: wait=0");
    assert_int_equal(pending.status, 202);
    service_stop(&hub, SIGKILL);
    assert_true(service_start(&hub, with));
    r = artifact(&job, "model.bpu");
    assert_int_equal(r.size, before.size);
    assert_memory_equal(r.body, before.body, before.size);
    reply_free(&r);
    char path[128];
    snprintf(path, sizeof path, "/v1/jobs/%s", reply_text(&pending, "id"));
    r = http_do(&hub, path, (struct query){.headers = {"Prefer: wait=60"}, .timeout_ms = 90000});
    if (strcmp(reply_text(&r, "state"), "succeeded") != 0)
        print_message("# %s\n", r.body);
    assert_string_equal(reply_text(&r, "state"), "succeeded");
    reply_free(&r);
    r = artifact(&pending, "model.bpu");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    reply_free(&before);
    reply_free(&pending);
    reply_free(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_artifacts),   cmocka_unit_test(test_same_as_command_line),
        cmocka_unit_test(test_calibrated),  cmocka_unit_test(test_illegal),
        cmocka_unit_test(test_bad_options), cmocka_unit_test(test_kill),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
