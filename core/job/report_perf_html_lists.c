/* What the page holds as lists: the timeline as numbers for its script, traffic by what moves, layers. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/draw/svg.h"
#include "core/job/html_page.h"
#include "core/job/report_perf_html.h"

enum { ALL_BARS = 60000, WIDE = 20000, NAME_BYTES = 160, PAGE_TENSORS = 40 };

/* ── timeline ──────────────────────────────────────────────────────────────────────────────── */

/* A string inside <script type="application/json">: no character can end the element. */
static void put_json(struct buf *out, const char *s)
{
    size_t n = 0;
    buf_putc(out, '"');
    for (; s && *s; s++, n++) {
        unsigned char c = (unsigned char)*s;
        if (n >= NAME_BYTES && (c & 0xc0) != 0x80)
            break;
        if (c < 0x20 || c == '<' || c == '>' || c == '&' || c == '"' || c == '\\' || c == 0x7f)
            buf_printf(out, "\\u%04x", c);
        else
            buf_putc(out, (char)c);
    }
    buf_putc(out, '"');
}

/* What is drawn as one: an instruction, or several that are too thin to be told apart. */
struct piece {
    double start, end, longest;
    uint32_t source;
    int op, count; /* op: of the longest */
};

struct line {
    struct buf *out;
    struct piece now;
    double before; /* end of what was written last, rounded */
    bool any;
};

static void put_piece(struct line *l)
{
    if (l->now.count == 0)
        return;
    double start = round(l->now.start), end = round(l->now.end);
    buf_printf(l->out, "%s%.0f,%.0f,%u,%d", l->any ? "," : "", start - l->before, end - start,
               l->now.source, l->now.op);
    l->before = end;
    l->any = true;
    l->now = (struct piece){0};
}

static void add_piece(struct line *l, const struct instruction *i, const struct timed *t, double thin)
{
    double time = t->end - t->start;
    if (l->now.count > 0 && !(t->end - l->now.start < thin))
        put_piece(l);
    if (l->now.count == 0)
        l->now = (struct piece){.start = t->start, .longest = -1};
    if (time > l->now.longest) {
        l->now.longest = time;
        l->now.source = i->source;
        l->now.op = i->op;
    }
    l->now.end = t->end;
    l->now.count++;
}

static void put_lane(const struct perf_model *m, struct buf *out, int lane, const int *next, int first,
                     double thin)
{
    const struct program *p = m->c.program;
    const struct program_timing *t = &m->c.timing;
    struct line l = {.out = out};
    buf_puts(out, "{\"name\":\"");
    if (p->cores > 1)
        buf_printf(out, "core %d ", lane / ENGINE_COUNT);
    buf_printf(out, "%s\",\"busy\":%.4f,\"d\":[", engine_name((enum engine)(lane % ENGINE_COUNT)),
               t->end > 0 ? t->busy[lane] / t->end : 0);
    for (int i = first; i >= 0; i = next[i])
        add_piece(&l, &p->code[i], &t->at[i], thin);
    put_piece(&l);
    buf_puts(out, "]}");
}

static void put_names(const struct perf_model *m, struct buf *out)
{
    const struct program *p = m->c.program;
    buf_puts(out, "],\"names\":[");
    for (int i = 0; i < p->source_count; i++) {
        buf_puts(out, i ? "," : "");
        put_json(out, p->sources[i].name);
    }
    buf_puts(out, "],\"bound\":[");
    for (int i = 0; i < m->perf.layer_count; i++)
        buf_printf(out, "%s%d", i ? "," : "", (int)m->perf.layers[i].bound);
    buf_puts(out, "],\"bounds\":[");
    for (int b = 0; b < PERF_BOUND_COUNT; b++)
        buf_printf(out, "%s\"%s\"", b ? "," : "", perf_bound_name((enum perf_bound)b));
    buf_puts(out, "],\"ops\":[");
    for (int op = 0; op < OP_COUNT; op++)
        buf_printf(out, "%s\"%s\"", op ? "," : "", isa_row((enum opcode)op)->name);
}

