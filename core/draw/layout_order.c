/* The order of vertices within their ranks.
 *
 * First guess: columns.  A depth-first walk puts each new column (an aligned chain or a trunk)
 * right beside the one it leaves, so that short detours stand inside and long ones outside, as
 * brackets nest.  All ranks then use the same order of columns, so no column crosses another.
 * Barycentre sweeps improve on it while there is work left in the budget; the order with the fewest
 * weighted crossings wins, and the first guess wins a tie. */
#include "core/draw/layout.h"

#include <stdlib.h>
#include <string.h>

#define SWEEP_BUDGET 3000000.0 /* segments visited in all sweeps together */
#define SWEEP_MOST 16

/* ── first guess ─────────────────────────────────────────────────────────────────────────── */

struct columns {
    int *top;         /* topmost vertex of a block */
    int *next, *prev; /* list of blocks from left to right */
    bool *placed, *left_taken;
    int *stack, depth, first, last;
};

static void column_insert(struct columns *c, int block, int beside, bool left)
{
    int after = beside < 0 ? c->last : left ? c->prev[beside] : beside;
    int before = after < 0 ? c->first : c->next[after];
    c->prev[block] = after;
    c->next[block] = before;
    if (after < 0)
        c->first = block;
    else
        c->next[after] = block;
    if (before < 0)
        c->last = block;
    else
        c->prev[before] = block;
    c->placed[block] = true;
    c->stack[c->depth++] = block;
}

/* Puts the columns that touch `block` beside it: chains of boxes to both sides in turn, trunks
 * right. */
static void column_neighbours(struct layering *g, struct columns *c, int block)
{
    for (int v = c->top[block]; v >= 0; v = g->v[v].align_down) {
        for (int side = 0; side < 2; side++) {
            const int *at = side ? g->up_at : g->down_at, *list = side ? g->up : g->down;
            for (int k = at[v]; k < at[v + 1]; k++) {
                int other = side ? g->s[list[k]].up : g->s[list[k]].down;
                int b = g->v[other].block;
                if (c->placed[b])
                    continue;
                bool left = g->v[other].box >= 0 && g->v[v].box >= 0 && !c->left_taken[block];
                if (g->v[other].box >= 0)
                    c->left_taken[block] = left;
                column_insert(c, b, block, left);
            }
        }
    }
}

static bool first_guess(struct layering *g, struct bpu_error *err)
{
    int blocks = layering_blocks(g);
    struct columns c = {.first = -1, .last = -1};
    c.top = ARENA_ARRAY(g->arena, int, blocks + 1, err);
    c.next = ARENA_ARRAY(g->arena, int, blocks + 1, err);
    c.prev = ARENA_ARRAY(g->arena, int, blocks + 1, err);
    c.stack = ARENA_ARRAY(g->arena, int, blocks + 1, err);
    c.placed = ARENA_ARRAY(g->arena, bool, blocks + 1, err);
    c.left_taken = ARENA_ARRAY(g->arena, bool, blocks + 1, err);
    int *fill = ARENA_ARRAY(g->arena, int, g->rank_count + 1, err);
    if (!c.top || !c.next || !c.prev || !c.stack || !c.placed || !c.left_taken || !fill)
        return false;
    for (int v = g->count - 1; v >= 0; v--)
        if (g->v[v].align_up < 0)
            c.top[g->v[v].block] = v;
    /* The longest column starts, so that the main chain is the spine. */
    int spine = 0, longest = -1;
    for (int b = 0; b < blocks; b++) {
        int n = 0;
        for (int v = c.top[b]; v >= 0; v = g->v[v].align_down)
            n += g->v[v].box >= 0;
        if (n > longest) {
            longest = n;
            spine = b;
        }
    }
    for (int i = -1; i < blocks; i++) {
        int start = i < 0 ? spine : i;
        if (blocks == 0 || c.placed[start])
            continue;
        column_insert(&c, start, -1, false);
        while (c.depth > 0)
            column_neighbours(g, &c, c.stack[--c.depth]);
    }
    memcpy(fill, g->rank_at, (size_t)g->rank_count * sizeof *fill);
    for (int b = c.first; b >= 0; b = c.next[b])
        for (int v = c.top[b]; v >= 0; v = g->v[v].align_down)
            g->order[fill[g->v[v].rank]++] = v;
    return true;
}

