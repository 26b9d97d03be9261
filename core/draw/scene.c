/* What is drawn: boxes, nets, and where folded nodes went. */
#include "core/draw/scene.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/draw/label.h"
#include "core/draw/svg.h"

#define BOX_TEXT_MAX 210.0 /* widest line in a box */
#define BOX_PAD 12.0
#define TRUNK_BUDGET 60000 /* points of trunks; beyond it long lines are told in words */

/* What becomes of a node. */
enum fate { FATE_BOX, FATE_PASS, FATE_CONSTANT };

struct build {
    struct scene *s;
    struct arena *arena;
    unsigned char *fate;  /* by node */
    const struct value **passed_on; /* by value: its source behind nodes that pass on, or NULL */
    int *net_of_value;    /* by value: net, or -1 */
    int *source_of_value; /* by value: box that produces it, or -1 */
    int *uses;            /* operand uses as pairs (net, box), in order */
    size_t use_count, use_capacity;
    int box_capacity;
};

static enum fate node_fate(const struct graph *g, const struct check_result *r,
                           const struct node *n)
{
    bool folded = r ? r->verdicts[n->index] == NODE_FOLDED : n->fold != FOLD_NONE;
    (void)g;
    if (!folded)
        return FATE_BOX;
    if (n->fold != FOLD_CONSTANT && n->input_count > 0 && n->inputs[0])
        return FATE_PASS;
    for (int i = 0; i < n->output_count; i++)
        if (n->outputs[i]->is_output)
            return FATE_BOX; /* a constant result of the graph is worth a box */
    return FATE_CONSTANT;
}

/* The value that a reader of v gets from a box: looks through folded nodes that pass on. */
static const struct value *source_value(const struct build *b, const struct value *v)
{
    return b->passed_on[v->index] ? b->passed_on[v->index] : v;
}

/* Once for all values, in the order of the nodes: chains of nodes that pass on may be long. */
static bool find_sources(struct build *b, struct bpu_error *err)
{
    const struct graph *g = b->s->graph;
    b->passed_on = ARENA_ARRAY(b->arena, const struct value *, g->value_count + 1, err);
    for (int i = 0; b->passed_on && i < g->node_count; i++)
        for (int o = 0; b->fate[i] == FATE_PASS && o < g->nodes[i]->output_count; o++)
            b->passed_on[g->nodes[i]->outputs[o]->index] = source_value(b, g->nodes[i]->inputs[0]);
    return b->passed_on != NULL;
}

const char *scene_value_text(const struct scene *s, const struct value *v, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    enum dtype t = s->check ? s->check->values[v->index].dtype : v->dtype;
    if (t == DT_UNKNOWN)
        t = v->dtype;
    return arena_printf(s->arena, err, "%s %s", shape_text(&v->shape, text),
                        t == DT_UNKNOWN ? "?" : dtype_name(t));
}

/* ── boxes ───────────────────────────────────────────────────────────────────────────────── */

static int add_box(struct build *b, enum box_kind kind)
{
    struct box *x = &b->s->boxes[b->s->layout.box_count];
    *x = (struct box){.kind = kind,
                      .verdict = NODE_LEGAL,
                      .title = "",
                      .detail = "",
                      .name = "",
                      .folded = -1,
                      .first_finding = -1,
                      .user = -1};
    return b->s->layout.box_count++;
}

static int add_net(struct build *b, int source, const struct value *v)
{
    struct scene *s = b->s;
    s->nets[s->layout.net_count] = (struct net){.value = v, .label = ""};
    s->layout.nets[s->layout.net_count] = (struct layout_net){.source = source, .slots = 1};
    return s->layout.net_count++;
}

static bool node_texts(struct build *b, struct box *x, struct bpu_error *err)
{
    struct buf line;
    if (!svg_line_init(&line))
        return error_set(err, BPU_NO_MEMORY, x->node->name, "there is no memory for its label");
    label_attributes(x->node, &line);
    if (b->s->heat && b->s->heat->share[x->node->index] >= 0)
        buf_printf(&line, "%s%.3g %%", line.size ? " \xC2\xB7 " : "",
                   100 * b->s->heat->share[x->node->index]);
    x->title = text_fit_start(b->arena, label_op(x->node->op_name), FONT_OP, BOX_TEXT_MAX, err);
    x->detail = text_fit_start(b->arena, buf_str(&line), FONT_ATTR, BOX_TEXT_MAX, err);
    x->name = text_fit_end(b->arena, x->node->name, FONT_NAME, 150, err);
    /* text_fit_* may return its argument, which is in the buffer here */
    if (x->detail == buf_str(&line))
        x->detail = arena_strdup(b->arena, x->detail, err);
    buf_fini(&line);
    return x->title && x->detail && x->name;
}

