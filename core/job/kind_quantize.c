/* kind quantize: the files of the job to sources, the result to artifacts. */
#include <string.h>

#include "core/check/json_write.h"
#include "core/draw/draw.h"
#include "core/export/export.h"
#include "core/job/frames.h"
#include "core/job/kind.h"
#include "core/job/quantize.h"
#include "core/job/report_quantize_html.h"

#define DRAWN_NODES 2000 /* a larger graph is not drawn by the way: its drawing is a job of its own */

/* ── files ── */

static bool describe_arrays(const struct array_file *f, struct buf *out, struct bpu_error *err)
{
    struct json_writer w = {.out = out};
    writer_open(&w, NULL, '{');
    writer_open(&w, "arrays", '[');
    for (size_t i = 0; i < f->count; i++) {
        const struct array *x = &f->items[i];
        writer_open(&w, NULL, '{');
        writer_text(&w, "name", x->name);
        writer_open(&w, "shape", '[');
        for (int k = 0; k < x->shape.rank; k++)
            writer_int(&w, NULL, x->shape.dim[k]);
        writer_close(&w, ']');
        writer_text(&w, "dtype", dtype_name(x->dtype));
        writer_close(&w, '}');
    }
    writer_close(&w, ']');
    writer_close(&w, '}');
    return buf_ok(out, err);
}

static const struct job_file *file_find(const struct job_request *q, const char *option)
{
    for (size_t i = 0; i < q->file_count; i++)
        if (strcmp(q->files[i].option, option) == 0)
            return &q->files[i];
    return NULL;
}

bool kind_file(struct job_work *w, const char *option, struct feed_source *out, bool *found)
{
    const struct job_request *q = w->req;
    const char *value = job_option_find(q->options, q->option_count, option), *key = NULL;
    const struct job_file *f = file_find(q, option);
    char sha256[65];
    *out = (struct feed_source){.what = option};
    *found = value != NULL;
    if (!value)
        return true;
    if (!job_file_value(value, sha256, &key) || !f)
        return error_set(w->err, BPU_BAD_OPTION, option, "%s names no file", option);
    out->key = key;
    struct bpu_error read = {0};
    if (!array_file_read(w->arena, f->data, f->size, &out->arrays, &read)) {
        *w->err = read;
        w->err->where[0] = '\0';
        return error_where(w->err, "%s%s%.150s", option, read.where[0] ? ", " : "", read.where);
    }
    const char *name = arena_printf(w->arena, w->err, "%.20s.data.json", option);
    struct buf *text = name ? job_artifact_new(w, name, "application/json") : NULL;
    return text && describe_arrays(&out->arrays, text, w->err);
}

/* ── results ── */

static bool write_results(const struct job_work *w, const struct quantization *q)
{
    const struct quant_result r = quantize_result(q);
    struct buf *out = job_artifact_new(w, "report.json", "application/json");
    if (!out || !report_quantize_json(&r, out, w->err))
        return false;
    if (!(out = job_artifact_new(w, "fixed.bpug", "application/zip")) ||
        !export_bpug(q->fixed, out, w->err))
        return false;
    if (!(out = job_artifact_new(w, "report.html", "text/html")) ||
        !report_quantize_html(&r, out, w->err))
        return false;
    return q->fixed->node_count > DRAWN_NODES ||
           ((out = job_artifact_new(w, "graph.svg", "image/svg+xml")) != NULL &&
            draw_svg(q->fixed, NULL, out, w->err));
}

bool kind_quantize(struct job_work *w)
{
    const struct job_request *req = w->req;
    struct feed_source source;
    struct gates none;
    bool found;
    if (!gates_read(req->options, req->option_count, GATES_OF_NOTHING, &none, w->err) ||
        !kind_file(w, "calibration", &source, &found))
        return false;
    struct quantization *q = ARENA_NEW(w->arena, struct quantization, w->err);
    if (!q)
        return false;
    *q = (struct quantization){.arena = w->arena,
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
    if (!quantize_run(q, w->err))
        return false;
    w->graph = q->graph;
    job_stage(w, "report", .95);
    return write_results(w, q);
}
