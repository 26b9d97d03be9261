/* fast: kernels that are prepared once for one node, and then only run.
 *
 *   run_new ─ fast_prepare(call) ─┬ a fast_kernel: weights packed, primitive built ─ run_frame calls it
 *                                 └ none for this node ─ run_frame calls the reference kernel
 *
 * A prepared kernel gives the same bits as the reference for everything quantized; float results may
 * differ in rounding. */
#ifndef BPU_RUN_FAST_H
#define BPU_RUN_FAST_H

#include "core/run/kernel.h"

/* One frame of the node.  c is the call that was prepared: same tensors at the same places. */
typedef bool fast_fn(void *state, const struct kernel_call *c, struct bpu_error *err);

struct fast_kernel {
    fast_fn *run; /* NULL: there is none for this node */
    void *state;
};

/* The tensors of c are described; parameters and other constants have their content, everything else
 * has no memory yet (data NULL).  state lives in the arena, which is not c->scratch: that is for what is
 * needed during the preparation only.  What is not memory of the arena is released by arena_on_fini().
 * variant: as run_options.variant.  True with run NULL is no error. */
typedef bool fast_prepare_fn(struct arena *a, const struct kernel_call *c, const char *variant,
                             struct fast_kernel *out, struct bpu_error *err);

/* Asks the sources that keep no pointer to parameters and read them wherever they lie: a run need not
 * keep an aligned copy of what is only read by what was prepared here, and its calls have none. */
bool fast_prepare_packed(struct arena *a, const struct kernel_call *c, const char *variant,
                         struct fast_kernel *out, struct bpu_error *err) BPU_CHECKED;
/* Asks every other source of fast kernels in turn; the first that has one wins. */
bool fast_prepare(struct arena *a, const struct kernel_call *c, const char *variant,
                  struct fast_kernel *out, struct bpu_error *err) BPU_CHECKED;

#endif