static bool terminal_texts(struct build *b, struct box *x, struct bpu_error *err)
{
    x->title = text_fit_end(b->arena, x->value->name, FONT_OP, BOX_TEXT_MAX, err);
    x->detail = scene_value_text(b->s, x->value, err);
    return x->title && x->detail;
}

static bool make_boxes(struct build *b, struct bpu_error *err)
{
    struct scene *s = b->s;
    const struct graph *g = s->graph;
    for (int i = 0; i < g->input_count; i++) {
        int k = add_box(b, BOX_INPUT);
        s->boxes[k].value = g->inputs[i];
        b->source_of_value[g->inputs[i]->index] = k;
        if (!terminal_texts(b, &s->boxes[k], err))
            return false;
    }
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        s->box_of_node[i] = -1;
        if (b->fate[i] != FATE_BOX)
            continue;
        int k = s->box_of_node[i] = add_box(b, BOX_NODE);
        s->boxes[k].node = n;
        s->boxes[k].verdict = s->check               ? s->check->verdicts[i]
                              : n->fold != FOLD_NONE ? NODE_FOLDED
                                                     : NODE_LEGAL;
        s->boxes[k].induced = s->check && s->check->induced && s->check->induced[i];
        for (int o = 0; o < n->output_count; o++)
            b->source_of_value[n->outputs[o]->index] = k;
        if (!node_texts(b, &s->boxes[k], err))
            return false;
    }
    for (int i = 0; i < g->output_count; i++) {
        int k = add_box(b, BOX_OUTPUT);
        s->boxes[k].value = g->outputs[i];
        if (!terminal_texts(b, &s->boxes[k], err))
            return false;
    }
    return true;
}

/* ── nets ────────────────────────────────────────────────────────────────────────────────── */

static bool add_use(struct build *b, int box, const struct value *v, struct bpu_error *err)
{
    const struct value *source = source_value(b, v);
    int from = b->source_of_value[source->index];
    if (from < 0 || from >= box) /* a constant; or an order that the verifier would refuse */
        return true;
    int *net = &b->net_of_value[source->index];
    if (*net < 0)
        *net = add_net(b, from, source);
    /* What all readers see behind folded nodes is what the label should say. */
    if (source != v)
        b->s->nets[*net].value = v;
    if (b->use_count + 2 > b->use_capacity) {
        int *grown = arena_grow(b->arena, b->uses, b->use_count, b->use_count + 2, sizeof *b->uses,
                                &b->use_capacity, err);
        if (!grown)
            return false;
        b->uses = grown;
    }
    b->uses[b->use_count++] = *net;
    b->uses[b->use_count++] = box;
    return true;
}

/* Turns the list of uses into the users of each net, each once. */
static bool collect_users(struct build *b, struct bpu_error *err)
{
    struct layout *l = &b->s->layout;
    int *users = ARENA_ARRAY(b->arena, int, b->use_count / 2 + 1, err);
    int *at = ARENA_ARRAY(b->arena, int, l->net_count + 2, err);
    int *last = ARENA_ARRAY(b->arena, int, l->net_count + 1, err);
    if (!users || !at || !last)
        return false;
    for (size_t i = 0; i < b->use_count; i += 2)
        at[b->uses[i] + 1]++;
    for (int i = 1; i <= l->net_count; i++)
        at[i] += at[i - 1];
    for (int i = 0; i < l->net_count; i++) {
        l->nets[i].users = users + at[i];
        last[i] = -1;
    }
    for (size_t i = 0; i < b->use_count; i += 2) {
        int net = b->uses[i], box = b->uses[i + 1];
        if (last[net] != box)
            users[at[net] + l->nets[net].user_count++] = box;
        last[net] = box;
    }
    return true;
}

