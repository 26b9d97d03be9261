/* Costs of instructions against what can be counted by hand, DDR bytes against the bursts that the
 * elements of a box lie in, counted one by one. */
#include <setjmp.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/march/march.h"
#include "core/program/args.h"
#include "core/program/args_real.h"
#include "core/program/program.h"

static uint64_t seed = 88172645463325252u;
static int below(int n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)(seed % (uint64_t)n);
}

static const struct machine *machine(const char *march)
{
    const struct march *m = march_find(march);
    assert_non_null(m);
    return march_machine(m);
}

/* A map on chip in a native block. */
static struct tile chip(const struct machine_block *b, enum dtype t, int n, int h, int w, int c)
{
    return (struct tile){.space = SPACE_SRAM,
                         .dtype = (uint8_t)t,
                         .block_h = (uint8_t)b->h,
                         .block_w = (uint8_t)b->w,
                         .block_c = (uint8_t)b->c,
                         .n = n,
                         .h = h,
                         .w = w,
                         .c = c};
}

static struct instruction instruction(enum opcode op, struct tile *tiles, int tile_count,
                                      int32_t *args)
{
    const struct isa *row = isa_row(op);
    return (struct instruction){.op = (uint16_t)op,
                                .engine = (uint8_t)row->engine,
                                .tiles = tiles,
                                .tile_count = tile_count,
                                .args = args,
                                .arg_count = isa_arg_count(op)};
}

static struct cost cost_of(const struct machine *m, enum opcode op, struct tile *tiles, int count,
                           int32_t *args)
{
    struct instruction i = instruction(op, tiles, count, args);
    struct cost c = instruction_cost(m, &i);
    assert_true(c.cycles > 0 && c.useful_cycles >= 0);
    assert_true(c.useful_cycles <= c.cycles);
    return c;
}

/* Result n x h x w x out of a convolution; in channels per group. */
struct layer {
    enum dtype dtype;
    int n, h, w, in, out, groups, kernel, stride;
};

static struct cost conv_cost(const struct machine *m, enum opcode op, struct layer l)
{
    const struct machine_block *b = m->blocks;
    struct tile tiles[3] = {chip(b, l.dtype, l.n, l.h, l.w, l.out),
                            chip(b, l.dtype, l.n, l.h * l.stride, l.w * l.stride, l.in * l.groups),
                            chip(b, DT_QINT8, 1, 1, 1, 1)};
    int32_t args[PROGRAM_MAX_ARGS] = {0};
    args[CONV_KERNEL_H] = args[CONV_KERNEL_W] = l.kernel;
    args[CONV_STRIDE_H] = args[CONV_STRIDE_W] = l.stride;
    args[CONV_UNIT_CHANNELS] = l.out / l.groups;
    args[CONV_UNIT_INPUTS] = l.in;
    args[CONV_SPLIT_INPUTS] = l.groups > 1;
    return cost_of(m, op, tiles, 3, args);
}

/* Cycles without the start-up of each frame. */
static double work(const struct machine *m, enum opcode op, struct layer l)
{
    return conv_cost(m, op, l).cycles - l.n * m->issue_cycles.v;
}

#define EQUAL(a, b) assert_true(fabs((a) - (b)) <= 1e-9 * fabs((double)(b)))

