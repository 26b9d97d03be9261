/* Rewrites that lay the tensor out anew: 1-D as 2-D, linear layers and 3-D as convolutions, means
 * as pools. */
#include <string.h>

#include "core/base/checked.h"
#include "core/check/rewrite_find.h"

/* ── other layouts ─────────────────────────────────────────────────────────────────────────── */

bool find_linear(struct finder *f)
{
    const struct node *n = f->s->n;
    if (!node_input(n, 0))
        return false;
    const struct node *before = value_source(n->inputs[0])->producer; /* past a dropout */
    int64_t in = node_int(n, "in_features", -1), out = node_int(n, "out_features", -1);
    const struct value *w = node_param(n, "weight");
    if (in < 1 && w && w->shape.rank == 2) {
        bool io = strcmp(node_string(n, "weight_layout", "oi"), "io") == 0;
        in = w->shape.dim[io ? 0 : 1];
        out = w->shape.dim[io ? 1 : 0];
    }
    const struct shape *x = &n->inputs[0]->shape;
    const struct value *map = before ? node_input(before, 0) : NULL;
    struct rewrite_step conv = finder_plain("torch.nn.Conv2d", in, out);
    if (in < 1 || out < 1 || x->rank < 1)
        return false;
    finder_start(f);
    if (map && map->shape.rank == 4 && shape_is_static(&map->shape) && map->shape.dim[0] > 0 &&
        shape_elements(&map->shape) / map->shape.dim[0] == in &&
        (node_is(before, "torch.flatten") || node_is(before, "torch.Tensor.reshape"))) {
        f->w->input = map->shape;
        conv.in = map->shape.dim[1];
        conv.kernel[0] = map->shape.dim[2];
        conv.kernel[1] = map->shape.dim[3];
        if (finder_add(f, &conv) &&
            finder_fits(f, "before the flattening; the weights are the same, "
                           "reshaped."))
            return true;
    }
    finder_start(f);
    conv.in = in;
    conv.kernel[0] = conv.kernel[1] = 1;
    f->w->input = shape_of(4, (const int64_t[]){shape_elements(x) / in, in, 1, 1});
    return shape_elements(x) > 0 && finder_add(f, &conv) &&
           finder_fits(f, "the weights are the same.");
}

/* [N, C, W] as [N, C, 1, W]. */
bool find_one_axis(struct finder *f)
{
    static const char *const forms[][2] = {
        {"torch.nn.Conv1d", "torch.nn.Conv2d"},
        {"torch.nn.ConvTranspose1d", "torch.nn.ConvTranspose2d"},
        {"torch.nn.MaxPool1d", "torch.nn.MaxPool2d"},
        {"torch.nn.AvgPool1d", "torch.nn.AvgPool2d"},
    };
    const struct subject *s = f->s;
    const struct shape *x = &node_input(s->n, 0)->shape;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct rewrite_step t = finder_plain(forms[i][1], 0, 0);
        if (!node_is(s->n, forms[i][0]) || x->rank != 3)
            continue;
        bool pool = s->n->op->class == OPC_POOL;
        if (!subject_window(s, "kernel_size", 'w', -1, &t.kernel[1]) || t.kernel[1] < 1 ||
            !subject_window(s, "stride", 'w', pool ? t.kernel[1] : 1, &t.stride[1]) ||
            !subject_padding(s, 'w', &t.padding[1]) ||
            !subject_window(s, "dilation", 'w', 1, &t.dilation[1]))
            return false;
        t.in = node_int(s->n, "in_channels", pool ? 0 : x->dim[1]);
        struct shape w;
        t.groups = node_int(s->n, "groups", 1);
        if (!pool) {
            if (!subject_weight_shape(s, &w))
                return false;
            t.out = i == 1 ? w.dim[1] * t.groups : w.dim[0];
        }
        finder_start(f);
        f->w->input = shape_of(4, (const int64_t[]){x->dim[0], x->dim[1], 1, x->dim[2]});
        return finder_add(f, &t) &&
               finder_fits(f, "the length is the width of a map of height 1; " EXACT);
    }
    return false;
}

/* A kernel as deep as the map: depth and channels are one axis. */
bool find_depth_as_channels(struct finder *f)
{
    const struct node *n = f->s->n;
    const struct shape *x = &node_input(n, 0)->shape;
    int64_t channels, k[3], stride[3] = {1, 1, 1}, pad[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
    struct shape w;
    if (!node_is(n, "torch.nn.Conv3d") || x->rank != 5 || !subject_weight_shape(f->s, &w) ||
        w.rank != 5 || node_int(n, "groups", 1) != 1 ||
        !checked_mul(x->dim[1], x->dim[2], &channels))
        return false;
    for (int i = 0; i < 3; i++)
        k[i] = w.dim[2 + i];
    node_ints(n, "stride", stride, 3);
    node_ints(n, "padding", pad, 3);
    node_ints(n, "dilation", dilation, 3);
    if (k[0] != x->dim[2] || pad[0] != 0 || dilation[0] != 1)
        return false;
    struct rewrite_step t = finder_plain("torch.nn.Conv2d", channels, w.dim[0]);
    for (int i = 0; i < 2; i++) {
        t.kernel[i] = k[i + 1];
        t.stride[i] = stride[i + 1];
        t.padding[i] = pad[i + 1];
        t.dilation[i] = dilation[i + 1];
    }
    finder_start(f);
    f->w->input = shape_of(4, (const int64_t[]){x->dim[0], channels, x->dim[3], x->dim[4]});
    return finder_add(f, &t) && finder_fits(f, "depth and channels are one axis; " EXACT);
}

/* A mean over H and W, under any of its names. */
bool find_mean(struct finder *f)
{
    const struct node *n = f->s->n;
    const struct shape *x = &node_input(n, 0)->shape, *y = &n->outputs[0]->shape;
    int64_t axes[SHAPE_MAX_RANK], kernel[2];
    int count;
    if (x->rank != 4 || !shape_is_static(x) || !shape_is_static(y))
        return false;
    bool mean = node_is(n, "torch.mean"), over[2] = {false, false};
    if (mean && (!subject_axes(f->s, axes, &count) || count < 1 || axes[0] < 2))
        return false;
    for (int i = 0; mean && i < count; i++)
        over[axes[i] - 2] = true;
    for (int i = 0; i < 2; i++) {
        int64_t out = mean ? over[i] ? 1 : x->dim[2 + i] : y->dim[2 + i];
        if (out < 1 || x->dim[2 + i] % out != 0)
            return false;
        kernel[i] = x->dim[2 + i] / out;
    }
    f->now = finder_plain("torch.nn.AvgPool2d", 0, 0);
    return find_product(f, "torch.nn.AvgPool2d", kernel, EXACT);
}

/* Stride 1: a convolution whose padding is what the kernel reaches over. */
bool find_as_conv(struct finder *f)
{
    struct rewrite_step t = f->now;
    finder_start(f);
    t.op = "torch.nn.Conv2d";
    for (int i = 0; i < 2; i++) {
        if (t.stride[i] != 1 || f->output_padding[i] != 0)
            return false;
        t.padding[i] = t.dilation[i] * (t.kernel[i] - 1) - t.padding[i];
        if (t.padding[i] < 0)
            return false;
    }
    return finder_add(f, &t) && finder_fits(f, "with the weights flipped " EXACT);
}
