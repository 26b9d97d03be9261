/* program_write: a program as a .bpu file, the same bytes for the same program.
 *
 * Strings get their numbers in the order in which the sections name them, so TEXT is collected
 * first by writing all other sections once, and stands first in the file. */
#include <string.h>

#include "core/base/table.h"
#include "core/program/program_private.h"

struct writer {
    const struct program *p;
    struct buf section[SECTION_COUNT];
    struct arena scratch;
    struct name_table *names; /* string → its number + 1 */
    uint64_t strings;
    struct code_state *state;
    int set[OP_COUNT]; /* number in ISET + 1 */
    struct bpu_error *err;
    bool failed;
};

static void put_number(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_putc(b, (char)(v | 0x80));
    buf_putc(b, (char)v);
}

static void put_signed(struct buf *b, int64_t v)
{
    put_number(b, (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0));
}

static void put_difference(struct buf *b, int64_t to, int64_t from)
{
    put_signed(b, (int64_t)((uint64_t)to - (uint64_t)from));
}

static void put_real(struct buf *b, double v)
{
    unsigned char bytes[8];
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    little_put(bytes, 8, bits);
    buf_add(b, bytes, sizeof bytes);
}

/* The string's number; new ones go to TEXT. */
static void put_text(struct writer *w, struct buf *b, const char *s)
{
    if (w->failed)
        return;
    s = s ? s : "";
    uintptr_t known = (uintptr_t)name_table_find(w->names, s);
    if (!known) {
        size_t n = strlen(s);
        known = (uintptr_t)++w->strings;
        if (!name_table_put(w->names, s, (void *)known, w->err))
            w->failed = true;
        put_number(&w->section[SECTION_TEXT], n);
        buf_add(&w->section[SECTION_TEXT], s, n + 1);
    }
    put_number(b, known - 1);
}

static void put_tile(struct buf *b, const struct tile *t, struct tile *before)
{
    uint64_t mask = 0;
    for (int f = 0; f < FIELD_COUNT; f++)
        if (tile_field(t, (enum tile_field)f) != tile_field(before, (enum tile_field)f))
            mask |= (uint64_t)1 << f;
    put_number(b, mask);
    for (int f = 0; f < FIELD_COUNT; f++)
        if (mask >> f & 1) {
            int64_t v = tile_field(t, (enum tile_field)f);
            if (f == FIELD_scale)
                put_real(b, t->scale);
            else
                put_difference(b, v, tile_field(before, (enum tile_field)f));
        }
    *before = *t;
}

static void put_meta(struct writer *w, struct buf *b)
{
    const struct program *p = w->p;
    put_text(w, b, p->name);
    put_text(w, b, p->march);
    put_text(w, b, p->options);
    put_text(w, b, p->tool);
    put_number(b, p->uncalibrated);
    put_number(b, (uint64_t)p->cores);
    put_number(b, (uint64_t)p->sram_bytes);
    put_number(b, (uint64_t)p->ddr_bytes);
}

static void put_io(struct writer *w, struct buf *b, const struct program_io *io)
{
    struct tile none = {0};
    put_text(w, b, io->name);
    put_number(b, (uint64_t)io->shape.rank);
    for (int i = 0; i < io->shape.rank; i++)
        put_number(b, (uint64_t)io->shape.dim[i]);
    put_number(b, io->features);
    put_number(b, io->dtype);
    put_number(b, io->host_dtype);
    put_number(b, io->host_divides);
    put_number(b, io->layout);
    put_number(b, io->source);
    put_number(b, (uint64_t)io->address);
    put_number(b, (uint64_t)io->bytes);
    put_number(b, (uint64_t)io->quant.count);
    if (io->quant.count) {
        put_number(b, (uint64_t)io->quant.axis);
        put_number(b, io->quant.zero_point != NULL);
    }
    for (int i = 0; i < io->quant.count; i++) {
        put_real(b, io->quant.scale[i]);
        if (io->quant.zero_point)
            put_signed(b, io->quant.zero_point[i]);
    }
    put_tile(b, &io->tile, &none);
}

