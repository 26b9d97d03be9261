/* Pickles: bytes → values, every one of which is then walked and every tensor read.
 *
 * The first byte chooses how they are read: as the data of a network with storages beside it, or as
 * a file that is refused anyway (torch.save) and must be named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/import/import.h"
#include "core/import/pickle.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip.h"

enum { PICKLE_VALUES = 20000, PICKLE_DEPTH = 200 };

/* A storage of small numbers, all of which are sane as any type. */
static const unsigned char pickle_storage_bytes[512] = {0, 0, 128, 63, 0, 0, 0, 64, 1, 2, 3};

static unsigned char *pickle_archive(const uint8_t *data, size_t size, size_t *zip_size)
{
    const struct zip_part parts[] = {
        {"fuzz/data.pkl", data, size},
        {"fuzz/data/0", pickle_storage_bytes, sizeof pickle_storage_bytes},
        {"fuzz/data/1", pickle_storage_bytes, 8},
        {"fuzz/data/2", "", 0},
        {"fuzz/version", "3\n", 2},
    };
    return zip_store(parts, sizeof parts / sizeof *parts, zip_size);
}

static void pickle_walk_tensor(struct arena *a, const struct pickle_tensor *t)
{
    struct bpu_error err = {0};
    int64_t count = shape_elements(&t->shape);
    FUZZ_REQUIRE(count >= 0, "a tensor of uncountable elements");
    double r;
    for (int64_t i = 0; i < count && i < 100; i++)
        (void)pickle_tensor_real(t, i, &r);
    if (count > 0)
        (void)pickle_tensor_real(t, count - 1, &r);
    struct arena_mark mark = arena_mark(a);
    const unsigned char *p = pickle_tensor_bytes(a, t, &err);
    if (p)
        (void)zip_crc(p, (size_t)count * dtype_size(t->dtype));
    else
        fuzz_limit(&err, "the bytes of a tensor");
    arena_rewind(a, mark);
    for (int i = 0; i < t->quant.count; i++)
        FUZZ_REQUIRE(t->quant.scale[i] > 0, "scale %d is %g", i, t->quant.scale[i]);
}

/* Values may be shared and may contain themselves; *left bounds both. */
static void pickle_walk(struct arena *a, const struct py_value *v, bool named, int depth, int *left)
{
    FUZZ_REQUIRE(v && v->kind < PY_MARK && py_kind_name(v->kind), "a value of no kind");
    if (depth > PICKLE_DEPTH || --*left < 0)
        return;
    if (v->kind == PY_STRING || v->kind == PY_OBJECT || v->kind == PY_GLOBAL)
        FUZZ_REQUIRE(v->text, "%s without its text", py_kind_name(v->kind));
    if (v->kind == PY_DICT)
        FUZZ_REQUIRE(v->count % 2 == 0, "a dict of %zu keys and values", v->count);
    if (v->kind == PY_TENSOR && !named) {
        FUZZ_REQUIRE(v->tensor, "a tensor of nothing");
        pickle_walk_tensor(a, v->tensor);
    }
    for (size_t i = 0; i < v->count; i++)
        pickle_walk(a, v->items[i], named, depth + 1, left);
    if (v->kind == PY_OBJECT && v->state)
        pickle_walk(a, v->state, named, depth + 1, left);
}

FUZZ_TARGET(pickle)
{
    struct arena arena;
    struct bpu_error err = {0};
    size_t zip_size;
    bool named = size && data[0] & 1;
    unsigned char *zip = pickle_archive(data + (size > 0), size - (size > 0), &zip_size);
    if (!zip)
        return 0;
    arena_init(&arena, FUZZ_QUOTA);
    struct archive *z = archive_open(&arena, zip, zip_size, &err);
    FUZZ_REQUIRE(z, "%s (%s)", err.message, err.where);
    const struct pickle_source src = {&arena, z, archive_find(z, "data.pkl"), "data/", named};
    struct py_value *v = pickle_read(&src, &err);
    fuzz_arena(&arena);
    int left = PICKLE_VALUES;
    if (v)
        pickle_walk(&arena, v, named, 0, &left);
    else
        fuzz_error(&err, "the pickle");
    if (getenv("FUZZ_SHOW"))
        fprintf(stderr, "%s (%s)\n", v ? py_kind_name(v->kind) : err.message, err.where);
    if (named) { /* what the user is told */
        struct import_request req = {.data = zip, .size = zip_size, .name = "fuzz.pt"};
        memset(&err, 0, sizeof err);
        FUZZ_REQUIRE(!import_torchscript(&arena, &req, &err), "weights are taken for a network");
        fuzz_error(&err, "the import");
    }
    arena_fini(&arena);
    free(zip);
    return 0;
}
