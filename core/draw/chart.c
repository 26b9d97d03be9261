/* The look of the pictures of a program.  No scripts, no fonts, no ids: they can be put inline into a page
 * beside each other. */
#include "core/draw/chart.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/draw/label.h"
#include "core/draw/svg.h"

/* Colours of classes: light, dark. a … h tell layers apart; map, weights … are kinds of memory. */
static const struct {
    const char *name, *light, *dark;
} colours[] = {
    {"map", "#7fa8e6", "#4f7fc4"},     {"weights", "#8cc9a0", "#3f8f5c"},
    {"table", "#b996e0", "#7d58b0"},   {"sums", "#d8b25c", "#9c7a2c"},
    {"spill", "#e0635a", "#e5534b"},   {"l0", "#6a9be0", "#4f86d8"},
    {"l1", "#e0a458", "#c98a3a"},      {"l2", "#6fbf8f", "#479a69"},
    {"l3", "#b58bd6", "#9567bd"},      {"l4", "#5cbcc4", "#3a97a0"},
    {"l5", "#d98cb0", "#b9648e"},      {"l6", "#a9b45c", "#87923c"},
    {"l7", "#8f9bb0", "#6c7890"},
};

static void style(struct buf *out, const char *class)
{
    buf_printf(out,
               "<style>\n.%s text{font:12px Inter,\"Segoe UI\",Roboto,Helvetica,Arial,sans-serif;"
               "fill:#33414f}\n.%s .t{font-size:19px;font-weight:600;fill:#14202c}\n"
               ".%s .r{text-anchor:end}.%s .c{text-anchor:middle}\n"
               ".%s .bg{fill:#fff}.%s .grid{stroke:#8884;fill:none}.%s .limit{stroke:#cf222e;"
               "fill:none;stroke-dasharray:5 4}\n.%s .room{fill:#8881}\n"
               ".%s path:hover{stroke:#14202c;stroke-width:1.5}\n",
               class, class, class, class, class, class, class, class, class);
    for (size_t i = 0; i < sizeof colours / sizeof colours[0]; i++)
        buf_printf(out, ".%s .%s{fill:%s}\n", class, colours[i].name, colours[i].light);
    buf_printf(out,
               "@media screen and (prefers-color-scheme:dark){\n.%s .bg{fill:#0f141a}.%s text{fill:"
               "#c3ced9}.%s .t{fill:#eef3f8}.%s path:hover{stroke:#fff}\n",
               class, class, class, class);
    for (size_t i = 0; i < sizeof colours / sizeof colours[0]; i++)
        buf_printf(out, ".%s .%s{fill:%s}\n", class, colours[i].name, colours[i].dark);
    buf_puts(out, "}\n</style>\n");
}

void chart_open(struct buf *out, const char *class, double height, const char *title,
                const char *line, const char *description)
{
    double width = CHART_LEFT + CHART_WIDTH + CHART_RIGHT;
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"%s\" width=\"%.0f\" "
               "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"",
               class, width, height, width, height);
    svg_text(out, description);
    buf_puts(out, "\">\n<title>");
    svg_text(out, title);
    buf_puts(out, "</title>\n<desc>");
    svg_text(out, description);
    buf_puts(out, "</desc>\n");
    style(out, class);
    buf_puts(out, "<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n");
    chart_text(out, "t", SVG_MARGIN, 34, title);
    chart_text(out, "", SVG_MARGIN, 56, line);
}

void chart_close(struct buf *out)
{
    buf_puts(out, "</svg>\n");
}

void chart_text(struct buf *out, const char *class, double x, double y, const char *text)
{
    buf_puts(out, "<text");
    if (*class)
        buf_printf(out, " class=\"%s\"", class);
    buf_puts(out, " x=\"");
    svg_number(out, x);
    buf_puts(out, "\" y=\"");
    svg_number(out, y);
    buf_puts(out, "\">");
    svg_text(out, text);
    buf_puts(out, "</text>\n");
}

void chart_box(struct buf *out, const char *class, double x, double y, double w, double h)
{
    buf_printf(out, "<path class=\"%s\" d=\"M", class);
    svg_number(out, x);
    buf_putc(out, ' ');
    svg_number(out, y);
    buf_putc(out, 'h');
    buf_printf(out, "%.2f", w);
    buf_putc(out, 'v');
    buf_printf(out, "%.2f", h);
    buf_printf(out, "h-%.2fz\"><title>", w);
}

void chart_end(struct buf *out)
{
    buf_puts(out, "</title></path>\n");
}

void chart_legend(struct buf *out, double *x, const char *class, const char *text)
{
    buf_printf(out, "<rect class=\"%s\" x=\"%.0f\" y=\"70\" width=\"14\" height=\"14\" rx=\"3\"/>\n",
               class, *x);
    chart_text(out, "", *x + 20, 81.5, text);
    *x += 20 + ceil(text_width(text, 12, false)) + 18;
}

double chart_step(double most, int wanted, int base)
{
    if (!(most > 0))
        return 1;
    double raw = most / wanted;
    if (base == 2)
        return fmax(1, exp2(ceil(log2(raw))));
    double power = pow(10, floor(log10(raw))), by = raw / power;
    return power * (by <= 1 ? 1 : by <= 2 ? 2 : by <= 5 ? 5 : 10);
}

void chart_axis(struct buf *out, double y0, double y1, double most, double step, double unit,
                const char *name)
{
    char text[64];
    for (int i = 0; most > 0 && i * step <= most && i < 100; i++) {
        double x = CHART_LEFT + i * step / most * CHART_WIDTH;
        buf_printf(out, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", x, y0, y1 + 4);
        snprintf(text, sizeof text, "%.6g", i * step / unit);
        chart_text(out, "c", x, y1 + 18, text);
    }
    chart_text(out, "r", CHART_LEFT - 8, y1 + 18, name);
}

void chart_count(struct buf *out, int64_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, n);
    size_t length = strlen(text), first = text[0] == '-';
    for (size_t i = 0; i < length; i++) {
        if (i > first && (length - i) % 3 == 0)
            buf_putc(out, ',');
        buf_putc(out, text[i]);
    }
}

void chart_bytes(struct buf *out, int64_t bytes)
{
    double kib = (double)bytes / 1024;
    if (bytes < 10000) {
        chart_count(out, bytes);
        buf_puts(out, " bytes");
    } else if (kib < 10000)
        buf_printf(out, "%.4g KiB", kib);
    else
        buf_printf(out, "%.4g MiB", kib / 1024);
}
