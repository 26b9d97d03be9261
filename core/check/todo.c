/* What to do about a limit, with the numbers of the node; where other layers do the work, rewrite.c
 * says it better and comes after this.  A quantity's general advice (core/march/quantity.h) is the
 * last resort.
 *
 * Nothing is named here that a march does not have: a test holds every hint against the tables. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

struct todo {
    const struct subject *s;
    const struct limit *l;
    const struct measure *m;
    const struct value *v; /* the operand at fault, or NULL */
    enum quantity q;       /* a weight's axes as what they are of the layer */
    bool relation;
    double bound, parts; /* upper bound; how many parts keep within it. 0: there is none */
};

static bool is_op(const struct todo *t, const char *name)
{
    return strncmp(t->s->n->op->name, name, strlen(name)) == 0;
}

#define SAY(...) arena_printf(t->s->c->a, t->s->c->err, __VA_ARGS__)

/* "nearest or bilinear". */
static const char *allowed(const struct todo *t)
{
    char text[300] = "";
    size_t used = 0;
    const char *const *in = t->l->in;
    for (int i = 0; in && in[i] && used < sizeof(text) - 64; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.40s",
                                 !i          ? ""
                                 : in[i + 1] ? ", "
                                             : " or ",
                                 in[i]);
    return SAY("%s", text);
}

static enum quantity quantity_of(const struct limit *l)
{
    if (l->operand != OPERAND_WEIGHT)
        return l->quantity;
    switch (l->quantity) {
    case Q_D: return Q_KERNEL_D;
    case Q_H: return Q_KERNEL_H;
    case Q_W: return Q_KERNEL_W;
    case Q_N: return Q_OUT_CHANNELS;
    case Q_C: return Q_IN_CHANNELS_PER_GROUP;
    default: return l->quantity;
    }
}

static const char *shape_as_4d(const struct todo *t)
{
    char was[SHAPE_TEXT_MAX];
    const struct shape *x = t->v ? &t->v->shape : NULL;
    if (!x || !shape_is_static(x) || x->rank < 1)
        return NULL;
    long long d[5];
    for (int i = 0; i < 5; i++)
        d[i] = i < x->rank ? (long long)x->dim[i] : 1;
    shape_text(x, was);
    if (t->s->n->op->class == OPC_MATMUL && x->rank < 4) /* the last two axes are the matrix */
        return SAY("Give %s as %s%s.", was,
                   x->rank == 3   ? "1x"
                   : x->rank == 2 ? "1x1x"
                                  : "1x1x1x",
                   was);
    switch (x->rank) {
    case 1: return SAY("Give %s as 1x%lldx1x1.", was, d[0]);
    case 2: return SAY("Give %s as %lldx%lldx1x1.", was, d[0], d[1]);
    case 3: return SAY("Give %s as %lldx%lldx1x%lld.", was, d[0], d[1], d[2]);
    case 5:
        if (shape_elements(x) < 1)
            return NULL;
        return SAY("Give %s as %lldx%lldx%lldx%lld, with two axes as one.", was, d[0], d[1] * d[2],
                   d[3], d[4]);
    default: return "Merge neighbouring axes until four are left.";
    }
}

static const char *rank(const struct todo *t)
{
    bool four =
        !t->l->in && (!t->l->has_min || t->l->min <= 4) && (!t->l->has_max || t->l->max >= 4);
    for (int i = 0; t->l->in && t->l->in[i]; i++)
        four |= strcmp(t->l->in[i], "4") == 0;
    return four ? shape_as_4d(t) : NULL;
}

/* ── windows ───────────────────────────────────────────────────────────────────────────────── */

static double number_of(const struct todo *t, enum quantity q)
{
    struct measure m;
    return quantity_measure(t->s, q, NULL, &m) && m.is_number ? m.number : 0;
}

