/* Writing a graph as graph JSON: the mirror image of core/import/graph_json*.c.
 *
 * A value of the graph is one of three things in the file: an input, a tensor, or a node's output.
 * Nodes whose result is a constant that no row of the operator table could compute again (ONNX
 * Constant, the stubs of a quantized weight) become the tensor itself, and what only they read is
 * left out; every other node that was folded is written as it stands and folds again on reading. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"
#include "core/export/export.h"
#include "core/export/export_private.h"
#include "core/ops/op.h"

#define SMALL_TENSOR 64

static void put_string(struct buf *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    buf_putc(out, '"');
    while (*s) {
        uint32_t number;
        size_t n = utf8_character((const char *)s, &number);
        if (n == 0) {
            buf_puts(out, "\xEF\xBF\xBD"); /* U+FFFD: JSON is UTF-8, the name was not */
            s++;
        } else if (*s == '"' || *s == '\\') {
            buf_printf(out, "\\%c", *s++);
        } else if (*s < 0x20 || *s == 0x7F) {
            buf_printf(out, "\\u%04x", *s++);
        } else {
            buf_add(out, s, n);
            s += n;
        }
    }
    buf_putc(out, '"');
}

/* The shortest decimal that reads back as the same double, always with a point or an exponent, so
 * that it reads back as a real. */
static void put_real(struct buf *out, double x)
{
    char text[40];
    if (!isfinite(x)) {
        buf_puts(out, isnan(x) ? "\"nan\"" : x > 0 ? "\"inf\"" : "\"-inf\"");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    buf_puts(out, text);
    if (!strpbrk(text, ".e"))
        buf_puts(out, ".0");
}

static void put_shape(struct buf *out, const struct shape *s)
{
    if (s->rank < 0) {
        buf_puts(out, "null");
        return;
    }
    buf_putc(out, '[');
    for (int i = 0; i < s->rank; i++) {
        buf_puts(out, i ? "," : "");
        if (s->dim[i] < 0)
            buf_puts(out, "null");
        else
            buf_printf(out, "%" PRId64, s->dim[i]);
    }
    buf_putc(out, ']');
}

static void put_scale(struct buf *out, const struct quant *q)
{
    if (q->count != 1)
        buf_putc(out, '[');
    for (int i = 0; i < q->count; i++) {
        buf_puts(out, i ? "," : "");
        put_real(out, q->scale[i]);
    }
    if (q->count != 1)
        buf_putc(out, ']');
}

static bool has_zero_point(const struct quant *q)
{
    for (int i = 0; q->zero_point && i < q->count; i++)
        if (q->zero_point[i] != 0)
            return true;
    return false;
}

static void put_zero_point(struct buf *out, const struct quant *q)
{
    if (q->count != 1)
        buf_putc(out, '[');
    for (int i = 0; i < q->count; i++)
        buf_printf(out, "%s%" PRId64, i ? "," : "", q->zero_point[i]);
    if (q->count != 1)
        buf_putc(out, ']');
}

/* , "scale": …, "zero_point": …, "axis": … of an input or a tensor. */
static void put_quant(struct buf *out, const struct quant *q, int default_axis)
{
    if (q->count == 0)
        return;
    buf_puts(out, ", \"scale\": ");
    put_scale(out, q);
    if (has_zero_point(q)) {
        buf_puts(out, ", \"zero_point\": ");
        put_zero_point(out, q);
    }
    if (q->count > 1 && q->axis != default_axis)
        buf_printf(out, ", \"axis\": %d", q->axis);
}

/* An ONNX Constant and its like: an output that is known, from no operands, or folded by the
 * importer where the row has nothing to fold with: the pairs of a quantized weight. */
static bool is_constant_node(const struct node *n)
{
    bool source = !n->input_count && !n->param_count;
    bool imported = n->fold == FOLD_CONSTANT && !(n->op && n->op->fold);
    if ((!source && !imported) || n->output_count != 1)
        return false;
    const struct value *v = n->outputs[0];
    return v->constant && (v->constant->data || v->constant->bytes == 0);
}

static void put_base64(struct buf *out, const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char chunk[1024];
    size_t used = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
                        (i + 2 < n ? p[i + 2] : 0);
        chunk[used++] = digits[bits >> 18];
        chunk[used++] = digits[bits >> 12 & 63];
        chunk[used++] = i + 1 < n ? digits[bits >> 6 & 63] : '=';
        chunk[used++] = i + 2 < n ? digits[bits & 63] : '=';
        if (used == sizeof chunk) {
            buf_add(out, chunk, used);
            used = 0;
        }
    }
    buf_add(out, chunk, used);
}

