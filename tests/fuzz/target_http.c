/* The pieces of the service that read untrusted text without a server around them.  The first byte
 * says which one: JSON bodies, multipart bodies, ids and cursors, the config file, and the writer
 * of JSON strings. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/config.h"
#include "server/http_multipart.h"
#include "server/json.h"
#include "server/store_sqlite.h"
#include "tests/fuzz/fuzz.h"

static int http_depth(const json_t *j)
{
    const char *key;
    json_t *item;
    size_t i;
    int deepest = 0;
    json_object_foreach((json_t *)j, key, item)
    {
        int d = http_depth(item);
        deepest = d > deepest ? d : deepest;
    }
    json_array_foreach(j, i, item)
    {
        int d = http_depth(item);
        deepest = d > deepest ? d : deepest;
    }
    return deepest + (json_is_object(j) || json_is_array(j));
}

static void http_json(const uint8_t *data, size_t size)
{
    struct bpu_error err = {0};
    json_t *j = json_parse((const char *)data, size, JSON_MAX_BODY, &err);
    if (!j) {
        fuzz_error(&err, "json_parse");
        FUZZ_REQUIRE(err.code == BPU_USAGE || err.code == BPU_LIMIT, "%s", err.message);
        return;
    }
    FUZZ_REQUIRE(http_depth(j) <= JSON_MAX_DEPTH, "deep");
    json_decref(j);
}

static bool http_sink(void *ctx, const void *data, size_t n, struct bpu_error *err)
{
    buf_add(ctx, data, n);
    return buf_ok(ctx, err);
}

/* content type, line feed, body; fed `step` bytes at a time. */
static bool http_multipart_feed(const uint8_t *data, size_t size, size_t step, struct buf *out,
                                char filename[256])
{
    char type[256];
    struct multipart m;
    struct bpu_error err = {0};
    const uint8_t *line = memchr(data, '\n', size);
    size_t n = line ? (size_t)(line - data) : size;
    n = n < sizeof type ? n : sizeof type - 1;
    memcpy(type, data, n);
    type[n] = '\0';
    size_t at = n < size ? n + 1 : size;
    bool ok = multipart_init(&m, type, &err);
    for (; ok && at < size; at += step)
        ok = multipart_feed(&m, data + at, size - at < step ? size - at : step, http_sink, out,
                            &err);
    ok = ok && multipart_end(&m, &err);
    if (!ok) {
        FUZZ_REQUIRE(err.code == BPU_USAGE || err.code == BPU_NO_MEMORY, "%s", err.message);
        FUZZ_REQUIRE(err.message[0], "an error without a message");
    }
    FUZZ_REQUIRE(memchr(m.filename, 0, sizeof m.filename), "an endless file name");
    memcpy(filename, m.filename, sizeof m.filename);
    multipart_fini(&m);
    return ok;
}

static void http_multipart(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    char name[256], other[256];
    size_t step = size ? 1 + data[size - 1] % 64 : 1;
    buf_init(&whole, FUZZ_QUOTA);
    buf_init(&pieces, FUZZ_QUOTA);
    bool ok = http_multipart_feed(data, size, size + 1, &whole, name);
    bool ok_pieces = http_multipart_feed(data, size, step, &pieces, other);
    FUZZ_REQUIRE(ok == ok_pieces, "in pieces of %zu bytes it is %s", step, ok ? "bad" : "good");
    if (ok) {
        FUZZ_REQUIRE(strcmp(name, other) == 0, "in pieces of %zu bytes the name is \"%s\"", step,
                     other);
        fuzz_same(&whole, &pieces, "the file in pieces");
    }
    buf_fini(&whole);
    buf_fini(&pieces);
}

static void http_id(const uint8_t *data, size_t size)
{
    char text[64], back[40];
    int64_t n, low, high;
    size_t length = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, length);
    text[length] = '\0';
    if (store_id_range(text, &low, &high))
        FUZZ_REQUIRE(0 <= low && low <= high, "%s", text);
    if (!store_id_read(text, &n))
        return;
    store_id_write(n, back);
    FUZZ_REQUIRE(n >= 0 && strcasecmp(text, back) == 0, "%s became %s", text, back);
}

static void http_config(const uint8_t *data, size_t size)
{
    struct config c;
    struct bpu_error err = {0};
    char path[64], flag[] = "--config", program[] = "bpuhub";
    int fd = memfd_create("config", MFD_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size, "no file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    char *argv[] = {program, flag, path, NULL};
    if (!config_load(&c, 3, argv, &err)) {
        FUZZ_REQUIRE(err.code == BPU_USAGE && err.message[0], "%s", err.message);
    } else {
        FUZZ_REQUIRE(memchr(c.listen, 0, sizeof c.listen) && memchr(c.data, 0, sizeof c.data),
                     "endless texts");
        FUZZ_REQUIRE(c.workers >= 0 && c.workers <= 256 && c.max_upload > 0 && c.job_memory > 0 &&
                         c.job_seconds > 0,
                     "out of range");
    }
    close(fd);
}

static void http_string(const uint8_t *data, size_t size)
{
    struct buf out;
    char *text = malloc(size + 1);
    FUZZ_REQUIRE(text, "no memory");
    memcpy(text, data, size);
    text[size] = '\0';
    buf_init(&out, FUZZ_QUOTA);
    buf_putc(&out, '[');
    json_write_string(&out, text);
    buf_putc(&out, ']');
    fuzz_json(&out, "json_write_string");
    buf_clear(&out);
    buf_puts(&out, "<a b=\"");
    buf_xml(&out, text);
    buf_puts(&out, "\"/>");
    fuzz_xml(&out, "buf_xml");
    buf_fini(&out);
    free(text);
}

FUZZ_TARGET(http)
{
    static void (*const parts[])(const uint8_t *, size_t) = {http_json, http_multipart, http_id,
                                                             http_config, http_string};
    if (size > 0)
        parts[data[0] % (sizeof parts / sizeof *parts)](data + 1, size - 1);
    return 0;
}
