/* What can only be said of quantization when all nodes are read: who else reads a value that a Q/DQ
 * pair has given a scale, whether a bias has the scale of its accumulator, and which bounds the
 * scale keeps anyway. */
#include <math.h>
#include <string.h>

#include "core/import/onnx_qparam.h"
#include "core/ops/op.h"

/* Beyond these, one note says how many more there are. */
enum { MAX_NOTES = 8 };

struct finish {
    struct graph *g;
    struct graph_users *users;
    struct bpu_error *err;
    bool *seen; /* [value_count]: its readers were looked through */
    int widened, rescaled, biases;
};

struct value *onnx_inside(struct value *v)
{
    const struct node *n = v ? v->producer : NULL;
    bool border = n && n->op && n->fold == FOLD_NONE && v->quant.count == 0 &&
                  n->input_count == 1 && strcmp(n->op->name, "torch.quantization.DeQuantStub") == 0;
    return border && n->inputs[0]->quant.count > 0 && dtype_is_quantized(n->inputs[0]->dtype)
               ? n->inputs[0]
               : v;
}

static bool is_stub(const struct node *n, const char *name)
{
    return n->op && n->op->class == OPC_QUANT && strcmp(n->op->name, name) == 0;
}

/* A value that Q behind it has quantized for all of its readers, though the file quantizes it for
 * one. */
static bool note_widened(struct finish *f, const struct node *q)
{
    const struct value *x = q->inputs[0];
    const char *reader = x->is_output ? "whoever takes it as an output" : NULL;
    if (x->quant.count == 0 || f->seen[x->index])
        return true;
    f->seen[x->index] = true;
    for (int i = 0; !reader && i < f->users->count[x->index]; i++) {
        const struct node *n = f->users->users[x->index][i];
        if (n->fold != FOLD_QUANT && n->fold != FOLD_CONSTANT &&
            (!n->op || n->op->class != OPC_QUANT))
            reader = n->name;
    }
    if (!reader || f->widened++ >= MAX_NOTES)
        return true;
    return graph_add_note(f->g, f->err,
                          "\"%.150s\" is quantized for one reader and read in float by \"%.150s\"; "
                          "both are judged over the quantized value, which changes the result.",
                          x->name, reader);
}

/* A folded Q whose scale is not that of the value it stands on, or a DQ that reads integers at
 * another scale than they were written with. The Integer operators read them at scale 1, by their
 * nature. */
static bool note_rescaled(struct finish *f, const struct node *n, bool quantizes)
{
    const struct value *source = n->inputs[0],
                       *y = n->outputs[0]; /* the next one: chains stay cheap */
    const char *from = n->origin.source_op ? n->origin.source_op : "";
    if (y->quant.count == 0 || source->quant.count == 0 ||
        onnx_qparam_equal(&source->quant, &y->quant) || strstr(from, "Integer") ||
        f->rescaled++ >= MAX_NOTES)
        return true;
    return graph_add_note(f->g, f->err,
                          quantizes
                              ? "\"%.150s\" has the scale %.9g, and node \"%.150s\" quantizes it "
                                "again with %.9g."
                              : "\"%.150s\" has the scale %.9g, but node \"%.150s\" reads its "
                                "integers with %.9g.",
                          source->name, source->quant.scale[0], n->name, y->quant.scale[0]);
}

/* The accumulator adds the bias at the scale of input times weight. */
static bool note_bias(struct finish *f, const struct node *n)
{
    const struct value *b = node_param(n, "bias"), *w = node_param(n, "weight");
    struct value *x = node_input(n, 0);
    if (!b || !w || !x || b->quant.count == 0 || w->quant.count == 0)
        return true;
    if (x->quant.count == 0)
        x = value_source(x);
    if (x->quant.count != 1 ||
        (b->quant.count > 1 && w->quant.count > 1 && b->quant.count != w->quant.count))
        return true;
    int count = b->quant.count > w->quant.count ? b->quant.count : w->quant.count;
    if (!op_fold_affordable(f->g, count)) /* many layers may share the same long lists */
        return true;
    for (int i = 0; i < count; i++) {
        double want = x->quant.scale[0] * w->quant.scale[w->quant.count > 1 ? i : 0];
        double is = b->quant.scale[b->quant.count > 1 ? i : 0];
        if (fabs(is - want) <= 1e-6 * want)
            continue;
        if (f->biases++ >= MAX_NOTES)
            return true;
        return graph_add_note(f->g, f->err,
                              "The bias of \"%.150s\" has the scale %.9g for channel %d, but its "
                              "accumulator %.9g (input times weight): it is requantized.",
                              n->name, is, i, want);
    }
    return true;
}

static bool integer_range(enum dtype t, double *lo, double *hi)
{
    switch (t) {
    case DT_QUINT8: *lo = 0, *hi = 255; return true;
    case DT_QINT8: *lo = -128, *hi = 127; return true;
    case DT_QINT16: *lo = -32768, *hi = 32767; return true;
    default: return false;
    }
}

