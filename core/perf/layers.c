/* What each layer costs.
 *
 * One walk over the events.  Between two of them a few instructions are at work; they share that
 * moment equally, so that the times of all layers and idleness add up to the latency.  The same
 * share goes to a cause: a transfer waits for DDR; an engine starts, works on useful elements, and
 * works on padding, in the proportions of its cost.  The cause with the most of a layer's time is
 * what binds it.
 *
 * How long it computes, loads and stores are times on the clock: the time in which at least one
 * of its instructions does so, whatever others do meanwhile. */
#include <math.h>
#include <stdlib.h>

#include "core/perf/perf_private.h"

/* Causes of a layer's time, cycles; index enum perf_bound. */
struct causes {
    double part[PERF_BOUND_COUNT];
};

struct walk {
    struct perf_work *w;
    struct causes *causes;          /* by layer */
    int working[PROGRAM_LANES], count;
    double idle;
};

/* ── a moment ── */

static void blame(const struct perf_work *w, struct causes *c, int instruction, double cycles)
{
    enum engine e = (enum engine)w->p->code[instruction].engine;
    const struct cost *cost = &w->costs[instruction];
    if (!perf_computes(e)) {
        c->part[e == ENGINE_LOAD    ? PERF_BOUND_LOAD
                : e == ENGINE_STORE ? PERF_BOUND_STORE
                                    : PERF_BOUND_HOST] += cycles;
        return;
    }
    double all = cost->cycles, start = fmin(cost->start_cycles, all);
    double useful = fmax(0, fmin(cost->useful_cycles, all - start));
    if (!(all > 0))
        return;
    c->part[PERF_BOUND_ISSUE] += cycles * start / all;
    c->part[PERF_BOUND_COMPUTE] += cycles * useful / all;
    c->part[PERF_BOUND_PADDING] += cycles * (all - start - useful) / all;
}

/* Adds the moment once to each layer that computes, loads, stores in it. */
static void add_clock_time(const struct walk *k, double cycles)
{
    const struct perf_work *w = k->w;
    for (int i = 0; i < k->count; i++) {
        const struct instruction *in = &w->p->code[k->working[i]];
        int kind = in->engine == ENGINE_LOAD ? 1 : in->engine == ENGINE_STORE ? 2 : 0;
        bool seen = false;
        for (int j = 0; j < i && !seen; j++) {
            const struct instruction *other = &w->p->code[k->working[j]];
            int its = other->engine == ENGINE_LOAD ? 1 : other->engine == ENGINE_STORE ? 2 : 0;
            seen = other->source == in->source && its == kind;
        }
        struct perf_layer *l = &w->out->layers[in->source];
        double *of[] = {&l->compute_us, &l->load_us, &l->store_us};
        if (!seen)
            *of[kind] += cycles * w->us;
    }
}

static void pass(struct walk *k, double from, double to)
{
    const struct perf_work *w = k->w;
    double cycles = to - from;
    if (!(cycles > 0))
        return;
    if (k->count == 0)
        k->idle += cycles;
    for (int i = 0; i < k->count; i++) {
        uint32_t source = w->p->code[k->working[i]].source;
        w->out->layers[source].time_us += cycles / k->count * w->us;
        blame(w, &k->causes[source], k->working[i], cycles / k->count);
    }
    add_clock_time(k, cycles);
}

static void walk_events(struct walk *k)
{
    const struct perf_work *w = k->w;
    double now = 0;
    for (size_t e = 0; e < w->event_count; e++) {
        const struct perf_event *event = &w->events[e];
        pass(k, now, event->time);
        now = event->time;
        if (!event->ends) {
            k->working[k->count++] = event->instruction;
            continue;
        }
        for (int i = 0; i < k->count; i++)
            if (k->working[i] == event->instruction)
                k->working[i--] = k->working[--k->count];
    }
    pass(k, now, w->t->end);
}

/* ── sums over instructions ── */

