/* evaluate: how good a network is on a data set, and what fixed point costs it, layer by layer.
 *
 *   frames ─┬ float network ─┐
 *           └ fixed network ─┴ accuracy, classes, confusions, agreement      evaluate_accuracy.c
 *   first frames ─ every value, float against fixed ─ errors per layer       evaluate_layers.c
 *   worst layers ─ quantized differently, measured ─ suggestions             evaluate_suggest.c
 *                                                  └ bpuhub.evaluate/1       evaluate_report.c
 * Data and labels are uploads; nothing here trusts them. */
#ifndef BPU_QUANT_EVALUATE_H
#define BPU_QUANT_EVALUATE_H

#include "core/data/data.h"
#include "core/quant/quant.h"
#include "core/run/run.h"

/* The right answers, one per sample (per pixel where the network classifies pixels). */
struct evaluate_labels {
    const int64_t *items; /* NULL: not known, only float and fixed are compared */
    int64_t count;
    bool more; /* an option cut the number of frames: labels beyond them are no error */
    const char *what; /* the file's path or the option that names it, for messages */
};

/* Integers of any type, or floats that are whole; none below 0. */
bool evaluate_labels_read(struct arena *a, const struct array *from, const char *what,
                          struct evaluate_labels *out, struct bpu_error *err) BPU_CHECKED;

#define EVALUATE_LAYER_FRAMES 64
#define EVALUATE_SUGGEST 3
#define EVALUATE_SECONDS 60

struct evaluate_options {
    int64_t layer_frames;    /* how many frames the layers are compared over; 0: none */
    int suggest;             /* for how many of the worst layers; 0: none */
    double seconds;          /* for layers and suggestions; accuracy is always complete */
    enum run_engine engine;  /* RUN_FAST in all but tests */
    const char *output;      /* the name of the output that classifies; NULL: the only one, or the first */
};
struct evaluate_options evaluate_defaults(void);

/* What is evaluated.  At least one of graph and fixed. */
struct evaluate_request {
    const struct graph *graph; /* the float network as it was read; one with scales is compared as the
                                  float network behind them; NULL: none */
    const struct graph *fused; /* quant_fuse(graph) if there is one already, else NULL */
    const struct graph *fixed; /* what quant_convert() made of it, or a file; NULL: none */
    struct quant_data data;    /* frames of the inputs of graph (or of fixed) */
    struct evaluate_labels labels;

    /* How fixed came to be, for histograms and suggestions; NULL and 0 where that is not known. */
    const struct calibration *calibration; /* of fused */
    struct quant_data calibration_data;
    const struct march *march;
    const char *qconfig; /* JSON; NULL: the default */
    size_t qconfig_size;

    const char *model_id, *model_name, *model_format, *march_text; /* for the report's head */
    struct evaluate_options options;
};

struct evaluate_result;

/* All of it.  progress: "evaluate", "layers", "suggest", each from 0 to 1; may be NULL.
 * Everything is in the arena; BPU_BAD_SHAPE and BPU_BAD_OPTION where labels and outputs do not fit. */
struct evaluate_result *evaluate_run(struct arena *a, const struct evaluate_request *r,
                                     quant_progress_fn *progress, void *ctx,
                                     struct bpu_error *err) BPU_CHECKED;
/* bpuhub.evaluate/1 */
bool evaluate_json(const struct evaluate_result *e, struct buf *out, struct bpu_error *err)
    BPU_CHECKED;
/* A page of text for a terminal. */
bool evaluate_text(const struct evaluate_result *e, struct buf *out, struct bpu_error *err)
    BPU_CHECKED;

/* For gates: shares of 0 .. 1; negative if there are no labels or no such network. */
double evaluate_top1_float(const struct evaluate_result *e);
double evaluate_top1_fixed(const struct evaluate_result *e);

#endif