bool perf_timeline(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    const struct program *p = m->c.program;
    int first[PROGRAM_LANES], last[PROGRAM_LANES];
    double thin = p->code_count > ALL_BARS ? m->c.timing.end / WIDE : 0;
    bool any = false;
    struct arena_mark mark = arena_mark(m->c.arena);
    int *next = ARENA_ARRAY(m->c.arena, int, p->code_count, err);
    if (!next)
        return false;
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        first[lane] = last[lane] = -1;
    for (int i = 0; i < p->code_count; i++) {
        int lane = instruction_lane(&p->code[i]);
        *(last[lane] < 0 ? &first[lane] : &next[last[lane]]) = i;
        next[i] = -1;
        last[lane] = i;
    }
    buf_printf(out, "<script type=\"application/json\" id=\"timeline-data\">{\"end\":%.0f,\"us\":%.9g,"
                    "\"merged\":%s,\"lanes\":[",
               m->c.timing.end, m->c.timing.end > 0 ? m->perf.latency_us / m->c.timing.end : 0,
               thin > 0 ? "true" : "false");
    for (int lane = 0; lane < PROGRAM_LANES; lane++) {
        if (first[lane] < 0)
            continue;
        buf_puts(out, any ? ",\n" : "\n");
        put_lane(m, out, lane, next, first[lane], thin);
        any = true;
    }
    put_names(m, out);
    buf_puts(out, "]}</script>\n<div id=\"timeline-live\"></div>\n");
    arena_rewind(m->c.arena, mark);
    return true;
}

/* ── traffic ───────────────────────────────────────────────────────────────────────────────── */

static void put_kinds(const struct perf *p, struct buf *out)
{
    static const char *const classes[TRAFFIC_COUNT] = {
        [TRAFFIC_NONE] = "b-nothing",   [TRAFFIC_CONSTANTS] = "b-issue", [TRAFFIC_INPUTS] = "b-compute",
        [TRAFFIC_OUTPUTS] = "b-padding", [TRAFFIC_SPILLS] = "b-host"};
    int64_t all = 0;
    for (int t = TRAFFIC_CONSTANTS; t < TRAFFIC_COUNT; t++)
        all += p->traffic[t];
    buf_puts(out, "<p class=\"bar\" style=\"display:flex;height:16px\">");
    for (int t = TRAFFIC_CONSTANTS; t < TRAFFIC_COUNT; t++)
        if (p->traffic[t] > 0)
            buf_printf(out, "<i class=\"%s\" style=\"width:%.2f%%\"></i>", classes[t],
                       100 * (double)p->traffic[t] / (double)all);
    buf_puts(out, "</p><p class=\"key\">");
    for (int t = TRAFFIC_CONSTANTS; t < TRAFFIC_COUNT; t++) {
        buf_printf(out, "<span><i class=\"%s\"></i>%s: ", classes[t], traffic_text((enum traffic)t));
        perf_size(out, (double)p->traffic[t]);
        buf_puts(out, "</span>");
    }
    buf_puts(out, "</p>\n");
}

void perf_traffic(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    char what[32];
    perf_section(out, "traffic", "What moves over DDR", "Bytes of a run in whole bursts.");
    put_kinds(p, out);
    buf_puts(out, "<div class=\"scroll\" tabindex=\"0\"><table class=\"sortable\"><caption>By tensor, the most "
                  "bytes first</caption><thead><tr><th>Tensor</th><th>Kind</th><th class=\"n\">In, bytes"
                  "</th><th class=\"n\">Out, bytes</th></tr></thead><tbody>\n");
    for (int i = 0; i < p->tensor_count && i < PAGE_TENSORS; i++) {
        const struct perf_tensor *t = &p->tensors[i];
        buf_puts(out, "<tr><td class=\"name mono\">");
        svg_text_short(out, t->name ? t->name : "");
        snprintf(what, sizeof what, "%s", traffic_name(t->kind));
        buf_printf(out, "</td><td>%s</td><td class=\"n\">", what);
        perf_count(out, t->load_bytes);
        buf_puts(out, "</td><td class=\"n\">");
        perf_count(out, t->store_bytes);
        buf_puts(out, "</td></tr>\n");
    }
    buf_puts(out, "</tbody></table></div>\n");
    if (p->tensor_count > PAGE_TENSORS)
        buf_printf(out, "<p class=\"hint\">%d others are in report.json.</p>\n",
                   p->tensor_count - PAGE_TENSORS);
    perf_section_end(out);
}

