/* Text and numbers in XML.
 *
 * Names come from strangers' files: what is not UTF-8, or not allowed in XML, becomes U+FFFD, so
 * that the drawing is well-formed whatever the model holds. */
#include "core/draw/svg.h"

#include <math.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

/* Length of the character at p that XML allows, or 0. */
static size_t character(const unsigned char *p)
{
    if (p[0] < 0x80)
        return p[0] >= 0x20 || p[0] == '\n' || p[0] == '\t' ? p[0] != 0x7F : 0;
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    unsigned long c = p[0] & (0xFF >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) /* the final NUL ends here as well */
            return 0;
        c = c << 6 | (p[i] & 0x3F);
    }
    if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10FFFF)
        return 0;
    if ((c >= 0xD800 && c <= 0xDFFF) || c == 0xFFFE || c == 0xFFFF || c < 0xA0)
        return 0;
    return n;
}

static void put(struct buf *out, const char *s, size_t most)
{
    char one[5];
    for (size_t n, at = 0; s[at]; at += n) {
        n = character((const unsigned char *)s + at);
        if (at + n > most) {
            buf_puts(out, "\xE2\x80\xA6");
            return;
        }
        if (n == 0) {
            buf_puts(out, REPLACEMENT);
            n = 1;
            continue;
        }
        memcpy(one, s + at, n);
        one[n] = 0;
        buf_xml(out, one);
    }
}

void svg_text(struct buf *out, const char *s)
{
    put(out, s, SIZE_MAX - 8);
}

void svg_text_short(struct buf *out, const char *s)
{
    put(out, s, 400);
}

bool svg_line_init(struct buf *b)
{
    static const char room[SVG_LINE];
    buf_init(b, SVG_LINE);
    buf_add(b, room, sizeof room);
    bool ok = !b->failed;
    buf_clear(b);
    return ok;
}

void svg_number(struct buf *out, double x)
{
    double tenths = round(x * 10) + 0.0; /* no negative zero */
    if (fmod(tenths, 10) == 0)
        buf_printf(out, "%.0f", tenths / 10);
    else
        buf_printf(out, "%.1f", tenths / 10);
}
