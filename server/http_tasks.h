/* http_tasks: the threads behind the HTTP thread, which itself never waits for disk or database.
 *
 *   LANE_DISK   2 threads, no store: hash, write, fsync, rename of uploads
 *   LANE_WRITE  1 thread with its own store handle: many tasks in one durable transaction
 *   LANE_READ   2 threads with a store handle each */
#ifndef BPU_SERVER_HTTP_TASKS_H
#define BPU_SERVER_HTTP_TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "server/store.h"

enum task_lane { LANE_DISK, LANE_WRITE, LANE_READ, LANE_COUNT };

struct tasks;

/* Lives in what it works for; belongs to the lane from tasks_post() until `after` is called, which
 * may free or post it again. */
struct task {
    struct task *next;
    /* The work. false with err set on failure. In LANE_WRITE it runs inside a transaction that
     * others share, and again from the start if that transaction had to be given up. */
    bool (*run)(struct task *t, struct store *s);
    /* Once the work is durable or has failed (err.code != BPU_NONE). */
    void (*after)(struct task *t);
    struct bpu_error err;
};

struct tasks *tasks_new(const char *data_dir, struct bpu_error *err) BPU_CHECKED;
void tasks_post(struct tasks *q, enum task_lane lane, struct task *t);
/* Works off what is queued, ends the threads, closes the stores. */
void tasks_free(struct tasks *q);
/* What the write lane has done since the start. */
struct tasks_commits {
    uint64_t commits, failures, requests, us; /* requests: tasks in them; us: from begin to durable */
};
struct tasks_commits tasks_commits(struct tasks *q);
/* For store_model_path() and store_artifact_path() only, which read nothing that changes. */
const struct store *tasks_store(const struct tasks *q);

#endif
