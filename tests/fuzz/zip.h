/* zip: builds zip archives of stored members, for targets and mutators. */
#ifndef BPU_FUZZ_ZIP_H
#define BPU_FUZZ_ZIP_H

#include <stddef.h>
#include <stdint.h>

struct zip_part {
    const char *name; /* with its folder: "fuzz/data.pkl" */
    const void *data;
    size_t size;
};

uint32_t zip_crc(const unsigned char *p, size_t n);
/* How many bytes zip_store() makes. */
size_t zip_store_size(const struct zip_part *parts, size_t count);
/* The archive, with right checksums, in memory of malloc; its size in *size. NULL without memory.
 */
unsigned char *zip_store(const struct zip_part *parts, size_t count, size_t *size);

#endif
