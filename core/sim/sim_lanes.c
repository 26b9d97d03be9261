/* sim_lanes: waits, clocks, and the order in which instructions run.
 *
 * Everything that an instruction may rely on is its clock: how many instructions of each lane have
 * finished before it starts, because it waits for them, or for one that waited for them.  Clocks
 * follow from the program alone; they are worked out once, in any order in which the program can
 * run, and that finds the programs that cannot. */
#include <stdio.h>

#include "core/base/checked.h"
#include "core/sim/sim_machine.h"

static bool lanes_fill(struct sim *s, struct bpu_error *err)
{
    const struct program *p = s->program;
    s->numbers = ARENA_ARRAY(s->arena, uint32_t, p->code_count, err);
    if (!s->numbers)
        return false;
    for (int i = 0; i < p->code_count; i++) {
        const struct instruction *c = &p->code[i];
        char name[SIM_NAME_MAX];
        if (c->core >= p->cores || c->engine >= ENGINE_COUNT)
            return error_set(err, BPU_BAD_MODEL, sim_name(s, i, name),
                             "there is no engine %d of core %d", c->engine, c->core);
        s->numbers[i] = (uint32_t)++s->lanes[sim_lane_of(c)].count;
    }
    for (int l = 0; l < PROGRAM_LANES; l++) {
        if (!s->lanes[l].count)
            continue;
        s->used[s->used_count++] = (uint8_t)l;
        s->lanes[l].list = ARENA_ARRAY(s->arena, int, s->lanes[l].count, err);
        if (!s->lanes[l].list)
            return false;
    }
    for (int i = 0; i < p->code_count; i++)
        s->lanes[sim_lane_of(&p->code[i])].list[s->numbers[i] - 1] = i;
    return true;
}

static bool waits_exist(const struct sim *s, struct bpu_error *err)
{
    char name[SIM_NAME_MAX];
    for (int i = 0; i < s->program->code_count; i++) {
        const struct instruction *c = &s->program->code[i];
        for (int k = 0; k < c->wait_count; k++) {
            const struct wait *w = &c->waits[k];
            if (w->lane < PROGRAM_LANES && w->count <= (uint32_t)s->lanes[w->lane].count)
                continue;
            return error_set(err, BPU_BAD_MODEL, sim_name(s, i, name),
                             "it waits for %u instructions of engine %s of core %d, which has %d",
                             (unsigned)w->count, engine_name((enum engine)(w->lane % ENGINE_COUNT)),
                             w->lane / ENGINE_COUNT,
                             w->lane < PROGRAM_LANES ? s->lanes[w->lane].count : 0);
        }
    }
    return true;
}

static bool can_start(const struct sim *s, int i)
{
    const struct instruction *c = &s->program->code[i];
    for (int k = 0; k < c->wait_count; k++)
        if ((uint32_t)s->lanes[c->waits[k].lane].done < c->waits[k].count)
            return false;
    return true;
}

/* The next instruction of a used lane if it can start, else -1. */
static int head_of(const struct sim *s, int u)
{
    const struct sim_lane *l = &s->lanes[s->used[u]];
    if (l->done == l->count || !can_start(s, l->list[l->done]))
        return -1;
    return l->list[l->done];
}

static uint64_t sim_random(struct sim *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

int sim_lanes_next(struct sim *s)
{
    int best = -1, start = 0;
    if (s->options.order == SIM_RANDOM && s->used_count)
        start = (int)(sim_random(s) % (uint64_t)s->used_count);
    for (int u = 0; u < s->used_count; u++) {
        int i = head_of(s, (start + u) % s->used_count);
        if (i < 0)
            continue;
        if (s->options.order == SIM_RANDOM || s->options.order == SIM_AHEAD)
            return i;
        if (best < 0 || (s->options.order == SIM_BEHIND ? i > best : i < best))
            best = i;
    }
    return best;
}

void sim_lanes_start(struct sim *s)
{
    for (int l = 0; l < PROGRAM_LANES; l++)
        s->lanes[l].done = 0;
}

void sim_lanes_done(struct sim *s, int instruction)
{
    s->lanes[sim_lane_of(&s->program->code[instruction])].done++;
}

/* Everything that was not started waits for something that never comes. */
static bool stuck(const struct sim *s, struct bpu_error *err)
{
    char text[400] = "", name[SIM_NAME_MAX];
    size_t used = 0;
    int first = -1;
    for (int u = 0; u < s->used_count; u++) {
        const struct sim_lane *l = &s->lanes[s->used[u]];
        if (l->done == l->count)
            continue;
        int i = l->list[l->done];
        const struct instruction *c = &s->program->code[i];
        for (int k = 0; k < c->wait_count; k++) {
            const struct wait *w = &c->waits[k];
            if ((uint32_t)s->lanes[w->lane].done >= w->count)
                continue;
            int n = snprintf(text + used, sizeof text - used, "%s%d waits for %d", used ? ", " : "",
                             i, s->lanes[w->lane].list[w->count - 1]);
            used = n < 0 || (size_t)n >= sizeof text - used ? used : used + (size_t)n;
            first = first < 0 ? i : first;
            break;
        }
    }
    text[used] = 0;
    return error_set(err, BPU_BAD_MODEL, sim_name(s, first, name),
                     "instructions wait for each other and none can start: %s", text);
}

bool sim_lanes_new(struct sim *s, struct bpu_error *err)
{
    int64_t size;
    int count = s->program->code_count;
    if (!lanes_fill(s, err) || !waits_exist(s, err))
        return false;
    if (count >= 1 << SIM_LANE_SHIFT || !checked_mul(count, s->used_count, &size))
        return error_set(err, BPU_LIMIT, NULL, "%d instructions", count);
    uint32_t *ends = arena_reserve(s->arena, (size_t)size * sizeof *ends, err);
    s->clocks = arena_reserve(s->arena, (size_t)size * sizeof *s->clocks, err);
    if (!ends || !s->clocks)
        return false;
    int lane_used[PROGRAM_LANES] = {0}, n = s->used_count;
    for (int u = 0; u < n; u++)
        lane_used[s->used[u]] = u;
    sim_lanes_start(s);
    int i, done = 0;
    while ((i = sim_lanes_next(s)) >= 0) {
        const struct instruction *c = &s->program->code[i];
        const struct sim_lane *l = &s->lanes[sim_lane_of(c)];
        uint32_t *clock = s->clocks + (int64_t)i * n;
        if (l->done)
            memcpy(clock, ends + (int64_t)l->list[l->done - 1] * n, (size_t)n * sizeof *clock);
        else
            memset(clock, 0, (size_t)n * sizeof *clock);
        for (int k = 0; k < c->wait_count; k++) {
            const struct wait *w = &c->waits[k];
            if (!w->count)
                continue;
            const uint32_t *end = ends + (int64_t)s->lanes[w->lane].list[w->count - 1] * n;
            for (int u = 0; u < n; u++)
                clock[u] = end[u] > clock[u] ? end[u] : clock[u];
        }
        memcpy(ends + (int64_t)i * n, clock, (size_t)n * sizeof *clock);
        ends[(int64_t)i * n + lane_used[sim_lane_of(c)]] = s->numbers[i];
        sim_lanes_done(s, i);
        done++;
    }
    return done == count || stuck(s, err);
}