static const char *transposed(const struct todo *t)
{
    bool h = t->q == Q_KERNEL_H || t->q == Q_STRIDE_H || t->q == Q_PADDING_H;
    double kernel = number_of(t, h ? Q_KERNEL_H : Q_KERNEL_W);
    double step = number_of(t, h ? Q_STRIDE_H : Q_STRIDE_W), is = t->m->number;
    switch (t->q) {
    case Q_KERNEL_H:
    case Q_KERNEL_W:
        if (t->bound > 0 && kernel > t->bound)
            return SAY(
                "Enlarge the map with torch.nn.Upsample and put a torch.nn.Conv2d behind it, "
                "or use a kernel of %.0f.",
                t->bound);
        return SAY("Fill the kernel up with zeros from %.0f to %.0f; the result grows at the end "
                   "and can be cut with y[:, :, :h, :w].",
                   kernel, t->relation ? step : t->l->min);
    case Q_STRIDE_H:
    case Q_STRIDE_W:
    case Q_STRIDE:
        return "Enlarge the map with torch.nn.Upsample and put a torch.nn.Conv2d behind it, or use "
               "the same stride from 2 on for both axes.";
    case Q_PADDING_H:
    case Q_PADDING_W: {
        double half =
            t->l->relation == R_PAD_HALF_KERNEL_1_H || t->l->relation == R_PAD_HALF_KERNEL_1_W
                ? floor((kernel - 1) / 2)
            : step > 0 ? floor(kernel / step)
                       : 0;
        return SAY("Use padding %.0f and cut %.0f off each side of the result with a slice.", half,
                   is - half);
    }
    case Q_IN_CHANNELS:
    case Q_IN_CHANNELS_PER_GROUP:
        return SAY("Put a 1x1 torch.nn.Conv2d with at most %.0f channels before it.", t->bound);
    case Q_OUT_CHANNELS:
        return SAY(
            "Make at most %.0f channels here, and more with a 1x1 torch.nn.Conv2d behind it.",
            t->bound);
    case Q_OUTPUT_PADDING_H:
    case Q_OUTPUT_PADDING_W:
        return SAY("Use an output padding of at most %.0f, and torch.nn.ZeroPad2d for the rest.",
                   t->bound);
    default: return NULL;
    }
}

static const char *conv3d(const struct todo *t)
{
    double is = t->m->number;
    switch (t->q) {
    case Q_GROUPS:
        return SAY("Use groups=1, with zeros for the weights between the %.0f groups.", is);
    case Q_KERNEL_D:
    case Q_KERNEL_H:
    case Q_KERNEL_W:
        return SAY("Stack kernels: one of %.0f and one of %.0f behind it see the same %.0f.",
                   t->bound, is - t->bound + 1, is);
    case Q_STRIDE_D:
    case Q_STRIDE_H:
    case Q_STRIDE_W:
    case Q_STRIDE:
        return "Use stride 1 or 2 on all three axes, and a second layer with stride 2 for more.";
    case Q_DILATION:
    case Q_DILATION_D:
    case Q_DILATION_H:
    case Q_DILATION_W:
        return SAY("Use dilation 1 and a larger kernel, with %.0f zero%s between its weights.",
                   is - 1, is > 2 ? "s" : "");
    case Q_PADDING_D:
    case Q_PADDING_H:
    case Q_PADDING_W: return "Pad before the layer with torch.nn.functional.pad.";
    default: return NULL;
    }
}

static const char *window(const struct todo *t)
{
    double is = t->m->number;
    if (is_op(t, "torch.nn.ConvTranspose"))
        return transposed(t);
    if (is_op(t, "torch.nn.Conv3d"))
        return conv3d(t);
    bool pool = t->s->n->op->class == OPC_POOL;
    if (!pool && (t->q == Q_KERNEL_H || t->q == Q_KERNEL_W) && t->bound >= 3 && is > t->bound)
        return SAY(
            "Build it from smaller kernels one behind the other: %.0f of %.0f see what one of "
            "%.0f sees.",
            ceil((is - 1) / (t->bound - 1)), t->bound, is);
    if (pool && (t->q == Q_KERNEL_H || t->q == Q_KERNEL_W))
        return SAY("Pool in several steps whose windows multiply to %.0f and are at most %.0f; "
                   "where there are none, resize the map or choose another input size.",
                   is, t->bound);
    if (pool && (t->q == Q_STRIDE_H || t->q == Q_STRIDE_W))
        return SAY("Use a stride of at most %.0f, or one that is a product, with a second pool of "
                   "kernel 1 for the rest.",
                   t->bound);
    if (pool && (t->q == Q_DILATION_H || t->q == Q_DILATION_W))
        return "Pool without dilation, or take every nth row and column first with a slice.";
    return NULL;
}

/* ── shapes ────────────────────────────────────────────────────────────────────────────────── */

