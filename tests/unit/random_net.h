/* random_net: random nodes on quantized values, for tests that compare two ways to compute them.
 * Include it after cmocka.h. */
#ifndef BPU_UNIT_RANDOM_NET_H
#define BPU_UNIT_RANDOM_NET_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/op.h"
#include "core/run/fixed_unary.h"
#include "core/run/requant.h"

static uint64_t seed = 7;
static bool always_fixed; /* only nodes that net_fix() completes */
static inline uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct net {
    struct arena arena;
    struct graph *g;
    struct bpu_error err;
};

#define OK(x)                                                                                      \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fail_msg("%s: %s: %s", #x, n->err.where, n->err.message);                              \
        }                                                                                          \
    } while (0)

static inline void net_init(struct net *n)
{
    memset(&n->err, 0, sizeof n->err);
    arena_init(&n->arena, (size_t)1 << 30);
    n->g = graph_new(&n->arena, "net", "test", &n->err);
    assert_non_null(n->g);
}

static inline struct quant some_quant(struct net *n, enum dtype t, int count)
{
    double *s = ARENA_ARRAY(&n->arena, double, count, &n->err);
    int64_t *z = ARENA_ARRAY(&n->arena, int64_t, count, &n->err);
    OK(s && z);
    for (int i = 0; i < count; i++) {
        s[i] = (double)(float)((1 + below(1000)) / 20000.);
        z[i] = count > 1 ? 0 : t == DT_QUINT8 ? below(256) : below(3) ? 0 : (int64_t)below(255) - 127;
    }
    return (struct quant){s, z, count, 0};
}

static inline struct value *some_input(struct net *n, const struct shape *shape, enum dtype t)
{
    struct value *v = graph_add_value(n->g, NULL, &n->err);
    OK(v && graph_add_input(n->g, v, &n->err));
    v->shape = *shape;
    v->dtype = t;
    if (dtype_is_quantized(t))
        v->quant = some_quant(n, t, 1);
    return v;
}

static inline struct value *some_constant(struct net *n, const struct shape *shape, enum dtype t, int scales)
{
    size_t bytes = (size_t)shape_elements(shape) * dtype_size(t);
    unsigned char *data = arena_alloc(&n->arena, bytes, &n->err);
    OK(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)below(256);
    if (t == DT_QINT32)
        for (size_t i = 0; i < bytes; i += 4)
            memcpy(data + i, &(int32_t){(int32_t)below(4000) - 2000}, 4);
    struct value *v = graph_add_constant(n->g, NULL, shape, t, data, bytes, &n->err);
    OK(v);
    if (scales)
        v->quant = some_quant(n, t, scales);
    return v;
}

static inline struct node *some_node(struct net *n, const char *op, struct value *x)
{
    struct node *node = graph_add_node(n->g, NULL, op, &n->err);
    OK(node && op_bind(node) && (!x || node_add_input(n->g, node, x, &n->err)));
    return node;
}

static inline struct value *finish(struct net *n, struct node *node, enum dtype t)
{
    struct value *y = node_add_output(n->g, node, NULL, &n->err);
    OK(y);
    y->dtype = t;
    if (dtype_is_quantized(t) && t != DT_QINT32)
        y->quant = some_quant(n, t, 1);
    OK(op_apply(n->g, node, &n->err));
    return y;
}

static inline struct shape of4(int64_t c, int64_t h, int64_t w)
{
    return shape_of(4, (const int64_t[]){1 + (below(4) == 0), c, h, w});
}

static inline enum dtype small(void)
{
    return below(2) ? DT_QINT8 : DT_QUINT8;
}

/* ── nodes ── */

