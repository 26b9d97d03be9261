/* real_join: tensors put together, cut apart, padded, and shuffled between channels and pixels. */
#include "core/run/real.h"

/* Operands follow one another along the axis of the result. */
static bool join(const struct kernel_call *c, int axis, bool stacked)
{
    struct tensor *y = c->out[0];
    struct real_lanes to = real_lanes(&y->shape, axis);
    int64_t row = to.extent * to.inner, at = 0;
    for (int i = 0; i < c->in_count; i++) {
        const struct tensor *x = c->in[i];
        /* An empty vector among tensors is left out, as inference has left it out. */
        if (!stacked && x->shape.rank != y->shape.rank)
            continue;
        int64_t piece = to.outer > 0 ? real_count(x) / to.outer : 0;
        bool same = real_same(x, y);
        for (int64_t o = 0; o < to.outer && piece > 0; o++) {
            if (same)
                memcpy(real_at(y, o * row + at), real_at(x, o * piece),
                       (size_t)piece * dtype_size(y->dtype));
            else
                for (int64_t k = 0; k < piece; k++)
                    real_move(x, o * piece + k, y, o * row + at + k);
        }
        at += piece;
    }
    return true;
}

bool real_cat(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return join(c, real_axis(c->node, "dim", 0, c->out[0]->shape.rank), false);
}

bool real_stack(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return join(c, real_axis(c->node, "dim", 0, c->out[0]->shape.rank), true);
}

/* split and chunk: the shapes of the results say where the cuts are, also of those nobody reads. */
static bool split_run(const struct kernel_call *c)
{
    const struct tensor *x = c->in[0];
    int64_t stride[SHAPE_MAX_RANK], offset = 0;
    int axis = real_axis(c->node, "dim", 0, x->shape.rank);
    fold_strides(&x->shape, stride);
    for (int i = 0; i < c->out_count; i++) {
        const struct shape *part = &c->node->outputs[i]->shape;
        if (c->out[i])
            real_copy(x, c->out[i], part->rank, part->dim, stride, offset);
        offset += part->dim[axis] * stride[axis];
    }
    return true;
}

bool real_split(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return split_run(c);
}

bool fixed_split(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return split_run(c);
}

/* ── padding ── */

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_REPLICATE, PAD_CIRCULAR };

static enum pad_mode pad_mode(const struct node *n)
{
    const char *key = n->op->key, *mode = node_string(n, "mode", "constant");
    if (strcmp(key, "reflection_pad2d") == 0 || strcmp(mode, "reflect") == 0)
        return PAD_REFLECT;
    if (strcmp(key, "replication_pad2d") == 0 || strcmp(mode, "replicate") == 0 ||
        strcmp(mode, "edge") == 0)
        return PAD_REPLICATE;
    return strcmp(mode, "circular") == 0 || strcmp(mode, "wrap") == 0 ? PAD_CIRCULAR : PAD_CONSTANT;
}

/* Where position i beside an axis reads; -1: the constant. */
static int64_t pad_position(int64_t i, int64_t extent, enum pad_mode mode)
{
    if (i >= 0 && i < extent)
        return i;
    switch (mode) {
    case PAD_REFLECT: return i < 0 ? -i : 2 * (extent - 1) - i;
    case PAD_REPLICATE: return i < 0 ? 0 : extent - 1;
    case PAD_CIRCULAR: return (i % extent + extent) % extent;
    default: return -1;
    }
}

static bool pad_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0];
    const struct attr *value = node_attr(c->node, "value");
    int64_t pairs[2 * SHAPE_MAX_RANK] = {0}, begin[SHAPE_MAX_RANK] = {0}, stride[SHAPE_MAX_RANK];
    int count = 4, rank = x->shape.rank;
    bool layer = node_attr(c->node, "pad") == NULL; /* torch.nn.*Pad2d */
    if (layer && strcmp(c->node->op->key, "pad") == 0)
        return kernel_unsupported(c, err, "the padding is not constant");
    if (layer ? !infer_tuple(c->node, "padding", 4, 0, pairs, err)
              : !infer_ints(c->node, "pad", pairs, 2 * SHAPE_MAX_RANK, &count, err))
        return false;
    for (int i = 0; i < count / 2 && i < rank; i++)
        begin[rank - 1 - i] = pairs[2 * i];
    for (int i = 0; i < rank; i++)
        if (begin[i] < -INFER_MAX_ELEMENTS || begin[i] > INFER_MAX_ELEMENTS)
            return kernel_unsupported(c, err, "the padding %lld is absurd", (long long)begin[i]);
    enum pad_mode mode = pad_mode(c->node);
    bool zero = strcmp(c->node->op->key, "zero_pad2d") == 0;
    bool whole = value && value->kind == ATTR_INT && fold_is_int(y->dtype);
    double number = zero ? 0 : node_float(c->node, "value", 0);
    int64_t total = real_count(y);
    struct fold_walk w;
    fold_walk_init(&w, &y->shape);
    fold_strides(&x->shape, stride);
    for (int64_t i = 0; i < total; i++, fold_walk_next(&w)) {
        int64_t at = 0;
        bool inside = true;
        for (int k = 0; k < rank && inside; k++) {
            int64_t from = pad_position(w.index[k] - begin[k], x->shape.dim[k], mode);
            inside = from >= 0 && from < x->shape.dim[k];
            at += from * stride[k];
        }
        if (inside)
            real_move(x, at, y, i);
        else if (whole)
            fold_store_int(real_at(y, i), y->dtype, zero ? 0 : value->i);
        else
            tensor_store_real(y, i, number);
    }
    return true;
}

