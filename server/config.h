/* config: settings of the daemon from flags, BPUHUB_* environment and one file, in that order. */
#ifndef BPU_SERVER_CONFIG_H
#define BPU_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"

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
