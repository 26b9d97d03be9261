/* run_private: what planning (run_build.c) leaves for execution (run.c). */
#ifndef BPU_RUN_RUN_PRIVATE_H
#define BPU_RUN_RUN_PRIVATE_H

#include "core/run/fast.h"
#include "core/run/run.h"

/* One node in execution order. */
struct run_op {
    kernel_fn *kernel; /* NULL: a view, nothing is computed */
    struct kernel_call call;
    struct fast_kernel fast;
};

/* An output of the graph is copied to the caller as soon as it is there; its memory is free for
 * others then. */
struct run_copy {
    int op;     /* index in ops; -1: there before the first one */
    int output; /* position in graph.outputs */
    const struct tensor *from;
};

struct run {
    struct arena *arena;
    const struct graph *graph;
    struct run_options options;
    struct tensor **tensors; /* by value index; NULL: no frame reads it; data NULL: it is not computed */
    struct run_op *ops;
    int op_count;
    struct run_copy *copies; /* by op */
    int copy_count;
    struct arena scratch; /* of kernels: one block that is kept */
    size_t block;         /* its size; 0: there is none */
    struct run_memory memory;
    size_t before;   /* that others have taken from the arena */
    size_t own;      /* that the run has, when it is made; until then 0 */
    size_t elsewhere; /* not in the arena: constants that are read where they lie, what building takes */
    struct run_counts counts;
};

/* Fills ops, tensors, copies, memory and counts; constants that the graph leaves to be computed
 * are. */
bool run_build(struct run *r, struct bpu_error *err) BPU_CHECKED;
/* Notes in memory.held what the run holds now. */
void run_note_held(struct run *r);
/* Calls the kernel of op and gives its scratch back. */
bool run_call(struct run *r, struct run_op *op, struct bpu_error *err) BPU_CHECKED;
/* Asks `prepare` for a fast kernel of op; scratch memory of that time is given back to the system. */
typedef bool run_prepare_fn(struct arena *a, const struct kernel_call *c, const char *variant,
                            struct fast_kernel *out, struct bpu_error *err);
bool run_prepare(struct run *r, struct run_op *op, run_prepare_fn *prepare,
                 struct bpu_error *err) BPU_CHECKED;

#endif
