/* dnnl: float32 convolutions, matrix products and pools on oneDNN.
 *
 * The library is loaded when the first node asks for it: it costs 7 ms and 40 MiB of address space
 * that a check does not need.  Inside a sandbox that forbids opening files it must be there
 * already: dnnl_warm_up() before.  It runs on one thread and makes none. */
#ifndef BPU_RUN_DNNL_H
#define BPU_RUN_DNNL_H

#include "core/run/fast.h"

/* Loads oneDNN for the rest of the process. False: it is not installed, or another version. */
bool dnnl_warm_up(void);
/* A source of fast kernels (core/run/fast.c). */
fast_prepare_fn dnnl_prepare;

#endif
