/* rules: what the files of the rules engine share.
 *
 *   check.c      the way of a graph through the engine, and which table decides
 *   context.c    what limits depend on: fusion, model outputs, dtypes as judged
 *   judge.c      one list of limits against one node; dtypes.c its cell's dtypes
 *   scales.c     what the scales of the file mean for accuracy
 *   border.c     stubs that are missing, inputs that come from the camera
 *   advice.c     shapes that waste the hardware, in microseconds
 *   placement.c  which nodes leave the BPU, into how many parts that cuts the graph
 *   quantity_*.c one small function per quantity, condition.c, relation.c
 *   finding.c    findings, hints for operators that a march does not have
 *   rewrite.c    layers that do the work of a forbidden one; rewrite_find.c, rewrite_window.c and
 *                rewrite_layout.c their candidates
 *   todo.c       what to do about a limit, with the numbers of the node
 *   report_*.c   reports */
#ifndef BPU_CHECK_RULES_H
#define BPU_CHECK_RULES_H

#include "core/base/table.h"
#include "core/check/check.h"
#include "core/march/limit.h"
#include "core/ops/op.h"

/* What an operator is to the fusion of convolutions. */
enum role {
    ROLE_OTHER,
    ROLE_CONV,
    ROLE_LINEAR,
    ROLE_BATCH_NORM,
    ROLE_ADD,
    ROLE_RELU,
    ROLE_QUANT,
    ROLE_DEQUANT
};

/* Where a value goes: nowhere, out of the model only, or into another node as well. */
enum use { USE_NONE, USE_OUTPUT, USE_INTERNAL };

struct node_context {
    enum role role;
    const struct node *host; /* the convolution that this add or ReLU is fused into, or NULL */
    bool sumin;              /* a convolution that takes a residual add with it */
    /* why the shape of an input is not known: the first node on the way that does not tell it, or
     * the open input of the model */
    const struct node *culprit;
    const struct value *open_input;
    const struct cell *torch;
    const struct onnx_cell *onnx;
    const char *todo; /* the hint of its first error, or NULL */
};

struct checker {
    struct graph *g;
    const struct march *m;
    const struct check_options *opt;
    struct check_result *r;
    struct arena *a;
    struct graph_users *users;
    struct node_context *ctx;  /* [graph.node_count] */
    bool quantized;            /* graph_is_quantized() */
    enum use *uses;            /* [graph.value_count] */
    const struct cell **torch; /* rows sorted by name */
    const struct onnx_cell **onnx;
    size_t finding_capacity;
    int first_finding; /* of the node at hand */
    int rewrites_tried;
    struct name_table *suggested; /* hints for unknown operators, by their name */
    struct bpu_error *err;
};

/* A node seen through a row: as itself, as the convolution that carries it out, or as the average
 * pooling that it is composed of. */
enum view { VIEW_SELF, VIEW_CONV, VIEW_POOL };

struct subject {
    struct checker *c;
    const struct node *n;
    const struct node_context *ctx;
    enum view view;
    bool onnx; /* read in the words of the ONNX table */
    const struct limit *general; /* the march's rule that is judged as if the row stated it */
};

/* A measured value: a number, or text as the sets of the data spell it, or several words. */
#define MEASURE_MAX_WORDS 12
struct measure {
    bool is_number;
    double number;
    char text[200];
    const char *words[MEASURE_MAX_WORDS]; /* AXES */
    int word_count;
};

/* False: does not apply to this node, or cannot be known. */
typedef bool quantity_fn(const struct subject *s, const struct value *v, struct measure *out);
bool quantity_measure(const struct subject *s, enum quantity q, const struct value *v,
                      struct measure *out);
#define X(id, fn, name, kind, scope, what, todo) quantity_fn quantity_##fn;
QUANTITY_MAP(X)
#undef X

bool measure_number(struct measure *out, double v);
bool measure_bool(struct measure *out, bool v);
bool measure_word(struct measure *out, const char *word);
bool measure_list(struct measure *out, const int64_t *v, int count);

bool condition_holds(const struct subject *s, enum condition when);
/* 1 holds, 0 does not, -1 cannot be known. For 0, *out is the actual value. */
int relation_holds(const struct subject *s, enum relation r, struct measure *out);