/* Elements separated by the caller's loop: false for the first. */
static void put_separator(struct buf *out, bool *more)
{
    buf_puts(out, *more ? ",\n  " : "\n  ");
    *more = true;
}

static void put_inputs(struct buf *out, const struct graph *g)
{
    bool more = false;
    buf_puts(out, ",\n \"inputs\": [");
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = g->inputs[i];
        put_separator(out, &more);
        buf_puts(out, "{\"name\": ");
        put_string(out, v->name);
        buf_puts(out, ", \"shape\": ");
        put_shape(out, &v->shape);
        buf_printf(out, ", \"dtype\": \"%s\"", dtype_name(v->dtype));
        put_quant(out, &v->quant, 1);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

static enum attr_kind row_kind(const struct node *n, const struct attr *a)
{
    const struct op_attr *spec = n->op ? op_attr_find(n->op, a->name) : NULL;
    return spec && spec->kind != ATTR_NONE ? spec->kind : a->kind;
}

static void put_attr(struct buf *out, const struct node *n, const struct attr *a)
{
    switch (a->kind) {
    case ATTR_NONE: buf_puts(out, "null"); break;
    case ATTR_BOOL:
    case ATTR_INT:
        /* Importers may set 0 or 1 where the row wants a boolean, and the other way round. */
        if (row_kind(n, a) == ATTR_BOOL)
            buf_puts(out, a->i ? "true" : "false");
        else if (row_kind(n, a) == ATTR_FLOAT || row_kind(n, a) == ATTR_FLOATS)
            put_real(out, (double)a->i);
        else
            buf_printf(out, "%" PRId64, a->i);
        break;
    case ATTR_FLOAT: put_real(out, a->f); break;
    case ATTR_STRING: put_string(out, a->s); break;
    case ATTR_INTS:
    case ATTR_FLOATS:
        buf_putc(out, '[');
        for (int i = 0; i < a->count; i++) {
            buf_puts(out, i ? "," : "");
            if (a->kind == ATTR_INTS && row_kind(n, a) != ATTR_FLOATS)
                buf_printf(out, "%" PRId64, a->ints[i]);
            else
                put_real(out, a->kind == ATTR_INTS ? (double)a->ints[i] : a->floats[i]);
        }
        buf_putc(out, ']');
        break;
    }
}

static void put_names(struct buf *out, const char *key, struct value *const *list, int count)
{
    buf_printf(out, ", \"%s\": [", key);
    for (int i = 0; i < count; i++) {
        buf_puts(out, i ? "," : "");
        if (list[i])
            put_string(out, list[i]->name);
        else
            buf_puts(out, "null");
    }
    buf_putc(out, ']');
}

static void put_origin(struct buf *out, const struct node *n)
{
    const struct origin *o = &n->origin;
    bool source = o->source_op && strcmp(o->source_op, n->op_name) != 0;
    bool line =
        o->line >= 0 && o->file; /* a line without a file is one of the JSON that was read */
    if (!source && !o->scope && !o->file && o->byte < 0)
        return;
    const char *comma = "";
    buf_puts(out, ", \"origin\": {");
    const struct {
        const char *key, *text;
    } texts[] = {
        {"source_op", source ? o->source_op : NULL}, {"scope", o->scope}, {"file", o->file}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!texts[i].text || !texts[i].text[0])
            continue;
        buf_printf(out, "%s\"%s\": ", comma, texts[i].key);
        put_string(out, texts[i].text);
        comma = ", ";
    }
    if (line) {
        buf_printf(out, "%s\"line\": %" PRId64, comma, o->line);
        comma = ", ";
    }
    if (o->byte >= 0)
        buf_printf(out, "%s\"byte\": %" PRId64, comma, o->byte);
    buf_putc(out, '}');
}

