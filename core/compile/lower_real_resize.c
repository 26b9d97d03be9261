/* lower_real_resize: interpolation.
 *
 * Which elements a result takes and with which weights is computed here, once, for each row and
 * each column of the result, and goes along as a table of taps. */
#include <math.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/compile/lower_real.h"

enum how { HOW_NEAREST, HOW_NEAREST_EXACT, HOW_LINEAR, HOW_CUBIC, HOW_AREA };

struct resampling {
    enum how how;
    bool corners, antialias, exclude;
    const char *coordinates, *rounding; /* of ONNX; NULL: PyTorch's */
    double a;                           /* of the cubic kernel */
};

struct extent {
    int64_t in, out;
    double factor; /* as the user gave it; 0: out / in */
};

/* One row of the result: `count` taps. */
struct tap_row {
    int64_t count, room;
    int64_t *at;
    double *weight;
};

/* ── where a result lies in the operand ── */

static double onnx_place(const struct resampling *r, const struct extent *e, double i)
{
    const char *mode = r->coordinates;
    double factor = e->factor > 0 ? e->factor : (double)e->out / (double)e->in;
    if (strcmp(mode, "align_corners") == 0)
        return e->out > 1 ? i * (double)(e->in - 1) / (double)(e->out - 1) : 0;
    if (strcmp(mode, "asymmetric") == 0)
        return i / factor;
    if (strcmp(mode, "tf_half_pixel_for_nn") == 0)
        return (i + .5) / factor;
    if (strcmp(mode, "pytorch_half_pixel") == 0 && e->out <= 1)
        return 0;
    double place = (i + .5) / factor;
    if (strcmp(mode, "half_pixel_symmetric") == 0) {
        double adjust = (double)e->out / (factor * (double)e->in);
        return (double)e->in / 2 * (1 - adjust) + place - .5;
    }
    return place - .5;
}

static double place_of(const struct resampling *r, const struct extent *e, double i)
{
    if (r->coordinates)
        return onnx_place(r, e, i);
    if (r->corners)
        return e->out > 1 ? i * (double)(e->in - 1) / (double)(e->out - 1) : 0;
    double step = e->factor > 0 ? 1 / e->factor : (double)e->in / (double)e->out;
    double place = (i + .5) * step - .5;
    return r->how == HOW_LINEAR && place < 0 ? 0 : place;
}

static int64_t nearest(const struct resampling *r, const struct extent *e, int64_t i)
{
    double p;
    if (r->coordinates) {
        p = place_of(r, e, (double)i);
        p = strcmp(r->rounding, "floor") == 0               ? floor(p)
            : strcmp(r->rounding, "ceil") == 0              ? ceil(p)
            : strcmp(r->rounding, "round_prefer_ceil") == 0 ? floor(p + .5)
                                                            : ceil(p - .5);
    } else { /* in binary32, as PyTorch */
        float step = e->factor > 0 ? (float)(1 / e->factor) : (float)e->in / (float)e->out;
        float at = (float)i + (r->how == HOW_NEAREST_EXACT ? .5f : 0.f);
        p = floor((double)(at * step));
    }
    return p < 0 ? 0 : p > (double)(e->in - 1) ? e->in - 1 : (int64_t)p;
}

/* ── taps ── */

