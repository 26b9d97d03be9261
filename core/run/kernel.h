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
    X(identity, 0, 0)                                                                              \
    X(conv, 0, 0)                                                                                  \
    X(conv_transpose, 0, 0)                                                                        \
    X(linear, 0, 0)                                                                                \
    X(matmul, 0, 0)                                                                                \
    X(einsum, 0, 0)                                                                                \
    X(det, 0, 0)                                                                                   \
    X(attention, 0, 0)                                                                             \
    X(max_pool, 0, 0)                                                                              \
    X(avg_pool, 0, 0)                                                                              \
    X(lp_pool, 0, 0)                                                                               \
    X(adaptive_pool, 0, 0)                                                                         \
    X(unary, 0, 0)                                                                                 \
    X(prelu, 0, 0)                                                                                 \
    X(clamp, 0, 0)                                                                                 \
    X(glu, 0, 0)                                                                                   \
    X(softmax, 0, 0)                                                                               \
    X(hardmax, 0, 0)                                                                               \
    X(binary, 0, 0)                                                                                \
    X(where, 0, 0)                                                                                 \
    X(masked_fill, 0, 0)                                                                           \
    X(batch_norm, 0, 0)                                                                            \
    X(layer_norm, 0, 0)                                                                            \
    X(group_norm, 0, 0)                                                                            \
    X(instance_norm, 0, 0)                                                                         \
    X(local_response_norm, 0, 0)                                                                   \
    X(reduce, 0, 0)                                                                                \
    X(max_min, 0, 0)                                                                               \
    X(arg, 0, 0)                                                                                   \
    X(topk, 0, 0)                                                                                  \
    X(sort, 0, 0)                                                                                  \
    X(cumsum, 0, 0)                                                                                \
    X(resize, 0, 0)                                                                                \
    X(grid_sample, 0, 0)                                                                           \
    X(roi_align, 0, 0)                                                                             \
    X(multi_roi_align, 0, 0)                                                                       \
    X(recurrent, 0, 0)                                                                             \
    X(lstm_cell, 0, 0)                                                                             \
    X(cat, 0, 0)                                                                                   \
    X(stack, 0, 0)                                                                                 \
    X(split, 0, 0)                                                                                 \
    X(pad, 0, 0)                                                                                   \
    X(view, 0, 0)                                                                                  \
    X(permute, 0, 0)                                                                               \
    X(expand, 0, 0)                                                                                \
    X(repeat, 0, 0)                                                                                \
    X(getitem, 0, 0)                                                                               \
    X(gather, 0, 0)                                                                                \
    X(gather_nd, 0, 0)                                                                             \
    X(index_select, 0, 0)                                                                          \
    X(scatter, 0, 0)                                                                               \
    X(scatter_nd, 0, 0)                                                                            \
    X(flip, 0, 0)                                                                                  \
    X(roll, 0, 0)                                                                                  \
    X(channel_shuffle, 0, 0)                                                                       \
    X(pixel_shuffle, 0, 0)                                                                         \
    X(pixel_unshuffle, 0, 0)                                                                       \
    X(one_hot, 0, 0)                                                                               \
    X(tri, 0, 0)                                                                                   \
    X(to, 0, 0)                                                                                    \
    X(quantize, 0, 0)                                                                              \
    X(dequantize, 0, 0)

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
