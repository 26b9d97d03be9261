/* Two sides become a comparison: findings by rule and node, layers by layer_match(), gates last.
 *
 * All figures are deterministic, so what differs has changed; only the rounding of a number that was written and
 * read again does not count. */
#include "core/job/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/table.h"

static const struct {
    const char *key, *label;
} layer_rows[] = {
#define X(id, key, label) [LAYER_##id] = {key, label},
    LAYER_FIGURE_MAP(X)
#undef X
};

const char *layer_figure_key(enum layer_figure f)
{
    return layer_rows[f].key;
}

const char *layer_figure_label(enum layer_figure f)
{
    return layer_rows[f].label;
}

const char *layer_status_name(enum layer_status s)
{
    static const char *const names[] = {
        [LAYER_CHANGED] = "changed", [LAYER_ADDED] = "added", [LAYER_REMOVED] = "removed",
        [LAYER_FUSED] = "fused",     [LAYER_SPLIT] = "split", [LAYER_SAME] = "same"};
    return names[s];
}

bool compare_differs(double base, double head)
{
    return fabs(head - base) > 1e-9 * fmax(fabs(base), fabs(head));
}

int compare_outcome(enum figure f, double base, double head)
{
    enum figure_better better = figure_row(f)->better;
    if (better == BETTER_NEITHER || !compare_differs(base, head))
        return 0;
    return (head > base) == (better == BETTER_LOWER) ? 1 : -1;
}

/* ── findings ── */

/* Node names of the base as the head calls them; NULL: the reports have no nodes. */
struct renaming {
    struct name_table *head_name; /* base name → name of the partner, or "" where it has none */
};

/* Over the nodes that both checks list; without them over layers. */
static bool renaming_make(struct arena *a, const struct compare_side *base,
                          const struct compare_side *head, struct renaming *out, struct bpu_error *err)
{
    bool nodes = base->nodes.there && head->nodes.there;
    const struct layer_list *b = nodes ? &base->nodes : &base->layers;
    const struct layer_list *h = nodes ? &head->nodes : &head->layers;
    struct layer_match m;
    out->head_name = NULL;
    if (!b->there || !h->there)
        return true;
    out->head_name = name_table_new(a, err);
    if (!out->head_name || !layer_match(a, b, h, &m, err))
        return false;
    for (int i = 0; i < b->count; i++) {
        static char nothing[] = "";
        const char *to = m.to_head[i] >= 0 ? h->items[m.to_head[i]].name : nothing;
        union {
            const char *in;
            void *out;
        } name = {.in = to};
        if (!name_table_find(out->head_name, b->items[i].name) &&
            !name_table_put(out->head_name, b->items[i].name, name.out, err))
            return false;
    }
    return true;
}

/* A list of findings that have the same key, in order. */
struct chain {
    int first, last;
};

static bool chain_add(struct arena *a, struct name_table *t, const char *key, int i, int *next,
                      struct bpu_error *err)
{
    struct chain *c = key ? name_table_find(t, key) : NULL;
    next[i] = -1;
    if (c) {
        if (c->first < 0)
            c->first = i;
        else
            next[c->last] = i;
        c->last = i;
        return true;
    }
    c = key ? ARENA_NEW(a, struct chain, err) : NULL;
    if (!c)
        return false;
    *c = (struct chain){i, i};
    return name_table_put(t, key, c, err);
}

static int chain_take(struct name_table *t, const char *key, const int *next)
{
    struct chain *c = name_table_find(t, key);
    int i = c ? c->first : -1;
    if (i >= 0)
        c->first = next[i];
    return i;
}

/* Pairs what is unpaired and has the same key; key_of gives NULL with *err on failure, "" for none. */
struct finding_pairs {
    struct arena *a;
    const struct compare_side *base, *head;
    const struct renaming *names;
    int *to_head, *to_base, *next;
    struct bpu_error *err;
};

/* The node as the head calls it.  What is in no list keeps its name; what has no partner gets a name that
 * nothing has. */
