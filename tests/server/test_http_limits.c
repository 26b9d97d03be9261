/* What a hostile client may try below HTTP's meaning: requests that can be read in two ways, heads
 * and bodies without end, connections that are held, paths that lead elsewhere. */
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

#include "tests/server/raw_client.h"

#define HOST "Host: localhost\r\n"
#define GET "GET /healthz HTTP/1.1\r\n" HOST
#define POST "POST /v1/jobs HTTP/1.1\r\n" HOST
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static struct service hub;   /* as it comes */
static struct service tight; /* two seconds, six connections */

static int start(void **state)
{
    (void)state;
    static const char *const plain[] = {"--workers", "0", "--max-upload", "1M", NULL};
    static const char *const bounds[] = {"--workers",      "0", "--connections-per-address", "6",
                                         "--idle-seconds", "2", NULL};
    curl_global_init(CURL_GLOBAL_ALL);
    return service_start(&hub, plain) && service_start(&tight, bounds) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    int a = service_stop(&hub, SIGTERM), b = service_stop(&tight, SIGTERM);
    service_remove(&hub);
    service_remove(&tight);
    return a == 0 && b == 0 ? 0 : -1;
}

/* Refused with 4xx, the connection closed, and nothing behind it taken for a request. */
static void refused(const char *text)
{
    char twice[4096];
    struct raw r;
    snprintf(twice, sizeof twice, "%sGET /openapi.json HTTP/1.1\r\n" HOST "\r\n", text);
    raw_do(&hub, twice, &r);
    if (!r.closed || r.status < 400 || r.status > 499 || strstr(r.text, "\"openapi\""))
        print_message("# \"%.80s\": status %d, %s\n", text, r.status, r.closed ? "closed" : "open");
    assert_in_range(r.status, 400, 499);
    assert_true(r.closed);
    assert_null(strstr(r.text, "\"openapi\""));
}

static void test_smuggling(void **state)
{
    (void)state;
    static const char *const two_ways[] = {
        POST "Content-Length: 4\r\n" CHUNKED "\r\n0\r\n\r\n",
        POST CHUNKED "Content-Length: 4\r\n\r\n0\r\n\r\n",
        POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        POST "Content-Length: 2, 2\r\n\r\n{}",
        POST "Content-Length: +2\r\n\r\n{}",
        POST "Content-Length: -2\r\n\r\n{}",
        POST "Content-Length: 0x2\r\n\r\n{}",
        POST "Content-Length: 2 2\r\n\r\n{}",
        POST "Content-Length:\r\n\r\n{}",
        POST "Content-Length: 99999999999999999999999\r\n\r\n{}",
        POST "Content-Length : 2\r\n\r\n{}",
        POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST "Transfer-Encoding: identity\r\n\r\n",
        POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n0\r\n\r\n",
        POST CHUNKED CHUNKED "\r\n0\r\n\r\n",
        POST "X: a\rContent-Length: 2\r\n\r\n{}",
        "POST /v1/jobs HTTP/1.0\r\n" HOST CHUNKED "\r\n0\r\n\r\n",
        POST CHUNKED "\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST CHUNKED "\r\n0x2\r\n{}\r\n0\r\n\r\n",
        POST CHUNKED "\r\n-2\r\n{}\r\n0\r\n\r\n",
        POST CHUNKED "\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
        POST CHUNKED "\r\n2\r\n{}XX\r\n0\r\n\r\n",
        GET HOST "\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        GET "no colon\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof two_ways / sizeof two_ways[0]; i++)
        refused(two_ways[i]);
}

