/* The style of all pages stands here once.  Histograms are a single path each, scaled by the square
 * root, so that the tails, which decide where to cut, can be seen beside the peak. */
#include "core/job/html_page.h"

#include <math.h>
#include <string.h>

#include "core/base/version.h"

#define HISTOGRAM_WIDTH 160
#define HISTOGRAM_HEIGHT 36

static const char style[] =
    ":root{color-scheme:light dark;--line:#8884;--red:#b3131b;--ok:#0b6b2e;--warn:#7a4b00;"
    "--bar:#2563a8}"
    "@media(prefers-color-scheme:dark){:root{--red:#ff8a8a;--ok:#7ddc9b;--warn:#ffc766;"
    "--bar:#7ab5f0}}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}"
    "h1{margin:.2em 0}h1 small{font-size:.5em;font-weight:400}h2{margin:1.6em 0 .2em}"
    ".verdict{font-size:1.3em;font-weight:700}.illegal,.error{color:var(--red)}"
    ".legal{color:var(--ok)}.warning{color:var(--warn)}"
    "table{border-collapse:collapse;width:100%;margin:1em 0}"
    "th,td{text-align:left;vertical-align:top;padding:.35em .6em;border-bottom:1px solid var(--line);"
    "overflow-wrap:anywhere}th{white-space:nowrap}.hint{opacity:.8}code{font-size:.92em}"
    "td:first-child{min-width:11em}"
    ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".figures{display:flex;flex-wrap:wrap;gap:.4em 2.4em;margin:1em 0;padding:0;list-style:none}"
    ".figures b{display:block;font-size:1.5em}"
    ".histogram{display:block}.histogram path{fill:var(--bar)}"
    ".histogram line{stroke:var(--red);stroke-dasharray:2 2}"
    ".histogram .axis{stroke:var(--line);stroke-dasharray:none}"
    ".scroll{overflow:auto;border:1px solid var(--line);border-radius:8px}"
    ".scroll svg{display:block;max-width:none}";

void html_open(struct buf *out, const char *model_name, const char *march, const char *title)
{
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
    buf_xml(out, model_name);
    if (march)
        buf_printf(out, " on %s", march);
    buf_printf(out, ": %s</title><style>%s</style></head><body>\n<h1>", title, style);
    buf_xml(out, model_name);
    if (march)
        buf_printf(out, " <small>on %s</small>", march);
    buf_puts(out, "</h1>\n");
}

void html_close(struct buf *out, const char *model_id)
{
    buf_printf(out, "<p class=\"hint\">%s %s; model <code>", BPU_NAME, BPU_VERSION);
    buf_xml(out, model_id);
    buf_puts(out, "</code></p>\n</body></html>\n");
}

void html_cell(struct buf *out, const char *text)
{
    buf_puts(out, "<td>");
    buf_xml(out, text ? text : "");
    buf_puts(out, "</td>");
}

void html_number(struct buf *out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_puts(out, "<td class=\"n\">");
    buf_vprintf(out, fmt, ap);
    buf_puts(out, "</td>");
    va_end(ap);
}

void html_hint(struct buf *out, const char *text)
{
    buf_puts(out, "<p class=\"hint\">");
    buf_xml(out, text);
    buf_puts(out, "</p>\n");
}

void html_heading(struct buf *out, const char *text, const char *below)
{
    buf_puts(out, "<h2>");
    buf_xml(out, text);
    buf_puts(out, "</h2>\n");
    if (below)
        html_hint(out, below);
}

void html_table(struct buf *out, const char *const *columns)
{
    buf_puts(out, "<table><thead><tr>");
    for (; *columns; columns++) {
        bool number = **columns == '#';
        buf_puts(out, number ? "<th class=\"n\">" : "<th>");
        buf_xml(out, *columns + number);
        buf_puts(out, "</th>");
    }
    buf_puts(out, "</tr></thead><tbody>\n");
}

void html_table_end(struct buf *out)
{
    buf_puts(out, "</tbody></table>\n");
}

static double mark_place(double v, double from, double to)
{
    return (v - from) / (to - from) * HISTOGRAM_WIDTH;
}

void html_histogram(struct buf *out, const double *counts, int bins, double from, double to,
                    double limit, const char *label)
{
    double most = 0, step = (double)HISTOGRAM_WIDTH / bins;
    for (int i = 0; i < bins; i++)
        most = fmax(most, counts[i]);
    if (!(most > 0) || !(to > from))
        return;
    buf_printf(out,
               "<svg class=\"histogram\" role=\"img\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">"
               "<title>",
               HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT, HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT);
    buf_xml(out, label);
    buf_printf(out, "</title><path d=\"M0 %d", HISTOGRAM_HEIGHT);
    for (int i = 0; i < bins; i++)
        buf_printf(out, "V%.1fH%.1f",
                   HISTOGRAM_HEIGHT - sqrt(counts[i] / most) * (HISTOGRAM_HEIGHT - 2), (i + 1) * step);
    buf_printf(out, "V%dZ\"/>", HISTOGRAM_HEIGHT);
    for (int side = -1; side <= 1; side += 2)
        if (limit > 0 && side * limit > from && side * limit < to)
            buf_printf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%d\"/>",
                       mark_place(side * limit, from, to), mark_place(side * limit, from, to),
                       HISTOGRAM_HEIGHT);
    if (from < 0 && to > 0)
        buf_printf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%d\"/>",
                   mark_place(0, from, to), mark_place(0, from, to), HISTOGRAM_HEIGHT);
    buf_puts(out, "</svg>");
}
