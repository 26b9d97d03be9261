/* pt2_fixture: what the tests of the torch.export reader share. */
#ifndef BPU_TESTS_PT2_FIXTURE_H
#define BPU_TESTS_PT2_FIXTURE_H

#include <glob.h>

#include "core/import/import.h"
#include "core/ops/op.h"
#include "tests/fuzz/zip.c"
#include "tests/unit/fixture.h"

#define FIXTURES "tests/fixtures/pt2/"

static struct graph *read_with(struct arena *a, const struct bytes *b,
                               const struct import_option *options, size_t count,
                               struct bpu_error *err)
{
    struct import_request req = {.data = b->data,
                                 .size = b->size,
                                 .name = "test",
                                 .options = options,
                                 .option_count = count};
    memset(err, 0, sizeof *err);
    return import_model(a, &req, err);
}

#endif
