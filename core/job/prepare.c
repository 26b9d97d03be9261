/* What has to happen to a graph before it runs: float ones run as they are, batch norms and all;
 * quantized ones need one node per rounding, which only fusing gives. */
#include "core/job/prepare.h"

#include "core/quant/quant.h"

/* Weights may be quantized in a graph that computes in float. */
static bool has_quantized_maps(const struct graph *g)
{
    for (int i = 0; i < g->value_count; i++)
        if (!g->values[i]->constant && dtype_is_quantized(g->values[i]->dtype) &&
            g->values[i]->dtype != DT_QBOOL)
            return true;
    return false;
}

bool job_is_fixed(const struct graph *g)
{
    struct bpu_error no = {0};
    return has_quantized_maps(g) && quant_verify(g, &no);
}

struct graph *job_executable(struct arena *a, struct graph *g, struct bpu_error *err)
{
    struct bpu_error no = {0};
    struct fuse_report report = {0};
    if (!has_quantized_maps(g) || quant_verify(g, &no))
        return g;
    struct graph *fused = quant_fuse(a, g, &report, err);
    return fused ? quant_convert(a, fused, NULL, NULL, NULL, err) : NULL;
}
