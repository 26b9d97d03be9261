/* data: arrays from and to the files that people have: .npy, .npz and IDX (MNIST).
 *
 * Reading takes bytes in memory, which are untrusted like any upload; arrays point into them where
 * they lie row-major and little-endian, and are converted in the arena otherwise. */
#ifndef BPU_DATA_H
#define BPU_DATA_H

#include "core/base/buf.h"
#include "core/ir/graph.h"

struct array {
    const char *name; /* member of an .npz without ".npy"; NULL for .npy and IDX */
    struct shape shape;
    enum dtype dtype; /* a plain type: float32, int8, uint8, int64, bool … */
    const void *data; /* row-major, little endian, not aligned */
    size_t bytes;
};

struct array_file {
    struct array *items;
    size_t count;
};

/* All arrays of a file, recognised by its content. Errors name member and byte. */
bool array_file_read(struct arena *a, const void *data, size_t size, struct array_file *out,
                     struct bpu_error *err) BPU_CHECKED;
/* By name; the only one if name is NULL (BPU_BAD_MODEL with the list of names otherwise). */
const struct array *array_find(const struct array_file *f, const char *name, struct bpu_error *err)
    BPU_CHECKED;
/* Elements i .. i+count-1 as float32, whatever the type is (uint8 of images as 0 … 255). */
bool array_floats(const struct array *in, int64_t from, int64_t count, float *out,
                  struct bpu_error *err) BPU_CHECKED;

/* Writing. The .npz is a stored zip, deterministic to the byte. */
bool npy_write(const struct array *in, struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool npz_write(const struct array *items, size_t count, struct buf *out, struct bpu_error *err)
    BPU_CHECKED;

#endif
