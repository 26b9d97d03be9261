/* sim_real_norm: normalization by statistics of the data, by recorded ones, and over channels. */
#include <math.h>

#include "core/sim/sim_real.h"

/* Numbers of one normalized box: weight and bias of place i. */
struct norm {
    const unsigned char *weights; /* NULL: 1 and 0 */
    int kind;
    bool per_channel;
    double eps;
};

static double normalized(const struct norm *m, double v, double mean, double factor, int64_t place)
{
    double weight = m->weights ? sim_number(m->weights, m->kind, 2 * place) : 1;
    double bias = m->weights ? sim_number(m->weights, m->kind, 2 * place + 1) : 0;
    v = (v - mean) * factor;
    v = v * weight;
    return v + bias;
}

static void normalize(struct sim_call *c, const struct norm *m, struct sim_box b)
{
    double sum = 0, squares = 0, count = (double)sim_box_count(&b);
    do
        sum += sim_real_at(c, 1, b.at);
    while (sim_box_next(&b));
    double mean = sum / count;
    do {
        double apart = sim_real_at(c, 1, b.at) - mean;
        squares += apart * apart;
    } while (sim_box_next(&b));
    double factor = 1 / sqrt(squares / count + m->eps);
    int64_t i = 0;
    do {
        int64_t place = m->per_channel ? b.at[AXIS_C] : i;
        sim_put_real_at(c, 0, b.at, normalized(m, sim_real_at(c, 1, b.at), mean, factor, place));
        i++;
    } while (sim_box_next(&b));
}

bool sim_NORMALIZE(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *x = &c->tiles[1];
    unsigned axes = (unsigned)c->args[NORMALIZE_AXES];
    int order = c->args[NORMALIZE_ORDER];
    int64_t groups = c->args[NORMALIZE_GROUPS], origin[AXIS_COUNT] = {0};
    struct norm m = {.kind = c->args[NORMALIZE_KIND],
                     .per_channel = c->args[NORMALIZE_PER_CHANNEL],
                     .eps = sim_double(c, NORMALIZE_EPS_LO)};
    if (!sim_alike(c, 0, 1, -1, err) || !sim_in_range(c, NORMALIZE_AXES, 0, 15, err) ||
        !sim_in_range(c, NORMALIZE_ORDER, 0, NEST_COUNT - 1, err) ||
        !sim_in_range(c, NORMALIZE_KIND, 0, 1, err))
        return false;
    if (groups < 0 || (groups > 0 && (axes & 1u << AXIS_C || x->c % groups)))
        return sim_bad(c, err, "%d channels in %lld groups", x->c, (long long)groups);
    struct sim_box all = sim_box_along(x, order, axes, origin);
    if (sim_given(c, 2)) {
        int64_t pairs = m.per_channel ? x->c : sim_box_count(&all);
        if (!(m.weights = sim_numbers(c, 2, m.kind, 2 * pairs, err)))
            return false;
    }
    /* The boxes: one for each place along the other axes, and for each group. */
    struct sim_box to = sim_box_along(x, order, 15u & ~axes, origin);
    int64_t width = groups > 0 ? x->c / groups : 1;
    do {
        if (to.at[AXIS_C] % width)
            continue;
        struct sim_box b = sim_box_along(x, order, axes, to.at);
        if (groups > 0)
            b.hi[AXIS_C] = b.lo[AXIS_C] + width;
        normalize(c, &m, b);
    } while (sim_box_next(&to));
    return true;
}

bool sim_AFFINE(struct sim_call *c, struct bpu_error *err)
{
    int kind = c->args[AFFINE_KIND];
    if (!sim_alike(c, 0, 1, -1, err) || !sim_in_range(c, AFFINE_KIND, 0, 1, err))
        return false;
    const unsigned char *p = sim_numbers(c, 2, kind, 4 * (int64_t)c->tiles[1].c, err);
    if (!p)
        return false;
    struct sim_box b = sim_box_of(&c->tiles[0], NEST_NHWC);
    do {
        int64_t first = 4 * b.at[AXIS_C];
        double v = sim_real_at(c, 1, b.at) - sim_number(p, kind, first);
        v = v * sim_number(p, kind, first + 1);
        v = v * sim_number(p, kind, first + 2);
        sim_put_real_at(c, 0, b.at, v + sim_number(p, kind, first + 3));
    } while (sim_box_next(&b));
    return true;
}

bool sim_RESPONSE_NORM(struct sim_call *c, struct bpu_error *err)
{
    int64_t count = c->tiles[0].c, size = c->args[RESPONSE_NORM_SIZE],
            before = c->args[RESPONSE_NORM_BEFORE], origin[AXIS_COUNT] = {0};
    double alpha = sim_double(c, RESPONSE_NORM_ALPHA_LO),
           beta = sim_double(c, RESPONSE_NORM_BETA_LO);
    double k = sim_double(c, RESPONSE_NORM_K_LO);
    if (!sim_alike(c, 0, 1, -1, err) || !sim_in_range(c, RESPONSE_NORM_SIZE, 1, INT32_MAX, err))
        return false;
    double *x = sim_doubles(c, 2 * count, err);
    if (!x)
        return false;
    double *y = x + count;
    struct sim_box b = sim_box_along(&c->tiles[0], NEST_NHWC, 15u & ~(1u << AXIS_C), origin);
    do {
        sim_lane(c, 1, b.at, AXIS_C, count, x);
        for (int64_t i = 0; i < count; i++) {
            double sum = 0;
            int64_t lo = i - before < 0 ? 0 : i - before, hi = i - before + size;
            for (int64_t j = lo; j < hi && j < count; j++)
                sum += x[j] * x[j];
            y[i] = x[i] / pow(k + alpha / (double)size * sum, beta);
        }
        sim_put_lane(c, 0, b.at, AXIS_C, count, y);
    } while (sim_box_next(&b));
    return true;
}
