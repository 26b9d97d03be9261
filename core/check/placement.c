/* Placement: which nodes leave the BPU, and into how many parts that cuts the graph.
 *
 *   place    a node with a direct error runs on the CPU, every other one on the BPU; nodes without
 *            effect, stubs and shape arithmetic run nowhere and are looked through
 *   stage    how often the work has changed sides on the way to a node, at the most
 *   segment  nodes of one side and one stage that hand tensors to each other: what runs in one go.
 *            Stages keep a tensor that goes round a CPU node from joining both of its sides.
 *
 * A node that is illegal only by another's fault is placed where its row of the table puts it. */
#include <stdlib.h>
#include <string.h>

#include "core/check/rules.h"

enum place { PLACE_NONE, PLACE_BPU, PLACE_CPU };

/* A tensor that passes between a CPU segment and the BPU. */
struct crossing {
    int segment; /* root node of the CPU segment */
    int value;
    bool from_bpu;
};

struct placer {
    struct checker *c;
    enum place *place; /* [node_count] */
    int *stage;        /* [node_count] */
    int *parent;       /* [node_count]: union-find */
    int *source;       /* [value_count]: the value that a placed node made of it; -1: none did */
    struct crossing *crossings;
    size_t crossing_count, crossing_capacity;
};

static int root_of(const struct placer *p, int i)
{
    while (p->parent[i] != i) {
        p->parent[i] = p->parent[p->parent[i]];
        i = p->parent[i];
    }
    return i;
}

static bool reads_feature(const struct node *n)
{
    for (int i = 0; i < n->input_count; i++) {
        if (value_is_feature(n->inputs[i]))
            return true;
    }
    return false;
}

/* Direct errors are marked beforehand (PLACE_CPU). */
static enum place place_of(const struct placer *p, const struct node *n)
{
    const struct node_context *ctx = &p->c->ctx[n->index];
    if (n->fold != FOLD_NONE || ctx->role == ROLE_QUANT || ctx->role == ROLE_DEQUANT)
        return PLACE_NONE;
    if (p->place[n->index] == PLACE_CPU)
        return PLACE_CPU;
    if (!reads_feature(n) || (n->op && n->op->class == OPC_SHAPE))
        return PLACE_NONE;
    return PLACE_BPU;
}

/* Places, stages and segments in one pass in topological order. */
static void place_nodes(struct placer *p)
{
    const struct graph *g = p->c->g;
    for (int i = 0; i < g->value_count; i++)
        p->source[i] = -1;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        enum place place = p->place[i] = place_of(p, n);
        int through = -1;
        p->parent[i] = i;
        for (int k = 0; k < n->input_count; k++) {
            const struct value *v = n->inputs[k];
            int from = v ? p->source[v->index] : -1;
            if (from < 0)
                continue;
            through = through < 0 ? from : through;
            const struct node *maker = g->values[from]->producer;
            int stage = p->stage[maker->index] + (p->place[maker->index] != place);
            if (place != PLACE_NONE && stage > p->stage[i])
                p->stage[i] = stage;
        }
        for (int k = 0; k < n->output_count; k++)
            p->source[n->outputs[k]->index] = place == PLACE_NONE ? through : n->outputs[k]->index;
    }
}

static bool add_crossing(struct placer *p, int cpu_node, int value, bool from_bpu)
{
    struct checker *c = p->c;
    struct crossing *list = arena_grow(c->a, p->crossings, p->crossing_count, p->crossing_count + 1,
                                       sizeof(*list), &p->crossing_capacity, c->err);
    if (!list)
        return false;
    p->crossings = list;
    list[p->crossing_count++] = (struct crossing){cpu_node, value, from_bpu};
    return true;
}

