/* infer: what the inference functions of the operator families share.
 *
 * An inference function reads the shapes of operands, checks them against the attributes and calls
 * infer_out() for every output.  op_apply() has checked before that operand counts and attribute
 * kinds fit the row and that no operand has more than INFER_MAX_ELEMENTS elements; attributes may
 * still hold any int64, so arithmetic with them goes through core/base/checked.h. */
#ifndef BPU_OPS_INFER_H
#define BPU_OPS_INFER_H

#include "core/base/checked.h"
#include "core/ops/op.h"

/* Far beyond every march, and small enough that offsets in bytes stay inside int64. */
#define INFER_MAX_ELEMENTS ((int64_t)1 << 40)

/* BPU_BAD_SHAPE at node n; the message starts with the operator's name. Returns false. */
bool infer_bad(const struct node *n, struct bpu_error *err, const char *hint, const char *fmt, ...)
    BPU_PRINTF(4, 5);

/* Shape of operand i; unknown if it is left out. */
const struct shape *infer_shape(const struct node *n, int i);
enum dtype infer_dtype(const struct node *n, int i);
bool infer_from_onnx(const struct node *n);

/* True if s has at most INFER_MAX_ELEMENTS elements and no extent below -1. `what` names it. */
bool infer_check_size(const struct node *n, const char *what, const struct shape *s,
                      struct bpu_error *err) BPU_CHECKED;
/* Sets output i, if the node has one: the inferred shape (an extent that is unknown is kept from
 * what the file said), and the dtype unless the file gave one. */
bool infer_out(struct node *n, int i, const struct shape *s, enum dtype t,
               struct bpu_error *err) BPU_CHECKED;
/* All outputs from `first` on: unknown shape, dtype t. */
bool infer_out_unknown(struct node *n, int first, enum dtype t, struct bpu_error *err) BPU_CHECKED;
/* Output i holds values of input j unchanged: it takes over the scale if it has none.  axis_map:
 * where axis k of the input went (for per-channel scales), NULL: per-channel scales are not
 * carried. */
void infer_carry_quant(struct node *n, int i, int j, const int *axis_map);

/* Axis normalised to 0..rank-1, or an error. A rank of 0 allows -1 and 0 and gives 0, as PyTorch
 * does. */
bool infer_axis(const struct node *n, const char *what, int64_t axis, int rank, int *out,
                struct bpu_error *err) BPU_CHECKED;
/* The integers of an attribute; an int counts as a list of one.  *count -1: absent or None. */
bool infer_ints(const struct node *n, const char *name, int64_t *out, int max, int *count,
                struct bpu_error *err) BPU_CHECKED;
/* Exactly k integers, one int standing for all; otherwise `fallback` for all when absent. */
bool infer_tuple(const struct node *n, const char *name, int k, int64_t fallback, int64_t *out,
                 struct bpu_error *err) BPU_CHECKED;
/* The axes of attribute `name` as a bit set; absent or None: *all true. Duplicates are errors. */
bool infer_axes(const struct node *n, const char *name, int rank, unsigned *set, bool *all,
                struct bpu_error *err) BPU_CHECKED;
/* The content of operand i, if it is a known constant of at most max elements; *count -1 if not. */
void infer_const_ints(const struct node *n, int i, int64_t *out, int max, int *count);
/* The element type that attribute `name` holds; `otherwise` when absent. Unknown names are errors.
 */
bool infer_dtype_attr(const struct node *n, const char *name, enum dtype otherwise, enum dtype *out,
                      struct bpu_error *err) BPU_CHECKED;

/* numpy broadcasting of two shapes with unknown extents; false if they do not fit. */
bool infer_broadcast(const struct shape *a, const struct shape *b, struct shape *out);
/* Result type of arithmetic: quantized before float before integer; a scalar operand does not
 * widen within its kind, as in PyTorch. */
enum dtype infer_promote(enum dtype a, bool a_scalar, enum dtype b, bool b_scalar);
/* bool, or qbool when t is quantized. */
enum dtype infer_truth(enum dtype t);

/* Elements of a slice with ONNX' (and Python's) clamping; *start becomes the first index. extent >=
 * 0, step is not 0. */
int64_t infer_slice(int64_t extent, int64_t *start, int64_t end, int64_t step);
/* Both quants known and equal, or both unknown. */
bool infer_quant_equal(const struct quant *a, const struct quant *b);

/* What fusing adds to a convolution or linear layer whose result has shape `out`: a residual operand
 * (operand 1) of the same shape, and activation "relu" or "relu6". */
bool infer_fused(const struct node *n, const struct shape *out, struct bpu_error *err) BPU_CHECKED;

/* Where output a of a windowed axis comes from; shared by convolution and pooling. */
struct infer_window {
    int64_t kernel, stride, dilation, begin, end, extra; /* extra: output_padding */
};
/* Reads `padding`: k or 2k ints, "same" or "valid" into begin/end of w[0..k-1] (kernel, stride and
 * dilation must be there). */
bool infer_padding(const struct node *n, int k, struct infer_window *w,
                   struct bpu_error *err) BPU_CHECKED;

/* ── the inference functions, by file ── */
op_infer_fn infer_conv, infer_conv_transpose;                                   /* infer_conv.c */
op_infer_fn infer_max_pool, infer_avg_pool, infer_adaptive_pool, infer_lp_pool; /* infer_pool.c */
op_infer_fn infer_linear, infer_matmul, infer_det;                              /* infer_matmul.c */
op_infer_fn infer_einsum;                                                       /* infer_einsum.c */
op_infer_fn infer_binary, infer_div, infer_compare, infer_logical, infer_unary, infer_unary_real,
    infer_predicate, infer_clamp, infer_where, infer_masked_fill, infer_prelu, infer_softmax,
    infer_glu, infer_same, infer_keep; /* infer_eltwise.c */
op_infer_fn infer_reshape, infer_flatten, infer_squeeze, infer_unsqueeze, infer_transpose,
    infer_permute, infer_expand, infer_repeat, infer_flip, infer_roll; /* infer_move.c */
op_infer_fn infer_cat, infer_stack, infer_split, infer_chunk, infer_pad, infer_pad2d,
    infer_pixel_shuffle, infer_pixel_unshuffle, infer_channel_shuffle; /* infer_join.c */
op_infer_fn infer_getitem, infer_index_select, infer_gather, infer_gather_nd, infer_scatter,
    infer_scatter_nd, infer_topk, infer_sort, infer_one_hot, infer_nonzero; /* infer_index.c */
op_infer_fn infer_reduce, infer_reduce_real, infer_sum, infer_max_min, infer_arg,
    infer_cumsum;                                 /* infer_reduce.c */
op_infer_fn infer_interpolate, infer_grid_sample; /* infer_resize.c */
op_infer_fn infer_batch_norm, infer_layer_norm, infer_group_norm, infer_instance_norm,
    infer_local_response_norm;                          /* infer_norm.c */
op_infer_fn infer_quantize, infer_dequantize, infer_to; /* infer_quant.c */
op_infer_fn infer_size, infer_numel, infer_full, infer_full_like, infer_arange, infer_eye_like,
    infer_tri, infer_unknown;                                        /* infer_shape.c */
op_infer_fn infer_lstm, infer_gru, infer_lstm_cell, infer_attention; /* infer_recurrent.c */
op_infer_fn infer_roi_align, infer_multi_roi_align, infer_anchors, infer_nms,
    infer_unique; /* infer_detect.c */

#endif
