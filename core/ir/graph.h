/* graph: the intermediate representation, on one page.
 *
 * A graph is a list of nodes in topological order over values.  It lives in one arena and is freed
 * with it.  Values know their producer, nodes know where they came from in the user's file.
 *
 * Layout is NCHW as in PyTorch; `op` and attribute names are PyTorch's own (torch.nn.Conv2d,
 * kernel_size …), whatever format the graph came from.
 *
 *   value ──used by──▶ node.inputs[i]      operands in the operator's own order; NULL = left out
 *   value ──used by──▶ node.params[i]      weight, bias, running_mean … by name
 *   value ◀─produced── node.outputs[i]
 *
 * Nodes without effect at inference stay where they are and are marked `folded`: the report lists
 * them and the drawing shows them quietly.  value_source() looks through them. */
#ifndef BPU_IR_GRAPH_H
#define BPU_IR_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/buf.h"
#include "core/base/error.h"

/* ── types ─────────────────────────────────────────────────────────────────────────────────── */

/* One row per element type: enum, name, bytes per element. */
#define DTYPE_MAP(X)                                                                               \
    X(UNKNOWN, "unknown", 0)                                                                       \
    X(QINT8, "qint8", 1)                                                                           \
    X(QUINT8, "quint8", 1)                                                                         \
    X(QINT16, "qint16", 2)                                                                         \
    X(QINT32, "qint32", 4)                                                                         \
    X(QBOOL, "qbool", 1)                                                                           \
    X(FLOAT32, "float32", 4)                                                                       \
    X(FLOAT64, "float64", 8)                                                                       \
    X(FLOAT16, "float16", 2)                                                                       \
    X(BFLOAT16, "bfloat16", 2)                                                                     \
    X(INT8, "int8", 1)                                                                             \
    X(UINT8, "uint8", 1)                                                                           \
    X(INT16, "int16", 2)                                                                           \
    X(UINT16, "uint16", 2)                                                                         \
    X(INT32, "int32", 4)                                                                           \
    X(UINT32, "uint32", 4)                                                                         \
    X(INT64, "int64", 8)                                                                           \
    X(UINT64, "uint64", 8)                                                                         \
    X(BOOL, "bool", 1)

enum dtype {
#define X(id, name, size) DT_##id,
    DTYPE_MAP(X)
#undef X
        DT_COUNT
};

const char *dtype_name(enum dtype t);
size_t dtype_size(enum dtype t);
bool dtype_find(const char *name, enum dtype *out);
static inline bool dtype_is_quantized(enum dtype t) { return t >= DT_QINT8 && t <= DT_QBOOL; }
static inline bool dtype_is_float(enum dtype t) { return t >= DT_FLOAT32 && t <= DT_BFLOAT16; }

/* The largest rank that can be held; the largest that any march allows is 10. */
#define SHAPE_MAX_RANK 12

/* rank -1: nothing is known; dim[i] -1: that extent is not known. */
struct shape {
    int rank;
    int64_t dim[SHAPE_MAX_RANK];
};

struct shape shape_unknown(void);
struct shape shape_of(int rank, const int64_t *dims);
bool shape_is_static(const struct shape *s);
bool shape_equal(const struct shape *a, const struct shape *b);
/* Number of elements, -1 if not static or beyond int64. A scalar (rank 0) has 1. */
int64_t shape_elements(const struct shape *s);
/* "1x3x224x224"; "?" for unknown extents, "scalar" for rank 0, "unknown". Needs 12*21+1 bytes at most. */
#define SHAPE_TEXT_MAX 256
const char *shape_text(const struct shape *s, char out[SHAPE_TEXT_MAX]);

/* ── constants ─────────────────────────────────────────────────────────────────────────────── */

/* The payload of a constant: `bytes` little-endian bytes in row-major order.  data may point into
 * the mapped file: it is NOT aligned (read through constant_int / constant_real / memcpy) and must
 * not be written.  data == NULL: shape and dtype are known, the content is not (weights left out
 * of a graph JSON). */
struct constant {
    const unsigned char *data;
    size_t bytes;
};

/* ── values ────────────────────────────────────────────────────────────────────────────────── */

/* Symmetric or affine quantization of a value: real = scale * (q - zero_point). count 0: not known;
 * 1: per tensor; else per channel along `axis`. */
struct quant {
    const double *scale;
    const int64_t *zero_point; /* NULL: all 0 */
    int count, axis;
};

struct node;

struct value {
    const char *name; /* unique in the graph */
    int index;        /* position in graph.values */
    struct shape shape;
    enum dtype dtype;
    struct quant quant;
    struct node *producer; /* NULL: graph input or constant of the file */
    int producer_output;
    const struct constant *constant; /* not NULL: known before inference (file or folding) */
    bool is_input, is_output;        /* of the graph */
};

