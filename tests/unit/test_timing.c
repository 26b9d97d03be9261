/* The event simulation of a schedule, on programs whose times can be worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/program/timing.h"

#define MOST 16
#define assert_near(a, b, by) assert_true(fabs((a) - (b)) <= (by))

struct bench {
    struct arena arena;
    struct machine m;
    struct program p;
    struct instruction code[MOST];
    struct wait waits[MOST][4];
    struct cost costs[MOST];
    struct program_timing t;
};

/* 8 bytes per cycle in, 8 out, 12 together; 2 cores. */
static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    arena_init(&b->arena, (size_t)16 << 20);
    b->m.ddr_load_bytes.v = b->m.ddr_store_bytes.v = 8;
    b->m.ddr_total_bytes.v = 12;
    b->p = (struct program){.arena = &b->arena, .code = b->code};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    arena_fini(&b->arena);
    free(b);
    return 0;
}

static int add(struct bench *b, int core, enum engine e, double cycles, int64_t bytes)
{
    int i = b->p.code_count++;
    b->code[i] = (struct instruction){
        .core = (uint8_t)core, .engine = (uint8_t)e, .waits = b->waits[i]};
    b->costs[i] = (struct cost){.cycles = cycles, .useful_cycles = cycles / 2, .ddr_bytes = bytes};
    return i;
}

static void waits_for(struct bench *b, int i, int core, enum engine e, uint32_t count)
{
    struct instruction *in = &b->code[i];
    in->waits[in->wait_count++] =
        (struct wait){.lane = (uint8_t)(core * ENGINE_COUNT + e), .count = count};
}

static bool time_it(struct bench *b, struct bpu_error *err)
{
    return program_time_costs(&b->arena, &b->p, &b->m, b->costs, &b->t, err);
}

static void expect(struct bench *b, int i, double start, double end)
{
    assert_near(b->t.at[i].start, start, 1e-9);
    assert_near(b->t.at[i].end, end, 1e-9);
}

static void run(struct bench *b)
{
    struct bpu_error err = {0};
    assert_true(time_it(b, &err));
}

static void empty_program_ends_at_once(void **state)
{
    struct bench *b = *state;
    run(b);
    assert_near(b->t.end, 0, 0);
}

static void lanes_run_side_by_side_and_in_order(void **state)
{
    struct bench *b = *state;
    int a = add(b, 0, ENGINE_CONV, 10, 0), c = add(b, 0, ENGINE_CONV, 5, 0);
    int d = add(b, 0, ENGINE_POOL, 7, 0);
    run(b);
    expect(b, a, 0, 10);
    expect(b, c, 10, 15);
    expect(b, d, 0, 7);
    assert_near(b->t.end, 15, 0);
    assert_near(b->t.busy[ENGINE_CONV], 15, 0);
    assert_int_equal(b->t.count[ENGINE_CONV], 2);
    assert_near(b->t.useful[a], 5, 0);
}

static void waits_hold_an_instruction_and_those_behind_it(void **state)
{
    struct bench *b = *state;
    int load = add(b, 0, ENGINE_LOAD, 20, 0), pool = add(b, 0, ENGINE_POOL, 30, 0);
    int conv = add(b, 0, ENGINE_CONV, 10, 0), next = add(b, 0, ENGINE_CONV, 10, 0);
    waits_for(b, conv, 0, ENGINE_LOAD, 1);
    waits_for(b, conv, 0, ENGINE_POOL, 1);
    int other = add(b, 1, ENGINE_CONV, 4, 0); /* of the other core: a lane of its own */
    waits_for(b, other, 0, ENGINE_CONV, 2);
    run(b);
    expect(b, load, 0, 20);
    expect(b, pool, 0, 30);
    expect(b, conv, 30, 40);
    expect(b, next, 40, 50);
    expect(b, other, 50, 54);
    assert_near(b->t.busy[ENGINE_CONV], 20, 0); /* waiting is not work */
}

/* 80 bytes each at 8 per cycle alone: 10 cycles.  Together 12 per cycle, 6 for each: as long as both
 * run. */
static void transfers_share_the_bus(void **state)
{
    struct bench *b = *state;
    int in = add(b, 0, ENGINE_LOAD, 10, 80), out = add(b, 0, ENGINE_STORE, 10, 80);
    run(b);
    expect(b, in, 0, 160 / 12.);
    expect(b, out, 0, 160 / 12.);
    assert_near(b->t.ddr_slowed, 2 * (160 / 12. - 10), 1e-9);
    assert_near(b->t.ddr_busy, 160 / 12., 1e-9);
    assert_int_equal(b->t.ddr_load, 80);
    assert_int_equal(b->t.ddr_store, 80);
}

