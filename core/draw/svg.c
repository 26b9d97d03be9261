/* The SVG writer: boxes, lines, marks. */
#include "core/draw/svg.h"

#include <math.h>
#include <string.h>

#include "core/draw/label.h"

const char *svg_box_state(const struct box *x)
{
    switch (x->kind) {
    case BOX_INPUT: return "input";
    case BOX_OUTPUT: return "output";
    case BOX_FAR: return "far";
    case BOX_NODE: break;
    }
    if (x->verdict == NODE_FOLDED)
        return "folded";
    return x->verdict == NODE_LEGAL ? "legal" : x->induced ? "induced" : "illegal";
}

static void attribute(struct buf *out, const char *name, double x)
{
    buf_printf(out, " %s=\"", name);
    svg_number(out, x);
    buf_putc(out, '"');
}

static void text_attribute(struct buf *out, const char *name, const char *s)
{
    buf_printf(out, " %s=\"", name);
    svg_text(out, s);
    buf_putc(out, '"');
}

static void point(struct buf *out, char letter, double x, double y)
{
    if (letter)
        buf_putc(out, letter);
    svg_number(out, x);
    buf_putc(out, ' ');
    svg_number(out, y);
}

/* ── lines ───────────────────────────────────────────────────────────────────────────────── */

static void net_paths(const struct layout_net *n, struct buf *out)
{
    bool open = false;
    buf_puts(out, "<path d=\"");
    for (int i = 0; i < n->step_count; i++) {
        const struct layout_step *s = &n->steps[i];
        switch (s->kind) {
        case STEP_MOVE:
            /* a move right after a move draws nothing */
            if (i + 1 < n->step_count && n->steps[i + 1].kind != STEP_MOVE)
                point(out, 'M', s->x, s->y);
            break;
        case STEP_LINE: point(out, 'L', s->x, s->y); break;
        case STEP_CURVE:
            point(out, 'C', s->x1, s->y1);
            point(out, ' ', s->x2, s->y2);
            point(out, ' ', s->x, s->y);
            break;
        case STEP_ARROW: open = true; break;
        }
    }
    buf_puts(out, "\"/>");
    if (!open)
        return;
    buf_puts(out, "<path class=\"a\" d=\"");
    for (int i = 0; i < n->step_count; i++) {
        const struct layout_step *s = &n->steps[i];
        if (s->kind != STEP_ARROW)
            continue;
        double bx = s->x - s->x1 * LAYOUT_ARROW, by = s->y - s->y1 * LAYOUT_ARROW;
        point(out, 'M', s->x, s->y);
        point(out, 'L', bx - s->y1 * 3, by + s->x1 * 3);
        point(out, 'L', bx + s->y1 * 3, by - s->x1 * 3);
        buf_putc(out, 'z');
    }
    buf_puts(out, "\"/>");
}

static void write_net(const struct scene *s, int i, struct buf *out)
{
    const struct layout_net *n = &s->layout.nets[i];
    if (n->step_count == 0)
        return;
    buf_puts(out, "<g class=\"e\"");
    if (s->nets[i].value)
        text_attribute(out, "data-value", s->nets[i].value->name);
    buf_puts(out, "><title>");
    svg_net_tooltip(s, i, out);
    buf_puts(out, "</title>");
    net_paths(n, out);
    if (*s->nets[i].label && (s->boxes[n->source].labels_differ || n->slot + 1 == n->slots)) {
        buf_puts(out, "<text class=\"l\"");
        attribute(out, "x", n->x + 5);
        attribute(out, "y", n->y + 14);
        buf_putc(out, '>');
        svg_text(out, s->nets[i].label);
        buf_puts(out, "</text>");
    }
    buf_puts(out, "</g>\n");
}

/* ── boxes ───────────────────────────────────────────────────────────────────────────────── */

static void rect(struct buf *out, const char *class, double x, double y, double w, double h,
                 double rx)
{
    buf_printf(out, "<rect class=\"%s\"", class);
    attribute(out, "x", x);
    attribute(out, "y", y);
    attribute(out, "width", w);
    attribute(out, "height", h);
    attribute(out, "rx", rx);
    buf_puts(out, "/>");
}

static void line_of_text(struct buf *out, const char *class, double x, double y, const char *text)
{
    if (!*text)
        return;
    buf_printf(out, "<text class=\"%s\"", class);
    attribute(out, "x", x);
    attribute(out, "y", y);
    buf_putc(out, '>');
    svg_text(out, text);
    buf_puts(out, "</text>");
}

