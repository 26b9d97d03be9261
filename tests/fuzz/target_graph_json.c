/* Graph JSON: bytes → import → everything that is done with a graph. */
#include "core/import/import.h"
#include "tests/fuzz/fuzz.h"

static const struct import_option graph_json_options[] = {{"input.0", "1x3x16x16"},
                                                          {"input.1", "1x3x16x16"}};

static bool graph_json_import(const uint8_t *data, size_t size, size_t options, struct buf *out,
                              bool use)
{
    struct arena arena;
    struct bpu_error err = {0};
    struct import_request req = {.data = data,
                                 .size = size,
                                 .name = "fuzz.json",
                                 .options = graph_json_options,
                                 .option_count = options};
    arena_init(&arena, FUZZ_QUOTA);
    struct graph *g = import_graph_json(&arena, &req, &err);
    fuzz_arena(&arena);
    buf_clear(out);
    if (!g) {
        fuzz_error(&err, "the import");
        buf_printf(out, "%s: %s (%s) %s", error_code_name(err.code), err.message, err.where,
                   err.hint);
    } else {
        struct bpu_error broken = {0};
        FUZZ_REQUIRE(graph_verify(g, &broken), "%s (%s)", broken.message, broken.where);
        graph_dump(g, out);
        if (use) {
            const struct check_options check = {.advice_us = 0};
            fuzz_graph(g, &check);
        }
    }
    arena_fini(&arena);
    return err.code != BPU_SHAPE_NEEDED;
}

FUZZ_TARGET(graph_json)
{
    struct buf first, second;
    buf_init(&first, FUZZ_QUOTA);
    buf_init(&second, FUZZ_QUOTA);
    size_t options = 0;
    while (!graph_json_import(data, size, options, &first, true) && options < 2)
        options++;
    graph_json_import(data, size, options, &second, false);
    fuzz_same(&first, &second, "the import twice");
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
