/* Lowering of each operator that the machine computes with integers: random shapes and attributes, compiled in
 * random ways, executed by the simulator, equal to the reference kernels bit for bit.
 *
 * A failure names its case; BPUHUB_CASE=n runs that one alone, and prints network and program.  BPUHUB_SEED=n
 * makes other cases. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/compile/lower.h"
#include "tests/unit/compile_case.h"

typedef struct value *make_fn(struct net *n);

/* ── attributes and operands ── */

static void ints(struct net *n, struct node *node, const char *name, int count, const int64_t *v)
{
    OK(node_set_ints(n->g, node, name, v, count, &n->err));
}

static void text(struct net *n, struct node *node, const char *name, const char *v)
{
    OK(node_set_string(n->g, node, name, v, &n->err));
}

static void number(struct net *n, struct node *node, const char *name, double v)
{
    OK(node_set_float(n->g, node, name, v, &n->err));
}

static void whole(struct net *n, struct node *node, const char *name, int64_t v)
{
    OK(node_set_int(n->g, node, name, v, &n->err));
}

static enum dtype any(void)
{
    static const enum dtype t[] = {DT_QINT8, DT_QUINT8, DT_QINT16};
    return t[below(3)];
}

/* Random extents of rank lo … hi with at most `most` elements along an axis. */
static struct shape some_shape(int lo, int hi, int most)
{
    struct shape s = {.rank = lo + (int)below((uint32_t)(hi - lo + 1))};
    for (int d = 0; d < s.rank; d++)
        s.dim[d] = 1 + below((uint32_t)most);
    return s;
}

static struct value *same_scale(struct value *y)
{
    y->quant = y->producer->inputs[0]->quant;
    return y;
}

/* A value of shape s that some operator has made, so that it lies in one form or the other. */
static struct value *made(struct net *n, const struct shape *s)
{
    struct shape turned = *s;
    uint32_t kind = below(4);
    if (kind == 0) {
        struct value *x = some_input(n, s, small());
        return finish(n, some_node(n, "torch.nn.ReLU", x), x->dtype);
    }
    if (kind > 1 || s->rank < 2)
        return some_input(n, s, small());
    turned.dim[0] = s->dim[s->rank - 1];
    turned.dim[s->rank - 1] = s->dim[0];
    struct node *node = some_node(n, "torch.Tensor.transpose", some_input(n, &turned, small()));
    whole(n, node, "dim0", 0);
    whole(n, node, "dim1", s->rank - 1);
    struct value *y = same_scale(finish(n, node, node->inputs[0]->dtype));
    return finish(n, some_node(n, "torch.nn.ReLU", y), y->dtype);
}

/* The result of an operator that moves elements: mostly of the input's type and scale. */
static struct value *moved(struct net *n, struct node *node)
{
    enum dtype t = node->inputs[0]->dtype;
    return below(6) ? same_scale(finish(n, node, t)) : finish(n, node, below(2) ? t : small());
}

/* ── convolutions ── */

