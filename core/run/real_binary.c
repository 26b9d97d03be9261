/* real_binary: arithmetic, comparison and logic of two operands with broadcasting, and selection.
 *
 * Integer results of integer operands are exact in 64 bits and wrap to their type; everything else
 * is one operation in double precision, rounded once.  A real division by zero gives what IEEE 754
 * says; an integer one has no result and is an error. */
#include "core/ops/op.h"
#include "core/run/real.h"

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

static enum binary binary_code(const struct node *n)
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

/* t: the type of the operands (of both, where they agree). */
static int64_t binary_whole(enum binary code, int64_t a, int64_t b, enum dtype t)
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

static double binary_real(enum binary code, double a, double b)
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

static bool divides(enum binary code)
{
    return code == B_DIV_TRUNC || code == B_DIV_FLOOR || code == B_FMOD || code == B_REMAINDER;
}

static bool is_bitwise(enum binary code)
{
    return code >= B_AND && code <= B_SHR;
}

/* Rows along the last axis of float32 operands; the others move slowly. */
static bool float_rows(enum binary code, const struct tensor *a, const struct tensor *b,
                       struct tensor *y, double alpha)
{
    if (a->dtype != DT_FLOAT32 || b->dtype != DT_FLOAT32 || y->dtype != DT_FLOAT32 ||
        code > B_DIV || y->shape.rank == 0)
        return false;
    struct shape rows = y->shape;
    int64_t count = rows.dim[--rows.rank], sa[SHAPE_MAX_RANK], sb[SHAPE_MAX_RANK];
    fold_broadcast_strides(&a->shape, &y->shape, sa);
    fold_broadcast_strides(&b->shape, &y->shape, sb);
    struct fold_walk w;
    fold_walk_init(&w, &rows);
    w.operands = 2;
    memcpy(w.stride[0], sa, sizeof sa);
    memcpy(w.stride[1], sb, sizeof sb);
    int64_t step_a = sa[rows.rank], step_b = sb[rows.rank], total = shape_elements(&rows);
    float *out = y->data;
    for (int64_t r = 0; r < total; r++, fold_walk_next(&w), out += count) {
        const float *pa = (const float *)a->data + w.at[0], *pb = (const float *)b->data + w.at[1];
        for (int64_t i = 0; i < count; i++) {
            double va = (double)pa[i * step_a], vb = (double)pb[i * step_b];
            out[i] = (float)(code == B_ADD   ? va + vb * alpha
                             : code == B_SUB ? va - vb * alpha
                             : code == B_MUL ? va * vb
                                             : va / vb);
        }
    }
    return true;
}

bool real_binary(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *a = kernel_in(c, 0), *b = kernel_in(c, 1);
    struct tensor *y = c->out[0];
    enum binary code = binary_code(c->node);
    double alpha = code <= B_SUB ? node_float(c->node, "alpha", 1) : 1;
    if (code == B_NONE)
        return kernel_unsupported(c, err, "there is no such function");
    if (!real_broadcasts(c, a, &y->shape, err) || !real_broadcasts(c, b, &y->shape, err))
        return false;
    if (float_rows(code, a, b, y, alpha))
        return true;
    /* True division of integers is real arithmetic; so is a power with a real exponent. */
    bool whole = fold_is_int(a->dtype) && fold_is_int(b->dtype) && code != B_DIV &&
                 alpha == floor(alpha) && fabs(alpha) < 1e15;
    if (!whole && is_bitwise(code))
        return kernel_unsupported(c, err, "bits of real numbers are not defined");
    enum dtype t = a->dtype == DT_UINT64 && b->dtype == DT_UINT64 ? DT_UINT64 : DT_INT64;
    int64_t count = real_count(y), factor = whole ? (int64_t)alpha : 1;
    struct fold_walk w;
    fold_walk_init(&w, &y->shape);
    fold_walk_add(&w, &a->shape);
    fold_walk_add(&w, &b->shape);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        if (!whole) {
            tensor_store_real(
                y, i, binary_real(code, tensor_real(a, w.at[0]), tensor_real(b, w.at[1]) * alpha));
            continue;
        }
        int64_t vb = (int64_t)((uint64_t)tensor_int(b, w.at[1]) * (uint64_t)factor);
        if (vb == 0 && divides(code))
            return kernel_unsupported(c, err, "integer division by zero at element %lld",
                                      (long long)i);
        int64_t r = binary_whole(code, tensor_int(a, w.at[0]), vb, t);
        fold_store_int(real_at(y, i), y->dtype, r);
    }
    return true;
}

/* ── selection ── */

static bool select_run(const struct kernel_call *c, const struct tensor *condition,
                       const struct tensor *yes, const struct tensor *no, struct bpu_error *err)
{
    const struct tensor *operands[] = {condition, yes, no};
    for (int i = 0; i < 3; i++)
        if (!real_broadcasts(c, operands[i], &c->out[0]->shape, err))
            return false;
    struct fold_walk w;
    int64_t count = real_count(c->out[0]);
    fold_walk_init(&w, &c->out[0]->shape);
    fold_walk_add(&w, &condition->shape);
    fold_walk_add(&w, &yes->shape);
    fold_walk_add(&w, &no->shape);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        bool first = tensor_real(condition, w.at[0]) != 0;
        real_move(first ? yes : no, w.at[first ? 1 : 2], c->out[0], i);
    }
    return true;
}

/* where(condition, a, b) */
bool real_where(const struct kernel_call *c, struct bpu_error *err)
{
    return select_run(c, c->in[0], c->in[1], c->in[2], err);
}

bool fixed_where(const struct kernel_call *c, struct bpu_error *err)
{
    return real_where(c, err);
}

/* masked_fill(x, mask, value): the value is an operand or the attribute. */
bool real_masked_fill(const struct kernel_call *c, struct bpu_error *err)
{
    double number = node_float(c->node, "value", 0);
    struct tensor fill = {.shape = {.rank = 0}, .dtype = DT_FLOAT64, .data = &number, .bytes = 8};
    return select_run(c, c->in[1], kernel_in(c, 2) ? kernel_in(c, 2) : &fill, c->in[0], err);
}

bool fixed_masked_fill(const struct kernel_call *c, struct bpu_error *err)
{
    return real_masked_fill(c, err);
}
