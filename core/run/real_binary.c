/* real_binary: arithmetic, comparison and logic of two operands with broadcasting, and selection.
 *
 * Integer results of integer operands are exact in 64 bits and wrap to their type; everything else
 * is one operation in double precision, rounded once.  A real division by zero gives what IEEE 754
 * says; an integer one has no result and is an error. */
#include "core/ops/binary.h"
#include "core/run/real.h"

/* Rows along the last axis of float32 operands; the others move slowly. */
static bool float_rows(enum binary code, const struct tensor *a, const struct tensor *b,
                       struct tensor *y, double alpha)
{
    if (a->dtype != DT_FLOAT32 || b->dtype != DT_FLOAT32 || y->dtype != DT_FLOAT32 ||
        code > B_DIV || y->shape.rank == 0)
        return false;
    struct shape rows = y->shape;
    int64_t count = rows.dim[--rows.rank], sa[SHAPE_MAX_RANK], sb[SHAPE_MAX_RANK];
    fold_broadcast_strides(&a->shape, &y->shape, sa);
    fold_broadcast_strides(&b->shape, &y->shape, sb);
    struct fold_walk w;
    fold_walk_init(&w, &rows);
    w.operands = 2;
    memcpy(w.stride[0], sa, sizeof sa);
    memcpy(w.stride[1], sb, sizeof sb);
    int64_t step_a = sa[rows.rank], step_b = sb[rows.rank], total = shape_elements(&rows);
    float *out = y->data;
    for (int64_t r = 0; r < total; r++, fold_walk_next(&w), out += count) {
        const float *pa = (const float *)a->data + w.at[0], *pb = (const float *)b->data + w.at[1];
        for (int64_t i = 0; i < count; i++) {
            double va = (double)pa[i * step_a], vb = (double)pb[i * step_b];
            out[i] = (float)(code == B_ADD   ? va + vb * alpha
                             : code == B_SUB ? va - vb * alpha
                             : code == B_MUL ? va * vb
                                             : va / vb);
        }
    }
    return true;
}

bool real_binary(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *a = kernel_in(c, 0), *b = kernel_in(c, 1);
    struct tensor *y = c->out[0];
    enum binary code = binary_find(c->node);
    double alpha = code <= B_SUB ? node_float(c->node, "alpha", 1) : 1;
    if (code == B_NONE)
        return kernel_unsupported(c, err, "there is no such function");
    if (!real_broadcasts(c, a, &y->shape, err) || !real_broadcasts(c, b, &y->shape, err))
        return false;
    if (float_rows(code, a, b, y, alpha))
        return true;
    /* True division of integers is real arithmetic; so is a power with a real exponent. */
    bool whole = fold_is_int(a->dtype) && fold_is_int(b->dtype) && binary_has_int(code) &&
                 alpha == floor(alpha) && fabs(alpha) < 1e15;
    if (!whole && binary_is_bitwise(code))
        return kernel_unsupported(c, err, "bits of real numbers are not defined");
    enum dtype t = a->dtype == DT_UINT64 && b->dtype == DT_UINT64 ? DT_UINT64 : DT_INT64;
    int64_t count = real_count(y), factor = whole ? (int64_t)alpha : 1;
    struct fold_walk w;
    fold_walk_init(&w, &y->shape);
    fold_walk_add(&w, &a->shape);
    fold_walk_add(&w, &b->shape);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        if (!whole) {
            tensor_store_real(
                y, i, binary_apply(code, tensor_real(a, w.at[0]), tensor_real(b, w.at[1]) * alpha));
            continue;
        }
        int64_t vb = (int64_t)((uint64_t)tensor_int(b, w.at[1]) * (uint64_t)factor);
        if (vb == 0 && binary_divides(code))
            return kernel_unsupported(c, err, "integer division by zero at element %lld",
                                      (long long)i);
        int64_t r = binary_apply_int(code, tensor_int(a, w.at[0]), vb, t);
        fold_store_int(real_at(y, i), y->dtype, r);
    }
    return true;
}

/* ── selection ── */

static bool select_run(const struct kernel_call *c, const struct tensor *condition,
                       const struct tensor *yes, const struct tensor *no, struct bpu_error *err)
{
    const struct tensor *operands[] = {condition, yes, no};
    for (int i = 0; i < 3; i++)
        if (!real_broadcasts(c, operands[i], &c->out[0]->shape, err))
            return false;
    struct fold_walk w;
    int64_t count = real_count(c->out[0]);
    fold_walk_init(&w, &c->out[0]->shape);
    fold_walk_add(&w, &condition->shape);
    fold_walk_add(&w, &yes->shape);
    fold_walk_add(&w, &no->shape);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        bool first = tensor_real(condition, w.at[0]) != 0;
        real_move(first ? yes : no, w.at[first ? 1 : 2], c->out[0], i);
    }
    return true;
}

/* where(condition, a, b) */
bool real_where(const struct kernel_call *c, struct bpu_error *err)
{
    return select_run(c, c->in[0], c->in[1], c->in[2], err);
}

bool fixed_where(const struct kernel_call *c, struct bpu_error *err)
{
    return real_where(c, err);
}

/* masked_fill(x, mask, value): the value is an operand or the attribute. */
bool real_masked_fill(const struct kernel_call *c, struct bpu_error *err)
{
    double number = node_float(c->node, "value", 0);
    struct tensor fill = {.shape = {.rank = 0}, .dtype = DT_FLOAT64, .data = &number, .bytes = 8};
    return select_run(c, c->in[1], kernel_in(c, 2) ? kernel_in(c, 2) : &fill, c->in[0], err);
}

bool fixed_masked_fill(const struct kernel_call *c, struct bpu_error *err)
{
    return real_masked_fill(c, err);
}
