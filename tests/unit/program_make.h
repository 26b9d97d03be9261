/* program_make: programs for tests.  make_instruction() gives one instruction of each kind of isa.def
 * with operands that fit; make_random() a program of many of them that differ in everything. */
#ifndef BPU_TESTS_PROGRAM_MAKE_H
#define BPU_TESTS_PROGRAM_MAKE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/binary.h"
#include "core/program/args_real.h"
#include "core/program/program_private.h"

enum {
    MAKE_SRAM = 64 << 10,
    MAKE_DDR = 256 << 10,
    MAKE_CONSTANTS = 4096,
    MAKE_AREA = 8192, /* bytes between the tiles of an instruction */
    MAKE_INPUT = 200 << 10,
};

struct random_source {
    uint64_t state;
};

static inline uint32_t random_next(struct random_source *r)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 33);
}

static inline int random_below(struct random_source *r, int n)
{
    return (int)(random_next(r) % (uint32_t)n);
}

/* Elements side by side, channels first. */
static inline struct tile make_tile(enum space space, int64_t base, enum dtype dtype, int n, int h,
                                    int w, int c)
{
    int64_t size = (int64_t)dtype_size(dtype);
    return (struct tile){.space = (uint8_t)space,
                         .dtype = (uint8_t)dtype,
                         .block_h = 1,
                         .block_w = 1,
                         .block_c = 1,
                         .base = base,
                         .frame_rows = h,
                         .n = n,
                         .h = h,
                         .w = w,
                         .c = c,
                         .stride_h = size * w * c,
                         .stride_w = size * c,
                         .stride_c = size,
                         .scale = 0.25};
}

static inline void *make_alloc(struct arena *a, size_t count, size_t size)
{
    struct bpu_error err = {0};
    void *p = arena_alloc_array(a, count, size, &err);
    if (!p)
        abort();
    return p;
}

static inline void make_window(int32_t *args, int kernel, int stride)
{
    args[CONV_KERNEL_H] = args[CONV_KERNEL_W] = kernel;
    args[CONV_STRIDE_H] = args[CONV_STRIDE_W] = stride;
}

static inline void make_conv_args(int32_t *args, int channels, int bytes, int inputs, int out_block,
                                  int in_block)
{
    make_window(args, 3, 1);
    args[CONV_DILATION_H] = args[CONV_DILATION_W] = 1;
    args[CONV_UNIT_CHANNELS] = channels;
    args[CONV_UNIT_BYTES] = bytes;
    args[CONV_UNIT_INPUTS] = inputs;
    args[CONV_OUT_BLOCK] = out_block;
    args[CONV_IN_BLOCK] = in_block;
    args[CONV_LOW] = -128;
    args[CONV_HIGH] = 127;
}

/* The kinds that make_instruction() knows. */
static inline bool make_knows(enum opcode op) { return op <= OP_SOFTMAX; }

