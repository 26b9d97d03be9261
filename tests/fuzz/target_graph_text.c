/* The text form of a graph: what is read is consistent, and dumped it reads back as itself. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

FUZZ_TARGET(graph_text)
{
    struct arena arena;
    struct bpu_error err = {0};
    struct buf first, second;
    char *text = malloc(size + 1);
    FUZZ_REQUIRE(text, "no memory");
    memcpy(text, data, size);
    text[size] = '\0';
    arena_init(&arena, FUZZ_QUOTA);
    buf_init(&first, FUZZ_QUOTA);
    buf_init(&second, FUZZ_QUOTA);
    struct graph *g = graph_parse(&arena, text, &err), *back = NULL;
    fuzz_arena(&arena);
    if (!g) {
        FUZZ_REQUIRE(err.code == BPU_BAD_MODEL || err.code == BPU_NO_MEMORY, "%s: %s",
                     error_code_name(err.code), err.message);
        goto out;
    }
    FUZZ_REQUIRE(graph_verify(g, &err), "%s", err.message);
    graph_dump(g, &first);
    back = graph_parse(&arena, buf_str(&first), &err);
    if (back) {
        graph_dump(back, &second);
        back = graph_parse(&arena, buf_str(&second), &err);
    }
    if (!back) {
        FUZZ_REQUIRE(err.code == BPU_NO_MEMORY, "%s (%s)\n%s", err.message, err.where,
                     buf_str(&first));
        goto out;
    }
    /* The first dump may hold sizes of contents that were not in the text. */
    buf_clear(&first);
    graph_dump(back, &first);
    fuzz_same(&second, &first, "the text form");
out:
    buf_fini(&first);
    buf_fini(&second);
    arena_fini(&arena);
    free(text);
    return 0;
}
