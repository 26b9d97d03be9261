/* check_config: whether the daemon could serve with its settings. */
#ifndef BPU_SERVER_CHECK_CONFIG_H
#define BPU_SERVER_CHECK_CONFIG_H

#include "core/base/error.h"
#include "server/config.h"

/* False with the first thing that would keep it from it: certificate, address, data directory. An
 * address that is in use is taken to be so by the service itself. Writes nothing. */
bool check_config(const struct config *c, struct bpu_error *err) BPU_CHECKED;

#endif
