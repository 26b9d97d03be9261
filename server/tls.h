/* tls: the certificate and key of the daemon, read and checked before it listens. */
#ifndef BPU_SERVER_TLS_H
#define BPU_SERVER_TLS_H

#include "core/base/error.h"
#include "server/config.h"

struct tls_files {
    char *cert, *key; /* PEM texts, or NULL without TLS */
};

/* What the configuration names; both stay NULL if it names nothing. */
bool tls_load(const struct config *c, struct tls_files *out, struct bpu_error *err) BPU_CHECKED;
void tls_free(struct tls_files *f);

#endif
