/* fixed_reduce: axes that go away.
 *
 *   sum, mean   exact sum of (q - z_x), one requantization by s_x / s_y or s_x / (s_y * n)
 *   amax, amin  of stored integers, rescaled if the result has another scale
 *   prod, norm, logsumexp, var, std   in double precision in row-major order, one rounding */
#include "core/run/fixed.h"

struct reduction {
    const struct tensor *x;
    struct tensor *y;
    struct fixed_scale from, to;
    int64_t
        stride[SHAPE_MAX_RANK]; /* of the result in the index space of x; 0: the axis goes away */
    int64_t count, n;           /* results; elements that each takes */
};

static bool reduction_begin(const struct kernel_call *c, struct reduction *r, struct bpu_error *err)
{
    const struct shape *s = &r->x->shape;
    unsigned set;
    bool all;
    if (!fixed_scale(c, r->x, "the input", &r->from, err) ||
        !fixed_scale(c, r->y, "the result", &r->to, err) ||
        !infer_axes(c->node, "dim", s->rank, &set, &all, err))
        return false;
    r->count = r->n = 1;
    for (int d = s->rank - 1; d >= 0; d--) {
        bool gone = all || set & 1u << d;
        r->stride[d] = gone ? 0 : r->count;
        *(gone ? &r->n : &r->count) *= s->dim[d];
    }
    return r->count == shape_elements(&r->y->shape) ||
           kernel_unsupported(c, err, "a result that does not fit");
}

/* Calls add(state, to, value) for each element, in row-major order. */
typedef void reduce_fn(void *state, int64_t to, int64_t q);

static void each(const struct reduction *r, reduce_fn *add, void *state)
{
    const struct shape *s = &r->x->shape;
    int64_t index[SHAPE_MAX_RANK] = {0}, to = 0, count = shape_elements(s);
    for (int64_t i = 0; i < count; i++) {
        add(state, to, tensor_int(r->x, i));
        for (int d = s->rank - 1; d >= 0; d--) {
            to += r->stride[d];
            if (++index[d] < s->dim[d])
                break;
            to -= r->stride[d] * s->dim[d];
            index[d] = 0;
        }
    }
}

struct sums {
    int64_t *sum;
    int64_t zero;
};
static void add_sum(void *state, int64_t to, int64_t q)
{
    struct sums *s = state;
    s->sum[to] += q - s->zero;
}

static bool reduce_sum(const struct kernel_call *c, struct reduction *r, bool mean,
                       struct bpu_error *err)
{
    struct sums s = {ARENA_ARRAY(c->scratch, int64_t, r->count, err), r->from.zero};
    struct fixed_multiplier m;
    if (!s.sum || !fixed_mean(c, &r->from, r->y, &r->to, mean && r->n > 0 ? r->n : 1, &m, err))
        return false;
    each(r, add_sum, &s);
    for (int64_t i = 0; i < r->count; i++)
        tensor_store_int(r->y, i, fixed_requantize(s.sum[i], &m, &r->to));
    return true;
}

struct extrema {
    int64_t *best;
    bool *seen, largest;
};
static void add_extremum(void *state, int64_t to, int64_t q)
{
    struct extrema *e = state;
    if (!e->seen[to] || (e->largest ? q > e->best[to] : q < e->best[to]))
        e->best[to] = q;
    e->seen[to] = true;
}

static bool reduce_extremum(const struct kernel_call *c, struct reduction *r, bool largest,
                            struct bpu_error *err)
{
    struct extrema e = {ARENA_ARRAY(c->scratch, int64_t, r->count, err),
                        ARENA_ARRAY(c->scratch, bool, r->count, err), largest};
    if (!e.best || !e.seen)
        return false;
    each(r, add_extremum, &e);
    for (int64_t i = 0; i < r->count; i++)
        tensor_store_int(r->y, i, fixed_rescale(e.best[i], &r->from, &r->to));
    return true;
}

enum real_reduction { PROD, NORM, LOGSUMEXP, VAR, STD };

struct reals {
    const struct fixed_scale *from;
    double *a, *b; /* a: the result so far; b: mean, or largest */
    enum real_reduction what;
    int pass;
    double p;
};
static void add_real(void *state, int64_t to, int64_t q)
{
    struct reals *s = state;
    double v = (double)(q - s->from->zero) * s->from->scale;
    switch (s->what) {
    case PROD: s->a[to] *= v; break;
    case NORM:
        if (isinf(s->p))
            s->a[to] = fmax(s->a[to], fabs(v));
        else
            s->a[to] += s->p == 2 ? v * v : s->p == 1 ? fabs(v) : pow(fabs(v), s->p);
        break;
    case LOGSUMEXP:
        if (s->pass == 0)
            s->b[to] = fmax(s->b[to], v);
        else
            s->a[to] += exp(v - s->b[to]);
        break;
    default:
        if (s->pass == 0)
            s->b[to] += v;
        else
            s->a[to] += (v - s->b[to]) * (v - s->b[to]);
    }
}

static bool reduce_real(const struct kernel_call *c, struct reduction *r, enum real_reduction what,
                        struct bpu_error *err)
{
    struct reals s = {.from = &r->from,
                      .a = ARENA_ARRAY(c->scratch, double, r->count, err),
                      .b = ARENA_ARRAY(c->scratch, double, r->count, err),
                      .what = what,
                      .p = node_float(c->node, "p", 2)};
    double ddof = node_attr(c->node, "correction") ? (double)node_int(c->node, "correction", 1)
                                                   : node_bool(c->node, "unbiased", true);
    if (!s.a || !s.b)
        return false;
    for (int64_t i = 0; i < r->count; i++) {
        s.a[i] = what == PROD;
        s.b[i] = what == LOGSUMEXP ? -INFINITY : 0;
    }
    for (s.pass = 0; s.pass < (what >= LOGSUMEXP ? 2 : 1); s.pass++) {
        each(r, add_real, &s);
        if (s.pass == 0 && what >= VAR)
            for (int64_t i = 0; i < r->count; i++)
                s.b[i] /= (double)r->n;
    }
    for (int64_t i = 0; i < r->count; i++) {
        double v = s.a[i];
        if (what == NORM)
            v = s.p == 2 ? sqrt(v) : s.p == 1 || isinf(s.p) ? v : pow(v, 1 / s.p);
        else if (what == LOGSUMEXP)
            v = s.b[i] + log(v);
        else if (what >= VAR)
            v = what == VAR ? v / ((double)r->n - ddof) : sqrt(v / ((double)r->n - ddof));
        tensor_store_real(r->y, i, v);
    }
    return true;
}

bool fixed_reduce(const struct kernel_call *c, struct bpu_error *err)
{
    static const char *const real[] = {"prod", "norm", "logsumexp", "var", "std"};
    const char *key = c->node->op->key;
    struct reduction r = {.x = c->in[0], .y = fixed_out(c, 0)};
    if (!r.y)
        return true;
    if (!reduction_begin(c, &r, err))
        return false;
    if (strcmp(key, "sum") == 0 || strcmp(key, "mean") == 0)
        return reduce_sum(c, &r, key[0] == 'm', err);
    if (strcmp(key, "amax") == 0 || strcmp(key, "amin") == 0)
        return reduce_extremum(c, &r, key[2] == 'a', err);
    for (int i = 0; i < 5; i++)
        if (strcmp(key, real[i]) == 0)
            return reduce_real(c, &r, (enum real_reduction)i, err);
    return kernel_unsupported(c, err, "quantized operands");
}
