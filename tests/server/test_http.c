/* The HTTP daemon as its clients see it: a real `bpuhub serve` with real workers, on port 0, in a
 * temporary directory. environment: BPUHUB_BIN, HTTP_TEST_VERBOSE */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/http.h"
#include "server/json.h"
#include "tests/server/http_client.h"

#define LEGAL "tests/fixtures/one_conv.json"
#define ILLEGAL "tests/fixtures/illegal.json"

static struct service hub;  /* with a worker, uploads up to 8 MiB */
static struct service idle; /* without: jobs stay queued */

static int start(void **state)
{
    (void)state;
    static const char *const with[] = {"--workers", "1", "--max-upload", "8M", NULL};
    static const char *const without[] = {"--workers", "0", NULL};
    curl_global_init(CURL_GLOBAL_ALL);
    return service_start(&hub, with) && service_start(&idle, without) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    int a = service_stop(&hub, SIGTERM), b = service_stop(&idle, SIGTERM);
    service_remove(&hub);
    service_remove(&idle);
    return a == 0 && b == 0 ? 0 : -1;
}

/* The answer is a problem document with this status and code, and leaves nothing unsaid. */
static void expect_problem(struct reply r, long status, const char *code)
{
    if (r.status != status || strcmp(reply_text(&r, "code"), code) != 0)
        print_message("# got %ld %s\n", r.status, r.body);
    assert_int_equal(r.status, status);
    assert_non_null(reply_header(&r, "Content-Type"));
    assert_string_equal(reply_header(&r, "Content-Type"), "application/problem+json");
    assert_string_equal(reply_text(&r, "code"), code);
    assert_int_equal(json_integer_value(json_object_get(r.json, "status")), status);
    assert_true(*reply_text(&r, "type") && *reply_text(&r, "title"));
}

static void refused(struct service *s, const char *path, struct query q, long status,
                    const char *code)
{
    struct reply r = http_do(s, path, q);
    expect_problem(r, status, code);
    reply_free(&r);
}

/* Uploads a file of the tree; the model's id. */
static void upload(struct service *s, const char *file, char id[65])
{
    size_t size;
    char *body = file_read(file, &size);
    assert_non_null(body);
    struct reply r = http_do(s, "/v1/models", (struct query){.body = body, .body_size = size});
    assert_true(r.status == 201 || r.status == 200);
    assert_int_equal(strlen(reply_text(&r, "id")), 64);
    strcpy(id, reply_text(&r, "id"));
    reply_free(&r);
    free(body);
}

/* One call with a file of the tree. */
static struct reply onecall(const char *path, const char *file)
{
    size_t size;
    char *body = file_read(file, &size);
    assert_non_null(body);
    struct reply r = http_do(&hub, path, (struct query){.body = body, .body_size = size});
    free(body);
    return r;
}

static char *job_body(const char *model, const char *kind, const char *rest)
{
    static char text[512];
    snprintf(text, sizeof text, "{\"model\":\"%s\",\"kind\":\"%s\",\"march\":\"bayes\"%s}", model,
             kind, rest);
    return text;
}

/* Queues a job; its id. */
static void queue(struct service *s, const char *model, const char *rest, char id[64])
{
    struct reply r = http_do(s, "/v1/jobs", (struct query){.body = job_body(model, "check", rest)});
    if (r.status != 202)
        print_message("# got %ld %s\n", r.status, r.body);
    assert_int_equal(r.status, 202);
    snprintf(id, 64, "%s", reply_text(&r, "id"));
    char location[96];
    snprintf(location, sizeof location, "/v1/jobs/%s", id);
    assert_string_equal(reply_header(&r, "Location"), location);
    reply_free(&r);
}

static char *path_of(const char *job, const char *rest)
{
    static char path[256];
    snprintf(path, sizeof path, "/v1/jobs/%s%s", job, rest);
    return path;
}

/* ---- uploads -----------------------------------------------------------------------------------
 */

static void test_health(void **state)
{
    (void)state;
    struct reply r = http_get(&hub, "/healthz");
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_header(&r, "X-Content-Type-Options"), "nosniff");
    reply_free(&r);
    r = http_get(&hub, "/readyz");
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "status"), "ready");
    reply_free(&r);
}

static void test_upload(void **state)
{
    (void)state;
    size_t size;
    char *body = file_read(LEGAL, &size);
    struct query q = {.body = body, .body_size = size};
    struct reply r = http_do(&idle, "/v1/models?filename=../../etc/one.json", q);
    assert_int_equal(r.status, 201);
    assert_string_equal(reply_text(&r, "name"), "one.json");
    assert_string_equal(reply_text(&r, "format"), "graph-json");
    assert_int_equal(json_integer_value(json_object_get(r.json, "bytes")), size);
    char path[128];
    snprintf(path, sizeof path, "/v1/models/%s", reply_text(&r, "id"));
    assert_string_equal(reply_header(&r, "Location"), path);
    reply_free(&r);
    /* The same content again, as a form under another name: known, the first name stays. */
    q.form_field = "file";
    q.form_filename = "other.json";
    r = http_do(&idle, "/v1/models", q);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "name"), "one.json");
    reply_free(&r);
    /* Nobody has looked into it: what is not known says so. */
    r = http_get(&idle, path);
    assert_int_equal(r.status, 200);
    const char *why =
        json_string_value(json_object_get(json_object_get(r.json, "inputs"), "availability"));
    assert_string_equal(why ? why : "", "unavailable");
    reply_free(&r);
    r = http_get(&idle, "/v1/models?limit=1");
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 1);
    reply_free(&r);
    free(body);
}

