/* IDX: the format of the MNIST files.
 *
 *   0 0 TYPE RANK, RANK extents of 4 bytes, the elements; all of it big endian */
#include <stdio.h>

#include "core/data/data.h"

static enum dtype type_of(unsigned char code)
{
    switch (code) {
    case 0x08: return DT_UINT8;
    case 0x09: return DT_INT8;
    case 0x0B: return DT_INT16;
    case 0x0C: return DT_INT32;
    case 0x0D: return DT_FLOAT32;
    case 0x0E: return DT_FLOAT64;
    default: return DT_UNKNOWN;
    }
}

bool idx_looks_like(const unsigned char *data, size_t size)
{
    return size >= 4 && data[0] == 0 && data[1] == 0 && type_of(data[2]) != DT_UNKNOWN &&
           data[3] >= 1;
}

bool idx_read(struct arena *a, const unsigned char *data, size_t size, struct array *out,
              struct bpu_error *err)
{
    int rank = data[3];
    if (rank > SHAPE_MAX_RANK)
        return error_set(err, BPU_BAD_MODEL, "byte 3",
                         "the IDX file has %d axes; at most %d are read", rank, SHAPE_MAX_RANK);
    size_t head = 4 + 4 * (size_t)rank;
    if (size < head)
        return error_set(err, BPU_BAD_MODEL, "byte 4",
                         "the IDX file of %zu bytes ends within its %d extents", size, rank);
    *out = (struct array){.dtype = type_of(data[2])};
    out->shape.rank = rank;
    for (int i = 0; i < rank; i++) {
        const unsigned char *p = data + 4 + 4 * i;
        out->shape.dim[i] = (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | p[2] << 8 | p[3];
    }
    if (array_take(a, data + head, size - head, true, false, out, err))
        return true;
    return error_where(err, "byte %zu", head);
}
