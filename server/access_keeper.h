/* What access.c and access_keeper.c share: the table itself. Nobody else includes this. */
#ifndef BPU_SERVER_ACCESS_KEEPER_H
#define BPU_SERVER_ACCESS_KEEPER_H

#include <pthread.h>

#include "server/access.h"

#define ACCESS_PROJECT 128
#define ACCESS_DAY_MS INT64_C(86400000)

struct entry {
    struct entry *next;
    struct store_token token;
    int64_t used, used_saved;       /* when; milliseconds since 1970 */
    int64_t day, uploaded, unsaved; /* bytes of that day, and those that the store does not have */
};

struct secret {
    char hash[65];
    bool session;
    struct entry *entry;
    int64_t expires; /* 0: never */
};

struct access_table {
    pthread_mutex_t lock;
    struct entry *entries;
    struct secret *secrets;
    size_t secret_count;
    char (*hidden)[ACCESS_PROJECT];
    size_t hidden_count;
    int64_t version;
    bool closed; /* there are tokens */
    int64_t rate, quota_upload, quota_queued;

    /* The keeper's. */
    struct store *store;
    pthread_t thread;
    pthread_cond_t wake;
    bool started, woken, closing;
    int64_t audit_days;
};

#endif
