/* sim_conv: convolution, transposed convolution, and those with one filter per channel.
 *
 *   patch     all of x that one result position meets, side by side: taps, then channels
 *   filters   the weights of each result channel in the same order
 *
 * A sum of products of int16 stays exact in int32 for as many products as their largest values
 * allow; then it goes on in int64. */
#include "core/base/checked.h"
#include "core/sim/sim_conv.h"

/* x of all positions without zero point, channels last; NULL rows of zeros for the padding. */
struct spread {
    const int16_t *x;    /* [n][h][w][c] */
    const int16_t *zero; /* [c] */
    int64_t c;
};

static bool spread_x(const struct sim_conv *v, struct spread *s, struct bpu_error *err)
{
    const struct tile *x = v->x;
    int64_t count, at = 0;
    s->c = x->c;
    if (!checked_mul((int64_t)x->n * x->h, (int64_t)x->w * x->c, &count))
        return sim_bad(v->c, err, "x is too large");
    int16_t *out = arena_reserve(v->c->scratch, (size_t)count * sizeof *out, err);
    int16_t *zero = arena_alloc(v->c->scratch, (size_t)x->c * sizeof *zero, err);
    int32_t *row = arena_reserve(v->c->scratch, (size_t)x->c * sizeof *row, err);
    if (!out || !zero || !row)
        return false;
    for (int64_t i = 0; i < x->n; i++)
        for (int64_t j = 0; j < x->h; j++)
            for (int64_t k = 0; k < x->w; k++, at += x->c) {
                sim_get_channels(v->c, CONV_X, i, j, k, 0, x->c, row);
                for (int64_t l = 0; l < x->c; l++)
                    out[at + l] = (int16_t)row[l];
            }
    s->x = out;
    s->zero = zero;
    return true;
}

/* The most that x without zero point can be in size; 0: more than int16 holds. */
static int64_t largest_x(const struct tile *x)
{
    int64_t lo, hi;
    if (dtype_size((enum dtype)x->dtype) > 2 || x->zero < -65536 || x->zero > 65536)
        return 0;
    sim_range((enum dtype)x->dtype, &lo, &hi);
    lo -= x->zero;
    hi -= x->zero;
    if (lo < INT16_MIN || hi > INT16_MAX)
        return 0;
    return -lo > hi ? -lo : hi;
}

/* 0: more than int16 holds. */
static int64_t largest_weight(const struct sim_conv *v)
{
    int64_t most = 0;
    for (int64_t m = 0; m < v->y->c; m++) {
        int64_t z = v->records[m][RECORD_ZERO];
        int64_t size = (z < 0 ? -z : z) + 128;
        most = size > most ? size : most;
    }
    return most <= INT16_MAX ? most : 0;
}

/* ── one filter for all channels of a unit ── */

/* Products per int32 sum: a multiple of 8. */
static int64_t exact_length(int64_t x, int64_t w)
{
    return INT32_MAX / (x * w) / 8 * 8;
}

/* filters[m][tap][input], padded with zeros to `length`. */
static int16_t *spread_filters(const struct sim_conv *v, int64_t length, struct bpu_error *err)
{
    int64_t size;
    if (!checked_mul(length, v->y->c, &size)) {
        sim_bad(v->c, err, "the weights are too large");
        return NULL;
    }
    int16_t *out = arena_reserve(v->c->scratch, (size_t)size * sizeof *out, err);
    for (int64_t m = 0; out && m < v->y->c; m++) {
        int64_t in_unit = m % v->unit_channels, zero = v->records[m][RECORD_ZERO];
        int64_t plane = v->in_blocks * v->out_block * v->in_block; /* bytes of a tap */
        const signed char *p =
            (const signed char *)v->weights + m / v->unit_channels * v->unit_bytes +
            RECORD_BYTES * v->unit_channels + in_unit / v->out_block * v->taps * plane +
            in_unit % v->out_block * v->in_block;
        int16_t *to = out + m * length;
        for (int64_t t = 0; t < v->taps; t++, p += plane) {
            const signed char *block = p;
            for (int64_t l = 0; l < v->unit_inputs; block += v->out_block * v->in_block)
                for (int64_t e = 0; e < v->in_block && l < v->unit_inputs; e++, l++)
                    *to++ = (int16_t)(block[e] - zero);
        }
        memset(to, 0, (size_t)(out + (m + 1) * length - to) * sizeof *to);
    }
    return out;
}

