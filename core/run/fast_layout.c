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
};

static bool wrap(struct arena *a, const struct node *n, fast_fn *run, struct fast_kernel *out,
                 struct bpu_error *err)
{
    struct wrapped *w = ARENA_NEW(a, struct wrapped, err);
    if (!w)
        return false;
    w->kernel = kernel_of(n)->fixed;
    *out = (struct fast_kernel){.run = run, .state = w};
    return true;
}

/* Copies of the descriptions of operands and results, with data in scratch in PyTorch's layout. */
static bool run_wrapped(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct wrapped *w = state;
    struct kernel_call inner = *c;
    struct arena *s = c->scratch;
    struct tensor *in = ARENA_ARRAY(s, struct tensor, c->in_count, err);
    struct tensor *out = ARENA_ARRAY(s, struct tensor, c->out_count, err);
    const struct tensor **in_list = ARENA_ARRAY(s, const struct tensor *, c->in_count, err);
    struct tensor **out_list = ARENA_ARRAY(s, struct tensor *, c->out_count, err);
    if (!in || !out || !in_list || !out_list)
        return false;
    for (int i = 0; i < c->in_count; i++) {
        in_list[i] = c->in[i];
        if (!c->in[i] || !fast_is_inside(c->node->inputs[i]))
            continue;
        in[i] = *c->in[i];
        in[i].data = arena_reserve(s, in[i].bytes, err);
        if (!in[i].data)
            return false;
        fast_leave(c->in[i], c->in[i]->data, in[i].data);
        in_list[i] = &in[i];
    }
    for (int i = 0; i < c->out_count; i++) {
        out_list[i] = c->out[i];
        if (!c->out[i] || !fast_is_inside(c->node->outputs[i]))
            continue;
        out[i] = *c->out[i];
        out[i].data = arena_reserve(s, out[i].bytes, err);
        if (!out[i].data)
            return false;
        out_list[i] = &out[i];
    }
    inner.in = in_list;
    inner.out = out_list;
    if (!w->kernel(&inner, err))
        return false;
    for (int i = 0; i < c->out_count; i++)
        if (c->out[i] && out_list[i] == &out[i])
            fast_enter(c->out[i], out[i].data, c->out[i]->data);
    return true;
}

bool fast_prepare_wrapped(struct arena *a, const struct kernel_call *c, const char *variant,
                          struct fast_kernel *out, struct bpu_error *err)
{
    (void)variant;
    const struct node *n = c->node;
    bool any = false;
    for (int i = 0; i < n->input_count; i++)
        any = any || (n->inputs[i] && fast_is_inside(n->inputs[i]));
    for (int i = 0; i < n->output_count; i++)
        any = any || fast_is_inside(n->outputs[i]);
    return !any || !kernel_of(n)->fixed || wrap(a, n, run_wrapped, out, err);
}

/* ── what only moves bytes ── */

static bool is_moved(const struct kernel_call *c)
{
    const struct node *n = c->node;
    const struct tensor *x = kernel_in(c, 0);
    for (int i = 1; i < c->in_count; i++)
        if (c->in[i])
            return false;
    return x && c->out_count == 1 && c->out[0] && fast_is_inside(n->inputs[0]) &&
           fast_is_inside(n->outputs[0]) && x->quant.count == 1 && c->out[0]->quant.count == 1 &&
           fast_same_bytes(x, c->out[0]);
}

/* Between a rank 4 map and another shape: one change of order. */
static bool run_reshape(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    struct tensor t = *c->in[0];
    struct planes p;
    (void)state;
    (void)err;
    t.dtype = DT_QUINT8; /* no offset comes or goes */
    if (planes_of(&t.shape, &p)) {
        fast_leave(&t, t.data, c->out[0]->data);
        return true;
    }
    t.shape = c->out[0]->shape;
    fast_enter(&t, t.data, c->out[0]->data);
    return true;
}

/* In their own order, bytes are moved by the reference kernel: it reads no value. */
static bool run_moved(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct wrapped *w = state;
    return w->kernel(c, err);
}

bool fast_prepare_move(struct arena *a, const struct kernel_call *c, const char *variant,
                       struct fast_kernel *out, struct bpu_error *err)
{
    static const char *const names[] = {"view", "permute", "getitem", "expand", "repeat", "flip", "roll"};
    const char *name = kernel_of(c->node)->name;
    size_t which = 0, count = sizeof names / sizeof *names;
    struct planes p;
    (void)variant;
    while (which < count && strcmp(names[which], name) != 0)
        which++;
    if (which == count || !kernel_of(c->node)->fixed || !is_moved(c))
        return true;
    bool from = planes_of(&c->in[0]->shape, &p), to = planes_of(&c->out[0]->shape, &p);
    if (!from && !to)
        return wrap(a, c->node, run_moved, out, err);
    if (which == 0 && from != to && c->in[0]->bytes == c->out[0]->bytes)
        *out = (struct fast_kernel){.run = run_reshape};
    return true;
}
