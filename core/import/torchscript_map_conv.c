/* Adapters: operators with weights, and pooling. */
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/torchscript.h"
#include "core/ops/op.h"

enum { MAX_SPATIAL = 3 };

static struct node *begin_nd(struct ts_op *o, const char *base, int rank)
{
    char name[64];
    snprintf(name, sizeof name, "%s%dd", base, rank);
    return ts_begin(o, name, NULL);
}

/* A list of one number per spatial axis; one number stands for all of them. */
static bool spatial(struct ts_op *o, const char *name, int64_t *out, int rank, int64_t otherwise)
{
    int count;
    if (!ts_arg_ints(o, name, out, MAX_SPATIAL, &count) ||
        (count > 0 && count != 1 && count != rank))
        return ts_op_bad(o, "%s is not a list of %d integers that are known", name, rank) != NULL;
    for (int i = count < 1 ? 0 : count; i < rank; i++)
        out[i] = count < 1 ? otherwise : out[0];
    return true;
}

static bool set_spatial(struct ts_op *o, struct node *n, const char *name, int rank,
                        int64_t otherwise)
{
    int64_t list[MAX_SPATIAL];
    return spatial(o, name, list, rank, otherwise) &&
           node_set_ints(o->ts->graph, n, name, list, rank, o->ts->err);
}

/* ── convolution ── */

struct node *ts_conv_node(struct ts_op *o, struct py_value *x, struct py_value *weight,
                          struct py_value *bias, bool transposed)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    struct value *w = ts_value(o->ts, weight, NULL);
    bool ok = true;
    int64_t groups = ts_arg_int(o, "groups", 1, &ok), channels = -1;
    int rank = w ? w->shape.rank - 2 : 0;
    if (!w)
        return NULL;
    if (rank < 1 || rank > MAX_SPATIAL || !ok || groups < 1) {
        ts_op_bad(o, "a convolution needs a weight of 3 to 5 dimensions and one or more groups");
        return NULL;
    }
    struct node *n = begin_nd(o, transposed ? "torch.nn.ConvTranspose" : "torch.nn.Conv", rank);
    const struct py_value *padding = ts_arg(o, "padding");
    ok = n && ts_operand(o, n, x) &&
         node_set_ints(g, n, "kernel_size", w->shape.dim + 2, rank, err) &&
         set_spatial(o, n, "stride", rank, 1) && set_spatial(o, n, "dilation", rank, 1) &&
         (padding && padding->kind == PY_STRING
              ? node_set_string(g, n, "padding", padding->text, err)
              : set_spatial(o, n, "padding", rank, 0)) &&
         (!transposed || set_spatial(o, n, "output_padding", rank, 0)) &&
         node_set_int(g, n, "groups", groups, err) && node_add_param(g, n, "weight", w, err) &&
         ts_param(o, n, "bias", bias);
    if (ok && checked_mul(w->shape.dim[1], groups, &channels))
        ok = node_set_int(g, n, "in_channels", transposed ? w->shape.dim[0] : channels, err) &&
             node_set_int(g, n, "out_channels", transposed ? channels : w->shape.dim[0], err);
    return ok ? n : NULL;
}

struct py_value *ts_conv(struct ts_op *o)
{
    bool ok = true;
    bool transposed = strncmp(o->row->name, "conv_transpose", 14) == 0 ||
                      ts_arg_bool(o, "transposed", false, &ok);
    struct py_value *x = ts_arg(o, "input"), *w = ts_arg(o, "weight");
    if (!x || !w || !ok)
        return ts_op_bad(o, "a convolution needs an input and a weight");
    struct node *n = ts_conv_node(o, x, w, ts_arg(o, "bias"), transposed);
    return n ? ts_finish(o, n) : NULL;
}

/* ── normalization ── */

