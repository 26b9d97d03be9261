/* Adapters: attention, in the parts that it has in every other form of the network.
 *
 * PyTorch's fast paths (a trace in eval mode, without gradients) hold a whole layer as one operator
 * that no exporter writes: the parts are those of torch.nn.functional.multi_head_attention_forward,
 * which the same network has as an ONNX file, as a torch.export program, or traced with gradients.
 * Each part goes through the adapter of its own operator; its node is named after the layer and
 * what it does there, and keeps the whole operator as its source. */
#include <math.h>
#include <string.h>

#include "core/import/torchscript.h"
#include "core/ops/fold.h"
#include "core/ops/op.h"

/* ── scaled dot products ── */

/* What is added to the scores so that those a boolean mask leaves out have no weight: 0 where it is
 * true, else -inf.  Without a mask, the causal one: each query sees the keys up to its own. */
static struct value *mask_constant(struct ts_op *o, const struct value *scores,
                                   const struct value *mask)
{
    struct graph *g = o->ts->graph;
    const struct shape *s = &scores->shape;
    struct shape shape = {.rank = 2};
    int64_t truth = 1;
    for (int i = 0; !mask && i < 2; i++)
        shape.dim[i] = s->dim[s->rank - 2 + i];
    if (mask)
        shape = mask->shape;
    struct value *shared = o->ts->causal_mask;
    if (!mask && shared && shared->dtype == scores->dtype && shape_equal(&shared->shape, &shape))
        return shared;
    if (!dtype_is_float(scores->dtype)) {
        ts_op_bad(o, "scores of type %s take no mask", dtype_name(scores->dtype));
        return NULL;
    }
    int64_t count = shape_elements(&shape);
    size_t size = dtype_size(scores->dtype);
    unsigned char *data = NULL; /* not affordable: a constant without content */
    if (op_fold_affordable(g, count) &&
        !(data = arena_alloc_array(g->arena, (size_t)count, size, o->ts->err)))
        return NULL;
    for (int64_t i = 0; data && i < count; i++) {
        if (!mask)
            truth = i % shape.dim[1] <= i / shape.dim[1];
        else if (!constant_int(mask, i, &truth)) {
            ts_op_bad(o, "the mask ends before element %lld", (long long)i);
            return NULL;
        }
        fold_store_real(data + (size_t)i * size, scores->dtype, truth ? 0 : -(double)INFINITY);
    }
    struct value *v = graph_add_constant(g, mask ? mask->name : "causal_mask", &shape,
                                         scores->dtype, data, (size_t)count * size, o->ts->err);
    if (!mask)
        o->ts->causal_mask = v;
    return v;
}

/* The scores with a mask: added, as PyTorch does; a boolean one that is computed selects. */
static struct value *masked(struct ts_op *o, struct value *x, struct value *mask)
{
    struct ts_import *ts = o->ts;
    if (mask && mask->dtype == DT_BOOL && !value_is_known(mask)) {
        struct py_value *least = ts_float(ts, -(double)INFINITY);
        struct value *v = least ? ts_value(ts, least, x) : NULL;
        struct node *n = v ? ts_begin(o, "torch.where", "mask") : NULL;
        return n && node_add_input(ts->graph, n, mask, ts->err) &&
                       node_add_input(ts->graph, n, x, ts->err) &&
                       node_add_input(ts->graph, n, v, ts->err)
                   ? ts_finish_value(o, n)
                   : NULL;
    }
    if (!mask || mask->dtype == DT_BOOL)
        mask = mask_constant(o, x, mask);
    return mask ? ts_node2(o, "torch.add", "mask", x, mask) : NULL;
}

/* A causal mask needs to know how many queries and keys there are; what is added has their type. */
static bool can_mask(const struct value *q, const struct value *k, const struct value *mask,
                     bool causal)
{
    const struct shape *a = &q->shape, *b = &k->shape;
    if (causal)
        return !mask && a->rank >= 2 && b->rank >= 2 && a->dim[a->rank - 2] >= 0 &&
               b->dim[b->rank - 2] >= 0 && dtype_is_float(q->dtype);
    return !mask || mask->dtype != DT_BOOL || dtype_is_float(q->dtype);
}

