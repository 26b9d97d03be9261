/* Relations between quantities of one node, named by the data. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

typedef int relation_fn(const struct subject *s, struct measure *out);

/* A number of the node; NAN-free: false if it cannot be known. */
static bool number(const struct subject *s, enum quantity q, double *out)
{
    struct measure m;
    if (!quantity_measure(s, q, NULL, &m) || !m.is_number)
        return false;
    *out = m.number;
    return true;
}

static int text(struct measure *out, bool holds, const char *fmt, ...) BPU_PRINTF(3, 4);
static int text(struct measure *out, bool holds, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->text, sizeof(out->text), fmt, ap);
    va_end(ap);
    return holds;
}

static int value(struct measure *out, bool holds, double v)
{
    measure_number(out, v);
    return holds;
}

static int relation_stride_equal_3(const struct subject *s, struct measure *out)
{
    double d, h, w;
    if (!number(s, Q_STRIDE_D, &d) || !number(s, Q_STRIDE_H, &h) || !number(s, Q_STRIDE_W, &w))
        return -1;
    return text(out, d == h && h == w, "[%.0f,%.0f,%.0f]", d, h, w);
}

static int stride_pair(const struct subject *s, struct measure *out, double *h, double *w)
{
    if (!number(s, Q_STRIDE_H, h) || !number(s, Q_STRIDE_W, w))
        return -1;
    return text(out, true, "[%.0f,%.0f]", *h, *w);
}

static int relation_stride_hw_1_or_2(const struct subject *s, struct measure *out)
{
    double h, w;
    if (stride_pair(s, out, &h, &w) < 0)
        return -1;
    return h == w && (h == 1 || h == 2);
}

static int relation_stride_h_le_w(const struct subject *s, struct measure *out)
{
    double h, w;
    return stride_pair(s, out, &h, &w) < 0 ? -1 : h <= w;
}

static int relation_stride_not_1_1(const struct subject *s, struct measure *out)
{
    double h, w;
    return stride_pair(s, out, &h, &w) < 0 ? -1 : !(h == 1 && w == 1);
}

static int relation_kernel_not_1_1(const struct subject *s, struct measure *out)
{
    double h, w;
    if (!number(s, Q_KERNEL_H, &h) || !number(s, Q_KERNEL_W, &w))
        return -1;
    return text(out, !(h == 1 && w == 1), "[%.0f,%.0f]", h, w);
}

static int kernel_ge_stride(const struct subject *s, enum quantity kernel, enum quantity stride,
                            struct measure *out)
{
    double k, t;
    return number(s, kernel, &k) && number(s, stride, &t) ? value(out, k >= t, k) : -1;
}

static int relation_kernel_ge_stride_h(const struct subject *s, struct measure *out)
{
    return kernel_ge_stride(s, Q_KERNEL_H, Q_STRIDE_H, out);
}

static int relation_kernel_ge_stride_w(const struct subject *s, struct measure *out)
{
    return kernel_ge_stride(s, Q_KERNEL_W, Q_STRIDE_W, out);
}

/* padding <= (kernel - less) / 2, rounded down: padding is whole. */
static int pad_half(const struct subject *s, enum quantity pad, enum quantity kernel, int less,
                    struct measure *out)
{
    double p, k;
    return number(s, pad, &p) && number(s, kernel, &k) ? value(out, 2 * p <= k - less, p) : -1;
}

static int relation_pad_half_kernel_d(const struct subject *s, struct measure *out)
{
    return pad_half(s, Q_PADDING_D, Q_KERNEL_D, 0, out);
}

static int relation_pad_half_kernel_h(const struct subject *s, struct measure *out)
{
    return pad_half(s, Q_PADDING_H, Q_KERNEL_H, 0, out);
}

static int relation_pad_half_kernel_w(const struct subject *s, struct measure *out)
{
    return pad_half(s, Q_PADDING_W, Q_KERNEL_W, 0, out);
}

static int relation_pad_half_kernel_1_h(const struct subject *s, struct measure *out)
{
    return pad_half(s, Q_PADDING_H, Q_KERNEL_H, 1, out);
}

