/* The messages between a job's child and its worker; see the header for the format. */
#include "server/worker_wire.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/files.h"
#include "server/json.h"

#define HEADER 8
#define SMALL_MAX 4096 /* any message but FILE */
#define CHUNK 65536

/* ---- sending --------------------------------------------------------------------------------- */

static void put32(unsigned char *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get32(const void *at)
{
    const unsigned char *p = at;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Collects what is small, so that a small result is one write and wakes the worker once. */
struct out {
    int fd;
    bool ok;
    size_t used;
    char data[16384];
};

static void out_flush(struct out *o)
{
    o->ok = o->ok && files_write_all(o->fd, o->data, o->used);
    o->used = 0;
}

static void out_add(struct out *o, const void *data, size_t n)
{
    if (n > sizeof o->data - o->used)
        out_flush(o);
    if (n > sizeof o->data) {
        o->ok = o->ok && files_write_all(o->fd, data, n);
    } else if (n > 0) {
        memcpy(o->data + o->used, data, n);
        o->used += n;
    }
}

static void out_string(struct out *o, const char *s)
{
    out_add(o, s, strlen(s) + 1);
}

static void out_header(struct out *o, enum wire_type type, size_t length)
{
    unsigned char header[HEADER];
    put32(header, type);
    put32(header + 4, (uint32_t)length);
    o->ok = o->ok && length <= UINT32_MAX;
    out_add(o, header, sizeof header);
}

static bool out_end(struct out *o)
{
    out_header(o, WIRE_END, 0);
    out_flush(o);
    return o->ok;
}

bool wire_send_progress(int fd, const char *stage, double done)
{
    unsigned char m[HEADER + 4 + sizeof((struct wire *)0)->stage];
    size_t n = strnlen(stage, sizeof((struct wire *)0)->stage - 1);
    put32(m, WIRE_PROGRESS);
    put32(m + 4, (uint32_t)(4 + n));
    put32(m + HEADER, done <= 0 ? 0 : done >= 1 ? 10000 : (uint32_t)(done * 10000));
    memcpy(m + HEADER + 4, stage, n);
    return files_write_all(fd, m, HEADER + 4 + n);
}

bool wire_send_error(int fd, const struct bpu_error *err)
{
    const char *const parts[] = {error_code_name(err->code), err->message, err->where, err->hint};
    struct out o = {.fd = fd, .ok = true};
    size_t length = 0;
    for (size_t i = 0; i < 4; i++)
        length += strlen(parts[i]) + 1;
    out_header(&o, WIRE_ERROR, length);
    for (size_t i = 0; i < 4; i++)
        out_string(&o, parts[i]);
    return out_end(&o);
}

bool wire_send_result(int fd, const struct job_result *r)
{
    struct out o = {.fd = fd, .ok = true};
    size_t n = strlen(r->verdict);
    out_header(&o, WIRE_VERDICT, n);
    out_add(&o, r->verdict, n);
    for (size_t i = 0; i < r->artifact_count; i++) {
        const struct job_artifact *f = &r->artifacts[i];
        out_header(&o, WIRE_FILE, strlen(f->name) + strlen(f->type) + 2 + f->bytes.size);
        out_string(&o, f->name);
        out_string(&o, f->type);
        out_add(&o, f->bytes.data, f->bytes.size);
    }
    return out_end(&o);
}

/* ---- receiving ------------------------------------------------------------------------------- */

void wire_init(struct wire *w, int64_t max_output)
{
    *w = (struct wire){.room = (size_t)max_output};
    buf_init(&w->in, (size_t)max_output + 2 * CHUNK);
}

void wire_fini(struct wire *w)
{
    buf_fini(&w->in);
    for (size_t i = 0; i < w->result.artifact_count; i++)
        buf_fini(&w->result.artifacts[i].bytes);
    w->result.artifact_count = 0;
}

static bool broken(struct bpu_error *err, const char *what)
{
    error_set(err, BPU_CRASH, NULL, "the job's process sent something else than a result: %s",
              what);
    return error_hint(err,
                      "This is a defect of BPU Hub; please report it together with the model.");
}

/* Copies a short word of allowed characters; the bytes need not end with a zero. */
static bool word(char *out, size_t size, const char *from, size_t n, const char *punctuation)
{
    if (n >= size)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isascii((unsigned char)from[i]) ||
            (!isalnum((unsigned char)from[i]) && !(from[i] && strchr(punctuation, from[i]))))
            return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

/* The next zero-ended string of a payload, NULL if there is none. */
static const char *next_string(const char **at, const char *end)
{
    const char *s = *at, *zero = memchr(s, '\0', (size_t)(end - s));
    if (!zero)
        return NULL;
    *at = zero + 1;
    return s;
}

/* Text for people: whatever is not UTF-8 becomes a question mark. */
static void text(char *out, size_t size, const char *from)
{
    size_t n = 0;
    while (*from) {
        size_t length = json_utf8_length(from);
        if (n + (length ? length : 1) >= size)
            break;
        if (length == 0) {
            out[n++] = '?';
            from++;
        }
        for (size_t i = 0; i < length; i++)
            out[n++] = *from++;
    }
    out[n] = '\0';
}

static bool take_error(struct wire *w, const char *at, const char *end, struct bpu_error *err)
{
    const char *code = next_string(&at, end);
    const char *message = code ? next_string(&at, end) : NULL;
    const char *where = message ? next_string(&at, end) : NULL;
    const char *hint = where ? next_string(&at, end) : NULL;
    if (!hint || at != end)
        return broken(err, "an error without its texts");
    w->error.code = error_code_find(code);
    if (w->error.code == BPU_NONE)
        w->error.code = BPU_SERVER;
    text(w->error.message, sizeof w->error.message, message);
    text(w->error.where, sizeof w->error.where, where);
    text(w->error.hint, sizeof w->error.hint, hint);
    return true;
}

static bool take_file(struct wire *w, const char *at, const char *end, struct bpu_error *err)
{
    if (w->result.artifact_count == JOB_MAX_ARTIFACTS)
        return broken(err, "too many files");
    struct job_artifact *f = &w->result.artifacts[w->result.artifact_count];
    const char *name = next_string(&at, end);
    const char *type = name ? next_string(&at, end) : NULL;
    if (!type || !*name || *name == '.' ||
        !word(f->name, sizeof f->name, name, strlen(name), "._-") ||
        !word(f->type, sizeof f->type, type, strlen(type), "/.+-; =") || !strchr(f->type, '/'))
        return broken(err, "a file without a proper name and type");
    for (size_t i = 0; i < w->result.artifact_count; i++)
        if (strcmp(w->result.artifacts[i].name, f->name) == 0)
            return broken(err, "two files of one name");
    size_t size = (size_t)(end - at);
    buf_init(&f->bytes, size ? size : 1);
    w->result.artifact_count++;
    buf_add(&f->bytes, at, size);
    return buf_ok(&f->bytes, err);
}

static int64_t clock_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void wire_stage_end(struct wire *w)
{
    int64_t now = clock_now_us();
    if (!*w->stage)
        return;
    size_t i = 0;
    while (i < w->stage_count && strcmp(w->stages[i].name, w->stage) != 0)
        i++;
    if (i == WIRE_STAGES)
        return; /* no job has so many */
    if (i == w->stage_count) {
        memcpy(w->stages[i].name, w->stage, sizeof w->stage);
        w->stage_count++;
    }
    w->stages[i].us += now - w->stage_since;
    w->stage_since = now;
}

static void stage_begin(struct wire *w, const char stage[static 24])
{
    wire_stage_end(w);
    memcpy(w->stage, stage, sizeof w->stage);
    w->stage_since = clock_now_us();
}

static bool take(struct wire *w, uint32_t type, const char *at, size_t length,
                 struct bpu_error *err)
{
    char stage[sizeof w->stage] = "";
    if (w->ended)
        return broken(err, "more after the end");
    switch (type) {
    case WIRE_PROGRESS:
        if (length < 4 || get32(at) > 10000 || !word(stage, sizeof stage, at + 4, length - 4, "_-. "))
            return broken(err, "progress without a stage");
        if (strcmp(stage, w->stage) != 0)
            stage_begin(w, stage);
        w->progress = get32(at) / 10000.0;
        return true;
    case WIRE_ERROR: return take_error(w, at, at + length, err);
    case WIRE_VERDICT:
        return word(w->result.verdict, sizeof w->result.verdict, at, length, "_-") ||
               broken(err, "a verdict that is not a word");
    case WIRE_FILE: return take_file(w, at, at + length, err);
    case WIRE_END: w->ended = true; return true;
    }
    return broken(err, "a message of an unknown type");
}

/* Takes every message that is complete. */
static bool take_all(struct wire *w, struct bpu_error *err)
{
    while (w->in.size - w->taken >= HEADER) {
        const char *header = w->in.data + w->taken;
        uint32_t type = get32(header), length = get32(header + 4);
        if (type != WIRE_FILE && length > SMALL_MAX)
            return broken(err, "a message that is too long");
        if (type == WIRE_FILE && length > w->room) {
            error_set(err, BPU_LIMIT, NULL, "the job's files are larger than allowed");
            return error_hint(err,
                              "Ask for less detail, or raise the limit on the output of a job.");
        }
        if (w->in.size - w->taken - HEADER < length)
            break;
        if (!take(w, type, header + HEADER, length, err))
            return false;
        w->taken += HEADER + length;
        if (type == WIRE_FILE)
            w->room -= length;
    }
    if (w->taken == w->in.size) {
        buf_clear(&w->in);
        w->taken = 0;
    } else if (w->taken > 0) { /* the beginning of a message moves to the front */
        w->in.size -= w->taken;
        memmove(w->in.data, w->in.data + w->taken, w->in.size);
        w->taken = 0;
    }
    return true;
}

enum wire_read wire_receive(struct wire *w, int fd, struct bpu_error *err)
{
    char chunk[CHUNK];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return WIRE_AGAIN;
        if (n == 0)
            return WIRE_EOF;
        if (n < 0) {
            error_set(err, BPU_IO, NULL, "the pipe of the job cannot be read: %s", strerror(errno));
            return WIRE_BROKEN;
        }
        buf_add(&w->in, chunk, (size_t)n);
        if (!buf_ok(&w->in, err) || !take_all(w, err))
            return WIRE_BROKEN;
    }
}
