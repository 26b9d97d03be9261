/* report_compile: bpuhub.compile/1, a page of text, and the heat map.
 *
 * A figure that does not exist is {"availability": "unavailable", "reason": …}, never 0. */
#include "core/job/report_compile.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/version.h"
#include "core/check/json_write.h"
#include "core/draw/draw.h"

enum { TEXT_LAYERS = 10 };

static const char *const buffer_kinds[] = {[BUFFER_MAP] = "map",
                                           [BUFFER_WEIGHTS] = "weights",
                                           [BUFFER_TABLE] = "table",
                                           [BUFFER_SUMS] = "sums"};

static const char placeholder_note[] =
    "The model has no scales and no calibration data was given: every scale is a placeholder of 1/16. "
    "Speed, memory and traffic are those of the real network, results are not.";

/* ── what is asked of it ── */

struct ranked {
    double cycles;
    int source;
};

static int by_cycles(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->cycles < y->cycles || y->cycles < x->cycles)
        return x->cycles > y->cycles ? -1 : 1;
    return (x->source > y->source) - (x->source < y->source);
}

int *report_compile_order(const struct compilation *c, struct bpu_error *err)
{
    int n = c->program->source_count;
    struct ranked *list = ARENA_ARRAY(c->arena, struct ranked, n, err);
    int *order = list ? ARENA_ARRAY(c->arena, int, n, err) : NULL;
    if (!order)
        return NULL;
    for (int i = 0; i < n; i++)
        list[i] = (struct ranked){c->sources_of[i].cycles, i};
    qsort(list, (size_t)n, sizeof *list, by_cycles);
    for (int i = 0; i < n; i++)
        order[i] = list[i].source;
    return order;
}

static double share_of(const struct compilation *c, double cycles)
{
    return c->timing.end > 0 ? cycles / c->timing.end : 0;
}

const char *report_compile_verdict(const struct compilation *c, char *out, size_t size)
{
    int most = 0;
    for (int lane = 1; lane < PROGRAM_LANES; lane++)
        if (c->timing.busy[lane] > c->timing.busy[most])
            most = lane;
    snprintf(out, size, "The %s engine%s is busy %.0f %% of the time; DDR moves bytes in %.0f %% of it.",
             engine_name((enum engine)(most % ENGINE_COUNT)),
             c->program->cores > 1 ? (most < ENGINE_COUNT ? " of core 0" : " of core 1") : "",
             100 * share_of(c, c->timing.busy[most]), 100 * share_of(c, c->timing.ddr_busy));
    return out;
}

/* ── JSON ── */

static void write_time(struct json_writer *w, const struct compilation *c, const char *key,
                       double cycles)
{
    if (c->machine->clock_mhz.v > 0)
        writer_real(w, key, compile_us(c, cycles));
    else
        writer_missing(w, key, "the clock of this march is not known");
}

static void write_head(struct json_writer *w, const struct compilation *c)
{
    writer_head(w, "bpuhub.compile/1", c->model_id, c->model_name, c->graph->format);
    writer_text(w, "march", march_name(c->target));
    writer_text(w, "verdict", "legal");
    writer_open(w, "options", '{');
    writer_text(w, "opt", compile_level_name(c->with.level));
    if (c->with.level == LEVEL_BALANCE)
        writer_int(w, "balance_factor", c->with.balance);
    writer_int(w, "cores", c->program->cores);
    writer_text(w, "canonical", c->program->options);
    writer_close(w, '}');
    writer_text(w, "scales", c->scales);
    writer_flag(w, "uncalibrated", c->program->uncalibrated);
}

static void write_notes(struct json_writer *w, const struct compilation *c)
{
    writer_open(w, "notes", '[');
    if (c->program->uncalibrated)
        writer_text(w, NULL, placeholder_note);
    for (int i = 0; i < c->fixed->note_count; i++)
        writer_text(w, NULL, c->fixed->notes[i]);
    for (int i = 0; i < c->check->note_count; i++)
        writer_text(w, NULL, c->check->notes[i]);
    writer_close(w, ']');
}

