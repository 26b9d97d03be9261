/* Tensors of a pickle: views of storages, checked against the bytes that are there. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/import/pickle.h"

static bool bad(const struct pickle_source *src, const struct py_value *at, struct bpu_error *err,
                const char *fmt, ...) BPU_PRINTF(4, 5);
static bool bad(const struct pickle_source *src, const struct py_value *at, struct bpu_error *err,
                const char *fmt, ...)
{
    char where[256];
    va_list ap;
    snprintf(where, sizeof where, "%.180s, byte %zu", src->member->name, at->offset);
    va_start(ap, fmt);
    error_vset(err, BPU_BAD_MODEL, where, fmt, ap);
    va_end(ap);
    return false;
}

bool pickle_storage_dtype(const char *global, enum dtype *out)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } rows[] = {
        {"FloatStorage", DT_FLOAT32}, {"DoubleStorage", DT_FLOAT64},
        {"HalfStorage", DT_FLOAT16},  {"BFloat16Storage", DT_BFLOAT16},
        {"LongStorage", DT_INT64},    {"IntStorage", DT_INT32},
        {"ShortStorage", DT_INT16},   {"CharStorage", DT_INT8},
        {"ByteStorage", DT_UINT8},    {"BoolStorage", DT_BOOL},
        {"QInt8Storage", DT_QINT8},   {"QUInt8Storage", DT_QUINT8},
        {"QInt32Storage", DT_QINT32},
    };
    if (strncmp(global, "torch.", 6) != 0)
        return false;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(global + 6, rows[i].name) == 0) {
            *out = rows[i].dtype;
            return true;
        }
    return false;
}

bool pickle_storage(const struct pickle_source *src, const struct py_value *id,
                    struct py_value *out, struct bpu_error *err)
{
    struct pickle_tensor *t = ARENA_NEW(src->arena, struct pickle_tensor, err);
    if (!t)
        return false;
    struct py_value **item = id->items;
    if (id->kind != PY_TUPLE || id->count < 5 || item[0]->kind != PY_STRING ||
        strcmp(item[0]->text, "storage") != 0 || item[1]->kind != PY_GLOBAL ||
        item[2]->kind != PY_STRING || item[4]->kind != PY_INT)
        return bad(src, id, err, "a reference to a storage is malformed");
    if (!pickle_storage_dtype(item[1]->text, &t->dtype))
        return bad(src, id, err, "\"%.100s\" is no kind of storage that is read", item[1]->text);
    t->storage_elements = item[4]->i;
    t->storage = arena_printf(src->arena, err, "%s%s", src->storages, item[2]->text);
    if (!t->storage)
        return false;
    const struct archive_member *m = archive_find(src->archive, t->storage);
    int64_t bytes;
    if (!m)
        return bad(src, id, err, "the storage \"%.150s\" is not in the archive", t->storage);
    if (t->storage_elements < 0 ||
        !checked_mul(t->storage_elements, (int64_t)dtype_size(t->dtype), &bytes) ||
        (uint64_t)bytes > m->size)
        return bad(src, id, err,
                   "the storage \"%.150s\" holds %" PRIu64 " bytes, but %" PRId64
                   " elements of %s are to be in it",
                   t->storage, m->size, t->storage_elements, dtype_name(t->dtype));
    t->data = archive_bytes(src->archive, m, false, err);
    out->tensor = t;
    return t->data != NULL;
}

static bool read_extents(const struct pickle_source *src, const struct py_value *list, int64_t *out,
                         int *rank, const char *what, struct bpu_error *err)
{
    if (list->kind != PY_TUPLE && list->kind != PY_LIST)
        return bad(src, list, err, "the %s of a tensor is %s", what, py_kind_name(list->kind));
    if (list->count > SHAPE_MAX_RANK)
        return bad(src, list, err, "a tensor has %zu dimensions; at most %d are supported",
                   list->count, SHAPE_MAX_RANK);
    *rank = (int)list->count;
    for (int i = 0; i < *rank; i++) {
        if (list->items[i]->kind != PY_INT || list->items[i]->i < 0)
            return bad(src, list, err, "entry %d of a tensor's %s is not an integer of 0 or more",
                       i, what);
        out[i] = list->items[i]->i;
    }
    return true;
}

/* The last element that the view reaches must lie within its storage. */
static bool check_reach(const struct pickle_source *src, const struct py_value *at,
                        const struct pickle_tensor *t, struct bpu_error *err)
{
    int64_t last = t->offset, step;
    bool empty = false, fits = true;
    for (int i = 0; i < t->shape.rank; i++)
        empty = empty || t->shape.dim[i] == 0;
    for (int i = 0; i < t->shape.rank && !empty && fits; i++)
        fits =
            checked_mul(t->shape.dim[i] - 1, t->stride[i], &step) && checked_add(last, step, &last);
    char text[SHAPE_TEXT_MAX];
    if (shape_elements(&t->shape) < 0)
        return bad(src, at, err, "a tensor of %s has more elements than can be counted",
                   shape_text(&t->shape, text));
    if (fits && (empty ? t->offset <= t->storage_elements : last < t->storage_elements))
        return true;
    return bad(src, at, err,
               "a tensor of %s at offset %" PRId64
               " reaches beyond its storage \"%.100s\" of %" PRId64 " elements",
               shape_text(&t->shape, text), t->offset, t->storage, t->storage_elements);
}

