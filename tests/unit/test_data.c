/* Array files: what NumPy writes is read, what we write is read back, damage is refused.
 *
 * tests/fixtures/data/make_data.py made the files; element i of each array of shape 2x3x4 is
 * i * 5 - 20 (floats: half of it; booleans: i is odd). */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/data/data.h"
#include "core/ops/fold.h"

#define FOLDER "tests/fixtures/data/"
#define QUOTA ((size_t)64 << 20)

/* The whole file, in memory of its exact size, so that sanitizers see what lies beyond. */
static unsigned char *slurp(const char *name, size_t *size)
{
    char path[200];
    snprintf(path, sizeof path, FOLDER "%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*size ? *size : 1);
    assert_non_null(p);
    assert_int_equal(fread(p, 1, *size, f), *size);
    fclose(f);
    return p;
}

static bool read_bytes(struct arena *a, const void *p, size_t n, struct array_file *f,
                       struct bpu_error *err)
{
    memset(err, 0, sizeof *err);
    return array_file_read(a, p, n, f, err);
}

static double expected(enum dtype t, int64_t i)
{
    int64_t v = i * 5 - 20;
    if (t == DT_BOOL)
        return i % 2;
    if (dtype_is_float(t))
        return (double)v / 2;
    switch (t) {
    case DT_UINT8: return (uint8_t)v;
    case DT_UINT16: return (uint16_t)v;
    case DT_UINT32: return (uint32_t)v;
    case DT_UINT64: return (double)(uint64_t)v;
    default: return (double)v;
    }
}

static void check_elements(const char *what, const struct array *x, int64_t count)
{
    assert_int_equal(shape_elements(&x->shape), count);
    assert_int_equal(x->bytes, (size_t)count * dtype_size(x->dtype));
    for (int64_t i = 0; i < count; i++) {
        const unsigned char *p = (const unsigned char *)x->data + (size_t)i * dtype_size(x->dtype);
        double got = fold_load_real(p, x->dtype), want = expected(x->dtype, i);
        if (x->dtype == DT_UINT64) /* a real cannot hold it */
            got = (double)(uint64_t)fold_load_int(p, x->dtype);
        if (got < want || got > want)
            fail_msg("%s: element %" PRId64 " is %g, not %g", what, i, got, want);
    }
}

static enum dtype type_named(const char *name)
{
    static const struct {
        const char *name;
        enum dtype t;
    } types[] = {{"f2", DT_FLOAT16}, {"f4", DT_FLOAT32}, {"f8", DT_FLOAT64}, {"i1", DT_INT8},
                 {"u1", DT_UINT8},   {"i2", DT_INT16},   {"u2", DT_UINT16},  {"i4", DT_INT32},
                 {"u4", DT_UINT32},  {"i8", DT_INT64},   {"u8", DT_UINT64},  {"b1", DT_BOOL}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(name, types[i].name, 2) == 0)
            return types[i].t;
    return DT_UNKNOWN;
}

static void numpy_archives(void **state)
{
    (void)state;
    static const char *const names[] = {"stored.npz", "deflated.npz"};
    for (size_t k = 0; k < 2; k++) {
        struct arena a;
        struct bpu_error err;
        struct array_file f;
        size_t size;
        unsigned char *p = slurp(names[k], &size);
        const int64_t dims[] = {2, 3, 4};
        struct shape shape = shape_of(3, dims);
        arena_init(&a, QUOTA);
        if (!read_bytes(&a, p, size, &f, &err))
            fail_msg("%s: %s: %s", names[k], err.where, err.message);
        assert_int_equal(f.count, 48);
        for (size_t i = 0; i < f.count; i++) {
            assert_int_equal(f.items[i].dtype, type_named(f.items[i].name));
            assert_true(shape_equal(&f.items[i].shape, &shape));
            check_elements(f.items[i].name, &f.items[i], 24);
        }
        /* Row-major, little-endian, stored: in place. */
        const struct array *x = array_find(&f, "f4_le_c", &err);
        assert_non_null(x);
        const unsigned char *d = x->data;
        assert_int_equal(k == 0, d > p && d + x->bytes <= p + size);
        assert_null(array_find(&f, "f4", &err));
        assert_non_null(strstr(err.message, "no array \"f4\""));
        assert_non_null(strstr(err.hint, "f2_le_c"));
        memset(&err, 0, sizeof err);
        assert_null(array_find(&f, NULL, &err));
        assert_non_null(strstr(err.message, "48 arrays"));
        arena_fini(&a);
        free(p);
    }
}

static void single_files(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum dtype t;
        int64_t count;
        const char *shape;
    } cases[] = {
        {"version1.npy", DT_FLOAT32, 24, "2x3x4"}, {"version2.npy", DT_FLOAT32, 24, "2x3x4"},
        {"version3.npy", DT_FLOAT32, 24, "2x3x4"}, {"scalar.npy", DT_FLOAT64, 1, "scalar"},
        {"vector.npy", DT_INT32, 24, "24"},        {"empty.npy", DT_FLOAT32, 0, "3x0x2"},
        {"u1.idx3", DT_UINT8, 24, "2x3x4"},        {"i1.idx3", DT_INT8, 24, "2x3x4"},
        {"i2.idx3", DT_INT16, 24, "2x3x4"},        {"i4.idx3", DT_INT32, 24, "2x3x4"},
        {"f4.idx3", DT_FLOAT32, 24, "2x3x4"},      {"f8.idx3", DT_FLOAT64, 24, "2x3x4"},
        {"labels.idx1", DT_UINT8, 24, "24"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct arena a;
        struct bpu_error err;
        struct array_file f;
        size_t size;
        char text[SHAPE_TEXT_MAX];
        unsigned char *p = slurp(cases[k].file, &size);
        arena_init(&a, QUOTA);
        if (!read_bytes(&a, p, size, &f, &err))
            fail_msg("%s: %s: %s", cases[k].file, err.where, err.message);
        assert_int_equal(f.count, 1);
        const struct array *x = array_find(&f, NULL, &err);
        assert_non_null(x);
        assert_int_equal(x->dtype, cases[k].t);
        assert_string_equal(shape_text(&x->shape, text), cases[k].shape);
        check_elements(cases[k].file, x, cases[k].count);
        float real[24];
        assert_true(array_floats(x, 0, cases[k].count, real, &err));
        for (int64_t i = 0; i < cases[k].count; i++)
            assert_true(fabs((double)real[i] - expected(x->dtype, i)) == 0);
        assert_false(array_floats(x, 1, cases[k].count, real, &err));
        assert_null(array_find(&f, "x", &err));
        arena_fini(&a);
        free(p);
    }
}

/* ── refusals ── */

static void expect_refusal(const char *what, const void *p, size_t n, enum bpu_code code,
                           const char *message, const char *hint)
{
    struct arena a;
    struct bpu_error err;
    struct array_file f;
    arena_init(&a, QUOTA);
    if (read_bytes(&a, p, n, &f, &err))
        fail_msg("%s: was read", what);
    if (err.code != code || !strstr(err.message, message) || (hint && !strstr(err.hint, hint)))
        fail_msg("%s: got %s at \"%s\": %s [%s]", what, error_code_name(err.code), err.where,
                 err.message, err.hint);
    arena_fini(&a);
}

static void refused_files(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum bpu_code code;
        const char *message, *hint;
    } cases[] = {{"objects.npy", BPU_UNSUPPORTED, "type \"|O\"", "astype"},
                 {"records.npy", BPU_UNSUPPORTED, "records", "each field"},
                 {"complex.npy", BPU_UNSUPPORTED, "type \"<c8\"", "astype"},
                 {"text.npy", BPU_UNSUPPORTED, "type \"<U1\"", "astype"},
                 {"bomb.npz", BPU_LIMIT, "would unpack", "bomb"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        size_t size;
        unsigned char *p = slurp(cases[k].file, &size);
        expect_refusal(cases[k].file, p, size, cases[k].code, cases[k].message, cases[k].hint);
        free(p);
    }
    expect_refusal("gzip", "\x1f\x8b\x08", 3, BPU_BAD_MODEL, "gzip", "gunzip");
    expect_refusal("nothing", "", 0, BPU_BAD_MODEL, "empty", "Accepted");
    expect_refusal("text", "1,2,3\n", 6, BPU_BAD_MODEL, "begins with 31 2c", "Accepted");
    expect_refusal("pickle", "\x80\x04\x95", 3, BPU_BAD_MODEL, "pickle", "Accepted");
    expect_refusal("idx of 13 axes", "\0\0\x08\x0D\0\0\0\1", 8, BPU_BAD_MODEL, "13 axes", NULL);
    expect_refusal("idx cut", "\0\0\x08\x03\0\0\0\1", 8, BPU_BAD_MODEL, "within its 3", NULL);
    expect_refusal("idx short", "\0\0\x08\x01\0\0\0\5abcd", 12, BPU_BAD_MODEL, "takes 5 bytes",
                   "cut");
}

static void damaged_headers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "does not begin with {"},
        {"{'descr': '<f4'", "does not end with }"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "does not end with }"},
        {"{'descr': '<f4', 'fortran_order': False}", "lacks descr"},
        {"{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}", "twice"},
        {"{'descr': '<f4', 'order': False, 'shape': (1,)}", "unknown key"},
        {"{'descr': '<f4', 'fortran_order': None, 'shape': (1,)}", "not True or False"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 1}", "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", "number, not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "not a number"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,,)}", "not a number"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,2}", "shape does not end"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "too large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,4)}",
         "beyond all"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}", "beyond all"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1)}",
         "12 extents"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "follows"},
        {"{'descr': '<f4\\n', 'fortran_order': False, 'shape': (1,)}", "escapes"},
        {"{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}", "damaged"},
        {"{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}", "colon"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
         "takes 8 bytes, but there are 4"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}",
         "takes 0 bytes, but there are 4"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        size_t n = strlen(cases[k].text);
        unsigned char *p = malloc(14 + n);
        assert_non_null(p);
        memcpy(p, "\x93NUMPY\1\0", 8);
        p[8] = (unsigned char)n;
        p[9] = (unsigned char)(n >> 8);
        memcpy(p + 10, cases[k].text, n);
        memset(p + 10 + n, 0, 4);
        expect_refusal(cases[k].text, p, 14 + n, BPU_BAD_MODEL, cases[k].message, NULL);
        free(p);
    }
    expect_refusal("version 4", "\x93NUMPY\4\0\1\0 ", 11, BPU_BAD_MODEL, "version", NULL);
    expect_refusal("long header", "\x93NUMPY\1\0\xff\0 ", 11, BPU_BAD_MODEL, "longer than", NULL);
    expect_refusal("very long header", "\x93NUMPY\2\0\xff\xff\xff\xff ", 13, BPU_BAD_MODEL,
                   "longer than", NULL);
}

