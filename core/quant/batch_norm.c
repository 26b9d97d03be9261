/* batch_norm: at inference a batch norm is a multiplication and an addition per channel, and so it is
 * part of the weights and the bias of the layer before it.  All of it in double precision, rounded
 * once to float32. */
#include "core/quant/batch_norm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/op.h"

const char *batch_norm_why_not(const struct node *n)
{
    const struct value *mean = node_param(n, "running_mean"), *var = node_param(n, "running_var");
    if (!mean || !var)
        return "the batch norm has no running statistics";
    if (!mean->constant || !var->constant)
        return "the statistics of the batch norm are computed from the data";
    for (int i = 0; i < n->param_count; i++)
        if (n->params[i].value && !n->params[i].value->constant)
            return "the parameters of the batch norm are computed from the data";
    return NULL;
}

/* Element c of a parameter, `otherwise` where there is none. */
static bool element(const struct value *v, int64_t c, double otherwise, double *out)
{
    *out = otherwise;
    return !v || constant_real(v, c, out);
}

bool batch_norm_affine(struct arena *a, const struct node *n, struct affine *out,
                       struct bpu_error *err)
{
    const struct value *weight = node_param(n, "weight"), *bias = node_param(n, "bias");
    const struct value *mean = node_param(n, "running_mean"), *var = node_param(n, "running_var");
    const struct value *all[] = {weight, bias, mean, var};
    double eps = node_float(n, "eps", 1e-5);
    *out = (struct affine){.channels = shape_elements(&mean->shape), .known = true};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i] && shape_elements(&all[i]->shape) != out->channels)
            return error_set(err, BPU_BAD_SHAPE, n->name,
                             "%s: the parameters do not have the same number of channels",
                             n->op_name);
        out->known = out->known && (!all[i] || value_is_known(all[i]));
    }
    if (!out->known || out->channels < 0)
        return true;
    out->factor = ARENA_ARRAY(a, double, out->channels, err);
    out->offset = out->factor ? ARENA_ARRAY(a, double, out->channels, err) : NULL;
    for (int64_t c = 0; out->offset && c < out->channels; c++) {
        double w, b, m, v;
        if (!element(weight, c, 1, &w) || !element(bias, c, 0, &b) || !element(mean, c, 0, &m) ||
            !element(var, c, 1, &v))
            return error_set(err, BPU_BAD_MODEL, n->name, "%s: a parameter cannot be read",
                             n->op_name);
        out->factor[c] = w / sqrt(v + eps);
        out->offset[c] = b - m * out->factor[c];
        if (!isfinite(out->factor[c]) || !isfinite(out->offset[c])) {
            error_set(err, BPU_BAD_MODEL, n->name,
                      "%s: channel %lld gives no finite factor (weight %g, variance %g, eps %g)",
                      n->op_name, (long long)c, w, v, eps);
            return error_hint(err, "Check the running statistics of this layer.");
        }
    }
    return out->offset != NULL;
}

bool affine_scale(struct affine *f, const struct value *v, bool divide)
{
    int64_t count = shape_elements(&v->shape);
    if (!f->known || (count != 1 && count != f->channels))
        return false;
    for (int64_t c = 0; c < count; c++) {
        double x;
        if (!constant_real(v, c, &x) || !isfinite(divide ? 1 / x : x))
            return false;
    }
    for (int64_t c = 0; c < f->channels; c++) {
        double x = 1;
        if (!constant_real(v, count == 1 ? 0 : c, &x))
            return false;
        f->factor[c] *= divide ? 1 / x : x;
    }
    return true;
}

/* ── into the weights ── */

/* Output channel of element i of a weight. */
struct layout {
    int64_t inner, channels; /* channel = i / inner % channels, then + group */
    int64_t group_elements;  /* transposed: elements of one group of input channels; else 0 */
};

static struct layout layout_of(const struct node *conv, const struct shape *w)
{
    struct layout l = {.inner = 1};
    bool transposed = strncmp(conv->op_name, "torch.nn.ConvTranspose", 22) == 0;
    bool io = strcmp(node_string(conv, "weight_layout", "oi"), "io") == 0;
    int axis = transposed || io ? 1 : 0;
    for (int d = axis + 1; d < w->rank; d++)
        l.inner *= w->dim[d];
    l.channels = w->dim[axis];
    if (transposed)
        l.group_elements = w->dim[0] / node_int(conv, "groups", 1) * l.channels * l.inner;
    return l;
}

static int64_t channel(const struct layout *l, int64_t i)
{
    return i / l->inner % l->channels +
           (l->group_elements ? i / l->group_elements * l->channels : 0);
}

static struct value *new_constant(struct rewrite *r, const char *node, const char *what,
                                  const struct shape *shape, enum dtype t, const void *data)
{
    char name[512];
    int64_t n = shape_elements(shape);
    snprintf(name, sizeof name, "%s.%s", node, what);
    return graph_add_constant(r->to, name, shape, t, data, n > 0 ? (size_t)n * dtype_size(t) : 0,
                              r->err);
}

/* Integers stay as they are and their scales take the factor, which loses nothing.  NULL without an
 * error: not possible (a factor that is not positive, or one scale for several factors). */
