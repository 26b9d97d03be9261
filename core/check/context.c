/* Context: what limits depend on beyond one node, computed and not assumed.
 *
 *   fusion   {conv | linear} followed by bn, add, relu: the batch norm is folded into the weights,
 *            the residual add ("sumin") and the ReLU run inside the convolution.  A tensor between
 *            them that the file quantizes by itself, that has another reader or that leaves the
 *            model breaks the chain.
 *   uses     whether a value only leaves the model, through nodes that leave no trace on the march
 *   dtypes   those of the file, or as if quantized with the march's default */
#include <string.h>

#include "core/check/rules.h"

static bool is_one_of(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, list[i]) == 0)
            return true;
    }
    return false;
}
#define IS_ONE_OF(name, list) is_one_of(name, list, sizeof(list) / sizeof(*(list)))

static enum role role_of(const struct node *n)
{
    static const char *const relus[] = {
        "torch.nn.ReLU",
        "torch.nn.ReLU6",
        "torch.nn.functional.relu",
        "torch.nn.functional.relu6(fused)",
    };
    if (!n->op)
        return ROLE_OTHER;
    const char *name = n->op->name;
    if (strncmp(name, "torch.nn.Conv", 13) == 0)
        return ROLE_CONV;
    if (strcmp(name, "torch.nn.Linear") == 0)
        return ROLE_LINEAR;
    if (strncmp(name, "torch.nn.BatchNorm", 18) == 0 || strcmp(name, "torch.nn.SyncBatchNorm") == 0)
        return ROLE_BATCH_NORM;
    if (strcmp(name, "torch.add") == 0)
        return ROLE_ADD;
    if (IS_ONE_OF(name, relus))
        return ROLE_RELU;
    if (strcmp(name, "torch.quantization.QuantStub") == 0)
        return ROLE_QUANT;
    if (strcmp(name, "torch.quantization.DeQuantStub") == 0)
        return ROLE_DEQUANT;
    return ROLE_OTHER;
}

/* The one node that reads v, looking through nodes without effect; *seen is the value as that node
 * reads it.  NULL if v has several readers, leaves the model, or is quantized on its way. */
static struct node *only_reader(const struct checker *c, const struct value *v,
                                const struct value **seen)
{
    for (int hops = 0; hops < c->g->node_count; hops++) {
        if (v->is_output || v->quant.count > 0 || c->users->count[v->index] != 1)
            return NULL;
        struct node *n = c->users->users[v->index][0];
        bool through =
            (n->fold == FOLD_IDENTITY || n->fold == FOLD_BATCH_NORM || n->fold == FOLD_BIAS) &&
            n->output_count > 0;
        if (!through) {
            *seen = v;
            return n->fold == FOLD_NONE ? n : NULL;
        }
        v = n->outputs[0];
    }
    return NULL;
}

static bool add_can_fuse(const struct node *n)
{
    const struct value *a = node_input(n, 0), *b = node_input(n, 1);
    return value_is_feature(a) && value_is_feature(b) && a != b &&
           shape_equal(&a->shape, &b->shape);
}

/* Follows the chain behind convolution n. */
static void fuse_chain(struct checker *c, struct node *n)
{
    /* A fused graph: the activation is the end, and behind a residual only a ReLU can come. */
    bool residual = node_input(n, 1) != NULL;
    c->ctx[n->index].sumin = residual;
    if (n->output_count != 1 || node_string(n, "activation", NULL))
        return;
    const struct value *seen, *tail = n->outputs[0];
    struct node *next = only_reader(c, tail, &seen);
    if (next && !residual && c->ctx[next->index].role == ROLE_BATCH_NORM &&
        node_input(next, 0) == seen && next->output_count == 1) {
        next->fold = FOLD_BATCH_NORM;
        next->folded_into = n;
        tail = next->outputs[0];
        next = only_reader(c, tail, &seen);
    }
    if (next && !residual && c->ctx[next->index].role == ROLE_ADD && add_can_fuse(next)) {
        c->ctx[next->index].host = n; /* of two convolutions, the later one takes the add */
        next = NULL;
    }
    if (next && c->ctx[next->index].role == ROLE_RELU)
        c->ctx[next->index].host = n;
}

static void fuse(struct checker *c)
{
    for (int i = 0; i < c->g->node_count; i++) {
        struct node *n = c->g->nodes[i];
        enum role role = c->ctx[i].role;
        if (n->fold != FOLD_NONE || n->output_count < 1)
            continue;
        if (role == ROLE_CONV || role == ROLE_LINEAR)
            fuse_chain(c, n);
    }
    for (int i = 0; i < c->g->node_count; i++) {
        struct node *n = c->g->nodes[i];
        const struct value *seen;
        struct node_context *ctx = &c->ctx[i];
        if (n->fold != FOLD_NONE || n->output_count < 1)
            continue;
        /* behind a fused add or a batch norm that stands alone (and runs as a convolution) */
        const struct node *host = ctx->role == ROLE_ADD          ? ctx->host
                                  : ctx->role == ROLE_BATCH_NORM ? n
                                                                 : NULL;
        if (ctx->role == ROLE_ADD && ctx->host)
            c->ctx[ctx->host->index].sumin = true;
        if (host) {
            struct node *next = only_reader(c, n->outputs[0], &seen);
            if (next && c->ctx[next->index].role == ROLE_RELU)
                c->ctx[next->index].host = host;
        }
    }
}

