/* The simulator's checks: a good program runs in every order; with one wait, address or extent
 * changed, it is refused, and the message names the instruction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/sim_asm.h"

enum { N = 1, H = 12, W = 5, C = 6, BAND = 2, RING = 4, BANDS = H / BAND };
static const int block[3] = {1, 2, 4};
static const int plain[3] = {1, 1, 1};

/* x is loaded band by band into a ring of two bands, clamped into another ring, and stored. */
struct good {
    struct asm_program a;
    int load[BANDS], clamp[BANDS], store[BANDS];
    struct tile x_ring, y_ring;
    signed char in[N * C * H * W], out[N * C * H * W];
};

static void make(struct good *g)
{
    struct asm_program *a = &g->a;
    struct shape s = shape_of(4, (const int64_t[]){N, C, H, W});
    asm_init(a, 3, 0);
    struct tile x = asm_io(a, true, &s, false, DT_QINT8, 1, 0, IO_NCHW, plain)->tile;
    struct tile y = asm_io(a, false, &s, false, DT_QINT8, 1, 0, IO_NHWC, plain)->tile;
    g->x_ring = asm_map(a, SPACE_SRAM, block, N, H, W, C, DT_QINT8, 1, 0, RING);
    g->y_ring = asm_map(a, SPACE_SRAM, block, N, H, W, C, DT_QINT8, 1, 0, RING);
    for (int b = 0; b < BANDS; b++) {
        int before = b >= 2 ? g->clamp[b - 2] : -1, stored = b >= 2 ? g->store[b - 2] : -1;
        struct tile xs = asm_rows(g->x_ring, b * BAND, BAND),
                    ys = asm_rows(g->y_ring, b * BAND, BAND);
        g->load[b] = asm_add(a, OP_LOAD, ASM_TILES(xs, asm_rows(x, b * BAND, BAND)), 2, NULL,
                             ASM_AFTER(before));
        g->clamp[b] = asm_add(a, OP_CLAMP, ASM_TILES(ys, xs), 2, (const int32_t[]){-50, 50},
                              ASM_AFTER(g->load[b], stored));
        g->store[b] = asm_add(a, OP_STORE, ASM_TILES(asm_rows(y, b * BAND, BAND), ys), 2, NULL,
                              ASM_AFTER(g->clamp[b]));
    }
    for (size_t i = 0; i < sizeof g->in; i++)
        g->in[i] = (signed char)(asm_below(a, 256) - 128);
}

static bool run(struct good *g, enum sim_order order)
{
    const void *in[1] = {g->in};
    void *out[1] = {g->out};
    return asm_run(&g->a, in, out, order);
}

static void test_good(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    struct bpu_error err = {0};
    if (!program_verify(&g.a.p, &err))
        fail_msg("%s: %s", err.where, err.message);
    for (int i = 0; i < 40; i++) {
        memset(g.out, 0x5a, sizeof g.out);
        if (!run(&g, i < 3 ? (enum sim_order)i : SIM_RANDOM))
            fail_msg("%s: %s", g.a.err.where, g.a.err.message);
        for (size_t k = 0; k < sizeof g.out; k++)
            assert_int_equal(g.out[k], g.in[k] < -50 ? -50 : g.in[k] > 50 ? 50 : g.in[k]);
        asm_below(&g.a, 2);
    }
    asm_fini(&g.a);
}

/* Refused in every order, with this text, at this instruction. */
static void refused(struct good *g, int at, const char *text)
{
    char place[40];
    snprintf(place, sizeof place, "instruction %d (", at);
    for (int order = SIM_LIST; order <= SIM_RANDOM; order++) {
        assert_false(run(g, (enum sim_order)order));
        assert_int_equal(g->a.err.code, BPU_BAD_MODEL);
        if (!strstr(g->a.err.message, text))
            fail_msg("\"%s\" does not say \"%s\"", g->a.err.message, text);
        if (at >= 0 && strncmp(g->a.err.where, place, strlen(place)) != 0)
            fail_msg("\"%s\" is not %s: %s", g->a.err.where, place, g->a.err.message);
        asm_below(&g->a, 2);
    }
    asm_fini(&g->a);
}

/* Each wait of the program is needed: without it, something is refused in every order. */
static void test_each_wait(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    int count = g.a.p.code_count, tried = 0;
    asm_fini(&g.a);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < 2; k++)
            for (int order = SIM_LIST; order <= SIM_RANDOM; order++) {
                make(&g);
                struct instruction *c = &g.a.p.code[i];
                if (k < c->wait_count) {
                    tried++;
                    c->waits[k] = c->waits[--c->wait_count];
                    if (run(&g, (enum sim_order)order))
                        fail_msg("instruction %d runs without wait %d", i, k);
                    if (!strstr(g.a.err.message, "nothing orders the two") &&
                        !strstr(g.a.err.message, "nothing has written it"))
                        fail_msg("%s: %s", g.a.err.where, g.a.err.message);
                }
                asm_fini(&g.a);
            }
    assert_int_equal(tried, 4 * 20);
}

/* One too few is as bad as none. */
static void test_race(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    g.a.p.code[g.load[3]].waits[0].count--; /* overwrites rows that clamp 1 reads */
    for (int order = SIM_LIST; order <= SIM_RANDOM; order++) {
        assert_false(run(&g, (enum sim_order)order));
        if (!strstr(g.a.err.message, "nothing orders the two"))
            fail_msg("%s", g.a.err.message);
    }
    assert_non_null(strstr(g.a.err.message, "of on-chip memory of core 0"));
    assert_non_null(strstr(g.a.err.message, "\"layer\", test"));
    asm_fini(&g.a);
}