/* Text that starts like graph JSON, then space: as large as wanted. */
static char *filler(size_t size)
{
    char *body = malloc(size + 1);
    assert_non_null(body);
    memset(body, ' ', size);
    body[0] = '{';
    body[size] = 0;
    return body;
}

static void test_upload_large(void **state)
{
    (void)state;
    /* More than both buffers, in chunks and as a form. */
    size_t size = (size_t)5 << 20;
    char *body = filler(size);
    struct reply r = http_do(&idle, "/v1/models",
                             (struct query){.body = body, .body_size = size, .chunked = true});
    assert_int_equal(r.status, 201);
    assert_int_equal(json_integer_value(json_object_get(r.json, "bytes")), size);
    char id[65];
    snprintf(id, sizeof id, "%s", reply_text(&r, "id"));
    reply_free(&r);
    r = http_do(&idle, "/v1/models",
                (struct query){.body = body, .body_size = size, .form_field = "file"});
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "id"), id);
    reply_free(&r);
    free(body);
}

static void test_upload_refused(void **state)
{
    (void)state;
    char models[96], tmp[96];
    snprintf(models, sizeof models, "%s/models", hub.dir);
    snprintf(tmp, sizeof tmp, "%s/tmp", hub.dir);
    int before = files_under(models);
    refused(&hub, "/v1/models", (struct query){.body = ""}, 422, "unrecognised_format");
    struct reply r = http_do(&hub, "/v1/models", (struct query){.body = "hello, I am a text"});
    expect_problem(r, 422, "unrecognised_format");
    assert_true(*reply_text(&r, "detail") && *reply_text(&r, "hint"));
    reply_free(&r);
    refused(&hub, "/v1/models", (struct query){.body = "{}", .form_field = "model"}, 400,
            "bad_request");
    refused(&hub, "/v1/models",
            (struct query){.body = "--x\r\n\r\ncut off",
                           .headers = {"Content-Type: multipart/form-data; boundary=x"}},
            400, "bad_request");
    refused(&hub, "/v1/models",
            (struct query){.body = "{}", .headers = {"Content-Type: multipart/form-data"}}, 400,
            "bad_request");
    refused(&hub, "/v1/models", (struct query){.body = "{}", .headers = {"Content-Encoding: gzip"}},
            415, "unsupported_encoding");
    /* Too large: told by the length, and found out on the way. */
    size_t size = ((size_t)8 << 20) + 1;
    char *body = filler(size);
    refused(&hub, "/v1/models", (struct query){.body = body, .body_size = size}, 413,
            "limit_exceeded");
    refused(&hub, "/v1/models", (struct query){.body = body, .body_size = size, .chunked = true},
            413, "limit_exceeded");
    refused(&hub, "/v1/check?march=bayes",
            (struct query){.body = body, .body_size = size, .chunked = true}, 413,
            "limit_exceeded");
    free(body);
    assert_int_equal(files_under(models), before);
    /* The answer need not wait for the removal. */
    for (int i = 0; i < 300 && files_under(tmp) > 0; i++)
        usleep(10000);
    assert_int_equal(files_under(tmp), 0);
}

static int raw_connect(const struct service *s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)s->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void test_upload_aborted(void **state)
{
    (void)state;
    char tmp[96];
    snprintf(tmp, sizeof tmp, "%s/tmp", hub.dir);
    static const char head[] = "POST /v1/models HTTP/1.1\r\nHost: localhost\r\n"
                               "Content-Length: 4000000\r\n\r\n";
    size_t size = (size_t)2 << 20;
    char *body = filler(size);
    int fd = raw_connect(&hub);
    assert_int_equal(write(fd, head, sizeof head - 1), sizeof head - 1);
    assert_int_equal(write(fd, body, size), size);
    int seen = 0; /* a worker may have a file of its own there for a moment */
    for (int i = 0; i < 300 && seen == 0; i++) {
        usleep(10000);
        seen = files_under(tmp);
    }
    assert_true(seen > 0);
    close(fd);
    for (int i = 0; i < 3000 && files_under(tmp) > 0; i++)
        usleep(10000);
    assert_int_equal(files_under(tmp), 0);
    free(body);
}

/* ---- jobs --------------------------------------------------------------------------------------
 */

