/* bpuhub.perf/1: what was measured, from the answer to the details.
 *
 * Every figure has its unit in its name.  A figure that does not exist is
 * {"availability": "unavailable", "reason": …}, never 0. */
#include <math.h>
#include <stdio.h>

#include "core/job/report_perf.h"

static const char placeholder_note[] =
    "The model has no scales and no calibration data was given: every scale is a placeholder. Speed, memory "
    "and traffic are those of the real network, results are not.";

static double share_of(double part, double all)
{
    return all > 0 ? part / all : 0;
}

/* ── what was measured ── */

static void write_head(struct json_writer *w, const struct perf_model *m)
{
    const struct compilation *c = &m->c;
    writer_head(w, "bpuhub.perf/1", c->model_id, c->model_name, perf_model_format(m));
    writer_text(w, "march", march_name(c->target));
    writer_text(w, "verdict", "legal");
    writer_open(w, "options", '{');
    if (m->from_program) {
        writer_missing(w, "opt", "the program was compiled before; canonical has what with");
    } else {
        writer_text(w, "opt", compile_level_name(c->with.level));
        if (c->with.level == LEVEL_BALANCE)
            writer_int(w, "balance_factor", c->with.balance);
    }
    writer_int(w, "cores", c->program->cores);
    writer_text(w, "canonical", c->program->options);
    writer_flag(w, "layer_details", m->layer_details);
    writer_close(w, '}');
    if (m->from_program)
        writer_missing(w, "scales", "a compiled program does not say where its scales are from");
    else
        writer_text(w, "scales", c->scales);
    writer_flag(w, "uncalibrated", c->program->uncalibrated);
}

static void write_notes(struct json_writer *w, const struct compilation *c)
{
    writer_open(w, "notes", '[');
    if (c->program->uncalibrated)
        writer_text(w, NULL, placeholder_note);
    for (int i = 0; c->fixed && i < c->fixed->note_count; i++)
        writer_text(w, NULL, c->fixed->notes[i]);
    for (int i = 0; c->check && i < c->check->note_count; i++)
        writer_text(w, NULL, c->check->notes[i]);
    writer_close(w, ']');
}

static void write_expected(struct json_writer *w, const struct perf_accuracy *x)
{
    if (!x->known) {
        writer_missing(w, "expected_error", x->text);
        return;
    }
    writer_open(w, "expected_error", '{');
    report_perf_real(w, "median", x->median);
    report_perf_real(w, "p90", x->p90);
    report_perf_real(w, "worst", x->worst);
    writer_int(w, "networks", x->networks);
    writer_text(w, "text", x->text);
    writer_close(w, '}');
}

/* ── layers ── */

static void write_shape(struct json_writer *w, const char *key, const int d[4])
{
    writer_open(w, key, '[');
    for (int k = 0; k < 4; k++)
        writer_int(w, NULL, d[k]);
    writer_close(w, ']');
}

static void write_engine_times(struct json_writer *w, const char *key, const double us[ENGINE_COUNT])
{
    writer_open(w, key, '{');
    for (int e = 0; e < ENGINE_COUNT; e++)
        if (us[e] > 0)
            report_perf_real(w, engine_name((enum engine)e), us[e]);
    writer_close(w, '}');
}

static void write_layer_roofline(struct json_writer *w, const struct perf_layer *l)
{
    double bytes = (double)l->load_bytes + (double)l->store_bytes;
    if (l->ops == 0) {
        writer_missing(w, "ops_per_byte", "the layer multiplies nothing");
        writer_missing(w, "ops_per_second", "the layer multiplies nothing");
        return;
    }
    if (bytes > 0)
        report_perf_real(w, "ops_per_byte", (double)l->ops / bytes);
    else
        writer_missing(w, "ops_per_byte", "the layer moves no bytes between DDR and the chip");
    if (l->compute_us > 0)
        report_perf_real(w, "ops_per_second", (double)l->ops * 1e6 / l->compute_us);
    else
        writer_missing(w, "ops_per_second", "no compute engine of the BPU works for the layer");
}

static void write_layer(struct json_writer *w, const struct perf *p, const struct perf_layer *l)
{
    const struct program_source *s = &p->program->sources[l->source];
    writer_open(w, NULL, '{');
    writer_text(w, "name", s->name);
    writer_text(w, "op", s->op);
    writer_int(w, "instructions", l->instructions);
    writer_int(w, "ops", l->ops);
    writer_int(w, "macs", s->macs);
    report_perf_real(w, "time_us", l->time_us);
    report_perf_real(w, "share", l->share);
    writer_text(w, "bound", perf_bound_name(l->bound));
    report_perf_real(w, "compute_us", l->compute_us);
    report_perf_real(w, "load_us", l->load_us);
    report_perf_real(w, "store_us", l->store_us);
    report_perf_real(w, "first_us", l->first_us);
    report_perf_real(w, "last_us", l->last_us);
    write_engine_times(w, "busy_us", l->busy_us);
    write_engine_times(w, "useful_us", l->useful_us);
    writer_int(w, "ddr_load_bytes", l->load_bytes);
    writer_int(w, "ddr_store_bytes", l->store_bytes);
    writer_int(w, "weight_bytes", l->weight_bytes);
    writer_int(w, "spill_bytes", l->spill_bytes);
    write_shape(w, "shape_nhwc", l->shape);
    write_shape(w, "aligned_shape_nhwc", l->aligned);
    report_perf_real(w, "padding", l->padding);
    write_layer_roofline(w, l);
    writer_close(w, '}');
}