/* Whatever is changed: an array whose bytes may all be read, or an error that says what and where.
 */
static void try_damage(const unsigned char *p, size_t n)
{
    struct arena a;
    struct bpu_error err;
    struct array_file f;
    unsigned sum = 0;
    unsigned char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    arena_init(&a, QUOTA);
    if (read_bytes(&a, copy, n, &f, &err)) {
        for (size_t i = 0; i < f.count; i++)
            for (size_t k = 0; k < f.items[i].bytes; k++)
                sum += ((const unsigned char *)f.items[i].data)[k];
        assert_true(f.count > 0 && sum < UINT32_MAX);
    } else {
        assert_true(err.code != BPU_NONE && err.code != BPU_SERVER);
        assert_true(err.message[0]);
    }
    arena_fini(&a);
    free(copy);
}

static void damage(void **state)
{
    (void)state;
    static const char *const files[] = {"version1.npy", "version2.npy", "i2.idx3", "labels.idx1"};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        size_t size;
        unsigned char *p = slurp(files[k], &size);
        for (size_t n = 0; n < size; n++)
            try_damage(p, n);
        for (size_t i = 0; i < size; i++)
            for (int bit = 0; bit < 8; bit++) {
                p[i] ^= (unsigned char)(1 << bit);
                try_damage(p, size);
                p[i] ^= (unsigned char)(1 << bit);
            }
        free(p);
    }
    static const char *const archives[] = {"stored.npz", "deflated.npz"};
    for (size_t k = 0; k < 2; k++) {
        size_t size;
        unsigned char *p = slurp(archives[k], &size);
        for (size_t n = 0; n < size; n += 97)
            try_damage(p, n);
        for (size_t i = 0; i < size; i += 41) {
            p[i] ^= 0x11;
            try_damage(p, size);
            p[i] ^= 0x11;
        }
        free(p);
    }
}

