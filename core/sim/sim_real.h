/* sim_real: what the functions of isa_real.def's instructions share. */
#ifndef BPU_SIM_SIM_REAL_H
#define BPU_SIM_SIM_REAL_H

#include "core/program/args_real.h"
#include "core/sim/sim_private.h"

/* Coordinates at[] of a tile's box in ascending order; nest[3] changes fastest. Axes of which lo +
 * 1
 * == hi stay. */
struct sim_box {
    int nest[AXIS_COUNT];
    int64_t lo[AXIS_COUNT], hi[AXIS_COUNT], at[AXIS_COUNT];
};
/* All of a tile in an order (enum nesting). */
struct sim_box sim_box_of(const struct tile *t, int order);
/* The axes of the set only; the others stand still at `at`. */
struct sim_box sim_box_along(const struct tile *t, int order, unsigned axes,
                             const int64_t at[AXIS_COUNT]);
static inline bool sim_box_next(struct sim_box *b)
{
    for (int d = AXIS_COUNT - 1; d >= 0; d--) {
        int a = b->nest[d];
        if (++b->at[a] < b->hi[a])
            return true;
        b->at[a] = b->lo[a];
    }
    return false;
}
static inline int64_t sim_box_count(const struct sim_box *b)
{
    int64_t count = 1;
    for (int a = 0; a < AXIS_COUNT; a++)
        count *= b->hi[a] - b->lo[a];
    return count;
}

void sim_extents(const struct tile *t, int64_t out[AXIS_COUNT]);
static inline int64_t sim_elements(const struct tile *t)
{
    return (int64_t)t->n * t->h * t->w * t->c;
}
/* Where element `flat` of a tile stands, counted in an order. */
void sim_flat(const struct tile *t, int order, int64_t flat, int64_t at[AXIS_COUNT]);

static inline double sim_real_at(const struct sim_call *c, int t, const int64_t at[AXIS_COUNT])
{
    return sim_real(c, t, at[0], at[1], at[2], at[3]);
}
static inline void sim_put_real_at(struct sim_call *c, int t, const int64_t at[AXIS_COUNT],
                                   double v)
{
    sim_put_real(c, t, at[0], at[1], at[2], at[3], v);
}
static inline int64_t sim_get_at(const struct sim_call *c, int t, const int64_t at[AXIS_COUNT])
{
    return sim_get(c, t, at[0], at[1], at[2], at[3]);
}
static inline void sim_put_at(struct sim_call *c, int t, const int64_t at[AXIS_COUNT], int64_t v)
{
    sim_put(c, t, at[0], at[1], at[2], at[3], v);
}

/* The lane through `at` along an axis: `count` numbers. */
void sim_lane(const struct sim_call *c, int t, const int64_t at[AXIS_COUNT], int axis,
              int64_t count, double *out);
void sim_put_lane(struct sim_call *c, int t, const int64_t at[AXIS_COUNT], int axis, int64_t count,
                  const double *in);

/* y has x's extents, except along an axis (-1: everywhere). */
bool sim_alike(const struct sim_call *c, int y, int x, int except,
               struct bpu_error *err) BPU_CHECKED;
/* Extent 1 along the axes of the set, x's along the others. */
bool sim_reduced(const struct sim_call *c, unsigned axes, struct bpu_error *err) BPU_CHECKED;
bool sim_axis(const struct sim_call *c, int arg, struct bpu_error *err) BPU_CHECKED;
bool sim_in_range(const struct sim_call *c, int arg, int64_t lo, int64_t hi,
                  struct bpu_error *err) BPU_CHECKED;
double *sim_doubles(const struct sim_call *c, int64_t count, struct bpu_error *err) BPU_CHECKED;

/* Element i of a row of numbers: kind 0 binary32, 1 binary64. */
static inline double sim_number(const unsigned char *p, int kind, int64_t i)
{
    float f;
    double d;
    if (kind) {
        memcpy(&d, p + i * 8, sizeof d);
        return d;
    }
    memcpy(&f, p + i * 4, sizeof f);
    return (double)f;
}
/* The tile's bytes if it holds at least `count` numbers of this kind. */
const unsigned char *sim_numbers(const struct sim_call *c, int t, int kind, int64_t count,
                                 struct bpu_error *err);

/* Integers, indices and truth values: no scale, no fraction. */
static inline bool sim_is_plain(const struct tile *t)
{
    return t->dtype >= DT_INT8 && t->dtype <= DT_BOOL;
}
static inline bool sim_is_real(const struct tile *t)
{
    return t->dtype == DT_FLOAT32 || t->dtype == DT_FLOAT64;
}

/* An element as SELECT moves it: bytes where type and scale agree, between plain integers exactly,
 * else through the real value. */
void sim_move(struct sim_call *c, int x, const int64_t from[AXIS_COUNT], int y,
              const int64_t to[AXIS_COUNT]);
/* The index that stands at `at`: reals are truncated; below 0 it counts from the end. */
bool sim_index(const struct sim_call *c, int t, const int64_t at[AXIS_COUNT], int64_t extent,
               int64_t *out, struct bpu_error *err) BPU_CHECKED;

#endif
