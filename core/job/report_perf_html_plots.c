/* Still pictures of a measurement: they need no script, and colours follow the page. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/draw/chart.h"
#include "core/draw/svg.h"
#include "core/job/report_perf_html.h"

#define WIDTH 1240.0
#define LEFT 92.0
#define RIGHT 24.0

static void text(struct buf *out, const char *class, double x, double y, const char *s)
{
    buf_printf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
    svg_text(out, s);
    buf_puts(out, "</text>\n");
}

static void open_plot(struct buf *out, double height, const char *label)
{
    buf_printf(out, "<svg class=\"plot\" role=\"img\" viewBox=\"0 0 %.0f %.0f\" aria-label=\"", WIDTH,
               height);
    svg_text(out, label);
    buf_puts(out, "\">\n");
}

/* ── roofline ──────────────────────────────────────────────────────────────────────────────── */

#define ROOF_HEIGHT 430.0
#define ROOF_TOP 16.0
#define ROOF_BOTTOM 378.0
#define NO_DDR_ROOM 90.0 /* at the right: layers that move nothing */

struct roof {
    double x0, x1, y0, y1; /* log10 of ops per byte, of ops a second */
    double peak, bus;      /* ops a second, bytes a second */
};

static double roof_x(const struct roof *r, double intensity)
{
    double at = (log10(intensity) - r->x0) / (r->x1 - r->x0);
    return LEFT + fmin(1, fmax(0, at)) * (WIDTH - LEFT - RIGHT - NO_DDR_ROOM);
}

static double roof_y(const struct roof *r, double rate)
{
    double at = (log10(rate) - r->y0) / (r->y1 - r->y0);
    return ROOF_BOTTOM - fmin(1, fmax(0, at)) * (ROOF_BOTTOM - ROOF_TOP);
}

/* While its engine or its transfers work, whichever takes longer: nothing is above a roof. */
static double layer_rate(const struct perf_layer *l)
{
    double us = fmax(l->compute_us, l->load_us + l->store_us);
    return us > 0 ? (double)l->ops / us * 1e6 : 0;
}

static double layer_intensity(const struct perf_layer *l)
{
    double bytes = (double)l->load_bytes + (double)l->store_bytes;
    return bytes > 0 ? (double)l->ops / bytes : 0;
}

static struct roof roof_of(const struct perf_model *m)
{
    const struct perf *p = &m->perf;
    struct roof r = {.peak = p->peak_ops,
                     .bus = m->c.machine->ddr_total_bytes.v * m->c.machine->clock_mhz.v * 1e6};
    double least_x = 1, most_x = 1000, least_y = r.peak > 0 ? r.peak / 100 : 1e9;
    if (p->ops > 0 && p->latency_us > 0)
        least_y = fmin(least_y, (double)p->ops / p->latency_us * 1e6);
    for (int i = 0; i < p->layer_count; i++) {
        double x = layer_intensity(&p->layers[i]), y = layer_rate(&p->layers[i]);
        if (x > 0) {
            least_x = fmin(least_x, x);
            most_x = fmax(most_x, x);
        }
        if (y > 0)
            least_y = fmin(least_y, y);
    }
    if (r.bus > 0 && r.peak > 0)
        most_x = fmax(most_x, 10 * r.peak / r.bus);
    r.x0 = fmax(-3, floor(log10(least_x)));
    r.x1 = fmin(7, ceil(log10(most_x)));
    r.y1 = r.peak > 0 ? log10(r.peak) + .3 : 13;
    r.y0 = fmax(r.y1 - 6, floor(log10(least_y)));
    return r;
}

