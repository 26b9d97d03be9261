/* quantize: a network and typical inputs in, a fixed-point network and its figures out.
 *
 *   model ─ import ─ fuse ─ calibrate (or the scales of the file) ─ convert ─ verify ─ compare
 * The command line and the job take the same way. */
#ifndef BPU_JOB_QUANTIZE_H
#define BPU_JOB_QUANTIZE_H

#include "core/job/feed.h"
#include "core/quant/report.h"

struct quantization {
    /* What is given; must stay valid as long as the result is read. */
    struct arena *arena;
    const void *model;
    size_t model_size;
    const char *model_name, *model_id, *march;
    const struct job_option *options; /* of import; calibration.*, qconfig, compare.frames */
    size_t option_count;
    const char *qconfig; /* JSON; NULL: the option qconfig, or the default */
    size_t qconfig_size;
    const char *qconfig_what; /* its place, for messages */
    struct feed_source *sources; /* calibration data; none if the file has scales */
    size_t source_count;
    bool uncompared; /* the comparison is left to somebody else */
    bool placeholders; /* without scales and without data, placeholders stand in for scales */
    /* Inputs whose scale is known beforehand, unless the qconfig says otherwise; may be NULL. */
    const char *const *fixed_inputs;
    size_t fixed_input_count;
    double fixed_scale;
    job_progress_fn *progress;
    void *progress_ctx;

    /* What comes of it. */
    const struct march *target;
    struct graph *graph, *fused, *fixed;
    struct qconfig *config;
    struct quant_data data;
    struct fuse_report fuse;
    struct calibration calibration; /* items NULL: scales of the file */
    struct comparison comparison;   /* layers NULL: not compared */
    bool uncalibrated;              /* the scales are placeholders */
};

/* The options that only this reads. */
bool quantize_option(const char *key);
/* The model as it is read, with shapes from the sources where it leaves them open. */
bool quantize_load(struct quantization *q, struct bpu_error *err) BPU_CHECKED;
/* The whole way; everything lies in the arena. */
bool quantize_run(struct quantization *q, struct bpu_error *err) BPU_CHECKED;
/* For the reports. */
struct quant_result quantize_result(const struct quantization *q);

#endif
