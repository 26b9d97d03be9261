/* real_resize: interpolation, axis by axis.
 *
 * For each result position of an axis a list of taps (position, weight) is made; a pass along the
 * axis replaces each lane by  sum weight * x[position],  taps ascending, in double precision.
 * Passes run from the last axis to the third.  The result is rounded once, at the end.
 *
 *   nearest   one tap      linear   two      cubic   four (coefficient a, -0.75 by default)
 *   area      the mean of floor(i in / out) .. ceil((i + 1) in / out)
 *   antialias the filter is stretched by the scale when an axis shrinks, and normalized
 *
 * Where a result position lies in the input: PyTorch's rules unless the node has
 * coordinate_transformation_mode, which then decides as in ONNX.  PyTorch computes the nearest
 * position in single precision, which decides at ties: so does this. */
#include "core/run/real.h"

enum resize_kind { RESIZE_NEAREST, RESIZE_NEAREST_EXACT, RESIZE_LINEAR, RESIZE_CUBIC, RESIZE_AREA };

struct resize {
    enum resize_kind kind;
    bool align_corners, antialias, exclude_outside;
    const char *coordinates, *rounding; /* ONNX; coordinates NULL: PyTorch's rules */
    double a;
};

/* Taps of all positions of one axis: position i has those from i * most on, count[i] of them. */
struct taps {
    int64_t most;
    int64_t *count, *at;
    double *weight;
};

struct axis {
    int64_t in, out;
    double scale; /* out / in as the user gave it; 0: from the extents */
};

static double onnx_source(const struct resize *r, const struct axis *x, double scale, int64_t i)
{
    const char *mode = r->coordinates;
    double d = (double)i;
    if (strcmp(mode, "align_corners") == 0)
        return x->out > 1 ? d * (double)(x->in - 1) / (double)(x->out - 1) : 0;
    if (strcmp(mode, "asymmetric") == 0)
        return d / scale;
    if (strcmp(mode, "tf_half_pixel_for_nn") == 0)
        return (d + .5) / scale;
    if (strcmp(mode, "pytorch_half_pixel") == 0 && x->out <= 1)
        return 0;
    if (strcmp(mode, "half_pixel_symmetric") == 0) {
        double adjust = (double)x->out / (scale * (double)x->in), center = (double)x->in / 2;
        return center * (1 - adjust) + (d + .5) / scale - .5;
    }
    return (d + .5) / scale - .5;
}

static double source(const struct resize *r, const struct axis *x, int64_t i)
{
    double scale = x->scale > 0 ? x->scale : (double)x->out / (double)x->in;
    if (r->coordinates)
        return onnx_source(r, x, scale, i);
    if (r->align_corners)
        return x->out > 1 ? (double)i * (double)(x->in - 1) / (double)(x->out - 1) : 0;
    double at =
        ((double)i + .5) * (x->scale > 0 ? 1 / x->scale : (double)x->in / (double)x->out) - .5;
    return r->kind == RESIZE_LINEAR && at < 0 ? 0 : at;
}

static int64_t nearest(const struct resize *r, const struct axis *x, int64_t i)
{
    double at;
    if (!r->coordinates) {
        float step = x->scale > 0 ? (float)(1 / x->scale) : (float)x->in / (float)x->out;
        at = floor(
            (double)(r->kind == RESIZE_NEAREST_EXACT ? ((float)i + .5f) * step : (float)i * step));
    } else {
        at = source(r, x, i);
        at = strcmp(r->rounding, "floor") == 0               ? floor(at)
             : strcmp(r->rounding, "ceil") == 0              ? ceil(at)
             : strcmp(r->rounding, "round_prefer_ceil") == 0 ? floor(at + .5)
                                                             : ceil(at - .5);
    }
    return at < 0 ? 0 : at > (double)(x->in - 1) ? x->in - 1 : (int64_t)at;
}

