/* job: the way of one model through core/, from bytes to reports.
 *
 * The command line and the sandboxed job child call the same function.  A job is pure: the same
 * model, kind, march, options and tool version give the same artifacts to the byte. */
#ifndef BPU_JOB_H
#define BPU_JOB_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/buf.h"
#include "core/base/error.h"

struct job_option {
    const char *key, *value;
};

/* A file that an option names, in memory, read only. */
struct job_file {
    const char *option; /* "calibration" */
    const void *data;
    size_t size;
};

#define JOB_MAX_FILES 4

struct job_request {
    const char *kind;  /* "check", "visualize", "quantize" …; see job_kind_known() */
    const char *march; /* "bernoulli2" or "bayes", any case; may be NULL for visualize */
    const char *model_id;   /* SHA-256 of the bytes in hex, for the reports */
    const char *model_name; /* the file name as the user knows it */
    const struct job_option *options;
    size_t option_count;
    struct job_file files[JOB_MAX_FILES]; /* of the options that job_option_file() names */
    size_t file_count;
    size_t memory_quota; /* bytes that the job's arena may take */
};

#define JOB_MAX_ARTIFACTS 16

struct job_artifact {
    char name[48]; /* "report.json", "graph.svg", "model.json" … */
    char type[48]; /* media type */
    struct buf bytes;
};

struct job_result {
    char verdict[16]; /* "legal", "illegal" or "" where the kind gives none */
    struct job_artifact artifacts[JOB_MAX_ARTIFACTS];
    size_t artifact_count;
};

/* Told where the work is: stage is a short word ("import", "check", "draw"), done is 0..1. */
typedef void job_progress_fn(void *ctx, const char *stage, double done);

/* True if job_run can do this kind in this version. */
bool job_kind_known(const char *kind);
/* True if the job computes in float: on oneDNN, whose kernels are generated at run time.  Kind and options
 * decide. */
bool job_floats(const struct job_request *q);
/* True if jobs of this kind take the option `key` as a file: its value is the file's SHA-256 in hex,
 * with :NAME behind it for one array of several. */
bool job_option_file(const char *kind, const char *key);
/* Splits such a value. False if it is not of that form; *array is NULL if it names none. */
bool job_file_value(const char *value, char sha256[65], const char **array);

/* Runs the job over `size` bytes at `data` (read only; must stay valid during the call).  On success
 * fills *out, which the caller releases with job_result_fini(); on failure *err says what and
 * where, and *out is empty. Artifacts of a check: report.json, model.json; of visualize: graph.svg,
 * model.json; of quantize: report.json, report.html, fixed.bpug, graph.svg, calibration.data.json,
 * model.json; of evaluate: report.json, report.html, a data.json per file, model.json; of compile: model.bpu,
 * report.json, report.html, memory.svg, schedule.svg, graph.svg, a data.json per file, model.json, with gates
 * gates.json, and of an illegal model only the report of its check; of perf the same, of a program without
 * model.bpu and graph.svg; of pipeline also check.json and compile.json, and of an illegal model report.json
 * of its check and graph.svg.  model.json is {"format", "inputs", "outputs", "nodes", "parameters"} of the model,
 * OPTION.data.json {"arrays": [{"name", "shape", "dtype"}]} of a file. */
bool job_run(const struct job_request *request, const void *data, size_t size,
             job_progress_fn *progress, void *progress_ctx, struct job_result *out,
             struct bpu_error *err) BPU_CHECKED;
void job_result_fini(struct job_result *r);

/* Loads what a job would load lazily (tables, plugins, fonts), so that a child forked from a warm
 * template needs no file system. */
void job_warm_up(void);
/* The same for kinds that compute in float; slower, so only before the first of them. */
void job_warm_up_floats(void);

#endif
