/* fixed: windows, scales and lanes of the integer kernels. */
#include "core/run/fixed.h"

static struct fixed_map map_of(const struct shape *s, int spatial)
{
    struct fixed_map m = {.batch = 1, .channels = 1, .size = {1, 1, 1}, .plane = 1};
    int first = s->rank - spatial; /* of the spatial axes */
    for (int i = 0; i < first - 1; i++)
        m.batch *= s->dim[i];
    if (first >= 1)
        m.channels = s->dim[first - 1];
    for (int i = 0; i < spatial; i++) {
        m.size[FIXED_SPATIAL - spatial + i] = s->dim[first + i];
        m.plane *= s->dim[first + i];
    }
    return m;
}

/* The index that position i, which may lie outside 0 .. n-1, stands for; -1: the padding value. */
static int64_t padded_index(int64_t i, int64_t n, const char *mode)
{
    if (i >= 0 && i < n)
        return i;
    if (n > 0 && strcmp(mode, "replicate") == 0)
        return i < 0 ? 0 : n - 1;
    if (n > 0 && strcmp(mode, "circular") == 0)
        return (i % n + n) % n;
    if (n > 1 && strcmp(mode, "reflect") == 0) {
        int64_t period = 2 * (n - 1), r = (i % period + period) % period;
        return r < n ? r : period - r;
    }
    return -1;
}

static int64_t conv_source(const struct infer_window *w, int64_t o, int64_t tap)
{
    return o * w->stride - w->begin + tap * w->dilation;
}

/* Result o of a transposed convolution takes input i with tap t where i * stride + t * dilation
 * reaches o + begin. */
static int64_t transposed_source(const struct infer_window *w, int64_t o, int64_t tap)
{
    int64_t at = o + w->begin - tap * w->dilation;
    return at < 0 || at % w->stride != 0 ? -1 : at / w->stride;
}

/* kernel_size, stride, dilation and padding of k axes. */
static bool windows(const struct kernel_call *c, enum fixed_window kind, int k,
                    struct infer_window *w, struct bpu_error *err)
{
    const struct node *n = c->node;
    const struct tensor *weight = kernel_param(c, "weight");
    int64_t kernel[FIXED_SPATIAL] = {1, 1, 1}, stride[FIXED_SPATIAL], dilation[FIXED_SPATIAL];
    int64_t list[2 * FIXED_SPATIAL];
    int strides = 0;
    bool pool = kind == FIXED_POOL;
    if (pool) {
        if (!infer_tuple(n, "kernel_size", k, 1, kernel, err) ||
            !infer_ints(n, "stride", list, 2 * FIXED_SPATIAL, &strides, err))
            return false;
    } else {
        if (!weight || weight->shape.rank != k + 2)
            return kernel_unsupported(c, err, "there is no weight of rank %d", k + 2);
        memcpy(kernel, weight->shape.dim + 2, (size_t)k * sizeof *kernel);
    }
    if (!infer_tuple(n, "stride", k, 1, stride, err) ||
        !infer_tuple(n, "dilation", k, 1, dilation, err))
        return false;
    for (int i = 0; i < k; i++)
        w[i] = (struct infer_window){.kernel = kernel[i],
                                     .stride = pool && strides <= 0 ? kernel[i] : stride[i],
                                     .dilation = dilation[i]};
    return infer_padding(n, k, w, err);
}

/* Adaptive pooling: window o covers floor(o * in / out) up to ceil((o + 1) * in / out). */
static bool adaptive_axis(struct arena *a, struct fixed_axis *axis, struct bpu_error *err)
{
    int64_t most = 0;
    for (int64_t o = 0; o < axis->out; o++) {
        int64_t from = o * axis->in / axis->out;
        int64_t to = ((o + 1) * axis->in + axis->out - 1) / axis->out;
        most = to - from > most ? to - from : most;
    }
    axis->kernel = most;
    int64_t count;
    if (!checked_mul(axis->out, most, &count))
        return error_set(err, BPU_LIMIT, NULL, "the window is too large");
    int64_t *at = ARENA_ARRAY(a, int64_t, count, err);
    if (!at)
        return false;
    for (int64_t o = 0; o < axis->out; o++) {
        int64_t from = o * axis->in / axis->out;
        int64_t to = ((o + 1) * axis->in + axis->out - 1) / axis->out;
        for (int64_t t = 0; t < most; t++)
            at[o * most + t] = from + t < to ? from + t : -1;
    }
    axis->at = at;
    return true;
}

