/* fold_binary: arithmetic, comparison and logic of two constants with broadcasting, and selection.
 *
 * Integers are computed in 64 bits and wrap; a division by zero leaves the node unfolded. */
#include <math.h>

#include "core/ops/fold.h"

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

/* False: division by zero, or no such integer operation. */
static bool binary_int(enum binary code, int64_t a, int64_t b, int64_t *out)
{
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b, r = 1;
    switch (code) {
    case B_ADD: *out = (int64_t)(ua + ub); return true;
    case B_SUB: *out = (int64_t)(ua - ub); return true;
    case B_MUL: *out = (int64_t)(ua * ub); return true;
    case B_DIV_TRUNC:
    case B_DIV_FLOOR:
    case B_FMOD:
    case B_REMAINDER:
        if (b == 0)
            return false;
        if (b == -1) { /* the quotient of INT64_MIN wraps */
            *out = code == B_FMOD || code == B_REMAINDER ? 0 : (int64_t)(0 - ua);
            return true;
        }
        if (code == B_DIV_TRUNC || code == B_FMOD) {
            *out = code == B_FMOD ? a % b : a / b;
        } else {
            bool down = a % b != 0 && (a % b < 0) != (b < 0);
            *out = code == B_DIV_FLOOR ? a / b - down : a % b + (down ? b : 0);
        }
        return true;
    case B_POW:
        if (b < 0) {
            *out = a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
            return a != 0;
        }
        for (; ub; ub >>= 1, ua *= ua)
            if (ub & 1)
                r *= ua;
        *out = (int64_t)r;
        return true;
    case B_MAX: *out = a > b ? a : b; return true;
    case B_MIN: *out = a < b ? a : b; return true;
    case B_AND: *out = a & b; return true;
    case B_OR: *out = a | b; return true;
    case B_XOR: *out = a ^ b; return true;
    case B_SHL: *out = b < 0 || b > 63 ? 0 : (int64_t)(ua << b); return true;
    case B_SHR:
        *out = b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a < 0 ? ~(~a >> b) : a >> b;
        return true;
    case B_EQ: *out = a == b; return true;
    case B_NE: *out = a != b; return true;
    case B_LT: *out = a < b; return true;
    case B_LE: *out = a <= b; return true;
    case B_GT: *out = a > b; return true;
    case B_GE: *out = a >= b; return true;
    case B_LAND: *out = a && b; return true;
    case B_LOR: *out = a || b; return true;
    case B_LXOR: *out = !a != !b; return true;
    default: return false;
    }
}

static bool binary_real(enum binary code, double a, double b, double *out)
{
    switch (code) {
    case B_ADD: *out = a + b; return true;
    case B_SUB: *out = a - b; return true;
    case B_MUL: *out = a * b; return true;
    case B_DIV:
    case B_DIV_TRUNC:
    case B_DIV_FLOOR:
        *out = b == 0 ? 0 : a / b;
        if (code == B_DIV_TRUNC)
            *out = trunc(*out);
        if (code == B_DIV_FLOOR)
            *out = floor(*out);
        return b != 0;
    case B_POW: *out = pow(a, b); return true;
    case B_MAX: *out = isnan(a) || a > b ? a : b; return true;
    case B_MIN: *out = isnan(a) || a < b ? a : b; return true;
    case B_FMOD: *out = fmod(a, b); return b != 0;
    case B_REMAINDER:
        *out = b == 0 ? 0 : fmod(a, b);
        if (*out != 0 && (*out < 0) != (b < 0))
            *out += b;
        return b != 0;
    case B_ATAN2: *out = atan2(a, b); return true;
    case B_EQ: *out = a == b; return true;
    case B_NE: *out = a != b; return true;
    case B_LT: *out = a < b; return true;
    case B_LE: *out = a <= b; return true;
    case B_GT: *out = a > b; return true;
    case B_GE: *out = a >= b; return true;
    case B_LAND: *out = a != 0 && b != 0; return true;
    case B_LOR: *out = a != 0 || b != 0; return true;
    case B_LXOR: *out = (a != 0) != (b != 0); return true;
    default: return false;
    }
}

