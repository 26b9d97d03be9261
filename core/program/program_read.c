/* program_read: a .bpu file as a program.  Nothing in it is believed: head and digests first, then
 * every section number by number, then program_verify() over the whole.
 *
 * Strings and constants stay where they are in the file; all else goes to the arena.  Counts are
 * held against the bytes that are left before anything is allocated for them. */
#include <string.h>

#include "core/base/utf8.h"
#include "core/program/program_private.h"

/* A section being read.  After the first error every number is 0 and `bad` is set. */
struct scan {
    struct arena *arena;
    const unsigned char *data; /* the file */
    size_t at, end;
    enum section section;
    int instruction; /* -1: not in one */
    const char **text;
    uint64_t texts;
    bool bad;
    struct bpu_error *err;
};

static bool scan_fail(struct scan *s, const char *fmt, ...) BPU_PRINTF(2, 3);
static bool scan_fail(struct scan *s, const char *fmt, ...)
{
    if (s->bad)
        return false;
    va_list ap;
    va_start(ap, fmt);
    s->bad = true;
    error_vput(s->err, BPU_BAD_MODEL, NULL, fmt, ap);
    va_end(ap);
    if (s->instruction >= 0)
        return error_where(s->err, "section %s, byte %zu, instruction %d", section_tag(s->section),
                           s->at, s->instruction);
    return error_where(s->err, "section %s, byte %zu", section_tag(s->section), s->at);
}

static uint64_t scan_number(struct scan *s)
{
    uint64_t v = 0;
    if (s->bad)
        return 0;
    for (size_t at = s->at, shift = 0;; at++, shift += 7) {
        if (at == s->end)
            return (uint64_t)scan_fail(s, "the section ends within a number");
        unsigned char byte = s->data[at];
        if (shift == 63 && byte > 1)
            return (uint64_t)scan_fail(s, "a number has more than 64 bits");
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte & 0x80)
            continue;
        if (byte == 0 && shift > 0)
            return (uint64_t)scan_fail(s, "a number is longer than it must be");
        s->at = at + 1;
        return v;
    }
}

static int64_t scan_signed(struct scan *s)
{
    uint64_t v = scan_number(s);
    return (int64_t)(v >> 1 ^ (v & 1 ? UINT64_MAX : 0));
}

/* A number of 0 … max. */
static uint64_t scan_up_to(struct scan *s, uint64_t max, const char *what)
{
    size_t at = s->at;
    uint64_t v = scan_number(s);
    if (s->bad || v <= max)
        return v;
    s->at = at;
    return (uint64_t)scan_fail(s, "%s is %llu, the largest that is possible %llu", what,
                               (unsigned long long)v, (unsigned long long)max);
}

static int64_t scan_size(struct scan *s, const char *what)
{
    return (int64_t)scan_up_to(s, INT64_MAX, what);
}

static int scan_int(struct scan *s, const char *what)
{
    return (int)scan_up_to(s, INT32_MAX, what);
}

/* How many of something follow, each of at least `least` bytes. */
static int scan_count(struct scan *s, size_t least, const char *what)
{
    size_t at = s->at;
    uint64_t v = scan_number(s);
    if (s->bad || (v <= (s->end - s->at) / least && v <= INT32_MAX))
        return (int)v;
    scan_fail(s, "%llu %s in the %zu bytes that are left", (unsigned long long)v, what,
              s->end - s->at);
    s->at = at;
    return 0;
}

static double scan_real(struct scan *s)
{
    double v = 0;
    if (s->bad)
        return 0;
    if (s->end - s->at < 8) {
        scan_fail(s, "the section ends within a real number");
        return 0;
    }
    uint64_t bits = little_get(s->data + s->at, 8);
    memcpy(&v, &bits, sizeof v);
    s->at += 8;
    return v;
}

static const char *scan_text(struct scan *s, const char *what)
{
    uint64_t i = scan_number(s);
    if (s->bad)
        return "";
    if (i < s->texts)
        return s->text[i];
    scan_fail(s, "%s is string %llu of %llu", what, (unsigned long long)i,
              (unsigned long long)s->texts);
    return "";
}

