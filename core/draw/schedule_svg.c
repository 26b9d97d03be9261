/* The schedule: a row per engine that works, a bar per instruction.
 *
 * Instructions of a layer have one colour in all rows, so that one sees what runs beside what.  Bars
 * and gaps thinner than half a pixel are drawn together, as high as the engine is busy there. */
#include "core/draw/program_svg.h"

#include <math.h>
#include <stdio.h>

#include "core/draw/chart.h"
#include "core/draw/svg.h"
#include "core/program/traffic.h"

#define ROW 30.0
#define BAR 22.0
#define THIN 0.5
#define CORE_GAP 14.0
#define LAYER_COLOURS 8

struct schedule {
    const struct program *p;
    const struct machine *m;
    const struct program_timing *t;
    struct buf *out;
    int *next; /* by instruction: the next one of its lane, or -1 */
    int first[PROGRAM_LANES];
    double y[PROGRAM_LANES]; /* 0: an engine that has nothing to do */
};

static double x_of(const struct schedule *s, double cycles)
{
    return CHART_LEFT + (s->t->end > 0 ? cycles / s->t->end : 0) * CHART_WIDTH;
}

static double microseconds(const struct schedule *s, double cycles)
{
    return s->m->clock_mhz.v > 0 ? cycles / s->m->clock_mhz.v : 0;
}

static bool link(struct schedule *s, struct arena *a, struct bpu_error *err)
{
    int last[PROGRAM_LANES];
    s->next = ARENA_ARRAY(a, int, s->p->code_count, err);
    if (!s->next)
        return false;
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        last[lane] = s->first[lane] = -1;
    for (int i = 0; i < s->p->code_count; i++) {
        int lane = instruction_lane(&s->p->code[i]);
        *(last[lane] < 0 ? &s->first[lane] : &s->next[last[lane]]) = i;
        s->next[i] = -1;
        last[lane] = i;
    }
    return true;
}

/* ── bars ── */

static const char *layer_of(const struct schedule *s, int i)
{
    uint32_t source = s->p->code[i].source;
    return source < (uint32_t)s->p->source_count ? s->p->sources[source].name : "";
}

static void write_one(const struct schedule *s, int lane, int i)
{
    static const char *const classes[LAYER_COLOURS] = {"l0", "l1", "l2", "l3",
                                                       "l4", "l5", "l6", "l7"};
    const struct instruction *in = &s->p->code[i];
    const struct timed *t = &s->t->at[i];
    enum traffic traffic = instruction_traffic(s->p, in);
    double x = x_of(s, t->start), w = x_of(s, t->end) - x;
    chart_box(s->out, traffic == TRAFFIC_SPILLS ? "spill" : classes[in->source % LAYER_COLOURS], x,
              s->y[lane], fmax(THIN, w), BAR);
    buf_printf(s->out, "%d %s ", i, isa_row((enum opcode)in->op)->name);
    svg_text_short(s->out, layer_of(s, i));
    buf_printf(s->out, "\n%.2f to %.2f us, %.0f cycles", microseconds(s, t->start),
               microseconds(s, t->end), t->end - t->start);
    if (s->t->useful[i] > 0 && t->end > t->start)
        buf_printf(s->out, ", %.0f %% of them useful",
                   100 * fmin(1, s->t->useful[i] / (t->end - t->start)));
    if (traffic != TRAFFIC_NONE) {
        buf_printf(s->out, "\n%s: ", traffic_text(traffic));
        chart_bytes(s->out, instruction_cost(s->m, in).ddr_bytes);
    }
    chart_end(s->out);
}

/* Instructions from i to before `end`, which stand closer than can be drawn. */
static void write_together(const struct schedule *s, int lane, int i, int end, int count)
{
    double from = s->t->at[i].start, to = from, busy = 0;
    int last = i, spills = 0;
    const char *first_layer = layer_of(s, i);
    for (int k = i; k != end; k = s->next[k]) {
        busy += s->t->at[k].end - s->t->at[k].start;
        to = s->t->at[k].end;
        last = k;
        spills += instruction_traffic(s->p, &s->p->code[k]) == TRAFFIC_SPILLS;
    }
    double x = x_of(s, from), w = fmax(THIN, x_of(s, to) - x);
    double share = to > from ? busy / (to - from) : 1, h = fmax(2, BAR * share);
    char class[] = "l0";
    class[1] = (char)('0' + s->p->code[i].source % LAYER_COLOURS);
    chart_box(s->out, 2 * spills > count ? "spill" : class, x, s->y[lane] + BAR - h, w, h);
    buf_printf(s->out, "%d instructions, %d to %d\n", count, i, last);
    svg_text_short(s->out, first_layer);
    if (layer_of(s, last) != first_layer) {
        buf_puts(s->out, " to ");
        svg_text_short(s->out, layer_of(s, last));
    }
    buf_printf(s->out, "\n%.2f to %.2f us, busy %.0f %%", microseconds(s, from),
               microseconds(s, to), 100 * share);
    if (spills)
        buf_printf(s->out, "\n%d move maps that do not stay on the chip", spills);
    chart_end(s->out);
}

