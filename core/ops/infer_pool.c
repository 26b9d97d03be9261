/* infer_pool: max, average, Lp and adaptive pooling of 1, 2 and 3 spatial axes.
 *
 *   extent = floor or ceil((in + begin + end - dilation * (kernel - 1) - 1) / stride) + 1
 *
 * and, with ceil_mode, one less when the last window would start in the padding at the end. */
#include "core/ops/infer.h"

#define MAX_SPATIAL 3

static bool pool_extent(const struct node *n, int axis, int64_t in, const struct infer_window *w,
                        bool ceil_mode, int64_t *out, struct bpu_error *err)
{
    int64_t span, padded, left, start;
    if (!checked_mul(w->dilation, w->kernel - 1, &span) || !checked_add(span, 1, &span) ||
        !checked_add(in, w->begin, &padded) || !checked_add(padded, w->end, &padded) ||
        !checked_add(padded, -span, &left) ||
        (ceil_mode && !checked_add(left, w->stride - 1, &left)))
        return infer_bad(n, err, NULL, "the extent of axis %d is beyond 64 bits", axis);
    /* floor division: a window larger than the padded input gives 0 or less, which is an error */
    int64_t q = left / w->stride - (left % w->stride < 0);
    *out = q + 1;
    if (ceil_mode && checked_mul(*out - 1, w->stride, &start) && start >= in + w->begin)
        --*out;
    if (*out >= 1)
        return true;
    return infer_bad(n, err, "Use a smaller kernel or dilation, more padding, or a larger input.",
                     "axis %d has nothing left: input %lld + padding %lld + %lld - window %lld "
                     "(dilation %lld * (kernel %lld - 1) + 1), by stride %lld, gives %lld",
                     axis, (long long)in, (long long)w->begin, (long long)w->end, (long long)span,
                     (long long)w->dilation, (long long)w->kernel, (long long)w->stride,
                     (long long)*out);
}

/* kernel_size, stride (the kernel by default), dilation and padding. */
static bool pool_windows(const struct node *n, int k, struct infer_window *w, struct bpu_error *err)
{
    int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL], list[2 * MAX_SPATIAL];
    int strides, pads;
    if (!infer_tuple(n, "kernel_size", k, 0, kernel, err) ||
        !infer_ints(n, "stride", list, 2 * MAX_SPATIAL, &strides, err) ||
        !infer_tuple(n, "stride", k, 0, stride, err) ||
        !infer_tuple(n, "dilation", k, 1, dilation, err))
        return false;
    for (int i = 0; i < k; i++) {
        w[i] = (struct infer_window){.kernel = kernel[i],
                                     .stride = strides > 0 ? stride[i] : kernel[i],
                                     .dilation = dilation[i]};
        if (w[i].kernel < 1 || w[i].stride < 1 || w[i].dilation < 1)
            return infer_bad(
                n, err, NULL, "kernel_size %lld, stride %lld and dilation %lld must be at least 1",
                (long long)w[i].kernel, (long long)w[i].stride, (long long)w[i].dilation);
    }
    if (!infer_padding(n, k, w, err) ||
        !infer_ints(n, "padding", list, 2 * MAX_SPATIAL, &pads, err))
        return false;
    /* PyTorch's own bound; ONNX and asymmetric padding know none, but a window must not lie in the
     * padding alone. */
    bool symmetric = pads <= k && !infer_from_onnx(n);
    for (int i = 0; i < k; i++) {
        int64_t bound = symmetric ? w[i].kernel / 2 : INFER_MAX_ELEMENTS;
        if (w[i].begin > bound || w[i].end > bound)
            return infer_bad(n, err, "Pad with torch.nn.functional.pad first if this is meant.",
                             "padding %lld is more than half of kernel_size %lld",
                             (long long)w[i].begin, (long long)w[i].kernel);
    }
    return true;
}

/* The number of spatial axes fits the rank, and only the batch may be empty. */
static bool pool_input(const struct node *n, int k, const struct shape *x, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    if (x->rank != k + 2 && x->rank != k + 1)
        return infer_bad(n, err, NULL,
                         "the input has shape %s; rank %d (or %d without batch) is needed",
                         shape_text(x, text), k + 2, k + 1);
    for (int i = x->rank - k - 1; i < x->rank; i++)
        if (x->dim[i] == 0)
            return infer_bad(n, err, NULL, "the input of shape %s is empty on axis %d",
                             shape_text(x, text), i);
    return true;
}

static bool pool_infer(struct node *n, struct bpu_error *err)
{
    int k = n->op->spatial;
    struct infer_window w[MAX_SPATIAL];
    const struct shape *x = infer_shape(n, 0);
    if (!pool_windows(n, k, w, err))
        return false;
    struct shape out = *x;
    if (x->rank >= 0) {
        if (!pool_input(n, k, x, err))
            return false;
        for (int i = 0; i < k; i++) {
            int axis = x->rank - k + i;
            if (x->dim[axis] >= 0 &&
                !pool_extent(n, axis, x->dim[axis], &w[i], node_bool(n, "ceil_mode", false),
                             &out.dim[axis], err))
                return false;
        }
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err) || !infer_out(n, 1, &out, DT_INT64, err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_max_pool(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    return pool_infer(n, err);
}

bool infer_avg_pool(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct attr *a = node_attr(n, "divisor_override");
    if (a && a->kind != ATTR_NONE && node_int(n, "divisor_override", 0) == 0)
        return infer_bad(n, err, NULL, "divisor_override is 0");
    /* PyTorch alone, and in the 3d form alone, wants the kernel to fit without the padding. */
    const struct shape *x = infer_shape(n, 0);
    int64_t kernel[3];
    if (n->op->spatial == 3 && !infer_from_onnx(n) && x->rank >= 3 &&
        node_ints(n, "kernel_size", kernel, 3))
        for (int i = 0; i < 3; i++) {
            int64_t d = x->dim[x->rank - 3 + i];
            if (d >= 0 && d < kernel[i])
                return infer_bad(
                    n, err, "Use a smaller kernel, or pad with torch.nn.functional.pad.",
                    "axis %d of the input has %lld elements, fewer than kernel_size %lld",
                    x->rank - 3 + i, (long long)d, (long long)kernel[i]);
        }
    return pool_infer(n, err);
}

bool infer_lp_pool(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    if (node_float(n, "norm_type", 2) == 0)
        return infer_bad(n, err, NULL, "norm_type is 0");
    return pool_infer(n, err);
}

bool infer_adaptive_pool(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    int k = n->op->spatial;
    int64_t size[MAX_SPATIAL];
    const struct shape *x = infer_shape(n, 0);
    if (!infer_tuple(n, "output_size", k, -1, size, err))
        return false;
    struct shape out = *x;
    for (int i = 0; i < k; i++)
        if (size[i] < -1 || size[i] == 0)
            return infer_bad(n, err, "Use -1 to keep the extent of the input.",
                             "output_size %lld must be at least 1", (long long)size[i]);
    /* ONNX writes global pooling of every rank as the 2d form. */
    if (x->rank >= 0 && infer_from_onnx(n) && x->rank >= 3 && size[0] == 1) {
        for (int i = 2; i < x->rank; i++)
            out.dim[i] = 1;
    } else if (x->rank >= 0) {
        if (!pool_input(n, k, x, err))
            return false;
        for (int i = 0; i < k; i++)
            if (size[i] != -1)
                out.dim[x->rank - k + i] = size[i];
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err) || !infer_out(n, 1, &out, DT_INT64, err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}
