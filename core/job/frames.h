/* frames: the arrays of files as frames of a graph's inputs, scaled as the network expects them. */
#ifndef BPU_JOB_FRAMES_H
#define BPU_JOB_FRAMES_H

#include "core/job/feed.h"
#include "core/quant/quant.h"

/* True if `key` is PREFIX.scale, PREFIX.mean, PREFIX.std or PREFIX.frames. */
bool frames_option(const char *prefix, const char *key);
/* Binds the sources to the inputs of g and makes *out read them as
 * (value * PREFIX.scale - PREFIX.mean) / PREFIX.std, mean and std being one number or one per
 * channel; at most PREFIX.frames.  `fallback` (or NULL): the prefix whose options stand in for those
 * that are not given, but for the number of frames.  Without sources *out has no frame. */
bool frames_open(struct arena *a, const struct graph *g, struct feed_source *sources, size_t count,
                 const struct job_option *options, size_t option_count, const char *prefix,
                 const char *fallback, struct quant_data *out, struct bpu_error *err) BPU_CHECKED;
/* A number of frames that an option gives. */
bool frames_count(const char *key, const char *text, int64_t *out, struct bpu_error *err)
    BPU_CHECKED;
/* The value of the last option of that name, or NULL. */
const char *job_option_find(const struct job_option *options, size_t count, const char *key);

#endif
