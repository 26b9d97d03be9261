/* infer_norm: normalization layers keep the shape; what is checked is that their parameters fit it.
 */
#include "core/ops/infer.h"

/* Every parameter that is there has `want` elements in one axis. */
static bool norm_params(const struct node *n, int64_t want, const char *what, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    for (int i = 0; i < n->param_count; i++) {
        const struct value *v = n->params[i].value;
        if (!v || v->shape.rank < 0 || want < 0)
            continue;
        if (v->shape.rank == 0 && want == 1)
            continue;
        if (v->shape.rank != 1 || (v->shape.dim[0] >= 0 && v->shape.dim[0] != want))
            return infer_bad(n, err, NULL, "the parameter %s has shape %s; %s is %lld",
                             n->params[i].name, shape_text(&v->shape, text), what, (long long)want);
    }
    return true;
}

/* The channel count from an attribute, against the input. */
static bool norm_channels(const struct node *n, const char *name, const struct shape *x, int axis,
                          struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const struct attr *a = node_attr(n, name);
    int64_t want = a && a->kind != ATTR_NONE ? node_int(n, name, -1) : -1;
    if (a && a->kind != ATTR_NONE && want < 1)
        return infer_bad(n, err, NULL, "%s is %lld; it must be at least 1", name, (long long)want);
    if (want >= 0 && x->dim[axis] >= 0 && want != x->dim[axis])
        return infer_bad(n, err, NULL, "%s is %lld, but the input has shape %s", name,
                         (long long)want, shape_text(x, text));
    return norm_params(n, x->dim[axis] >= 0 ? x->dim[axis] : want, "the number of channels", err);
}

static bool norm_rank(const struct node *n, const struct shape *x, int low, int high,
                      struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    if (x->rank >= low && x->rank <= high)
        return true;
    return infer_bad(n, err, NULL, "the input has shape %s; rank %d..%d is needed",
                     shape_text(x, text), low, high);
}

static bool norm_out(struct node *n, struct bpu_error *err)
{
    return infer_out(n, 0, infer_shape(n, 0), infer_dtype(n, 0), err) &&
           infer_out_unknown(n, 1, infer_dtype(n, 0), err);
}

bool infer_batch_norm(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    if (x->rank >= 0) {
        int k = n->op->spatial;
        /* ONNX has one form for all ranks and writes it as the 2d one. */
        int low = k && !infer_from_onnx(n) ? (k == 1 ? 2 : k + 2) : 2;
        int high = k && !infer_from_onnx(n) ? k + 2 : SHAPE_MAX_RANK;
        if (!norm_rank(n, x, low, high, err) || !norm_channels(n, "num_features", x, 1, err))
            return false;
    }
    return norm_out(n, err);
}

bool infer_layer_norm(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    int64_t list[SHAPE_MAX_RANK];
    int count;
    if (!infer_ints(n, "normalized_shape", list, SHAPE_MAX_RANK, &count, err))
        return false;
    const struct value *w = node_param(n, "weight");
    struct shape tail = count >= 0 ? shape_of(count, list) : w ? w->shape : shape_unknown();
    if (count == 0)
        return infer_bad(n, err, NULL, "normalized_shape is empty");
    if (x->rank >= 0 && tail.rank >= 0) {
        bool fits = tail.rank <= x->rank;
        for (int i = 0; i < tail.rank && fits; i++) {
            int64_t d = x->dim[x->rank - tail.rank + i];
            fits = d < 0 || tail.dim[i] < 0 || d == tail.dim[i];
        }
        if (!fits)
            return infer_bad(n, err, "It must equal the last axes of the input.",
                             "normalized_shape %s does not fit the input of shape %s",
                             shape_text(&tail, tb), shape_text(x, ta));
    }
    for (int i = 0; i < n->param_count && count > 0; i++) {
        const struct value *v = n->params[i].value;
        if (v && v->shape.rank >= 0 && shape_is_static(&v->shape) && !shape_equal(&v->shape, &tail))
            return infer_bad(n, err, NULL, "the parameter %s has shape %s; normalized_shape is %s",
                             n->params[i].name, shape_text(&v->shape, ta), shape_text(&tail, tb));
    }
    return norm_out(n, err);
}

bool infer_group_norm(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    int64_t groups = node_int(n, "num_groups", 0);
    if (groups < 1)
        return infer_bad(n, err, NULL, "num_groups is %lld; it must be at least 1",
                         (long long)groups);
    if (x->rank >= 0) {
        if (!norm_rank(n, x, 2, SHAPE_MAX_RANK, err))
            return false;
        if (x->dim[1] >= 0 && x->dim[1] % groups)
            return infer_bad(n, err, NULL, "the channels of %s are no multiple of num_groups %lld",
                             shape_text(x, text), (long long)groups);
        if (!norm_channels(n, "num_channels", x, 1, err))
            return false;
    }
    return norm_out(n, err);
}

bool infer_instance_norm(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    if (x->rank >= 0) {
        int k = n->op->spatial;
        bool onnx = infer_from_onnx(n);
        if (!norm_rank(n, x, onnx ? 3 : k + 1, onnx ? SHAPE_MAX_RANK : k + 2, err))
            return false;
        bool batched = onnx || x->rank == k + 2;
        /* PyTorch looks at num_features only when there are parameters for it. */
        bool affine = node_bool(n, "affine", n->param_count > 0);
        if (affine && !norm_channels(n, "num_features", x, batched ? 1 : 0, err))
            return false;
    }
    return norm_out(n, err);
}

bool infer_local_response_norm(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    int64_t size = node_int(n, "size", 0);
    if (size < 1)
        return infer_bad(n, err, NULL, "size is %lld; it must be at least 1", (long long)size);
    if (x->rank >= 0 && !norm_rank(n, x, infer_from_onnx(n) ? 2 : 3, SHAPE_MAX_RANK, err))
        return false;
    return norm_out(n, err);
}
