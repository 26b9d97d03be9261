/* limit: what a cell of an operator table holds, and the words its data is written in.
 *
 *   {.op = "torch.nn.MaxPool2d", YES, .inputs = Q8, .outputs = SAME,
 *    LIMITS(RANGE(KERNEL_H, 1, 64), MAX(STRIDE_H, 256), IN_SET(MODE, WORDS("zeros", "border")))}
 *
 * A limit without a condition always holds; WHEN(…), ON(operand), RANK_IS(n) and READING("…")
 * follow the bounds.  Limits are data only: core/check/ measures and judges. */
#ifndef BPU_MARCH_LIMIT_H
#define BPU_MARCH_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/ir/graph.h"
#include "core/march/machine.h"
#include "core/march/march.h"
#include "core/march/quantity.h"

/* Which operands a limit is about: X(ID, name in the data, words of a message).  An empty name is
 * the default: what the table calls the input. */
#define OPERAND_MAP(X)                                                                             \
    X(INPUTS, "", "input")      /* every feature map among the inputs */                           \
    X(FIRST, "", "input")       /* the first input only */                                         \
    X(BOTH_WAYS, "", "tensor")  /* inputs and outputs */                                           \
    X(RESULT, "", "output")     /* every output */                                                 \
    X(INPUT, "input", "input")  /* the data names "input"; every input */                          \
    X(OUTPUT, "output", "output")                                                                  \
    X(INDEX_OUT, "output.index", "index output")                                                   \
    X(WEIGHT, "weight", "weight")                                                                  \
    X(BIAS, "bias", "bias")                                                                        \
    X(SUMIN, "sumin", "residual input")                                                            \
    X(GRID, "grid", "grid")                                                                        \
    X(INDICES, "indices", "indices")                                                               \
    X(OTHER, "other", "second input")

enum operand {
#define X(id, name, words) OPERAND_##id,
    OPERAND_MAP(X)
#undef X
        OPERAND_COUNT
};
extern const char *const operand_names[OPERAND_COUNT];
extern const char *const operand_words[OPERAND_COUNT];

struct limit {
    enum quantity quantity; /* Q_NONE ends a list */
    enum operand operand;
    enum condition when;
    enum relation relation;
    int rank; /* 0: any; else only for inputs of this rank */
    bool has_min, has_max, min_open, max_open;
    bool power_of_two;
    int multiple_of;
    bool advisory;       /* never illegal */
    bool inferred;       /* not stated by the source */
    bool any;            /* the source says that every value is allowed */
    bool value;          /* about the data, not about shapes: a warning at most */
    /* while this limit's condition holds, it stands for the unconditional ones of that quantity */
    enum quantity relaxes;
    double min, max;
    const char *const *in, *const *not_in; /* allowed, forbidden values, as text; NULL-terminated */
    const char *why;     /* of an advisory statement */
    const char *reading; /* how an ambiguous source was read */
};

/* Sets of dtypes as bits. */
#define DT_BIT(t) (1u << DT_##t)
#define Q8 DT_BIT(QINT8)
#define Q16 DT_BIT(QINT16)
#define Q32 DT_BIT(QINT32)
#define QB DT_BIT(QBOOL)
#define F32 DT_BIT(FLOAT32)
#define I16 DT_BIT(INT16)
#define I32 DT_BIT(INT32)
#define I64 DT_BIT(INT64)
#define SAME (1u << 31) /* outputs: as the input */

struct operand_dtypes {
    const char *operand; /* "weight", "other"; NULL ends */
    unsigned dtypes;
};

enum support { SUPPORT_NO, SUPPORT_YES, SUPPORT_BLANK /* the cell is empty; read as supported */ };
enum placement { PLACEMENT_BPU, PLACEMENT_CPU, PLACEMENT_CPU_ABSENT /* not integrated */ };

/* One cell of the torch table. */
struct cell {
    const char *op;
    enum support support;
    unsigned inputs, outputs;
    const struct operand_dtypes *operands, *results; /* by name, where the table has names */
    const struct limit *limits;                      /* NULL: none */
    const struct limit *reading;                     /* limits that a blank cell is read to have */
    const char *refers;                              /* the row whose cell this one refers to */
    const char *note;                                /* how an ambiguous cell was read */
};

/* One cell of the ONNX table. */
struct onnx_cell {
    const char *op;
    enum placement placement;
    const struct limit *limits;
    const char *refers;
    const char *note;
};

/* A rule for all rows of a table. */
struct general_rule {
    const char *id;
    bool onnx;                /* which table it stands in */
    const struct limit *limits;
};

/* What a depthwise convolution reaches on maps whose longer side is at most `side`. */
struct depthwise_rate {
    int side;
    double macs_per_us;
};

