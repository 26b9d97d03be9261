/* Each pattern is recognised from its last node backwards; every inner value must have no user outside the pattern. */
#include "core/import/recompose.h"

#include <math.h>
#include <string.h>

#include "core/ops/op.h"

enum { MAX_PARTS = 16 };

struct match {
    struct graph *g;
    struct graph_users *users;
    struct bpu_error *err;
    struct node *parts[MAX_PARTS];
    int count;
};

static bool is(const struct node *n, const char *op_name)
{
    return n && n->fold == FOLD_NONE && strcmp(n->op_name, op_name) == 0;
}

/* True if the file gives v a scale of its own, rather than inference that of its first operand: then v
 * exists, and the operator that makes it is no part of another. */
static bool is_quantized_itself(const struct value *v)
{
    const struct value *x = node_input(v->producer, 0);
    return v->quant.count > 0 && !(x && x->quant.scale == v->quant.scale);
}

/* The live producer of v if it is op_name, and v has `uses` users. */
static struct node *made_by(struct match *m, const struct value *v, const char *op_name, int uses)
{
    if (!v || v->is_output || !is(v->producer, op_name) || m->users->count[v->index] != uses ||
        is_quantized_itself(v))
        return NULL;
    return v->producer;
}

static bool is_number(const struct value *v, double want)
{
    double r;
    return v && shape_elements(&v->shape) == 1 && constant_real(v, 0, &r) &&
           fabs(r - want) <= 1e-4 * fabs(want);
}

/* The operand of a two-operand node that is not `known`. */
static struct value *other(const struct node *n, const struct value *known)
{
    if (n->input_count != 2)
        return NULL;
    return n->inputs[0] == known ? n->inputs[1] : n->inputs[1] == known ? n->inputs[0] : NULL;
}

/* Either operand: the constant number `want`; gives the other one. */
static struct value *beside_number(const struct node *n, double want)
{
    for (int i = 0; i < 2 && n->input_count == 2; i++)
        if (is_number(n->inputs[i], want))
            return n->inputs[1 - i];
    return NULL;
}

static void part(struct match *m, struct node *n)
{
    if (m->count < MAX_PARTS)
        m->parts[m->count++] = n;
}

/* `last` becomes op_name over x; the other parts are folded into it. */
static bool become(struct match *m, struct node *last, const char *op_name, const char *source_op,
                   struct value *x)
{
    for (int i = 0; i < m->count; i++)
        if (m->parts[i] != last) {
            m->parts[i]->fold = FOLD_PART;
            m->parts[i]->folded_into = last;
        }
    last->op_name = op_name;
    last->origin.source_op = source_op;
    last->attr_count = last->param_count = last->input_count = 0;
    last->attrs = NULL;
    last->params = NULL;
    last->inputs = NULL;
    op_bind(last);
    return node_add_input(m->g, last, x, m->err);
}

/* x / sqrt(2) → erf → + 1 → * x → * 0.5, with the factor 0.5 at either end. */
static bool match_gelu(struct match *m, struct node *last, bool *done)
{
    struct value *product = beside_number(last, .5);
    struct node *mul = product ? made_by(m, product, "torch.mul", 1) : NULL;
    struct node *half = NULL;
    if (!mul) {
        /* (0.5 x) * (1 + erf) */
        for (int i = 0; i < 2 && last->input_count == 2; i++)
            if ((half = made_by(m, last->inputs[i], "torch.mul", 1)) && beside_number(half, .5))
                break;
            else
                half = NULL;
        if (!half)
            return true;
        mul = last;
    }
    for (int i = 0; i < 2 && mul->input_count == 2; i++) {
        struct node *add = made_by(m, mul->inputs[i], "torch.add", 1);
        struct value *e = add ? beside_number(add, 1) : NULL;
        struct node *erf = e ? made_by(m, e, "torch.erf", 1) : NULL;
        struct node *div = erf ? made_by(m, erf->inputs[0], "torch.div", 1) : NULL;
        struct value *x = NULL;
        if (div && is_number(div->inputs[1], sqrt(2)))
            x = div->inputs[0];
        else if (erf && (div = made_by(m, erf->inputs[0], "torch.mul", 1)))
            x = beside_number(div, sqrt(.5));
        struct value *rest = half ? beside_number(half, .5) : other(mul, mul->inputs[i]);
        if (!x || rest != x)
            continue;
        struct node *parts[] = {div, erf, add, mul, half, last};
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++)
            if (parts[k])
                part(m, parts[k]);
        *done = true;
        return become(m, last, "torch.nn.GELU", "onnx:Gelu", x) &&
               node_set_string(m->g, last, "approximate", "none", m->err);
    }
    return true;
}

