/* Colours, legend and head line.
 *
 * Every rule stands below .bpu-drawing, so that the drawing can be put inline into a page.  Plain
 * colours come first, for viewers that know no media queries; dark colours apply on screens only,
 * so that print is light. */
#include "core/draw/label.h"
#include "core/draw/svg.h"
#include "core/ops/op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Light fill, light line, dark fill, dark line. Red, orange and yellow are kept for findings. */
static const struct {
    const char *name, *text, *fill, *line, *dark_fill, *dark_line;
} classes[OPC_COUNT] = {
    [OPC_CONV] = {"conv", "convolution", "#dbe9fd", "#7fa8e6", "#17345c", "#4f7fc4"},
    [OPC_MATMUL] = {"matmul", "matrix", "#dfe0fc", "#9193e0", "#2a2b62", "#6c6fc9"},
    [OPC_POOL] = {"pool", "pooling", "#d3f0ee", "#67bdb6", "#0f403d", "#3d9189"},
    [OPC_ELTWISE] = {"eltwise", "elementwise", "#e9f0d6", "#a5b86f", "#333d17", "#7d9046"},
    [OPC_ACTIVATION] = {"activation", "activation", "#dcf3e0", "#7fc08c", "#163f20", "#4b8f5a"},
    [OPC_LUT] = {"lut", "lookup", "#d9f2e6", "#6fbf9b", "#123e2c", "#3f9069"},
    [OPC_NORM] = {"norm", "normalization", "#ecdffa", "#b08fdb", "#3a2459", "#8760b8"},
    [OPC_REDUCE] = {"reduce", "reduction", "#d5eef6", "#6fb4cb", "#103d4d", "#3e8aa3"},
    [OPC_RESIZE] = {"resize", "resize", "#d6ecfa", "#79b3d9", "#123a52", "#4587ad"},
    [OPC_MOVE] = {"move", "data movement", "#e8ecf1", "#a3afbd", "#2b333d", "#657282"},
    [OPC_QUANT] = {"quant", "quantization", "#eeeeee", "#b5b5b5", "#303030", "#707070"},
    [OPC_SHAPE] = {"shape", "shape arithmetic", "#eeeeee", "#b5b5b5", "#303030", "#707070"},
    [OPC_RECURRENT] = {"recurrent", "recurrent", "#f0ddf3", "#c08bc9", "#451f4d", "#9a5ca5"},
    [OPC_DETECT] = {"detect", "detection", "#f5dff0", "#cc93bd", "#4a2142", "#a5628f"},
    [OPC_OTHER] = {"other", "other", "#eceae6", "#b3ada3", "#35322d", "#787166"},
};

const char *svg_op_class(const struct node *n)
{
    return classes[n->op && n->op->class < OPC_COUNT ? n->op->class : OPC_OTHER].name;
}

/* Fill and line of a heat map, from cold to hot; the same on a dark page. */
static const struct {
    const char *fill, *line;
} heat[SVG_HEAT_LEVELS] = {
    {"#fffbea", "#d8d0b0"}, {"#fff0c2", "#d9c48a"}, {"#ffdf97", "#d9b066"}, {"#ffc671", "#d69a4a"},
    {"#ffa65c", "#cf7f38"}, {"#f67d52", "#bf5a34"}, {"#dc5250", "#a33638"}, {"#a92f52", "#7c1f3b"},
};
enum { HEAT_DARK = 6 }; /* from here on text is white */

int svg_heat_level(const struct scene *s, const struct node *n)
{
    double share = s->heat->share[n->index];
    if (share < 0)
        return -1;
    int level = s->hottest > 0 ? (int)(share / s->hottest * SVG_HEAT_LEVELS) : 0;
    return level < SVG_HEAT_LEVELS ? level : SVG_HEAT_LEVELS - 1;
}

static void heat_rules(struct buf *out)
{
    for (int i = 0; i < SVG_HEAT_LEVELS; i++)
        buf_printf(out,
                   ".bpu-drawing .h%d .b{fill:%s;stroke:%s}\n.bpu-drawing .h%d .t,.bpu-drawing "
                   ".h%d .d,.bpu-drawing .h%d .m{fill:%s}\n",
                   i, heat[i].fill, heat[i].line, i, i, i, i < HEAT_DARK ? "#14202c" : "#fff");
}