/* ── reading nodes (read.c) ── */
bool node_is(const struct node *n, const char *op);
/* A tensor of the model: not a constant, not shape arithmetic. */
bool value_is_feature(const struct value *v);
enum dtype judged_dtype(const struct subject *s, const struct value *v);
/* Feature maps and constants among the inputs. */
const struct value *subject_input(const struct subject *s, int i);
/* Shape of the weight, from the parameter or from attributes. */
bool subject_weight_shape(const struct subject *s, struct shape *out);
/* Number of spatial axes of a window operator: 1, 2, 3; 0 if it is none. */
int subject_spatial(const struct subject *s);
/* Entry of a window attribute for axis 'd', 'h' or 'w'; false if there is no such axis. */
bool subject_window(const struct subject *s, const char *attr, char axis, int64_t otherwise,
                    int64_t *out);
bool subject_padding(const struct subject *s, char axis, int64_t *out);
/* Axes that a reducing or joining operator names, normalised, ascending. */
bool subject_axes(const struct subject *s, int64_t out[SHAPE_MAX_RANK], int *count);
/* "N", "C", "H" … of axis i of a tensor of that rank. */
const char *axis_name(int rank, int i);
/* Factors of H and W of a resize. */
bool subject_scales(const struct subject *s, double *h, double *w);
/* The shape that both inputs broadcast to. */
bool subject_broadcast(const struct subject *s, struct shape *out);

/* ── context ── */
bool context_build(struct checker *c) BPU_CHECKED;
bool context_judge_dtypes(struct checker *c) BPU_CHECKED;

/* ── judging ── */
/* Adds a finding for every limit of the list that the node violates. reading: how an ambiguous
 * reference to this list was read, or NULL. */
bool judge_limits(const struct subject *s, const struct limit *list, bool onnx, const char *row,
                  const char *reading, enum severity severity) BPU_CHECKED;
bool judge_dtypes(const struct subject *s) BPU_CHECKED;
const struct cell *checker_torch_row(const struct checker *c, const char *op);
const struct onnx_cell *checker_onnx_row(const struct checker *c, const char *op);

/* Warnings about the scales of the inputs (scales.c). */
bool judge_scales(const struct subject *s) BPU_CHECKED;
/* Warnings about constants that the scales of the file cannot hold (scales.c). */
bool judge_ranges(const struct subject *s) BPU_CHECKED;
/* Feature maps of the file carry scales: it was quantized before it came here. */
bool graph_is_quantized(const struct graph *g);
/* The quantization that a tensor carries, looking through nodes without effect; NULL if it has none. */
const struct quant *quant_of(struct value *v);
/* Warnings about stubs that are missing at or inside the border of a quantized graph (border.c). */
bool judge_stubs(const struct subject *s) BPU_CHECKED;
/* Inputs by their source (border.c). Findings come after those of nodes: findings_sort() follows. */
bool judge_sources(struct checker *c) BPU_CHECKED;
/* Advice for a legal node (advice.c). */
bool judge_advice(const struct subject *s) BPU_CHECKED;
/* Segments on BPU and CPU, after all nodes are judged (placement.c). */
bool judge_placement(struct checker *c) BPU_CHECKED;

/* ── findings ── */
struct finding *finding_add(struct checker *c, const struct node *n, enum severity severity,
                            const char *rule_suffix) BPU_CHECKED;
/* Graph order, stable; findings without a node first. */
bool findings_sort(struct checker *c) BPU_CHECKED;
/* True if the node at hand already has a finding of that rule. */
bool finding_exists(const struct checker *c, const struct node *n, const char *rule_suffix);
/* What to do about the limit, with the numbers of the node; NULL: nothing to say (todo.c). v: the operand at
 * fault, or NULL. */
const char *todo_text(const struct subject *s, const struct limit *l, const struct measure *m,
                      const struct value *v, bool relation);
/* Offers other layers as the hint of an error about quantity q (Q_NONE: the operator as a whole), which is
 * `over` times its bound. */
bool rewrite_offer(const struct subject *s, struct finding *f, enum quantity q, double over)
    BPU_CHECKED;
/* Builds the rewrite and judges it; true if it gives what the node gives and is legal. */
bool rewrite_is_legal(const struct subject *s, const struct rewrite *w);
const char *rewrite_text(struct checker *c, const struct rewrite *w, const struct shape *now);
struct json_writer;
void rewrite_json(struct json_writer *w, const struct rewrite *r);

/* A legal rewrite for this operator on this march, or NULL. */
const char *hint_find(const struct march *m, const char *op);
const char *rule_key(struct checker *c, const struct node *n);
/* s as a JSON string, in the arena. */
const char *json_quote(struct checker *c, const char *s);

#endif
