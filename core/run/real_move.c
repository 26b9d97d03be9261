/* real_move: one tensor in another order: views, permutations, repetitions, slices, casts.
 *
 * Elements are copied bit by bit where input and output have the same type and scale, and stored
 * through their real value otherwise; both forms of these kernels are the same function. */
#include "core/run/real.h"

#define BOTH_FORMS(name)                                                                           \
    bool real_##name(const struct kernel_call *c, struct bpu_error *err)                           \
    {                                                                                              \
        return name##_run(c, err);                                                                 \
    }                                                                                              \
    bool fixed_##name(const struct kernel_call *c, struct bpu_error *err)                          \
    {                                                                                              \
        return name##_run(c, err);                                                                 \
    }

/* The elements in their order: what reshapes, casts and operators without effect do. */
static bool view_run(const struct kernel_call *c, struct bpu_error *err)
{
    int64_t count = real_count(c->out[0]), stride = 1;
    if (count != real_count(c->in[0]))
        return kernel_unsupported(c, err, "the result has another number of elements");
    real_copy(c->in[0], c->out[0], 1, &count, &stride, 0);
    return true;
}
BOTH_FORMS(view)

static bool identity_run(const struct kernel_call *c, struct bpu_error *err)
{
    return view_run(c, err);
}
BOTH_FORMS(identity)

/* Real numbers become integers by cutting off their fraction; what does not fit takes the bound. */
static bool to_run(const struct kernel_call *c, struct bpu_error *err)
{
    return view_run(c, err);
}
BOTH_FORMS(to)

static bool permute_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct shape *x = &c->in[0]->shape;
    int64_t own[SHAPE_MAX_RANK] = {0}, stride[SHAPE_MAX_RANK] = {0}, dims[SHAPE_MAX_RANK];
    int count = -1, a = 0, b = 0;
    if (strcmp(c->node->op->key, "transpose") == 0) {
        a = real_axis(c->node, "dim0", 0, x->rank);
        b = real_axis(c->node, "dim1", 1, x->rank);
    } else if (!infer_ints(c->node, "dims", dims, SHAPE_MAX_RANK, &count, err)) {
        return false;
    }
    fold_strides(x, own);
    for (int i = 0; i < x->rank; i++) {
        int from = i == a ? b : i == b ? a : i;
        if (count == x->rank)
            from = (int)(dims[i] < 0 ? dims[i] + x->rank : dims[i]);
        stride[i] = own[from];
    }
    real_copy(c->in[0], c->out[0], x->rank, c->out[0]->shape.dim, stride, 0);
    return true;
}
BOTH_FORMS(permute)

static bool expand_run(const struct kernel_call *c, struct bpu_error *err)
{
    int64_t stride[SHAPE_MAX_RANK];
    const struct shape *out = &c->out[0]->shape;
    if (!real_broadcasts(c, c->in[0], out, err))
        return false;
    fold_broadcast_strides(&c->in[0]->shape, out, stride);
    real_copy(c->in[0], c->out[0], out->rank, out->dim, stride, 0);
    return true;
}
BOTH_FORMS(expand)

/* Each axis becomes two: which repetition, and where in it. */
static bool repeat_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct shape *x = &c->in[0]->shape, *out = &c->out[0]->shape;
    int64_t own[SHAPE_MAX_RANK], dim[2 * SHAPE_MAX_RANK], stride[2 * SHAPE_MAX_RANK];
    fold_strides(x, own);
    for (int i = 0; i < out->rank; i++) {
        int k = i - (out->rank - x->rank);
        int64_t d = k < 0 ? 1 : x->dim[k];
        if (out->rank < x->rank || (d > 0 ? out->dim[i] % d != 0 : out->dim[i] != 0))
            return kernel_unsupported(c, err, "the result is no multiple of the input");
        dim[2 * i] = d > 0 ? out->dim[i] / d : 0;
        stride[2 * i] = 0;
        dim[2 * i + 1] = d;
        stride[2 * i + 1] = k < 0 ? 0 : own[k];
    }
    real_copy(c->in[0], c->out[0], 2 * out->rank, dim, stride, 0);
    return true;
}
BOTH_FORMS(repeat)

