/* kind: what the functions of the kinds of jobs share; each kind is one of them. */
#ifndef BPU_JOB_KIND_H
#define BPU_JOB_KIND_H

#include "core/ir/graph.h"
#include "core/job/feed.h"
#include "core/job/gate.h"
#include "core/job/job.h"

/* A job at work. */
struct job_work {
    const struct job_request *req;
    const void *model;
    size_t model_size;
    struct arena *arena;
    struct graph *graph; /* the model as it was read; kinds that read it themselves set it */
    job_progress_fn *progress;
    void *progress_ctx;
    struct job_result *out;
    struct bpu_error *err;
};

typedef bool job_kind_fn(struct job_work *w);

/* ── job.c ── */

void job_stage(const struct job_work *w, const char *name, double done);
/* A new artifact, empty; the caller writes its bytes. NULL with *w->err: there is no room for one more. */
struct buf *job_artifact_new(const struct job_work *w, const char *name, const char *type);

/* ── kind_quantize.c ── */

job_kind_fn kind_quantize;
/* The arrays of the file that an option names, and what the key behind its ':' picks of them; adds
 * the artifact OPTION.data.json, which says what the file holds. *found false: no such option. */
bool kind_file(struct job_work *w, const char *option, struct feed_source *out,
               bool *found) BPU_CHECKED;

/* ── kind_compile.c ── */

job_kind_fn kind_compile;
/* The artifact gates.json, which views of the job show; none without gates. */
bool kind_gates(const struct job_work *w, const struct gates *g) BPU_CHECKED;

/* ── kind_perf.c ── */

job_kind_fn kind_perf;
job_kind_fn kind_pipeline;

/* ── kind_evaluate.c ── */

job_kind_fn kind_evaluate;
/* The options that only this reads. */
bool evaluate_option(const char *key);

#endif