static inline void make_instruction(struct arena *a, enum opcode op, struct instruction *i)
{
    const struct isa *row = isa_row(op);
    int tiles = isa_tile_count(op, NULL), args = isa_arg_count(op);
    *i = (struct instruction){.op = (uint16_t)op,
                              .engine = (uint8_t)row->engine,
                              .tile_count = tiles,
                              .arg_count = args,
                              .tiles = make_alloc(a, PROGRAM_MAX_TILES, sizeof(struct tile)),
                              .args = make_alloc(a, PROGRAM_MAX_ARGS, sizeof(int32_t)),
                              .waits = make_alloc(a, PROGRAM_LANES, sizeof(struct wait))};
    for (int t = 0; t < tiles; t++) {
        bool ddr = row->engine == ENGINE_HOST || (row->engine == ENGINE_LOAD && t >= row->writes) ||
                   (row->engine == ENGINE_STORE && t < row->writes);
        i->tiles[t] = make_tile(ddr ? SPACE_DDR : SPACE_SRAM, (t + 1) * (int64_t)MAKE_AREA,
                                DT_QINT8, 1, 4, 4, 8);
    }
    struct tile *t = i->tiles;
#define RESHAPE(k, type, n_, h_, w_, c_)                                                           \
    (t[k] = make_tile((enum space)t[k].space, t[k].base, type, n_, h_, w_, c_))
    switch (op) {
    case OP_LOAD_NV12:
        RESHAPE(0, DT_QINT8, 1, 5, 4, 3);
        RESHAPE(1, DT_QUINT8, 1, 5, 4, 1);
        RESHAPE(2, DT_QUINT8, 1, 3, 2, 2);
        i->args[LOAD_NV12_CENTRE] = 128;
        break;
    case OP_CONV:
    case OP_DECONV:
        RESHAPE(1, DT_QINT8, 1, 6, 6, 4);
        RESHAPE(2, DT_INT8, 1, 1, 1, 448);
        RESHAPE(4, DT_INT32, 1, 4, 4, 8);
        make_conv_args(i->args, 4, 224, 4, 4, 4);
        break;
    case OP_DWCONV:
        RESHAPE(1, DT_QINT8, 1, 6, 6, 8);
        RESHAPE(2, DT_INT8, 1, 1, 1, 232);
        RESHAPE(4, DT_INT32, 1, 4, 4, 8);
        make_conv_args(i->args, 8, 232, 0, 8, 1);
        break;
    case OP_MATMUL:
        RESHAPE(0, DT_QINT8, 1, 2, 4, 8);
        RESHAPE(1, DT_QINT8, 1, 2, 4, 6);
        RESHAPE(2, DT_QINT8, 1, 1, 6, 8);
        i->args[MATMUL_MANTISSA] = 5;
        i->args[MATMUL_SHIFT] = 10;
        i->args[MATMUL_LOW] = -128;
        i->args[MATMUL_HIGH] = 127;
        break;
    case OP_POOL_MAX:
        RESHAPE(1, DT_QINT8, 1, 8, 8, 8);
        make_window(i->args, 2, 2);
        i->args[POOL_MAX_DILATION_H] = i->args[POOL_MAX_DILATION_W] = 1;
        break;
    case OP_POOL_AVG:
        RESHAPE(1, DT_QINT8, 1, 8, 8, 8);
        make_window(i->args, 2, 2);
        break;
    case OP_POOL_ADAPTIVE:
        RESHAPE(1, DT_QINT8, 1, 7, 7, 8);
        i->args[POOL_ADAPTIVE_IN_H] = i->args[POOL_ADAPTIVE_IN_W] = 7;
        i->args[POOL_ADAPTIVE_OUT_H] = i->args[POOL_ADAPTIVE_OUT_W] = 4;
        break;
    case OP_ADD:
        RESHAPE(2, DT_QINT8, 1, 1, 1, 8);
        i->args[ADD_MANTISSA_A] = i->args[ADD_MANTISSA_B] = 1 << 20;
        i->args[ADD_SHIFT] = 21;
        i->args[ADD_LOW] = -128;
        i->args[ADD_HIGH] = 127;
        break;
    case OP_MUL:
        i->args[MUL_MANTISSA] = 7;
        i->args[MUL_SHIFT] = 9;
        i->args[MUL_HIGH] = 127;
        break;
    case OP_BINARY:
        i->args[BINARY_CODE] = B_ATAN2;
        args_set_real(i->args + BINARY_SCALAR_LO, 0.1);
        i->args[BINARY_HIGH] = 127;
        break;
    case OP_SELECT:
        RESHAPE(1, DT_QBOOL, 1, 4, 4, 1);
        t[3].n = 0;
        args_set_real(i->args + SELECT_B_LO, -1.5);
        break;
    case OP_LOOKUP: RESHAPE(2, DT_QINT8, 1, 1, 1, 256); break;
    case OP_COPY: {
        const int32_t loops[] = {0, 3, 4, 1, 1, 2, 1, 4, 2, 1, 1, -1, 8, 3, 1, 3, 1};
        memcpy(i->args, loops, sizeof loops);
        break;
    }
    case OP_QUANTIZE: RESHAPE(1, DT_FLOAT32, 1, 4, 4, 8); break;
    case OP_DEQUANTIZE: RESHAPE(0, DT_FLOAT32, 1, 4, 4, 8); break;
    case OP_SOFTMAX: i->args[SOFTMAX_AXIS] = 3; break;
    default: break;
    }
#undef RESHAPE
}

static inline void make_io(struct arena *a, const char *name, int64_t address,
                           struct program_io *io)
{
    double *scale = make_alloc(a, 1, sizeof *scale);
    *scale = 0.25;
    *io = (struct program_io){.name = name,
                              .shape = shape_of(4, (const int64_t[]){1, 8, 4, 4}),
                              .dtype = DT_QINT8,
                              .host_dtype = DT_FLOAT32,
                              .quant = {.scale = scale, .count = 1},
                              .address = address,
                              .bytes = 128,
                              .tile = make_tile(SPACE_DDR, address, DT_QINT8, 1, 4, 4, 8)};
}

/* Everything but instructions, which are left to the caller. */
static inline void make_program(struct arena *a, struct program *p, int code)
{
    unsigned char *constants = make_alloc(a, MAKE_CONSTANTS, 1);
    for (int i = 0; i < MAKE_CONSTANTS; i++)
        constants[i] = (unsigned char)(i * 7 + i / 256);
    *p = (struct program){.arena = a,
                          .name = "net",
                          .march = "bayes",
                          .options = "O2 cores=1",
                          .tool = "bpuhub 0.1.0",
                          .cores = 2,
                          .sram_bytes = MAKE_SRAM,
                          .ddr_bytes = MAKE_DDR,
                          .constants = constants,
                          .constant_bytes = MAKE_CONSTANTS,
                          .inputs = make_alloc(a, 1, sizeof *p->inputs),
                          .outputs = make_alloc(a, 1, sizeof *p->outputs),
                          .input_count = 1,
                          .output_count = 1,
                          .sources = make_alloc(a, 2, sizeof *p->sources),
                          .source_count = 2,
                          .buffers = make_alloc(a, 1, sizeof *p->buffers),
                          .buffer_count = 1,
                          .code = make_alloc(a, (size_t)code + 1, sizeof *p->code),
                          .code_count = code};
    make_io(a, "image", MAKE_INPUT, &p->inputs[0]);
    make_io(a, "logits", MAKE_INPUT + 4096, &p->outputs[0]);
    p->sources[0] = (struct program_source){"conv1", "torch.nn.Conv2d", 4608, 1, 4, 4, 8};
    p->sources[1] = (struct program_source){"größe", "torch.add", 0, 1, 4, 4, 8};
    p->buffers[0] = (struct program_buffer){"conv1", 0, BUFFER_WEIGHTS, 0, 448, 0,
                                            code ? (uint32_t)code - 1 : 0};
    p->buffer_count = code ? 1 : 0;
}

