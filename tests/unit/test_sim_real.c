/* The instructions of isa_real.def: random operators on random shapes, types, orders and marches,
 * through compiler and simulator, against the reference kernels bit for bit; and then with a wrong
 * number somewhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/real_case.h"

static void make_softmax(struct net *n)
{
    int rank = 1 + (int)below(6);
    struct shape s = random_shape(rank, rank > 4 ? 5 : 20);
    struct node *node =
        some_node(n, below(2) ? "torch.nn.Softmax" : "torch.nn.functional.log_softmax",
                  operand(n, &s, any()));
    integer(n, node, "dim", some_axis(rank));
    result(n, node, any(), below(2) ? 1. / 256 : .03);
}

static void make_glu(struct net *n)
{
    int rank = 1 + (int)below(5);
    struct shape s = random_shape(rank, 9);
    int64_t axis = some_axis(rank);
    s.dim[axis < 0 ? axis + rank : axis] *= 2;
    struct node *node = some_node(n, "torch.nn.GLU", operand(n, &s, any()));
    integer(n, node, "dim", axis);
    result(n, node, any(), 0);
}

static void make_cumsum(struct net *n)
{
    int rank = 1 + (int)below(5);
    struct shape s = random_shape(rank, 9);
    struct node *node = some_node(n, "torch.cumsum", operand(n, &s, any()));
    integer(n, node, "dim", some_axis(rank));
    result(n, node, any(), 0);
}

static void make_sort(struct net *n)
{
    int rank = 1 + (int)below(4);
    struct shape s = random_shape(rank, 14);
    bool topk = below(2);
    int64_t axis = some_axis(rank);
    struct node *node = some_node(n, topk ? "torch.topk" : "torch.sort", operand(n, &s, any()));
    integer(n, node, "dim", axis);
    if (topk)
        integer(n, node, "k", 1 + (int64_t)below((uint32_t)s.dim[axis < 0 ? axis + rank : axis]));
    flag(n, node, topk ? "largest" : "descending", below(2));
    results(n, node, 2, (enum dtype[]){any(), DT_INT64}, 0);
}

static void make_reduce(struct net *n)
{
    static const char *const ops[] = {"torch.sum",       "torch.mean", "torch.amax",
                                      "torch.amin",      "torch.prod", "torch.norm",
                                      "torch.logsumexp", "torch.var",  "torch.std"};
    int rank = 1 + (int)below(5), count = 0;
    uint32_t which = below(9);
    struct shape s = random_shape(rank, rank > 3 ? 6 : 12);
    int64_t dims[8];
    struct node *node = some_node(n, ops[which], operand(n, &s, any()));
    for (int d = 0; d < rank; d++)
        if (below(3) == 0)
            dims[count++] = d;
    if (count == 0)
        dims[count++] = rank - 1;
    OK(node_set_ints(n->g, node, "dim", dims, count, &n->err));
    flag(n, node, "keepdim", below(2));
    if (which == 5)
        real(n, node, "p", (const double[]){1, 2, 3, INFINITY}[below(4)]);
    if (which > 6)
        flag(n, node, "unbiased", below(2));
    result(n, node, any(), (const double[]){0, .4, 3}[below(3)]);
}

static void make_order(struct net *n)
{
    static const char *const ops[] = {"torch.max", "torch.min", "torch.argmax", "torch.argmin"};
    int rank = 1 + (int)below(4);
    uint32_t which = below(4);
    struct shape s = random_shape(rank, 9);
    struct node *node = some_node(n, ops[which], operand(n, &s, any()));
    bool all = below(4) == 0;
    if (!all) {
        integer(n, node, "dim", some_axis(rank));
        flag(n, node, "keepdim", below(2));
    }
    if (which > 1)
        result(n, node, DT_INT64, 0);
    else
        results(n, node, all ? 1 : 2, (enum dtype[]){any(), DT_INT64}, 0);
}

static void make_batch_norm(struct net *n)
{
    struct shape s = random_shape(4, 12);
    struct node *node = some_node(n, "torch.nn.BatchNorm2d", operand(n, &s, any()));
    affine_params(n, node, s.dim[1]);
    if (below(4)) {
        param(n, node, "running_mean", vector(n, s.dim[1], -3, 3));
        param(n, node, "running_var", vector(n, s.dim[1], .1, 4));
    }
    result(n, node, any(), 0);
}

static void make_layer_norm(struct net *n)
{
    int rank = 1 + (int)below(5), axes = 1 + (int)below((uint32_t)rank);
    struct shape s = random_shape(rank, rank > 3 ? 6 : 24), own = {.rank = axes};
    memcpy(own.dim, s.dim + rank - axes, (size_t)axes * sizeof *own.dim);
    struct node *node = some_node(n, "torch.nn.LayerNorm", operand(n, &s, any()));
    OK(node_set_ints(n->g, node, "normalized_shape", own.dim, axes, &n->err));
    if (below(4)) {
        param(n, node, "weight", floats(n, &own, .2, 2));
        param(n, node, "bias", floats(n, &own, -1, 1));
    }
    result(n, node, any(), .03);
}

static void make_group_norm(struct net *n)
{
    bool group = below(2);
    int rank = group ? 2 + (int)below(3) : 4;
    struct shape s = random_shape(rank, 7);
    int64_t groups = 1 + below(3);
    s.dim[1] *= groups;
    struct node *node = some_node(n, group ? "torch.nn.GroupNorm" : "torch.nn.InstanceNorm2d",
                                  operand(n, &s, any()));
    if (group)
        integer(n, node, "num_groups", groups);
    affine_params(n, node, s.dim[1]);
    result(n, node, any(), .03);
}

static void make_response_norm(struct net *n)
{
    struct shape s = random_shape(3 + (int)below(2), 12);
    struct node *node = some_node(n, "torch.nn.LocalResponseNorm", operand(n, &s, any()));
    integer(n, node, "size", 1 + below(6));
    real(n, node, "alpha", .3);
    real(n, node, "beta", .75);
    result(n, node, any(), 0);
}

static void make_lp_pool(struct net *n)
{
    struct shape s = random_shape(4, 12);
    int64_t kernel[2], stride[2];
    for (int i = 0; i < 2; i++) {
        kernel[i] = 1 + below((uint32_t)(s.dim[2 + i] < 4 ? s.dim[2 + i] : 4));
        stride[i] = 1 + below(3);
    }
    struct node *node = some_node(n, "torch.nn.LPPool2d", operand(n, &s, any()));
    OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
       node_set_ints(n->g, node, "stride", stride, 2, &n->err));
    real(n, node, "norm_type", (const double[]){1, 2, 3}[below(3)]);
    flag(n, node, "ceil_mode", below(2));
    result(n, node, any(), 0);
}

static void make_resize(struct net *n)
{
    static const char *const modes[] = {"nearest", "bilinear", "bicubic", "nearest-exact", "area"};
    struct shape s = random_shape(4, 16);
    uint32_t mode = below(5);
    int64_t size[2] = {1 + below(40), 1 + below(30)};
    struct node *node = some_node(n, "torch.nn.functional.interpolate", operand(n, &s, any()));
    word(n, node, "mode", modes[mode]);
    if (below(2)) {
        OK(node_set_ints(n->g, node, "size", size, 2, &n->err));
    } else {
        double f[2] = {.4 + below(40) / 10., .4 + below(40) / 10.};
        for (int i = 0; i < 2; i++)
            f[i] = floor(f[i] * (double)s.dim[2 + i]) < 1 ? 2 : f[i];
        OK(node_set_floats(n->g, node, "scale_factor", f, 2, &n->err));
        flag(n, node, "recompute_scale_factor", below(2));
    }
    if (mode == 1 || mode == 2) {
        flag(n, node, "align_corners", below(2));
        flag(n, node, "antialias", below(3) == 0);
    }
    result(n, node, any(), 0);
}

static void make_grid_sample(struct net *n)
{
    static const char *const modes[] = {"bilinear", "nearest", "bicubic"}, *const borders[] = {
                                                                               "zeros", "border",
                                                                               "reflection"};
    struct shape s = random_shape(4, 14), g = {4, {s.dim[0], 1 + below(14), 1 + below(9), 2}};
    struct node *node = some_node(n, "torch.nn.functional.grid_sample", operand(n, &s, any()));
    input(n, node, operand(n, &g, any()));
    node->inputs[1]->quant.scale = ARENA_ARRAY(&n->arena, double, 1, &n->err);
    OK(node->inputs[1]->quant.scale);
    for (struct value *v = node->inputs[1];; v = v->producer->inputs[0]) {
        v->quant.scale = node->inputs[1]->quant.scale;
        if (!v->producer)
            break;
    }
    double *scale = ARENA_ARRAY(&n->arena, double, 1, &n->err);
    OK(scale);
    *scale = node->inputs[1]->dtype == DT_QINT16 ? 1.3 / 32768 : 1.3 / 128;
    for (struct value *v = node->inputs[1];; v = v->producer->inputs[0]) {
        v->quant.scale = scale;
        if (!v->producer)
            break;
    }
    word(n, node, "mode", modes[below(3)]);
    word(n, node, "padding_mode", borders[below(3)]);
    flag(n, node, "align_corners", below(2));
    result(n, node, any(), 0);
}

static void make_roi_align(struct net *n)
{
    bool several = below(2);
    struct shape s = random_shape(4, 12);
    int64_t k = 1 + below(5), size[2] = {1 + below(4), 1 + below(4)};
    struct node *node =
        some_node(n, several ? "torchvision.ops.MultiScaleRoIAlign" : "torchvision.ops.RoIAlign",
                  operand(n, &s, any()));
    for (int i = 0; several && i < (int)below(3); i++) {
        struct shape half = s;
        half.dim[2] = 1 + s.dim[2] / (2 << i);
        half.dim[3] = 1 + s.dim[3] / (2 << i);
        input(n, node, operand(n, &half, any()));
    }
    int64_t count = k * 5;
    struct shape rows = {2, {k, 5}};
    float *data = ARENA_ARRAY(&n->arena, float, count, &n->err);
    OK(data);
    for (int64_t i = 0; i < k; i++) {
        data[5 * i] = (float)below((uint32_t)s.dim[0]);
        data[5 * i + 1] = (float)below(250) / 10;
        data[5 * i + 2] = (float)below(250) / 10;
        data[5 * i + 3] = data[5 * i + 1] + (float)below(300) / 10;
        data[5 * i + 4] = data[5 * i + 2] + (float)below(300) / 10;
    }
    struct value *rois =
        graph_add_constant(n->g, NULL, &rows, DT_FLOAT32, data, (size_t)count * 4, &n->err);
    OK(rois);
    input(n, node, rois);
    OK(node_set_ints(n->g, node, "output_size", size, 2, &n->err));
    real(n, node, "spatial_scale", several ? .25 : .3);
    integer(n, node, "sampling_ratio", below(3));
    if (!several)
        flag(n, node, "aligned", below(2));
    result(n, node, any(), 0);
}

static void make_attention(struct net *n)
{
    int64_t heads = 1 + below(3), embed = heads * (1 + below(8)), batch = 1 + below(3);
    int64_t rows = 1 + below(9), keys = 1 + below(9);
    bool batched = below(4), first = below(2);
    struct shape q = {3, {first ? batch : rows, first ? rows : batch, embed}},
                 k = {3, {first ? batch : keys, first ? keys : batch, embed}};
    if (!batched) {
        batch = 1;
        q = (struct shape){2, {rows, embed}};
        k = (struct shape){2, {keys, embed}};
    }
    struct node *node = some_node(n, "torch.nn.MultiheadAttention", operand(n, &q, any()));
    struct value *same = operand(n, &k, any());
    input(n, node, same);
    input(n, node, below(2) ? same : operand(n, &k, any()));
    if (below(3) == 0) {
        OK(node_add_input(n->g, node, NULL, &n->err));
        struct shape m = {2, {rows, keys}}, many = {3, {batch * heads, rows, keys}};
        input(n, node, floats(n, batched && below(2) ? &many : &m, -3, 0));
    }
    integer(n, node, "embed_dim", embed);
    integer(n, node, "num_heads", heads);
    flag(n, node, "batch_first", first);
    param(n, node, "in_proj_weight", matrix(n, 3 * embed, embed));
    if (below(3))
        param(n, node, "in_proj_bias", vector(n, 3 * embed, -.5, .5));
    param(n, node, "out_proj_weight", matrix(n, embed, embed));
    if (below(3))
        param(n, node, "out_proj_bias", vector(n, embed, -.5, .5));
    flag(n, node, "need_weights", true);
    flag(n, node, "average_attn_weights", below(2));
    results(n, node, 2, (enum dtype[]){any(), any()}, .01);
}

static void make_recurrent(struct net *n)
{
    static const char *const ops[] = {"torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN"};
    static const char *const names[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    uint32_t which = below(3);
    int64_t gates = which == 0 ? 4 : which == 1 ? 3 : 1, hidden = 1 + below(9), wide = 1 + below(9);
    int64_t layers = 1 + below(2), directions = 1 + below(2), steps = 1 + below(6),
            batch = 1 + below(3);
    bool batched = below(4), first = batched && below(2), bias = below(2);
    struct shape s = {3, {first ? batch : steps, first ? steps : batch, wide}};
    struct shape state = {3, {layers * directions, batch, hidden}};
    if (!batched) {
        s = (struct shape){2, {steps, wide}};
        state = (struct shape){2, {layers * directions, hidden}};
    }
    struct node *node = some_node(n, ops[which], operand(n, &s, any()));
    if (below(2)) {
        input(n, node, operand(n, &state, any()));
        if (which == 0)
            input(n, node, operand(n, &state, any()));
    }
    integer(n, node, "input_size", wide);
    integer(n, node, "hidden_size", hidden);
    integer(n, node, "num_layers", layers);
    flag(n, node, "bidirectional", directions == 2);
    flag(n, node, "batch_first", first);
    flag(n, node, "bias", bias);
    if (which == 2)
        word(n, node, "nonlinearity", below(2) ? "tanh" : "relu");
    for (int64_t k = 0; k < layers; k++)
        for (int d = 0; d < directions; d++)
            for (int i = 0; i < (bias ? 4 : 2); i++) {
                char name[64];
                snprintf(name, sizeof name, "%s_l%lld%s", names[i], (long long)k,
                         d ? "_reverse" : "");
                int64_t in = i == 1 ? hidden : k == 0 ? wide : hidden * directions;
                param(n, node, name,
                      i < 2 ? matrix(n, gates * hidden, in) : vector(n, gates * hidden, -1, 1));
            }
    results(n, node, which == 0 ? 3 : 2, (enum dtype[]){any(), any(), any()}, .01);
}

static void make_lstm_cell(struct net *n)
{
    int64_t hidden = 1 + below(9), wide = 1 + below(9), batch = 1 + below(4);
    struct shape s = {2, {batch, wide}}, state = {2, {batch, hidden}};
    struct node *node = some_node(n, "torch.nn.LSTMCell", operand(n, &s, any()));
    if (below(3)) {
        input(n, node, operand(n, &state, any()));
        input(n, node, operand(n, &state, any()));
    }
    param(n, node, "weight_ih", matrix(n, 4 * hidden, wide));
    param(n, node, "weight_hh", matrix(n, 4 * hidden, hidden));
    if (below(2)) {
        param(n, node, "bias_ih", vector(n, 4 * hidden, -1, 1));
        param(n, node, "bias_hh", vector(n, 4 * hidden, -1, 1));
    }
    results(n, node, 2, (enum dtype[]){any(), any()}, .01);
}

static void make_hardmax(struct net *n)
{
    int rank = 1 + (int)below(4);
    struct shape s = random_shape(rank, 9);
    struct node *node = some_node(n, "torch.hardmax", operand(n, &s, any()));
    integer(n, node, "dim", some_axis(rank));
    result(n, node, any(), 0);
}

#define OPERATORS(X)                                                                               \
    X(softmax)                                                                                     \
    X(hardmax) X(glu) X(cumsum) X(sort) X(reduce) X(order) X(batch_norm) X(layer_norm)             \
        X(group_norm) X(response_norm) X(lp_pool) X(resize) X(grid_sample) X(roi_align)            \
            X(attention) X(recurrent) X(lstm_cell)

#define X(name)                                                                                    \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        try_operator(#name, make_##name);                                                          \
    }
OPERATORS(X)
#undef X

int main(void)
{
    const struct CMUnitTest tests[] = {
#define X(name) cmocka_unit_test(test_##name),
        OPERATORS(X)
#undef X
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
