/* torch.export programs: the JSON of a program, and the description of its weights, in an archive
 * that is whole.
 *
 * The first byte chooses what the rest is: the program (even) or the description (odd; then the
 * program is a fixed one that reads three tensors).  The archive around it is made here, so that
 * what changes is JSON and never a checksum. */
#include <stdlib.h>
#include <string.h>

#include "core/import/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip.h"

/* JSON with ' for ", so that it can be read here. */
static const char pt2_program[] =
    "{'graph_module': {'graph': {"
    " 'inputs': [{'as_tensor': {'name': 'w'}}, {'as_tensor': {'name': 'b'}},"
    "  {'as_tensor': {'name': 'c'}}, {'as_tensor': {'name': 'x'}}],"
    " 'outputs': [{'as_tensor': {'name': 'y'}}],"
    " 'nodes': [{'target': 'torch.ops.aten.linear.default', 'inputs': ["
    "   {'name': 'input', 'arg': {'as_tensor': {'name': 'x'}}, 'kind': 1},"
    "   {'name': 'weight', 'arg': {'as_tensor': {'name': 'w'}}, 'kind': 1},"
    "   {'name': 'bias', 'arg': {'as_tensor': {'name': 'b'}}, 'kind': 1}],"
    "   'outputs': [{'as_tensor': {'name': 'z'}}], 'metadata': {}},"
    "  {'target': 'torch.ops.aten.mul.Tensor', 'inputs': ["
    "   {'name': 'self', 'arg': {'as_tensor': {'name': 'z'}}, 'kind': 1},"
    "   {'name': 'other', 'arg': {'as_tensor': {'name': 'c'}}, 'kind': 1}],"
    "   'outputs': [{'as_tensor': {'name': 'y'}}], 'metadata': {}}],"
    " 'tensor_values': {"
    "  'w': {'dtype': 7, 'sizes': [{'as_int': 3}, {'as_int': 4}]},"
    "  'b': {'dtype': 7, 'sizes': [{'as_int': 3}]}, 'c': {'dtype': 7, 'sizes': [{'as_int': 3}]},"
    "  'x': {'dtype': 7, 'sizes': [{'as_int': 2}, {'as_int': 4}]},"
    "  'y': {'dtype': 7, 'sizes': [{'as_int': 2}, {'as_int': 3}]},"
    "  'z': {'dtype': 7, 'sizes': [{'as_int': 2}, {'as_int': 3}]}}},"
    " 'signature': {'input_specs': ["
    "   {'parameter': {'arg': {'name': 'w'}, 'parameter_name': 'fc.weight'}},"
    "   {'buffer': {'arg': {'name': 'b'}, 'buffer_name': 'fc.bias', 'persistent': true}},"
    "   {'parameter': {'arg': {'name': 'c'}, 'parameter_name': 'scale'}},"
    "   {'user_input': {'arg': {'as_tensor': {'name': 'x'}}}}],"
    "  'output_specs': [{'user_output': {'arg': {'as_tensor': {'name': 'y'}}}}]}},"
    " 'range_constraints': {}, 'schema_version': {'major': 8, 'minor': 5}}";

/* What the seeds name: the parameters of a small classifier. */
static const char pt2_weights[] =
    "{'config': {"
    " 'conv.weight': {'path_name': 'weight_0', 'use_pickle': false, 'tensor_meta': {'dtype': 7,"
    "  'sizes': [{'as_int': 4}, {'as_int': 3}, {'as_int': 3}, {'as_int': 3}],"
    "  'strides': [{'as_int': 27}, {'as_int': 9}, {'as_int': 3}, {'as_int': 1}]}},"
    " 'conv.bias': {'path_name': 'weight_0', 'use_pickle': false, 'tensor_meta': {'dtype': 7,"
    "  'sizes': [{'as_int': 4}], 'strides': [{'as_int': 1}], 'storage_offset': {'as_int': 9}}},"
    " 'fc.weight': {'path_name': 'weight_0', 'use_pickle': false, 'tensor_meta': {'dtype': 7,"
    "  'sizes': [{'as_int': 5}, {'as_int': 4}], 'strides': [{'as_int': 4}, {'as_int': 1}]}}}}";

static void pt2_quoted(const char *text, char *out)
{
    size_t n = strlen(text);
    for (size_t i = 0; i <= n; i++)
        out[i] = text[i] == '\'' ? '"' : text[i];
}

FUZZ_TARGET(pt2)
{
    static const unsigned char zeros[1024];
    static const struct import_option options[] = {{"input.x", "2x3x8x8"}, {"input.y", "2x4"}};
    if (size < 1)
        return 0;
    bool program = data[0] % 2 == 0;
    char text[sizeof pt2_program > sizeof pt2_weights ? sizeof pt2_program : sizeof pt2_weights];
    pt2_quoted(program ? pt2_weights : pt2_program, text);
    const struct zip_part given = {NULL, data + 1, size - 1}, fixed = {NULL, text, strlen(text)};
    const struct zip_part *json = program ? &given : &fixed, *config = program ? &fixed : &given;
    struct zip_part parts[] = {
        {"m/models/model.json", json->data, json->size},
        {"m/data/weights/model_weights_config.json", config->data, config->size},
        {"m/data/weights/weight_0", zeros, sizeof zeros},
        {"m/data/weights/weight_1", zeros, 12},
        {"m/archive_format", "pt2", 3},
    };
    size_t zip_size;
    unsigned char *zip = zip_store(parts, sizeof parts / sizeof *parts, &zip_size);
    if (!zip)
        return 0;
    struct arena arena;
    struct bpu_error err = {0}, broken = {0};
    /* The first byte also chooses the options: none, the first, both. */
    struct import_request req = {.data = zip,
                                 .size = zip_size,
                                 .name = "fuzz.pt2",
                                 .options = options,
                                 .option_count = data[0] / 2 % 3};
    arena_init(&arena, FUZZ_QUOTA);
    struct graph *g = import_torchscript(&arena, &req, &err);
    fuzz_arena(&arena);
    if (!g)
        fuzz_error(&err, "the import");
    else {
        FUZZ_REQUIRE(err.code == BPU_NONE, "a graph with the error \"%s\"", err.message);
        FUZZ_REQUIRE(graph_verify(g, &broken), "%s (%s)", broken.message, broken.where);
        const struct check_options check = {.advice_us = 0};
        fuzz_graph(g, &check);
    }
    arena_fini(&arena);
    free(zip);
    return 0;
}