static struct value *some_conv(struct net *n, int k, bool transposed)
{
    static const char *const names[2][3] = {
        {"torch.nn.Conv1d", "torch.nn.Conv2d", "torch.nn.Conv3d"},
        {"torch.nn.ConvTranspose1d", "torch.nn.ConvTranspose2d", "torch.nn.ConvTranspose3d"}};
    static const char *const modes[] = {"zeros", "reflect", "replicate", "circular"};
    int64_t groups = 1 + (below(3) == 0) * below(4), in = groups * (1 + below(9)),
            out = groups * (1 + below(20));
    if (below(6) == 0)
        groups = in = out = 1 + below(40);
    struct shape xs = {.rank = k + 2, .dim = {1 + (below(4) == 0), in}}, ws = {.rank = k + 2};
    int64_t stride[3], dilation[3], padding[6], extra[3];
    const char *mode = transposed || k == 3 || below(2) ? "zeros" : modes[below(4)];
    for (int d = 0; d < k; d++) {
        xs.dim[2 + d] = 4 + below(k == 3 ? 3 : 9);
        ws.dim[2 + d] = 1 + below(3);
        stride[d] = 1 + below(3);
        dilation[d] = 1 + (below(4) == 0);
        int64_t span = (ws.dim[2 + d] - 1) * dilation[d];
        padding[d] = below((uint32_t)(span > 2 ? 3 : span + 1));
        padding[k + d] = below((uint32_t)(span > 2 ? 3 : span + 1));
        extra[d] = transposed ? below((uint32_t)(stride[d] > dilation[d] ? stride[d] : dilation[d]))
                              : 0;
        if (span + 1 > xs.dim[2 + d])
            ws.dim[2 + d] = 1;
        if (transposed && ws.dim[2 + d] == 1)
            padding[d] = padding[k + d] = 0;
    }
    ws.dim[0] = transposed ? in : out;
    ws.dim[1] = (transposed ? out : in) / groups;
    if (below(5) == 0) { /* no batches */
        memmove(xs.dim, xs.dim + 1, (size_t)(k + 1) * sizeof *xs.dim);
        xs.rank--;
    }
    enum dtype t = any();
    struct node *node = some_node(n, names[transposed][k - 1], some_input(n, &xs, any()));
    ints(n, node, "stride", k, stride);
    ints(n, node, "dilation", k, dilation);
    ints(n, node, "padding", below(2) ? k : 2 * k, padding);
    text(n, node, "padding_mode", mode);
    if (transposed)
        ints(n, node, "output_padding", k, extra);
    whole(n, node, "groups", groups);
    struct value *w = some_constant(n, &ws, DT_QINT8, below(2) ? (int)ws.dim[transposed] : 1);
    w->quant.axis = transposed;
    for (int i = 0; below(3) == 0 && i < w->quant.count; i++)
        ((int64_t *)(uintptr_t)w->quant.zero_point)[i] = (int64_t)below(11) - 5;
    OK(node_add_param(n->g, node, "weight", w, &n->err));
    if (below(2))
        text(n, node, "activation", below(2) ? "relu" : "relu6");
    struct value *y = finish(n, node, t);
    if (below(3) == 0)
        OK(node_add_input(n->g, node, some_input(n, &y->shape, below(4) ? small() : DT_QINT16),
                          &n->err));
    return y;
}

static struct value *conv_1(struct net *n)
{
    return some_conv(n, 1, below(3) == 0);
}
static struct value *conv_2(struct net *n)
{
    return some_conv(n, 2, false);
}
static struct value *conv_3(struct net *n)
{
    return some_conv(n, 3, false);
}
static struct value *deconv_2(struct net *n)
{
    return some_conv(n, 2, true);
}
static struct value *deconv_3(struct net *n)
{
    return some_conv(n, 3, true);
}

/* Sums that leave without requantization. */
static struct value *sums(struct net *n)
{
    struct shape s = some_shape(2, 3, 9);
    int64_t m = 1 + below(30);
    struct node *node = some_node(n, "torch.nn.Linear", some_input(n, &s, any()));
    struct shape ws = shape_of(2, (const int64_t[]){m, s.dim[s.rank - 1]});
    struct value *w = some_constant(n, &ws, DT_QINT8, (int)m);
    OK(node_add_param(n->g, node, "weight", w, &n->err));
    struct value *y = finish(n, node, DT_QINT32);
    double *scales = ARENA_ARRAY(&n->arena, double, m, &n->err);
    OK(scales);
    for (int64_t i = 0; i < m; i++)
        scales[i] = node->inputs[0]->quant.scale[0] * w->quant.scale[i];
    y->quant = (struct quant){scales, NULL, (int)m, s.rank - 1};
    return finish(n, some_node(n, "torch.quantization.DeQuantStub", y), DT_FLOAT32);
}

/* ── matrices ── */

static struct value *linear_of_image(struct net *n)
{
    struct shape s = of4(1 + below(20), 1 + below(6), 1 + below(6));
    always_fixed = true;
    return linear(n, flatten(n, made(n, &s), small()), any());
}

static struct value *linear_any(struct net *n)
{
    struct shape s = some_shape(1, 4, 7);
    always_fixed = true;
    struct value *y = linear(n, made(n, &s), any());
    if (below(3) == 0)
        add_residual(n, y);
    return y;
}

