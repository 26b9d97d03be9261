/* quant: from a float graph (or one with scales) to a fixed-point graph.
 *
 *   graph ─ fuse ─┬ calibrate: float run over data → observers → scales ─┬ unify ─ convert ─ fixed-point graph
 *                 └ scales of the file (QDQ, QOperator, quantized::) ────┘
 * Each pass makes a new graph in the arena and leaves the old one alone; nodes keep the names and the
 * origin of the user's file, so that reports and drawings speak of the user's layers.
 *
 * The fixed-point graph is in the same form as every graph. In it
 *   - every feature map between QuantStub and DeQuantStub has a quantized dtype and a scale;
 *   - there are no folded nodes: batch norms are in the weights, constants are constants;
 *   - Conv*d, ConvTranspose*d, Linear: attribute activation ("relu", "relu6" or absent), an optional second
 *     operand that is added before the activation; params weight (qint8, scales per output channel),
 *     bias (qint32, scale s_x * s_w), multiplier and shift (int32, one per output channel: struct
 *     multiplier of core/run/arith.h), computed once by convert and read by every engine;
 *   - operators that are a function of one value: param table (int8[256], int16[65536], indexed by
 *     q - lowest q). */
#ifndef BPU_QUANT_H
#define BPU_QUANT_H

#include "core/ir/graph.h"

/* ── fuse ── */

struct fuse_item {
    const char *into;  /* node that stays */
    const char *nodes; /* "conv0.0 conv0.1 conv0.2" */
    const char *what;  /* "conv,bn,add,relu" */
    const char *why_not; /* NULL: fused; else the reason, and `into` is the node that could not be taken further */
};

struct fuse_report {
    struct fuse_item *items;
    size_t count, capacity;
};

/* The sequences {conv | deconv | linear} + {bn} {add} {relu | relu6}, in any of the fx variants.
 * Batch norms are folded into the weights in double precision; a batch norm that stands alone becomes a
 * depthwise 1x1 convolution.  A graph without folded nodes. */
struct graph *quant_fuse(struct arena *a, const struct graph *g, struct fuse_report *report,
                         struct bpu_error *err) BPU_CHECKED;

/* ── qconfig ── */

struct march;

/* What the user asks for, per network, per operator kind, per node; docs/quantization.md has the JSON. */
struct qconfig;
struct qconfig *qconfig_default(struct arena *a, struct bpu_error *err) BPU_CHECKED;
struct qconfig *qconfig_read(struct arena *a, const char *json, size_t size, struct bpu_error *err)
    BPU_CHECKED;
/* Fixes the scale of an input of the graph, unless the user has. */
bool qconfig_fix_input(struct qconfig *q, const char *input, double scale,
                       struct bpu_error *err) BPU_CHECKED;

/* ── calibrate ── */

/* Frames of calibration data, already shaped as the graph's inputs (float32). */
struct quant_data {
    bool (*frame)(void *ctx, int64_t i, int input, float *out, struct bpu_error *err);
    void *ctx;
    int64_t frames;
};

typedef void quant_progress_fn(void *ctx, const char *stage, double done);

/* What calibration saw and chose for a value. */
struct observation {
    const struct value *value;
    double min, max, mean, std, scale; /* scale 0: not quantized, or leaves as a sum (qint32) */
    enum dtype dtype;         /* qint8 or qint16; qint32: leaves without requantization */
    const char *observer;     /* that gave the scale: "percentile", of mix the best one; "given" by
                                 a QuantStub, the file or the qconfig; "shared" with another value */
    double saturated;         /* share of the data beyond the range */
    int64_t *histogram;       /* bins of equal width over -range .. range; NULL: never computed */
    int bins;
    double range;
    int64_t not_finite;       /* how many were NaN or infinite */
};

struct calibration {
    struct observation *items; /* by value index of the fused graph */
    size_t count;
    int64_t frames;
};

/* Runs the fused float graph over the data and chooses dtype and scale of every feature map. */
bool quant_calibrate(struct arena *a, const struct graph *fused, const struct march *march,
                     const struct qconfig *config, const struct quant_data *data,
                     quant_progress_fn *progress, void *ctx, struct calibration *out,
                     struct bpu_error *err) BPU_CHECKED;

/* Scales that stand in for those that calibration would find: QUANT_PLACEHOLDER for qint8, a 256th of
 * it for qint16, wherever neither the file nor the qconfig gives one.  The network is not run: what
 * is made with them has the shapes, the types and so the speed of the real thing, and no results. */
#define QUANT_PLACEHOLDER 0.0625
bool quant_placeholder(struct arena *a, const struct graph *fused, const struct march *march,
                       const struct qconfig *config, struct calibration *out,
                       struct bpu_error *err) BPU_CHECKED;

/* ── convert ── */

/* True if the file gives scales to results of its operators (and not only to its inputs): then it needs
 * no calibration. */
bool quant_has_scales(const struct graph *fused);

/* The fixed-point graph of a fused graph; calibration NULL: the scales are those of the file.  march
 * NULL: for execution only; means that the file leaves in real numbers get 16 bits.  What
 * cannot be quantized (no scale, no fixed kernel) stays float between a DeQuantStub and a QuantStub
 * and is noted in the graph. */
struct graph *quant_convert(struct arena *a, const struct graph *fused, const struct march *march,
                            const struct qconfig *config, const struct calibration *calibration,
                            struct bpu_error *err) BPU_CHECKED;
/* Every rule of the form that stands above; BPU_BAD_MODEL names the node that breaks one. */
bool quant_verify(const struct graph *fixed, struct bpu_error *err) BPU_CHECKED;

#endif
