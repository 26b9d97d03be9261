/* Reading constants: little-endian payloads that may be unaligned, since they point into the file. */
#include <math.h>
#include <string.h>

#include "core/ir/graph.h"

bool value_is_known(const struct value *v)
{
    return v && v->constant && (v->constant->data || v->constant->bytes == 0) &&
           shape_elements(&v->shape) >= 0;
}

static const unsigned char *element(const struct value *v, int64_t i)
{
    if (!value_is_known(v) || i < 0)
        return NULL;
    size_t size = dtype_size(v->dtype);
    if (size == 0 || (uint64_t)i >= v->constant->bytes / size)
        return NULL;
    return v->constant->data + (size_t)i * size;
}

/* IEEE half to double; exact. */
static double half_real(uint16_t h)
{
    int e = (h >> 10) & 31, m = h & 1023;
    double r = e == 0 ? ldexp(m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexp(m + 1024, e - 25);
    return h & 0x8000 ? -r : r;
}

#define LOAD(type, p)                                                                              \
    __extension__({                                                                                \
        type x_;                                                                                   \
        memcpy(&x_, (p), sizeof x_);                                                               \
        x_;                                                                                        \
    })

bool constant_real(const struct value *v, int64_t i, double *out)
{
    const unsigned char *p = element(v, i);
    if (!p)
        return false;
    switch (v->dtype) {
    case DT_FLOAT32: *out = (double)LOAD(float, p); return true;
    case DT_FLOAT64: *out = LOAD(double, p); return true;
    case DT_FLOAT16: *out = half_real(LOAD(uint16_t, p)); return true;
    case DT_BFLOAT16: {
        uint32_t bits = (uint32_t)LOAD(uint16_t, p) << 16;
        *out = (double)LOAD(float, &bits);
        return true;
    }
    case DT_QINT8:
    case DT_INT8: *out = LOAD(int8_t, p); return true;
    case DT_QUINT8:
    case DT_QBOOL:
    case DT_BOOL:
    case DT_UINT8: *out = *p; return true;
    case DT_QINT16:
    case DT_INT16: *out = LOAD(int16_t, p); return true;
    case DT_UINT16: *out = LOAD(uint16_t, p); return true;
    case DT_QINT32:
    case DT_INT32: *out = LOAD(int32_t, p); return true;
    case DT_UINT32: *out = LOAD(uint32_t, p); return true;
    case DT_INT64: *out = (double)LOAD(int64_t, p); return true;
    case DT_UINT64: *out = (double)LOAD(uint64_t, p); return true;
    case DT_UNKNOWN:
    case DT_COUNT: break;
    }
    return false;
}

bool constant_int(const struct value *v, int64_t i, int64_t *out)
{
    if (v && v->dtype == DT_INT64) {
        const unsigned char *p = element(v, i);
        if (p)
            *out = LOAD(int64_t, p);
        return p != NULL;
    }
    if (v && v->dtype == DT_UINT64) {
        const unsigned char *p = element(v, i);
        uint64_t u = p ? LOAD(uint64_t, p) : UINT64_MAX;
        if (u > INT64_MAX)
            return false;
        *out = (int64_t)u;
        return true;
    }
    double r;
    if (!constant_real(v, i, &r) || !(r >= -9.2e18 && r <= 9.2e18))
        return false;
    *out = (int64_t)r;
    return true;
}