static void *scan_array(struct scan *s, int count, size_t size)
{
    void *p = s->bad ? NULL : arena_alloc_array(s->arena, (size_t)count, size, s->err);
    s->bad = s->bad || !p;
    return p;
}

static void scan_begin(struct scan *s, enum section section)
{
    const unsigned char *entry = s->data + HEAD_TABLE + section * ENTRY_SIZE;
    s->section = section;
    s->instruction = -1;
    s->at = (size_t)little_get(entry + ENTRY_OFFSET, 8);
    s->end = s->at + (size_t)little_get(entry + ENTRY_BYTES, 8);
}

static void scan_finish(struct scan *s)
{
    s->instruction = -1;
    if (!s->bad && s->at != s->end)
        scan_fail(s, "%zu bytes more than the section needs", s->end - s->at);
}

/* ── the head ── */

static bool head_fail(struct bpu_error *err, size_t at, const char *fmt, ...) BPU_PRINTF(3, 4);
static bool head_fail(struct bpu_error *err, size_t at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    error_vput(err, BPU_BAD_MODEL, NULL, fmt, ap);
    va_end(ap);
    return error_where(err, "head, byte %zu", at);
}

static bool head_digest(const unsigned char *data, size_t size, const unsigned char *want)
{
    unsigned char digest[CONTAINER_DIGEST];
    container_digest(data, size, digest);
    return memcmp(digest, want, sizeof digest) == 0;
}

bool program_is(const void *data, size_t size)
{
    return size >= 4 && memcmp(data, CONTAINER_MAGIC, 4) == 0;
}

static bool head_check(const unsigned char *data, size_t size, struct bpu_error *err)
{
    if (!program_is(data, size)) {
        error_set(err, BPU_NOT_A_MODEL, NULL, "this is no compiled program");
        return error_hint(err, "A program is what `bpuhub compile` writes, a .bpu file.");
    }
    if (size < HEAD_VERSION + 4)
        return head_fail(err, size, "the file ends within its head, after %zu bytes", size);
    if (memcmp(data, CONTAINER_MAGIC, HEAD_VERSION) != 0) {
        head_fail(err, 4, "line ends were converted: the file was copied as text");
        return error_hint(err, "Copy it again, as a binary file.");
    }
    uint64_t version = little_get(data + HEAD_VERSION, 4);
    if (version != PROGRAM_VERSION) {
        error_set(err, BPU_UNSUPPORTED, "head, byte 8",
                  "the program has version %llu, this tool reads version %d",
                  (unsigned long long)version, PROGRAM_VERSION);
        return error_hint(err, "Compile the network again with this version of the tool.");
    }
    if (size < HEAD_SIZE)
        return head_fail(err, size, "the file ends within its head, after %zu bytes", size);
    uint64_t bytes = little_get(data + HEAD_BYTES, 8);
    if (bytes != size)
        return head_fail(err, HEAD_BYTES, "the file has %zu bytes, its head says %llu", size,
                         (unsigned long long)bytes);
    if (!head_digest(data, HEAD_SIZE - CONTAINER_DIGEST, data + HEAD_SIZE - CONTAINER_DIGEST))
        return head_fail(err, 0, "the head is damaged: its checksum does not hold");
    if (little_get(data + HEAD_SECTIONS, 4) != SECTION_COUNT)
        return head_fail(err, HEAD_SECTIONS, "%llu sections instead of %d",
                         (unsigned long long)little_get(data + HEAD_SECTIONS, 4), SECTION_COUNT);
    if (little_get(data + HEAD_RESERVED, 8) != 0)
        return head_fail(err, HEAD_RESERVED, "reserved bytes are not 0");
    return true;
}