static struct value *matmul(struct net *n)
{
    struct shape a = some_shape(1, 4, 7), b = a;
    int64_t k = a.dim[a.rank - 1], turned = below(2);
    if (a.rank == 1 || below(5) == 0)
        b.rank = 1 + (int)below(2);
    if (b.rank > 1) {
        b.dim[b.rank - 2] = k;
        b.dim[b.rank - 1] = 1 + below(9);
    } else {
        b.dim[0] = k;
    }
    for (int d = 0; d < b.rank - 2 && b.rank == a.rank; d++)
        if (below(4) == 0)
            (below(2) ? &a : &b)->dim[d] = 1;
    struct value *x = made(n, &a), *y;
    if (turned && b.rank >= 2) { /* as attention does: A times B transposed */
        int64_t last = b.dim[b.rank - 1];
        b.dim[b.rank - 1] = b.dim[b.rank - 2];
        b.dim[b.rank - 2] = last;
        struct node *node = some_node(n, "torch.Tensor.transpose", made(n, &b));
        whole(n, node, "dim0", -1);
        whole(n, node, "dim1", -2);
        y = same_scale(finish(n, node, node->inputs[0]->dtype));
    } else {
        y = below(5) ? made(n, &b) : some_constant(n, &b, DT_QINT8, 1);
    }
    struct node *node = some_node(n, "torch.matmul", x);
    OK(node_add_input(n->g, node, y, &n->err));
    return finish(n, node, any());
}

/* ── windows ── */

static struct value *some_pool(struct net *n)
{
    static const char *const names[2][3] = {
        {"torch.nn.MaxPool1d", "torch.nn.MaxPool2d", "torch.nn.MaxPool3d"},
        {"torch.nn.AvgPool1d", "torch.nn.AvgPool2d", "torch.nn.AvgPool3d"}};
    int k = 1 + (int)below(3), mean = (int)below(2);
    struct shape s = {.rank = k + 2, .dim = {1 + (below(4) == 0), 1 + below(20)}};
    int64_t kernel[3], stride[3], padding[3], dilation[3] = {1, 1, 1};
    for (int d = 0; d < k; d++) {
        s.dim[2 + d] = 5 + below(k == 3 ? 3 : 12);
        kernel[d] = 1 + below(3);
        stride[d] = 1 + below(3);
        padding[d] = below((uint32_t)kernel[d] / 2 + 1);
        if (!mean && s.dim[2 + d] > 6)
            dilation[d] = 1 + below(2);
    }
    if (below(5) == 0) {
        memmove(s.dim, s.dim + 1, (size_t)(k + 1) * sizeof *s.dim);
        s.rank--;
    }
    struct node *node = some_node(n, names[mean][k - 1], made(n, &s));
    ints(n, node, "kernel_size", k, kernel);
    if (below(4))
        ints(n, node, "stride", k, stride);
    /* Means over three axes have windows of one size. */
    bool uneven = !mean || k < 3;
    if (!uneven)
        memset(padding, 0, sizeof padding);
    ints(n, node, "padding", k, padding);
    OK(node_set_bool(n->g, node, "ceil_mode", uneven && below(2), &n->err));
    if (!mean) {
        ints(n, node, "dilation", k, dilation);
    } else {
        OK(node_set_bool(n->g, node, "count_include_pad", below(2), &n->err));
        if (below(3) == 0)
            whole(n, node, "divisor_override", 1 + below(9));
    }
    return finish(n, node, below(3) ? node->inputs[0]->dtype : any());
}

static struct value *adaptive(struct net *n)
{
    static const char *const names[2][3] = {
        {"torch.nn.AdaptiveMaxPool1d", "torch.nn.AdaptiveMaxPool2d", "torch.nn.AdaptiveMaxPool3d"},
        {"torch.nn.AdaptiveAvgPool1d", "torch.nn.AdaptiveAvgPool2d", "torch.nn.AdaptiveAvgPool3d"}};
    int k = 1 + (int)below(3);
    struct shape s = some_shape(k + 2, k + 2, 9);
    int64_t size[3];
    bool all = below(2);
    for (int d = 0; d < k; d++)
        size[d] = all ? 1 : k == 3 && d == 0 ? s.dim[2] : 1 + below(5);
    struct node *node = some_node(n, names[below(2)][k - 1], made(n, &s));
    ints(n, node, "output_size", k, size);
    return finish(n, node, any());
}

static struct value *mean(struct net *n)
{
    struct shape s = some_shape(3, 4, 9);
    struct node *node = some_node(n, "torch.mean", made(n, &s));
    ints(n, node, "dim", 2, below(2) ? (const int64_t[]){-1, -2} : (const int64_t[]){-2, -3});
    OK(node_set_bool(n->g, node, "keepdim", below(2), &n->err));
    return finish(n, node, any());
}

