/* program: what the compiler writes and the machine executes.  The manual is docs/machine.md.
 *
 *   constants ─┐
 *   inputs ────┤ DDR ── LOAD ─▶ SRAM ── CONV, POOL … ─▶ SRAM ── STORE ─▶ DDR ─▶ outputs
 *   workspace ─┘
 *
 * A program is a list of instructions.  Each belongs to one engine of one core; an engine takes its
 * instructions in the order of the list, engines run side by side.  The only synchronization is
 * `wait`: an instruction starts when each engine in its list has finished that many of its own.
 *
 * Operands are tiles: boxes of a map, described by address, extents and strides.  Nothing else is
 * known to the machine: no tensor, no layer.  Names and sources are for people and reports. */
#ifndef BPU_PROGRAM_PROGRAM_H
#define BPU_PROGRAM_PROGRAM_H

#include "core/base/buf.h"
#include "core/ir/graph.h"
#include "core/march/machine.h"

#define PROGRAM_VERSION 1
#define PROGRAM_MAX_TILES 8
#define PROGRAM_MAX_ARGS 48
#define PROGRAM_LANES (ENGINE_COUNT * MACHINE_MAX_CORES)

/* ── tiles ─────────────────────────────────────────────────────────────────────────────────── */

enum space { SPACE_SRAM, SPACE_DDR };

/* A box of n x h x w x c elements.
 *
 * Memory holds a map as rows; row r of frame f is global row f * frame_rows + r.  A buffer in SRAM
 * is a ring of `ring` rows (a multiple of block.h): global row g lies at g mod ring.  ring 0: all
 * rows are there.  Inside, elements stand in blocks of block_h x block_w x block_c, channels first.
 *
 *   address(f, r, w, c) = base
 *       + ((f * frame_rows + r) mod ring) / block_h * stride_h
 *       + w / block_w * stride_w + c / block_c * stride_c
 *       + (((f * frame_rows + r) mod block_h * block_w + w mod block_w) * block_c
 *          + c mod block_c) * element size
 *
 * with f = n0 + i, r = h0 + j, w = w0 + k, c = c0 + l for element (i, j, k, l) of the box.
 * frame_rows is a multiple of block_h.  stride_n, if not 0, replaces frame_rows: frames lie that
 * far apart (tensors in DDR whose frames are not multiples of a row). */
struct tile {
    uint8_t space; /* enum space */
    uint8_t dtype; /* enum dtype; INT32 and INT64 for unfinished sums, FLOAT32 on the host */
    uint8_t block_h, block_w, block_c;
    int64_t base; /* byte address */
    int32_t ring, frame_rows;
    int32_t n0, h0, w0, c0;
    int32_t n, h, w, c;
    int64_t stride_n, stride_h, stride_w, stride_c; /* bytes; of h, w, c: from block to block */
    double scale; /* of the stored integers; 0: none (qbool, sums, indices) */
    int32_t zero;
};

/* Byte address of element (i, j, k, l) of the box; no bounds are checked. */
int64_t tile_address(const struct tile *t, int64_t i, int64_t j, int64_t k, int64_t l);

/* The bytes of memory that a tile's box may touch, as runs of `bytes` from `first`, `count` of
 * them `step` apart; a few such lists cover the box (rings may wrap). False: base or extents are
 * senseless.  Padding inside blocks belongs to the box. */
struct span {
    int64_t first, bytes, step, count;
};
#define TILE_MAX_SPANS 8
/* The smallest contiguous covers of the box, per block row or merged; up to TILE_MAX_SPANS. */
int tile_spans(const struct tile *t, struct span out[TILE_MAX_SPANS]);
/* One contiguous range that holds the whole box (for rings: the whole ring). */
void tile_range(const struct tile *t, int64_t *first, int64_t *end);

/* ── instructions ──────────────────────────────────────────────────────────────────────────── */

enum opcode {
#define ISA(id, name, engine, writes, tiles, args, text) OP_##id,
#include "core/program/isa.def"
#undef ISA
    OP_COUNT
};

/* A row of isa.def. */
struct isa {
    const char *name;
    enum engine engine;       /* that runs it unless it runs on HOST */
    int writes;               /* the first `writes` tiles are written, the others read */
    const char *tiles, *args; /* names in order, separated by spaces; "?" behind an operand that may be
                                 left out (its tile has n 0); "…" repeats the last one */
    const char *text;
};
const struct isa *isa_row(enum opcode op);
int isa_arg_count(enum opcode op);
int isa_tile_count(enum opcode op, bool *repeats);
bool isa_find(const char *name, enum opcode *out);
/* Index of an argument by its name, -1 if there is none; args.h has them as constants. */
int isa_arg(enum opcode op, const char *name);
/* True if tile i may be left out. */
bool isa_tile_optional(enum opcode op, int i);
/* Names without their marks; a repeated tile has the name of the last one. */
#define ISA_NAME_MAX 32
const char *isa_arg_name(enum opcode op, int i, char out[ISA_NAME_MAX]);
const char *isa_tile_name(enum opcode op, int i, char out[ISA_NAME_MAX]);