static bool make_nets(struct build *b, struct bpu_error *err)
{
    struct scene *s = b->s;
    /* In the order of the boxes, so that the users of a net come in order and a repeat is adjacent.
     */
    for (int k = 0; k < s->layout.box_count; k++) {
        const struct box *x = &s->boxes[k];
        if (x->kind == BOX_OUTPUT && !add_use(b, k, x->value, err))
            return false;
        for (int i = 0; x->kind == BOX_NODE && i < x->node->input_count; i++)
            if (x->node->inputs[i] && !add_use(b, k, x->node->inputs[i], err))
                return false;
    }
    return collect_users(b, err);
}

/* ── folded nodes ────────────────────────────────────────────────────────────────────────── */

#define TAG_NAMES 2 /* operators that a tag names; the rest is a count */

/* "BatchNorm2d, Dropout +3": what hangs on the value below a box. */
static bool make_tag(struct build *b, struct box *x, struct bpu_error *err)
{
    const char *names[TAG_NAMES];
    int named = 0, more = 0;
    for (int i = x->folded; i >= 0; i = b->s->next_folded[i]) {
        if (b->fate[i] != FATE_PASS)
            continue;
        const char *name = label_op(b->s->graph->nodes[i]->op_name);
        bool known = false;
        for (int k = 0; k < named; k++)
            known = known || strcmp(names[k], name) == 0;
        if (!known && named < TAG_NAMES)
            names[named++] = name;
        else
            more += !known;
    }
    for (int k = 0; k < named; k++) {
        x->tag = k ? arena_printf(b->arena, err, "%s, %s", x->tag, names[k])
                   : arena_strdup(b->arena, names[k], err);
        if (!x->tag)
            return false;
    }
    if (more > 0)
        x->tag = arena_printf(b->arena, err, "%s +%d", x->tag, more);
    if (named > 0 && x->tag)
        x->tag = text_fit_start(b->arena, x->tag, FONT_TAG, BOX_TEXT_MAX, err);
    return named == 0 || x->tag != NULL;
}

static void give(struct scene *s, int box, int node)
{
    int *first = box >= 0 ? &s->boxes[box].folded : &s->orphans;
    s->next_folded[node] = *first;
    *first = node;
}

/* Last to first, so that the lists come out in order and readers are known before what they read.
 */
static bool place_folded(struct build *b, struct bpu_error *err)
{
    struct scene *s = b->s;
    const struct graph *g = s->graph;
    int *reader = ARENA_ARRAY(b->arena, int, g->value_count + 1, err); /* box + 1 */
    if (!reader)
        return false;
    for (int i = 0; i < g->output_count; i++) /* their boxes are the last ones */
        reader[g->outputs[i]->index] = s->layout.box_count - g->output_count + i + 1;
    for (int i = g->node_count - 1; i >= 0; i--) {
        const struct node *n = g->nodes[i];
        int host = s->box_of_node[i];
        for (int o = 0; host < 0 && o < n->output_count; o++)
            host = reader[n->outputs[o]->index] - 1;
        if (s->box_of_node[i] < 0) {
            int from = b->fate[i] == FATE_PASS
                           ? b->source_of_value[source_value(b, n->inputs[0])->index]
                           : -1;
            if (from >= 0)
                host = from;
            if (n->folded_into && s->box_of_node[n->folded_into->index] >= 0)
                host = s->box_of_node[n->folded_into->index];
            give(s, host, i);
            if (from >= 0)
                continue;
        }
        for (int k = 0; host >= 0 && k < n->input_count + n->param_count; k++) {
            const struct value *v =
                k < n->input_count ? n->inputs[k] : n->params[k - n->input_count].value;
            if (v)
                reader[v->index] = host + 1;
        }
    }
    for (int k = 0; k < s->layout.box_count; k++)
        if (!make_tag(b, &s->boxes[k], err))
            return false;
    return true;
}

static bool place_findings(struct scene *s, struct bpu_error *err)
{
    int count = s->check ? s->check->finding_count : 0;
    s->next_finding = ARENA_ARRAY(s->arena, int, count + 1, err);
    if (!s->next_finding)
        return false;
    for (int i = count - 1; i >= 0; i--) {
        const struct finding *f = &s->check->findings[i];
        s->next_finding[i] = -1;
        if (!f->node || s->box_of_node[f->node->index] < 0)
            continue;
        struct box *x = &s->boxes[s->box_of_node[f->node->index]];
        s->next_finding[i] = x->first_finding;
        x->first_finding = i;
        x->warnings += f->severity == SEVERITY_WARNING;
        x->advice += f->severity == SEVERITY_ADVICE;
    }
    return true;
}

