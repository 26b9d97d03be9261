/* kind compile: the files of the job to sources, the result to artifacts. */
#include <stdio.h>

#include "core/draw/program_svg.h"
#include "core/job/kind.h"
#include "core/job/report_compile.h"

#define DRAWN_NODES 2000 /* a larger graph is not drawn by the way: its drawing is a job of its own */

static bool write_illegal(const struct job_work *w, const struct compilation *c)
{
    const struct job_request *q = w->req;
    const struct report_head head = {q->model_id, q->model_name, c->graph->format};
    struct buf *out = job_artifact_new(w, "report.json", "application/json");
    return out && report_check_json(c->check, &head, out, w->err);
}

static bool write_program(const struct job_work *w, struct compilation *c)
{
    struct buf *out = job_artifact_new(w, "model.bpu", "application/octet-stream");
    if (!out)
        return false;
    buf_fini(out);
    *out = c->file;
    buf_init(&c->file, 0);
    return true;
}

static bool write_pictures(const struct job_work *w, const struct compilation *c)
{
    struct buf *out = job_artifact_new(w, "memory.svg", "image/svg+xml");
    if (!out || !draw_plan_svg(c->program, c->machine, out, w->err))
        return false;
    if (!(out = job_artifact_new(w, "schedule.svg", "image/svg+xml")) ||
        !draw_schedule_svg(c->program, c->machine, &c->timing, out, w->err))
        return false;
    return c->fixed->node_count > DRAWN_NODES ||
           ((out = job_artifact_new(w, "graph.svg", "image/svg+xml")) != NULL &&
            report_compile_heat(c, out, w->err));
}

static bool write_reports(const struct job_work *w, const struct compilation *c)
{
    struct buf *out = job_artifact_new(w, "report.json", "application/json");
    if (!out || !report_compile_json(c, out, w->err))
        return false;
    out = job_artifact_new(w, "report.html", "text/html");
    return out && report_compile_html(c, out, w->err);
}

bool kind_gates(const struct job_work *w, const struct gates *g)
{
    struct buf *out = g->count ? job_artifact_new(w, "gates.json", "application/json") : NULL;
    return !g->count || (out && gates_document(g, out, w->err));
}

bool kind_compile(struct job_work *w)
{
    const struct job_request *req = w->req;
    struct feed_source source;
    bool found;
    if (!kind_file(w, "calibration", &source, &found))
        return false;
    struct compilation *c = ARENA_NEW(w->arena, struct compilation, w->err);
    if (!c)
        return false;
    *c = (struct compilation){.arena = w->arena,
                              .model = w->model,
                              .model_size = w->model_size,
                              .model_name = req->model_name,
                              .model_id = req->model_id,
                              .march = req->march,
                              .options = req->options,
                              .option_count = req->option_count,
                              .sources = &source,
                              .source_count = found,
                              .progress = w->progress,
                              .progress_ctx = w->progress_ctx};
    if (!compile_run(c, w->err))
        return false;
    w->graph = c->graph;
    snprintf(w->out->verdict, sizeof w->out->verdict, "%s", c->check->legal ? "legal" : "illegal");
    job_stage(w, "report", .95);
    if (!c->check->legal)
        return write_illegal(w, c) && kind_gates(w, &c->gates);
    return write_program(w, c) && write_reports(w, c) && write_pictures(w, c) &&
           kind_gates(w, &c->gates);
}
