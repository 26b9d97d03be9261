/* Convolutions by hand on the simulator, against the reference interpreter: random kernels,
 * strides, padding, dilation, groups and types; x and y in rings of few rows that wrap; pieces of
 * rows and of channels; sums that begin over some input channels and continue over the others;
 * weights in blocks of random size; blocks of random shape; all lanes in random order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/run/run.h"
#include "tests/unit/random_net.h"
#include "tests/unit/sim_asm.h"

enum { MOST_ROWS = 64 };

struct bench {
    struct net *n;
    struct asm_program a;
    struct node *node;
    const struct value *x, *y, *r, *w;
    bool depthwise, transposed;
    int64_t kernel[2], stride[2], padding[2], dilation[2], groups;
    int outputs, group_outputs, group_inputs; /* channels */
    int unit, out_block;                      /* channels */
};

/* ── weights ── */

/* One packed filter bank for input channels from … to - 1 of each group. */
struct packed {
    int in_block, inputs;
    int64_t unit_bytes, bytes;
    int64_t address; /* in the constants */
    struct tile chip;
    int load;
};

static int32_t integer(const struct value *v, int64_t i)
{
    int64_t out = 0;
    assert_true(constant_int(v, i, &out));
    return (int32_t)out;
}

/* Index in the graph's weight: (out, in, h, w), or (in, out, h, w) if transposed. */
static int64_t weight_at(const struct bench *b, int m, int c, int64_t i, int64_t j)
{
    int64_t taps = b->kernel[0] * b->kernel[1], tap = i * b->kernel[1] + j;
    if (!b->transposed)
        return ((int64_t)m * b->group_inputs + c) * taps + tap;
    int group = m / b->group_outputs;
    return (((int64_t)group * b->group_inputs + c) * b->group_outputs + m % b->group_outputs) *
               taps +
           tap;
}

static void pack(struct bench *b, int from, int to, int64_t *end, struct packed *p)
{
    int64_t taps = b->kernel[0] * b->kernel[1];
    int units = (b->outputs + b->unit - 1) / b->unit,
        blocks = (b->unit + b->out_block - 1) / b->out_block;
    p->in_block = b->depthwise ? 1 : 1 << below(4);
    p->inputs = to - from;
    int in_blocks = (p->inputs + p->in_block - 1) / p->in_block;
    p->unit_bytes = 20 * b->unit + blocks * b->out_block * taps * in_blocks * p->in_block;
    p->unit_bytes = (p->unit_bytes + 15) / 16 * 16;
    p->bytes = p->unit_bytes * units;
    p->address = *end;
    *end += (p->bytes + 63) / 64 * 64;
    assert_true(*end <= b->a.constant_capacity);
    for (int m = 0; m < units * b->unit; m++) {
        unsigned char *unit = b->a.constants + p->address + m / b->unit * p->unit_bytes;
        bool real = m < b->outputs;
        const struct value *w = b->w;
        int32_t zero = real ? (int32_t)requant_weight_zero(&w->quant, m) : 0;
        struct requant_scales s = {.x = &b->x->quant,
                                   .w = &w->quant,
                                   .y = &b->y->quant,
                                   .r = b->r ? &b->r->quant : NULL,
                                   .y_dtype = b->y->dtype,
                                   .channels = b->outputs};
        int32_t *multiplier = ARENA_ARRAY(&b->a.arena, int32_t, b->outputs * 3, &b->a.err);
        assert_non_null(multiplier);
        assert_true(requant_multipliers(&s, "", multiplier, multiplier + b->outputs,
                                        multiplier + 2 * b->outputs, &b->a.err));
        int32_t record[5] = {0};
        if (real) {
            const int32_t all[5] = {integer(node_param(b->node, "bias"), m), multiplier[m],
                                    multiplier[b->outputs + m],
                                    b->r ? multiplier[2 * b->outputs + m] : 0, zero};
            memcpy(record, all, sizeof record);
        }
        memcpy(unit + m % b->unit * 20, record, sizeof record);
        int o = m % b->unit, block = o / b->out_block;
        unsigned char *data = unit + 20 * b->unit;
        for (int64_t i = 0; i < b->kernel[0]; i++)
            for (int64_t j = 0; j < b->kernel[1]; j++)
                for (int c = 0; c < in_blocks * p->in_block; c++) {
                    int64_t tap = (block * b->kernel[0] + i) * b->kernel[1] + j;
                    int64_t at =
                        ((tap * in_blocks + c / p->in_block) * b->out_block + o % b->out_block) *
                            p->in_block +
                        c % p->in_block;
                    bool there = real && from + c < to;
                    int v = there ? integer(w, weight_at(b, m, b->depthwise ? 0 : from + c, i, j))
                                  : zero;
                    data[at] = (unsigned char)v;
                }
    }
}