static void test_uninitialized(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    g.a.p.code[g.load[0]].tiles[0].w--; /* one column is not loaded */
    g.a.p.code[g.load[0]].tiles[1].w--;
    refused(&g, g.clamp[0], "nothing has written it");
    make(&g);
    g.a.p.code[g.store[1]].tiles[0].c--; /* one channel is not stored */
    g.a.p.code[g.store[1]].tiles[1].c--;
    refused(&g, -1, "was written by no instruction");
}

static void test_outside(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    g.a.p.code[g.clamp[2]].tiles[0].base += 1 << 20;
    refused(&g, g.clamp[2], "are outside of the on-chip memory of core 0");
    make(&g);
    g.a.p.code[g.store[2]].tiles[0].base = g.a.p.ddr_bytes;
    refused(&g, g.store[2], "are outside of the DDR");
    make(&g);
    g.a.p.code[g.load[2]].tiles[1].base = -64;
    refused(&g, g.load[2], "make no sense");
}

static void test_shifted(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    g.a.p.code[g.clamp[0]].tiles[0].base =
        g.x_ring.base; /* in place is fine, but the store reads elsewhere */
    refused(&g, g.store[0], "nothing has written it");
    make(&g);
    struct tile *t = &g.a.p.code[g.clamp[0]].tiles[0];
    t->base = g.x_ring.base + t->stride_h; /* overlaps what it reads, one row off */
    refused(&g, g.clamp[0], "shares address");
}

static void test_read_only(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    g.a.p.code[g.store[0]].tiles[0] = g.a.p.code[g.load[0]].tiles[1];
    refused(&g, g.store[0], "belongs to x, which nothing may write");
    make(&g);
    g.a.p.constant_bytes = 0;
    struct tile *x = &g.a.p.inputs[0].tile;
    /* The same bytes as constants: stores must not reach them either. */
    g.a.p.input_count = 0;
    g.a.p.constant_bytes = g.a.p.inputs[0].bytes;
    g.a.p.constants = arena_alloc(&g.a.arena, (size_t)g.a.p.constant_bytes, &g.a.err);
    assert_non_null(g.a.p.constants);
    g.a.p.code[g.store[0]].tiles[0] = asm_rows(*x, 0, BAND);
    refused(&g, g.store[0], "belongs to the constants, which nothing may write");
}

static void test_reach(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    g.a.p.code[g.clamp[0]].tiles[1] = g.a.p.code[g.load[0]].tiles[1];
    refused(&g, g.clamp[0], "engine eltwise cannot read DDR");
    make(&g);
    struct instruction *c = &g.a.p.code[g.load[0]];
    c->engine = ENGINE_HOST;
    for (int i = 0; i < g.a.p.code_count; i++)
        g.a.p.code[i].wait_count = 0;
    assert_false(run(&g, SIM_LIST));
    assert_non_null(strstr(g.a.err.message, "engine host cannot write on-chip memory of core 0"));
    asm_fini(&g.a);
}

static void test_deadlock(void **state)
{
    (void)state;
    struct good g;
    make(&g);
    struct instruction *c = &g.a.p.code[g.load[0]];
    c->waits[c->wait_count++] = (struct wait){ENGINE_STORE, 1};
    refused(&g, g.load[0], "wait for each other");
    make(&g);
    c = &g.a.p.code[g.load[0]];
    c->waits[c->wait_count++] = (struct wait){ENGINE_STORE, BANDS + 1};
    refused(&g, g.load[0], "which has 6");
}

/* A tile that lies about its extents is refused, whatever it says. */
static void test_damaged(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct good g;
        make(&g);
        g.a.seed = (uint64_t)i * 77 + 1;
        struct instruction *c = &g.a.p.code[asm_below(&g.a, (uint32_t)g.a.p.code_count)];
        unsigned char *bytes = (unsigned char *)&c->tiles[asm_below(&g.a, (uint32_t)c->tile_count)];
        for (int k = 0; k < 3; k++) {
            size_t at = asm_below(&g.a, (uint32_t)offsetof(struct tile, scale));
            bytes[at] = (unsigned char)(bytes[at] ^ 1 << asm_below(&g.a, 8));
        }
        const void *in[1] = {g.in};
        void *out[1] = {g.out};
        struct arena arena;
        arena_init(&arena, (size_t)64 << 20);
        struct sim *s = sim_new(&arena, &g.a.p, NULL, &g.a.err);
        bool ok = s && sim_frame(s, in, out, &g.a.err);
        assert_true(ok || g.a.err.code == BPU_BAD_MODEL || g.a.err.code == BPU_NO_MEMORY ||
                    g.a.err.code == BPU_LIMIT);
        arena_fini(&arena);
        asm_fini(&g.a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_each_wait),
        cmocka_unit_test(test_race),      cmocka_unit_test(test_uninitialized),
        cmocka_unit_test(test_outside),   cmocka_unit_test(test_shifted),
        cmocka_unit_test(test_read_only), cmocka_unit_test(test_reach),
        cmocka_unit_test(test_deadlock),  cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
