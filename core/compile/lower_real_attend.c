/* lower_real_attend: attention.  Its projections and the weighing of values are layers of their
 * own, with binary64 between them, so that each can be cut by rows, and the projections by
 * channels. */
#include <string.h>

#include "core/base/checked.h"
#include "core/compile/lower_real.h"

/* ── products with real weights ── */

struct map *lower_doubles(struct lowering *l, const struct node *n, const char *what, int h, int w,
                          int c, struct bpu_error *err)
{
    char *name = arena_printf(l->arena, err, "%s.%s", n->name, what);
    return name ? network_map(l->net, name, 1, h, w, c, DT_FLOAT64, 0, 0, err) : NULL;
}

/* Units of as many channels as the conv array makes at a time. */
struct layer *lower_linear_real(struct lowering *l, const struct node *n, struct map *x,
                                struct map *y, const double *w, const double *bias,
                                struct bpu_error *err)
{
    int64_t channels = y->c, inputs = x->c, per = (int64_t)l->net->machine->array_out.v, rows, all;
    int kind;
    per = per < 1 ? 1 : per;
    rows = (channels + per - 1) / per * per; /* the last unit is filled with zeros */
    if (!checked_mul(rows, inputs + 1, &all) || all > INT32_MAX) {
        lower_refuse(n, err, "its weights are too large");
        return NULL;
    }
    double *numbers = ARENA_ARRAY(l->arena, double, all, err);
    if (!numbers)
        return NULL;
    for (int64_t m = 0; m < channels; m++) {
        numbers[m * (inputs + 1)] = bias ? bias[m] : 0;
        memcpy(numbers + m * (inputs + 1) + 1, w + m * inputs, (size_t)inputs * sizeof *w);
    }
    struct blob *blob = lower_number_blob(l, numbers, all, &kind, err);
    struct layer *layer = blob ? lower_layer(l, OP_LINEAR_REAL, n, y, err) : NULL;
    if (!layer)
        return NULL;
    blob->units = (int)(rows / per);
    blob->unit_channels = (int)per;
    blob->unit_bytes = blob->bytes / blob->units;
    layer_reads(layer, x, NEED_SAME);
    layer_reads_blob(layer, blob);
    layer_set(layer, "unit_channels", (int32_t)per);
    layer_set(layer, "unit_bytes", (int32_t)blob->unit_bytes);
    layer_set(layer, "kind", kind);
    return layer;
}

/* ── attention ── */

struct attention {
    int target, image; /* axes of rows and images on the maps */
    int64_t heads, embed, rows, keys, images;
    struct map *q, *k, *v, *padding, *mask;
};

/* Rows i * embed … of the joint weight, or the operand's own. */
static struct map *projected(struct lowering *l, const struct node *n, const struct attention *a,
                             int i, struct bpu_error *err)
{
    static const char *const weights[] = {"q_proj_weight", "k_proj_weight", "v_proj_weight"};
    static const char *const names[] = {"q", "k", "v"};
    const struct value *joint = node_param(n, "in_proj_weight"), *b = node_param(n, "in_proj_bias");
    const struct value *weight = joint ? joint : node_param(n, weights[i]);
    struct map *x = lower_map(l, n->inputs[i], FORM_FEATURES, err);
    if (!x)
        return NULL;
    int64_t count = a->embed * x->c;
    double *w = lower_numbers(l, n, weight, weights[i], joint ? i * count : 0, count, false, err);
    double *bias =
        w && b ? lower_numbers(l, n, b, "in_proj_bias", i * a->embed, a->embed, false, err) : NULL;
    if (!w || (b && !bias))
        return NULL;
    struct map *y = lower_doubles(l, n, names[i], x->h, x->w, (int)a->embed, err);
    return y && lower_linear_real(l, n, x, y, w, bias, err) ? y : NULL;
}

static void fit_rows(const struct layer *l, const struct piece_rows *p, int32_t *args)
{
    args[l->args[ATTEND_TARGET] == AXIS_H ? ATTEND_FIRST_TARGET : ATTEND_FIRST_IMAGE] = p->r0;
}

