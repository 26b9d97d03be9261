/* Adapters: operators that move, cut and reshape, most of which read their parameters from constant operands. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/onnx_qparam.h"
#include "core/ops/op.h"

enum { LIST_MAX = 4 * SHAPE_MAX_RANK };

static struct node *begin_unary(struct onnx_node *o, const char *op_name)
{
    struct node *n = onnx_begin(o, op_name, NULL);
    return n && onnx_operand(o, n, onnx_in(o, 0)) ? n : NULL;
}

/* An operand that should be constant is not: the result's shape cannot be known before inference. */
static bool dynamic(struct onnx_node *o, const char *op_name, const char *what)
{
    return graph_add_note(o->im->graph, o->im->err,
                          "node \"%s\": %s is computed from the data, so the result's shape is not "
                          "known before inference",
                          o->name, what) &&
           onnx_opaque(o, op_name);
}

static bool static_rank(const struct value *v) { return v && v->shape.rank >= 0; }

bool onnx_reshape(struct onnx_node *o)
{
    int64_t shape[LIST_MAX];
    int count;
    bool known;
    onnx_list(o, "shape", 1, shape, LIST_MAX, &count, &known);
    if (!known)
        return dynamic(o, "torch.Tensor.reshape", "the target shape");
    if (count < 0)
        return onnx_bad(o, "Reshape needs a target shape");
    if (count > SHAPE_MAX_RANK)
        return onnx_bad(o, "the target shape has %d dimensions; at most %d are supported", count,
                        SHAPE_MAX_RANK);
    const struct value *x = onnx_in(o, 0);
    bool keep_zero = onnx_int(o, "allowzero", 0);
    for (int i = 0; i < count && !keep_zero; i++)
        if (shape[i] == 0) {
            if (!static_rank(x) || i >= x->shape.rank || x->shape.dim[i] < 0)
                return onnx_bad(o, "dimension %d of the target shape copies one that the input "
                                   "does not have", i);
            shape[i] = x->shape.dim[i];
        }
    struct node *n = begin_unary(o, "torch.Tensor.reshape");
    return n && node_set_ints(o->im->graph, n, "shape", shape, count, o->im->err) &&
           onnx_finish(o, n);
}

bool onnx_flatten(struct onnx_node *o)
{
    const struct value *x = onnx_in(o, 0);
    int64_t axis = onnx_int(o, "axis", 1);
    struct graph *g = o->im->graph;
    struct node *n;
    if (axis == 1 && (!static_rank(x) || x->shape.rank >= 2)) {
        n = begin_unary(o, "torch.flatten");
        return n && node_set_int(g, n, "start_dim", 1, o->im->err) &&
               node_set_int(g, n, "end_dim", -1, o->im->err) && onnx_finish(o, n);
    }
    if (!x || !shape_is_static(&x->shape))
        return onnx_opaque(o, "torch.flatten");
    if (axis < 0)
        axis += x->shape.rank;
    if (axis < 0 || axis > x->shape.rank)
        return onnx_bad(o, "axis %lld is outside the input's %d dimensions", (long long)axis,
                        x->shape.rank);
    int64_t shape[2] = {1, 1};
    for (int i = 0; i < x->shape.rank; i++)
        if (!checked_mul(shape[i >= axis], x->shape.dim[i], &shape[i >= axis]))
            return onnx_bad(o, "the input is too large");
    n = begin_unary(o, "torch.Tensor.reshape");
    return n && node_set_ints(g, n, "shape", shape, 2, o->im->err) && onnx_finish(o, n);
}

bool onnx_squeeze(struct onnx_node *o)
{
    int64_t axes[LIST_MAX];
    int count;
    bool known;
    onnx_list(o, "axes", 1, axes, LIST_MAX, &count, &known);
    if (!known)
        return dynamic(o, "torch.squeeze", "the list of axes");
    const struct value *x = onnx_in(o, 0);
    if (!static_rank(x))
        return onnx_opaque(o, "torch.squeeze");
    for (int i = 0; i < count; i++) { /* unlike PyTorch, ONNX refuses axes that are not 1 */
        int64_t axis = axes[i] < 0 ? axes[i] + x->shape.rank : axes[i];
        if (axis < 0 || axis >= x->shape.rank)
            return onnx_bad(o, "axis %lld is outside the input's %d dimensions",
                            (long long)axes[i], x->shape.rank);
        if (x->shape.dim[axis] > 1)
            return onnx_bad(o, "axis %lld to be removed has the extent %lld", (long long)axes[i],
                            (long long)x->shape.dim[axis]);
    }
    struct node *n = begin_unary(o, "torch.squeeze");
    return n &&
           (count < 0 ? node_set_none(o->im->graph, n, "dim", o->im->err)
                      : node_set_ints(o->im->graph, n, "dim", axes, count, o->im->err)) &&
           onnx_finish(o, n);
}

