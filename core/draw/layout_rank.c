/* Ranks, trunks and the wish list of straight lines.
 *
 * Longest-path ranks keep a network's main chain in consecutive ranks, which is what makes it read
 * as a chain.  A box with nothing above it, or one that would shorten more lines than it lengthens,
 * sinks towards its users. */
#include "core/draw/layout.h"

#include <limits.h>
#include <stdlib.h>

/* Last rank on which the net is used. */
static int net_end(const struct layout *l, const struct layout_net *n)
{
    int end = l->boxes[n->source].rank;
    for (int i = 0; i < n->user_count; i++)
        if (l->boxes[n->users[i]].rank > end)
            end = l->boxes[n->users[i]].rank;
    return end;
}

/* Nets by their source and by their users: out[out_at[b]] …, in[in_at[b]] … */
struct incidence {
    int *out_at, *out, *in_at, *in;
};

static bool incidence_init(struct incidence *c, const struct layout *l, struct arena *a,
                           struct bpu_error *err)
{
    size_t uses = 0;
    for (int i = 0; i < l->net_count; i++)
        uses += (size_t)l->nets[i].user_count;
    c->out_at = ARENA_ARRAY(a, int, l->box_count + 2, err);
    c->in_at = ARENA_ARRAY(a, int, l->box_count + 2, err);
    c->out = ARENA_ARRAY(a, int, l->net_count + 1, err);
    c->in = ARENA_ARRAY(a, int, uses + 1, err);
    if (!c->out_at || !c->in_at || !c->out || !c->in)
        return false;
    /* Counting sort: counts go two places on, so that the running sums end as start offsets. */
    for (int i = 0; i < l->net_count; i++) {
        c->out_at[l->nets[i].source + 2]++;
        for (int k = 0; k < l->nets[i].user_count; k++)
            c->in_at[l->nets[i].users[k] + 2]++;
    }
    for (int b = 2; b < l->box_count + 2; b++) {
        c->out_at[b] += c->out_at[b - 1];
        c->in_at[b] += c->in_at[b - 1];
    }
    for (int i = 0; i < l->net_count; i++) {
        c->out[c->out_at[l->nets[i].source + 1]++] = i;
        for (int k = 0; k < l->nets[i].user_count; k++)
            c->in[c->in_at[l->nets[i].users[k] + 1]++] = i;
    }
    return true;
}

bool layout_rank(struct layout *l, struct arena *a, struct bpu_error *err)
{
    struct incidence c;
    if (!incidence_init(&c, l, a, err))
        return false;
    for (int b = 0; b < l->box_count; b++)
        l->boxes[b].rank = 0;
    for (int b = 0; b < l->box_count; b++)
        for (int i = c.out_at[b]; i < c.out_at[b + 1]; i++) {
            const struct layout_net *n = &l->nets[c.out[i]];
            for (int k = 0; k < n->user_count; k++)
                if (l->boxes[n->users[k]].rank <= l->boxes[b].rank)
                    l->boxes[n->users[k]].rank = l->boxes[b].rank + 1;
        }
    for (int b = l->box_count - 1; b >= 0; b--) {
        int lowest = INT_MAX, shorter = 0, longer = 0, rank = l->boxes[b].rank;
        for (int i = c.out_at[b]; i < c.out_at[b + 1]; i++) {
            const struct layout_net *n = &l->nets[c.out[i]];
            shorter += n->user_count > 0;
            for (int k = 0; k < n->user_count; k++)
                if (l->boxes[n->users[k]].rank - 1 < lowest)
                    lowest = l->boxes[n->users[k]].rank - 1;
        }
        if (lowest == INT_MAX || lowest <= rank)
            continue;
        for (int i = c.in_at[b]; i < c.in_at[b + 1]; i++)
            longer += net_end(l, &l->nets[c.in[i]]) <= rank;
        if (shorter > longer)
            l->boxes[b].rank = lowest;
    }
    return true;
}

bool layout_reach(const struct layout *l, struct arena *a, int64_t budget, int *reach,
                  struct bpu_error *err)
{
    /* points[d]: how many nets still have a point d ranks below their source. */
    int ranks = 1;
    for (int b = 0; b < l->box_count; b++)
        if (l->boxes[b].rank >= ranks)
            ranks = l->boxes[b].rank + 1;
    int64_t *points = ARENA_ARRAY(a, int64_t, ranks + 1, err);
    if (!points)
        return false;
    for (int i = 0; i < l->net_count; i++)
        points[net_end(l, &l->nets[i]) - l->boxes[l->nets[i].source].rank]++;
    for (int d = ranks - 1; d > 0; d--)
        points[d] += points[d + 1];
    int64_t total = 0;
    for (int d = 2; d <= ranks; d++) {
        total += points[d];
        if (total > budget) {
            *reach = d - 1;
            return true;
        }
    }
    *reach = INT_MAX;
    return true;
}

