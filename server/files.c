/* Durable files and SHA-256.
 *
 * The order that makes a file durable: contents, name, folder.  fsync of the file before the rename
 * keeps an empty file from taking the name after a power loss; fsync of the folder after it keeps
 * the name.  A folder that had to be created needs its own parent synced as well. */
#define _GNU_SOURCE
#include "server/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool files_hash_init(struct files_hash *h, struct bpu_error *err)
{
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx && EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1)
        return true;
    files_hash_drop(h);
    return error_set(err, BPU_SERVER, NULL, "SHA-256 is not available in the OpenSSL library");
}

bool files_hash_add(struct files_hash *h, const void *data, size_t n, struct bpu_error *err)
{
    if (EVP_DigestUpdate(h->ctx, data, n) == 1)
        return true;
    return error_set(err, BPU_SERVER, NULL, "SHA-256 failed");
}

bool files_hash_end(struct files_hash *h, char hex[FILES_SHA256_HEX], struct bpu_error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    bool ok = EVP_DigestFinal_ex(h->ctx, digest, &n) == 1 && n == 32;
    files_hash_drop(h);
    if (!ok)
        return error_set(err, BPU_SERVER, NULL, "SHA-256 failed");
    for (unsigned i = 0; i < n; i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    hex[64] = '\0';
    return true;
}

void files_hash_drop(struct files_hash *h)
{
    EVP_MD_CTX_free(h->ctx);
    h->ctx = NULL;
}

bool files_sha256(const void *data, size_t n, char hex[FILES_SHA256_HEX], struct bpu_error *err)
{
    struct files_hash h;
    if (!files_hash_init(&h, err))
        return false;
    if (!files_hash_add(&h, data, n, err)) {
        files_hash_drop(&h);
        return false;
    }
    return files_hash_end(&h, hex, err);
}

bool files_sha256_valid(const char *s)
{
    return strspn(s, "0123456789abcdef") == 64 && s[64] == '\0';
}

bool files_fail(const char *path, const char *what, struct bpu_error *err)
{
    int why = errno;
    bool full = why == ENOSPC || why == EDQUOT, read_only = why == EROFS;
    bool broken = why == EIO || read_only;
    error_set(err, full ? BPU_DISK_FULL : broken ? BPU_DISK : BPU_IO, path, "%s: %s", what,
              strerror(why));
    if (full)
        error_hint(err, "Make room on the disk of the data directory (`bpuhub prune`), then send "
                        "the request again.");
    else if (read_only)
        error_hint(err, "Make the disk of the data directory writable again; see the kernel's log "
                        "for why it is not.");
    else if (broken)
        error_hint(err, "See the kernel's log for what is wrong with the disk of the data "
                        "directory; send the request again when it works.");
    errno = why;
    return false;
}

static bool folder_of(const char *path, char out[PATH_MAX], struct bpu_error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(out, ".");
    else if (slash == path)
        strcpy(out, "/");
    else if (slash - path < PATH_MAX)
        snprintf(out, PATH_MAX, "%.*s", (int)(slash - path), path);
    else
        return error_set(err, BPU_IO, NULL, "a path is longer than %d bytes", PATH_MAX - 1);
    return true;
}

bool files_sync_dir(const char *path, struct bpu_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return files_fail(path, "cannot open the folder", err);
    /* EINVAL: a file system whose folders cannot be synced keeps its names by itself. */
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    if (!ok)
        files_fail(path, "cannot sync the folder", err);
    close(fd);
    return ok;
}

bool files_mkdirs(const char *path, struct bpu_error *err)
{
    char parent[PATH_MAX];
    if (mkdir(path, 0700) == 0)
        return folder_of(path, parent, err) && files_sync_dir(parent, err);
    if (errno == EEXIST) {
        struct stat st;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return true;
        return error_set(err, BPU_IO, path, "this is not a folder");
    }
    if (errno != ENOENT || !*path)
        return files_fail(path, "cannot create the folder", err);
    if (!folder_of(path, parent, err) || !files_mkdirs(parent, err))
        return false;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return files_fail(path, "cannot create the folder", err);
    return files_sync_dir(parent, err);
}

/* Renames and makes the new name durable. */
static bool rename_durably(const char *tmp, const char *path, struct bpu_error *err)
{
    char folder[PATH_MAX];
    if (!folder_of(path, folder, err))
        return false;
    if (rename(tmp, path) != 0) {
        if (errno != ENOENT || access(tmp, F_OK) != 0)
            return files_fail(path, "cannot move a file here", err);
        if (!files_mkdirs(folder, err))
            return false;
        if (rename(tmp, path) != 0)
            return files_fail(path, "cannot move a file here", err);
    }
    return files_sync_dir(folder, err);
}

bool files_publish(const char *tmp, const char *path, struct bpu_error *err)
{
    int fd = open(tmp, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return files_fail(tmp, "cannot open the file", err);
    bool ok = fsync(fd) == 0;
    if (!ok)
        files_fail(tmp, "cannot write the file to disk", err);
    close(fd);
    return ok && rename_durably(tmp, path, err);
}

bool files_write_all(int fd, const void *data, size_t n)
{
    for (const char *p = data; n > 0;) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return false;
        if (w == 0) {
            errno = ENOSPC; /* POSIX allows it, and a loop would not end */
            return false;
        }
        p += w;
        n -= (size_t)w;
    }
    return true;
}

bool files_write(const char *tmp_dir, const char *path, const void *data, size_t n,
                 struct bpu_error *err)
{
    char tmp[PATH_MAX];
    int len = snprintf(tmp, sizeof tmp, "%s/write-XXXXXX", tmp_dir);
    if (len < 0 || (size_t)len >= sizeof tmp)
        return error_set(err, BPU_IO, NULL, "a path is longer than %d bytes", PATH_MAX - 1);
    int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return files_fail(tmp_dir, "cannot create a file", err);
    bool ok = files_write_all(fd, data, n) && fsync(fd) == 0;
    if (!ok)
        files_fail(path, "cannot write the file", err);
    close(fd);
    if (ok)
        ok = rename_durably(tmp, path, err);
    if (!ok)
        unlink(tmp);
    return ok;
}
