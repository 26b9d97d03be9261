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

/* "npz", "npy", "idx", or NULL when a file that begins with these n bytes is no data file: an archive
 * whose first member is no array is none. */
const char *array_file_detect(const void *head, size_t n);
/* All arrays of a file, recognised by its content. Errors name member and byte. */
bool array_file_read(struct arena *a, const void *data, size_t size, struct array_file *out,
                     struct bpu_error *err) BPU_CHECKED;
/* By name; the only one if name is NULL (BPU_BAD_MODEL with the list of names otherwise). */
const struct array *array_find(const struct array_file *f, const char *name,
                               struct bpu_error *err) BPU_CHECKED;
/* Elements i .. i+count-1 as float32, whatever the type is (uint8 of images as 0 … 255). */
bool array_floats(const struct array *in, int64_t from, int64_t count, float *out,
                  struct bpu_error *err) BPU_CHECKED;

/* Writing. Quantized types are written as the integers that they store; bfloat16 is refused, since
 * NumPy has no such type.  The .npz is a stored zip, deterministic to the byte. */
bool npy_write(const struct array *in, struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool npz_write(const struct array *items, size_t count, struct buf *out,
               struct bpu_error *err) BPU_CHECKED;

/* ── the readers, one per kind of file (called by array_file_read) ── */

/* member: name of the file in an archive, or NULL; for messages. */
bool npy_read(struct arena *a, const unsigned char *data, size_t size, const char *member,
              struct array *out, struct bpu_error *err) BPU_CHECKED;
bool npz_read(struct arena *a, const unsigned char *data, size_t size, struct array_file *out,
              struct bpu_error *err) BPU_CHECKED;
bool idx_looks_like(const unsigned char *data, size_t size);
bool idx_read(struct arena *a, const unsigned char *data, size_t size, struct array *out,
              struct bpu_error *err) BPU_CHECKED;
/* Fills out->data and bytes from the `size` bytes at `from`, which must be exactly those of
 * out->shape and dtype: in place if they are little endian and row-major, else converted. */
bool array_take(struct arena *a, const unsigned char *from, size_t size, bool big_endian,
                bool fortran, struct array *out, struct bpu_error *err) BPU_CHECKED;

#endif