/* ── one network ── */

/* Rows of x that result rows r0 … r1 - 1 meet, clipped. */
static void rows_of(const struct bench *b, int r0, int r1, int h, int *lo, int *hi)
{
    int64_t from = h, to = 0;
    for (int r = r0; r < r1; r++)
        for (int64_t t = 0; t < b->kernel[0]; t++) {
            int64_t at = b->transposed ? r + b->padding[0] - t * b->dilation[0]
                                       : r * b->stride[0] + t * b->dilation[0] - b->padding[0];
            if (b->transposed && at % b->stride[0])
                continue;
            at = b->transposed ? at / b->stride[0] : at;
            if (at < 0 || at >= h)
                continue;
            from = at < from ? at : from;
            to = at + 1 > to ? at + 1 : to;
        }
    if (from >= to) { /* padding only: the row nearest to it */
        from =
            b->transposed ? (r0 + b->padding[0]) / b->stride[0] : r0 * b->stride[0] - b->padding[0];
        from = from < 0 ? 0 : from >= h ? h - 1 : from;
        to = from + 1;
    }
    *lo = (int)from;
    *hi = (int)to;
}

static void random_block(int block[3])
{
    static const int all[][3] = {{1, 8, 4}, {1, 1, 32}, {1, 1, 1},
                                 {2, 4, 4}, {2, 1, 8},  {1, 1, 16}};
    memcpy(block, all[below(6)], sizeof all[0]);
}

struct maps {
    struct tile x, r, y, sums, x_ddr, r_ddr, y_ddr;
    int x_ring, y_ring, residual_load;
};

/* How many rows a ring needs so that each piece finds its rows in it, in whole blocks. */
static int ring_of(const struct bench *b, int step, int h, int y_rows, int block)
{
    int most = 0, reached = 0;
    for (int r = 0; r < y_rows; r += step) {
        int lo, hi, to = r + step < y_rows ? r + step : y_rows;
        rows_of(b, r, to, h, &lo, &hi);
        reached = hi > reached ? hi : reached;
        most = reached - lo > most ? reached - lo : most;
    }
    return (most + block - 1) / block * block + block * (int)below(2);
}

static void fill_args(const struct bench *b, const struct packed *p, int32_t *a)
{
    int32_t lo, hi;
    struct bpu_error err = {0};
    double s = b->y->quant.count ? b->y->quant.scale[0] : 1;
    int64_t z = b->y->quant.count && b->y->quant.zero_point ? b->y->quant.zero_point[0] : 0;
    assert_true(requant_range(b->y->dtype, s, z, node_string(b->node, "activation", NULL), "", &lo,
                              &hi, &err));
    for (int i = 0; i < 2; i++) {
        a[CONV_KERNEL_H + i] = (int32_t)b->kernel[i];
        a[CONV_STRIDE_H + i] = (int32_t)b->stride[i];
        a[CONV_DILATION_H + i] = (int32_t)b->dilation[i];
        a[CONV_PAD_TOP + i] = (int32_t)b->padding[i];
    }
    a[CONV_UNIT_CHANNELS] = b->unit;
    a[CONV_UNIT_BYTES] = (int32_t)p->unit_bytes;
    a[CONV_UNIT_INPUTS] = p->inputs;
    a[CONV_SPLIT_INPUTS] = b->groups > 1;
    a[CONV_OUT_BLOCK] = b->out_block;
    a[CONV_IN_BLOCK] = p->in_block;
    a[CONV_RULE] = b->r || !requant_is_binary32(b->y->dtype);
    a[CONV_LOW] = lo;
    a[CONV_HIGH] = hi;
    a[CONV_UNFINISHED] = 0;
}

