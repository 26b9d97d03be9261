/* real_reduce: axes that go away: sums, means, norms, variances, extrema and their positions.
 *
 * The elements that fall together are taken in row-major order of the input.  Real sums run in
 * double precision; sums and products of integers are exact in 64 bits and wrap to the type of the
 * result. */
#include "core/run/real.h"

/* The kept axes give the order of the results, the others that of the elements of one result. */
struct split {
    int kept, gone;
    int64_t kept_dim[SHAPE_MAX_RANK], kept_stride[SHAPE_MAX_RANK];
    int64_t dim[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK];
    int64_t results, elements;
};

static bool reduce_split(const struct kernel_call *c, struct split *s, struct bpu_error *err)
{
    const struct shape *x = &kernel_in(c, 0)->shape;
    unsigned set;
    bool all;
    int64_t stride[SHAPE_MAX_RANK];
    if (!infer_axes(c->node, "dim", x->rank, &set, &all, err))
        return false;
    *s = (struct split){.results = 1, .elements = 1};
    fold_strides(x, stride);
    for (int i = 0; i < x->rank; i++)
        if (all || set & 1u << i) {
            s->dim[s->gone] = x->dim[i];
            s->stride[s->gone++] = stride[i];
            s->elements *= x->dim[i];
        } else {
            s->kept_dim[s->kept] = x->dim[i];
            s->kept_stride[s->kept++] = stride[i];
            s->results *= x->dim[i];
        }
    return true;
}

/* Offset of the first element of result i. */
static int64_t split_first(const struct split *s, int64_t i)
{
    int64_t at = 0;
    for (int k = s->kept - 1; k >= 0; k--) {
        at += i % s->kept_dim[k] * s->kept_stride[k];
        i /= s->kept_dim[k];
    }
    return at;
}

static int64_t split_element(const struct split *s, int64_t first, int64_t i)
{
    for (int k = s->gone - 1; k >= 0; k--) {
        first += i % s->dim[k] * s->stride[k];
        i /= s->dim[k];
    }
    return first;
}

enum reduce { R_SUM, R_PROD, R_MEAN, R_MAX, R_MIN, R_NORM, R_LOGSUMEXP, R_VAR, R_STD };

static bool reduce_kind(const struct kernel_call *c, enum reduce *out, struct bpu_error *err)
{
    static const char *const keys[] = {"sum",  "prod",      "mean", "amax", "amin",
                                       "norm", "logsumexp", "var",  "std"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i], c->node->op->key) == 0) {
            *out = (enum reduce)i;
            return true;
        }
    return kernel_unsupported(c, err, "there is no such reduction");
}

/* (sum |x|^p)^(1/p); the limits for p = 0 (how many are not 0) and p = +-inf (extreme magnitudes).
 */
static double norm(const double *v, int64_t count, double p)
{
    double sum = 0, most = 0, least = INFINITY;
    for (int64_t i = 0; i < count; i++) {
        double a = fabs(v[i]);
        most = a > most || isnan(a) ? a : most;
        least = a < least || isnan(a) ? a : least;
        sum += p == 0 ? a != 0 : p == 1 ? a : p == 2 ? a * a : pow(a, p);
    }
    if (isinf(p))
        return p > 0 ? most : least;
    return p == 0 || p == 1 ? sum : p == 2 ? sqrt(sum) : pow(sum, 1 / p);
}

/* m + log(sum exp(x - m)), m the maximum (0 if that is not finite). */
static double logsumexp(const double *v, int64_t count)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++)
        most = v[i] > most || isnan(v[i]) ? v[i] : most;
    double m = isfinite(most) ? most : 0;
    for (int64_t i = 0; i < count; i++)
        sum += exp(v[i] - m);
    return count > 0 ? m + log(sum) : -INFINITY;
}

/* sum (x - mean)^2 / (count - correction), two passes. */
static double variance(const double *v, int64_t count, double correction)
{
    double sum = 0, square = 0, divisor = (double)count - correction;
    for (int64_t i = 0; i < count; i++)
        sum += v[i];
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        square += (v[i] - mean) * (v[i] - mean);
    return square / (divisor > 0 ? divisor : 0);
}

