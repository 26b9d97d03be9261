/* Array files: bytes → arrays → elements as reals → an .npz, which must hold the same arrays.
 *
 * The first byte chooses: the bytes as they are (even), or as a member of a whole .npz (odd), whose
 * checksums a mutation would only break. */
#include <stdlib.h>
#include <string.h>

#include "core/data/data.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip.h"

static void data_use(const struct array_file *f)
{
    struct bpu_error err = {0};
    struct arena arena;
    struct array_file again;
    struct buf out;
    buf_init(&out, FUZZ_QUOTA);
    arena_init(&arena, FUZZ_QUOTA);
    FUZZ_REQUIRE(f->count > 0, "a file without arrays was read");
    struct array *named = calloc(f->count, sizeof *named);
    for (size_t i = 0; named && i < f->count; i++) {
        const struct array *x = &f->items[i];
        int64_t n = shape_elements(&x->shape);
        FUZZ_REQUIRE(n >= 0 && (size_t)n * dtype_size(x->dtype) == x->bytes,
                     "bytes and shape differ");
        for (int64_t at = 0; at < n; at += 256) {
            float reals[256];
            int64_t k = n - at < 256 ? n - at : 256;
            FUZZ_REQUIRE(array_floats(x, at, k, reals, &err), "%s", err.message);
        }
        named[i] = *x;
        if (!x->name)
            named[i].name = "array";
    }
    if (named && npz_write(named, f->count, &out, &err)) {
        FUZZ_REQUIRE(array_file_read(&arena, out.data, out.size, &again, &err) ||
                         err.code == BPU_NO_MEMORY || strstr(err.message, "member"),
                     "what was written cannot be read: %s", err.message);
        for (size_t i = 0; err.code == BPU_NONE && i < f->count; i++) {
            const struct array *x = &named[i], *y = &again.items[i];
            FUZZ_REQUIRE(again.count == f->count && x->dtype == y->dtype && x->bytes == y->bytes &&
                             shape_equal(&x->shape, &y->shape) &&
                             (x->bytes == 0 || memcmp(x->data, y->data, x->bytes) == 0),
                         "array %zu changes", i);
        }
    }
    free(named);
    buf_fini(&out);
    arena_fini(&arena);
}

FUZZ_TARGET(data)
{
    struct arena arena;
    struct bpu_error err = {0};
    struct array_file f;
    unsigned char *zip = NULL;
    if (size < 1)
        return 0;
    bool packed = data[0] % 2;
    data++, size--;
    if (packed) {
        struct zip_part parts[] = {{"first.npy", data, size}, {"second.npy", data, size}};
        zip = zip_store(parts, 2, &size);
        if (!zip)
            return 0;
        data = zip;
    }
    arena_init(&arena, FUZZ_QUOTA);
    if (array_file_read(&arena, data, size, &f, &err))
        data_use(&f);
    else
        fuzz_error(&err, "the file of arrays");
    fuzz_arena(&arena);
    arena_fini(&arena);
    free(zip);
    return 0;
}
