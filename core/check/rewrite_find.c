/* Candidates for rewrites: by operator and by what is out of bounds.
 *
 *   windows that are too large   smaller ones, one behind the other
 *   dilation                     a dense kernel with zeros between, or smaller dilations in a row
 *   strides                      the layer without, and one that picks every nth position
 *   channels                     layers side by side, joined or added
 *   other layouts                1-D as 2-D, linear layers and 3-D as convolutions, means as pools
 *
 * The first one that the march takes is offered.  Most keep the result, the rest the window that a
 * result sees: `why` says which. */
#include <string.h>

#include "core/check/rewrite_find.h"

/* A model full of illegal layers is told so for its first ones. */
#define MAX_TRIED 400

bool finder_fits(struct finder *f, const char *why)
{
    f->w->why = why;
    return f->s->c->rewrites_tried++ < MAX_TRIED && rewrite_is_legal(f->s, f->w);
}

void finder_start(struct finder *f)
{
    memset(f->w, 0, sizeof(*f->w));
    f->w->input = node_input(f->s->n, 0)->shape;
}

struct rewrite_step *finder_add(struct finder *f, const struct rewrite_step *t)
{
    struct rewrite *w = f->w;
    if (w->count == REWRITE_MAX_STEPS)
        return NULL;
    w->steps[w->count] = *t;
    return &w->steps[w->count++];
}

struct rewrite_step finder_plain(const char *op, int64_t in, int64_t out)
{
    return (struct rewrite_step){.op = op,
                                 .kernel = {1, 1},
                                 .stride = {1, 1},
                                 .dilation = {1, 1},
                                 .in = in,
                                 .out = out,
                                 .groups = 1};
}

bool finder_read_windows(struct finder *f)
{
    const struct subject *s = f->s;
    struct rewrite_step *t = &f->now;
    if (subject_spatial(s) != 2 || s->view != VIEW_SELF)
        return false;
    *t = finder_plain(s->n->op->name, 0, 0);
    t->groups = node_int(s->n, "groups", 1);
    f->same = node_string(s->n, "padding", NULL) != NULL;
    for (int i = 0; i < 2; i++) {
        char axis = "hw"[i];
        bool pool = s->n->op->class == OPC_POOL;
        if (!subject_window(s, "kernel_size", axis, -1, &t->kernel[i]) || t->kernel[i] < 1 ||
            !subject_window(s, "stride", axis, pool ? t->kernel[i] : 1, &t->stride[i]) ||
            !subject_padding(s, axis, &t->padding[i]) ||
            !subject_window(s, "dilation", axis, 1, &t->dilation[i]) ||
            !subject_window(s, "output_padding", axis, 0, &f->output_padding[i]))
            return false;
        if (t->kernel[i] > 1 << 20 || t->dilation[i] > 1 << 20 || t->stride[i] > 1 << 20)
            return false;
    }
    struct shape w;
    bool transposed = strstr(t->op, "Transpose") != NULL;
    if (s->n->op->class == OPC_CONV && subject_weight_shape(s, &w)) {
        t->in = transposed ? w.dim[0] : w.dim[1] * t->groups;
        t->out = transposed ? w.dim[1] * t->groups : w.dim[0];
    }
    return true;
}

/* ── channels ──────────────────────────────────────────────────────────────────────────────── */

/* Side by side: the outputs joined, or parts of the input added. */
static bool find_parts(struct finder *f, const struct rewrite_step *t, bool joined, double over)
{
    finder_start(f);
    if (t->groups != 1 || t->in < 1 || t->out < 1 || t->in > INT32_MAX || t->out > INT32_MAX ||
        !(over > 1) || over > 64)
        return false;
    int64_t all = joined ? t->out : t->in;
    bool linear = node_is(f->s->n, "torch.nn.Linear");
    int64_t rows = linear ? shape_elements(&node_input(f->s->n, 0)->shape) / t->in : 0;
    for (int parts = (int)over; parts <= 64; parts++) {
        if (parts < over || parts < 2 || (!joined && all % parts != 0))
            continue;
        struct rewrite_step one = *t;
        *(joined ? &one.out : &one.in) = (all + parts - 1) / parts;
        finder_start(f);
        f->w->parts = parts;
        f->w->joined = joined;
        f->w->total = t->out;
        if (linear) /* joining wants four axes */
            f->w->input = shape_of(4, (const int64_t[]){rows, 1, 1, t->in});
        if (joined && one.out * (parts - 1) >= t->out)
            continue;
        if (finder_add(f, &one) &&
            finder_fits(
                f, joined ? "side by side on the same input, joined by torch.cat; " EXACT
                          : "each on its part of the input (torch.split), their results added; the "
                            "bias once."))
            return true;
    }
    return false;
}