/* ── elements ── */

static struct value *number_of(struct net *n)
{
    struct shape one = {.rank = 0};
    float *v = ARENA_NEW(&n->arena, float, &n->err);
    OK(v);
    *v = (float)(below(400) / 100. - 2);
    struct value *c = graph_add_constant(n->g, NULL, &one, DT_FLOAT32, v, 4, &n->err);
    OK(c);
    return c;
}

static struct value *two_maps(struct net *n)
{
    static const char *const ops[] = {"torch.add", "torch.sub", "torch.mul", "torch.div", "torch.maximum",
                                      "torch.minimum", "torch.eq", "torch.lt", "torch.ge", "torch.fmod",
                                      "torch.remainder", "torch.atan2", "torch.logical_and"};
    uint32_t which = below(13), kind = below(4);
    struct shape s = some_shape(1, 5, 6), o = s;
    for (int d = 0; d < s.rank; d++)
        if (below(3) == 0)
            o.dim[d] = 1;
    int less = kind == 1 ? (int)below((uint32_t)s.rank) : 0;
    memmove(o.dim, o.dim + less, (size_t)(s.rank - less) * sizeof *o.dim);
    o.rank -= less;
    struct value *a = made(n, &s), *b = kind == 0   ? number_of(n)
                                        : kind == 3 ? some_constant(n, &o, DT_QINT8, 1)
                                                    : made(n, &o);
    bool turned = below(3) == 0 && kind != 0;
    struct node *node = some_node(n, ops[which], turned ? b : a);
    OK(node_add_input(n->g, node, turned ? a : b, &n->err));
    if (which < 2 && kind != 0 && below(3) == 0)
        number(n, node, "alpha", below(100) / 20. - 2.5);
    if (which < 3 && below(3) == 0)
        text(n, node, "activation", below(2) ? "relu" : "relu6");
    bool truth = (which >= 6 && which <= 8) || which == 12;
    return finish(n, node, truth ? DT_QBOOL : any());
}

static struct value *cut_off(struct net *n)
{
    static const char *const ops[] = {"torch.nn.ReLU", "torch.nn.ReLU6", "torch.nn.Hardtanh",
                                      "torch.clamp", "torch.clamp"};
    struct shape s = some_shape(1, 5, 7);
    uint32_t which = below(5);
    struct node *node = some_node(n, ops[which], made(n, &s));
    if (which == 3) {
        number(n, node, "min", below(100) / 50. - 1.5);
        if (below(2))
            number(n, node, "max", below(100) / 50.);
    }
    if (which == 4) {
        OK(node_add_input(n->g, node, number_of(n), &n->err) &&
           node_add_input(n->g, node, number_of(n), &n->err));
    }
    return finish(n, node, below(2) ? node->inputs[0]->dtype : any());
}

static struct value *by_table(struct net *n)
{
    static const char *const ops[] = {"torch.nn.Sigmoid", "torch.nn.GELU", "torch.nn.SiLU", "torch.exp",
                                      "torch.nn.LeakyReLU", "torch.abs", "torch.neg", "torch.sqrt"};
    struct shape s = some_shape(1, 5, 7);
    struct value *x = below(4) ? made(n, &s) : some_input(n, &s, DT_QINT16);
    return finish(n, some_node(n, ops[below(8)], x), any());
}

static struct value *slopes(struct net *n)
{
    struct shape s = some_shape(2, 5, 7), w = shape_of(1, &s.dim[1]);
    if (below(3) == 0 || s.rank < 3)
        w.dim[0] = 1;
    struct node *node = some_node(n, "torch.nn.PReLU", made(n, &s));
    OK(node_add_param(n->g, node, "weight", some_constant(n, &w, DT_QINT8, 1), &n->err));
    return finish(n, node, any());
}

static struct value *scales(struct net *n)
{
    struct shape s = some_shape(1, 5, 7);
    struct value *x = made(n, &s);
    if (below(2))
        x = quantize(n, dequantize(n, x, x->dtype), small());
    return below(2) ? dequantize(n, x, x->dtype) : x;
}

/* ── moving ── */

static struct value *permute(struct net *n, struct value *x)
{
    int64_t order[SHAPE_MAX_RANK];
    for (int d = 0; d < x->shape.rank; d++)
        order[d] = d;
    for (int d = x->shape.rank - 1; d > 0; d--) {
        int64_t k = below((uint32_t)d + 1), v = order[d];
        order[d] = order[k];
        order[k] = v;
    }
    struct node *node = some_node(n, "torch.permute", x);
    ints(n, node, "dims", x->shape.rank, order);
    return moved(n, node);
}

