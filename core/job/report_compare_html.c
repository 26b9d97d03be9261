/* report_compare_html: the same for people: figures, findings, layers with a bar for each change.
 *
 * Bars are one rectangle from the middle, worse to the right; the widest is the greatest change. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/job/compare.h"
#include "core/job/html_page.h"

enum { HTML_LAYERS = 500, HTML_FINDINGS = 500, BAR = 160, BAR_HEIGHT = 14 };

static const char *class_of(int outcome)
{
    return outcome > 0 ? "illegal" : outcome < 0 ? "legal" : "";
}

static void write_head(const struct compare_result *c, struct buf *out)
{
    const struct compare_side *sides[] = {c->base, c->head};
    static const char *const columns[] = {"", "Model", "March", "Report", "Options", "Verdict", NULL};
    html_table(out, columns);
    for (int i = 0; i < 2; i++) {
        const struct compare_side *s = sides[i];
        buf_puts(out, "<tr>");
        html_cell(out, s->label);
        html_cell(out, s->model_name);
        html_cell(out, s->march);
        html_cell(out, s->kinds);
        html_cell(out, s->options);
        buf_printf(out, "<td class=\"%s\">%s</td></tr>\n",
                   s->verdict && strcmp(s->verdict, "illegal") == 0 ? "illegal" : "legal",
                   s->verdict ? s->verdict : "");
    }
    html_table_end(out);
}

/* The first screen: the figures that people ask for, as large numbers. */
static void write_answer(const struct compare_result *c, struct buf *out)
{
    static const enum figure first[] = {FIGURE_LATENCY, FIGURE_FPS, FIGURE_DDR, FIGURE_TOP1, FIGURE_SQNR, FIGURE_ILLEGAL};
    char d[64], p[64], h[64];
    buf_puts(out, "<ul class=\"figures\">");
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        enum figure f = first[i];
        const struct figure_value *x = &c->figures[0][f], *y = &c->figures[1][f];
        if (!x->known || !y->known)
            continue;
        buf_printf(out, "<li><b class=\"%s\">%s</b>%s, now %s (%s)</li>", class_of(compare_outcome(f, x->v, y->v)),
                   compare_percent_text(x->v, y->v, p, sizeof p), figure_row(f)->label,
                   figure_text(f, y->v, h, sizeof h), compare_delta_text(f, y->v - x->v, d, sizeof d));
    }
    if (!c->no_findings)
        buf_printf(out, "<li><b class=\"%s\">+%d −%d</b>findings</li>", c->gained_count ? "illegal" : "legal",
                   c->gained_count, c->lost_count);
    buf_puts(out, "</ul>\n");
}

static void write_figures(const struct compare_result *c, struct buf *out)
{
    static const char *const columns[] = {"Figure", "#Base", "#Head", "#Change", "#", "", NULL};
    char b[64], h[64], d[64], p[64];
    int same = 0, rows = 0;
    for (int f = 0; f < FIGURE_COUNT; f++) {
        const struct figure_value *x = &c->figures[0][f], *y = &c->figures[1][f];
        if (!x->known || !y->known)
            continue;
        if (!compare_differs(x->v, y->v)) {
            same++;
            continue;
        }
        if (!rows++) {
            html_heading(out, "Figures", NULL);
            html_table(out, columns);
        }
        int outcome = compare_outcome((enum figure)f, x->v, y->v);
        buf_puts(out, "<tr>");
        html_cell(out, figure_row((enum figure)f)->label);
        html_number(out, "%s", figure_text((enum figure)f, x->v, b, sizeof b));
        html_number(out, "%s", figure_text((enum figure)f, y->v, h, sizeof h));
        html_number(out, "%s", compare_delta_text((enum figure)f, y->v - x->v, d, sizeof d));
        html_number(out, "%s", compare_percent_text(x->v, y->v, p, sizeof p));
        buf_printf(out, "<td class=\"%s\">%s</td></tr>\n", class_of(outcome),
                   outcome > 0 ? "worse" : outcome < 0 ? "better" : "");
    }
    if (rows)
        html_table_end(out);
    if (same)
        buf_printf(out, "<p class=\"hint\">%d figure%s the same.</p>\n", same, same == 1 ? " is" : "s are");
}

