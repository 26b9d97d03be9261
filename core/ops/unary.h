/* unary: the functions of one value, in double precision.
 *
 * Constant folding, the float kernels and the lookup tables of quantized networks take them from
 * here, so that one operator is one function wherever it is computed. */
#ifndef BPU_OPS_UNARY_H
#define BPU_OPS_UNARY_H

#include "core/ops/op.h"

/* A function with its parameters read from the attributes of a node. */
struct unary {
    double (*of)(const struct unary *u, double x);
    double (*plain)(double x); /* of the functions without parameters */
    double a, b;
};

/* The function of a bound node of kernel `unary`. False: its row is none of them (bitwise_not,
 * which has only an integer form, and rows of other kernels). */
bool unary_find(const struct node *n, struct unary *out);
static inline double unary_apply(const struct unary *u, double x)
{
    return u->of(u, x);
}
/* Integers to integers: exact, wrapping in 64 bits; t tells unsigned 64-bit numbers and booleans.
 * False: that row has no integer form. */
bool unary_apply_int(const char *key, int64_t x, enum dtype t, int64_t *out);

#endif