/* True if n leaves no trace between its input and what reads its output. */
static bool passes_through(const struct checker *c, const struct node *n)
{
    return n->output_count == 1 &&
           (n->fold != FOLD_NONE || c->ctx[n->index].host || c->ctx[n->index].role == ROLE_DEQUANT);
}

static void mark_use(struct checker *c, const struct value *v, enum use use)
{
    if (v && use > c->uses[v->index])
        c->uses[v->index] = use;
}

/* Readers come later in the order, so one pass backwards sees each value's readers first. */
static void find_uses(struct checker *c)
{
    for (int i = 0; i < c->g->value_count; i++)
        c->uses[i] = c->g->values[i]->is_output ? USE_OUTPUT : USE_NONE;
    for (int i = c->g->node_count - 1; i >= 0; i--) {
        const struct node *n = c->g->nodes[i];
        enum use use = passes_through(c, n) ? c->uses[n->outputs[0]->index] : USE_INTERNAL;
        for (int k = 0; k < n->input_count; k++)
            mark_use(c, n->inputs[k], use);
        for (int k = 0; k < n->param_count; k++)
            mark_use(c, n->params[k].value, use);
    }
}

/* In topological order each node hands its culprit on, so that long chains cost nothing. */
static void find_culprits(struct checker *c)
{
    for (int i = 0; i < c->g->node_count; i++) {
        const struct node *n = c->g->nodes[i];
        struct node_context *ctx = &c->ctx[i];
        for (int k = 0; k < n->input_count && !ctx->culprit && !ctx->open_input; k++) {
            const struct value *v = n->inputs[k];
            if (!v || v->constant || shape_is_static(&v->shape))
                continue;
            const struct node_context *from = v->producer ? &c->ctx[v->producer->index] : NULL;
            if (!from)
                ctx->open_input = v;
            else if (from->open_input)
                ctx->open_input = from->open_input;
            else
                ctx->culprit = from->culprit ? from->culprit : v->producer;
        }
    }
}

bool context_build(struct checker *c)
{
    for (int i = 0; i < c->g->node_count; i++)
        c->ctx[i].role = role_of(c->g->nodes[i]);
    fuse(c);
    find_uses(c);
    find_culprits(c);
    return true;
}

/* ── dtypes ────────────────────────────────────────────────────────────────────────────────── */

/* The dtype that the file itself fixes for v, or DT_UNKNOWN. */
static enum dtype stated_dtype(const struct value *v)
{
    switch (v->dtype) {
    case DT_QUINT8: return DT_QINT8;
    case DT_QINT8:
    case DT_QINT16:
    case DT_QINT32:
    case DT_QBOOL: return v->dtype;
    case DT_INT8:
    case DT_UINT8: return v->quant.count > 0 ? DT_QINT8 : v->dtype;
    case DT_INT16: return v->quant.count > 0 ? DT_QINT16 : v->dtype;
    case DT_INT32: return v->quant.count > 0 ? DT_QINT32 : v->dtype;
    case DT_BOOL:
    case DT_UINT16:
    case DT_UINT32:
    case DT_INT64:
    case DT_UINT64: return v->dtype;
    default: return v->quant.count > 0 ? DT_QINT8 : DT_UNKNOWN;
    }
}

static enum dtype override_of(const struct checker *c, const char *name)
{
    enum dtype t;
    for (size_t i = 0; c->opt && i < c->opt->override_count; i++) {
        if (strcmp(c->opt->overrides[i].node, name) == 0 &&
            dtype_find(c->opt->overrides[i].dtype, &t))
            return t;
    }
    return DT_UNKNOWN;
}

/* An override that names nothing would be ignored in silence. */
static bool check_overrides(struct checker *c)
{
    for (size_t i = 0; c->opt && i < c->opt->override_count; i++) {
        const char *name = c->opt->overrides[i].node;
        enum dtype t;
        const struct value *v = graph_find_value(c->g, name);
        if (!graph_find_node(c->g, name) && !(v && v->is_input)) {
            error_set(c->err, BPU_BAD_OPTION, NULL,
                      "dtype.%.200s: the model has no node or input of that name", name);
            return error_hint(c->err, "Names stand in the report under nodes.");
        }
        if (!dtype_find(c->opt->overrides[i].dtype, &t) || !dtype_is_quantized(t)) {
            error_set(c->err, BPU_BAD_OPTION, NULL, "dtype.%.200s: %.60s is no quantized dtype",
                      name, c->opt->overrides[i].dtype);
            return error_hint(c->err, "Use qint8, qint16, qint32 or qbool.");
        }
    }
    return true;
}

