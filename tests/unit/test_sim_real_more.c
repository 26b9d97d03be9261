/* As test_sim_real.c: operators that move elements by index, those that ONNX has in other forms,
 * and networks of several: a block of a transformer over windows, a head over a pyramid. */
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

static void make_index_select(struct net *n)
{
    int rank = 1 + (int)below(4);
    struct shape s = random_shape(rank, 9), picks = {1, {1 + below(12)}};
    int64_t axis = some_axis(rank);
    struct node *node = some_node(n, "torch.index_select", operand(n, &s, any()));
    input(n, node, indices(n, &picks, s.dim[axis < 0 ? axis + rank : axis], false));
    integer(n, node, "dim", axis);
    result(n, node, node->inputs[0]->dtype, 0);
}

static void make_gather(struct net *n)
{
    int rank = 1 + (int)below(4);
    struct shape s = random_shape(rank, 7), picks = s;
    int64_t axis = some_axis(rank);
    int at = (int)(axis < 0 ? axis + rank : axis);
    picks.dim[at] = 1 + below(9);
    struct node *node = some_node(n, "torch.gather", operand(n, &s, any()));
    input(n, node, indices(n, &picks, s.dim[at], false));
    integer(n, node, "dim", axis);
    result(n, node, node->inputs[0]->dtype, 0);
}

static void make_scatter(struct net *n)
{
    int rank = 1 + (int)below(4);
    struct shape s = random_shape(rank, 7), picks = s;
    int64_t axis = some_axis(rank);
    int at = (int)(axis < 0 ? axis + rank : axis);
    picks.dim[at] = 1 + below((uint32_t)s.dim[at]);
    struct node *node = some_node(n, "torch.scatter", operand(n, &s, any()));
    input(n, node, indices(n, &picks, s.dim[at], false));
    input(n, node, operand(n, &picks, any()));
    integer(n, node, "dim", axis);
    if (below(2))
        word(n, node, "reduce", below(2) ? "add" : "multiply");
    result(n, node, node->inputs[0]->dtype, 0);
}

static void make_select(struct net *n)
{
    int rank = 1 + (int)below(4);
    struct shape s = random_shape(rank, 9), m = s;
    m.dim[below((uint32_t)rank)] = 1;
    if (below(2)) {
        struct node *node = some_node(n, "torch.where", operand(n, &m, DT_QBOOL));
        input(n, node, operand(n, &s, any()));
        input(n, node, operand(n, &s, any()));
        result(n, node, node->inputs[1]->dtype, 0);
        return;
    }
    struct node *node = some_node(n, "torch.Tensor.masked_fill", operand(n, &s, any()));
    input(n, node, operand(n, &m, DT_QBOOL));
    real(n, node, "value", -1.5);
    result(n, node, node->inputs[0]->dtype, 0);
}

static void make_tri(struct net *n)
{
    int rank = 2 + (int)below(3);
    struct shape s = random_shape(rank, 9);
    struct node *node = some_node(n, below(2) ? "torch.tril" : "torch.triu", operand(n, &s, any()));
    integer(n, node, "diagonal", (int64_t)below(5) - 2);
    result(n, node, node->inputs[0]->dtype, 0);
}

static void make_one_hot(struct net *n)
{
    int rank = 1 + (int)below(3);
    int64_t depth = 1 + below(9), pair = 2;
    struct shape s = random_shape(rank, 9), one = {1, {1}};
    struct node *node = some_node(n, "torch.one_hot", operand(n, &s, any()));
    struct value *x = node->inputs[0]; /* stored integers count as they are */
    double *unit = ARENA_ARRAY(&n->arena, double, 1, &n->err);
    OK(unit);
    *unit = 1;
    for (;; x = x->producer->inputs[0]) {
        x->quant.scale = unit;
        if (!x->producer)
            break;
    }
    int64_t *data = ARENA_ARRAY(&n->arena, int64_t, 1, &n->err);
    OK(data);
    *data = depth;
    input(n, node, graph_add_constant(n->g, NULL, &one, DT_INT64, data, 8, &n->err));
    if (below(2))
        input(n, node, floats(n, &(struct shape){1, {pair}}, -3, 3));
    integer(n, node, "dim", (int64_t)below((uint32_t)rank + 1) - (below(2) ? 0 : rank + 1));
    result(n, node, any(), 0);
}

