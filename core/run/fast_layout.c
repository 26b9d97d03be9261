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

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Exchanges the bytes of a at `mask` shifted up by `bits` with those of b at `mask`. */
static inline void exchange(uint64_t *a, uint64_t *b, int bits, uint64_t mask)
{
    uint64_t t = ((*a >> bits) ^ *b) & mask;
    *b ^= t;
    *a ^= t << bits;
}

/* 8 x 8 bytes, `across` apart, to their transpose: halves, quarters, then neighbours change places. */
static inline void transpose_square(const unsigned char *from, size_t across, unsigned char *to,
                                    size_t down, uint64_t flip)
{
    uint64_t r[8];
    for (size_t i = 0; i < 8; i++)
        memcpy(&r[i], from + i * across, 8);
    for (int i = 0; i < 4; i++)
        exchange(&r[i], &r[i + 4], 32, 0x00000000ffffffffu);
    for (int i = 0; i < 8; i++)
        if (!(i & 2))
            exchange(&r[i], &r[i + 2], 16, 0x0000ffff0000ffffu);
    for (int i = 0; i < 8; i += 2)
        exchange(&r[i], &r[i + 1], 8, 0x00ff00ff00ff00ffu);
    for (size_t i = 0; i < 8; i++) {
        r[i] ^= flip;
        memcpy(to + i * down, &r[i], 8);
    }
}
#else
static inline void transpose_square(const unsigned char *from, size_t across, unsigned char *to,
                                    size_t down, uint64_t flip)
{
    for (size_t r = 0; r < 8; r++)
        for (size_t c = 0; c < 8; c++)
            to[c * down + r] = from[r * across + c] ^ (unsigned char)flip;
}
#endif

/* rows x columns bytes to columns x rows, each with `flip` exclusive-or'ed (0x80 adds 128). */
static void transpose(const unsigned char *from, unsigned char *to, int64_t rows, int64_t columns,
                      unsigned char flip)
{
    int64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
    uint64_t flips = flip * 0x0101010101010101u;
    for (int64_t r = 0; r < whole_rows; r += 8)
        for (int64_t c = 0; c < whole_columns; c += 8)
            transpose_square(from + r * columns + c, (size_t)columns, to + c * rows + r,
                             (size_t)rows, flips);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; c++)
            to[c * rows + r] = from[r * columns + c] ^ flip;
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
        if (c->out[i] && w->out_list[i] == &w->out[i])
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
    *out = (struct fast_kernel){.run = run_wrapped, .state = w};
    return true;
}
