/* Design: what a request may look like before anybody looks at what it asks.
 *
 * Framing: two servers that disagree about where a request ends can be made to see different
 * requests (smuggling).  So whatever may be read in two ways is refused, and the connection closed:
 * two lengths, a length beside a coding, codings other than chunked, names with blanks.
 *
 * Time: libmicrohttpd's timeout counts silence, so that a client that sends a byte now and then
 * stays for ever.  Here a connection has idle_seconds for the whole head of its next request, and a
 * body must arrive at BODY_SPEED or faster. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "server/http.h"
#include "server/http_limits.h"

#define HEADERS_MAX 100
#define HEAD_BYTES_MAX ((size_t)32 << 10)
#define TARGET_BYTES_MAX ((size_t)16 << 10)
#define BODY_SPEED 1024u /* bytes a second, on average */

/* ---- the head ----------------------------------------------------------------------------------
 */

struct head {
    size_t count, bytes;
    int hosts, lengths, codings, authorizations;
    const char *length, *coding;
    const char *bad; /* name of a header that is none */
};

/* RFC 9110: what a name is made of. */
static bool is_token(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
            return false;
    return true;
}

static bool is_value(const char *s)
{
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return false;
    return true;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 size_t name_size, const char *value, size_t value_size)
{
    (void)kind;
    struct head *h = cls;
    if (!value)
        value = "";
    h->count++;
    h->bytes += name_size + value_size + 4;
    if (!is_token(name) || !is_value(value) || strlen(name) != name_size ||
        strlen(value) != value_size)
        h->bad = name;
    h->hosts += strcasecmp(name, "Host") == 0;
    h->authorizations += strcasecmp(name, "Authorization") == 0;
    if (strcasecmp(name, "Content-Length") == 0) {
        h->lengths++;
        h->length = value;
    }
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        h->codings++;
        h->coding = value;
    }
    return MHD_YES;
}

static bool refuse(struct http_request *r, int status, const char *code, const char *title,
                   const char *detail, const char *where)
{
    r->close = true;
    http_reply_problem(r, &(struct problem){.status = status,
                                            .code = code,
                                            .title = title,
                                            .detail = detail,
                                            .where = where});
    return false;
}

static bool refuse_framing(struct http_request *r, const char *detail, const char *where)
{
    return refuse(r, 400, "bad_framing", "Where the request ends is not clear", detail, where);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

size_t http_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    char *to = text;
    for (const char *p = text; *p;) {
        int high = *p == '%' ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;
        if (low < 0 || (high == 0 && low == 0)) {
            *to++ = *p++;
        } else {
            *to++ = (char)(high << 4 | low);
            p += 3;
        }
    }
    *to = 0;
    return (size_t)(to - text);
}

bool http_limits(struct http_request *r, const char *version)
{
    struct head h = {0};
    (void)MHD_get_connection_values_n(r->connection, MHD_HEADER_KIND, on_header, &h);
    bool http_1_0 = strcmp(version, "HTTP/1.1") != 0;
    if (strlen(r->path) > TARGET_BYTES_MAX)
        return refuse(r, 414, "target_too_long", "The address is too long",
                      "an address has at most 16 KiB", NULL);
    if (h.count > HEADERS_MAX || h.bytes > HEAD_BYTES_MAX)
        return refuse(r, 431, "head_too_large", "The head of the request is too large",
                      "a request has at most 100 header fields and 32 KiB of them", NULL);
    if (h.bad)
        return refuse(r, 400, "bad_header", "A header field is malformed",
                      "names are letters, digits and signs, and values have no control characters",
                      NULL);
    if (h.hosts > 1 || (h.hosts == 0 && !http_1_0))
        return refuse(r, 400, "bad_host", "The host is not this server",
                      "a request names its host exactly once", "Host");
    if (h.authorizations > 1)
        return refuse(r, 400, "bad_header", "A header field is malformed",
                      "Authorization is given more than once", "Authorization");
    if (h.lengths > 1)
        return refuse_framing(r, "Content-Length is given more than once", "Content-Length");
    if (h.lengths && h.codings)
        return refuse_framing(r, "both Content-Length and Transfer-Encoding are given",
                              "Transfer-Encoding");
    if (h.lengths && (strlen(h.length) > 18 || strspn(h.length, "0123456789") != strlen(h.length) ||
                      !*h.length))
        return refuse_framing(r, "Content-Length is not a number", "Content-Length");
    if (h.codings > 1 || (h.codings && (http_1_0 || strcasecmp(h.coding, "chunked") != 0)))
        return refuse_framing(r, "the only transfer coding is chunked, once, in HTTP/1.1",
                              "Transfer-Encoding");
    return true;
}

/* ---- time --------------------------------------------------------------------------------------
 */

void http_peer_notify(void *cls, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode code)
{
    struct http_server *h = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct http_peer *p = calloc(1, sizeof *p);
        const union MHD_ConnectionInfo *fd =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = p;
        if (!p)
            return; /* then this one has only the silence to fear */
        p->fd = fd ? fd->connect_fd : -1;
        p->since_us = clock_us();
        p->next = h->peers;
        p->link = &h->peers;
        if (h->peers)
            h->peers->link = &p->next;
        h->peers = p;
    } else if (*context) {
        struct http_peer *p = *context;
        *p->link = p->next;
        if (p->next)
            p->next->link = p->link;
        free(p);
        *context = NULL;
    }
}

struct http_peer *http_peer_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

static bool too_slow(const struct http_peer *p, uint64_t idle_us, uint64_t now_us)
{
    const struct http_request *r = p->request;
    if (!r)
        return now_us - p->since_us > idle_us;
    if (r->suspended || r->handled || r->asking)
        return false;
    return now_us - r->started_us > idle_us + (uint64_t)r->body_bytes * (1000000u / BODY_SPEED);
}

/* The client is gone in the middle of its body. libmicrohttpd may miss that: it waits for edges of epoll, and the one of the
 * end can come together with the last data, while the connection is suspended. */
static bool has_left(struct http_peer *p)
{
    const struct http_request *r = p->request;
    char one;
    if (!r || r->suspended || r->handled || r->asking)
        return false;
    bool still = r->body_bytes == p->body_seen;
    p->body_seen = r->body_bytes;
    return still && recv(p->fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void http_peers_look(struct http_server *h)
{
    uint64_t now = clock_us(), idle = (uint64_t)h->config.idle_seconds * 1000000u;
    if (now - h->peers_looked_us < 500000u)
        return;
    h->peers_looked_us = now;
    for (struct http_peer *p = h->peers; p; p = p->next)
        if (p->fd >= 0 && (too_slow(p, idle, now) || has_left(p))) {
            /* libmicrohttpd sees the end of the connection and gives it up. */
            atomic_fetch_add(&h->slow_closed, too_slow(p, idle, now));
            (void)shutdown(p->fd, SHUT_RDWR);
            p->fd = -1;
        }
}