/* The five lists with an entry per output; a list without content is left out. */
static void put_outputs(struct buf *out, const struct node *n)
{
    bool dtypes = false, scales = false, zeros = false, axes = false;
    buf_puts(out, ", \"output_shapes\": [");
    for (int i = 0; i < n->output_count; i++) {
        const struct value *v = n->outputs[i];
        buf_puts(out, i ? "," : "");
        put_shape(out, &v->shape);
        dtypes |= v->dtype != DT_UNKNOWN;
        scales |= v->quant.count > 0;
        zeros |= has_zero_point(&v->quant);
        axes |= v->quant.count > 1 && v->quant.axis != 1;
    }
    buf_putc(out, ']');
    if (dtypes)
        buf_puts(out, ", \"output_dtypes\": [");
    for (int i = 0; dtypes && i < n->output_count; i++) {
        enum dtype t = n->outputs[i]->dtype;
        buf_printf(out, t == DT_UNKNOWN ? "%snull" : "%s\"%s\"", i ? "," : "", dtype_name(t));
    }
    buf_puts(out, dtypes ? "]" : "");
    if (scales)
        buf_puts(out, ", \"output_scales\": [");
    for (int i = 0; scales && i < n->output_count; i++) {
        buf_puts(out, i ? "," : "");
        if (n->outputs[i]->quant.count)
            put_scale(out, &n->outputs[i]->quant);
        else
            buf_puts(out, "null");
    }
    buf_puts(out, scales ? "]" : "");
    if (zeros)
        buf_puts(out, ", \"output_zero_points\": [");
    for (int i = 0; zeros && i < n->output_count; i++) {
        buf_puts(out, i ? "," : "");
        if (has_zero_point(&n->outputs[i]->quant))
            put_zero_point(out, &n->outputs[i]->quant);
        else
            buf_puts(out, "null");
    }
    buf_puts(out, zeros ? "]" : "");
    if (axes)
        buf_puts(out, ", \"output_axes\": [");
    for (int i = 0; axes && i < n->output_count; i++) {
        const struct quant *q = &n->outputs[i]->quant;
        if (q->count > 1)
            buf_printf(out, "%s%d", i ? "," : "", q->axis);
        else
            buf_puts(out, i ? ",null" : "null");
    }
    buf_puts(out, axes ? "]" : "");
}

/* Batch norms are folded by the checker, which does so again. */
static void put_fold(struct buf *out, const struct node *n)
{
    if (n->fold == FOLD_NONE || n->fold == FOLD_BATCH_NORM)
        return;
    buf_printf(out, ", \"folded\": {\"why\": \"%s\"", fold_name(n->fold));
    if (n->folded_into) {
        buf_puts(out, ", \"into\": ");
        put_string(out, n->folded_into->name);
    }
    buf_putc(out, '}');
}

static void put_node(struct buf *out, const struct node *n)
{
    buf_puts(out, "{\"name\": ");
    put_string(out, n->name);
    buf_puts(out, ", \"op\": ");
    put_string(out, n->op_name);
    put_names(out, "inputs", n->inputs, n->input_count);
    put_names(out, "outputs", n->outputs, n->output_count);
    const char *comma = ", \"attrs\": {";
    for (int i = 0; i < n->attr_count; i++) {
        /* What the row does not list means nothing to anybody, and would be refused on reading. */
        if (n->op && !op_attr_find(n->op, n->attrs[i].name))
            continue;
        buf_puts(out, comma);
        put_string(out, n->attrs[i].name);
        buf_puts(out, ": ");
        put_attr(out, n, &n->attrs[i]);
        comma = ", ";
    }
    buf_puts(out, strcmp(comma, ", ") == 0 ? "}" : "");
    comma = ", \"params\": {";
    for (int i = 0; i < n->param_count; i++) {
        if (!n->params[i].value)
            continue;
        buf_puts(out, comma);
        put_string(out, n->params[i].name);
        buf_puts(out, ": ");
        put_string(out, n->params[i].value->name);
        comma = ", ";
    }
    buf_puts(out, strcmp(comma, ", ") == 0 ? "}" : "");
    put_outputs(out, n);
    put_fold(out, n);
    put_origin(out, n);
    buf_putc(out, '}');
}

size_t export_weights_place(const struct value *v, size_t *end)
{
    size_t at = (*end + EXPORT_WEIGHTS_ALIGN - 1) / EXPORT_WEIGHTS_ALIGN * EXPORT_WEIGHTS_ALIGN;
    *end = at + v->constant->bytes;
    return at;
}

