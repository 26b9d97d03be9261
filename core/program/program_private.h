/* program_private: the form of the container, shared by its writer and its reader, and the parts of
 * the verifier.  docs/program.md describes the container byte by byte.
 *
 *   head    magic, version, sections with their places and digests, digest of the head
 *   TEXT    all strings            META    name, march, options, memory
 *   PORT    inputs and outputs     LAYR    sources
 *   BUFF    buffers                ISET    the instructions that are used, as isa.def has them
 *   CODE    instructions           CNST    constants, in place
 *
 * Numbers of the sections are LEB128: unsigned, or signed as zigzag, in their shortest form. */
#ifndef BPU_PROGRAM_PRIVATE_H
#define BPU_PROGRAM_PRIVATE_H

#include <stddef.h>

#include "core/program/program.h"

/* ── the head ── */

#define CONTAINER_MAGIC "\x89" "BPU\r\n\x1a\n"
#define CONTAINER_ALIGN 64
#define CONTAINER_DIGEST 32
enum {
    HEAD_MAGIC = 0,
    HEAD_VERSION = 8,
    HEAD_SECTIONS = 12,
    HEAD_BYTES = 16,
    HEAD_RESERVED = 24,
    HEAD_TABLE = 32,
    /* of an entry of the table */
    ENTRY_TAG = 0,
    ENTRY_RESERVED = 4,
    ENTRY_OFFSET = 8,
    ENTRY_BYTES = 16,
    ENTRY_DIGEST = 24,
    ENTRY_SIZE = ENTRY_DIGEST + CONTAINER_DIGEST,
};

#define SECTION_MAP(X) X(TEXT) X(META) X(PORT) X(LAYR) X(BUFF) X(ISET) X(CODE) X(CNST)
enum section {
#define X(tag) SECTION_##tag,
    SECTION_MAP(X)
#undef X
        SECTION_COUNT
};
enum { HEAD_SIZE = HEAD_TABLE + SECTION_COUNT * ENTRY_SIZE + CONTAINER_DIGEST };
const char *section_tag(enum section s);

void container_digest(const unsigned char *data, size_t size, unsigned char out[CONTAINER_DIGEST]);
/* Writes all digests anew, as the writer does at its end; false: no such file. For tests, too. */
bool container_seal(unsigned char *data, size_t size);

static inline uint64_t little_get(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}
static inline void little_put(unsigned char *p, int bytes, uint64_t v)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

/* ── tiles ──
 *
 * A tile is written as what differs from the same operand of the last instruction of its kind: a
 * mask of fields, then their differences.  Fields that often change come first. */

#define TILE_FIELDS(X)                                                                             \
    X(base) X(h0) X(h) X(c0) X(c) X(w0) X(w) X(n0) X(n) X(zero) X(ring) X(frame_rows) X(stride_n)  \
    X(stride_h) X(stride_w) X(stride_c) X(space) X(dtype) X(block_h) X(block_w) X(block_c)
enum tile_field {
#define X(name) FIELD_##name,
    TILE_FIELDS(X)
#undef X
        FIELD_scale, /* the only real one */
    FIELD_COUNT
};
int64_t tile_field(const struct tile *t, enum tile_field f);
/* False: the field cannot hold it. */
bool tile_field_set(struct tile *t, enum tile_field f, int64_t v);

/* What the coder knows of the instructions before. */
struct code_state {
    struct tile tile[OP_COUNT][PROGRAM_MAX_TILES];
    int32_t args[OP_COUNT][PROGRAM_MAX_ARGS];
    uint32_t waited[PROGRAM_LANES];
    uint32_t source;
};

/* ── the verifier ── */

/* True if no two blocks of a tile that tile_spans() takes share a byte. */
bool tile_is_apart(const struct tile *t);

struct verify {
    const struct program *p;
    const struct instruction *i;
    const struct isa *row;
    int index; /* of the instruction */
    struct bpu_error *err;
};
/* False, with BPU_BAD_MODEL at the instruction. */
bool verify_refuse(const struct verify *v, const char *fmt, ...) BPU_PRINTF(2, 3);

/* What the row of an instruction demands of its operands: arguments within their ranges, then what
 * only a function can say. */
struct operand_range {
    int arg, least, most;
};
struct operand_rule {
    const struct operand_range *ranges;
    int range_count;
    bool (*check)(const struct verify *v); /* NULL: nothing more */
};
#define OPERAND_RANGES(list) (list), (int)(sizeof(list) / sizeof(list)[0])
bool verify_operands(const struct verify *v); /* verify_operands.c: rows of isa.def */
/* NULL: nothing is demanded.  verify_real.c: rows of isa_real.def. */
const struct operand_rule *verify_rule_real(enum opcode op);

/* Parts of such functions; tiles by number. */
bool verify_same_extents(const struct verify *v, int a, int b);
/* Tile t has y's extents, or 1 where it is repeated; fine if it is left out. */
bool verify_repeats(const struct verify *v, int y, int t);
/* Elements side by side in one run: its bytes; -1 if they are not. */
int64_t tile_flat_bytes(const struct tile *t);
bool verify_flat(const struct verify *v, int t, int64_t bytes);

#endif
