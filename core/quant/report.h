/* report: how a fixed-point graph was made, and how far it is from the float one. */
#ifndef BPU_QUANT_REPORT_H
#define BPU_QUANT_REPORT_H

#include "core/base/buf.h"
#include "core/quant/quant.h"

/* One feature map, fixed against float, over all compared frames. */
struct layer_error {
    const struct value *value, *fixed; /* of the fused graph, of the fixed-point graph */
    double cosine;                     /* 1: same direction */
    double sqnr_db;   /* 10 log10(sum x^2 / sum (x - y)^2); INFINITY if they are equal */
    double max_error; /* largest |x - y| */
    double saturated; /* share of stored integers at either end of their range */
    int64_t elements; /* per frame */
};

struct comparison {
    struct layer_error *layers; /* worst SQNR first */
    size_t count;
    struct layer_error *outputs; /* of the graph, in its order */
    int output_count;
    int64_t frames;
};

/* The value of the fixed-point graph that quant_convert() made for v; NULL if there is none. */
const struct value *quant_counterpart(const struct graph *fixed, const struct value *v);

/* Runs both graphs over the first `frames` frames. */
bool quant_compare(struct arena *a, const struct graph *fused, const struct graph *fixed,
                   const struct quant_data *data, int64_t frames, quant_progress_fn *progress,
                   void *ctx, struct comparison *out, struct bpu_error *err) BPU_CHECKED;

/* All that a report speaks of; what is NULL was not done, and `why` says why there is no comparison. */
struct quant_result {
    const struct graph *fused, *fixed;
    const struct march *march;
    const struct fuse_report *fuse;
    const struct calibration *calibration;
    const struct comparison *comparison;
    const char *why;
    const char *model_id, *model_name, *model_format;
};
/* bpuhub.quantize/1 */
bool report_quantize_json(const struct quant_result *r, struct buf *out,
                          struct bpu_error *err) BPU_CHECKED;
/* A page of text for a terminal. */
bool report_quantize_text(const struct quant_result *r, struct buf *out,
                          struct bpu_error *err) BPU_CHECKED;

#endif
