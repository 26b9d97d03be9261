/* Writing .bpug: the graph's text first, so that the first bytes tell what the file is, then the
 * weights as they are, each at a multiple of 64 bytes in the file. */
#include "core/base/zip_write.h"
#include "core/export/export_private.h"

static void put_weights(struct buf *out, const struct export_tensors *t)
{
    static const unsigned char zeros[EXPORT_WEIGHTS_ALIGN];
    size_t end = 0;
    for (int i = 0; i < t->count; i++) {
        const struct value *v = t->list[i];
        if (!export_in_weights(v))
            continue;
        size_t before = end, at = export_weights_place(v, &end);
        buf_add(out, zeros, at - before);
        buf_add(out, v->constant->data, v->constant->bytes);
    }
}

bool export_bpug(const struct graph *g, struct buf *out, struct bpu_error *err)
{
    struct zip_writer w;
    struct export_tensors tensors;
    if (!export_tensors(g, &tensors, err))
        return false;
    zip_writer_init(&w, out);
    zip_writer_begin(&w, "graph.json", 1);
    bool ok = export_graph_text(g, out, EXPORT_FILE, err);
    zip_writer_end(&w);
    zip_writer_begin(&w, "weights.bin", EXPORT_WEIGHTS_ALIGN);
    put_weights(out, &tensors);
    zip_writer_end(&w);
    ok = ok && zip_writer_finish(&w, err);
    zip_writer_fini(&w);
    return ok;
}