/* What networks reach on one core: advice and the cost of crossings are computed from these.  Where
 * one means the same as a number of machine, the data file has it once.  Evidence stands beside the
 * numbers.  0 or NULL: not known, nothing is said. */
struct figures {
    double macs_per_us;     /* sustained by dense convolutions on well-shaped maps */
    double elements_per_us; /* elementwise and lookup operators */
    int in_multiple, out_multiple; /* channels per group that fill the conv array */
    const struct machine_block *blocks; /* of machine; the one that pads an output least is taken; h 0 ends */
    int element_w;                 /* elementwise and lookup operators pad W to this */
    int tiny_side;         /* maps of at most this side are called tiny: padding is most of the work */
    double tiny_slowdown;  /* the padding of a map never costs more than this factor */
    const struct depthwise_rate *depthwise; /* by side, ascending; side 0 ends: larger maps */
    double ddr_bytes_per_us; /* effective, one direction */
};

struct march {
    const char *name, *title;
    const char *const *boards; /* NULL-terminated */
    enum dtype feature_dtype;  /* what a float graph is judged as */
    const struct general_rule *rules;
    int rule_count;
    const struct cell *torch;
    int torch_count;
    const struct onnx_cell *onnx;
    int onnx_count;
    struct figures figures;
    const struct machine *machine;
};

/* ── the words of the data files ───────────────────────────────────────────────────────────── */

#define COUNT_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define LIMIT_LIST(...) ((const struct limit[]){__VA_ARGS__, {.quantity = Q_NONE}})
#define LIMITS(...) .limits = LIMIT_LIST(__VA_ARGS__)
#define OPERANDS(...) .operands = (const struct operand_dtypes[]){__VA_ARGS__, {NULL, 0}}
#define RESULTS(...) .results = (const struct operand_dtypes[]){__VA_ARGS__, {NULL, 0}}

#define MIN(q, ...) {.quantity = Q_##q, .has_min = true, .min = __VA_ARGS__}
#define MAX(q, ...) {.quantity = Q_##q, .has_max = true, .max = __VA_ARGS__}
#define BELOW(q, ...) {.quantity = Q_##q, .has_max = true, .max_open = true, .max = __VA_ARGS__}
#define RANGE(q, lo, ...)                                                                          \
    {.quantity = Q_##q, .has_min = true, .has_max = true, .min = (lo), .max = __VA_ARGS__}
#define RANGE_BELOW(q, lo, ...)                                                                    \
    {.quantity = Q_##q, .has_min = true, .has_max = true, .max_open = true, .min = (lo),           \
     .max = __VA_ARGS__}
#define RANGE_ABOVE(q, lo, ...)                                                                    \
    {.quantity = Q_##q, .has_min = true, .min_open = true, .has_max = true, .min = (lo),           \
     .max = __VA_ARGS__}
#define IN_SET(q, ...) {.quantity = Q_##q, .in = __VA_ARGS__}
#define NOT_IN(q, ...) {.quantity = Q_##q, .not_in = __VA_ARGS__}
#define IS(q, ...) {.quantity = Q_##q, .in = WORDS(__VA_ARGS__)}
#define POWER_OF_TWO(q) {.quantity = Q_##q, .power_of_two = true}
#define POWER_OF_TWO_WHEN(q, c) {.quantity = Q_##q, .power_of_two = true, WHEN(c)}
#define MULTIPLE(q, ...) {.quantity = Q_##q, .multiple_of = __VA_ARGS__}
#define ANY(q) {.quantity = Q_##q, .any = true}
#define HOLDS(q, r) {.quantity = Q_##q, .relation = R_##r}
#define HOLDS_WHEN(q, r, ...) {.quantity = Q_##q, .relation = R_##r, __VA_ARGS__}
#define ADVICE(q, ...) {.quantity = Q_##q, .advisory = true, .why = __VA_ARGS__}
#define STATES(q) {.quantity = Q_##q}

#define ON(o) .operand = OPERAND_##o
#define WHEN(c) .when = WHEN_##c
#define RANK_IS(n) .rank = (n)
#define RELATION(r) .relation = R_##r
#define READING(text) .reading = (text)
#define RELAXES(q) .relaxes = Q_##q
#define OF_VALUES .value = true

#define NO(name) {.op = name}
#define YES .support = SUPPORT_YES
#define BLANK .support = SUPPORT_BLANK
#define READ_LIMITS(...) .reading = LIMIT_LIST(__VA_ARGS__)
#define ON_BPU(name) {.op = name}
#define ON_CPU(name) {.op = name, .placement = PLACEMENT_CPU}
#define CPU_ABSENT(name) {.op = name, .placement = PLACEMENT_CPU_ABSENT}

/* Publishes the march of a data file; the Makefile collects these lines. */
#define MARCH_DEFINE(id) const struct march march_##id

#endif
