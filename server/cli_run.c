/* bpuhub run: a network, or a compiled program, over the frames of array files. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/version.h"
#include "core/job/load.h"
#include "core/job/prepare.h"
#include "core/program/program.h"
#include "server/cli_run.h"

static const char usage_text[] =
    "MODEL --input [NAME=]FILE[:KEY] … --output FILE.npz [--trace DIR] [--json FILE|-]\n"
    "           [--engine reference|fast] [--option KEY=VALUE …] [--memory MIB]";

struct output {
    const struct value *value;
    size_t bytes;        /* of one frame */
    unsigned char *data; /* of all */
};

struct command {
    struct cli cli;
    const char *output, *trace, *json;
    struct run_inputs inputs;
    struct run_options options;
    struct cli_file file;
    struct arena arena;
    struct graph *graph;
    struct run *run;
    struct run_program *program; /* instead of run */
    struct run_feed *feeds;
    struct output *outputs;
    int64_t frames;
    double *seconds; /* per frame */
};

/* ── the command line ── */

static int usage(void)
{
    fprintf(stderr, "usage: bpuhub run %s\n", usage_text);
    return 2;
}

/* *exit_code is set when false comes back. */
static bool parse(struct command *c, int argc, char **argv, int *exit_code)
{
    enum { INPUT = 1000, TRACE, JSON, ENGINE, OPTION, MEMORY, HELP };
    static const struct option options[] = {{"input", required_argument, NULL, INPUT},
                                            {"output", required_argument, NULL, 'o'},
                                            {"trace", required_argument, NULL, TRACE},
                                            {"json", required_argument, NULL, JSON},
                                            {"engine", required_argument, NULL, ENGINE},
                                            {"option", required_argument, NULL, OPTION},
                                            {"memory", required_argument, NULL, MEMORY},
                                            {"help", no_argument, NULL, HELP},
                                            {0}};
    struct bpu_error err = {0};
    int opt;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
        bool ok = true;
        switch (opt) {
        case INPUT:
            ok = run_inputs_add(&c->inputs, "--input", optarg, RUN_MAX_INPUTS, &err);
            break;
        case 'o': c->output = optarg; break;
        case TRACE: c->trace = optarg; break;
        case JSON: c->json = optarg; break;
        case ENGINE: ok = run_engine_read(optarg, &c->options.engine, &err); break;
        case OPTION: ok = cli_add_option(&c->cli, optarg, &err); break;
        case MEMORY: ok = cli_set_memory(&c->cli, optarg, &err); break;
        case HELP:
            printf("usage: bpuhub run %s\n", usage_text);
            *exit_code = 0;
            return false;
        default: *exit_code = usage(); return false;
        }
        if (!ok) {
            *exit_code = cli_fail(&c->cli, &err);
            return false;
        }
    }
    *exit_code = 2;
    if (optind + 1 != argc || !c->output) {
        usage();
        return false;
    }
    c->cli.model = argv[optind];
    return true;
}

/* ── the model and its frames ── */

static struct graph *load(struct command *c, const struct job_option *options, size_t count,
                          struct bpu_error *err)
{
    return job_load(&c->arena, c->file.data, c->file.size, cli_base_name(c->cli.model), options,
                    count, err);
}

/* Shapes that the model leaves open are those of the files. */
static struct graph *open_model(struct command *c, struct bpu_error *err)
{
    struct bpu_error first = {0};
    struct job_option *options;
    size_t count;
    if (!cli_open(c->cli.model, &c->file, err))
        return NULL;
    if (program_is(c->file.data, c->file.size))
        return run_program_open(&c->arena, &c->file, &c->program, err);
    struct graph *g = load(c, c->cli.options, c->cli.option_count, &first);
    if (g || first.code != BPU_SHAPE_NEEDED || !c->inputs.count) {
        if (!g)
            *err = first;
        return g;
    }
    return feed_shape_options(&c->arena, c->inputs.sources, c->inputs.count, c->cli.options,
                              c->cli.option_count, &options, &count, err)
               ? load(c, options, count, err)
               : NULL;
}