static int relation_pad_half_kernel_1_w(const struct subject *s, struct measure *out)
{
    return pad_half(s, Q_PADDING_W, Q_KERNEL_W, 1, out);
}

/* padding <= kernel / stride; for odd strides strictly, where the table says so. */
static int pad_by_stride(const struct subject *s, enum quantity pad, enum quantity kernel,
                         enum quantity stride, bool odd_strict, struct measure *out)
{
    double p, k, t;
    if (!number(s, pad, &p) || !number(s, kernel, &k) || !number(s, stride, &t) || t < 1)
        return -1;
    bool strict = odd_strict && (int64_t)t % 2 == 1;
    return value(out, strict ? p * t < k : p * t <= k, p);
}

static int relation_pad_kernel_by_stride_h(const struct subject *s, struct measure *out)
{
    return pad_by_stride(s, Q_PADDING_H, Q_KERNEL_H, Q_STRIDE_H, false, out);
}

static int relation_pad_kernel_by_stride_w(const struct subject *s, struct measure *out)
{
    return pad_by_stride(s, Q_PADDING_W, Q_KERNEL_W, Q_STRIDE_W, false, out);
}

static int relation_pad_odd_stride_h(const struct subject *s, struct measure *out)
{
    return pad_by_stride(s, Q_PADDING_H, Q_KERNEL_H, Q_STRIDE_H, true, out);
}

static int relation_pad_odd_stride_w(const struct subject *s, struct measure *out)
{
    return pad_by_stride(s, Q_PADDING_W, Q_KERNEL_W, Q_STRIDE_W, true, out);
}

/* Without dilation there is nothing to divide. */
static int dilation_by_stride(const struct subject *s, enum quantity dilation, enum quantity stride,
                              struct measure *out)
{
    double d, t;
    if (!number(s, dilation, &d) || !number(s, stride, &t) || t < 1)
        return -1;
    return value(out, d == 1 || (int64_t)d % (int64_t)t == 0, d);
}

static int relation_dilation_by_stride_h(const struct subject *s, struct measure *out)
{
    return dilation_by_stride(s, Q_DILATION_H, Q_STRIDE_H, out);
}

static int relation_dilation_by_stride_w(const struct subject *s, struct measure *out)
{
    return dilation_by_stride(s, Q_DILATION_W, Q_STRIDE_W, out);
}

static int relation_dilation_h_le_w(const struct subject *s, struct measure *out)
{
    double h, w;
    if (!number(s, Q_DILATION_H, &h) || !number(s, Q_DILATION_W, &w))
        return -1;
    return text(out, h <= w, "[%.0f,%.0f]", h, w);
}

static int extent_by_dilation(const struct subject *s, enum quantity extent, enum quantity dilation,
                              struct measure *out)
{
    struct measure m;
    double d;
    if (!quantity_measure(s, extent, subject_input(s, 0), &m) || !number(s, dilation, &d) || d < 1)
        return -1;
    return value(out, (int64_t)m.number % (int64_t)d == 0, m.number);
}

static int relation_h_by_dilation(const struct subject *s, struct measure *out)
{
    return extent_by_dilation(s, Q_H, Q_DILATION_H, out);
}

static int relation_w_by_dilation(const struct subject *s, struct measure *out)
{
    return extent_by_dilation(s, Q_W, Q_DILATION_W, out);
}

static int relation_groups_divide(const struct subject *s, struct measure *out)
{
    struct shape w;
    struct measure in;
    double groups;
    if (!subject_weight_shape(s, &w) || !number(s, Q_GROUPS, &groups) || groups < 1 ||
        !quantity_measure(s, Q_IN_CHANNELS, subject_input(s, 0), &in))
        return -1;
    int64_t g = (int64_t)groups;
    return value(out, w.dim[0] % g == 0 && (int64_t)in.number % g == 0, groups);
}

static int relation_scale_h_le_w(const struct subject *s, struct measure *out)
{
    double h, w;
    if (!subject_scales(s, &h, &w))
        return -1;
    return text(out, h <= w, "[%.9g,%.9g]", h, w);
}

