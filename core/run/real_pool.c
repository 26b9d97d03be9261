/* real_pool: maxima, means and p-norms over windows of 1, 2 and 3 spatial axes.
 *
 * A window is cut to the input first; padding never takes part in a maximum and adds nothing to a
 * sum. Elements are taken in row-major order.  Means:  sum / count  in double precision, where
 * count is divisor_override, or the elements of the window, or with count_include_pad those of the
 * padded input (never those beyond its padding, which ceil_mode may reach). */
#include "core/run/real.h"

#define MAX_SPATIAL 3

struct pool {
    int64_t planes, in[MAX_SPATIAL], out[MAX_SPATIAL]; /* missing axes in front are 1 */
    struct infer_window w[MAX_SPATIAL];
};

/* The part of a plane that one result sees: positions lo, lo + dilation … below hi. */
struct window {
    int64_t lo[MAX_SPATIAL], hi[MAX_SPATIAL], step[MAX_SPATIAL];
    double padded; /* elements, the padding included: may be more than 64 bits count */
    int64_t inside;
};

static void pool_planes(struct pool *p, int k, const struct shape *x, const struct shape *y)
{
    *p = (struct pool){.planes = 1, .in = {1, 1, 1}, .out = {1, 1, 1}};
    for (int i = 0; i < x->rank; i++) {
        int a = MAX_SPATIAL - (x->rank - i); /* negative: in front of the last three axes */
        if (i < x->rank - k) {
            p->planes *= x->dim[i];
        } else {
            p->in[a] = x->dim[i];
            p->out[a] = y->dim[i];
        }
    }
}

static bool pool_windows(const struct kernel_call *c, struct pool *p, int k, struct bpu_error *err)
{
    const struct node *n = c->node;
    int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL], list[2 * MAX_SPATIAL];
    int strides;
    struct infer_window w[MAX_SPATIAL] = {{0}};
    if (!infer_tuple(n, "kernel_size", k, 1, kernel, err) ||
        !infer_ints(n, "stride", list, 2 * MAX_SPATIAL, &strides, err) ||
        !infer_tuple(n, "stride", k, 1, stride, err) ||
        !infer_tuple(n, "dilation", k, 1, dilation, err))
        return false;
    for (int i = 0; i < k; i++)
        w[i] = (struct infer_window){.kernel = kernel[i],
                                     .stride = strides > 0 ? stride[i] : kernel[i],
                                     .dilation = dilation[i]};
    if (!infer_padding(n, k, w, err))
        return false;
    for (int i = 0; i < k; i++)
        if (w[i].begin > INFER_MAX_ELEMENTS || w[i].end > INFER_MAX_ELEMENTS)
            return kernel_unsupported(c, err, "the padding is absurd");
    for (int a = 0; a < MAX_SPATIAL; a++) {
        int i = a - (MAX_SPATIAL - k);
        p->w[a] = i < 0 ? (struct infer_window){.kernel = 1, .stride = 1, .dilation = 1} : w[i];
    }
    return true;
}

static struct window pool_window(const struct pool *p, const int64_t *at)
{
    struct window v = {.padded = 1, .inside = 1};
    for (int a = 0; a < MAX_SPATIAL; a++) {
        const struct infer_window *w = &p->w[a];
        int64_t lo = at[a] * w->stride - w->begin, hi;
        if (!checked_add(lo, (w->kernel - 1) * w->dilation, &hi) || !checked_add(hi, 1, &hi))
            hi = INT64_MAX; /* beyond the input in any case */
        int64_t end = hi < p->in[a] + w->end ? hi : p->in[a] + w->end;
        v.padded *= (double)(end - lo); /* average pools have no dilation */
        if (lo < 0)
            lo += (-lo + w->dilation - 1) / w->dilation * w->dilation;
        hi = hi < p->in[a] ? hi : p->in[a];
        v.lo[a] = lo;
        v.hi[a] = hi;
        v.step[a] = w->dilation;
        v.inside *= hi > lo ? (hi - lo - 1) / w->dilation + 1 : 0;
    }
    return v;
}

