/* real_index: gathering and scattering by index, one-hot rows, triangles.
 *
 * Negative indices count from the end.  An index that is out of range is an error that names its
 * place: it may come from the data of a frame.  Elements are moved as in real_move.c. */
#include "core/run/real.h"

#define BOTH_FORMS(name)                                                                           \
    bool real_##name(const struct kernel_call *c, struct bpu_error *err)                           \
    {                                                                                              \
        return name##_run(c, err);                                                                 \
    }                                                                                              \
    bool fixed_##name(const struct kernel_call *c, struct bpu_error *err)                          \
    {                                                                                              \
        return name##_run(c, err);                                                                 \
    }

/* Element i of an index tensor: integers as they are, real (and quantized) ones truncated. */
static bool index_read(const struct kernel_call *c, const struct tensor *index, int64_t i,
                       int64_t extent, int64_t *out, struct bpu_error *err)
{
    double r = 0;
    int64_t k;
    if (fold_is_int(index->dtype) || index->dtype == DT_QINT32) {
        k = tensor_int(index, i);
    } else {
        r = tensor_real(index, i);
        k = r > -9e15 && r < 9e15 ? (int64_t)r : INT64_MAX;
    }
    if (k < -extent || k >= extent)
        return kernel_unsupported(c, err,
                                  "index %lld at element %lld is out of range; the axis has %lld "
                                  "elements",
                                  (long long)k, (long long)i, (long long)extent);
    *out = k < 0 ? k + extent : k;
    return true;
}

static void move_piece(const struct tensor *from, int64_t i, struct tensor *to, int64_t j,
                       int64_t count)
{
    if (real_same(from, to))
        memcpy(real_at(to, j), real_at(from, i), (size_t)count * dtype_size(to->dtype));
    else
        for (int64_t k = 0; k < count; k++)
            real_move(from, i + k, to, j + k);
}

/* y[.., i, ..] = x[.., index[i], ..] */
static bool index_select_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *index = c->in[1];
    struct real_lanes l = real_lanes(&x->shape, real_axis(c->node, "dim", 0, x->shape.rank));
    int64_t picks = real_count(index), k;
    for (int64_t i = 0; i < picks; i++) {
        if (!index_read(c, index, i, l.extent, &k, err))
            return false;
        for (int64_t o = 0; o < l.outer && l.inner > 0; o++)
            move_piece(x, (o * l.extent + k) * l.inner, c->out[0], (o * picks + i) * l.inner,
                       l.inner);
    }
    return true;
}
BOTH_FORMS(index_select)

/* Offset in a tensor with these strides of the place that an index tensor of the same rank names.
 */
static int64_t beside(const struct fold_walk *w, int axis, int64_t k, const int64_t *stride)
{
    int64_t at = 0;
    if (w->rank == 0 && axis == 0) /* a scalar index beside a vector */
        return k * stride[0];
    for (int d = 0; d < w->rank; d++)
        at += (d == axis ? k : w->index[d]) * stride[d];
    return at;
}

/* y[i, j] = x[index[i, j], j] for dim 0, and so on */
static bool gather_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *index = c->in[1];
    int axis = real_axis(c->node, "dim", 0, x->shape.rank);
    int64_t stride[SHAPE_MAX_RANK] = {1}, count = real_count(index), k;
    int64_t extent = x->shape.rank > 0 ? x->shape.dim[axis] : 1;
    struct fold_walk w;
    fold_walk_init(&w, &index->shape);
    fold_strides(&x->shape, stride);
    for (int64_t i = 0; i < count; i++, fold_walk_next(&w)) {
        if (!index_read(c, index, i, extent, &k, err))
            return false;
        real_move(x, beside(&w, axis, k, stride), c->out[0], i);
    }
    return true;
}
BOTH_FORMS(gather)

/* Where row `row` of an index tensor (.., depth) points in x, whose first `batch` axes the row's
 * own position gives. */
