/* sim_call: what the functions of the instructions share. */
#include "core/sim/sim_private.h"

bool sim_bad(const struct sim_call *c, struct bpu_error *err, const char *fmt, ...)
{
    va_list ap;
    (void)c; /* the caller adds the instruction's name as the place */
    va_start(ap, fmt);
    error_vput(err, BPU_BAD_MODEL, NULL, fmt, ap);
    va_end(ap);
    return false;
}

bool sim_same_extents(const struct tile *a, const struct tile *b)
{
    return a->n == b->n && a->h == b->h && a->w == b->w && a->c == b->c;
}

static bool repeats(int32_t extent, int32_t of)
{
    return extent == of || extent == 1;
}

bool sim_repeats(const struct sim_call *c, int y, int t)
{
    const struct tile *a = &c->tiles[y], *b = &c->tiles[t];
    return repeats(b->n, a->n) && repeats(b->h, a->h) && repeats(b->w, a->w) && repeats(b->c, a->c);
}

void sim_range(enum dtype t, int64_t *lo, int64_t *hi)
{
    bool is_unsigned = t == DT_QUINT8 || t == DT_UINT8 || t == DT_UINT16 || t == DT_UINT32;
    if (t == DT_QBOOL || t == DT_BOOL) {
        *lo = 0;
        *hi = 1;
        return;
    }
    size_t bits = dtype_size(t) * 8;
    if (bits >= 64) {
        *lo = t == DT_UINT64 ? 0 : INT64_MIN;
        *hi = INT64_MAX;
        return;
    }
    *lo = is_unsigned ? 0 : -((int64_t)1 << (bits - 1));
    *hi = ((int64_t)1 << (bits - (is_unsigned ? 0 : 1))) - 1;
}

const unsigned char *sim_bytes(const struct sim_call *c, int t, int64_t *size,
                               struct bpu_error *err)
{
    if (t >= c->tile_count || !c->memory[t] || c->contiguous[t] == 0) {
        sim_bad(c, err, "operand %d has to be one run of bytes", t);
        return NULL;
    }
    *size = c->contiguous[t];
    return c->memory[t] + c->first[t];
}

int64_t sim_quantize(const struct tile *t, double v)
{
    int64_t lo, hi;
    sim_range((enum dtype)t->dtype, &lo, &hi);
    if (t->dtype == DT_QBOOL || t->dtype == DT_BOOL)
        return v != 0;
    if (t->scale != 0 && dtype_size((enum dtype)t->dtype) <= 4)
        return arith_quantize(v, t->scale, t->zero, (int32_t)lo, (int32_t)hi);
    if (t->scale != 0)
        v = nearbyint(v / t->scale) + t->zero;
    if (isnan(v))
        return 0;
    return v <= (double)lo ? lo : v >= (double)hi ? hi : (int64_t)v;
}

struct sim_rescale sim_rescale_of(const struct tile *x, const struct tile *y)
{
    struct sim_rescale r = {.same = x->scale == y->scale && x->zero == y->zero,
                            .scale = (float)x->scale,
                            .reciprocal = 1.0f / (float)y->scale,
                            .zero_x = x->zero,
                            .zero_y = y->zero};
    sim_range((enum dtype)y->dtype, &r.lo, &r.hi);
    return r;
}

int64_t sim_side_by_side(const struct sim_call *c, int t, int64_t l)
{
    const int64_t *at = c->channels[t];
    int64_t element = (int64_t)dtype_size((enum dtype)c->tiles[t].dtype), n = 1;
    while (l + n < c->tiles[t].c && at[l + n] == at[l] + n * element)
        n++;
    return n;
}

void sim_get_channels(const struct sim_call *c, int t, int64_t i, int64_t j, int64_t k,
                      int64_t first, int64_t count, int32_t *out)
{
    const struct tile *tile = &c->tiles[t];
    const int64_t *at = c->channels[t] + first;
    const unsigned char *p = c->memory[t] + c->rows[t][i * tile->h + j] + c->columns[t][k];
    int32_t zero = tile->zero;
    switch (dtype_size((enum dtype)tile->dtype) == 1 ? tile->dtype : DT_UNKNOWN) {
    case DT_QINT8:
    case DT_INT8:
        for (int64_t l = 0; l < count; l++)
            out[l] = (signed char)p[at[l]] - zero;
        break;
    case DT_UNKNOWN:
        for (int64_t l = 0; l < count; l++)
            out[l] = arith_clamp(sim_load(p + at[l], (enum dtype)tile->dtype) - zero, INT32_MIN,
                                 INT32_MAX);
        break;
    default:
        for (int64_t l = 0; l < count; l++)
            out[l] = p[at[l]] - zero;
    }
}

void sim_put_channels(struct sim_call *c, int t, int64_t i, int64_t j, int64_t k, int64_t first,
                      int64_t count, const int32_t *in)
{
    const struct tile *tile = &c->tiles[t];
    const int64_t *at = c->channels[t] + first;
    unsigned char *p = c->memory[t] + c->rows[t][i * tile->h + j] + c->columns[t][k];
    if (dtype_size((enum dtype)tile->dtype) == 1)
        for (int64_t l = 0; l < count; l++)
            p[at[l]] = (unsigned char)in[l];
    else
        for (int64_t l = 0; l < count; l++)
            sim_save(p + at[l], (enum dtype)tile->dtype, in[l]);
}
