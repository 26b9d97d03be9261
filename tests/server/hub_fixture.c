#define _GNU_SOURCE
#include "tests/server/hub_fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/files.h"

void hub_ok(struct hub *h, bool ok)
{
    if (!ok)
        fail_msg("%s: %s %s", error_code_name(h->err.code), h->err.message, h->err.where);
}

void hub_refused(struct hub *h, bool ok, enum bpu_code code)
{
    assert_false(ok);
    if (h->err.code != code)
        fail_msg("expected %s, got %s: %s", error_code_name(code), error_code_name(h->err.code),
                 h->err.message);
    h->err = (struct bpu_error){0};
}

int hub_setup(void **state)
{
    struct hub *h = calloc(1, sizeof *h);
    const char *base = getenv("TMPDIR");
    snprintf(h->dir, sizeof h->dir, "%.32s/hub-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(h->dir))
        return -1;
    arena_init(&h->arena, (size_t)1 << 30);
    h->store = store_open(h->dir, &h->err);
    if (!h->store)
        fprintf(stderr, "store_open: %s\n", h->err.message);
    *state = h;
    return h->store ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

int hub_teardown(void **state)
{
    struct hub *h = *state;
    store_close(h->store);
    arena_fini(&h->arena);
    nftw(h->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(h);
    return 0;
}

const char *hub_model(struct hub *h, const char *name, const char *content)
{
    struct store_model m = {.bytes = (int64_t)strlen(content), .format = "onnx"};
    char path[512], tmp[512];
    bool existed;
    hub_ok(h, files_sha256(content, strlen(content), m.id, &h->err));
    snprintf(m.name, sizeof m.name, "%s", name);
    store_model_path(h->store, m.id, path, sizeof path);
    snprintf(tmp, sizeof tmp, "%s/tmp", h->dir);
    hub_ok(h, files_write(tmp, path, content, strlen(content), &h->err));
    hub_ok(h, store_model_add(h->store, &m, &existed, &h->err));
    const char *id = arena_strdup(&h->arena, m.id, &h->err);
    assert_non_null(id);
    return id;
}

struct store_job hub_job(struct hub *h, const char *model, const char *options)
{
    struct store_job j = {.kind = "check", .march = "bayes", .options = options};
    snprintf(j.model, sizeof j.model, "%s", model);
    hub_ok(h, store_job_add(h->store, &j, "1.0", NULL, &h->arena, &h->err));
    return j;
}

struct store_job hub_get(struct hub *h, const char *id)
{
    struct store_job j;
    hub_ok(h, store_job_get(h->store, id, &h->arena, &j, &h->err));
    return j;
}
