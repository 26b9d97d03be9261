/* Advice: layers that lose time to a bad shape, and how much.
 *
 *   time   = multiplications (or elements) with every axis padded, divided by the sustained rate
 *   lost   = the share of that time that goes into the padding of one axis
 *
 * so that the figures of one layer tell what each cause is worth by itself.  Rates, blocks and
 * multiples are figures of the march (core/march/limit.h) with their evidence; what is not known of
 * a march is not advised on.  Loads and stores overlap with computing and are not counted.
 *
 *   convolutions   channels per group to 4 in, 8 out; the output map to the native block that pads
 *                  it least; maps up to the tiny side as one cause; depthwise by measured rates
 *   linear layers  channels
 *   elementwise    width of the output, where the operator is not fused into a convolution */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

/* A map as the hardware sees it: N carries what is neither H, W nor C. */
struct map {
    double n;
    int64_t h, w, c;
};

static int64_t padded(int64_t v, int64_t multiple)
{
    return multiple > 1 ? (v + multiple - 1) / multiple * multiple : v;
}

static bool map_of(const struct shape *s, struct map *out)
{
    *out = (struct map){1, 1, 1, 1};
    if (s->rank < 2 || s->rank > 5 || !shape_is_static(s) || shape_elements(s) < 1)
        return false;
    out->n = (double)s->dim[0];
    out->c = s->dim[1];
    if (s->rank >= 3)
        out->w = s->dim[s->rank - 1];
    if (s->rank >= 4)
        out->h = s->dim[s->rank - 2];
    if (s->rank == 5)
        out->n *= (double)s->dim[2];
    return out->h < INT32_MAX && out->w < INT32_MAX && out->c < INT32_MAX;
}

/* "16 or 24" channels instead of 17. */
static const char *better(struct checker *c, int64_t v, int64_t multiple)
{
    int64_t up = padded(v, multiple), down = up - multiple;
    if (down < multiple)
        return arena_printf(c->a, c->err, "%lld", (long long)up);
    return arena_printf(c->a, c->err, "%lld or %lld", (long long)down, (long long)up);
}

/* One cause of loss at the node at hand. */
struct loss {
    const char *rule, *what; /* "align_w", "output width W" */
    int64_t actual;
    int64_t multiple; /* 0: the limit is in words */
    const char *limit;
    double total_us, lost_us;
    bool elements;       /* the rate is that of elements, not of multiplications */
    bool slower;         /* lost to a slower rate, not to padding at the sustained one */
    const char *padding; /* "the output is aligned from … to … (+20 %)" */
    const char *hint;
};

static bool report_loss(const struct subject *s, const struct loss *l)
{
    struct checker *c = s->c;
    if (!(l->lost_us > c->opt->advice_us) || !isfinite(l->lost_us))
        return true;
    if (!l->padding || !l->hint)
        return false;
    struct finding *f = finding_add(c, s->n, SEVERITY_ADVICE, l->rule);
    if (!f)
        return false;
    const struct figures *g = &c->m->figures;
    f->message = arena_printf(c->a, c->err,
                              "%s: about %.3g of %.3g us (%.0f %%) are lost, %s %.3g %s sustained",
                              l->padding, l->lost_us, l->total_us, 100 * l->lost_us / l->total_us,
                              l->slower ? "against" : "at",
                              l->elements ? g->elements_per_us / 1e3 : g->macs_per_us * 2e-6,
                              l->elements ? "elements per ns" : "TOPS");
    f->actual = arena_printf(c->a, c->err, "%lld", (long long)l->actual);
    f->limit = l->multiple ? arena_printf(c->a, c->err, "multiple of %lld", (long long)l->multiple)
                           : l->limit;
    f->hint = l->hint;
    f->eager_replacement = NULL;
    return f->message && f->actual && f->limit;
}

