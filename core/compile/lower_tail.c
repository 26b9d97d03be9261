/* lower_tail: see the header. */
#include "core/compile/lower_tail.h"

#include <math.h>
#include <string.h>

#include "core/run/requant.h"

/* ── windows ── */

static bool counts(const struct node *n, const char *what, int64_t v, struct bpu_error *err)
{
    return (v >= 0 && v <= INT32_MAX / 4) ||
           lower_refuse(n, err, "%s is %lld; the machine counts to %d", what, (long long)v,
                        INT32_MAX / 4);
}

bool lower_windows(const struct node *n, const int64_t *kernel, struct windows *out,
                   struct bpu_error *err)
{
    int k = n->op->spatial, strides = 0;
    int64_t size[LOWER_SPATIAL] = {1, 1, 1}, stride[LOWER_SPATIAL], dilation[LOWER_SPATIAL];
    int64_t list[2 * LOWER_SPATIAL];
    struct infer_window w[LOWER_SPATIAL] = {{0}}, one = {.kernel = 1, .stride = 1, .dilation = 1};
    if (k < 1 || k > LOWER_SPATIAL)
        return lower_refuse(n, err, "it has %d windowed axes", k);
    if (kernel)
        memcpy(size, kernel, (size_t)k * sizeof *size);
    else if (!infer_tuple(n, "kernel_size", k, 1, size, err) ||
             !infer_ints(n, "stride", list, 2 * LOWER_SPATIAL, &strides, err))
        return false;
    if (!infer_tuple(n, "stride", k, 1, stride, err) ||
        !infer_tuple(n, "dilation", k, 1, dilation, err))
        return false;
    for (int i = 0; i < k; i++)
        w[i] = (struct infer_window){
            .kernel = size[i],
            .stride = !kernel && strides <= 0 ? size[i] : stride[i],
            .dilation = dilation[i],
        };
    if (!infer_padding(n, k, w, err))
        return false;
    for (int i = 0; i < k; i++) {
        int64_t span;
        if (!counts(n, "kernel_size", w[i].kernel, err) || !counts(n, "stride", w[i].stride, err) ||
            !counts(n, "dilation", w[i].dilation, err) || !counts(n, "padding", w[i].begin, err) ||
            !counts(n, "padding", w[i].end, err))
            return false;
        if (__builtin_mul_overflow(w[i].kernel, w[i].dilation, &span) ||
            !counts(n, "the window", span, err))
            return false;
    }
    *out = (struct windows){one, one, one};
    out->w = w[k - 1];
    if (k > 1)
        out->h = w[k - 2];
    if (k > 2)
        out->d = w[0];
    return true;
}

bool lower_batched(const struct node *n, const struct value *v, struct shape *out,
                   struct bpu_error *err)
{
    int k = n->op->spatial;
    char text[SHAPE_TEXT_MAX];
    *out = v->shape;
    if (v->shape.rank == k + 2)
        return true;
    if (v->shape.rank != k + 1)
        return lower_refuse(n, err, "an operand of shape %s", shape_text(&v->shape, text));
    out->rank = k + 2;
    out->dim[0] = 1;
    memcpy(out->dim + 1, v->shape.dim, (size_t)(k + 1) * sizeof *out->dim);
    return true;
}

/* ── the end of a sum ── */

/* The bias as integers of scale s_x * s_w; one of another scale is quantized as PyTorch does. */
static bool take_bias(struct lowering *l, const struct node *n, const struct quant *w,
                      int64_t channels, const int32_t **out, struct bpu_error *err)
{
    const struct value *b = node_param(n, "bias");
    double s_x = n->inputs[0]->quant.scale[0];
    *out = NULL;
    if (!b)
        return true;
    int64_t count = shape_elements(&b->shape);
    int32_t *bias = ARENA_ARRAY(l->arena, int32_t, channels, err);
    if (!bias || !lower_constant(n, b, "the bias", err))
        return false;
    if (count != 1 && count != channels)
        return lower_refuse(n, err, "a bias of %lld elements", (long long)count);
    for (int64_t m = 0; m < channels; m++) {
        int64_t i = count == 1 ? 0 : m, whole;
        double real, s_w = requant_weight_scale(w, m);
        double s_b = b->quant.count > 0 ? b->quant.scale[b->quant.count == 1 ? 0 : i] : 1;
        bool integer = b->dtype == DT_INT32 || (b->dtype == DT_QINT32 &&
                                                (b->quant.count <= 0 ||
                                                 fabs(s_b / (s_x * s_w) - 1) < 1e-5));
        if (!constant_int(b, i, &whole) || !constant_real(b, i, &real))
            return lower_refuse(n, err, "the bias cannot be read");
        if (!integer && dtype_is_quantized(b->dtype)) {
            int64_t zero = b->quant.zero_point ? b->quant.zero_point[b->quant.count == 1 ? 0 : i] : 0;
            real = (double)(whole - zero) * s_b;
        }
        bias[m] = integer ? (int32_t)whole : requant_bias(real, s_x, s_w);
    }
    *out = bias;
    return true;
}

