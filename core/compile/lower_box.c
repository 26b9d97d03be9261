/* lower_box: values that are put together of pieces of one other: padding of all modes, rolling.
 *
 * Along each axis the result is a row of segments, each of which walks the input forwards, backwards
 * or not at all, or holds a constant; each combination of segments is a box that one COPY or FILL
 * makes. */
#include <string.h>

#include "core/compile/lower_tail.h"
#include "core/run/arith.h"
#include "core/run/kernel.h"

#define MAX_SEGMENTS 16

struct segment {
    int64_t to, count, from, step; /* result to … to+count-1 reads from, from + step … */
    bool filled;                   /* or is constant */
};

struct segments {
    struct segment s[MAX_SEGMENTS];
    int count;
};

enum mode { MODE_CONSTANT, MODE_REFLECT, MODE_REPLICATE, MODE_CIRCULAR };

/* Where position i of the result reads; -1: the constant. */
static int64_t source(int64_t i, int64_t extent, enum mode mode)
{
    if (i >= 0 && i < extent)
        return i;
    switch (mode) {
    case MODE_REFLECT: return i < 0 ? -i : 2 * (extent - 1) - i;
    case MODE_REPLICATE: return i < 0 ? 0 : extent - 1;
    case MODE_CIRCULAR: return (i % extent + extent) % extent;
    case MODE_CONSTANT: break;
    }
    return -1;
}

/* Position i of the result reads source(i - begin): runs of equal steps. */
static bool cut_padding(int64_t in, int64_t out, int64_t begin, enum mode mode,
                        struct segments *r, const struct node *n, struct bpu_error *err)
{
    struct segment *last = NULL;
    r->count = 0;
    for (int64_t i = 0; i < out; i++) {
        int64_t from = source(i - begin, in, mode);
        bool filled = from < 0 || from >= in;
        if (filled && mode != MODE_CONSTANT)
            return lower_refuse(n, err, "padding that is larger than the input");
        if (last && filled == last->filled &&
            (filled || last->count == 1 || from == last->from + last->step * last->count)) {
            int64_t step = last->count == 1 && !filled ? from - last->from : last->step;
            if (filled || (step >= -1 && step <= 1)) {
                last->step = step;
                last->count++;
                continue;
            }
        }
        if (r->count == MAX_SEGMENTS)
            return lower_refuse(n, err, "padding that repeats the input more than %d times",
                                MAX_SEGMENTS);
        last = &r->s[r->count++];
        *last = (struct segment){i, 1, from, 1, filled};
    }
    return true;
}

static void cut_nothing(int64_t extent, struct segments *r)
{
    r->count = 1;
    r->s[0] = (struct segment){0, extent, 0, 1, false};
}

/* What turns boxes into layers. */
struct boxes {
    struct lowering *l;
    const struct node *n;
    struct map *x, *y;
    struct segments axis[4]; /* of n there is one */
    struct segment now[4];
    int rule;
    int32_t value; /* of what is constant */
};

static bool add_box(struct boxes *b, bool filled, struct bpu_error *err)
{
    const struct segment *s = b->now;
    struct map *to = lower_part(b->l, b->y, b->y->name, (int)s[1].to, (int)s[1].count, (int)s[2].to,
                                (int)s[2].count, (int)s[3].to, (int)s[3].count, err);
    if (!to)
        return false;
    if (filled) {
        struct layer *layer = lower_layer(b->l, OP_FILL, b->n, to, err);
        if (layer)
            layer->args[FILL_VALUE] = b->value;
        return layer != NULL;
    }
    struct view view = {.map = b->x};
    struct digit d[4];
    for (int i = 0; i < 4; i++) {
        int64_t span = (s[i].count - 1) * s[i].step;
        view.off[i] = s[i].from + (span < 0 ? span : 0);
        view_add(&view, s[i].count, s[i].step, i);
        d[i] = (struct digit){s[i].count, 1, i};
    }
    return view_copy(b->l, &view, to, d, 4, b->rule, err);
}

