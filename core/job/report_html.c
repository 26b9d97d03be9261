/* One file, no scripts, nothing loaded: it can be mailed, kept beside a build, opened offline.  Links lead from a finding to
 * its node in the drawing, which is the same SVG as `bpuhub visualize` writes. */
#include "core/job/report_html.h"

#include <string.h>

#include "core/draw/draw.h"
#include "core/job/html_page.h"

static void write_head(const struct check_result *r, const struct report_head *h, struct buf *out)
{
    const char *verdict = r->legal ? "legal" : "illegal";
    html_open(out, h->model_name, march_name(r->march), verdict);
    buf_printf(out, "<p class=\"verdict %s\">%s</p>\n", verdict, r->legal ? "Legal" : "Illegal");
    buf_printf(out,
               "<p>%d nodes: %d legal, %d illegal, %d folded. %d errors, %d warnings, %d advice.</p>\n",
               r->graph->node_count, r->legal_count, r->illegal_count, r->folded_count,
               r->error_count, r->warning_count, r->advice_count);
    for (int i = 0; i < r->note_count + r->graph->note_count; i++)
        html_hint(out, i < r->note_count ? r->notes[i] : r->graph->notes[i - r->note_count]);
}

/* The layers of the hint, one a line. */
static void write_rewrite(const struct rewrite *r, struct buf *out)
{
    char shape[SHAPE_TEXT_MAX];
    buf_printf(out, "<details><summary>The layers</summary><p>With an input of %s",
               shape_text(&r->input, shape));
    if (r->parts > 1)
        buf_printf(out, ", %d times side by side, then %s", r->parts,
                   r->joined ? "torch.cat" : "torch.add");
    buf_puts(out, ":</p><ol>");
    for (int i = 0; i < r->count; i++) {
        buf_puts(out, "<li><code>");
        rewrite_step_text(&r->steps[i], out);
        buf_puts(out, "</code></li>");
    }
    buf_puts(out, "</ol></details>");
}

static void write_finding(const struct finding *f, struct buf *out)
{
    const char *severity = severity_name(f->severity);
    buf_printf(out, "<tr><td class=\"%s\">%s%s</td><td>", severity, severity,
               f->induced ? " (induced)" : "");
    if (f->node) {
        buf_printf(out, "<a href=\"#node-%d\">", f->node->index);
        buf_xml(out, f->node->name);
        buf_puts(out, "</a><br><code>");
        buf_xml(out, f->node->op_name);
        buf_puts(out, "</code>");
    } else
        buf_puts(out, "the model");
    buf_puts(out, "</td><td><code>");
    buf_xml(out, f->rule);
    buf_puts(out, "</code></td><td>");
    buf_xml(out, f->message);
    if (f->hint) {
        buf_puts(out, "<br><span class=\"hint\">");
        buf_xml(out, f->hint);
        buf_puts(out, "</span>");
    }
    if (f->rewrite)
        write_rewrite(f->rewrite, out);
    if (f->eager_replacement) {
        buf_puts(out, "<br><span class=\"hint\">In eager mode: <code>");
        buf_xml(out, f->eager_replacement);
        buf_puts(out, "</code></span>");
    }
    buf_puts(out, "</td>");
    html_cell(out, f->actual && strcmp(f->actual, "null") != 0 ? f->actual : "");
    html_cell(out, f->limit);
    buf_puts(out, "</tr>\n");
}

bool report_check_html(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err)
{
    write_head(r, h, out);
    if (r->finding_count)
        buf_puts(out, "<table><thead><tr><th>Severity</th><th>Node</th><th>Rule</th><th>Finding</th>"
                      "<th>Actual</th><th>Limit</th></tr></thead><tbody>\n");
    for (int s = SEVERITY_ERROR; s <= SEVERITY_ADVICE; s++)
        for (int i = 0; i < r->finding_count; i++)
            if (r->findings[i].severity == (enum severity)s)
                write_finding(&r->findings[i], out);
    if (r->finding_count)
        buf_puts(out, "</tbody></table>\n");
    buf_puts(out, "<div class=\"scroll\">");
    struct buf svg;
    buf_init(&svg, out->cap);
    bool ok = draw_svg(r->graph, r, &svg, err);
    const char *start = ok ? strstr(buf_str(&svg), "<svg") : NULL; /* without the XML declaration */
    if (start)
        buf_puts(out, start);
    buf_fini(&svg);
    buf_puts(out, "</div>\n");
    html_close(out, h->model_id);
    return ok && buf_ok(out, err);
}
