/* --check-config: all that can be found out without touching a running service. */
#include "server/check_config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/files.h"
#include "server/listen.h"
#include "server/store_access.h"
#include "server/tls.h"

bool check_config(const struct config *c, struct bpu_error *err)
{
    char path[sizeof c->data + 16];
    bool loopback, has_tokens;
    struct tls_files tls;
    struct stat st;
    if (!tls_load(c, &tls, err))
        return false;
    tls_free(&tls);
    if (!store_tokens_exist(c->data, &has_tokens, err))
        return false;
    int fd = listen_open(c, has_tokens, &loopback, err);
    if (fd >= 0) {
        close(fd);
    } else if (err->code == BPU_SERVER && strstr(err->message, strerror(EADDRINUSE))) {
        *err = (struct bpu_error){0}; /* by the service that runs with these settings, most likely */
    } else {
        return false;
    }
    snprintf(path, sizeof path, "%s", c->data);
    for (char *slash = path + strlen(path); stat(path, &st) != 0 && slash; slash = strrchr(path, '/')) {
        if (errno != ENOENT && errno != ENOTDIR)
            break;
        if (slash == path)
            strcpy(path, "/");
        else
            *slash = '\0';
        if (!strchr(path, '/') && stat(path, &st) != 0)
            strcpy(path, ".");
    }
    if (stat(path, &st) != 0)
        return files_fail(c->data, "the data directory cannot be reached", err);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, BPU_USAGE, path, "this is not a folder");
    if (access(path, W_OK | X_OK) != 0)
        return files_fail(path, "the data directory cannot be written", err);
    return true;
}
