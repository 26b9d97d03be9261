/* Advice is found by asking "what if": the costs of some instructions are changed to what they would be
 * after a change of the network, and the same program is timed again.  So a win is real time: a layer
 * that hides behind transfers wins nothing however much of its work is padding.
 *
 * Timing costs a walk over the program, so questions are sorted first by what they can win at most:
 * the cycles that they take off the critical chain.  They are asked in that order until the next one
 * cannot beat what there is, or the walks are used up.  Wins do not add up: each is timed alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/perf/advice.h"

#define LEAST 0.002     /* of the latency: what wins less is not said */
#define WALKS 40000     /* instructions that are timed again in all … */
#define LEAST_TIMINGS 4 /* … but so many questions at least */
#define MOST_TIMINGS 48

/* ── for the kinds ── */

const char *advice_name(const struct advisor *a, int source, char out[ADVICE_NAME_MAX])
{
    const char *name = source >= 0 && source < a->p->source_count ? a->p->sources[source].name : NULL;
    size_t n = name ? strlen(name) : 0;
    if (n < ADVICE_NAME_MAX) {
        memcpy(out, name ? name : "", n + 1);
        return out;
    }
    /* The end tells layers apart; not from the middle of a character. */
    const char *end = name + n - (ADVICE_NAME_MAX - 4);
    while (((unsigned char)*end & 0xc0) == 0x80)
        end++;
    snprintf(out, ADVICE_NAME_MAX, "...%s", end);
    return out;
}

double advice_us(const struct advisor *a, double cycles)
{
    return a->m->clock_mhz.v > 0 ? cycles / a->m->clock_mhz.v : 0;
}

const char *advice_bytes(double bytes, char out[32])
{
    if (bytes < 10240)
        snprintf(out, 32, "%.0f bytes", bytes);
    else if (bytes < 1048576)
        snprintf(out, 32, "%.3g KiB", bytes / 1024);
    else
        snprintf(out, 32, "%.3g MiB", bytes / 1048576);
    return out;
}

void advice_change(struct advisor *a, int i, struct cost c)
{
    const struct cost *was = &a->costs[i], *now = &a->costs_now[i];
    bool first = !(was->cycles < now->cycles || was->cycles > now->cycles) &&
                 was->ddr_bytes == now->ddr_bytes;
    bool differs = c.cycles < now->cycles || c.cycles > now->cycles || c.ddr_bytes != now->ddr_bytes;
    if (first && differs)
        a->changed[a->changed_count++] = i;
    a->costs[i] = c;
}

void advice_move_less(struct advisor *a, int i, double bytes)
{
    struct cost c = a->costs[i];
    double fixed = a->m->issue_cycles.v + a->m->ddr_latency_cycles.v;
    double moved = (double)c.ddr_bytes;
    double left = moved > 0 ? fmax(0, 1 - bytes / moved) : 0;
    c.cycles = left > 0 ? fixed + fmax(0, c.cycles - fixed) * left : 0;
    c.ddr_bytes = (int64_t)(moved * left);
    advice_change(a, i, c);
}

static void undo(struct advisor *a)
{
    for (int k = 0; k < a->changed_count; k++)
        a->costs[a->changed[k]] = a->costs_now[a->changed[k]];
    a->changed_count = 0;
}

bool advice_ask(struct advisor *a, const struct what_if *w)
{
    double bound = 0;
    bool moves = false;
    w->kind->change(a, w);
    for (int k = 0; k < a->changed_count; k++) {
        int i = a->changed[k];
        if (a->flow.critical[i])
            bound += a->costs_now[i].cycles - a->costs[i].cycles;
        moves = moves || a->flow.traffic[i] != TRAFFIC_NONE;
    }
    if (moves)
        bound += a->flow.contention;
    if (w->machine)
        bound = a->perf->timing->end;
    undo(a);
    if (bound < LEAST * a->perf->timing->end)
        return true;
    struct what_if *list = arena_grow(a->perf->arena, a->list, a->count, a->count + 1, sizeof *list,
                                      &a->capacity, a->err);
    if (!list)
        return false;
    a->list = list;
    list[a->count] = *w;
    list[a->count++].bound = bound;
    return true;
}

/* ── asking ── */

static int by_bound(const void *x, const void *y)
{
    const struct what_if *a = x, *b = y;
    if (a->bound < b->bound || b->bound < a->bound)
        return a->bound > b->bound ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return (a->subject > b->subject) - (a->subject < b->subject);
}

static int by_win(const void *x, const void *y)
{
    const struct perf_advice *a = x, *b = y;
    if (a->win_us < b->win_us || b->win_us < a->win_us)
        return a->win_us > b->win_us ? -1 : 1;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    return strcmp(a->code, b->code);
}