/* Four filters at once; length is a multiple of 8. */
static void dot4(const int16_t *restrict x, const int16_t *restrict w, int64_t step, int64_t length,
                 int32_t out[4])
{
    const int16_t *w0 = w, *w1 = w + step, *w2 = w1 + step, *w3 = w2 + step;
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (int64_t i = 0; i < length; i++) {
        a += x[i] * w0[i];
        b += x[i] * w1[i];
        c += x[i] * w2[i];
        d += x[i] * w3[i];
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

static int32_t dot1(const int16_t *restrict x, const int16_t *restrict w, int64_t length)
{
    int32_t a = 0;
    for (int64_t i = 0; i < length; i++)
        a += x[i] * w[i];
    return a;
}

static void dots(const int16_t *x, const int16_t *filters, int64_t step, int64_t length,
                 int64_t exact, int64_t count, int64_t *sum)
{
    int64_t m = 0;
    for (; m + 4 <= count; m += 4) {
        int64_t s[4] = {0};
        for (int64_t i = 0; i < length; i += exact) {
            int32_t part[4];
            dot4(x + i, filters + m * step + i, step, length - i < exact ? length - i : exact,
                 part);
            for (int q = 0; q < 4; q++)
                s[q] += part[q];
        }
        memcpy(sum + m, s, sizeof s);
    }
    for (; m < count; m++) {
        sum[m] = 0;
        for (int64_t i = 0; i < length; i += exact)
            sum[m] += dot1(x + i, filters + m * step + i, length - i < exact ? length - i : exact);
    }
}

/* rows, columns: by tap, -1 in the padding. */
static void patch(const struct sim_conv *v, const struct spread *s, int64_t frame,
                  const int64_t *rows, const int64_t *columns, int64_t first, int16_t *out)
{
    size_t bytes = (size_t)v->unit_inputs * sizeof *out;
    for (int64_t i = 0; i < v->kernel_h; i++) {
        if (rows[i] < 0) {
            memset(out, 0, bytes * (size_t)v->kernel_w);
            out += v->unit_inputs * v->kernel_w;
            continue;
        }
        const int16_t *row = s->x + (frame * v->x->h + rows[i]) * v->x->w * s->c + first;
        for (int64_t j = 0; j < v->kernel_w; j++, out += v->unit_inputs) {
            if (columns[j] < 0)
                memset(out, 0, bytes);
            else
                memcpy(out, row + columns[j] * s->c, bytes);
        }
    }
}

static int64_t *columns_of(const struct sim_conv *v, struct bpu_error *err)
{
    int64_t size;
    if (!checked_mul(v->y->w, v->kernel_w, &size)) {
        sim_bad(v->c, err, "the kernel is too large");
        return NULL;
    }
    int64_t *at = arena_reserve(v->c->scratch, (size_t)size * sizeof *at, err);
    for (int64_t k = 0; at && k < v->y->w; k++)
        for (int64_t j = 0; j < v->kernel_w; j++)
            at[k * v->kernel_w + j] = sim_conv_source(v, k, j, true);
    return at;
}

static bool dense(const struct sim_conv *v, int64_t exact, struct bpu_error *err)
{
    struct arena *a = v->c->scratch;
    int64_t length, channels = v->a[CONV_SPLIT_INPUTS] ? v->unit_channels : v->y->c;
    struct spread s;
    if (!checked_mul(v->taps, v->unit_inputs, &length) || length > INT32_MAX)
        return sim_bad(v->c, err, "the kernel is too large");
    length = (length + 7) / 8 * 8;
    int16_t *filters = spread_filters(v, length, err);
    int16_t *in = filters ? arena_alloc(a, (size_t)length * sizeof *in, err) : NULL;
    int64_t *sum = in ? arena_reserve(a, (size_t)v->y->c * sizeof *sum, err) : NULL;
    int64_t *rows = sum ? arena_reserve(a, (size_t)v->kernel_h * sizeof *rows, err) : NULL;
    const int64_t *columns = rows ? columns_of(v, err) : NULL;
    if (!columns || !spread_x(v, &s, err))
        return false;
    for (int64_t i = 0; i < v->y->n; i++)
        for (int64_t j = 0; j < v->y->h; j++) {
            for (int64_t t = 0; t < v->kernel_h; t++)
                rows[t] = sim_conv_source(v, j, t, false);
            for (int64_t k = 0; k < v->y->w; k++) {
                for (int64_t m = 0; m < v->y->c; m += channels) {
                    int64_t count = v->y->c - m < channels ? v->y->c - m : channels;
                    patch(v, &s, i, rows, columns + k * v->kernel_w, sim_conv_first(v, m), in);
                    dots(in, filters + m * length, length, length, exact, count, sum + m);
                }
                if (!sim_conv_finish(v, i, j, k, 0, v->y->c, sum, err))
                    return false;
            }
        }
    return true;
}

/* ── one filter per channel ── */

/* sum += x * w, by channel. */
static void multiply(const int16_t *restrict x, const int16_t *restrict w, int64_t count,
                     int32_t *restrict sum)
{
    for (int64_t m = 0; m < count; m++)
        sum[m] += x[m] * w[m];
}

/* filters[tap][m] */
static int16_t *spread_depthwise(const struct sim_conv *v, struct bpu_error *err)
{
    int64_t size;
    if (!checked_mul(v->taps, v->y->c, &size)) {
        sim_bad(v->c, err, "the weights are too large");
        return NULL;
    }
    int16_t *out = arena_reserve(v->c->scratch, (size_t)size * sizeof *out, err), *to = out;
    for (int64_t i = 0; out && i < v->kernel_h; i++)
        for (int64_t j = 0; j < v->kernel_w; j++)
            for (int64_t m = 0; m < v->y->c; m++)
                *to++ = (int16_t)sim_conv_weight(v, m, i, j, 0);
    return out;
}

static bool depthwise(const struct sim_conv *v, struct bpu_error *err)
{
    struct arena *a = v->c->scratch;
    int64_t channels = v->y->c;
    struct spread s;
    int16_t *filters = spread_depthwise(v, err);
    int32_t *part = filters ? arena_reserve(a, (size_t)channels * sizeof *part, err) : NULL;
    int64_t *sum = part ? arena_reserve(a, (size_t)channels * sizeof *sum, err) : NULL;
    const int64_t *columns = sum ? columns_of(v, err) : NULL;
    if (!columns || !spread_x(v, &s, err))
        return false;
    for (int64_t i = 0; i < v->y->n; i++)
        for (int64_t j = 0; j < v->y->h; j++)
            for (int64_t k = 0; k < v->y->w; k++) {
                memset(part, 0, (size_t)channels * sizeof *part);
                for (int64_t t = 0; t < v->kernel_h; t++) {
                    int64_t row = sim_conv_source(v, j, t, false);
                    for (int64_t u = 0; row >= 0 && u < v->kernel_w; u++) {
                        int64_t column = columns[k * v->kernel_w + u];
                        if (column >= 0)
                            multiply(s.x + ((i * v->x->h + row) * v->x->w + column) * s.c,
                                     filters + (t * v->kernel_w + u) * channels, channels, part);
                    }
                }
                for (int64_t m = 0; m < channels; m++)
                    sum[m] = part[m];
                if (!sim_conv_finish(v, i, j, k, 0, channels, sum, err))
                    return false;
            }
    return true;
}

/* ── any types ── */

static bool sum_at(const struct sim_conv *v, int64_t i, int64_t j, int64_t k, int64_t m,
                   int64_t *out)
{
    int64_t first = sim_conv_first(v, m), sum = 0, product;
    for (int64_t t = 0; t < v->kernel_h; t++) {
        int64_t row = sim_conv_source(v, j, t, false);
        for (int64_t u = 0; row >= 0 && u < v->kernel_w; u++) {
            int64_t column = sim_conv_source(v, k, u, true);
            for (int64_t l = 0; column >= 0 && l < v->unit_inputs; l++) {
                int64_t x = sim_get(v->c, CONV_X, i, row, column, first + l) - v->x->zero;
                x = arith_clamp(x, INT32_MIN, INT32_MAX);
                if (!checked_mul(x, sim_conv_weight(v, m, t, u, l), &product) ||
                    !checked_add(sum, product, &sum))
                    return false;
            }
        }
    }
    *out = sum;
    return true;
}

static bool element_by_element(const struct sim_conv *v, struct bpu_error *err)
{
    for (int64_t i = 0; i < v->y->n; i++)
        for (int64_t j = 0; j < v->y->h; j++)
            for (int64_t k = 0; k < v->y->w; k++)
                for (int64_t m = 0; m < v->y->c; m++) {
                    int64_t sum;
                    if (!sum_at(v, i, j, k, m, &sum))
                        return sim_bad(v->c, err, "a sum leaves 64 bits");
                    if (!sim_conv_finish(v, i, j, k, m, 1, &sum, err))
                        return false;
                }
    return true;
}

static bool run(struct sim_call *c, bool is_depthwise, bool transposed, struct bpu_error *err)
{
    struct sim_conv v;
    if (!sim_conv_init(c, is_depthwise, transposed, &v, err))
        return false;
    int64_t x = largest_x(v.x), w = largest_weight(&v), exact = x && w ? exact_length(x, w) : 0;
    if (is_depthwise)
        return exact && v.taps <= exact ? depthwise(&v, err) : element_by_element(&v, err);
    return exact ? dense(&v, exact, err) : element_by_element(&v, err);
}

bool sim_CONV(struct sim_call *c, struct bpu_error *err)
{
    return run(c, false, false, err);
}

bool sim_DWCONV(struct sim_call *c, struct bpu_error *err)
{
    return run(c, true, false, err);
}

bool sim_DECONV(struct sim_call *c, struct bpu_error *err)
{
    return run(c, false, true, err);
}