static inline struct value *conv(struct net *n, struct value *x, enum dtype t)
{
    int64_t c = x->shape.dim[1], groups = 1, kernel[2], stride[2], padding[2], dilation[2];
    uint32_t kind = below(4);
    int64_t m = 1 + below(90);
    if (kind == 0) {
        groups = m = c; /* depthwise */
    } else if (kind == 1 && c % 2 == 0) {
        groups = 2;
        m += m % 2;
    }
    for (int i = 0; i < 2; i++) {
        kernel[i] = below(2) ? 1 : 1 + below(4);
        stride[i] = 1 + below(2);
        dilation[i] = 1 + (below(3) == 0);
        padding[i] = below((uint32_t)kernel[i]);
        if ((kernel[i] - 1) * dilation[i] + 1 > x->shape.dim[2 + i] + 2 * padding[i])
            kernel[i] = 1;
    }
    struct node *node = some_node(n, "torch.nn.Conv2d", x);
    struct shape w = shape_of(4, (const int64_t[]){m, c / groups, kernel[0], kernel[1]}),
                 b = shape_of(1, &m);
    OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
       node_set_ints(n->g, node, "stride", stride, 2, &n->err) &&
       node_set_ints(n->g, node, "padding", padding, 2, &n->err) &&
       node_set_ints(n->g, node, "dilation", dilation, 2, &n->err) &&
       node_set_int(n->g, node, "groups", groups, &n->err) &&
       node_add_param(n->g, node, "weight",
                      some_constant(n, &w, DT_QINT8, below(2) ? (int)m : 1), &n->err));
    if (below(4))
        OK(node_add_param(n->g, node, "bias", some_constant(n, &b, DT_QINT32, 0), &n->err));
    if (below(2))
        OK(node_set_string(n->g, node, "activation", below(2) ? "relu" : "relu6", &n->err));
    return finish(n, node, t);
}

static inline struct value *deconv(struct net *n, struct value *x, enum dtype t)
{
    int64_t c = x->shape.dim[1], groups = 1, kernel[2], stride[2], padding[2], dilation[2], m;
    if (c % 2 == 0 && below(3) == 0)
        groups = below(2) ? c : 2;
    m = groups * (1 + below(groups > 2 ? 2 : 20));
    for (int i = 0; i < 2; i++) {
        kernel[i] = 1 + below(4);
        stride[i] = 1 + below(3);
        dilation[i] = 1 + (below(4) == 0);
        padding[i] = below((uint32_t)kernel[i]);
        while ((x->shape.dim[2 + i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 <=
               2 * padding[i])
            padding[i]--;
    }
    struct node *node = some_node(n, "torch.nn.ConvTranspose2d", x);
    struct shape w = shape_of(4, (const int64_t[]){c, m / groups, kernel[0], kernel[1]}),
                 b = shape_of(1, &m);
    struct value *weight = some_constant(n, &w, DT_QINT8, below(2) ? (int)(m / groups) : 1);
    weight->quant.axis = 1;
    OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
       node_set_ints(n->g, node, "stride", stride, 2, &n->err) &&
       node_set_ints(n->g, node, "padding", padding, 2, &n->err) &&
       node_set_ints(n->g, node, "dilation", dilation, 2, &n->err) &&
       node_set_int(n->g, node, "groups", groups, &n->err) &&
       node_add_param(n->g, node, "weight", weight, &n->err) &&
       node_add_param(n->g, node, "bias", some_constant(n, &b, DT_QINT32, 0), &n->err));
    if (below(2))
        OK(node_set_string(n->g, node, "activation", below(2) ? "relu" : "relu6", &n->err));
    return finish(n, node, t);
}

/* Adds a second operand to the last node, a convolution, of the shape of its result. */
static inline void add_residual(struct net *n, struct value *y)
{
    struct value *r = some_input(n, &y->shape, small());
    OK(node_add_input(n->g, y->producer, r, &n->err));
}

static inline struct value *linear(struct net *n, struct value *x, enum dtype t)
{
    int64_t k = x->shape.dim[x->shape.rank - 1], m = 1 + below(150);
    struct node *node = some_node(n, "torch.nn.Linear", x);
    bool io = !always_fixed && below(2);
    struct shape w = shape_of(2, io ? (const int64_t[]){k, m} : (const int64_t[]){m, k}),
                 b = shape_of(1, &m);
    struct value *weight = some_constant(n, &w, DT_QINT8, below(2) ? (int)m : 1);
    weight->quant.axis = io;
    OK(node_set_string(n->g, node, "weight_layout", io ? "io" : "oi", &n->err) &&
       node_add_param(n->g, node, "weight", weight, &n->err) &&
       node_add_param(n->g, node, "bias", some_constant(n, &b, DT_QINT32, 0), &n->err));
    return finish(n, node, t);
}

static inline struct value *pool(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.nn.MaxPool2d", "torch.nn.AvgPool2d",
                                      "torch.nn.AdaptiveAvgPool2d"};
    uint32_t which = below(3);
    struct node *node = some_node(n, ops[which], x);
    int64_t kernel[2], stride[2], padding[2], size[2];
    for (int i = 0; i < 2; i++) {
        kernel[i] = 1 + below(3);
        stride[i] = 1 + below(2);
        padding[i] = below((uint32_t)kernel[i] / 2 + 1);
        if (kernel[i] > x->shape.dim[2 + i])
            kernel[i] = 1, padding[i] = 0;
        size[i] = 1 + below(4);
    }
    if (which == 2) {
        OK(node_set_ints(n->g, node, "output_size", size, 2, &n->err));
    } else {
        OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
           node_set_ints(n->g, node, "stride", stride, 2, &n->err) &&
           node_set_ints(n->g, node, "padding", padding, 2, &n->err) &&
           node_set_bool(n->g, node, "ceil_mode", below(2), &n->err));
        if (which == 1)
            OK(node_set_bool(n->g, node, "count_include_pad", below(2), &n->err));
    }
    return finish(n, node, t);
}

