/* compare: what changed between two results.
 *
 *   report JSON ─ compare_side_read() ─ side ─┐
 *                                             ├─ compare_sides() ─ comparison ─ JSON, text, HTML
 *   report JSON ─ compare_side_read() ─ side ─┘
 * A side is what one or more reports of one model say: a check's findings and nodes, a compilation's or an
 * estimate's figures and layers, accuracy and layer errors of an evaluation.  Reports are untrusted: bounded in
 * size, depth and memory; texts are copied into the arena. */
#ifndef BPU_JOB_COMPARE_H
#define BPU_JOB_COMPARE_H

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/job/figure.h"
#include "core/job/gate.h"

#define COMPARE_MOST_BYTES ((size_t)64 << 20) /* of one report */
#define COMPARE_MOST_ITEMS 200000             /* layers, nodes or findings of one report */

/* What a layer has in figures: id, key, words with the unit. */
#define LAYER_FIGURE_MAP(X)                                                                        \
    X(TIME, "time_us", "time, us")                                                                 \
    X(OPS, "ops", "operations")                                                                    \
    X(LOAD, "ddr_load_bytes", "loaded, B")                                                         \
    X(STORE, "ddr_store_bytes", "stored, B")                                                       \
    X(SPILL, "spill_bytes", "spilled, B")                                                          \
    X(SQNR, "sqnr_db", "signal to noise, dB")

enum layer_figure {
#define X(id, key, label) LAYER_##id,
    LAYER_FIGURE_MAP(X)
#undef X
        LAYER_FIGURE_COUNT
};
const char *layer_figure_key(enum layer_figure f);
const char *layer_figure_label(enum layer_figure f);

enum { COMPARE_RANK = 8 };

struct compare_layer {
    const char *name, *op; /* never NULL */
    int rank;              /* -1: the report names no shape */
    int64_t shape[COMPARE_RANK];
    bool known[LAYER_FIGURE_COUNT];
    double v[LAYER_FIGURE_COUNT];
};

struct compare_finding {
    const char *rule, *node, *op, *message, *hint; /* node "": the graph as a whole */
    int severity; /* 0 error, 1 warning, 2 advice */
    const char *severity_name;
};

struct layer_list {
    struct compare_layer *items;
    int count;
    bool there, ordered; /* ordered: as the network runs, not by merit */
    const char *why_not; /* where it is not there */
};

struct compare_side {
    struct arena *arena;
    const char *label;    /* "base", "head": for messages */
    const char *schema;   /* of the first report: "bpuhub.perf/1" */
    const char *kinds;    /* "check", "compile, check" */
    const char *model_id, *model_name, *model_format, *march, *options, *verdict; /* "" or NULL: not said */
    const char *job;      /* the job's id, if it is one; the caller's */
    struct figure_value figures[FIGURE_COUNT];
    struct compare_finding *findings;
    int finding_count;
    bool has_findings;
    struct layer_list nodes;   /* of a check */
    struct layer_list layers;  /* of a compilation or an estimate, with times; else of an evaluation or a
                                  quantization, with errors */
};

void compare_side_init(struct compare_side *s, struct arena *a, const char *label);
/* Takes what the report says; may be called again with another report of the same model.  Figures and lists that
 * are there already stay.  BPU_BAD_REPORT: it is no report, or damaged. */
bool compare_side_read(struct compare_side *s, const void *json, size_t size,
                       struct bpu_error *err) BPU_CHECKED;
/* True if the bytes look like a report rather than a model. */
bool compare_is_report(const void *data, size_t size);

/* ── matching: compare_match.c ── */

/* Which items of two lists are the same layer: by name, else by operator, shape and order.  What takes the place
 * of several is found afterwards: an unmatched item beside a matched one joins it (join[i]: index of the item on
 * its own side that it belongs to). */
struct layer_match {
    int *to_head, *to_base;     /* partner, or -1 */
    int *join_base, *join_head; /* -1, or the matched item of the same side that it was fused into or split from */
};
bool layer_match(struct arena *a, const struct layer_list *base, const struct layer_list *head,
                 struct layer_match *out, struct bpu_error *err) BPU_CHECKED;

/* ── the comparison ── */

enum layer_status { LAYER_CHANGED, LAYER_ADDED, LAYER_REMOVED, LAYER_FUSED, LAYER_SPLIT, LAYER_SAME };
const char *layer_status_name(enum layer_status s);

/* One layer, or what took the place of several. */
struct layer_change {
    enum layer_status status;
    const struct compare_layer *base, *head;  /* NULL: added, removed */
    const char *base_names, *head_names;      /* all that belong to it: "conv1 + relu1"; NULL where there is none */
    bool known[2][LAYER_FIGURE_COUNT];        /* sums over what belongs to it */
    double v[2][LAYER_FIGURE_COUNT];
    bool renamed, reshaped;
    double weight;                            /* the list is sorted by it, then by the place in the head */
    int place;
};

struct finding_change {
    const struct compare_finding *base, *head;
};

struct compare_result {
    struct arena *arena;
    const struct compare_side *base, *head;
    struct figure_value figures[2][FIGURE_COUNT]; /* of base and head: those that mean the same in both */
    const char *no_findings, *no_layers;      /* why there are none; NULL: they were compared */
    struct compare_finding const **gained, **lost;
    int gained_count, lost_count, kept_count;
    struct finding_change *graver;            /* kept, with another severity */
    int graver_count;
    struct layer_change *layers;              /* without those that did not change; the greatest change first */
    int layer_count, unchanged, renamed, matched, counts[LAYER_SAME + 1];
    enum layer_figure by;                     /* what the order goes by */
    struct gates gates;
};

/* Gates must have been read; NULL: none.  BPU_NOT_COMPARABLE: the two have nothing in common. */
bool compare_sides(struct arena *a, const struct compare_side *base, const struct compare_side *head,
                   const struct gates *gates, struct compare_result *out, struct bpu_error *err) BPU_CHECKED;
/* The head is legal, as far as it says, and every gate passed. */
bool comparison_passed(const struct compare_result *c);
/* True where figures differ by more than rounding. */
bool compare_differs(double base, double head);

/* ── reports ── */

/* bpuhub.compare/1: docs/comparing.md */
bool report_compare_json(const struct compare_result *c, struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool report_compare_text(const struct compare_result *c, struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool report_compare_html(const struct compare_result *c, struct buf *out, struct bpu_error *err) BPU_CHECKED;

/* What stands at a figure of both sides: "+44.4 us", "+7.8 %"; "" where one is not known. */
const char *compare_delta_text(enum figure f, double delta, char *out, size_t size);
const char *compare_percent_text(double base, double head, char *out, size_t size);
/* -1 better, 1 worse, 0 the same or neither. */
int compare_outcome(enum figure f, double base, double head);

#endif