struct py_value *ts_batch_norm(struct ts_op *o)
{
    char where[256];
    bool ok = true, instance = o->row->name[0] == 'i';
    struct py_value *x = ts_arg(o, "input"), *mean = ts_arg(o, "running_mean");
    struct value *v = x ? ts_value(o->ts, x, NULL) : NULL;
    double eps = ts_arg_float(o, "eps", 1e-5, &ok);
    bool training = ts_arg_bool(o, instance ? "use_input_stats" : "training", false, &ok);
    if (!v || !ok)
        return v ? ts_opaque(o, o->name) : NULL;
    /* What run_decompositions() makes of an instance norm: the samples of a batch as channels of
     * one. */
    instance = instance || (training && !mean && v->shape.rank > 2 && v->shape.dim[0] == 1);
    if (!instance && (training || !mean)) {
        if (!graph_add_note(
                o->ts->graph, o->ts->err,
                "%s: a batch norm works with the statistics of the batch; call model.eval() "
                "before saving the network",
                ts_where(o->ts, where)))
            return NULL;
        return ts_opaque(o, "aten::native_batch_norm");
    }
    int rank = v->shape.rank > 3 ? v->shape.rank - 2 : v->shape.rank >= 0 ? 1 : 2;
    if (rank > MAX_SPATIAL)
        return ts_op_bad(o, "the input has %d dimensions; at most 5 are possible", v->shape.rank);
    struct node *n = begin_nd(o, instance ? "torch.nn.InstanceNorm" : "torch.nn.BatchNorm", rank);
    struct py_value *first = ts_arg(o, "weight") ? ts_arg(o, "weight") : mean;
    if (!n || !ts_operand(o, n, x) || !ts_param(o, n, "weight", ts_arg(o, "weight")) ||
        !ts_param(o, n, "bias", ts_arg(o, "bias")) ||
        (!instance && (!ts_param(o, n, "running_mean", mean) ||
                       !ts_param(o, n, "running_var", ts_arg(o, "running_var")))) ||
        !node_set_float(o->ts->graph, n, "eps", eps, o->ts->err))
        return NULL;
    struct value *f = first ? ts_value(o->ts, first, NULL) : NULL;
    if (f && f->shape.rank == 1 &&
        !node_set_int(o->ts->graph, n, "num_features", f->shape.dim[0], o->ts->err))
        return NULL;
    return ts_finish(o, n);
}

struct py_value *ts_layer_norm(struct ts_op *o)
{
    int64_t shape[SHAPE_MAX_RANK];
    int count;
    bool ok = true;
    double eps = ts_arg_float(o, "eps", 1e-5, &ok);
    if (!ts_arg_ints(o, "normalized_shape", shape, SHAPE_MAX_RANK, &count) || count < 1 || !ok)
        return ts_opaque(o, "torch.nn.Layernorm");
    struct node *n = ts_begin_unary(o, "torch.nn.Layernorm", "input");
    return n && node_set_ints(o->ts->graph, n, "normalized_shape", shape, count, o->ts->err) &&
                   node_set_float(o->ts->graph, n, "eps", eps, o->ts->err) &&
                   ts_param(o, n, "weight", ts_arg(o, "weight")) &&
                   ts_param(o, n, "bias", ts_arg(o, "bias"))
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_group_norm(struct ts_op *o)
{
    bool ok = true;
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    int64_t groups = ts_arg_int(o, "num_groups", 1, &ok);
    double eps = ts_arg_float(o, "eps", 1e-5, &ok);
    if (!ok)
        return ts_opaque(o, "torch.nn.GroupNorm");
    struct node *n = ts_begin_unary(o, "torch.nn.GroupNorm", "input");
    if (!n || !node_set_int(g, n, "num_groups", groups, err) ||
        !node_set_float(g, n, "eps", eps, err) || !ts_param(o, n, "weight", ts_arg(o, "weight")) ||
        !ts_param(o, n, "bias", ts_arg(o, "bias")))
        return NULL;
    const struct shape *s = &n->inputs[0]->shape;
    if (s->rank > 1 && !node_set_int(g, n, "num_channels", s->dim[1], err))
        return NULL;
    return ts_finish(o, n);
}

/* ── matrices ── */

struct node *ts_linear_node(struct ts_op *o, struct value *x, struct value *weight, bool in_out,
                            struct py_value *bias)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    struct node *n = ts_begin(o, "torch.nn.Linear", NULL);
    return n && node_add_input(g, n, x, err) && node_add_param(g, n, "weight", weight, err) &&
                   (!in_out || node_set_string(g, n, "weight_layout", "io", err)) &&
                   node_set_int(g, n, "in_features", weight->shape.dim[in_out ? 0 : 1], err) &&
                   node_set_int(g, n, "out_features", weight->shape.dim[in_out ? 1 : 0], err) &&
                   ts_param(o, n, "bias", bias)
               ? n
               : NULL;
}

