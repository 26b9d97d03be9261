/* Adapters: arithmetic, activations, reductions, constants and what is left. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/import/onnx_qparam.h"
#include "core/ops/op.h"

enum { LIST_MAX = 4 * SHAPE_MAX_RANK };

static struct node *begin_all(struct onnx_node *o, const char *op_name)
{
    struct node *n = onnx_begin(o, op_name, NULL);
    for (int i = 0; n && i < o->in_count; i++)
        if (!onnx_operand(o, n, o->in[i]))
            return NULL;
    return n;
}

static struct node *begin_first(struct onnx_node *o, const char *op_name)
{
    struct node *n = onnx_begin(o, op_name, NULL);
    return n && onnx_operand(o, n, onnx_in(o, 0)) ? n : NULL;
}

/* x * 0.5 in Python arrives as a constant without dimensions. */
static bool mark_scalar(struct onnx_node *o, struct node *n)
{
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i] && n->inputs[i]->constant && n->inputs[i]->shape.rank == 0)
            return node_set_bool(o->im->graph, n, "scalar_operand", true, o->im->err);
    return true;
}

bool onnx_binary(struct onnx_node *o)
{
    struct node *n = begin_all(o, onnx_row_find(o->proto->op_type)->torch);
    return n && mark_scalar(o, n) && onnx_finish(o, n);
}

bool onnx_mod(struct onnx_node *o)
{
    struct node *n = begin_all(o, onnx_int(o, "fmod", 0) ? "torch.fmod" : "torch.remainder");
    return n && mark_scalar(o, n) && onnx_finish(o, n);
}

bool onnx_bit_shift(struct onnx_node *o)
{
    bool left = strcmp(onnx_string(o, "direction", ""), "LEFT") == 0;
    struct node *n =
        begin_all(o, left ? "torch.bitwise_left_shift" : "torch.bitwise_right_shift");
    return n && onnx_finish(o, n);
}

/* Sum, Max, Min of one, two or many operands: a chain of two-operand nodes. */
bool onnx_variadic(struct onnx_node *o)
{
    const char *op_name = onnx_row_find(o->proto->op_type)->torch;
    if (o->in_count == 0)
        return onnx_bad(o, "%s needs an operand", o->proto->op_type);
    if (o->in_count == 1) {
        struct node *n = begin_all(o, "torch.nn.Identity");
        return n && onnx_finish(o, n);
    }
    struct value *sum = o->in[0];
    for (int i = 1; i < o->in_count; i++) {
        char suffix[24];
        bool last = i + 1 == o->in_count;
        snprintf(suffix, sizeof suffix, "%d", i);
        struct node *n = onnx_begin(o, op_name, last ? NULL : suffix);
        if (!n || !onnx_operand(o, n, sum) || !onnx_operand(o, n, o->in[i]) || !mark_scalar(o, n))
            return false;
        if (last)
            return onnx_finish(o, n);
        sum = onnx_inner(o, n);
        if (!sum || !op_apply(o->im->graph, n, o->im->err))
            return false;
    }
    return true;
}

/* Clip's bounds by attribute (opset < 11) or by input; exporters use it for ReLU6 and Hardtanh too. */
bool onnx_clip(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    double lo = onnx_float(o, "min", -INFINITY), hi = onnx_float(o, "max", INFINITY);
    struct value *min = onnx_in(o, 1), *max = onnx_in(o, 2);
    bool known = (!min || constant_real(min, 0, &lo)) && (!max || constant_real(max, 0, &hi));
    struct node *n;
    lo = onnx_real_of(o, min, lo);
    hi = onnx_real_of(o, max, hi);
    if (!known) {
        n = begin_all(o, "torch.clamp");
        return n && onnx_finish(o, n);
    }
    if (lo == 0 && hi == 6) {
        n = begin_first(o, "torch.nn.ReLU6");
        return n && onnx_finish(o, n);
    }
    if (lo == 0 && !(hi < 3.4e38)) {
        n = begin_first(o, "torch.nn.ReLU");
        return n && onnx_finish(o, n);
    }
    n = begin_first(o, "torch.clamp");
    return n &&
           (lo > -3.4e38 ? node_set_float(g, n, "min", lo, err) : node_set_none(g, n, "min", err)) &&
           (hi < 3.4e38 ? node_set_float(g, n, "max", hi, err) : node_set_none(g, n, "max", err)) &&
           onnx_finish(o, n);
}

