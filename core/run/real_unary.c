/* real_unary: functions of one value (core/ops/unary.h), element by element. */
#include "core/ops/unary.h"
#include "core/run/real.h"

/* Elements that are read, computed and written at a time. */
#define CHUNK 256

bool real_unary(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0);
    struct tensor *y = c->out[0];
    const char *key = c->node->op->key;
    int64_t count = real_count(y), whole;
    struct unary f;
    double v[CHUNK];
    bool real = unary_find(c->node, &f);
    bool ints =
        fold_is_int(x->dtype) && fold_is_int(y->dtype) && unary_apply_int(key, 0, x->dtype, &whole);
    if (!real && !ints)
        return kernel_unsupported(c, err, "not defined for %s", dtype_name(x->dtype));
    for (int64_t i = 0; ints && i < count; i++)
        if (unary_apply_int(key, tensor_int(x, i), x->dtype, &whole))
            fold_store_int(real_at(y, i), y->dtype, whole);
    for (int64_t i = 0; !ints && i < count; i += CHUNK) {
        int64_t n = count - i < CHUNK ? count - i : CHUNK;
        real_load(x, i, 1, n, v);
        for (int64_t k = 0; k < n; k++)
            v[k] = unary_apply(&f, v[k]);
        real_store(y, i, 1, n, v);
    }
    return true;
}
