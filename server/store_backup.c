/* Backup and restore.
 *
 * A backup is a folder that looks like a data directory: hub.db, a snapshot by SQLite's backup interface, and the files
 * that it names; backup.json, written last, says that it is complete.  The snapshot is taken before the files are copied:
 * contents never change and are removed an hour after their last row at the earliest, so all that the snapshot names is
 * still there.  The new snapshot waits under another name until its files are there, so that a backup that breaks off leaves
 * the earlier one whole. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/version.h"
#include "server/files.h"
#include "server/json.h"
#include "server/store_care.h"
#include "server/store_sqlite.h"

#define MANIFEST "backup.json"

static const struct {
    const char *folder, *rows; /* id, bytes */
} shelves[] = {
    {"models", "SELECT id, bytes FROM models"},
    {"data", "SELECT id, bytes FROM data"},
    {"artifacts", "SELECT DISTINCT sha256, bytes FROM job_artifacts"},
};

static bool database_failed(sqlite3 *db, const char *path, const char *doing, struct bpu_error *err)
{
    int rc = sqlite3_errcode(db) & 0xFF;
    error_set(err,
              rc == SQLITE_FULL                              ? BPU_DISK_FULL
              : rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB ? BPU_STORE_DAMAGED
                                                            : BPU_DISK,
              path, "%s: %s", doing, sqlite3_errmsg(db));
    return error_hint(err, rc == SQLITE_FULL ? "Make room there."
                                             : "See whether the place can be written and is sound.");
}

static bool snapshot(struct store *s, const char *path, struct bpu_error *err)
{
    sqlite3 *to = NULL;
    int rc = SQLITE_OK;
    (void)unlink(path);
    if (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
        database_failed(to, path, "the snapshot cannot be made", err);
        sqlite3_close(to);
        return false;
    }
    sqlite3_backup *b = sqlite3_backup_init(to, "main", s->db, "main");
    /* One step of all pages would be one read transaction as well; small ones begin anew whenever another process
     * writes, so all at once: readers do not keep the writer from writing. */
    if (b) {
        rc = sqlite3_backup_step(b, -1);
        rc = sqlite3_backup_finish(b) == SQLITE_OK && rc == SQLITE_DONE ? SQLITE_OK : SQLITE_ERROR;
    }
    /* A copy has no -wal beside it, and must need none. */
    bool ok = b && rc == SQLITE_OK &&
              sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) == SQLITE_OK;
    if (!ok)
        database_failed(to, path, "the snapshot cannot be made", err);
    sqlite3_close(to);
    if (!ok)
        (void)unlink(path);
    return ok;
}

/* Copies a content durably under a temporary name; false also if what comes has another hash. */
static bool copy(const char *from, const char *tmp_dir, const char *to, const char *id,
                 struct bpu_error *err)
{
    char tmp[PATH_MAX + 16], hex[65], *block = malloc(1 << 20);
    struct files_hash h = {0};
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    bool ok = false;
    snprintf(tmp, sizeof tmp, "%s/copy-XXXXXX", tmp_dir);
    if (!block || in < 0) {
        files_fail(from, "the file cannot be opened", err);
        goto end;
    }
    if ((out = mkostemp(tmp, O_CLOEXEC)) < 0) {
        files_fail(tmp_dir, "no file can be made", err);
        goto end;
    }
    if (!files_hash_init(&h, err))
        goto end;
    for (;;) {
        ssize_t n = read(in, block, 1 << 20);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            files_fail(from, "the file cannot be read", err);
            goto end;
        }
        if (n == 0)
            break;
        if (!files_hash_add(&h, block, (size_t)n, err))
            goto end;
        if (!files_write_all(out, block, (size_t)n)) {
            files_fail(to, "the copy cannot be written", err);
            goto end;
        }
    }
    if (!files_hash_end(&h, hex, err))
        goto end;
    if (strcmp(hex, id) != 0) {
        error_set(err, BPU_STORE_DAMAGED, from, "the file is damaged: its hash is another");
        error_hint(err, "`bpuhub fsck --repair` sets it aside.");
        goto end;
    }
    ok = files_publish(tmp, to, err);
end:
    files_hash_drop(&h);
    if (out >= 0) {
        close(out);
        if (!ok)
            (void)unlink(tmp);
    }
    if (in >= 0)
        close(in);
    free(block);
    return ok;
}

/* Every content that the database at `db` names, from one directory to another. */
static bool copy_all(sqlite3 *db, const char *from, const char *to, struct backup_result *out,
                     struct bpu_error *err)
{
    char source[PATH_MAX], target[PATH_MAX], tmp[PATH_MAX];
    bool ok = true;
    snprintf(tmp, sizeof tmp, "%s/tmp", to);
    ok = files_mkdirs(tmp, err);
    for (size_t i = 0; ok && i < sizeof shelves / sizeof *shelves; i++) {
        sqlite3_stmt *q = NULL;
        int rc = SQLITE_ERROR;
        if (sqlite3_prepare_v2(db, shelves[i].rows, -1, &q, NULL) != SQLITE_OK)
            return database_failed(db, to, "the snapshot cannot be read", err);
        while (ok && (rc = sqlite3_step(q)) == SQLITE_ROW) {
            const char *id = (const char *)sqlite3_column_text(q, 0);
            struct stat st;
            if (!id || !files_sha256_valid(id)) {
                ok = error_set(err, BPU_STORE_DAMAGED, to, "the database names a content that has no name");
                break;
            }
            snprintf(source, sizeof source, "%s/%s/%.2s/%s", from, shelves[i].folder, id, id);
            snprintf(target, sizeof target, "%s/%s/%.2s/%s", to, shelves[i].folder, id, id);
            out->files++;
            if (stat(target, &st) == 0 && st.st_size == sqlite3_column_int64(q, 1))
                continue;
            if (access(source, F_OK) != 0) {
                out->missing++;
                continue;
            }
            ok = copy(source, tmp, target, id, err);
            out->copied++;
            out->bytes += sqlite3_column_int64(q, 1);
        }
        if (ok && rc != SQLITE_DONE)
            ok = database_failed(db, to, "the snapshot cannot be read", err);
        sqlite3_finalize(q);
    }
    (void)rmdir(tmp);
    return ok;
}

