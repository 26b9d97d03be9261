/* Data files, quantization and evaluation as clients of the daemon see them: a real `bpuhub serve` with
 * a real worker and its sandbox.  environment: BPUHUB_BIN, HTTP_TEST_VERBOSE */
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
#define SIDE 28
#define FRAME ((size_t)SIDE * SIDE)
#define IDX_HEAD 16

static struct service hub;

static int start(void **state)
{
    (void)state;
    static const char *const with[] = {"--workers", "1", "--max-upload", "64M", NULL};
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

/* ---- files ------------------------------------------------------------------------------------- */

/* MNIST's format with pictures of our own: blots whose place and size depend on the number. */
static unsigned char *pictures(unsigned frames, size_t *size)
{
    *size = IDX_HEAD + frames * FRAME;
    unsigned char *p = calloc(1, *size);
    assert_non_null(p);
    const unsigned char head[IDX_HEAD] = {0, 0, 8, 3, 0, 0, (unsigned char)(frames >> 8),
                                          (unsigned char)frames, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    memcpy(p, head, sizeof head);
    for (unsigned f = 0; f < frames; f++)
        for (unsigned y = 0; y < SIDE; y++)
            for (unsigned x = 0; x < SIDE; x++) {
                int dx = (int)x - (int)(6 + f * 5 % 17), dy = (int)y - (int)(6 + f * 7 % 15);
                int light = 255 - (dx * dx + dy * dy) * (int)(4 + f % 9);
                p[IDX_HEAD + f * FRAME + y * SIDE + x] = (unsigned char)(light > 0 ? light : 0);
            }
    return p;
}

/* Labels in the same format, all the same number. */
static size_t labels(unsigned char out[8 + 256], unsigned frames, unsigned char label)
{
    const unsigned char head[8] = {0, 0, 8, 1, 0, 0, 0, (unsigned char)frames};
    memcpy(out, head, sizeof head);
    memset(out + 8, label, frames);
    return 8 + frames;
}

static void data_upload(const void *body, size_t size, const char *name, char id[65])
{
    char path[128];
    snprintf(path, sizeof path, "/v1/data?filename=%s", name);
    struct reply r = http_do(&hub, path, (struct query){.body = body, .body_size = size});
    if (r.status != 201 && r.status != 200)
        print_message("# got %ld %s\n", r.status, r.body);
    assert_true(r.status == 201 || r.status == 200);
    snprintf(id, 65, "%s", reply_text(&r, "id"));
    reply_free(&r);
}

static void pictures_upload(unsigned frames, char id[65])
{
    size_t size;
    unsigned char *p = pictures(frames, &size);
    data_upload(p, size, "pictures.idx", id);
    free(p);
}

static struct reply onecall(const char *query)
{
    size_t size;
    char *body = file_read(LENET, &size), path[1024];
    assert_non_null(body);
    snprintf(path, sizeof path, "%s&filename=lenet_float.onnx", query);
    struct reply r = http_do(&hub, path, (struct query){.body = body, .body_size = size});
    free(body);
    return r;
}

static void model_upload(char id[65])
{
    size_t size;
    char *body = file_read(LENET, &size);
    assert_non_null(body);
    struct reply r = http_do(&hub, "/v1/models?filename=lenet_float.onnx",
                             (struct query){.body = body, .body_size = size});
    snprintf(id, 65, "%s", reply_text(&r, "id"));
    reply_free(&r);
    free(body);
}

static void expect(struct reply *r, long status, const char *code, const char *where)
{
    if (r->status != status || strcmp(reply_text(r, "code"), code) != 0 ||
        strcmp(reply_text(r, "where"), where) != 0)
        print_message("# got %ld %s\n", r->status, r->body);
    assert_int_equal(r->status, status);
    assert_string_equal(reply_text(r, "code"), code);
    assert_string_equal(reply_text(r, "where"), where);
    assert_true(*reply_text(r, "hint") != 0);
    reply_free(r);
}

/* A job of the body, waited for; its view. */
static struct reply job_run(const char *body)
{
    struct reply r = http_do(&hub, "/v1/jobs",
                             (struct query){.body = body, .headers = {"Prefer: wait=60"}});
    if (r.status != 202)
        print_message("# got %ld %s\n", r.status, r.body);
    assert_int_equal(r.status, 202);
    return r;
}

static char *job_body(const char *kind, const char *options)
{
    static char text[131072];
    char model[65];
    model_upload(model);
    snprintf(text, sizeof text,
             "{\"model\":\"%s\",\"kind\":\"%s\",\"march\":\"bayes\",\"options\":{%s}}", model, kind,
             options);
    return text;
}

static struct reply artifact(struct reply *job, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/jobs/%s/%s", reply_text(job, "id"), name);
    return http_get(&hub, path);
}

static void succeeded(struct reply *r)
{
    if (strcmp(reply_text(r, "state"), "succeeded") != 0)
        print_message("# %s\n", r->body);
    assert_string_equal(reply_text(r, "state"), "succeeded");
}

static void failed(struct reply *r, const char *code, const char *where)
{
    json_t *error = json_object_get(r->json, "error");
    if (strcmp(reply_text(r, "state"), "failed") != 0)
        print_message("# %s\n", r->body);
    assert_string_equal(reply_text(r, "state"), "failed");
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    if (!strstr(r->body, where))
        print_message("# %s\n", r->body);
    assert_non_null(strstr(r->body, where));
    reply_free(r);
}

/* ---- data files -------------------------------------------------------------------------------- */

static void test_upload(void **state)
{
    (void)state;
    size_t size;
    unsigned char *body = pictures(3, &size);
    struct query q = {.body = (const char *)body, .body_size = size,
                      .headers = {"Idempotency-Key: data-1"}};
    struct reply r = http_do(&hub, "/v1/data?filename=a/b/pictures.idx", q);
    assert_int_equal(r.status, 201);
    char id[65], location[96];
    snprintf(id, sizeof id, "%s", reply_text(&r, "id"));
    snprintf(location, sizeof location, "/v1/data/%s", id);
    assert_string_equal(reply_header(&r, "Location"), location);
    assert_string_equal(reply_text(&r, "name"), "pictures.idx");
    assert_string_equal(reply_text(&r, "format"), "idx");
    assert_int_equal(json_integer_value(json_object_get(r.json, "bytes")), size);
    reply_free(&r);
    /* With the key the first answer again, without it 200; chunked and as a form it is the same. */
    r = http_do(&hub, "/v1/data?filename=a/b/pictures.idx", q);
    assert_int_equal(r.status, 201);
    reply_free(&r);
    struct query forms[] = {{.chunked = true}, {.form_field = "file", .form_filename = "other.idx"}};
    for (size_t i = 0; i < 2; i++) {
        forms[i].body = (const char *)body;
        forms[i].body_size = size;
        r = http_do(&hub, "/v1/data", forms[i]);
        assert_int_equal(r.status, 200);
        assert_string_equal(reply_text(&r, "id"), id);
        reply_free(&r);
    }
    /* The key belongs to that content. */
    body[size - 1] ^= 1;
    r = http_do(&hub, "/v1/data", q);
    expect(&r, 409, "conflict", "Idempotency-Key");
    free(body);
    r = http_get(&hub, location);
    assert_int_equal(r.status, 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(r.json, "arrays"),
                                                          "availability")),
                        "unavailable");
    reply_free(&r);
    /* Data files are no models. */
    char path[96];
    snprintf(path, sizeof path, "/v1/models/%s", id);
    r = http_get(&hub, path);
    expect(&r, 404, "not_found", "");
    r = http_get(&hub, "/v1/models");
    assert_null(strstr(r.body, id));
    reply_free(&r);
    r = http_get(&hub, "/v1/data");
    assert_non_null(strstr(r.body, id));
    reply_free(&r);
    r = http_get(&hub, "/v1/data?state=queued");
    expect(&r, 400, "bad_request", "state");
}

