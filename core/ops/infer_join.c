/* infer_join: tensors put together, cut apart, padded, and shuffled between channels and pixels. */
#include <string.h>

#include "core/ops/infer.h"

static bool join_operands(const struct node *n, struct bpu_error *err)
{
    for (int i = 0; i < n->input_count; i++)
        if (!n->inputs[i])
            return infer_bad(n, err, NULL, "operand %d is left out", i);
    return true;
}

/* The type of all operands together; *equal_quant: their scales are the same. */
static enum dtype join_dtype(const struct node *n, bool *equal_quant)
{
    enum dtype t = infer_dtype(n, 0);
    *equal_quant = n->inputs[0] != NULL;
    for (int i = 1; i < n->input_count; i++) {
        t = infer_promote(t, false, infer_dtype(n, i), false);
        *equal_quant &= n->inputs[0] && n->inputs[i] &&
                        infer_quant_equal(&n->inputs[0]->quant, &n->inputs[i]->quant);
    }
    return t;
}

static bool join_out(struct node *n, const struct shape *out, enum dtype t, bool equal_quant,
                     struct bpu_error *err)
{
    if (!infer_out(n, 0, out, t, err))
        return false;
    if (equal_quant)
        infer_carry_quant(n, 0, 0, NULL);
    return true;
}

/* PyTorch leaves out one-dimensional empty tensors when it concatenates. */
static bool join_skips(const struct shape *s)
{
    return s->rank == 1 && s->dim[0] == 0;
}

bool infer_cat(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    bool equal_quant;
    enum dtype t = join_dtype(n, &equal_quant);
    struct shape out = *infer_shape(n, 0);
    int axis, first = 0;
    if (!join_operands(n, err))
        return false;
    for (int i = 0; i < n->input_count; i++)
        if (infer_shape(n, i)->rank < 0)
            return infer_out_unknown(n, 0, t, err);
    for (int i = 0; i < n->input_count && join_skips(&out); i++) {
        out = *infer_shape(n, i);
        first = i;
    }
    if (out.rank == 0)
        return infer_bad(n, err, "Use torch.stack for scalars.", "scalars cannot be concatenated");
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), out.rank, &axis, err))
        return false;
    const struct shape *head = infer_shape(n, first);
    for (int i = first + 1; i < n->input_count; i++) {
        const struct shape *x = infer_shape(n, i);
        if (join_skips(x) && out.rank != 1)
            continue;
        bool fits = x->rank == out.rank;
        for (int k = 0; k < out.rank && fits; k++) {
            if (k == axis)
                continue;
            if (out.dim[k] < 0)
                out.dim[k] = x->dim[k];
            fits = x->dim[k] < 0 || x->dim[k] == out.dim[k];
        }
        if (!fits)
            return infer_bad(n, err,
                             "All axes but the one along which they are joined must be equal.",
                             "operand %d of shape %s cannot be joined with %s along axis %d", i,
                             shape_text(x, tb), shape_text(head, ta), axis);
        if (out.dim[axis] < 0 || x->dim[axis] < 0)
            out.dim[axis] = -1;
        else if (!checked_add(out.dim[axis], x->dim[axis], &out.dim[axis]))
            return infer_bad(n, err, NULL, "axis %d becomes longer than 64 bits hold", axis);
    }
    return join_out(n, &out, t, equal_quant, err);
}

bool infer_stack(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    bool equal_quant;
    enum dtype t = join_dtype(n, &equal_quant);
    struct shape x = *infer_shape(n, 0);
    int axis;
    if (!join_operands(n, err))
        return false;
    for (int i = 0; i < n->input_count; i++) {
        const struct shape *s = infer_shape(n, i);
        if (s->rank < 0)
            return infer_out_unknown(n, 0, t, err);
        bool fits = s->rank == x.rank;
        for (int k = 0; k < x.rank && fits; k++) {
            if (x.dim[k] < 0)
                x.dim[k] = s->dim[k];
            fits = s->dim[k] < 0 || s->dim[k] == x.dim[k];
        }
        if (!fits)
            return infer_bad(n, err, "Stacked tensors must have the same shape.",
                             "operand %d of shape %s differs from %s", i, shape_text(s, tb),
                             shape_text(&x, ta));
    }
    if (x.rank == SHAPE_MAX_RANK)
        return infer_bad(n, err, NULL, "the result would have rank %d; at most %d can be held",
                         x.rank + 1, SHAPE_MAX_RANK);
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x.rank + 1, &axis, err))
        return false;
    struct shape out = {.rank = x.rank + 1};
    for (int i = 0, k = 0; i < out.rank; i++)
        out.dim[i] = i == axis ? n->input_count : x.dim[k++];
    return join_out(n, &out, t, equal_quant, err);
}

