/* What a job's child may send: bytes, in pieces, through a pipe, as the worker reads them.  A child
 * may be an exploited process, so that whatever is taken must be within bounds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "server/worker_wire.h"
#include "tests/fuzz/fuzz.h"

#define WIRE_ROOM 4096

static void wire_pipe(int pipes[2])
{
    int done = pipe2(pipes, O_CLOEXEC | O_NONBLOCK);
    FUZZ_REQUIRE(done == 0, "no pipe");
}

/* Reads up to the end, as the worker does: by waiting.  Whoever looks at this process' descriptors
 * (/proc/PID/fd) holds the pipe for a moment longer than close(), and until then there is no end. */
static enum wire_read wire_end(struct wire *w, int fd, struct bpu_error *err)
{
    enum wire_read got;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    while ((got = wire_receive(w, fd, err)) == WIRE_AGAIN && poll(&wait, 1, 5000) != 0)
        ;
    return got;
}

/* Sends the bytes `step` at a time; the end of them closes the pipe. */
static enum wire_read wire_feed(struct wire *w, const uint8_t *data, size_t size, size_t step,
                                struct bpu_error *err)
{
    int pipes[2];
    enum wire_read got = WIRE_AGAIN;
    wire_pipe(pipes);
    for (size_t at = 0; got == WIRE_AGAIN && at < size;) {
        size_t n = size - at < step ? size - at : step;
        ssize_t written = write(pipes[1], data + at, n);
        FUZZ_REQUIRE(written == (ssize_t)n, "the pipe took %zd of %zu bytes", written, n);
        at += n;
        got = wire_receive(w, pipes[0], err);
    }
    close(pipes[1]);
    if (got == WIRE_AGAIN)
        got = wire_end(w, pipes[0], err);
    close(pipes[0]);
    return got;
}

static void wire_bounds(const struct wire *w)
{
    size_t total = 0;
    FUZZ_REQUIRE(w->progress >= 0 && w->progress <= 1, "progress %g", w->progress);
    FUZZ_REQUIRE(memchr(w->stage, 0, sizeof w->stage), "an endless stage");
    FUZZ_REQUIRE(memchr(w->result.verdict, 0, sizeof w->result.verdict), "an endless verdict");
    FUZZ_REQUIRE(w->result.artifact_count <= JOB_MAX_ARTIFACTS, "%zu files",
                 w->result.artifact_count);
    for (size_t i = 0; i < w->result.artifact_count; i++) {
        const struct job_artifact *f = &w->result.artifacts[i];
        FUZZ_REQUIRE(memchr(f->name, 0, sizeof f->name) && memchr(f->type, 0, sizeof f->type),
                     "endless names");
        total += f->bytes.size;
        if (i + 1 < w->result.artifact_count)
            FUZZ_REQUIRE(f->name[0] && f->name[0] != '.' && !strchr(f->name, '/'), "%s", f->name);
    }
    FUZZ_REQUIRE(total + w->room <= WIRE_ROOM, "%zu bytes of files", total);
    FUZZ_REQUIRE(w->in.size <= w->in.cap, "%zu bytes wait", w->in.size);
    fuzz_utf8(w->error.message, strlen(w->error.message), "the message");
    fuzz_utf8(w->error.where, strlen(w->error.where), "the place");
    fuzz_utf8(w->error.hint, strlen(w->error.hint), "the hint");
}

/* A result that was taken is sent and taken again, unchanged. */
static void wire_again(const struct wire *w)
{
    struct wire again;
    struct bpu_error err = {0};
    int pipes[2];
    wire_pipe(pipes);
    bool sent = w->error.code ? wire_send_error(pipes[1], &w->error)
                              : wire_send_result(pipes[1], &w->result);
    FUZZ_REQUIRE(sent, "it cannot be sent");
    close(pipes[1]);
    wire_init(&again, 2 * WIRE_ROOM); /* names count as well */
    enum wire_read got = wire_end(&again, pipes[0], &err);
    close(pipes[0]);
    FUZZ_REQUIRE(got == WIRE_EOF && again.ended, "%s", err.message);
    FUZZ_REQUIRE(again.error.code == w->error.code, "another error");
    if (w->error.code)
        FUZZ_REQUIRE(strcmp(again.error.message, w->error.message) == 0, "another message");
    else {
        FUZZ_REQUIRE(strcmp(again.result.verdict, w->result.verdict) == 0, "another verdict");
        FUZZ_REQUIRE(again.result.artifact_count == w->result.artifact_count, "other files");
        for (size_t i = 0; i < w->result.artifact_count; i++)
            fuzz_same(&w->result.artifacts[i].bytes, &again.result.artifacts[i].bytes, "a file");
    }
    wire_fini(&again);
}

FUZZ_TARGET(wire)
{
    struct wire w, pieces;
    struct bpu_error err = {0}, other = {0};
    size_t step = size ? 1 + data[0] : 1;
    if (size > 32768)
        return 0; /* what a pipe takes at once */
    wire_init(&w, WIRE_ROOM);
    wire_init(&pieces, WIRE_ROOM);
    enum wire_read got = wire_feed(&w, data, size, 32768, &err);
    FUZZ_REQUIRE(got != WIRE_AGAIN, "no end");
    if (got == WIRE_BROKEN) {
        FUZZ_REQUIRE(err.code == BPU_CRASH || err.code == BPU_LIMIT, "%s", err.message);
        FUZZ_REQUIRE(err.message[0], "an error without a message");
    }
    wire_bounds(&w);
    enum wire_read piecewise = wire_feed(&pieces, data, size, step, &other);
    FUZZ_REQUIRE(got == piecewise && err.code == other.code && w.ended == pieces.ended &&
                     w.error.code == pieces.error.code &&
                     w.result.artifact_count == pieces.result.artifact_count,
                 "in pieces of %zu bytes it is something else: %s, %s", step, err.message,
                 other.message);
    wire_bounds(&pieces);
    if (got == WIRE_EOF && w.ended)
        wire_again(&w);
    wire_fini(&w);
    wire_fini(&pieces);
    return 0;
}
