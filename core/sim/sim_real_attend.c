/* sim_real_attend: products with weights that are real numbers, and attention. */
#include <math.h>

#include "core/sim/sim_real.h"

bool sim_LINEAR_REAL(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0];
    int64_t inputs = c->tiles[1].c, size, per = c->args[LINEAR_REAL_UNIT_CHANNELS],
            bytes = c->args[LINEAR_REAL_UNIT_BYTES], wide = c->args[LINEAR_REAL_KIND] ? 8 : 4;
    const unsigned char *weights = sim_bytes(c, 2, &size, err);
    if (!weights || !sim_alike(c, 0, 1, AXIS_C, err) ||
        !sim_in_range(c, LINEAR_REAL_KIND, 0, 1, err) ||
        !sim_in_range(c, LINEAR_REAL_UNIT_CHANNELS, 1, INT32_MAX, err))
        return false;
    if (bytes / (wide * (inputs + 1)) < per || (y->c + per - 1) / per > size / bytes)
        return sim_bad(c, err, "the weights are too short");
    double *x = sim_doubles(c, inputs, err);
    if (!x)
        return false;
    int64_t origin[AXIS_COUNT] = {0};
    struct sim_box b = sim_box_along(y, NEST_NHWC, 15u & ~(1u << AXIS_C), origin);
    do {
        sim_lane(c, 1, b.at, AXIS_C, inputs, x);
        int64_t at[AXIS_COUNT] = {b.at[0], b.at[1], b.at[2], 0};
        for (; at[AXIS_C] < y->c; at[AXIS_C]++) {
            const unsigned char *row =
                weights + at[AXIS_C] / per * bytes + at[AXIS_C] % per * wide * (inputs + 1);
            double sum = sim_number(row, c->args[LINEAR_REAL_KIND], 0);
            for (int64_t i = 0; i < inputs; i++)
                sum += x[i] * sim_number(row, c->args[LINEAR_REAL_KIND], i + 1);
            sim_put_real_at(c, 0, at, sum);
        }
    } while (sim_box_next(&b));
    return true;
}

/* ── attention ── */

enum { Y, Q, K, V, PADDING, MASK };

struct attend {
    int target, image; /* axes of q, k, v */
    int64_t heads, width, rows, keys, images;
    double *q, *k, *v; /* of one image: rows and keys of heads * width */
    double *scores;    /* [heads][rows][keys] */
};

static void load_rows(const struct sim_call *c, const struct attend *a, int t, int64_t image,
                      int64_t rows, double *out)
{
    int64_t at[AXIS_COUNT] = {0}, embed = a->heads * a->width;
    at[a->image] = image;
    for (int64_t r = 0; r < rows; r++) {
        at[a->target] = r;
        sim_lane(c, t, at, AXIS_C, embed, out + r * embed);
    }
}

/* What a mask says: truth values keep a key out, numbers are added. */
static double mask_value(const struct sim_call *c, int t, int64_t j, int64_t k, int64_t l)
{
    double v = sim_real(c, t, 0, j, k, l);
    return c->tiles[t].dtype != DT_BOOL ? v : v != 0 ? -INFINITY : 0;
}

static double masks(const struct sim_call *c, const struct attend *a, int64_t image, int64_t head,
                    int64_t row, int64_t key)
{
    double add = 0;
    image += c->args[ATTEND_FIRST_IMAGE];
    row += c->args[ATTEND_FIRST_TARGET];
    if (sim_given(c, PADDING))
        add += mask_value(c, PADDING, 0, image, key);
    if (sim_given(c, MASK))
        add += mask_value(c, MASK, c->tiles[MASK].h > 1 ? image * a->heads + head : 0, row, key);
    return add;
}

/* Weights of all keys for one row of q in one head. */
static void attend_row(const struct sim_call *c, const struct attend *a, int64_t image,
                       int64_t head, int64_t row)
{
    int64_t embed = a->heads * a->width;
    double *scores = a->scores + (head * a->rows + row) * a->keys, most = -INFINITY, sum = 0;
    const double *q = a->q + row * embed + head * a->width;
    for (int64_t s = 0; s < a->keys; s++) {
        const double *k = a->k + s * embed + head * a->width;
        double dot = 0;
        for (int64_t i = 0; i < a->width; i++)
            dot += q[i] * k[i];
        scores[s] = dot / sqrt((double)a->width) + masks(c, a, image, head, row, s);
        if (scores[s] > most)
            most = scores[s];
    }
    for (int64_t s = 0; s < a->keys; s++) {
        scores[s] = exp(scores[s] - most);
        sum += scores[s];
    }
    for (int64_t s = 0; s < a->keys; s++)
        scores[s] /= sum;
}

