/* fold_index: gathering from and scattering into constants.  An index out of range is the model's
 * fault and an error; inference has checked the shapes. */
#include "core/ops/fold.h"

static bool index_read(const struct node *n, const struct value *index, int64_t i, int64_t extent,
                       int64_t *out, struct bpu_error *err)
{
    int64_t k = fold_load_int(fold_at(index, i), index->dtype);
    if (k < -extent || k >= extent)
        return infer_bad(n, err, NULL, "index %lld is out of range; the axis has %lld elements",
                         (long long)k, (long long)extent);
    *out = k < 0 ? k + extent : k;
    return true;
}

/* The result has the type of operand 0, and the index is an integer. */
static bool index_fits(const struct node *n)
{
    return n->output_count > 0 && n->outputs[0]->dtype == n->inputs[0]->dtype &&
           fold_is_int(n->inputs[1]->dtype);
}

/* Updates replace what is there; sums of them are left to the run. */
static bool index_sets(const struct node *n)
{
    return strcmp(node_string(n, "reduction", "none"), "none") == 0 && !node_attr(n, "reduce");
}

bool fold_index_select(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *index = n->inputs[1];
    struct fold_result f;
    bool skip;
    if (!index_fits(n))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t axis = node_int(n, "dim", 0), outer = 1, inner = 1, k = 0;
    axis += axis < 0 ? x->shape.rank : 0;
    for (int i = 0; i < x->shape.rank; i++)
        if (i < axis)
            outer *= x->shape.dim[i];
        else if (i > axis)
            inner *= x->shape.dim[i];
    int64_t extent = x->shape.dim[axis], picks = shape_elements(&index->shape);
    size_t piece = (size_t)inner * f.size;
    unsigned char *p = f.data;
    for (int64_t o = 0; o < outer && f.count > 0; o++)
        for (int64_t i = 0; i < picks; i++, p += piece) {
            if (!index_read(n, index, i, extent, &k, err))
                return false;
            memcpy(p, fold_at(x, (o * extent + k) * inner), piece);
        }
    return fold_end(g, &f, err);
}

bool fold_gather(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *index = n->inputs[1];
    struct fold_result f;
    bool skip;
    int rank = index->shape.rank;
    if (!index_fits(n) || rank != x->shape.rank || rank == 0)
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t axis = node_int(n, "dim", 0), stride[SHAPE_MAX_RANK] = {0}, k = 0;
    axis += axis < 0 ? rank : 0;
    struct fold_walk w;
    fold_walk_init(&w, &index->shape);
    fold_strides(&x->shape, stride);
    for (int64_t i = 0; i < f.count; i++, fold_walk_next(&w)) {
        int64_t at = 0;
        if (!index_read(n, index, i, x->shape.dim[axis], &k, err))
            return false;
        for (int d = 0; d < rank; d++)
            at += (d == axis ? k : w.index[d]) * stride[d];
        memcpy(f.data + (size_t)i * f.size, fold_at(x, at), f.size);
    }
    return fold_end(g, &f, err);
}

/* Where row `row` of an index tensor (.., depth) points: an offset in elements of x, whose first
 * `batch` axes are given by the row itself. */
static bool nd_offset(const struct node *n, const struct value *index, const struct shape *x,
                      int batch, int64_t row, int64_t *out, struct bpu_error *err)
{
    int64_t stride[SHAPE_MAX_RANK] = {0}, depth = index->shape.dim[index->shape.rank - 1], k = 0,
            rest = row;
    fold_strides(x, stride);
    *out = 0;
    for (int i = index->shape.rank - 2; i >= 0; i--) {
        int64_t d = index->shape.dim[i];
        if (i < batch)
            *out += rest % d * stride[i];
        rest /= d;
    }
    for (int i = 0; i < depth; i++) {
        if (!index_read(n, index, row * depth + i, x->dim[batch + i], &k, err))
            return false;
        *out += k * stride[batch + i];
    }
    return true;
}

bool fold_gather_nd(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *index = n->inputs[1];
    struct fold_result f;
    bool skip;
    if (!index_fits(n))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int batch = (int)node_int(n, "batch_dims", 0);
    int64_t depth = index->shape.dim[index->shape.rank - 1], piece = 1, at = 0;
    for (int i = batch + (int)depth; i < x->shape.rank; i++)
        piece *= x->shape.dim[i];
    for (int64_t row = 0; row * piece < f.count; row++) {
        if (!nd_offset(n, index, &x->shape, batch, row, &at, err))
            return false;
        memcpy(f.data + (size_t)(row * piece) * f.size, fold_at(x, at), (size_t)piece * f.size);
    }
    return fold_end(g, &f, err);
}

