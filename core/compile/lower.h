/* lower: from the fixed-point graph to layers.  One function per kernel of core/run/kernel.h, in
 * lower_*.c; LOWER_MAP says which.  What the machine has no instruction for becomes what it has,
 * with the same bits, or is refused with the reason.
 *
 *   value ── lower_map(value, form) ──▶ map     the operand, in the form that the operator wants
 *   map ──── lower_result(value, form) ─ the map that the new layer writes
 *
 * Values that are other values' elements in another order (reshape, permute, slices) are views
 * (lower_view.h) until somebody asks for a map. */
#ifndef BPU_COMPILE_LOWER_H
#define BPU_COMPILE_LOWER_H

#include "core/compile/layer.h"
#include "core/march/march.h"

struct view;

struct lowering {
    struct network *net;
    const struct march *march;
    struct arena *arena;
    const struct graph *graph;
    struct map **maps[FORM_COUNT]; /* by value index; NULL: not made in this form yet */
    struct view **views;           /* by value index: what it consists of, if no layer writes it */
    const struct value **behind;   /* by value index: the quantized value that it is in real numbers */
    const struct node *node;       /* that is lowered now: layers made on the way belong to it */
    const bool *on_host;           /* by node index: the checker places it on the CPU; or NULL */
};

typedef bool lower_fn(struct lowering *l, const struct node *n, struct bpu_error *err);

/* ── forms ── */

/* n, h, w, c of a value in a form. False: more than 2^31-1 along an axis. */
bool form_extents(const struct shape *s, enum form f, int64_t out[4]);
/* Where axis `dim` of a shape lies: 0 n, 1 h, 2 w, 3 c, and the distance between its elements along
 * that axis (the product of what lies there inside of it). */
int form_axis(const struct shape *s, enum form f, int dim, int64_t *step);
/* True if no other axis with more than one element lies where `dim` lies. */
bool form_alone(const struct shape *s, enum form f, int dim);
/* True if the two forms of this shape are the same memory. */
bool form_same(const struct shape *s);
/* The form a value exists in; where it exists in both or none, IMAGE for rank 4 and 5, else FEATURES. */
enum form lower_form(const struct lowering *l, const struct value *v);

/* ── operands and results ── */

/* The value as a map in that form; adds the COPY that makes it from another form or of a view, or the
 * constant map of a constant value. */
struct map *lower_map(struct lowering *l, const struct value *v, enum form f,
                      struct bpu_error *err) BPU_CHECKED;
/* A new map for value v in that form, to be written by a layer. */
struct map *lower_result(struct lowering *l, const struct value *v, enum form f,
                         struct bpu_error *err) BPU_CHECKED;
/* The same as if v had the shape `as`, which has the same elements in the same order: (C, H, W) as
 * (1, C, H, W), a vector as a matrix. */
struct map *lower_map_as(struct lowering *l, const struct value *v, const struct shape *as,
                         enum form f, struct bpu_error *err) BPU_CHECKED;
struct map *lower_result_as(struct lowering *l, const struct value *v, const struct shape *as,
                            enum form f, struct bpu_error *err) BPU_CHECKED;
/* A map in which an axis of `to`, the shape of another operand, is either that long or 1: what
 * instructions repeat.  v is read in the index space of `to` by broadcasting, in form f of it. */
struct map *lower_broadcast(struct lowering *l, const struct value *v, const struct shape *to,
                            enum form f, struct bpu_error *err) BPU_CHECKED;
/* v is read through `part` from now on: a view that needs no layer. */
void lower_alias(struct lowering *l, const struct value *v, enum form f, struct map *part);
/* A part of a map, read or written in place.  Offsets and extents in the map. */
struct map *lower_part(struct lowering *l, struct map *of, const char *name, int off_h, int h,
                       int off_w, int w, int off_c, int c, struct bpu_error *err) BPU_CHECKED;
/* A map with the type and scale of `like`, made by the compiler. */
struct map *lower_temporary(struct lowering *l, const struct map *like, const char *what, int n,
                            int h, int w, int c, struct bpu_error *err) BPU_CHECKED;

/* ── layers ── */

/* A layer of node n that writes y, on the CPU where the checker places it. */
struct layer *lower_layer(struct lowering *l, enum opcode op, const struct node *n, struct map *y,
                          struct bpu_error *err) BPU_CHECKED;
/* The next operands of the layer; NULL maps: left out. */
void layer_reads(struct layer *l, struct map *m, enum need need);
void layer_reads_blob(struct layer *l, struct blob *b);
/* The named argument of the row of isa.def. */
void layer_set(struct layer *l, const char *name, int32_t v);
void layer_set_real(struct layer *l, const char *name, double v); /* NAME_lo NAME_hi */
/* y may lie where operand i lies, if type, extents and scale allow. */
void layer_in_place(struct layer *l, int i);

/* BPU_UNSUPPORTED at the node, with what and why. */
bool lower_refuse(const struct node *n, struct bpu_error *err, const char *fmt, ...)
    BPU_PRINTF(3, 4);
/* Params and operands that must be constants. */
bool lower_constant(const struct node *n, const struct value *v, const char *what,
                    struct bpu_error *err) BPU_CHECKED;

/* The whole graph. */
struct network *lower_graph(struct arena *a, const struct graph *fixed, const struct march *march,
                            const bool *on_host, struct bpu_error *err) BPU_CHECKED;

/* ── the functions ── */

