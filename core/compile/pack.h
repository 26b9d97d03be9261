/* pack: weights in the order in which the conv engine reads them (isa.def has the layout). */
#ifndef BPU_COMPILE_PACK_H
#define BPU_COMPILE_PACK_H

#include "core/compile/lower.h"

/* Weights as small integers: element (m, k, i, j) is result channel m, input k of those that m reads,
 * tap (i, j), at data[m * step_m + k * step_k + i * step_i + j * step_j]. */
struct filters {
    const unsigned char *data; /* int8 */
    int64_t step_m, step_k, step_i, step_j;
    int64_t channels, inputs;  /* result channels of all groups, inputs of one group */
    int64_t groups;
    /* Transposed weights are (in, out / groups, …): their result channels begin anew in each group,
     * step_group further. 0: they do not. */
    int64_t step_group;
    int kernel_h, kernel_w;
    const struct quant *quant;
};

/* The end of a sum, per result channel; bias NULL: none, requant NULL: sums that are not finished. */
struct filter_ends {
    const int32_t *bias, *multiplier, *shift, *residual;
};

/* How the units were cut: arguments of CONV. */
struct packed {
    struct blob *blob;
    int unit_channels, unit_inputs, split_inputs, out_block, in_block;
    int64_t unit_bytes;
};

/* Units of one native block of result channels; with groups, units of whole groups, several of them
 * where they are smaller than a block. depthwise: one filter per channel. */
bool pack_filters(struct lowering *l, const struct filters *f, const struct filter_ends *ends,
                  bool depthwise, struct packed *out, struct bpu_error *err) BPU_CHECKED;

#endif
