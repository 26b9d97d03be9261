/* The sandbox of a job's process.
 *
 * The filter is compiled by libseccomp once, exported as BPF, and loaded by each child with one
 * system call, because building it takes longer than a small job.  The default action is TRAP: the
 * SIGSYS handler writes the number of the call into the shared note and then makes a forbidden call
 * itself; SIGSYS being blocked inside its own handler, the kernel kills the process with SIGSYS.
 * A child cannot replace the handler: rt_sigaction is not allowed any more.
 *
 * abort() ends in tgkill(), which is forbidden as well and is told apart by the handler. */
#define _GNU_SOURCE
#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define STACK_LIMIT ((rlim_t)8 << 20)
#define FIRST_FD 3

struct sandbox {
    struct sock_fprog strict, generating; /* without and with limits.generated_code */
};

/* ---- the filter ------------------------------------------------------------------------------ */

static const int allowed[] = {
    /* open descriptors */
    SCMP_SYS(read),
    SCMP_SYS(pread64),
    SCMP_SYS(readv),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    /* memory; mmap, mprotect and mremap have conditions, below */
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    /* clocks, locks, random numbers */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getrandom),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    /* itself; sysinfo is what qsort() asks for the size of memory */
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
#if SANITIZED
    /* reports and shadow memory */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(getppid),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(prctl),
#endif
};

/* Calls that libraries make out of curiosity and that may fail: how a stream should be buffered,
 * what the limits are. */
static const int refused[] = {
    SCMP_SYS(fstat),    SCMP_SYS(newfstatat), SCMP_SYS(ioctl),
#if SANITIZED
    SCMP_SYS(readlink), SCMP_SYS(prlimit64),
#else
    SCMP_SYS(prlimit64), SCMP_SYS(getrlimit),  SCMP_SYS(sched_getaffinity),
#endif
};

static bool filter_fill(scmp_filter_ctx ctx, bool generated_code)
{
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0) != 0)
            return false;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0) != 0)
            return false;
    if (generated_code)
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 0) == 0 &&
               seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 0) == 0;
    /* No new code: a hole in a parser should not become a place to jump to. */
    const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &no_exec) == 0 &&
           seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_exec) == 0;
}

/* Reads the exported program back into memory. */
static bool program_load(struct sock_fprog *program, int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0 || size % (off_t)sizeof(struct sock_filter) != 0 ||
        size / (off_t)sizeof(struct sock_filter) > BPF_MAXINSNS)
        return false;
    program->filter = malloc((size_t)size);
    program->len = (unsigned short)((size_t)size / sizeof(struct sock_filter));
    return program->filter && pread(fd, program->filter, (size_t)size, 0) == size;
}

static bool program_build(struct sock_fprog *program, bool generated_code)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
    int fd = memfd_create("seccomp", MFD_CLOEXEC);
    bool ok = ctx && fd >= 0 && filter_fill(ctx, generated_code) &&
              seccomp_export_bpf(ctx, fd) == 0 && program_load(program, fd);
    if (ctx)
        seccomp_release(ctx);
    if (fd >= 0)
        close(fd);
    return ok;
}

struct sandbox *sandbox_new(struct bpu_error *err)
{
    struct sandbox *s = calloc(1, sizeof *s);
    bool ok = s && program_build(&s->strict, false) && program_build(&s->generating, true);
    if (!ok) {
        error_set(err, BPU_SERVER, NULL, "the seccomp filter for jobs cannot be built");
        sandbox_free(s);
    }
    return ok ? s : NULL;
}

void sandbox_free(struct sandbox *s)
{
    if (s) {
        free(s->strict.filter);
        free(s->generating.filter);
    }
    free(s);
}

void sandbox_syscall_name(int number, char *out, size_t n)
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    if (name)
        snprintf(out, n, "%s", name);
    else
        snprintf(out, n, "system call %d", number);
    free(name);
}

/* ---- crash notes ----------------------------------------------------------------------------- */

/* Process-wide by nature: signal handlers have no other way to their context.  Set once, in a
 * child that runs one job. */
static struct {
    struct sandbox_note *note;
    size_t probe;    /* bytes that should be available if memory is not short */
    char *stack_top; /* an address near the beginning of the stack */
    pid_t parent;    /* the worker */
    _Alignas(64) char handler_stack[32768];
} crash;

static void note_memory(void)
{
    if (crash.probe == 0)
        return;
    void *p = mmap(NULL, crash.probe, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    crash.note->memory_short = p == MAP_FAILED;
    if (p != MAP_FAILED)
        munmap(p, crash.probe);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    crash.note->signal = number;
    char *at = info->si_addr;
    crash.note->stack_overflow = number == SIGSEGV && at < crash.stack_top &&
                                 at > crash.stack_top - STACK_LIMIT - ((ptrdiff_t)1 << 20);
    note_memory();
    /* SA_RESETHAND: on return the same instruction faults again, and for good. */
}

static void on_forbidden(int number, siginfo_t *info, void *context)
{
    (void)context;
    crash.note->signal = number;
    if (info->si_syscall == SYS_tgkill)
        crash.note->aborted = 1;
    else
        crash.note->syscall = info->si_syscall;
    note_memory();
    for (;;)
        syscall(SYS_ptrace, 0, 0, 0, 0);
}

static bool handlers_install(struct sandbox_note *note, int64_t memory)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    stack_t stack = {.ss_sp = crash.handler_stack, .ss_size = sizeof crash.handler_stack};
    struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND};
    crash.note = note;
    crash.probe = SANITIZED ? 0 : (size_t)memory / 4;
    crash.stack_top = __builtin_frame_address(0);
    note->syscall = -1;
    act.sa_sigaction = on_fault;
    if (sigaltstack(&stack, NULL) != 0)
        return false;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (sigaction(faults[i], &act, NULL) != 0)
            return false;
    act.sa_flags = SA_SIGINFO | SA_ONSTACK;
    act.sa_sigaction = on_forbidden;
    return sigaction(SIGSYS, &act, NULL) == 0;
}

