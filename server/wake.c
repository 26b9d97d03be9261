/* Wake-ups over unix datagram sockets in the data directory.
 *
 * The kernel queues few datagrams per receiver (10 by default), so a burst overflows.  For workers
 * that does not matter: any queued datagram already says "look at the queue".  For the daemon the
 * sender remembers that it owes one and puts an empty id ("look at everything") in front of its
 * next wake-up.
 *
 * A socket path holds at most 107 bytes, which a deep data directory exceeds; every address is
 * therefore written through the directory's descriptor in /proc/self/fd, unless it is short. */
#include "server/wake.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SERVER_SOCKET "hub.sock"
#define WORKER_FOLDER "wake"

struct wake {
    enum wake_role role;
    int dir_fd;     /* the data directory */
    int workers_fd; /* DIR/wake */
    int fd;         /* our bound socket, or -1 */
    int send_fd;    /* unbound, for sending */
    int lock_fd;    /* DIR/hub.lock of the daemon, or -1 */
    char name[48];  /* of our socket under its folder */
    char *dir;
    atomic_bool owes_server; /* a wake-up for the daemon did not fit */
};

/* Address of `name` under the folder; the folder's path is used as it is while it fits. */
static bool address_make(struct sockaddr_un *out, const char *dir, const char *sub, int folder_fd,
                         const char *name)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n =
        snprintf(out->sun_path, sizeof out->sun_path, "%s/%s%s%s", dir, sub, *sub ? "/" : "", name);
    if (n >= 0 && (size_t)n < sizeof out->sun_path)
        return true;
    n = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", folder_fd, name);
    return n >= 0 && (size_t)n < sizeof out->sun_path;
}

static bool send_to(struct wake *w, const char *sub, int folder_fd, const char *name,
                    const char *id, int *why)
{
    struct sockaddr_un to;
    *why = ENAMETOOLONG;
    if (!address_make(&to, w->dir, sub, folder_fd, name))
        return false;
    size_t n = strnlen(id, WAKE_ID_SIZE - 1);
    ssize_t sent;
    do
        sent = sendto(w->send_fd, id, n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to,
                      sizeof to);
    while (sent < 0 && errno == EINTR);
    *why = sent < 0 ? errno : 0;
    return sent >= 0;
}

/* A POSIX lock and not flock: it is not inherited by the workers that the daemon forks. */
static bool server_lock(struct wake *w, struct bpu_error *err)
{
    w->lock_fd = openat(w->dir_fd, "hub.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (w->lock_fd < 0)
        return error_set(err, BPU_IO, w->dir, "cannot create hub.lock: %s", strerror(errno));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(w->lock_fd, F_SETLK, &lock) == 0)
        return true;
    error_set(err, BPU_CONFLICT, w->dir, "another bpuhub serve is running on this data directory");
    return error_hint(err, "Stop it first, or give this one its own --data directory.");
}

static bool socket_bind(struct wake *w, const char *sub, int folder_fd, struct bpu_error *err)
{
    struct sockaddr_un at;
    if (!address_make(&at, w->dir, sub, folder_fd, w->name))
        return error_set(err, BPU_IO, w->dir, "the path of the wake-up socket is too long");
    w->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->fd < 0)
        return error_set(err, BPU_IO, w->dir, "cannot make a socket: %s", strerror(errno));
    unlinkat(folder_fd, w->name, 0); /* left behind by a process that was killed */
    if (bind(w->fd, (struct sockaddr *)&at, sizeof at) != 0)
        return error_set(err, BPU_IO, w->dir, "cannot bind %s: %s", w->name, strerror(errno));
    return true;
}

struct wake *wake_open(const char *dir, enum wake_role role, struct bpu_error *err)
{
    struct wake *w = calloc(1, sizeof *w);
    char *own = strdup(dir);
    if (!w || !own) {
        free(w);
        free(own);
        error_set(err, BPU_NO_MEMORY, NULL, "no memory for the wake-up socket");
        return NULL;
    }
    *w = (struct wake){.role = role, .fd = -1, .lock_fd = -1, .workers_fd = -1, .dir = own};
    w->send_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    w->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->send_fd < 0 || w->dir_fd < 0) {
        error_set(err, BPU_IO, dir, "cannot open the data directory: %s", strerror(errno));
        goto fail;
    }
    if (mkdirat(w->dir_fd, WORKER_FOLDER, 0700) != 0 && errno != EEXIST) {
        error_set(err, BPU_IO, dir, "cannot create %s: %s", WORKER_FOLDER, strerror(errno));
        goto fail;
    }
    w->workers_fd = openat(w->dir_fd, WORKER_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->workers_fd < 0) {
        error_set(err, BPU_IO, dir, "cannot open %s: %s", WORKER_FOLDER, strerror(errno));
        goto fail;
    }
    if (role == WAKE_SERVER) {
        snprintf(w->name, sizeof w->name, SERVER_SOCKET);
        if (!server_lock(w, err) || !socket_bind(w, "", w->dir_fd, err))
            goto fail;
    } else if (role == WAKE_WORKER) {
        unsigned tag = 0; /* two containers may share the directory and a process id */
        if (getrandom(&tag, sizeof tag, 0) != (ssize_t)sizeof tag)
            tag = 0;
        snprintf(w->name, sizeof w->name, "%ld-%08x", (long)getpid(), tag);
        if (!socket_bind(w, WORKER_FOLDER, w->workers_fd, err))
            goto fail;
    }
    return w;
fail:
    wake_close(w);
    return NULL;
}

void wake_close(struct wake *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        unlinkat(w->role == WAKE_SERVER ? w->dir_fd : w->workers_fd, w->name, 0);
        close(w->fd);
    }
    if (w->send_fd >= 0)
        close(w->send_fd);
    if (w->workers_fd >= 0)
        close(w->workers_fd);
    if (w->dir_fd >= 0)
        close(w->dir_fd);
    if (w->lock_fd >= 0)
        close(w->lock_fd);
    free(w->dir);
    free(w);
}

int wake_fd(const struct wake *w)
{
    return w->fd;
}

void wake_workers(struct wake *w, const char *job_id)
{
    /* A fresh description each time: a duplicate would share its read position between threads. */
    int fd = openat(w->dir_fd, WORKER_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        int why;
        if (e->d_name[0] == '.')
            continue;
        if (!send_to(w, WORKER_FOLDER, w->workers_fd, e->d_name, job_id, &why) &&
            why == ECONNREFUSED)
            unlinkat(w->workers_fd, e->d_name, 0); /* its worker was killed */
    }
    closedir(d);
}

void wake_server(struct wake *w, const char *job_id)
{
    int why = 0;
    if (atomic_exchange(&w->owes_server, false) &&
        !send_to(w, "", w->dir_fd, SERVER_SOCKET, "", &why)) {
        atomic_store(&w->owes_server, why == EAGAIN || why == ENOBUFS);
        return;
    }
    if (!send_to(w, "", w->dir_fd, SERVER_SOCKET, job_id, &why) &&
        (why == EAGAIN || why == ENOBUFS))
        atomic_store(&w->owes_server, true);
}

bool wake_read(struct wake *w, char job_id[WAKE_ID_SIZE])
{
    if (w->fd < 0)
        return false;
    ssize_t n;
    do
        n = recv(w->fd, job_id, WAKE_ID_SIZE - 1, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return false;
    job_id[n] = '\0';
    return true;
}
