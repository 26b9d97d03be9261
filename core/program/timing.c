/* Events over at most PROGRAM_LANES lanes, each with one instruction at work.
 *
 * A transfer has two phases: what it needs beyond its bytes (start-up, latency), and its bytes.
 * Those that move bytes at the same time share ddr_total_bytes fairly: each gets what it can take,
 * at most an equal share of what the slower ones leave.  Between two events all rates are constant,
 * so the next event is the least of the ends; no heap is worth it for so few lanes. */
#include "core/program/timing.h"

#include <math.h>
#include <stdlib.h>

enum phase {
    PHASE_IDLE,  /* waits, or has no instruction left */
    PHASE_FIXED, /* ends at lane.ends */
    PHASE_BYTES, /* has lane.left bytes to move */
};

struct lane {
    enum phase phase;
    int next; /* instruction that comes next, or -1 */
    int now;  /* instruction at work */
    int wait; /* first wait of `next` that is not known to be met */
    uint32_t done;
    double ends;
    double left, own, rate; /* bytes; bytes per cycle: of its own, as things stand */
};

struct clock {
    const struct program *p;
    const struct machine *m;
    const struct cost *costs;
    struct program_timing *out;
    int *next_of_lane; /* by instruction */
    struct lane lanes[PROGRAM_LANES];
    int working[PROGRAM_LANES], working_count;
    int moving; /* lanes in PHASE_BYTES */
    double now;
};

/* Bytes per cycle that an engine moves alone; 0: it moves none, or nothing is known. */
static double own_rate(const struct machine *m, int engine)
{
    double v = engine == ENGINE_LOAD    ? m->ddr_load_bytes.v
               : engine == ENGINE_STORE ? m->ddr_store_bytes.v
                                        : 0;
    return v > 0 ? v : 0;
}

/* ── the bus ── */

/* Who can take less than an equal share gets it all; the others share what is left. */
static void share_bus(struct clock *c)
{
    int open[PROGRAM_LANES], count = 0;
    double room = c->m->ddr_total_bytes.v;
    for (int k = 0; k < c->working_count; k++) {
        struct lane *l = &c->lanes[c->working[k]];
        if (l->phase != PHASE_BYTES)
            continue;
        l->rate = l->own;
        open[count++] = c->working[k];
    }
    if (!(room > 0))
        return;
    for (bool again = true; again && count > 0;) {
        double part = room / count;
        int kept = 0;
        for (int k = 0; k < count; k++) {
            if (c->lanes[open[k]].own <= part)
                room -= c->lanes[open[k]].own;
            else
                open[kept++] = open[k];
        }
        again = kept < count;
        count = kept;
    }
    for (int k = 0; k < count; k++)
        c->lanes[open[k]].rate = room / count;
}

/* ── instructions ── */

static void begin(struct clock *c, int lane)
{
    struct lane *l = &c->lanes[lane];
    const struct cost *cost = &c->costs[l->next];
    int engine = lane % ENGINE_COUNT;
    double cycles = cost->cycles > 0 ? cost->cycles : 0;
    l->now = l->next;
    l->next = c->next_of_lane[l->now];
    l->wait = 0;
    l->left = cost->ddr_bytes > 0 ? (double)cost->ddr_bytes : 0;
    l->own = own_rate(c->m, engine);
    if (!(l->own > 0))
        l->left = 0; /* its time is all that is known */
    else if (l->left > l->own * cycles)
        l->own = cycles > 0 ? l->left / cycles : INFINITY;
    l->phase = PHASE_FIXED;
    l->ends = c->now + (l->left > 0 ? cycles - l->left / l->own : cycles);
    c->out->at[l->now].start = c->now;
    c->working[c->working_count++] = lane;
}

static bool ready(const struct clock *c, struct lane *l)
{
    const struct instruction *i = &c->p->code[l->next];
    for (; l->wait < i->wait_count; l->wait++) {
        const struct wait *w = &i->waits[l->wait];
        if (w->lane >= PROGRAM_LANES || c->lanes[w->lane].done < w->count)
            return false;
    }
    return true;
}

static void finish(struct clock *c, int lane)
{
    struct lane *l = &c->lanes[lane];
    struct timed *t = &c->out->at[l->now];
    double alone = c->costs[l->now].cycles > 0 ? c->costs[l->now].cycles : 0;
    t->end = c->now;
    c->out->busy[lane] += t->end - t->start;
    if (own_rate(c->m, lane % ENGINE_COUNT) > 0)
        c->out->ddr_slowed += fmax(0, t->end - t->start - alone);
    c->out->end = c->now;
    l->phase = PHASE_IDLE;
    l->done++;
}

/* Moves to the next event; false: nobody works. */
static bool advance(struct clock *c)
{
    double to = INFINITY;
    bool changed = false;
    int kept = 0;
    for (int k = 0; k < c->working_count; k++) {
        struct lane *l = &c->lanes[c->working[k]];
        if (l->phase == PHASE_BYTES)
            l->ends = c->now + l->left / l->rate;
        to = fmin(to, l->ends);
    }
    if (c->working_count == 0)
        return false;
    double passed = to - c->now;
    if (c->moving > 0)
        c->out->ddr_busy += passed;
    c->now = to;
    for (int k = 0; k < c->working_count; k++) {
        int lane = c->working[k];
        struct lane *l = &c->lanes[lane];
        bool ends = l->ends <= to, bytes = l->phase == PHASE_BYTES;
        if (bytes && !ends)
            l->left = fmax(0, l->left - l->rate * passed);
        if (ends && !bytes && l->left > 0) {
            l->phase = PHASE_BYTES;
            c->moving++;
            changed = true;
            ends = false;
        }
        if (ends) {
            c->moving -= bytes;
            changed = changed || bytes;
            finish(c, lane);
        } else
            c->working[kept++] = lane;
    }
    c->working_count = kept;
    if (changed && c->moving > 0)
        share_bus(c);
    return true;
}