/* A cross or an exclamation mark in a disc; drawn, so that it needs no font. */
static void sign(struct buf *out, double x, double y, bool cross)
{
    buf_puts(out, "<circle class=\"mark\"");
    attribute(out, "cx", x);
    attribute(out, "cy", y);
    buf_puts(out, " r=\"9\"/><path class=\"sign\" d=\"");
    if (cross) {
        point(out, 'M', x - 3.5, y - 3.5);
        buf_puts(out, "l7 7m0 -7l-7 7\"/>");
    } else {
        point(out, 'M', x, y - 4.5);
        buf_puts(out, "v5m0 3.5v.1\"/>");
    }
}

static void warning_mark(struct buf *out, double x, double y, int count)
{
    buf_puts(out, "<g class=\"warn\"><circle");
    attribute(out, "cx", x);
    attribute(out, "cy", y);
    buf_puts(out, " r=\"7\"/><text");
    attribute(out, "x", x);
    attribute(out, "y", y + 3.2);
    buf_printf(out, ">%d</text></g>", count);
}

/* Places of the report's folded nodes that have no box of their own. */
static void write_folded(const struct scene *s, int first, const char *into, double x, double y,
                         struct buf *out)
{
    for (int i = first; i >= 0; i = s->next_folded[i]) {
        const struct node *n = s->graph->nodes[i];
        buf_printf(out, "<g id=\"node-%d\"", i);
        text_attribute(out, "data-node", n->name);
        text_attribute(out, "data-op", n->op_name);
        buf_puts(out, " data-verdict=\"folded\"");
        text_attribute(out, "data-folded-into", into);
        buf_puts(out, " transform=\"translate(");
        point(out, 0, x, y);
        buf_puts(out, ")\"/>");
    }
}

static void open_box(const struct scene *s, int i, struct buf *out)
{
    const struct box *x = &s->boxes[i];
    const char *state = svg_box_state(x);
    const char *class = x->kind == BOX_FAR          ? "n far"
                        : x->kind != BOX_NODE       ? "n term"
                        : x->verdict == NODE_FOLDED ? "n fold"
                        : x->verdict == NODE_LEGAL  ? NULL
                        : x->induced                ? "n ind"
                                                    : "n bad";
    int heat = x->kind == BOX_NODE && s->heat ? svg_heat_level(s, x->node) : -1;
    if (heat >= 0)
        buf_printf(out, "<g class=\"n h%d\"", heat);
    else if (class)
        buf_printf(out, "<g class=\"%s\"", class);
    else
        buf_printf(out, "<g class=\"n k-%s\"", svg_op_class(x->node));
    if (x->kind == BOX_NODE) {
        buf_printf(out, " id=\"node-%d\"", x->node->index);
        text_attribute(out, "data-node", x->node->name);
        text_attribute(out, "data-op", x->node->op_name);
        buf_printf(out, " data-verdict=\"%s\"", x->verdict == NODE_ILLEGAL ? "illegal" : state);
        if (heat >= 0)
            buf_printf(out, " data-share=\"%.6f\"", s->heat->share[x->node->index]);
        if (x->verdict == NODE_ILLEGAL)
            buf_printf(out, " data-cause=\"%s\"", x->induced ? "induced" : "direct");
    } else if (x->value) {
        buf_printf(out, " id=\"%s-%d\"", state, x->value->index);
        text_attribute(out, "data-value", x->value->name);
    }
    buf_puts(out, "><title>");
    svg_box_tooltip(s, i, out);
    buf_puts(out, "</title>");
}

static void write_box(const struct scene *s, int i, struct buf *out)
{
    const struct box *x = &s->boxes[i];
    const struct layout_box *l = &s->layout.boxes[i];
    double left = l->x - l->w / 2, y = l->y;
    const char *state = svg_box_state(x);
    open_box(s, i, out);
    if (strcmp(state, "illegal") == 0)
        rect(out, "halo", left - 3, y - 3, l->w + 6, l->h + 6, 9);
    rect(out, "b", left, y, l->w, l->h, x->kind == BOX_NODE ? 7 : l->h / 2);
    if (x->kind == BOX_FAR) {
        line_of_text(out, "t", l->x, y + 12.5, x->title);
    } else {
        /* baselines; lines that are empty take no room */
        y += 18;
        line_of_text(out, "t", l->x, y, x->title);
        y += *x->detail ? 15 : 1;
        line_of_text(out, "d", l->x, y, x->detail);
        line_of_text(out, "m", l->x, y + 13, x->name);
    }
    if (x->tag) {
        double w = ceil(text_width(x->tag, FONT_TAG, false)) + 10, right = l->x - 6;
        buf_puts(out, "<g class=\"tag\">");
        rect(out, "p", right - w, l->y + l->h + 4, w, 13, 6.5);
        line_of_text(out, "p", right - w / 2, l->y + l->h + 13.5, x->tag);
        buf_puts(out, "</g>");
    }
    if (x->kind == BOX_NODE && x->verdict == NODE_ILLEGAL)
        sign(out, l->x + l->w / 2 - 2, l->y + 2, !x->induced);
    if (x->warnings + x->advice > 0)
        warning_mark(out, left + 2, l->y + 2, x->warnings + x->advice);
    write_folded(s, x->folded,
                 x->kind == BOX_NODE ? x->node->name
                 : x->value          ? x->value->name
                                     : "",
                 l->x, l->y + l->h, out);
    buf_puts(out, "</g>\n");
}

