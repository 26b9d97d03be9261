/* fold: results, elements, strides and walks, shared by the fold functions. */
#include "core/ops/fold.h"

#include <math.h>

bool fold_is_int(enum dtype t)
{
    return (t >= DT_INT8 && t <= DT_UINT64) || t == DT_BOOL;
}

bool fold_begin(struct graph *g, struct node *n, int i, struct fold_result *f, bool *skip,
                struct bpu_error *err)
{
    *f = (struct fold_result){.out = i < n->output_count ? n->outputs[i] : NULL};
    *skip = true;
    if (!f->out || dtype_is_quantized(f->out->dtype))
        return true;
    f->count = shape_elements(&f->out->shape);
    f->size = dtype_size(f->out->dtype);
    int64_t cap = fold_is_int(f->out->dtype) ? FOLD_INT_CAP : FOLD_REAL_CAP;
    if (f->size == 0 || f->count < 0 || f->count > cap / (int64_t)f->size)
        return true;
    *skip = false;
    f->data = arena_alloc(g->arena, (size_t)f->count * f->size, err);
    return f->data != NULL;
}

bool fold_end(struct graph *g, struct fold_result *f, struct bpu_error *err)
{
    struct constant *c = ARENA_NEW(g->arena, struct constant, err);
    if (!c)
        return false;
    c->data = f->data;
    c->bytes = (size_t)f->count * f->size;
    f->out->constant = c;
    return true;
}

bool fold_share(struct graph *g, struct node *n, int i, const struct value *v,
                struct bpu_error *err)
{
    if (i >= n->output_count || n->outputs[i]->dtype != v->dtype ||
        shape_elements(&n->outputs[i]->shape) != shape_elements(&v->shape))
        return true;
    struct constant *c = ARENA_NEW(g->arena, struct constant, err);
    if (!c)
        return false;
    *c = *v->constant;
    n->outputs[i]->constant = c;
    return true;
}

#define LOAD(type, p)                                                                              \
    __extension__({                                                                                \
        type x_;                                                                                   \
        memcpy(&x_, (p), sizeof x_);                                                               \
        x_;                                                                                        \
    })
#define STORE(type, p, v)                                                                          \
    do {                                                                                           \
        type x_ = (type)(v);                                                                       \
        memcpy((p), &x_, sizeof x_);                                                               \
    } while (0)

int64_t fold_load_int(const unsigned char *p, enum dtype t)
{
    switch (t) {
    case DT_INT8: return LOAD(int8_t, p);
    case DT_UINT8:
    case DT_BOOL: return *p;
    case DT_INT16: return LOAD(int16_t, p);
    case DT_UINT16: return LOAD(uint16_t, p);
    case DT_INT32: return LOAD(int32_t, p);
    case DT_UINT32: return LOAD(uint32_t, p);
    case DT_INT64: return LOAD(int64_t, p);
    case DT_UINT64: return (int64_t)LOAD(uint64_t, p);
    default: break;
    }
    double r = fold_load_real(p, t);
    return r >= -9.2e18 && r <= 9.2e18 ? (int64_t)r : 0;
}

double fold_load_real(const unsigned char *p, enum dtype t)
{
    switch (t) {
    case DT_FLOAT32: return (double)LOAD(float, p);
    case DT_FLOAT64: return LOAD(double, p);
    case DT_FLOAT16: {
        uint16_t h = LOAD(uint16_t, p);
        int e = h >> 10 & 31, m = h & 1023;
        double r = e == 0    ? ldexp(m, -24)
                   : e == 31 ? (m ? NAN : INFINITY)
                             : ldexp(m + 1024, e - 25);
        return h & 0x8000 ? -r : r;
    }
    case DT_BFLOAT16: {
        uint32_t bits = (uint32_t)LOAD(uint16_t, p) << 16;
        return (double)LOAD(float, &bits);
    }
    case DT_UINT64: return (double)LOAD(uint64_t, p);
    default: return fold_is_int(t) ? (double)fold_load_int(p, t) : 0;
    }
}