static bool match_silu(struct match *m, struct node *last, bool *done)
{
    for (int i = 0; i < 2 && last->input_count == 2; i++) {
        struct node *sigmoid = made_by(m, last->inputs[i], "torch.nn.Sigmoid", 1);
        if (!sigmoid || other(last, last->inputs[i]) != sigmoid->inputs[0])
            continue;
        struct value *x = sigmoid->inputs[0];
        part(m, sigmoid);
        *done = true;
        return become(m, last, "torch.nn.SiLU", "onnx:Sigmoid+Mul", x);
    }
    return true;
}

/* True if n reduces its last axes down to `first`, keeping them. */
static bool mean_over(const struct node *n, int *first)
{
    const struct attr *dim = node_attr(n, "dim");
    int rank = n->inputs[0]->shape.rank, lowest = rank;
    if (!dim || dim->kind != ATTR_INTS || rank < 1 || !node_bool(n, "keepdim", false))
        return false;
    for (int i = 0; i < dim->count; i++) {
        int64_t axis = dim->ints[i] < 0 ? dim->ints[i] + rank : dim->ints[i];
        if (axis < lowest)
            lowest = (int)axis;
    }
    *first = lowest;
    return lowest >= 0 && dim->count == rank - lowest;
}

/* The factor or summand behind the normalization: a known parameter of the normalized shape. */
static struct value *affine(struct match *m, struct node **last, const char *op_name, int axes)
{
    struct value *v = (*last)->outputs[0];
    if (v->is_output || m->users->count[v->index] != 1)
        return NULL;
    struct node *n = m->users->users[v->index][0];
    struct value *p = is(n, op_name) ? other(n, v) : NULL;
    if (!p || !p->constant || p->shape.rank != axes)
        return NULL;
    for (int i = 0; i < axes; i++)
        if (p->shape.dim[i] != v->shape.dim[v->shape.rank - axes + i])
            return NULL;
    *last = n;
    part(m, n);
    return p;
}

/* (x - mean) / sqrt(mean((x - mean)^2) + eps), then * weight, + bias. Starts at the division. */
static bool match_layer_norm(struct match *m, struct node *div, bool *done)
{
    if (div->input_count != 2 || div->outputs[0]->shape.rank < 1)
        return true;
    struct node *sqrt_ = made_by(m, div->inputs[1], "torch.sqrt", 1);
    struct node *add = sqrt_ ? made_by(m, sqrt_->inputs[0], "torch.add", 1) : NULL;
    struct value *variance = NULL;
    double eps = 0;
    for (int i = 0; add && i < 2; i++)
        if (shape_elements(&add->inputs[i]->shape) == 1 && constant_real(add->inputs[i], 0, &eps))
            variance = add->inputs[1 - i];
    struct node *mean2 = variance ? made_by(m, variance, "torch.mean", 1) : NULL;
    struct node *pow_ = mean2 ? made_by(m, mean2->inputs[0], "torch.pow", 1) : NULL;
    struct node *sub = pow_ && is_number(pow_->inputs[1], 2) ? pow_->inputs[0]->producer : NULL;
    /* Some exporters subtract twice, once for each use. */
    struct node *sub2 = div->inputs[0]->producer;
    if (!is(sub, "torch.sub") || !is(sub2, "torch.sub") || sub->inputs[0] != sub2->inputs[0] ||
        sub->inputs[1] != sub2->inputs[1])
        return true;
    struct node *mean = sub->inputs[1]->producer;
    struct value *x = sub->inputs[0];
    int first, first2;
    if (!is(mean, "torch.mean") || mean->inputs[0] != x || !mean_over(mean, &first) ||
        !mean_over(mean2, &first2) || first != first2)
        return true;
    int inner = m->users->count[mean->outputs[0]->index];
    int centred = m->users->count[sub->outputs[0]->index];
    if (inner != (sub == sub2 ? 1 : 2) || centred != (sub == sub2 ? 2 : 1))
        return true;
    struct node *parts[] = {mean, sub, sub2, pow_, mean2, add, sqrt_, div};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        part(m, parts[i]);
    struct node *last = div;
    int axes = x->shape.rank - first;
    struct value *weight = affine(m, &last, "torch.mul", axes);
    struct value *bias = weight ? affine(m, &last, "torch.add", axes) : NULL;
    *done = true;
    return become(m, last, "torch.nn.Layernorm", "onnx:LayerNormalization", x) &&
           node_set_ints(m->g, last, "normalized_shape", x->shape.dim + first, axes, m->err) &&
           node_set_float(m->g, last, "eps", eps, m->err) &&
           (!weight || node_add_param(m->g, last, "weight", weight, m->err)) &&
           (!bias || node_add_param(m->g, last, "bias", bias, m->err));
}

