/* wake: how the daemon and the workers of one data directory tell each other to look.
 *
 * A wake-up carries a job id and no truth: whoever gets one reads the store.  Losing one costs at
 * most a second, because both sides also look once a second; nothing here can fail a request.
 *
 *   the daemon queued or cancelled a job   wake_workers(w, id)
 *   a worker changed a job                 wake_server(w, id)
 *
 * Sockets: DIR/hub.sock for the daemon, DIR/wake/<name> for each worker, unix datagrams; the
 * folder of the data directory keeps others out.
 * Sending is safe from several threads at once; reading belongs to one thread. */
#ifndef BPU_SERVER_WAKE_H
#define BPU_SERVER_WAKE_H

#include <stdbool.h>

#include "core/base/error.h"

struct wake;

enum wake_role {
    WAKE_SERVER, /* hears wake_server(); one per directory, a second one gets BPU_CONFLICT */
    WAKE_WORKER, /* hears wake_workers() */
    WAKE_SENDER, /* only sends: command line tools, tests */
};

#define WAKE_ID_SIZE 40

/* dir must exist.  NULL with *err set: no such directory, not writable, or taken. */
struct wake *wake_open(const char *dir, enum wake_role role, struct bpu_error *err) BPU_CHECKED;
void wake_close(struct wake *w);
/* Readable when wake_read() has something; non-blocking, close-on-exec; -1 for WAKE_SENDER. */
int wake_fd(const struct wake *w);
/* Never block and never fail; job_id may be "" for "look at everything". */
void wake_workers(struct wake *w, const char *job_id);
void wake_server(struct wake *w, const char *job_id);
/* Takes the next wake-up; false when none is left.  An empty id means that the receiver should look
 * at everything it waits for, because single wake-ups did not fit into the queue. */
bool wake_read(struct wake *w, char job_id[WAKE_ID_SIZE]);

#endif