/* ── trunks ──────────────────────────────────────────────────────────────────────────────── */

static int add_vertex(struct layering *g, int rank, int box, int net, double left, double right)
{
    struct vertex *v = &g->v[g->count];
    *v = (struct vertex){.rank = rank,
                         .box = box,
                         .net = net,
                         .align_up = -1,
                         .align_down = -1,
                         .left = left,
                         .right = right};
    return g->count++;
}

static void add_segment(struct layering *g, int up, int down, int net)
{
    bool up_box = g->v[up].box >= 0, down_box = g->v[down].box >= 0;
    g->s[g->seg_count++] = (struct segment){.up = up,
                                            .down = down,
                                            .net = net,
                                            .weight = !up_box && !down_box ? 6
                                                      : up_box && down_box ? 2
                                                                           : 1};
}

struct user {
    int rank, box;
};

static int compare_users(const void *a, const void *b)
{
    const struct user *x = a, *y = b;
    return x->rank != y->rank ? (x->rank > y->rank) - (x->rank < y->rank)
                              : (x->box > y->box) - (x->box < y->box);
}

static void trunk(struct layering *g, int net, struct user *users)
{
    const struct layout *l = g->layout;
    const struct layout_net *n = &l->nets[net];
    int count = 0;
    for (int i = 0; i < n->user_count; i++)
        users[count++] = (struct user){l->boxes[n->users[i]].rank, n->users[i]};
    qsort(users, (size_t)count, sizeof *users, compare_users);
    int at = n->source, rank = l->boxes[at].rank;
    for (int i = 0; i < count;) {
        while (users[i].rank > rank + 1) {
            int point = add_vertex(g, ++rank, -1, net, 5, 5);
            add_segment(g, at, point, net);
            at = point;
        }
        for (; i < count && users[i].rank == rank + 1; i++)
            add_segment(g, at, users[i].box, net);
    }
}

/* Sorts the segments by rank, stable, and indexes them by both ends. */
static bool index_segments(struct layering *g, struct bpu_error *err)
{
    struct arena *a = g->arena;
    g->seg_at = ARENA_ARRAY(a, int, g->rank_count + 3, err);
    g->down_at = ARENA_ARRAY(a, int, g->count + 2, err);
    g->up_at = ARENA_ARRAY(a, int, g->count + 2, err);
    g->down = ARENA_ARRAY(a, int, g->seg_count + 1, err);
    g->up = ARENA_ARRAY(a, int, g->seg_count + 1, err);
    struct segment *sorted = ARENA_ARRAY(a, struct segment, g->seg_count + 1, err);
    if (!g->seg_at || !g->down_at || !g->up_at || !g->down || !g->up || !sorted)
        return false;
    for (int i = 0; i < g->seg_count; i++)
        g->seg_at[g->v[g->s[i].up].rank + 2]++;
    for (int r = 2; r < g->rank_count + 2; r++)
        g->seg_at[r] += g->seg_at[r - 1];
    for (int i = 0; i < g->seg_count; i++)
        sorted[g->seg_at[g->v[g->s[i].up].rank + 1]++] = g->s[i];
    g->s = sorted;
    for (int i = 0; i < g->seg_count; i++) {
        g->down_at[g->s[i].up + 2]++;
        g->up_at[g->s[i].down + 2]++;
    }
    for (int v = 2; v < g->count + 2; v++) {
        g->down_at[v] += g->down_at[v - 1];
        g->up_at[v] += g->up_at[v - 1];
    }
    for (int i = 0; i < g->seg_count; i++) {
        g->down[g->down_at[g->s[i].up + 1]++] = i;
        g->up[g->up_at[g->s[i].down + 1]++] = i;
    }
    return true;
}

/* ── straight lines ──────────────────────────────────────────────────────────────────────── */

struct wish {
    int segment, class, height, order;
};

static int compare_wishes(const void *a, const void *b)
{
    const struct wish *x = a, *y = b;
    if (x->class != y->class)
        return y->class - x->class;
    if (x->height != y->height)
        return y->height - x->height;
    return x->order - y->order;
}

