/* fixed_pool: what an average is divided by. */
#ifndef BPU_RUN_FIXED_POOL_H
#define BPU_RUN_FIXED_POOL_H

#include "core/run/fixed.h"

struct fixed_divisors {
    int64_t override; /* 0: none */
    bool with_padding;
    struct infer_window w[FIXED_SPATIAL];
};

bool fixed_divisors(const struct kernel_call *c, struct fixed_divisors *out,
                    struct bpu_error *err) BPU_CHECKED;
/* Of the window at (d, h, w), which has `inside` elements inside the input. May be negative, if the
 * file says so, or 0: then the result is its zero point. */
int64_t fixed_divisor(const struct fixed_divisors *v, const struct fixed_map *x, int64_t d,
                      int64_t h, int64_t w, int64_t inside);

#endif