static int relation_ranks_equal(const struct subject *s, struct measure *out)
{
    const struct value *a = subject_input(s, 0), *b = subject_input(s, 1);
    if (!quantity_measure(s, Q_MATMUL_RANKS, NULL, out))
        return -1;
    return a->shape.rank == b->shape.rank;
}

/* Leading axes of a product: on each, an operand either needs repeating (1 against more) or not.
 * The first operand must not mix both; the second may, if its axes that need none come first. */
static int relation_matmul_broadcast(const struct subject *s, struct measure *out)
{
    const struct value *a = subject_input(s, 0), *b = subject_input(s, 1);
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    if (!a || !b || !shape_is_static(&a->shape) || !shape_is_static(&b->shape) ||
        a->shape.rank != b->shape.rank)
        return -1;
    int repeat_a = 0, repeat_b = 0, leading = a->shape.rank - 2;
    bool keep_a = false, keep_b = false, late = false;
    for (int i = 0; i < leading; i++) {
        int64_t p = a->shape.dim[i], q = b->shape.dim[i];
        if (p == 1 && q != 1)
            repeat_a++;
        else if (p != 1)
            keep_a = true;
        if (q == 1 && p != 1) {
            repeat_b++;
        } else if (q != 1) {
            late |= repeat_b > 0;
            keep_b = true;
        }
    }
    bool holds = !(repeat_a && keep_a) && !(repeat_b && keep_b && late) && !(repeat_a && repeat_b);
    return text(out, holds, "%.80s x %.80s", shape_text(&a->shape, x), shape_text(&b->shape, y));
}

static int relation_boxes_1_n_4(const struct subject *s, struct measure *out)
{
    if (!quantity_measure(s, Q_BBOX_SHAPE, NULL, out))
        return -1;
    for (int i = 1; i < s->n->input_count; i++) {
        const struct value *b = s->n->inputs[i];
        if (b && b->shape.rank >= 0 && b->shape.rank != 4)
            return b->shape.rank == 3 && b->shape.dim[0] == 1 && b->shape.dim[2] == 4;
    }
    return -1;
}

static int relation_embed_equal(const struct subject *s, struct measure *out)
{
    if (!quantity_measure(s, Q_EMBED_DIM, NULL, out))
        return -1;
    int64_t e = node_int(s->n, "embed_dim", -1);
    return node_int(s->n, "kdim", e) == e && node_int(s->n, "vdim", e) == e;
}

/* Extent of the axis that is split. */
static bool split_extent(const struct subject *s, int64_t *extent, int64_t *dim)
{
    const struct value *x = subject_input(s, 0);
    *dim = node_int(s->n, "dim", 0);
    if (!x || x->shape.rank < 1)
        return false;
    *dim += *dim < 0 ? x->shape.rank : 0;
    if (*dim < 0 || *dim >= x->shape.rank)
        return false;
    *extent = x->shape.dim[*dim];
    return *extent >= 0;
}

static int relation_parts_divide(const struct subject *s, struct measure *out)
{
    int64_t extent, dim;
    if (!split_extent(s, &extent, &dim) || !quantity_measure(s, Q_SPLIT, NULL, out))
        return -1;
    for (int i = 0; i < s->n->output_count; i++) {
        int64_t part = s->n->outputs[i]->shape.dim[dim];
        if (part < 1 || extent % part != 0)
            return 0;
    }
    return 1;
}

static int relation_count_divides(const struct subject *s, struct measure *out)
{
    int64_t extent, dim, count = s->n->output_count;
    if (!split_extent(s, &extent, &dim) || count < 1)
        return -1;
    return value(out, extent % count == 0, (double)count);
}

static relation_fn *const functions[R_COUNT] = {
#define X(id, fn, formula) [R_##id] = relation_##fn,
    RELATION_MAP(X)
#undef X
};

int relation_holds(const struct subject *s, enum relation r, struct measure *out)
{
    memset(out, 0, sizeof(*out));
    return functions[r](s, out);
}