static void put_sources(struct writer *w, struct buf *b)
{
    put_number(b, (uint64_t)w->p->source_count);
    for (int i = 0; i < w->p->source_count; i++) {
        const struct program_source *s = &w->p->sources[i];
        put_text(w, b, s->name);
        put_text(w, b, s->op);
        put_number(b, (uint64_t)s->macs);
        put_number(b, (uint64_t)s->n);
        put_number(b, (uint64_t)s->h);
        put_number(b, (uint64_t)s->w);
        put_number(b, (uint64_t)s->c);
    }
}

static void put_buffers(struct writer *w, struct buf *b)
{
    put_number(b, (uint64_t)w->p->buffer_count);
    for (int i = 0; i < w->p->buffer_count; i++) {
        const struct program_buffer *s = &w->p->buffers[i];
        put_text(w, b, s->name);
        put_number(b, s->core);
        put_number(b, s->kind);
        put_number(b, (uint64_t)s->address);
        put_number(b, (uint64_t)s->bytes);
        put_number(b, s->first);
        put_number(b, s->last - s->first);
    }
}

/* Numbers the opcodes by first use. */
static void put_set(struct writer *w, struct buf *b)
{
    int count = 0;
    for (int i = 0; i < w->p->code_count; i++)
        if (!w->set[w->p->code[i].op])
            w->set[w->p->code[i].op] = ++count;
    put_number(b, (uint64_t)count);
    for (int n = 1; n <= count; n++)
        for (int op = 0; op < OP_COUNT; op++)
            if (w->set[op] == n) {
                const struct isa *row = isa_row((enum opcode)op);
                put_text(w, b, row->name);
                put_text(w, b, row->tiles);
                put_text(w, b, row->args);
            }
}

static void put_args(struct buf *b, const struct instruction *i, int32_t *before)
{
    uint64_t mask = 0;
    for (int k = 0; k < i->arg_count; k++)
        if (i->args[k] != before[k])
            mask |= (uint64_t)1 << k;
    put_number(b, mask);
    for (int k = 0; k < i->arg_count; k++)
        if (mask >> k & 1) {
            put_difference(b, i->args[k], before[k]);
            before[k] = i->args[k];
        }
}

static void put_instruction(struct writer *w, struct buf *b, const struct instruction *i)
{
    struct code_state *s = w->state;
    bool repeats;
    (void)isa_tile_count((enum opcode)i->op, &repeats);
    put_number(b, (uint64_t)w->set[i->op] - 1);
    put_number(b, (uint64_t)i->core << 1 | (i->engine == ENGINE_HOST));
    put_difference(b, i->source, s->source);
    s->source = i->source;
    if (repeats)
        put_number(b, (uint64_t)i->tile_count);
    for (int k = 0; k < i->tile_count; k++)
        put_tile(b, &i->tiles[k], &s->tile[i->op][k]);
    put_args(b, i, s->args[i->op]);
    put_number(b, (uint64_t)i->wait_count);
    for (int k = 0; k < i->wait_count; k++) {
        uint8_t lane = i->waits[k].lane;
        put_number(b, lane);
        put_difference(b, i->waits[k].count, s->waited[lane]);
        s->waited[lane] = i->waits[k].count;
    }
}

static void put_code(struct writer *w, struct buf *b)
{
    const struct program *p = w->p;
    uint64_t tiles = 0, args = 0, waits = 0;
    for (int i = 0; i < p->code_count; i++) {
        tiles += (uint64_t)p->code[i].tile_count;
        args += (uint64_t)p->code[i].arg_count;
        waits += (uint64_t)p->code[i].wait_count;
    }
    put_number(b, (uint64_t)p->code_count);
    put_number(b, tiles);
    put_number(b, args);
    put_number(b, waits);
    for (int i = 0; i < p->code_count; i++)
        put_instruction(w, b, &p->code[i]);
}