/* Pieces of rows, and in them of channels, in order; a load before each as needed. */
static void emit(struct bench *b, struct maps *m, struct packed *parts, int part_count, int frames)
{
    struct asm_program *a = &b->a;
    enum opcode op = b->depthwise ? OP_DWCONV : b->transposed ? OP_DECONV : OP_CONV;
    int h = m->x.h, rows = m->y.h, step = m->y_ring ? m->y_ring / 2 : rows, none = -1;
    int units = (b->outputs + b->unit - 1) / b->unit;
    int units_step = b->groups > 1 && !b->depthwise ? units : 1 + (int)below((uint32_t)units);
    int stored[2] = {-1, -1};
    for (int f = 0; f < frames; f++) {
        int reader[MOST_ROWS], loaded = 0, load = -1;
        for (int i = 0; i < MOST_ROWS; i++)
            reader[i] = -1;
        if (f) /* the ring holds rows of the frame before: wait for everything */
            for (int i = 0; i < MOST_ROWS; i++)
                reader[i] = a->p.code_count - 1;
        for (int r0 = 0, piece = 0; r0 < rows; r0 += step, piece++) {
            int r1 = r0 + step < rows ? r0 + step : rows, lo, hi, last = -1;
            rows_of(b, r0, r1, h, &lo, &hi);
            while (loaded < hi) {
                int count = 1 + (int)below(3), after = none;
                count = loaded + count > hi ? hi - loaded : count;
                count = m->x_ring && count > m->x_ring ? m->x_ring : count;
                for (int i = loaded; i < loaded + count; i++) {
                    int old = m->x_ring ? i - m->x_ring : -1;
                    int by = old >= 0 ? reader[old] : f ? reader[i] : -1;
                    after = by > after ? by : after;
                }
                struct tile to = asm_rows(m->x, loaded, count),
                            from = asm_rows(m->x_ddr, loaded, count);
                to.n0 = from.n0 = f;
                to.n = from.n = 1;
                load = asm_add(a, OP_LOAD, ASM_TILES(to, from), 2, NULL, ASM_AFTER(after));
                loaded += count;
            }
            for (int u = 0; u < units; u += units_step) {
                int u1 = u + units_step < units ? u + units_step : units;
                int c0 = u * b->unit, c1 = u1 * b->unit < b->outputs ? u1 * b->unit : b->outputs;
                for (int k = 0; k < part_count; k++) {
                    int32_t args[CONV_ARGS_COUNT];
                    struct tile t[5] = {{0}};
                    fill_args(b, &parts[k], args);
                    bool end = k + 1 == part_count;
                    int first = k ? parts[0].inputs : 0;
                    if (b->transposed) {
                        /* h + pad = p * stride + tap: rows count from r0, p from lo. */
                        args[CONV_PAD_TOP] += r0 - lo * (int32_t)b->stride[0];
                    } else {
                        args[CONV_PAD_TOP] -= r0 * (int32_t)b->stride[0] - lo;
                    }
                    args[CONV_UNFINISHED] = !end;
                    t[0] = asm_channels(asm_rows(end ? m->y : m->sums, r0, r1 - r0), c0, c1 - c0);
                    t[1] = asm_rows(m->x, lo, hi - lo);
                    if (b->depthwise)
                        t[1] = asm_channels(t[1], c0, c1 - c0);
                    else if (part_count > 1)
                        t[1] = asm_channels(t[1], first, parts[k].inputs);
                    t[2] = parts[k].chip;
                    t[2].c0 = (int)(u * parts[k].unit_bytes);
                    t[2].c = (int)((u1 - u) * parts[k].unit_bytes);
                    if (b->r && end)
                        t[3] = asm_channels(asm_rows(m->r, r0, r1 - r0), c0, c1 - c0);
                    if (k)
                        t[4] = asm_channels(asm_rows(m->sums, r0, r1 - r0), c0, c1 - c0);
                    for (int q = 0; q < 5; q++)
                        if (t[q].n && q != 2) {
                            t[q].n0 = f;
                            t[q].n = 1;
                        }
                    last = asm_add(
                        a, op, t, 5, args,
                        ASM_AFTER(load < 0 ? parts[k].load : load, parts[k].load,
                                  m->residual_load < 0 ? parts[k].load : m->residual_load,
                                  stored[piece & 1] < 0 ? parts[k].load : stored[piece & 1]));
                }
            }
            for (int i = lo; i < hi; i++)
                reader[i] = last;
            struct tile from = asm_rows(m->y, r0, r1 - r0), to = asm_rows(m->y_ddr, r0, r1 - r0);
            from.n0 = to.n0 = f;
            from.n = to.n = 1;
            stored[piece & 1] = asm_add(a, OP_STORE, ASM_TILES(to, from), 2, NULL, ASM_AFTER(last));
            if (f || r1 == rows) /* rings meet the next frame: be safe */
                stored[0] = stored[1] = stored[piece & 1];
        }
    }
}