static void write_layers(struct json_writer *w, const struct perf *p)
{
    writer_open(w, "layers", '[');
    for (int i = 0; i < p->layer_count; i++)
        write_layer(w, p, &p->layers[i]);
    writer_close(w, ']');
}

/* ── the whole ── */

static void write_intervals(struct json_writer *w, const struct perf *p)
{
    writer_open(w, "intervals", '[');
    for (int i = 0; i < p->interval_count; i++) {
        const struct perf_interval *cut = &p->intervals[i];
        writer_open(w, NULL, '{');
        report_perf_real(w, "start_us", i * p->interval_us);
        report_perf_real(w, "length_us", p->interval_us);
        report_perf_real(w, "compute", cut->compute);
        write_engine_times(w, "busy", cut->busy);
        report_perf_real(w, "ddr_load_bytes", cut->load_bytes);
        report_perf_real(w, "ddr_store_bytes", cut->store_bytes);
        writer_int(w, "sram_bytes", cut->sram_bytes);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

static void write_traffic(struct json_writer *w, const struct perf_model *m)
{
    const struct perf *p = &m->perf;
    writer_open(w, "traffic", '{');
    for (int t = TRAFFIC_CONSTANTS; t < TRAFFIC_COUNT; t++) {
        char key[32];
        snprintf(key, sizeof key, "%s_bytes", traffic_name((enum traffic)t));
        writer_int(w, key, p->traffic[t]);
    }
    report_perf_real(w, "busy_us", m->c.timing.ddr_busy / p->machine->clock_mhz.v);
    report_perf_real(w, "lost_to_sharing_us", m->c.timing.ddr_slowed / p->machine->clock_mhz.v);
    writer_open(w, "tensors", '[');
    for (int i = 0; i < p->tensor_count; i++) {
        const struct perf_tensor *t = &p->tensors[i];
        writer_open(w, NULL, '{');
        writer_text(w, "name", t->name);
        writer_text(w, "kind", traffic_name(t->kind));
        writer_int(w, "ddr_load_bytes", t->load_bytes);
        writer_int(w, "ddr_store_bytes", t->store_bytes);
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_close(w, '}');
}

static void write_roofline(struct json_writer *w, const struct perf *p)
{
    double bytes = (double)p->load_bytes + (double)p->store_bytes;
    double bus = p->machine->ddr_total_bytes.v * p->machine->clock_mhz.v * 1e6;
    writer_open(w, "roofline", '{');
    report_perf_real(w, "peak_ops_per_second", p->peak_ops);
    report_perf_real(w, "ddr_bytes_per_second", bus);
    report_perf_real(w, "ridge_ops_per_byte", share_of(p->peak_ops, bus));
    report_perf_real(w, "ops_per_second", share_of((double)p->ops * 1e6, p->latency_us));
    if (bytes > 0) {
        double intensity = (double)p->ops / bytes, roof = fmin(p->peak_ops, intensity * bus);
        report_perf_real(w, "ops_per_byte", intensity);
        report_perf_real(w, "roof_ops_per_second", roof);
        report_perf_real(w, "share_of_roof",
                         share_of(share_of((double)p->ops * 1e6, p->latency_us), roof));
    } else {
        static const char *const keys[] = {"ops_per_byte", "roof_ops_per_second", "share_of_roof"};
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            writer_missing(w, keys[i], "nothing moves between DDR and the chip");
    }
    writer_text(w, "bound", p->compute_bound_us >= p->ddr_bound_us ? "compute" : "ddr");
    writer_close(w, '}');
}

static void write_advice(struct json_writer *w, const struct perf *p)
{
    writer_open(w, "advice", '[');
    for (int i = 0; i < p->advice_count; i++) {
        const struct perf_advice *a = &p->advice[i];
        writer_open(w, NULL, '{');
        writer_text(w, "code", a->code);
        if (a->source >= 0)
            writer_text(w, "layer", p->program->sources[a->source].name);
        else
            writer_null(w, "layer");
        writer_text(w, "text", a->text);
        writer_text(w, "action", a->action);
        report_perf_real(w, "win_us", a->win_us);
        report_perf_real(w, "win_share", share_of(a->win_us, p->latency_us));
        if (a->actual != 0 || a->ideal != 0) {
            writer_int(w, "actual", a->actual);
            writer_int(w, "ideal", a->ideal);
        } else {
            writer_null(w, "actual");
            writer_null(w, "ideal");
        }
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

bool report_perf_json(const struct perf_model *m, struct buf *out, struct bpu_error *err)
{
    const struct perf *p = &m->perf;
    struct json_writer w = {.out = out};
    writer_open(&w, NULL, '{');
    write_head(&w, m);
    write_notes(&w, &m->c);
    report_perf_summary(&w, m);
    write_expected(&w, &m->expected);
    if (m->c.gates.count)
        gates_json(&w, "gates", &m->c.gates);
    if (m->c.check) /* a compiled program was judged before */
        report_findings_json(&w, m->c.check);
    write_advice(&w, p);
    write_roofline(&w, p);
    write_layers(&w, p);
    write_traffic(&w, m);
    write_intervals(&w, p);
    if (!report_perf_memory(&w, m, err) || !report_perf_timeline(&w, m, err))
        return false;
    writer_close(&w, '}');
    buf_putc(out, '\n');
    return buf_ok(out, err);
}