static void finding_row(const char *what, const char *class, const struct compare_finding *f, struct buf *out)
{
    buf_printf(out, "<tr><td class=\"%s\">%s</td><td class=\"%s\">%s</td><td><code>", class, what, f->severity_name,
               f->severity_name);
    buf_xml(out, f->rule);
    buf_puts(out, "</code></td>");
    html_cell(out, f->node);
    html_cell(out, f->message);
    buf_puts(out, "</tr>\n");
}

static void write_findings(const struct compare_result *c, struct buf *out)
{
    static const char *const columns[] = {"", "Severity", "Rule", "Node", "", NULL};
    int shown = 0;
    html_heading(out, "Findings", NULL);
    if (c->no_findings) {
        buf_puts(out, "<p class=\"hint\">They were not compared: ");
        buf_xml(out, c->no_findings);
        buf_puts(out, ".</p>\n");
        return;
    }
    buf_printf(out, "<p>%d gained, %d lost, %d changed, %d as before</p>\n", c->gained_count, c->lost_count,
               c->graver_count, c->kept_count);
    if (!c->gained_count && !c->lost_count && !c->graver_count)
        return;
    html_table(out, columns);
    for (int i = 0; i < c->gained_count && shown < HTML_FINDINGS; i++, shown++)
        finding_row("gained", "illegal", c->gained[i], out);
    for (int i = 0; i < c->graver_count && shown < HTML_FINDINGS; i++, shown++)
        finding_row(c->graver[i].head->severity < c->graver[i].base->severity ? "graver" : "milder", "",
                    c->graver[i].head, out);
    for (int i = 0; i < c->lost_count && shown < HTML_FINDINGS; i++, shown++)
        finding_row("lost", "legal", c->lost[i], out);
    html_table_end(out);
    if (c->gained_count + c->lost_count + c->graver_count > shown)
        html_hint(out, "The rest stands in the JSON report.");
}

static void write_bar(double delta, double most, bool lower_is_better, struct buf *out)
{
    double width = most > 0 ? fabs(delta) / most * BAR / 2 : 0;
    bool worse = (delta > 0) == lower_is_better;
    buf_printf(out, "<td><svg role=\"img\" aria-label=\"%s\" width=\"%d\" height=\"%d\"><rect x=\"%.1f\" y=\"2\" "
                    "width=\"%.1f\" height=\"%d\" fill=\"var(%s)\"/><path d=\"M%d 0v%d\" stroke=\"var(--line)\"/></svg></td>",
               delta == 0 ? "no change" : worse ? "worse" : "better", BAR, BAR_HEIGHT,
               worse ? BAR / 2. : BAR / 2. - width, width, BAR_HEIGHT - 4, worse ? "--red" : "--ok", BAR / 2,
               BAR_HEIGHT);
}

static const char *layer_number(const struct layer_change *x, int side, enum layer_figure f, char *out, size_t size)
{
    if (!x->known[side][f])
        return "–";
    if (f == LAYER_LOAD || f == LAYER_STORE || f == LAYER_SPILL)
        return figure_bytes(x->v[side][f], out, size);
    snprintf(out, size, "%.5g", x->v[side][f]);
    return out;
}

static double delta_of(const struct layer_change *x, enum layer_figure f)
{
    return (x->known[1][f] ? x->v[1][f] : 0) - (x->known[0][f] ? x->v[0][f] : 0);
}

/* "12.1 → 15.0" where it differs, one number where it does not. */
static void write_change(const struct layer_change *x, enum layer_figure f, struct buf *out)
{
    char b[48], h[48];
    const char *from = layer_number(x, 0, f, b, sizeof b), *to = layer_number(x, 1, f, h, sizeof h);
    if (strcmp(from, to) == 0)
        html_number(out, "%s", to);
    else
        html_number(out, "%s → %s", from, to);
}

