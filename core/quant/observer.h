/* observer: what a feature map's values look like, and the range that its integers should cover.
 *
 * Ranges are symmetric: an observer gives the largest magnitude T that is kept, and the scale is
 * T / 127.5 (qint8) or T / 32767.5 (qint16). */
#ifndef BPU_QUANT_OBSERVER_H
#define BPU_QUANT_OBSERVER_H

#include "core/quant/qconfig.h"

#define OBSERVER_BINS 4096 /* of a histogram over ±range */

struct statistics {
    int64_t count, zeros, not_finite;
    double min, max, sum, squares;
    double average_min, average_max; /* exponential averages over frames */
    int64_t frames;
    double range; /* of the histogram; doubles when a value lies beyond it */
    int64_t *histogram;
};

bool statistics_init(struct arena *a, struct statistics *s, struct bpu_error *err) BPU_CHECKED;
/* One frame's values.  averaging: weight of the new frame in the exponential averages. */
void statistics_add(struct statistics *s, const float *x, int64_t n, double averaging);
double statistics_absmax(const struct statistics *s);
double statistics_mean(const struct statistics *s);
double statistics_std(const struct statistics *s);
/* Share of the values whose magnitude is beyond t. */
double statistics_beyond(const struct statistics *s, double t);

/* The largest magnitude to keep.  Not for OBSERVER_FIXED_SCALE and OBSERVER_MIX. */
double observer_range(const struct statistics *s, enum observer o,
                      const struct qconfig_activation *q);
/* Expected squared error per value when magnitudes up to t are kept. */
double observer_error(const struct statistics *s, double t, enum dtype dtype);

#endif
