/* TensorProto → constant. raw_data is referenced in place; typed fields are converted into the arena. */
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/onnx.h"

/* ONNX counts element types up to here (float4 of IR version 11), with some room. */
enum { NEWEST_DATA_TYPE = 31 };

enum dtype onnx_dtype(int32_t data_type)
{
    static const enum dtype map[] = {
        DT_UNKNOWN, DT_FLOAT32, DT_UINT8, DT_INT8,    DT_UINT16, DT_INT16,
        DT_INT32,   DT_INT64,   DT_UNKNOWN, DT_BOOL,  DT_FLOAT16, DT_FLOAT64,
        DT_UINT32,  DT_UINT64,  DT_UNKNOWN, DT_UNKNOWN, DT_BFLOAT16,
    };
    enum { KNOWN = sizeof map / sizeof map[0] };
    return data_type < 0 || data_type >= KNOWN ? DT_UNKNOWN : map[data_type];
}

static bool bad(struct onnx_import *im, const char *name, const char *fmt, ...) BPU_PRINTF(3, 4);
static bool bad(struct onnx_import *im, const char *name, const char *fmt, ...)
{
    char where[256];
    va_list ap;
    snprintf(where, sizeof where, "tensor \"%s\"", name);
    va_start(ap, fmt);
    error_vset(im->err, BPU_BAD_MODEL, where, fmt, ap);
    va_end(ap);
    return false;
}

/* Copies count typed elements, narrowing to the tensor's own element size. */
static unsigned char *convert(struct onnx_import *im, const Onnx__TensorProto *t, enum dtype dtype,
                              size_t *count)
{
    size_t size = dtype_size(dtype), n = 0;
    const unsigned char *from = NULL;
    size_t step = 0;
    if (t->n_float_data) {
        n = t->n_float_data, from = (const unsigned char *)t->float_data, step = 4;
    } else if (t->n_int64_data) {
        n = t->n_int64_data, from = (const unsigned char *)t->int64_data, step = 8;
    } else if (t->n_double_data) {
        n = t->n_double_data, from = (const unsigned char *)t->double_data, step = 8;
    } else if (t->n_uint64_data) {
        n = t->n_uint64_data, from = (const unsigned char *)t->uint64_data, step = 8;
    } else if (t->n_int32_data) {
        n = t->n_int32_data, from = (const unsigned char *)t->int32_data, step = 4;
    }
    *count = n;
    if (n && size > step)
        return NULL;
    unsigned char *p = arena_alloc_array(im->arena, n, size, im->err);
    for (size_t i = 0; p && i < n; i++)
        memcpy(p + i * size, from + i * step, size); /* little endian: the low bytes */
    return p;
}

struct value *onnx_tensor(struct onnx_import *im, const Onnx__TensorProto *t, const char *name)
{
    if (!name)
        name = t->name ? t->name : "";
    enum dtype dtype = onnx_dtype(t->data_type);
    if (t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL || t->n_external_data) {
        const char *file = "another file";
        for (size_t i = 0; i < t->n_external_data; i++)
            if (t->external_data[i]->key && strcmp(t->external_data[i]->key, "location") == 0 &&
                t->external_data[i]->value)
                file = t->external_data[i]->value;
        error_set(im->err, BPU_UNSUPPORTED, NULL,
                  "the data of tensor \"%s\" is in \"%s\", which is not part of the upload", name,
                  file);
        error_where(im->err, "tensor \"%s\"", name);
        error_hint(im->err, "Save one file: onnx.save_model(onnx.load(\"model.onnx\"), "
                            "\"one.onnx\", save_as_external_data=False).");
        return NULL;
    }
    if (t->n_dims > SHAPE_MAX_RANK) {
        bad(im, name, "the tensor has %zu dimensions; at most %d are supported", t->n_dims,
            SHAPE_MAX_RANK);
        return NULL;
    }
    struct shape shape = {.rank = (int)t->n_dims};
    for (size_t i = 0; i < t->n_dims; i++) {
        shape.dim[i] = t->dims[i];
        if (t->dims[i] < 0) {
            bad(im, name, "dimension %zu of the tensor is %lld", i, (long long)t->dims[i]);
            return NULL;
        }
    }
    int64_t elements = shape_elements(&shape), bytes;
    if (elements < 0 || !checked_mul(elements, (int64_t)dtype_size(dtype), &bytes)) {
        bad(im, name, "the tensor's dimensions multiply beyond 63 bits");
        return NULL;
    }
    if (t->data_type <= 0 || t->data_type > NEWEST_DATA_TYPE) {
        bad(im, name, "the tensor's element type is %d, which does not exist", t->data_type);
        return NULL;
    }
    if (dtype == DT_UNKNOWN) /* strings, complex numbers: of use to no operator that we know */
        return graph_add_constant(im->graph, name, &shape, DT_UNKNOWN, NULL, 0, im->err);
    const unsigned char *data = NULL;
    size_t have;
    if (t->segment) {
        data = im->req->data + t->segment->begin;
        have = (size_t)(t->segment->end - t->segment->begin);
    } else {
        size_t count;
        data = convert(im, t, dtype, &count);
        if (!data) {
            bad(im, name, "the tensor's data is in a field that does not fit its type %s",
                dtype_name(dtype));
            return NULL;
        }
        have = count * dtype_size(dtype);
    }
    if (have != (size_t)bytes) {
        char text[SHAPE_TEXT_MAX];
        bad(im, name, "the tensor holds %zu bytes, but %s of %s needs %lld", have,
            shape_text(&shape, text), dtype_name(dtype), (long long)bytes);
        return NULL;
    }
    return graph_add_constant(im->graph, name, &shape, dtype, data, have, im->err);
}
