/* .bpug: graph JSON whose weights lie in a file beside it → import → everything that is done with a
 * graph, and the same archive again.  The zip around the text is made here and is whole. */
#include <stdlib.h>
#include <string.h>

#include "core/export/export.h"
#include "core/import/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip.h"

FUZZ_TARGET(bpug)
{
    static const unsigned char weights[4096];
    struct zip_part parts[] = {{"graph.json", data, size},
                               {"weights.bin", weights, sizeof weights}};
    size_t zip_size;
    unsigned char *zip = zip_store(parts, 2, &zip_size);
    if (!zip)
        return 0;
    struct arena arena;
    struct bpu_error err = {0}, broken = {0};
    struct import_request req = {.data = zip, .size = zip_size, .name = "fuzz.bpug"};
    struct buf out;
    buf_init(&out, FUZZ_QUOTA);
    arena_init(&arena, FUZZ_QUOTA);
    struct graph *g = import_torchscript(&arena, &req, &err);
    fuzz_arena(&arena);
    if (!g)
        fuzz_error(&err, "the import");
    else {
        FUZZ_REQUIRE(graph_verify(g, &broken), "%s (%s)", broken.message, broken.where);
        if (export_bpug(g, &out, &broken)) {
            FUZZ_REQUIRE(out.size > 40 && strcmp(import_detect(out.data, 40), "bpug") == 0,
                         "not recognised");
        } else
            fuzz_limit(&broken, "the archive");
        const struct check_options check = {.advice_us = 0};
        fuzz_graph(g, &check);
    }
    arena_fini(&arena);
    buf_fini(&out);
    free(zip);
    return 0;
}
