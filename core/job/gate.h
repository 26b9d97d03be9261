/* gate: limits that a result must keep, so that a CI job fails when it does not.
 *
 *   max_latency_us=N  min_fps=N  max_ddr_mb=N      of one result (compile, perf, pipeline), or of a comparison's head
 *   max_regression=3% | latency=3%,ddr=5%          of a comparison: head against base
 *   fail_on=new-errors|new-warnings|new-findings   of a comparison: findings that the head gained
 *   fail_on=error|warning|advice|cpu-split         of a check, and of a pipeline, which has one
 * The words are the same on the command line (--max-latency-us N), in URLs and in options of jobs.  A gate on a
 * figure that nobody knows fails: what was to be kept cannot be seen to be kept. */
#ifndef BPU_JOB_GATE_H
#define BPU_JOB_GATE_H

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/check/json_write.h"
#include "core/job/figure.h"
#include "core/job/job.h"

struct compilation;
struct check_result;

#define GATE_MOST 16

enum gate_test { GATE_AT_MOST, GATE_AT_LEAST, GATE_REGRESSION, GATE_FINDINGS };

/* A limit, and what came of it. */
struct gate {
    const char *option;  /* "max_latency_us" */
    enum gate_test test;
    enum figure figure;  /* of the first three tests */
    double limit;        /* in the option's unit; regressions in percent */
    const char *word;    /* GATE_FINDINGS: the option's value */
    bool passed, known;
    double measured;     /* in the unit of the limit; worse is positive for a regression */
    double over;         /* by how much it fails, in the same unit; 0 if it passes */
    char text[320];      /* one sentence */
};

struct gates {
    struct gate items[GATE_MOST];
    int count;
};

/* Options of gates, and what the command line writes before them. */
bool gate_option(const char *key);
/* "max_latency_us" for "max-latency-us"; NULL: no gate has this name. */
const char *gate_option_of_flag(const char *flag);
/* What is judged; options of gates that it does not know are refused. */
enum gate_scope {
    GATES_OF_PROGRAM,
    GATES_OF_COMPARISON,
    GATES_OF_CHECK,
    GATES_OF_PIPELINE, /* a check and a program */
    GATES_OF_NOTHING
};
/* The gates among the options. */
bool gates_read(const struct job_option *options, size_t count, enum gate_scope scope,
                struct gates *out, struct bpu_error *err) BPU_CHECKED;
/* Judges the absolute ones over FIGURE_COUNT figures. */
void gates_judge(struct gates *g, const struct figure_value *figures);
/* The same for one that compares. */
void gate_judge_regression(struct gate *g, const struct figure_value *base,
                           const struct figure_value *head);
/* Those on the findings of a check. */
void gates_judge_check(struct gates *g, const struct check_result *r);
/* False if one of them failed; true if there are none. */
bool gates_passed(const struct gates *g);

/* "gates": {"passed", "results": [{"gate", "figure", "passed", "measured", "limit", "over", "unit", "text"}]} */
void gates_json(struct json_writer *w, const char *key, const struct gates *g);
/* The same as a document of its own: artifact gates.json. */
bool gates_document(const struct gates *g, struct buf *out, struct bpu_error *err) BPU_CHECKED;
/* A line for each: "gate max_latency_us: FAILED: …". Nothing without gates. */
void gates_text(const struct gates *g, struct buf *out);
void gates_html(const struct gates *g, struct buf *out);

/* What a compilation knows: latency of one run, frames a second, bytes on the bus. */
void gate_figures_of(const struct compilation *c, struct figure_value out[FIGURE_COUNT]);

#endif
