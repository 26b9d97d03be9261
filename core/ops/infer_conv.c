/* infer_conv: convolution and transposed convolution of 1, 2 and 3 spatial axes.
 *
 *   x (N, C, d..) or (C, d..);  weight (out, in/groups, k..), transposed (in, out/groups, k..)
 *
 * The weight decides; the attributes in_channels, out_channels and kernel_size are completed from
 * it and must not contradict it.  Without a weight (a graph JSON of shapes only) the attributes
 * decide. */
#include "core/ops/infer.h"

#include <stdio.h>
#include <string.h>

#define MAX_SPATIAL 3

bool infer_padding(const struct node *n, int k, struct infer_window *w, struct bpu_error *err)
{
    const struct attr *a = node_attr(n, "padding");
    if (a && a->kind == ATTR_STRING) {
        bool same = strcmp(a->s, "same") == 0;
        if (!same && strcmp(a->s, "valid") != 0)
            return infer_bad(n, err, "Give integers, \"same\" or \"valid\".",
                             "padding is \"%.40s\"", a->s);
        for (int i = 0; i < k; i++) {
            int64_t total;
            w[i].begin = w[i].end = 0;
            if (!same)
                continue;
            if (w[i].stride != 1)
                return infer_bad(n, err, "Give the padding as integers.",
                                 "padding \"same\" needs stride 1, but the stride is %lld",
                                 (long long)w[i].stride);
            if (!checked_mul(w[i].dilation, w[i].kernel - 1, &total))
                return infer_bad(n, err, NULL, "dilation * (kernel - 1) is beyond 64 bits");
            w[i].begin = total / 2;
            w[i].end = total - total / 2;
        }
        return true;
    }
    int64_t list[2 * MAX_SPATIAL];
    int count;
    if (!infer_ints(n, "padding", list, 2 * MAX_SPATIAL, &count, err))
        return false;
    if (count > 1 && count != k && count != 2 * k)
        return infer_bad(n, err, "Give one integer per axis, or all begins and then all ends.",
                         "padding has %d entries; 1, %d or %d are possible", count, k, 2 * k);
    for (int i = 0; i < k; i++) {
        w[i].begin = count <= 0 ? 0 : list[count == 1 ? 0 : i];
        w[i].end = count <= 0 ? 0 : list[count == 1 ? 0 : count == k ? i : i + k];
        if (w[i].begin < 0 || w[i].end < 0)
            return infer_bad(n, err, "Crop with torch.Tensor.__getitem__ instead.",
                             "padding %lld is negative",
                             (long long)(w[i].begin < 0 ? w[i].begin : w[i].end));
    }
    return true;
}

/* What the weight and the attributes say together. */
struct conv {
    int k;
    int64_t in, out, groups;
    struct infer_window w[MAX_SPATIAL];
    bool known; /* false: the weight has no known shape and the attributes do not say it either */
};

static bool conv_agree(const struct node *n, const char *name, int64_t from_attr,
                       int64_t from_weight, const struct shape *ws, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    if (from_attr == from_weight || from_weight < 0)
        return true;
    return infer_bad(n, err, "Correct the attribute or the weight.",
                     "%s is %lld, but the weight of shape %s says %lld", name, (long long)from_attr,
                     shape_text(ws, text), (long long)from_weight);
}

static bool conv_positive(const struct node *n, const char *name, int64_t v, struct bpu_error *err)
{
    return v >= 1 ||
           infer_bad(n, err, NULL, "%s is %lld; it must be at least 1", name, (long long)v);
}

/* One channel count from attribute and weight, completed in the node. */
static bool conv_channels(struct graph *g, struct node *n, const char *name, int64_t from_weight,
                          const struct shape *ws, int64_t *out, struct bpu_error *err)
{
    int64_t from_attr = node_int(n, name, -1);
    const struct attr *a = node_attr(n, name);
    if (a && a->kind != ATTR_NONE) {
        if (!conv_positive(n, name, from_attr, err) ||
            !conv_agree(n, name, from_attr, from_weight, ws, err))
            return false;
        *out = from_attr;
        return true;
    }
    *out = from_weight;
    if (from_weight < 0)
        return true;
    return conv_positive(n, name, from_weight, err) && node_set_int(g, n, name, from_weight, err);
}

