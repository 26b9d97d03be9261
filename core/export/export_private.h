/* export_private: what the writer of graph JSON shares with that of .bpug. */
#ifndef BPU_EXPORT_PRIVATE_H
#define BPU_EXPORT_PRIVATE_H

#include "core/export/export.h"

#define EXPORT_WEIGHTS_ALIGN 64

/* Where the content of tensors goes: nowhere, into the text, into a file beside it. */
enum export_data { EXPORT_NO_DATA, EXPORT_BASE64, EXPORT_FILE };

bool export_graph_text(const struct graph *g, struct buf *out, enum export_data data,
                       struct bpu_error *err) BPU_CHECKED;
/* True for values that are written as "tensors". */
bool export_is_tensor(const struct value *v);
/* True for those whose content goes into the weight file, which holds them in the order of the
 * graph's values. */
bool export_in_weights(const struct value *v);
/* The offset of the next one; *end is the length of the file so far. */
size_t export_weights_place(const struct value *v, size_t *end);

#endif
