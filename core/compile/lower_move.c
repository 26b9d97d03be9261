/* lower_move: values in another order, as views (lower_view.h).
 *
 * Each operator says which of the old counters its axes are.  Nothing is copied here; what lies wrong
 * for the next operator is copied once, when that asks. */
#include <string.h>

#include "core/compile/lower_view.h"
#include "core/ops/infer.h"

/* The input cut at its axes: loop[i].y_axis is the axis, loop[i].x_* where it lies. */
struct cut {
    struct view view;
    struct view_loop loop[VIEW_MAX_DIGITS];
    int count;
};

static bool cut_value(struct lowering *l, const struct value *v, const struct shape *s,
                      struct cut *c, struct bpu_error *err)
{
    if (!view_of_value(l, v, &c->view, err))
        return false;
    c->count = view_by_axes(l, &c->view, s, c->loop, err);
    return c->count >= 0;
}

static struct view empty_view(const struct cut *c)
{
    struct view out = {.map = c->view.map};
    memcpy(out.off, c->view.off, sizeof out.off);
    return out;
}

/* All counters of one axis of the input. */
static void add_axis(struct view *out, const struct cut *c, int axis)
{
    for (int i = 0; i < c->count; i++)
        if (c->loop[i].y_axis == axis)
            view_add(out, c->loop[i].extent, c->loop[i].x_step, c->loop[i].x_axis);
}

/* ── the same order ── */

bool lower_view(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    struct view view;
    if (shape_elements(&n->inputs[0]->shape) != shape_elements(&n->outputs[0]->shape))
        return lower_refuse(n, err, "the result has another number of elements");
    return view_of_value(l, n->inputs[0], &view, err) && view_set(l, n->outputs[0], &view, 2, err);
}

bool lower_to(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return lower_view(l, n, err);
}

/* ── axes in another order ── */

bool lower_permute(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t dims[SHAPE_MAX_RANK];
    int count = -1, a = 0, b = 0, rank = x->rank;
    struct cut c;
    if (strcmp(n->op->key, "transpose") == 0) {
        if (!infer_axis(n, "dim0", node_int(n, "dim0", 0), rank, &a, err) ||
            !infer_axis(n, "dim1", node_int(n, "dim1", 1), rank, &b, err))
            return false;
    } else if (!infer_ints(n, "dims", dims, SHAPE_MAX_RANK, &count, err)) {
        return false;
    }
    if (!cut_value(l, n->inputs[0], x, &c, err))
        return false;
    struct view out = empty_view(&c);
    for (int i = 0; i < rank; i++) {
        int from = i == a ? b : i == b ? a : i;
        if (count == rank)
            from = (int)(dims[i] < 0 ? dims[i] + rank : dims[i]);
        add_axis(&out, &c, from);
    }
    return view_set(l, n->outputs[0], &out, 2, err);
}

/* The shape of the axes before `first`, the extents `dim`, and what follows axis `last`. */
static bool split_axes(const struct node *n, const struct shape *x, int first, int last,
                       const int64_t *dim, int count, struct shape *out, struct bpu_error *err)
{
    *out = (struct shape){.rank = 0};
    if (first + count + (x->rank - 1 - last) > SHAPE_MAX_RANK)
        return lower_refuse(n, err, "an input of rank %d", x->rank);
    for (int d = 0; d < first; d++)
        out->dim[out->rank++] = x->dim[d];
    for (int d = 0; d < count; d++)
        out->dim[out->rank++] = dim[d];
    for (int d = last + 1; d < x->rank; d++)
        out->dim[out->rank++] = x->dim[d];
    return true;
}

/* Axes first … last as `count` axes of the extents dim, of which the result takes number order[i] as its
 * i-th. */
static bool shuffle(struct lowering *l, const struct node *n, int first, int last,
                    const int64_t *dim, const int *order, int count, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    struct shape s;
    struct cut c;
    if (first < 0 || x->shape.rank <= last)
        return lower_refuse(n, err, "an input of rank %d", x->shape.rank);
    if (!split_axes(n, &x->shape, first, last, dim, count, &s, err))
        return false;
    if (shape_elements(&s) != shape_elements(&x->shape))
        return lower_refuse(n, err, "extents that are no multiples");
    if (!cut_value(l, x, &s, &c, err))
        return false;
    struct view out = empty_view(&c);
    for (int d = 0; d < s.rank; d++)
        add_axis(&out, &c, d < first || d >= first + count ? d : first + order[d - first]);
    return view_set(l, n->outputs[0], &out, 2, err);
}