static void test_check(void **state)
{
    (void)state;
    struct reply r =
        onecall("/v1/check?march=BAYES&filename=one.json&project=p&label.sha=4f2a", LEGAL);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "state"), "succeeded");
    assert_string_equal(reply_text(&r, "verdict"), "legal");
    assert_string_equal(reply_text(&r, "march"), "bayes");
    assert_string_equal(reply_text(&r, "project"), "p");
    assert_true(json_is_null(json_object_get(r.json, "error")));
    const char *label =
        json_string_value(json_object_get(json_object_get(r.json, "labels"), "sha"));
    assert_string_equal(label ? label : "", "4f2a");
    assert_int_equal(json_array_size(json_object_get(r.json, "artifacts")), 1); /* report.json */
    char id[64], etag[128], header[160], model[128];
    snprintf(id, sizeof id, "%s", reply_text(&r, "id"));
    snprintf(model, sizeof model, "/v1/models/%s", reply_text(&r, "model"));
    reply_free(&r);

    r = http_get(&hub, path_of(id, "/report"));
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "schema"), "bpuhub.check/1");
    assert_string_equal(reply_text(&r, "verdict"), "legal");
    snprintf(etag, sizeof etag, "%s", reply_header(&r, "ETag"));
    size_t size = r.size;
    char *whole = r.body;
    r.body = NULL;
    reply_free(&r);
    snprintf(header, sizeof header, "If-None-Match: \"x\", %s", etag);
    r = http_do(&hub, path_of(id, "/report"), (struct query){.headers = {header}});
    assert_int_equal(r.status, 304);
    assert_int_equal(r.size, 0);
    reply_free(&r);

    static const struct {
        const char *range;
        long status;
        long from, to; /* counted from the end if negative */
    } ranges[] = {
        {"Range: bytes=0-0", 206, 0, 1},        {"Range: bytes=2-5", 206, 2, 6},
        {"Range: bytes=-3", 206, -3, 0},        {"Range: bytes=5-", 206, 5, 0},
        {"Range: bytes=5-99999999", 206, 5, 0}, {"Range: bytes=4-3", 200, 0, 0},
        {"Range: bytes=0-1,3-4", 200, 0, 0},    {"Range: lines=1-2", 200, 0, 0},
        {"Range: bytes=99999999-", 416, 0, 0},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        r = http_do(&hub, path_of(id, "/artifacts/report.json"),
                    (struct query){.headers = {ranges[i].range}});
        assert_int_equal(r.status, ranges[i].status);
        size_t from = ranges[i].from < 0 ? size - (size_t)-ranges[i].from : (size_t)ranges[i].from;
        size_t to = ranges[i].to ? (size_t)ranges[i].to : size;
        if (r.status != 416) {
            assert_int_equal(r.size, to - from);
            assert_memory_equal(r.body, whole + from, to - from);
        }
        reply_free(&r);
    }
    free(whole);

    r = http_get(&hub, model);
    assert_true(json_is_array(json_object_get(r.json, "inputs")));
    assert_int_equal(json_integer_value(json_object_get(r.json, "nodes")), 1);
    reply_free(&r);
    refused(&hub, path_of(id, "/artifacts/nothing"), (struct query){0}, 404, "not_found");
    refused(&hub, path_of(id, "/artifacts/..%2f..%2fhub.db"), (struct query){0}, 404, "not_found");
}

static void test_illegal(void **state)
{
    (void)state;
    struct reply r = onecall("/v1/check?march=bernoulli2", ILLEGAL);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "state"), "succeeded");
    assert_string_equal(reply_text(&r, "verdict"), "illegal");
    char path[256];
    strcpy(path, path_of(reply_text(&r, "id"), "/report"));
    reply_free(&r);
    r = http_get(&hub, path);
    assert_true(json_array_size(json_object_get(r.json, "findings")) > 0);
    reply_free(&r);
}

static void test_failed(void **state)
{
    (void)state;
    /* Recognised by its first bytes, and broken behind them. */
    struct reply r =
        http_do(&hub, "/v1/check?march=bayes",
                (struct query){.body = "{\"format\": \"bpuhub.graph/1\", \"nodes\": 7}"});
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "state"), "failed");
    json_t *error = json_object_get(r.json, "error");
    assert_true(json_is_object(error));
    long status = (long)json_integer_value(json_object_get(error, "status"));
    char code[64], id[64];
    snprintf(code, sizeof code, "%s", json_string_value(json_object_get(error, "code")));
    snprintf(id, sizeof id, "%s", reply_text(&r, "id"));
    reply_free(&r);
    assert_true(status >= 400 && status < 500);
    refused(&hub, path_of(id, "/report"), (struct query){0}, status, code);
    refused(&hub, path_of(id, "/graph.svg"), (struct query){0}, status, code);
    r = http_do(&hub, path_of(id, "/retry"), (struct query){.method = "POST"});
    assert_int_equal(r.status, 202);
    reply_free(&r);
    r = http_do(&hub, path_of(id, ""), (struct query){.headers = {"Prefer: wait=20"}});
    assert_string_equal(reply_text(&r, "state"), "failed");
    reply_free(&r);
}