static void put_values(struct sim_call *c, const struct attend *a, int64_t image, double *mixed)
{
    int64_t embed = a->heads * a->width, at[AXIS_COUNT] = {0};
    at[a->image] = image;
    for (int64_t r = 0; r < a->rows; r++) {
        at[a->target] = r;
        for (int64_t e = 0; e < embed; e++) {
            const double *scores = a->scores + (e / a->width * a->rows + r) * a->keys;
            double sum = 0;
            for (int64_t s = 0; s < a->keys; s++)
                sum += scores[s] * a->v[s * embed + e];
            mixed[e] = sum;
        }
        sim_put_lane(c, Y, at, AXIS_C, embed, mixed);
    }
}

/* (images, rows, keys) as h, w, c; of all heads (images, heads, rows, keys) as n, h, w, c. */
static void put_weights(struct sim_call *c, const struct attend *a, int64_t image)
{
    bool mean = c->args[ATTEND_RESULT] == ATTEND_MEAN;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t s = 0; s < a->keys; s++) {
            double sum = 0;
            for (int64_t h = 0; h < a->heads; h++) {
                double v = a->scores[(h * a->rows + r) * a->keys + s];
                sum += v;
                if (!mean)
                    sim_put_real(c, Y, image, h, r, s, v);
            }
            if (mean)
                sim_put_real(c, Y, 0, image, r, s, sum / (double)a->heads);
        }
}

static int64_t along(const struct tile *t, int axis)
{
    int64_t extent[AXIS_COUNT];
    sim_extents(t, extent);
    return extent[axis];
}

static bool attend_fits(const struct sim_call *c, const struct attend *a, struct bpu_error *err)
{
    const struct tile *q = &c->tiles[Q], *y = &c->tiles[Y], *padding = &c->tiles[PADDING],
                      *mask = &c->tiles[MASK];
    int64_t first_row = c->args[ATTEND_FIRST_TARGET], first_image = c->args[ATTEND_FIRST_IMAGE];
    int result = c->args[ATTEND_RESULT];
    bool fits = q->n == 1 && q->c == a->heads * a->width && first_row >= 0 && first_image >= 0;
    for (int t = K; t <= (result == ATTEND_VALUES ? V : K); t++)
        fits = fits && sim_given(c, t) && c->tiles[t].n == 1 && c->tiles[t].c == q->c &&
               along(&c->tiles[t], a->target) == a->keys &&
               along(&c->tiles[t], a->image) == a->images;
    if (result == ATTEND_VALUES)
        fits = fits && sim_same_extents(q, y);
    else if (result == ATTEND_MEAN)
        fits = fits && y->n == 1 && y->h == a->images && y->w == a->rows && y->c == a->keys;
    else
        fits = fits && y->n == a->images && y->h == a->heads && y->w == a->rows && y->c == a->keys;
    if (sim_given(c, PADDING))
        fits = fits && padding->w >= first_image + a->images && padding->c == a->keys;
    if (sim_given(c, MASK))
        fits = fits && mask->w >= first_row + a->rows && mask->c == a->keys &&
               (mask->h == 1 || mask->h >= (first_image + a->images) * a->heads);
    return fits || sim_bad(c, err, "the operands' extents do not fit together");
}

bool sim_ATTEND(struct sim_call *c, struct bpu_error *err)
{
    struct attend a = {.heads = c->args[ATTEND_HEADS],
                       .target = c->args[ATTEND_TARGET],
                       .image = c->args[ATTEND_IMAGE_AXIS]};
    if (!sim_in_range(c, ATTEND_HEADS, 1, c->tiles[Q].c, err) ||
        !sim_in_range(c, ATTEND_TARGET, AXIS_H, AXIS_W, err) ||
        !sim_in_range(c, ATTEND_IMAGE_AXIS, AXIS_H, AXIS_W, err) ||
        !sim_in_range(c, ATTEND_RESULT, 0, ATTEND_RESULTS - 1, err))
        return false;
    if (a.target == a.image || !sim_given(c, K))
        return sim_bad(c, err, "rows and images are the same axis");
    a.width = c->tiles[Q].c / a.heads;
    a.rows = along(&c->tiles[Q], a.target);
    a.keys = along(&c->tiles[K], a.target);
    a.images = along(&c->tiles[Q], a.image);
    if (!attend_fits(c, &a, err))
        return false;
    int64_t embed = c->tiles[Q].c;
    a.q = sim_doubles(c, (a.rows + 2 * a.keys + 1) * embed, err);
    a.scores = a.q ? sim_doubles(c, a.heads * a.rows * a.keys, err) : NULL;
    if (!a.scores)
        return false;
    a.k = a.q + a.rows * embed;
    a.v = a.k + a.keys * embed;
    for (int64_t n = 0; n < a.images; n++) {
        load_rows(c, &a, Q, n, a.rows, a.q);
        load_rows(c, &a, K, n, a.keys, a.k);
        for (int64_t h = 0; h < a.heads; h++)
            for (int64_t r = 0; r < a.rows; r++)
                attend_row(c, &a, n, h, r);
        if (c->args[ATTEND_RESULT] != ATTEND_VALUES) {
            put_weights(c, &a, n);
            continue;
        }
        load_rows(c, &a, V, n, a.keys, a.v);
        put_values(c, &a, n, a.v + a.keys * embed);
    }
    return true;
}
