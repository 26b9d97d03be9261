/* The report bpuhub.check/1, as the contract has it. */
#include <string.h>

#include "core/check/check.h"
#include "core/check/json_write.h"
#include "core/check/rules.h"
#include "core/ops/op.h"

static void write_shape(struct json_writer *w, const struct shape *s)
{
    if (s->rank < 0) {
        writer_null(w, "shape");
        return;
    }
    writer_open(w, "shape", '[');
    for (int i = 0; i < s->rank; i++) {
        if (s->dim[i] < 0)
            writer_null(w, NULL);
        else
            writer_int(w, NULL, s->dim[i]);
    }
    writer_close(w, ']');
}

/* A number, one number per channel, or null. */
static void write_scale(struct json_writer *w, const struct quant *q)
{
    if (q->count < 1 || !q->scale) {
        writer_null(w, "scale");
    } else if (q->count == 1) {
        writer_real(w, "scale", q->scale[0]);
    } else {
        writer_open(w, "scale", '[');
        for (int i = 0; i < q->count; i++)
            writer_real(w, NULL, q->scale[i]);
        writer_close(w, ']');
    }
}

static void write_value(struct json_writer *w, const struct check_result *r, const struct value *v)
{
    if (!v) { /* an operand that is left out */
        writer_null(w, NULL);
        return;
    }
    const struct judged *judged = &r->values[v->index];
    writer_open(w, NULL, '{');
    writer_text(w, "name", v->name);
    write_shape(w, &v->shape);
    writer_text(w, "dtype", dtype_name(judged->dtype));
    if (judged->assumed)
        writer_flag(w, "assumed", true);
    write_scale(w, &v->quant);
    if (v->constant)
        writer_flag(w, "constant", true);
    writer_close(w, '}');
}

static void write_where(struct json_writer *w, const struct origin *o)
{
    writer_open(w, "where", '{');
    writer_text(w, "scope", o->scope);
    writer_text(w, "file", o->file);
    if (o->line > 0)
        writer_int(w, "line", o->line);
    else
        writer_null(w, "line");
    if (o->byte >= 0)
        writer_int(w, "byte", o->byte);
    else
        writer_null(w, "byte");
    writer_close(w, '}');
}

static void write_finding(struct json_writer *w, const struct finding *f)
{
    const struct node *n = f->node;
    buf_putc(w->out, '\n');
    writer_open(w, NULL, '{');
    writer_text(w, "rule", f->rule);
    writer_text(w, "severity", severity_name(f->severity));
    writer_text(w, "node", n ? n->name : NULL);
    writer_text(w, "op", n ? n->op_name : NULL);
    writer_text(w, "source_op", n ? n->origin.source_op : NULL);
    writer_text(w, "message", f->message);
    writer_raw(w, "actual", f->actual);
    writer_text(w, "limit", f->limit);
    writer_text(w, "hint", f->hint);
    if (f->rewrite)
        rewrite_json(w, f->rewrite);
    writer_text(w, "eager_replacement", f->eager_replacement);
    writer_text(w, "cause", f->induced ? "induced" : "direct");
    writer_text(w, "table", f->table);
    writer_text(w, "row", f->row);
    if (n)
        write_where(w, &n->origin);
    writer_close(w, '}');
}

static void write_node(struct json_writer *w, const struct check_result *r, const struct node *n)
{
    static const char *const verdicts[] = {"legal", "illegal", "folded"};
    buf_putc(w->out, '\n');
    writer_open(w, NULL, '{');
    writer_text(w, "name", n->name);
    writer_text(w, "op", n->op_name);
    writer_text(w, "source_op", n->origin.source_op);
    writer_text(w, "verdict", verdicts[r->verdicts[n->index]]);
    if (n->op)
        writer_text(w, "class", op_class_name(n->op->class));
    if (r->induced[n->index])
        writer_flag(w, "induced", true);
    if (n->fold != FOLD_NONE)
        writer_text(w, "fold_reason", fold_text(n->fold));
    if (n->folded_into)
        writer_text(w, "folded_into", n->folded_into->name);
    if (r->fused_into[n->index])
        writer_text(w, "fused_into", r->fused_into[n->index]->name);
    writer_open(w, "inputs", '[');
    for (int i = 0; i < n->input_count; i++)
        write_value(w, r, n->inputs[i]);
    writer_close(w, ']');
    writer_open(w, "outputs", '[');
    for (int i = 0; i < n->output_count; i++)
        write_value(w, r, n->outputs[i]);
    writer_close(w, ']');
    write_where(w, &n->origin);
    writer_close(w, '}');
}

static void write_head(struct json_writer *w, const struct check_result *r,
                       const struct report_head *h)
{
    writer_head(w, "bpuhub.check/1", h->model_id, h->model_name, h->model_format);
    writer_text(w, "march", march_name(r->march));
    writer_text(w, "verdict", r->legal ? "legal" : "illegal");
    writer_open(w, "summary", '{');
    writer_int(w, "nodes", r->graph->node_count);
    writer_int(w, "legal", r->legal_count);
    writer_int(w, "illegal", r->illegal_count);
    writer_int(w, "folded", r->folded_count);
    writer_int(w, "errors", r->error_count);
    writer_int(w, "warnings", r->warning_count);
    writer_int(w, "advice", r->advice_count);
    writer_close(w, '}');
}

static void write_figure(struct json_writer *w, const char *key, double v, const char *reason)
{
    if (reason)
        writer_missing(w, key, reason);
    else
        writer_real(w, key, v);
}

static void write_placement(struct json_writer *w, const struct split *s)
{
    writer_open(w, "placement", '{');
    writer_int(w, "bpu_segments", s->bpu_segments);
    writer_int(w, "cpu_segments", s->cpu_segments);
    writer_int(w, "bpu_nodes", s->bpu_nodes);
    writer_int(w, "cpu_nodes", s->cpu_nodes);
    writer_int(w, "onnx_cpu_nodes", s->onnx_cpu_nodes);
    write_figure(w, "crossing_bytes", s->crossing_bytes, s->crossing_bytes < 0 ? s->reason : NULL);
    write_figure(w, "crossing_us", s->crossing_us, s->reason);
    writer_close(w, '}');
}

void report_findings_json(struct json_writer *w, const struct check_result *r)
{
    writer_open(w, "findings", '[');
    for (int i = 0; i < r->finding_count; i++)
        write_finding(w, &r->findings[i]);
    writer_close(w, ']');
}

bool report_check_json(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err)
{
    const struct graph *g = r->graph;
    struct json_writer w = {.out = out};
    writer_open(&w, NULL, '{');
    write_head(&w, r, h);
    writer_open(&w, "dtypes", '{');
    writer_flag(&w, "assumed", r->assumed_dtypes);
    writer_text(&w, "judged_as",
                r->assumed_dtypes ? "as if quantized with the default of the march"
                                  : "as the file states them");
    writer_close(&w, '}');
    write_placement(&w, &r->split);
    writer_open(&w, "notes", '[');
    for (int i = 0; i < r->note_count; i++)
        writer_text(&w, NULL, r->notes[i]);
    for (int i = 0; i < g->note_count; i++)
        writer_text(&w, NULL, g->notes[i]);
    writer_close(&w, ']');
    report_findings_json(&w, r);
    writer_open(&w, "nodes", '[');
    for (int i = 0; i < g->node_count; i++)
        write_node(&w, r, g->nodes[i]);
    writer_close(&w, ']');
    writer_close(&w, '}');
    buf_putc(out, '\n');
    return buf_ok(out, err);
}
