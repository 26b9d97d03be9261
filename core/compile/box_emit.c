/* box_emit: tiles and arguments of steps in boxes. */
#include <string.h>

#include "core/compile/box.h"
#include "core/program/args.h"
#include "core/program/args_real.h"

/* A box that lies by itself at `base`, as `type` if that is not DT_COUNT. */
static struct tile box_tile(const struct network *net, const struct map *m, enum dtype type, const int size[4],
                            int64_t base)
{
    const struct map *root = m->parent ? m->parent : m;
    const struct machine_block *b = &net->machine->blocks[root->block];
    enum dtype dtype = type == DT_COUNT ? m->dtype : type;
    int64_t block = (int64_t)b->h * b->w * b->c * (int64_t)dtype_size(dtype);
    int64_t column = block * ((size[AXIS_C] + b->c - 1) / b->c);
    return (struct tile){.space = SPACE_SRAM,
                         .dtype = (uint8_t)dtype,
                         .block_h = (uint8_t)b->h,
                         .block_w = (uint8_t)b->w,
                         .block_c = (uint8_t)b->c,
                         .base = base,
                         .frame_rows = (size[AXIS_H] + b->h - 1) / b->h * b->h,
                         .n = size[AXIS_N],
                         .h = size[AXIS_H],
                         .w = size[AXIS_W],
                         .c = size[AXIS_C],
                         .stride_h = column * ((size[AXIS_W] + b->w - 1) / b->w),
                         .stride_w = column,
                         .stride_c = block,
                         .scale = type == DT_COUNT ? m->scale : 0,
                         .zero = type == DT_COUNT ? m->zero : 0};
}

struct tile box_chip_tile(const struct network *net, const struct step *s, int64_t base)
{
    return box_tile(net, s->map, DT_COUNT, s->box->box[0].size, base);
}

/* Units of weights that a step needs. */
static int64_t units_of(const struct step *s)
{
    const struct blob *b = box_weights(s->layer);
    int64_t units = (s->p.c1 + b->unit_channels - 1) / b->unit_channels - s->p.c0 / b->unit_channels;
    return units < b->units ? units : b->units;
}

int64_t box_buffer_bytes(const struct network *net, const struct step *s, int t)
{
    const struct box *b = &s->box->box[t];
    int64_t offset;
    if (s->kind == STEP_PIECE)
        return box_bytes(net, s->layer->out[0], s->box->ends ? DT_COUNT : box_sums_type(s->layer), b->size);
    if (s->kind != STEP_BLOB)
        return box_bytes(net, s->map, DT_COUNT, b->size);
    if (s->box->sliced)
        return units_of(s) * box_unit_bytes(s->layer, s->box->inputs[1] - s->box->inputs[0]);
    return blob_part(s->layer->in[s->operand].blob, s->p.c0, s->p.c1, &offset);
}

/* A unit holds its records, then for each block of result channels and each tap rows of blocks of inputs: some of
 * these are taken, so that the slice is a unit with fewer inputs. */
void box_slice_tiles(const struct step *s, int64_t chip, int64_t ddr, struct tile out[2])
{
    const struct layer *l = s->layer;
    const int32_t *a = l->args;
    const int inputs = s->box->inputs[1] - s->box->inputs[0];
    const int64_t cell = (int64_t)a[CONV_OUT_BLOCK] * a[CONV_IN_BLOCK], unit[2] = {box_unit_bytes(l, inputs), a[CONV_UNIT_BYTES]},
                  head = BOX_RECORD * (int64_t)a[CONV_UNIT_CHANNELS], units = units_of(s),
                  all = (a[CONV_UNIT_INPUTS] + a[CONV_IN_BLOCK] - 1) / a[CONV_IN_BLOCK] * cell,
                  some = (inputs + a[CONV_IN_BLOCK] - 1) / a[CONV_IN_BLOCK] * cell, row[2] = {some, all},
                  taps = (int64_t)a[CONV_KERNEL_H] * a[CONV_KERNEL_W] *
                         ((a[CONV_UNIT_CHANNELS] + a[CONV_OUT_BLOCK] - 1) / a[CONV_OUT_BLOCK]);
    ddr += s->p.c0 / a[CONV_UNIT_CHANNELS] * unit[1];
    for (int t = 0; t < 2; t++) {
        out[t] = emit_bytes_tile(t ? SPACE_DDR : SPACE_SRAM, t ? ddr : chip, s->box->records ? head : some);
        out[t].h = out[t].frame_rows = (int32_t)units;
        out[t].stride_h = out[t].stride_w = unit[t];
        if (s->box->records)
            continue;
        out[t].w = (int32_t)taps;
        out[t].stride_w = row[t];
        out[t].base += head + (t ? s->box->inputs[0] / a[CONV_IN_BLOCK] * cell : 0);
    }
}

void box_emit_piece(const struct network *net, const struct step *s, const struct placement *at, struct instruction *i)
{
    const struct layer *l = s->layer;
    const struct box_step *b = s->box;
    const int *of = at ? at->of_step[at->emitting].of : NULL;
    bool repeats;
    i->op = (uint16_t)l->op;
    i->core = s->core;
    i->engine = (uint8_t)isa_row(l->op)->engine;
    i->source = (uint32_t)l->source;
    i->tile_count = isa_tile_count(l->op, &repeats);
    i->tile_count = 1 + l->in_count > i->tile_count ? 1 + l->in_count : i->tile_count;
    i->arg_count = isa_arg_count(l->op);
    memcpy(i->args, l->args, (size_t)i->arg_count * sizeof *i->args);
    if (l->fit)
        l->fit(l, &s->p, i->args);
    box_fit(l, b, i->args);
    for (int t = 0; t < i->tile_count; t++) {
        const int k = t - 1;
        int64_t base = of && of[t] >= 0 ? at->buffers[of[t]].address : 0;
        i->tiles[t] = (struct tile){0};
        if (b->slot[t] < 0)
            continue;
        if (k < 0 || k >= l->in_count) /* the result, or the sums that it continues */
            i->tiles[t] = box_tile(net, l->out[0], k < 0 && b->ends ? DT_COUNT : box_sums_type(l), b->box[0].size, base);
        else if (l->in[k].map)
            i->tiles[t] = box_tile(net, l->in[k].map, DT_COUNT, b->box[t].size, base);
        else if (b->sliced)
            i->tiles[t] = emit_bytes_tile(SPACE_SRAM, base, units_of(s) * box_unit_bytes(l, b->inputs[1] - b->inputs[0]));
        else
            i->tiles[t] = emit_blob_tile(l, k, &s->p, base);
    }
}
