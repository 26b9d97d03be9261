/* advice: what advice.c, advice_flow.c and the kinds of advice share; private to core/perf. */
#ifndef BPU_PERF_ADVICE_H
#define BPU_PERF_ADVICE_H

#include "core/perf/perf.h"

/* Room for a name in a sentence; a longer one is cut. */
#define ADVICE_NAME_MAX 96

/* ── what flows where: advice_flow.c ── */

/* Which layer made the map that a tile holds. */
enum { MAP_UNKNOWN = -1, MAP_INPUT = -2 };

/* Channels are the same in all maps of a class: what a depthwise layer, a pool or an addition links. */
struct map_class {
    int channels;
    bool fixed;                  /* given from outside, or an instruction needs this number */
    int first, count;            /* into flow.member: its instructions */
};

struct flow {
    int (*map)[PROGRAM_MAX_TILES]; /* by instruction and tile: the source that made it, or MAP_… */
    int *by_source, *source_first; /* instructions of source s: by_source[source_first[s]] … */
    int *class_of;               /* by source: index into classes, or -1: it makes no map */
    struct map_class *classes;
    int class_count;
    int *member;                 /* instructions by class */
    int *load_of;                /* by instruction: the load of its weights, if it is the first to use
                                    them, else -1 */
    enum traffic *traffic;       /* by instruction */
    bool *critical;              /* by instruction: on the chain that decides when the program ends */
    double contention;           /* cycles that critical transfers lost to others */
};
bool flow_find(struct perf *p, struct flow *out, struct bpu_error *err) BPU_CHECKED;

/* ── one question ── */

struct what_if {
    const struct advice_kind *kind;
    int subject;                 /* source, class, extent: the kind's own */
    int actual, ideal;
    double bound;                /* cycles: it wins no more */
    const struct machine *machine; /* NULL: the one that it is */
};

struct advisor {
    struct perf *perf;
    const struct program *p;
    const struct machine *m;
    struct flow flow;
    struct cost *costs;          /* of the question at hand */
    const struct cost *costs_now;
    int *changed, changed_count; /* instructions whose cost it changes */
    struct what_if *list;
    size_t count, capacity;
    perf_cores_fn *on_cores;     /* NULL: there is only the program */
    void *cores_ctx;
    struct bpu_error *err;
};

/* A kind of advice: one row. */
struct advice_kind {
    const char *code;
    int most; /* pieces of advice of this kind */
    bool (*ask)(struct advisor *a, const struct advice_kind *k);     /* adds questions */
    void (*change)(struct advisor *a, const struct what_if *w);      /* the costs that it would have */
    /* Fills out; leaves its text NULL if it had better say nothing.  May put a better figure in
     * place of win_us. */
    bool (*say)(struct advisor *a, const struct what_if *w, double win_us, struct perf_advice *out);
};
extern const struct advice_kind advice_kinds[]; /* code NULL ends them */

/* For ask: w.bound is worked out here; what wins too little is dropped. */
bool advice_ask(struct advisor *a, const struct what_if *w) BPU_CHECKED;
/* For change: instruction i would cost that. */
void advice_change(struct advisor *a, int i, struct cost c);
/* For change: transfer i would move so many bytes less; without all of them it is not there. */
void advice_move_less(struct advisor *a, int i, double bytes);
/* Bytes that transfer i moves now. */
static inline double advice_moved(const struct advisor *a, int i)
{
    return (double)a->costs_now[i].ddr_bytes;
}

/* ── the kinds ── */

#define ADVICE_KIND(name)                                                                          \
    bool ask_##name(struct advisor *a, const struct advice_kind *k);                               \
    void change_##name(struct advisor *a, const struct what_if *w);                                \
    bool say_##name(struct advisor *a, const struct what_if *w, double win_us,                     \
                    struct perf_advice *out)
/* advice_extents.c */
ADVICE_KIND(channels);
ADVICE_KIND(columns);
ADVICE_KIND(rows);
/* advice_memory.c */
ADVICE_KIND(weights);
ADVICE_KIND(spill);
ADVICE_KIND(spills);
ADVICE_KIND(batch);
ADVICE_KIND(cores);
/* advice_engines.c */
ADVICE_KIND(host);
ADVICE_KIND(table);
ADVICE_KIND(engine);
ADVICE_KIND(depthwise);
ADVICE_KIND(issue);
ADVICE_KIND(wide);

/* No network has more channels or columns; a damaged file may say so. */
#define ADVICE_MOST_EXTENT (1 << 24)

/* Extents in whole steps. */
static inline int advice_up(int v, double step)
{
    int64_t s = step >= 1 ? (int64_t)step : 1, up = (v + s - 1) / s * s;
    return up < INT32_MAX ? (int)up : INT32_MAX;
}

static inline int advice_down(int v, double step)
{
    int s = step >= 1 ? (int)step : 1;
    return v / s * s;
}

/* A layer's name, cut to fit a sentence, in `out`. */
const char *advice_name(const struct advisor *a, int source, char out[ADVICE_NAME_MAX]);
double advice_us(const struct advisor *a, double cycles);
/* "2.44 MiB". */
const char *advice_bytes(double bytes, char out[32]);

#endif
