/* The parts of the daemon that can be tested without one: forms, JSON, settings, remembered
 * answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/arena.h"
#include "server/config.h"
#include "server/http_multipart.h"
#include "server/http_replay.h"
#include "server/json.h"
#include "server/problem.h"

static bool collect(void *ctx, const void *data, size_t n, struct bpu_error *err)
{
    (void)err;
    buf_add(ctx, data, n);
    return true;
}

/* Feeds the body in pieces of `step` bytes; the file's content in *out. */
static bool form_read(const char *body, size_t size, size_t step, struct buf *out, char name[256],
                      struct bpu_error *err)
{
    struct multipart m;
    *err = (struct bpu_error){0};
    buf_clear(out);
    if (!multipart_init(&m, "multipart/form-data; boundary=\"B-1\"", err))
        return false;
    bool ok = true;
    for (size_t at = 0; ok && at < size; at += step)
        ok = multipart_feed(&m, body + at, size - at < step ? size - at : step, collect, out, err);
    ok = ok && multipart_end(&m, err);
    strcpy(name, m.filename);
    multipart_fini(&m);
    return ok;
}

static void test_form(void **state)
{
    (void)state;
    static const char body[] =
        "preamble\r\n--B-1 \t\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nnot this\r\n"
        "--B-1\r\ncontent-disposition: form-data; filename=\"a b.onnx\"; name=\"file\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n"
        "one\r\n--B-\r\n--B\r\n\r\ntwo\0three\r\n"
        "\r\n--B-1\r\nContent-Disposition: form-data; "
        "name=\"file\"\r\n\r\nsecond\r\n--B-1--\r\nepilogue";
    static const char want[] = "one\r\n--B-\r\n--B\r\n\r\ntwo\0three\r\n";
    struct buf out;
    struct bpu_error err;
    char name[256];
    buf_init(&out, 4096);
    for (size_t step = 1; step < sizeof body; step++) {
        assert_true(form_read(body, sizeof body - 1, step, &out, name, &err));
        assert_string_equal(name, "a b.onnx");
        assert_int_equal(out.size, sizeof want - 1);
        assert_memory_equal(out.data, want, out.size);
    }
    /* Cut off anywhere before the last delimiter, it is an error. */
    size_t last = sizeof body - 1 - strlen("--\r\nepilogue");
    for (size_t size = 0; size <= last; size++)
        assert_false(form_read(body, size, 7, &out, name, &err));
    buf_fini(&out);
}

static void test_form_refused(void **state)
{
    (void)state;
    struct buf out;
    struct bpu_error err = {0};
    struct multipart m;
    char name[256];
    buf_init(&out, 4096);
    static const char *const bad[] = {
        "--B-1x\r\n\r\n--B-1--",
        "--B-1--",
        "--B-1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--B-1--",
        "--B-1\r\nContent-Disposition: form-data; name=\"filename\"\r\n\r\nx\r\n--B-1--",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(form_read(bad[i], strlen(bad[i]), 5, &out, name, &err));
        assert_int_equal(err.code, BPU_USAGE);
    }
    /* Endless headers end in an error, not in memory. */
    err = (struct bpu_error){0};
    assert_true(multipart_init(&m, "multipart/form-data; boundary=B-1", &err));
    bool ok = multipart_feed(&m, "--B-1\r\n", 7, collect, &out, &err);
    for (int i = 0; ok && i < 100000; i++)
        ok = multipart_feed(&m, "X: yyyyyyyyyyyyyyyyyyy\r\n", 24, collect, &out, &err);
    assert_false(ok);
    multipart_fini(&m);
    static const char *const types[] = {"multipart/form-data", "multipart/form-data; boundary=",
                                        "multipart/form-data; boundary=\"\""};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        err = (struct bpu_error){0};
        assert_false(multipart_init(&m, types[i], &err));
        multipart_fini(&m);
    }
    buf_fini(&out);
}

static void test_json(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",        " ",   "{",          "{\"a\":1,\"a\":2}", "[NaN]", "[Infinity]",
        "[1e999]", "{}x", "[\"\xff\"]", "[\"\\u0000\"]",     "[01]",  "['a']",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bpu_error err = {0};
        assert_null(json_parse(bad[i], strlen(bad[i]), 1000, &err));
        assert_int_equal(err.code, BPU_USAGE);
        assert_non_null(strstr(err.where, "line 1 column "));
    }
    char deep[2 * JSON_MAX_DEPTH + 3];
    for (int depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        struct bpu_error err = {0};
        json_t *v = json_parse(deep, 2 * (size_t)depth, 1000, &err);
        assert_int_equal(v != NULL, depth == JSON_MAX_DEPTH);
        json_decref(v);
    }
    struct bpu_error err = {0};
    assert_null(json_parse("[1,2,3]", 7, 6, &err));
    assert_int_equal(err.code, BPU_LIMIT);
    /* Brackets in strings are no nesting. */
    err = (struct bpu_error){0};
    static const char brackets[] =
        "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"]";
    json_t *v = json_parse(brackets, sizeof brackets - 1, 1000, &err);
    assert_non_null(v);
    json_decref(v);
}

