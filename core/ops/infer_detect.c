/* infer_detect: regions of interest, anchors, suppression: operators of detection heads, whose
 * results have extents that only a run shows. */
#include "core/ops/infer.h"

static bool roi_infer(struct node *n, int regions, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0), *rois = infer_shape(n, regions);
    int64_t size[2];
    if (!infer_tuple(n, "output_size", 2, 1, size, err))
        return false;
    if (size[0] < 1 || size[1] < 1)
        return infer_bad(n, err, NULL, "output_size %lldx%lld must be at least 1",
                         (long long)size[0], (long long)size[1]);
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (x->rank != 4)
        return infer_bad(n, err, NULL, "the input has shape %s; images (N, C, H, W) are needed",
                         shape_text(x, text));
    /* (1, K, 4) is the form of the quantized operator, whose boxes are a list with a tensor per image */
    bool of_one_image = rois->rank == 3 && rois->dim[0] == 1 && rois->dim[2] == 4;
    if (rois->rank >= 0 && !of_one_image &&
        (rois->rank != 2 || (rois->dim[1] >= 0 && rois->dim[1] != 4 && rois->dim[1] != 5)))
        return infer_bad(
            n, err, "Each row is (x1, y1, x2, y2), with the image number before it or apart.",
            "the regions have shape %s; (K, 4), (K, 5) or (1, K, 4) is needed",
            shape_text(rois, text));
    int64_t count = rois->rank == 2 ? rois->dim[0] : of_one_image ? rois->dim[1] : -1;
    struct shape out = {.rank = 4, .dim = {count, x->dim[1], size[0], size[1]}};
    return infer_out(n, 0, &out, infer_dtype(n, 0), err);
}

/* [x, rois, batch_indices?]: one box of output_size per region. */
bool infer_roi_align(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    return roi_infer(n, 1, err);
}

/* [feature maps …, rois]: each region is taken from one of the maps, which share their channels. */
bool infer_multi_roi_align(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    return roi_infer(n, n->input_count - 1, err);
}

/* One tensor (anchors, 4) per image. */
bool infer_anchors(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = 2, .dim = {-1, 4}};
    for (int i = 0; i < n->output_count; i++)
        if (!infer_out(n, i, &out, DT_FLOAT32, err))
            return false;
    return true;
}

/* [boxes, scores]: positions of what is kept; ONNX gives rows (batch, class, box). */
bool infer_nms(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = infer_from_onnx(n) ? 2 : 1, .dim = {-1, 3}};
    return infer_out(n, 0, &out, DT_INT64, err);
}

/* values, then inverse and counts */
bool infer_unique(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    struct shape out = {.rank = 1, .dim = {-1}};
    const struct attr *dim = node_attr(n, "dim");
    if (dim && dim->kind != ATTR_NONE) {
        int axis = 0;
        out = *infer_shape(n, 0);
        if (out.rank >= 0 && !infer_axis(n, "dim", node_int(n, "dim", 0), out.rank, &axis, err))
            return false;
        if (out.rank > 0)
            out.dim[axis] = -1;
    }
    struct shape positions = {.rank = 1, .dim = {-1}};
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    for (int i = 1; i < n->output_count; i++)
        if (!infer_out(n, i, &positions, DT_INT64, err))
            return false;
    return true;
}
