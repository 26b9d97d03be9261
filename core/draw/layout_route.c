/* y of every rank, and the paths of the nets.
 *
 * A line leaves a box at its bottom, runs straight beside its label, bends once in the gap between
 * two ranks, and ends in an arrow head.  The gap is higher where lines have far to go. */
#include "core/draw/layout.h"

#include <math.h>
#include <stdlib.h>

#define GAP_LEAST 18.0
#define GAP_MOST 90.0
#define PORT_MARGIN 12.0
#define PORT_GAP 8.0

struct route {
    double *port_x; /* [segment] x where it ends below */
    double *bend_y; /* [rank] where lines start to bend below rank r */
    double *top_y;  /* [rank] */
};

static double leave_x(const struct layering *g, const struct segment *s)
{
    const struct vertex *v = &g->v[s->up];
    const struct layout_net *n = &g->layout->nets[s->net];
    if (v->box < 0 || n->slots <= 1)
        return v->x;
    double w = g->layout->boxes[v->box].w;
    return v->x - w / 2 + w * (n->slot + 0.5) / n->slots;
}

/* Something to sort by where it comes from or goes to: a segment, or a net. */
struct port {
    double from;
    int segment;
};

static int compare_ports(const void *a, const void *b)
{
    const struct port *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : x->segment - y->segment;
}

/* Lines enter a box where they come from if that is above it, else at its sides; the aligned one in
 * the middle. */
static void ports_of_box(struct layering *g, int v, struct port *ports, double *port_x)
{
    const struct vertex *box = &g->v[v];
    int n = 0, middle = -1;
    for (int k = g->up_at[v]; k < g->up_at[v + 1]; k++)
        ports[n++] = (struct port){leave_x(g, &g->s[g->up[k]]), g->up[k]};
    qsort(ports, (size_t)n, sizeof *ports, compare_ports);
    double half = fmax(g->layout->boxes[box->box].w / 2 - PORT_MARGIN, 0);
    double gap = n > 1 ? fmin(PORT_GAP * 1.5, 2 * half / (n - 1)) : 0, place = box->x - half;
    for (int i = 0; i < n; i++)
        if (box->align_up >= 0 && g->s[ports[i].segment].up == box->align_up)
            middle = i;
    for (int i = 0; i < n; i++) {
        double want = fmin(fmax(ports[i].from, box->x - half), box->x + half);
        /* Room for those on both sides comes first. */
        want = fmax(want, box->x - half + gap * i);
        want = fmin(want, box->x + half - gap * (n - 1 - i));
        if (i > 0)
            want = fmax(want, fmin(place + gap, box->x + half));
        place = port_x[ports[i].segment] = want;
    }
    if (middle >= 0 && g->layout->nets[g->s[ports[middle].segment].net].slots == 1) {
        double x = port_x[ports[middle].segment] = box->x;
        for (int i = middle - 1; i >= 0; i--)
            x = port_x[ports[i].segment] =
                fmax(fmin(port_x[ports[i].segment], x - fmin(gap, half / n)), box->x - half);
        x = box->x;
        for (int i = middle + 1; i < n; i++)
            x = port_x[ports[i].segment] =
                fmin(fmax(port_x[ports[i].segment], x + fmin(gap, half / n)), box->x + half);
    }
}

/* Nets that leave one box side by side, in the order of where they go. */
static bool sort_slots(struct layering *g, struct bpu_error *err)
{
    const struct layout *l = g->layout;
    struct port *nets = ARENA_ARRAY(g->arena, struct port, l->net_count + 1, err);
    double *sum = ARENA_ARRAY(g->arena, double, l->net_count + 1, err);
    int *pieces = ARENA_ARRAY(g->arena, int, l->net_count + 1, err);
    int *taken = ARENA_ARRAY(g->arena, int, l->box_count + 1, err);
    if (!nets || !sum || !pieces || !taken)
        return false;
    for (int i = 0; i < g->seg_count; i++)
        if (g->v[g->s[i].up].box >= 0) {
            sum[g->s[i].net] += g->v[g->s[i].down].x;
            pieces[g->s[i].net]++;
        }
    for (int i = 0; i < l->net_count; i++)
        nets[i] = (struct port){pieces[i] ? sum[i] / pieces[i] : 0, i};
    qsort(nets, (size_t)l->net_count, sizeof *nets, compare_ports);
    for (int i = 0; i < l->net_count; i++)
        l->nets[nets[i].segment].slot = taken[l->nets[nets[i].segment].source]++;
    return true;
}

