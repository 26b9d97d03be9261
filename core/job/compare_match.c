/* Which layers of two lists are the same one.
 *
 * Names are kept by those who edit a network and change with its exporter, and exporters that count ("Conv_12")
 * move every name when a layer comes in.  So there are two ways: by name and operator first, or by operator and
 * shape in order (a longest common subsequence).  Where a name leads to another shape both are tried, and the one
 * that keeps more shapes wins.  What is left between the same two matched layers is paired by its operator alone.
 * Last, what was two layers and is one: an unmatched layer behind a matched one, without operations of its own and
 * of the shape that the other side has there, or of its name, was fused into it. */
#include <stdio.h>
#include <string.h>

#include "core/base/table.h"
#include "core/job/compare.h"

#define MOST_CELLS ((int64_t)16 << 20) /* of the table of a subsequence; beyond it layers are paired in turn */

/* One way of matching, while it is made. */
struct matcher {
    struct arena *a;
    const struct layer_list *base, *head;
    int *to_head, *to_base;
    struct bpu_error *err;
};

/* Unmatched items of both sides and what they must have in common, as numbers. */
struct rest {
    int *base, *head, *base_class, *head_class;
    int base_count, head_count;
};

/* ── classes: equal texts get equal numbers ── */

enum class_of { BY_NAME, BY_SHAPE, BY_GAP };

static bool same_shape(const struct compare_layer *x, const struct compare_layer *y)
{
    if (x->rank < 0 || y->rank < 0)
        return x->rank == y->rank;
    return x->rank == y->rank &&
           memcmp(x->shape, y->shape, (size_t)x->rank * sizeof x->shape[0]) == 0;
}

static const char *class_text(const struct matcher *m, const struct compare_layer *x,
                              enum class_of of, int gap)
{
    char shape[COMPARE_RANK * 24 + 8] = "?";
    int used = 0;
    if (of == BY_GAP)
        return arena_printf(m->a, m->err, "%s\n%d", x->op, gap);
    if (of == BY_NAME)
        return arena_printf(m->a, m->err, "%s\n%s", x->name, x->op);
    for (int i = 0; i < x->rank; i++)
        used += snprintf(shape + used, sizeof shape - (size_t)used, "x%lld", (long long)x->shape[i]);
    return arena_printf(m->a, m->err, "%s\n%s", x->op, shape);
}

/* The number of a text; the table's entries are numbers + 1 in the arena. */
static bool class_number(const struct matcher *m, struct name_table *t, const char *text, int *next,
                         int *out)
{
    int *known = text ? name_table_find(t, text) : NULL;
    if (!text)
        return false;
    if (!known) {
        known = ARENA_NEW(m->a, int, m->err);
        if (!known || !name_table_put(t, text, known, m->err))
            return false;
        *known = (*next)++;
    }
    *out = *known;
    return true;
}

/* gap: before an unmatched item, the nearest matched one, as an index of the head; -1: there is none. */
static bool classify(const struct matcher *m, const struct layer_list *list, const int *partner,
                     bool of_base, enum class_of of, struct name_table *t, int *next, int *items,
                     int *classes, int *count)
{
    int gap = -1;
    *count = 0;
    for (int i = 0; i < list->count; i++) {
        if (partner[i] >= 0) {
            gap = of_base ? partner[i] : i;
            continue;
        }
        items[*count] = i;
        if (!class_number(m, t, class_text(m, &list->items[i], of, gap), next, &classes[*count]))
            return false;
        ++*count;
    }
    return true;
}

static bool rest_make(const struct matcher *m, enum class_of of, struct rest *r)
{
    int next = 0;
    struct name_table *t = name_table_new(m->a, m->err);
    r->base = t ? ARENA_ARRAY(m->a, int, m->base->count, m->err) : NULL;
    r->base_class = r->base ? ARENA_ARRAY(m->a, int, m->base->count, m->err) : NULL;
    r->head = r->base_class ? ARENA_ARRAY(m->a, int, m->head->count, m->err) : NULL;
    r->head_class = r->head ? ARENA_ARRAY(m->a, int, m->head->count, m->err) : NULL;
    return r->head_class &&
           classify(m, m->base, m->to_head, true, of, t, &next, r->base, r->base_class, &r->base_count) &&
           classify(m, m->head, m->to_base, false, of, t, &next, r->head, r->head_class, &r->head_count);
}

