/* What somebody looks for is in this order: how good is it, which layers hurt, what do their values
 * look like, what was fused, and last all the scales.  Every number of the page is in report.json
 * too, but for the histograms of weights, which are counted here. */
#include "core/job/report_quantize_html.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/job/html_page.h"
#include "core/march/march.h"
#include "core/run/kernel.h"

enum { BINS = 80 };

/* SQNR below which a layer is marked: at 20 dB the error has a tenth of the signal's amplitude. */
#define SQNR_POOR 20
#define SATURATED_MUCH .01

static void write_sqnr(struct buf *out, const struct layer_error *l)
{
    if (isfinite(l->sqnr_db))
        buf_printf(out, "<td class=\"n%s\">%.1f dB</td>", l->sqnr_db < SQNR_POOR ? " error" : "",
                   l->sqnr_db);
    else
        html_number(out, "%s", l->sqnr_db > 0 ? "exact" : "float is 0");
}

static void write_errors(struct buf *out, const struct layer_error *l)
{
    write_sqnr(out, l);
    html_number(out, "%.6f", l->cosine);
    html_number(out, "%.4g", l->max_error);
    buf_printf(out, "<td class=\"n%s\">%.3f %%</td>",
               l->saturated > SATURATED_MUCH ? " warning" : "", 100 * l->saturated);
}

/* ── histograms ── */

/* What calibration counted, in BINS bins over the range that holds values. */
static void write_activation(struct buf *out, const struct observation *o)
{
    double counts[BINS] = {0};
    char label[160];
    buf_puts(out, "<td>");
    if (o && o->histogram && o->bins > 0 && o->range > 0) {
        double reach = fmax(fabs(o->min), fabs(o->max));
        if (!(reach > 0) || reach > o->range)
            reach = o->range;
        for (int i = 0; i < o->bins; i++) {
            double x = ((i + .5) / o->bins * 2 - 1) * o->range;
            int at = (int)floor((x / reach + 1) / 2 * BINS);
            counts[at < 0 ? 0 : at >= BINS ? BINS - 1 : at] += (double)o->histogram[i];
        }
        double levels = o->dtype == DT_QINT16 ? 32767.5 : 127.5;
        snprintf(label, sizeof label, "values from %.4g to %.4g, kept up to ±%.4g", o->min, o->max,
                 levels * o->scale);
        html_histogram(out, counts, BINS, -reach, reach, levels * o->scale, label);
    }
    buf_puts(out, "</td>");
}

struct weight_range {
    double min, max;
};

static float weight_at(const struct constant *c, int64_t i)
{
    float x;
    memcpy(&x, c->data + i * (int64_t)sizeof x, sizeof x);
    return x;
}

/* The float weight of a node with its numbers, or NULL. */
static const struct value *weight_of(const struct node *n)
{
    const struct value *w = n ? node_param(n, "weight") : NULL;
    return w && w->constant && w->constant->data && w->dtype == DT_FLOAT32 &&
                   shape_elements(&w->shape) > 0
               ? w
               : NULL;
}

static struct weight_range weight_range(const struct value *w)
{
    struct weight_range r = {INFINITY, -INFINITY};
    int64_t n = shape_elements(&w->shape);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)weight_at(w->constant, i);
        r.min = fmin(r.min, x);
        r.max = fmax(r.max, x);
    }
    return r;
}

static void write_weight(struct buf *out, const struct value *w)
{
    double counts[BINS] = {0};
    char label[96];
    buf_puts(out, "<td>");
    if (w) {
        struct weight_range r = weight_range(w);
        double reach = fmax(fabs(r.min), fabs(r.max));
        int64_t n = shape_elements(&w->shape);
        for (int64_t i = 0; isfinite(reach) && reach > 0 && i < n; i++) {
            int at = (int)(((double)weight_at(w->constant, i) / reach + 1) / 2 * BINS);
            counts[at < 0 ? 0 : at >= BINS ? BINS - 1 : at] += 1;
        }
        snprintf(label, sizeof label, "weights from %.4g to %.4g", r.min, r.max);
        if (isfinite(reach) && reach > 0)
            html_histogram(out, counts, BINS, -reach, reach, 0, label);
    }
    buf_puts(out, "</td>");
}

/* ── sections ── */

static const struct observation *observed(const struct quant_result *r, const struct value *v)
{
    return r->calibration && v->index >= 0 && (size_t)v->index < r->calibration->count
               ? &r->calibration->items[v->index]
               : NULL;
}

static void figure(struct buf *out, const char *label, const char *fmt, ...) BPU_PRINTF(3, 4);
static void figure(struct buf *out, const char *label, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_puts(out, "<li><b>");
    buf_vprintf(out, fmt, ap);
    buf_printf(out, "</b>%s</li>\n", label);
    va_end(ap);
}