static void put_tensor(struct buf *out, const struct value *v, enum export_data data, size_t *end)
{
    int64_t elements = shape_elements(&v->shape);
    put_string(out, v->name);
    buf_puts(out, ": {\"shape\": ");
    put_shape(out, &v->shape);
    buf_printf(out, ", \"dtype\": \"%s\"", dtype_name(v->dtype));
    put_quant(out, &v->quant, 0);
    if (data == EXPORT_FILE && export_in_weights(v)) {
        size_t at = export_weights_place(v, end);
        buf_printf(out, ", \"file\": \"weights.bin\", \"offset\": %zu, \"bytes\": %zu", at,
                   v->constant->bytes);
    } else if ((v->constant->data || elements == 0) && v->dtype != DT_UNKNOWN &&
               (data != EXPORT_NO_DATA || (elements >= 0 && elements <= SMALL_TENSOR))) {
        buf_puts(out, ", \"data\": \"");
        if (v->constant->data)
            put_base64(out, v->constant->data, v->constant->bytes);
        buf_putc(out, '"');
    }
    buf_putc(out, '}');
}

static bool is_tensor(const struct value *v)
{
    return v->producer ? is_constant_node(v->producer) : v->constant && !v->is_input;
}

bool export_in_weights(const struct value *v)
{
    return v->constant->data && v->constant->bytes > 0 && v->dtype != DT_UNKNOWN;
}

bool export_tensors(const struct graph *g, struct export_tensors *t, struct bpu_error *err)
{
    enum { READ = 1, READ_BY_WRITTEN = 2 };
    unsigned char *readers = ARENA_ARRAY(g->arena, unsigned char, g->value_count, err);
    t->list = readers ? ARENA_ARRAY(g->arena, const struct value *, g->value_count, err) : NULL;
    t->count = 0;
    if (!t->list)
        return false;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        unsigned char how = is_constant_node(n) ? READ : READ | READ_BY_WRITTEN;
        for (int k = 0; k < n->input_count; k++)
            if (n->inputs[k])
                readers[n->inputs[k]->index] |= how;
        for (int k = 0; k < n->param_count; k++)
            if (n->params[k].value)
                readers[n->params[k].value->index] |= how;
    }
    for (int i = 0; i < g->value_count; i++) {
        const struct value *v = g->values[i];
        if (is_tensor(v) && (v->is_output || readers[i] != READ))
            t->list[t->count++] = v;
    }
    return true;
}

static void put_tensors(struct buf *out, const struct export_tensors *t, enum export_data data)
{
    bool more = false;
    size_t end = 0;
    buf_puts(out, t->count ? ",\n \"tensors\": {" : "");
    for (int i = 0; i < t->count; i++) {
        put_separator(out, &more);
        put_tensor(out, t->list[i], data, &end);
    }
    buf_puts(out, t->count ? "}" : "");
}

bool export_graph_json(const struct graph *g, struct buf *out, bool with_data,
                       struct bpu_error *err)
{
    return export_graph_text(g, out, with_data ? EXPORT_BASE64 : EXPORT_NO_DATA, err);
}

bool export_graph_text(const struct graph *g, struct buf *out, enum export_data data,
                       struct bpu_error *err)
{
    struct export_tensors tensors;
    bool more = false;
    if (!export_tensors(g, &tensors, err))
        return false;
    buf_puts(out, "{\"format\": \"bpuhub.graph/1\"");
    if (g->name && g->name[0]) {
        buf_puts(out, ", \"name\": ");
        put_string(out, g->name);
    }
    if (g->producer && g->producer[0]) {
        buf_puts(out, ", \"producer\": ");
        put_string(out, g->producer);
    }
    if (g->opset)
        buf_printf(out, ", \"opset\": %" PRId64, g->opset);
    put_inputs(out, g);
    buf_puts(out, ",\n \"nodes\": [");
    for (int i = 0; i < g->node_count; i++) {
        if (is_constant_node(g->nodes[i]))
            continue;
        put_separator(out, &more);
        put_node(out, g->nodes[i]);
    }
    buf_puts(out, "]");
    put_names(out, "outputs", g->outputs, g->output_count);
    put_tensors(out, &tensors, data);
    for (int i = 0; i < g->note_count; i++) {
        buf_puts(out, i ? ", " : ",\n \"notes\": [");
        put_string(out, g->notes[i]);
    }
    buf_puts(out, g->note_count ? "]}\n" : "}\n");
    return buf_ok(out, err);
}