static const char *node_of(const struct finding_pairs *p, const struct compare_finding *f, bool of_base)
{
    const char *to = of_base && *f->node && p->names->head_name ? name_table_find(p->names->head_name, f->node) : NULL;
    return !to ? f->node : *to ? to : "\n";
}

static const char *key_exact(const struct finding_pairs *p, const struct compare_finding *f, bool of_base)
{
    return arena_printf(p->a, p->err, "%s\n%s", f->rule, node_of(p, f, of_base));
}

/* For reports that name no nodes to match: the same rule for the same operator. */
static const char *key_loose(const struct finding_pairs *p, const struct compare_finding *f, bool of_base)
{
    (void)of_base;
    return arena_printf(p->a, p->err, "%s\n%s", f->rule, f->op);
}

static bool pair_by(const struct finding_pairs *p,
                    const char *(*key_of)(const struct finding_pairs *, const struct compare_finding *, bool))
{
    struct name_table *t = name_table_new(p->a, p->err);
    if (!t)
        return false;
    for (int i = 0; i < p->head->finding_count; i++)
        if (p->to_base[i] < 0 &&
            !chain_add(p->a, t, key_of(p, &p->head->findings[i], false), i, p->next, p->err))
            return false;
    for (int i = 0; i < p->base->finding_count; i++) {
        if (p->to_head[i] >= 0)
            continue;
        const char *key = key_of(p, &p->base->findings[i], true);
        if (!key)
            return false;
        int j = chain_take(t, key, p->next);
        if (j >= 0) {
            p->to_head[i] = j;
            p->to_base[j] = i;
        }
    }
    return true;
}

static int by_severity(const void *a, const void *b)
{
    const struct compare_finding *x = *(const struct compare_finding *const *)a,
                                 *y = *(const struct compare_finding *const *)b;
    if (x->severity != y->severity)
        return x->severity < y->severity ? -1 : 1;
    return (x > y) - (x < y); /* of one list: the report's order */
}

static bool findings_split(struct compare_result *c, const struct finding_pairs *p, struct bpu_error *err)
{
    const struct compare_side *b = c->base, *h = c->head;
    c->gained = ARENA_ARRAY(c->arena, const struct compare_finding *, h->finding_count, err);
    c->lost = c->gained ? ARENA_ARRAY(c->arena, const struct compare_finding *, b->finding_count, err) : NULL;
    c->graver = c->lost ? ARENA_ARRAY(c->arena, struct finding_change, b->finding_count, err) : NULL;
    if (!c->graver)
        return false;
    for (int i = 0; i < h->finding_count; i++)
        if (p->to_base[i] < 0)
            c->gained[c->gained_count++] = &h->findings[i];
    for (int i = 0; i < b->finding_count; i++) {
        int j = p->to_head[i];
        if (j < 0)
            c->lost[c->lost_count++] = &b->findings[i];
        else if (h->findings[j].severity != b->findings[i].severity)
            c->graver[c->graver_count++] = (struct finding_change){&b->findings[i], &h->findings[j]};
        else
            c->kept_count++;
    }
    if (c->gained_count)
        qsort(c->gained, (size_t)c->gained_count, sizeof *c->gained, by_severity);
    if (c->lost_count)
        qsort(c->lost, (size_t)c->lost_count, sizeof *c->lost, by_severity);
    return true;
}

static bool compare_findings(struct compare_result *c, struct bpu_error *err)
{
    const struct compare_side *b = c->base, *h = c->head;
    struct renaming names;
    struct finding_pairs p = {.a = c->arena, .base = b, .head = h, .names = &names, .err = err};
    if (!b->has_findings || !h->has_findings) {
        c->no_findings = b->has_findings   ? "the report of the head lists no findings"
                         : h->has_findings ? "the report of the base lists no findings"
                                           : "the reports list no findings";
        return true;
    }
    p.to_head = ARENA_ARRAY(c->arena, int, b->finding_count, err);
    p.to_base = p.to_head ? ARENA_ARRAY(c->arena, int, h->finding_count, err) : NULL;
    p.next = p.to_base ? ARENA_ARRAY(c->arena, int, h->finding_count, err) : NULL;
    if (!p.next || !renaming_make(c->arena, b, h, &names, err))
        return false;
    for (int i = 0; i < b->finding_count; i++)
        p.to_head[i] = -1;
    for (int i = 0; i < h->finding_count; i++)
        p.to_base[i] = -1;
    return pair_by(&p, key_exact) && (names.head_name || pair_by(&p, key_loose)) &&
           findings_split(c, &p, err);
}