static inline struct value *unary(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.nn.Sigmoid", "torch.nn.Hardswish", "torch.nn.ReLU",
                                      "torch.exp", "torch.nn.ReLU6", "torch.abs"};
    return finish(n, some_node(n, ops[below(6)], x), t);
}

static inline struct value *binary(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.add", "torch.mul", "torch.sub", "torch.maximum"};
    struct node *node = some_node(n, ops[below(4)], x);
    struct shape s = x->shape;
    if (below(3) == 0 && s.rank == 4 && s.dim[0] == 1)
        s.dim[2] = s.dim[3] = 1;
    else if (below(6) == 0)
        s.dim[s.rank - 1] = 1;
    struct shape one = shape_of(0, NULL);
    uint32_t second = below(6);
    OK(node_add_input(n->g, node,
                      second == 0 ? some_constant(n, &one, small(), 1) : some_input(n, &s, small()),
                      &n->err));
    if (second < 3) { /* the other way round */
        struct value *first = node->inputs[0];
        node->inputs[0] = node->inputs[1];
        node->inputs[1] = first;
    }
    if (below(3) == 0)
        OK(node_set_string(n->g, node, "activation", below(2) ? "relu" : "relu6", &n->err));
    return finish(n, node, t);
}

static inline struct value *cat(struct net *n, struct value *x, enum dtype t)
{
    struct node *node = some_node(n, "torch.cat", x);
    struct shape s = x->shape;
    s.dim[1] = 1 + below(9);
    struct value *second = some_input(n, &s, small());
    OK(node_add_input(n->g, node, second, &n->err) &&
       node_add_input(n->g, node, x, &n->err) &&
       node_set_int(n->g, node, "dim", 1, &n->err));
    struct value *y = finish(n, node, t);
    if (below(2) && t == x->dtype)
        y->quant = x->quant;
    return y;
}

static inline struct value *flatten(struct net *n, struct value *x, enum dtype t)
{
    (void)t;
    struct node *node = some_node(n, "torch.flatten", x);
    OK(node_set_int(n->g, node, "start_dim", 1, &n->err));
    struct value *y = finish(n, node, x->dtype);
    y->quant = x->quant;
    return y;
}