/* Every format comes through the sandbox: what a reader asks of the system shows only there. */
static void test_formats(void **state)
{
    (void)state;
    static const struct {
        const char *file, *options, *state, *code;
    } cases[] = {
        {"tests/fixtures/lenet_float.onnx", "", "succeeded", ""},
        {"tests/fixtures/lenet_qat_s8.onnx", "&input.0=1x1x28x28", "succeeded", ""},
        {"tests/fixtures/opset17.onnx", "", "succeeded", ""},
        {"tests/fixtures/one_conv.json", "", "succeeded", ""},
        {"tests/fixtures/lenet_float.bpug", "", "succeeded", ""},
        {"tests/fixtures/torchscript/conv.pt", "", "succeeded", ""},
        {"tests/fixtures/torchscript/conv_script.pt", "", "succeeded", ""},
        {"tests/fixtures/torchscript/quantized.pt", "", "succeeded", ""},
        {"tests/fixtures/pt2/mobilenet_v2.pt2", "", "succeeded", ""},
        {"tests/fixtures/pt2/quantized.old.pt2", "", "succeeded", ""},
        {"tests/fixtures/pt2/bad_cut_json.pt2", "", "failed", "bad_model"},
        {"tests/fixtures/bad/trunc.onnx", "", "failed", "bad_model"},
        {"tests/fixtures/bad/nest3000.onnx", "", "failed", "bad_model"},
        {"tests/fixtures/bad/lenet_ext.onnx", "", "failed", "unsupported_model"},
        {"tests/fixtures/bad/unknown_op.onnx", "", "failed", "shape_needed"},
        {"tests/fixtures/bad/unknown_op.onnx", "&input.0=1x1x28x28", "succeeded", ""},
        {"tests/fixtures/bad/lenet_lite.ptl", "", "failed", "unsupported_model"},
        {"tests/fixtures/bad/pickled_module.pt", "", "failed", "unsupported_model"},
        {"tests/fixtures/bad/script_ctrlflow.pt", "", "failed", "unsupported_model"},
        {"tests/fixtures/bad/sd_only.pt", "", "failed", "unsupported_model"},
        {"tests/fixtures/torchscript/bad_bomb.pt", "", "failed", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int draw = 0; draw < 2; draw++) {
            char path[256], options[128] = "";
            /* The fixtures of TorchScript keep their input shapes beside them: KEY=VALUE. */
            snprintf(path, sizeof path, "%.*soptions", (int)(strlen(cases[i].file) - 2),
                     cases[i].file);
            FILE *f = strstr(cases[i].file, "torchscript/") ? fopen(path, "r") : NULL;
            char line[96];
            while (f && fgets(line, sizeof line, f)) {
                line[strcspn(line, "\n")] = '\0';
                snprintf(options + strlen(options), sizeof options - strlen(options), "&%s", line);
            }
            if (f)
                fclose(f);
            snprintf(path, sizeof path, "/v1/%s?march=bayes%s%s", draw ? "visualize" : "check",
                     cases[i].options, options);
            struct reply r = onecall(path, cases[i].file);
            const char *code = json_string_value(
                json_object_get(json_object_get(r.json, "error"), "code"));
            if (r.status != 200 || strcmp(reply_text(&r, "state"), cases[i].state) != 0 ||
                (cases[i].code && strcmp(code ? code : "", cases[i].code) != 0))
                fail_msg("%s %s: %ld %s", cases[i].file, path, r.status, r.body);
            /* Not one of them may so much as try what the sandbox forbids. */
            assert_true(!code || (strcmp(code, "sandbox_violation") != 0 &&
                                  strcmp(code, "worker_crashed") != 0));
            reply_free(&r);
        }
}

/* The other forms of a report are made when somebody asks for them. */
static void test_report_forms(void **state)
{
    (void)state;
    static const struct {
        const char *path, *type, *says;
    } forms[] = {
        {"/report.sarif", "application/sarif+json", "\"version\":\"2.1.0\""},
        {"/report.junit.xml", "application/xml", "<testsuite name="},
        {"/report.html", "text/html", "<!DOCTYPE html>"},
    };
    char model[65], job[64];
    upload(&hub, LEGAL, model);
    queue(&hub, model, ",\"options\":{\"advice\":\"1\"}", job);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (int again = 0; again < 2; again++) {
            struct reply r = http_get(&hub, path_of(job, forms[i].path));
            if (r.status != 200)
                print_message("# %s: %ld %s\n", forms[i].path, r.status, r.body);
            assert_int_equal(r.status, 200);
            assert_string_equal(reply_header(&r, "Content-Type"), forms[i].type);
            assert_non_null(strstr(r.body, forms[i].says));
            reply_free(&r);
        }
    refused(&hub, path_of(job, "/artifacts/report.pdf"), (struct query){0}, 404, "not_found");
}

static void test_drawing(void **state)
{
    (void)state;
    char model[65], job[64], etag[160], where[256];
    upload(&hub, LEGAL, model);
    queue(&hub, model, ",\"options\":{\"advice\":\"0\"}", job);
    struct reply r = http_get(&hub, path_of(job, "/graph.svg"));
    if (r.status != 200)
        print_message("# got %ld %s\n", r.status, r.body);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_header(&r, "Content-Type"), "image/svg+xml");
    assert_non_null(strstr(r.body, "<svg"));
    assert_non_null(strstr(reply_header(&r, "Content-Security-Policy"), "default-src 'none'"));
    snprintf(etag, sizeof etag, "If-None-Match: %s", reply_header(&r, "ETag"));
    snprintf(where, sizeof where, "%s", reply_header(&r, "Content-Location"));
    reply_free(&r);
    /* The same job answers again, and under its own address. */
    r = http_do(&hub, path_of(job, "/graph.svg"), (struct query){.headers = {etag}});
    assert_int_equal(r.status, 304);
    reply_free(&r);
    r = http_do(&hub, where, (struct query){.headers = {etag}});
    assert_int_equal(r.status, 304);
    reply_free(&r);
    r = onecall("/v1/visualize?march=bayes", LEGAL);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "kind"), "visualize");
    assert_string_equal(reply_text(&r, "state"), "succeeded");
    reply_free(&r);
}

