/* Quantities of shapes: extents of one value, by the names of their axes. */
#include "core/base/checked.h"
#include "core/check/rules.h"

/* A linear layer or a batch norm seen as a convolution works on [N, C, 1, 1]. */
static struct shape seen_shape(const struct subject *s, const struct value *v)
{
    struct shape x = v->shape;
    if (s->view == VIEW_CONV && x.rank >= 1 && x.rank < 4 && s->ctx->role == ROLE_LINEAR) {
        int64_t n = x.dim[0], c = x.dim[x.rank - 1];
        return shape_of(4, (const int64_t[]){x.rank >= 2 ? n : 1, c, 1, 1});
    }
    return x;
}

static bool extent(const struct subject *s, const struct value *v, const char *name,
                   struct measure *out)
{
    if (!v)
        return false;
    struct shape x = seen_shape(s, v);
    for (int i = 0; i < x.rank; i++) {
        const char *axis = axis_name(x.rank, i);
        if (axis[0] == name[0] && axis[1] == '\0')
            return x.dim[i] >= 0 && measure_number(out, (double)x.dim[i]);
    }
    return false;
}

bool quantity_rank(const struct subject *s, const struct value *v, struct measure *out)
{
    return v && v->shape.rank >= 0 && measure_number(out, seen_shape(s, v).rank);
}

bool quantity_dim_n(const struct subject *s, const struct value *v, struct measure *out)
{
    return extent(s, v, "N", out);
}

/* A sequence is [length, batch, features] unless the batch comes first. */
bool quantity_batch(const struct subject *s, const struct value *v, struct measure *out)
{
    if (v && s->n->op->class == OPC_RECURRENT && v->shape.rank == 3 &&
        !node_bool(s->n, "batch_first", false))
        return v->shape.dim[1] >= 0 && measure_number(out, (double)v->shape.dim[1]);
    return extent(s, v, "N", out);
}

bool quantity_dim_c(const struct subject *s, const struct value *v, struct measure *out)
{
    return extent(s, v, "C", out);
}

bool quantity_dim_d(const struct subject *s, const struct value *v, struct measure *out)
{
    return extent(s, v, "D", out);
}

bool quantity_dim_h(const struct subject *s, const struct value *v, struct measure *out)
{
    return extent(s, v, "H", out);
}

bool quantity_dim_w(const struct subject *s, const struct value *v, struct measure *out)
{
    return extent(s, v, "W", out);
}

/* The product of the extents from axis `first` on; false on overflow or unknown extents. */
static bool product(const struct shape *x, int first, int64_t *out)
{
    *out = 1;
    for (int i = first; i < x->rank; i++) {
        if (x->dim[i] < 0 || !checked_mul(*out, x->dim[i], out))
            return false;
    }
    return true;
}

bool quantity_hw(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t n;
    if (!v)
        return false;
    struct shape x = seen_shape(s, v);
    return x.rank >= 2 && product(&x, x.rank - 2, &n) && measure_number(out, (double)n);
}

bool quantity_chw(const struct subject *s, const struct value *v, struct measure *out)
{
    int64_t n;
    if (!v)
        return false;
    struct shape x = seen_shape(s, v);
    return x.rank >= 2 && product(&x, 1, &n) && measure_number(out, (double)n);
}

static double align_up(double v, double to)
{
    double rest = v - to * (double)(int64_t)(v / to);
    return rest > 0 ? v + to - rest : v;
}

bool quantity_aligned_chw(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)s;
    if (!v || v->shape.rank < 2 || !shape_is_static(&v->shape))
        return false;
    int r = v->shape.rank;
    double c = (double)v->shape.dim[1], w = r >= 3 ? (double)v->shape.dim[r - 1] : 1;
    double h = r >= 4 ? (double)v->shape.dim[r - 2] : 1;
    double by_8w4c = h * align_up(w, 8) * align_up(c, 4), by_32c = h * w * align_up(c, 32);
    return measure_number(out, by_8w4c < by_32c ? by_8w4c : by_32c);
}

static double element_bytes(const struct subject *s, const struct value *v)
{
    size_t size = dtype_size(judged_dtype(s, v));
    return size ? (double)size : 1;
}

bool quantity_tensor_bytes(const struct subject *s, const struct value *v, struct measure *out)
{
    if (!v || !shape_is_static(&v->shape))
        return false;
    double n = element_bytes(s, v);
    for (int i = 0; i < v->shape.rank; i++)
        n *= (double)v->shape.dim[i];
    return measure_number(out, n);
}

bool quantity_aligned_bytes(const struct subject *s, const struct value *v, struct measure *out)
{
    if (!v || v->shape.rank != 5 || !shape_is_static(&v->shape))
        return false;
    const int64_t *d = v->shape.dim; /* N C D H W */
    return measure_number(out, element_bytes(s, v) * (double)d[1] * (double)d[2] * (double)d[3] *
                                   align_up((double)d[4], 256));
}

static bool largest(const struct value *v, int first, int last, bool smallest, struct measure *out)
{
    int64_t best = -1;
    for (int i = first; v && i < last; i++) {
        int64_t d = v->shape.dim[i];
        if (d >= 0 && (best < 0 || (smallest ? d < best : d > best)))
            best = d;
    }
    return best >= 0 && measure_number(out, (double)best);
}

bool quantity_dim_size(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)s;
    if (!v)
        return false;
    for (int i = 0; i < v->shape.rank; i++) {
        if (v->shape.dim[i] == 0)
            return measure_number(out, 0);
    }
    return largest(v, 0, v->shape.rank, false, out);
}

bool quantity_dim_highest(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)s;
    return v && v->shape.rank >= 1 && largest(v, 0, 1, false, out);
}

bool quantity_dim_other(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)s;
    if (!v)
        return false;
    for (int i = 1; i < v->shape.rank; i++) {
        if (v->shape.dim[i] == 0)
            return measure_number(out, 0);
    }
    return largest(v, 1, v->shape.rank, false, out);
}

bool quantity_dim_batch(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)s;
    for (int i = 0; v && i < v->shape.rank - 2; i++) {
        if (v->shape.dim[i] == 0)
            return measure_number(out, 0);
    }
    return v && v->shape.rank > 2 && largest(v, 0, v->shape.rank - 2, false, out);
}

bool quantity_static_shape(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)v;
    for (int i = 0; i < s->n->input_count; i++) {
        if (s->n->inputs[i] && !shape_is_static(&s->n->inputs[i]->shape))
            return measure_bool(out, false);
    }
    return measure_bool(out, true);
}
