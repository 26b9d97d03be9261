/* fold_join: constants put together, cut apart and padded. */
#include "core/ops/fold.h"

static int join_axis(const struct node *n, int rank)
{
    int64_t axis = node_int(n, "dim", 0);
    return (int)(axis < 0 ? axis + rank : axis);
}

/* Operands follow one another along the axis; each is `outer` pieces of its own length. */
static bool join_fold(struct graph *g, struct node *n, int axis, bool stacked,
                      struct bpu_error *err)
{
    struct fold_result f;
    bool skip;
    for (int i = 0; i < n->input_count; i++)
        if (!n->inputs[i] || n->output_count < 1 || n->inputs[i]->dtype != n->outputs[0]->dtype)
            return true;
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    int64_t outer = 1;
    for (int i = 0; i < axis; i++)
        outer *= f.out->shape.dim[i];
    size_t row = outer > 0 ? (size_t)(f.count / outer) * f.size : 0, at = 0;
    for (int i = 0; i < n->input_count && f.count > 0; i++) {
        const struct value *v = n->inputs[i];
        /* an empty vector among tensors is left out, as inference has left it out */
        if (!stacked && v->shape.rank != f.out->shape.rank)
            continue;
        size_t piece = (size_t)(shape_elements(&v->shape) / outer) * f.size;
        for (int64_t k = 0; k < outer && piece; k++)
            memcpy(f.data + (size_t)k * row + at, v->constant->data + (size_t)k * piece, piece);
        at += piece;
    }
    return fold_end(g, &f, err);
}

bool fold_cat(struct graph *g, struct node *n, struct bpu_error *err)
{
    if (n->output_count < 1)
        return true;
    return join_fold(g, n, join_axis(n, n->outputs[0]->shape.rank), false, err);
}

bool fold_stack(struct graph *g, struct node *n, struct bpu_error *err)
{
    if (n->output_count < 1)
        return true;
    return join_fold(g, n, join_axis(n, n->outputs[0]->shape.rank), true, err);
}

/* split and chunk: the outputs' shapes say where the cuts are */
bool fold_split(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    int64_t stride[SHAPE_MAX_RANK], offset = 0;
    int axis = join_axis(n, x->shape.rank);
    fold_strides(&x->shape, stride);
    for (int i = 0; i < n->output_count; i++) {
        struct fold_result f;
        bool skip;
        const struct shape *part = &n->outputs[i]->shape;
        if (!shape_is_static(part) || n->outputs[i]->dtype != x->dtype)
            return true;
        if (!fold_begin(g, n, i, &f, &skip, err))
            return false;
        if (!skip) {
            if (f.count > 0)
                fold_copy(f.data, x->constant->data, f.size, part->rank, part->dim, stride, offset);
            if (!fold_end(g, &f, err))
                return false;
        }
        offset += part->dim[axis] * stride[axis];
    }
    return true;
}

/* Only the constant mode: the others pad feature maps, not constants. Negative padding crops. */
bool fold_pad(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    int64_t pairs[2 * SHAPE_MAX_RANK], begin[SHAPE_MAX_RANK] = {0}, stride[SHAPE_MAX_RANK];
    int count, rank = x->shape.rank;
    struct fold_result f;
    bool skip;
    if (!infer_ints(n, "pad", pairs, 2 * SHAPE_MAX_RANK, &count, err))
        return false;
    if (count < 0 || strcmp(node_string(n, "mode", "constant"), "constant") != 0 ||
        n->output_count < 1 || n->outputs[0]->dtype != x->dtype)
        return true;
    for (int i = 0; i < count / 2; i++)
        begin[rank - 1 - i] = pairs[2 * i];
    if (!fold_begin(g, n, 0, &f, &skip, err) || skip)
        return skip;
    const struct attr *value = node_attr(n, "value");
    struct fold_walk w;
    fold_walk_init(&w, &f.out->shape);
    fold_strides(&x->shape, stride);
    for (int64_t i = 0; i < f.count; i++, fold_walk_next(&w)) {
        unsigned char *p = f.data + (size_t)i * f.size;
        int64_t at = 0;
        bool inside = true;
        for (int k = 0; k < rank; k++) {
            int64_t q = w.index[k] - begin[k];
            inside &= q >= 0 && q < x->shape.dim[k];
            at += q * stride[k];
        }
        if (inside)
            memcpy(p, fold_at(x, at), f.size);
        else if (value && value->kind == ATTR_INT)
            fold_store_int(p, f.out->dtype, value->i);
        else
            fold_store_real(p, f.out->dtype, node_float(n, "value", 0));
    }
    return fold_end(g, &f, err);
}
