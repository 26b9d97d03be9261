/* fold: constants computed before inference.
 *
 * The shapes and dtypes of the outputs are inferred before a fold function runs.  A result lives in
 * the graph's arena; scratch is given back.  fold_begin() says whether the result is worth
 * computing: shape arithmetic (integers, booleans) up to 64 MiB, real numbers up to 2 MiB, since
 * weights that are merely moved are not needed for a check and cost time and memory.  What is not
 * computed is left to op_apply(), which marks it constant without content. */
#ifndef BPU_OPS_FOLD_H
#define BPU_OPS_FOLD_H

#include <string.h>

#include "core/ops/infer.h"

#define FOLD_INT_CAP ((int64_t)64 << 20)
#define FOLD_REAL_CAP ((int64_t)2 << 20)

/* A result being computed. */
struct fold_result {
    struct value *out;
    unsigned char *data; /* count elements of `size` bytes, zeroed */
    size_t size;
    int64_t count;
};

/* *skip: output i cannot or need not be computed (true is returned, nothing allocated). */
bool fold_begin(struct graph *g, struct node *n, int i, struct fold_result *f, bool *skip,
                struct bpu_error *err) BPU_CHECKED;
/* Hands the data to the output as its constant. */
bool fold_end(struct graph *g, struct fold_result *f, struct bpu_error *err) BPU_CHECKED;
/* Output i shares the content of v: same bytes, other shape. */
bool fold_share(struct graph *g, struct node *n, int i, const struct value *v,
                struct bpu_error *err) BPU_CHECKED;

/* Reading and writing one element at p; integers wrap to their width, reals are rounded to their
 * type. Not for quantized types. */
int64_t fold_load_int(const unsigned char *p, enum dtype t);
double fold_load_real(const unsigned char *p, enum dtype t);
void fold_store_int(unsigned char *p, enum dtype t, int64_t v);
/* NaN and values out of range become 0 or the nearest bound in integer types. */
void fold_store_real(unsigned char *p, enum dtype t, double v);
bool fold_is_int(enum dtype t); /* any integer, or bool */
/* Element i of a known constant of any type that fold_load_* reads. */
static inline const unsigned char *fold_at(const struct value *v, int64_t i)
{
    return v->constant->data + (size_t)i * dtype_size(v->dtype);
}

/* Strides in elements of a row-major tensor. */
void fold_strides(const struct shape *s, int64_t *stride);
/* Strides with which v is read in the index space of `out` (0 where it is broadcast). */
void fold_broadcast_strides(const struct shape *v, const struct shape *out, int64_t *stride);
/* Copies count = product(dim) elements: dst in order, src at offset + sum(index * stride). */
void fold_copy(unsigned char *dst, const unsigned char *src, size_t size, int rank,
               const int64_t *dim, const int64_t *stride, int64_t offset);

/* Walks an index space in row-major order, carrying the offsets of up to three operands. */
struct fold_walk {
    int rank, operands;
    int64_t dim[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK];
    int64_t stride[3][SHAPE_MAX_RANK], at[3];
};
void fold_walk_init(struct fold_walk *w, const struct shape *out);
void fold_walk_add(struct fold_walk *w, const struct shape *operand); /* broadcast */
static inline void fold_walk_next(struct fold_walk *w)
{
    for (int i = w->rank - 1; i >= 0; i--) {
        for (int k = 0; k < w->operands; k++)
            w->at[k] += w->stride[k][i];
        if (++w->index[i] < w->dim[i])
            return;
        for (int k = 0; k < w->operands; k++)
            w->at[k] -= w->stride[k][i] * w->dim[i];
        w->index[i] = 0;
    }
}

/* ── the fold functions, by file ── */
op_fold_fn fold_unary, fold_cast, fold_clamp;         /* fold_unary.c */
op_fold_fn fold_binary, fold_where, fold_masked_fill; /* fold_binary.c */
op_fold_fn fold_view, fold_permute, fold_expand, fold_repeat, fold_flip, fold_roll, fold_getitem;
/* fold_move.c */
op_fold_fn fold_cat, fold_stack, fold_split, fold_pad; /* fold_join.c */
op_fold_fn fold_index_select, fold_gather, fold_gather_nd, fold_scatter, fold_scatter_nd,
    fold_one_hot, fold_nonzero;                              /* fold_index.c */
op_fold_fn fold_reduce, fold_max_min, fold_arg, fold_cumsum; /* fold_reduce.c */
op_fold_fn fold_size, fold_numel, fold_full, fold_full_like, fold_arange, fold_eye_like, fold_tri;
/* fold_make.c */
#endif
