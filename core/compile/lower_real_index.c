/* lower_real_index: gathering and scattering by index, one-hot rows.
 *
 * Places are counted in the row-major order of PyTorch's shapes; an operand's form says in which
 * order the axes of its map nest to give it. */
#include <math.h>
#include <string.h>

#include "core/compile/lower_real.h"
#include "core/run/requant.h"
#include "core/run/kernel.h"

static int nesting_of(const struct shape *s, enum form f)
{
    return f == FORM_IMAGE && s->rank > 1 ? NEST_NCHW : NEST_NHWC;
}

/* An operand where it is, and the order of its elements. */
static struct map *flat(struct lowering *l, const struct value *v, int *order,
                        struct bpu_error *err)
{
    enum form f = lower_form(l, v);
    *order = nesting_of(&v->shape, f);
    return lower_map(l, v, f, err);
}

static void strides_of(const struct shape *s, int64_t *out)
{
    int64_t step = 1;
    for (int d = s->rank - 1; d >= 0; d--) {
        out[d] = step;
        step *= s->dim[d];
    }
}

/* ── index_select ── */

static void fit_pick(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    if (l->args[PICK_AXIS] == AXIS_H)
        args[PICK_FIRST] = p->r0;
}

bool lower_index_select(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *index = n->inputs[1];
    int rank = x->shape.rank, axis;
    int64_t picks = shape_elements(&index->shape);
    struct along a;
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), rank, &axis, err) ||
        !along_of(l, n, x, rank > 0 ? 1u << axis : 0, &a, err))
        return false;
    struct shape row = {.rank = 1, .dim = {picks}}, to = along_with(&a, picks);
    struct map *from = lower_map_as(l, x, &a.as, a.form, err);
    struct map *places = from ? lower_map_as(l, index, &row, FORM_FEATURES, err) : NULL;
    struct map *y = places ? lower_result_as(l, n->outputs[0], &to, a.form, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_PICK, n, y, err) : NULL;
    if (!layer)
        return false;
    along_reads(layer, from, a.axes);
    layer_reads(layer, places, NEED_ALL);
    layer->whole_frame = layer->whole;
    layer_set(layer, "axis", a.axis < 0 ? AXIS_C : a.axis);
    layer->fit = fit_pick;
    return true;
}

/* ── loops ── */

/* Nested loops; of each its count and the steps of up to three operands. */
struct turns {
    int count, operands;
    int64_t turn[SHAPE_MAX_RANK + 1][4];
};

/* One more inside of the others, joined with the last one where all operands go on as before. */
static void turn(struct turns *t, int64_t count, int64_t a, int64_t b, int64_t c)
{
    int64_t step[3] = {a, b, c}, *last = t->count ? t->turn[t->count - 1] : NULL;
    bool one = last != NULL;
    if (count == 1)
        return;
    for (int k = 0; k < t->operands && k < 3 && one; k++)
        one = last[1 + k] == step[k] * count;
    if (!one) {
        last = t->turn[t->count++];
        last[0] = 1;
    }
    last[0] *= count;
    memcpy(last + 1, step, sizeof step);
}

static bool turns_put(const struct node *n, const struct turns *t, int32_t *loops, int32_t *args,
                      struct bpu_error *err)
{
    if (t->count > INDEX_MAX_LOOPS)
        return lower_refuse(n, err, "its indices need %d nested loops; the machine has %d",
                            t->count, INDEX_MAX_LOOPS);
    *loops = t->count;
    for (int i = 0; i < t->count; i++)
        for (int k = 0; k <= t->operands; k++) {
            if (t->turn[i][k] > INT32_MAX)
                return lower_refuse(n, err, "its operands are larger than the machine can count");
            args[i * (t->operands + 1) + k] = (int32_t)t->turn[i][k];
        }
    return true;
}

/* What the indices name: `depth` axes of shape s from `first` on. args: index_step and what
 * follows. */
static bool aims_put(const struct node *n, const struct shape *s, int first, int64_t depth,
                     int32_t *at_depth, struct bpu_error *err)
{
    int64_t stride[SHAPE_MAX_RANK] = {1};
    if (depth < 1 || depth > INDEX_MAX_DEPTH || first + depth > (s->rank ? s->rank : 1))
        return lower_refuse(n, err, "indices of %lld axes; the machine has %d", (long long)depth,
                            INDEX_MAX_DEPTH);
    strides_of(s, stride);
    at_depth[0] = (int32_t)depth;
    at_depth[1] = 1;
    for (int d = 0; d < INDEX_MAX_DEPTH; d++) {
        int64_t extent = d < depth ? (s->rank ? s->dim[first + d] : 1) : 0;
        int64_t step = d < depth ? stride[first + d] : 0;
        if (extent > INT32_MAX || step > INT32_MAX)
            return lower_refuse(n, err, "its operand is larger than the machine can count");
        at_depth[2 + d] = (int32_t)extent;
        at_depth[2 + INDEX_MAX_DEPTH + d] = (int32_t)step;
    }
    return true;
}

