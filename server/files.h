/* files: durable file writing and content hashes.
 *
 * A file appears whole or not at all: it is written under a temporary name in the same file system,
 * fsynced, renamed into place, and its folder fsynced. */
#ifndef BPU_SERVER_FILES_H
#define BPU_SERVER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

#define FILES_SHA256_HEX 65

/* Hash of data that arrives in pieces. */
struct files_hash {
    void *ctx; /* EVP_MD_CTX */
};

bool files_hash_init(struct files_hash *h, struct bpu_error *err) BPU_CHECKED;
bool files_hash_add(struct files_hash *h, const void *data, size_t n,
                    struct bpu_error *err) BPU_CHECKED;
/* Writes the digest in hex and releases h. */
bool files_hash_end(struct files_hash *h, char hex[FILES_SHA256_HEX],
                    struct bpu_error *err) BPU_CHECKED;
/* Releases h without a digest; harmless after files_hash_end(). */
void files_hash_drop(struct files_hash *h);

/* SHA-256 of a block of memory, in hex. */
bool files_sha256(const void *data, size_t n, char hex[FILES_SHA256_HEX],
                  struct bpu_error *err) BPU_CHECKED;
/* True for 64 lower-case hexadecimal digits: the only names that may become a path. */
bool files_sha256_valid(const char *s);

/* What errno means for a client: BPU_DISK_FULL, BPU_DISK (read-only, or broken) or BPU_IO, with a hint; false.
 * `what` says what could not be done, without a colon. */
bool files_fail(const char *path, const char *what, struct bpu_error *err);

/* Creates a folder and its parents, mode 0700; one that exists is fine. */
bool files_mkdirs(const char *path, struct bpu_error *err) BPU_CHECKED;
/* Makes the entries of a folder durable. */
bool files_sync_dir(const char *path, struct bpu_error *err) BPU_CHECKED;
/* Makes `tmp` (already written and closed) durable under `path`; creates the folder of `path`. */
bool files_publish(const char *tmp, const char *path, struct bpu_error *err) BPU_CHECKED;
/* Writes a whole file durably.  tmp_dir must be in the file system of `path`. */
bool files_write(const char *tmp_dir, const char *path, const void *data, size_t n,
                 struct bpu_error *err) BPU_CHECKED;
/* All n bytes, past short writes and interruptions; false with errno set. */
bool files_write_all(int fd, const void *data, size_t n);

#endif