static bool nd_offset(const struct kernel_call *c, const struct tensor *index,
                      const struct shape *x, int batch, int64_t row, int64_t *out,
                      struct bpu_error *err)
{
    int64_t stride[SHAPE_MAX_RANK] = {0}, k = 0, rest = row;
    int64_t depth = index->shape.dim[index->shape.rank - 1];
    fold_strides(x, stride);
    *out = 0;
    for (int i = index->shape.rank - 2; i >= 0; i--) {
        int64_t d = index->shape.dim[i];
        if (i < batch)
            *out += rest % d * stride[i];
        rest /= d;
    }
    for (int i = 0; i < depth; i++) {
        if (!index_read(c, index, row * depth + i, x->dim[batch + i], &k, err))
            return false;
        *out += k * stride[batch + i];
    }
    return true;
}

static bool gather_nd_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *index = c->in[1];
    int batch = (int)node_int(c->node, "batch_dims", 0);
    int64_t depth = index->shape.dim[index->shape.rank - 1], piece = 1, at = 0;
    for (int i = batch + (int)depth; i < x->shape.rank; i++)
        piece *= x->shape.dim[i];
    int64_t total = real_count(c->out[0]);
    for (int64_t row = 0; row * piece < total; row++) {
        if (!nd_offset(c, index, &x->shape, batch, row, &at, err))
            return false;
        move_piece(x, at, c->out[0], row * piece, piece);
    }
    return true;
}
BOTH_FORMS(gather_nd)

/* ── scatter ── */

enum scatter { SCATTER_SET, SCATTER_ADD, SCATTER_MUL, SCATTER_MAX, SCATTER_MIN };

/* ONNX says reduction: add, mul, max, min; PyTorch reduce: add, multiply. */
static enum scatter scatter_kind(const struct node *n)
{
    const char *how = node_string(n, "reduction", node_string(n, "reduce", "none"));
    return strcmp(how, "add") == 0 || strcmp(how, "sum") == 0        ? SCATTER_ADD
           : strncmp(how, "mul", 3) == 0 || strcmp(how, "prod") == 0 ? SCATTER_MUL
           : strcmp(how, "max") == 0 || strcmp(how, "amax") == 0     ? SCATTER_MAX
           : strcmp(how, "min") == 0 || strcmp(how, "amin") == 0     ? SCATTER_MIN
                                                                     : SCATTER_SET;
}

/* Updates are taken in row-major order; where several fall on one place, each is rounded. */
static void scatter_one(const struct tensor *src, int64_t i, struct tensor *y, int64_t j,
                        enum scatter kind)
{
    if (kind == SCATTER_SET) {
        real_move(src, i, y, j);
    } else if (fold_is_int(src->dtype) && fold_is_int(y->dtype)) {
        int64_t a = tensor_int(y, j), b = tensor_int(src, i);
        int64_t r = kind == SCATTER_ADD   ? (int64_t)((uint64_t)a + (uint64_t)b)
                    : kind == SCATTER_MUL ? (int64_t)((uint64_t)a * (uint64_t)b)
                    : kind == SCATTER_MAX ? (a > b ? a : b)
                                          : (a < b ? a : b);
        fold_store_int(real_at(y, j), y->dtype, r);
    } else {
        double a = tensor_real(y, j), b = tensor_real(src, i);
        tensor_store_real(y, j,
                          kind == SCATTER_ADD   ? a + b
                          : kind == SCATTER_MUL ? a * b
                          : kind == SCATTER_MAX ? (a > b ? a : b)
                                                : (a < b ? a : b));
    }
}

