/* report_html: the check as one page that works without a server: verdict, rules, findings, drawing. */
#ifndef BPU_JOB_REPORT_HTML_H
#define BPU_JOB_REPORT_HTML_H

#include "core/check/check.h"

bool report_check_html(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err) BPU_CHECKED;

#endif
