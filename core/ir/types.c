/* Element types and shapes. */
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/ir/graph.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[DT_COUNT] = {
#define X(id, name, size) [DT_##id] = {name, size},
    DTYPE_MAP(X)
#undef X
};

const char *dtype_name(enum dtype t) { return dtypes[t < DT_COUNT ? t : DT_UNKNOWN].name; }
size_t dtype_size(enum dtype t) { return dtypes[t < DT_COUNT ? t : DT_UNKNOWN].size; }

bool dtype_find(const char *name, enum dtype *out)
{
    for (int i = 1; i < DT_COUNT; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    return false;
}

struct shape shape_unknown(void) { return (struct shape){.rank = -1}; }

struct shape shape_of(int rank, const int64_t *dims)
{
    struct shape s = {.rank = rank};
    for (int i = 0; i < rank && i < SHAPE_MAX_RANK; i++)
        s.dim[i] = dims[i];
    return s;
}

bool shape_is_static(const struct shape *s)
{
    if (s->rank < 0)
        return false;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] < 0)
            return false;
    return true;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

int64_t shape_elements(const struct shape *s)
{
    if (!shape_is_static(s))
        return -1;
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] == 0)
            return 0;
    for (int i = 0; i < s->rank; i++)
        if (!checked_mul(n, s->dim[i], &n))
            return -1;
    return n;
}

const char *shape_text(const struct shape *s, char out[SHAPE_TEXT_MAX])
{
    if (s->rank < 0) {
        snprintf(out, SHAPE_TEXT_MAX, "unknown");
        return out;
    }
    if (s->rank == 0) {
        snprintf(out, SHAPE_TEXT_MAX, "scalar");
        return out;
    }
    size_t n = 0;
    for (int i = 0; i < s->rank && i < SHAPE_MAX_RANK && n < SHAPE_TEXT_MAX; i++) {
        const char *x = i ? "x" : "";
        int w = s->dim[i] < 0
                    ? snprintf(out + n, SHAPE_TEXT_MAX - n, "%s?", x)
                    : snprintf(out + n, SHAPE_TEXT_MAX - n, "%s%lld", x, (long long)s->dim[i]);
        n += (size_t)w;
    }
    return out;
}