static struct value *scale_quantized(struct rewrite *r, const char *node, const struct value *w,
                                     const struct layout *l, const struct affine *f)
{
    if (l->inner == 0 || l->group_elements || w->shape.dim[0] != f->channels ||
        (w->quant.count > 1 && (w->quant.axis != 0 || w->quant.count != f->channels)))
        return NULL;
    for (int64_t c = 0; c < f->channels; c++)
        if (!(f->factor[c] > 0))
            return NULL;
    double *scale = ARENA_ARRAY(r->arena, double, f->channels, r->err);
    int64_t *zero = scale ? ARENA_ARRAY(r->arena, int64_t, f->channels, r->err) : NULL;
    struct value *v =
        zero ? new_constant(r, node, "weight", &w->shape, w->dtype, w->constant->data) : NULL;
    for (int64_t c = 0; v && c < f->channels; c++) {
        int64_t from = w->quant.count > 1 ? c : 0;
        scale[c] = w->quant.scale[from] * f->factor[c];
        zero[c] = w->quant.zero_point ? w->quant.zero_point[from] : 0;
    }
    if (v)
        v->quant = (struct quant){.scale = scale,
                                  .zero_point = w->quant.zero_point ? zero : NULL,
                                  .count = (int)f->channels};
    return v;
}

bool batch_norm_fold(struct rewrite *r, struct node *copy, const struct node *conv,
                     const struct affine *f)
{
    struct value *w = rewrite_source(r, node_param(conv, "weight"));
    struct value *b = rewrite_source(r, node_param(conv, "bias"));
    struct shape bias_shape = {.rank = 1, .dim = {f->channels}};
    bool known = f->known && value_is_known(w) && (!b || value_is_known(b));
    float *nw = NULL, *nb = NULL;
    struct value *quantized = NULL;
    if (known) {
        struct layout l = layout_of(conv, &w->shape);
        bool io = strcmp(node_string(conv, "weight_layout", "oi"), "io") == 0;
        if (dtype_is_quantized(w->dtype) && w->quant.count > 0 && !io)
            quantized = scale_quantized(r, copy->name, w, &l, f);
        if (r->err->code != BPU_NONE)
            return false;
        int64_t n = shape_elements(&w->shape);
        nw = quantized ? NULL : rewrite_floats(r->arena, w, r->err);
        nb = ARENA_ARRAY(r->arena, float, f->channels, r->err);
        float *old = b ? rewrite_floats(r->arena, b, r->err) : NULL;
        if ((!nw && !quantized) || !nb || (b && !old))
            return false;
        int64_t old_count = b ? shape_elements(&b->shape) : 0;
        for (int64_t i = 0; nw && i < n; i++)
            nw[i] = (float)((double)nw[i] * f->factor[channel(&l, i)]);
        for (int64_t c = 0; c < f->channels; c++)
            nb[c] = (float)((old ? (double)old[old_count == 1 ? 0 : c] * f->factor[c] : 0) +
                            f->offset[c]);
    }
    struct value *weight = quantized;
    if (!weight)
        weight = new_constant(r, copy->name, "weight", &w->shape, DT_FLOAT32, nw);
    struct value *bias =
        weight ? new_constant(r, copy->name, "bias", &bias_shape, DT_FLOAT32, nb) : NULL;
    return bias && node_add_param(r->to, copy, "weight", weight, r->err) &&
           node_add_param(r->to, copy, "bias", bias, r->err);
}

/* ── alone ── */

bool batch_norm_can_stand(const struct node *n)
{
    const struct value *x = node_input(n, 0);
    return x && x->shape.rank >= 3 && x->shape.rank <= 5 && x->shape.dim[1] >= 1;
}

struct node *batch_norm_conv(struct rewrite *r, const struct node *n, const struct affine *f)
{
    int k = n->inputs[0]->shape.rank - 2;
    const char *op = k == 1 ? "torch.nn.Conv1d" : k == 2 ? "torch.nn.Conv2d" : "torch.nn.Conv3d";
    int64_t one = 1;
    struct shape ws = {.rank = k + 2}, bs = {.rank = 1, .dim = {f->channels}};
    for (int i = 0; i < ws.rank; i++)
        ws.dim[i] = i == 0 ? f->channels : 1;
    float *w = NULL, *b = NULL;
    if (f->known) {
        w = ARENA_ARRAY(r->arena, float, f->channels, r->err);
        b = w ? ARENA_ARRAY(r->arena, float, f->channels, r->err) : NULL;
        if (!b)
            return NULL;
        for (int64_t c = 0; c < f->channels; c++) {
            w[c] = (float)f->factor[c];
            b[c] = (float)f->offset[c];
        }
    }
    struct node *c = graph_add_node(r->to, n->name, op, r->err);
    if (!c || !op_bind(c))
        return NULL;
    c->origin = n->origin;
    struct value *x = rewrite_value(r, n->inputs[0]);
    struct value *weight = x ? new_constant(r, c->name, "weight", &ws, DT_FLOAT32, w) : NULL;
    struct value *bias = weight ? new_constant(r, c->name, "bias", &bs, DT_FLOAT32, b) : NULL;
    struct graph *g = r->to;
    return bias && node_add_input(g, c, x, r->err) &&
                   node_add_param(g, c, "weight", weight, r->err) &&
                   node_add_param(g, c, "bias", bias, r->err) &&
                   node_set_int(g, c, "in_channels", f->channels, r->err) &&
                   node_set_int(g, c, "out_channels", f->channels, r->err) &&
                   node_set_ints(g, c, "kernel_size", &one, 1, r->err) &&
                   node_set_int(g, c, "groups", f->channels, r->err)
               ? c
               : NULL;
}
