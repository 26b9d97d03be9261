/* Which reader takes the bytes. */
#include "core/import/import.h"

#include <string.h>

#include "core/import/onnx_wire.h"

static size_t skip_space(const unsigned char *p, size_t n)
{
    size_t i = n >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r'))
        i++;
    return i;
}

/* Protobuf is never free of control characters for long; a letter could pass for one of its tags. */
static bool all_printable(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n && i < 256; i++)
        if ((p[i] < ' ' && !(p[i] >= '\t' && p[i] <= '\r')) || p[i] == 127)
            return false;
    return true;
}

/* Which zip archive it is shows in the name of its first member: torch.export writes the program or
 * the weights first. */
static bool begins_with_program(const unsigned char *p, size_t n)
{
    static const char *const names[] = {"serialized_exported_program.json", "models/",
                                        "data/weights/", "data/aotinductor/", "archive_format"};
    size_t length = n >= 30 ? p[26] | (size_t)p[27] << 8 : 0;
    if (length == 0 || length > n - 30)
        return false;
    const unsigned char *name = p + 30, *slash = memchr(name, '/', length);
    size_t folder = slash ? (size_t)(slash - name) + 1 : 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t k = strlen(names[i]);
        if ((length >= k && memcmp(name, names[i], k) == 0) ||
            (length - folder >= k && memcmp(name + folder, names[i], k) == 0))
            return true;
    }
    return false;
}

const char *import_detect(const void *head, size_t n)
{
    const unsigned char *p = head;
    /* The name of the first member stands behind the 30 bytes of its header, its length at byte 26. */
    static const char graph[] = "graph.json";
    if (n >= 40 && memcmp(p, "PK\x03\x04", 4) == 0 && p[26] == 10 && p[27] == 0 &&
        memcmp(p + 30, graph, 10) == 0)
        return "bpug";
    if (n >= 4 && memcmp(p, "PK\x03\x04", 4) == 0)
        return begins_with_program(p, n) ? "pt2" : "torchscript";
    size_t start = skip_space(p, n);
    if (start < n && p[start] == '{')
        return "graph-json";
    return n > 0 && !all_printable(p, n) && onnx_wire_looks_like_model(p, n) ? "onnx" : NULL;
}

/* What the bytes are, when they are something well known that is no model. */
static const char *known_stranger(const unsigned char *p, size_t n)
{
    static const struct {
        const char *magic;
        size_t size;
        const char *what;
    } strangers[] = {
        {"\x80\x02\x8a\x0al\xfc\x9c", 7, "a PyTorch checkpoint of the legacy (pre-1.6) pickle format"},
        {"\x80\x02", 2, "a Python pickle"},
        {"\x80\x03", 2, "a Python pickle"},
        {"\x80\x04", 2, "a Python pickle"},
        {"\x80\x05", 2, "a Python pickle"},
        {"\x89PNG", 4, "a PNG picture"},
        {"\xff\xd8\xff", 3, "a JPEG picture"},
        {"\x89HDF\r\n", 6, "an HDF5 file (Keras)"},
        {"\x1f\x8b", 2, "a gzip archive"},
        {"\x93NUMPY", 6, "a NumPy array"},
        {"\x7f" "ELF", 4, "a program"},
        {"%PDF", 4, "a PDF document"},
        {"<", 1, "an XML or HTML text"},
    };
    if (n >= 8 && memcmp(p + 4, "TFL3", 4) == 0)
        return "a TensorFlow Lite model";
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        if (n >= strangers[i].size && memcmp(p, strangers[i].magic, strangers[i].size) == 0)
            return strangers[i].what;
    return all_printable(p, n) ? "a text" : NULL;
}

static void unrecognised(const struct import_request *req, struct bpu_error *err)
{
    const char *stranger = known_stranger(req->data, req->size);
    if (req->size == 0)
        error_set(err, BPU_NOT_A_MODEL, "byte 0", "the file is empty");
    else if (stranger)
        error_set(err, BPU_NOT_A_MODEL, "byte 0", "the file is %s, not a model that BPU Hub reads",
                  stranger);
    else
        error_set(err, BPU_NOT_A_MODEL, "byte 0",
                  "the file begins with %02x %02x %02x %02x, which is no known model format",
                  req->data[0], req->size > 1 ? req->data[1] : 0u, req->size > 2 ? req->data[2] : 0u,
                  req->size > 3 ? req->data[3] : 0u);
    error_hint(err, "Accepted are ONNX files (torch.onnx.export), TorchScript archives "
                    "(torch.jit.save of a trace), torch.export archives (.pt2) and BPU Hub graph "
                    "JSON.");
}

/* An input without elements: no operator has a meaning for it, and no march runs it. */
static bool inputs_hold_something(const struct graph *g, struct bpu_error *err)
{
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = g->inputs[i];
        for (int k = 0; k < v->shape.rank; k++)
            if (v->shape.dim[k] == 0)
                return error_set(err, BPU_BAD_MODEL, v->name,
                                 "extent %d of the input \"%.100s\" is 0", k, v->name);
    }
    return true;
}

struct graph *import_model(struct arena *a, const struct import_request *req, struct bpu_error *err)
{
    const char *format = import_detect(req->data, req->size);
    struct graph *g = NULL;
    if (!format)
        unrecognised(req, err);
    else if (strcmp(format, "onnx") == 0)
        g = import_onnx(a, req, err);
    else if (strcmp(format, "graph-json") == 0)
        g = import_graph_json(a, req, err);
    else
        g = import_torchscript(a, req, err);
    /* An allocation that failed where there was a default to go on with is an error all the same. */
    if (!g || err->code != BPU_NONE || !import_options_used(req, g, err) || !graph_verify(g, err) ||
        !inputs_hold_something(g, err))
        return NULL;
    if (g->node_count == 0) {
        error_set(err, BPU_BAD_MODEL, "graph", "the graph has no nodes");
        error_hint(err, "There is nothing to run; export the network again.");
        return NULL;
    }
    return g;
}
