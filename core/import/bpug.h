/* bpug: a graph and its weights in one file.
 *
 *   a zip archive of two stored members: graph.json ("bpuhub.graph/1", tensors by "file", "offset",
 *   "bytes") and weights.bin, which begins at a multiple of 64 in the file, as every tensor in it
 * does
 *
 * So a file in memory is used as it lies there: nothing is decoded, nothing is copied. */
#ifndef BPU_IMPORT_BPUG_H
#define BPU_IMPORT_BPUG_H

#include "core/base/archive.h"
#include "core/import/import.h"

#define BPUG_GRAPH "graph.json"
#define BPUG_WEIGHTS "weights.bin"

bool bpug_is_archive(const struct archive *z);
struct graph *import_bpug(struct arena *a, const struct import_request *req, struct archive *z,
                          struct bpu_error *err) BPU_CHECKED;

#endif
