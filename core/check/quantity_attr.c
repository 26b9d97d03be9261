/* Quantities of attributes: modes, axes, factors, parts. */
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

static bool from_onnx(const struct node *n)
{
    return n->origin.source_op && strncmp(n->origin.source_op, "onnx:", 5) == 0;
}

/* The mode in PyTorch's words; the ONNX table's "linear" and "DCR" are measured by its own name. */
bool quantity_mode(const struct subject *s, const struct value *v, struct measure *out)
{
    const char *name = s->n->op->name, *otherwise = NULL;
    (void)v;
    if (strcmp(name, "torch.nn.UpsamplingBilinear2d") == 0)
        otherwise = "bilinear";
    else if (strcmp(name, "torch.nn.UpsamplingNearest2d") == 0 || s->n->op->class == OPC_RESIZE)
        otherwise = strstr(name, "grid_sample") ? "bilinear" : "nearest";
    else if (strcmp(name, "torch.nn.functional.grid_sample") == 0)
        otherwise = "bilinear";
    else if (strcmp(name, "torch.nn.ReplicationPad2d") == 0)
        return measure_word(out, "replicate");
    else if (strcmp(name, "torch.nn.ReflectionPad2d") == 0)
        return measure_word(out, "reflect");
    else if (strstr(name, "Pad2d") || strstr(name, "functional.pad"))
        otherwise = "constant";
    else if (strstr(name, "Pixel"))
        otherwise = "CRD";
    const char *mode = node_string(s->n, "mode", otherwise);
    if (mode && s->onnx && strcmp(mode, "bilinear") == 0 && !strstr(name, "grid_sample"))
        mode = "linear";
    return mode && measure_word(out, mode);
}

bool quantity_padding_mode(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return measure_word(out, node_string(s->n, "padding_mode", "zeros"));
}

/* True, False, or None. */
static bool tristate(const struct subject *s, const char *attr, struct measure *out)
{
    const struct attr *a = node_attr(s->n, attr);
    if (!a || a->kind == ATTR_NONE)
        return measure_word(out, "null");
    return measure_bool(out, a->i != 0);
}

bool quantity_align_corners(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    if (node_is(s->n, "torch.nn.UpsamplingBilinear2d") && !node_attr(s->n, "align_corners"))
        return measure_bool(out, true); /* this layer has no choice */
    const char *coordinates = node_string(s->n, "coordinate_transformation_mode", NULL);
    if (coordinates && !node_attr(s->n, "align_corners"))
        return measure_bool(out, strcmp(coordinates, "align_corners") == 0);
    return tristate(s, "align_corners", out);
}

bool quantity_recompute_scale_factor(const struct subject *s, const struct value *v,
                                     struct measure *out)
{
    (void)v;
    return tristate(s, "recompute_scale_factor", out);
}

/* One bound for both axes: the factor farther from 1 is the one to judge. */
bool quantity_scale_factor(const struct subject *s, const struct value *v, struct measure *out)
{
    double h, w;
    (void)v;
    if (!subject_scales(s, &h, &w) || h <= 0 || w <= 0)
        return false;
    double far_h = h > 1 ? h : 1 / h, far_w = w > 1 ? w : 1 / w;
    return measure_number(out, far_h > far_w ? h : w);
}

bool quantity_scale_h(const struct subject *s, const struct value *v, struct measure *out)
{
    double h, w;
    (void)v;
    return subject_scales(s, &h, &w) && measure_number(out, h);
}

bool quantity_scale_w(const struct subject *s, const struct value *v, struct measure *out)
{
    double h, w;
    (void)v;
    return subject_scales(s, &h, &w) && measure_number(out, w);
}

bool quantity_scale(const struct subject *s, const struct value *v, struct measure *out)
{
    double h, w;
    (void)v;
    if (!subject_scales(s, &h, &w))
        return false;
    snprintf(out->text, sizeof(out->text), "[%.9g,%.9g]", h, w);
    return true;
}

