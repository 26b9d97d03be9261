/* infer_quant: from real numbers to integers with a scale and back, and casts. */
#include <math.h>

#include "core/ops/infer.h"

/* The scale comes from the value (the file gave it) or from the attributes scale and zero_point. */
bool infer_quantize(struct graph *g, struct node *n, struct bpu_error *err)
{
    enum dtype t;
    if (!infer_dtype_attr(n, "dtype", DT_QINT8, &t, err) ||
        !infer_out(n, 0, infer_shape(n, 0), t, err))
        return false;
    const struct attr *a = node_attr(n, "scale");
    if (n->output_count < 1 || n->outputs[0]->quant.count || !a || a->kind == ATTR_NONE)
        return true;
    double scale = node_float(n, "scale", 0);
    if (!(scale > 0) || !isfinite(scale))
        return infer_bad(n, err, NULL, "scale is %g; it must be positive and finite", scale);
    double *s = ARENA_NEW(g->arena, double, err);
    int64_t *zero = ARENA_NEW(g->arena, int64_t, err);
    if (!s || !zero)
        return false;
    *s = scale;
    *zero = node_int(n, "zero_point", 0);
    n->outputs[0]->quant =
        (struct quant){.scale = s, .zero_point = *zero ? zero : NULL, .count = 1, .axis = 0};
    return true;
}

bool infer_dequantize(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    return infer_out(n, 0, infer_shape(n, 0), DT_FLOAT32, err);
}

bool infer_to(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    enum dtype t;
    if (!infer_dtype_attr(n, "dtype", infer_dtype(n, 0), &t, err) ||
        !infer_out(n, 0, infer_shape(n, 0), t, err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}