/* Each vertex is aligned with at most one above and one below: trunks first, then the chain that
 * goes on longest (the main path of a network), then the ends of trunks. */
static bool align(struct layering *g, struct bpu_error *err)
{
    int *height = ARENA_ARRAY(g->arena, int, g->count + 1, err);
    struct wish *wishes = ARENA_ARRAY(g->arena, struct wish, g->seg_count + 1, err);
    if (!height || !wishes)
        return false;
    /* height: boxes on the longest way down; in ranks all branches to one join are equally long */
    for (int i = g->seg_count - 1; i >= 0; i--) {
        int h = height[g->s[i].down] + (g->v[g->s[i].down].box >= 0);
        if (height[g->s[i].up] < h)
            height[g->s[i].up] = h;
    }
    for (int r = 0; r < g->rank_count; r++) {
        int n = 0;
        for (int i = g->seg_at[r]; i < g->seg_at[r + 1]; i++) {
            const struct segment *s = &g->s[i];
            bool straight = s->weight != 2 || g->layout->nets[s->net].slots == 1;
            wishes[n++] = (struct wish){i,
                                        s->weight == 6               ? 3
                                        : s->weight == 2 && straight ? 2
                                                                     : 1,
                                        height[s->down], i};
        }
        qsort(wishes, (size_t)n, sizeof *wishes, compare_wishes);
        for (int k = 0; k < n; k++) {
            struct segment *s = &g->s[wishes[k].segment];
            if (g->v[s->up].align_down >= 0 || g->v[s->down].align_up >= 0)
                continue;
            g->v[s->up].align_down = s->down;
            g->v[s->down].align_up = s->up;
            if (s->weight < 6)
                s->weight *= 2;
        }
    }
    return true;
}

int layering_blocks(struct layering *g)
{
    int blocks = 0;
    for (int i = 0; i < g->count; i++)
        if (g->v[i].align_up < 0) {
            for (int k = i; k >= 0; k = g->v[k].align_down)
                g->v[k].block = blocks;
            blocks++;
        }
    return blocks;
}

bool layering_new(struct layering *g, struct layout *l, struct arena *a, struct bpu_error *err)
{
    *g = (struct layering){.layout = l, .arena = a, .rank_count = 1};
    size_t points = 0, uses = 0;
    int widest = 0;
    for (int i = 0; i < l->net_count; i++) {
        const struct layout_net *n = &l->nets[i];
        int span = net_end(l, n) - l->boxes[n->source].rank;
        points += span > 1 ? (size_t)span - 1 : 0;
        uses += (size_t)n->user_count;
        if (n->user_count > widest)
            widest = n->user_count;
    }
    for (int b = 0; b < l->box_count; b++)
        if (l->boxes[b].rank >= g->rank_count)
            g->rank_count = l->boxes[b].rank + 1;
    if (points + uses + (size_t)l->box_count > INT_MAX / 4)
        return error_set(err, BPU_LIMIT, NULL, "the drawing would need %zu lines", points + uses);
    g->v = ARENA_ARRAY(a, struct vertex, points + (size_t)l->box_count + 1, err);
    g->s = ARENA_ARRAY(a, struct segment, points + uses + 1, err);
    struct user *users = ARENA_ARRAY(a, struct user, widest + 1, err);
    if (!g->v || !g->s || !users)
        return false;
    for (int b = 0; b < l->box_count; b++)
        add_vertex(g, l->boxes[b].rank, b, -1, l->boxes[b].left, l->boxes[b].right);
    for (int i = 0; i < l->net_count; i++)
        trunk(g, i, users);
    g->rank_at = ARENA_ARRAY(a, int, g->rank_count + 2, err);
    g->order = ARENA_ARRAY(a, int, g->count + 1, err);
    if (!g->rank_at || !g->order || !index_segments(g, err) || !align(g, err))
        return false;
    for (int i = 0; i < g->count; i++)
        g->rank_at[g->v[i].rank + 1]++;
    for (int r = 1; r <= g->rank_count; r++)
        g->rank_at[r] += g->rank_at[r - 1];
    return true;
}

bool layout_run(struct layout *l, struct arena *a, struct bpu_error *err)
{
    struct layering g;
    return layering_new(&g, l, a, err) && layering_order(&g, err) && layering_place(&g, err) &&
           layering_route(&g, err);
}
