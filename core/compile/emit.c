/* emit: steps become instructions, maps become tiles, constants get their place in DDR.
 *
 * DDR: constants from address 0 in the order in which they are first loaded, then inputs, outputs
 * and the workspace.  Maps that go through DDR keep their native blocks there, so that rows are
 * contiguous. */
#include <stdio.h>
#include <string.h>

#include "core/base/version.h"
#include "core/compile/box.h"
#include "core/program/args.h"

static int64_t round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

/* ── tiles ── */

/* All of a map, as it lies in memory of native blocks at `base`. */
static struct tile map_tile(const struct network *net, const struct map *m)
{
    const struct map *root = m->parent ? m->parent : m;
    const struct machine_block *b = &net->machine->blocks[root->block];
    return (struct tile){.space = SPACE_SRAM,
                         .dtype = (uint8_t)m->dtype,
                         .block_h = (uint8_t)b->h,
                         .block_w = (uint8_t)b->w,
                         .block_c = (uint8_t)b->c,
                         .frame_rows = root->frame_rows,
                         .h0 = m->off_h,
                         .w0 = m->off_w,
                         .c0 = m->off_c,
                         .n = m->n,
                         .h = m->h,
                         .w = m->w,
                         .c = m->c,
                         .stride_h = root->stride_h,
                         .stride_w = root->stride_w,
                         .stride_c = root->stride_c,
                         .scale = m->scale,
                         .zero = m->zero};
}

static void cut(struct tile *t, int f0, int f1, int r0, int r1, int c0, int c1)
{
    t->n0 += f0;
    t->n = f1 - f0;
    t->h0 += r0;
    t->h = r1 - r0;
    t->c0 += c0;
    t->c = c1 - c0;
}

static void in_buffer(struct tile *t, const struct placement *at, int buffer)
{
    if (!at || buffer < 0)
        return;
    t->base = at->buffers[buffer].address;
    t->ring = at->buffers[buffer].ring;
}

struct tile emit_bytes_tile(enum space space, int64_t base, int64_t bytes)
{
    return (struct tile){.space = (uint8_t)space,
                         .dtype = DT_INT8,
                         .block_h = 1,
                         .block_w = 1,
                         .block_c = 1,
                         .base = base,
                         .frame_rows = 1,
                         .n = 1,
                         .h = 1,
                         .w = 1,
                         .c = (int32_t)bytes,
                         .stride_h = bytes,
                         .stride_w = bytes,
                         .stride_c = 1};
}

struct tile emit_blob_tile(const struct layer *l, int k, const struct piece_rows *p, int64_t base)
{
    int64_t offset, bytes = blob_part(l->in[k].blob, p->c0, p->c1, &offset);
    if (l->op != OP_LOOKUP || l->out[0]->dtype != DT_QINT16)
        return emit_bytes_tile(SPACE_SRAM, base, bytes);
    struct tile t = emit_bytes_tile(SPACE_SRAM, base, bytes / 2);
    t.dtype = DT_INT16;
    t.stride_c = 2;
    return t;
}

