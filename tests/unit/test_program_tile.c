/* Tiles: addresses against the formula of program.h, and spans and ranges against the bytes that
 * a walk over the box touches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/program_make.h"

enum { MEMORY = 1 << 16 };

/* The formula as program.h writes it. */
static int64_t formula(const struct tile *t, int i, int j, int k, int l)
{
    int64_t f = t->n0 + i, r = t->h0 + j, w = t->w0 + k, c = t->c0 + l;
    int64_t row = t->stride_n ? r : f * t->frame_rows + r;
    int64_t in_row = row % t->block_h;
    if (t->ring)
        row = row % t->ring;
    return t->base + (t->stride_n ? f * t->stride_n : 0) + row / t->block_h * t->stride_h +
           w / t->block_w * t->stride_w + c / t->block_c * t->stride_c +
           ((in_row * t->block_w + w % t->block_w) * t->block_c + c % t->block_c) *
               (int64_t)dtype_size((enum dtype)t->dtype);
}

/* Marks the blocks that the box touches, whole. */
static void mark_box(const struct tile *t, unsigned char *touched)
{
    int64_t size = (int64_t)dtype_size((enum dtype)t->dtype);
    int64_t block = size * t->block_h * t->block_w * t->block_c;
    for (int i = 0; i < t->n; i++)
        for (int j = 0; j < t->h; j++)
            for (int k = 0; k < t->w; k++)
                for (int l = 0; l < t->c; l++) {
                    int64_t at = tile_address(t, i, j, k, l);
                    assert_int_equal(at, formula(t, i, j, k, l));
                    int64_t row = (t->stride_n ? 0 : (int64_t)(t->n0 + i) * t->frame_rows) + t->h0 + j;
                    int64_t inside = (row % t->block_h * t->block_w + (t->w0 + k) % t->block_w) *
                                         t->block_c + (t->c0 + l) % t->block_c;
                    at -= inside * size;
                    assert_true(at >= 0 && at + block <= MEMORY);
                    memset(touched + at, 1, (size_t)block);
                }
}

static int64_t mark_spans(const struct span *spans, int count, unsigned char *covered)
{
    int64_t bytes = 0;
    for (int s = 0; s < count; s++) {
        assert_true(spans[s].bytes > 0 && spans[s].count > 0);
        assert_true(spans[s].count == 1 || spans[s].step >= spans[s].bytes);
        for (int64_t k = 0; k < spans[s].count; k++) {
            int64_t at = spans[s].first + k * spans[s].step;
            assert_true(at >= 0 && at + spans[s].bytes <= MEMORY);
            memset(covered + at, 1, (size_t)spans[s].bytes);
        }
    }
    for (int i = 0; i < MEMORY; i++)
        bytes += covered[i];
    return bytes;
}

/* How much of what is covered the box touches; fails if something that it touches is not covered. */
static void compare(const struct tile *t, int64_t *touched_bytes, int64_t *covered_bytes)
{
    static unsigned char touched[MEMORY], covered[MEMORY];
    struct span spans[TILE_MAX_SPANS];
    int64_t first, end;
    memset(touched, 0, sizeof touched);
    memset(covered, 0, sizeof covered);
    int count = tile_spans(t, spans);
    assert_in_range(count, 1, TILE_MAX_SPANS);
    mark_box(t, touched);
    *covered_bytes = mark_spans(spans, count, covered);
    *touched_bytes = 0;
    tile_range(t, &first, &end);
    for (int i = 0; i < MEMORY; i++) {
        *touched_bytes += touched[i];
        assert_true(!touched[i] || covered[i]);
        assert_true(!covered[i] || (i >= first && i < end));
    }
}