/* "the output is aligned from 1x20x20x256 to 1x20x24x256 (N x H x W x C, +20 %)". */
static const char *padding_text(struct checker *c, const struct map *m, const struct map *to)
{
    double more = (double)to->h / (double)m->h * ((double)to->w / (double)m->w) *
                      ((double)to->c / (double)m->c) -
                  1;
    return arena_printf(c->a, c->err,
                        "the output is aligned from %.0fx%lldx%lldx%lld to %.0fx%lldx%lldx%lld "
                        "(N x H x W x C, %+.0f %%)",
                        m->n, (long long)m->h, (long long)m->w, (long long)m->c, m->n,
                        (long long)to->h, (long long)to->w, (long long)to->c, 100 * more);
}

static bool advise_extent(const struct subject *s, const struct map *m, char axis, int64_t multiple,
                          double total_us, bool elements)
{
    struct checker *c = s->c;
    int64_t v = axis == 'h' ? m->h : m->w, up = padded(v, multiple);
    struct map to = *m;
    *(axis == 'h' ? &to.h : &to.w) = up;
    struct loss l = {.rule = axis == 'h' ? "align_h" : "align_w",
                     .actual = v,
                     .multiple = multiple,
                     .elements = elements,
                     .total_us = total_us,
                     .lost_us = total_us * (1 - (double)v / (double)up)};
    if (!(l.lost_us > c->opt->advice_us))
        return true; /* the texts are not needed */
    const char *numbers = better(c, v, multiple);
    l.padding = padding_text(c, m, &to);
    l.hint = numbers ? arena_printf(c->a, c->err,
                                    "Choose the input size so that this map is %s %s instead of "
                                    "%lld.",
                                    numbers, axis == 'h' ? "high" : "wide", (long long)v)
                     : NULL;
    return report_loss(s, &l);
}

/* ── convolutions ──────────────────────────────────────────────────────────────────────────── */

struct conv {
    struct map out;
    int64_t groups, in, outputs; /* channels per group */
    double macs;
};

static bool conv_of(const struct subject *s, struct conv *v)
{
    struct shape w;
    struct subject as_conv = *s;
    const struct node *n = s->n;
    int64_t macs = op_macs(n);
    if (s->ctx->role == ROLE_LINEAR)
        as_conv.view = VIEW_CONV;
    bool transposed = strncmp(n->op->name, "torch.nn.ConvTranspose", 22) == 0;
    v->groups = node_int(n, "groups", 1);
    v->macs = (double)macs;
    if (macs <= 0 || v->groups < 1 || n->output_count < 1 ||
        !map_of(&n->outputs[0]->shape, &v->out) || !subject_weight_shape(&as_conv, &w) ||
        w.dim[0] < 1 || w.dim[1] < 1)
        return false;
    if (s->ctx->role == ROLE_LINEAR) /* features are the last axis; all others count as batch */
        v->out = (struct map){(double)shape_elements(&n->outputs[0]->shape) / (double)w.dim[0], 1,
                              1, w.dim[0]};
    v->in = transposed ? w.dim[0] / v->groups : w.dim[1];
    v->outputs = transposed ? w.dim[1] : w.dim[0] / v->groups;
    return v->in > 0 && v->outputs > 0 && v->in < INT32_MAX && v->outputs < INT32_MAX &&
           v->out.c < INT32_MAX && v->groups < INT32_MAX;
}

/* The native block that pads the output least. */
static const struct machine_block *block_of(const struct figures *f, const struct conv *v)
{
    const struct machine_block *best = NULL;
    double least = 0;
    for (const struct machine_block *b = f->blocks; b && b->h > 0; b++) {
        int64_t c = padded(v->outputs, f->out_multiple) * v->groups;
        double size = (double)padded(v->out.h, b->h) * (double)padded(v->out.w, b->w) *
                      (double)padded(c, b->c);
        if (!best || size < least) {
            best = b;
            least = size;
        }
    }
    return best;
}