static void test_job_refused(void **state)
{
    (void)state;
    char model[65];
    upload(&hub, LEGAL, model);
    static const struct {
        const char *body, *where;
    } bad[] = {
        {"", "line 1 column 1"},
        {"{\n  \"model\": nan}", "line 2"},
        {"[1]", "/"},
        {"{\"model\":\"a\",\"model\":\"b\"}", "line 1"},
        {"{\"model\":7}", "/model"},
        {"{\"modell\":\"\"}", "/modell"},
        {"{\"kind\":\"check\"}", "/model"},
        {"{\"options\":[]}", "/options"},
        {"{\"options\":{\"a\":{}}}", "/options/a"},
        {"{\"labels\":{\"\":\"x\"}}", "/labels/"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reply r = http_do(&hub, "/v1/jobs", (struct query){.body = bad[i].body});
        assert_int_equal(r.status, 400);
        if (!strstr(reply_text(&r, "where"), bad[i].where))
            print_message("# %s: %s\n", bad[i].body, r.body);
        assert_non_null(strstr(reply_text(&r, "where"), bad[i].where));
        reply_free(&r);
    }
    char deep[4001];
    memset(deep, '[', 4000);
    deep[4000] = 0;
    refused(&hub, "/v1/jobs", (struct query){.body = deep}, 400, "bad_request");
    char *big = filler(JSON_MAX_BODY + 1);
    refused(&hub, "/v1/jobs", (struct query){.body = big}, 413, "limit_exceeded");
    free(big);

    char text[256];
    snprintf(text, sizeof text, "{\"model\":\"%s\",\"kind\":\"check\",\"march\":\"bays\"}", model);
    struct reply r = http_do(&hub, "/v1/jobs", (struct query){.body = text});
    expect_problem(r, 400, "unknown_march");
    assert_non_null(strstr(reply_text(&r, "hint"), "bernoulli2"));
    reply_free(&r);
    snprintf(text, sizeof text, "{\"model\":\"%s\",\"kind\":\"check\"}", model);
    refused(&hub, "/v1/jobs", (struct query){.body = text}, 400, "unknown_march");
    refused(&hub, "/v1/jobs", (struct query){.body = job_body(model, "chek", "")}, 400,
            "bad_option");
    memset(model, '0', 64);
    refused(&hub, "/v1/jobs", (struct query){.body = job_body(model, "check", "")}, 404,
            "not_found");
    refused(&hub, "/v1/check", (struct query){.body = "{}"}, 400, "unknown_march");
    refused(&hub, "/v1/check?march=x", (struct query){.body = "{}"}, 400, "unknown_march");
    refused(&hub, "/v1/jobs/nope", (struct query){0}, 404, "not_found");
    refused(&hub, "/v1/models/nope", (struct query){0}, 404, "not_found");
}

static void test_idempotency(void **state)
{
    (void)state;
    char model[65], first[64];
    upload(&idle, LEGAL, model);
    struct query q = {.body = job_body(model, "check", ""), .headers = {"Idempotency-Key: key-1"}};
    struct reply r = http_do(&idle, "/v1/jobs", q);
    assert_int_equal(r.status, 202);
    snprintf(first, sizeof first, "%s", reply_text(&r, "id"));
    reply_free(&r);
    r = http_do(&idle, "/v1/jobs", q);
    assert_int_equal(r.status, 202);
    assert_string_equal(reply_text(&r, "id"), first);
    reply_free(&r);
    q.body = job_body(model, "check", ",\"options\":{\"advice\":\"3\"}");
    refused(&idle, "/v1/jobs", q, 409, "conflict");
    q.headers[0] = "Idempotency-Key: with space";
    refused(&idle, "/v1/jobs", q, 400, "bad_request");
    /* Uploads, cancel and retry answer a repeat as they did the first time. */
    q = (struct query){.body = "{\"idempotent\": 1}", .headers = {"Idempotency-Key: key-2"}};
    for (int i = 0; i < 2; i++) {
        r = http_do(&idle, "/v1/models", q);
        assert_int_equal(r.status, 201);
        reply_free(&r);
    }
    q.body = "{\"idempotent\": 2}";
    refused(&idle, "/v1/models", q, 409, "conflict");
    q = (struct query){.method = "POST", .headers = {"Idempotency-Key: key-3"}};
    for (int i = 0; i < 2; i++) {
        r = http_do(&idle, path_of(first, "/cancel"), q);
        assert_int_equal(r.status, 200);
        assert_string_equal(reply_text(&r, "state"), "cancelled");
        reply_free(&r);
    }
    refused(&idle, path_of(first, "/cancel"), (struct query){.method = "POST"}, 409, "conflict");
}

static void test_queued(void **state)
{
    (void)state;
    char model[65], job[64];
    upload(&idle, LEGAL, model);
    queue(&idle, model, ",\"options\":{\"n\":\"1\"}", job);
    struct reply r = http_get(&idle, path_of(job, "/report"));
    expect_problem(r, 409, "job_not_finished");
    assert_non_null(reply_header(&r, "Retry-After"));
    reply_free(&r);
    /* The wait lasts its time, and others are served meanwhile. */
    r = http_do(&idle, path_of(job, ""),
                (struct query){.headers = {"Prefer: respond-async, wait=1"}});
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "state"), "queued");
    assert_true(r.seconds > 0.9 && r.seconds < 5);
    reply_free(&r);
    refused(&idle, path_of(job, "/retry"), (struct query){.method = "POST"}, 409, "conflict");
    r = http_do(&idle, path_of(job, "/cancel"), (struct query){.method = "POST"});
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "state"), "cancelled");
    reply_free(&r);
    refused(&idle, path_of(job, "/report"), (struct query){0}, 409, "conflict");
    refused(&idle, path_of(job, "/cancel"), (struct query){.method = "POST"}, 409, "conflict");
    r = http_do(&idle, path_of(job, "/retry"), (struct query){.method = "POST"});
    assert_int_equal(r.status, 202);
    assert_string_equal(reply_text(&r, "state"), "queued");
    reply_free(&r);
    r = http_do(&idle, path_of(job, ""), (struct query){.method = "DELETE"});
    assert_int_equal(r.status, 204);
    reply_free(&r);
    refused(&idle, path_of(job, ""), (struct query){0}, 404, "not_found");
}