static inline struct value *dequantize(struct net *n, struct value *x, enum dtype t)
{
    (void)t;
    return finish(n, some_node(n, "torch.quantization.DeQuantStub", x), DT_FLOAT32);
}

static inline struct value *quantize(struct net *n, struct value *x, enum dtype t)
{
    struct node *node = some_node(n, "torch.quantization.QuantStub", x);
    OK(node_set_string(n->g, node, "dtype", dtype_name(t), &n->err));
    struct value *y = finish(n, node, t);
    OK(node_set_float(n->g, node, "scale", y->quant.scale[0], &n->err) &&
       node_set_int(n->g, node, "zero_point", y->quant.zero_point[0], &n->err));
    return y;
}

/* ── nodes that move, compare, or go through real numbers; NULL: not with this operand ── */

static inline struct value *axis_op(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.nn.Softmax", "torch.hardmax", "torch.cumsum",
                                      "torch.nn.LogSoftmax"};
    struct node *node = some_node(n, ops[below(4)], x);
    OK(node_set_int(n->g, node, "dim", below((uint32_t)x->shape.rank), &n->err));
    return finish(n, node, t);
}

static inline struct value *reduce(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.mean", "torch.sum", "torch.amax", "torch.amin",
                                      "torch.argmax", "torch.argmin"};
    uint32_t which = below(6);
    struct node *node = some_node(n, ops[which], x);
    int64_t dim[2] = {below((uint32_t)x->shape.rank), 0};
    dim[1] = (dim[0] + 1 + below((uint32_t)x->shape.rank - 1)) % x->shape.rank;
    if (which >= 4)
        OK(node_set_int(n->g, node, "dim", dim[0], &n->err));
    else
        OK(node_set_ints(n->g, node, "dim", dim, 1 + (int)below(2), &n->err));
    OK(node_set_bool(n->g, node, "keepdim", below(2), &n->err));
    return finish(n, node, which >= 4 ? DT_INT64 : t);
}

static inline struct value *move(struct net *n, struct value *x, enum dtype t)
{
    int64_t rank = x->shape.rank, list[8];
    struct node *node = NULL;
    const int64_t *d = x->shape.dim;
    switch (below(8)) {
    case 0:
        node = some_node(n, "torch.permute", x);
        for (int i = 0; i < rank; i++)
            list[i] = i;
        for (int i = 1; i < rank; i++) {
            int k = (int)below((uint32_t)i + 1);
            int64_t swap = list[i];
            list[i] = list[k];
            list[k] = swap;
        }
        OK(node_set_ints(n->g, node, "dims", list, (int)rank, &n->err));
        break;
    case 1:
        node = some_node(n, "torch.flip", x);
        list[0] = below((uint32_t)rank);
        OK(node_set_ints(n->g, node, "dims", list, 1, &n->err));
        break;
    case 2:
        node = some_node(n, "torch.roll", x);
        list[0] = below((uint32_t)rank);
        list[1] = (int64_t)below(7) - 3;
        OK(node_set_ints(n->g, node, "dims", list, 1, &n->err) &&
           node_set_ints(n->g, node, "shifts", list + 1, 1, &n->err));
        break;
    case 3:
        node = some_node(n, "torch.nn.functional.pad", x);
        for (int i = 0; i < 4; i++)
            list[i] = below(3);
        OK(node_set_ints(n->g, node, "pad", list, 4, &n->err));
        break;
    case 4:
        if (rank != 4 || d[1] % 4)
            return NULL;
        node = some_node(n, "torch.nn.PixelShuffle", x);
        OK(node_set_int(n->g, node, "upscale_factor", 2, &n->err));
        break;
    case 5:
        if (rank != 4 || d[2] % 2 || d[3] % 2)
            return NULL;
        node = some_node(n, "torch.nn.PixelUnshuffle", x);
        OK(node_set_int(n->g, node, "downscale_factor", 2, &n->err));
        break;
    case 6:
        node = some_node(n, "torch.Tensor.reshape", x);
        list[0] = d[0];
        list[1] = rank > 2 && below(2) ? d[2] : 1;
        list[2] = -1;
        OK(node_set_ints(n->g, node, "shape", list, 3, &n->err));
        break;
    default:
        if (rank != 4 || d[1] % 2)
            return NULL;
        node = some_node(n, "torch.nn.ChannelShuffle", x);
        OK(node_set_int(n->g, node, "groups", 2, &n->err));
    }
    (void)t;
    struct value *y = finish(n, node, x->dtype);
    y->quant = x->quant;
    return y;
}

