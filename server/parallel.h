/* parallel: work that may run at once, on threads. */
#ifndef BPU_SERVER_PARALLEL_H
#define BPU_SERVER_PARALLEL_H

/* Calls work(ctx, i) for i = 0 … count - 1 on at most `jobs` threads, this one included, and returns
 * when all are done.  Where threads cannot be had, fewer do the work. */
void parallel_run(int jobs, int count, void (*work)(void *ctx, int i), void *ctx);
/* How many threads this machine runs at once, at least 1. */
int parallel_most(void);

#endif