static struct layer *gather_layer(struct lowering *l, const struct node *n, const struct turns *t,
                                  int first, int64_t depth, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *index = n->inputs[1], *v = n->outputs[0];
    enum form f = lower_form(l, v);
    int order_x, order_index;
    struct map *from = flat(l, x, &order_x, err);
    struct map *places = from ? flat(l, index, &order_index, err) : NULL;
    struct map *y = places ? lower_result(l, v, f, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_GATHER, n, y, err) : NULL;
    if (!layer || !aims_put(n, &x->shape, first, depth, &layer->args[GATHER_DEPTH], err) ||
        !turns_put(n, t, &layer->args[GATHER_LOOPS], &layer->args[GATHER_FIRST_LOOP], err))
        return NULL;
    layer_reads(layer, from, NEED_ALL);
    layer_reads(layer, places, NEED_ALL);
    layer->whole = layer->whole_frame = true;
    layer_set(layer, "order_y", nesting_of(&v->shape, f));
    layer_set(layer, "order_x", order_x);
    layer_set(layer, "order_index", order_index);
    return layer;
}

bool lower_gather(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape, *index = &n->inputs[1]->shape;
    int64_t sx[SHAPE_MAX_RANK] = {1}, si[SHAPE_MAX_RANK] = {1};
    struct turns t = {.operands = 2};
    int axis;
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err))
        return false;
    strides_of(x, sx);
    strides_of(index, si);
    for (int d = 0; d < index->rank; d++)
        turn(&t, index->dim[d], d == axis ? 0 : sx[d], si[d], 0);
    return gather_layer(l, n, &t, axis, 1, err) != NULL;
}

bool lower_gather_nd(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape, *index = &n->inputs[1]->shape;
    int64_t sx[SHAPE_MAX_RANK] = {1}, si[SHAPE_MAX_RANK] = {1}, piece = 1;
    int64_t batch = node_int(n, "batch_dims", 0);
    struct turns t = {.operands = 2};
    if (index->rank < 1 || batch < 0 || batch >= index->rank)
        return lower_refuse(n, err, "the indices have %d axes", index->rank);
    int64_t depth = index->dim[index->rank - 1];
    strides_of(x, sx);
    strides_of(index, si);
    for (int d = 0; d < index->rank - 1; d++)
        turn(&t, index->dim[d], d < batch ? sx[d] : 0, si[d], 0);
    for (int64_t d = batch + depth; d < x->rank; d++)
        piece *= x->dim[d];
    turn(&t, piece, 1, 0, 0);
    return gather_layer(l, n, &t, (int)batch, depth, err) != NULL;
}

/* ── scatter ── */

static int scatter_function(const struct node *n)
{
    const char *how = node_string(n, "reduction", node_string(n, "reduce", "none"));
    return strcmp(how, "add") == 0 || strcmp(how, "sum") == 0        ? SCATTER_ADD
           : strncmp(how, "mul", 3) == 0 || strcmp(how, "prod") == 0 ? SCATTER_MUL
           : strcmp(how, "max") == 0 || strcmp(how, "amax") == 0     ? SCATTER_MAX
           : strcmp(how, "min") == 0 || strcmp(how, "amin") == 0     ? SCATTER_MIN
                                                                     : SCATTER_SET;
}

static bool scatter_layer(struct lowering *l, const struct node *n, const struct turns *t,
                          int first, int64_t depth, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *v = n->outputs[0];
    int order_x, order_index, order_updates;
    enum form f = lower_form(l, x);
    struct map *from = flat(l, x, &order_x, err);
    struct map *places = from ? flat(l, n->inputs[1], &order_index, err) : NULL;
    struct map *updates = places ? flat(l, n->inputs[2], &order_updates, err) : NULL;
    struct map *y = updates ? lower_result(l, v, f, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_SCATTER, n, y, err) : NULL;
    if (!layer || !aims_put(n, &v->shape, first, depth, &layer->args[SCATTER_DEPTH], err) ||
        !turns_put(n, t, &layer->args[SCATTER_LOOPS], &layer->args[SCATTER_FIRST_LOOP], err))
        return false;
    layer_reads(layer, from, NEED_ALL);
    layer_reads(layer, places, NEED_ALL);
    layer_reads(layer, updates, NEED_ALL);
    layer->whole = layer->whole_frame = true;
    layer_set(layer, "order_y", nesting_of(&v->shape, f));
    layer_set(layer, "order_x", order_x);
    layer_set(layer, "order_index", order_index);
    layer_set(layer, "order_updates", order_updates);
    layer_set(layer, "function", scatter_function(n));
    return true;
}

