/* The answer for a terminal: how fast, how far that can be trusted, what it costs in DDR, how close it is to
 * what is possible; then where the time goes, and what to change. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/job/report_compile.h"
#include "core/job/report_perf.h"

enum { TEXT_LAYERS = 5, TEXT_ADVICE = 5, NAME = 40 };

static double mib(int64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static double percent(double part, double all)
{
    return all > 0 ? 100 * part / all : 0;
}

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

static void write_answer(const struct perf_model *m, struct buf *out)
{
    const struct perf *p = &m->perf;
    buf_printf(out, "%s on %s: %s\n\n", m->c.model_name, march_name(m->c.target),
               p->program->options ? p->program->options : "");
    buf_printf(out, "  FPS           %.2f", report_perf_fps(m));
    if (p->frames > 1)
        buf_printf(out, " (%d frames a run)", p->frames);
    buf_printf(out, "\n  latency       %.1f us", p->latency_us);
    if (m->expected.known)
        buf_printf(out, " %s", m->expected.text);
    else
        buf_printf(out, ", expected error %s", m->expected.text);
    buf_printf(out, "\n  DDR           %.3f MiB a run: %.3f in, %.3f out",
               mib(p->load_bytes + p->store_bytes), mib(p->load_bytes), mib(p->store_bytes));
    if (p->traffic[TRAFFIC_SPILLS] > 0)
        buf_printf(out, "; %.3f of it are maps that do not stay on the chip",
                   mib(p->traffic[TRAFFIC_SPILLS]));
    buf_printf(out,
               "\n  utilization   %.1f %% of the array's peak; the bound of %.1f us (%s) is %.1f %% "
               "of the latency\n",
               100 * p->utilization, p->bound_us,
               p->compute_bound_us >= p->ddr_bound_us ? "computing" : "DDR",
               percent(p->bound_us, p->latency_us));
    buf_printf(out, "  on chip       %.3f MiB of %.3f MiB at the most\n", mib(m->sram_peak),
               p->machine->sram_bytes.v / (1 << 20));
}

static void write_layers(const struct perf *p, struct buf *out)
{
    buf_printf(out, "\n  costliest layers%*s      time   share  bound by\n", NAME - 16, "");
    for (int i = 0; i < p->layer_count && i < TEXT_LAYERS; i++) {
        const struct perf_layer *l = &p->layers[p->order[i]];
        if (!(l->time_us > 0))
            break;
        buf_printf(out, "  %-*.*s %9.1f us %5.1f %%  %s", NAME - 1, NAME - 1,
                   p->program->sources[l->source].name, l->time_us, 100 * l->share,
                   perf_bound_name(l->bound));
        if (l->padding >= .25)
            buf_printf(out, "; %.0f %% of its computing is padding", 100 * l->padding);
        buf_putc(out, '\n');
    }
    if (p->layer_count > TEXT_LAYERS)
        buf_printf(out, "  … %d more%*s %9.1f us idle\n", p->layer_count - TEXT_LAYERS, NAME - 12, "",
                   p->idle_us);
}

static void write_advice(const struct perf *p, struct buf *out)
{
    if (p->advice_count == 0)
        return;
    buf_puts(out, "\n  to win\n");
    for (int i = 0; i < p->advice_count && i < TEXT_ADVICE; i++) {
        const struct perf_advice *a = &p->advice[i];
        buf_printf(out, "  %9.1f us  %s\n%15s%s\n", a->win_us, a->text, "", a->action);
    }
    if (p->advice_count > TEXT_ADVICE)
        buf_printf(out, "%15s%d more in the report\n", "", p->advice_count - TEXT_ADVICE);
}

bool report_perf_text(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    write_answer(m, out);
    write_layers(&m->perf, out);
    write_advice(&m->perf, out);
    if (m->c.host_nodes)
        buf_printf(out, "\n%d node%s run%s on the CPU.\n", m->c.host_nodes, plural(m->c.host_nodes),
                   m->c.host_nodes == 1 ? "s" : "");
    if (m->perf.program->uncalibrated)
        buf_puts(out, "\nThe scales are placeholders: speed, memory and traffic are those of the real "
                      "network.\n");
    gates_text(&m->c.gates, out);
    return buf_ok(out, err);
}

bool report_perf_heat(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    if (m->from_program) {
        error_set(err, BPU_UNSUPPORTED, NULL, "a compiled program has no graph to draw");
        return error_hint(err, "Give the model that it was compiled from.");
    }
    return report_compile_heat(&m->c, out, err);
}