/* Joins nodes to segments and notes what crosses between them. */
static bool join_nodes(struct placer *p)
{
    const struct graph *g = p->c->g;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        for (int k = 0; p->place[i] != PLACE_NONE && k < n->input_count; k++) {
            int from = n->inputs[k] ? p->source[n->inputs[k]->index] : -1;
            if (from < 0)
                continue;
            int maker = g->values[from]->producer->index;
            if (p->place[maker] == p->place[i]) {
                int a = root_of(p, maker), b = root_of(p, i);
                if (p->stage[maker] == p->stage[i]) /* the earliest node is the root */
                    p->parent[a > b ? a : b] = a > b ? b : a;
            } else if (!add_crossing(p, p->place[i] == PLACE_CPU ? i : maker, from,
                                     p->place[i] == PLACE_CPU)) {
                return false;
            }
        }
    }
    for (size_t i = 0; i < p->crossing_count; i++)
        p->crossings[i].segment = root_of(p, p->crossings[i].segment);
    return true;
}

static int by_segment(const void *a, const void *b)
{
    const struct crossing *x = a, *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return (int)x->from_bpu - (int)y->from_bpu;
}

/* Bytes of a tensor on the BPU's side; -1 if its shape is not known. */
static double bytes_of(const struct checker *c, int value)
{
    const struct value *v = c->g->values[value];
    int64_t elements = shape_elements(&v->shape);
    enum dtype t = c->r->values[value].dtype;
    if (!dtype_is_quantized(t))
        t = c->m->feature_dtype;
    return elements < 0 ? -1 : (double)elements * (double)dtype_size(t);
}

/* One CPU segment: what crosses at its border. */
struct segment {
    int root, nodes;
    bool from_bpu, to_bpu, known;
    double bytes;
};

/* "a, b, c …" of the nodes of a segment. */
static const char *names_of(const struct placer *p, const struct segment *s)
{
    const struct graph *g = p->c->g;
    struct buf text;
    int named = 0;
    buf_init(&text, 4096);
    for (int i = s->root; i < g->node_count && named < 3; i++) {
        if (p->place[i] == PLACE_CPU && root_of(p, i) == s->root)
            buf_printf(&text, "%s%.100s", named++ ? ", " : "", g->nodes[i]->name);
    }
    buf_puts(&text, s->nodes > named ? " …" : "");
    const char *out =
        buf_ok(&text, p->c->err) ? arena_strdup(p->c->a, buf_str(&text), p->c->err) : NULL;
    buf_fini(&text);
    return out;
}

static bool report_segment(const struct placer *p, const struct segment *s)
{
    struct checker *c = p->c;
    const struct split *all = &c->r->split;
    const struct node *n = c->g->nodes[s->root];
    const char *cost = "how many bytes cross here is not known, for want of a shape";
    const char *names = names_of(p, s);
    if (s->known && c->m->figures.ddr_bytes_per_us > 0)
        cost = arena_printf(c->a, c->err,
                            "%.0f bytes cross here each run, %.3g us at the %.3g GB/s that DDR "
                            "gives in one direction; quantizing and dequantizing on the host comes "
                            "on top",
                            s->bytes, s->bytes / c->m->figures.ddr_bytes_per_us,
                            c->m->figures.ddr_bytes_per_us / 1e3);
    if (!names || !cost)
        return false;
    struct finding *f = finding_add(c, n, SEVERITY_WARNING, "cpu_split");
    if (!f)
        return false;
    f->message =
        arena_printf(c->a, c->err,
                     "%s leave%s the BPU and split%s the graph into %d BPU parts and %d "
                     "CPU part%s; %s",
                     names, s->nodes > 1 ? "" : "s", s->nodes > 1 ? "" : "s", all->bpu_segments,
                     all->cpu_segments, all->cpu_segments == 1 ? "" : "s", cost);
    f->actual = "\"CPU\"";
    f->limit = "BPU";
    f->hint = c->ctx[n->index].todo;
    if (!f->hint)
        f->hint = "Replace it, or move it before the first or behind the last layer of the BPU, "
                  "where it splits nothing.";
    return f->message != NULL;
}

