/* A backup in one file: the folder that store_backup() makes, as a zip archive without compression (networks do not
 * shrink).  Unpacking takes only the names that a backup has, so an archive cannot write elsewhere; what it holds is
 * hashed by store_restore(). */
#define _GNU_SOURCE
#include "server/store_backup_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include "server/files.h"

#define SUFFIX ".zip"

bool store_backup_is_file(const char *path)
{
    size_t n = strlen(path), suffix = strlen(SUFFIX);
    return n > suffix && strcmp(path + n - suffix, SUFFIX) == 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "models/ab/abcd…", "hub.db", "backup.json". */
static bool name_is_ours(const char *name)
{
    static const char *const folders[] = {"models/", "data/", "artifacts/"};
    if (strcmp(name, "hub.db") == 0 || strcmp(name, "backup.json") == 0)
        return true;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        size_t n = strlen(folders[i]);
        if (strncmp(name, folders[i], n) == 0)
            return strlen(name) == n + 3 + 64 && name[n + 2] == '/' &&
                   files_sha256_valid(name + n + 3) && strncmp(name + n, name + n + 3, 2) == 0;
    }
    return false;
}

static bool add_file(zip_t *z, const char *folder, const char *name, struct bpu_error *err)
{
    char path[PATH_MAX + 256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    zip_source_t *source = zip_source_file(z, path, 0, -1);
    zip_int64_t at = source ? zip_file_add(z, name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (at >= 0 && zip_set_file_compression(z, (zip_uint64_t)at, ZIP_CM_STORE, 0) == 0)
        return true;
    if (source && at < 0)
        zip_source_free(source);
    return error_set(err, BPU_DISK, path, "the file cannot be packed: %s", zip_strerror(z));
}

/* The names under a folder of a backup, found by the file system's order. */
struct walk {
    zip_t *zip;
    const char *folder;
    struct bpu_error *err;
};

static bool add_tree(const struct walk *w, const char *shelf)
{
    char path[PATH_MAX + 256], name[128];
    bool ok = true;
    for (int i = 0; ok && i < 256; i++) {
        snprintf(path, sizeof path, "%s/%s/%02x", w->folder, shelf, (unsigned)i);
        DIR *d = opendir(path);
        for (struct dirent *e; ok && d && (e = readdir(d));) {
            if (strlen(e->d_name) > 80)
                continue;
            snprintf(name, sizeof name, "%s/%02x/%.80s", shelf, (unsigned)i, e->d_name);
            if (name_is_ours(name))
                ok = add_file(w->zip, w->folder, name, w->err);
        }
        if (d)
            closedir(d);
    }
    return ok;
}

bool store_backup_file(struct store *s, const char *path, struct backup_result *out,
                       struct bpu_error *err)
{
    char parts[PATH_MAX + 16], folder[PATH_MAX];
    int why = 0;
    if (strlen(path) > PATH_MAX - 128)
        return error_set(err, BPU_USAGE, NULL, "the path of the backup is too long");
    snprintf(parts, sizeof parts, "%s.parts", path);
    remove_tree(parts);
    zip_t *z = NULL;
    bool ok = store_backup(s, parts, out, err);
    if (ok && !(z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &why)))
        ok = error_set(err, BPU_DISK, path, "the archive cannot be made (libzip error %d)", why);
    struct walk w = {.zip = z, .folder = parts, .err = err};
    ok = ok && add_file(z, parts, "backup.json", err) && add_file(z, parts, "hub.db", err) &&
         add_tree(&w, "models") && add_tree(&w, "data") && add_tree(&w, "artifacts");
    if (ok && zip_close(z) != 0)
        ok = error_set(err, BPU_DISK, path, "the archive cannot be written: %s", zip_strerror(z));
    else if (ok)
        z = NULL;
    if (z)
        zip_discard(z);
    remove_tree(parts);
    /* libzip has renamed it into place; make file and name durable. */
    int fd = ok ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (ok && (fd < 0 || fsync(fd) != 0))
        ok = files_fail(path, "the archive cannot be written", err);
    if (fd >= 0)
        close(fd);
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    return ok && files_sync_dir(slash ? folder : ".", err);
}

static bool unpack_one(zip_t *z, zip_uint64_t i, const char *folder, struct bpu_error *err)
{
    char path[PATH_MAX + 256], *slash;
    const char *name = zip_get_name(z, i, 0);
    if (!name || !name_is_ours(name))
        return error_set(err, BPU_USAGE, name, "this is no archive of `bpuhub backup`");
    snprintf(path, sizeof path, "%s/%s", folder, name);
    slash = strrchr(path, '/');
    *slash = '\0';
    bool ok = files_mkdirs(path, err);
    *slash = '/';
    zip_file_t *in = ok ? zip_fopen_index(z, i, 0) : NULL;
    char *block = malloc(1 << 20);
    int fd = in && block ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (ok && fd < 0)
        ok = files_fail(path, "the file cannot be unpacked", err);
    zip_int64_t n = 0;
    while (ok && (n = zip_fread(in, block, 1 << 20)) > 0)
        ok = files_write_all(fd, block, (size_t)n) || files_fail(path, "the file cannot be written", err);
    if (ok && n < 0)
        ok = error_set(err, BPU_STORE_DAMAGED, name, "the archive is damaged");
    if (fd >= 0)
        close(fd);
    if (in)
        zip_fclose(in);
    free(block);
    return ok;
}

bool store_restore_file(const char *path, const char *dir, struct backup_result *out,
                        struct bpu_error *err)
{
    char parts[PATH_MAX + 16];
    int why = 0;
    if (strlen(dir) > PATH_MAX - 128)
        return error_set(err, BPU_USAGE, NULL, "a path is too long");
    zip_t *z = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &why);
    if (!z) {
        error_set(err, BPU_USAGE, path, "this is no zip archive that can be read (libzip error %d)", why);
        return error_hint(err, "Give the file that `bpuhub backup` has made.");
    }
    snprintf(parts, sizeof parts, "%s.parts", dir);
    remove_tree(parts);
    bool ok = files_mkdirs(parts, err);
    zip_int64_t count = zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; ok && i < count; i++)
        ok = unpack_one(z, (zip_uint64_t)i, parts, err);
    zip_discard(z);
    ok = ok && store_restore(parts, dir, out, err);
    remove_tree(parts);
    return ok;
}
