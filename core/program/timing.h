/* timing: when each instruction of a program runs, by the costs of cost.c.
 *
 *   lane      an engine of a core; it takes its instructions in the order of the program
 *   start     when the lane is free and every engine it waits for has finished as many as asked
 *   duration  instruction_cost().cycles; transfers that meet on the bus share it and take longer
 *
 * The same events that the machine would have, without its data: what people see in the picture of
 * the schedule, what the compiler compares schedules by, what the estimator reports. */
#ifndef BPU_PROGRAM_TIMING_H
#define BPU_PROGRAM_TIMING_H

#include "core/program/program.h"

/* Cycles of machine.clock_mhz from the start of the program. */
struct timed {
    double start, end;
};

struct program_timing {
    struct timed *at;             /* by instruction */
    double *useful;               /* by instruction: cost.useful_cycles */
    double end;                   /* of the last instruction */
    double busy[PROGRAM_LANES];   /* cycles that a lane works, waiting excluded */
    int64_t count[PROGRAM_LANES]; /* its instructions */
    double ddr_busy;              /* cycles in which at least one byte moves */
    double ddr_slowed;            /* cycles that transfers lost to each other */
    int64_t ddr_load, ddr_store;  /* bytes on the bus, in whole bursts */
};

/* BPU_BAD_MODEL if instructions wait for each other, or for more than there are, for ever; it names
 * one.  Time is O(instructions * lanes + waits). */
bool program_time(struct arena *a, const struct program *p, const struct machine *m,
                  struct program_timing *out, struct bpu_error *err) BPU_CHECKED;

/* The same with costs by instruction that the caller has worked out. */
bool program_time_costs(struct arena *a, const struct program *p, const struct machine *m,
                        const struct cost *costs, struct program_timing *out,
                        struct bpu_error *err) BPU_CHECKED;

/* The time of a program split over what its instructions belong to: at every moment the instructions
 * at work share that moment equally.  shares: by source, cycles; *idle: when nothing works.  Their
 * sum is t->end. */
bool program_time_shares(struct arena *a, const struct program *p, const struct program_timing *t,
                         double *shares, double *idle, struct bpu_error *err) BPU_CHECKED;

static inline int instruction_lane(const struct instruction *i)
{
    return i->core * ENGINE_COUNT + i->engine;
}

#endif
