/* real: what the kernels over real values share.
 *
 * A kernel of core/run/real_*.c reads its operands as real numbers, computes in double precision
 * and stores each result once.  That is the meaning of its real form; where KERNEL_MAP names a
 * fixed form in these files too, it is the same function: a quantized operand is (q - zero_point) *
 * scale, and tensor_store_real() rounds the result to the scale of the output.  Sums run in the
 * order that the comment at the kernel states, so that the bits are the same on every machine. */
#ifndef BPU_RUN_REAL_H
#define BPU_RUN_REAL_H

#include <math.h>
#include <string.h>

#include "core/ops/fold.h"
#include "core/run/kernel.h"

/* ── rows of elements as doubles ── */
/* Elements first, first + step, … of t, `count` of them. */
void real_load(const struct tensor *t, int64_t first, int64_t step, int64_t count, double *out);
void real_store(struct tensor *t, int64_t first, int64_t step, int64_t count, const double *in);
/* The elements offset + sum(index * stride) in row-major order of dim. */
void real_load_block(const struct tensor *t, int64_t offset, int rank, const int64_t *dim,
                     const int64_t *stride, double *out);
/* All of t as float32: its own data, or a copy in scratch. NULL with *err. */
const float *real_floats(const struct kernel_call *c, const struct tensor *t,
                         struct bpu_error *err) BPU_CHECKED;
double *real_scratch(const struct kernel_call *c, int64_t count, struct bpu_error *err) BPU_CHECKED;

/* ── single elements of any type ── */
static inline unsigned char *real_at(const struct tensor *t, int64_t i)
{
    return (unsigned char *)t->data + (size_t)i * dtype_size(t->dtype);
}
/* The same type and, where quantized, the same scale: bytes may be copied. A scale that nobody
 * knows yet fits every other. */
bool real_same(const struct tensor *a, const struct tensor *b);
/* to[j] = from[i]: copied if real_same, between integers exactly (wrapping), else through the real
 * value. */
void real_move(const struct tensor *from, int64_t i, struct tensor *to, int64_t j);
/* to[0 ..] in order = from[offset + sum(index * stride)]. */
void real_copy(const struct tensor *from, struct tensor *to, int rank, const int64_t *dim,
               const int64_t *stride, int64_t offset);

/* ── shapes ── */
/* A tensor as `outer` blocks of `extent` rows of `inner` elements around one axis. A scalar has one
 * row. */
struct real_lanes {
    int64_t outer, extent, inner;
};
struct real_lanes real_lanes(const struct shape *s, int axis);
/* Attribute `name` as an axis of 0..rank-1; inference has accepted it. */
int real_axis(const struct node *n, const char *name, int64_t otherwise, int rank);

/* True if t is read in the index space of `to` by broadcasting; else an error. */
bool real_broadcasts(const struct kernel_call *c, const struct tensor *t, const struct shape *to,
                     struct bpu_error *err) BPU_CHECKED;

static inline int64_t real_count(const struct tensor *t)
{
    return shape_elements(&t->shape);
}

/* ── what fused operators do last ── */
enum real_activation { REAL_LINEAR, REAL_RELU, REAL_RELU6 };
enum real_activation real_activation(const struct node *n);
static inline double real_activate(double v, enum real_activation a)
{
    if (a == REAL_LINEAR || isnan(v))
        return v;
    return v < 0 ? 0 : a == REAL_RELU6 && v > 6 ? 6 : v;
}

#endif
