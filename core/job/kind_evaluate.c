/* kind evaluate: a float network is quantized on the way (calibration, qconfig), one with scales or in
 * fixed point is taken as it is; then both run over the data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/job/frames.h"
#include "core/job/kind.h"
#include "core/job/load.h"
#include "core/job/quantize.h"
#include "core/job/report_evaluate_html.h"
#include "core/march/march.h"
#include "core/quant/evaluate.h"

/* Where each part lies on the way of a job, for the bar. */
static const struct {
    const char *name;
    double from, to;
} stages[] = {
    {"evaluate", .3, .55}, {"layers", .55, .7}, {"suggest", .7, .95},
};

struct evaluation {
    struct job_work *w;
    struct quantization q;
    struct feed_source calibration, data, labels;
    bool has_calibration, has_data, has_labels;
    struct evaluate_request request;
};

static void quantizing(void *ctx, const char *stage, double done)
{
    const struct evaluation *e = ctx;
    job_stage(e->w, stage, done * .3);
}

static void evaluating(void *ctx, const char *stage, double done)
{
    const struct evaluation *e = ctx;
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
        if (strcmp(stages[i].name, stage) == 0)
            job_stage(e->w, stage, stages[i].from + done * (stages[i].to - stages[i].from));
}

bool evaluate_option(const char *key)
{
    return strcmp(key, "data") == 0 || strcmp(key, "labels") == 0 || strcmp(key, "output") == 0 ||
           strcmp(key, "layer.frames") == 0 || strcmp(key, "suggest") == 0 ||
           strcmp(key, "seconds") == 0 || frames_option("data", key);
}

/* ── what is given ── */

static const char *option(const struct evaluation *e, const char *key)
{
    return job_option_find(e->w->req->options, e->w->req->option_count, key);
}

static bool options_read(struct evaluation *e)
{
    struct evaluate_options *o = &e->request.options;
    char *end;
    const char *seconds = option(e, "seconds");
    const char *frames = option(e, "layer.frames"), *suggest = option(e, "suggest");
    *o = evaluate_defaults();
    o->output = option(e, "output");
    if (frames && !frames_count("layer.frames", frames, &o->layer_frames, e->w->err))
        return false;
    if (seconds) {
        o->seconds = strtod(seconds, &end);
        if (end == seconds || *end || !(o->seconds >= 0 && o->seconds <= 1e6))
            return error_set(e->w->err, BPU_BAD_OPTION, "seconds",
                             "\"%.80s\" is not a number of seconds", seconds);
    }
    if (!suggest)
        return true;
    long layers = strtol(suggest, &end, 10);
    if (end == suggest || *end || layers < 0 || layers > 1000)
        return error_set(e->w->err, BPU_BAD_OPTION, "suggest",
                         "\"%.80s\" is not a number of layers from 0 to 1000", suggest);
    o->suggest = (int)layers;
    return true;
}

static bool files_read(struct evaluation *e)
{
    struct job_work *w = e->w;
    if (!kind_file(w, "calibration", &e->calibration, &e->has_calibration) ||
        !kind_file(w, "data", &e->data, &e->has_data) ||
        !kind_file(w, "labels", &e->labels, &e->has_labels))
        return false;
    if (!e->has_data) {
        error_set(w->err, BPU_BAD_OPTION, "data", "there is nothing to evaluate on");
        return error_hint(w->err, "Upload frames with POST /v1/data and give the id as the option "
                                  "data; ID:NAME picks one array of an .npz.");
    }
    if (!e->has_labels)
        return true;
    const struct array *x = array_find(&e->labels.arrays, e->labels.key, w->err);
    if (!x || !evaluate_labels_read(w->arena, x, "labels", &e->request.labels, w->err))
        return false;
    e->request.labels.more = option(e, "data.frames") != NULL;
    return true;
}

/* ── networks ── */

/* Sets graph, fused and fixed of the request. */
static bool networks_make(struct evaluation *e)
{
    struct quantization *q = &e->q;
    struct evaluate_request *r = &e->request;
    struct fuse_report unused = {0};
    struct bpu_error no = {0};
    /* Shapes that are open may come from either file. */
    q->sources = e->has_calibration ? &e->calibration : &e->data;
    q->source_count = 1;
    if (!quantize_load(q, e->w->err))
        return false;
    q->source_count = e->has_calibration;
    e->w->graph = q->graph;
    if (quant_has_scales(q->graph) && quant_verify(q->graph, &no)) {
        r->fixed = q->graph;
        return true;
    }
    r->graph = q->graph;
    if (!e->has_calibration) {
        const struct graph *fused = quant_fuse(q->arena, q->graph, &unused, e->w->err);
        if (!fused)
            return false;
        if (!quant_has_scales(fused))
            return true; /* only the float network, which needs no scales */
    }
    if (!quantize_run(q, e->w->err))
        return false;
    r->fused = q->fused;
    r->fixed = q->fixed;
    r->calibration = q->calibration.items ? &q->calibration : NULL;
    r->calibration_data = q->data;
    r->qconfig = q->qconfig;
    r->qconfig_size = q->qconfig_size;
    return true;
}

static bool write_results(struct evaluation *e, const struct evaluate_result *result)
{
    struct job_work *w = e->w;
    struct buf *out = job_artifact_new(w, "report.json", "application/json");
    if (!out || !evaluate_json(result, out, w->err))
        return false;
    struct buf *page = job_artifact_new(w, "report.html", "text/html");
    return page && report_evaluate_html(buf_str(out), out->size, page, w->err);
}

bool kind_evaluate(struct job_work *w)
{
    const struct job_request *req = w->req;
    struct gates none;
    if (!gates_read(req->options, req->option_count, GATES_OF_NOTHING, &none, w->err))
        return false;
    struct evaluation *e = ARENA_NEW(w->arena, struct evaluation, w->err);
    if (!e)
        return false;
    e->w = w;
    e->q = (struct quantization){.arena = w->arena,
                                 .model = w->model,
                                 .model_size = w->model_size,
                                 .model_name = req->model_name,
                                 .model_id = req->model_id,
                                 .march = req->march,
                                 .options = req->options,
                                 .option_count = req->option_count,
                                 .uncompared = true,
                                 .progress = quantizing,
                                 .progress_ctx = e};
    struct evaluate_request *r = &e->request;
    if (!options_read(e) || !files_read(e) || !networks_make(e) ||
        !frames_open(w->arena, e->q.graph, &e->data, 1, req->options, req->option_count, "data",
                     "calibration", &r->data, w->err))
        return false;
    r->march = e->q.target;
    r->march_text = march_name(e->q.target);
    r->model_id = req->model_id;
    r->model_name = req->model_name;
    r->model_format = e->q.graph->format;
    const struct evaluate_result *result = evaluate_run(w->arena, r, evaluating, e, w->err);
    if (!result)
        return false;
    job_stage(w, "report", .95);
    return write_results(e, result);
}