/* All boxes with the segments that are chosen for axes before `axis`. */
static bool add_boxes(struct boxes *b, int axis, struct bpu_error *err)
{
    if (axis == 4)
        return add_box(b, false, err);
    const struct segments *r = &b->axis[axis];
    const int extent[4] = {b->y->n, b->y->h, b->y->w, b->y->c};
    for (int i = 0; i < r->count; i++) {
        b->now[axis] = r->s[i];
        if (!r->s[i].filled) {
            if (!add_boxes(b, axis + 1, err))
                return false;
            continue;
        }
        for (int k = axis + 1; k < 4; k++)
            b->now[k] = (struct segment){0, extent[k], 0, 1, true};
        if (!add_box(b, true, err))
            return false;
    }
    return true;
}

struct map *lower_padded(struct lowering *l, struct map *x, const char *mode, int top, int bottom,
                         int left, int right, struct bpu_error *err)
{
    struct boxes b = {.l = l, .n = l->node, .x = x};
    enum mode m = strcmp(mode, "reflect") == 0    ? MODE_REFLECT
                  : strcmp(mode, "circular") == 0 ? MODE_CIRCULAR
                                                  : MODE_REPLICATE;
    b.y = lower_temporary(l, x, "padded", x->n, x->h + top + bottom, x->w + left + right, x->c, err);
    if (!b.y)
        return NULL;
    cut_nothing(x->n, &b.axis[0]);
    cut_nothing(x->c, &b.axis[3]);
    return cut_padding(x->h, b.y->h, top, m, &b.axis[1], l->node, err) &&
                   cut_padding(x->w, b.y->w, left, m, &b.axis[2], l->node, err) &&
                   add_boxes(&b, 0, err)
               ? b.y
               : NULL;
}

/* ── values ── */

/* The segments of a node's axes. */
struct plan {
    struct segments dim[SHAPE_MAX_RANK];
    bool cut[SHAPE_MAX_RANK]; /* more than one segment, or not all of the input */
    int32_t value;
};

/* A form in which every axis that is cut has h, w or c to itself. */
static bool form_for(const struct lowering *l, const struct value *x, const struct plan *p,
                     enum form *out)
{
    enum form first = lower_form(l, x);
    for (int k = 0; k < FORM_COUNT; k++) {
        enum form f = k == 0 ? first : first == FORM_IMAGE ? FORM_FEATURES : FORM_IMAGE;
        bool fits = true;
        for (int d = 0; d < x->shape.rank; d++) {
            int64_t step;
            fits = fits && (!p->cut[d] || (form_alone(&x->shape, f, d) &&
                                           form_axis(&x->shape, f, d, &step) != 0));
        }
        if (fits) {
            *out = f;
            return true;
        }
    }
    return false;
}

static bool build_at_once(struct lowering *l, const struct node *n, const struct plan *p,
                          enum form f, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    struct boxes b = {.l = l, .n = n, .value = p->value};
    b.x = lower_map(l, x, f, err);
    b.y = b.x ? lower_result(l, y, f, err) : NULL;
    if (!b.y)
        return false;
    b.rule = b.x->dtype == b.y->dtype && b.x->scale == b.y->scale && b.x->zero == b.y->zero ? 0 : 2;
    const int extent[4] = {b.x->n, b.x->h, b.x->w, b.x->c};
    for (int i = 0; i < 4; i++)
        cut_nothing(extent[i], &b.axis[i]);
    for (int d = 0; d < x->shape.rank; d++)
        if (p->cut[d]) {
            int64_t step;
            b.axis[form_axis(&x->shape, f, d, &step)] = p->dim[d];
        }
    return add_boxes(&b, 0, err);
}

/* The view's elements as stored integers of y's type and scale. */
static bool as_numbers_of(struct lowering *l, const struct value *y, const struct shape *s,
                          struct view *view, struct bpu_error *err)
{
    const struct map *m = view->map;
    struct digit d[SHAPE_MAX_RANK];
    int64_t e[4], zero = y->quant.count > 0 && y->quant.zero_point ? y->quant.zero_point[0] : 0;
    double scale = y->quant.count > 0 ? y->quant.scale[0] : 0;
    if (m->dtype == y->dtype && (y->quant.count < 1 || (m->scale == scale && m->zero == zero)))
        return true;
    if (!form_extents(s, FORM_FEATURES, e))
        return lower_refuse(l->node, err, "\"%s\" is larger than the machine can count", y->name);
    struct map *to = network_map(l->net, y->name, (int)e[0], (int)e[1], (int)e[2], (int)e[3],
                                 y->dtype, scale, (int32_t)zero, err);
    if (!to || !view_copy(l, view, to, d, view_digits(s, FORM_FEATURES, d), 2, err))
        return false;
    view_of_map(to, s, FORM_FEATURES, view);
    return true;
}

