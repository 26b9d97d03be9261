/* verify: everything about a program that its readers rely on, whether it comes from a file or from
 * the compiler.
 *
 * After this, every tile lies inside its memory with all address arithmetic inside 64 bits,
 * constants are never written, engines reach the memory of their operands, every wait is for
 * instructions that stand before it (so that all can be met, whatever runs first), and operands fit
 * the row of their instruction (verify_operands.c).  Whether instructions are ordered where they
 * must be is for the simulator to find. */
#include <math.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/utf8.h"
#include "core/program/program_private.h"

/* Addresses end here. */
#define MEMORY_MAX ((int64_t)1 << 48)

bool verify_refuse(const struct verify *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    error_vput(v->err, BPU_BAD_MODEL, NULL, fmt, ap);
    va_end(ap);
    return error_where(v->err, "instruction %d (core %d, %s)", v->index, v->i->core,
                       v->row ? v->row->name : "?");
}

/* ── the parts that are no instructions ── */

static bool part_refuse(struct bpu_error *err, const char *what, int i, const char *fmt, ...)
    BPU_PRINTF(4, 5);
static bool part_refuse(struct bpu_error *err, const char *what, int i, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    error_vput(err, BPU_BAD_MODEL, NULL, fmt, ap);
    va_end(ap);
    return i < 0 ? error_where(err, "%s", what) : error_where(err, "%s %d", what, i);
}

static bool text_is_fine(const char *s)
{
    uint32_t ignored;
    for (size_t n; s && *s; s += n)
        if ((n = utf8_character(s, &ignored)) == 0)
            return false;
    return true;
}

static bool verify_head(const struct program *p, struct bpu_error *err)
{
    const char *const texts[] = {p->name, p->march, p->options, p->tool};
    const int counts[] = {p->input_count, p->output_count, p->source_count, p->buffer_count,
                          p->code_count};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!text_is_fine(texts[i]))
            return part_refuse(err, "the program", -1, "a name is not UTF-8");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i] < 0)
            return part_refuse(err, "the program", -1, "a count is %d", counts[i]);
    if (p->cores < 1 || p->cores > MACHINE_MAX_CORES)
        return part_refuse(err, "the program", -1, "it is for %d cores, there are 1 to %d",
                           p->cores, MACHINE_MAX_CORES);
    if (p->sram_bytes < 0 || p->sram_bytes > MEMORY_MAX || p->ddr_bytes < 0 ||
        p->ddr_bytes > MEMORY_MAX)
        return part_refuse(err, "the program", -1,
                           "memories of %lld bytes on chip and %lld bytes of DDR",
                           (long long)p->sram_bytes, (long long)p->ddr_bytes);
    if (p->constant_bytes < 0 || p->constant_bytes > p->ddr_bytes)
        return part_refuse(err, "the program", -1, "%lld bytes of constants in %lld bytes of DDR",
                           (long long)p->constant_bytes, (long long)p->ddr_bytes);
    return true;
}

static bool verify_quant(const struct program_io *io, const char *what, int i,
                         struct bpu_error *err)
{
    const struct quant *q = &io->quant;
    if (q->count == 0)
        return true;
    if (q->count < 0 || q->axis < 0 || (q->count > 1 && q->axis >= io->shape.rank) ||
        (q->count > 1 && q->count != io->shape.dim[q->axis]))
        return part_refuse(err, what, i, "%d scales along axis %d", q->count, q->axis);
    for (int k = 0; k < q->count; k++) {
        if (!isfinite(q->scale[k]) || q->scale[k] <= 0)
            return part_refuse(err, what, i, "scale %d is %g", k, q->scale[k]);
        if (q->zero_point && (q->zero_point[k] < INT32_MIN || q->zero_point[k] > INT32_MAX))
            return part_refuse(err, what, i, "zero point %d is %lld", k,
                               (long long)q->zero_point[k]);
    }
    return true;
}

/* What is true of every tile; NULL, or what is wrong. */
static const char *tile_fault(const struct tile *t)
{
    int64_t rows, first, end;
    if (t->space > SPACE_DDR)
        return "lies in no memory";
    if (t->dtype == DT_UNKNOWN || t->dtype >= DT_COUNT)
        return "has no element type";
    if (t->n <= 0 || t->h <= 0 || t->w <= 0 || t->c <= 0)
        return "has an extent that is not positive";
    if (t->n0 < 0 || t->h0 < 0 || t->w0 < 0 || t->c0 < 0)
        return "begins before its map";
    if (!t->block_h || !t->block_w || !t->block_c)
        return "has blocks without elements";
    if (t->stride_n < 0 || t->stride_h < 0 || t->stride_w < 0 || t->stride_c < 0)
        return "has a negative stride";
    if (t->frame_rows < 0 || t->frame_rows % t->block_h || t->ring < 0 || t->ring % t->block_h)
        return "has frames or a ring that are not whole blocks";
    if (t->ring && t->stride_n)
        return "has both a ring and frames that lie apart";
    if (t->frame_rows == 0 && t->stride_n == 0 && (t->n > 1 || t->n0 > 0))
        return "has frames of no rows";
    if (t->frame_rows && t->h > t->frame_rows - t->h0)
        return "has more rows than a frame";
    if (t->ring) {
        rows = (int64_t)(t->n - 1) * t->frame_rows + t->h0 % t->block_h + t->h;
        if ((rows + t->block_h - 1) / t->block_h > t->ring / t->block_h)
            return "has more rows than its ring";
    }
    if (!isfinite(t->scale) || t->scale < 0)
        return "has a scale that is none";
    if (t->zero < -65536 || t->zero > 65536) /* differences with stored integers stay in 32 bits */
        return "has a zero point that no type of 16 bits holds";
    tile_range(t, &first, &end);
    return first < end ? NULL : "has addresses beyond 64 bits";
}