/* Over integers with a zero point, 0 is not where the real numbers have it. */
bool onnx_relu(struct onnx_node *o)
{
    struct value *x = onnx_in(o, 0);
    double least = x && onnx_is_integer(o->im, x) ? onnx_real_of_integer(x, 0, 0) : 0;
    struct node *n = begin_first(o, least != 0 ? "torch.clamp" : "torch.nn.ReLU");
    if (n && least != 0 &&
        (!node_set_float(o->im->graph, n, "min", least, o->im->err) ||
         !node_set_none(o->im->graph, n, "max", o->im->err)))
        return false;
    return n && onnx_finish(o, n);
}

bool onnx_prelu(struct onnx_node *o)
{
    struct value *slope = onnx_in(o, 1);
    if (!slope)
        return onnx_bad(o, "PRelu needs a slope");
    struct node *n = begin_first(o, "torch.nn.PReLU");
    int64_t elements = shape_elements(&slope->shape);
    const struct value *x = onnx_in(o, 0);
    int64_t channels = x && x->shape.rank > 1 ? x->shape.dim[1] : 1;
    if (n && elements != 1 && elements != channels) /* ONNX lets the slope vary along any axis */
        return onnx_operand(o, n, slope) && onnx_finish(o, n);
    return n && node_add_param(o->im->graph, n, "weight", slope, o->im->err) &&
           (elements < 0 ||
            node_set_int(o->im->graph, n, "num_parameters", elements, o->im->err)) &&
           onnx_finish(o, n);
}

bool onnx_gelu(struct onnx_node *o)
{
    struct node *n = begin_first(o, "torch.nn.GELU");
    return n &&
           node_set_string(o->im->graph, n, "approximate", onnx_string(o, "approximate", "none"),
                           o->im->err) &&
           onnx_finish(o, n);
}

/* Before opset 13 the input counted as a matrix, split at `axis`. */
bool onnx_softmax(struct onnx_node *o)
{
    const char *op_name = onnx_row_find(o->proto->op_type)->torch;
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    bool matrix = o->im->opset < 13;
    struct value *x = onnx_in(o, 0);
    int64_t axis = onnx_int(o, "axis", matrix ? 1 : -1);
    if (!x)
        return onnx_bad(o, "an operand is missing");
    if (matrix && shape_is_static(&x->shape)) {
        int64_t at = axis < 0 ? axis + x->shape.rank : axis;
        int64_t behind = 1;
        for (int i = (int)at + 1; at >= 0 && i < x->shape.rank; i++)
            behind = x->shape.dim[i] == 1 ? behind : 2;
        if (behind != 1) { /* really normalizes over several axes at once */
            struct node *f = onnx_begin(o, "torch.Tensor.reshape", "matrix");
            int64_t rows = 1;
            for (int i = 0; i < at; i++)
                if (__builtin_mul_overflow(rows, x->shape.dim[i], &rows))
                    return onnx_bad(o, "the input is too large");
            int64_t two[2] = {rows, -1};
            struct value *m = f && onnx_operand(o, f, x) && node_set_ints(g, f, "shape", two, 2, err)
                                  ? onnx_inner(o, f)
                                  : NULL;
            if (!m || !op_apply(g, f, err))
                return false;
            struct node *s = onnx_begin(o, op_name, "rows");
            struct value *y = s && onnx_operand(o, s, m) && node_set_int(g, s, "dim", 1, err)
                                  ? onnx_inner(o, s)
                                  : NULL;
            if (!y || !op_apply(g, s, err))
                return false;
            struct node *n = onnx_begin(o, "torch.Tensor.reshape", NULL);
            return n && onnx_operand(o, n, y) &&
                   node_set_ints(g, n, "shape", x->shape.dim, x->shape.rank, err) &&
                   onnx_finish(o, n);
        }
    }
    struct node *n = begin_first(o, op_name);
    return n && node_set_int(g, n, "dim", axis, err) && onnx_finish(o, n);
}

