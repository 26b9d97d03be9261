/* .npz: a zip archive of .npy files. Stored members are read where they lie, deflated ones
 * unpacked; what unpacks to many times its size is refused by the archive reader. */
#include <stdio.h>
#include <string.h>

#include "core/base/zip_write.h"
#include "core/data/data.h"
#include "core/base/archive.h"

static bool is_npy(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".npy") == 0;
}

static bool read_member(struct archive *z, const struct archive_member *m, struct array *out,
                        struct bpu_error *err)
{
    const unsigned char *bytes = archive_bytes(z, m, true, err);
    if (!bytes || !npy_read(z->arena, bytes, (size_t)m->size, m->name, out, err))
        return false;
    out->name = arena_strndup(z->arena, m->name, strlen(m->name) - 4, err);
    return out->name != NULL;
}

bool npz_read(struct arena *a, const unsigned char *data, size_t size, struct array_file *out,
              struct bpu_error *err)
{
    struct archive *z = archive_open(a, data, size, err);
    out->items = z ? ARENA_ARRAY(a, struct array, z->count, err) : NULL;
    if (!out->items)
        return false;
    for (size_t i = 0; i < z->count; i++) {
        if (!is_npy(z->members[i].name))
            continue;
        if (!read_member(z, &z->members[i], &out->items[out->count], err))
            return false;
        out->count++;
    }
    if (out->count)
        return true;
    error_set(err, BPU_BAD_MODEL, "archive directory",
              "none of the %zu members of the zip archive is an array (NAME.npy)", z->count);
    return error_hint(err, "Write it with numpy.savez().");
}

bool npz_write(const struct array *items, size_t count, struct buf *out, struct bpu_error *err)
{
    struct zip_writer w;
    bool ok = true;
    zip_writer_init(&w, out);
    for (size_t i = 0; ok && i < count; i++) {
        char name[4096];
        int n = snprintf(name, sizeof name, "%s.npy", items[i].name);
        if (n < 0 || (size_t)n >= sizeof name) {
            ok = error_set(err, BPU_LIMIT, NULL, "the name of array %zu is too long", i);
            break;
        }
        zip_writer_begin(&w, name, 64);
        ok = npy_write(&items[i], out, err);
        zip_writer_end(&w);
    }
    ok = ok && zip_writer_finish(&w, err);
    zip_writer_fini(&w);
    return ok;
}
