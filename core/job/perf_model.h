/* perf_model: a network, or a program that was compiled before, in; where its time goes out.
 *
 *   model ─ compile_run() ─┬ illegal: nothing more
 *                          └ program ─┐
 *   .bpu ─── program_read() ──────────┴ times ─ perf_measure() ─ perf_advise() ─ perf_accuracy_of()
 * The command line and the jobs take the same way. */
#ifndef BPU_JOB_PERF_MODEL_H
#define BPU_JOB_PERF_MODEL_H

#include "core/job/compile_model.h"
#include "core/perf/perf.h"

#define PERF_MOST_ADVICE 12
#define PERF_MOST_INTERVALS 4096

struct perf_model {
    /* What is given: as for compile_run().  Of a program only arena, model, march, options, progress. */
    struct compilation c;

    /* What comes of it.  c.program, c.machine, c.target, c.timing, c.summary's bytes and c.gates are
     * there in both cases; c.graph, c.check, c.fixed and c.scales only of a model. */
    bool from_program;            /* the file is a program */
    bool legal;                   /* false: c.check says why, and nothing below is there */
    bool layer_details;
    int intervals;                /* 0: as many as perf_measure() takes */
    struct perf perf;
    struct perf_accuracy expected;
    int64_t sram_peak;            /* bytes of one core */
};

/* The options that only this reads: layer_details, intervals. */
bool perf_option(const char *key);
/* The whole way; everything lies in c.arena. */
bool perf_model_run(struct perf_model *m, struct bpu_error *err) BPU_CHECKED;
/* The last two steps, of a compilation that is there already. */
bool perf_model_measure(struct perf_model *m, struct bpu_error *err) BPU_CHECKED;
/* How the report calls the file: "onnx" …, "program". */
const char *perf_model_format(const struct perf_model *m);

#endif
