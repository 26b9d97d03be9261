/* The verifier: for each rule a program that keeps it and one that does not, which is refused with the
 * reason and the place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/program_make.h"

enum { QUOTA = 8 << 20 };

/* A program of two loads, the instruction in question, and a store that waits. */
struct bench {
    struct arena arena;
    struct program p;
    struct instruction *i;
    struct tile *t;
    int32_t *args;
};

static void bench_init(struct bench *b, enum opcode op)
{
    arena_init(&b->arena, QUOTA);
    make_program(&b->arena, &b->p, 4);
    make_instruction(&b->arena, OP_LOAD, &b->p.code[0]);
    make_instruction(&b->arena, OP_LOAD, &b->p.code[1]);
    make_instruction(&b->arena, op, &b->p.code[2]);
    make_instruction(&b->arena, OP_STORE, &b->p.code[3]);
    b->i = &b->p.code[2];
    b->t = b->i->tiles;
    b->args = b->i->args;
    b->i->wait_count = 1;
    b->i->waits[0] = (struct wait){ENGINE_LOAD, 2};
}

static void accepted(struct bench *b, const char *what)
{
    struct bpu_error err = {0};
    if (!program_verify(&b->p, &err))
        fail_msg("%s: %s (%s)", what, err.message, err.where);
    arena_fini(&b->arena);
}

static void refused(struct bench *b, const char *what, const char *text)
{
    struct bpu_error err = {0};
    if (program_verify(&b->p, &err))
        fail_msg("accepted: %s", what);
    if (err.code != BPU_BAD_MODEL || !strstr(err.message, text) || !err.where[0])
        fail_msg("%s: \"%s\" (%s), expected \"%s\"", what, err.message, err.where, text);
    arena_fini(&b->arena);
}