/* An empty range of bytes if all is fine and left out. */
static bool verify_io(const struct program *p, const struct program_io *io, const char *what,
                      int i, bool input, struct bpu_error *err)
{
    int64_t end, first;
    const char *fault;
    if (!text_is_fine(io->name))
        return part_refuse(err, what, i, "the name is not UTF-8");
    if (io->shape.rank < 0 || io->shape.rank > SHAPE_MAX_RANK || !shape_is_static(&io->shape) ||
        shape_elements(&io->shape) < 0)
        return part_refuse(err, what, i, "the shape is none");
    if (io->dtype == DT_UNKNOWN || io->dtype >= DT_COUNT || io->host_dtype == DT_UNKNOWN ||
        io->host_dtype >= DT_COUNT)
        return part_refuse(err, what, i, "an element type is none");
    if (io->layout > IO_RAW || io->source > IO_RESIZER || io->reversed_rows)
        return part_refuse(err, what, i, "the layout or the source is none");
    if (!verify_quant(io, what, i, err))
        return false;
    if (io->address < 0 || io->bytes < 0 || !checked_add(io->address, io->bytes, &end) ||
        end > p->ddr_bytes)
        return part_refuse(err, what, i, "%lld bytes at %lld are not in DDR, which has %lld",
                           (long long)io->bytes, (long long)io->address, (long long)p->ddr_bytes);
    if (input && io->bytes && io->address < p->constant_bytes)
        return part_refuse(err, what, i, "it lies where the constants are");
    if (io->tile.n == 0)
        return true;
    if ((fault = tile_fault(&io->tile)))
        return part_refuse(err, what, i, "its tile %s", fault);
    tile_range(&io->tile, &first, &end);
    if (io->tile.space != SPACE_DDR || first < io->address || end > io->address + io->bytes)
        return part_refuse(err, what, i, "its tile (bytes %lld to %lld) lies outside of it",
                           (long long)first, (long long)end);
    int64_t elements = (int64_t)io->tile.h * io->tile.w;
    if (io->source == IO_DDR && io->tile.dtype != io->dtype)
        return part_refuse(err, what, i, "its tile has elements of another type");
    if (io->source == IO_DDR &&
        (!checked_mul(elements, io->tile.n, &elements) ||
         !checked_mul(elements, io->tile.c, &elements) || elements != shape_elements(&io->shape)))
        return part_refuse(err, what, i, "its tile has not as many elements as its shape");
    return true;
}

static bool verify_parts(const struct program *p, struct bpu_error *err)
{
    for (int i = 0; i < p->input_count; i++)
        if (!verify_io(p, &p->inputs[i], "input", i, true, err))
            return false;
    for (int i = 0; i < p->output_count; i++)
        if (!verify_io(p, &p->outputs[i], "output", i, false, err))
            return false;
    for (int i = 0; i < p->source_count; i++) {
        const struct program_source *s = &p->sources[i];
        if (!text_is_fine(s->name) || !text_is_fine(s->op))
            return part_refuse(err, "layer", i, "a name is not UTF-8");
        if (s->macs < 0 || s->n < 0 || s->h < 0 || s->w < 0 || s->c < 0)
            return part_refuse(err, "layer", i, "a negative extent or number of products");
    }
    for (int i = 0; i < p->buffer_count; i++) {
        const struct program_buffer *b = &p->buffers[i];
        int64_t end;
        if (!text_is_fine(b->name))
            return part_refuse(err, "buffer", i, "the name is not UTF-8");
        if (b->core >= p->cores || b->kind >= BUFFER_KINDS)
            return part_refuse(err, "buffer", i, "the core or the kind is none");
        if (b->address < 0 || b->bytes < 0 || !checked_add(b->address, b->bytes, &end) ||
            end > p->sram_bytes)
            return part_refuse(err, "buffer", i,
                               "%lld bytes at %lld are not in on-chip memory, which has %lld",
                               (long long)b->bytes, (long long)b->address,
                               (long long)p->sram_bytes);
        if (b->first > b->last || b->last >= (uint32_t)p->code_count)
            return part_refuse(err, "buffer", i, "in use from instruction %u to %u of %d", b->first,
                               b->last, p->code_count);
    }
    return true;
}

/* ── instructions ── */

