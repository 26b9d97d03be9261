/* lower_view: values that are elements of another map in some order.
 *
 * A view walks a map with nested counters, the last one fastest: element (i0, i1, …) lies at
 * off[axis] + i * step, summed per axis; a counter with a negative step begins at the far end of
 * what it covers.  Reshapes, permutations, slices, flips and repetitions are views of views, so that
 * a chain of them costs one COPY, or none where the order is the one that the map has. */
#ifndef BPU_COMPILE_LOWER_VIEW_H
#define BPU_COMPILE_LOWER_VIEW_H

#include "core/compile/lower.h"
#include "core/program/args.h"

#define VIEW_MAX_DIGITS (3 * SHAPE_MAX_RANK)

struct digit {
    int64_t extent, step; /* step 0: repeated */
    int axis;             /* of the map: 0 n, 1 h, 2 w, 3 c */
};

struct view {
    struct map *map;
    int64_t off[4];
    bool full; /* more counters than can be held: view_map and view_set refuse it */
    int count;
    struct digit digit[VIEW_MAX_DIGITS];
};

/* One counter that walks two index spaces. */
struct view_loop {
    int64_t extent;
    int y_axis, x_axis;
    int64_t y_step, x_step;
};

/* All elements of a map that holds a value of shape s in form f. */
void view_of_map(struct map *m, const struct shape *s, enum form f, struct view *out);
/* What v consists of: a view, or a map that is there.  Adds no layer. */
bool view_of_value(struct lowering *l, const struct value *v, struct view *out,
                   struct bpu_error *err) BPU_CHECKED;
/* The counters of `view` cut at the extents of `to` (whose axis and step are arbitrary marks): at most
 * `max` loops, the last one fastest; -1: they do not cut at common places. */
int view_refine(const struct digit *to, int count, const struct view *view, struct view_loop *out,
                int max);
/* The same for the axes of shape s: y_axis is the axis of s.  Where the places differ, the view is
 * replaced by one of a copy that has them. */
int view_by_axes(struct lowering *l, struct view *view, const struct shape *s,
                 struct view_loop out[VIEW_MAX_DIGITS], struct bpu_error *err) BPU_CHECKED;
/* The map that holds the view's elements as a value of shape s in form f: the map itself or a part of
 * it where the order is the same, else a copy. */
struct map *view_map(struct lowering *l, const struct view *view, const char *name,
                     const struct shape *s, enum form f, struct bpu_error *err) BPU_CHECKED;
/* Adds the layer that copies the view into y (all of it, in the order of `to`); rule as COPY's. */
bool view_copy(struct lowering *l, const struct view *view, struct map *y, const struct digit *to,
               int count, int rule, struct bpu_error *err) BPU_CHECKED;
/* v is this view from now on.  If its type or scale is another one, elements are stored through
 * `rule` of COPY at once. */
bool view_set(struct lowering *l, const struct value *v, const struct view *view, int rule,
              struct bpu_error *err) BPU_CHECKED;

/* The digits of shape s in form f. */
int view_digits(const struct shape *s, enum form f, struct digit out[SHAPE_MAX_RANK]);
/* One more counter inside of the others; joined with the one before if both walk like one. */
void view_add(struct view *v, int64_t extent, int64_t step, int axis);

/* True if a part that begins there may be read or written by any engine: whole native blocks. */
bool part_aligned(const struct lowering *l, int64_t off_h, int64_t off_w, int64_t off_c);
/* m, which lies alone, becomes a part of `into` at these offsets, with all of its own parts. */
void part_move(struct lowering *l, struct map *m, struct map *into, int off_h, int off_w,
               int off_c);

#endif