void emit_piece(const struct network *net, const struct step *s, const struct placement *at,
                struct instruction *i)
{
    const struct layer *l = s->layer;
    const struct piece_rows *p = &s->p;
    if (s->box) {
        box_emit_piece(net, s, at, i);
        return;
    }
    const struct step_buffers *of =
        at ? &at->of_step[at->emitting] : NULL;
    i->op = (uint16_t)l->op;
    i->core = s->core;
    i->engine = (uint8_t)(l->on_host ? ENGINE_HOST : isa_row(l->op)->engine);
    i->source = (uint32_t)l->source;
    bool repeats;
    int given = l->out_count + l->in_count;
    i->tile_count = isa_tile_count(l->op, &repeats);
    i->tile_count = given > i->tile_count ? given : i->tile_count;
    i->arg_count = isa_arg_count(l->op);
    memcpy(i->args, l->args, (size_t)i->arg_count * sizeof *i->args);
    if (l->fit)
        l->fit(l, p, i->args);
    for (int k = 0; k < l->out_count; k++) {
        struct tile *t = &i->tiles[k];
        *t = map_tile(net, l->out[k]);
        if (k == 0)
            cut(t, p->f0, p->f1, p->r0, p->r1, p->c0, p->c1);
        if (of)
            in_buffer(t, at, of->of[k]);
    }
    for (int k = 0; k < l->in_count; k++) {
        struct tile *t = &i->tiles[l->out_count + k];
        const struct map *m = l->in[k].map;
        int c0, c1;
        if (l->in[k].blob) {
            int64_t offset;
            (void)blob_part(l->in[k].blob, p->c0, p->c1, &offset);
            *t = emit_blob_tile(l, k, p, 0);
            if (of && of->of[l->out_count + k] >= 0) {
                const struct buffer *b = &at->buffers[of->of[l->out_count + k]];
                t->base = b->address + offset - b->blob_offset;
            }
            continue;
        }
        if (!m) {
            *t = (struct tile){0};
            continue;
        }
        *t = map_tile(net, m);
        layer_channels(l, k, p->c0, p->c1, &c0, &c1);
        int f0 = p->f0, f1 = p->f1;
        if (m->n == 1 || l->in[k].need == NEED_ALL || l->whole) {
            f0 = 0;
            f1 = m->n;
        }
        cut(t, f0, f1, p->in_r0[k], p->in_r1[k], c0, c1);
        if (of)
            in_buffer(t, at, of->of[l->out_count + k]);
    }
}

/* ── DDR ── */

struct emission {
    const struct network *net;
    struct placement *at;
    const struct compile_options *o;
    struct program *p;
    struct arena *arena;
    struct bpu_error *err;
    int64_t constant_end, workspace;
    int64_t *blob_at;     /* by blob: its address, or -1 */
    int64_t *constant_of; /* by map: address of a constant map, or -1 */
    unsigned char *constants;
};

/* A constant's place: counted on the first pass (constants NULL), filled on the second. */
static void put_blob(struct emission *e, const struct blob *b)
{
    int64_t *at = &e->blob_at[b->index];
    if (*at < 0) {
        *at = e->constant_end;
        e->constant_end = round_up(*at + b->bytes, SRAM_GRANULE);
        e->at->constant_bytes += b->bytes;
    }
    if (e->constants)
        memcpy(e->constants + *at, b->data, (size_t)b->bytes);
}

static void put_constant(struct emission *e, const struct map *m)
{
    const struct machine_block *b = &e->net->machine->blocks[m->block];
    int64_t *at = &e->constant_of[m->index];
    if (*at < 0) {
        *at = e->constant_end;
        e->constant_end = round_up(*at + map_bytes(m, b), SRAM_GRANULE);
        e->at->constant_bytes += map_bytes(m, b);
    }
    if (!e->constants)
        return;
    struct tile t = map_tile(e->net, m);
    size_t size = dtype_size(m->dtype);
    const unsigned char *from = m->constant;
    t.base = *at;
    for (int f = 0; f < m->n; f++)
        for (int r = 0; r < m->h; r++)
            for (int w = 0; w < m->w; w++)
                for (int c = 0; c < m->c; c++, from += size)
                    memcpy(e->constants + tile_address(&t, f, r, w, c), from, size);
}

static void visit_constants(struct emission *e, const struct steps *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        const struct step *s = &steps->items[i];
        /* What comes in one transfer lies side by side, in the order of the chain. */
        for (int b = s->kind == STEP_BLOB ? e->at->of_step[i].of[0] : -1; b >= 0;
             b = e->at->buffers[b].next)
            put_blob(e, e->at->buffers[b].blob);
        if (s->kind == STEP_LOAD && s->map->constant)
            put_constant(e, s->map);
        for (int k = 0; s->kind == STEP_PIECE && s->layer->on_host && k < s->layer->in_count; k++) {
            if (s->layer->in[k].blob)
                put_blob(e, s->layer->in[k].blob);
            else if (s->layer->in[k].map && map_root(s->layer->in[k].map)->constant)
                put_constant(e, map_root(s->layer->in[k].map));
        }
    }
}