static void test_framing(void **state)
{
    (void)state;
    struct raw r;
    /* Two requests in one piece are two answers. */
    raw_do(&hub, GET "\r\n" GET "\r\n", &r);
    assert_int_equal(r.statuses, 2);
    assert_false(r.closed);
    /* The body of a GET is its body and not the next request. */
    raw_do(&hub, GET "Content-Length: 44\r\n\r\nGET /openapi.json HTTP/1.1\r\nHost: localhost\r\n" GET "\r\n", &r);
    assert_int_equal(r.statuses, 2);
    assert_null(strstr(r.text, "\"openapi\""));
    /* A zero byte in a name: no reader may end there. */
    int fd = raw_open(&hub);
    static const char zero[] = GET "X\0Content-Length: 5\r\n\r\n";
    assert_true(raw_send(fd, zero, sizeof zero - 1));
    raw_read(fd, 700, 5000, &r);
    close(fd);
    assert_int_equal(r.status, 400);
    assert_true(r.closed);
}

static char *repeated(const char *head, const char *piece, int count, const char *tail)
{
    size_t n = strlen(head), m = strlen(piece);
    char *text = malloc(n + m * (size_t)count + strlen(tail) + 1);
    assert_non_null(text);
    strcpy(text, head);
    for (int i = 0; i < count; i++)
        memcpy(text + n + m * (size_t)i, piece, m);
    strcpy(text + n + m * (size_t)count, tail);
    return text;
}

static void test_large_heads(void **state)
{
    (void)state;
    static const struct {
        const char *head, *piece;
        int count;
        const char *tail;
        int status;
    } heads[] = {
        {GET "X: ", "aaaaaaaaaa", 1000, "\r\n\r\n", 200},
        {GET "X: ", "aaaaaaaaaa", 4000, "\r\n\r\n", 431},
        {GET "X: ", "aaaaaaaaaa", 40000, "\r\n\r\n", 431},
        {GET, "X: y\r\n", 90, "\r\n", 200},
        {GET, "X: y\r\n", 150, "\r\n", 431},
        {GET, "X: y\r\n", 20000, "\r\n", 431},
        {"GET /", "aaaaaaaaaa", 2000, " HTTP/1.1\r\n" HOST "\r\n", 414},
        {"GET /", "aaaaaaaaaa", 40000, " HTTP/1.1\r\n" HOST "\r\n", 414},
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct raw r;
        char *text = repeated(heads[i].head, heads[i].piece, heads[i].count, heads[i].tail);
        raw_do(&hub, text, &r);
        free(text);
        assert_int_equal(r.status, heads[i].status);
        assert_int_equal(r.closed, heads[i].status != 200);
    }
}

static void test_large_bodies(void **state)
{
    (void)state;
    struct raw r;
    /* Announced: refused before a byte of it is read. */
    raw_do(&hub, "POST /v1/models HTTP/1.1\r\n" HOST "Content-Length: 100000000000\r\n\r\n", &r);
    assert_int_equal(r.status, 413);
    assert_true(r.closed);
    raw_do(&hub, POST "Content-Length: 100000000000\r\n\r\n", &r);
    assert_true(r.status == 413 || r.statuses == 0);
    /* In chunks without an end: the server stops listening, and soon. */
    int fd = raw_open(&hub);
    char *chunk = repeated("10000\r\n", " ", 65536, "\r\n");
    static const char head[] = "POST /v1/models HTTP/1.1\r\n" HOST CHUNKED "\r\n";
    assert_true(raw_send(fd, head, sizeof head - 1));
    int taken = 0;
    while (taken < 1000 && raw_send(fd, chunk, strlen(chunk)))
        taken++;
    free(chunk);
    close(fd);
    assert_true(taken < 400);
    struct reply after = http_get(&hub, "/healthz");
    assert_int_equal(after.status, 200);
    reply_free(&after);
}

/* ---- clients that take their time ---------------------------------------------------------------
 */

/* Sends a byte every 300 ms, which no timeout of silence ever ends; seconds until the server closes. */
static double drip(const char *head, char byte)
{
    struct raw r;
    int fd = raw_open(&tight);
    double seconds = 0;
    (void)raw_send(fd, head, strlen(head));
    for (int i = 0; i < 40; i++) {
        raw_read(fd, 300, 300, &r);
        seconds += r.seconds;
        if (r.closed || !raw_send(fd, &byte, 1))
            break;
    }
    close(fd);
    return seconds;
}

