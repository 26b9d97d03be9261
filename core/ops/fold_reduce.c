/* fold_reduce: sums, products, means, extrema and their positions along axes of a constant. */
#include <math.h>

#include "core/ops/fold.h"

enum reduce { R_SUM, R_PROD, R_MEAN, R_MAX, R_MIN, R_ARGMAX, R_ARGMIN };

/* One lane: the elements that fall together. */
struct lane {
    double real;
    int64_t whole, position, count;
};

static void lane_add(struct lane *l, enum reduce kind, bool ints, double r, int64_t w,
                     int64_t position, bool last)
{
    bool first = l->count++ == 0;
    switch (kind) {
    case R_SUM:
    case R_MEAN:
        l->whole = (int64_t)((uint64_t)l->whole + (uint64_t)w);
        l->real += r;
        return;
    case R_PROD:
        l->whole = first ? w : (int64_t)((uint64_t)l->whole * (uint64_t)w);
        l->real = first ? r : l->real * r;
        return;
    default: break;
    }
    bool largest = kind == R_MAX || kind == R_ARGMAX;
    bool better = ints ? (largest ? w > l->whole : w < l->whole)
                       : (largest ? r > l->real : r < l->real) || (isnan(r) && !isnan(l->real));
    bool equal = ints ? w == l->whole : r == l->real;
    if (first || better || (equal && last)) {
        l->whole = w;
        l->real = r;
        l->position = position;
    }
}

/* Output 0 takes the value (or the position), output 1, if there is one, the position. */
static bool reduce_fold(struct graph *g, struct node *n, enum reduce kind, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    unsigned set;
    bool all, skip, skip_second = true, arg = kind == R_ARGMAX || kind == R_ARGMIN;
    struct fold_result f, second;
    if (dtype_is_quantized(x->dtype) || x->dtype == DT_UINT64 ||
        shape_elements(&x->shape) > FOLD_INT_CAP)
        return true;
    if (!infer_axes(n, "dim", x->shape.rank, &set, &all, err))
        return false;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    if (!arg && n->output_count > 1 && !fold_begin(g, n, 1, &second, &skip_second, err))
        return false;
    struct arena_mark mark = arena_mark(g->arena);
    struct lane *lanes = ARENA_ARRAY(g->arena, struct lane, f.count, err);
    if (!lanes)
        return false;
    /* Strides of the input's axes in the output: 0 for those that go away. */
    int64_t stride[SHAPE_MAX_RANK] = {0}, positions[SHAPE_MAX_RANK] = {0}, step = 1, reduced = 1;
    for (int i = x->shape.rank - 1; i >= 0; i--) {
        bool gone = all || set & 1u << i;
        stride[i] = gone ? 0 : step;
        positions[i] = gone ? reduced : 0;
        if (gone)
            reduced *= x->shape.dim[i];
        else
            step *= x->shape.dim[i];
    }
    bool ints = fold_is_int(x->dtype), last = node_bool(n, "select_last_index", false);
    int64_t elements = shape_elements(&x->shape);
    struct fold_walk w;
    fold_walk_init(&w, &x->shape);
    for (int64_t i = 0; i < elements; i++, fold_walk_next(&w)) {
        int64_t at = 0, position = 0;
        for (int k = 0; k < x->shape.rank; k++) {
            at += w.index[k] * stride[k];
            position += w.index[k] * positions[k];
        }
        const unsigned char *p = fold_at(x, i);
        lane_add(&lanes[at], kind, ints, ints ? 0 : fold_load_real(p, x->dtype),
                 ints ? fold_load_int(p, x->dtype) : 0, position, last);
    }
    bool ok = true;
    for (int64_t i = 0; i < f.count && ok; i++) {
        const struct lane *l = &lanes[i];
        unsigned char *p = f.data + (size_t)i * f.size;
        /* An empty sum is 0 and an empty product 1; an empty mean or extremum is nothing. */
        ok = l->count > 0 || kind == R_SUM || kind == R_PROD;
        if (arg)
            fold_store_int(p, f.out->dtype, l->position);
        else if (kind == R_MEAN && ints && fold_is_int(f.out->dtype))
            fold_store_int(p, f.out->dtype, l->count ? l->whole / l->count : 0);
        else if (kind == R_MEAN)
            fold_store_real(p, f.out->dtype,
                            (ints ? (double)l->whole : l->real) / (double)l->count);
        else if (kind == R_PROD && l->count == 0)
            fold_store_int(p, f.out->dtype, 1);
        else if (ints)
            fold_store_int(p, f.out->dtype, l->whole);
        else
            fold_store_real(p, f.out->dtype, l->real);
        if (!skip_second)
            fold_store_int(second.data + (size_t)i * second.size, second.out->dtype, l->position);
    }
    arena_rewind(g->arena, mark);
    if (!ok)
        return true;
    return fold_end(g, &f, err) && (skip_second || fold_end(g, &second, err));
}

bool fold_reduce(struct graph *g, struct node *n, struct bpu_error *err)
{
    const char *key = n->op->key;
    return reduce_fold(g, n,
                       strcmp(key, "sum") == 0    ? R_SUM
                       : strcmp(key, "prod") == 0 ? R_PROD
                       : strcmp(key, "mean") == 0 ? R_MEAN
                       : strcmp(key, "amax") == 0 ? R_MAX
                                                  : R_MIN,
                       err);
}

bool fold_max_min(struct graph *g, struct node *n, struct bpu_error *err)
{
    if (n->input_count == 2 && n->inputs[1])
        return fold_binary(g, n, err);
    return reduce_fold(g, n, strcmp(n->op->key, "max") == 0 ? R_MAX : R_MIN, err);
}

bool fold_arg(struct graph *g, struct node *n, struct bpu_error *err)
{
    return reduce_fold(g, n, strcmp(n->op->key, "argmax") == 0 ? R_ARGMAX : R_ARGMIN, err);
}

bool fold_cumsum(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    struct fold_result f;
    bool skip, ints = fold_is_int(x->dtype);
    /* ONNX' exclusive and reverse forms would need their own attributes: left to the run. */
    if (dtype_is_quantized(x->dtype) || node_bool(n, "exclusive", false) ||
        node_bool(n, "reverse", false))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t axis = node_int(n, "dim", 0), own[SHAPE_MAX_RANK] = {1}, extent = 1;
    if (x->shape.rank > 0) {
        axis += axis < 0 ? x->shape.rank : 0;
        fold_strides(&x->shape, own);
        extent = x->shape.dim[axis];
    } else {
        axis = 0;
    }
    for (int64_t i = 0; i < f.count; i++) {
        unsigned char *p = f.data + (size_t)i * f.size;
        const unsigned char *before = p - (size_t)own[axis] * f.size;
        bool first = i / own[axis] % extent == 0;
        if (ints) {
            int64_t v = fold_load_int(fold_at(x, i), x->dtype);
            if (!first)
                v = (int64_t)((uint64_t)v + (uint64_t)fold_load_int(before, f.out->dtype));
            fold_store_int(p, f.out->dtype, v);
        } else {
            double v = fold_load_real(fold_at(x, i), x->dtype);
            fold_store_real(p, f.out->dtype, first ? v : v + fold_load_real(before, f.out->dtype));
        }
    }
    return fold_end(g, &f, err);
}
