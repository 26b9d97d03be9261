/* store_care: what an operator does to a data directory: backup, restore, fsck, retention.
 *
 * Beside store.h, because none of it is on the way of a request.  All of it may run while the service runs, except
 * store_restore(), which makes a new data directory. */
#ifndef BPU_SERVER_STORE_CARE_H
#define BPU_SERVER_STORE_CARE_H

#include "server/store.h"

/* ---- fsck (store_fsck.c) */

struct fsck_options {
    bool repair;
    bool quick;  /* sizes only; else every content is hashed */
    bool alone;  /* nobody else has the directory: a running job has lost its worker, a file without a row its upload */
    /* Called for each finding; `repaired` tells whether it is one no more. */
    void (*found)(void *ctx, const char *text, bool repaired);
    void *ctx;
};

struct fsck_result {
    int64_t files, bytes;        /* looked at */
    int64_t problems, repaired;
};

/* False if it could not be done to the end; findings are no error. */
bool store_fsck(struct store *s, const struct fsck_options *o, struct fsck_result *out,
                struct bpu_error *err) BPU_CHECKED;

/* ---- backup (store_backup.c) */

struct backup_result {
    int64_t jobs, models, files, copied, bytes; /* bytes: of the files that had to be copied */
    int64_t missing;                            /* contents that are not there (any more) */
};

/* Into a folder (made if need be): a snapshot of the database and every file that it names.  A folder that holds
 * an earlier backup is brought up to date: contents that are there are not copied again, and until the new snapshot
 * takes its place, last and at once, the earlier one is whole. */
bool store_backup(struct store *s, const char *target, struct backup_result *out,
                  struct bpu_error *err) BPU_CHECKED;
/* From such a folder into a data directory that does not exist or is empty.  Every content is hashed on the way. */
bool store_restore(const char *source, const char *dir, struct backup_result *out,
                   struct bpu_error *err) BPU_CHECKED;

/* ---- retention (store_prune.c) */

struct prune_policy {
    int64_t max_age_ms;       /* ended jobs that are older go; 0: none */
    int64_t max_bytes;        /* the oldest ended jobs go until files take no more; 0: no bound */
    const char *const *pinned; /* projects whose jobs stay, ends with NULL; may be NULL */
    bool dry_run;
    int64_t file_age_ms;      /* of a file that may go; 0 means an hour: somebody may be about to name it */
};

struct prune_result {
    int64_t jobs, models; /* that went, or would go */
    int64_t bytes;        /* that become free, the latest with the next sweeps */
    int64_t bytes_left;
    bool more;            /* stopped at the bound of one call; call again */
};

/* At most some hundred jobs a call, in one durable transaction. */
bool store_prune(struct store *s, const struct prune_policy *p, struct prune_result *out,
                 struct bpu_error *err) BPU_CHECKED;

#endif