static void pair(const struct matcher *m, int b, int h)
{
    m->to_head[b] = h;
    m->to_base[h] = b;
}

/* ── by name ── */

/* Names that stand once on each side, with the same operator. */
static bool by_name(const struct matcher *m)
{
    enum { NONE = -1, MANY = -2 };
    struct rest r;
    if (!rest_make(m, BY_NAME, &r))
        return false;
    int classes = r.base_count + r.head_count;
    int *first[2] = {ARENA_ARRAY(m->a, int, classes, m->err), NULL};
    first[1] = first[0] ? ARENA_ARRAY(m->a, int, classes, m->err) : NULL;
    if (!first[1])
        return false;
    for (int i = 0; i < classes; i++)
        first[0][i] = first[1][i] = NONE;
    for (int i = 0; i < r.base_count; i++)
        first[0][r.base_class[i]] = first[0][r.base_class[i]] == NONE ? r.base[i] : MANY;
    for (int i = 0; i < r.head_count; i++)
        first[1][r.head_class[i]] = first[1][r.head_class[i]] == NONE ? r.head[i] : MANY;
    for (int i = 0; i < classes; i++)
        if (first[0][i] >= 0 && first[1][i] >= 0 && *m->base->items[first[0][i]].name)
            pair(m, first[0][i], first[1][i]);
    return true;
}

/* ── in order ── */

/* The k-th of a class with the k-th of the same class: for what is too long for a table. */
static bool in_turn(const struct matcher *m, const struct rest *r, int from_b, int to_b, int from_h, int to_h)
{
    int classes = r->base_count + r->head_count;
    int *next = ARENA_ARRAY(m->a, int, classes + r->head_count, m->err), *after;
    if (!next)
        return false;
    after = next + classes;
    for (int i = 0; i < classes; i++)
        next[i] = -1;
    for (int j = to_h - 1; j >= from_h; j--) { /* lists of each class, in order */
        after[j] = next[r->head_class[j]];
        next[r->head_class[j]] = j;
    }
    for (int i = from_b; i < to_b; i++) {
        int j = next[r->base_class[i]];
        if (j < 0)
            continue;
        next[r->base_class[i]] = after[j];
        pair(m, r->base[i], r->head[j]);
    }
    return true;
}

/* The longest common subsequence of the classes, without the ends that are equal anyway. */
static bool in_order(const struct matcher *m, enum class_of of)
{
    struct rest r;
    if (!rest_make(m, of, &r))
        return false;
    int b0 = 0, h0 = 0, b1 = r.base_count, h1 = r.head_count;
    while (b0 < b1 && h0 < h1 && r.base_class[b0] == r.head_class[h0]) {
        pair(m, r.base[b0], r.head[h0]);
        b0++, h0++;
    }
    while (b0 < b1 && h0 < h1 && r.base_class[b1 - 1] == r.head_class[h1 - 1]) {
        b1--, h1--;
        pair(m, r.base[b1], r.head[h1]);
    }
    int64_t rows = b1 - b0, columns = h1 - h0;
    if (!rows || !columns)
        return true;
    if (rows * columns > MOST_CELLS)
        return in_turn(m, &r, b0, b1, h0, h1);
    struct arena_mark mark = arena_mark(m->a);
    unsigned char *way = ARENA_ARRAY(m->a, unsigned char, rows * columns, m->err);
    int *length = way ? ARENA_ARRAY(m->a, int, columns + 1, m->err) : NULL;
    if (!length)
        return false;
    /* From the ends, so that walking forward pairs what comes first. length: of the row below. */
    for (int64_t i = rows - 1; i >= 0; i--) {
        int diagonal = 0;
        for (int64_t j = columns - 1; j >= 0; j--) {
            int below = length[j];
            if (r.base_class[b0 + i] == r.head_class[h0 + j]) {
                length[j] = diagonal + 1;
                way[i * columns + j] = 0;
            } else {
                way[i * columns + j] = length[j + 1] > below ? 2 : 1;
                length[j] = length[j + 1] > below ? length[j + 1] : below;
            }
            diagonal = below;
        }
    }
    for (int64_t i = 0, j = 0; i < rows && j < columns;) {
        unsigned char step = way[i * columns + j];
        if (step == 0)
            pair(m, r.base[b0 + i], r.head[h0 + j]);
        i += step != 2;
        j += step != 1;
    }
    arena_rewind(m->a, mark);
    return true;
}

