/* TorchScript and torch.export archives: bytes → zip → pickles → code → graph. */
#include "core/import/import.h"
#include "tests/fuzz/fuzz.h"

static const struct import_option torchscript_options[] = {{"input.0", "1x1x28x28"}};

FUZZ_TARGET(torchscript)
{
    struct arena arena;
    struct bpu_error err = {0}, broken = {0};
    struct import_request req = {.data = data,
                                 .size = size,
                                 .name = "fuzz.pt",
                                 .options = torchscript_options,
                                 .option_count = 1};
    arena_init(&arena, FUZZ_QUOTA);
    struct graph *g = import_torchscript(&arena, &req, &err);
    fuzz_arena(&arena);
    if (!g)
        fuzz_error(&err, "the import");
    else {
        FUZZ_REQUIRE(graph_verify(g, &broken), "%s (%s)", broken.message, broken.where);
        const struct check_options check = {.advice_us = 0};
        fuzz_graph(g, &check);
    }
    arena_fini(&arena);
    return 0;
}