/* int32[channels] of a parameter; NULL if it has none. */
static bool take_integers(const struct node *n, const char *name, int64_t channels,
                          const void **out, struct bpu_error *err)
{
    const struct value *v = node_param(n, name);
    *out = NULL;
    if (!v)
        return true;
    if (!lower_constant(n, v, name, err))
        return false;
    if (v->dtype != DT_INT32 || shape_elements(&v->shape) != channels ||
        v->constant->bytes < (size_t)channels * 4)
        return lower_refuse(n, err, "the parameter %s is no int32[%lld]", name, (long long)channels);
    *out = v->constant->data;
    return true;
}

bool lower_tail(struct lowering *l, const struct node *n, const struct quant *w, int64_t channels,
                const struct value *residual, struct tail *out, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    const void *multiplier, *shift;
    struct requant r;
    struct requant_scales s = {.x = &x->quant,
                               .w = w,
                               .y = &y->quant,
                               .r = residual ? &residual->quant : NULL,
                               .y_dtype = y->dtype,
                               .channels = channels};
    *out = (struct tail){.rule = !requant_is_binary32(y->dtype) || residual};
    if (x->quant.count < 1)
        return lower_refuse(n, err, "the input has no scale");
    if (!take_bias(l, n, w, channels, &out->ends.bias, err) ||
        !take_integers(n, "multiplier", channels, &multiplier, err) ||
        !take_integers(n, "shift", channels, &shift, err) ||
        !requant_new(l->arena, &s, node_string(n, "activation", NULL), n->name, multiplier, shift,
                     &r, err))
        return false;
    out->ends.multiplier = r.multiplier;
    out->ends.shift = r.shift;
    out->ends.residual = r.residual;
    out->low = r.lo;
    out->high = r.hi;
    return true;
}

/* ── layers ── */

/* Where the first row of a piece's operand lies beside its first result row. */
static void fit_window(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    args[CONV_PAD_TOP] = p->in_r0[0] + l->window.pad - p->r0 * l->window.stride;
}

static void fit_transposed(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    args[CONV_PAD_TOP] = p->r0 + l->window.pad - p->in_r0[0] * l->window.stride;
}

struct layer *lower_sums(struct lowering *l, enum opcode op, const struct node *n, struct map *x,
                         struct map *y, const struct windows *v, const struct packed *p,
                         const struct tail *t, struct map *residual, struct bpu_error *err)
{
    struct layer *c = lower_layer(l, op, n, y, err);
    if (!c)
        return NULL;
    int32_t *a = c->args;
    bool transposed = op == OP_DECONV;
    layer_reads(c, x, transposed ? NEED_TRANSPOSED : NEED_WINDOW);
    layer_reads_blob(c, p->blob);
    layer_reads(c, residual, NEED_SAME);
    if (residual)
        layer_in_place(c, 2);
    c->window = (struct rows_window){.kernel = (int)v->h.kernel,
                                     .stride = (int)v->h.stride,
                                     .dilation = (int)v->h.dilation,
                                     .pad = (int)v->h.begin};
    a[CONV_KERNEL_H] = (int32_t)v->h.kernel;
    a[CONV_KERNEL_W] = (int32_t)v->w.kernel;
    a[CONV_STRIDE_H] = (int32_t)v->h.stride;
    a[CONV_STRIDE_W] = (int32_t)v->w.stride;
    a[CONV_DILATION_H] = (int32_t)v->h.dilation;
    a[CONV_DILATION_W] = (int32_t)v->w.dilation;
    a[CONV_PAD_TOP] = (int32_t)v->h.begin;
    a[CONV_PAD_LEFT] = (int32_t)v->w.begin;
    a[CONV_UNIT_CHANNELS] = p->unit_channels;
    a[CONV_UNIT_BYTES] = (int32_t)p->unit_bytes;
    a[CONV_UNIT_INPUTS] = p->unit_inputs;
    a[CONV_SPLIT_INPUTS] = p->split_inputs;
    a[CONV_OUT_BLOCK] = p->out_block;
    a[CONV_IN_BLOCK] = p->in_block;
    if (t) {
        a[CONV_RULE] = t->rule;
        a[CONV_LOW] = t->low;
        a[CONV_HIGH] = t->high;
    } else {
        a[CONV_UNFINISHED] = 1;
    }
    c->fit = transposed ? fit_transposed : fit_window;
    return c;
}
