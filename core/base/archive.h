/* archive: a zip file in memory, as data to be distrusted.
 *
 * The central directory is read here (libzip does not tell where a member's bytes lie) and libzip
 * inflates. Stored members, which all weights are, are referenced where they lie in the file; what
 * is packed is unpacked into the arena on demand.  Sizes come from the central directory, since
 * PyTorch's local headers say 0. */
#ifndef BPU_BASE_ARCHIVE_H
#define BPU_BASE_ARCHIVE_H

#include "core/base/table.h"

struct zip;

struct archive_member {
    const char *name;              /* as the file has it, with its top folder */
    uint64_t size, packed, header; /* bytes unpacked and packed; offset of its local header */
    uint32_t crc;
    uint16_t method; /* 0 stored, 8 deflated */
    size_t index;    /* in the central directory */
};

struct archive {
    struct arena *arena;
    const unsigned char *data;
    size_t size;
    uint64_t directory; /* offset of the central directory: members end before it */
    struct archive_member *members;
    size_t count;
    size_t root;              /* length of the folder that all members share, "lenet_float/" */
    struct name_table *names; /* below that folder → member */
    struct zip *zip;
};

/* Opens and validates: bounds, names, duplicates, sizes, bombs. An error names the member. */
struct archive *archive_open(struct arena *a, const unsigned char *data, size_t size,
                             struct bpu_error *err) BPU_CHECKED;
/* By the name below the shared folder ("data.pkl"); NULL if there is none. */
const struct archive_member *archive_find(const struct archive *z, const char *name);
/* The member's name below the shared folder. */
const char *archive_name(const struct archive *z, const struct archive_member *m);
/* Its bytes, unpacked. They live as long as the arena and the file. checked: the CRC is verified
 * (packed members always are). */
const unsigned char *archive_bytes(struct archive *z, const struct archive_member *m, bool checked,
                                   struct bpu_error *err) BPU_CHECKED;

#endif
