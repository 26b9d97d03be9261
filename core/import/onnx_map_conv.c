/* Adapters: convolutions, pooling, matrices, normalization. */
#include <stdio.h>
#include <string.h>

#include "core/import/onnx.h"
#include "core/ops/op.h"

enum { MAX_SPATIAL = 3 };

/* Beyond this, sums of products of window numbers could overflow. */
#define WINDOW_MAX ((int64_t)1 << 30)

/* Paddings of a window operator, begins then ends. */
struct window {
    int rank; /* spatial */
    int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL];
    int64_t pad[2 * MAX_SPATIAL];
};

static bool window_list(struct onnx_node *o, const char *name, int64_t *out, int count,
                        int64_t otherwise)
{
    int n = 0;
    const int64_t *v = onnx_ints(o, name, &n);
    for (int i = 0; i < count; i++)
        out[i] = v && n == count ? v[i] : otherwise;
    if (v && n != count)
        return onnx_bad(o, "attribute %s has %d numbers; %d are needed", name, n, count);
    for (int i = 0; i < count; i++)
        if (out[i] < -WINDOW_MAX || out[i] > WINDOW_MAX)
            return onnx_bad(o, "attribute %s holds %lld, which is absurd", name, (long long)out[i]);
    return true;
}

/* Total padding of one axis for auto_pad SAME: the output has ceil(in / stride) positions. */
static int64_t same_padding(int64_t in, int64_t kernel, int64_t stride, int64_t dilation)
{
    if (stride < 1 || in < 0 || kernel < 1 || kernel > INT32_MAX || dilation > INT32_MAX)
        return 0;
    int64_t out = in / stride + (in % stride != 0);
    int64_t total = (out - 1) * stride + (kernel - 1) * dilation + 1 - in;
    return total > 0 ? total : 0;
}

static bool read_window(struct onnx_node *o, const struct value *x, struct window *w)
{
    if (!window_list(o, "strides", w->stride, w->rank, 1) ||
        !window_list(o, "dilations", w->dilation, w->rank, 1) ||
        !window_list(o, "pads", w->pad, 2 * w->rank, 0))
        return false;
    const char *auto_pad = onnx_string(o, "auto_pad", "NOTSET");
    bool upper = strcmp(auto_pad, "SAME_UPPER") == 0, lower = strcmp(auto_pad, "SAME_LOWER") == 0;
    if ((upper || lower) && x && x->shape.rank == w->rank + 2)
        for (int i = 0; i < w->rank; i++) {
            int64_t total =
                same_padding(x->shape.dim[2 + i], w->kernel[i], w->stride[i], w->dilation[i]);
            w->pad[i] = upper ? total / 2 : total - total / 2;
            w->pad[w->rank + i] = total - w->pad[i];
        }
    return true;
}

static bool set_window(struct onnx_node *o, struct node *n, const struct window *w)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    bool symmetric = memcmp(w->pad, w->pad + w->rank, (size_t)w->rank * sizeof *w->pad) == 0;
    return node_set_ints(g, n, "kernel_size", w->kernel, w->rank, err) &&
           node_set_ints(g, n, "stride", w->stride, w->rank, err) &&
           node_set_ints(g, n, "padding", w->pad, symmetric ? w->rank : 2 * w->rank, err) &&
           (!n->op || !op_attr_find(n->op, "dilation") ||
            node_set_ints(g, n, "dilation", w->dilation, w->rank, err));
}

static struct node *begin_nd(struct onnx_node *o, const char *base, int rank)
{
    char name[64];
    snprintf(name, sizeof name, "%s%dd", base, rank);
    return onnx_begin(o, name, NULL);
}