/* ── lines too long to draw ──────────────────────────────────────────────────────────────── */

/* Takes users beyond `reach` ranks from their nets; each box that lost one gets a FAR box above it
 * that says where its values come from. */
static bool cut_far(struct build *b, int reach, struct bpu_error *err)
{
    struct scene *s = b->s;
    struct layout *l = &s->layout;
    int *far_box = ARENA_ARRAY(b->arena, int, l->box_count + 1, err);
    s->far = ARENA_ARRAY(b->arena, struct far_line, b->use_count / 2 + 1, err);
    if (!far_box || !s->far)
        return false;
    int nets = l->net_count;
    for (int i = 0; i < nets; i++) {
        struct layout_net *n = &l->nets[i];
        int *users = ARENA_ARRAY(b->arena, int, n->user_count + 1, err), kept = 0;
        if (!users)
            return false;
        for (int k = 0; k < n->user_count; k++) {
            int user = n->users[k];
            if (l->boxes[user].rank - l->boxes[n->source].rank <= reach) {
                users[kept++] = user;
                continue;
            }
            if (far_box[user] == 0) {
                int k2 = add_box(b, BOX_FAR);
                int *one = ARENA_NEW(b->arena, int, err);
                if (!one)
                    return false;
                far_box[user] = k2 + 1;
                s->boxes[k2].user = *one = user;
                l->boxes[k2].rank = l->boxes[user].rank - 1;
                int line = add_net(b, k2, NULL);
                l->nets[line].users = one;
                l->nets[line].user_count = 1;
            }
            struct box *x = &s->boxes[far_box[user] - 1];
            s->far[s->far_lines] = (struct far_line){i, x->far_count++ ? x->first_far : -1};
            x->first_far = s->far_lines++;
        }
        n->users = users;
        n->user_count = kept;
    }
    for (int k = 0; k < l->box_count; k++)
        if (s->boxes[k].kind == BOX_FAR) {
            struct box *x = &s->boxes[k];
            x->title = arena_printf(b->arena, err, "%d from further up", x->far_count);
            if (!x->title)
                return false;
        }
    return true;
}

/* ── sizes ───────────────────────────────────────────────────────────────────────────────── */

static double widest_line(const struct box *x)
{
    double w = text_width(x->title, FONT_OP, true);
    w = fmax(w, text_width(x->detail, FONT_ATTR, false));
    return fmax(w, text_width(x->name, FONT_NAME, false));
}

static void size_box(const struct scene *s, int k, int inputs)
{
    const struct box *x = &s->boxes[k];
    struct layout_box *l = &s->layout.boxes[k];
    if (x->kind == BOX_FAR) {
        l->w = ceil(text_width(x->title, FONT_TAG, false)) + 16;
        l->h = 18;
    } else {
        l->w = ceil(fmax(widest_line(x) + 2 * BOX_PAD, x->kind == BOX_NODE ? 96 : 110));
        l->h = 10 + (*x->title ? 17 : 0) + (*x->detail ? 14 : 0) + (*x->name ? 13 : 0);
    }
    l->w = fmax(l->w, fmin(inputs * 8.0 + 24, 1600));
    l->left = l->right = l->w / 2;
    if (x->tag)
        l->left = fmax(l->left, text_width(x->tag, FONT_TAG, false) + 22);
}

