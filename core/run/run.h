/* run: executes a graph, frame by frame.
 *
 *   graph ─ run_new ─ order, kernels, live ranges → places in one block of memory ─ run_frame ─
 * outputs
 *
 * Float graphs run in float, quantized nodes in integers (kernel.h); a graph may hold both, with
 * QuantStub and DeQuantStub between them.  The engine "reference" calls the kernels as they are;
 * the engine "fast" gives the same bits for everything quantized.  Nothing is allocated per frame,
 * but for the scratch memory that kernels ask for during the first one. */
#ifndef BPU_RUN_RUN_H
#define BPU_RUN_RUN_H

#include "core/run/kernel.h"

enum run_engine { RUN_REFERENCE, RUN_FAST };

struct run_options {
    enum run_engine engine;
    const char *variant; /* of the fast engine's kernels: "avx512vnni", "avx2", "portable"; NULL:
                            the best here */
    bool keep_all;       /* every value keeps its place during a frame: for traces and observers */
};

struct run;

/* Told of each result as soon as it is computed, in execution order: the results of nodes with an
 * effect that an output of the graph depends on, without inputs and constants of the graph.  The
 * tensor is in PyTorch's layout and valid during the call.  False stops the frame with the *err
 * that it has set. */
typedef bool run_trace_fn(void *ctx, const struct value *v, const struct tensor *t,
                          struct bpu_error *err);

/* Plans the graph, which must live as long as the run. options NULL: reference.  Errors name the
 * node: an operator without a kernel (BPU_UNSUPPORTED), weights that the file left out
 * (BPU_BAD_MODEL), memory. */
struct run *run_new(struct arena *a, const struct graph *g, const struct run_options *options,
                    struct bpu_error *err) BPU_CHECKED;
/* One frame. inputs and outputs: as graph.inputs and graph.outputs, data of value.shape and
 * value.dtype, owned by the caller, not necessarily aligned.  Not from two threads at once. */
bool run_frame(struct run *r, const void *const *inputs, void *const *outputs, run_trace_fn *trace,
               void *ctx, struct bpu_error *err) BPU_CHECKED;

/* Bytes.  The graph and its file are not the run's, nor is what oneDNN keeps as code. */
struct run_memory {
    size_t weights; /* of the constants that the run reads, as the graph stores them */
    size_t planned; /* of the block in which the values lie */
    size_t live;    /* of the largest live set: no plan can be smaller */
    size_t scratch; /* that the hungriest kernel of a frame took so far */
    size_t held;    /* all that the run held at any time: constants where they lie, copied or packed,
                       the block, descriptions, tables, scratch */
};
struct run_memory run_memory(const struct run *r);

/* What is executed, for reports: nodes by kernel form. */
struct run_counts {
    int real, fixed, fast; /* steps; fast ones are counted in no other */
    int views;             /* results that share the memory of their operand */
    int in_place;          /* results that take over the memory of their operand */
    int once;              /* computed from constants when the run was made */
};
struct run_counts run_counts(const struct run *r);

#endif
