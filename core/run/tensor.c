/* tensor: reading and writing single elements, whatever their type. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/fold.h"
#include "core/run/arith.h"
#include "core/run/kernel.h"

const struct tensor *kernel_param(const struct kernel_call *c, const char *name)
{
    for (int i = 0; i < c->node->param_count; i++)
        if (strcmp(c->node->params[i].name, name) == 0)
            return c->params[i];
    return NULL;
}

/* The plain type of the same representation. */
static enum dtype storage(enum dtype t)
{
    switch (t) {
    case DT_QINT8: return DT_INT8;
    case DT_QUINT8: return DT_UINT8;
    case DT_QINT16: return DT_INT16;
    case DT_QINT32: return DT_INT32;
    case DT_QBOOL: return DT_BOOL;
    default: return t;
    }
}

void dtype_range(enum dtype t, int64_t *lo, int64_t *hi)
{
    switch (storage(t)) {
    case DT_INT8: *lo = INT8_MIN, *hi = INT8_MAX; break;
    case DT_UINT8: *lo = 0, *hi = UINT8_MAX; break;
    case DT_INT16: *lo = INT16_MIN, *hi = INT16_MAX; break;
    case DT_UINT16: *lo = 0, *hi = UINT16_MAX; break;
    case DT_INT32: *lo = INT32_MIN, *hi = INT32_MAX; break;
    case DT_UINT32: *lo = 0, *hi = UINT32_MAX; break;
    case DT_BOOL: *lo = 0, *hi = 1; break;
    default: *lo = INT64_MIN, *hi = INT64_MAX;
    }
}

/* The channel that element i belongs to. */
static int64_t channel_of(const struct tensor *t, int64_t i)
{
    if (t->quant.count <= 1)
        return 0;
    int64_t inner = 1;
    for (int d = t->quant.axis + 1; d < t->shape.rank; d++)
        inner *= t->shape.dim[d];
    return inner > 0 ? i / inner % t->quant.count : 0;
}

double tensor_scale(const struct tensor *t, int64_t c)
{
    return t->quant.count <= 0 ? 1 : t->quant.scale[t->quant.count == 1 ? 0 : c];
}

int64_t tensor_zero_point(const struct tensor *t, int64_t c)
{
    return t->quant.count <= 0 || !t->quant.zero_point
               ? 0
               : t->quant.zero_point[t->quant.count == 1 ? 0 : c];
}

static unsigned char *element(const struct tensor *t, int64_t i)
{
    return (unsigned char *)t->data + (size_t)i * dtype_size(t->dtype);
}

int64_t tensor_int(const struct tensor *t, int64_t i)
{
    return fold_load_int(element(t, i), storage(t->dtype));
}

double tensor_real(const struct tensor *t, int64_t i)
{
    if (!dtype_is_quantized(t->dtype) || t->dtype == DT_QBOOL)
        return fold_load_real(element(t, i), storage(t->dtype));
    int64_t c = channel_of(t, i);
    return (double)(tensor_int(t, i) - tensor_zero_point(t, c)) * tensor_scale(t, c);
}

void tensor_store_int(struct tensor *t, int64_t i, int64_t v)
{
    int64_t lo, hi;
    dtype_range(t->dtype, &lo, &hi);
    fold_store_int(element(t, i), storage(t->dtype), v < lo ? lo : v > hi ? hi : v);
}

void tensor_store_real(struct tensor *t, int64_t i, double v)
{
    if (!dtype_is_quantized(t->dtype) || t->dtype == DT_QBOOL) {
        fold_store_real(element(t, i), storage(t->dtype), v);
        return;
    }
    int64_t c = channel_of(t, i), lo, hi;
    dtype_range(t->dtype, &lo, &hi);
    tensor_store_int(t, i, arith_quantize(v, tensor_scale(t, c), (int32_t)tensor_zero_point(t, c),
                                          (int32_t)lo, (int32_t)hi));
}

bool kernel_unsupported(const struct kernel_call *c, struct bpu_error *err, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return error_set(err, BPU_UNSUPPORTED, c->node->name, "%s: %s", c->node->op_name, text);
}