/* The same elements in axes that are products and parts of the old ones. */
static struct value *reshape(struct net *n, struct value *x)
{
    int64_t left = shape_elements(&x->shape), dims[6];
    int count = 0;
    while (count < 5 && left > 1) {
        int64_t d = 1 + below(6);
        if (left % d == 0 && d > 1) {
            dims[count++] = d;
            left /= d;
        } else if (below(4) == 0) {
            break;
        }
    }
    dims[count++] = left;
    struct node *node = some_node(n, "torch.reshape", x);
    ints(n, node, "shape", count, dims);
    return moved(n, node);
}

static struct value *flip(struct net *n, struct value *x)
{
    struct node *node = some_node(n, "torch.flip", x);
    int64_t dims[2] = {below((uint32_t)x->shape.rank), 0};
    dims[1] = (dims[0] + 1) % x->shape.rank;
    ints(n, node, "dims", dims[1] == dims[0] ? 1 : 1 + (int)below(2), dims);
    return moved(n, node);
}

static struct value *roll(struct net *n, struct value *x)
{
    struct node *node = some_node(n, "torch.roll", x);
    int64_t dims[2] = {below((uint32_t)x->shape.rank), 0}, shifts[2] = {(int64_t)below(9) - 4, 1};
    dims[1] = (dims[0] + 1) % x->shape.rank;
    int count = below(4) == 0 ? 0 : dims[1] == dims[0] ? 1 : 1 + (int)below(2);
    ints(n, node, "shifts", count ? count : 1, shifts);
    if (count)
        ints(n, node, "dims", count, dims);
    return moved(n, node);
}

static struct value *slice(struct net *n, struct value *x)
{
    struct node *node = some_node(n, "torch.Tensor.__getitem__", x);
    int64_t axis = below((uint32_t)x->shape.rank), d = x->shape.dim[axis], start = below((uint32_t)d),
            end = start + 1 + below((uint32_t)(d - start)), step = 1 + below(3);
    if (below(4) == 0) {
        whole(n, node, "select_axes", axis);
        whole(n, node, "select_indices", (int64_t)below((uint32_t)d) - (below(2) ? d : 0));
        if (x->shape.rank == 1)
            return moved(n, node);
    } else if (below(4) == 0) {
        ints(n, node, "starts", 1, (const int64_t[]){end - 1});
        ints(n, node, "ends", 1, (const int64_t[]){start == 0 ? -d - 1 : start - 1});
        ints(n, node, "steps", 1, (const int64_t[]){-step});
        ints(n, node, "axes", 1, &axis);
    } else {
        ints(n, node, "starts", 1, &start);
        ints(n, node, "ends", 1, &end);
        ints(n, node, "steps", 1, &step);
        ints(n, node, "axes", 1, &axis);
    }
    return moved(n, node);
}

static struct value *grow(struct net *n, struct value *x)
{
    int64_t times[SHAPE_MAX_RANK];
    struct node *node = some_node(n, "torch.Tensor.repeat", x);
    for (int d = 0; d < x->shape.rank; d++)
        times[d] = 1 + (below(3) == 0);
    ints(n, node, "repeats", x->shape.rank, times);
    return moved(n, node);
}

static struct value *expand(struct net *n, struct value *x)
{
    int64_t size[SHAPE_MAX_RANK];
    struct node *node = some_node(n, "torch.Tensor.expand", x);
    for (int d = 0; d < x->shape.rank; d++)
        size[d] = x->shape.dim[d] == 1 ? 1 + below(4) : x->shape.dim[d];
    ints(n, node, "size", x->shape.rank, size);
    return moved(n, node);
}

static struct value *pad(struct net *n, struct value *x)
{
    static const char *const modes[] = {"constant", "reflect", "replicate", "circular"};
    struct node *node = some_node(n, "torch.nn.functional.pad", x);
    int axes = 1 + (int)below(x->shape.rank > 1 ? 2 : 1);
    const char *mode = modes[below(4)];
    int64_t pairs[4];
    for (int i = 0; i < 2 * axes; i++) {
        int64_t d = x->shape.dim[x->shape.rank - 1 - i / 2];
        pairs[i] = strcmp(mode, "constant") == 0 ? (int64_t)below(4) - (d > 4)
                                                 : below((uint32_t)(d > 3 ? 3 : d));
    }
    ints(n, node, "pad", 2 * axes, pairs);
    text(n, node, "mode", mode);
    if (strcmp(mode, "constant") == 0 && below(2))
        number(n, node, "value", below(100) / 50. - 1);
    return moved(n, node);
}

