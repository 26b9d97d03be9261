/* Adapters: operators that cut, join and index.
 *
 * The forms are those that the same network has as an ONNX file: chunk is slices, roll is two
 * slices and a cat. */
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/torchscript.h"
#include "core/ops/op.h"

enum { MAX_PARTS = 1024 };

/* The same part of the same tensor, asked for twice, is one node: PyTorch's ONNX export merges them
 * too. */
static struct value *part(struct ts_op *o, const char *suffix, struct value *x, bool select,
                          const int64_t range[4])
{
    struct ts_import *ts = o->ts;
    struct graph *g = ts->graph;
    struct bpu_error *err = ts->err;
    const char *key = arena_printf(ts->arena, err, "%d %d %lld %lld %lld %lld", x->index, select,
                                   (long long)range[0], (long long)range[1], (long long)range[2],
                                   (long long)range[3]);
    struct value *known = key ? name_table_find(ts->parts, key) : NULL;
    if (known || !key)
        return known;
    struct node *n = ts_begin_on(o, "torch.Tensor.__getitem__", suffix, x);
    bool ok = n && (select ? node_set_ints(g, n, "select_axes", &range[0], 1, err) &&
                                 node_set_ints(g, n, "select_indices", &range[1], 1, err)
                           : node_set_ints(g, n, "starts", &range[1], 1, err) &&
                                 node_set_ints(g, n, "ends", &range[2], 1, err) &&
                                 node_set_ints(g, n, "axes", &range[0], 1, err) &&
                                 node_set_ints(g, n, "steps", &range[3], 1, err));
    struct value *v = ok ? ts_finish_value(o, n) : NULL;
    return v && name_table_put(ts->parts, key, v, err) ? v : NULL;
}

static struct value *sliced(struct ts_op *o, const char *suffix, struct value *x, int64_t axis,
                            int64_t start, int64_t end, int64_t step)
{
    return part(o, suffix, x, false, (const int64_t[4]){axis, start, end, step});
}

static struct py_value *selected(struct ts_op *o, struct value *x, int64_t axis, int64_t index)
{
    return ts_tensor(o->ts, part(o, NULL, x, true, (const int64_t[4]){axis, index, 0, 0}));
}

struct py_value *ts_select(struct ts_op *o)
{
    bool ok = true;
    int64_t axis = ts_arg_int(o, "dim", 0, &ok), index = ts_arg_int(o, "index", 0, &ok);
    struct py_value *self = ts_arg(o, "self");
    struct value *x = ts_operand_of(o, "self");
    if (!x || !ok)
        return x ? ts_opaque(o, "torch.Tensor.__getitem__") : NULL;
    struct py_value *v = selected(o, x, axis, index);
    struct py_view view;
    if (!v || !ts_view_of(self, &view) || !ts_axis(o, x, &axis))
        return v;
    view.offset += (index < 0 ? index + x->shape.dim[axis] : index) * view.stride[axis];
    for (int i = (int)axis; i + 1 < x->shape.rank; i++)
        view.stride[i] = view.stride[i + 1];
    return ts_note_view(o->ts, self, v, view.offset, view.stride) ? v : NULL;
}

/* slice(x, dim, start, end, step), slice(list, start, end), narrow(x, dim, start, length). */
struct py_value *ts_slice(struct ts_op *o)
{
    bool ok = true, narrow = o->row->name[0] == 'n';
    struct py_value *self = ts_arg(o, "self");
    int64_t axis = ts_arg_int(o, "dim", 0, &ok), start = ts_arg_int(o, "start", 0, &ok);
    int64_t end = ts_arg_int(o, narrow ? "length" : "end", INT64_MAX, &ok);
    int64_t step = ts_arg_int(o, "step", 1, &ok);
    if (self && self->kind == PY_LIST) { /* the positions of dim, start, end are start, end, step */
        int64_t n = (int64_t)self->count, from = axis, to = ts_arg(o, "start") ? start : n;
        struct py_value *list = ts_new(o->ts, PY_LIST);
        from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
        to = to < 0 ? to + n : to > n ? n : to;
        for (int64_t i = from; list && ok && i < to; i++)
            if (!ts_append(o->ts, list, self->items[i]))
                return NULL;
        return list;
    }
    struct value *x = ts_operand_of(o, "self");
    if (!x || !ok)
        return x ? ts_opaque(o, "torch.Tensor.__getitem__") : NULL;
    if (narrow && !checked_add(start, end, &end))
        return ts_op_bad(o, "the length is absurd");
    struct py_value *v = ts_tensor(o->ts, sliced(o, NULL, x, axis, start, end, step));
    struct py_view view;
    /* x[:] of an axis, of which traces are full and which ONNX files do not have. */
    if (v && start == 0 && end == INT64_MAX && step == 1 && v->value->producer->fold == FOLD_NONE)
        v->value->producer->fold = FOLD_IDENTITY;
    if (!v || !ts_view_of(self, &view) || !ts_axis(o, x, &axis) || step < 1)
        return v;
    int64_t extent = x->shape.dim[axis];
    start = start < 0 ? (start + extent < 0 ? 0 : start + extent) : start > extent ? extent : start;
    view.offset += start * view.stride[axis];
    view.stride[axis] *= step;
    return ts_note_view(o->ts, self, v, view.offset, view.stride) ? v : NULL;
}

