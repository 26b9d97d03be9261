/* ready: what /readyz asks of the machine. */
#ifndef BPU_SERVER_READY_H
#define BPU_SERVER_READY_H

#include "core/base/error.h"

/* Writes, syncs and removes a small file of the data directory, and looks for some room. */
bool ready_disk(const char *data_dir, struct bpu_error *err) BPU_CHECKED;
/* wanted 0: workers run elsewhere. */
bool ready_workers(int wanted, int alive, struct bpu_error *err) BPU_CHECKED;

#endif
