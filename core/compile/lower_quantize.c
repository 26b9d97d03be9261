/* lower_quantize: where real numbers begin and end.
 *
 * Stubs at the border of the network are the host's business (network_io.host_float).  A value that
 * leaves the integers and comes back is rescaled; real numbers that are needed in between are
 * computed by the host. */
#include <string.h>

#include "core/compile/lower_view.h"
#include "core/ops/infer.h"
#include "core/run/kernel.h"

bool lower_identity(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    struct view view;
    if (l->behind[n->inputs[0]->index]) {
        l->behind[n->outputs[0]->index] = l->behind[n->inputs[0]->index];
        return true;
    }
    return view_of_value(l, n->inputs[0], &view, err) && view_set(l, n->outputs[0], &view, 2, err);
}

bool lower_dequantize(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    (void)err;
    l->behind[n->outputs[0]->index] = x;
    return true;
}

/* The real numbers of a quantized value, on the host. */
static struct map *real_map(struct lowering *l, const struct node *n, const struct value *v,
                            enum form f, struct bpu_error *err)
{
    const struct value *inside = l->behind[v->index];
    if (!inside)
        return lower_map(l, v, f, err);
    if (inside->quant.count > 1) {
        lower_refuse(n, err, "sums with a scale per channel that are quantized again");
        return NULL;
    }
    struct map *x = lower_map(l, inside, f, err);
    struct map *y = x ? network_map(l->net, v->name, x->n, x->h, x->w, x->c, DT_FLOAT32, 0, 0, err)
                      : NULL;
    struct layer *layer = y ? lower_layer(l, OP_DEQUANTIZE, n, y, err) : NULL;
    if (!layer)
        return NULL;
    layer_reads(layer, x, NEED_SAME);
    return y;
}

/* Another scale for the same numbers: x cut off nowhere, then rescaled. */
static bool rescale(struct lowering *l, const struct node *n, const struct value *x,
                    struct bpu_error *err)
{
    enum form f = lower_form(l, x);
    int64_t low, high;
    struct map *from = lower_map(l, x, f, err);
    struct map *y = from ? lower_result(l, n->outputs[0], f, err) : NULL;
    struct layer *layer = y ? lower_layer(l, OP_CLAMP, n, y, err) : NULL;
    if (!layer)
        return false;
    dtype_range(x->dtype, &low, &high);
    layer_reads(layer, from, NEED_SAME);
    layer_in_place(layer, 0);
    layer->args[CLAMP_LOW] = (int32_t)low;
    layer->args[CLAMP_HIGH] = (int32_t)high;
    return true;
}

bool lower_quantize(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0], *inside = l->behind[x->index];
    bool divides = infer_from_onnx(n);
    for (int f = 0; f < FORM_COUNT; f++)
        if (l->maps[f][y->index]) /* an input of the network: the host quantizes */
            return true;
    if (y->quant.count != 1)
        return lower_refuse(n, err, "a result with a scale per channel");
    if (dtype_is_quantized(x->dtype))
        return rescale(l, n, x, err);
    /* Back from real numbers: the same product in binary32 as between two scales. */
    if (inside && inside->quant.count == 1 && inside->dtype != DT_QINT32 && !divides)
        return rescale(l, n, inside, err);
    enum form f = lower_form(l, inside ? inside : x);
    struct map *from = real_map(l, n, x, f, err);
    struct map *to = from ? lower_result(l, y, f, err) : NULL;
    struct layer *layer = to ? lower_layer(l, OP_QUANTIZE, n, to, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, from, NEED_SAME);
    layer->args[QUANTIZE_DIVIDES] = divides;
    return true;
}
