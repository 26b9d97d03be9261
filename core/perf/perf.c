/* perf: the parts of a measurement in the order in which they need each other.
 *
 * Costs are worked out once, by instruction, and the starts and ends of the timing are put in order
 * once; everything else is a sum over one of the two.  No part looks at time a second time, so that
 * sums of the parts are sums of the same numbers. */
#include <math.h>

#include "core/perf/perf_private.h"

static const struct {
    const char *name, *text;
} bounds[PERF_BOUND_COUNT] = {
#define X(id, name, text) {name, text},
    PERF_BOUND_MAP(X)
#undef X
};

const char *perf_bound_name(enum perf_bound b)
{
    return bounds[b].name;
}

const char *perf_bound_text(enum perf_bound b)
{
    return bounds[b].text;
}

int64_t perf_add(int64_t a, int64_t b)
{
    return __builtin_add_overflow(a, b, &a) ? INT64_MAX : a;
}

/* The frames of a run stand along the first axis of the first input. */
static int frames_of(const struct program *p)
{
    if (p->input_count == 0 || p->inputs[0].shape.rank < 2)
        return 1;
    int64_t n = p->inputs[0].shape.dim[0];
    return n > 0 && n <= INT32_MAX ? (int)n : 1;
}

static struct cost *costs_of(struct arena *a, const struct program *p, const struct machine *m,
                             struct bpu_error *err)
{
    struct cost *costs = ARENA_ARRAY(a, struct cost, p->code_count, err);
    for (int i = 0; costs && i < p->code_count; i++)
        costs[i] = instruction_cost(m, &p->code[i]);
    return costs;
}

static void totals(struct perf_work *w)
{
    struct perf *out = w->out;
    out->latency_us = w->t->end * w->us;
    out->frames = frames_of(w->p);
    out->load_bytes = w->t->ddr_load;
    out->store_bytes = w->t->ddr_store;
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        out->busy_us[lane] = w->t->busy[lane] * w->us;
    for (int i = 0; i < w->p->code_count; i++)
        out->traffic[instruction_traffic(w->p, &w->p->code[i])] += w->costs[i].ddr_bytes;
}

bool perf_measure(struct arena *a, const struct program *p, const struct machine *m,
                  const struct program_timing *t, int intervals, struct perf *out,
                  struct bpu_error *err)
{
    struct perf_work w = {.out = out, .p = p, .m = m, .t = t};
    *out = (struct perf){.arena = a, .program = p, .machine = m, .timing = t};
    if (!(m->clock_mhz.v > 0))
        return error_set(err, BPU_UNSUPPORTED, NULL,
                         "the clock of this march is not known: cycles are no times");
    w.us = 1 / m->clock_mhz.v;
    if (!(w.costs = costs_of(a, p, m, err)))
        return false;
    totals(&w);
    if (!perf_events(&w, err) || !perf_layers(&w, err) || !perf_align(&w, err) ||
        !perf_intervals(&w, intervals, err) || !perf_tensors(&w, err))
        return false;
    perf_bounds(&w);
    return true;
}
