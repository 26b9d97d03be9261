/* Design: an upload owns two buffers and at most one task in the disk lane.  `busy` says that the
 * lane has it; whoever finds it busy leaves a note (waiting, ending, abandoned) under the mutex,
 * and the task's end acts on it.  The first bytes decide whether this is a model (or a data file) at
 * all, so that a gigabyte of something else is never written. */
#define _GNU_SOURCE
#include "server/http_upload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/data/data.h"
#include "core/import/import.h"
#include "core/program/program.h"
#include "server/files.h"
#include "server/http_multipart.h"
#include "server/json.h"

#define BUFFER_SIZE ((size_t)512 << 10)
#define FORM_OVERHEAD ((int64_t)64 << 10)
#define HEAD_SIZE ((size_t)16 << 10)
#define WRITEBACK ((int64_t)8 << 20)

struct upload {
    struct http_request *request;
    struct tasks *tasks;
    const char *data_dir;
    int64_t limit;
    enum upload_kind kind;
    bool multipart, has_hash;
    struct multipart form;

    char *buffers[2];
    size_t buffer_size, used[2];
    int filling;

    pthread_mutex_t lock;
    bool busy, waiting, ending, abandoned;
    struct task task;
    void (*then)(struct http_request *r);

    /* The disk lane's while busy. */
    struct bpu_error err;
    bool recognised, last;
    int working, fd;
    char tmp[4096];
    char head[HEAD_SIZE];
    size_t head_size;
    int64_t bytes, pushed;
    struct files_hash hash;
    struct store_model model;
};

static struct upload *upload_of(struct task *t)
{
    return (struct upload *)((char *)t - offsetof(struct upload, task));
}