/* The sections stand one after the other, at multiples of the alignment, with zeros between. */
static bool head_sections(const unsigned char *data, size_t size, struct bpu_error *err)
{
    size_t end = HEAD_SIZE;
    for (int i = 0; i < SECTION_COUNT; i++) {
        size_t at = HEAD_TABLE + (size_t)i * ENTRY_SIZE;
        const unsigned char *entry = data + at;
        const char *tag = section_tag((enum section)i);
        uint64_t offset = little_get(entry + ENTRY_OFFSET, 8);
        uint64_t bytes = little_get(entry + ENTRY_BYTES, 8);
        size_t begin = (end + CONTAINER_ALIGN - 1) / CONTAINER_ALIGN * CONTAINER_ALIGN;
        if (memcmp(entry + ENTRY_TAG, tag, 4) != 0 || little_get(entry + ENTRY_RESERVED, 4) != 0)
            return head_fail(err, at, "entry %d of the table is not that of section %s", i, tag);
        if (offset != begin)
            return head_fail(err, at + ENTRY_OFFSET, "section %s begins at byte %llu instead of %zu",
                             tag, (unsigned long long)offset, begin);
        if (begin > size || bytes > size - begin)
            return head_fail(err, at + ENTRY_BYTES,
                             "section %s has %llu bytes, the file %zu from there", tag,
                             (unsigned long long)bytes, begin > size ? 0 : size - begin);
        for (; end < begin; end++)
            if (data[end])
                return head_fail(err, end, "a byte between two sections is not 0");
        end = begin + (size_t)bytes;
        if (!head_digest(data + begin, (size_t)bytes, entry + ENTRY_DIGEST)) {
            error_set(err, BPU_BAD_MODEL, NULL, "section %s is damaged: its checksum does not hold",
                      tag);
            return error_where(err, "section %s, bytes %zu to %zu", tag, begin, end);
        }
    }
    if (end != size)
        return head_fail(err, end, "%zu bytes behind the last section", size - end);
    return true;
}

/* ── sections ── */

static void read_texts(struct scan *s)
{
    scan_begin(s, SECTION_TEXT);
    int count = scan_count(s, 2, "strings");
    s->text = scan_array(s, count, sizeof *s->text);
    for (int i = 0; i < count && !s->bad; i++) {
        size_t n = (size_t)scan_count(s, 1, "bytes of a string");
        if (s->bad)
            return;
        const char *p = (const char *)s->data + s->at;
        if (s->end - s->at <= n) {
            scan_fail(s, "the section ends within string %d", i);
            return;
        }
        if (p[n] || memchr(p, 0, n)) {
            scan_fail(s, "string %d does not end where its length says", i);
            return;
        }
        uint32_t ignored;
        for (size_t k = 0, step; k < n; k += step)
            if ((step = utf8_character(p + k, &ignored)) == 0) {
                s->at += k;
                scan_fail(s, "string %d is not UTF-8", i);
                return;
            }
        s->text[i] = p;
        s->at += n + 1;
    }
    s->texts = (uint64_t)count;
    scan_finish(s);
}

static void read_meta(struct scan *s, struct program *p)
{
    scan_begin(s, SECTION_META);
    p->name = scan_text(s, "the name");
    p->march = scan_text(s, "the march");
    p->options = scan_text(s, "the options");
    p->tool = scan_text(s, "the tool");
    p->uncalibrated = scan_up_to(s, 1, "the flag of placeholder scales");
    p->cores = (int)scan_up_to(s, MACHINE_MAX_CORES, "the number of cores");
    p->sram_bytes = scan_size(s, "the size of on-chip memory");
    p->ddr_bytes = scan_size(s, "the size of DDR");
    scan_finish(s);
}

static void read_tile(struct scan *s, struct tile *out, struct tile *before)
{
    uint64_t mask = scan_up_to(s, ((uint64_t)1 << FIELD_COUNT) - 1, "the mask of a tile's fields");
    for (int f = 0; f < FIELD_COUNT && !s->bad; f++) {
        if (!(mask >> f & 1))
            continue;
        if (f == FIELD_scale) {
            before->scale = scan_real(s);
            continue;
        }
        uint64_t was = (uint64_t)tile_field(before, (enum tile_field)f);
        if (!tile_field_set(before, (enum tile_field)f, (int64_t)(was + (uint64_t)scan_signed(s))))
            scan_fail(s, "a field of a tile has more bits than there are for it");
    }
    *out = *before;
}

