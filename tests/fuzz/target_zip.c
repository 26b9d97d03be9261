/* Zip archives: bytes → directory → every member unpacked.
 *
 * What the reader hands out must lie within the file or the quota, be found under its name, and
 * have the checksum that the directory gives. */
#include <string.h>

#include "core/base/archive.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip.h"

static void zip_member(struct archive *z, const struct archive_member *m)
{
    struct bpu_error err = {0};
    FUZZ_REQUIRE(archive_find(z, archive_name(z, m)) == m, "%s is not found", m->name);
    const unsigned char *p = archive_bytes(z, m, true, &err);
    fuzz_arena(z->arena);
    if (!p) {
        fuzz_error(&err, "a member");
        return;
    }
    if (m->method == 0)
        FUZZ_REQUIRE(p >= z->data && p + m->size <= z->data + z->directory,
                     "%s lies outside the archive", m->name);
    /* The sanitizer sees that each byte may be read. */
    FUZZ_REQUIRE(zip_crc(p, (size_t)m->size) == m->crc, "%s: another checksum", m->name);
    memset(&err, 0, sizeof err);
    const unsigned char *again = archive_bytes(z, m, true, &err);
    if (again)
        FUZZ_REQUIRE(memcmp(p, again, (size_t)m->size) == 0, "%s changes", m->name);
    else
        fuzz_limit(&err, "a member read again");
}

FUZZ_TARGET(zip)
{
    struct arena arena;
    struct bpu_error err = {0};
    arena_init(&arena, FUZZ_QUOTA);
    struct archive *z = archive_open(&arena, data, size, &err);
    fuzz_arena(&arena);
    if (!z)
        fuzz_error(&err, "the archive");
    for (size_t i = 0; z && i < z->count; i++)
        zip_member(z, &z->members[i]);
    arena_fini(&arena);
    return 0;
}
