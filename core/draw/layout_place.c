/* x of every vertex.
 *
 * Vertices of a column share one x.  Where the order of ranks makes two columns cross, the lighter
 * one is broken: the heaviest set of aligned segments without crossings stays (a longest increasing
 * subsequence by weight).  Columns then seek the mean of what they are connected with, and two
 * passes push them apart to their distances, one only to the right and one only to the left; both
 * results keep all distances, so their mean does as well. */
#include "core/draw/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PULL_BUDGET 6000000.0 /* segments visited while pulling */
#define PULL_MOST 60
#define POLISH 6
#define STAIRCASE 1.5 /* wider than the widest rank times this is too wide */

static double distance(const struct vertex *a, const struct vertex *b)
{
    bool boxes = a->box >= 0 || b->box >= 0;
    return a->right + b->left + (boxes ? 14 : 3);
}

/* ── aligned segments that do not cross ──────────────────────────────────────────────────── */

struct rung {
    int up, down, weight, best, from;
};

static int compare_rungs(const void *a, const void *b)
{
    const struct rung *x = a, *y = b;
    return x->up != y->up ? x->up - y->up : y->weight - x->weight;
}

/* tree[k]: index + 1 of the rung with the heaviest set ending at a lower position <= k. */
static void keep_heaviest(struct layering *g, int r, struct rung *rungs, int *tree)
{
    const int *upper = g->order + g->rank_at[r], *lower = g->order + g->rank_at[r + 1];
    int n = g->rank_at[r + 2] - g->rank_at[r + 1], count = 0, last = -1;
    for (int i = g->seg_at[r]; i < g->seg_at[r + 1]; i++)
        if (g->v[g->s[i].up].align_down == g->s[i].down)
            rungs[count++] =
                (struct rung){g->v[g->s[i].up].pos, g->v[g->s[i].down].pos, g->s[i].weight, 0, -1};
    qsort(rungs, (size_t)count, sizeof *rungs, compare_rungs);
    /* Two nets between the same two boxes are one rung. */
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (i == 0 || rungs[i].up != rungs[kept - 1].up)
            rungs[kept++] = rungs[i];
    count = kept;
    memset(tree, 0, ((size_t)n + 1) * sizeof *tree);
    for (int i = 0; i < count; i++) {
        for (int k = rungs[i].down; k > 0; k -= k & -k)
            if (tree[k] > 0 &&
                (rungs[i].from < 0 || rungs[tree[k] - 1].best > rungs[rungs[i].from].best))
                rungs[i].from = tree[k] - 1;
        rungs[i].best = rungs[i].weight + (rungs[i].from >= 0 ? rungs[rungs[i].from].best : 0);
        for (int k = rungs[i].down + 1; k <= n; k += k & -k)
            if (tree[k] == 0 || rungs[tree[k] - 1].best < rungs[i].best)
                tree[k] = i + 1;
        if (last < 0 || rungs[i].best > rungs[last].best)
            last = i;
    }
    for (; last >= 0; last = rungs[last].from)
        rungs[last].weight = 0; /* stays */
    for (int i = 0; i < count; i++)
        if (rungs[i].weight > 0) {
            g->v[upper[rungs[i].up]].align_down = -1;
            g->v[lower[rungs[i].down]].align_up = -1;
        }
}

/* ── columns ─────────────────────────────────────────────────────────────────────────────── */

struct placing {
    int blocks;
    int *top;      /* topmost vertex of each block */
    int *sequence; /* blocks so that everything to the left comes first */
    int *by_rank;  /* blocks from top to bottom */
    int *waits;    /* left neighbours still to come */
    double *x, *want, *right, *left;
};

/* Blocks in an order in which the left neighbours of each come before it. */
static bool sequence_blocks(struct layering *g, struct placing *p, struct bpu_error *err)
{
    int *waits = p->waits;
    memset(waits, 0, (size_t)p->blocks * sizeof *waits);
    for (int i = 0; i < g->count; i++)
        waits[g->v[i].block] += g->v[i].pos > 0;
    int head = 0, tail = 0;
    for (int b = 0; b < p->blocks; b++)
        if (waits[b] == 0)
            p->sequence[tail++] = b;
    while (head < tail)
        for (int v = p->top[p->sequence[head++]]; v >= 0; v = g->v[v].align_down) {
            int at = g->rank_at[g->v[v].rank] + g->v[v].pos + 1;
            if (at < g->rank_at[g->v[v].rank + 1] && --waits[g->v[g->order[at]].block] == 0)
                p->sequence[tail++] = g->v[g->order[at]].block;
        }
    return tail == p->blocks ||
           error_set(err, BPU_SERVER, NULL, "the drawing's columns are circular");
}