/* softmax(q · kᵀ · scale + mask) · v, in parts. */
struct py_value *ts_sdpa(struct ts_op *o)
{
    struct ts_import *ts = o->ts;
    bool ok = true;
    struct value *q = ts_operand_of(o, "query"), *k = q ? ts_operand_of(o, "key") : NULL;
    struct value *v = k ? ts_operand_of(o, "value") : NULL;
    if (!v)
        return NULL;
    int64_t width = q->shape.rank > 0 ? q->shape.dim[q->shape.rank - 1] : -1;
    double scale = ts_arg_float(o, "scale", width > 0 ? 1 / __builtin_sqrt((double)width) : 0, &ok);
    bool causal = ts_arg_bool(o, "is_causal", false, &ok);
    bool grouped = ts_arg_bool(o, "enable_gqa", false, &ok); /* fewer keys than queries */
    struct py_value *factor = ts_float(ts, scale), *given = ts_arg(o, "attn_mask");
    struct value *s = factor ? ts_value(ts, factor, q) : NULL;
    struct value *mask = s && given ? ts_value(ts, given, q) : NULL;
    if (!s || (given && !mask))
        return NULL;
    if (!ok || grouped || scale <= 0 || !can_mask(q, k, mask, causal))
        return ts_opaque(o, o->name);
    struct node *n = ts_begin(o, "torch.mul", "scale");
    if (!n || !node_add_input(ts->graph, n, q, ts->err) ||
        !node_add_input(ts->graph, n, s, ts->err) ||
        !node_set_bool(ts->graph, n, "scalar_operand", true, ts->err))
        return NULL;
    struct value *x = ts_finish_value(o, n), *kt = ts_transposed(o, k, "transpose");
    x = x && kt ? ts_node2(o, "torch.matmul", "scores", x, kt) : NULL;
    if (x && (mask || causal))
        x = masked(o, x, mask);
    n = x ? ts_begin(o, "torch.nn.Softmax", "softmax") : NULL;
    if (!n || !node_add_input(ts->graph, n, x, ts->err) ||
        !node_set_int(ts->graph, n, "dim", -1, ts->err))
        return NULL;
    x = ts_finish_value(o, n);
    return ts_tensor(ts, x ? ts_node2(o, "torch.matmul", NULL, x, v) : NULL);
}

/* ── whole layers ── */

/* A layer while it is taken apart. Every step does nothing once one has failed. */
struct layer {
    struct ts_op *o;
    int64_t batch, length, embed, heads;
    struct py_value *weights;
    bool failed;
};

static struct py_value *step(struct layer *l, const char *part, const char *op,
                             struct py_value **args, size_t count)
{
    struct ts_import *ts = l->o->ts;
    for (size_t i = 0; i < count; i++)
        l->failed = l->failed || !args[i];
    if (l->failed)
        return NULL;
    ts->whole = l->o->name;
    ts->part = part;
    struct py_value *v = ts_call_operator(ts, "aten", op, args, NULL, count);
    ts->whole = ts->part = NULL;
    l->failed = !v;
    return v;
}

#define STEP(l, part, op, ...)                                                                     \
    step(l, part, op, (struct py_value *[]){__VA_ARGS__},                                          \
         sizeof((struct py_value *[]){__VA_ARGS__}) / sizeof(struct py_value *))

static struct py_value *or_none(struct layer *l, const char *arg)
{
    struct py_value *v = ts_arg(l->o, arg);
    return v ? v : &l->o->ts->none;
}

static struct py_value *view(struct layer *l, const char *part, struct py_value *x, int64_t a,
                             int64_t b, int64_t c)
{
    struct ts_import *ts = l->o->ts;
    struct py_value *shape = ts_new(ts, PY_LIST);
    bool ok = shape && ts_append(ts, shape, ts_int(ts, a)) && ts_append(ts, shape, ts_int(ts, b)) &&
              (c < 0 || ts_append(ts, shape, ts_int(ts, c)));
    return STEP(l, part, "view", x, ok ? shape : NULL);
}

static struct py_value *swapped(struct layer *l, const char *part, struct py_value *x, int64_t a,
                                int64_t b)
{
    struct ts_import *ts = l->o->ts;
    return STEP(l, part, "transpose", x, ts_int(ts, a), ts_int(ts, b));
}

