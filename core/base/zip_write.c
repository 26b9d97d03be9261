/* Writing zip archives: local headers are completed when their member ends, the directory is
 * collected on the way.  Alignment is an extra field of the local header, as Android's tools pad.
 */
#include "core/base/zip_write.h"

#include <string.h>

enum { LOCAL_HEADER = 30, EXTRA_ID = 0xD935, FIRST_DAY = 0x0021 /* 1980-01-01 */, UTF8 = 0x0800 };

static void put16(unsigned char *p, unsigned v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static void put32(unsigned char *p, uint32_t v)
{
    put16(p, v & 0xFFFF);
    put16(p + 2, v >> 16);
}

/* Eight bytes at a time. */
uint32_t zip_writer_crc(const unsigned char *p, size_t n)
{
    uint32_t table[8][256], crc = UINT32_MAX;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xEDB88320u : c >> 1;
        table[0][i] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
    for (; n >= 8; p += 8, n -= 8) {
        crc ^= p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = table[7][crc & 255] ^ table[6][crc >> 8 & 255] ^ table[5][crc >> 16 & 255] ^
              table[4][crc >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
              table[0][p[7]];
    }
    for (; n; p++, n--)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
    return ~crc;
}

void zip_writer_init(struct zip_writer *w, struct buf *out)
{
    *w = (struct zip_writer){.out = out, .start = out->size};
    buf_init(&w->directory, (size_t)64 << 20);
}

void zip_writer_fini(struct zip_writer *w)
{
    buf_fini(&w->directory);
}

static unsigned flags_of(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name >= 0x80)
            return UTF8;
    return 0;
}

void zip_writer_begin(struct zip_writer *w, const char *name, size_t align)
{
    static const unsigned char zeros[4096 + 8];
    unsigned char h[LOCAL_HEADER] = "PK\x03\x04";
    size_t length = strlen(name), at = w->out->size - w->start + LOCAL_HEADER + length, extra = 0;
    if (align > 1 && at % align != 0) {
        extra = align - at % align;
        while (extra < 6) /* id, size and the alignment */
            extra += align;
    }
    w->header = w->out->size;
    w->name = name;
    w->too_large = w->too_large || length > UINT16_MAX;
    put16(h + 4, 20);
    put16(h + 6, flags_of(name));
    put16(h + 12, FIRST_DAY);
    put16(h + 26, (unsigned)length);
    put16(h + 28, (unsigned)extra);
    buf_add(w->out, h, sizeof h);
    buf_add(w->out, name, length);
    if (extra) {
        unsigned char field[6];
        put16(field, EXTRA_ID);
        put16(field + 2, (unsigned)extra - 4);
        put16(field + 4, (unsigned)align);
        buf_add(w->out, field, sizeof field);
        buf_add(w->out, zeros, extra - sizeof field);
    }
}

void zip_writer_end(struct zip_writer *w)
{
    if (w->out->failed)
        return;
    unsigned char *h = (unsigned char *)w->out->data + w->header, e[46] = "PK\x01\x02";
    size_t length = strlen(w->name), extra = h[28] | (size_t)h[29] << 8;
    unsigned char *data = h + LOCAL_HEADER + length + extra;
    size_t size = w->out->size - w->header - LOCAL_HEADER - length - extra;
    size_t offset = w->header - w->start;
    if (size >= UINT32_MAX || offset >= UINT32_MAX || w->count >= UINT16_MAX) {
        w->too_large = true;
        return;
    }
    put32(h + 14, zip_writer_crc(data, size));
    put32(h + 18, (uint32_t)size);
    put32(h + 22, (uint32_t)size);
    put16(e + 4, 20);
    memcpy(e + 6, h + 4, 24); /* version to length of the name */
    put32(e + 42, (uint32_t)offset);
    buf_add(&w->directory, e, sizeof e);
    buf_add(&w->directory, w->name, length);
    w->count++;
}

bool zip_writer_finish(struct zip_writer *w, struct bpu_error *err)
{
    unsigned char end[22] = "PK\x05\x06";
    size_t at = w->out->size - w->start;
    if (w->too_large || at >= UINT32_MAX || w->directory.size >= UINT32_MAX) {
        error_set(err, BPU_LIMIT, NULL, "the archive would be larger than 4 GiB");
        return error_hint(err, "Write less into one file.");
    }
    if (!buf_ok(&w->directory, err))
        return false;
    put16(end + 8, w->count);
    put16(end + 10, w->count);
    put32(end + 12, (uint32_t)w->directory.size);
    put32(end + 16, (uint32_t)at);
    buf_add(w->out, w->directory.data, w->directory.size);
    buf_add(w->out, end, sizeof end);
    return buf_ok(w->out, err);
}
