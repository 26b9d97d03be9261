/* A temporary data directory with models in it, for the tests of the store and the worker. */
#ifndef BPU_TESTS_HUB_FIXTURE_H
#define BPU_TESTS_HUB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/store.h"

struct hub {
    char dir[64];
    struct store *store;
    struct arena arena;
    struct bpu_error err;
};

/* cmocka set-up and tear-down: *state becomes a struct hub; the directory is removed. */
int hub_setup(void **state);
int hub_teardown(void **state);
/* Stores the text as a model's file and row; returns its id (in the arena). */
const char *hub_model(struct hub *h, const char *name, const char *content);
/* A job on a model, NULL for defaults; returns what the store made of it. */
struct store_job hub_job(struct hub *h, const char *model, const char *options);
struct store_job hub_get(struct hub *h, const char *id);
/* Fails the test with the error's text unless ok. */
void hub_ok(struct hub *h, bool ok);
/* Fails unless !ok and the error has this code; clears it. */
void hub_refused(struct hub *h, bool ok, enum bpu_code code);

#endif
