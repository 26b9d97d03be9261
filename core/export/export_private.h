/* export_private: what the writer of graph JSON shares with that of .bpug. */
#ifndef BPU_EXPORT_PRIVATE_H
#define BPU_EXPORT_PRIVATE_H

#include "core/export/export.h"

#define EXPORT_WEIGHTS_ALIGN 64

/* Where the content of tensors goes: nowhere, into the text, into a file beside it. */
enum export_data { EXPORT_NO_DATA, EXPORT_BASE64, EXPORT_FILE };

bool export_graph_text(const struct graph *g, struct buf *out, enum export_data data,
                       struct bpu_error *err) BPU_CHECKED;
/* The values that are written as "tensors", in the order of the graph's values; the list lies in
 * the graph's arena. */
struct export_tensors {
    const struct value **list;
    int count;
};
bool export_tensors(const struct graph *g, struct export_tensors *t,
                    struct bpu_error *err) BPU_CHECKED;
/* True for those whose content goes into the weight file, in the same order. */
bool export_in_weights(const struct value *v);
/* The offset of the next one; *end is the length of the file so far. */
size_t export_weights_place(const struct value *v, size_t *end);

#endif