static sqlite3 *open_copy(const char *path, struct bpu_error *err)
{
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK)
        return db;
    database_failed(db, path, "the snapshot cannot be read", err);
    sqlite3_close(db);
    return NULL;
}

static int64_t count_rows(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t n = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static bool manifest_write(const char *target, const struct backup_result *r, struct bpu_error *err)
{
    char path[PATH_MAX];
    struct buf text;
    buf_init(&text, 4096);
    buf_puts(&text, "{\"schema\":\"bpuhub.backup/1\",\"version\":\"" BPU_VERSION "\",\"created\":");
    json_write_time(&text, store_now());
    buf_printf(&text, ",\"jobs\":%lld,\"models\":%lld,\"files\":%lld}\n", (long long)r->jobs,
               (long long)r->models, (long long)r->files);
    snprintf(path, sizeof path, "%s/" MANIFEST, target);
    bool ok = buf_ok(&text, err) && files_write(target, path, text.data, text.size, err);
    buf_fini(&text);
    return ok;
}

bool store_backup(struct store *s, const char *target, struct backup_result *out,
                  struct bpu_error *err)
{
    char fresh[PATH_MAX], path[PATH_MAX];
    *out = (struct backup_result){0};
    if (strlen(target) > PATH_MAX - 128)
        return error_set(err, BPU_USAGE, NULL, "the path of the backup is too long");
    snprintf(fresh, sizeof fresh, "%s/hub.db.new", target);
    snprintf(path, sizeof path, "%s/hub.db", target);
    if (!files_mkdirs(target, err) || !snapshot(s, fresh, err))
        return false;
    sqlite3 *db = open_copy(fresh, err);
    bool ok = db && copy_all(db, s->dir, target, out, err);
    if (ok) {
        out->jobs = count_rows(db, "SELECT count(*) FROM jobs");
        out->models = count_rows(db, "SELECT count(*) FROM models");
    }
    sqlite3_close(db);
    return ok && files_publish(fresh, path, err) && manifest_write(target, out, err);
}

/* ---- restore --------------------------------------------------------------------------------- */

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    int entries = 0;
    if (!d)
        return errno == ENOENT;
    while (readdir(d))
        entries++;
    closedir(d);
    return entries <= 2;
}

static bool copy_database(const char *from, const char *to, struct bpu_error *err)
{
    char tmp[PATH_MAX + 16];
    sqlite3 *in = open_copy(from, err), *out = NULL;
    snprintf(tmp, sizeof tmp, "%s.new", to);
    bool ok = in != NULL;
    if (ok && sqlite3_open_v2(tmp, &out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
        ok = database_failed(out, tmp, "the database cannot be made", err);
    sqlite3_backup *b = ok ? sqlite3_backup_init(out, "main", in, "main") : NULL;
    if (ok && (!b || sqlite3_backup_step(b, -1) != SQLITE_DONE))
        ok = database_failed(out, tmp, "the database cannot be copied", err);
    sqlite3_backup_finish(b);
    sqlite3_close(out);
    sqlite3_close(in);
    return ok && files_publish(tmp, to, err);
}

bool store_restore(const char *source, const char *dir, struct backup_result *out,
                   struct bpu_error *err)
{
    char path[PATH_MAX], db_path[PATH_MAX];
    *out = (struct backup_result){0};
    if (strlen(source) > PATH_MAX - 128 || strlen(dir) > PATH_MAX - 128)
        return error_set(err, BPU_USAGE, NULL, "a path is too long");
    snprintf(path, sizeof path, "%s/" MANIFEST, source);
    snprintf(db_path, sizeof db_path, "%s/hub.db", source);
    if (access(path, R_OK) != 0 || access(db_path, R_OK) != 0) {
        error_set(err, BPU_USAGE, source, "this is not a complete backup: it has no " MANIFEST " or no hub.db");
        return error_hint(err, "Give the folder that `bpuhub backup` has made to its end.");
    }
    if (!is_empty(dir)) {
        error_set(err, BPU_CONFLICT, dir, "the data directory is not empty");
        return error_hint(err, "Stop the service, move the old directory away, and restore into a new one.");
    }
    if (!files_mkdirs(dir, err))
        return false;
    sqlite3 *db = open_copy(db_path, err);
    bool ok = db && copy_all(db, source, dir, out, err);
    if (ok) {
        out->jobs = count_rows(db, "SELECT count(*) FROM jobs");
        out->models = count_rows(db, "SELECT count(*) FROM models");
    }
    sqlite3_close(db);
    /* The database last: a directory without one is no hub, so a restore that breaks off cannot be mistaken. */
    snprintf(path, sizeof path, "%s/hub.db", dir);
    return ok && copy_database(db_path, path, err);
}
