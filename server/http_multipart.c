/* Design: each piece is appended to what is pending and worked off as far as it goes; what stays is
 * at most a part's headers or the beginning of a delimiter.  A line break is put before the first
 * byte, so that the first delimiter looks like all others. */
#define _GNU_SOURCE
#include "server/http_multipart.h"

#include <string.h>
#include <strings.h>

#define HEADERS_MAX ((size_t)16 << 10)
#define PENDING_MAX ((size_t)4 << 20)

bool multipart_init(struct multipart *m, const char *content_type, struct bpu_error *err)
{
    *m = (struct multipart){0};
    buf_init(&m->pending, PENDING_MAX);
    const char *p = strcasestr(content_type, "boundary=");
    size_t n = 0;
    if (p) {
        p += strlen("boundary=");
        if (*p == '"')
            n = strcspn(++p, "\"");
        else
            n = strcspn(p, "; \t");
    }
    if (n == 0 || n > MULTIPART_BOUNDARY_MAX) {
        error_set(err, BPU_USAGE, "Content-Type",
                  "multipart/form-data needs a boundary of 1 to %d characters",
                  MULTIPART_BOUNDARY_MAX);
        return error_hint(err, "let the client library set Content-Type");
    }
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, p, n);
    m->delimiter_size = n + 4;
    buf_puts(&m->pending, "\r\n");
    return true;
}

void multipart_fini(struct multipart *m)
{
    buf_fini(&m->pending);
}

/* The value of a parameter (name="value") of a header line of n bytes; false if it is not there.  A
 * backslash stays as it is: browsers write \ in names unescaped and " as %22. */
static bool parameter(const char *line, size_t n, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);
    for (size_t i = 0; i + length + 2 < n; i++) {
        if ((line[i] != ';' && line[i] != ' ') || strncasecmp(line + i + 1, name, length) != 0 ||
            line[i + 1 + length] != '=')
            continue;
        const char *v = line + i + length + 2, *end = line + n;
        bool quoted = v < end && *v == '"';
        v += quoted;
        const char *stop = v;
        while (stop < end && (quoted ? *stop != '"' : *stop != ';' && *stop != ' '))
            stop++;
        size_t count = (size_t)(stop - v) < size - 1 ? (size_t)(stop - v) : size - 1;
        memcpy(out, v, count);
        out[count] = 0;
        return true;
    }
    return false;
}

/* Decides from a part's headers whether it is the file. */
static void headers_read(struct multipart *m, const char *text, size_t size)
{
    m->state = MULTIPART_OTHER;
    static const char wanted[] = "Content-Disposition:";
    for (const char *line = text, *end = text + size; line < end;) {
        const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        size_t n = stop ? (size_t)(stop - line) : (size_t)(end - line);
        char name[64];
        if (n > sizeof wanted && strncasecmp(line, wanted, sizeof wanted - 1) == 0 &&
            parameter(line, n, "name", name, sizeof name) && strcmp(name, "file") == 0 &&
            !m->file_seen) {
            m->file_seen = true;
            m->state = MULTIPART_FILE;
            if (!parameter(line, n, "filename", m->filename, sizeof m->filename))
                m->filename[0] = 0;
        }
        line += n + 2;
    }
}

enum step { STEP_MORE, STEP_DONE, STEP_FAILED };

/* Works on p[0..n); *used is what it has finished with. */
static enum step step(struct multipart *m, const char *p, size_t n, size_t *used,
                      multipart_sink *sink, void *ctx, struct bpu_error *err)
{
    *used = 0;
    if (m->state == MULTIPART_END) {
        *used = n;
        return STEP_MORE;
    }
    if (m->state == MULTIPART_DELIMITER) {
        size_t blank = 0;
        while (blank < n && (p[blank] == ' ' || p[blank] == '\t'))
            blank++;
        if (n < blank + 2)
            return blank > 256 ? STEP_FAILED : STEP_MORE;
        bool last = blank == 0 && p[0] == '-' && p[1] == '-';
        if (!last && (p[blank] != '\r' || p[blank + 1] != '\n'))
            return STEP_FAILED;
        m->state = last ? MULTIPART_END : MULTIPART_HEADERS;
        /* The line break stays: with no headers it is half of the empty line. */
        *used = last ? 2 : blank;
        return STEP_DONE;
    }
    if (m->state == MULTIPART_HEADERS) {
        const char *end = memmem(p, n < HEADERS_MAX ? n : HEADERS_MAX, "\r\n\r\n", 4);
        if (!end)
            return n >= HEADERS_MAX ? STEP_FAILED : STEP_MORE;
        headers_read(m, p, (size_t)(end - p));
        *used = (size_t)(end - p) + 4;
        /* The delimiter of an empty part begins with the line break that ends the headers. */
        return STEP_DONE;
    }
    const char *found = memmem(p, n, m->delimiter, m->delimiter_size);
    size_t keep = m->delimiter_size - 1;
    size_t plain = found ? (size_t)(found - p) : n > keep ? n - keep : 0;
    if (m->state == MULTIPART_FILE && plain && !sink(ctx, p, plain, err))
        return STEP_FAILED;
    *used = plain;
    if (!found)
        return STEP_MORE;
    *used += m->delimiter_size;
    m->state = MULTIPART_DELIMITER;
    return STEP_DONE;
}

bool multipart_feed(struct multipart *m, const void *data, size_t n, multipart_sink *sink,
                    void *ctx, struct bpu_error *err)
{
    buf_add(&m->pending, data, n);
    if (!buf_ok(&m->pending, err))
        return false;
    size_t at = 0, used = 0;
    enum step s = STEP_DONE;
    while (s == STEP_DONE) {
        s = step(m, m->pending.data + at, m->pending.size - at, &used, sink, ctx, err);
        at += used;
    }
    if (s == STEP_FAILED)
        return error_set(err, BPU_USAGE, NULL, "the multipart body is malformed");
    memmove(m->pending.data, m->pending.data + at, m->pending.size - at);
    m->pending.size -= at;
    return true;
}

bool multipart_end(const struct multipart *m, struct bpu_error *err)
{
    if (m->state != MULTIPART_END)
        return error_set(err, BPU_USAGE, NULL, "the multipart body ends before its last delimiter");
    if (!m->file_seen) {
        error_set(err, BPU_USAGE, NULL, "the form has no field named \"file\"");
        return error_hint(err, "send the model as the field \"file\": curl -F file=@model.onnx");
    }
    return true;
}
