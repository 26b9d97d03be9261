/* binary: arithmetic, comparison and logic of two numbers. */
#include "core/ops/binary.h"

#include <math.h>
#include <string.h>

enum binary binary_find(const struct node *n)
{
    static const struct {
        const char *key;
        enum binary code;
    } codes[] = {
        {"add", B_ADD},
        {"sub", B_SUB},
        {"mul", B_MUL},
        {"pow", B_POW},
        {"maximum", B_MAX},
        {"minimum", B_MIN},
        {"max", B_MAX},
        {"min", B_MIN},
        {"fmod", B_FMOD},
        {"remainder", B_REMAINDER},
        {"floor_divide", B_DIV_FLOOR},
        {"atan2", B_ATAN2},
        {"bitwise_and", B_AND},
        {"bitwise_or", B_OR},
        {"bitwise_xor", B_XOR},
        {"bitwise_left_shift", B_SHL},
        {"bitwise_right_shift", B_SHR},
        {"eq", B_EQ},
        {"ne", B_NE},
        {"lt", B_LT},
        {"less", B_LT},
        {"le", B_LE},
        {"less_equal", B_LE},
        {"gt", B_GT},
        {"greater", B_GT},
        {"ge", B_GE},
        {"greater_equal", B_GE},
        {"logical_and", B_LAND},
        {"logical_or", B_LOR},
        {"logical_xor", B_LXOR},
    };
    if (strcmp(n->op->key, "div") == 0) {
        const char *mode = node_string(n, "rounding_mode", "");
        return strcmp(mode, "trunc") == 0   ? B_DIV_TRUNC
               : strcmp(mode, "floor") == 0 ? B_DIV_FLOOR
                                            : B_DIV;
    }
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(codes[i].key, n->op->key) == 0)
            return codes[i].code;
    return B_NONE;
}

/* Quotients and remainders of the magnitudes that t can hold. b is not 0. */
static int64_t divide_whole(enum binary code, int64_t a, int64_t b, enum dtype t)
{
    bool rest = code == B_FMOD || code == B_REMAINDER;
    if (t == DT_UINT64)
        return (int64_t)(rest ? (uint64_t)a % (uint64_t)b : (uint64_t)a / (uint64_t)b);
    if (b == -1) /* the quotient of the least integer wraps */
        return rest ? 0 : (int64_t)(0 - (uint64_t)a);
    bool down = a % b != 0 && (a % b < 0) != (b < 0);
    switch (code) {
    case B_DIV_TRUNC: return a / b;
    case B_DIV_FLOOR: return a / b - down;
    case B_FMOD: return a % b;
    default: return a % b + (down ? b : 0);
    }
}

static int64_t power_whole(int64_t a, int64_t b, enum dtype t)
{
    uint64_t r = 1, base = (uint64_t)a, e = (uint64_t)b;
    if (b < 0 && t != DT_UINT64)
        return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
    for (; e; e >>= 1, base *= base)
        if (e & 1)
            r *= base;
    return (int64_t)r;
}

int64_t binary_apply_int(enum binary code, int64_t a, int64_t b, enum dtype t)
{
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    bool less = t == DT_UINT64 ? ua < ub : a < b;
    switch (code) {
    case B_ADD: return (int64_t)(ua + ub);
    case B_SUB: return (int64_t)(ua - ub);
    case B_MUL: return (int64_t)(ua * ub);
    case B_DIV_TRUNC:
    case B_DIV_FLOOR:
    case B_FMOD:
    case B_REMAINDER: return divide_whole(code, a, b, t);
    case B_POW: return power_whole(a, b, t);
    case B_MAX: return less ? b : a;
    case B_MIN: return less ? a : b;
    case B_AND: return a & b;
    case B_OR: return a | b;
    case B_XOR: return a ^ b;
    case B_SHL: return b < 0 || b > 63 ? 0 : (int64_t)(ua << b);
    case B_SHR:
        if (t == DT_UINT64)
            return b < 0 || b > 63 ? 0 : (int64_t)(ua >> b);
        return b < 0 || b > 63 ? -(a < 0) : a < 0 ? ~(~a >> b) : a >> b;
    case B_EQ: return a == b;
    case B_NE: return a != b;
    case B_LT: return less;
    case B_LE: return less || a == b;
    case B_GT: return !less && a != b;
    case B_GE: return !less;
    case B_LAND: return a && b;
    case B_LOR: return a || b;
    default: return !a != !b;
    }
}

/* PyTorch's floor division: from the exact remainder, so that 1 / 0.1 rounds as it does there. */
static double floor_divide(double a, double b)
{
    if (b == 0)
        return a / b;
    double rest = fmod(a, b), q = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0))
        q -= 1;
    if (q == 0)
        return copysign(0, a / b);
    double down = floor(q);
    return q - down > .5 ? down + 1 : down;
}

static double remainder_of(double a, double b)
{
    double rest = fmod(a, b);
    return rest != 0 && (b < 0) != (rest < 0) ? rest + b : rest;
}

double binary_apply(enum binary code, double a, double b)
{
    switch (code) {
    case B_ADD: return a + b;
    case B_SUB: return a - b;
    case B_MUL: return a * b;
    case B_DIV: return a / b;
    case B_DIV_TRUNC: return trunc((double)(float)(a / b));
    case B_DIV_FLOOR: return floor_divide(a, b);
    case B_POW: return pow(a, b);
    case B_MAX: return isnan(a) || a > b ? a : b;
    case B_MIN: return isnan(a) || a < b ? a : b;
    case B_FMOD: return fmod(a, b);
    case B_REMAINDER: return remainder_of(a, b);
    case B_ATAN2: return atan2(a, b);
    case B_EQ: return a == b;
    case B_NE: return a != b;
    case B_LT: return a < b;
    case B_LE: return a <= b;
    case B_GT: return a > b;
    case B_GE: return a >= b;
    case B_LAND: return a != 0 && b != 0;
    case B_LOR: return a != 0 || b != 0;
    default: return (a != 0) != (b != 0);
    }
}
