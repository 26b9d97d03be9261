/* dnnl_build: from a description to a primitive that is run once per frame.
 *
 * oneDNN chooses the layouts of its operands.  Weights are brought into theirs once; feature maps
 * are reordered around the primitive where its layout is not row-major, in scratch memory of the
 * frame. Memory comes from the arena and the caller's scratch alone; what the library holds itself
 * (code, descriptions) is released with the arena. */
#include <dlfcn.h>
#include <stdlib.h>

#include "core/run/dnnl_private.h"

#define ALIGNMENT 64

struct state {
    struct dnnl_library lib;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t op, pack_x, unpack_y; /* pack, unpack: NULL where layouts agree */
    dnnl_memory_t x, y, op_x, op_y, weights, bias, pad;
    size_t x_bytes, y_bytes, pad_bytes; /* of scratch; x and y 0 where layouts agree */
    bool weights_operand, residual;
    enum real_activation after; /* what the primitive does not do itself */
};

static bool load_symbols(void *handle, struct dnnl_library *out)
{
    void *p;
#define X(name)                                                                                    \
    p = dlsym(handle, "dnnl_" #name);                                                              \
    if (!p)                                                                                        \
        return false;                                                                              \
    memcpy(&out->name, &p, sizeof p);
    DNNL_FUNCTIONS(X)
#undef X
    p = dlsym(handle, "omp_set_num_threads");
    memcpy(&out->set_threads, &p, sizeof p);
    return p != NULL;
}

bool dnnl_load(struct dnnl_library *out)
{
    void *handle = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return false;
    /* Without a profiler there is no search for its files when the first code is made. */
    return load_symbols(handle, out) && out->version()->major == DNNL_VERSION_MAJOR &&
           out->set_jit_profiling_flags(DNNL_JIT_PROFILE_NONE) == dnnl_success;
}

bool dnnl_warm_up(void)
{
    struct dnnl_library l;
    return dnnl_load(&l);
}

bool dnnl_describe(const struct dnnl_library *l, int rank, const int64_t *dim,
                   const int64_t *stride, dnnl_memory_desc_t *out)
{
    dnnl_dims_t dims, strides;
    int64_t step = 1;
    if (rank < 1 || rank > DNNL_MAX_NDIMS)
        return false;
    for (int i = rank - 1; i >= 0; i--) {
        dims[i] = dim[i];
        strides[i] = stride ? stride[i] : step;
        if (!checked_mul(step, dim[i] > 0 ? dim[i] : 1, &step))
            return false;
    }
    return l->memory_desc_init_by_strides(out, rank, dims, dnnl_f32, strides) == dnnl_success;
}

dnnl_memory_desc_t dnnl_any(const dnnl_memory_desc_t *md)
{
    dnnl_memory_desc_t any = *md;
    if (any.ndims > 0)
        any.format_kind = dnnl_format_kind_any;
    return any;
}

static void *aligned(void *p)
{
    return (void *)(((uintptr_t)p + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
}

static void *arena_aligned(struct arena *a, size_t bytes, struct bpu_error *err)
{
    size_t room;
    if (__builtin_add_overflow(bytes, (size_t)ALIGNMENT, &room))
        room = SIZE_MAX;
    void *p = arena_alloc(a, room, err);
    return p ? aligned(p) : NULL;
}

static void state_fini(void *p)
{
    struct state *s = p;
    dnnl_memory_t memories[] = {s->x, s->y, s->op_x, s->op_y, s->weights, s->bias, s->pad};
    dnnl_primitive_t primitives[] = {s->op, s->pack_x, s->unpack_y};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i])
            s->lib.memory_destroy(memories[i]);
    for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++)
        if (primitives[i])
            s->lib.primitive_destroy(primitives[i]);
    if (s->stream)
        s->lib.stream_destroy(s->stream);
    if (s->engine)
        s->lib.engine_destroy(s->engine);
}

/* Runs a primitive that has one source and one destination. */
static bool reorder(const struct state *s, dnnl_primitive_t p, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    return s->lib.primitive_execute(p, s->stream, 2, args) == dnnl_success;
}