/* Rows of `depth` indices into the first axes of s behind `batch`. */
static struct value *places(struct net *n, const struct shape *s, const struct shape *rows,
                            int batch, int depth)
{
    struct shape all = *rows;
    all.dim[all.rank++] = depth;
    int64_t count = shape_elements(&all),
            *data = ARENA_ARRAY(&n->arena, int64_t, count + 1, &n->err);
    OK(data);
    for (int64_t i = 0; i < count; i++)
        data[i] = (int64_t)below((uint32_t)s->dim[batch + i % depth]) -
                  (below(4) ? 0 : s->dim[batch + i % depth]);
    struct value *v =
        graph_add_constant(n->g, NULL, &all, DT_INT64, data, (size_t)count * 8, &n->err);
    OK(v);
    return v;
}

static void make_gather_nd(struct net *n)
{
    int rank = 1 + (int)below(4), batch = (int)below(2) && rank > 1,
        depth = 1 + (int)below((uint32_t)(rank - batch));
    struct shape s = random_shape(rank, 6), rows = {.rank = batch};
    memcpy(rows.dim, s.dim, sizeof rows.dim);
    rows.dim[rows.rank++] = 1 + below(7);
    struct node *node = some_node(n, "torch.gather_nd", operand(n, &s, any()));
    input(n, node, places(n, &s, &rows, batch, depth));
    integer(n, node, "batch_dims", batch);
    result(n, node, node->inputs[0]->dtype, 0);
}

static void make_scatter_nd(struct net *n)
{
    int rank = 1 + (int)below(4), depth = 1 + (int)below((uint32_t)rank);
    struct shape s = random_shape(rank, 6), rows = {2, {1 + below(3), 1 + below(4)}},
                 updates = rows;
    for (int d = depth; d < rank; d++)
        updates.dim[updates.rank++] = s.dim[d];
    struct node *node = some_node(n, "torch.scatter_nd", operand(n, &s, any()));
    input(n, node, places(n, &s, &rows, 0, depth));
    input(n, node, operand(n, &updates, any()));
    if (below(2))
        word(n, node, "reduction", (const char *const[]){"add", "mul", "max", "min"}[below(4)]);
    result(n, node, node->inputs[0]->dtype, 0);
}

/* ── as ONNX has them ── */

static void from_onnx(struct node *node)
{
    node->origin.source_op = "onnx:Operator";
}

static void make_onnx_resize(struct net *n)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const where[] = {"half_pixel",           "asymmetric",
                                        "align_corners",        "pytorch_half_pixel",
                                        "tf_half_pixel_for_nn", "half_pixel_symmetric"};
    static const char *const rounding[] = {"floor", "ceil", "round_prefer_floor",
                                           "round_prefer_ceil"};
    struct shape s = random_shape(3 + (int)below(2), 12);
    int64_t size[2] = {1 + below(25), 1 + below(25)};
    struct node *node = some_node(n, "torch.nn.functional.interpolate", operand(n, &s, any()));
    from_onnx(node);
    word(n, node, "mode", modes[below(3)]);
    word(n, node, "coordinate_transformation_mode", where[below(6)]);
    word(n, node, "nearest_mode", rounding[below(4)]);
    flag(n, node, "exclude_outside", below(2));
    OK(node_set_ints(n->g, node, "size", size, s.rank - 2, &n->err));
    result(n, node, any(), 0);
}