static void roof_frame(const struct roof *r, struct buf *out)
{
    char name[64];
    double end = WIDTH - RIGHT - NO_DDR_ROOM;
    for (int k = (int)r->x0; k <= (int)r->x1; k++) {
        double x = roof_x(r, pow(10, k));
        buf_printf(out, "<path class=\"grid\" d=\"M%.1f %.0fV%.0f\"/>\n", x, ROOF_TOP, ROOF_BOTTOM);
        snprintf(name, sizeof name, "%g", pow(10, k));
        if (x < end - 30) /* beside "no DDR" */
            text(out, "c", x, ROOF_BOTTOM + 18, name);
    }
    for (int k = (int)ceil(r->y0); k <= r->y1; k++) {
        double y = roof_y(r, pow(10, k));
        struct buf label;
        buf_init(&label, 64);
        buf_printf(out, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>\n", LEFT, y, WIDTH - RIGHT);
        perf_rate(&label, pow(10, k));
        buf_puts(&label, "ops/s");
        text(out, "r", LEFT - 8, y + 4, buf_str(&label));
        buf_end(&label, out);
    }
    text(out, "c", (LEFT + end) / 2, ROOF_BOTTOM + 38, "operations per byte over DDR");
    text(out, "c", WIDTH - RIGHT - NO_DDR_ROOM / 2, ROOF_BOTTOM + 18, "no DDR");
    buf_printf(out, "<path class=\"axis dash\" d=\"M%.1f %.0fV%.0f\"/>\n", end + 8, ROOF_TOP, ROOF_BOTTOM);
}

static void roof_lines(const struct roof *r, struct buf *out)
{
    if (!(r->peak > 0) || !(r->bus > 0))
        return;
    double corner = r->peak / r->bus, first = fmax(pow(10, r->x0), pow(10, r->y0) / r->bus);
    struct buf label;
    buf_init(&label, 128);
    buf_printf(out, "<path class=\"roof\" d=\"M%.1f %.1fL%.1f %.1fH%.1f\"/>\n", roof_x(r, first),
               roof_y(r, first * r->bus), roof_x(r, corner), roof_y(r, r->peak), WIDTH - RIGHT);
    buf_puts(&label, "arrays in use: ");
    perf_rate(&label, r->peak);
    buf_puts(&label, "ops/s");
    text(out, "big r", WIDTH - RIGHT - NO_DDR_ROOM - 8, roof_y(r, r->peak) - 6, buf_str(&label));
    buf_end(&label, out);
    buf_init(&label, 128);
    buf_puts(&label, "DDR: ");
    perf_rate(&label, r->bus);
    buf_puts(&label, "B/s");
    double x = sqrt(first * corner), turn = 0;
    double dx = roof_x(r, corner) - roof_x(r, first), dy = roof_y(r, r->peak) - roof_y(r, first * r->bus);
    if (dx > 0)
        turn = atan2(dy, dx) * 180 / 3.14159265358979;
    buf_printf(out, "<text class=\"big c\" transform=\"translate(%.1f %.1f) rotate(%.1f)\">%s</text>\n",
               roof_x(r, x), roof_y(r, x * r->bus) - 8, turn, buf_str(&label));
    buf_end(&label, out);
}

static void roof_dot(const struct perf_model *m, const struct roof *r, const struct perf_layer *l,
                     struct buf *out)
{
    double intensity = layer_intensity(l), rate = layer_rate(l);
    double x = intensity > 0 ? roof_x(r, intensity) : WIDTH - RIGHT - NO_DDR_ROOM / 2;
    if (!intensity && NO_DDR_ROOM > 40) /* beside each other */
        x += (l->source * 37 % 61) - 30;
    buf_printf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>",
               perf_bound_class(l->bound), x, roof_y(r, rate), 3 + 14 * sqrt(fmax(0, l->share)));
    svg_text_short(out, m->c.program->sources[l->source].name);
    buf_printf(out, "\n%.2f us, %.1f %% of the time\n", l->time_us, 100 * l->share);
    perf_rate(out, rate);
    buf_puts(out, "ops/s");
    if (intensity > 0)
        buf_printf(out, ", %.3g operations per byte", intensity);
    else
        buf_puts(out, ", nothing over DDR");
    buf_printf(out, "\nbound by %s</title></circle>\n", perf_bound_name(l->bound));
}