bool fold_binary(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *a = n->inputs[0], *b = n->inputs[1];
    enum binary code = binary_code(n);
    double alpha = node_float(n, "alpha", 1);
    struct fold_result f;
    struct fold_walk w;
    bool skip, ok = code != B_NONE;
    if (dtype_is_quantized(a->dtype) || dtype_is_quantized(b->dtype) || !ok)
        return true;
    /* Above int64 the sign bit is a digit: not needed for shapes, and easy to get wrong. */
    if (a->dtype == DT_UINT64 || b->dtype == DT_UINT64)
        return true;
    struct arena_mark mark = arena_mark(g->arena);
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    enum dtype t = f.out->dtype;
    /* True division of integers is real arithmetic. */
    bool ints = fold_is_int(a->dtype) && fold_is_int(b->dtype) && code != B_DIV &&
                alpha == floor(alpha) && fabs(alpha) < 1e15;
    fold_walk_init(&w, &f.out->shape);
    fold_walk_add(&w, &a->shape);
    fold_walk_add(&w, &b->shape);
    for (int64_t i = 0; i < f.count && ok; i++, fold_walk_next(&w)) {
        unsigned char *p = f.data + (size_t)i * f.size;
        const unsigned char *pa = fold_at(a, w.at[0]), *pb = fold_at(b, w.at[1]);
        if (ints) {
            int64_t y = fold_load_int(pb, b->dtype), r = 0;
            if (alpha != 1)
                y = (int64_t)((uint64_t)y * (uint64_t)(int64_t)alpha);
            ok = binary_int(code, fold_load_int(pa, a->dtype), y, &r);
            fold_store_int(p, t, r);
        } else {
            double y = fold_load_real(pb, b->dtype) * alpha, r = 0;
            ok = binary_real(code, fold_load_real(pa, a->dtype), y, &r);
            fold_store_real(p, t, r);
        }
    }
    if (ok)
        return fold_end(g, &f, err);
    arena_rewind(g->arena, mark);
    return true;
}

static bool select_fold(struct graph *g, struct node *n, const struct value *cond,
                        const struct value *a, const struct value *b, struct bpu_error *err)
{
    struct fold_result f;
    struct fold_walk w;
    bool skip;
    if (dtype_is_quantized(a->dtype) || dtype_is_quantized(b->dtype))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    fold_walk_init(&w, &f.out->shape);
    fold_walk_add(&w, &cond->shape);
    fold_walk_add(&w, &a->shape);
    fold_walk_add(&w, &b->shape);
    for (int64_t i = 0; i < f.count; i++, fold_walk_next(&w)) {
        bool first = fold_load_real(fold_at(cond, w.at[0]), cond->dtype) != 0;
        const struct value *from = first ? a : b;
        const unsigned char *src = fold_at(from, w.at[first ? 1 : 2]);
        unsigned char *p = f.data + (size_t)i * f.size;
        if (fold_is_int(from->dtype))
            fold_store_int(p, f.out->dtype, fold_load_int(src, from->dtype));
        else
            fold_store_real(p, f.out->dtype, fold_load_real(src, from->dtype));
    }
    return fold_end(g, &f, err);
}

bool fold_where(struct graph *g, struct node *n, struct bpu_error *err)
{
    return select_fold(g, n, n->inputs[0], n->inputs[1], n->inputs[2], err);
}

bool fold_masked_fill(struct graph *g, struct node *n, struct bpu_error *err)
{
    double number = node_float(n, "value", 0);
    struct constant c = {(const unsigned char *)&number, sizeof number};
    struct value fill = {.dtype = DT_FLOAT64, .shape = {.rank = 0}, .constant = &c};
    const struct value *v = node_input(n, 2);
    return select_fold(g, n, n->inputs[1], v ? v : &fill, n->inputs[0], err);
}
