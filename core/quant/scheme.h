/* scheme: which type and scale each value of a fused graph gets, before anything is made of it. */
#ifndef BPU_QUANT_SCHEME_H
#define BPU_QUANT_SCHEME_H

#include "core/quant/quant.h"

/* Of one value. dtype DT_UNKNOWN: stays float (or is no feature map). */
struct scheme_value {
    enum dtype dtype;
    struct quant quant; /* count 0 with qint32: scale s_x * s_w of the layer that makes it */
};

struct scheme {
    struct scheme_value *values; /* by value index */
    int count;
};

/* A type for real numbers: float or quantized, no index and no truth value. */
bool scheme_is_real(enum dtype t);
/* A symmetric per-tensor quant in the arena; false: memory. */
bool scheme_set(struct arena *a, struct scheme_value *v, enum dtype t, double scale,
                struct bpu_error *err) BPU_CHECKED;
/* Scale of a symmetric range: absmax / 127.5, or / 32767.5 for qint16. */
double scheme_scale(double absmax, enum dtype t);

/* From the scales in the file. */
/* wide: means without a scale of their own get 16 bits, as no march does, instead of 8. */
bool scheme_of_file(struct arena *a, const struct graph *fused, bool wide, struct scheme *out,
                    struct bpu_error *err) BPU_CHECKED;
bool scheme_of_calibration(struct arena *a, const struct graph *fused, const struct calibration *c,
                           struct scheme *out, struct bpu_error *err) BPU_CHECKED;

/* carried.c: by value index of a graph as it was read: its scale is only inference's, that of the
 * operand of a mean.  NULL: memory. */
bool *carried_scales(struct arena *a, const struct graph *g, struct bpu_error *err) BPU_CHECKED;
/* Pools that average, means over axes, interpolation. */
bool carried_is_mean(const struct node *n);

/* unify.c: operators that move integers around without changing them. True if result 0 must have
 * the scale of operand *operand. */
bool unify_keeps_scale(const struct node *n, int *operand);
/* Values without a scale take that of the value whose integers they hold, forwards and backwards. */
void unify_inherit(const struct graph *fused, const struct graph_users *users, struct scheme *s);
/* Calibrated scales: results of operators that keep the scale take it, and what a concat alone reads
 * takes the scale of its result. */
void unify_calibrated(const struct graph *fused, const struct graph_users *users, struct scheme *s);

#endif
