/* sim_real: walks over boxes, lanes, and moving single elements. */
#include "core/sim/sim_real.h"

#include <math.h>

static const int nests[NEST_COUNT][AXIS_COUNT] = {{AXIS_N, AXIS_H, AXIS_W, AXIS_C},
                                                  {AXIS_N, AXIS_C, AXIS_H, AXIS_W}};

void sim_extents(const struct tile *t, int64_t out[AXIS_COUNT])
{
    out[AXIS_N] = t->n;
    out[AXIS_H] = t->h;
    out[AXIS_W] = t->w;
    out[AXIS_C] = t->c;
}

struct sim_box sim_box_of(const struct tile *t, int order)
{
    struct sim_box b = {{0}, {0}, {0}, {0}};
    memcpy(b.nest, nests[order == NEST_NCHW], sizeof b.nest);
    sim_extents(t, b.hi);
    return b;
}

struct sim_box sim_box_along(const struct tile *t, int order, unsigned axes,
                             const int64_t at[AXIS_COUNT])
{
    struct sim_box b = sim_box_of(t, order);
    for (int a = 0; a < AXIS_COUNT; a++)
        if (!(axes & 1u << a)) {
            b.lo[a] = b.at[a] = at[a];
            b.hi[a] = at[a] + 1;
        }
    return b;
}

void sim_flat(const struct tile *t, int order, int64_t flat, int64_t at[AXIS_COUNT])
{
    int64_t extent[AXIS_COUNT];
    sim_extents(t, extent);
    for (int d = AXIS_COUNT - 1; d >= 0; d--) {
        int a = nests[order == NEST_NCHW][d];
        at[a] = flat % extent[a];
        flat /= extent[a];
    }
}

void sim_lane(const struct sim_call *c, int t, const int64_t at[AXIS_COUNT], int axis,
              int64_t count, double *out)
{
    int64_t p[AXIS_COUNT] = {at[0], at[1], at[2], at[3]};
    for (p[axis] = 0; p[axis] < count; p[axis]++)
        out[p[axis]] = sim_real_at(c, t, p);
}

void sim_put_lane(struct sim_call *c, int t, const int64_t at[AXIS_COUNT], int axis, int64_t count,
                  const double *in)
{
    int64_t p[AXIS_COUNT] = {at[0], at[1], at[2], at[3]};
    for (p[axis] = 0; p[axis] < count; p[axis]++)
        sim_put_real_at(c, t, p, in[p[axis]]);
}

/* ── checks ── */

bool sim_alike(const struct sim_call *c, int y, int x, int except, struct bpu_error *err)
{
    int64_t a[AXIS_COUNT], b[AXIS_COUNT];
    sim_extents(&c->tiles[y], a);
    sim_extents(&c->tiles[x], b);
    for (int i = 0; i < AXIS_COUNT; i++)
        if (a[i] != b[i] && i != except)
            return sim_bad(c, err, "extents of tiles %d and %d differ along %c", y, x, "nhwc"[i]);
    return true;
}

bool sim_reduced(const struct sim_call *c, unsigned axes, struct bpu_error *err)
{
    int64_t a[AXIS_COUNT], b[AXIS_COUNT];
    sim_extents(&c->tiles[0], a);
    sim_extents(&c->tiles[1], b);
    if (axes >= 1u << AXIS_COUNT)
        return sim_bad(c, err, "there are no axes %u", axes);
    for (int i = 0; i < AXIS_COUNT; i++)
        if (a[i] != (axes & 1u << i ? 1 : b[i]))
            return sim_bad(c, err, "the result's extent along %c does not fit", "nhwc"[i]);
    return true;
}

bool sim_in_range(const struct sim_call *c, int arg, int64_t lo, int64_t hi, struct bpu_error *err)
{
    if (c->args[arg] >= lo && c->args[arg] <= hi)
        return true;
    return sim_bad(c, err, "argument %d is %d, not %lld to %lld", arg, c->args[arg], (long long)lo,
                   (long long)hi);
}

bool sim_axis(const struct sim_call *c, int arg, struct bpu_error *err)
{
    return sim_in_range(c, arg, 0, AXIS_COUNT - 1, err);
}

double *sim_doubles(const struct sim_call *c, int64_t count, struct bpu_error *err)
{
    return ARENA_ARRAY(c->scratch, double, count > 0 ? count : 1, err);
}

const unsigned char *sim_numbers(const struct sim_call *c, int t, int kind, int64_t count,
                                 struct bpu_error *err)
{
    int64_t size;
    const unsigned char *p = sim_bytes(c, t, &size, err);
    if (p && size / (kind ? 8 : 4) < count) {
        (void)sim_bad(c, err, "tile %d has %lld bytes for %lld numbers", t, (long long)size,
                      (long long)count);
        return NULL;
    }
    return p;
}

/* ── elements ── */

void sim_move(struct sim_call *c, int x, const int64_t from[AXIS_COUNT], int y,
              const int64_t to[AXIS_COUNT])
{
    const struct tile *a = &c->tiles[x], *b = &c->tiles[y];
    bool same =
        a->dtype == b->dtype && (!dtype_is_quantized((enum dtype)a->dtype) || a->scale == 0 ||
                                 b->scale == 0 || (a->scale == b->scale && a->zero == b->zero));
    if (same)
        memcpy(sim_at(c, y, to[0], to[1], to[2], to[3]),
               sim_at(c, x, from[0], from[1], from[2], from[3]), dtype_size((enum dtype)a->dtype));
    else if (sim_is_plain(a) && sim_is_plain(b))
        sim_put_at(c, y, to,
                   b->dtype == DT_BOOL ? sim_get_at(c, x, from) != 0 : sim_get_at(c, x, from));
    else
        sim_put_real_at(c, y, to, sim_real_at(c, x, from));
}

bool sim_index(const struct sim_call *c, int t, const int64_t at[AXIS_COUNT], int64_t extent,
               int64_t *out, struct bpu_error *err)
{
    const struct tile *i = &c->tiles[t];
    int64_t k;
    if (sim_is_plain(i) || i->dtype == DT_QINT32) {
        k = sim_get_at(c, t, at);
    } else {
        double v = sim_real_at(c, t, at);
        k = v > -9e15 && v < 9e15 ? (int64_t)v : INT64_MAX;
    }
    if (k < -extent || k >= extent)
        return sim_bad(c, err, "index %lld is out of range; the axis has %lld elements",
                       (long long)k, (long long)extent);
    *out = k < 0 ? k + extent : k;
    return true;
}
