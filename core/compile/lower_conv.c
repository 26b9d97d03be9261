/* lower_conv: convolutions of 1, 2 and 3 axes, and transposed ones.
 *
 *   groups        units of weights that each read their own input channels
 *   depthwise     one filter per channel
 *   padding_mode  a padded copy of the input
 *   3 axes        rows of all slices lie below one another: one convolution of two axes per slice of the
 *                 result and tap of depth, each continuing the sums of the one before */
#include <string.h>

#include "core/compile/lower_tail.h"
#include "core/run/requant.h"

/* What a convolution is made of. */
struct conv {
    const struct node *n;
    bool transposed, depthwise;
    struct shape xs, ys;
    struct windows v;
    int64_t in, out, groups, taps; /* taps of height and width */
    int depth_in, depth_out;       /* slices */
    struct map *x, *y, *residual;
    struct filters filters; /* of the first tap of depth */
    int64_t step_depth;     /* from tap to tap */
    struct tail tail;
};

static bool read_conv(const struct node *n, struct conv *c, struct bpu_error *err)
{
    const struct value *w = node_param(n, "weight"), *x = n->inputs[0];
    int k = n->op->spatial;
    if (!lower_constant(n, w, "the weight", err))
        return false;
    if (w->dtype != DT_QINT8 || w->shape.rank != k + 2)
        return lower_refuse(n, err, "a weight of type %s and rank %d", dtype_name(w->dtype),
                            w->shape.rank);
    if (x->constant)
        return lower_refuse(n, err, "the input is constant");
    if (!lower_windows(n, w->shape.dim + 2, &c->v, err) || !lower_batched(n, x, &c->xs, err) ||
        !lower_batched(n, n->outputs[0], &c->ys, err))
        return false;
    c->groups = node_int(n, "groups", 1);
    c->in = c->xs.dim[1];
    c->out = c->ys.dim[1];
    c->taps = c->v.h.kernel * c->v.w.kernel;
    int64_t weights = shape_elements(&w->shape);
    if (c->groups < 1 || c->in % c->groups || c->out % c->groups || c->in < 1 || c->out < 1 ||
        weights != c->in * (c->out / c->groups) * c->taps * c->v.d.kernel ||
        w->constant->bytes < (size_t)weights)
        return lower_refuse(n, err, "a weight that does not fit");
    c->depthwise = !c->transposed && c->groups == c->in && c->groups == c->out && c->in > 1;
    c->depth_in = k == 3 ? (int)c->xs.dim[2] : 1;
    c->depth_out = k == 3 ? (int)c->ys.dim[2] : 1;
    int64_t in_group = c->in / c->groups, out_group = c->out / c->groups,
            each = c->taps * c->v.d.kernel;
    c->step_depth = c->taps;
    c->filters = (struct filters){.data = w->constant->data,
                                  .step_m = c->transposed ? each : in_group * each,
                                  .step_k = c->transposed ? out_group * each : each,
                                  .step_i = c->v.w.kernel,
                                  .step_j = 1,
                                  .channels = c->out,
                                  .inputs = in_group,
                                  .groups = c->groups,
                                  .step_group = c->transposed ? in_group * out_group * each : 0,
                                  .kernel_h = (int)c->v.h.kernel,
                                  .kernel_w = (int)c->v.w.kernel,
                                  .quant = &w->quant};
    return true;
}

/* Modes other than zeros read a padded copy. */
static bool pad_input(struct lowering *l, struct conv *c, struct bpu_error *err)
{
    const char *mode = node_string(c->n, "padding_mode", "zeros");
    struct infer_window *h = &c->v.h, *w = &c->v.w;
    if (c->transposed || strcmp(mode, "zeros") == 0 || (!h->begin && !h->end && !w->begin && !w->end))
        return true;
    if (c->depth_in > 1)
        return lower_refuse(c->n, err, "padding_mode \"%s\" with three axes", mode);
    c->x = lower_padded(l, c->x, mode, (int)h->begin, (int)h->end, (int)w->begin, (int)w->end, err);
    h->begin = h->end = w->begin = w->end = 0;
    return c->x != NULL;
}

static enum opcode opcode_of(const struct conv *c)
{
    return c->transposed ? OP_DECONV : c->depthwise ? OP_DWCONV : OP_CONV;
}

static bool conv_plane(struct lowering *l, struct conv *c, struct bpu_error *err)
{
    struct packed p;
    if (!pack_filters(l, &c->filters, &c->tail.ends, c->depthwise, &p, err))
        return false;
    struct layer *layer =
        lower_sums(l, opcode_of(c), c->n, c->x, c->y, &c->v, &p, &c->tail, c->residual, err);
    if (layer)
        layer->macs = op_macs(c->n);
    return layer != NULL;
}

/* ── three axes ── */

/* Slice d of a map in which `slices` lie below one another. */
static struct map *slice_of(struct lowering *l, struct map *m, int slices, int d,
                            struct bpu_error *err)
{
    int h = m ? m->h / slices : 0;
    return m ? lower_part(l, m, m->name, d * h, h, 0, m->w, 0, m->c, err) : NULL;
}

