/* scheme: scales per value, from the file or from calibration, in one form. */
#include "core/quant/scheme.h"

#include <string.h>

#include "core/run/kernel.h"

bool scheme_is_real(enum dtype t)
{
    return dtype_is_float(t) || (dtype_is_quantized(t) && t != DT_QBOOL);
}

bool quant_has_scales(const struct graph *fused)
{
    for (int i = 0; i < fused->value_count; i++) {
        const struct value *v = fused->values[i];
        bool scaled = v->quant.count == 1 || (v->dtype == DT_QINT32 && v->quant.count > 1);
        if (v->producer && !v->constant && dtype_is_quantized(v->dtype) && scaled &&
            strcmp(kernel_of(v->producer)->name, "quantize") != 0)
            return true;
    }
    return false;
}

double scheme_scale(double absmax, enum dtype t)
{
    return absmax / (t == DT_QINT16 ? 32767.5 : 127.5);
}

bool scheme_set(struct arena *a, struct scheme_value *v, enum dtype t, double scale,
                struct bpu_error *err)
{
    double *s = ARENA_NEW(a, double, err);
    if (!s)
        return false;
    *s = scale;
    *v = (struct scheme_value){t, {.scale = s, .count = 1}};
    return true;
}

static bool scheme_new(struct arena *a, const struct graph *g, struct scheme *out,
                       struct bpu_error *err)
{
    *out =
        (struct scheme){ARENA_ARRAY(a, struct scheme_value, g->value_count, err), g->value_count};
    return out->values != NULL;
}

static bool is_kernel(const struct node *n, const char *name)
{
    return strcmp(kernel_of(n)->name, name) == 0;
}

/* Scales per channel are kept where no arithmetic meets them: from a QuantStub or an input of the
 * network to DeQuantStubs or an output.  Marks every other value. */
static bool *met_by_arithmetic(struct arena *a, const struct graph *g, struct bpu_error *err)
{
    bool *met = ARENA_ARRAY(a, bool, g->value_count, err);
    for (int i = 0; met && i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        for (int k = 0; k < n->input_count; k++)
            if (n->inputs[k] && !is_kernel(n, "dequantize"))
                met[n->inputs[k]->index] = true;
        for (int k = 0; k < n->output_count; k++)
            if (!is_kernel(n, "quantize"))
                met[n->outputs[k]->index] = true;
    }
    return met;
}

/* Steps of the operand's scale in one of a mean of 16 bits: what fits beside 8 bits (q - z is a bit
 * wider with a zero point). */
#define MEAN_STEPS 256
#define MEAN_STEPS_AFFINE 128

/* Means that no Q follows (carried.c), and what only moves their integers. */
static bool means(struct arena *a, const struct graph *fused, bool wide, struct scheme *s,
                  struct bpu_error *err)
{
    int operand;
    for (int i = 0; i < fused->node_count; i++) {
        const struct node *n = fused->nodes[i];
        if (n->output_count < 1 || !node_input(n, 0) || !dtype_is_quantized(n->outputs[0]->dtype))
            continue;
        struct scheme_value *y = &s->values[n->outputs[0]->index];
        bool moves = unify_keeps_scale(n, &operand);
        const struct scheme_value *x = &s->values[n->inputs[moves ? operand : 0]->index];
        if (y->dtype != DT_UNKNOWN || x->dtype == DT_UNKNOWN || x->quant.count != 1 ||
            (!moves && !carried_is_mean(n)))
            continue;
        bool narrow = x->dtype == DT_QINT8 || x->dtype == DT_QUINT8;
        int steps = x->quant.zero_point && x->quant.zero_point[0] ? MEAN_STEPS_AFFINE : MEAN_STEPS;
        *y = *x;
        if (wide && narrow && !moves &&
            !scheme_set(a, y, DT_QINT16, x->quant.scale[0] / steps, err))
            return false;
    }
    return true;
}

bool scheme_of_file(struct arena *a, const struct graph *fused, bool wide, struct scheme *out,
                    struct bpu_error *err)
{
    bool *met = met_by_arithmetic(a, fused, err);
    if (!met || !scheme_new(a, fused, out, err))
        return false;
    for (int i = 0; i < fused->value_count; i++) {
        const struct value *v = fused->values[i];
        bool one = v->quant.count == 1 ||
                   (v->quant.count > 1 && (v->dtype == DT_QINT32 || !met[v->index]));
        if (!v->constant && dtype_is_quantized(v->dtype) && v->dtype != DT_QBOOL && one)
            out->values[i] = (struct scheme_value){v->dtype, v->quant};
    }
    struct graph_users *users = graph_users_new(fused, a, err);
    if (!users)
        return false;
    unify_inherit(fused, users, out);
    return means(a, fused, wide, out, err);
}

bool scheme_of_calibration(struct arena *a, const struct graph *fused, const struct calibration *c,
                           struct scheme *out, struct bpu_error *err)
{
    if (!scheme_new(a, fused, out, err))
        return false;
    for (int i = 0; i < fused->value_count && (size_t)i < c->count; i++) {
        const struct observation *o = &c->items[i];
        if (o->dtype == DT_QINT32)
            out->values[i].dtype = DT_QINT32;
        else if (o->scale > 0 && !scheme_set(a, &out->values[i], o->dtype, o->scale, err))
            return false;
    }
    return true;
}