static void add_instruction(struct perf_work *w, int i, double *worked)
{
    const struct instruction *in = &w->p->code[i];
    struct perf_layer *l = &w->out->layers[in->source];
    double start = w->t->at[i].start * w->us, end = w->t->at[i].end * w->us;
    int64_t bytes = w->costs[i].ddr_bytes;
    l->first_us = l->instructions ? fmin(l->first_us, start) : start;
    l->last_us = fmax(l->last_us, end);
    l->instructions++;
    l->busy_us[in->engine] += end - start;
    l->useful_us[in->engine] += w->costs[i].useful_cycles * w->us;
    if (perf_computes((enum engine)in->engine))
        worked[in->source] += fmax(0, w->costs[i].cycles - w->costs[i].start_cycles) * w->us;
    enum traffic t = instruction_traffic(w->p, in);
    if (in->engine == ENGINE_LOAD)
        l->load_bytes += bytes;
    else if (in->engine == ENGINE_STORE)
        l->store_bytes += bytes;
    l->weight_bytes += t == TRAFFIC_CONSTANTS ? bytes : 0;
    l->spill_bytes += t == TRAFFIC_SPILLS ? bytes : 0;
}

static enum perf_bound bound_of(const struct perf_layer *l, const struct causes *c)
{
    /* An engine's parts together compete with DDR and the CPU; then the largest of them is named. */
    const double *part = c->part;
    double engines =
        part[PERF_BOUND_COMPUTE] + part[PERF_BOUND_PADDING] + part[PERF_BOUND_ISSUE];
    if (!(l->time_us > 0))
        return PERF_BOUND_NOTHING;
    enum perf_bound most = PERF_BOUND_COMPUTE;
    for (int b = PERF_BOUND_PADDING; b <= PERF_BOUND_ISSUE; b++)
        if (part[b] > part[most])
            most = (enum perf_bound)b;
    double value = engines;
    for (int b = PERF_BOUND_LOAD; b <= PERF_BOUND_HOST; b++)
        if (part[b] > value) {
            most = (enum perf_bound)b;
            value = part[b];
        }
    return most;
}

static void close_layer(struct perf_work *w, int i, const struct causes *c, double worked)
{
    struct perf_layer *l = &w->out->layers[i];
    double useful = 0;
    bool on_cpu = l->busy_us[ENGINE_HOST] > 0; /* its products are none of the BPU's */
    for (int e = 0; e < ENGINE_COUNT; e++)
        if (perf_computes((enum engine)e)) {
            useful += l->useful_us[e];
            on_cpu = on_cpu && !(l->busy_us[e] > 0);
        }
    l->source = i;
    if (w->p->sources[i].macs > 0)
        l->ops = perf_add(w->p->sources[i].macs, w->p->sources[i].macs);
    l->share = w->out->latency_us > 0 ? l->time_us / w->out->latency_us : 0;
    l->padding = worked > 0 ? fmin(1, fmax(0, 1 - useful / worked)) : 0;
    l->bound = bound_of(l, c);
    if (!on_cpu)
        w->out->ops = perf_add(w->out->ops, l->ops);
}

/* ── the longest first ── */

static int by_time(const void *a, const void *b)
{
    const struct perf_layer *x = *(struct perf_layer *const *)a, *y = *(struct perf_layer *const *)b;
    if (x->time_us < y->time_us || y->time_us < x->time_us)
        return x->time_us > y->time_us ? -1 : 1;
    return (x->source > y->source) - (x->source < y->source);
}

static bool rank(struct perf *out, struct bpu_error *err)
{
    int n = out->layer_count;
    struct perf_layer **list = ARENA_ARRAY(out->arena, struct perf_layer *, n, err);
    out->order = list ? ARENA_ARRAY(out->arena, int, n, err) : NULL;
    if (!out->order)
        return false;
    for (int i = 0; i < n; i++)
        list[i] = &out->layers[i];
    qsort(list, (size_t)n, sizeof *list, by_time);
    for (int i = 0; i < n; i++)
        out->order[i] = list[i]->source;
    return true;
}

bool perf_layers(struct perf_work *w, struct bpu_error *err)
{
    struct perf *out = w->out;
    struct arena *a = out->arena;
    int n = w->p->source_count;
    struct walk k = {.w = w};
    out->layers = ARENA_ARRAY(a, struct perf_layer, n, err);
    out->layer_count = n;
    k.causes = out->layers ? ARENA_ARRAY(a, struct causes, n, err) : NULL;
    double *worked = k.causes ? ARENA_ARRAY(a, double, n, err) : NULL;
    if (!worked)
        return false;
    for (int i = 0; i < w->p->code_count; i++)
        add_instruction(w, i, worked);
    walk_events(&k);
    out->idle_us = k.idle * w->us;
    for (int i = 0; i < n; i++)
        close_layer(w, i, &k.causes[i], worked[i]);
    return rank(out, err);
}