static void write_figures(const struct quant_result *r, struct buf *out)
{
    int fixed = 0, real = 0;
    for (int i = 0; i < r->fixed->node_count; i++) {
        const char *kernel = kernel_of(r->fixed->nodes[i])->name;
        if (strcmp(kernel, "quantize") != 0 && strcmp(kernel, "dequantize") != 0 &&
            strcmp(kernel, "identity") != 0)
            *(kernel_is_fixed(r->fixed->nodes[i]) ? &fixed : &real) += 1;
    }
    buf_puts(out, "<ul class=\"figures\">\n");
    if (r->comparison && r->comparison->output_count > 0) {
        const struct layer_error *worst = r->comparison->outputs;
        for (int i = 1; i < r->comparison->output_count; i++)
            if (r->comparison->outputs[i].sqnr_db < worst->sqnr_db)
                worst = &r->comparison->outputs[i];
        if (isfinite(worst->sqnr_db))
            figure(out, "signal to noise of the result", "%.1f dB", worst->sqnr_db);
        figure(out, "cosine of the result with float", "%.5f", worst->cosine);
        figure(out, "frames compared", "%" PRId64, r->comparison->frames);
    }
    if (r->calibration)
        figure(out, "frames of calibration", "%" PRId64, r->calibration->frames);
    figure(out, "operators in integers", "%d", fixed);
    figure(out, "operators in float", "%d", real);
    buf_puts(out, "</ul>\n");
    if (!r->calibration)
        html_hint(out, "The scales are those of the file; nothing was calibrated.");
    if (!r->comparison) {
        buf_puts(out, "<p class=\"hint\">Not compared with float: ");
        buf_xml(out, r->why);
        buf_puts(out, ".</p>\n");
    }
    for (int i = 0; i < r->fixed->note_count; i++)
        html_hint(out, r->fixed->notes[i]);
}

static void write_outputs(const struct quant_result *r, struct buf *out)
{
    static const char *const columns[] = {"Output",     "Type",      "#SQNR", "#Cosine",
                                          "#Max error", "#Saturated", NULL};
    html_heading(out, "Results of the network", NULL);
    html_table(out, columns);
    for (int i = 0; i < r->comparison->output_count; i++) {
        const struct layer_error *l = &r->comparison->outputs[i];
        buf_puts(out, "<tr>");
        html_cell(out, l->value->name);
        html_cell(out, l->fixed ? dtype_name(l->fixed->dtype) : NULL);
        write_errors(out, l);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

static void write_layers(const struct quant_result *r, struct buf *out)
{
    static const char *const columns[] = {
        "Layer", "Type", "#SQNR", "#Cosine", "#Max error", "#Saturated", "Values", "Weights", NULL};
    html_heading(out, "Layers, the ones that hurt most first",
                 "Each result in fixed point against float, with the errors that the layers before it "
                 "made. The dashed lines show what the scale keeps; bars grow with the square root.");
    html_table(out, columns);
    for (size_t i = 0; i < r->comparison->count; i++) {
        const struct layer_error *l = &r->comparison->layers[i];
        const struct node *n = l->value->producer;
        buf_puts(out, "<tr><td>");
        buf_xml(out, n ? n->name : l->value->name);
        if (n) {
            buf_puts(out, "<br><code>");
            buf_xml(out, n->op_name);
            buf_puts(out, "</code>");
        }
        buf_puts(out, "</td>");
        html_cell(out, l->fixed ? dtype_name(l->fixed->dtype) : NULL);
        write_errors(out, l);
        write_activation(out, observed(r, l->value));
        write_weight(out, weight_of(n));
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

static void write_fused(const struct quant_result *r, bool fused, struct buf *out)
{
    static const char *const columns[] = {"Into", "Sequence", "Nodes", NULL};
    static const char *const why_not[] = {"Node", "Sequence", "Why it ends there", NULL};
    size_t count = 0;
    for (size_t i = 0; r->fuse && i < r->fuse->count; i++)
        count += (r->fuse->items[i].why_not == NULL) == fused;
    if (count == 0)
        return;
    html_heading(out, fused ? "Fused" : "Not fused further",
                 fused ? "Each of these runs as one operator." : NULL);
    html_table(out, fused ? columns : why_not);
    for (size_t i = 0; i < r->fuse->count; i++) {
        const struct fuse_item *f = &r->fuse->items[i];
        if ((f->why_not == NULL) != fused)
            continue;
        buf_puts(out, "<tr>");
        html_cell(out, f->into);
        html_cell(out, f->what);
        html_cell(out, fused ? f->nodes : f->why_not);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

static void write_scales(const struct quant_result *r, struct buf *out)
{
    static const char *const columns[] = {"Value", "Shape", "Type",  "#Scale", "Observer",
                                          "#Min",  "#Max",  "#Mean", "#Std",   "#Cut off", NULL};
    char text[SHAPE_TEXT_MAX];
    html_heading(out, "Scales", "In the order of the network; \"shared\": operators that join values "
                                "give them one scale.");
    html_table(out, columns);
    for (size_t i = 0; i < r->calibration->count; i++) {
        const struct observation *o = &r->calibration->items[i];
        if (!o->observer)
            continue;
        buf_puts(out, "<tr>");
        html_cell(out, o->value->name);
        html_cell(out, shape_text(&o->value->shape, text));
        html_cell(out, dtype_name(o->dtype));
        if (o->scale > 0)
            html_number(out, "%.6g", o->scale);
        else
            html_number(out, "as a sum");
        html_cell(out, o->observer);
        html_number(out, "%.4g", o->min);
        html_number(out, "%.4g", o->max);
        html_number(out, "%.4g", o->mean);
        html_number(out, "%.4g", o->std);
        html_number(out, "%.3f %%", 100 * o->saturated);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

bool report_quantize_html(const struct quant_result *r, struct buf *out, struct bpu_error *err)
{
    html_open(out, r->model_name, r->march ? march_name(r->march) : NULL, "quantized");
    write_figures(r, out);
    if (r->comparison) {
        write_outputs(r, out);
        write_layers(r, out);
    }
    write_fused(r, false, out);
    write_fused(r, true, out);
    if (r->calibration)
        write_scales(r, out);
    html_close(out, r->model_id);
    return buf_ok(out, err);
}