static inline struct value *compare_two(struct net *n, struct value *x, enum dtype t)
{
    static const char *const ops[] = {"torch.eq", "torch.gt", "torch.le", "torch.div", "torch.pow",
                                      "torch.fmod"};
    uint32_t which = below(6);
    struct node *node = some_node(n, ops[which], x);
    struct shape s = x->shape, one = shape_of(0, NULL);
    float *scalar = ARENA_NEW(&n->arena, float, &n->err);
    OK(scalar);
    *scalar = (float)(1 + below(100)) / 20;
    struct value *second = below(2) ? some_input(n, &s, small()) : NULL;
    if (!second) {
        second = graph_add_constant(n->g, NULL, &one, DT_FLOAT32, scalar, 4, &n->err);
        OK(second);
    }
    OK(node_add_input(n->g, node, second, &n->err));
    return finish(n, node, which < 3 ? DT_QBOOL : t);
}

static inline struct value *activation(struct net *n, struct value *x, enum dtype t)
{
    uint32_t which = below(3);
    struct node *node = some_node(n, which == 0   ? "torch.nn.Hardtanh"
                                     : which == 1 ? "torch.clamp"
                                                  : "torch.nn.PReLU", x);
    if (which == 0)
        OK(node_set_float(n->g, node, "min_val", -0.5, &n->err) &&
           node_set_float(n->g, node, "max_val", 0.75, &n->err));
    if (which == 1)
        OK(node_set_float(n->g, node, "min", -0.25, &n->err));
    if (which == 2) {
        int64_t c = below(2) && x->shape.rank > 1 ? x->shape.dim[1] : 1;
        struct shape s = shape_of(1, &c);
        OK(node_add_param(n->g, node, "weight", some_constant(n, &s, DT_QINT8, 1), &n->err));
    }
    return finish(n, node, t);
}

static inline struct value *product(struct net *n, struct value *x, enum dtype t)
{
    struct node *node = some_node(n, "torch.matmul", x);
    struct shape s = x->shape;
    int64_t k = s.dim[s.rank - 1];
    s.dim[s.rank - 1] = 1 + below(20);
    s.dim[s.rank - 2] = k;
    if (below(3) == 0)
        s.dim[0] = 1;
    OK(node_add_input(n->g, node, some_input(n, &s, small()), &n->err));
    return finish(n, node, t);
}

static inline struct value *resize(struct net *n, struct value *x, enum dtype t)
{
    struct node *node = some_node(n, "torch.nn.functional.interpolate", x);
    bool nearest = below(2);
    int64_t size[2] = {1 + below(20), 1 + below(20)};
    OK(node_set_ints(n->g, node, "size", size, 2, &n->err) &&
       node_set_string(n->g, node, "mode", nearest ? "nearest" : "bilinear", &n->err));
    if (!nearest)
        OK(node_set_bool(n->g, node, "align_corners", below(2), &n->err));
    return finish(n, node, t);
}

/* ── the form that quant_verify() asks for ── */

static inline void fix_param(struct net *n, struct node *node, const char *name, struct value *v)
{
    for (int i = 0; i < node->param_count; i++)
        if (strcmp(node->params[i].name, name) == 0) {
            node->params[i].value = v;
            return;
        }
    OK(node_add_param(n->g, node, name, v, &n->err));
}

static inline struct value *fix_integers(struct net *n, int32_t *data, int64_t count)
{
    struct shape s = shape_of(1, &count);
    struct value *v = graph_add_constant(n->g, NULL, &s, DT_INT32, data, (size_t)count * 4, &n->err);
    OK(v);
    return v;
}