/* Walks the crossings segment by segment; report: says so on those between two BPU parts. */
static bool walk_segments(struct placer *p, bool report)
{
    struct checker *c = p->c;
    struct split *all = &c->r->split;
    size_t i = 0;
    int *nodes = ARENA_ARRAY(c->a, int, c->g->node_count, c->err);
    if (!nodes)
        return false;
    for (int k = 0; k < c->g->node_count; k++) {
        if (p->place[k] == PLACE_CPU)
            nodes[root_of(p, k)]++;
    }
    while (i < p->crossing_count) {
        struct segment s = {.root = p->crossings[i].segment, .known = true};
        s.nodes = nodes[s.root];
        for (size_t first = i; i < p->crossing_count && p->crossings[i].segment == s.root; i++) {
            const struct crossing *x = &p->crossings[i];
            if (i > first && by_segment(x - 1, x) == 0)
                continue; /* two readers, one transfer */
            double bytes = bytes_of(c, x->value);
            s.from_bpu |= x->from_bpu;
            s.to_bpu |= !x->from_bpu;
            s.known = s.known && bytes >= 0;
            s.bytes += bytes;
        }
        if (!s.known)
            all->crossing_bytes = -1;
        else if (all->crossing_bytes >= 0)
            all->crossing_bytes += s.bytes;
        if (report && s.from_bpu && s.to_bpu && !report_segment(p, &s))
            return false;
    }
    return true;
}

/* Nodes with an error of their own; what is wrong with an input of the model moves no node. */
static void mark_illegal(struct placer *p)
{
    const struct check_result *r = p->c->r;
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        const struct node *n = f->node;
        const struct cell *t = n ? p->c->ctx[n->index].torch : NULL;
        if (f->severity != SEVERITY_ERROR || !n)
            continue;
        if (!f->induced || (!t && !p->c->ctx[n->index].onnx) || (t && t->support == SUPPORT_NO))
            p->place[n->index] = PLACE_CPU;
    }
}

bool judge_placement(struct checker *c)
{
    const struct graph *g = c->g;
    struct split *all = &c->r->split;
    struct placer p = {.c = c};
    p.place = ARENA_ARRAY(c->a, enum place, g->node_count, c->err);
    p.stage = ARENA_ARRAY(c->a, int, g->node_count, c->err);
    p.parent = ARENA_ARRAY(c->a, int, g->node_count, c->err);
    p.source = ARENA_ARRAY(c->a, int, g->value_count, c->err);
    if (!p.place || !p.stage || !p.parent || !p.source)
        return false;
    mark_illegal(&p);
    place_nodes(&p);
    if (!join_nodes(&p))
        return false;
    if (p.crossing_count > 0)
        qsort(p.crossings, p.crossing_count, sizeof(*p.crossings), by_segment);
    for (int i = 0; i < g->node_count; i++) {
        const struct onnx_cell *o = c->ctx[i].onnx;
        bool root = p.parent[i] == i;
        all->bpu_nodes += p.place[i] == PLACE_BPU;
        all->cpu_nodes += p.place[i] == PLACE_CPU;
        all->bpu_segments += p.place[i] == PLACE_BPU && root;
        all->cpu_segments += p.place[i] == PLACE_CPU && root;
        all->onnx_cpu_nodes += p.place[i] == PLACE_BPU && o && o->placement != PLACEMENT_BPU;
    }
    /* Where most of the network cannot run anyway, that is what has to be said. */
    if (!walk_segments(&p, all->bpu_nodes >= all->cpu_nodes))
        return false;
    if (all->crossing_bytes < 0)
        all->reason = "a shape is not known where tensors cross between BPU and CPU";
    else if (c->m->figures.ddr_bytes_per_us <= 0)
        all->reason = "the DDR bandwidth of this march is not known";
    all->crossing_us = all->reason ? -1 : all->crossing_bytes / c->m->figures.ddr_bytes_per_us;
    return true;
}