bool fold_scatter(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *index = n->inputs[1], *src = n->inputs[2];
    struct fold_result f;
    bool skip;
    int rank = x->shape.rank;
    if (!index_fits(n) || rank == 0 || index->shape.rank != rank || src->dtype != x->dtype ||
        src->shape.rank != rank || !index_sets(n))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t axis = node_int(n, "dim", 0), stride[SHAPE_MAX_RANK] = {0}, from[SHAPE_MAX_RANK], k = 0;
    axis += axis < 0 ? rank : 0;
    if (f.count > 0)
        memcpy(f.data, x->constant->data, (size_t)f.count * f.size);
    struct fold_walk w;
    fold_walk_init(&w, &index->shape);
    fold_strides(&x->shape, stride);
    fold_strides(&src->shape, from);
    int64_t picks = shape_elements(&index->shape);
    for (int64_t i = 0; i < picks; i++, fold_walk_next(&w)) {
        int64_t at = 0, s = 0;
        if (!index_read(n, index, i, x->shape.dim[axis], &k, err))
            return false;
        for (int d = 0; d < rank; d++) {
            at += (d == axis ? k : w.index[d]) * stride[d];
            s += w.index[d] * from[d];
        }
        memcpy(f.data + (size_t)at * f.size, fold_at(src, s), f.size);
    }
    return fold_end(g, &f, err);
}

bool fold_scatter_nd(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *index = n->inputs[1], *src = n->inputs[2];
    struct fold_result f;
    bool skip;
    if (!index_fits(n) || src->dtype != x->dtype || index->shape.rank < 1 || !index_sets(n))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t depth = index->shape.dim[index->shape.rank - 1], piece = 1, rows = 1, at = 0;
    for (int i = 0; i < index->shape.rank - 1; i++)
        rows *= index->shape.dim[i];
    for (int i = (int)depth; i < x->shape.rank; i++)
        piece *= x->shape.dim[i];
    if (f.count > 0)
        memcpy(f.data, x->constant->data, (size_t)f.count * f.size);
    for (int64_t row = 0; row < rows && f.count > 0; row++) {
        if (!nd_offset(n, index, &x->shape, 0, row, &at, err))
            return false;
        memcpy(f.data + (size_t)at * f.size, fold_at(src, row * piece), (size_t)piece * f.size);
    }
    return fold_end(g, &f, err);
}

/* Indices outside 0..depth-1 give a row without a mark; negative ones count from the end. */
bool fold_one_hot(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *marks = node_input(n, 2);
    struct fold_result f;
    bool skip;
    if (marks && (shape_elements(&marks->shape) != 2 || marks->dtype != n->outputs[0]->dtype))
        return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int rank = f.out->shape.rank;
    int64_t axis = node_int(n, "dim", -1), own[SHAPE_MAX_RANK] = {0};
    axis += axis < 0 ? rank : 0;
    int64_t depth = f.out->shape.dim[axis];
    fold_strides(&x->shape, own);
    struct fold_walk w;
    fold_walk_init(&w, &f.out->shape);
    for (int64_t i = 0; i < f.count; i++, fold_walk_next(&w)) {
        int64_t at = 0;
        for (int d = 0, k = 0; d < rank; d++)
            if (d != axis)
                at += w.index[d] * own[k++];
        int64_t v = fold_load_int(fold_at(x, at), x->dtype);
        bool hit = (v < 0 ? v + depth : v) == w.index[axis];
        if (marks)
            memcpy(f.data + (size_t)i * f.size, fold_at(marks, hit), f.size);
        else
            fold_store_int(f.data + (size_t)i * f.size, f.out->dtype, hit);
    }
    return fold_end(g, &f, err);
}

/* The one operator whose content decides its shape: counted here, then written. */
bool fold_nonzero(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    int64_t elements = shape_elements(&x->shape), hits = 0, row = 0;
    bool transposed = node_bool(n, "transposed", false), skip;
    int rank = x->shape.rank;
    struct fold_result f;
    if (n->output_count < 1 || dtype_is_quantized(x->dtype) || elements > FOLD_INT_CAP)
        return true;
    for (int64_t i = 0; i < elements; i++)
        hits += fold_load_real(fold_at(x, i), x->dtype) != 0;
    n->outputs[0]->shape =
        (struct shape){.rank = 2, .dim = {transposed ? rank : hits, transposed ? hits : rank}};
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    struct fold_walk w;
    fold_walk_init(&w, &x->shape);
    for (int64_t i = 0; i < elements; i++, fold_walk_next(&w)) {
        if (fold_load_real(fold_at(x, i), x->dtype) == 0)
            continue;
        for (int k = 0; k < rank; k++)
            fold_store_int(f.data + (size_t)(transposed ? k * hits + row : row * rank + k) * f.size,
                           f.out->dtype, w.index[k]);
        row++;
    }
    return fold_end(g, &f, err);
}
