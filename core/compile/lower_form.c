/* lower_form: how the axes of a value lie in a map, and the maps of values. */
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/compile/lower_view.h"
#include "core/ops/infer.h"

enum { AXIS_N, AXIS_H, AXIS_W, AXIS_C };

/* The axis that a dimension lies on, without its place there. */
static int axis_of(int rank, enum form f, int dim)
{
    if (f == FORM_IMAGE && rank > 1)
        return dim == 0          ? AXIS_N
               : dim == 1        ? AXIS_C
               : dim == rank - 1 ? AXIS_W
                                 : AXIS_H;
    int from_end = rank - 1 - dim;
    return from_end == 0 ? AXIS_C : from_end == 1 ? AXIS_W : from_end == 2 ? AXIS_H : AXIS_N;
}

bool form_extents(const struct shape *s, enum form f, int64_t out[4])
{
    for (int i = 0; i < 4; i++)
        out[i] = 1;
    for (int d = 0; d < s->rank; d++) {
        int64_t *extent = &out[axis_of(s->rank, f, d)];
        if (s->dim[d] < 0 || !checked_mul(*extent, s->dim[d], extent) || *extent > INT32_MAX)
            return false;
    }
    return true;
}

int form_axis(const struct shape *s, enum form f, int dim, int64_t *step)
{
    int axis = axis_of(s->rank, f, dim);
    *step = 1;
    for (int d = dim + 1; d < s->rank; d++)
        if (axis_of(s->rank, f, d) == axis)
            *step *= s->dim[d];
    return axis;
}

bool form_alone(const struct shape *s, enum form f, int dim)
{
    int axis = axis_of(s->rank, f, dim);
    for (int d = 0; d < s->rank; d++)
        if (d != dim && s->dim[d] != 1 && axis_of(s->rank, f, d) == axis)
            return false;
    return true;
}

bool form_same(const struct shape *s)
{
    for (int d = 0; d < s->rank; d++) {
        int64_t image, features;
        if (s->dim[d] != 1 && (form_axis(s, FORM_IMAGE, d, &image) !=
                                   form_axis(s, FORM_FEATURES, d, &features) ||
                               image != features))
            return false;
    }
    return true;
}

enum form lower_form(const struct lowering *l, const struct value *v)
{
    bool image = l->maps[FORM_IMAGE][v->index], features = l->maps[FORM_FEATURES][v->index];
    if (image != features)
        return image ? FORM_IMAGE : FORM_FEATURES;
    if (!image && l->views[v->index]) { /* the order in which it lies already, if there is one */
        const struct view *view = l->views[v->index];
        struct digit to[SHAPE_MAX_RANK];
        struct view_loop loop[VIEW_MAX_DIGITS];
        int best = VIEW_MAX_DIGITS + 1;
        enum form found = FORM_IMAGE;
        for (int f = 0; f < FORM_COUNT; f++) {
            int count = view_digits(&v->shape, (enum form)f, to), moved = 0;
            int loops = view_refine(to, count, view, loop, VIEW_MAX_DIGITS);
            for (int i = 0; i < loops; i++)
                moved += loop[i].y_axis != loop[i].x_axis || loop[i].y_step != loop[i].x_step;
            if (loops >= 0 && moved < best) {
                best = moved;
                found = (enum form)f;
            }
        }
        return found;
    }
    return v->shape.rank == 4 || v->shape.rank == 5 ? FORM_IMAGE : FORM_FEATURES;
}

/* ── maps ── */

/* The fields of a map of v as shape s. */
static struct map *map_of(struct lowering *l, const struct value *v, const struct shape *s,
                          enum form f, struct bpu_error *err)
{
    int64_t e[4];
    char text[SHAPE_TEXT_MAX];
    if (s->rank < 0 || !form_extents(s, f, e)) {
        lower_refuse(l->node, err, "\"%s\" has shape %s, more than the machine can count", v->name,
                     shape_text(s, text));
        return NULL;
    }
    for (int i = 0; i < 4; i++)
        if (e[i] == 0) {
            lower_refuse(l->node, err, "\"%s\" has shape %s, no elements", v->name,
                         shape_text(s, text));
            return NULL;
        }
    bool scaled = v->quant.count > 0 && dtype_is_quantized(v->dtype) && v->dtype != DT_QBOOL;
    int64_t zero = scaled && v->quant.zero_point ? v->quant.zero_point[0] : 0;
    struct map *m =
        network_map(l->net, v->name, (int)e[0], (int)e[1], (int)e[2], (int)e[3], v->dtype,
                    scaled ? v->quant.scale[0] : 0, (int32_t)zero, err);
    if (m)
        m->value = v;
    return m;
}