/* The input slice that result slice o reads with a tap of depth; -1: the padding. */
static int64_t depth_source(const struct conv *c, int64_t o, int64_t tap)
{
    const struct infer_window *d = &c->v.d;
    int64_t at = c->transposed ? o + d->begin - tap * d->dilation
                               : o * d->stride - d->begin + tap * d->dilation;
    if (c->transposed) {
        if (at < 0 || at % d->stride)
            return -1;
        at /= d->stride;
    }
    return at < 0 || at >= c->depth_in ? -1 : at;
}

/* Sums of 8-bit numbers stay in 32 bits if there are few enough. */
static enum dtype sum_type(const struct conv *c)
{
    int64_t products = c->in / c->groups * c->taps * c->v.d.kernel;
    bool small = dtype_size(c->x->dtype) == 1 && products < (int64_t)1 << 14;
    return small ? DT_INT32 : DT_INT64;
}

/* A slice that no tap reaches: the bias alone, from a window that lies in the padding. */
static bool bias_slice(struct lowering *l, struct conv *c, const struct packed *p, struct map *y,
                       struct map *residual, struct bpu_error *err)
{
    struct windows v = c->v;
    struct map *x = slice_of(l, c->x, c->depth_in, 0, err);
    v.h = (struct infer_window){.kernel = c->v.h.kernel, .stride = 1, .dilation = 1,
                                .begin = y->h + c->v.h.kernel};
    return x && lower_sums(l, c->depthwise ? OP_DWCONV : OP_CONV, c->n, x, y, &v, p, &c->tail,
                           residual, err);
}

static bool conv_slice(struct lowering *l, struct conv *c, const struct packed *unfinished,
                       const struct packed *finished, int o, struct bpu_error *err)
{
    int taps = (int)c->v.d.kernel, last = -1;
    struct map *y = slice_of(l, c->y, c->depth_out, o, err), *sums = NULL;
    struct map *r = c->residual ? slice_of(l, c->residual, c->depth_out, o, err) : NULL;
    if (!y || (c->residual && !r))
        return false;
    for (int t = 0; t < taps; t++)
        if (depth_source(c, o, t) >= 0)
            last = t;
    if (last < 0)
        return bias_slice(l, c, &finished[0], y, r, err);
    for (int t = 0; t <= last; t++) {
        int64_t source = depth_source(c, o, t);
        if (source < 0)
            continue;
        struct map *x = slice_of(l, c->x, c->depth_in, (int)source, err), *to = y;
        bool end = t == last;
        if (!end && !(to = network_map(l->net, c->y->name, y->n, y->h, y->w, y->c, sum_type(c), 0,
                                       0, err)))
            return false;
        struct layer *layer =
            x ? lower_sums(l, opcode_of(c), c->n, x, to, &c->v, end ? &finished[t] : &unfinished[t],
                           end ? &c->tail : NULL, end ? r : NULL, err)
              : NULL;
        if (!layer)
            return false;
        layer->macs = op_macs(c->n) / ((int64_t)c->depth_out * taps);
        if (sums) {
            layer_reads(layer, sums, NEED_SAME);
            layer_in_place(layer, layer->in_count - 1);
        }
        sums = to;
    }
    return true;
}

static bool conv_depth(struct lowering *l, struct conv *c, struct bpu_error *err)
{
    int taps = (int)c->v.d.kernel;
    struct packed *unfinished = ARENA_ARRAY(l->arena, struct packed, taps, err);
    struct packed *finished = unfinished ? ARENA_ARRAY(l->arena, struct packed, taps, err) : NULL;
    if (!finished)
        return false;
    for (int t = 0; t < taps; t++) {
        struct filters f = c->filters;
        f.data += t * c->step_depth;
        if (!pack_filters(l, &f, &c->tail.ends, c->depthwise, &finished[t], err))
            return false;
        unfinished[t] = finished[t]; /* bias and multipliers do not matter there */
    }
    for (int o = 0; o < c->depth_out; o++)
        if (!conv_slice(l, c, unfinished, finished, o, err))
            return false;
    return true;
}

static bool lower_any_conv(struct lowering *l, const struct node *n, bool transposed,
                           struct bpu_error *err)
{
    struct conv c = {.n = n, .transposed = transposed};
    const struct value *r = node_input(n, 1);
    if (!read_conv(n, &c, err) ||
        !lower_tail(l, n, &node_param(n, "weight")->quant, c.out, r, &c.tail, err))
        return false;
    struct shape rs;
    c.x = lower_map_as(l, n->inputs[0], &c.xs, FORM_IMAGE, err);
    if (r && (!c.x || !lower_batched(n, r, &rs, err) ||
              !(c.residual = lower_map_as(l, r, &rs, FORM_IMAGE, err))))
        return false;
    c.y = c.x ? lower_result_as(l, n->outputs[0], &c.ys, FORM_IMAGE, err) : NULL;
    if (!c.y || !pad_input(l, &c, err))
        return false;
    bool flat = c.depth_in == 1 && c.depth_out == 1 && c.v.d.kernel == 1;
    return flat ? conv_plane(l, &c, err) : conv_depth(l, &c, err);
}

bool lower_conv(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return lower_any_conv(l, n, false, err);
}

bool lower_conv_transpose(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return lower_any_conv(l, n, true, err);
}