/* The memory in which an engine finds an operand, or puts a result. */
static enum space engine_space(enum engine e, bool written)
{
    switch (e) {
    case ENGINE_HOST: return SPACE_DDR;
    case ENGINE_LOAD: return written ? SPACE_SRAM : SPACE_DDR;
    case ENGINE_STORE: return written ? SPACE_DDR : SPACE_SRAM;
    default: return SPACE_SRAM;
    }
}

static bool verify_tile(const struct verify *v, int k)
{
    const struct tile *t = &v->i->tiles[k];
    bool written = k < v->row->writes;
    char name[ISA_NAME_MAX];
    isa_tile_name((enum opcode)v->i->op, k, name);
    if (t->n == 0)
        return isa_tile_optional((enum opcode)v->i->op, k) ||
               verify_refuse(v, "tile %d (%s) is left out", k, name);
    const char *fault = tile_fault(t);
    if (fault)
        return verify_refuse(v, "tile %d (%s) %s", k, name, fault);
    int64_t first, end, memory = t->space == SPACE_SRAM ? v->p->sram_bytes : v->p->ddr_bytes;
    const char *where = t->space == SPACE_SRAM ? "on-chip memory" : "DDR";
    tile_range(t, &first, &end);
    if (first < 0 || end > memory)
        return verify_refuse(v, "tile %d (%s), bytes %lld to %lld, is not in %s, which has %lld", k,
                             name, (long long)first, (long long)end, where, (long long)memory);
    if (t->space != engine_space((enum engine)v->i->engine, written))
        return verify_refuse(v, "tile %d (%s) lies in %s, which the %s engine does not %s", k, name,
                             where, engine_name((enum engine)v->i->engine),
                             written ? "write" : "read");
    if (written && t->space == SPACE_DDR && first < v->p->constant_bytes)
        return verify_refuse(v, "tile %d (%s), from byte %lld, is written over constants", k, name,
                             (long long)first);
    if (written && !tile_is_apart(t))
        return verify_refuse(v, "tile %d (%s) is written, and its blocks lie on each other", k,
                             name);
    return true;
}

static bool verify_waits(const struct verify *v, const uint32_t *before)
{
    const struct instruction *i = v->i;
    bool seen[PROGRAM_LANES] = {false};
    if (i->wait_count < 0 || i->wait_count > PROGRAM_LANES)
        return verify_refuse(v, "%d waits", i->wait_count);
    for (int k = 0; k < i->wait_count; k++) {
        const struct wait *w = &i->waits[k];
        if (w->lane >= v->p->cores * ENGINE_COUNT)
            return verify_refuse(v, "wait %d is for lane %d of %d", k, w->lane,
                                 v->p->cores * ENGINE_COUNT);
        int core = w->lane / ENGINE_COUNT;
        const char *engine = engine_name((enum engine)(w->lane % ENGINE_COUNT));
        if (seen[w->lane])
            return verify_refuse(v, "waits twice for the %s engine of core %d", engine, core);
        if (w->count == 0 || w->count > before[w->lane])
            return verify_refuse(v,
                                 "waits for %u instructions of the %s engine of core %d, of which %u "
                                 "stand before it",
                                 w->count, engine, core, before[w->lane]);
        seen[w->lane] = true;
    }
    return true;
}

static bool verify_instruction(struct verify *v, const uint32_t *before)
{
    const struct instruction *i = v->i;
    bool repeats;
    v->row = i->op < OP_COUNT ? isa_row((enum opcode)i->op) : NULL;
    if (!v->row)
        return verify_refuse(v, "there is no instruction of number %d", i->op);
    if (i->core >= v->p->cores)
        return verify_refuse(v, "core %d of %d", i->core, v->p->cores);
    if (i->engine != v->row->engine && i->engine != ENGINE_HOST)
        return verify_refuse(v, "engine %d does not run it", i->engine);
    if (i->source >= (uint32_t)v->p->source_count)
        return verify_refuse(v, "it belongs to layer %u of %d", i->source, v->p->source_count);
    int tiles = isa_tile_count((enum opcode)i->op, &repeats);
    if (i->tile_count < tiles || (i->tile_count > tiles && !repeats) ||
        i->tile_count > PROGRAM_MAX_TILES)
        return verify_refuse(v, "%d tiles where there must be %d%s", i->tile_count, tiles,
                             repeats ? " or more" : "");
    int args = isa_arg_count((enum opcode)i->op);
    if (i->arg_count != args)
        return verify_refuse(v, "%d arguments where there must be %d", i->arg_count, args);
    for (int k = 0; k < i->tile_count; k++)
        if (!verify_tile(v, k))
            return false;
    return verify_waits(v, before) && verify_operands(v);
}

bool program_verify(const struct program *p, struct bpu_error *err)
{
    uint32_t before[PROGRAM_LANES] = {0};
    struct verify v = {.p = p, .err = err};
    if (!verify_head(p, err) || !verify_parts(p, err))
        return false;
    for (v.index = 0; v.index < p->code_count; v.index++) {
        v.i = &p->code[v.index];
        if (!verify_instruction(&v, before))
            return false;
        before[v.i->core * ENGINE_COUNT + v.i->engine]++;
    }
    return true;
}
