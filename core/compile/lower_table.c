/* lower_table: functions of one value, through the table that the converted graph carries. */
#include <string.h>

#include "core/compile/lower_view.h"
#include "core/ops/unary.h"
#include "core/run/fixed_unary.h"

/* Entry i of a table as `size` bytes, little endian. */
static void put(unsigned char *table, int64_t i, size_t size, int64_t v)
{
    for (size_t b = 0; b < size; b++)
        table[(size_t)i * size + b] = (unsigned char)((uint64_t)v >> (8 * b));
}

/* A table for truth values: two entries, 256 as every table of bytes has. */
static bool truth_table(struct lowering *l, const struct node *n, unsigned char *data, size_t size,
                        struct bpu_error *err)
{
    int64_t v;
    (void)l;
    for (int64_t q = 0; q < 2; q++) {
        if (!unary_apply_int(n->op->key, q, DT_QBOOL, &v))
            return lower_refuse(n, err, "truth values");
        put(data, q, size, v);
    }
    return true;
}

static bool made_table(struct lowering *l, const struct node *n, unsigned char *data,
                       int64_t entries, size_t size, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0];
    struct arena_mark mark = arena_mark(l->arena);
    int32_t *table = ARENA_ARRAY(l->arena, int32_t, entries, err);
    bool ok = table && fixed_unary_table(n, &x->quant, x->dtype, &y->quant, y->dtype, table, err);
    for (int64_t i = 0; ok && i < entries; i++)
        put(data, i, size, table[i]);
    arena_rewind(l->arena, mark);
    return ok;
}

static struct blob *table_of(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0], *y = n->outputs[0], *t = node_param(n, "table");
    size_t in = dtype_size(x->dtype), size = dtype_size(y->dtype);
    int64_t entries = in == 1 ? 256 : 65536;
    if (in > 2 || size > 2 || !dtype_is_quantized(x->dtype) || !dtype_is_quantized(y->dtype)) {
        lower_refuse(n, err, "a table from %s to %s; the machine has tables of 8 and 16 bits",
                     dtype_name(x->dtype), dtype_name(y->dtype));
        return NULL;
    }
    int64_t bytes = entries * (int64_t)size;
    unsigned char *data = arena_alloc(l->arena, (size_t)bytes, err);
    if (!data)
        return NULL;
    if (t && x->dtype != DT_QBOOL) {
        if (!lower_constant(n, t, "the table", err))
            return NULL;
        if (shape_elements(&t->shape) != entries || dtype_size(t->dtype) != size ||
            t->constant->bytes < (size_t)bytes) {
            lower_refuse(n, err, "a table that does not have %lld entries", (long long)entries);
            return NULL;
        }
        memcpy(data, t->constant->data, (size_t)bytes);
    } else if (x->dtype == DT_QBOOL ? !truth_table(l, n, data, size, err)
                                    : !made_table(l, n, data, entries, size, err)) {
        return NULL;
    }
    return network_blob(l->net, data, bytes, err);
}

bool lower_unary(struct lowering *l, const struct node *n, struct bpu_error *err)
{
    const struct value *x = n->inputs[0];
    enum form f = lower_form(l, x);
    struct blob *table = table_of(l, n, err);
    struct map *from = table ? lower_map(l, x, f, err) : NULL;
    struct map *to = from ? lower_result(l, n->outputs[0], f, err) : NULL;
    struct layer *layer = to ? lower_layer(l, OP_LOOKUP, n, to, err) : NULL;
    if (!layer)
        return false;
    layer_reads(layer, from, NEED_SAME);
    layer_in_place(layer, 0);
    layer_reads_blob(layer, table);
    return true;
}
