/* fixed_softmax: softmax and log_softmax, prelu, glu: in double precision with one rounding.
 *
 *   softmax(i) = exp(x(i) - m) / sum over j of exp(x(j) - m),  m = max x; summed in order of j
 *   log_softmax(i) = x(i) - m - log(sum)
 *   prelu(x) = x < 0 ? slope * x : x
 *   glu(a, b) = a / (1 + exp(-b)) */
#include "core/run/fixed.h"

bool fixed_softmax(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = fixed_out(c, 0);
    bool logarithm = strcmp(c->node->op->key, "log_softmax") == 0;
    int axis, rank = x->shape.rank;
    /* Without dim: PyTorch's old rule. */
    int64_t otherwise = rank == 0 || rank == 1 || rank == 3 ? 0 : 1;
    if (!y)
        return true;
    if (!fixed_all_scaled(c, err))
        return false;
    if (!fixed_axis_attr(c, "dim", otherwise, rank, &axis, err))
        return false;
    struct fixed_lanes l = fixed_lanes(&x->shape, axis);
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < l.inner; i++) {
            int64_t first = o * l.extent * l.inner + i;
            double most = -INFINITY, sum = 0;
            for (int64_t k = 0; k < l.extent; k++)
                most = fmax(most, tensor_real(x, first + k * l.inner));
            for (int64_t k = 0; k < l.extent; k++)
                sum += exp(tensor_real(x, first + k * l.inner) - most);
            for (int64_t k = 0; k < l.extent; k++) {
                double v = tensor_real(x, first + k * l.inner) - most;
                tensor_store_real(y, first + k * l.inner, logarithm ? v - log(sum) : exp(v) / sum);
            }
        }
    return true;
}

bool fixed_prelu(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *w = kernel_param(c, "weight");
    struct tensor *y = fixed_out(c, 0);
    if (!y)
        return true;
    if (!fixed_all_scaled(c, err))
        return false;
    bool operand = !w;
    if (operand && !(w = kernel_in(c, 1)))
        return kernel_unsupported(c, err, "there is no slope");
    int64_t slopes = shape_elements(&w->shape), count = shape_elements(&x->shape);
    int64_t channels = x->shape.rank < 2 ? 1 : x->shape.dim[1];
    struct fixed_lanes l = fixed_lanes(&x->shape, x->shape.rank < 2 ? x->shape.rank : 1);
    bool per_channel = slopes == channels && (w->shape.rank <= 1 || !infer_from_onnx(c->node));
    struct fold_walk walk;
    fold_walk_init(&walk, &x->shape);
    if (slopes != 1 && !per_channel)
        fold_walk_add(&walk, &w->shape);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&walk)) {
        int64_t at = slopes == 1 ? 0 : per_channel ? i / l.inner % channels : walk.at[0];
        double v = tensor_real(x, i);
        tensor_store_real(y, i, v < 0 ? v * tensor_real(w, at) : v);
    }
    return true;
}

bool fixed_glu(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = fixed_out(c, 0);
    int axis;
    if (!y)
        return true;
    if (!fixed_all_scaled(c, err))
        return false;
    if (!fixed_axis_attr(c, "dim", -1, x->shape.rank, &axis, err))
        return false;
    struct fixed_lanes l = fixed_lanes(&y->shape, axis);
    int64_t half = l.extent * l.inner;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t i = 0; i < half; i++) {
            double a = tensor_real(x, o * 2 * half + i), b = tensor_real(x, (o * 2 + 1) * half + i);
            tensor_store_real(y, o * half + i, a / (1 + exp(-b)));
        }
    return true;
}