static bool bind_inputs(struct command *c, struct bpu_error *err)
{
    struct feed *feeds;
    const struct graph *g = c->graph;
    c->feeds = ARENA_ARRAY(&c->arena, struct run_feed, g->input_count, err);
    if (!c->feeds ||
        !feed_bind(&c->arena, g, c->inputs.sources, c->inputs.count, &feeds, &c->frames, err))
        return false;
    for (int i = 0; i < g->input_count; i++)
        if (!run_feed_init(&c->arena, g->inputs[i], &feeds[i], &c->feeds[i], err))
            return false;
    return true;
}

static bool make_outputs(struct command *c, struct bpu_error *err)
{
    const struct graph *g = c->graph;
    c->outputs = ARENA_ARRAY(&c->arena, struct output, g->output_count, err);
    c->seconds = ARENA_ARRAY(&c->arena, double, c->frames, err);
    if (!c->outputs || !c->seconds)
        return false;
    for (int i = 0; i < g->output_count; i++) {
        const struct value *v = g->outputs[i];
        struct output *o = &c->outputs[i];
        *o = (struct output){.value = v,
                             .bytes = (size_t)shape_elements(&v->shape) * dtype_size(v->dtype)};
        o->data = arena_alloc_array(&c->arena, (size_t)c->frames, o->bytes, err);
        if (!o->data)
            return false;
    }
    return true;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool run_frames(struct command *c, struct run_trace *trace, struct bpu_error *err)
{
    const struct graph *g = c->graph;
    const void **inputs = ARENA_ARRAY(&c->arena, const void *, g->input_count, err);
    void **outputs = ARENA_ARRAY(&c->arena, void *, g->output_count, err);
    if (!inputs || !outputs)
        return false;
    for (int64_t f = 0; f < c->frames; f++) {
        for (int i = 0; i < g->input_count; i++)
            if (!(inputs[i] = run_feed_frame(&c->feeds[i], g->inputs[i], f, err)))
                return false;
        for (int i = 0; i < g->output_count; i++)
            outputs[i] = c->outputs[i].data + (size_t)f * c->outputs[i].bytes;
        double start = now();
        if (c->program ? !run_program_frame(c->program, inputs, outputs, err)
                       : !run_frame(c->run, inputs, outputs,
                                    trace && f == 0 ? run_trace_value : NULL, trace, err))
            return false;
        c->seconds[f] = now() - start;
    }
    return true;
}

/* ── what comes out ── */

bool run_array_of(struct arena *a, const char *name, const struct shape *shape, enum dtype dtype,
                  const void *data, size_t bytes, struct array *out, struct bpu_error *err)
{
    *out =
        (struct array){.name = name, .shape = *shape, .dtype = dtype, .data = data, .bytes = bytes};
    if (dtype != DT_BFLOAT16)
        return true;
    int64_t n = (int64_t)(bytes / dtype_size(dtype));
    float *p = arena_alloc_array(a, (size_t)n, sizeof *p, err);
    if (!p || !array_floats(out, 0, n, p, err))
        return false;
    out->dtype = DT_FLOAT32;
    out->data = p;
    out->bytes = (size_t)n * sizeof *p;
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Frames one after the other along the leading axis. */
static bool write_outputs(struct command *c, struct bpu_error *err)
{
    int count = c->graph->output_count;
    struct array *arrays = ARENA_ARRAY(&c->arena, struct array, count, err);
    struct buf out;
    if (!arrays)
        return false;
    for (int i = 0; i < count; i++) {
        const struct output *o = &c->outputs[i];
        struct shape shape = o->value->shape;
        if (shape.rank == 0 && c->frames > 1)
            shape.dim[shape.rank++] = 1;
        if (shape.rank > 0)
            shape.dim[0] *= c->frames;
        if (!run_array_of(&c->arena, o->value->name, &shape, o->value->dtype, o->data,
                          o->bytes * (size_t)c->frames, &arrays[i], err))
            return false;
    }
    buf_init(&out, (size_t)4 << 30);
    bool ok = (count == 1 && ends_with(c->output, ".npy")
                   ? npy_write(arrays, &out, err)
                   : npz_write(arrays, (size_t)count, &out, err)) &&
              cli_write(c->output, &out, err);
    buf_fini(&out);
    return ok;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool write_json(struct command *c, struct bpu_error *err)
{
    struct run_memory m = run_memory(c->run);
    struct run_counts k = run_counts(c->run);
    double total = 0;
    size_t n = (size_t)c->frames;
    for (size_t i = 0; i < n; i++)
        total += c->seconds[i];
    qsort(c->seconds, n, sizeof *c->seconds, by_value);
    json_t *j = json_pack(
        "{s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s}, s:s, s:I, s:{s:f, s:f, s:f, s:f}, "
        "s:{s:I, s:I, s:I, s:I, s:I}, s:{s:i, s:i, s:i, s:i, s:i, s:i}}",
        "schema", "bpuhub.run/1", "tool", "name", BPU_NAME, "version", BPU_VERSION, "model", "id",
        c->file.id, "name", cli_base_name(c->cli.model), "format", c->graph->format, "engine",
        c->options.engine == RUN_FAST ? "fast" : "reference", "frames", (json_int_t)c->frames,
        "time", "total_ms", total * 1e3, "frame_min_ms", c->seconds[0] * 1e3, "frame_median_ms",
        c->seconds[n / 2] * 1e3, "frame_max_ms", c->seconds[n - 1] * 1e3, "memory", "weights_bytes",
        (json_int_t)m.weights, "planned_bytes", (json_int_t)m.planned, "live_bytes",
        (json_int_t)m.live, "scratch_bytes", (json_int_t)m.scratch, "held_bytes",
        (json_int_t)m.held, "nodes", "real", k.real, "fixed", k.fixed, "fast", k.fast, "views", k.views, "in_place", k.in_place, "once", k.once);
    char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
    struct buf out;
    buf_init(&out, BUF_DEFAULT_CAP);
    if (text)
        buf_puts(&out, text);
    buf_putc(&out, '\n');
    bool ok = text ? cli_write(c->json, &out, err)
                   : error_set(err, BPU_NO_MEMORY, NULL, "no memory for the report");
    buf_fini(&out);
    free(text);
    json_decref(j);
    return ok;
}

/* A compiled program on the simulator. */
static bool execute_program(struct command *c, struct bpu_error *err)
{
    double start = now();
    if (c->trace) {
        error_set(err, BPU_USAGE, "--trace", "a compiled program has no values between its layers");
        return error_hint(err, "Trace the fixed-point graph that it was compiled from.");
    }
    return bind_inputs(c, err) && make_outputs(c, err) && run_frames(c, NULL, err) &&
           write_outputs(c, err) &&
           (!c->json || run_program_json(c->program, c->json, &c->file,
                                         cli_base_name(c->cli.model), c->frames, now() - start,
                                         err));
}

static bool execute(struct command *c, struct run_trace *trace, struct bpu_error *err)
{
    struct graph *g = run_inputs_open(&c->arena, &c->inputs, err) ? open_model(c, err) : NULL;
    c->graph = g && !c->program ? job_executable(&c->arena, g, err) : g;
    if (c->graph && c->program)
        return execute_program(c, err);
    if (!c->graph || !bind_inputs(c, err))
        return false;
    c->options.keep_all = trace != NULL;
    c->run = run_new(&c->arena, c->graph, &c->options, err);
    return c->run && make_outputs(c, err) && (!trace || run_trace_begin(trace, c->trace, err)) &&
           run_frames(c, trace, err) && write_outputs(c, err) &&
           (!trace || run_trace_end(trace, err)) && (!c->json || write_json(c, err));
}

int cli_run(int argc, char **argv)
{
    struct command c = {.cli = {.command = "run", .memory = RUN_MEMORY},
                        .options = {.engine = RUN_FAST}};
    struct bpu_error err = {0};
    struct run_trace trace = {0};
    int code;
    if (!parse(&c, argc, argv, &code))
        return code;
    arena_init(&c.arena, c.cli.memory);
    code = execute(&c, c.trace ? &trace : NULL, &err) ? 0 : cli_fail(&c.cli, &err);
    run_trace_drop(&trace);
    arena_fini(&c.arena);
    run_inputs_close(&c.inputs);
    cli_close(&c.file);
    cli_drop_options(&c.cli);
    return code;
}