bool onnx_unsqueeze(struct onnx_node *o)
{
    int64_t axes[LIST_MAX];
    int count;
    bool known;
    onnx_list(o, "axes", 1, axes, LIST_MAX, &count, &known);
    if (!known)
        return dynamic(o, "torch.unsqueeze", "the list of axes");
    if (count < 0)
        return onnx_bad(o, "Unsqueeze needs axes");
    struct node *n = begin_unary(o, "torch.unsqueeze");
    return n && node_set_ints(o->im->graph, n, "dim", axes, count, o->im->err) &&
           onnx_finish(o, n);
}

bool onnx_transpose(struct onnx_node *o)
{
    const struct value *x = onnx_in(o, 0);
    int count, moved = 0, swap[2] = {0, 0};
    const int64_t *perm = onnx_ints(o, "perm", &count);
    int64_t reversed[SHAPE_MAX_RANK];
    if (!perm) {
        if (!static_rank(x))
            return onnx_opaque(o, "torch.permute");
        count = x->shape.rank;
        for (int i = 0; i < count; i++)
            reversed[i] = count - 1 - i;
        perm = reversed;
    }
    for (int i = 0; i < count; i++)
        if (perm[i] != i && moved++ < 2)
            swap[moved - 1] = i;
    struct graph *g = o->im->graph;
    struct node *n;
    if (moved == 2) {
        n = begin_unary(o, "torch.Tensor.transpose");
        return n && node_set_int(g, n, "dim0", swap[0], o->im->err) &&
               node_set_int(g, n, "dim1", swap[1], o->im->err) && onnx_finish(o, n);
    }
    n = begin_unary(o, "torch.permute");
    return n && node_set_ints(g, n, "dims", perm, count, o->im->err) && onnx_finish(o, n);
}

bool onnx_slice(struct onnx_node *o)
{
    int64_t starts[LIST_MAX], ends[LIST_MAX], axes[LIST_MAX], steps[LIST_MAX];
    int ns, ne, na, nt;
    bool ks, ke, ka, kt;
    onnx_list(o, "starts", 1, starts, LIST_MAX, &ns, &ks);
    onnx_list(o, "ends", 2, ends, LIST_MAX, &ne, &ke);
    onnx_list(o, "axes", 3, axes, LIST_MAX, &na, &ka);
    onnx_list(o, NULL, 4, steps, LIST_MAX, &nt, &kt);
    if (!ks || !ke || !ka || !kt)
        return dynamic(o, "torch.Tensor.__getitem__", "the range of the slice");
    if (ns < 0 || ns != ne || (na >= 0 && na != ns) || (nt >= 0 && nt != ns))
        return onnx_bad(o, "starts, ends, axes and steps differ in length");
    for (int i = 0; i < ns; i++) {
        if (na < 0)
            axes[i] = i;
        if (nt < 0)
            steps[i] = 1;
    }
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    struct node *n = begin_unary(o, "torch.Tensor.__getitem__");
    return n && node_set_ints(g, n, "starts", starts, ns, err) &&
           node_set_ints(g, n, "ends", ends, ns, err) &&
           node_set_ints(g, n, "axes", axes, ns, err) &&
           node_set_ints(g, n, "steps", steps, ns, err) && onnx_finish(o, n);
}