static void upload_free(struct upload *u)
{
    if (u->fd >= 0)
        close(u->fd);
    if (u->tmp[0])
        unlink(u->tmp);
    if (u->has_hash)
        files_hash_drop(&u->hash);
    if (u->multipart)
        multipart_fini(&u->form);
    free(u->buffers[0]);
    free(u->buffers[1]);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* The file name without folders, control characters and broken UTF-8. */
static void name_clean(const char *from, const char *otherwise, char out[256])
{
    for (const char *p = from; *p; p++)
        if (*p == '/' || *p == '\\')
            from = p + 1;
    size_t n = 0;
    while (*from) {
        size_t step = json_utf8_length(from);
        if (n + (step ? step : 1) > 255)
            break;
        if (step > 1) {
            memcpy(out + n, from, step);
            n += step;
        } else if (step == 1 && (unsigned char)*from >= 0x20 && *from != 0x7f) {
            out[n++] = *from;
        } else {
            out[n++] = '_';
        }
        from += step ? step : 1;
    }
    out[n] = 0;
    if (n == 0 || strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        strcpy(out, otherwise);
}

static bool size_refused(struct http_request *r, int64_t limit)
{
    struct bpu_error err = {0};
    error_set(&err, BPU_LIMIT, NULL, "the upload is larger than the limit of %lld bytes",
              (long long)limit);
    error_hint(&err, "ask the operator of this server to raise --max-upload");
    http_reply_error(r, &err);
    return false;
}

bool upload_begin(struct http_request *r, enum upload_kind kind)
{
    struct bpu_error err = {0};
    int64_t limit = r->server->config.max_upload;
    const char *type = http_header(r, "Content-Type");
    bool multipart = type && strncasecmp(type, "multipart/", 10) == 0;
    const char *text = http_header(r, "Content-Length");
    int64_t length = text ? strtoll(text, NULL, 10) : -1;
    if (length > limit + (multipart ? FORM_OVERHEAD : 0))
        return size_refused(r, limit);
    if (access_upload_left(r->server->access, &r->access) < (length > 0 ? length : 1)) {
        http_reply_quota(r);
        return false;
    }
    const char *encoding = http_header(r, "Content-Encoding");
    if (encoding && strcasecmp(encoding, "identity") != 0) {
        http_reply_problem(
            r, &(struct problem){.status = 415,
                                 .code = "unsupported_encoding",
                                 .title = "The content encoding is not supported",
                                 .detail = "the body must be sent as it is, without compression",
                                 .where = "Content-Encoding"});
        return false;
    }
    struct upload *u = calloc(1, sizeof *u);
    if (!u) {
        error_set(&err, BPU_NO_MEMORY, NULL, "no memory for the upload");
        http_reply_error(r, &err);
        return false;
    }
    pthread_mutex_init(&u->lock, NULL);
    u->fd = -1;
    u->kind = kind;
    u->request = r;
    u->tasks = r->server->tasks;
    u->data_dir = r->server->config.data;
    u->limit = limit;
    u->buffer_size = length > 0 && (size_t)length < BUFFER_SIZE ? (size_t)length : BUFFER_SIZE;
    u->buffers[0] = malloc(u->buffer_size);
    if (!u->buffers[0])
        error_set(&err, BPU_NO_MEMORY, NULL, "no memory for the upload");
    const char *name = http_query(r, "filename");
    name_clean(name ? name : "", kind == UPLOAD_DATA ? "data" : "model", u->model.name);
    if (err.code == BPU_NONE && multipart && multipart_init(&u->form, type, &err))
        u->multipart = true;
    if (err.code == BPU_NONE && files_hash_init(&u->hash, &err))
        u->has_hash = true;
    if (err.code != BPU_NONE) {
        upload_free(u);
        http_reply_error(r, &err);
        return false;
    }
    r->upload = u;
    return true;
}

static bool refuse_data(const struct upload *u, struct bpu_error *err)
{
    const char *model = import_detect(u->head, u->head_size);
    if (model) {
        error_set(err, BPU_NOT_DATA, u->model.name, "the upload is a model (%s) and no data file",
                  strcmp(model, "torchscript") == 0 ? "a zip archive without arrays" : model);
        return error_hint(err, "Models go to POST /v1/models.");
    }
    error_set(err, BPU_NOT_DATA, u->model.name, "the upload is not a data file");
    return error_hint(err, "Data files are .npz and .npy of NumPy, and IDX as MNIST has it; "
                           "compressed files must be unpacked first.");
}

static bool refuse_model(const struct upload *u, struct bpu_error *err)
{
    struct arena a;
    arena_init(&a, (size_t)16 << 20);
    struct import_request request = {
        .data = (const unsigned char *)u->head, .size = u->head_size, .name = u->model.name};
    if (import_model(&a, &request, err) || err->code == BPU_NONE)
        error_set(err, BPU_NOT_A_MODEL, NULL, "the upload is not a model in a known format");
    arena_fini(&a);
    return false;
}

/* Looks at the first bytes; refuses what no reader knows, in the reader's own words. */
static bool recognise(struct upload *u, struct bpu_error *err)
{
    bool data = u->kind == UPLOAD_DATA;
    if (u->head_size == 0) {
        error_set(err, data ? BPU_NOT_DATA : BPU_NOT_A_MODEL, NULL, "the upload is empty");
        return error_hint(err, "send the %s as the body, or as the form field \"file\"",
                          data ? "data" : "model");
    }
    const char *format = data ? array_file_detect(u->head, u->head_size)
                         : program_is(u->head, u->head_size)
                             ? "program"
                             : import_detect(u->head, u->head_size);
    if (!format)
        return data ? refuse_data(u, err) : refuse_model(u, err);
    snprintf(u->model.format, sizeof u->model.format, "%s", format);
    u->recognised = true;
    return true;
}

static bool write_out(struct upload *u, const void *data, size_t n, struct bpu_error *err)
{
    if (u->fd < 0) {
        snprintf(u->tmp, sizeof u->tmp, "%s/tmp/" UPLOAD_TMP_PREFIX "XXXXXX", u->data_dir);
        u->fd = mkostemp(u->tmp, O_CLOEXEC);
        if (u->fd < 0) {
            u->tmp[0] = 0;
            return files_fail(NULL, "a temporary file cannot be created", err);
        }
    }
    if (!files_write_all(u->fd, data, n)) {
        files_fail(NULL, "the upload cannot be written", err);
        return error_hint(err, "the server's disk may be full");
    }
    /* Start writing back early, so that the fsync at the end finds little left. */
    if (u->bytes - u->pushed >= WRITEBACK) {
        (void)sync_file_range(u->fd, u->pushed, u->bytes - u->pushed, SYNC_FILE_RANGE_WRITE);
        u->pushed = u->bytes;
    }
    return files_hash_add(&u->hash, data, n, err);
}

/* Bytes of the model itself, in order. */
static bool model_bytes(void *ctx, const void *data, size_t n, struct bpu_error *err)
{
    struct upload *u = ctx;
    u->bytes += (int64_t)n;
    if (u->bytes > u->limit)
        return error_set(err, BPU_LIMIT, NULL, "the upload is larger than the limit of %lld bytes",
                         (long long)u->limit);
    if (!u->recognised) {
        size_t take = HEAD_SIZE - u->head_size < n ? HEAD_SIZE - u->head_size : n;
        memcpy(u->head + u->head_size, data, take);
        u->head_size += take;
        if (u->head_size == HEAD_SIZE && !recognise(u, err))
            return false;
    }
    return write_out(u, data, n, err);
}

static bool publish(struct upload *u, struct bpu_error *err)
{
    struct store_model *m = &u->model;
    m->bytes = u->bytes;
    u->has_hash = false;
    if (!files_hash_end(&u->hash, m->id, err))
        return false;
    char path[4096], *slash;
    (u->kind == UPLOAD_DATA ? store_data_path : store_model_path)(tasks_store(u->tasks), m->id, path,
                                                                  sizeof path);
    close(u->fd);
    u->fd = -1;
    struct stat st;
    /* Touched, so that retention knows that somebody is about to name it (store_prune.c). */
    if (stat(path, &st) == 0 && st.st_size == u->bytes &&
        utimensat(AT_FDCWD, path, NULL, 0) == 0) {
        /* Here already; its folder entry may still be on the way to disk from another upload. */
        unlink(u->tmp);
        u->tmp[0] = 0;
        slash = strrchr(path, '/');
        *slash = 0;
        return files_sync_dir(path, err);
    }
    if (!files_publish(u->tmp, path, err))
        return false;
    u->tmp[0] = 0;
    return true;
}

bool upload_is_stored(struct http_request *r, const struct store *s, struct bpu_error *err)
{
    char path[4352];
    (r->upload->kind == UPLOAD_DATA ? store_data_path : store_model_path)(s, r->upload->model.id, path,
                                                                          sizeof path);
    if (access(path, R_OK) == 0)
        return true;
    error_set(err, BPU_DISK, r->upload->model.id, "the upload is not in the data directory any more");
    return error_hint(err, "Send it again.");
}

static bool finish(struct upload *u, struct bpu_error *err)
{
    if (u->multipart) {
        if (!multipart_end(&u->form, err))
            return false;
        if (u->form.filename[0])
            name_clean(u->form.filename, u->kind == UPLOAD_DATA ? "data" : "model", u->model.name);
    }
    if (!u->recognised && !recognise(u, err))
        return false;
    return publish(u, err);
}

static bool lane_run(struct task *t, struct store *s)
{
    (void)s;
    struct upload *u = upload_of(t);
    int i = u->working;
    bool ok = u->err.code == BPU_NONE;
    if (ok && u->used[i])
        ok = u->multipart
                 ? multipart_feed(&u->form, u->buffers[i], u->used[i], model_bytes, u, &u->err)
                 : model_bytes(u, u->buffers[i], u->used[i], &u->err);
    u->used[i] = 0;
    if (ok && u->last)
        ok = finish(u, &u->err);
    if (!ok && u->fd >= 0) {
        close(u->fd);
        u->fd = -1;
        unlink(u->tmp);
        u->tmp[0] = 0;
    }
    return true;
}

static void lane_after(struct task *t);

/* Hands the filled buffer to the lane; called with busy already set. */
static void lane_post(struct upload *u, bool last)
{
    u->working = u->filling;
    u->filling ^= 1;
    u->last = last;
    u->task = (struct task){.run = lane_run, .after = lane_after};
    tasks_post(u->tasks, LANE_DISK, &u->task);
}

static void lane_after(struct task *t)
{
    struct upload *u = upload_of(t);
    struct http_request *r = u->request;
    pthread_mutex_lock(&u->lock);
    if (u->abandoned) {
        pthread_mutex_unlock(&u->lock);
        upload_free(u);
        return;
    }
    if (u->ending) {
        u->ending = false;
        lane_post(u, true);
        pthread_mutex_unlock(&u->lock);
        return;
    }
    bool last = u->last, waiting = u->waiting;
    u->busy = u->waiting = false;
    pthread_mutex_unlock(&u->lock);
    if (last && u->err.code == BPU_NONE) {
        u->then(r);
    } else if (last) {
        http_reply_error(r, &u->err);
        http_resume(r);
    } else if (waiting) {
        http_resume(r);
    }
}

/* Makes room in the filling buffer; false after suspending the request. */
static bool room_make(struct http_request *r, struct upload *u)
{
    if (u->used[u->filling] < u->buffer_size)
        return true;
    pthread_mutex_lock(&u->lock);
    bool busy = u->busy;
    if (busy) {
        u->waiting = true;
        http_suspend(r);
    }
    u->busy = true;
    pthread_mutex_unlock(&u->lock);
    if (busy)
        return false;
    if (!u->buffers[u->filling ^ 1])
        u->buffers[u->filling ^ 1] = malloc(u->buffer_size);
    if (!u->buffers[u->filling ^ 1]) {
        u->busy = false;
        struct bpu_error err = {0};
        error_set(&err, BPU_NO_MEMORY, NULL, "no memory for the upload");
        http_reply_error(r, &err);
        return true;
    }
    lane_post(u, false);
    return true;
}

size_t upload_feed(struct http_request *r, const void *data, size_t n)
{
    struct upload *u = r->upload;
    if (r->body_bytes + (int64_t)n > u->limit + (u->multipart ? FORM_OVERHEAD : 0)) {
        size_refused(r, u->limit);
        return n;
    }
    size_t taken = 0;
    while (taken < n && !r->response) {
        if (!room_make(r, u))
            return taken;
        size_t *used = &u->used[u->filling];
        size_t count = u->buffer_size - *used < n - taken ? u->buffer_size - *used : n - taken;
        memcpy(u->buffers[u->filling] + *used, (const char *)data + taken, count);
        *used += count;
        taken += count;
    }
    return r->response ? n : taken;
}

void upload_end(struct http_request *r, void (*then)(struct http_request *r))
{
    struct upload *u = r->upload;
    u->then = then;
    http_suspend(r);
    pthread_mutex_lock(&u->lock);
    if (u->busy) {
        u->ending = true;
    } else {
        u->busy = true;
        lane_post(u, true);
    }
    pthread_mutex_unlock(&u->lock);
}

const struct store_model *upload_model(const struct http_request *r)
{
    return &r->upload->model;
}

static bool discard_run(struct task *t, struct store *s)
{
    (void)t;
    (void)s;
    return true;
}

static void discard_after(struct task *t)
{
    upload_free(upload_of(t));
}

void upload_abandon(struct http_request *r)
{
    struct upload *u = r->upload;
    r->upload = NULL;
    pthread_mutex_lock(&u->lock);
    bool busy = u->busy;
    u->abandoned = true;
    pthread_mutex_unlock(&u->lock);
    if (busy)
        return;
    if (!u->tmp[0]) {
        upload_free(u);
        return;
    }
    /* Unlinking a large file takes its time: not in the HTTP thread. */
    u->task = (struct task){.run = discard_run, .after = discard_after};
    tasks_post(u->tasks, LANE_DISK, &u->task);
}
