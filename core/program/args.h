/* args: positions of the arguments of each instruction, as isa.def names them.
 *
 *   CONV_KERNEL_H is the index of "kernel_h" in args of OP_CONV; X_ARGS_COUNT is how many there are.
 *
 * tests/unit/test_program_isa.c holds each of them against the names in isa.def. */
#ifndef BPU_PROGRAM_ARGS_H
#define BPU_PROGRAM_ARGS_H

#include <stdint.h>
#include <string.h>

enum load_nv12_arg { LOAD_NV12_CENTRE, LOAD_NV12_ARGS_COUNT };

/* OP_CONV, OP_DWCONV, OP_DECONV */
enum conv_arg {
    CONV_KERNEL_H,
    CONV_KERNEL_W,
    CONV_STRIDE_H,
    CONV_STRIDE_W,
    CONV_DILATION_H,
    CONV_DILATION_W,
    CONV_PAD_TOP,
    CONV_PAD_LEFT,
    CONV_UNIT_CHANNELS,
    CONV_UNIT_BYTES,
    CONV_UNIT_INPUTS,
    CONV_SPLIT_INPUTS,
    CONV_OUT_BLOCK,
    CONV_IN_BLOCK,
    CONV_RULE,
    CONV_LOW,
    CONV_HIGH,
    CONV_UNFINISHED,
    CONV_ARGS_COUNT
};

enum matmul_arg {
    MATMUL_TRANSPOSED,
    MATMUL_MANTISSA,
    MATMUL_SHIFT,
    MATMUL_RULE,
    MATMUL_LOW,
    MATMUL_HIGH,
    MATMUL_ARGS_COUNT
};

enum pool_max_arg {
    POOL_MAX_KERNEL_H,
    POOL_MAX_KERNEL_W,
    POOL_MAX_STRIDE_H,
    POOL_MAX_STRIDE_W,
    POOL_MAX_DILATION_H,
    POOL_MAX_DILATION_W,
    POOL_MAX_PAD_TOP,
    POOL_MAX_PAD_LEFT,
    POOL_MAX_ARGS_COUNT
};

enum pool_avg_arg {
    POOL_AVG_KERNEL_H,
    POOL_AVG_KERNEL_W,
    POOL_AVG_STRIDE_H,
    POOL_AVG_STRIDE_W,
    POOL_AVG_PAD_TOP,
    POOL_AVG_PAD_LEFT,
    POOL_AVG_PAD_BOTTOM,
    POOL_AVG_PAD_RIGHT,
    POOL_AVG_INCLUDE_PAD,
    POOL_AVG_DIVISOR,
    POOL_AVG_ARGS_COUNT
};

enum pool_adaptive_arg {
    POOL_ADAPTIVE_IN_H,
    POOL_ADAPTIVE_IN_W,
    POOL_ADAPTIVE_OUT_H,
    POOL_ADAPTIVE_OUT_W,
    POOL_ADAPTIVE_FIRST_IN_H,
    POOL_ADAPTIVE_FIRST_IN_W,
    POOL_ADAPTIVE_FIRST_OUT_H,
    POOL_ADAPTIVE_FIRST_OUT_W,
    POOL_ADAPTIVE_LARGEST,
    POOL_ADAPTIVE_ARGS_COUNT
};

enum add_arg { ADD_MANTISSA_A, ADD_MANTISSA_B, ADD_SHIFT, ADD_LOW, ADD_HIGH, ADD_ARGS_COUNT };

enum mul_arg { MUL_MANTISSA, MUL_SHIFT, MUL_RULE, MUL_LOW, MUL_HIGH, MUL_ARGS_COUNT };

enum binary_arg {
    BINARY_CODE,
    BINARY_SCALAR_LO,
    BINARY_SCALAR_HI,
    BINARY_LOW,
    BINARY_HIGH,
    BINARY_ARGS_COUNT
};

enum clamp_arg { CLAMP_LOW, CLAMP_HIGH, CLAMP_ARGS_COUNT };

enum select_arg { SELECT_A_LO, SELECT_A_HI, SELECT_B_LO, SELECT_B_HI, SELECT_ARGS_COUNT };

enum fill_arg { FILL_VALUE, FILL_ARGS_COUNT };

/* Loop i has five arguments from COPY_LOOP(i): add COPY_EXTENT, COPY_Y_AXIS … */
enum copy_arg { COPY_RULE, COPY_LOOPS, COPY_FIRST_LOOP };
enum copy_loop_arg { COPY_EXTENT, COPY_Y_AXIS, COPY_Y_STEP, COPY_X_AXIS, COPY_X_STEP, COPY_LOOP_SIZE };
#define COPY_MAX_LOOPS 8
#define COPY_LOOP(i) (COPY_FIRST_LOOP + (i) * COPY_LOOP_SIZE)
#define COPY_ARGS_COUNT COPY_LOOP(COPY_MAX_LOOPS)

enum quantize_arg { QUANTIZE_DIVIDES, QUANTIZE_ARGS_COUNT };

/* A real number as two arguments NAME_lo, NAME_hi, of which `lo` is the first. */
static inline double args_real(const int32_t *lo)
{
    uint64_t bits = (uint64_t)(uint32_t)lo[1] << 32 | (uint32_t)lo[0];
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline void args_set_real(int32_t *lo, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    lo[0] = (int32_t)(uint32_t)bits;
    lo[1] = (int32_t)(uint32_t)(bits >> 32);
}

#endif
