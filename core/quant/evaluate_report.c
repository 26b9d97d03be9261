/* bpuhub.evaluate/1.  A figure that does not exist is {"availability": "unavailable", "reason": …},
 * never 0; clocks are left out, so that the same job gives the same bytes. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/check/json_write.h"
#include "core/quant/evaluate_private.h"
#include "core/quant/report_parts.h"
#include "core/quant/rewrite.h"

enum { WEIGHT_BINS = 64, CONFUSIONS = 100 };

static void write_share(struct json_writer *w, const char *key, int64_t part, int64_t of,
                        const char *otherwise)
{
    if (of > 0)
        writer_real(w, key, (double)part / (double)of);
    else
        writer_missing(w, key, otherwise);
}

/* ── accuracy ── */

static void write_classes(struct json_writer *w, const struct accuracy *a, int64_t count,
                          bool labelled)
{
    writer_open(w, "classes", '[');
    for (int64_t c = 0; c < count; c++) {
        const struct class_figures *f = &a->classes[c];
        writer_open(w, NULL, '{');
        writer_int(w, "class", c);
        writer_int(w, "predicted", f->predicted);
        if (labelled) {
            writer_int(w, "count", f->count);
            writer_int(w, "correct", f->correct);
            write_share(w, "precision", f->correct, f->predicted, "never predicted");
            write_share(w, "recall", f->correct, f->count, "no sample has this label");
        }
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void write_confusions(struct json_writer *w, const struct accuracy *a)
{
    if (!a->matrix) {
        writer_missing(w, "confusions", "too many classes to count all pairs");
        return;
    }
    writer_int(w, "confusion_pairs", (int64_t)a->confusion_count);
    writer_open(w, "confusions", '[');
    for (size_t i = 0; i < a->confusion_count && i < CONFUSIONS; i++) {
        writer_open(w, NULL, '{');
        writer_int(w, "label", a->confusions[i].label);
        writer_int(w, "predicted", a->confusions[i].predicted);
        writer_int(w, "count", a->confusions[i].count);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void write_accuracy(struct json_writer *w, const char *key, const struct accuracy *a,
                           const struct evaluate_result *e, const char *otherwise)
{
    static const char unlabelled[] = "there are no labels";
    const struct accuracy_pair *p = &e->accuracy;
    if (!a->there) {
        writer_missing(w, key, otherwise);
        return;
    }
    writer_open(w, key, '{');
    if (p->labelled) {
        writer_int(w, "correct", a->correct);
        write_share(w, "top1", a->correct, p->samples, "there are no samples");
    } else
        writer_missing(w, "top1", unlabelled);
    if (p->labelled && p->top5)
        write_share(w, "top5", a->correct5, p->samples, "there are no samples");
    else
        writer_missing(w, "top5",
                       !p->labelled               ? unlabelled
                       : p->layout.classes == 0 ? "the network gives answers, not scores"
                                                  : "there are no more than 5 classes");
    writer_int(w, "ties", a->ties);
    writer_int(w, "not_finite", a->not_finite);
    write_classes(w, a, p->class_count, p->labelled);
    if (p->labelled)
        write_confusions(w, a);
    else
        writer_missing(w, "confusions", unlabelled);
    writer_close(w, '}');
}

static void write_agreement(struct json_writer *w, const struct evaluate_result *e)
{
    const struct accuracy_pair *p = &e->accuracy;
    static const char one[] = "only one network was evaluated";
    if (!p->floats.there || !p->fixed.there) {
        writer_missing(w, "agreement", e->why_no_accuracy ? e->why_no_accuracy : one);
        writer_missing(w, "loss_points", e->why_no_accuracy ? e->why_no_accuracy : one);
        return;
    }
    writer_open(w, "agreement", '{');
    writer_int(w, "same_top1", p->same);
    write_share(w, "share", p->same, p->samples, "there are no samples");
    writer_close(w, '}');
    if (p->labelled && p->samples)
        writer_real(w, "loss_points",
                    100 * (double)(p->floats.correct - p->fixed.correct) / (double)p->samples);
    else
        writer_missing(w, "loss_points", "there are no labels");
}

/* ── layers ── */

static void write_error(struct json_writer *w, const char *key, const struct value_error *v,
                        const char *otherwise)
{
    if (!v->count) {
        writer_missing(w, key, otherwise);
        return;
    }
    writer_open(w, key, '{');
    writer_real(w, "cosine", value_error_cosine(v));
    report_db(w, "sqnr_db", value_error_sqnr(v));
    writer_real(w, "max_error", v->most);
    writer_real(w, "saturated", value_error_saturated(v));
    writer_close(w, '}');
}

static void write_layer(struct json_writer *w, const struct layer_figures *l)
{
    buf_putc(w->out, '\n');
    writer_open(w, NULL, '{');
    writer_text(w, "name", l->value ? l->value->name : l->fixed->name);
    writer_text(w, "node", l->node ? l->node->name : NULL);
    writer_text(w, "op", l->node ? l->node->op_name : NULL);
    writer_text(w, "dtype", dtype_name(l->fixed->dtype));
    if (l->fixed->quant.count == 1)
        writer_real(w, "scale", l->fixed->quant.scale[0]);
    else
        writer_missing(w, "scale", l->fixed->quant.count ? "one per channel" : "real numbers");
    writer_flag(w, "moves", l->moves);
    write_error(w, "own", &l->own, "it was not computed");
    write_error(w, "accumulated", &l->accumulated, "it was not computed");
    write_error(w, "rounding", &l->rounding, "the result has no single scale");
    writer_close(w, '}');
}

static void write_layers(struct json_writer *w, const struct evaluate_result *e)
{
    const struct layer_comparison *l = &e->layers;
    if (e->why_no_layers) {
        writer_missing(w, "outputs", e->why_no_layers);
        writer_missing(w, "layers", e->why_no_layers);
        return;
    }
    writer_open(w, "outputs", '[');
    for (int i = 0; i < l->output_count; i++) {
        writer_open(w, NULL, '{');
        writer_text(w, "name", l->outputs[i].value->name);
        write_error(w, "accumulated", &l->outputs[i].accumulated, "it holds no real numbers");
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_text(w, "layers_order", "own.sqnr_db, the worst first");
    writer_open(w, "layers", '[');
    for (size_t i = 0; i < l->count; i++)
        write_layer(w, &l->layers[i]);
    writer_close(w, ']');
}

/* ── histograms ── */

static void write_numbers(struct json_writer *w, const float *x, int64_t n)
{
    int64_t counts[WEIGHT_BINS] = {0}, finite = 0;
    double lo = INFINITY, hi = -INFINITY, sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = (double)x[i];
        if (!isfinite(v))
            continue;
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
        sum += v;
        squares += v * v;
        finite++;
    }
    if (!finite) {
        writer_missing(w, "histogram", "there are no finite numbers");
        return;
    }
    double mean = sum / (double)finite, variance = squares / (double)finite - mean * mean;
    double per = hi > lo ? WEIGHT_BINS / (hi - lo) : 0;
    for (int64_t i = 0; i < n; i++) {
        double bin = isfinite(x[i]) ? ((double)x[i] - lo) * per : -1;
        if (bin >= 0)
            counts[bin < WEIGHT_BINS ? (int)bin : WEIGHT_BINS - 1]++;
    }
    writer_real(w, "min", lo);
    writer_real(w, "max", hi);
    writer_real(w, "mean", mean);
    writer_real(w, "std", variance > 0 ? sqrt(variance) : 0);
    report_counts(w, lo, hi, counts, WEIGHT_BINS, 1);
}

/* The weights of the network as it computes: of the float one if there is one. */
static bool write_weights(struct json_writer *w, const struct evaluate_result *e,
                          struct bpu_error *err)
{
    const struct graph *g = e->fused ? e->fused : e->request.graph ? e->request.graph : e->fixed;
    bool ok = true;
    writer_open(w, "weights", '[');
    for (int i = 0; i < g->node_count && ok; i++) {
        const struct node *n = g->nodes[i];
        const struct value *v = node_param(n, "weight");
        if (!v || n->fold != FOLD_NONE || !value_is_known(v) || shape_elements(&v->shape) < 1 ||
            !(dtype_is_float(v->dtype) || dtype_is_quantized(v->dtype)))
            continue;
        struct arena_mark mark = arena_mark(e->arena);
        const float *x = rewrite_floats(e->arena, v, err);
        if ((ok = x != NULL)) {
            writer_open(w, NULL, '{');
            writer_text(w, "node", n->name);
            writer_text(w, "name", v->name);
            write_numbers(w, x, shape_elements(&v->shape));
            writer_close(w, '}');
        }
        arena_rewind(e->arena, mark);
    }
    writer_close(w, ']');
    return ok;
}

static void write_activations(struct json_writer *w, const struct evaluate_result *e)
{
    const struct calibration *c = e->request.calibration;
    if (!c || !c->items) {
        writer_missing(w, "activations", "there was no calibration here");
        return;
    }
    writer_open(w, "activations", '[');
    for (size_t i = 0; i < c->count; i++) {
        const struct observation *o = &c->items[i];
        if (!o->observer)
            continue;
        writer_open(w, NULL, '{');
        writer_text(w, "name", o->value->name);
        writer_text(w, "node", o->value->producer ? o->value->producer->name : NULL);
        writer_text(w, "dtype", dtype_name(o->dtype));
        report_scale(w, o);
        writer_text(w, "observer", o->observer);
        writer_real(w, "min", o->min);
        writer_real(w, "max", o->max);
        writer_real(w, "saturated", o->saturated);
        report_histogram(w, o);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

/* ── suggestions ── */

static void write_suggestion(struct json_writer *w, const char *key, const struct suggestion *s,
                             const struct evaluate_result *e)
{
    const struct accuracy_pair *p = &e->accuracy;
    writer_open(w, key, '{');
    writer_text(w, "node", s->node);
    writer_text(w, "change", s->change);
    report_db(w, "output_sqnr_db", s->sqnr_db);
    if (isfinite(s->gain_db))
        writer_real(w, "gain_db", s->gain_db);
    else
        writer_missing(w, "gain_db", "no difference to float is left");
    if (s->correct >= 0) {
        write_share(w, "top1", s->correct, p->samples, "there are no samples");
        writer_real(w, "gain_points",
                    100 * (double)(s->correct - p->fixed.correct) / (double)p->samples);
    } else {
        const char *why = p->labelled ? "the time was up" : "there are no labels";
        writer_missing(w, "top1", why);
        writer_missing(w, "gain_points", why);
    }
    writer_raw(w, "change_qconfig", s->part);
    writer_raw(w, "qconfig", s->qconfig);
    writer_close(w, '}');
}

static void write_suggestions(struct json_writer *w, const struct evaluate_result *e)
{
    const struct suggestion_list *l = &e->suggestions;
    if (l->why) {
        writer_missing(w, "suggestions", l->why);
        return;
    }
    writer_open(w, "suggestions", '{');
    writer_int(w, "layers", l->layers);
    writer_int(w, "tried", l->tried);
    writer_flag(w, "cut_off", l->cut_off);
    writer_int(w, "frames", l->frames);
    report_db(w, "output_sqnr_db", l->sqnr_db);
    writer_open(w, "items", '[');
    for (size_t i = 0; i < l->count; i++)
        write_suggestion(w, NULL, &l->items[i], e);
    writer_close(w, ']');
    if (l->together.change)
        write_suggestion(w, "together", &l->together, e);
    else
        writer_missing(w, "together",
                       l->cut_off ? "the time was up" : "no two layers gain more together");
    writer_close(w, '}');
}

/* ── the report ── */

static void write_head(struct json_writer *w, const struct evaluate_result *e)
{
    const struct evaluate_request *r = &e->request;
    const struct accuracy_pair *p = &e->accuracy;
    writer_head(w, "bpuhub.evaluate/1", r->model_id, r->model_name, r->model_format);
    writer_text(w, "march", r->march_text);
    writer_open(w, "summary", '{');
    writer_int(w, "frames", p->frames);
    if (e->why_no_accuracy) {
        writer_missing(w, "output", e->why_no_accuracy);
        writer_missing(w, "answers", e->why_no_accuracy);
        writer_missing(w, "classes", e->why_no_accuracy);
    } else {
        writer_text(w, "output", p->output);
        writer_int(w, "answers", p->samples);
        writer_int(w, "classes", p->class_count);
    }
    if (e->why_no_layers)
        writer_missing(w, "compared_frames", e->why_no_layers);
    else {
        writer_int(w, "compared_frames", e->layers.frames);
        writer_flag(w, "cut_off", e->layers.cut_off || e->suggestions.cut_off);
    }
    writer_close(w, '}');
}

bool evaluate_json(const struct evaluate_result *e, struct buf *out, struct bpu_error *err)
{
    struct json_writer w = {.out = out};
    const char *none = e->why_no_accuracy;
    writer_open(&w, NULL, '{');
    write_head(&w, e);
    write_accuracy(&w, "float", &e->accuracy.floats, e, none ? none : "there is no float network");
    write_accuracy(&w, "fixed", &e->accuracy.fixed, e,
                   none ? none : "there is no fixed-point network");
    write_agreement(&w, e);
    write_layers(&w, e);
    write_suggestions(&w, e);
    if (!write_weights(&w, e, err))
        return false;
    write_activations(&w, e);
    writer_close(&w, '}');
    buf_putc(out, '\n');
    return buf_ok(out, err);
}