static void rules(struct buf *out, bool dark)
{
    for (int i = 0; i < OPC_COUNT; i++)
        buf_printf(out, ".bpu-drawing .k-%s .b{fill:%s;stroke:%s}\n", classes[i].name,
                   dark ? classes[i].dark_fill : classes[i].fill,
                   dark ? classes[i].dark_line : classes[i].line);
    static const char *const light[] = {
        ".bg{fill:#fff}",
        ".t{fill:#14202c}",
        ".d{fill:#33414f}",
        ".m{fill:#64707d}",
        ".e path{stroke:#8794a3}",
        ".e .a{fill:#8794a3}",
        ".l{fill:#3e4b59}",
        ".e:hover path{stroke:#1f6feb}",
        ".e:hover .a{fill:#1f6feb}",
        ".e:hover .l{fill:#1f6feb}",
        ".term .b{fill:#22303e;stroke:#22303e}",
        ".term .t{fill:#fff}",
        ".term .d{fill:#c9d4df}",
        ".fold .b{fill:#f4f4f4;stroke:#cfcfcf}",
        ".fold .t{fill:#6d6d6d}",
        ".tag rect{fill:#ececec}",
        ".tag text{fill:#6d6d6d}",
        ".far .b{fill:#fff;stroke:#9aa6b2}",
        ".far .t{fill:#505c68}",
        ".bad .b{fill:#ffd7d5;stroke:#cf222e}",
        ".bad .halo{stroke:#cf222e}",
        ".bad .t{fill:#82071e}",
        ".bad .mark{fill:#cf222e}",
        ".band{fill:#cf222e}",
        ".ind .b{fill:#ffe7cc;stroke:#d4700a}",
        ".ind .t{fill:#703500}",
        ".ind .mark{fill:#d4700a}",
        ".warn circle{fill:#f5c518;stroke:#8a6d00}",
        ".warn text{fill:#3a2e00}",
    };
    static const char *const night[] = {
        ".bg{fill:#0f141a}",
        ".s.no{fill:#ff9a96}",
        ".t{fill:#eef3f8}",
        ".d{fill:#c3ced9}",
        ".m{fill:#93a0ad}",
        ".e path{stroke:#66737f}",
        ".e .a{fill:#66737f}",
        ".l{fill:#b4c0cc}",
        ".e:hover path{stroke:#6cb0ff}",
        ".e:hover .a{fill:#6cb0ff}",
        ".e:hover .l{fill:#6cb0ff}",
        ".term .b{fill:#d5dee7;stroke:#d5dee7}",
        ".term .t{fill:#14202c}",
        ".term .d{fill:#45525f}",
        ".fold .b{fill:#20262d;stroke:#414a54}",
        ".fold .t{fill:#9aa4ae}",
        ".tag rect{fill:#2a3038}",
        ".tag text{fill:#9aa4ae}",
        ".far .b{fill:#0f141a;stroke:#5e6a76}",
        ".far .t{fill:#a5b1bd}",
        ".bad .b{fill:#5d1217;stroke:#ff6a69}",
        ".bad .halo{stroke:#ff6a69}",
        ".bad .t{fill:#ffd7d5}",
        ".bad .mark{fill:#e5534b}",
        ".band{fill:#ff6a69}",
        ".ind .b{fill:#54300a;stroke:#f0932b}",
        ".ind .t{fill:#ffe2c2}",
        ".ind .mark{fill:#c8690b}",
        ".warn circle{fill:#d9a90f;stroke:#f5d76b}",
        ".warn text{fill:#1d1600}",
    };
    const char *const *list = dark ? night : light;
    size_t n = dark ? sizeof night / sizeof *night : sizeof light / sizeof *light;
    for (size_t i = 0; i < n; i++)
        buf_printf(out, ".bpu-drawing %s\n", list[i]);
}