/* ── layers ── */

static void sum_into(struct layer_change *x, int side, const struct compare_layer *l)
{
    for (int f = 0; f < LAYER_FIGURE_COUNT; f++) {
        if (!l->known[f])
            continue;
        x->known[side][f] = true;
        x->v[side][f] += l->v[f];
    }
}

/* What belongs to the matched item i, in the list's order: figures, and names joined by " + ".  The result of
 * several is the last one's, so is their signal to noise. */
static bool gather(struct arena *a, const struct layer_list *list, const int *into, const int *first_of,
                   const int *next_of, int i, struct layer_change *x, int side, const char **names,
                   struct bpu_error *err)
{
    enum { SHOWN = 6 };
    const struct compare_layer *own = &list->items[i];
    struct buf all;
    int shown = 0;
    (void)into;
    *names = own->name;
    sum_into(x, side, own);
    if (first_of[i] < 0)
        return true;
    buf_init(&all, BUF_DEFAULT_CAP);
    bool self = false;
    for (int k = first_of[i]; k >= 0 || !self;) {
        const struct compare_layer *l;
        if (!self && (k < 0 || k > i)) {
            l = own;
            self = true;
        } else {
            l = &list->items[k];
            sum_into(x, side, l);
            k = next_of[k];
        }
        if (shown++ < SHOWN)
            buf_printf(&all, "%s%s", shown > 1 ? " + " : "", l->name);
    }
    if (shown > SHOWN)
        buf_printf(&all, " + %d more", shown - SHOWN);
    *names = buf_ok(&all, err) ? arena_strdup(a, buf_str(&all), err) : NULL;
    buf_fini(&all);
    return *names != NULL;
}

/* Chains of what was joined to each item, in order. */
static bool joined(struct arena *a, const int *into, int count, int **first, int **next,
                   struct bpu_error *err)
{
    *first = ARENA_ARRAY(a, int, count, err);
    *next = *first ? ARENA_ARRAY(a, int, count, err) : NULL;
    if (!*next)
        return false;
    for (int i = 0; i < count; i++)
        (*first)[i] = -1;
    for (int i = count - 1; i >= 0; i--)
        if (into[i] >= 0) {
            (*next)[i] = (*first)[into[i]];
            (*first)[into[i]] = i;
        }
    return true;
}

static bool changed(const struct layer_change *x)
{
    for (int f = 0; f < LAYER_FIGURE_COUNT; f++)
        if (x->known[0][f] && x->known[1][f] && compare_differs(x->v[0][f], x->v[1][f]))
            return true;
    return x->reshaped;
}

static double amount(const struct layer_change *x, enum layer_figure f)
{
    return fabs((x->known[1][f] ? x->v[1][f] : 0) - (x->known[0][f] ? x->v[0][f] : 0));
}

static bool same_result(const struct compare_layer *x, const struct compare_layer *y)
{
    return x->rank == y->rank &&
           (x->rank <= 0 || memcmp(x->shape, y->shape, (size_t)x->rank * sizeof x->shape[0]) == 0);
}

static void keep(struct compare_result *c, struct layer_change *x)
{
    if (x->base && x->head) {
        c->matched++;
        c->renamed += x->renamed;
        if (x->status == LAYER_CHANGED && !changed(x))
            x->status = LAYER_SAME;
    }
    c->counts[x->status]++;
    if (x->status == LAYER_SAME)
        c->unchanged++;
    else
        c->layers[c->layer_count++] = *x;
}

static int by_weight(const void *a, const void *b)
{
    const struct layer_change *x = a, *y = b;
    if (x->weight < y->weight || y->weight < x->weight)
        return x->weight > y->weight ? -1 : 1;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    if (x->status != y->status)
        return x->status < y->status ? -1 : 1;
    return (x->base > y->base) - (x->base < y->base); /* removed at one place: in the base's order */
}