/* Linear without bias, then + vector: the vector is the bias. */
static bool match_bias(struct match *m, struct node *add, bool *done)
{
    for (int i = 0; i < 2 && add->input_count == 2; i++) {
        struct node *linear = made_by(m, add->inputs[i], "torch.nn.Linear", 1);
        struct value *bias = add->inputs[1 - i];
        if (!linear || node_param(linear, "bias") || !bias || !bias->constant ||
            bias->shape.rank != 1 ||
            bias->shape.dim[0] != node_int(linear, "out_features", -1))
            continue;
        struct value *x = add->inputs[i];
        add->inputs[0] = x;
        add->inputs[1] = bias;
        add->fold = FOLD_BIAS;
        add->folded_into = linear;
        *done = true;
        return node_add_param(m->g, linear, "bias", bias, m->err);
    }
    return true;
}

/* PyTorch's exporter writes an average pool that counts its padding as a pool without padding behind a Pad of zeros. */
static bool match_padded_pool(struct match *m, struct node *pool, bool *done)
{
    struct node *pad = made_by(m, node_input(pool, 0), "torch.nn.functional.pad", 1);
    const struct attr *list = pad ? node_attr(pad, "pad") : NULL;
    int64_t own[4] = {0}, padding[4] = {0};
    if (!list || list->kind != ATTR_INTS || list->count > 4 || list->count % 2 != 0 ||
        strcmp(node_string(pad, "mode", "constant"), "constant") != 0 ||
        node_float(pad, "value", 0) != 0 || node_bool(pool, "ceil_mode", false))
        return true;
    if (!node_ints(pool, "padding", own, 2) || own[0] || own[1])
        return true;
    for (int i = 0; i < list->count / 2; i++) { /* pad names pairs from the last axis on */
        padding[1 - i] = list->ints[2 * i];
        padding[3 - i] = list->ints[2 * i + 1];
    }
    for (int i = 0; i < 4; i++)
        if (padding[i] < 0)
            return true;
    bool symmetric = padding[0] == padding[2] && padding[1] == padding[3];
    pad->fold = FOLD_PART;
    pad->folded_into = pool;
    pool->inputs[0] = pad->inputs[0];
    *done = true;
    return node_set_ints(m->g, pool, "padding", padding, symmetric ? 2 : 4, m->err) &&
           node_set_bool(m->g, pool, "count_include_pad", true, m->err);
}

typedef bool match_fn(struct match *m, struct node *last, bool *done);

static const struct {
    const char *last;
    match_fn *fn;
} patterns[] = {
    {"torch.mul", match_gelu},
    {"torch.mul", match_silu},
    {"torch.div", match_layer_norm},
    {"torch.add", match_bias},
    {"torch.nn.AvgPool2d", match_padded_pool},
};

bool graph_recompose(struct graph *g, struct bpu_error *err)
{
    struct match m = {.g = g, .err = err};
    m.users = graph_users_new(g, g->arena, err);
    if (!m.users)
        return false;
    for (int i = 0; i < g->node_count; i++)
        for (size_t k = 0; k < sizeof patterns / sizeof patterns[0]; k++) {
            bool done = false;
            m.count = 0;
            if (is(g->nodes[i], patterns[k].last) && !patterns[k].fn(&m, g->nodes[i], &done))
                return false;
            if (done)
                break;
        }
    return graph_recompose_affine(g, err) && graph_recompose_transpose(g, err);
}