/* Kernel and channels from attribute or weight. False with an error if neither tells. */
static bool conv_window(struct onnx_node *o, struct window *w)
{
    const struct value *x = onnx_in(o, 0), *weight = onnx_in(o, 1);
    if (!x || !weight)
        return onnx_bad(o, "a convolution needs an input and a weight");
    int n;
    const int64_t *kernel = onnx_ints(o, "kernel_shape", &n);
    w->rank = weight->shape.rank > 0 ? weight->shape.rank - 2 : kernel ? n : x->shape.rank - 2;
    if (w->rank < 1 || w->rank > MAX_SPATIAL)
        return onnx_bad(o, "the weight has %d dimensions; 3 to 5 are possible", weight->shape.rank);
    for (int i = 0; i < w->rank; i++)
        w->kernel[i] = weight->shape.rank > 0 ? weight->shape.dim[2 + i] : kernel ? kernel[i] : 1;
    if (kernel && (n != w->rank || (weight->shape.rank > 0 &&
                                    memcmp(kernel, w->kernel, (size_t)n * sizeof *kernel) != 0)))
        return onnx_bad(o, "kernel_shape does not agree with the weight");
    return read_window(o, x, w);
}

bool onnx_conv(struct onnx_node *o)
{
    struct window w = {0};
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    if (!conv_window(o, &w))
        return false;
    int64_t groups = onnx_int(o, "group", 1);
    const struct value *weight = onnx_in(o, 1);
    struct node *n = begin_nd(o, "torch.nn.Conv", w.rank);
    bool ok = n && onnx_operand(o, n, onnx_in(o, 0)) && set_window(o, n, &w) &&
              node_set_int(g, n, "groups", groups, err) &&
              node_add_param(g, n, "weight", onnx_in(o, 1), err) &&
              (!onnx_in(o, 2) || node_add_param(g, n, "bias", onnx_in(o, 2), err));
    int64_t in_channels;
    if (ok && weight->shape.rank > 0 && groups > 0 &&
        !__builtin_mul_overflow(weight->shape.dim[1], groups, &in_channels))
        ok = node_set_int(g, n, "in_channels", in_channels, err) &&
             node_set_int(g, n, "out_channels", weight->shape.dim[0], err);
    return ok && onnx_finish(o, n);
}

