/* The listening socket: one address, which must not be reachable from elsewhere while anybody may ask
 * for anything. */
#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

static bool listen_split(const char *text, char *host, size_t size, const char **port,
                         struct bpu_error *err)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    bool v6 = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    if (!colon || !colon[1] || n >= size || (!v6 && memchr(text, ':', n))) {
        error_set(err, BPU_USAGE, "--listen", "\"%.100s\" is not HOST:PORT", text);
        return error_hint(err, "for example 127.0.0.1:8080, or [::1]:8080");
    }
    memcpy(host, text + v6, n - (v6 ? 2 : 0));
    host[n - (v6 ? 2 : 0)] = 0;
    *port = colon + 1;
    return true;
}

static bool address_is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        return ntohl(in.sin_addr.s_addr) >> 24 == 127;
    }
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, a, sizeof in);
        return IN6_IS_ADDR_LOOPBACK(&in.sin6_addr);
    }
    return false;
}

int listen_port(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    memcpy(&in, &a, sizeof in);
    memcpy(&in6, &a, sizeof in6);
    return ntohs(a.ss_family == AF_INET6 ? in6.sin6_port : in.sin_port);
}

int listen_open(const struct config *c, bool has_tokens, bool *loopback, struct bpu_error *err)
{
    char host[256] = "";
    const char *port = "";
    if (!listen_split(c->listen, host, sizeof host, &port, err))
        return -1;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (failed) {
        error_set(err, BPU_USAGE, "--listen", "\"%.100s\" is no address: %s", c->listen,
                  gai_strerror(failed));
        return -1;
    }
    int fd = -1;
    *loopback = address_is_loopback(list->ai_addr);
    if (!*loopback && !has_tokens && !c->insecure) {
        error_set(err, BPU_USAGE, "--listen",
                  "%.100s can be reached from other machines, and there are no tokens", c->listen);
        error_hint(err, "make one with `bpuhub token create`, listen on 127.0.0.1, or add "
                        "--insecure if everybody who can reach this machine may use the service");
        goto out;
    }
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        error_set(err, BPU_SERVER, "--listen", "cannot listen on %.100s: %s", c->listen,
                  strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
out:
    freeaddrinfo(list);
    return fd;
}

void listen_print(const struct config *c, int port)
{
    char host[256] = "";
    const char *ignored;
    struct bpu_error err = {0};
    if (!listen_split(c->listen, host, sizeof host, &ignored, &err))
        return;
    bool v6 = strchr(host, ':') != NULL;
    printf("listening on http%s://%s%s%s:%d\n", c->tls_cert[0] ? "s" : "", v6 ? "[" : "",
           *host ? host : "0.0.0.0", v6 ? "]" : "", port);
    fflush(stdout);
}
