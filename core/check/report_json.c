/* The report bpuhub.check/1, as the contract has it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/base/version.h"
#include "core/check/check.h"
#include "core/ops/op.h"


/* A tree is built without checks; if any part could not be allocated the whole is refused. */
struct tree {
    const struct check_result *r;
    bool ok;
};

static void put(struct tree *t, json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        t->ok = false;
}

static void append(struct tree *t, json_t *array, json_t *value)
{
    if (!value || json_array_append_new(array, value) != 0)
        t->ok = false;
}

/* Names come from the user's file: what is not UTF-8 is replaced, byte by byte. */
static json_t *text(const char *s)
{
    if (!s)
        return json_null();
    json_t *j = json_string(s);
    if (j)
        return j;
    size_t n = strlen(s);
    char *clean = malloc(n + 1);
    if (!clean)
        return NULL;
    for (size_t i = 0; i <= n; i++)
        clean[i] = (unsigned char)s[i] < 0x80 ? s[i] : '?';
    j = json_string(clean);
    free(clean);
    return j;
}

static json_t *shape_json(struct tree *t, const struct shape *s)
{
    if (s->rank < 0)
        return json_null();
    json_t *a = json_array();
    for (int i = 0; a && i < s->rank; i++)
        append(t, a, s->dim[i] < 0 ? json_null() : json_integer(s->dim[i]));
    return a;
}

static json_t *scale_json(struct tree *t, const struct quant *q)
{
    if (q->count < 1 || !q->scale)
        return json_null();
    if (q->count == 1)
        return isfinite(q->scale[0]) ? json_real(q->scale[0]) : json_null();
    json_t *a = json_array();
    for (int i = 0; a && i < q->count; i++)
        append(t, a, isfinite(q->scale[i]) ? json_real(q->scale[i]) : json_null());
    return a;
}

static json_t *value_json(struct tree *t, const struct value *v)
{
    if (!v)
        return json_null(); /* an operand that is left out */
    json_t *j = json_object();
    const struct judged *judged = &t->r->values[v->index];
    put(t, j, "name", text(v->name));
    put(t, j, "shape", shape_json(t, &v->shape));
    put(t, j, "dtype", text(dtype_name(judged->dtype)));
    if (judged->assumed)
        put(t, j, "assumed", json_true());
    put(t, j, "scale", scale_json(t, &v->quant));
    if (v->constant)
        put(t, j, "constant", json_true());
    return j;
}

static json_t *where_json(struct tree *t, const struct node *n)
{
    const struct origin *o = &n->origin;
    json_t *j = json_object();
    put(t, j, "scope", text(o->scope));
    put(t, j, "file", text(o->file));
    put(t, j, "line", o->line > 0 ? json_integer(o->line) : json_null());
    put(t, j, "byte", o->byte >= 0 ? json_integer(o->byte) : json_null());
    return j;
}

static json_t *finding_json(struct tree *t, const struct finding *f)
{
    json_t *j = json_object(), *actual = json_loads(f->actual, JSON_DECODE_ANY, NULL);
    put(t, j, "rule", text(f->rule));
    put(t, j, "severity", text(severity_name(f->severity)));
    put(t, j, "node", f->node ? text(f->node->name) : json_null());
    put(t, j, "op", f->node ? text(f->node->op_name) : json_null());
    put(t, j, "source_op", f->node ? text(f->node->origin.source_op) : json_null());
    put(t, j, "message", text(f->message));
    put(t, j, "actual", actual ? actual : text(f->actual));
    put(t, j, "limit", text(f->limit));
    put(t, j, "hint", text(f->hint));
    put(t, j, "eager_replacement", text(f->eager_replacement));
    put(t, j, "cause", text(f->induced ? "induced" : "direct"));
    put(t, j, "table", text(f->table));
    put(t, j, "row", text(f->row));
    if (f->node)
        put(t, j, "where", where_json(t, f->node));
    return j;
}

static const char *verdict_name(enum node_verdict v)
{
    static const char *const names[] = {"legal", "illegal", "folded"};
    return names[v];
}