/* Reads from the socket until text is seen; false after 5 s. */
static bool read_until(int fd, char *buffer, size_t size, const char *text)
{
    size_t got = strlen(buffer);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (!strstr(buffer, text) && got < size - 1) {
        ssize_t n = read(fd, buffer + got, size - 1 - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
        buffer[got] = 0;
    }
    return strstr(buffer, text) != NULL;
}

static int stream_open(const struct service *s, const char *job)
{
    char head[256];
    int fd = raw_connect(s);
    int n = snprintf(head, sizeof head,
                     "GET /v1/jobs/%s/events HTTP/1.1\r\nHost: localhost\r\n\r\n", job);
    assert_int_equal(write(fd, head, (size_t)n), n);
    return fd;
}

static void test_events(void **state)
{
    (void)state;
    char model[65], job[64], buffer[16384] = "";
    upload(&idle, LEGAL, model);
    queue(&idle, model, ",\"options\":{\"n\":\"2\"}", job);
    int fd = stream_open(&idle, job);
    assert_true(read_until(fd, buffer, sizeof buffer, "\"state\":\"queued\""));
    assert_non_null(strstr(buffer, "text/event-stream"));
    assert_non_null(strstr(buffer, "event: state\n"));
    struct reply r = http_do(&idle, path_of(job, "/cancel"), (struct query){.method = "POST"});
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_true(read_until(fd, buffer, sizeof buffer, "\"state\":\"cancelled\""));
    /* The stream ends with the job. */
    assert_true(read_until(fd, buffer, sizeof buffer, "\r\n0\r\n\r\n"));
    close(fd);
    r = http_do(&idle, path_of(job, "/events"), (struct query){.headers = {"Last-Event-ID: 2"}});
    assert_int_equal(r.status, 204);
    reply_free(&r);
    r = http_get(&idle, path_of(job, "/events"));
    assert_non_null(strstr(r.body, "\"state\":\"cancelled\""));
    reply_free(&r);
    refused(&idle, "/v1/jobs/nope/events", (struct query){0}, 404, "not_found");
}

static void test_many_streams(void **state)
{
    (void)state;
    enum { STREAMS = 300 };
    static char buffers[STREAMS][4096];
    int fds[STREAMS];
    char model[65], job[64];
    upload(&idle, LEGAL, model);
    queue(&idle, model, ",\"options\":{\"n\":\"3\"}", job);
    for (int i = 0; i < STREAMS; i++)
        fds[i] = stream_open(&idle, job);
    for (int i = 0; i < STREAMS; i++) {
        buffers[i][0] = 0;
        assert_true(read_until(fds[i], buffers[i], sizeof buffers[i], "\"state\":\"queued\""));
    }
    struct reply r = http_do(&idle, path_of(job, "/cancel"), (struct query){.method = "POST"});
    reply_free(&r);
    for (int i = 0; i < STREAMS; i++) {
        assert_true(read_until(fds[i], buffers[i], sizeof buffers[i], "\"state\":\"cancelled\""));
        close(fds[i]);
    }
}

static void test_list(void **state)
{
    (void)state;
    char model[65], jobs[5][64];
    upload(&idle, LEGAL, model);
    for (int i = 0; i < 5; i++) {
        char rest[128];
        snprintf(rest, sizeof rest,
                 ",\"project\":\"list\",\"labels\":{\"n\":\"%d\"},\"options\":{\"n\":\"l%d\"}", i,
                 i);
        queue(&idle, model, rest, jobs[i]);
    }
    char path[256] = "/v1/jobs?project=list&limit=2";
    int seen = 0;
    for (int page = 0; page < 3; page++) {
        struct reply r = http_get(&idle, path);
        assert_int_equal(r.status, 200);
        size_t index;
        json_t *item;
        json_array_foreach(json_object_get(r.json, "items"), index, item)
        {
            const char *id = json_string_value(json_object_get(item, "id"));
            assert_string_equal(id ? id : "", jobs[4 - seen++]); /* newest first */
        }
        const char *next = json_string_value(json_object_get(r.json, "next"));
        assert_int_equal(next != NULL, page < 2);
        snprintf(path, sizeof path, "/v1/jobs?project=list&limit=2&cursor=%s", next ? next : "");
        reply_free(&r);
    }
    assert_int_equal(seen, 5);
    static const struct {
        const char *query;
        size_t count;
    } filters[] = {
        {"label.n=3", 1},
        {"label.n=9", 0},
        {"label.n=3&state=queued", 1},
        {"kind=perf", 0},
        {"kind=check&march=BAYES&state=queued&limit=200", 5},
        {"verdict=legal", 0},
        {"state=", 5},
    };
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        snprintf(path, sizeof path, "/v1/jobs?project=list&%s", filters[i].query);
        struct reply r = http_get(&idle, path);
        assert_int_equal(json_array_size(json_object_get(r.json, "items")), filters[i].count);
        reply_free(&r);
    }
    static const char *const bad[] = {"limit=0", "limit=x",  "limit=201", "state=done",
                                      "kind=x",  "cursor=!", "proj=x",    "label.a=1&label.b=2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(path, sizeof path, "/v1/jobs?%s", bad[i]);
        struct reply r = http_get(&idle, path);
        assert_int_equal(r.status, 400);
        assert_true(*reply_text(&r, "where"));
        reply_free(&r);
    }
    refused(&idle, "/v1/jobs?march=x", (struct query){0}, 400, "unknown_march");
    refused(&idle, "/v1/models?cursor=!", (struct query){0}, 400, "bad_request");
}