static void test_conv_by_hand(void **state)
{
    const struct machine *x3 = machine("bernoulli2"), *j5 = machine("bayes");
    (void)state;
    /* 56x56, 64 → 128, 3x3 on 8 columns, 4 inputs, 8 results a cycle: 56 * 7 * 16 * 16 * 9 */
    struct layer l = {DT_QINT8, 1, 56, 56, 64, 128, 1, 3, 1};
    EQUAL(work(x3, OP_CONV, l), 56 * 7 * 16 * 16 * 9.0);
    EQUAL(conv_cost(x3, OP_CONV, l).useful_cycles, 56.0 * 56 * 64 * 128 * 9 / 256);
    /* 16 cells of 4 x 8: a sixteenth */
    EQUAL(work(j5, OP_CONV, l), 56 * 7 * 16 * 9.0);
    /* 16 bits: two passes */
    l.dtype = DT_QINT16;
    EQUAL(work(j5, OP_CONV, l), 2 * 56 * 7 * 16 * 9.0);
    /* 20 columns take 3 steps of 8; 3 inputs one of 4; 20 results 3 of 8 */
    l = (struct layer){DT_QINT8, 1, 20, 20, 3, 20, 1, 1, 1};
    EQUAL(work(x3, OP_CONV, l), 20 * 3 * 1 * 3.0);
    /* groups of 2 inputs and 2 results use one cell each: 32 of them take 2 steps of 16 cells */
    l = (struct layer){DT_QINT8, 1, 8, 8, 2, 64, 32, 1, 1};
    EQUAL(work(x3, OP_CONV, l), 8 * 1 * 32.0);
    EQUAL(work(j5, OP_CONV, l), 8 * 1 * 2.0);
    /* frames do not fold into space: each of 256 of 1x1 takes a row and eight columns */
    l = (struct layer){DT_QINT8, 256, 1, 1, 160, 960, 1, 1, 1};
    EQUAL(work(j5, OP_CONV, l), 256 * 40 * 120 / 16.0);
    EQUAL(conv_cost(j5, OP_CONV, l).cycles, 256 * (300 + j5->issue_cycles.v));
    /* X3: four 8W4C blocks and one tap a cycle */
    l = (struct layer){DT_QINT8, 1, 14, 14, 1, 512, 512, 3, 1};
    EQUAL(work(x3, OP_DWCONV, l), 14 * 2 * 32 * 9.0);
    EQUAL(work(j5, OP_DWCONV, l), 4 * 2 * 16 * 9.0);
    /* transposed, kernel 4, stride 2: each result meets 2 x 2 taps */
    l = (struct layer){DT_QINT8, 1, 16, 16, 64, 64, 1, 4, 2};
    EQUAL(work(x3, OP_DECONV, l), 16 * 2 * 16 * 8 * 4.0);
}

static void test_matmul_by_hand(void **state)
{
    const struct machine *x3 = machine("bernoulli2");
    const struct machine_block *b = x3->blocks;
    int32_t args[PROGRAM_MAX_ARGS] = {0};
    (void)state;
    /* 2 frames x 3 heads of 49x32 by 32x49 */
    struct tile each[3] = {chip(b, DT_QINT8, 2, 3, 49, 49), chip(b, DT_QINT8, 2, 3, 49, 32),
                           chip(b, DT_QINT8, 2, 3, 32, 49)};
    EQUAL(cost_of(x3, OP_MATMUL, each, 3, args).cycles, 6 * (7 * 8 * 7 + x3->issue_cycles.v));
    /* the same right-hand side for all: rows are positions */
    struct tile one[3] = {each[0], each[1], chip(b, DT_QINT8, 1, 1, 32, 49)};
    EQUAL(cost_of(x3, OP_MATMUL, one, 3, args).cycles, 2 * (3 * 7 * 8 * 7 + x3->issue_cycles.v));
}