bool onnx_einsum(struct onnx_node *o)
{
    struct node *n = begin_all(o, "torch.einsum");
    return n &&
           node_set_string(o->im->graph, n, "equation", onnx_string(o, "equation", ""),
                           o->im->err) &&
           onnx_finish(o, n);
}

bool onnx_dropout(struct onnx_node *o)
{
    struct node *n = begin_first(o, "torch.nn.Dropout");
    if (!n || !onnx_finish_outputs(o, n, 1))
        return false;
    if (o->proto->n_output < 2 || !o->proto->output[1][0])
        return true;
    /* The mask is all true at inference; whoever reads it reads a value of the input's shape. */
    struct node *mask = onnx_begin(o, "onnx:Dropout.mask", "mask");
    struct value *v = mask && onnx_operand(o, mask, onnx_in(o, 0)) ? onnx_output(o, mask, 1) : NULL;
    if (!v)
        return false;
    v->shape = onnx_in(o, 0) ? onnx_in(o, 0)->shape : shape_unknown();
    v->dtype = DT_BOOL;
    mask->fold = FOLD_CONSTANT;
    return true;
}

bool onnx_grid_sample(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    const char *mode = onnx_string(o, "mode", "bilinear");
    if (strcmp(mode, "linear") == 0)
        mode = "bilinear";
    else if (strcmp(mode, "cubic") == 0)
        mode = "bicubic";
    struct node *n = begin_all(o, "torch.nn.functional.grid_sample");
    return n && node_set_string(g, n, "mode", mode, err) &&
           node_set_string(g, n, "padding_mode", onnx_string(o, "padding_mode", "zeros"), err) &&
           node_set_bool(g, n, "align_corners", onnx_int(o, "align_corners", 0), err) &&
           onnx_finish(o, n);
}

/* ── reductions ── */

bool onnx_reduce(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    int64_t axes[LIST_MAX];
    int count;
    bool known;
    onnx_list(o, "axes", 1, axes, LIST_MAX, &count, &known);
    const char *op_name = onnx_row_find(o->proto->op_type)->torch;
    if (!known)
        return onnx_opaque(o, op_name);
    if (count <= 0 && onnx_int(o, "noop_with_empty_axes", 0)) {
        struct node *same = begin_first(o, "torch.nn.Identity");
        return same && onnx_finish(o, same);
    }
    struct node *n = begin_first(o, op_name);
    bool ok = n && (count > 0 ? node_set_ints(g, n, "dim", axes, count, err)
                              : node_set_none(g, n, "dim", err)) &&
              node_set_bool(g, n, "keepdim", onnx_int(o, "keepdims", 1), err);
    if (ok && strncmp(o->proto->op_type, "ReduceL", 7) == 0 && o->proto->op_type[8] == '\0')
        ok = node_set_int(g, n, "p", o->proto->op_type[7] - '0', err);
    return ok && onnx_finish(o, n);
}

bool onnx_arg(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    struct node *n = begin_first(o, onnx_row_find(o->proto->op_type)->torch);
    return n && node_set_int(g, n, "dim", onnx_int(o, "axis", 0), err) &&
           node_set_bool(g, n, "keepdim", onnx_int(o, "keepdims", 1), err) &&
           node_set_bool(g, n, "select_last_index", onnx_int(o, "select_last_index", 0), err) &&
           onnx_finish(o, n);
}