static void test_formats(void **state)
{
    (void)state;
    static const struct {
        const char *file, *format; /* NULL: refused */
    } files[] = {
        {"tests/fixtures/data/stored.npz", "npz"},     {"tests/fixtures/data/deflated.npz", "npz"},
        {"tests/fixtures/data/vector.npy", "npy"},     {"tests/fixtures/data/labels.idx1", "idx"},
        {LENET, NULL},                                 {"tests/fixtures/one_conv.json", NULL},
        {"tests/fixtures/lenet_float.bpug", NULL},     {"README.md", NULL},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t size;
        char *body = file_read(files[i].file, &size);
        assert_non_null(body);
        struct reply r = http_do(&hub, "/v1/data?filename=f",
                                 (struct query){.body = body, .body_size = size});
        if (files[i].format) {
            assert_int_equal(r.status, 201);
            assert_string_equal(reply_text(&r, "format"), files[i].format);
            reply_free(&r);
        } else {
            expect(&r, 422, "unrecognised_data", "f");
        }
        free(body);
    }
    struct reply r = http_do(&hub, "/v1/data", (struct query){.method = "POST", .body = "", .body_size = 0});
    assert_int_equal(r.status, 422);
    assert_string_equal(reply_text(&r, "code"), "unrecognised_data");
    reply_free(&r);
}