static struct tile map_of(struct bench *b, const struct value *v, int ring, const int block[3])
{
    const int64_t *d = v->shape.dim;
    return asm_map(&b->a, SPACE_SRAM, block, (int)d[0], (int)d[2], (int)d[3], (int)d[1], v->dtype,
                   v->quant.count ? v->quant.scale[0] : 0,
                   v->quant.count && v->quant.zero_point ? (int32_t)v->quant.zero_point[0] : 0,
                   ring);
}

static struct tile io_of(struct bench *b, const struct value *v, bool input)
{
    int block[3];
    random_block(block);
    return asm_io(&b->a, input, &v->shape, false, v->dtype, v->quant.count ? v->quant.scale[0] : 1,
                  v->quant.count && v->quant.zero_point ? (int32_t)v->quant.zero_point[0] : 0,
                  (enum io_layout)below(3), block)
        ->tile;
}

static void build(struct bench *b)
{
    struct asm_program *a = &b->a;
    struct packed parts[2];
    struct maps m = {.residual_load = -1};
    int part_count = 1, frames = (int)b->x->shape.dim[0], block[3];
    int64_t end = 0;
    asm_init(a, seed, 1 << 19);
    b->out_block = 1 << below(4);
    b->unit = b->groups > 1 && !b->depthwise
                  ? b->group_outputs
                  : 1 + (int)below((uint32_t)b->outputs < 40 ? (uint32_t)b->outputs : 40);
    if (b->groups == 1 && b->group_inputs > 1 && below(3) == 0)
        part_count = 2;
    int cut = part_count == 2 ? 1 + (int)below((uint32_t)b->group_inputs - 1) : b->group_inputs;
    for (int k = 0; k < part_count; k++)
        pack(b, k ? cut : 0, k ? b->group_inputs : cut, &end, &parts[k]);
    m.x_ddr = io_of(b, b->x, true);
    if (b->r)
        m.r_ddr = io_of(b, b->r, true);
    m.y_ddr = io_of(b, b->y, false);
    for (int k = 0; k < part_count; k++) {
        parts[k].chip = asm_blob(a, SPACE_SRAM, parts[k].bytes);
        struct tile from = parts[k].chip;
        from.space = SPACE_DDR;
        from.base = parts[k].address;
        parts[k].load = asm_add(a, OP_LOAD, ASM_TILES(parts[k].chip, from), 2, NULL, NULL);
    }
    int y_rows = (int)b->y->shape.dim[2], x_rows = (int)b->x->shape.dim[2];
    random_block(block);
    m.y_ring = below(2) ? 2 * block[0] * (1 + (int)below(2)) : 0;
    if (frames > 1 ||
        y_rows < m.y_ring) /* a frame of fewer rows would not begin at the ring's start */
        m.y_ring = 0;
    m.y = map_of(b, b->y, m.y_ring, block);
    if (part_count > 1) {
        m.sums = asm_map(a, SPACE_SRAM, block, frames, y_rows, (int)b->y->shape.dim[3], b->outputs,
                         below(2) ? DT_INT32 : DT_INT64, 0, 0, 0);
    }
    random_block(block);
    m.x_ring =
        below(3) ? ring_of(b, m.y_ring ? m.y_ring / 2 : y_rows, x_rows, y_rows, block[0]) : 0;
    if (frames > 1 || m.x_ring >= x_rows)
        m.x_ring = 0;
    m.x = map_of(b, b->x, m.x_ring, block);
    if (b->r) {
        random_block(block);
        m.r = map_of(b, b->r, 0, block);
        m.residual_load = asm_add(a, OP_LOAD, ASM_TILES(m.r, m.r_ddr), 2, NULL, NULL);
    }
    emit(b, &m, parts, part_count, frames);
}