static struct window adaptive_window(const struct pool *p, const int64_t *at)
{
    struct window v = {.padded = 1, .inside = 1};
    for (int a = 0; a < MAX_SPATIAL; a++) {
        v.lo[a] = at[a] * p->in[a] / p->out[a];
        v.hi[a] = ((at[a] + 1) * p->in[a] + p->out[a] - 1) / p->out[a];
        v.step[a] = 1;
        v.inside *= v.hi[a] - v.lo[a];
    }
    v.padded = (double)v.inside;
    return v;
}

/* The largest element and its position in the plane. The first of equals wins, NaN before all. */
static double window_max(const struct pool *p, const struct window *v, const double *x,
                         int64_t *position)
{
    double best = -INFINITY;
    *position = (v->lo[0] * p->in[1] + v->lo[1]) * p->in[2] + v->lo[2];
    for (int64_t d = v->lo[0]; d < v->hi[0]; d += v->step[0])
        for (int64_t h = v->lo[1]; h < v->hi[1]; h += v->step[1])
            for (int64_t w = v->lo[2]; w < v->hi[2]; w += v->step[2]) {
                int64_t at = (d * p->in[1] + h) * p->in[2] + w;
                if (x[at] > best || (isnan(x[at]) && !isnan(best))) {
                    best = x[at];
                    *position = at;
                }
            }
    return best;
}

/* power 0: the plain sum; else that of |x|^power, or of x^power where the sign is kept. */
static double window_sum(const struct pool *p, const struct window *v, const double *x,
                         double power, bool magnitude)
{
    double sum = 0;
    for (int64_t d = v->lo[0]; d < v->hi[0]; d += v->step[0])
        for (int64_t h = v->lo[1]; h < v->hi[1]; h += v->step[1])
            for (int64_t w = v->lo[2]; w < v->hi[2]; w += v->step[2]) {
                double e = x[(d * p->in[1] + h) * p->in[2] + w];
                sum += power == 0 ? e : pow(magnitude ? fabs(e) : e, power);
            }
    return sum;
}

/* Maxima, with their positions where asked for. PyTorch counts positions in the plane, ONNX in the
 * whole tensor, and there with storage_order 1 column by column. */
static bool pool_max(const struct kernel_call *c, const struct pool *p, bool adaptive,
                     struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0], *indices = c->out_count > 1 ? c->out[1] : NULL;
    int64_t plane = p->in[0] * p->in[1] * p->in[2], rows = p->out[0] * p->out[1], at = 0;
    double *buffer = real_scratch(c, plane + p->out[2], err);
    if (!buffer)
        return false;
    bool whole_tensor = infer_from_onnx(c->node);
    bool columns = whole_tensor && node_int(c->node, "storage_order", 0) == 1;
    double *row = buffer + plane;
    for (int64_t i = 0; i < p->planes; i++) {
        real_load(x, i * plane, 1, plane, buffer);
        for (int64_t r = 0; r < rows; r++, at += p->out[2]) {
            for (int64_t q = 0; q < p->out[2]; q++) {
                int64_t where[MAX_SPATIAL] = {r / p->out[1], r % p->out[1], q}, position;
                struct window v = adaptive ? adaptive_window(p, where) : pool_window(p, where);
                row[q] = window_max(p, &v, buffer, &position);
                if (columns) {
                    int64_t w = position % p->in[2], h = position / p->in[2] % p->in[1],
                            d = position / p->in[2] / p->in[1];
                    position = (w * p->in[1] + h) * p->in[0] + d;
                }
                if (indices)
                    tensor_store_int(indices, at + q, position + (whole_tensor ? i * plane : 0));
            }
            if (y)
                real_store(y, at, 1, p->out[2], row);
        }
    }
    return true;
}

bool real_max_pool(const struct kernel_call *c, struct bpu_error *err)
{
    struct pool p;
    int k = c->node->op->spatial;
    const struct tensor *out = c->out[0] ? c->out[0] : c->out[1];
    pool_planes(&p, k, &kernel_in(c, 0)->shape, &out->shape);
    return pool_windows(c, &p, k, err) && pool_max(c, &p, false, err);
}

enum pool_kind { POOL_MEAN, POOL_ADAPTIVE, POOL_LP };