/* x[:, 3] arrives as Gather with a scalar constant; anything else is an index_select. */
bool onnx_gather(struct onnx_node *o)
{
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    int64_t axis = onnx_int(o, "axis", 0), index;
    const struct value *x = onnx_in(o, 0), *indices = onnx_in(o, 1);
    if (!x || !indices)
        return onnx_bad(o, "Gather needs data and indices");
    struct node *n;
    if (indices->shape.rank == 0 && constant_int(indices, 0, &index)) {
        n = begin_unary(o, "torch.Tensor.__getitem__");
        return n && node_set_ints(g, n, "select_axes", &axis, 1, err) &&
               node_set_ints(g, n, "select_indices", &index, 1, err) && onnx_finish(o, n);
    }
    n = begin_unary(o, "torch.index_select");
    return n && onnx_operand(o, n, onnx_in(o, 1)) && node_set_int(g, n, "dim", axis, err) &&
           onnx_finish(o, n);
}

bool onnx_split(struct onnx_node *o)
{
    int64_t parts[1024];
    int count;
    bool known;
    onnx_list(o, "split", 1, parts, 1024, &count, &known);
    if (!known)
        return dynamic(o, "torch.split", "the list of parts");
    const struct value *x = onnx_in(o, 0);
    int64_t axis = onnx_int(o, "axis", 0);
    int outputs = (int)o->proto->n_output;
    if (count < 0) {
        if (!x || !shape_is_static(&x->shape))
            return onnx_opaque(o, "torch.split");
        int64_t at = axis < 0 ? axis + x->shape.rank : axis;
        if (at < 0 || at >= x->shape.rank || outputs < 1 || outputs > 1024)
            return onnx_bad(o, "axis %lld with %d outputs does not fit the input", (long long)axis,
                            outputs);
        /* Equal parts, the last one smaller if the extent does not divide (opset 18). */
        int64_t extent = x->shape.dim[at], part = extent / outputs + (extent % outputs != 0);
        count = outputs;
        for (int i = 0; i < count; i++) {
            parts[i] = part < extent ? part : extent;
            extent -= parts[i];
        }
    }
    if (count != outputs)
        return onnx_bad(o, "%d parts, but %d outputs", count, outputs);
    struct node *n = begin_unary(o, "torch.split");
    return n &&
           node_set_ints(o->im->graph, n, "split_size_or_sections", parts, count, o->im->err) &&
           node_set_int(o->im->graph, n, "dim", axis, o->im->err) && onnx_finish(o, n);
}

/* ONNX broadcasts both ways; PyTorch's size names the result. */
bool onnx_expand(struct onnx_node *o)
{
    int64_t size[LIST_MAX], out[SHAPE_MAX_RANK];
    int count;
    bool known;
    onnx_list(o, NULL, 1, size, LIST_MAX, &count, &known);
    const struct value *x = onnx_in(o, 0);
    if (!known || count < 0)
        return dynamic(o, "torch.Tensor.expand", "the target shape");
    if (!x || !shape_is_static(&x->shape))
        return onnx_opaque(o, "torch.Tensor.expand");
    int rank = count > x->shape.rank ? count : x->shape.rank;
    if (rank > SHAPE_MAX_RANK)
        return onnx_bad(o, "the target shape has %d dimensions", count);
    for (int i = 0; i < rank; i++) {
        int from_x = i - (rank - x->shape.rank), from_size = i - (rank - count);
        int64_t a = from_x < 0 ? 1 : x->shape.dim[from_x], b = from_size < 0 ? 1 : size[from_size];
        out[i] = a == 1 ? b : a;
        if (a != 1 && b != 1 && a != b)
            return onnx_bad(o, "extent %lld cannot become %lld", (long long)a, (long long)b);
    }
    struct node *n = begin_unary(o, "torch.Tensor.expand");
    return n && node_set_ints(o->im->graph, n, "size", out, rank, o->im->err) && onnx_finish(o, n);
}

bool onnx_tile(struct onnx_node *o)
{
    int64_t repeats[LIST_MAX];
    int count;
    bool known;
    onnx_list(o, NULL, 1, repeats, LIST_MAX, &count, &known);
    if (!known || count < 0)
        return dynamic(o, "torch.Tensor.repeat", "the number of repeats");
    struct node *n = begin_unary(o, "torch.Tensor.repeat");
    return n && node_set_ints(o->im->graph, n, "repeats", repeats, count, o->im->err) &&
           onnx_finish(o, n);
}