/* output_shape fixes the paddings: total = stride (in - 1) + output_padding + effective kernel - out. */
static bool transpose_padding(struct onnx_node *o, struct window *w, int64_t *output_padding)
{
    int n;
    const int64_t *wanted = onnx_ints(o, "output_shape", &n);
    const struct value *x = onnx_in(o, 0);
    const char *auto_pad = onnx_string(o, "auto_pad", "NOTSET");
    bool same = strncmp(auto_pad, "SAME", 4) == 0;
    if ((!wanted && !same) || x->shape.rank != w->rank + 2)
        return true;
    for (int i = 0; i < w->rank; i++) {
        int64_t in = x->shape.dim[2 + i];
        if (in > WINDOW_MAX || w->kernel[i] > WINDOW_MAX)
            return onnx_bad(o, "extent %lld is absurd", (long long)in);
        int64_t out = wanted && n >= w->rank ? wanted[n - w->rank + i] : in * w->stride[i];
        int64_t total = w->stride[i] * (in - 1) + output_padding[i] +
                        (w->kernel[i] - 1) * w->dilation[i] + 1 - out;
        if (total < 0) { /* larger than the strides reach: the rest is output padding */
            output_padding[i] -= total;
            total = 0;
        }
        w->pad[i] = strcmp(auto_pad, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
        w->pad[w->rank + i] = total - w->pad[i];
    }
    return true;
}

bool onnx_conv_transpose(struct onnx_node *o)
{
    struct window w = {0};
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    int64_t output_padding[MAX_SPATIAL];
    if (!conv_window(o, &w) || !window_list(o, "output_padding", output_padding, w.rank, 0) ||
        !transpose_padding(o, &w, output_padding))
        return false;
    int64_t groups = onnx_int(o, "group", 1);
    const struct value *weight = onnx_in(o, 1);
    struct node *n = begin_nd(o, "torch.nn.ConvTranspose", w.rank);
    bool ok = n && onnx_operand(o, n, onnx_in(o, 0)) && set_window(o, n, &w) &&
              node_set_ints(g, n, "output_padding", output_padding, w.rank, err) &&
              node_set_int(g, n, "groups", groups, err) &&
              node_add_param(g, n, "weight", onnx_in(o, 1), err) &&
              (!onnx_in(o, 2) || node_add_param(g, n, "bias", onnx_in(o, 2), err));
    int64_t out_channels;
    if (ok && weight->shape.rank > 0 && groups > 0 &&
        !__builtin_mul_overflow(weight->shape.dim[1], groups, &out_channels))
        ok = node_set_int(g, n, "in_channels", weight->shape.dim[0], err) &&
             node_set_int(g, n, "out_channels", out_channels, err);
    return ok && onnx_finish(o, n);
}

bool onnx_pool(struct onnx_node *o)
{
    bool max = strcmp(o->proto->op_type, "MaxPool") == 0;
    struct window w = {0};
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    const int64_t *kernel = onnx_ints(o, "kernel_shape", &w.rank);
    if (!kernel || w.rank < 1 || w.rank > MAX_SPATIAL)
        return onnx_bad(o, "attribute kernel_shape is missing or has not 1 to 3 numbers");
    memcpy(w.kernel, kernel, (size_t)w.rank * sizeof *kernel);
    if (!read_window(o, onnx_in(o, 0), &w))
        return false;
    struct node *n = begin_nd(o, onnx_row_find(o->proto->op_type)->torch, w.rank);
    bool ok = n && onnx_operand(o, n, onnx_in(o, 0)) && set_window(o, n, &w) &&
              node_set_bool(g, n, "ceil_mode", onnx_int(o, "ceil_mode", 0), err);
    if (ok && max && o->proto->n_output > 1)
        ok = node_set_bool(g, n, "return_indices", true, err);
    if (ok && max && onnx_int(o, "storage_order", 0))
        ok = node_set_int(g, n, "storage_order", 1, err);
    if (ok && !max)
        ok = node_set_bool(g, n, "count_include_pad", onnx_int(o, "count_include_pad", 0), err);
    return ok && onnx_finish(o, n);
}

bool onnx_global_pool(struct onnx_node *o)
{
    const struct value *x = onnx_in(o, 0);
    int rank = x && x->shape.rank > 2 ? x->shape.rank - 2 : 2;
    if (rank > MAX_SPATIAL)
        return onnx_bad(o, "the input has %d dimensions; 3 to 5 are possible", x->shape.rank);
    struct node *n = begin_nd(o, onnx_row_find(o->proto->op_type)->torch, rank);
    return n && onnx_operand(o, n, onnx_in(o, 0)) &&
           node_set_int(o->im->graph, n, "output_size", 1, o->im->err) && onnx_finish(o, n);
}

/* True if an output beyond the first, a statistic of training, is read by a node or leaves the graph. */
static bool reads_statistics(const struct onnx_node *o)
{
    for (size_t i = 1; i < o->proto->n_output; i++)
        if (o->proto->output[i][0] && name_table_find(o->im->used, o->proto->output[i]))
            return true;
    return false;
}

bool onnx_batch_norm(struct onnx_node *o)
{
    static const char *const params[] = {NULL, "weight", "bias", "running_mean", "running_var"};
    bool instance = strcmp(o->proto->op_type, "InstanceNormalization") == 0;
    const struct value *x = onnx_in(o, 0), *scale = onnx_in(o, 1);
    int rank = x && x->shape.rank > 3 ? x->shape.rank - 2 : x && x->shape.rank >= 0 ? 1 : 2;
    if (rank > MAX_SPATIAL)
        return onnx_bad(o, "the input has %d dimensions; at most 5 are possible", x->shape.rank);
    if (reads_statistics(o))
        return onnx_opaque(o, "onnx:BatchNormalization (training)");
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    struct node *n =
        begin_nd(o, instance ? "torch.nn.InstanceNorm" : "torch.nn.BatchNorm", rank);
    bool ok = n && onnx_operand(o, n, onnx_in(o, 0)) &&
              node_set_float(g, n, "eps", onnx_float(o, "epsilon", 1e-5f), err);
    for (int i = 1; ok && i < (instance ? 3 : 5) && onnx_in(o, i); i++)
        ok = node_add_param(g, n, params[i], onnx_in(o, i), err);
    if (ok && scale && scale->shape.rank == 1)
        ok = node_set_int(g, n, "num_features", scale->shape.dim[0], err);
    /* Older opsets list the statistics of training as further outputs; nobody reads them. */
    return ok && onnx_finish_outputs(o, n, 1);
}

bool onnx_layer_norm(struct onnx_node *o)
{
    const struct value *x = onnx_in(o, 0);
    if (!x || x->shape.rank < 1 || reads_statistics(o))
        return onnx_opaque(o, "onnx:LayerNormalization");
    int64_t axis = onnx_int(o, "axis", -1);
    if (axis < 0)
        axis += x->shape.rank;
    if (axis < 0 || axis >= x->shape.rank)
        return onnx_bad(o, "axis %lld is outside the input's %d dimensions", (long long)axis,
                        x->shape.rank);
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    struct node *n = onnx_begin(o, "torch.nn.Layernorm", NULL);
    bool ok = n && onnx_operand(o, n, onnx_in(o, 0)) &&
              node_set_ints(g, n, "normalized_shape", x->shape.dim + axis,
                            x->shape.rank - (int)axis, err) &&
              node_set_float(g, n, "eps", onnx_float(o, "epsilon", 1e-5f), err) &&
              (!onnx_in(o, 1) || node_add_param(g, n, "weight", onnx_in(o, 1), err)) &&
              (!onnx_in(o, 2) || node_add_param(g, n, "bias", onnx_in(o, 2), err));
    return ok && onnx_finish_outputs(o, n, 1);
}

bool onnx_group_norm(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    const struct value *x = onnx_in(o, 0);
    struct node *n = onnx_begin(o, "torch.nn.GroupNorm", NULL);
    bool ok = n && onnx_operand(o, n, onnx_in(o, 0)) &&
              node_set_int(g, n, "num_groups", onnx_int(o, "num_groups", 1), err) &&
              node_set_float(g, n, "eps", onnx_float(o, "epsilon", 1e-5f), err) &&
              (!onnx_in(o, 1) || node_add_param(g, n, "weight", onnx_in(o, 1), err)) &&
              (!onnx_in(o, 2) || node_add_param(g, n, "bias", onnx_in(o, 2), err));
    if (ok && x && x->shape.rank > 1)
        ok = node_set_int(g, n, "num_channels", x->shape.dim[1], err);
    return ok && onnx_finish(o, n);
}

bool onnx_lrn(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    struct node *n = onnx_begin(o, "torch.nn.LocalResponseNorm", NULL);
    return n && onnx_operand(o, n, onnx_in(o, 0)) &&
           node_set_int(g, n, "size", onnx_int(o, "size", 1), err) &&
           node_set_float(g, n, "alpha", onnx_float(o, "alpha", 1e-4f), err) &&
           node_set_float(g, n, "beta", onnx_float(o, "beta", .75), err) &&
           node_set_float(g, n, "k", onnx_float(o, "bias", 1), err) && onnx_finish(o, n);
}

/* ── matrices ── */

static bool set_linear(struct onnx_node *o, struct node *n, struct value *weight, bool in_out)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    return node_add_param(g, n, "weight", weight, err) &&
           (!in_out || node_set_string(g, n, "weight_layout", "io", err)) &&
           node_set_int(g, n, "in_features", weight->shape.dim[in_out ? 0 : 1], err) &&
           node_set_int(g, n, "out_features", weight->shape.dim[in_out ? 1 : 0], err);
}