bool lower_scatter(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape, *index = &n->inputs[1]->shape,
                       *src = &n->inputs[2]->shape;
    int64_t sx[SHAPE_MAX_RANK] = {1}, si[SHAPE_MAX_RANK] = {1}, su[SHAPE_MAX_RANK] = {0};
    struct turns t = {.operands = 3};
    int axis;
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err))
        return false;
    strides_of(x, sx);
    strides_of(index, si);
    if (src->rank == index->rank)
        strides_of(src, su);
    for (int d = 0; d < index->rank; d++)
        turn(&t, index->dim[d], d == axis ? 0 : sx[d], si[d], su[d]);
    return scatter_layer(l, n, &t, axis, 1, err);
}

bool lower_scatter_nd(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape, *index = &n->inputs[1]->shape;
    struct turns t = {.operands = 3};
    int64_t rows = 1, piece = 1;
    if (index->rank < 1)
        return lower_refuse(n, err, "the indices are a scalar");
    int64_t depth = index->dim[index->rank - 1];
    for (int d = 0; d < index->rank - 1; d++)
        rows *= index->dim[d];
    for (int64_t d = depth; d < x->rank; d++)
        piece *= x->dim[d];
    turn(&t, rows, 0, depth, piece);
    turn(&t, piece, 1, 0, 1);
    return scatter_layer(l, n, &t, 0, depth, err);
}

/* ── one-hot rows ── */

/* The stored integer of v in the result. */
static bool mark(const struct node *n, const struct value *y, double v, int32_t *out,
                 struct bpu_error *err)
{
    int64_t lo, hi;
    dtype_range(y->dtype, &lo, &hi);
    lo = lo < INT32_MIN ? INT32_MIN : lo;
    hi = hi > INT32_MAX ? INT32_MAX : hi;
    if (dtype_is_float(y->dtype))
        return lower_refuse(n, err, "its result is real");
    bool scaled = dtype_is_quantized(y->dtype) && y->dtype != DT_QBOOL && y->quant.count == 1;
    int32_t zero = scaled && y->quant.zero_point ? (int32_t)y->quant.zero_point[0] : 0;
    *out = scaled ? arith_quantize(v, y->quant.scale[0], zero, (int32_t)lo, (int32_t)hi)
                  : (int32_t)(v < (double)lo   ? lo
                              : v > (double)hi ? hi
                                               : (int64_t)v);
    if (y->dtype == DT_QBOOL || y->dtype == DT_BOOL)
        *out = v != 0;
    return true;
}

bool lower_one_hot(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *v = n->outputs[0], *marks = node_input(n, 2);
    double usual[2] = {0, 1}, *values = usual;
    int64_t inner = 1;
    int axis, order, rank = v->shape.rank;
    int32_t off = 0, on = 0;
    enum form f = lower_form(l, v);
    if (!infer_axis(n, "dim", node_int(n, "dim", -1), rank, &axis, err))
        return false;
    if (marks && shape_elements(&marks->shape) != 2)
        return lower_refuse(n, err, "two values are needed, off and on");
    if (marks && !(values = lower_numbers(l, n, marks, "the marks", 0, 2, false, err)))
        return false;
    if (!mark(n, v, values[0], &off, err) || !mark(n, v, values[1], &on, err))
        return false;
    for (int d = axis + 1; d < rank; d++)
        inner *= v->shape.dim[d];
    struct map *from = flat(l, x, &order, err);
    struct map *y = from ? lower_result(l, v, f, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_ONE_HOT, n, y, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, from, NEED_ALL);
    layer->whole = layer->whole_frame = true;
    layer_set(layer, "order_y", nesting_of(&v->shape, f));
    layer_set(layer, "order_x", order);
    layer_set(layer, "depth", (int32_t)v->shape.dim[axis]);
    layer_set(layer, "inner", (int32_t)inner);
    layer_set(layer, "on", on);
    layer_set(layer, "off", off);
    return true;
}
