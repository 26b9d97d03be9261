/* sandbox: what a job's process may do, and what its death means.
 *
 * Before a model is looked at, the child gives up everything but the memory it has and one pipe:
 * all other descriptors are closed, environment and privileges are gone, limits stand on address
 * space, processor time, files and processes, it dies with its worker, and a seccomp filter, loaded
 * last, lets through only system calls on memory, on open descriptors and on clocks.  Any other
 * call ends the process with SIGSYS.  Nothing here needs root; where the kernel allows user
 * namespaces, network, IPC and mounts can be left as well. */
#ifndef BPU_SERVER_SANDBOX_H
#define BPU_SERVER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/error.h"

/* The time zone in which jobs run. Whoever forks must have it in TZ and have called tzset(): libraries that turn the dates of an
 * archive into times then find it in memory. */
#define SANDBOX_TZ "UTC0"

struct sandbox; /* the filters, compiled once per worker */

struct sandbox_limits {
    int64_t memory;  /* bytes of address space beyond what is mapped on entry */
    int cpu_seconds; /* of processor time, then SIGXCPU */
    bool namespaces; /* leave the user, network, IPC and mount namespaces, if the kernel lets us */
    bool generated_code; /* memory may be made executable: oneDNN writes its kernels at run time */
};

/* What a dying child could still say, in a page shared with its worker.  It is written by untrusted
 * code: good for wording a message, for nothing else. */
struct sandbox_note {
    volatile int32_t signal;         /* that a handler saw, 0 if none */
    volatile int32_t syscall;        /* forbidden call, -1 if none */
    volatile int32_t aborted;        /* it called abort() */
    volatile int32_t memory_short;   /* a quarter of the limit could not be had any more */
    volatile int32_t stack_overflow; /* the fault was just below the stack */
};

struct sandbox *sandbox_new(struct bpu_error *err) BPU_CHECKED;
void sandbox_free(struct sandbox *s);

/* Step 1, in the child right after fork: dies with `parent`, gets default signal handling, a new
 * session, an empty environment, and keeps of all descriptors only *fd (moved to 3; 0, 1 and 2
 * become null_fd).  Sanitizer builds keep 2 for their reports. */
bool sandbox_detach(pid_t parent, int null_fd, int *fd, struct bpu_error *err) BPU_CHECKED;
/* Step 2: limits, crash handlers that fill *note (may be NULL), no new privileges, the filter.
 * After it, only memory, the descriptors that are open, clocks and exit are left. */
bool sandbox_enter(const struct sandbox *s, const struct sandbox_limits *limits,
                   struct sandbox_note *note, struct bpu_error *err) BPU_CHECKED;

/* The name of a system call for a message ("openat"), or its number in words. */
void sandbox_syscall_name(int number, char *out, size_t n);

#endif
