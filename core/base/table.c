/* name_table: linear probing, load at most one half; the seed is fixed, since a table never outlives
 * its job and the job's time limit bounds what chosen collisions could cost. */
#include "core/base/table.h"

#include <string.h>

struct slot {
    const char *name;
    void *p;
    uint64_t hash;
};

struct name_table {
    struct arena *arena;
    struct slot *slots;
    size_t count, capacity; /* capacity: power of two */
};

/* FNV-1a with a final mix, so that low bits depend on all input. */
static uint64_t hash_of(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ (h >> 32);
}

static struct slot *slot_of(const struct name_table *t, const char *name, uint64_t hash)
{
    size_t i = hash & (t->capacity - 1);
    while (t->slots[i].name &&
           (t->slots[i].hash != hash || strcmp(t->slots[i].name, name) != 0))
        i = (i + 1) & (t->capacity - 1);
    return &t->slots[i];
}

struct name_table *name_table_new(struct arena *a, struct bpu_error *err)
{
    struct name_table *t = ARENA_NEW(a, struct name_table, err);
    if (!t)
        return NULL;
    t->arena = a;
    t->capacity = 64;
    t->slots = ARENA_ARRAY(a, struct slot, t->capacity, err);
    return t->slots ? t : NULL;
}

void *name_table_find(const struct name_table *t, const char *name)
{
    return slot_of(t, name, hash_of(name))->p;
}

static bool grow(struct name_table *t, struct bpu_error *err)
{
    struct name_table bigger = *t;
    bigger.capacity = t->capacity * 2;
    bigger.slots = ARENA_ARRAY(t->arena, struct slot, bigger.capacity, err);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slots[i].name)
            *slot_of(&bigger, t->slots[i].name, t->slots[i].hash) = t->slots[i];
    *t = bigger;
    return true;
}

bool name_table_put(struct name_table *t, const char *name, void *p, struct bpu_error *err)
{
    if ((t->count + 1) * 2 > t->capacity && !grow(t, err))
        return false;
    uint64_t hash = hash_of(name);
    struct slot *s = slot_of(t, name, hash);
    if (!s->name)
        t->count++;
    *s = (struct slot){name, p, hash};
    return true;
}