/* Cycles that the program would be shorter. */
static bool answer(struct advisor *a, const struct what_if *w, double *win)
{
    struct arena_mark mark = arena_mark(a->perf->arena);
    struct program_timing t;
    w->kind->change(a, w);
    bool ok = program_time_costs(a->perf->arena, a->p, w->machine ? w->machine : a->m, a->costs, &t,
                                 a->err);
    undo(a);
    arena_rewind(a->perf->arena, mark);
    *win = ok ? a->perf->timing->end - t.end : 0;
    return ok;
}

/* The worst of the best `most`. */
static double to_beat(const double *wins, int count, int most)
{
    return count < most ? 0 : wins[most - 1];
}

static void keep(double *wins, int *count, int most, double win)
{
    int at = *count < most ? (*count)++ : most;
    if (at == most && !(win > wins[--at]))
        return;
    for (; at > 0 && wins[at - 1] < win; at--)
        wins[at] = wins[at - 1];
    wins[at] = win;
}

static int said_of(const struct perf_advice *list, int count, const char *code)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        n += list[i].code == code;
    return n;
}

static bool ask_all(struct advisor *a, int most)
{
    double least = LEAST * a->perf->timing->end;
    int walks = a->p->code_count > 0 ? WALKS / a->p->code_count : 0;
    struct perf *p = a->perf;
    struct perf_advice *said = ARENA_ARRAY(p->arena, struct perf_advice, a->count, a->err);
    double *wins = said ? ARENA_ARRAY(p->arena, double, most, a->err) : NULL;
    int kept = 0, count = 0;
    if (!wins)
        return false;
    if (a->count > 1)
        qsort(a->list, a->count, sizeof *a->list, by_bound);
    if (walks < LEAST_TIMINGS)
        walks = LEAST_TIMINGS;
    if (walks > MOST_TIMINGS)
        walks = MOST_TIMINGS;
    for (size_t k = 0; k < a->count && walks > 0; k++) {
        const struct what_if *w = &a->list[k];
        double win;
        if (w->bound <= to_beat(wins, kept, most))
            break;
        if (said_of(said, count, w->kind->code) == w->kind->most)
            continue;
        walks--;
        if (!answer(a, w, &win))
            return false;
        if (win < least)
            continue;
        struct perf_advice *out = &said[count];
        *out = (struct perf_advice){.source = -1,
                                    .code = w->kind->code,
                                    .win_us = advice_us(a, win),
                                    .actual = w->actual,
                                    .ideal = w->ideal};
        if (!w->kind->say(a, w, out->win_us, out))
            return false;
        if (!out->text)
            continue; /* the kind is not sure enough */
        keep(wins, &kept, most, win * (out->win_us / advice_us(a, win)));
        count++;
    }
    if (count > 1)
        qsort(said, (size_t)count, sizeof *said, by_win);
    p->advice = said;
    p->advice_count = count < most ? count : most;
    return true;
}

bool perf_advise(struct perf *p, int most, struct bpu_error *err)
{
    return perf_advise_network(p, most, NULL, NULL, err);
}

bool perf_advise_network(struct perf *p, int most, perf_cores_fn *on_cores, void *ctx,
                         struct bpu_error *err)
{
    struct advisor a = {.perf = p,
                        .p = p->program,
                        .m = p->machine,
                        .on_cores = on_cores,
                        .cores_ctx = ctx,
                        .err = err};
    int n = a.p->code_count;
    p->advice = NULL;
    p->advice_count = 0;
    if (most < 1 || n == 0 || !(p->timing->end > 0) || !(a.m->clock_mhz.v > 0))
        return true;
    struct cost *now = ARENA_ARRAY(p->arena, struct cost, n, err);
    a.costs = now ? ARENA_ARRAY(p->arena, struct cost, n, err) : NULL;
    a.changed = a.costs ? ARENA_ARRAY(p->arena, int, n, err) : NULL;
    if (!a.changed)
        return false;
    for (int i = 0; i < n; i++)
        a.costs[i] = now[i] = instruction_cost(a.m, &a.p->code[i]);
    a.costs_now = now;
    if (!flow_find(p, &a.flow, err))
        return false;
    for (int i = 0; i < n; i++)
        if (a.flow.critical[i] && a.flow.traffic[i] != TRAFFIC_NONE)
            a.flow.contention +=
                fmax(0, p->timing->at[i].end - p->timing->at[i].start - now[i].cycles);
    for (const struct advice_kind *k = advice_kinds; k->code; k++)
        if (!k->ask(&a, k))
            return false;
    return ask_all(&a, most);
}
