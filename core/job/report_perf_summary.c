/* "summary": the keys that scripts around the vendor's tool read, with its spelling, types and units, and our
 * own, typed ones behind them.  docs/performance.md says where each number comes from.
 *
 * Figures a second follow from one run: a board that starts the next run while the last one ends may have
 * more of them. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/version.h"
#include "core/job/report_perf.h"

#define MEGABYTE ((double)(1 << 20))

double report_perf_fps(const struct perf_model *m)
{
    return m->perf.latency_us > 0 ? 1e6 * m->perf.frames / m->perf.latency_us : 0;
}

void report_perf_real(struct json_writer *w, const char *key, double v)
{
    char text[40];
    snprintf(text, sizeof text, "%.10g", v);
    writer_raw(w, key, isfinite(v) ? text : "null");
}

void report_perf_rounded(struct json_writer *w, const char *key, double v, int decimals)
{
    double unit = pow(10, decimals);
    report_perf_real(w, key, fabs(v) < 1e9 ? round(v * unit) / unit : v);
}

/* A quantity of a run, and of each of its frames: "KEY per run", "KEY per frame". */
static void write_bytes(struct json_writer *w, const struct perf *p, const char *what, int64_t v)
{
    char key[64];
    snprintf(key, sizeof key, "%s per frame", what);
    writer_int(w, key, v / p->frames);
    snprintf(key, sizeof key, "%s per run", what);
    writer_int(w, key, v);
}

static void write_ddr(struct json_writer *w, const struct perf *p)
{
    int64_t bytes = p->load_bytes + p->store_bytes;
    double second = p->latency_us > 0 ? (double)bytes * 1e6 / p->latency_us : 0;
    write_bytes(w, p, "DDR bytes", bytes);
    report_perf_rounded(w, "DDR bytes per second", second, 0);
    report_perf_rounded(w, "DDR megabytes per frame", (double)bytes / p->frames / MEGABYTE, 6);
    report_perf_rounded(w, "DDR megabytes per run", (double)bytes / MEGABYTE, 6);
    report_perf_rounded(w, "DDR megabytes per second", second / MEGABYTE, 3);
    write_bytes(w, p, "loaded bytes", p->load_bytes);
    write_bytes(w, p, "stored bytes", p->store_bytes);
}

static void write_speed(struct json_writer *w, const struct perf_model *m)
{
    const struct perf *p = &m->perf;
    if (p->latency_us > 0) {
        double fps = report_perf_fps(m);
        report_perf_rounded(w, "FPS", fps, 2);
        report_perf_rounded(w, "worst FPS", fps, 2);
        report_perf_rounded(w, "frame per second", fps, 2);
        report_perf_rounded(w, "run per second", 1e6 / p->latency_us, 2);
    } else {
        static const char *const keys[] = {"FPS", "worst FPS", "frame per second", "run per second"};
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            writer_missing(w, keys[i], "the program has no instruction that takes time");
    }
    writer_int(w, "frame per run", p->frames);
    report_perf_rounded(w, "latency (us)", p->latency_us, 3);
    report_perf_rounded(w, "latency (ms)", p->latency_us / 1000, 6);
    writer_open(w, "latency (ms) by segments", '[');
    report_perf_rounded(w, NULL, p->latency_us / 1000, 6);
    writer_close(w, ']');
}

/* ── the run in cuts ── */

static double cut_utilization(const struct perf *p, int i)
{
    return p->intervals[i].compute;
}

static double cut_seconds(const struct perf *p)
{
    return p->interval_us / 1e6;
}

static double cut_loads(const struct perf *p, int i)
{
    return p->interval_us > 0 ? p->intervals[i].load_bytes / cut_seconds(p) / MEGABYTE : 0;
}

static double cut_stores(const struct perf *p, int i)
{
    return p->interval_us > 0 ? p->intervals[i].store_bytes / cut_seconds(p) / MEGABYTE : 0;
}

static void write_cuts(struct json_writer *w, const struct perf *p, const char *key,
                       double (*of)(const struct perf *, int), int decimals)
{
    writer_open(w, key, '[');
    for (int i = 0; i < p->interval_count; i++)
        report_perf_rounded(w, NULL, of(p, i), decimals);
    writer_close(w, ']');
}

static void write_intervals(struct json_writer *w, const struct perf *p)
{
    writer_int(w, "interval number", p->interval_count);
    report_perf_rounded(w, "interval time (ms)", p->interval_us / 1000, 9);
    write_cuts(w, p, "interval computing unit utilization", cut_utilization, 3);
    write_cuts(w, p, "interval computing units utilization", cut_utilization, 3);
    write_cuts(w, p, "interval loading bandwidth (megabytes/s)", cut_loads, 0);
    write_cuts(w, p, "interval storing bandwidth (megabytes/s)", cut_stores, 0);
}

/* ── layer details ── */