/* Published tool output names the channels; published layer times tell what it costs. */
static bool advise_depthwise(const struct subject *s, const struct conv *v)
{
    struct checker *c = s->c;
    const struct figures *f = &c->m->figures;
    const struct depthwise_rate *r = f->depthwise;
    int64_t side = v->out.h > v->out.w ? v->out.h : v->out.w;
    while (r->side && side > r->side)
        r++;
    double us = v->macs / r->macs_per_us, dense = v->macs / f->macs_per_us;
    struct loss l = {.rule = "channels_in_group",
                     .actual = v->in,
                     .multiple = f->in_multiple,
                     .slower = true,
                     .total_us = us,
                     .lost_us = us - dense};
    if (!(l.lost_us > c->opt->advice_us))
        return true;
    l.padding = arena_printf(
        c->a, c->err,
        "a depthwise convolution has 1 input channel per group, and reaches %.2g TOPS on maps of "
        "%lldx%lld",
        r->macs_per_us * 2e-6, (long long)v->out.h, (long long)v->out.w);
    if (side <= f->tiny_side)
        l.hint =
            "Small maps ruin depthwise layers: keep them before the last strides, and use dense "
            "convolutions behind; a larger batch does not help.";
    else
        l.hint =
            arena_printf(c->a, c->err,
                         "By the same figures groups of %d channels, with %d times the weights, "
                         "take about %.3g us; where time counts more than parameters, use them.",
                         f->in_multiple, f->in_multiple, dense * f->in_multiple);
    return report_loss(s, &l);
}

/* A map so small that its padding is most of the work: one cause, not one per axis. */
static bool advise_tiny(const struct subject *s, const struct conv *v, const struct map *to,
                        double slowdown, double total_us)
{
    struct checker *c = s->c;
    struct loss l = {.rule = "tiny_map",
                     .actual = v->out.h > v->out.w ? v->out.h : v->out.w,
                     .total_us = total_us,
                     .lost_us = total_us * (1 - 1 / slowdown)};
    if (!(l.lost_us > c->opt->advice_us))
        return true;
    l.limit = arena_printf(c->a, c->err, "more than %d", c->m->figures.tiny_side);
    l.padding = padding_text(c, &v->out, to);
    if (l.padding && slowdown >= c->m->figures.tiny_slowdown)
        l.padding =
            arena_printf(c->a, c->err, "%s, at the slowdown of %.3g that is the most measured",
                         l.padding, slowdown);
    l.hint = v->out.n > 1
                 ? "The batch does not fold into space: stride later, or end the network before "
                   "its maps get this small."
                 : "Stride later, pool to 1x1 earlier, or end the network before its maps get this "
                   "small.";
    return report_loss(s, &l);
}

static bool advise_channels(const struct subject *s, const struct conv *v, bool inputs,
                            int64_t multiple, const struct machine_block *block, double total_us)
{
    struct checker *c = s->c;
    bool by_block = block != NULL;
    int64_t actual = inputs ? v->in : by_block ? v->out.c : v->outputs;
    int64_t up = padded(actual, multiple);
    struct loss l = {.rule = inputs     ? "channels_in_group"
                             : by_block ? "align_c"
                                        : "channels_out_group",
                     .actual = actual,
                     .multiple = multiple,
                     .total_us = total_us,
                     .lost_us = total_us * (1 - (double)actual / (double)up)};
    if (!(l.lost_us > c->opt->advice_us))
        return true;
    const struct value *x = node_input(s->n, 0);
    const char *numbers = better(c, actual, multiple), *side = inputs ? "input" : "output";
    const char *what = s->ctx->role == ROLE_LINEAR ? "features"
                       : v->groups > 1             ? "channels per group"
                                                   : "channels";
    bool image = inputs && x && actual <= 3 && v->groups == 1 &&
                 (x->is_input || (x->producer && c->ctx[x->producer->index].role == ROLE_QUANT));
    bool last = !inputs && c->uses[s->n->outputs[0]->index] == USE_OUTPUT;
    if (!numbers)
        return false;
    if (inputs || s->ctx->role == ROLE_LINEAR) {
        l.padding =
            arena_printf(c->a, c->err, "%s %s are padded from %lld to %lld (%+.0f %%)", side, what,
                         (long long)actual, (long long)up, 100 * ((double)up / (double)actual - 1));
    } else {
        struct map to = v->out;
        to.c = by_block ? up : up * v->groups;
        l.padding = padding_text(c, &v->out, &to);
    }
    if (image)
        l.hint = "A first layer on an image cannot avoid it; keep it cheap: fewer output channels, "
                 "or a larger stride.";
    else
        l.hint = arena_printf(c->a, c->err, "Use %s %s %s instead of %lld.%s", numbers, side, what,
                              (long long)actual,
                              last ? " Results of the model that nobody reads are the price." : "");
    return report_loss(s, &l);
}