static const char *extent(const struct todo *t)
{
    static const struct {
        enum quantity q;
        const char *axis;
    } axes[] = {{Q_N, "the batch"},
                {Q_BATCH, "the batch"},
                {Q_C, "the channels"},
                {Q_D, "D"},
                {Q_H, "H"},
                {Q_W, "W"},
                {Q_DIM_SIZE, "its longest axis"},
                {Q_DIM_HIGHEST, "its first axis"},
                {Q_DIM_OTHER, "its longest axis"},
                {Q_DIM_BATCH, "its leading axis"},
                {Q_MATMUL_M, "the rows of the first operand"},
                {Q_MATMUL_N, "the columns of the second operand"}};
    double is = t->m->number;
    for (size_t i = 0; i < sizeof(axes) / sizeof(axes[0]); i++) {
        if (axes[i].q != t->q)
            continue;
        if (is < 1)
            return SAY("Give it data: %s has no extent.", axes[i].axis);
        if (t->q == Q_BATCH && t->s->n->op->class == OPC_RECURRENT)
            return SAY("Run the %.0f sequences one by one, with batch 1.", is);
        if (t->parts >= 2 && t->s->n->op->class == OPC_MATMUL && (t->q == Q_H || t->q == Q_W))
            return SAY(
                "Split axis %s in %.0f parts of at most %.0f: products over parts of the inner "
                "axis are added, others are joined.",
                axes[i].axis, t->parts, t->bound);
        if (t->parts >= 2)
            return SAY("Run it in %.0f parts along %s (%.0f each), or on a smaller tensor.",
                       t->parts, axes[i].axis, ceil(is / t->parts));
        if (t->q == Q_N)
            return "Run the samples one by one, with batch 1.";
    }
    return NULL;
}

static const char *size(const struct todo *t)
{
    double is = t->m->number;
    switch (t->q) {
    case Q_HW:
    case Q_NORMALIZED_SHAPE_HW:
        return SAY(
            "Pool or resize the map first, or work on %.0f parts of it: of its %.0f elements "
            "%.0f are allowed.",
            t->parts, is, t->bound);
    case Q_CHW:
    case Q_ALIGNED_CHW:
        return SAY("Apply it to %.0f parts of the channels (torch.split), or to a smaller map.",
                   t->parts);
    case Q_TENSOR_BYTES:
    case Q_ALIGNED_BYTES:
        return SAY("Use a batch or map that is %.0f times smaller: this tensor has %.0f MiB.",
                   t->parts, is / (1 << 20));
    case Q_MATMUL_K:
    case Q_IN_FEATURES:
        return SAY("Split the inner axis in %.0f parts and add the results.", t->parts);
    case Q_OUT_FEATURES:
        return SAY("Use %.0f layers of at most %.0f outputs, and read their results apart.",
                   t->parts, t->bound);
    case Q_REDUCE_AXIS_SIZE:
        return SAY("Reduce in two steps: %.0f parts of the axis, then their results.", t->parts);
    case Q_GEMM_BLOCKS:
        return SAY(
            "Use %.0f layers, each on its part of the input features, and add their results.",
            t->parts);
    default: return NULL;
    }
}

/* Channels of what has no weights. */
static const char *channels(const struct todo *t)
{
    if (is_op(t, "torch.cat"))
        return SAY("Do not join %.0f channels: give each part to a layer of its own and add the "
                   "results, which is what a convolution of the joined tensor does.",
                   t->m->number);
    if (t->l->multiple_of)
        return SAY("Use a multiple of %d: %.0f instead of %.0f.", t->l->multiple_of,
                   ceil(t->m->number / t->l->multiple_of) * t->l->multiple_of, t->m->number);
    if (t->s->n->op->class == OPC_CONV || t->s->ctx->role == ROLE_LINEAR)
        return t->parts >= 2 ? SAY("Use %.0f layers of at most %.0f channels each, or fewer "
                                   "channels.",
                                   t->parts, t->bound)
                             : NULL;
    return t->parts >= 2
               ? SAY("Split the channels in %.0f parts of at most %.0f (torch.split), and "
                     "let the next layers read the parts.",
                     t->parts, t->bound)
               : NULL;
}

/* ── operands and attributes ───────────────────────────────────────────────────────────────── */

static const char *shapes(const struct todo *t)
{
    const struct value *a = node_input(t->s->n, 0), *b = node_input(t->s->n, 1);
    char full_text[SHAPE_TEXT_MAX];
    struct shape full;
    if (!a || !b)
        return NULL;
    const struct shape *x = &a->shape, *y = &b->shape;
    if (t->q == Q_SHAPE_PAIR && t->s->n->op->class == OPC_MATMUL) {
        if (y->rank < 2)
            return NULL;
        return SAY(
            "Give the second operand the shape 1x1x%lldx%lld, one for all products; or use a "
            "torch.nn.Conv2d where it is constant.",
            (long long)y->dim[y->rank - 2], (long long)y->dim[y->rank - 1]);
    }
    if (t->q == Q_SHAPE_PAIR)
        return x->rank == 4 ? SAY("Give both inputs the shape %s, or one of them 1x%lldx1x1.",
                                  shape_text(x, full_text), (long long)x->dim[1])
                            : NULL;
    if (!subject_broadcast(t->s, &full))
        return NULL;
    shape_text(&full, full_text);
    if (t->q == Q_BROADCAST_AXES)
        return SAY("Give both inputs the batch of the result, %s, before the model.", full_text);
    return SAY("Bring one input to the shape of the result, %s, first; torch.Tensor.expand does an "
               "axis at a time.",
               full_text);
}