static void make_onnx_recurrent(struct net *n)
{
    static const char *const ops[] = {"torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN"};
    uint32_t which = below(3);
    int64_t gates = which == 0 ? 4 : which == 1 ? 3 : 1, hidden = 1 + below(7), wide = 1 + below(7);
    int64_t directions = 1 + below(2), steps = 1 + below(6), batch = 1 + below(3),
            rows = gates * hidden;
    bool first = below(3) == 0;
    struct shape s = {3, {first ? batch : steps, first ? steps : batch, wide}};
    struct shape state = {3, {first ? batch : directions, first ? directions : batch, hidden}};
    struct node *node = some_node(n, ops[which], operand(n, &s, any()));
    from_onnx(node);
    if (below(2)) {
        input(n, node, operand(n, &state, any()));
        if (which == 0)
            input(n, node, operand(n, &state, any()));
    }
    integer(n, node, "hidden_size", hidden);
    flag(n, node, "bidirectional", directions == 2);
    flag(n, node, "batch_first", first);
    flag(n, node, "separate_directions", true);
    flag(n, node, "reverse", directions == 1 && below(2));
    flag(n, node, "linear_before_reset", below(2));
    if (below(3) == 0)
        real(n, node, "clip", .4);
    param(n, node, "weight_ih", floats(n, &(struct shape){3, {directions, rows, wide}}, -.6, .6));
    param(n, node, "weight_hh", floats(n, &(struct shape){3, {directions, rows, hidden}}, -.6, .6));
    if (below(3))
        param(n, node, "bias", floats(n, &(struct shape){2, {directions, 2 * rows}}, -1, 1));
    if (which == 0 && below(2))
        param(n, node, "peephole", floats(n, &(struct shape){2, {directions, 3 * hidden}}, -1, 1));
    if (below(3) == 0) {
        int32_t *lengths = ARENA_ARRAY(&n->arena, int32_t, batch, &n->err);
        OK(lengths);
        for (int64_t i = 0; i < batch; i++)
            lengths[i] = (int32_t)below((uint32_t)steps + 1);
        param(n, node, "sequence_lens",
              graph_add_constant(n->g, NULL, &(struct shape){1, {batch}}, DT_INT32, lengths,
                                 (size_t)batch * 4, &n->err));
    }
    results(n, node, which == 0 ? 3 : 2, (enum dtype[]){any(), any(), any()}, .01);
}

static void make_onnx_lp_pool(struct net *n)
{
    struct shape s = random_shape(4, 9);
    int64_t kernel[2], stride[2], padding[4];
    for (int i = 0; i < 2; i++) {
        kernel[i] = 1 + below((uint32_t)(s.dim[2 + i] < 4 ? s.dim[2 + i] : 4));
        stride[i] = 1 + below(3);
        padding[i] = below((uint32_t)kernel[i]);
        padding[2 + i] = below((uint32_t)kernel[i]);
    }
    struct node *node = some_node(n, "torch.nn.LPPool2d", operand(n, &s, any()));
    from_onnx(node);
    OK(node_set_ints(n->g, node, "kernel_size", kernel, 2, &n->err) &&
       node_set_ints(n->g, node, "stride", stride, 2, &n->err) &&
       node_set_ints(n->g, node, "padding", padding, 4, &n->err));
    real(n, node, "norm_type", (const double[]){1, 2, 3}[below(3)]);
    result(n, node, any(), 0);
}

static void make_onnx_norm(struct net *n)
{
    struct shape s = random_shape(4, 9);
    bool lrn = below(2);
    struct node *node = some_node(n, lrn ? "torch.nn.LocalResponseNorm" : "torch.nn.InstanceNorm2d",
                                  operand(n, &s, any()));
    from_onnx(node);
    if (lrn) {
        integer(n, node, "size", 1 + below(6));
        real(n, node, "alpha", .5);
    } else {
        affine_params(n, node, s.dim[1]);
    }
    result(n, node, any(), .03);
}

/* ── networks of several ── */

/* The result of a node, not yet an output, with a scale that suits it. */
static struct value *made(struct net *n, struct node *node, enum dtype t, double scale)
{
    struct value *y = finish(n, node, t);
    double *s = ARENA_ARRAY(&n->arena, double, 1, &n->err);
    OK(s);
    *s = scale;
    y->quant = (struct quant){s, NULL, 1, 0};
    return y;
}

