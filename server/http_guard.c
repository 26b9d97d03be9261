/* Design: a browser on the same machine (or in the same network) can be made to talk to us by any
 * page it shows.  Two checks close that: while we listen on loopback only, the Host header must
 * name loopback (a rebound DNS name does not); and a request that changes something must not come
 * from a page of another origin, which browsers tell in Sec-Fetch-Site, older ones in Origin. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/http.h"

bool http_host_is_loopback(const char *host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]", "::1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(host, names[i]) == 0)
            return true;
    return false;
}

bool http_is_secure(const struct http_server *h)
{
    return h->tls.cert || h->config.proxy_tls;
}

/* The prefix makes browsers refuse the cookie unless it is for https and this host alone. */
const char *http_cookie_name(const struct http_server *h)
{
    return http_is_secure(h) ? "__Host-bpuhub" : "bpuhub";
}

static bool host_header_is_loopback(const char *host)
{
    char name[64];
    size_t n = strlen(host);
    const char *colon = strrchr(host, ':');
    if (colon && strspn(colon + 1, "0123456789") == strlen(colon + 1))
        n = (size_t)(colon - host);
    if (n >= sizeof name)
        return false;
    memcpy(name, host, n);
    name[n] = 0;
    return http_host_is_loopback(name);
}

static bool refuse(struct http_request *r, const char *code, const char *title, const char *detail,
                   const char *where, const char *hint)
{
    http_reply_problem(r, &(struct problem){.status = 403,
                                            .code = code,
                                            .title = title,
                                            .detail = detail,
                                            .where = where,
                                            .hint = hint});
    return false;
}

bool http_guard(struct http_request *r, const char *method)
{
    const char *host = http_header(r, "Host");
    if (r->server->loopback && host && !host_header_is_loopback(host)) {
        char detail[256];
        snprintf(detail, sizeof detail,
                 "the request is for host \"%.120s\", this server is for "
                 "localhost only",
                 host);
        return refuse(r, "bad_host", "The host is not this server", detail, "Host",
                      "use http://127.0.0.1 or http://localhost with the port");
    }
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0)
        return true;
    const char *site = http_header(r, "Sec-Fetch-Site");
    if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return refuse(r, "cross_site", "A page of another site may not change anything here",
                      "the browser says that the request comes from another site", "Sec-Fetch-Site",
                      "use the dashboard of this server, or a client that is not a browser");
    const char *origin = http_header(r, "Origin");
    if (!site && origin) {
        const char *authority = strstr(origin, "://");
        if (!host || !authority || strcasecmp(authority + 3, host) != 0)
            return refuse(r, "cross_site", "A page of another site may not change anything here",
                          "the request comes from a page of another origin", "Origin",
                          "use the dashboard of this server, or a client that is not a browser");
    }
    return true;
}
