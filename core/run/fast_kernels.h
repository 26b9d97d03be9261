/* fast_kernels: the inner loops of the fast engine, once per instruction set.
 *
 * Inside the engine a quantized feature map is uint8, H x W x C with C padded to a multiple of
 * FAST_CHANNELS: int8 is stored with 128 added, and so is its zero point.  The instruction sets
 * differ in speed only: each result equals the reference kernel's to the bit.  Kernels never
 * allocate; they may read up to FAST_SLACK bytes behind a feature map, whose value does not matter. */
#ifndef BPU_RUN_FAST_KERNELS_H
#define BPU_RUN_FAST_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAST_CHANNELS 4 /* products that one accumulation step takes */
#define FAST_BLOCK 64   /* output channels of one call of gemm */
#define FAST_SLACK 64

/* From int32 accumulators to uint8 results.  Arrays are by output channel, padded to a
 * multiple of FAST_BLOCK. */
struct fast_requant {
    const int32_t *bias; /* with the input's zero point: bias - zero_point * sum(w) */
    const float *real;   /* without a second operand: the multipliers of the binary32 rule */
    const int32_t *mantissa, *shift, *residual_mantissa; /* with one: exact sums; else NULL */
    int32_t residual_zero_point;
    int32_t zero_point, lo, hi; /* of the result: 0 <= lo <= hi <= 255, as stored */
};
/* The caller has made sure that no accumulator and no product leaves the range of int32. */

/* rows x channels results, each of `depth` products. */
struct fast_gemm {
    const uint8_t *a; /* rows of depth bytes, lda apart */
    size_t lda;
    int rows, depth; /* depth: a multiple of FAST_CHANNELS */
    const void *b;   /* packed weights of this block */
    int channel, channels; /* the block: first channel, 1 .. FAST_BLOCK */
    const struct fast_requant *q;
    uint8_t *out; /* NULL: accumulators with bias go to sums */
    size_t ldo;
    int32_t *sums;
    size_t lds; /* in elements */
    const uint8_t *residual;
    size_t ldr;
};

/* One row of a depthwise convolution: `pixels` results from `taps` rows of pointers. */
struct fast_depthwise {
    const uint8_t *const *in; /* taps pointers for each result: in[pixel * taps + tap] */
    int taps, pixels, channels; /* channels: padded to 64 in weights */
    const void *weights;
    const struct fast_requant *q;
    uint8_t *out;
    size_t ldo;
};

/* y = clamp(zero_point + round((a * ma + b * mb + offset) / 2^shift)), ties away from zero, of stored
 * bytes; offset: minus the zero points times their multipliers. shift: 1 .. 31. */
struct fast_add {
    int32_t a, b, offset, shift, zero_point, lo, hi;
};

/* y = clamp(zero_point + round((x - a) * (z - b) * real)) of stored bytes, by the binary32 rule; a, b:
 * zero points. */
struct fast_multiply {
    int32_t a, b;
    float real;
    int32_t zero_point, lo, hi; /* of the result: 0 .. 255, as stored */
};

/* Between float32 and stored bytes. zero_point, lo, hi: of the type before `offset` is added. */
struct fast_quantize {
    float factor; /* of quantize: reciprocal of the scale, or with `divide` the scale; of dequantize: the scale */
    bool divide;
    float zero_point, lo, hi;
    int32_t offset;
};

struct fast_kernels {
    const char *name;
    bool (*supported)(void);
    /* Bytes of packed weights for blocks of FAST_BLOCK channels from `channels`, each `depth` deep. */
    size_t (*gemm_bytes)(int depth, int channels);
    /* w: channels x depth, row-major. */
    void (*gemm_pack)(const int8_t *w, int depth, int channels, void *out);
    /* Of the block that begins with `channel` (a multiple of FAST_BLOCK). */
    size_t (*gemm_offset)(int depth, int channel);
    void (*gemm)(const struct fast_gemm *g);
    size_t (*depthwise_bytes)(int taps, int channels);
    /* w: channels x taps */
    void (*depthwise_pack)(const int8_t *w, int taps, int channels, void *out);
    void (*depthwise)(const struct fast_depthwise *d);
    /* Rows of n elements. y may be a or x, but not overlap them otherwise. */
    void (*add)(const struct fast_add *p, const uint8_t *a, const uint8_t *b, uint8_t *y, size_t n);
    void (*multiply)(const struct fast_multiply *p, const uint8_t *a, const uint8_t *b, uint8_t *y,
                     size_t n);
    void (*table)(const uint8_t *table, const uint8_t *x, uint8_t *y, size_t n); /* of 256 */
    void (*maximum)(uint8_t *y, const uint8_t *x, size_t n); /* y = max(y, x) */
    void (*accumulate)(int32_t *sum, const uint8_t *x, size_t n);
    void (*quantize)(const struct fast_quantize *p, const float *x, uint8_t *y, size_t n);
    void (*dequantize)(const struct fast_quantize *p, const uint8_t *x, float *y, size_t n);
};

extern const struct fast_kernels fast_avx512vnni, fast_avx2, fast_portable;

/* All variants, the best first; those that this processor does not run are in the list as well. */
const struct fast_kernels *const *fast_kernels_list(size_t *count);
/* The best one that runs here, or the one of that name; NULL: there is none of that name, or the
 * processor cannot run it. */
const struct fast_kernels *fast_kernels_find(const char *name);

#endif
