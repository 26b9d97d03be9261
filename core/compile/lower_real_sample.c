/* lower_real_sample: p-norms of windows, grid_sample, regions of interest. */
#include <math.h>
#include <string.h>

#include "core/compile/lower_real.h"
#include "core/compile/lower_tail.h"

/* ── p-norms ── */

static void fit_power(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    args[POOL_POWER_PAD_TOP] = p->in_r0[0] + l->window.pad - p->r0 * l->window.stride;
}

bool lower_lp_pool(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    struct windows w;
    struct shape x, y;
    double power = node_float(n, "norm_type", 2), scale;
    if (power == 0)
        return lower_refuse(n, err, "norm_type is 0");
    if (!lower_windows(n, NULL, &w, err) || !lower_batched(n, n->inputs[0], &x, err) ||
        !lower_batched(n, n->outputs[0], &y, err) || !lower_scaled(n, n->inputs[0], &scale, err) ||
        !lower_scaled(n, n->outputs[0], &scale, err))
        return false;
    if (n->op->spatial > 2 || w.h.dilation != 1 || w.w.dilation != 1)
        return lower_refuse(n, err, "windows have at most two axes and no dilation");
    struct map *from = lower_map_as(l, n->inputs[0], &x, FORM_IMAGE, err);
    struct map *to = from ? lower_result_as(l, n->outputs[0], &y, FORM_IMAGE, err) : NULL;
    struct layer *layer = to ? lower_layer(l, OP_POOL_POWER, n, to, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, from, NEED_WINDOW);
    layer->window = (struct rows_window){(int)w.h.kernel, (int)w.h.stride, 1, (int)w.h.begin};
    layer->args[POOL_POWER_KERNEL_H] = (int32_t)w.h.kernel;
    layer->args[POOL_POWER_KERNEL_W] = (int32_t)w.w.kernel;
    layer->args[POOL_POWER_STRIDE_H] = (int32_t)w.h.stride;
    layer->args[POOL_POWER_STRIDE_W] = (int32_t)w.w.stride;
    layer->args[POOL_POWER_PAD_TOP] = (int32_t)w.h.begin;
    layer->args[POOL_POWER_PAD_LEFT] = (int32_t)w.w.begin;
    layer->args[POOL_POWER_MAGNITUDE] = infer_from_onnx(n);
    layer_set_real(layer, "p", power);
    layer->fit = fit_power;
    return true;
}

/* ── grid_sample ── */

bool lower_grid_sample(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *grid = n->inputs[1];
    const char *mode = node_string(n, "mode", "bilinear"),
               *border = node_string(n, "padding_mode", "zeros");
    double scale;
    if (x->shape.rank != 4 || grid->shape.rank != 4)
        return lower_refuse(n, err, "the machine samples maps of 4 axes, this one has %d",
                            x->shape.rank);
    if (!lower_scaled(n, x, &scale, err) || !lower_scaled(n, n->outputs[0], &scale, err))
        return false;
    struct map *from = lower_map(l, x, FORM_IMAGE, err);
    struct map *places = from ? lower_map(l, grid, FORM_FEATURES, err) : NULL;
    struct map *y = places ? lower_result(l, n->outputs[0], FORM_IMAGE, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_GRID_SAMPLE, n, y, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, from, NEED_FRAME);
    layer_reads(layer, places, NEED_SAME);
    layer->args[GRID_SAMPLE_MODE] = strcmp(mode, "nearest") == 0   ? SAMPLE_NEAREST
                                    : strcmp(mode, "bicubic") == 0 ? SAMPLE_BICUBIC
                                                                   : SAMPLE_BILINEAR;
    layer->args[GRID_SAMPLE_BORDER] = strcmp(border, "border") == 0       ? EDGE_REPEAT
                                      : strcmp(border, "reflection") == 0 ? EDGE_REFLECT
                                                                          : EDGE_ZEROS;
    layer->args[GRID_SAMPLE_ALIGN_CORNERS] = node_bool(n, "align_corners", false);
    return true;
}

/* ── regions ── */

static bool lower_regions(struct lowering *l, const struct node *n, const struct value *rois,
                          const struct value *images, const struct value *const *maps, int levels,
                          double scale, struct bpu_error *err)
{
    struct shape rows = {.rank = 2};
    double s;
    int rank = rois->shape.rank;
    if (rank < 2 || levels + ROI_TILE_X > PROGRAM_MAX_TILES)
        return lower_refuse(n, err, "%d feature maps; the machine reads %d at a time", levels,
                            PROGRAM_MAX_TILES - ROI_TILE_X);
    rows.dim[0] = rois->shape.dim[rank - 2];
    rows.dim[1] = rois->shape.dim[rank - 1];
    if (shape_elements(&rois->shape) != rows.dim[0] * rows.dim[1] || n->outputs[0]->shape.rank != 4)
        return lower_refuse(n, err, "regions must be one list");
    struct map *list = lower_map_as(l, rois, &rows, FORM_FEATURES, err);
    struct map *frames = NULL;
    if (!list || (images && !(frames = lower_map_as(l, images, &(struct shape){1, {rows.dim[0]}},
                                                    FORM_FEATURES, err))))
        return false;
    struct map *x[PROGRAM_MAX_TILES];
    for (int i = 0; i < levels; i++) {
        if (maps[i]->shape.rank != 4 || !lower_scaled(n, maps[i], &s, err))
            return lower_refuse(n, err, "\"%s\" is no feature map", maps[i]->name);
        if (!(x[i] = lower_map(l, maps[i], FORM_IMAGE, err)))
            return false;
    }
    struct map *y = lower_result(l, n->outputs[0], FORM_IMAGE, err);
    struct layer *layer = y ? lower_layer(l, OP_ROI_ALIGN, n, y, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, list, NEED_ALL);
    layer_reads(layer, frames, NEED_ALL);
    for (int i = 0; i < levels; i++)
        layer_reads(layer, x[i], NEED_ALL);
    layer->whole = layer->whole_frame = true;
    layer_set_real(layer, "scale", scale);
    int64_t sampling = node_int(n, "sampling_ratio", -1);
    layer_set(layer, "sampling", (int32_t)(sampling > 0 && sampling <= INT32_MAX ? sampling : 0));
    layer_set(layer, "aligned", node_bool(n, "aligned", false));
    layer_set(layer, "maximum", strcmp(node_string(n, "mode", "avg"), "max") == 0);
    return true;
}

bool lower_roi_align(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    return lower_regions(l, n, n->inputs[1], node_input(n, 2), &x, 1,
                         node_float(n, "spatial_scale", 1), err);
}

bool lower_multi_roi_align(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    int levels = n->input_count - 1;
    double scale = node_float(n, "spatial_scale", .25);
    if (!(scale > 0) || !isfinite(scale))
        return lower_refuse(n, err, "spatial_scale %g must be positive and finite", scale);
    if (!lower_regions(l, n, n->inputs[levels], NULL, (const struct value *const *)n->inputs,
                       levels, scale, err))
        return false;
    layer_set(l->net->layers[l->net->layer_count - 1], "levels", 1);
    return true;
}
