/* report_compile: what became of a compilation, for programs, terminals and people.  Not for illegal models:
 * their report is that of the check. */
#ifndef BPU_JOB_REPORT_COMPILE_H
#define BPU_JOB_REPORT_COMPILE_H

#include "core/job/compile_model.h"

/* bpuhub.compile/1; docs/compiling.md has its fields. */
bool report_compile_json(const struct compilation *c, struct buf *out,
                         struct bpu_error *err) BPU_CHECKED;
/* A page of text for a terminal. */
bool report_compile_text(const struct compilation *c, struct buf *out,
                         struct bpu_error *err) BPU_CHECKED;
/* One file with the pictures of the memory plan and of the schedule. */
bool report_compile_html(const struct compilation *c, struct buf *out,
                         struct bpu_error *err) BPU_CHECKED;
/* The fixed-point graph, coloured by share of the time. */
bool report_compile_heat(const struct compilation *c, struct buf *out,
                         struct bpu_error *err) BPU_CHECKED;
/* Sources, those that take the longest first. */
int *report_compile_order(const struct compilation *c, struct bpu_error *err) BPU_CHECKED;

/* "62 % of the time: conv", "layers", … : what limits the program, in one sentence. */
const char *report_compile_verdict(const struct compilation *c, char *out, size_t size);

#endif
