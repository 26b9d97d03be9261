/* sim_race: accesses to the same bytes, one of them a write, that nothing orders.
 *
 * Each cell of memory remembers who wrote it last, and the last reader of each lane since.  An
 * access is ordered after another one if its clock (sim_lanes.c) says that the other one has
 * finished.  What is found does not depend on the order in which this run happened to
 * execute: clocks follow from the waits alone.
 *
 * A cell is the largest power of two (up to 64 bytes) that divides the start of every run of bytes
 * of every tile in this part of memory.  Thus two accesses that share a cell share a byte, or one
 * of them ends in a piece of its last block that no other block can claim. */
#include <stdio.h>

#include "core/base/checked.h"
#include "core/sim/sim_machine.h"

#define MOST_GRAIN 64

static bool gather_tile(struct sim *s, const struct instruction *c, const struct tile *t,
                        bool writes, struct bpu_error *err)
{
    struct sim_memory *m = sim_memory_of(s, c, t);
    struct arena_mark mark = arena_mark(&s->scratch);
    struct sim_view v;
    if (!sim_view_make(&s->scratch, t, true, &v, err))
        return false;
    struct sim_area *a = sim_area_of(m, v.first, v.end);
    if (a && !a->read_only) {
        uint64_t bits = (uint64_t)a->grain;
        for (int64_t r = 0; r < v.row_count; r++)
            bits |= (uint64_t)(v.rows[r] - a->first);
        for (int64_t q = 0; q < v.run_count; q++)
            bits |= (uint64_t)v.runs[q].first;
        a->grain = (int64_t)(bits & (0 - bits));
        uint32_t lane = (uint32_t)1 << sim_lane_of(c);
        a->lanes_read |= writes ? 0 : lane;
        a->lanes_write |= writes ? lane : 0;
    }
    arena_rewind(&s->scratch, mark);
    return true;
}

static bool single(uint32_t set)
{
    return (set & (set - 1)) == 0;
}

static bool area_new(struct sim *s, struct sim_area *a, struct bpu_error *err)
{
    /* One engine alone keeps its own order; only its own operands could meet. */
    if (a->read_only || !a->lanes_write ||
        (single(a->lanes_read | a->lanes_write) && !a->lanes_read))
        return true;
    a->shift = __builtin_ctzll((uint64_t)a->grain);
    a->cells = ((a->end - a->first - 1) >> a->shift) + 1;
    for (int l = 0; l < PROGRAM_LANES; l++) {
        a->lane_slot[l] = -1;
        if (a->lanes_read >> l & 1) {
            a->lane_slot[l] = (int8_t)a->slots;
            a->slot_lane[a->slots++] = (uint8_t)l;
        }
    }
    int64_t slots;
    if (!checked_mul(a->cells, a->slots ? a->slots : 1, &slots))
        return error_set(err, BPU_LIMIT, a->what, "its memory is too large");
    a->writer = arena_alloc_array(s->arena, (size_t)a->cells, sizeof *a->writer, err);
    a->readers = arena_alloc_array(s->arena, (size_t)slots, sizeof *a->readers, err);
    return a->writer && a->readers;
}

static bool each_area(struct sim *s,
                      bool (*call)(struct sim *, struct sim_area *, struct bpu_error *),
                      struct bpu_error *err)
{
    for (int k = -1; k < s->program->cores; k++) {
        struct sim_memory *m = k < 0 ? &s->ddr : &s->sram[k];
        for (int i = 0; i < m->area_count; i++)
            if (!call(s, &m->areas[i], err))
                return false;
    }
    return true;
}

static bool area_grain(struct sim *s, struct sim_area *a, struct bpu_error *err)
{
    (void)s;
    (void)err;
    a->grain = MOST_GRAIN;
    return true;
}

static bool area_clear(struct sim *s, struct sim_area *a, struct bpu_error *err)
{
    (void)s;
    (void)err;
    if (a->writer) {
        memset(a->writer, 0, (size_t)a->cells * sizeof *a->writer);
        memset(a->readers, 0, (size_t)(a->cells * a->slots) * sizeof *a->readers);
    }
    return true;
}

bool sim_race_new(struct sim *s, struct bpu_error *err)
{
    char name[SIM_NAME_MAX];
    if (!each_area(s, area_grain, err))
        return false;
    for (int i = 0; i < s->program->code_count; i++) {
        const struct instruction *c = &s->program->code[i];
        for (int t = 0; t < c->tile_count; t++)
            if (c->tiles[t].n &&
                !gather_tile(s, c, &c->tiles[t], t < isa_row((enum opcode)c->op)->writes, err))
                return error_where(err, "%s", sim_name(s, i, name));
    }
    return each_area(s, area_new, err);
}

void sim_race_clear(struct sim *s)
{
    struct bpu_error none = {0};
    (void)each_area(s, area_clear, &none);
}

/* ── accesses ── */

struct access {
    struct sim *s;
    struct sim_area *area;
    int instruction, tile;
    uint32_t lane, number;
    uint32_t before[PROGRAM_LANES]; /* by lane: finished before this one started */
    bool writes;
};

