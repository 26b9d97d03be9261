/* Zip archives: own reading of the central directory, libzip for what is deflated.
 *
 * Everything is checked before it is used: each member must lie within the file and before the
 * directory, the local header must carry the same name, no two members may share a name or their
 * bytes, and nothing may unpack to many times its size. */
#include "core/base/archive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "core/base/zip_write.h"

enum {
    LOCAL_HEADER = 30,
    DIRECTORY_ENTRY = 46,
    END_RECORD = 22,
    END64_RECORD = 56,
    END64_LOCATOR = 20,
    MAX_MEMBERS = 200000,
    MAX_NAME = 4096,
    /* PyTorch's code members shrink to a tenth; a run of zeros shrinks to a thousandth. */
    MAX_RATIO = 200,
    RATIO_FROM = 1 << 20,
};

static uint32_t le16(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}
static uint32_t le32(const unsigned char *p)
{
    return le16(p) | le16(p + 2) << 16;
}
static uint64_t le64(const unsigned char *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static bool damaged(struct bpu_error *err, uint64_t at, const char *fmt, ...) BPU_PRINTF(3, 4);
static bool damaged(struct bpu_error *err, uint64_t at, const char *fmt, ...)
{
    char where[64];
    va_list ap;
    snprintf(where, sizeof where, "byte %" PRIu64, at);
    va_start(ap, fmt);
    error_vset(err, BPU_BAD_MODEL, where, fmt, ap);
    va_end(ap);
    return error_hint(err,
                      "The zip archive is damaged or was cut short; save or download it again.");
}

static bool member_bad(struct bpu_error *err, enum bpu_code code, const char *name, const char *fmt,
                       ...) BPU_PRINTF(4, 5);
static bool member_bad(struct bpu_error *err, enum bpu_code code, const char *name, const char *fmt,
                       ...)
{
    char where[200];
    va_list ap;
    snprintf(where, sizeof where, "member \"%.150s\"", name);
    va_start(ap, fmt);
    error_vset(err, code, where, fmt, ap);
    va_end(ap);
    return false;
}

/* ── the directory ── */

struct directory {
    uint64_t offset, size, count;
};

static bool read_end64(const struct archive *z, size_t end, struct directory *d,
                       struct bpu_error *err)
{
    const unsigned char *p = z->data;
    if (end < END64_LOCATOR || memcmp(p + end - END64_LOCATOR, "PK\x06\x07", 4) != 0)
        return damaged(err, end, "the zip64 end of the archive is missing");
    uint64_t at = le64(p + end - END64_LOCATOR + 8);
    if (at > z->size || z->size - at < END64_RECORD || memcmp(p + at, "PK\x06\x06", 4) != 0)
        return damaged(err, end - END64_LOCATOR,
                       "the zip64 end record is not where it is said to be");
    d->count = le64(p + at + 32);
    d->size = le64(p + at + 40);
    d->offset = le64(p + at + 48);
    return true;
}

/* The end record stands last, behind it at most a comment of 64 KiB. */
static bool read_end(const struct archive *z, struct directory *d, struct bpu_error *err)
{
    const unsigned char *p = z->data;
    if (z->size < END_RECORD)
        return damaged(err, 0, "the file is a zip archive of only %zu bytes", z->size);
    size_t lowest = z->size > END_RECORD + 65535 ? z->size - END_RECORD - 65535 : 0;
    for (size_t at = z->size - END_RECORD + 1; at-- > lowest;) {
        if (memcmp(p + at, "PK\x05\x06", 4) != 0 || at + END_RECORD + le16(p + at + 20) > z->size)
            continue;
        *d = (struct directory){le32(p + at + 16), le32(p + at + 12), le16(p + at + 10)};
        if ((d->offset == UINT32_MAX || d->size == UINT32_MAX || d->count == UINT16_MAX) &&
            !read_end64(z, at, d, err))
            return false;
        if (d->offset > at || d->size > at - d->offset)
            return damaged(err, at,
                           "the archive's directory of %" PRIu64 " bytes at byte %" PRIu64
                           " lies outside the file",
                           d->size, d->offset);
        return true;
    }
    return damaged(err, z->size,
                   "the file begins like a zip archive, but its directory, which "
                   "stands at the end, is missing");
}

/* Sizes and offset that do not fit 32 bits stand in the extra field. */
static bool read_extra(const unsigned char *p, size_t n, struct archive_member *m)
{
    uint64_t *wide[3] = {&m->size, &m->packed, &m->header};
    for (size_t i = 0; i + 4 <= n;) {
        size_t id = le16(p + i), length = le16(p + i + 2), at = i + 4;
        if (length > n - at)
            return false;
        if (id == 1)
            for (int k = 0; k < 3; k++) {
                if (*wide[k] != UINT32_MAX)
                    continue;
                if (at + 8 > i + 4 + length)
                    return false;
                *wide[k] = le64(p + at);
                at += 8;
            }
        i += 4 + length;
    }
    return true;
}

static bool name_is_sane(const char *name, size_t length)
{
    if (length == 0 || length > MAX_NAME || memchr(name, 0, length) || name[0] == '/' ||
        memchr(name, '\\', length))
        return false;
    for (const char *part = name; part;) {
        const char *slash = memchr(part, '/', (size_t)(name + length - part));
        size_t n = slash ? (size_t)(slash - part) : (size_t)(name + length - part);
        if (n == 2 && part[0] == '.' && part[1] == '.')
            return false;
        part = slash ? slash + 1 : NULL;
    }
    return true;
}

static bool check_member(const struct archive *z, const struct archive_member *m, unsigned flags,
                         struct bpu_error *err)
{
    if (flags & 1)
        return member_bad(err, BPU_UNSUPPORTED, m->name, "the member \"%.150s\" is encrypted",
                          m->name);
    if (m->method != 0 && m->method != 8)
        return member_bad(err, BPU_UNSUPPORTED, m->name,
                          "the member \"%.150s\" is packed by method %u; stored and deflated ones "
                          "are read",
                          m->name, m->method);
    if (m->header > z->directory || z->directory - m->header < LOCAL_HEADER ||
        m->packed > z->directory - m->header - LOCAL_HEADER)
        return member_bad(err, BPU_BAD_MODEL, m->name,
                          "the member \"%.150s\" (%" PRIu64 " bytes at byte %" PRIu64
                          ") does not lie within the archive",
                          m->name, m->packed, m->header);
    if (m->method == 0 && m->size != m->packed)
        return member_bad(err, BPU_BAD_MODEL, m->name,
                          "the stored member \"%.150s\" has two sizes: %" PRIu64 " and %" PRIu64,
                          m->name, m->size, m->packed);
    if (m->size > RATIO_FROM && m->size / MAX_RATIO > m->packed) {
        member_bad(err, BPU_LIMIT, m->name,
                   "the member \"%.150s\" would unpack from %" PRIu64 " to %" PRIu64
                   " bytes, more than %d-fold",
                   m->name, m->packed, m->size, MAX_RATIO);
        return error_hint(err, "No network's code or weights pack so well: this is a zip bomb.");
    }
    return true;
}

static bool read_directory(struct archive *z, const struct directory *d, struct bpu_error *err)
{
    const unsigned char *p = z->data + d->offset;
    size_t at = 0, n = (size_t)d->size;
    if (d->count == 0)
        return damaged(err, d->offset, "the zip archive is empty");
    if (d->count > MAX_MEMBERS || d->count > n / DIRECTORY_ENTRY)
        return error_set(err, BPU_LIMIT, "archive directory",
                         "the archive claims %" PRIu64 " members; at most %d are read, and its "
                         "directory of %zu bytes has room for %zu",
                         d->count, MAX_MEMBERS, n, n / DIRECTORY_ENTRY);
    z->members = ARENA_ARRAY(z->arena, struct archive_member, d->count, err);
    if (!z->members)
        return false;
    for (uint64_t i = 0; i < d->count; i++) {
        uint64_t here = d->offset + at;
        if (n - at < DIRECTORY_ENTRY || memcmp(p + at, "PK\x01\x02", 4) != 0)
            return damaged(err, here, "entry %" PRIu64 " of the archive's directory is damaged", i);
        const unsigned char *e = p + at;
        size_t name = le16(e + 28), extra = le16(e + 30), comment = le16(e + 32);
        if (name + extra + comment > n - at - DIRECTORY_ENTRY)
            return damaged(err, here, "entry %" PRIu64 " of the archive's directory is cut short",
                           i);
        if (!name_is_sane((const char *)e + DIRECTORY_ENTRY, name))
            return damaged(err, here + DIRECTORY_ENTRY,
                           "the name of member %" PRIu64 " is empty, absolute, leads out of its "
                           "folder or holds a zero byte",
                           i);
        struct archive_member *m = &z->members[z->count++];
        *m = (struct archive_member){
            .name = arena_strndup(z->arena, (const char *)e + DIRECTORY_ENTRY, name, err),
            .size = le32(e + 24),
            .packed = le32(e + 20),
            .header = le32(e + 42),
            .crc = le32(e + 16),
            .method = (uint16_t)le16(e + 10),
            .index = (size_t)i};
        if (!m->name)
            return false;
        if (!read_extra(e + DIRECTORY_ENTRY + name, extra, m))
            return damaged(err, here, "the extra field of member \"%.150s\" is damaged", m->name);
        if (!check_member(z, m, le16(e + 8), err))
            return false;
        at += DIRECTORY_ENTRY + name + extra + comment;
    }
    return true;
}

static int by_header(const void *a, const void *b)
{
    const struct archive_member *x = *(const struct archive_member *const *)a;
    const struct archive_member *y = *(const struct archive_member *const *)b;
    return x->header < y->header ? -1 : x->header > y->header;
}

/* Members that share bytes make a small file unpack to a huge one. */
static bool check_overlap(struct archive *z, struct bpu_error *err)
{
    struct arena_mark mark = arena_mark(z->arena);
    const struct archive_member **sorted =
        ARENA_ARRAY(z->arena, const struct archive_member *, z->count, err);
    if (!sorted)
        return false;
    for (size_t i = 0; i < z->count; i++)
        sorted[i] = &z->members[i];
    qsort(sorted, z->count, sizeof *sorted, by_header);
    bool ok = true;
    for (size_t i = 1; i < z->count && ok; i++) {
        const struct archive_member *a = sorted[i - 1], *b = sorted[i];
        if (b->header - a->header < LOCAL_HEADER + a->packed)
            ok = member_bad(err, BPU_BAD_MODEL, b->name,
                            "the members \"%.150s\" and \"%.150s\" overlap", a->name, b->name);
    }
    arena_rewind(z->arena, mark);
    return ok;
}

static bool index_names(struct archive *z, struct bpu_error *err)
{
    if (z->count == 0)
        return damaged(err, z->directory, "the zip archive is empty");
    const char *slash = strchr(z->members[0].name, '/');
    z->root = slash ? (size_t)(slash - z->members[0].name) + 1 : 0;
    for (size_t i = 1; i < z->count && z->root; i++)
        if (strncmp(z->members[i].name, z->members[0].name, z->root) != 0)
            z->root = 0;
    z->names = name_table_new(z->arena, err);
    if (!z->names)
        return false;
    for (size_t i = 0; i < z->count; i++) {
        const char *name = z->members[i].name + z->root;
        if (name_table_find(z->names, name))
            return member_bad(err, BPU_BAD_MODEL, z->members[i].name,
                              "two members of the archive are named \"%.150s\"",
                              z->members[i].name);
        if (!name_table_put(z->names, name, &z->members[i], err))
            return false;
    }
    return true;
}

struct archive *archive_open(struct arena *a, const unsigned char *data, size_t size,
                             struct bpu_error *err)
{
    struct archive *z = ARENA_NEW(a, struct archive, err);
    struct directory d = {0};
    if (!z)
        return NULL;
    *z = (struct archive){.arena = a, .data = data, .size = size};
    if (!read_end(z, &d, err))
        return NULL;
    z->directory = d.offset;
    return read_directory(z, &d, err) && check_overlap(z, err) && index_names(z, err) ? z : NULL;
}

const struct archive_member *archive_find(const struct archive *z, const char *name)
{
    return name_table_find(z->names, name);
}

const char *archive_name(const struct archive *z, const struct archive_member *m)
{
    return m->name + z->root;
}

/* ── bytes ── */

/* Where the packed bytes begin: behind the local header, whose name and extra field have lengths of
 * their own. */
static const unsigned char *packed_bytes(const struct archive *z, const struct archive_member *m,
                                         struct bpu_error *err)
{
    const unsigned char *h = z->data + m->header;
    if (memcmp(h, "PK\x03\x04", 4) != 0) {
        member_bad(err, BPU_BAD_MODEL, m->name,
                   "the member \"%.150s\" has no header at byte %" PRIu64, m->name, m->header);
        return NULL;
    }
    uint64_t name = le16(h + 26), extra = le16(h + 28);
    if (LOCAL_HEADER + name + extra + m->packed > z->directory - m->header) {
        member_bad(err, BPU_BAD_MODEL, m->name,
                   "the member \"%.150s\" at byte %" PRIu64 " runs into the archive's directory",
                   m->name, m->header);
        return NULL;
    }
    if (name != strlen(m->name) || memcmp(h + LOCAL_HEADER, m->name, name) != 0 ||
        le16(h + 8) != m->method) {
        member_bad(err, BPU_BAD_MODEL, m->name,
                   "the header of member \"%.150s\" at byte %" PRIu64 " does not agree with the "
                   "archive's directory",
                   m->name, m->header);
        return NULL;
    }
    return h + LOCAL_HEADER + name + extra;
}

static void close_zip(void *zip)
{
    zip_discard(zip);
}

/* libzip says nothing at all where its smallest allocations fail. */
static enum bpu_code zip_code(zip_error_t *e)
{
    enum { Z_MEM = -4 }; /* Z_MEM_ERROR of zlib */
    int code = zip_error_code_zip(e);
    bool memory = code == ZIP_ER_MEMORY || code == ZIP_ER_OK ||
                  (code == ZIP_ER_ZLIB && zip_error_code_system(e) == Z_MEM);
    return memory ? BPU_NO_MEMORY : BPU_BAD_MODEL;
}

static bool open_zip(struct archive *z, struct bpu_error *err)
{
    zip_error_t ze;
    zip_error_init(&ze);
    zip_source_t *source = zip_source_buffer_create(z->data, z->size, 0, &ze);
    z->zip = source ? zip_open_from_source(source, ZIP_RDONLY, &ze) : NULL;
    if (!z->zip) {
        error_set(err, zip_code(&ze), "archive directory", "the zip archive cannot be opened: %s",
                  zip_error_code_zip(&ze) == ZIP_ER_OK ? "there is not enough memory"
                                                       : zip_error_strerror(&ze));
        if (source)
            zip_source_free(source);
        zip_error_fini(&ze);
        return false;
    }
    zip_error_fini(&ze);
    if (!arena_on_fini(z->arena, close_zip, z->zip, err)) {
        zip_discard(z->zip);
        z->zip = NULL;
        return false;
    }
    return true;
}

static unsigned char *inflate_member(struct archive *z, const struct archive_member *m,
                                     struct bpu_error *err)
{
    if (!z->zip && !open_zip(z, err))
        return NULL;
    unsigned char *out = arena_alloc(z->arena, m->size + 1, err);
    if (!out)
        return NULL;
    struct zip_file *f = zip_fopen_index(z->zip, m->index, 0);
    uint64_t got = 0;
    zip_int64_t n = f ? 1 : -1;
    while (f && n > 0 && got <= m->size) {
        /* One byte more than expected: libzip checks length and CRC only at the very end. */
        n = zip_fread(f, out + got, m->size + 1 - got);
        if (n > 0)
            got += (uint64_t)n;
    }
    bool sum = m->size > 0 || m->crc == 0; /* of nothing, which libzip does not look at */
    if (n < 0 || got != m->size || !sum) {
        enum bpu_code code =
            n < 0 ? zip_code(f ? zip_file_get_error(f) : zip_get_error(z->zip)) : BPU_BAD_MODEL;
        member_bad(err, code, m->name, "the member \"%.150s\" cannot be unpacked: %s", m->name,
                   n < 0 ? (f ? zip_file_strerror(f) : zip_strerror(z->zip))
                   : sum ? "its length is not the one that the directory gives"
                         : "its checksum is not the one that the directory gives");
        if (code == BPU_BAD_MODEL)
            error_hint(err, "The zip archive is damaged; save or download it again.");
        out = NULL;
    }
    if (f)
        zip_fclose(f);
    return out;
}

const unsigned char *archive_bytes(struct archive *z, const struct archive_member *m, bool checked,
                                   struct bpu_error *err)
{
    const unsigned char *p = packed_bytes(z, m, err);
    if (!p || m->method != 0)
        return p ? inflate_member(z, m, err) : NULL;
    if (checked && zip_writer_crc(p, (size_t)m->size) != m->crc) {
        member_bad(err, BPU_BAD_MODEL, m->name,
                   "the bytes of member \"%.150s\" do not have the checksum that the archive gives",
                   m->name);
        error_hint(err, "The file was damaged after it was saved; save or download it again.");
        return NULL;
    }
    return p;
}
