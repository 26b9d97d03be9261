/* The starts and ends of all instructions in order of time.
 *
 * A lane does one thing after the other, so its starts and ends are in order already; what is left
 * is to merge a few dozen lists. */
#include <math.h>

#include "core/perf/perf_private.h"

struct list {
    int now; /* instruction, -1: no more */
    bool ends;
};

static double time_of(const struct perf_work *w, const struct list *l)
{
    return l->ends ? w->t->at[l->now].end : w->t->at[l->now].start;
}

static int skip_empty(const struct perf_work *w, const int *next, int i)
{
    while (i >= 0 && !(w->t->at[i].end > w->t->at[i].start))
        i = next[i];
    return i;
}

/* Instructions of each lane in order: the first into `lists`, then by next[]. */
static void link_lanes(const struct perf_work *w, struct list lists[PROGRAM_LANES], int *next)
{
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        lists[lane] = (struct list){.now = -1};
    for (int i = w->p->code_count - 1; i >= 0; i--) {
        struct list *l = &lists[instruction_lane(&w->p->code[i])];
        next[i] = l->now;
        l->now = i;
    }
}

static void merge(struct perf_work *w, struct list lists[PROGRAM_LANES], const int *next)
{
    for (;;) {
        struct list *first = NULL;
        double at = INFINITY;
        for (int lane = 0; lane < PROGRAM_LANES; lane++) {
            struct list *l = &lists[lane];
            if (l->now < 0)
                continue;
            double time = time_of(w, l);
            if (!first || time < at || (time <= at && l->ends && !first->ends)) {
                first = l;
                at = time;
            }
        }
        if (!first)
            return;
        w->events[w->event_count++] = (struct perf_event){at, first->now, first->ends};
        if (first->ends)
            first->now = skip_empty(w, next, next[first->now]);
        first->ends = !first->ends;
    }
}

bool perf_events(struct perf_work *w, struct bpu_error *err)
{
    struct list lists[PROGRAM_LANES];
    struct arena *a = w->out->arena;
    w->events = ARENA_ARRAY(a, struct perf_event, (size_t)w->p->code_count * 2, err);
    int *next = w->events ? ARENA_ARRAY(a, int, w->p->code_count, err) : NULL;
    if (!next)
        return false;
    link_lanes(w, lists, next);
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        lists[lane].now = skip_empty(w, next, lists[lane].now);
    merge(w, lists, next);
    return true;
}
