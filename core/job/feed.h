/* feed: which array of which file feeds which input of a graph, as how many frames. */
#ifndef BPU_JOB_FEED_H
#define BPU_JOB_FEED_H

#include "core/data/data.h"
#include "core/job/job.h"

/* The arrays of one file. */
struct feed_source {
    const char *name; /* of the input that it feeds; NULL: found out */
    const char *key;  /* of the array in the file; NULL: the only one, or by the names of inputs */
    const char *what; /* the file's path or the option that names it, for messages */
    struct array_file arrays;
    bool used;
};

/* What feeds one input. */
struct feed {
    const struct array *array;
    const char *what;
    int64_t frames; /* 1 with several frames elsewhere: the same one each time */
};

/* Finds the array for every input of g; *frames: how many frames there are.  The leading axis of an
 * array may hold many; extents of 1 at the front of the graph's own shape may be missing. */
bool feed_bind(struct arena *a, const struct graph *g, struct feed_source *sources, size_t count,
               struct feed **feeds, int64_t *frames, struct bpu_error *err) BPU_CHECKED;
/* For a model that leaves shapes open: the options and, where they give no shape, input.NAME=1x…
 * as the arrays have it. */
bool feed_shape_options(struct arena *a, const struct feed_source *sources, size_t count,
                        const struct job_option *options, size_t option_count,
                        struct job_option **out, size_t *out_count,
                        struct bpu_error *err) BPU_CHECKED;

#endif
