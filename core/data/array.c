/* Arrays, whatever file they come from. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/data/data.h"
#include "core/ops/fold.h"

/* ── reading ── */

bool array_take(struct arena *a, const unsigned char *from, size_t size, bool big_endian,
                bool fortran, struct array *out, struct bpu_error *err)
{
    int64_t n = shape_elements(&out->shape);
    size_t each = dtype_size(out->dtype);
    char text[SHAPE_TEXT_MAX];
    if (n < 0 || !checked_size_mul((size_t)n, each, &out->bytes))
        return error_set(err, BPU_BAD_MODEL, NULL, "the shape %s is beyond all limits",
                         shape_text(&out->shape, text));
    if (size != out->bytes) {
        error_set(err, BPU_BAD_MODEL, NULL, "%s of shape %s takes %zu bytes, but there are %zu",
                  dtype_name(out->dtype), shape_text(&out->shape, text), out->bytes, size);
        return error_hint(err, "The file is damaged, was cut short, or holds more than one array.");
    }
    out->data = from;
    big_endian = big_endian && each > 1;
    fortran = fortran && out->shape.rank > 1 && n > 1;
    if (!big_endian && !fortran)
        return true;
    unsigned char *p = arena_alloc(a, size, err);
    if (!p)
        return false;
    if (fortran) { /* the first axis runs fastest */
        int64_t stride[SHAPE_MAX_RANK], step = 1;
        for (int i = 0; i < out->shape.rank; i++) {
            stride[i] = step;
            step *= out->shape.dim[i];
        }
        fold_copy(p, from, each, out->shape.rank, out->shape.dim, stride, 0);
    } else if (size)
        memcpy(p, from, size);
    for (size_t i = 0; big_endian && i < size; i += each)
        for (size_t k = 0; k < each / 2; k++) {
            unsigned char low = p[i + k];
            p[i + k] = p[i + each - 1 - k];
            p[i + each - 1 - k] = low;
        }
    out->data = p;
    return true;
}

static bool starts(const unsigned char *p, size_t size, const char *magic, size_t n)
{
    return size >= n && memcmp(p, magic, n) == 0;
}

static bool unknown(const unsigned char *p, size_t size, struct bpu_error *err)
{
    static const char accepted[] = "Accepted are .npy and .npz of NumPy and IDX files, unpacked.";
    if (size == 0)
        error_set(err, BPU_BAD_MODEL, "byte 0", "the file of arrays is empty");
    else if (starts(p, size, "\x1f\x8b", 2)) {
        error_set(err, BPU_BAD_MODEL, "byte 0", "the file is packed with gzip");
        return error_hint(err, "Unpack it first: gunzip FILE.gz");
    } else if (starts(p, size, "\x80", 1))
        error_set(err, BPU_BAD_MODEL, "byte 0", "the file is a Python pickle, not an array");
    else
        error_set(err, BPU_BAD_MODEL, "byte 0",
                  "the file begins with %02x %02x, which is no known format of arrays", p[0],
                  size > 1 ? p[1] : 0u);
    return error_hint(err, "%s", accepted);
}

bool array_file_read(struct arena *a, const void *data, size_t size, struct array_file *out,
                     struct bpu_error *err)
{
    const unsigned char *p = data;
    *out = (struct array_file){0};
    if (starts(p, size, "PK", 2))
        return npz_read(a, p, size, out, err);
    bool npy = starts(p, size, "\x93NUMPY", 6);
    if (!npy && !idx_looks_like(p, size))
        return unknown(p, size, err);
    out->items = ARENA_NEW(a, struct array, err);
    out->count = 1;
    return out->items && (npy ? npy_read(a, p, size, NULL, out->items, err)
                              : idx_read(a, p, size, out->items, err));
}

/* ── using ── */

static void list_names(const struct array_file *f, char *out, size_t n)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < f->count && used < n; i++) {
        int k = snprintf(out + used, n - used, "%s%.60s", i ? ", " : "",
                         f->items[i].name ? f->items[i].name : "");
        used += k > 0 ? (size_t)k : 0;
    }
}

const struct array *array_find(const struct array_file *f, const char *name, struct bpu_error *err)
{
    char names[300];
    if (!name && f->count == 1)
        return f->items;
    for (size_t i = 0; name && i < f->count; i++)
        if (f->items[i].name && strcmp(f->items[i].name, name) == 0)
            return &f->items[i];
    list_names(f, names, sizeof names);
    if (!name) {
        error_set(err, BPU_BAD_MODEL, NULL, "the file holds %zu arrays; say which one", f->count);
        error_hint(err, "They are: %s. Write FILE.npz:NAME.", names);
    } else if (f->count == 1 && !f->items[0].name) {
        error_set(err, BPU_BAD_MODEL, NULL,
                  "the file holds one array without a name, not \"%.100s\"", name);
        error_hint(err, "Only the arrays of an .npz have names.");
    } else {
        error_set(err, BPU_BAD_MODEL, NULL, "the file holds no array \"%.100s\"", name);
        error_hint(err, "There are: %s.", names);
    }
    return NULL;
}

bool array_floats(const struct array *in, int64_t from, int64_t count, float *out,
                  struct bpu_error *err)
{
    int64_t n = shape_elements(&in->shape);
    if (from < 0 || count < 0 || from > n || count > n - from)
        return error_set(err, BPU_BAD_MODEL, in->name,
                         "elements %lld to %lld are wanted of an array of %lld", (long long)from,
                         (long long)from + count, (long long)n);
    size_t each = dtype_size(in->dtype);
    const unsigned char *p = (const unsigned char *)in->data + (size_t)from * each;
    if (in->dtype == DT_FLOAT32) {
        if (count)
            memcpy(out, p, (size_t)count * sizeof *out);
    } else if (in->dtype == DT_UINT8)
        for (int64_t i = 0; i < count; i++)
            out[i] = (float)p[i];
    else
        for (int64_t i = 0; i < count; i++)
            out[i] = (float)fold_load_real(p + (size_t)i * each, in->dtype);
    return true;
}
