/* "timeline" and "memory": what each engine does when, and what lies on the chip when.
 *
 * Both are as long as the program; a report stays readable by its reader's patience.  Above a bound,
 * instructions that are shorter than a pixel of a wide picture become one bar, and the smallest buffers
 * are left out; the report says so, and how many there were. */
#include <stdlib.h>

#include "core/job/report_perf.h"

enum { MOST_BARS = 2000 /* of a lane that is not thinned */, MOST_BUFFERS = 4000 };

static const char *const buffer_kinds[] = {[BUFFER_MAP] = "map",
                                           [BUFFER_WEIGHTS] = "weights",
                                           [BUFFER_TABLE] = "table",
                                           [BUFFER_SUMS] = "sums"};

/* ── timeline ── */

struct bar {
    double start, end, busy; /* cycles */
    uint32_t layer;          /* of the longest of its instructions */
    double longest;
    int instructions;
};

struct lane {
    struct json_writer *w;
    double us, resolution; /* cycles; bars that fit into one become one */
    struct bar bar;
    int bars;
};

static void put_bar(struct lane *l)
{
    if (l->bar.instructions == 0)
        return;
    writer_open(l->w, NULL, '[');
    report_perf_real(l->w, NULL, l->bar.start * l->us);
    report_perf_real(l->w, NULL, l->bar.end * l->us);
    writer_int(l->w, NULL, l->bar.layer);
    writer_int(l->w, NULL, l->bar.instructions);
    report_perf_real(l->w, NULL, l->bar.busy * l->us);
    writer_close(l->w, ']');
    l->bars++;
    l->bar = (struct bar){0};
}

static void add_instruction(struct lane *l, const struct timed *t, uint32_t layer)
{
    struct bar *b = &l->bar;
    double time = t->end - t->start;
    if (b->instructions > 0 && !(t->end - b->start <= l->resolution))
        put_bar(l);
    if (b->instructions == 0)
        *b = (struct bar){.start = t->start, .layer = layer, .longest = time};
    b->end = t->end;
    b->busy += time;
    b->instructions++;
    if (time > b->longest) {
        b->longest = time;
        b->layer = layer;
    }
}

static int write_lane(struct json_writer *w, const struct perf_model *m, int lane, const int *next,
                      int first)
{
    const struct perf *p = &m->perf;
    int64_t count = m->c.timing.count[lane];
    struct lane l = {.w = w, .us = 1 / p->machine->clock_mhz.v};
    if (count > MOST_BARS)
        l.resolution = m->c.timing.end / MOST_BARS;
    else
        l.resolution = -1;
    writer_open(w, NULL, '{');
    writer_int(w, "core", lane / ENGINE_COUNT);
    writer_text(w, "engine", engine_name((enum engine)(lane % ENGINE_COUNT)));
    writer_int(w, "instructions", count);
    report_perf_real(w, "busy_us", p->busy_us[lane]);
    report_perf_real(w, "utilization", p->latency_us > 0 ? p->busy_us[lane] / p->latency_us : 0);
    writer_open(w, "bars", '[');
    for (int i = first; i >= 0; i = next[i])
        add_instruction(&l, &m->c.timing.at[i], p->program->code[i].source);
    put_bar(&l);
    writer_close(w, ']');
    writer_close(w, '}');
    return l.bars;
}

bool report_perf_timeline(struct json_writer *w, const struct perf_model *m, struct bpu_error *err)
{
    const struct program *p = m->perf.program;
    struct arena_mark mark = arena_mark(m->c.arena);
    int *next = ARENA_ARRAY(m->c.arena, int, p->code_count, err), first[PROGRAM_LANES], bars = 0;
    if (!next)
        return false;
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        first[lane] = -1;
    for (int i = p->code_count - 1; i >= 0; i--) {
        next[i] = first[instruction_lane(&p->code[i])];
        first[instruction_lane(&p->code[i])] = i;
    }
    writer_open(w, "timeline", '{');
    writer_open(w, "columns", '[');
    static const char *const columns[] = {"start_us", "end_us", "layer", "instructions", "busy_us"};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        writer_text(w, NULL, columns[i]);
    writer_close(w, ']');
    writer_open(w, "lanes", '[');
    for (int lane = 0; lane < PROGRAM_LANES; lane++)
        if (first[lane] >= 0)
            bars += write_lane(w, m, lane, next, first[lane]);
    writer_close(w, ']');
    writer_flag(w, "thinned", bars < p->code_count);
    writer_int(w, "bars", bars);
    writer_int(w, "instructions", p->code_count);
    writer_close(w, '}');
    arena_rewind(m->c.arena, mark);
    return true;
}

/* ── memory ── */

static int largest_first(const void *a, const void *b)
{
    const struct program_buffer *x = *(struct program_buffer *const *)a;
    const struct program_buffer *y = *(struct program_buffer *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x > y) - (x < y);
}

static int in_order(const void *a, const void *b)
{
    const struct program_buffer *x = *(struct program_buffer *const *)a;
    const struct program_buffer *y = *(struct program_buffer *const *)b;
    return (x > y) - (x < y);
}

static void write_buffer(struct json_writer *w, const struct perf_model *m,
                         const struct program_buffer *b)
{
    const struct timed *at = m->c.timing.at;
    double us = 1 / m->perf.machine->clock_mhz.v;
    double from = at[b->first].start, to = at[b->last].end;
    writer_open(w, NULL, '{');
    writer_text(w, "name", b->name);
    writer_int(w, "core", b->core);
    writer_text(w, "kind", b->kind < BUFFER_KINDS ? buffer_kinds[b->kind] : "other");
    writer_int(w, "address", b->address);
    writer_int(w, "bytes", b->bytes);
    report_perf_real(w, "from_us", from * us);
    report_perf_real(w, "to_us", (to > from ? to : from) * us);
    writer_close(w, '}');
}

bool report_perf_memory(struct json_writer *w, const struct perf_model *m, struct bpu_error *err)
{
    const struct perf *p = &m->perf;
    int count = p->program->buffer_count, shown = count < MOST_BUFFERS ? count : MOST_BUFFERS;
    struct arena_mark mark = arena_mark(m->c.arena);
    struct program_buffer **list = ARENA_ARRAY(m->c.arena, struct program_buffer *, count, err);
    if (!list)
        return false;
    for (int i = 0; i < count; i++)
        list[i] = &p->program->buffers[i];
    if (shown < count) {
        qsort(list, (size_t)count, sizeof *list, largest_first);
        qsort(list, (size_t)shown, sizeof *list, in_order);
    }
    writer_open(w, "memory", '{');
    writer_int(w, "sram_bytes", (int64_t)p->machine->sram_bytes.v);
    writer_int(w, "sram_peak_bytes", m->sram_peak);
    writer_open(w, "over_time", '[');
    for (int i = 0; i < p->interval_count; i++) {
        writer_open(w, NULL, '{');
        report_perf_real(w, "start_us", i * p->interval_us);
        writer_int(w, "sram_bytes", p->intervals[i].sram_bytes);
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_open(w, "buffers", '[');
    for (int i = 0; i < shown; i++)
        write_buffer(w, m, list[i]);
    writer_close(w, ']');
    writer_flag(w, "thinned", shown < count);
    writer_int(w, "buffer_count", count);
    writer_close(w, '}');
    arena_rewind(m->c.arena, mark);
    return true;
}