/* ── attributes ────────────────────────────────────────────────────────────────────────────── */

enum attr_kind { ATTR_NONE, ATTR_BOOL, ATTR_INT, ATTR_FLOAT, ATTR_STRING, ATTR_INTS, ATTR_FLOATS };

struct attr {
    const char *name;
    enum attr_kind kind;
    int64_t i;        /* BOOL, INT */
    double f;         /* FLOAT */
    const char *s;    /* STRING */
    const int64_t *ints;
    const double *floats;
    int count; /* of ints or floats */
};

/* ── nodes ─────────────────────────────────────────────────────────────────────────────────── */

struct op; /* row of the operator table: core/ops/op.h */

/* Why a node has no effect at inference. */
#define FOLD_MAP(X)                                                                                \
    X(NONE, "none", "")                                                                                 \
    X(CONSTANT, "constant", "computed before inference from constants and static shapes")                      \
    X(IDENTITY, "identity", "passes its input through")                                                        \
    X(BATCH_NORM, "batch_norm", "folded into the weights of the convolution before it")                          \
    X(BIAS, "bias", "is the bias of the operator before it")                                               \
    X(PART, "part", "is a part of an operator that the exporter took apart")                               \
    X(QUANT, "quant", "carries the scale of its value")

enum fold {
#define X(id, name, text) FOLD_##id,
    FOLD_MAP(X)
#undef X
        FOLD_COUNT
};
/* The reason as a sentence's end, and as a word ("constant"). */
const char *fold_text(enum fold f);
const char *fold_name(enum fold f);
bool fold_find(const char *name, enum fold *out);

/* Where a node stands in the user's file. Empty fields are NULL or -1. */
struct origin {
    const char *source_op; /* "onnx:Conv", "aten::conv2d", or the op itself for graph JSON */
    const char *scope;     /* module scope, "features.0.0" */
    const char *file;      /* the user's source and line, "net.py", where the file tells it; else the
                            * member of TorchScript code, "code/__torch__.py" */
    int64_t line;
    int64_t byte; /* offset in the file */
};

struct param {
    const char *name; /* "weight" */
    struct value *value;
};

struct node {
    const char *name; /* unique in the graph */
    int index;        /* position in graph.nodes */
    const struct op *op; /* NULL: in no row of the operator table; then op_name tells what it is */
    const char *op_name; /* name as the operator table writes it, or the source's own */
    struct origin origin;
    struct value **inputs; /* may hold NULL for an operand that is left out */
    int input_count;
    struct value **outputs;
    int output_count;
    struct param *params;
    int param_count;
    struct attr *attrs;
    int attr_count;
    enum fold fold;
    struct node *folded_into; /* the node that took it over (batch norm into conv), or NULL */
};

/* ── graph ─────────────────────────────────────────────────────────────────────────────────── */

struct graph {
    struct arena *arena;
    const char *name;
    const char *format;   /* "onnx", "torchscript", "pt2", "graph-json" */
    const char *producer; /* "pytorch 1.13.0" or NULL */
    int64_t opset;        /* ONNX default domain; 0 otherwise */
    struct node **nodes;
    int node_count;
    struct value **values;
    int value_count;
    struct value **inputs; /* without initializers */
    int input_count;
    struct value **outputs;
    int output_count;
    const char **notes; /* what the importer decided and the user should know */
    int note_count;
    int64_t folded_elements; /* read and written so far to compute constants: op_fold_affordable() */
    /* private: capacity of the arrays, and the name tables */
    size_t node_capacity, value_capacity, input_capacity, output_capacity, note_capacity;
    struct name_table *value_names, *node_names;
};

struct graph *graph_new(struct arena *a, const char *name, const char *format, struct bpu_error *err)
    BPU_CHECKED;

/* A new value; a name that is taken gets a suffix ".1", ".2" …; NULL or "" gives "value.N". */
struct value *graph_add_value(struct graph *g, const char *name, struct bpu_error *err) BPU_CHECKED;
/* A new constant value; data is referenced, not copied, and must live as long as the arena. */
struct value *graph_add_constant(struct graph *g, const char *name, const struct shape *shape,
                                 enum dtype dtype, const void *data, size_t bytes,
                                 struct bpu_error *err) BPU_CHECKED;
/* A new node at the end of the list.  op_name is looked up in the operator table by op_bind() of
 * core/ops; here op stays NULL. Same rule for names as values. */
struct node *graph_add_node(struct graph *g, const char *name, const char *op_name,
                            struct bpu_error *err) BPU_CHECKED;
