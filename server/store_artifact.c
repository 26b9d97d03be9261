/* Artifacts: files named by the hash of their content, and the rows that give them to jobs.
 *
 * The same content is stored once.  Nothing removes a file at once, because a worker may have just
 * found it there and be about to refer to it: deleting a job puts its contents into `trash`, and a
 * sweep removes, under the write lock, what has been there long enough, has no reference and was
 * not touched lately.  store_artifact_write() touches a file that it finds; store_job_finish()
 * looks once more. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/files.h"
#include "server/store_sqlite.h"

#define SWEEP_BATCH 200

void store_artifact_path(const struct store *s, const char *sha256, char *out, size_t n)
{
    snprintf(out, n, "%s/artifacts/%.2s/%.64s", s->dir, sha256, sha256);
}

bool store_artifact_write(struct store *s, const void *data, size_t size, struct store_artifact *a,
                          struct bpu_error *err)
{
    char path[PATH_MAX], tmp[PATH_MAX];
    struct stat st;
    if (!files_sha256(data, size, a->sha256, err))
        return false;
    a->bytes = (int64_t)size;
    store_artifact_path(s, a->sha256, path, sizeof path);
    if (stat(path, &st) == 0 && st.st_size == (off_t)size &&
        utimensat(AT_FDCWD, path, NULL, 0) == 0)
        return true;
    snprintf(tmp, sizeof tmp, "%s/tmp", s->dir);
    return files_write(tmp, path, data, size, err);
}

bool store_artifact_list(struct store *s, const char *job, struct arena *a,
                         struct store_artifact **items, size_t *count, struct bpu_error *err)
{
    int64_t n;
    size_t capacity = 0;
    int row = -1;
    *items = NULL;
    *count = 0;
    if (!store_job_number(job, &n, err))
        return false;
    sqlite3_stmt *q = store_query(s, err,
                                  "SELECT name, type, sha256, bytes FROM job_artifacts"
                                  " WHERE job_n = ? ORDER BY ordinal",
                                  "i", n);
    while (q && (row = store_step(s, q, err)) == 1) {
        *items = arena_grow(a, *items, *count, *count + 1, sizeof **items, &capacity, err);
        if (!*items) {
            row = -1;
            break;
        }
        struct store_artifact *f = &(*items)[(*count)++];
        store_column(q, 0, f->name, sizeof f->name);
        store_column(q, 1, f->type, sizeof f->type);
        store_column(q, 2, f->sha256, sizeof f->sha256);
        f->bytes = sqlite3_column_int64(q, 3);
    }
    store_done(q);
    return row == 0;
}

static bool older_than(const char *path, int64_t age_ms)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT;
    return store_now() - (int64_t)st.st_mtime * 1000 >= age_ms;
}

/* A few contents, inside the write transaction.  Removing a file before the commit is safe: nobody
 * refers to it, and if the commit fails the row only stays in the trash. */
static bool sweep_batch(struct store *s, int64_t age_ms, size_t *seen, struct bpu_error *err)
{
    char hashes[SWEEP_BATCH][65], path[PATH_MAX];
    size_t count = 0;
    int row = -1;
    sqlite3_stmt *q =
        store_query(s, err, "SELECT sha256 FROM trash WHERE since <= ? ORDER BY since LIMIT ?",
                    "ii", store_now() - age_ms, (int64_t)SWEEP_BATCH);
    while (q && count < SWEEP_BATCH && (row = store_step(s, q, err)) == 1)
        store_column(q, 0, hashes[count++], sizeof hashes[0]);
    store_done(q);
    if (row < 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        q = store_query(s, err, "SELECT 1 FROM job_artifacts WHERE sha256 = ? LIMIT 1", "t",
                        hashes[i]);
        row = q ? store_step(s, q, err) : -1;
        store_done(q);
        if (row < 0)
            return false;
        store_artifact_path(s, hashes[i], path, sizeof path);
        if (row == 0 && !older_than(path, age_ms)) {
            if (!store_run(s, err, "UPDATE trash SET since = ? WHERE sha256 = ?", "it",
                           store_now() + 1, hashes[i]))
                return false;
            continue;
        }
        if (row == 0)
            unlink(path);
        if (!store_run(s, err, "DELETE FROM trash WHERE sha256 = ?", "t", hashes[i]))
            return false;
    }
    *seen = count;
    return true;
}

static void sweep_tmp(struct store *s, int64_t age_ms)
{
    char folder[PATH_MAX], path[PATH_MAX + 256];
    snprintf(folder, sizeof folder, "%s/tmp", s->dir);
    DIR *d = opendir(folder);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.' && older_than(path, age_ms))
            unlink(path);
    }
    closedir(d);
}

bool store_sweep(struct store *s, int64_t min_age_ms, struct bpu_error *err)
{
    size_t seen = SWEEP_BATCH;
    sweep_tmp(s, min_age_ms);
    while (seen == SWEEP_BATCH) {
        seen = 0;
        if (!store_op_begin(s, err) ||
            !store_op_end(s, sweep_batch(s, min_age_ms, &seen, err), err))
            return false;
    }
    return true;
}
