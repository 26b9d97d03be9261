/* When a limit holds: the context of a node, as the conditions of the data name it.
 *
 * A condition whose facts are not known does not hold: a limit is only applied where it is certain
 * to be meant. */
#include <string.h>

#include "core/check/rules.h"

typedef bool condition_fn(const struct subject *s);

static const struct value *output(const struct subject *s)
{
    return s->n->output_count > 0 ? s->n->outputs[0] : NULL;
}

static bool condition_model_output(const struct subject *s)
{
    return output(s) && s->c->uses[output(s)->index] == USE_OUTPUT;
}

static bool condition_not_model_output(const struct subject *s)
{
    return !condition_model_output(s);
}

static bool condition_dilated(const struct subject *s)
{
    struct measure m;
    return quantity_measure(s, Q_DILATION, NULL, &m) && m.number > 1;
}

static bool condition_sumin(const struct subject *s)
{
    return s->ctx->sumin;
}

static bool condition_plain_conv(const struct subject *s)
{
    struct measure m;
    return !condition_dilated(s) && quantity_measure(s, Q_GROUPS, NULL, &m) && m.number <= 1;
}

/* A batch norm behind a convolution is folded and never comes here. */
static bool condition_standalone(const struct subject *s)
{
    return s->n->fold == FOLD_NONE;
}

static bool in_dtype(const struct subject *s, enum dtype t)
{
    return judged_dtype(s, subject_input(s, 0)) == t;
}

static bool condition_in_qint8(const struct subject *s)
{
    return in_dtype(s, DT_QINT8);
}

static bool condition_in_qint16(const struct subject *s)
{
    return in_dtype(s, DT_QINT16);
}

static bool condition_out_int8(const struct subject *s)
{
    return judged_dtype(s, output(s)) == DT_QINT8;
}

static bool condition_out_int32(const struct subject *s)
{
    return judged_dtype(s, output(s)) == DT_QINT32;
}

static bool condition_rank_5(const struct subject *s)
{
    for (int i = 0; i < s->n->input_count; i++) {
        if (s->n->inputs[i] && s->n->inputs[i]->shape.rank == 5)
            return true;
    }
    return false;
}

static bool condition_dc_over_4096(const struct subject *s)
{
    const struct value *x = subject_input(s, 0);
    return x && x->shape.rank == 5 && x->shape.dim[1] > 0 && x->shape.dim[2] > 0 &&
           (double)x->shape.dim[1] * (double)x->shape.dim[2] > 4096;
}

/* H and W of the input; both 1 when it has none. */
static bool map_size(const struct subject *s, int64_t *h, int64_t *w)
{
    const struct value *x = subject_input(s, 0);
    if (!x || x->shape.rank < 1)
        return false;
    *h = x->shape.rank == 4 ? x->shape.dim[2] : 1;
    *w = x->shape.rank == 4 ? x->shape.dim[3] : 1;
    return *h >= 0 && *w >= 0;
}

static bool condition_hw_up_to_7(const struct subject *s)
{
    int64_t h, w;
    return map_size(s, &h, &w) && h <= 7 && w <= 7;
}

static bool condition_hw_is_1(const struct subject *s)
{
    int64_t h, w;
    return map_size(s, &h, &w) && h == 1 && w == 1;
}

static bool condition_hw_not_1(const struct subject *s)
{
    int64_t h, w;
    return map_size(s, &h, &w) && !(h == 1 && w == 1);
}

static bool condition_opset_11(const struct subject *s)
{
    return s->c->g->opset >= 11;
}

static bool condition_tf_crop(const struct subject *s)
{
    return strcmp(node_string(s->n, "coordinate_transformation_mode", ""), "tf_crop_and_resize") ==
           0;
}

static bool condition_nearest(const struct subject *s)
{
    struct measure m;
    return quantity_measure(s, Q_MODE, NULL, &m) && strcmp(m.text, "nearest") == 0;
}

static bool condition_nearest_up(const struct subject *s)
{
    double h, w;
    return condition_nearest(s) && subject_scales(s, &h, &w) && (h > 1 || w > 1);
}

/* ONNX and the other formats keep no trace of recompute_scale_factor: the exported graph already
 * holds what it led to.  Only a graph that names the attribute, or its scale, as PyTorch does can
 * be judged. */
static bool condition_scale_given(const struct subject *s)
{
    const struct attr *a = node_attr(s->n, "scale_factor");
    bool exported = s->n->origin.source_op && strncmp(s->n->origin.source_op, "onnx:", 5) == 0;
    return a && a->kind != ATTR_NONE && !exported;
}

static bool condition_bound_const_tensor(const struct subject *s)
{
    struct measure lower, upper;
    return (quantity_measure(s, Q_MIN_OPERAND_KIND, NULL, &lower) &&
            strcmp(lower.text, "const_tensor") == 0) ||
           (quantity_measure(s, Q_MAX_OPERAND_KIND, NULL, &upper) &&
            strcmp(upper.text, "const_tensor") == 0);
}

static bool condition_indices_feature(const struct subject *s)
{
    return subject_input(s, 1) && !subject_input(s, 1)->constant;
}

static bool condition_indices_constant(const struct subject *s)
{
    return subject_input(s, 1) && subject_input(s, 1)->constant;
}

static bool condition_two_axes(const struct subject *s)
{
    int64_t axes[SHAPE_MAX_RANK];
    int count;
    return subject_axes(s, axes, &count) && count == 2;
}

static bool origin_is_onnx(const struct subject *s)
{
    return s->n->origin.source_op && strncmp(s->n->origin.source_op, "onnx:", 5) == 0;
}

/* ONNX's own Softmax flattened the axes behind `axis` until opset 13; PyTorch's never did, and its
 * exports mean the same in every format. */
static bool condition_origin_onnx(const struct subject *s)
{
    const struct graph *g = s->c->g;
    bool pytorch = g->producer && strncmp(g->producer, "pytorch", 7) == 0;
    /* Not the graph's format: a graph JSON that was converted from ONNX means what the ONNX file means. */
    return origin_is_onnx(s) && !pytorch && g->opset < 13;
}

static bool condition_origin_pytorch(const struct subject *s)
{
    return !condition_origin_onnx(s);
}

/* Of nodes that constants fold away: those are not judged. */
static bool condition_never(const struct subject *s)
{
    (void)s;
    return false;
}

static bool operands_are(const struct subject *s, bool first_constant, bool second_constant)
{
    const struct value *a = subject_input(s, 0), *b = subject_input(s, 1);
    return a && b && (a->constant != NULL) == first_constant &&
           (b->constant != NULL) == second_constant;
}

static bool condition_const_by_feature(const struct subject *s)
{
    return operands_are(s, true, false);
}

static bool condition_feature_by_const(const struct subject *s)
{
    return operands_are(s, false, true);
}

static bool condition_feature_by_feature(const struct subject *s)
{
    return operands_are(s, false, false);
}

static condition_fn *const functions[WHEN_COUNT] = {
#define X(id, fn, json, words) [WHEN_##id] = condition_##fn,
    CONDITION_MAP(X)
#undef X
};

bool condition_holds(const struct subject *s, enum condition when)
{
    return when == WHEN_ALWAYS || functions[when](s);
}