/* y = x, then y[index[i, j], j] = src[i, j] for dim 0, and so on; a scalar src fills. */
static bool scatter_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *index = c->in[1], *src = c->in[2];
    struct tensor *y = c->out[0];
    int axis = real_axis(c->node, "dim", 0, x->shape.rank);
    int64_t stride[SHAPE_MAX_RANK] = {1}, from[SHAPE_MAX_RANK] = {0}, k;
    int64_t extent = x->shape.rank > 0 ? x->shape.dim[axis] : 1;
    enum scatter kind = scatter_kind(c->node);
    move_piece(x, 0, y, 0, real_count(y));
    fold_strides(&x->shape, stride);
    if (src->shape.rank == index->shape.rank)
        fold_strides(&src->shape, from);
    int64_t picks = real_count(index);
    struct fold_walk w;
    fold_walk_init(&w, &index->shape);
    for (int64_t i = 0; i < picks; i++, fold_walk_next(&w)) {
        if (!index_read(c, index, i, extent, &k, err))
            return false;
        scatter_one(src, beside(&w, -1, 0, from), y, beside(&w, axis, k, stride), kind);
    }
    return true;
}
BOTH_FORMS(scatter)

static bool scatter_nd_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *index = c->in[1], *src = c->in[2];
    struct tensor *y = c->out[0];
    enum scatter kind = scatter_kind(c->node);
    if (index->shape.rank < 1)
        return kernel_unsupported(c, err, "the indices are a scalar");
    int64_t depth = index->shape.dim[index->shape.rank - 1], piece = 1, rows = 1, at = 0;
    for (int i = 0; i < index->shape.rank - 1; i++)
        rows *= index->shape.dim[i];
    for (int i = (int)depth; i < x->shape.rank; i++)
        piece *= x->shape.dim[i];
    move_piece(x, 0, y, 0, real_count(y));
    for (int64_t row = 0; row < rows && piece > 0; row++) {
        if (!nd_offset(c, index, &x->shape, 0, row, &at, err))
            return false;
        for (int64_t k = 0; k < piece; k++)
            scatter_one(src, row * piece + k, y, at + k, kind);
    }
    return true;
}
BOTH_FORMS(scatter_nd)

/* ── rows and triangles ── */

/* [indices, depth?, (off, on)?]: `on` where the new axis has the index, `off` elsewhere; indices
 * outside of the depth mark nothing, negative ones count from the end. */
static bool one_hot_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0], *marks = kernel_in(c, 2);
    struct tensor *y = c->out[0];
    int64_t own[SHAPE_MAX_RANK] = {0}, total = real_count(y);
    int axis = real_axis(c->node, "dim", -1, y->shape.rank);
    int64_t depth = y->shape.dim[axis];
    if (marks && real_count(marks) != 2)
        return kernel_unsupported(c, err, "two values are needed, off and on");
    fold_strides(&x->shape, own);
    struct fold_walk w;
    fold_walk_init(&w, &y->shape);
    for (int64_t i = 0; i < total; i++, fold_walk_next(&w)) {
        int64_t at = 0;
        for (int d = 0, k = 0; d < y->shape.rank; d++)
            if (d != axis)
                at += w.index[d] * own[k++];
        double v = tensor_real(x, at);
        bool hit = (v < 0 ? v + (double)depth : v) == (double)w.index[axis];
        if (marks)
            real_move(marks, hit, y, i);
        else
            tensor_store_real(y, i, hit);
    }
    return true;
}
BOTH_FORMS(one_hot)

/* tril keeps column - row <= diagonal, triu >=; the rest is 0. */
static bool tri_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = c->in[0];
    int64_t diagonal = node_int(c->node, "diagonal", 0), total = real_count(x);
    bool lower = strcmp(c->node->op->key, "tril") == 0;
    int64_t rows = x->shape.dim[x->shape.rank - 2], columns = x->shape.dim[x->shape.rank - 1];
    (void)err;
    for (int64_t i = 0; i < total; i++) {
        int64_t apart = i % columns - i / columns % rows;
        if (lower ? apart <= diagonal : apart >= diagonal)
            real_move(x, i, c->out[0], i);
        else
            tensor_store_real(c->out[0], i, 0);
    }
    return true;
}
BOTH_FORMS(tri)
