/* binary: the functions of two values, for real numbers and for integers.
 *
 * Constant folding, the float kernels and the fixed-point kernels take them from here, so that one
 * operator is one function wherever it is computed. */
#ifndef BPU_OPS_BINARY_H
#define BPU_OPS_BINARY_H

#include "core/ops/op.h"

/* In groups: arithmetic, bits, truth values. */
enum binary {
    B_ADD,
    B_SUB,
    B_MUL,
    B_DIV,
    B_DIV_TRUNC,
    B_DIV_FLOOR,
    B_POW,
    B_MAX,
    B_MIN,
    B_FMOD,
    B_REMAINDER,
    B_ATAN2,
    B_AND,
    B_OR,
    B_XOR,
    B_SHL,
    B_SHR,
    B_EQ,
    B_NE,
    B_LT,
    B_LE,
    B_GT,
    B_GE,
    B_LAND,
    B_LOR,
    B_LXOR,
    B_NONE
};

/* The function of a bound node, rounding_mode of a division included; B_NONE: its row is none. */
enum binary binary_find(const struct node *n);

static inline bool binary_is_bitwise(enum binary code)
{
    return code >= B_AND && code <= B_SHR;
}
static inline bool binary_is_truth(enum binary code)
{
    return code >= B_EQ && code < B_NONE;
}
/* Quotients and remainders that integers have: not where the divisor is 0. */
static inline bool binary_divides(enum binary code)
{
    return code == B_DIV_TRUNC || code == B_DIV_FLOOR || code == B_FMOD || code == B_REMAINDER;
}
/* False: of integers the result is real as well. */
static inline bool binary_has_int(enum binary code)
{
    return code != B_DIV && code != B_ATAN2 && code != B_NONE;
}

/* In double precision; a division by zero gives what IEEE 754 says. Not for bitwise functions. */
double binary_apply(enum binary code, double a, double b);
/* Exact in 64 bits, wrapping; t is DT_UINT64 if both operands are unsigned 64-bit numbers.  For codes of
 * binary_has_int(); where binary_divides(), b is not 0. A negative power of 0 is 0. */
int64_t binary_apply_int(enum binary code, int64_t a, int64_t b, enum dtype t);

#endif
