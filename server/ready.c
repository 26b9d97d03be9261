/* Design: ready means that a job sent now would be done: the disk takes a file, the database takes a transaction, and a
 * worker lives.  The probe of the disk runs in a disk lane, that of the database behind it in the write lane. */
#define _GNU_SOURCE
#include "server/ready.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "server/files.h"

#define FREE_MIN ((uint64_t)16 << 20) /* bytes; less is a full disk in a moment */

bool ready_disk(const char *data_dir, struct bpu_error *err)
{
    static const char probe[] = "bpuhub looks whether this disk takes a file\n";
    char path[3200], tmp[3200];
    struct statvfs st;
    snprintf(tmp, sizeof tmp, "%s/tmp", data_dir);
    snprintf(path, sizeof path, "%s/tmp/ready-%ld", data_dir, (long)getpid());
    bool ok = files_write(tmp, path, probe, sizeof probe - 1, err);
    (void)unlink(path);
    if (!ok || statvfs(data_dir, &st) != 0)
        return ok;
    uint64_t left = (uint64_t)st.f_bavail * st.f_frsize;
    if (left >= FREE_MIN)
        return true;
    error_set(err, BPU_DISK_FULL, data_dir, "the disk of the data directory has %llu KiB left",
              (unsigned long long)(left >> 10));
    return error_hint(err, "Make room on it (`bpuhub prune`).");
}

bool ready_workers(int wanted, int alive, struct bpu_error *err)
{
    if (wanted == 0 || alive > 0)
        return true;
    error_set(err, BPU_SERVER, NULL, "none of the %d workers lives", wanted);
    return error_hint(err, "The log says why they end; they are started again by themselves.");
}