static struct layer *attend(struct lowering *l, const struct node *n, const struct attention *a,
                            struct map *y, int result, struct bpu_error *err)
{
    struct layer *layer = lower_layer(l, OP_ATTEND, n, y, err);
    bool values = result == ATTEND_VALUES;
    if (!layer)
        return NULL;
    enum need keys = !values ? NEED_ALL : a->target == AXIS_H ? NEED_FRAME : NEED_SAME;
    layer_reads(layer, a->q, values ? NEED_SAME : NEED_ALL);
    layer_reads(layer, a->k, keys);
    layer_reads(layer, values ? a->v : NULL, keys);
    layer_reads(layer, a->padding, NEED_ALL);
    layer_reads(layer, a->mask, NEED_ALL);
    layer_set(layer, "heads", (int32_t)a->heads);
    layer_set(layer, "target", a->target);
    layer_set(layer, "image_axis", a->image);
    layer_set(layer, "result", result);
    layer->whole = layer->whole_frame = !values;
    layer->fit = values ? fit_rows : NULL;
    return layer;
}

static bool masks(struct lowering *l, const struct node *n, struct attention *a,
                  struct bpu_error *err)
{
    const struct value *padding = node_input(n, 3), *mask = node_input(n, 4);
    struct shape of_keys = {.rank = 2, .dim = {a->images, a->keys}};
    if (padding && (shape_elements(&padding->shape) != a->images * a->keys ||
                    !(a->padding = lower_map_as(l, padding, &of_keys, FORM_FEATURES, err))))
        return lower_refuse(n, err, "the padding mask does not fit the keys");
    if (!mask)
        return true;
    int rank = mask->shape.rank;
    int64_t planes = rank == 3 ? a->images * a->heads : 1;
    if ((rank != 2 && rank != 3) || shape_elements(&mask->shape) != planes * a->rows * a->keys)
        return lower_refuse(n, err, "the mask does not fit rows and keys");
    a->mask = lower_map(l, mask, FORM_FEATURES, err);
    return a->mask != NULL;
}

bool lower_attention(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct shape *q = &n->inputs[0]->shape, *k = &n->inputs[1]->shape;
    const struct value *result = lower_output(n, 0), *weights = lower_output(n, 1);
    bool batched = q->rank == 3, first = batched && node_bool(n, "batch_first", false);
    int sequence = first ? 1 : 0;
    struct attention a = {.heads = node_int(n, "num_heads", 1),
                          .target = batched && !first ? AXIS_H : AXIS_W};
    if ((q->rank != 2 && q->rank != 3) || k->rank != q->rank)
        return lower_refuse(n, err, "its operands have %d and %d axes", q->rank, k->rank);
    if (node_bool(n, "add_bias_kv", false) || node_bool(n, "add_zero_attn", false))
        return lower_refuse(n, err, "add_bias_kv and add_zero_attn are not supported");
    a.image = AXIS_H + AXIS_W - a.target;
    a.embed = q->dim[q->rank - 1];
    a.rows = q->dim[sequence];
    a.keys = k->dim[sequence];
    a.images = batched ? q->dim[1 - sequence] : 1;
    if (a.heads < 1 || a.heads > a.embed || a.embed % a.heads)
        return lower_refuse(n, err, "%lld heads of %lld channels", (long long)a.heads,
                            (long long)a.embed);
    if (!(a.q = projected(l, n, &a, 0, err)) || !(a.k = projected(l, n, &a, 1, err)) ||
        !(a.v = projected(l, n, &a, 2, err)) || !masks(l, n, &a, err))
        return false;
    if (result) {
        double *w = lower_numbers(l, n, node_param(n, "out_proj_weight"), "out_proj_weight", 0,
                                  a.embed * a.embed, false, err);
        const struct value *b = node_param(n, "out_proj_bias");
        double *bias =
            b && w ? lower_numbers(l, n, b, "out_proj_bias", 0, a.embed, false, err) : NULL;
        struct map *mixed = w ? lower_doubles(l, n, "mixed", a.q->h, a.q->w, a.q->c, err) : NULL;
        struct map *y = mixed ? lower_result(l, result, FORM_FEATURES, err) : NULL;
        if (!y || (b && !bias) || !attend(l, n, &a, mixed, ATTEND_VALUES, err) ||
            !lower_linear_real(l, n, mixed, y, w, bias, err))
            return false;
    }
    if (!weights)
        return true;
    struct map *y = lower_result(l, weights, FORM_FEATURES, err);
    bool mean = node_bool(n, "average_attn_weights", true);
    return y && attend(l, n, &a, y, mean ? ATTEND_MEAN : ATTEND_WEIGHTS, err) != NULL;
}
