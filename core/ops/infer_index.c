/* infer_index: parts of a tensor by position: slices, gathers, scatters, top-k, one-hot. */
#include <string.h>

#include "core/ops/infer.h"

/* Constant indices are checked where there are few; large tables come from exporters and are
 * checked when they are folded. */
#define INDEX_CHECKED 4096

static bool index_in_range(const struct node *n, int operand, int64_t extent, struct bpu_error *err)
{
    const struct value *v = node_input(n, operand);
    if (extent < 0 || !v || !value_is_known(v))
        return true;
    int64_t count = shape_elements(&v->shape), k;
    for (int64_t i = 0; i < count && i < INDEX_CHECKED; i++)
        if (constant_int(v, i, &k) && (k < -extent || k >= extent))
            return infer_bad(n, err, NULL, "index %lld is out of range; the axis has %lld elements",
                             (long long)k, (long long)extent);
    return true;
}

static bool getitem_slices(const struct node *n, struct shape *out, struct bpu_error *err)
{
    int64_t starts[SHAPE_MAX_RANK], ends[SHAPE_MAX_RANK], steps[SHAPE_MAX_RANK],
        axes[SHAPE_MAX_RANK];
    int count, end_count, step_count, axis_count, axis;
    unsigned set = 0;
    if (!infer_ints(n, "starts", starts, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(n, "ends", ends, SHAPE_MAX_RANK, &end_count, err) ||
        !infer_ints(n, "steps", steps, SHAPE_MAX_RANK, &step_count, err) ||
        !infer_ints(n, "axes", axes, SHAPE_MAX_RANK, &axis_count, err))
        return false;
    if (count != end_count || (step_count > 0 && step_count != count) ||
        (axis_count > 0 && axis_count != count))
        return infer_bad(n, err, NULL,
                         "starts, ends, steps and axes have %d, %d, %d and %d entries",
                         count < 0 ? 0 : count, end_count < 0 ? 0 : end_count,
                         step_count < 0 ? 0 : step_count, axis_count < 0 ? 0 : axis_count);
    for (int i = 0; i < count; i++) {
        int64_t step = step_count > 0 ? steps[i] : 1, start = starts[i];
        if (!infer_axis(n, "axes", axis_count > 0 ? axes[i] : i, out->rank, &axis, err))
            return false;
        if (out->rank == 0)
            return infer_bad(n, err, NULL, "a scalar cannot be sliced");
        if (set & 1u << axis)
            return infer_bad(n, err, NULL, "axis %d is sliced twice", axis);
        set |= 1u << axis;
        if (step == 0)
            return infer_bad(n, err, NULL, "the step on axis %d is 0", axis);
        int64_t d = out->dim[axis];
        if (d >= 0)
            out->dim[axis] = infer_slice(d, &start, ends[i], step);
        else if (start != 0 || step != 1 || ends[i] != INT64_MAX)
            out->dim[axis] = -1;
    }
    return true;
}

bool infer_getitem(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape x = *infer_shape(n, 0), out = {.rank = 0};
    int64_t axes[SHAPE_MAX_RANK], picks[SHAPE_MAX_RANK];
    int count, pick_count, axis, map[SHAPE_MAX_RANK];
    unsigned set = 0;
    if (x.rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (!node_attr(n, "starts") && !node_attr(n, "select_axes") && n->input_count > 1) {
        for (int i = 0; i < x.rank; i++) /* bounds that are known only when the network runs */
            x.dim[i] = -1;
        return infer_out(n, 0, &x, infer_dtype(n, 0), err);
    }
    if (!getitem_slices(n, &x, err) ||
        !infer_ints(n, "select_axes", axes, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(n, "select_indices", picks, SHAPE_MAX_RANK, &pick_count, err))
        return false;
    if (count != pick_count)
        return infer_bad(n, err, NULL, "select_axes has %d entries, select_indices %d",
                         count < 0 ? 0 : count, pick_count < 0 ? 0 : pick_count);
    for (int i = 0; i < count; i++) {
        if (x.rank == 0)
            return infer_bad(n, err, NULL, "a scalar cannot be indexed");
        if (!infer_axis(n, "select_axes", axes[i], x.rank, &axis, err))
            return false;
        if (set & 1u << axis)
            return infer_bad(n, err, NULL, "select_axes names axis %d twice", axis);
        set |= 1u << axis;
        int64_t d = x.dim[axis];
        if (d >= 0 && (picks[i] < -d || picks[i] >= d))
            return infer_bad(n, err, NULL, "index %lld is out of range; axis %d has %lld elements",
                             (long long)picks[i], axis, (long long)d);
    }
    for (int i = 0; i < x.rank; i++) {
        map[i] = -1;
        if (set & 1u << i)
            continue;
        if (x.dim[i] == infer_shape(n, 0)->dim[i])
            map[i] = out.rank;
        out.dim[out.rank++] = x.dim[i];
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, map);
    return true;
}

static bool index_moved(struct node *n, const struct shape *out, struct bpu_error *err)
{
    if (!infer_out(n, 0, out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_index_select(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0), *index = infer_shape(n, 1);
    int axis;
    if (x->rank < 0 || index->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (x->rank == 0)
        return infer_bad(n, err, NULL, "a scalar cannot be indexed");
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err) ||
        !index_in_range(n, 1, x->dim[axis], err))
        return false;
    int rank = x->rank - 1 + index->rank;
    if (rank > SHAPE_MAX_RANK)
        return infer_bad(n, err, NULL, "the result would have rank %d; at most %d can be held",
                         rank, SHAPE_MAX_RANK);
    struct shape out = {.rank = 0};
    for (int i = 0; i < x->rank; i++)
        if (i != axis)
            out.dim[out.rank++] = x->dim[i];
        else
            for (int k = 0; k < index->rank; k++)
                out.dim[out.rank++] = index->dim[k];
    return index_moved(n, &out, err);
}

/* The index has the rank of x and is no larger outside the axis. */
static bool index_beside(const struct node *n, const struct shape *x, const struct shape *index,
                         const char *what, int axis, struct bpu_error *err)
{
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    bool fits = x->rank == index->rank || (x->rank <= 1 && index->rank <= 1);
    for (int i = 0; i < x->rank && i < index->rank && fits; i++)
        fits = i == axis || x->dim[i] < 0 || index->dim[i] <= x->dim[i];
    if (fits)
        return true;
    return infer_bad(n, err,
                     "Its rank must be that of the input, and no axis but dim may be longer.",
                     "the %s of shape %s does not fit the input of shape %s on dim %d", what,
                     shape_text(index, tb), shape_text(x, ta), axis);
}

bool infer_gather(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0), *index = infer_shape(n, 1);
    int axis;
    if (x->rank < 0 || index->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err) ||
        (shape_elements(index) != 0 && !index_beside(n, x, index, "index", axis, err)) ||
        !index_in_range(n, 1, x->rank ? x->dim[axis] : 1, err))
        return false;
    return index_moved(n, index, err);
}

bool infer_gather_nd(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0), *index = infer_shape(n, 1);
    int64_t batch = node_int(n, "batch_dims", 0);
    if (x->rank < 0 || index->rank < 0 || (index->rank > 0 && index->dim[index->rank - 1] < 0))
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    int64_t depth = index->rank > 0 ? index->dim[index->rank - 1] : 0;
    if (batch < 0 || index->rank < 1 || depth < 1 || batch >= index->rank || batch >= x->rank ||
        depth > x->rank - batch)
        return infer_bad(n, err, NULL, "indices of shape %s with batch_dims %lld do not fit %s",
                         shape_text(index, tb), (long long)batch, shape_text(x, ta));
    for (int i = 0; i < batch; i++)
        if (x->dim[i] >= 0 && index->dim[i] >= 0 && x->dim[i] != index->dim[i])
            return infer_bad(n, err, NULL, "the first %lld axes of %s and %s differ",
                             (long long)batch, shape_text(x, ta), shape_text(index, tb));
    int rank = index->rank - 1 + x->rank - (int)batch - (int)depth;
    if (rank > SHAPE_MAX_RANK)
        return infer_bad(n, err, NULL, "the result would have rank %d; at most %d can be held",
                         rank, SHAPE_MAX_RANK);
    struct shape out = {.rank = 0};
    for (int i = 0; i < index->rank - 1; i++)
        out.dim[out.rank++] = index->dim[i];
    for (int i = (int)(batch + depth); i < x->rank; i++)
        out.dim[out.rank++] = x->dim[i];
    return index_moved(n, &out, err);
}

bool infer_scatter(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0), *index = infer_shape(n, 1), *src = infer_shape(n, 2);
    int axis;
    if (x->rank < 0 || index->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err) ||
        (shape_elements(index) != 0 &&
         (!index_beside(n, x, index, "index", axis, err) ||
          (src->rank > 0 && !index_beside(n, src, index, "index", -1, err)))) ||
        !index_in_range(n, 1, x->rank ? x->dim[axis] : 1, err))
        return false;
    return infer_out(n, 0, x, infer_dtype(n, 0), err);
}