static bool advise_conv(const struct subject *s, bool has_map)
{
    const struct figures *f = &s->c->m->figures;
    struct conv v;
    if (f->macs_per_us <= 0 || !conv_of(s, &v))
        return true;
    bool depthwise = v.groups > 1 && v.in == 1;
    if (depthwise && f->depthwise)
        return advise_depthwise(s, &v);
    /* A depthwise layer is advertised to run near 100 %: its channels are not padded per group. */
    int64_t in = depthwise ? v.in : padded(v.in, f->in_multiple);
    int64_t outputs = depthwise ? v.outputs : padded(v.outputs, f->out_multiple);
    const struct machine_block *b = has_map ? block_of(f, &v) : NULL;
    struct map to = v.out;
    if (b) {
        to.h = padded(to.h, b->h);
        to.w = padded(to.w, b->w);
    }
    to.c = padded(outputs * v.groups, b ? b->c : 1);
    bool by_block = to.c > outputs * v.groups;
    double spatial = (double)to.h / (double)v.out.h * ((double)to.w / (double)v.out.w);
    bool tiny = b && v.out.h <= f->tiny_side && v.out.w <= f->tiny_side;
    if (tiny && spatial > f->tiny_slowdown)
        spatial = f->tiny_slowdown;
    double us = v.macs / f->macs_per_us * ((double)in / (double)v.in) *
                ((double)to.c / (double)v.out.c) * spatial;
    if (!(us > s->c->opt->advice_us))
        return true;
    struct map only_map = to;
    only_map.c = v.out.c;
    if (b && tiny && !advise_tiny(s, &v, &only_map, spatial, us))
        return false;
    if (b && !tiny &&
        (!advise_extent(s, &v.out, 'h', b->h, us, false) ||
         !advise_extent(s, &v.out, 'w', b->w, us, false)))
        return false;
    if (in > v.in && !advise_channels(s, &v, true, f->in_multiple, NULL, us))
        return false;
    return to.c == v.out.c || advise_channels(s, &v, false, by_block ? b->c : f->out_multiple,
                                              by_block ? b : NULL, us);
}

/* ── elementwise and lookup operators ──────────────────────────────────────────────────────── */

static bool advise_elements(const struct subject *s)
{
    const struct figures *f = &s->c->m->figures;
    struct map m;
    if (f->elements_per_us <= 0 || s->ctx->host || s->n->output_count < 1 ||
        !value_is_feature(s->n->outputs[0]) || s->n->outputs[0]->shape.rank < 4 ||
        !map_of(&s->n->outputs[0]->shape, &m))
        return true;
    double elements = m.n * (double)m.h * (double)padded(m.w, f->element_w) * (double)m.c;
    return advise_extent(s, &m, 'w', f->element_w, elements / f->elements_per_us, true);
}

bool judge_advice(const struct subject *s)
{
    switch (s->n->op ? s->n->op->class : OPC_OTHER) {
    case OPC_CONV: return advise_conv(s, true);
    case OPC_MATMUL: return s->ctx->role != ROLE_LINEAR || advise_conv(s, false);
    case OPC_ELTWISE:
    case OPC_ACTIVATION:
    case OPC_LUT: return advise_elements(s);
    default: return true;
    }
}