/* By time where both have it, else by traffic, operations, errors. */
static enum layer_figure order_of(const struct layer_list *base, const struct layer_list *head)
{
    static const enum layer_figure tried[] = {LAYER_TIME, LAYER_LOAD, LAYER_OPS, LAYER_SQNR};
    for (size_t i = 0; i < sizeof tried / sizeof tried[0]; i++) {
        bool b = false, h = false;
        for (int k = 0; k < base->count && !b; k++)
            b = base->items[k].known[tried[i]];
        for (int k = 0; k < head->count && !h; k++)
            h = head->items[k].known[tried[i]];
        if (b && h)
            return tried[i];
    }
    return LAYER_TIME;
}

static bool changes_make(struct compare_result *c, const struct layer_list *b, const struct layer_list *h,
                         const struct layer_match *m, struct bpu_error *err)
{
    int *first[2], *next[2];
    c->layers = ARENA_ARRAY(c->arena, struct layer_change, b->count + h->count, err);
    if (!c->layers || !joined(c->arena, m->join_base, b->count, &first[0], &next[0], err) ||
        !joined(c->arena, m->join_head, h->count, &first[1], &next[1], err))
        return false;
    int place = -1; /* in the head, of what was removed: behind this one */
    for (int i = 0; i < b->count; i++) {
        int k = m->to_head[i];
        place = k >= 0 ? k : place;
        struct layer_change x = {.base = &b->items[i], .place = place};
        if (k < 0 && m->join_base[i] >= 0)
            continue;
        if (!gather(c->arena, b, m->join_base, first[0], next[0], i, &x, 0, &x.base_names, err))
            return false;
        x.status = LAYER_REMOVED;
        if (k >= 0) {
            x.head = &h->items[k];
            if (!gather(c->arena, h, m->join_head, first[1], next[1], k, &x, 1, &x.head_names, err))
                return false;
            x.status = first[0][i] >= 0 && first[1][k] < 0   ? LAYER_FUSED
                       : first[1][k] >= 0 && first[0][i] < 0 ? LAYER_SPLIT
                                                              : LAYER_CHANGED;
            x.renamed = strcmp(x.base->name, x.head->name) != 0;
            /* What is fused has the shape of its last part. */
            x.reshaped = x.status == LAYER_CHANGED && x.base->rank >= 0 && x.head->rank >= 0 &&
                         !same_result(x.base, x.head);
        }
        keep(c, &x);
    }
    for (int i = 0; i < h->count; i++) {
        struct layer_change x = {.head = &h->items[i], .status = LAYER_ADDED, .place = i};
        if (m->to_base[i] >= 0 || m->join_head[i] >= 0)
            continue;
        if (!gather(c->arena, h, m->join_head, first[1], next[1], i, &x, 1, &x.head_names, err))
            return false;
        keep(c, &x);
    }
    return true;
}

static bool compare_layers(struct compare_result *c, struct bpu_error *err)
{
    const struct layer_list *b = &c->base->layers, *h = &c->head->layers;
    struct layer_match m;
    if (!b->there && !h->there && c->base->nodes.there && c->head->nodes.there) {
        b = &c->base->nodes; /* two checks: which nodes came and went */
        h = &c->head->nodes;
    }
    if (!b->there || !h->there) {
        c->no_layers = b->there   ? "the report of the head lists no layers"
                       : h->there ? "the report of the base lists no layers"
                                  : "the reports list no layers";
        return true;
    }
    if (b->ordered != h->ordered) {
        c->no_layers = "one report has the layers of a program, the other the values of a network";
        return true;
    }
    if (!layer_match(c->arena, b, h, &m, err) || !changes_make(c, b, h, &m, err))
        return false;
    c->by = order_of(b, h);
    for (int i = 0; i < c->layer_count; i++) {
        struct layer_change *x = &c->layers[i];
        x->weight = amount(x, c->by);
        if (c->by == LAYER_LOAD)
            x->weight += amount(x, LAYER_STORE);
        if (isnan(x->weight))
            x->weight = 0; /* numbers that nobody measured */
    }
    if (c->layer_count)
        qsort(c->layers, (size_t)c->layer_count, sizeof *c->layers, by_weight);
    return true;
}

