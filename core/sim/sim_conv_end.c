/* sim_conv_end: the arguments of a convolution, and the end of its sums. */
#include "core/base/checked.h"
#include "core/sim/sim_conv.h"

static bool arguments(struct sim_conv *v, struct bpu_error *err)
{
    const int32_t *a = v->a;
    for (int i = CONV_KERNEL_H; i <= CONV_DILATION_W; i++)
        if (a[i] < 1 || a[i] > 1 << 20)
            return sim_bad(v->c, err, "a kernel, stride or dilation of %d", a[i]);
    v->kernel_h = a[CONV_KERNEL_H];
    v->kernel_w = a[CONV_KERNEL_W];
    v->taps = v->kernel_h * v->kernel_w;
    v->unit_channels = a[CONV_UNIT_CHANNELS];
    v->unit_bytes = a[CONV_UNIT_BYTES];
    v->unit_inputs = v->depthwise ? 1 : a[CONV_UNIT_INPUTS];
    v->out_block = a[CONV_OUT_BLOCK];
    v->in_block = v->depthwise ? 1 : a[CONV_IN_BLOCK];
    v->unfinished = a[CONV_UNFINISHED] != 0;
    v->residual = sim_given(v->c, CONV_RESIDUAL);
    v->sums = sim_given(v->c, CONV_SUMS);
    if (v->unit_channels < 1 || v->unit_bytes < 1 || v->unit_inputs < 1 || v->out_block < 1 ||
        v->in_block < 1 || a[CONV_RULE] < 0 || a[CONV_RULE] > 1)
        return sim_bad(v->c, err,
                       "units of %d channels, %d bytes, %d inputs, blocks %d x %d, rule %d",
                       a[CONV_UNIT_CHANNELS], a[CONV_UNIT_BYTES], a[CONV_UNIT_INPUTS],
                       a[CONV_OUT_BLOCK], a[CONV_IN_BLOCK], a[CONV_RULE]);
    v->in_blocks = (v->unit_inputs + v->in_block - 1) / v->in_block;
    return true;
}

static bool is_sums(const struct tile *t)
{
    return t->dtype == DT_INT32 || t->dtype == DT_INT64 || t->dtype == DT_QINT32;
}

static bool operands(const struct sim_conv *v, struct bpu_error *err)
{
    const struct sim_call *c = v->c;
    if (v->x->n != v->y->n)
        return sim_bad(c, err, "%d frames of x for %d of y", v->x->n, v->y->n);
    if (v->residual && (!sim_same_extents(&c->tiles[CONV_RESIDUAL], v->y) || v->a[CONV_RULE] != 1 ||
                        v->unfinished))
        return sim_bad(c, err, "a residual of another extent, or with a rule that has none");
    if (v->sums &&
        (!sim_same_extents(&c->tiles[CONV_SUMS], v->y) || !is_sums(&c->tiles[CONV_SUMS])))
        return sim_bad(c, err, "sums of another extent or type");
    if (v->unfinished && !is_sums(v->y))
        return sim_bad(c, err, "unfinished sums of type %s", dtype_name((enum dtype)v->y->dtype));
    int64_t last = sim_conv_first(v, v->y->c - 1) + v->unit_inputs;
    if (last > v->x->c)
        return sim_bad(c, err, "%lld input channels are read, x has %d", (long long)last, v->x->c);
    return true;
}