static bool stuck(const struct clock *c, struct bpu_error *err)
{
    for (int lane = 0; lane < PROGRAM_LANES; lane++) {
        const struct lane *l = &c->lanes[lane];
        if (l->next < 0)
            continue;
        const struct wait *w = &c->p->code[l->next].waits[l->wait];
        error_set(err, BPU_BAD_MODEL, NULL, "it waits for instruction %u of lane %d, which never ends",
                  w->count, w->lane);
        return error_where(err, "instruction %d", l->next);
    }
    return true;
}

static bool link_lanes(struct clock *c, struct bpu_error *err)
{
    int last[PROGRAM_LANES];
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        last[lane] = c->lanes[lane].next = -1;
    for (int i = 0; i < c->p->code_count; i++) {
        const struct instruction *in = &c->p->code[i];
        int lane = instruction_lane(in);
        if (in->core >= MACHINE_MAX_CORES || in->engine >= ENGINE_COUNT) {
            error_set(err, BPU_BAD_MODEL, NULL, "engine %d of core %d is none of the machine",
                      in->engine, in->core);
            return error_where(err, "instruction %d", i);
        }
        *(last[lane] < 0 ? &c->lanes[lane].next : &c->next_of_lane[last[lane]]) = i;
        c->next_of_lane[i] = -1;
        last[lane] = i;
        c->out->count[lane]++;
        c->out->useful[i] = c->costs[i].useful_cycles;
        if (in->engine == ENGINE_LOAD)
            c->out->ddr_load += c->costs[i].ddr_bytes;
        else if (in->engine == ENGINE_STORE)
            c->out->ddr_store += c->costs[i].ddr_bytes;
    }
    return true;
}

bool program_time_costs(struct arena *a, const struct program *p, const struct machine *m,
                        const struct cost *costs, struct program_timing *out,
                        struct bpu_error *err)
{
    struct clock c = {.p = p, .m = m, .costs = costs, .out = out};
    *out = (struct program_timing){0};
    out->at = ARENA_ARRAY(a, struct timed, p->code_count, err);
    out->useful = out->at ? ARENA_ARRAY(a, double, p->code_count, err) : NULL;
    c.next_of_lane = out->useful ? ARENA_ARRAY(a, int, p->code_count, err) : NULL;
    if (!c.next_of_lane || !link_lanes(&c, err))
        return false;
    do {
        for (int lane = 0; lane < PROGRAM_LANES; lane++) {
            struct lane *l = &c.lanes[lane];
            if (l->phase == PHASE_IDLE && l->next >= 0 && ready(&c, l))
                begin(&c, lane);
        }
    } while (advance(&c));
    return stuck(&c, err);
}

bool program_time(struct arena *a, const struct program *p, const struct machine *m,
                  struct program_timing *out, struct bpu_error *err)
{
    struct cost *costs = ARENA_ARRAY(a, struct cost, p->code_count, err);
    for (int i = 0; costs && i < p->code_count; i++)
        costs[i] = instruction_cost(m, &p->code[i]);
    return costs && program_time_costs(a, p, m, costs, out, err);
}

/* ── shares ── */

struct moment {
    double time;
    int instruction;
    bool ends;
};

static int by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->time < y->time || y->time < x->time)
        return x->time < y->time ? -1 : 1;
    if (x->ends != y->ends)
        return x->ends ? -1 : 1;
    return (x->instruction > y->instruction) - (x->instruction < y->instruction);
}

bool program_time_shares(struct arena *a, const struct program *p, const struct program_timing *t,
                         double *shares, double *idle, struct bpu_error *err)
{
    int working[PROGRAM_LANES], count = 0; /* by lane: at most one */
    double now = 0;
    size_t n = 0;
    struct moment *list = ARENA_ARRAY(a, struct moment, (size_t)p->code_count * 2, err);
    if (!list)
        return false;
    for (int i = 0; i < p->code_count; i++) {
        if (!(t->at[i].end > t->at[i].start) || p->code[i].source >= (uint32_t)p->source_count)
            continue;
        list[n++] = (struct moment){t->at[i].start, i, false};
        list[n++] = (struct moment){t->at[i].end, i, true};
    }
    qsort(list, n, sizeof *list, by_time);
    for (int i = 0; i < p->source_count; i++)
        shares[i] = 0;
    *idle = 0;
    for (size_t k = 0; k < n; k++) {
        double passed = list[k].time - now;
        now = list[k].time;
        for (int i = 0; i < count; i++)
            shares[p->code[working[i]].source] += passed / count;
        if (count == 0)
            *idle += passed;
        if (!list[k].ends) {
            working[count++] = list[k].instruction;
            continue;
        }
        for (int i = 0; i < count; i++)
            if (working[i] == list[k].instruction)
                working[i--] = working[--count];
    }
    *idle += t->end - now;
    return true;
}