/* ---- entering -------------------------------------------------------------------------------- */

static bool fail(struct bpu_error *err, const char *what)
{
    return error_set(err, BPU_SERVER, NULL, "the sandbox of the job cannot be set up: %s: %s", what,
                     strerror(errno));
}

static void signals_reset(void)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        if (i != SIGKILL && i != SIGSTOP)
            sigaction(i, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

bool sandbox_detach(pid_t parent, int null_fd, int *fd, struct bpu_error *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return fail(err, "PR_SET_PDEATHSIG");
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
    crash.parent = parent;
    signals_reset();
    setsid(); /* fails only for a group leader, which a fresh child is not */
    /* Nothing but the time zone that the worker has loaded (worker.c): another one, or none, would make the C library look
     * for its file. */
    clearenv();
    if (setenv("TZ", SANDBOX_TZ, 1) != 0)
        return fail(err, "setenv");
    /* Out of the way of the numbers that they move to. */
    int kept = fcntl(*fd, F_DUPFD, 16), null = fcntl(null_fd, F_DUPFD, 16);
    if (kept < 0 || null < 0)
        return fail(err, "F_DUPFD");
    for (int i = 0; i <= (SANITIZED ? 1 : 2); i++)
        if (dup2(null, i) != i)
            return fail(err, "dup2");
    if (dup2(kept, FIRST_FD) != FIRST_FD)
        return fail(err, "dup2");
    *fd = FIRST_FD;
    if (close_range(FIRST_FD + 1, ~0U, 0) != 0) {
        struct rlimit files; /* a kernel before 5.9 */
        if (getrlimit(RLIMIT_NOFILE, &files) != 0)
            return fail(err, "close_range");
        for (int i = FIRST_FD + 1; i < (int)files.rlim_cur && i < 65536; i++)
            close(i);
    }
    return true;
}

/* Bytes of address space that are mapped now; -1 if /proc is not there to say. */
static int64_t mapped_now(void)
{
    char text[64];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    return strtoll(text, NULL, 10) * (int64_t)sysconf(_SC_PAGESIZE);
}

static bool limit(int what, int64_t soft, int64_t hard)
{
    struct rlimit r = {.rlim_cur = (rlim_t)soft, .rlim_max = (rlim_t)hard};
    return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

static bool limits_set(const struct sandbox_limits *l)
{
    int64_t mapped = mapped_now();
    struct rlimit stack;
    if (getrlimit(RLIMIT_STACK, &stack) != 0)
        return false;
    if (stack.rlim_cur > STACK_LIMIT)
        stack.rlim_cur = STACK_LIMIT;
    if (setrlimit(RLIMIT_STACK, &stack) != 0)
        return false;
    /* The stack grows into the address space too. */
    int64_t space = (mapped < 0 ? (int64_t)512 << 20 : mapped) + l->memory + (int64_t)STACK_LIMIT;
    return (SANITIZED || limit(RLIMIT_AS, space, space)) &&
           limit(RLIMIT_CPU, l->cpu_seconds, l->cpu_seconds + 1) &&
           limit(RLIMIT_NOFILE, FIRST_FD + 1, FIRST_FD + 1) && limit(RLIMIT_CORE, 0, 0) &&
           (SANITIZED || limit(RLIMIT_FSIZE, 0, 0)) && limit(RLIMIT_NPROC, 0, 0) &&
           limit(RLIMIT_MSGQUEUE, 0, 0) && limit(RLIMIT_MEMLOCK, 0, 0);
}

bool sandbox_enter(const struct sandbox *s, const struct sandbox_limits *limits,
                   struct sandbox_note *note, struct bpu_error *err)
{
    if (note && !handlers_install(note, limits->memory))
        return fail(err, "signal handlers");
    /* A bonus: the filter below already refuses every call that would need them. */
    if (limits->namespaces &&
        unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS) == 0) {
        /* New credentials have cleared it. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
            return fail(err, "PR_SET_PDEATHSIG");
        if (getppid() != crash.parent)
            _exit(1);
    }
    if (!limits_set(limits))
        return fail(err, "limits");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(err, "PR_SET_NO_NEW_PRIVS");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail(err, "PR_SET_DUMPABLE");
    const struct sock_fprog *filter = limits->generated_code ? &s->generating : &s->strict;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0) != 0)
        return fail(err, "seccomp");
    return true;
}