static double kernel_weight(const struct resampling *r, double apart)
{
    double d = fabs(apart), a = r->a;
    if (r->how == HOW_LINEAR)
        return d < 1 ? 1 - d : 0;
    if (d < 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

static void add(struct tap_row *t, int64_t at, double weight)
{
    if (t->count == t->room)
        return;
    t->at[t->count] = at;
    t->weight[t->count++] = weight;
}

static void weigh_out(struct tap_row *t)
{
    double sum = 0;
    for (int64_t k = 0; k < t->count; k++)
        sum += t->weight[k];
    for (int64_t k = 0; k < t->count && sum != 0; k++)
        t->weight[k] /= sum;
}

static double step_of(const struct resampling *r, const struct extent *e)
{
    if (r->corners)
        return e->out > 1 ? (double)(e->in - 1) / (double)(e->out - 1) : 0;
    return e->factor > 0 ? 1 / e->factor : (double)e->in / (double)e->out;
}

static int reach_of(const struct resampling *r)
{
    return r->how == HOW_LINEAR ? 1 : 2;
}

static void taps_smooth(const struct resampling *r, const struct extent *e, int64_t i,
                        struct tap_row *t)
{
    double place = place_of(r, e, (double)i), low = floor(place);
    for (int k = 1 - reach_of(r); k <= reach_of(r); k++) {
        double p = low + k, weight = kernel_weight(r, place - p);
        if (p >= 0 && p <= (double)(e->in - 1))
            add(t, (int64_t)p, weight);
        else if (!r->exclude)
            add(t, p < 0 ? 0 : e->in - 1, weight);
    }
    if (r->exclude)
        weigh_out(t);
}

static void taps_wide(const struct resampling *r, const struct extent *e, int64_t i,
                      struct tap_row *t)
{
    double step = step_of(r, e), wide = step > 1 ? step : 1, reach = reach_of(r) * wide;
    double center = step * ((double)i + .5);
    double from = trunc(center - reach + .5), to = trunc(center + reach + .5);
    int64_t lo = from < 0 ? 0 : (int64_t)from, hi = to > (double)e->in ? e->in : (int64_t)to;
    for (int64_t k = lo; k < hi; k++)
        add(t, k, kernel_weight(r, ((double)k - center + .5) / wide));
    weigh_out(t);
}

/* The most taps that a result can have. */
static int64_t most_taps(const struct resampling *r, const struct extent *e)
{
    bool smooth = r->how == HOW_LINEAR || r->how == HOW_CUBIC;
    double most = !smooth ? 1 : 2 * reach_of(r);
    if (r->how == HOW_AREA)
        most = (double)(e->in / e->out + 2);
    if (smooth && r->antialias)
        most = 2 * ceil(reach_of(r) * fmax(step_of(r, e), 1)) + 2;
    return most > (double)e->in + 4 ? e->in + 4 : (int64_t)most;
}

static void taps_at(const struct resampling *r, const struct extent *e, int64_t i,
                    struct tap_row *t)
{
    t->count = 0;
    if (r->how == HOW_AREA) {
        int64_t lo = i * e->in / e->out, hi = ((i + 1) * e->in + e->out - 1) / e->out;
        for (int64_t k = lo; k < hi; k++)
            add(t, k, 1 / (double)(hi - lo));
    } else if (r->how == HOW_NEAREST || r->how == HOW_NEAREST_EXACT) {
        add(t, nearest(r, e, i), 1);
    } else if (r->antialias) {
        taps_wide(r, e, i, t);
    } else {
        taps_smooth(r, e, i, t);
    }
}

/* ── the table ── */

struct taps_table {
    unsigned char *data;
    int64_t most[2], bytes;
    int *lo, *hi; /* rows that result row r takes, hi excluded */
};

static int64_t record_bytes(int64_t most)
{
    return 8 + 16 * most;
}

static void record(unsigned char *p, const struct tap_row *t)
{
    memcpy(p, &t->count, 8); /* NOLINT(clang-analyzer-core.NonNullParamChecker): taps_make() has made it */
    for (int64_t k = 0; k < t->count; k++) {
        memcpy(p + 8 + 16 * k, &t->weight[k], 8);
        memcpy(p + 16 + 16 * k, &t->at[k], 8);
    }
}

static bool taps_make(struct lowering *l, const struct node *n, const struct resampling *r,
                      const struct extent e[2], struct taps_table *out, struct bpu_error *err)
{
    int64_t size[2], all, most = 0;
    for (int a = 0; a < 2; a++) {
        out->most[a] = most_taps(r, &e[a]);
        most = out->most[a] > most ? out->most[a] : most;
        if (!checked_mul(e[a].out, record_bytes(out->most[a]), &size[a]))
            return lower_refuse(n, err, "the result is too large");
    }
    if (!checked_add(size[0], size[1], &all) || most > 1 << 24)
        return lower_refuse(n, err, "the result is too large");
    struct tap_row t = {.room = most};
    out->bytes = all;
    out->data = ARENA_ARRAY(l->arena, unsigned char, all, err);
    t.at = out->data ? ARENA_ARRAY(l->arena, int64_t, most, err) : NULL;
    t.weight = t.at ? ARENA_ARRAY(l->arena, double, most, err) : NULL;
    out->lo = t.weight ? ARENA_ARRAY(l->arena, int, e[0].out, err) : NULL;
    out->hi = out->lo ? ARENA_ARRAY(l->arena, int, e[0].out, err) : NULL;
    if (!out->data || !out->hi)
        return false;
    unsigned char *p = out->data;
    for (int a = 0; a < 2; a++)
        for (int64_t i = 0; i < e[a].out; i++, p += record_bytes(out->most[a])) {
            t.room = out->most[a];
            taps_at(r, &e[a], i, &t);
            record(p, &t);
            for (int64_t k = 0; a == 0 && k < t.count; k++) {
                int at = (int)t.at[k];
                out->lo[i] = k == 0 || at < out->lo[i] ? at : out->lo[i];
                out->hi[i] = k == 0 || at + 1 > out->hi[i] ? at + 1 : out->hi[i];
            }
        }
    return true;
}

/* ── the layer ── */

static void fit_resize(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    (void)l;
    args[RESIZE_FIRST_OUT_H] = p->r0;
    args[RESIZE_FIRST_IN_H] = p->in_r0[0];
}

/* The narrowest rule that gives each result row the rows that its taps name. */
static enum need need_of(struct layer *layer, const struct taps_table *t)
{
    int rows = layer->out[0]->h;
    layer->in[0].need = NEED_RESAMPLED;
    for (int r = 0; r < rows; r++) {
        int lo, hi;
        layer_rows(layer, 0, r, r + 1, &lo, &hi);
        if (t->lo[r] < t->hi[r] && (t->lo[r] < lo || t->hi[r] > hi))
            return NEED_FRAME;
    }
    return NEED_RESAMPLED;
}

static bool read_node(const struct node *n, struct resampling *r, struct bpu_error *err)
{
    bool bilinear = strcmp(n->op->key, "upsampling_bilinear2d") == 0;
    const char *mode = node_string(n, "mode", bilinear ? "bilinear" : "nearest");
    *r = (struct resampling){.how = strcmp(mode, "nearest") == 0         ? HOW_NEAREST
                                    : strcmp(mode, "nearest-exact") == 0 ? HOW_NEAREST_EXACT
                                    : strcmp(mode, "area") == 0          ? HOW_AREA
                                    : strstr(mode, "cubic")              ? HOW_CUBIC
                                                                         : HOW_LINEAR,
                             .corners = node_bool(n, "align_corners", bilinear),
                             .antialias = node_bool(n, "antialias", false),
                             .exclude = node_bool(n, "exclude_outside", false),
                             .coordinates = node_string(n, "coordinate_transformation_mode",
                                                        infer_from_onnx(n) ? "half_pixel" : NULL),
                             .rounding = node_string(n, "nearest_mode", "round_prefer_floor")};
    r->a = node_float(n, "cubic_coeff_a", r->antialias && !r->coordinates ? -.5 : -.75);
    if (r->coordinates && strcmp(r->coordinates, "tf_crop_and_resize") == 0)
        return lower_refuse(n, err, "tf_crop_and_resize is not supported");
    return true;
}

/* The factor of spatial axis i of `spatial`; 0: from the extents. */
static double given_factor(const struct node *n, int i, int spatial)
{
    const struct attr *a = node_attr(n, "scale_factor");
    if (!a || a->kind == ATTR_NONE || node_bool(n, "recompute_scale_factor", false))
        return 0;
    if (a->kind == ATTR_INT || a->kind == ATTR_FLOAT)
        return a->kind == ATTR_INT ? (double)a->i : a->f;
    int k = a->count == 1 ? 0 : i + a->count - spatial;
    if (k < 0 || k >= a->count || (a->kind != ATTR_INTS && a->kind != ATTR_FLOATS))
        return 0;
    return a->kind == ATTR_INTS ? (double)a->ints[k] : a->floats[k];
}

bool lower_resize(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    int rank = x->shape.rank, spatial = rank - 2;
    struct resampling r;
    struct extent e[2] = {{1, 1, 0}, {1, 1, 0}};
    struct taps_table t = {0};
    double scale;
    if (!read_node(n, &r, err) || !lower_scaled(n, x, &scale, err) ||
        !lower_scaled(n, y, &scale, err))
        return false;
    if (rank < 3 || rank > 4)
        return lower_refuse(n, err, "the machine resizes rows and columns; the operand has %d axes",
                            rank);
    if (x->shape.dim[0] != y->shape.dim[0] || x->shape.dim[1] != y->shape.dim[1])
        return lower_refuse(n, err, "only rows and columns can be resized");
    for (int i = 0; i < spatial; i++)
        e[2 - spatial + i] =
            (struct extent){x->shape.dim[2 + i], y->shape.dim[2 + i], given_factor(n, i, spatial)};
    /* Without rows there is one tap that takes the only one. */
    struct map *from = lower_map(l, x, FORM_IMAGE, err);
    struct map *to = from ? lower_result(l, y, FORM_IMAGE, err) : NULL;
    if (!to || !taps_make(l, n, &r, e, &t, err))
        return false;
    if (spatial == 1) {
        struct tap_row one = {1, 1, (int64_t[]){0}, (double[]){1}};
        record(t.data, &one);
    }
    struct blob *table = network_blob(l->net, t.data, t.bytes, err);
    struct layer *layer = table ? lower_layer(l, OP_RESIZE, n, to, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, from, NEED_FRAME);
    layer_reads_blob(layer, table);
    layer->in[0].need = need_of(layer, &t);
    layer_set(layer, "out_h", to->h);
    layer_set(layer, "most_h", (int32_t)t.most[0]);
    layer_set(layer, "most_w", (int32_t)t.most[1]);
    layer->fit = fit_resize;
    return true;
}