/* The same elements in another shape or order: the same scale. */
static struct value *moved(struct net *n, const char *op, struct value *x, const char *name,
                           const int64_t *list, int count)
{
    struct node *node = some_node(n, op, x);
    OK(node_set_ints(n->g, node, name, list, count, &n->err));
    struct value *y = finish(n, node, x->dtype);
    y->quant = x->quant;
    return y;
}

static struct value *dense(struct net *n, struct value *x, int64_t m)
{
    int64_t k = x->shape.dim[x->shape.rank - 1];
    struct node *node = some_node(n, "torch.nn.Linear", x);
    struct value *w = some_constant(n, &(struct shape){2, {m, k}}, DT_QINT8, 1);
    word(n, node, "weight_layout", "oi");
    param(n, node, "weight", w);
    return made(n, node, DT_QINT8, x->quant.scale[0] * w->quant.scale[0] * 400);
}

static struct value *layer_norm(struct net *n, struct value *x)
{
    int64_t c = x->shape.dim[x->shape.rank - 1];
    struct node *node = some_node(n, "torch.nn.LayerNorm", x);
    OK(node_set_ints(n->g, node, "normalized_shape", &c, 1, &n->err));
    affine_params(n, node, c);
    return made(n, node, DT_QINT8, .025);
}

static struct value *plus(struct net *n, struct value *a, struct value *b)
{
    struct node *node = some_node(n, "torch.add", a);
    input(n, node, b);
    return made(n, node, DT_QINT8, a->quant.scale[0] + b->quant.scale[0]);
}

static struct value *times(struct net *n, struct value *a, struct value *b, double scale)
{
    struct node *node = some_node(n, "torch.matmul", a);
    input(n, node, b);
    return made(n, node, DT_QINT8, scale);
}

static struct value *part(struct net *n, struct value *x, int64_t i)
{
    struct node *node = some_node(n, "torch.Tensor.__getitem__", x);
    OK(node_set_ints(n->g, node, "select_axes", (const int64_t[]){0}, 1, &n->err) &&
       node_set_ints(n->g, node, "select_indices", &i, 1, &n->err));
    struct value *y = finish(n, node, x->dtype);
    y->quant = x->quant;
    return y;
}

/* A block of a transformer over windows of an image. */
static void make_block(struct net *n)
{
    int64_t heads = 1 + below(3), c = heads * (2 + below(7)), side = 2 + below(3), p = side * side;
    int64_t a = 1 + below(3), b = 1 + below(3), windows = a * b, d = c / heads;
    struct shape s = {4, {1, a * side, b * side, c}};
    struct value *x = some_input(n, &s, DT_QINT8), *v = layer_norm(n, x), *q, *k, *w;
    const int64_t cut[] = {a, side, b, side, c}, by_window[] = {0, 2, 1, 3, 4},
                  flat[] = {windows, p, c};
    const int64_t apart[] = {windows, p, 3, heads, d}, by_head[] = {2, 0, 3, 1, 4},
                  back[] = {0, 2, 1, 3};
    v = moved(n, "torch.reshape", v, "shape", cut, 5);
    v = moved(n, "torch.permute", v, "dims", by_window, 5);
    v = moved(n, "torch.reshape", v, "shape", flat, 3);
    v = moved(n, "torch.reshape", dense(n, v, 3 * c), "shape", apart, 5);
    v = moved(n, "torch.permute", v, "dims", by_head, 5);
    q = part(n, v, 0);
    k = part(n, v, 1);
    w = part(n, v, 2);
    struct node *t = some_node(n, "torch.transpose", k);
    integer(n, t, "dim0", -2);
    integer(n, t, "dim1", -1);
    struct value *kt = finish(n, t, k->dtype);
    kt->quant = k->quant;
    struct value *scores = times(n, q, kt, q->quant.scale[0] * k->quant.scale[0] * 90);
    struct node *soft = some_node(n, "torch.nn.Softmax", scores);
    integer(n, soft, "dim", -1);
    v = times(n, made(n, soft, DT_QINT8, 1. / 128), w, w->quant.scale[0]);
    v = moved(n, "torch.permute", v, "dims", back, 4);
    v = dense(n, moved(n, "torch.reshape", v, "shape", flat, 3), c);
    const int64_t joined[] = {a, b, side, side, c}, order[] = {0, 2, 1, 3, 4};
    v = moved(n, "torch.reshape", v, "shape", joined, 5);
    v = moved(n, "torch.permute", v, "dims", order, 5);
    v = plus(n, x, moved(n, "torch.reshape", v, "shape", s.dim, 4));
    struct value *wide = dense(n, layer_norm(n, v), 2 * c);
    wide = made(n, some_node(n, "torch.nn.GELU", wide), DT_QINT8, wide->quant.scale[0]);
    out(n, plus(n, v, dense(n, wide, c)));
}