static bool pool_sum(const struct kernel_call *c, const struct pool *p, enum pool_kind kind,
                     struct bpu_error *err)
{
    const struct node *n = c->node;
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0];
    int64_t plane = p->in[0] * p->in[1] * p->in[2], rows = p->out[0] * p->out[1], at = 0;
    double *buffer = real_scratch(c, plane + p->out[2], err);
    if (!buffer)
        return false;
    double *row = buffer + plane, power = kind == POOL_LP ? node_float(n, "norm_type", 2) : 0;
    bool with_padding = kind == POOL_MEAN && node_bool(n, "count_include_pad", true);
    bool onnx = infer_from_onnx(n);
    int64_t divisor = kind == POOL_MEAN ? node_int(n, "divisor_override", 0) : 0;
    double full = 1;
    for (int a = 0; a < MAX_SPATIAL; a++)
        full *= (double)p->w[a].kernel;
    for (int64_t i = 0; i < p->planes; i++) {
        real_load(x, i * plane, 1, plane, buffer);
        for (int64_t r = 0; r < rows; r++, at += p->out[2]) {
            for (int64_t q = 0; q < p->out[2]; q++) {
                int64_t where[MAX_SPATIAL] = {r / p->out[1], r % p->out[1], q};
                struct window v =
                    kind == POOL_ADAPTIVE ? adaptive_window(p, where) : pool_window(p, where);
                double sum = window_sum(p, &v, buffer, power, onnx);
                if (kind == POOL_LP && onnx)
                    row[q] = pow(sum, 1 / power);
                else if (kind == POOL_LP) /* the mean over what is there times the full window */
                    row[q] = pow(sum / (double)v.inside * full, 1 / power);
                else
                    row[q] = sum / (divisor        ? (double)divisor
                                    : with_padding ? v.padded
                                                   : (double)v.inside);
            }
            real_store(y, at, 1, p->out[2], row);
        }
    }
    return true;
}

bool real_avg_pool(const struct kernel_call *c, struct bpu_error *err)
{
    struct pool p;
    int k = c->node->op->spatial;
    pool_planes(&p, k, &kernel_in(c, 0)->shape, &c->out[0]->shape);
    return pool_windows(c, &p, k, err) && pool_sum(c, &p, POOL_MEAN, err);
}

/* (sum of x^p)^(1/p); a window that is cut off counts as if its mean went on. In ONNX the sum of
 * |x|^p of what is there. */
static bool lp_run(const struct kernel_call *c, struct bpu_error *err)
{
    struct pool p;
    int k = c->node->op->spatial;
    if (node_float(c->node, "norm_type", 2) == 0)
        return kernel_unsupported(c, err, "norm_type is 0");
    pool_planes(&p, k, &kernel_in(c, 0)->shape, &c->out[0]->shape);
    return pool_windows(c, &p, k, err) && pool_sum(c, &p, POOL_LP, err);
}

bool real_lp_pool(const struct kernel_call *c, struct bpu_error *err)
{
    return lp_run(c, err);
}

bool fixed_lp_pool(const struct kernel_call *c, struct bpu_error *err)
{
    return lp_run(c, err);
}

/* Result i of `out` sees floor(i * in / out) up to ceil((i + 1) * in / out). */
bool real_adaptive_pool(const struct kernel_call *c, struct bpu_error *err)
{
    struct pool p;
    const struct tensor *out = c->out[0] ? c->out[0] : c->out[1];
    struct shape x = kernel_in(c, 0)->shape, y = out->shape;
    int k = c->node->op->spatial;
    int64_t size[MAX_SPATIAL];
    if (!infer_tuple(c->node, "output_size", k, -1, size, err))
        return false;
    if (infer_from_onnx(c->node) && x.rank >= 3 && size[0] == 1) {
        /* Global pooling of any rank: all spatial axes are one. */
        for (int i = 3; i < x.rank; i++)
            x.dim[2] *= x.dim[i];
        x.rank = y.rank = 3;
        k = 1;
    }
    pool_planes(&p, k, &x, &y);
    return strncmp(c->node->op->key, "adaptive_max", 12) == 0 ? pool_max(c, &p, true, err)
                                                              : pool_sum(c, &p, POOL_ADAPTIVE, err);
}
