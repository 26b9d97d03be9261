/* lower_view: see the header.  A copy is one COPY where its loops are few enough and cut at common
 * places; else two, by way of a map whose elements all lie in one row of channels. */
#include "core/compile/lower_view.h"

#include <stdlib.h>
#include <string.h>

enum { AXIS_N, AXIS_H, AXIS_W, AXIS_C };

/* ── digits ── */

int view_digits(const struct shape *s, enum form f, struct digit out[SHAPE_MAX_RANK])
{
    for (int d = 0; d < s->rank; d++) {
        out[d].extent = s->dim[d];
        out[d].axis = form_axis(s, f, d, &out[d].step);
    }
    return s->rank;
}

void view_add(struct view *v, int64_t extent, int64_t step, int axis)
{
    struct digit *last = v->count ? &v->digit[v->count - 1] : NULL;
    if (extent == 1)
        return;
    bool one = last && last->step == step * extent && (step == 0 || last->axis == axis);
    if (one) {
        last->extent *= extent;
        last->step = step;
    } else if (v->count == VIEW_MAX_DIGITS) {
        v->full = true;
    } else {
        v->digit[v->count++] = (struct digit){extent, step, axis};
    }
}

void view_of_map(struct map *m, const struct shape *s, enum form f, struct view *out)
{
    struct digit d[SHAPE_MAX_RANK];
    int count = view_digits(s, f, d);
    *out = (struct view){.map = m};
    for (int i = 0; i < count; i++)
        view_add(out, d[i].extent, d[i].step, d[i].axis);
}

bool view_of_value(struct lowering *l, const struct value *v, struct view *out,
                   struct bpu_error *err)
{
    for (int f = 0; f < FORM_COUNT; f++)
        if (l->maps[f][v->index]) {
            view_of_map(l->maps[f][v->index], &v->shape, (enum form)f, out);
            return true;
        }
    if (l->views[v->index]) {
        *out = *l->views[v->index];
        return true;
    }
    enum form f = lower_form(l, v);
    if (v->constant) {
        struct map *m = lower_map(l, v, f, err);
        if (m)
            view_of_map(m, &v->shape, f, out);
        return m != NULL;
    }
    if (l->behind[v->index] || dtype_is_float(v->dtype)) {
        lower_refuse(l->node, err, "\"%s\" is a real number inside the network", v->name);
        return error_hint(err, "Quantize the network with `bpuhub quantize`, and keep QuantStub at "
                               "its inputs and DeQuantStub at its outputs.");
    }
    return lower_refuse(l->node, err, "\"%s\" is not computed by this machine", v->name);
}

int view_refine(const struct digit *to, int count, const struct view *view, struct view_loop *out,
                int max)
{
    int i = count - 1, k = view->count - 1, found = max;
    int64_t a = 1, b = 1, a_step = 0, b_step = 0;
    int a_axis = 0, b_axis = 0;
    for (;;) {
        for (; a == 1 && i >= 0; i--) {
            a = to[i].extent; /* NOLINT(clang-analyzer-core.uninitialized.Assign): count of them are filled */
            a_step = to[i].step;
            a_axis = to[i].axis;
        }
        for (; b == 1 && k >= 0; k--) {
            b = view->digit[k].extent;
            b_step = view->digit[k].step;
            b_axis = view->digit[k].axis;
        }
        if (a == 1 && b == 1)
            break;
        int64_t e = a < b ? a : b;
        if (e <= 1 || a % e || b % e || found == 0)
            return -1;
        out[--found] = (struct view_loop){e, a_axis, b_axis, a_step, b_step};
        a /= e;
        b /= e;
        a_step *= e;
        b_step *= e;
    }
    memmove(out, out + found, (size_t)(max - found) * sizeof *out);
    return max - found;
}

static int by_place(const void *a, const void *b)
{
    const struct view_loop *p = a, *q = b;
    if (p->y_axis != q->y_axis)
        return p->y_axis < q->y_axis ? -1 : 1;
    return p->y_step > q->y_step ? -1 : p->y_step < q->y_step;
}

/* In the order in which y lies; loops that walk like one become one. */
static int join_loops(struct view_loop *v, int count)
{
    int kept = 0;
    qsort(v, (size_t)count, sizeof *v, by_place);
    for (int i = 0; i < count; i++) {
        struct view_loop *last = kept ? &v[kept - 1] : NULL;
        bool one = last && last->y_axis == v[i].y_axis &&
                   last->y_step == v[i].y_step * v[i].extent &&
                   (last->x_axis == v[i].x_axis || v[i].x_step == 0) &&
                   last->x_step == v[i].x_step * v[i].extent;
        if (one) {
            v[i].extent *= last->extent;
            *last = v[i];
        } else {
            v[kept++] = v[i];
        }
    }
    return kept;
}