static void test_engines_by_hand(void **state)
{
    const struct machine *x3 = machine("bernoulli2");
    const struct machine_block *b = x3->blocks; /* 8W4C */
    struct tile t[3] = {chip(b, DT_QINT8, 1, 10, 20, 30), chip(b, DT_QINT8, 1, 10, 20, 30),
                        chip(b, DT_QINT8, 1, 10, 20, 30)};
    int32_t args[PROGRAM_MAX_ARGS] = {0};
    double padded = 10 * 24 * 32, start = x3->issue_cycles.v;
    (void)state;
    EQUAL(cost_of(x3, OP_ADD, t, 3, args).cycles, start + padded / x3->eltwise_bytes.v);
    EQUAL(cost_of(x3, OP_ADD, t, 3, args).useful_cycles, 6000 / x3->eltwise_bytes.v);
    EQUAL(cost_of(x3, OP_LOOKUP, t, 3, args).cycles, start + padded / x3->lut_bytes.v);
    t[0].w0 = 7; /* columns 7 … 26 lie in blocks 0 … 3 */
    EQUAL(cost_of(x3, OP_ADD, t, 3, args).cycles, start + 10 * 32 * 32 / x3->eltwise_bytes.v);
    t[0].w0 = 0;
    args[POOL_MAX_KERNEL_H] = 3, args[POOL_MAX_KERNEL_W] = 2;
    EQUAL(cost_of(x3, OP_POOL_MAX, t, 2, args).cycles, start + 6 * padded / x3->pool_bytes.v);
    /* a mean over a whole map reads it once, however small the result */
    struct tile mean[2] = {chip(b, DT_QINT8, 1, 1, 1, 30), chip(b, DT_QINT8, 1, 10, 20, 30)};
    int32_t whole[PROGRAM_MAX_ARGS] = {0};
    whole[POOL_ADAPTIVE_IN_H] = 10, whole[POOL_ADAPTIVE_IN_W] = 20;
    whole[POOL_ADAPTIVE_OUT_H] = whole[POOL_ADAPTIVE_OUT_W] = 1;
    EQUAL(cost_of(x3, OP_POOL_ADAPTIVE, mean, 2, whole).cycles, start + padded / x3->pool_bytes.v);
    /* 3x3 windows, stride 2: each of 5x10 results meets nine, so each element is read 2.25 times */
    t[0].h = 5, t[0].w = 10;
    args[POOL_MAX_KERNEL_W] = 3;
    EQUAL(cost_of(x3, OP_POOL_MAX, t, 2, args).cycles,
          start + 2.25 * padded / x3->pool_bytes.v);
    /* reductions are counted by what they read */
    t[0].h = t[0].w = 1;
    EQUAL(cost_of(x3, OP_REDUCE_SUM, t, 2, args).cycles, start + padded / x3->reduce_bytes.v);
    t[0] = t[1];
    /* a copy of 5 rows of 10: half of the box */
    memset(args, 0, sizeof(args));
    args[COPY_LOOPS] = 3;
    args[COPY_LOOP(0) + COPY_EXTENT] = 5;
    args[COPY_LOOP(1) + COPY_EXTENT] = 20;
    args[COPY_LOOP(2) + COPY_EXTENT] = 30;
    EQUAL(cost_of(x3, OP_COPY, t, 2, args).cycles, start + padded / 2 / x3->transform_bytes.v);
    /* 16 bits are twice the bytes */
    t[0].dtype = DT_QINT16;
    EQUAL(cost_of(x3, OP_ADD, t, 3, args).cycles, start + 2 * padded / x3->eltwise_bytes.v);
    /* the host has no blocks, and is called */
    struct instruction i = instruction(OP_ADD, t, 3, args);
    i.engine = ENGINE_HOST;
    EQUAL(instruction_cost(x3, &i).cycles, x3->host_call_cycles.v + 12000 / x3->host_bytes.v);
}

/* ── transfers ── */

/* A box of a tensor in DDR whose rows of w, c are `row` and `pixel` bytes apart. */
static struct tile ddr(int64_t base, int n, int h, int w, int c, int64_t pixel, int64_t row,
                       int64_t frame)
{
    return (struct tile){.space = SPACE_DDR,
                         .dtype = DT_QINT8,
                         .block_h = 1,
                         .block_w = 1,
                         .block_c = 1,
                         .base = base,
                         .n = n,
                         .h = h,
                         .w = w,
                         .c = c,
                         .frame_rows = h,
                         .stride_n = frame,
                         .stride_h = row,
                         .stride_w = pixel,
                         .stride_c = 1};
}

static int64_t transfer(const struct machine *m, enum opcode op, struct tile far)
{
    struct tile near = chip(m->blocks, DT_QINT8, far.n, far.h, far.w, far.c);
    struct tile tiles[2] = {op == OP_STORE ? far : near, op == OP_STORE ? near : far};
    int32_t none[1] = {0};
    struct cost c = cost_of(m, op, tiles, 2, none);
    double rate = op == OP_STORE ? m->ddr_store_bytes.v : m->ddr_load_bytes.v;
    assert_true(fabs(c.cycles - m->issue_cycles.v - m->ddr_latency_cycles.v -
                     (double)c.ddr_bytes / rate) < 1);
    return c.ddr_bytes;
}

