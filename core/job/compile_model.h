/* compile_model: a network in, a program with its figures out.
 *
 *   model ─ import ─ check ─┬ illegal: nothing more
 *                           └ quantize (scales of the file, calibration, or placeholders) ─ compile ─ time
 * The command line and the job take the same way. */
#ifndef BPU_JOB_COMPILE_MODEL_H
#define BPU_JOB_COMPILE_MODEL_H

#include "core/check/check.h"
#include "core/compile/compile.h"
#include "core/job/gate.h"
#include "core/job/quantize.h"
#include "core/program/timing.h"
#include "core/program/traffic.h"

/* What the instructions of one source come to. */
struct source_figures {
    double cycles;                    /* share of timing.end: see program_time_shares() */
    double busy[ENGINE_COUNT], useful[ENGINE_COUNT]; /* cycles, of all cores */
    int64_t instructions;
    int64_t load, store, spills;      /* bytes on the bus; spills are part of the other two */
};

struct compilation {
    /* What is given; must stay valid as long as the result is read. */
    struct arena *arena;
    const void *model;
    size_t model_size;
    const char *model_name, *model_id, *march;
    const struct job_option *options; /* of import, check and quantize; opt, cores, input_source … */
    size_t option_count;
    enum gate_scope gates_of; /* which gates are known: 0: those of programs */
    const char *qconfig; /* as struct quantization has it */
    size_t qconfig_size;
    const char *qconfig_what;
    struct feed_source *sources; /* calibration data */
    size_t source_count;
    /* As compile_options has it; NULL: no threads, option jobs counts as 1. */
    void (*parallel)(int jobs, int count, void (*work)(void *ctx, int i), void *ctx);
    int jobs; /* where the option says nothing */
    job_progress_fn *progress;
    void *progress_ctx;
    void (*dump)(void *ctx, const char *pass, const char *text); /* NULL: no dumps */
    void *dump_ctx;

    /* What comes of it. */
    const struct march *target;
    const struct machine *machine;
    struct graph *graph;
    struct check_result *check; /* check->legal false: nothing behind it is there */
    struct quantization quantization;
    struct graph *fixed;
    const char *scales; /* "file", "calibration", "placeholder" */
    int host_nodes;     /* that compute in float, on the CPU */
    struct compile_options with;
    struct program *program;
    struct buf file; /* the program as bytes; freed with the arena, unless somebody takes it */
    struct compile_summary summary;
    struct program_timing timing;
    struct source_figures *sources_of; /* by source of the program */
    double idle;                       /* cycles in which no engine works */
    int64_t traffic[TRAFFIC_COUNT];    /* bytes on the bus */
    struct gates gates;                /* of the options; judged once the program is timed */
};

/* The options that only this reads. */
bool compile_option(const char *key);
/* The whole way; everything lies in the arena. */
bool compile_run(struct compilation *c, struct bpu_error *err) BPU_CHECKED;
/* Cycles as microseconds. */
double compile_us(const struct compilation *c, double cycles);
/* No schedule of this network on these cores is shorter: the busiest compute engine, or constants, inputs
 * and outputs once over the bus. */
double compile_bound_cycles(const struct compilation *c);

/* ── compile_options.c ── */

/* opt, balance_factor, cores, jobs, input_source, input_layout, output_layout into c->with; names are
 * those of c->graph. */
bool compile_options_read(struct compilation *c, struct bpu_error *err) BPU_CHECKED;
/* Where input i of the graph comes from. */
enum io_source compile_source_of(const struct compilation *c, int i);
const char *io_source_name(enum io_source s); /* "ddr" … */
const char *io_layout_name(enum io_layout l); /* "nhwc" … */

#endif
