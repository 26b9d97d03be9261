/* dnnl: which nodes oneDNN computes, and how it is told: convolutions, transposed ones, linear
 * layers, matrix products and pools of float32 with constant weights.  Everything else, and what it
 * declines, stays with the reference kernels. */
#include "core/run/dnnl_private.h"

#define MAX_SPATIAL 3

/* Feature maps as (N, C, spatial); a missing batch is 1. */
struct map {
    int rank;
    int64_t dim[MAX_SPATIAL + 2];
};

static struct map map_of(const struct shape *s, int spatial)
{
    struct map m = {.rank = spatial + 2, .dim = {1, 1, 1, 1, 1}};
    for (int i = 0; i < s->rank && i < m.rank; i++)
        m.dim[m.rank - 1 - i] = s->dim[s->rank - 1 - i];
    return m;
}

static bool is_float(const struct tensor *t)
{
    return t && t->dtype == DT_FLOAT32 && real_count(t) > 0;
}

/* A constant parameter as float32 while a node is prepared: its own data, or a copy in scratch. *out NULL:
 * absent, or computed from the data of each frame. */
static bool constant_floats(const struct kernel_call *c, const char *name,
                            const struct tensor **tensor, const float **out, struct bpu_error *err)
{
    const struct value *v = node_param(c->node, name);
    *tensor = kernel_param(c, name);
    *out = NULL;
    if (!v || !v->constant || !*tensor || !(*tensor)->data)
        return true;
    *out = real_floats(c, *tensor, err);
    if ((uintptr_t)*out % _Alignof(float) != 0) {
        float *copy = arena_reserve(c->scratch, (*tensor)->bytes, err);
        if (copy)
            memcpy(copy, (*tensor)->data, (*tensor)->bytes);
        *out = copy;
    }
    return *out != NULL;
}

/* Stride, dilation and paddings of a window of k axes, as oneDNN counts: dilation 0 is dense. */
struct window {
    dnnl_dims_t stride, dilation, begin, end;
};

static bool window_read(const struct node *n, int k, const int64_t *kernel, bool pool,
                        struct window *w, struct infer_window *raw, struct bpu_error *err)
{
    int64_t stride[MAX_SPATIAL], dilation[MAX_SPATIAL], list[2 * MAX_SPATIAL];
    int strides;
    if (!infer_ints(n, "stride", list, 2 * MAX_SPATIAL, &strides, err) ||
        !infer_tuple(n, "stride", k, 1, stride, err) ||
        !infer_tuple(n, "dilation", k, 1, dilation, err))
        return false;
    for (int i = 0; i < k; i++)
        raw[i] = (struct infer_window){.kernel = kernel[i],
                                       .stride = pool && strides <= 0 ? kernel[i] : stride[i],
                                       .dilation = dilation[i]};
    if (!infer_padding(n, k, raw, err))
        return false;
    for (int i = 0; i < k; i++) {
        w->stride[i] = raw[i].stride;
        w->dilation[i] = raw[i].dilation - 1;
        w->begin[i] = raw[i].begin;
        w->end[i] = raw[i].end;
    }
    return true;
}

/* ── convolution ── */

/* The weights as (groups, out, in, kernel) of one group, wherever they lie. */
static bool conv_weights(const struct dnnl_library *l, const struct shape *w, int64_t groups,
                         bool transposed, dnnl_memory_desc_t *out)
{
    int k = w->rank - 2;
    int64_t taps = 1, dim[MAX_SPATIAL + 3], stride[MAX_SPATIAL + 3];
    for (int i = k - 1; i >= 0; i--) {
        dim[3 + i] = w->dim[2 + i];
        stride[3 + i] = taps;
        taps *= w->dim[2 + i];
    }
    dim[0] = groups;
    dim[1] = transposed ? w->dim[1] : w->dim[0] / groups;
    dim[2] = transposed ? w->dim[0] / groups : w->dim[1];
    stride[0] = dim[1] * dim[2] * taps;
    stride[1] = transposed ? taps : dim[2] * taps;
    stride[2] = transposed ? dim[1] * taps : taps;
    bool grouped = groups > 1;
    return dnnl_describe(l, k + 2 + grouped, dim + !grouped, stride + !grouped, out);
}

