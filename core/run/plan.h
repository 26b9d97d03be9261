/* plan: where values with live ranges lie in one block of memory. */
#ifndef BPU_RUN_PLAN_H
#define BPU_RUN_PLAN_H

#include <stdbool.h>

#include "core/base/arena.h"

#define PLAN_ALIGN 64

/* A piece of memory that is used from step `first` to step `last`, both included. */
struct plan_item {
    size_t bytes;
    int first, last;
    bool high;     /* goes to the upper end of plan_size.enough: what comes and goes in another rhythm than
                      the rest leaves fewer gaps there */
    size_t offset; /* the answer, a multiple of PLAN_ALIGN */
};

struct plan_size {
    size_t enough; /* given: the search ends with a block of at most this size; 0: the smallest it finds */
    size_t total;  /* of the block */
    size_t live;  /* most bytes that are used in one step: no plan can be smaller */
};

/* Places all items so that two that are used in the same step do not overlap.  Takes scratch from
 * the arena and gives it back. steps: all first and last lie in 0 .. steps-1. */
bool plan_place(struct arena *a, struct plan_item *items, size_t count, int steps,
                struct plan_size *size, struct bpu_error *err) BPU_CHECKED;

#endif
