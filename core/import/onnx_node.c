/* What the adapters read with and build with. */
#include <stdio.h>
#include <string.h>

#include "core/import/onnx.h"
#include "core/ops/op.h"

bool onnx_bad(const struct onnx_node *o, const char *fmt, ...)
{
    char where[256];
    va_list ap;
    snprintf(where, sizeof where, "node \"%s\" (%s)", o->name,
             o->file_op ? o->file_op : o->proto->op_type);
    va_start(ap, fmt);
    error_vset(o->im->err, BPU_BAD_MODEL, where, fmt, ap);
    va_end(ap);
    return false;
}

/* ── reading ── */

const Onnx__AttributeProto *onnx_attr(const struct onnx_node *o, const char *name)
{
    for (size_t i = 0; i < o->proto->n_attribute; i++)
        if (o->proto->attribute[i]->name && strcmp(o->proto->attribute[i]->name, name) == 0)
            return o->proto->attribute[i];
    return NULL;
}

int64_t onnx_int(const struct onnx_node *o, const char *name, int64_t otherwise)
{
    const Onnx__AttributeProto *a = onnx_attr(o, name);
    return a && a->has_i ? a->i : otherwise;
}

double onnx_float(const struct onnx_node *o, const char *name, double otherwise)
{
    const Onnx__AttributeProto *a = onnx_attr(o, name);
    return a && a->has_f ? (double)a->f : otherwise;
}

const char *onnx_string(const struct onnx_node *o, const char *name, const char *otherwise)
{
    const Onnx__AttributeProto *a = onnx_attr(o, name);
    if (!a || !a->has_s)
        return otherwise;
    char *s = arena_strndup(o->im->arena, (const char *)a->s.data, a->s.len, o->im->err);
    return s ? s : otherwise;
}

const int64_t *onnx_ints(const struct onnx_node *o, const char *name, int *count)
{
    const Onnx__AttributeProto *a = onnx_attr(o, name);
    if (!a || a->n_ints > INT32_MAX)
        return NULL;
    *count = (int)a->n_ints;
    static const int64_t none[1] = {0};
    return a->n_ints ? a->ints : none;
}

struct value *onnx_in(const struct onnx_node *o, int i)
{
    return i < o->in_count ? o->in[i] : NULL;
}

bool onnx_const_ints(const struct value *v, int64_t *out, int max, int *count)
{
    int64_t n = value_is_known(v) ? shape_elements(&v->shape) : -1;
    if (n < 0 || n > max)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (!constant_int(v, i, &out[i]))
            return false;
    *count = (int)n;
    return true;
}

bool onnx_const_reals(const struct value *v, double *out, int max, int *count)
{
    int64_t n = value_is_known(v) ? shape_elements(&v->shape) : -1;
    if (n < 0 || n > max)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (!constant_real(v, i, &out[i]))
            return false;
    *count = (int)n;
    return true;
}

void onnx_list(const struct onnx_node *o, const char *attr, int input, int64_t *out, int max,
               int *count, bool *known)
{
    int n = 0;
    const int64_t *ints = attr ? onnx_ints(o, attr, &n) : NULL;
    *count = -1;
    *known = true;
    if (ints && n <= max) {
        memcpy(out, ints, (size_t)n * sizeof *out);
        *count = n;
    } else if (!ints && input >= 0 && onnx_in(o, input))
        *known = onnx_const_ints(onnx_in(o, input), out, max, count);
}

/* ── building ── */

struct node *onnx_begin(struct onnx_node *o, const char *op_name, const char *suffix)
{
    struct onnx_import *im = o->im;
    const char *name =
        suffix ? arena_printf(im->arena, im->err, "%s/%s", o->name, suffix) : o->name;
    struct node *n = name ? graph_add_node(im->graph, name, op_name, im->err) : NULL;
    if (!n)
        return NULL;
    const char *domain = o->proto->domain;
    n->origin.source_op = domain && domain[0] && strcmp(domain, "ai.onnx") != 0
                              ? arena_printf(im->arena, im->err, "%s:%s", domain, o->proto->op_type)
                              : arena_printf(im->arena, im->err, "onnx:%s", o->proto->op_type);
    if (!n->origin.source_op)
        return NULL;
    /* PyTorch ≥ 1.13 writes "/features/features.0/features.0.0/Conv": the last part but one is the module. */
    const char *last = strrchr(o->name, '/');
    if (o->name[0] == '/' && last && last > o->name + 1) {
        const char *first = last;
        while (first > o->name && first[-1] != '/')
            first--;
        n->origin.scope = arena_strndup(im->arena, first, (size_t)(last - first), im->err);
        if (!n->origin.scope)
            return NULL;
    }
    op_bind(n);
    return n;
}

bool onnx_operand(struct onnx_node *o, struct node *n, struct value *v)
{
    return node_add_input(o->im->graph, n, v, o->im->err);
}

struct value *onnx_output(struct onnx_node *o, struct node *n, int i)
{
    struct onnx_import *im = o->im;
    const char *name =
        (size_t)i < o->proto->n_output && o->proto->output[i][0] ? o->proto->output[i] : NULL;
    if (name && name_table_find(im->values, name)) {
        onnx_bad(o, "output \"%s\" is produced twice", name);
        return NULL;
    }
    struct value *v = node_add_output(im->graph, n, name, im->err);
    if (!v || (name && !name_table_put(im->values, name, v, im->err)))
        return NULL;
    return v;
}

struct value *onnx_inner(struct onnx_node *o, struct node *n)
{
    const char *name = arena_printf(o->im->arena, o->im->err, "%s_output", n->name);
    return name ? node_add_output(o->im->graph, n, name, o->im->err) : NULL;
}

bool onnx_finish_outputs(struct onnx_node *o, struct node *n, int count)
{
    for (int i = n->output_count; i < count; i++)
        if (!onnx_output(o, n, i))
            return false;
    return op_apply(o->im->graph, n, o->im->err);
}

bool onnx_finish(struct onnx_node *o, struct node *n)
{
    return onnx_finish_outputs(o, n, (int)o->proto->n_output);
}

static void declared_shape(struct onnx_import *im, const char *name, struct value *v)
{
    const Onnx__TypeProto *t = name ? name_table_find(im->value_info, name) : NULL;
    if (!t || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type->shape ||
        t->tensor_type->shape->n_dim > SHAPE_MAX_RANK)
        return;
    struct shape s = {.rank = (int)t->tensor_type->shape->n_dim};
    for (int i = 0; i < s.rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = t->tensor_type->shape->dim[i];
        if (d->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ||
            d->dim_value < 0)
            return;
        s.dim[i] = d->dim_value;
    }
    v->shape = s;
    v->dtype = onnx_dtype(t->tensor_type->elem_type);
}

bool onnx_opaque(struct onnx_node *o, const char *op_name)
{
    struct node *n = onnx_begin(o, op_name, NULL);
    if (!n)
        return false;
    for (int i = 0; i < o->in_count; i++)
        if (!onnx_operand(o, n, o->in[i]))
            return false;
    for (size_t i = 0; i < o->proto->n_output; i++) {
        struct value *v = onnx_output(o, n, (int)i);
        if (!v)
            return false;
        declared_shape(o->im, o->proto->output[i], v);
    }
    /* Without its attributes the row would mean something else: nothing executes it. */
    return node_set_bool(o->im->graph, n, "undetermined", true, o->im->err);
}
