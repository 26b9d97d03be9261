/* load: the parts of a job that the command line uses one by one. */
#ifndef BPU_JOB_LOAD_H
#define BPU_JOB_LOAD_H

#include "core/check/check.h"
#include "core/ir/graph.h"
#include "core/job/job.h"

/* import_model() with those of the options that import knows (input.*). Options that nobody knows are an
 * error with near names. */
struct graph *job_load(struct arena *a, const void *data, size_t size, const char *name,
                       const struct job_option *options, size_t count, struct bpu_error *err)
    BPU_CHECKED;
/* advice=US, dtype.NODE=qint16, input_source[.NAME]=ddr|pyramid|resizer. */
bool job_check_options(const struct job_option *options, size_t count, struct arena *a,
                       struct check_options *out, struct bpu_error *err) BPU_CHECKED;
/* {"format","name","producer","inputs","outputs","nodes","parameters"}. */
bool job_model_json(const struct graph *g, struct buf *out, struct bpu_error *err) BPU_CHECKED;
/* Sets BPU_BAD_MARCH, naming those that there are. Returns false. */
bool job_unknown_march(const char *name, struct bpu_error *err);

#endif