/* The short one leaves, the long one gets its own rate back. */
static void the_bus_is_given_back(void **state)
{
    struct bench *b = *state;
    int in = add(b, 0, ENGINE_LOAD, 10, 80), out = add(b, 0, ENGINE_STORE, 3, 24);
    run(b);
    expect(b, out, 0, 4);             /* 24 bytes at 6 */
    expect(b, in, 0, 4 + 56 / 8.);    /* 24 at 6, 56 at 8 */
    assert_near(b->t.ddr_busy, 11, 1e-9);
}

/* Latency moves no bytes: it overlaps with another's bytes for free. */
static void latency_uses_no_bandwidth(void **state)
{
    struct bench *b = *state;
    int in = add(b, 0, ENGINE_LOAD, 110, 80); /* 100 of latency */
    int out = add(b, 0, ENGINE_STORE, 10, 80);
    run(b);
    expect(b, in, 0, 110);
    expect(b, out, 0, 10);
    assert_near(b->t.ddr_slowed, 0, 1e-9);
    assert_near(b->t.ddr_busy, 20, 1e-9);
}

/* One that asks for less than its share leaves the rest to the others. */
static void slow_transfers_leave_the_rest(void **state)
{
    struct bench *b = *state;
    b->m.ddr_store_bytes.v = 2;
    int in0 = add(b, 0, ENGINE_LOAD, 10, 80), in1 = add(b, 1, ENGINE_LOAD, 10, 80);
    int out = add(b, 0, ENGINE_STORE, 40, 80);
    run(b);
    expect(b, in0, 0, 16); /* (12 - 2) / 2 = 5 per cycle each */
    expect(b, in1, 0, 16);
    expect(b, out, 0, 40);
}

/* Fewer cycles than the bytes need alone: the cost is believed, there is no start-up. */
static void costs_below_the_rate_are_believed(void **state)
{
    struct bench *b = *state;
    int in = add(b, 0, ENGINE_LOAD, 8, 80);
    run(b);
    expect(b, in, 0, 8);
}

static void without_figures_costs_alone_count(void **state)
{
    struct bench *b = *state;
    b->m = (struct machine){0};
    int in = add(b, 0, ENGINE_LOAD, 10, 80), out = add(b, 0, ENGINE_STORE, 12, 80);
    run(b);
    expect(b, in, 0, 10);
    expect(b, out, 0, 12);
}

static void instructions_without_cost_pass(void **state)
{
    struct bench *b = *state;
    int a = add(b, 0, ENGINE_CONV, 0, 0), c = add(b, 0, ENGINE_POOL, 0, 0);
    waits_for(b, c, 0, ENGINE_CONV, 1);
    int d = add(b, 0, ENGINE_CONV, 3, 0);
    waits_for(b, d, 0, ENGINE_POOL, 1);
    run(b);
    expect(b, a, 0, 0);
    expect(b, c, 0, 0);
    expect(b, d, 0, 3);
}

static void deadlocks_are_named(void **state)
{
    struct bench *b = *state;
    struct bpu_error err = {0};
    int a = add(b, 0, ENGINE_CONV, 1, 0), c = add(b, 0, ENGINE_POOL, 1, 0);
    waits_for(b, a, 0, ENGINE_POOL, 1);
    waits_for(b, c, 0, ENGINE_CONV, 1);
    assert_false(time_it(b, &err));
    assert_int_equal(err.code, BPU_BAD_MODEL);
    assert_string_equal(err.where, "instruction 0");
}

static void more_than_there_are_never_end(void **state)
{
    struct bench *b = *state;
    struct bpu_error err = {0};
    add(b, 0, ENGINE_CONV, 1, 0);
    int c = add(b, 0, ENGINE_POOL, 1, 0);
    waits_for(b, c, 0, ENGINE_CONV, 2);
    assert_false(time_it(b, &err));
    assert_string_equal(err.where, "instruction 1");
}

static void engines_that_are_none_are_refused(void **state)
{
    struct bench *b = *state;
    struct bpu_error err = {0};
    add(b, 0, ENGINE_CONV, 1, 0);
    b->code[0].core = MACHINE_MAX_CORES;
    assert_false(time_it(b, &err));
    assert_string_equal(err.where, "instruction 0");
}