/* Output i gets extent part(i) on the axis. */
static bool split_out(struct node *n, int axis, int i, int64_t part, struct bpu_error *err)
{
    struct shape out = *infer_shape(n, 0);
    int map[SHAPE_MAX_RANK];
    for (int k = 0; k < SHAPE_MAX_RANK; k++)
        map[k] = k == axis ? -1 : k;
    out.dim[axis] = part;
    if (!infer_out(n, i, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, i, 0, map);
    return true;
}

/* Equal parts of `size`, the last one what is left. */
static bool split_even(struct node *n, int axis, int64_t size, int64_t parts, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    int64_t d = x->dim[axis];
    if (d >= 0 && parts != n->output_count)
        return infer_bad(
            n, err, "Every part is an output of the node.",
            "axis %d of %s in pieces of %lld gives %lld parts, but there are %d outputs", axis,
            shape_text(x, text), (long long)size, (long long)parts, n->output_count);
    for (int i = 0; i < n->output_count; i++) {
        int64_t left = d < 0 ? -1 : d - i * size;
        if (!split_out(n, axis, i, d < 0 ? -1 : left < size ? left : size, err))
            return false;
    }
    return true;
}

bool infer_split(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    const struct attr *a = node_attr(n, "split_size_or_sections");
    int axis;
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (x->rank == 0)
        return infer_bad(n, err, NULL, "a scalar cannot be split");
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err))
        return false;
    int64_t d = x->dim[axis];
    if (!a || a->kind == ATTR_NONE) { /* ONNX: as many equal parts as there are outputs */
        int64_t size = n->output_count && d > 0 ? (d + n->output_count - 1) / n->output_count : d;
        return split_even(n, axis, size, size > 0 ? (d + size - 1) / size : n->output_count, err);
    }
    if (a->kind == ATTR_INT) {
        if (a->i < 0 || (a->i == 0 && d != 0))
            return infer_bad(n, err, NULL, "the parts have the size %lld", (long long)a->i);
        int64_t parts = d <= 0 ? 1 : d / a->i + (d % a->i != 0);
        return split_even(n, axis, a->i > d && d >= 0 ? d : a->i, parts, err);
    }
    if (a->kind != ATTR_INTS)
        return infer_bad(n, err, NULL,
                         "split_size_or_sections must be an integer or a list of integers");
    int64_t sum = 0;
    for (int i = 0; i < a->count; i++)
        if (a->ints[i] < 0 || !checked_add(sum, a->ints[i], &sum))
            return infer_bad(n, err, NULL, "part %d has the size %lld", i, (long long)a->ints[i]);
    if (d >= 0 && sum != d)
        return infer_bad(n, err, "The sections must sum to the extent of the axis.",
                         "the sections sum to %lld, but axis %d of %s has %lld", (long long)sum,
                         axis, shape_text(x, text), (long long)d);
    if (a->count != n->output_count)
        return infer_bad(n, err, "Every part is an output of the node.",
                         "there are %d sections, but %d outputs", a->count, n->output_count);
    for (int i = 0; i < a->count; i++)
        if (!split_out(n, axis, i, a->ints[i], err))
            return false;
    return true;
}

bool infer_chunk(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    int64_t chunks = node_int(n, "chunks", 0), size;
    int axis;
    if (chunks < 1)
        return infer_bad(n, err, NULL, "chunks is %lld; it must be at least 1", (long long)chunks);
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (x->rank == 0)
        return infer_bad(n, err, NULL, "a scalar cannot be split");
    if (!infer_axis(n, "dim", node_int(n, "dim", 0), x->rank, &axis, err))
        return false;
    int64_t d = x->dim[axis];
    size = d <= 0 ? 0 : d / chunks + (d % chunks != 0);
    return split_even(n, axis, size, size ? d / size + (d % size != 0) : chunks, err);
}