static struct value *transposed(struct onnx_node *o, struct value *v, const char *suffix)
{
    struct node *n = onnx_begin(o, "torch.Tensor.transpose", suffix);
    if (!n || !onnx_operand(o, n, v) ||
        !node_set_int(o->im->graph, n, "dim0", 0, o->im->err) ||
        !node_set_int(o->im->graph, n, "dim1", 1, o->im->err))
        return NULL;
    struct value *out = onnx_inner(o, n);
    return out && op_apply(o->im->graph, n, o->im->err) ? out : NULL;
}

/* A scalar factor in front of a value: alpha and beta of Gemm. */
static struct value *scaled(struct onnx_node *o, struct value *v, double by, const char *suffix)
{
    struct onnx_import *im = o->im;
    float *f = ARENA_NEW(im->arena, float, im->err);
    if (!f)
        return NULL;
    *f = (float)by;
    struct shape scalar = {.rank = 0};
    struct value *factor =
        graph_add_constant(im->graph, suffix, &scalar, DT_FLOAT32, f, sizeof *f, im->err);
    struct node *n = factor ? onnx_begin(o, "torch.mul", suffix) : NULL;
    if (!n || !onnx_operand(o, n, v) || !onnx_operand(o, n, factor) ||
        !node_set_bool(im->graph, n, "scalar_operand", true, im->err))
        return NULL;
    struct value *out = onnx_inner(o, n);
    return out && op_apply(im->graph, n, im->err) ? out : NULL;
}