static void random_boxes(void **state)
{
    (void)state;
    struct random_source r = {1};
    int exact = 0, all = 3000;
    double excess = 0;
    for (int k = 0; k < all; k++) {
        static const enum dtype types[] = {DT_QINT8, DT_QINT16, DT_INT32};
        struct tile t = make_tile(SPACE_SRAM, random_below(&r, 1000), types[random_below(&r, 3)], 1, 1, 1, 1);
        int64_t touched, covered;
        make_box(&r, &t);
        compare(&t, &touched, &covered);
        exact += touched == covered;
        excess += (double)covered / (double)touched - 1;
    }
    /* What eight lists can say is said exactly. */
    assert_true(exact >= all * 99 / 100);
    assert_true(excess / all < 0.01);
}

static bool spans_meet(const struct tile *a, const struct tile *b)
{
    static unsigned char one[MEMORY], other[MEMORY];
    struct span spans[TILE_MAX_SPANS];
    memset(one, 0, sizeof one);
    memset(other, 0, sizeof other);
    mark_spans(spans, tile_spans(a, spans), one);
    mark_spans(spans, tile_spans(b, spans), other);
    for (int i = 0; i < MEMORY; i++)
        if (one[i] && other[i])
            return true;
    return false;
}

/* A map of 2x4x8 blocks, 40 x 16 x 32 elements, as the compiler lays it out. */
static struct tile native_map(void)
{
    struct tile t = make_tile(SPACE_SRAM, 0, DT_QINT8, 1, 40, 16, 32);
    t.block_h = 2;
    t.block_w = 4;
    t.block_c = 8;
    t.stride_c = 64;
    t.stride_w = 4 * t.stride_c;
    t.stride_h = 4 * t.stride_w;
    return t;
}

static void boxes_that_share_no_block(void **state)
{
    (void)state;
    struct tile a = native_map(), b = a;
    assert_true(spans_meet(&a, &b));
    /* channels */
    a.c = 16;
    b.c0 = b.c = 16;
    assert_false(spans_meet(&a, &b));
    /* channels of some columns of many rows: three gaps, one list */
    a.w = b.w = 12;
    assert_false(spans_meet(&a, &b));
    /* columns */
    a = b = native_map();
    a.w = 8;
    b.w0 = b.w = 8;
    assert_false(spans_meet(&a, &b));
    /* rows */
    a = b = native_map();
    a.h = 7;
    b.h0 = 8;
    b.h = 8;
    assert_false(spans_meet(&a, &b));
    b.h0 = 6; /* the other half of a block */
    assert_true(spans_meet(&a, &b));
    /* rows of a ring that wraps: 10 … 17 are 10, 11, 0 … 5 */
    a = b = native_map();
    a.ring = b.ring = 12;
    a.h0 = 10;
    a.h = 8;
    b.h0 = 6;
    b.h = 4;
    assert_false(spans_meet(&a, &b));
    b.h0 = 18;
    assert_false(spans_meet(&a, &b));
    b.h = 6;
    assert_true(spans_meet(&a, &b));
    /* the same with channels of their own */
    a.c = 16;
    b.c0 = b.c = 16;
    assert_false(spans_meet(&a, &b));
}

static void whole_map_is_one_run(void **state)
{
    (void)state;
    struct tile t = native_map();
    struct span spans[TILE_MAX_SPANS];
    assert_int_equal(tile_spans(&t, spans), 1);
    assert_int_equal(spans[0].first, 0);
    assert_int_equal(spans[0].bytes * spans[0].count, 40 * 16 * 32);
    assert_int_equal(spans[0].count, 1);
    assert_int_equal(tile_flat_bytes(&t), -1); /* but its elements are in blocks */
    t = make_tile(SPACE_SRAM, 64, DT_QINT16, 2, 3, 4, 5);
    assert_int_equal(tile_flat_bytes(&t), 240);
    t.w = 3;
    assert_int_equal(tile_flat_bytes(&t), -1);
}

