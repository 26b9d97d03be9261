/* libfault.so: a disk that fails on demand, for tests only, loaded with LD_PRELOAD.
 *
 * The calls that change or read files are wrapped.  What goes wrong stands in a control file that is mapped by every
 * process (struct fault_control), so that a test changes it while the service runs; only regular files under one folder are
 * hit, and the library itself makes no system call that a sandboxed job may not make while nothing is to fail.
 *
 *   BPUHUB_FAULT_CONTROL   path of the control file, at least sizeof(struct fault_control) bytes
 *   BPUHUB_FAULT_DIR       the folder whose files are hit
 *
 * SQLite calls the C library through its own imports, so what is wrapped here lies under the database as well as under
 * server/files.c; the mapped -shm file is not I/O and is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault_mode {
    FAULT_NONE,
    FAULT_FULL,      /* ENOSPC when a file is made or written */
    FAULT_BROKEN,    /* EIO when a file is written or synced */
    FAULT_SHORT,     /* writes take a part only */
    FAULT_READ_ONLY, /* EROFS for all that changes something */
    FAULT_UNREADABLE /* EIO when a file is read */
};

/* As tests/torture/hub.py writes it. */
struct fault_control {
    _Atomic uint32_t mode;
    _Atomic uint32_t permille; /* how many of the calls are hit */
    _Atomic uint64_t hits;     /* calls that failed */
};

#define FDS 65536

static struct fault_control *control;
static char folder[4096];
static size_t folder_length;
static _Atomic unsigned char watched[FDS];
static _Thread_local uint64_t noise;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("BPUHUB_FAULT_CONTROL"), *dir = getenv("BPUHUB_FAULT_DIR");
    if (!path || !dir || strlen(dir) >= sizeof folder)
        return;
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REAL(close)(fd);
    strcpy(folder, dir);
    folder_length = strlen(dir);
    if (p != MAP_FAILED)
        control = p;
}

static bool hit(void)
{
    if (!noise)
        noise = (uint64_t)(uintptr_t)&noise ^ (uint64_t)getpid() << 32 ^ 0x9e3779b97f4a7c15u;
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    if (noise % 1000 >= atomic_load(&control->permille))
        return false;
    atomic_fetch_add(&control->hits, 1);
    return true;
}

static uint32_t mode_now(void)
{
    return control ? atomic_load(&control->mode) : FAULT_NONE;
}

static bool path_is_ours(const char *path)
{
    return folder_length && strncmp(path, folder, folder_length) == 0;
}

static bool fd_is_ours(int fd)
{
    struct stat st;
    return fd >= 0 && fd < FDS && atomic_load(&watched[fd]) && fstat(fd, &st) == 0 &&
           S_ISREG(st.st_mode);
}

static int fail(int why)
{
    errno = why;
    return -1;
}

/* errno of a write to fd, 0 for none. */
static int write_fault(int fd)
{
    uint32_t mode = mode_now();
    if ((mode != FAULT_FULL && mode != FAULT_BROKEN && mode != FAULT_READ_ONLY) || !fd_is_ours(fd) ||
        !hit())
        return 0;
    return mode == FAULT_FULL ? ENOSPC : mode == FAULT_BROKEN ? EIO : EROFS;
}

static size_t write_part(int fd, size_t n)
{
    return mode_now() == FAULT_SHORT && n > 1 && fd_is_ours(fd) && hit() ? n / 2 : n;
}

/* errno of a change of names. */
static int name_fault(const char *path, bool grows)
{
    uint32_t mode = mode_now();
    bool may = mode == FAULT_READ_ONLY || (mode == FAULT_FULL && grows);
    if (!may || !path_is_ours(path) || !hit())
        return 0;
    return mode == FAULT_FULL ? ENOSPC : EROFS;
}

static int open_fault(const char *path, int flags)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    if (!writes || mode_now() == FAULT_NONE)
        return 0;
    return name_fault(path, (flags & O_CREAT) && access(path, F_OK) != 0);
}

static int remember(int fd, const char *path, int flags)
{
    if (fd >= 0 && fd < FDS)
        atomic_store(&watched[fd], !(flags & O_DIRECTORY) && path_is_ours(path));
    return fd;
}

#define OPEN_LIKE(name)                                                                            \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;                      \
        va_end(ap);                                                                                \
        int why = open_fault(path, flags);                                                         \
        return why ? fail(why) : remember(REAL(name)(path, flags, mode), path, flags);             \
    }
OPEN_LIKE(open)
OPEN_LIKE(open64)

int mkostemp(char *path, int flags)
{
    int why = mode_now() ? name_fault(path, true) : 0;
    return why ? fail(why) : remember(REAL(mkostemp)(path, flags), path, 0);
}

int mkostemp64(char *path, int flags)
{
    int why = mode_now() ? name_fault(path, true) : 0;
    return why ? fail(why) : remember(REAL(mkostemp64)(path, flags), path, 0);
}

int close(int fd)
{
    if (fd >= 0 && fd < FDS)
        atomic_store(&watched[fd], 0);
    return REAL(close)(fd);
}

ssize_t write(int fd, const void *data, size_t n)
{
    int why = write_fault(fd);
    return why ? fail(why) : REAL(write)(fd, data, write_part(fd, n));
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    int why = write_fault(fd);
    return why ? fail(why) : REAL(pwrite)(fd, data, write_part(fd, n), at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    int why = write_fault(fd);
    return why ? fail(why) : REAL(pwrite64)(fd, data, write_part(fd, n), at);
}

int fsync(int fd)
{
    int why = mode_now() == FAULT_BROKEN ? write_fault(fd) : 0;
    return why ? fail(why) : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    int why = mode_now() == FAULT_BROKEN ? write_fault(fd) : 0;
    return why ? fail(why) : REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t size)
{
    int why = write_fault(fd);
    return why ? fail(why) : REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    int why = write_fault(fd);
    return why ? fail(why) : REAL(ftruncate64)(fd, size);
}

static bool read_fails(int fd)
{
    return mode_now() == FAULT_UNREADABLE && fd_is_ours(fd) && hit();
}

ssize_t read(int fd, void *data, size_t n)
{
    return read_fails(fd) ? fail(EIO) : REAL(read)(fd, data, n);
}

ssize_t pread(int fd, void *data, size_t n, off_t at)
{
    return read_fails(fd) ? fail(EIO) : REAL(pread)(fd, data, n, at);
}

ssize_t pread64(int fd, void *data, size_t n, off64_t at)
{
    return read_fails(fd) ? fail(EIO) : REAL(pread64)(fd, data, n, at);
}

int rename(const char *from, const char *to)
{
    int why = mode_now() ? name_fault(to, true) : 0;
    return why ? fail(why) : REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    int why = mode_now() ? name_fault(path, true) : 0;
    return why ? fail(why) : REAL(mkdir)(path, mode);
}

int unlink(const char *path)
{
    int why = mode_now() ? name_fault(path, false) : 0;
    return why ? fail(why) : REAL(unlink)(path);
}
