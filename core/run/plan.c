/* Placing live ranges: several orders, the smallest result wins.
 *
 * Optimal placement is NP-hard; what works is to take the items in a good order and put each into
 * the smallest gap that the items placed before it leave during its range.  By decreasing size is
 * best for networks with a few large maps, by time is exact for chains, by area is between; and the
 * item that sticks out most can be taken first in another try.  Each costs O(n^2) in the worst
 * case, so beyond MANY items only the order of time is tried, and gaps are looked for only while no
 * more than NEAR items stand. */
#include "core/run/plan.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 6000, NEAR = 1000, TRIES = 100, TRY_COST = 40 << 20 };

/* An item that is being placed; sorted by one of the orders. */
struct entry {
    size_t bytes; /* rounded up */
    size_t offset;
    int first, last;
    bool high;
    uint32_t index; /* in the caller's list */
};

typedef int entry_order(const void *a, const void *b);

static int by_index(const struct entry *x, const struct entry *y)
{
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_size(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return by_index(x, y);
}

static int by_time(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return by_index(x, y);
}

static int by_area(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    double p = (double)x->bytes * (x->last - x->first + 1);
    double q = (double)y->bytes * (y->last - y->first + 1);
    if (p > q || p < q)
        return p > q ? -1 : 1;
    return by_index(x, y);
}

static size_t round_up(size_t n)
{
    return (n + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

/* Puts e below `top`, into the highest gap that holds it. */
static bool place_high(struct entry *e, const struct entry *const *placed, size_t count, size_t top)
{
    size_t end = 0, best = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const struct entry *p = placed[i];
        if (p->last < e->first || p->first > e->last)
            continue;
        if (p->offset > end && p->offset - end >= e->bytes)
            best = p->offset - e->bytes;
        if (p->offset + p->bytes > end)
            end = p->offset + p->bytes;
    }
    if (top >= end && top - end >= e->bytes)
        best = top - e->bytes;
    e->offset = best / PLAN_ALIGN * PLAN_ALIGN;
    return best != SIZE_MAX;
}

/* Puts e into the smallest gap that holds it.  placed: what stands already, by offset. */
static void place(struct entry *e, const struct entry *const *placed, size_t count, size_t top)
{
    if (e->high && top && place_high(e, placed, count, top))
        return;
    size_t end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        const struct entry *p = placed[i];
        if (p->last < e->first || p->first > e->last)
            continue;
        if (p->offset > end && p->offset - end >= e->bytes && p->offset - end < best_gap) {
            best_gap = p->offset - end;
            best = end;
        }
        if (p->offset + p->bytes > end)
            end = p->offset + p->bytes;
    }
    e->offset = best != SIZE_MAX ? best : end;
}

/* Keeps `placed` sorted by offset. */
static void insert(const struct entry **placed, size_t count, const struct entry *e)
{
    size_t lo = 0, hi = count;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (placed[middle]->offset <= e->offset)
            lo = middle + 1;
        else
            hi = middle;
    }
    memmove(placed + lo + 1, placed + lo, (count - lo) * sizeof *placed);
    placed[lo] = e;
}

/* Drops what has ended before `now`: in the order of time nothing can meet it again. */
static size_t retire(const struct entry **placed, size_t count, int now)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (placed[i]->last >= now)
            placed[kept++] = placed[i];
    return kept;
}

/* In the order of the list, which is that of time if timely. */
static size_t place_all(struct entry *entries, size_t count, bool timely, size_t top,
                        const struct entry **placed)
{
    size_t total = 0, standing = 0, limit = NEAR / 4;
    for (size_t i = 0; i < count; i++) {
        struct entry *e = &entries[i];
        if (timely && standing >= limit) {
            standing = retire(placed, standing, e->first);
            limit = standing * 2 > NEAR / 4 ? standing * 2 : NEAR / 4;
        }
        if (count <= MANY || standing <= NEAR)
            place(e, placed, standing, top);
        else
            e->offset = total;
        insert(placed, standing++, e);
        if (e->offset + e->bytes > total)
            total = e->offset + e->bytes;
    }
    return total;
}