static bool reorder_new(const struct state *s, const dnnl_memory_desc_t *from,
                        const dnnl_memory_desc_t *to, dnnl_primitive_t *out)
{
    dnnl_primitive_desc_t pd;
    if (s->lib.reorder_primitive_desc_create(&pd, from, s->engine, to, s->engine, NULL) !=
        dnnl_success)
        return false;
    bool ok = s->lib.primitive_create(out, pd) == dnnl_success;
    s->lib.primitive_desc_destroy(pd);
    return ok;
}

/* ── a frame ── */

static void finish(const struct state *s, const struct kernel_call *c)
{
    float *y = c->out[0]->data;
    const float *r = s->residual ? c->in[1]->data : NULL;
    int64_t count = real_count(c->out[0]);
    for (int64_t i = 0; r && i < count; i++)
        y[i] += r[i];
    if (s->after == REAL_RELU)
        for (int64_t i = 0; i < count; i++)
            y[i] = y[i] < 0 ? 0 : y[i];
    if (s->after == REAL_RELU6)
        for (int64_t i = 0; i < count; i++)
            y[i] = y[i] < 0 ? 0 : y[i] > 6 ? 6 : y[i];
}

static bool set_memory(const struct state *s, dnnl_memory_t m, void *data)
{
    return !m || s->lib.memory_set_data_handle(m, data) == dnnl_success;
}

static bool run(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct state *s = state;
    size_t room = s->x_bytes + s->y_bytes + s->pad_bytes + 3 * ALIGNMENT;
    char *scratch = arena_alloc(c->scratch, room, err);
    if (!scratch)
        return false;
    char *packed = aligned(scratch), *result = aligned(packed + s->x_bytes),
         *pad = aligned(result + s->y_bytes);
    dnnl_memory_t x = s->pack_x ? s->op_x : s->x, y = s->unpack_y ? s->op_y : s->y;
    dnnl_exec_arg_t args[5] = {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_SCRATCHPAD, s->pad}};
    int count = 3;
    if (s->weights)
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, s->weights};
    if (s->bias)
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, s->bias};
    bool ok = set_memory(s, s->x, c->in[0]->data) && set_memory(s, s->y, c->out[0]->data) &&
              set_memory(s, s->op_x, packed) && set_memory(s, s->op_y, result) &&
              set_memory(s, s->pad, pad) &&
              (!s->weights_operand || set_memory(s, s->weights, c->in[1]->data)) &&
              (!s->pack_x || reorder(s, s->pack_x, s->x, s->op_x)) &&
              s->lib.primitive_execute(s->op, s->stream, count, args) == dnnl_success &&
              (!s->unpack_y || reorder(s, s->unpack_y, s->op_y, s->y)) &&
              s->lib.stream_wait(s->stream) == dnnl_success;
    if (!ok)
        return kernel_unsupported(c, err, "oneDNN failed");
    finish(s, c);
    return true;
}

/* ── preparing ── */

/* The attributes: scratch memory is ours, and an activation that follows at once. */
static bool attributes(const struct state *s, enum real_activation activation,
                       dnnl_primitive_attr_t *out)
{
    dnnl_post_ops_t ops = NULL;
    if (s->lib.primitive_attr_create(out) != dnnl_success)
        return false;
    bool ok =
        s->lib.primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user) == dnnl_success;
    if (ok && activation != REAL_LINEAR) {
        ok = s->lib.post_ops_create(&ops) == dnnl_success;
        ok = ok && (activation == REAL_RELU
                        ? s->lib.post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0)
                        : s->lib.post_ops_append_eltwise(ops, 1, dnnl_eltwise_clip, 0, 6)) ==
                       dnnl_success;
        ok = ok && s->lib.primitive_attr_set_post_ops(*out, ops) == dnnl_success;
        if (ops)
            s->lib.post_ops_destroy(ops);
    }
    return ok;
}

static bool memory_new(const struct state *s, const dnnl_memory_desc_t *md, void *data,
                       dnnl_memory_t *out)
{
    return s->lib.memory_create(out, md, s->engine, data) == dnnl_success;
}

