/* zip_write: zip archives of stored members, the same to the byte for the same content. */
#ifndef BPU_BASE_ZIP_WRITE_H
#define BPU_BASE_ZIP_WRITE_H

#include "core/base/buf.h"

/* Members are appended to `out` one after the other:
 *   zip_writer_begin(&w, "name", 64); buf_add(w.out, …) …; zip_writer_end(&w);
 * A failure is kept until zip_writer_finish(). No dates, no permissions, no compression. */
struct zip_writer {
    struct buf *out;
    struct buf directory;
    size_t start;  /* of the archive in out */
    size_t header; /* of the member that is being written */
    unsigned count;
    const char *name;
    bool too_large; /* for offsets of 32 bits */
};

void zip_writer_init(struct zip_writer *w, struct buf *out);
/* The member's bytes will begin at a multiple of `align` (1, 2, 4 … 4096) from the start of the
 * archive. name stays valid until the member's end. */
void zip_writer_begin(struct zip_writer *w, const char *name, size_t align);
void zip_writer_end(struct zip_writer *w);
/* The directory. False: memory, or more than 4 GiB or 65535 members (BPU_LIMIT). */
bool zip_writer_finish(struct zip_writer *w, struct bpu_error *err) BPU_CHECKED;
/* The CRC-32 of zip. */
uint32_t zip_writer_crc(const unsigned char *p, size_t n);
/* Frees what the writer holds, not `out`. */
void zip_writer_fini(struct zip_writer *w);

#endif
