/* perf: where the time of a program goes.
 *
 *   program ─ program_time() ─ perf_measure() ─┬ layers      what each costs, on what, bound by what
 *                                              ├ intervals   utilization and bandwidth over time
 *                                              ├ tensors     DDR traffic by what is moved
 *                                              ├ memory      on-chip bytes over time
 *                                              └ bounds      roofline: computing, DDR, both
 *                              perf_advise() ──── advice      microseconds to win, found by timing again
 *
 * Everything follows from the program, its timing and the machine: no graph is needed, so a .bpu file
 * is as good as a model.  All times are microseconds of the machine's clock, all sizes bytes, all
 * rates bytes or operations per second, shares 0 … 1.  Every list lies in the arena. */
#ifndef BPU_PERF_PERF_H
#define BPU_PERF_PERF_H

#include "core/program/timing.h"
#include "core/program/traffic.h"

/* What a layer (or the program) would have to be given more of to get faster.  The largest part of the
 * layer's time decides: at each moment the instructions of the layer that are at work share it. */
#define PERF_BOUND_MAP(X)                                                                          \
    X(COMPUTE, "compute", "an engine works nearly all of the time, on useful elements")            \
    X(PADDING, "padding", "an engine works, and mostly on padding to its blocks")                  \
    X(ISSUE, "issue", "starting instructions takes longer than what they do")                      \
    X(LOAD, "load", "waits for bytes from DDR")                                                    \
    X(STORE, "store", "waits for bytes to DDR")                                                    \
    X(HOST, "host", "runs on the CPU")                                                             \
    X(NOTHING, "nothing", "takes no time of its own")

enum perf_bound {
#define X(id, name, text) PERF_BOUND_##id,
    PERF_BOUND_MAP(X)
#undef X
        PERF_BOUND_COUNT
};
const char *perf_bound_name(enum perf_bound b);
const char *perf_bound_text(enum perf_bound b);

/* One source of the program: a node after fusing, or a whole tensor. */
struct perf_layer {
    int source;                   /* index into program.sources */
    int64_t instructions;
    int64_t ops;                  /* 2 x MACs on unpadded shapes, as published reports count */
    double time_us, share;        /* its part of the latency; parts and idle add up to the latency */
    double busy_us[ENGINE_COUNT]; /* of all cores; transfers as long as they really take */
    double useful_us[ENGINE_COUNT]; /* what the shape would need without padding and start-up */
    double compute_us;            /* compute engines without DDR: vendor's "computing cost (no DDR)" */
    double load_us, store_us;     /* transfers; their sum is the vendor's "load/store cost" */
    double first_us, last_us;     /* from the first start to the last end: its active period */
    int64_t load_bytes, store_bytes, weight_bytes, spill_bytes; /* the last two are part of the others */
    int shape[4], aligned[4];     /* result, n h w c; padded to native blocks and to the array's steps */
    double padding;               /* share of the compute engines' work that is padding */
    enum perf_bound bound;
};

/* A cut of the run; all have the same length. */
struct perf_interval {
    double busy[ENGINE_COUNT];    /* share of the interval; all cores together, 1: all of them always */
    double compute;               /* share in which any compute engine works: "computing unit" */
    double load_bytes, store_bytes;
    int64_t sram_bytes;           /* the most that is in use on any core */
};

/* What moves over the bus. */
struct perf_tensor {
    const char *name;             /* of the input, output, or the layer whose weights or result it is */
    enum traffic kind;
    int64_t load_bytes, store_bytes;
};

/* Something to change, and what it would win, by timing the same program with the costs that it would
 * have then. */
struct perf_advice {
    int source;                   /* the layer; -1: the program as a whole */
    const char *code;             /* stable: "pad_channels", "weights_bound", "spill", … */
    const char *text;             /* one sentence with the figures */
    const char *action;           /* what to do */
    double win_us;                /* latency now - latency then */
    int actual, ideal;            /* the extent that is meant, if one is; else 0 */
};

struct perf {
    struct arena *arena;
    const struct program *program;
    const struct machine *machine;
    const struct program_timing *timing;
    int frames;                   /* per run: the batch of the first input */
    double latency_us, idle_us;   /* of one run; idle: nothing works */
    int64_t ops;                  /* of the BPU, per run */
    int64_t load_bytes, store_bytes; /* per run, on the bus */
    int64_t traffic[TRAFFIC_COUNT];
    double busy_us[PROGRAM_LANES];
    double utilization;           /* ops / (latency x what the conv arrays of the cores in use could do) */
    double peak_ops;              /* a second, of the cores in use */
    double compute_bound_us;      /* the busiest compute engine without waiting */
    double ideal_compute_us;      /* ops at the array's peak */
    double ddr_bound_us;          /* constants, inputs and outputs once over the bus */
    double bound_us;              /* the larger of compute_bound and ddr_bound */
    struct perf_layer *layers;    /* in the order of program.sources */
    int layer_count;
    int *order;                   /* layers by time_us, the longest first */
    struct perf_interval *intervals;
    int interval_count;
    double interval_us;
    struct perf_tensor *tensors;  /* the most bytes first */
    int tensor_count;
    struct perf_advice *advice;   /* the largest win first */
    int advice_count;
};

/* intervals: how many cuts; 0: about one a millisecond, between 8 and 64 (published reports: 1 or 2 ms). */
bool perf_measure(struct arena *a, const struct program *p, const struct machine *m,
                  const struct program_timing *t, int intervals, struct perf *out,
                  struct bpu_error *err) BPU_CHECKED;
/* Fills advice: at most `most` of them, none that wins less than 0.2 % of the latency. */
bool perf_advise(struct perf *p, int most, struct bpu_error *err) BPU_CHECKED;
/* The latency of the same network compiled for so many cores, microseconds; less than 0: not known. */
typedef double perf_cores_fn(void *ctx, int cores);
/* The same where the network is at hand: what the second core wins is found by compiling for it. */
bool perf_advise_network(struct perf *p, int most, perf_cores_fn *on_cores, void *ctx,
                         struct bpu_error *err) BPU_CHECKED;

/* ── expected error: core/perf/accuracy.c, whose numbers `make accuracy` writes ── */

/* How far a latency may be off, from the comparison with published runs. */
struct perf_accuracy {
    bool known;                   /* false: no network was predicted; text says what is known instead */
    double median, p90, worst;    /* |predicted / published - 1|, each network left out of its own fit */
    int networks;
    const char *text;             /* "±8 % (leave-one-out, bernoulli2, 6 networks)" */
};
struct perf_accuracy perf_accuracy_of(const char *march);

#endif
