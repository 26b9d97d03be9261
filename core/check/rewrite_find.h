/* rewrite_find: what the files that look for rewrites share. */
#ifndef BPU_CHECK_REWRITE_FIND_H
#define BPU_CHECK_REWRITE_FIND_H

#include "core/check/rules.h"

#define RETRAIN "they see the same window; train them again."
#define EXACT "the result is the same."

struct finder {
    const struct subject *s;
    struct rewrite *w;       /* the candidate */
    struct rewrite_step now; /* the node itself, where it has windows */
    int64_t output_padding[2];
    bool same; /* padding by a word: not the same on both sides */
};

/* A candidate: finder_start, finder_add for each layer, then finder_fits: true if the march takes
 * it. */
void finder_start(struct finder *f);
struct rewrite_step *finder_add(struct finder *f, const struct rewrite_step *t);
bool finder_fits(struct finder *f, const char *why);
/* A layer with windows of 1. */
struct rewrite_step finder_plain(const char *op, int64_t in, int64_t out);
/* Reads the windows of a 2-D layer into f->now. */
bool finder_read_windows(struct finder *f);

/* ── windows and strides (rewrite_window.c) ── */
/* Smaller windows, one behind the other, that see the same. */
bool find_stack(struct finder *f);
/* Windows that do not overlap and multiply to `kernel`. */
bool find_product(struct finder *f, const char *op, const int64_t kernel[2], const char *why);
/* An average pool as a mean of means. */
bool find_average(struct finder *f);
/* A kernel with zeros instead of dilation; smaller dilations in a row; an axis after the other. */
bool find_dense(struct finder *f);
bool find_dilations(struct finder *f);
/* The stride (or, keep: the residual add) in a 1x1 convolution behind the layer. */
bool find_pick(struct finder *f, bool keep);
bool find_pool_stride(struct finder *f);
bool find_padding(struct finder *f);

/* ── other layouts (rewrite_layout.c) ── */
bool find_linear(struct finder *f);
bool find_one_axis(struct finder *f);
bool find_depth_as_channels(struct finder *f);
bool find_mean(struct finder *f);
bool find_as_conv(struct finder *f);

#endif
