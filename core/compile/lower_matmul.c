/* lower_matmul: linear layers as convolutions with windows of 1, products of two feature maps.
 *
 * A linear layer behind the flattening of an image is a convolution whose window is the whole image:
 * nothing is copied, the weights change their order instead; sums do not ask for one. */
#include <string.h>

#include "core/compile/lower_tail.h"
#include "core/run/requant.h"

static const struct infer_window one = {.kernel = 1, .stride = 1, .dilation = 1};

/* ── linear ── */

/* True if x is (N, K) that lies as whole images of one map: its channels, rows and columns. */
static bool flattened_image(struct lowering *l, const struct value *x, struct map **image)
{
    const struct view *v = l->views[x->index];
    if (!v || x->shape.rank != 2 || v->full || v->map->off_c || v->map->parent)
        return false;
    const struct map *m = v->map;
    int64_t k = (int64_t)m->c * m->h * m->w;
    if (x->shape.dim[0] != m->n || x->shape.dim[1] != k || v->off[0] || v->off[1] || v->off[2] ||
        v->off[3] || m->c == 1 || m->h * (int64_t)m->w == 1)
        return false;
    /* n, then c, h, w: what is left of them where extents are 1. */
    const int64_t extent[4] = {m->n, m->c, m->h, m->w};
    static const int axis[4] = {0, 3, 1, 2};
    int at = 0;
    for (int i = 0; i < 4; i++) {
        if (extent[i] == 1)
            continue;
        if (at == v->count || v->digit[at].axis != axis[i] || v->digit[at].step != 1 ||
            v->digit[at].extent != extent[i])
            return false;
        at++;
    }
    *image = v->map;
    return at == v->count;
}

/* The window of the conv engine over a whole image has a limit that no machine states; what is larger
 * than this is flattened by a copy instead. */
#define LARGEST_WINDOW 31

bool lower_linear(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *w = node_param(n, "weight"), *y = n->outputs[0],
                       *r = node_input(n, 1);
    struct tail tail;
    struct packed p;
    struct map *image = NULL, *in, *out, *residual = NULL;
    if (!lower_constant(n, w, "the weight", err))
        return false;
    if (w->dtype != DT_QINT8 || w->shape.rank != 2 || x->shape.rank < 1 || x->constant)
        return lower_refuse(n, err, "a weight of type %s and rank %d", dtype_name(w->dtype),
                            w->shape.rank);
    bool io = strcmp(node_string(n, "weight_layout", "oi"), "io") == 0;
    int64_t k = w->shape.dim[io ? 0 : 1], channels = w->shape.dim[io ? 1 : 0];
    if (x->shape.dim[x->shape.rank - 1] != k || w->constant->bytes < (size_t)(k * channels))
        return lower_refuse(n, err, "a weight that does not fit");
    bool whole = flattened_image(l, x, &image) && image->h <= LARGEST_WINDOW &&
                 image->w <= LARGEST_WINDOW;
    struct filters f = {.data = w->constant->data,
                        .step_m = io ? 1 : k,
                        .step_k = io ? channels : 1,
                        .channels = channels,
                        .inputs = k,
                        .groups = 1,
                        .kernel_h = 1,
                        .kernel_w = 1,
                        .quant = &w->quant};
    struct windows v = {one, one, one};
    if (whole) {
        int64_t step = f.step_k;
        f.inputs = image->c;
        f.step_k = step * image->h * image->w;
        f.step_i = step * image->w;
        f.step_j = step;
        v.h.kernel = f.kernel_h = image->h;
        v.w.kernel = f.kernel_w = image->w;
    }
    /* (N, K) may lie in either form; a window over images makes an image of one pixel. */
    enum form form = whole ? FORM_IMAGE : x->shape.rank == 2 ? lower_form(l, x) : FORM_FEATURES;
    if (!lower_tail(l, n, &w->quant, channels, r, &tail, err) ||
        !pack_filters(l, &f, &tail.ends, false, &p, err))
        return false;
    in = whole ? image : lower_map(l, x, form, err);
    if (in && r && !(residual = lower_map(l, r, form, err)))
        return false;
    out = in ? lower_result(l, y, form, err) : NULL;
    struct layer *layer =
        out ? lower_sums(l, OP_CONV, n, in, out, &v, &p, &tail, residual, err) : NULL;
    if (layer)
        layer->macs = op_macs(n);
    return layer != NULL;
}

/* ── matmul ── */

/* A vector is a row on the left and a column on the right. */
static struct shape as_matrix(const struct shape *s, bool left)
{
    struct shape out = *s;
    if (s->rank == 1) {
        out.rank = 2;
        out.dim[0] = left ? 1 : s->dim[0];
        out.dim[1] = left ? s->dim[0] : 1;
    }
    return out;
}

