/* evaluate_private: what the parts of an evaluation hand to each other and to its reports. */
#ifndef BPU_QUANT_EVALUATE_PRIVATE_H
#define BPU_QUANT_EVALUATE_PRIVATE_H

#include "core/quant/evaluate.h"
#include "core/quant/float_graph.h"

/* ── accuracy ── */

struct class_figures {
    int64_t count, predicted, correct; /* labelled so, predicted so, both */
};

struct confusion {
    int64_t label, predicted, count;
};

/* Where a network's answer stands in an output: (sample, class, position) row-major, or, with
 * classes 0, the answer itself per sample and position. */
struct answer_layout {
    int output;
    int64_t samples, classes, positions; /* of one frame */
};

struct accuracy {
    bool there;
    int64_t correct, correct5;
    int64_t ties;       /* answers whose highest score another class has as well */
    int64_t not_finite; /* scores that were NaN or infinite */
    struct class_figures *classes;
    int64_t *matrix; /* [label][predicted]; NULL: too many classes */
    struct confusion *confusions; /* most frequent first */
    size_t confusion_count;
};

struct accuracy_pair {
    struct accuracy floats, fixed;
    struct answer_layout layout;
    const char *output;
    int64_t frames, samples, class_count; /* samples: answers over all frames */
    int64_t same;                         /* answers in which both agree */
    bool labelled, top5;
};

/* What a network answers for one sample and position of a frame. */
struct answer {
    int64_t predicted;
    bool tie;
    int64_t rank; /* of the label among the classes, 0 the first; -1: no label or no scores */
    int64_t not_finite;
};
struct answer answer_read(const struct answer_layout *l, const struct tensor *output,
                          int64_t sample, int64_t position, int64_t label);
/* Where the answers of g are; name NULL: its only or first output.  BPU_UNSUPPORTED where that
 * output is none of a classification. */
bool answer_layout_find(const struct graph *g, const char *name, struct answer_layout *out,
                        struct bpu_error *err) BPU_CHECKED;

/* floats or fixed may be NULL; labels may have no items. */
bool accuracy_measure(struct arena *a, const struct graph *floats, const struct graph *fixed,
                      const struct evaluate_request *r, quant_progress_fn *progress, void *ctx,
                      struct accuracy_pair *out, struct bpu_error *err) BPU_CHECKED;
/* Only the right answers of one graph; -1 if the time was up before the last frame. */
bool accuracy_count(struct arena *a, const struct graph *g, const struct evaluate_request *r,
                    const struct answer_layout *l, double until, int64_t *correct,
                    struct bpu_error *err) BPU_CHECKED;

/* ── layers ── */

/* Fixed against float, over all elements of all compared frames. */
struct value_error {
    double xx, yy, xy, ee, most; /* sums of x^2, y^2, x y, (x - y)^2; largest |x - y| */
    int64_t count, at_end;       /* stored integers at either end of their range */
};
void value_error_add(struct value_error *e, const float *x, const struct tensor *y);
double value_error_cosine(const struct value_error *e);
double value_error_sqnr(const struct value_error *e); /* dB; INFINITY: equal; -INFINITY: x is 0 */
double value_error_saturated(const struct value_error *e);

struct layer_figures {
    const struct value *value; /* of the fused graph */
    const struct value *fixed;
    const struct node *node; /* of the fixed graph */
    struct value_error accumulated, own, rounding;
    bool moves; /* the operator only passes its operand's integers on */
    bool outside; /* computes in float */
};

struct layer_comparison {
    struct layer_figures *layers; /* worst own SQNR first */
    size_t count;
    struct layer_figures *outputs; /* of the graph; only accumulated */
    int output_count;
    int64_t frames;
    bool cut_off; /* by the time */
};

/* Compares over the first `frames` frames, until the time is up but at least over one. */
bool layers_compare(struct arena *a, const struct graph *fused, const struct graph *fixed,
                    const struct float_graph *floats, const struct evaluate_request *r,
                    double until, quant_progress_fn *progress, void *ctx,
                    struct layer_comparison *out, struct bpu_error *err) BPU_CHECKED;
/* ── outputs ── */

/* What the float network gives: all outputs of real numbers, frame by frame. */
struct outputs_expected {
    const struct graph *floats;
    float *items;
    int64_t frames, each; /* floats of one frame */
};
/* Of at most `frames` frames, and of fewer where the outputs are large. */
bool outputs_expected(struct arena *a, const struct graph *floats, const struct evaluate_request *r,
                      int64_t frames, struct outputs_expected *out,
                      struct bpu_error *err) BPU_CHECKED;
/* All of them as one. */
bool outputs_compare(struct arena *a, const struct graph *fixed, const struct outputs_expected *x,
                     const struct evaluate_request *r, struct value_error *sum,
                     struct bpu_error *err) BPU_CHECKED;

/* ── suggestions ── */

struct suggestion {
    const char *node;        /* of the fused graph; NULL: of several, or of none */
    const char *change;      /* "qint16", "observer mse" */
    const char *qconfig;     /* JSON to paste: the user's with this change */
    const char *part;        /* JSON of the change alone */
    double sqnr_db, gain_db; /* of the outputs */
    int64_t correct; /* right answers over all frames; -1: not measured */
};

struct suggestion_list {
    struct suggestion *items; /* most gain first */
    size_t count, capacity;
    struct suggestion together; /* the best change of every layer at once; change NULL: less than two */
    int tried, layers;
    int64_t frames;  /* over which output errors were measured */
    double sqnr_db;  /* of the outputs as they are */
    bool cut_off;    /* by the time */
    const char *why; /* not NULL: none could be made, and the reason */
};

bool suggestions_find(struct arena *a, const struct graph *fused, const struct graph *fixed,
                      const struct graph *floats, const struct evaluate_request *r,
                      const struct layer_comparison *layers, const struct answer_layout *answers,
                      double until, quant_progress_fn *progress, void *ctx,
                      struct suggestion_list *out, struct bpu_error *err) BPU_CHECKED;

/* ── all ── */

struct evaluate_result {
    struct arena *arena;
    struct evaluate_request request;
    const struct graph *fused, *fixed;
    struct accuracy_pair accuracy;
    const char *why_no_accuracy; /* not NULL: the outputs are none of a classification */
    struct layer_comparison layers;
    const char *why_no_layers;
    struct suggestion_list suggestions;
};

/* Seconds on a clock that only runs forward. */
double evaluate_clock(void);

#endif
