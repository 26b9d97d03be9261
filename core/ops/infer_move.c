/* infer_move: new views of one tensor: reshape, flatten, squeeze, transpose, expand, repeat, flip.
 */
#include <string.h>

#include "core/ops/infer.h"

static bool move_out(struct node *n, const struct shape *out, const int *axis_map,
                     struct bpu_error *err)
{
    if (!infer_out(n, 0, out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, axis_map);
    return true;
}

/* A list from attribute `name` or else from constant operand 1.  *count -1: not known before
 * running; then *rank is the number of entries, or -1. */
static bool move_list(const struct node *n, const char *name, int64_t *list, int *count, int *rank,
                      struct bpu_error *err)
{
    *rank = -1;
    if (!infer_ints(n, name, list, SHAPE_MAX_RANK, count, err))
        return false;
    if (*count >= 0)
        return true;
    infer_const_ints(n, 1, list, SHAPE_MAX_RANK, count);
    const struct shape *s = infer_shape(n, 1);
    if (*count < 0 && s->rank == 1 && s->dim[0] <= SHAPE_MAX_RANK)
        *rank = (int)s->dim[0];
    if (*count < 0 && n->input_count < 2)
        return infer_bad(n, err, NULL, "attribute %s is missing", name);
    return true;
}

static struct shape move_open(int rank)
{
    struct shape s = {.rank = rank};
    for (int i = 0; i < rank; i++)
        s.dim[i] = -1;
    return s;
}

bool infer_reshape(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    int64_t list[SHAPE_MAX_RANK], product = 1;
    int count, rank, open = -1;
    if (!move_list(n, "shape", list, &count, &rank, err))
        return false;
    if (count < 0) {
        struct shape out = move_open(rank);
        return move_out(n, &out, NULL, err);
    }
    struct shape out = shape_of(count, list);
    for (int i = 0; i < count; i++) {
        if (list[i] < -1)
            return infer_bad(n, err, NULL, "shape %s has the negative extent %lld",
                             shape_text(&out, tb), (long long)list[i]);
        if (list[i] == -1 && open >= 0)
            return infer_bad(n, err, NULL, "shape %s leaves more than one extent open (-1)",
                             shape_text(&out, tb));
        if (list[i] == -1)
            open = i;
        else if (!checked_mul(product, list[i], &product))
            return infer_bad(n, err, NULL, "shape %s has more than 2^63 elements",
                             shape_text(&out, tb));
    }
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    int64_t elements = shape_elements(x);
    if (elements >= 0 && open >= 0) {
        if (product == 0 || elements % product)
            return infer_bad(n, err,
                             "The product of the extents must divide the number of elements.",
                             "%s (%lld elements) cannot be given the shape %s", shape_text(x, ta),
                             (long long)elements, shape_text(&out, tb));
        out.dim[open] = elements / product;
    } else if (elements >= 0 && elements != product) {
        return infer_bad(n, err, "Both shapes must have the same number of elements.",
                         "%s (%lld elements) cannot be given the shape %s (%lld)",
                         shape_text(x, ta), (long long)elements, shape_text(&out, tb),
                         (long long)product);
    }
    return move_out(n, &out, NULL, err);
}

bool infer_flatten(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    int a, b;
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (!infer_axis(n, "start_dim", node_int(n, "start_dim", 0), x->rank, &a, err) ||
        !infer_axis(n, "end_dim", node_int(n, "end_dim", -1), x->rank, &b, err))
        return false;
    if (a > b)
        return infer_bad(n, err, NULL, "start_dim %d comes after end_dim %d", a, b);
    struct shape out = {.rank = 0};
    for (int i = 0; i < a; i++)
        out.dim[out.rank++] = x->dim[i];
    int64_t d = 1;
    for (int i = a; i <= b && i < x->rank; i++)
        if (d < 0 || x->dim[i] < 0)
            d = -1;
        else if (!checked_mul(d, x->dim[i], &d))
            return infer_bad(n, err, NULL, "the flattened extent is beyond 64 bits");
    out.dim[out.rank++] = d;
    for (int i = b + 1; i < x->rank; i++)
        out.dim[out.rank++] = x->dim[i];
    return move_out(n, &out, NULL, err);
}

bool infer_squeeze(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    unsigned set;
    bool all;
    int map[SHAPE_MAX_RANK] = {0};
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (!infer_axes(n, "dim", x->rank, &set, &all, err))
        return false;
    struct shape out = {.rank = 0};
    for (int i = 0; i < x->rank; i++) {
        bool named = all || set & 1u << i;
        /* Which axes go is open when an extent is; only the explicit form can be relied upon. */
        if (named && x->dim[i] < 0 && all)
            return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
        map[i] = -1;
        if (named && (x->dim[i] == 1 || x->dim[i] < 0))
            continue;
        map[i] = out.rank;
        out.dim[out.rank++] = x->dim[i];
    }
    return move_out(n, &out, map, err);
}

bool infer_unsqueeze(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    int64_t list[SHAPE_MAX_RANK];
    int count, axis, map[SHAPE_MAX_RANK] = {0};
    if (!infer_ints(n, "dim", list, SHAPE_MAX_RANK, &count, err))
        return false;
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    int rank = x->rank + count;
    if (rank > SHAPE_MAX_RANK)
        return infer_bad(n, err, NULL, "the result would have rank %d; at most %d can be held",
                         rank, SHAPE_MAX_RANK);
    unsigned set = 0;
    for (int i = 0; i < count; i++) {
        if (!infer_axis(n, "dim", list[i], rank, &axis, err))
            return false;
        if (set & 1u << axis)
            return infer_bad(n, err, NULL, "dim names axis %d twice", axis);
        set |= 1u << axis;
    }
    struct shape out = {.rank = rank};
    for (int i = 0, k = 0; i < rank; i++) {
        out.dim[i] = set & 1u << i ? 1 : x->dim[k];
        if (!(set & 1u << i))
            map[k++] = i;
    }
    return move_out(n, &out, map, err);
}

static bool move_permute(struct node *n, const int *order, struct bpu_error *err)
{
    const struct shape *x = infer_shape(n, 0);
    struct shape out = {.rank = x->rank};
    int map[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < x->rank; i++) {
        out.dim[i] = x->dim[order[i]];
        map[order[i]] = i;
    }
    return move_out(n, &out, map, err);
}

bool infer_transpose(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    int rank = infer_shape(n, 0)->rank, a, b, order[SHAPE_MAX_RANK] = {0};
    if (rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (!infer_axis(n, "dim0", node_int(n, "dim0", 0), rank, &a, err) ||
        !infer_axis(n, "dim1", node_int(n, "dim1", 1), rank, &b, err))
        return false;
    for (int i = 0; i < rank; i++)
        order[i] = i == a ? b : i == b ? a : i;
    return move_permute(n, order, err);
}

bool infer_permute(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    int rank = infer_shape(n, 0)->rank, count, order[SHAPE_MAX_RANK] = {0};
    int64_t list[SHAPE_MAX_RANK];
    unsigned set = 0;
    if (!infer_ints(n, "dims", list, SHAPE_MAX_RANK, &count, err))
        return false;
    if (rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (count != rank)
        return infer_bad(n, err, NULL, "dims has %d entries, but the input has rank %d", count,
                         rank);
    for (int i = 0; i < rank; i++) {
        if (!infer_axis(n, "dims", list[i], rank, &order[i], err))
            return false;
        if (set & 1u << order[i])
            return infer_bad(n, err, NULL, "dims names axis %d twice", order[i]);
        set |= 1u << order[i];
    }
    return move_permute(n, order, err);
}

bool infer_expand(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    int64_t list[SHAPE_MAX_RANK];
    int count, rank;
    if (!move_list(n, "size", list, &count, &rank, err))
        return false;
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (count < 0) {
        struct shape open = move_open(rank);
        return move_out(n, &open, NULL, err);
    }
    struct shape out = shape_of(count, list);
    if (infer_from_onnx(n)) { /* ONNX broadcasts in both directions */
        for (int i = 0; i < count; i++)
            if (list[i] < 0)
                return infer_bad(n, err, NULL, "size has the negative extent %lld",
                                 (long long)list[i]);
        if (!infer_broadcast(x, &out, &out))
            return infer_bad(n, err, NULL, "%s cannot be expanded to %s", shape_text(x, ta),
                             shape_text(&out, tb));
        return move_out(n, &out, NULL, err);
    }
    if (count < x->rank)
        return infer_bad(n, err, NULL, "size has %d entries, but the input has rank %d", count,
                         x->rank);
    for (int i = 0; i < count; i++) {
        int k = i - (count - x->rank);
        if (list[i] < -1 || (list[i] == -1 && k < 0))
            return infer_bad(n, err, "-1 keeps an extent, and a new axis has none to keep.",
                             "size has %lld at position %d", (long long)list[i], i);
        if (k < 0)
            continue;
        if (list[i] == -1)
            out.dim[i] = x->dim[k];
        else if (x->dim[k] >= 0 && x->dim[k] != 1 && x->dim[k] != list[i])
            return infer_bad(n, err, "Only extents of 1 can be expanded.",
                             "%s cannot be expanded to %s (axis %d)", shape_text(x, ta),
                             shape_text(&out, tb), i);
    }
    return move_out(n, &out, NULL, err);
}

/* torch.Tensor.repeat needs an entry per axis; torch.tile fills up with 1 on the left. */
bool infer_repeat(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    bool tile = strcmp(n->op->key, "tile") == 0;
    const char *name = node_attr(n, "dims")      ? "dims"
                       : node_attr(n, "repeats") ? "repeats"
                       : tile                    ? "dims"
                                                 : "repeats";
    int64_t list[SHAPE_MAX_RANK];
    int count, rank;
    if (!move_list(n, name, list, &count, &rank, err))
        return false;
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (count < 0) {
        struct shape open = move_open(x->rank);
        return move_out(n, &open, NULL, err);
    }
    if (count < x->rank && !tile)
        return infer_bad(n, err, "Give one entry per axis.",
                         "%s has %d entries, but the input has rank %d", name, count, x->rank);
    struct shape out = {.rank = count > x->rank ? count : x->rank};
    for (int i = 0; i < out.rank; i++) {
        int k = i - (out.rank - x->rank), r = i - (out.rank - count);
        int64_t d = k < 0 ? 1 : x->dim[k], times = r < 0 ? 1 : list[r];
        if (times < 0)
            return infer_bad(n, err, NULL, "%s holds the negative number %lld", name,
                             (long long)times);
        if (d < 0)
            out.dim[i] = times == 0 ? 0 : -1;
        else if (!checked_mul(d, times, &out.dim[i]))
            return infer_bad(n, err, NULL, "axis %d repeated %lld times is beyond 64 bits", i,
                             (long long)times);
    }
    return move_out(n, &out, NULL, err);
}

static bool move_same(struct node *n, struct bpu_error *err)
{
    int map[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        map[i] = i;
    return move_out(n, infer_shape(n, 0), map, err);
}

bool infer_flip(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    unsigned set;
    bool all;
    int rank = infer_shape(n, 0)->rank;
    if (rank >= 0 && !infer_axes(n, "dims", rank, &set, &all, err))
        return false;
    return move_same(n, err);
}

bool infer_roll(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    int64_t shifts[SHAPE_MAX_RANK], dims[SHAPE_MAX_RANK];
    int shift_count, dim_count, axis, rank = infer_shape(n, 0)->rank;
    if (!infer_ints(n, "shifts", shifts, SHAPE_MAX_RANK, &shift_count, err) ||
        !infer_ints(n, "dims", dims, SHAPE_MAX_RANK, &dim_count, err))
        return false;
    if (dim_count > 0 ? shift_count != dim_count : shift_count != 1)
        return infer_bad(n, err, NULL, "shifts has %d entries, dims %d", shift_count,
                         dim_count < 0 ? 0 : dim_count);
    if (rank == 0 && dim_count > 0)
        return infer_bad(n, err, NULL, "a scalar has no axis to roll");
    for (int i = 0; i < dim_count && rank >= 0; i++)
        if (!infer_axis(n, "dims", dims[i], rank, &axis, err))
            return false;
    return move_same(n, err);
}
