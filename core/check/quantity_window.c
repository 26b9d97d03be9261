/* Quantities of convolutions and pools: windows, channels, weights. */
#include <string.h>

#include "core/check/rules.h"

/* The window that average pooling needs to give an adaptive pool's output: as PyTorch's adaptive
 * pool divides evenly, stride = in / out and kernel = in - (out - 1) * stride. */
static bool adaptive_window(const struct subject *s, char axis, int64_t *kernel, int64_t *stride)
{
    const struct value *x = node_input(s->n, 0), *y = s->n->output_count ? s->n->outputs[0] : NULL;
    if (!x || !y || x->shape.rank != y->shape.rank || x->shape.rank < 3 || axis == 'd' ||
        (axis == 'h' && x->shape.rank < 4))
        return false;
    int i = x->shape.rank - (axis == 'w' ? 1 : 2);
    int64_t in = x->shape.dim[i], outputs = y->shape.dim[i];
    if (in < 1 || outputs < 1)
        return false;
    *stride = in / outputs > 0 ? in / outputs : 1;
    *kernel = in - (outputs - 1) * *stride;
    if (outputs == 1)
        *stride = 1; /* one window: it never moves */
    return true;
}

static bool kernel(const struct subject *s, char axis, struct measure *out)
{
    int64_t k, stride;
    if (s->view == VIEW_POOL)
        return adaptive_window(s, axis, &k, &stride) && measure_number(out, (double)k);
    if (!subject_window(s, "kernel_size", axis, -1, &k))
        return false;
    if (s->view == VIEW_CONV)
        k = 1;
    struct shape w;
    if (k < 0 && subject_weight_shape(s, &w) && w.rank == 2 + subject_spatial(s))
        k = w.dim[w.rank - (axis == 'w' ? 1 : axis == 'h' ? 2 : 3)];
    return k >= 0 && measure_number(out, (double)k);
}

static bool stride(const struct subject *s, char axis, struct measure *out)
{
    int64_t v, k;
    if (s->view == VIEW_POOL)
        return adaptive_window(s, axis, &k, &v) && measure_number(out, (double)v);
    if (!subject_window(s, "stride", axis, -1, &v))
        return false;
    if (v < 0) { /* left out: 1 for convolutions, the kernel for pools */
        v = 1;
        if (s->n->op->class == OPC_POOL && !subject_window(s, "kernel_size", axis, 1, &v))
            return false;
    }
    return measure_number(out, (double)v);
}

static bool padding(const struct subject *s, char axis, struct measure *out)
{
    int64_t v;
    return s->view != VIEW_POOL && subject_padding(s, axis, &v) && measure_number(out, (double)v);
}

static bool window(const struct subject *s, const char *attr, char axis, int64_t otherwise,
                   struct measure *out)
{
    int64_t v;
    return s->view != VIEW_POOL && subject_window(s, attr, axis, otherwise, &v) &&
           measure_number(out, (double)v);
}

#define WINDOW(name, axis, call)                                                                   \
    bool quantity_##name##_##axis(const struct subject *s, const struct value *v,                  \
                                  struct measure *out)                                             \
    {                                                                                              \
        (void)v;                                                                                   \
        return call;                                                                               \
    }
WINDOW(kernel, d, kernel(s, 'd', out))
WINDOW(kernel, h, kernel(s, 'h', out))
WINDOW(kernel, w, kernel(s, 'w', out))
WINDOW(stride, d, stride(s, 'd', out))
WINDOW(stride, h, stride(s, 'h', out))
WINDOW(stride, w, stride(s, 'w', out))
WINDOW(padding, d, padding(s, 'd', out))
WINDOW(padding, h, padding(s, 'h', out))
WINDOW(padding, w, padding(s, 'w', out))
WINDOW(dilation, d, window(s, "dilation", 'd', 1, out))
WINDOW(dilation, h, window(s, "dilation", 'h', 1, out))
WINDOW(dilation, w, window(s, "dilation", 'w', 1, out))
WINDOW(output_padding, h, window(s, "output_padding", 'h', 0, out))
WINDOW(output_padding, w, window(s, "output_padding", 'w', 0, out))
#undef WINDOW

/* The entries of all axes as a list: "[2,1]". */
static bool list(const struct subject *s,
                 bool (*one)(const struct subject *, char, struct measure *), struct measure *out)
{
    static const char axes[] = "dhw";
    int spatial = subject_spatial(s), count = 0;
    int64_t v[3];
    for (int i = 3 - spatial; spatial && i < 3; i++) {
        struct measure m;
        memset(&m, 0, sizeof(m));
        if (!one(s, axes[i], &m))
            return false;
        v[count++] = (int64_t)m.number;
    }
    return count && measure_list(out, v, count);
}

bool quantity_kernel(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return list(s, kernel, out);
}

bool quantity_stride(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return list(s, stride, out);
}

bool quantity_stride_hw(const struct subject *s, const struct value *v, struct measure *out)
{
    return quantity_stride(s, v, out);
}