/* A damaged file passes the first look; the job that reads it says what is wrong. */
static void test_damaged(void **state)
{
    (void)state;
    size_t size;
    char id[65], path[256];
    unsigned char *body = pictures(3, &size);
    data_upload(body, size - 1, "cut.idx", id);
    free(body);
    snprintf(path, sizeof path, "/v1/quantize?march=bayes&calibration=%s", id);
    struct reply r = onecall(path);
    failed(&r, "bad_model", "\"where\":\"calibration, byte 16\"");
}

/* ---- quantize ---------------------------------------------------------------------------------- */

static void test_quantize(void **state)
{
    (void)state;
    char id[65], options[256];
    pictures_upload(20, id);
    snprintf(options, sizeof options, "\"calibration\":\"%s\",\"calibration.scale\":\"0.00392\"", id);
    struct reply job = job_run(job_body("quantize", options));
    succeeded(&job);
    assert_true(json_is_null(json_object_get(job.json, "verdict")));
    struct reply r = artifact(&job, "report");
    assert_string_equal(reply_text(&r, "schema"), "bpuhub.quantize/1");
    json_t *summary = json_object_get(r.json, "summary");
    assert_int_equal(json_integer_value(json_object_get(summary, "calibration_frames")), 20);
    assert_int_equal(json_integer_value(json_object_get(summary, "float")), 0);
    assert_true(json_array_size(json_object_get(r.json, "layers")) > 3);
    reply_free(&r);
    r = artifact(&job, "report.html");
    assert_string_equal(reply_header(&r, "Content-Type"), "text/html");
    assert_non_null(strstr(r.body, "<svg class=\"histogram\""));
    assert_null(strstr(r.body, "<script"));
    assert_null(strstr(r.body, " style="));
    reply_free(&r);
    r = artifact(&job, "graph.svg");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "<svg"));
    reply_free(&r);
    /* What a check can make of a model it cannot make of this. */
    r = artifact(&job, "report.sarif");
    assert_int_equal(r.status, 404);
    reply_free(&r);
    char path[96];
    snprintf(path, sizeof path, "/v1/data/%s", id);
    r = http_get(&hub, path);
    assert_non_null(strstr(r.body, "\"shape\":[20,28,28],\"dtype\":\"uint8\""));
    reply_free(&r);
    reply_free(&job);
    /* The same question again is answered from the cache. */
    job = job_run(job_body("quantize", options));
    assert_int_equal(json_integer_value(json_object_get(job.json, "attempts")), 0);
    reply_free(&job);
}