static void long_map_is_not_walked(void **state)
{
    (void)state;
    struct tile t = native_map();
    struct span spans[TILE_MAX_SPANS];
    t.h = t.frame_rows = INT32_MAX - 1;
    t.c = 8;
    assert_int_equal(tile_spans(&t, spans), 1);
    assert_int_equal(spans[0].bytes, 64);
    assert_int_equal(spans[0].step, 256);
    t.n = 1000000;
    t.ring = 1 << 20;
    assert_true(tile_spans(&t, spans) > 0);
}

static void senseless_tiles(void **state)
{
    (void)state;
    struct span spans[TILE_MAX_SPANS];
    int64_t first, end;
    int refused = 0;
#define SENSELESS(statement)                                                                       \
    do {                                                                                           \
        struct tile t = native_map();                                                              \
        statement;                                                                                 \
        assert_int_equal(tile_spans(&t, spans), 0);                                                \
        tile_range(&t, &first, &end);                                                              \
        assert_true(first == 0 && end == 0);                                                       \
        refused++;                                                                                 \
    } while (0)
    SENSELESS(t.h = 0);
    SENSELESS(t.n = -1);
    SENSELESS(t.w = 0);
    SENSELESS(t.c = -5);
    SENSELESS(t.h0 = -1);
    SENSELESS(t.n0 = -1);
    SENSELESS(t.base = -1);
    SENSELESS(t.block_h = 0);
    SENSELESS(t.block_w = 0);
    SENSELESS(t.block_c = 0);
    SENSELESS(t.dtype = DT_UNKNOWN);
    SENSELESS(t.dtype = DT_COUNT);
    SENSELESS(t.stride_h = -1);
    SENSELESS(t.stride_h = INT64_MAX);
    SENSELESS(t.stride_c = INT64_MAX / 2);
    SENSELESS(t.base = INT64_MAX - 100);
    SENSELESS(t.ring = 7);
    SENSELESS(t.ring = -2);
    SENSELESS(t.frame_rows = 3);
    SENSELESS((t.stride_n = 4096, t.ring = 12));
    SENSELESS((t.n0 = 1, t.stride_n = INT64_MAX));
    assert_int_equal(refused, 21);
    /* Whatever the numbers are: no overflow, which the sanitizers would see. */
    struct random_source r = {3};
    for (int k = 0; k < 20000; k++) {
        struct tile t = native_map();
        int32_t *const small[] = {&t.ring, &t.frame_rows, &t.n0, &t.h0, &t.w0,
                                  &t.c0,   &t.n,          &t.h,  &t.w,  &t.c};
        int64_t *const large[] = {&t.base, &t.stride_n, &t.stride_h, &t.stride_w, &t.stride_c};
        for (int m = 0; m < 3; m++) {
            *small[random_below(&r, 10)] = (int32_t)(random_next(&r) >> random_below(&r, 31)) & ~1;
            *large[random_below(&r, 5)] = (int64_t)((uint64_t)random_next(&r) << random_below(&r, 33));
        }
        tile_range(&t, &first, &end);
        assert_true((tile_spans(&t, spans) > 0) == (first < end));
        (void)tile_is_apart(&t);
    }
}

static void blocks_apart(void **state)
{
    (void)state;
    struct tile t = native_map();
    assert_true(tile_is_apart(&t));
    t.stride_c = 63;
    assert_false(tile_is_apart(&t));
    t = native_map();
    t.stride_w = 255;
    assert_false(tile_is_apart(&t));
    t.w = 4; /* one column of blocks: the stride is of no use */
    assert_true(tile_is_apart(&t));
    t = native_map();
    t.stride_h = 0;
    assert_false(tile_is_apart(&t));
    t.ring = 2;
    t.h = 2;
    assert_true(tile_is_apart(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_boxes),         cmocka_unit_test(boxes_that_share_no_block),
        cmocka_unit_test(whole_map_is_one_run), cmocka_unit_test(long_map_is_not_walked),
        cmocka_unit_test(senseless_tiles),      cmocka_unit_test(blocks_apart),
    };
    return cmocka_run_group_tests_name("program_tile", tests, NULL, NULL);
}
