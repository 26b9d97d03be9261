/* lower: the walk over the graph, and what crosses its border. */
#include "core/compile/lower.h"

#include <stdio.h>
#include <string.h>

#include "core/compile/lower_view.h"
#include "core/ops/infer.h"
#include "core/quant/quant.h"
#include "core/run/kernel.h"

/* ── the table ── */

struct rule {
    const char *kernel;
    lower_fn *lower;
    const char *why_not;
};

enum {
#define X(name, real, fixed) RULE_##name,
    KERNEL_MAP(X)
#undef X
        RULE_COUNT
};

#define LOWERED(kernel, function) [RULE_##kernel] = {#kernel, function, NULL},
#define REFUSED(kernel, reason) [RULE_##kernel] = {#kernel, NULL, reason},
static const struct rule rules[RULE_COUNT] = {LOWER_MAP(LOWERED, REFUSED)};
#undef LOWERED
#undef REFUSED

/* A kernel without a row would be an entry of zeros. */
#define ONE(kernel, what) +1
_Static_assert(0 LOWER_MAP(ONE, ONE) == RULE_COUNT, "every kernel has one row in LOWER_MAP");
#undef ONE

static const struct rule *rule_of(const struct node *n)
{
    const char *name = kernel_of(n)->name;
    for (int i = 0; i < RULE_COUNT; i++)
        if (strcmp(rules[i].kernel, name) == 0)
            return &rules[i];
    return &rules[RULE_none];
}

/* ── errors ── */

bool lower_refuse(const struct node *n, struct bpu_error *err, const char *fmt, ...)
{
    char text[320];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return n ? error_set(err, BPU_UNSUPPORTED, n->name, "%s (%s): %s", n->name, n->op_name, text)
             : error_set(err, BPU_UNSUPPORTED, NULL, "%s", text);
}

bool lower_constant(const struct node *n, const struct value *v, const char *what,
                    struct bpu_error *err)
{
    if (v && value_is_known(v))
        return true;
    if (!v || !v->constant)
        return lower_refuse(n, err, "%s is not constant", what);
    error_set(err, BPU_BAD_MODEL, n ? n->name : NULL, "the content of \"%s\" is not known", v->name);
    return error_hint(err, "Give a model file with weights.");
}

/* ── layers ── */

struct layer *lower_layer(struct lowering *l, enum opcode op, const struct node *n, struct map *y,
                          struct bpu_error *err)
{
    struct layer *layer = y ? network_layer(l->net, op, n, err) : NULL;
    if (!layer)
        return NULL;
    layer->out[layer->out_count++] = y;
    layer->on_host = isa_row(op)->engine == ENGINE_HOST ||
                     (n && l->on_host && l->on_host[n->index]);
    return layer;
}

void layer_reads(struct layer *l, struct map *m, enum need need)
{
    l->in[l->in_count++] = (struct operand){.map = m, .need = need};
    if (m) { /* network_link() counts again; until then it tells maps that nobody reads */
        m->reader_count++;
        if (m->parent)
            m->parent->reader_count++;
    }
}

void layer_reads_blob(struct layer *l, struct blob *b)
{
    l->in[l->in_count++] = (struct operand){.blob = b};
}

/* Position of a named argument; -1: the row has none of that name. */
static int arg_index(enum opcode op, const char *name)
{
    const char *at = isa_row(op)->args;
    size_t want = strlen(name);
    for (int i = 0; *at; i++) {
        size_t length = strcspn(at, " ");
        if (length == want && memcmp(at, name, length) == 0)
            return i;
        at += length;
        at += strspn(at, " ");
    }
    return -1;
}

void layer_set(struct layer *l, const char *name, int32_t v)
{
    int i = arg_index(l->op, name);
    if (i >= 0)
        l->args[i] = v;
}

void layer_set_real(struct layer *l, const char *name, double v)
{
    char lo[64];
    snprintf(lo, sizeof lo, "%s_lo", name);
    int i = arg_index(l->op, lo);
    if (i >= 0)
        args_set_real(&l->args[i], v);
}

