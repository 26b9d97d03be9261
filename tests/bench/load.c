/* An HTTP client that asks as fast as the server answers: one thread, many connections that stay open.
 *
 *   load HOST:PORT CONNECTIONS SECONDS METHOD PATH [BODY]
 *
 * Each "@" in the path and the body becomes a number that no other request has. One line: answers a second, then
 * milliseconds of the median, the 99th percentile and the slowest, then how many were not 2xx. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096, TEXT = 1 << 14, TIMES = 1 << 22 };

struct connection {
    int fd;
    double sent_ms;
    char in[TEXT];
    size_t got;
};

static struct connection *list;
static float *times;
static long answers, refused, serial;
static const char *method, *path, *body, *host;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t fill(char *out, const char *pattern, long n)
{
    size_t used = 0;
    for (; *pattern && used < TEXT / 2; pattern++)
        if (*pattern == '@')
            used += (size_t)sprintf(out + used, "%ld", n);
        else
            out[used++] = *pattern;
    out[used] = 0;
    return used;
}

static void ask(struct connection *c)
{
    char where[TEXT], what[TEXT], text[2 * TEXT + 512];
    long n = serial++;
    size_t length = body ? fill(what, body, n) : 0;
    fill(where, path, n);
    int head = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, where, host);
    if (body)
        head += snprintf(text + head, sizeof text - (size_t)head,
                         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", length, what);
    else
        head += snprintf(text + head, sizeof text - (size_t)head, "\r\n");
    c->got = 0;
    c->sent_ms = now_ms();
    if (send(c->fd, text, (size_t)head, MSG_NOSIGNAL) != head)
        die("send");
}

/* True when a whole answer is there: its head says how long it is. */
static bool whole(struct connection *c)
{
    char *end = memmem(c->in, c->got, "\r\n\r\n", 4);
    if (!end)
        return false;
    char *length = strcasestr(c->in, "\r\nContent-Length:");
    size_t bytes = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return c->got >= (size_t)(end + 4 - c->in) + bytes;
}

static void hear(struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->got, sizeof c->in - 1 - c->got, 0);
    if (n <= 0)
        die("the server closed a connection");
    c->got += (size_t)n;
    c->in[c->got] = 0;
    if (!whole(c))
        return;
    refused += c->in[9] != '2';
    if (answers < TIMES)
        times[answers] = (float)(now_ms() - c->sent_ms);
    answers++;
    ask(c);
}

static int by_time(const void *a, const void *b)
{
    float x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    int count = atoi(argv[2]), poll = epoll_create1(0), on = 1;
    double seconds = atof(argv[3]);
    char address[64];
    host = argv[1], method = argv[4], path = argv[5], body = argc > 6 ? argv[6] : NULL;
    list = calloc((size_t)count, sizeof *list);
    times = malloc(TIMES * sizeof *times);
    snprintf(address, sizeof address, "%s", host);
    char *port = strchr(address, ':');
    if (!port || !list || !times || count < 1 || count > MOST)
        return 2;
    *port++ = 0;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, address, &in.sin_addr);
    serial = (long)getpid() * 100000000L; /* runs do not repeat each other */
    for (int i = 0; i < count; i++) {
        struct connection *c = &list[i];
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&in, sizeof in) != 0)
            die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &e);
        ask(c);
    }
    double start = now_ms(), end = start + seconds * 1000;
    while (now_ms() < end) {
        struct epoll_event events[256];
        int n = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < n; i++)
            hear(events[i].data.ptr);
    }
    double spent = (now_ms() - start) / 1000;
    long kept = answers < TIMES ? answers : TIMES;
    qsort(times, (size_t)kept, sizeof *times, by_time);
    if (kept)
        printf("%.0f %.2f %.2f %.2f %ld\n", (double)answers / spent, (double)times[kept / 2],
               (double)times[kept * 99 / 100], (double)times[kept - 1], refused);
    return kept ? 0 : 1;
}
