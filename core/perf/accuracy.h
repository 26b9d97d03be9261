/* accuracy: what the expected error of a latency was found with. */
#ifndef BPU_PERF_ACCURACY_H
#define BPU_PERF_ACCURACY_H

#include <stdint.h>

#include "core/march/machine.h"

/* A checksum of all figures of a machine. accuracy.inc has that of the machine that the errors were found for;
 * a test fails where a figure has changed since. */
uint32_t perf_machine_mark(const struct machine *m);
/* The mark in accuracy.inc; 0: the march is not in it. */
uint32_t perf_accuracy_mark(const char *march);

#endif
