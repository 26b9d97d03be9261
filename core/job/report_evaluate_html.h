/* report_evaluate_html: bpuhub.evaluate/1 as one page. */
#ifndef BPU_JOB_REPORT_EVALUATE_HTML_H
#define BPU_JOB_REPORT_EVALUATE_HTML_H

#include "core/base/buf.h"

/* json: the report as evaluate_json() writes it. */
bool report_evaluate_html(const char *json, size_t size, struct buf *out,
                          struct bpu_error *err) BPU_CHECKED;

#endif