static bool flip_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct shape *x = &c->in[0]->shape;
    int64_t stride[SHAPE_MAX_RANK], offset = 0;
    unsigned set;
    bool all;
    if (!infer_axes(c->node, "dims", x->rank, &set, &all, err))
        return false;
    fold_strides(x, stride);
    for (int i = 0; i < x->rank; i++)
        if (set & 1u << i) {
            offset += stride[i] * (x->dim[i] - 1);
            stride[i] = -stride[i];
        }
    real_copy(c->in[0], c->out[0], x->rank, x->dim, stride, offset);
    return true;
}
BOTH_FORMS(flip)

/* What is at i comes from (i - shift) mod extent on each axis; without axes the tensor is one row.
 */
static bool roll_run(const struct kernel_call *c, struct bpu_error *err)
{
    struct shape x = c->in[0]->shape;
    int64_t shifts[SHAPE_MAX_RANK], dims[SHAPE_MAX_RANK], shift[SHAPE_MAX_RANK] = {0};
    int64_t own[SHAPE_MAX_RANK];
    int count, dim_count;
    if (!infer_ints(c->node, "shifts", shifts, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(c->node, "dims", dims, SHAPE_MAX_RANK, &dim_count, err))
        return false;
    if (dim_count <= 0) {
        x = (struct shape){.rank = 1, .dim = {real_count(c->in[0])}};
        dims[0] = 0;
        dim_count = 1;
    }
    for (int i = 0; i < dim_count; i++) {
        int axis = (int)(dims[i] < 0 ? dims[i] + x.rank : dims[i]);
        int64_t d = x.dim[axis];
        if (d > 0)
            shift[axis] = ((shift[axis] + shifts[i] % d) % d + d) % d;
    }
    fold_strides(&x, own);
    int64_t total = shape_elements(&x);
    struct fold_walk w;
    fold_walk_init(&w, &x);
    for (int64_t i = 0; i < total; i++, fold_walk_next(&w)) {
        int64_t from = 0;
        for (int k = 0; k < x.rank; k++)
            from += (w.index[k] - shift[k] + x.dim[k]) % x.dim[k] * own[k];
        real_move(c->in[0], from, c->out[0], i);
    }
    return true;
}
BOTH_FORMS(roll)

static bool getitem_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct node *n = c->node;
    const struct shape *x = &c->in[0]->shape;
    int64_t starts[SHAPE_MAX_RANK], ends[SHAPE_MAX_RANK], steps[SHAPE_MAX_RANK],
        axes[SHAPE_MAX_RANK];
    int64_t stride[SHAPE_MAX_RANK], dim[SHAPE_MAX_RANK], offset = 0;
    int count, end_count, step_count, axis_count, picks, pick_count, rank = 0;
    if (!node_attr(n, "starts") && !node_attr(n, "select_axes") && c->in_count > 1)
        return kernel_unsupported(c, err, "the range is not constant");
    if (!infer_ints(n, "starts", starts, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(n, "ends", ends, SHAPE_MAX_RANK, &end_count, err) ||
        !infer_ints(n, "steps", steps, SHAPE_MAX_RANK, &step_count, err) ||
        !infer_ints(n, "axes", axes, SHAPE_MAX_RANK, &axis_count, err))
        return false;
    fold_strides(x, stride);
    memcpy(dim, x->dim, sizeof dim);
    for (int i = 0; i < count; i++) {
        int64_t axis = axis_count > 0 ? axes[i] : i, step = step_count > 0 ? steps[i] : 1;
        axis += axis < 0 ? x->rank : 0;
        dim[axis] = infer_slice(dim[axis], &starts[i], ends[i], step);
        if (dim[axis] > 0)
            offset += starts[i] * stride[axis];
        stride[axis] = dim[axis] > 1 ? stride[axis] * step : 0;
    }
    if (!infer_ints(n, "select_axes", axes, SHAPE_MAX_RANK, &picks, err) ||
        !infer_ints(n, "select_indices", starts, SHAPE_MAX_RANK, &pick_count, err))
        return false;
    for (int i = 0; i < picks; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        offset += (starts[i] < 0 ? starts[i] + dim[axis] : starts[i]) * stride[axis];
        dim[axis] = -1; /* gone */
    }
    for (int i = 0; i < x->rank; i++)
        if (dim[i] >= 0) {
            dim[rank] = dim[i];
            stride[rank++] = stride[i];
        }
    real_copy(c->in[0], c->out[0], rank, dim, stride, offset);
    return true;
}
BOTH_FORMS(getitem)