bool quantity_resize_axes(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *x = node_input(s->n, 0), *y = s->n->output_count ? s->n->outputs[0] : NULL;
    (void)v;
    if (!x || !y || !shape_is_static(&x->shape) || x->shape.rank != y->shape.rank)
        return false;
    for (int i = 0; i < x->shape.rank && out->word_count < MEASURE_MAX_WORDS; i++) {
        if (x->shape.dim[i] != y->shape.dim[i])
            out->words[out->word_count++] = axis_name(x->shape.rank, i);
    }
    return true;
}

bool quantity_coordinates(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    const char *mode = node_string(s->n, "coordinate_transformation_mode", NULL);
    return mode && measure_word(out, mode);
}

/* ── axes ── */

bool quantity_axis(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *x = node_input(s->n, 0);
    const struct attr *a = node_attr(s->n, "dim");
    int64_t axis;
    (void)v;
    if (!x || x->shape.rank < 1 || (a && a->kind == ATTR_NONE))
        return false;
    axis = node_int(s->n, "dim", 0);
    if (axis < 0)
        axis += x->shape.rank;
    return measure_number(out, (double)axis);
}

bool quantity_num_axes(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t axes[SHAPE_MAX_RANK];
    int count;
    (void)v;
    return subject_axes(s, axes, &count) && measure_number(out, count);
}

bool quantity_axes(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t axes[SHAPE_MAX_RANK];
    int count;
    (void)v;
    return subject_axes(s, axes, &count) && measure_list(out, axes, count);
}

bool quantity_axes_named(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t axes[SHAPE_MAX_RANK];
    int count;
    size_t used = 0;
    (void)v;
    if (!subject_axes(s, axes, &count))
        return false;
    int rank = node_input(s->n, 0)->shape.rank;
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(out->text + used, sizeof(out->text) - used, "%s\"%s\"",
                                 i ? "," : "[", axis_name(rank, (int)axes[i]));
    snprintf(out->text + used, sizeof(out->text) - used, "%s", count ? "]" : "[]");
    return true;
}

bool quantity_reduce_axis(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t axes[SHAPE_MAX_RANK];
    int count;
    (void)v;
    if (!subject_axes(s, axes, &count))
        return false;
    int rank = node_input(s->n, 0)->shape.rank;
    for (int i = 0; i < count; i++)
        out->words[out->word_count++] = axis_name(rank, (int)axes[i]);
    return true;
}

bool quantity_reduce_axis_size(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t axes[SHAPE_MAX_RANK], most = -1;
    int count;
    (void)v;
    if (!subject_axes(s, axes, &count))
        return false;
    const struct shape *x = &node_input(s->n, 0)->shape;
    for (int i = 0; i < count; i++)
        most = x->dim[axes[i]] > most ? x->dim[axes[i]] : most;
    return most >= 0 && measure_number(out, (double)most);
}

bool quantity_keepdims(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return measure_number(out, node_bool(s->n, "keepdim", false));
}

/* Axes that do not keep their place. */
bool quantity_transpose_axes(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *x = node_input(s->n, 0);
    (void)v;
    if (!x || x->shape.rank < 1)
        return false;
    int64_t rank = x->shape.rank, dims[SHAPE_MAX_RANK];
    for (int i = 0; i < rank; i++)
        dims[i] = i;
    const struct attr *p = node_attr(s->n, "dims");
    if (p && p->kind == ATTR_INTS && p->count == rank) {
        for (int i = 0; i < rank; i++)
            dims[i] = p->ints[i] < 0 ? p->ints[i] + rank : p->ints[i];
    } else {
        int64_t a = node_int(s->n, "dim0", 0), b = node_int(s->n, "dim1", 0);
        a += a < 0 ? rank : 0;
        b += b < 0 ? rank : 0;
        if (a < 0 || b < 0 || a >= rank || b >= rank)
            return false;
        dims[a] = b;
        dims[b] = a;
    }
    for (int i = 0; i < rank && out->word_count < MEASURE_MAX_WORDS; i++) {
        if (dims[i] != i)
            out->words[out->word_count++] = i == 0 ? "N" : axis_name((int)rank, i);
    }
    return true;
}

/* Axes with any padding: `pad` counts from the last axis; the Pad2d layers have left, right, top,
 * bottom. */
