/* fold_move: one constant in another order.  A view shares its bytes, so it costs nothing however
 * large it is; the others copy by strides. */
#include "core/ops/fold.h"

/* reshape, flatten, squeeze, unsqueeze, identity */
bool fold_view(struct graph *g, struct node *n, struct bpu_error *err)
{
    return value_is_known(n->inputs[0]) ? fold_share(g, n, 0, n->inputs[0], err) : true;
}

/* Output 0 read with the strides and offset given, both in elements of the input. */
static bool strided_fold(struct graph *g, struct node *n, int rank, const int64_t *dim,
                         const int64_t *stride, int64_t offset, struct bpu_error *err)
{
    struct fold_result f;
    bool skip;
    if (n->output_count < 1 || n->outputs[0]->dtype != n->inputs[0]->dtype)
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    if (f.count > 0)
        fold_copy(f.data, n->inputs[0]->constant->data, f.size, rank, dim, stride, offset);
    return fold_end(g, &f, err);
}

/* An axis that inference has accepted, as 0..rank-1. */
static int axis_of(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}

bool fold_permute(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t own[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK], dims[SHAPE_MAX_RANK], pair[2] = {0, 0};
    int count = -1;
    if (x->rank == 0)
        return fold_view(g, n, err);
    if (strcmp(n->op->key, "transpose") == 0) {
        pair[0] = axis_of(node_int(n, "dim0", 0), x->rank);
        pair[1] = axis_of(node_int(n, "dim1", 1), x->rank);
    } else if (!infer_ints(n, "dims", dims, SHAPE_MAX_RANK, &count, err)) {
        return false;
    }
    fold_strides(x, own);
    for (int i = 0; i < x->rank; i++) {
        int from = count >= 0     ? axis_of(dims[i], x->rank)
                   : i == pair[0] ? (int)pair[1]
                   : i == pair[1] ? (int)pair[0]
                                  : i;
        stride[i] = own[from];
    }
    return strided_fold(g, n, x->rank, n->outputs[0]->shape.dim, stride, 0, err);
}

bool fold_expand(struct graph *g, struct node *n, struct bpu_error *err)
{
    int64_t stride[SHAPE_MAX_RANK];
    const struct shape *out = &n->outputs[0]->shape;
    if (!shape_is_static(out))
        return true;
    fold_broadcast_strides(&n->inputs[0]->shape, out, stride);
    return strided_fold(g, n, out->rank, out->dim, stride, 0, err);
}

/* Each axis becomes two: which repetition, and where in it. */
bool fold_repeat(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape, *out = &n->outputs[0]->shape;
    int64_t own[SHAPE_MAX_RANK], dim[2 * SHAPE_MAX_RANK], stride[2 * SHAPE_MAX_RANK];
    if (!shape_is_static(out))
        return true;
    fold_strides(x, own);
    for (int i = 0; i < out->rank; i++) {
        int k = i - (out->rank - x->rank);
        int64_t d = k < 0 ? 1 : x->dim[k];
        dim[2 * i] = d > 0 ? out->dim[i] / d : 0;
        stride[2 * i] = 0;
        dim[2 * i + 1] = d;
        stride[2 * i + 1] = k < 0 ? 0 : own[k];
    }
    return strided_fold(g, n, 2 * out->rank, dim, stride, 0, err);
}

bool fold_flip(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t stride[SHAPE_MAX_RANK], offset = 0;
    unsigned set;
    bool all;
    if (!infer_axes(n, "dims", x->rank, &set, &all, err))
        return false;
    fold_strides(x, stride);
    for (int i = 0; i < x->rank; i++)
        if (set & 1u << i) {
            offset += stride[i] * (x->dim[i] - 1);
            stride[i] = -stride[i];
        }
    return strided_fold(g, n, x->rank, x->dim, stride, offset, err);
}

/* What is at i comes from (i - shift) mod extent, on each axis. */
bool fold_roll(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    int64_t shifts[SHAPE_MAX_RANK], dims[SHAPE_MAX_RANK], shift[SHAPE_MAX_RANK] = {0}, flat = 0;
    int64_t own[SHAPE_MAX_RANK];
    int count, dim_count, rank = x->shape.rank;
    struct fold_result f;
    bool skip;
    if (!infer_ints(n, "shifts", shifts, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(n, "dims", dims, SHAPE_MAX_RANK, &dim_count, err))
        return false;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    fold_strides(&x->shape, own);
    for (int i = 0; i < dim_count && f.count > 0; i++) {
        int axis = axis_of(dims[i], rank);
        int64_t d = x->shape.dim[axis];
        shift[axis] = ((shift[axis] + shifts[i] % d) % d + d) % d;
    }
    if (dim_count <= 0 && f.count > 0)
        flat = (shifts[0] % f.count + f.count) % f.count;
    for (int64_t i = 0; i < f.count; i++) {
        int64_t from = 0, rest = i;
        for (int k = 0; k < rank; k++) {
            int64_t at = rest / own[k], d = x->shape.dim[k];
            rest %= own[k];
            from += (at - shift[k] + d) % d * own[k];
        }
        if (dim_count <= 0)
            from = (i - flat + f.count) % f.count;
        memcpy(f.data + (size_t)i * f.size, fold_at(x, from), f.size);
    }
    return fold_end(g, &f, err);
}

bool fold_getitem(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t starts[SHAPE_MAX_RANK], ends[SHAPE_MAX_RANK], steps[SHAPE_MAX_RANK],
        axes[SHAPE_MAX_RANK];
    int64_t stride[SHAPE_MAX_RANK], dim[SHAPE_MAX_RANK], offset = 0;
    int count, end_count, step_count, axis_count, picks, rank = 0;
    if (!node_attr(n, "starts") && !node_attr(n, "select_axes") && n->input_count > 1)
        return true;
    if (!infer_ints(n, "starts", starts, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(n, "ends", ends, SHAPE_MAX_RANK, &end_count, err) ||
        !infer_ints(n, "steps", steps, SHAPE_MAX_RANK, &step_count, err) ||
        !infer_ints(n, "axes", axes, SHAPE_MAX_RANK, &axis_count, err))
        return false;
    fold_strides(x, stride);
    memcpy(dim, x->dim, sizeof dim);
    for (int i = 0; i < count; i++) {
        int axis = axis_of(axis_count > 0 ? axes[i] : i, x->rank);
        int64_t step = step_count > 0 ? steps[i] : 1;
        dim[axis] = infer_slice(dim[axis], &starts[i], ends[i], step);
        if (dim[axis] > 0)
            offset += starts[i] * stride[axis];
        stride[axis] = dim[axis] > 1 ? stride[axis] * step : 0;
    }
    if (!infer_ints(n, "select_axes", axes, SHAPE_MAX_RANK, &picks, err) ||
        !infer_ints(n, "select_indices", starts, SHAPE_MAX_RANK, &picks, err))
        return false;
    for (int i = 0; i < picks; i++) {
        int axis = axis_of(axes[i], x->rank);
        offset += (starts[i] < 0 ? starts[i] + dim[axis] : starts[i]) * stride[axis];
        dim[axis] = -1; /* gone */
    }
    for (int i = 0; i < x->rank; i++)
        if (dim[i] >= 0) {
            dim[rank] = dim[i];
            stride[rank++] = stride[i];
        }
    return strided_fold(g, n, rank, dim, stride, offset, err);
}
