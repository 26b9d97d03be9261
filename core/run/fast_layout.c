/* fast_layout: conversions, and reference kernels on converted operands. */
#include "core/run/fast_layout.h"

#include <string.h>

/* (N, C, HW) of a rank 4 shape. */
struct planes {
    int64_t batch, channels, plane;
};

static bool planes_of(const struct shape *s, struct planes *p)
{
    if (s->rank != 4)
        return false;
    *p = (struct planes){s->dim[0], s->dim[1], s->dim[2] * s->dim[3]};
    return p->channels > 1 && p->plane > 1;
}

bool fast_same_order(const struct shape *x, const struct shape *y)
{
    struct planes p;
    return shape_equal(x, y) || (!planes_of(x, &p) && !planes_of(y, &p));
}

/* rows x columns bytes to columns x rows, each with `flip` exclusive-or'ed (0x80 adds 128). */
static void transpose(const unsigned char *from, unsigned char *to, int64_t rows, int64_t columns,
                      unsigned char flip)
{
    enum { TILE = 32 };
    for (int64_t r0 = 0; r0 < rows; r0 += TILE)
        for (int64_t c0 = 0; c0 < columns; c0 += TILE) {
            int64_t r1 = r0 + TILE < rows ? r0 + TILE : rows;
            int64_t c1 = c0 + TILE < columns ? c0 + TILE : columns;
            for (int64_t r = r0; r < r1; r++)
                for (int64_t c = c0; c < c1; c++)
                    to[c * rows + r] = from[r * columns + c] ^ flip;
        }
}

static void convert(const struct tensor *t, const unsigned char *from, unsigned char *to, bool enter)
{
    unsigned char flip = (unsigned char)fast_offset(t->dtype);
    struct planes p;
    if (!planes_of(&t->shape, &p)) {
        for (size_t i = 0; i < t->bytes; i++)
            to[i] = from[i] ^ flip;
        return;
    }
    int64_t frame = p.channels * p.plane;
    for (int64_t n = 0; n < p.batch; n++)
        transpose(from + n * frame, to + n * frame, enter ? p.channels : p.plane,
                  enter ? p.plane : p.channels, flip);
}

void fast_enter(const struct tensor *t, const void *plain, void *inside)
{
    convert(t, plain, inside, true);
}

void fast_leave(const struct tensor *t, const void *inside, void *plain)
{
    convert(t, inside, plain, false);
}

/* ── the reference kernel in between ── */

struct wrapped {
    kernel_fn *kernel;
    struct tensor *in, *out; /* copies of the operands' and results' descriptions, data in scratch */
    const struct tensor **in_list;
    struct tensor **out_list;
};

static bool run_wrapped(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    struct wrapped *w = state;
    struct kernel_call inner = *c;
    for (int i = 0; i < c->in_count; i++) {
        w->in_list[i] = c->in[i];
        if (!c->in[i] || !fast_is_inside(c->node->inputs[i]))
            continue;
        w->in[i].data = arena_reserve(c->scratch, c->in[i]->bytes, err);
        if (!w->in[i].data)
            return false;
        fast_leave(c->in[i], c->in[i]->data, w->in[i].data);
        w->in_list[i] = &w->in[i];
    }
    for (int i = 0; i < c->out_count; i++) {
        w->out_list[i] = c->out[i];
        if (!c->out[i] || !fast_is_inside(c->node->outputs[i]))
            continue;
        w->out[i].data = arena_reserve(c->scratch, c->out[i]->bytes, err);
        if (!w->out[i].data)
            return false;
        w->out_list[i] = &w->out[i];
    }
    inner.in = w->in_list;
    inner.out = w->out_list;
    if (!w->kernel(&inner, err))
        return false;
    for (int i = 0; i < c->out_count; i++)
        if (w->out_list[i] && w->out_list[i] == &w->out[i])
            fast_enter(c->out[i], w->out[i].data, c->out[i]->data);
    return true;
}

bool fast_prepare_wrapped(struct arena *a, const struct kernel_call *c, const char *variant,
                          struct fast_kernel *out, struct bpu_error *err)
{
    (void)variant;
    const struct node *n = c->node;
    const struct kernel *k = kernel_of(n);
    bool any = false;
    for (int i = 0; i < n->input_count; i++)
        any = any || (n->inputs[i] && fast_is_inside(n->inputs[i]));
    for (int i = 0; i < n->output_count; i++)
        any = any || fast_is_inside(n->outputs[i]);
    if (!any || !k->fixed)
        return true;
    struct wrapped *w = ARENA_NEW(a, struct wrapped, err);
    if (!w)
        return false;
    w->kernel = k->fixed;
    w->in = ARENA_ARRAY(a, struct tensor, c->in_count, err);
    w->out = ARENA_ARRAY(a, struct tensor, c->out_count, err);
    w->in_list = ARENA_ARRAY(a, const struct tensor *, c->in_count, err);
    w->out_list = ARENA_ARRAY(a, struct tensor *, c->out_count, err);
    if (!w->in || !w->out || !w->in_list || !w->out_list)
        return false;
    for (int i = 0; i < c->in_count; i++)
        if (c->in[i])
            w->in[i] = *c->in[i];
    for (int i = 0; i < c->out_count; i++)
        if (c->out[i])
            w->out[i] = *c->out[i];
    *out = (struct fast_kernel){run_wrapped, w};
    return true;
}
