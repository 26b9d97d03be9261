/* sim_real_index: moving elements to and from places that an operand names. */
#include "core/sim/sim_real.h"

bool sim_PICK(struct sim_call *c, struct bpu_error *err)
{
    int axis = c->args[PICK_AXIS];
    int64_t in[AXIS_COUNT], first = c->args[PICK_FIRST], picks = sim_elements(&c->tiles[2]);
    int64_t extent[AXIS_COUNT];
    if (!sim_axis(c, PICK_AXIS, err) || !sim_alike(c, 0, 1, axis, err))
        return false;
    sim_extents(&c->tiles[1], in);
    sim_extents(&c->tiles[0], extent);
    if (first < 0 || first + extent[axis] > picks)
        return sim_bad(c, err, "%lld indices are too few", (long long)picks);
    int64_t *from = ARENA_ARRAY(c->scratch, int64_t, extent[axis], err);
    if (!from)
        return false;
    for (int64_t i = 0; i < extent[axis]; i++) {
        int64_t at[AXIS_COUNT];
        sim_flat(&c->tiles[2], NEST_NHWC, first + i, at);
        if (!sim_index(c, 2, at, in[axis], &from[i], err))
            return false;
    }
    struct sim_box b = sim_box_of(&c->tiles[0], NEST_NHWC);
    do {
        int64_t at[AXIS_COUNT] = {b.at[0], b.at[1], b.at[2], b.at[3]};
        at[axis] = from[at[axis]];
        sim_move(c, 1, at, 0, b.at);
    } while (sim_box_next(&b));
    return true;
}

/* ── places that several indices name ── */

/* Nested loops with steps of up to three operands, the second of which is the index. */
struct loops {
    int loops, operands, depth;
    const int32_t *args;  /* count, steps … of each loop */
    const int32_t *index; /* index_step, extents, steps */
    int index_tile, index_order;
    int64_t at[INDEX_MAX_LOOPS], where[3];
};

enum { AIM, INDEX, UPDATE }; /* operands of the loops */
enum { STEP_BETWEEN, EXTENT0, STEP0 = EXTENT0 + INDEX_MAX_DEPTH };

static int64_t loop_count(const struct loops *l, int i)
{
    return l->args[i * (l->operands + 1)];
}

static bool loops_fit(const struct sim_call *c, const struct loops *l, struct bpu_error *err)
{
    for (int i = 0; i < l->loops; i++)
        if (loop_count(l, i) < 1)
            return sim_bad(c, err, "loop %d has no turns", i);
    for (int d = 0; d < l->depth; d++)
        if (l->index[EXTENT0 + d] < 1)
            return sim_bad(c, err, "axis %d has no elements", d);
    return true;
}

static bool loops_next(struct loops *l)
{
    for (int i = l->loops - 1; i >= 0; i--) {
        const int32_t *loop = l->args + i * (l->operands + 1);
        for (int k = 0; k < l->operands; k++)
            l->where[k] += loop[1 + k];
        if (++l->at[i] < loop[0])
            return true;
        for (int k = 0; k < l->operands; k++)
            l->where[k] -= (int64_t)loop[1 + k] * loop[0];
        l->at[i] = 0;
    }
    return false;
}

/* Element `flat` of a tile, or an error. */
static bool flat_at(const struct sim_call *c, int t, int order, int64_t flat,
                    int64_t at[AXIS_COUNT], struct bpu_error *err)
{
    if (flat < 0 || flat >= sim_elements(&c->tiles[t]))
        return sim_bad(c, err, "tile %d has no element %lld", t, (long long)flat);
    sim_flat(&c->tiles[t], order, flat, at);
    return true;
}

/* The flat place at which these turns of the loops aim. */
static bool aim(const struct sim_call *c, const struct loops *l, int64_t *out,
                struct bpu_error *err)
{
    int64_t at[AXIS_COUNT], k;
    *out = l->where[AIM];
    for (int d = 0; d < l->depth; d++) {
        int64_t flat = l->where[INDEX] + (int64_t)d * l->index[STEP_BETWEEN];
        if (!flat_at(c, l->index_tile, l->index_order, flat, at, err) ||
            !sim_index(c, l->index_tile, at, l->index[EXTENT0 + d], &k, err))
            return false;
        *out += k * l->index[STEP0 + d];
    }
    return true;
}

bool sim_GATHER(struct sim_call *c, struct bpu_error *err)
{
    const int32_t *a = c->args;
    for (int i = GATHER_ORDER_Y; i <= GATHER_ORDER_INDEX; i++)
        if (!sim_in_range(c, i, 0, NEST_COUNT - 1, err))
            return false;
    if (!sim_in_range(c, GATHER_DEPTH, 1, INDEX_MAX_DEPTH, err) ||
        !sim_in_range(c, GATHER_LOOPS, 0, INDEX_MAX_LOOPS, err))
        return false;
    struct loops l = {.loops = a[GATHER_LOOPS],
                      .operands = 2,
                      .depth = a[GATHER_DEPTH],
                      .args = a + GATHER_FIRST_LOOP,
                      .index = a + GATHER_INDEX_STEP,
                      .index_tile = 2,
                      .index_order = a[GATHER_ORDER_INDEX]};
    int64_t count = sim_elements(&c->tiles[0]), i = 0;
    if (!loops_fit(c, &l, err))
        return false;
    do {
        int64_t from, x[AXIS_COUNT], y[AXIS_COUNT];
        if (!aim(c, &l, &from, err) || !flat_at(c, 1, a[GATHER_ORDER_X], from, x, err) ||
            !flat_at(c, 0, a[GATHER_ORDER_Y], i, y, err))
            return false;
        sim_move(c, 1, x, 0, y);
        i++;
    } while (loops_next(&l));
    return i == count ||
           sim_bad(c, err, "the loops make %lld of %lld elements", (long long)i, (long long)count);
}