void fold_store_int(unsigned char *p, enum dtype t, int64_t v)
{
    /* Conversion to unsigned wraps; gcc and clang wrap to signed as well. */
    switch (t) {
    case DT_BOOL: *p = v != 0; break;
    case DT_INT8:
    case DT_UINT8: STORE(uint8_t, p, v); break;
    case DT_INT16:
    case DT_UINT16: STORE(uint16_t, p, v); break;
    case DT_INT32:
    case DT_UINT32: STORE(uint32_t, p, v); break;
    case DT_INT64:
    case DT_UINT64: STORE(uint64_t, p, v); break;
    default: fold_store_real(p, t, (double)v); break;
    }
}

/* Ties to even, as every cast to half precision does. */
static uint16_t half_bits(double v)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    double a = fabs(v);
    if (isnan(v))
        return (uint16_t)(sign | 0x7e00);
    if (a >= 65520)
        return (uint16_t)(sign | 0x7c00);
    if (a < ldexp(1, -14))
        return (uint16_t)(sign | (unsigned)nearbyint(ldexp(a, 24)));
    int e;
    double m = frexp(a, &e);                           /* a = m * 2^e, m in [0.5, 1) */
    unsigned bits = (unsigned)nearbyint(ldexp(m, 11)); /* 1024..2048 */
    return (uint16_t)(sign | (((unsigned)(e + 14) << 10) + (bits - 1024)));
}

static uint16_t bfloat_bits(double v)
{
    float f = (float)v;
    uint32_t bits = LOAD(uint32_t, &f);
    if (isnan(v))
        return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void fold_store_real(unsigned char *p, enum dtype t, double v)
{
    switch (t) {
    case DT_FLOAT32: STORE(float, p, v); return;
    case DT_FLOAT64: STORE(double, p, v); return;
    case DT_FLOAT16: STORE(uint16_t, p, half_bits(v)); return;
    case DT_BFLOAT16: STORE(uint16_t, p, bfloat_bits(v)); return;
    case DT_BOOL: *p = v != 0; return;
    default: break;
    }
    if (isnan(v))
        v = 0;
    if (t == DT_UINT64 && v >= 9223372036854775808.0) {
        STORE(uint64_t, p, v < 18446744073709551615.0 ? (uint64_t)v : UINT64_MAX);
        return;
    }
    fold_store_int(p, t,
                   v >= 9223372036854775807.0    ? INT64_MAX
                   : v <= -9223372036854775808.0 ? INT64_MIN
                                                 : (int64_t)v);
}

void fold_strides(const struct shape *s, int64_t *stride)
{
    int64_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= s->dim[i] > 0 ? s->dim[i] : 1;
    }
}

void fold_broadcast_strides(const struct shape *v, const struct shape *out, int64_t *stride)
{
    int64_t own[SHAPE_MAX_RANK];
    fold_strides(v, own);
    for (int i = 0; i < out->rank; i++) {
        int k = i - (out->rank - v->rank);
        stride[i] = k < 0 || v->dim[k] == 1 ? 0 : own[k];
    }
}

void fold_copy(unsigned char *dst, const unsigned char *src, size_t size, int rank,
               const int64_t *dim, const int64_t *stride, int64_t offset)
{
    int64_t index[2 * SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < rank; i++)
        if (dim[i] <= 0)
            return;
    /* The innermost axes that lie together in src are copied as one piece. */
    int64_t run = 1;
    while (rank > 0 && (stride[rank - 1] == run || dim[rank - 1] == 1))
        run *= dim[--rank];
    size_t piece = (size_t)run * size;
    for (;;) {
        memcpy(dst, src + offset * (int64_t)size, piece);
        dst += piece;
        int i = rank - 1;
        for (; i >= 0; i--) {
            offset += stride[i];
            if (++index[i] < dim[i])
                break;
            offset -= stride[i] * dim[i];
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

void fold_walk_init(struct fold_walk *w, const struct shape *out)
{
    *w = (struct fold_walk){.rank = out->rank};
    memcpy(w->dim, out->dim, sizeof w->dim);
}

void fold_walk_add(struct fold_walk *w, const struct shape *operand)
{
    struct shape out = {.rank = w->rank};
    memcpy(out.dim, w->dim, sizeof out.dim);
    fold_broadcast_strides(operand, &out, w->stride[w->operands++]);
}