/* ── copies ── */

/* A piece of a COPY makes fewer rows, or fewer frames: loops that are alone on that axis of y. */
static void fit_copy(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    for (int i = 0; i < args[COPY_LOOPS]; i++) {
        int32_t *loop = args + COPY_LOOP(i);
        if (loop[COPY_Y_AXIS] == AXIS_N && !l->whole)
            loop[COPY_EXTENT] = p->f1 - p->f0;
        if (loop[COPY_Y_AXIS] == AXIS_H && !l->whole && !l->whole_frame)
            loop[COPY_EXTENT] = p->r1 - p->r0;
    }
}

/* Loops that move along an axis of y, or of x. */
static int on_axis(const struct view_loop *v, int count, int axis, bool of_x, int *which)
{
    int found = 0;
    for (int i = 0; i < count; i++)
        if (of_x ? v[i].x_axis == axis && v[i].x_step : v[i].y_axis == axis) {
            *which = i;
            found++;
        }
    return found;
}

/* How a COPY may be cut, and what its pieces need. */
static void cut_copy(struct layer *layer, const struct view_loop *v, int count)
{
    const struct map *x = layer->in[0].map, *y = layer->out[0];
    int row = -1, frame = -1, any;
    int rows = on_axis(v, count, AXIS_H, false, &row);
    int frames = on_axis(v, count, AXIS_N, false, &frame);
    int x_rows = on_axis(v, count, AXIS_H, true, &any), x_frames = on_axis(v, count, AXIS_N, true, &any);
    bool whole_rows = rows > 1 || (rows == 1 && v[row].y_step != 1);
    /* Frame f of y reads frame f of x, or the only one. */
    bool by_frame = frames == 0 ? x_frames == 0 && y->n == 1
                                : frames == 1 && v[frame].y_step == 1 &&
                                      (v[frame].x_step == 0 ? x_frames == 0 && x->n == 1
                                                            : v[frame].x_axis == AXIS_N &&
                                                                  v[frame].x_step == 1 &&
                                                                  x_frames == 1);
    layer->in[0].need = NEED_FRAME;
    if (rows == 1 && !whole_rows) {
        if (v[row].x_step == 0) {
            if (x_rows == 0 && x->h == 1)
                layer->in[0].need = NEED_SAME;
        } else if (v[row].x_axis == AXIS_H && v[row].x_step > 0 && x_rows == 1) {
            layer->in[0].need = v[row].x_step == 1 ? NEED_SAME : NEED_WINDOW;
            layer->window.stride = (int)v[row].x_step;
        } else {
            whole_rows = true; /* rows of y are columns or channels of x */
        }
    }
    layer->whole_frame = whole_rows;
    layer->whole = !by_frame;
    if (!by_frame) {
        layer->whole_frame = true;
        layer->in[0].need = NEED_ALL;
    }
    layer->fit = fit_copy;
}

/* One COPY with these loops. */
static bool add_copy(struct lowering *l, const struct view *view, struct map *y,
                     const struct view_loop *v, int count, int rule, struct bpu_error *err)
{
    int64_t span[4] = {1, 1, 1, 1};
    for (int i = 0; i < count; i++)
        span[v[i].x_axis] += (v[i].extent - 1) * (v[i].x_step < 0 ? -v[i].x_step : v[i].x_step);
    struct map *m = view->map, *x = m;
    if (view->off[AXIS_H] || view->off[AXIS_W] || view->off[AXIS_C] || span[AXIS_H] < m->h ||
        span[AXIS_W] < m->w || span[AXIS_C] < m->c)
        x = lower_part(l, m, m->name, (int)view->off[AXIS_H], (int)span[AXIS_H],
                       (int)view->off[AXIS_W], (int)span[AXIS_W], (int)view->off[AXIS_C],
                       (int)span[AXIS_C], err);
    struct layer *layer = x ? lower_layer(l, OP_COPY, l->node, y, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, x, NEED_FRAME);
    layer->args[COPY_RULE] = rule;
    layer->args[COPY_LOOPS] = count;
    for (int i = 0; i < count; i++) {
        int32_t *loop = layer->args + COPY_LOOP(i);
        loop[COPY_EXTENT] = (int32_t)v[i].extent;
        loop[COPY_Y_AXIS] = v[i].y_axis;
        loop[COPY_Y_STEP] = (int32_t)v[i].y_step;
        loop[COPY_X_AXIS] = v[i].x_step ? v[i].x_axis : v[i].y_axis;
        loop[COPY_X_STEP] = (int32_t)v[i].x_step;
    }
    cut_copy(layer, v, count);
    return true;
}

