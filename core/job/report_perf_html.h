/* report_perf_html: a measurement as a page for people: one file, that loads nothing and needs no script.
 *
 *   report_perf_html.c        the order of the page; its first screen, which is the answer
 *   report_perf_html_plots.c  roofline, and utilization, bandwidth and memory over time
 *   report_perf_html_lists.c  timeline as data, traffic by tensor, layers
 *   report_perf_html_frame.c  style, script, and the policy that lets only this script run
 */
#ifndef BPU_JOB_REPORT_PERF_HTML_H
#define BPU_JOB_REPORT_PERF_HTML_H

#include "core/job/perf_model.h"

/* Only of legal models: m->legal. */
bool report_perf_html(const struct perf_model *m, struct buf *out,
                      struct bpu_error *err) BPU_CHECKED;

/* Its script as a policy names it: "sha256-…". */
#define PERF_PAGE_HASH 64
void perf_page_hash(char out[PERF_PAGE_HASH]);

/* ── for these files ── */

#define PAGE_BYTES ((size_t)8 << 20) /* a larger picture stays beside the page */
#define PAGE_LAYERS 2000

/* The page up to its heading, and behind its last section. */
void perf_page_open(struct buf *out, const char *model_name, const char *march);
void perf_page_close(struct buf *out, const char *model_id);
/* <section> with a heading and a sentence below it; text may be NULL. */
void perf_section(struct buf *out, const char *id, const char *heading, const char *text);
void perf_section_end(struct buf *out);
/* A colour's class: "b-compute" … */
const char *perf_bound_class(enum perf_bound b);
/* "3.80 MiB". */
void perf_size(struct buf *out, double bytes);
/* "567.7 us", "12.35 ms". */
void perf_time(struct buf *out, double us);
/* 12,249,856 */
void perf_count(struct buf *out, int64_t n);
/* "4.13 T" */
void perf_rate(struct buf *out, double per_second);

void perf_roofline(const struct perf_model *m, struct buf *out);
bool perf_over_time(const struct perf_model *m, struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool perf_timeline(const struct perf_model *m, struct buf *out, struct bpu_error *err) BPU_CHECKED;
void perf_traffic(const struct perf_model *m, struct buf *out);
void perf_layers_table(const struct perf_model *m, struct buf *out);

#endif