bool quantity_pad_axes(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *x = node_input(s->n, 0);
    const struct attr *a = node_attr(s->n, "pad");
    (void)v;
    if (!a)
        a = node_attr(s->n, "padding");
    if (!x || x->shape.rank < 1 || !a)
        return false;
    int rank = x->shape.rank;
    if (a->kind == ATTR_INT && a->i != 0) {
        out->words[out->word_count++] = "H";
        out->words[out->word_count++] = "W";
    }
    for (int i = rank - 1; a->kind == ATTR_INTS && i >= 0; i--) {
        int k = 2 * (rank - 1 - i);
        if (k + 1 < a->count && (a->ints[k] || a->ints[k + 1]) &&
            out->word_count < MEASURE_MAX_WORDS)
            out->words[out->word_count++] = axis_name(rank, i);
    }
    return true;
}

/* ── parts and blocks ── */

bool quantity_blocksize(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t n = node_int(s->n, "upscale_factor", node_int(s->n, "downscale_factor", -1));
    (void)v;
    return n >= 0 && measure_number(out, (double)n);
}

bool quantity_changed_dims(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *x = node_input(s->n, 0), *y = s->n->output_count ? s->n->outputs[0] : NULL;
    (void)v;
    if (!x || !y || !shape_is_static(&x->shape) || !shape_is_static(&y->shape))
        return false;
    int rank = x->shape.rank > y->shape.rank ? x->shape.rank : y->shape.rank, changed = 0;
    for (int i = 0; i < rank; i++) {
        int a = i - (rank - x->shape.rank), b = i - (rank - y->shape.rank);
        int64_t p = a >= 0 ? x->shape.dim[a] : 1, q = b >= 0 ? y->shape.dim[b] : 1;
        changed += p != q;
    }
    return measure_number(out, changed);
}

bool quantity_split(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *x = node_input(s->n, 0);
    int64_t sizes[MEASURE_MAX_WORDS], dim = node_int(s->n, "dim", 0);
    int count = 0;
    (void)v;
    if (!x || x->shape.rank < 1)
        return false;
    dim += dim < 0 ? x->shape.rank : 0;
    for (int i = 0; i < s->n->output_count && count < MEASURE_MAX_WORDS; i++) {
        const struct value *y = s->n->outputs[i];
        if (!y || dim < 0 || dim >= y->shape.rank)
            return false;
        sizes[count++] = y->shape.dim[dim];
    }
    return count && measure_list(out, sizes, count);
}

bool quantity_num_splits(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return measure_number(out, s->n->output_count);
}

bool quantity_sorted(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return measure_bool(out, node_bool(s->n, "sorted", true));
}

bool quantity_normalized_shape_hw(const struct subject *s, const struct value *v,
                                  struct measure *out)
{
    const struct attr *a = node_attr(s->n, "normalized_shape");
    const struct value *x = node_input(s->n, 0);
    (void)v;
    if (!a || a->kind != ATTR_INTS)
        return a && a->kind == ATTR_INT && measure_number(out, (double)a->i);
    /* of [C, H, W] the last two; the normalized axes are the last ones of the input */
    double n = 1;
    for (int i = a->count > 2 ? a->count - 2 : 0; i < a->count; i++)
        n *= (double)a->ints[i];
    return x && measure_number(out, n);
}

bool quantity_add_bias_kv(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return measure_bool(out, node_bool(s->n, "add_bias_kv", false));
}

bool quantity_add_zero_attn(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return measure_bool(out, node_bool(s->n, "add_zero_attn", false));
}

bool quantity_embed_dim(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t e = node_int(s->n, "embed_dim", -1), k = node_int(s->n, "kdim", e);
    int64_t w = node_int(s->n, "vdim", e);
    (void)v;
    return e >= 0 && measure_list(out, (const int64_t[]){e, k, w}, 3);
}

bool quantity_bbox_shape(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *b = NULL;
    (void)v;
    for (int i = 1; i < s->n->input_count; i++) {
        if (s->n->inputs[i] && s->n->inputs[i]->shape.rank >= 0 && s->n->inputs[i]->shape.rank != 4)
            b = s->n->inputs[i];
    }
    return b && !from_onnx(s->n) && measure_list(out, b->shape.dim, b->shape.rank);
}