/* Every kernel: LOWER(kernel, function) or REFUSE(kernel, reason). */
#define LOWER_MAP(LOWER, REFUSE)                                                                   \
    REFUSE(none, "the machine has no instruction for it")                                          \
    LOWER(identity, lower_identity)                                                                \
    LOWER(conv, lower_conv)                                                                        \
    LOWER(conv_transpose, lower_conv_transpose)                                                    \
    LOWER(linear, lower_linear)                                                                    \
    LOWER(matmul, lower_matmul)                                                                    \
    LOWER(einsum, lower_einsum)                                                                    \
    LOWER(det, lower_det)                                                                          \
    LOWER(attention, lower_attention)                                                              \
    LOWER(max_pool, lower_max_pool)                                                                \
    LOWER(avg_pool, lower_avg_pool)                                                                \
    LOWER(lp_pool, lower_lp_pool)                                                                  \
    LOWER(adaptive_pool, lower_adaptive_pool)                                                      \
    LOWER(unary, lower_unary)                                                                      \
    LOWER(prelu, lower_prelu)                                                                      \
    LOWER(clamp, lower_clamp)                                                                      \
    LOWER(glu, lower_glu)                                                                          \
    LOWER(softmax, lower_softmax)                                                                  \
    LOWER(hardmax, lower_hardmax)                                                                  \
    LOWER(binary, lower_binary)                                                                    \
    LOWER(where, lower_where)                                                                      \
    LOWER(masked_fill, lower_masked_fill)                                                          \
    LOWER(batch_norm, lower_batch_norm)                                                            \
    LOWER(layer_norm, lower_layer_norm)                                                            \
    LOWER(group_norm, lower_group_norm)                                                            \
    LOWER(instance_norm, lower_instance_norm)                                                      \
    LOWER(local_response_norm, lower_local_response_norm)                                          \
    LOWER(reduce, lower_reduce)                                                                    \
    LOWER(max_min, lower_max_min)                                                                  \
    LOWER(arg, lower_arg)                                                                          \
    LOWER(topk, lower_topk)                                                                        \
    LOWER(sort, lower_sort)                                                                        \
    LOWER(cumsum, lower_cumsum)                                                                    \
    LOWER(resize, lower_resize)                                                                    \
    LOWER(grid_sample, lower_grid_sample)                                                          \
    LOWER(roi_align, lower_roi_align)                                                              \
    LOWER(multi_roi_align, lower_multi_roi_align)                                                  \
    LOWER(recurrent, lower_recurrent)                                                              \
    LOWER(lstm_cell, lower_lstm_cell)                                                              \
    LOWER(cat, lower_cat)                                                                          \
    LOWER(stack, lower_stack)                                                                      \
    LOWER(split, lower_split)                                                                      \
    LOWER(pad, lower_pad)                                                                          \
    LOWER(view, lower_view)                                                                        \
    LOWER(permute, lower_permute)                                                                  \
    LOWER(expand, lower_expand)                                                                    \
    LOWER(repeat, lower_repeat)                                                                    \
    LOWER(getitem, lower_getitem)                                                                  \
    LOWER(gather, lower_gather)                                                                    \
    LOWER(gather_nd, lower_gather_nd)                                                              \
    LOWER(index_select, lower_index_select)                                                        \
    LOWER(scatter, lower_scatter)                                                                  \
    LOWER(scatter_nd, lower_scatter_nd)                                                            \
    LOWER(flip, lower_flip)                                                                        \
    LOWER(roll, lower_roll)                                                                        \
    LOWER(channel_shuffle, lower_channel_shuffle)                                                  \
    LOWER(pixel_shuffle, lower_pixel_shuffle)                                                      \
    LOWER(pixel_unshuffle, lower_pixel_unshuffle)                                                  \
    LOWER(one_hot, lower_one_hot)                                                                  \
    LOWER(tri, lower_tri)                                                                          \
    LOWER(to, lower_to)                                                                            \
    LOWER(quantize, lower_quantize)                                                                \
    LOWER(dequantize, lower_dequantize)

lower_fn lower_conv, lower_conv_transpose;                      /* lower_conv.c */
lower_fn lower_linear, lower_matmul;                            /* lower_matmul.c */
lower_fn lower_max_pool, lower_avg_pool, lower_adaptive_pool;   /* lower_pool.c */
lower_fn lower_binary, lower_clamp, lower_prelu;                /* lower_eltwise.c */
lower_fn lower_unary;                                           /* lower_table.c */
lower_fn lower_quantize, lower_dequantize, lower_identity;      /* lower_quantize.c */
lower_fn lower_view, lower_permute, lower_expand, lower_repeat, lower_getitem, lower_split, lower_flip,
    lower_to, lower_channel_shuffle, lower_pixel_shuffle, lower_pixel_unshuffle; /* lower_move.c */
lower_fn lower_cat, lower_stack;                                                 /* lower_join.c */
lower_fn lower_pad, lower_roll;                                                  /* lower_box.c */

/* Of kernel `reduce`: a mean over both axes of an image, which is a pool of the whole map.  True without
 * *done: it is no such mean. */
bool lower_mean(struct lowering *l, const struct node *n, bool *done,
                struct bpu_error *err) BPU_CHECKED; /* lower_pool.c */

/* Real arithmetic, lower_real_*.c. */
lower_fn lower_softmax, lower_hardmax, lower_glu, lower_batch_norm, lower_layer_norm,
    lower_group_norm, lower_instance_norm, lower_local_response_norm, lower_reduce, lower_max_min,
    lower_arg, lower_topk, lower_sort, lower_cumsum, lower_resize, lower_grid_sample,
    lower_roi_align, lower_multi_roi_align, lower_einsum, lower_det, lower_attention,
    lower_recurrent, lower_lstm_cell, lower_gather, lower_gather_nd, lower_index_select,
    lower_scatter, lower_scatter_nd, lower_where, lower_masked_fill, lower_one_hot, lower_tri,
    lower_lp_pool;

#endif