/* One axis after the other, as (before, axis, behind). */
static bool build_by_axes(struct lowering *l, const struct node *n, const struct plan *p,
                          struct bpu_error *err)
{
    const struct value *y = n->outputs[0];
    struct shape s = n->inputs[0]->shape;
    struct view view;
    if (!view_of_value(l, n->inputs[0], &view, err) || !as_numbers_of(l, y, &s, &view, err))
        return false;
    for (int d = 0; d < s.rank; d++) {
        if (!p->cut[d])
            continue;
        struct shape as = {.rank = 3, .dim = {1, s.dim[d], 1}};
        for (int k = 0; k < s.rank; k++)
            if (k != d)
                as.dim[k < d ? 0 : 2] *= s.dim[k];
        struct boxes b = {.l = l, .n = n, .value = p->value};
        b.x = view_map(l, &view, y->name, &as, FORM_FEATURES, err);
        b.y = b.x ? lower_temporary(l, b.x, "axis", 1, b.x->h, (int)y->shape.dim[d], b.x->c, err)
                  : NULL;
        if (!b.y)
            return false;
        cut_nothing(1, &b.axis[0]);
        cut_nothing(b.x->h, &b.axis[1]);
        b.axis[2] = p->dim[d];
        cut_nothing(b.x->c, &b.axis[3]);
        if (!add_boxes(&b, 0, err))
            return false;
        s.dim[d] = as.dim[1] = y->shape.dim[d];
        view_of_map(b.y, &as, FORM_FEATURES, &view);
    }
    return view_set(l, y, &view, 2, err);
}

static bool build(struct lowering *l, const struct node *n, struct plan *p, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    enum form f;
    for (int d = 0; d < x->rank; d++) {
        const struct segments *r = &p->dim[d];
        p->cut[d] = r->count != 1 || r->s[0].filled || r->s[0].from != 0 ||
                    r->s[0].count != x->dim[d] || (r->s[0].step != 1 && x->dim[d] > 1);
    }
    return form_for(l, n->inputs[0], p, &f) ? build_at_once(l, n, p, f, err)
                                            : build_by_axes(l, n, p, err);
}

/* ── padding ── */

static enum mode mode_of(const struct node *n)
{
    const char *key = n->op->key, *mode = node_string(n, "mode", "constant");
    if (strcmp(key, "reflection_pad2d") == 0 || strcmp(mode, "reflect") == 0)
        return MODE_REFLECT;
    if (strcmp(key, "replication_pad2d") == 0 || strcmp(mode, "replicate") == 0 ||
        strcmp(mode, "edge") == 0)
        return MODE_REPLICATE;
    return strcmp(mode, "circular") == 0 || strcmp(mode, "wrap") == 0 ? MODE_CIRCULAR
                                                                      : MODE_CONSTANT;
}

/* The constant as a stored integer of the result. */
static int32_t stored(const struct value *y, double v)
{
    int64_t lo, hi, zero = y->quant.count > 0 && y->quant.zero_point ? y->quant.zero_point[0] : 0;
    dtype_range(y->dtype, &lo, &hi);
    if (y->dtype == DT_QBOOL)
        return v != 0;
    if (lo < INT32_MIN)
        lo = INT32_MIN;
    if (hi > INT32_MAX)
        hi = INT32_MAX;
    return arith_quantize(v, y->quant.count > 0 ? y->quant.scale[0] : 1, (int32_t)zero, (int32_t)lo,
                          (int32_t)hi);
}