/* The most bytes in one step, and the sum of all (which bounds every offset). */
static bool live_bytes(const struct plan_item *items, size_t count, int steps, struct arena *a,
                       size_t *live, struct bpu_error *err)
{
    size_t sum = 0, now = 0;
    size_t *begin = ARENA_ARRAY(a, size_t, steps, err), *end = ARENA_ARRAY(a, size_t, steps, err);
    if (!begin || !end)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (items[i].bytes > SIZE_MAX / 4 ||
            __builtin_add_overflow(sum, round_up(items[i].bytes), &sum) || sum > SIZE_MAX / 4)
            return error_set(err, BPU_NO_MEMORY, NULL,
                             "the network's values take more memory than can be counted");
        begin[items[i].first] += round_up(items[i].bytes);
        end[items[i].last] += round_up(items[i].bytes);
    }
    *live = 0;
    for (int s = 0; s < steps; s++) {
        now += begin[s];
        if (now > *live)
            *live = now;
        now -= end[s];
    }
    return true;
}

static void keep_if_better(struct plan_item *items, const struct entry *entries, size_t count,
                           size_t total, struct plan_size *size)
{
    if (total >= size->total)
        return;
    size->total = total;
    for (size_t i = 0; i < count; i++)
        items[entries[i].index].offset = entries[i].offset;
}

static bool good(const struct plan_size *size)
{
    return size->total <= size->live || size->total <= size->enough;
}

/* Takes the item whose end is the end of the block first, again and again. */
static void improve(struct plan_item *items, struct entry *entries, size_t count,
                    const struct entry **placed, struct plan_size *size)
{
    const bool hurry = size->enough > 0; /* the caller can ask for less and try again */
    const size_t most = hurry ? TRIES / 25 : TRIES;
    size_t tries = (hurry ? TRY_COST / 8 : TRY_COST) / (count * count + 1) + 1;
    for (size_t k = 0; k < tries && k < most && !good(size); k++) {
        size_t top = 0;
        for (size_t i = 1; i < count; i++)
            if (entries[i].offset + entries[i].bytes > entries[top].offset + entries[top].bytes)
                top = i;
        struct entry first = entries[top];
        memmove(entries + 1, entries, top * sizeof *entries);
        entries[0] = first;
        keep_if_better(items, entries, count, place_all(entries, count, false, size->enough, placed), size);
    }
}

bool plan_place(struct arena *a, struct plan_item *items, size_t count, int steps,
                struct plan_size *size, struct bpu_error *err)
{
    static entry_order *const orders[] = {by_time, by_size, by_area};
    struct arena_mark mark = arena_mark(a);
    struct entry *entries = ARENA_ARRAY(a, struct entry, count, err);
    const struct entry **placed = ARENA_ARRAY(a, const struct entry *, count + 1, err);
    bool ok = entries && placed && live_bytes(items, count, steps, a, &size->live, err);
    size->total = SIZE_MAX;
    for (size_t i = 0; ok && i < count; i++)
        entries[i] = (struct entry){.bytes = round_up(items[i].bytes),
                                    .first = items[i].first,
                                    .last = items[i].last,
                                    .high = items[i].high,
                                    .index = (uint32_t)i};
    for (size_t k = 0; ok && k < sizeof orders / sizeof orders[0]; k++) {
        if (k > 0 && (count > MANY || good(size)))
            break;
        qsort(entries, count, sizeof *entries, orders[k]);
        size_t total = place_all(entries, count, orders[k] == by_time, size->enough, placed);
        keep_if_better(items, entries, count, total, size);
        if (orders[k] != by_time)
            improve(items, entries, count, placed, size);
    }
    arena_rewind(a, mark);
    return ok;
}