static double reduce_real(const struct node *n, enum reduce kind, const double *v, int64_t count)
{
    double r = kind == R_PROD ? 1 : kind == R_MAX ? -INFINITY : kind == R_MIN ? INFINITY : 0;
    const struct attr *p = node_attr(n, "p");
    bool infinite = p && p->kind == ATTR_STRING && strstr(p->s, "inf");
    const struct attr *correction = node_attr(n, "correction");
    bool given = correction && correction->kind != ATTR_NONE;
    switch (kind) {
    case R_NORM:
        return norm(v, count,
                    infinite ? (p->s[0] == '-' ? -INFINITY : INFINITY) : node_float(n, "p", 2));
    case R_LOGSUMEXP: return logsumexp(v, count);
    case R_VAR:
    case R_STD:
        r = variance(v, count,
                     given ? node_float(n, "correction", 1) : node_bool(n, "unbiased", true));
        return kind == R_STD ? sqrt(r) : r;
    case R_MAX:
        for (int64_t i = 0; i < count; i++)
            r = v[i] > r || isnan(v[i]) ? v[i] : r;
        return r;
    case R_MIN:
        for (int64_t i = 0; i < count; i++)
            r = v[i] < r || isnan(v[i]) ? v[i] : r;
        return r;
    case R_PROD:
        for (int64_t i = 0; i < count; i++)
            r *= v[i];
        return r;
    default:
        for (int64_t i = 0; i < count; i++)
            r += v[i];
        return kind == R_MEAN ? r / (double)count : r;
    }
}

/* a before b: above 2^63 the sign bit is a digit */
static bool whole_less(int64_t a, int64_t b, enum dtype t)
{
    return t == DT_UINT64 ? (uint64_t)a < (uint64_t)b : a < b;
}

static int64_t reduce_whole(const struct tensor *x, const struct split *s, int64_t first,
                            enum reduce kind)
{
    int64_t r = kind == R_PROD;
    for (int64_t i = 0; i < s->elements; i++) {
        int64_t v = tensor_int(x, split_element(s, first, i));
        if (kind == R_PROD)
            r = (int64_t)((uint64_t)r * (uint64_t)v);
        else if (kind == R_MAX || kind == R_MIN)
            r = i == 0 || (kind == R_MAX ? whole_less(r, v, x->dtype) : whole_less(v, r, x->dtype))
                    ? v
                    : r;
        else
            r = (int64_t)((uint64_t)r + (uint64_t)v);
    }
    return kind == R_MEAN && s->elements ? r / s->elements : r;
}

bool real_reduce(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0];
    struct split s;
    enum reduce kind = R_SUM;
    if (!reduce_kind(c, &kind, err) || !reduce_split(c, &s, err))
        return false;
    double *v = real_scratch(c, s.elements, err);
    if (!v)
        return false;
    bool whole = kind <= R_MIN && fold_is_int(x->dtype) && fold_is_int(y->dtype);
    for (int64_t i = 0; i < s.results; i++) {
        int64_t first = split_first(&s, i);
        if (whole) {
            fold_store_int(real_at(y, i), y->dtype, reduce_whole(x, &s, first, kind));
            continue;
        }
        real_load_block(x, first, s.gone, s.dim, s.stride, v);
        tensor_store_real(y, i, reduce_real(c->node, kind, v, s.elements));
    }
    return true;
}

/* The position of the extremum: NaN before all, else the first of equals, or the last on request.
 */
static int64_t extremum(const struct tensor *x, const struct split *s, int64_t first, bool largest,
                        bool last)
{
    bool whole = fold_is_int(x->dtype);
    int64_t best = 0, best_whole = 0;
    double best_real = 0;
    for (int64_t i = 0; i < s->elements; i++) {
        int64_t at = split_element(s, first, i), w = whole ? tensor_int(x, at) : 0;
        double r = whole ? 0 : tensor_real(x, at);
        bool better =
            whole ? (largest ? whole_less(best_whole, w, x->dtype)
                             : whole_less(w, best_whole, x->dtype))
                  : (largest ? r > best_real : r < best_real) || (isnan(r) && !isnan(best_real));
        bool equal = whole ? w == best_whole : r == best_real;
        if (i == 0 || (better && !isnan(best_real)) || (equal && last)) {
            best = i;
            best_whole = w;
            best_real = r;
        }
    }
    return best;
}

bool real_max_min(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct split s;
    if (c->in_count == 2 && c->in[1])
        return real_binary(c, err);
    if (!reduce_split(c, &s, err))
        return false;
    for (int64_t i = 0; i < s.results; i++) {
        int64_t first = split_first(&s, i);
        int64_t best = extremum(x, &s, first, strcmp(c->node->op->key, "max") == 0, false);
        if (c->out[0])
            real_move(x, split_element(&s, first, best), c->out[0], i);
        if (c->out_count > 1 && c->out[1])
            tensor_store_int(c->out[1], i, best);
    }
    return true;
}

bool real_arg(const struct kernel_call *c, struct bpu_error *err)
{
    struct split s;
    bool last = node_bool(c->node, "select_last_index", false);
    if (!reduce_split(c, &s, err))
        return false;
    for (int64_t i = 0; i < s.results; i++)
        tensor_store_int(c->out[0], i,
                         extremum(kernel_in(c, 0), &s, split_first(&s, i),
                                  strcmp(c->node->op->key, "argmax") == 0, last));
    return true;
}
