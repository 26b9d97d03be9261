/* kernel: what one operator computes, as plain loops over tensors in PyTorch's layout.
 *
 * A row of the operator table names a kernel; KERNEL_MAP says in which forms it exists: "real" over
 * float32 and the integer types of constants, "fixed" over quantized values.  These are the
 * reference: slow, direct, and the meaning of everything that is faster.  A fixed kernel reads
 * scales and zero points from its tensors and follows core/run/arith.h and docs/arithmetic.md. */
#ifndef BPU_RUN_KERNEL_H
#define BPU_RUN_KERNEL_H

#include "core/ir/graph.h"

/* Row-major, aligned to 64 bytes; data of constants may point into the file and is then copied first. */
struct tensor {
    struct shape shape; /* static */
    enum dtype dtype;
    struct quant quant; /* of quantized dtypes */
    void *data;
    size_t bytes;
};

#define KERNEL_MAX_OPERANDS 64 /* torch.cat and torch.stack allocate when they have more */

/* One call.  The tensors are described and allocated by the caller, from the values of the node. */
struct kernel_call {
    const struct node *node;
    const struct tensor *const *in; /* by operand; NULL where it is left out */
    int in_count;
    const struct tensor *const *params; /* as node->params */
    struct tensor *const *out;          /* NULL where nobody reads the result */
    int out_count;
    struct arena *scratch; /* given back after the call */
};

/* False with *err: the operator cannot be computed on these operands (BPU_UNSUPPORTED), or memory. */
typedef bool kernel_fn(const struct kernel_call *c, struct bpu_error *err);

/* The kernels: name, real form, fixed form. */
#define KERNEL_MAP(X)                                                                              \
    X(none, 0, 0)                                                                                  \
    X(identity, 1, 1)                                                                              \
    X(conv, 1, 1)                                                                                  \
    X(conv_transpose, 1, 1)                                                                        \
    X(linear, 1, 1)                                                                                \
    X(matmul, 1, 1)                                                                                \
    X(einsum, 1, 1)                                                                                \
    X(det, 1, 1)                                                                                   \
    X(attention, 1, 1)                                                                             \
    X(max_pool, 1, 1)                                                                              \
    X(avg_pool, 1, 1)                                                                              \
    X(lp_pool, 1, 1)                                                                               \
    X(adaptive_pool, 1, 1)                                                                         \
    X(unary, 1, 1)                                                                                 \
    X(prelu, 1, 1)                                                                                 \
    X(clamp, 1, 1)                                                                                 \
    X(glu, 1, 1)                                                                                   \
    X(softmax, 1, 1)                                                                               \
    X(hardmax, 1, 1)                                                                               \
    X(binary, 1, 1)                                                                                \
    X(where, 1, 1)                                                                                 \
    X(masked_fill, 1, 1)                                                                           \
    X(batch_norm, 1, 1)                                                                            \
    X(layer_norm, 1, 1)                                                                            \
    X(group_norm, 1, 1)                                                                            \
    X(instance_norm, 1, 1)                                                                         \
    X(local_response_norm, 1, 1)                                                                   \
    X(reduce, 1, 1)                                                                                \
    X(max_min, 1, 1)                                                                               \
    X(arg, 1, 1)                                                                                   \
    X(topk, 1, 1)                                                                                  \
    X(sort, 1, 1)                                                                                  \
    X(cumsum, 1, 1)                                                                                \
    X(resize, 1, 1)                                                                                \
    X(grid_sample, 1, 1)                                                                           \
    X(roi_align, 1, 1)                                                                             \
    X(multi_roi_align, 1, 1)                                                                       \
    X(recurrent, 1, 1)                                                                             \
    X(lstm_cell, 1, 1)                                                                             \
    X(cat, 1, 1)                                                                                   \
    X(stack, 1, 1)                                                                                 \
    X(split, 1, 1)                                                                                 \
    X(pad, 1, 1)                                                                                   \
    X(view, 1, 1)                                                                                  \
    X(permute, 1, 1)                                                                               \
    X(expand, 1, 1)                                                                                \
    X(repeat, 1, 1)                                                                                \
    X(getitem, 1, 1)                                                                               \
    X(gather, 1, 1)                                                                                \
    X(gather_nd, 1, 1)                                                                             \
    X(index_select, 1, 1)                                                                          \
    X(scatter, 1, 1)                                                                               \
    X(scatter_nd, 1, 1)                                                                            \
    X(flip, 1, 1)                                                                                  \
    X(roll, 1, 1)                                                                                  \
    X(channel_shuffle, 1, 1)                                                                       \
    X(pixel_shuffle, 1, 1)                                                                         \
    X(pixel_unshuffle, 1, 1)                                                                       \
    X(one_hot, 1, 1)                                                                               \
    X(tri, 1, 1)                                                                                   \
    X(to, 1, 1)                                                                                    \
    X(quantize, 0, 1)                                                                              \
    X(dequantize, 0, 1)

struct kernel {
    const char *name;
    kernel_fn *real, *fixed; /* NULL: not in this form */
};

/* The kernel of a bound node; never NULL (kernel "none" has neither form). */
const struct kernel *kernel_of(const struct node *n);
/* True if an operand or result of n that is no parameter is quantized: the fixed form runs. */
bool kernel_is_fixed(const struct node *n);

/* ── reading a call ── */
const struct tensor *kernel_param(const struct kernel_call *c, const char *name); /* or NULL */
static inline const struct tensor *kernel_in(const struct kernel_call *c, int i)
{
    return i < c->in_count ? c->in[i] : NULL;
}
/* An element of any numeric type as a real number; of quantized types (q - zero_point) * scale. */
double tensor_real(const struct tensor *t, int64_t i);
/* The stored integer. */
int64_t tensor_int(const struct tensor *t, int64_t i);
/* Rounds and saturates as the type of t says; quantized types through their scale. */
void tensor_store_real(struct tensor *t, int64_t i, double v);
void tensor_store_int(struct tensor *t, int64_t i, int64_t v); /* saturates */
/* Scale and zero point of channel c of a quantized tensor (c is ignored per tensor). */
double tensor_scale(const struct tensor *t, int64_t c);
int64_t tensor_zero_point(const struct tensor *t, int64_t c);
/* The range of stored integers of a dtype. */
void dtype_range(enum dtype t, int64_t *lo, int64_t *hi);
bool kernel_unsupported(const struct kernel_call *c, struct bpu_error *err, const char *fmt, ...)
    BPU_PRINTF(3, 4); /* returns false */

/* ── the functions ── */
#define KERNEL_DECLARE_0(name)
#define KERNEL_DECLARE_1(name) kernel_fn name;
#define X(name, real, fixed)                                                                       \
    KERNEL_DECLARE_##real(real_##name)                                                             \
    KERNEL_DECLARE_##fixed(fixed_##name)
KERNEL_MAP(X)
#undef X

#endif