/* ── gates ── */

static void judge_findings(const struct compare_result *c, struct gate *g)
{
    int most = strcmp(g->word, "new-errors") == 0 ? 0 : strcmp(g->word, "new-warnings") == 0 ? 1 : 2, n = 0;
    const struct compare_finding *first = NULL;
    for (int i = 0; i < c->gained_count; i++)
        if (c->gained[i]->severity <= most) {
            first = first ? first : c->gained[i];
            n++;
        }
    for (int i = 0; i < c->graver_count; i++)
        if (c->graver[i].head->severity <= most &&
            c->graver[i].head->severity < c->graver[i].base->severity) {
            first = first ? first : c->graver[i].head;
            n++;
        }
    g->known = !c->no_findings;
    g->measured = g->over = n;
    g->passed = g->known && n == 0;
    if (c->no_findings)
        snprintf(g->text, sizeof g->text, "what was gained is not known: %s", c->no_findings);
    else if (!n)
        snprintf(g->text, sizeof g->text, "nothing was gained that it is about");
    else
        snprintf(g->text, sizeof g->text, "%d gained, the first: %s %.80s at %.100s", n, first->severity_name,
                 first->rule, *first->node ? first->node : "the graph");
}

static void judge(struct compare_result *c)
{
    gates_judge(&c->gates, c->figures[1]);
    for (int i = 0; i < c->gates.count; i++) {
        struct gate *g = &c->gates.items[i];
        if (g->test == GATE_REGRESSION)
            gate_judge_regression(g, &c->figures[0][g->figure], &c->figures[1][g->figure]);
        else if (g->test == GATE_FINDINGS)
            judge_findings(c, g);
    }
}

bool comparison_passed(const struct compare_result *c)
{
    bool illegal = c->head->verdict && strcmp(c->head->verdict, "illegal") == 0;
    return !illegal && gates_passed(&c->gates);
}

/* ── the whole ── */

static bool has_verdict(const struct compare_side *s)
{
    return s->verdict && *s->verdict;
}

/* Something that both say. */
static bool in_common(const struct compare_result *c)
{
    bool any = (has_verdict(c->base) && has_verdict(c->head)) || !c->no_findings || !c->no_layers;
    for (int i = 0; i < FIGURE_COUNT; i++)
        any = any || (c->figures[0][i].known && c->figures[1][i].known);
    return any;
}

/* Nodes are counted before or after fusing, bounds with or without what starts instructions: by kind of report. */
static void figures_choose(struct compare_result *c)
{
    static const enum figure of_one_kind[] = {FIGURE_NODES, FIGURE_BOUND};
    memcpy(c->figures[0], c->base->figures, sizeof c->figures[0]);
    memcpy(c->figures[1], c->head->figures, sizeof c->figures[1]);
    bool same = c->base->schema && c->head->schema && strcmp(c->base->schema, c->head->schema) == 0;
    for (size_t i = 0; !same && i < sizeof of_one_kind / sizeof of_one_kind[0]; i++)
        c->figures[0][of_one_kind[i]] = c->figures[1][of_one_kind[i]] = (struct figure_value){0};
}

bool compare_sides(struct arena *a, const struct compare_side *base, const struct compare_side *head,
                   const struct gates *gates, struct compare_result *out, struct bpu_error *err)
{
    *out = (struct compare_result){.arena = a, .base = base, .head = head};
    if (gates)
        out->gates = *gates;
    figures_choose(out);
    if (!compare_findings(out, err) || !compare_layers(out, err))
        return false;
    if (!in_common(out)) {
        error_set(err, BPU_NOT_COMPARABLE, NULL, "a report of kind %.60s and one of kind %.60s have nothing in common",
                  base->kinds ? base->kinds : "(none)", head->kinds ? head->kinds : "(none)");
        return error_hint(err, "Compare two reports of one kind, or check with compile, compile with perf, "
                               "quantize with evaluate.");
    }
    judge(out);
    return true;
}