/* (torch.per_tensor_affine, scale, zero_point) or (torch.per_channel_affine, scales, zero_points,
 * axis). */
static bool read_quantizer(const struct pickle_source *src, const struct py_value *q,
                           struct pickle_tensor *t, struct bpu_error *err)
{
    if (q->kind != PY_TUPLE || q->count < 3 || q->items[0]->kind != PY_GLOBAL)
        return bad(src, q, err, "the quantizer of a tensor is malformed");
    struct py_value **item = q->items;
    bool channel = strcmp(item[0]->text, "torch.per_channel_affine") == 0;
    if (!channel && strcmp(item[0]->text, "torch.per_tensor_affine") != 0)
        return bad(src, q, err, "the quantization scheme \"%.100s\" is not read", item[0]->text);
    int64_t count = 1, axis = 0;
    if (channel) {
        if (q->count < 4 || item[1]->kind != PY_TENSOR || item[2]->kind != PY_TENSOR ||
            item[3]->kind != PY_INT)
            return bad(src, q, err, "the per-channel quantizer of a tensor is malformed");
        axis = item[3]->i;
        count = axis >= 0 && axis < t->shape.rank ? t->shape.dim[axis] : -1;
        if (count < 1 || shape_elements(&item[1]->tensor->shape) != count ||
            shape_elements(&item[2]->tensor->shape) != count)
            return bad(src, q, err, "the scales of a tensor do not fit its axis %" PRId64, axis);
    } else if (item[1]->kind != PY_FLOAT || item[2]->kind != PY_INT)
        return bad(src, q, err, "the quantizer of a tensor is malformed");
    double *scale = ARENA_ARRAY(src->arena, double, count, err);
    int64_t *zero = scale ? ARENA_ARRAY(src->arena, int64_t, count, err) : NULL;
    if (!zero)
        return false;
    bool any = false;
    for (int64_t i = 0; i < count; i++) {
        double z = 0;
        if (channel ? !pickle_tensor_real(item[1]->tensor, i, &scale[i]) ||
                          !pickle_tensor_real(item[2]->tensor, i, &z)
                    : (scale[i] = item[1]->f, z = (double)item[2]->i, false))
            return bad(src, q, err, "scale %" PRId64 " of a tensor cannot be read", i);
        if (!isfinite(scale[i]) || scale[i] <= 0 || !(fabs(z) < 2147483648.))
            return bad(src, q, err, "scale %" PRId64 " of a tensor is %g with zero point %g", i,
                       scale[i], z);
        zero[i] = (int64_t)z;
        any = any || zero[i];
    }
    t->quant = (struct quant){scale, any ? zero : NULL, (int)count, count > 1 ? (int)axis : 0};
    return true;
}

