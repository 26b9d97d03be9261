/* fixed_tail: see the header. */
#include "core/run/fixed_tail.h"

/* The bias as integers of scale s_x * s_w.  An integer bias of another scale, and a float one, are
 * quantized as PyTorch does. */
static bool take_bias(const struct kernel_call *c, const struct quant *w, int64_t channels,
                      struct fixed_tail *out, struct bpu_error *err)
{
    const struct tensor *b = kernel_param(c, "bias");
    double s_x = tensor_scale(c->in[0], 0);
    if (!b)
        return true;
    int64_t count = shape_elements(&b->shape);
    if (count != channels && count != 1)
        return kernel_unsupported(c, err, "a bias of %lld elements", (long long)count);
    int32_t *bias = ARENA_ARRAY(c->scratch, int32_t, channels, err);
    for (int64_t m = 0; bias && m < channels; m++) {
        int64_t i = count == 1 ? 0 : m;
        double s_w = requant_weight_scale(w, m), s_b = tensor_scale(b, i);
        bool whole =
            b->dtype == DT_INT32 ||
            (b->dtype == DT_QINT32 && (b->quant.count <= 0 || fabs(s_b / (s_x * s_w) - 1) < 1e-5));
        bias[m] = whole ? (int32_t)tensor_int(b, i) : requant_bias(tensor_real(b, i), s_x, s_w);
    }
    out->bias = bias;
    return bias != NULL;
}

bool fixed_weight(const struct kernel_call *c, const struct tensor *w, int axis,
                  struct bpu_error *err)
{
    if (!fixed_is_scaled(w) || w->dtype == DT_QINT32)
        return kernel_unsupported(c, err, "a weight of type %s with quantized operands",
                                  dtype_name(w->dtype));
    if (w->quant.count <= 0) {
        error_set(err, BPU_BAD_MODEL, c->node->name, "%s: the weight has no scale",
                  c->node->op_name);
        return error_hint(err, "Quantize the network first, or give the weight a scale.");
    }
    return w->quant.count == 1 || w->quant.axis == axis ||
           kernel_unsupported(c, err, "weight scales along axis %d; axis %d is possible",
                              w->quant.axis, axis);
}

/* int32[channels] of a parameter, or NULL. */
static bool take_integers(const struct kernel_call *c, const char *name, int64_t channels,
                          const void **out, struct bpu_error *err)
{
    const struct tensor *t = kernel_param(c, name);
    *out = NULL;
    if (!t)
        return true;
    if (t->dtype != DT_INT32 || shape_elements(&t->shape) != channels)
        return kernel_unsupported(c, err, "the parameter %s is no int32[%lld]", name,
                                  (long long)channels);
    *out = t->data;
    return true;
}

bool fixed_tail_init(const struct kernel_call *c, const struct quant *w, int64_t channels,
                     const struct tensor *residual, struct fixed_tail *out, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0];
    const void *multiplier, *shift;
    *out = (struct fixed_tail){.residual = residual, .y = y};
    if (!fixed_is_scaled(x) || !fixed_is_scaled(y))
        return kernel_unsupported(c, err, "an input of type %s with a result of type %s",
                                  dtype_name(x->dtype), dtype_name(y->dtype));
    if (x->quant.count > 1 || (y->quant.count > 1 && y->quant.count != channels) ||
        (w && w->count > 1 && channels % w->count))
        return kernel_unsupported(c, err, "scales per channel that do not fit");
    if (residual && (!shape_equal(&residual->shape, &y->shape) || !fixed_is_scaled(residual) ||
                     residual->quant.count != 1 || residual->dtype == DT_QINT32))
        return kernel_unsupported(c, err,
                                  "the second operand must have the shape of the result, and 8 or "
                                  "16 bits with one scale");
    struct requant_scales s = {.x = &x->quant,
                               .w = w,
                               .y = &y->quant,
                               .r = residual ? &residual->quant : NULL,
                               .y_dtype = y->dtype,
                               .channels = channels};
    return take_bias(c, w, channels, out, err) &&
           take_integers(c, "multiplier", channels, &multiplier, err) &&
           take_integers(c, "shift", channels, &shift, err) &&
           requant_new(c->scratch, &s, node_string(c->node, "activation", NULL), c->node->name,
                       multiplier, shift, &out->requant, err);
}
