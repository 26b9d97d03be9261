/* Requests written byte by byte, for what a well-behaved client does not send. */
#ifndef BPU_TESTS_RAW_CLIENT_H
#define BPU_TESTS_RAW_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/server/http_client.h"

/* What came back within the time. */
struct raw {
    char text[65536]; /* the beginning of it, ended by NUL */
    int statuses;     /* how many answers it holds */
    int status;       /* of the first one; 0: none */
    bool closed;      /* the server has closed the connection */
    double seconds;   /* until then, or until the time was up */
};

/* A connection to the service; fails the test if there is none. */
int raw_open(const struct service *s);
/* Sends all of it; false if the server does not take it. */
bool raw_send(int fd, const void *data, size_t n);
/* Reads until the server closes, nothing has come for quiet_ms after the first bytes, or limit_ms
 * are over. */
void raw_read(int fd, int quiet_ms, int limit_ms, struct raw *out);
/* Opens, sends a text, reads, closes. */
void raw_do(const struct service *s, const char *text, struct raw *out);

#endif