/* A box of a map in blocks, maybe in a ring, that lies inside the first area of the memory. */
static inline void make_box(struct random_source *r, struct tile *t)
{
    t->block_h = (uint8_t)(1 + random_below(r, 3));
    t->block_w = (uint8_t)(1 + random_below(r, 3));
    t->block_c = (uint8_t)(1 + random_below(r, 5));
    int rows = 1 + random_below(r, 5), columns = 1 + random_below(r, 4), depth = 1 + random_below(r, 4);
    t->frame_rows = rows * t->block_h;
    t->stride_c = (int64_t)t->block_h * t->block_w * t->block_c *
                  (int64_t)dtype_size((enum dtype)t->dtype);
    t->stride_w = t->stride_c * depth;
    t->stride_h = t->stride_w * columns;
    if (random_below(r, 4) == 0) { /* planes of channels */
        t->stride_w = t->stride_c;
        t->stride_h = t->stride_w * columns;
        t->stride_c = t->stride_h * rows;
        if (random_below(r, 2))
            t->stride_n = t->stride_c * depth;
    }
    int frames = t->stride_n || t->stride_c < t->stride_h ? 1 + random_below(r, 3) : 1;
    t->h0 = random_below(r, t->frame_rows);
    t->h = 1 + random_below(r, t->frame_rows - t->h0);
    t->w0 = random_below(r, columns * t->block_w);
    t->w = 1 + random_below(r, columns * t->block_w - t->w0);
    t->c0 = random_below(r, depth * t->block_c);
    t->c = 1 + random_below(r, depth * t->block_c - t->c0);
    t->n0 = random_below(r, frames);
    t->n = 1 + random_below(r, frames - t->n0);
    if (t->stride_n == 0 && t->stride_c < t->stride_h && random_below(r, 2)) {
        int needs = (t->n - 1) * t->frame_rows + t->h0 % t->block_h + t->h;
        t->ring = ((needs + t->block_h - 1) / t->block_h + random_below(r, 3)) * t->block_h;
        t->n0 = random_below(r, 5);
    }
}

static inline void make_random(struct arena *a, struct random_source *r, struct program *p,
                               int count)
{
    uint32_t done[PROGRAM_LANES] = {0};
    make_program(a, p, count);
    p->uncalibrated = random_below(r, 2);
    p->inputs[0].features = random_below(r, 2);
    p->inputs[0].host_divides = random_below(r, 2);
    for (int k = 0; k < count; k++) {
        struct instruction *i = &p->code[k];
        enum opcode op;
        do
            op = (enum opcode)random_below(r, OP_COUNT);
        while (!make_knows(op));
        make_instruction(a, op, i);
        i->core = (uint8_t)random_below(r, 2);
        i->source = (uint32_t)random_below(r, 2);
        if (op == OP_LOAD || op == OP_STORE) {
            struct tile box = i->tiles[0];
            make_box(r, &box);
            for (int t = 0; t < 2; t++) {
                uint8_t space = i->tiles[t].space;
                int64_t base = i->tiles[t].base;
                i->tiles[t] = box;
                i->tiles[t].space = space;
                i->tiles[t].base = base;
            }
        }
        for (int t = 0; t < i->tile_count; t++) {
            i->tiles[t].base += random_below(r, 64) * 16;
            i->tiles[t].zero = random_below(r, 3) - 1;
            if (random_below(r, 4) == 0)
                i->tiles[t].scale = 1.0 / (1 + random_below(r, 1000));
        }
        if (random_below(r, 8) == 0) {
            i->engine = ENGINE_HOST;
            for (int t = 0; t < i->tile_count; t++)
                i->tiles[t].space = SPACE_DDR;
        }
        for (int lane = 0; lane < PROGRAM_LANES; lane++)
            if (done[lane] && random_below(r, 6) == 0)
                i->waits[i->wait_count++] =
                    (struct wait){(uint8_t)lane, 1 + (uint32_t)random_below(r, (int)done[lane])};
        done[i->core * ENGINE_COUNT + i->engine]++;
    }
}

#endif
