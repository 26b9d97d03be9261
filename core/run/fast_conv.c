/* fast_conv: convolutions and linear layers as products of matrices.
 *
 *   rows: results (pixels)      depth: taps x channels of a group      columns: output channels
 *
 * The channels of a pixel lie together, and so does each run of taps along a row of the image: the rows of
 * a tile are copied from there (im2col, a tile at a time, so that they stay in the cache), and a 1x1
 * convolution reads its input where it is.  Depthwise convolutions have a kernel of their own. */
#include <stdlib.h>
#include <string.h>

#include "core/run/fast_kernels.h"
#include "core/run/fast_layout.h"
#include "core/run/fixed_tail.h"

enum { TILE_BYTES = 32 << 10, TILE_ROWS = 12, COPY = 64, MOST_DEPTH = 1 << 22, MOST_SIDE = 1 << 15 };

/* A fixed_axis in a quarter of its memory. */
struct axis {
    int64_t out, kernel;
    const int16_t *at;
};

struct fast_conv {
    const struct fast_kernels *k;
    struct fixed_map x, y;
    struct axis h, w;
    const int16_t *run; /* by result along the width: first input column if its taps lie together, else -1 */
    int64_t groups, in_group, out_group;
    int depth, taps; /* depth: padded to FAST_CHANNELS */
    char *weights;   /* packed, by group */
    size_t weights_of_group; /* bytes */
    struct fast_requant q;
    struct requant requant; /* of results that are not of 8 bits */
    uint8_t zero;
    const uint8_t *zeros; /* one pixel of padding */
    bool direct;          /* rows are read where they are */
    int tile;             /* rows at a time */
};

/* ── preparing ── */

/* Of channels `from` .. `from + count - 1` of one group, rows of taps x channels without zero points.
 * False: some do not fit int8.  Weights are not aligned, and bytes (suits()). */
static bool take_weights(const struct fast_conv *v, const struct tensor *w, int64_t group, int64_t from,
                         int64_t count, bool io, int8_t *rows)
{
    const unsigned char *data = w->data;
    bool is_signed = w->dtype == DT_QINT8;
    memset(rows, 0, (size_t)(count * v->depth));
    for (int64_t m = 0; m < count; m++) {
        int64_t channel = group * v->out_group + from + m;
        int64_t zero = requant_weight_zero(&w->quant, channel);
        int8_t *row = rows + m * v->depth;
        const unsigned char *first = io ? data + channel : data + channel * v->in_group * v->taps;
        int64_t tap = io ? 0 : 1, step = io ? v->out_group : v->taps;
        for (int64_t c = 0; c < v->in_group; c++)
            for (int64_t t = 0; t < v->taps; t++) {
                unsigned char byte = first[c * step + t * tap];
                int64_t q = (is_signed ? (int8_t)byte : byte) - zero;
                if (q < INT8_MIN || q > INT8_MAX)
                    return false;
                row[t * v->in_group + c] = (int8_t)q;
            }
    }
    return true;
}

/* Bias of `count` channels from `first` with the input's zero point in it.  False: sums or products may
 * leave int32. */
static bool take_bias(const struct fast_conv *v, const struct fixed_tail *tail, int32_t zero,
                      int64_t first, int64_t count, const int8_t *rows, int32_t *bias)
{
    for (int64_t m = 0; m < count; m++) {
        int64_t channel = first + m, sum = 0, magnitude = 0;
        for (int k = 0; k < v->depth; k++) {
            sum += rows[m * v->depth + k];
            magnitude += abs(rows[m * v->depth + k]);
        }
        int64_t b = (tail->bias ? tail->bias[channel] : 0) - zero * sum;
        int64_t bound = llabs(b) + 255 * magnitude;
        if (bound >= INT32_MAX ||
            (v->q.real && (double)bound * (double)v->q.real[channel] >= 0x1p30))
            return false;
        bias[channel] = (int32_t)b;
    }
    return true;
}

static bool is_depthwise(const struct fast_conv *v)
{
    return v->in_group == 1 && v->out_group == 1 && v->groups > 1;
}

