/* The run in equal cuts.
 *
 * A lane that works over several cuts is split among them.  A transfer's bytes move after its
 * start-up, evenly until its end.  On-chip memory is in use from the start of the first
 * instruction that touches a buffer to the end of the last. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "core/perf/perf_private.h"

enum { LEAST = 8, MOST = 64, AT_MOST = 4096 };

static int count_of(double latency_us, int wanted)
{
    if (wanted > 0)
        return wanted < AT_MOST ? wanted : AT_MOST;
    return (int)fmax(LEAST, fmin(MOST, ceil(latency_us / 1000)));
}

static int cores_with(const struct program_timing *t, int engine)
{
    int n = 0;
    for (int core = 0; core < MACHINE_MAX_CORES; core++)
        n += t->count[core * ENGINE_COUNT + engine] > 0;
    return n;
}

/* Deals `amount` out to the cuts that from … to touches, each by the part of it that lies inside;
 * field: offset of a double in struct perf_interval. */
static void spread(const struct perf_work *w, double from, double to, size_t field, double amount)
{
    const struct perf *out = w->out;
    double length = out->interval_us / w->us;
    int last = out->interval_count - 1;
    if (!(to > from) || !(length > 0))
        return;
    for (int i = (int)fmin(last, from / length); i <= last; i++) {
        double begin = fmax(from, i * length), end = i == last ? to : fmin(to, (i + 1) * length);
        if (i * length >= to)
            break;
        if (end > begin)
            *(double *)((char *)&out->intervals[i] + field) += amount * (end - begin) / (to - from);
    }
}

static void add_instruction(struct perf_work *w, int i)
{
    const struct instruction *in = &w->p->code[i];
    double from = w->t->at[i].start, to = w->t->at[i].end;
    double moving = fmin(to, from + w->costs[i].start_cycles), bytes = (double)w->costs[i].ddr_bytes;
    spread(w, from, to, offsetof(struct perf_interval, busy) + in->engine * sizeof(double), to - from);
    if (!(to > moving))
        moving = from;
    if (in->engine == ENGINE_LOAD)
        spread(w, moving, to, offsetof(struct perf_interval, load_bytes), bytes);
    else if (in->engine == ENGINE_STORE)
        spread(w, moving, to, offsetof(struct perf_interval, store_bytes), bytes);
}

/* The times in which one compute engine or more are at work. */
static void add_computing(struct perf_work *w)
{
    int working = 0;
    double since = 0;
    for (size_t e = 0; e < w->event_count; e++) {
        const struct perf_event *event = &w->events[e];
        if (!perf_computes((enum engine)w->p->code[event->instruction].engine))
            continue;
        if (!event->ends && working++ == 0)
            since = event->time;
        else if (event->ends && --working == 0)
            spread(w, since, event->time, offsetof(struct perf_interval, compute),
                   event->time - since);
    }
}

/* ── on-chip memory ── */

struct change {
    double time; /* cycles */
    int64_t bytes;
};

static int by_time(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    if (x->time < y->time || y->time < x->time)
        return x->time < y->time ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* what ends makes room */
}

static bool add_memory(struct perf_work *w, int core, struct bpu_error *err)
{
    const struct program *p = w->p;
    struct perf *out = w->out;
    double length = out->interval_us / w->us;
    struct arena_mark mark = arena_mark(out->arena);
    struct change *list = ARENA_ARRAY(out->arena, struct change, (size_t)p->buffer_count * 2, err);
    size_t n = 0;
    int64_t used = 0;
    int cut = 0;
    if (!list)
        return false;
    for (int i = 0; i < p->buffer_count; i++) {
        const struct program_buffer *b = &p->buffers[i];
        if (b->core != core || b->first >= (uint32_t)p->code_count ||
            b->last >= (uint32_t)p->code_count)
            continue;
        double from = w->t->at[b->first].start, to = w->t->at[b->last].end;
        list[n++] = (struct change){from, b->bytes};
        list[n++] = (struct change){fmax(from, to), -b->bytes};
    }
    qsort(list, n, sizeof *list, by_time);
    for (size_t k = 0; k < n; k++) {
        /* Cuts that end before this change hold what was there. */
        bool ends = list[k].bytes < 0;
        for (; cut < out->interval_count - 1; cut++) {
            double edge = (cut + 1) * length;
            if (ends ? edge >= list[k].time : edge > list[k].time)
                break;
            if (out->intervals[cut + 1].sram_bytes < used)
                out->intervals[cut + 1].sram_bytes = used;
        }
        used = perf_add(used, list[k].bytes);
        if (out->intervals[cut].sram_bytes < used)
            out->intervals[cut].sram_bytes = used;
    }
    arena_rewind(out->arena, mark);
    return true;
}

/* ── all of it ── */

bool perf_intervals(struct perf_work *w, int count, struct bpu_error *err)
{
    struct perf *out = w->out;
    out->interval_count = count_of(out->latency_us, count);
    out->interval_us = out->latency_us / out->interval_count;
    out->intervals = ARENA_ARRAY(out->arena, struct perf_interval, out->interval_count, err);
    if (!out->intervals)
        return false;
    double length = out->interval_us / w->us;
    add_computing(w);
    for (int i = 0; i < w->p->code_count; i++)
        add_instruction(w, i);
    for (int k = 0; k < out->interval_count; k++) {
        struct perf_interval *cut = &out->intervals[k];
        for (int e = 0; e < ENGINE_COUNT; e++) {
            int cores = cores_with(w->t, e);
            cut->busy[e] = cores && length > 0 ? cut->busy[e] / (length * cores) : 0;
        }
        cut->compute = length > 0 ? fmin(1, cut->compute / length) : 0;
    }
    for (int core = 0; core < MACHINE_MAX_CORES; core++)
        if (!add_memory(w, core, err))
            return false;
    return true;
}