static const char *attribute(const struct todo *t)
{
    double is = t->m->number;
    switch (t->q) {
    case Q_MODE:
    case Q_PADDING_MODE:
    case Q_COORDINATES:
    case Q_MIN_OPERAND_KIND:
    case Q_MAX_OPERAND_KIND:
        if (t->l->in)
            return SAY("Use %s instead of %.40s.", allowed(t), t->m->text);
        return "Use mode constant or replicate.";
    case Q_SCALE_FACTOR:
        return is > 1 ? SAY("Resize in two steps, each by about %.1f.", sqrt(is))
                      : SAY("Resize in two steps, each to about 1/%.1f.", sqrt(1 / is));
    case Q_SCALE_H:
    case Q_SCALE_W:
        return SAY("Use a factor of %.0f instead of %.6g, or mode bilinear.",
                   exp2(fmax(1, round(log2(is)))), is);
    case Q_SCALE: return "Enlarge W at least as much as H, or use mode bilinear.";
    case Q_AXIS:
        return SAY("Lay the tensor out so that it runs along axis %s.",
                   t->l->in ? allowed(t) : "1 or a later one");
    case Q_CHANGED_DIMS: return SAY("Use %.0f layers, one for each axis that changes.", is);
    case Q_BLOCKSIZE:
        return is == 4 || is == 8 || is == 16
                   ? SAY("Use %.0f layers with block size 2, one behind the other.", log2(is))
                   : "Use a block size of 2, or of a power of two in several layers.";
    case Q_NUM_INPUTS:
        return is < 2
                   ? "A torch.cat of one tensor does nothing: leave it out."
                   : SAY("Join the %.0f tensors in two steps, %.0f at a time.", is, ceil(sqrt(is)));
    case Q_ADD_BIAS_KV: return "Pass add_bias_kv=False.";
    case Q_ADD_ZERO_ATTN: return "Pass add_zero_attn=False.";
    case Q_NUM_FEATURES: return SAY("Use at most %.0f levels.", t->l->max);
    default: return NULL;
    }
}

static const char *reduced(const struct todo *t)
{
    int64_t axes[SHAPE_MAX_RANK];
    int count;
    const struct value *x = node_input(t->s->n, 0);
    if (!x || !subject_axes(t->s, axes, &count))
        return NULL;
    for (int i = 0; i < count; i++)
        if (axes[i] == 0 && t->q == Q_REDUCE_AXIS)
            return "Return the tensor from the model and reduce the batch on the host.";
    if (t->q == Q_REDUCE_AXIS && is_op(t, "torch.sum"))
        return "A sum over H and W is torch.nn.AvgPool2d over the whole map, times its size, which "
               "the "
               "weights of the next layer can carry.";
    if (t->q == Q_NUM_AXES || t->q == Q_AXES_NAMED)
        return SAY("Reduce the %d axes one after the other.", count);
    return NULL;
}

const char *todo_text(const struct subject *s, const struct limit *l, const struct measure *m,
                      const struct value *v, bool relation)
{
    struct todo t = {.s = s, .l = l, .m = m, .v = v, .q = quantity_of(l), .relation = relation};
    const char *text = NULL;
    if (l->has_max && m->is_number && !relation) {
        t.bound = l->max - l->max_open;
        t.parts = t.bound > 0 && m->number > t.bound ? ceil(m->number / t.bound) : 0;
    }
    switch (t.q) {
    case Q_RANK: text = rank(&t); break;
    case Q_SHAPE_PAIR:
    case Q_BROADCAST_AXES:
    case Q_NUM_BROADCAST_INPUTS:
    case Q_MUTUAL_BROADCAST: text = shapes(&t); break;
    case Q_REDUCE_AXIS:
    case Q_NUM_AXES:
    case Q_AXES_NAMED: text = reduced(&t); break;
    case Q_IN_CHANNELS:
    case Q_OUT_CHANNELS:
    case Q_IN_CHANNELS_PER_GROUP:
    case Q_OUT_CHANNELS_PER_GROUP:
        text = is_op(&t, "torch.nn.ConvTranspose") ? window(&t) : channels(&t);
        break;
    default:
        text = window(&t);
        if (!text)
            text = t.parts >= 2 ? size(&t) : NULL;
        if (!text)
            text = m->is_number && l->quantity != Q_KEEPDIMS ? extent(&t) : NULL;
        if (!text)
            text = attribute(&t);
    }
    const char *general = quantity_rows[t.q].todo;
    return text ? text : *general ? general : NULL;
}