/* The sandbox changes nothing: the command line makes the same file. */
static void test_same_as_command_line(void **state)
{
    (void)state;
    char id[65], options[256], command[1024], pics[128], out[128];
    size_t size, local_size;
    unsigned char *body = pictures(17, &size);
    data_upload(body, size, "pictures.idx", id);
    snprintf(pics, sizeof pics, "%s/pictures.idx", hub.dir);
    snprintf(out, sizeof out, "%s/fixed.bpug", hub.dir);
    FILE *f = fopen(pics, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(body, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    free(body);
    const char *program = getenv("BPUHUB_BIN");
    snprintf(command, sizeof command,
             "%s quantize " LENET " --march bayes --calibration %s -o %s >%s/text 2>&1",
             program ? program : "build/bpuhub", pics, out, hub.dir);
    assert_int_equal(system(command), 0);
    char *local = file_read(out, &local_size);
    assert_non_null(local);
    snprintf(options, sizeof options, "\"calibration\":\"%s\"", id);
    struct reply job = job_run(job_body("quantize", options));
    succeeded(&job);
    struct reply r = artifact(&job, "artifacts/fixed.bpug");
    assert_int_equal(r.status, 200);
    assert_int_equal(r.size, local_size);
    assert_memory_equal(r.body, local, local_size);
    /* It is a model again, and a legal one. */
    struct reply check = http_do(&hub, "/v1/check?march=bayes&filename=fixed.bpug",
                                 (struct query){.body = r.body, .body_size = r.size});
    assert_string_equal(reply_text(&check, "verdict"), "legal");
    reply_free(&check);
    /* Without data it needs none: its scales are its own. */
    check = http_do(&hub, "/v1/quantize?march=bayes&filename=fixed.bpug",
                    (struct query){.body = r.body, .body_size = r.size});
    if (strcmp(reply_text(&check, "state"), "succeeded") != 0)
        print_message("# %s\n", check.body);
    assert_string_equal(reply_text(&check, "state"), "succeeded");
    reply_free(&check);
    reply_free(&r);
    reply_free(&job);
    free(local);
    unlink(pics);
    unlink(out);
}

static void test_options(void **state)
{
    (void)state;
    static const char none[] = "0123456789012345678901234567890123456789012345678901234567890123";
    char id[65], path[512], *options = malloc(100000);
    assert_non_null(options);
    pictures_upload(5, id);
    snprintf(path, sizeof path, "/v1/quantize?march=bayes&calibration=%s", none);
    struct reply r = onecall(path);
    assert_non_null(strstr(reply_text(&r, "detail"), "calibration"));
    expect(&r, 422, "unknown_data", "calibration");
    r = onecall("/v1/quantize?march=bayes&calibration=pictures.idx");
    expect(&r, 400, "bad_option", "calibration");
    snprintf(options, 1000, "\"calibration\":\"%s\"", none);
    r = http_do(&hub, "/v1/jobs", (struct query){.body = job_body("quantize", options)});
    expect(&r, 422, "unknown_data", "/options/calibration");
    /* What cannot be known before the job is its failure. */
    r = onecall("/v1/quantize?march=bayes");
    failed(&r, "bad_request", "\"where\":\"calibration\"");
    snprintf(path, sizeof path, "/v1/quantize?march=bayes&calibration=%s:x", id);
    r = onecall(path);
    failed(&r, "bad_model", "calibration");
    snprintf(path, sizeof path, "/v1/quantize?march=bayes&calibration=%s&dtype.conv0=qint16", id);
    r = onecall(path);
    failed(&r, "bad_option", "dtype.conv0");
    snprintf(path, sizeof path, "/v1/quantize?march=bayes&calibration=%s&calibration.std=0", id);
    r = onecall(path);
    failed(&r, "bad_option", "calibration.std");
    snprintf(path, sizeof path, "/v1/quantize?march=bayes&calibration=%s&qconfig=%%7B%%22a", id);
    r = onecall(path);
    failed(&r, "bad_option", "\"where\":\"qconfig");
    free(options);
}

/* A configuration is a document and may be longer than other options. */
static void test_qconfig(void **state)
{
    (void)state;
    char id[65], *options = malloc(100000), *padding = malloc(60000);
    assert_true(options && padding);
    pictures_upload(6, id);
    for (int i = 0; i < 2; i++) {
        size_t n = i ? 40000 : 30000;
        memset(padding, ' ', n);
        padding[n] = '\0';
        snprintf(options, 100000,
                 "\"calibration\":\"%s\",\"qconfig\":\"%s"
                 "{\\\"activation\\\":{\\\"observer\\\":\\\"min_max\\\"}}\"",
                 id, padding);
        struct query q = {.body = job_body("quantize", options), .headers = {"Prefer: wait=60"}};
        struct reply r = http_do(&hub, "/v1/jobs", q);
        if (i) {
            assert_int_equal(r.status, 400);
            assert_string_equal(reply_text(&r, "where"), "/options/qconfig");
        } else {
            succeeded(&r);
            struct reply report = artifact(&r, "report");
            assert_non_null(strstr(report.body, "\"observer\":\"min_max\""));
            assert_null(strstr(report.body, "\"observer\":\"kl\""));
            reply_free(&report);
        }
        reply_free(&r);
    }
    free(options);
    free(padding);
}

/* ---- evaluate ---------------------------------------------------------------------------------- */

static void test_evaluate(void **state)
{
    (void)state;
    enum { FRAMES = 24 };
    char id[65], label_id[65], options[512];
    unsigned char file[8 + 256];
    pictures_upload(FRAMES, id);
    snprintf(options, sizeof options, "\"calibration\":\"%s\",\"data\":\"%s\",\"suggest\":\"1\"", id, id);
    struct reply job = job_run(job_body("evaluate", options));
    succeeded(&job);
    struct reply r = artifact(&job, "report");
    assert_string_equal(reply_text(&r, "schema"), "bpuhub.evaluate/1");
    /* Without labels no accuracy; the class that float predicts most often becomes the label. */
    json_t *real = json_object_get(r.json, "float"), *class;
    assert_true(json_is_object(json_object_get(real, "top1")));
    size_t i, best = 0;
    json_int_t most = -1;
    json_array_foreach(json_object_get(real, "classes"), i, class)
        if (json_integer_value(json_object_get(class, "predicted")) > most) {
            most = json_integer_value(json_object_get(class, "predicted"));
            best = i;
        }
    assert_true(most > 0);
    reply_free(&r);
    reply_free(&job);
    data_upload(file, labels(file, FRAMES, (unsigned char)best), "labels.idx", label_id);
    snprintf(options, sizeof options,
             "\"calibration\":\"%s\",\"data\":\"%s\",\"labels\":\"%s\",\"suggest\":\"0\"", id, id,
             label_id);
    job = job_run(job_body("evaluate", options));
    succeeded(&job);
    r = artifact(&job, "report");
    double top1 = json_number_value(json_object_get(json_object_get(r.json, "float"), "top1"));
    assert_true(top1 > (double)most / FRAMES - 1e-9 && top1 < (double)most / FRAMES + 1e-9);
    assert_true(json_is_number(json_object_get(json_object_get(r.json, "fixed"), "top1")));
    assert_true(json_is_array(json_object_get(r.json, "layers")));
    reply_free(&r);
    r = artifact(&job, "report.html");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "right in fixed point"));
    assert_null(strstr(r.body, "<script"));
    reply_free(&r);
    reply_free(&job);
    /* Too few labels, and none that are numbers of classes. */
    data_upload(file, labels(file, FRAMES - 1, 0), "short.idx", label_id);
    snprintf(options, sizeof options, "\"data\":\"%s\",\"labels\":\"%s\"", id, label_id);
    job = job_run(job_body("evaluate", options));
    failed(&job, "bad_shape", "labels");
    job = job_run(job_body("evaluate", ""));
    failed(&job, "bad_option", "\"where\":\"data\"");
    static const char *const bad[][2] = {
        {"suggest", "many"}, {"seconds", "-1"}, {"layer.frames", "1.5"}, {"data.mean", "a,b"}};
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char where[64];
        snprintf(options, sizeof options, "\"data\":\"%s\",\"%s\":\"%s\"", id, bad[i][0],
                 bad[i][1]);
        snprintf(where, sizeof where, "\"where\":\"%s\"", bad[i][0]);
        job = job_run(job_body("evaluate", options));
        failed(&job, "bad_option", where);
    }
}