/* Content of a constant in the order of the form. */
static struct map *map_of_constant(struct lowering *l, const struct value *v, const struct shape *s,
                                   enum form f, struct bpu_error *err)
{
    struct digit d[SHAPE_MAX_RANK];
    struct map *m = NULL;
    if (!lower_constant(l->node, v, "an operand", err) || !(m = map_of(l, v, s, f, err)))
        return NULL;
    int64_t count = shape_elements(s), stride[4] = {0}, index[SHAPE_MAX_RANK] = {0}, at = 0;
    size_t size = dtype_size(v->dtype), bytes;
    if (size == 0 || !checked_size_mul((size_t)count, size, &bytes) ||
        bytes > v->constant->bytes) {
        lower_refuse(l->node, err, "the constant \"%s\" is incomplete", v->name);
        return NULL;
    }
    unsigned char *data = arena_reserve(l->arena, bytes, err);
    if (!data)
        return NULL;
    stride[AXIS_C] = 1;
    stride[AXIS_W] = m->c;
    stride[AXIS_H] = stride[AXIS_W] * m->w;
    stride[AXIS_N] = stride[AXIS_H] * m->h;
    int rank = view_digits(s, f, d);
    for (int64_t i = 0; i < count; i++) {
        memcpy(data + (size_t)at * size, v->constant->data + (size_t)i * size, size);
        for (int k = rank - 1; k >= 0; k--) {
            int64_t step = stride[d[k].axis] * d[k].step;
            at += step;
            if (++index[k] < d[k].extent)
                break;
            at -= step * d[k].extent;
            index[k] = 0;
        }
    }
    m->constant = data;
    return m;
}

static struct map *make_map(struct lowering *l, const struct value *v, const struct shape *s,
                            enum form f, struct bpu_error *err)
{
    struct view view;
    if (v->constant)
        return map_of_constant(l, v, s, f, err);
    return view_of_value(l, v, &view, err) ? view_map(l, &view, v->name, s, f, err) : NULL;
}

struct map *lower_map(struct lowering *l, const struct value *v, enum form f, struct bpu_error *err)
{
    struct map **m = &l->maps[f][v->index];
    if (!*m)
        *m = make_map(l, v, &v->shape, f, err);
    return *m;
}

struct map *lower_map_as(struct lowering *l, const struct value *v, const struct shape *as,
                         enum form f, struct bpu_error *err)
{
    return shape_equal(&v->shape, as) ? lower_map(l, v, f, err) : make_map(l, v, as, f, err);
}

struct map *lower_result(struct lowering *l, const struct value *v, enum form f,
                         struct bpu_error *err)
{
    struct map *m = map_of(l, v, &v->shape, f, err);
    if (m)
        l->maps[f][v->index] = m;
    return m;
}

struct map *lower_result_as(struct lowering *l, const struct value *v, const struct shape *as,
                            enum form f, struct bpu_error *err)
{
    if (shape_equal(&v->shape, as))
        return lower_result(l, v, f, err);
    struct map *m = map_of(l, v, as, f, err);
    struct view *view = m ? ARENA_NEW(l->arena, struct view, err) : NULL;
    if (!view)
        return NULL;
    view_of_map(m, as, f, view);
    l->views[v->index] = view;
    return m;
}

void lower_alias(struct lowering *l, const struct value *v, enum form f, struct map *part)
{
    l->maps[f][v->index] = part;
}

struct map *lower_temporary(struct lowering *l, const struct map *like, const char *what, int n,
                            int h, int w, int c, struct bpu_error *err)
{
    char *name = arena_printf(l->arena, err, "%s.%s", like->name, what);
    return name ? network_map(l->net, name, n, h, w, c, like->dtype, like->scale, like->zero, err)
                : NULL;
}

