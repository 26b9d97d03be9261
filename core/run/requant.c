/* requant: multipliers, biases and ranges from scales. */
#include "core/run/requant.h"

#include <string.h>

#include "core/run/kernel.h"

static double scale_of(const struct quant *q, int64_t c)
{
    return q->scale[q->count == 1 ? 0 : c % q->count];
}

double requant_weight_scale(const struct quant *w, int64_t c)
{
    return !w || w->count <= 0 ? 1 : scale_of(w, c);
}

int64_t requant_weight_zero(const struct quant *w, int64_t c)
{
    return !w || w->count <= 0 || !w->zero_point ? 0
                                                 : w->zero_point[w->count == 1 ? 0 : c % w->count];
}

static bool no_scale(const char *where, const char *what, struct bpu_error *err)
{
    error_set(err, BPU_BAD_MODEL, where, "%s has no scale", what);
    return error_hint(err, "Quantize the network first, or give the value a scale.");
}

static bool bad_ratio(const char *where, double real, struct bpu_error *err)
{
    error_set(err, BPU_BAD_MODEL, where,
              "the ratio of the scales is %g; it must be positive and below 2^30", real);
    return error_hint(err, "Check the scales of input, weight and result.");
}

/* The real multiplier of one channel, rounded like PyTorch's for 8-bit results: qnnpack (unsigned)
 * multiplies by the reciprocal of the result's scale, XNNPACK (signed) divides by it. */
static double real_of(double s_x, double s_w, double s_y, enum dtype y, bool binary32)
{
    if (!binary32)
        return s_x * s_w / s_y;
    float product = (float)s_w * (float)s_x;
    return y == DT_QUINT8 ? product * (1.0f / (float)s_y) : product / (float)s_y;
}

int32_t requant_residual(double s_r, double s_y, int shift)
{
    double m = nearbyint(ldexp(s_r / s_y, shift));
    return m > INT32_MAX ? INT32_MAX : (int32_t)m;
}

bool requant_multiplier(double real, enum dtype y_dtype, const char *where, struct multiplier *out,
                        struct bpu_error *err)
{
    if (requant_is_binary32(y_dtype))
        real = (float)real;
    return arith_multiplier(real, out) || bad_ratio(where, real, err);
}

bool requant_multipliers(const struct requant_scales *s, const char *where, int32_t *multiplier,
                         int32_t *shift, int32_t *residual, struct bpu_error *err)
{
    bool binary32 = requant_is_binary32(s->y_dtype) && !s->r;
    bool unquantized = s->y_dtype == DT_QINT32 && (!s->y || s->y->count <= 0);
    if (!s->x || s->x->count <= 0)
        return no_scale(where, "the input", err);
    if (!unquantized && (!s->y || s->y->count <= 0))
        return no_scale(where, "the result", err);
    if (s->r && s->r->count <= 0)
        return no_scale(where, "the second operand", err);
    for (int64_t c = 0; c < s->channels; c++) {
        double s_x = scale_of(s->x, 0), s_w = requant_weight_scale(s->w, c);
        double s_y = unquantized ? s_x * s_w : scale_of(s->y, c);
        double real = real_of(s_x, s_w, s_y, s->y_dtype, binary32);
        struct multiplier m;
        if (!arith_multiplier(real, &m))
            return bad_ratio(where, real, err);
        if (s->r) {
            double r = scale_of(s->r, 0) / s_y;
            int exponent;
            if (!(r > 0) || !isfinite(r) || r >= 0x1p30)
                return bad_ratio(where, r, err);
            frexp(r, &exponent); /* r < 2^exponent */
            int most = exponent < 30 ? 30 - exponent : 0;
            if (m.shift > most) { /* both mantissas below 2^31: fewer bits for the smaller one */
                m.shift = most;
                m.mantissa = (int32_t)nearbyint(ldexp(real, most));
            }
            residual[c] = requant_residual(scale_of(s->r, 0), s_y, m.shift);
        }
        multiplier[c] = m.mantissa;
        shift[c] = m.shift;
    }
    return true;
}

int32_t requant_bias(double bias, double s_x, double s_w)
{
    float reciprocal = 1.0f / (float)(s_w * s_x), q = nearbyintf((float)bias * reciprocal);
    return isnan(q) ? 0 : q >= 0x1p31f ? INT32_MAX : q < -0x1p31f ? INT32_MIN : (int32_t)q;
}

bool requant_range(enum dtype y, double scale, int64_t zero, const char *activation,
                   const char *where, int32_t *lo, int32_t *hi, struct bpu_error *err)
{
    int64_t least, most;
    dtype_range(y, &least, &most);
    *lo = (int32_t)least;
    *hi = (int32_t)most;
    if (!activation || strcmp(activation, "none") == 0)
        return true;
    bool six = strcmp(activation, "relu6") == 0;
    if (!six && strcmp(activation, "relu") != 0) {
        error_set(err, BPU_BAD_MODEL, where, "activation is \"%.40s\"", activation);
        return error_hint(err, "Activations are relu and relu6.");
    }
    int32_t bottom = arith_clamp(zero, *lo, *hi);
    if (six)
        *hi = arith_quantize_binary32(6, 1.0f / (float)scale, (int32_t)zero, *lo, *hi);
    *lo = bottom;
    if (*hi < *lo)
        *hi = *lo;
    return true;
}

bool requant_new(struct arena *a, const struct requant_scales *s, const char *activation,
                 const char *where, const void *multiplier, const void *shift, struct requant *out,
                 struct bpu_error *err)
{
    int64_t n = s->channels;
    bool binary32 = requant_is_binary32(s->y_dtype) && !s->r;
    bool scaled = s->y && s->y->count > 0;
    double s_y = scaled ? s->y->scale[0] : 1;
    int64_t zero = scaled && s->y->zero_point ? s->y->zero_point[0] : 0;
    int32_t *m = ARENA_ARRAY(a, int32_t, n, err), *sh = ARENA_ARRAY(a, int32_t, n, err);
    int32_t *r = s->r ? ARENA_ARRAY(a, int32_t, n, err) : NULL;
    float *real = binary32 ? ARENA_ARRAY(a, float, n, err) : NULL;
    *out = (struct requant){.channels = n,
                            .multiplier = m,
                            .shift = sh,
                            .real = real,
                            .residual = r,
                            .zero = (int32_t)zero};
    if (!m || !sh || (s->r && !r) || (binary32 && !real) ||
        !requant_multipliers(s, where, m, sh, r, err) ||
        !requant_range(s->y_dtype, s_y, zero, activation, where, &out->lo, &out->hi, err))
        return false;
    if (s->r && s->r->zero_point)
        out->residual_zero = (int32_t)s->r->zero_point[0];
    for (int64_t c = 0; c < n; c++) {
        if (multiplier && shift) { /* what the file says, not aligned */
            memcpy(&m[c], (const char *)multiplier + c * 4, 4);
            memcpy(&sh[c], (const char *)shift + c * 4, 4);
            if (m[c] < 0 || sh[c] < 0 || sh[c] > 62)
                return error_set(err, BPU_BAD_MODEL, where,
                                 "multiplier %d with shift %d of channel %lld; multipliers are 0 "
                                 "or more, shifts 0 to 62",
                                 m[c], sh[c], (long long)c);
            if (r)
                r[c] = requant_residual(s->r->scale[0], scaled ? scale_of(s->y, c) : 1, sh[c]);
        }
        if (real)
            real[c] = arith_multiplier_real((struct multiplier){m[c], sh[c]});
    }
    return true;
}