static bool prepare_conv(struct arena *a, const struct dnnl_library *l, const struct kernel_call *c,
                         bool transposed, struct fast_kernel *out, struct bpu_error *err)
{
    int k = c->node->op->spatial;
    const struct tensor *weight, *bias, *residual = kernel_in(c, 1);
    const float *weights, *biases;
    struct window w;
    struct infer_window raw[MAX_SPATIAL];
    struct dnnl_problem p = {.residual = residual != NULL, .activation = real_activation(c->node)};
    if (!constant_floats(c, "weight", &weight, &weights, err) ||
        !constant_floats(c, "bias", &bias, &biases, err))
        return false;
    if (!weights || (bias && !biases) || weight->shape.rank != k + 2 ||
        (residual && !is_float(residual)) ||
        (!transposed && strcmp(node_string(c->node, "padding_mode", "zeros"), "zeros") != 0))
        return true;
    if (!window_read(c->node, k, weight->shape.dim + 2, false, &w, raw, err))
        return false;
    int64_t groups = node_int(c->node, "groups", 1);
    struct map x = map_of(&c->in[0]->shape, k), y = map_of(&c->out[0]->shape, k);
    p.weights_data = weights;
    p.bias_data = biases;
    if (!dnnl_describe(l, x.rank, x.dim, NULL, &p.x) ||
        !dnnl_describe(l, y.rank, y.dim, NULL, &p.y) ||
        !conv_weights(l, &weight->shape, groups, transposed, &p.weights) ||
        (bias && !dnnl_describe(l, 1, &y.dim[1], NULL, &p.bias)))
        return true;
    dnnl_memory_desc_t ax = dnnl_any(&p.x), ay = dnnl_any(&p.y), aw = dnnl_any(&p.weights);
    const dnnl_memory_desc_t *pb = bias ? &p.bias : NULL;
    dnnl_convolution_desc_t conv; /* a deconvolution is described by the same structure */
    dnnl_status_t status =
        transposed
            ? l->dilated_deconvolution_forward_desc_init(&conv, dnnl_forward_inference,
                                                         dnnl_deconvolution_direct, &ax, &aw, pb,
                                                         &ay, w.stride, w.dilation, w.begin, w.end)
            : l->dilated_convolution_forward_desc_init(&conv, dnnl_forward_inference,
                                                       dnnl_convolution_direct, &ax, &aw, pb, &ay,
                                                       w.stride, w.dilation, w.begin, w.end);
    p.op_desc = &conv;
    return status != dnnl_success || dnnl_build(a, l, &p, out, err);
}

/* ── matrices ── */

static bool build_matmul(struct arena *a, const struct dnnl_library *l,
                         const struct dnnl_problem *p, struct fast_kernel *out,
                         struct bpu_error *err)
{
    dnnl_matmul_desc_t product;
    struct dnnl_problem whole = *p;
    dnnl_memory_desc_t w = p->weights_data ? dnnl_any(&p->weights) : p->weights;
    if (l->matmul_desc_init(&product, &p->x, &w, p->bias.ndims ? &p->bias : NULL, &p->y) !=
        dnnl_success)
        return true;
    whole.op_desc = &product;
    return dnnl_build(a, l, &whole, out, err);
}