/* Pads pairs[2k], pairs[2k+1] before and after the k-th axis from the end. */
static bool pad_apply(struct node *n, const int64_t *pairs, int count, const char *mode,
                      struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    struct shape out = *infer_shape(n, 0);
    bool reflect = strcmp(mode, "reflect") == 0;
    bool circular = strcmp(mode, "circular") == 0 || strcmp(mode, "wrap") == 0;
    bool replicate = strcmp(mode, "replicate") == 0 || strcmp(mode, "edge") == 0;
    if (!reflect && !circular && !replicate && strcmp(mode, "constant") != 0)
        return infer_bad(n, err, "Modes are constant, reflect, replicate and circular.",
                         "mode is \"%.40s\"", mode);
    if (count % 2 || count / 2 > out.rank)
        return infer_bad(n, err, "Give pairs, the last axis first.",
                         "pad has %d entries, but the input has shape %s", count,
                         shape_text(&out, text));
    for (int i = 0; i < count / 2; i++) {
        int axis = out.rank - 1 - i;
        int64_t d = out.dim[axis], a = pairs[2 * i], b = pairs[2 * i + 1], most = a > b ? a : b,
                sum;
        if (d < 0)
            continue;
        if (most > 0 && ((reflect && most >= d) || (circular && most > d) || (replicate && d == 0)))
            return infer_bad(n, err, "Pad less, or in the mode \"constant\".",
                             "%s padding %lld is too large for axis %d of %s", mode,
                             (long long)most, axis, shape_text(infer_shape(n, 0), text));
        if (!checked_add(d, a, &sum) || !checked_add(sum, b, &sum))
            return infer_bad(n, err, NULL, "the padded extent of axis %d is beyond 64 bits", axis);
        if (sum < 0)
            return infer_bad(n, err, NULL, "axis %d has nothing left: %lld %+lld %+lld = %lld",
                             axis, (long long)d, (long long)a, (long long)b, (long long)sum);
        out.dim[axis] = sum;
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_pad(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const struct shape *x = infer_shape(n, 0);
    int64_t pairs[2 * SHAPE_MAX_RANK];
    int count;
    if (!infer_ints(n, "pad", pairs, 2 * SHAPE_MAX_RANK, &count, err))
        return false;
    if (count < 0 && n->input_count < 2)
        return infer_bad(n, err, NULL, "attribute pad is missing");
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (count < 0) { /* known only when the network runs */
        struct shape open = {.rank = x->rank};
        for (int i = 0; i < x->rank; i++)
            open.dim[i] = -1;
        return infer_out(n, 0, &open, infer_dtype(n, 0), err);
    }
    return pad_apply(n, pairs, count, node_string(n, "mode", "constant"), err);
}

/* The padding layers: an int for all sides, or left, right, top, bottom. */
bool infer_pad2d(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    bool replicate = strcmp(n->op->key, "replication_pad2d") == 0;
    bool reflect = strcmp(n->op->key, "reflection_pad2d") == 0;
    int64_t pairs[4];
    if (!infer_tuple(n, "padding", 4, 0, pairs, err))
        return false;
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    if (x->rank < 2 || ((replicate || reflect) && x->rank != 3 && x->rank != 4))
        return infer_bad(n, err, NULL, "the input has shape %s; images (N, C, H, W) are needed",
                         shape_text(x, text));
    return pad_apply(n, pairs, 4, replicate ? "replicate" : reflect ? "reflect" : "constant", err);
}

static bool shuffle_input(const struct node *n, const char *name, const struct shape *x, int64_t *r,
                          struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    *r = node_int(n, name, 0);
    if (*r < 1 || *r > 65536)
        return infer_bad(n, err, NULL, "%s is %lld; it must be 1..65536", name, (long long)*r);
    if (x->rank >= 0 && x->rank < 3)
        return infer_bad(n, err, NULL, "the input has shape %s; at least rank 3 is needed",
                         shape_text(x, text));
    return true;
}

bool infer_pixel_shuffle(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    struct shape out = *infer_shape(n, 0);
    int64_t r;
    if (!shuffle_input(n, "upscale_factor", &out, &r, err))
        return false;
    if (out.rank >= 3) {
        int64_t *d = &out.dim[out.rank - 3];
        if (d[0] > 0 && d[0] % (r * r))
            return infer_bad(n, err, NULL, "the %lld channels of %s are no multiple of %lld * %lld",
                             (long long)d[0], shape_text(&out, text), (long long)r, (long long)r);
        d[0] = d[0] < 0 ? -1 : d[0] / (r * r);
        for (int i = 1; i < 3; i++)
            d[i] = d[i] < 0 ? -1 : d[i] * r; /* at most 2^40 * 2^16 */
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_pixel_unshuffle(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    struct shape out = *infer_shape(n, 0);
    int64_t r;
    if (!shuffle_input(n, "downscale_factor", &out, &r, err))
        return false;
    if (out.rank >= 3) {
        int64_t *d = &out.dim[out.rank - 3];
        if ((d[1] > 0 && d[1] % r) || (d[2] > 0 && d[2] % r))
            return infer_bad(n, err, NULL, "height and width of %s are not multiples of %lld",
                             shape_text(&out, text), (long long)r);
        if (d[0] >= 0 && !checked_mul(d[0], r * r, &d[0]))
            return infer_bad(n, err, NULL, "the number of channels is beyond 64 bits");
        for (int i = 1; i < 3; i++)
            d[i] = d[i] < 0 ? -1 : d[i] / r;
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

bool infer_channel_shuffle(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    int64_t groups;
    if (!shuffle_input(n, "groups", x, &groups, err))
        return false;
    if (x->rank >= 0 && x->dim[1] > 0 && x->dim[1] % groups)
        return infer_bad(n, err, NULL, "the %lld channels of %s are no multiple of groups %lld",
                         (long long)x->dim[1], shape_text(x, text), (long long)groups);
    if (!infer_out(n, 0, x, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}
