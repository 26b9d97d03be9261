/* Rewrites of windows: kernels that are too large, dilation, strides, padding. */
#include <string.h>

#include "core/check/rewrite_find.h"

#define MAX_AXIS_PARTS REWRITE_MAX_STEPS

/* ── windows ───────────────────────────────────────────────────────────────────────────────── */

/* Windows of at most `most` that one behind the other see k; the number of them, 0: too many. */
static int stack_of(int64_t k, int64_t most, int64_t out[MAX_AXIS_PARTS])
{
    int count = 0;
    for (; k > most; k -= most - 1) {
        if (count == MAX_AXIS_PARTS - 1)
            return 0;
        out[count++] = most;
    }
    out[count++] = k;
    return count;
}

static bool try_stack(struct finder *f, int64_t most)
{
    const struct rewrite_step *t = &f->now;
    int64_t parts[2][MAX_AXIS_PARTS], left[2] = {t->padding[0], t->padding[1]};
    int count[2];
    finder_start(f);
    for (int i = 0; i < 2; i++)
        if (!(count[i] = stack_of(t->kernel[i], most, parts[i])))
            return false;
    int steps = count[0] > count[1] ? count[0] : count[1];
    for (int k = 0; k < steps; k++) {
        struct rewrite_step one = *t;
        for (int i = 0; i < 2; i++) {
            one.kernel[i] = k < count[i] ? parts[i][k] : 1;
            one.stride[i] = k == steps - 1 ? t->stride[i] : 1;
            int64_t half = one.kernel[i] / 2 * (t->out ? t->dilation[i] : 1);
            one.padding[i] = k == steps - 1 || left[i] < half ? left[i] : half;
            left[i] -= one.padding[i];
        }
        one.in = k ? t->out : t->in;
        if (!finder_add(f, &one))
            return false;
    }
    return finder_fits(f, t->out ? RETRAIN : EXACT);
}

bool find_stack(struct finder *f)
{
    static const int64_t sizes[] = {256, 128, 64, 31, 15, 7, 5, 3};
    int64_t k = f->now.kernel[0] > f->now.kernel[1] ? f->now.kernel[0] : f->now.kernel[1];
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (sizes[i] < k && try_stack(f, sizes[i]))
            return true;
    return false;
}

/* Factors of at most `most` whose product is v; 0: there are none. */
static int factors_of(int64_t v, int64_t most, int64_t out[MAX_AXIS_PARTS])
{
    int count = 0;
    while (v > 1) {
        int64_t d = v < most ? v : most;
        while (d > 1 && v % d != 0)
            d--;
        if (d < 2 || count == MAX_AXIS_PARTS)
            return 0;
        out[count++] = d;
        v /= d;
    }
    if (count == 0)
        out[count++] = 1;
    return count;
}

/* Windows that do not overlap: a mean of means, or transposed convolutions that enlarge in steps.
 */
static bool try_product(struct finder *f, const char *op, const int64_t kernel[2], int64_t most,
                        const char *why)
{
    int64_t parts[2][MAX_AXIS_PARTS];
    int count[2];
    finder_start(f);
    for (int i = 0; i < 2; i++)
        if (!(count[i] = factors_of(kernel[i], most, parts[i])))
            return false;
    int steps = count[0] > count[1] ? count[0] : count[1];
    for (int k = 0; k < steps; k++) {
        struct rewrite_step one = finder_plain(op, k ? f->now.out : f->now.in, f->now.out);
        one.groups = f->now.groups > 0 ? f->now.groups : 1;
        for (int i = 0; i < 2; i++)
            one.stride[i] = one.kernel[i] = k < count[i] ? parts[i][k] : 1;
        if (!finder_add(f, &one))
            return false;
    }
    return finder_fits(f, why);
}

bool find_product(struct finder *f, const char *op, const int64_t kernel[2], const char *why)
{
    static const int64_t sizes[] = {256, 64, 16, 14, 8, 7, 4, 3, 2};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (try_product(f, op, kernel, sizes[i], why))
            return true;
    return false;
}

bool find_average(struct finder *f)
{
    const struct rewrite_step *t = &f->now;
    bool apart = t->padding[0] == 0 && t->padding[1] == 0 && t->stride[0] == t->kernel[0] &&
                 t->stride[1] == t->kernel[1];
    const struct shape *x = &node_input(f->s->n, 0)->shape;
    bool whole = x->rank == 4 && t->kernel[0] == x->dim[2] && t->kernel[1] == x->dim[3] &&
                 t->padding[0] == 0 && t->padding[1] == 0;
    return (apart || whole) &&
           find_product(f, "torch.nn.AvgPool2d", t->kernel, "a mean of means; " EXACT);
}

