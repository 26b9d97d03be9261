/* config: settings of the daemon from flags, BPUHUB_* environment and one file, in that order. */
#ifndef BPU_SERVER_CONFIG_H
#define BPU_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"

#define RATE_DEFAULT 500 /* not on loopback without tokens */

struct config {
    char listen[256]; /* HOST:PORT, [V6]:PORT */
    char data[3072];
    int64_t workers;
    int64_t max_upload; /* bytes */
    int64_t job_memory; /* bytes */
    int64_t job_seconds;
    int64_t job_attempts; /* of a job whose process or worker is killed */
    int64_t retention_days, retention_bytes; /* 0: for ever, no bound */
    char pinned_projects[2048];              /* comma-separated; their jobs stay */
    char log[8]; /* "text" or "json" */
    bool check_config;
    bool insecure;
    bool anonymous_read;          /* public projects may be read without a token */
    char tls_cert[3072], tls_key[3072]; /* PEM files; both or none */
    bool proxy_tls;               /* clients reach us through a proxy that speaks TLS */
    int64_t rate;                 /* requests a second of a token or an address; 0: no bound, -1: RATE_DEFAULT */
    int64_t quota_upload;         /* bytes a day of a token; 0: no bound */
    int64_t quota_queued;         /* queued jobs of a token; 0: no bound */
    int64_t connections;          /* from one address; 0: no bound, -1: the default */
    int64_t idle_seconds;         /* for a request's head, and of silence */
    bool webhook_private;         /* webhooks may lead to this machine and private networks */
    int64_t webhook_retry_ms;     /* before the second attempt of a notice; grows fourfold */
    int64_t audit_days;           /* how long the audit log is kept */
    bool help;
};

/* Fills *c from defaults, the config file, the environment and the flags argv[1..]. */
bool config_load(struct config *c, int argc, char **argv, struct bpu_error *err) BPU_CHECKED;
#define CONFIG_PINNED_MAX 128
/* Cuts the comma-separated names in place; list ends with NULL. */
void config_pinned(char *names, const char *list[CONFIG_PINNED_MAX + 1]);
/* The text of `bpuhub serve --help`. */
const char *config_usage(void);

#endif