/* One number per channel.  Kernels read whole blocks, which begin at any channel where there are groups. */
static void *padded_copy(struct arena *a, const struct fast_conv *v, const void *from,
                         struct bpu_error *err)
{
    int64_t count = v->groups * v->out_group;
    size_t whole = ((size_t)count + FAST_BLOCK - 1) / FAST_BLOCK * FAST_BLOCK;
    size_t room = v->groups == 1 || is_depthwise(v) ? whole : (size_t)count + FAST_BLOCK;
    char *p = arena_alloc(a, room * 4, err);
    if (p && from)
        memcpy(p, from, (size_t)count * 4);
    return p;
}

/* Packs a block of channels at a time, so that no second copy of all weights is needed.  *ok false: this
 * node is not for here. io: weight of a linear layer as (in, out). */
static bool pack(struct arena *a, const struct kernel_call *c, struct fast_conv *v, bool io,
                 const struct fixed_tail *tail, int32_t *bias, bool *ok, struct bpu_error *err)
{
    const struct tensor *w = kernel_param(c, "weight");
    bool depthwise = is_depthwise(v);
    int64_t block = depthwise || v->out_group < FAST_BLOCK ? v->out_group : FAST_BLOCK;
    v->weights_of_group = depthwise ? 0 : v->k->gemm_bytes(v->depth, (int)v->out_group);
    size_t packed = depthwise ? v->k->depthwise_bytes(v->taps, (int)v->groups)
                              : v->weights_of_group * (size_t)v->groups;
    v->weights = arena_alloc(a, packed + FAST_SLACK, err);
    int8_t *rows = arena_reserve(c->scratch, (size_t)(block * v->depth), err);
    int8_t *taps = depthwise ? arena_reserve(c->scratch, (size_t)(v->groups * v->taps), err) : rows;
    if (!rows || !v->weights || !taps)
        return false;
    v->weights += (FAST_SLACK - (uintptr_t)v->weights % FAST_SLACK) % FAST_SLACK;
    for (int64_t g = 0; g < v->groups; g++)
        for (int64_t m = 0; m < v->out_group; m += block) {
            int64_t count = v->out_group - m < block ? v->out_group - m : block;
            if (!take_weights(v, w, g, m, count, io, rows) ||
                !take_bias(v, tail, v->zero, g * v->out_group + m, count, rows, bias))
                return true;
            if (depthwise)
                memcpy(taps + g * v->taps, rows, (size_t)v->taps);
            else
                v->k->gemm_pack(rows, v->depth, (int)count,
                                v->weights + (size_t)g * v->weights_of_group +
                                    v->k->gemm_offset(v->depth, (int)m));
        }
    if (depthwise)
        v->k->depthwise_pack(taps, v->taps, (int)v->groups, v->weights);
    *ok = true;
    return true;
}

/* Multipliers and weights. */
static bool take_parameters(struct arena *a, const struct kernel_call *c, struct fast_conv *v, bool io,
                            bool *ok, struct bpu_error *err)
{
    const struct tensor *w = kernel_param(c, "weight"), *r = kernel_in(c, 1);
    struct tensor *y = c->out[0];
    int64_t channels = v->groups * v->out_group;
    bool inside = fast_is_inside(c->node->outputs[0]);
    struct kernel_call kept = *c;
    struct fixed_tail tail;
    *ok = false;
    if (!inside)
        kept.scratch = a; /* results that leave the engine are requantized by the reference */
    if (!fixed_tail_init(&kept, &w->quant, channels, r, &tail, err))
        return false;
    const struct requant *q = &tail.requant;
    int32_t out = fast_offset(y->dtype);
    if (inside && !q->real && !q->residual)
        return true;
    int32_t *bias = padded_copy(a, v, NULL, err);
    v->q = (struct fast_requant){
        .bias = bias,
        .real = inside && q->real ? padded_copy(a, v, q->real, err) : NULL,
        .mantissa = inside && r ? padded_copy(a, v, q->multiplier, err) : NULL,
        .shift = inside && r ? padded_copy(a, v, q->shift, err) : NULL,
        .residual_mantissa = inside && r ? padded_copy(a, v, q->residual, err) : NULL,
        .residual_zero_point = r ? q->residual_zero + fast_offset(r->dtype) : 0,
        .zero_point = q->zero + out,
        .lo = q->lo + out,
        .hi = q->hi + out};
    if (err->code)
        return false;
    v->requant = *q;
    v->zero = (uint8_t)(tensor_zero_point(c->in[0], 0) + fast_offset(c->in[0]->dtype));
    return pack(a, c, v, io, &tail, bias, ok, err);
}