#define FINE(op, ...)                                                                        \
    do {                                                                                           \
        struct bench b;                                                                            \
        bench_init(&b, op);                                                                        \
        __VA_ARGS__;                                                                               \
        accepted(&b, #__VA_ARGS__);                                                                  \
    } while (0)
#define WRONG(op, text, ...)                                                                 \
    do {                                                                                           \
        struct bench b;                                                                            \
        bench_init(&b, op);                                                                        \
        __VA_ARGS__;                                                                               \
        refused(&b, #op ": " #__VA_ARGS__, text);                                                    \
    } while (0)

static void every_kind_as_made(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        if (!make_knows((enum opcode)op))
            continue;
        FINE((enum opcode)op, (void)0);
        FINE((enum opcode)op, {
            b.i->engine = ENGINE_HOST;
            for (int k = 0; k < b.i->tile_count; k++)
                b.t[k].space = SPACE_DDR;
        });
    }
}

static void whole_program(void **state)
{
    (void)state;
    FINE(OP_ADD, b.p.name = NULL);
    FINE(OP_ADD, b.p.code_count = b.p.buffer_count = 0);
    WRONG(OP_ADD, "not UTF-8", b.p.name = "\xff");
    WRONG(OP_ADD, "not UTF-8", b.p.tool = "a\xc0\x80");
    WRONG(OP_ADD, "a count is -1", b.p.input_count = -1);
    WRONG(OP_ADD, "0 cores", b.p.cores = 0);
    WRONG(OP_ADD, "3 cores", b.p.cores = 3);
    WRONG(OP_ADD, "memories of", b.p.sram_bytes = -1);
    WRONG(OP_ADD, "memories of", b.p.ddr_bytes = INT64_MAX);
    WRONG(OP_ADD, "bytes of constants", b.p.constant_bytes = b.p.ddr_bytes + 1);
    WRONG(OP_ADD, "bytes of constants", b.p.constant_bytes = -1);
}

static void inputs_and_outputs(void **state)
{
    (void)state;
    double scales[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    double none = 0, infinite = INFINITY;
    int64_t far = (int64_t)1 << 40;
    FINE(OP_ADD, b.p.inputs[0].tile.n = 0);
    FINE(OP_ADD, (b.p.outputs[0].quant.scale = scales, b.p.outputs[0].quant.count = 8,
                  b.p.outputs[0].quant.axis = 1));
    FINE(OP_ADD, (b.p.outputs[0].address = 0, b.p.outputs[0].tile.base = 0));
    WRONG(OP_ADD, "not UTF-8", b.p.inputs[0].name = "\xe0\x80\x80");
    WRONG(OP_ADD, "shape is none", b.p.inputs[0].shape.rank = 13);
    WRONG(OP_ADD, "shape is none", b.p.inputs[0].shape.dim[1] = -1);
    WRONG(OP_ADD, "shape is none", b.p.inputs[0].shape.dim[1] = b.p.inputs[0].shape.dim[2] = far);
    WRONG(OP_ADD, "element type", b.p.inputs[0].dtype = DT_UNKNOWN);
    WRONG(OP_ADD, "element type", b.p.inputs[0].host_dtype = DT_COUNT);
    WRONG(OP_ADD, "layout", b.p.inputs[0].layout = (enum io_layout)3);
    WRONG(OP_ADD, "source", b.p.inputs[0].source = (enum io_source)9);
    WRONG(OP_ADD, "layout", b.p.inputs[0].reversed_rows = true);
    WRONG(OP_ADD, "scales along axis", b.p.inputs[0].quant.count = 7);
    WRONG(OP_ADD, "scales along axis", b.p.inputs[0].quant.axis = -1);
    WRONG(OP_ADD, "scale 0 is", b.p.inputs[0].quant.scale = &none);
    WRONG(OP_ADD, "scale 0 is", b.p.inputs[0].quant.scale = &infinite);
    WRONG(OP_ADD, "zero point 0", b.p.inputs[0].quant.zero_point = &far);
    WRONG(OP_ADD, "not in DDR", b.p.inputs[0].address = MAKE_DDR - 127);
    WRONG(OP_ADD, "not in DDR", b.p.inputs[0].address = INT64_MAX);
    WRONG(OP_ADD, "not in DDR", b.p.inputs[0].bytes = -1);
    WRONG(OP_ADD, "where the constants are",
          (b.p.inputs[0].address = 64, b.p.inputs[0].tile.base = 64));
    WRONG(OP_ADD, "lies outside of it", b.p.inputs[0].tile.base--);
    WRONG(OP_ADD, "lies outside of it", b.p.inputs[0].tile.stride_h++);
    WRONG(OP_ADD, "lies outside of it", b.p.inputs[0].tile.space = SPACE_SRAM);
    WRONG(OP_ADD, "its tile has a negative stride", b.p.inputs[0].tile.stride_w = -1);
    WRONG(OP_ADD, "another type", b.p.inputs[0].tile.dtype = DT_QUINT8);
    WRONG(OP_ADD, "as many elements", b.p.inputs[0].tile.c = 7);
}

static void layers_and_buffers(void **state)
{
    (void)state;
    WRONG(OP_ADD, "not UTF-8", b.p.sources[1].name = "\x80");
    WRONG(OP_ADD, "not UTF-8", b.p.sources[1].op = "\x80");
    WRONG(OP_ADD, "negative", b.p.sources[0].macs = -1);
    WRONG(OP_ADD, "negative", b.p.sources[0].c = -1);
    FINE(OP_ADD, b.p.buffers[0].bytes = MAKE_SRAM);
    WRONG(OP_ADD, "not UTF-8", b.p.buffers[0].name = "\x80");
    WRONG(OP_ADD, "core or the kind", b.p.buffers[0].core = 2);
    WRONG(OP_ADD, "core or the kind", b.p.buffers[0].kind = BUFFER_KINDS);
    WRONG(OP_ADD, "not in on-chip memory", b.p.buffers[0].bytes = MAKE_SRAM + 1);
    WRONG(OP_ADD, "not in on-chip memory", b.p.buffers[0].address = INT64_MAX);
    WRONG(OP_ADD, "in use from", b.p.buffers[0].first = 4);
    WRONG(OP_ADD, "in use from", b.p.buffers[0].last = 4);
}

static void instructions(void **state)
{
    (void)state;
    WRONG(OP_ADD, "no instruction of number", b.i->op = OP_COUNT);
    WRONG(OP_ADD, "core 2 of 2", b.i->core = 2);
    WRONG(OP_ADD, "core 1 of 1", (b.p.cores = 1, b.i->core = 1));
    WRONG(OP_ADD, "does not run it", b.i->engine = ENGINE_CONV);
    WRONG(OP_ADD, "does not run it", b.i->engine = ENGINE_COUNT);
    WRONG(OP_ADD, "layer 2 of 2", b.i->source = 2);
    WRONG(OP_ADD, "2 tiles where there must be 3", b.i->tile_count = 2);
    WRONG(OP_ADD, "4 tiles where there must be 3", b.i->tile_count = 4);
    WRONG(OP_ADD, "4 arguments where there must be 5", b.i->arg_count = 4);
    /* waits */
    FINE(OP_ADD, b.i->wait_count = 0);
    FINE(OP_ADD, b.i->waits[0].count = 1);
    WRONG(OP_ADD, "-1 waits", b.i->wait_count = -1);
    WRONG(OP_ADD, "waits", b.i->wait_count = PROGRAM_LANES + 1);
    WRONG(OP_ADD, "for lane", b.i->waits[0].lane = PROGRAM_LANES);
    WRONG(OP_ADD, "for lane", (b.p.cores = 1, b.i->waits[0].lane = ENGINE_COUNT));
    WRONG(OP_ADD, "waits for 0", b.i->waits[0].count = 0);
    WRONG(OP_ADD, "waits for 3 instructions of the load engine of core 0, of which 2",
          b.i->waits[0].count = 3);
    WRONG(OP_ADD, "waits for 1 instructions of the store engine", b.i->waits[0] = (struct wait){ENGINE_STORE, 1});
    WRONG(OP_ADD, "waits for 1 instructions of the eltwise engine",
          b.i->waits[0] = (struct wait){ENGINE_ELTWISE, 1});
    WRONG(OP_ADD, "waits twice", (b.i->wait_count = 2, b.i->waits[1] = b.i->waits[0]));
}

static void tiles(void **state)
{
    (void)state;
    /* left out */
    FINE(OP_CONV, b.t[3].n = b.t[4].n = 0);
    FINE(OP_BINARY, b.t[2].n = 0);
    WRONG(OP_CONV, "tile 2 (weights) is left out", b.t[2].n = 0);
    WRONG(OP_ADD, "tile 0 (y) is left out", b.t[0].n = 0);
    /* the tile itself */
    WRONG(OP_ADD, "in no memory", b.t[1].space = 2);
    WRONG(OP_ADD, "no element type", b.t[1].dtype = DT_UNKNOWN);
    WRONG(OP_ADD, "no element type", b.t[1].dtype = DT_COUNT);
    WRONG(OP_ADD, "not positive", b.t[1].n = -1);
    WRONG(OP_ADD, "not positive", b.t[1].h = 0);
    WRONG(OP_ADD, "not positive", b.t[1].w = 0);
    WRONG(OP_ADD, "not positive", b.t[1].c = INT32_MIN);
    WRONG(OP_ADD, "begins before", b.t[1].n0 = -1);
    WRONG(OP_ADD, "begins before", b.t[1].h0 = -1);
    WRONG(OP_ADD, "begins before", b.t[1].w0 = -1);
    WRONG(OP_ADD, "begins before", b.t[1].c0 = -1);
    WRONG(OP_ADD, "without elements", b.t[1].block_h = 0);
    WRONG(OP_ADD, "without elements", b.t[1].block_w = 0);
    WRONG(OP_ADD, "without elements", b.t[1].block_c = 0);
    WRONG(OP_ADD, "negative stride", b.t[1].stride_n = -1);
    WRONG(OP_ADD, "negative stride", b.t[1].stride_h = -1);
    WRONG(OP_ADD, "not whole blocks", (b.t[1].block_h = 3));
    WRONG(OP_ADD, "not whole blocks", (b.t[1].block_h = 2, b.t[1].ring = 5));
    WRONG(OP_ADD, "not whole blocks", b.t[1].ring = -4);
    WRONG(OP_ADD, "both a ring and", (b.t[1].ring = 4, b.t[1].stride_n = 128));
    FINE(OP_LOOKUP, b.t[2].frame_rows = 0);
    WRONG(OP_ADD, "frames of no rows", (b.t[1].frame_rows = 0, b.t[1].n0 = 1));
    WRONG(OP_ADD, "more rows than a frame", b.t[1].frame_rows = 3);
    WRONG(OP_ADD, "more rows than a frame", b.t[1].h0 = 1);
    FINE(OP_ADD, (b.t[1].ring = 4, b.t[1].frame_rows = 9, b.t[1].h0 = 5));
    WRONG(OP_ADD, "more rows than its ring", b.t[1].ring = 3);
    WRONG(OP_ADD, "more rows than its ring",
          (b.t[1].ring = 4, b.t[1].frame_rows = 8, b.t[1].block_h = 2, b.t[1].h0 = 3));
    WRONG(OP_ADD, "scale that is none", b.t[1].scale = NAN);
    WRONG(OP_ADD, "scale that is none", b.t[1].scale = -1);
    WRONG(OP_ADD, "beyond 64 bits", b.t[1].stride_h = INT64_MAX);
    WRONG(OP_ADD, "beyond 64 bits", b.t[1].base = INT64_MAX);
    /* its memory */
    FINE(OP_ADD, b.t[1].base = MAKE_SRAM - 128);
    WRONG(OP_ADD, "is not in on-chip memory", b.t[1].base = MAKE_SRAM - 127);
    WRONG(OP_ADD, "beyond 64 bits", b.t[1].base = -1);
    WRONG(OP_ADD, "is not in on-chip memory", b.t[0].stride_h = 1 << 20);
    FINE(OP_LOAD, b.t[1].base = 0);
    FINE(OP_LOAD, b.t[1].base = MAKE_DDR - 128);
    WRONG(OP_LOAD, "is not in DDR", b.t[1].base = MAKE_DDR - 127);
    WRONG(OP_LOAD, "the load engine does not read", b.t[1].space = SPACE_SRAM);
    WRONG(OP_LOAD, "the load engine does not write", b.t[0].space = SPACE_DDR);
    WRONG(OP_STORE, "the store engine does not read", b.t[1].space = SPACE_DDR);
    WRONG(OP_STORE, "the store engine does not write", b.t[0].space = SPACE_SRAM);
    WRONG(OP_ADD, "the eltwise engine does not read", b.t[1].space = SPACE_DDR);
    WRONG(OP_ADD, "the eltwise engine does not write", b.t[0].space = SPACE_DDR);
    WRONG(OP_ADD, "the host engine does not write", b.i->engine = ENGINE_HOST);
    WRONG(OP_QUANTIZE, "the host engine does not read", b.t[1].space = SPACE_SRAM);
    FINE(OP_STORE, b.t[0].base = MAKE_CONSTANTS);
    WRONG(OP_STORE, "written over constants", b.t[0].base = MAKE_CONSTANTS - 1);
    /* written once */
    FINE(OP_ADD, b.t[1].stride_h = 0);
    WRONG(OP_ADD, "lie on each other", b.t[0].stride_h = 0);
    WRONG(OP_ADD, "lie on each other", b.t[0].stride_w = 7);
    FINE(OP_ADD, b.t[0].stride_w = 9, b.t[0].stride_h = 64);
}

static void transfers(void **state)
{
    (void)state;
    WRONG(OP_LOAD, "y is qint8, x quint8", b.t[1].dtype = DT_QUINT8);
    WRONG(OP_LOAD, "y has 1x4x4x8 elements, x 1x3x4x8", b.t[1].h = 3);
    WRONG(OP_STORE, "elements", b.t[0].c = 7);
    WRONG(OP_LOAD_NV12, "one byte", b.t[1] = make_tile(SPACE_DDR, 8192, DT_QINT16, 1, 5, 4, 1));
    WRONG(OP_LOAD_NV12, "channels", b.t[2].c = 1);
    WRONG(OP_LOAD_NV12, "luma", b.t[1].h = 4);
    WRONG(OP_LOAD_NV12, "chroma has 2x2", b.t[2].h = 2);
}

static void sums_of_products(void **state)
{
    (void)state;
    static const enum opcode convs[] = {OP_CONV, OP_DWCONV, OP_DECONV};
    for (size_t k = 0; k < 3; k++) {
        enum opcode op = convs[k];
        WRONG(op, "kernel_h is 0", b.args[CONV_KERNEL_H] = 0);
        WRONG(op, "stride_w is -1", b.args[CONV_STRIDE_W] = -1);
        WRONG(op, "dilation_h is 0", b.args[CONV_DILATION_H] = 0);
        WRONG(op, "pad_top is", b.args[CONV_PAD_TOP] = INT32_MIN);
        WRONG(op, "unit_channels is 0", b.args[CONV_UNIT_CHANNELS] = 0);
        WRONG(op, "out_block is 0", b.args[CONV_OUT_BLOCK] = 0);
        WRONG(op, "in_block is -1", b.args[CONV_IN_BLOCK] = -1);
        WRONG(op, "rule is 2", b.args[CONV_RULE] = 2);
        WRONG(op, "unfinished is 2", b.args[CONV_UNFINISHED] = 2);
        WRONG(op, "low is 3, high 2", (b.args[CONV_LOW] = 3, b.args[CONV_HIGH] = 2));
        WRONG(op, "unit of weights has", b.args[CONV_UNIT_BYTES]--);
        WRONG(op, "unit of weights has", b.args[CONV_KERNEL_W] = 4);
        WRONG(op, "weights has", b.args[CONV_UNIT_BYTES]++);
        WRONG(op, "weights has", b.t[2].c--);
        WRONG(op, "not one run", (b.t[2].c = b.t[2].c / 2, b.t[2].w = 2));
        WRONG(op, "frames", (b.t[1].n = 2));
        WRONG(op, "residual 1x4x4x7", b.t[3].c = 7);
        WRONG(op, "sums 1x4x4x7", b.t[4].c = 7);
        WRONG(op, "sums of 1 bytes", b.t[4].dtype = DT_QINT8);
        WRONG(op, "unfinished sums in", b.args[CONV_UNFINISHED] = 1);
        WRONG(op, "x is float32", (b.t[1] = make_tile(SPACE_SRAM, 8192, DT_FLOAT32, 1, 6, 6, b.t[1].c)));
        WRONG(op, "x has elements of 4", (b.t[1] = make_tile(SPACE_SRAM, 8192, DT_QINT32, 1, 6, 6, b.t[1].c)));
        FINE(op, (b.args[CONV_UNFINISHED] = 1,
                  b.t[0] = make_tile(SPACE_SRAM, 8192, DT_INT32, 1, 4, 4, 8)));
        FINE(op, b.args[CONV_PAD_TOP] = -2);
    }
    WRONG(OP_CONV, "the window reaches",
          (b.args[CONV_STRIDE_H] = b.args[CONV_DILATION_H] = 1 << 20,
           b.t[0] = make_tile(SPACE_SRAM, 0, DT_QINT8, 1, 4096, 1, 8), b.t[3].n = b.t[4].n = 0));
    WRONG(OP_CONV, "unit_inputs is 0", b.args[CONV_UNIT_INPUTS] = 0);
    WRONG(OP_CONV, "for 5 channels", (b.args[CONV_UNIT_INPUTS] = 5, b.args[CONV_UNIT_BYTES] = 500));
    WRONG(OP_CONV, "for 8 channels", b.args[CONV_SPLIT_INPUTS] = 1);
    FINE(OP_CONV, (b.args[CONV_SPLIT_INPUTS] = 1, b.args[CONV_UNIT_INPUTS] = 2));
    WRONG(OP_DWCONV, "channels", b.t[1].c = 7);
    FINE(OP_MATMUL, (b.args[MATMUL_TRANSPOSED] = 1,
                     b.t[2] = make_tile(SPACE_SRAM, 0, DT_QINT8, 1, 1, 8, 6)));
    WRONG(OP_MATMUL, "no matrix product", b.args[MATMUL_TRANSPOSED] = 1);
    WRONG(OP_MATMUL, "no matrix product", b.t[1].c = 5);
    WRONG(OP_MATMUL, "no matrix product", b.t[1].w = 3);
    WRONG(OP_MATMUL, "matrices", b.t[1] = make_tile(SPACE_SRAM, 0, DT_QINT8, 1, 3, 4, 6));
    WRONG(OP_MATMUL, "matrices", b.t[2] = make_tile(SPACE_SRAM, 0, DT_QINT8, 2, 1, 6, 8));
    WRONG(OP_MATMUL, "shift is 63", b.args[MATMUL_SHIFT] = 63);
    WRONG(OP_MATMUL, "mantissa is -1", b.args[MATMUL_MANTISSA] = -1);
    WRONG(OP_MATMUL, "transposed is 2", b.args[MATMUL_TRANSPOSED] = 2);
    WRONG(OP_MATMUL, "low is 0, high -1", (b.args[MATMUL_LOW] = 0, b.args[MATMUL_HIGH] = -1));
}

static void windows(void **state)
{
    (void)state;
    WRONG(OP_POOL_MAX, "kernel_w is 0", b.args[POOL_MAX_KERNEL_W] = 0);
    WRONG(OP_POOL_MAX, "stride_h is 0", b.args[POOL_MAX_STRIDE_H] = 0);
    WRONG(OP_POOL_MAX, "dilation_h is 0", b.args[POOL_MAX_DILATION_H] = 0);
    WRONG(OP_POOL_MAX, "pad_left is", b.args[POOL_MAX_PAD_LEFT] = 1 << 21);
    WRONG(OP_POOL_MAX, "channels", b.t[1].c = 7);
    WRONG(OP_POOL_AVG, "divisor is -1", b.args[POOL_AVG_DIVISOR] = -1);
    WRONG(OP_POOL_AVG, "include_pad is 2", b.args[POOL_AVG_INCLUDE_PAD] = 2);
    WRONG(OP_POOL_AVG, "a window along h is empty", b.args[POOL_AVG_PAD_TOP] = 2);
    WRONG(OP_POOL_AVG, "a window along w is empty", b.args[POOL_AVG_PAD_LEFT] = -2);
    FINE(OP_POOL_AVG, (b.args[POOL_AVG_PAD_LEFT] = -2, b.args[POOL_AVG_DIVISOR] = 4));
    FINE(OP_POOL_AVG, (b.args[POOL_AVG_PAD_TOP] = 2, b.args[POOL_AVG_INCLUDE_PAD] = 1));
    WRONG(OP_POOL_AVG, "channels", b.t[1].n = 2);
    WRONG(OP_POOL_ADAPTIVE, "out_h is 0", b.args[POOL_ADAPTIVE_OUT_H] = 0);
    WRONG(OP_POOL_ADAPTIVE, "in_w is 0", b.args[POOL_ADAPTIVE_IN_W] = 0);
    WRONG(OP_POOL_ADAPTIVE, "results 0 to 4 along h of 3", b.args[POOL_ADAPTIVE_OUT_H] = 3);
    WRONG(OP_POOL_ADAPTIVE, "needs elements 0 to 8 along w", b.args[POOL_ADAPTIVE_IN_W] = 8);
    WRONG(OP_POOL_ADAPTIVE, "needs elements 0 to 7 along h", b.args[POOL_ADAPTIVE_FIRST_IN_H] = 1);
    WRONG(OP_POOL_ADAPTIVE, "results 1 to 5", b.args[POOL_ADAPTIVE_FIRST_OUT_W] = 1);
    WRONG(OP_POOL_ADAPTIVE, "largest is 2", b.args[POOL_ADAPTIVE_LARGEST] = 2);
    WRONG(OP_POOL_ADAPTIVE, "channels", b.t[0].c = 7);
}

static void elementwise(void **state)
{
    (void)state;
    FINE(OP_ADD, b.t[1].h = b.t[1].c = 1);
    WRONG(OP_ADD, "a has 1x2x4x8 elements, which cannot be repeated to 1x4x4x8", b.t[1].h = 2);
    WRONG(OP_ADD, "shift is 63", b.args[ADD_SHIFT] = 63);
    WRONG(OP_ADD, "low is", b.args[ADD_HIGH] = -129);
    WRONG(OP_ADD, "b is float32", b.t[2].dtype = DT_FLOAT32);
    WRONG(OP_MUL, "rule is -1", b.args[MUL_RULE] = -1);
    WRONG(OP_MUL, "mantissa is", b.args[MUL_MANTISSA] = -5);
    WRONG(OP_MUL, "cannot be repeated", b.t[2].w = 3);
    WRONG(OP_BINARY, "code is", b.args[BINARY_CODE] = B_NONE);
    WRONG(OP_BINARY, "both operands are left out", b.t[1].n = b.t[2].n = 0);
    WRONG(OP_BINARY, "cannot be repeated", b.t[1].c = 2);
    FINE(OP_CLAMP, (b.args[CLAMP_LOW] = 5, b.args[CLAMP_HIGH] = 4)); /* the upper bound wins */
    WRONG(OP_CLAMP, "cannot be repeated", b.t[1].c = 2);
    WRONG(OP_SELECT, "mask has", b.t[1].w = 2);
    FINE(OP_SELECT, b.t[2].n = 0);
    WRONG(OP_PRELU, "slope has", b.t[2].c = 3);
    WRONG(OP_LOOKUP, "table has 255 bytes instead of 256", b.t[2].c = 255);
    WRONG(OP_LOOKUP, "table has 256 bytes instead of 65536",
          b.t[1] = make_tile(SPACE_SRAM, 0, DT_QINT16, 1, 4, 4, 8));
    WRONG(OP_LOOKUP, "a table for elements of 4", b.t[1] = make_tile(SPACE_SRAM, 0, DT_QINT32, 1, 4, 4, 8));
    WRONG(OP_SOFTMAX, "axis is 4", b.args[SOFTMAX_AXIS] = 4);
    WRONG(OP_SOFTMAX, "elements", b.t[1].w = 3);
}

static void moving(void **state)
{
    (void)state;
    int32_t most = INT32_MAX;
    WRONG(OP_COPY, "rule is 3", b.args[COPY_RULE] = 3);
    WRONG(OP_COPY, "loops is 9", b.args[COPY_LOOPS] = 9);
    WRONG(OP_COPY, "loop 1 has 0 steps", b.args[COPY_LOOP(1) + COPY_EXTENT] = 0);
    WRONG(OP_COPY, "moves along axis 4", b.args[COPY_LOOP(0) + COPY_Y_AXIS] = 4);
    WRONG(OP_COPY, "moves along axis -1", b.args[COPY_LOOP(0) + COPY_X_AXIS] = -1);
    WRONG(OP_COPY, "reach element 6 of 4 along axis 1 of y", b.args[COPY_LOOP(0) + COPY_Y_STEP] = 2);
    WRONG(OP_COPY, "along axis 1 of x", b.args[COPY_LOOP(1) + COPY_X_STEP] = -2);
    WRONG(OP_COPY, "elements are moved, y has fewer",
          (b.args[COPY_LOOP(2) + COPY_EXTENT] = 9, b.args[COPY_LOOP(2) + COPY_Y_STEP] = 0));
    WRONG(OP_COPY, "loop 2 has", {
        for (int k = 0; k < 3; k++)
            b.args[COPY_LOOP(k) + COPY_EXTENT] = most;
    });
    WRONG(OP_COPY, "between elements of 2 and 1",
          (b.t[1] = make_tile(SPACE_SRAM, 0, DT_QINT16, 1, 4, 4, 8)));
    FINE(OP_COPY, (b.args[COPY_RULE] = 1, b.t[1] = make_tile(SPACE_SRAM, 0, DT_QINT16, 1, 4, 4, 8)));
    FINE(OP_COPY, b.args[COPY_LOOPS] = 0);
    WRONG(OP_QUANTIZE, "x is qint8, not real", b.t[1].dtype = DT_QINT8);
    WRONG(OP_QUANTIZE, "divides is 2", b.args[QUANTIZE_DIVIDES] = 2);
    WRONG(OP_QUANTIZE, "y is float32", b.t[0] = make_tile(SPACE_DDR, 8192, DT_FLOAT32, 1, 4, 4, 8));
    WRONG(OP_DEQUANTIZE, "y is qint8, not real", b.t[0].dtype = DT_QINT8);
    WRONG(OP_DEQUANTIZE, "x is float32", b.t[1] = make_tile(SPACE_DDR, 8192, DT_FLOAT32, 1, 4, 4, 8));
    WRONG(OP_DEQUANTIZE, "cannot be repeated", b.t[1].w = 3);
}

/* Whatever the numbers of an instruction are, the verifier comes to an end without overflow, which the
 * sanitizers would see, and what it accepts has its tiles in memory. */
static void any_numbers(void **state)
{
    (void)state;
    struct random_source r = {9};
    int fine = 0;
    for (int k = 0; k < 6000; k++) {
        struct bench b;
        struct bpu_error err = {0};
        int op = random_below(&r, OP_SOFTMAX + 1);
        bench_init(&b, (enum opcode)op);
        for (int m = random_below(&r, 3); m >= 0; m--) {
            struct tile *t = &b.t[random_below(&r, b.i->tile_count)];
            int64_t v = (int64_t)((uint64_t)random_next(&r) >> random_below(&r, 31));
            v = random_below(&r, 3) ? v : random_below(&r, 2) ? -v : v << random_below(&r, 33);
            if (b.i->arg_count && random_below(&r, 2))
                b.args[random_below(&r, b.i->arg_count)] = (int32_t)v;
            else
                (void)tile_field_set(t, (enum tile_field)random_below(&r, FIELD_COUNT), v);
        }
        if (program_verify(&b.p, &err)) {
            fine++;
            for (int t = 0; t < b.i->tile_count; t++) {
                int64_t first, end;
                if (!b.t[t].n)
                    continue;
                tile_range(&b.t[t], &first, &end);
                assert_true(first >= 0 && first < end);
                assert_true(end <= (b.t[t].space == SPACE_SRAM ? MAKE_SRAM : MAKE_DDR));
            }
        } else {
            assert_true(err.code == BPU_BAD_MODEL && err.where[0]);
        }
        arena_fini(&b.arena);
    }
    assert_true(fine > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_as_made), cmocka_unit_test(whole_program),
        cmocka_unit_test(inputs_and_outputs), cmocka_unit_test(layers_and_buffers),
        cmocka_unit_test(instructions),       cmocka_unit_test(tiles),
        cmocka_unit_test(transfers),          cmocka_unit_test(sums_of_products),
        cmocka_unit_test(windows),            cmocka_unit_test(elementwise),
        cmocka_unit_test(moving),             cmocka_unit_test(any_numbers),
    };
    return cmocka_run_group_tests_name("program_verify", tests, NULL, NULL);
}