/* The largest of all axes: the bound is the same on each. */
bool quantity_dilation(const struct subject *s, const struct value *v, struct measure *out)
{
    static const char axes[] = "dhw";
    int spatial = subject_spatial(s);
    int64_t most = 0;
    (void)v;
    for (int i = 3 - spatial; spatial && i < 3; i++) {
        int64_t d;
        if (subject_window(s, "dilation", axes[i], 1, &d) && d > most)
            most = d;
    }
    return most > 0 && measure_number(out, (double)most);
}

static int64_t group_count(const struct subject *s)
{
    struct shape w;
    if (s->view != VIEW_CONV)
        return node_int(s->n, "groups", 1);
    if (s->ctx->role == ROLE_LINEAR || !subject_weight_shape(s, &w))
        return 1;
    return w.dim[0]; /* batch norm: one group a channel */
}

bool quantity_groups(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return subject_spatial(s) && measure_number(out, (double)group_count(s));
}

static bool transposed(const struct subject *s)
{
    return s->view == VIEW_SELF && s->n->op &&
           strncmp(s->n->op->name, "torch.nn.ConvTranspose", 22) == 0;
}

/* Input and output channels of a convolution, all groups together. */
static bool channels(const struct subject *s, int64_t *in, int64_t *outputs)
{
    struct shape w;
    if (!subject_weight_shape(s, &w))
        return false;
    int64_t groups = group_count(s);
    *in = transposed(s) ? w.dim[0] : w.dim[1] * groups;
    *outputs = transposed(s) ? w.dim[1] * groups : w.dim[0];
    return true;
}

bool quantity_in_channels(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t in, outputs;
    if (s->view == VIEW_CONV || s->n->op->class == OPC_CONV)
        return channels(s, &in, &outputs) && measure_number(out, (double)in);
    return quantity_dim_c(s, v, out);
}

bool quantity_out_channels(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t in, outputs;
    (void)v;
    if (s->view == VIEW_CONV || s->n->op->class == OPC_CONV)
        return channels(s, &in, &outputs) && measure_number(out, (double)outputs);
    return s->n->output_count > 0 && quantity_dim_c(s, s->n->outputs[0], out);
}

bool quantity_in_channels_per_group(const struct subject *s, const struct value *v,
                                    struct measure *out)
{
    int64_t in, outputs, groups = group_count(s);
    (void)v;
    return groups > 0 && channels(s, &in, &outputs) && measure_number(out, (double)(in / groups));
}

bool quantity_out_channels_per_group(const struct subject *s, const struct value *v,
                                     struct measure *out)
{
    int64_t in, outputs, groups = group_count(s);
    (void)v;
    return groups > 0 && channels(s, &in, &outputs) &&
           measure_number(out, (double)(outputs / groups));
}

static bool features(const struct subject *s, const char *attr, int axis, struct measure *out)
{
    int64_t f = node_int(s->n, attr, -1);
    const struct value *w = node_param(s->n, "weight");
    if (f < 0 && w && w->shape.rank == 2) {
        bool io = strcmp(node_string(s->n, "weight_layout", "oi"), "io") == 0;
        f = w->shape.dim[io ? 1 - axis : axis];
    }
    return f >= 0 && measure_number(out, (double)f);
}

bool quantity_in_features(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return features(s, "in_features", 1, out);
}

bool quantity_out_features(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    return features(s, "out_features", 0, out);
}

/* Weights of one output channel. A transposed convolution's weight is [in, out/groups, …]. */
bool quantity_weight_elems(const struct subject *s, const struct value *v, struct measure *out)
{
    struct shape w;
    (void)v;
    if (!subject_weight_shape(s, &w))
        return false;
    double n = 1;
    for (int i = 2; i < w.rank; i++)
        n *= (double)w.dim[i];
    int64_t groups = group_count(s) > 0 ? group_count(s) : 1;
    n *= transposed(s) ? (double)(w.dim[0] / groups) : (double)w.dim[1];
    return measure_number(out, n);
}

bool quantity_weight_d_in_c(const struct subject *s, const struct value *v, struct measure *out)
{
    struct shape w;
    int64_t in, outputs;
    (void)v;
    return subject_weight_shape(s, &w) && w.rank == 5 && channels(s, &in, &outputs) &&
           measure_number(out, (double)w.dim[2] * (double)in);
}

/* H * (W/8) * (C/4), the last two rounded up to whole blocks. */
bool quantity_gemm_blocks(const struct subject *s, const struct value *v, struct measure *out)
{
    const struct value *x = node_input(s->n, 0);
    (void)v;
    if (!x || !shape_is_static(&x->shape) || x->shape.rank < 1)
        return false;
    int r = x->shape.rank;
    int64_t c = r == 4 ? x->shape.dim[1] : x->shape.dim[r - 1];
    int64_t h = r == 4 ? x->shape.dim[2] : 1, w = r == 4 ? x->shape.dim[3] : 1;
    return measure_number(out, (double)h * (double)((w + 7) / 8) * (double)((c + 3) / 4));
}
