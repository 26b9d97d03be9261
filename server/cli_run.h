/* cli_run: the parts of `bpuhub run`, which the other commands that compute frames take as well. */
#ifndef BPU_SERVER_CLI_RUN_H
#define BPU_SERVER_CLI_RUN_H

#include "core/job/feed.h"
#include "core/run/run.h"
#include "server/cli.h"

/* ── inputs (cli_run_input.c) ── */

#define RUN_MAX_INPUTS 64
#define RUN_MEMORY ((size_t)4096 << 20) /* without --memory */

/* One --input [NAME=]FILE[:KEY] with its file read. */
struct run_source {
    char *name, *path, *key; /* name and key: NULL if not given */
    struct cli_file file;
    struct array_file arrays;
};

/* The files of one option that may be given many times. */
struct run_inputs {
    const char *texts[RUN_MAX_INPUTS];
    struct run_source files[RUN_MAX_INPUTS];
    struct feed_source sources[RUN_MAX_INPUTS]; /* as many as are opened */
    size_t count, opened;
};

/* What an input of the graph gets, frame by frame. */
struct run_feed {
    const struct feed *feed;
    size_t frame_bytes; /* of the file's array */
    void *converted;    /* one frame in the graph's dtype; NULL: the file's bytes as they are */
};

/* Reads the command line's text into *s; the file is opened and its arrays are read into the arena.
 * To be closed even if it fails. */
bool run_source_open(struct arena *a, const char *text, struct run_source *s,
                     struct bpu_error *err) BPU_CHECKED;
void run_source_close(struct run_source *s);
/* BPU_USAGE if `option` was given `most` times before. */
bool run_inputs_add(struct run_inputs *in, const char *option, const char *text, size_t most,
                    struct bpu_error *err) BPU_CHECKED;
bool run_inputs_open(struct arena *a, struct run_inputs *in, struct bpu_error *err) BPU_CHECKED;
void run_inputs_close(struct run_inputs *in);
/* The argument of --engine. */
bool run_engine_read(const char *text, enum run_engine *out, struct bpu_error *err) BPU_CHECKED;
/* False with *err: the array's type does not suit the input v. */
bool run_feed_init(struct arena *a, const struct value *v, const struct feed *feed,
                   struct run_feed *f, struct bpu_error *err) BPU_CHECKED;
/* The bytes of frame i for input v. NULL with *err: a value that the input cannot hold. */
const void *run_feed_frame(const struct run_feed *f, const struct value *v, int64_t i,
                           struct bpu_error *err) BPU_CHECKED;

/* ── traces (cli_run_trace.c) ── */

/* Writes every traced tensor into a new folder, which gets its name when it is complete. */
struct run_trace {
    const char *path;
    char *work;  /* the folder while it is being written */
    void *index; /* json_t */
    unsigned count;
};

bool run_trace_begin(struct run_trace *t, const char *path, struct bpu_error *err) BPU_CHECKED;
run_trace_fn run_trace_value; /* ctx: struct run_trace */
bool run_trace_end(struct run_trace *t, struct bpu_error *err) BPU_CHECKED;
/* Removes what is not complete. */
void run_trace_drop(struct run_trace *t);

/* ── compiled programs (cli_run_program.c) ── */

struct run_program;
/* Reads a program; the graph has its inputs and outputs, and no nodes. */
struct graph *run_program_open(struct arena *a, const struct cli_file *f, struct run_program **out,
                               struct bpu_error *err) BPU_CHECKED;
bool run_program_frame(struct run_program *r, const void *const *inputs, void *const *outputs,
                       struct bpu_error *err) BPU_CHECKED;
/* --json */
bool run_program_json(const struct run_program *r, const char *path, const struct cli_file *f,
                      const char *name, int64_t frames, double seconds,
                      struct bpu_error *err) BPU_CHECKED;

/* An array of the bytes of t; bfloat16, which NumPy lacks, as float32 in the arena. */
bool run_array_of(struct arena *a, const char *name, const struct shape *shape, enum dtype dtype,
                  const void *data, size_t bytes, struct array *out,
                  struct bpu_error *err) BPU_CHECKED;

#endif