static struct value *shuffle(struct net *n, struct value *x)
{
    int64_t r = 2, c = x->shape.rank == 4 ? x->shape.dim[1] : 0;
    bool up = c && c % 4 == 0,
         down = c && x->shape.dim[2] % 2 == 0 && x->shape.dim[3] % 2 == 0;
    if (!c || (!up && !down && c % 2))
        return x;
    struct node *node = some_node(n,
                                  up && below(2) ? "torch.nn.PixelShuffle"
                                  : down         ? "torch.nn.PixelUnshuffle"
                                                 : "torch.nn.ChannelShuffle",
                                  x);
    if (strcmp(node->op_name, "torch.nn.ChannelShuffle") == 0 && c % 2)
        return x;
    whole(n, node, strstr(node->op_name, "Pixel") == NULL ? "groups"
                   : strstr(node->op_name, "Un")          ? "downscale_factor"
                                                          : "upscale_factor",
          r);
    if (strstr(node->op_name, "Pixel") && below(3) == 0)
        text(n, node, "mode", "DCR");
    return moved(n, node);
}

static struct value *pieces(struct net *n, struct value *x)
{
    int64_t axis = below((uint32_t)x->shape.rank), d = x->shape.dim[axis];
    struct node *node = some_node(n, "torch.split", x);
    whole(n, node, "split_size_or_sections", (d + 1) / 2);
    whole(n, node, "dim", axis);
    struct value *first = node_add_output(n->g, node, NULL, &n->err), *second = NULL;
    OK(first);
    if (d > 1)
        OK(second = node_add_output(n->g, node, NULL, &n->err));
    first->dtype = x->dtype;
    first->quant = x->quant;
    if (second) {
        second->dtype = x->dtype;
        second->quant = x->quant;
    }
    OK(op_apply(n->g, node, &n->err));
    if (!second)
        return first;
    /* The other way round, one of them on the way through something. */
    struct value *turned = below(2) ? finish(n, some_node(n, "torch.nn.ReLU", first), x->dtype) : first;
    struct node *again = some_node(n, "torch.cat", second);
    OK(node_add_input(n->g, again, turned, &n->err));
    whole(n, again, "dim", axis);
    return below(3) ? same_scale(finish(n, again, x->dtype)) : finish(n, again, small());
}

static struct value *together(struct net *n, struct value *x)
{
    bool stack = below(3) == 0 && x->shape.rank < 5;
    struct node *node = some_node(n, stack ? "torch.stack" : "torch.cat", x);
    int64_t axis = below((uint32_t)x->shape.rank);
    struct shape s = x->shape;
    if (!stack)
        s.dim[axis] = 1 + below(20);
    struct value *y = finish(n, some_node(n, "torch.nn.ReLU", some_input(n, &s, small())), x->dtype);
    if (below(2))
        y->quant = x->quant;
    OK(node_add_input(n->g, node, y, &n->err));
    if (below(3) == 0)
        OK(node_add_input(n->g, node, x, &n->err));
    whole(n, node, "dim", axis);
    return below(3) ? same_scale(finish(n, node, x->dtype)) : finish(n, node, small());
}

typedef struct value *move_fn(struct net *n, struct value *x);
static move_fn *const moves[] = {permute, reshape, flip,   roll,    slice,  grow,
                                 expand,  pad,     shuffle, pieces, together};
enum { MOVES = sizeof moves / sizeof moves[0] };

static struct value *limited(struct net *n, move_fn *f, struct value *x)
{
    return shape_elements(&x->shape) > 3000 ? x : f(n, x);
}

static struct value *one_move(struct net *n)
{
    struct shape s = some_shape(1, 5, 8);
    return limited(n, moves[below(MOVES)], made(n, &s));
}