/* ── both ways ── */

static bool matcher_init(struct matcher *m, struct arena *a, const struct layer_list *base,
                         const struct layer_list *head, struct bpu_error *err)
{
    *m = (struct matcher){.a = a, .base = base, .head = head, .err = err};
    m->to_head = ARENA_ARRAY(a, int, base->count, err);
    m->to_base = m->to_head ? ARENA_ARRAY(a, int, head->count, err) : NULL;
    if (!m->to_base)
        return false;
    for (int i = 0; i < base->count; i++)
        m->to_head[i] = -1;
    for (int i = 0; i < head->count; i++)
        m->to_base[i] = -1;
    return true;
}

/* A pair of the same shape is worth more than one of the same name alone, but not much: at another resolution all
 * shapes differ, and many of them are those of other layers. */
static int64_t score(const struct matcher *m, bool *all_same)
{
    int64_t sum = 0;
    *all_same = true;
    for (int i = 0; i < m->base->count; i++) {
        if (m->to_head[i] < 0)
            continue;
        bool same = same_shape(&m->base->items[i], &m->head->items[m->to_head[i]]);
        *all_same = *all_same && same;
        sum += same ? 4 : 3;
    }
    return sum;
}

/* ── what was several and is one ── */

/* Item i of `list` was fused into the matched item `into`, whose partner is `other`. */
static bool fuses(const struct layer_list *list, int i, int into, const struct compare_layer *other)
{
    const struct compare_layer *x = &list->items[i];
    if (*x->name && strcmp(x->name, other->name) == 0 && strcmp(x->op, other->op) != 0)
        return true; /* what is fused is named after its last part */
    return i > into && x->known[LAYER_OPS] && !(x->v[LAYER_OPS] > 0) && x->rank >= 0 &&
           same_shape(x, other);
}

static void join(const struct layer_list *list, const int *partner, const struct layer_list *others,
                 int *into)
{
    int last = -1; /* the matched item that the run before i belongs to */
    for (int i = 0; i < list->count; i++) {
        into[i] = -1;
        if (partner[i] >= 0)
            last = i;
        else if (last >= 0 && fuses(list, i, last, &others->items[partner[last]]))
            into[i] = last;
        else if (i + 1 < list->count && partner[i + 1] >= 0 &&
                 fuses(list, i, i + 1, &others->items[partner[i + 1]]))
            into[i] = i + 1;
        else
            last = -1;
    }
}

bool layer_match(struct arena *a, const struct layer_list *base, const struct layer_list *head,
                 struct layer_match *out, struct bpu_error *err)
{
    struct matcher names, order, *best = &names;
    bool same, ordered = base->ordered && head->ordered;
    if (!matcher_init(&names, a, base, head, err) || !by_name(&names))
        return false;
    if (ordered) {
        if (!in_order(&names, BY_SHAPE))
            return false;
        int64_t worth = score(&names, &same);
        if (!same) {
            if (!matcher_init(&order, a, base, head, err) || !in_order(&order, BY_SHAPE))
                return false;
            if (score(&order, &same) > worth) {
                best = &order;
                if (!by_name(&order))
                    return false;
            }
        }
        if (!in_order(best, BY_GAP))
            return false;
    }
    out->to_head = best->to_head;
    out->to_base = best->to_base;
    out->join_base = ARENA_ARRAY(a, int, base->count, err);
    out->join_head = out->join_base ? ARENA_ARRAY(a, int, head->count, err) : NULL;
    if (!out->join_head)
        return false;
    join(base, out->to_head, head, out->join_base);
    join(head, out->to_base, base, out->join_head);
    for (int i = 0; !ordered && i < base->count; i++)
        out->join_base[i] = -1;
    for (int i = 0; !ordered && i < head->count; i++)
        out->join_head[i] = -1;
    return true;
}
