/* The text form of a graph, one line per thing:
 *
 *   graph "lenet" onnx opset=13 producer="pytorch 1.13.0"
 *   value "x" float32 1x1x28x28 scale=[0.0078125] input
 *   value "w" qint8 10x1x5x5 scale=[0.1,0.2] axis=0 const=250B
 *   value "shape" int64 2 const=[1,-1]
 *   node "conv0" "torch.nn.Conv2d" in=["x"] out=["y"] params={weight:"w"} attrs={stride:[1,1]} source="onnx:Conv"
 *
 * Values stand in order of their index, so that reading gives the same indices back.  Names are JSON strings. Content of
 * constants is written up to CONST_ELEMENTS elements. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>

#include "core/ir/graph.h"

enum { CONST_ELEMENTS = 64 };

static void text(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c < 0x20)
            buf_printf(b, "\\u%04x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

/* Shortest form that reads back exactly, and that shows that it is no integer. */
static void real(struct buf *b, double f)
{
    char s[40];
    if (!isfinite(f)) {
        buf_puts(b, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, f);
        if (strtod(s, NULL) == f)
            break;
    }
    buf_puts(b, s);
    if (!strpbrk(s, ".en"))
        buf_puts(b, ".0");
}

static void shape(struct buf *b, const struct shape *s)
{
    char t[SHAPE_TEXT_MAX];
    buf_puts(b, shape_text(s, t));
}

static bool is_integer(enum dtype t) { return !dtype_is_float(t); }

static uint64_t constant_u64(const struct value *v, int64_t i)
{
    uint64_t u = 0;
    if ((uint64_t)i < v->constant->bytes / sizeof u)
        memcpy(&u, v->constant->data + (size_t)i * sizeof u, sizeof u);
    return u;
}

static void constant(struct buf *b, const struct value *v)
{
    int64_t n = shape_elements(&v->shape);
    if (!v->constant->data && n != 0) {
        buf_puts(b, " const=?");
        return;
    }
    if (n < 0 || n > CONST_ELEMENTS || (v->dtype == DT_UNKNOWN && n > 0)) {
        buf_printf(b, " const=%zuB", v->constant->bytes);
        return;
    }
    buf_puts(b, " const=[");
    for (int64_t i = 0; i < n; i++) {
        int64_t k;
        double r;
        if (i)
            buf_putc(b, ',');
        if (v->dtype == DT_UINT64) /* half of them are beyond int64_t */
            buf_printf(b, "%" PRIu64, constant_u64(v, i));
        else if (is_integer(v->dtype) && constant_int(v, i, &k))
            buf_printf(b, "%" PRId64, k);
        else if (constant_real(v, i, &r))
            real(b, r);
    }
    buf_putc(b, ']');
}

static void value(struct buf *b, const struct value *v)
{
    buf_puts(b, "value ");
    text(b, v->name);
    buf_printf(b, " %s ", dtype_name(v->dtype));
    shape(b, &v->shape);
    if (v->quant.count) {
        buf_puts(b, " scale=[");
        for (int i = 0; i < v->quant.count; i++) {
            if (i)
                buf_putc(b, ',');
            real(b, v->quant.scale[i]);
        }
        buf_putc(b, ']');
        if (v->quant.zero_point) {
            buf_puts(b, " zero_point=[");
            for (int i = 0; i < v->quant.count; i++)
                buf_printf(b, "%s%" PRId64, i ? "," : "", v->quant.zero_point[i]);
            buf_putc(b, ']');
        }
        if (v->quant.count > 1)
            buf_printf(b, " axis=%d", v->quant.axis);
    }
    if (v->constant)
        constant(b, v);
    if (v->is_input)
        buf_puts(b, " input");
    buf_putc(b, '\n');
}

