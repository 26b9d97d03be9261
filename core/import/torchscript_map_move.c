/* Adapters: operators that reshape, reorder, pad and resize.
 *
 * The forms are those that the same network has as an ONNX file: a permutation of two axes is a
 * transpose. */
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/torchscript.h"
#include "core/ops/op.h"

enum { LIST_MAX = 4 * SHAPE_MAX_RANK, MAX_PARTS = 1024 };

/* ── shapes ── */

/* view(x, shape), view(x, dtype), reshape_as, unflatten(x, dim, sizes). */
struct py_value *ts_view(struct ts_op *o)
{
    int64_t shape[SHAPE_MAX_RANK], sizes[SHAPE_MAX_RANK];
    int count = 0, parts;
    bool ok = true;
    struct value *x = ts_operand_of(o, "self");
    if (!x)
        return NULL;
    if (strcmp(o->row->name, "reshape_as") == 0) {
        struct value *like = ts_operand_of(o, "other");
        if (!like || !shape_is_static(&like->shape))
            return like ? ts_opaque(o, "torch.Tensor.reshape") : NULL;
        count = like->shape.rank;
        memcpy(shape, like->shape.dim, sizeof shape);
    } else if (strcmp(o->row->name, "unflatten") == 0) {
        int64_t dim = ts_arg_int(o, "dim", 0, &ok);
        if (!ok || !shape_is_static(&x->shape) ||
            !ts_arg_ints(o, "sizes", sizes, SHAPE_MAX_RANK, &parts) || parts < 1)
            return ts_opaque(o, "torch.Tensor.reshape");
        if (!ts_axis(o, x, &dim))
            return NULL;
        if (x->shape.rank - 1 + parts > SHAPE_MAX_RANK)
            return ts_op_bad(o, "the result has more than %d dimensions", SHAPE_MAX_RANK);
        for (int i = 0; i < x->shape.rank; i++)
            for (int k = 0; k < (i == dim ? parts : 1); k++)
                shape[count++] = i == dim ? sizes[k] : x->shape.dim[i];
    } else if (!ts_arg_ints(o, "shape", shape, SHAPE_MAX_RANK, &count) || count < 0 ||
               ts_arg(o, "shape")->kind == PY_INT)
        return ts_opaque(o, "torch.Tensor.reshape");
    struct node *n = ts_begin_on(o, "torch.Tensor.reshape", NULL, x);
    return n && node_set_ints(o->ts->graph, n, "shape", shape, count, o->ts->err) ? ts_finish(o, n)
                                                                                  : NULL;
}

