/* What somebody looks for is in this order: how long, how much memory and traffic; where the time goes;
 * what the engines do when; what lies where in memory; what goes in and out.  Every number of the page is in
 * report.json too. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/draw/program_svg.h"
#include "core/job/html_page.h"
#include "core/job/report_compile.h"

#define MOST_LAYERS 2000
#define PICTURE_BYTES ((size_t)8 << 20) /* a larger one stays beside the page */

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

static double mib(int64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static double percent(const struct compilation *c, double cycles)
{
    return c->timing.end > 0 ? 100 * cycles / c->timing.end : 0;
}

static void write_figures(const struct compilation *c, struct buf *out)
{
    const struct compile_summary *s = &c->summary;
    char line[256];
    double us = compile_us(c, c->timing.end);
    if (c->program->uncalibrated)
        buf_puts(out, "<p class=\"verdict warning\">Not calibrated</p><p>The model has no scales and no "
                      "calibration data was given: every scale is a placeholder. Speed, memory and "
                      "traffic are those of the real network, results are not.</p>\n");
    buf_puts(out, "<ul class=\"figures\">\n");
    figure(out, "predicted time of one run", "%.1f us", us);
    figure(out, "runs per second", "%.1f", us > 0 ? 1e6 / us : 0);
    figure(out, "DDR traffic", "%.2f MiB", mib(s->ddr_load + s->ddr_store));
    figure(out, "no program of this network moves less", "%.2f MiB", mib(s->ddr_bound));
    figure(out, "on-chip memory at the most", "%.2f MiB", mib(s->sram_peak));
    figure(out, "maps that do not stay on the chip", "%d of %d", s->spilled, s->maps);
    figure(out, "instructions", "%" PRId64, s->instructions);
    if (c->host_nodes)
        figure(out, "nodes on the CPU", "%d", c->host_nodes);
    buf_puts(out, "</ul>\n");
    html_hint(out, report_compile_verdict(c, line, sizeof line));
    snprintf(line, sizeof line, "Compiled with %.200s.", c->program->options);
    html_hint(out, line);
    for (int i = 0; i < c->fixed->note_count; i++)
        html_hint(out, c->fixed->notes[i]);
}

typedef bool picture_fn(const struct compilation *c, struct buf *out, struct bpu_error *err);

static bool plan(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    return draw_plan_svg(c->program, c->machine, out, err);
}

static bool schedule(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    return draw_schedule_svg(c->program, c->machine, &c->timing, out, err);
}

static bool write_picture(const struct compilation *c, picture_fn *fn, struct buf *out,
                          struct bpu_error *err)
{
    struct buf svg;
    buf_init(&svg, BUF_DEFAULT_CAP);
    bool ok = fn(c, &svg, err);
    if (ok && svg.size <= PICTURE_BYTES) {
        buf_puts(out, "<div class=\"scroll\">");
        buf_add(out, svg.data, svg.size);
        buf_puts(out, "</div>\n");
    } else if (ok)
        html_hint(out, "The picture is too large for this page; it is a file of its own.");
    buf_fini(&svg);
    return ok;
}

static void write_layers(const struct compilation *c, const int *order, struct buf *out)
{
    static const char *const columns[] = {"Layer",      "Operator", "#Result", "#Time",   "#Share",
                                          "#Busy most", "#DDR in",  "#DDR out", "#Spilled", NULL};
    char text[160];
    html_heading(out, "Layers, the longest first",
                 "At every moment the engines at work share the time equally among the layers that they "
                 "work for, so that all times add up to the whole.");
    html_table(out, columns);
    for (int i = 0; i < c->program->source_count && i < MOST_LAYERS; i++) {
        const struct program_source *s = &c->program->sources[order[i]];
        const struct source_figures *f = &c->sources_of[order[i]];
        int most = 0;
        if (f->instructions == 0)
            continue;
        for (int e = 1; e < ENGINE_COUNT; e++)
            if (f->busy[e] > f->busy[most])
                most = e;
        buf_puts(out, "<tr>");
        html_cell(out, s->name);
        html_cell(out, s->op);
        snprintf(text, sizeof text, "%dx%dx%dx%d", s->n, s->h, s->w, s->c);
        html_number(out, "%s", text);
        html_number(out, "%.2f us", compile_us(c, f->cycles));
        html_number(out, "%.1f %%", percent(c, f->cycles));
        html_number(out, "%s %.2f us", engine_name((enum engine)most),
                    compile_us(c, f->busy[most]));
        html_number(out, "%" PRId64, f->load);
        html_number(out, "%" PRId64, f->store);
        html_number(out, "%" PRId64, f->spills);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
    if (c->program->source_count > MOST_LAYERS)
        html_hint(out, "The others are in report.json.");
}

static void write_engines(const struct compilation *c, struct buf *out)
{
    static const char *const columns[] = {"Engine", "#Instructions", "#Busy", "#Share", NULL};
    html_table(out, columns);
    for (int lane = 0; lane < PROGRAM_LANES; lane++) {
        char name[64];
        if (c->timing.count[lane] == 0)
            continue;
        snprintf(name, sizeof name, "core %d, %s", lane / ENGINE_COUNT,
                 engine_name((enum engine)(lane % ENGINE_COUNT)));
        buf_puts(out, "<tr>");
        html_cell(out, name);
        html_number(out, "%" PRId64, c->timing.count[lane]);
        html_number(out, "%.2f us", compile_us(c, c->timing.busy[lane]));
        html_number(out, "%.1f %%", percent(c, c->timing.busy[lane]));
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

static void write_traffic(const struct compilation *c, struct buf *out)
{
    static const char *const columns[] = {"What moves", "#Bytes", NULL};
    html_heading(out, "DDR", NULL);
    html_table(out, columns);
    for (int t = TRAFFIC_CONSTANTS; t < TRAFFIC_COUNT; t++) {
        buf_puts(out, "<tr>");
        html_cell(out, traffic_text((enum traffic)t));
        html_number(out, "%" PRId64, c->traffic[t]);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

static void write_ports(struct buf *out, const struct program_io *list, int count)
{
    char shape[SHAPE_TEXT_MAX];
    for (int i = 0; i < count; i++) {
        const struct program_io *x = &list[i];
        buf_puts(out, "<tr>");
        html_cell(out, x->name);
        html_cell(out, shape_text(&x->shape, shape));
        html_cell(out, dtype_name(x->dtype));
        html_cell(out, io_layout_name(x->layout));
        html_cell(out, io_source_name(x->source));
        if (x->quant.count == 1)
            html_number(out, "%.9g", x->quant.scale[0]);
        else
            html_number(out, "%s", x->quant.count ? "per channel" : "");
        html_number(out, "%" PRId64, x->bytes);
        buf_puts(out, "</tr>\n");
    }
}

bool report_compile_html(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    static const char *const columns[] = {"Name",   "Shape",  "Type", "Layout",
                                          "Source", "#Scale", "#Bytes", NULL};
    int *order = report_compile_order(c, err);
    if (!order)
        return false;
    html_open(out, c->model_name, march_name(c->target), "compiled");
    write_figures(c, out);
    gates_html(&c->gates, out);
    html_heading(out, "What the engines do when",
                 "Time runs to the right; what has one colour belongs to one layer.");
    if (!write_picture(c, schedule, out, err))
        return false;
    write_engines(c, out);
    html_heading(out, "What lies where in on-chip memory",
                 "From the first instruction on the left to the last on the right.");
    if (!write_picture(c, plan, out, err))
        return false;
    write_layers(c, order, out);
    write_traffic(c, out);
    html_heading(out, "Inputs and outputs", NULL);
    html_table(out, columns);
    write_ports(out, c->program->inputs, c->program->input_count);
    write_ports(out, c->program->outputs, c->program->output_count);
    html_table_end(out);
    html_close(out, c->model_id);
    return buf_ok(out, err);
}