static void read_quant(struct scan *s, struct quant *q)
{
    q->count = scan_count(s, 8, "scales");
    if (!q->count || s->bad)
        return;
    q->axis = (int)scan_up_to(s, SHAPE_MAX_RANK - 1, "the axis of the scales");
    bool zeros = scan_up_to(s, 1, "the flag of zero points");
    double *scale = scan_array(s, q->count, sizeof *scale);
    int64_t *zero = zeros ? scan_array(s, q->count, sizeof *zero) : NULL;
    for (int i = 0; i < q->count && !s->bad; i++) {
        scale[i] = scan_real(s);
        if (zeros)
            zero[i] = scan_signed(s);
    }
    q->scale = scale;
    q->zero_point = zero;
}

static void read_io(struct scan *s, struct program_io *io)
{
    struct tile none = {0};
    io->name = scan_text(s, "the name of an input or output");
    io->shape.rank = (int)scan_up_to(s, SHAPE_MAX_RANK, "a rank");
    for (int i = 0; i < io->shape.rank; i++)
        io->shape.dim[i] = scan_size(s, "an extent");
    io->features = scan_up_to(s, 1, "the flag of the axes' order");
    io->dtype = (enum dtype)scan_up_to(s, DT_COUNT - 1, "an element type");
    io->host_dtype = (enum dtype)scan_up_to(s, DT_COUNT - 1, "the element type of the host");
    io->host_divides = scan_up_to(s, 1, "the flag of dividing");
    io->layout = (enum io_layout)scan_up_to(s, IO_RAW, "a layout");
    io->source = (enum io_source)scan_up_to(s, IO_RESIZER, "the source of an input");
    io->address = scan_size(s, "an address");
    io->bytes = scan_size(s, "a size");
    read_quant(s, &io->quant);
    read_tile(s, &io->tile, &none);
}

static void read_ports(struct scan *s, struct program *p)
{
    scan_begin(s, SECTION_PORT);
    p->input_count = scan_count(s, 10, "inputs");
    p->output_count = scan_count(s, 10, "outputs");
    p->inputs = scan_array(s, p->input_count, sizeof *p->inputs);
    p->outputs = scan_array(s, p->output_count, sizeof *p->outputs);
    for (int i = 0; i < p->input_count && !s->bad; i++)
        read_io(s, &p->inputs[i]);
    for (int i = 0; i < p->output_count && !s->bad; i++)
        read_io(s, &p->outputs[i]);
    scan_finish(s);
}

static void read_sources(struct scan *s, struct program *p)
{
    scan_begin(s, SECTION_LAYR);
    p->source_count = scan_count(s, 7, "layers");
    p->sources = scan_array(s, p->source_count, sizeof *p->sources);
    for (int i = 0; i < p->source_count && !s->bad; i++) {
        struct program_source *v = &p->sources[i];
        v->name = scan_text(s, "the name of a layer");
        v->op = scan_text(s, "the operator of a layer");
        v->macs = scan_size(s, "a number of products");
        v->n = scan_int(s, "an extent");
        v->h = scan_int(s, "an extent");
        v->w = scan_int(s, "an extent");
        v->c = scan_int(s, "an extent");
    }
    scan_finish(s);
}