struct py_value *ts_flatten(struct ts_op *o)
{
    bool ok = true;
    int64_t start = ts_arg_int(o, "start_dim", 0, &ok), end = ts_arg_int(o, "end_dim", -1, &ok);
    struct node *n = ok ? ts_begin_unary(o, "torch.flatten", "self") : NULL;
    return n && node_set_int(o->ts->graph, n, "start_dim", start, o->ts->err) &&
                   node_set_int(o->ts->graph, n, "end_dim", end, o->ts->err)
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_squeeze(struct ts_op *o)
{
    int64_t dims[LIST_MAX];
    int count;
    const char *op = o->row->torch ? o->row->torch : "torch.squeeze";
    if (!ts_arg_ints(o, "dim", dims, LIST_MAX, &count))
        return ts_opaque(o, op);
    struct node *n = ts_begin_unary(o, op, "self");
    return n && (count < 0 ? node_set_none(o->ts->graph, n, "dim", o->ts->err)
                           : node_set_ints(o->ts->graph, n, "dim", dims, count, o->ts->err))
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_expand(struct ts_op *o)
{
    int64_t size[SHAPE_MAX_RANK];
    int count;
    struct value *x = ts_operand_of(o, "self"), *like = NULL;
    if (!x)
        return NULL;
    if (strcmp(o->row->name, "expand_as") == 0) {
        like = ts_operand_of(o, "other");
        if (!like)
            return NULL;
        count = shape_is_static(&like->shape) ? like->shape.rank : -1;
        memcpy(size, like->shape.dim, sizeof size);
    } else if (!ts_arg_ints(o, "size", size, SHAPE_MAX_RANK, &count))
        count = -1;
    if (count < 0)
        return ts_opaque(o, "torch.Tensor.expand");
    struct node *n = ts_begin_on(o, "torch.Tensor.expand", NULL, x);
    return n && node_set_ints(o->ts->graph, n, "size", size, count, o->ts->err) ? ts_finish(o, n)
                                                                                : NULL;
}

/* ── order of axes ── */

static struct py_value *swap(struct ts_op *o, struct value *x, int64_t a, int64_t b)
{
    struct node *n = ts_begin_on(o, "torch.Tensor.transpose", NULL, x);
    return n && node_set_int(o->ts->graph, n, "dim0", a < b ? a : b, o->ts->err) &&
                   node_set_int(o->ts->graph, n, "dim1", a < b ? b : a, o->ts->err)
               ? ts_finish(o, n)
               : NULL;
}

struct py_value *ts_transpose(struct ts_op *o)
{
    bool ok = true, matrix = strcmp(o->row->name, "t") == 0;
    int64_t a = matrix ? 0 : ts_arg_int(o, "dim0", 0, &ok);
    int64_t b = matrix ? 1 : ts_arg_int(o, "dim1", 1, &ok);
    struct value *x = ts_operand_of(o, "self");
    if (!x || !ok || x->shape.rank < 0)
        return x ? ts_opaque(o, "torch.Tensor.transpose") : NULL;
    if (matrix && x->shape.rank < 2)
        return ts_arg(o, "self");
    return ts_axis(o, x, &a) && ts_axis(o, x, &b) ? swap(o, x, a, b) : NULL;
}

struct py_value *ts_permute(struct ts_op *o)
{
    int64_t dims[SHAPE_MAX_RANK];
    int count, moved = 0, pair[2] = {0, 0};
    struct value *x = ts_operand_of(o, "self");
    if (!x || !ts_arg_ints(o, "dims", dims, SHAPE_MAX_RANK, &count) || count != x->shape.rank)
        return x ? ts_opaque(o, "torch.permute") : NULL;
    for (int i = 0; i < count; i++) {
        if (!ts_axis(o, x, &dims[i]))
            return NULL;
        if (dims[i] != i && moved++ < 2)
            pair[moved - 1] = i;
    }
    if (moved == 2)
        return swap(o, x, pair[0], pair[1]);
    struct node *n = ts_begin_on(o, "torch.permute", NULL, x);
    return n && node_set_ints(o->ts->graph, n, "dims", dims, count, o->ts->err) ? ts_finish(o, n)
                                                                                : NULL;
}

/* ── padding and resizing ── */

struct py_value *ts_pad(struct ts_op *o)
{
    static const char op[] = "torch.nn.functional.pad";
    int64_t pad[2 * SHAPE_MAX_RANK];
    int count, used = 2;
    bool ok = true;
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    const struct py_value *given = ts_arg(o, "mode");
    const char *mode = o->row->name[0] == 'r' && o->row->name[2] == 'f' ? "reflect"
                       : o->row->name[0] == 'r'                         ? "replicate"
                       : given && given->kind == PY_STRING              ? given->text
                                                                        : "constant";
    double value = ts_arg_float(o, "value", 0, &ok);
    if (!ts_arg_ints(o, "pad", pad, 2 * SHAPE_MAX_RANK, &count) || count < 0 || count % 2 || !ok)
        return ts_opaque(o, op);
    bool nothing = true;
    for (int i = 0; i < count; i++)
        if (pad[i]) {
            nothing = false;
            used = i / 2 * 2 + 2;
        }
    struct node *n = ts_begin_unary(o, op, "self");
    if (!n || !node_set_ints(g, n, "pad", pad, used < count ? used : count, err) ||
        !node_set_string(g, n, "mode", mode, err) || !node_set_float(g, n, "value", value, err))
        return NULL;
    struct py_value *v = ts_finish(o, n);
    if (v && nothing && n->fold == FOLD_NONE)
        n->fold = FOLD_IDENTITY;
    return v;
}

static bool number_list(const struct py_value *v, double *out, int *count)
{
    if (!v || v->kind != PY_LIST || v->count > 3)
        return false;
    *count = (int)v->count;
    for (size_t i = 0; i < v->count; i++)
        if (!ts_number(v->items[i], &out[i]))
            return false;
    return true;
}

/* upsample_*2d(x, size, [align_corners,] scales_h, scales_w), or with one list of scale factors at
 * the end. */
struct py_value *ts_upsample(struct ts_op *o)
{
    static const char op[] = "torch.nn.functional.interpolate";
    struct graph *g = o->ts->graph;
    struct bpu_error *err = o->ts->err;
    const char *mode = o->row->torch;
    bool nearest = strcmp(mode, "nearest") == 0, ok = true;
    bool corners = ts_arg_bool(o, "align_corners", false, &ok);
    const struct py_value *factors = o->count ? o->args[nearest ? 2 : 3 < o->count ? 3 : 0] : NULL;
    int64_t size[3];
    double scale[3];
    int count, scales = 0;
    if (nearest && o->count < 3)
        factors = NULL;
    if (!ok || !ts_arg_ints(o, "output_size", size, 3, &count))
        return ts_opaque(o, op);
    struct node *n = ts_begin_unary(o, op, "input");
    if (!n || !node_set_string(g, n, "mode", mode, err))
        return NULL;
    if (count > 0)
        ok = node_set_ints(g, n, "size", size, count, err);
    else if (number_list(factors, scale, &scales))
        ok = node_set_floats(g, n, "scale_factor", scale, scales, err);
    else
        return ts_op_bad(o, "neither a size nor scale factors are known");
    const char *coordinates = nearest ? "asymmetric" : corners ? "align_corners" : "half_pixel";
    return ok && node_set_string(g, n, "coordinate_transformation_mode", coordinates, err) &&
                   (nearest ? node_set_string(g, n, "nearest_mode", "floor", err)
                            : node_set_bool(g, n, "align_corners", corners, err))
               ? ts_finish(o, n)
               : NULL;
}