static bool conv_kernel(struct graph *g, struct node *n, const struct shape *ws, struct conv *c,
                        struct bpu_error *err)
{
    int64_t list[SHAPE_MAX_RANK], kernel[MAX_SPATIAL];
    int count;
    if (!infer_ints(n, "kernel_size", list, SHAPE_MAX_RANK, &count, err))
        return false;
    if (count > 1 && count != c->k)
        return infer_bad(n, err, NULL, "kernel_size has %d entries; one or %d are needed", count,
                         c->k);
    for (int i = 0; i < c->k; i++) {
        int64_t from_weight = ws->rank >= 0 ? ws->dim[2 + i] : -1;
        kernel[i] = count > 0 ? list[count == 1 ? 0 : i] : from_weight;
        if (count > 0 && !conv_agree(n, "kernel_size", kernel[i], from_weight, ws, err))
            return false;
        if (kernel[i] < 0 && count <= 0)
            c->known = false;
        else if (!conv_positive(n, "kernel_size", kernel[i], err))
            return false;
        c->w[i].kernel = kernel[i];
    }
    return count > 0 || !c->known || node_set_ints(g, n, "kernel_size", kernel, c->k, err);
}

static bool conv_read(struct graph *g, struct node *n, bool transposed, struct conv *c,
                      struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const struct value *weight = node_param(n, "weight");
    struct shape ws = weight ? weight->shape : shape_unknown();
    *c = (struct conv){.k = n->op->spatial, .groups = node_int(n, "groups", 1), .known = true};
    if (ws.rank >= 0 && ws.rank != c->k + 2)
        return infer_bad(n, err, NULL, "the weight has shape %s; rank %d is needed",
                         shape_text(&ws, text), c->k + 2);
    if (!conv_positive(n, "groups", c->groups, err))
        return false;
    int64_t w0 = ws.rank >= 0 ? ws.dim[0] : -1, w1 = ws.rank >= 0 ? ws.dim[1] : -1, wg = -1;
    if (w1 >= 0 && !checked_mul(w1, c->groups, &wg))
        return infer_bad(n, err, NULL, "groups %lld is out of range", (long long)c->groups);
    if (!conv_channels(g, n, "in_channels", transposed ? w0 : wg, &ws, &c->in, err) ||
        !conv_channels(g, n, "out_channels", transposed ? wg : w0, &ws, &c->out, err) ||
        !conv_kernel(g, n, &ws, c, err))
        return false;
    if (!weight && (!c->known || c->in < 0 || c->out < 0))
        return infer_bad(
            n, err, "Give the parameter weight, or in_channels, out_channels and kernel_size.",
            "there is neither a weight nor all of in_channels, out_channels, kernel_size");
    if ((c->in >= 0 && c->in % c->groups) || (c->out >= 0 && c->out % c->groups))
        return infer_bad(n, err, NULL,
                         "in_channels %lld and out_channels %lld must be multiples of groups %lld",
                         (long long)c->in, (long long)c->out, (long long)c->groups);
    int64_t stride[MAX_SPATIAL], dilation[MAX_SPATIAL], extra[MAX_SPATIAL];
    if (!infer_tuple(n, "stride", c->k, 1, stride, err) ||
        !infer_tuple(n, "dilation", c->k, 1, dilation, err) ||
        !infer_tuple(n, "output_padding", c->k, 0, extra, err))
        return false;
    for (int i = 0; i < c->k; i++) {
        if (!conv_positive(n, "stride", stride[i], err) ||
            !conv_positive(n, "dilation", dilation[i], err))
            return false;
        c->w[i].stride = stride[i];
        c->w[i].dilation = dilation[i];
        c->w[i].extra = extra[i];
        if (transposed && (extra[i] < 0 || (extra[i] >= stride[i] && extra[i] >= dilation[i])))
            return infer_bad(
                n, err, NULL,
                "output_padding %lld must be 0 or more, and smaller than stride %lld or "
                "dilation %lld",
                (long long)extra[i], (long long)stride[i], (long long)dilation[i]);
    }
    const struct value *bias = node_param(n, "bias");
    if (bias && bias->shape.rank >= 0 && c->out >= 0 &&
        (bias->shape.rank != 1 || (bias->shape.dim[0] >= 0 && bias->shape.dim[0] != c->out)))
        return infer_bad(n, err, NULL, "the bias has shape %s; out_channels is %lld",
                         shape_text(&bias->shape, text), (long long)c->out);
    return !c->known || infer_padding(n, c->k, c->w, err);
}

