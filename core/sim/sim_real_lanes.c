/* sim_real_lanes: instructions along one axis: softmax, hardmax, gated units, running sums,
 * sorting. */
#include <math.h>
#include <stdlib.h>

#include "core/sim/sim_real.h"

/* One lane of y from one lane of x: `in` numbers become `out` of them. */
typedef void lane_fn(const struct sim_call *c, double *v, int64_t in, double *to, int64_t out);

static bool each_lane(struct sim_call *c, int axis, lane_fn *f, struct bpu_error *err)
{
    int64_t in[AXIS_COUNT], out[AXIS_COUNT], origin[AXIS_COUNT] = {0};
    sim_extents(&c->tiles[1], in);
    sim_extents(&c->tiles[0], out);
    double *v = sim_doubles(c, in[axis] + out[axis], err);
    if (!v)
        return false;
    struct sim_box b = sim_box_along(&c->tiles[0], NEST_NHWC, 15u & ~(1u << axis), origin);
    do {
        sim_lane(c, 1, b.at, axis, in[axis], v);
        f(c, v, in[axis], v + in[axis], out[axis]);
        sim_put_lane(c, 0, b.at, axis, out[axis], v + in[axis]);
    } while (sim_box_next(&b));
    return true;
}

static void softmax_lane(const struct sim_call *c, double *v, int64_t in, double *to, int64_t out)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < in; i++)
        if (v[i] > most || isnan(v[i]))
            most = v[i];
    for (int64_t i = 0; i < in; i++)
        sum += to[i] = exp(v[i] - most);
    for (int64_t i = 0; i < out; i++)
        to[i] = c->args[SOFTMAX_LOGARITHM] ? v[i] - most - log(sum) : to[i] / sum;
}

bool sim_SOFTMAX(struct sim_call *c, struct bpu_error *err)
{
    return sim_axis(c, SOFTMAX_AXIS, err) && sim_alike(c, 0, 1, -1, err) &&
           each_lane(c, c->args[SOFTMAX_AXIS], softmax_lane, err);
}

static void hardmax_lane(const struct sim_call *c, double *v, int64_t in, double *to, int64_t out)
{
    int64_t best = 0;
    (void)c;
    for (int64_t i = 1; i < in; i++)
        if (v[i] > v[best])
            best = i;
    for (int64_t i = 0; i < out; i++)
        to[i] = i == best ? 1 : 0;
}

bool sim_HARDMAX(struct sim_call *c, struct bpu_error *err)
{
    return sim_axis(c, HARDMAX_AXIS, err) && sim_alike(c, 0, 1, -1, err) &&
           each_lane(c, c->args[HARDMAX_AXIS], hardmax_lane, err);
}

static void glu_lane(const struct sim_call *c, double *v, int64_t in, double *to, int64_t out)
{
    (void)c;
    (void)in;
    for (int64_t i = 0; i < out; i++)
        to[i] = v[i] / (1 + exp(-v[out + i]));
}

bool sim_GLU(struct sim_call *c, struct bpu_error *err)
{
    int64_t in[AXIS_COUNT], out[AXIS_COUNT];
    int axis = c->args[GLU_AXIS];
    if (!sim_axis(c, GLU_AXIS, err) || !sim_alike(c, 0, 1, axis, err))
        return false;
    sim_extents(&c->tiles[1], in);
    sim_extents(&c->tiles[0], out);
    if (in[axis] != 2 * out[axis])
        return sim_bad(c, err, "the operand is not twice as long as the result");
    return each_lane(c, axis, glu_lane, err);
}

/* ── running sums ── */

static void cumsum_lane(const struct sim_call *c, double *v, int64_t in, double *to, int64_t out)
{
    double sum = 0;
    for (int64_t i = 0; i < out; i++) {
        int64_t at = c->args[CUMSUM_REVERSE] ? in - 1 - i : i;
        double before = sum;
        sum += v[at];
        to[at] = c->args[CUMSUM_EXCLUSIVE] ? before : sum;
    }
}

static void cumsum_whole(struct sim_call *c, int axis)
{
    int64_t extent[AXIS_COUNT], origin[AXIS_COUNT] = {0};
    sim_extents(&c->tiles[1], extent);
    struct sim_box b = sim_box_along(&c->tiles[1], NEST_NHWC, 15u & ~(1u << axis), origin);
    do {
        uint64_t sum = 0;
        int64_t p[AXIS_COUNT] = {b.at[0], b.at[1], b.at[2], b.at[3]};
        for (int64_t i = 0; i < extent[axis]; i++) {
            p[axis] = c->args[CUMSUM_REVERSE] ? extent[axis] - 1 - i : i;
            uint64_t before = sum;
            sum += (uint64_t)sim_get_at(c, 1, p);
            uint64_t v = c->args[CUMSUM_EXCLUSIVE] ? before : sum;
            sim_put_at(c, 0, p, c->tiles[0].dtype == DT_BOOL ? v != 0 : (int64_t)v);
        }
    } while (sim_box_next(&b));
}

bool sim_CUMSUM(struct sim_call *c, struct bpu_error *err)
{
    if (!sim_axis(c, CUMSUM_AXIS, err) || !sim_alike(c, 0, 1, -1, err))
        return false;
    if (!sim_is_plain(&c->tiles[0]) || !sim_is_plain(&c->tiles[1]))
        return each_lane(c, c->args[CUMSUM_AXIS], cumsum_lane, err);
    cumsum_whole(c, c->args[CUMSUM_AXIS]);
    return true;
}

/* ── sorting ── */

struct sorted {
    int64_t key, at;
};

static int sorted_compare(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

bool sim_SORT(struct sim_call *c, struct bpu_error *err)
{
    int64_t in[AXIS_COUNT], out[AXIS_COUNT], origin[AXIS_COUNT] = {0};
    int axis = c->args[SORT_AXIS];
    if (!sim_axis(c, SORT_AXIS, err) || !sim_alike(c, 0, 1, axis, err))
        return false;
    sim_extents(&c->tiles[1], in);
    sim_extents(&c->tiles[0], out);
    if (out[axis] > in[axis] || sim_is_real(&c->tiles[0]) || sim_is_real(&c->tiles[1]) ||
        c->tiles[1].dtype == DT_UINT64)
        return sim_bad(c, err, "only integers can be sorted, into a result that is no longer");
    struct sorted *lane = ARENA_ARRAY(c->scratch, struct sorted, in[axis], err);
    if (!lane)
        return false;
    struct sim_rescale r = sim_rescale_of(&c->tiles[1], &c->tiles[0]);
    bool down = c->args[SORT_DESCENDING], positions = c->args[SORT_POSITIONS];
    struct sim_box b = sim_box_along(&c->tiles[0], NEST_NHWC, 15u & ~(1u << axis), origin);
    do {
        int64_t p[AXIS_COUNT] = {b.at[0], b.at[1], b.at[2], b.at[3]};
        for (p[axis] = 0; p[axis] < in[axis]; p[axis]++) {
            int64_t q = sim_get_at(c, 1, p);
            lane[p[axis]] = (struct sorted){down ? -1 - q : q, p[axis]}; /* -1 - q: no overflow */
        }
        qsort(lane, (size_t)in[axis], sizeof *lane, sorted_compare);
        for (p[axis] = 0; p[axis] < out[axis]; p[axis]++) {
            int64_t q = down ? -1 - lane[p[axis]].key : lane[p[axis]].key;
            sim_put_at(c, 0, p, positions ? lane[p[axis]].at : sim_rescale(&r, q));
        }
    } while (sim_box_next(&b));
    return true;
}