static void write_lane(const struct schedule *s, int lane)
{
    double thin = s->t->end * THIN / CHART_WIDTH;
    for (int i = s->first[lane]; i >= 0;) {
        int end = i, count = 0;
        double to = s->t->at[i].start, start = to;
        /* Not much more than one pixel of them, so that a picture of many keeps its shape. */
        while (end >= 0 && s->t->at[end].end - s->t->at[end].start < thin &&
               s->t->at[end].start - to < thin && to - start < 2 * thin) {
            to = s->t->at[end].end;
            end = s->next[end];
            count++;
        }
        if (count > 1) {
            write_together(s, lane, i, end, count);
            i = end;
        } else {
            write_one(s, lane, i);
            i = s->next[i];
        }
    }
}

/* ── frame ── */

static double place_rows(struct schedule *s)
{
    double y = CHART_TOP + 6;
    int core = 0;
    for (int lane = 0; lane < PROGRAM_LANES; lane++) {
        s->y[lane] = 0;
        if (s->first[lane] < 0)
            continue;
        if (lane / ENGINE_COUNT != core) {
            core = lane / ENGINE_COUNT;
            y += CORE_GAP;
        }
        s->y[lane] = y;
        y += ROW;
    }
    return y;
}

static void write_labels(const struct schedule *s)
{
    char text[96];
    for (int lane = 0; lane < PROGRAM_LANES; lane++) {
        if (s->first[lane] < 0)
            continue;
        if (s->p->cores > 1)
            snprintf(text, sizeof text, "core %d %s %.0f %%", lane / ENGINE_COUNT,
                     engine_name((enum engine)(lane % ENGINE_COUNT)),
                     s->t->end > 0 ? 100 * s->t->busy[lane] / s->t->end : 0);
        else
            snprintf(text, sizeof text, "%s %.0f %%",
                     engine_name((enum engine)(lane % ENGINE_COUNT)),
                     s->t->end > 0 ? 100 * s->t->busy[lane] / s->t->end : 0);
        chart_text(s->out, "r", CHART_LEFT - 8, s->y[lane] + 16, text);
        buf_printf(s->out, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>\n", CHART_LEFT,
                   s->y[lane] + BAR, CHART_LEFT + CHART_WIDTH);
    }
}

static void write_head(const struct schedule *s, double height)
{
    const struct program *p = s->p;
    struct buf line, title;
    bool spills = false;
    buf_init(&line, 8192);
    buf_init(&title, 8192);
    for (int i = 0; i < p->code_count && !spills; i++)
        spills = instruction_traffic(p, &p->code[i]) == TRAFFIC_SPILLS;
    buf_printf(&title, "Schedule of %.200s", p->name ? p->name : "a network");
    buf_printf(&line, "%.2f us (", microseconds(s, s->t->end));
    chart_count(&line, (int64_t)s->t->end);
    buf_printf(&line, " cycles) on %.40s, ", p->march);
    chart_count(&line, p->code_count);
    buf_puts(&line, " instructions; behind each engine its share of busy time");
    chart_open(s->out, "bpu-schedule", height, buf_str(&title), buf_str(&line), buf_str(&line));
    buf_end(&line, s->out);
    buf_end(&title, s->out);
    chart_text(s->out, "", SVG_MARGIN, 81.5,
               "The colours tell layers apart: what has the same colour belongs together.");
    double x = 520;
    if (spills)
        chart_legend(s->out, &x, "spill", "moves maps that do not stay on the chip");
}

bool draw_schedule_svg(const struct program *p, const struct machine *m,
                       const struct program_timing *t, struct buf *out, struct bpu_error *err)
{
    struct arena a;
    struct schedule s = {.p = p, .m = m, .t = t, .out = out};
    arena_init(&a, (size_t)256 << 20);
    bool ok = link(&s, &a, err);
    if (ok) {
        double bottom = place_rows(&s), most = microseconds(&s, t->end);
        write_head(&s, bottom + 34);
        write_labels(&s);
        chart_axis(out, CHART_TOP, bottom, most, chart_step(most, 10, 10), 1, "us");
        for (int lane = 0; lane < PROGRAM_LANES; lane++)
            write_lane(&s, lane);
        chart_close(out);
        ok = buf_ok(out, err);
    }
    arena_fini(&a);
    return ok;
}