/* A map, or a part of one, in DDR. */
static struct tile ddr_tile(const struct emission *e, const struct map *m)
{
    const struct map *root = m->parent ? m->parent : m;
    struct tile t = map_tile(e->net, m);
    t.space = SPACE_DDR;
    if (root->input >= 0 || root->output >= 0) {
        const struct program_io *io =
            root->input >= 0 ? &e->p->inputs[root->input] : &e->p->outputs[root->output];
        struct tile whole = io->tile;
        whole.h0 += m->off_h;
        whole.w0 += m->off_w;
        whole.c0 += m->off_c;
        whole.h = m->h;
        whole.w = m->w;
        whole.c = m->c;
        return whole;
    }
    t.base = root->constant ? e->constant_of[root->index] : e->workspace + e->at->ddr[root->index];
    return t;
}

/* ── inputs and outputs ── */

static enum io_layout option_layout(const struct compile_io *list, int count, const char *name,
                                    enum io_layout otherwise, enum io_source *source)
{
    for (int i = 0; i < count; i++) {
        if (list[i].name && strcmp(list[i].name, name) != 0)
            continue;
        otherwise = list[i].layout;
        if (source)
            *source = list[i].source;
    }
    return otherwise;
}

/* The camera's order: a plane of luma, then chroma pairs of half the rows. */
static bool pyramid(const struct emission *e, struct program_io *io, const struct map *m)
{
    if (m->n != 1 || m->c != 3 || m->h % 2 || m->w % 2 || m->dtype != DT_QINT8 || io->features)
        return error_set(e->err, BPU_BAD_OPTION, io->name,
                         "the camera pyramid gives one frame of 3 channels with even height and width as qint8; "
                         "this input is %d x %d x %d x %d %s",
                         m->n, m->h, m->w, m->c, dtype_name(m->dtype));
    int64_t row = round_up(m->w, 16);
    io->tile = (struct tile){.space = SPACE_DDR,
                             .dtype = DT_UINT8,
                             .block_h = 1,
                             .block_w = 1,
                             .block_c = 1,
                             .frame_rows = m->h,
                             .n = 1,
                             .h = m->h,
                             .w = m->w,
                             .c = 1,
                             .stride_h = row,
                             .stride_w = 1,
                             .stride_c = 1,
                             .scale = m->scale};
    io->bytes = row * m->h / 2 * 3;
    return true;
}

static bool set_io(struct emission *e, const struct network_io *n, bool input,
                   struct program_io *io, int64_t *end)
{
    const struct map *m = n->map;
    *io = (struct program_io){.name = n->value->name,
                              .shape = n->value->shape,
                              .features = n->features,
                              .host_divides = n->host_divides};
    if (!m) { /* an input that nobody reads takes no memory */
        io->dtype = io->host_dtype = n->value->dtype;
        io->quant = n->value->quant;
        io->address = *end;
        return true;
    }
    double *scale = ARENA_NEW(e->arena, double, e->err);
    int64_t *zero = ARENA_NEW(e->arena, int64_t, e->err);
    if (!scale || !zero)
        return false;
    *scale = m->scale;
    *zero = m->zero;
    io->dtype = m->dtype;
    io->host_dtype = n->host_float ? DT_FLOAT32 : m->dtype;
    if (m->value && m->value->quant.count > 1) /* sums, with a scale per channel */
        io->quant = m->value->quant;
    else if (m->scale > 0)
        io->quant = (struct quant){.scale = scale, .zero_point = zero, .count = 1};
    if (m->value && m->value->quant.count > 1) /* sums that are not requantized */
        io->quant = m->value->quant;
    const struct compile_io *list = input ? e->o->inputs : e->o->outputs;
    int count = input ? e->o->input_count : e->o->output_count;
    io->layout = option_layout(list, count, io->name, IO_NHWC, &io->source);
    if (io->source != IO_DDR) {
        if (!pyramid(e, io, m))
            return false;
    } else
        io->tile = layout_io(m, !io->features, io->layout, e->net->machine, &io->bytes);
    io->address = *end;
    io->tile.base = *end;
    *end = round_up(*end + io->bytes, DDR_GRANULE);
    return true;
}

/* ── instructions ── */

