/* fixed_matmul: linear layers, and products of two feature maps.
 *
 *   linear  y(.., m) = sum over k of (x(.., k) - z_x) * (w(m, k) - z_w) + bias(m)
 *   matmul  y(.., i, j) = sum over k of (a(.., i, k) - z_a) * (b(.., k, j) - z_b)
 *
 * Sums are exact in 64 bits and saturate to int32 once. */
#include "core/run/fixed_tail.h"

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
    int32_t *data = fixed_centred(c, x, err), *weight = fixed_centred(c, w, err);
    if (!data || !weight || !fixed_tail_init(c, &w->quant, channels, kernel_in(c, 1), &tail, err))
        return false;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t m = 0; m < channels; m++) {
            const int32_t *from = io ? weight + m : weight + m * k;
            int64_t sum = 0, step = io ? channels : 1;
            for (int64_t i = 0; i < k; i++)
                sum += (int64_t)data[row * k + i] * from[i * step];
            fixed_tail_store(&tail, m, row * channels + m, sum);
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
    int32_t *da = fixed_centred(c, a, err), *db = fixed_centred(c, b, err);
    if (!da || !db || !fixed_tail_init(c, &b->quant, 1, NULL, &tail, err))
        return false;
    /* A vector is a row on the left and a column on the right; leading axes are broadcast. */
    int64_t m = a->shape.rank > 1 ? a->shape.dim[a->shape.rank - 2] : 1;
    int64_t k = a->shape.dim[a->shape.rank - 1];
    int64_t n = b->shape.rank > 1 ? b->shape.dim[b->shape.rank - 1] : 1;
    struct shape lead_a = a->shape, lead_b = b->shape, lead_y = y->shape;
    lead_a.rank = a->shape.rank > 2 ? a->shape.rank - 2 : 0;
    lead_b.rank = b->shape.rank > 2 ? b->shape.rank - 2 : 0;
    lead_y.rank -= (a->shape.rank > 1) + (b->shape.rank > 1);
    struct fold_walk walk;
    fold_walk_init(&walk, &lead_y);
    fold_walk_add(&walk, &lead_a);
    fold_walk_add(&walk, &lead_b);
    int64_t count = shape_elements(&lead_y), at = 0;
    for (int64_t l = 0; l < count; l++, fold_walk_next(&walk)) {
        const int32_t *pa = da + walk.at[0] * m * k, *pb = db + walk.at[1] * k * n;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                int64_t sum = 0;
                for (int64_t q = 0; q < k; q++)
                    sum += (int64_t)pa[i * k + q] * pb[q * n + j];
                fixed_tail_store(&tail, 0, at++, sum);
            }
    }
    return true;
}
