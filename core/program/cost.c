/* What an instruction costs, from its extents alone: no loop over elements, since the compiler asks
 * for every piece of every plan that it compares.
 *
 *   sums of products   steps of the conv array, each of array_h x array_w positions and array_cells
 *                      cells; every frame starts anew
 *   other engines      bytes of results (or of what is read, machine.h says which), padded to
 *                      native blocks, by the engine's rate
 *   transfers          contiguous runs in whole bursts, by the rate of DDR, behind its latency
 *
 * docs/machine.md has the formulas for people. */
#include <math.h>

#include "core/program/args.h"
#include "core/program/args_real.h"
#include "core/program/program.h"

static double steps(double extent, double at_a_time)
{
    return ceil(extent / at_a_time);
}

static double element_bytes(const struct tile *t)
{
    size_t size = dtype_size((enum dtype)t->dtype);
    return size > 0 ? (double)size : 1;
}

static double elements(const struct tile *t)
{
    return (double)t->n * t->h * t->w * t->c;
}

/* Blocks of `block` that an extent from `first` on touches. */
static double blocks(int32_t first, int32_t extent, uint8_t block)
{
    int64_t b = block > 0 ? block : 1;
    return extent > 0 ? (double)((first % b + (int64_t)extent + b - 1) / b) : 0;
}

static double block_elements(const struct tile *t)
{
    return (t->block_h > 0 ? t->block_h : 1.0) * (t->block_w > 0 ? t->block_w : 1.0) *
           (t->block_c > 0 ? t->block_c : 1.0);
}

/* Bytes of a tile's box, in whole blocks. */
static double padded_bytes(const struct tile *t)
{
    return t->n * blocks(t->h0, t->h, t->block_h) * blocks(t->w0, t->w, t->block_w) *
           blocks(t->c0, t->c, t->block_c) * block_elements(t) * element_bytes(t);
}

/* ── sums of products ──────────────────────────────────────────────────────────────────────── */

static double passes(const struct machine *m, const struct tile *x)
{
    return dtype_size((enum dtype)x->dtype) > 1 ? m->wide_passes.v : 1;
}

/* frames x (rows x columns x steps of the cells, which share out the cell products of a position).
 */
static struct cost array_cost(const struct machine *m, double frames, double h, double w,
                              double cells, double products, double wide)
{
    double work = steps(h, m->array_h.v) * steps(w, m->array_w.v) * steps(cells, m->array_cells.v);
    double size = m->array_h.v * m->array_w.v * m->array_in.v * m->array_out.v * m->array_cells.v;
    return (struct cost){
        .cycles = frames * (work * wide + m->issue_cycles.v),
        .start_cycles = frames * m->issue_cycles.v,
        .useful_cycles = frames * h * w * products * wide / size,
    };
}

static struct cost conv_cost(const struct machine *m, const struct instruction *i)
{
    const struct tile *y = &i->tiles[0], *x = &i->tiles[1];
    const int32_t *a = i->args;
    double taps = (double)a[CONV_KERNEL_H] * a[CONV_KERNEL_W];
    if (i->op == OP_DECONV) /* each result meets one tap of a stride */
        taps =
            steps(a[CONV_KERNEL_H], a[CONV_STRIDE_H]) * steps(a[CONV_KERNEL_W], a[CONV_STRIDE_W]);
    if (i->op == OP_DWCONV) {
        double work = steps(y->h, m->depthwise_h.v) * steps(y->w, m->depthwise_w.v) *
                      steps(y->c, m->depthwise_c.v) * taps * passes(m, x);
        double size = m->depthwise_h.v * m->depthwise_w.v * m->depthwise_c.v;
        return (struct cost){
            .cycles = y->n * (work + m->issue_cycles.v),
            .start_cycles = y->n * m->issue_cycles.v,
            .useful_cycles = elements(y) * taps * passes(m, x) / size,
        };
    }
    /* Units that read the same channels are cut for streaming only; those that do not are groups.
     */
    double unit = a[CONV_UNIT_CHANNELS] < y->c ? a[CONV_UNIT_CHANNELS] : y->c, units = 1;
    if (a[CONV_SPLIT_INPUTS])
        units = steps(y->c, unit);
    else
        unit = y->c;
    double cells =
        units * steps(unit, m->array_out.v) * steps(a[CONV_UNIT_INPUTS], m->array_in.v) * taps;
    return array_cost(m, y->n, y->h, y->w, cells, (double)y->c * a[CONV_UNIT_INPUTS] * taps,
                      passes(m, x));
}