bool graph_add_input(struct graph *g, struct value *v, struct bpu_error *err) BPU_CHECKED;
bool graph_add_output(struct graph *g, struct value *v, struct bpu_error *err) BPU_CHECKED;
bool graph_add_note(struct graph *g, struct bpu_error *err, const char *fmt, ...) BPU_CHECKED
    BPU_PRINTF(3, 4);
/* NULL if there is none. */
struct value *graph_find_value(const struct graph *g, const char *name);
struct node *graph_find_node(const struct graph *g, const char *name);

bool node_add_input(struct graph *g, struct node *n, struct value *v, struct bpu_error *err)
    BPU_CHECKED;
/* A new output value of n. */
struct value *node_add_output(struct graph *g, struct node *n, const char *name,
                              struct bpu_error *err) BPU_CHECKED;
bool node_add_param(struct graph *g, struct node *n, const char *name, struct value *v,
                    struct bpu_error *err) BPU_CHECKED;
struct value *node_param(const struct node *n, const char *name); /* NULL if there is none */
static inline struct value *node_input(const struct node *n, int i)
{
    return i >= 0 && i < n->input_count ? n->inputs[i] : NULL;
}

/* Setting replaces an attribute of that name.  Arrays and strings are copied. */
bool node_set_bool(struct graph *g, struct node *n, const char *name, bool v, struct bpu_error *e) BPU_CHECKED;
bool node_set_int(struct graph *g, struct node *n, const char *name, int64_t v, struct bpu_error *e) BPU_CHECKED;
bool node_set_float(struct graph *g, struct node *n, const char *name, double v, struct bpu_error *e) BPU_CHECKED;
bool node_set_string(struct graph *g, struct node *n, const char *name, const char *v, struct bpu_error *e) BPU_CHECKED;
bool node_set_none(struct graph *g, struct node *n, const char *name, struct bpu_error *e) BPU_CHECKED;
bool node_set_ints(struct graph *g, struct node *n, const char *name, const int64_t *v, int count, struct bpu_error *e) BPU_CHECKED;
bool node_set_floats(struct graph *g, struct node *n, const char *name, const double *v, int count, struct bpu_error *e) BPU_CHECKED;
const struct attr *node_attr(const struct node *n, const char *name); /* NULL if there is none */
/* Readers with a default for "absent" and "None"; numbers convert between bool, int and float. */
int64_t node_int(const struct node *n, const char *name, int64_t otherwise);
double node_float(const struct node *n, const char *name, double otherwise);
bool node_bool(const struct node *n, const char *name, bool otherwise);
const char *node_string(const struct node *n, const char *name, const char *otherwise);
/* Exactly `count` integers: an int stands for all of them (PyTorch's pairs). True if the attribute is
 * there and fits; otherwise out is left alone. */
bool node_ints(const struct node *n, const char *name, int64_t *out, int count);

/* True if v is a constant whose content is known. */
bool value_is_known(const struct value *v);
/* Element `i` of a known constant, any integer or bool type (floats are truncated) / any numeric type. False if
 * not known or out of range. */
bool constant_int(const struct value *v, int64_t i, int64_t *out);
bool constant_real(const struct value *v, int64_t i, double *out);
/* The value behind pass-through nodes (fold IDENTITY, BATCH_NORM, BIAS, QUANT): what a consumer really reads.
 * No further than that many in a row: asked at every node of a longer chain, the answer would take
 * quadratic time. */
#define VALUE_SOURCE_STEPS 256
struct value *value_source(struct value *v);

/* ── users ─────────────────────────────────────────────────────────────────────────────────── */

/* Who uses a value: an index computed on demand, invalid after the graph changes. */
struct graph_users {
    struct node ***users; /* users[value->index] … */
    int *count;
};
/* Each consumer once per operand (inputs and params). */
struct graph_users *graph_users_new(const struct graph *g, struct arena *a, struct bpu_error *err)
    BPU_CHECKED;

/* ── between passes ────────────────────────────────────────────────────────────────────────── */

/* Stable topological order of g->nodes (file order where it is free); indices renumbered.  A cycle is
 * BPU_BAD_MODEL that names a node on it. */
bool graph_sort(struct graph *g, struct bpu_error *err) BPU_CHECKED;
/* The verifier: order, links, names, indices, producer fields, static ranks, finite scales.  Runs between passes. */
bool graph_verify(const struct graph *g, struct bpu_error *err) BPU_CHECKED;
/* The text form of a graph; graph_parse reads it back (constants keep shape and dtype, and their
 * content up to 64 elements). */
void graph_dump(const struct graph *g, struct buf *out);
struct graph *graph_parse(struct arena *a, const char *text, struct bpu_error *err) BPU_CHECKED;

#endif
