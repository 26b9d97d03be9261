/* Stored zip archives as torch.save lays them out: local headers with the bytes behind them, the
 * directory, the end record. */
#include "tests/fuzz/zip.h"

#include <stdlib.h>
#include <string.h>

enum { ZIP_LOCAL = 30, ZIP_ENTRY = 46, ZIP_END = 22 };

uint32_t zip_crc(const unsigned char *p, size_t n)
{
    uint32_t crc = UINT32_MAX, table[16];
    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int bit = 0; bit < 4; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
    }
    for (size_t i = 0; i < n; i++) {
        crc = table[(crc ^ p[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ p[i] >> 4) & 15] ^ crc >> 4;
    }
    return ~crc;
}

static unsigned char *zip_put(unsigned char *p, uint32_t v, int bytes)
{
    for (; bytes > 0; bytes--, v >>= 8)
        *p++ = (unsigned char)v;
    return p;
}

/* What a local header and an entry of the directory have in common: version to crc to lengths. */
static unsigned char *zip_put_common(unsigned char *p, const struct zip_part *part, uint32_t crc)
{
    p = zip_put(p, 20, 2);         /* version that is needed */
    p = zip_put(p, 0, 2);          /* flags */
    p = zip_put(p, 0, 2);          /* stored */
    p = zip_put(p, 0x00210000, 4); /* 1980-01-01 */
    p = zip_put(p, crc, 4);
    p = zip_put(p, (uint32_t)part->size, 4);
    p = zip_put(p, (uint32_t)part->size, 4);
    p = zip_put(p, (uint32_t)strlen(part->name), 2);
    return zip_put(p, 0, 2); /* no extra field */
}

size_t zip_store_size(const struct zip_part *parts, size_t count)
{
    size_t size = ZIP_END;
    for (size_t i = 0; i < count; i++)
        size += ZIP_LOCAL + ZIP_ENTRY + 2 * strlen(parts[i].name) + parts[i].size;
    return size;
}

unsigned char *zip_store(const struct zip_part *parts, size_t count, size_t *size)
{
    *size = zip_store_size(parts, count);
    unsigned char *zip = malloc(*size), *p = zip;
    uint32_t *crcs = malloc(count * sizeof *crcs + 1);
    if (!zip || !crcs) {
        free(zip);
        free(crcs);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(parts[i].name);
        crcs[i] = zip_crc(parts[i].data, parts[i].size);
        memcpy(p, "PK\x03\x04", 4);
        p = zip_put_common(p + 4, &parts[i], crcs[i]);
        memcpy(p, parts[i].name, length);
        p += length;
        if (parts[i].size)
            memcpy(p, parts[i].data, parts[i].size);
        p += parts[i].size;
    }
    size_t directory = (size_t)(p - zip), header = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(parts[i].name);
        memcpy(p, "PK\x01\x02", 4);
        p = zip_put(p + 4, 20, 2); /* version that made it */
        p = zip_put_common(p, &parts[i], crcs[i]);
        memset(p, 0, 10); /* comment, disk, attributes */
        p = zip_put(p + 10, (uint32_t)header, 4);
        memcpy(p, parts[i].name, length);
        p += length;
        header += ZIP_LOCAL + length + parts[i].size;
    }
    size_t end = (size_t)(p - zip);
    memcpy(p, "PK\x05\x06\0\0\0\0", 8);
    p = zip_put(p + 8, (uint32_t)count, 2);
    p = zip_put(p, (uint32_t)count, 2);
    p = zip_put(p, (uint32_t)(end - directory), 4);
    p = zip_put(p, (uint32_t)directory, 4);
    zip_put(p, 0, 2); /* no comment */
    free(crcs);
    return zip;
}
