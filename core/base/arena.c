/* Arena: a chain of blocks, newest first.
 *
 * Blocks double from 64 KiB to 4 MiB; a request larger than a quarter of a block gets a block of its
 * own, so that one big tensor does not waste the rest of the current block. What is handed out is cleared then, since a
 * rewind makes used memory new. */
#include "core/base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK = 64 << 10, SMALL_BLOCK = 1 << 10, LARGEST_BLOCK = 4 << 20, ALIGN = 16 };

struct arena_block {
    struct arena_block *next;
    size_t size, offset; /* of data */
    _Alignas(16) unsigned char data[];
};

struct cleanup {
    struct cleanup *next;
    void (*fn)(void *);
    void *p;
};

void arena_init(struct arena *a, size_t quota)
{
    memset(a, 0, sizeof *a);
    a->quota = quota;
    a->first_block = FIRST_BLOCK;
    a->fail_after = -1;
}

void arena_init_small(struct arena *a, size_t quota)
{
    arena_init(a, quota);
    a->first_block = SMALL_BLOCK;
}

void arena_fini(struct arena *a)
{
    for (struct cleanup *c = a->cleanups; c; c = c->next)
        c->fn(c->p);
    while (a->head) {
        struct arena_block *next = a->head->next;
        free(a->head);
        a->head = next;
    }
    a->cleanups = NULL;
    a->used = 0;
}

static struct arena_block *block_new(struct arena *a, size_t size, struct bpu_error *err)
{
    size_t total = size + sizeof(struct arena_block);
    if (total > a->quota || a->used > a->quota - total) {
        error_set(err, BPU_NO_MEMORY, NULL, "the job needs more than its %zu MiB of memory",
                  a->quota >> 20);
        error_hint(err, "Raise the job's memory limit, or use a smaller model.");
        return NULL;
    }
    struct arena_block *b = malloc(total);
    if (!b) {
        error_set(err, BPU_NO_MEMORY, NULL, "the system gave no %zu bytes of memory", total);
        return NULL;
    }
    b->size = size;
    b->offset = 0;
    b->next = NULL;
    a->used += total;
    return b;
}

static void *take(struct arena *a, size_t n, bool clear, struct bpu_error *err)
{
    if (a->fail_after >= 0 && a->fail_after-- == 0) {
        error_set(err, BPU_NO_MEMORY, NULL, "an allocation of %zu bytes was made to fail", n);
        return NULL;
    }
    if (n > SIZE_MAX / 2) {
        error_set(err, BPU_NO_MEMORY, NULL, "an allocation of %zu bytes is beyond all limits", n);
        return NULL;
    }
    n = n ? (n + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
    struct arena_block *b = a->head;
    if (b && b->size - b->offset >= n) {
        void *p = b->data + b->offset;
        b->offset += n;
        if (clear)
            memset(p, 0, n); /* may have been used before a rewind */
        return p;
    }
    size_t size = a->first_block;
    if (b && b->size * 2 > size)
        size = b->size * 2 > LARGEST_BLOCK ? LARGEST_BLOCK : b->size * 2;
    bool own = n > size / 4;
    b = block_new(a, own ? n : size, err);
    if (!b)
        return NULL;
    b->next = a->head;
    a->head = b;
    b->offset = n;
    if (clear)
        memset(b->data, 0, n);
    return b->data;
}

void *arena_alloc(struct arena *a, size_t n, struct bpu_error *err)
{
    return take(a, n, true, err);
}

void *arena_reserve(struct arena *a, size_t n, struct bpu_error *err)
{
    return take(a, n, false, err);
}

void *arena_alloc_array(struct arena *a, size_t count, size_t size, struct bpu_error *err)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n)) {
        error_set(err, BPU_NO_MEMORY, NULL, "an array of %zu times %zu bytes is beyond all limits",
                  count, size);
        return NULL;
    }
    return arena_alloc(a, n, err);
}

char *arena_strndup(struct arena *a, const char *s, size_t n, struct bpu_error *err)
{
    char *p = arena_alloc(a, n + 1, err);
    if (p)
        memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s, struct bpu_error *err)
{
    return arena_strndup(a, s, strlen(s), err);
}

char *arena_printf(struct arena *a, struct bpu_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return arena_strdup(a, "", err);
    char *p = arena_alloc(a, (size_t)n + 1, err);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void *arena_grow(struct arena *a, void *old, size_t count, size_t want, size_t size,
                 size_t *capacity, struct bpu_error *err)
{
    if (want <= *capacity && old)
        return old;
    size_t grown = *capacity ? *capacity * 2 : 8;
    if (grown < want)
        grown = want;
    void *p = arena_alloc_array(a, grown, size, err);
    if (!p)
        return NULL;
    if (old && count)
        memcpy(p, old, count * size);
    *capacity = grown;
    return p;
}

bool arena_on_fini(struct arena *a, void (*fn)(void *), void *p, struct bpu_error *err)
{
    struct cleanup *c = ARENA_NEW(a, struct cleanup, err);
    if (!c)
        return false;
    *c = (struct cleanup){.next = a->cleanups, .fn = fn, .p = p};
    a->cleanups = c;
    return true;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){a->head, a->head ? a->head->offset : 0};
}

void arena_rewind(struct arena *a, struct arena_mark mark)
{
    while (a->head != mark.block) {
        struct arena_block *next = a->head->next;
        a->used -= a->head->size + sizeof(struct arena_block);
        free(a->head);
        a->head = next;
    }
    if (a->head)
        a->head->offset = mark.offset;
}

size_t arena_taken(const struct arena *a)
{
    size_t n = 0;
    for (const struct arena_block *b = a->head; b; b = b->next)
        n += b->offset;
    return n;
}
