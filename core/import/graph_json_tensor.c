/* The "tensors" of a graph JSON: shape, dtype, scales, and the content as base64 of little-endian
 * bytes, or as a place in the weight file of a .bpug, where it is used in place. */
#include <string.h>

#include "core/import/bpug.h"
#include "core/import/graph_json.h"

static const char *const tensor_keys[] = {"shape",      "dtype", "scale", "data",  "zero_point",
                                          "axis",       "file",  "offset", "bytes", NULL};

/* 0..63, or -1 for what is no base64 digit. */
static int digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The number of bytes that the text stands for, or -1 if its length or padding is wrong. */
static int64_t decoded_size(const char *text, size_t n)
{
    if (n % 4 != 0)
        return -1;
    size_t pad = n && text[n - 1] == '=' ? 1 + (text[n - 2] == '=') : 0;
    return (int64_t)(n / 4 * 3 - pad);
}

/* Writes `size` bytes. False with *bad at the first character that does not belong there. */
static bool decode(const char *text, size_t n, unsigned char *out, size_t size, size_t *bad)
{
    size_t written = 0, digits = size / 3 * 4 + (size % 3 ? size % 3 + 1 : 0);
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        int d = i < digits ? digit((unsigned char)text[i]) : text[i] == '=' ? 0 : -1;
        *bad = i;
        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 != 3)
            continue;
        for (int k = 2; k >= 0 && written < size; k--)
            out[written++] = (unsigned char)(bits >> (8 * k));
        bits = 0;
    }
    return true;
}

static bool read_data(struct json_reader *r, const char *name, const json_t *data,
                      const struct json_at *at, const struct shape *shape, enum dtype dtype,
                      size_t expected, const unsigned char **out, struct bpu_error *err)
{
    const char *text = json_string_value(data);
    size_t n = json_string_length(data), bad;
    int64_t size = decoded_size(text, n);
    if (size < 0) {
        json_fail(err, BPU_BAD_MODEL, at, "the data of \"%s\" is %zu characters long", name, n);
        return error_hint(err, "Base64 comes in groups of 4 characters, filled up with =, without "
                               "line breaks.");
    }
    if ((uint64_t)size != expected) {
        char shape_name[SHAPE_TEXT_MAX];
        json_fail(err, BPU_BAD_MODEL, at,
                  "the data of \"%s\" has %lld bytes, but %s of shape %s takes %zu", name,
                  (long long)size, dtype_name(dtype), shape_text(shape, shape_name), expected);
        return error_hint(err, "Write the elements in row-major order, little endian.");
    }
    unsigned char *bytes = arena_alloc(r->g->arena, (size_t)size, err);
    if (!bytes)
        return false;
    if (!decode(text, n, bytes, (size_t)size, &bad))
        return json_fail(err, BPU_BAD_MODEL, at, "the data of \"%s\" is not base64: character %zu",
                         name, bad);
    *out = bytes;
    return true;
}

static bool read_count(json_t *j, const struct json_at *at, const char *key, size_t *out,
                       struct bpu_error *err)
{
    json_t *n;
    if (!json_member(j, at, key, JSON_INTEGER, true, &n, err))
        return false;
    if (json_integer_value(n) < 0)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, key), "\"%s\" is negative", key);
    *out = (size_t)json_integer_value(n);
    return true;
}

/* The content lies in the weight file beside the graph. */
static bool read_place(struct json_reader *r, const char *name, json_t *j, const struct json_at *at,
                       size_t expected, const unsigned char **out, struct bpu_error *err)
{
    const char *file;
    size_t offset = 0, bytes = 0;
    if (!json_text(j, at, "file", true, &file, err) || !read_count(j, at, "offset", &offset, err) ||
        !read_count(j, at, "bytes", &bytes, err))
        return false;
    if (json_object_get(j, "data"))
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "file"),
                         "the tensor \"%s\" has both \"data\" and \"file\"", name);
    if (strcmp(file, BPUG_WEIGHTS) != 0 || !r->weights) {
        json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "file"),
                  "the content of \"%s\" is in the file \"%.80s\", which is not here", name, file);
        return error_hint(err, "Only graphs in a .bpug archive have a file of weights, \"" BPUG_WEIGHTS
                               "\"; a graph JSON by itself has \"data\".");
    }
    if (bytes != expected)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "bytes"),
                         "the tensor \"%s\" has %zu bytes, but its shape and dtype take %zu", name,
                         bytes, expected);
    if (offset > r->weights_size || bytes > r->weights_size - offset)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "offset"),
                         "bytes %zu to %zu of the weights are wanted for \"%s\", but they are only "
                         "%zu bytes long",
                         offset, offset + bytes, name, r->weights_size);
    *out = r->weights + offset;
    return true;
}

static bool read_tensor(struct json_reader *r, const char *name, json_t *j,
                        const struct json_at *at, struct bpu_error *err)
{
    struct shape shape;
    enum dtype dtype = DT_UNKNOWN;
    json_t *data;
    if (!name[0])
        return json_fail(err, BPU_BAD_MODEL, at, "the name of the tensor is empty");
    if (!json_keys(j, at, tensor_keys, err) || !json_name_free(r, name, at, err))
        return false;
    const json_t *shape_json = json_object_get(j, "shape"), *d = json_object_get(j, "dtype");
    if (!shape_json || !d)
        return json_fail(err, BPU_BAD_MODEL, at, "the tensor \"%s\" has no \"%s\"", name,
                         shape_json ? "dtype" : "shape");
    if (!json_shape(shape_json, AT_KEY(at, "shape"), false, &shape, err) ||
        !json_member(j, at, "data", JSON_STRING, false, &data, err))
        return false;
    /* Other formats have tensors of strings and the like; without data they can be named. */
    bool placed = json_object_get(j, "file") || json_object_get(j, "offset") || json_object_get(j, "bytes");
    bool opaque = !data && !placed && json_is_string(d) && strcmp(json_string_value(d), "unknown") == 0;
    if (!opaque && !json_dtype(d, AT_KEY(at, "dtype"), &dtype, err))
        return false;
    /* json_shape() holds the count below INT64_MAX / 8, and no dtype is larger than 8 bytes. */
    size_t bytes = (size_t)shape_elements(&shape) * dtype_size(dtype);
    const unsigned char *content = NULL;
    if (data && !read_data(r, name, data, AT_KEY(at, "data"), &shape, dtype, bytes, &content, err))
        return false;
    if (placed && !read_place(r, name, j, at, bytes, &content, err))
        return false;
    struct value *v = graph_add_constant(r->g, name, &shape, dtype, content, bytes, err);
    return v &&
           json_quant(r->g->arena, json_object_get(j, "scale"), AT_KEY(at, "scale"),
                      json_object_get(j, "zero_point"), AT_KEY(at, "zero_point"),
                      json_object_get(j, "axis"), AT_KEY(at, "axis"), 0, &v->shape, &v->quant, err);
}

bool json_tensors(struct json_reader *r, struct bpu_error *err)
{
    json_t *tensors, *j;
    const char *name;
    if (!json_member(r->root, NULL, "tensors", JSON_OBJECT, false, &tensors, err))
        return false;
    r->tensors_left_out = !tensors;
    json_object_foreach(
        tensors, name,
        j) if (!read_tensor(r, name, j, AT_KEY(AT_KEY(NULL, "tensors"), name), err)) return false;
    return true;
}