struct value *ts_node2(struct ts_op *o, const char *op_name, const char *suffix, struct value *x,
                       struct value *y)
{
    struct node *n = x ? ts_begin(o, op_name, suffix) : NULL;
    return n && node_add_input(o->ts->graph, n, x, o->ts->err) &&
                   (!y || node_add_input(o->ts->graph, n, y, o->ts->err))
               ? ts_finish_value(o, n)
               : NULL;
}

struct value *ts_transposed(struct ts_op *o, struct value *x, const char *suffix)
{
    struct node *n = x ? ts_begin(o, "torch.Tensor.transpose", suffix) : NULL;
    return n && node_add_input(o->ts->graph, n, x, o->ts->err) &&
                   node_set_int(o->ts->graph, n, "dim0", -2, o->ts->err) &&
                   node_set_int(o->ts->graph, n, "dim1", -1, o->ts->err)
               ? ts_finish_value(o, n)
               : NULL;
}

/* If v is the transpose of a constant matrix, that matrix: the weight of a Linear as it was
 * trained. */
static struct value *untransposed(struct value *v)
{
    const struct node *n = v->producer;
    if (!n || strcmp(n->op_name, "torch.Tensor.transpose") != 0 || n->input_count != 1 ||
        !n->inputs[0]->constant || n->inputs[0]->shape.rank != 2 ||
        node_int(n, "dim0", 0) == node_int(n, "dim1", 1))
        return NULL;
    return n->inputs[0];
}

/* x · b, as Linear if b is a constant matrix. */
static struct node *product(struct ts_op *o, struct value *x, struct value *b,
                            struct py_value *bias)
{
    bool linear = b->constant && b->shape.rank == 2 && !x->constant && x->shape.rank != 1;
    if (linear) {
        struct value *w = untransposed(b);
        return ts_linear_node(o, x, w ? w : b, !w, bias);
    }
    struct node *n = ts_begin(o, "torch.matmul", NULL);
    return n && node_add_input(o->ts->graph, n, x, o->ts->err) &&
                   node_add_input(o->ts->graph, n, b, o->ts->err)
               ? n
               : NULL;
}

struct py_value *ts_matmul(struct ts_op *o)
{
    struct value *a = ts_operand_of(o, "self"), *b = a ? ts_operand_of(o, "other") : NULL;
    struct node *n = b ? product(o, a, b, NULL) : NULL;
    return n ? ts_finish(o, n) : NULL;
}

struct py_value *ts_linear(struct ts_op *o)
{
    struct value *x = ts_operand_of(o, "input"), *w = x ? ts_operand_of(o, "weight") : NULL;
    struct py_value *bias = ts_arg(o, "bias");
    if (!w)
        return NULL;
    if (w->constant && w->shape.rank == 2 && (!bias || ts_value(o->ts, bias, NULL)) &&
        !x->constant) {
        struct node *n = ts_linear_node(o, x, w, false, bias);
        return n ? ts_finish(o, n) : NULL;
    }
    struct value *y =
        ts_node2(o, "torch.matmul", bias ? "matmul" : NULL, x, ts_transposed(o, w, "transpose"));
    struct value *b = y && bias ? ts_value(o->ts, bias, y) : NULL;
    return bias ? ts_tensor(o->ts, b ? ts_node2(o, "torch.add", NULL, y, b) : NULL)
                : ts_tensor(o->ts, y);
}

/* beta * self + alpha * (mat1 · mat2): what older traces make of a Linear. */
struct py_value *ts_addmm(struct ts_op *o)
{
    bool ok = true;
    double beta = ts_arg_float(o, "beta", 1, &ok), alpha = ts_arg_float(o, "alpha", 1, &ok);
    struct value *a = ts_operand_of(o, "mat1"), *b = a ? ts_operand_of(o, "mat2") : NULL;
    struct value *c = b ? ts_operand_of(o, "self") : NULL;
    if (!c)
        return NULL;
    if (!ok || beta != 1 || alpha != 1)
        return ts_opaque(o, o->name);
    if (b->constant && b->shape.rank == 2 && !a->constant && c->constant && c->shape.rank == 1) {
        struct node *n = product(o, a, b, ts_arg(o, "self"));
        return n ? ts_finish(o, n) : NULL;
    }
    struct value *y = ts_node2(o, "torch.matmul", "matmul", a, b);
    return ts_tensor(o->ts, y ? ts_node2(o, "torch.add", NULL, y, c) : NULL);
}

