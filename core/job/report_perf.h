/* report_perf: what a measurement has to say, for programs and terminals.  Not for illegal models: their
 * report is that of the check.  The page for people is report_perf_html.h. */
#ifndef BPU_JOB_REPORT_PERF_H
#define BPU_JOB_REPORT_PERF_H

#include "core/check/json_write.h"
#include "core/job/perf_model.h"

/* bpuhub.perf/1; docs/performance.md has its fields. */
bool report_perf_json(const struct perf_model *m, struct buf *out,
                      struct bpu_error *err) BPU_CHECKED;
/* A page of text for a terminal; its first lines are the answer. */
bool report_perf_text(const struct perf_model *m, struct buf *out,
                      struct bpu_error *err) BPU_CHECKED;
/* The fixed-point graph, coloured by share of the time.  Of a program there is no graph: BPU_UNSUPPORTED. */
bool report_perf_heat(const struct perf_model *m, struct buf *out,
                      struct bpu_error *err) BPU_CHECKED;

/* ── for these files ── */

/* Ten digits: what a time in nanoseconds of a run of seconds needs. */
void report_perf_real(struct json_writer *w, const char *key, double v);
/* v, rounded to `decimals`. */
void report_perf_rounded(struct json_writer *w, const char *key, double v, int decimals);
/* "summary": the vendor's keys, and ours behind them. */
void report_perf_summary(struct json_writer *w, const struct perf_model *m);
/* "timeline" and "memory". */
bool report_perf_timeline(struct json_writer *w, const struct perf_model *m,
                          struct bpu_error *err) BPU_CHECKED;
bool report_perf_memory(struct json_writer *w, const struct perf_model *m,
                        struct bpu_error *err) BPU_CHECKED;
/* Frames a second; 0 if the program takes no time. */
double report_perf_fps(const struct perf_model *m);

#endif
