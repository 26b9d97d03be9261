/* fast_pool: maximum and average over windows, mean and sum over the whole plane: all channels of a
 * pixel at once. */
#include <string.h>

#include "core/run/fast_kernels.h"
#include "core/run/fast_layout.h"
#include "core/run/fixed.h"
#include "core/run/fixed_pool.h"

struct fast_pool {
    const struct fast_kernels *k;
    struct fixed_map x, y;
    struct fixed_axis axis[FIXED_SPATIAL];
    struct fixed_scale from, to;
    uint8_t rescale[256]; /* of a maximum whose result has another scale */
    bool same;
    /* of averages: the divisor of a window is that of its row times that of its column */
    struct fixed_divisors divisors;
    bool adaptive;
    struct fixed_multiplier multiplier;
    int64_t multiplier_of; /* n that multiplier is for */
};

/* Pointers to the pixels of a window, NULL-free; returns how many. */
static int64_t window(const struct fast_pool *p, const uint8_t *x, int64_t oy, int64_t ox,
                      const uint8_t **out)
{
    const struct fixed_axis *h = &p->axis[1], *w = &p->axis[2];
    int64_t n = 0;
    for (int64_t i = 0; i < h->kernel; i++) {
        int64_t iy = h->at[oy * h->kernel + i];
        for (int64_t j = 0; iy >= 0 && j < w->kernel; j++) {
            int64_t ix = w->at[ox * w->kernel + j];
            if (ix >= 0)
                out[n++] = x + (iy * p->x.size[2] + ix) * p->x.channels;
        }
    }
    return n;
}

static void maximum(const struct fast_pool *p, const uint8_t *const *in, int64_t n, uint8_t *y)
{
    size_t channels = (size_t)p->x.channels;
    if (n == 0)
        memset(y, 0, channels); /* the lowest stored integer */
    else
        memcpy(y, in[0], channels);
    for (int64_t i = 1; i < n; i++)
        p->k->maximum(y, in[i], channels);
    if (!p->same)
        p->k->table(p->rescale, y, y, channels);
}

static bool average(struct fast_pool *p, const struct kernel_call *c, const uint8_t *const *in,
                    int64_t n, int64_t divisor, int32_t *sums, uint8_t *y, struct bpu_error *err)
{
    size_t channels = (size_t)p->x.channels;
    int32_t zero = p->from.zero + fast_offset(c->in[0]->dtype), sign = divisor < 0 ? -1 : 1;
    int32_t offset = fast_offset(c->out[0]->dtype);
    memset(sums, 0, channels * sizeof *sums);
    for (int64_t i = 0; i < n; i++)
        p->k->accumulate(sums, in[i], channels);
    divisor *= sign;
    if (divisor > 0 && divisor != p->multiplier_of) {
        if (!fixed_mean(c, &p->from, c->out[0], &p->to, divisor, &p->multiplier, err))
            return false;
        p->multiplier_of = divisor;
    }
    for (size_t i = 0; i < channels; i++) {
        int64_t sum = sign * (sums[i] - (int64_t)n * zero);
        int32_t q = divisor > 0 ? fixed_requantize(sum, &p->multiplier, &p->to) : p->to.zero;
        y[i] = (uint8_t)(q + offset);
    }
    return true;
}

static bool run_pool(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    struct fast_pool *p = state;
    bool largest = strstr(c->node->op->key, "max") != NULL;
    size_t taps = (size_t)(p->axis[1].kernel * p->axis[2].kernel);
    const uint8_t **in = arena_reserve(c->scratch, taps * sizeof *in, err);
    int32_t *sums = arena_reserve(c->scratch, (size_t)p->x.channels * sizeof *sums, err);
    if (!in || !sums)
        return false;
    uint8_t *y = c->out[0]->data;
    for (int64_t b = 0; b < p->x.batch; b++) {
        const uint8_t *x = (const uint8_t *)c->in[0]->data + b * p->x.channels * p->x.plane;
        for (int64_t oy = 0; oy < p->y.size[1]; oy++)
            for (int64_t ox = 0; ox < p->y.size[2]; ox++, y += p->y.channels) {
                int64_t n = window(p, x, oy, ox, in);
                if (largest)
                    maximum(p, in, n, y);
                else if (!average(p, c, in, n,
                                  p->adaptive ? n
                                              : fixed_divisor(&p->divisors, &p->x, 0, oy, ox, n),
                                  sums, y, err))
                    return false;
            }
    }
    return true;
}

