/* observer: statistics of a feature map in one pass.
 *
 * The histogram starts with the first frame's range.  When a value lies beyond it, the range doubles
 * and neighbouring bins become one, which is exact: the new bins are unions of old ones. */
#include "core/quant/observer.h"

#include <math.h>
#include <string.h>

enum { HALF = OBSERVER_BINS / 2 };

bool statistics_init(struct arena *a, struct statistics *s, struct bpu_error *err)
{
    *s = (struct statistics){.min = INFINITY, .max = -INFINITY};
    s->histogram = ARENA_ARRAY(a, int64_t, OBSERVER_BINS, err);
    return s->histogram != NULL;
}

/* Bins 2m and 2m+1, counted from the middle, become bin m. */
static void double_range(struct statistics *s)
{
    int64_t merged[OBSERVER_BINS] = {0};
    for (int i = 0; i < OBSERVER_BINS; i++) {
        int m = i - HALF;
        merged[HALF + (m >= 0 ? m / 2 : -((1 - m) / 2))] += s->histogram[i];
    }
    memcpy(s->histogram, merged, sizeof merged);
    s->range *= 2;
}

void statistics_add(struct statistics *s, const float *x, int64_t n, double averaging)
{
    double lo = INFINITY, hi = -INFINITY, sum = 0, squares = 0;
    int64_t seen = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = (double)x[i];
        if (!isfinite(v)) {
            s->not_finite++;
            continue;
        }
        seen++;
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
        sum += v;
        squares += v * v;
        s->zeros += v == 0;
    }
    if (seen == 0)
        return;
    double absmax = fabs(lo) > fabs(hi) ? fabs(lo) : fabs(hi);
    if (s->range == 0)
        s->range = absmax;
    else
        while (s->range < absmax)
            double_range(s);
    double per = s->range > 0 ? HALF / s->range : 0;
    for (int64_t i = 0; i < n; i++) {
        double v = (double)x[i];
        if (!isfinite(v))
            continue;
        int bin = HALF + (int)floor(v * per);
        s->histogram[bin < 0 ? 0 : bin >= OBSERVER_BINS ? OBSERVER_BINS - 1 : bin]++;
    }
    s->average_min = s->frames ? s->average_min + averaging * (lo - s->average_min) : lo;
    s->average_max = s->frames ? s->average_max + averaging * (hi - s->average_max) : hi;
    s->frames++;
    s->count += seen;
    s->min = lo < s->min ? lo : s->min;
    s->max = hi > s->max ? hi : s->max;
    s->sum += sum;
    s->squares += squares;
}

static double larger(double a, double b)
{
    return fabs(a) > fabs(b) ? fabs(a) : fabs(b);
}

double statistics_absmax(const struct statistics *s)
{
    return s->count ? larger(s->min, s->max) : 0;
}

double statistics_mean(const struct statistics *s)
{
    return s->count ? s->sum / (double)s->count : 0;
}

double statistics_std(const struct statistics *s)
{
    double mean = statistics_mean(s);
    double variance = s->count ? s->squares / (double)s->count - mean * mean : 0;
    return variance > 0 ? sqrt(variance) : 0;
}

/* Values whose magnitude falls into bin i of 0 .. HALF-1. */
static int64_t magnitude(const struct statistics *s, int i)
{
    return s->histogram[HALF + i] + s->histogram[HALF - 1 - i];
}

double statistics_beyond(const struct statistics *s, double t)
{
    double width = s->range / HALF, beyond = 0;
    if (s->count == 0 || t >= statistics_absmax(s))
        return 0;
    for (int i = 0; i < HALF; i++) {
        double lo = i * width, hi = lo + width;
        if (hi <= t)
            continue;
        double share =
            lo >= t ? 1 : (hi - t) / width; /* values of one bin count as evenly spread */
        beyond += share * (double)magnitude(s, i);
    }
    return beyond / (double)s->count;
}

/* ── ranges ── */

static double percentile(const struct statistics *s, double percent)
{
    double want = percent / 100 * (double)s->count, below = 0, width = s->range / HALF;
    double absmax = statistics_absmax(s);
    for (int i = 0; i < HALF; i++) {
        double n = (double)magnitude(s, i);
        if (n > 0 && below + n >= want) {
            double t = width * (i + (want - below) / n);
            return t < absmax ? t : absmax;
        }
        below += n;
    }
    return absmax;
}