static void set_dtype(struct checker *c, const struct value *v, enum dtype t, bool assumed)
{
    c->r->values[v->index].dtype = t;
    c->r->values[v->index].assumed = assumed;
    if (assumed)
        c->r->assumed_dtypes = true;
}

/* What an input of the model is: float values count as quantized by an implied QuantStub, unless
 * a QuantStub reads them. */
static void judge_input(struct checker *c, const struct value *v)
{
    enum dtype stated = stated_dtype(v), forced = override_of(c, v->name);
    bool stub = c->users->count[v->index] > 0;
    for (int i = 0; i < c->users->count[v->index]; i++) {
        const struct node *n = c->users->users[v->index][i];
        stub &= c->ctx[n->index].role == ROLE_QUANT;
    }
    if (forced != DT_UNKNOWN)
        set_dtype(c, v, forced, false);
    else if (stated != DT_UNKNOWN)
        set_dtype(c, v, stated, false);
    else if (stub)
        set_dtype(c, v, DT_FLOAT32, false);
    else
        set_dtype(c, v, c->m->feature_dtype, true);
}

/* The table's output dtype for inputs of dtype `in`. Where the row does not take such inputs, the node itself is at
 * fault, and what follows is judged as if it gave the march's default. */
static enum dtype default_output(const struct checker *c, const struct cell *cell, enum dtype in)
{
    if (in == DT_UNKNOWN || !dtype_is_quantized(in))
        in = c->m->feature_dtype;
    if (!cell || cell->support == SUPPORT_NO || (cell->outputs & SAME) || cell->outputs == 0 ||
        (cell->outputs & (1u << in)))
        return in;
    if (cell->inputs && !(cell->inputs & (1u << in)))
        return c->m->feature_dtype;
    for (int t = 0; t < DT_COUNT; t++) {
        if (cell->outputs & (1u << t))
            return (enum dtype)t;
    }
    return in;
}

/* A float tensor that is quantized right behind has that dtype already. */
static enum dtype quantized_behind(const struct checker *c, const struct value *v)
{
    if (v->is_output || c->users->count[v->index] != 1)
        return DT_UNKNOWN;
    const struct node *n = c->users->users[v->index][0];
    if (n->output_count != 1 || (n->fold != FOLD_QUANT && c->ctx[n->index].role != ROLE_QUANT))
        return DT_UNKNOWN;
    enum dtype t = stated_dtype(n->outputs[0]);
    return dtype_is_quantized(t) ? t : DT_UNKNOWN;
}

static void judge_output(struct checker *c, const struct node *n, const struct value *v)
{
    enum dtype stated = stated_dtype(v), forced = override_of(c, n->name), in = DT_UNKNOWN;
    bool real_float = false, folded = n->fold != FOLD_NONE;
    for (int i = 0; i < n->input_count; i++) {
        if (!value_is_feature(n->inputs[i]))
            continue;
        enum dtype t = c->r->values[n->inputs[i]->index].dtype;
        if (in == DT_UNKNOWN)
            in = t;
        real_float |= t == DT_FLOAT32;
    }
    if (v->constant || (stated != DT_UNKNOWN && !dtype_is_quantized(stated))) {
        set_dtype(c, v, v->constant ? v->dtype : stated, false);
        return;
    }
    if (v->dtype == DT_UNKNOWN && (!n->op || in == DT_UNKNOWN)) {
        set_dtype(c, v, DT_UNKNOWN,
                  false); /* of an operator that is not known, and what follows it */
        return;
    }
    enum dtype behind = quantized_behind(c, v);
    if (forced != DT_UNKNOWN && !folded)
        set_dtype(c, v, forced, false);
    else if (stated != DT_UNKNOWN && stated == in && v->quant.count == 0 &&
             !folded) /* inference kept the input's dtype: the file says nothing of its own */
        set_dtype(c, v, default_output(c, c->ctx[n->index].torch, in), false);
    else if (stated != DT_UNKNOWN)
        set_dtype(c, v, stated, false);
    else if (folded && in != DT_UNKNOWN)
        set_dtype(c, v, in, dtype_is_quantized(in) && v->dtype == DT_FLOAT32);
    else if (c->ctx[n->index].role == ROLE_DEQUANT)
        set_dtype(c, v, DT_FLOAT32, false);
    else if (behind != DT_UNKNOWN)
        set_dtype(c, v, behind, false);
    else if (real_float && c->ctx[n->index].role != ROLE_QUANT)
        set_dtype(c, v, DT_FLOAT32, false);
    else
        set_dtype(c, v, default_output(c, c->ctx[n->index].torch, in), true);
}

bool context_judge_dtypes(struct checker *c)
{
    if (!check_overrides(c))
        return false;
    for (int i = 0; i < c->g->value_count; i++) {
        const struct value *v = c->g->values[i];
        if (!v->producer && v->constant)
            set_dtype(c, v, v->dtype, false);
        else if (!v->producer)
            judge_input(c, v);
    }
    for (int i = 0; i < c->g->node_count; i++) {
        const struct node *n = c->g->nodes[i];
        for (int k = 0; k < n->output_count; k++)
            judge_output(c, n, n->outputs[k]);
    }
    return true;
}
