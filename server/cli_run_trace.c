/* --trace DIR: every result of the first frame as a .npy file, and index.json that says what each
 * is.
 *
 * The folder is written under another name beside its place and renamed when it is complete, so
 * that a run which fails leaves nothing behind. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli_run.h"

bool run_trace_begin(struct run_trace *t, const char *path, struct bpu_error *err)
{
    memset(t, 0, sizeof *t);
    t->path = path;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (rmdir(path) != 0 && errno != ENOENT) { /* an empty folder of that name may stand there */
        error_set(err, BPU_IO, path, "the folder for the trace cannot be made: %s",
                  strerror(errno));
        return error_hint(err, "Name a folder that does not exist yet.");
    }
    t->work = malloc(n + sizeof ".XXXXXX");
    t->index = json_array();
    if (!t->work || !t->index)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory for the trace");
    memcpy(t->work, path, n);
    memcpy(t->work + n, ".XXXXXX", sizeof ".XXXXXX");
    if (!mkdtemp(t->work)) {
        t->work[0] = '\0';
        return error_set(err, BPU_IO, path, "the folder for the trace cannot be made: %s",
                         strerror(errno));
    }
    return true;
}

/* What is safe in every file system; the index has the name as it is. */
static void safe_name(char *out, size_t size, unsigned number, const char *name)
{
    int n = snprintf(out, size, "%04u-", number);
    size_t used = n > 0 ? (size_t)n : 0;
    for (; *name && used + 5 < size && used < 80; name++) {
        char c = *name;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '-' || c == '_';
        out[used++] = plain ? c : '_';
    }
    memcpy(out + used, ".npy", 5);
}

static bool write_file(const struct run_trace *t, const char *name, const struct buf *b,
                       struct bpu_error *err)
{
    char path[4096 + 200];
    if (snprintf(path, sizeof path, "%s/%s", t->work, name) >= (int)sizeof path)
        return error_set(err, BPU_IO, t->path, "the name is too long");
    return cli_write(path, b, err);
}

static json_t *describe(const struct value *v, const struct tensor *x, const char *file)
{
    json_t *dims = json_array();
    for (int i = 0; i < x->shape.rank; i++)
        json_array_append_new(dims, json_integer(x->shape.dim[i]));
    const struct node *n = v->producer;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "file", file, "value", v->name, "node",
                          n ? n->name : "", "op", n ? n->op_name : "", "dtype",
                          dtype_name(x->dtype), "shape", dims);
    if (j && x->quant.count == 1) {
        json_object_set_new(j, "scale", json_real(x->quant.scale[0]));
        json_object_set_new(j, "zero_point",
                            json_integer(x->quant.zero_point ? x->quant.zero_point[0] : 0));
    }
    return j;
}

bool run_trace_value(void *ctx, const struct value *v, const struct tensor *x,
                     struct bpu_error *err)
{
    struct run_trace *t = ctx;
    struct arena arena;
    struct array array;
    struct buf b;
    char file[120];
    arena_init(&arena, SIZE_MAX / 2);
    buf_init(&b, (size_t)4 << 30);
    safe_name(file, sizeof file, t->count++, v->name);
    /* Into the index first: run_trace_drop() finds the files there. */
    bool ok =
        json_array_append_new(t->index, describe(v, x, file)) == 0
            ? run_array_of(&arena, v->name, &x->shape, x->dtype, x->data, x->bytes, &array, err)
            : error_set(err, BPU_NO_MEMORY, NULL, "no memory for the trace");
    ok = ok && npy_write(&array, &b, err) && write_file(t, file, &b, err);
    buf_fini(&b);
    arena_fini(&arena);
    return ok;
}

bool run_trace_end(struct run_trace *t, struct bpu_error *err)
{
    struct buf b;
    buf_init(&b, BUF_DEFAULT_CAP);
    json_t *root =
        json_pack("{s:s, s:i, s:O}", "schema", "bpuhub.trace/1", "frame", 0, "values", t->index);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    if (text)
        buf_puts(&b, text);
    buf_putc(&b, '\n');
    bool ok = text ? buf_ok(&b, err) && write_file(t, "index.json", &b, err)
                   : error_set(err, BPU_NO_MEMORY, NULL, "no memory for the trace");
    mode_t mask = umask(0);
    umask(mask);
    if (ok && (chmod(t->work, 0777 & ~mask) != 0 || rename(t->work, t->path) != 0))
        ok = error_set(err, BPU_IO, t->path, "the folder cannot be renamed: %s", strerror(errno));
    if (ok)
        t->work[0] = '\0';
    free(text);
    json_decref(root);
    buf_fini(&b);
    return ok;
}

static void remove_file(const struct run_trace *t, const char *name)
{
    char path[4096 + 200];
    if (snprintf(path, sizeof path, "%s/%s", t->work, name) < (int)sizeof path)
        unlink(path);
}

void run_trace_drop(struct run_trace *t)
{
    bool begun = t->work && t->work[0];
    for (size_t i = 0; begun && i < json_array_size(t->index); i++)
        remove_file(t, json_string_value(json_object_get(json_array_get(t->index, i), "file")));
    if (begun) {
        remove_file(t, "index.json");
        rmdir(t->work);
    }
    json_decref(t->index);
    free(t->work);
    memset(t, 0, sizeof *t);
}