static void bound_key(const struct perf *p, struct buf *out)
{
    buf_puts(out, "<p class=\"key\">");
    for (int b = 0; b < PERF_BOUND_NOTHING; b++) {
        bool any = false;
        for (int i = 0; i < p->layer_count && !any; i++)
            any = p->layers[i].bound == (enum perf_bound)b && p->layers[i].time_us > 0;
        if (any)
            buf_printf(out, "<span><i class=\"%s\"></i>%s: %s</span>", perf_bound_class((enum perf_bound)b),
                       perf_bound_name((enum perf_bound)b), perf_bound_text((enum perf_bound)b));
    }
    buf_puts(out, "</p>\n");
}

void perf_roofline(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    struct roof r = roof_of(m);
    struct buf label;
    double moved = (double)p->load_bytes + (double)p->store_bytes;
    double rate = p->latency_us > 0 ? (double)p->ops / p->latency_us * 1e6 : 0;
    buf_init(&label, 1024);
    buf_puts(&label, "Roofline: the network reaches ");
    perf_rate(&label, rate);
    buf_puts(&label, "operations a second of ");
    perf_rate(&label, r.peak);
    if (moved > 0)
        buf_printf(&label, "at %.3g operations per byte; the corner is at %.3g",
                   (double)p->ops / moved, r.bus > 0 ? r.peak / r.bus : 0);
    open_plot(out, ROOF_HEIGHT, buf_str(&label));
    buf_end(&label, out);
    roof_frame(&r, out);
    roof_lines(&r, out);
    buf_puts(out, "<g class=\"dots\">\n");
    for (int k = 0; k < p->layer_count && k < PAGE_LAYERS; k++) {
        const struct perf_layer *l = &p->layers[p->order[k]];
        if (l->ops > 0 && l->time_us > 0)
            roof_dot(m, &r, l, out);
    }
    buf_puts(out, "</g>\n");
    if (moved > 0 && rate > 0) {
        double x = roof_x(&r, (double)p->ops / moved), y = roof_y(&r, rate);
        buf_printf(out, "<path class=\"net\" d=\"M%.1f %.1fl7 7l-7 7l-7-7z\"><title>the whole network</title>"
                        "</path>\n",
                   x, y - 7);
        text(out, "big", x + 12, y + 4, "the network");
    }
    buf_puts(out, "</svg>\n");
    bound_key(p, out);
}

/* ── over time ─────────────────────────────────────────────────────────────────────────────── */

#define STRIP 104.0
#define STRIP_GAP 34.0
#define FINE 96 /* intervals */

struct strip {
    const struct perf *p;
    struct buf *out;
    double top, most;
};

static double strip_x(const struct perf *p, int i)
{
    return LEFT + (double)i / p->interval_count * (WIDTH - LEFT - RIGHT);
}

static void strip_frame(const struct strip *s, const char *name, const char *most)
{
    for (int k = 0; k <= 2; k++)
        buf_printf(s->out, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>\n", LEFT,
                   s->top + STRIP * k / 2, WIDTH - RIGHT);
    text(s->out, "big", LEFT, s->top - 7, name);
    text(s->out, "r", LEFT - 8, s->top + 5, most);
    text(s->out, "r", LEFT - 8, s->top + STRIP + 4, "0");
}

/* A bar per interval from `from` to `from + v` (of s->most), with its tooltip. */
static void strip_bar(const struct strip *s, const char *class, int i, double from, double v,
                      const char *what)
{
    const struct perf *p = s->p;
    double x = strip_x(p, i), w = strip_x(p, i + 1) - x;
    double scale = s->most > 0 ? STRIP / s->most : 0;
    double h = v * scale, y = s->top + STRIP - (from + v) * scale;
    if (!(h > 0))
        return;
    buf_printf(s->out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.2f\"><title>"
                       "%.4g to %.4g us: %s</title></rect>\n",
               class, x, y, fmax(.4, w - (w > 6 ? 1 : 0)), h, i * p->interval_us,
               (i + 1) * p->interval_us, what);
}

