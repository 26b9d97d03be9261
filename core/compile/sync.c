/* sync: from the order of the list to waits between engines.
 *
 * Read as one sequence, the instructions are right.  They stay right when each waits for the earlier
 * ones whose memory it meets: that wrote what it reads or writes, or read what it writes.  Memory is
 * looked at in granules; each knows its last writer and the last reader of each lane.  What a
 * lane knows to be finished follows its waits (a vector of counts per instruction), so that waits
 * that follow from others are left out. */
#include <string.h>

#include "core/compile/schedule.h"

struct granule {
    int writer;                /* instruction, or -1 */
    int reader[PROGRAM_LANES]; /* instruction, or -1 */
};

struct memory {
    struct granule *granules;
    int64_t first, count; /* address of the first granule */
    int size;
};

struct sync {
    struct program *p;
    struct arena *arena;
    struct bpu_error *err;
    int lanes;
    struct memory memory[MACHINE_MAX_CORES + 1]; /* SRAM of each core, DDR without the constants */
    uint32_t *known;    /* [instruction][lane]: finished when it ends, itself included */
    uint32_t *position; /* by instruction: in its lane, from 1 */
    int *last;          /* by lane: its newest instruction, or -1 */
    int needed[PROGRAM_LANES]; /* of the instruction at hand: the newest one to wait for */
};

static int lane_of(const struct instruction *i)
{
    return i->core * ENGINE_COUNT + i->engine;
}

static bool memory_init(struct sync *s, struct memory *m, int64_t first, int64_t end, int size)
{
    *m = (struct memory){.first = first, .size = size, .count = (end - first + size - 1) / size + 1};
    m->granules = ARENA_ARRAY(s->arena, struct granule, m->count, s->err);
    if (m->granules)
        memset(m->granules, 0xff, (size_t)m->count * sizeof *m->granules);
    return m->granules != NULL;
}

static void wait_for(struct sync *s, int instruction)
{
    if (instruction < 0)
        return;
    int lane = lane_of(&s->p->code[instruction]);
    if (instruction > s->needed[lane])
        s->needed[lane] = instruction;
}

static void touch_granules(struct sync *s, struct memory *m, int64_t first, int64_t end, bool write,
                           int now)
{
    int64_t a = (first - m->first) / m->size, b = (end - 1 - m->first) / m->size; /* NOLINT(clang-analyzer-core.DivideZero): memory_init() sets it */
    int lane = lane_of(&s->p->code[now]);
    if (first < m->first) /* constants: nobody writes them */
        return;
    for (int64_t i = a; i <= b && i < m->count; i++) {
        struct granule *g = &m->granules[i];
        wait_for(s, g->writer);
        if (!write) {
            g->reader[lane] = now;
            continue;
        }
        for (int k = 0; k < s->lanes; k++) {
            wait_for(s, g->reader[k]);
            g->reader[k] = -1;
        }
        g->writer = now;
    }
}

/* The rows that a box lies in, with all their columns and channels: one or two ranges. */
static void touch_tile(struct sync *s, const struct tile *t, bool write, int core, int now)
{
    struct memory *m = &s->memory[t->space == SPACE_SRAM ? core : MACHINE_MAX_CORES];
    if (t->n <= 0)
        return;
    if (t->stride_n || t->stride_w > t->stride_h || t->stride_c > t->stride_h) { /* host's order */
        int64_t first, end;
        tile_range(t, &first, &end);
        touch_granules(s, m, first, end, write, now);
        return;
    }
    int64_t a = (int64_t)t->n0 * t->frame_rows + t->h0;
    int64_t b = (int64_t)(t->n0 + t->n - 1) * t->frame_rows + t->h0 + t->h;
    int64_t block = t->block_h, ring = t->ring / block;
    a /= block;
    b = (b + block - 1) / block;
    if (ring && b - a >= ring) {
        a = 0;
        b = ring;
    } else if (ring) {
        int64_t n = b - a;
        a %= ring;
        b = a + n;
    }
    if (ring && b > ring) {
        touch_granules(s, m, t->base, t->base + (b - ring) * t->stride_h, write, now);
        b = ring;
    }
    touch_granules(s, m, t->base + a * t->stride_h, t->base + b * t->stride_h, write, now);
}