/* ---- the rest ----------------------------------------------------------------------------------
 */

static void test_marches(void **state)
{
    (void)state;
    struct reply r = http_get(&hub, "/v1/marches");
    assert_int_equal(json_array_size(json_object_get(r.json, "items")), 2);
    reply_free(&r);
    r = http_get(&hub, "/v1/marches/Bayes");
    assert_int_equal(r.status, 200);
    assert_non_null(r.json);
    reply_free(&r);
    r = http_get(&hub, "/v1/marches/bernoulli2/ops");
    assert_int_equal(r.status, 200);
    assert_non_null(r.json);
    reply_free(&r);
    refused(&hub, "/v1/marches/x", (struct query){0}, 404, "unknown_march");
}

static void test_paths_and_methods(void **state)
{
    (void)state;
    refused(&hub, "/nope", (struct query){0}, 404, "not_found");
    refused(&hub, "/static/../../../etc/passwd", (struct query){0}, 404, "not_found");
    refused(&hub, "/static/%2e%2e%2f%2e%2e%2fetc%2fpasswd", (struct query){0}, 404, "not_found");
    refused(&hub, "/static/%00", (struct query){0}, 404, "not_found");
    struct reply r = http_do(&hub, "/v1/jobs", (struct query){.method = "PUT", .body = "x"});
    expect_problem(r, 405, "method_not_allowed");
    assert_string_equal(reply_header(&r, "Allow"), "GET, HEAD, POST");
    reply_free(&r);
    r = http_do(&hub, "/v1/marches", (struct query){.method = "HEAD"});
    assert_int_equal(r.status, 200);
    assert_int_equal(r.size, 0);
    assert_true(strtol(reply_header(&r, "Content-Length"), NULL, 10) > 10);
    reply_free(&r);
}

static void test_dashboard(void **state)
{
    (void)state;
    struct reply r = http_get(&hub, "/");
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_header(&r, "Content-Type"), "text/html; charset=utf-8");
    assert_non_null(strstr(reply_header(&r, "Content-Security-Policy"), "script-src 'self'"));
    size_t size;
    char *file = file_read("static/index.html", &size);
    assert_int_equal(r.size, size);
    assert_memory_equal(r.body, file, size);
    free(file);
    char header[128];
    snprintf(header, sizeof header, "If-None-Match: %s", reply_header(&r, "ETag"));
    reply_free(&r);
    r = http_do(&hub, "/", (struct query){.headers = {header}});
    assert_int_equal(r.status, 304);
    reply_free(&r);
    r = http_get(&hub, "/static/app.js");
    assert_string_equal(reply_header(&r, "Content-Type"), "text/javascript; charset=utf-8");
    reply_free(&r);
}

