/* The passes are in core/check, core/quant and core/compile; here is their order, and what decides
 * between the three ways to scales. */
#include "core/job/compile_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/job/frames.h"
#include "core/job/load.h"
#include "core/job/prepare.h"
#include "core/run/kernel.h"

/* What a camera's centred pixels are worth: -128 … 127 of 128. */
#define CAMERA_SCALE (1.0 / 128)

#define PROGRAM_CAP ((size_t)4 << 30)

/* ── progress ── */

/* Where each part lies on the way of a job, for the bar. */
enum { IMPORT = 0, CHECK = 8, SCALES = 12, COMPILE = 40, END = 92 };

static void stage(const struct compilation *c, const char *name, double percent)
{
    if (c->progress)
        c->progress(c->progress_ctx, name, percent / 100);
}

static void quantizing(void *ctx, const char *name, double done)
{
    stage(ctx, name, SCALES + done * (COMPILE - SCALES));
}

static void compiling(void *ctx, const char *pass, double done)
{
    (void)pass; /* passes are milliseconds */
    stage(ctx, "compile", COMPILE + done * (END - COMPILE));
}

/* ── scales ── */

/* Inputs from the camera have the scale that its pixels have. */
static bool camera_inputs(struct compilation *c, struct bpu_error *err)
{
    const struct graph *g = c->graph;
    const char **names = ARENA_ARRAY(c->arena, const char *, g->input_count, err);
    size_t count = 0;
    for (int i = 0; names && i < g->input_count; i++)
        if (compile_source_of(c, i) != IO_DDR)
            names[count++] = g->inputs[i]->name;
    c->quantization.fixed_inputs = names;
    c->quantization.fixed_input_count = count;
    c->quantization.fixed_scale = CAMERA_SCALE;
    return names != NULL;
}

/* What would change nothing in a network whose integers are there already. */
static bool refuse_quantization(const struct compilation *c, struct bpu_error *err)
{
    const char *what = c->source_count ? "calibration" : c->qconfig ? "qconfig" : NULL;
    for (size_t i = 0; i < c->option_count && !what; i++)
        if (quantize_option(c->options[i].key) || strncmp(c->options[i].key, "dtype.", 6) == 0)
            what = c->options[i].key;
    if (!what)
        return true;
    error_set(err, BPU_BAD_OPTION, what,
              "the model is in fixed point already: %.80s would change nothing", what);
    return error_hint(err, "Leave it out, or start from the float model.");
}

static bool scales_find(struct compilation *c, struct bpu_error *err)
{
    if (job_is_fixed(c->graph)) {
        if (!refuse_quantization(c, err))
            return false;
        c->fixed = c->graph;
        c->scales = "file";
        return true;
    }
    if (!camera_inputs(c, err) || !quantize_run(&c->quantization, err))
        return false;
    c->fixed = c->quantization.fixed;
    c->scales = c->quantization.uncalibrated        ? "placeholder"
                : c->quantization.calibration.items ? "calibration"
                                                    : "file";
    return true;
}

/* The value that holds the pixels as integers. */
static const struct value *pixels(const struct graph *g, const struct value *input)
{
    if (dtype_is_quantized(input->dtype))
        return input;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        if (node_input(n, 0) == input && n->output_count > 0 &&
            strcmp(kernel_of(n)->name, "quantize") == 0)
            return n->outputs[0];
    }
    return NULL;
}

static bool check_camera(const struct compilation *c, struct bpu_error *err)
{
    for (int i = 0; i < c->fixed->input_count; i++) {
        const struct value *x = c->fixed->inputs[i];
        enum io_source from = compile_source_of(c, i);
        if (from == IO_DDR)
            continue;
        char where[sizeof err->where];
        snprintf(where, sizeof where, "input_source.%.200s", x->name);
        const struct value *q = pixels(c->fixed, x);
        if (!q || q->dtype != DT_QINT8) {
            error_set(err, BPU_BAD_OPTION, where,
                      "input %.150s is not read as qint8, and pixels from the %s are", x->name,
                      io_source_name(from));
            return error_hint(err, "Give it from ddr.");
        }
        double scale = q->quant.count == 1 ? q->quant.scale[0] : 0;
        if (scale < CAMERA_SCALE || scale > CAMERA_SCALE ||
            (q->quant.zero_point && q->quant.zero_point[0] != 0)) {
            error_set(err, BPU_BAD_OPTION, where,
                      "input %.150s has the scale %.9g; pixels from the %s have exactly 1/128 "
                      "(0.0078125) and no zero point",
                      x->name, scale, io_source_name(from));
            return error_hint(err, "Use QuantStub(scale=1 / 128) and train or calibrate with it, or "
                                   "give the input from ddr.");
        }
    }
    return true;
}

/* What stays float runs on the CPU. */
static bool mark_host(struct compilation *c, struct bpu_error *err)
{
    const struct graph *g = c->fixed;
    bool *on_host = ARENA_ARRAY(c->arena, bool, g->node_count, err);
    for (int i = 0; on_host && i < g->node_count; i++) {
        const char *kernel = kernel_of(g->nodes[i])->name;
        bool stub = strcmp(kernel, "quantize") == 0 || strcmp(kernel, "dequantize") == 0;
        on_host[i] =
            !stub && strcmp(kernel, "identity") != 0 && !kernel_is_fixed(g->nodes[i]);
        c->host_nodes += on_host[i];
    }
    c->with.on_host = on_host;
    return on_host != NULL;
}

/* ── the whole way ── */

static bool judge(struct compilation *c, struct bpu_error *err)
{
    struct check_options options;
    stage(c, "check", CHECK);
    if (!job_check_options(c->options, c->option_count, c->arena, &options, err))
        return false;
    c->check = check_graph(c->graph, c->target, &options, err);
    return c->check != NULL;
}

