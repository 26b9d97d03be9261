/* children: the processes that the daemon starts and keeps alive: workers, and the one that delivers the
 * notices of webhooks. The main thread's; a child that dies is started again after a pause that doubles while
 * it dies young. */
#ifndef BPU_SERVER_CHILDREN_H
#define BPU_SERVER_CHILDREN_H

#include <sys/types.h>

#include "server/http.h"

struct child {
    pid_t pid; /* 0: not running */
    uint64_t started_us, start_at_us;
    int backoff_ms;
    char name[64]; /* of a worker: its leases are released when it dies */
};

struct children {
    struct http_server *server;
    struct child *list; /* the workers, then the deliverer, which runs once server->hooks_wanted says so */
    int workers;
};

/* Room for those that the configuration asks for; nothing is started. False without memory. */
bool children_init(struct children *c, struct http_server *h) BPU_CHECKED;
/* Starts those that are due; milliseconds until the next one is, -1 for never. */
int children_start(struct children *c);
/* Notes which ended; a worker's leases are released. */
void children_reap(struct children *c);
/* Asks all to end, waits, kills those that do not, and frees the list. */
void children_stop(struct children *c);
/* Lets others have the jobs of the workers of a daemon that was killed. */
void children_orphans(struct http_server *h);

#endif