/* Pushes columns apart, all to the right (or all to the left), starting from p->want. */
static void push(const struct layering *g, const struct placing *p, bool to_right, double *x)
{
    for (int i = 0; i < p->blocks; i++) {
        int b = p->sequence[to_right ? i : p->blocks - 1 - i];
        double at = p->want[b];
        for (int v = p->top[b]; v >= 0; v = g->v[v].align_down) {
            int k = g->v[v].pos + (to_right ? -1 : 1), r = g->v[v].rank;
            if (k < 0 || k >= g->rank_at[r + 1] - g->rank_at[r])
                continue;
            const struct vertex *o = &g->v[g->order[g->rank_at[r] + k]];
            double bound = to_right ? x[o->block] + distance(o, &g->v[v])
                                    : x[o->block] - distance(&g->v[v], o);
            if (to_right ? bound > at : bound < at)
                at = bound;
        }
        x[b] = at;
    }
}

/* Mean of what block b is connected with, at the places `x`; x[b] if it is alone. */
static double mean_of_neighbours(const struct layering *g, const struct placing *p, int b,
                                 const double *x)
{
    double sum = 0, weight = 0;
    for (int v = p->top[b]; v >= 0; v = g->v[v].align_down)
        for (int side = 0; side < 2; side++) {
            const int *at = side ? g->up_at : g->down_at, *list = side ? g->up : g->down;
            for (int k = at[v]; k < at[v + 1]; k++) {
                const struct segment *s = &g->s[list[k]];
                int other = g->v[side ? s->up : s->down].block;
                if (other == b)
                    continue;
                sum += s->weight * x[other];
                weight += s->weight;
            }
        }
    return weight > 0 ? sum / weight : x[b];
}

/* Each column wants to be where its neighbours are, on average; those before it in this pass have
 * moved already, so that a shift runs down (or up) the whole drawing in one pass. */
static void pull(const struct layering *g, struct placing *p, bool down)
{
    memcpy(p->want, p->x, (size_t)p->blocks * sizeof *p->want);
    for (int i = 0; i < p->blocks; i++) {
        int b = p->by_rank[down ? i : p->blocks - 1 - i];
        p->want[b] = mean_of_neighbours(g, p, b, p->want);
    }
}

static void settle(const struct layering *g, struct placing *p)
{
    push(g, p, true, p->right);
    push(g, p, false, p->left);
    for (int b = 0; b < p->blocks; b++)
        p->x[b] = (p->right[b] + p->left[b]) / 2;
}

/* Moves each column as far towards its neighbours as the columns beside it leave room, pushing
 * none: what pushing left askew comes straight. */
static void polish(const struct layering *g, struct placing *p, bool down)
{
    for (int i = 0; i < p->blocks; i++) {
        int b = p->by_rank[down ? i : p->blocks - 1 - i];
        double x = mean_of_neighbours(g, p, b, p->x), low = -INFINITY, high = INFINITY;
        for (int v = p->top[b]; v >= 0; v = g->v[v].align_down) {
            int r = g->v[v].rank, at = g->rank_at[r] + g->v[v].pos;
            const struct vertex *o = at > g->rank_at[r] ? &g->v[g->order[at - 1]] : NULL;
            if (o)
                low = fmax(low, p->x[o->block] + distance(o, &g->v[v]));
            o = at + 1 < g->rank_at[r + 1] ? &g->v[g->order[at + 1]] : NULL;
            if (o)
                high = fmin(high, p->x[o->block] - distance(&g->v[v], o));
        }
        if (low <= high)
            p->x[b] = fmin(fmax(x, low), high);
    }
}