static bool prepare_linear(struct arena *a, const struct dnnl_library *l,
                           const struct kernel_call *c, struct fast_kernel *out,
                           struct bpu_error *err)
{
    const struct tensor *weight, *bias, *residual = kernel_in(c, 1);
    const float *weights, *biases;
    struct dnnl_problem p = {.residual = residual != NULL, .activation = real_activation(c->node)};
    if (!constant_floats(c, "weight", &weight, &weights, err) ||
        !constant_floats(c, "bias", &bias, &biases, err))
        return false;
    if (!weights || (bias && !biases) || weight->shape.rank != 2 ||
        (residual && !is_float(residual)))
        return true;
    bool io = strcmp(node_string(c->node, "weight_layout", "oi"), "io") == 0;
    int64_t in = weight->shape.dim[io ? 0 : 1], features = weight->shape.dim[io ? 1 : 0];
    int64_t rows = real_count(c->in[0]) / (in > 0 ? in : 1);
    if (bias && real_count(bias) != features)
        return true;
    p.weights_data = weights;
    p.bias_data = biases;
    if (!dnnl_describe(l, 2, (int64_t[]){rows, in}, NULL, &p.x) ||
        !dnnl_describe(l, 2, (int64_t[]){rows, features}, NULL, &p.y) ||
        !dnnl_describe(l, 2, (int64_t[]){in, features}, (int64_t[]){io ? features : 1, io ? 1 : in},
                       &p.weights) ||
        (bias && !dnnl_describe(l, 2, (int64_t[]){1, features}, NULL, &p.bias)))
        return true;
    return build_matmul(a, l, &p, out, err);
}

/* Both operands are data; a vector is a row on the left and a column on the right. */
static bool prepare_matmul(struct arena *a, const struct dnnl_library *l,
                           const struct kernel_call *c, struct fast_kernel *out,
                           struct bpu_error *err)
{
    struct dnnl_problem p = {.residual = false};
    const struct shape *sa = &c->in[0]->shape, *sb = &c->in[1]->shape;
    int64_t m = sa->rank > 1 ? sa->dim[sa->rank - 2] : 1, k = sa->dim[sa->rank - 1],
            n = sb->rank > 1 ? sb->dim[sb->rank - 1] : 1;
    int lead = (sa->rank > sb->rank ? sa->rank : sb->rank) - 2;
    lead = lead > 0 ? lead : 0;
    int64_t da[SHAPE_MAX_RANK], db[SHAPE_MAX_RANK], dy[SHAPE_MAX_RANK];
    for (int i = 0; i < lead; i++) {
        int ia = i - lead + sa->rank - 2, ib = i - lead + sb->rank - 2;
        da[i] = ia >= 0 && sa->rank > 2 ? sa->dim[ia] : 1;
        db[i] = ib >= 0 && sb->rank > 2 ? sb->dim[ib] : 1;
        dy[i] = da[i] > db[i] ? da[i] : db[i];
    }
    da[lead] = dy[lead] = m;
    da[lead + 1] = db[lead] = k;
    db[lead + 1] = dy[lead + 1] = n;
    if (!is_float(c->in[1]) || !dnnl_describe(l, lead + 2, da, NULL, &p.x) ||
        !dnnl_describe(l, lead + 2, db, NULL, &p.weights) ||
        !dnnl_describe(l, lead + 2, dy, NULL, &p.y))
        return true;
    return build_matmul(a, l, &p, out, err);
}

/* ── pools ── */

static bool build_pool(struct arena *a, const struct dnnl_library *l, dnnl_alg_kind_t kind,
                       const struct map *x, const struct map *y, const struct window *w,
                       const dnnl_dims_t kernel, struct fast_kernel *out, struct bpu_error *err)
{
    struct dnnl_problem p = {.residual = false};
    dnnl_pooling_v2_desc_t pool;
    if (!dnnl_describe(l, x->rank, x->dim, NULL, &p.x) ||
        !dnnl_describe(l, y->rank, y->dim, NULL, &p.y) ||
        l->pooling_v2_forward_desc_init(&pool, dnnl_forward_inference, kind, &p.x, &p.y, w->stride,
                                        kernel, w->dilation, w->begin, w->end) != dnnl_success)
        return true;
    p.op_desc = &pool;
    return dnnl_build(a, l, &p, out, err);
}