static bool take_axis(struct arena *a, const struct fixed_axis *from, struct axis *to,
                      struct bpu_error *err)
{
    int64_t count = from->out * from->kernel;
    int16_t *at = ARENA_ARRAY(a, int16_t, count, err);
    for (int64_t i = 0; at && i < count; i++)
        at[i] = (int16_t)from->at[i];
    *to = (struct axis){from->out, from->kernel, at};
    return at != NULL;
}

/* Where the taps of a result along the width begin, if they lie side by side. */
static const int16_t *find_runs(struct arena *a, const struct axis *w, struct bpu_error *err)
{
    int16_t *run = ARENA_ARRAY(a, int16_t, w->out, err);
    for (int64_t o = 0; run && o < w->out; o++) {
        const int16_t *at = w->at + o * w->kernel;
        run[o] = at[0];
        for (int64_t t = 0; t < w->kernel; t++)
            if (at[t] < 0 || at[t] != at[0] + t)
                run[o] = -1;
    }
    return run;
}

/* ── running ── */

/* Copies in whole pieces; up to COPY - 1 bytes more are read and written.  Few bytes, as the taps of an
 * image of three colours are, take one or two moves. */
static inline void copy_over(uint8_t *to, const uint8_t *from, size_t n)
{
    if (n <= COPY / 2) {
        memcpy(to, from, COPY / 4);
        if (n > COPY / 4)
            memcpy(to + COPY / 4, from + COPY / 4, COPY / 4);
        return;
    }
    for (size_t i = 0; i < n; i += COPY)
        memcpy(to + i, from + i, COPY);
}

/* The products' operands of results `from` .. `from + rows - 1` of group g. x: the frame. */
static void fill_rows(const struct fast_conv *v, const uint8_t *x, int64_t g, int64_t from, int rows,
                      uint8_t *out)
{
    const struct axis *h = &v->h, *w = &v->w;
    size_t pixel = (size_t)v->x.channels, piece = (size_t)v->in_group;
    size_t line_bytes = (size_t)v->x.size[2] * pixel, whole = (size_t)w->kernel * piece;
    int64_t oy = from / w->out, ox = from % w->out;
    x += (size_t)g * piece;
    for (int r = 0; r < rows; r++, out += v->depth) {
        const int16_t *rows_at = h->at + oy * h->kernel, *columns = w->at + ox * w->kernel;
        int first = v->groups == 1 ? v->run[ox] : -1;
        uint8_t *to = out;
        for (int64_t i = 0; i < h->kernel; i++) {
            const uint8_t *line = rows_at[i] < 0 ? NULL : x + (size_t)rows_at[i] * line_bytes;
            if (line && first >= 0) {
                copy_over(to, line + (size_t)first * pixel, whole);
                to += whole;
                continue;
            }
            for (int64_t j = 0; j < w->kernel; j++, to += piece)
                copy_over(to, line && columns[j] >= 0 ? line + (size_t)columns[j] * pixel : v->zeros,
                          piece);
        }
        if (++ox == w->out) {
            ox = 0;
            oy++;
        }
    }
}

/* Results that are not of 8 bits: through sums, one by one. */
static void store_sums(const struct fast_conv *v, struct tensor *y, int64_t n, int64_t channel,
                       int channels, int64_t from, int rows, const int32_t *sums)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < channels; c++)
            tensor_store_int(y, (n * v->y.channels + channel + c) * v->y.plane + from + r,
                             requant_apply(&v->requant, channel + c, sums[r * FAST_BLOCK + c], 0));
}

