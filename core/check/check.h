/* check: the legality of a graph on a march: all findings of all nodes, in graph order.
 *
 *   graph ─ context (dtypes as judged, fusion, outputs) ─ rules (march data) ─ findings ─ reports
 *
 * Limits are data of the march (core/march/march.h); what they measure (kernel_h, in_channels …) is a small
 * function per quantity (check/quantity*.c); the message is made from the limit, so text and number cannot drift. */
#ifndef BPU_CHECK_H
#define BPU_CHECK_H

#include "core/ir/graph.h"
#include "core/march/march.h"

enum severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITY_ADVICE };
const char *severity_name(enum severity s);

struct limit; /* core/march/limit.h */

/* One layer of a rewrite; pairs are (h, w). Channels are 0 where it has none. */
struct rewrite_step {
    const char *op;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
    int64_t in, out, groups;
};

/* Layers that do the work of one that the march forbids, themselves judged legal. */
#define REWRITE_MAX_STEPS 16
struct rewrite {
    struct shape input; /* as the first layer reads it */
    struct rewrite_step steps[REWRITE_MAX_STEPS];
    int count;
    int parts;     /* > 1: the one step so many times side by side */
    bool joined;   /* … their outputs joined, else on parts of the input and added */
    int64_t total; /* output channels of all parts together */
    const char *why;
};

/* As PyTorch writes it: torch.nn.Conv2d(3, 32, (7, 7), padding=(3, 3)). */
void rewrite_step_text(const struct rewrite_step *t, struct buf *out);

struct finding {
    const char *rule; /* "conv2d.kernel_h" */
    enum severity severity;
    const struct node *node; /* NULL: the whole model */
    const char *message;
    const char *actual; /* JSON text of the actual value: 33, "reflect", [1,2] */
    const char *limit;  /* "1..31" */
    const char *hint;   /* what to do, or NULL */
    const struct rewrite *rewrite; /* the hint as data, where it names other layers; or NULL */
    const char *eager_replacement; /* "horizon.nn.Exp" or NULL */
    bool induced;       /* caused by another node's fault (its shape or dtype is not known) */
    const char *table;  /* "torch" or "onnx" */
    const char *row;    /* the row of that table that the rule stands in */
};

enum node_verdict { NODE_LEGAL, NODE_ILLEGAL, NODE_FOLDED };

/* What the checker worked out of a value: the dtype on the march, judged or from the file. */
struct judged {
    enum dtype dtype;
    bool assumed; /* not in the file: judged as if quantized with the march's default */
};

/* The parts that the graph falls into when each illegal node runs on the CPU (placement.c). */
struct split {
    int bpu_segments, cpu_segments;
    int bpu_nodes, cpu_nodes;
    int onnx_cpu_nodes;     /* legal by the torch table, while the ONNX table has them on the CPU */
    double crossing_bytes;  /* of tensors that pass between the two, once per CPU part and direction; < 0: not known */
    double crossing_us;     /* at the march's effective DDR bandwidth; < 0: not known */
    const char *reason;     /* why they are not known */
};

struct check_result {
    const struct graph *graph;
    const struct march *march;
    bool legal;
    struct finding *findings;
    int finding_count;
    enum node_verdict *verdicts; /* [graph.node_count] */
    bool *induced;               /* [graph.node_count]: illegal only by induced findings */
    struct judged *values;       /* [graph.value_count] */
    /* [graph.node_count]: the convolution or linear layer that a residual add or ReLU runs inside of, or
     * NULL. Such nodes stay in the graph; folded_into is for batch norms. */
    const struct node **fused_into;
    int legal_count, illegal_count, folded_count, error_count, warning_count, advice_count;
    bool assumed_dtypes; /* a float graph was judged as if quantized */
    struct split split;
    const char **notes;  /* what was decided for the whole model and the user should know */
    int note_count;
};

/* A limit as it was met: what was measured and on which side of the bound it lies. */
struct limit_seen {
    const struct limit *limit; /* as the data of the march holds it */
    const char *row;           /* the row that led here, also where it refers to another one */
    bool onnx;                 /* of the ONNX table */
    bool relation;             /* its relation was judged, not its bounds */
    bool within;
    enum severity severity; /* of what is said if it does not hold */
    bool is_number;
    double number;
    const char *text;
    const char *const *words; /* of a set of axes or shapes */
    int word_count;
};
/* Told of every limit that is measured; how tests know that each one was met on both sides. */
struct check_observer {
    void (*seen)(void *data, const struct limit_seen *what);
    void *data;
};

struct check_options {
    double advice_us; /* < 0: no advice */
    /* dtype overrides: "dtype.NODE" = "qint16" among the options of the job */
    const struct check_override {
        const char *node, *dtype;
    } *overrides;
    size_t override_count;
    /* where inputs come from: "input_source.NAME" or, for all others, "input_source" (name "") */
    const struct check_source {
        const char *input, *source; /* "ddr", "pyramid", "resizer" */
    } *sources;
    size_t source_count;
    const struct check_observer *observer; /* or NULL */
    bool no_rewrites; /* how a rewrite itself is judged */
};

/* Judges g. The result lives in g's arena.  May mark nodes folded (batch norm behind a conv). */
struct check_result *check_graph(struct graph *g, const struct march *m,
                                 const struct check_options *opt, struct bpu_error *err) BPU_CHECKED;

/* ── reports ── */
struct report_head {
    const char *model_id, *model_name, *model_format;
};
struct json_writer;
/* The member "findings", which reports of compilations and estimates have as well. */
void report_findings_json(struct json_writer *w, const struct check_result *r);
/* bpuhub.check/1 of the contract. */
bool report_check_json(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err) BPU_CHECKED;
/* SARIF 2.1.0, for code scanners. */
bool report_check_sarif(const struct check_result *r, const struct report_head *h, struct buf *out,
                        struct bpu_error *err) BPU_CHECKED;
/* JUnit XML, for CI: a case per node. */
bool report_check_junit(const struct check_result *r, const struct report_head *h, struct buf *out,
                        struct bpu_error *err) BPU_CHECKED;
/* For people at a terminal. */
bool report_check_text(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err) BPU_CHECKED;

#endif
