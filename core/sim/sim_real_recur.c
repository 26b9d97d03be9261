/* sim_real_recur: the recurrence of LSTM, GRU and RNN layers, step by step in binary64.
 *
 * Weights are numbers of one kind, one after the other:
 *   R (gates * hidden rows of `state` numbers; gates in the order i f g o, or r z n)
 *   GRU: b_ih and b_hh of gate n (hidden each);  projection: state rows of `hidden` numbers
 *   peephole: hidden numbers each for i, o, f */
#include <math.h>

#include "core/sim/sim_real.h"

enum { Y, GATES, H, C, WEIGHTS, LENGTHS };

struct recur {
    int cell;
    int64_t gates, hidden, state, steps, images;
    bool reset_after;
    double clip;
    const unsigned char *weights;
    int kind;
    int64_t at_bias, at_projection, at_peephole; /* of numbers; -1: absent */
    double *x, *h, *c, *g;                       /* gates * hidden; state; hidden; 4 * hidden */
};

static double number(const struct recur *r, int64_t i)
{
    return sim_number(r->weights, r->kind, i);
}

static double squash(double v)
{
    return 1 / (1 + exp(-v));
}

static double clipped(const struct recur *r, double v)
{
    return v > r->clip ? r->clip : v < -r->clip ? -r->clip : v;
}

/* start + sum of row j of R times h, added one by one. */
static double recurrent(const struct recur *r, int64_t j, const double *h, double start)
{
    for (int64_t i = 0; i < r->state; i++)
        start += number(r, j * r->state + i) * h[i];
    return start;
}

static double peephole(const struct recur *r, int64_t which, int64_t j)
{
    return r->at_peephole < 0 ? 0 : number(r, r->at_peephole + which * r->hidden + j) * r->c[j];
}

static void step_lstm(struct recur *r)
{
    int64_t n = r->hidden;
    for (int64_t j = 0; j < 4 * n; j++)
        r->g[j] = clipped(r, recurrent(r, j, r->h, r->x[j]));
    for (int64_t j = 0; j < n; j++) {
        double in = squash(r->g[j] + peephole(r, 0, j)),
               forget = squash(r->g[n + j] + peephole(r, 2, j));
        r->c[j] = forget * r->c[j] + in * tanh(r->g[2 * n + j]);
        double out = squash(r->g[3 * n + j] + peephole(r, 1, j));
        r->g[j] = out * tanh(r->c[j]);
    }
    for (int64_t j = 0; j < r->state; j++) {
        double sum = 0;
        for (int64_t i = 0; r->at_projection >= 0 && i < n; i++)
            sum += number(r, r->at_projection + j * n + i) * r->g[i];
        r->h[j] = r->at_projection >= 0 ? sum : r->g[j];
    }
}

static void step_gru(struct recur *r)
{
    int64_t n = r->hidden;
    double *reset = r->g, *update = reset + n, *weak = update + n, *next = weak + n;
    for (int64_t j = 0; j < n; j++) {
        reset[j] = squash(clipped(r, recurrent(r, j, r->h, r->x[j])));
        update[j] = squash(clipped(r, recurrent(r, n + j, r->h, r->x[n + j])));
        weak[j] = reset[j] * r->h[j];
    }
    for (int64_t j = 0; j < n; j++) {
        double sum = number(r, r->at_bias + j) + r->x[2 * n + j],
               bias = number(r, r->at_bias + n + j);
        if (r->reset_after)
            sum += reset[j] * (recurrent(r, 2 * n + j, r->h, 0) + bias);
        else
            sum += recurrent(r, 2 * n + j, weak, 0) + bias;
        next[j] = (1 - update[j]) * tanh(clipped(r, sum)) + update[j] * r->h[j];
    }
    memcpy(r->h, next, (size_t)n * sizeof *next);
}

static void step_plain(struct recur *r)
{
    for (int64_t j = 0; j < r->hidden; j++)
        r->g[j] = clipped(r, recurrent(r, j, r->h, r->x[j]));
    for (int64_t j = 0; j < r->hidden; j++)
        r->h[j] = r->cell == RECUR_TANH ? tanh(r->g[j]) : r->g[j] > 0 ? r->g[j] : 0;
}

/* The state before the first step: 0, or that of the operand. */
static void begin(const struct sim_call *c, int t, int64_t image, int64_t count, double *out)
{
    memset(out, 0, (size_t)count * sizeof *out);
    if (!sim_given(c, t))
        return;
    int64_t at[AXIS_COUNT] = {0};
    at[c->args[RECUR_H_IMAGE]] = image;
    sim_lane(c, t, at, AXIS_C, count, out);
}