bool fixed_axes(const struct kernel_call *c, enum fixed_window kind, struct fixed_map *x,
                struct fixed_map *y, struct fixed_axis axis[FIXED_SPATIAL], struct bpu_error *err)
{
    static const int64_t only = 0;
    int k = c->node->op->spatial;
    const struct tensor *in = c->in[0], *out = fixed_out(c, 0) ? c->out[0] : NULL;
    const char *mode = node_string(c->node, "padding_mode", "zeros");
    struct infer_window w[FIXED_SPATIAL] = {{0}};
    if (!out)
        out = fixed_out(c, 1); /* a max pool of which only the indices are read */
    if (kind == FIXED_ADAPTIVE && in->shape.rank - 2 > k)
        k = in->shape.rank - 2; /* ONNX writes global pooling of every rank as the 2d form */
    if (k < 1 || k > FIXED_SPATIAL || in->shape.rank < k || in->shape.rank != out->shape.rank)
        return kernel_unsupported(c, err, "an input of rank %d", in->shape.rank);
    if (kind != FIXED_ADAPTIVE && !windows(c, kind, k, w, err))
        return false;
    *x = map_of(&in->shape, k);
    *y = map_of(&out->shape, k);
    for (int d = 0; d < FIXED_SPATIAL; d++) {
        axis[d] =
            (struct fixed_axis){.in = x->size[d], .out = y->size[d], .kernel = 1, .at = &only};
        if (d < FIXED_SPATIAL - k)
            continue;
        if (kind == FIXED_ADAPTIVE) {
            if (!adaptive_axis(c->scratch, &axis[d], err))
                return false;
            continue;
        }
        const struct infer_window *v = d < FIXED_SPATIAL - k ? NULL : &w[d - (FIXED_SPATIAL - k)];
        int64_t count;
        axis[d].kernel = v->kernel;
        if (!checked_mul(axis[d].out, v->kernel, &count))
            return error_set(err, BPU_LIMIT, c->node->name, "the window is too large");
        int64_t *at = ARENA_ARRAY(c->scratch, int64_t, count, err);
        if (!at)
            return false;
        for (int64_t o = 0; o < axis[d].out; o++)
            for (int64_t t = 0; t < v->kernel; t++)
                at[o * v->kernel + t] =
                    kind == FIXED_TRANSPOSED
                        ? padded_index(transposed_source(v, o, t), axis[d].in, "zeros")
                        : padded_index(conv_source(v, o, t), axis[d].in, mode);
        axis[d].at = at;
    }
    return true;
}

#define DOT(name, type)                                                                            \
    static int64_t dot_##name(const struct tensor *x, int64_t from, int64_t step, int64_t zero,    \
                              const int32_t *f, int64_t n)                                         \
    {                                                                                              \
        const type *p = (const type *)x->data + from;                                              \
        int64_t sum = 0;                                                                           \
        for (int64_t i = 0; i < n; i++)                                                            \
            sum += (int64_t)arith_clamp(p[i * step] - zero, INT32_MIN, INT32_MAX) * f[i];          \
        return sum;                                                                                \
    }
DOT(s8, int8_t)
DOT(u8, uint8_t)
DOT(s16, int16_t)
DOT(s32, int32_t)

fixed_dot_fn *fixed_dot(enum dtype t)
{
    return t == DT_QINT8 ? dot_s8 : t == DT_QUINT8 ? dot_u8 : t == DT_QINT16 ? dot_s16 : dot_s32;
}

