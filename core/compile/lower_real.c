/* lower_real: layouts for operators along axes, and constants as numbers. */
#include "core/compile/lower_real.h"

#include <string.h>

/* Each axis of the map holds only axes of the set, or none of it. */
static bool apart(const struct shape *s, enum form f, unsigned dims, unsigned *axes)
{
    unsigned in = 0, out = 0;
    for (int d = 0; d < s->rank; d++) {
        int64_t step;
        unsigned bit = 1u << form_axis(s, f, d, &step);
        if (dims & 1u << d)
            in |= bit; /* an axis of one element as well: the result has it too */
        else if (s->dim[d] != 1)
            out |= bit;
    }
    *axes = in;
    return !(in & out);
}

/* Neighbours that are both in the set, or both not, become one axis. */
static struct shape merged(const struct shape *s, unsigned dims, unsigned *set)
{
    struct shape m = {.rank = 0};
    *set = 0;
    for (int d = 0; d < s->rank; d++) {
        bool in = dims >> d & 1, before = m.rank > 0 && *set >> (m.rank - 1) & 1;
        if (m.rank > 0 && in == before) {
            m.dim[m.rank - 1] *= s->dim[d];
            continue;
        }
        *set |= (unsigned)in << m.rank;
        m.dim[m.rank++] = s->dim[d];
    }
    return m;
}

bool along_of(struct lowering *l, const struct node *n, const struct value *v, unsigned dims,
              struct along *out, struct bpu_error *err)
{
    enum form own = lower_form(l, v), other = own == FORM_IMAGE ? FORM_FEATURES : FORM_IMAGE;
    *out = (struct along){.as = v->shape, .dims = dims, .form = own, .axis = -1};
    if (!apart(&out->as, own, dims, &out->axes)) {
        out->form = other;
        if (!apart(&out->as, other, dims, &out->axes)) {
            out->form = FORM_FEATURES;
            out->as = merged(&v->shape, dims, &out->dims);
            if (out->as.rank > AXIS_COUNT || !apart(&out->as, out->form, out->dims, &out->axes))
                return lower_refuse(n, err, "its axes are scattered over %d axes of the operand",
                                    v->shape.rank);
        }
    }
    out->nesting = out->form == FORM_IMAGE && out->as.rank > 1 ? NEST_NCHW : NEST_NHWC;
    for (int a = 0; a < AXIS_COUNT; a++)
        if (out->axes == 1u << a)
            out->axis = a;
    return true;
}

struct shape along_with(const struct along *a, int64_t extent)
{
    struct shape s = a->as;
    for (int d = 0; d < s.rank; d++)
        if (a->dims & 1u << d)
            s.dim[d] = extent;
    return s;
}

void along_reads(struct layer *layer, struct map *x, unsigned axes)
{
    layer->whole = axes & 1u << AXIS_N;
    layer->whole_frame = axes & (1u << AXIS_N | 1u << AXIS_H);
    layer_reads(layer, x, layer->whole ? NEED_ALL : layer->whole_frame ? NEED_FRAME : NEED_SAME);
}

/* ── constants ── */

/* Element i: of quantized constants what it stands for. */
static bool constant_number(const struct value *v, int64_t i, double *out)
{
    const struct quant *q = &v->quant;
    if (!constant_real(v, i, out))
        return false;
    if (!dtype_is_quantized(v->dtype) || v->dtype == DT_QBOOL || q->count < 1)
        return true;
    int64_t inner = 1, c = 0;
    for (int d = q->axis + 1; d < v->shape.rank; d++)
        inner *= v->shape.dim[d];
    if (q->count > 1)
        c = i / inner % q->count;
    *out = (*out - (double)(q->zero_point ? q->zero_point[c] : 0)) * q->scale[c];
    return true;
}

double *lower_numbers(struct lowering *l, const struct node *n, const struct value *v,
                      const char *what, int64_t first, int64_t count, bool repeat,
                      struct bpu_error *err)
{
    if (!lower_constant(n, v, what, err))
        return NULL;
    int64_t there = shape_elements(&v->shape);
    repeat = repeat && there == 1;
    count = count > 0 ? count : there - first;
    int64_t needed = first + count;
    if (first < 0 || count < 0 || (!repeat && there < needed)) {
        lower_refuse(n, err, "%s has %lld elements, %lld are needed", what, (long long)there,
                     (long long)needed);
        return NULL;
    }
    double *out = ARENA_ARRAY(l->arena, double, count + 1, err);
    for (int64_t i = 0; out && i < count; i++)
        if (!constant_number(v, repeat ? 0 : first + i, &out[i])) {
            lower_refuse(n, err, "%s cannot be read as numbers", what);
            return NULL;
        }
    return out;
}

struct blob *lower_number_blob(struct lowering *l, const double *v, int64_t count, int *kind,
                               struct bpu_error *err)
{
    *kind = 0;
    for (int64_t i = 0; i < count && !*kind; i++)
        *kind = (double)(float)v[i] != v[i];
    if (*kind)
        return network_blob(l->net, v, count * 8, err);
    float *narrow = ARENA_ARRAY(l->arena, float, count + 1, err);
    for (int64_t i = 0; narrow && i < count; i++)
        narrow[i] = (float)v[i];
    return narrow ? network_blob(l->net, narrow, count * 4, err) : NULL;
}

bool lower_scaled(const struct node *n, const struct value *v, double *scale, struct bpu_error *err)
{
    if (dtype_is_quantized(v->dtype) && v->quant.count == 1) {
        *scale = v->quant.scale[0];
        return true;
    }
    return lower_refuse(n, err, "\"%s\" has no scale of its own", v->name);
}
