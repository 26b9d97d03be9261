/* fixed_quantize: into, between and out of scales.
 *
 * From float: PyTorch multiplies by the reciprocal of the scale in binary32, ONNX divides; both
 * round ties to even and add the zero point after.  Between scales: dequantized and quantized in
 * binary32. */
#include "core/run/fixed.h"

bool fixed_quantize(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = fixed_out(c, 0);
    struct fixed_scale from, to;
    if (!y)
        return true;
    int64_t count = shape_elements(&y->shape);
    if (y->quant.count > 1) { /* per channel: constants that a file quantizes */
        for (int64_t i = 0; i < count; i++)
            tensor_store_real(y, i, tensor_real(x, i));
        return true;
    }
    bool scaled = fixed_is_scaled(x), divide = infer_from_onnx(c->node);
    if (!fixed_scale(c, y, "the result", &to, err) ||
        (scaled && !fixed_scale(c, x, "the input", &from, err)))
        return false;
    for (int64_t i = 0; i < count; i++) {
        int32_t v;
        if (scaled)
            v = fixed_rescale(tensor_int(x, i), &from, &to);
        else if (divide)
            v = arith_quantize_binary32((float)tensor_real(x, i) / (float)to.scale, 1, to.zero,
                                        to.lo, to.hi);
        else
            v = arith_quantize_binary32((float)tensor_real(x, i), to.reciprocal, to.zero, to.lo,
                                        to.hi);
        tensor_store_int(y, i, v);
    }
    return true;
}

/* One product in binary32 per element; scales per channel (unquantized results) included. */
bool fixed_dequantize(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    struct tensor *y = fixed_out(c, 0);
    if (!y)
        return true;
    if (!fixed_is_scaled(x) || x->quant.count <= 0)
        return kernel_unsupported(c, err, "an input of type %s without a scale",
                                  dtype_name(x->dtype));
    int64_t count = shape_elements(&y->shape), inner = 1;
    for (int d = x->quant.axis + 1; d < x->shape.rank; d++)
        inner *= x->shape.dim[d];
    for (int64_t i = 0; i < count; i++) {
        int64_t channel = x->quant.count > 1 && inner > 0 ? i / inner % x->quant.count : 0;
        float centred = (float)(tensor_int(x, i) - tensor_zero_point(x, channel));
        tensor_store_real(y, i, (float)tensor_scale(x, channel) * centred);
    }
    return true;
}