/* The map that holds all elements of `m` in its own order in one row of channels. */
static struct map *in_one_row(struct lowering *l, struct map *m, struct bpu_error *err)
{
    int64_t all = (int64_t)m->n * m->h * m->w * m->c;
    if (all > INT32_MAX) {
        lower_refuse(l->node, err, "\"%s\" has %lld elements that would have to change places",
                     m->name, (long long)all);
        return NULL;
    }
    return lower_temporary(l, m, "row", 1, 1, 1, (int)all, err);
}

/* More copies for one order of elements would be no program any more. */
#define MOST_COPIES 256

/* The view's elements in their order into a row of channels.  Each step of counters that are more than
 * a COPY has becomes a copy of its own. */
static bool into_row(struct lowering *l, const struct view *view, struct map *row, int64_t copies,
                     struct bpu_error *err)
{
    struct digit all = {row->c, 1, AXIS_C};
    const struct digit *first = &view->digit[0];
    if (view->count <= COPY_MAX_LOOPS)
        return view_copy(l, view, row, &all, 1, 0, err);
    copies *= first->extent;
    if (copies > MOST_COPIES)
        return lower_refuse(l->node, err, "elements would have to be moved by %d nested loops; the "
                            "machine has %d", view->count, COPY_MAX_LOOPS);
    int64_t inner = row->c / first->extent;
    for (int64_t i = 0; i < first->extent; i++) {
        struct view rest = *view;
        rest.off[first->axis] +=
            first->step < 0 ? (first->extent - 1 - i) * -first->step : i * first->step;
        rest.count--;
        memmove(rest.digit, rest.digit + 1, (size_t)rest.count * sizeof *rest.digit);
        struct map *part = lower_part(l, row, row->name, 0, 1, 0, 1, (int)(i * inner), (int)inner, err);
        if (!part || !into_row(l, &rest, part, copies, err))
            return false;
    }
    return true;
}

/* The view again, of a copy that holds its elements in their order: it can be cut anywhere. */
static bool straighten(struct lowering *l, struct view *view, struct bpu_error *err)
{
    int64_t all = 1;
    for (int i = 0; i < view->count; i++)
        if (__builtin_mul_overflow(all, view->digit[i].extent, &all) || all > INT32_MAX)
            return lower_refuse(l->node, err, "\"%s\" has too many elements that would have to "
                                "change places", view->map->name);
    struct map *row = lower_temporary(l, view->map, "row", 1, 1, 1, (int)all, err);
    if (!row || !into_row(l, view, row, 1, err))
        return false;
    *view = (struct view){.map = row};
    view_add(view, all, 1, AXIS_C);
    return true;
}

/* Parts have no first frame: a view that begins behind the first one is taken from a copy of
 * everything. */
static bool without_frames(struct lowering *l, struct view *view, struct bpu_error *err)
{
    struct map *m = view->map, *row = in_one_row(l, m, err);
    int64_t stride[4] = {(int64_t)m->h * m->w * m->c, (int64_t)m->w * m->c, m->c, 1}, off = 0;
    struct digit to = {row ? row->c : 0, 1, AXIS_C};
    struct view all = {.map = m};
    view_add(&all, m->n, 1, AXIS_N);
    view_add(&all, m->h, 1, AXIS_H);
    view_add(&all, m->w, 1, AXIS_W);
    view_add(&all, m->c, 1, AXIS_C);
    if (!row || !view_copy(l, &all, row, &to, 1, 0, err))
        return false;
    struct view out = {.map = row};
    for (int i = 0; i < 4; i++)
        off += view->off[i] * stride[i];
    out.off[AXIS_C] = off;
    for (int i = 0; i < view->count; i++)
        view_add(&out, view->digit[i].extent,
                 view->digit[i].step * stride[view->digit[i].axis], AXIS_C);
    *view = out;
    return true;
}

bool view_copy(struct lowering *l, const struct view *view, struct map *y, const struct digit *to,
               int count, int rule, struct bpu_error *err)
{
    struct view from = *view;
    struct view_loop loop[2 * VIEW_MAX_DIGITS];
    if (from.full)
        return lower_refuse(l->node, err, "the order of the elements is too intricate");
    if (from.off[AXIS_N] && !without_frames(l, &from, err))
        return false;
    int loops = view_refine(to, count, &from, loop, 2 * VIEW_MAX_DIGITS);
    if (loops >= 0)
        loops = join_loops(loop, loops);
    if (loops < 0 || loops > COPY_MAX_LOOPS) {
        bool straight = from.count == 1 && from.digit[0].step == 1;
        if (straight)
            return lower_refuse(l->node, err, "elements would have to be moved by %d nested loops; "
                                "the machine has %d", loops, COPY_MAX_LOOPS);
        return straighten(l, &from, err) && view_copy(l, &from, y, to, count, rule, err);
    }
    return add_copy(l, &from, y, loop, loops, rule, err);
}

