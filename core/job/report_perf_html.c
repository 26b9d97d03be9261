/* Who opens this page asks: how fast, and how sure is that; what holds it up; what to change.  That is the
 * first screen.  What proves it comes below: when each engine works, how far the layers are from the
 * roofs, what moves, what lies in memory, and every layer. */
#include "core/job/report_perf_html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/draw/program_svg.h"
#include "core/draw/svg.h"
#include "core/job/report_perf.h"

enum { COSTLIEST = 5, ADVICE_SHOWN = 5, DRAWN_NODES = 2000 };

/* ── the answer ────────────────────────────────────────────────────────────────────────────── */

static void write_gates(const struct gates *g, struct buf *out)
{
    for (int i = 0; i < g->count; i++) {
        const struct gate *gate = &g->items[i];
        buf_printf(out, "<p class=\"note %s\"><b>%s</b> ", gate->passed ? "passed" : "failed",
                   gate->passed ? "Passed:" : "Failed:");
        buf_xml(out, gate->text);
        buf_puts(out, "</p>\n");
    }
}

static void write_head(const struct perf_model *m, struct buf *out)
{
    const struct compilation *c = &m->c;
    buf_puts(out, "<header class=\"head\"><h1>");
    buf_xml(out, c->model_name);
    buf_puts(out, " <small>on ");
    buf_xml(out, march_name(c->target));
    buf_puts(out, "</small></h1><p>");
    buf_xml(out, c->program->options ? c->program->options : "");
    if (m->perf.frames > 1)
        buf_printf(out, "; a run is %d frames", m->perf.frames);
    if (c->program->input_count > 0) {
        char shape[SHAPE_TEXT_MAX];
        buf_puts(out, "; input ");
        buf_xml(out, shape_text(&c->program->inputs[0].shape, shape));
    }
    buf_puts(out, "</p></header>\n");
    write_gates(&c->gates, out);
    if (c->program->uncalibrated)
        buf_puts(out, "<p class=\"note\">The scales are placeholders: speed, memory and traffic are those of "
                      "the real network, results are not.</p>\n");
}

static void write_speed(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    buf_printf(out, "<li id=\"fps\"><span class=\"name\">Frames per second</span><b>%.*f</b><span>",
               report_perf_fps(m) < 100 ? 2 : 1, report_perf_fps(m));
    if (p->frames > 1)
        buf_printf(out, "%.4g runs of %d frames a second", report_perf_fps(m) / p->frames, p->frames);
    else
        buf_puts(out, "one frame after the other");
    buf_printf(out, ", %d core%s</span></li>\n", m->c.program->cores,
               m->c.program->cores == 1 ? "" : "s");
    buf_puts(out, "<li id=\"latency\"><span class=\"name\">Latency</span><b>");
    perf_time(out, p->latency_us);
    buf_puts(out, "</b><span>expected error: ");
    buf_xml(out, m->expected.text ? m->expected.text : "not known");
    buf_puts(out, "</span></li>\n");
}

static void write_moved(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    double frames = p->frames > 0 ? p->frames : 1;
    double moved = (double)p->load_bytes + (double)p->store_bytes;
    buf_puts(out, "<li id=\"ddr\"><span class=\"name\">DDR traffic of a frame</span><b>");
    perf_size(out, moved / frames);
    buf_puts(out, "</b><span>in ");
    perf_size(out, (double)p->load_bytes / frames);
    buf_puts(out, ", out ");
    perf_size(out, (double)p->store_bytes / frames);
    if (p->latency_us > 0)
        buf_printf(out, "; %.2f GB/s on average", moved / p->latency_us / 1e3);
    buf_puts(out, "</span></li>\n");
}

