/* store_backup_file: a backup as one zip file. */
#ifndef BPU_SERVER_STORE_BACKUP_FILE_H
#define BPU_SERVER_STORE_BACKUP_FILE_H

#include "server/store_care.h"

/* True for a path that ends in .zip. */
bool store_backup_is_file(const char *path);
/* Makes the folder PATH.parts, packs it, and removes it: needs room for both. The file appears whole or not at all. */
bool store_backup_file(struct store *s, const char *path, struct backup_result *out,
                       struct bpu_error *err) BPU_CHECKED;
bool store_restore_file(const char *path, const char *dir, struct backup_result *out,
                        struct bpu_error *err) BPU_CHECKED;

#endif