/* The bounds of a ReLU or clamp; false if n is none, or they are not numbers. */
static bool bounds_of(const struct node *n, double *lo, double *hi)
{
    const struct attr *min = node_attr(n, "min"), *max = node_attr(n, "max");
    if (!n->op || n->input_count != 1)
        return false;
    *lo = strcmp(n->op->name, "torch.clamp") == 0 ? -INFINITY : 0;
    *hi = strcmp(n->op->name, "torch.nn.ReLU6") == 0 ? 6 : INFINITY;
    if (strcmp(n->op->name, "torch.nn.ReLU") == 0 || strcmp(n->op->name, "torch.nn.ReLU6") == 0)
        return true;
    if (strcmp(n->op->name, "torch.clamp") != 0)
        return false;
    if (min && min->kind != ATTR_NONE)
        *lo = node_float(n, "min", NAN);
    if (max && max->kind != ATTR_NONE)
        *hi = node_float(n, "max", NAN);
    return !isnan(*lo) && !isnan(*hi);
}

/* ReLU of a value whose smallest number is 0 does nothing; exporters leave such between two pairs.
 */
static void drop_bound(struct node *n)
{
    double lo, hi, least, most;
    const struct value *x = node_input(n, 0), *y = n->output_count == 1 ? n->outputs[0] : NULL;
    if (n->fold != FOLD_NONE || !x || !y || x->quant.count != 1 || x->dtype != y->dtype ||
        !onnx_qparam_equal(&x->quant, &y->quant) || !bounds_of(n, &lo, &hi) ||
        !integer_range(x->dtype, &least, &most))
        return;
    double zero = x->quant.zero_point ? (double)x->quant.zero_point[0] : 0, s = x->quant.scale[0];
    if (lo <= (least - zero) * s && hi >= (most - zero) * s)
        n->fold = FOLD_IDENTITY;
}

/* The only reader of v, if v stays inside; else NULL. */
static struct node *only_reader(const struct finish *f, const struct value *v)
{
    return v->is_output || f->users->count[v->index] != 1 ? NULL : f->users->users[v->index][0];
}

/* conv ─ Q ─ DQ ─ ReLU ─ Q ─ DQ with one scale: quantizing first and cutting off then gives the
 * same integers as the other way round, so the convolution's own scale says nothing, and its ReLU
 * runs inside it. */
static void drop_scale_before_bound(const struct finish *f, struct node *n)
{
    enum { Q, DQ, STUBS };
    struct node *stubs[STUBS] = {0};
    const struct value *y = n->output_count == 1 ? n->outputs[0] : NULL;
    struct value *v = node_input(n, 0);
    double lo, hi;
    if (n->fold != FOLD_NONE || !y || !v || !bounds_of(n, &lo, &hi) || lo != 0)
        return;
    for (int i = STUBS - 1; i >= 0 && v->producer && v->producer->fold == FOLD_QUANT; i--) {
        if (only_reader(f, v) != (i == DQ ? n : stubs[i + 1]) ||
            !onnx_qparam_equal(&v->quant, &y->quant))
            return;
        stubs[i] = v->producer;
        v = v->producer->inputs[0];
    }
    struct node *made = v->producer;
    enum op_class class = made && made->op ? made->op->class : OPC_OTHER;
    bool computes = class == OPC_CONV || class == OPC_MATMUL || class == OPC_NORM ||
                    (made && made->op && strcmp(made->op->name, "torch.add") == 0);
    if (!computes || made->fold != FOLD_NONE || !only_reader(f, v) || v->dtype != y->dtype ||
        v->quant.count != 1 || !onnx_qparam_equal(&v->quant, &y->quant) || !stubs[DQ] != !stubs[Q])
        return;
    v->quant = (struct quant){0};
    for (int i = 0; i < STUBS && stubs[i]; i++) {
        stubs[i]->fold = FOLD_IDENTITY;
        stubs[i]->outputs[0]->quant = (struct quant){0};
    }
}

static bool visit(struct finish *f, struct node *n)
{
    bool folded =
        n->fold == FOLD_QUANT && n->input_count > 0 && n->inputs[0] && n->output_count > 0;
    bool quantizes = folded && is_stub(n, "torch.quantization.QuantStub");
    if (quantizes && !note_widened(f, n))
        return false;
    if (folded)
        return note_rescaled(f, n, quantizes);
    drop_bound(n);
    drop_scale_before_bound(f, n);
    return n->fold != FOLD_NONE || note_bias(f, n);
}

static bool note_rest(struct finish *f, int count, const char *what)
{
    return count <= MAX_NOTES ||
           graph_add_note(f->g, f->err, "%d more %s.", count - MAX_NOTES, what);
}

bool onnx_qfinish(struct onnx_import *im)
{
    struct finish f = {.g = im->graph, .err = im->err};
    if (im->quantized_operators &&
        !graph_add_note(
            im->graph, im->err,
            "%d node%s with quantized operands (QLinearConv and the like) %s read as the "
            "float operator over quantized values.",
            im->quantized_operators, im->quantized_operators == 1 ? "" : "s",
            im->quantized_operators == 1 ? "is" : "are"))
        return false;
    f.users = graph_users_new(im->graph, im->arena, im->err);
    f.seen = f.users ? ARENA_ARRAY(im->arena, bool, im->graph->value_count, im->err) : NULL;
    if (!f.seen)
        return false;
    for (int i = 0; i < im->graph->node_count; i++)
        if (!visit(&f, im->graph->nodes[i]))
            return false;
    return note_rest(&f, f.widened,
                     "values are quantized for one reader and read in float by another") &&
           note_rest(&f, f.rescaled, "values are read with another scale than they have") &&
           note_rest(&f, f.biases, "biases have another scale than their accumulator");
}
