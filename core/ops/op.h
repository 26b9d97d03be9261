/* op: the operator table. One row per operator holds what every part of the program knows of it.
 *
 * Rows stand in core/ops/op_table.def.  What differs between marches (supported or not, dtypes,
 * limits) stands in the march's data file (core/march/) and is found by the row's name. */
#ifndef BPU_OPS_OP_H
#define BPU_OPS_OP_H

#include "core/ir/graph.h"

/* The engine-like family of an operator: for colours of the drawing, cost and lowering. */
#define OP_CLASS_MAP(X)                                                                            \
    X(CONV, "convolution")                                                                         \
    X(MATMUL, "matrix")                                                                            \
    X(POOL, "pooling")                                                                             \
    X(ELTWISE, "elementwise")                                                                      \
    X(ACTIVATION, "activation")                                                                    \
    X(LUT, "lookup")                                                                               \
    X(NORM, "normalization")                                                                       \
    X(REDUCE, "reduction")                                                                         \
    X(RESIZE, "resize")                                                                            \
    X(MOVE, "data movement")                                                                       \
    X(QUANT, "quantization")                                                                       \
    X(SHAPE, "shape arithmetic")                                                                   \
    X(RECURRENT, "recurrent")                                                                      \
    X(DETECT, "detection")                                                                         \
    X(OTHER, "other")

enum op_class {
#define X(id, text) OPC_##id,
    OP_CLASS_MAP(X)
#undef X
        OPC_COUNT
};
const char *op_class_name(enum op_class c);

/* Sets shape and dtype of every output from inputs, params and attributes, after checking that they
 * fit together (BPU_BAD_SHAPE names operand and shapes otherwise).  Inputs of unknown shape give
 * outputs of unknown shape, never an error.  May complete attributes that follow from operands
 * (in_channels from a weight). */
typedef bool op_infer_fn(struct graph *g, struct node *n, struct bpu_error *err);
/* Computes the outputs of a node whose inputs are all known constants (or whose result depends on
 * static shapes only) and sets value.constant.  Returns true and leaves the outputs alone when it
 * cannot (dtype, size cap).  There is at least one output. */
typedef bool op_fold_fn(struct graph *g, struct node *n, struct bpu_error *err);

/* An attribute as PyTorch names it. */
struct op_attr {
    const char *name;
    enum attr_kind kind; /* INTS also accepts one int, FLOAT an int, BOOL 0 and 1; NONE: any kind */
    bool required;
};

struct op {
    const char *name;    /* as the operator table writes it: "torch.nn.Conv2d" */
    const char *key;     /* prefix of its rules: "conv2d" */
    const char *onnx;    /* its row in the ONNX table, or NULL: "Conv" */
    const char *aliases; /* other spellings, separated by spaces: "aten::conv2d …", or "" */
    enum op_class class;
    int min_inputs, max_inputs;  /* operands without params; max -1: any number */
    int outputs;                 /* -1: as many as attributes say */
    const char *params;          /* "weight bias" or "" */
    const struct op_attr *attrs; /* ends with a NULL name */
    op_infer_fn *infer;
    op_fold_fn *fold; /* NULL: never folded */
    bool identity;    /* passes its input through: Identity, Dropout, Cast between floats … */
    int spatial;      /* spatial axes of a 1d, 2d or 3d form; 0: the operator has no such form */
    bool shape_only;  /* fold needs the shapes of its operands, not their content */
};

/* All rows, in the order of the table. */
const struct op *op_table(size_t *count);
/* By canonical name or alias, exact; NULL if there is none. Constant time, from any thread. */
const struct op *op_find(const char *name);
/* Up to `max` names of rows that look like `name` (edit distance, shared words), best first. */
size_t op_suggest(const char *name, const char **out, size_t max);
/* The attribute `name` of a row; NULL if the row has none of that name. */
const struct op_attr *op_attr_find(const struct op *op, const char *name);
/* Sets n->op from n->op_name (and op_name to the canonical name).  False if no row has it: not an
 * error. */
bool op_bind(struct node *n);

/* Checks operand counts and attribute kinds of a bound node against its row (BPU_BAD_MODEL), infers
 * (BPU_BAD_SHAPE), folds when all inputs are known constants, and marks n->fold (CONSTANT,
 * IDENTITY).  The one call that importers make for each node, in topological order.  A node without
 * a row gets outputs of unknown shape.
 *
 * A dtype or scale that an output has already is kept, and so is an extent that inference cannot
 * tell.  What follows from constants but is not worth computing for a check (real numbers over
 * 2 MiB, integers over 64 MiB, operators without a fold function) becomes a constant with data
 * NULL. Where ONNX means something else than PyTorch by the same operator, origin.source_op
 * ("onnx:…") decides, and the difference is written into the attributes where there is one for it:
 * rounding_mode of an integer division, transposed of torch.nonzero, separate_directions of
 * recurrent layers. */
bool op_apply(struct graph *g, struct node *n, struct bpu_error *err) BPU_CHECKED;
/* Computing constants is bounded per graph: a small file can ask for the same large constant again
 * and again.  True if `elements` more may be read and written, and counts them unless they are so few
 * that the size of the file bounds them (shape arithmetic).  What is not computed stays a constant
 * without content. */
#define OP_FOLD_BUDGET ((int64_t)1 << 27)
#define OP_FOLD_FREE 4096
bool op_fold_affordable(struct graph *g, int64_t elements);
/* op_apply over the whole graph in order. */
bool op_apply_all(struct graph *g, struct bpu_error *err) BPU_CHECKED;

/* Multiplications with addition of one run of n on its unpadded shapes: conv, deconv, linear,
 * matmul; 0 for others; -1 when shapes are unknown. */
int64_t op_macs(const struct node *n);

#endif