bool onnx_topk(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    int64_t k = onnx_int(o, "k", -1);
    if (onnx_in(o, 1) && !constant_int(onnx_in(o, 1), 0, &k))
        return onnx_opaque(o, "torch.topk");
    struct node *n = begin_first(o, "torch.topk");
    return n && node_set_int(g, n, "k", k, err) &&
           node_set_int(g, n, "dim", onnx_int(o, "axis", -1), err) &&
           node_set_bool(g, n, "largest", onnx_int(o, "largest", 1), err) &&
           node_set_bool(g, n, "sorted", onnx_int(o, "sorted", 1), err) && onnx_finish(o, n);
}

bool onnx_cumsum(struct onnx_node *o)
{
    int64_t axis;
    if (!onnx_in(o, 1) || !constant_int(onnx_in(o, 1), 0, &axis))
        return onnx_opaque(o, "torch.cumsum");
    struct graph *g = o->im->graph;
    struct node *n = begin_first(o, "torch.cumsum");
    return n && node_set_int(g, n, "dim", axis, o->im->err) &&
           (!onnx_int(o, "exclusive", 0) || node_set_bool(g, n, "exclusive", true, o->im->err)) &&
           (!onnx_int(o, "reverse", 0) || node_set_bool(g, n, "reverse", true, o->im->err)) &&
           onnx_finish(o, n);
}

/* ── constants and shapes ── */

bool onnx_cast(struct onnx_node *o)
{
    enum dtype to = onnx_dtype((int32_t)onnx_int(o, "to", 0));
    if (to == DT_UNKNOWN)
        return onnx_opaque(o, "torch.Tensor.to");
    struct value *x = onnx_in(o, 0);
    /* PyTorch writes Q ─ Cast to the type that it has already ─ DQ. */
    if (x && dtype_is_quantized(x->dtype) && onnx_qparam_dtype(to) == x->dtype &&
        onnx_is_integer(o->im, x)) {
        struct node *same = begin_first(o, "torch.nn.Identity");
        return same && onnx_finish(o, same);
    }
    struct node *n = begin_first(o, "torch.Tensor.to");
    return n && node_set_string(o->im->graph, n, "dtype", dtype_name(to), o->im->err) &&
           onnx_finish(o, n);
}

static struct value *constant_value(struct onnx_node *o)
{
    struct onnx_import *im = o->im;
    const char *name = o->proto->n_output ? o->proto->output[0] : NULL;
    const Onnx__AttributeProto *a;
    struct shape list = {.rank = 1}, scalar = {.rank = 0};
    if ((a = onnx_attr(o, "value")) && a->t)
        return onnx_tensor(im, a->t, name);
    if ((a = onnx_attr(o, "value_float")))
        return graph_add_constant(im->graph, name, &scalar, DT_FLOAT32, &a->f, 4, im->err);
    if ((a = onnx_attr(o, "value_int")))
        return graph_add_constant(im->graph, name, &scalar, DT_INT64, &a->i, 8, im->err);
    if ((a = onnx_attr(o, "value_floats"))) {
        list.dim[0] = (int64_t)a->n_floats;
        return graph_add_constant(im->graph, name, &list, DT_FLOAT32, a->floats, a->n_floats * 4,
                                  im->err);
    }
    if ((a = onnx_attr(o, "value_ints"))) {
        list.dim[0] = (int64_t)a->n_ints;
        return graph_add_constant(im->graph, name, &list, DT_INT64, a->ints, a->n_ints * 8,
                                  im->err);
    }
    if (onnx_attr(o, "value_string") || onnx_attr(o, "value_strings"))
        return graph_add_constant(im->graph, name, &scalar, DT_UNKNOWN, NULL, 0, im->err);
    onnx_bad(o, "Constant has no value that can be read (a sparse one cannot)");
    return NULL;
}

