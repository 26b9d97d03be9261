/* export: graphs as files that other programs, and BPU Hub itself, read. */
#ifndef BPU_EXPORT_H
#define BPU_EXPORT_H

#include "core/base/buf.h"
#include "core/ir/graph.h"

/* Appends g as graph JSON ("bpuhub.graph/1"), one line per input, node and tensor.  Deterministic,
 * and stable: reading the text and writing it again gives the same bytes, and the checker says the
 * same of both.  Where every node came from ("origin"), why it is folded and every inferred shape
 * are written.  with_data false leaves the content of weights out; tensors of up to 64 elements
 * keep theirs, since shapes may depend on them.  Not so for what an importer left without inference (a Pad whose
 * paddings are computed from the data): reading may refuse such a node, naming the attribute that is missing. */
bool export_graph_json(const struct graph *g, struct buf *out, bool with_data,
                       struct bpu_error *err) BPU_CHECKED;

/* Appends g as .bpug: a stored zip archive of graph.json and weights.bin (core/import/bpug.h).
 * Deterministic and stable as export_graph_json(). */
bool export_bpug(const struct graph *g, struct buf *out, struct bpu_error *err) BPU_CHECKED;

#endif
