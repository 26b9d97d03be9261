/* What the local subcommands share: files, options, errors. */
#include "server/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/files.h"

/* Hashes by reading, so that the pages of a large file do not count as this process' memory. */
static bool hash_file(int fd, const char *path, char id[65], struct bpu_error *err)
{
    enum { CHUNK = 256 << 10 };
    struct files_hash h;
    unsigned char *chunk = malloc(CHUNK);
    if (!chunk)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory to read \"%s\"", path);
    bool ok = files_hash_init(&h, err);
    while (ok) {
        ssize_t n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            ok = error_set(err, BPU_IO, path, "reading failed: %s", strerror(errno));
        if (n <= 0)
            break;
        ok = files_hash_add(&h, chunk, (size_t)n, err);
    }
    free(chunk);
    if (ok)
        return files_hash_end(&h, id, err);
    files_hash_drop(&h);
    return false;
}

bool cli_open(const char *path, struct cli_file *f, struct bpu_error *err)
{
    memset(f, 0, sizeof *f);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, BPU_IO, path, "the file cannot be opened: %s", strerror(errno));
    struct stat st;
    bool ok = false;
    if (fstat(fd, &st) != 0)
        error_set(err, BPU_IO, path, "the file cannot be read: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        error_set(err, BPU_IO, path, "this is not a regular file");
    else {
        f->size = (size_t)st.st_size;
        f->data = f->size ? mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
        if (f->data == MAP_FAILED) {
            f->data = NULL;
            error_set(err, BPU_IO, path, "the file cannot be mapped: %s", strerror(errno));
        } else
            ok = hash_file(fd, path, f->id, err);
    }
    close(fd);
    if (!ok)
        cli_close(f);
    return ok;
}

void cli_close(struct cli_file *f)
{
    if (f->data)
        munmap(f->data, f->size);
    f->data = NULL;
}

bool cli_write(const char *path, const struct buf *b, struct bpu_error *err)
{
    if (strcmp(path, "-") == 0) {
        if (fwrite(b->data, 1, b->size, stdout) != b->size || fflush(stdout) != 0)
            return error_set(err, BPU_IO, "standard output", "writing failed: %s", strerror(errno));
        return true;
    }
    /* Into a new file beside it, then renamed over it; what is no regular file (a pipe) is written as it is. */
    struct stat st;
    bool plain = stat(path, &st) != 0 || S_ISREG(st.st_mode);
    char tmp[4096];
    if (snprintf(tmp, sizeof tmp, plain ? "%s.XXXXXX" : "%s", path) >= (int)sizeof tmp)
        return error_set(err, BPU_IO, path, "the name is too long");
    int fd = plain ? mkstemp(tmp) : open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, BPU_IO, path, "the file cannot be written: %s", strerror(errno));
    bool ok = files_write_all(fd, b->data, b->size);
    if (plain) {
        mode_t mask = umask(0);
        umask(mask);
        ok = ok && fchmod(fd, 0666 & ~mask) == 0;
    }
    ok = close(fd) == 0 && ok;
    ok = ok && (!plain || rename(tmp, path) == 0);
    if (!ok) {
        error_set(err, BPU_IO, path, "writing failed: %s", strerror(errno));
        if (plain)
            unlink(tmp);
    }
    return ok;
}

int cli_fail(const struct cli *c, const struct bpu_error *err)
{
    fprintf(stderr, "bpuhub %s: ", c->command);
    if (c->model)
        fprintf(stderr, "%s: ", c->model);
    if (err->where[0] && (!c->model || strcmp(err->where, c->model) != 0))
        fprintf(stderr, "%s: ", err->where);
    fprintf(stderr, "%s [%s]\n", err->message, error_code_name(err->code));
    if (err->hint[0])
        fprintf(stderr, "  hint: %s\n", err->hint);
    return error_exit_code(err->code);
}

bool cli_add_option(struct cli *c, const char *text, struct bpu_error *err)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text) {
        error_set(err, BPU_USAGE, "--option", "\"%s\" is not KEY=VALUE", text);
        return error_hint(err, "For example --option input.x=1x3x224x224");
    }
    if (c->option_count == CLI_MAX_OPTIONS)
        return error_set(err, BPU_USAGE, "--option", "more than %d options", CLI_MAX_OPTIONS);
    /* Lives as long as the process, like argv. */
    char *key = strndup(text, (size_t)(eq - text));
    if (!key)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory");
    c->options[c->option_count++] = (struct job_option){key, eq + 1};
    return true;
}

bool cli_set_memory(struct cli *c, const char *text, struct bpu_error *err)
{
    char *end;
    unsigned long mib = strtoul(text, &end, 10);
    if (!*text || *end || mib == 0 || mib > 1 << 20)
        return error_set(err, BPU_USAGE, "--memory", "\"%.80s\" is not a number of MiB", text);
    c->memory = (size_t)mib << 20;
    return true;
}

void cli_gates_complain(const struct cli *c, const struct gates *g)
{
    for (int i = 0; i < g->count; i++)
        if (!g->items[i].passed)
            fprintf(stderr, "bpuhub %s: gate %s: %s\n", c->command, g->items[i].option, g->items[i].text);
}

void cli_drop_options(struct cli *c)
{
    for (size_t i = 0; i < c->option_count; i++)
        free((void *)(uintptr_t)c->options[i].key);
    c->option_count = 0;
}

const char *cli_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}