static struct value *many_moves(struct net *n)
{
    struct shape s = some_shape(2, 5, 7);
    struct value *x = made(n, &s);
    for (int i = 2 + (int)below(5); i > 0; i--) {
        x = limited(n, moves[below(MOVES)], x);
        if (x->shape.rank == 0)
            return x;
        if (below(4) == 0)
            x = finish(n, some_node(n, "torch.nn.ReLU", x), x->dtype);
    }
    return x;
}

/* ── running ── */

static void *content(struct net *n, const struct value *v)
{
    size_t bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
    unsigned char *p = arena_alloc(&n->arena, bytes, &n->err);
    OK(p);
    for (size_t k = 0; k < bytes; k++)
        p[k] = (unsigned char)below(256);
    return p;
}

static void try(const char *what, make_fn *make, int times)
{
    struct compile_case c = {.what = what};
    const char *only = getenv("BPUHUB_CASE");
    for (int i = 0; i < times; i++) {
        struct net nn, *n = &nn;
        const void *in[32];
        seed = (uint64_t)i * 2654435761u + (getenv("BPUHUB_SEED") ? (uint64_t)atoi(getenv("BPUHUB_SEED")) * 7919 : 0) + 99;
        for (const char *p = what; *p; p++)
            seed = seed * 31 + (unsigned char)*p;
        below(2);
        if (only && atoi(only) != i)
            continue;
        c.number = i;
        c.verbose = only != NULL;
        net_init(n);
        struct value *y = make(n);
        if (!y->is_output)
            OK(graph_add_output(n->g, y, &n->err));
        net_fix(n);
        OK(graph_sort(n->g, &n->err) && graph_verify(n->g, &n->err));
        assert_true(n->g->input_count <= 32);
        for (int k = 0; k < n->g->input_count; k++)
            in[k] = content(n, n->g->inputs[k]);
        compile_case_run(&c, n, in, 3);
        arena_fini(&n->arena);
    }
    if (!only) {
        assert_int_equal(c.unsupported, 0);
        assert_true(c.compiled > times);
        assert_true(c.distinct > 4 * times);
    }
}

#define TRY(name, times)                                                                           \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        try(#name, name, times);                                                                   \
    }
TRY(conv_1, 60)
TRY(conv_2, 120)
TRY(conv_3, 30)
TRY(deconv_2, 60)
TRY(deconv_3, 20)
TRY(sums, 30)
TRY(linear_of_image, 40)
TRY(linear_any, 60)
TRY(matmul, 80)
TRY(some_pool, 100)
TRY(adaptive, 60)
TRY(mean, 30)
TRY(two_maps, 150)
TRY(cut_off, 60)
TRY(by_table, 40)
TRY(slopes, 40)
TRY(scales, 40)
TRY(one_move, 250)
TRY(many_moves, 150)

/* ── what a network becomes ── */

/* A convolution of `m` channels with 3x3 windows and padding 1. */
static struct value *plain_conv(struct net *n, struct value *x, int64_t m, int64_t groups)
{
    struct node *node = some_node(n, "torch.nn.Conv2d", x);
    struct shape w = shape_of(4, (const int64_t[]){m, x->shape.dim[1] / groups, 3, 3});
    ints(n, node, "padding", 2, (const int64_t[]){1, 1});
    whole(n, node, "groups", groups);
    OK(node_add_param(n->g, node, "weight", some_constant(n, &w, DT_QINT8, (int)m), &n->err));
    return finish(n, node, DT_QINT8);
}

/* An inception of two branches that are written in place, a mean, and a linear layer behind a view. */
static void small_network(struct net *n)
{
    struct shape s = shape_of(4, (const int64_t[]){1, 3, 16, 20});
    struct value *x = quantize(n, some_input(n, &s, DT_FLOAT32), DT_QINT8);
    struct value *trunk = plain_conv(n, x, 16, 1), *a = plain_conv(n, trunk, 32, 1),
                 *b = plain_conv(n, trunk, 16, 16);
    b->quant = a->quant;
    struct node *cat = some_node(n, "torch.cat", a);
    OK(node_add_input(n->g, cat, b, &n->err));
    whole(n, cat, "dim", 1);
    struct value *both = same_scale(finish(n, cat, DT_QINT8));
    struct node *pooled = some_node(n, "torch.nn.MaxPool2d", both);
    ints(n, pooled, "kernel_size", 2, (const int64_t[]){4, 4});
    struct node *flat = some_node(n, "torch.flatten", same_scale(finish(n, pooled, DT_QINT8)));
    whole(n, flat, "start_dim", 1);
    struct value *v = same_scale(finish(n, flat, DT_QINT8));
    struct node *last = some_node(n, "torch.nn.Linear", v);
    struct shape w = shape_of(2, (const int64_t[]){10, v->shape.dim[1]});
    OK(node_add_param(n->g, last, "weight", some_constant(n, &w, DT_QINT8, 10), &n->err));
    OK(graph_add_output(n->g, dequantize(n, finish(n, last, DT_QINT8), DT_QINT8), &n->err));
    net_fix(n);
    OK(graph_sort(n->g, &n->err) && graph_verify(n->g, &n->err));
}