static bool open_model(struct compilation *c, struct bpu_error *err)
{
    c->quantization = (struct quantization){.arena = c->arena,
                                            .model = c->model,
                                            .model_size = c->model_size,
                                            .model_name = c->model_name,
                                            .model_id = c->model_id,
                                            .march = c->march,
                                            .options = c->options,
                                            .option_count = c->option_count,
                                            .qconfig = c->qconfig,
                                            .qconfig_size = c->qconfig_size,
                                            .qconfig_what = c->qconfig_what,
                                            .sources = c->sources,
                                            .source_count = c->source_count,
                                            .uncompared = true,
                                            .placeholders = true};
    stage(c, "import", IMPORT);
    if (!quantize_load(&c->quantization, err))
        return false;
    c->quantization.progress = quantizing;
    c->quantization.progress_ctx = c;
    c->target = c->quantization.target;
    c->graph = c->quantization.graph;
    c->machine = march_machine(c->target);
    return true;
}

/* ── figures ── */

double compile_us(const struct compilation *c, double cycles)
{
    return c->machine->clock_mhz.v > 0 ? cycles / c->machine->clock_mhz.v : 0;
}

static double cycles_for(int64_t bytes, double rate)
{
    return rate > 0 ? (double)bytes / rate : 0;
}

double compile_bound_cycles(const struct compilation *c)
{
    const struct machine *m = c->machine;
    int64_t out = 0;
    for (int i = 0; i < c->program->output_count; i++)
        out += c->program->outputs[i].bytes;
    out = out < c->summary.ddr_bound ? out : c->summary.ddr_bound;
    double bus = cycles_for(c->summary.ddr_bound, m->ddr_total_bytes.v);
    double load = cycles_for(c->summary.ddr_bound - out, m->ddr_load_bytes.v * c->program->cores);
    double store = cycles_for(out, m->ddr_store_bytes.v * c->program->cores);
    return fmax(fmax(bus, c->summary.compute_cycles), fmax(load, store));
}

static bool add_up(struct compilation *c, struct bpu_error *err)
{
    const struct program *p = c->program;
    struct arena_mark mark;
    c->sources_of = ARENA_ARRAY(c->arena, struct source_figures, p->source_count, err);
    if (!c->sources_of || !program_time(c->arena, p, c->machine, &c->timing, err))
        return false;
    mark = arena_mark(c->arena);
    double *shares = ARENA_ARRAY(c->arena, double, p->source_count, err);
    if (!shares || !program_time_shares(c->arena, p, &c->timing, shares, &c->idle, err))
        return false;
    for (int i = 0; i < p->source_count; i++)
        c->sources_of[i].cycles = shares[i];
    arena_rewind(c->arena, mark);
    for (int i = 0; i < p->code_count; i++) {
        const struct instruction *in = &p->code[i];
        enum traffic t = instruction_traffic(p, in);
        int64_t bytes = t == TRAFFIC_NONE ? 0 : instruction_cost(c->machine, in).ddr_bytes;
        c->traffic[t] += bytes;
        if (in->source >= (uint32_t)p->source_count)
            continue;
        struct source_figures *f = &c->sources_of[in->source];
        f->instructions++;
        f->busy[in->engine] += c->timing.at[i].end - c->timing.at[i].start;
        f->useful[in->engine] += c->timing.useful[i];
        *(in->engine == ENGINE_STORE ? &f->store : &f->load) += bytes;
        f->spills += t == TRAFFIC_SPILLS ? bytes : 0;
    }
    /* Gaps between constants count as bytes of the program and are never moved. */
    if (c->summary.ddr_bound > c->timing.ddr_load + c->timing.ddr_store)
        c->summary.ddr_bound = c->timing.ddr_load + c->timing.ddr_store;
    return true;
}

static void drop_file(void *p)
{
    buf_fini(p);
}

/* Its size is one of the figures, so it is written here. */
static bool write_file(struct compilation *c, struct bpu_error *err)
{
    buf_init(&c->file, PROGRAM_CAP);
    if (!arena_on_fini(c->arena, drop_file, &c->file, err) ||
        !program_write(c->program, &c->file, err))
        return false;
    c->summary.program_bytes = (int64_t)c->file.size;
    return true;
}

/* What is not there keeps no limit. */
static void judge_without_program(struct compilation *c)
{
    struct figure_value none[FIGURE_COUNT];
    for (int i = 0; i < FIGURE_COUNT; i++)
        none[i] = (struct figure_value){.why_not = "the model is illegal"};
    gates_judge(&c->gates, none);
}

bool compile_run(struct compilation *c, struct bpu_error *err)
{
    struct figure_value figures[FIGURE_COUNT];
    if (!gates_read(c->options, c->option_count, c->gates_of, &c->gates, err) || !open_model(c, err) ||
        !compile_options_read(c, err) || !judge(c, err))
        return false;
    gates_judge_check(&c->gates, c->check);
    if (!c->check->legal) {
        judge_without_program(c);
        return true;
    }
    if (!scales_find(c, err) || !check_camera(c, err) || !mark_host(c, err))
        return false;
    c->with.uncalibrated = c->quantization.uncalibrated;
    c->with.progress = compiling;
    c->with.progress_ctx = c;
    stage(c, "compile", COMPILE);
    c->program = compile_graph(c->arena, c->fixed, c->target, &c->with, &c->summary, err);
    if (!c->program || !write_file(c, err) || !add_up(c, err))
        return false;
    gate_figures_of(c, figures);
    gates_judge(&c->gates, figures);
    return true;
}
