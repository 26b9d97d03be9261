/* fixed_unary: functions of one value, through a table with one entry per stored integer.
 *
 *   table[q - lowest q] = f((q - z_x) * s_x) / s_y + z_y, computed in double, rounded once
 *
 * A converted graph carries the table; otherwise it is made here, from core/ops/unary.h. */
#include "core/run/fixed_unary.h"

#include "core/ops/unary.h"

bool fixed_unary_table(const struct node *n, const struct quant *x, enum dtype x_dtype,
                       const struct quant *y, enum dtype y_dtype, int32_t *table,
                       struct bpu_error *err)
{
    struct unary f;
    int64_t x_lo, x_hi, y_lo, y_hi;
    if (!unary_find(n, &f))
        return error_set(err, BPU_UNSUPPORTED, n->name, "%s has no real function", n->op_name);
    dtype_range(x_dtype, &x_lo, &x_hi);
    dtype_range(y_dtype, &y_lo, &y_hi);
    bool truth = y_dtype == DT_QBOOL;
    double s_x = x->count ? x->scale[0] : 1, s_y = y->count ? y->scale[0] : 1;
    int64_t z_x = x->count && x->zero_point ? x->zero_point[0] : 0;
    int64_t z_y = y->count && y->zero_point ? y->zero_point[0] : 0;
    for (int64_t q = x_lo; q <= x_hi; q++) {
        double v = unary_apply(&f, (double)(q - z_x) * s_x);
        table[q - x_lo] =
            truth ? v != 0 : arith_quantize(v, s_y, (int32_t)z_y, (int32_t)y_lo, (int32_t)y_hi);
    }
    return true;
}

/* Element i of a table in a graph: int8 or int16, or unsigned as the result is. */
static int64_t entry(const struct tensor *table, int64_t i, enum dtype y)
{
    int64_t v = tensor_int(table, i);
    return y == DT_QUINT8 ? v & 0xFF : v;
}

bool fixed_unary(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *table = kernel_param(c, "table");
    struct tensor *y = fixed_out(c, 0);
    int64_t lo, hi, whole;
    if (!y)
        return true;
    int64_t count = shape_elements(&y->shape);
    dtype_range(x->dtype, &lo, &hi);
    if (x->dtype == DT_QBOOL) { /* truth values: as integers */
        for (int64_t i = 0; i < count; i++) {
            if (!unary_apply_int(c->node->op->key, tensor_int(x, i), x->dtype, &whole))
                return kernel_unsupported(c, err, "truth values");
            tensor_store_int(y, i, whole);
        }
        return true;
    }
    if (table) {
        int64_t entries = hi - lo + 1;
        if (shape_elements(&table->shape) != entries)
            return kernel_unsupported(c, err, "a table that does not have %lld entries",
                                      (long long)entries);
        for (int64_t i = 0; i < count; i++)
            tensor_store_int(y, i, entry(table, tensor_int(x, i) - lo, y->dtype));
        return true;
    }
    if (!fixed_all_scaled(c, err))
        return false;
    if (hi - lo > UINT16_MAX || x->quant.count != 1 || y->quant.count > 1) {
        struct unary f; /* no one table: each on its own */
        if (!unary_find(c->node, &f))
            return kernel_unsupported(c, err, "%s", dtype_name(x->dtype));
        for (int64_t i = 0; i < count; i++)
            tensor_store_real(y, i, unary_apply(&f, tensor_real(x, i)));
        return true;
    }
    int32_t *made = ARENA_ARRAY(c->scratch, int32_t, hi - lo + 1, err);
    if (!made || !fixed_unary_table(c->node, &x->quant, x->dtype, &y->quant, y->dtype, made, err))
        return false;
    for (int64_t i = 0; i < count; i++)
        tensor_store_int(y, i, made[tensor_int(x, i) - lo]);
    return true;
}
