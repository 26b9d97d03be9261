/* Design: a ring of the latest answers, searched by hash from the newest; the oldest gives way. */
#include "server/http_replay.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"

#define ENTRIES 1024
#define TEXT_MAX ((size_t)64 << 10)

struct replay_entry {
    uint64_t hash;
    char *name; /* path, a blank, key */
    char *text;
    size_t size;
    unsigned status;
};

struct replay {
    pthread_mutex_t lock;
    struct replay_entry entries[ENTRIES];
    size_t next;
};

struct replay *replay_new(void)
{
    struct replay *p = calloc(1, sizeof *p);
    if (p)
        pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void entry_clear(struct replay_entry *e)
{
    free(e->name);
    free(e->text);
    *e = (struct replay_entry){0};
}

void replay_free(struct replay *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < ENTRIES; i++)
        entry_clear(&p->entries[i]);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* "path key" on the heap, and its hash; NULL without memory. */
static char *name_make(const char *path, const char *key, uint64_t *hash)
{
    size_t n = strlen(path), m = strlen(key);
    char *name = malloc(n + m + 2);
    if (!name)
        return NULL;
    memcpy(name, path, n);
    name[n] = ' ';
    memcpy(name + n + 1, key, m);
    name[n + 1 + m] = 0;
    *hash = UINT64_C(14695981039346656037);
    for (const char *s = name; *s; s++)
        *hash = (*hash ^ (unsigned char)*s) * UINT64_C(1099511628211);
    return name;
}

/* Called with the lock held. */
static struct replay_entry *locked_find(struct replay *p, const char *name, uint64_t hash)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        struct replay_entry *e = &p->entries[i];
        if (e->name && e->hash == hash && strcmp(e->name, name) == 0)
            return e;
    }
    return NULL;
}

void replay_put(struct replay *p, const char *path, const char *key, unsigned status,
                const char *text, size_t size)
{
    struct replay_entry e = {.status = status, .size = size};
    if (size > TEXT_MAX)
        return;
    e.name = name_make(path, key, &e.hash);
    e.text = malloc(size + 1);
    if (!e.name || !e.text) {
        entry_clear(&e);
        return;
    }
    memcpy(e.text, text, size);
    e.text[size] = 0;
    pthread_mutex_lock(&p->lock);
    if (locked_find(p, e.name, e.hash)) {
        entry_clear(&e);
    } else {
        entry_clear(&p->entries[p->next]);
        p->entries[p->next] = e;
        p->next = (p->next + 1) % ENTRIES;
    }
    pthread_mutex_unlock(&p->lock);
}

unsigned replay_find(struct replay *p, const char *path, const char *key, struct arena *a,
                     const char **text, size_t *size)
{
    uint64_t hash;
    char *name = name_make(path, key, &hash);
    if (!name)
        return 0;
    unsigned status = 0;
    struct bpu_error err = {0};
    pthread_mutex_lock(&p->lock);
    struct replay_entry *e = locked_find(p, name, hash);
    if (e && (*text = arena_strndup(a, e->text, e->size, &err))) {
        *size = e->size;
        status = e->status;
    }
    pthread_mutex_unlock(&p->lock);
    free(name);
    return status;
}