bool fast_prepare_pool(struct arena *a, const struct kernel_call *call, const char *variant,
                       struct fast_kernel *out, struct bpu_error *err)
{
    struct kernel_call c = *call;
    const char *kernel = kernel_of(c.node)->name;
    bool adaptive = strcmp(kernel, "adaptive_pool") == 0,
         largest = strstr(c.node->op->key, "max") != NULL;
    if ((!adaptive && strcmp(kernel, "max_pool") != 0 && strcmp(kernel, "avg_pool") != 0) ||
        !c.in[0] || c.in[0]->shape.rank != 4 || !fixed_out(&c, 0) || fixed_out(&c, 1) ||
        !fast_is_inside(c.node->inputs[0]) || !fast_is_inside(c.node->outputs[0]) ||
        c.in[0]->quant.count != 1 || c.out[0]->quant.count != 1)
        return true;
    struct fast_pool *p = ARENA_NEW(a, struct fast_pool, err);
    c.scratch = a;
    if (!p || !fixed_axes(&c, adaptive ? FIXED_ADAPTIVE : FIXED_POOL, &p->x, &p->y, p->axis, err) ||
        !fixed_scale(&c, c.in[0], "the input", &p->from, err) ||
        !fixed_scale(&c, c.out[0], "the result", &p->to, err) ||
        (!adaptive && !largest && !fixed_divisors(&c, &p->divisors, err)))
        return false;
    p->k = fast_kernels_find(variant);
    p->adaptive = adaptive;
    p->same = c.in[0]->dtype == c.out[0]->dtype && fixed_same_scale(c.in[0], c.out[0]);
    /* Sums of bytes must fit int32. */
    if (!p->k || p->axis[0].kernel != 1 || p->x.plane > INT32_MAX / 255)
        return true;
    for (int q = 0; q < 256; q++)
        p->rescale[q] = (uint8_t)(fixed_rescale(q - fast_offset(c.in[0]->dtype), &p->from, &p->to) +
                                  fast_offset(c.out[0]->dtype));
    *out = (struct fast_kernel){.run = run_pool, .state = p};
    return true;
}

/* ── the whole plane ── */

struct fast_mean {
    const struct fast_kernels *k;
    int64_t batch, channels, plane;
    int32_t zero; /* of the input, as the engine stores it */
    struct fixed_scale to;
    struct fixed_multiplier multiplier;
};

static bool run_mean(void *state, const struct kernel_call *c, struct bpu_error *err)
{
    const struct fast_mean *m = state;
    const uint8_t *x = c->in[0]->data;
    uint8_t *y = c->out[0]->data;
    size_t channels = (size_t)m->channels;
    int32_t *sums = arena_reserve(c->scratch, channels * sizeof *sums, err);
    if (!sums)
        return false;
    for (int64_t b = 0; b < m->batch; b++, y += channels) {
        memset(sums, 0, channels * sizeof *sums);
        for (int64_t i = 0; i < m->plane; i++, x += channels)
            m->k->accumulate(sums, x, channels);
        for (size_t i = 0; i < channels; i++)
            y[i] = (uint8_t)(fixed_requantize(sums[i] - m->plane * m->zero, &m->multiplier, &m->to) +
                             fast_offset(c->out[0]->dtype));
    }
    return true;
}

bool fast_prepare_mean(struct arena *a, const struct kernel_call *c, const char *variant,
                       struct fast_kernel *out, struct bpu_error *err)
{
    const struct node *n = c->node;
    const struct tensor *x = kernel_in(c, 0), *y = fixed_out(c, 0);
    const char *key = n->op->key;
    bool mean = strcmp(key, "mean") == 0, all;
    unsigned set;
    struct fixed_scale from;
    if (strcmp(kernel_of(n)->name, "reduce") != 0 || (!mean && strcmp(key, "sum") != 0) || !x || !y ||
        c->in_count != 1 || x->shape.rank != 4 || !fast_is_inside(n->inputs[0]) ||
        !fast_is_inside(n->outputs[0]) || x->quant.count != 1 || y->quant.count != 1)
        return true;
    if (!infer_axes(n, "dim", 4, &set, &all, err))
        return false;
    struct fast_mean m = {.k = fast_kernels_find(variant),
                          .batch = x->shape.dim[0],
                          .channels = x->shape.dim[1],
                          .plane = x->shape.dim[2] * x->shape.dim[3]};
    if (all || set != (1u << 2 | 1u << 3) || !m.k || m.plane < 1 || m.plane > INT32_MAX / 255)
        return true;
    struct fast_mean *kept = ARENA_NEW(a, struct fast_mean, err);
    if (!kept || !fixed_scale(c, x, "the input", &from, err) ||
        !fixed_scale(c, y, "the result", &m.to, err) ||
        !fixed_mean(c, &from, y, &m.to, mean ? m.plane : 1, &m.multiplier, err))
        return false;
    m.zero = from.zero + fast_offset(x->dtype);
    *kept = m;
    *out = (struct fast_kernel){.run = run_mean, .state = kept};
    return true;
}