/* split by one size or by sizes: always as sizes. */
struct py_value *ts_split(struct ts_op *o)
{
    static const char op[] = "torch.split";
    int64_t parts[MAX_PARTS];
    int count = 0;
    bool ok = true;
    const char *what = strcmp(o->row->name, "split_with_sizes") == 0 ? "split_sizes" : "split_size";
    int64_t axis = ts_arg_int(o, "dim", 0, &ok);
    const struct py_value *how = ts_arg(o, what);
    struct value *x = ts_operand_of(o, "self");
    if (!x)
        return NULL;
    if (!ok || !how || !ts_arg_ints(o, what, parts, MAX_PARTS, &count) ||
        !shape_is_static(&x->shape))
        return ts_opaque(o, op);
    if (!ts_axis(o, x, &axis))
        return NULL;
    if (how->kind != PY_LIST) {
        int64_t rest = x->shape.rank > 0 ? x->shape.dim[axis] : 1, size = parts[0];
        if (size < 1)
            return ts_op_bad(o, "%s is %lld", what, (long long)size);
        for (count = 0; rest > 0 || count == 0; count++) {
            if (count == MAX_PARTS)
                return ts_op_bad(o, "there are more than %d parts", MAX_PARTS);
            parts[count] = size < rest ? size : rest;
            rest -= parts[count];
        }
    }
    struct node *n = ts_begin_on(o, op, NULL, x);
    return n &&
                   node_set_ints(o->ts->graph, n, "split_size_or_sections", parts, count,
                                 o->ts->err) &&
                   node_set_int(o->ts->graph, n, "dim", axis, o->ts->err)
               ? ts_finish_many(o, n, count, PY_LIST)
               : NULL;
}

/* Slices, which is what PyTorch's ONNX export makes of it. */
struct py_value *ts_chunk(struct ts_op *o)
{
    bool ok = true;
    int64_t chunks = ts_arg_int(o, "chunks", 1, &ok), axis = ts_arg_int(o, "dim", 0, &ok);
    struct value *x = ts_operand_of(o, "self");
    struct py_value *list = x ? ts_new(o->ts, PY_LIST) : NULL;
    if (!list || !ok || !shape_is_static(&x->shape) || x->shape.rank < 1)
        return list ? ts_opaque(o, "torch.chunk") : NULL;
    if (!ts_axis(o, x, &axis))
        return NULL;
    if (chunks < 1 || chunks > MAX_PARTS)
        return ts_op_bad(o, "%lld parts are asked for", (long long)chunks);
    int64_t extent = x->shape.dim[axis], size = extent / chunks + (extent % chunks != 0);
    for (int64_t at = 0; at < extent || at == 0; at += size) {
        struct value *v = sliced(o, NULL, x, axis, at, at + size < extent ? at + size : extent, 1);
        if (!v || !ts_append(o->ts, list, ts_tensor(o->ts, v)))
            return NULL;
        if (size == 0)
            break;
    }
    return list;
}

struct py_value *ts_unbind(struct ts_op *o)
{
    bool ok = true;
    int64_t axis = ts_arg_int(o, "dim", 0, &ok);
    struct value *x = ts_operand_of(o, "self");
    struct py_value *list = x ? ts_new(o->ts, PY_LIST) : NULL;
    if (!list || !ok || !shape_is_static(&x->shape) || x->shape.rank < 1)
        return list ? ts_opaque(o, "aten::unbind") : NULL;
    if (!ts_axis(o, x, &axis))
        return NULL;
    if (x->shape.dim[axis] > MAX_PARTS)
        return ts_op_bad(o, "there are more than %d parts", MAX_PARTS);
    for (int64_t i = 0; i < x->shape.dim[axis]; i++)
        if (!ts_append(o->ts, list, selected(o, x, axis, i)))
            return NULL;
    return list;
}

/* ── joining ── */