/* Where all pairs share one right-hand side the rows are positions, else each pair starts anew. */
static struct cost matmul_cost(const struct machine *m, const struct instruction *i)
{
    const struct tile *y = &i->tiles[0], *a = &i->tiles[1], *b = &i->tiles[2];
    bool shared = b->n == 1 && b->h == 1;
    double cells = steps(y->c, m->array_out.v) * steps(a->c, m->array_in.v);
    double wide = passes(m, a) * passes(m, b);
    return array_cost(m, shared ? y->n : (double)y->n * y->h, shared ? y->h : 1, y->w, cells,
                      (double)y->c * a->c, wide);
}

/* ── other engines ─────────────────────────────────────────────────────────────────────────── */

static double engine_rate(const struct machine *m, enum engine e)
{
    switch (e) {
    case ENGINE_POOL: return m->pool_bytes.v;
    case ENGINE_RESIZE: return m->resize_bytes.v;
    case ENGINE_ELTWISE: return m->eltwise_bytes.v;
    case ENGINE_LUT: return m->lut_bytes.v;
    case ENGINE_REDUCE: return m->reduce_bytes.v;
    case ENGINE_TRANSFORM: return m->transform_bytes.v;
    case ENGINE_HOST: return m->host_bytes.v;
    default: return m->other_bytes.v;
    }
}

/* How often an instruction comes back to each of the bytes that it is counted by. */
static double repeats(const struct instruction *i)
{
    const int32_t *a = i->args;
    switch ((enum opcode)i->op) {
    case OP_CONV:
    case OP_DWCONV:
    case OP_DECONV: /* on HOST */
        return (double)a[CONV_KERNEL_H] * a[CONV_KERNEL_W] * a[CONV_UNIT_INPUTS];
    case OP_MATMUL: return i->tiles[1].c;
    case OP_POOL_MAX: return (double)a[POOL_MAX_KERNEL_H] * a[POOL_MAX_KERNEL_W];
    case OP_POOL_AVG: return (double)a[POOL_AVG_KERNEL_H] * a[POOL_AVG_KERNEL_W];
    case OP_POOL_ADAPTIVE:
        return steps(a[POOL_ADAPTIVE_IN_H], a[POOL_ADAPTIVE_OUT_H]) *
               steps(a[POOL_ADAPTIVE_IN_W], a[POOL_ADAPTIVE_OUT_W]);
    case OP_POOL_POWER: return (double)a[POOL_POWER_KERNEL_H] * a[POOL_POWER_KERNEL_W];
    case OP_RESPONSE_NORM: return a[RESPONSE_NORM_SIZE];
    case OP_LINEAR_REAL: return i->tiles[1].c;
    case OP_RECUR: return a[RECUR_HIDDEN]; /* the product with the state */
    case OP_ATTEND:                        /* scores, and what they weigh, over k's rows */
        return 2.0 * (a[ATTEND_TARGET] == 1 ? i->tiles[2].h : i->tiles[2].w);
    case OP_SORT: {
        const struct tile *x = &i->tiles[1];
        const int32_t extents[] = {x->n, x->h, x->w, x->c};
        int32_t lane = extents[a[SORT_AXIS] & 3];
        return lane > 2 ? ceil(log2(lane)) : 1;
    }
    default: return 1;
    }
}

/* The tile whose bytes count: what is read by reductions, by products with a state and by scores.
 */
static const struct tile *counted_tile(const struct instruction *i, enum engine e)
{
    bool reads =
        i->op == OP_RECUR || i->op == OP_ATTEND || (e == ENGINE_REDUCE && i->tile_count > 1);
    return &i->tiles[reads ? 1 : 0];
}

static struct cost engine_cost(const struct machine *m, const struct instruction *i, enum engine e)
{
    const struct tile *t = counted_tile(i, e);
    double rate = engine_rate(m, e), again = repeats(i);
    double plain = elements(t) * element_bytes(t), padded = padded_bytes(t);
    if (e == ENGINE_POOL && i->tile_count > 1) {
        /* Small windows fill blocks of results, large ones blocks of what they read. */
        const struct tile *x = &i->tiles[1];
        double all = elements(x) * element_bytes(x), taken = plain * again;
        double reads = padded_bytes(x) * (all > 0 && taken > all ? taken / all : 1);
        if (reads < padded * again && reads >= taken)
            padded = reads / again;
    }
    if (i->op == OP_COPY) { /* moves a part of the box */
        double moved = element_bytes(t), all = plain;
        for (int k = 0; k < i->args[COPY_LOOPS] && k < COPY_MAX_LOOPS; k++)
            moved *= i->args[COPY_LOOP(k) + COPY_EXTENT];
        padded = all > 0 ? padded * moved / all : moved;
        plain = moved;
    }
    double start = e == ENGINE_HOST ? m->host_call_cycles.v : m->issue_cycles.v;
    /* The CPU has no blocks. */
    return (struct cost){
        .cycles = start + (e == ENGINE_HOST ? plain : padded) * again / rate,
        .start_cycles = start,
        .useful_cycles = plain * again / rate,
    };
}

