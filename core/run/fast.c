/* Who has fast kernels: one row per source. A source is a file core/run/fast_*.c or dnnl.c with one
 * fast_prepare_fn. */
#include "core/run/dnnl.h"
#include "core/run/fast_layout.h"

static fast_prepare_fn *const packing[] = {fast_prepare_conv, fast_prepare_linear,
                                           dnnl_prepare, /* float32 */
                                           NULL};

static fast_prepare_fn *const others[] = {
    fast_prepare_pool,     fast_prepare_table,      fast_prepare_add,
    fast_prepare_cat,      fast_prepare_cut,        fast_prepare_move,
    fast_prepare_mean,     fast_prepare_quantize,   fast_prepare_dequantize,
    fast_prepare_wrapped, /* takes what is left */
    NULL,
};

static bool ask(fast_prepare_fn *const *sources, struct arena *a, const struct kernel_call *c,
                const char *variant, struct fast_kernel *out, struct bpu_error *err)
{
    *out = (struct fast_kernel){0};
    for (size_t i = 0; sources[i]; i++) {
        if (!sources[i](a, c, variant, out, err))
            return false;
        if (out->run)
            break;
    }
    return true;
}

bool fast_prepare_packed(struct arena *a, const struct kernel_call *c, const char *variant,
                         struct fast_kernel *out, struct bpu_error *err)
{
    return ask(packing, a, c, variant, out, err);
}

bool fast_prepare(struct arena *a, const struct kernel_call *c, const char *variant,
                  struct fast_kernel *out, struct bpu_error *err)
{
    return ask(others, a, c, variant, out, err);
}