/* ---- being stopped ----------------------------------------------------------------------------- */

/* A job that takes seconds, at work. */
static void slow_job(struct service *s, unsigned frames, char job[64])
{
    char options[256], id[65], path[96];
    pictures_upload(frames, id);
    snprintf(options, sizeof options, "\"calibration\":\"%s\",\"compare.frames\":\"%u\"", id, frames);
    struct reply r =
        http_do(s, "/v1/jobs", (struct query){.body = job_body("quantize", options)});
    assert_int_equal(r.status, 202);
    snprintf(job, 64, "%s", reply_text(&r, "id"));
    reply_free(&r);
    snprintf(path, sizeof path, "/v1/jobs/%s", job);
    for (int i = 0; i < 1000; i++) {
        r = http_get(s, path);
        bool at_work = strcmp(reply_text(&r, "stage"), "calibrate") == 0 &&
                       json_number_value(json_object_get(r.json, "progress")) > .05;
        if (strcmp(reply_text(&r, "state"), "succeeded") == 0)
            fail_msg("the job is too quick to be stopped");
        reply_free(&r);
        if (at_work)
            return;
        usleep(10000);
    }
    fail_msg("the job does not calibrate");
}

static void test_cancel(void **state)
{
    (void)state;
    char job[64], path[128];
    slow_job(&hub, 30000, job);
    snprintf(path, sizeof path, "/v1/jobs/%s/cancel", job);
    struct reply r = http_do(&hub, path, (struct query){.method = "POST"});
    assert_int_equal(r.status, 200);
    reply_free(&r);
    snprintf(path, sizeof path, "/v1/jobs/%s", job);
    r = http_do(&hub, path, (struct query){.headers = {"Prefer: wait=20"}});
    assert_string_equal(reply_text(&r, "state"), "cancelled");
    assert_int_equal(json_array_size(json_object_get(r.json, "artifacts")), 0);
    reply_free(&r);
    char id[65];
    pictures_upload(7, id);
    snprintf(path, sizeof path, "/v1/quantize?march=bayes&calibration=%s", id);
    r = onecall(path); /* the worker goes on */
    succeeded(&r);
    reply_free(&r);
}