struct py_value *ts_cat(struct ts_op *o)
{
    bool ok = true;
    const struct py_value *list = ts_arg(o, "tensors");
    int64_t dim = ts_arg_int(o, "dim", 0, &ok);
    if (!list || (list->kind != PY_LIST && list->kind != PY_TUPLE) || list->count == 0 || !ok)
        return ts_op_bad(o, "a list of tensors is needed");
    bool numbers = true;
    for (size_t i = 0; i < list->count; i++)
        numbers = numbers && !ts_is_tensor(list->items[i]);
    if (numbers) { /* a stack of sizes stays a list */
        struct py_value *copy = ts_new(o->ts, PY_LIST);
        for (size_t i = 0; copy && i < list->count; i++)
            if (!ts_append(o->ts, copy, list->items[i]))
                return NULL;
        return copy;
    }
    struct node *n = ts_begin(o, o->row->name[0] == 's' ? "torch.stack" : "torch.cat", NULL);
    for (size_t i = 0; n && i < list->count; i++)
        if (!ts_operand(o, n, list->items[i]))
            return NULL;
    return n && node_set_int(o->ts->graph, n, "dim", dim, o->ts->err) ? ts_finish(o, n) : NULL;
}

/* ONNX has no roll: the tail first, then the head. */
struct py_value *ts_roll(struct ts_op *o)
{
    int64_t shifts[SHAPE_MAX_RANK], dims[SHAPE_MAX_RANK];
    int count, axes;
    struct value *x = ts_operand_of(o, "self");
    if (!x)
        return NULL;
    if (!ts_arg_ints(o, "shifts", shifts, SHAPE_MAX_RANK, &count) ||
        !ts_arg_ints(o, "dims", dims, SHAPE_MAX_RANK, &axes) || axes != count || count < 1 ||
        !shape_is_static(&x->shape))
        return ts_opaque(o, "torch.roll");
    for (int i = 0; i < count; i++) {
        char suffix[24];
        if (!ts_axis(o, x, &dims[i]))
            return NULL;
        snprintf(suffix, sizeof suffix, "tail%d", i);
        struct value *tail = sliced(o, suffix, x, dims[i], -shifts[i], INT64_MAX, 1);
        snprintf(suffix, sizeof suffix, "head%d", i);
        struct value *head = tail ? sliced(o, suffix, x, dims[i], 0, -shifts[i], 1) : NULL;
        snprintf(suffix, sizeof suffix, "%d", i);
        struct node *n = head ? ts_begin(o, "torch.cat", i + 1 < count ? suffix : NULL) : NULL;
        if (!n || !node_add_input(o->ts->graph, n, tail, o->ts->err) ||
            !node_add_input(o->ts->graph, n, head, o->ts->err) ||
            !node_set_int(o->ts->graph, n, "dim", dims[i], o->ts->err) ||
            !(x = ts_finish_value(o, n)))
            return NULL;
    }
    return ts_tensor(o->ts, x);
}

/* ── indexing ── */

static struct py_value *pick(struct ts_op *o, struct value *x, struct value *index, int64_t dim)
{
    struct node *n = ts_begin_on(o, "torch.index_select", NULL, x);
    return n && node_add_input(o->ts->graph, n, index, o->ts->err) &&
                   node_set_int(o->ts->graph, n, "dim", dim, o->ts->err)
               ? ts_finish(o, n)
               : NULL;
}

/* index(x, [None, i]) with one tensor of integers; embedding(weight, indices). */
struct py_value *ts_index(struct ts_op *o)
{
    if (o->row->name[0] == 'e') {
        struct value *w = ts_operand_of(o, "weight"), *i = w ? ts_operand_of(o, "indices") : NULL;
        return i ? pick(o, w, i, 0) : NULL;
    }
    const struct py_value *list = ts_arg(o, "indices");
    struct value *x = ts_operand_of(o, "self"), *index = NULL;
    int64_t dim = 0, given = 0;
    if (!x)
        return NULL;
    for (size_t i = 0; list && list->kind == PY_LIST && i < list->count; i++)
        if (list->items[i]->kind != PY_NONE) {
            given++;
            dim = (int64_t)i;
            if (!(index = ts_value(o->ts, list->items[i], NULL)))
                return NULL;
        }
    if (given != 1 || index->dtype == DT_BOOL || index->dtype == DT_UINT8)
        return ts_opaque(o, o->name);
    return pick(o, x, index, dim);
}

struct py_value *ts_index_select(struct ts_op *o)
{
    bool ok = true;
    int64_t dim = ts_arg_int(o, "dim", 0, &ok);
    struct value *x = ts_operand_of(o, "self"), *index = x ? ts_operand_of(o, "index") : NULL;
    if (!index || !ok)
        return index ? ts_opaque(o, o->row->torch) : NULL;
    struct node *n = ts_begin_on(o, o->row->torch, NULL, x);
    return n && node_add_input(o->ts->graph, n, index, o->ts->err) &&
                   node_set_int(o->ts->graph, n, "dim", dim, o->ts->err)
               ? ts_finish(o, n)
               : NULL;
}