void svg_style(const struct scene *s, struct buf *out)
{
    buf_puts(
        out,
        "<style>\n"
        ".bpu-drawing text{font-family:Inter,\"Segoe UI\",Roboto,Helvetica,Arial,sans-serif}\n");
    buf_printf(out, ".bpu-drawing .t{font-size:%gpx;font-weight:600;text-anchor:middle}\n",
               FONT_OP);
    buf_printf(out, ".bpu-drawing .d{font-size:%gpx;text-anchor:middle}\n", FONT_ATTR);
    buf_printf(out, ".bpu-drawing .m{font-size:%gpx;text-anchor:middle}\n", FONT_NAME);
    buf_printf(out, ".bpu-drawing .l{font-size:%gpx}\n", FONT_EDGE);
    buf_printf(out, ".bpu-drawing .tag text{font-size:%gpx;text-anchor:middle}\n", FONT_TAG);
    buf_printf(out, ".bpu-drawing .far .t,.bpu-drawing .fold .t{font-size:%gpx;font-weight:400}\n",
               FONT_TAG);
    buf_puts(out,
             ".bpu-drawing .h{font-size:19px;font-weight:600;text-anchor:start}\n"
             ".bpu-drawing .s{font-size:12px;text-anchor:start}\n"
             ".bpu-drawing .badge{font-size:12px;font-weight:600;fill:#fff;text-anchor:middle}\n"
             ".bpu-drawing .ok{fill:#1a7f37}.bpu-drawing .no{fill:#cf222e}\n"
             ".bpu-drawing .e path{fill:none;stroke-width:1.3}\n"
             ".bpu-drawing .e .a{stroke:none}\n"
             ".bpu-drawing .e:hover path{stroke-width:2.6}\n"
             ".bpu-drawing .bad .b{stroke-width:2.5}\n"
             ".bpu-drawing .ind .b{stroke-width:2}\n"
             ".bpu-drawing .far .b{stroke-dasharray:3 2}\n"
             ".bpu-drawing .halo{fill:none;stroke-width:6;stroke-opacity:.25}\n"
             ".bpu-drawing .sign{fill:none;stroke:#fff;stroke-width:2.2;stroke-linecap:round}\n"
             ".bpu-drawing .band{fill-opacity:.07}\n"
             ".bpu-drawing .warn text{font-size:9px;font-weight:700;text-anchor:middle}\n"
             ".bpu-drawing a .s{text-decoration:underline}\n");
    rules(out, false);
    buf_puts(out, "@media screen and (prefers-color-scheme:dark){\n");
    rules(out, true);
    buf_puts(out, "}\n");
    if (s->heat)
        heat_rules(out);
    buf_puts(out, "</style>\n");
}

/* ── head line ───────────────────────────────────────────────────────────────────────────── */

#define LISTED 8 /* broken rules that the header names */

static void text_at(struct buf *out, double x, double y, const char *class, const char *text)
{
    buf_puts(out, "<text class=\"");
    buf_puts(out, class);
    buf_puts(out, "\" x=\"");
    svg_number(out, x);
    buf_puts(out, "\" y=\"");
    svg_number(out, y);
    buf_puts(out, "\">");
    svg_text(out, text);
    buf_puts(out, "</text>\n");
}

#define LEGEND_WIDTH 900.0

struct pen {
    struct buf *out;
    double x, y, widest;
};

static void legend_entry(struct pen *p, const char *class, const char *text)
{
    double w = 20 + ceil(text_width(text, 12, false)) + 18;
    bool disc = strcmp(class, "warn") == 0;
    if (p->x + w > LEGEND_WIDTH && p->x > SVG_MARGIN) {
        p->x = SVG_MARGIN;
        p->y += 20;
    }
    if (disc)
        buf_printf(p->out, "<g class=\"warn\"><circle cx=\"%.0f\" cy=\"%.0f\" r=\"7\"/></g>",
                   p->x + 7, p->y - 4);
    else
        buf_printf(
            p->out,
            "<g class=\"%s\"><rect class=\"b\" x=\"%.0f\" y=\"%.0f\" width=\"14\" height=\"14\" "
            "rx=\"4\"/></g>",
            class, p->x, p->y - 11);
    text_at(p->out, p->x + 20, p->y, "s d", text);
    p->x += w;
    p->widest = fmax(p->widest, p->x);
}

/* One entry per colour, with the share from which on it is used. */
static void legend_heat(const struct scene *s, struct pen *p)
{
    char class[] = "n h0", text[96];
    for (int i = 0; i < SVG_HEAT_LEVELS; i++) {
        class[3] = (char)('0' + i);
        snprintf(text, sizeof text, "%.3g %%%s%.60s", 100 * s->hottest * i / SVG_HEAT_LEVELS,
                 i + 1 < SVG_HEAT_LEVELS ? "" : " and more ",
                 i + 1 < SVG_HEAT_LEVELS ? "" : s->heat->what);
        legend_entry(p, class, text);
    }
}

/* Says what is there and nothing else. Moves the pen to the last line. */
static void legend(const struct scene *s, struct pen *p)
{
    if (s->heat) {
        legend_heat(s, p);
        return;
    }
    bool present[OPC_COUNT] = {false}, bad = false, induced = false;
    bool tags = false, far = false, marks = false;
    for (int i = 0; i < s->layout.box_count; i++) {
        const struct box *x = &s->boxes[i];
        tags = tags || x->tag || x->folded >= 0;
        far = far || x->kind == BOX_FAR;
        marks = marks || x->warnings + x->advice > 0;
        if (x->kind != BOX_NODE)
            continue;
        const char *state = svg_box_state(x);
        bad = bad || strcmp(state, "illegal") == 0;
        induced = induced || strcmp(state, "induced") == 0;
        if (strcmp(state, "legal") == 0)
            present
                [x->node->op && x->node->op->class < OPC_COUNT ? x->node->op->class : OPC_OTHER] =
                    true;
    }
    if (bad)
        legend_entry(p, "n bad", "illegal");
    if (induced)
        legend_entry(p, "n ind", "illegal because of another node");
    for (int i = 0; i < OPC_COUNT; i++)
        if (present[i]) {
            char class[32] = "n k-";
            strncat(class, classes[i].name, sizeof class - strlen(class) - 1);
            legend_entry(p, class, classes[i].text);
        }
    if (tags)
        legend_entry(p, "n fold", "folded: no effect at run time");
    if (far)
        legend_entry(p, "n far", "line too long to draw, see its tooltip");
    if (marks)
        legend_entry(p, "warn", "warnings, advice");
}

