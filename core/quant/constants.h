/* constants: constants that the importer left without content, computed. */
#ifndef BPU_QUANT_CONSTANTS_H
#define BPU_QUANT_CONSTANTS_H

#include "core/quant/rewrite.h"

/* g itself if there are none; else a copy without folded nodes in which they are known, as far as
 * their operands are. */
const struct graph *constants_computed(struct arena *a, const struct graph *g,
                                       struct bpu_error *err) BPU_CHECKED;

#endif
