/* TorchScript and torch.export archives: bytes → zip → pickles → code → graph.
 *
 * The mutator takes the archive apart, changes one member and zips it again with right checksums;
 * bytes changed blindly hardly ever get past them, and never into what is packed. */
#include <stdlib.h>
#include <string.h>

#include "core/base/archive.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip.h"

static const struct import_option torchscript_options[] = {{"input.0", "1x1x28x28"},
                                                           {"input.1", "2x4"}};

FUZZ_TARGET(torchscript)
{
    fuzz_archive(data, size, torchscript_options,
                 sizeof torchscript_options / sizeof *torchscript_options);
    return 0;
}

#ifdef FUZZ_MAIN

enum { MUTATE_MEMBERS = 256 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static bool mutate_is_text(const char *name)
{
    size_t n = strlen(name);
    return (n > 3 && strcmp(name + n - 3, ".py") == 0) ||
           (n > 4 && strcmp(name + n - 4, ".pkl") == 0) ||
           (n > 10 && strcmp(name + n - 10, ".debug_pkl") == 0);
}

/* The members of an archive; 0 if it is damaged or has too many. */
static size_t mutate_open(struct arena *a, const uint8_t *data, size_t size,
                          struct zip_part parts[MUTATE_MEMBERS])
{
    struct bpu_error err = {0};
    struct archive *z = archive_open(a, data, size, &err);
    if (!z || z->count > MUTATE_MEMBERS)
        return 0;
    for (size_t i = 0; i < z->count; i++) {
        const struct archive_member *m = &z->members[i];
        const unsigned char *p = archive_bytes(z, m, false, &err);
        if (!p)
            return 0;
        parts[i] = (struct zip_part){m->name, p, (size_t)m->size};
    }
    return z->count;
}

/* Changes one member: mostly code and pickles, sometimes what lies beside them. */
static size_t mutate_parts(struct arena *a, struct zip_part *parts, size_t count, size_t room)
{
    struct bpu_error err = {0};
    size_t at = (size_t)rand() % count;
    for (int i = 0; i < 4 && !mutate_is_text(parts[at].name); i++)
        at = (size_t)rand() % count;
    struct zip_part *part = &parts[at], *other = &parts[(size_t)rand() % count];
    switch (rand() % 24) {
    case 0: *part = parts[count - 1]; return count - 1; /* left out */
    case 1: part->data = other->data, part->size = other->size; return count;
    case 2: { /* under another name */
        const char *name = part->name;
        part->name = other->name;
        other->name = name;
        return count;
    }
    default: break;
    }
    uint8_t *copy = arena_alloc(a, part->size + room, &err);
    if (!copy)
        return 0;
    if (part->size)
        memcpy(copy, part->data, part->size);
    part->size = LLVMFuzzerMutate(copy, part->size, part->size + room);
    part->data = copy;
    return count;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct arena arena;
    struct zip_part parts[MUTATE_MEMBERS];
    size_t result = 0;
    srand(seed);
    arena_init(&arena, FUZZ_QUOTA);
    size_t count = rand() % 16 ? mutate_open(&arena, data, size, parts) : 0;
    if (count > 1) {
        size_t stored = zip_store_size(parts, count);
        if (stored < max_size)
            count = mutate_parts(&arena, parts, count, max_size - stored);
        unsigned char *zip = count && stored < max_size ? zip_store(parts, count, &result) : NULL;
        if (zip && result <= max_size)
            memcpy(data, zip, result);
        else
            result = 0;
        free(zip);
    }
    arena_fini(&arena);
    return result ? result : LLVMFuzzerMutate(data, size, max_size);
}

#endif
