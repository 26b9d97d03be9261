/* report_quantize_html: how a network was quantized, as one page: figures, worst layers, histograms. */
#ifndef BPU_JOB_REPORT_QUANTIZE_HTML_H
#define BPU_JOB_REPORT_QUANTIZE_HTML_H

#include "core/quant/report.h"

bool report_quantize_html(const struct quant_result *r, struct buf *out,
                          struct bpu_error *err) BPU_CHECKED;

#endif