static void test_dump(void **state)
{
    static const char path[] = "tests/golden/lower_small.txt";
    struct net nn, *n = &nn;
    struct buf out;
    (void)state;
    seed = 5;
    net_init(n);
    small_network(n);
    struct network *net = lower_graph(&n->arena, n->g, march_find("bernoulli2"), NULL, &n->err);
    OK(net);
    buf_init(&out, BUF_DEFAULT_CAP);
    network_dump(net, &out);
    OK(buf_ok(&out, &n->err));
    if (getenv("UPDATE_GOLDEN")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(out.data, 1, out.size, f), out.size);
        assert_int_equal(fclose(f), 0);
    }
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing: run with UPDATE_GOLDEN=1 and look at it", path);
    char *want = calloc(1, out.size + 2);
    assert_non_null(want);
    size_t size = fread(want, 1, out.size + 1, f);
    fclose(f);
    bool same = size == out.size && memcmp(want, out.data, size) == 0;
    free(want);
    if (!same)
        fail_msg("the layers differ from %s: if that is wanted, run with UPDATE_GOLDEN=1\n%s", path,
                 buf_str(&out));
    buf_fini(&out);
    arena_fini(&n->arena);
}

/* What cannot be lowered is refused with the node and the reason. */
static void test_refusals(void **state)
{
    struct net nn, *n = &nn;
    struct shape s = shape_of(4, (const int64_t[]){1, 3, 8, 8});
    (void)state;
    net_init(n);
    struct value *y = finish(n, some_node(n, "torch.nn.ReLU", some_input(n, &s, DT_FLOAT32)), DT_FLOAT32);
    OK(graph_add_output(n->g, y, &n->err) && graph_sort(n->g, &n->err));
    assert_null(lower_graph(&n->arena, n->g, march_find("bayes"), NULL, &n->err));
    assert_int_equal(n->err.code, BPU_UNSUPPORTED);
    assert_non_null(strstr(n->err.hint, "bpuhub quantize"));
    assert_string_equal(n->err.where, y->producer->name);
    arena_fini(&n->arena);
    net_init(n);
    s = shape_of(5, (const int64_t[]){1, 3, 4, 4, 4});
    struct node *node = some_node(n, "torch.nn.AvgPool3d", some_input(n, &s, DT_QINT8));
    ints(n, node, "kernel_size", 3, (const int64_t[]){3, 3, 3});
    ints(n, node, "padding", 3, (const int64_t[]){1, 1, 1});
    OK(node_set_bool(n->g, node, "count_include_pad", false, &n->err));
    OK(graph_add_output(n->g, finish(n, node, DT_QINT8), &n->err) && graph_sort(n->g, &n->err));
    assert_null(lower_graph(&n->arena, n->g, march_find("bayes"), NULL, &n->err));
    assert_int_equal(n->err.code, BPU_UNSUPPORTED);
    assert_non_null(strstr(n->err.message, "different numbers of elements"));
    arena_fini(&n->arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_1),    cmocka_unit_test(test_conv_2),
        cmocka_unit_test(test_conv_3),    cmocka_unit_test(test_deconv_2),
        cmocka_unit_test(test_deconv_3),  cmocka_unit_test(test_sums),
        cmocka_unit_test(test_linear_of_image), cmocka_unit_test(test_linear_any),
        cmocka_unit_test(test_matmul),    cmocka_unit_test(test_some_pool),
        cmocka_unit_test(test_adaptive),  cmocka_unit_test(test_mean),
        cmocka_unit_test(test_two_maps),  cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_by_table),  cmocka_unit_test(test_slopes),
        cmocka_unit_test(test_scales),    cmocka_unit_test(test_one_move),
        cmocka_unit_test(test_many_moves),
        cmocka_unit_test(test_dump),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