/* The triangle, or the cubic convolution kernel with coefficient a, at distance d. */
static double filter(enum resize_kind kind, double d, double a)
{
    d = fabs(d);
    if (kind == RESIZE_LINEAR)
        return d < 1 ? 1 - d : 0;
    if (d < 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

static void tap(struct taps *t, int64_t i, int64_t at, double weight)
{
    t->at[i * t->most + t->count[i]] = at;
    t->weight[i * t->most + t->count[i]++] = weight;
}

static void normalize(struct taps *t, int64_t i)
{
    double sum = 0;
    for (int64_t k = 0; k < t->count[i]; k++)
        sum += t->weight[i * t->most + k];
    for (int64_t k = 0; k < t->count[i] && sum != 0; k++)
        t->weight[i * t->most + k] /= sum;
}

/* Two or four neighbours; those beyond the edge repeat it, or are left out. */
static void smooth(const struct resize *r, const struct axis *x, struct taps *t, int64_t i)
{
    int reach = r->kind == RESIZE_LINEAR ? 1 : 2;
    double at = source(r, x, i), low = floor(at);
    for (int k = 1 - reach; k <= reach; k++) {
        double position = low + k;
        bool outside = position < 0 || position > (double)(x->in - 1);
        if (outside && r->exclude_outside)
            continue;
        tap(t, i,
            position < 0 ? 0
            : outside    ? x->in - 1
                         : (int64_t)position,
            filter(r->kind, at - position, r->a));
    }
    if (r->exclude_outside)
        normalize(t, i);
}

/* How far apart the results are in the input; the filter is that much wider when it is above 1. */
static double stride_of(const struct resize *r, const struct axis *x)
{
    if (r->align_corners)
        return x->out > 1 ? (double)(x->in - 1) / (double)(x->out - 1) : 0;
    return x->scale > 0 ? 1 / x->scale : (double)x->in / (double)x->out;
}

static void antialiased(const struct resize *r, const struct axis *x, struct taps *t, int64_t i)
{
    double stride = stride_of(r, x), wide = stride > 1 ? stride : 1;
    double reach = (r->kind == RESIZE_LINEAR ? 1 : 2) * wide, center = stride * ((double)i + .5);
    double from = trunc(center - reach + .5), to = trunc(center + reach + .5);
    int64_t lo = from < 0 ? 0 : (int64_t)from, hi = to > (double)x->in ? x->in : (int64_t)to;
    for (int64_t k = lo; k < hi && t->count[i] < t->most; k++)
        tap(t, i, k, filter(r->kind, ((double)k - center + .5) / wide, r->a));
    normalize(t, i);
}

static bool axis_taps(const struct kernel_call *c, const struct resize *r, const struct axis *x,
                      struct taps *t, struct bpu_error *err)
{
    bool smoothly = r->kind == RESIZE_LINEAR || r->kind == RESIZE_CUBIC;
    double most = !smoothly && r->kind != RESIZE_AREA ? 1 : r->kind == RESIZE_LINEAR ? 2 : 4;
    if (r->kind == RESIZE_AREA)
        most = (double)(x->in / x->out + 2);
    if (smoothly && r->antialias)
        most = 2 * ceil((r->kind == RESIZE_LINEAR ? 1 : 2) * fmax(stride_of(r, x), 1)) + 2;
    if (most > (double)x->in + 4)
        most = (double)x->in + 4;
    int64_t room;
    t->most = (int64_t)most;
    if (!checked_mul(t->most, x->out, &room)) {
        (void)kernel_unsupported(c, err, "the result is too large");
        return false;
    }
    t->count = ARENA_ARRAY(c->scratch, int64_t, x->out, err);
    t->at = t->count ? ARENA_ARRAY(c->scratch, int64_t, room, err) : NULL;
    t->weight = t->at ? ARENA_ARRAY(c->scratch, double, room, err) : NULL;
    if (!t->weight)
        return false;
    for (int64_t i = 0; i < x->out; i++) {
        if (r->kind == RESIZE_AREA) {
            int64_t lo = i * x->in / x->out, hi = ((i + 1) * x->in + x->out - 1) / x->out;
            for (int64_t k = lo; k < hi; k++)
                tap(t, i, k, 1 / (double)(hi - lo));
        } else if (!smoothly) {
            tap(t, i, nearest(r, x, i), 1);
        } else if (r->antialias) {
            antialiased(r, x, t, i);
        } else {
            smooth(r, x, t, i);
        }
    }
    return true;
}

/* Lanes of in elements, `inner` apart, become lanes of out elements. */
static void pass(const double *from, double *to, int64_t outer, const struct axis *x, int64_t inner,
                 const struct taps *t)
{
    memset(to, 0, (size_t)(outer * x->out * inner) * sizeof *to);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < x->out; i++, to += inner)
            for (int64_t k = 0; k < t->count[i]; k++) {
                double w = t->weight[i * t->most + k];
                const double *row = from + (o * x->in + t->at[i * t->most + k]) * inner;
                for (int64_t j = 0; j < inner; j++)
                    to[j] += w * row[j];
            }
}

static bool resize_read(const struct kernel_call *c, struct resize *r, struct bpu_error *err)
{
    const struct node *n = c->node;
    bool bilinear = strcmp(n->op->key, "upsampling_bilinear2d") == 0;
    const char *mode = node_string(n, "mode", bilinear ? "bilinear" : "nearest");
    *r = (struct resize){.align_corners = node_bool(n, "align_corners", bilinear),
                         .antialias = node_bool(n, "antialias", false),
                         .exclude_outside = node_bool(n, "exclude_outside", false),
                         .coordinates = node_string(n, "coordinate_transformation_mode",
                                                    infer_from_onnx(n) ? "half_pixel" : NULL),
                         .rounding = node_string(n, "nearest_mode", "round_prefer_floor"),
                         .kind = strcmp(mode, "nearest") == 0         ? RESIZE_NEAREST
                                 : strcmp(mode, "nearest-exact") == 0 ? RESIZE_NEAREST_EXACT
                                 : strcmp(mode, "area") == 0          ? RESIZE_AREA
                                 : strstr(mode, "cubic")              ? RESIZE_CUBIC
                                                                      : RESIZE_LINEAR};
    r->a = node_float(n, "cubic_coeff_a", r->antialias && !r->coordinates ? -.5 : -.75);
    if (r->coordinates && strcmp(r->coordinates, "tf_crop_and_resize") == 0)
        return kernel_unsupported(c, err, "tf_crop_and_resize is not supported");
    return true;
}

/* The factor of the spatial axis i that the node gives; 0: none, or to be computed again. */
static double given_scale(const struct node *n, int i, int spatial)
{
    const struct attr *a = node_attr(n, "scale_factor");
    if (!a || a->kind == ATTR_NONE || node_bool(n, "recompute_scale_factor", false))
        return 0;
    if (a->kind == ATTR_INT || a->kind == ATTR_FLOAT)
        return a->kind == ATTR_INT ? (double)a->i : a->f;
    int k = a->count == 1 ? 0 : i + a->count - spatial;
    if (k < 0 || k >= a->count)
        return 0;
    return a->kind == ATTR_INTS ? (double)a->ints[k] : a->floats[k];
}

static bool resize_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0];
    struct resize r;
    struct axis axes[SHAPE_MAX_RANK];
    struct taps taps[SHAPE_MAX_RANK];
    int rank = x->shape.rank, spatial = rank - 2;
    if (!resize_read(c, &r, err))
        return false;
    if (rank < 3 || x->shape.dim[0] != y->shape.dim[0] || x->shape.dim[1] != y->shape.dim[1])
        return kernel_unsupported(c, err, "only spatial axes can be resized");
    int64_t planes = x->shape.dim[0] * x->shape.dim[1], in = 1, out = 1, room = 1;
    for (int i = 0; i < spatial; i++) {
        axes[i] = (struct axis){x->shape.dim[2 + i], y->shape.dim[2 + i],
                                given_scale(c->node, i, spatial)};
        if (axes[i].in < 1)
            return kernel_unsupported(c, err, "the input is empty");
        in *= axes[i].in;
        out *= axes[i].out;
        if (!checked_mul(room, axes[i].in > axes[i].out ? axes[i].in : axes[i].out, &room) ||
            !axis_taps(c, &r, &axes[i], &taps[i], err))
            return false;
    }
    double *a = real_scratch(c, room, err), *b = a ? real_scratch(c, room, err) : NULL;
    if (!b)
        return false;
    for (int64_t p = 0; p < planes; p++) {
        double *from = a, *to = b;
        real_load(x, p * in, 1, in, from);
        int64_t outer = in, inner = 1;
        for (int i = spatial - 1; i >= 0; i--) {
            outer /= axes[i].in;
            pass(from, to, outer, &axes[i], inner, &taps[i]);
            inner *= axes[i].out;
            double *t = from;
            from = to;
            to = t;
        }
        real_store(y, p * out, 1, out, from);
    }
    return true;
}

bool real_resize(const struct kernel_call *c, struct bpu_error *err)
{
    return resize_run(c, err);
}

bool fixed_resize(const struct kernel_call *c, struct bpu_error *err)
{
    return resize_run(c, err);
}