/* Weights and bias that do not change, in memory of the arena. *ok false: oneDNN cannot. */
static bool constants(struct arena *a, struct state *s, const struct dnnl_problem *p,
                      const dnnl_memory_desc_t *packed, bool *ok, struct bpu_error *err)
{
    dnnl_memory_t from = NULL;
    dnnl_primitive_t pack = NULL;
    size_t bytes = s->lib.memory_desc_get_size(packed);
    void *data = arena_aligned(a, bytes, err);
    size_t bias_bytes = p->bias_data ? s->lib.memory_desc_get_size(&p->bias) : 0;
    void *bias = p->bias_data ? arena_aligned(a, bias_bytes, err) : NULL;
    if (!data || (p->bias_data && !bias))
        return false;
    if (bias)
        memcpy(bias, p->bias_data, bias_bytes);
    /* The library takes pointers to what it only reads. */
    *ok = memory_new(s, &p->weights, DNNL_MEMORY_NONE, &from) &&
          s->lib.memory_set_data_handle(from, (void *)(uintptr_t)p->weights_data) == dnnl_success &&
          memory_new(s, packed, data, &s->weights) && reorder_new(s, &p->weights, packed, &pack) &&
          reorder(s, pack, from, s->weights) && s->lib.stream_wait(s->stream) == dnnl_success &&
          (!bias || memory_new(s, &p->bias, bias, &s->bias));
    if (from)
        s->lib.memory_destroy(from);
    if (pack)
        s->lib.primitive_destroy(pack);
    return true;
}

/* The memories of operand and result, and reorders where the primitive wants another layout. */
static bool feature_maps(struct state *s, const struct dnnl_problem *p,
                         const_dnnl_primitive_desc_t pd)
{
    const dnnl_memory_desc_t *x = s->lib.primitive_desc_query_md(pd, dnnl_query_src_md, 0),
                             *y = s->lib.primitive_desc_query_md(pd, dnnl_query_dst_md, 0),
                             *pad = s->lib.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    if (!memory_new(s, &p->x, DNNL_MEMORY_NONE, &s->x) ||
        !memory_new(s, &p->y, DNNL_MEMORY_NONE, &s->y) ||
        !memory_new(s, pad, DNNL_MEMORY_NONE, &s->pad))
        return false;
    s->pad_bytes = s->lib.memory_desc_get_size(pad);
    if (!s->lib.memory_desc_equal(x, &p->x)) {
        s->x_bytes = s->lib.memory_desc_get_size(x);
        if (!memory_new(s, x, DNNL_MEMORY_NONE, &s->op_x) || !reorder_new(s, &p->x, x, &s->pack_x))
            return false;
    }
    if (!s->lib.memory_desc_equal(y, &p->y)) {
        s->y_bytes = s->lib.memory_desc_get_size(y);
        if (!memory_new(s, y, DNNL_MEMORY_NONE, &s->op_y) ||
            !reorder_new(s, y, &p->y, &s->unpack_y))
            return false;
    }
    return true;
}

bool dnnl_build(struct arena *a, const struct dnnl_library *l, const struct dnnl_problem *p,
                struct fast_kernel *out, struct bpu_error *err)
{
    struct state *s = ARENA_NEW(a, struct state, err);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    if (!s)
        return false;
    s->lib = *l;
    if (!arena_on_fini(a, state_fini, s, err))
        return false;
    l->set_threads(1);
    enum real_activation inside = p->residual ? REAL_LINEAR : p->activation;
    s->residual = p->residual;
    s->after = p->residual ? p->activation : REAL_LINEAR;
    s->weights_operand = p->weights.ndims > 0 && !p->weights_data;
    bool ok = l->engine_create(&s->engine, dnnl_cpu, 0) == dnnl_success &&
              l->stream_create(&s->stream, s->engine, dnnl_stream_in_order) == dnnl_success &&
              attributes(s, inside, &attr) &&
              l->primitive_desc_create(&pd, p->op_desc, attr, s->engine, NULL) == dnnl_success &&
              l->primitive_create(&s->op, pd) == dnnl_success && feature_maps(s, p, pd);
    bool memory = true;
    if (ok && p->weights_data)
        memory =
            constants(a, s, p, l->primitive_desc_query_md(pd, dnnl_query_weights_md, 0), &ok, err);
    else if (ok && s->weights_operand)
        ok = memory_new(s, &p->weights, DNNL_MEMORY_NONE, &s->weights);
    if (pd)
        l->primitive_desc_destroy(pd);
    if (attr)
        l->primitive_attr_destroy(attr);
    if (ok && memory)
        *out = (struct fast_kernel){.run = run, .state = s};
    return memory;
}