static struct instruction *next_instruction(struct emission *e, const struct step *s,
                                            enum opcode op, int tiles)
{
    struct instruction *i = &e->p->code[e->p->code_count++];
    *i = (struct instruction){.op = (uint16_t)op, .core = s->core, .engine = (uint8_t)isa_row(op)->engine};
    i->tile_count = tiles;
    i->arg_count = isa_arg_count(op);
    i->tiles = ARENA_ARRAY(e->arena, struct tile, tiles ? tiles : 1, e->err);
    i->args = ARENA_ARRAY(e->arena, int32_t, i->arg_count + 1, e->err);
    return i->tiles && i->args ? i : NULL;
}

static bool emit_transfer(struct emission *e, const struct step *s, int buffer)
{
    const struct map *m = s->map;
    const struct piece_rows *p = &s->p;
    bool load = s->kind == STEP_LOAD;
    bool camera = load && m->input >= 0 && e->p->inputs[m->input].source != IO_DDR;
    enum opcode op = camera ? OP_LOAD_NV12 : load ? OP_LOAD : OP_STORE;
    struct instruction *i = next_instruction(e, s, op, camera ? 3 : 2);
    if (!i)
        return false;
    struct tile chip = map_tile(e->net, m), ddr = ddr_tile(e, m);
    if (s->box) {
        const struct box *b = &s->box->box[0];
        cut(&ddr, b->at[0], b->at[0] + b->size[0], b->at[1], b->at[1] + b->size[1], b->at[3], b->at[3] + b->size[3]);
        ddr.w0 += b->at[2];
        ddr.w = b->size[2];
        chip = box_chip_tile(e->net, s, e->at->buffers[buffer].address);
        i->tiles[0] = load ? chip : ddr;
        i->tiles[1] = load ? ddr : chip;
        i->source = (uint32_t)s->layer->source;
        return true;
    }
    in_buffer(&chip, e->at, buffer);
    cut(&chip, p->f0, p->f1, p->r0, p->r1, p->c0, p->c1);
    if (camera) {
        i->args[LOAD_NV12_CENTRE] = 128;
        i->tiles[0] = chip;
        cut(&ddr, 0, 1, p->r0, p->r1, 0, 1);
        ddr.c = 1;
        i->tiles[1] = ddr;
        i->tiles[2] = ddr;
        i->tiles[2].base = ddr.base + ddr.stride_h * m->h;
        i->tiles[2].h0 = p->r0 / 2;
        i->tiles[2].h = (p->r1 + 1) / 2 - p->r0 / 2;
        i->tiles[2].w = m->w / 2;
        i->tiles[2].c = 2;
        i->tiles[2].frame_rows = m->h / 2;
        i->tiles[2].stride_w = 2;
    } else {
        cut(&ddr, p->f0, p->f1, p->r0, p->r1, p->c0, p->c1);
        i->tiles[0] = load ? chip : ddr;
        i->tiles[1] = load ? ddr : chip;
    }
    i->source = (uint32_t)(s->layer ? s->layer->source : 0);
    return true;
}

static bool emit_blob(struct emission *e, const struct step *s, int buffer)
{
    const struct buffer *b = &e->at->buffers[buffer];
    struct instruction *i = next_instruction(e, s, OP_LOAD, 2);
    if (!i)
        return false;
    int64_t bytes = b->bytes;
    i->source = (uint32_t)s->layer->source;
    if (s->box && s->box->sliced) {
        box_slice_tiles(s, b->address, e->blob_at[b->blob->index], i->tiles);
        return true;
    }
    for (int k = b->next; k >= 0; k = e->at->buffers[k].next)
        bytes = e->at->buffers[k].host_offset + e->at->buffers[k].bytes;
    i->tiles[0] = emit_bytes_tile(SPACE_SRAM, b->address, bytes);
    i->tiles[1] = emit_bytes_tile(SPACE_DDR, e->blob_at[b->blob->index] + b->blob_offset, bytes);
    return true;
}