static void write_summary(struct json_writer *w, const struct compilation *c)
{
    const struct compile_summary *s = &c->summary;
    double bound = compile_bound_cycles(c);
    int64_t macs = 0;
    for (int i = 0; i < c->program->source_count; i++)
        macs += c->program->sources[i].macs;
    writer_open(w, "summary", '{');
    writer_int(w, "layers", s->layers);
    writer_int(w, "groups", s->groups);
    writer_int(w, "maps", s->maps);
    writer_int(w, "spilled_maps", s->spilled);
    writer_int(w, "host_nodes", c->host_nodes);
    writer_int(w, "instructions", s->instructions);
    writer_int(w, "program_bytes", s->program_bytes);
    writer_int(w, "constant_bytes", c->program->constant_bytes);
    writer_int(w, "macs", macs);
    writer_int(w, "sram_peak_bytes", s->sram_peak);
    writer_int(w, "sram_bound_bytes", s->sram_bound);
    writer_int(w, "sram_bytes", (int64_t)c->machine->sram_bytes.v);
    writer_int(w, "ddr_load_bytes", s->ddr_load);
    writer_int(w, "ddr_store_bytes", s->ddr_store);
    writer_int(w, "ddr_bound_bytes", s->ddr_bound);
    writer_real(w, "predicted_cycles", c->timing.end);
    writer_real(w, "compute_cycles", s->compute_cycles);
    writer_real(w, "bound_cycles", bound);
    write_time(w, c, "predicted_us", c->timing.end);
    write_time(w, c, "bound_us", bound);
    write_time(w, c, "idle_us", c->idle);
    if (c->machine->clock_mhz.v > 0 && c->timing.end > 0)
        writer_real(w, "fps", 1e6 / compile_us(c, c->timing.end));
    else
        writer_missing(w, "fps", "the clock of this march is not known");
    writer_close(w, '}');
    writer_open(w, "ddr", '{');
    for (int t = TRAFFIC_CONSTANTS; t < TRAFFIC_COUNT; t++) {
        char key[32];
        snprintf(key, sizeof key, "%s_bytes", traffic_name((enum traffic)t));
        writer_int(w, key, c->traffic[t]);
    }
    write_time(w, c, "busy_us", c->timing.ddr_busy);
    write_time(w, c, "lost_to_sharing_us", c->timing.ddr_slowed);
    writer_close(w, '}');
}