static void test_guard(void **state)
{
    (void)state;
    refused(&hub, "/healthz", (struct query){.headers = {"Host: evil.example"}}, 403, "bad_host");
    refused(&hub, "/healthz", (struct query){.headers = {"Host: localhost.evil.example:80"}}, 403,
            "bad_host");
    char origin[96];
    snprintf(origin, sizeof origin, "Origin: %s", hub.url);
    static const char *const good[] = {"Host: localhost:1", "Host: [::1]:5", "Host: LOCALHOST"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct reply r = http_do(&hub, "/healthz", (struct query){.headers = {good[i]}});
        assert_int_equal(r.status, 200);
        reply_free(&r);
    }
    struct query q = {.body = "{}"};
    static const char *const foreign[] = {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site",
                                          "Origin: http://evil.example", "Origin: null"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        q.headers[0] = foreign[i];
        refused(&hub, "/v1/jobs", q, 403, "cross_site");
        refused(&hub, "/v1/models", q, 403, "cross_site");
    }
    q.headers[0] = origin;
    refused(&hub, "/v1/jobs", q, 400, "bad_request");
    q.headers[0] = "Sec-Fetch-Site: same-origin";
    refused(&hub, "/v1/jobs", q, 400, "bad_request");
}

static void test_openapi(void **state)
{
    (void)state;
    static const char *const methods[] = {"get", "post", "delete"};
    struct reply r = http_get(&hub, "/openapi.json");
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_text(&r, "openapi"), "3.1.0");
    json_t *paths = json_object_get(r.json, "paths");
    size_t count, described = 0;
    const struct route *table = route_table(&count);
    for (size_t i = 0; i < count; i++) {
        json_t *path = json_object_get(paths, table[i].pattern);
        if (!json_object_get(path, methods[table[i].method]))
            print_message("# %s %s is not described\n", methods[table[i].method], table[i].pattern);
        assert_non_null(json_object_get(path, methods[table[i].method]));
    }
    const char *key;
    json_t *path;
    json_object_foreach(paths, key, path) described += json_object_size(path);
    assert_int_equal(described, count);
    reply_free(&r);
}

static void test_metrics(void **state)
{
    (void)state;
    struct reply r = http_get(&idle, "/metrics");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "bpuhub_jobs_queued "));
    assert_non_null(strstr(r.body, "bpuhub_oldest_queued_seconds "));
    assert_non_null(strstr(
        r.body, "bpuhub_http_requests_total{method=\"POST\",route=\"/v1/models\",status=\"201\"}"));
    assert_non_null(
        strstr(r.body, "bpuhub_http_request_seconds_count{method=\"POST\",route=\"/v1/models\"}"));
    reply_free(&r);
}

static void test_durable(void **state)
{
    (void)state;
    static const char *const workers[] = {"--workers", "0", NULL};
    struct service s = {0};
    assert_true(service_start(&s, workers));
    char model[65], job[64];
    upload(&s, LEGAL, model);
    queue(&s, model, "", job);
    assert_int_equal(service_stop(&s, SIGKILL), -SIGKILL);
    assert_true(service_start(&s, workers));
    struct reply r = http_get(&s, path_of(job, ""));
    assert_string_equal(reply_text(&r, "state"), "queued");
    assert_string_equal(reply_text(&r, "model"), model);
    reply_free(&r);
    /* SIGTERM ends waits and streams, and the exit code is 0. */
    int fd = stream_open(&s, job), waiting = raw_connect(&s);
    char head[256], buffer[8192] = "", answer[8192] = "";
    assert_true(read_until(fd, buffer, sizeof buffer, "\"state\":\"queued\""));
    int n = snprintf(head, sizeof head,
                     "GET /v1/jobs/%s HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=50\r\n\r\n", job);
    assert_int_equal(write(waiting, head, (size_t)n), n);
    usleep(200000);
    assert_int_equal(service_stop(&s, SIGTERM), 0);
    assert_true(read_until(fd, buffer, sizeof buffer, "\r\n0\r\n\r\n"));
    assert_true(read_until(waiting, answer, sizeof answer, "\"state\":\"queued\""));
    close(fd);
    close(waiting);
    service_remove(&s);
}

static void test_not_started(void **state)
{
    (void)state;
    static const char *const open_world[] = {"--listen", "0.0.0.0:0", "--data", "/nonexistent/x",
                                             NULL};
    static const char *const taken[] = {"--listen", "127.0.0.1:0", "--data", "DIR", NULL};
    static const char *const unknown[] = {"--no-such-thing", NULL};
    static const char *const no_number[] = {"--workers", "many", NULL};
    static const char *const no_port[] = {"--listen", "localhost", NULL};
    const char *same[5];
    memcpy(same, taken, sizeof same);
    same[3] = hub.dir;
    assert_int_equal(service_refused(unknown), 2);
    assert_int_equal(service_refused(no_number), 2);
    assert_int_equal(service_refused(no_port), 2);
    assert_int_not_equal(service_refused(open_world), 0);
    assert_int_equal(service_refused(same), 5);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_upload_large),
        cmocka_unit_test(test_upload_refused),
        cmocka_unit_test(test_upload_aborted),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_illegal),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_drawing),
        cmocka_unit_test(test_report_forms),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_job_refused),
        cmocka_unit_test(test_idempotency),
        cmocka_unit_test(test_queued),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_many_streams),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_marches),
        cmocka_unit_test(test_paths_and_methods),
        cmocka_unit_test(test_dashboard),
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_openapi),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_durable),
        cmocka_unit_test(test_not_started),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