static void write_utilization(const struct strip *s)
{
    const struct perf *p = s->p;
    char what[64];
    strip_frame(s, "A compute engine works", "100 %");
    for (int i = 0; i < p->interval_count; i++) {
        snprintf(what, sizeof what, "%.0f %% of it", 100 * p->intervals[i].compute);
        strip_bar(s, "area", i, 0, fmin(1, p->intervals[i].compute), what);
    }
}

static void write_bandwidth(const struct strip *s)
{
    const struct perf *p = s->p;
    char what[96], most[32];
    snprintf(most, sizeof most, "%.3g GB/s", s->most * 1e-3);
    strip_frame(s, "DDR: loads below, stores above them; the top is what the bus can do", most);
    for (int i = 0; i < p->interval_count; i++) {
        double in = p->intervals[i].load_bytes / p->interval_us;
        double to = p->intervals[i].store_bytes / p->interval_us;
        snprintf(what, sizeof what, "loads %.2f GB/s", in * 1e-3);
        strip_bar(s, "in", i, 0, in, what);
        snprintf(what, sizeof what, "stores %.2f GB/s", to * 1e-3);
        strip_bar(s, "out", i, in, to, what);
    }
}

static void write_sram(const struct strip *s)
{
    const struct perf *p = s->p;
    char what[64], most[32];
    snprintf(most, sizeof most, "%.3g MiB", s->most / 1048576);
    strip_frame(s, "On-chip memory in use, of one core", most);
    for (int i = 0; i < p->interval_count; i++) {
        snprintf(what, sizeof what, "%.2f MiB", (double)p->intervals[i].sram_bytes / 1048576);
        strip_bar(s, "sram", i, 0, (double)p->intervals[i].sram_bytes, what);
    }
}

static void write_strips(const struct perf_model *m, const struct perf *p, struct buf *out)
{
    double bus = m->c.machine->ddr_total_bytes.v * m->c.machine->clock_mhz.v; /* bytes a us */
    double sram = m->c.machine->sram_bytes.v, height = 3 * (STRIP + STRIP_GAP) + 30;
    for (int i = 0; i < p->interval_count; i++) {
        bus = fmax(bus, (p->intervals[i].load_bytes + p->intervals[i].store_bytes) / p->interval_us);
        sram = fmax(sram, (double)p->intervals[i].sram_bytes);
    }
    open_plot(out, height, "Over the run: share of each interval in which a compute engine works, DDR "
                           "bandwidth, on-chip memory in use");
    struct strip s = {p, out, STRIP_GAP - 10, 1};
    write_utilization(&s);
    s = (struct strip){p, out, s.top + STRIP + STRIP_GAP, bus};
    write_bandwidth(&s);
    s = (struct strip){p, out, s.top + STRIP + STRIP_GAP, sram};
    write_sram(&s);
    double end = p->interval_us * p->interval_count, step = chart_step(end, 10, 10);
    for (int i = 0; i * step <= end * 1.0001 && i < 100; i++) {
        char at[32];
        snprintf(at, sizeof at, "%.6g us", i * step);
        text(out, "c", LEFT + i * step / end * (WIDTH - LEFT - RIGHT), s.top + STRIP + 20, at);
    }
    buf_puts(out, "</svg>\n");
}

/* Finer than the intervals of the report, which follow published ones. */
bool perf_over_time(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    struct arena_mark mark = arena_mark(m->c.arena);
    struct perf fine;
    if (m->perf.interval_count >= FINE) {
        if (m->perf.interval_us > 0)
            write_strips(m, &m->perf, out);
        return true;
    }
    bool ok = perf_measure(m->c.arena, m->c.program, m->c.machine, &m->c.timing, FINE, &fine, err);
    if (ok && fine.interval_count > 0 && fine.interval_us > 0)
        write_strips(m, &fine, out);
    arena_rewind(m->c.arena, mark);
    return ok;
}
