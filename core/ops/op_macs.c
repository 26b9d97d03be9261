/* op_macs: the multiplications of a node, from its shapes. */
#include "core/ops/infer.h"

static int64_t product(const struct shape *s, int from)
{
    int64_t p = 1;
    if (s->rank < 0)
        return -1;
    for (int i = from; i < s->rank; i++)
        if (s->dim[i] < 0 || !checked_mul(p, s->dim[i], &p))
            return -1;
    return p;
}

static int64_t times(int64_t a, int64_t b)
{
    int64_t p;
    return a < 0 || b < 0 || !checked_mul(a, b, &p) ? -1 : p;
}

/* Multiplications per output channel and position (per input channel and position when transposed):
 * in/groups (out/groups) * kernel. */
static int64_t conv_per_point(const struct node *n, bool transposed)
{
    const struct value *w = node_param(n, "weight");
    if (w && shape_is_static(&w->shape) && w->shape.rank > 1)
        return product(&w->shape, 1);
    int64_t kernel[3], groups = node_int(n, "groups", 1), p;
    p = node_int(n, transposed ? "out_channels" : "in_channels", -1);
    if (p < 0 || groups < 1 || !node_ints(n, "kernel_size", kernel, n->op->spatial))
        return -1;
    p /= groups;
    for (int i = 0; i < n->op->spatial; i++)
        p = times(p, kernel[i]);
    return p;
}

int64_t op_macs(const struct node *n)
{
    if (!n->op || n->output_count < 1)
        return n->op ? 0 : -1;
    op_infer_fn *kind = n->op->infer;
    const struct shape *x = infer_shape(n, 0), *out = &n->outputs[0]->shape;
    if (kind == infer_conv)
        return times(product(out, 0), conv_per_point(n, false));
    if (kind == infer_conv_transpose)
        return times(product(x, 0), conv_per_point(n, true));
    if (kind == infer_linear || kind == infer_matmul)
        return x->rank < 1 ? -1 : times(product(out, 0), x->dim[x->rank - 1]);
    return 0;
}
