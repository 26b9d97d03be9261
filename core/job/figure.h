/* figure: the figures of a result that gates and comparisons speak of, by one name each.
 *
 * A report of any kind fills in those that it has (compare_read.c); a compilation those that it knows
 * without a report (gate_figures_of()). */
#ifndef BPU_JOB_FIGURE_H
#define BPU_JOB_FIGURE_H

#include <stdbool.h>
#include <stddef.h>

enum figure_better { BETTER_LOWER, BETTER_HIGHER, BETTER_NEITHER };

/* id, key of reports and gates, words for people, unit, which way is better.  The order is that of reports. */
#define FIGURE_MAP(X)                                                                              \
    X(LATENCY, "latency_us", "latency", "us", LOWER)                                               \
    X(FPS, "fps", "frames per second", "", HIGHER)                                                 \
    X(DDR, "ddr_bytes", "DDR traffic", "B", LOWER)                                                 \
    X(DDR_LOAD, "ddr_load_bytes", "loaded", "B", LOWER)                                            \
    X(DDR_STORE, "ddr_store_bytes", "stored", "B", LOWER)                                          \
    X(SPILLS, "spills_bytes", "spilled maps", "B", LOWER)                                          \
    X(SRAM, "sram_peak_bytes", "on-chip peak", "B", LOWER)                                         \
    X(PROGRAM, "program_bytes", "program", "B", LOWER)                                             \
    X(CONSTANTS, "constant_bytes", "constants", "B", LOWER)                                        \
    X(INSTRUCTIONS, "instructions", "instructions", "", NEITHER)                                   \
    X(OPS, "ops", "operations", "", NEITHER)                                                       \
    X(UTILIZATION, "utilization", "utilization", "%", HIGHER)                                      \
    X(BOUND, "bound_us", "no less than", "us", NEITHER)                                            \
    X(HOST, "host_nodes", "nodes on the CPU", "", LOWER)                                           \
    X(NODES, "nodes", "nodes", "", NEITHER)                                                        \
    X(ILLEGAL, "illegal_nodes", "illegal nodes", "", LOWER)                                        \
    X(CPU_SEGMENTS, "cpu_segments", "parts on the CPU", "", LOWER)                                 \
    X(TOP1, "top1", "top-1 in fixed point", "%", HIGHER)                                           \
    X(TOP5, "top5", "top-5 in fixed point", "%", HIGHER)                                           \
    X(FLOAT_TOP1, "float_top1", "top-1 in float", "%", HIGHER)                                     \
    X(FLOAT_TOP5, "float_top5", "top-5 in float", "%", HIGHER)                                     \
    X(LOSS, "loss_points", "lost to fixed point", "points", LOWER)                                 \
    X(AGREEMENT, "agreement", "same answer as float", "%", HIGHER)                                 \
    X(SQNR, "output_sqnr_db", "worst output", "dB", HIGHER)

enum figure {
#define X(id, key, label, unit, better) FIGURE_##id,
    FIGURE_MAP(X)
#undef X
        FIGURE_COUNT
};

struct figure_row {
    const char *key, *label, *unit;
    enum figure_better better;
};
const struct figure_row *figure_row(enum figure f);
/* By key, or by its short name ("latency", "ddr", "sram", "program", "spills", "sqnr"). */
bool figure_find(const char *name, size_t length, enum figure *out);

struct figure_value {
    bool known;
    double v; /* shares 0 … 1 where the unit is %; bytes where it is B */
    const char *why_not; /* where it is not known: the reason, or NULL */
};

/* "568.0 us", "3.99 MiB", "71.2 %": for people. */
const char *figure_text(enum figure f, double v, char *out, size_t size);
/* Sizes as people read them: "812 B", "12.4 KiB", "3.99 MiB"; a minus sign stays. */
const char *figure_bytes(double v, char *out, size_t size);

#endif