static void test_json_write(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    json_write_string(&out, "a\"b\\c\n\x01\x7f é€😀 \xc3( \xed\xa0\x80 \xf5");
    struct bpu_error err = {0};
    buf_putc(&out, ']');
    char text[512];
    snprintf(text, sizeof text, "[%s", buf_str(&out));
    json_t *v = json_parse(text, strlen(text), 1000, &err);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_array_get(v, 0)),
                        "a\"b\\c\n\x01\x7f é€😀 \xef\xbf\xbd( \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "
                        "\xef\xbf\xbd");
    json_decref(v);
    buf_clear(&out);
    json_write_time(&out, 1700000000123);
    assert_string_equal(buf_str(&out), "\"2023-11-14T22:13:20.123Z\"");
    buf_clear(&out);
    error_set(&err, BPU_BAD_MODEL, "byte 7", "it is \"broken\"");
    problem_write_error(&out, &err);
    assert_string_equal(
        buf_str(&out),
        "{\"type\":\"urn:bpuhub:problem:bad_model\",\"title\":\"The model is damaged or "
        "malformed\",\"status\":422,\"detail\":\"it is \\\"broken\\\"\","
        "\"code\":\"bad_model\",\"where\":\"byte 7\"}");
    buf_fini(&out);
}

static void test_config(void **state)
{
    (void)state;
    char path[] = "/tmp/bpuhub-config-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# a comment\n\n workers = 5 \nmax-upload=3M\nlisten = [::1]:9\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    struct config c;
    struct bpu_error err = {0};
    char serve[] = "serve", flag[] = "--config", workers[] = "--workers=7",
         nonsense[] = "--workers", value[] = "-1", insecure[] = "--insecure";
    char *none[] = {serve};
    assert_true(config_load(&c, 1, none, &err));
    assert_string_equal(c.listen, "127.0.0.1:8080");
    assert_int_equal(c.workers, 2);
    assert_int_equal(c.max_upload, 1 << 30);
    assert_false(c.insecure);
    setenv("BPUHUB_MAX_UPLOAD", "4096k", 1);
    setenv("BPUHUB_WORKERS", "6", 1);
    char *all[] = {serve, flag, path, workers, insecure};
    assert_true(config_load(&c, 5, all, &err));
    assert_string_equal(c.listen, "[::1]:9");   /* the file */
    assert_int_equal(c.max_upload, 4096 << 10); /* the environment */
    assert_int_equal(c.workers, 7);             /* the flag */
    assert_true(c.insecure);
    assert_true(config_load(&c, 3, all, &err));
    assert_int_equal(c.workers, 6);
    char *bad[] = {serve, nonsense, value};
    assert_false(config_load(&c, 3, bad, &err));
    assert_string_equal(err.where, "--workers");
    err = (struct bpu_error){0};
    assert_false(config_load(&c, 2, bad, &err));
    unsetenv("BPUHUB_WORKERS");
    unsetenv("BPUHUB_MAX_UPLOAD");
    FILE *f = fopen(path, "we");
    fputs("workers = 1\nworker = 2\n", f);
    fclose(f);
    err = (struct bpu_error){0};
    assert_false(config_load(&c, 3, all, &err));
    assert_non_null(strstr(err.where, "line 2"));
    unlink(path);
    err = (struct bpu_error){0};
    assert_false(config_load(&c, 3, all, &err));
    assert_int_equal(err.code, BPU_IO);
}

static void test_replay(void **state)
{
    (void)state;
    struct replay *p = replay_new();
    struct arena a;
    arena_init(&a, (size_t)16 << 20);
    const char *text;
    size_t size;
    assert_int_equal(replay_find(p, "/a", "k", &a, &text, &size), 0);
    replay_put(p, "/a", "k", 201, "first", 5);
    replay_put(p, "/a", "k", 200, "second", 6);
    assert_int_equal(replay_find(p, "/a", "k", &a, &text, &size), 201);
    assert_string_equal(text, "first");
    assert_int_equal(replay_find(p, "/a k", "k", &a, &text, &size), 0);
    assert_int_equal(replay_find(p, "/b", "k", &a, &text, &size), 0);
    /* Bounded: the oldest gives way, the newest stays. */
    char key[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "%d", i);
        replay_put(p, "/a", key, 200, key, strlen(key));
    }
    assert_int_equal(replay_find(p, "/a", "k", &a, &text, &size), 0);
    assert_int_equal(replay_find(p, "/a", "4999", &a, &text, &size), 200);
    assert_string_equal(text, "4999");
    arena_fini(&a);
    replay_free(p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),   cmocka_unit_test(test_form_refused),
        cmocka_unit_test(test_json),   cmocka_unit_test(test_json_write),
        cmocka_unit_test(test_config), cmocka_unit_test(test_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
