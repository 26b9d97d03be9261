/* kinds perf and pipeline: one way through import, check, compiler and estimator; they differ in how much of it
 * becomes files.
 *
 *   perf       the measurement, its pictures and the program; of a compiled program too
 *   pipeline   and what check and compile had to say; an illegal model ends with findings and drawing */
#include <stdio.h>

#include "core/draw/draw.h"
#include "core/draw/program_svg.h"
#include "core/job/kind.h"
#include "core/job/report_compile.h"
#include "core/job/report_perf.h"
#include "core/job/report_perf_html.h"

#define DRAWN_NODES 2000 /* a larger graph is not drawn by the way: its drawing is a job of its own */

static struct buf *json_new(const struct job_work *w, const char *name)
{
    return job_artifact_new(w, name, "application/json");
}

static bool write_check(const struct job_work *w, const struct perf_model *m, const char *name)
{
    const struct job_request *q = w->req;
    const struct report_head head = {q->model_id, q->model_name, m->c.graph->format};
    struct buf *out = json_new(w, name);
    return out && report_check_json(m->c.check, &head, out, w->err);
}

static bool write_drawing(const struct job_work *w, const struct perf_model *m)
{
    if (m->from_program || m->c.graph->node_count > DRAWN_NODES)
        return true;
    struct buf *out = job_artifact_new(w, "graph.svg", "image/svg+xml");
    if (!out)
        return false;
    return m->legal ? report_perf_heat(m, out, w->err) : draw_svg(m->c.graph, m->c.check, out, w->err);
}

static bool write_program(const struct job_work *w, struct perf_model *m)
{
    if (m->from_program)
        return true;
    struct buf *out = job_artifact_new(w, "model.bpu", "application/octet-stream");
    if (!out)
        return false;
    buf_fini(out);
    *out = m->c.file;
    buf_init(&m->c.file, 0);
    return true;
}

static bool write_results(const struct job_work *w, struct perf_model *m)
{
    struct buf *out = json_new(w, "report.json");
    if (!out || !report_perf_json(m, out, w->err))
        return false;
    if (!(out = job_artifact_new(w, "report.html", "text/html")) ||
        !report_perf_html(m, out, w->err))
        return false;
    if (!(out = job_artifact_new(w, "schedule.svg", "image/svg+xml")) ||
        !draw_schedule_svg(m->perf.program, m->perf.machine, m->perf.timing, out, w->err))
        return false;
    if (!(out = job_artifact_new(w, "memory.svg", "image/svg+xml")) ||
        !draw_plan_svg(m->perf.program, m->perf.machine, out, w->err))
        return false;
    return write_program(w, m) && write_drawing(w, m) && kind_gates(w, &m->c.gates);
}

/* ── model.json of a program, which is no graph ── */

static void write_ports(struct json_writer *j, const char *key, const struct program_io *list,
                        int count)
{
    writer_open(j, key, '[');
    for (int i = 0; i < count; i++) {
        writer_open(j, NULL, '{');
        writer_text(j, "name", list[i].name);
        writer_open(j, "shape", '[');
        for (int k = 0; k < list[i].shape.rank; k++)
            writer_int(j, NULL, list[i].shape.dim[k]);
        writer_close(j, ']');
        writer_text(j, "dtype", dtype_name(list[i].host_dtype));
        writer_close(j, '}');
    }
    writer_close(j, ']');
}

static bool describe_program(const struct job_work *w, const struct program *p)
{
    struct buf *out = json_new(w, "model.json");
    struct json_writer j = {.out = out};
    if (!out)
        return false;
    writer_open(&j, NULL, '{');
    writer_text(&j, "format", "program");
    writer_text(&j, "name", p->name);
    writer_text(&j, "producer", p->tool);
    writer_text(&j, "march", p->march);
    write_ports(&j, "inputs", p->inputs, p->input_count);
    write_ports(&j, "outputs", p->outputs, p->output_count);
    writer_int(&j, "nodes", p->source_count);
    writer_missing(&j, "parameters", "a compiled program has packed weights, padded to its blocks");
    writer_close(&j, '}');
    return buf_ok(out, w->err);
}

/* ── the kinds ── */

static struct perf_model *measure(struct job_work *w, enum gate_scope gates)
{
    const struct job_request *req = w->req;
    struct perf_model *m = ARENA_NEW(w->arena, struct perf_model, w->err);
    struct feed_source *source = m ? ARENA_NEW(w->arena, struct feed_source, w->err) : NULL;
    bool found;
    if (!source || !kind_file(w, "calibration", source, &found))
        return NULL;
    m->c = (struct compilation){.arena = w->arena,
                                .model = w->model,
                                .model_size = w->model_size,
                                .model_name = req->model_name,
                                .model_id = req->model_id,
                                .march = req->march,
                                .options = req->options,
                                .option_count = req->option_count,
                                .gates_of = gates,
                                .sources = source,
                                .source_count = found,
                                .progress = w->progress,
                                .progress_ctx = w->progress_ctx};
    if (!perf_model_run(m, w->err))
        return NULL;
    w->graph = m->c.graph;
    snprintf(w->out->verdict, sizeof w->out->verdict, "%s", m->legal ? "legal" : "illegal");
    job_stage(w, "report", .95);
    return m;
}

bool kind_perf(struct job_work *w)
{
    struct perf_model *m = measure(w, GATES_OF_PROGRAM);
    if (!m)
        return false;
    if (!m->legal)
        return write_check(w, m, "report.json") && kind_gates(w, &m->c.gates);
    return write_results(w, m) && (!m->from_program || describe_program(w, m->perf.program));
}

bool kind_pipeline(struct job_work *w)
{
    if (program_is(w->model, w->model_size)) {
        error_set(w->err, BPU_NOT_A_MODEL, NULL,
                  "the file is a compiled program, and a pipeline begins with the check of a model");
        return error_hint(w->err, "Jobs of kind perf take programs.");
    }
    struct perf_model *m = measure(w, GATES_OF_PIPELINE);
    if (!m)
        return false;
    if (!m->legal)
        return write_check(w, m, "report.json") && write_drawing(w, m) &&
               kind_gates(w, &m->c.gates);
    struct buf *out;
    return write_check(w, m, "check.json") && (out = json_new(w, "compile.json")) != NULL &&
           report_compile_json(&m->c, out, w->err) && write_results(w, m);
}