static bool conv_extent(const struct node *n, int axis, int64_t in, const struct infer_window *w,
                        bool transposed, int64_t *out, struct bpu_error *err)
{
    int64_t span, a, b;
    if (!checked_mul(w->dilation, w->kernel - 1, &span) || !checked_add(span, 1, &span))
        return infer_bad(n, err, NULL, "dilation %lld * (kernel %lld - 1) is beyond 64 bits",
                         (long long)w->dilation, (long long)w->kernel);
    if (transposed) {
        if (!checked_mul(in - 1, w->stride, &a) || !checked_add(a, span, &a) ||
            !checked_add(a, w->extra, &a) || !checked_add(w->begin, w->end, &b) ||
            !checked_add(a, -b, out))
            return infer_bad(n, err, NULL, "the extent of axis %d is beyond 64 bits", axis);
        if (*out >= 1)
            return true;
        return infer_bad(n, err, "Use less padding, or a larger input.",
                         "axis %d has nothing left: (%lld - 1) * stride %lld + window %lld + "
                         "output_padding %lld - padding %lld = %lld",
                         axis, (long long)in, (long long)w->stride, (long long)span,
                         (long long)w->extra, (long long)b, (long long)*out);
    }
    if (!checked_add(in, w->begin, &a) || !checked_add(a, w->end, &a))
        return infer_bad(n, err, NULL, "the padded extent of axis %d is beyond 64 bits", axis);
    if (a < span)
        return infer_bad(
            n, err, "Use a smaller kernel or dilation, more padding, or a larger input.",
            "the kernel does not fit on axis %d: input %lld + padding %lld + %lld = %lld "
            "< %lld = dilation %lld * (kernel %lld - 1) + 1",
            axis, (long long)in, (long long)w->begin, (long long)w->end, (long long)a,
            (long long)span, (long long)w->dilation, (long long)w->kernel);
    *out = (a - span) / w->stride + 1;
    return true;
}

static bool conv_padding_mode(const struct node *n, const struct conv *c, const struct shape *x,
                              struct bpu_error *err)
{
    const char *mode = node_string(n, "padding_mode", "zeros");
    bool reflect = strcmp(mode, "reflect") == 0, circular = strcmp(mode, "circular") == 0;
    if (!reflect && !circular && strcmp(mode, "zeros") != 0 && strcmp(mode, "replicate") != 0)
        return infer_bad(n, err, "Modes are zeros, reflect, replicate and circular.",
                         "padding_mode is \"%.40s\"", mode);
    for (int i = 0; i < c->k && c->known && (reflect || circular); i++) {
        int64_t in = x->dim[x->rank - c->k + i], pad = c->w[i].begin;
        if (c->w[i].end > pad)
            pad = c->w[i].end;
        if (in >= 0 && (reflect ? pad >= in : pad > in))
            return infer_bad(n, err, NULL, "%s padding %lld is too large for the input extent %lld",
                             mode, (long long)pad, (long long)in);
    }
    return true;
}

static bool conv_infer(struct graph *g, struct node *n, bool transposed, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    struct conv c;
    const struct shape *x = infer_shape(n, 0);
    if (!conv_read(g, n, transposed, &c, err))
        return false;
    if (x->rank < 0)
        return infer_fused(n, x, err) && infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (x->rank != c.k + 2 && x->rank != c.k + 1)
        return infer_bad(n, err, NULL,
                         "the input has shape %s; rank %d (or %d without batch) is needed",
                         shape_text(x, text), c.k + 2, c.k + 1);
    int channel = x->rank - c.k - 1;
    if (x->dim[channel] >= 0 && c.in >= 0 && x->dim[channel] != c.in)
        return infer_bad(n, err, "The channel axis is the one before the spatial axes (NCHW).",
                         "the input of shape %s has %lld channels, but %lld are expected",
                         shape_text(x, text), (long long)x->dim[channel], (long long)c.in);
    if (!conv_padding_mode(n, &c, x, err))
        return false;
    struct shape out = *x;
    out.dim[channel] = c.out;
    for (int i = 0; i < c.k; i++) {
        int axis = channel + 1 + i;
        if (x->dim[axis] < 0 || !c.known)
            out.dim[axis] = -1;
        else if (!conv_extent(n, axis, x->dim[axis], &c.w[i], transposed, &out.dim[axis], err))
            return false;
    }
    return infer_fused(n, &out, err) && infer_out(n, 0, &out, infer_dtype(n, 0), err);
}

bool infer_conv(struct graph *g, struct node *n, struct bpu_error *err)
{
    return conv_infer(g, n, false, err);
}

bool infer_conv_transpose(struct graph *g, struct node *n, struct bpu_error *err)
{
    return conv_infer(g, n, true, err);
}
