/* fast_layout: how feature maps of 8 bits lie inside the fast engine.
 *
 * Rank 4: (N, H, W, C), so that a convolution reads the channels of a pixel in one piece; other ranks in
 * their own order.  Always uint8: of qint8 the stored integer with 128 added.  Constants, other types
 * and whatever leaves the engine are in PyTorch's layout. */
#ifndef BPU_RUN_FAST_LAYOUT_H
#define BPU_RUN_FAST_LAYOUT_H

#include "core/run/fast.h"
#include "core/run/fixed.h"

/* True if the engine holds this value in its own layout. */
static inline bool fast_is_inside(const struct value *v)
{
    return (v->dtype == DT_QINT8 || v->dtype == DT_QUINT8) && !v->constant;
}
/* True if a reshape from x to y leaves the bytes where they are. */
bool fast_same_order(const struct shape *x, const struct shape *y);
/* What is added to a stored integer of this type. */
static inline int32_t fast_offset(enum dtype t)
{
    return t == DT_QINT8 ? 128 : 0;
}

/* True if a stored byte of x means in y what it means in x. */
static inline bool fast_same_bytes(const struct tensor *x, const struct tensor *y)
{
    return x->dtype == y->dtype && fixed_same_scale(x, y);
}

/* t describes the value; data of the same size in either layout. */
void fast_enter(const struct tensor *t, const void *plain, void *inside);
void fast_leave(const struct tensor *t, const void *inside, void *plain);

/* The reference kernel between two conversions: for nodes that have no kernel of their own here. */
fast_prepare_fn fast_prepare_wrapped;
fast_prepare_fn fast_prepare_move; /* fast_layout.c: where bytes only change places, less than that */
fast_prepare_fn fast_prepare_conv, fast_prepare_linear; /* fast_conv.c */
fast_prepare_fn fast_prepare_table, fast_prepare_add, fast_prepare_quantize,
    fast_prepare_dequantize; /* fast_eltwise.c */
fast_prepare_fn fast_prepare_cat, fast_prepare_cut; /* fast_cat.c */
fast_prepare_fn fast_prepare_pool, fast_prepare_mean; /* fast_pool.c */

#endif
