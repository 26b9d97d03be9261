/* The parts are in core/compile and core/perf; here is their order, and what a compiled program does
 * not allow: what was decided when it was made cannot be asked for again. */
#include "core/job/perf_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/job/load.h"

/* Where measuring begins on the way of a job; compile_run() comes before. */
#define MEASURED .93

/* ── options ── */

bool perf_option(const char *key)
{
    return strcmp(key, "layer_details") == 0 || strcmp(key, "intervals") == 0;
}

static bool read_flag(const struct job_option *o, bool *out, struct bpu_error *err)
{
    static const char *const yes[] = {"", "1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (strcasecmp(o->value, yes[i]) == 0)
            return *out = true;
    *out = false;
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (strcasecmp(o->value, no[i]) == 0)
            return true;
    error_set(err, BPU_BAD_OPTION, o->key, "%s is \"%.80s\"", o->key, o->value);
    return error_hint(err, "Give true or false.");
}

static bool read_count(const struct job_option *o, int most, int *out, struct bpu_error *err)
{
    char *end;
    errno = 0;
    long n = strtol(o->value, &end, 10);
    *out = (int)n;
    if (!errno && end != o->value && !*end && n >= 1 && n <= most)
        return true;
    error_set(err, BPU_BAD_OPTION, o->key, "%s is \"%.80s\"", o->key, o->value);
    return error_hint(err, "Give a whole number of 1 to %d.", most);
}

static bool read_options(struct perf_model *m, struct bpu_error *err)
{
    for (size_t i = 0; i < m->c.option_count; i++) {
        const struct job_option *o = &m->c.options[i];
        if (strcmp(o->key, "layer_details") == 0 && !read_flag(o, &m->layer_details, err))
            return false;
        if (strcmp(o->key, "intervals") == 0 &&
            !read_count(o, PERF_MOST_INTERVALS, &m->intervals, err))
            return false;
    }
    return true;
}

/* ── a program ── */

/* What was decided when it was compiled. */
static bool refuse_decided(const struct perf_model *m, struct bpu_error *err)
{
    const struct compilation *c = &m->c;
    const char *key = c->source_count ? "calibration" : c->qconfig ? "qconfig" : NULL;
    for (size_t i = 0; i < c->option_count && !key; i++)
        if (!perf_option(c->options[i].key) && !gate_option(c->options[i].key))
            key = c->options[i].key;
    if (!key)
        return true;
    error_set(err, BPU_BAD_OPTION, key, "the file is a compiled program: %.80s would change nothing",
              key);
    return error_hint(err, "Give the model that it was compiled from, or compile it again with this "
                           "option.");
}

static bool find_march(struct perf_model *m, struct bpu_error *err)
{
    struct compilation *c = &m->c;
    const struct program *p = c->program;
    if (c->march && c->march[0] && !march_find(c->march))
        return job_unknown_march(c->march, err);
    c->target = p->march ? march_find(p->march) : NULL;
    if (!c->target) {
        error_set(err, BPU_BAD_MODEL, NULL,
                  "the program is compiled for \"%.80s\", which is no march of this version",
                  p->march ? p->march : "");
        return error_hint(err, "Compile it again for a march that there is.");
    }
    if (c->march && c->march[0] && march_find(c->march) != c->target) {
        error_set(err, BPU_BAD_OPTION, "march", "the program is compiled for %s, not for %s",
                  march_name(c->target), march_name(march_find(c->march)));
        return error_hint(err, "Give march %s, or the model itself.", march_name(c->target));
    }
    c->machine = march_machine(c->target);
    if (p->cores > (int)c->machine->cores.v)
        return error_set(err, BPU_BAD_MODEL, NULL, "the program uses %d cores, %s has %d", p->cores,
                         march_name(c->target), (int)c->machine->cores.v);
    return true;
}

static bool open_program(struct perf_model *m, struct bpu_error *err)
{
    struct compilation *c = &m->c;
    m->from_program = true;
    m->legal = true;
    if (!refuse_decided(m, err) ||
        !gates_read(c->options, c->option_count, GATES_OF_PROGRAM, &c->gates, err) ||
        !(c->program = program_read(c->arena, c->model, c->model_size, err)) ||
        !find_march(m, err) || !program_time(c->arena, c->program, c->machine, &c->timing, err))
        return false;
    c->summary.instructions = c->program->code_count;
    c->summary.program_bytes = (int64_t)c->model_size;
    c->summary.ddr_load = c->timing.ddr_load;
    c->summary.ddr_store = c->timing.ddr_store;
    return true;
}

/* ── both ── */

static int64_t peak_of(const struct program *p)
{
    int64_t most = 0;
    for (int i = 0; i < p->buffer_count; i++)
        if (p->buffers[i].address + p->buffers[i].bytes > most)
            most = p->buffers[i].address + p->buffers[i].bytes;
    return most;
}

/* The same network with the same options, but for the cores.  An answer that cannot be had costs only the
 * advice that it was for, so what stands in its way is not told. */
static double time_on_cores(void *ctx, int cores)
{
    const struct compilation *c = ctx;
    struct compile_options with = c->with;
    struct program_timing timing;
    struct bpu_error ignored = {0};
    struct arena own;
    with.cores = cores;
    with.dump = NULL;
    with.progress = NULL;
    arena_init(&own, c->arena->quota - c->arena->used);
    const struct program *p = compile_graph(&own, c->fixed, c->target, &with, NULL, &ignored);
    bool ok = p && program_time(&own, p, c->machine, &timing, &ignored);
    double us = ok ? compile_us(c, timing.end) : -1;
    arena_fini(&own);
    return us;
}

bool perf_model_measure(struct perf_model *m, struct bpu_error *err)
{
    struct compilation *c = &m->c;
    struct figure_value figures[FIGURE_COUNT];
    if (c->progress)
        c->progress(c->progress_ctx, "perf", MEASURED);
    if (!perf_measure(c->arena, c->program, c->machine, &c->timing, m->intervals, &m->perf, err) ||
        !perf_advise_network(&m->perf, PERF_MOST_ADVICE, m->from_program ? NULL : time_on_cores, c,
                             err))
        return false;
    m->expected = perf_accuracy_of(march_name(c->target));
    m->sram_peak = m->from_program ? peak_of(c->program) : c->summary.sram_peak;
    gate_figures_of(c, figures);
    gates_judge(&c->gates, figures);
    return true;
}

bool perf_model_run(struct perf_model *m, struct bpu_error *err)
{
    if (!read_options(m, err))
        return false;
    if (program_is(m->c.model, m->c.model_size))
        return open_program(m, err) && perf_model_measure(m, err);
    if (!compile_run(&m->c, err))
        return false;
    m->legal = m->c.check->legal;
    return !m->legal || perf_model_measure(m, err);
}

const char *perf_model_format(const struct perf_model *m)
{
    return m->from_program ? "program" : m->c.graph->format;
}
