/* sim_eltwise: one result element from the elements at its place. */
#include "core/ops/binary.h"
#include "core/program/args.h"
#include "core/sim/sim_private.h"

#define EACH_ELEMENT(t)                                                                            \
    for (int64_t i = 0; i < (t)->n; i++)                                                           \
        for (int64_t j = 0; j < (t)->h; j++)                                                       \
            for (int64_t k = 0; k < (t)->w; k++)                                                   \
                for (int64_t l = 0; l < (t)->c; l++)

/* Address of operand t's element for a place in y. */
static inline const unsigned char *operand(const struct sim_call *c, int t, int64_t i, int64_t j,
                                           int64_t k, int64_t l)
{
    const struct tile *x = &c->tiles[t];
    return sim_at(c, t, sim_repeat(x->n, i), sim_repeat(x->h, j), sim_repeat(x->w, k),
                  sim_repeat(x->c, l));
}

static bool broadcasts(const struct sim_call *c, int t, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[t];
    return sim_repeats(c, 0, t) ||
           sim_bad(c, err, "operand %d has %dx%dx%dx%d elements, the result %dx%dx%dx%d", t, x->n,
                   x->h, x->w, x->c, y->n, y->h, y->w, y->c);
}

/* All channels of one position, zero point taken off, channel 0 repeated where there is one only.
 */
static void operand_channels(const struct sim_call *c, int t, int64_t i, int64_t j, int64_t k,
                             int64_t count, int32_t *out)
{
    const struct tile *x = &c->tiles[t];
    sim_get_channels(c, t, sim_repeat(x->n, i), sim_repeat(x->h, j), sim_repeat(x->w, k), 0, x->c,
                     out);
    for (int64_t l = 1; x->c == 1 && l < count; l++)
        out[l] = out[0];
}

static bool three_rows(struct sim_call *c, int32_t *rows[3], struct bpu_error *err)
{
    for (int r = 0; r < 3; r++)
        if (!(rows[r] = arena_reserve(c->scratch, (size_t)c->tiles[0].c * sizeof **rows, err)))
            return false;
    return true;
}

/* ── sums and products ── */

bool sim_ADD(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    struct add_multipliers m = {c->args[ADD_MANTISSA_A], c->args[ADD_MANTISSA_B],
                                c->args[ADD_SHIFT]};
    int32_t low = c->args[ADD_LOW], high = c->args[ADD_HIGH], *rows[3];
    if (!broadcasts(c, 1, err) || !broadcasts(c, 2, err) || !three_rows(c, rows, err))
        return false;
    /* Mantissas of 22 bits: with them no sum leaves 64 bits. */
    if (m.shift < 1 || m.shift > 62 || m.a < -(1 << 22) || m.a > 1 << 22 || m.b < -(1 << 22) ||
        m.b > 1 << 22)
        return sim_bad(c, err, "multipliers %d and %d with shift %d", m.a, m.b, m.shift);
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++) {
                operand_channels(c, 1, i, j, k, y->c, rows[0]);
                operand_channels(c, 2, i, j, k, y->c, rows[1]);
                for (int64_t l = 0; l < y->c; l++)
                    rows[2][l] =
                        arith_clamp(arith_add(rows[0][l], rows[1][l], m) + y->zero, low, high);
                sim_put_channels(c, 0, i, j, k, 0, y->c, rows[2]);
            }
    return true;
}