/* ── sweeps ──────────────────────────────────────────────────────────────────────────────── */

struct keyed {
    double key;
    int pos, vertex;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->pos - y->pos;
}

static void number_rank(struct layering *g, int r)
{
    for (int i = g->rank_at[r]; i < g->rank_at[r + 1]; i++)
        g->v[g->order[i]].pos = i - g->rank_at[r];
}

static void sweep_rank(struct layering *g, int r, bool downwards, struct keyed *keys)
{
    int n = g->rank_at[r + 1] - g->rank_at[r];
    for (int i = 0; i < n; i++) {
        int v = g->order[g->rank_at[r] + i];
        const int *at = downwards ? g->up_at : g->down_at, *list = downwards ? g->up : g->down;
        double sum = 0, weight = 0;
        for (int k = at[v]; k < at[v + 1]; k++) {
            const struct segment *s = &g->s[list[k]];
            sum += (double)s->weight * g->v[downwards ? s->up : s->down].pos;
            weight += s->weight;
        }
        keys[i] = (struct keyed){weight > 0 ? sum / weight : i, i, v};
    }
    qsort(keys, (size_t)n, sizeof *keys, compare_keyed);
    for (int i = 0; i < n; i++) {
        g->order[g->rank_at[r] + i] = keys[i].vertex;
        g->v[keys[i].vertex].pos = i;
    }
}

/* Weighted crossings between rank r and the next, with a Fenwick tree over the lower positions. */
static double crossings(struct layering *g, int r, struct keyed *keys, double *tree)
{
    int n = g->rank_at[r + 2] - g->rank_at[r + 1], count = 0;
    for (int i = g->seg_at[r]; i < g->seg_at[r + 1]; i++)
        keys[count++] = (struct keyed){g->v[g->s[i].up].pos, g->v[g->s[i].down].pos, i};
    qsort(keys, (size_t)count, sizeof *keys, compare_keyed);
    memset(tree, 0, ((size_t)n + 1) * sizeof *tree);
    double total = 0, sum = 0;
    for (int i = 0; i < count; i++) {
        double w = g->s[keys[i].vertex].weight, before = 0;
        for (int k = keys[i].pos + 1; k > 0; k -= k & -k)
            before += tree[k];
        total += w * (sum - before);
        for (int k = keys[i].pos + 1; k <= n; k += k & -k)
            tree[k] += w;
        sum += w;
    }
    return total;
}

static double all_crossings(struct layering *g, struct keyed *keys, double *tree)
{
    double total = 0;
    for (int r = 0; r + 1 < g->rank_count; r++)
        total += crossings(g, r, keys, tree);
    return total;
}

bool layering_order(struct layering *g, struct bpu_error *err)
{
    if (!first_guess(g, err))
        return false;
    struct keyed *keys = ARENA_ARRAY(g->arena, struct keyed,
                                     (g->seg_count > g->count ? g->seg_count : g->count) + 1, err);
    double *tree = ARENA_ARRAY(g->arena, double, g->count + 2, err);
    int *best = ARENA_ARRAY(g->arena, int, g->count + 1, err);
    if (!keys || !tree || !best)
        return false;
    for (int r = 0; r < g->rank_count; r++)
        number_rank(g, r);
    double least = all_crossings(g, keys, tree);
    memcpy(best, g->order, (size_t)g->count * sizeof *best);
    int sweeps = (int)(SWEEP_BUDGET / (g->seg_count + g->count + 1.0));
    sweeps = sweeps > SWEEP_MOST ? SWEEP_MOST : sweeps < 2 ? 2 : sweeps;
    for (int i = 0; i < sweeps && least > 0; i++) {
        if (i % 2 == 0)
            for (int r = 1; r < g->rank_count; r++)
                sweep_rank(g, r, true, keys);
        else
            for (int r = g->rank_count - 2; r >= 0; r--)
                sweep_rank(g, r, false, keys);
        double now = all_crossings(g, keys, tree);
        if (now < least) {
            least = now;
            memcpy(best, g->order, (size_t)g->count * sizeof *best);
        }
    }
    memcpy(g->order, best, (size_t)g->count * sizeof *best);
    for (int r = 0; r < g->rank_count; r++)
        number_rank(g, r);
    return true;
}
