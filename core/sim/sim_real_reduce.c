/* sim_real_reduce: axes that go away. */
#include <math.h>

#include "core/sim/sim_real.h"

bool sim_REDUCE_SUM(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *x = &c->tiles[1], *y = &c->tiles[0];
    unsigned axes = (unsigned)c->args[REDUCE_SUM_AXES];
    struct multiplier m = {c->args[REDUCE_SUM_MANTISSA], c->args[REDUCE_SUM_SHIFT]};
    float real = arith_multiplier_real(m);
    int64_t lo, hi;
    if (!sim_reduced(c, axes, err) || !sim_in_range(c, REDUCE_SUM_SHIFT, 0, 62, err) ||
        !sim_in_range(c, REDUCE_SUM_RULE, 0, 1, err))
        return false;
    if (sim_is_real(x) || sim_is_real(y))
        return sim_bad(c, err, "only stored integers can be summed");
    sim_range((enum dtype)y->dtype, &lo, &hi);
    struct sim_box to = sim_box_of(y, NEST_NHWC);
    do {
        struct sim_box from = sim_box_along(x, NEST_NHWC, axes, to.at);
        uint64_t sum = 0; /* wraps beyond every extent that memory holds */
        do
            sum += (uint64_t)(sim_get_at(c, 1, from.at) - x->zero);
        while (sim_box_next(&from));
        int32_t acc = arith_clamp((int64_t)sum, INT32_MIN, INT32_MAX);
        int64_t v = c->args[REDUCE_SUM_RULE] ? arith_requantize(acc, m)
                                             : arith_requantize_binary32(acc, real);
        v += y->zero;
        sim_put_at(c, 0, to.at, v < lo ? lo : v > hi ? hi : v);
    } while (sim_box_next(&to));
    return true;
}

/* The extremum over the axes that go away, and where it stands in their order. */
static int64_t extremum(const struct sim_call *c, unsigned axes, int order, bool largest, bool last,
                        const int64_t at[AXIS_COUNT], int64_t *where)
{
    struct sim_box b = sim_box_along(&c->tiles[1], order, axes, at);
    int64_t best = sim_get_at(c, 1, b.at), i = 0;
    *where = 0;
    while (sim_box_next(&b)) {
        int64_t q = sim_get_at(c, 1, b.at);
        i++;
        if (largest ? q > best : q < best) {
            best = q;
            *where = i;
        } else if (last && q == best) {
            *where = i;
        }
    }
    return best;
}

bool sim_REDUCE_EXTREME(struct sim_call *c, struct bpu_error *err)
{
    unsigned axes = (unsigned)c->args[REDUCE_EXTREME_AXES];
    int64_t where;
    if (!sim_reduced(c, axes, err))
        return false;
    if (sim_is_real(&c->tiles[0]) || sim_is_real(&c->tiles[1]))
        return sim_bad(c, err, "only stored integers can be compared");
    struct sim_rescale r = sim_rescale_of(&c->tiles[1], &c->tiles[0]);
    struct sim_box to = sim_box_of(&c->tiles[0], NEST_NHWC);
    do {
        int64_t q =
            extremum(c, axes, NEST_NHWC, c->args[REDUCE_EXTREME_LARGEST], false, to.at, &where);
        sim_put_at(c, 0, to.at, sim_rescale(&r, q));
    } while (sim_box_next(&to));
    return true;
}

bool sim_POSITION(struct sim_call *c, struct bpu_error *err)
{
    unsigned axes = (unsigned)c->args[POSITION_AXES];
    int64_t where, lo, hi;
    if (!sim_reduced(c, axes, err) || !sim_in_range(c, POSITION_ORDER, 0, NEST_COUNT - 1, err))
        return false;
    if (sim_is_real(&c->tiles[0]) || sim_is_real(&c->tiles[1]))
        return sim_bad(c, err, "only stored integers can be compared");
    sim_range((enum dtype)c->tiles[0].dtype, &lo, &hi);
    struct sim_box to = sim_box_of(&c->tiles[0], NEST_NHWC);
    do {
        (void)extremum(c, axes, c->args[POSITION_ORDER], c->args[POSITION_LARGEST],
                       c->args[POSITION_LAST], to.at, &where);
        sim_put_at(c, 0, to.at, where > hi ? hi : where);
    } while (sim_box_next(&to));
    return true;
}

/* ── in real arithmetic ── */

/* One result. The box is walked anew for each pass. */
static double reduce(const struct sim_call *c, struct sim_box b, int function, double p,
                     double correction)
{
    double count = (double)sim_box_count(&b), result = function == REDUCE_PROD, aside = 0;
    int passes = function >= REDUCE_LOGSUMEXP ? 2 : 1;
    if (function == REDUCE_LOGSUMEXP)
        aside = -INFINITY;
    for (int pass = 0; pass < passes; pass++) {
        do {
            double v = sim_real_at(c, 1, b.at);
            if (function == REDUCE_PROD)
                result *= v;
            else if (function == REDUCE_NORM && isinf(p))
                result = fmax(result, fabs(v));
            else if (function == REDUCE_NORM)
                result += p == 2 ? v * v : p == 1 ? fabs(v) : pow(fabs(v), p);
            else if (function == REDUCE_LOGSUMEXP && pass == 0)
                aside = fmax(aside, v);
            else if (function == REDUCE_LOGSUMEXP)
                result += exp(v - aside);
            else if (pass == 0)
                aside += v;
            else
                result += (v - aside) * (v - aside);
        } while (sim_box_next(&b));
        if (pass == 0 && function >= REDUCE_VAR)
            aside /= count;
    }
    switch (function) {
    case REDUCE_NORM:
        return p == 2 ? sqrt(result) : p == 1 || isinf(p) ? result : pow(result, 1 / p);
    case REDUCE_LOGSUMEXP: return aside + log(result);
    case REDUCE_VAR: return result / (count - correction);
    case REDUCE_STD: return sqrt(result / (count - correction));
    default: return result;
    }
}

bool sim_REDUCE_REAL(struct sim_call *c, struct bpu_error *err)
{
    unsigned axes = (unsigned)c->args[REDUCE_REAL_AXES];
    if (!sim_reduced(c, axes, err) || !sim_in_range(c, REDUCE_REAL_ORDER, 0, NEST_COUNT - 1, err) ||
        !sim_in_range(c, REDUCE_REAL_FUNCTION, 0, REDUCE_COUNT - 1, err))
        return false;
    double p = sim_double(c, REDUCE_REAL_P_LO),
           correction = sim_double(c, REDUCE_REAL_CORRECTION_LO);
    struct sim_box to = sim_box_of(&c->tiles[0], NEST_NHWC);
    do {
        struct sim_box from = sim_box_along(&c->tiles[1], c->args[REDUCE_REAL_ORDER], axes, to.at);
        sim_put_real_at(c, 0, to.at, reduce(c, from, c->args[REDUCE_REAL_FUNCTION], p, correction));
    } while (sim_box_next(&to));
    return true;
}
