/* dnnl_private: the functions of oneDNN in use, and one prepared node.  Shared by dnnl*.c. */
#ifndef BPU_RUN_DNNL_PRIVATE_H
#define BPU_RUN_DNNL_PRIVATE_H

#include <oneapi/dnnl/dnnl.h>

#include "core/run/dnnl.h"
#include "core/run/real.h"

#define DNNL_FUNCTIONS(X)                                                                          \
    X(version)                                                                                     \
    X(set_jit_profiling_flags)                                                                     \
    X(engine_create)                                                                               \
    X(engine_destroy)                                                                              \
    X(stream_create)                                                                               \
    X(stream_destroy)                                                                              \
    X(stream_wait)                                                                                 \
    X(memory_desc_init_by_strides)                                                                 \
    X(memory_desc_equal)                                                                           \
    X(memory_desc_get_size)                                                                        \
    X(memory_create)                                                                               \
    X(memory_destroy)                                                                              \
    X(memory_set_data_handle)                                                                      \
    X(primitive_attr_create)                                                                       \
    X(primitive_attr_destroy)                                                                      \
    X(primitive_attr_set_scratchpad_mode)                                                          \
    X(primitive_attr_set_post_ops)                                                                 \
    X(post_ops_create)                                                                             \
    X(post_ops_destroy)                                                                            \
    X(post_ops_append_eltwise)                                                                     \
    X(primitive_desc_create)                                                                       \
    X(primitive_desc_destroy)                                                                      \
    X(primitive_desc_query_md)                                                                     \
    X(reorder_primitive_desc_create)                                                               \
    X(primitive_create)                                                                            \
    X(primitive_destroy)                                                                           \
    X(primitive_execute)                                                                           \
    X(dilated_convolution_forward_desc_init)                                                       \
    X(dilated_deconvolution_forward_desc_init)                                                     \
    X(pooling_v2_forward_desc_init)                                                                \
    X(matmul_desc_init)

struct dnnl_library {
#define X(name) __typeof__(dnnl_##name) *name;
    DNNL_FUNCTIONS(X)
#undef X
    void (*set_threads)(int); /* of the thread pool behind it */
};

/* False if the library cannot be had. */
bool dnnl_load(struct dnnl_library *out);

/* What is to be computed: the operation, and its operands as they lie in memory. */
struct dnnl_problem {
    const void *op_desc;
    dnnl_memory_desc_t x, y, weights,
        bias;                 /* ndims 0: none; weights without a constant: operand 1 */
    const void *weights_data; /* of constants: float32, packed once */
    const float *bias_data;
    bool residual;
    enum real_activation activation;
};

/* Builds the primitive; out->run stays NULL if oneDNN cannot do it. */
bool dnnl_build(struct arena *a, const struct dnnl_library *l, const struct dnnl_problem *p,
                struct fast_kernel *out, struct bpu_error *err);

/* Row-major description of float32 (rank at least 1); strides NULL: dense. */
bool dnnl_describe(const struct dnnl_library *l, int rank, const int64_t *dim,
                   const int64_t *stride, dnnl_memory_desc_t *out);
/* The same extents in a layout of oneDNN's choice. */
dnnl_memory_desc_t dnnl_any(const dnnl_memory_desc_t *md);

#endif
