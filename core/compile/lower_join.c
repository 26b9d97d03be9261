/* lower_join: values put together: concatenations, and boxes that are made of pieces (lower_box.c).
 *
 * An operand of a concatenation is written in place by the layer that makes it, if nothing else binds it:
 * its map becomes a part of the result.  All others are copied there: among them what somebody has
 * read before.  Its reader may lead to another operand (a skip over layers), and then the result would
 * be read while it is written, and take memory all that time. */
#include <string.h>

#include "core/compile/lower_view.h"
#include "core/ops/infer.h"

/* Where axis `axis` of the result lies: pieces follow one another along `at` of the map. */
struct joint {
    struct shape y;
    enum form f;
    int axis, at;
    int64_t step; /* elements of the map axis per element of the axis */
};

/* True if pieces along the axis are boxes of the map: nothing lies outside of it on its map axis. */
static bool in_boxes(const struct shape *s, enum form f, int axis, int *at, int64_t *step)
{
    *at = form_axis(s, f, axis, step);
    for (int d = 0; d < axis; d++) {
        int64_t other;
        if (s->dim[d] != 1 && form_axis(s, f, d, &other) == *at)
            return false;
    }
    return *at != 0;
}

/* A shape and form in which the pieces are boxes: the value's own, else (before, axis, behind). */
static void choose_joint(const struct lowering *l, const struct node *n, const struct shape *y,
                         int axis, struct joint *j)
{
    int images = 0, count = 0;
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i] && !n->inputs[i]->constant) {
            images += lower_form(l, n->inputs[i]) == FORM_IMAGE;
            count++;
        }
    enum form first = 2 * images > count ? FORM_IMAGE : FORM_FEATURES;
    *j = (struct joint){.y = *y, .axis = axis};
    for (int k = 0; k < FORM_COUNT; k++) {
        j->f = k == 0 ? first : first == FORM_IMAGE ? FORM_FEATURES : FORM_IMAGE;
        if (in_boxes(y, j->f, axis, &j->at, &j->step))
            return;
    }
    int64_t before = 1, behind = 1;
    for (int d = 0; d < y->rank; d++)
        *(d < axis ? &before : &behind) *= d == axis ? 1 : y->dim[d];
    j->y = (struct shape){.rank = 3, .dim = {before, y->dim[axis], behind}};
    j->f = FORM_FEATURES;
    j->axis = 1;
    j->at = 2;
    j->step = 1;
}

static bool same_numbers(const struct value *a, const struct value *b)
{
    if (a->dtype != b->dtype)
        return false;
    return a->dtype == DT_QBOOL || !dtype_is_quantized(a->dtype) ||
           infer_quant_equal(&a->quant, &b->quant);
}

/* The map of v in the joint's form becomes a part of y there, if it can. */
static bool written_in_place(struct lowering *l, const struct joint *j, const struct value *v,
                             const struct value *y, struct map *to, int64_t at, int64_t extent)
{
    struct map *m = l->maps[j->f][v->index];
    int64_t off[4] = {0}, end[4] = {0};
    if (!m || v->constant || m->parent || m->constant || m->input >= 0 || m->reader_count ||
        !same_numbers(v, y) ||
        m == to || to->parent || v->shape.rank != y->shape.rank || j->y.rank != y->shape.rank ||
        m->n != to->n)
        return false;
    off[j->at] = at;
    end[j->at] = at + extent;
    const int64_t have[4] = {m->n, m->h, m->w, m->c}, want[4] = {to->n, to->h, to->w, to->c};
    for (int i = 0; i < 4; i++)
        if (have[i] != (i == j->at ? extent : want[i]))
            return false;
    bool last = end[j->at] == want[j->at];
    if (!part_aligned(l, off[1], off[2], off[3]) ||
        (!last && !part_aligned(l, end[1], end[2], end[3])))
        return false;
    part_move(l, m, to, (int)off[1], (int)off[2], (int)off[3]);
    return true;
}

/* The operand's elements into their place; rescaled in binary32 if its scale is another one. */
static bool copied(struct lowering *l, const struct joint *j, const struct value *v,
                   const struct value *y, struct map *to, int64_t at, int64_t extent,
                   struct bpu_error *err)
{
    struct view view;
    struct digit d[SHAPE_MAX_RANK];
    struct shape s = j->y;
    int64_t off[4] = {0}, e[4] = {to->n, to->h, to->w, to->c};
    bool scaled = dtype_is_quantized(v->dtype), result = dtype_is_quantized(y->dtype);
    if (scaled != result)
        return lower_refuse(l->node, err, "\"%s\" is %s, the result %s", v->name,
                            dtype_name(v->dtype), dtype_name(y->dtype));
    s.dim[j->axis] = extent / j->step;
    off[j->at] = at;
    e[j->at] = extent;
    if (!view_of_value(l, v, &view, err))
        return false;
    struct map *part = lower_part(l, to, v->name, (int)off[1], (int)e[1], (int)off[2], (int)e[2],
                                  (int)off[3], (int)e[3], err);
    int count = view_digits(&s, j->f, d);
    return part && view_copy(l, &view, part, d, count, same_numbers(v, y) ? 0 : 1, err);
}

/* True if an operand is the only one of its value. */
static bool stands_once(const struct node *n, int i)
{
    for (int k = 0; k < n->input_count; k++)
        if (k != i && n->inputs[k] == n->inputs[i])
            return false;
    return true;
}

static bool join(struct lowering *l, const struct node *n, bool stack, struct bpu_error *err)
{
    const struct value *y = n->outputs[0];
    struct joint j;
    int axis;
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), y->shape.rank, &axis, err))
        return false;
    if (y->quant.count > 1)
        return lower_refuse(n, err, "a result with a scale per channel");
    choose_joint(l, n, &y->shape, axis, &j);
    struct map *to = lower_result_as(l, y, &j.y, j.f, err);
    if (!to)
        return false;
    /* Operands that stay as they are first: a copy reads maps that may become parts after it. */
    for (int pass = 0; pass < 2; pass++) {
        int64_t at = 0;
        for (int i = 0; i < n->input_count; i++) {
            const struct value *v = n->inputs[i];
            if (!v || shape_elements(&v->shape) == 0)
                continue;
            int64_t extent = (stack ? 1 : v->shape.dim[axis]) * j.step;
            bool here = !v->constant && l->maps[j.f][v->index] && stands_once(n, i);
            if (here == (pass == 1) &&
                (!here || !written_in_place(l, &j, v, y, to, at, extent)) &&
                !copied(l, &j, v, y, to, at, extent, err))
                return false;
            at += extent;
        }
    }
    return true;
}

bool lower_cat(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return join(l, n, false, err);
}

bool lower_stack(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return join(l, n, true, err);
}