static void write_engines(struct json_writer *w, const struct compilation *c)
{
    writer_open(w, "engines", '[');
    for (int lane = 0; lane < PROGRAM_LANES; lane++) {
        if (c->timing.count[lane] == 0)
            continue;
        writer_open(w, NULL, '{');
        writer_int(w, "core", lane / ENGINE_COUNT);
        writer_text(w, "engine", engine_name((enum engine)(lane % ENGINE_COUNT)));
        writer_int(w, "instructions", c->timing.count[lane]);
        write_time(w, c, "busy_us", c->timing.busy[lane]);
        writer_real(w, "utilization", share_of(c, c->timing.busy[lane]));
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void write_ports(struct json_writer *w, const struct compilation *c, const char *key,
                        const struct program_io *list, int count)
{
    (void)c;
    writer_open(w, key, '[');
    for (int i = 0; i < count; i++) {
        const struct program_io *x = &list[i];
        writer_open(w, NULL, '{');
        writer_text(w, "name", x->name);
        writer_open(w, "shape", '[');
        for (int k = 0; k < x->shape.rank; k++)
            writer_int(w, NULL, x->shape.dim[k]);
        writer_close(w, ']');
        writer_text(w, "dtype", dtype_name(x->dtype));
        writer_text(w, "host_dtype", dtype_name(x->host_dtype));
        if (x->quant.count == 1)
            writer_real(w, "scale", x->quant.scale[0]);
        else if (x->quant.count > 1) {
            writer_open(w, "scale", '[');
            for (int k = 0; k < x->quant.count; k++)
                writer_real(w, NULL, x->quant.scale[k]);
            writer_close(w, ']');
        } else
            writer_null(w, "scale");
        writer_text(w, "layout", io_layout_name(x->layout));
        writer_text(w, "source", io_source_name(x->source));
        writer_int(w, "ddr_address", x->address);
        writer_int(w, "bytes", x->bytes);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void write_layers(struct json_writer *w, const struct compilation *c)
{
    writer_open(w, "layers", '[');
    for (int i = 0; i < c->program->source_count; i++) {
        const struct program_source *s = &c->program->sources[i];
        const struct source_figures *f = &c->sources_of[i];
        writer_open(w, NULL, '{');
        writer_text(w, "name", s->name);
        writer_text(w, "op", s->op);
        writer_open(w, "shape_nhwc", '[');
        writer_int(w, NULL, s->n);
        writer_int(w, NULL, s->h);
        writer_int(w, NULL, s->w);
        writer_int(w, NULL, s->c);
        writer_close(w, ']');
        writer_int(w, "macs", s->macs);
        writer_int(w, "instructions", f->instructions);
        write_time(w, c, "time_us", f->cycles);
        writer_real(w, "share", share_of(c, f->cycles));
        writer_open(w, "busy_us", '{');
        for (int e = 0; e < ENGINE_COUNT; e++)
            if (f->busy[e] > 0)
                write_time(w, c, engine_name((enum engine)e), f->busy[e]);
        writer_close(w, '}');
        writer_int(w, "ddr_load_bytes", f->load);
        writer_int(w, "ddr_store_bytes", f->store);
        writer_int(w, "spill_bytes", f->spills);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void write_memory(struct json_writer *w, const struct compilation *c)
{
    writer_open(w, "memory", '[');
    for (int i = 0; i < c->program->buffer_count; i++) {
        const struct program_buffer *b = &c->program->buffers[i];
        writer_open(w, NULL, '{');
        writer_text(w, "name", b->name);
        writer_int(w, "core", b->core);
        writer_text(w, "kind", b->kind <= BUFFER_SUMS ? buffer_kinds[b->kind] : "other");
        writer_int(w, "address", b->address);
        writer_int(w, "bytes", b->bytes);
        writer_int(w, "first_instruction", b->first);
        writer_int(w, "last_instruction", b->last);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

bool report_compile_json(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    struct json_writer w = {.out = out};
    writer_open(&w, NULL, '{');
    write_head(&w, c);
    write_notes(&w, c);
    write_summary(&w, c);
    if (c->gates.count)
        gates_json(&w, "gates", &c->gates);
    report_findings_json(&w, c->check);
    write_engines(&w, c);
    write_ports(&w, c, "inputs", c->program->inputs, c->program->input_count);
    write_ports(&w, c, "outputs", c->program->outputs, c->program->output_count);
    write_layers(&w, c);
    write_memory(&w, c);
    writer_close(&w, '}');
    buf_putc(out, '\n');
    return buf_ok(out, err);
}

/* ── text ── */

static double mib(int64_t bytes)
{
    return (double)bytes / (1 << 20);
}

bool report_compile_text(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    const struct compile_summary *s = &c->summary;
    char line[256];
    int *order = report_compile_order(c, err);
    if (!order)
        return false;
    buf_printf(out, "%s compiled for %s at %s, %d core%s\n\n", c->model_name, march_name(c->target),
               compile_level_name(c->with.level), c->program->cores,
               c->program->cores == 1 ? "" : "s");
    buf_printf(out, "  time          %.1f us (%.1f frames/s); no less than %.1f us\n",
               compile_us(c, c->timing.end),
               c->timing.end > 0 ? 1e6 / compile_us(c, c->timing.end) : 0,
               compile_us(c, compile_bound_cycles(c)));
    buf_printf(out, "  DDR           %.3f MiB in, %.3f MiB out; no less than %.3f MiB together\n",
               mib(s->ddr_load), mib(s->ddr_store), mib(s->ddr_bound));
    buf_printf(out, "  on chip       %.3f MiB of %.3f MiB at the most; %d of %d maps do not stay\n",
               mib(s->sram_peak), (double)c->machine->sram_bytes.v / (1 << 20), s->spilled,
               s->maps);
    buf_printf(out, "  program       %" PRId64 " instructions, %.3f MiB with constants\n",
               s->instructions, mib(s->program_bytes));
    if (c->host_nodes)
        buf_printf(out, "  on the CPU    %d node%s\n", c->host_nodes, c->host_nodes == 1 ? "" : "s");
    buf_printf(out, "\n  %s\n\n  longest layers%*s time    share\n",
               report_compile_verdict(c, line, sizeof line), 34, "");
    for (int i = 0; i < c->program->source_count && i < TEXT_LAYERS; i++) {
        const struct source_figures *f = &c->sources_of[order[i]];
        if (!(f->cycles > 0))
            break;
        buf_printf(out, "  %-44.44s %9.2f us  %5.1f %%\n", c->program->sources[order[i]].name,
                   compile_us(c, f->cycles), 100 * share_of(c, f->cycles));
    }
    if (c->program->uncalibrated)
        buf_printf(out, "\n%s\n", placeholder_note);
    for (int i = 0; i < c->fixed->note_count; i++)
        buf_printf(out, "note: %s\n", c->fixed->notes[i]);
    gates_text(&c->gates, out);
    return buf_ok(out, err);
}

/* ── heat map ── */

bool report_compile_heat(const struct compilation *c, struct buf *out, struct bpu_error *err)
{
    const struct program *p = c->program;
    int n = c->fixed->node_count;
    double *share = ARENA_ARRAY(c->arena, double, n, err);
    const char **figures = share ? ARENA_ARRAY(c->arena, const char *, n, err) : NULL;
    if (!figures)
        return false;
    for (int i = 0; i < n; i++)
        share[i] = -1;
    for (int i = 0; i < p->source_count; i++) {
        const struct node *node = graph_find_node(c->fixed, p->sources[i].name);
        if (!node)
            continue; /* a whole tensor: an input, a constant */
        share[node->index] = fmax(0, share[node->index]) + share_of(c, c->sources_of[i].cycles);
        figures[node->index] =
            arena_printf(c->arena, err, "%.3g us", compile_us(c, c->sources_of[i].cycles));
        if (!figures[node->index])
            return false;
    }
    const struct draw_heat heat = {share, figures, "of the time of one run"};
    return draw_heat_svg(c->fixed, &heat, out, err);
}
