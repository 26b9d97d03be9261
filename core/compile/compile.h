/* compile: from a fixed-point graph to a program.
 *
 *   lower      graph → layers over channels-last maps         lower*.c
 *   layout     native blocks of each map                      layout.c
 *   group      which layers run together, band by band        group.c
 *   sequence   the order of pieces, and the rings they need    sequence.c
 *   box        a layer whose rows do not fit, in boxes             box*.c
 *   place      addresses in on-chip memory and in DDR          place.c
 *   emit       pieces, loads and stores → instructions         emit.c
 *   sync       waits, from the memory that instructions touch  sync.c
 *
 * Every pass leaves what the next one reads in one struct, can be dumped as text, and is verified
 * where a mistake would otherwise show as wrong bits: the simulator has the last word. */
#ifndef BPU_COMPILE_COMPILE_H
#define BPU_COMPILE_COMPILE_H

#include "core/march/march.h"
#include "core/program/program.h"

enum compile_level {
    LEVEL_O0, /* each layer alone, all maps through DDR, nothing overlaps */
    LEVEL_O1, /* maps stay on chip where they fit; transfers overlap with computing */
    LEVEL_O2, /* and layers run together in bands of rows (default) */
    LEVEL_O3, /* and bands, cuts and residents are searched for the least time */
    LEVEL_FAST,    /* the longest search, for the least time */
    LEVEL_DDR,     /* the longest search, for the least DDR traffic */
    LEVEL_BALANCE, /* the longest search, for time * (100 - balance) + traffic * balance */
    LEVEL_COUNT
};
/* "O0" … "O3", "0" … "3", "fast", "ddr", "balance". */
bool compile_level_find(const char *name, enum compile_level *out);
const char *compile_level_name(enum compile_level l);

struct compile_io {
    const char *name; /* of the input; NULL: all of them */
    enum io_source source;
    enum io_layout layout;
};

struct compile_options {
    enum compile_level level;
    int balance;            /* of LEVEL_BALANCE: 0 least time … 100 least traffic */
    int cores;              /* 1 … machine.cores */
    /* Calls work(ctx, i) for i = 0 … count - 1, in any order and perhaps at once, and returns when all are done;
     * NULL: one after the other.  The program does not depend on it.  At most `jobs` at a time. */
    void (*parallel)(int jobs, int count, void (*work)(void *ctx, int i), void *ctx);
    int jobs;
    const struct compile_io *inputs, *outputs;
    int input_count, output_count;
    bool force_cores;       /* plans for fewer cores are not tried: for tests */
    int64_t sram_bytes;     /* 0: the machine's; smaller: for experiments and tests */
    bool uncalibrated;      /* what program.uncalibrated says */
    const bool *on_host;    /* by node index of the graph: runs on the CPU; NULL: none does */
    void (*dump)(void *ctx, const char *pass, const char *text); /* NULL: no dumps */
    void *dump_ctx;
    void (*progress)(void *ctx, const char *pass, double done);
    void *progress_ctx;
};
struct compile_options compile_default(void);

/* What a compilation is judged by; all sums over the whole program. */
struct compile_summary {
    int layers, groups, maps, spilled; /* spilled: maps other than inputs and outputs that go through DDR */
    int64_t instructions, program_bytes;
    int64_t sram_peak, sram_bound;  /* bytes of one core; bound: no order of this kind needs less */
    int64_t ddr_load, ddr_store, ddr_bound; /* bytes; bound: constants, inputs and outputs once */
    double compute_cycles; /* busiest compute engine: no schedule is shorter */
    double predicted_cycles; /* end of the last instruction, events with their waits */
};

/* The program lies in the arena.  BPU_LIMIT says which layer does not fit, how much it needs,
 * how much there is, what would help; BPU_UNSUPPORTED names the node and the reason. */
struct program *compile_graph(struct arena *a, const struct graph *fixed, const struct march *march,
                              const struct compile_options *options,
                              struct compile_summary *summary, struct bpu_error *err) BPU_CHECKED;

#endif