/* One of the three results of the joint projection, (L, N, E), as (N * heads, L, E / heads). */
static struct py_value *heads_of(struct layer *l, struct py_value *three, size_t i,
                                 const char *name)
{
    struct py_value *x = three && three->kind == PY_LIST && three->count == 3 ? three->items[i]
                                                                              : NULL;
    x = view(l, name, x, l->length, l->batch * l->heads, l->embed / l->heads);
    return swapped(l, name, x, 0, 1);
}

/* Fills in the numbers. False if it is not self-attention of a known shape without a mask. */
static bool layer_is_plain(struct layer *l, struct py_value *input)
{
    bool ok = true;
    const struct value *x = input ? ts_value(l->o->ts, input, NULL) : NULL;
    const struct value *w = x ? ts_operand_of(l->o, "qkv_weight") : NULL;
    if (!w)
        return false;
    const struct shape *s = &x->shape, *ws = &w->shape;
    l->embed = ts_arg_int(l->o, "embed_dim", 0, &ok);
    l->heads = ts_arg_int(l->o, "num_heads", 0, &ok);
    if (!ok || ts_arg(l->o, "mask") || s->rank != 3 || ws->rank != 2 || shape_elements(s) < 1 ||
        l->embed != s->dim[2] || l->heads < 1 || l->embed % l->heads || ws->dim[0] % 3 ||
        ws->dim[0] / 3 != l->embed)
        return false;
    l->batch = s->dim[0];
    l->length = s->dim[1];
    return true;
}

/* Self-attention of x (N, L, E). The last part has the name `last`; l->weights is what softmax
 * gives. */
static struct py_value *self_attention(struct layer *l, struct py_value *x, const char *last)
{
    struct ts_import *ts = l->o->ts;
    int64_t tokens = l->length * l->batch;
    x = swapped(l, "length_first", x, 0, 1);
    x = STEP(l, "in_proj", "linear", x, ts_arg(l->o, "qkv_weight"), or_none(l, "qkv_bias"));
    x = STEP(l, "in_proj", "chunk", x, ts_int(ts, 3), ts_int(ts, -1));
    struct py_value *q = heads_of(l, x, 0, "query"), *k = heads_of(l, x, 1, "key");
    struct py_value *v = heads_of(l, x, 2, "value");
    double root = sqrt((double)(l->embed / l->heads));
    q = STEP(l, "scale", "div", q, ts_float(ts, root));
    x = STEP(l, "scores", "matmul", q, swapped(l, "key", k, -2, -1));
    x = STEP(l, "softmax", "softmax", x, ts_int(ts, -1));
    l->weights = x;
    x = STEP(l, "mixed", "matmul", x, v);
    x = view(l, "mixed", swapped(l, "mixed", x, 0, 1), tokens, l->embed, -1);
    x = STEP(l, "out_proj", "linear", x, ts_arg(l->o, "proj_weight"), or_none(l, "proj_bias"));
    return swapped(l, last, view(l, "out_proj", x, l->length, l->batch, l->embed), 0, 1);
}

/* The weights of an attention, as the caller gets them. */
struct ts_weights {
    int from, to;       /* their nodes */
    struct node *whole; /* the last node of the attention */
    struct ts_weights *next;
};

/* The weights of each head, (N * heads, L, L), as (N, heads, L, L) or as their mean. */
static struct py_value *head_weights(struct layer *l, struct py_value *y)
{
    struct ts_import *ts = l->o->ts;
    bool ok = true, mean = ts_arg_bool(l->o, "average_attn_weights", true, &ok);
    int from = ts->graph->node_count;
    struct py_value *shape = ts_new(ts, PY_LIST);
    const int64_t extents[] = {l->batch, l->heads, l->length, l->length};
    for (int i = 0; shape && i < 4; i++)
        if (!ts_append(ts, shape, ts_int(ts, extents[i])))
            return NULL;
    if (!ok)
        return ts_new(ts, PY_UNKNOWN);
    struct py_value *w = STEP(l, "weights", "view", l->weights, shape);
    if (mean) {
        struct py_value *axes = ts_new(ts, PY_LIST);
        bool some = axes && ts_append(ts, axes, ts_int(ts, 1));
        w = STEP(l, "weights", "sum", w, some ? axes : NULL);
        w = STEP(l, "weights", "div", w, ts_int(ts, l->heads));
    }
    struct ts_weights *note = w ? ARENA_NEW(ts->arena, struct ts_weights, ts->err) : NULL;
    if (!note || y->kind != PY_VALUE)
        return note ? w : NULL;
    *note = (struct ts_weights){from, ts->graph->node_count, y->value->producer, ts->weights};
    ts->weights = note;
    return w;
}