/* Waits for what is needed and not known to be finished. */
static bool add_waits(struct sync *s, int now)
{
    struct instruction *i = &s->p->code[now];
    uint32_t *known = s->known + (size_t)now * (size_t)s->lanes;
    int lane = lane_of(i), order[PROGRAM_LANES], count = 0;
    if (s->last[lane] >= 0)
        memcpy(known, s->known + (size_t)s->last[lane] * (size_t)s->lanes, (size_t)s->lanes * sizeof *known);
    for (int k = 0; k < s->lanes; k++)
        if (s->needed[k] >= 0 && k != lane) { /* newest first: it may cover the others */
            int at = count++;
            for (; at > 0 && s->needed[order[at - 1]] < s->needed[k]; at--)
                order[at] = order[at - 1];
            order[at] = k;
        }
    struct wait waits[PROGRAM_LANES];
    int n = 0;
    for (int k = 0; k < count; k++) {
        int other = s->needed[order[k]];
        if (known[order[k]] >= s->position[other])
            continue;
        waits[n++] = (struct wait){(uint8_t)order[k], s->position[other]};
        const uint32_t *theirs = s->known + (size_t)other * (size_t)s->lanes;
        for (int j = 0; j < s->lanes; j++)
            known[j] = theirs[j] > known[j] ? theirs[j] : known[j];
    }
    known[lane] = s->position[now];
    s->last[lane] = now;
    for (int a = 0; a < n; a++) /* in the order of lanes */
        for (int b = a + 1; b < n; b++)
            if (waits[b].lane < waits[a].lane) {
                struct wait w = waits[a];
                waits[a] = waits[b];
                waits[b] = w;
            }
    i->wait_count = n;
    i->waits = ARENA_ARRAY(s->arena, struct wait, n + 1, s->err);
    if (i->waits)
        memcpy(i->waits, waits, (size_t)n * sizeof *waits);
    return i->waits != NULL;
}

bool sync_program(struct arena *a, struct program *p, bool serial, struct bpu_error *err)
{
    struct sync s = {.p = p, .arena = a, .err = err, .lanes = p->cores * ENGINE_COUNT};
    size_t n = (size_t)p->code_count;
    int last[PROGRAM_LANES];
    uint32_t counts[PROGRAM_LANES] = {0};
    s.last = last;
    memset(last, 0xff, sizeof last);
    s.known = ARENA_ARRAY(a, uint32_t, n * (size_t)s.lanes + 1, err);
    s.position = ARENA_ARRAY(a, uint32_t, n + 1, err);
    if (!s.known || !s.position)
        return false;
    for (int c = 0; c < p->cores; c++)
        if (!memory_init(&s, &s.memory[c], 0, p->sram_bytes, SRAM_GRANULE))
            return false;
    if (!memory_init(&s, &s.memory[MACHINE_MAX_CORES],
                     p->constant_bytes / DDR_GRANULE * DDR_GRANULE, p->ddr_bytes, DDR_GRANULE))
        return false;
    for (int k = 0; k < p->code_count; k++) {
        struct instruction *i = &p->code[k];
        const int writes = isa_row((enum opcode)i->op)->writes;
        s.position[k] = ++counts[lane_of(i)];
        memset(s.needed, 0xff, sizeof s.needed);
        for (int t = 0; t < i->tile_count; t++)
            if (t >= writes)
                touch_tile(&s, &i->tiles[t], false, i->core, k);
        for (int t = 0; t < i->tile_count && t < writes; t++)
            touch_tile(&s, &i->tiles[t], true, i->core, k);
        s.needed[lane_of(i)] = -1;
        if (serial && k > 0)
            wait_for(&s, k - 1);
        if (!add_waits(&s, k))
            return false;
    }
    return true;
}
