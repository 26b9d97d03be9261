/* onnx: shared by the files of the ONNX reader. Private to core/import.
 *
 *   onnx.c          the file: tables of names, inputs, order of nodes, outputs
 *   onnx_tensor.c   TensorProto → constant
 *   onnx_node.c     what the adapters build with
 *   onnx_map*.c     one adapter per operator: ONNX's operands and attributes → the operator table's
 *   onnx_quant.c    QuantizeLinear / DequantizeLinear become scales of values
 *   onnx_qparam.c   scales and zero points, as operands of ONNX and as the graph has them
 *   onnx_qoperator.c  operators that take quantized operands: QLinearConv …
 *   onnx_qfinish.c  what can only be said of quantization when all nodes are read
 */
#ifndef BPU_IMPORT_ONNX_H
#define BPU_IMPORT_ONNX_H

#include "core/base/table.h"
#include "core/import/import.h"
#include "onnx.pb-c.h"

struct onnx_import {
    struct arena *arena;
    struct graph *graph;
    const struct import_request *req;
    struct bpu_error *err;
    struct name_table *values;     /* ONNX name → struct value */
    struct name_table *value_info; /* ONNX name → Onnx__TypeProto: what the file declares */
    struct name_table *outputs;    /* ONNX names of the graph's outputs */
    struct name_table *used;       /* names that a node reads or that leave the graph */
    struct name_table *integers;   /* names of values whose integers the file's nodes read */
    int quantized_operators;       /* nodes that were read as the float operator they compute */
    int64_t opset;                 /* of the default domain */
};

/* One ONNX node while it is translated. */
struct onnx_node {
    struct onnx_import *im;
    const Onnx__NodeProto *proto;
    const char *name; /* its own, or "Conv_12" */
    struct value **in; /* resolved inputs; NULL where left out */
    int in_count;
    const char *file_op; /* what the file calls it, where proto is a stand-in (onnx_qoperator.c) */
};

typedef bool onnx_adapt_fn(struct onnx_node *o);

/* Renaming of one attribute: ONNX name → PyTorch name, with ONNX's default. kind ATTR_NONE ends a list. */
struct onnx_rename {
    const char *from, *to;
    enum attr_kind kind;
    double otherwise;  /* of INT, BOOL and FLOAT */
    const char *text;  /* of STRING */
};

struct onnx_row {
    const char *onnx;  /* op_type of the default domain */
    const char *torch; /* the operator it becomes; NULL: the adapter knows */
    onnx_adapt_fn *adapt; /* NULL: all inputs as operands, attributes renamed, all outputs */
    struct onnx_rename renames[4];
};

/* NULL if this version maps no such operator: the node then stays outside the operator table. */
const struct onnx_row *onnx_row_find(const char *op_type);
/* The same of the domain com.microsoft. */
const struct onnx_row *onnx_microsoft_row_find(const char *op_type);
/* Translates o by its row. */
bool onnx_by_row(struct onnx_node *o, const struct onnx_row *row);

/* ── onnx_tensor.c ── */
/* A constant value for t. name overrides t->name if not NULL. */
struct value *onnx_tensor(struct onnx_import *im, const Onnx__TensorProto *t, const char *name);
enum dtype onnx_dtype(int32_t data_type); /* DT_UNKNOWN for strings and complex numbers */

/* ── onnx_node.c: reading ── */
const Onnx__AttributeProto *onnx_attr(const struct onnx_node *o, const char *name);
int64_t onnx_int(const struct onnx_node *o, const char *name, int64_t otherwise);
double onnx_float(const struct onnx_node *o, const char *name, double otherwise);
/* otherwise if absent; a copy in the arena. */
const char *onnx_string(const struct onnx_node *o, const char *name, const char *otherwise);
/* The integers of an attribute; NULL if absent. */
const int64_t *onnx_ints(const struct onnx_node *o, const char *name, int *count);
struct value *onnx_in(const struct onnx_node *o, int i);
/* All elements of a known integer constant of at most SHAPE_MAX_RANK*2 elements. False if it is not known. */
bool onnx_const_ints(const struct value *v, int64_t *out, int max, int *count);
bool onnx_const_reals(const struct value *v, double *out, int max, int *count);
/* A list given by attribute (NULL: never) up to some opset and by input from then on. *known false: given, but not constant.
 * *count -1: not given. */
void onnx_list(const struct onnx_node *o, const char *attr, int input, int64_t *out, int max,
               int *count, bool *known);
bool onnx_bad(const struct onnx_node *o, const char *fmt, ...) BPU_PRINTF(2, 3);

/* ── onnx_node.c: building ── */
/* A node of `op_name` for o; suffix NULL for the main one, else "name/suffix". */
struct node *onnx_begin(struct onnx_node *o, const char *op_name, const char *suffix);
bool onnx_operand(struct onnx_node *o, struct node *n, struct value *v);
/* An output of n under the name of the ONNX output i (or a fresh one where it is left out). */
struct value *onnx_output(struct onnx_node *o, struct node *n, int i);
/* A value inside an expansion, that the file does not name. */
struct value *onnx_inner(struct onnx_node *o, struct node *n);
/* Remaining outputs as named by the file, then op_apply. */
bool onnx_finish(struct onnx_node *o, struct node *n);
bool onnx_finish_outputs(struct onnx_node *o, struct node *n, int count);
/* The whole o as a node that stays outside the table or whose result cannot be inferred: shapes from value_info,
 * else unknown. */
bool onnx_opaque(struct onnx_node *o, const char *op_name);

/* ── adapters in several files ── */
onnx_adapt_fn onnx_conv, onnx_conv_transpose, onnx_pool, onnx_global_pool, onnx_batch_norm,
    onnx_gemm, onnx_matmul, onnx_clip, onnx_prelu, onnx_softmax, onnx_layer_norm, onnx_group_norm,
    onnx_lrn, onnx_recurrent, onnx_einsum, onnx_dropout, onnx_binary, onnx_variadic, onnx_gelu,
    onnx_mod, onnx_relu;
onnx_adapt_fn onnx_reshape, onnx_flatten, onnx_squeeze, onnx_unsqueeze, onnx_transpose, onnx_slice,
    onnx_gather, onnx_split, onnx_expand, onnx_tile, onnx_pad, onnx_resize, onnx_space, onnx_cast,
    onnx_constant, onnx_constant_of_shape, onnx_shape, onnx_reduce, onnx_arg, onnx_topk,
    onnx_one_hot, onnx_trilu, onnx_cumsum, onnx_grid_sample, onnx_roi_align, onnx_range,
    onnx_bit_shift, onnx_eye_like;
onnx_adapt_fn onnx_quantize, onnx_dequantize, onnx_dynamic_quantize, onnx_qlinear;

/* ── onnx_qfinish.c ── */
/* What a node reads for v: behind a DequantizeLinear that leaves the graph, the quantized value. */
struct value *onnx_inside(struct value *v);
bool onnx_qfinish(struct onnx_import *im);

#endif
