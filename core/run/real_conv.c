/* real_conv: convolution and transposed convolution of 1, 2 and 3 spatial axes, directly.
 *
 *   conv        y[n, o, p] = bias[o] + sum over c, k of x[n, c, q] w[o, c, k],
 *               q = p * stride + k * dilation - begin
 *   transposed  y[n, o, p] = bias[o] + sum over c, k of x[n, c, q] w[c, o, k],
 *               q * stride = p + begin - k * dilation
 *
 * Per axis a table says which input position q tap k of output position p reads, -1 for none:
 * strides, dilation, padding in every mode and the transposed form differ only in how that table is
 * filled.  The accumulator is a double; it starts with the bias and takes the channels of the group
 * and then the taps in ascending order; then the residual operand is added, the activation applied,
 * and the result rounded once. */
#include "core/run/real.h"

#define MAX_SPATIAL 3

struct conv {
    int64_t batch, groups, in_channels, out_channels; /* channels of one group */
    int64_t in[MAX_SPATIAL], out[MAX_SPATIAL],
        kernel[MAX_SPATIAL];          /* missing axes in front are 1 */
    const int64_t *from[MAX_SPATIAL]; /* [out * kernel + k] */
    bool transposed;
};

/* What lies at position i of an axis that is continued beyond its ends; -1: nothing. */
static int64_t padded_position(int64_t i, int64_t extent, const char *mode)
{
    if (i >= 0 && i < extent)
        return i;
    switch (mode[0]) {
    case 'r': /* reflect, replicate */
        if (mode[2] == 'f')
            return i < 0 ? -i : 2 * (extent - 1) - i;
        return i < 0 ? 0 : extent - 1;
    case 'c': return (i % extent + extent) % extent; /* circular */
    default: return -1;
    }
}

static bool conv_tables(const struct kernel_call *c, struct conv *v, int k, const struct shape *w,
                        struct bpu_error *err)
{
    const struct node *n = c->node;
    struct infer_window window[MAX_SPATIAL];
    int64_t stride[MAX_SPATIAL], dilation[MAX_SPATIAL];
    const char *mode = v->transposed ? "zeros" : node_string(n, "padding_mode", "zeros");
    if (!infer_tuple(n, "stride", k, 1, stride, err) ||
        !infer_tuple(n, "dilation", k, 1, dilation, err))
        return false;
    for (int i = 0; i < k; i++)
        window[i] = (struct infer_window){
            .kernel = w->dim[2 + i], .stride = stride[i], .dilation = dilation[i]};
    if (!infer_padding(n, k, window, err))
        return false;
    for (int a = 0; a < MAX_SPATIAL; a++) {
        int64_t *table = ARENA_ARRAY(c->scratch, int64_t, v->out[a] * v->kernel[a], err);
        int i = a - (MAX_SPATIAL - k);
        if (!table)
            return false;
        v->from[a] = table;
        for (int64_t p = 0; i >= 0 && p < v->out[a]; p++)
            for (int64_t t = 0; t < v->kernel[a]; t++) {
                int64_t at = p * stride[i] + t * dilation[i] - window[i].begin;
                if (v->transposed) {
                    at = p + window[i].begin - t * dilation[i];
                    at = at >= 0 && at % stride[i] == 0 ? at / stride[i] : -1;
                    if (at >= v->in[a])
                        at = -1;
                }
                table[p * v->kernel[a] + t] = padded_position(at, v->in[a], mode);
            }
    }
    return true;
}

/* One row of the output: acc[0 .. out[2]) += all taps of one channel. */
static void conv_row(const struct conv *v, const float *x, const float *w, const int64_t *p,
                     double *acc)
{
    int64_t kw = v->kernel[2];
    for (int64_t i = 0; i < v->kernel[0]; i++) {
        int64_t d = v->from[0][p[0] * v->kernel[0] + i];
        for (int64_t j = 0; j < v->kernel[1]; j++, w += kw) {
            int64_t h = v->from[1][p[1] * v->kernel[1] + j];
            if (d < 0 || h < 0)
                continue;
            const float *row = x + (d * v->in[1] + h) * v->in[2];
            for (int64_t t = 0; t < kw; t++) {
                double weight = (double)w[t];
                const int64_t *from = v->from[2] + t;
                for (int64_t o = 0; o < v->out[2]; o++) {
                    int64_t at = from[o * kw];
                    if (at >= 0)
                        acc[o] += weight * (double)row[at];
                }
            }
        }
    }
}

static bool conv_run(const struct kernel_call *c, bool transposed, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0), *weight = kernel_param(c, "weight");
    const struct tensor *bias = kernel_param(c, "bias"), *residual = kernel_in(c, 1);
    struct tensor *y = c->out[0];
    int k = c->node->op->spatial;
    if (!weight)
        return kernel_unsupported(c, err, "the weight is missing");
    int first = x->shape.rank - k - 1; /* the channel axis: 0 without a batch */
    struct conv v = {.groups = node_int(c->node, "groups", 1), .transposed = transposed};
    v.batch = first > 0 ? x->shape.dim[0] : 1;
    v.in_channels = x->shape.dim[first] / v.groups;
    v.out_channels = y->shape.dim[first] / v.groups;
    for (int a = 0; a < MAX_SPATIAL; a++) {
        int i = a - (MAX_SPATIAL - k);
        v.in[a] = i < 0 ? 1 : x->shape.dim[first + 1 + i];
        v.out[a] = i < 0 ? 1 : y->shape.dim[first + 1 + i];
        v.kernel[a] = i < 0 ? 1 : weight->shape.dim[2 + i];
    }
    const float *xs = real_floats(c, x, err), *ws = xs ? real_floats(c, weight, err) : NULL;
    double *acc = ws ? real_scratch(c, v.out[2], err) : NULL;
    if (!acc || !conv_tables(c, &v, k, &weight->shape, err))
        return false;
    enum real_activation activation = real_activation(c->node);
    int64_t taps = v.kernel[0] * v.kernel[1] * v.kernel[2], plane = v.in[0] * v.in[1] * v.in[2];
    int64_t channels = v.groups * v.out_channels, at = 0;
    for (int64_t i = 0; i < v.batch * channels; i++) {
        int64_t o = i % channels, group = o / v.out_channels;
        const float *image = xs + (i / channels * v.groups + group) * v.in_channels * plane;
        for (int64_t r = 0; r < v.out[0] * v.out[1]; r++, at += v.out[2]) {
            int64_t p[2] = {r / v.out[1], r % v.out[1]};
            for (int64_t q = 0; q < v.out[2]; q++)
                acc[q] = bias ? tensor_real(bias, o) : 0;
            for (int64_t ch = 0; ch < v.in_channels; ch++) {
                int64_t block =
                    transposed ? (group * v.in_channels + ch) * v.out_channels + o % v.out_channels
                               : o * v.in_channels + ch;
                conv_row(&v, image + ch * plane, ws + block * taps, p, acc);
            }
            for (int64_t q = 0; q < v.out[2]; q++)
                acc[q] = real_activate(acc[q] + (residual ? tensor_real(residual, at + q) : 0),
                                       activation);
            real_store(y, at, 1, v.out[2], acc);
        }
    }
    return true;
}

bool real_conv(const struct kernel_call *c, struct bpu_error *err)
{
    return conv_run(c, false, err);
}

bool real_conv_transpose(const struct kernel_call *c, struct bpu_error *err)
{
    return conv_run(c, true, err);
}