bool onnx_pad(struct onnx_node *o)
{
    int64_t pads[LIST_MAX], axes[SHAPE_MAX_RANK], torch[2 * SHAPE_MAX_RANK] = {0};
    int count, axis_count;
    bool known, axes_known;
    const struct value *x = onnx_in(o, 0);
    onnx_list(o, "pads", 1, pads, LIST_MAX, &count, &known);
    onnx_list(o, NULL, 3, axes, SHAPE_MAX_RANK, &axis_count, &axes_known);
    if (!known || !axes_known)
        return dynamic(o, "torch.nn.functional.pad", "the padding");
    if (!static_rank(x))
        return onnx_opaque(o, "torch.nn.functional.pad");
    int rank = x->shape.rank, pairs = axis_count >= 0 ? axis_count : rank;
    if (count != 2 * pairs)
        return onnx_bad(o, "%d paddings for %d axes", count, pairs);
    int used = 0; /* PyTorch names pairs from the last axis on */
    for (int i = 0; i < pairs; i++) {
        int64_t axis = axis_count >= 0 ? axes[i] : i;
        if (axis < 0)
            axis += rank;
        if (axis < 0 || axis >= rank)
            return onnx_bad(o, "axis %lld is outside the input's %d dimensions", (long long)axes[i],
                            rank);
        int at = 2 * (rank - 1 - (int)axis);
        torch[at] = pads[i];
        torch[at + 1] = pads[pairs + i];
        if ((pads[i] || pads[pairs + i]) && at + 2 > used)
            used = at + 2;
    }
    if (used < 2)
        used = 2;
    const char *mode = onnx_string(o, "mode", "constant");
    if (strcmp(mode, "edge") == 0)
        mode = "replicate";
    else if (strcmp(mode, "wrap") == 0)
        mode = "circular";
    double value = onnx_float(o, "value", 0);
    bool computed = onnx_in(o, 2) && !constant_real(onnx_in(o, 2), 0, &value);
    if (computed)
        value = 0;
    value = onnx_real_of(o, onnx_in(o, 2), value);
    if (!onnx_in(o, 2) && onnx_is_integer(o->im, o->in[0]))
        value = onnx_real_of_integer(x, 0, value); /* the integer 0, wherever the zero point is */
    struct node *n = begin_unary(o, "torch.nn.functional.pad");
    if (!n || !node_set_ints(o->im->graph, n, "pad", torch, rank ? used : 0, o->im->err) ||
        !node_set_string(o->im->graph, n, "mode", mode, o->im->err) ||
        !node_set_float(o->im->graph, n, "value", value, o->im->err) ||
        (computed && !node_set_bool(o->im->graph, n, "undetermined", true, o->im->err)) ||
        !onnx_finish(o, n))
        return false;
    /* PyTorch writes a Pad of nothing in front of every average pool. */
    bool nothing = true;
    for (int i = 0; i < used; i++)
        nothing = nothing && torch[i] == 0;
    if (nothing && n->fold == FOLD_NONE)
        n->fold = FOLD_IDENTITY;
    return true;
}

/* ── resize ── */

/* Resize 10: x, scales. 11+: x, roi, scales, sizes. Upsample 7: attribute; 9: x, scales. */
struct resize {
    double scales[SHAPE_MAX_RANK];
    int64_t sizes[SHAPE_MAX_RANK];
    int scale_count, size_count;
};

static bool read_resize(struct onnx_node *o, struct resize *r, bool *known)
{
    bool upsample = strcmp(o->proto->op_type, "Upsample") == 0;
    const Onnx__AttributeProto *a = upsample ? onnx_attr(o, "scales") : NULL;
    int at = upsample || o->im->opset < 11 ? 1 : 2;
    *known = true;
    r->scale_count = r->size_count = 0;
    if (a) {
        if (a->n_floats > SHAPE_MAX_RANK)
            return onnx_bad(o, "%zu scales", a->n_floats);
        r->scale_count = (int)a->n_floats;
        for (int i = 0; i < r->scale_count; i++)
            r->scales[i] = (double)a->floats[i];
    } else if (onnx_in(o, at)) {
        *known = onnx_const_reals(onnx_in(o, at), r->scales, SHAPE_MAX_RANK, &r->scale_count);
    }
    if (*known && r->scale_count == 0 && onnx_in(o, 3))
        *known = onnx_const_ints(onnx_in(o, 3), r->sizes, SHAPE_MAX_RANK, &r->size_count);
    return true;
}