static bool prepare_pool(struct arena *a, const struct dnnl_library *l, const struct kernel_call *c,
                         bool max, struct fast_kernel *out, struct bpu_error *err)
{
    const struct node *n = c->node;
    int k = n->op->spatial;
    struct window w;
    struct infer_window raw[MAX_SPATIAL];
    int64_t kernel[MAX_SPATIAL];
    bool padded = !max && node_bool(n, "count_include_pad", true);
    if (!infer_tuple(n, "kernel_size", k, 1, kernel, err) ||
        !window_read(n, k, kernel, true, &w, raw, err))
        return false;
    if ((c->out_count > 1 && c->out[1]) || node_int(n, "divisor_override", 0) != 0)
        return true;
    struct map x = map_of(&c->in[0]->shape, k), y = map_of(&c->out[0]->shape, k);
    dnnl_dims_t size = {0};
    for (int i = 0; i < k; i++) {
        int64_t span = (raw[i].kernel - 1) * raw[i].dilation + 1;
        int64_t end = (y.dim[2 + i] - 1) * raw[i].stride + span - x.dim[2 + i] - raw[i].begin;
        /* A window that reaches beyond the padding (ceil_mode) counts there as PyTorch does not,
         * and one that lies in the padding alone is no task for the library. */
        if ((padded && end > raw[i].end) || raw[i].begin >= span || end >= span ||
            (!max && raw[i].dilation != 1))
            return true;
        w.end[i] = end > 0 ? end : 0;
        size[i] = raw[i].kernel;
    }
    return build_pool(a, l,
                      max      ? dnnl_pooling_max
                      : padded ? dnnl_pooling_avg_include_padding
                               : dnnl_pooling_avg_exclude_padding,
                      &x, &y, &w, size, out, err);
}

/* Extents that divide: adaptive windows are all alike. */
static bool prepare_adaptive(struct arena *a, const struct dnnl_library *l,
                             const struct kernel_call *c, struct fast_kernel *out,
                             struct bpu_error *err)
{
    int k = c->node->op->spatial;
    struct map x = map_of(&c->in[0]->shape, k), y = map_of(&c->out[0]->shape, k);
    struct window w = {.begin = {0}};
    dnnl_dims_t size = {0};
    if (c->in[0]->shape.rank > k + 2 || (c->out_count > 1 && c->out[1]))
        return true;
    for (int i = 0; i < k; i++) {
        if (x.dim[2 + i] % y.dim[2 + i] != 0)
            return true;
        w.stride[i] = size[i] = x.dim[2 + i] / y.dim[2 + i];
    }
    bool max = strncmp(c->node->op->key, "adaptive_max", 12) == 0;
    return build_pool(a, l, max ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding, &x, &y, &w,
                      size, out, err);
}

/* ── all ── */

bool dnnl_prepare(struct arena *a, const struct kernel_call *c, const char *variant,
                  struct fast_kernel *out, struct bpu_error *err)
{
    struct dnnl_library l;
    const char *name = kernel_of(c->node)->name;
    static const char *const names[] = {"conv",     "conv_transpose", "linear",       "matmul",
                                        "max_pool", "avg_pool",       "adaptive_pool"};
    size_t which = 0, count = sizeof names / sizeof *names;
    (void)variant; /* the library looks at the processor itself */
    while (which < count && strcmp(names[which], name) != 0)
        which++;
    if (which == count || !is_float(kernel_in(c, 0)) || !is_float(c->out[0]) || !dnnl_load(&l))
        return true;
    switch (which) {
    case 0:
    case 1: return prepare_conv(a, &l, c, which == 1, out, err);
    case 2: return prepare_linear(a, &l, c, out, err);
    case 3: return prepare_matmul(a, &l, c, out, err);
    case 4:
    case 5: return prepare_pool(a, &l, c, which == 4, out, err);
    default: return prepare_adaptive(a, &l, c, out, err);
    }
}