static bool records(struct sim_conv *v, int64_t size, struct bpu_error *err)
{
    int64_t units = (v->y->c + v->unit_channels - 1) / v->unit_channels, bytes, need;
    int64_t blocks = (v->unit_channels + v->out_block - 1) / v->out_block;
    if (!checked_mul(blocks * v->out_block, v->taps, &bytes) ||
        !checked_mul(bytes, v->in_blocks * v->in_block, &bytes) ||
        !checked_add(bytes, RECORD_BYTES * v->unit_channels, &bytes) || bytes > v->unit_bytes ||
        !checked_mul(units - 1, v->unit_bytes, &need) || !checked_add(need, bytes, &need) ||
        need > size)
        return sim_bad(v->c, err, "units need %lld bytes and have %lld; there are %lld for %lld",
                       (long long)bytes, (long long)v->unit_bytes, (long long)size,
                       (long long)units);
    int32_t(*out)[RECORD_COUNT] = arena_reserve(v->c->scratch, (size_t)v->y->c * sizeof *out, err);
    float *real = arena_reserve(v->c->scratch, (size_t)v->y->c * sizeof *real, err);
    if (!out || !real)
        return false;
    for (int64_t m = 0; m < v->y->c; m++) {
        memcpy(out[m],
               v->weights + m / v->unit_channels * v->unit_bytes +
                   m % v->unit_channels * RECORD_BYTES,
               sizeof out[m]);
        if (v->unfinished)
            continue;
        int32_t shift = out[m][RECORD_SHIFT];
        if (shift < 0 || shift > 62 || out[m][RECORD_MANTISSA] < 0)
            return sim_bad(v->c, err, "channel %lld: multiplier %d, shift %d", (long long)m,
                           out[m][RECORD_MANTISSA], shift);
        real[m] = arith_multiplier_real((struct multiplier){out[m][RECORD_MANTISSA], shift});
    }
    v->records = (const int32_t(*)[RECORD_COUNT])out;
    v->real = real;
    return true;
}

bool sim_conv_init(struct sim_call *c, bool depthwise, bool transposed, struct sim_conv *v,
                   struct bpu_error *err)
{
    int64_t size;
    *v = (struct sim_conv){.c = c,
                           .y = &c->tiles[CONV_Y],
                           .x = &c->tiles[CONV_X],
                           .a = c->args,
                           .depthwise = depthwise,
                           .transposed = transposed};
    if (c->tile_count <= CONV_WEIGHTS || !sim_given(c, CONV_X) || !sim_given(c, CONV_WEIGHTS))
        return sim_bad(c, err, "x or the weights are missing");
    v->weights = sim_bytes(c, CONV_WEIGHTS, &size, err);
    return v->weights && arguments(v, err) && operands(v, err) && records(v, size, err);
}

static int64_t finished(const struct sim_conv *v, int64_t m, int64_t acc, int64_t residual)
{
    const int32_t *r = v->records[m];
    int32_t a = arith_clamp(acc, INT32_MIN, INT32_MAX);
    struct multiplier scale = {r[RECORD_MANTISSA], r[RECORD_SHIFT]};
    if (v->residual)
        return arith_requantize_sum(a, scale, arith_clamp(residual, INT32_MIN, INT32_MAX),
                                    r[RECORD_RESIDUAL]);
    return v->a[CONV_RULE] ? arith_requantize(a, scale) : arith_requantize_binary32(a, v->real[m]);
}

bool sim_conv_finish(const struct sim_conv *v, int64_t i, int64_t j, int64_t k, int64_t first,
                     int64_t count, const int64_t *sum, struct bpu_error *err)
{
    struct sim_call *c = v->c;
    const struct tile *y = v->y, *r = v->residual ? &c->tiles[CONV_RESIDUAL] : NULL;
    int32_t low = v->a[CONV_LOW], high = v->a[CONV_HIGH];
    enum dtype type = (enum dtype)y->dtype;
    unsigned char *p = c->memory[CONV_Y] + c->rows[CONV_Y][i * y->h + j] + c->columns[CONV_Y][k];
    for (int64_t l = 0; l < count; l++) {
        int64_t m = first + l, acc = sum[l];
        if (v->sums && !checked_add(acc, sim_get(c, CONV_SUMS, i, j, k, m), &acc))
            return sim_bad(c, err, "the sum of channel %lld leaves 64 bits", (long long)m);
        unsigned char *to = p + c->channels[CONV_Y][m];
        if (v->unfinished) {
            if (type != DT_INT64 && acc != (int32_t)acc)
                return sim_bad(c, err, "the unfinished sum %lld of channel %lld leaves 32 bits",
                               (long long)acc, (long long)m);
            sim_save(to, type, acc);
            continue;
        }
        int64_t q = finished(v, m, acc + v->records[m][RECORD_BIAS],
                             r ? sim_get(c, CONV_RESIDUAL, i, j, k, m) - r->zero : 0);
        sim_save(to, type, arith_clamp(q + y->zero, low, high));
    }
    return true;
}
