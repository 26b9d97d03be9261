/* infer_shape: tensors about shapes, and tensors made from nothing but a shape. */
#include <math.h>

#include "core/ops/infer.h"

/* torch.Tensor.size: all extents, those of start..end, or with dim one of them as a scalar. */
bool infer_size(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    int rank = infer_shape(n, 0)->rank, axis;
    const struct attr *dim = node_attr(n, "dim");
    struct shape out = {.rank = 1, .dim = {-1}};
    if (dim && dim->kind != ATTR_NONE) {
        out.rank = 0;
        if (rank >= 0 &&
            (rank == 0 || !infer_axis(n, "dim", node_int(n, "dim", 0), rank, &axis, err)))
            return infer_bad(n, err, NULL, "a scalar has no axes");
    } else if (rank >= 0) {
        int64_t start = node_int(n, "start", 0);
        out.dim[0] = infer_slice(rank, &start, node_int(n, "end", rank), 1);
    }
    return infer_out(n, 0, &out, DT_INT64, err);
}

bool infer_numel(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = 0};
    return infer_out(n, 0, &out, DT_INT64, err);
}

/* [shape]: operand 0 holds the extents; or the attribute size does. */
bool infer_full(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    enum dtype t;
    int64_t list[SHAPE_MAX_RANK];
    int count;
    if (!infer_dtype_attr(n, "dtype", DT_FLOAT32, &t, err) ||
        !infer_ints(n, "size", list, SHAPE_MAX_RANK, &count, err))
        return false;
    if (count < 0)
        infer_const_ints(n, 0, list, SHAPE_MAX_RANK, &count);
    const struct shape *s = infer_shape(n, 0);
    struct shape out = {.rank = -1};
    if (count >= 0) {
        out = shape_of(count, list);
        for (int i = 0; i < count; i++)
            if (list[i] < 0)
                return infer_bad(n, err, NULL, "extent %d is %lld", i, (long long)list[i]);
    } else if (s->rank == 1 && s->dim[0] >= 0 && s->dim[0] <= SHAPE_MAX_RANK) {
        out.rank = (int)s->dim[0];
        for (int i = 0; i < out.rank; i++)
            out.dim[i] = -1;
    }
    return infer_out(n, 0, &out, t, err);
}

bool infer_full_like(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    enum dtype t;
    return infer_dtype_attr(n, "dtype", infer_dtype(n, 0), &t, err) &&
           infer_out(n, 0, infer_shape(n, 0), t, err);
}

/* [start, end, step]: how many steps there are is known when all three are. */
bool infer_arange(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = 1, .dim = {-1}};
    enum dtype t = DT_UNKNOWN;
    double v[3] = {0, 0, 1};
    int64_t w[3] = {0, 0, 1};
    bool known = true;
    for (int i = 0; i < 3; i++) {
        const struct value *x = node_input(n, i);
        if (!x)
            continue; /* start 0 and step 1 may be left out */
        t = t == DT_UNKNOWN ? x->dtype : infer_promote(t, false, x->dtype, false);
        known &= constant_real(x, 0, &v[i]);
        if (!dtype_is_float(x->dtype))
            known = known && constant_int(x, 0, &w[i]);
    }
    if (!infer_dtype_attr(n, "dtype", t, &t, err))
        return false;
    if (known && v[2] == 0)
        return infer_bad(n, err, NULL, "the step is 0");
    if (known && (t == DT_UNKNOWN || dtype_is_float(t))) {
        double count = (v[1] - v[0]) / v[2];
        if (!(count <= (double)INFER_MAX_ELEMENTS))
            return infer_bad(n, err, NULL, "there would be %g steps", count);
        out.dim[0] = count <= 0 ? 0 : (int64_t)ceil(count);
    } else if (known) {
        int64_t span;
        if (!checked_add(w[1], w[0] == INT64_MIN ? INT64_MAX : -w[0], &span) || w[2] == INT64_MIN)
            return infer_bad(n, err, NULL, "the range is beyond 64 bits");
        int64_t step = w[2] < 0 ? -w[2] : w[2];
        span = w[2] < 0 ? (span == INT64_MIN ? INT64_MAX : -span) : span;
        out.dim[0] = span <= 0 ? 0 : (span - 1) / step + 1;
    }
    return infer_out(n, 0, &out, t, err);
}

bool infer_eye_like(struct graph *g, struct node *n, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    if (x->rank >= 0 && x->rank != 2)
        return infer_bad(n, err, NULL, "the input has shape %s; a matrix is needed",
                         shape_text(x, text));
    return infer_full_like(g, n, err);
}

bool infer_tri(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    if (x->rank >= 0 && x->rank < 2)
        return infer_bad(n, err, NULL, "the input has shape %s; at least rank 2 is needed",
                         shape_text(x, text));
    return infer_out(n, 0, x, infer_dtype(n, 0), err);
}

/* Control flow and the like: nothing can be said. */
bool infer_unknown(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    return infer_out_unknown(n, 0, DT_UNKNOWN, err);
}