/* Names the first rules that are broken, each a link to the first box that breaks it. */
static double list_illegal(const struct scene *s, struct buf *out, double y, double *width)
{
    const struct finding *first[LISTED];
    int count[LISTED] = {0}, rules = 0, rest = 0;
    char line[640];
    for (int i = 0; s->check && i < s->check->finding_count; i++) {
        const struct finding *f = &s->check->findings[i];
        if (f->severity != SEVERITY_ERROR || f->induced)
            continue;
        int k = 0;
        while (k < rules && strcmp(first[k]->rule, f->rule) != 0)
            k++;
        if (k == LISTED) {
            rest++;
            continue;
        }
        if (k == rules)
            first[rules++] = f;
        count[k]++;
    }
    for (int k = 0; k < rules; k++) {
        const struct finding *f = first[k];
        char times[32] = "";
        if (count[k] > 1)
            snprintf(times, sizeof times, " (%d times)", count[k]);
        snprintf(line, sizeof line, "\xE2\x9C\x95 %.60s%s at %.160s: %.240s", f->rule, times,
                 f->node ? f->node->name : "the model", f->message);
        const char *text = text_fit_start(s->arena, line, 12, LEGEND_WIDTH, &(struct bpu_error){0});
        out->failed |= !text;
        y += 18;
        *width = fmax(*width, SVG_MARGIN + text_width(text ? text : "", 12, false));
        if (f->node)
            buf_printf(out, "<a href=\"#node-%d\">", f->node->index);
        text_at(out, SVG_MARGIN, y, "s no", text ? text : "");
        if (f->node)
            buf_puts(out, "</a>\n");
    }
    if (rest > 0) {
        snprintf(line, sizeof line, "and %d more errors of other rules", rest);
        text_at(out, SVG_MARGIN, y += 18, "s no", line);
    }
    return y;
}

double svg_header(const struct scene *s, struct buf *out, double *width)
{
    const struct check_result *r = s->check;
    const char *name = s->graph->name && *s->graph->name ? s->graph->name : "model";
    const char *title = text_fit_start(s->arena, name, 19, 700, &(struct bpu_error){0});
    out->failed |= !title;
    title = title ? title : "";
    double x = SVG_MARGIN + ceil(text_width(title, 19, true) * 1.06) + 16, y = 40;
    char line[512];
    buf_puts(out, "<g class=\"header\">\n");
    text_at(out, SVG_MARGIN, y, "t h", title);
    if (r) {
        snprintf(line, sizeof line, "%s on %s", r->legal ? "legal" : "illegal",
                 march_name(r->march));
        double w = ceil(text_width(line, 12, true)) + 22;
        buf_printf(
            out,
            "<rect class=\"%s\" x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"22\" rx=\"11\"/>",
            r->legal ? "ok" : "no", x, y - 16, w);
        text_at(out, x + w / 2, y - 1, "badge", line);
        x += w;
    }
    *width = fmax(*width, x);
    if (r)
        snprintf(line, sizeof line,
                 "%d nodes: %d legal, %d illegal, %d folded \xC2\xB7 %d errors, %d warnings, %d "
                 "advice%s",
                 s->graph->node_count, r->legal_count, r->illegal_count, r->folded_count,
                 r->error_count, r->warning_count, r->advice_count,
                 r->assumed_dtypes ? " \xC2\xB7 float model, judged as if quantized" : "");
    else
        snprintf(line, sizeof line, "%d nodes, %s", s->graph->node_count,
                 s->heat ? "coloured by their share of the time" : "not checked");
    text_at(out, SVG_MARGIN, y += 22, "s d", line);
    *width = fmax(*width, SVG_MARGIN + text_width(line, 12, false));
    y += 24;
    struct pen pen = {out, SVG_MARGIN, y, 0};
    legend(s, &pen);
    *width = fmax(*width, pen.widest);
    y = list_illegal(s, out, pen.y + 6, width);
    buf_puts(out, "</g>\n");
    return y + 28;
}
