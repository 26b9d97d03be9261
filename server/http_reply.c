/* Design: an answer is an MHD_Response made on whatever thread knows it, and sent by the HTTP
 * thread.  Everything served says what it is and is told not to be sniffed; API answers are not
 * cached, files are addressed by content and revalidate by ETag. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "server/http.h"

#define QUEUE_SECONDS 10 /* when to ask again whether the queue is shorter */
#define DAY_SECONDS 86400

void http_reply_response(struct http_request *r, unsigned status, struct MHD_Response *response)
{
    if (r->response) { /* the first answer counts */
        if (response)
            MHD_destroy_response(response);
        return;
    }
    if (!response) {
        /* Out of memory: an empty 500 is still better than a hung client. */
        static char nothing[1];
        response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
        status = 500;
    }
    r->response = response;
    r->status = status;
}

static void header(struct http_request *r, const char *name, const char *value)
{
    if (r->response && value)
        (void)MHD_add_response_header(r->response, name, value);
}

void http_reply_headers(struct http_request *r)
{
    header(r, "X-Content-Type-Options", "nosniff");
    header(r, "X-Request-Id", r->id);
    header(r, "Referrer-Policy", "no-referrer");
    header(r, "Cross-Origin-Resource-Policy", "same-origin");
    if (!MHD_get_response_header(r->response, "Cache-Control"))
        header(r, "Cache-Control", "no-store");
    if (!MHD_get_response_header(r->response, "Content-Security-Policy"))
        header(r, "Content-Security-Policy",
               "default-src 'none'; style-src 'unsafe-inline'; "
               "sandbox; frame-ancestors 'self'");
    header(r, "Location", r->location);
    header(r, "Content-Location", r->content_location);
    header(r, "Preference-Applied", r->preference_applied);
    header(r, "WWW-Authenticate", r->authenticate);
    header(r, "Set-Cookie", r->set_cookie);
    if (http_is_secure(r->server))
        header(r, "Strict-Transport-Security", "max-age=31536000");
    if (r->close)
        header(r, "Connection", "close");
    if (r->retry_after) {
        char text[16];
        snprintf(text, sizeof text, "%d", r->retry_after);
        header(r, "Retry-After", text);
    }
}

void http_reply_bytes(struct http_request *r, unsigned status, const char *type, const void *data,
                      size_t size)
{
    union {
        const void *in;
        void *out;
    } bytes = {.in = data};
    http_reply_response(r, status,
                        MHD_create_response_from_buffer(size, bytes.out, MHD_RESPMEM_MUST_COPY));
    if (type && r->response && r->status == status)
        header(r, "Content-Type", type);
}

void http_reply_empty(struct http_request *r, unsigned status)
{
    http_reply_bytes(r, status, NULL, "", 0);
}

void http_reply_json(struct http_request *r, unsigned status, struct buf *json)
{
    struct bpu_error err = {0};
    if (!buf_ok(json, &err))
        http_reply_error(r, &err);
    else
        http_reply_bytes(r, status, "application/json", buf_str(json), json->size);
}

void http_reply_problem(struct http_request *r, const struct problem *p)
{
    if (r->response)
        return;
    struct buf text;
    buf_init(&text, 64 << 10);
    problem_write(&text, p);
    http_reply_bytes(r, (unsigned)p->status, "application/problem+json", buf_str(&text), text.size);
    buf_fini(&text);
}

void http_reply_error(struct http_request *r, const struct bpu_error *err)
{
    struct problem p = problem_of_error(err);
    if (p.status == 503 && !r->retry_after)
        r->retry_after = 2;
    if (err->code == BPU_QUOTA && !r->retry_after)
        r->retry_after = QUEUE_SECONDS;
    http_reply_problem(r, &p);
}

void http_reply_quota(struct http_request *r)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    r->retry_after = (int)(DAY_SECONDS - now.tv_sec % DAY_SECONDS);
    struct bpu_error err = {0};
    error_set(&err, BPU_QUOTA, NULL, "this token may upload %lld bytes a day, and has",
              (long long)r->access.quota_upload);
    error_hint(&err, "go on tomorrow (UTC), or ask an operator for a token with a higher quota");
    http_reply_error(r, &err);
}

