/* fast_kernels: which variants there are, and which one runs here. */
#include "core/run/fast_kernels.h"

#include <string.h>

static const struct fast_kernels *const variants[] = {
#if defined(__x86_64__)
    &fast_avx512vnni,
    &fast_avx2,
#endif
    &fast_portable,
};

const struct fast_kernels *const *fast_kernels_list(size_t *count)
{
    *count = sizeof variants / sizeof *variants;
    return variants;
}

const struct fast_kernels *fast_kernels_find(const char *name)
{
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        if ((!name || strcmp(variants[i]->name, name) == 0) && variants[i]->supported())
            return variants[i];
    return NULL;
}