/* ── writing ── */

static void round_trip(void **state)
{
    (void)state;
    struct arena a;
    struct bpu_error err = {0};
    struct array_file f, g;
    struct buf first, second;
    size_t size;
    unsigned char *p = slurp("stored.npz", &size);
    arena_init(&a, QUOTA);
    buf_init(&first, QUOTA);
    buf_init(&second, QUOTA);
    assert_true(read_bytes(&a, p, size, &f, &err));
    assert_true(npz_write(f.items, f.count, &first, &err));
    assert_true(npz_write(f.items, f.count, &second, &err));
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    assert_true(read_bytes(&a, first.data, first.size, &g, &err));
    assert_int_equal(g.count, f.count);
    for (size_t i = 0; i < f.count; i++) {
        assert_string_equal(f.items[i].name, g.items[i].name);
        assert_int_equal(f.items[i].dtype, g.items[i].dtype);
        assert_true(shape_equal(&f.items[i].shape, &g.items[i].shape));
        assert_memory_equal(f.items[i].data, g.items[i].data, f.items[i].bytes);
        /* Elements begin at multiples of 64. */
        assert_int_equal(((const char *)g.items[i].data - first.data) % 64, 0);
    }
    /* Ranks 0 and 1, no elements, quantized types. */
    const int64_t dims[] = {3, 0};
    const signed char bytes[3] = {-1, 0, 1};
    struct array odd[] = {{"scalar", shape_of(0, NULL), DT_QINT8, bytes, 1},
                          {"vector", shape_of(1, dims), DT_QINT8, bytes, 3},
                          {"empty", shape_of(2, dims), DT_FLOAT64, bytes, 0}};
    for (size_t i = 0; i < 3; i++) {
        buf_clear(&second);
        assert_true(npy_write(&odd[i], &second, &err));
        assert_true(read_bytes(&a, second.data, second.size, &g, &err));
        assert_true(shape_equal(&g.items->shape, &odd[i].shape));
        assert_int_equal(g.items->dtype, i < 2 ? DT_INT8 : DT_FLOAT64);
        assert_memory_equal(g.items->data, bytes, odd[i].bytes);
    }
    odd[0].dtype = DT_BFLOAT16;
    assert_false(npy_write(&odd[0], &second, &err));
    assert_int_equal(err.code, BPU_UNSUPPORTED);
    buf_fini(&first);
    buf_fini(&second);
    arena_fini(&a);
    free(p);
}

/* Every allocation that fails gives an error of memory, and no leak. */
static void failing_allocations(void **state)
{
    (void)state;
    static const char *const files[] = {"deflated.npz", "f8.idx3"};
    for (size_t k = 0; k < 2; k++) {
        size_t size;
        unsigned char *p = slurp(files[k], &size);
        bool ok = false;
        int tries = 0;
        for (; !ok && tries < 1000; tries++) {
            struct arena a;
            struct bpu_error err;
            struct array_file f;
            arena_init(&a, QUOTA);
            a.fail_after = tries;
            ok = read_bytes(&a, p, size, &f, &err);
            assert_true(ok || err.code == BPU_NO_MEMORY);
            arena_fini(&a);
        }
        assert_true(ok && tries > 1);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numpy_archives),
        cmocka_unit_test(single_files),
        cmocka_unit_test(refused_files),
        cmocka_unit_test(damaged_headers),
        cmocka_unit_test(damage),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests_name("data", tests, NULL, NULL);
}
