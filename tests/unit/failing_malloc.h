/* failing_malloc: the n-th allocation from now fails.  Include it once, in a test program.
 *
 * A malloc of our own replaces the library's, for everything that the program links; builds with
 * sanitizers have theirs already and keep it, so that malloc_left does nothing there. */
#ifndef BPU_UNIT_FAILING_MALLOC_H
#define BPU_UNIT_FAILING_MALLOC_H

#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* The allocation of that number from now fails, and only that; LONG_MAX: none. */
static long malloc_left = LONG_MAX;

static inline bool fails(long *left)
{
    return *left != LONG_MAX && (*left)-- == 0;
}

#if SANITIZED
#define real_malloc malloc
#else
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);
#define real_malloc __libc_malloc

void *malloc(size_t n)
{
    return fails(&malloc_left) ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
    return fails(&malloc_left) ? NULL : __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    return fails(&malloc_left) ? NULL : __libc_realloc(p, n);
}
#endif

/* Bytes that are allocated now. */
static inline size_t malloc_used(void)
{
    return SANITIZED ? 0 : mallinfo2().uordblks;
}

/* First in main(): starts again without the caches of malloc, which would count as used. */
static inline void malloc_exactly(char **argv)
{
    if (argv[0] && !SANITIZED && !getenv("GLIBC_TUNABLES")) {
        setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
        execv("/proc/self/exe", argv);
    }
}

#endif
