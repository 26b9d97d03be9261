/* Adapters: arithmetic, activations, reductions and constants. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/import/torchscript.h"
#include "core/ops/op.h"

enum { LIST_MAX = 4 * SHAPE_MAX_RANK };

static bool is_scalar(const struct py_value *v, const struct value *value)
{
    return !ts_is_tensor(v) || (value->constant && value->shape.rank == 0);
}

/* Two operands, either of which may be a number; rsub swaps them. */
struct py_value *ts_binary(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    bool ok = true, reversed = strcmp(o->row->name, "rsub") == 0;
    double alpha = ts_arg_float(o, "alpha", 1, &ok);
    if (o->count < 2 || !o->args[0] || !o->args[1])
        return ts_op_bad(o, "two operands are needed");
    struct py_value *a = o->args[reversed], *b = o->args[!reversed];
    if (!ts_is_tensor(a) && !ts_is_tensor(b))
        return ts_new(ts, PY_UNKNOWN);
    if (!ok || a->kind == PY_UNKNOWN || b->kind == PY_UNKNOWN)
        return ts_opaque(o, o->row->torch);
    if (!o->row->torch) /* bmm, mm, matmul */
        return ts_matmul(o);
    struct value *x = ts_value(ts, ts_is_tensor(a) ? a : b, NULL);
    struct value *y = x ? ts_value(ts, ts_is_tensor(a) ? b : a, x) : NULL;
    struct node *n = y ? ts_begin(o, o->row->torch, NULL) : NULL;
    if (!n || !node_add_input(ts->graph, n, ts_is_tensor(a) ? x : y, ts->err) ||
        !node_add_input(ts->graph, n, ts_is_tensor(a) ? y : x, ts->err))
        return NULL;
    if ((is_scalar(a, n->inputs[0]) || is_scalar(b, n->inputs[1])) &&
        !node_set_bool(ts->graph, n, "scalar_operand", true, ts->err))
        return NULL;
    if (alpha != 1 && !node_set_float(ts->graph, n, "alpha", alpha, ts->err))
        return NULL;
    const struct py_value *mode = ts_arg(o, "rounding_mode");
    if (mode && mode->kind == PY_STRING &&
        !node_set_string(ts->graph, n, "rounding_mode", mode->text, ts->err))
        return NULL;
    return ts_finish(o, n);
}

/* clamp and hardtanh, in the forms that ONNX files have too: ReLU, ReLU6, clamp. */
struct py_value *ts_clamp(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    bool hard = o->row->name[0] == 'h', ok = true;
    const char *min_name = hard ? "min_val" : "min", *max_name = hard ? "max_val" : "max";
    double lo = ts_arg_float(o, min_name, hard ? -1 : -INFINITY, &ok);
    double hi = ts_arg_float(o, max_name, hard ? 1 : INFINITY, &ok);
    if (!ok)
        return ts_opaque(o, "torch.clamp");
    const char *op = lo == 0 && hi == 6          ? "torch.nn.ReLU6"
                     : lo == 0 && !(hi < 3.4e38) ? "torch.nn.ReLU"
                                                 : "torch.clamp";
    struct node *n = ts_begin_unary(o, op, "self");
    if (!n)
        return NULL;
    if (strcmp(op, "torch.clamp") == 0 &&
        (!(lo > -3.4e38 ? node_set_float(g, n, "min", lo, err) : node_set_none(g, n, "min", err)) ||
         !(hi < 3.4e38 ? node_set_float(g, n, "max", hi, err) : node_set_none(g, n, "max", err))))
        return NULL;
    return ts_finish(o, n);
}

/* x / 6 + 1/2, cut to 0..1. */
static struct value *hard_sigmoid(struct ts_op *o, const char *suffix, struct value *x)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    struct node *n = ts_begin(o, "torch.nn.HardSigmoid", suffix);
    return n && node_add_input(g, n, x, err) &&
                   node_set_float(g, n, "alpha", (double)(1 / 6.f), err) &&
                   node_set_float(g, n, "beta", .5, err)
               ? ts_finish_value(o, n)
               : NULL;
}