/* ── transfers ─────────────────────────────────────────────────────────────────────────────── */

struct axis {
    double count, stride;
};

static double divisor_of(double a, double b)
{
    int64_t x = (int64_t)fabs(a), y = (int64_t)fabs(b);
    while (y) {
        int64_t r = x % y;
        x = y;
        y = r;
    }
    return (double)x;
}

/* Bytes on the bus for `count` runs of `bytes`, `step` apart, from `first`: whole bursts.  Where
 * the step is no multiple of a burst the runs begin at places that are spread evenly. */
static double burst_bytes(double burst, double first, double bytes, double step, double count)
{
    double unit = count > 1 ? divisor_of(step, burst) : burst, at = fmod(first, burst);
    if (unit >= burst)
        return count * steps(at + bytes, burst) * burst;
    unit = divisor_of(divisor_of(unit, first), bytes);
    return count * (bytes + burst - (unit > 0 ? unit : 1));
}

/* Where the block of the box's first element begins; DDR has no rings. */
static int64_t first_block(const struct tile *t)
{
    int64_t bh = t->block_h ? t->block_h : 1, bw = t->block_w ? t->block_w : 1,
            bc = t->block_c ? t->block_c : 1;
    int64_t row = t->h0 + (t->stride_n ? 0 : (int64_t)t->n0 * t->frame_rows);
    return t->base + t->n0 * t->stride_n + row / bh * t->stride_h + t->w0 / bw * t->stride_w +
           t->c0 / bc * t->stride_c;
}

/* The box of a tile in DDR: what lies side by side is one run.  Loads read through gaps that hold
 * no whole burst, stores must not. */
static double box_bytes(const struct machine *m, const struct tile *t, bool stored)
{
    double burst = m->ddr_burst_bytes.v > 0 ? m->ddr_burst_bytes.v : 1, gap = stored ? 0 : burst;
    double frame = t->stride_n ? (double)t->stride_n
                               : (double)t->frame_rows / (t->block_h > 0 ? t->block_h : 1) *
                                     (double)t->stride_h;
    struct axis axes[4] = {
        {blocks(t->c0, t->c, t->block_c), fabs((double)t->stride_c)},
        {blocks(t->w0, t->w, t->block_w), fabs((double)t->stride_w)},
        {blocks(t->h0, t->h, t->block_h), fabs((double)t->stride_h)},
        {t->n, fabs(frame)},
    };
    for (int k = 1; k < 4; k++) { /* nearest first */
        for (int j = k; j > 0 && axes[j].stride < axes[j - 1].stride; j--) {
            struct axis swap = axes[j];
            axes[j] = axes[j - 1];
            axes[j - 1] = swap;
        }
    }
    double run = block_elements(t) * element_bytes(t), count = 1, step = 0;
    if (elements(t) <= 0)
        return 0;
    for (int k = 0; k < 4; k++) {
        if (axes[k].count <= 1)
            continue;
        if (step == 0 && axes[k].stride <= run + gap) {
            run += (axes[k].count - 1) * axes[k].stride;
            continue;
        }
        if (step == 0)
            step = axes[k].stride;
        count *= axes[k].count;
    }
    return burst_bytes(burst, (double)first_block(t), run, step, count);
}

static struct cost transfer_cost(const struct machine *m, const struct instruction *i)
{
    double rate = i->op == OP_STORE ? m->ddr_store_bytes.v : m->ddr_load_bytes.v;
    double bytes = 0, useful = 0;
    for (int k = 0; k < i->tile_count; k++) {
        const struct tile *t = &i->tiles[k];
        if (t->space != SPACE_DDR || t->n == 0)
            continue;
        bytes += box_bytes(m, t, i->op == OP_STORE);
        useful += elements(t) * element_bytes(t);
    }
    return (struct cost){
        .cycles = m->issue_cycles.v + m->ddr_latency_cycles.v + bytes / rate,
        .start_cycles = m->issue_cycles.v + m->ddr_latency_cycles.v,
        .useful_cycles = useful / rate,
        .ddr_bytes = (int64_t)bytes,
    };
}

struct cost instruction_cost(const struct machine *m, const struct instruction *i)
{
    enum engine e = (enum engine)i->engine;
    if (e == ENGINE_HOST)
        return engine_cost(m, i, e);
    switch ((enum opcode)i->op) {
    case OP_LOAD:
    case OP_STORE:
    case OP_LOAD_NV12: return transfer_cost(m, i);
    case OP_CONV:
    case OP_DWCONV:
    case OP_DECONV: return conv_cost(m, i);
    case OP_MATMUL: return matmul_cost(m, i);
    default: return engine_cost(m, i, e);
    }
}