void http_reply_method(struct http_request *r, const char *allow)
{
    char detail[160];
    snprintf(detail, sizeof detail, "this path takes %s", allow);
    http_reply_problem(r, &(struct problem){.status = 405,
                                            .code = "method_not_allowed",
                                            .title = "The method is not allowed here",
                                            .detail = detail,
                                            .where = r->path});
    header(r, "Allow", allow);
}

bool http_etag_matches(struct http_request *r, const char *etag)
{
    const char *p = http_header(r, "If-None-Match");
    if (!p)
        return false;
    size_t n = strlen(etag);
    for (;;) {
        p += strspn(p, " \t,");
        if (*p == '*')
            return true;
        if (strncmp(p, "W/", 2) == 0)
            p += 2;
        if (!*p)
            return false;
        if (strncmp(p, etag, n) == 0 && (!p[n] || strchr(" \t,", p[n])))
            return true;
        p += strcspn(p, ",");
    }
}

enum range_result { RANGE_NONE, RANGE_ONE, RANGE_BAD };

/* One byte range; several at once are answered with the whole, as RFC 9110 allows. */
static enum range_result range_parse(const char *text, int64_t size, int64_t *first, int64_t *last)
{
    if (!text || strncmp(text, "bytes=", 6) != 0 || strchr(text, ','))
        return RANGE_NONE;
    const char *p = text + 6;
    char *end;
    errno = 0;
    if (*p == '-') {
        int64_t n = strtoll(p + 1, &end, 10);
        if (end == p + 1 || *end || errno || p[1] == '-' || p[1] == '+')
            return RANGE_NONE;
        if (n == 0 || size == 0)
            return RANGE_BAD;
        *first = n >= size ? 0 : size - n;
        *last = size - 1;
        return RANGE_ONE;
    }
    if (*p < '0' || *p > '9')
        return RANGE_NONE;
    *first = strtoll(p, &end, 10);
    if (*end != '-' || errno)
        return RANGE_NONE;
    p = end + 1;
    *last = size - 1;
    if (*p) {
        if (*p < '0' || *p > '9')
            return RANGE_NONE;
        int64_t v = strtoll(p, &end, 10);
        if (*end || errno || v < *first)
            return RANGE_NONE;
        if (v < *last)
            *last = v;
    }
    return *first < size ? RANGE_ONE : RANGE_BAD;
}

void http_reply_file(struct http_request *r, int fd, int64_t size, const char *type,
                     const char *etag)
{
    if (http_etag_matches(r, etag)) {
        close(fd);
        http_reply_empty(r, 304);
        header(r, "ETag", etag);
        header(r, "Cache-Control", "private, no-cache");
        return;
    }
    const char *if_range = http_header(r, "If-Range");
    int64_t first = 0, last = size - 1;
    enum range_result range = RANGE_NONE;
    if (r->method == METHOD_GET && (!if_range || strcmp(if_range, etag) == 0))
        range = range_parse(http_header(r, "Range"), size, &first, &last);
    char text[96];
    if (range == RANGE_BAD) {
        close(fd);
        snprintf(text, sizeof text, "the file has %lld bytes", (long long)size);
        http_reply_problem(r, &(struct problem){.status = 416,
                                                .code = "bad_range",
                                                .title = "The range lies outside the file",
                                                .detail = text,
                                                .where = "Range"});
        snprintf(text, sizeof text, "bytes */%lld", (long long)size);
        header(r, "Content-Range", text);
        return;
    }
    if (range == RANGE_NONE) {
        first = 0;
        last = size - 1;
    }
    struct MHD_Response *response =
        MHD_create_response_from_fd_at_offset64((uint64_t)(last - first + 1), fd, (uint64_t)first);
    if (!response)
        close(fd);
    http_reply_response(r, range == RANGE_ONE ? 206 : 200, response);
    if (!response)
        return;
    header(r, "Content-Type", type);
    header(r, "ETag", etag);
    header(r, "Accept-Ranges", "bytes");
    header(r, "Cache-Control", "private, no-cache");
    if (range == RANGE_ONE) {
        snprintf(text, sizeof text, "bytes %lld-%lld/%lld", (long long)first, (long long)last,
                 (long long)size);
        header(r, "Content-Range", text);
    }
}