static void write_bound(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    double reached = p->latency_us > 0 ? fmin(1, p->bound_us / p->latency_us) : 0;
    bool ddr = p->ddr_bound_us > p->compute_bound_us;
    buf_printf(out, "<li id=\"utilization\"><span class=\"name\">Utilization of the array</span><b>%.1f %%</b>"
                    "<span>%s-bound, at %.0f %% of the bound:</span><i class=\"meter\"><i style=\"width:"
                    "%.1f%%\"></i></i><span>",
               100 * p->utilization, ddr ? "DDR" : "compute", 100 * reached, 100 * reached);
    buf_puts(out, ddr ? "the bus alone takes " : "the busiest engine alone takes ");
    perf_time(out, p->bound_us);
    buf_puts(out, "</span></li>\n");
}

static void write_costliest(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    double most = p->layer_count > 0 ? p->layers[p->order[0]].share : 0;
    buf_puts(out, "<section class=\"card\" id=\"costliest\"><h2>Costliest layers</h2><ol class=\"cost\">\n");
    for (int k = 0; k < p->layer_count && k < COSTLIEST; k++) {
        const struct perf_layer *l = &p->layers[p->order[k]];
        const struct program_source *s = &m->c.program->sources[l->source];
        if (!(l->time_us > 0))
            break;
        buf_puts(out, "<li><span class=\"mono\" title=\"");
        svg_text_short(out, s->name);
        buf_puts(out, "\"><bdi>");
        svg_text_short(out, s->name);
        buf_puts(out, "</bdi></span><span class=\"t\">");
        perf_time(out, l->time_us);
        buf_printf(out, " &middot; %.1f %%</span><span class=\"why\"><i class=\"bar\"><i class=\"%s\" "
                        "style=\"width:%.1f%%\"></i></i><span>",
                   100 * l->share, perf_bound_class(l->bound), most > 0 ? 100 * l->share / most : 0);
        buf_xml(out, perf_bound_text(l->bound));
        buf_puts(out, "</span></span></li>\n");
    }
    buf_puts(out, "</ol></section>\n");
}

static void write_one(const struct perf_advice *a, struct buf *out)
{
    buf_printf(out, "<li data-code=\"%s\"><b>&minus;%.1f us</b><span>", a->code, a->win_us);
    buf_xml(out, a->text);
    buf_puts(out, "</span><span class=\"do\">");
    buf_xml(out, a->action);
    buf_puts(out, "</span></li>\n");
}

static void write_advice(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    buf_puts(out, "<section class=\"card\" id=\"advice\"><h2>What to change, and what it wins</h2>\n");
    if (p->advice_count == 0)
        buf_puts(out, "<p>Nothing that was tried wins 0.2 % of the time.</p>\n");
    else
        buf_puts(out, "<ol class=\"advice\">\n");
    for (int k = 0; k < p->advice_count; k++) {
        if (k == ADVICE_SHOWN)
            buf_printf(out, "</ol><details><summary>%d more</summary><ol class=\"advice\">\n",
                       p->advice_count - k);
        write_one(&p->advice[k], out);
    }
    if (p->advice_count > 0)
        buf_puts(out, p->advice_count > ADVICE_SHOWN ? "</ol></details>\n" : "</ol>\n");
    buf_puts(out, "<p class=\"hint\">Each was found by timing the program again; wins do not add up.</p>"
                  "</section>\n");
}

/* ── what proves it ────────────────────────────────────────────────────────────────────────── */

static bool write_picture(const struct perf_model *m, struct buf *out, struct bpu_error *err,
                          bool (*draw)(const struct perf_model *m, struct buf *out,
                                       struct bpu_error *err))
{
    struct buf svg;
    buf_init(&svg, BUF_DEFAULT_CAP);
    bool ok = draw(m, &svg, err);
    if (ok && svg.size <= PAGE_BYTES) {
        buf_puts(out, "<div class=\"scroll\" tabindex=\"0\">");
        buf_add(out, svg.data, svg.size);
        buf_puts(out, "</div>\n");
    } else if (ok)
        buf_puts(out, "<p class=\"hint\">The picture is too large for this page.</p>\n");
    buf_fini(&svg);
    return ok;
}