bool onnx_gemm(struct onnx_node *o)
{
    struct value *a = onnx_in(o, 0), *b = onnx_in(o, 1), *c = onnx_in(o, 2);
    if (!a || !b)
        return onnx_bad(o, "Gemm needs two matrices");
    double alpha = onnx_float(o, "alpha", 1), beta = onnx_float(o, "beta", 1);
    bool trans_a = onnx_int(o, "transA", 0), trans_b = onnx_int(o, "transB", 0);
    bool bias_vector = !c || (c->constant && (c->shape.rank == 1 ||
                                              (c->shape.rank == 2 && c->shape.dim[0] == 1)));
    if (b->constant && b->shape.rank == 2 && !trans_a && alpha == 1 && (beta == 1 || !c) &&
        bias_vector) {
        struct node *n = onnx_begin(o, "torch.nn.Linear", NULL);
        return n && onnx_operand(o, n, a) && set_linear(o, n, b, !trans_b) &&
               (!c || node_add_param(o->im->graph, n, "bias", c, o->im->err)) && onnx_finish(o, n);
    }
    if (trans_a && !(a = transposed(o, a, "transpose_a")))
        return false;
    if (trans_b && !(b = transposed(o, b, "transpose_b")))
        return false;
    if (alpha != 1 && !(a = scaled(o, a, alpha, "alpha")))
        return false;
    if (!c) {
        struct node *n = onnx_begin(o, "torch.matmul", NULL);
        return n && onnx_operand(o, n, a) && onnx_operand(o, n, b) && onnx_finish(o, n);
    }
    if (beta != 1 && !(c = scaled(o, c, beta, "beta")))
        return false;
    struct node *mm = onnx_begin(o, "torch.matmul", "matmul");
    struct value *product =
        mm && onnx_operand(o, mm, a) && onnx_operand(o, mm, b) ? onnx_inner(o, mm) : NULL;
    if (!product || !op_apply(o->im->graph, mm, o->im->err))
        return false;
    struct node *n = onnx_begin(o, "torch.add", NULL);
    return n && onnx_operand(o, n, product) && onnx_operand(o, n, c) && onnx_finish(o, n);
}

/* A product with a constant matrix is what torch.nn.Linear exports for inputs of more than two dimensions. */
bool onnx_matmul(struct onnx_node *o)
{
    struct value *a = onnx_in(o, 0), *b = onnx_in(o, 1);
    if (!a || !b)
        return onnx_bad(o, "MatMul needs two operands");
    bool linear = b->constant && b->shape.rank == 2 && !a->constant && a->shape.rank != 1;
    struct node *n = onnx_begin(o, linear ? "torch.nn.Linear" : "torch.matmul", NULL);
    if (!n || !onnx_operand(o, n, a))
        return false;
    if (linear ? !set_linear(o, n, b, true) : !onnx_operand(o, n, b))
        return false;
    return onnx_finish(o, n);
}