/* Channel o * r * r + i * r + j goes to pixel (i, j) of channel o, or channel (i * r + j) * C + o. */
bool lower_pixel_shuffle(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t r = node_int(n, "upscale_factor", 1);
    if (x->rank < 3 || r < 1 || r > INT32_MAX || x->dim[x->rank - 3] % r ||
        x->dim[x->rank - 3] / r % r)
        return lower_refuse(n, err, "factor %lld", (long long)r);
    int64_t h = x->dim[x->rank - 2], w = x->dim[x->rank - 1], o = x->dim[x->rank - 3] / r / r;
    bool dcr = strcmp(node_string(n, "mode", "CRD"), "DCR") == 0;
    const int64_t crd_dim[] = {o, r, r, h, w}, dcr_dim[] = {r, r, o, h, w};
    static const int crd_order[] = {0, 3, 1, 4, 2}, dcr_order[] = {2, 3, 0, 4, 1};
    return shuffle(l, n, x->rank - 3, x->rank - 1, dcr ? dcr_dim : crd_dim,
                   dcr ? dcr_order : crd_order, 5, err);
}

bool lower_pixel_unshuffle(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t r = node_int(n, "downscale_factor", 1);
    if (x->rank < 3 || r < 1 || x->dim[x->rank - 2] % r || x->dim[x->rank - 1] % r)
        return lower_refuse(n, err, "factor %lld", (long long)r);
    const int64_t dim[] = {x->dim[x->rank - 3], x->dim[x->rank - 2] / r, r, x->dim[x->rank - 1] / r,
                           r};
    static const int crd[] = {0, 2, 4, 1, 3}, dcr[] = {2, 4, 0, 1, 3};
    bool turned = strcmp(node_string(n, "mode", "CRD"), "DCR") == 0;
    return shuffle(l, n, x->rank - 3, x->rank - 1, dim, turned ? dcr : crd, 5, err);
}

/* Channels (g, C / g) become (C / g, g). */
bool lower_channel_shuffle(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int64_t g = node_int(n, "groups", 1);
    if (x->rank < 2 || g < 1 || x->dim[1] % g)
        return lower_refuse(n, err, "%lld groups", (long long)g);
    const int64_t dim[] = {g, x->dim[1] / g};
    static const int order[] = {1, 0};
    return shuffle(l, n, 1, 1, dim, order, 2, err);
}

bool lower_flip(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    unsigned set;
    bool all;
    struct cut c;
    if (!infer_axes(n, "dims", x->rank, &set, &all, err) || !cut_value(l, n->inputs[0], x, &c, err))
        return false;
    struct view out = empty_view(&c);
    for (int i = 0; i < c.count; i++) {
        bool turned = all || set & 1u << c.loop[i].y_axis;
        view_add(&out, c.loop[i].extent, turned ? -c.loop[i].x_step : c.loop[i].x_step,
                 c.loop[i].x_axis);
    }
    return view_set(l, n->outputs[0], &out, 2, err);
}

/* ── repetition ── */

/* y axis i is `times[i]` repetitions of x axis i - (rank of y - rank of x). */
static bool repeat_axes(struct lowering *l, const struct node *n, const int64_t *times,
                        struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape, *y = &n->outputs[0]->shape;
    int more = y->rank - x->rank;
    struct cut c;
    if (!cut_value(l, n->inputs[0], x, &c, err))
        return false;
    struct view out = empty_view(&c);
    for (int i = 0; i < y->rank; i++) {
        view_add(&out, times[i], 0, 2);
        if (i >= more)
            add_axis(&out, &c, i - more);
    }
    return view_set(l, n->outputs[0], &out, 2, err);
}

bool lower_repeat(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape, *y = &n->outputs[0]->shape;
    int64_t times[SHAPE_MAX_RANK];
    for (int i = 0; i < y->rank; i++) {
        int k = i - (y->rank - x->rank);
        int64_t d = k < 0 ? 1 : x->dim[k];
        if (y->rank < x->rank || d < 1 || y->dim[i] % d)
            return lower_refuse(n, err, "the result is no multiple of the input");
        times[i] = y->dim[i] / d;
    }
    return repeat_axes(l, n, times, err);
}

bool lower_expand(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    return lower_repeat(l, n, err);
}

/* ── slices ── */

/* Elements start, start + step, … (count of them) of an axis whose counters are loops[from] … loops[to-1].
 * With several counters the slice has to be of whole inner ones. */
static bool slice_axis(struct cut *c, int axis, int64_t start, int64_t count, int64_t step)
{
    int64_t inner = 1;
    for (int i = c->count - 1; i >= 0; i--) {
        struct view_loop *v = &c->loop[i];
        if (v->y_axis != axis)
            continue;
        int64_t away = step < 0 ? -step : step;
        bool outermost = i == 0 || c->loop[i - 1].y_axis != axis;
        if (!outermost) {
            inner *= v->extent;
            continue;
        }
        /* Position p of the outer counter is at p * inner of the axis. */
        if (inner > 1 && (step != 1 || start % inner || count % inner))
            return false;
        int64_t first = start / inner, many = count / inner;
        int64_t lowest = step < 0 ? first - (many - 1) * away : first;
        if (v->x_step < 0) { /* counted from its far end already */
            lowest = v->extent - 1 - (step < 0 ? first : first + (many - 1) * away);
            c->view.off[v->x_axis] += lowest * -v->x_step;
        } else {
            c->view.off[v->x_axis] += lowest * v->x_step;
        }
        v->x_step *= step;
        v->extent = many;
        return true;
    }
    return start == 0 && count == 1; /* an axis of one element has no counter */
}