static bool emit_step(struct emission *e, struct placement *at, size_t k, const struct step *s)
{
    at->emitting = k;
    int buffer = at->of_step[k].of[0];
    if (s->kind == STEP_BLOB)
        return emit_blob(e, s, buffer);
    if (s->kind != STEP_PIECE)
        return emit_transfer(e, s, buffer);
    const struct layer *l = s->layer;
    struct instruction *i = next_instruction(e, s, l->op, PROGRAM_MAX_TILES);
    if (!i)
        return false;
    emit_piece(e->net, s, at, i);
    if (!l->on_host)
        return true;
    for (int t = 0; t < l->out_count + l->in_count; t++) { /* the CPU works on DDR */
        struct map *m = t < l->out_count ? l->out[t] : l->in[t - l->out_count].map;
        const struct blob *b = t < l->out_count ? NULL : l->in[t - l->out_count].blob;
        if (b) {
            i->tiles[t].space = SPACE_DDR;
            i->tiles[t].base = e->blob_at[b->index];
        } else if (m) {
            struct tile whole = ddr_tile(e, m);
            struct tile *x = &i->tiles[t];
            if (t == 0)
                cut(&whole, s->p.f0, s->p.f1, s->p.r0, s->p.r1, s->p.c0, s->p.c1);
            else if (t >= l->out_count)
                cut(&whole, x->n0, x->n0 + x->n, s->p.in_r0[t - l->out_count],
                    s->p.in_r1[t - l->out_count], 0, m->c);
            *x = whole;
        }
    }
    return true;
}

static bool list_buffers(struct emission *e)
{
    struct program *p = e->p;
    const struct placement *at = e->at;
    p->buffers = ARENA_ARRAY(e->arena, struct program_buffer, at->count + 1, e->err);
    for (size_t k = 0; p->buffers && k < at->count; k++) {
        const struct buffer *b = &at->buffers[k];
        if (b->first < 0)
            continue;
        const char *name = b->map                ? b->map->name
                           : b->layer->node ? b->layer->node->name
                                            : b->layer->out[0]->name;
        p->buffers[p->buffer_count++] = (struct program_buffer){.name = name,
                                                                .core = (uint8_t)b->core,
                                                                .kind = (uint8_t)b->kind,
                                                                .address = b->address,
                                                                .bytes = b->bytes,
                                                                .first = (uint32_t)b->first,
                                                                .last = (uint32_t)b->last};
    }
    return p->buffers != NULL;
}

bool emit_program(struct arena *a, const struct network *net, const struct steps *steps,
                  struct placement *at, const struct compile_options *o, struct program *out,
                  struct bpu_error *err)
{
    struct emission e = {.net = net, .at = at, .o = o, .p = out, .arena = a, .err = err};
    e.constant_of = ARENA_ARRAY(a, int64_t, net->map_count, err);
    out->inputs = ARENA_ARRAY(a, struct program_io, net->input_count + 1, err);
    out->outputs = ARENA_ARRAY(a, struct program_io, net->output_count + 1, err);
    out->code = ARENA_ARRAY(a, struct instruction, steps->count + 1, err);
    e.blob_at = ARENA_ARRAY(a, int64_t, net->blob_count, err);
    if (!e.constant_of || !e.blob_at || !out->inputs || !out->outputs || !out->code)
        return false;
    for (int i = 0; i < net->map_count; i++)
        e.constant_of[i] = -1;
    for (int i = 0; i < net->blob_count; i++)
        e.blob_at[i] = -1;
    visit_constants(&e, steps);
    out->constant_bytes = e.constant_end;
    if (!(e.constants = arena_alloc(a, (size_t)e.constant_end + 1, err)))
        return false;
    visit_constants(&e, steps);
    out->constants = e.constants;
    int64_t end = round_up(e.constant_end, DDR_GRANULE);
    out->input_count = net->input_count;
    out->output_count = net->output_count;
    for (int i = 0; i < net->input_count; i++)
        if (!set_io(&e, &net->inputs[i], true, &out->inputs[i], &end))
            return false;
    for (int i = 0; i < net->output_count; i++)
        if (!set_io(&e, &net->outputs[i], false, &out->outputs[i], &end))
            return false;
    e.workspace = end;
    out->ddr_bytes = end + at->ddr_bytes;
    for (size_t k = 0; k < steps->count; k++)
        if (!emit_step(&e, at, k, &steps->items[k]))
            return false;
    out->sources = net->sources;
    out->source_count = net->source_count;
    out->sram_bytes = at->peak;
    out->cores = o->cores;
    out->arena = a;
    return list_buffers(&e);
}
