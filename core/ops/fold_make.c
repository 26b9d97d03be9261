/* fold_make: tensors from shapes and numbers: sizes, fills, ranges, triangles. */
#include <math.h>

#include "core/ops/fold.h"

/* Needs only that the extents asked for are known, whatever else of x is. */
bool fold_size(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct shape *x = infer_shape(n, 0);
    const struct attr *dim = node_attr(n, "dim");
    struct fold_result f;
    bool skip;
    if (x->rank < 0)
        return true;
    int64_t start = node_int(n, "start", 0);
    if (dim && dim->kind != ATTR_NONE) {
        start = node_int(n, "dim", 0);
        start += start < 0 ? x->rank : 0;
    } else {
        infer_slice(x->rank, &start, node_int(n, "end", x->rank), 1);
    }
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    for (int64_t i = 0; i < f.count; i++) {
        if (start + i >= x->rank || x->dim[start + i] < 0)
            return true;
        fold_store_int(f.data + (size_t)i * f.size, f.out->dtype, x->dim[start + i]);
    }
    return fold_end(g, &f, err);
}

bool fold_numel(struct graph *g, struct node *n, struct bpu_error *err)
{
    int64_t count = shape_elements(infer_shape(n, 0));
    struct fold_result f;
    bool skip;
    if (count < 0)
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    fold_store_int(f.data, f.out->dtype, count);
    return fold_end(g, &f, err);
}

static bool make_filled(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct attr *fill = node_attr(n, "fill_value");
    struct fold_result f;
    bool skip;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    unsigned char one[16];
    if (fill && (fill->kind == ATTR_INT || fill->kind == ATTR_BOOL) && fold_is_int(f.out->dtype))
        fold_store_int(one, f.out->dtype, fill->i);
    else
        fold_store_real(one, f.out->dtype, node_float(n, "fill_value", 0));
    for (int64_t i = 0; i < f.count; i++)
        memcpy(f.data + (size_t)i * f.size, one, f.size);
    return fold_end(g, &f, err);
}

bool fold_full(struct graph *g, struct node *n, struct bpu_error *err)
{
    return make_filled(g, n, err);
}

bool fold_full_like(struct graph *g, struct node *n, struct bpu_error *err)
{
    return make_filled(g, n, err);
}

bool fold_arange(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *start = node_input(n, 0), *step = node_input(n, 2);
    struct fold_result f;
    bool skip;
    double r0 = 0, rs = 1;
    int64_t w0 = 0, ws = 1;
    if ((start && !constant_real(start, 0, &r0)) || (step && !constant_real(step, 0, &rs)))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    bool ints = fold_is_int(f.out->dtype) && (!start || fold_is_int(start->dtype)) &&
                (!step || fold_is_int(step->dtype));
    if (ints && ((start && !constant_int(start, 0, &w0)) || (step && !constant_int(step, 0, &ws))))
        return true;
    for (int64_t i = 0; i < f.count; i++) {
        unsigned char *p = f.data + (size_t)i * f.size;
        if (ints)
            fold_store_int(p, f.out->dtype, (int64_t)((uint64_t)w0 + (uint64_t)i * (uint64_t)ws));
        else
            fold_store_real(p, f.out->dtype, r0 + (double)i * rs);
    }
    return fold_end(g, &f, err);
}

bool fold_eye_like(struct graph *g, struct node *n, struct bpu_error *err)
{
    struct fold_result f;
    bool skip;
    int64_t k = node_int(n, "k", 0), at;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t rows = f.out->shape.dim[0], columns = f.out->shape.dim[1];
    for (int64_t i = 0; i < rows; i++)
        if (checked_add(i, k, &at) && at >= 0 && at < columns)
            fold_store_int(f.data + (size_t)(i * columns + at) * f.size, f.out->dtype, 1);
    return fold_end(g, &f, err);
}

/* tril keeps column - row <= diagonal, triu >= */
bool fold_tri(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    int64_t diagonal = node_int(n, "diagonal", 0);
    bool lower = strcmp(n->op->key, "tril") == 0, skip;
    struct fold_result f;
    if (n->output_count < 1 || n->outputs[0]->dtype != x->dtype)
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t rows = x->shape.dim[x->shape.rank - 2], columns = x->shape.dim[x->shape.rank - 1];
    for (int64_t i = 0; i < f.count; i++) {
        int64_t apart = i % columns - i / columns % rows;
        if (lower ? apart <= diagonal : apart >= diagonal)
            memcpy(f.data + (size_t)i * f.size, fold_at(x, i), f.size);
    }
    return fold_end(g, &f, err);
}