/* ── pooling ── */

/* Operators that also give the indices of the maxima, which nobody reads: (values, unknown). */
static struct py_value *with_indices(struct ts_op *o, struct py_value *v)
{
    struct py_value *pair = v ? ts_new(o->ts, PY_TUPLE) : NULL;
    return pair && ts_append(o->ts, pair, v) && ts_append(o->ts, pair, ts_new(o->ts, PY_UNKNOWN))
               ? pair
               : NULL;
}

struct py_value *ts_pool(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    const char *torch = o->row->torch;
    int rank = torch[strlen(torch) - 2] - '0', count;
    int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL];
    bool ok = true, average = o->row->name[0] == 'a';
    bool ceil_mode = ts_arg_bool(o, "ceil_mode", false, &ok);
    bool include = ts_arg_bool(o, "count_include_pad", true, &ok);
    if (!spatial(o, "kernel_size", kernel, rank, 1) ||
        !ts_arg_ints(o, "stride", stride, MAX_SPATIAL, &count) || !ok)
        return ts_op_bad(o, "kernel_size, stride and the flags must be known");
    if (count < 1)
        memcpy(stride, kernel, sizeof stride);
    else if (!spatial(o, "stride", stride, rank, 1))
        return NULL;
    struct node *n = ts_begin_unary(o, torch, "self");
    if (!n || !node_set_ints(g, n, "kernel_size", kernel, rank, err) ||
        !node_set_ints(g, n, "stride", stride, rank, err) ||
        !set_spatial(o, n, "padding", rank, 0) ||
        (!average && !set_spatial(o, n, "dilation", rank, 1)) ||
        !node_set_bool(g, n, "ceil_mode", ceil_mode, err) ||
        (average && !node_set_bool(g, n, "count_include_pad", include, err)) ||
        !ts_attr(o, n, "divisor_override", ts_arg(o, "divisor_override")))
        return NULL;
    return strstr(o->row->name, "_with_indices") ? with_indices(o, ts_finish(o, n))
                                                 : ts_finish(o, n);
}

/* An adaptive pool whose windows are all alike is a plain one; down to one element it is a global
 * one. */
static struct py_value *adaptive_pool(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    const char *torch = o->row->torch;
    bool max = strstr(torch, "Max") != NULL;
    int rank = torch[strlen(torch) - 2] - '0', count;
    int64_t size[MAX_SPATIAL], kernel[MAX_SPATIAL];
    struct value *x = ts_operand_of(o, "self");
    if (!x)
        return NULL;
    if (!ts_arg_ints(o, "output_size", size, MAX_SPATIAL, &count) || (count != rank && count != 1))
        return ts_opaque(o, torch);
    for (int i = count; i < rank; i++)
        size[i] = size[0];
    bool global = true, even = shape_is_static(&x->shape) && x->shape.rank > rank;
    for (int i = 0; i < rank; i++) {
        int64_t extent = even ? x->shape.dim[x->shape.rank - rank + i] : 0;
        global = global && size[i] == 1;
        even = even && size[i] >= 1 && extent % size[i] == 0 && extent > 0;
        kernel[i] = even ? extent / size[i] : 1;
    }
    char name[64];
    snprintf(name, sizeof name, "torch.nn.%sPool%dd", max ? "Max" : "Avg", rank);
    struct node *n = ts_begin_unary(o, global || !even ? torch : name, "self");
    if (!n)
        return NULL;
    if (global)
        return node_set_int(g, n, "output_size", 1, err) ? ts_finish(o, n) : NULL;
    if (!even)
        return node_set_ints(g, n, "output_size", size, rank, err) ? ts_finish(o, n) : NULL;
    static const int64_t zero[MAX_SPATIAL];
    return node_set_ints(g, n, "kernel_size", kernel, rank, err) &&
                   node_set_ints(g, n, "stride", kernel, rank, err) &&
                   node_set_ints(g, n, "padding", zero, rank, err) &&
                   node_set_bool(g, n, "ceil_mode", false, err) &&
                   (max || node_set_bool(g, n, "count_include_pad", true, err))
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_adaptive_pool(struct ts_op *o)
{
    struct py_value *v = adaptive_pool(o);
    return strstr(o->row->torch, "Max") ? with_indices(o, v) : v;
}