static bool put_sections(struct writer *w)
{
    const struct program *p = w->p;
    struct buf *port = &w->section[SECTION_PORT];
    put_meta(w, &w->section[SECTION_META]);
    put_number(port, (uint64_t)p->input_count);
    put_number(port, (uint64_t)p->output_count);
    for (int i = 0; i < p->input_count; i++)
        put_io(w, port, &p->inputs[i]);
    for (int i = 0; i < p->output_count; i++)
        put_io(w, port, &p->outputs[i]);
    put_sources(w, &w->section[SECTION_LAYR]);
    put_buffers(w, &w->section[SECTION_BUFF]);
    put_set(w, &w->section[SECTION_ISET]);
    put_code(w, &w->section[SECTION_CODE]);
    for (int i = 0; i < SECTION_COUNT; i++)
        if (!buf_ok(&w->section[i], w->err))
            return false;
    return !w->failed;
}

/* Head and sections; the digests come last. */
static bool put_file(struct writer *w, struct buf *out)
{
    static const unsigned char zeros[CONTAINER_ALIGN];
    unsigned char head[HEAD_SIZE] = CONTAINER_MAGIC;
    size_t start = out->size, offset = HEAD_SIZE;
    for (int i = 0; i < SECTION_COUNT; i++) {
        unsigned char *entry = head + HEAD_TABLE + i * ENTRY_SIZE;
        size_t bytes = i == SECTION_CNST ? (size_t)w->p->constant_bytes : w->section[i].size;
        offset = (offset + CONTAINER_ALIGN - 1) / CONTAINER_ALIGN * CONTAINER_ALIGN;
        memcpy(entry + ENTRY_TAG, section_tag((enum section)i), 4);
        little_put(entry + ENTRY_OFFSET, 8, offset);
        little_put(entry + ENTRY_BYTES, 8, bytes);
        offset += bytes;
    }
    little_put(head + HEAD_VERSION, 4, PROGRAM_VERSION);
    little_put(head + HEAD_SECTIONS, 4, SECTION_COUNT);
    little_put(head + HEAD_BYTES, 8, offset);
    buf_add(out, head, sizeof head);
    for (int i = 0; i < SECTION_COUNT; i++) {
        buf_add(out, zeros, -(out->size - start) % CONTAINER_ALIGN);
        if (i == SECTION_CNST)
            buf_add(out, w->p->constants, (size_t)w->p->constant_bytes);
        else
            buf_add(out, w->section[i].data, w->section[i].size);
    }
    if (!buf_ok(out, w->err))
        return false;
    if (!container_seal((unsigned char *)out->data + start, out->size - start))
        return error_set(w->err, BPU_SERVER, NULL, "internal: a program that cannot be sealed");
    return true;
}

bool program_write(const struct program *p, struct buf *out, struct bpu_error *err)
{
    struct writer w = {.p = p, .err = err};
    if (!program_verify(p, err))
        return false;
    for (int i = 0; i < SECTION_COUNT; i++)
        buf_init(&w.section[i], BUF_DEFAULT_CAP);
    arena_init(&w.scratch, BUF_DEFAULT_CAP);
    bool ok = false;
    w.names = name_table_new(&w.scratch, err);
    w.state = ARENA_NEW(&w.scratch, struct code_state, err);
    if (w.names && w.state)
        ok = put_sections(&w);
    if (ok) {
        struct buf *text = &w.section[SECTION_TEXT];
        struct buf all;
        buf_init(&all, BUF_DEFAULT_CAP);
        put_number(&all, w.strings);
        buf_add(&all, text->data, text->size);
        buf_fini(text);
        *text = all;
        ok = buf_ok(text, err) && put_file(&w, out);
    }
    arena_fini(&w.scratch);
    for (int i = 0; i < SECTION_COUNT; i++)
        buf_fini(&w.section[i]);
    return ok;
}