static void numbers(struct bench *b)
{
    const struct node *k = b->node;
    assert_true(node_ints(k, "stride", b->stride, 2) && node_ints(k, "padding", b->padding, 2) &&
                node_ints(k, "dilation", b->dilation, 2));
    b->x = k->inputs[0];
    b->y = k->outputs[0];
    b->r = node_input(k, 1);
    b->w = node_param(k, "weight");
    b->kernel[0] = b->w->shape.dim[2];
    b->kernel[1] = b->w->shape.dim[3];
    b->groups = node_int(k, "groups", 1);
    b->outputs = (int)b->y->shape.dim[1];
    b->group_outputs = b->outputs / (int)b->groups;
    b->group_inputs = (int)(b->x->shape.dim[1] / b->groups);
    b->depthwise =
        !b->transposed && b->groups == b->outputs && b->group_inputs == 1 && b->groups > 1;
}

static void compare(struct bench *b, int number)
{
    struct net *n = b->n;
    const void *in[2];
    void *want[1], *got[1];
    size_t bytes = (size_t)shape_elements(&b->y->shape) * dtype_size(b->y->dtype);
    for (int i = 0; i < n->g->input_count; i++) {
        const struct value *v = n->g->inputs[i];
        size_t size = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
        unsigned char *p = arena_alloc(&n->arena, size, &n->err);
        OK(p);
        for (size_t k = 0; k < size; k++)
            p[k] = (unsigned char)below(256);
        in[i] = p;
    }
    OK(want[0] = arena_alloc(&n->arena, bytes, &n->err));
    OK(got[0] = arena_alloc(&n->arena, bytes, &n->err));
    struct run *r =
        run_new(&n->arena, n->g, &(struct run_options){.engine = RUN_REFERENCE}, &n->err);
    OK(r);
    OK(run_frame(r, in, want, NULL, NULL, &n->err));
    for (int k = 0; k < 2; k++) {
        b->a.seed += 12345;
        if (!asm_run(&b->a, in, got, k ? SIM_RANDOM : (enum sim_order)below(3)))
            fail_msg("case %d: %s: %s", number, b->a.err.where, b->a.err.message);
        for (size_t i = 0; i < bytes; i++)
            if (((unsigned char *)want[0])[i] != ((unsigned char *)got[0])[i])
                fail_msg("case %d: byte %zu of %zu is %u, not %u", number, i, bytes,
                         ((unsigned char *)got[0])[i], ((unsigned char *)want[0])[i]);
    }
}

static enum dtype some_type(void)
{
    static const enum dtype types[] = {DT_QINT8, DT_QUINT8, DT_QINT8, DT_QUINT8, DT_QINT16};
    return types[below(5)];
}

static void try_convs(bool transposed, int first, int count)
{
    int residuals = 0;
    for (int i = first; i < first + count; i++) {
        struct net nn, *n = &nn;
        struct bench b = {.n = n, .transposed = transposed};
        seed = (uint64_t)i * 0x9E3779B97F4A7C15u + 5;
        net_init(n);
        struct shape s = of4(1 + below(below(2) ? 6 : 40), 1 + below(14), 1 + below(9));
        struct value *x = some_input(n, &s, some_type());
        struct value *y = transposed ? deconv(n, x, some_type()) : conv(n, x, some_type());
        b.node = y->producer;
        if (below(3) == 0) {
            add_residual(n, y);
            residuals++;
        }
        net_fix(n);
        OK(graph_add_output(n->g, y, &n->err) && graph_sort(n->g, &n->err));
        numbers(&b);
        build(&b);
        compare(&b, i);
        asm_fini(&b.a);
        arena_fini(&n->arena);
    }
    assert_true(residuals > count / 5);
}

static void test_conv(void **state)
{
    (void)state;
    try_convs(false, 0, 1500);
}
static void test_deconv(void **state)
{
    (void)state;
    try_convs(true, 10000, 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_deconv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