static void layer_row(const struct compare_result *c, const struct layer_change *x, double most, struct buf *out)
{
    char p[64] = "";
    buf_puts(out, "<tr>");
    html_cell(out, layer_status_name(x->status));
    buf_puts(out, "<td><code>");
    buf_xml(out, x->head_names ? x->head_names : x->base_names);
    buf_puts(out, "</code>");
    if (x->base_names && x->head_names && strcmp(x->base_names, x->head_names) != 0) {
        buf_puts(out, "<br><small>was <code>");
        buf_xml(out, x->base_names);
        buf_puts(out, "</code></small>");
    }
    if (x->reshaped)
        buf_puts(out, "<br><small>another shape</small>");
    buf_puts(out, "</td>");
    html_cell(out, x->head ? x->head->op : x->base->op);
    write_change(x, c->by, out);
    html_number(out, "%+.4g", delta_of(x, c->by));
    if (x->known[0][c->by] && x->known[1][c->by])
        compare_percent_text(x->v[0][c->by], x->v[1][c->by], p, sizeof p);
    html_number(out, "%s", p);
    write_bar(delta_of(x, c->by), most, c->by != LAYER_SQNR, out);
    if (c->by != LAYER_SQNR) {
        write_change(x, LAYER_OPS, out);
        write_change(x, LAYER_LOAD, out);
        write_change(x, LAYER_STORE, out);
    }
    buf_puts(out, "</tr>\n");
}

static void write_layers(const struct compare_result *c, struct buf *out)
{
    char by[48];
    const char *columns[] = {"", "Layer", "Operator", by, "#Change", "#", "", "#Operations", "#Loaded", "#Stored", NULL};
    double most = 0;
    snprintf(by, sizeof by, "#%s", layer_figure_label(c->by));
    html_heading(out, "Layers", c->no_layers ? NULL : "Those that changed the most come first.");
    if (c->no_layers) {
        buf_puts(out, "<p class=\"hint\">They were not compared: ");
        buf_xml(out, c->no_layers);
        buf_puts(out, ".</p>\n");
        return;
    }
    buf_printf(out, "<p>%d unchanged, %d changed, %d added, %d removed, %d fused, %d split; %d renamed</p>\n",
               c->unchanged, c->counts[LAYER_CHANGED], c->counts[LAYER_ADDED], c->counts[LAYER_REMOVED],
               c->counts[LAYER_FUSED], c->counts[LAYER_SPLIT], c->renamed);
    if (!c->layer_count)
        return;
    if (c->by == LAYER_SQNR)
        columns[7] = NULL;
    for (int i = 0; i < c->layer_count; i++)
        most = fmax(most, fabs(delta_of(&c->layers[i], c->by)));
    buf_puts(out, "<div style=\"overflow-x:auto\">");
    html_table(out, columns);
    for (int i = 0; i < c->layer_count && i < HTML_LAYERS; i++)
        layer_row(c, &c->layers[i], most, out);
    html_table_end(out);
    buf_puts(out, "</div>\n");
    if (c->layer_count > HTML_LAYERS)
        buf_printf(out, "<p class=\"hint\">%d more change less; the JSON report has them.</p>\n",
                   c->layer_count - HTML_LAYERS);
}

bool report_compare_html(const struct compare_result *c, struct buf *out, struct bpu_error *err)
{
    html_open(out, c->head->model_name, NULL, "compared");
    buf_puts(out, "<p>Compared with ");
    buf_xml(out, c->base->model_name);
    buf_puts(out, ".</p>\n");
    write_answer(c, out);
    gates_html(&c->gates, out);
    write_head(c, out);
    write_figures(c, out);
    write_findings(c, out);
    write_layers(c, out);
    html_close(out, c->head->model_id);
    return buf_ok(out, err);
}