bool pickle_tensor(const struct pickle_source *src, const struct py_value *args, bool quantized,
                   struct py_value *out, struct bpu_error *err)
{
    int strides = 0;
    struct py_value **arg = args->items;
    struct pickle_tensor *t = ARENA_NEW(src->arena, struct pickle_tensor, err);
    if (!t)
        return false;
    if (args->count < (quantized ? 5u : 4u) || arg[0]->kind != PY_STORAGE || !arg[0]->tensor ||
        arg[1]->kind != PY_INT || arg[1]->i < 0)
        return bad(src, args, err, "the arguments of a tensor are malformed");
    *t = *arg[0]->tensor;
    t->offset = arg[1]->i;
    if (!read_extents(src, arg[2], t->shape.dim, &t->shape.rank, "shape", err) ||
        !read_extents(src, arg[3], t->stride, &strides, "stride", err))
        return false;
    if (strides != t->shape.rank)
        return bad(src, args, err, "a tensor has %d dimensions, but %d strides", t->shape.rank,
                   strides);
    out->kind = PY_TENSOR;
    out->tensor = t;
    if (!check_reach(src, args, t, err))
        return false;
    for (int i = 0; i < strides; i++) /* never used, and perhaps absurd */
        if (t->shape.dim[i] <= 1)
            t->stride[i] = 0;
    if (dtype_is_quantized(t->dtype) != quantized)
        return bad(src, args, err, "a tensor over %s %s", dtype_name(t->dtype),
                   quantized ? "cannot have a quantizer" : "lacks its quantizer");
    return !quantized || read_quantizer(src, arg[4], t, err);
}

static bool is_contiguous(const struct pickle_tensor *t)
{
    int64_t want = 1;
    for (int i = t->shape.rank - 1; i >= 0; i--) {
        if (t->shape.dim[i] != 1 && t->stride[i] != want)
            return false;
        want *= t->shape.dim[i]; /* bounded: the elements were counted */
    }
    return true;
}

const unsigned char *pickle_tensor_bytes(struct arena *a, const struct pickle_tensor *t,
                                         struct bpu_error *err)
{
    size_t size = dtype_size(t->dtype);
    int64_t count = shape_elements(&t->shape), index[SHAPE_MAX_RANK] = {0};
    const unsigned char *from = t->data + (size_t)t->offset * size;
    if (count == 0 || is_contiguous(t))
        return from;
    unsigned char *copy = arena_alloc_array(a, (size_t)count, size, err);
    int rank = t->shape.rank;
    int64_t inner = t->shape.dim[rank - 1], stride = t->stride[rank - 1], at = 0;
    for (unsigned char *to = copy; copy && to < copy + (size_t)count * size;) {
        for (int64_t k = 0; k < inner; k++, to += size)
            memcpy(to, from + (size_t)(at + k * stride) * size, size);
        for (int i = rank - 2; i >= 0; i--) {
            at += t->stride[i];
            if (++index[i] < t->shape.dim[i])
                break;
            at -= t->stride[i] * t->shape.dim[i];
            index[i] = 0;
        }
    }
    return copy;
}

bool pickle_tensor_real(const struct pickle_tensor *t, int64_t i, double *out)
{
    struct constant c = {t->data, (size_t)t->storage_elements * dtype_size(t->dtype)};
    struct value v = {
        .shape = shape_of(1, &t->storage_elements), .dtype = t->dtype, .constant = &c};
    int64_t at = t->offset;
    for (int k = t->shape.rank - 1; k >= 0; k--) {
        at += i % t->shape.dim[k] * t->stride[k];
        i /= t->shape.dim[k];
    }
    return i == 0 && constant_real(&v, at, out);
}
