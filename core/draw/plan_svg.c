/* The memory plan.
 *
 *   spills ── which buffers a transfer of a spilled map touches: one sweep in the order of instructions
 *   boxes ─── per core; buffers of the same place and kind that follow each other and are thinner than
 *             half a pixel become one box
 *   strip ─── what moves between chip and DDR because it does not stay, below the panels */
#include "core/draw/program_svg.h"

#include <math.h>
#include <stdlib.h>

#include "core/draw/chart.h"
#include "core/draw/svg.h"
#include "core/program/traffic.h"

#define PANEL 300.0
#define GAP 46.0
#define STRIP 28.0
#define THIN 0.5

static const struct {
    const char *class, *text;
} kinds[] = {[BUFFER_MAP] = {"map", "feature maps"},
             [BUFFER_WEIGHTS] = {"weights", "weights"},
             [BUFFER_TABLE] = {"table", "tables"},
             [BUFFER_SUMS] = {"sums", "unfinished sums"}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

struct plan {
    const struct program *p;
    const struct machine *m;
    struct buf *out;
    const struct program_buffer **order; /* by core, kind, place, time */
    unsigned char *spilled;              /* by buffer: bit 0 stored, bit 1 loaded again */
    int64_t height_bytes;
};

/* ── spills ── */

static int by_start(const void *a, const void *b)
{
    const struct program_buffer *x = *(const struct program_buffer *const *)a,
                                *y = *(const struct program_buffer *const *)b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return (x > y) - (x < y);
}

/* The tile of a transfer that lies on the chip. */
static const struct tile *chip_tile(const struct instruction *i)
{
    for (int k = 0; k < i->tile_count; k++)
        if (i->tiles[k].space == SPACE_SRAM && i->tiles[k].n > 0)
            return &i->tiles[k];
    return NULL;
}

static void mark(struct plan *plan, const int *alive, int count, int at)
{
    const struct program *p = plan->p;
    const struct instruction *i = &p->code[at];
    const struct tile *t = chip_tile(i);
    int64_t first, end;
    if (!t)
        return;
    tile_range(t, &first, &end);
    for (int k = 0; k < count; k++) {
        const struct program_buffer *b = &p->buffers[alive[k]];
        if (b->core == i->core && first < b->address + b->bytes && end > b->address)
            plan->spilled[alive[k]] |= i->engine == ENGINE_STORE ? 1 : 2;
    }
}

/* `order` is used for the sweep and sorted anew afterwards. */
static bool find_spills(struct plan *plan, struct arena *a, struct bpu_error *err)
{
    const struct program *p = plan->p;
    int *alive = ARENA_ARRAY(a, int, p->buffer_count, err), count = 0, next = 0;
    if (!alive)
        return false;
    qsort(plan->order, (size_t)p->buffer_count, sizeof *plan->order, by_start);
    for (int i = 0; i < p->code_count; i++) {
        if (instruction_traffic(p, &p->code[i]) != TRAFFIC_SPILLS)
            continue;
        for (; next < p->buffer_count && plan->order[next]->first <= (uint32_t)i; next++)
            alive[count++] = (int)(plan->order[next] - p->buffers);
        int kept = 0;
        for (int k = 0; k < count; k++)
            if (p->buffers[alive[k]].last >= (uint32_t)i)
                alive[kept++] = alive[k];
        count = kept;
        mark(plan, alive, count, i);
    }
    return true;
}

/* ── boxes ── */

static int by_place(const void *a, const void *b)
{
    const struct program_buffer *x = *(const struct program_buffer *const *)a,
                                *y = *(const struct program_buffer *const *)b;
    if (x->core != y->core)
        return x->core < y->core ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return by_start(a, b);
}

static double x_of(const struct plan *plan, double instruction)
{
    return CHART_LEFT + instruction / fmax(1, plan->p->code_count) * CHART_WIDTH;
}

static double panel_top(int core)
{
    return CHART_TOP + 18 + core * (PANEL + GAP);
}

static const char *layer_at(const struct program *p, uint32_t instruction)
{
    if (instruction >= (uint32_t)p->code_count ||
        p->code[instruction].source >= (uint32_t)p->source_count)
        return "";
    return p->sources[p->code[instruction].source].name;
}

static void tooltip(const struct plan *plan, const struct program_buffer *b, uint32_t last,
                    int together, unsigned spilled)
{
    struct buf *out = plan->out;
    if (together > 1)
        buf_printf(out, "%d buffers, the first of them ", together);
    svg_text_short(out, b->name ? b->name : "");
    buf_printf(out, "\n%s, ", b->kind < KINDS ? kinds[b->kind].text : "other");
    chart_bytes(out, b->bytes);
    buf_puts(out, " at ");
    chart_count(out, b->address);
    buf_puts(out, "\ninstructions ");
    chart_count(out, b->first);
    buf_puts(out, " to ");
    chart_count(out, last);
    const char *from = layer_at(plan->p, b->first), *to = layer_at(plan->p, last);
    buf_puts(out, "\nfrom ");
    svg_text_short(out, from);
    if (from != to) {
        buf_puts(out, " to ");
        svg_text_short(out, to);
    }
    if (spilled)
        buf_printf(out, "\ndoes not stay on the chip: %s%s%s", spilled & 1 ? "stored to DDR" : "",
                   spilled == 3 ? ", " : "", spilled & 2 ? "loaded from DDR" : "");
}

static void write_box(const struct plan *plan, const struct program_buffer *b, uint32_t last,
                      int together, unsigned spilled)
{
    double scale = PANEL / (double)plan->height_bytes;
    double x = x_of(plan, b->first), w = x_of(plan, (double)last + 1) - x;
    double h = fmax(.4, (double)b->bytes * scale);
    double y = panel_top(b->core) + PANEL - (double)b->address * scale - h;
    const char *class = spilled ? "spill" : b->kind < KINDS ? kinds[b->kind].class : "l7";
    chart_box(plan->out, class, x, y, fmax(THIN, w), h);
    tooltip(plan, b, last, together, spilled);
    chart_end(plan->out);
}

static void write_boxes(const struct plan *plan)
{
    const struct program *p = plan->p;
    double thin = THIN / CHART_WIDTH * p->code_count; /* instructions */
    for (int i = 0; i < p->buffer_count;) {
        const struct program_buffer *b = plan->order[i];
        uint32_t last = b->last;
        unsigned spilled = plan->spilled[b - p->buffers];
        int k = i + 1;
        for (; k < p->buffer_count; k++) {
            const struct program_buffer *n = plan->order[k];
            bool same = n->core == b->core && n->kind == b->kind && n->address == b->address &&
                        n->bytes == b->bytes && plan->spilled[n - p->buffers] == spilled;
            if (!same || (double)n->last - n->first + 1 > thin ||
                (double)plan->order[k - 1]->last - plan->order[k - 1]->first + 1 > thin ||
                (double)n->first - last > thin)
                break;
            last = n->last > last ? n->last : last;
        }
        write_box(plan, b, last, k - i, spilled);
        i = k;
    }
}

/* ── what does not stay ── */

struct column {
    int64_t stored, loaded;
    int first;
};

static bool write_strip(const struct plan *plan, struct arena *a, double top, struct bpu_error *err)
{
    const int wide = (int)(CHART_WIDTH / 2);
    const struct program *p = plan->p;
    struct column *columns = ARENA_ARRAY(a, struct column, wide, err);
    int64_t most = 0;
    if (!columns)
        return false;
    for (int i = 0; i < p->code_count; i++) {
        if (instruction_traffic(p, &p->code[i]) != TRAFFIC_SPILLS)
            continue;
        struct column *c = &columns[(int64_t)i * wide / p->code_count];
        int64_t bytes = instruction_cost(plan->m, &p->code[i]).ddr_bytes;
        if (c->stored + c->loaded == 0)
            c->first = i;
        *(p->code[i].engine == ENGINE_STORE ? &c->stored : &c->loaded) += bytes;
        most = c->stored + c->loaded > most ? c->stored + c->loaded : most;
    }
    chart_text(plan->out, "r", CHART_LEFT - 8, top + STRIP - 6, "spills");
    for (int k = 0; k < wide; k++) {
        const struct column *c = &columns[k];
        if (c->stored + c->loaded == 0)
            continue;
        double h = fmax(2, (double)(c->stored + c->loaded) / (double)most * STRIP);
        chart_box(plan->out, "spill", CHART_LEFT + 2.0 * k, top + STRIP - h, 2, h);
        buf_puts(plan->out, "from instruction ");
        chart_count(plan->out, c->first);
        buf_puts(plan->out, ", ");
        svg_text_short(plan->out, layer_at(p, (uint32_t)c->first));
        buf_puts(plan->out, "\nstored: ");
        chart_bytes(plan->out, c->stored);
        buf_puts(plan->out, "\nloaded: ");
        chart_bytes(plan->out, c->loaded);
        chart_end(plan->out);
    }
    return true;
}

/* ── frame ── */

static void write_panel(const struct plan *plan, int core)
{
    struct buf *out = plan->out;
    double top = panel_top(core), scale = PANEL / (double)plan->height_bytes;
    double room = (double)plan->m->sram_bytes.v;
    double step = chart_step((double)plan->height_bytes, 6, 2);
    struct buf text;
    if (!svg_line_init(&text))
        out->failed = true;
    if (room > 0)
        buf_printf(out,
                   "<rect class=\"room\" x=\"%.0f\" y=\"%.1f\" width=\"%.0f\" height=\"%.1f\"/>\n",
                   CHART_LEFT, top + PANEL - room * scale, CHART_WIDTH, room * scale);
    for (int i = 0; i * step <= (double)plan->height_bytes; i++) {
        double v = i * step, y = top + PANEL - v * scale;
        buf_printf(out, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>\n", CHART_LEFT - 4, y,
                   CHART_LEFT + CHART_WIDTH);
        buf_clear(&text);
        chart_bytes(&text, (int64_t)v);
        chart_text(out, "r", CHART_LEFT - 8, y + 4, i > 0 ? buf_str(&text) : "0");
    }
    buf_clear(&text);
    buf_printf(&text, "core %d", core);
    chart_text(out, "", SVG_MARGIN, top + 4, buf_str(&text));
    buf_fini(&text);
}

/* Lines that stand above the boxes. */
static void write_limits(const struct plan *plan, int core)
{
    double top = panel_top(core), scale = PANEL / (double)plan->height_bytes;
    double lines[] = {(double)plan->m->sram_bytes.v, (double)plan->p->sram_bytes};
    for (int i = 0; i < 2; i++)
        if (lines[i] > 0)
            buf_printf(plan->out, "<path class=\"%s\" d=\"M%.0f %.1fH%.0f\"/>\n",
                       i == 0 ? "limit" : "grid", CHART_LEFT, top + PANEL - lines[i] * scale,
                       CHART_LEFT + CHART_WIDTH);
}

static void write_head(const struct plan *plan, double height, int spilled)
{
    const struct program *p = plan->p;
    struct buf line, title;
    buf_init(&line, 8192);
    buf_init(&title, 8192);
    buf_printf(&title, "Memory plan of %.200s", p->name ? p->name : "a network");
    chart_bytes(&line, p->sram_bytes);
    buf_puts(&line, " of ");
    chart_bytes(&line, (int64_t)plan->m->sram_bytes.v);
    buf_printf(&line, " of on-chip memory %sused on %.40s; ", p->cores > 1 ? "of each core " : "",
               p->march);
    chart_count(&line, p->buffer_count);
    buf_printf(&line, " buffers, %d of feature maps that do not stay", spilled);
    chart_open(plan->out, "bpu-plan", height, buf_str(&title), buf_str(&line), buf_str(&line));
    buf_end(&line, plan->out);
    buf_end(&title, plan->out);
    double x = SVG_MARGIN;
    for (int i = 0; i < KINDS; i++) {
        bool any = false;
        for (int b = 0; b < p->buffer_count; b++)
            any = any || p->buffers[b].kind == i;
        if (any)
            chart_legend(plan->out, &x, kinds[i].class, kinds[i].text);
    }
    if (spilled)
        chart_legend(plan->out, &x, "spill", "does not stay on the chip");
}

static bool write_plan(struct plan *plan, struct arena *a, struct bpu_error *err)
{
    const struct program *p = plan->p;
    int spilled = 0;
    int64_t room = (int64_t)plan->m->sram_bytes.v;
    plan->order = ARENA_ARRAY(a, const struct program_buffer *, p->buffer_count, err);
    plan->spilled = plan->order ? ARENA_ARRAY(a, unsigned char, p->buffer_count, err) : NULL;
    if (!plan->spilled)
        return false;
    plan->height_bytes = p->sram_bytes > room ? p->sram_bytes : room;
    for (int i = 0; i < p->buffer_count; i++) {
        const struct program_buffer *b = &p->buffers[i];
        plan->order[i] = b;
        if (b->address + b->bytes > plan->height_bytes)
            plan->height_bytes = b->address + b->bytes;
    }
    if (plan->height_bytes < 1)
        plan->height_bytes = 1;
    if (!find_spills(plan, a, err))
        return false;
    qsort(plan->order, (size_t)p->buffer_count, sizeof *plan->order, by_place);
    for (int i = 0; i < p->buffer_count; i++)
        spilled += plan->spilled[i] != 0;
    double bottom = panel_top(p->cores - 1) + PANEL, strip = bottom + 12;
    double axis = spilled ? strip + STRIP : bottom;
    write_head(plan, axis + 30, spilled);
    for (int core = 0; core < p->cores; core++)
        write_panel(plan, core);
    write_boxes(plan);
    for (int core = 0; core < p->cores; core++)
        write_limits(plan, core);
    if (spilled && !write_strip(plan, a, strip, err))
        return false;
    chart_axis(plan->out, axis, axis, p->code_count, chart_step(p->code_count, 10, 10), 1,
               "instruction");
    chart_close(plan->out);
    return true;
}

bool draw_plan_svg(const struct program *p, const struct machine *m, struct buf *out,
                   struct bpu_error *err)
{
    struct arena a;
    struct plan plan = {.p = p, .m = m, .out = out};
    arena_init(&a, (size_t)256 << 20);
    bool ok = write_plan(&plan, &a, err) && buf_ok(out, err);
    arena_fini(&a);
    return ok;
}
