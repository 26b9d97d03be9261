/* Reading .bpug: the archive's two members, handed to the reader of graph JSON. */
#include "core/import/bpug.h"

#include "core/import/graph_json.h"

bool bpug_is_archive(const struct archive *z)
{
    return archive_find(z, BPUG_GRAPH) != NULL;
}

struct graph *import_bpug(struct arena *a, const struct import_request *req, struct archive *z,
                          struct bpu_error *err)
{
    const struct archive_member *graph = archive_find(z, BPUG_GRAPH);
    const struct archive_member *weights = archive_find(z, BPUG_WEIGHTS);
    struct import_request text = *req;
    text.data = archive_bytes(z, graph, true, err);
    text.size = (size_t)graph->size;
    struct json_reader r = {.req = &text, .format = "bpug"};
    if (weights) {
        /* Wrong weights give wrong results, not errors: the checksum is worth its time. */
        r.weights = archive_bytes(z, weights, true, err);
        r.weights_size = (size_t)weights->size;
    }
    if (!text.data || (weights && !r.weights))
        return NULL;
    return json_graph(&r, a, err);
}
