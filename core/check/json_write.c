/* JSON straight into a buf. */
#include "core/check/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/base/version.h"

/* Length of the valid UTF-8 sequence at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s)
{
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : (s[0] & 0xf0) == 0xe0       ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    /* overlong forms, surrogates, beyond U+10FFFF */
    if ((n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0))) ||
        (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))))
        return 0;
    return n;
}

void writer_string(struct buf *out, const char *s)
{
    const unsigned char *p = (const unsigned char *)s, *run = p;
    buf_putc(out, '"');
    while (*p) {
        size_t n = utf8_length(p);
        bool plain = n > 1 || (n == 1 && *p >= 0x20 && *p != '"' && *p != '\\' && *p != 0x7f);
        if (plain) {
            p += n;
            continue;
        }
        buf_add(out, run, (size_t)(p - run));
        if (n == 0)
            buf_puts(out, "\\ufffd");
        else if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else
            buf_printf(out, "\\u%04x", *p);
        run = ++p;
    }
    buf_add(out, run, (size_t)(p - run));
    buf_putc(out, '"');
}

static void start(struct json_writer *w, const char *key)
{
    if (w->comma)
        buf_putc(w->out, ',');
    w->comma = true;
    if (key) {
        buf_putc(w->out, '"');
        buf_puts(w->out, key);
        buf_puts(w->out, "\":");
    }
}

void writer_open(struct json_writer *w, const char *key, char bracket)
{
    start(w, key);
    buf_putc(w->out, bracket);
    w->comma = false;
}

void writer_close(struct json_writer *w, char bracket)
{
    buf_putc(w->out, bracket);
    w->comma = true;
}

void writer_text(struct json_writer *w, const char *key, const char *s)
{
    start(w, key);
    if (s)
        writer_string(w->out, s);
    else
        buf_puts(w->out, "null");
}

void writer_int(struct json_writer *w, const char *key, int64_t v)
{
    start(w, key);
    buf_printf(w->out, "%" PRId64, v);
}

void writer_real(struct json_writer *w, const char *key, double v)
{
    start(w, key);
    if (isfinite(v))
        buf_printf(w->out, "%.17g", v);
    else
        buf_puts(w->out, "null");
}

void writer_flag(struct json_writer *w, const char *key, bool v)
{
    start(w, key);
    buf_puts(w->out, v ? "true" : "false");
}

void writer_null(struct json_writer *w, const char *key)
{
    start(w, key);
    buf_puts(w->out, "null");
}

void writer_raw(struct json_writer *w, const char *key, const char *raw)
{
    start(w, key);
    buf_puts(w->out, raw);
}

void writer_missing(struct json_writer *w, const char *key, const char *reason)
{
    writer_open(w, key, '{');
    writer_text(w, "availability", "unavailable");
    writer_text(w, "reason", reason);
    writer_close(w, '}');
}

void writer_head(struct json_writer *w, const char *schema, const char *model_id,
                 const char *model_name, const char *model_format)
{
    writer_text(w, "schema", schema);
    writer_open(w, "tool", '{');
    writer_text(w, "name", BPU_NAME);
    writer_text(w, "version", BPU_VERSION);
    writer_close(w, '}');
    writer_open(w, "model", '{');
    writer_text(w, "id", model_id);
    writer_text(w, "name", model_name);
    writer_text(w, "format", model_format);
    writer_close(w, '}');
}