static void test_slow_head(void **state)
{
    (void)state;
    double seconds = drip("GET /healthz HTTP/1.1\r\nX: ", 'a');
    assert_true(seconds > 1.5 && seconds < 6);
    /* Nothing at all, and nothing after an answer. */
    struct raw r;
    int fd = raw_open(&tight);
    raw_read(fd, 8000, 8000, &r);
    assert_true(r.closed && r.seconds < 6);
    close(fd);
    fd = raw_open(&tight);
    assert_true(raw_send(fd, GET "\r\n", strlen(GET "\r\n")));
    raw_read(fd, 8000, 8000, &r);
    assert_int_equal(r.status, 200);
    assert_true(r.closed && r.seconds > 1.5 && r.seconds < 6);
    close(fd);
}

static void test_slow_body(void **state)
{
    (void)state;
    double seconds = drip(POST "Content-Length: 100000\r\n\r\n", ' ');
    assert_true(seconds > 1.5 && seconds < 7);
    seconds = drip("POST /v1/models HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n{", ' ');
    assert_true(seconds > 1.5 && seconds < 7);
    struct reply m = http_get(&tight, "/metrics");
    const char *closed = strstr(m.body, "\nbpuhub_http_slow_closed ");
    assert_true(closed && atoi(closed + 25) >= 2);
    reply_free(&m);
    /* One that is slow and moves on is let: 6 KiB in three seconds. */
    char *piece = repeated("", " ", 1024, "");
    static const char head[] = POST "Content-Length: 6146\r\n\r\n{";
    int fd = raw_open(&tight);
    assert_true(raw_send(fd, head, sizeof head - 1));
    for (int i = 0; i < 6; i++) {
        usleep(500000);
        assert_true(raw_send(fd, piece, 1024));
    }
    free(piece);
    assert_true(raw_send(fd, "}", 1));
    struct raw r;
    raw_read(fd, 1000, 5000, &r);
    assert_int_equal(r.status, 400); /* the job names no model: the request was read */
    assert_non_null(strstr(r.text, "bad_request"));
    close(fd);
}

static void test_connections_per_address(void **state)
{
    (void)state;
    enum { MANY = 12 };
    int fds[MANY], answered = 0;
    struct raw r;
    usleep(300000); /* those of other tests are gone */
    for (int i = 0; i < MANY; i++) {
        fds[i] = raw_open(&tight);
        (void)raw_send(fds[i], GET "\r\n", strlen(GET "\r\n"));
        raw_read(fds[i], 50, 1500, &r);
        answered += r.status == 200;
    }
    assert_int_equal(answered, 6);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    usleep(300000);
    raw_do(&tight, GET "\r\n", &r);
    assert_int_equal(r.status, 200);
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/static/../../etc/passwd",
        "/static/..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/....//....//etc/passwd",
        "/static/..%5c..%5cetc",
        "/static/app.js%00.png",
        "/static/%2fetc%2fpasswd",
        "/../../etc/passwd",
        "//etc/passwd",
        "/%2e%2e/hub.db",
        "/v1/models/..%2f..%2fhub.db",
        "/v1/data/..%2fhub.db",
        "/v1/jobs/x/artifacts/..%2f..%2f..%2fhub.db",
        "/v1/jobs/..%2f..%2fhub.db/report",
        "http://localhost/hub.db",
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char text[256];
        struct raw r;
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        raw_do(&hub, text, &r);
        if (r.status != 404)
            print_message("# %s: %d\n", paths[i], r.status);
        assert_int_equal(r.status, 404);
        assert_null(strstr(r.text, "root:"));
        assert_null(strstr(r.text, "SQLite"));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smuggling),       cmocka_unit_test(test_framing),
        cmocka_unit_test(test_large_heads),     cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_slow_head),       cmocka_unit_test(test_slow_body),
        cmocka_unit_test(test_connections_per_address), cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
