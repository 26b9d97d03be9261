/* What a job's child sends to its worker through the pipe.
 *
 * Messages of 8 bytes of header (type and length, 32 bits each, little endian) and a payload:
 *
 *   PROGRESS  u32 done in 1/10000, then the stage
 *   ERROR     code name, message, where, hint; each ended by a zero byte
 *   VERDICT   the word, may be empty
 *   FILE      name and media type, each ended by a zero byte, then the content
 *   END       nothing; the result is complete
 *
 * The sender may be an exploited process: the reader takes nothing that is out of order, too much,
 * or not written in the characters that it expects. */
#ifndef BPU_SERVER_WORKER_WIRE_H
#define BPU_SERVER_WORKER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/job/job.h"

enum wire_type { WIRE_PROGRESS = 1, WIRE_ERROR, WIRE_VERDICT, WIRE_FILE, WIRE_END };

/* Sending, in the child.  False if the worker does not listen any more. */
bool wire_send_progress(int fd, const char *stage, double done);
bool wire_send_error(int fd, const struct bpu_error *err);
bool wire_send_result(int fd, const struct job_result *r);

#define WIRE_STAGES 16

/* Receiving. */
struct wire {
    struct buf in; /* bytes that are not yet a message */
    size_t taken;  /* of those, how many are done with */
    size_t room;   /* bytes of artifacts that may still come */
    char stage[24];
    double progress;
    struct wire_stage {
        char name[24];
        int64_t us; /* spent in it */
    } stages[WIRE_STAGES];
    size_t stage_count;
    int64_t stage_since; /* when the present one began, in us */
    bool ended;             /* END has come: error or result are complete */
    struct bpu_error error; /* code NONE: a result */
    struct job_result result;
};

enum wire_read { WIRE_AGAIN, WIRE_EOF, WIRE_BROKEN };

void wire_init(struct wire *w, int64_t max_output);
void wire_fini(struct wire *w);
/* Ends the time of the present stage. */
void wire_stage_end(struct wire *w);
/* Reads what is there from a non-blocking descriptor.  WIRE_BROKEN: *err says what was wrong with
 * it (BPU_LIMIT: more output than allowed; BPU_CRASH: not our messages). */
enum wire_read wire_receive(struct wire *w, int fd, struct bpu_error *err);

#endif