/* Scales of all channels, a bias, multipliers. */
static inline void fix_sums(struct net *n, struct node *node, bool transposed)
{
    struct value *w = node_param(node, "weight"), *b = node_param(node, "bias"), *y = node->outputs[0];
    int64_t groups = transposed ? node_int(node, "groups", 1) : 1;
    int64_t per = w->shape.dim[transposed], channels = per * groups;
    struct shape shape = shape_of(1, &channels);
    if (w->quant.count != per) {
        double *s = ARENA_ARRAY(&n->arena, double, per, &n->err);
        int64_t *z = ARENA_ARRAY(&n->arena, int64_t, per, &n->err);
        OK(s && z);
        for (int64_t i = 0; i < per; i++) {
            s[i] = w->quant.scale[0];
            z[i] = w->quant.zero_point ? w->quant.zero_point[0] : 0;
        }
        w->quant = (struct quant){s, z, (int)per, transposed};
    }
    if (!b)
        fix_param(n, node, "bias", b = some_constant(n, &shape, DT_QINT32, 0));
    double *scales = ARENA_ARRAY(&n->arena, double, channels, &n->err);
    OK(scales);
    for (int64_t i = 0; i < channels; i++)
        scales[i] = node->inputs[0]->quant.scale[0] * w->quant.scale[i % per];
    b->quant = (struct quant){scales, NULL, (int)channels, 0};
    const struct value *r = node_input(node, 1);
    struct requant_scales s = {.x = &node->inputs[0]->quant,
                               .w = &w->quant,
                               .y = &y->quant,
                               .r = r ? &r->quant : NULL,
                               .y_dtype = y->dtype,
                               .channels = channels};
    int32_t *m = ARENA_ARRAY(&n->arena, int32_t, channels, &n->err);
    int32_t *shift = ARENA_ARRAY(&n->arena, int32_t, channels, &n->err);
    int32_t *residual = ARENA_ARRAY(&n->arena, int32_t, channels, &n->err);
    OK(m && shift && residual && requant_multipliers(&s, "", m, shift, residual, &n->err));
    fix_param(n, node, "multiplier", fix_integers(n, m, channels));
    fix_param(n, node, "shift", fix_integers(n, shift, channels));
}

static inline void fix_table(struct net *n, struct node *node)
{
    const struct value *x = node->inputs[0], *y = node->outputs[0];
    size_t in = dtype_size(x->dtype), out = dtype_size(y->dtype);
    int64_t count = in == 2 ? 65536 : 256;
    struct shape shape = shape_of(1, &count);
    int32_t *made = ARENA_ARRAY(&n->arena, int32_t, count, &n->err);
    unsigned char *data = arena_alloc(&n->arena, (size_t)count * out, &n->err);
    OK(made && data &&
       fixed_unary_table(node, &x->quant, x->dtype, &y->quant, y->dtype, made, &n->err));
    for (int64_t i = 0; i < count; i++)
        memcpy(data + (size_t)i * out, &made[i], out); /* little-endian */
    struct value *v = graph_add_constant(n->g, NULL, &shape, out == 2 ? DT_INT16 : DT_INT8, data,
                                         (size_t)count * out, &n->err);
    OK(v);
    fix_param(n, node, "table", v);
}

static inline void net_fix(struct net *n)
{
    for (int i = 0; i < n->g->node_count; i++) {
        struct node *node = n->g->nodes[i];
        const char *kernel = kernel_of(node)->name;
        bool transposed = strcmp(kernel, "conv_transpose") == 0;
        if (!kernel_is_fixed(node))
            continue;
        if (transposed || strcmp(kernel, "conv") == 0 || strcmp(kernel, "linear") == 0)
            fix_sums(n, node, transposed);
        else if (strcmp(kernel, "unary") == 0)
            fix_table(n, node);
    }
}

#endif
