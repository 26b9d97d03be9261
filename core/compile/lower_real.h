/* lower_real: what lowerings to isa_real.def's instructions share.
 *
 * An operator along some axes wants each of them alone on an axis of its map.  The value's own form
 * is taken where it is so, else the other one, else the value as what is inside, along and outside
 * of them, which always is. */
#ifndef BPU_COMPILE_LOWER_REAL_H
#define BPU_COMPILE_LOWER_REAL_H

#include "core/compile/lower_view.h"
#include "core/ops/infer.h"
#include "core/program/args_real.h"

/* How a value is laid out for an operator along `dims` (a set of its axes). */
struct along {
    struct shape as; /* the value's shape, or one with the same elements */
    unsigned dims;   /* the axes in that shape */
    enum form form;
    unsigned axes; /* on the map: bits of enum tile_axis */
    int axis;      /* the only one, or -1 */
    int nesting;   /* enum nesting: the map's axes in the value's order */
};
bool along_of(struct lowering *l, const struct node *n, const struct value *v, unsigned dims,
              struct along *out, struct bpu_error *err) BPU_CHECKED;
/* The same shape with another extent along the axes. */
struct shape along_with(const struct along *a, int64_t extent);

/* The operand of a layer along these axes, and how the layer may be cut: rows by rows unless rows
 * or frames are among them. */
void along_reads(struct layer *layer, struct map *x, unsigned axes);

/* Numbers of a constant parameter as binary64; count 0: as many as it has.  A single number stands
 * for all if `repeat`. */
double *lower_numbers(struct lowering *l, const struct node *n, const struct value *v,
                      const char *what, int64_t first, int64_t count, bool repeat,
                      struct bpu_error *err) BPU_CHECKED;
/* The numbers as a blob; *kind 0: of binary32, which all of them are, else 1: of binary64. */
struct blob *lower_number_blob(struct lowering *l, const double *v, int64_t count, int *kind,
                               struct bpu_error *err) BPU_CHECKED;
/* y(m) = bias[m] + sum of w[m][k] * x(k) in binary64, k ascending; bias NULL: 0. */
struct layer *lower_linear_real(struct lowering *l, const struct node *n, struct map *x,
                                struct map *y, const double *w, const double *bias,
                                struct bpu_error *err) BPU_CHECKED;
/* A map of binary64. */
struct map *lower_doubles(struct lowering *l, const struct node *n, const char *what, int h, int w,
                          int c, struct bpu_error *err) BPU_CHECKED;
/* The scale of a quantized value that has one. */
bool lower_scaled(const struct node *n, const struct value *v, double *scale,
                  struct bpu_error *err) BPU_CHECKED;
static inline const struct value *lower_output(const struct node *n, int i)
{
    return i < n->output_count ? n->outputs[i] : NULL;
}

#endif
