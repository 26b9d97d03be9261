/* Errors: the table of codes, and the one record that travels up. */
#include "core/base/error.h"

#include <stdio.h>
#include <string.h>

struct code_row {
    const char *name, *title;
    int http, exit;
};

static const struct code_row rows[BPU_CODE_COUNT] = {
#define X(id, name, title, http, exit) [BPU_##id] = {name, title, http, exit},
    BPU_ERROR_MAP(X)
#undef X
};

/* A cut in the middle of a UTF-8 sequence would make the problem document invalid JSON. */
static void trim_utf8(char *s)
{
    size_t n = strlen(s);
    size_t back = 0;
    while (back < 4 && back < n && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back >= n)
        return;
    unsigned char lead = (unsigned char)s[n - 1 - back];
    size_t want = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    if (back < want)
        s[n - 1 - back] = '\0';
}

void error_vput(struct bpu_error *err, enum bpu_code code, const char *where, const char *fmt,
                va_list ap)
{
    if (!err || err->code != BPU_NONE)
        return;
    memset(err, 0, sizeof *err);
    err->code = code;
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    trim_utf8(err->message);
    if (where) {
        snprintf(err->where, sizeof err->where, "%s", where);
        trim_utf8(err->where);
    }
}

void error_put(struct bpu_error *err, enum bpu_code code, const char *where, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    error_vput(err, code, where, fmt, ap);
    va_end(ap);
}

void error_put_hint(struct bpu_error *err, const char *fmt, ...)
{
    if (!err || err->hint[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->hint, sizeof err->hint, fmt, ap);
    va_end(ap);
    trim_utf8(err->hint);
}

void error_put_where(struct bpu_error *err, const char *fmt, ...)
{
    if (!err || err->where[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->where, sizeof err->where, fmt, ap);
    va_end(ap);
    trim_utf8(err->where);
}

static const struct code_row *row_of(enum bpu_code code)
{
    return &rows[code < BPU_CODE_COUNT ? code : BPU_SERVER];
}

const char *error_code_name(enum bpu_code code) { return row_of(code)->name; }
const char *error_title(enum bpu_code code) { return row_of(code)->title; }
int error_http_status(enum bpu_code code) { return row_of(code)->http; }
int error_exit_code(enum bpu_code code) { return row_of(code)->exit; }

enum bpu_code error_code_find(const char *name)
{
    for (int i = 0; i < BPU_CODE_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (enum bpu_code)i;
    return BPU_SERVER;
}