/* Two levels of a pyramid, joined, with classes and the best of them. */
static void make_detector(struct net *n)
{
    int64_t h = 2 + below(9), w = 2 + below(9), classes = 2 + below(7);
    struct value *deep = some_input(n, &(struct shape){4, {1, 3 + below(20), h, w}}, DT_QINT8);
    struct value *fine =
        some_input(n, &(struct shape){4, {1, 3 + below(20), 2 * h, 2 * w}}, DT_QINT8);
    struct node *up = some_node(n, "torch.nn.functional.interpolate", deep);
    OK(node_set_ints(n->g, up, "size", (const int64_t[]){2 * h, 2 * w}, 2, &n->err));
    word(n, up, "mode", below(2) ? "nearest" : "bilinear");
    if (below(2))
        flag(n, up, "align_corners", false);
    struct node *cat_ = some_node(n, "torch.cat", made(n, up, DT_QINT8, deep->quant.scale[0]));
    input(n, cat_, fine);
    integer(n, cat_, "dim", 1);
    struct value *v = made(n, cat_, DT_QINT8, deep->quant.scale[0]);
    struct node *head = some_node(n, "torch.nn.Conv2d", v);
    struct value *weight =
        some_constant(n, &(struct shape){4, {classes, v->shape.dim[1], 3, 3}}, DT_QINT8, 1);
    OK(node_set_ints(n->g, head, "kernel_size", (const int64_t[]){3, 3}, 2, &n->err) &&
       node_set_ints(n->g, head, "padding", (const int64_t[]){1, 1}, 2, &n->err));
    param(n, head, "weight", weight);
    v = made(n, head, DT_QINT8, v->quant.scale[0] * weight->quant.scale[0] * 900);
    struct node *soft = some_node(n, "torch.nn.Softmax", v);
    integer(n, soft, "dim", 1);
    struct value *probability = made(n, soft, DT_QINT16, 1. / 32768);
    struct node *best = some_node(n, "torch.argmax", v);
    integer(n, best, "dim", 1);
    flag(n, best, "keepdim", below(2));
    struct node *rows = some_node(n, "torch.flatten", probability);
    integer(n, rows, "start_dim", 2);
    struct value *list = finish(n, rows, DT_QINT16);
    list->quant = probability->quant;
    struct node *top = some_node(n, "torch.topk", list);
    integer(n, top, "k", 1 + (int64_t)below((uint32_t)(4 * h * w)));
    out(n, probability);
    out(n, finish(n, best, DT_INT64));
    results(n, top, 2, (enum dtype[]){DT_QINT16, DT_INT64}, 1. / 32768);
}

#define OPERATORS(X)                                                                               \
    X(index_select)                                                                                \
    X(gather) X(gather_nd) X(scatter) X(scatter_nd) X(select) X(tri) X(one_hot) X(onnx_resize)     \
        X(onnx_recurrent) X(onnx_lp_pool) X(onnx_norm) X(block) X(detector)

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