/* hardsigmoid, and hardswish as its product with x, as ONNX files have it. */
struct py_value *ts_hard(struct ts_op *o)
{
    bool swish = strcmp(o->row->name, "hardswish") == 0;
    struct py_value *v = ts_arg(o, "self");
    struct value *x = v ? ts_value(o->ts, v, NULL) : NULL;
    struct value *y = x ? hard_sigmoid(o, swish ? "hardsigmoid" : NULL, x) : NULL;
    return ts_tensor(o->ts, y && swish ? ts_node2(o, "torch.mul", NULL, x, y) : y);
}

struct py_value *ts_gelu(struct ts_op *o)
{
    const struct py_value *a = ts_arg(o, "approximate");
    struct node *n = ts_begin_unary(o, "torch.nn.GELU", "self");
    return n && node_set_string(o->ts->graph, n, "approximate",
                                a && a->kind == PY_STRING ? a->text : "none", o->ts->err)
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_softmax(struct ts_op *o)
{
    bool ok = true;
    int64_t dim = ts_arg_int(o, "dim", -1, &ok);
    if (!ok)
        return ts_opaque(o, o->row->torch);
    struct node *n = ts_begin_unary(o, o->row->torch, "self");
    return n && node_set_int(o->ts->graph, n, "dim", dim, o->ts->err) ? ts_finish(o, n) : NULL;
}

struct py_value *ts_prelu(struct ts_op *o)
{
    struct node *n = ts_begin_unary(o, "torch.nn.PReLU", "self");
    struct py_value *w = ts_arg(o, "weight");
    if (!n || !w || !ts_param(o, n, "weight", w))
        return NULL;
    int64_t count = shape_elements(&node_param(n, "weight")->shape);
    return count < 0 || node_set_int(o->ts->graph, n, "num_parameters", count, o->ts->err)
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_einsum(struct ts_op *o)
{
    const struct py_value *e = ts_arg(o, "equation"), *list = ts_arg(o, "tensors");
    if (!e || e->kind != PY_STRING || !list || list->kind != PY_LIST)
        return ts_op_bad(o, "an equation and a list of tensors are needed");
    struct node *n = ts_begin(o, "torch.einsum", NULL);
    for (size_t i = 0; n && i < list->count; i++)
        if (!ts_operand(o, n, list->items[i]))
            return NULL;
    return n && node_set_string(o->ts->graph, n, "equation", e->text, o->ts->err) ? ts_finish(o, n)
                                                                                  : NULL;
}

struct py_value *ts_grid_sample(struct ts_op *o)
{
    static const char *const modes[] = {"bilinear", "nearest", "bicubic"};
    static const char *const paddings[] = {"zeros", "border", "reflection"};
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    bool ok = true;
    int64_t mode = ts_arg_int(o, "interpolation_mode", 0, &ok);
    int64_t padding = ts_arg_int(o, "padding_mode", 0, &ok);
    bool corners = ts_arg_bool(o, "align_corners", false, &ok);
    struct py_value *grid = ts_arg(o, "grid");
    if (!ok || !grid || mode < 0 || mode > 2 || padding < 0 || padding > 2)
        return ts_opaque(o, "torch.nn.functional.grid_sample");
    struct node *n = ts_begin_unary(o, "torch.nn.functional.grid_sample", "input");
    return n && ts_operand(o, n, grid) && node_set_string(g, n, "mode", modes[mode], err) &&
                   node_set_string(g, n, "padding_mode", paddings[padding], err) &&
                   node_set_bool(g, n, "align_corners", corners, err)
               ? ts_finish(o, n)
               : NULL;
}

/* ── reductions ── */

/* mean(x), mean(x, dims, keepdim); the overload without dims has a dtype or a flag in their place.
 */
struct py_value *ts_mean(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    int64_t dims[LIST_MAX];
    int count = -1;
    bool ok = true;
    const struct py_value *list = ts_arg(o, "dim");
    bool single = list && list->kind == PY_INT && strcmp(o->row->name, "prod") == 0;
    bool given = list && (list->kind == PY_LIST || list->kind == PY_TUPLE || single);
    if (given && !ts_arg_ints(o, "dim", dims, LIST_MAX, &count))
        return ts_opaque(o, o->row->torch);
    bool keep = given && ts_arg_bool(o, "keepdim", false, &ok);
    int64_t correction = ts_arg_int(o, "correction", 1, &ok);
    bool unbiased = ts_arg_bool(o, "unbiased", correction != 0, &ok);
    if (!ok || correction < 0 || correction > 1)
        return ts_opaque(o, o->row->torch);
    struct node *n = ts_begin_unary(o, o->row->torch, "self");
    return n &&
                   (count > 0 ? node_set_ints(g, n, "dim", dims, count, err)
                              : node_set_none(g, n, "dim", err)) &&
                   node_set_bool(g, n, "keepdim", keep, err) &&
                   (unbiased || node_set_bool(g, n, "unbiased", false, err))
               ? ts_finish(o, n)
               : NULL;
}

/* max(x), max(x, dim, keepdim) → values, indices, max(x, y). */
struct py_value *ts_max_min(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    bool ok = true, max = o->row->name[1] == 'a';
    struct py_value *second = ts_arg(o, "dim");
    if (second && ts_is_tensor(second)) {
        struct value *x = ts_value(o->ts, o->args[0], NULL),
                     *y = x ? ts_value(o->ts, second, x) : NULL;
        return ts_tensor(o->ts, y ? ts_node2(o, max ? "torch.maximum" : "torch.minimum", NULL, x, y)
                                  : NULL);
    }
    struct node *n;
    if (!second) {
        n = ts_begin_unary(o, o->row->torch, "self");
        return n && node_set_none(g, n, "dim", err) ? ts_finish(o, n) : NULL;
    }
    int64_t dim = ts_arg_int(o, "dim", 0, &ok);
    bool keep = ts_arg_bool(o, "keepdim", false, &ok);
    if (!ok)
        return ts_opaque(o, o->row->torch);
    n = ts_begin_unary(o, o->row->torch, "self");
    return n && node_set_int(g, n, "dim", dim, err) && node_set_bool(g, n, "keepdim", keep, err)
               ? ts_finish_many(o, n, 2, PY_TUPLE)
               : NULL;
}

struct py_value *ts_arg_max(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    bool ok = true, given = ts_arg(o, "dim") != NULL;
    int64_t dim = ts_arg_int(o, "dim", 0, &ok);
    bool keep = ts_arg_bool(o, "keepdim", false, &ok);
    if (!ok)
        return ts_opaque(o, o->row->torch);
    struct node *n = ts_begin_unary(o, o->row->torch, "self");
    return n && (given ? node_set_int(g, n, "dim", dim, err) : node_set_none(g, n, "dim", err)) &&
                   node_set_bool(g, n, "keepdim", keep, err)
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_topk(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    bool ok = true;
    int64_t k = ts_arg_int(o, "k", 1, &ok), dim = ts_arg_int(o, "dim", -1, &ok);
    bool largest = ts_arg_bool(o, "largest", true, &ok),
         sorted = ts_arg_bool(o, "sorted", true, &ok);
    if (!ok)
        return ts_opaque(o, "torch.topk");
    struct node *n = ts_begin_unary(o, "torch.topk", "self");
    return n && node_set_int(g, n, "k", k, err) && node_set_int(g, n, "dim", dim, err) &&
                   node_set_bool(g, n, "largest", largest, err) &&
                   node_set_bool(g, n, "sorted", sorted, err)
               ? ts_finish_many(o, n, 2, PY_TUPLE)
               : NULL;
}

/* ── types, sizes, constants ── */

struct py_value *ts_pass(struct ts_op *o)
{
    return o->count && o->args[0] ? o->args[0] : ts_op_bad(o, "an argument is missing");
}

static struct py_value *cast(struct ts_op *o, enum dtype to)
{
    struct py_value *v = ts_arg(o, "self");
    if (v && !ts_is_tensor(v)) /* a number: its type is Python's */
        return v;
    if (to == DT_UNKNOWN)
        return v ? v : ts_op_bad(o, "the operand \"self\" is missing");
    struct node *n = ts_begin_unary(o, "torch.Tensor.to", "self");
    return n && node_set_string(o->ts->graph, n, "dtype", dtype_name(to), o->ts->err)
               ? ts_finish(o, n)
               : NULL;
}

/* x.to(dtype, …), x.to(device, dtype, …), x.to(other), x.type_as(other). */
struct py_value *ts_to(struct ts_op *o)
{
    for (size_t i = 1; i < o->count; i++) {
        const struct py_value *v = o->args[i];
        if (!v)
            continue;
        if (ts_is_tensor(v))
            return cast(o, v->kind == PY_TENSOR ? v->tensor->dtype : v->value->dtype);
        if (v->kind == PY_INT)
            return cast(o, ts_dtype(v->i));
        if (v->kind == PY_BOOL)
            break;
    }
    return cast(o, DT_UNKNOWN);
}

/* size(x), size(x, dim), len, numel: numbers, since shapes are known. */
struct py_value *ts_size(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    struct py_value *v = ts_arg(o, "self"), *list;
    bool ok = true, len = o->row->name[0] == 'l';
    if (len && v && !ts_is_tensor(v) && v->kind != PY_UNKNOWN)
        return ts_int(ts, (int64_t)(v->kind == PY_DICT ? v->count / 2 : v->count));
    if (v && v->kind == PY_UNKNOWN)
        return v;
    if (!v || !ts_is_tensor(v))
        return ts_op_bad(o, "a tensor is needed");
    struct value *x = ts_value(ts, v, NULL);
    if (!x || x->shape.rank < 0)
        return x ? ts_new(ts, PY_UNKNOWN) : NULL;
    if (o->row->name[0] == 'n') {
        int64_t count = shape_elements(&x->shape);
        return count < 0 ? ts_new(ts, PY_UNKNOWN) : ts_int(ts, count);
    }
    int64_t dim = len ? 0 : ts_arg_int(o, "dim", 0, &ok);
    if (!ok || (!ts_arg(o, "dim") && !len)) {
        list = ts_new(ts, PY_LIST);
        for (int i = 0; list && i < x->shape.rank; i++)
            if (!ts_append(ts, list,
                           x->shape.dim[i] < 0 ? ts_new(ts, PY_UNKNOWN)
                                               : ts_int(ts, x->shape.dim[i])))
                return NULL;
        return list;
    }
    if (dim < 0)
        dim += x->shape.rank;
    if (dim < 0 || dim >= x->shape.rank)
        return ts_op_bad(o, "axis %lld of a tensor of %d dimensions is asked for", (long long)dim,
                         x->shape.rank);
    return x->shape.dim[dim] < 0 ? ts_new(ts, PY_UNKNOWN) : ts_int(ts, x->shape.dim[dim]);
}

static struct py_value *filled(struct ts_op *o, const int64_t *size, int rank, double value,
                               enum dtype dtype)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    struct node *n = ts_begin(o, "torch.full", NULL);
    return n && node_set_ints(g, n, "size", size, rank, err) &&
                   node_set_float(g, n, "fill_value", value, err) &&
                   node_set_string(g, n, "dtype", dtype_name(dtype), err)
               ? ts_finish(o, n)
               : NULL;
}

/* zeros, ones, full and their new_ forms. */
struct py_value *ts_create(struct ts_op *o)
{
    int64_t size[SHAPE_MAX_RANK];
    int count;
    bool ok = true;
    double value = strstr(o->row->name, "ones") ? 1 : ts_arg_float(o, "fill_value", 0, &ok);
    enum dtype dtype = ts_dtype(ts_arg_int(o, "dtype", -1, &ok));
    if (!ts_arg_ints(o, "size", size, SHAPE_MAX_RANK, &count) || count < 0 || !ok)
        return ts_opaque(o, "torch.full");
    const struct py_value *like = ts_arg(o, "self"), *fill = ts_arg(o, "fill_value");
    if (dtype == DT_UNKNOWN && like && like->kind == PY_VALUE)
        dtype = like->value->dtype;
    if (dtype == DT_UNKNOWN)
        dtype = fill && fill->kind == PY_INT ? DT_INT64 : DT_FLOAT32;
    return filled(o, size, count, value, dtype);
}

struct py_value *ts_create_like(struct ts_op *o)
{
    bool ok = true;
    double value = strstr(o->row->name, "ones") ? 1 : ts_arg_float(o, "fill_value", 0, &ok);
    enum dtype dtype = ts_dtype(ts_arg_int(o, "dtype", -1, &ok));
    struct py_value *like = ts_arg(o, "self");
    struct value *x = like ? ts_value(o->ts, like, NULL) : NULL;
    if (!x || !ok || !shape_is_static(&x->shape))
        return ts_opaque(o, "torch.full_like");
    return filled(o, x->shape.dim, x->shape.rank, value, dtype == DT_UNKNOWN ? x->dtype : dtype);
}

/* arange(end), arange(start, end), arange(start, end, step); options come by keyword. */
struct py_value *ts_arange(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    double bound[3] = {0, 0, 1};
    bool whole = true;
    size_t n = 0;
    for (; n < 3 && n < o->count && o->args[n] && o->args[n]->kind != PY_NONE; n++) {
        if (!ts_number(o->args[n], &bound[n]))
            return ts_opaque(o, "torch.arange");
        whole = whole && o->args[n]->kind == PY_INT;
    }
    if (n == 1) {
        bound[1] = bound[0];
        bound[0] = 0;
    }
    bool ok = true;
    enum dtype dtype = ts_dtype(ts_arg_int(o, "dtype", -1, &ok));
    if (ok && (dtype == DT_INT64 || dtype == DT_FLOAT32))
        whole = dtype == DT_INT64;
    double count = bound[2] != 0 ? ceil((bound[1] - bound[0]) / bound[2]) : -1;
    if (!(count >= 0 && count <= 1 << 22))
        return ts_op_bad(o, "a range from %g to %g by %g", bound[0], bound[1], bound[2]);
    unsigned char *data = arena_alloc_array(ts->arena, (size_t)count, 8, ts->err);
    if (!data)
        return NULL;
    for (size_t i = 0; i < (size_t)count; i++) {
        double r = bound[0] + (double)i * bound[2];
        int64_t k = (int64_t)r;
        float f = (float)r;
        if (whole)
            memcpy(data + 8 * i, &k, 8);
        else
            memcpy(data + 4 * i, &f, 4);
    }
    int64_t dim = (int64_t)count;
    struct shape shape = shape_of(1, &dim);
    return ts_tensor(ts,
                     graph_add_constant(ts->graph, "arange", &shape, whole ? DT_INT64 : DT_FLOAT32,
                                        data, (size_t)count * (whole ? 8 : 4), ts->err));
}

/* As ONNX writes it: where(mask, value, x). */
struct py_value *ts_masked_fill(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    struct py_value *x = ts_arg(o, "self"), *mask = ts_arg(o, "mask"), *value = ts_arg(o, "value");
    if (!x || !mask || !value)
        return ts_op_bad(o, "a tensor, a mask and a value are needed");
    struct value *a = ts_value(ts, x, NULL), *m = a ? ts_value(ts, mask, NULL) : NULL;
    struct value *b = m ? ts_value(ts, value, a) : NULL;
    struct node *n = b ? ts_begin(o, "torch.where", NULL) : NULL;
    return n && node_add_input(ts->graph, n, m, ts->err) &&
                   node_add_input(ts->graph, n, b, ts->err) &&
                   node_add_input(ts->graph, n, a, ts->err)
               ? ts_finish(o, n)
               : NULL;
}
