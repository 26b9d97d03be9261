/* infer_reduce: axes that go away: sums, means, extrema and their positions. */
#include "core/ops/infer.h"

/* The shape after the axes of `name` are reduced. An empty list reduces all, as in PyTorch. */
static bool reduce_shape(const struct node *n, const char *name, bool extremum, struct shape *out,
                         struct bpu_error *err)
{
    const struct shape *x = infer_shape(n, 0);
    unsigned set;
    bool all, keep = node_bool(n, "keepdim", false);
    *out = *x;
    if (x->rank < 0)
        return true;
    if (!infer_axes(n, name, x->rank, &set, &all, err))
        return false;
    out->rank = 0;
    for (int i = 0; i < x->rank; i++) {
        bool gone = all || set & 1u << i;
        if (gone && extremum && x->dim[i] == 0)
            return infer_bad(n, err, NULL, "axis %d is empty and has no extremum", i);
        if (!gone || keep)
            out->dim[out->rank++] = gone ? 1 : x->dim[i];
    }
    return true;
}

static bool is_whole(enum dtype t)
{
    return t != DT_UNKNOWN && !dtype_is_float(t) && !dtype_is_quantized(t);
}

/* amax, amin: the type and the scale stay. */
bool infer_reduce(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out;
    if (!reduce_shape(n, "dim", true, &out, err) || !infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

/* mean, norm, logsumexp, var */
bool infer_reduce_real(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out;
    enum dtype t = infer_dtype(n, 0);
    if (is_whole(t) && !infer_from_onnx(n))
        t = DT_FLOAT32;
    return infer_dtype_attr(n, "dtype", t, &t, err) && reduce_shape(n, "dim", false, &out, err) &&
           infer_out(n, 0, &out, t, err);
}

/* sum, prod: integers are summed in int64 by PyTorch, in their own type by ONNX */
bool infer_sum(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out;
    enum dtype t = infer_dtype(n, 0);
    if (is_whole(t) && !infer_from_onnx(n))
        t = DT_INT64;
    return infer_dtype_attr(n, "dtype", t, &t, err) && reduce_shape(n, "dim", false, &out, err) &&
           infer_out(n, 0, &out, t, err);
}

/* torch.max: (values, indices) with dim, one scalar without, elementwise with two operands. */
bool infer_max_min(struct graph *g, struct node *n, struct bpu_error *err)
{
    if (n->input_count == 2 && n->inputs[1])
        return infer_binary(g, n, err);
    const struct attr *a = node_attr(n, "dim");
    struct shape out;
    if (a && a->kind == ATTR_INTS && a->count > 1)
        return infer_bad(n, err, "Use torch.amax or torch.amin for several axes.",
                         "dim has %d entries; one is possible", a->count);
    if (!reduce_shape(n, "dim", true, &out, err))
        return false;
    if ((!a || a->kind == ATTR_NONE) && out.rank >= 0)
        out.rank = 0; /* keepdim means nothing without dim */
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err) || !infer_out(n, 1, &out, DT_INT64, err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_arg(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out;
    return reduce_shape(n, "dim", true, &out, err) && infer_out(n, 0, &out, DT_INT64, err);
}

bool infer_cumsum(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    int rank = infer_shape(n, 0)->rank, axis;
    enum dtype t = infer_dtype(n, 0);
    if (is_whole(t) && !infer_from_onnx(n))
        t = DT_INT64;
    if (rank >= 0 && !infer_axis(n, "dim", node_int(n, "dim", 0), rank, &axis, err))
        return false;
    return infer_dtype_attr(n, "dtype", t, &t, err) && infer_out(n, 0, infer_shape(n, 0), t, err);
}