bool infer_scatter_nd(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX], tc[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0), *index = infer_shape(n, 1), *src = infer_shape(n, 2);
    if (x->rank < 0 || index->rank < 1 || src->rank < 0 || index->dim[index->rank - 1] < 0)
        return infer_out(n, 0, x, infer_dtype(n, 0), err);
    int64_t depth = index->dim[index->rank - 1];
    bool fits = depth <= x->rank && src->rank == index->rank - 1 + x->rank - (int)depth;
    for (int i = 0; i < src->rank && fits; i++) {
        int64_t want = i < index->rank - 1 ? index->dim[i] : x->dim[i - (index->rank - 1) + depth];
        fits = want < 0 || src->dim[i] < 0 || want == src->dim[i];
    }
    if (!fits)
        return infer_bad(n, err, NULL, "updates of shape %s and indices of shape %s do not fit %s",
                         shape_text(src, tc), shape_text(index, tb), shape_text(x, ta));
    return infer_out(n, 0, x, infer_dtype(n, 0), err);
}

bool infer_topk(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = *infer_shape(n, 0);
    int64_t k = node_int(n, "k", -1);
    const struct attr *a = node_attr(n, "k");
    int axis, count = -1;
    if (!a || a->kind == ATTR_NONE) {
        infer_const_ints(n, 1, &k, 1, &count);
        if (count < 1 && n->input_count < 2)
            return infer_bad(n, err, NULL, "attribute k is missing");
    }
    if ((a || count == 1) && k < 0)
        return infer_bad(n, err, NULL, "k is %lld", (long long)k);
    if (out.rank >= 0) {
        if (!infer_axis(n, "dim", node_int(n, "dim", -1), out.rank, &axis, err))
            return false;
        int64_t d = out.rank == 0 ? 1 : out.dim[axis];
        if (d >= 0 && k > d)
            return infer_bad(n, err, NULL, "k is %lld, but axis %d has %lld elements", (long long)k,
                             axis, (long long)d);
        if (out.rank > 0)
            out.dim[axis] = k;
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err) || !infer_out(n, 1, &out, DT_INT64, err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_sort(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    int axis;
    if (x->rank >= 0 && !infer_axis(n, "dim", node_int(n, "dim", -1), x->rank, &axis, err))
        return false;
    if (!infer_out(n, 0, x, infer_dtype(n, 0), err) || !infer_out(n, 1, x, DT_INT64, err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

/* [indices, depth?, (off, on)?]; num_classes stands for depth.  The new axis is `dim`, the last by
 * default. */
bool infer_one_hot(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    enum dtype t = n->input_count > 2 && n->inputs[2] ? n->inputs[2]->dtype : DT_INT64;
    int64_t depth = node_int(n, "num_classes", -1);
    int count, axis;
    if (depth < 0)
        infer_const_ints(n, 1, &depth, 1, &count);
    if (x->rank < 0)
        return infer_out_unknown(n, 0, t, err);
    if (x->rank == SHAPE_MAX_RANK)
        return infer_bad(n, err, NULL, "the result would have rank %d; at most %d can be held",
                         x->rank + 1, SHAPE_MAX_RANK);
    if (depth == 0 || depth < -1)
        return infer_bad(n, err, NULL, "the depth is %lld; it must be at least 1",
                         (long long)depth);
    if (!infer_axis(n, "dim", node_int(n, "dim", -1), x->rank + 1, &axis, err))
        return false;
    struct shape out = {.rank = x->rank + 1};
    for (int i = 0, k = 0; i < out.rank; i++)
        out.dim[i] = i == axis ? depth : x->dim[k++];
    return infer_out(n, 0, &out, t, err);
}

/* One row per element that is not 0: (count, rank); ONNX has it transposed. */
bool infer_nonzero(struct graph *g, struct node *n, struct bpu_error *err)
{
    int rank = infer_shape(n, 0)->rank;
    if (infer_from_onnx(n) && !node_attr(n, "transposed") &&
        !node_set_bool(g, n, "transposed", true, err))
        return false;
    bool transposed = node_bool(n, "transposed", false);
    if (rank < 0)
        return infer_out_unknown(n, 0, DT_INT64, err);
    struct shape out = {.rank = 2, .dim = {transposed ? rank : -1, transposed ? -1 : rank}};
    return infer_out(n, 0, &out, DT_INT64, err);
}
