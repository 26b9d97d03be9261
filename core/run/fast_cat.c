/* fast_cat: maps put together along their channels, and cut apart again.
 *
 * The channels of a pixel lie together, so each operand or part is a piece of every pixel. */
#include <string.h>

#include "core/ops/infer.h"
#include "core/run/fast_kernels.h"
#include "core/run/fast_layout.h"

/* A rank 4 map of one scale that the engine holds. */
static bool is_map(const struct tensor *t, const struct value *v)
{
    return t && fast_is_inside(v) && t->shape.rank == 4 && t->quant.count == 1;
}

/* ── together ── */

struct cat {
    const struct fast_kernels *k;
    int64_t pixels, total;
    int count;
    struct cat_part {
        int64_t channels;
        uint8_t *of; /* 256 results; NULL: bytes are copied */
    } part[];
};

static bool run_cat(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct cat *v = state;
    (void)err;
    int64_t at = 0;
    for (int i = 0; i < v->count; i++) {
        const struct cat_part *p = &v->part[i];
        const uint8_t *x = c->in[i]->data;
        uint8_t *y = (uint8_t *)c->out[0]->data + at;
        for (int64_t k = 0; k < v->pixels; k++, x += p->channels, y += v->total)
            if (p->of)
                v->k->table(p->of, x, y, (size_t)p->channels);
            else
                memcpy(y, x, (size_t)p->channels);
        at += p->channels;
    }
    return true;
}

bool fast_prepare_cat(struct arena *a, const struct kernel_call *c, const char *variant,
                      struct fast_kernel *out, struct bpu_error *err)
{
    const struct fast_kernels *k = fast_kernels_find(variant);
    const struct tensor *y = c->out_count ? c->out[0] : NULL;
    struct fixed_scale from, to;
    if (!k || strcmp(kernel_of(c->node)->name, "cat") != 0 || !y ||
        !fast_is_inside(c->node->outputs[0]) || y->shape.rank != 4)
        return true;
    int64_t dim = node_int(c->node, "dim", 0);
    if (dim != 1 && dim != -3)
        return true;
    for (int i = 0; i < c->in_count; i++)
        if (!is_map(c->in[i], c->node->inputs[i]))
            return true;
    struct cat *v =
        arena_alloc(a, sizeof *v + (size_t)c->in_count * sizeof(struct cat_part), err);
    if (!v || !fixed_scale(c, y, "the result", &to, err))
        return false;
    v->k = k;
    v->count = c->in_count;
    v->pixels = y->shape.dim[0] * y->shape.dim[2] * y->shape.dim[3];
    v->total = y->shape.dim[1];
    for (int i = 0; i < c->in_count; i++) {
        struct cat_part *p = &v->part[i];
        const struct tensor *x = c->in[i];
        p->channels = x->shape.dim[1];
        if (fast_same_bytes(x, y))
            continue;
        p->of = arena_alloc(a, 256, err);
        if (!p->of || !fixed_scale(c, x, "an operand", &from, err))
            return false;
        for (int q = 0; q < 256; q++)
            p->of[q] = (uint8_t)(fixed_rescale(q - fast_offset(x->dtype), &from, &to) +
                                 fast_offset(y->dtype));
    }
    *out = (struct fast_kernel){.run = run_cat, .state = v};
    return true;
}

/* ── apart ── */

struct cut {
    int64_t pixels, channels;
    int count;
    struct cut_part {
        int64_t first, channels;
    } part[];
};

static bool run_cut(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct cut *v = state;
    (void)err;
    for (int i = 0; i < v->count; i++) {
        const struct cut_part *p = &v->part[i];
        const uint8_t *x = (const uint8_t *)c->in[0]->data + p->first;
        uint8_t *y = c->out[i] ? c->out[i]->data : NULL;
        for (int64_t k = 0; y && k < v->pixels; k++, x += v->channels, y += p->channels)
            memcpy(y, x, (size_t)p->channels);
    }
    return true;
}

/* The first channel of a slice along the channels alone; -1: it is something else. */
static int64_t slice_begin(const struct node *n, int64_t channels)
{
    struct bpu_error ignored = {0};
    int64_t starts[SHAPE_MAX_RANK], ends[SHAPE_MAX_RANK], steps[SHAPE_MAX_RANK], axes[SHAPE_MAX_RANK];
    int count, end_count, step_count, axis_count;
    if (node_attr(n, "select_axes") ||
        !infer_ints(n, "starts", starts, SHAPE_MAX_RANK, &count, &ignored) ||
        !infer_ints(n, "ends", ends, SHAPE_MAX_RANK, &end_count, &ignored) ||
        !infer_ints(n, "steps", steps, SHAPE_MAX_RANK, &step_count, &ignored) ||
        !infer_ints(n, "axes", axes, SHAPE_MAX_RANK, &axis_count, &ignored) || count != 1 ||
        end_count != 1 || axis_count != 1 || (axes[0] != 1 && axes[0] != -3) ||
        (step_count > 0 && steps[0] != 1))
        return -1;
    return infer_slice(channels, &starts[0], ends[0], 1) > 0 ? starts[0] : -1;
}

/* torch.split and chunk along the channels, and slices of them; results have the operand's scale. */
bool fast_prepare_cut(struct arena *a, const struct kernel_call *c, const char *variant,
                      struct fast_kernel *out, struct bpu_error *err)
{
    const struct node *n = c->node;
    const char *name = kernel_of(n)->name;
    const struct tensor *x = kernel_in(c, 0);
    bool split = strcmp(name, "split") == 0;
    int64_t dim = node_int(n, "dim", 0), first = 0;
    (void)variant;
    if ((!split && strcmp(name, "getitem") != 0) || (split && dim != 1 && dim != -3) ||
        c->in_count != 1 || !is_map(x, n->inputs[0]) || (!split && c->out_count != 1))
        return true;
    if (!split && (first = slice_begin(n, x->shape.dim[1])) < 0)
        return true;
    struct cut *v =
        arena_alloc(a, sizeof *v + (size_t)c->out_count * sizeof(struct cut_part), err);
    if (!v)
        return false;
    v->count = c->out_count;
    v->pixels = x->shape.dim[0] * x->shape.dim[2] * x->shape.dim[3];
    v->channels = x->shape.dim[1];
    for (int i = 0; i < c->out_count; i++) {
        const struct shape *y = &n->outputs[i]->shape; /* also of those nobody reads */
        if ((c->out[i] && (!is_map(c->out[i], n->outputs[i]) || !fast_same_bytes(x, c->out[i]))) ||
            y->rank != 4 || y->dim[1] < 0 || y->dim[1] > v->channels - first)
            return true;
        v->part[i] = (struct cut_part){first, y->dim[1]};
        first += y->dim[1];
    }
    *out = (struct fast_kernel){.run = run_cut, .state = v};
    return true;
}
