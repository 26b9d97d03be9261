/* infer_matmul: matrix products: linear layers, matmul with broadcasting, determinants. */
#include <string.h>

#include "core/ops/infer.h"

/* x (.., in);  weight (out, in), or (in, out) with weight_layout "io" */
bool infer_linear(struct graph *g, struct node *n, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX], text2[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    const struct value *weight = node_param(n, "weight"), *bias = node_param(n, "bias");
    const char *layout = node_string(n, "weight_layout", "oi");
    bool io = strcmp(layout, "io") == 0;
    if (!io && strcmp(layout, "oi") != 0)
        return infer_bad(n, err, "Layouts are \"oi\" (PyTorch) and \"io\".",
                         "weight_layout is \"%.40s\"", layout);
    int64_t features[2] = {-1, -1}; /* in, out */
    if (weight && weight->shape.rank >= 0) {
        if (weight->shape.rank != 2)
            return infer_bad(n, err, NULL, "the weight has shape %s; rank 2 is needed",
                             shape_text(&weight->shape, text));
        features[0] = weight->shape.dim[io ? 0 : 1];
        features[1] = weight->shape.dim[io ? 1 : 0];
    }
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "out_features" : "in_features";
        const struct attr *a = node_attr(n, name);
        if (a && a->kind != ATTR_NONE) {
            int64_t v = node_int(n, name, -1);
            if (v < 1)
                return infer_bad(n, err, NULL, "%s is %lld; it must be at least 1", name,
                                 (long long)v);
            if (features[i] >= 0 && features[i] != v)
                return infer_bad(n, err, "Correct the attribute or the weight.",
                                 "%s is %lld, but the weight of shape %s says %lld", name,
                                 (long long)v, shape_text(&weight->shape, text),
                                 (long long)features[i]);
            features[i] = v;
        } else if (features[i] >= 0) {
            if (!node_set_int(g, n, name, features[i], err))
                return false;
        } else if (!weight) {
            return infer_bad(n, err, "Give the parameter weight, or in_features and out_features.",
                             "there is neither a weight nor %s", name);
        }
    }
    if (bias && bias->shape.rank >= 0 && features[1] >= 0) {
        struct shape want = {.rank = 1, .dim = {features[1]}}, both;
        int64_t count = shape_elements(&bias->shape);
        if (!infer_broadcast(&want, &bias->shape, &both) ||
            (count >= 0 && count != features[1] && count != 1))
            return infer_bad(n, err, NULL, "the bias has shape %s; out_features is %lld",
                             shape_text(&bias->shape, text), (long long)features[1]);
    }
    if (x->rank < 0)
        return infer_fused(n, x, err) && infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (x->rank == 0)
        return infer_bad(n, err, NULL, "the input is a scalar; at least rank 1 is needed");
    int64_t last = x->dim[x->rank - 1];
    if (last >= 0 && features[0] >= 0 && last != features[0])
        return infer_bad(n, err, "The last axis of the input must have in_features elements.",
                         "the input of shape %s does not fit the weight %s: %lld against %lld",
                         shape_text(x, text),
                         weight && weight->shape.rank >= 0 ? shape_text(&weight->shape, text2) : "",
                         (long long)last, (long long)features[0]);
    struct shape out = *x;
    out.dim[x->rank - 1] = features[1];
    return infer_fused(n, &out, err) && infer_out(n, 0, &out, infer_dtype(n, 0), err);
}

/* a (.., m, k) @ b (.., k, n); a vector is a row on the left and a column on the right. */
bool infer_matmul(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct shape *a = infer_shape(n, 0), *b = infer_shape(n, 1);
    enum dtype t = infer_promote(infer_dtype(n, 0), false, infer_dtype(n, 1), false);
    if (a->rank < 0 || b->rank < 0)
        return infer_out_unknown(n, 0, t, err);
    if (a->rank == 0 || b->rank == 0)
        return infer_bad(n, err, "Multiply by a scalar with torch.mul.",
                         "both operands need at least rank 1, but the shapes are %s and %s",
                         shape_text(a, ta), shape_text(b, tb));
    int64_t ka = a->dim[a->rank - 1], kb = b->dim[b->rank == 1 ? 0 : b->rank - 2];
    if (ka >= 0 && kb >= 0 && ka != kb)
        return infer_bad(n, err,
                         "The last axis of the first must equal the last but one of the second.",
                         "%s and %s cannot be multiplied: %lld against %lld", shape_text(a, ta),
                         shape_text(b, tb), (long long)ka, (long long)kb);
    struct shape ba = {.rank = a->rank > 2 ? a->rank - 2 : 0};
    struct shape bb = {.rank = b->rank > 2 ? b->rank - 2 : 0}, out;
    memcpy(ba.dim, a->dim, (size_t)ba.rank * sizeof *ba.dim);
    memcpy(bb.dim, b->dim, (size_t)bb.rank * sizeof *bb.dim);
    if (!infer_broadcast(&ba, &bb, &out))
        return infer_bad(n, err, "Leading axes must be equal or 1.",
                         "the leading axes of %s and %s do not fit together", shape_text(a, ta),
                         shape_text(b, tb));
    if (a->rank > 1)
        out.dim[out.rank++] = a->dim[a->rank - 2];
    if (b->rank > 1)
        out.dim[out.rank++] = b->dim[b->rank - 1];
    return infer_out(n, 0, &out, t, err);
}

bool infer_det(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    struct shape out = *x;
    if (x->rank < 2 || (x->dim[x->rank - 1] >= 0 && x->dim[x->rank - 2] >= 0 &&
                        x->dim[x->rank - 1] != x->dim[x->rank - 2]))
        return infer_bad(n, err, NULL, "the input has shape %s; square matrices are needed",
                         shape_text(x, text));
    out.rank -= 2;
    return infer_out(n, 0, &out, infer_dtype(n, 0), err);
}