bool onnx_constant(struct onnx_node *o)
{
    struct onnx_import *im = o->im;
    if (o->proto->n_output != 1 || name_table_find(im->values, o->proto->output[0]))
        return onnx_bad(o, "Constant needs one output of its own");
    struct node *n = onnx_begin(o, "onnx:Constant", NULL);
    struct value *c = n ? constant_value(o) : NULL;
    if (!c)
        return false;
    /* The value is the node's output rather than a loose constant, so that the drawing knows its origin. */
    n->outputs = ARENA_ARRAY(im->arena, struct value *, 4, im->err);
    if (!n->outputs)
        return false;
    n->outputs[n->output_count++] = c;
    c->producer = n;
    n->fold = FOLD_CONSTANT;
    return name_table_put(im->values, o->proto->output[0], c, im->err);
}

bool onnx_constant_of_shape(struct onnx_node *o)
{
    struct onnx_import *im = o->im;
    const Onnx__AttributeProto *a = onnx_attr(o, "value");
    double fill = 0;
    enum dtype dtype = DT_FLOAT32;
    if (a && a->t) {
        struct value *v = onnx_tensor(im, a->t, "fill");
        if (!v)
            return false;
        dtype = v->dtype;
        if (!constant_real(v, 0, &fill))
            return onnx_bad(o, "ConstantOfShape has no value that can be read");
    }
    struct node *n = begin_first(o, "torch.full");
    return n && node_set_float(im->graph, n, "fill_value", fill, im->err) &&
           node_set_string(im->graph, n, "dtype", dtype_name(dtype), im->err) && onnx_finish(o, n);
}

bool onnx_eye_like(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct node *n = begin_first(o, "torch.eye_like");
    enum dtype dtype = onnx_dtype((int32_t)onnx_int(o, "dtype", 0));
    return n && node_set_int(g, n, "k", onnx_int(o, "k", 0), o->im->err) &&
           (dtype == DT_UNKNOWN ||
            node_set_string(g, n, "dtype", dtype_name(dtype), o->im->err)) &&
           onnx_finish(o, n);
}

bool onnx_shape(struct onnx_node *o)
{
    struct node *n = begin_first(o, "torch.Tensor.size");
    const Onnx__AttributeProto *end = onnx_attr(o, "end");
    return n &&
           node_set_int(o->im->graph, n, "start", onnx_int(o, "start", 0), o->im->err) &&
           (!end || node_set_int(o->im->graph, n, "end", end->i, o->im->err)) && onnx_finish(o, n);
}

bool onnx_range(struct onnx_node *o)
{
    struct node *n = begin_all(o, "torch.arange");
    return n && onnx_finish(o, n);
}

bool onnx_one_hot(struct onnx_node *o)
{
    int64_t depth;
    if (!onnx_in(o, 1) || !constant_int(onnx_in(o, 1), 0, &depth))
        return onnx_opaque(o, "torch.one_hot");
    struct node *n = begin_all(o, "torch.one_hot");
    return n && node_set_int(o->im->graph, n, "num_classes", depth, o->im->err) &&
           node_set_int(o->im->graph, n, "dim", onnx_int(o, "axis", -1), o->im->err) &&
           onnx_finish(o, n);
}

bool onnx_trilu(struct onnx_node *o)
{
    int64_t k = 0;
    if (onnx_in(o, 1) && !constant_int(onnx_in(o, 1), 0, &k))
        return onnx_opaque(o, "torch.triu");
    struct node *n = begin_first(o, onnx_int(o, "upper", 1) ? "torch.triu" : "torch.tril");
    return n && node_set_int(o->im->graph, n, "diagonal", k, o->im->err) && onnx_finish(o, n);
}

/* ── detection and recurrence ── */

