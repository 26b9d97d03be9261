/* The passes themselves are in core/quant; here is their order, and what the user may say about it. */
#include "core/job/quantize.h"

#include <stdio.h>
#include <string.h>

#include "core/job/frames.h"
#include "core/job/load.h"
#include "core/march/march.h"

#define DEFAULT_COMPARED 32

/* Where each stage lies on the way of a job, for the bar. */
static const struct {
    const char *name;
    double from, to;
} stages[] = {
    {"import", 0, .03},
    {"fuse", .03, .05},
    {"calibrate", .05, .5},
    {"compare observers", .5, .65},
    {"convert", .65, .68},
    {"compare", .68, .95},
};

static void stage(void *ctx, const char *name, double done)
{
    const struct quantization *q = ctx;
    for (size_t i = 0; q->progress && i < sizeof stages / sizeof stages[0]; i++)
        if (strcmp(stages[i].name, name) == 0)
            q->progress(q->progress_ctx, name,
                        stages[i].from + done * (stages[i].to - stages[i].from));
}

bool quantize_option(const char *key)
{
    return strcmp(key, "calibration") == 0 || strcmp(key, "qconfig") == 0 ||
           strcmp(key, "compare.frames") == 0 || frames_option("calibration", key);
}

/* ── the parts ── */

static struct graph *load(struct quantization *q, const struct job_option *options, size_t count,
                          struct bpu_error *err)
{
    return job_load(q->arena, q->model, q->model_size, q->model_name, options, count, err);
}

bool quantize_load(struct quantization *q, struct bpu_error *err)
{
    struct bpu_error first = {0};
    struct job_option *options;
    size_t count;
    stage(q, "import", 0);
    if (!(q->target = march_find(q->march ? q->march : "")))
        return job_unknown_march(q->march, err);
    q->graph = load(q, q->options, q->option_count, &first);
    if (q->graph)
        return true;
    if (first.code == BPU_SHAPE_NEEDED && q->source_count) {
        if (!feed_shape_options(q->arena, q->sources, q->source_count, q->options, q->option_count,
                                &options, &count, err))
            return false;
        return (q->graph = load(q, options, count, err)) != NULL;
    }
    *err = first;
    return false;
}

/* What decides the judgement of a check but not the numbers here is refused: ignored, it would look
 * as if it had been followed. */
static bool options_check(const struct quantization *q, struct bpu_error *err)
{
    for (size_t i = 0; i < q->option_count; i++) {
        const char *key = q->options[i].key;
        if (strcmp(key, "calibration") == 0 && !q->source_count)
            return error_set(err, BPU_BAD_OPTION, key, "%s names no file", key);
        if (strncmp(key, "dtype.", 6) != 0)
            continue;
        error_set(err, BPU_BAD_OPTION, key, "%.80s decides what a check judges", key);
        return error_hint(err, "What is quantized how stands in the qconfig, per node.");
    }
    return true;
}

static bool qconfig_open(struct quantization *q, struct bpu_error *err)
{
    char place[sizeof err->where];
    const char *text = job_option_find(q->options, q->option_count, "qconfig");
    if (!q->qconfig && text) {
        q->qconfig = text;
        q->qconfig_size = strlen(text);
        q->qconfig_what = "qconfig";
    }
    q->config = q->qconfig ? qconfig_read(q->arena, q->qconfig, q->qconfig_size, err)
                           : qconfig_default(q->arena, err);
    if (q->config || !q->qconfig)
        return q->config != NULL;
    snprintf(place, sizeof place, "%.120s%s%.120s", q->qconfig_what, err->where[0] ? ", " : "",
             err->where);
    memcpy(err->where, place, sizeof place);
    return false;
}

static bool scales_find(struct quantization *q, struct bpu_error *err)
{
    if (quant_has_scales(q->fused))
        return true;
    for (size_t i = 0; i < q->fixed_input_count; i++)
        if (!qconfig_fix_input(q->config, q->fixed_inputs[i], q->fixed_scale, err))
            return false;
    q->uncalibrated = q->placeholders && !q->source_count;
    if (q->uncalibrated)
        return quant_placeholder(q->arena, q->fused, q->target, q->config, &q->calibration, err);
    if (!q->source_count) {
        error_set(err, BPU_USAGE, "calibration", "the network has no scales of its own");
        return error_hint(err, "Give typical inputs as calibration data: an .npz, .npy or IDX file.");
    }
    return quant_calibrate(q->arena, q->fused, q->target, q->config, &q->data, stage, q,
                           &q->calibration, err);
}

/* NaN and infinities are left out of every statistic, and are 0 or saturate in the fixed-point
 * network: hardly what the user wanted.  The first values that have some are named; those behind them
 * follow. */
static bool note_not_finite(struct quantization *q, struct bpu_error *err)
{
    const struct calibration *c = &q->calibration;
    enum { NAMED = 3 };
    int named = 0;
    for (size_t i = 0; c->items && i < c->count && named < NAMED; i++) {
        const struct observation *o = &c->items[i];
        if (!o->value || !o->not_finite)
            continue;
        named++;
        if (!graph_add_note(q->fixed, err,
                            "\"%.200s\"%s: %lld numbers are NaN or infinite%s", o->value->name,
                            o->value->is_input ? ", an input" : "", (long long)o->not_finite,
                            o->value->is_input ? "; check the calibration data."
                                               : " over the calibration data."))
            return false;
    }
    return true;
}

bool quantize_run(struct quantization *q, struct bpu_error *err)
{
    int64_t compared = DEFAULT_COMPARED;
    const char *text = job_option_find(q->options, q->option_count, "compare.frames");
    if ((text && !frames_count("compare.frames", text, &compared, err)) || !options_check(q, err) ||
        (!q->graph && !quantize_load(q, err)) || !qconfig_open(q, err) ||
        !frames_open(q->arena, q->graph, q->sources, q->source_count, q->options, q->option_count,
                     "calibration", NULL, &q->data, err))
        return false;
    stage(q, "fuse", 0);
    if (!(q->fused = quant_fuse(q->arena, q->graph, &q->fuse, err)) || !scales_find(q, err))
        return false;
    stage(q, "convert", 0);
    q->fixed = quant_convert(q->arena, q->fused, q->target, q->config,
                             q->calibration.items ? &q->calibration : NULL, err);
    if (!q->fixed || !quant_verify(q->fixed, err) || !note_not_finite(q, err))
        return false;
    return !q->data.frames || !compared || q->uncompared ||
           quant_compare(q->arena, q->fused, q->fixed, &q->data, compared, stage, q, &q->comparison,
                         err);
}

struct quant_result quantize_result(const struct quantization *q)
{
    return (struct quant_result){.fused = q->fused,
                                 .fixed = q->fixed,
                                 .march = q->target,
                                 .fuse = &q->fuse,
                                 .calibration = q->calibration.items ? &q->calibration : NULL,
                                 .comparison = q->comparison.layers ? &q->comparison : NULL,
                                 .why = q->data.frames ? "compare.frames is 0" : "there is no data",
                                 .model_id = q->model_id,
                                 .model_name = q->model_name,
                                 .model_format = q->graph->format};
}