bool onnx_resize(struct onnx_node *o)
{
    static const char op[] = "torch.nn.functional.interpolate";
    struct resize r;
    bool known;
    const struct value *x = onnx_in(o, 0);
    if (!read_resize(o, &r, &known))
        return false;
    if (!known)
        return dynamic(o, op, "the target size");
    if (!x || !shape_is_static(&x->shape))
        return onnx_opaque(o, op);
    int rank = x->shape.rank, given = r.scale_count ? r.scale_count : r.size_count;
    int axis_count = 0;
    const int64_t *axes = onnx_ints(o, "axes", &axis_count);
    if (axes ? given != axis_count : given != rank)
        return onnx_bad(o, "%d scales or sizes for an input of %d dimensions", given, rank);
    if (rank < 3)
        return onnx_bad(o, "an input of %d dimensions cannot be resized", rank);
    double scale[SHAPE_MAX_RANK];
    int64_t size[SHAPE_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        scale[i] = 1;
        size[i] = x->shape.dim[i];
    }
    for (int i = 0; i < given; i++) {
        int64_t axis = axes ? (axes[i] < 0 ? axes[i] + rank : axes[i]) : i;
        if (axis < 0 || axis >= rank)
            return onnx_bad(o, "axis %lld is outside the input's %d dimensions", (long long)axis,
                            rank);
        if (r.scale_count)
            scale[axis] = r.scales[i];
        else
            size[axis] = r.sizes[i];
    }
    if (scale[0] != 1 || scale[1] != 1 || size[0] != x->shape.dim[0] || size[1] != x->shape.dim[1]) {
        error_set(o->im->err, BPU_UNSUPPORTED, o->name,
                  "the resize changes the batch or the channels");
        return error_hint(o->im->err, "Only spatial axes (H, W) can be resized.");
    }
    const char *mode = onnx_string(o, "mode", "nearest");
    bool linear = strcmp(mode, "linear") == 0;
    const char *torch_mode = linear ? (rank == 3 ? "linear" : rank == 4 ? "bilinear" : "trilinear")
                             : strcmp(mode, "cubic") == 0 ? "bicubic"
                                                          : mode;
    const char *coordinates = onnx_string(o, "coordinate_transformation_mode",
                                          o->im->opset < 11 ? "asymmetric" : "half_pixel");
    struct graph *g = o->im->graph;
    struct bpu_error *err = o->im->err;
    struct node *n = begin_unary(o, op);
    bool ok = n && node_set_string(g, n, "mode", torch_mode, err) &&
              node_set_string(g, n, "coordinate_transformation_mode", coordinates, err);
    if (ok && r.scale_count)
        ok = node_set_floats(g, n, "scale_factor", scale + 2, rank - 2, err);
    else if (ok)
        ok = node_set_ints(g, n, "size", size + 2, rank - 2, err);
    if (ok && (linear || strcmp(mode, "cubic") == 0))
        ok = node_set_bool(g, n, "align_corners", strcmp(coordinates, "align_corners") == 0, err);
    if (ok && strcmp(mode, "nearest") == 0)
        ok = node_set_string(g, n, "nearest_mode",
                             onnx_string(o, "nearest_mode",
                                         o->im->opset < 11 ? "floor" : "round_prefer_floor"),
                             err);
    if (ok && onnx_attr(o, "cubic_coeff_a"))
        ok = node_set_float(g, n, "cubic_coeff_a", onnx_float(o, "cubic_coeff_a", -.75), err);
    if (ok && onnx_int(o, "exclude_outside", 0))
        ok = node_set_bool(g, n, "exclude_outside", true, err);
    if (ok && onnx_int(o, "antialias", 0))
        ok = node_set_bool(g, n, "antialias", true, err);
    return ok && onnx_finish(o, n);
}

bool onnx_space(struct onnx_node *o)
{
    bool up = strcmp(o->proto->op_type, "DepthToSpace") == 0;
    struct node *n = begin_unary(o, onnx_row_find(o->proto->op_type)->torch);
    return n &&
           node_set_int(o->im->graph, n, up ? "upscale_factor" : "downscale_factor",
                        onnx_int(o, "blocksize", 0), o->im->err) &&
           node_set_string(o->im->graph, n, "mode", up ? onnx_string(o, "mode", "DCR") : "DCR",
                           o->im->err) &&
           onnx_finish(o, n);
}
