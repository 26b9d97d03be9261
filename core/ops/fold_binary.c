/* fold_binary: arithmetic, comparison and logic of two constants with broadcasting, and selection.
 *
 * Integers are computed in 64 bits and wrap; a division by zero leaves the node unfolded. */
#include <math.h>

#include "core/ops/binary.h"
#include "core/ops/fold.h"

bool fold_binary(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *a = n->inputs[0], *b = n->inputs[1];
    enum binary code = binary_find(n);
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
    bool ints = fold_is_int(a->dtype) && fold_is_int(b->dtype) && binary_has_int(code) &&
                alpha == floor(alpha) && fabs(alpha) < 1e15;
    fold_walk_init(&w, &f.out->shape);
    fold_walk_add(&w, &a->shape);
    fold_walk_add(&w, &b->shape);
    for (int64_t i = 0; i < f.count && ok; i++, fold_walk_next(&w)) {
        unsigned char *p = f.data + (size_t)i * f.size;
        const unsigned char *pa = fold_at(a, w.at[0]), *pb = fold_at(b, w.at[1]);
        if (ints) {
            int64_t x = fold_load_int(pa, a->dtype), y = fold_load_int(pb, b->dtype);
            if (alpha != 1)
                y = (int64_t)((uint64_t)y * (uint64_t)(int64_t)alpha);
            ok = y > 0 || (y < 0 ? code != B_POW || x != 0 : !binary_divides(code));
            if (ok)
                fold_store_int(p, t, binary_apply_int(code, x, y, DT_INT64));
        } else {
            double y = fold_load_real(pb, b->dtype) * alpha;
            ok = !binary_is_bitwise(code) && (y != 0 || !(code == B_DIV || binary_divides(code)));
            if (ok)
                fold_store_real(p, t, binary_apply(code, fold_load_real(pa, a->dtype), y));
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
