/* real_matmul: linear layers, matrix products with broadcasting, determinants.
 *
 * Sums of products run over the common axis in ascending order in double precision and are rounded
 * once; products of integer matrices are exact in 64 bits (and wrap). */
#include "core/ops/op.h"
#include "core/run/real.h"

/* y (.., out) = x (.., in) weight' + bias, then the residual operand, then the activation. */
bool real_linear(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0), *residual = kernel_in(c, 1);
    const struct tensor *weight = kernel_param(c, "weight"), *bias = kernel_param(c, "bias");
    struct tensor *y = c->out[0];
    if (!weight)
        return kernel_unsupported(c, err, "the weight is missing");
    bool io = strcmp(node_string(c->node, "weight_layout", "oi"), "io") == 0;
    int64_t in = weight->shape.dim[io ? 0 : 1], out = weight->shape.dim[io ? 1 : 0];
    int64_t rows = 1;
    for (int i = 0; i < x->shape.rank - 1; i++)
        rows *= x->shape.dim[i];
    const float *xs = real_floats(c, x, err), *ws = xs ? real_floats(c, weight, err) : NULL;
    double *acc = ws ? real_scratch(c, out, err) : NULL;
    if (!acc)
        return false;
    enum real_activation activation = real_activation(c->node);
    bool one_bias = bias && real_count(bias) == 1;
    for (int64_t r = 0; r < rows; r++, xs += in) {
        for (int64_t o = 0; o < out; o++)
            acc[o] = bias ? tensor_real(bias, one_bias ? 0 : o) : 0;
        if (io)
            for (int64_t i = 0; i < in; i++)
                for (int64_t o = 0; o < out; o++)
                    acc[o] += (double)xs[i] * (double)ws[i * out + o];
        else
            for (int64_t o = 0; o < out; o++)
                for (int64_t i = 0; i < in; i++)
                    acc[o] += (double)xs[i] * (double)ws[o * in + i];
        for (int64_t o = 0; o < out; o++)
            acc[o] = real_activate(acc[o] + (residual ? tensor_real(residual, r * out + o) : 0),
                                   activation);
        real_store(y, r * out, 1, out, acc);
    }
    return true;
}

/* The product of matrix `a` (m, k) and `b` (k, n), both at an offset, to y at `at`. */
struct product {
    int64_t m, k, n;
};

static void product_whole(const struct tensor *a, int64_t from_a, const struct tensor *b,
                          int64_t from_b, struct product p, struct tensor *y, int64_t at)
{
    for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
            uint64_t sum = 0;
            for (int64_t k = 0; k < p.k; k++)
                sum += (uint64_t)tensor_int(a, from_a + i * p.k + k) *
                       (uint64_t)tensor_int(b, from_b + k * p.n + j);
            fold_store_int(real_at(y, at + i * p.n + j), y->dtype, (int64_t)sum);
        }
}

static void product_real(const float *a, const float *b, struct product p, double *acc,
                         struct tensor *y, int64_t at)
{
    for (int64_t i = 0; i < p.m; i++, a += p.k) {
        memset(acc, 0, (size_t)p.n * sizeof *acc);
        for (int64_t k = 0; k < p.k; k++)
            for (int64_t j = 0; j < p.n; j++)
                acc[j] += (double)a[k] * (double)b[k * p.n + j];
        real_store(y, at + i * p.n, 1, p.n, acc);
    }
}

bool real_matmul(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *a = kernel_in(c, 0), *b = kernel_in(c, 1);
    struct tensor *y = c->out[0];
    const struct shape *sa = &a->shape, *sb = &b->shape;
    struct product p = {.m = sa->rank > 1 ? sa->dim[sa->rank - 2] : 1,
                        .k = sa->dim[sa->rank - 1],
                        .n = sb->rank > 1 ? sb->dim[sb->rank - 1] : 1};
    struct shape leading = {.rank = y->shape.rank - (sa->rank > 1) - (sb->rank > 1)};
    struct shape la = {.rank = sa->rank > 2 ? sa->rank - 2 : 0},
                 lb = {.rank = sb->rank > 2 ? sb->rank - 2 : 0};
    memcpy(leading.dim, y->shape.dim, sizeof leading.dim);
    memcpy(la.dim, sa->dim, sizeof la.dim);
    memcpy(lb.dim, sb->dim, sizeof lb.dim);
    bool whole = fold_is_int(a->dtype) && fold_is_int(b->dtype) && fold_is_int(y->dtype);
    const float *as = NULL, *bs = NULL;
    double *acc = NULL;
    if (!whole && (!(as = real_floats(c, a, err)) || !(bs = real_floats(c, b, err)) ||
                   !(acc = real_scratch(c, p.n, err))))
        return false;
    struct fold_walk w;
    fold_walk_init(&w, &leading);
    fold_walk_add(&w, &la);
    fold_walk_add(&w, &lb);
    int64_t count = shape_elements(&leading);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        int64_t from_a = w.at[0] * p.m * p.k, from_b = w.at[1] * p.k * p.n, at = i * p.m * p.n;
        if (whole)
            product_whole(a, from_a, b, from_b, p, y, at);
        else
            product_real(as + from_a, bs + from_b, p, acc, y, at);
    }
    return true;
}

/* Gaussian elimination in double precision; of each column the entry of largest magnitude, the
 * first of equals, is the pivot. The result is the product of the pivots in their order. */
static bool det_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0];
    int64_t n = x->shape.dim[x->shape.rank - 1], count = real_count(y);
    double *m = real_scratch(c, n * n, err);
    if (!m)
        return false;
    for (int64_t i = 0; i < count; i++) {
        double det = 1;
        real_load(x, i * n * n, 1, n * n, m);
        for (int64_t k = 0; k < n && det != 0; k++) {
            int64_t pivot = k;
            for (int64_t r = k + 1; r < n; r++)
                if (fabs(m[r * n + k]) > fabs(m[pivot * n + k]))
                    pivot = r;
            for (int64_t j = 0; j < n && pivot != k; j++) {
                double t = m[k * n + j];
                m[k * n + j] = m[pivot * n + j];
                m[pivot * n + j] = t;
            }
            det *= pivot != k ? -m[k * n + k] : m[k * n + k];
            for (int64_t r = k + 1; r < n && m[k * n + k] != 0; r++) {
                double f = m[r * n + k] / m[k * n + k];
                for (int64_t j = k + 1; j < n; j++)
                    m[r * n + j] -= f * m[k * n + j];
            }
        }
        tensor_store_real(y, i, det);
    }
    return true;
}

bool real_det(const struct kernel_call *c, struct bpu_error *err)
{
    return det_run(c, err);
}

bool fixed_det(const struct kernel_call *c, struct bpu_error *err)
{
    return det_run(c, err);
}
