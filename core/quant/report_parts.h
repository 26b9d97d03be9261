/* report_parts: what the reports of quantize and evaluate write alike. */
#ifndef BPU_QUANT_REPORT_PARTS_H
#define BPU_QUANT_REPORT_PARTS_H

#include "core/check/json_write.h"
#include "core/quant/quant.h"

/* A ratio in dB. +infinity: equal values have no error to take a logarithm of. */
void report_db(struct json_writer *w, const char *key, double db);
/* "histogram": `per` neighbouring bins are added up. */
void report_counts(struct json_writer *w, double from, double to, const int64_t *counts, int bins,
                   int per);
/* "scale" and "histogram" of what an observer saw. */
void report_scale(struct json_writer *w, const struct observation *o);
void report_histogram(struct json_writer *w, const struct observation *o);

#endif
