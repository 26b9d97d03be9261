/* lower_real_select: one of two operands for each element: where, masked_fill, triangles; and what
 * no march has an operator for. */
#include <string.h>

#include "core/compile/lower_real.h"

/* One number that stands for all elements, and no type of its own to keep. */
static bool scalar(const struct value *v, const struct value *y, double *out)
{
    return v && value_is_known(v) && shape_elements(&v->shape) == 1 &&
           dtype_is_quantized(y->dtype) && !dtype_is_quantized(v->dtype) &&
           constant_real(v, 0, out);
}

static enum form form_of(const struct lowering *l, const struct value *y,
                         const struct value *const *v)
{
    for (int i = 2; i >= 0; i--)
        if (v[i] && !v[i]->constant && shape_equal(&v[i]->shape, &y->shape))
            return lower_form(l, v[i]);
    return lower_form(l, y);
}

/* v: mask, and what is taken where it holds and where it does not; NULL: the number. */
static bool select_layer(struct lowering *l, const struct node *n, const struct value *const v[3],
                         const double number[3], struct bpu_error *err)
{
    const struct value *y = n->outputs[0];
    enum form f = form_of(l, y, v);
    struct map *m[3] = {NULL, NULL, NULL};
    double numbers[3] = {number[0], number[1], number[2]};
    for (int i = 0; i < 3; i++) {
        bool is_number = i > 0 && (!v[i] || scalar(v[i], y, &numbers[i]));
        if (!is_number && !(m[i] = lower_broadcast(l, v[i], &y->shape, f, err)))
            return false;
    }
    struct map *to = lower_result(l, y, f, err);
    struct layer *layer = to ? lower_layer(l, OP_SELECT, n, to, err) : NULL;
    if (!layer)
        return false;
    for (int i = 0; i < 3; i++)
        layer_reads(layer, m[i], NEED_SAME);
    layer_set_real(layer, "a", numbers[1]);
    layer_set_real(layer, "b", numbers[2]);
    return true;
}

bool lower_where(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return select_layer(l, n,
                        (const struct value *const[]){n->inputs[0], n->inputs[1], n->inputs[2]},
                        (double[]){0, 0, 0}, err);
}

bool lower_masked_fill(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return select_layer(l, n,
                        (const struct value *const[]){n->inputs[1], node_input(n, 2), n->inputs[0]},
                        (double[]){0, node_float(n, "value", 0), 0}, err);
}

/* Of the last two axes, what lies on one side of a diagonal; the mask is a constant. */
bool lower_tri(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *s = &n->inputs[0]->shape;
    int64_t diagonal = node_int(n, "diagonal", 0);
    bool lower = strcmp(n->op->key, "tril") == 0;
    if (s->rank < 2)
        return lower_refuse(n, err, "its operand has %d axes", s->rank);
    struct map *x = lower_map(l, n->inputs[0], FORM_FEATURES, err);
    struct map *y = x ? lower_result(l, n->outputs[0], FORM_FEATURES, err) : NULL;
    char *name = y ? arena_printf(l->arena, err, "%s.triangle", n->name) : NULL;
    unsigned char *mask =
        name ? ARENA_ARRAY(l->arena, unsigned char, (int64_t)x->w * x->c, err) : NULL;
    struct map *m = mask ? network_map(l->net, name, 1, 1, x->w, x->c, DT_QBOOL, 0, 0, err) : NULL;
    struct layer *layer = m ? lower_layer(l, OP_SELECT, n, y, err) : NULL;
    if (!layer)
        return false;
    for (int64_t r = 0; r < x->w; r++)
        for (int64_t c = 0; c < x->c; c++)
            mask[r * x->c + c] = lower ? c - r <= diagonal : c - r >= diagonal;
    m->constant = mask;
    layer_reads(layer, m, NEED_SAME);
    layer_reads(layer, x, NEED_SAME);
    layer_reads(layer, NULL, NEED_SAME);
    layer_set_real(layer, "a", 0);
    layer_set_real(layer, "b", 0);
    return true;
}

/* ── in no march's table ── */

bool lower_einsum(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    (void)l;
    lower_refuse(n, err, "no march has this operator");
    return error_hint(err, "Write it as torch.matmul with permutations.");
}

bool lower_det(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    (void)l;
    return lower_refuse(n, err, "no march has this operator");
}
