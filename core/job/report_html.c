/* One file, no scripts, nothing loaded: it can be mailed, kept beside a build, opened offline.  Links lead from a finding to
 * its node in the drawing, which is the same SVG as `bpuhub visualize` writes. */
#include "core/job/report_html.h"

#include <string.h>

#include "core/base/version.h"
#include "core/draw/draw.h"

static const char style[] =
    ":root{color-scheme:light dark;--line:#8884;--red:#b3131b;--ok:#0b6b2e;--warn:#7a4b00}"
    "@media(prefers-color-scheme:dark){:root{--red:#ff8a8a;--ok:#7ddc9b;--warn:#ffc766}}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}"
    "h1{margin:.2em 0}h1 small{font-size:.5em;font-weight:400}"
    ".verdict{font-size:1.3em;font-weight:700}.illegal,.error{color:var(--red)}"
    ".legal{color:var(--ok)}.warning{color:var(--warn)}"
    "table{border-collapse:collapse;width:100%;margin:1em 0}"
    "th,td{text-align:left;vertical-align:top;padding:.35em .6em;border-bottom:1px solid var(--line);"
    "overflow-wrap:anywhere}th{white-space:nowrap}.hint{opacity:.8}code{font-size:.92em}"
    ".scroll{overflow:auto;border:1px solid var(--line);border-radius:8px}"
    ".scroll svg{display:block;max-width:none}";

static void cell(struct buf *out, const char *text)
{
    buf_puts(out, "<td>");
    buf_xml(out, text ? text : "");
    buf_puts(out, "</td>");
}

static void write_head(const struct check_result *r, const struct report_head *h, struct buf *out)
{
    const char *verdict = r->legal ? "legal" : "illegal";
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
    buf_xml(out, h->model_name);
    buf_printf(out, " on %s: %s</title><style>%s</style></head><body>\n<h1>", march_name(r->march),
               verdict, style);
    buf_xml(out, h->model_name);
    buf_printf(out, " <small>on %s</small></h1>\n<p class=\"verdict %s\">%s</p>\n",
               march_name(r->march), verdict, r->legal ? "Legal" : "Illegal");
    buf_printf(out,
               "<p>%d nodes: %d legal, %d illegal, %d folded. %d errors, %d warnings, %d advice.</p>\n",
               r->graph->node_count, r->legal_count, r->illegal_count, r->folded_count,
               r->error_count, r->warning_count, r->advice_count);
    for (int i = 0; i < r->note_count + r->graph->note_count; i++) {
        buf_puts(out, "<p class=\"hint\">");
        buf_xml(out, i < r->note_count ? r->notes[i] : r->graph->notes[i - r->note_count]);
        buf_puts(out, "</p>\n");
    }
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
    if (f->eager_replacement) {
        buf_puts(out, "<br><span class=\"hint\">In eager mode: <code>");
        buf_xml(out, f->eager_replacement);
        buf_puts(out, "</code></span>");
    }
    buf_puts(out, "</td>");
    cell(out, f->actual && strcmp(f->actual, "null") != 0 ? f->actual : "");
    cell(out, f->limit);
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
    buf_printf(out, "</div>\n<p class=\"hint\">%s %s; model <code>", BPU_NAME, BPU_VERSION);
    buf_xml(out, h->model_id);
    buf_puts(out, "</code></p>\n</body></html>\n");
    return ok && buf_ok(out, err);
}