static json_t *node_json(struct tree *t, const struct node *n)
{
    json_t *j = json_object(), *inputs = json_array(), *outputs = json_array();
    put(t, j, "name", text(n->name));
    put(t, j, "op", text(n->op_name));
    put(t, j, "source_op", text(n->origin.source_op));
    put(t, j, "verdict", text(verdict_name(t->r->verdicts[n->index])));
    if (n->op)
        put(t, j, "class", text(op_class_name(n->op->class)));
    if (t->r->induced[n->index])
        put(t, j, "induced", json_true());
    if (n->fold != FOLD_NONE)
        put(t, j, "fold_reason", text(fold_text(n->fold)));
    if (n->folded_into)
        put(t, j, "folded_into", text(n->folded_into->name));
    for (int i = 0; inputs && i < n->input_count; i++)
        append(t, inputs, value_json(t, n->inputs[i]));
    for (int i = 0; outputs && i < n->output_count; i++)
        append(t, outputs, value_json(t, n->outputs[i]));
    put(t, j, "inputs", inputs);
    put(t, j, "outputs", outputs);
    put(t, j, "where", where_json(t, n));
    return j;
}

static json_t *summary_json(struct tree *t)
{
    const struct check_result *r = t->r;
    json_t *j = json_object();
    put(t, j, "nodes", json_integer(r->graph->node_count));
    put(t, j, "legal", json_integer(r->legal_count));
    put(t, j, "illegal", json_integer(r->illegal_count));
    put(t, j, "folded", json_integer(r->folded_count));
    put(t, j, "errors", json_integer(r->error_count));
    put(t, j, "warnings", json_integer(r->warning_count));
    put(t, j, "advice", json_integer(r->advice_count));
    return j;
}

static json_t *strings_json(struct tree *t, const char *const *list, int count)
{
    json_t *a = json_array();
    for (int i = 0; a && i < count; i++)
        append(t, a, text(list[i]));
    return a;
}

static json_t *report_tree(struct tree *t, const struct report_head *h)
{
    const struct check_result *r = t->r;
    const struct graph *g = r->graph;
    json_t *j = json_object(), *part = json_object();
    put(t, j, "schema", text("bpuhub.check/1"));
    put(t, part, "name", text(BPU_NAME));
    put(t, part, "version", text(BPU_VERSION));
    put(t, j, "tool", part);
    part = json_object();
    put(t, part, "id", text(h->model_id));
    put(t, part, "name", text(h->model_name));
    put(t, part, "format", text(h->model_format));
    put(t, j, "model", part);
    put(t, j, "march", text(march_name(r->march)));
    put(t, j, "verdict", text(r->legal ? "legal" : "illegal"));
    put(t, j, "summary", summary_json(t));
    part = json_object();
    put(t, part, "assumed", json_boolean(r->assumed_dtypes));
    put(t, part, "judged_as",
        text(r->assumed_dtypes ? "as if quantized with the default of the march"
                               : "as the file states them"));
    put(t, j, "dtypes", part);
    json_t *notes = strings_json(t, r->notes, r->note_count);
    for (int i = 0; notes && i < g->note_count; i++)
        append(t, notes, text(g->notes[i]));
    put(t, j, "notes", notes);
    json_t *findings = json_array(), *nodes = json_array();
    for (int i = 0; findings && i < r->finding_count; i++)
        append(t, findings, finding_json(t, &r->findings[i]));
    for (int i = 0; nodes && i < g->node_count; i++)
        append(t, nodes, node_json(t, g->nodes[i]));
    put(t, j, "findings", findings);
    put(t, j, "nodes", nodes);
    return j;
}

static int to_buf(const char *data, size_t size, void *p)
{
    struct buf *out = p;
    buf_add(out, data, size);
    return out->failed ? -1 : 0;
}

bool report_check_json(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err)
{
    struct tree t = {.r = r, .ok = true};
    json_t *j = report_tree(&t, h);
    bool ok = j && t.ok &&
              json_dump_callback(j, to_buf, out, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) == 0;
    json_decref(j);
    if (!ok && !out->failed)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory for the report");
    buf_putc(out, '\n');
    return buf_ok(out, err);
}
