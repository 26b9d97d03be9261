/* Adapters: recurrent layers and what detectors are made of. */
#include <stdio.h>
#include <string.h>

#include "core/import/torchscript.h"
#include "core/ops/op.h"

static bool is_list(const struct py_value *v)
{
    return v && (v->kind == PY_LIST || v->kind == PY_TUPLE);
}

/* The weights of all layers and directions in PyTorch's order, under the names that its modules
 * give them. */
static bool add_weights(struct ts_op *o, struct node *n, const struct py_value *list, bool biases,
                        bool both)
{
    static const char *const names[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    size_t each = biases ? 4 : 2, directions = both ? 2 : 1;
    for (size_t i = 0; i < list->count; i++) {
        size_t layer = i / each / directions;
        const char *suffix = i / each % directions ? "_reverse" : "";
        const char *name =
            arena_printf(o->ts->arena, o->ts->err, "%s_l%zu%s", names[i % each], layer, suffix);
        if (!name || !ts_param(o, n, name, list->items[i]))
            return false;
    }
    return true;
}

/* lstm(x, [h, c], weights, …), gru(x, h, weights, …), rnn_tanh and rnn_relu likewise. */
struct py_value *ts_recurrent(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    bool ok = true, lstm = o->row->name[0] == 'l';
    bool biases = ts_arg_bool(o, "has_biases", true, &ok);
    bool both = ts_arg_bool(o, "bidirectional", false, &ok);
    bool first = ts_arg_bool(o, "batch_first", false, &ok);
    int64_t layers = ts_arg_int(o, "num_layers", 1, &ok);
    struct py_value *hx = ts_arg(o, "hx"), *weights = ts_arg(o, "params");
    if (!ok || !is_list(weights) || weights->count < 2)
        return ts_opaque(o, o->row->torch);
    struct value *ih = ts_value(o->ts, weights->items[0], NULL);
    struct value *hh = ih ? ts_value(o->ts, weights->items[1], NULL) : NULL;
    if (!hh || ih->shape.rank != 2 || hh->shape.rank != 2)
        return hh ? ts_op_bad(o, "the weights are not matrices") : NULL;
    struct node *n = ts_begin_unary(o, o->row->torch, "input");
    for (size_t i = 0; n && is_list(hx) && i < hx->count; i++)
        if (!ts_operand(o, n, hx->items[i]))
            return NULL;
    if (!n || (hx && !is_list(hx) && !ts_operand(o, n, hx)) ||
        !node_set_int(g, n, "input_size", ih->shape.dim[1], err) ||
        !node_set_int(g, n, "hidden_size", hh->shape.dim[1], err) ||
        !node_set_int(g, n, "num_layers", layers, err) ||
        !node_set_bool(g, n, "bias", biases, err) ||
        !node_set_bool(g, n, "bidirectional", both, err) ||
        !node_set_bool(g, n, "batch_first", first, err) ||
        !add_weights(o, n, weights, biases, both))
        return NULL;
    if (strncmp(o->row->name, "rnn_", 4) == 0 &&
        !node_set_string(g, n, "nonlinearity", o->row->name + 4, err))
        return NULL;
    return ts_finish_many(o, n, lstm ? 3 : 2, PY_TUPLE);
}

struct py_value *ts_lstm_cell(struct ts_op *o)
{
    static const char *const params[][2] = {
        {"w_ih", "weight_ih"}, {"w_hh", "weight_hh"}, {"b_ih", "bias_ih"}, {"b_hh", "bias_hh"}};
    struct py_value *hx = ts_arg(o, "hx"), *w = ts_arg(o, "w_hh");
    struct node *n = ts_begin_unary(o, "torch.nn.LSTMCell", "input");
    for (size_t i = 0; n && is_list(hx) && i < hx->count; i++)
        if (!ts_operand(o, n, hx->items[i]))
            return NULL;
    for (size_t i = 0; n && i < sizeof params / sizeof params[0]; i++)
        if (!ts_param(o, n, params[i][1], ts_arg(o, params[i][0])))
            return NULL;
    struct value *hh = n && w ? ts_value(o->ts, w, NULL) : NULL;
    if (!hh || hh->shape.rank != 2)
        return n ? ts_op_bad(o, "the recurrent weight is not a matrix") : NULL;
    return node_set_int(o->ts->graph, n, "hidden_size", hh->shape.dim[1], o->ts->err)
               ? ts_finish_many(o, n, 2, PY_TUPLE)
               : NULL;
}

struct py_value *ts_sort(struct ts_op *o)
{
    bool ok = true;
    int64_t dim = ts_arg_int(o, "dim", -1, &ok);
    bool down = ts_arg_bool(o, "descending", false, &ok);
    if (!ok)
        return ts_opaque(o, "torch.sort");
    struct node *n = ts_begin_unary(o, "torch.sort", "self");
    return n && node_set_int(o->ts->graph, n, "dim", dim, o->ts->err) &&
                   node_set_bool(o->ts->graph, n, "descending", down, o->ts->err)
               ? ts_finish_many(o, n, 2, PY_TUPLE)
               : NULL;
}

struct py_value *ts_roi_align(struct ts_op *o)
{
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    bool ok = true;
    int64_t size[2] = {ts_arg_int(o, "pooled_height", 1, &ok),
                       ts_arg_int(o, "pooled_width", 1, &ok)};
    int64_t ratio = ts_arg_int(o, "sampling_ratio", -1, &ok);
    double scale = ts_arg_float(o, "spatial_scale", 1, &ok);
    bool aligned = ts_arg_bool(o, "aligned", false, &ok);
    struct py_value *rois = ts_arg(o, "rois");
    if (!ok || !rois)
        return ts_opaque(o, "torchvision.ops.RoIAlign");
    struct node *n = ts_begin_unary(o, "torchvision.ops.RoIAlign", "input");
    return n && ts_operand(o, n, rois) && node_set_ints(g, n, "output_size", size, 2, err) &&
                   node_set_float(g, n, "spatial_scale", scale, err) &&
                   node_set_int(g, n, "sampling_ratio", ratio, err) &&
                   node_set_bool(g, n, "aligned", aligned, err)
               ? ts_finish(o, n)
               : NULL;
}