bool sim_MUL(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    struct multiplier m = {c->args[MUL_MANTISSA], c->args[MUL_SHIFT]};
    int32_t low = c->args[MUL_LOW], high = c->args[MUL_HIGH], *rows[3];
    if (!broadcasts(c, 1, err) || !broadcasts(c, 2, err) || !three_rows(c, rows, err))
        return false;
    if (m.shift < 0 || m.shift > 62 || m.mantissa < 0)
        return sim_bad(c, err, "multiplier %d with shift %d", m.mantissa, m.shift);
    float real = arith_multiplier_real(m);
    bool exact = c->args[MUL_RULE] == 1;
    for (int64_t i = 0; i < y->n; i++)
        for (int64_t j = 0; j < y->h; j++)
            for (int64_t k = 0; k < y->w; k++) {
                operand_channels(c, 1, i, j, k, y->c, rows[0]);
                operand_channels(c, 2, i, j, k, y->c, rows[1]);
                for (int64_t l = 0; l < y->c; l++) {
                    int32_t acc =
                        arith_clamp((int64_t)rows[0][l] * rows[1][l], INT32_MIN, INT32_MAX);
                    int64_t v =
                        exact ? arith_requantize(acc, m) : arith_requantize_binary32(acc, real);
                    rows[2][l] = arith_clamp(v + y->zero, low, high);
                }
                sim_put_channels(c, 0, i, j, k, 0, y->c, rows[2]);
            }
    return true;
}

/* ── functions of two values ── */

/* A quantized operand as the host would see it: one product in binary32. */
static float single(const unsigned char *p, const struct tile *t)
{
    if (t->scale == 0 || t->dtype == DT_FLOAT32)
        return (float)sim_load_real(p, t);
    return (float)t->scale * (float)(sim_load(p, (enum dtype)t->dtype) - t->zero);
}

/* maximum, minimum: the operand as a stored integer of the result. */
static int64_t rescaled(const unsigned char *p, const struct tile *t, const struct sim_rescale *r)
{
    if (t->scale == 0 || t->dtype == DT_FLOAT32)
        return arith_quantize_binary32((float)sim_load_real(p, t), r->reciprocal, r->zero_y,
                                       (int32_t)r->lo, (int32_t)r->hi);
    return sim_rescale(r, sim_load(p, (enum dtype)t->dtype));
}

bool sim_BINARY(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    bool given[2] = {sim_given(c, 1), sim_given(c, 2)};
    const struct tile *t[2] = {&c->tiles[1], c->tile_count > 2 ? &c->tiles[2] : NULL};
    enum binary code = (enum binary)c->args[BINARY_CODE];
    int64_t low = c->args[BINARY_LOW], high = c->args[BINARY_HIGH];
    double scalar = sim_double(c, BINARY_SCALAR_LO);
    if (code < 0 || code >= B_NONE || binary_is_bitwise(code) || (!given[0] && !given[1]))
        return sim_bad(c, err, "function %d of %d maps", (int)code, given[0] + given[1]);
    struct sim_rescale to[2] = {{0}};
    for (int s = 0; s < 2; s++) {
        if (given[s] && !broadcasts(c, s + 1, err))
            return false;
        if (given[s])
            to[s] = sim_rescale_of(t[s], y);
    }
    /* A scalar as a stored integer of the result, for maximum and minimum. */
    struct sim_rescale of = sim_rescale_of(y, y);
    int64_t bound = arith_quantize_binary32((float)scalar, of.reciprocal, of.zero_y, (int32_t)of.lo,
                                            (int32_t)of.hi);
    EACH_ELEMENT(y)
    {
        const unsigned char *p[2] = {NULL, NULL};
        for (int s = 0; s < 2; s++)
            if (given[s])
                p[s] = operand(c, s + 1, i, j, k, l);
        int64_t v;
        if (binary_is_truth(code)) {
            float a = p[0] ? single(p[0], t[0]) : (float)scalar;
            float b = p[1] ? single(p[1], t[1]) : (float)scalar;
            v = binary_apply(code, a, b) != 0;
        } else if ((code == B_MAX || code == B_MIN) && y->scale != 0) {
            int64_t a = p[0] ? rescaled(p[0], t[0], &to[0]) : bound;
            int64_t b = p[1] ? rescaled(p[1], t[1], &to[1]) : bound;
            v = (code == B_MAX) == (a > b) ? a : b;
        } else {
            double a = p[0] ? sim_load_real(p[0], t[0]) : scalar;
            double b = p[1] ? sim_load_real(p[1], t[1]) : scalar;
            double r = binary_apply(code, a, b);
            if (y->dtype == DT_FLOAT32) {
                sim_put_real(c, 0, i, j, k, l, r);
                continue;
            }
            v = sim_quantize(y, r);
        }
        sim_put(c, 0, i, j, k, l, v < low ? low : v > high ? high : v);
    }
    return true;
}