bool onnx_roi_align(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    int64_t size[2] = {onnx_int(o, "output_height", 1), onnx_int(o, "output_width", 1)};
    const char *coordinates = onnx_string(o, "coordinate_transformation_mode",
                                          o->im->opset < 16 ? "output_half_pixel" : "half_pixel");
    struct node *n = begin_all(o, "torchvision.ops.RoIAlign");
    return n && node_set_ints(g, n, "output_size", size, 2, err) &&
           node_set_float(g, n, "spatial_scale", onnx_float(o, "spatial_scale", 1), err) &&
           node_set_int(g, n, "sampling_ratio", onnx_int(o, "sampling_ratio", 0), err) &&
           node_set_string(g, n, "mode", onnx_string(o, "mode", "avg"), err) &&
           node_set_bool(g, n, "aligned", strcmp(coordinates, "half_pixel") == 0, err) &&
           onnx_finish(o, n);
}

/* The activations that every direction uses: PyTorch's, or "relu" of a plain RNN, or what nobody runs. */
static bool recurrent_activations(struct onnx_node *o, struct node *n)
{
    static const char *const lstm[] = {"Sigmoid", "Tanh", "Tanh"}, *const rnn[] = {"Tanh"},
                             *const relu[] = {"Relu"};
    const Onnx__AttributeProto *a = onnx_attr(o, "activations");
    size_t each = o->proto->op_type[0] == 'L' ? 3 : o->proto->op_type[0] == 'G' ? 2 : 1;
    const char *const *want = each == 1 ? rnn : lstm;
    bool usual = !onnx_int(o, "input_forget", 0), all_relu = each == 1 && a && a->n_strings > 0;
    for (size_t i = 0; a && i < a->n_strings; i++) {
        const ProtobufCBinaryData *s = &a->strings[i];
        const char *name = want[i % each];
        usual &= s->len == strlen(name) && memcmp(s->data, name, s->len) == 0;
        all_relu &= s->len == strlen(relu[0]) && memcmp(s->data, relu[0], s->len) == 0;
    }
    if (all_relu)
        return node_set_string(o->im->graph, n, "nonlinearity", "relu", o->im->err);
    return usual || node_set_string(o->im->graph, n, "activations", "other than PyTorch's",
                                    o->im->err);
}

/* ONNX lays out [steps, directions, batch, hidden], unlike PyTorch; the operator table knows that of its origin. */
bool onnx_recurrent(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    /* Operands from 5 on are states: operands here too. */
    static const char *const params[] = {NULL,   "weight_ih",      "weight_hh", "bias",
                                         "sequence_lens", NULL, NULL,        "peephole"};
    const struct value *x = onnx_in(o, 0);
    const char *direction = onnx_string(o, "direction", "forward");
    bool both = strcmp(direction, "bidirectional") == 0, reverse = strcmp(direction, "reverse") == 0;
    struct node *n = begin_first(o, onnx_row_find(o->proto->op_type)->torch);
    bool ok = n && (!(onnx_in(o, 5) || onnx_in(o, 6)) || onnx_operand(o, n, onnx_in(o, 5))) &&
              (!onnx_in(o, 6) || onnx_operand(o, n, onnx_in(o, 6))) &&
              recurrent_activations(o, n) &&
              (!reverse || node_set_bool(g, n, "reverse", true, err)) &&
              (!onnx_attr(o, "clip") || node_set_float(g, n, "clip", onnx_float(o, "clip", 0), err)) &&
              (!onnx_int(o, "linear_before_reset", 0) ||
               node_set_bool(g, n, "linear_before_reset", true, err)) &&
              node_set_int(g, n, "hidden_size", onnx_int(o, "hidden_size", 0), err) &&
              node_set_bool(g, n, "bidirectional", both, err) &&
              node_set_bool(g, n, "batch_first", onnx_int(o, "layout", 0), err);
    if (ok && x && x->shape.rank == 3)
        ok = node_set_int(g, n, "input_size", x->shape.dim[2], err);
    for (int i = 1; ok && i < 8; i++)
        ok = !params[i] || !onnx_in(o, i) || node_add_param(g, n, params[i], o->in[i], err);
    return ok && onnx_finish(o, n);
}
