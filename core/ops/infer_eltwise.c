/* infer_eltwise: operators that work element by element: broadcasting and result types. */
#include <string.h>

#include "core/ops/infer.h"

/* The broadcast shape of operands 0 and 1, and their promoted type. */
static bool eltwise_pair(const struct node *n, int i, int j, struct shape *out, enum dtype *t,
                         struct bpu_error *err)
{
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct shape *a = infer_shape(n, i), *b = infer_shape(n, j);
    if (!infer_broadcast(a, b, out))
        return infer_bad(n, err,
                         "Axes are compared from the last; they must be equal, or one of them 1.",
                         "the shapes %s and %s cannot be broadcast together", shape_text(a, ta),
                         shape_text(b, tb));
    /* ONNX has no weak scalars: both types are the same there anyway. */
    *t = infer_promote(infer_dtype(n, i), a->rank == 0, infer_dtype(n, j), b->rank == 0);
    return true;
}

bool infer_binary(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = -1};
    enum dtype t = DT_UNKNOWN;
    if (!eltwise_pair(n, 0, 1, &out, &t, err))
        return false;
    if (strcmp(n->op->key, "pow") == 0 && infer_from_onnx(n))
        t = infer_dtype(n, 0); /* whatever the exponent is */
    return infer_out(n, 0, &out, t, err);
}

/* Division of integers gives a float in PyTorch unless rounding_mode is set, an integer in ONNX. */
bool infer_div(struct graph *g, struct node *n, struct bpu_error *err)
{
    struct shape out = {.rank = -1};
    enum dtype t = DT_UNKNOWN;
    if (!eltwise_pair(n, 0, 1, &out, &t, err))
        return false;
    bool whole = t != DT_UNKNOWN && !dtype_is_float(t) && !dtype_is_quantized(t);
    if (whole && infer_from_onnx(n) && !node_attr(n, "rounding_mode") &&
        !node_set_string(g, n, "rounding_mode", "trunc", err))
        return false;
    if (whole && !node_string(n, "rounding_mode", NULL))
        t = DT_FLOAT32;
    return infer_out(n, 0, &out, t, err);
}

bool infer_compare(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = -1};
    enum dtype t = DT_UNKNOWN;
    return eltwise_pair(n, 0, 1, &out, &t, err) && infer_out(n, 0, &out, infer_truth(t), err);
}

bool infer_logical(struct graph *g, struct node *n, struct bpu_error *err)
{
    return infer_compare(g, n, err);
}

bool infer_unary(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    return infer_out(n, 0, infer_shape(n, 0), infer_dtype(n, 0), err);
}

bool infer_unary_real(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    enum dtype t = infer_dtype(n, 0);
    bool whole = t != DT_UNKNOWN && !dtype_is_float(t) && !dtype_is_quantized(t);
    return infer_out(n, 0, infer_shape(n, 0), whole ? DT_FLOAT32 : t, err);
}

bool infer_predicate(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    return infer_out(n, 0, infer_shape(n, 0), infer_truth(infer_dtype(n, 0)), err);
}

/* Random tensors like x, and other results that share nothing but shape and type with it. */
bool infer_same(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    enum dtype t = DT_UNKNOWN;
    return infer_dtype_attr(n, "dtype", infer_dtype(n, 0), &t, err) &&
           infer_out(n, 0, infer_shape(n, 0), t, err);
}

/* Values pass through or are cut off: the scale stays. */
bool infer_keep(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    int map[SHAPE_MAX_RANK];
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        map[i] = i;
    if (!infer_out(n, 0, infer_shape(n, 0), infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, map);
    return true;
}

bool infer_clamp(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = *infer_shape(n, 0);
    for (int i = 1; i < n->input_count; i++) {
        char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
        const struct shape *bound = infer_shape(n, i);
        struct shape both;
        if (!n->inputs[i])
            continue;
        if (!infer_broadcast(&out, bound, &both))
            return infer_bad(n, err, NULL,
                             "the bound of shape %s does not fit the input of shape %s",
                             shape_text(bound, tb), shape_text(&out, ta));
        out = both;
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_where(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    struct shape values = {.rank = -1}, out;
    enum dtype t = DT_UNKNOWN;
    if (!eltwise_pair(n, 1, 2, &values, &t, err))
        return false;
    if (!infer_broadcast(infer_shape(n, 0), &values, &out))
        return infer_bad(n, err, NULL,
                         "the condition of shape %s does not fit the values of shape %s",
                         shape_text(infer_shape(n, 0), ta), shape_text(&values, tb));
    return infer_out(n, 0, &out, t, err);
}

/* [x, mask, value?]; the value may be the attribute `value`. */
bool infer_masked_fill(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = -1};
    enum dtype t = DT_UNKNOWN;
    return eltwise_pair(n, 0, 1, &out, &t, err) && infer_out(n, 0, &out, infer_dtype(n, 0), err);
}

/* The slope: one number, one per channel, or anything that broadcasts to x. */
bool infer_prelu(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct value *weight = node_param(n, "weight");
    const struct shape *x = infer_shape(n, 0), *w = weight ? &weight->shape : infer_shape(n, 1);
    if (x->rank >= 0 && w->rank >= 0 && shape_elements(w) >= 0) {
        struct shape both;
        int64_t count = shape_elements(w), channels = x->rank < 2 ? 1 : x->dim[1];
        bool per_channel = w->rank == 1 && (count == channels || channels < 0);
        /* PyTorch reads a vector as one slope per channel, ONNX as any other broadcast operand. */
        if (count != 1 && (!per_channel || infer_from_onnx(n)) &&
            ((w->rank < 2 && !infer_from_onnx(n)) || !infer_broadcast(x, w, &both) ||
             !shape_equal(x, &both)))
            return infer_bad(n, err, "Give one slope, or one per channel (axis 1).",
                             "the weight has shape %s, the input %s", shape_text(w, tb),
                             shape_text(x, ta));
    }
    return infer_out(n, 0, x, infer_dtype(n, 0), err);
}

bool infer_softmax(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct attr *a = node_attr(n, "dim");
    int axis, rank = infer_shape(n, 0)->rank;
    if (rank >= 0 && a && a->kind != ATTR_NONE &&
        !infer_axis(n, "dim", node_int(n, "dim", 0), rank, &axis, err))
        return false;
    return infer_unary_real(g, n, err);
}

bool infer_glu(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    struct shape out = *infer_shape(n, 0);
    int axis;
    if (out.rank == 0)
        return infer_bad(n, err, NULL, "the input is a scalar and cannot be halved");
    if (out.rank > 0) {
        if (!infer_axis(n, "dim", node_int(n, "dim", -1), out.rank, &axis, err))
            return false;
        if (out.dim[axis] > 0 && out.dim[axis] % 2)
            return infer_bad(n, err, NULL,
                             "axis %d of the input of shape %s is odd and cannot be halved", axis,
                             shape_text(&out, text));
        if (out.dim[axis] > 0)
            out.dim[axis] /= 2;
    }
    return infer_out(n, 0, &out, infer_dtype(n, 0), err);
}