/* ── others ── */

bool sim_CLAMP(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    int64_t low = c->args[CLAMP_LOW], high = c->args[CLAMP_HIGH];
    struct sim_rescale r = sim_rescale_of(&c->tiles[1], y);
    if (!broadcasts(c, 1, err))
        return false;
    EACH_ELEMENT(y)
    {
        int64_t v = sim_load(operand(c, 1, i, j, k, l), (enum dtype)c->tiles[1].dtype);
        v = v < low ? low : v;
        v = v > high ? high : v;
        sim_put(c, 0, i, j, k, l, sim_rescale(&r, v));
    }
    return true;
}

/* An element as it is where type and scale agree, else through its real value; scalar: no map. */
static void choose(struct sim_call *c, int t, double scalar, int64_t i, int64_t j, int64_t k,
                   int64_t l)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[t];
    if (!sim_given(c, t)) {
        sim_put_real(c, 0, i, j, k, l, scalar);
        return;
    }
    const unsigned char *p = operand(c, t, i, j, k, l);
    if (x->dtype == y->dtype && x->scale == y->scale && x->zero == y->zero)
        memcpy(sim_at(c, 0, i, j, k, l), p, dtype_size((enum dtype)y->dtype));
    else
        sim_put_real(c, 0, i, j, k, l, sim_load_real(p, x));
}

bool sim_SELECT(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *mask = &c->tiles[1];
    double a = sim_double(c, SELECT_A_LO), b = sim_double(c, SELECT_B_LO);
    for (int t = 1; t < 4; t++)
        if ((t == 1 || sim_given(c, t)) && !broadcasts(c, t, err))
            return false;
    EACH_ELEMENT(y)
    {
        if (sim_load_real(operand(c, 1, i, j, k, l), mask) != 0)
            choose(c, 2, a, i, j, k, l);
        else
            choose(c, 3, b, i, j, k, l);
    }
    return true;
}

bool sim_PRELU(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    if (!broadcasts(c, 1, err) || !broadcasts(c, 2, err))
        return false;
    EACH_ELEMENT(y)
    {
        double x = sim_load_real(operand(c, 1, i, j, k, l), &c->tiles[1]);
        double slope = sim_load_real(operand(c, 2, i, j, k, l), &c->tiles[2]);
        sim_put_real(c, 0, i, j, k, l, x < 0 ? slope * x : x);
    }
    return true;
}

bool sim_LOOKUP(struct sim_call *c, struct bpu_error *err)
{
    enum { Y, X, TABLE };
    const struct tile *y = &c->tiles[Y], *x = &c->tiles[X];
    int64_t size, lo, hi, element = (int64_t)dtype_size((enum dtype)y->dtype);
    const unsigned char *table = sim_bytes(c, TABLE, &size, err);
    if (!table)
        return false;
    sim_range((enum dtype)x->dtype, &lo, &hi);
    if (dtype_size((enum dtype)x->dtype) > 2 || size < (hi - lo + 1) * element)
        return sim_bad(c, err, "a table of %lld bytes for %s to %s", (long long)size,
                       dtype_name((enum dtype)x->dtype), dtype_name((enum dtype)y->dtype));
    if (!broadcasts(c, X, err))
        return false;
    EACH_ELEMENT(y)
    {
        int64_t q = sim_load(operand(c, X, i, j, k, l), (enum dtype)x->dtype) - lo;
        if (q < 0 || q > hi - lo)
            return sim_bad(c, err, "a truth value that is none");
        memcpy(sim_at(c, Y, i, j, k, l), table + q * element, (size_t)element);
    }
    return true;
}