void layer_in_place(struct layer *l, int i)
{
    const struct map *x = l->in[i].map, *y = l->out[0];
    l->in[i].in_place = x && !x->constant && l->in[i].need == NEED_SAME && x->n == y->n &&
                        x->h == y->h && x->w == y->w && x->c == y->c &&
                        dtype_size(x->dtype) == dtype_size(y->dtype);
}

/* ── inputs ── */

/* The one node that reads an input, if it is a QuantStub; *many: several nodes read it. */
static const struct node *only_stub(const struct lowering *l, const struct value *v,
                                    const bool *needed, bool *many)
{
    const struct node *found = NULL;
    int readers = v->is_output ? 2 : 0;
    for (int i = 0; i < l->graph->node_count; i++) {
        const struct node *n = l->graph->nodes[i];
        for (int k = 0; k < n->input_count && needed[i]; k++)
            if (n->inputs[k] == v) {
                found = n;
                readers++;
            }
    }
    *many = readers > 1;
    if (readers != 1 || strcmp(kernel_of(found)->name, "quantize") != 0 ||
        found->outputs[0]->quant.count != 1)
        return NULL;
    return found;
}

/* The form of an input: images of two and three axes, and what convolutions and pools of one axis read. */
static enum form input_form(const struct lowering *l, const struct value *v)
{
    if (v->shape.rank != 3)
        return v->shape.rank == 4 || v->shape.rank == 5 ? FORM_IMAGE : FORM_FEATURES;
    for (int i = 0; i < l->graph->node_count; i++) {
        const struct node *n = l->graph->nodes[i];
        if (n->input_count > 0 && n->inputs[0] == v && n->op && n->op->spatial == 1)
            return FORM_IMAGE;
    }
    return FORM_FEATURES;
}

static bool add_inputs(struct lowering *l, const bool *needed, struct bpu_error *err)
{
    struct network *net = l->net;
    net->input_count = l->graph->input_count;
    net->inputs = ARENA_ARRAY(l->arena, struct network_io, net->input_count + 1, err);
    if (!net->inputs)
        return false;
    for (int i = 0; i < net->input_count; i++) {
        struct network_io *io = &net->inputs[i];
        const struct value *v = l->graph->inputs[i];
        bool many;
        const struct node *stub = only_stub(l, v, needed, &many);
        io->value = v;
        if (!stub && !many) { /* nobody, or one node that is no stub */
            bool read = false;
            for (int k = 0; k < l->graph->node_count && !read; k++)
                for (int o = 0; o < l->graph->nodes[k]->input_count && needed[k]; o++)
                    read = read || l->graph->nodes[k]->inputs[o] == v;
            if (!read)
                continue;
        }
        const struct value *inside = stub ? stub->outputs[0] : v;
        l->node = stub ? stub : l->graph->node_count ? l->graph->nodes[0] : NULL;
        enum form f = input_form(l, inside);
        io->map = lower_result(l, inside, f, err);
        if (!io->map)
            return false;
        io->features = f == FORM_FEATURES;
        io->map->input = i;
        io->host_float = stub != NULL;
        io->host_divides = stub && infer_from_onnx(stub);
    }
    return true;
}

/* ── outputs ── */

/* The map that output i is read from: one of its own, which no other output and no input is. */
static struct map *output_map(struct lowering *l, const struct value *v, int i, enum form f,
                              struct bpu_error *err)
{
    struct map *m = lower_map(l, v, f, err);
    if (!m)
        return NULL;
    if (m->parent || m->input >= 0 || m->output >= 0 || m->constant) {
        struct map *own = lower_temporary(l, m, "output", m->n, m->h, m->w, m->c, err);
        struct view all = {.map = m};
        struct digit to[4] = {{m->n, 1, 0}, {m->h, 1, 1}, {m->w, 1, 2}, {m->c, 1, 3}};
        for (int k = 0; k < 4; k++)
            view_add(&all, to[k].extent, 1, k);
        if (!own || !view_copy(l, &all, own, to, 4, 0, err))
            return NULL;
        own->value = v;
        m = own;
    }
    m->output = i;
    return m;
}