/* 113246208 → "113,246,208". */
static const char *grouped(int64_t v, char out[32])
{
    char digits[24];
    size_t n = (size_t)snprintf(digits, sizeof digits, "%" PRId64, v), at = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static void write_cost(struct json_writer *w, const struct perf *p, double us)
{
    char text[64];
    snprintf(text, sizeof text, "%.0f us (%.0f%% of model)", us,
             p->latency_us > 0 ? 100 * us / p->latency_us : 0);
    writer_text(w, NULL, text);
}

static void write_dims(struct json_writer *w, const int d[4])
{
    char text[64];
    snprintf(text, sizeof text, "%dx%dx%dx%d", d[0], d[1], d[2], d[3]);
    writer_text(w, NULL, text);
}

static void write_details(struct json_writer *w, const struct perf *p)
{
    static const char *const head[] = {"layer",
                                       "ops",
                                       "computing cost (no DDR)",
                                       "load/store cost",
                                       "original output shape",
                                       "aligned output shape",
                                       "active period of time"};
    char text[64];
    writer_open(w, "layer details", '[');
    writer_open(w, NULL, '[');
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        writer_text(w, NULL, head[i]);
    writer_close(w, ']');
    for (int i = 0; i < p->layer_count; i++) {
        const struct perf_layer *l = &p->layers[i];
        if (l->instructions == 0)
            continue;
        writer_open(w, NULL, '[');
        writer_text(w, NULL, p->program->sources[l->source].name);
        writer_text(w, NULL, grouped(l->ops, text));
        write_cost(w, p, l->compute_us);
        write_cost(w, p, l->load_us + l->store_us);
        write_dims(w, l->shape);
        write_dims(w, l->aligned);
        snprintf(text, sizeof text, "%.0f us ~ %.0f us", l->first_us, l->last_us);
        writer_text(w, NULL, text);
        writer_close(w, ']');
    }
    writer_close(w, ']');
}

/* ── what was compiled ── */

static void write_features(struct json_writer *w, const struct program *p)
{
    writer_open(w, "input features", '[');
    writer_open(w, NULL, '[');
    writer_text(w, NULL, "input name");
    writer_text(w, NULL, "input size");
    writer_close(w, ']');
    for (int i = 0; i < p->input_count; i++) {
        const struct program_io *x = &p->inputs[i];
        int d[4] = {x->tile.n, x->tile.h, x->tile.w, x->tile.c};
        if (x->source != IO_DDR && x->shape.rank == 4) /* the camera's image: two planes in DDR */
            for (int k = 0; k < 4; k++)
                d[k] = (int)x->shape.dim[(const int[]){0, 2, 3, 1}[k]];
        writer_open(w, NULL, '[');
        writer_text(w, NULL, x->name);
        write_dims(w, d);
        writer_close(w, ']');
    }
    writer_close(w, ']');
}

static void write_vendor_identity(struct json_writer *w, const struct perf_model *m)
{
    char march[32];
    snprintf(march, sizeof march, "%s", march_name(m->c.target));
    for (char *c = march; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    writer_int(w, "BPU PE number", m->perf.program->cores);
    writer_int(w, "BPU core number", m->perf.program->cores);
    writer_text(w, "BPU march", march);
    writer_text(w, "HBDK version", BPU_NAME " " BPU_VERSION);
    writer_text(w, "runtime version", BPU_NAME " " BPU_VERSION);
    writer_text(w, "compiling options", m->perf.program->options);
    writer_text(w, "model name", m->perf.program->name);
    writer_text(w, "model json file", m->c.model_name);
    writer_missing(w, "model json CRC", "files are known by their SHA-256: model.id has it");
    writer_missing(w, "model param CRC", "files are known by their SHA-256: model.id has it");
    if (m->perf.program->cores == 1)
        writer_int(w, "multicore sync time (ms)", 0);
    else
        writer_missing(w, "multicore sync time (ms)",
                       "cores meet in DDR; waiting for each other is not told apart from waiting "
                       "for bytes");
}

/* ── ours ── */

static void write_typed(struct json_writer *w, const struct perf_model *m)
{
    const struct perf *p = &m->perf;
    report_perf_real(w, "latency_us", p->latency_us);
    report_perf_real(w, "idle_us", p->idle_us);
    if (p->latency_us > 0)
        report_perf_real(w, "fps", report_perf_fps(m));
    else
        writer_missing(w, "fps", "the program has no instruction that takes time");
    writer_int(w, "frames", p->frames);
    writer_int(w, "ops", p->ops);
    writer_int(w, "ddr_load_bytes", p->load_bytes);
    writer_int(w, "ddr_store_bytes", p->store_bytes);
    writer_int(w, "ddr_bytes", p->load_bytes + p->store_bytes);
    report_perf_real(w, "bound_us", p->bound_us);
    report_perf_real(w, "compute_bound_us", p->compute_bound_us);
    report_perf_real(w, "ddr_bound_us", p->ddr_bound_us);
    report_perf_real(w, "ideal_compute_us", p->ideal_compute_us);
    report_perf_real(w, "utilization", p->utilization);
    report_perf_real(w, "bound_share", p->latency_us > 0 ? p->bound_us / p->latency_us : 0);
    writer_int(w, "layers", p->layer_count);
    writer_int(w, "instructions", p->program->code_count);
    writer_int(w, "program_bytes", m->c.summary.program_bytes);
    writer_int(w, "constant_bytes", p->program->constant_bytes);
    writer_int(w, "sram_peak_bytes", m->sram_peak);
    writer_int(w, "sram_bytes", (int64_t)p->machine->sram_bytes.v);
    if (m->from_program)
        writer_missing(w, "host_nodes", "a compiled program has no nodes");
    else
        writer_int(w, "host_nodes", m->c.host_nodes);
}

void report_perf_summary(struct json_writer *w, const struct perf_model *m)
{
    const struct perf *p = &m->perf;
    writer_open(w, "summary", '{');
    writer_int(w, "BPU OPs per frame (effective)", p->ops / p->frames);
    writer_int(w, "BPU OPs per run (effective)", p->ops);
    write_vendor_identity(w, m);
    write_ddr(w, p);
    write_speed(w, m);
    write_intervals(w, p);
    write_features(w, p->program);
    if (m->layer_details)
        write_details(w, p);
    write_typed(w, m);
    writer_close(w, '}');
}