/* The same, from a copy in which each axis is one counter, if it has to be. */
static bool take_slice(struct lowering *l, struct cut *c, struct shape *s, int axis, int64_t start,
                       int64_t count, int64_t step, struct bpu_error *err)
{
    if (!slice_axis(c, axis, start, count, step)) {
        struct view now = empty_view(c);
        for (int d = 0; d < s->rank; d++)
            add_axis(&now, c, d);
        struct map *m = view_map(l, &now, c->view.map->name, s, FORM_FEATURES, err);
        if (!m)
            return false;
        view_of_map(m, s, FORM_FEATURES, &c->view);
        c->count = view_by_axes(l, &c->view, s, c->loop, err);
        if (c->count < 0)
            return false;
        if (!slice_axis(c, axis, start, count, step))
            return lower_refuse(l->node, err, "a slice of axis %d", axis);
    }
    s->dim[axis] = count;
    return true;
}

bool lower_getitem(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    struct shape s = n->inputs[0]->shape;
    int64_t starts[SHAPE_MAX_RANK], ends[SHAPE_MAX_RANK], steps[SHAPE_MAX_RANK],
        axes[SHAPE_MAX_RANK];
    int count, end_count, step_count, axis_count, picks, pick_count;
    struct cut c;
    if (!node_attr(n, "starts") && !node_attr(n, "select_axes") && n->input_count > 1)
        return lower_refuse(n, err, "the range is not constant");
    if (!infer_ints(n, "starts", starts, SHAPE_MAX_RANK, &count, err) ||
        !infer_ints(n, "ends", ends, SHAPE_MAX_RANK, &end_count, err) ||
        !infer_ints(n, "steps", steps, SHAPE_MAX_RANK, &step_count, err) ||
        !infer_ints(n, "axes", axes, SHAPE_MAX_RANK, &axis_count, err) ||
        !cut_value(l, n->inputs[0], &s, &c, err))
        return false;
    for (int i = 0; i < count; i++) {
        int64_t axis = axis_count > 0 ? axes[i] : i, step = step_count > 0 ? steps[i] : 1;
        axis += axis < 0 ? s.rank : 0;
        int64_t many = infer_slice(s.dim[axis], &starts[i], ends[i], step);
        if (many < 1)
            return lower_refuse(n, err, "the result has no elements");
        if (many == 1)
            step = 1;
        if (!take_slice(l, &c, &s, (int)axis, starts[i], many, step, err))
            return false;
    }
    if (!infer_ints(n, "select_axes", axes, SHAPE_MAX_RANK, &picks, err) ||
        !infer_ints(n, "select_indices", starts, SHAPE_MAX_RANK, &pick_count, err))
        return false;
    for (int i = 0; i < picks; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + s.rank : axes[i];
        int64_t at = starts[i] < 0 ? starts[i] + s.dim[axis] : starts[i];
        if (!take_slice(l, &c, &s, (int)axis, at, 1, 1, err))
            return false;
    }
    struct view out = empty_view(&c);
    for (int i = 0; i < c.count; i++)
        view_add(&out, c.loop[i].extent, c.loop[i].x_step, c.loop[i].x_axis);
    if (shape_elements(&s) != shape_elements(&n->outputs[0]->shape))
        return lower_refuse(n, err, "the result has another number of elements");
    return view_set(l, n->outputs[0], &out, 2, err);
}

/* split and chunk: the shapes of the results say where the cuts are, also of those nobody reads. */
bool lower_split(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *x = &n->inputs[0]->shape;
    int axis;
    int64_t at = 0;
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err))
        return false;
    for (int i = 0; i < n->output_count; i++) {
        const struct value *y = n->outputs[i];
        struct shape s = *x;
        struct cut c;
        int64_t many = y->shape.rank == x->rank ? y->shape.dim[axis] : -1;
        if (many < 0 || many > x->dim[axis] - at)
            return lower_refuse(n, err, "result %d does not fit", i);
        if (many > 0) {
            if (!cut_value(l, n->inputs[0], x, &c, err) ||
                !take_slice(l, &c, &s, axis, at, many, 1, err))
                return false;
            struct view out = empty_view(&c);
            for (int k = 0; k < c.count; k++)
                view_add(&out, c.loop[k].extent, c.loop[k].x_step, c.loop[k].x_axis);
            if (!view_set(l, y, &out, 2, err))
                return false;
        }
        at += many;
    }
    return true;
}
