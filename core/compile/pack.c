/* pack: see the header.  Small groups share a unit, with zeros where a filter does not read: the
 * array works on whole blocks of channels anyway. */
#include "core/compile/pack.h"

#include <string.h>

#include "core/base/checked.h"
#include "core/run/requant.h"

#define RECORD_BYTES 20
#define UNIT_ALIGN 16

static int64_t round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

static void put32(unsigned char *p, int32_t v)
{
    uint32_t u = (uint32_t)v;
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(u >> (8 * i));
}

/* Channels that a unit writes and reads. */
static void cut_units(const struct lowering *l, const struct filters *f, bool depthwise,
                      struct packed *out)
{
    const struct machine *m = l->net->machine;
    int array_in = (int)m->array_in.v, array_out = (int)m->array_out.v;
    int64_t out_group = f->channels / f->groups, together = 1;
    *out = (struct packed){.out_block = array_out, .in_block = array_in, .split_inputs = 0};
    if (depthwise) {
        out->out_block = (int)m->depthwise_c.v;
        out->in_block = 1;
        out->unit_channels = out->out_block;
        out->unit_inputs = 1;
        return;
    }
    if (f->groups == 1) {
        out->unit_channels = array_out;
        out->unit_inputs = (int)f->inputs;
        return;
    }
    for (int64_t g = 2; g <= f->groups; g++) /* as many groups as one block of each side holds */
        if (f->groups % g == 0 && g * out_group <= array_out && g * f->inputs <= array_in)
            together = g;
    out->unit_channels = (int)(together * out_group);
    out->unit_inputs = (int)(together * f->inputs);
    out->split_inputs = 1;
}

/* Where a unit's weights of one result channel lie, for the order in which they are written. */
struct place {
    signed char *at;                  /* of the channel's first weight */
    int64_t step_k, step_tap;         /* from block to block of inputs, from tap to tap */
    int in_block;
};

/* The filter of result channel m; first: input of the unit that its own first one is. */
static void pack_filter(const struct filters *f, const struct place *p, int64_t m, int64_t first)
{
    int64_t out_group = f->channels / f->groups;
    const unsigned char *from = f->data + m / out_group * f->step_group +
                                (f->step_group ? m % out_group : m) * f->step_m;
    for (int64_t k = 0; k < f->inputs; k++, from += f->step_k) {
        int64_t input = first + k;
        signed char *to = p->at + input / p->in_block * p->step_k + input % p->in_block;
        for (int i = 0; i < f->kernel_h; i++)
            for (int j = 0; j < f->kernel_w; j++, to += p->step_tap)
                *to = (signed char)from[i * f->step_i + j * f->step_j];
    }
}

static void pack_record(const struct filter_ends *e, int64_t m, int32_t zero, unsigned char *r)
{
    put32(r, e->bias ? e->bias[m] : 0);
    put32(r + 4, e->multiplier ? e->multiplier[m] : 0);
    put32(r + 8, e->shift ? e->shift[m] : 0);
    put32(r + 12, e->residual ? e->residual[m] : 0);
    put32(r + 16, zero);
}

/* One unit, into memory of zeros. */
static void pack_unit(const struct filters *f, const struct filter_ends *e, const struct packed *p,
                      bool depthwise, int64_t unit, unsigned char *out)
{
    int64_t first = unit * p->unit_channels, out_group = f->channels / f->groups,
            taps = (int64_t)f->kernel_h * f->kernel_w,
            blocks_in = depthwise ? 1 : round_up(p->unit_inputs, p->in_block) / p->in_block;
    int64_t block = (int64_t)p->out_block * p->in_block, row = blocks_in * block;
    signed char *weights = (signed char *)out + (int64_t)p->unit_channels * RECORD_BYTES;
    for (int64_t c = 0; c < p->unit_channels && first + c < f->channels; c++) {
        int64_t m = first + c, group = m / out_group;
        int zero = (int)requant_weight_zero(f->quant, m);
        struct place at = {.at = weights + c / p->out_block * taps * row +
                                 c % p->out_block * p->in_block,
                           .step_k = block,
                           .step_tap = row,
                           .in_block = p->in_block};
        pack_record(e, m, zero, out + c * RECORD_BYTES);
        for (int64_t t = 0; zero && t < taps * blocks_in; t++) /* what no filter reads adds nothing */
            memset(at.at + t * block, zero, (size_t)p->in_block);
        pack_filter(f, &at, m, p->split_inputs ? (group - first / out_group) * f->inputs : 0);
    }
}

bool pack_filters(struct lowering *l, const struct filters *f, const struct filter_ends *ends,
                  bool depthwise, struct packed *out, struct bpu_error *err)
{
    cut_units(l, f, depthwise, out);
    int64_t taps = (int64_t)f->kernel_h * f->kernel_w, weights, bytes;
    int64_t blocks = round_up(out->unit_channels, out->out_block) *
                     (depthwise ? 1 : round_up(out->unit_inputs, out->in_block));
    int64_t units = (f->channels + out->unit_channels - 1) / out->unit_channels;
    if (!checked_mul(taps, blocks, &weights) ||
        !checked_add(weights, (int64_t)out->unit_channels * RECORD_BYTES, &weights) ||
        weights > INT32_MAX - UNIT_ALIGN)
        return lower_refuse(l->node, err, "the filters of %d result channels have %lld bytes, more "
                            "than an instruction can count", out->unit_channels, (long long)weights);
    out->unit_bytes = round_up(weights, UNIT_ALIGN);
    if (!checked_mul(out->unit_bytes, units, &bytes))
        return lower_refuse(l->node, err, "the filters are too large");
    unsigned char *data = arena_alloc(l->arena, (size_t)bytes, err);
    out->blob = data ? network_blob(l->net, data, bytes, err) : NULL;
    if (!out->blob)
        return false;
    for (int64_t u = 0; u < units; u++)
        pack_unit(f, ends, out, depthwise, u, data + u * out->unit_bytes);
    out->blob->units = (int)units;
    out->blob->unit_channels = out->unit_channels;
    out->blob->unit_bytes = out->unit_bytes;
    return true;
}
