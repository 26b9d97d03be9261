/* fixed: what the integer kernels share.
 *
 * A kernel of core/run/fixed_*.c reads stored integers, computes exactly (or as docs/arithmetic.md
 * says), and stores integers of the result's type.  Reference kernels: each result is computed on
 * its own, straight from the definition. */
#ifndef BPU_RUN_FIXED_H
#define BPU_RUN_FIXED_H

#include "core/ops/fold.h"
#include "core/run/arith.h"
#include "core/run/kernel.h"
#include "core/run/requant.h"

#define FIXED_SPATIAL 3 /* axes that a window moves along: depth, height, width */

/* Where each result along one axis reads: at[o * kernel + tap] is an index of the input, or -1 in
 * the padding. */
struct fixed_axis {
    int64_t in, out, kernel;
    const int64_t *at;
};

/* A feature map as (batch, channels, depth, height, width); axes that it lacks have one element. */
struct fixed_map {
    int64_t batch, channels, size[FIXED_SPATIAL], plane; /* plane: product of size */
};

enum fixed_window { FIXED_CONV, FIXED_TRANSPOSED, FIXED_POOL, FIXED_ADAPTIVE };

/* x and y of an operator with `spatial` windowed axes, and what each axis reads. */
bool fixed_axes(const struct kernel_call *c, enum fixed_window kind, struct fixed_map *x,
                struct fixed_map *y, struct fixed_axis axis[FIXED_SPATIAL],
                struct bpu_error *err) BPU_CHECKED;

/* The sum over i < n of (x[from + i * step] - zero) * f[i], of stored integers where they lie; the
 * differences saturate to int32 (only qint32 has more bits). */
typedef int64_t fixed_dot_fn(const struct tensor *x, int64_t from, int64_t step, int64_t zero,
                             const int32_t *f, int64_t n);
/* For scaled dtypes. */
fixed_dot_fn *fixed_dot(enum dtype t);

/* ── scales ── */
/* The scale and zero point of a feature map, which has one for all. BPU_BAD_MODEL names the value
 * if it has none. */
struct fixed_scale {
    double scale;
    int32_t zero, lo, hi; /* lo, hi: of the type */
    float reciprocal;     /* 1 / (float)scale */
};
bool fixed_scale(const struct kernel_call *c, const struct tensor *t, const char *what,
                 struct fixed_scale *out, struct bpu_error *err) BPU_CHECKED;
/* Every quantized operand and result has a scale, one or one per channel. */
bool fixed_all_scaled(const struct kernel_call *c, struct bpu_error *err) BPU_CHECKED;
static inline bool fixed_is_scaled(const struct tensor *t)
{
    return dtype_is_quantized(t->dtype) && t->dtype != DT_QBOOL;
}
bool fixed_same_scale(const struct tensor *a, const struct tensor *b);

/* A stored integer of one scale as one of another: exactly where they are the same, otherwise
 * dequantized and quantized in binary32, as PyTorch does. */
static inline int32_t fixed_rescale(int64_t q, const struct fixed_scale *from,
                                    const struct fixed_scale *to)
{
    if (from->scale == to->scale && from->zero == to->zero)
        return arith_clamp(q, to->lo, to->hi);
    float real = (float)from->scale * (float)(q - from->zero);
    return arith_quantize_binary32(real, to->reciprocal, to->zero, to->lo, to->hi);
}

/* The same for element i of any tensor: other types are converted as real numbers. */
int32_t fixed_take(const struct tensor *t, int64_t i, const struct fixed_scale *from,
                   const struct fixed_scale *to);

/* ── one requantization of a sum ── */
struct fixed_multiplier {
    bool binary32;
    float real;
    struct multiplier exact;
};
/* For a mean of n (n 1: a sum) of scale s_x as a result of y. */
bool fixed_mean(const struct kernel_call *c, const struct fixed_scale *x, const struct tensor *y,
                const struct fixed_scale *to, int64_t n, struct fixed_multiplier *out,
                struct bpu_error *err) BPU_CHECKED;
/* For products of two feature maps. */
bool fixed_product(const struct kernel_call *c, const struct fixed_scale *a,
                   const struct fixed_scale *b, const struct tensor *y,
                   const struct fixed_scale *to, struct fixed_multiplier *out,
                   struct bpu_error *err) BPU_CHECKED;
/* The stored integer: acc saturates to int32 first. */
static inline int32_t fixed_requantize(int64_t acc, const struct fixed_multiplier *m,
                                       const struct fixed_scale *to)
{
    int32_t a = arith_clamp(acc, INT32_MIN, INT32_MAX);
    int64_t v = m->binary32 ? arith_requantize_binary32(a, m->real) : arith_requantize(a, m->exact);
    return arith_clamp(v + to->zero, to->lo, to->hi);
}

/* ── axes ── */
/* A tensor as outer x extent x inner around one axis. */
struct fixed_lanes {
    int64_t outer, extent, inner;
};
struct fixed_lanes fixed_lanes(const struct shape *s, int axis);
/* Attribute `name`, normalised to 0 .. rank-1. */
bool fixed_axis_attr(const struct kernel_call *c, const char *name, int64_t otherwise, int rank,
                     int *out, struct bpu_error *err) BPU_CHECKED;

/* The bounds that name and attributes of a relu, relu6, hardtanh or clamp give (fixed_clamp.c). */
void fixed_clamp_bounds(const struct node *n, double *low, double *high);

static inline struct tensor *fixed_out(const struct kernel_call *c, int i)
{
    return i < c->out_count ? c->out[i] : NULL;
}

#endif