static void scatter(struct sim_call *c, int function, const int64_t from[AXIS_COUNT],
                    const int64_t to[AXIS_COUNT])
{
    if (function == SCATTER_SET) {
        sim_move(c, 3, from, 0, to);
    } else if (sim_is_plain(&c->tiles[0]) && sim_is_plain(&c->tiles[3])) {
        int64_t a = sim_get_at(c, 0, to), b = sim_get_at(c, 3, from);
        int64_t v = function == SCATTER_ADD   ? (int64_t)((uint64_t)a + (uint64_t)b)
                    : function == SCATTER_MUL ? (int64_t)((uint64_t)a * (uint64_t)b)
                    : function == SCATTER_MAX ? (a > b ? a : b)
                                              : (a < b ? a : b);
        sim_put_at(c, 0, to, c->tiles[0].dtype == DT_BOOL ? v != 0 : v);
    } else {
        double a = sim_real_at(c, 0, to), b = sim_real_at(c, 3, from);
        sim_put_real_at(c, 0, to,
                        function == SCATTER_ADD   ? a + b
                        : function == SCATTER_MUL ? a * b
                        : function == SCATTER_MAX ? (a > b ? a : b)
                                                  : (a < b ? a : b));
    }
}

bool sim_SCATTER(struct sim_call *c, struct bpu_error *err)
{
    const int32_t *a = c->args;
    for (int i = SCATTER_ORDER_Y; i <= SCATTER_ORDER_UPDATES; i++)
        if (!sim_in_range(c, i, 0, NEST_COUNT - 1, err))
            return false;
    if (!sim_in_range(c, SCATTER_DEPTH, 1, INDEX_MAX_DEPTH, err) ||
        !sim_in_range(c, SCATTER_LOOPS, 0, INDEX_MAX_LOOPS, err) ||
        !sim_in_range(c, SCATTER_FUNCTION, 0, SCATTER_COUNT - 1, err))
        return false;
    if (sim_elements(&c->tiles[0]) != sim_elements(&c->tiles[1]))
        return sim_bad(c, err, "the result has not the operand's elements");
    for (int64_t i = 0; i < sim_elements(&c->tiles[0]); i++) {
        int64_t x[AXIS_COUNT], y[AXIS_COUNT];
        sim_flat(&c->tiles[1], a[SCATTER_ORDER_X], i, x);
        sim_flat(&c->tiles[0], a[SCATTER_ORDER_Y], i, y);
        sim_move(c, 1, x, 0, y);
    }
    struct loops l = {.loops = a[SCATTER_LOOPS],
                      .operands = 3,
                      .depth = a[SCATTER_DEPTH],
                      .args = a + SCATTER_FIRST_LOOP,
                      .index = a + SCATTER_INDEX_STEP,
                      .index_tile = 2,
                      .index_order = a[SCATTER_ORDER_INDEX]};
    if (!loops_fit(c, &l, err))
        return false;
    do {
        int64_t aimed, from[AXIS_COUNT], to[AXIS_COUNT];
        if (!aim(c, &l, &aimed, err) || !flat_at(c, 0, a[SCATTER_ORDER_Y], aimed, to, err) ||
            !flat_at(c, 3, a[SCATTER_ORDER_UPDATES], l.where[UPDATE], from, err))
            return false;
        scatter(c, a[SCATTER_FUNCTION], from, to);
    } while (loops_next(&l));
    return true;
}

bool sim_ONE_HOT(struct sim_call *c, struct bpu_error *err)
{
    const int32_t *a = c->args;
    int64_t depth = a[ONE_HOT_DEPTH], inner = a[ONE_HOT_INNER], count = sim_elements(&c->tiles[0]),
            lo, hi;
    if (!sim_in_range(c, ONE_HOT_ORDER_Y, 0, NEST_COUNT - 1, err) ||
        !sim_in_range(c, ONE_HOT_ORDER_X, 0, NEST_COUNT - 1, err) ||
        !sim_in_range(c, ONE_HOT_DEPTH, 1, INT32_MAX, err) ||
        !sim_in_range(c, ONE_HOT_INNER, 1, INT32_MAX, err))
        return false;
    sim_range((enum dtype)c->tiles[0].dtype, &lo, &hi);
    if (count / depth != sim_elements(&c->tiles[1]) || count % (depth * inner))
        return sim_bad(c, err, "the extents do not fit");
    if (a[ONE_HOT_ON] < lo || a[ONE_HOT_ON] > hi || a[ONE_HOT_OFF] < lo || a[ONE_HOT_OFF] > hi)
        return sim_bad(c, err, "the marks are no integers of the result's type");
    for (int64_t i = 0; i < count; i++) {
        int64_t x[AXIS_COUNT], y[AXIS_COUNT], d = i / inner % depth;
        sim_flat(&c->tiles[1], a[ONE_HOT_ORDER_X], i / (depth * inner) * inner + i % inner, x);
        sim_flat(&c->tiles[0], a[ONE_HOT_ORDER_Y], i, y);
        double v = sim_real_at(c, 1, x);
        if (v < 0)
            v += (double)depth;
        sim_put_at(c, 0, y, v == (double)d ? a[ONE_HOT_ON] : a[ONE_HOT_OFF]);
    }
    return true;
}
