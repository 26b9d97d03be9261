/* What the files of core/perf share.
 *
 *   events.c     the starts and ends of a program in order of time
 *   layers.c     what each layer costs, and what binds it
 *   align.c      how far shapes are padded
 *   intervals.c  the run in equal cuts
 *   tensors.c    the bytes on the bus by what they belong to
 *   bounds.c     what no schedule can beat
 *   perf.c       all of it in order */
#ifndef BPU_PERF_PRIVATE_H
#define BPU_PERF_PRIVATE_H

#include "core/perf/perf.h"

/* The start or the end of an instruction; those that take no time have none. */
struct perf_event {
    double time; /* cycles */
    int instruction;
    bool ends;
};

/* What the parts are made from. */
struct perf_work {
    struct perf *out;
    const struct program *p;
    const struct machine *m;
    const struct program_timing *t;
    const struct cost *costs; /* by instruction */
    double us;                /* of one cycle */
    struct perf_event *events; /* ends before starts of the same moment */
    size_t event_count;
};

static inline bool perf_computes(enum engine e)
{
    return e != ENGINE_LOAD && e != ENGINE_STORE && e != ENGINE_HOST;
}

/* Adds counts that a file may have made up: the largest number instead of an overflow. */
int64_t perf_add(int64_t a, int64_t b);

bool perf_events(struct perf_work *w, struct bpu_error *err) BPU_CHECKED;
bool perf_layers(struct perf_work *w, struct bpu_error *err) BPU_CHECKED;
/* shape and aligned of every layer. */
bool perf_align(struct perf_work *w, struct bpu_error *err) BPU_CHECKED;
bool perf_intervals(struct perf_work *w, int count, struct bpu_error *err) BPU_CHECKED;
bool perf_tensors(struct perf_work *w, struct bpu_error *err) BPU_CHECKED;
void perf_bounds(struct perf_work *w);

#endif