static void read_buffers(struct scan *s, struct program *p)
{
    scan_begin(s, SECTION_BUFF);
    p->buffer_count = scan_count(s, 7, "buffers");
    p->buffers = scan_array(s, p->buffer_count, sizeof *p->buffers);
    for (int i = 0; i < p->buffer_count && !s->bad; i++) {
        struct program_buffer *b = &p->buffers[i];
        b->name = scan_text(s, "the name of a buffer");
        b->core = (uint8_t)scan_up_to(s, MACHINE_MAX_CORES - 1, "the core of a buffer");
        b->kind = (uint8_t)scan_up_to(s, BUFFER_KINDS - 1, "the kind of a buffer");
        b->address = scan_size(s, "an address");
        b->bytes = scan_size(s, "a size");
        b->first = (uint32_t)scan_int(s, "an instruction");
        b->last = (uint32_t)scan_up_to(s, UINT32_MAX - b->first, "an instruction");
    }
    for (int i = 0; i < p->buffer_count && !s->bad; i++)
        p->buffers[i].last += p->buffers[i].first;
    scan_finish(s);
}

/* The opcodes of this build that the file's numbers mean. */
static int read_set(struct scan *s, enum opcode set[OP_COUNT])
{
    bool seen[OP_COUNT] = {false};
    scan_begin(s, SECTION_ISET);
    int count = scan_count(s, 3, "kinds of instructions");
    for (int i = 0; i < count && !s->bad; i++) {
        enum opcode op;
        const char *name = scan_text(s, "the name of an instruction");
        const char *tiles = scan_text(s, "the operands of an instruction");
        const char *args = scan_text(s, "the arguments of an instruction");
        if (s->bad)
            break;
        if (!isa_find(name, &op)) {
            scan_fail(s, "there is no instruction \"%.40s\"", name);
        } else if (seen[op]) {
            scan_fail(s, "instruction %s stands twice in the list", name);
        } else if (strcmp(tiles, isa_row(op)->tiles) != 0 || strcmp(args, isa_row(op)->args) != 0) {
            scan_fail(s, "instruction %s has other operands or arguments than in this version", name);
            error_put_hint(s->err, "Compile the network again with this version of the tool.");
        } else {
            set[i] = op;
            seen[op] = true;
        }
    }
    scan_finish(s);
    return count;
}

struct pools {
    struct tile *tiles;
    int32_t *args;
    struct wait *waits;
    int tile_left, arg_left, wait_left;
};

static bool pool_take(struct scan *s, int *left, int count, const char *what)
{
    if (!s->bad && count > *left)
        scan_fail(s, "more %s than the section says it has", what);
    *left -= s->bad ? 0 : count;
    return !s->bad;
}

static void read_args(struct scan *s, struct instruction *i, int32_t *before)
{
    uint64_t mask = scan_up_to(s, ((uint64_t)1 << i->arg_count) - 1, "the mask of arguments");
    for (int k = 0; k < i->arg_count && !s->bad; k++) {
        if (mask >> k & 1) {
            int64_t v = (int64_t)((uint64_t)(int64_t)before[k] + (uint64_t)scan_signed(s));
            if (v < INT32_MIN || v > INT32_MAX)
                scan_fail(s, "argument %d has more than 32 bits", k);
            before[k] = (int32_t)v;
        }
        i->args[k] = before[k];
    }
}

static void read_waits(struct scan *s, struct instruction *i, struct pools *pools, uint32_t *waited)
{
    i->wait_count = (int)scan_up_to(s, PROGRAM_LANES, "the number of waits");
    i->waits = pools->waits;
    if (!pool_take(s, &pools->wait_left, i->wait_count, "waits"))
        return;
    pools->waits += i->wait_count;
    for (int k = 0; k < i->wait_count && !s->bad; k++) {
        uint8_t lane = (uint8_t)scan_up_to(s, PROGRAM_LANES - 1, "the lane that is waited for");
        uint64_t count = waited[lane] + (uint64_t)scan_signed(s);
        if (count > UINT32_MAX)
            scan_fail(s, "the number of instructions to wait for has more than 32 bits");
        waited[lane] = (uint32_t)count;
        i->waits[k] = (struct wait){lane, (uint32_t)count};
    }
}

