/* TorchScript code: the bytes are the member code/__torch__.py of an archive whose module, a few
 * tensors, submodules and constants, stands here.
 *
 * The module is __torch__.Net; its submodule `sub` is a __torch__.Sub.  Beside the code itself this
 * reaches the adapters of all operators, with arguments that no exporter writes. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip.h"

static const struct import_option code_options[] = {{"input.0", "1x4x8x8"},
                                                    {"input.1", "2x3"},
                                                    {"input.2", "2x3x4"},
                                                    {"input.3", "1x4x8x8:quint8"},
                                                    {"input.4", "3:int64"}};

/* ── a pickle ── */

struct code_pickle {
    unsigned char data[4096];
    size_t size;
};

static void code_put(struct code_pickle *p, const char *s, size_t n)
{
    FUZZ_REQUIRE(n <= sizeof p->data - p->size, "the module is too large");
    memcpy(p->data + p->size, s, n);
    p->size += n;
}
#define CODE_PUT(p, literal) code_put((p), "" literal, sizeof(literal) - 1)

static void code_text(struct code_pickle *p, const char *s)
{
    const char head[] = {'X', (char)strlen(s), 0, 0, 0};
    code_put(p, head, sizeof head);
    code_put(p, s, strlen(s));
}

static void code_int(struct code_pickle *p, unsigned v)
{
    const char op[] = {'M', (char)(v & 255), (char)(v >> 8)};
    code_put(p, op, sizeof op);
}

static void code_global(struct code_pickle *p, const char *module, const char *name)
{
    CODE_PUT(p, "c");
    code_put(p, module, strlen(module));
    CODE_PUT(p, "\n");
    code_put(p, name, strlen(name));
    CODE_PUT(p, "\n");
}

/* extents: one digit per dimension, "4233" */
static void code_tensor(struct code_pickle *p, const char *storage, const char *key,
                        const char *extents, bool quantized)
{
    unsigned stride[8] = {0}, count = 1;
    size_t rank = strlen(extents);
    for (size_t i = rank; i-- > 0; count *= (unsigned)(extents[i] - '0'))
        stride[i] = count;
    code_global(p, "torch._utils", quantized ? "_rebuild_qtensor" : "_rebuild_tensor_v2");
    CODE_PUT(p, "((");
    code_text(p, "storage");
    code_global(p, "torch", storage);
    code_text(p, key);
    code_text(p, "cpu");
    code_int(p, count);
    CODE_PUT(p, "tQK\0(");
    for (size_t i = 0; i < rank; i++)
        code_int(p, (unsigned)(extents[i] - '0'));
    CODE_PUT(p, "t(");
    for (size_t i = 0; i < rank; i++)
        code_int(p, stride[i]);
    CODE_PUT(p, "t");
    if (quantized) {
        CODE_PUT(p, "(");
        code_global(p, "torch", "per_tensor_affine");
        CODE_PUT(p, "G\x3F\xB0\0\0\0\0\0\0K\0t"); /* 0.0625 */
    }
    CODE_PUT(p, "\x89");
    code_global(p, "collections", "OrderedDict");
    CODE_PUT(p, ")RtR");
}

static void code_open(struct code_pickle *p, const char *class)
{
    code_global(p, "__torch__", class);
    CODE_PUT(p, ")\x81}(");
    code_text(p, "training");
    CODE_PUT(p, "\x89");
}

static void code_attr(struct code_pickle *p, const char *name, const char *storage, const char *key,
                      const char *extents, bool quantized)
{
    code_text(p, name);
    code_tensor(p, storage, key, extents, quantized);
}

static void code_module(struct code_pickle *p)
{
    CODE_PUT(p, "\x80\x02");
    code_open(p, "Net");
    code_attr(p, "w", "FloatStorage", "0", "4433", false);
    code_attr(p, "b", "FloatStorage", "1", "4", false);
    code_attr(p, "lin", "FloatStorage", "0", "53", false);
    code_attr(p, "which", "LongStorage", "2", "3", false);
    code_attr(p, "mask", "BoolStorage", "2", "23", false);
    code_attr(p, "qw", "QInt8Storage", "0", "4411", true);
    code_text(p, "sub");
    code_open(p, "Sub");
    code_attr(p, "weight", "FloatStorage", "1", "4", false);
    code_text(p, "scale");
    CODE_PUT(p, "G\x40\0\0\0\0\0\0\0");
    code_text(p, "n");
    CODE_PUT(p, "K\x03");
    code_text(p, "list");
    CODE_PUT(p, "](K\1K\2e");
    code_text(p, "none");
    CODE_PUT(p, "N");
    code_text(p, "mode");
    code_text(p, "zeros");
    CODE_PUT(p, "ubub.");
}

static void code_constants(struct code_pickle *p)
{
    CODE_PUT(p, "\x80\x02(");
    code_tensor(p, "FloatStorage", "1", "4", false);
    code_tensor(p, "LongStorage", "2", "2", false);
    code_tensor(p, "FloatStorage", "1", "", false);
    /* of an LSTM and a GRU of 4 inputs and 2 states */
    code_tensor(p, "FloatStorage", "0", "84", false);
    code_tensor(p, "FloatStorage", "0", "82", false);
    code_tensor(p, "FloatStorage", "0", "64", false);
    code_tensor(p, "FloatStorage", "0", "62", false);
    CODE_PUT(p, "t.");
}

FUZZ_TARGET(torchscript_code)
{
    static const unsigned char weights[576] = {0, 0, 128, 63, 0, 0, 0, 63, 0, 0, 128, 191};
    static const unsigned char some[16] = {0, 0, 128, 63, 0, 0, 0, 63, 0, 0, 128, 62, 0, 0, 0, 64};
    static const unsigned char index[24] = {2, 0, 0, 0, 0, 0, 0, 0, 1};
    struct code_pickle module = {.size = 0}, constants = {.size = 0};
    code_module(&module);
    code_constants(&constants);
    const struct zip_part parts[] = {
        {"fuzz/data.pkl", module.data, module.size},
        {"fuzz/constants.pkl", constants.data, constants.size},
        {"fuzz/data/0", weights, sizeof weights},
        {"fuzz/data/1", some, sizeof some},
        {"fuzz/data/2", index, sizeof index},
        {"fuzz/constants/0", weights, sizeof weights},
        {"fuzz/constants/1", some, sizeof some},
        {"fuzz/constants/2", index, sizeof index},
        {"fuzz/code/__torch__.py", data, size},
        {"fuzz/version", "3\n", 2},
    };
    size_t zip_size;
    unsigned char *zip = zip_store(parts, sizeof parts / sizeof *parts, &zip_size);
    if (zip)
        fuzz_archive(zip, zip_size, code_options, sizeof code_options / sizeof *code_options);
    free(zip);
    return 0;
}