/* ── maps of views ── */

/* The map, or the part of it, whose elements are the view's in the order of the form. */
static bool same_order(struct lowering *l, const struct view *view, const struct shape *s,
                       enum form f, const int64_t extent[4], struct map **out,
                       const char *name, struct bpu_error *err)
{
    struct digit to[SHAPE_MAX_RANK];
    struct view_loop loop[2 * VIEW_MAX_DIGITS];
    struct map *m = view->map;
    int loops = view_refine(to, view_digits(s, f, to), view, loop, 2 * VIEW_MAX_DIGITS);
    *out = NULL;
    if (loops < 0 || view->off[AXIS_N] || extent[AXIS_N] != m->n ||
        !part_aligned(l, m->off_h + view->off[AXIS_H], m->off_w + view->off[AXIS_W],
                      m->off_c + view->off[AXIS_C]))
        return true;
    for (int i = 0; i < loops; i++)
        if (loop[i].y_axis != loop[i].x_axis || loop[i].y_step != loop[i].x_step)
            return true;
    *out = lower_part(l, m, name, (int)view->off[AXIS_H], (int)extent[AXIS_H],
                      (int)view->off[AXIS_W], (int)extent[AXIS_W], (int)view->off[AXIS_C],
                      (int)extent[AXIS_C], err);
    return *out != NULL;
}

struct map *view_map(struct lowering *l, const struct view *view, const char *name,
                     const struct shape *s, enum form f, struct bpu_error *err)
{
    int64_t e[4];
    char text[SHAPE_TEXT_MAX];
    struct map *found;
    struct digit to[SHAPE_MAX_RANK];
    int64_t all = shape_elements(s);
    if (view->full || !form_extents(s, f, e) || all <= 0) {
        lower_refuse(l->node, err, "\"%s\" of shape %s cannot be brought into an order of the machine",
                     name, shape_text(s, text));
        return NULL;
    }
    if (!same_order(l, view, s, f, e, &found, name, err))
        return NULL;
    if (found)
        return found;
    const struct map *m = view->map;
    struct map *y = network_map(l->net, name, (int)e[0], (int)e[1], (int)e[2], (int)e[3], m->dtype,
                                m->scale, m->zero, err);
    int count = view_digits(s, f, to);
    return y && view_copy(l, view, y, to, count, 0, err) ? y : NULL;
}

int view_by_axes(struct lowering *l, struct view *view, const struct shape *s,
                 struct view_loop out[VIEW_MAX_DIGITS], struct bpu_error *err)
{
    struct digit to[SHAPE_MAX_RANK];
    for (int d = 0; d < s->rank; d++)
        to[d] = (struct digit){s->dim[d], 1, d};
    int count = view->full ? -1 : view_refine(to, s->rank, view, out, VIEW_MAX_DIGITS);
    if (count >= 0)
        return count;
    if (view->full) {
        lower_refuse(l->node, err, "the order of the elements is too intricate");
        return -1;
    }
    return straighten(l, view, err) ? view_refine(to, s->rank, view, out, VIEW_MAX_DIGITS) : -1;
}

/* A quantized value keeps its bytes where type and scale agree. */
static bool same_numbers(const struct map *m, const struct value *v)
{
    if (m->dtype != v->dtype)
        return false;
    if (!dtype_is_quantized(v->dtype) || v->dtype == DT_QBOOL || v->quant.count < 1)
        return true;
    int64_t zero = v->quant.zero_point ? v->quant.zero_point[0] : 0;
    return v->quant.scale[0] == m->scale && zero == m->zero;
}

bool view_set(struct lowering *l, const struct value *v, const struct view *view, int rule,
              struct bpu_error *err)
{
    if (view->full)
        return lower_refuse(l->node, err, "the order of the elements is too intricate");
    struct view *kept = ARENA_NEW(l->arena, struct view, err);
    if (!kept)
        return false;
    *kept = *view;
    l->views[v->index] = kept;
    if (same_numbers(view->map, v))
        return true;
    struct digit to[SHAPE_MAX_RANK];
    enum form f = lower_form(l, v);
    struct map *y = lower_result(l, v, f, err);
    int count = view_digits(&v->shape, f, to);
    l->views[v->index] = NULL;
    return y && view_copy(l, view, y, to, count, rule, err);
}