static bool run_conv(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct fast_conv *v = state;
    bool inside = fast_is_inside(c->node->outputs[0]);
    const struct tensor *residual = kernel_in(c, 1);
    uint8_t *rows = NULL;
    int32_t *sums = NULL;
    size_t width = (size_t)v->y.channels;
    if (!v->direct &&
        !(rows = arena_reserve(c->scratch, (size_t)v->tile * (size_t)v->depth + 2 * COPY, err)))
        return false;
    if (!inside &&
        !(sums = arena_reserve(c->scratch, (size_t)v->tile * FAST_BLOCK * sizeof *sums, err)))
        return false;
    for (int64_t n = 0; n < v->x.batch; n++)
        for (int64_t g = 0; g < v->groups; g++)
            for (int64_t from = 0; from < v->y.plane; from += v->tile) {
                int count = (int)(v->y.plane - from < v->tile ? v->y.plane - from : v->tile);
                const uint8_t *x = (const uint8_t *)c->in[0]->data + n * v->x.channels * v->x.plane;
                struct fast_gemm m = {.a = rows, .lda = (size_t)v->depth, .rows = count,
                                      .depth = v->depth, .q = &v->q, .ldo = width, .sums = sums,
                                      .lds = FAST_BLOCK, .ldr = width};
                if (rows) {
                    fill_rows(v, x, g, from, count, rows);
                } else { /* direct */
                    m.a = x + from * v->x.channels;
                    m.lda = (size_t)v->x.channels;
                }
                for (int64_t b = 0; b < v->out_group; b += FAST_BLOCK) {
                    size_t at = (size_t)((n * v->y.plane + from) * v->y.channels + g * v->out_group + b);
                    m.b = v->weights + (size_t)g * v->weights_of_group +
                          v->k->gemm_offset(v->depth, (int)b);
                    m.channel = (int)(g * v->out_group + b);
                    m.channels = (int)(v->out_group - b < FAST_BLOCK ? v->out_group - b : FAST_BLOCK);
                    m.out = inside ? (uint8_t *)c->out[0]->data + at : NULL;
                    m.residual = residual ? (const uint8_t *)residual->data + at : NULL;
                    v->k->gemm(&m);
                    if (!inside)
                        store_sums(v, c->out[0], n, m.channel, m.channels, from, count, sums);
                }
            }
    return true;
}

static bool run_depthwise(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct fast_conv *v = state;
    const struct axis *h = &v->h, *w = &v->w;
    size_t channels = (size_t)v->groups, count = (size_t)(w->out * v->taps);
    const uint8_t **in = arena_reserve(c->scratch, count * sizeof *in, err);
    if (!in)
        return false;
    for (int64_t n = 0; n < v->x.batch; n++) {
        const uint8_t *x = (const uint8_t *)c->in[0]->data + n * v->x.channels * v->x.plane;
        uint8_t *y = (uint8_t *)c->out[0]->data + n * v->y.channels * v->y.plane;
        for (int64_t oy = 0; oy < h->out; oy++) {
            for (int64_t i = 0; i < h->kernel; i++) {
                int iy = h->at[oy * h->kernel + i];
                const uint8_t *line = x + (size_t)(iy < 0 ? 0 : iy * v->x.size[2]) * channels;
                const uint8_t **p = in + i * w->kernel;
                for (int64_t ox = 0; ox < w->out; ox++, p += v->taps)
                    for (int64_t j = 0; j < w->kernel; j++) {
                        int ix = iy < 0 ? -1 : w->at[ox * w->kernel + j];
                        p[j] = ix < 0 ? v->zeros : line + (size_t)ix * channels;
                    }
            }
            v->k->depthwise(&(struct fast_depthwise){in, v->taps, (int)w->out, (int)channels,
                                                     v->weights, &v->q,
                                                     y + (size_t)(oy * w->out) * channels, channels});
        }
    }
    return true;
}

/* ── which nodes ── */

/* A quantized weight whose content is there, and operands that the engine holds. */
static bool suits(const struct kernel_call *c)
{
    const struct node *n = c->node;
    const struct tensor *w = kernel_param(c, "weight"), *r = kernel_in(c, 1);
    const struct tensor *y = fixed_out(c, 0);
    return y && w && w->data && c->in[0] && fast_is_inside(n->inputs[0]) &&
           c->in[0]->quant.count == 1 && (w->dtype == DT_QINT8 || w->dtype == DT_QUINT8) &&
           (fast_is_inside(n->outputs[0]) ||
            (!r && (y->dtype == DT_QINT32 || y->dtype == DT_QINT16))) &&
           (!r || (fast_is_inside(n->inputs[1]) && shape_equal(&r->shape, &y->shape)));
}