/* ── parts ── */

struct map *lower_part(struct lowering *l, struct map *of, const char *name, int off_h, int h,
                       int off_w, int w, int off_c, int c, struct bpu_error *err)
{
    if (off_h == 0 && off_w == 0 && off_c == 0 && h == of->h && w == of->w && c == of->c)
        return of;
    struct map *root = map_root(of);
    struct map *m = network_map(l->net, name, of->n, h, w, c, of->dtype, of->scale, of->zero, err);
    if (!m)
        return NULL;
    m->parent = root;
    m->off_h = off_h + of->off_h;
    m->off_w = off_w + of->off_w;
    m->off_c = off_c + of->off_c;
    return m;
}

bool part_aligned(const struct lowering *l, int64_t off_h, int64_t off_w, int64_t off_c)
{
    for (int i = 0; i < MACHINE_MAX_BLOCKS && l->net->machine->blocks[i].h; i++) {
        const struct machine_block *b = &l->net->machine->blocks[i];
        if (off_h % b->h || off_w % b->w || off_c % b->c)
            return false;
    }
    return true;
}

void part_move(struct lowering *l, struct map *m, struct map *into, int off_h, int off_w, int off_c)
{
    struct map *root = map_root(into);
    off_h += into->off_h;
    off_w += into->off_w;
    off_c += into->off_c;
    for (int i = 0; i < l->net->map_count; i++) {
        struct map *part = l->net->maps[i];
        if (part != m && part->parent != m)
            continue;
        part->parent = root;
        part->off_h += off_h;
        part->off_w += off_w;
        part->off_c += off_c;
    }
}

/* ── operands that are repeated ── */

/* The shape of v with leading ones, as long as `to`. */
static bool leading_ones(const struct value *v, const struct shape *to, struct shape *out)
{
    int more = to->rank - v->shape.rank;
    if (more < 0)
        return false;
    out->rank = to->rank;
    for (int d = 0; d < to->rank; d++) {
        out->dim[d] = d < more ? 1 : v->shape.dim[d - more];
        if (out->dim[d] != 1 && out->dim[d] != to->dim[d])
            return false;
    }
    return true;
}

struct map *lower_broadcast(struct lowering *l, const struct value *v, const struct shape *to,
                            enum form f, struct bpu_error *err)
{
    struct shape own, wide;
    bool some[4] = {false}; /* by map axis: a dimension there that is not repeated */
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    if (!leading_ones(v, to, &own)) {
        lower_refuse(l->node, err, "an operand of shape %s beside a result of shape %s",
                     shape_text(&v->shape, a), shape_text(to, b));
        return NULL;
    }
    wide = own;
    for (int d = 0; d < own.rank; d++)
        if (own.dim[d] != 1)
            some[axis_of(own.rank, f, d)] = true;
    for (int d = 0; d < own.rank; d++)
        if (some[axis_of(own.rank, f, d)])
            wide.dim[d] = to->dim[d]; /* dimensions that share an axis are repeated together */
    if (shape_equal(&own, &wide))
        return lower_map_as(l, v, &own, f, err);
    struct view from, view;
    struct view_loop loop[VIEW_MAX_DIGITS];
    struct map *made = NULL;
    if (v->constant) {
        if (!(made = map_of_constant(l, v, &own, f, err)))
            return NULL;
        view_of_map(made, &own, f, &from);
    } else if (!view_of_value(l, v, &from, err)) {
        return NULL;
    }
    int count = view_by_axes(l, &from, &own, loop, err);
    if (count < 0)
        return NULL;
    view = (struct view){.map = from.map};
    memcpy(view.off, from.off, sizeof view.off);
    for (int d = 0; d < own.rank; d++) {
        if (wide.dim[d] != own.dim[d])
            view_add(&view, wide.dim[d], 0, AXIS_W);
        for (int i = 0; i < count; i++)
            if (loop[i].y_axis == d)
                view_add(&view, loop[i].extent, loop[i].x_step, loop[i].x_axis);
    }
    return view_map(l, &view, v->name, &wide, f, err);
}
