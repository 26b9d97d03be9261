/* Arena: all memory of one job, with a byte quota, freed at once.
 *
 * Two lifetimes exist: the process and the job.  A hostile model runs into the quota and gets
 * BPU_NO_MEMORY instead of waking the OOM killer.  Memory is zeroed and aligned to 16 bytes. */
#ifndef BPU_BASE_ARENA_H
#define BPU_BASE_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

struct arena_block;

struct arena {
    struct arena_block *head; /* newest block */
    size_t used, quota;       /* bytes taken from the system, and how many may be */
    size_t first_block;       /* bytes of the first one; later ones double */
    void *cleanups;
    long fail_after; /* tests: the Nth allocation from now fails; -1 never */
};

struct arena_mark {
    struct arena_block *block;
    size_t offset;
};

void arena_init(struct arena *a, size_t quota);
/* For many arenas that live at the same time and hold little: begins with 1 KiB. */
void arena_init_small(struct arena *a, size_t quota);
/* Runs the clean-ups, newest first, and frees everything. */
void arena_fini(struct arena *a);

/* Zeroed memory, or NULL with *err set (quota, overflow or system).  n = 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t n, struct bpu_error *err) BPU_CHECKED;
/* The same without clearing: for buffers that are written before they are read. */
void *arena_reserve(struct arena *a, size_t n, struct bpu_error *err) BPU_CHECKED;
void *arena_alloc_array(struct arena *a, size_t count, size_t size, struct bpu_error *err)
    BPU_CHECKED;
/* Typed short forms. */
#define ARENA_NEW(a, type, err) ((type *)arena_alloc((a), sizeof(type), (err)))
#define ARENA_ARRAY(a, type, count, err)                                                           \
    ((type *)arena_alloc_array((a), (size_t)(count), sizeof(type), (err)))
char *arena_strdup(struct arena *a, const char *s, struct bpu_error *err) BPU_CHECKED;
char *arena_strndup(struct arena *a, const char *s, size_t n, struct bpu_error *err) BPU_CHECKED;
char *arena_printf(struct arena *a, struct bpu_error *err, const char *fmt, ...) BPU_CHECKED
    BPU_PRINTF(3, 4);
/* Grows an array in the arena: copies `count` old elements into room for at least `want`.
 * *capacity is updated; doubles, so that appending is linear.  Returns the array, or NULL. */
void *arena_grow(struct arena *a, void *old, size_t count, size_t want, size_t size,
                 size_t *capacity, struct bpu_error *err) BPU_CHECKED;
/* Calls fn(p) when the arena is finished. */
bool arena_on_fini(struct arena *a, void (*fn)(void *), void *p, struct bpu_error *err) BPU_CHECKED;
/* Scratch: everything allocated after a mark is given back by the rewind. */
struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, struct arena_mark mark);
/* Bytes that are handed out now; the rest of `used` is room in the blocks. */
size_t arena_taken(const struct arena *a);

#endif
