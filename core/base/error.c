/* Errors: the table of codes, and the one record that travels up. */
#include "core/base/error.h"

#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"

struct code_row {
    const char *name, *title;
    int http, exit;
};

static const struct code_row rows[BPU_CODE_COUNT] = {
#define X(id, name, title, http, exit) [BPU_##id] = {name, title, http, exit},
    BPU_ERROR_MAP(X)
#undef X
};

/* Texts are cut to fit and may quote a part of the user's file; what is no UTF-8 would make the
 * problem document invalid JSON.  A character cut off at the end is left out, any other such byte
 * becomes "?". */
static void repair_utf8(char *s)
{
    uint32_t c;
    for (size_t n; *s; s += n) {
        n = utf8_character(s, &c);
        if (n > 0)
            continue;
        size_t left = strnlen(s, 4), more = 1;
        while (more < left && ((unsigned char)s[more] & 0xC0) == 0x80)
            more++;
        bool cut = (unsigned char)*s >= 0xC2 && left < 4 && more == left;
        *s = cut ? '\0' : '?';
        n = cut ? 0 : 1;
    }
}

void error_vput(struct bpu_error *err, enum bpu_code code, const char *where, const char *fmt,
                va_list ap)
{
    if (!err || err->code != BPU_NONE)
        return;
    memset(err, 0, sizeof *err);
    err->code = code;
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    repair_utf8(err->message);
    if (where) {
        snprintf(err->where, sizeof err->where, "%s", where);
        repair_utf8(err->where);
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
    repair_utf8(err->hint);
}

void error_put_where(struct bpu_error *err, const char *fmt, ...)
{
    if (!err || err->where[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->where, sizeof err->where, fmt, ap);
    va_end(ap);
    repair_utf8(err->where);
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
