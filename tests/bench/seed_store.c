/* Fills a data directory with finished jobs, so that list pages can be timed.  usage: seed_store DIR JOBS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/version.h"
#include "server/store.h"

static const char *const kinds[] = {"check", "visualize"}, *const marches[] = {"bernoulli2", "bayes"};
static const char *const projects[] = {"perception", "planning", "", "gripper"};

static bool seed(struct store *s, long jobs, struct arena *a, struct bpu_error *err)
{
    for (long i = 0; i < jobs; i++) {
        if (i % 1000 == 0 && ((i && !store_commit(s, err)) || !store_begin(s, err)))
            return false;
        struct arena_mark mark = arena_mark(a);
        struct store_model m = {.bytes = 1000 + i % 5000};
        bool existed;
        snprintf(m.id, sizeof m.id, "%064lx", i % 5000 + 1);
        snprintf(m.name, sizeof m.name, "network_%04ld.onnx", i % 5000);
        snprintf(m.format, sizeof m.format, "onnx");
        if (i < 5000 && !store_model_add(s, &m, &existed, err))
            return false;
        struct store_job j = {.options = "{}", .labels = "{}"}, claimed;
        snprintf(j.model, sizeof j.model, "%s", m.id);
        snprintf(j.kind, sizeof j.kind, "%s", kinds[i % 7 == 0]);
        snprintf(j.march, sizeof j.march, "%s", marches[i % 3 != 0]);
        snprintf(j.project, sizeof j.project, "%s", projects[i % 4]);
        j.options = arena_printf(a, err, "{\"advice\":\"%ld\"}", i); /* so that nothing is answered from the cache */
        if (!j.options || !store_job_add(s, &j, BPU_VERSION, NULL, a, err) ||
            !store_job_claim(s, "bench", 60000, 3, a, &claimed, err) ||
            !store_job_finish(s, claimed.id, "bench", i % 11 ? JOB_SUCCEEDED : JOB_FAILED,
                              i % 11 ? (i % 2 ? "legal" : "illegal") : "",
                              i % 11 ? NULL : "{\"code\":\"bad_model\"}", NULL, 0, err))
            return false;
        arena_rewind(a, mark);
    }
    return store_commit(s, err);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct bpu_error err = {0};
    struct arena a;
    arena_init(&a, 64 << 20);
    struct store *s = store_open(argv[1], &err);
    bool ok = s && seed(s, strtol(argv[2], NULL, 10), &a, &err);
    if (!ok)
        fprintf(stderr, "seed_store: %s\n", err.message);
    if (s)
        store_close(s);
    arena_fini(&a);
    return ok ? 0 : 1;
}
