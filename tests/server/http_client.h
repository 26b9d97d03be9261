/* A real `bpuhub serve` in a temporary directory, and a small HTTP client, for the tests of the
 * daemon. */
#ifndef BPU_TESTS_HTTP_CLIENT_H
#define BPU_TESTS_HTTP_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct service {
    char dir[64]; /* data directory */
    char url[64]; /* "http://127.0.0.1:PORT"; https with TLS */
    int port;
    pid_t pid;
    char ca[96]; /* certificate that https is checked with; "" = the system's */
};

/* Starts it with --listen 127.0.0.1:0 and the extra arguments (NULL ends them); waits for the one
 * line that tells the port. False if it does not come. With dir[0] set, that directory is used
 * again. */
bool service_start(struct service *s, const char *const *extra);
/* SIGTERM (or another signal); the exit code, or -signal; -1000 if it does not end within 20 s. */
int service_stop(struct service *s, int signal);
/* Removes the data directory. */
void service_remove(struct service *s);
/* Runs `bpuhub serve` with these arguments to its end; the exit code. */
int service_refused(const char *const *arguments);

struct reply {
    long status; /* 0: no answer */
    char *body;  /* NUL-terminated */
    size_t size;
    char *headers; /* all lines */
    double seconds;
    json_t *json; /* the body, if it is JSON */
};

struct query {
    const char *method;     /* NULL: GET, or POST with a body */
    const char *body;       /* NULL: none */
    size_t body_size;       /* 0: strlen */
    const char *form_field; /* body goes as a file of a form */
    const char *form_filename;
    const char *headers[6];
    bool chunked;
    long timeout_ms; /* 0: 30 s */
};

/* path begins with a slash. Release with reply_free(). */
struct reply http_do(const struct service *s, const char *path, struct query q);
struct reply http_get(const struct service *s, const char *path);
void reply_free(struct reply *r);
/* The header's value in a static buffer, or NULL. */
const char *reply_header(const struct reply *r, const char *name);
/* A text member of the JSON body, "" if there is none. */
const char *reply_text(const struct reply *r, const char *name);
/* A file of the tree. */
char *file_read(const char *path, size_t *size);
/* Regular files under a folder. */
int files_under(const char *path);

#endif
