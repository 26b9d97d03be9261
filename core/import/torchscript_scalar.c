/* Arithmetic on Python numbers, strings and lists: what is left of shape computations once sizes
 * are known.
 *
 * Integers that leave 64 bits, divisions by zero and operands of other kinds give a number that is
 * not known. */
#include <math.h>
#include <string.h>

#include "core/import/torchscript.h"

enum { MAX_LIST = 1 << 16 };

static bool is_plain(const struct py_value *v)
{
    return v->kind == PY_INT || v->kind == PY_FLOAT || v->kind == PY_BOOL;
}

static double real(const struct py_value *v)
{
    return v->kind == PY_FLOAT ? v->f : (double)v->i;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static struct py_value *whole(struct ts_import *ts, const char *op, int64_t a, int64_t b,
                              bool *done)
{
    int64_t r;
    bool ok = true;
    if (strcmp(op, "add") == 0)
        ok = !__builtin_add_overflow(a, b, &r);
    else if (strcmp(op, "sub") == 0)
        ok = !__builtin_sub_overflow(a, b, &r);
    else if (strcmp(op, "rsub") == 0)
        ok = !__builtin_sub_overflow(b, a, &r);
    else if (strcmp(op, "mul") == 0)
        ok = !__builtin_mul_overflow(a, b, &r);
    else if (strcmp(op, "floordiv") == 0 || strcmp(op, "floor_divide") == 0) {
        ok = b != 0 && !(a == INT64_MIN && b == -1);
        r = ok ? floor_div(a, b) : 0;
    } else if (strcmp(op, "remainder") == 0) {
        ok = b != 0 && b != -1;
        r = ok ? a - floor_div(a, b) * b : 0;
        ok = b != 0;
    } else if (strcmp(op, "max") == 0)
        r = a > b ? a : b;
    else if (strcmp(op, "min") == 0)
        r = a < b ? a : b;
    else {
        *done = false;
        return NULL;
    }
    return ok ? ts_int(ts, r) : ts_new(ts, PY_UNKNOWN);
}

static struct py_value *fraction(struct ts_import *ts, const char *op, double a, double b,
                                 bool *done)
{
    if (strcmp(op, "add") == 0)
        return ts_float(ts, a + b);
    if (strcmp(op, "sub") == 0)
        return ts_float(ts, a - b);
    if (strcmp(op, "rsub") == 0)
        return ts_float(ts, b - a);
    if (strcmp(op, "mul") == 0)
        return ts_float(ts, a * b);
    if (strcmp(op, "div") == 0)
        return b != 0 ? ts_float(ts, a / b) : ts_new(ts, PY_UNKNOWN);
    if (strcmp(op, "floordiv") == 0 || strcmp(op, "floor_divide") == 0)
        return b != 0 ? ts_float(ts, floor(a / b)) : ts_new(ts, PY_UNKNOWN);
    if (strcmp(op, "remainder") == 0)
        return b != 0 ? ts_float(ts, a - floor(a / b) * b) : ts_new(ts, PY_UNKNOWN);
    if (strcmp(op, "pow") == 0)
        return ts_float(ts, pow(a, b));
    if (strcmp(op, "max") == 0 || strcmp(op, "min") == 0)
        return ts_float(ts, (a > b) == (op[1] == 'a') ? a : b);
    *done = false;
    return NULL;
}

/* -1 if op compares nothing. */
static int comparison(const char *op, double a, double b)
{
    if (strcmp(op, "eq") == 0)
        return a == b;
    if (strcmp(op, "ne") == 0)
        return a != b;
    if (strcmp(op, "lt") == 0)
        return a < b;
    if (strcmp(op, "gt") == 0)
        return a > b;
    if (strcmp(op, "le") == 0)
        return a <= b;
    return strcmp(op, "ge") == 0 ? a >= b : -1;
}

/* div of integers with a rounding mode stays whole. */
static struct py_value *rounded_div(struct ts_import *ts, struct py_value **args)
{
    const char *mode = args[2]->kind == PY_STRING ? args[2]->text : "";
    if (args[0]->kind == PY_INT && args[1]->kind == PY_INT && args[1]->i != 0 && args[1]->i != -1 &&
        mode[0])
        return ts_int(ts, strcmp(mode, "floor") == 0 ? floor_div(args[0]->i, args[1]->i)
                                                     : args[0]->i / args[1]->i);
    double b = real(args[1]), q = b != 0 ? real(args[0]) / b : NAN;
    if (b == 0)
        return ts_new(ts, PY_UNKNOWN);
    return ts_float(ts, strcmp(mode, "floor") == 0   ? floor(q)
                        : strcmp(mode, "trunc") == 0 ? trunc(q)
                                                     : q);
}

static struct py_value *unary(struct ts_import *ts, const char *op, struct py_value *v, bool *done)
{
    bool known, yes;
    if (strcmp(op, "__not__") == 0) {
        yes = ts_truth(v, &known);
        return known ? ts_bool(ts, !yes) : ts_new(ts, PY_UNKNOWN);
    }
    if (is_plain(v)) {
        double r = real(v);
        bool is_int = v->kind != PY_FLOAT;
        if (strcmp(op, "neg") == 0)
            return is_int && v->i != INT64_MIN ? ts_int(ts, -v->i) : ts_float(ts, -r);
        if (strcmp(op, "floor") == 0 || strcmp(op, "ceil") == 0 || strcmp(op, "round") == 0) {
            if (is_int)
                return v;
            r = op[0] == 'f' ? floor(r) : op[0] == 'c' ? ceil(r) : rint(r);
            return ts_float(ts, r);
        }
        if (strcmp(op, "sqrt") == 0)
            return ts_float(ts, sqrt(r));
        if (strcmp(op, "abs") == 0 && v->i != INT64_MIN)
            return is_int ? ts_int(ts, v->i < 0 ? -v->i : v->i) : ts_float(ts, fabs(r));
        if (strcmp(op, "Int") == 0 || strcmp(op, "IntImplicit") == 0)
            return is_int ? v : fabs(r) < 9e18 ? ts_int(ts, (int64_t)r) : ts_new(ts, PY_UNKNOWN);
        if (strcmp(op, "Float") == 0 || strcmp(op, "FloatImplicit") == 0)
            return ts_float(ts, r);
        if (strcmp(op, "Bool") == 0)
            return ts_bool(ts, r != 0);
    }
    *done = false;
    return NULL;
}

static struct py_value *texts(struct ts_import *ts, const char *op, const char *a, const char *b,
                              bool *done)
{
    if (strcmp(op, "eq") == 0 || strcmp(op, "ne") == 0)
        return ts_bool(ts, (strcmp(a, b) == 0) == (op[0] == 'e'));
    *done = false;
    return NULL;
}

static bool same_item(const struct py_value *a, const struct py_value *b)
{
    if (a->kind == PY_STRING && b->kind == PY_STRING)
        return strcmp(a->text, b->text) == 0;
    return is_plain(a) && is_plain(b) && real(a) == real(b);
}

static bool extend(struct ts_import *ts, struct py_value *to, const struct py_value *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (!ts_append(ts, to, from->items[i]))
            return false;
    return true;
}

/* [1] * 3, "row" in ["batch", "row"]. */
static struct py_value *list_and_item(struct ts_import *ts, const char *op,
                                      const struct py_value *a, const struct py_value *b,
                                      bool *done)
{
    if (strcmp(op, "__contains__") == 0) {
        bool found = false;
        for (size_t i = 0; i < a->count; i++)
            found = found || same_item(a->items[i], b);
        return ts_bool(ts, found);
    }
    *done = strcmp(op, "mul") == 0 && b->kind == PY_INT;
    if (!*done)
        return NULL;
    if (a->count && b->i > (int64_t)(MAX_LIST / a->count))
        return ts_new(ts, PY_UNKNOWN);
    struct py_value *v = ts_new(ts, a->kind);
    for (int64_t i = 0; v && i < b->i; i++)
        if (!extend(ts, v, a))
            return NULL;
    return v;
}

/* Lists of numbers: equal or not; joined. */
static struct py_value *lists(struct ts_import *ts, const char *op, const struct py_value *a,
                              const struct py_value *b, bool *done)
{
    bool same = a->count == b->count;
    if (strcmp(op, "add") == 0) {
        bool fits = a->count + b->count <= MAX_LIST;
        struct py_value *v = ts_new(ts, fits ? a->kind : PY_UNKNOWN);
        return v && (!fits || (extend(ts, v, a) && extend(ts, v, b))) ? v : NULL;
    }
    *done = strcmp(op, "eq") == 0 || strcmp(op, "ne") == 0;
    for (size_t i = 0; *done && same && i < a->count; i++) {
        if (!is_plain(a->items[i]) || !is_plain(b->items[i]))
            return ts_new(ts, PY_UNKNOWN);
        same = real(a->items[i]) == real(b->items[i]);
    }
    return *done ? ts_bool(ts, same == (op[0] == 'e')) : NULL;
}

static struct py_value *binary(struct ts_import *ts, const char *op, struct py_value *a,
                               struct py_value *b, bool *done)
{
    if (strcmp(op, "__is__") == 0 || strcmp(op, "__isnot__") == 0) {
        if (a->kind != PY_NONE && b->kind != PY_NONE)
            return ts_new(ts, PY_UNKNOWN);
        return ts_bool(ts, ((a->kind == PY_NONE) == (b->kind == PY_NONE)) == (op[4] == '_'));
    }
    if (strcmp(op, "__contains__") == 0 && a->kind == PY_DICT && b->kind == PY_STRING)
        return ts_bool(ts, py_dict_get(a, b->text) != NULL);
    if (strcmp(op, "__and__") == 0 || strcmp(op, "__or__") == 0) {
        if (a->kind == PY_BOOL && b->kind == PY_BOOL)
            return ts_bool(ts, op[2] == 'a' ? a->i && b->i : a->i || b->i);
    }
    if (a->kind == PY_STRING && b->kind == PY_STRING)
        return texts(ts, op, a->text, b->text, done);
    bool list =
        (a->kind == PY_LIST || a->kind == PY_TUPLE) && (b->kind == PY_LIST || b->kind == PY_TUPLE);
    if (list)
        return lists(ts, op, a, b, done);
    if (a->kind == PY_LIST || a->kind == PY_TUPLE)
        return list_and_item(ts, op, a, b, done);
    if (!is_plain(a) || !is_plain(b)) {
        *done = false;
        return NULL;
    }
    int compared = comparison(op, real(a), real(b));
    if (compared >= 0)
        return ts_bool(ts, compared);
    if (a->kind != PY_FLOAT && b->kind != PY_FLOAT) {
        struct py_value *v = whole(ts, op, a->i, b->i, done);
        if (*done)
            return v;
        *done = true;
    }
    return fraction(ts, op, real(a), real(b), done);
}

static bool is_unknown(const struct py_value *v)
{
    return v->kind == PY_UNKNOWN;
}

struct py_value *ts_scalar_op(struct ts_import *ts, const char *op, struct py_value **args,
                              size_t count, bool *done)
{
    static const char *const arithmetic[] = {
        "add",       "sub",   "rsub", "mul",     "div",    "floordiv", "floor_divide",
        "remainder", "max",   "min",  "eq",      "ne",     "lt",       "gt",
        "le",        "ge",    "pow",  "__and__", "__or__", "neg",      "floor",
        "ceil",      "round", "sqrt", "abs",     "Int",    "Float",    "Bool"};
    *done = true;
    /* A size that is not known makes everything computed from it unknown. */
    bool some = count && (is_unknown(args[0]) || (count > 1 && is_unknown(args[1])));
    bool tensors = count && (ts_is_tensor(args[0]) || (count > 1 && ts_is_tensor(args[1])));
    for (size_t i = 0; some && !tensors && i < sizeof arithmetic / sizeof arithmetic[0]; i++)
        if (strcmp(op, arithmetic[i]) == 0)
            return ts_new(ts, PY_UNKNOWN);
    if (count == 1)
        return unary(ts, op, args[0], done);
    if (count == 3 && strcmp(op, "div") == 0 && is_plain(args[0]) && is_plain(args[1]))
        return rounded_div(ts, args);
    if (count == 3 &&
        (strcmp(op, "add") == 0 || strcmp(op, "sub") == 0 || strcmp(op, "rsub") == 0) &&
        is_plain(args[2]) && real(args[2]) == 1)
        count = 2; /* alpha */
    if (count == 2)
        return binary(ts, op, args[0], args[1], done);
    *done = false;
    return NULL;
}