double observer_error(const struct statistics *s, double t, enum dtype dtype)
{
    double step = t / (dtype == DT_QINT16 ? 32767.5 : 127.5), width = s->range / HALF, sum = 0;
    if (s->count == 0)
        return 0;
    for (int i = 0; i < HALF; i++) {
        double n = (double)magnitude(s, i), x = (i + .5) * width;
        if (i == 0)
            n -= (double)s->zeros; /* 0 is always exact */
        if (n <= 0)
            continue;
        /* inside, rounding spreads evenly over a step; beyond, the distance to the end counts */
        sum += n * (x <= t ? step * step / 12 : (x - t) * (x - t) + step * step / 12);
    }
    return sum / (double)s->count;
}

static double least_error(const struct statistics *s, enum dtype dtype)
{
    double absmax = statistics_absmax(s), best = absmax, least = INFINITY;
    for (int k = 1; k <= 200; k++) {
        double t = absmax * k / 200, e = observer_error(s, t, dtype);
        if (e < least) {
            least = e;
            best = t;
        }
    }
    return best;
}

/* Relative entropy of the first `bins` of h, with what lies beyond them in the last one, to the same
 * spread over `levels` steps. The first bin holds the zeros, which are exact, and is left out. */
static double divergence(const double *h, int all, int bins, int levels)
{
    double beyond = 0, kept = 0, sum = 0;
    for (int i = bins; i < all; i++)
        beyond += h[i];
    for (int i = 1; i < bins; i++)
        kept += h[i];
    if (kept <= 0)
        return INFINITY;
    for (int level = 0; level < levels; level++) {
        int from = level * bins / levels, to = (level + 1) * bins / levels, used = 0;
        double inside = 0;
        from = from > 1 ? from : 1;
        for (int i = from; i < to; i++) {
            inside += h[i];
            used += h[i] > 0 || i == bins - 1;
        }
        for (int i = from; i < to; i++) {
            double p = (h[i] + (i == bins - 1 ? beyond : 0)) / (kept + beyond);
            double q = inside > 0 ? inside / used / kept : 1e-9;
            if (p > 0)
                sum += p * log(p / q);
        }
    }
    return sum;
}

/* Distributions can only be compared where bins hold enough values: 16 on average, in bins up to 8
 * times as wide. With fewer values the whole range is kept. */
static double least_divergence(const struct statistics *s)
{
    enum { LEVELS = 128, ENOUGH = 16, WIDEST = 8 };
    double h[HALF], best = statistics_absmax(s), least = INFINITY;
    int wide = 1;
    while (wide <= WIDEST && s->count < (int64_t)ENOUGH * (HALF / wide))
        wide *= 2;
    if (wide > WIDEST)
        return best;
    int all = HALF / wide;
    double width = s->range / all;
    for (int i = 0; i < all; i++) {
        h[i] = 0;
        for (int k = 0; k < wide; k++)
            h[i] += (double)magnitude(s, i * wide + k);
    }
    int most = (int)ceil(best / width);
    for (int bins = LEVELS; bins <= most && bins <= all; bins += LEVELS / 8) {
        double d = divergence(h, all, bins, LEVELS);
        if (d < least) {
            least = d;
            best = bins * width;
        }
    }
    return best;
}

double observer_range(const struct statistics *s, enum observer o,
                      const struct qconfig_activation *q)
{
    double absmax = statistics_absmax(s), t = absmax;
    if (s->count == 0 || absmax <= 0)
        return 0;
    switch (o) {
    case OBSERVER_AVERAGING: t = larger(s->average_min, s->average_max); break;
    case OBSERVER_PERCENTILE: t = percentile(s, q->percentile); break;
    case OBSERVER_KL: t = least_divergence(s); break;
    case OBSERVER_MSE: t = least_error(s, q->dtype); break;
    case OBSERVER_CLIP: return larger(q->min, q->max);
    case OBSERVER_CLIP_STD: {
        double mean = statistics_mean(s), std = statistics_std(s);
        t = larger(mean - q->std * std, mean + q->std * std);
        break;
    }
    case OBSERVER_MIN_MAX:
    case OBSERVER_FIXED_SCALE:
    case OBSERVER_MIX:
    case OBSERVER_COUNT: break;
    }
    return t > 0 && t < absmax ? t : absmax;
}
