/* fixed_matmul: linear layers, and products of two feature maps.
 *
 *   linear  y(.., m) = sum over k of (x(.., k) - z_x) * (w(m, k) - z_w) + bias(m)
 *   matmul  y(.., i, j) = sum over k of (a(.., i, k) - z_a) * (b(.., k, j) - z_b)
 *
 * Sums are exact in 64 bits and saturate to int32 once. */
#include "core/run/fixed_tail.h"

/* n elements of t without their zero point. */
static void take_line(const struct tensor *t, int64_t from, int64_t step, int64_t zero,
                      int32_t *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = arith_clamp(tensor_int(t, from + i * step) - zero, INT32_MIN, INT32_MAX);
}

bool fixed_linear(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *w = kernel_param(c, "weight");
    struct tensor *y = fixed_out(c, 0);
    struct fixed_tail tail;
    if (!y)
        return true;
    if (!w || w->shape.rank != 2 || x->shape.rank < 1)
        return kernel_unsupported(c, err, "there is no weight of rank 2");
    bool io = strcmp(node_string(c->node, "weight_layout", "oi"), "io") == 0;
    int64_t k = w->shape.dim[io ? 0 : 1], channels = w->shape.dim[io ? 1 : 0];
    int64_t rows = k > 0 ? shape_elements(&x->shape) / k : 0;
    if (!fixed_weight(c, w, io, err))
        return false;
    if (x->shape.dim[x->shape.rank - 1] != k)
        return kernel_unsupported(c, err, "a weight that does not fit");
    int32_t *weight = ARENA_ARRAY(c->scratch, int32_t, k, err);
    if (!weight || !fixed_tail_init(c, &w->quant, channels, kernel_in(c, 1), &tail, err))
        return false;
    fixed_dot_fn *dot = fixed_dot(x->dtype);
    for (int64_t m = 0; m < channels; m++) {
        take_line(w, io ? m : m * k, io ? channels : 1, requant_weight_zero(&w->quant, m), weight, k);
        for (int64_t row = 0; row < rows; row++)
            fixed_tail_store(&tail, m, row * channels + m,
                             dot(x, row * k, 1, tensor_zero_point(x, 0), weight, k));
    }
    return true;
}

bool fixed_matmul(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *a = c->in[0], *b = c->in[1];
    struct tensor *y = fixed_out(c, 0);
    struct fixed_tail tail;
    if (!y)
        return true;
    if (!fixed_is_scaled(a) || !fixed_is_scaled(b) || b->quant.count != 1)
        return kernel_unsupported(c, err, "operands of type %s and %s", dtype_name(a->dtype),
                                  dtype_name(b->dtype));
    if (!fixed_tail_init(c, &b->quant, 1, NULL, &tail, err))
        return false;
    /* A vector is a row on the left and a column on the right; leading axes are broadcast. */
    int64_t m = a->shape.rank > 1 ? a->shape.dim[a->shape.rank - 2] : 1;
    int64_t k = a->shape.dim[a->shape.rank - 1];
    int64_t n = b->shape.rank > 1 ? b->shape.dim[b->shape.rank - 1] : 1;
    int32_t *column = ARENA_ARRAY(c->scratch, int32_t, k, err);
    if (!column)
        return false;
    struct shape lead_a = a->shape, lead_b = b->shape, lead_y = y->shape;
    lead_a.rank = a->shape.rank > 2 ? a->shape.rank - 2 : 0;
    lead_b.rank = b->shape.rank > 2 ? b->shape.rank - 2 : 0;
    lead_y.rank -= (a->shape.rank > 1) + (b->shape.rank > 1);
    struct fold_walk walk;
    fold_walk_init(&walk, &lead_y);
    fold_walk_add(&walk, &lead_a);
    fold_walk_add(&walk, &lead_b);
    int64_t count = shape_elements(&lead_y);
    fixed_dot_fn *dot = fixed_dot(a->dtype);
    for (int64_t l = 0; l < count; l++, fold_walk_next(&walk))
        for (int64_t j = 0; j < n; j++) {
            take_line(b, walk.at[1] * k * n + j, n, tensor_zero_point(b, 0), column, k);
            for (int64_t i = 0; i < m; i++)
                fixed_tail_store(&tail, 0, (l * m + i) * n + j,
                                 dot(a, (walk.at[0] * m + i) * k, 1, tensor_zero_point(a, 0),
                                     column, k));
        }
    return true;
}