/* The only child of a process, as the kernel lists it. */
static pid_t child_of(pid_t pid)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%d", &child) != 1)
        child = 0;
    if (f)
        fclose(f);
    return child;
}

/* kill -9 of the process that computes: another attempt is made at once. */
static void test_child_killed(void **state)
{
    (void)state;
    char job[64], path[96];
    slow_job(&hub, 20000, job);
    pid_t child = child_of(child_of(hub.pid));
    assert_true(child > 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    snprintf(path, sizeof path, "/v1/jobs/%s", job);
    struct reply r = http_do(&hub, path, (struct query){.headers = {"Prefer: wait=60"},
                                                        .timeout_ms = 90000});
    succeeded(&r);
    assert_int_equal(json_integer_value(json_object_get(r.json, "attempts")), 2);
    reply_free(&r);
}

/* kill -9 of the daemon in the middle: uploads and job are there after the restart, and the job comes to its end. */
static void test_killed(void **state)
{
    (void)state;
    static const char *const with[] = {"--workers", "1", "--max-upload", "64M", NULL};
    char job[64], path[96];
    slow_job(&hub, 25000, job);
    assert_int_equal(service_stop(&hub, SIGKILL), -SIGKILL);
    assert_true(service_start(&hub, with));
    snprintf(path, sizeof path, "/v1/jobs/%s", job);
    struct reply r = http_do(&hub, path, (struct query){.headers = {"Prefer: wait=60"},
                                                        .timeout_ms = 90000});
    succeeded(&r);
    assert_true(json_integer_value(json_object_get(r.json, "attempts")) >= 1);
    struct reply report = artifact(&r, "report");
    assert_string_equal(reply_text(&report, "schema"), "bpuhub.quantize/1");
    reply_free(&report);
    reply_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upload),   cmocka_unit_test(test_formats),
        cmocka_unit_test(test_damaged),  cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_same_as_command_line),
        cmocka_unit_test(test_options),  cmocka_unit_test(test_qconfig),
        cmocka_unit_test(test_evaluate), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_child_killed),
        cmocka_unit_test(test_killed),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