bool lower_pad(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    int64_t pairs[2 * SHAPE_MAX_RANK] = {0}, begin[SHAPE_MAX_RANK] = {0};
    int count = 4, rank = x->shape.rank;
    bool layer = node_attr(n, "pad") == NULL; /* torch.nn.*Pad2d */
    struct plan *p = ARENA_NEW(l->arena, struct plan, err);
    if (!p)
        return false;
    if (layer && strcmp(n->op->key, "pad") == 0)
        return lower_refuse(n, err, "the padding is not constant");
    if (layer ? !infer_tuple(n, "padding", 4, 0, pairs, err)
              : !infer_ints(n, "pad", pairs, 2 * SHAPE_MAX_RANK, &count, err))
        return false;
    if (y->shape.rank != rank || y->quant.count > 1 || !dtype_is_quantized(y->dtype))
        return lower_refuse(n, err, "a result that does not fit");
    for (int i = 0; i < count / 2 && i < rank; i++)
        begin[rank - 1 - i] = pairs[2 * i];
    bool zero = strcmp(n->op->key, "zero_pad2d") == 0;
    p->value = stored(y, zero ? 0 : node_float(n, "value", 0));
    for (int d = 0; d < rank; d++) {
        if (begin[d] < -INT32_MAX || begin[d] > INT32_MAX || y->shape.dim[d] > INT32_MAX)
            return lower_refuse(n, err, "the padding %lld", (long long)begin[d]);
        if (!cut_padding(x->shape.dim[d], y->shape.dim[d], begin[d], mode_of(n), &p->dim[d], n, err))
            return false;
    }
    return build(l, n, p, err);
}

/* ── rolling ── */

/* What is at i comes from (i - shift) mod extent. */
static void cut_roll(int64_t extent, int64_t shift, struct segments *r)
{
    r->count = 0;
    if (shift)
        r->s[r->count++] = (struct segment){0, shift, extent - shift, 1, false};
    r->s[r->count++] = (struct segment){shift, extent - shift, 0, 1, false};
}

/* Without axes the tensor is one row. */
static bool roll_row(struct lowering *l, const struct node *n, int64_t shift, struct bpu_error *err)
{
    struct view view;
    struct boxes b = {.l = l, .n = n};
    int64_t all = shape_elements(&n->inputs[0]->shape);
    struct shape row = {.rank = 1, .dim = {all}};
    if (!view_of_value(l, n->inputs[0], &view, err))
        return false;
    b.x = view_map(l, &view, n->inputs[0]->name, &row, FORM_FEATURES, err);
    b.y = b.x ? lower_temporary(l, b.x, "rolled", 1, 1, 1, (int)all, err) : NULL;
    if (!b.y)
        return false;
    for (int i = 0; i < 3; i++)
        cut_nothing(1, &b.axis[i]);
    cut_roll(all, shift, &b.axis[3]);
    if (!add_boxes(&b, 0, err))
        return false;
    view_of_map(b.y, &row, FORM_FEATURES, &view);
    return view_set(l, n->outputs[0], &view, 2, err);
}

bool lower_roll(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t shifts[SHAPE_MAX_RANK], dims[SHAPE_MAX_RANK], shift[SHAPE_MAX_RANK] = {0};
    int count, dim_count;
    struct plan *p = ARENA_NEW(l->arena, struct plan, err);
    if (!p || !infer_ints(n, "shifts", shifts, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(n, "dims", dims, SHAPE_MAX_RANK, &dim_count, err))
        return false;
    if (dim_count <= 0) {
        int64_t all = shape_elements(x);
        return all < 1 || all > INT32_MAX
                   ? lower_refuse(n, err, "%lld elements in one row", (long long)all)
                   : roll_row(l, n, (shifts[0] % all + all) % all, err);
    }
    for (int i = 0; i < dim_count && i < count; i++) {
        int axis = (int)(dims[i] < 0 ? dims[i] + x->rank : dims[i]);
        int64_t d = x->dim[axis];
        if (d > 0)
            shift[axis] = ((shift[axis] + shifts[i] % d) % d + d) % d;
    }
    for (int d = 0; d < x->rank; d++)
        cut_roll(x->dim[d], shift[d], &p->dim[d]);
    return build(l, n, p, err);
}