/* ── dispatch ──────────────────────────────────────────────────────────────────────────────── */

static bool find_conv(struct finder *f, enum quantity q, double over)
{
    switch (q) {
    case Q_KERNEL_H:
    case Q_KERNEL_W:
    case Q_H: /* of the weight */
    case Q_W: return find_stack(f);
    case Q_DILATION:
    case Q_DILATION_H:
    case Q_DILATION_W: return find_dense(f) || find_dilations(f) || find_pick(f, false);
    case Q_STRIDE:
    case Q_STRIDE_H:
    case Q_STRIDE_W: return find_pick(f, false) || find_pick(f, true);
    case Q_STRIDE_HW: return find_pick(f, true) || find_pick(f, false);
    case Q_PADDING_H:
    case Q_PADDING_W: return find_padding(f);
    case Q_N:
    case Q_OUT_CHANNELS:
    case Q_OUT_CHANNELS_PER_GROUP: return find_parts(f, &f->now, true, over);
    case Q_C:
    case Q_IN_CHANNELS:
    case Q_IN_CHANNELS_PER_GROUP:
    case Q_WEIGHT_ELEMS: return find_parts(f, &f->now, false, over);
    default: return false;
    }
}

static bool find_transposed(struct finder *f, enum quantity q)
{
    const struct rewrite_step *t = &f->now;
    bool apart = t->padding[0] == 0 && t->padding[1] == 0 && t->stride[0] == t->kernel[0] &&
                 t->stride[1] == t->kernel[1];
    switch (q) {
    case Q_DILATION_H:
    case Q_DILATION_W: return find_dense(f);
    case Q_KERNEL:
    case Q_KERNEL_H:
    case Q_KERNEL_W:
    case Q_STRIDE:
    case Q_STRIDE_H:
    case Q_STRIDE_W:
        return find_as_conv(f) ||
               (apart &&
                find_product(f, t->op, t->kernel, "they enlarge as much; train them again."));
    default: return false;
    }
}

static bool find(struct finder *f, enum quantity q, double over)
{
    const struct node *n = f->s->n;
    const struct value *x = node_input(n, 0);
    if (!x || !n->op || n->output_count < 1 || !shape_is_static(&x->shape))
        return false;
    if (node_is(n, "torch.nn.Linear")) {
        struct rewrite_step t = finder_plain("torch.nn.Linear", node_int(n, "in_features", -1),
                                             node_int(n, "out_features", -1));
        if (q == Q_IN_FEATURES && find_linear(f))
            return true;
        if (q == Q_IN_FEATURES || q == Q_OUT_FEATURES)
            return find_parts(f, &t, q == Q_OUT_FEATURES, over);
        return q == Q_NONE && find_linear(f);
    }
    if (q == Q_NONE || q == Q_RANK)
        return find_one_axis(f) || find_depth_as_channels(f) ||
               ((node_is(n, "torch.nn.AdaptiveAvgPool2d")) && find_mean(f));
    if (node_is(n, "torch.mean"))
        return (q == Q_REDUCE_AXIS || q == Q_AXES) && find_mean(f);
    if (node_is(n, "torch.nn.AdaptiveAvgPool2d"))
        return find_mean(f);
    if (!finder_read_windows(f) || f->same)
        return false;
    if (node_is(n, "torch.nn.Conv2d"))
        return find_conv(f, q, over);
    if (node_is(n, "torch.nn.ConvTranspose2d"))
        return find_transposed(f, q);
    bool kernel = q == Q_KERNEL_H || q == Q_KERNEL_W, step = q == Q_STRIDE_H || q == Q_STRIDE_W;
    if (node_is(n, "torch.nn.AvgPool2d"))
        return kernel ? find_average(f) : step && find_pool_stride(f);
    if (node_is(n, "torch.nn.MaxPool2d"))
        return f->now.dilation[0] == 1 && f->now.dilation[1] == 1 &&
               (kernel ? find_stack(f) : step && find_pool_stride(f));
    return false;
}

bool rewrite_offer(const struct subject *s, struct finding *f, enum quantity q, double over)
{
    struct checker *c = s->c;
    if ((c->opt && c->opt->no_rewrites) || f->severity != SEVERITY_ERROR ||
        c->rewrites_tried >= MAX_TRIED || s->view == VIEW_CONV)
        return true;
    struct rewrite w;
    struct finder finder = {.s = s, .w = &w};
    if (!find(&finder, q, over))
        return true;
    struct rewrite *kept = ARENA_NEW(c->a, struct rewrite, c->err);
    if (!kept)
        return false;
    *kept = w;
    f->rewrite = kept;
    f->hint = rewrite_text(c, kept, &node_input(s->n, 0)->shape);
    return f->hint != NULL;
}