/* Who uses the weights is known only at the end; other forms of the network do not hold what nobody
 * uses. */
bool ts_fold_unused_weights(struct ts_import *ts)
{
    struct graph_users *users =
        ts->weights ? graph_users_new(ts->graph, ts->graph->arena, ts->err) : NULL;
    if (ts->weights && !users)
        return false;
    for (struct ts_weights *w = ts->weights; w; w = w->next) {
        const struct value *v = ts->graph->nodes[w->to - 1]->outputs[0];
        if (v->is_output || users->count[v->index])
            continue;
        for (int i = w->from; i < w->to; i++) {
            ts->graph->nodes[i]->fold = FOLD_PART;
            ts->graph->nodes[i]->folded_into = w->whole;
        }
    }
    return true;
}

/* torch.nn.MultiheadAttention: (result, weights). */
struct py_value *ts_attention(struct ts_op *o)
{
    static const char *const operands[] = {"query", "key", "value"};
    struct layer l = {.o = o};
    const struct value *x = ts_operand_of(o, "query");
    struct py_value *pair = x ? ts_new(o->ts, PY_TUPLE) : NULL, *y, *weights = &o->ts->none;
    bool ok = true, self = true, wanted = ts_arg_bool(o, "need_weights", true, &ok);
    for (int i = 0; pair && i < 3; i++) {
        const struct value *v = ts_operand_of(o, operands[i]);
        if (!v)
            return NULL;
        self = self && v == x;
    }
    if (!pair)
        return NULL;
    if (!ok || !self || !layer_is_plain(&l, ts_arg(o, "query"))) {
        y = o->ts->err->code == BPU_NONE ? ts_opaque(o, "torch.nn.MultiheadAttention") : NULL;
        weights = y && wanted ? ts_new(o->ts, PY_UNKNOWN) : weights;
    } else {
        y = self_attention(&l, ts_arg(o, "query"), NULL);
        weights = y && wanted ? head_weights(&l, y) : weights;
    }
    return y && weights && ts_append(o->ts, pair, y) && ts_append(o->ts, pair, weights) ? pair
                                                                                        : NULL;
}

static struct py_value *norm(struct layer *l, struct py_value *x, bool second)
{
    struct ts_import *ts = l->o->ts;
    struct py_value *shape = ts_new(ts, PY_LIST);
    struct py_value *weight = or_none(l, second ? "norm_weight_2" : "norm_weight_1");
    struct py_value *bias = or_none(l, second ? "norm_bias_2" : "norm_bias_1");
    bool ok = shape && ts_append(ts, shape, ts_int(ts, l->embed));
    return STEP(l, second ? "norm2" : "norm1", "layer_norm", x, ok ? shape : NULL, weight, bias,
                ts_arg(l->o, "eps"));
}

static struct py_value *feed_forward(struct layer *l, struct py_value *x, bool gelu)
{
    x = STEP(l, "linear1", "linear", x, ts_arg(l->o, "ffn_weight_1"), or_none(l, "ffn_bias_1"));
    x = STEP(l, "activation", gelu ? "gelu" : "relu", x);
    return STEP(l, "linear2", "linear", x, ts_arg(l->o, "ffn_weight_2"), or_none(l, "ffn_bias_2"));
}

/* torch.nn.TransformerEncoderLayer */
struct py_value *ts_encoder_layer(struct ts_op *o)
{
    bool ok = true;
    struct layer l = {.o = o};
    bool gelu = ts_arg_bool(o, "use_gelu", false, &ok);
    bool first = ts_arg_bool(o, "norm_first", false, &ok);
    struct py_value *x = ts_arg(o, "src"), *y;
    if (!ok || !layer_is_plain(&l, x))
        return o->ts->err->code == BPU_NONE ? ts_opaque(o, o->name) : NULL;
    y = self_attention(&l, first ? norm(&l, x, false) : x, "self_attn");
    x = STEP(&l, "add1", "add", x, y);
    x = first ? x : norm(&l, x, false);
    y = feed_forward(&l, first ? norm(&l, x, true) : x, gelu);
    x = STEP(&l, "add2", "add", x, y);
    return first ? x : norm(&l, x, true);
}