/* ── dilation, strides ─────────────────────────────────────────────────────────────────────── */

bool find_dense(struct finder *f)
{
    struct rewrite_step one = f->now;
    finder_start(f);
    for (int i = 0; i < 2; i++) {
        one.kernel[i] = one.dilation[i] * (one.kernel[i] - 1) + 1;
        one.dilation[i] = 1;
    }
    return f->output_padding[0] == 0 && f->output_padding[1] == 0 && finder_add(f, &one) &&
           finder_fits(f, "with zeros between the weights " EXACT);
}

/* One axis after the other: along an axis of extent 1 the dilation means nothing. */
static bool find_by_axis(struct finder *f)
{
    struct rewrite_step h = f->now, w = f->now;
    finder_start(f);
    if (f->now.stride[0] != 1 || f->now.stride[1] != 1)
        return false;
    h.kernel[1] = w.kernel[0] = 1;
    h.padding[1] = w.padding[0] = 0;
    h.dilation[1] = h.dilation[0];
    w.dilation[0] = w.dilation[1];
    w.in = w.out;
    return finder_add(f, &h) && finder_add(f, &w) && finder_fits(f, RETRAIN);
}

/* Dilations add up, layer by layer. */
static bool try_dilations(struct finder *f, bool powers)
{
    struct rewrite_step one = f->now;
    int64_t left[2] = {one.dilation[0], one.dilation[1]};
    int64_t pad[2] = {one.padding[0], one.padding[1]};
    finder_start(f);
    if (one.stride[0] != 1 || one.stride[1] != 1)
        return false;
    while (left[0] > 0 || left[1] > 0) {
        for (int i = 0; i < 2; i++) {
            int64_t d = left[i] < 16 ? left[i] : 16;
            while (powers && d > 1 && (d & (d - 1)))
                d--;
            one.kernel[i] = d ? f->now.kernel[i] : 1;
            one.dilation[i] = d ? d : 1;
            int64_t half = d * (one.kernel[i] - 1) / 2;
            left[i] -= d;
            one.padding[i] = left[i] == 0 || pad[i] < half ? pad[i] : half;
            pad[i] -= one.padding[i];
        }
        if (!finder_add(f, &one))
            return false;
        one.in = one.out;
    }
    return finder_fits(f, RETRAIN);
}

bool find_dilations(struct finder *f)
{
    return find_by_axis(f) || try_dilations(f, false) || try_dilations(f, true);
}

/* The layer with stride 1, and behind it one of a single weight that picks positions. */
bool find_pick(struct finder *f, bool keep)
{
    struct rewrite_step first = f->now, pick = finder_plain(f->now.op, f->now.out, f->now.out);
    finder_start(f);
    for (int i = 0; i < 2; i++) {
        pick.stride[i] = keep ? 1 : first.stride[i];
        first.stride[i] = keep ? first.stride[i] : 1;
    }
    return finder_add(f, &first) && finder_add(f, &pick) &&
           finder_fits(f, keep ? "the 1x1 convolution then takes the residual add."
                               : "the 1x1 convolution takes over the stride.");
}

/* The largest part of a stride first, the rest in a pool of one element. */
bool find_pool_stride(struct finder *f)
{
    static const int64_t sizes[] = {256, 185, 128, 64};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        struct rewrite_step first = f->now, rest = finder_plain(f->now.op, 0, 0);
        finder_start(f);
        for (int i = 0; i < 2; i++) {
            int64_t d = first.stride[i] < sizes[k] ? first.stride[i] : sizes[k];
            while (first.stride[i] % d != 0)
                d--;
            rest.stride[i] = first.stride[i] / d;
            first.stride[i] = d;
        }
        if (finder_add(f, &first) && finder_add(f, &rest) && finder_fits(f, EXACT))
            return true;
    }
    return false;
}

bool find_padding(struct finder *f)
{
    struct rewrite_step pad = finder_plain("torch.nn.ZeroPad2d", 0, 0), rest = f->now;
    bool max = strstr(f->now.op, "MaxPool") != NULL; /* pads with the lowest value, not with 0 */
    finder_start(f);
    for (int i = 0; i < 2; i++) {
        pad.padding[i] = rest.padding[i];
        rest.padding[i] = 0;
    }
    return !max && finder_add(f, &pad) && finder_add(f, &rest) && finder_fits(f, EXACT);
}
