/* fixture: what the tests of the readers share: files, and constants compared. */
#ifndef BPU_TESTS_FIXTURE_H
#define BPU_TESTS_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ir/graph.h"

struct bytes {
    unsigned char *data;
    size_t size;
};

/* The whole file, with a 0 behind it. */
static inline struct bytes slurp(const char *path)
{
    struct bytes b = {0};
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    fseek(f, 0, SEEK_END);
    b.size = (size_t)ftell(f);
    rewind(f);
    b.data = malloc(b.size + 1);
    assert_non_null(b.data);
    assert_int_equal(fread(b.data, 1, b.size, f), b.size);
    b.data[b.size] = '\0';
    fclose(f);
    return b;
}

static inline void expect_reals(const struct value *v, const double *want, int count)
{
    double r;
    assert_non_null(v);
    assert_int_equal(shape_elements(&v->shape), count);
    for (int i = 0; i < count; i++) {
        assert_true(constant_real(v, i, &r));
        if (fabs(r - want[i]) > 1e-6)
            fail_msg("%s[%d] is %g, not %g", v->name, i, r, want[i]);
    }
}

#endif