/* Random programs: nothing starts before its waits, lanes keep their order, and no transfer is faster
 * than alone; the bus never carries more than it can. */
static void random_programs_keep_the_rules(void **state)
{
    struct bench *b = *state;
    uint64_t seed = 7;
    enum { N = 400 };
    static struct instruction code[N];
    static struct wait waits[N][3];
    static struct cost costs[N];
    b->p.code = code;
    b->p.code_count = N;
    for (int round = 0; round < 50; round++) {
        uint32_t count[PROGRAM_LANES] = {0};
        int64_t bytes = 0;
        for (int i = 0; i < N; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            unsigned r = (unsigned)(seed >> 33);
            code[i] = (struct instruction){.core = r & 1, .engine = (r >> 1) % 4, .waits = waits[i]};
            bool moves = code[i].engine <= ENGINE_STORE;
            double alone = 1 + (r >> 8) % 50;
            costs[i] = (struct cost){.cycles = alone + (r >> 16) % 20,
                                     .ddr_bytes = moves ? (int64_t)(alone * 8) : 0};
            bytes += costs[i].ddr_bytes;
            for (unsigned k = 0; k < (r >> 24) % 3; k++) {
                unsigned lane = (r >> (3 * k)) % 2 * ENGINE_COUNT + (r >> (5 + k)) % 4;
                if (count[lane])
                    waits[i][code[i].wait_count++] =
                        (struct wait){(uint8_t)lane, count[lane] - (r >> 4) % 2 % count[lane]};
            }
            count[instruction_lane(&code[i])]++;
        }
        struct bpu_error err = {0};
        assert_true(program_time_costs(&b->arena, &b->p, &b->m, costs, &b->t, &err));
        double end[PROGRAM_LANES] = {0}, last = 0;
        static double ends[PROGRAM_LANES][N + 1];
        memset(count, 0, sizeof count);
        for (int i = 0; i < N; i++) {
            int lane = instruction_lane(&code[i]);
            assert_true(b->t.at[i].start >= end[lane]);
            assert_true(b->t.at[i].end - b->t.at[i].start >= costs[i].cycles - 1e-6);
            for (int k = 0; k < code[i].wait_count; k++)
                assert_true(b->t.at[i].start >= ends[waits[i][k].lane][waits[i][k].count]);
            ends[lane][++count[lane]] = end[lane] = b->t.at[i].end;
            last = last > end[lane] ? last : end[lane];
        }
        assert_near(b->t.end, last, 0);
        assert_true(b->t.ddr_busy * b->m.ddr_total_bytes.v >= (double)bytes - 1e-6);
    }
}

/* Two engines at work share each moment; what nobody uses is idle; the sum is the whole time. */
static void shares_add_up_to_the_time(void **state)
{
    struct bench *b = *state;
    struct bpu_error err = {0};
    double shares[2], idle;
    b->p.source_count = 2;
    add(b, 0, ENGINE_CONV, 10, 0);                                /* 0 … 10: of source 0 */
    b->code[add(b, 0, ENGINE_POOL, 4, 0)].source = 1;             /* 0 … 4 */
    int c = add(b, 0, ENGINE_CONV, 6, 0);                         /* 10 … 16 */
    b->code[c].source = 1;
    run(b);
    assert_true(program_time_shares(&b->arena, &b->p, &b->t, shares, &idle, &err));
    assert_near(shares[0], 2 + 6, 1e-9);
    assert_near(shares[1], 2 + 6, 1e-9);
    assert_near(idle, 0, 1e-9);
    b->code[c].source = 7; /* of nothing that has a name */
    assert_true(program_time_shares(&b->arena, &b->p, &b->t, shares, &idle, &err));
    assert_near(shares[1], 2, 1e-9);
    assert_near(idle, 6, 1e-9);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(empty_program_ends_at_once),
                                       T(lanes_run_side_by_side_and_in_order),
                                       T(waits_hold_an_instruction_and_those_behind_it),
                                       T(transfers_share_the_bus),
                                       T(the_bus_is_given_back),
                                       T(latency_uses_no_bandwidth),
                                       T(slow_transfers_leave_the_rest),
                                       T(costs_below_the_rate_are_believed),
                                       T(without_figures_costs_alone_count),
                                       T(instructions_without_cost_pass),
                                       T(deadlocks_are_named),
                                       T(more_than_there_are_never_end),
                                       T(engines_that_are_none_are_refused),
                                       T(random_programs_keep_the_rules),
                                       T(shares_add_up_to_the_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