bool real_pad(const struct kernel_call *c, struct bpu_error *err)
{
    return pad_run(c, err);
}

bool fixed_pad(const struct kernel_call *c, struct bpu_error *err)
{
    return pad_run(c, err);
}

/* ── shuffles: the axis of channels seen as several, in another order ── */

/* Axes (.., C, H, W) cut into `count` pieces of the extents dim; piece i of the result is piece
 * order[i] of the input. */
static bool shuffle(const struct kernel_call *c, int count, const int64_t *dim, const int *order)
{
    const struct tensor *x = c->in[0];
    int64_t own[8] = {0}, out[8] = {0}, stride[8] = {0}, step = 1, block = 1, lead;
    for (int i = count - 1; i >= 0; i--) {
        own[i] = step;
        step *= dim[i];
    }
    for (int i = 0; i < count; i++)
        block *= dim[i];
    lead = block > 0 ? real_count(x) / block : 0;
    out[0] = lead;
    stride[0] = block;
    for (int i = 0; i < count; i++) {
        out[i + 1] = dim[order[i]];
        stride[i + 1] = own[order[i]];
    }
    real_copy(x, c->out[0], count + 1, out, stride, 0);
    return true;
}

/* Channel o * r * r + i * r + j goes to pixel (i, j) of channel o (PyTorch; "CRD"), or channel
 * (i * r + j) * C + o ("DCR"). */
static bool pixel_shuffle(const struct kernel_call *c)
{
    const struct shape *x = &c->in[0]->shape;
    int64_t r = node_int(c->node, "upscale_factor", 1), h = x->dim[x->rank - 2],
            w = x->dim[x->rank - 1], channels = x->dim[x->rank - 3] / (r * r);
    if (strcmp(node_string(c->node, "mode", "CRD"), "DCR") == 0)
        return shuffle(c, 5, (const int64_t[]){r, r, channels, h, w}, (const int[]){2, 3, 0, 4, 1});
    return shuffle(c, 5, (const int64_t[]){channels, r, r, h, w}, (const int[]){0, 3, 1, 4, 2});
}

bool real_pixel_shuffle(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return pixel_shuffle(c);
}

bool fixed_pixel_shuffle(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return pixel_shuffle(c);
}

/* The inverse: pixel (i, j) of a block of channel o goes to channel o * r * r + i * r + j, or in
 * the mode "DCR" to (i * r + j) * C + o. */
static bool pixel_unshuffle(const struct kernel_call *c)
{
    const struct shape *x = &c->in[0]->shape;
    int64_t r = node_int(c->node, "downscale_factor", 1);
    int64_t dim[5] = {x->dim[x->rank - 3], x->dim[x->rank - 2] / r, r, x->dim[x->rank - 1] / r, r};
    if (strcmp(node_string(c->node, "mode", "CRD"), "DCR") == 0)
        return shuffle(c, 5, dim, (const int[]){2, 4, 0, 1, 3});
    return shuffle(c, 5, dim, (const int[]){0, 2, 4, 1, 3});
}

bool real_pixel_unshuffle(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return pixel_unshuffle(c);
}

bool fixed_pixel_unshuffle(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return pixel_unshuffle(c);
}

/* Channels (g, C / g) become (C / g, g). */
static bool channel_shuffle(const struct kernel_call *c)
{
    const struct shape *x = &c->in[0]->shape;
    int64_t groups = node_int(c->node, "groups", 1);
    struct real_lanes l = real_lanes(x, 1);
    return shuffle(c, 3, (const int64_t[]){groups, l.extent / groups, l.inner},
                   (const int[]){1, 0, 2});
}

bool real_channel_shuffle(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return channel_shuffle(c);
}

bool fixed_channel_shuffle(const struct kernel_call *c, struct bpu_error *err)
{
    (void)err;
    return channel_shuffle(c);
}