static void names(struct buf *b, const char *label, struct value *const *list, int count)
{
    buf_printf(b, " %s=[", label);
    for (int i = 0; i < count; i++) {
        if (i)
            buf_putc(b, ',');
        if (list[i])
            text(b, list[i]->name);
        else
            buf_puts(b, "none");
    }
    buf_putc(b, ']');
}

/* The name of an attribute or param: a word as it stands, anything else in quotes. */
static void key(struct buf *b, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    if (*s && !s[strspn(s, plain)])
        buf_puts(b, s);
    else
        text(b, s);
    buf_putc(b, ':');
}

static void attribute(struct buf *b, const struct attr *a)
{
    key(b, a->name);
    switch (a->kind) {
    case ATTR_NONE: buf_puts(b, "none"); break;
    case ATTR_BOOL: buf_puts(b, a->i ? "true" : "false"); break;
    case ATTR_INT: buf_printf(b, "%" PRId64, a->i); break;
    case ATTR_FLOAT: real(b, a->f); break;
    case ATTR_STRING: text(b, a->s); break;
    case ATTR_INTS:
        buf_putc(b, '[');
        for (int i = 0; i < a->count; i++)
            buf_printf(b, "%s%" PRId64, i ? "," : "", a->ints[i]);
        buf_putc(b, ']');
        break;
    case ATTR_FLOATS:
        buf_putc(b, '(');
        for (int i = 0; i < a->count; i++) {
            if (i)
                buf_putc(b, ',');
            real(b, a->floats[i]);
        }
        buf_putc(b, ')');
        break;
    }
}

static void field(struct buf *b, const char *label, const char *s)
{
    if (s) {
        buf_printf(b, " %s=", label);
        text(b, s);
    }
}

static void node(struct buf *b, const struct node *n)
{
    buf_puts(b, "node ");
    text(b, n->name);
    buf_putc(b, ' ');
    text(b, n->op_name);
    names(b, "in", n->inputs, n->input_count);
    names(b, "out", n->outputs, n->output_count);
    if (n->param_count) {
        buf_puts(b, " params={");
        for (int i = 0; i < n->param_count; i++) {
            if (i)
                buf_putc(b, ',');
            key(b, n->params[i].name);
            if (n->params[i].value)
                text(b, n->params[i].value->name);
            else
                buf_puts(b, "none");
        }
        buf_putc(b, '}');
    }
    if (n->attr_count) {
        buf_puts(b, " attrs={");
        for (int i = 0; i < n->attr_count; i++) {
            if (i)
                buf_putc(b, ',');
            attribute(b, &n->attrs[i]);
        }
        buf_putc(b, '}');
    }
    field(b, "source", n->origin.source_op);
    field(b, "scope", n->origin.scope);
    field(b, "file", n->origin.file);
    if (n->origin.line >= 0)
        buf_printf(b, " line=%" PRId64, n->origin.line);
    if (n->origin.byte >= 0)
        buf_printf(b, " byte=%" PRId64, n->origin.byte);
    if (n->fold != FOLD_NONE)
        buf_printf(b, " fold=%s", fold_name(n->fold));
    field(b, "into", n->folded_into ? n->folded_into->name : NULL);
    buf_putc(b, '\n');
}

void graph_dump(const struct graph *g, struct buf *out)
{
    buf_puts(out, "graph ");
    text(out, g->name);
    buf_printf(out, " %s opset=%" PRId64, g->format, g->opset);
    field(out, "producer", g->producer);
    buf_putc(out, '\n');
    for (int i = 0; i < g->value_count; i++)
        value(out, g->values[i]);
    for (int i = 0; i < g->node_count; i++)
        node(out, g->nodes[i]);
    buf_puts(out, "inputs");
    names(out, "in", g->inputs, g->input_count);
    buf_puts(out, "\noutputs");
    names(out, "out", g->outputs, g->output_count);
    buf_putc(out, '\n');
    for (int i = 0; i < g->note_count; i++) {
        buf_puts(out, "note ");
        text(out, g->notes[i]);
        buf_putc(out, '\n');
    }
}