static bool plan(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    return draw_plan_svg(m->c.program, m->c.machine, out, err);
}

static bool schedule(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    return draw_schedule_svg(m->c.program, m->c.machine, &m->c.timing, out, err);
}

static bool write_graph(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    if (m->from_program || !m->c.fixed || m->c.fixed->node_count > DRAWN_NODES)
        return true;
    perf_section(out, "graph", "The network, coloured by time",
                 "From pale to dark by share of the time of a run; grey takes none on the machine.");
    if (!write_picture(m, out, err, report_perf_heat))
        return false;
    perf_section_end(out);
    return true;
}

static void write_notes(const struct perf_model *m, struct buf *out)
{
    const struct compilation *c = &m->c;
    int notes = m->from_program ? 0 : (c->fixed ? c->fixed->note_count : 0) + (c->check ? c->check->note_count : 0);
    if (notes == 0)
        return;
    buf_puts(out, "<section class=\"card\"><h2>Notes</h2><ul>\n");
    for (int i = 0; c->fixed && i < c->fixed->note_count; i++) {
        buf_puts(out, "<li>");
        buf_xml(out, c->fixed->notes[i]);
        buf_puts(out, "</li>\n");
    }
    for (int i = 0; c->check && i < c->check->note_count; i++) {
        buf_puts(out, "<li>");
        buf_xml(out, c->check->notes[i]);
        buf_puts(out, "</li>\n");
    }
    buf_puts(out, "</ul></section>\n");
}

static bool write_below(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    buf_puts(out, "<nav aria-label=\"Sections\"><a href=\"#timeline\">Timeline</a><a href=\"#roofline\">"
                  "Roofline</a><a href=\"#over-time\">Over time</a><a href=\"#memory\">Memory plan</a>"
                  "<a href=\"#traffic\">DDR traffic</a>");
    if (!m->from_program)
        buf_puts(out, "<a href=\"#graph\">Graph</a>");
    buf_puts(out, "<a href=\"#layers\">All layers</a></nav>\n");
    perf_section(out, "timeline", "What each engine does when",
                 "A row per engine; what has one colour belongs to one layer; gaps are waiting.");
    if (!perf_timeline(m, out, err))
        return false;
    buf_puts(out, "<div id=\"timeline-still\">");
    if (!write_picture(m, out, err, schedule))
        return false;
    buf_puts(out, "</div>\n");
    perf_section_end(out);
    perf_section(out, "roofline", "How far the layers are from what the machine can do",
                 "A dot per layer, as large as its share of the time; its speed is that while its engine or its "
                 "transfers work, whichever takes longer. Left of the corner the bus is the limit, right of it "
                 "the array; what lies far below both wastes time.");
    perf_roofline(m, out);
    perf_section_end(out);
    perf_section(out, "over-time", "Utilization, bandwidth and memory over the run", NULL);
    if (!perf_over_time(m, out, err))
        return false;
    perf_section_end(out);
    perf_section(out, "memory", "What lies where in on-chip memory",
                 "From the first instruction on the left to the last on the right.");
    if (!write_picture(m, out, err, plan))
        return false;
    perf_section_end(out);
    perf_traffic(m, out);
    if (!write_graph(m, out, err))
        return false;
    perf_layers_table(m, out);
    write_notes(m, out);
    return true;
}

bool report_perf_html(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    perf_page_open(out, m->c.model_name, march_name(m->c.target));
    write_head(m, out);
    buf_puts(out, "<main><ul class=\"tiles\">\n");
    write_speed(m, out);
    write_moved(m, out);
    write_bound(m, out);
    buf_puts(out, "</ul><div class=\"pair\">\n");
    write_costliest(m, out);
    write_advice(m, out);
    buf_puts(out, "</div>\n");
    if (!write_below(m, out, err))
        return false;
    buf_puts(out, "</main>\n");
    perf_page_close(out, m->c.model_id);
    return buf_ok(out, err);
}