static struct access access_of(struct sim *s, int instruction, int tile, struct sim_area *area,
                               bool writes)
{
    struct access x = {
        .s = s, .area = area, .instruction = instruction, .tile = tile, .writes = writes};
    const uint32_t *clock = s->clocks + (int64_t)instruction * s->used_count;
    for (int u = 0; u < s->used_count; u++)
        x.before[s->used[u]] = clock[u];
    x.lane = (uint32_t)sim_lane_of(&s->program->code[instruction]);
    x.number = s->numbers[instruction];
    return x;
}

static bool race(const struct access *x, const struct sim_view *v, int64_t cell, uint32_t lane,
                 uint32_t number, bool other_writes, struct bpu_error *err)
{
    char mine[SIM_NAME_MAX], name[SIM_NAME_MAX], operand[ISA_NAME_MAX];
    int other = x->s->lanes[lane].list[number - 1];
    enum opcode op = (enum opcode)x->s->program->code[x->instruction].op;
    long long at = (long long)(x->area->first + (cell << x->area->shift));
    isa_tile_name(op, x->tile, operand);
    sim_name(x->s, x->instruction, mine);
    if (other == x->instruction)
        return error_set(err, BPU_BAD_MODEL, mine,
                         "operand %s shares address %lld of %s with another operand, and one of "
                         "them is written",
                         operand, at, v->memory->name);
    return error_set(err, BPU_BAD_MODEL, mine,
                     "it %s address %lld of %s (operand %s), which %s %s, and nothing orders the "
                     "two",
                     x->writes ? "writes" : "reads", at, v->memory->name, operand,
                     sim_name(x->s, other, name), other_writes ? "writes" : "reads");
}

#define WRITER_LANE(w) ((w) >> SIM_LANE_SHIFT)
#define WRITER_NUMBER(w) ((w) & (((uint32_t)1 << SIM_LANE_SHIFT) - 1))

static bool ordered_writer(const struct access *x, uint32_t w)
{
    return WRITER_NUMBER(w) <= x->before[WRITER_LANE(w)];
}

static bool read_cells(const struct access *x, const struct sim_view *v, int64_t first, int64_t end,
                       uint32_t *known, struct bpu_error *err)
{
    struct sim_area *a = x->area;
    int slot = a->lane_slot[x->lane];
    for (int64_t cell = first; cell < end; cell++) {
        uint32_t w = a->writer[cell];
        if (w != *known) {
            if (!ordered_writer(x, w))
                return race(x, v, cell, WRITER_LANE(w), WRITER_NUMBER(w), true, err);
            *known = w;
        }
        a->readers[cell * a->slots + slot] = x->number;
    }
    return true;
}

static bool write_cells(const struct access *x, const struct sim_view *v, int64_t first,
                        int64_t end, const uint32_t *limit, uint32_t *known, struct bpu_error *err)
{
    struct sim_area *a = x->area;
    for (int64_t cell = first; cell < end; cell++) {
        uint32_t w = a->writer[cell];
        if (w != *known) {
            if (!ordered_writer(x, w))
                return race(x, v, cell, WRITER_LANE(w), WRITER_NUMBER(w), true, err);
            *known = w;
        }
        a->writer[cell] = x->lane << SIM_LANE_SHIFT | x->number;
        uint32_t *readers = a->readers + cell * a->slots;
        for (int i = 0; i < a->slots; i++) {
            if (readers[i] > limit[i])
                return race(x, v, cell, a->slot_lane[i], readers[i], false, err);
            readers[i] = 0;
        }
    }
    return true;
}

bool sim_race_read(struct sim *s, int instruction, int tile, const struct sim_view *v,
                   struct bpu_error *err)
{
    struct sim_area *a = sim_area_of(v->memory, v->first, v->end);
    uint32_t known = 0;
    if (!a || !a->writer)
        return true;
    struct access x = access_of(s, instruction, tile, a, false);
    SIM_EACH_RUN(v, first, bytes, {
        if (!read_cells(&x, v, (first - a->first) >> a->shift,
                        ((first - a->first + bytes - 1) >> a->shift) + 1, &known, err))
            return false;
    })
    return true;
}

bool sim_race_write(struct sim *s, int instruction, int tile, const struct sim_view *v,
                    struct bpu_error *err)
{
    struct sim_area *a = sim_area_of(v->memory, v->first, v->end);
    uint32_t known = 0, limit[PROGRAM_LANES];
    if (!a || !a->writer)
        return true;
    struct access x = access_of(s, instruction, tile, a, true);
    for (int i = 0; i < a->slots; i++)
        limit[i] = x.before[a->slot_lane[i]];
    SIM_EACH_RUN(v, first, bytes, {
        if (!write_cells(&x, v, (first - a->first) >> a->shift,
                         ((first - a->first + bytes - 1) >> a->shift) + 1, limit, &known, err))
            return false;
    })
    return true;
}