static void read_instruction(struct scan *s, struct instruction *i, const enum opcode *set,
                             int set_count, struct pools *pools, struct code_state *state)
{
    uint64_t number = scan_up_to(s, (uint64_t)set_count - 1, "the kind of an instruction");
    uint64_t place = scan_up_to(s, 2 * MACHINE_MAX_CORES - 1, "the core of an instruction");
    if (s->bad)
        return;
    enum opcode op = set[number];
    bool repeats;
    i->op = (uint16_t)op;
    i->core = (uint8_t)(place >> 1);
    i->engine = place & 1 ? ENGINE_HOST : (uint8_t)isa_row(op)->engine;
    uint64_t source = state->source + (uint64_t)scan_signed(s);
    if (source > UINT32_MAX)
        scan_fail(s, "the number of the layer has more than 32 bits");
    i->source = state->source = (uint32_t)source;
    i->tile_count = isa_tile_count(op, &repeats);
    if (repeats)
        i->tile_count = (int)scan_up_to(s, PROGRAM_MAX_TILES, "the number of tiles");
    i->tiles = pools->tiles;
    if (!pool_take(s, &pools->tile_left, i->tile_count, "tiles"))
        return;
    pools->tiles += i->tile_count;
    for (int k = 0; k < i->tile_count && !s->bad; k++)
        read_tile(s, &i->tiles[k], &state->tile[op][k]);
    i->arg_count = isa_arg_count(op);
    i->args = pools->args;
    if (!pool_take(s, &pools->arg_left, i->arg_count, "arguments"))
        return;
    pools->args += i->arg_count;
    read_args(s, i, state->args[op]);
    read_waits(s, i, pools, state->waited);
}

static void read_code(struct scan *s, struct program *p, const enum opcode *set, int set_count)
{
    struct pools pools = {0};
    scan_begin(s, SECTION_CODE);
    p->code_count = scan_count(s, 5, "instructions");
    pools.tile_left = scan_count(s, 1, "tiles");
    pools.arg_left = (int)scan_up_to(s, (uint64_t)p->code_count * PROGRAM_MAX_ARGS < INT32_MAX
                                            ? (uint64_t)p->code_count * PROGRAM_MAX_ARGS
                                            : INT32_MAX,
                                     "the number of arguments");
    pools.wait_left = scan_count(s, 2, "waits");
    p->code = scan_array(s, p->code_count, sizeof *p->code);
    pools.tiles = scan_array(s, pools.tile_left, sizeof *pools.tiles);
    pools.args = scan_array(s, pools.arg_left, sizeof *pools.args);
    pools.waits = scan_array(s, pools.wait_left, sizeof *pools.waits);
    struct code_state *state = scan_array(s, 1, sizeof *state);
    if (!s->bad && p->code_count > 0 && set_count == 0)
        scan_fail(s, "instructions without any kind of instructions");
    for (int i = 0; i < p->code_count && !s->bad; i++) {
        s->instruction = i;
        read_instruction(s, &p->code[i], set, set_count, &pools, state);
    }
    s->instruction = -1;
    if (!s->bad && (pools.tile_left || pools.arg_left || pools.wait_left))
        scan_fail(s, "%d tiles, %d arguments and %d waits more than the instructions have",
                  pools.tile_left, pools.arg_left, pools.wait_left);
    scan_finish(s);
}

struct program *program_read(struct arena *a, const void *data, size_t size, struct bpu_error *err)
{
    enum opcode set[OP_COUNT] = {0};
    struct scan s = {.arena = a, .data = data, .instruction = -1, .err = err};
    if (!head_check(data, size, err) || !head_sections(data, size, err))
        return NULL;
    struct program *p = ARENA_NEW(a, struct program, err);
    if (!p)
        return NULL;
    p->arena = a;
    read_texts(&s);
    read_meta(&s, p);
    read_ports(&s, p);
    read_sources(&s, p);
    read_buffers(&s, p);
    int kinds = read_set(&s, set);
    read_code(&s, p, set, kinds);
    scan_begin(&s, SECTION_CNST);
    p->constants = s.data + s.at;
    p->constant_bytes = (int64_t)(s.end - s.at);
    return !s.bad && program_verify(p, err) ? p : NULL;
}