/* Width of the widest rank when nothing but its own vertices push. */
static double natural_width(const struct layering *g)
{
    double widest = 0;
    for (int r = 0; r < g->rank_count; r++) {
        double w = 0;
        for (int i = g->rank_at[r]; i < g->rank_at[r + 1]; i++) {
            const struct vertex *v = &g->v[g->order[i]];
            w += i == g->rank_at[r]
                     ? v->left + v->right
                     : distance(&g->v[g->order[i - 1]], v) + v->right - g->v[g->order[i - 1]].right;
        }
        widest = fmax(widest, w);
    }
    return widest;
}

/* Cuts columns into pieces of at most `most` vertices. */
static void cut_columns(struct layering *g, int most)
{
    for (int i = 0; i < g->count; i++) {
        if (g->v[i].align_up >= 0)
            continue;
        int next, n = 1;
        for (int v = i; (next = g->v[v].align_down) >= 0; v = next, n++)
            if (n % most == 0)
                g->v[v].align_down = g->v[next].align_up = -1;
    }
}

static bool place_columns(struct layering *g, struct placing *p, double *least, double *most,
                          struct bpu_error *err)
{
    p->blocks = layering_blocks(g);
    for (int v = g->count - 1; v >= 0; v--)
        if (g->v[v].align_up < 0)
            p->top[g->v[v].block] = v;
    for (int r = 0, n = 0; r < g->rank_count; r++)
        for (int i = g->rank_at[r]; i < g->rank_at[r + 1]; i++)
            if (g->v[g->order[i]].align_up < 0)
                p->by_rank[n++] = g->v[g->order[i]].block;
    if (!sequence_blocks(g, p, err))
        return false;
    memset(p->want, 0, (size_t)p->blocks * sizeof *p->want);
    settle(g, p); /* all want 0: every rank is centred */
    int rounds = (int)(PULL_BUDGET / (g->seg_count + g->count + 1.0));
    rounds = rounds > PULL_MOST ? PULL_MOST : rounds < 4 ? 4 : rounds;
    for (int i = 0; i < rounds; i++) {
        pull(g, p, i % 2 == 0);
        settle(g, p);
    }
    for (int i = 0; i < POLISH; i++)
        polish(g, p, i % 2 == 0);
    *least = INFINITY;
    *most = -INFINITY;
    for (int i = 0; i < g->count; i++) {
        *least = fmin(*least, p->x[g->v[i].block] - g->v[i].left);
        *most = fmax(*most, p->x[g->v[i].block] + g->v[i].right);
    }
    return true;
}

bool layering_place(struct layering *g, struct bpu_error *err)
{
    struct arena *a = g->arena;
    struct placing p = {0};
    struct rung *rungs = ARENA_ARRAY(a, struct rung, g->seg_count + 1, err);
    int *tree = ARENA_ARRAY(a, int, g->count + 2, err);
    p.top = ARENA_ARRAY(a, int, g->count + 1, err);
    p.sequence = ARENA_ARRAY(a, int, g->count + 1, err);
    p.by_rank = ARENA_ARRAY(a, int, g->count + 1, err);
    p.waits = ARENA_ARRAY(a, int, g->count + 1, err);
    p.x = ARENA_ARRAY(a, double, g->count + 1, err);
    p.want = ARENA_ARRAY(a, double, g->count + 1, err);
    p.right = ARENA_ARRAY(a, double, g->count + 1, err);
    p.left = ARENA_ARRAY(a, double, g->count + 1, err);
    if (!rungs || !tree || !p.top || !p.sequence || !p.by_rank || !p.waits || !p.x || !p.want ||
        !p.right || !p.left)
        return false;
    g->layout->width = 0;
    if (g->count == 0)
        return true;
    for (int r = 0; r + 1 < g->rank_count; r++)
        keep_heaviest(g, r, rungs, tree);
    /* Long columns that interlock can form a staircase much wider than any rank; shorter ones
     * cannot. */
    static const int lengths[] = {0, 64, 16, 4, 1};
    double natural = natural_width(g), least = 0, most = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        if (lengths[i] > 0)
            cut_columns(g, lengths[i]);
        if (!place_columns(g, &p, &least, &most, err))
            return false;
        if (most - least <= natural * STAIRCASE + 400)
            break;
    }
    for (int i = 0; i < g->count; i++) {
        g->v[i].x = round(p.x[g->v[i].block] - least);
        if (g->v[i].box >= 0)
            g->layout->boxes[g->v[i].box].x = g->v[i].x;
    }
    g->layout->width = ceil(most - least);
    return true;
}