/* A faint band over the whole width at each rank with a fault: it is seen at any zoom.  Where
 * faults are everywhere, bands say nothing. */
static void write_bands(const struct scene *s, double width, struct buf *out)
{
    const struct layout *l = &s->layout;
    int ranks = 0, bad = 0;
    for (int i = 0; i < l->box_count; i++)
        ranks = l->boxes[i].rank >= ranks ? l->boxes[i].rank + 1 : ranks;
    /* by rank: the highest of its illegal boxes, plus one */
    int *tallest = ARENA_ARRAY(s->arena, int, ranks + 1, &(struct bpu_error){0});
    if (!tallest) {
        out->failed = true;
        return;
    }
    for (int i = 0; i < l->box_count; i++) {
        int *t = &tallest[l->boxes[i].rank];
        if (strcmp(svg_box_state(&s->boxes[i]), "illegal") != 0)
            continue;
        bad += *t == 0;
        if (*t == 0 || l->boxes[i].h > l->boxes[*t - 1].h)
            *t = i + 1;
    }
    for (int r = 0; r < ranks && bad * 3 <= ranks; r++) {
        if (tallest[r] == 0)
            continue;
        const struct layout_box *b = &l->boxes[tallest[r] - 1];
        buf_puts(out, "<rect class=\"band\" x=\"0\"");
        attribute(out, "y", b->y - 6);
        attribute(out, "width", width);
        attribute(out, "height", b->h + 12);
        buf_puts(out, "/>\n");
    }
}

void svg_write(const struct scene *s, struct buf *out)
{
    struct buf head;
    double width = 0;
    buf_init(&head, 1 << 20);
    double top = svg_header(s, &head, &width);
    double graph_width = s->layout.width + 2 * SVG_MARGIN;
    width = ceil(fmax(width + SVG_MARGIN, graph_width));
    double height = ceil(top + s->layout.height + SVG_MARGIN);
    const char *name = s->graph->name && *s->graph->name ? s->graph->name : "model";

    buf_puts(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"bpu-drawing\"");
    attribute(out, "width", width);
    attribute(out, "height", height);
    buf_puts(out, " viewBox=\"0 0 ");
    point(out, 0, width, height);
    buf_puts(out, "\" role=\"img\" aria-label=\"Drawing of the network ");
    svg_text(out, name);
    buf_puts(out, "\">\n<title>");
    svg_text(out, name);
    buf_printf(out, "</title>\n<desc>Data flow from top to bottom, %d nodes", s->graph->node_count);
    if (s->check)
        buf_printf(out, ": %d legal, %d illegal, %d folded on %s", s->check->legal_count,
                   s->check->illegal_count, s->check->folded_count, march_name(s->check->march));
    buf_puts(out, ".</desc>\n");
    svg_style(s, out);
    buf_puts(out, "<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n");
    buf_add(out, buf_str(&head), head.size);
    buf_puts(out, "<g class=\"graph\" transform=\"translate(");
    double shift = floor((width - s->layout.width) / 2);
    point(out, 0, shift, top);
    buf_puts(out, ")\">\n<g transform=\"translate(");
    point(out, 0, -shift, 0);
    buf_puts(out, ")\">\n");
    write_bands(s, width, out);
    buf_puts(out, "</g>\n");
    for (int i = 0; i < s->layout.net_count; i++)
        write_net(s, i, out);
    for (int i = 0; i < s->layout.box_count; i++)
        write_box(s, i, out);
    write_folded(s, s->orphans, "", 0, 0, out);
    buf_puts(out, "</g>\n</svg>\n");
    buf_end(&head, out);
}
