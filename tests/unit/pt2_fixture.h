/* pt2_fixture: what the tests of the torch.export reader share. */
#ifndef BPU_TESTS_PT2_FIXTURE_H
#define BPU_TESTS_PT2_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glob.h>

#include "core/import/import.h"
#include "core/ops/op.h"
#include "tests/fuzz/zip.c"

#define FIXTURES "tests/fixtures/pt2/"

struct bytes {
    unsigned char *data;
    size_t size;
};

static struct bytes slurp(const char *path)
{
    struct bytes b = {0};
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    fseek(f, 0, SEEK_END);
    b.size = (size_t)ftell(f);
    rewind(f);
    b.data = malloc(b.size + 1);
    assert_int_equal(fread(b.data, 1, b.size, f), b.size);
    b.data[b.size] = '\0';
    fclose(f);
    return b;
}

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