static void stack_ranks(struct layering *g, struct route *p)
{
    struct layout *l = g->layout;
    double y = 0;
    for (int r = 0; r < g->rank_count; r++) {
        double h = 0, far = 0;
        bool lines = g->seg_at[r + 1] > g->seg_at[r];
        for (int i = g->rank_at[r]; i < g->rank_at[r + 1]; i++)
            if (g->v[g->order[i]].box >= 0)
                h = fmax(h, l->boxes[g->v[g->order[i]].box].h);
        for (int i = g->rank_at[r]; i < g->rank_at[r + 1]; i++)
            if (g->v[g->order[i]].box >= 0) {
                struct layout_box *b = &l->boxes[g->v[g->order[i]].box];
                b->y = y + floor((h - b->h) / 2);
            }
        for (int i = g->seg_at[r]; i < g->seg_at[r + 1]; i++)
            far = fmax(far, fabs(leave_x(g, &g->s[i]) - p->port_x[i]));
        p->top_y[r] = y;
        p->bend_y[r] = y + h + LAYOUT_LABEL_H;
        y += h;
        l->height = y + LAYOUT_LABEL_H;
        y += LAYOUT_LABEL_H + (lines ? round(fmin(GAP_LEAST + far * 0.08, GAP_MOST)) : GAP_LEAST);
    }
}

/* ── paths ───────────────────────────────────────────────────────────────────────────────── */

static void step(struct layout_net *n, struct layout_step s)
{
    n->steps[n->step_count++] = s;
}

static void path_segment(struct layering *g, const struct route *p, int i)
{
    const struct segment *s = &g->s[i];
    const struct vertex *up = &g->v[s->up], *down = &g->v[s->down];
    struct layout_net *n = &g->layout->nets[s->net];
    double x = leave_x(g, s), to = p->port_x[i], y = p->bend_y[up->rank];
    double tip = down->box >= 0 ? g->layout->boxes[down->box].y : p->bend_y[down->rank];
    double end = down->box >= 0 ? tip - LAYOUT_ARROW : p->top_y[down->rank];
    if (n->step_count == 0) {
        const struct layout_box *b = &g->layout->boxes[n->source];
        n->x = x;
        n->y = b->y + b->h;
        step(n, (struct layout_step){.kind = STEP_MOVE, .x = n->x, .y = n->y});
        step(n, (struct layout_step){.kind = STEP_LINE, .x = x, .y = y});
    } else {
        const struct layout_step *last = &n->steps[n->step_count - 1];
        if (last->x != x || last->y != y)
            step(n, (struct layout_step){.kind = STEP_MOVE, .x = x, .y = y});
    }
    double bend_end = p->top_y[down->rank] - (down->box >= 0 ? LAYOUT_ARROW : 0);
    if (fabs(x - to) > 0.4) {
        double mid = (y + bend_end) / 2;
        step(n, (struct layout_step){STEP_CURVE, x, mid, to, mid, to, bend_end});
    }
    if (fabs(x - to) <= 0.4 || bend_end != end || down->box < 0)
        step(n, (struct layout_step){.kind = STEP_LINE, .x = to, .y = down->box >= 0 ? end : tip});
    if (down->box >= 0)
        step(n, (struct layout_step){.kind = STEP_ARROW, .x1 = 0, .y1 = 1, .x = to, .y = tip});
}

/* Each piece of a net takes at most four steps (move, curve, line, arrow), and its start two. */
static bool make_paths(struct layering *g, const struct route *p, struct bpu_error *err)
{
    int *room = ARENA_ARRAY(g->arena, int, g->layout->net_count + 1, err);
    if (!room)
        return false;
    for (int i = 0; i < g->seg_count; i++)
        room[g->s[i].net] += 4;
    for (int i = 0; i < g->layout->net_count; i++) {
        struct layout_net *n = &g->layout->nets[i];
        const struct layout_box *b = &g->layout->boxes[n->source];
        n->step_count = 0;
        n->x = b->x;
        n->y = b->y + b->h;
        n->steps = ARENA_ARRAY(g->arena, struct layout_step, room[i] + 2, err);
        if (!n->steps)
            return false;
    }
    for (int i = 0; i < g->seg_count; i++)
        path_segment(g, p, i);
    return true;
}

bool layering_route(struct layering *g, struct bpu_error *err)
{
    struct arena *a = g->arena;
    struct route p;
    int widest = 0;
    for (int v = 0; v < g->count; v++)
        if (g->up_at[v + 1] - g->up_at[v] > widest)
            widest = g->up_at[v + 1] - g->up_at[v];
    struct port *ports = ARENA_ARRAY(a, struct port, widest + 1, err);
    p.port_x = ARENA_ARRAY(a, double, g->seg_count + 1, err);
    p.bend_y = ARENA_ARRAY(a, double, g->rank_count + 1, err);
    p.top_y = ARENA_ARRAY(a, double, g->rank_count + 1, err);
    if (!ports || !p.port_x || !p.bend_y || !p.top_y)
        return false;
    if (!sort_slots(g, err))
        return false;
    for (int v = 0; v < g->count; v++)
        if (g->v[v].box >= 0)
            ports_of_box(g, v, ports, p.port_x);
        else
            for (int k = g->up_at[v]; k < g->up_at[v + 1]; k++)
                p.port_x[g->up[k]] = g->v[v].x;
    stack_ranks(g, &p);
    return make_paths(g, &p, err);
}
