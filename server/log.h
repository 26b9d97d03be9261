/* log: lines on standard error, for people or for machines.
 *
 *   BPUHUB_LOG=text   "bpuhub: the message" (the default)
 *   BPUHUB_LOG=json   {"time":"…","level":"warning","event":"worker_died","message":"…","pid":17,…}, with a line per request
 *                     and per job, so that one id can be followed from the request through the worker
 *
 * The environment carries the choice to the workers.  A line is written at once, so that lines of several processes do not
 * mix. */
#ifndef BPU_SERVER_LOG_H
#define BPU_SERVER_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/error.h"

struct log_line {
    struct buf buf;
    bool json;
};

bool log_is_json(void);
/* level: "info", "warning", "error". event: a stable word. The message is for people and may be NULL in JSON. */
void log_begin(struct log_line *l, const char *level, const char *event, const char *fmt, ...)
    BPU_PRINTF(4, 5);
/* Members; nothing in text form, whose message says all. text NULL or "" is left out. */
void log_text(struct log_line *l, const char *name, const char *text);
void log_int(struct log_line *l, const char *name, int64_t value);
void log_number(struct log_line *l, const char *name, double value);
/* Writes the line. */
void log_end(struct log_line *l);
/* A line that is a sentence, about a process; pid 0: about none. */
void log_say(const char *level, const char *event, pid_t pid, const char *fmt, ...) BPU_PRINTF(4, 5);

#endif
