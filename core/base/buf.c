/* buf: doubling growth up to the cap; one sticky failure flag instead of a check at each append. */
#include "core/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"

void buf_init(struct buf *b, size_t cap)
{
    memset(b, 0, sizeof *b);
    b->cap = cap;
}

void buf_fini(struct buf *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

void buf_end(struct buf *b, struct buf *out)
{
    out->failed |= b->failed;
    buf_fini(b);
}

void buf_clear(struct buf *b)
{
    b->size = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

/* Room for n more bytes and the NUL. */
static bool reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (n > b->cap || b->size > b->cap - n) {
        b->failed = true;
        return false;
    }
    size_t want = b->size + n + 1;
    if (want <= b->capacity)
        return true;
    size_t grown = b->capacity ? b->capacity * 2 : 256;
    if (grown < want)
        grown = want;
    char *p = realloc(b->data, grown);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->capacity = grown;
    return true;
}

void buf_add(struct buf *b, const void *data, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->data + b->size, data, n);
    b->size += n;
    b->data[b->size] = '\0';
}

void buf_puts(struct buf *b, const char *s) { buf_add(b, s, strlen(s)); }
void buf_putc(struct buf *b, char c) { buf_add(b, &c, 1); }

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        b->failed = true;
    else if (reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

/* Length of the character at s if XML may hold it, else 0. */
static size_t xml_character(const char *s)
{
    uint32_t c = 0;
    size_t n = utf8_character(s, &c);
    bool control = c < 0x20 && c != '\n' && c != '\t';
    return n == 0 || control || c == 0xFFFE || c == 0xFFFF ? 0 : n;
}

void buf_xml(struct buf *b, const char *s)
{
    for (size_t n; *s; s += n) {
        n = 1;
        switch (*s) {
        case '&': buf_puts(b, "&amp;"); break;
        case '<': buf_puts(b, "&lt;"); break;
        case '>': buf_puts(b, "&gt;"); break;
        case '"': buf_puts(b, "&quot;"); break;
        case '\'': buf_puts(b, "&#39;"); break;
        default:
            n = xml_character(s);
            if (n)
                buf_add(b, s, n);
            else {
                buf_puts(b, "\xEF\xBF\xBD");
                n = 1;
            }
        }
    }
}

const char *buf_str(const struct buf *b) { return b->data ? b->data : ""; }

bool buf_ok(const struct buf *b, struct bpu_error *err)
{
    if (b->failed)
        return error_set(err, BPU_NO_MEMORY, NULL,
                         "the output grew beyond %zu bytes, or memory ran out", b->cap);
    return true;
}