static void test_transfers_by_hand(void **state)
{
    const struct machine *m = machine("bernoulli2");
    (void)state;
    EQUAL(m->ddr_burst_bytes.v, 64);
    /* a whole map is one run */
    assert_int_equal(transfer(m, OP_LOAD, ddr(0, 1, 8, 8, 32, 32, 256, 2048)), 2048);
    /* beginning inside of a burst costs one more */
    assert_int_equal(transfer(m, OP_LOAD, ddr(32, 1, 8, 8, 32, 32, 256, 2048)), 2048 + 64);
    /* 32 of 256 channels, 64 pixels: a burst each, half of it for nothing */
    assert_int_equal(transfer(m, OP_LOAD, ddr(0, 1, 8, 8, 32, 256, 2048, 16384)), 64 * 64);
    /* 32 of 64 channels: a load reads through the gaps, a store writes half bursts */
    assert_int_equal(transfer(m, OP_LOAD, ddr(0, 1, 8, 8, 32, 64, 512, 4096)), 4096);
    assert_int_equal(transfer(m, OP_STORE, ddr(0, 1, 8, 8, 32, 64, 512, 4096)), 64 * 64);
    /* rows of 224 pixels of 3 bytes in a wider image of 300: 672 bytes touch 11 or 12 bursts */
    int64_t bytes = transfer(m, OP_LOAD, ddr(0, 1, 10, 224, 3, 3, 900, 9000));
    assert_true(bytes >= 10 * 672 && bytes <= 10 * 12 * 64);
}

/* Random boxes: no fewer bytes than the bursts they lie in, up to one for each run. */
static void test_transfers_count_bursts(void **state)
{
    const struct machine *m = machine("bayes");
    int burst = (int)m->ddr_burst_bytes.v;
    static unsigned char touched[1 << 16];
    (void)state;
    for (int k = 0; k < 3000; k++) {
        int c = 1 + below(80), w = 1 + below(12), h = 1 + below(6), n = 1 + below(3);
        int64_t pixel = c + (below(3) ? 0 : below(90));
        int64_t row = pixel * w + (below(3) ? 0 : below(200));
        int64_t frame = row * h + (below(3) ? 0 : below(200));
        struct tile t = ddr(below(300), n, h, w, c, pixel, row, frame);
        memset(touched, 0, sizeof(touched));
        int64_t bursts = 0, runs = 0, end = -1;
        for (int f = 0; f < n; f++) {
            for (int y = 0; y < h; y++) {
                for (int x = 0; x < w; x++) {
                    int64_t at = tile_address(&t, f, y, x, 0);
                    runs += at != end;
                    end = at + c;
                    for (int64_t b = at / burst; b <= (end - 1) / burst; b++)
                        if (b < (int64_t)sizeof(touched) && !touched[b])
                            touched[b] = 1, bursts++;
                }
            }
        }
        int64_t load = transfer(m, OP_LOAD, t), store = transfer(m, OP_STORE, t);
        assert_true(load >= (bursts - runs) * burst && load <= (bursts + 1 + runs) * burst);
        assert_true(store >= (bursts - runs) * burst && store <= (bursts + 1 + runs) * burst);
        assert_true(load >= (int64_t)n * h * w * c && store >= (int64_t)n * h * w * c);
    }
}

/* ── everything ── */

/* Each instruction, on small random maps: finite, at least its start-up, never less than useful. */
static void test_every_instruction_has_a_cost(void **state)
{
    static const char *const marches[] = {"bayes", "bernoulli2"};
    (void)state;
    for (int k = 0; k < 2 * OP_COUNT * 20; k++) {
        const struct machine *m = machine(marches[k % 2]);
        enum opcode op = (enum opcode)(k / 2 % OP_COUNT);
        struct tile tiles[PROGRAM_MAX_TILES];
        int32_t args[PROGRAM_MAX_ARGS];
        for (int i = 0; i < PROGRAM_MAX_TILES; i++)
            tiles[i] = chip(m->blocks, below(2) ? DT_QINT8 : DT_QINT16, 1 + below(3), 1 + below(9),
                            1 + below(20), 1 + below(70));
        for (int i = 0; i < PROGRAM_MAX_ARGS; i++)
            args[i] = 1 + below(4);
        bool repeats;
        struct instruction i = instruction(op, tiles, isa_tile_count(op, &repeats), args);
        for (int host = 0; host < 2; host++) {
            i.engine = (uint8_t)(host ? ENGINE_HOST : isa_row(op)->engine);
            struct cost c = instruction_cost(m, &i);
            assert_true(isfinite(c.cycles) && isfinite(c.useful_cycles) && c.ddr_bytes >= 0);
            assert_true(c.cycles >= m->issue_cycles.v && c.useful_cycles >= 0);
            assert_true(c.useful_cycles <= c.cycles);
        }
    }
}

/* Well-shaped dense layers reach what published runs sustain: 0.444 TOPS on X3 with 0.84 to 0.96 of
 * the array, 10.8 TOPS on Bayes while its computing unit works. */