/* Labels, the slots of sources with several nets, and the sizes that follow. */
static bool label_nets(struct build *b, struct bpu_error *err)
{
    struct scene *s = b->s;
    struct layout *l = &s->layout;
    int *inputs = ARENA_ARRAY(b->arena, int, l->box_count + 1, err);
    int *slots = ARENA_ARRAY(b->arena, int, l->box_count + 1, err);
    int *first = ARENA_ARRAY(b->arena, int, l->box_count + 1, err);
    if (!inputs || !slots || !first)
        return false;
    for (int i = 0; i < l->net_count; i++) {
        l->nets[i].slot = slots[l->nets[i].source]++;
        for (int k = 0; k < l->nets[i].user_count; k++)
            inputs[l->nets[i].users[k]]++;
        const struct box *x = &s->boxes[l->nets[i].source];
        if (x->kind == BOX_NODE) {
            s->nets[i].label = scene_value_text(s, s->nets[i].value, err);
            if (!s->nets[i].label)
                return false;
        }
    }
    for (int k = 0; k < l->box_count; k++)
        size_box(s, k, inputs[k]);
    /* Of equal labels side by side only the rightmost is written. */
    for (int i = 0; i < l->net_count; i++) {
        int source = l->nets[i].source, before = first[source] - 1;
        l->nets[i].slots = slots[source];
        if (before < 0)
            first[source] = i + 1;
        else if (strcmp(s->nets[i].label, s->nets[before].label) != 0)
            s->boxes[source].labels_differ = true;
    }
    for (int i = 0; i < l->net_count; i++) {
        struct layout_box *x = &l->boxes[l->nets[i].source];
        double w = text_width(s->nets[i].label, FONT_EDGE, false) + 12;
        double slot = s->boxes[l->nets[i].source].labels_differ ? w : 16;
        if (slots[l->nets[i].source] > 1)
            x->w = fmax(x->w, fmin(l->nets[i].slots * slot, 1600));
    }
    for (int i = 0; i < l->net_count; i++) {
        struct layout_box *x = &l->boxes[l->nets[i].source];
        double w = text_width(s->nets[i].label, FONT_EDGE, false) + 12;
        x->right = fmax(x->right, x->w / 2 * (1 - 1.0 / l->nets[i].slots) + w);
    }
    for (int k = 0; k < l->box_count; k++) {
        l->boxes[k].left = fmax(l->boxes[k].left, l->boxes[k].w / 2);
        l->boxes[k].right = fmax(l->boxes[k].right, l->boxes[k].w / 2);
    }
    return true;
}

bool scene_new(struct scene *s, const struct graph *g, const struct check_result *r,
               const struct draw_heat *heat, struct arena *a, struct bpu_error *err)
{
    *s = (struct scene){.graph = g, .check = r, .heat = heat, .arena = a, .orphans = -1};
    for (int i = 0; heat && i < g->node_count; i++)
        s->hottest = fmax(s->hottest, heat->share[i]);
    struct build b = {.s = s, .arena = a};
    /* Each box may get one FAR box above it, and that one a net. */
    size_t boxes =
        2 * ((size_t)g->node_count + (size_t)g->input_count + (size_t)g->output_count) + 1;
    size_t nets = (size_t)g->value_count + boxes;
    if (boxes + nets > INT_MAX / 4)
        return error_set(err, BPU_LIMIT, NULL, "the graph has too many nodes to draw");
    s->boxes = ARENA_ARRAY(a, struct box, boxes, err);
    s->layout.boxes = ARENA_ARRAY(a, struct layout_box, boxes, err);
    s->nets = ARENA_ARRAY(a, struct net, nets, err);
    s->layout.nets = ARENA_ARRAY(a, struct layout_net, nets, err);
    s->box_of_node = ARENA_ARRAY(a, int, g->node_count + 1, err);
    s->next_folded = ARENA_ARRAY(a, int, g->node_count + 1, err);
    b.fate = ARENA_ARRAY(a, unsigned char, g->node_count + 1, err);
    b.net_of_value = ARENA_ARRAY(a, int, g->value_count + 1, err);
    b.source_of_value = ARENA_ARRAY(a, int, g->value_count + 1, err);
    if (!s->boxes || !s->layout.boxes || !s->nets || !s->layout.nets || !s->box_of_node ||
        !s->next_folded || !b.fate || !b.net_of_value || !b.source_of_value)
        return false;
    for (int i = 0; i < g->value_count; i++)
        b.net_of_value[i] = b.source_of_value[i] = -1;
    for (int i = 0; i < g->node_count; i++)
        b.fate[i] = node_fate(g, r, g->nodes[i]);
    if (!find_sources(&b, err) || !make_boxes(&b, err) || !make_nets(&b, err) || !place_folded(&b, err) ||
        !place_findings(s, err) || !layout_rank(&s->layout, a, err))
        return false;
    int reach;
    if (!layout_reach(&s->layout, a, TRUNK_BUDGET, &reach, err))
        return false;
    return (reach == INT_MAX || cut_far(&b, reach, err)) && label_nets(&b, err);
}