static bool finish(struct arena *a, const struct kernel_call *c, struct fast_conv *v, bool io,
                   struct fast_kernel *out, struct bpu_error *err)
{
    bool ok;
    if (!take_parameters(a, c, v, io, &ok, err))
        return false;
    if (!ok)
        return true;
    size_t pixel = (size_t)v->x.channels + 2 * COPY;
    uint8_t *zeros = v->direct ? NULL : arena_alloc(a, pixel, err);
    if (!v->direct && !zeros)
        return false;
    if (zeros)
        memset(zeros, v->zero, pixel);
    v->zeros = zeros;
    int most = TILE_BYTES / v->depth / TILE_ROWS * TILE_ROWS;
    v->tile = most < TILE_ROWS ? TILE_ROWS : most;
    if (v->tile > v->y.plane)
        v->tile = (int)v->y.plane;
    *out = (struct fast_kernel){is_depthwise(v) ? run_depthwise : run_conv, v};
    return true;
}

bool fast_prepare_conv(struct arena *a, const struct kernel_call *c, const char *variant,
                       struct fast_kernel *out, struct bpu_error *err)
{
    if (strcmp(kernel_of(c->node)->name, "conv") != 0 || !suits(c) || c->in[0]->shape.rank != 4)
        return true;
    struct fast_conv *v = ARENA_NEW(a, struct fast_conv, err);
    struct fixed_axis axis[FIXED_SPATIAL];
    if (!v || !fixed_axes(c, FIXED_CONV, &v->x, &v->y, axis, err))
        return false;
    const struct fixed_axis *h = &axis[1], *w = &axis[2];
    int64_t depth;
    v->k = fast_kernels_find(variant);
    v->groups = node_int(c->node, "groups", 1);
    if (!v->k || v->groups < 1 || v->x.channels % v->groups || v->y.channels % v->groups ||
        h->in > MOST_SIDE || w->in > MOST_SIDE)
        return true;
    v->in_group = v->x.channels / v->groups;
    v->out_group = v->y.channels / v->groups;
    v->taps = (int)(h->kernel * w->kernel);
    depth = (v->taps * v->in_group + FAST_CHANNELS - 1) / FAST_CHANNELS * FAST_CHANNELS;
    if (depth > MOST_DEPTH || v->y.channels > MOST_DEPTH ||
        (is_depthwise(v) && (kernel_in(c, 1) || !fast_is_inside(c->node->outputs[0]))))
        return true;
    v->depth = (int)depth;
    v->direct = v->groups == 1 && v->taps == 1 && h->out == h->in && w->out == w->in &&
                h->at[0] == 0 && w->at[0] == 0 && (h->out < 2 || h->at[1] == 1) &&
                (w->out < 2 || w->at[1] == 1);
    if (!v->direct && (!take_axis(a, h, &v->h, err) || !take_axis(a, w, &v->w, err) ||
                       !(v->run = find_runs(a, &v->w, err))))
        return false;
    return finish(a, c, v, false, out, err);
}

bool fast_prepare_linear(struct arena *a, const struct kernel_call *c, const char *variant,
                         struct fast_kernel *out, struct bpu_error *err)
{
    if (strcmp(kernel_of(c->node)->name, "linear") != 0 || !suits(c))
        return true;
    const struct tensor *x = c->in[0], *w = kernel_param(c, "weight"), *y = c->out[0];
    struct shape rows = {.rank = 2};
    bool io = strcmp(node_string(c->node, "weight_layout", "oi"), "io") == 0;
    if (w->shape.rank != 2 || x->shape.rank < 1)
        return true;
    int64_t k = w->shape.dim[!io], channels = w->shape.dim[io];
    if (k < 1 || channels < 1 || k > MOST_DEPTH || channels > MOST_DEPTH ||
        x->shape.dim[x->shape.rank - 1] != k || !fast_same_order(&x->shape, &rows) ||
        !fast_same_order(&y->shape, &rows))
        return true;
    struct fast_conv *v = ARENA_NEW(a, struct fast_conv, err);
    if (!v)
        return false;
    int64_t count = shape_elements(&x->shape) / k;
    v->k = fast_kernels_find(variant);
    v->groups = 1;
    v->in_group = k;
    v->out_group = channels;
    v->taps = 1;
    v->depth = (int)((k + FAST_CHANNELS - 1) / FAST_CHANNELS * FAST_CHANNELS);
    v->x = (struct fixed_map){1, k, {1, 1, count}, count};
    v->y = (struct fixed_map){1, channels, {1, 1, count}, count};
    v->direct = true;
    /* Results that leave the engine are stored by channel and pixel: right for one row only. */
    if (!v->k || (!fast_is_inside(c->node->outputs[0]) && count != 1))
        return true;
    return finish(a, c, v, io, out, err);
}