static bool no_scale(const struct kernel_call *c, const struct tensor *t, const char *what,
                     struct bpu_error *err)
{
    error_set(err, BPU_BAD_MODEL, c->node->name, "%s: %s of type %s has no scale", c->node->op_name,
              what, dtype_name(t->dtype));
    return error_hint(err, "Quantize the network first, or give the value a scale.");
}

bool fixed_all_scaled(const struct kernel_call *c, struct bpu_error *err)
{
    for (int i = 0; i < c->in_count; i++)
        if (c->in[i] && fixed_is_scaled(c->in[i]) && c->in[i]->quant.count <= 0)
            return no_scale(c, c->in[i], "an operand", err);
    for (int i = 0; i < c->out_count; i++)
        if (c->out[i] && fixed_is_scaled(c->out[i]) && c->out[i]->quant.count <= 0)
            return no_scale(c, c->out[i], "a result", err);
    return true;
}

bool fixed_scale(const struct kernel_call *c, const struct tensor *t, const char *what,
                 struct fixed_scale *out, struct bpu_error *err)
{
    int64_t lo, hi;
    if (!fixed_is_scaled(t) || t->quant.count <= 0)
        return no_scale(c, t, what, err);
    if (t->quant.count != 1)
        return kernel_unsupported(c, err, "%s has a scale per channel", what);
    dtype_range(t->dtype, &lo, &hi);
    *out = (struct fixed_scale){.scale = t->quant.scale[0],
                                .zero = (int32_t)tensor_zero_point(t, 0),
                                .lo = (int32_t)lo,
                                .hi = (int32_t)hi,
                                .reciprocal = 1.0f / (float)t->quant.scale[0]};
    return true;
}

bool fixed_same_scale(const struct tensor *a, const struct tensor *b)
{
    if (a->dtype != b->dtype)
        return false;
    return !fixed_is_scaled(a) || infer_quant_equal(&a->quant, &b->quant);
}

int32_t fixed_take(const struct tensor *t, int64_t i, const struct fixed_scale *from,
                   const struct fixed_scale *to)
{
    if (fixed_is_scaled(t) && from)
        return fixed_rescale(tensor_int(t, i), from, to);
    return arith_quantize_binary32((float)tensor_real(t, i), to->reciprocal, to->zero, to->lo,
                                   to->hi);
}

struct fixed_lanes fixed_lanes(const struct shape *s, int axis)
{
    struct fixed_lanes l = {1, 1, 1};
    for (int i = 0; i < s->rank; i++)
        *(i < axis ? &l.outer : i == axis ? &l.extent : &l.inner) *= s->dim[i];
    return l;
}

bool fixed_axis_attr(const struct kernel_call *c, const char *name, int64_t otherwise, int rank,
                     int *out, struct bpu_error *err)
{
    return infer_axis(c->node, name, node_int(c->node, name, otherwise), rank, out, err);
}

static bool multiplier_of(const struct kernel_call *c, float single, double real,
                          const struct tensor *y, struct fixed_multiplier *out,
                          struct bpu_error *err)
{
    *out = (struct fixed_multiplier){.binary32 = requant_is_binary32(y->dtype), .real = single};
    return requant_multiplier(out->binary32 ? single : real, y->dtype, c->node->name, &out->exact,
                              err);
}

bool fixed_mean(const struct kernel_call *c, const struct fixed_scale *x, const struct tensor *y,
                const struct fixed_scale *to, int64_t n, struct fixed_multiplier *out,
                struct bpu_error *err)
{
    float single = (float)x->scale / ((float)to->scale * (float)n);
    return multiplier_of(c, single, x->scale / to->scale / (double)n, y, out, err);
}

bool fixed_product(const struct kernel_call *c, const struct fixed_scale *a,
                   const struct fixed_scale *b, const struct tensor *y,
                   const struct fixed_scale *to, struct fixed_multiplier *out,
                   struct bpu_error *err)
{
    float product = (float)a->scale * (float)b->scale;
    float single = y->dtype == DT_QUINT8 ? product * to->reciprocal : product / (float)to->scale;
    return multiplier_of(c, single, a->scale * b->scale / to->scale, y, out, err);
}
