#define _GNU_SOURCE
#include "tests/server/raw_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int raw_open(const struct service *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

bool raw_send(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void raw_read(int fd, int quiet_ms, int limit_ms, struct raw *out)
{
    double start = now();
    size_t got = 0;
    *out = (struct raw){0};
    for (;;) {
        int left = limit_ms - (int)((now() - start) * 1000);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, got && left > quiet_ms ? quiet_ms : left) <= 0)
            break;
        char rest[4096];
        bool room = got < sizeof out->text - 1;
        ssize_t n = room ? recv(fd, out->text + got, sizeof out->text - 1 - got, 0)
                         : recv(fd, rest, sizeof rest, 0);
        if (n <= 0) {
            out->closed = true;
            break;
        }
        got += room ? (size_t)n : 0;
    }
    out->seconds = now() - start;
    for (const char *p = out->text; (p = memmem(p, got - (size_t)(p - out->text), "HTTP/1.1 ", 9));
         p += 9)
        if (out->statuses++ == 0)
            out->status = atoi(p + 9);
}

void raw_do(const struct service *s, const char *text, struct raw *out)
{
    int fd = raw_open(s);
    (void)raw_send(fd, text, strlen(text));
    raw_read(fd, 700, 5000, out);
    close(fd);
}