static bool add_outputs(struct lowering *l, struct bpu_error *err)
{
    struct network *net = l->net;
    net->output_count = l->graph->output_count;
    net->outputs = ARENA_ARRAY(l->arena, struct network_io, net->output_count + 1, err);
    if (!net->outputs)
        return false;
    for (int i = 0; i < net->output_count; i++) {
        struct network_io *io = &net->outputs[i];
        const struct value *v = l->graph->outputs[i], *inside = l->behind[v->index];
        l->node = v->producer;
        io->value = v;
        io->host_float = inside != NULL;
        v = inside ? inside : v;
        enum form f = lower_form(l, v);
        io->map = output_map(l, v, i, f, err);
        if (!io->map)
            return false;
        io->features = f == FORM_FEATURES;
    }
    return true;
}

/* ── the walk ── */

/* Nodes that an output depends on. */
static bool *needed_nodes(struct lowering *l, struct bpu_error *err)
{
    const struct graph *g = l->graph;
    bool *node = ARENA_ARRAY(l->arena, bool, g->node_count + 1, err);
    if (!node)
        return NULL;
    for (int i = 0; i < g->output_count; i++)
        if (g->outputs[i]->producer)
            node[g->outputs[i]->producer->index] = true;
    for (int i = g->node_count - 1; i >= 0; i--)
        for (int k = 0; k < g->nodes[i]->input_count && node[i]; k++) {
            const struct value *v = g->nodes[i]->inputs[k];
            if (v && v->producer)
                node[v->producer->index] = true;
        }
    return node;
}

static bool lower_node(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct rule *r = rule_of(n);
    bool known = n->output_count > 0;
    l->node = n;
    for (int i = 0; i < n->output_count; i++)
        known = known && n->outputs[i]->constant;
    if (known) /* computed before inference */
        return true;
    for (int i = 0; i < n->output_count; i++)
        if (!shape_is_static(&n->outputs[i]->shape))
            return lower_refuse(n, err, "the shape of \"%s\" is not known", n->outputs[i]->name);
    if (!r->lower)
        return lower_refuse(n, err, "%s", r->why_not);
    if (!kernel_is_fixed(n)) {
        lower_refuse(n, err, "it computes with real numbers, the machine with integers");
        return error_hint(err, "Quantize the network first: `bpuhub quantize`.");
    }
    if (r->lower(l, n, err))
        return true;
    return error_where(err, "%s", n->name);
}

static bool lowering_new(struct lowering *l, struct bpu_error *err)
{
    size_t values = (size_t)l->graph->value_count + 1;
    for (int f = 0; f < FORM_COUNT; f++)
        if (!(l->maps[f] = ARENA_ARRAY(l->arena, struct map *, values, err)))
            return false;
    l->views = ARENA_ARRAY(l->arena, struct view *, values, err);
    l->behind = l->views ? ARENA_ARRAY(l->arena, const struct value *, values, err) : NULL;
    l->net->source_of =
        l->behind ? ARENA_ARRAY(l->arena, int, l->graph->node_count + 1, err) : NULL;
    if (!l->net->source_of)
        return false;
    for (int i = 0; i < l->graph->node_count; i++)
        l->net->source_of[i] = -1;
    return true;
}

struct network *lower_graph(struct arena *a, const struct graph *fixed, const struct march *march,
                            const bool *on_host, struct bpu_error *err)
{
    struct network *net = ARENA_NEW(a, struct network, err);
    struct lowering l = {
        .net = net, .march = march, .arena = a, .graph = fixed, .on_host = on_host};
    if (!net || !quant_verify(fixed, err))
        return NULL;
    *net = (struct network){.arena = a, .machine = march_machine(march), .graph = fixed};
    bool *needed = lowering_new(&l, err) ? needed_nodes(&l, err) : NULL;
    if (!needed || !add_inputs(&l, needed, err))
        return NULL;
    for (int i = 0; i < fixed->node_count; i++)
        if (needed[i] && !lower_node(&l, fixed->nodes[i], err))
            return NULL;
    return add_outputs(&l, err) && network_link(net, err) ? net : NULL;
}
