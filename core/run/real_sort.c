/* real_sort: sorting and the k largest along an axis.  Of equal elements the one with the lower
 * index comes first, in both directions; NaN counts as larger than all numbers. */
#include <stdlib.h>

#include "core/run/real.h"

struct item {
    double real;   /* of integers 0 */
    int64_t whole; /* of reals 1 for NaN, else 0; of uint64 with the sign bit turned */
    int64_t index;
};

static int item_compare(const struct item *a, const struct item *b)
{
    if (a->real != b->real)
        return a->real < b->real ? -1 : 1;
    return a->whole == b->whole ? 0 : a->whole < b->whole ? -1 : 1;
}

static int ascending(const void *pa, const void *pb)
{
    const struct item *a = pa, *b = pb;
    int order = item_compare(a, b);
    return order ? order : a->index < b->index ? -1 : 1;
}

static int descending(const void *pa, const void *pb)
{
    const struct item *a = pa, *b = pb;
    int order = item_compare(b, a);
    return order ? order : a->index < b->index ? -1 : 1;
}

static struct item item_read(const struct tensor *x, int64_t at, int64_t index)
{
    struct item i = {.index = index};
    if (fold_is_int(x->dtype)) {
        i.whole = tensor_int(x, at);
        if (x->dtype == DT_UINT64)
            i.whole = (int64_t)((uint64_t)i.whole ^ (uint64_t)1 << 63);
    } else {
        i.real = tensor_real(x, at);
        i.whole = isnan(i.real);
        if (i.whole)
            i.real = INFINITY;
    }
    return i;
}

/* The first `keep` of each lane in the given direction: values and positions. */
static bool sort_run(const struct kernel_call *c, int64_t keep, bool down, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *values = c->out[0], *indices = c->out_count > 1 ? c->out[1] : NULL;
    struct real_lanes l = real_lanes(&x->shape, real_axis(c->node, "dim", -1, x->shape.rank));
    struct item *items = ARENA_ARRAY(c->scratch, struct item, l.extent, err);
    if (!items)
        return false;
    if (keep < 0)
        keep = l.extent;
    if (keep > l.extent)
        return kernel_unsupported(c, err, "k is %lld, but there are %lld elements", (long long)keep,
                                  (long long)l.extent);
    for (int64_t lane = 0; lane < l.outer * l.inner; lane++) {
        int64_t block = lane / l.inner, column = lane % l.inner;
        int64_t first = block * l.extent * l.inner + column;
        for (int64_t i = 0; i < l.extent; i++)
            items[i] = item_read(x, first + i * l.inner, i);
        qsort(items, (size_t)l.extent, sizeof *items, down ? descending : ascending);
        for (int64_t i = 0; i < keep; i++) {
            int64_t at = (block * keep + i) * l.inner + column;
            if (values)
                real_move(x, first + items[i].index * l.inner, values, at);
            if (indices)
                tensor_store_int(indices, at, items[i].index);
        }
    }
    return true;
}

bool real_sort(const struct kernel_call *c, struct bpu_error *err)
{
    return sort_run(c, -1, node_bool(c->node, "descending", false), err);
}

/* The extent of the result says k, wherever it was given. */
bool real_topk(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *y = c->out[0] ? c->out[0] : c->out[1];
    int axis = real_axis(c->node, "dim", -1, y->shape.rank);
    int64_t keep = y->shape.rank > 0 ? y->shape.dim[axis] : 1;
    return sort_run(c, keep, node_bool(c->node, "largest", true), err);
}
