/* fixed_unary: the lookup tables of functions of one value. */
#ifndef BPU_RUN_FIXED_UNARY_H
#define BPU_RUN_FIXED_UNARY_H

#include "core/run/fixed.h"

/* table[q - lowest q of x_dtype]: 256 entries for 8 bits, 65536 for 16.  n: a bound node of kernel
 * `unary`. */
bool fixed_unary_table(const struct node *n, const struct quant *x, enum dtype x_dtype,
                       const struct quant *y, enum dtype y_dtype, int32_t *table,
                       struct bpu_error *err) BPU_CHECKED;

#endif