static void test_dense_layers_reach_published_rates(void **state)
{
    static const struct {
        const char *march;
        double low, high; /* TOPS */
    } rates[] = {{"bernoulli2", 0.444, 0.512}, {"bayes", 10.8, 12.3}};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const struct machine *m = machine(rates[k].march);
        struct layer l = {DT_QINT8, 1, 64, 64, 128, 128, 1, 3, 1};
        double us = conv_cost(m, OP_CONV, l).cycles / m->clock_mhz.v;
        double tops = 2.0 * 64 * 64 * 128 * 128 * 9 / us * 1e-6;
        assert_true(tops > rates[k].low && tops < rates[k].high);
    }
}

/* ── the data ── */

static void test_every_figure_has_evidence(void **state)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    (void)state;
    for (size_t k = 0; k < count; k++) {
        const struct machine *m = march_machine(list[k]);
        for (const struct machine_row *r = machine_rows; r->name; r++) {
            const struct machine_figure *f = machine_row_figure(m, r);
            assert_true(f->v > 0);
            assert_non_null(f->evidence);
            assert_true(strncmp(f->evidence, "published: ", 11) == 0 ||
                        strncmp(f->evidence, "fitted", 6) == 0 ||
                        strncmp(f->evidence, "assumed: ", 9) == 0);
        }
        assert_true(m->cores.v <= MACHINE_MAX_CORES);
        assert_true(m->blocks[0].h > 0 && m->blocks[MACHINE_MAX_BLOCKS].h == 0);
        for (const struct machine_block *b = m->blocks; b->h > 0; b++) {
            assert_true(b->w > 0 && b->c > 0 && b->h < 256 && b->w < 256 && b->c < 256);
            assert_true(b->name && b->evidence);
            /* a block is a whole number of alignments, or the other way round */
            int bytes = b->h * b->w * b->c, align = (int)m->sram_align.v;
            assert_true(bytes % align == 0 || align % bytes == 0);
        }
    }
}

static void test_json_has_the_machine(void **state)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    (void)state;
    for (size_t k = 0; k < count; k++) {
        const struct machine *m = march_machine(list[k]);
        struct bpu_error err = {0};
        struct buf out;
        buf_init(&out, BUF_DEFAULT_CAP);
        assert_true(march_json(list[k], &out, &err));
        json_t *j = json_loads(buf_str(&out), JSON_REJECT_DUPLICATES, NULL);
        const json_t *rows = json_object_get(json_object_get(j, "machine"), "figures");
        size_t i = 0;
        for (const struct machine_row *r = machine_rows; r->name; r++, i++) {
            const json_t *row = json_array_get(rows, i);
            const struct machine_figure *f = machine_row_figure(m, r);
            assert_string_equal(json_string_value(json_object_get(row, "name")), r->name);
            assert_string_equal(json_string_value(json_object_get(row, "unit")), r->unit);
            assert_string_equal(json_string_value(json_object_get(row, "text")), r->text);
            assert_string_equal(json_string_value(json_object_get(row, "evidence")), f->evidence);
            EQUAL(json_number_value(json_object_get(row, "value")), f->v);
        }
        assert_int_equal(json_array_size(rows), i);
        const json_t *blocks = json_object_get(json_object_get(j, "machine"), "blocks");
        for (i = 0; m->blocks[i].h > 0; i++) {
            const json_t *row = json_array_get(blocks, i);
            assert_string_equal(json_string_value(json_object_get(row, "name")), m->blocks[i].name);
            assert_int_equal(json_integer_value(json_object_get(row, "c")), m->blocks[i].c);
        }
        assert_int_equal(json_array_size(blocks), i);
        assert_int_equal(json_array_size(json_object_get(json_object_get(j, "machine"), "engines")),
                         ENGINE_COUNT);
        json_decref(j);
        buf_fini(&out);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_by_hand),
        cmocka_unit_test(test_matmul_by_hand),
        cmocka_unit_test(test_engines_by_hand),
        cmocka_unit_test(test_transfers_by_hand),
        cmocka_unit_test(test_transfers_count_bursts),
        cmocka_unit_test(test_every_instruction_has_a_cost),
        cmocka_unit_test(test_dense_layers_reach_published_rates),
        cmocka_unit_test(test_every_figure_has_evidence),
        cmocka_unit_test(test_json_has_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
