/* Writes into a part of a constant tensor: mask[2:4, 1:3] = 7.
 *
 * Networks build masks this way (shifted windows).  Views remember which elements of their base
 * they show; a write makes a new constant for the base.  Writing into a part of a feature map is
 * refused. */
#include <string.h>

#include "core/import/torchscript.h"

bool ts_view_of(struct py_value *v, struct py_view *out)
{
    if (!v || v->kind != PY_VALUE || !v->value->constant || !shape_is_static(&v->value->shape))
        return false;
    if (v->view) {
        *out = *v->view;
        return true;
    }
    if (v->base)
        return false;
    int64_t step = 1;
    out->offset = 0;
    for (int i = v->value->shape.rank - 1; i >= 0; i--) {
        out->stride[i] = step;
        step *= v->value->shape.dim[i]; /* a constant that exists: cannot overflow */
    }
    return true;
}

bool ts_note_view(struct ts_import *ts, struct py_value *base, struct py_value *v, int64_t offset,
                  const int64_t *stride)
{
    v->view = ARENA_NEW(ts->arena, struct py_view, ts->err);
    if (!v->view)
        return false;
    v->view->offset = offset;
    memcpy(v->view->stride, stride, sizeof v->view->stride);
    v->base = base->base && base->view ? base->base : base;
    return true;
}

static struct py_value *refused(struct ts_op *o)
{
    ts_bad(o->ts, BPU_UNSUPPORTED,
           "%s writes into a part of a tensor that is computed from the input", o->name);
    error_hint(o->ts->err,
               "Build the tensor with torch.cat, torch.where or padding instead of writing "
               "into parts of it.");
    return NULL;
}

/* Elements [index] of self become those of src, or the number src. */
static struct py_value *write_part(struct ts_op *o, struct py_value *self, struct py_value *src)
{
    struct ts_import *ts = o->ts;
    struct py_value *base = self->base;
    struct py_view *w = self->view;
    const struct value *to = base->value, *part = self->value;
    struct value *from = ts_value(ts, src, to);
    if (!from)
        return NULL;
    size_t size = dtype_size(to->dtype);
    int64_t count = shape_elements(&part->shape), total = shape_elements(&to->shape);
    int64_t given = shape_elements(&from->shape);
    if (!value_is_known(to) || !value_is_known(from) || (given != 1 && given != count) || total < 0)
        return refused(o);
    unsigned char *data = arena_alloc_array(ts->arena, (size_t)total, size, ts->err);
    if (!data)
        return NULL;
    memcpy(data, to->constant->data, (size_t)total * size);
    int64_t index[SHAPE_MAX_RANK] = {0}, at = w->offset;
    for (int64_t i = 0; i < count; i++) {
        double r;
        int64_t k;
        float f;
        if (at < 0 || at >= total)
            return ts_op_bad(o, "the part lies outside the tensor");
        unsigned char *p = data + (size_t)at * size;
        if (from->dtype == to->dtype)
            memcpy(p, from->constant->data + (size_t)(given == 1 ? 0 : i) * size, size);
        else if (to->dtype == DT_FLOAT32 && constant_real(from, given == 1 ? 0 : i, &r)) {
            f = (float)r;
            memcpy(p, &f, sizeof f);
        } else if (!dtype_is_float(to->dtype) && !dtype_is_quantized(to->dtype) &&
                   constant_int(from, given == 1 ? 0 : i, &k))
            memcpy(p, &k, size);
        else
            return refused(o);
        for (int d = part->shape.rank - 1; d >= 0; d--) {
            at += w->stride[d];
            if (++index[d] < part->shape.dim[d])
                break;
            at -= w->stride[d] * part->shape.dim[d];
            index[d] = 0;
        }
    }
    struct value *v = graph_add_constant(ts->graph, to->name, &to->shape, to->dtype, data,
                                         (size_t)total * size, ts->err);
    if (!v)
        return NULL;
    base->value = v;
    self->stale = true; /* nobody reads the view that was written through */
    return self;
}

static struct py_value *write(struct ts_op *o, struct py_value *self, struct py_value *src)
{
    struct ts_import *ts = o->ts;
    if (!self || self->kind != PY_VALUE || !src)
        return refused(o);
    if (self->base)
        return self->view && self->base->kind == PY_VALUE ? write_part(o, self, src) : refused(o);
    /* The whole tensor: the result is a new one of the same shape. */
    struct value *x = ts_value(ts, self, NULL), *y = x ? ts_value(ts, src, x) : NULL;
    if (!y)
        return NULL;
    if (!shape_equal(&x->shape, &y->shape)) {
        struct node *n =
            shape_is_static(&x->shape) ? ts_begin(o, "torch.Tensor.expand", NULL) : NULL;
        if (!n)
            return refused(o);
        if (!node_add_input(ts->graph, n, y, ts->err) ||
            !node_set_ints(ts->graph, n, "size", x->shape.dim, x->shape.rank, ts->err) ||
            !(y = ts_finish_value(o, n)))
            return NULL;
    }
    self->value = y;
    return self;
}

/* fill_(x, value) and zero_(x). */
struct py_value *ts_fill(struct ts_op *o)
{
    struct py_value *zero = ts_int(o->ts, 0), *value = ts_arg(o, "value");
    return zero ? write(o, ts_arg(o, "self"), value ? value : zero) : NULL;
}

struct py_value *ts_copy(struct ts_op *o)
{
    return write(o, ts_arg(o, "self"), ts_arg(o, "src"));
}
