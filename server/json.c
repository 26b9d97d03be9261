/* Design: jansson parses with duplicate keys refused (it never accepts NaN or infinities), but
 * recurses up to 2048 levels, so that a scan bounds the nesting before it sees the text.  Answers
 * are written straight into a buf: they are flat, and a list page is the hot path. */
#include "server/json.h"

#include <string.h>
#include <time.h>

/* The place of byte `at`, counted as an editor does. */
static void place_of(const char *text, size_t at, int *line, int *column)
{
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            *line += 1;
            *column = 1;
        } else {
            *column += 1;
        }
    }
}

static bool depth_check(const char *text, size_t size, struct bpu_error *err)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_MAX_DEPTH) {
                int line, column;
                place_of(text, i, &line, &column);
                error_set(err, BPU_USAGE, NULL, "the JSON text nests more than %d levels deep",
                          JSON_MAX_DEPTH);
                return error_where(err, "line %d column %d", line, column);
            }
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return true;
}

json_t *json_parse(const char *text, size_t size, size_t max_size, struct bpu_error *err)
{
    if (size > max_size) {
        error_set(err, BPU_LIMIT, NULL, "the JSON text has %zu bytes, at most %zu are taken", size,
                  max_size);
        return NULL;
    }
    if (size == 0) {
        error_set(err, BPU_USAGE, "line 1 column 1", "the body is empty, a JSON object is needed");
        return NULL;
    }
    if (!depth_check(text, size, err))
        return NULL;
    json_error_t where;
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!value) {
        error_set(err, BPU_USAGE, NULL, "the body is not valid JSON: %s", where.text);
        error_where(err, "line %d column %d", where.line, where.column);
        return NULL;
    }
    return value;
}

size_t json_utf8_length(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80)
        return 1;
    size_t n = u[0] >= 0xc2 && u[0] < 0xe0   ? 2
               : (u[0] & 0xf0) == 0xe0       ? 3
               : u[0] >= 0xf0 && u[0] < 0xf5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, beyond U+10FFFF. */
    if (n == 3 && ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] >= 0xa0)))
        return 0;
    if (n == 4 && ((u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] >= 0x90)))
        return 0;
    return n;
}

void json_write_string(struct buf *out, const char *s)
{
    buf_putc(out, '"');
    while (*s) {
        size_t plain = 0;
        while ((unsigned char)s[plain] >= 0x20 && (unsigned char)s[plain] < 0x7f &&
               s[plain] != '"' && s[plain] != '\\')
            plain++;
        if (plain) {
            buf_add(out, s, plain);
            s += plain;
            continue;
        }
        unsigned char c = (unsigned char)*s;
        size_t n = json_utf8_length(s);
        if (c == '"' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, (char)c);
            s++;
        } else if (c == '\n') {
            buf_puts(out, "\\n");
            s++;
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\u%04x", c);
            s++;
        } else if (n == 0) {
            buf_puts(out, "\\ufffd");
            s++;
        } else {
            buf_add(out, s, n);
            s += n;
        }
    }
    buf_putc(out, '"');
}

void json_write_string_or_null(struct buf *out, const char *s)
{
    if (s && *s)
        json_write_string(out, s);
    else
        buf_puts(out, "null");
}

void json_write_time(struct buf *out, int64_t ms)
{
    if (ms <= 0) {
        buf_puts(out, "null");
        return;
    }
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    buf_printf(out, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
}
