/* machine: what the compiler, the simulator and the estimator know of a march's hardware.
 *
 *   DDR ══ LOAD ══▶ on-chip memory ◀══ CONV  POOL  RESIZE  ELTWISE  LUT  REDUCE  TRANSFORM  OTHER
 *       ◀═ STORE ══                      (engines of one core; each takes its instructions in order)
 *
 * A core has engines of its own and an on-chip memory of its own; cores share DDR.  HOST stands for
 * the CPU, which runs what the operator table places there, on maps in DDR.
 *
 * Every number is a row of MACHINE_MAP and carries its evidence in the march's data file.  The
 * table in docs/machine.md and GET /v1/marches/{march} are made from the rows. */
#ifndef BPU_MARCH_MACHINE_H
#define BPU_MARCH_MACHINE_H

#include <stddef.h>

#define ENGINE_MAP(X)                                                                              \
    X(LOAD, "load", "copies from DDR to on-chip memory")                                           \
    X(STORE, "store", "copies from on-chip memory to DDR")                                         \
    X(CONV, "conv", "multiplies and adds: convolution, matrix product")                            \
    X(POOL, "pool", "largest element or sum of windows")                                           \
    X(RESIZE, "resize", "interpolation, sampling, regions of interest")                            \
    X(ELTWISE, "eltwise", "arithmetic of two maps, clamps, rescaling")                             \
    X(LUT, "lut", "functions of one value by table")                                               \
    X(REDUCE, "reduce", "sums, extremes and positions along axes, sorting")                        \
    X(TRANSFORM, "transform", "moves elements on chip: permute, join, pad")                        \
    X(OTHER, "other", "normalization, softmax, recurrence: real arithmetic")                       \
    X(HOST, "host", "the CPU, on maps in DDR")

enum engine {
#define X(id, name, text) ENGINE_##id,
    ENGINE_MAP(X)
#undef X
        ENGINE_COUNT
};
const char *engine_name(enum engine e);
const char *engine_text(enum engine e);

#define MACHINE_MAX_CORES 2
#define MACHINE_MAX_BLOCKS 4

/* name, unit, what it is.  Cycles are those of clock_mhz.
 *
 * The conv array computes array_h x array_w result positions at a time.  For each position it has
 * array_cells cells; a cell multiplies array_in input channels by array_out result channels, of any
 * tap, group or block of channels: the products that a position needs are dealt out to them. */
#define MACHINE_MAP(X)                                                                             \
    X(cores, "cores", "BPU cores")                                                                 \
    X(clock_mhz, "MHz", "clock of the engines")                                                    \
    X(sram_bytes, "bytes", "on-chip memory of one core")                                           \
    X(sram_align, "bytes", "alignment of what lies in it, and of tensors in DDR")                  \
    X(array_h, "rows", "conv array: result rows at a time")                                        \
    X(array_w, "columns", "conv array: result columns at a time")                                  \
    X(array_in, "channels", "conv array: input channels of one of its cells")                      \
    X(array_out, "channels", "conv array: result channels of one of its cells")                    \
    X(array_cells, "cells", "conv array: pairs of input and result channels at a time")            \
    X(wide_passes, "passes", "conv array: passes over activations of 16 bits")                     \
    X(depthwise_h, "rows", "one filter per channel: result rows at a time")                        \
    X(depthwise_w, "columns", "one filter per channel: result columns at a time")                  \
    X(depthwise_c, "channels", "one filter per channel: channels at a time")                       \
    X(eltwise_bytes, "bytes/cycle", "elementwise engine, bytes of results")                        \
    X(lut_bytes, "bytes/cycle", "lookup engine, bytes of results")                                 \
    X(pool_bytes, "bytes/cycle", "pooling engine, bytes of input per tap")                         \
    X(resize_bytes, "bytes/cycle", "resize engine, bytes of results")                              \
    X(reduce_bytes, "bytes/cycle", "reduction engine, bytes of input")                             \
    X(transform_bytes, "bytes/cycle", "transform engine, bytes moved")                             \
    X(other_bytes, "bytes/cycle", "other engine, bytes of results")                                \
    X(issue_cycles, "cycles", "start-up of an instruction, on CONV of each frame")                 \
    X(ddr_load_bytes, "bytes/cycle", "DDR to chip, of one core working alone")                     \
    X(ddr_store_bytes, "bytes/cycle", "chip to DDR, of one core working alone")                    \
    X(ddr_total_bytes, "bytes/cycle", "DDR, all cores and both directions together")               \
    X(ddr_latency_cycles, "cycles", "from the start of a transfer to its first byte")              \
    X(ddr_burst_bytes, "bytes", "a transfer takes whole bursts per contiguous run")                \
    X(host_bytes, "bytes/cycle", "HOST, bytes of results")                                         \
    X(host_call_cycles, "cycles", "handing work over to the CPU and back")

/* A number and where it comes from: a published source, or "fitted: …", or "assumed: …". */
struct machine_figure {
    double v;
    const char *evidence;
};

/* How elements lie side by side in native memory: extents of a map are padded to multiples. */
struct machine_block {
    int h, w, c; /* h 0 ends the list */
    const char *name, *evidence;
};

struct machine {
#define X(name, unit, text) struct machine_figure name;
    MACHINE_MAP(X)
#undef X
    struct machine_block blocks[MACHINE_MAX_BLOCKS + 1];
};

struct march;
const struct machine *march_machine(const struct march *m);

/* The rows of MACHINE_MAP as a list; name NULL ends it. */
struct machine_row {
    const char *name, *unit, *text;
    size_t offset;
};
extern const struct machine_row machine_rows[];
const struct machine_figure *machine_row_figure(const struct machine *m,
                                                const struct machine_row *row);

#endif