/* The operand as (…, rows, columns), or with both exchanged if it lies so. */
static struct map *second_operand(struct lowering *l, const struct value *b, const struct shape *as,
                                  bool *transposed, struct bpu_error *err)
{
    struct view view, turned;
    struct view_loop loop[VIEW_MAX_DIGITS], at[2 * VIEW_MAX_DIGITS];
    struct shape other = *as;
    struct digit to[SHAPE_MAX_RANK];
    *transposed = false;
    if (b->constant || as->rank < 2 || !view_of_value(l, b, &view, err))
        return b->constant ? lower_map_as(l, b, as, FORM_FEATURES, err) : NULL;
    int count = view_by_axes(l, &view, as, loop, err);
    if (count < 0)
        return NULL;
    other.dim[as->rank - 2] = as->dim[as->rank - 1];
    other.dim[as->rank - 1] = as->dim[as->rank - 2];
    turned = (struct view){.map = view.map};
    memcpy(turned.off, view.off, sizeof turned.off);
    for (int d = 0; d < as->rank; d++) {
        int from = d < as->rank - 2 ? d : d == as->rank - 1 ? as->rank - 2 : as->rank - 1;
        for (int i = 0; i < count; i++)
            if (loop[i].y_axis == from)
                view_add(&turned, loop[i].extent, loop[i].x_step, loop[i].x_axis);
    }
    int loops = turned.full ? -1
                            : view_refine(to, view_digits(&other, FORM_FEATURES, to), &turned, at,
                                          2 * VIEW_MAX_DIGITS);
    bool same = loops >= 0;
    for (int i = 0; i < loops; i++)
        same = same && at[i].x_axis == at[i].y_axis && at[i].x_step == at[i].y_step;
    /* The same in both orders (a vector): as it is. */
    loops = view_refine(to, view_digits(as, FORM_FEATURES, to), &view, at, 2 * VIEW_MAX_DIGITS);
    bool straight = loops >= 0;
    for (int i = 0; i < loops; i++)
        straight = straight && at[i].x_axis == at[i].y_axis && at[i].x_step == at[i].y_step;
    *transposed = same && !straight;
    return view_map(l, *transposed ? &turned : &view, b->name, *transposed ? &other : as,
                    FORM_FEATURES, err);
}

/* Leading axes of an operand beside those of the result: as long, or 1 wherever they share a place. */
static bool leads_fit(const struct map *m, const struct map *y)
{
    return (m->n == y->n || m->n == 1) && (m->h == y->h || m->h == 1);
}

/* The shape with the leading axes of the result, which the operand repeats. */
static bool leads_like(const struct shape *s, const struct shape *y)
{
    if (s->rank != y->rank)
        return s->rank == 2 || (s->rank == 3 && s->dim[0] == y->dim[y->rank - 3]);
    bool same = true, ones = true;
    for (int d = 0; d < s->rank - 3; d++) {
        same = same && s->dim[d] == y->dim[d];
        ones = ones && s->dim[d] == 1;
    }
    return same || ones;
}

bool lower_matmul(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *a = n->inputs[0], *b = n->inputs[1], *y = n->outputs[0];
    struct shape sa = as_matrix(&a->shape, true), sb = as_matrix(&b->shape, false), sy = y->shape;
    struct tail tail;
    bool transposed;
    if (!dtype_is_quantized(a->dtype) || !dtype_is_quantized(b->dtype) || b->quant.count != 1 ||
        a->shape.rank < 1 || b->shape.rank < 1)
        return lower_refuse(n, err, "operands of type %s and %s", dtype_name(a->dtype),
                            dtype_name(b->dtype));
    /* The result with the axes that vectors lost. */
    if (b->shape.rank == 1)
        sy.dim[sy.rank++] = 1;
    if (a->shape.rank == 1) {
        memmove(sy.dim + sy.rank, sy.dim + sy.rank - 1, sizeof *sy.dim);
        sy.dim[sy.rank - 1] = 1;
        sy.rank++;
    }
    if (!leads_like(&sa, &sy) || !leads_like(&sb, &sy))
        return lower_refuse(n, err, "leading axes that are repeated in part");
    struct map *ma = lower_map_as(l, a, &sa, FORM_FEATURES, err);
    struct map *mb = ma ? second_operand(l, b, &sb, &transposed, err) : NULL;
    struct map *my = mb ? lower_result_as(l, y, &sy, FORM_FEATURES, err) : NULL;
    if (!my || !lower_tail(l, n, &b->quant, 1, NULL, &tail, err))
        return false;
    if (!leads_fit(ma, my) || !leads_fit(mb, my))
        return lower_refuse(n, err, "leading axes that are repeated in part");
    struct layer *layer = lower_layer(l, OP_MATMUL, n, my, err);
    if (!layer)
        return false;
    layer_reads(layer, ma, NEED_SAME);
    layer_reads(layer, mb, NEED_SAME);
    layer->args[MATMUL_TRANSPOSED] = transposed;
    layer->args[MATMUL_MANTISSA] = tail.ends.multiplier[0];
    layer->args[MATMUL_SHIFT] = tail.ends.shift[0];
    layer->args[MATMUL_RULE] = tail.rule;
    layer->args[MATMUL_LOW] = tail.low;
    layer->args[MATMUL_HIGH] = tail.high;
    layer->macs = op_macs(n);
    return true;
}
