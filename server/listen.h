/* listen: where the daemon is reached. */
#ifndef BPU_SERVER_LISTEN_H
#define BPU_SERVER_LISTEN_H

#include "core/base/error.h"
#include "server/config.h"

/* The socket, or -1. An address beyond loopback is refused without tokens, unless c->insecure says
 * that this is meant; *loopback: only this machine reaches it. */
int listen_open(const struct config *c, bool has_tokens, bool *loopback, struct bpu_error *err) BPU_CHECKED;
/* Its port, which the system may have chosen; 0 if it has none. */
int listen_port(int fd);
/* "listening on http://…" on standard output, for people and scripts. */
void listen_print(const struct config *c, int port);

#endif