static void run_image(struct sim_call *c, struct recur *r, int64_t image)
{
    const int32_t *a = c->args;
    int64_t from[AXIS_COUNT] = {0}, to[AXIS_COUNT] = {0}, steps = r->steps;
    from[AXIS_H + AXIS_W - a[RECUR_X_TIME]] = image;
    to[a[RECUR_Y_IMAGE]] = image;
    begin(c, H, image, r->state, r->h);
    begin(c, C, image, r->hidden, r->c);
    if (sim_given(c, LENGTHS) && image < c->tiles[LENGTHS].c) {
        int64_t length = sim_get(c, LENGTHS, 0, 0, 0, image);
        steps = length < 0 ? 0 : length < steps ? length : steps;
    }
    bool every = a[RECUR_RESULT] == RECUR_STEPS;
    for (int64_t s = 0; s < r->steps; s++) {
        int64_t t = a[RECUR_REVERSE] && s < steps ? steps - 1 - s : s;
        from[a[RECUR_X_TIME]] = t;
        if (every)
            to[a[RECUR_Y_TIME]] = t;
        if (s < steps) {
            sim_lane(c, GATES, from, AXIS_C, r->gates * r->hidden, r->x);
            if (r->cell == RECUR_LSTM)
                step_lstm(r);
            else if (r->cell == RECUR_GRU)
                step_gru(r);
            else
                step_plain(r);
        } else if (every) { /* beyond the end of the sequence */
            memset(r->g, 0, (size_t)r->state * sizeof *r->g);
        }
        if (every)
            sim_put_lane(c, Y, to, AXIS_C, r->state, s < steps ? r->h : r->g);
    }
    if (a[RECUR_RESULT] == RECUR_LAST)
        sim_put_lane(c, Y, to, AXIS_C, r->state, r->h);
    if (a[RECUR_RESULT] == RECUR_CELL_STATE)
        sim_put_lane(c, Y, to, AXIS_C, r->hidden, r->c);
}

static int64_t along(const struct tile *t, int axis)
{
    int64_t extent[AXIS_COUNT];
    sim_extents(t, extent);
    return extent[axis];
}

/* y and the states hold `width` channels for each image, and steps where all are wanted. */
static bool recur_fits(const struct sim_call *c, const struct recur *r, struct bpu_error *err)
{
    const int32_t *a = c->args;
    const struct tile *y = &c->tiles[Y];
    int64_t y_width = a[RECUR_RESULT] == RECUR_CELL_STATE ? r->hidden : r->state,
            elements = y_width;
    bool fits = c->tiles[GATES].n == 1 && c->tiles[GATES].c == r->gates * r->hidden &&
                y->c == y_width && along(y, a[RECUR_Y_IMAGE]) == r->images;
    elements *= r->images;
    if (a[RECUR_RESULT] == RECUR_STEPS) {
        fits = fits && a[RECUR_Y_TIME] != a[RECUR_Y_IMAGE] && along(y, a[RECUR_Y_TIME]) == r->steps;
        elements *= r->steps;
    }
    fits = fits && sim_elements(y) == elements;
    for (int t = H; t <= C; t++)
        if (sim_given(c, t))
            fits = fits && c->tiles[t].c == (t == H ? r->state : r->hidden) &&
                   along(&c->tiles[t], a[RECUR_H_IMAGE]) == r->images;
    fits = fits && (r->at_projection >= 0 || r->state == r->hidden);
    fits = fits && (r->cell == RECUR_LSTM || (r->at_projection < 0 && r->at_peephole < 0));
    return fits || sim_bad(c, err, "the operands' extents do not fit together");
}

bool sim_RECUR(struct sim_call *c, struct bpu_error *err)
{
    static const int gates[RECUR_CELLS] = {4, 3, 1, 1};
    const int32_t *a = c->args;
    if (!sim_in_range(c, RECUR_CELL, 0, RECUR_CELLS - 1, err) ||
        !sim_in_range(c, RECUR_HIDDEN, 1, 1 << 20, err) ||
        !sim_in_range(c, RECUR_STATE, 1, 1 << 20, err) || !sim_in_range(c, RECUR_KIND, 0, 1, err) ||
        !sim_in_range(c, RECUR_X_TIME, AXIS_H, AXIS_W, err) ||
        !sim_in_range(c, RECUR_Y_TIME, AXIS_N, AXIS_W, err) ||
        !sim_in_range(c, RECUR_Y_IMAGE, AXIS_N, AXIS_W, err) ||
        !sim_in_range(c, RECUR_H_IMAGE, AXIS_N, AXIS_W, err) ||
        !sim_in_range(c, RECUR_RESULT, 0, RECUR_RESULTS - 1, err))
        return false;
    struct recur r = {.cell = a[RECUR_CELL],
                      .gates = gates[a[RECUR_CELL]],
                      .hidden = a[RECUR_HIDDEN],
                      .state = a[RECUR_STATE],
                      .reset_after = a[RECUR_RESET_AFTER] != 0,
                      .clip = sim_double(c, RECUR_CLIP_LO),
                      .kind = a[RECUR_KIND],
                      .at_bias = -1,
                      .at_projection = -1,
                      .at_peephole = -1};
    int64_t count = r.gates * r.hidden * r.state;
    if (r.cell == RECUR_GRU) {
        r.at_bias = count;
        count += 2 * r.hidden;
    }
    if (a[RECUR_PROJECTION]) {
        r.at_projection = count;
        count += r.state * r.hidden;
    }
    if (a[RECUR_PEEPHOLE]) {
        r.at_peephole = count;
        count += 3 * r.hidden;
    }
    r.steps = along(&c->tiles[GATES], a[RECUR_X_TIME]);
    r.images = along(&c->tiles[GATES], AXIS_H + AXIS_W - a[RECUR_X_TIME]);
    if (!recur_fits(c, &r, err) || !(r.weights = sim_numbers(c, WEIGHTS, r.kind, count, err)))
        return false;
    r.x = sim_doubles(c, (r.gates + 5) * r.hidden + 2 * r.state, err);
    if (!r.x)
        return false;
    r.h = r.x + r.gates * r.hidden;
    r.c = r.h + r.state;
    r.g = r.c + r.hidden; /* 4 * hidden, or state where that is more */
    for (int64_t n = 0; n < r.images; n++)
        run_image(c, &r, n);
    return true;
}