struct wait {
    uint8_t lane;   /* core * ENGINE_COUNT + engine */
    uint32_t count; /* instructions of that lane that must be finished */
};

struct instruction {
    uint16_t op;     /* enum opcode */
    uint8_t core;
    uint8_t engine;  /* enum engine: that of the row, or HOST */
    uint32_t source; /* index into program.sources */
    int tile_count, arg_count, wait_count;
    struct tile *tiles;
    int32_t *args; /* named by isa.def */
    struct wait *waits;
};

/* ── the program ───────────────────────────────────────────────────────────────────────────── */

/* What an instruction belongs to in the user's model: a node after fusing, or a whole tensor. */
struct program_source {
    const char *name, *op; /* "layer1.0.conv1", "torch.nn.Conv2d" */
    int64_t macs;          /* of the whole layer on unpadded shapes */
    int n, h, w, c;        /* result shape, channels last */
};

/* Order of the bytes of an input or output in DDR. */
enum io_layout { IO_NHWC, IO_NCHW, IO_RAW /* native blocks */ };
enum io_source { IO_DDR, IO_PYRAMID, IO_RESIZER };

/* An input or output of the network. */
struct program_io {
    const char *name;
    struct shape shape; /* as in the graph, PyTorch's order */
    bool features;          /* its axes are (…, h, w, c); else (n, c, …): forms of core/compile/layer.h */
    enum dtype dtype;       /* as stored in DDR */
    enum dtype host_dtype;  /* float32: the host quantizes inputs and dequantizes outputs */
    bool host_divides;      /* inputs: round(x / scale), as ONNX says, instead of x * (1 / scale) */
    struct quant quant;
    enum io_layout layout;
    enum io_source source;
    int64_t address, bytes; /* in DDR */
    struct tile tile;       /* all of it, in DDR */
    bool reversed_rows;     /* reserved: 0 */
};

/* A map and the on-chip memory that it takes, for the picture of the memory plan. */
struct program_buffer {
    const char *name;
    uint8_t core;
    uint8_t kind; /* enum buffer_kind */
    int64_t address, bytes;
    uint32_t first, last; /* instructions between which it is in use */
};
enum buffer_kind { BUFFER_MAP, BUFFER_WEIGHTS, BUFFER_TABLE, BUFFER_SUMS, BUFFER_KINDS };

struct program {
    struct arena *arena;
    const char *name;      /* of the network */
    const char *march;
    const char *options;   /* "O2 cores=1 …": what it was compiled with, canonical */
    const char *tool;      /* "bpuhub 0.1.0" */
    bool uncalibrated;     /* scales are placeholders: the timing holds, the results do not */
    int cores;
    int64_t sram_bytes;    /* that each core needs */
    int64_t ddr_bytes;     /* address space: constants, inputs, outputs, workspace */
    const unsigned char *constants; /* at DDR address 0 */
    int64_t constant_bytes;
    struct program_io *inputs, *outputs;
    int input_count, output_count;
    struct program_source *sources;
    int source_count;
    struct program_buffer *buffers;
    int buffer_count;
    struct instruction *code;
    int code_count;
};

/* ── program_write.c, program_read.c ── */

/* The container: docs/machine.md.  The same program gives the same bytes. */
bool program_write(const struct program *p, struct buf *out, struct bpu_error *err) BPU_CHECKED;
bool program_is(const void *data, size_t size);
/* Everything that a reader may rely on is checked here: checksums, counts, names, operand lists,
 * tiles inside their memory, engines, waits that can be met.  BPU_BAD_MODEL names the byte or the
 * instruction. data must outlive the program. */
struct program *program_read(struct arena *a, const void *data, size_t size,
                             struct bpu_error *err) BPU_CHECKED;
/* The same checks of a program in memory. */
bool program_verify(const struct program *p, struct bpu_error *err) BPU_CHECKED;
/* Text of instructions `from` … `to`-1, or of everything (disasm.c). */
void program_disassemble(const struct program *p, struct buf *out);
void program_disassemble_code(const struct program *p, int from, int to, struct buf *out);
/* Its parts: name, memory, inputs and outputs; how many instructions of which kind. */
void program_disassemble_head(const struct program *p, struct buf *out);
void program_disassemble_summary(const struct program *p, struct buf *out);

/* ── cost.c ── */

/* Cycles that an instruction occupies its engine, without waiting; DDR traffic apart. */
struct cost {
    double cycles;         /* engine busy, start-up included; transfers: at the core's own rate */
    double start_cycles;   /* part of cycles: starting it, of transfers until the first byte */
    double useful_cycles;  /* the same without padding to blocks: what the shape would need */
    int64_t ddr_bytes;     /* LOAD, STORE: bytes on the bus, in whole bursts */
};
struct cost instruction_cost(const struct machine *m, const struct instruction *i);

#endif
