/* real: typed loads and stores of rows, copies between tensors, and axes. */
#include "core/run/real.h"

#define ROW(type)                                                                                  \
    for (int64_t i = 0; i < count; i++)                                                            \
        out[i] = (double)((const type *)t->data)[first + i * step];                                \
    return
#define QUANT_ROW(type)                                                                            \
    for (int64_t i = 0; i < count; i++)                                                            \
        out[i] = (double)(((const type *)t->data)[first + i * step] - zero) * scale;               \
    return

void real_load(const struct tensor *t, int64_t first, int64_t step, int64_t count, double *out)
{
    double scale = t->quant.count <= 1 ? tensor_scale(t, 0) : 1;
    int64_t zero = t->quant.count <= 1 ? tensor_zero_point(t, 0) : 0;
    enum dtype plain = t->quant.count > 1 ? DT_UNKNOWN : t->dtype;
    switch (plain) {
    case DT_FLOAT32: ROW(float);
    case DT_FLOAT64: ROW(double);
    case DT_INT32: ROW(int32_t);
    case DT_INT64: ROW(int64_t);
    case DT_UINT8: ROW(uint8_t);
    case DT_QINT8: QUANT_ROW(int8_t);
    case DT_QUINT8: QUANT_ROW(uint8_t);
    case DT_QINT16: QUANT_ROW(int16_t);
    default: break;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = tensor_real(t, first + i * step);
}

void real_store(struct tensor *t, int64_t first, int64_t step, int64_t count, const double *in)
{
    if (t->dtype == DT_FLOAT32)
        for (int64_t i = 0; i < count; i++)
            ((float *)t->data)[first + i * step] = (float)in[i];
    else
        for (int64_t i = 0; i < count; i++)
            tensor_store_real(t, first + i * step, in[i]);
}

void real_load_block(const struct tensor *t, int64_t offset, int rank, const int64_t *dim,
                     const int64_t *stride, double *out)
{
    int64_t index[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < rank; i++)
        if (dim[i] <= 0)
            return;
    int64_t row = rank > 0 ? dim[rank - 1] : 1, step = rank > 0 ? stride[rank - 1] : 1;
    for (;;) {
        real_load(t, offset, step, row, out);
        out += row;
        int i = rank - 2;
        for (; i >= 0; i--) {
            offset += stride[i];
            if (++index[i] < dim[i])
                break;
            offset -= stride[i] * dim[i];
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

double *real_scratch(const struct kernel_call *c, int64_t count, struct bpu_error *err)
{
    return ARENA_ARRAY(c->scratch, double, count, err);
}

const float *real_floats(const struct kernel_call *c, const struct tensor *t, struct bpu_error *err)
{
    if (t->dtype == DT_FLOAT32)
        return t->data;
    int64_t count = real_count(t);
    float *copy = ARENA_ARRAY(c->scratch, float, count, err);
    for (int64_t i = 0; copy && i < count; i++)
        copy[i] = (float)tensor_real(t, i);
    return copy;
}

bool real_same(const struct tensor *a, const struct tensor *b)
{
    if (a->dtype != b->dtype)
        return false;
    if (!dtype_is_quantized(a->dtype) || a->quant.count == 0 || b->quant.count == 0)
        return true;
    return a->quant.count == 1 && b->quant.count == 1 && tensor_scale(a, 0) == tensor_scale(b, 0) &&
           tensor_zero_point(a, 0) == tensor_zero_point(b, 0);
}

static bool both_whole(const struct tensor *a, const struct tensor *b)
{
    return fold_is_int(a->dtype) && fold_is_int(b->dtype);
}

void real_move(const struct tensor *from, int64_t i, struct tensor *to, int64_t j)
{
    if (real_same(from, to))
        memcpy(real_at(to, j), real_at(from, i), dtype_size(to->dtype));
    else if (both_whole(from, to))
        fold_store_int(real_at(to, j), to->dtype, fold_load_int(real_at(from, i), from->dtype));
    else
        tensor_store_real(to, j, tensor_real(from, i));
}

void real_copy(const struct tensor *from, struct tensor *to, int rank, const int64_t *dim,
               const int64_t *stride, int64_t offset)
{
    if (real_count(to) == 0)
        return;
    if (real_same(from, to)) {
        fold_copy(to->data, from->data, dtype_size(to->dtype), rank, dim, stride, offset);
        return;
    }
    int64_t index[2 * SHAPE_MAX_RANK] = {0};
    for (int64_t at = 0;; at++) {
        real_move(from, offset, to, at);
        int i = rank - 1;
        for (; i >= 0; i--) {
            offset += stride[i];
            if (++index[i] < dim[i])
                break;
            offset -= stride[i] * dim[i];
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

bool real_broadcasts(const struct kernel_call *c, const struct tensor *t, const struct shape *to,
                     struct bpu_error *err)
{
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    struct shape both;
    if (infer_broadcast(&t->shape, to, &both) && shape_equal(&both, to))
        return true;
    return kernel_unsupported(c, err, "an operand of shape %s does not broadcast to %s",
                              shape_text(&t->shape, ta), shape_text(to, tb));
}

struct real_lanes real_lanes(const struct shape *s, int axis)
{
    struct real_lanes l = {1, 1, 1};
    for (int i = 0; i < s->rank; i++)
        *(i < axis ? &l.outer : i > axis ? &l.inner : &l.extent) *= s->dim[i];
    return l;
}

int real_axis(const struct node *n, const char *name, int64_t otherwise, int rank)
{
    int64_t axis = node_int(n, name, otherwise);
    axis += axis < 0 ? rank : 0;
    return axis >= 0 && axis < rank ? (int)axis : 0;
}

enum real_activation real_activation(const struct node *n)
{
    const char *a = node_string(n, "activation", "");
    return strcmp(a, "relu") == 0 ? REAL_RELU : strcmp(a, "relu6") == 0 ? REAL_RELU6 : REAL_LINEAR;
}