/* ── layers ────────────────────────────────────────────────────────────────────────────────── */

static const char *const columns[] = {
    "Layer",        "Bound by",    "#Time, us",    "#Share, %",     "#Compute, us",    "#Load, us",
    "#Store, us",   "#From, us",   "#To, us",      "#Operations",   "#Gops/s",         "#Padding, %",
    "Result",       "As computed", "#DDR in",      "#DDR out",      "#Weights",        "#Spilled",
    "#Instructions"};

static void put_shape(struct buf *out, const int v[4])
{
    buf_printf(out, "<td class=\"n\">%dx%dx%dx%d</td>", v[0], v[1], v[2], v[3]);
}

static void put_bytes(struct buf *out, int64_t v)
{
    buf_puts(out, "<td class=\"n\">");
    perf_count(out, v);
    buf_puts(out, "</td>");
}

static void put_layer(const struct perf_model *m, const struct perf_layer *l, struct buf *out)
{
    const struct program_source *s = &m->c.program->sources[l->source];
    buf_puts(out, "<tr><td class=\"name\"><span class=\"mono\">");
    svg_text_short(out, s->name);
    buf_puts(out, "</span><small>");
    svg_text_short(out, s->op);
    buf_printf(out, "</small></td><td><i class=\"dot %s\"></i>%s</td>", perf_bound_class(l->bound),
               perf_bound_name(l->bound));
    html_number(out, "%.2f", l->time_us);
    html_number(out, "%.2f", 100 * l->share);
    html_number(out, "%.2f", l->compute_us);
    html_number(out, "%.2f", l->load_us);
    html_number(out, "%.2f", l->store_us);
    html_number(out, "%.2f", l->first_us);
    html_number(out, "%.2f", l->last_us);
    put_bytes(out, l->ops);
    html_number(out, "%.1f", l->time_us > 0 ? (double)l->ops / l->time_us / 1e3 : 0);
    html_number(out, "%.0f", 100 * l->padding);
    put_shape(out, l->shape);
    put_shape(out, l->aligned);
    put_bytes(out, l->load_bytes);
    put_bytes(out, l->store_bytes);
    put_bytes(out, l->weight_bytes);
    put_bytes(out, l->spill_bytes);
    put_bytes(out, l->instructions);
    buf_puts(out, "</tr>\n");
}

void perf_layers_table(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    int hidden = 0;
    perf_section(out, "layers", "All layers",
                 "At every moment the engines at work share the time equally among the layers that they "
                 "work for, so that all times and the idle time add up to the latency. DDR in bytes.");
    buf_puts(out, "<div class=\"scroll\" tabindex=\"0\"><table class=\"sortable\"><caption>The longest first; "
                  "columns can be sorted</caption><thead><tr>");
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        bool number = columns[i][0] == '#';
        buf_printf(out, "<th scope=\"col\"%s>%s</th>", number ? " class=\"n\"" : "", columns[i] + number);
    }
    buf_puts(out, "</tr></thead><tbody>\n");
    for (int k = 0; k < p->layer_count; k++) {
        const struct perf_layer *l = &p->layers[p->order[k]];
        if (l->instructions == 0)
            continue;
        if (k >= PAGE_LAYERS)
            hidden++;
        else
            put_layer(m, l, out);
    }
    buf_puts(out, "</tbody></table></div>\n");
    if (hidden)
        buf_printf(out, "<p class=\"hint\">%d others are in report.json.</p>\n", hidden);
    perf_section_end(out);
}
