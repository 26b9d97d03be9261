/* fixed_cat: concatenation and stacking.  Operands of another scale than the result's are
 * dequantized and quantized, in binary32, one by one. */
#include "core/run/fixed.h"

/* Copies t into y from row `row` of the axis on. */
static bool place(const struct kernel_call *c, const struct tensor *t, struct tensor *y,
                  struct fixed_lanes from, struct fixed_lanes to, int64_t row,
                  struct bpu_error *err)
{
    struct fixed_scale s = {0}, r;
    bool scaled = fixed_is_scaled(t), result = fixed_is_scaled(y);
    if ((scaled && !fixed_scale(c, t, "an operand", &s, err)) ||
        (result && !fixed_scale(c, y, "the result", &r, err)))
        return false;
    for (int64_t o = 0; o < from.outer; o++)
        for (int64_t i = 0; i < from.extent * from.inner; i++) {
            int64_t at = o * from.extent * from.inner + i;
            int64_t to_at = (o * to.extent + row) * to.inner + i;
            if (result)
                tensor_store_int(y, to_at, fixed_take(t, at, scaled ? &s : NULL, &r));
            else
                tensor_store_real(y, to_at, tensor_real(t, at));
        }
    return true;
}

static bool join(const struct kernel_call *c, bool stack, struct bpu_error *err)
{
    struct tensor *y = fixed_out(c, 0);
    int axis;
    int64_t row = 0;
    if (!y)
        return true;
    if (!fixed_axis_attr(c, "dim", 0, y->shape.rank, &axis, err))
        return false;
    struct fixed_lanes to = fixed_lanes(&y->shape, axis);
    for (int i = 0; i < c->in_count; i++) {
        const struct tensor *t = c->in[i];
        if (!t || (!stack && t->shape.rank == 1 && t->shape.dim[0] == 0))
            continue; /* PyTorch lets an empty vector stand anywhere */
        struct fixed_lanes from = to;
        from.extent = stack ? 1 : fixed_lanes(&t->shape, axis).extent;
        if ((!stack && t->shape.rank != y->shape.rank) ||
            from.outer * from.extent * from.inner != shape_elements(&t->shape) ||
            row + from.extent > to.extent)
            return kernel_unsupported(c, err, "operand %d does not fit", i);
        if (!place(c, t, y, from, to, row, err))
            return false;
        row += from.extent;
    }
    return true;
}

bool fixed_cat(const struct kernel_call *c, struct bpu_error *err)
{
    return join(c, false, err);
}

bool fixed_stack(const struct kernel_call *c, struct bpu_error *err)
{
    return join(c, true, err);
}
